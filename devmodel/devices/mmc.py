"""What a CD-ROM drive says of itself and its disc (MMC-3, T10/1363D; SPC-2, T10/1236D): sense, pages, tables.

A disc is one data track of one session, as an image of ISO 9660 is: blocks of 2048 bytes from LBA 0, two seconds behind
the lead-in. One that is larger than a CD can be is a DVD. Everything here is a function of its arguments, but for the
`Tray`, which a hand from outside fills and empties.
"""

import struct
from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.device import Disk

BLOCK: Final = 2048
"""Bytes of user data in a sector."""
SECTORS: Final = BLOCK // 512
CD_BLOCKS: Final = 99 * 60 * 75
"""No CD has more."""
LEAD_IN: Final = 150
"""Frames from 00:00:00 to LBA 0."""
LEAD_OUT: Final = 0xAA
DATA_TRACK: Final = 0x14
"""ADR 1, control 4: a data track, recorded without interruption."""
NO_AUDIO: Final = 0x15
"""Audio status of READ SUB-CHANNEL: none to tell."""
VOLUMES: Final = 256
"""Steps of the volume of an audio channel."""
VENDOR: Final = b"DEVMODEL"
PRODUCT: Final = b"DVD-ROM         "
REVISION: Final = b"1   "


class Tray:
    """The tray of a CD-ROM drive, from the outside: what disc lies in it."""

    def __init__(self, disc: Disk | None = None) -> None:
        self.disc = disc
        self.insert: Callable[[Disk], None] = self._lay
        """Put a disc in and close the tray."""
        self.eject: Callable[[bool], bool] = self._take
        """Open the tray and take the disc out; False if the guest has locked it (then it hears that somebody wants
        to), unless forced."""
        self.locked: Callable[[], bool] = lambda: False
        """Whether the guest has locked it."""

    def _lay(self, disc: Disk) -> None:
        self.disc = disc

    def _take(self, _force: bool) -> bool:
        self.disc = None
        return True


class Op:
    """Operation codes."""

    TEST_UNIT_READY: Final = 0x00
    REQUEST_SENSE: Final = 0x03
    INQUIRY: Final = 0x12
    MODE_SENSE_6: Final = 0x1A
    START_STOP: Final = 0x1B
    PREVENT_ALLOW: Final = 0x1E
    READ_CAPACITY: Final = 0x25
    READ_10: Final = 0x28
    SEEK_10: Final = 0x2B
    READ_SUBCHANNEL: Final = 0x42
    PLAY_AUDIO_10: Final = 0x45
    PLAY_AUDIO_MSF: Final = 0x47
    PAUSE_RESUME: Final = 0x4B
    STOP_PLAY: Final = 0x4E
    PLAY_AUDIO_12: Final = 0xA5
    READ_TOC: Final = 0x43
    READ_HEADER: Final = 0x44
    GET_CONFIGURATION: Final = 0x46
    GET_EVENT_STATUS: Final = 0x4A
    READ_DISC_INFORMATION: Final = 0x51
    READ_TRACK_INFORMATION: Final = 0x52
    MODE_SELECT_10: Final = 0x55
    MODE_SENSE_10: Final = 0x5A
    READ_12: Final = 0xA8
    READ_DVD_STRUCTURE: Final = 0xAD
    READ_CD_MSF: Final = 0xB9
    SET_CD_SPEED: Final = 0xBB
    MECHANISM_STATUS: Final = 0xBD
    READ_CD: Final = 0xBE


@attrs.frozen
class Sense:
    """Why a command failed: sense key, additional sense code and its qualifier."""

    key: int
    code: int
    qualifier: int = 0


NO_SENSE: Final = Sense(0, 0)
NO_MEDIUM_TRAY_CLOSED: Final = Sense(2, 0x3A, 1)
NO_MEDIUM_TRAY_OPEN: Final = Sense(2, 0x3A, 2)
UNRECOVERED_READ: Final = Sense(3, 0x11)
INVALID_COMMAND: Final = Sense(5, 0x20)
OUT_OF_RANGE: Final = Sense(5, 0x21)
LIST_LENGTH: Final = Sense(5, 0x1A)
INVALID_FIELD: Final = Sense(5, 0x24)
INVALID_PARAMETER: Final = Sense(5, 0x26)
COMMAND_SEQUENCE: Final = Sense(5, 0x2C)
ILLEGAL_MODE: Final = Sense(5, 0x64)
REMOVAL_PREVENTED: Final = Sense(5, 0x53, 2)
MEDIUM_CHANGED: Final = Sense(6, 0x28)
POWER_ON: Final = Sense(6, 0x29)


