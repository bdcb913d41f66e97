"""A board on a bench: the PC and what you add to it, without a core, a guest or a process.

    def test_the_dice_are_thrown() -> None:
        bench = Bench(my_board.build)
        bench.out(0x500, 7, 4)
        assert bench.inp(0x500, 4) != bench.inp(0x500, 4)

You are the guest: `inp` and `out` are its instructions, `load` and `store` its memory accesses. Time stands still until
you let it pass (`advance`). Under trio, `live` has it follow trio's clock instead, with the tasks of the board running:
with `autojump_clock` an hour of that takes milliseconds.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeAlias

import attrs
import trio

from devmodel.board import saved
from devmodel.board.clock import Clock, ManualClock
from devmodel.board.device import Disk, DiskFlush, DiskRead, DiskWrite
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board, state_types
from devmodel.board.stepping import step
from devmodel.boards import Builder, find
from devmodel.devices.pci import COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY, Header
from devmodel.service.clock import TrioClock
from devmodel.service.pacer import Pacer

SECTOR: Final = 512
Build: TypeAlias = Callable[..., object] | str
"""A function that adds to a board, or its name: see `devmodel.boards`."""


@attrs.define
class BenchCore:
    """What a board is wired to outside: guest memory, and a list of what it was told."""

    ram: bytearray = attrs.field(repr=False)
    told: list[tuple[str, object]] = attrs.field(factory=list[tuple[str, object]])
    intr_level: bool = False
    video: memoryview | None = None
    """None: the VGA has memory of its own, and every access comes to it."""

    def map_video(self, first: int, last: int, offset: int, /) -> None:
        """Take note of video memory that the guest would have as its own."""
        self.told.append(("map_video", (first, last, offset)))

    def unmap_video(self, first: int, last: int, /) -> None:
        """Take note that the board would answer there again."""
        self.told.append(("unmap_video", (first, last)))

    def read(self, address: int, length: int) -> bytes:
        """Return memory; ones where there is none."""
        return bytes(self.ram[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes | memoryview, /) -> None:
        """Store, as far as there is memory."""
        data = bytes(data)[: max(0, len(self.ram) - address)]
        self.ram[address : address + len(data)] = data

    def holds(self, address: int, length: int) -> bool:
        """Whether all of that is memory."""
        return address >= 0 and address + length <= len(self.ram)

    def intr(self, level: bool) -> None:
        """Take note of the INTR pin."""
        self.intr_level = level

    def intr_vector(self, vector: int | None, _alone: bool) -> None:
        """Let the vector beside the pin pass: `Bench.interrupt` asks for it."""

    def isa_irq(self, irq: int, level: bool) -> None:
        """Take note of a line to another server."""
        self.told.append(("isa_irq", (irq, level)))

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Take note of a line to another server."""
        self.told.append(("pci_intx", (device, intx, level)))

    def a20(self, level: bool) -> None:
        """Take note of address line 20."""
        self.told.append(("a20", level))

    def memory_type(self, first: int, last: int, type_: Any, /) -> None:
        """Take note of what memory becomes."""
        self.told.append(("memory_type", (first, last, type_)))

    def reset(self) -> None:
        """Take note that the board asks for a reset."""
        self.told.append(("reset", None))

    def shutdown(self, code: int, /) -> None:
        """Take note that it switches off."""
        self.told.append(("shutdown", code))


@attrs.define
class MemoryDisk:
    """A disk whose sectors are bytes of yours, and which answers at once."""

    data: bytearray
    readonly: bool = False
    flushes: int = 0

    @property
    def sectors(self) -> int:
        """Size in sectors of 512 bytes."""
        return len(self.data) // SECTOR

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        """Do a request."""
        match request:
            case DiskRead(lba=lba, count=count):
                data = bytes(self.data[lba * SECTOR : (lba + count) * SECTOR])
                request.done(data if len(data) == count * SECTOR else None)
            case DiskWrite(lba=lba, data=data):
                fits = not self.readonly and lba * SECTOR + len(data) <= len(self.data)
                if fits:
                    self.data[lba * SECTOR : lba * SECTOR + len(data)] = data
                request.done(fits)
            case DiskFlush():
                self.flushes += 1
                request.done(True)


