"""The registers of an ATA drive by name, and what a drive remembers (ATA/ATAPI-6, T13/1410D, clause 7)."""

from typing import Final

import attrs

from devmodel.devices.ata_identify import MAX_MULTIPLE

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

    NOP: Final = 0x00
    DEVICE_RESET: Final = 0x08
    RECALIBRATE: Final = 0x10  # to 0x1F
    READ_SECTORS: Final = 0x20
    READ_SECTORS_NORETRY: Final = 0x21
    READ_SECTORS_EXT: Final = 0x24
    READ_DMA_EXT: Final = 0x25
    READ_NATIVE_MAX_EXT: Final = 0x27
    READ_MULTIPLE_EXT: Final = 0x29
    WRITE_SECTORS: Final = 0x30
    WRITE_SECTORS_NORETRY: Final = 0x31
    WRITE_SECTORS_EXT: Final = 0x34
    WRITE_DMA_EXT: Final = 0x35
    SET_MAX_EXT: Final = 0x37
    WRITE_MULTIPLE_EXT: Final = 0x39
    WRITE_VERIFY: Final = 0x3C
    WRITE_DMA_FUA_EXT: Final = 0x3D
    READ_VERIFY: Final = 0x40
    READ_VERIFY_NORETRY: Final = 0x41
    READ_VERIFY_EXT: Final = 0x42
    SEEK: Final = 0x70  # to 0x7F
    INITIALIZE_PARAMETERS: Final = 0x91
    PACKET: Final = 0xA0
    IDENTIFY_PACKET: Final = 0xA1
    SMART: Final = 0xB0
    READ_MULTIPLE: Final = 0xC4
    WRITE_MULTIPLE: Final = 0xC5
    SET_MULTIPLE: Final = 0xC6
    READ_DMA: Final = 0xC8
    READ_DMA_NORETRY: Final = 0xC9
    WRITE_DMA: Final = 0xCA
    WRITE_DMA_NORETRY: Final = 0xCB
    WRITE_MULTIPLE_FUA_EXT: Final = 0xCE
    STANDBY_IMMEDIATE: Final = 0xE0
    IDLE_IMMEDIATE: Final = 0xE1
    STANDBY: Final = 0xE2
    IDLE: Final = 0xE3
    READ_BUFFER: Final = 0xE4
    CHECK_POWER: Final = 0xE5
    SLEEP: Final = 0xE6
    FLUSH: Final = 0xE7
    WRITE_BUFFER: Final = 0xE8
    FLUSH_EXT: Final = 0xEA
    IDENTIFY: Final = 0xEC
    SET_FEATURES: Final = 0xEF
    READ_NATIVE_MAX: Final = 0xF8
    SET_MAX: Final = 0xF9


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


class Power:
    """Power modes, as CHECK POWER MODE tells them; asleep a drive tells nothing."""

    STANDBY: Final = 0x00
    ACTIVE: Final = 0xFF
    ASLEEP: Final = -1


class Job:
    """What the drive is in the middle of."""

    NONE: Final = 0
    READ: Final = 1
    WRITE: Final = 2
    VERIFY: Final = 3
    FLUSH: Final = 4
    DATA: Final = 5
    """Data of its own goes to the host: IDENTIFY, SMART, its buffer."""
    FILL: Final = 6
    """Its own buffer is written."""


@attrs.define
class TaskFile:
    """The registers of a drive, and how far it is with the data of a command."""

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
    # BSY that ends by itself
    since: int = 0  # when BSY was set last, ns
    due: int | None = None  # when it will be cleared
    next_status: int = READY
    next_interrupt: bool = False
    # Data: `buffer` from `position` to `block_end` is the DRQ block.
    outgoing: bool = False  # the host writes it
    dma: bool = False
    buffer: bytearray = attrs.field(factory=bytearray)
    position: int = 0
    block_end: int = 0


@attrs.define
class AtaState(TaskFile):
    """Everything one hard disk remembers."""

    heads: int = 16
    track: int = 63
    multiple: int = MAX_MULTIPLE  # sectors a block of READ and WRITE MULTIPLE; 0: those are disabled
    write_cache: bool = True
    look_ahead: bool = True
    keep_settings: bool = False  # over a software reset (SET FEATURES 66h)
    mode: int = 0  # the DMA mode chosen, as SET FEATURES has it; 0: none
    power: int = Power.ACTIVE
    standby_after: int = 0  # ns without a command; 0: never
    active_at: int = 0  # when the last command came, ns
    limit: int = 0  # sectors that the host sees (SET MAX ADDRESS); 0: all
    kept_limit: int = 0  # the same, for after a reset
    native_max_read: bool = False  # by the last command, so that SET MAX ADDRESS is allowed
    own_buffer: bytearray = attrs.field(factory=lambda: bytearray(SECTOR))
    doubtful: bool = False  # registers may not be what the guest has written: the next command is refused
    # SMART
    smart: bool = True
    autosave: bool = True
    self_tests: list[list[int]] = attrs.field(factory=list[list[int]])
    """Of each self-test: which, and the hour."""
    errors: list[list[int]] = attrs.field(factory=list[list[int]])
    """Of the last five errors: error, count, LBA low, mid, high, device, status, command, hour."""
    error_count: int = 0
    collection: int = 0  # the off-line data collection's status, as SMART READ DATA tells it
    collection_left: int = 0  # ns of it to come
    collecting_since: int | None = None  # ns; None: it stands still
    # The command in progress
    code: int = 0
    job: int = Job.NONE
    extended: bool = False  # 48-bit address
    waiting: bool = False  # for the medium
    single: bool = False  # the medium has failed: sectors go one by one, to find which
    through: bool = False  # the medium must have it before the command ends
    lba: int = 0
    remaining: int = 0  # sectors the medium has not seen yet
    block: int = 1  # sectors a DRQ block

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

    def set_address(self, lba: int, *, extended: bool) -> None:
        """Show `lba` in the registers, in the command's way of writing it.

        What a 28-bit command does not use it leaves alone: the bytes that HOB shows.
        """
        if extended:
            self.previous[2:] = [lba >> 24 & 0xFF, lba >> 32 & 0xFF, lba >> 40 & 0xFF]
            self.low, self.mid, self.high = lba & 0xFF, lba >> 8 & 0xFF, lba >> 16 & 0xFF
        elif self.device & DEV_LBA:
            self.low, self.mid, self.high = lba & 0xFF, lba >> 8 & 0xFF, lba >> 16 & 0xFF
            self.device = self.device & ~DEV_HEAD | lba >> 24 & DEV_HEAD
        else:
            track, self.low = divmod(lba, self.track)
            self.low += 1
            cylinder, head = divmod(track, self.heads)
            self.mid, self.high = cylinder & 0xFF, cylinder >> 8 & 0xFF
            self.device = self.device & ~DEV_HEAD | head

    def set_count(self, count: int, *, extended: bool) -> None:
        """Show how many sectors are left."""
        self.count = count & 0xFF
        if extended:
            self.previous[1] = count >> 8 & 0xFF
