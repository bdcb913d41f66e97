"""The IDENTIFY DEVICE data of a hard disk (ATA/ATAPI-6, T13/1410D, 8.15.8)."""

import struct
from typing import Final

MODEL: Final = "DEVMODEL HARDDISK"
FIRMWARE: Final = "1"
MAX_MULTIPLE: Final = 16  # sectors
LBA28_SECTORS: Final = 0x0FFF_FFFF


def default_geometry(sectors: int) -> tuple[int, int, int]:
    """Return cylinders, heads, sectors a track of a disk as it is translated at power-on."""
    return max(1, min(16383, sectors // (16 * 63))), 16, 63


def _text(text: str, length: int) -> list[int]:
    """Return words of ASCII, the first character in the high byte."""
    raw = text[:length].ljust(length).encode("ascii", "replace")
    return [raw[i] << 8 | raw[i + 1] for i in range(0, length, 2)]


def identify(
    sectors: int, serial: str, geometry: tuple[int, int, int], multiple: int, write_cache: bool
) -> bytes:
    """Return the 512 bytes. `geometry` is the translation in effect, `multiple` 0 for not set. No DMA."""
    cylinders, heads, track = geometry
    chs_sectors = cylinders * heads * track
    lba28 = min(sectors, LBA28_SECTORS)
    w = [0] * 256
    w[0] = 0x0040  # fixed
    w[1], w[3], w[6] = default_geometry(sectors)
    w[10:20] = _text(serial, 20)
    w[23:27] = _text(FIRMWARE, 8)
    w[27:47] = _text(MODEL, 40)
    w[47] = 0x8000 | MAX_MULTIPLE
    w[48] = 1  # 32-bit data port
    w[49] = 0x0A00  # IORDY, LBA
    w[50] = 0x4000
    w[51] = 0x0200  # PIO mode 2
    w[53] = 0x0003  # words 54-58 and 64-70 are valid
    w[54], w[55], w[56] = cylinders, heads, track
    w[57], w[58] = chs_sectors & 0xFFFF, chs_sectors >> 16
    w[59] = 0x0100 | multiple if multiple else 0
    w[60], w[61] = lba28 & 0xFFFF, lba28 >> 16
    w[64] = 0x0003  # PIO modes 3 and 4
    w[67] = w[68] = 120  # ns
    w[80] = 0x007E  # ATA-1 to ATA/ATAPI-6
    w[82] = 0x0020  # write cache
    w[83] = 0x7400  # FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses
    w[84] = w[87] = 0x4000
    w[85] = 0x0020 if write_cache else 0
    w[86] = 0x3400
    for i in range(4):
        w[100 + i] = sectors >> 16 * i & 0xFFFF
    raw = struct.pack("<255H", *w[:255]) + b"\xa5"
    return raw + bytes([-sum(raw) & 0xFF])