class Event:
    """Media events of GET EVENT STATUS NOTIFICATION."""

    NONE: Final = 0
    EJECT_REQUEST: Final = 1
    NEW_MEDIA: Final = 2
    MEDIA_REMOVAL: Final = 3


MEDIA_CLASS: Final = 4


def sense_data(sense: Sense) -> bytes:
    """Return fixed-format sense data, 18 bytes (SPC-2, 7.23.2)."""
    return struct.pack(">BxBIB4xBB4x", 0x70, sense.key, 0, 10, sense.code, sense.qualifier)


def inquiry() -> bytes:
    """Return the standard inquiry data (SPC-2, 7.3.2): a removable MMC device behind ATAPI."""
    return bytes((0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0)) + VENDOR + PRODUCT + REVISION


def msf(lba: int) -> bytes:
    """Return minute, second and frame of a block, behind a reserved byte."""
    minutes, rest = divmod(lba + LEAD_IN, 60 * 75)
    return bytes((0, min(minutes, 255), *divmod(rest, 75)))


def lba_of(minute: int, second: int, frame: int) -> int:
    """Return the block at a time; negative in the lead-in."""
    return (minute * 60 + second) * 75 + frame - LEAD_IN


def _place(lba: int, *, time: bool) -> bytes:
    return msf(lba) if time else struct.pack(">I", lba)


def toc(blocks: int, first: int, *, time: bool) -> bytes | None:
    """Return READ TOC's format 0 from track `first` on; None if there is no such track."""
    if first > 1 and first != LEAD_OUT:
        return None
    entries = b""
    if first <= 1:
        entries = bytes((0, DATA_TRACK, 1, 0)) + _place(0, time=time)
    entries += bytes((0, DATA_TRACK, LEAD_OUT, 0)) + _place(blocks, time=time)
    return struct.pack(">HBB", len(entries) + 2, 1, 1) + entries


def sessions(*, time: bool) -> bytes:
    """Return READ TOC's format 1: the first track of the last session."""
    return struct.pack(">HBBBBBB", 10, 1, 1, 0, DATA_TRACK, 1, 0) + _place(0, time=time)


def full_toc(blocks: int) -> bytes:
    """Return READ TOC's format 2: points A0h (first track), A1h (last), A2h (lead-out) and track 1."""
    entries = b""
    for point, place in ((0xA0, b"\0\1\0\0"), (0xA1, b"\0\1\0\0"), (0xA2, msf(blocks)), (1, msf(0))):
        entries += bytes((1, DATA_TRACK, 0, point, 0, 0, 0)) + place
    return struct.pack(">HBB", len(entries) + 2, 1, 1) + entries


def disc_information() -> bytes:
    """Return READ DISC INFORMATION: one finished session, one track (MMC-3, 5.19)."""
    data = bytearray(34)
    struct.pack_into(">HBBBBB", data, 0, 32, 0x0E, 1, 1, 1, 1)
    data[16:24] = b"\xff" * 8  # neither lead-in of a next session, nor lead-out
    return bytes(data)


def track_information(blocks: int) -> bytes:
    """Return READ TRACK INFORMATION of track 1 (MMC-3, 5.23)."""
    data = bytearray(28)
    struct.pack_into(">HBBxBB", data, 0, 26, 1, 1, 0x04, 0x01)
    struct.pack_into(">I", data, 24, blocks)
    return bytes(data)


def profile(blocks: int) -> int:
    """Return the current profile: DVD-ROM, CD-ROM, or none without a disc."""
    if not blocks:
        return 0
    return 0x0010 if blocks > CD_BLOCKS else 0x0008


