"""What a board is wired to outside of itself, the core, and what differs from machine to machine, its fittings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from devmodel.board.device import Disk, GuestRam
from devmodel.board.parts import ALL
from devmodel.devices.diskette import Bay
from devmodel.devices.mmc import Tray
from devmodel.devices.parallel import Printer
from devmodel.devices.pit import MissedTicks


class Core(GuestRam, Protocol):
    """What the board is wired to outside of itself: the domain."""

    @property
    def video(self) -> memoryview | None:
        """Memory for a display adapter that the guest can have as its own; None: there is none."""
        ...

    def map_video(self, first: int, last: int, offset: int, /) -> None:
        """Let the guest find it from `offset` on at `first` to `last`, whole pages, instead of the board."""
        ...

    def unmap_video(self, first: int, last: int, /) -> None:
        """Have the board answer there again."""
        ...

    def intr(self, level: bool) -> None:
        """Drive the processor's INTR pin."""
        ...

    def isa_irq(self, irq: int, level: bool) -> None:
        """Drive an ISA interrupt request whose controller is on another server's board."""
        ...

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Drive INTA# to INTD# (0-3) of a slot whose bridge is on another server's board."""
        ...

    def intr_vector(self, vector: int | None, alone: bool) -> None:
        """Show beside the pin what an acknowledge cycle would bring; None: nothing.

        `alone`: no such cycle, and no command to the interrupt controller, raises INTR before a line rises.
        """
        ...

    def a20(self, level: bool) -> None:
        """Open or close address line 20."""
        ...

    def memory_type(self, first: int, last: int, type_: Any, /) -> None:
        """Set what guest memory from `first` to `last` is: ram, ram_ro, rom or rom_wo."""
        ...

    def reset(self) -> None:
        """Ask for a reset of the machine; `Board.reset` follows."""
        ...

    def shutdown(self, code: int, /) -> None:
        """End the machine with this exit status."""
        ...


@attrs.define(kw_only=True)
class Fittings:
    """What differs from machine to machine."""

    memory: Sequence[tuple[int, int, int]]
    """Start, length and type (1 is RAM) of each range, as the domain's E820."""
    cpus: int = 1
    parts: frozenset[str] = ALL
    """What of the machine is on this board: names of `parts.PARTS`."""
    disks: Sequence[Disk | Tray | None] = ()
    """hda to hdd; a tray is a CD-ROM drive's."""
    floppies: Sequence[Bay] = ()
    """The floppy drives A and B."""
    serial: Sequence[bool] = (False,)
    """For each serial port that there is, COM1 to COM4, whether it sends at the baud rate."""
    printer: Printer | None = None
    """What the parallel port has at its end; None: there is no such port."""
    debug: Callable[[int], None] = lambda _: None
    """A byte for the debug console."""
    files: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes])
    """fw_cfg files beside the board's own."""
    boot: str = "cad"
    missed_ticks: str = MissedTicks.ONE_PENDING
    """What becomes of the timer's missed ticks: one of `pit.MISSED_TICKS`."""
    video_rom: bytes = b""
    """The option ROM of the VGA as a PCI function."""
    isa_vga: bool = False
    """The VGA is no PCI function: its frame buffer is at `ISA_FRAME_BUFFER`."""
    time: int = 0
    """What the clock shows at first, in seconds since 1970."""
    hpet: bool = False
    """There are high precision event timers."""
    bare: bool = False
    """A kernel is started without firmware, whose tables it finds all the same."""
