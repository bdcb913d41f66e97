"""The Bochs VBE extensions ("dispi", Bochs' `vbe_display_api.txt`): ports 0x1CE-0x1D0 of a VGA.

Modes of 4, 8, 15, 16, 24 and 32 bits, a virtual screen larger than what is shown, a window of 64 KiB in banks, and
all memory in a linear frame buffer. While they are enabled the CRT controller says nothing about the picture.
Resolution and depth change only while they are disabled, as Bochs has it; what does not fit is made to fit.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.devices.vga_memory import BANK, VgaMemory
from devmodel.devices.vga_registers import (
    VBE_COUNT,
    VBE_ENABLED,
    VBE_GETCAPS,
    VBE_ID,
    VBE_MAX_BPP,
    VBE_MAX_XRES,
    VBE_MAX_YRES,
    VBE_NOCLEARMEM,
    Vbe,
    VgaState,
)

OLDEST_ID: Final = 0xB0C0
DEPTHS: Final = (4, 8, 15, 16, 24, 32)
LIMITS: Final = {Vbe.XRES: VBE_MAX_XRES, Vbe.YRES: VBE_MAX_YRES, Vbe.BPP: VBE_MAX_BPP}


class Port:
    """Offsets from 0x1CE."""

    INDEX: Final = 0
    DATA: Final = 1
    DATA_ALIGNED: Final = 2  # for machines whose words are aligned


def pitch(s: VgaState) -> int:
    """Return the bytes from one line to the next; of planes, in one of them."""
    width, bits = s.vbe[Vbe.VIRT_WIDTH], s.vbe[Vbe.BPP]
    return width // 8 if bits == 4 else width * ((bits + 7) // 8)


@attrs.define(kw_only=True)
class VbeDispi:
    """The index and data ports, words each. `changed` hears of every register that was written."""

    memory: VgaMemory
    changed: Callable[[], None]

    def read(self, offset: int, size: int) -> int:
        """Read a port; bytes come out of the word."""
        s = self.memory.state
        value = s.vbe_index if offset == Port.INDEX else self._register(s)
        return value & 0xFF if size == 1 else value

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a port."""
        s = self.memory.state
        if offset == Port.INDEX:
            s.vbe_index = value & 0xFFFF
        else:
            self._write(s, s.vbe_index, value & 0xFFFF)
            self.changed()

    def _register(self, s: VgaState) -> int:
        index = s.vbe_index
        if index == Vbe.VIDEO_MEMORY_64K:
            return self.memory.size // BANK
        if index in LIMITS and s.vbe[Vbe.ENABLE] & VBE_GETCAPS:
            return LIMITS[index]
        return s.vbe[index] if index < VBE_COUNT else 0

    def _write(self, s: VgaState, index: int, value: int) -> None:
        enabled = s.vbe[Vbe.ENABLE] & VBE_ENABLED
        match index:
            case Vbe.ID if OLDEST_ID <= value <= VBE_ID:
                s.vbe[index] = value
            case Vbe.XRES | Vbe.YRES | Vbe.BPP if not enabled:
                s.vbe[index] = value
            case Vbe.ENABLE:
                s.vbe[index] = value
                if value & VBE_ENABLED and not enabled:
                    self._enable(s, clear=not value & VBE_NOCLEARMEM)
                elif not value & VBE_ENABLED:
                    s.vbe[Vbe.BANK] = 0
            case Vbe.BANK if value * BANK < self.memory.size:
                s.vbe[index] = value
            case Vbe.VIRT_WIDTH if enabled:
                s.vbe[index] = max(value & ~7, s.vbe[Vbe.XRES])
                self._fit(s)
            case Vbe.X_OFFSET | Vbe.Y_OFFSET if enabled:
                s.vbe[index] = value
                self._fit(s)
            case _:
                pass

    def _enable(self, s: VgaState, *, clear: bool) -> None:
        """Begin a mode: its screen is the virtual one, and empty unless the guest wants what there was."""
        vbe = s.vbe
        vbe[Vbe.XRES] = min(max(vbe[Vbe.XRES] & ~7, 8), VBE_MAX_XRES)
        vbe[Vbe.YRES] = min(max(vbe[Vbe.YRES], 1), VBE_MAX_YRES)
        if vbe[Vbe.BPP] not in DEPTHS:
            vbe[Vbe.BPP] = 8 if not vbe[Vbe.BPP] else 32
        vbe[Vbe.VIRT_WIDTH] = vbe[Vbe.XRES]
        vbe[Vbe.BANK] = vbe[Vbe.X_OFFSET] = vbe[Vbe.Y_OFFSET] = 0
        self._fit(s)
        if clear:
            self.changed()  # or what a text window had would be brought back
            length = pitch(s) * vbe[Vbe.YRES] * (4 if vbe[Vbe.BPP] == 4 else 1)
            self.memory.wipe(length)

    def _fit(self, s: VgaState) -> None:
        """Keep a screen within the memory."""
        vbe = s.vbe
        planes = 4 if vbe[Vbe.BPP] == 4 else 1
        # The height is at least one line: the widest is shorter than 256 KiB.
        height = self.memory.size // (pitch(s) * planes)
        vbe[Vbe.VIRT_HEIGHT] = min(height, 0xFFFF)
        vbe[Vbe.YRES] = min(vbe[Vbe.YRES], height)
        vbe[Vbe.X_OFFSET] = min(vbe[Vbe.X_OFFSET], vbe[Vbe.VIRT_WIDTH] - vbe[Vbe.XRES])
        vbe[Vbe.Y_OFFSET] = min(vbe[Vbe.Y_OFFSET], height - vbe[Vbe.YRES])


@attrs.define
class FrameBuffer:
    """All of the display memory, linear, for accesses that find no memory shared."""

    memory: VgaMemory

    def read(self, offset: int, size: int) -> int:
        """Read 1 to 8 bytes; ones behind the end."""
        data = bytes(self.memory.octets[offset : min(offset + size, self.memory.size)])
        return int.from_bytes(data.ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Write 1 to 8 bytes; what is behind the end is dropped."""
        room = 0 if self.memory.held else max(min(size, self.memory.size - offset), 0)
        self.memory.octets[offset : offset + room] = value.to_bytes(size, "little")[:room]
