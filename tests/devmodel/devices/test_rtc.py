"""The MC146818: time of day, interrupts, and the PC's RAM."""

import datetime as dt

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices import calendar
from devmodel.devices.calendar import advance, second_of_day, to_registers
from devmodel.devices.cmos import fill_cmos
from devmodel.devices.rtc import Rtc

SECOND = 10**9
START = int(dt.datetime(2024, 2, 29, 23, 59, 58, tzinfo=dt.UTC).timestamp())


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    line: Line = attrs.field(factory=Line)
    edges: list[int] = attrs.field(factory=list)
    rtc: Rtc = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.line.listeners.append(lambda level: self.edges.append(self.clock.time) if level else None)
        self.rtc = Rtc(clock=self.clock, irq=self.line)
        self.rtc.set_time(START)

    def set(self, index: int, value: int) -> None:
        self.rtc.write(0, 1, index)
        self.rtc.write(1, 1, value)

    def get(self, index: int) -> int:
        self.rtc.write(0, 1, index)
        return self.rtc.read(1, 1)

    def shown(self) -> list[int]:
        return [self.get(index) for index in (0x32, 9, 8, 7, 6, 4, 2, 0)]

    def run(self, until: int) -> None:
        """Let the pacer do its work."""
        while (deadline := self.rtc.deadline()) is not None and deadline <= until:
            assert deadline > self.clock.time
            self.clock.time = deadline
            self.rtc.tick()
        self.clock.time = until


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_with_12_hours_noon_and_midnight_turn_the_half_of_the_day() -> None:
    """MC146818 data sheet, time registers: hours 1 to 12, bit 7 of them is PM."""
    for binary, registers, wanted, turned in (
        (False, [0x59, 0x59, 0x11], [0, 0, 0x92], False),
        (False, [0x59, 0x59, 0x91], [0, 0, 0x12], True),
        (False, [0x59, 0x59, 0x12], [0, 0, 0x01], False),
        (True, [59, 59, 11], [0, 0, 0x8C], False),
        (True, [59, 59, 0x8B], [0, 0, 12], True),
    ):
        before = bytes(
            [*registers, 2, 0x01, 0x01, 0x24, 0x20] if not binary else [*registers, 2, 1, 1, 24, 20]
        )
        after = advance(before, 1, binary=binary, hours24=False)
        assert list(after[:3]) == wanted
        assert (after[4] != before[4]) == turned


def test_a_disk_of_more_cylinders_than_a_bios_has_is_translated() -> None:
    """SeaBIOS, hard disk translation: CMOS 39h, two bits a disk; 1 is LBA."""
    ram = bytearray(128)
    fill_cmos(
        ram,
        below_4g=1 << 20,
        above_4g=0,
        cpus=1,
        boot="c",
        geometries=[(1025, 16, 63), (1024, 16, 63)],
        floppies=[],
    )
    assert ram[0x39] == 0x01


def test_the_date_is_shown_in_bcd_and_24_hours(bench: Bench) -> None:
    assert bench.shown() == [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58]
    bench.clock.time = 2 * SECOND
    assert bench.shown() == [0x20, 0x24, 0x03, 0x01, 6, 0, 0, 0]


def test_binary_and_12_hours(bench: Bench) -> None:
    bench.set(0x0B, 0x84)
    for index, value in zip((0x32, 9, 8, 7, 6, 4, 2, 0), (20, 24, 2, 29, 5, 0x80 | 11, 59, 58), strict=True):
        bench.set(index, value)
    bench.set(0x0B, 0x04)
    bench.clock.time = 2 * SECOND
    assert bench.shown() == [20, 24, 3, 1, 6, 12, 0, 0]  # midnight
    bench.clock.time += 43_200 * SECOND
    assert bench.get(4) == 0x80 | 12  # noon


def test_nonsense_seconds_turn_the_half_of_the_day_too() -> None:
    """With 12 hours, what ends the minute at 11:59 AM makes noon of it, though its seconds were no number."""
    registers = bytes((0x5A, 0x59, 0x11, 5, 1, 1, 0x70, 0x19))
    assert advance(registers, 1, binary=False, hours24=False)[:3] == bytes((0, 0, 0x92))


