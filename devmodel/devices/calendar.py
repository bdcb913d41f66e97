"""The MC146818's time registers from and to seconds: Gregorian, BCD or binary, 12 or 24 hours.

Nothing a guest writes is refused: the 35th of the 14th month is a day some time later.
"""

from typing import Final

DAY: Final = 86_400
ERA: Final = 146_097  # days in 400 years
EPOCH: Final = 719_468  # days from 0000-03-01 to 1970-01-01
PM: Final = 0x80


def to_registers(seconds: int, weekday_shift: int, *, binary: bool, hours24: bool) -> bytes:
    """Return seconds, minutes, hours, weekday (Sunday is 1), day, month, year, century."""
    days, rest = divmod(seconds, DAY)
    year, month, day = _date(days)
    hour = rest // 3600
    shown = hour if hours24 else (hour + 11) % 12 + 1
    fields = (
        rest % 60, rest // 60 % 60, shown, (days + 4 + weekday_shift) % 7 + 1, day, month,
        year % 100, year // 100 % 100,
    )  # fmt: skip
    registers = bytearray(fields if binary else (value // 10 << 4 | value % 10 for value in fields))
    if not hours24 and hour >= 12:
        registers[2] |= PM
    return bytes(registers)


def from_registers(registers: bytes, *, binary: bool, hours24: bool) -> tuple[int, int]:
    """Return seconds since 1970-01-01 and the shift of the week that makes the weekday come out."""
    afternoon = not hours24 and registers[2] & PM
    raw = bytearray(registers)
    if not hours24:
        raw[2] &= ~PM & 0xFF
    fields = list(raw) if binary else [(value >> 4) * 10 + (value & 15) for value in raw]
    second, minute, hour, weekday, day, month, year, century = fields
    if not hours24:
        hour = hour % 12 + (12 if afternoon else 0)
    days = _days(century * 100 + year, month, day)
    return days * DAY + hour * 3600 + minute * 60 + second, (weekday - 1 - (days + 4)) % 7


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
