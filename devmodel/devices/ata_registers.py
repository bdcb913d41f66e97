"""The registers of an ATA drive by name, and what a drive remembers (ATA/ATAPI-6, T13/1410D, clause 7)."""

from typing import Final

import attrs

SECTOR: Final = 512  # bytes

BSY: Final = 0x80
DRDY: Final = 0x40
DF: Final = 0x20
DSC: Final = 0x10
DRQ: Final = 0x08
ERR: Final = 0x01
READY: Final = DRDY | DSC

ABRT: Final = 0x04
IDNF: Final = 0x10
UNC: Final = 0x40
ICRC: Final = 0x80  # an error on the interface: what was asked for is worth asking for again

DEV_LBA: Final = 0x40
DEV_HEAD: Final = 0x0F


class Command:
    """Command codes (ATA/ATAPI-6 annex D; the obsolete doubles too)."""

    RECALIBRATE: Final = 0x10  # to 0x1F
    READ_SECTORS: Final = 0x20
    READ_SECTORS_NORETRY: Final = 0x21
    READ_SECTORS_EXT: Final = 0x24
    READ_MULTIPLE_EXT: Final = 0x29
    WRITE_SECTORS: Final = 0x30
    WRITE_SECTORS_NORETRY: Final = 0x31
    WRITE_SECTORS_EXT: Final = 0x34
    WRITE_MULTIPLE_EXT: Final = 0x39
    WRITE_VERIFY: Final = 0x3C
    READ_VERIFY: Final = 0x40
    READ_VERIFY_NORETRY: Final = 0x41
    READ_VERIFY_EXT: Final = 0x42
    SEEK: Final = 0x70  # to 0x7F
    INITIALIZE_PARAMETERS: Final = 0x91
    IDENTIFY_PACKET: Final = 0xA1
    READ_MULTIPLE: Final = 0xC4
    WRITE_MULTIPLE: Final = 0xC5
    SET_MULTIPLE: Final = 0xC6
    STANDBY_IMMEDIATE: Final = 0xE0
    IDLE_IMMEDIATE: Final = 0xE1
    STANDBY: Final = 0xE2
    IDLE: Final = 0xE3
    CHECK_POWER: Final = 0xE5
    SLEEP: Final = 0xE6
    FLUSH: Final = 0xE7
    FLUSH_EXT: Final = 0xEA
    IDENTIFY: Final = 0xEC
    SET_FEATURES: Final = 0xEF


OLD_POWER: Final = {0x94: 0xE0, 0x95: 0xE1, 0x96: 0xE2, 0x97: 0xE3, 0x98: 0xE5, 0x99: 0xE6}


class Feature:
    """SET FEATURES subcommands."""

    WRITE_CACHE: Final = 0x02
    NO_WRITE_CACHE: Final = 0x82
    TRANSFER_MODE: Final = 0x03
    NO_LOOK_AHEAD: Final = 0x55
    LOOK_AHEAD: Final = 0xAA
    KEEP_DEFAULTS: Final = 0x66
    REVERT_DEFAULTS: Final = 0xCC


class Job:
    """What the drive is in the middle of."""

    NONE: Final = 0
    READ: Final = 1
    WRITE: Final = 2
    VERIFY: Final = 3
    FLUSH: Final = 4


@attrs.define
class AtaState:
    """Everything one drive remembers."""

    # Features (or error), sector count, LBA low, mid, high: as last written, and before that (for LBA48).
    features: int = 0
    count: int = 1
    low: int = 1
    mid: int = 0
    high: int = 0
    previous: list[int] = attrs.field(factory=lambda: [0] * 5)
    device: int = 0xA0
    status: int = READY
    error: int = 1  # diagnostic code: passed
    interrupt: bool = False  # INTRQ, if the drive is selected and nIEN allows it
    heads: int = 16
    track: int = 63
    multiple: int = 0
    write_cache: bool = True
    power: int = 0xFF
    doubtful: bool = False  # registers may not be what the guest has written: the next command is refused
    # The command in progress
    job: int = Job.NONE
    waiting: bool = False  # for the medium
    lba: int = 0
    remaining: int = 0  # sectors the medium has not seen yet
    block: int = 1  # sectors a DRQ block
    buffer: bytearray = attrs.field(factory=bytearray)
    position: int = 0
    block_end: int = 0

    def address(self, *, extended: bool) -> int:
        """Return the sector that the registers name, or -1 for none."""
        low = self.high << 16 | self.mid << 8 | self.low
        if extended:
            return self.previous[4] << 40 | self.previous[3] << 32 | self.previous[2] << 24 | low
        if self.device & DEV_LBA:
            return (self.device & DEV_HEAD) << 24 | low
        head, sector = self.device & DEV_HEAD, self.low
        if head >= self.heads or not 0 < sector <= self.track:
            return -1
        return ((self.high << 8 | self.mid) * self.heads + head) * self.track + sector - 1

    def set_address(self, lba: int) -> None:
        """Show `lba` in the registers, in the guest's way of writing it."""
        if self.device & DEV_LBA:
            self.previous[2:] = [lba >> 24 & 0xFF, lba >> 32 & 0xFF, lba >> 40 & 0xFF]
            self.low, self.mid, self.high = lba & 0xFF, lba >> 8 & 0xFF, lba >> 16 & 0xFF
            return
        track, self.low = divmod(lba, self.track)
        self.low += 1
        cylinder, head = divmod(track, self.heads)
        self.mid, self.high = cylinder & 0xFF, cylinder >> 8 & 0xFF
        self.device = self.device & 0xF0 | head