def test_the_clock_can_be_set_while_set_holds_it(bench: Bench) -> None:
    bench.set(0x0B, 0x82)
    for index, value in ((0, 0x30), (2, 0x45), (4, 0x06), (7, 0x15), (8, 0x08), (9, 0x99), (0x32, 0x19)):
        bench.set(index, value)
    bench.clock.time = 90 * SECOND
    assert bench.get(0) == 0x30
    bench.set(0x0B, 0x02)
    bench.clock.time = 91 * SECOND
    assert bench.shown() == [0x19, 0x99, 0x08, 0x15, bench.get(6), 0x06, 0x45, 0x31]


def test_update_in_progress_precedes_the_new_second(bench: Bench) -> None:
    for time, expected in ((0, 0x26), (997_700_000, 0x26), (997_800_000, 0xA6), (SECOND, 0x26)):
        bench.clock.time = time
        assert bench.get(0x0A) == expected


def test_the_update_interrupt_comes_each_second_and_reading_c_ends_it(bench: Bench) -> None:
    bench.set(0x0B, 0x12)
    bench.run(5 * SECOND)
    assert bench.edges == [SECOND]  # nobody read C
    assert bench.get(0x0C) == 0xF0  # with the alarm of 0:00:00 and the periodic flag
    assert not bench.line.level
    bench.run(6 * SECOND)
    assert bench.edges == [SECOND, 6 * SECOND]


