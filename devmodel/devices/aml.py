"""ACPI machine language (ACPI specification 2.0, chapter 17): as much of it as the PC's tables need, as bytes.

A function is called what ASL calls it; terms stand behind each other by `+`. Resource descriptors are those of
section 6.4.
"""

import struct
from typing import Final

ZERO: Final = b"\x00"
ONE: Final = b"\x01"
ARG0: Final = b"\x68"
BYTE_ACCESS: Final = 1
PCI_CONFIG: Final = 2  # address space of an operation region
SERIALIZED: Final = 8
END_TAG: Final = b"\x79\x00"


def _length(content: bytes) -> bytes:
    """Return the package length of what it stands before, with itself counted (17.2.4)."""
    size = len(content)
    if size + 1 < 0x40:
        return bytes([size + 1])
    for more in (1, 2, 3):
        total = size + 1 + more
        if total < 1 << 4 + 8 * more:
            return bytes([more << 6 | total & 0xF]) + (total >> 4).to_bytes(more, "little")
    raise ValueError(f"{size} bytes are too many for a package")


def path(text: str) -> bytes:
    r"""Return a name like `\_SB.PCI0` or `^LNKA`, segments filled to four letters (17.2.2)."""
    rest = text.lstrip("\\^")
    prefix = text[: len(text) - len(rest)].encode()
    segments = [segment.ljust(4, "_").encode() for segment in rest.split(".") if segment]
    match len(segments):
        case 0:
            return prefix + ZERO
        case 1:
            return prefix + segments[0]
        case 2:
            return prefix + b"\x2e" + b"".join(segments)
        case count:
            return prefix + b"\x2f" + bytes([count]) + b"".join(segments)


def integer(value: int) -> bytes:
    """Return a constant, as short as can be (17.2.3)."""
    if value < 2:
        return ZERO if value == 0 else ONE
    if value < 1 << 8:
        return b"\x0a" + struct.pack("<B", value)
    if value < 1 << 16:
        return b"\x0b" + struct.pack("<H", value)
    return b"\x0c" + struct.pack("<I", value)


def eisa_id(text: str) -> bytes:
    """Return an EISA identifier like `PNP0A03` as the compressed integer that _HID wants (18.5.33)."""
    letters = [ord(letter) - 0x40 for letter in text[:3]]
    number = letters[0] << 26 | letters[1] << 21 | letters[2] << 16 | int(text[3:], 16)
    return b"\x0c" + number.to_bytes(4, "big")


def buffer(data: bytes) -> bytes:
    """Return `Buffer () { … }`."""
    content = integer(len(data)) + data
    return b"\x11" + _length(content) + content


def package(*elements: bytes) -> bytes:
    """Return `Package () { … }`."""
    content = bytes([len(elements)]) + b"".join(elements)
    return b"\x12" + _length(content) + content


def name(of: str, value: bytes) -> bytes:
    """Return `Name (of, value)`."""
    return b"\x08" + path(of) + value


def scope(of: str, *terms: bytes) -> bytes:
    """Return `Scope (of) { … }`."""
    content = path(of) + b"".join(terms)
    return b"\x10" + _length(content) + content


def device(of: str, *terms: bytes) -> bytes:
    """Return `Device (of) { … }`."""
    content = path(of) + b"".join(terms)
    return b"\x5b\x82" + _length(content) + content


def method(of: str, arguments: int, *terms: bytes, serialized: bool = False) -> bytes:
    """Return `Method (of, arguments) { … }`."""
    content = path(of) + bytes([arguments | SERIALIZED * serialized]) + b"".join(terms)
    return b"\x14" + _length(content) + content


def operation_region(of: str, space: int, offset: int, length: int) -> bytes:
    """Return `OperationRegion (of, space, offset, length)`."""
    return b"\x5b\x80" + path(of) + bytes([space]) + integer(offset) + integer(length)


def field(region: str, access: int, *fields: tuple[str, int]) -> bytes:
    """Return `Field (region, access, NoLock, Preserve) { … }`: names with their widths in bits, at most 63."""
    content = path(region) + bytes([access]) + b"".join(path(of) + bytes([bits]) for of, bits in fields)
    return b"\x5b\x81" + _length(content) + content


def create_dword_field(source: bytes, offset: int, of: str) -> bytes:
    """Return `CreateDWordField (source, offset, of)`."""
    return b"\x8a" + source + integer(offset) + path(of)


def store(value: bytes, target: str) -> bytes:
    """Return `Store (value, target)`."""
    return b"\x70" + value + path(target)


def and_(left: bytes, right: bytes) -> bytes:
    """Return `And (left, right)`."""
    return b"\x7b" + left + right + ZERO


def or_(left: bytes, right: bytes) -> bytes:
    """Return `Or (left, right)`."""
    return b"\x7d" + left + right + ZERO


def if_(condition: bytes, *terms: bytes) -> bytes:
    """Return `If (condition) { … }`."""
    content = condition + b"".join(terms)
    return b"\xa0" + _length(content) + content


def else_(*terms: bytes) -> bytes:
    """Return `Else { … }`."""
    content = b"".join(terms)
    return b"\xa1" + _length(content) + content


def return_(value: bytes) -> bytes:
    """Return `Return (value)`."""
    return b"\xa4" + value


# -- resources ------------------------------------------------------------------------------------------------


def resources(*descriptors: bytes) -> bytes:
    """Return `ResourceTemplate () { … }`; the checksum of 0 says that there is none."""
    return buffer(b"".join(descriptors) + END_TAG)


def io(first: int, length: int) -> bytes:
    """Return `IO (Decode16, first, first, 1, length)` (6.4.2.5)."""
    return struct.pack("<BBHHBB", 0x47, 1, first, first, 1, length)


def irq(number: int) -> bytes:
    """Return `IRQNoFlags () {number}`: edge-triggered, not shared (6.4.2.1)."""
    return struct.pack("<BH", 0x22, 1 << number)


def dma(channel: int) -> bytes:
    """Return `DMA (Compatibility, NotBusMaster, Transfer8, ) {channel}` (6.4.2.2)."""
    return struct.pack("<BBB", 0x2A, 1 << channel, 0)


def interrupts(*numbers: int) -> bytes:
    """Return `Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {…}` (6.4.3.6)."""
    return struct.pack(f"<BHBB{len(numbers)}I", 0x89, 2 + 4 * len(numbers), 0x09, len(numbers), *numbers)


def memory32(first: int, length: int) -> bytes:
    """Return `Memory32Fixed (ReadOnly, first, length)` (6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 0, first, length)


def bus_numbers(first: int, last: int) -> bytes:
    """Return `WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, …)` (6.4.3.5.3)."""
    return struct.pack("<BHBBB5H", 0x88, 13, 2, 0x0C, 0, 0, first, last, 0, last - first + 1)


def word_io(first: int, last: int) -> bytes:
    """Return `WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, …)`."""
    return struct.pack("<BHBBB5H", 0x88, 13, 1, 0x0C, 3, 0, first, last, 0, last - first + 1)


def dword_memory(first: int, last: int, *, cacheable: bool) -> bytes:
    """Return `DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, …, ReadWrite, …)` (6.4.3.5.2)."""
    flags = 1 | cacheable << 1
    return struct.pack("<BHBBB5I", 0x87, 23, 0, 0x0C, flags, 0, first, last, 0, last - first + 1)
