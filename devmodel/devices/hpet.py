"""High precision event timers (IA-PC HPET specification 1.0a, October 2004): a 64-bit counter at 100 MHz, three timers.

With legacy replacement, timer 0 has the interrupt request of the 8254 and timer 1 that of the clock chip; otherwise a
timer has the one that its INT_ROUTE names, of those that are free for it. An edge stays high until the timer matches
again or is programmed: an 8259A wants it high until the processor takes it.
Not modelled: FSB delivery (the capability bit is 0); accesses that are neither 32 nor 64 bits wide, which the
specification does not allow (reads give the bytes, writes are dropped).
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import structlog

from devmodel.board.clock import Clock
from devmodel.board.device import ONES
from devmodel.board.lines import IrqLine

log = structlog.get_logger()

TICK: Final = 100
"""ns; the slowest counter that there may be (2.3.4).

Linux wants a comparator to be 128 ticks ahead when it looks at the counter again behind having set it, which takes two
accesses of device memory: 1.3 us would be too short, and it would say so, and ask for more, several times a boot.
"""
OLD_TICK: Final = 10  # ns, of what was saved when there was no other
FS_PER_NS: Final = 1_000_000
TIMERS: Final = 3
COUNTER_BITS: Final = ONES[8]
ROUTES: Final = 1 << 5 | 1 << 10 | 1 << 11
"""Interrupt requests that a timer can be routed to."""


class Reg:
    """Offsets (2.3.1)."""

    CAPABILITIES: Final = 0x000
    CONFIG: Final = 0x010
    STATUS: Final = 0x020
    COUNTER: Final = 0x0F0
    TIMER: Final = 0x100  # the first of the timers


TIMER_SIZE: Final = 0x20
TIMERS_BEGIN: Final = Reg.TIMER
TIMERS_END: Final = Reg.TIMER + TIMER_SIZE * TIMERS


class TimerReg:
    """Offsets in a timer's block."""

    CONFIG: Final = 0x00
    COMPARATOR: Final = 0x08
    FSB_ROUTE: Final = 0x10


CAPABILITIES: Final = 0x8086 << 16 | 1 << 15 | 1 << 13 | TIMERS - 1 << 8 | 0x01
ENABLE: Final = 1
LEGACY: Final = 2

LEVEL: Final = 1 << 1
INTERRUPT: Final = 1 << 2
PERIODIC: Final = 1 << 3
SET_VALUE: Final = 1 << 6
MODE_32: Final = 1 << 8
ROUTE_SHIFT: Final = 9
ROUTE: Final = 0x1F << ROUTE_SHIFT
WRITABLE: Final = LEVEL | INTERRUPT | PERIODIC | SET_VALUE | MODE_32 | ROUTE
FIXED: Final = ROUTES << 32 | 1 << 5 | 1 << 4  # 64 bits wide, may be periodic


@attrs.define
class TimerState:
    """What a timer remembers."""

    config: int = 0
    comparator: int = COUNTER_BITS
    period: int = 0
    edge: bool = False
    """Its edge-triggered output is high."""


@attrs.define
class HpetState:
    """Everything the block remembers."""

    config: int = 0
    status: int = 0
    halted_at: int = 0
    """The counter, while it is halted."""
    started: int = 0
    """Guest time in ns at which the counter, running, was 0."""
    seen: int = 0
    """The counter up to which matches have been found."""
    tick: int = OLD_TICK
    """The period in ns, which a guest asks for once."""
    timers: list[TimerState] = attrs.field(factory=lambda: [TimerState() for _ in range(TIMERS)])


def _fresh() -> HpetState:
    return HpetState(tick=TICK)


