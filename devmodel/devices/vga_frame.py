"""What a monitor on a VGA shows: a copy of registers and memory, and how the beam turns it into dots.

`Frame` is the copy. `Scan` is one line of the raster as the CRT controller counts it: the memory address of its first
character and the row scan. `vga_text` and `vga_picture` make characters and dots of them.
(IBM PS/2 Hardware Interface TR, May 1992, Video: CRT controller.)
Not modelled: the border, display enable skew, interlace, a shift register that is loaded every second or fourth
character clock.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Self

import attrs

from devmodel.devices.vga_memory import PLANES, VgaMemory
from devmodel.devices.vga_registers import (
    VBE_8BIT_DAC,
    VBE_ENABLED,
    Attribute,
    Crtc,
    Graphics,
    Sequencer,
    Vbe,
    VgaState,
)
from devmodel.devices.vga_vbe import pitch

MAXIMUM_LINES: Final = 2048
SCREEN_OFF: Final = 0x20  # clocking mode
EIGHT_DOTS: Final = 0x01
HALF_DOT_CLOCK: Final = 0x08
NO_RESET: Final = 0x03
PALETTE_ADDRESS_SOURCE: Final = 0x20
RETRACES: Final = 0x80  # CRTC mode control
SLDIV: Final = 0x04
DIV2: Final = 0x08
DIV4: Final = 0x20  # underline location
DOUBLE_WORD: Final = 0x40
BYTE_MODE: Final = 0x40  # CRTC mode control
ADDRESS_WRAP: Final = 0x20
CMS: Final = 0x01
SRSC: Final = 0x02
PANNING_COMPATIBILITY: Final = 0x20  # attribute mode control


@attrs.frozen
class Scan:
    """A line of the raster."""

    start: int
    """The memory address counter at its first character."""
    row: int
    """The row scan: which line of the characters."""
    split: bool = False
    """It is below line compare."""


@attrs.frozen
class Frame:
    """Registers and memory at one moment."""

    sequencer: bytes
    crtc: bytes
    graphics: bytes
    attribute: bytes
    attribute_index: int
    dac: bytes
    dac_mask: int
    vbe: tuple[int, ...]
    memory: bytes
    """The planes, a byte of each in turn; in a VBE mode what it shows, from its first line on."""

    @classmethod
    def of(cls, memory: VgaMemory) -> Self:
        """Copy what the adapter has."""
        s = memory.state
        return cls(
            sequencer=bytes(s.sequencer),
            crtc=bytes(s.crtc),
            graphics=bytes(s.graphics),
            attribute=bytes(s.attribute),
            attribute_index=s.attribute_index,
            dac=bytes(s.dac),
            dac_mask=s.dac_mask,
            vbe=tuple(s.vbe),
            memory=_shown(memory, s),
        )

    @property
    def vbe_enabled(self) -> bool:
        """Whether it is a mode of the Bochs VBE extensions."""
        return bool(self.vbe[Vbe.ENABLE] & VBE_ENABLED)

    @property
    def text_mode(self) -> bool:
        """Whether characters are shown."""
        return not self.vbe_enabled and not self.graphics[Graphics.MISCELLANEOUS] & 1

    @property
    def blank(self) -> bool:
        """Whether the monitor shows nothing.

        The palette may be open to the processor (PAS=0), the screen off, the sequencer in reset, or there is no
        retrace for the monitor to follow.
        """
        return bool(
            not self.attribute_index & PALETTE_ADDRESS_SOURCE
            or self.sequencer[Sequencer.CLOCKING_MODE] & SCREEN_OFF
            or self.sequencer[Sequencer.RESET] & NO_RESET != NO_RESET
            or not (self.vbe_enabled or self.crtc[Crtc.MODE_CONTROL] & RETRACES)
        )

    @property
    def columns(self) -> int:
        """Character clocks of a line."""
        return self.crtc[Crtc.HORIZONTAL_DISPLAY_END] + 1

    @property
    def cell_width(self) -> int:
        """Dots of a character clock."""
        return 8 if self.sequencer[Sequencer.CLOCKING_MODE] & EIGHT_DOTS else 9

    @property
    def dot_width(self) -> int:
        """How many dots of the raster one dot takes: two where the dot clock is halved."""
        return 2 if self.sequencer[Sequencer.CLOCKING_MODE] & HALF_DOT_CLOCK else 1

    @property
    def lines(self) -> int:
        """Lines of the raster that are displayed."""
        crtc, overflow = self.crtc, self.crtc[Crtc.OVERFLOW]
        end = crtc[Crtc.VERTICAL_DISPLAY_END] | (overflow & 2) << 7 | (overflow & 0x40) << 3
        return (end + 1) * self._line_clock

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in dots."""
        if self.vbe_enabled:
            return self.vbe[Vbe.XRES], self.vbe[Vbe.YRES]
        return self.columns * self.cell_width * self.dot_width, self.lines

    @property
    def _line_clock(self) -> int:
        return 2 if self.crtc[Crtc.MODE_CONTROL] & SLDIV else 1

    @property
    def dark_columns(self) -> tuple[int, ...]:
        """Character clocks that are displayed but blanked: CR02, CR03 bits 4-0 with CR05 bit 7."""
        crtc = self.crtc
        start, end = crtc[Crtc.HORIZONTAL_BLANK_START], crtc[Crtc.HORIZONTAL_BLANK_END] & 0x1F
        end |= (crtc[Crtc.HORIZONTAL_RETRACE_END] & 0x80) >> 2
        return _blanked(start, end, 0x3F, crtc[Crtc.HORIZONTAL_TOTAL] + 5, self.columns)

    @property
    def dark_lines(self) -> tuple[int, ...]:
        """Lines of the raster likewise: CR15 and its upper bits in CR07 and CR09, CR16."""
        crtc, overflow = self.crtc, self.crtc[Crtc.OVERFLOW]
        start = crtc[Crtc.VERTICAL_BLANK_START] | (overflow & 8) << 5
        start |= (crtc[Crtc.MAXIMUM_SCAN_LINE] & 0x20) << 4
        total = (crtc[Crtc.VERTICAL_TOTAL] | (overflow & 1) << 8 | (overflow & 0x20) << 4) + 2
        clock = self._line_clock
        dark = _blanked(start + 1, crtc[Crtc.VERTICAL_BLANK_END], 0xFF, total, self.lines // clock)
        return tuple(clock * line + i for line in dark for i in range(clock))

    def scans(self) -> Iterator[Scan]:
        """Count the lines of the raster as the CRT controller does."""
        crtc, overflow = self.crtc, self.crtc[Crtc.OVERFLOW]
        maximum = crtc[Crtc.MAXIMUM_SCAN_LINE]
        compare = crtc[Crtc.LINE_COMPARE] | (overflow & 0x10) << 4 | (maximum & 0x40) << 3
        compare = (compare + 1) * self._line_clock - 1  # after its last line
        last, repeats = maximum & 0x1F, 2 if maximum & 0x80 else 1
        preset = crtc[Crtc.PRESET_ROW_SCAN]
        start = (crtc[Crtc.START_HIGH] << 8 | crtc[Crtc.START_LOW]) + (preset >> 5 & 3)
        row, repeat, split = preset & 0x1F, 0, False
        step = crtc[Crtc.OFFSET] * 2
        panned_split = not self.attribute[Attribute.MODE_CONTROL] & PANNING_COMPATIBILITY
        for line in range(self.lines):
            yield Scan(start & 0xFFFF, row, split)
            if line == compare:
                start, row, repeat, split = preset >> 5 & 3 if panned_split else 0, 0, 0, True
                continue
            repeat += 1
            if repeat < repeats:
                continue
            repeat = 0
            if row == last:
                row, start = 0, start + step
            else:
                row = row + 1 & 0x1F

    def addresses(self, scan: Scan, count: int) -> list[int]:
        """Return where in the planes the first `count` character clocks of a line are."""
        crtc = self.crtc
        mode, underline = crtc[Crtc.MODE_CONTROL], crtc[Crtc.UNDERLINE]
        divide = 2 if underline & DIV4 else 1 if mode & DIV2 else 0
        counters = [scan.start + (clock >> divide) & 0xFFFF for clock in range(count)]
        if underline & DOUBLE_WORD:
            found = [counter << 2 & 0xFFFC | counter >> 12 & 3 for counter in counters]
        elif mode & BYTE_MODE:
            found = counters
        else:
            wrap = 15 if mode & ADDRESS_WRAP else 13
            found = [counter << 1 & 0xFFFE | counter >> wrap & 1 for counter in counters]
        if not mode & CMS:
            found = [address & 0xDFFF | (scan.row & 1) << 13 for address in found]
        if not mode & SRSC:
            found = [address & 0xBFFF | (scan.row & 2) << 13 for address in found]
        return found

    def panning(self, scan: Scan) -> int:
        """Return by how many dots a line is moved to the left."""
        attribute = self.attribute
        if scan.split and attribute[Attribute.MODE_CONTROL] & PANNING_COMPATIBILITY:
            return 0
        panning = attribute[Attribute.PEL_PANNING]
        if self.cell_width == 9 and self.text_mode:
            return 0 if panning >= 8 else panning + 1
        return panning & 7

    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """Return the DAC's 256 colours as they reach the monitor, from 0 to 255 in red, green and blue."""
        if self.vbe[Vbe.ENABLE] & VBE_8BIT_DAC:
            levels = self.dac
        else:
            levels = bytes(level << 2 & 0xFC | level >> 4 & 3 for level in self.dac)
        masked = [3 * (index & self.dac_mask) for index in range(256)]
        return tuple((levels[at], levels[at + 1], levels[at + 2]) for at in masked)

    def palette(self, *, inverted: int = 0) -> tuple[int, ...]:
        """Return which of the DAC's colours the attribute controller's 16 are, as far as planes are enabled.

        Bits that are `inverted` are so behind the enabling of planes, as blinking does it.
        """
        attribute = self.attribute
        select = attribute[Attribute.COLOR_SELECT]
        enabled = attribute[Attribute.COLOR_PLANE_ENABLE] & 15
        entries = [attribute[index & enabled ^ inverted] for index in range(16)]
        if attribute[Attribute.MODE_CONTROL] & 0x80:
            return tuple(entry & 0x0F | (select & 0x0F) << 4 for entry in entries)
        return tuple(entry & 0x3F | (select & 0x0C) << 4 for entry in entries)


@lru_cache
def _blanked(start: int, end: int, mask: int, total: int, displayed: int) -> tuple[int, ...]:
    """Return what of the first `displayed` counts of `total` is blanked.

    Blanking begins at `start`, and ends where the counter's bits under `mask` are `end`, be that in the next round.
    """
    dark, blanking = set[int](), False
    for count in (*range(total), *range(total)):
        if count == start:
            blanking = True
        elif count & mask == end:
            blanking = False
        if blanking and count < displayed:
            dark.add(count)
    return tuple(sorted(dark))


def _shown(memory: VgaMemory, s: VgaState) -> bytes:
    """Copy the memory that a monitor may show."""
    vbe = s.vbe
    if not vbe[Vbe.ENABLE] & VBE_ENABLED:
        memory.flush()
        return bytes(memory.octets[:PLANES])
    planes = 4 if vbe[Vbe.BPP] == 4 else 1
    start = pitch(s) * vbe[Vbe.Y_OFFSET] * planes
    return bytes(memory.octets[start : min(start + pitch(s) * vbe[Vbe.YRES] * planes, memory.size)])
