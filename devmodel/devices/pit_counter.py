"""One counter of the 8254 (Intel data sheet 231164-005, "Mode definitions").

Nothing counts here: a counter remembers the CLK pulse at which its counting element was loaded, and
everything else follows from the number of pulses since. `tick` below is such a number of pulses.

Not modelled: what the data sheet leaves undefined (a count of 1 in modes 2 and 3 gives a constant OUT,
BCD digits above 9 count as their value).
"""

from typing import Final

import attrs


class Mode:
    """Control word M2-M0; 6 and 7 are 2 and 3."""

    TERMINAL_COUNT: Final = 0
    ONE_SHOT: Final = 1
    RATE: Final = 2
    SQUARE: Final = 3
    SOFTWARE_STROBE: Final = 4
    HARDWARE_STROBE: Final = 5


class Access:
    """Control word RW1-RW0."""

    LSB: Final = 1
    MSB: Final = 2
    WORD: Final = 3


@attrs.define
class CounterState:
    """Everything one counter remembers."""

    control: int = 0x36  # D5-D0 of the last control word, as the status byte gives it back
    count_register: int = 0  # CR
    written: bool = False  # CR has been written since the control word
    null_count: bool = True  # CR not yet moved into the counting element
    first_byte: int | None = None  # of a two-byte write
    msb_next: bool = False  # of a two-byte read
    count_latch: int | None = None  # OL
    status_latch: int | None = None
    gate: bool = True
    # The counting element CE
    loaded: bool = False  # OUT follows the element; else it has its initial level
    period: int = 0x1_0000  # the count in effect, 1 to 65536
    start: int = 0  # the pulse that loaded it
    held: int | None = None  # modes 0 and 4: pulses counted when GATE stopped it
    struck: bool = False  # mode 4: GATE stopped it at the pulse of the strobe, which is over
    load_at: int | None = None  # the pulse that will load CR
    frozen: int = 0  # what reads as the count while not loaded
    seen: int = 0  # rising edges up to this pulse are in `risen`
    risen: bool = False  # OUT has risen by counting, and nobody was told yet
    rises: int = 0  # how often, in modes 2 and 3


def _mode(control: int) -> int:
    """Return the mode of a control word."""
    mode = control >> 1 & 7
    return mode if mode < 6 else mode - 4


