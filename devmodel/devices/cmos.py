"""What a PC keeps in its CMOS RAM, at the places where QEMU's firmware looks for it."""

from collections.abc import Sequence
from typing import Final

MIB: Final = 1 << 20
FOUR_GIB: Final = 1 << 32

BOOT_CODES: Final = {"a": 1, "c": 2, "d": 3, "n": 4}
USER_TYPE: Final = 47
EQUIPMENT_FLOPPY: Final = 0x01  # and the number of drives, less one, in bits 7 and 6
EQUIPMENT_FPU: Final = 0x02


def fill_cmos(
    ram: bytearray,
    *,
    below_4g: int,
    above_4g: int = 0,
    cpus: int = 1,
    boot: str = "cad",
    geometries: Sequence[tuple[int, int, int] | None] = (),
    floppies: Sequence[int] = (),
) -> None:
    """Write the machine into the RAM of an RTC.

    Memory sizes are in bytes; `boot` has up to three of the letters a, c, d, n; `geometries` are the
    cylinders, heads and sectors of hda to hdd, None where there is no disk; `floppies` the types of the floppy drives
    (1 to 5: 360 KB, 1.2 MB, 720 KB, 1.44 MB, 2.88 MB).
    """
    base = min(below_4g >> 10, 640)
    extended = min(max(below_4g - MIB, 0) >> 10, 0xFFFF)
    over_16m = min(max(below_4g - 16 * MIB, 0) >> 16, 0xFFFF)
    for index, value in ((0x15, base), (0x17, extended), (0x30, extended), (0x34, over_16m)):
        ram[index], ram[index + 1] = value & 0xFF, value >> 8
    ram[0x5B:0x5E] = (above_4g >> 16 & 0xFF_FFFF).to_bytes(3, "little")
    ram[0x5F] = cpus - 1
    first, second, third = (*(BOOT_CODES[letter] for letter in boot[:3]), 0, 0, 0)[:3]
    ram[0x3D] = second << 4 | first
    ram[0x38] = third << 4 | 1  # no check of the floppy's signature
    first_floppy, second_floppy = (*floppies, 0, 0)[:2]
    ram[0x10] = first_floppy << 4 | second_floppy
    ram[0x14] = EQUIPMENT_FPU | (EQUIPMENT_FLOPPY | len(floppies[:2]) - 1 << 6 if floppies else 0)
    _disks(ram, geometries)
    checksum = sum(ram[0x10:0x2E])
    ram[0x2E], ram[0x2F] = checksum >> 8 & 0xFF, checksum & 0xFF


def _disks(ram: bytearray, geometries: Sequence[tuple[int, int, int] | None]) -> None:
    for i, geometry in enumerate(geometries[:4]):
        if geometry is None:
            continue
        cylinders, heads, track = geometry
        if cylinders > 1024:
            ram[0x39] |= 1 << 2 * i  # the BIOS shall translate by LBA
        if i > 1:
            continue
        ram[0x12] |= 0x0F if i else 0xF0
        ram[0x19 + i] = USER_TYPE
        low, high = cylinders & 0xFF, cylinders >> 8
        control = 0xC0 | (heads > 8) << 3
        ram[0x1B + 9 * i : 0x24 + 9 * i] = bytes([low, high, heads, 0xFF, 0xFF, control, low, high, track])
