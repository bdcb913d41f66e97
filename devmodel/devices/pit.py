"""Intel 8254 programmable interval timer (data sheet 231164-005), as PC timer at ports 0x40-0x43.

The chip is `Pit`; `pit_counter` has what one counter does. Its CLK is 1193182 Hz exactly, from power-on:
pulse n falls at n * 10^9 / 1193182 ns, in integers, so it never drifts.

Ticks of OUT0 are missed when they come while the one before still waits to be accepted, or when we are late ourselves.
What becomes of them has four names in Xen (HVM_PARAM_TIMER_MODE, public/hvm/params.h); here `missed` is one of these:

* one_missed_tick_pending, which is what an 8254 on an 8259A does: all of them are one, as the request that waits is.
* no_missed_ticks_pending: those that we are late for are none, unless the last is still fresh.
* no_delay_for_missed_ticks: each is delivered, as soon as the one before it has been accepted.
* delay_for_missed_ticks: none is missed, since the counters stand still while a tick waits longer than a cycle; so the
  guest's time, as far as this chip has it, falls behind the host's. Other clocks of the guest do not.

Not modelled: OUT1 (the refresh toggle in port 0x61 follows time), the 8253's differences.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.board.lines import IrqLine
from devmodel.devices.pit_counter import Counter, CounterState

FREQUENCY: Final = 1_193_182  # Hz
MOST_OWED: Final = 10_000
"""Ticks that are delivered later, at most."""


class MissedTicks:
    """Xen's names for what becomes of ticks that are missed."""

    DELAY: Final = "delay_for_missed_ticks"
    NO_DELAY: Final = "no_delay_for_missed_ticks"
    NONE_PENDING: Final = "no_missed_ticks_pending"
    ONE_PENDING: Final = "one_missed_tick_pending"


MISSED_TICKS: Final = (
    MissedTicks.DELAY,
    MissedTicks.NO_DELAY,
    MissedTicks.NONE_PENDING,
    MissedTicks.ONE_PENDING,
)


class Reg:
    """Offsets (data sheet figure 5)."""

    COUNTER0: Final = 0
    COUNTER1: Final = 1
    COUNTER2: Final = 2
    CONTROL: Final = 3  # write only; reads float


READ_BACK: Final = 3  # SC1-SC0
READ_BACK_NO_COUNT: Final = 0x20
READ_BACK_NO_STATUS: Final = 0x10


@attrs.define
class PitState:
    """Everything the chip remembers."""

    counters: tuple[CounterState, CounterState, CounterState] = attrs.field(
        factory=lambda: (CounterState(), CounterState(), CounterState(gate=False))
    )
    owed: int = 0  # ticks to be delivered
    # The interrupt is held high until a tick has been accepted, whatever OUT0 does meanwhile.
    high: bool = False
    behind: int = 0  # pulses that the counters have stood still


