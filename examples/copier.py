"""A PCI device that copies guest memory by DMA, and interrupts when it is done.

    devmodel run --board examples/copier.py:build --kernel … --initrd …
    / # cat /sys/bus/pci/devices/0000:00:05.0/resource

Base address register 0 is memory, 1 the same registers as ports. A driver writes SOURCE, TARGET and LENGTH, then START;
BUSY stays set for as long as the copy takes, then DONE is, and INTA# is asserted until DONE is cleared by writing it.
"""

from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.device import GuestRam
from devmodel.board.pc import Board
from devmodel.devices.pci import COMMAND_MASTER, Bar, PciFunction

SLOT: Final = 5
VENDOR: Final = 0x1AF4
DEVICE: Final = 0x10F2
OTHER_SYSTEM_PERIPHERAL: Final = 0x088000
MOST: Final = 1 << 20
NS_PER_BYTE: Final = 8  # PCI at 33 MHz moves a double word in 30 ns


class Reg:
    """Offsets, each of 32 bits."""

    SOURCE: Final = 0x0
    TARGET: Final = 0x4
    LENGTH: Final = 0x8
    STATUS: Final = 0xC


START: Final = 0x1  # written
BUSY: Final = 0x1  # read
DONE: Final = 0x2  # read; written to clear it
REFUSED: Final = 0x4  # with DONE: the device may not be a bus master, or the length is out of range


@attrs.define
class CopierState:
    """Everything the chip remembers; `due` is in ns of guest time."""

    source: int = 0
    target: int = 0
    length: int = 0
    status: int = 0
    due: int = 0


class Copier:
    """Copies in one go when its time is over: what is read before is what was written before."""

    def __init__(self, *, clock: Clock, ram: GuestRam) -> None:
        """`ram` is guest memory as a bus master sees it."""
        self.clock = clock
        self.ram = ram
        self.state = CopierState()
        self.pci = PciFunction(
            name="copier",
            vendor=VENDOR,
            device=DEVICE,
            class_code=OTHER_SYSTEM_PERIPHERAL,
            bars={0: Bar(self, 16), 1: Bar(self, 16, space="pio")},
            pin=1,
        )

    def reset(self) -> None:
        """Power on."""
        self.state = CopierState()
        self._drive()

    def read(self, offset: int, size: int) -> int:
        """Read a register, or a part of it."""
        s = self.state
        register = (s.source, s.target, s.length, s.status)[offset >> 2]
        return register >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a register, whole: what is narrower is not taken."""
        s = self.state
        if size != 4:
            return
        match offset:
            case Reg.STATUS:
                s.status &= ~(value & DONE)
                if not s.status & DONE:
                    s.status &= ~REFUSED
                if value & START and not s.status & BUSY:
                    self._start()
            case _ if s.status & BUSY:
                pass
            case Reg.SOURCE:
                s.source = value
            case Reg.TARGET:
                s.target = value
            case Reg.LENGTH:
                s.length = value
        self._drive()

    def deadline(self) -> int | None:
        """Return when a copy is done."""
        return self.state.due if self.state.status & BUSY else None

    def tick(self) -> None:
        """Finish the copy, if its time has come."""
        s = self.state
        if s.status & BUSY and self.clock.now() >= s.due:
            self.ram.write(s.target, self.ram.read(s.source, s.length))
            s.status = DONE
            self._drive()

    def _start(self) -> None:
        s = self.state
        if self.pci.command & COMMAND_MASTER and 0 < s.length <= MOST:
            s.status = BUSY
            s.due = self.clock.now() + s.length * NS_PER_BYTE
        else:
            s.status = DONE | REFUSED

    def _drive(self) -> None:
        self.pci.interrupt(bool(self.state.status & DONE))


def build(board: Board, *, slot: str = str(SLOT)) -> None:
    """Add the copier to a PC."""
    board.add(Copier(clock=board.clock, ram=board.ram), name="copier", slot=int(slot, 0))