@attrs.define(kw_only=True)
class Hpet:
    """The block of 1024 bytes. `irqs` are its drivers of ISA interrupt requests 0-15.

    `legacy` is told whether timers 0 and 1 have the interrupt requests of the 8254 and the clock chip.
    """

    clock: Clock
    irqs: Sequence[IrqLine]
    legacy: Callable[[bool], None] = lambda _: None
    state: HpetState = attrs.field(factory=_fresh)
    _least: int = 0
    """From `seen` on no timer matches before so many counts."""
    _driven: tuple[int, int] | None = None

    def __attrs_post_init__(self) -> None:
        self._drive()

    def reset(self) -> None:
        """Power on."""
        self.state = _fresh()
        self._least = 0
        self._drive()

    def read(self, offset: int, size: int) -> int:
        """Read a register, or half of one."""
        if offset & ~7 == Reg.COUNTER:  # the clock of a system: it needs no matches
            return self._counter() >> 8 * (offset & 7) & ONES[size]
        self._catch_up()
        return self._register(offset & ~7) >> 8 * (offset & 7) & ONES[size]

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a register, or half of one."""
        if size < 4 or offset % size:
            log.debug("hpet.bad_access", offset=offset, size=size)
            return
        self._catch_up()
        s = self.state
        at, shift = offset & ~7, 8 * (offset & 7)
        mask = ONES[size] << shift
        value <<= shift
        if TIMERS_BEGIN <= at < TIMERS_END:
            self._write_timer(at - TIMERS_BEGIN, value, mask)
            return
        match at:
            case Reg.STATUS:
                s.status &= ~value
            case Reg.CONFIG:
                self._configure((s.config & ~mask | value) & (ENABLE | LEGACY))
            case Reg.COUNTER if not s.config & ENABLE:
                s.halted_at = s.seen = s.halted_at & ~mask | value
                self._least = 0
            case _:
                log.debug("hpet.write_ignored", offset=offset, value=value)
        self._drive()

    def _register(self, at: int) -> int:
        """Return a register of 64 bits, but the counter."""
        s = self.state
        match at:
            case Reg.CAPABILITIES:
                return s.tick * FS_PER_NS << 32 | CAPABILITIES
            case Reg.CONFIG:
                return s.config
            case Reg.STATUS:
                return s.status
            case _ if Reg.TIMER <= at < TIMERS_END:
                number, register = divmod(at - Reg.TIMER, TIMER_SIZE)
                timer = s.timers[number]
                return (timer.config | FIXED, timer.comparator, 0, 0)[register >> 3]
            case _:
                return 0

    def _configure(self, config: int) -> None:
        s = self.state
        if config & ENABLE and not s.config & ENABLE:
            s.started = self.clock.now() - s.halted_at * s.tick
        elif s.config & ENABLE and not config & ENABLE:
            s.halted_at = self._counter()
        s.config = config

    def _write_timer(self, at: int, value: int, mask: int) -> None:
        """Write those bits of a timer's register that are under `mask`."""
        number, register = at // TIMER_SIZE, at % TIMER_SIZE
        timer = self.state.timers[number]
        ones = ONES[4] if timer.config & MODE_32 else COUNTER_BITS
        was_high, timer.edge = timer.edge, False
        match register:
            case TimerReg.COMPARATOR:
                periodic = timer.config & PERIODIC
                if not periodic or timer.config & SET_VALUE:
                    timer.comparator = (timer.comparator & ~mask | value) & ones
                if periodic:
                    timer.period = (timer.period & ~mask | value) & ones
                timer.config &= ~SET_VALUE
            case TimerReg.CONFIG:
                was_high = True
                new = timer.config & ~mask | value
                if not ROUTES >> (new >> ROUTE_SHIFT & 0x1F) & 1:  # reads back as something else (2.3.8)
                    new = new & ~ROUTE | timer.config & ROUTE
                timer.config = new & WRITABLE
                ones = _ones(timer)
                timer.comparator &= ones
                if not timer.config & LEVEL:
                    self.state.status &= ~(1 << number)
            case _:
                log.debug("hpet.write_ignored", offset=Reg.TIMER + at, value=value)
        left = (timer.comparator - self.state.seen - 1 & ones) + 1
        if left < self._least:  # noqa: PLR1730 - at half the price of min()
            self._least = left
        if was_high:
            self._drive()

    # -- time ---------------------------------------------------------------------------------------------

    def _counter(self) -> int:
        s = self.state
        if not s.config & ENABLE:
            return s.halted_at
        return (self.clock.now() - s.started) // s.tick & COUNTER_BITS

    def _left(self, timer: TimerState) -> int:
        """Return after how many counts from `seen` on a timer matches next."""
        return (timer.comparator - self.state.seen - 1 & _ones(timer)) + 1

    def _catch_up(self) -> None:
        """Find the matches up to now."""
        s = self.state
        # As `_counter`, without its call: every access but one comes here.
        counter = (
            (self.clock.now() - s.started) // s.tick & COUNTER_BITS if s.config & ENABLE else s.halted_at
        )
        passed = counter - s.seen & COUNTER_BITS
        if passed >= self._least:
            if s.config & ENABLE:
                for number, timer in enumerate(s.timers):
                    left = self._left(timer)
                    if left <= passed:
                        self._match(number, timer, passed - left)
            s.seen = counter
            self._least = min(map(self._left, s.timers))
        else:
            self._least -= passed
            s.seen = counter

    def _match(self, number: int, timer: TimerState, ago: int) -> None:
        """Have a timer match, so many counts ago."""
        if timer.config & PERIODIC and timer.period:
            times = ago // timer.period + 1
            timer.comparator = timer.comparator + times * timer.period & _ones(timer)
        if timer.config & LEVEL:
            self.state.status |= 1 << number
        elif timer.config & INTERRUPT:
            if timer.edge:
                timer.edge = False
                self._drive()  # low, for an edge
            timer.edge = True

    def deadline(self) -> int | None:
        """Return when a timer that interrupts matches next."""
        s = self.state
        if not s.config & ENABLE:
            return None
        left = [self._left(timer) for timer in s.timers if timer.config & INTERRUPT]
        return s.started + (s.seen + min(left)) * s.tick if left else None

    def tick(self) -> None:
        """Interrupt, if it is time."""
        self._catch_up()
        self._drive()

    def _drive(self) -> None:
        s = self.state
        replaces = s.config & LEGACY
        high = 0
        for number, timer in enumerate(s.timers):
            if not timer.config & INTERRUPT:
                continue
            if s.status >> number & 1 if timer.config & LEVEL else timer.edge:
                if replaces and number < 2:
                    high |= 1 << (0, 8)[number]
                else:
                    high |= 1 << (timer.config >> ROUTE_SHIFT & 0x1F) & ROUTES
        if self._driven == (replaces, high):
            return
        self._driven = replaces, high
        self.legacy(bool(replaces))
        for request, line in enumerate(self.irqs):
            line.set(bool(high >> request & 1))


def _ones(timer: TimerState) -> int:
    """Return the most that a timer's registers hold."""
    return ONES[4] if timer.config & MODE_32 else COUNTER_BITS
