"""Intel 8254 programmable interval timer (data sheet 231164-005), as PC timer at ports 0x40-0x43.

The chip is `Pit`; `pit_counter` has what one counter does. Its CLK is 1193182 Hz exactly, from power-on:
pulse n falls at n * 10^9 / 1193182 ns, in integers, so it never drifts.

A `tick` that comes late makes one edge of OUT0, however many it missed: the interrupt controller can hold
one more (HVM_PARAM_TIMER_MODE 3, one_missed_tick_pending) and a storm of old ticks helps nobody.
Not modelled: OUT1 (the refresh toggle in port 0x61 follows time), the 8253's differences.
"""

from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.board.lines import IrqLine
from devmodel.devices.pit_counter import Counter, CounterState

FREQUENCY: Final = 1_193_182  # Hz


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


@attrs.define(kw_only=True)
class Pit:
    """Three counters; OUT0 drives `irq`, GATE2 and OUT2 belong to port 0x61."""

    clock: Clock
    irq: IrqLine
    state: PitState = attrs.field(factory=PitState)
    _counters: list[Counter] = attrs.field(init=False, factory=list[Counter])

    def __attrs_post_init__(self) -> None:
        self._counters[:] = [Counter(s) for s in self.state.counters]
        self._drive()

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
        if offset < Reg.CONTROL:
            self._counters[offset].write(value, now)
        elif offset == Reg.CONTROL:
            self._control(value, now)
        self._drive()

    def _control(self, value: int, now: int) -> None:
        select = value >> 6
        if select == READ_BACK:
            for i, counter in enumerate(self._counters):
                if value & 2 << i:
                    if not value & READ_BACK_NO_COUNT:
                        counter.latch_count(now)
                    if not value & READ_BACK_NO_STATUS:
                        counter.latch_status(now)
        elif value & 0x30:
            self._counters[select].set_control(value & 0x3F, now)
        else:
            self._counters[select].latch_count(now)

    def set_gate(self, counter: int, level: bool) -> None:
        """Drive a GATE input (counter 2's is port 0x61 bit 0; the others are tied high on a PC)."""
        self._counters[counter].set_gate(level, self._now())
        self._drive()

    def output(self, counter: int) -> bool:
        """Return the level of an OUT pin now."""
        now = self._now()
        chosen = self._counters[counter]
        chosen.advance(now)
        return chosen.out(now)

    def deadline(self) -> int | None:
        """Return when OUT0 next changes."""
        change = self._counters[0].next_change(self.state.counters[0].seen)
        return None if change is None else -(-change * NS_PER_S // FREQUENCY)

    def tick(self) -> None:
        """Follow OUT0."""
        self._drive()

    def _now(self) -> int:
        return self.clock.now() * FREQUENCY // NS_PER_S

    def _drive(self) -> None:
        now = self._now()
        counter = self._counters[0]
        if counter.rose(now):
            self.irq.set(False)
            self.irq.set(True)
        self.irq.set(counter.out(now))
