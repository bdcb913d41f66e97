"""Looking into a running machine, and reaching into it: pause, registers, memory, ports, sectors.

These are commands of the monitor (`monitor.py`), which a test or a debugger sends. What they do to a chip is an access
as any of the guest's is: what the guest has posted comes before, and what the chip asks of the core is done before the
answer. Bytes travel in base64.
"""

import base64
from typing import Annotated, Final, Protocol, TypeAlias

import msgspec
import trio

from devmodel import DevmodelError
from devmodel.board.device import DiskRead, DiskWrite
from devmodel.disks.image import Elsewhere, Image
from devmodel.disks.stores import SECTOR
from devmodel.service.server import Server
from ioreq.control_client import ControlClient
from ioreq.layout import TYPE_PIO
from ioreq.messages import (
    SHUTDOWN_REBOOT,
    GetVcpuContext,
    PauseDomain,
    RemoteShutdown,
    UnpauseDomain,
    VcpuContext,
)
from ioreq.request import Request

MOST: Final = 32768
"""Bytes of memory or disk in one command; a line has room for no more."""

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


Command: TypeAlias = Pause | Continue | Restart | Registers | Peek | Poke | Inp | Outp | ReadDisk | WriteDisk


class Found(msgspec.Struct, omit_defaults=True):
    """What was found: one of these, or nothing."""

    data: str = ""
    value: int | None = None
    registers: VcpuContext | None = None


class NotHere(DevmodelError):  # noqa: N818  (it sends the client to another server)
    """Another server of the machine has what was asked for, if any has."""


class Outside(Protocol):
    """What a server has on its outside."""

    @property
    def disks(self) -> list[Image | Elsewhere]:
        """Its hard disks."""
        ...


class Probe:
    """Performs the commands on one server and its core."""

    def __init__(self, client: ControlClient, server: Server, outside: Outside) -> None:
        self._client = client
        self._server = server
        self._outside = outside

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
            case Continue():
                await self._client.call(UnpauseDomain())
            case Restart():
                await self._client.call(RemoteShutdown(SHUTDOWN_REBOOT))
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
        return Found()

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
