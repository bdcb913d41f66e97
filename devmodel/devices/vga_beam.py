"""Where the beam of a VGA's monitor is, and what it shows: input status 1 (IBM PS/2 Hardware Interface TR, Video).

Two of the eight bits that the video DAC is given stand in that register, by color plane enable, so that a program can
see that a picture comes out without looking at a monitor. Programs poll it, so a line of the raster becomes a function
when the beam first comes to it, with all that the registers say about the line worked out; what is left for a read is
one dot. Memory is read anew each time: a guest that shares it may have changed it.
`vga_picture` draws the same dots a line at a time.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S
from devmodel.devices.vga_frame import Frame, Scan
from devmodel.devices.vga_memory import GLYPH, VgaMemory
from devmodel.devices.vga_picture import (
    BACKGROUND_SHIFT,
    EIGHT_BITS,
    INTERLEAVE,
    LINE_GRAPHICS,
    LINE_GRAPHICS_ENABLE,
    UNDERLINED,
    reload_interval,
    selected_fonts,
)
from devmodel.devices.vga_registers import Attribute, Crtc, Graphics
from devmodel.devices.vga_text import BLINK, cursor_place

STATUS_DISPLAY_OFF: Final = 0x01
STATUS_RETRACE: Final = 0x08
STATUS_MUX: Final = ((2, 0), (5, 4), (3, 1), (7, 6))
"""Which of the outputs P7 to P0 status bits 5 and 4 are, by bits 5-4 of color plane enable."""
STATUS: Final = tuple(
    bytes((outputs >> high & 1) << 5 | (outputs >> low & 1) << 4 for outputs in range(256))
    for high, low in STATUS_MUX
)
"""Status bits 5 and 4 by the outputs, likewise."""
CURSOR_PHASE: Final = 8
"""The cursor shows for so many frames, and does not for as many."""
BLINK_PHASE: Final = 16
PLANES_AT_A_DOT: Final = {
    sum(1 << 8 * plane for plane in range(4) if color >> plane & 1): color for color in range(16)
}
"""The number that a bit of each plane is, where the planes are a byte of a double word each."""
ONE_DOT: Final = 0x0101_0101

Line = Callable[[int, int], int]
"""Return bits 5 and 4 of input status 1: number of the frame, ticks of the dot clock since the line began."""


@attrs.frozen
class Timing:
    """The raster: `rate` is the dot clock in Hz, `dots` and `dot_width` ticks of it; the rest characters and lines."""

    rate: int
    dots: int
    dot_width: int
    width: int
    height: int
    columns: range
    lines: int
    retrace: range


def timing(frame: Frame, rate: int) -> Timing:
    """Return what the registers make of a dot clock."""
    crtc, overflow = frame.crtc, frame.crtc[Crtc.OVERFLOW]
    first = crtc[Crtc.VERTICAL_RETRACE_START] | (overflow & 4) << 6 | (overflow & 0x80) << 2
    height = frame.vertical_total
    retrace = range(first, first + ((crtc[Crtc.VERTICAL_RETRACE_END] - first & 15) or 16))
    shape = frame.horizontal_total, height, frame.clocks, frame.displayed_lines, retrace
    if height <= first:  # no timing is programmed that a monitor could follow
        shape = 100, 449, range(80), 400, range(412, 414)
    return Timing(rate, frame.clock_width, frame.dot_width, *shape)


def _nothing(_frame: int, _tick: int) -> int:
    """Return what a line shows that is blanked."""
    return 0


class Beam:
    """The registers as they are; memory may change.

    The line that the beam is in is kept, with the ticks of the dot clock at its first dot.
    """

    def __init__(self, frame: Frame, memory: VgaMemory, *, rate: int, now: int) -> None:
        """Look at registers only; `frame` needs no memory. The dot clock is `rate` Hz, and it is `now` in ns."""
        self._frame = frame
        self._read, self._read_font, self._pairs = memory.reader(), memory.font_reader(), memory.pairs()
        self._status = STATUS[frame.attribute[Attribute.COLOR_PLANE_ENABLE] >> 4 & 3]
        self._dark = frame.blank or frame.vbe_enabled
        self._overscan = 0 if self._dark else frame.attribute[Attribute.OVERSCAN]
        self._timing = raster = timing(frame, rate)
        self._lines: dict[int, Line] = {}
        self._rate, self._dots, self._dot_width = rate, raster.dots, raster.dot_width
        self._length = raster.width * raster.dots
        self._picture = raster.columns.start * raster.dots, raster.columns.stop * raster.dots
        self._shown: Line = _nothing
        self._find(now)

    def status(self, now: int) -> int:
        """Return input status 1 at a time in ns."""
        tick = ((now - self._since) * self._rate + self._rest) // NS_PER_S
        if tick >= self._length:
            tick = self._find(now)
        if self._first <= tick < self._last:
            return self._vertical | self._shown(self._number, tick)
        return self._vertical | self._outside(tick // self._dots)

    def _find(self, now: int) -> int:
        """Find the line that the beam is in, and return the ticks since its first dot."""
        raster = self._timing
        count, self._rest = divmod(now * self._rate, NS_PER_S)
        line, tick = divmod(count, self._length)
        self._since, self._rest = now, self._rest + tick * NS_PER_S
        self._number, self._line = divmod(line, raster.height)
        line = self._line
        self._vertical = STATUS_RETRACE if line in raster.retrace else 0
        displayed = line < raster.lines
        self._first, self._last = self._picture if displayed else (0, 0)
        if displayed:
            self._shown = self._lines.get(line) or self._enter(line)
        return tick

    def _enter(self, line: int) -> Line:
        """Return a line of the vertical counter that is displayed."""
        frame = self._frame
        if self._dark or line in self._dark_lines:
            entered: Line = _nothing
        else:
            scan = frame.scan_of()(line * frame.line_clock)
            entered = self._text(scan) if frame.text_mode else self._graphics(scan)
            dark = self._dark_clocks.intersection(frame.clocks)
            if dark:
                entered = _but_for(dark, entered, self._dots)
        self._lines[line] = entered
        return entered

    def _outside(self, clock: int) -> int:
        """Return input status 1 but for the retrace where nothing is displayed."""
        if not self._overscan or clock in self._dark_clocks or self._line in self._dark_lines:
            return STATUS_DISPLAY_OFF
        return STATUS_DISPLAY_OFF | self._status[self._overscan]

    @cached_property
    def _dark_clocks(self) -> frozenset[int]:
        return self._frame.horizontal.blanked

    @cached_property
    def _dark_lines(self) -> frozenset[int]:
        return self._frame.vertical.blanked

    def _text(self, scan: Scan) -> Line:
        frame, read, read_font = self._frame, self._read, self._read_font
        crtc, mode = frame.crtc, frame.attribute[Attribute.MODE_CONTROL]
        start, divide, left, right, low, keep, put = frame.addressing(scan)
        pairs, parity = self._pairs
        panning, width, row = frame.panning(scan), frame.cell_width, scan.row
        status = self._status
        palette = bytes(status[entry] for entry in frame.palette())
        place = cursor_place(frame)
        cursor = -1
        if place is not None and crtc[Crtc.CURSOR_START] & 0x1F <= row <= crtc[Crtc.CURSOR_END] & 0x1F:
            cursor = place - start & 0xFFFF
        font, bright_font = (font + row for font in selected_fonts(frame))
        blinking, repeating = bool(mode & BLINK), bool(mode & LINE_GRAPHICS_ENABLE)
        underline = row == crtc[Crtc.UNDERLINE] & 0x1F
        dots, dot_width = self._dots, self._dot_width

        def at(number: int, tick: int) -> int:
            clock = tick // dots
            dot = tick % dots // dot_width + panning
            if dot >= width:
                clock += 1
                dot -= width
            counter = start + (clock >> divide)
            address = (counter << left | counter >> right & low) & keep | put
            word = pairs[address >> 1] if address & 1 == parity else read(address)
            attribute = word >> 8 & 0xFF
            foreground, background = attribute & 15, attribute >> BACKGROUND_SHIFT
            if clock == cursor and not number & CURSOR_PHASE:
                return palette[foreground]
            if blinking:
                if background & 8 and number & BLINK_PHASE:
                    foreground = background & 7
                background &= 7
            if underline and attribute & 7 == UNDERLINED:
                return palette[foreground]
            code = word & 0xFF
            if dot == 8:
                if not repeating or code not in LINE_GRAPHICS:
                    return palette[background]
                dot = 7
            glyph = read_font((bright_font if attribute & 8 else font) + GLYPH * code)
            return palette[foreground if glyph << dot & 0x80_0000 else background]

        return at

    def _graphics(self, scan: Scan) -> Line:
        frame, read = self._frame, self._read
        attribute, mode = frame.attribute[Attribute.MODE_CONTROL], frame.graphics[Graphics.MODE]
        start, divide, left, right, low, keep, put = frame.addressing(scan)
        panning, width = frame.panning(scan), frame.cell_width
        packed, wide = bool(mode & EIGHT_BITS), bool(attribute & EIGHT_BITS)
        interleaved = bool(mode & INTERLEAVE)
        reload = reload_interval(frame)
        status = self._status
        shown = frame.palette()
        hidden = frame.palette(inverted=8) if attribute & BLINK else shown
        nibbles = [bytes(entry & 15 for entry in palette) for palette in (shown, hidden)]
        if wide:
            statuses = [bytes(status[nibble[0] << 4 | other] for other in nibble) for nibble in nibbles]
        else:
            statuses = [bytes(status[entry] for entry in palette) for palette in (shown, hidden)]
        dots, dot_width = self._dots, self._dot_width

        def at(number: int, tick: int) -> int:
            clock = tick // dots
            dot = tick % dots // dot_width + panning
            if dot >= width:
                clock += 1
                dot -= width
            if dot == 8:
                dot = 7
            age = clock % reload
            counter = start + (clock - age >> divide)
            word = read((counter << left | counter >> right & low) & keep | put) >> 8 * age
            hide = number >> 4 & 1
            if packed:
                byte = word >> 4 * (dot & 6) & 0xFF
                if wide:
                    nibble = nibbles[hide]
                    return status[nibble[byte >> 4] << 4 | nibble[byte & 15]]
                return statuses[hide][byte & 15 if dot & 1 else byte >> 4]
            if not interleaved:
                return statuses[hide][PLANES_AT_A_DOT[word >> 7 - dot & ONE_DOT]]
            pair = word >> (14 if dot & 4 else 6) - 2 * (dot & 3)
            return statuses[hide][pair & 3 | pair >> 14 & 12]

        return at


def _but_for(dark: frozenset[int], line: Line, dots: int) -> Line:
    """Return a line some of whose character clocks, of `dots` ticks each, are blanked."""
    return lambda number, tick: 0 if tick // dots in dark else line(number, tick)
