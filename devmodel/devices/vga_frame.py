"""What a monitor on a VGA shows: a copy of registers and memory, and how the beam turns it into dots.

`Frame` is the copy. `Scan` is one line of the raster as the CRT controller counts it: the memory address of its first
character and the row scan. `vga_text` and `vga_picture` make characters and dots of them.
(IBM PS/2 Hardware Interface TR, May 1992, Video: CRT controller.)
The border is part of the picture while it has a colour of its own: while overscan (AR11) is not 0.
Not modelled: interlace.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import takewhile
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
ROWS: Final = 32  # of the row scan counter
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
class Border:
    """What surrounds the picture in the colour of the overscan register: dots of the raster, and lines."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0


NO_BORDER: Final = Border()


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
        return cls.without_memory(memory.state, _shown(memory, memory.state))

    @classmethod
    def without_memory(cls, s: VgaState, memory: bytes = b"") -> Self:
        """Copy the registers; `memory` is what is shown."""
        return cls(
            sequencer=bytes(s.sequencer),
            crtc=bytes(s.crtc),
            graphics=bytes(s.graphics),
            attribute=bytes(s.attribute),
            attribute_index=s.attribute_index,
            dac=bytes(s.dac),
            dac_mask=s.dac_mask,
            vbe=tuple(s.vbe),
            memory=memory,
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
        return self.displayed_lines * self.line_clock

    @property
    def displayed_lines(self) -> int:
        """Counts of the vertical counter in which lines are displayed."""
        crtc, overflow = self.crtc, self.crtc[Crtc.OVERFLOW]
        return (crtc[Crtc.VERTICAL_DISPLAY_END] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1

    @property
    def horizontal_total(self) -> int:
        """Character clocks from one line to the next."""
        return self.crtc[Crtc.HORIZONTAL_TOTAL] + 5

    @property
    def vertical_total(self) -> int:
        """Counts of the vertical counter from one frame to the next."""
        overflow = self.crtc[Crtc.OVERFLOW]
        return (self.crtc[Crtc.VERTICAL_TOTAL] | (overflow & 1) << 8 | (overflow & 0x20) << 4) + 2

    @property
    def clocks(self) -> range:
        """The character clocks that are displayed; display enable skew (CR03 bits 6-5) puts them off."""
        skew = self.crtc[Crtc.HORIZONTAL_BLANK_END] >> 5 & 3
        return range(skew, skew + self.columns)

    @property
    def clock_width(self) -> int:
        """Dots of the raster in a character clock."""
        return self.cell_width * self.dot_width

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in dots, with its border."""
        if self.vbe_enabled:
            return self.vbe[Vbe.XRES], self.vbe[Vbe.YRES]
        border = self.border
        width = border.left + self.columns * self.clock_width + border.right
        return width, border.top + self.lines + border.bottom

    @property
    def line_clock(self) -> int:
        """Lines of the raster for one of the vertical counter."""
        return 2 if self.crtc[Crtc.MODE_CONTROL] & SLDIV else 1

    @property
    def horizontal(self) -> "Sweep":
        """How the character clocks of a line are used: CR00 to CR03, and bit 7 of CR05."""
        crtc = self.crtc
        end = crtc[Crtc.HORIZONTAL_BLANK_END] & 0x1F | (crtc[Crtc.HORIZONTAL_RETRACE_END] & 0x80) >> 2
        return Sweep(
            total=self.horizontal_total,
            displayed=self.clocks,
            blank=(crtc[Crtc.HORIZONTAL_BLANK_START], end, 0x3F),
        )

    @property
    def vertical(self) -> "Sweep":
        """How the counts of the vertical counter are used: CR06, CR12, CR15, CR16, bits in CR07 and CR09."""
        crtc, overflow = self.crtc, self.crtc[Crtc.OVERFLOW]
        blank = crtc[Crtc.VERTICAL_BLANK_START] | (overflow & 8) << 5
        blank |= (crtc[Crtc.MAXIMUM_SCAN_LINE] & 0x20) << 4
        return Sweep(
            total=self.vertical_total,
            displayed=range(self.displayed_lines),
            blank=(blank, crtc[Crtc.VERTICAL_BLANK_END], 0xFF),
        )

    @property
    def border(self) -> Border:
        """What of the border is shown: nothing while it is of colour 0, or in a mode of VBE."""
        if self.vbe_enabled or not self.attribute[Attribute.OVERSCAN]:
            return NO_BORDER
        left, right = self.horizontal.border
        top, bottom = self.vertical.border
        dots, lines = self.clock_width, self.line_clock
        return Border(left * dots, right * dots, top * lines, bottom * lines)

    @property
    def dark_columns(self) -> tuple[int, ...]:
        """Columns that are displayed but blanked."""
        return tuple(clock - self.clocks.start for clock in self.horizontal.dark)

    @property
    def dark_lines(self) -> tuple[int, ...]:
        """Lines of the raster likewise."""
        clock = self.line_clock
        return tuple(clock * line + i for line in self.vertical.dark for i in range(clock))

    def scans(self) -> Iterator[Scan]:
        """Count the lines of the raster as the CRT controller does."""
        return map(self.scan_of(), range(self.lines))

    def scan_of(self) -> Callable[[int], Scan]:
        """Return what says which scan a line of the raster is."""
        crtc, overflow = self.crtc, self.crtc[Crtc.OVERFLOW]
        maximum = crtc[Crtc.MAXIMUM_SCAN_LINE]
        compare = crtc[Crtc.LINE_COMPARE] | (overflow & 0x10) << 4 | (maximum & 0x40) << 3
        compare = (compare + 1) * self.line_clock - 1  # after its last line
        height, repeats = (maximum & 0x1F) + 1, 2 if maximum & 0x80 else 1
        preset = crtc[Crtc.PRESET_ROW_SCAN]
        byte_panning, preset_row = preset >> 5 & 3, preset & 0x1F
        first = (crtc[Crtc.START_HIGH] << 8 | crtc[Crtc.START_LOW]) + byte_panning
        panned_split = not self.attribute[Attribute.MODE_CONTROL] & PANNING_COMPATIBILITY
        below = byte_panning if panned_split else 0
        step = crtc[Crtc.OFFSET] * 2

        def scan(line: int) -> Scan:
            split = line > compare
            if split:
                start, count = below, (line - compare - 1) // repeats
            else:
                start, count = first, preset_row + line // repeats
                if preset_row >= height:  # the comparison is missed, and the counter runs on to 31
                    if count < ROWS:
                        return Scan(start & 0xFFFF, count)
                    count -= ROWS
            characters, row = divmod(count, height)
            return Scan(start + characters * step & 0xFFFF, row, split)

        return scan

    def addresses(self, scan: Scan, clocks: Iterable[int]) -> list[int]:
        """Return where in the planes these character clocks of a line are."""
        start, divide, left, right, low, keep, put = self.addressing(scan)
        counters = [start + (clock >> divide) for clock in clocks]
        return [(counter << left | counter >> right & low) & keep | put for counter in counters]

    def addressing(self, scan: Scan) -> tuple[int, int, int, int, int, int, int]:
        """Return how a character clock of a line becomes an address, as `addresses` does it.

        That is the first count of the memory address counter; by how many bits the clock is divided; by how many the
        counter is rotated to the left, the other part by how many to the right, and the mask of that part; the bits
        that are kept, and those that are the row scan's.
        """
        crtc = self.crtc
        mode, underline = crtc[Crtc.MODE_CONTROL], crtc[Crtc.UNDERLINE]
        divide = 2 if underline & DIV4 else 1 if mode & DIV2 else 0
        if underline & DOUBLE_WORD:
            rotation = 2, 12, 3
        elif mode & BYTE_MODE:
            rotation = 0, 0, 0
        else:
            rotation = 1, 15 if mode & ADDRESS_WRAP else 13, 1
        keep, put = 0xFFFF, 0
        if not mode & CMS:
            keep, put = 0xDFFF, (scan.row & 1) << 13
        if not mode & SRSC:
            keep, put = keep & 0xBFFF, put | (scan.row & 2) << 13
        return scan.start, divide, *rotation, keep, put

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


@attrs.frozen
class Sweep:
    """How the counts of a counter are used: blanking is a start, an end, and the bits that are compared with the end.

    It begins and ends behind these counts. So there is a border of one character on either side in every mode of the
    BIOS, as VESA's timings have it (DMT, 640 x 480 at 60 Hz: 8 dots and 8 lines all around).
    """

    total: int
    displayed: range
    blank: tuple[int, int, int]

    @property
    def blanked(self) -> frozenset[int]:
        """The counts in which the monitor gets black."""
        return _between(*self.blank, self.total)

    @property
    def dark(self) -> list[int]:
        """What is displayed but blanked."""
        return [count for count in self.displayed if count in self.blanked]

    @property
    def border(self) -> tuple[int, int]:
        """How many counts before and behind what is displayed are not blanked."""
        first, last, total = self.displayed.start, self.displayed.stop, self.total
        room = max(0, total - len(self.displayed))
        behind = _until(self.blanked, (count % total for count in range(last, last + room)))
        before = _until(
            self.blanked, (count % total for count in range(first - 1, first - 1 - room + behind, -1))
        )
        return before, behind


def _until(blanked: frozenset[int], counts: Iterable[int]) -> int:
    """Return how many counts come before the first that is blanked."""
    return sum(1 for _ in takewhile(lambda count: count not in blanked, counts))


@lru_cache
def _between(start: int, end: int, mask: int, total: int) -> frozenset[int]:
    """Return the counts behind `start`, up to where the bits under `mask` are `end`, be that a round later."""
    within, inside = set[int](), False
    for count in (*range(total), *range(total)):
        if inside:
            within.add(count)
        if count == start:
            inside = True
        elif count & mask == end:
            inside = False
    return frozenset(within)


def _shown(memory: VgaMemory, s: VgaState) -> bytes:
    """Copy the memory that a monitor may show."""
    vbe = s.vbe
    if not vbe[Vbe.ENABLE] & VBE_ENABLED:
        memory.flush()
        return bytes(memory.octets[:PLANES])
    planes = 4 if vbe[Vbe.BPP] == 4 else 1
    start = pitch(s) * vbe[Vbe.Y_OFFSET] * planes
    return bytes(memory.octets[start : min(start + pitch(s) * vbe[Vbe.YRES] * planes, memory.size)])
