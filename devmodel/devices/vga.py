"""IBM VGA (PS/2 Hardware Interface Technical Reference, May 1992, Video subsystem): ports 0x3B0-0x3DF.

The adapter is `Vga` with its window `memory`; `vga_screen` says what stands on the screen. The raster
position in input status 1 follows guest time from the programmed timing.
Not modelled: interrupt on vertical retrace, light pen, the sequencer's reset, palette snow, Bochs VBE.
"""

from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.devices.vga_memory import VgaMemory
from devmodel.devices.vga_registers import (
    ATTRIBUTE_MASKS,
    CRTC_COUNT,
    GRAPHICS_MASKS,
    SEQUENCER_MASKS,
    Crtc,
    Port,
    Sequencer,
    VgaState,
)
from devmodel.devices.vga_screen import GraphicsScreen, TextScreen, screen

DOT_CLOCKS: Final = (25_175_000, 28_322_000, 25_175_000, 25_175_000)  # Hz, by misc output bits 3-2
STATUS_DISPLAY_OFF: Final = 0x01
STATUS_RETRACE: Final = 0x08
MISC_COLOR: Final = 0x01
CRTC_PROTECT: Final = 0x80  # in vertical retrace end
OVERFLOW_LINE_COMPARE: Final = 0x10


@attrs.define(kw_only=True)
class Vga:
    """The register ports; `memory` is the window at 0xA0000."""

    clock: Clock
    state: VgaState = attrs.field(factory=VgaState)
    memory: VgaMemory = attrs.field(init=False)
    _timing: tuple[int, ...] | None = None  # worked out from the registers; None when they have changed

    def __attrs_post_init__(self) -> None:
        self.memory = VgaMemory(self.state)

    def reset(self) -> None:
        """Power on."""
        self.state = VgaState()
        self.memory.state = self.state
        self._configure()

    def _configure(self) -> None:
        self._timing = None
        self.memory.configure()

    def screen(self) -> TextScreen | GraphicsScreen:
        """Return what stands on the screen now."""
        return screen(self.state)

    def read(self, offset: int, _size: int) -> int:
        """Read a port."""
        s = self.state
        if offset < Port.ATTRIBUTE or offset >= Port.CRTC_INDEX:
            return self._read_crtc(offset)
        match offset:
            case Port.ATTRIBUTE:
                return 0 if s.attribute_data_next else s.attribute_index
            case Port.ATTRIBUTE_READ:
                index = s.attribute_index & 0x1F
                return s.attribute[index] if index < len(s.attribute) else 0
            case Port.MISC_WRITE:
                return 0x10  # switch sense: a colour monitor
            case Port.ENABLE:
                return s.enable
            case Port.SEQUENCER_INDEX:
                return s.sequencer_index
            case Port.SEQUENCER_DATA:
                return s.sequencer[s.sequencer_index] if s.sequencer_index < len(s.sequencer) else 0
            case Port.DAC_MASK:
                return s.dac_mask
            case Port.DAC_READ_INDEX:
                return 3 if s.dac_reading else 0
            case Port.DAC_WRITE_INDEX:
                return s.dac_index // 3 & 0xFF
            case Port.DAC_DATA:
                value = s.dac[s.dac_index]
                s.dac_index = (s.dac_index + 1) % 768
                return value
            case Port.FEATURE_READ:
                return s.feature
            case Port.MISC_READ:
                return s.misc
            case Port.GRAPHICS_INDEX:
                return s.graphics_index
            case Port.GRAPHICS_DATA:
                return s.graphics[s.graphics_index] if s.graphics_index < len(s.graphics) else 0
            case _:
                return 0xFF

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a port."""
        s = self.state
        value &= 0xFF
        if offset < Port.ATTRIBUTE or offset >= Port.CRTC_INDEX:
            self._write_crtc(offset, value)
            return
        match offset:
            case Port.SEQUENCER_INDEX:
                s.sequencer_index = value & 7
            case Port.SEQUENCER_DATA:
                if s.sequencer_index < len(s.sequencer):
                    s.sequencer[s.sequencer_index] = value & SEQUENCER_MASKS[s.sequencer_index]
                    self._configure()
            case Port.GRAPHICS_INDEX:
                s.graphics_index = value & 15
            case Port.GRAPHICS_DATA:
                if s.graphics_index < len(s.graphics):
                    s.graphics[s.graphics_index] = value & GRAPHICS_MASKS[s.graphics_index]
                    self._configure()
            case Port.ATTRIBUTE:
                self._write_attribute(value)
            case Port.MISC_WRITE:
                s.misc = value
                self._configure()
            case Port.ENABLE:
                s.enable = value & 1
            case Port.DAC_MASK:
                s.dac_mask = value
            case Port.DAC_READ_INDEX | Port.DAC_WRITE_INDEX:
                s.dac_index = value * 3
                s.dac_reading = offset == Port.DAC_READ_INDEX
                s.dac_pending.clear()
            case Port.DAC_DATA:
                s.dac_pending.append(value & 0x3F)
                if len(s.dac_pending) == 3:
                    first = s.dac_index // 3 * 3
                    s.dac[first : first + 3] = bytes(s.dac_pending)
                    s.dac_pending.clear()
                    s.dac_index = (first + 3) % 768
            case _:
                pass

    def _write_attribute(self, value: int) -> None:
        s = self.state
        if not s.attribute_data_next:
            s.attribute_index = value & 0x3F
        else:
            index = s.attribute_index & 0x1F
            if index < len(s.attribute):
                s.attribute[index] = value & ATTRIBUTE_MASKS[index]
        s.attribute_data_next = not s.attribute_data_next

    # -- the CRT controller, at 0x3D4 or 0x3B4 ------------------------------------------------------------

    def _at_its_place(self, offset: int) -> int | None:
        """Return the offset as for a colour monitor, or None at the other monitor's ports."""
        color = self.state.misc & MISC_COLOR
        if (offset >= Port.CRTC_INDEX) != bool(color):
            return None
        return offset if color else offset + 0x20

    def _read_crtc(self, offset: int) -> int:
        s = self.state
        match self._at_its_place(offset):
            case Port.CRTC_INDEX:
                return s.crtc_index
            case Port.CRTC_DATA:
                return s.crtc[s.crtc_index] if s.crtc_index < CRTC_COUNT else 0
            case Port.STATUS1:
                s.attribute_data_next = False
                return self._raster()
            case _:
                return 0xFF

    def _write_crtc(self, offset: int, value: int) -> None:
        s = self.state
        match self._at_its_place(offset):
            case Port.CRTC_INDEX:
                s.crtc_index = value & 0x3F
            case Port.CRTC_DATA if s.crtc_index < CRTC_COUNT:
                self._timing = None
                if s.crtc_index <= Crtc.OVERFLOW and s.crtc[Crtc.VERTICAL_RETRACE_END] & CRTC_PROTECT:
                    if s.crtc_index == Crtc.OVERFLOW:
                        kept = s.crtc[Crtc.OVERFLOW] & ~OVERFLOW_LINE_COMPARE
                        s.crtc[Crtc.OVERFLOW] = kept | value & OVERFLOW_LINE_COMPARE
                    return
                s.crtc[s.crtc_index] = value
            case Port.STATUS1:
                s.feature = value
            case _:
                pass

    def _raster(self) -> int:
        """Return input status 1 for the place where the beam is."""
        if self._timing is None:
            self._timing = self._work_out_timing()
        clock, ns, width, height, columns, lines, first, last = self._timing
        line, column = divmod(self.clock.now() * clock // ns % (width * height), width)
        status = STATUS_DISPLAY_OFF if line >= lines or column >= columns else 0
        return status | STATUS_RETRACE if first <= line < last else status

    def _work_out_timing(self) -> tuple[int, ...]:
        """Return the raster's timing.

        That is the dot clock in Hz, ns a second times dots a character, and then in characters and lines:
        total width, total height, displayed width, displayed height, first line of the vertical retrace,
        first line after it.
        """
        s = self.state
        crtc = s.crtc
        clocking = s.sequencer[Sequencer.CLOCKING_MODE]
        dots = (8 if clocking & 1 else 9) * (2 if clocking & 8 else 1)
        overflow = crtc[Crtc.OVERFLOW]
        width = crtc[Crtc.HORIZONTAL_TOTAL] + 5
        columns = crtc[Crtc.HORIZONTAL_DISPLAY_END] + 1
        height = (crtc[Crtc.VERTICAL_TOTAL] | (overflow & 1) << 8 | (overflow & 0x20) << 4) + 2
        lines = (crtc[Crtc.VERTICAL_DISPLAY_END] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1
        first = crtc[Crtc.VERTICAL_RETRACE_START] | (overflow & 4) << 6 | (overflow & 0x80) << 2
        last = first + ((crtc[Crtc.VERTICAL_RETRACE_END] - first & 15) or 16)
        if height <= first:  # no timing is programmed that a monitor could follow
            width, height, columns, lines, first, last = 100, 449, 80, 400, 412, 414
        return DOT_CLOCKS[s.misc >> 2 & 3], NS_PER_S * dots, width, height, columns, lines, first, last
