"""What differs between two pictures: rectangles that together have every dot that does."""

from typing import Final

import attrs

from devmodel.devices.vga_picture import Picture

GAP: Final = 8
"""Rows that are alike between two that differ are sent with them, up to so many."""


@attrs.frozen
class Rectangle:
    """A part of a picture, in dots."""

    x: int
    y: int
    width: int
    height: int

    def within(self, width: int, height: int) -> "Rectangle | None":
        """Return what of it lies in a picture of this size."""
        wide, high = min(self.x + self.width, width) - self.x, min(self.y + self.height, height) - self.y
        return Rectangle(self.x, self.y, wide, high) if wide > 0 and high > 0 else None


def whole(picture: Picture) -> Rectangle:
    """Return all of a picture."""
    return Rectangle(0, 0, picture.width, picture.height)


def damage(before: Picture | None, after: Picture) -> list[Rectangle]:
    """Return where `after` is not as `before`, from top to bottom."""
    if before is after:
        return []
    if before is None or (before.width, before.height) != (after.width, after.height):
        return [whole(after)]
    if (before.palette is None) != (after.palette is None):
        return [whole(after)]
    if before.palette is not None and after.palette is not None and before.palette != after.palette:
        size = min(len(before.palette), len(after.palette))
        if before.palette[:size] != after.palette[:size]:
            return [whole(after)]
    found: list[Rectangle] = []
    dot = 1 if after.palette is not None else 3
    for y, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        if old == new:
            continue
        differing = int.from_bytes(old) ^ int.from_bytes(new)
        first = (8 * len(new) - differing.bit_length()) // (8 * dot)
        last = (len(new) - 1 - ((differing & -differing).bit_length() - 1) // 8) // dot
        if found and y - (found[-1].y + found[-1].height) <= GAP:
            above = found.pop()
            x, end = min(above.x, first), max(above.x + above.width, last + 1)
            found.append(Rectangle(x, above.y, end - x, y + 1 - above.y))
        else:
            found.append(Rectangle(first, y, last + 1 - first, 1))
    return found