def configuration(blocks: int, first: int, kind: int) -> bytes:
    """Return GET CONFIGURATION from feature `first` on; `kind` 0: all, 1: the current ones, 2: that one (5.5)."""
    now = profile(blocks)
    readable = int(now != 0)
    features = [
        (0x0000, 0x03, struct.pack(">HBxHBx", 0x0010, now == 0x0010, 0x0008, now == 0x0008)),  # profile list
        (0x0001, 0x03, struct.pack(">I", 2)),  # core: ATAPI
        (0x0003, 0x03, bytes((0x29, 0, 0, 0))),  # removable medium: tray, eject, lock
        (0x0010, readable, struct.pack(">IHBx", BLOCK, 1, 0)),  # random readable
        (0x001E, int(now == 0x0008), bytes(4)),  # CD read
        (0x001F, int(now == 0x0010), bytes(4)),  # DVD read
        (
            0x0103,
            int(now == 0x0008),
            struct.pack(">BxH", 0x03, VOLUMES),
        ),  # audio play: mute and volume by channel
    ]
    data = b""
    for code, flags, content in features:
        wanted = code == first if kind == 2 else code >= first and (kind == 0 or flags & 1)
        if wanted:
            data += struct.pack(">HBB", code, flags, len(content)) + content
    return struct.pack(">IHH", len(data) + 4, 0, now) + data


def event_status(classes: int, event: int, *, opened: bool, present: bool) -> bytes:
    """Return GET EVENT STATUS NOTIFICATION for the classes that are asked for (5.6)."""
    supported = 1 << MEDIA_CLASS
    if not classes & supported:
        return struct.pack(">HBB", 2, 0x80, supported)
    status = opened | (present and not opened) << 1
    return struct.pack(">HBBBBBB", 6, MEDIA_CLASS, supported, event, status, 0, 0)


def mechanism_status(*, opened: bool) -> bytes:
    """Return MECHANISM STATUS: no changer (5.9)."""
    return bytes((0, 0x10 if opened else 0, 0, 0, 0, 1, 0, 0))


def subchannel(kind: int, track: int, lba: int, *, time: bool) -> bytes | None:
    """Return READ SUB-CHANNEL with the head at `lba` of track 1 (5.28); format 0, all of it in one, is SFF-8020i's.

    No audio is played, and the disc has neither a catalogue number nor recording codes.
    """
    # Within the track a time has no lead-in in front of it.
    here = _place(lba, time=time) + _place(lba - LEAD_IN if time else lba, time=time)
    match kind:
        case 0:
            return bytes((0, NO_AUDIO, 0, 44, 0, DATA_TRACK, 1, 1)) + here + bytes(32)
        case 1:
            return bytes((0, NO_AUDIO, 0, 12, 1, DATA_TRACK, 1, 1)) + here
        case 2:
            return bytes((0, NO_AUDIO, 0, 20, 2)).ljust(24, b"\0")  # MCVAL is 0
        case 3 if track == 1:
            return bytes((0, NO_AUDIO, 0, 20, 3, DATA_TRACK, 1)).ljust(24, b"\0")  # TCVAL is 0
        case _:
            return None


def dvd_structure(blocks: int, kind: int) -> bytes | None:
    """Return READ DVD STRUCTURE: the physical format, or that there is no copyright protection (5.20)."""
    if profile(blocks) != 0x0010:
        return None
    match kind:
        case 0x00:
            data = bytearray(2048)
            data[0:4] = bytes((0x01, 0x0F, 0x01, 0x00))  # DVD-ROM, 120 mm, one layer
            struct.pack_into(">III", data, 4, 0x30000, 0x30000 + blocks - 1, 0)
        case 0x01:
            data = bytearray(4)
        case _:
            return None
    return struct.pack(">HH", len(data) + 2, 0) + bytes(data)


class PageControl:
    """Which values of mode pages are wanted."""

    CURRENT: Final = 0
    CHANGEABLE: Final = 1
    DEFAULT: Final = 2
    SAVED: Final = 3


ALL_PAGES: Final = 0x3F


class Page:
    """Mode pages, by their codes."""

    RECOVERY: Final = 0x01
    PARAMETERS: Final = 0x0D
    AUDIO: Final = 0x0E
    CAPABILITIES: Final = 0x2A


