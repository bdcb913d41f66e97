"""The dots that a monitor on a VGA shows (IBM PS/2 Hardware Interface TR, Video: attribute controller, video DAC).

A line is made of bytes, a dot each, from the memory that the CRT controller addresses: characters through the font
in plane 2, or planes through the shift registers. What repeats is made once: a font's row in an attribute, a double
word of the planes.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final

import attrs

from devmodel.devices.vga_frame import NO_BORDER, Frame, Scan
from devmodel.devices.vga_memory import GLYPH
from devmodel.devices.vga_registers import Attribute, Crtc, Graphics, Sequencer, Vbe
from devmodel.devices.vga_text import BLINK, cursor_place

FONT_OFFSETS: Final = (0x0000, 0x4000, 0x8000, 0xC000, 0x2000, 0x6000, 0xA000, 0xE000)
LINE_GRAPHICS: Final = range(0xC0, 0xE0)  # characters whose ninth dot may repeat the eighth
LINE_GRAPHICS_ENABLE: Final = 0x04  # attribute mode control
EIGHT_BITS: Final = 0x40
INTERLEAVE: Final = 0x20  # graphics mode
SHIFT_LOAD: Final = 0x04  # clocking mode
SHIFT_4: Final = 0x10
WORDS: Final = 1 << 16  # whose dots are remembered
UNDERLINED: Final = 0x01  # of an attribute's bits 2-0
BACKGROUND_SHIFT: Final = 4

SPREAD: Final = tuple(sum(1 << 8 * (7 - bit) for bit in range(8) if byte >> bit & 1) for byte in range(256))
"""A byte's bits, made a byte each; the most significant is the first in little-endian order."""
PAIRS: Final = tuple(sum((byte >> 6 - 2 * i & 3) << 8 * i for i in range(4)) for byte in range(256))
"""A byte's pairs of bits likewise."""


@attrs.frozen
class Picture:
    """`height` rows of `width` dots: a byte each, an index into `palette`; or, without one, red, green and blue."""

    width: int
    height: int
    rows: list[bytes]
    palette: tuple[tuple[int, int, int], ...] | None


def picture(frame: Frame, *, cursor: bool = True, blink_on: bool = True) -> Picture:
    """Draw a frame. `cursor` and `blink_on` are the halves of the time in which the cursor and what blinks show."""
    width, height = frame.size
    if frame.blank:
        return Picture(width, height, [bytes(width)] * height, ((0, 0, 0),))
    if frame.vbe_enabled:
        return _vbe(frame)
    words = memoryview(frame.memory).cast("I")
    if frame.text_mode:
        rows = TextDots(frame, words, cursor=cursor, blink_on=blink_on).rows()
    else:
        rows = GraphicsDots(frame, words, blink_on=blink_on).rows()
    shown = Picture(width, height, _bordered(rows, frame), frame.colors())
    return _darkened(shown, frame) if frame.dark_columns or frame.dark_lines else shown


def _bordered(rows: list[bytes], frame: Frame) -> list[bytes]:
    """Put what there is of a border around the rows."""
    border = frame.border
    if border == NO_BORDER:
        return rows
    color = frame.attribute[Attribute.OVERSCAN : Attribute.OVERSCAN + 1]
    line = color * frame.size[0]
    left, right = color * border.left, color * border.right
    return [line] * border.top + [left + row + right for row in rows] + [line] * border.bottom


def _darkened(shown: Picture, frame: Frame) -> Picture:
    """Make what is blanked black, whatever the DAC has."""
    colors = [bytes(color) for color in frame.colors()]
    border, clock = frame.border, 3 * frame.clock_width
    dark_lines = frozenset(border.top + line for line in frame.dark_lines)
    rows = []
    for y, row in enumerate(shown.rows):
        line = bytearray(3 * shown.width)
        if y not in dark_lines:
            line[:] = b"".join([colors[dot] for dot in row])
            for column in frame.dark_columns:
                at = 3 * border.left + clock * column
                line[at : at + clock] = bytes(clock)
        rows.append(bytes(line))
    return Picture(shown.width, shown.height, rows, None)


def selected_fonts(frame: Frame) -> tuple[int, int]:
    """Return where the fonts are of characters whose attribute bit 3 is 0, and 1."""
    selected = frame.sequencer[Sequencer.CHARACTER_MAP]
    return (
        FONT_OFFSETS[selected & 3 | selected >> 2 & 4],
        FONT_OFFSETS[selected >> 2 & 3 | selected >> 3 & 4],
    )


def reload_interval(frame: Frame) -> int:
    """Return how many character clocks the shift registers live on what they load."""
    clocking = frame.sequencer[Sequencer.CLOCKING_MODE]
    return 4 if clocking & SHIFT_4 else 2 if clocking & SHIFT_LOAD else 1


