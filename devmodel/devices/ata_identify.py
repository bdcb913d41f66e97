"""The IDENTIFY DEVICE data of a hard disk (ATA/ATAPI-6, T13/1410D, 8.15.8)."""

import struct
from typing import Final

import attrs

MODEL: Final = "DEVMODEL HARDDISK"
FIRMWARE: Final = "1"
MAX_MULTIPLE: Final = 16  # sectors
LBA28_SECTORS: Final = 0x0FFF_FFFF

SUPPORTED_82: Final = 0x7469
"""NOP, READ BUFFER, WRITE BUFFER, host protected area, look-ahead, write cache, power management, SMART."""
SUPPORTED_83: Final = 0x3400
"""FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses."""
SUPPORTED_84: Final = 0x0043
"""WRITE DMA FUA EXT, SMART self-test and error log."""
SMART: Final = 0x0001
WRITE_CACHE: Final = 0x0020
LOOK_AHEAD: Final = 0x0040
VALID: Final = 0x4000
MULTIWORD_DMA: Final = 0x20
ULTRA_DMA: Final = 0x40


def default_geometry(sectors: int) -> tuple[int, int, int]:
    """Return cylinders, heads, sectors a track of a disk as it is translated at power-on."""
    return max(1, min(16383, sectors // (16 * 63))), 16, 63


def text(string: str, length: int) -> list[int]:
    """Return words of ASCII, the first character in the high byte."""
    raw = string[:length].ljust(length).encode("ascii", "replace")
    return [raw[i] << 8 | raw[i + 1] for i in range(0, length, 2)]


def modes(mode: int) -> tuple[int, int]:
    """Return words 63 and 88: multiword DMA 0 to 2 and ultra DMA 0 to 5, and which is chosen (`mode`)."""
    chosen = 0x100 << (mode & 7)
    return (
        0x0007 | (chosen if mode & 0xF8 == MULTIWORD_DMA else 0),
        0x003F | (chosen if mode & 0xF8 == ULTRA_DMA else 0),
    )


def reset_result(*, second: bool = False, partner: bool = False) -> int:
    """Return word 93, the hardware reset's result, of device 1 of a cable, or of device 0 beside a partner or alone.

    A cable of 80 wires, all diagnostics passed, numbers by jumper. Device 0 saw DASP# and PDIAG# of a partner; without
    one it answers in its stead, which spares firmware to look for it (ATA/ATAPI-6, IDENTIFY DEVICE).
    """
    if second:
        return VALID | 0x2000 | 0x0800 | 0x0200 | 0x0100
    return VALID | 0x2000 | (0x0030 if partner else 0x0040) | 0x0008 | 0x0002 | 0x0001


@attrs.frozen(kw_only=True)
class Identity:
    """What a drive says of itself. `geometry` is the translation in effect, `multiple` 0 for not set."""

    sectors: int
    serial: str
    geometry: tuple[int, int, int]
    multiple: int
    write_cache: bool
    look_ahead: bool
    smart: bool
    mode: int
    reset_result: int


def checked(words: list[int]) -> bytes:
    """Return 512 bytes with signature and checksum in the last word."""
    raw = struct.pack("<255H", *words[:255]) + b"\xa5"
    return raw + bytes([-sum(raw) & 0xFF])


def identify(drive: Identity) -> bytes:
    """Return the 512 bytes."""
    cylinders, heads, track = drive.geometry
    chs_sectors = cylinders * heads * track
    lba28 = min(drive.sectors, LBA28_SECTORS)
    enabled = SUPPORTED_82
    for bit, on in (
        (SMART, drive.smart),
        (WRITE_CACHE, drive.write_cache),
        (LOOK_AHEAD, drive.look_ahead),
    ):
        if not on:
            enabled &= ~bit
    w = [0] * 256
    w[0] = 0x0040  # fixed
    w[1], w[3], w[6] = default_geometry(drive.sectors)
    w[10:20] = text(drive.serial, 20)
    w[23:27] = text(FIRMWARE, 8)
    w[27:47] = text(MODEL, 40)
    w[47] = 0x8000 | MAX_MULTIPLE
    w[48] = 1  # 32-bit data port
    w[49] = 0x2B00  # standard standby timer, IORDY, LBA, DMA
    w[50] = VALID
    w[51] = 0x0200  # PIO mode 2
    w[53] = 0x0007  # words 54-58, 64-70 and 88 are valid
    w[54], w[55], w[56] = cylinders, heads, track
    w[57], w[58] = chs_sectors & 0xFFFF, chs_sectors >> 16
    w[59] = 0x0100 | drive.multiple if drive.multiple else 0
    w[60], w[61] = lba28 & 0xFFFF, lba28 >> 16
    w[63], w[88] = modes(drive.mode)
    w[64] = 0x0003  # PIO modes 3 and 4
    w[65] = w[66] = w[67] = w[68] = 120  # ns
    w[80] = 0x007E  # ATA-1 to ATA/ATAPI-6
    w[82], w[85] = SUPPORTED_82, enabled
    w[83], w[86] = VALID | SUPPORTED_83, SUPPORTED_83
    w[84] = w[87] = VALID | SUPPORTED_84
    w[93] = drive.reset_result
    for i in range(4):
        w[100 + i] = drive.sectors >> 16 * i & 0xFFFF
    return checked(w)