@pytest.mark.parametrize(("rate", "hertz"), [(6, 1024), (15, 2), (1, 256), (2, 128), (3, 8192)])
def test_the_periodic_interrupt_has_its_rate(bench: Bench, rate: int, hertz: int) -> None:
    bench.set(0x0A, 0x20 | rate)
    bench.set(0x0B, 0x42)
    for i in range(1, 20):
        bench.run(-(-SECOND * i // hertz))
        assert len(bench.edges) == i
        assert bench.get(0x0C) & 0xC0 == 0xC0


def test_flags_are_set_without_interrupts_too(bench: Bench) -> None:
    bench.clock.time = SECOND + 1
    assert bench.rtc.deadline() is None
    assert bench.get(0x0C) == 0x50  # rate 6 is running
    assert bench.get(0x0C) == 0
    assert bench.edges == []


def test_periodic_interrupts_go_on_while_set_holds_the_time(bench: Bench) -> None:
    """SET inhibits the update cycle, and the divider counts on."""
    bench.set(0x0A, 0x2F)  # twice a second
    bench.set(0x0B, 0xC2)
    before = bench.shown()
    for half in range(1, 5):
        bench.run(half * SECOND // 2)
        assert bench.get(0x0C) == 0xC0
    assert bench.shown() == before


def test_registers_c_and_d_are_read_only(bench: Bench) -> None:
    for index, value in ((0x0C, 0x00), (0x0D, 0x80)):
        bench.set(index, 0x7F)
        assert bench.get(index) == value


def test_the_alarm_strikes_at_its_time(bench: Bench) -> None:
    for index, value in ((5, 0x00), (3, 0x01), (1, 0x30)):
        bench.set(index, value)
    bench.set(0x0B, 0x22)
    bench.run(3600 * SECOND)
    assert bench.edges == [92 * SECOND]
    assert bench.get(0x0C) & 0xA0 == 0xA0
    bench.run(100_000 * SECOND)
    assert bench.edges == [92 * SECOND, 86492 * SECOND]


def test_looking_at_the_time_loses_no_flag(bench: Bench) -> None:
    """The flags are set by the update cycle (MC146818, register C), whatever is read before C, and how late."""
    for index, value in ((5, 0xC0), (3, 0x00), (1, 0xC0)):
        bench.set(index, value)
    bench.clock.time = 2 * SECOND
    assert bench.shown() == [0x20, 0x24, 3, 1, 6, 0, 0, 0]
    bench.clock.time = 70 * SECOND
    assert bench.get(2) == 1
    assert bench.get(0x0C) == 0x70


def test_an_alarm_interrupts_although_the_guest_looks_at_the_time_before_the_pacer(bench: Bench) -> None:
    for index, value in ((5, 0x00), (3, 0x01), (1, 0x30)):
        bench.set(index, value)
    bench.set(0x0B, 0x22)
    bench.clock.time = 93 * SECOND
    assert bench.get(0) == 0x31
    bench.rtc.tick()
    assert bench.edges == [93 * SECOND]


def test_alarm_fields_above_c0_match_anything(bench: Bench) -> None:
    for index, value in ((5, 0xC0), (3, 0xFF), (1, 0x15)):
        bench.set(index, value)
    bench.set(0x0B, 0x22)
    for i in range(5):
        bench.run((17 + 60 * i) * SECOND)
        assert bench.get(0x0C) & 0x20
    assert bench.edges == [(17 + 60 * i) * SECOND for i in range(5)]


def test_the_divider_starts_half_a_second_before_an_update(bench: Bench) -> None:
    bench.set(0x0A, 0x76)
    bench.clock.time = 10 * SECOND + 123
    assert bench.get(0) == 0x58
    bench.set(0x0A, 0x26)
    bench.clock.time += SECOND // 2 - 1
    assert bench.get(0) == 0x58
    bench.clock.time += 1
    assert bench.get(0) == 0x59


def test_reset_disables_interrupts_and_keeps_time_and_ram(bench: Bench) -> None:
    bench.set(0x40, 0x77)
    bench.set(0x0B, 0x72)
    bench.run(SECOND)
    bench.rtc.reset()
    assert not bench.line.level
    assert (bench.get(0x0B), bench.get(0x40), bench.get(0), bench.get(0x0D)) == (2, 0x77, 0x59, 0x80)


def test_qemus_firmware_finds_the_memory() -> None:
    ram = bytearray(128)
    fill_cmos(
        ram, below_4g=64 << 20, above_4g=3 << 30, cpus=4, geometries=[(2080, 16, 63), None, (99, 16, 63)]
    )
    assert ram[0x15:0x19] == bytes([0x80, 0x02, 0x00, 0xFC])
    assert ram[0x30:0x32] == bytes([0x00, 0xFC])
    assert ram[0x34:0x36] == bytes([0x00, 0x03])
    assert ram[0x5B:0x60] == bytes([0x00, 0xC0, 0x00, 0x00, 0x03])
    assert (ram[0x3D], ram[0x38] & 0xF0) == (0x12, 0x30)
    assert (ram[0x12], ram[0x19], ram[0x39]) == (0xF0, 47, 1)
    assert ram[0x1B:0x24] == bytes([0x20, 0x08, 16, 0xFF, 0xFF, 0xC8, 0x20, 0x08, 63])


@pytest.mark.parametrize(
    ("floppies", "drives", "equipment"), [([], 0, 0x02), ([4], 0x40, 0x03), ([2, 5], 0x25, 0x43)]
)
def test_firmware_finds_the_floppy_drives(floppies: list[int], drives: int, equipment: int) -> None:
    ram = bytearray(128)
    fill_cmos(ram, below_4g=64 << 20, floppies=floppies)
    assert (ram[0x10], ram[0x14]) == (drives, equipment)
    assert sum(ram[0x10:0x2E]) == ram[0x2E] << 8 | ram[0x2F]


YEAR_1, YEAR_9999 = -62135596800, 253402300799  # in seconds since 1970


@given(st.integers(YEAR_1, YEAR_9999), st.integers(0, 10**9), st.booleans(), st.booleans())
def test_the_calendar_counts_as_python_does(seconds: int, later: int, binary: bool, hours24: bool) -> None:
    later = min(later, YEAR_9999 - seconds)
    registers = to_registers(seconds, binary=binary, hours24=hours24)
    assert advance(registers, later, binary=binary, hours24=hours24) == to_registers(
        seconds + later, binary=binary, hours24=hours24
    )
    if binary and hours24:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - no zone
        assert list(registers) == [
            moment.second, moment.minute, moment.hour, moment.isoweekday() % 7 + 1, moment.day,
            moment.month, moment.year % 100, moment.year // 100,
        ]  # fmt: skip


@given(st.binary(min_size=8, max_size=8), st.integers(0, 300), st.booleans(), st.booleans())
def test_nonsense_counts_on_and_in_one_go_as_in_many(
    registers: bytes, later: int, binary: bool, hours24: bool
) -> None:
    stepped = registers
    for _ in range(later):
        stepped = advance(stepped, 1, binary=binary, hours24=hours24)
    assert advance(registers, later, binary=binary, hours24=hours24) == stepped


@given(st.binary(min_size=8, max_size=8), st.booleans(), st.booleans())
def test_nonsense_becomes_a_time_within_two_years(registers: bytes, binary: bool, hours24: bool) -> None:
    later = advance(registers, 2 * 366 * 86_400, binary=binary, hours24=hours24)
    assert second_of_day(later, binary=binary, hours24=hours24) is not None


def test_the_date_is_set_register_by_register_while_the_clock_runs(bench: Bench) -> None:
    """MC146818A, "Time, calendar, and alarm locations": each is a byte. SeaBIOS's INT 1Ah AH=05h sets no SET."""
    bench.rtc.set_time(int(dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC).timestamp()))
    bench.set(0x07, 0x28)
    bench.set(0x08, 0x02)
    assert [bench.get(register) for register in (0x07, 0x08, 0x09, 0x32)] == [0x28, 0x02, 0x26, 0x20]
    bench.set(0x07, 0x31)  # there is no such day, but that is what is in the register
    assert [bench.get(register) for register in (0x07, 0x08)] == [0x31, 0x02]


def test_a_minute_that_is_none_changes_no_hour(bench: Bench) -> None:
    bench.rtc.set_time(12 * 3600)
    bench.set(0x02, 0x75)
    assert [bench.get(register) for register in (0x00, 0x02, 0x04)] == [0x00, 0x75, 0x12]


def test_formats_are_the_guests_business(bench: Bench) -> None:
    """MC146818A, register B: "the DM bit … cannot be changed without reinitializing the ten data bytes"."""
    bench.rtc.set_time(23 * 3600 + 45 * 60 + 10)
    before = [bench.get(register) for register in (0x00, 0x02, 0x04)]
    assert before == [0x10, 0x45, 0x23]
    bench.set(0x0B, 0x06)  # binary
    assert [bench.get(register) for register in (0x00, 0x02, 0x04)] == before
    bench.clock.advance(10**9)
    assert bench.get(0x00) == 0x11
    bench.set(0x0B, 0x00)  # BCD, 12 hours
    assert [bench.get(register) for register in (0x00, 0x02, 0x04)] == [0x11, 0x45, 0x23]


@pytest.mark.parametrize(
    ("year", "century", "day", "month"),
    [(0x00, 0x20, 0x29, 0x02), (0x00, 0x21, 0x01, 0x03), (0x24, 0x20, 0x29, 0x02), (0x26, 0x20, 0x01, 0x03)],
)
def test_the_day_after_28_february(bench: Bench, year: int, century: int, day: int, month: int) -> None:
    bench.set(0x0B, 0x82)
    for register, value in (
        (0, 0x59),
        (2, 0x59),
        (4, 0x23),
        (7, 0x28),
        (8, 0x02),
        (9, year),
        (0x32, century),
    ):
        bench.set(register, value)
    bench.set(0x0B, 0x02)
    bench.clock.advance(10**9)
    assert [bench.get(register) for register in (0x00, 0x02, 0x04, 0x07, 0x08)] == [0, 0, 0, day, month]


def test_bit_7_of_the_index_masks_nmis_and_is_no_part_of_the_index(bench: Bench) -> None:
    """82371SB data sheet, NMIEN: 1 disables NMIs; the register's lower bits are the clock's index."""
    assert not bench.rtc.state.nmi_masked
    bench.rtc.write(0, 1, 0x8F)
    assert (bench.rtc.state.nmi_masked, bench.rtc.state.index) == (True, 0x0F)
    bench.rtc.write(0, 1, 0x0F)
    assert not bench.rtc.state.nmi_masked


SPRING = int(dt.datetime(1997, 4, 27, 1, 59, 57, tzinfo=dt.UTC).timestamp())
AUTUMN = int(dt.datetime(1997, 10, 26, 1, 59, 57, tzinfo=dt.UTC).timestamp())
"""Two seconds before the last one, on the last Sundays of April and of October."""
SET, AIE, UIE, BINARY, DSE = 0x80, 0x20, 0x10, 0x04, 0x01


def saving(seconds: int, mode: int = 0x02 | DSE) -> Bench:
    """Return a clock that saves daylight, set to a time."""
    bench = Bench()
    bench.set(0x0B, mode)
    bench.rtc.set_time(seconds)
    return bench


@pytest.mark.parametrize(
    ("mode", "hours"),
    [(0x02, [0x01, 0x03]), (0x02 | BINARY, [1, 3]), (0x00, [0x01, 0x03]), (BINARY, [1, 3])],
)
def test_in_april_the_hour_from_two_to_three_is_left_out(mode: int, hours: list[int]) -> None:
    """MC146818 data sheet, register B, DSE: on the last Sunday in April 1:59:59 AM is followed by 3:00:00 AM."""
    bench = saving(SPRING, mode | DSE)
    bench.clock.advance(2 * SECOND)
    assert [bench.get(index) for index in (4, 2, 0)] == [hours[0], *[59 if mode & BINARY else 0x59] * 2]
    bench.clock.advance(SECOND)
    assert [bench.get(index) for index in (8, 7, 6, 4, 2, 0)] == [
        4,
        27 if mode & BINARY else 0x27,
        1,
        hours[1],
        0,
        0,
    ]


@pytest.mark.parametrize("mode", [0x02, 0x02 | BINARY, 0x00, BINARY])
def test_in_october_the_hour_from_one_to_two_comes_twice(mode: int) -> None:
    """The same place: when the time first reaches 1:59:59 AM on the last Sunday in October, 1:00:00 AM follows."""
    bench = saving(AUTUMN, mode | DSE)
    bench.clock.advance(3 * SECOND)
    assert bench.shown()[4:] == [1, 1, 0, 0]
    bench.clock.advance(3600 * SECOND)
    assert bench.shown()[4:] == [1, 2, 0, 0]


def test_without_dse_no_hour_is_left_out_or_comes_twice() -> None:
    for start in (SPRING, AUTUMN):
        bench = saving(start, 0x02)
        bench.clock.advance(3 * SECOND)
        assert bench.get(4) == 2


@pytest.mark.parametrize(
    ("year", "month", "day", "change"),
    [
        (1997, 4, 20, 0), (1997, 4, 26, 0), (1997, 5, 4, 0), (1997, 10, 19, 0), (1995, 4, 30, 1), (2000, 4, 30, 1),
        (2001, 4, 29, 1), (1999, 4, 25, 1), (1994, 4, 24, 1), (1999, 10, 31, -1), (1998, 10, 25, -1), (1997, 3, 30, 0),
        (1997, 11, 2, 0),
    ],
)  # fmt: skip
def test_it_is_the_last_sunday_and_no_other_day(year: int, month: int, day: int, change: int) -> None:
    bench = saving(int(dt.datetime(year, month, day, 1, 59, 59, tzinfo=dt.UTC).timestamp()))
    bench.clock.advance(SECOND)
    assert bench.get(4) == 2 + change


def test_an_afternoon_is_not_two_in_the_morning() -> None:
    bench = saving(SPRING + 12 * 3600, DSE)
    bench.clock.advance(3 * SECOND)
    assert bench.get(4) == 0x82


def test_sunday_is_what_the_day_of_the_week_says() -> None:
    """The chip knows no calendar: the day of the week is a register that counts from 1 to 7."""
    bench = saving(SPRING - 86_400)
    bench.set(6, 1)
    bench.clock.advance(3 * SECOND)
    assert bench.get(4) == 3
    bench.clock.advance(86_400 * SECOND - 3600 * SECOND)
    assert (bench.get(7), bench.get(4)) == (0x27, 2)


def test_years_without_a_look_save_daylight_as_often_as_seconds_do() -> None:
    """In a summer an hour is left out, and at the end of two nothing is."""
    year = 365 * 86_400
    bench = saving(SPRING)
    bench.clock.advance(60 * 86_400 * SECOND)
    assert bench.shown()[2:] == [6, 0x26, 5, 2, 0x59, 0x57]
    bench = saving(SPRING)
    bench.clock.advance((2 * year + 2 * 86_400) * SECOND)
    passed = bench.shown()
    single = saving(SPRING)
    while single.clock.time < bench.clock.time:
        single.clock.advance(min(1800 * SECOND, bench.clock.time - single.clock.time))
        single.get(0)
    assert single.shown() == passed
    assert passed[:3] == [0x19, 0x99, 0x04]


def test_set_holds_the_change_back() -> None:
    """Both are made by updates, which SET inhibits; time that is set while it is set is taken as it is."""
    bench = saving(SPRING)
    bench.set(0x0B, SET | 0x02 | DSE)
    bench.clock.advance(10 * SECOND)
    for index, value in ((4, 0x02), (2, 0x30), (0, 0x00)):
        bench.set(index, value)
    bench.set(0x0B, 0x02 | DSE)
    bench.clock.advance(SECOND)
    assert [bench.get(index) for index in (4, 2)] == [2, 0x30]


def test_the_hour_that_has_come_again_is_remembered_by_the_state() -> None:
    bench = saving(AUTUMN)
    bench.clock.advance(1800 * SECOND)
    bench.get(0)
    restored = Rtc(clock=bench.clock, irq=Line(), state=bench.rtc.state)
    bench.clock.advance(1803 * SECOND)
    restored.write(0, 1, 4)
    assert restored.read(1, 1) == 2


def test_a_time_that_is_set_anew_may_reach_the_change_anew() -> None:
    bench = saving(AUTUMN)
    bench.clock.advance(4 * SECOND)
    assert bench.get(4) == 1
    bench.set(2, 0x59)
    bench.set(0, 0x59)
    bench.clock.advance(SECOND)
    assert bench.shown()[5:] == [1, 0, 0]
    bench.clock.advance(3600 * SECOND)
    assert bench.get(4) == 2


@pytest.mark.parametrize(
    ("start", "alarm", "after"),
    [
        (SPRING, (0x03, 0x00, 0x00), 3),
        (SPRING, (0x03, 0x10, 0x00), 603),
        (SPRING, (0x02, 0x30, 0x00), 3 + 23 * 3600 + 1800),
        (SPRING, (0x01, 0x59, 0x59), 2),
        (AUTUMN, (0x01, 0x00, 0x00), 3),
        (AUTUMN, (0x01, 0x30, 0x00), 1803),
        (AUTUMN, (0x02, 0x00, 0x00), 3603),
        (AUTUMN, (0xFF, 0x00, 0x00), 3),
        (SPRING - 86_400, (0x03, 0x00, 0x01), 3 + 3601),
        (SPRING - 3600, (0x00, 0x30, 0x00), 3603 + 21 * 3600 + 1800),
    ],
)
def test_the_alarm_follows_the_hours(start: int, alarm: tuple[int, int, int], after: int) -> None:
    bench = saving(start)
    for index, value in zip((5, 3, 1), alarm, strict=True):
        bench.set(index, value)
    bench.set(0x0B, 0x02 | DSE | AIE)
    bench.run((after + 1) * SECOND)
    assert bench.edges == [after * SECOND]
    assert bench.get(0x0C) & 0x20


def test_an_alarm_behind_hours_of_nonsense_strikes() -> None:
    """Hours that are no number of two digits count on until they are; then it is a time like any other."""
    for mode in (0x02, 0x02 | DSE):
        bench = saving(SPRING + 86_400, mode)
        bench.set(4, 0x1C)
        for index, value in ((5, 0x23), (3, 0x00), (1, 0x00)):
            bench.set(index, value)
        bench.set(0x0B, mode | AIE)
        bench.run(9 * 3600 * SECOND)
        assert bench.edges == [(6 * 3600 + 3) * SECOND]  # 1Dh after three seconds, 20h three hours later


@given(st.binary(min_size=3, max_size=3), st.binary(min_size=3, max_size=3), st.sampled_from((0, 2, 4, 6)))
@settings(max_examples=12, deadline=None)
def test_an_alarm_from_nonsense_is_where_counting_second_by_second_finds_it(
    shown: bytes, alarm: bytes, mode: int
) -> None:
    bench = Bench()
    bench.set(0x0B, 0x80 | mode)
    for index, value in zip((0, 2, 4), shown, strict=True):
        bench.set(index, value)
    counting = bytearray(bench.rtc.state.registers)
    for index, value, near in zip((1, 3, 5), alarm, shown, strict=True):
        bench.set(index, value if value & 1 else near)  # few random bytes are met by any time
    bench.set(0x0B, AIE | mode)
    for seconds in range(1, 7 * 3600 + 1):
        calendar._count_second(counting, binary=bool(mode & 4), hours24=bool(mode & 2))
        if bench.rtc._alarmed(bytes(counting)):
            bench.run((seconds + 1) * SECOND)
            (struck,) = bench.edges
            assert -(-struck // SECOND) == seconds
            return
    bench.run(7 * 3600 * SECOND)
    assert bench.edges == []


def test_a_guest_that_writes_nonsense_makes_nobody_count_for_hours(bench: Bench, monkeypatch) -> None:
    """Each access once took 20 ms with an alarm awaited: a ring of posted writes held the server for ten seconds."""
    counted = []
    one = calendar._count_second
    monkeypatch.setattr(calendar, "_count_second", lambda *a, **k: (counted.append(1), one(*a, **k))[1])
    bench.set(0x0B, AIE | 2)
    for index, value in ((4, 0x0A), (2, 0x0A), (0, 0x0A), (5, 0x99), (3, 0x99), (1, 0x99)):
        del counted[:]
        bench.set(index, value)
        bench.clock.advance(8 * 3600 * SECOND)
        bench.get(0)
        assert len(counted) < 60


def test_an_alarm_of_another_minute_than_one_of_nonsense_strikes() -> None:
    """05:75:10 counts on to 06:00:00, as the minute is too large; the alarm of minute 30 comes half an hour later."""
    bench = saving(SPRING + 86_400, 0x02)
    for index, value in ((4, 0x05), (2, 0x75), (0, 0x10), (5, 0xFF), (3, 0x30), (1, 0x00)):
        bench.set(index, value)
    bench.set(0x0B, 0x02 | AIE)
    bench.run(3600 * SECOND)
    assert bench.edges == [(50 + 1800) * SECOND]


@pytest.mark.parametrize(
    ("hour", "minute", "alarm", "after"),
    [
        (0x1C, 0x10, (0xFF, 0x30, 0x00), 1190),
        (0x05, 0x75, (0xFF, 0xFF, 0x30), 20),
        (0x05, 0x75, (0xFF, 0x00, 0x30), 80),
        (0x05, 0x75, (0x05, 0x30, 0x30), 50 + 23 * 3600 + 1830),
    ],
)
def test_an_alarm_compares_registers_that_show_no_time(
    hour: int, minute: int, alarm: tuple[int, int, int], after: int
) -> None:
    """Hour and minute are as they are, ten seconds past; what is named is met before or behind the next carry."""
    bench = saving(SPRING + 86_400, 0x02)
    for index, value in zip((4, 2, 0, 5, 3, 1), (hour, minute, 0x10, *alarm), strict=True):
        bench.set(index, value)
    bench.set(0x0B, 0x02 | AIE)
    bench.run((after + 1) * SECOND)
    assert bench.edges == [after * SECOND]


def test_a_date_that_there_is_not_saves_no_daylight() -> None:
    bench = saving(SPRING)
    bench.set(8, 0x13)
    bench.clock.advance(3 * SECOND)
    assert bench.get(4) == 2
    bench.clock.advance(3 * 86_400 * SECOND)
    assert bench.get(4) == 2