RECOVERY: Final = bytes((0x01, 6, 0, 5, 0, 0, 0, 0))
"""The error recovery page at first: its parameters, and five retries."""
AUDIO: Final = bytes((0x0E, 14, 0x04, 0, 0, 0, 0, 75, 1, 0xFF, 2, 0xFF, 0, 0, 0, 0))
"""The audio control page at first: commands end at once, and two ports have a channel each, as loud as can be."""
PARAMETERS: Final = bytes((0x0D, 6, 0, 0, 0, 60, 0, 75))
"""The CD-ROM parameters page: 60 seconds of 75 frames make a minute, as they do on every CD."""
CHANGEABLE: Final = {
    Page.RECOVERY: bytes.fromhex("0106 ffff 00000000"),
    Page.PARAMETERS: bytes((0x0D, 6)) + bytes(6),
    # Whether audio stops at a track's end, and of two ports the channels (four bits) and the volume.
    Page.AUDIO: bytes.fromhex("0e0e 02 00000000 00 0fff 0fff 0000 0000"),
    Page.CAPABILITIES: bytes((0x2A, 18)) + bytes(18),
}
"""Of each page, ones where MODE SELECT may change it."""


def mode_pages(page: int, control: int, *, locked: bool, recovery: bytes, audio: bytes) -> bytes | None:
    """Return a mode page, or all; None if there is none such. `recovery` and `audio` are two as they have been set."""
    if control == PageControl.DEFAULT:
        recovery, audio = RECOVERY, AUDIO
    # Capabilities: reads CD-R, CD-RW, DVD-ROM, DVD-R; plays audio, mode 2, sessions; a tray that locks and ejects;
    # volume and mute by channel; 4 x speed.
    capabilities = bytes((0x2A, 18, 0x1B, 0, 0x71, 0, 0x29 | locked << 1, 0x03))
    capabilities += struct.pack(">HHHH4x", 706, VOLUMES, 512, 706)
    pages = {
        Page.RECOVERY: recovery,
        Page.PARAMETERS: PARAMETERS,
        Page.AUDIO: audio,
        Page.CAPABILITIES: capabilities,
    }
    if control == PageControl.CHANGEABLE:
        pages = CHANGEABLE
    if page == ALL_PAGES:
        return b"".join(pages.values())
    return pages.get(page)


def select_modes(
    parameters: bytes, *, locked: bool, recovery: bytes, audio: bytes
) -> tuple[bytes, bytes] | Sense:
    """Return `recovery` and `audio` as a parameter list of MODE SELECT (10) wants them, or why it cannot be had."""
    if len(parameters) < 8:
        return LIST_LENGTH
    at = 8 + (parameters[6] << 8 | parameters[7])
    if at not in {8, 16} or (at == 16 and parameters[13:16] not in {BLOCK.to_bytes(3, "big"), bytes(3)}):
        return INVALID_PARAMETER
    while at < len(parameters):
        code = parameters[at] & 0x3F
        old = mode_pages(code, PageControl.CURRENT, locked=locked, recovery=recovery, audio=audio)
        if code == ALL_PAGES or old is None:
            return INVALID_PARAMETER
        new = bytes((code,)) + parameters[at + 1 : at + len(old)]
        if len(new) < len(old):
            return LIST_LENGTH
        if any((a ^ b) & ~mask for a, b, mask in zip(old[1:], new[1:], CHANGEABLE[code][1:], strict=True)):
            return INVALID_PARAMETER
        if code == Page.RECOVERY:
            recovery = new
        elif code == Page.AUDIO:
            audio = new
        at += len(old)
    return recovery, audio


def header(lba: int, *, time: bool) -> bytes:
    """Return what READ HEADER tells of a block: mode 1, and its address."""
    return bytes((1, 0, 0, 0)) + (msf(lba) if time else lba.to_bytes(4, "big"))


def mode_header(length: int, *, ten: bool, medium: int) -> bytes:
    """Return the parameter header in front of `length` bytes of mode pages."""
    if ten:
        return struct.pack(">HB5x", length + 6, medium)
    return struct.pack(">BB2x", length + 3, medium)


def medium_type(blocks: int, *, opened: bool) -> int:
    """Return the medium type code: door open, no disc, or a data disc of 120 mm."""
    if opened:
        return 0x71
    return 0x01 if blocks else 0x70
