"""SMART of a hard disk (ATA/ATAPI-6, T13/1410D, 8.41): its data, thresholds, self-tests and error log.

What it tells is what the drive knows: hours since power-on, and errors of its medium. Off-line data collection takes
its time, and goes on only while the drive has nothing else to do: a command suspends it, and the command's end resumes
it. Self-tests find their result at once.
Not modelled: automatic off-line data collection, comprehensive logs.
"""

import struct
from typing import Final

from devmodel.board.clock import NS_PER_S
from devmodel.devices.ata_registers import AtaState, Power

KEY_MID: Final = 0x4F
KEY_HIGH: Final = 0xC2


class Subcommand:
    """In the Features register."""

    READ_DATA: Final = 0xD0
    READ_THRESHOLDS: Final = 0xD1
    AUTOSAVE: Final = 0xD2
    SAVE_ATTRIBUTES: Final = 0xD3
    EXECUTE_OFFLINE: Final = 0xD4
    READ_LOG: Final = 0xD5
    ENABLE: Final = 0xD8
    DISABLE: Final = 0xD9
    RETURN_STATUS: Final = 0xDA


class Log:
    """Log addresses."""

    DIRECTORY: Final = 0
    SUMMARY_ERRORS: Final = 1
    SELF_TESTS: Final = 6


class SelfTest:
    """Subcommands of EXECUTE OFFLINE IMMEDIATE."""

    OFFLINE: Final = 0
    SHORT: Final = 1
    EXTENDED: Final = 2
    ABORT: Final = 127
    SHORT_CAPTIVE: Final = 129
    EXTENDED_CAPTIVE: Final = 130


class Collection:
    """Off-line data collection status; bit 7 would say that it is begun automatically."""

    NEVER: Final = 0x00
    COMPLETED: Final = 0x02
    SUSPENDED: Final = 0x04
    """By a command of the host."""
    ABORTED: Final = 0x05
    """Likewise; only another EXECUTE OFF-LINE IMMEDIATE begins it anew."""


COLLECTION_S: Final = 30
"""What off-line data collection takes, in seconds."""

MOST_SELF_TESTS: Final = 21
MOST_ERRORS: Final = 5
ATTRIBUTES: Final = ((1, 0x0B, 50), (5, 0x33, 10), (9, 0x32, 0), (12, 0x32, 0))
"""Number, flags and threshold: read errors, sectors reallocated, hours of power, power cycles."""


def perform(s: AtaState, hours: int) -> bytes | None:
    """Do the SMART command in the registers. Return its data, nothing, or None: it is aborted."""
    if (s.mid, s.high) != (KEY_MID, KEY_HIGH) or not (s.smart or s.features == Subcommand.ENABLE):
        return None
    match s.features:
        case Subcommand.ENABLE | Subcommand.DISABLE:
            s.smart = s.features == Subcommand.ENABLE
        case Subcommand.AUTOSAVE if s.count in (0x00, 0xF1):
            s.autosave = s.count == 0xF1
        case Subcommand.SAVE_ATTRIBUTES | Subcommand.RETURN_STATUS:
            pass  # no threshold is exceeded: the registers stay 4Fh and C2h
        case Subcommand.READ_DATA:
            return _data(s, hours)
        case Subcommand.READ_THRESHOLDS:
            return _thresholds()
        case Subcommand.EXECUTE_OFFLINE if s.low in (
            SelfTest.OFFLINE,
            SelfTest.SHORT,
            SelfTest.EXTENDED,
            SelfTest.ABORT,
            SelfTest.SHORT_CAPTIVE,
            SelfTest.EXTENDED_CAPTIVE,
        ):
            if s.low == SelfTest.OFFLINE:
                s.collection = Collection.SUSPENDED  # until the command has ended
                s.collection_left = COLLECTION_S * NS_PER_S
            else:
                abort_collection(s)
            if s.low not in (SelfTest.OFFLINE, SelfTest.ABORT):
                s.self_tests = [*s.self_tests, [s.low, hours]][-MOST_SELF_TESTS:]
        case Subcommand.READ_LOG if s.count == 1:
            return _log(s)
        case _:
            return None
    return b""


