"""Writes a PNG with a palette (W3C PNG specification: chunks 5.3, IHDR 11.2.1, PLTE 11.2.2)."""

import struct
import zlib
from collections.abc import Iterable, Sequence


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(width: int, rows: Iterable[bytes], palette: Sequence[tuple[int, int, int]]) -> bytes:
    """Return a picture of `width` dots; each row has a byte a dot, an index into `palette`."""
    lines = [b"\0" + row for row in rows]  # filter type 0: none
    header = struct.pack(">IIBBBBB", width, len(lines), 8, 3, 0, 0, 0)  # 8 bits, indexed colour
    colours = b"".join(bytes(colour) for colour in palette)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"PLTE", colours)
        + _chunk(b"IDAT", zlib.compress(b"".join(lines), 9))
        + _chunk(b"IEND", b"")
    )
