"""Writes a PNG, with a palette or in true colour (W3C PNG specification: chunks 5.3, IHDR 11.2.1, PLTE 11.2.2)."""

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

INDEXED: Final = 3
TRUE_COLOR: Final = 2


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(width: int, rows: Iterable[bytes], palette: Sequence[tuple[int, int, int]] | None) -> bytes:
    """Return a picture of `width` dots.

    Each row has a byte a dot, an index into `palette`, which has at most 256 colours; without one, three bytes a dot:
    red, green and blue.
    """
    lines = [b"\0" + row for row in rows]  # filter type 0: none
    kind = TRUE_COLOR if palette is None else INDEXED
    header = struct.pack(">IIBBBBB", width, len(lines), 8, kind, 0, 0, 0)  # 8 bits a sample
    colors = b"".join(bytes(color) for color in palette or ())
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + (_chunk(b"PLTE", colors) if colors else b"")
        + _chunk(b"IDAT", zlib.compress(b"".join(lines), 6))
        + _chunk(b"IEND", b"")
    )