@attrs.define
class Counter:
    """A counter: CR, OL, CE, GATE and OUT."""

    state: CounterState
    mode: int = attrs.field(init=False)
    """0 to 5: decoded when the control word is written."""

    def __attrs_post_init__(self) -> None:
        self.mode = _mode(self.state.control)

    # -- writing ------------------------------------------------------------------------------------------

    def set_control(self, control: int, tick: int) -> None:
        """Take a control word's low six bits: all logic is reset and OUT goes to its initial level."""
        s = self.state
        self._note(tick)
        s.frozen = self.count(tick)
        low = not self.out(tick)
        s.control = control
        self.mode = _mode(control)
        s.null_count = True
        s.first_byte = s.count_latch = s.status_latch = s.load_at = s.held = None
        s.msb_next = s.loaded = s.written = s.struck = False
        if low and self.out(tick):
            s.risen = True

    def write(self, value: int, tick: int) -> bool:
        """Take one byte for the count register, as RW1-RW0 say; False if it has no effect before another."""
        s = self.state
        access = s.control >> 4 & 3
        first = access == Access.WORD and s.first_byte is None
        if first and self.mode != Mode.TERMINAL_COUNT:
            s.first_byte = value
            return False
        self._note(tick)
        match access:
            case Access.LSB:
                count = value
            case Access.MSB:
                count = value << 8
            case _ if first:  # stops counting in mode 0, and OUT is low at once
                s.first_byte = value
                s.frozen = self.count(tick)
                s.loaded = False
                s.load_at = None
                return True
            case _:
                count = value << 8 | (s.first_byte or 0)
                s.first_byte = None
        s.count_register = count
        s.null_count = True
        match self.mode:
            case Mode.TERMINAL_COUNT:
                if s.loaded:
                    s.frozen = self.count(tick)
                    s.loaded = False
                s.load_at = tick + 1
            case Mode.SOFTWARE_STROBE:
                s.load_at = tick + 1
            case Mode.RATE | Mode.SQUARE:
                if not s.written:
                    s.load_at = tick + 1
                elif s.loaded:
                    s.load_at = self._end_of_cycle(tick)
            case _:
                pass  # modes 1 and 5 wait for a trigger
        s.written = True
        return True

    def set_gate(self, gate: bool, tick: int) -> None:
        """Drive GATE: a level to modes 0, 2, 3 and 4, a rising edge to modes 1, 2, 3 and 5."""
        s = self.state
        if gate == s.gate:
            return
        self._note(tick)
        s.gate = gate
        match self.mode:
            case Mode.TERMINAL_COUNT | Mode.SOFTWARE_STROBE:
                if not s.loaded:
                    pass  # a load that is due still happens, and then counting waits for GATE
                elif not gate:
                    s.held = tick - s.start
                else:
                    held = s.held or 0
                    if held == s.period and self._strobes(held) and tick > s.start + held:
                        s.struck = True  # it does so once, though counting goes on from there
                    s.start = tick - held
                    s.held = None
            case _ if gate:
                if s.written:
                    s.load_at = tick + 1
            case Mode.RATE | Mode.SQUARE if s.loaded:
                s.risen = s.risen or not self.out(tick)
                s.frozen = self.count(tick)
                s.loaded = False  # OUT goes high at once
                s.load_at = None
            case _:
                pass

    def _end_of_cycle(self, tick: int) -> int:
        """Return the pulse at which a running mode 2 cycle or mode 3 half cycle ends."""
        s = self.state
        done = (tick - s.start) // s.period * s.period
        high = (s.period + 1) // 2
        if self.mode == Mode.SQUARE and tick - s.start - done < high:
            return s.start + done + high
        return s.start + done + s.period

    # -- following time -----------------------------------------------------------------------------------

    def advance(self, tick: int) -> None:
        """Do the load that has become due by `tick`."""
        s = self.state
        due = s.load_at
        if due is None or tick < due:
            return
        self._count_rises(due)
        s.seen = due
        s.load_at = None
        mode = self.mode
        low_half = mode == Mode.SQUARE and s.loaded and (due - s.start) % s.period != 0
        s.period = self._binary(s.count_register)
        s.start = due
        if low_half:  # the new count begins with the half that the old one left undone
            s.start -= (s.period + 1) // 2
        s.null_count = s.struck = False
        s.loaded = True
        s.held = None
        if not s.gate:
            if mode in {Mode.TERMINAL_COUNT, Mode.SOFTWARE_STROBE}:
                s.held = 0
            elif mode in {Mode.RATE, Mode.SQUARE}:
                s.frozen = self.count(due)
                s.loaded = False

    def _note(self, tick: int) -> None:
        """Remember an edge that time has made, before an access changes what the counter does."""
        s = self.state
        if s.load_at is not None:
            self.advance(tick)
        if tick != s.seen:
            self._count_rises(tick)
            s.seen = tick

    def _count_rises(self, tick: int) -> None:
        s = self.state
        if self.last_rise(tick) > s.seen:
            s.risen = True
            if self.mode in (Mode.RATE, Mode.SQUARE):
                s.rises += (tick - s.start) // s.period - max(s.seen - s.start, 0) // s.period

    def rose(self, tick: int) -> int:
        """Return how often OUT has risen by counting since this was last asked."""
        self._note(tick)
        s = self.state
        rises = max(s.rises, int(s.risen))
        s.risen, s.rises = False, 0
        return rises

    def cycle_ends_after(self, tick: int) -> int | None:
        """Return the first pulse behind `tick` at which a cycle of mode 2 or 3 ends; None if none goes on."""
        s = self.state
        if (
            not s.loaded
            or s.load_at is not None
            or s.period == 1
            or self.mode not in (Mode.RATE, Mode.SQUARE)
        ):
            return None
        return s.start + ((tick - s.start) // s.period + 1) * s.period

    def last_rise(self, tick: int) -> int:
        """Return the last pulse up to `tick` at which counting made OUT rise, or -1."""
        s = self.state
        if not s.loaded or s.struck or (s.held is not None and not self._strobes(s.held)):
            return -1
        elapsed = tick - s.start
        match self.mode:
            case Mode.RATE | Mode.SQUARE:
                cycles = elapsed // s.period
                return s.start + cycles * s.period if cycles and s.period > 1 else -1
            case Mode.SOFTWARE_STROBE | Mode.HARDWARE_STROBE:
                rise = s.period + 1
            case _:
                rise = s.period
        return s.start + rise if elapsed >= rise else -1

    def next_change(self, tick: int) -> int | None:
        """Return the next pulse at which somebody who watches OUT should look, or None.

        The strobes of modes 2, 4 and 5 are one pulse low; only their end is worth waking up for.
        """
        s = self.state
        due = s.load_at
        mode = self.mode
        silent = not s.loaded or (mode == Mode.SOFTWARE_STROBE and self.out(tick))
        if due is not None and silent and mode & 3 != 1:
            return self._first_change(mode, due) if s.gate else None
        if not s.loaded or (s.held is not None and not self._strobes(s.held)):
            return due
        elapsed = tick - s.start
        change: int | None = None
        match mode:
            case Mode.RATE | Mode.SQUARE if s.period == 1:
                pass
            case Mode.RATE:
                change = (elapsed // s.period + 1) * s.period
            case Mode.SQUARE:
                cycle = elapsed // s.period * s.period
                high = (s.period + 1) // 2
                change = cycle + (high if elapsed - cycle < high else s.period)
            case Mode.SOFTWARE_STROBE | Mode.HARDWARE_STROBE:
                change = s.period + 1 if elapsed <= s.period and not s.struck else None
            case _:
                change = s.period if elapsed < s.period else None
        if change is None:
            return due
        change += s.start
        return change if due is None else min(change, due)

    def _first_change(self, mode: int, due: int) -> int:
        """Return the first change of OUT after a load at pulse `due`, which itself changes nothing."""
        period = self._binary(self.state.count_register)
        if mode == Mode.SQUARE:
            return due + (period + 1) // 2
        return due + period + (mode == Mode.SOFTWARE_STROBE)

    # -- looking ------------------------------------------------------------------------------------------

    def out(self, tick: int) -> bool:
        """Return the level of OUT. `advance` must have been called for this `tick`."""
        s = self.state
        mode = self.mode
        if not s.loaded:
            return mode != Mode.TERMINAL_COUNT
        elapsed = tick - s.start if s.held is None or self._strobes(s.held) else s.held
        match mode:
            case Mode.RATE:
                return s.period == 1 or elapsed % s.period != s.period - 1
            case Mode.SQUARE:
                return elapsed % s.period < (s.period + 1) // 2
            case Mode.SOFTWARE_STROBE | Mode.HARDWARE_STROBE:
                return elapsed != s.period or s.struck
            case _:
                return elapsed >= s.period

    def _strobes(self, counted: int) -> bool:
        """Whether mode 4 has come to its strobe, which lasts one pulse of CLK whatever GATE does.

        Data sheet 231164-005, mode 4: GATE "has no effect on OUT", it only enables counting.
        """
        return self.mode == Mode.SOFTWARE_STROBE and counted >= self.state.period

    def count(self, tick: int) -> int:
        """Return the counting element as it reads (BCD or binary)."""
        s = self.state
        if not s.loaded:
            return s.frozen
        elapsed = tick - s.start if s.held is None else s.held
        match self.mode:
            case Mode.RATE:
                count = s.period - elapsed % s.period
            case Mode.SQUARE:
                elapsed %= s.period
                high = (s.period + 1) // 2
                half = elapsed if elapsed < high else elapsed - high
                count = (s.period & ~1) - 2 * half
            case _:
                count = s.period - elapsed
        if not s.control & 1:
            return count & 0xFFFF
        count %= 10_000
        return count // 1000 << 12 | count // 100 % 10 << 8 | count // 10 % 10 << 4 | count % 10

    def _binary(self, register: int) -> int:
        """Return what a count register counts: 1 to 65536, or to 10000 in BCD."""
        if not self.state.control & 1:
            return register or 0x1_0000
        digits = (register >> 12) * 1000 + (register >> 8 & 15) * 100 + (register >> 4 & 15) * 10
        return digits + (register & 15) or 10_000

    # -- reading ------------------------------------------------------------------------------------------

    def latch_count(self, tick: int) -> None:
        """Counter latch command: the first one holds until it is read."""
        s = self.state
        if s.count_latch is None:
            self.advance(tick)
            s.count_latch = self.count(tick)
            s.msb_next = False  # after half a read the data sheet does not say; QEMU and Bochs start over

    def latch_status(self, tick: int) -> None:
        """Read-back command with STATUS low: the first one holds until it is read."""
        s = self.state
        if s.status_latch is None:
            self.advance(tick)
            s.status_latch = self.out(tick) << 7 | s.null_count << 6 | s.control

    def read(self, tick: int) -> int:
        """Return the next byte: latched status, latched count, or the count as it runs."""
        s = self.state
        if s.status_latch is not None:
            value, s.status_latch = s.status_latch, None
            return value
        if s.count_latch is None:
            self.advance(tick)
            count = self.count(tick)
        else:
            count = s.count_latch
        match s.control >> 4 & 3:
            case Access.LSB:
                s.count_latch = None
                return count & 0xFF
            case Access.MSB:
                s.count_latch = None
                return count >> 8
            case _ if s.msb_next:
                s.msb_next = False
                s.count_latch = None
                return count >> 8
            case _:
                s.msb_next = True
                return count & 0xFF