class Bench:
    """A PC's board with what `build` adds to it; you are its guest, and its clock is in your hand."""

    def __init__(
        self,
        build: Build | None = None,
        *,
        memory: int = 1 << 20,
        disks: Sequence[Disk] = (),
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        """Build it, with `memory` bytes of guest RAM. `options` are what `build` takes beside the board.

        Raises:
            ConfigError: the board cannot be as `build` wants it.

        """
        extend = builder_of(build, options)
        core = BenchCore(bytearray(memory))
        fittings = Fittings(memory=[(0, memory, 1)], disks=disks)
        board = Board.build(clock or ManualClock(), core, fittings, extend=extend)
        self._set(board, core, fittings, extend)

    def _set(
        self, board: Board, core: BenchCore, fittings: Fittings, extend: Callable[[Board], None]
    ) -> None:
        self.board = board
        self.core = core
        self.serial = bytearray()
        """What the guest has sent on the first serial port."""
        self._fittings = fittings
        self._extend = extend
        board.uart.transmit = self.serial.append

    # -- the guest ----------------------------------------------------------------------------------------

    def inp(self, port: int, size: int = 1) -> int:
        """Execute IN: read `size` bytes (1, 2 or 4) from a port."""
        value = self.board.bus.pio.read(port, size)
        self.board.rearm()
        return value

    def out(self, port: int, value: int, size: int = 1) -> None:
        """Execute OUT: write `size` bytes to a port."""
        self.board.bus.pio.write(port, size, value & (1 << 8 * size) - 1)
        self.board.rearm()

    def load(self, address: int, size: int = 1) -> int:
        """Read 1, 2, 4 or 8 bytes of a device in memory space."""
        value = self.board.bus.memory.read(address, size)
        self.board.rearm()
        return value

    def store(self, address: int, value: int, size: int = 1) -> None:
        """Write 1, 2, 4 or 8 bytes to a device in memory space."""
        self.board.bus.memory.write(address, size, value & (1 << 8 * size) - 1)
        self.board.rearm()

    @property
    def ram(self) -> bytearray:
        """Guest memory."""
        return self.core.ram

    def configure(self, slot: int, register: int, value: int | None = None, size: int = 4) -> int:
        """Write a register of the PCI function in a slot, if a value is given, and return what it reads."""
        address = slot << 35 | register
        if value is not None:
            self.board.pci_config.write(address, size, value)
            self.board.rearm()
        return self.board.pci_config.read(address, size)

    def place(self, slot: int, bars: dict[int, int], *, irq: int | None = None) -> None:
        """Do what firmware does with a PCI function: give its base address registers these addresses, and enable it.

        With `irq`, its INTx (whose pin must be INTA#) is routed there, as a level.
        """
        for number, address in bars.items():
            self.configure(slot, Header.BAR0 + 4 * number, address)
        self.configure(slot, Header.COMMAND, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER, 2)
        if irq is not None:
            self.configure(1, 0x60 + (slot - 1 & 3), irq, 1)
            elcr = 0x4D0 + (irq >> 3)
            self.out(elcr, self.inp(elcr) | 1 << (irq & 7))

    def irq(self, number: int) -> bool:
        """Return the level of an ISA interrupt request."""
        return self.board.isa[number].output.level

    def start_interrupts(self, vector: int = 0x20) -> None:
        """Do what firmware does with the 8259A pair: all requests unmasked, from this vector on (8259A data sheet)."""
        for port, base, cascade in ((0x20, vector, 4), (0xA0, vector + 8, 2)):
            for at, value in (
                (port, 0x11),
                (port + 1, base),
                (port + 1, cascade),
                (port + 1, 1),
                (port + 1, 0),
            ):
                self.out(at, value)

    def interrupt(self) -> int | None:
        """Take an interrupt as the processor does, and return its vector; None if there is none."""
        vector = self.board.acknowledge()
        self.board.rearm()
        return vector

    def type(self, data: bytes) -> None:
        """Send bytes to the first serial port; more than its FIFO takes overrun it, as on the wire."""
        for byte in data:
            self.board.uart.receive(byte)
        self.board.rearm()

    # -- time ---------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Guest time in ns."""
        return self.board.clock.now()

    def advance(self, ns: int) -> None:
        """Let time pass, and tick each timed chip when it is due, in order.

        Raises:
            TypeError: the clock is not in your hand (`live`).
            AssertionError: a chip does not move its deadline; in a server it would use up all of the time.

        """
        clock = self.board.clock
        if not isinstance(clock, ManualClock):
            raise TypeError("this bench lives by trio's clock: await trio.sleep(…)")
        step(clock, self.board.timed, clock.now() + ns)

    # -- succession ---------------------------------------------------------------------------------------

    def successor(self) -> Self:
        """Return a bench whose board goes on from this one's state, saved as bytes, as after `devmodel upgrade`."""
        data = saved.pack(self.board.states(), time=self.now, host_time=0, whole=True, server=0, performed=0)
        estate = saved.unpack(data)
        core = BenchCore(self.core.ram, intr_level=self.core.intr_level)
        clock = self.board.clock
        if isinstance(clock, ManualClock):
            clock = ManualClock(clock.now())
        board = Board.build(
            clock, core, self._fittings, estate.states(state_types()), extend=self._extend, left=estate.state
        )
        other = type(self).__new__(type(self))
        other._set(board, core, self._fittings, self._extend)  # noqa: SLF001  (one of us)
        return other


@asynccontextmanager
async def live(build: Build | None = None, **arguments: Any) -> AsyncIterator[Bench]:
    """Give a bench that lives by trio's clock: chips are ticked when they are due, and the board's tasks run.

    The arguments are those of `Bench`. Call it inside of trio; use `autojump_clock` to have no time pass outside.
    """
    bench = Bench(build, clock=TrioClock.start(), **arguments)
    async with trio.open_nursery() as nursery:
        pacer = Pacer(bench.board.clock, bench.board.timed)  # type: ignore[arg-type]  # the one from above
        bench.board.rearm = pacer.rearm
        nursery.start_soon(pacer.run)
        for task in bench.board.tasks:
            nursery.start_soon(task)
        await trio.lowlevel.checkpoint()
        yield bench
        nursery.cancel_scope.cancel()


def builder_of(build: Build | None, options: dict[str, Any]) -> Callable[[Board], None]:
    """Return what adds to the board, with its mistakes told as everywhere."""
    if build is None:
        return lambda _: None
    if isinstance(build, str):
        return find(build, options)
    return Builder(getattr(build, "__name__", repr(build)), build, options)
