"""The parallel port of a PC (IBM PC AT Technical Reference, Parallel Printer Adapter), with a printer at its end.

A byte in the data register is printed when STROBE# falls: the printer is BUSY, then acknowledges with a low pulse of
ACK#, at whose end IRQ 7 is requested if that is enabled. The request falls when the status is read, with the next
strobe, or when it is disabled. A printer that takes no more stays BUSY; one that cannot print says so by PE and ERROR#.
Not modelled: the data register as an input (PS/2), EPP and ECP: what drivers probe for them reads as in an AT.
"""

from collections.abc import Callable
from typing import Final, Protocol

import attrs

from devmodel.board.clock import Clock
from devmodel.board.lines import IrqLine

BUSY_NS: Final = 2_000  # from the strobe to the acknowledgement
ACK_NS: Final = 2_000  # a real printer's are some microseconds, too


class Reg:
    """Offsets."""

    DATA: Final = 0
    STATUS: Final = 1  # read only
    CONTROL: Final = 2


STATUS_READY: Final = 0x80  # BUSY, inverted
STATUS_NO_ACK: Final = 0x40  # ACK#
STATUS_PAPER_END: Final = 0x20
STATUS_SELECTED: Final = 0x10
STATUS_NO_ERROR: Final = 0x08  # ERROR#
STATUS_UNUSED: Final = 0x07
CONTROL_STROBE: Final = 0x01  # the pin is its inverse
CONTROL_INIT: Final = 0x04  # INIT#: low resets the printer
CONTROL_IRQ: Final = 0x10
CONTROL_BITS: Final = 0x1F
CONTROL_UNUSED: Final = 0xE0


class Printer(Protocol):
    """What is plugged in."""

    def room(self) -> bool:
        """Whether it takes another byte now."""
        ...

    def failing(self) -> bool:
        """Whether it cannot print."""
        ...

    def put(self, byte: int) -> None:
        """Take a byte; there must be room."""
        ...


class NoPrinter:
    """Nobody: what is printed is lost."""

    def room(self) -> bool:
        """Take all."""
        return True

    def failing(self) -> bool:
        """Complain of nothing."""
        return False

    def put(self, byte: int) -> None:
        """Forget it."""


class Step:
    """Where the printer is with a byte."""

    IDLE: Final = 0
    BUSY: Final = 1
    ACK: Final = 2


@attrs.define
class ParallelState:
    """Everything port and printer remember."""

    data: int = 0
    control: int = CONTROL_INIT
    step: int = Step.IDLE
    byte: int = 0  # that is being printed
    due: int = 0  # guest time in ns of the next step
    requested: bool = False  # the interrupt


@attrs.define(kw_only=True)
class Parallel:
    """One port, three registers. `rearm` hears that the printer takes bytes again, and so there is a deadline."""

    clock: Clock
    irq: IrqLine
    printer: Printer = attrs.field(factory=NoPrinter)
    rearm: Callable[[], None] = lambda: None
    state: ParallelState = attrs.field(factory=ParallelState)

    def reset(self) -> None:
        """Power on."""
        self.state = ParallelState()
        self._drive()

    def read(self, offset: int, _size: int) -> int:
        """Read a register."""
        s = self.state
        match offset:
            case Reg.DATA:
                return s.data
            case Reg.STATUS:
                self.tick()
                value = self._status()
                s.requested = False
                self._drive()
                return value
            case _:
                return CONTROL_UNUSED | s.control

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a register."""
        s = self.state
        value &= 0xFF
        if offset == Reg.DATA:
            s.data = value
        elif offset == Reg.CONTROL:
            self.tick()
            strobe = value & ~s.control & CONTROL_STROBE
            s.control = value & CONTROL_BITS
            if not value & CONTROL_INIT:
                s.step = Step.IDLE  # the printer is reset, and forgets the byte it had
            elif strobe and s.step == Step.IDLE:
                s.step, s.byte = Step.BUSY, s.data
                s.due = self.clock.now() + BUSY_NS
                s.requested = False
            self._drive()

    def deadline(self) -> int | None:
        """Return when the printer goes on; None while it waits for room."""
        s = self.state
        if s.step == Step.IDLE or (s.step == Step.BUSY and self._stuck()):
            return None
        return s.due

    def tick(self) -> None:
        """Print the byte, and acknowledge it, if it is time."""
        s = self.state
        now = self.clock.now()
        if s.step == Step.BUSY and now >= s.due and not self._stuck():
            self.printer.put(s.byte)
            s.step = Step.ACK
            s.due = max(s.due, now - ACK_NS) + ACK_NS
        if s.step == Step.ACK and now >= s.due:
            s.step = Step.IDLE
            s.requested = bool(s.control & CONTROL_IRQ)
            self._drive()

    def ready(self) -> None:
        """Hear that the printer has room again, or works again."""
        self.tick()
        self.rearm()

    def _stuck(self) -> bool:
        return self.printer.failing() or not self.printer.room()

    def _status(self) -> int:
        s = self.state
        status = STATUS_UNUSED
        if s.step == Step.IDLE and s.control & CONTROL_INIT and not self._stuck():
            status |= STATUS_READY
        if s.step != Step.ACK:
            status |= STATUS_NO_ACK
        if self.printer.failing():
            return status | STATUS_PAPER_END
        return status | STATUS_SELECTED | STATUS_NO_ERROR

    def _drive(self) -> None:
        s = self.state
        s.requested = s.requested and bool(s.control & CONTROL_IRQ)
        self.irq.set(s.requested)
