"""Dots as a viewer wants them: RFB's pixel formats (RFC 6143, 7.4), made by tables a channel and a byte at a time."""

import struct
from functools import lru_cache
from typing import Final, Self

import attrs

from devmodel.devices.vga_picture import Picture
from devmodel.display.damage import Rectangle

_LAYOUT: Final = struct.Struct(">BBBBHHHBBB3x")


@attrs.frozen
class PixelFormat:
    """How a dot is written: `bits` a dot, a colour from 0 to a maximum (red, green, blue), shifted to the left."""

    bits: int
    depth: int
    big_endian: bool
    true_color: bool
    maxima: tuple[int, int, int]
    shifts: tuple[int, int, int]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take a format from its 16 bytes.

        Raises:
            ValueError: it is none that there can be.

        """
        bits, depth, big, true, red, green, blue, *shifts = _LAYOUT.unpack(data)
        if not true:  # a map of colours, which we choose
            return cls(8, 8, False, False, (7, 7, 3), (0, 3, 6))
        if bits not in {8, 16, 32} or any(
            not maximum or (maximum & (maximum + 1)) or maximum > 255 or maximum << shift >= 1 << bits
            for maximum, shift in zip((red, green, blue), shifts, strict=True)
        ):
            raise ValueError(f"no pixel format: {data.hex()}")
        return cls(bits, depth, bool(big), True, (red, green, blue), (shifts[0], shifts[1], shifts[2]))

    def encode(self) -> bytes:
        """Return it as 16 bytes."""
        return _LAYOUT.pack(
            self.bits, self.depth, self.big_endian, self.true_color, *self.maxima, *self.shifts
        )

    @property
    def compact(self) -> "PixelFormat | None":
        """Return Tight's three bytes for a dot of this format; None where it is sent whole."""
        if self.bits == 32 and self.depth == 24 and self.maxima == (255, 255, 255):
            return attrs.evolve(self, bits=24, big_endian=True, shifts=(16, 8, 0))
        return None

    def color_map(self) -> list[tuple[int, int, int]]:
        """Return the colours of a map, 16 bits each."""

        def level(dot: int, channel: int) -> int:
            maximum = self.maxima[channel]
            return (dot >> self.shifts[channel] & maximum) * 0xFFFF // maximum

        return [(level(dot, 0), level(dot, 1), level(dot, 2)) for dot in range(256)]


SERVERS: Final = PixelFormat(32, 24, False, True, (255, 255, 255), (16, 8, 0))
"""What a picture is in unless the viewer wants it otherwise."""


@lru_cache(64)
def _tables(form: PixelFormat, channel: int) -> list[bytes]:
    """Return for each byte of a dot, as it is sent, what a channel's value puts into it."""
    maximum, shift, size = form.maxima[channel], form.shifts[channel], form.bits // 8
    order = "big" if form.big_endian else "little"
    dots = [((value * maximum + 127) // 255 << shift).to_bytes(size, order) for value in range(256)]  # type: ignore[arg-type]
    return [bytes(dot[at] for dot in dots) for at in range(size)]


def dots(picture: Picture, where: Rectangle, form: PixelFormat) -> bytes:
    """Return a part of a picture, row by row."""
    size = 1 if picture.palette is not None else 3
    begin, end = where.x * size, (where.x + where.width) * size
    rows = picture.rows[where.y : where.y + where.height]
    data = b"".join(row[begin:end] for row in rows)
    count = where.width * where.height
    lanes: list[list[bytes]] = [[] for _ in range(form.bits // 8)]
    for channel in range(3):
        if picture.palette is None:
            values, colors = data[channel::3], None
        else:
            values = data
            colors = bytes(color[channel] for color in picture.palette).ljust(256, b"\0")
        for lane, table in zip(lanes, _tables(form, channel), strict=True):
            if any(table):
                lane.append(values.translate(table if colors is None else colors.translate(table)))
    out = bytearray(count * len(lanes))
    for at, lane in enumerate(lanes):
        if len(lane) == 1:
            out[at :: len(lanes)] = lane[0]
        elif lane:
            together = 0
            for values in lane:  # the channels' bits do not overlap
                together |= int.from_bytes(values)
            out[at :: len(lanes)] = together.to_bytes(count)
    return bytes(out)
