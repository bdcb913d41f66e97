"""A whole sector of a CD-ROM in mode 1 (ECMA-130, clause 14 and annex A): sync, header, data, EDC and ECC."""

from typing import Final

SYNC: Final = b"\0" + b"\xff" * 10 + b"\0"
SIZE: Final = 2352


def _edc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xD801_8001 if value & 1 else 0)
        table.append(value)
    return table


def _field_tables() -> tuple[list[int], list[int]]:
    """Return, in GF(2^8) by x^8+x^4+x^3+x^2+1, products with x, and what divides by x+1."""
    double = [value << 1 ^ (0x11D if value & 0x80 else 0) for value in range(256)]
    divide = [0] * 256
    for value in range(256):
        divide[value ^ double[value]] = value
    return double, divide


_EDC: Final = _edc_table()
_DOUBLE, _DIVIDE = _field_tables()


def edc(data: bytes) -> bytes:
    """Return the error detection code, four bytes."""
    value = 0
    for byte in data:
        value = value >> 8 ^ _EDC[(value ^ byte) & 0xFF]
    return value.to_bytes(4, "little")


def _parity(data: bytes, columns: int, rows: int, across: int, down: int) -> bytes:
    """Return two parity bytes for each of `columns` code words of `rows` bytes that lie `down` apart."""
    size = columns * rows
    first, second = bytearray(columns), bytearray(columns)
    for column in range(columns):
        at = (column >> 1) * across + (column & 1)
        a = b = 0
        for _ in range(rows):
            byte = data[at]
            at += down
            if at >= size:
                at -= size
            a = _DOUBLE[a ^ byte]
            b ^= byte
        a = _DIVIDE[_DOUBLE[a] ^ b]
        first[column], second[column] = a, a ^ b
    return bytes(first + second)


def whole(header: bytes, data: bytes) -> bytes:
    """Return the 2352 bytes of a sector: `header` is minute, second, frame in BCD and the mode; `data` 2048 bytes."""
    sector = SYNC + header + data
    sector += edc(sector) + bytes(8)
    sector += _parity(sector[12:], 86, 24, 2, 86)  # P
    sector += _parity(sector[12:], 52, 43, 86, 88)  # Q
    return sector
