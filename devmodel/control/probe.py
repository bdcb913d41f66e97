"""Looking into a running machine, and reaching into it: pause, registers, memory, ports, sectors.

These are commands of the monitor (`messages.py`), which a test or a debugger sends. What they do to a chip is an access
as any of the guest's is: what the guest has posted comes before, and what the chip asks of the core is done before the
answer. Bytes travel in base64.
"""

import base64
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias

import msgspec
import trio

from devmodel import DevmodelError
from devmodel.board import saved
from devmodel.board.device import DiskRead, DiskWrite
from devmodel.disks.image import Elsewhere, Image
from devmodel.disks.stores import SECTOR
from devmodel.disks.tray import Disc, Diskette
from devmodel.service.server import Server
from devmodel.service.trace import MappedRange, ranges_of
from ioreq.control_client import ControlClient
from ioreq.layout import TYPE_PIO
from ioreq.messages import (
    SHUTDOWN_POWEROFF,
    SHUTDOWN_REBOOT,
    GetVcpuContext,
    InjectEvent,
    PauseDomain,
    RemoteShutdown,
    UnpauseDomain,
    VcpuContext,
)
from ioreq.request import Request

MOST: Final = 32768
"""Bytes of memory or disk in one command; a line has room for no more."""

NMI_TYPE: Final = 2
NMI_VECTOR: Final = 2

Address = Annotated[int, msgspec.Meta(ge=0, lt=1 << 52)]
Length = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Port = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Size = Annotated[int, msgspec.Meta(ge=1, le=4)]


class Pause(msgspec.Struct, tag_field="command", tag="pause", forbid_unknown_fields=True):
    """Hold the vCPUs between two instructions; the answer comes when none runs. Guest time goes on."""


class Continue(msgspec.Struct, tag_field="command", tag="continue", forbid_unknown_fields=True):
    """Let them run on."""


class Restart(msgspec.Struct, tag_field="command", tag="reset", forbid_unknown_fields=True):
    """Reset the machine, as its reset button does."""


class Nmi(msgspec.Struct, tag_field="command", tag="nmi", forbid_unknown_fields=True):
    """Interrupt the processor by an NMI, as the button of that name does; not, if the guest has masked them."""


class Quit(msgspec.Struct, tag_field="command", tag="quit", forbid_unknown_fields=True):
    """Switch the machine off, now."""


class Registers(msgspec.Struct, tag_field="command", tag="registers", forbid_unknown_fields=True):
    """Ask for a vCPU's registers."""

    vcpu: Annotated[int, msgspec.Meta(ge=0, le=127)] = 0


class Peek(msgspec.Struct, tag_field="command", tag="read_memory", forbid_unknown_fields=True):
    """Ask for guest RAM, by guest-physical address; what is no RAM reads as ones."""

    address: Address
    length: Length