class TextDots:
    """The dots of a text mode, before panning."""

    def __init__(self, frame: Frame, words: memoryview, *, cursor: bool, blink_on: bool) -> None:
        self._frame = frame
        self._words = words
        self._blink_on = blink_on
        self._mode = frame.attribute[Attribute.MODE_CONTROL]
        self._palette = bytes(frame.palette())
        self._underline = frame.crtc[Crtc.UNDERLINE] & 0x1F
        self._cursor = cursor_place(frame) if cursor else None
        first, last = frame.crtc[Crtc.CURSOR_START] & 0x1F, frame.crtc[Crtc.CURSOR_END] & 0x1F
        self._cursor_rows = range(first, last + 1)
        self._fonts = selected_fonts(frame)
        self._cells: dict[tuple[int, int, int], bytes] = {}

    def rows(self) -> list[bytes]:
        """Return the lines of the raster."""
        drawn: dict[Scan, bytes] = {}
        rows = []
        for scan in self._frame.scans():
            row = drawn.get(scan)
            if row is None:
                row = drawn[scan] = self._line(scan)
            rows.append(row)
        return rows

    def _line(self, scan: Scan) -> bytes:
        return _window(self._frame, scan, self.dots)

    def dots(self, scan: Scan, clocks: range) -> bytes:
        """Return the dots of these character clocks of a line, as numbers of the DAC's colours."""
        frame, words, cells = self._frame, self._words, self._cells
        dots = []
        for clock, address in zip(clocks, frame.addresses(scan, clocks), strict=True):
            word = words[address]
            code, attribute = word & 0xFF, word >> 8 & 0xFF
            if self._cursor == scan.start + clock & 0xFFFF and scan.row in self._cursor_rows:
                dots.append(self._palette[attribute & 15 : (attribute & 15) + 1] * frame.cell_width)
                continue
            key = code, attribute, scan.row
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = self._cell(*key)
            dots.append(cell)
        return b"".join(dots)

    def _cell(self, code: int, attribute: int, row: int) -> bytes:
        """Return one line of a character."""
        foreground, background = attribute & 15, attribute >> BACKGROUND_SHIFT
        font = self._fonts[attribute >> 3 & 1]
        if self._mode & BLINK:
            if background & 8 and not self._blink_on:
                foreground = background & 7
            background &= 7
        dots = SPREAD[self._words[font + GLYPH * code + row] >> 16 & 0xFF].to_bytes(8, "little")
        if attribute & 7 == UNDERLINED and row == self._underline:
            dots = b"\1" * 8
            ninth = b"\1"
        elif self._mode & LINE_GRAPHICS_ENABLE and code in LINE_GRAPHICS:
            ninth = dots[7:]
        else:
            ninth = b"\0"
        if self._frame.cell_width == 9:
            dots += ninth
        return dots.translate(_two_colors(self._palette[background], self._palette[foreground]))


class GraphicsDots:
    """The dots of a graphics mode of the planes, before panning."""

    def __init__(self, frame: Frame, words: memoryview, *, blink_on: bool) -> None:
        self._frame = frame
        mode = frame.attribute[Attribute.MODE_CONTROL]
        graphics = frame.graphics[Graphics.MODE]
        self._packed = bool(graphics & EIGHT_BITS)
        self._interleaved = bool(graphics & INTERLEAVE)
        self._pixel_width = 2 if mode & EIGHT_BITS else 1
        blinking = bool(mode & BLINK) and not blink_on
        palette = frame.palette(inverted=8 if blinking else 0)
        if self._pixel_width == 1:
            self._table = bytes(palette) + bytes(240)
        else:  # both nibbles of a dot go through the palette, one after the other
            nibbles = [entry & 15 for entry in palette]
            self._table = bytes(high << 4 | low for high in nibbles for low in nibbles)
        self._words = words
        self._reload = reload_interval(frame)

    def rows(self) -> list[bytes]:
        """Return the lines of the raster."""
        frame, drawn = self._frame, dict[tuple[int, bool, int], bytes]()
        rows = []
        banked = frame.crtc[Crtc.MODE_CONTROL] & 3 != 3
        for scan in frame.scans():
            key = scan.start, scan.split, scan.row if banked else 0
            row = drawn.get(key)
            if row is None:
                row = drawn[key] = self._line(scan)
            rows.append(row)
        return rows

    def _line(self, scan: Scan) -> bytes:
        return _window(self._frame, scan, self.dots)

    def dots(self, scan: Scan, clocks: range) -> bytes:
        """Return the dots of these character clocks of a line, as numbers of the DAC's colours."""
        words = self._loaded(scan, clocks)
        if self._packed:
            line = b"".join([word.to_bytes(4, "little") for word in words])
            if self._pixel_width == 1:  # two nibbles a dot clock apart, of which the first is the high one
                line = bytes(part for byte in line for part in (byte >> 4, byte & 15)).translate(self._table)
            else:
                line = _wide(line.translate(self._table))
        else:
            shift = _interleaved if self._interleaved else _planar
            line = b"".join([shift(word) for word in words]).translate(self._table)
        if self._frame.cell_width == 9:
            line = b"".join([line[at : at + 8] + line[at + 7 : at + 8] for at in range(0, len(line), 8)])
        return line

    def _loaded(self, scan: Scan, clocks: range) -> list[int]:
        """Return what the shift registers have in these character clocks.

        In a clock that does not load them, each has what the plane above had: they are chained, from plane 3 to plane
        0, and zeros follow (SR01 bits 2 and 4: shift load, shift 4).
        """
        frame, words, reload = self._frame, self._words, self._reload
        if reload == 1:
            return [words[address] for address in frame.addresses(scan, clocks)]
        ages = [clock % reload for clock in clocks]
        loads = (clock - age for clock, age in zip(clocks, ages, strict=True))
        return [
            words[address] >> 8 * age for address, age in zip(frame.addresses(scan, loads), ages, strict=True)
        ]


