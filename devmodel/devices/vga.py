"""IBM VGA (PS/2 Hardware Interface Technical Reference, May 1992, Video subsystem): ports 0x3B0-0x3DF.

The adapter is `Vga` with its window `memory` and the Bochs VBE extensions, `vbe`; `vga_frame` says what a monitor
shows. The raster position in input status 1 follows guest time from the programmed timing.
Not modelled: interrupt on vertical retrace, light pen, palette snow.
"""

from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.mirror import Mirror
from devmodel.devices.vga_beam import Beam
from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_memory import BANK, PLANES, VIEW, Trapped, VgaMemory, Window
from devmodel.devices.vga_registers import (
    ATTRIBUTE_MASKS,
    CRTC_COUNT,
    CRTC_MASKS,
    GRAPHICS_MASKS,
    SEQUENCER_MASKS,
    VBE_8BIT_DAC,
    Crtc,
    Port,
    Sequencer,
    Vbe,
    VgaState,
)
from devmodel.devices.vga_vbe import FrameBuffer, VbeDispi

DOT_CLOCKS: Final = (25_175_000, 28_322_000, 25_175_000, 25_175_000)  # Hz, by misc output bits 3-2
MISC_COLOR: Final = 0x01
CRTC_PROTECT: Final = 0x80  # in vertical retrace end
OVERFLOW_LINE_COMPARE: Final = 0x10
PALETTE: Final = 16  # registers of the attribute controller that are closed while the screen shows
PALETTE_ADDRESS_SOURCE: Final = 0x20
WAIT_PORTS: Final = (
    Port.MISC_WRITE, Port.ENABLE, Port.SEQUENCER_DATA, Port.GRAPHICS_DATA
)  # fmt: skip
"""Where a write may take the window from the guest."""
MISC_WRITERS: Final = 1 << (Port.MISC_WRITE & 15) | 1 << (Port.ENABLE & 15)