def suspend_collection(s: AtaState, now: int) -> None:
    """Have off-line data collection stand still: the host wants something."""
    if s.collecting_since is not None:
        s.collection_left -= now - s.collecting_since
        s.collecting_since = None
        if s.collection_left <= 0:
            s.collection, s.collection_left = Collection.COMPLETED, 0


def resume_collection(s: AtaState, now: int) -> None:
    """Go on with off-line data collection, if there is any: a command has ended.

    A drive that saves power waits for the command that ends that, and one with SMART disabled for its being enabled.
    """
    if s.collection_left and s.smart and s.power == Power.ACTIVE:
        s.collecting_since = now


def abort_collection(s: AtaState) -> None:
    """Give off-line data collection up, if it has been begun and is not through."""
    if s.collection_left:
        s.collection, s.collection_left = Collection.ABORTED, 0


def note_error(s: AtaState, status: int, hours: int) -> None:
    """Enter a command's error into the log."""
    entry = [s.error, s.count, s.low, s.mid, s.high, s.device, status, s.code, hours]
    s.errors = [*s.errors, entry][-MOST_ERRORS:]
    s.error_count = min(s.error_count + 1, 0xFFFF)


def _checked(data: bytearray) -> bytes:
    """Return 512 bytes with the checksum in the last."""
    data[511] = -sum(data[:511]) & 0xFF
    return bytes(data)


def _data(s: AtaState, hours: int) -> bytes:
    data = bytearray(512)
    struct.pack_into("<H", data, 0, 0x0010)
    raw = {1: s.error_count, 5: 0, 9: hours, 12: 1}
    for i, (number, flags, _) in enumerate(ATTRIBUTES):
        struct.pack_into("<BHBBIHB", data, 2 + 12 * i, number, flags, 100, 100, raw[number], 0, 0)
    data[362] = s.collection
    struct.pack_into("<H", data, 364, COLLECTION_S)
    data[367] = 0x11  # execute immediate, which a command suspends and does not abort; self-test
    struct.pack_into("<H", data, 368, 0x0003)
    data[370] = 0x01  # error logging
    data[372] = data[373] = 1  # minutes of a self-test
    return _checked(data)


def _thresholds() -> bytes:
    data = bytearray(512)
    struct.pack_into("<H", data, 0, 0x0010)
    for i, (number, _, threshold) in enumerate(ATTRIBUTES):
        data[2 + 12 * i : 4 + 12 * i] = bytes((number, threshold))
    return _checked(data)


def _log(s: AtaState) -> bytes | None:
    data = bytearray(512)
    match s.low:
        case Log.DIRECTORY:
            struct.pack_into("<H", data, 0, 1)
            data[2 * Log.SUMMARY_ERRORS] = data[2 * Log.SELF_TESTS] = 1
            return bytes(data)
        case Log.SUMMARY_ERRORS:
            data[0] = 1
            data[1] = len(s.errors)
            for i, (error, count, low, mid, high, device, status, code, hour) in enumerate(s.errors):
                at = 2 + 90 * i
                data[at + 48 : at + 56] = bytes((0, 0, count, low, mid, high, device, code))
                shown = bytes((0, error, count, low, mid, high, device, status))
                data[at + 60 : at + 68] = shown
                struct.pack_into("<BH", data, at + 87, 0x03, hour & 0xFFFF)
            struct.pack_into("<H", data, 452, s.error_count)
            return _checked(data)
        case Log.SELF_TESTS:
            struct.pack_into("<H", data, 0, 1)
            for i, (number, hour) in enumerate(s.self_tests):
                struct.pack_into("<BBH", data, 2 + 24 * i, number, 0, hour & 0xFFFF)
            data[508] = len(s.self_tests)
            return _checked(data)
    return None
