"""What stands on a VGA's screen, as plain values for whoever draws it."""

from typing import Final

import attrs

from devmodel.devices.vga_registers import Attribute, Crtc, Graphics, Sequencer, VgaState

FONT_OFFSETS: Final = (0x0000, 0x4000, 0x8000, 0xC000, 0x2000, 0x6000, 0xA000, 0xE000)
GLYPH: Final = 32  # bytes from one glyph to the next in plane 2


@attrs.frozen
class TextScreen:
    """A text mode: `rows` times `columns` cells, left to right, top to bottom."""

    columns: int
    rows: int
    characters: bytes  # codes of the guest's code page (437 in the BIOS's font)
    attributes: bytes  # foreground in bits 3-0, background in bits 6-4, bit 7 as `blink` says
    cursor: tuple[int, int] | None  # row and column; None when off or out of sight
    cursor_lines: tuple[int, int]  # first and last scan line of it
    glyph_height: int
    glyph_width: int  # 8 or 9; the ninth dot repeats the eighth in codes 0xC0-0xDF, else it is background
    fonts: tuple[bytes, bytes]  # 256 glyphs of 32 bytes, for attribute bit 3 clear and set
    palette: tuple[tuple[int, int, int], ...]  # 16 colours, red, green, blue from 0 to 255
    blink: bool  # attribute bit 7 blinks; else it makes the background bright

    def text(self) -> str:
        """Return the characters as lines without their trailing blanks."""
        decoded = self.characters.replace(b"\0", b" ").decode("cp437")
        lines = (decoded[i : i + self.columns].rstrip() for i in range(0, len(decoded), self.columns))
        return "".join(line + "\n" for line in lines)


@attrs.frozen
class GraphicsScreen:
    """A graphics mode, by its size in dots."""

    width: int
    height: int
    colors: int


def screen(s: VgaState) -> TextScreen | GraphicsScreen:
    """Return what the registers and the memory show."""
    crtc = s.crtc
    overflow = crtc[Crtc.OVERFLOW]
    lines = (crtc[Crtc.VERTICAL_DISPLAY_END] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1
    columns = crtc[Crtc.HORIZONTAL_DISPLAY_END] + 1
    scans = crtc[Crtc.MAXIMUM_SCAN_LINE]
    height = (scans & 0x1F) + 1
    doubled = 2 if scans & 0x80 else 1
    if s.graphics[Graphics.MISCELLANEOUS] & 1:
        colors = 256 if s.graphics[Graphics.MODE] & 0x40 else 16
        width = columns * (4 if colors == 256 else 8)
        return GraphicsScreen(width, lines // height // doubled, colors)

    rows = lines // doubled // height
    start = crtc[Crtc.START_HIGH] << 8 | crtc[Crtc.START_LOW]
    step = crtc[Crtc.OFFSET] * 2
    shift = _address_shift(s)
    characters, attributes = bytearray(), bytearray()
    for row in range(rows):
        for counter in range(start + row * step, start + row * step + columns):
            address = counter << shift & 0xFFFF
            characters.append(s.planes[0][address])
            attributes.append(s.planes[1][address])
    return TextScreen(
        columns=columns,
        rows=rows,
        characters=bytes(characters),
        attributes=bytes(attributes),
        cursor=_cursor(s, start, step, columns, rows),
        cursor_lines=(crtc[Crtc.CURSOR_START] & 0x1F, crtc[Crtc.CURSOR_END] & 0x1F),
        glyph_height=height,
        glyph_width=8 if s.sequencer[Sequencer.CLOCKING_MODE] & 1 else 9,
        fonts=_fonts(s),
        palette=_palette(s),
        blink=bool(s.attribute[Attribute.MODE_CONTROL] & 8),
    )


def _address_shift(s: VgaState) -> int:
    """Return how the memory address counter is shifted: byte, word or double word mode."""
    if s.crtc[Crtc.UNDERLINE] & 0x40:
        return 2
    return 0 if s.crtc[Crtc.MODE_CONTROL] & 0x40 else 1


def _cursor(s: VgaState, start: int, step: int, columns: int, rows: int) -> tuple[int, int] | None:
    crtc = s.crtc
    if crtc[Crtc.CURSOR_START] & 0x20 or crtc[Crtc.CURSOR_START] & 0x1F > crtc[Crtc.CURSOR_END] & 0x1F:
        return None
    place = (crtc[Crtc.CURSOR_HIGH] << 8 | crtc[Crtc.CURSOR_LOW]) - start
    row, column = divmod(place, step or columns)
    return (row, column) if 0 <= row < rows and column < columns else None


def _fonts(s: VgaState) -> tuple[bytes, bytes]:
    selected = s.sequencer[Sequencer.CHARACTER_MAP]
    b = FONT_OFFSETS[selected & 3 | selected >> 2 & 4]
    a = FONT_OFFSETS[selected >> 2 & 3 | selected >> 3 & 4]
    return bytes(s.planes[2][b : b + 256 * GLYPH]), bytes(s.planes[2][a : a + 256 * GLYPH])


def _palette(s: VgaState) -> tuple[tuple[int, int, int], ...]:
    colors = []
    select = s.attribute[Attribute.COLOR_SELECT]
    for entry in s.attribute[:16]:
        if s.attribute[Attribute.MODE_CONTROL] & 0x80:
            index = entry & 0x0F | (select & 0x0F) << 4
        else:
            index = entry & 0x3F | (select & 0x0C) << 4
        first = (index & s.dac_mask) * 3
        red, green, blue = ((v << 2 | v >> 4) for v in s.dac[first : first + 3])
        colors.append((red, green, blue))
    return tuple(colors)
