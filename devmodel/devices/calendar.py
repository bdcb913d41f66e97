"""The MC146818's time registers, from seconds and as they count: Gregorian, BCD or binary, 12 or 24 hours.

Two updates a year may be others, for daylight saving.
The registers are bytes of their own: nothing that a guest writes is refused or made something else, and each counts on
from what is in it. A value that is too large is the last of its kind, so that the next one is the first again.
"""

from typing import Final

DAY: Final = 86_400
HOUR: Final = 3_600
MINUTE: Final = 60
HOURS: Final = 2
"""The register; seconds and minutes are those before it."""
COUNTS: Final = (60, 60, 24)
"""How many seconds, minutes and hours there are."""
CHANGE: Final = 2 * HOUR - 1
"""The time of day behind which daylight saving begins or ends."""
APRIL: Final = 4
ERA: Final = 146_097  # days in 400 years
EPOCH: Final = 719_468  # days from 0000-03-01 to 1970-01-01
PM: Final = 0x80


def to_registers(seconds: int, *, binary: bool, hours24: bool) -> bytes:
    """Return seconds, minutes, hours, weekday (Sunday is 1), day, month, year, century."""
    days, rest = divmod(seconds, DAY)
    year, month, day = _date(days)
    hour = rest // 3600
    shown = hour if hours24 else (hour + 11) % 12 + 1
    fields = (
        rest % 60, rest // 60 % 60, shown, (days + 4) % 7 + 1, day, month,
        year % 100, year // 100 % 100,
    )  # fmt: skip
    registers = bytearray(fields if binary else (value // 10 << 4 | value % 10 for value in fields))
    if not hours24 and hour >= 12:
        registers[2] |= PM
    return bytes(registers)


def advance(registers: bytes, seconds: int, *, binary: bool, hours24: bool) -> bytes:
    """Return the registers `seconds` updates later."""
    if seconds <= 0:
        return registers
    raw = bytearray(registers)
    days = 0
    while seconds and _second_of_day(raw, binary=binary, hours24=hours24) is None:
        run = min(_run(raw, binary=binary), seconds)
        if run:
            _count_run(raw, run, binary=binary)
            seconds -= run
        else:
            days += _count_second(raw, binary=binary, hours24=hours24)
            seconds -= 1
    of_day = _second_of_day(raw, binary=binary, hours24=hours24)
    if of_day is not None:
        more, of_day = divmod(of_day + seconds, DAY)
        days += more
        raw[:3] = to_registers(of_day, binary=binary, hours24=hours24)[:3]
    while days and (date := _day_number(raw, binary=binary)) is None:
        _count_day(raw, binary=binary)
        days -= 1
    if days and date is not None:
        weekday = raw[3]
        raw[3:] = to_registers((date + days) * DAY, binary=binary, hours24=hours24)[3:]
        raw[3] = (weekday - 1 + days) % 7 + 1
    return bytes(raw)


def second_of_day(registers: bytes, *, binary: bool, hours24: bool) -> int | None:
    """Return how many seconds after midnight the registers show; None if that is no time."""
    return _second_of_day(bytearray(registers), binary=binary, hours24=hours24)


def value_of(field: int, register: int, *, binary: bool, hours24: bool) -> int | None:
    """Return the second, minute or hour that a register holds; None if that is none."""
    if field == HOURS and not hours24:
        hour = _number(register & ~PM, binary=binary)
        return None if hour is None or not 1 <= hour <= 12 else hour % 12 + (12 if register & PM else 0)
    value = _number(register, binary=binary)
    return value if value is not None and value < COUNTS[field] else None


def updates_to_carry(registers: bytes, *, binary: bool) -> int:
    """Return how many updates come, while the registers show no time, before one that counts what is wrong in them."""
    return _run(bytearray(registers), binary=binary)


def updates_to_change(registers: bytes, *, binary: bool, hours24: bool) -> int | None:
    """Return which update from now on is the next that daylight saving makes another; None while there is no date.

    They come behind 1:59:59 on the last Sunday of April and of October (MC146818, register B: DSE).
    """
    raw = bytearray(registers)
    of_day, today = second_of_day(registers, binary=binary, hours24=hours24), _day_number(raw, binary=binary)
    if of_day is None or today is None:
        return None
    year, _, _ = _date(today)
    ends = [_days(year, month, last) for month, last in ((4, 30), (10, 31), (4 + 12, 30), (10 + 12, 31))]
    sundays = [end - (raw[3] - 1 + end - today) % 7 for end in ends]
    return min(
        (day - today) * DAY + CHANGE - of_day + 1 for day in sundays if (day, CHANGE) >= (today, of_day)
    )


def changed(registers: bytes, *, binary: bool, hours24: bool, again: bool) -> tuple[bytes, bool]:
    """Return the registers behind that update, and whether the hour that they show is to come once more.

    The hour behind 1:59:59 is left out in April. In October the one before it comes again, but not `again` and again.
    """
    raw = bytearray(advance(registers, 1, binary=binary, hours24=hours24))
    april = _number(raw[5], binary=binary) == APRIL
    repeated = not april and not again
    raw[2] = 3 if april else 1 if repeated else 2
    return bytes(raw), repeated


def _number(value: int, *, binary: bool) -> int | None:
    """Return what a register holds; None if that is no number of two digits."""
    if binary:
        return value
    return (value >> 4) * 10 + (value & 15) if value & 15 < 10 and value >> 4 < 10 else None


def _run(raw: bytearray, *, binary: bool) -> int:
    """Return how many seconds can be counted before a carry into a register that shows no time, or out of one."""
    second, minute = _number(raw[0], binary=binary), _number(raw[1], binary=binary)
    if second is None or second > 59:
        return 0
    return (MINUTE if minute is None or minute > 59 else HOUR - minute * MINUTE) - second - 1


def _count_run(raw: bytearray, seconds: int, *, binary: bool) -> None:
    """Count so many seconds of a run on."""
    second, minute = _number(raw[0], binary=binary) or 0, _number(raw[1], binary=binary) or 0
    carry, second = divmod(second + seconds, 60)
    shown = to_registers(second + 60 * (minute + carry), binary=binary, hours24=True)
    raw[0] = shown[0]
    if carry:
        raw[1] = shown[1]


def _second_of_day(raw: bytearray, *, binary: bool, hours24: bool) -> int | None:
    second, minute, hour = (
        value_of(field, raw[field], binary=binary, hours24=hours24) for field in range(HOURS + 1)
    )
    if second is None or minute is None or hour is None:
        return None
    return hour * HOUR + minute * MINUTE + second


def _day_number(raw: bytearray, *, binary: bool) -> int | None:
    """Return the days from 1970-01-01 to the date that the registers show; None if there is no such date."""
    day, month, year, century = (_number(value, binary=binary) for value in raw[4:])
    if day is None or month is None or year is None or century is None:
        return None
    if not (1 <= raw[3] <= 7 and 1 <= month <= 12 and year <= 99 and century <= 99):
        return None
    return _days(century * 100 + year, month, day) if 1 <= day <= _length(raw, binary=binary) else None


def _length(raw: bytearray, *, binary: bool) -> int:
    """Return the days of the month that the registers show; of one that there is not, 31."""
    month, year, century = (_number(value, binary=binary) for value in raw[5:])
    if month == 2:
        whole = (century or 0) * 100 + (year or 0)
        return 29 if whole % 4 == 0 and (whole % 100 != 0 or whole % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


def _count(raw: bytearray, at: int, first: int, last: int, *, binary: bool) -> bool:
    """Count one register on; whether it has begun again at its first value."""
    value = raw[at]
    if value >= (last if binary else last // 10 << 4 | last % 10):
        raw[at] = first
        return True
    raw[at] = value + 7 if not binary and value & 15 == 9 else value + 1
    return False


def _count_second(raw: bytearray, *, binary: bool, hours24: bool) -> bool:
    """Count a second on; whether a new day has begun, which is not counted here."""
    if not _count(raw, 0, 0, 59, binary=binary) or not _count(raw, 1, 0, 59, binary=binary):
        return False
    if hours24:
        return _count(raw, 2, 0, 23, binary=binary)
    half = raw[2] & PM
    raw[2] &= ~PM & 0xFF
    eleven, twelve = (11, 12) if binary else (0x11, 0x12)
    turned = raw[2] == eleven
    _count(raw, 2, 1, 12, binary=binary)
    if turned:
        raw[2] = twelve
        half ^= PM
    raw[2] |= half
    return turned and not half


def _count_day(raw: bytearray, *, binary: bool) -> None:
    _count(raw, 3, 1, 7, binary=True)
    if not _count(raw, 4, 1, _length(raw, binary=binary), binary=binary):
        return
    if _count(raw, 5, 1, 12, binary=binary) and _count(raw, 6, 0, 99, binary=binary):
        _count(raw, 7, 0, 99, binary=binary)


def _days(year: int, month: int, day: int) -> int:
    """Return days since 1970-01-01. Years begin in March here, so that the leap day is the last."""
    months = year * 12 + month - 3
    year, month = divmod(months, 12)
    era, of_era = divmod(year, 400)
    of_year = (153 * month + 2) // 5 + day - 1
    return era * ERA + of_era * 365 + of_era // 4 - of_era // 100 + of_year - EPOCH


def _date(days: int) -> tuple[int, int, int]:
    """Return year, month and day."""
    era, of_era = divmod(days + EPOCH, ERA)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return era * 400 + year + (month <= 2), month, day