@attrs.define(kw_only=True)
class Vga:
    """The register ports; `memory` is the window at 0xA0000, `frame_buffer` all memory in one.

    `video` is memory that the guest can have as its own, through `window`: some megabytes of a multiple of 64 KiB, and
    `vga_memory.VIEW`. It outlives the chip. Without it the adapter has its own, of 256 KiB.
    """

    clock: Clock
    video: memoryview | None = None
    window: Window = attrs.field(factory=Trapped)
    state: VgaState | None = None
    mirror: Mirror = attrs.field(factory=lambda: Mirror(0x30))
    memory: VgaMemory = attrs.field(init=False)
    vbe: VbeDispi = attrs.field(init=False)
    frame_buffer: FrameBuffer = attrs.field(init=False)
    _waits: bool = False
    _status1: int = Port.STATUS1  # where it is read; -1 if nowhere
    _beam: Beam | None = None  # None when a register has changed that it goes by

    def __attrs_post_init__(self) -> None:
        fresh = self.state is None
        s = self.state = self.state or VgaState()
        if self.video is None and not s.memory:
            s.memory = bytearray(PLANES + VIEW)
        octets = memoryview(s.memory) if self.video is None else self.video
        if len(octets) < PLANES + VIEW or (len(octets) - VIEW) % BANK:
            raise ValueError(f"a VGA with {len(octets)} bytes of memory")
        self.memory = VgaMemory(s, octets, self.window)
        self.vbe = VbeDispi(memory=self.memory, changed=self._configure)
        self.frame_buffer = FrameBuffer(self.memory)
        if fresh:
            self.memory.clear()
        self._show_misc()
        self._show_waits()

    def reset(self) -> None:
        """Power on; what the planes had is gone."""
        fresh = VgaState(memory=self.memory.state.memory)
        self.state = self.memory.state = fresh
        self._configure()
        self.memory.clear()

    def _configure(self) -> None:
        """Follow registers that say where memory is and what the data path does."""
        self._beam = None
        self.memory.configure()
        self._show_misc()
        self._show_waits()

    def _show_misc(self) -> None:
        """Mirror what BIOSes read at every turn, to find the CRT controller."""
        s = self.memory.state
        self.mirror.show(Port.MISC_READ, s.misc if s.enable else 0xFF, MISC_WRITERS)
        self._status1 = (Port.STATUS1 if s.misc & MISC_COLOR else Port.STATUS1 - 0x20) if s.enable else -1

    def _show_waits(self) -> None:
        """Have the guest wait for writes that may take shared memory from it, and only for those."""
        shared = self.memory.shared
        if shared != self._waits:
            self._waits = shared
            for offset in WAIT_PORTS:
                self.mirror.wait(offset, shared)

    def hold(self, held: bool) -> None:
        """Leave memory that outlives the chip as it is, while what is done to it has been done before."""
        self.memory.held = held and self.video is not None
        self._beam = None

    def frame(self) -> Frame:
        """Return what a monitor shows now: a copy, to be drawn at leisure."""
        return Frame.of(self.memory)

    def read(self, offset: int, size: int) -> int:
        """Read one or two ports."""
        s = self.memory.state
        if offset == self._status1 and size == 1:  # first, as programs poll it
            s.attribute_data_next = False
            return (self._beam or self._make_beam()).status(self.clock.now())
        if size != 1:
            return self.read(offset, 1) | self.read(offset + 1, 1) << 8
        if not s.enable and offset != Port.ENABLE:
            return 0xFF
        if offset < Port.ATTRIBUTE or offset >= Port.CRTC_INDEX:
            return self._read_crtc(s, offset)
        match offset:
            case Port.DAC_DATA:
                value = s.dac[s.dac_index]
                s.dac_index = (s.dac_index + 1) % 768
                return value
            case Port.SEQUENCER_DATA:
                return s.sequencer[s.sequencer_index] if s.sequencer_index < len(s.sequencer) else 0
            case Port.GRAPHICS_DATA:
                return s.graphics[s.graphics_index] if s.graphics_index < len(s.graphics) else 0
            case Port.ATTRIBUTE_READ:
                index = s.attribute_index & 0x1F
                return s.attribute[index] if index < len(s.attribute) else 0
            case Port.ATTRIBUTE:
                return 0 if s.attribute_data_next else s.attribute_index
            case Port.SEQUENCER_INDEX:
                return s.sequencer_index
            case Port.GRAPHICS_INDEX:
                return s.graphics_index
            case Port.MISC_READ:
                return s.misc
            case Port.MISC_WRITE:
                return 0x10  # switch sense: a colour monitor
            case Port.ENABLE:
                return s.enable
            case Port.DAC_MASK:
                return s.dac_mask
            case Port.DAC_READ_INDEX:
                return 3 if s.dac_reading else 0
            case Port.DAC_WRITE_INDEX:
                return s.dac_index // 3 & 0xFF
            case Port.FEATURE_READ:
                return s.feature
            case _:
                return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        """Write one or two ports."""
        s = self.memory.state
        if size != 1:
            if offset == Port.GRAPHICS_INDEX and s.enable:  # as most programs write both
                s.graphics_index = value & 15
            elif offset == Port.SEQUENCER_INDEX and s.enable:
                s.sequencer_index = value & 7
            else:
                self.write(offset, 1, value & 0xFF)
            offset, value = offset + 1, value >> 8 & 0xFF
        if not s.enable and offset != Port.ENABLE:
            return
        if offset < Port.ATTRIBUTE or offset >= Port.CRTC_INDEX:
            self._write_crtc(s, offset, value)
            return
        match offset:
            case Port.GRAPHICS_INDEX:
                s.graphics_index = value & 15
            case Port.GRAPHICS_DATA:
                index = s.graphics_index
                if index < len(s.graphics):
                    s.graphics[index] = value & GRAPHICS_MASKS[index]
                    if self.memory.graphics_changed(index):
                        self._beam = None
                        self._show_waits()
            case Port.SEQUENCER_INDEX:
                s.sequencer_index = value & 7
            case Port.SEQUENCER_DATA:
                self._write_sequencer(s, value)
            case Port.DAC_DATA:
                s.dac_pending.append(value & (0xFF if s.vbe[Vbe.ENABLE] & VBE_8BIT_DAC else 0x3F))
                if len(s.dac_pending) == 3:
                    first = s.dac_index // 3 * 3
                    s.dac[first : first + 3] = bytes(s.dac_pending)
                    s.dac_pending.clear()
                    s.dac_index = (first + 3) % 768
            case Port.ATTRIBUTE:
                self._write_attribute(s, value)
            case Port.DAC_READ_INDEX | Port.DAC_WRITE_INDEX:
                s.dac_index = value * 3
                s.dac_reading = offset == Port.DAC_READ_INDEX
                s.dac_pending.clear()
            case Port.DAC_MASK:
                s.dac_mask = value
            case Port.MISC_WRITE:
                s.misc = value
                self._configure()
            case Port.ENABLE:
                s.enable = value & 1
                self._configure()
            case _:
                pass

    def _write_sequencer(self, s: VgaState, value: int) -> None:
        index = s.sequencer_index
        if index >= len(s.sequencer):
            return
        s.sequencer[index] = value & SEQUENCER_MASKS[index]
        if index != Sequencer.MAP_MASK:
            self._beam = None
        if index >= Sequencer.MAP_MASK and self.memory.sequencer_changed(index):
            self._beam = None
            self._show_waits()

    def _write_attribute(self, s: VgaState, value: int) -> None:
        if not s.attribute_data_next:
            if (s.attribute_index ^ value) & PALETTE_ADDRESS_SOURCE:
                self._beam = None
            s.attribute_index = value & 0x3F
        else:
            index = s.attribute_index & 0x1F
            if index < PALETTE and s.attribute_index & PALETTE_ADDRESS_SOURCE:
                pass  # the palette is the screen's
            elif index < len(s.attribute):
                s.attribute[index] = value & ATTRIBUTE_MASKS[index]
                self._beam = None
        s.attribute_data_next = not s.attribute_data_next

    # -- the CRT controller, at 0x3D4 or 0x3B4 ------------------------------------------------------------

    def _read_crtc(self, s: VgaState, offset: int) -> int:
        color = s.misc & MISC_COLOR
        if (offset >= Port.CRTC_INDEX) != color:
            return 0xFF  # the other monitor's ports
        match offset if color else offset + 0x20:
            case Port.CRTC_DATA:
                return s.crtc[s.crtc_index] if s.crtc_index < CRTC_COUNT else 0
            case Port.CRTC_INDEX:
                return s.crtc_index
            case _:
                return 0xFF

    def _write_crtc(self, s: VgaState, offset: int, value: int) -> None:
        color = s.misc & MISC_COLOR
        if (offset >= Port.CRTC_INDEX) != color:
            return
        match offset if color else offset + 0x20:
            case Port.CRTC_INDEX:
                s.crtc_index = value & 0x3F
            case Port.CRTC_DATA if s.crtc_index < CRTC_COUNT:
                index = s.crtc_index
                if index <= Crtc.OVERFLOW and s.crtc[Crtc.VERTICAL_RETRACE_END] & CRTC_PROTECT:
                    if index == Crtc.OVERFLOW:
                        kept = s.crtc[Crtc.OVERFLOW] & ~OVERFLOW_LINE_COMPARE
                        s.crtc[Crtc.OVERFLOW] = kept | value & OVERFLOW_LINE_COMPARE
                        self._beam = None
                    return
                s.crtc[index] = value & CRTC_MASKS[index]
                self._beam = None
            case Port.STATUS1:
                s.feature = value
            case _:
                pass

    def _make_beam(self) -> Beam:
        """Follow the beam, as the registers are."""
        s = self.memory.state
        frame, rate = Frame.without_memory(s), DOT_CLOCKS[s.misc >> 2 & 3]
        self._beam = beam = Beam(frame, self.memory, rate=rate, now=self.clock.now())
        return beam
