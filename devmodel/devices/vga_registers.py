"""The VGA's registers by index, and what the adapter remembers (IBM PS/2 Hardware Interface TR, Video)."""

from typing import ClassVar, Final

import attrs


class Port:
    """Offsets from 0x3B0."""

    CRTC_INDEX_MONO: Final = 0x04
    CRTC_DATA_MONO: Final = 0x05
    STATUS1_MONO: Final = 0x0A  # feature control on write
    ATTRIBUTE: Final = 0x10
    ATTRIBUTE_READ: Final = 0x11
    MISC_WRITE: Final = 0x12  # input status 0 on read
    ENABLE: Final = 0x13
    SEQUENCER_INDEX: Final = 0x14
    SEQUENCER_DATA: Final = 0x15
    DAC_MASK: Final = 0x16
    DAC_READ_INDEX: Final = 0x17  # DAC state on read
    DAC_WRITE_INDEX: Final = 0x18
    DAC_DATA: Final = 0x19
    FEATURE_READ: Final = 0x1A
    MISC_READ: Final = 0x1C
    GRAPHICS_INDEX: Final = 0x1E
    GRAPHICS_DATA: Final = 0x1F
    CRTC_INDEX: Final = 0x24
    CRTC_DATA: Final = 0x25
    STATUS1: Final = 0x2A


class Sequencer:
    """Sequencer registers."""

    RESET: Final = 0
    CLOCKING_MODE: Final = 1
    MAP_MASK: Final = 2
    CHARACTER_MAP: Final = 3
    MEMORY_MODE: Final = 4


class Graphics:
    """Graphics controller registers."""

    SET_RESET: Final = 0
    ENABLE_SET_RESET: Final = 1
    COLOR_COMPARE: Final = 2
    DATA_ROTATE: Final = 3
    READ_MAP: Final = 4
    MODE: Final = 5
    MISCELLANEOUS: Final = 6
    COLOR_DONT_CARE: Final = 7
    BIT_MASK: Final = 8


class Crtc:
    """CRT controller registers."""

    HORIZONTAL_TOTAL: Final = 0x00
    HORIZONTAL_DISPLAY_END: Final = 0x01
    HORIZONTAL_BLANK_START: Final = 0x02
    HORIZONTAL_BLANK_END: Final = 0x03
    HORIZONTAL_RETRACE_END: Final = 0x05
    VERTICAL_TOTAL: Final = 0x06
    OVERFLOW: Final = 0x07
    PRESET_ROW_SCAN: Final = 0x08
    MAXIMUM_SCAN_LINE: Final = 0x09
    CURSOR_START: Final = 0x0A
    CURSOR_END: Final = 0x0B
    START_HIGH: Final = 0x0C
    START_LOW: Final = 0x0D
    CURSOR_HIGH: Final = 0x0E
    CURSOR_LOW: Final = 0x0F
    VERTICAL_RETRACE_START: Final = 0x10
    VERTICAL_RETRACE_END: Final = 0x11
    VERTICAL_DISPLAY_END: Final = 0x12
    OFFSET: Final = 0x13
    UNDERLINE: Final = 0x14
    VERTICAL_BLANK_START: Final = 0x15
    VERTICAL_BLANK_END: Final = 0x16
    MODE_CONTROL: Final = 0x17
    LINE_COMPARE: Final = 0x18


class Attribute:
    """Attribute controller registers after the 16 palette registers."""

    MODE_CONTROL: Final = 0x10
    OVERSCAN: Final = 0x11
    COLOR_PLANE_ENABLE: Final = 0x12
    PEL_PANNING: Final = 0x13
    COLOR_SELECT: Final = 0x14