class Poke(msgspec.Struct, tag_field="command", tag="write_memory", forbid_unknown_fields=True):
    """Write guest RAM; all of it must be RAM."""

    address: Address
    data: Annotated[str, msgspec.Meta(max_length=MOST * 4 // 3 + 4)]


class Inp(msgspec.Struct, tag_field="command", tag="read_port", forbid_unknown_fields=True):
    """Read 1, 2 or 4 bytes from a port, with all that this does to the device."""

    port: Port
    size: Size = 1


class Outp(msgspec.Struct, tag_field="command", tag="write_port", forbid_unknown_fields=True):
    """Write 1, 2 or 4 bytes to a port."""

    port: Port
    value: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    size: Size = 1


class ReadDisk(msgspec.Struct, tag_field="command", tag="read_disk", forbid_unknown_fields=True):
    """Ask for sectors of a hard disk, the first being 0, as they are now in its image."""

    lba: Address
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST // SECTOR)] = 1
    disk: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0


class WriteDisk(msgspec.Struct, tag_field="command", tag="write_disk", forbid_unknown_fields=True):
    """Write whole sectors of a hard disk under the guest's feet."""

    lba: Address
    data: Annotated[str, msgspec.Meta(max_length=MOST * 4 // 3 + 4)]
    disk: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0


class Devices(msgspec.Struct, tag_field="command", tag="devices", forbid_unknown_fields=True):
    """Ask which chips there are, and what is mapped where."""


class State(msgspec.Struct, tag_field="command", tag="state", forbid_unknown_fields=True):
    """Ask what a chip remembers."""

    chip: str


class Drives(msgspec.Struct, tag_field="command", tag="drives", forbid_unknown_fields=True):
    """Ask what drives there are, and what is in them."""


Command: TypeAlias = (
    Pause
    | Continue
    | Restart
    | Nmi
    | Quit
    | Registers
    | Peek
    | Poke
    | Inp
    | Outp
    | ReadDisk
    | WriteDisk
    | Devices
    | State
    | Drives
)


class Drive(msgspec.Struct, frozen=True):
    """A drive: hard disk, CD-ROM or floppy drive, by the name that QEMU gives it on such a machine."""

    name: str
    kind: Literal["disk", "cdrom", "floppy"]
    number: int
    """Among those of its kind, the first being 0."""
    path: str | None
    """The image; None: the drive is empty."""
    bytes: int = 0
    readonly: bool = False
    locked: bool = False
    """The guest has locked the tray."""


class Chip(msgspec.Struct, frozen=True):
    """A chip and what it is made by."""

    name: str
    type: str


class Found(msgspec.Struct, omit_defaults=True):
    """What was found: one of these, or nothing."""

    data: str = ""
    value: int | None = None
    registers: VcpuContext | None = None
    chips: list[Chip] | None = None
    ranges: list[MappedRange] | None = None
    state: dict[str, Any] | None = None
    """What a chip remembers; bytes are in base64."""
    drives: list[Drive] | None = None


class NotHere(DevmodelError):  # noqa: N818  (it sends the client to another server)
    """Another server of the machine has what was asked for, if any has."""


class Outside(Protocol):
    """What a server has on its outside."""

    @property
    def disks(self) -> list[Image | Elsewhere]:
        """Its hard disks."""
        ...

    @property
    def discs(self) -> list[Disc]:
        """Its CD-ROM drives."""
        ...

    @property
    def diskettes(self) -> list[Diskette]:
        """Its floppy drives."""
        ...


class Board(Protocol):
    """What is looked at of a board."""

    @property
    def nmi_masked(self) -> bool:
        """Whether the guest has NMIs kept from its processor."""
        ...

    def states(self) -> dict[str, Any]:
        """Return what each chip remembers, by name."""
        ...


class Probe:
    """Performs the commands on one server and its core."""

    def __init__(
        self, client: ControlClient, server: Server, board: Board, outside: Outside, parts: frozenset[str]
    ) -> None:
        self._client = client
        self._server = server
        self._board = board
        self._outside = outside
        self._parts = parts
        self.paused = False
        """We hold the vCPUs."""
        self.on_pause: Callable[[bool], None] = lambda _: None
        """Hears when that changes."""
        self.reset_asked = False
        self.end_asked = False
        """Who wonders why the machine is reset, or ends, finds it here."""

    async def perform(self, command: Command) -> Found:
        """Do one command.

        Raises:
            DevmodelError: it cannot be done; the line says why.
            IoreqError: the core refuses, or is gone.

        """
        domain = self._server.domain
        match command:
            case Pause():
                await self._client.call(PauseDomain())
                self._note(paused=True)
            case Continue():
                await self._client.call(UnpauseDomain())
                self._note(paused=False)
            case Restart():
                self.reset_asked = True
                await self._client.call(RemoteShutdown(SHUTDOWN_REBOOT))
            case Nmi():
                await self._nmi()
            case Quit():
                self.end_asked = True
                await self._client.call(RemoteShutdown(SHUTDOWN_POWEROFF))
            case Registers(vcpu=number):
                context = await self._client.call(GetVcpuContext(vcpu=number))
                assert isinstance(context, VcpuContext)  # the client has seen to that
                return Found(registers=context)
            case Peek(address=address, length=length):
                return Found(data=text_of(domain.ram.load(address, length)))
            case Poke(address=address, data=text):
                data = _bytes(text)
                if not domain.holds(address, len(data)):
                    raise DevmodelError(f"not all of {address:#x}-{address + len(data) - 1:#x} is RAM")
                domain.write(address, data)
                await domain.settle()
            case Inp(port=port, size=size):
                return Found(value=await self._access(port, size, None))
            case Outp(port=port, size=size, value=value):
                await self._access(port, size, value)
            case ReadDisk(lba=lba, count=count, disk=number):
                return Found(data=text_of(await self._read(self._disk(number), lba, count)))
            case WriteDisk(lba=lba, data=text, disk=number):
                await self._write(self._disk(number), lba, _bytes(text))
            case Devices():
                chips = [Chip(name, type(state).__name__) for name, state in self._board.states().items()]
                return Found(chips=chips, ranges=ranges_of(self._server.board.bus))
            case State(chip=name):
                return Found(state=self._state(name))
            case Drives():
                return Found(drives=drives_of(self._outside, self._parts))
        return Found()

    def _note(self, *, paused: bool) -> None:
        if paused != self.paused:
            self.paused = paused
            self.on_pause(paused)

    async def _nmi(self) -> None:
        if "rtc" not in self._parts:
            raise NotHere("the port that masks NMIs is another server's")
        if self._board.nmi_masked:
            raise DevmodelError("the guest has masked NMIs: bit 7 of port 0x70 is 1")
        await self._client.call(InjectEvent(vector=NMI_VECTOR, type=NMI_TYPE))

    def _state(self, name: str) -> dict[str, Any]:
        states = self._board.states()
        if name not in states:
            raise NotHere(f"there is no chip '{name}'; known here: {', '.join(states)}")
        return saved.as_plain(states[name])

    async def _access(self, port: int, size: int, value: int | None) -> int:
        """Access a port, behind what the guest has posted."""
        if size == 3:
            raise DevmodelError("an access to a port has 1, 2 or 4 bytes")
        server = self._server
        if server.board.bus.pio.find(port) is None:
            raise NotHere(f"nobody answers at port {port:#x}")
        server.drain(server.attachment.endpoint.ring)
        request = Request(TYPE_PIO, port, value or 0, size=size, read=value is None)
        found = server.attempt(request)
        await server.domain.settle()
        server.pacer.rearm()
        return found

    def _disk(self, number: int) -> Image:
        disks = self._outside.disks
        if number >= len(disks):
            raise DevmodelError(
                f"there is no disk {number}; "
                + (f"the last is {len(disks) - 1}" if disks else "there is none")
            )
        disk = disks[number]
        if not isinstance(disk, Image):
            raise NotHere("the disks are another server's")
        return disk

    @staticmethod
    async def _read(disk: Image, lba: int, count: int) -> bytes:
        done, answer = trio.Event(), list[bytes | None]()

        def take(data: bytes | None) -> None:
            answer.append(data)
            done.set()

        disk.submit(DiskRead(lba, count, take))
        await done.wait()
        if answer[0] is None:
            raise DevmodelError(f"sectors {lba} to {lba + count - 1} cannot be read; it has {disk.sectors}")
        return answer[0]

    @staticmethod
    async def _write(disk: Image, lba: int, data: bytes) -> None:
        done, answer = trio.Event(), list[bool]()

        def take(worked: bool) -> None:
            answer.append(worked)
            done.set()

        if not data or len(data) % SECTOR:
            raise DevmodelError(f"{len(data)} bytes are no whole sectors of {SECTOR}")
        disk.submit(DiskWrite(lba, data, take))
        await done.wait()
        if not answer[0]:
            raise DevmodelError(f"sectors from {lba} on cannot be written; it has {disk.sectors}")


def drives_of(outside: Outside, parts: frozenset[str]) -> list[Drive]:
    """Return the drives that a server with these parts has, by the names that QEMU gives them on such a machine."""
    found = []
    if "ide" in parts:
        places = [f"ide{place // 2}-{{}}{place % 2}" for place in range(4)]
        disks = [disk for disk in outside.disks if isinstance(disk, Image)]
        for number, (disk, where) in enumerate(zip(disks, places, strict=False)):
            name = where.format("hd")
            found.append(Drive(name, "disk", number, disk.name, disk.sectors * SECTOR, disk.readonly))
        free = [place for place in (2, 3, 1, 0) if place >= len(disks)]
        for number, (disc, place) in enumerate(zip(outside.discs, free, strict=False)):
            locked = disc.tray.locked()
            found.append(
                _removable(
                    places[place].format("cd"), "cdrom", number, disc.image, readonly=True, locked=locked
                )
            )
    if "dma" in parts:
        for number, diskette in enumerate(outside.diskettes):
            image = diskette.image
            readonly = image is not None and image.readonly
            found.append(_removable(f"floppy{number}", "floppy", number, image, readonly=readonly))
    return found


def _removable(
    name: str,
    kind: Literal["cdrom", "floppy"],
    number: int,
    image: Image | None,
    *,
    readonly: bool,
    locked: bool = False,
) -> Drive:
    if image is None:
        return Drive(name, kind, number, None, locked=locked)
    return Drive(name, kind, number, image.name, image.sectors * SECTOR, readonly, locked)


def text_of(data: bytes) -> str:
    """Return bytes as they travel."""
    return base64.b64encode(data).decode()


def data_of(found: Found) -> bytes:
    """Return the bytes that were found."""
    return base64.b64decode(found.data)


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DevmodelError(f"the data are no base64: {error}") from error
    if not data or len(data) > MOST:
        raise DevmodelError(f"{len(data)} bytes; allowed: 1 to {MOST}")
    return data
