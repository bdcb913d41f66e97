"""Motorola MC146818 real-time clock with 128 bytes of CMOS RAM, at ports 0x70 and 0x71.

Each whole second of the clock's own time, which is guest time plus `offset`, is an update cycle, which counts the time
registers on from what is in them. They are bytes of their own, and brought up to date when somebody looks. `cmos` has
what a PC keeps in the RAM. The battery outlives `reset`.
Not modelled: the square wave, time bases other than 32768 Hz.
"""

from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.board.lines import IrqLine
from devmodel.devices.calendar import (
    COUNTS,
    DAY,
    HOUR,
    MINUTE,
    advance,
    changed,
    second_of_day,
    to_registers,
    updates_to_carry,
    updates_to_change,
    value_of,
)

CRYSTAL: Final = 32_768  # Hz
UPDATE: Final = (244 + 1984) * 1000  # ns from UIP to the end of the update (t BUC + t UC)


class Port:
    """Offsets."""

    INDEX: Final = 0  # write only; reads float
    DATA: Final = 1


NMI_MASK: Final = 0x80
"""In what is written to the index's port."""


class Reg:
    """Indices in the RAM."""

    SECONDS_ALARM: Final = 0x01
    MINUTES_ALARM: Final = 0x03
    HOURS_ALARM: Final = 0x05
    A: Final = 0x0A
    B: Final = 0x0B
    C: Final = 0x0C
    D: Final = 0x0D
    CENTURY: Final = 0x32


TIME: Final = (0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, Reg.CENTURY)
"""Seconds, minutes, hours, day of the week, day, month, year, century."""
A_UIP: Final = 0x80
A_HELD: Final = 0x60  # both set: the divider is held in reset
B_SET: Final = 0x80
B_PIE: Final = 0x40
B_AIE: Final = 0x20
B_UIE: Final = 0x10
B_BINARY: Final = 0x04
B_24H: Final = 0x02
B_DSE: Final = 0x01
C_IRQF: Final = 0x80
D_VRT: Final = 0x80
DONT_CARE: Final = 0xC0


def _ram() -> bytearray:
    ram = bytearray(128)
    ram[Reg.A] = 0x26
    ram[Reg.B] = B_24H
    return ram


@attrs.define
class RtcState:
    """Everything the chip remembers."""

    ram: bytearray = attrs.field(factory=_ram)
    index: int = 0
    nmi_masked: bool = False  # port 0x70 bit 7, of the chip set (82371SB, NMI enable); it cannot be read
    offset: int = 0  # ns: the clock's own time is guest time plus this
    registers: bytes = bytes((0, 0, 0, 5, 1, 1, 0x70, 0x19))  # seconds to century, as they were after …
    counted: int = 0  # … this second of the clock's own time
    flags: int = 0  # register C
    seen: int = 0  # the clock's time up to which flags are set
    fallen_back: bool = False  # it is the hour that daylight saving has made come again


