"""What stands on a VGA's screen in a text mode, as characters."""

from typing import Self

import attrs

from devmodel.devices.vga_frame import Frame, Scan
from devmodel.devices.vga_registers import Attribute, Crtc

BLINK = 0x08  # attribute mode control
CURSOR_OFF = 0x20


def cursor_place(frame: Frame) -> int | None:
    """Return the memory address counter at the cursor, moved by its skew; None if it is off."""
    crtc = frame.crtc
    first, last = crtc[Crtc.CURSOR_START], crtc[Crtc.CURSOR_END]
    if first & CURSOR_OFF or first & 0x1F > last & 0x1F:
        return None
    return (crtc[Crtc.CURSOR_HIGH] << 8 | crtc[Crtc.CURSOR_LOW]) + (last >> 5 & 3) & 0xFFFF


@attrs.frozen
class TextScreen:
    """`rows` times `columns` cells, left to right, top to bottom."""

    columns: int
    rows: int
    characters: bytes  # codes of the guest's code page (437 in the BIOS's font)
    attributes: bytes  # foreground in bits 3-0, background in bits 6-4, bit 7 as `blink` says
    cursor: tuple[int, int] | None  # row and column; None when off or out of sight
    colors: tuple[tuple[int, int, int], ...]  # 16, in red, green and blue from 0 to 255
    blink: bool  # attribute bit 7 blinks; else it makes the background bright

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Read the characters of a frame, which is of a text mode; of one that is blank there are only spaces."""
        columns, first, blank = frame.columns, frame.clocks.start, frame.blank
        rows: list[Scan] = []
        for scan in frame.scans():
            if not rows or (scan.start, scan.split) != (rows[-1].start, rows[-1].split):
                rows.append(scan)
        characters, attributes = bytearray(), bytearray()
        place, cursor = cursor_place(frame), None
        memory = frame.memory
        for number, scan in enumerate(rows):
            for address in frame.addresses(scan, frame.clocks):
                characters.append(memory[4 * address])
                attributes.append(memory[4 * address + 1])
            if place is not None and (column := place - first - scan.start & 0xFFFF) < columns:
                cursor = number, column
        cells = len(rows) * columns
        palette, colors = frame.palette(), frame.colors()
        return cls(
            columns=columns,
            rows=len(rows),
            characters=b" " * cells if blank else bytes(characters),
            attributes=bytes(cells) if blank else bytes(attributes),
            cursor=None if blank else cursor,
            colors=tuple(colors[entry] for entry in palette),
            blink=bool(frame.attribute[Attribute.MODE_CONTROL] & BLINK),
        )

    def text(self) -> str:
        """Return the characters as lines without their trailing blanks."""
        decoded = self.characters.replace(b"\0", b" ").decode("cp437")
        lines = (decoded[i : i + self.columns].rstrip() for i in range(0, len(decoded), self.columns))
        return "".join(line + "\n" for line in lines)