class Vbe:
    """Registers of the Bochs VBE extensions ("dispi"), by the index in port 0x1CE."""

    ID: Final = 0
    XRES: Final = 1
    YRES: Final = 2
    BPP: Final = 3
    ENABLE: Final = 4
    BANK: Final = 5
    VIRT_WIDTH: Final = 6
    VIRT_HEIGHT: Final = 7
    X_OFFSET: Final = 8
    Y_OFFSET: Final = 9
    VIDEO_MEMORY_64K: Final = 10


VBE_COUNT: Final = 10  # registers that are stored; the amount of memory is not
VBE_ID: Final = 0xB0C5
VBE_ENABLED: Final = 0x01
VBE_GETCAPS: Final = 0x02
VBE_8BIT_DAC: Final = 0x20
VBE_LFB_ENABLED: Final = 0x40
VBE_NOCLEARMEM: Final = 0x80
VBE_MAX_XRES: Final = 2560
VBE_MAX_YRES: Final = 1600
VBE_MAX_BPP: Final = 32

SEQUENCER_MASKS: Final = bytes([0x03, 0x3D, 0x0F, 0x3F, 0x0E])
GRAPHICS_MASKS: Final = bytes([0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF])
ATTRIBUTE_MASKS: Final = bytes([0x3F] * 16 + [0xEF, 0xFF, 0x3F, 0x0F, 0x0F])
CRTC_COUNT: Final = 0x19
CRTC_MASKS: Final = bytes(
    {0x08: 0x7F, 0x0A: 0x3F, 0x0B: 0x7F, 0x14: 0x7F, 0x17: 0xEF}.get(index, 0xFF)
    for index in range(CRTC_COUNT)
)

# Mode 3 (80x25 text, 720x400), as every VGA BIOS programs it.
_SEQUENCER: Final = "03 00 03 00 02"
_CRTC: Final = "5f4f508255 81bf1f004f 0d0e000000 009c8e8f28 1f96b9a3ff"
_GRAPHICS: Final = "00 00 00 00 00 10 0e 00 ff"
_ATTRIBUTE: Final = "000102030405140738393a3b3c3d3e3f 0c000f0800"


def _colors() -> bytearray:
    """Return the DAC with the 64 colours of the EGA: bits RGB at two thirds, rgb at one."""
    dac = bytearray(768)
    for i in range(64):
        for gun in range(3):
            high, low = i >> 2 - gun & 1, i >> 5 - gun & 1
            dac[3 * i + gun] = 0x2A * high + 0x15 * low
    return dac


@attrs.define
class VgaState:
    """Everything the adapter remembers. Fresh, it is in mode 3, so a guest without firmware has a screen.

    The display memory is not here where core and board share it: then it outlives the board, as guest RAM does.
    """

    VERSION: ClassVar[int] = 2

    misc: int = 0x67
    feature: int = 0
    enable: int = 1
    sequencer_index: int = 0
    sequencer: bytearray = attrs.field(factory=lambda: bytearray.fromhex(_SEQUENCER))
    crtc_index: int = 0
    crtc: bytearray = attrs.field(factory=lambda: bytearray.fromhex(_CRTC))
    graphics_index: int = 0
    graphics: bytearray = attrs.field(factory=lambda: bytearray.fromhex(_GRAPHICS))
    attribute_index: int = 0x20
    attribute_data_next: bool = False  # the flip-flop
    attribute: bytearray = attrs.field(factory=lambda: bytearray.fromhex(_ATTRIBUTE))
    dac_mask: int = 0xFF
    dac_index: int = 0  # of the byte, 0 to 767
    dac_reading: bool = False
    dac_pending: list[int] = attrs.field(factory=list[int])  # red and green, until blue comes
    dac: bytearray = attrs.field(factory=_colors)
    latches: int = 0  # a byte a plane, plane 0 in bits 7-0
    vbe_index: int = 0
    vbe: list[int] = attrs.field(factory=lambda: [VBE_ID] + [0] * (VBE_COUNT - 1))
    memory: bytearray = attrs.field(factory=bytearray)  # the adapter's own, where it has no other