def _window(frame: Frame, scan: Scan, dots: Callable[[Scan, range], bytes]) -> bytes:
    """Return what is displayed of a line: panned, and with dots as wide as they are."""
    clocks, panning = frame.clocks, frame.panning(scan)
    line = dots(scan, range(clocks.start, clocks.stop + bool(panning)))
    line = line[panning : panning + frame.columns * frame.cell_width]
    return _wide(line) if frame.dot_width == 2 else line


@lru_cache(WORDS)
def _planar(word: int) -> bytes:
    """Return the eight dots of a byte of each plane."""
    return (
        SPREAD[word & 0xFF]
        | SPREAD[word >> 8 & 0xFF] << 1
        | SPREAD[word >> 16 & 0xFF] << 2
        | SPREAD[word >> 24] << 3
    ).to_bytes(8, "little")


@lru_cache(WORDS)
def _interleaved(word: int) -> bytes:
    """Return the eight dots of a CGA mode: pairs of bits, four from the even planes, then four from the odd ones."""
    first = PAIRS[word & 0xFF] | PAIRS[word >> 16 & 0xFF] << 2
    second = PAIRS[word >> 8 & 0xFF] | PAIRS[word >> 24] << 2
    return (first | second << 32).to_bytes(8, "little")


@cache
def _two_colors(background: int, foreground: int) -> bytes:
    return bytes((background, foreground)) + bytes(254)


def _wide(line: bytes) -> bytes:
    """Return a line with every dot twice."""
    wide = bytearray(2 * len(line))
    wide[::2] = line
    wide[1::2] = line
    return bytes(wide)


def _vbe(frame: Frame) -> Picture:
    """Draw a mode of the Bochs VBE extensions."""
    vbe, memory = frame.vbe, frame.memory
    width, height, bits = vbe[Vbe.XRES], vbe[Vbe.YRES], vbe[Vbe.BPP]
    if bits == 4:
        return _vbe_planes(frame)
    step = (bits + 7) // 8
    length = vbe[Vbe.VIRT_WIDTH] * step
    first = vbe[Vbe.X_OFFSET] * step
    lines = [memory[first + y * length : first + y * length + width * step] for y in range(height)]
    if bits == 8:
        return Picture(width, height, lines, frame.colors())
    return Picture(width, height, [_true_color(line, bits) for line in lines], None)


def _vbe_planes(frame: Frame) -> Picture:
    vbe, words = frame.vbe, memoryview(frame.memory).cast("I")
    width, height = vbe[Vbe.XRES], vbe[Vbe.YRES]
    length, first = vbe[Vbe.VIRT_WIDTH] // 8, vbe[Vbe.X_OFFSET] // 8
    table = bytes(frame.palette()) + bytes(240)
    rows = []
    for y in range(height):
        at, shift = first + y * length, vbe[Vbe.X_OFFSET] % 8
        line = b"".join([_planar(word) for word in words[at : at + width // 8 + bool(shift)]])
        rows.append(line.translate(table)[shift : shift + width])
    return Picture(width, height, rows, frame.colors())


def _true_color(line: bytes, bits: int) -> bytes:
    """Return a line as red, green and blue, a byte each."""
    pixels = len(line) * 8 // (bits + 1 & ~7)
    colors = bytearray(3 * pixels)
    if bits >= 24:
        step = bits // 8
        colors[0::3], colors[1::3], colors[2::3] = line[2::step], line[1::step], line[0::step]
        return bytes(colors)
    red, green, blue = _levels(bits)
    values = memoryview(line).cast("H").tolist()
    colors[0::3] = bytes([red[value] for value in values])
    colors[1::3] = bytes([green[value] for value in values])
    colors[2::3] = bytes([blue[value] for value in values])
    return bytes(colors)


@cache
def _levels(bits: int) -> tuple[bytes, bytes, bytes]:
    """Return red, green and blue of every value of 15 or 16 bits."""
    five = bytes(level << 3 | level >> 2 for level in range(32))
    six = bytes(level << 2 | level >> 4 for level in range(64))
    blue = five * 2048
    if bits == 15:
        green = b"".join(five[level : level + 1] * 32 for level in range(32)) * 64
        red = b"".join(five[level : level + 1] * 1024 for level in range(32)) * 2
    else:
        green = b"".join(six[level : level + 1] * 32 for level in range(64)) * 32
        red = b"".join(five[level : level + 1] * 2048 for level in range(32))
    return red, green, blue