@attrs.define(kw_only=True)
class Rtc:
    """The clock, its interrupt (IRQ8) and the RAM."""

    clock: Clock
    irq: IrqLine
    state: RtcState = attrs.field(factory=RtcState)
    _deadline: int | None = None

    def __attrs_post_init__(self) -> None:
        self._drive()

    def reset(self) -> None:
        """Pull RESET: interrupts are disabled; time and RAM stay."""
        self._catch_up()
        s = self.state
        s.ram[Reg.B] &= ~(B_PIE | B_AIE | B_UIE | 0x08) & 0xFF
        s.flags = 0
        s.index, s.nmi_masked = 0, False
        self._drive()

    def set_time(self, seconds: int) -> None:
        """Set the clock to `seconds` since 1970-01-01 00:00, as it shall show it."""
        s = self.state
        s.offset = seconds * NS_PER_S - self.clock.now()
        s.seen = seconds * NS_PER_S
        s.counted = seconds
        s.fallen_back = False
        s.registers = to_registers(seconds, **self._format())
        self._drive()

    def deadline(self) -> int | None:
        """Return when an enabled flag will next raise the interrupt."""
        return self._deadline

    def tick(self) -> None:
        """Set the flags that time has set."""
        self._catch_up()
        self._drive()

    # -- ports --------------------------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        """Read the register or RAM byte that the index names."""
        if offset != Port.DATA:
            return 0xFF
        s = self.state
        index = s.index
        if index in TIME:
            return self._registers()[TIME.index(index)]
        match index:
            case Reg.A:
                return s.ram[Reg.A] | (A_UIP if self._updating() else 0)
            case Reg.C:
                self._catch_up()
                value = s.flags | (C_IRQF if s.flags & s.ram[Reg.B] & 0x70 else 0)
                s.flags = 0
                self._drive()
                return value
            case Reg.D:
                return D_VRT
            case _:
                return s.ram[index]

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write the index, or what it names."""
        s = self.state
        value &= 0xFF
        if offset == Port.INDEX:
            s.index, s.nmi_masked = value & 0x7F, value & NMI_MASK != 0
            return
        self._catch_up()
        index = s.index
        if index in TIME:
            self._write_time(TIME.index(index), value)
        elif index in {Reg.A, Reg.B}:
            self._write_control(index, value)
        elif index not in {Reg.C, Reg.D}:
            s.ram[index] = value
        self._drive()

    def _write_time(self, field: int, value: int) -> None:
        s = self.state
        registers = bytearray(self._registers())
        registers[field] = value
        s.registers = bytes(registers)
        s.fallen_back = False

    def _write_control(self, index: int, value: int) -> None:
        s = self.state
        was_held = s.ram[Reg.A] & A_HELD == A_HELD
        self._registers()  # in the old format, and until now
        if index == Reg.A:
            s.ram[Reg.A] = value & 0x7F
        else:
            s.ram[Reg.B] = value & ~B_UIE if value & B_SET else value
        held = s.ram[Reg.A] & A_HELD == A_HELD
        if was_held and not held:
            # The first update comes half a second after the divider is let go.
            half = NS_PER_S // 2
            now = s.offset + self.clock.now()
            s.offset += half - now % NS_PER_S
            s.seen = s.offset + self.clock.now()
            s.counted = s.seen // NS_PER_S

    # -- time ---------------------------------------------------------------------------------------------

    def _now(self) -> int:
        """Return the clock's own time in ns."""
        return self.state.offset + self.clock.now()

    def _format(self) -> dict[str, bool]:
        mode = self.state.ram[Reg.B]
        return {"binary": bool(mode & B_BINARY), "hours24": bool(mode & B_24H)}

    def _stopped(self) -> bool:
        """Whether SET, or the divider's reset, keeps the registers from counting."""
        s = self.state
        return bool(s.ram[Reg.B] & B_SET) or s.ram[Reg.A] & A_HELD == A_HELD

    def _registers(self) -> bytes:
        """Return the time registers, brought up to date; so are the flags, which follow from what they passed."""
        if self._now() // NS_PER_S > self.state.counted:
            self._catch_up()
        return self.state.registers

    def _count(self) -> None:
        """Count the time registers on."""
        s = self.state
        second = self._now() // NS_PER_S
        if second > s.counted:
            if not self._stopped():
                passed = second - s.counted
                s.registers, s.fallen_back = self._advance(s.registers, passed, s.fallen_back)
            s.counted = second

    def _advance(self, registers: bytes, updates: int, again: bool) -> tuple[bytes, bool]:
        """Return the registers so many updates later, and whether they show an hour that has come `again`."""
        mode = self._format()
        if not self.state.ram[Reg.B] & B_DSE:
            return advance(registers, updates, **mode), False
        while (stretch := self._stretch(registers))[0] <= updates:
            length, changes = stretch
            updates -= length
            if changes:
                registers, again = changed(advance(registers, length - 1, **mode), **mode, again=again)
            else:
                registers = advance(registers, length, **mode)
        return advance(registers, updates, **mode), again

    def _stretch(self, registers: bytes) -> tuple[int, bool]:
        """Return how many updates come up to the next that daylight saving makes another, or may; and which it is."""
        updates = updates_to_change(registers, **self._format())
        if updates is not None:
            return updates, True
        of_day = second_of_day(registers, **self._format())
        if of_day is None:
            return updates_to_carry(registers, binary=self._format()["binary"]) or 1, False
        return DAY - of_day, False

    def _updating(self) -> bool:
        return not self._stopped() and self._now() % NS_PER_S >= NS_PER_S - UPDATE

    def _period(self) -> int:
        """Return the periodic interrupt's period in crystal pulses, or 0 for none."""
        s = self.state
        rate = s.ram[Reg.A] & 15
        if not rate or s.ram[Reg.A] & A_HELD == A_HELD:
            return 0
        return 1 << (rate + 7 if rate < 3 else rate) - 1

    def _catch_up(self) -> None:
        """Set the flags for what has happened since the last look; many times are once."""
        s = self.state
        now = self._now()
        if now <= s.seen:
            return
        period = self._period()
        if period:
            step = period * NS_PER_S
            if now * CRYSTAL // step != s.seen * CRYSTAL // step:
                s.flags |= B_PIE
        if not self._stopped() and now // NS_PER_S != s.seen // NS_PER_S:
            s.flags |= B_UIE
            alarm = self._next_alarm()  # as the registers were when we last looked
            if alarm is not None and alarm <= now // NS_PER_S:
                s.flags |= B_AIE
        s.seen = now
        self._count()

    def _next_alarm(self) -> int | None:
        """Return the first second after `counted` that matches the alarm, or None."""
        s = self.state
        registers, at, again = s.registers, s.counted, s.fallen_back
        hours, minutes, seconds = (self._matches(field) for field in range(2, -1, -1))
        while (of_day := second_of_day(registers, **self._format())) is None:
            run = updates_to_carry(registers, binary=self._format()["binary"])
            alarm = self._alarm_before_carry(registers, run, minutes, seconds)
            if alarm is not None:
                return at + alarm
            registers, again = self._advance(registers, run + 1, again)
            at += run + 1
            if self._alarmed(registers):
                return at
        if not (hours and minutes and seconds):
            return None
        while True:
            alarm = at - of_day + _next_match(of_day, hours, minutes, seconds)
            if not s.ram[Reg.B] & B_DSE or at + (length := self._stretch(registers)[0]) > alarm:
                return alarm
            registers, again = self._advance(registers, length, again)
            at += length
            if self._alarmed(registers):
                return at
            # It is midnight then, or what a change has made of the time.
            of_day = second_of_day(registers, **self._format()) or 0

    def _alarm_before_carry(
        self, registers: bytes, updates: int, minutes: list[int], seconds: list[int]
    ) -> int | None:
        """Return which of the next updates, before a carry into what shows no time, matches the alarm; or None."""
        if not updates or not seconds or not self._names(2, registers):
            return None
        if updates < MINUTE:  # the minute that it is need not be one
            if not self._names(1, registers):
                return None
            end, minutes = MINUTE, [0]
        else:
            end = HOUR
        begin = end - 1 - updates
        match = _next_match(begin, [0], minutes, seconds) if minutes else end
        return match - begin if match < end else None

    def _alarmed(self, registers: bytes) -> bool:
        """Whether these registers are what the alarm's name."""
        return all(self._names(field, registers) for field in range(3))

    def _names(self, field: int, registers: bytes) -> bool:
        """Whether the alarm names what a register holds."""
        return self._is_any(field) or self.state.ram[2 * field + 1] == registers[field]

    def _is_any(self, field: int) -> bool:
        """Whether the alarm is of any hour, minute or second."""
        value = self.state.ram[2 * field + 1]
        return value >= DONT_CARE and not (field == 2 and value & 0x3F and not self.state.ram[Reg.B] & B_24H)

    def _matches(self, field: int) -> list[int]:
        """Return the seconds, minutes or hours (field 0, 1, 2) that the alarm register names."""
        s = self.state
        if self._is_any(field):
            return list(range(COUNTS[field]))
        value = value_of(field, s.ram[2 * field + 1], **self._format())
        return [] if value is None else [value]

    # -- the interrupt ------------------------------------------------------------------------------------

    def _drive(self) -> None:
        s = self.state
        enabled = s.ram[Reg.B] & 0x70
        raised = bool(s.flags & enabled)
        self.irq.set(raised)
        self._deadline = None if raised or not enabled else self._next_event(enabled)

    def _next_event(self, enabled: int) -> int | None:
        """Return the guest time of the next enabled event."""
        s = self.state
        events = []
        period = self._period()
        if enabled & B_PIE and period:
            step = period * NS_PER_S
            events.append(-(-(s.seen * CRYSTAL // step + 1) * step // CRYSTAL))
        if not self._stopped():
            if enabled & B_UIE:
                events.append((s.seen // NS_PER_S + 1) * NS_PER_S)
            if enabled & B_AIE:
                alarm = self._next_alarm()
                if alarm is not None:
                    events.append(alarm * NS_PER_S)
        return min(events) - s.offset if events else None


def _next_match(of_day: int, hours: list[int], minutes: list[int], seconds: list[int]) -> int:
    """Return the first second behind one of the day, counted from the same midnight, that is of these."""
    for hour in hours:
        if hour * HOUR + HOUR - 1 <= of_day:
            continue
        for minute in minutes:
            begin = hour * HOUR + minute * 60
            if begin + 59 <= of_day:
                continue
            for second in seconds:
                if begin + second > of_day:
                    return begin + second
    return DAY + hours[0] * HOUR + minutes[0] * 60 + seconds[0]
