"""A timer at ports 0x508 to 0x50F that interrupts the guest every so many microseconds.

    devmodel run --board examples/ticker.py:build --board-option irq=10

The guest writes the period to PERIOD (0 stops it); a tick raises the interrupt request, reading TICKS lowers it again
and says how many ticks there have been since the last read.
"""

from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.lines import IrqLine, Line
from devmodel.board.pc import Board

BASE: Final = 0x508
NS_PER_US: Final = 1000
MOST_TICKS: Final = 0xFFFF_FFFF
"""As many as the register has room for."""


class Reg:
    """Offsets, each of 32 bits, to be accessed whole."""

    PERIOD: Final = 0
    TICKS: Final = 4


@attrs.define
class TickerState:
    """Everything the chip remembers. Times are in ns of guest time."""

    period: int = 0
    next: int = 0
    ticks: int = 0


@attrs.define(kw_only=True)
class Ticker:
    """`irq` is high from a tick until the guest has read TICKS."""

    clock: Clock
    irq: IrqLine = attrs.field(factory=Line)
    state: TickerState = attrs.field(factory=TickerState)

    def reset(self) -> None:
        """Power on: it does not tick."""
        self.state = TickerState()
        self._drive()

    def read(self, offset: int, size: int) -> int:
        """Read the period, or take the ticks."""
        s = self.state
        if size != 4:
            return 0
        if offset == Reg.PERIOD:
            return s.period // NS_PER_US
        ticks, s.ticks = min(s.ticks, MOST_TICKS), 0
        self._drive()
        return ticks

    def write(self, offset: int, size: int, value: int) -> None:
        """Set the period; the first tick is one period from now."""
        if offset == Reg.PERIOD and size == 4:
            self.state.period = value * NS_PER_US
            self.state.next = self.clock.now() + self.state.period

    def deadline(self) -> int | None:
        """Return when the next tick is due."""
        return self.state.next if self.state.period else None

    def tick(self) -> None:
        """Tick as often as was due: whoever calls may be late."""
        s = self.state
        if not s.period:
            return
        due = (self.clock.now() - s.next) // s.period + 1
        if due > 0:
            s.ticks += due
            s.next += due * s.period
            self._drive()

    def _drive(self) -> None:
        self.irq.set(self.state.ticks > 0)


def build(board: Board, *, irq: str = "5") -> None:
    """Add the ticker to a PC."""
    board.add(Ticker(clock=board.clock), name="ticker", ports=range(BASE, BASE + 8), irq=int(irq, 0), width=4)
