"""The PC's SMBIOS structures (SMBIOS reference specification 2.4, DSP0134): what dmidecode shows.

Firmware that knows QEMU's fw_cfg files takes anchor and structures from there, and puts in where they are; where there
is no firmware `placed` does.
Not modelled: a BIOS of one's own (type 0 is firmware's), slots, ports, sensors.
"""

import struct
from typing import Final

ANCHOR: Final = "etc/smbios/smbios-anchor"
STRUCTURES: Final = "etc/smbios/smbios-tables"
MAKER: Final = "devmodel"
PRODUCT: Final = "PC (i440FX and PIIX3)"
ARRAY: Final = 0x1000
DEVICE_MOST: Final = 0x7FFF  # MiB that a memory device's size can say
KIB: Final = 1 << 10
MIB: Final = 1 << 20
OTHER: Final = 1
UNKNOWN: Final = 2
SAFE: Final = 3


class Structures:
    """Structures behind each other."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.count = 0
        self.largest = 0

    def add(self, type_: int, handle: int, body: bytes, *strings: str) -> None:
        """Add a structure: its formatted part behind the header, and its strings (6.1)."""
        head = struct.pack("<BBH", type_, 4 + len(body), handle) + body
        tail = b"".join(text.encode() + b"\0" for text in strings) + b"\0"
        if not strings:
            tail += b"\0"
        self.data += head + tail
        self.count += 1
        self.largest = max(self.largest, len(head + tail))


def make(ranges: list[tuple[int, int]], cpus: int) -> dict[str, bytes]:
    """Return anchor and structures of a machine with RAM in these ranges (start and length in bytes)."""
    s = Structures()
    total = -(-sum(length for _, length in ranges) // MIB)
    s.add(1, 0x100, struct.pack("<BBBB16sBBB", 1, 2, 3, 0, bytes(16), 6, 0, 0), MAKER, PRODUCT, "1.0")
    s.add(
        3,
        0x300,
        struct.pack("<BBBBBBBBBIBBBB", 1, 1, 0, 0, 0, SAFE, SAFE, SAFE, UNKNOWN, 0, 0, 0, 0, 0),
        MAKER,
    )
    for cpu in range(cpus):
        s.add(
            4, 0x400 + cpu,
            struct.pack(
                "<BBBBQBBHHHBBHHHBBB", 1, 3, OTHER, 2, 0, 0, 0, 0, 0, 0, 0x41, OTHER, 0xFFFF, 0xFFFF, 0xFFFF,
                0, 0, 0,
            ),
            f"CPU {cpu}",
        )  # fmt: skip
    devices = -(-total // DEVICE_MOST)
    s.add(16, ARRAY, struct.pack("<BBBIHH", OTHER, 3, 6, total * KIB, 0xFFFE, devices))
    for number in range(devices):
        size = min(DEVICE_MOST, total - number * DEVICE_MOST)
        s.add(
            17, 0x1100 + number,
            struct.pack("<HHHHHBBBBBHHBBBB", ARRAY, 0xFFFE, 64, 64, size, 9, 0, 1, 0, 7, 2, 0, 0, 0, 0, 0),
            f"DIMM {number}",
        )  # fmt: skip
    for number, (start, length) in enumerate(ranges):
        last = (start + length - 1) // KIB
        s.add(19, 0x1300 + number, struct.pack("<IIHB", start // KIB, last, ARRAY, 1))
    s.add(32, 0x2000, bytes(6) + b"\0")
    s.add(127, 0x7F00, b"")
    anchor = struct.pack("<4sBBBBHB5s", b"_SM_", 0, 31, 2, 4, s.largest, 0, bytes(5))
    anchor += struct.pack("<5sBHIHB", b"_DMI_", 0, len(s.data), 0, s.count, 0x24)
    return {ANCHOR: anchor, STRUCTURES: bytes(s.data)}


def placed(files: dict[str, bytes], address: int) -> bytes:
    """Return the anchor of structures at `address`, with its checksums."""
    anchor = bytearray(files[ANCHOR])
    anchor[24:28] = address.to_bytes(4, "little")
    anchor[21] = -sum(anchor[16:]) & 0xFF
    anchor[4] = -sum(anchor) & 0xFF
    return bytes(anchor)