@attrs.define(kw_only=True)
class Pit:
    """Three counters; OUT0 drives `irq`, GATE2 and OUT2 belong to port 0x61."""

    clock: Clock
    irq: IrqLine
    missed: str = MissedTicks.ONE_PENDING
    waits: Callable[[], bool] = lambda: False
    """Whether the last tick is requested of the processor, and not yet accepted."""
    state: PitState = attrs.field(factory=PitState)
    _counters: list[Counter] = attrs.field(init=False, factory=list[Counter])

    def __attrs_post_init__(self) -> None:
        self._counters[:] = [Counter(s) for s in self.state.counters]
        self._drive(self._now())

    def reset(self) -> None:
        """Power on; GATE pins stay as driven. The data sheet leaves modes undefined; here 3, not counting."""
        one, two, three = (CounterState(gate=old.gate) for old in self.state.counters)
        self.state = PitState((one, two, three))
        self.__attrs_post_init__()

    def read(self, offset: int, _size: int) -> int:
        """Read a counter, or what was latched of it."""
        if offset > Reg.COUNTER2:
            return 0xFF
        return self._counters[offset].read(self._now())

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a count or a control word."""
        now = self._now()
        value &= 0xFF
        if offset == Reg.COUNTER0 or (offset == Reg.CONTROL and value >> 6 == Reg.COUNTER0 and value & 0x30):
            self.state.owed, self.state.high = 0, False
        if offset < Reg.CONTROL:
            drives = self._counters[offset].write(value, now) and offset == Reg.COUNTER0
        else:
            drives = self._control(value, now) and value >> 6 == Reg.COUNTER0
        if drives:
            self._drive(now)

    def _control(self, value: int, now: int) -> bool:
        """Take a control word; False if it only latches, which changes no OUT."""
        select = value >> 6
        if select == READ_BACK:
            for i, counter in enumerate(self._counters):
                if value & 2 << i:
                    if not value & READ_BACK_NO_COUNT:
                        counter.latch_count(now)
                    if not value & READ_BACK_NO_STATUS:
                        counter.latch_status(now)
            return False
        if value & 0x30:
            self._counters[select].set_control(value & 0x3F, now)
            return True
        self._counters[select].latch_count(now)
        return False

    def set_gate(self, counter: int, level: bool) -> None:
        """Drive a GATE input (counter 2's is port 0x61 bit 0; the others are tied high on a PC)."""
        now = self._now()
        self._counters[counter].set_gate(level, now)
        if counter == 0:
            self._drive(now)

    def output(self, counter: int) -> bool:
        """Return the level of an OUT pin now."""
        now = self._now()
        chosen = self._counters[counter]
        chosen.advance(now)
        return chosen.out(now)

    def deadline(self) -> int | None:
        """Return when OUT0 next changes."""
        s = self.state
        change = self._counters[0].next_change(s.counters[0].seen)
        if change is None:
            return None
        if self.missed == MissedTicks.DELAY and (limit := self._limit()) is not None and change > limit:
            return None
        return -(-(change + s.behind) * NS_PER_S // FREQUENCY)

    def tick(self) -> None:
        """Follow OUT0."""
        self._drive(self._now())

    def accepted(self) -> None:
        """Hear that the processor has taken a tick: the next that it is owed may come."""
        s = self.state
        if self.missed == MissedTicks.DELAY:
            self._pulses(self._limit(waits=True))  # what it took so long for was no time
        elif self.missed != MissedTicks.NO_DELAY:
            return
        s.high = False
        if s.owed:
            s.owed -= 1
            self._edge()
        self._drive(self._now())

    def _now(self) -> int:
        """Return how many pulses of CLK there have been, for the counters."""
        if self.missed == MissedTicks.DELAY:
            return self._pulses(self._limit())
        return self.clock.now() * FREQUENCY // NS_PER_S - self.state.behind

    def _pulses(self, limit: int | None) -> int:
        """Return how many pulses of CLK there have been; not more than `limit`, where they stop."""
        s = self.state
        now = self.clock.now() * FREQUENCY // NS_PER_S - s.behind
        if limit is not None and now > limit:
            s.behind += now - limit
            return limit
        return now

    def _limit(self, *, waits: bool | None = None) -> int | None:
        """Return the pulse that time may not pass now, since it stands still for ticks: before one would be missed."""
        counter = self._counters[0]
        end = counter.cycle_ends_after(counter.state.seen)
        if end is None:
            return None
        if self.waits() if waits is None else waits:
            return end - 1
        return end + counter.state.period - 1

    def _drive(self, now: int) -> None:
        s = self.state
        counter = self._counters[0]
        rises = counter.rose(now)
        if rises and self.missed == MissedTicks.NO_DELAY:
            s.owed = min(s.owed + rises - 1 + self.waits(), MOST_OWED)
        if rises == 1 or (rises and not self._stale(now)):
            self._edge()
        self.irq.set(counter.out(now) or s.high)

    def _stale(self, now: int) -> bool:
        """Whether the last of several ticks is to count as missed, too."""
        counter = self._counters[0]
        return (
            self.missed == MissedTicks.NONE_PENDING
            and 2 * (now - counter.last_rise(now)) > counter.state.period
        )

    def _edge(self) -> None:
        self.state.high = self.missed in (MissedTicks.DELAY, MissedTicks.NO_DELAY)
        self.irq.set(False)
        self.irq.set(True)
