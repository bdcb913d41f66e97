"""The display memory of the VGA and its data path (IBM PS/2 Hardware Interface TR, May 1992, Video, 2-21).

Four planes of 64 KiB behind the window 0xA0000-0xBFFFF: memory map select, odd/even and chain-4
addressing, map mask, read modes 0 and 1, write modes 0 to 3, latches.
Not modelled: the odd/even page bit, less than 256 KiB (extended memory off).
"""

from typing import Final

import attrs

from devmodel.devices.vga_registers import Graphics, Sequencer, VgaState

WINDOWS: Final = ((0, 0x2_0000), (0, 0x1_0000), (0x1_0000, 0x8000), (0x1_8000, 0x8000))  # by map select
ODD_EVEN_OFF: Final = 0x04  # memory mode
CHAIN_4: Final = 0x08
MISC_RAM: Final = 0x02

WIDEN: Final = tuple(bytes(0xFF if planes >> i & 1 else 0 for i in range(4)) for planes in range(16))
"""A bit a plane, made a byte a plane."""


@attrs.define
class VgaMemory:
    """The window, as a device of 128 KiB. `configure` must follow every change of a register."""

    state: VgaState
    _first: int = 0
    _length: int = 0
    _chain4: bool = False
    _write_odd_even: bool = False
    _drop_a0: bool = False
    _mask: int = 0
    _plain: bool = False
    _text_write: bool = False
    _text_read: bool = False

    def __attrs_post_init__(self) -> None:
        self.configure()

    def configure(self) -> None:
        """Work out from the registers what the access path needs."""
        s = self.state
        memory_mode = s.sequencer[Sequencer.MEMORY_MODE]
        graphics = s.graphics
        self._first, self._length = WINDOWS[graphics[Graphics.MISCELLANEOUS] >> 2 & 3]
        if not s.misc & MISC_RAM:
            self._length = 0
        self._chain4 = bool(memory_mode & CHAIN_4)
        self._write_odd_even = not memory_mode & ODD_EVEN_OFF
        self._drop_a0 = bool(graphics[Graphics.MISCELLANEOUS] & 2)
        self._mask = s.sequencer[Sequencer.MAP_MASK] & 15
        self._plain = (
            graphics[Graphics.MODE] & 3 == 0
            and not graphics[Graphics.ENABLE_SET_RESET] & 15
            and not graphics[Graphics.DATA_ROTATE]
            and graphics[Graphics.BIT_MASK] == 0xFF
        )
        text = self._drop_a0 and not self._chain4
        self._text_write = text and self._plain and self._write_odd_even and self._mask == 3
        self._text_read = (
            text and graphics[Graphics.MODE] & 0x18 == 0x10 and not graphics[Graphics.READ_MAP] & 2
        )

    def write(self, offset: int, size: int, value: int) -> None:
        """Write 1 to 8 bytes."""
        address = offset - self._first
        if self._text_write and size <= 2 and 0 <= address < self._length - 1:
            planes = self.state.planes
            if size == 1:
                planes[address & 1][address & 0xFFFE] = value
                return
            if not address & 1:
                address &= 0xFFFE
                planes[0][address] = value & 0xFF
                planes[1][address] = value >> 8
                return
        for i in range(size):
            if 0 <= address < self._length:
                self._write_byte(address & 0xFFFF, value >> 8 * i & 0xFF)
            address += 1

    def read(self, offset: int, size: int) -> int:
        """Read 1 to 8 bytes; outside the window nobody answers."""
        address = offset - self._first
        if self._text_read and size == 2 and not address & 1 and 0 <= address < self._length:
            s = self.state
            address &= 0xFFFE
            s.latches[:] = [plane[address] for plane in s.planes]
            return s.latches[0] | s.latches[1] << 8
        value = 0
        for i in range(size):
            byte = self._read_byte(address & 0xFFFF) if 0 <= address < self._length else 0xFF
            value |= byte << 8 * i
            address += 1
        return value

    def _read_byte(self, address: int) -> int:
        s = self.state
        graphics = s.graphics
        plane = graphics[Graphics.READ_MAP] & 3
        if self._chain4:
            plane = address & 3
            address &= 0xFFFC
        else:
            if graphics[Graphics.MODE] & 0x10:
                plane = plane & 2 | address & 1
            if self._drop_a0:
                address &= 0xFFFE
        planes = s.planes
        latches = s.latches
        for i in range(4):
            latches[i] = planes[i][address]
        if not graphics[Graphics.MODE] & 8:
            return latches[plane]
        compare = graphics[Graphics.COLOR_COMPARE]
        care = graphics[Graphics.COLOR_DONT_CARE]
        differs = 0
        for i in range(4):
            if care >> i & 1:
                differs |= latches[i] ^ (0xFF if compare >> i & 1 else 0)
        return ~differs & 0xFF

    def _write_byte(self, address: int, value: int) -> None:
        s = self.state
        mask = self._mask
        if self._chain4:
            mask &= 1 << (address & 3)
            address &= 0xFFFC
        else:
            if self._write_odd_even:
                mask &= 0xA if address & 1 else 0x5
            if self._drop_a0:
                address &= 0xFFFE
        planes = s.planes
        if self._plain:
            for i in range(4):
                if mask >> i & 1:
                    planes[i][address] = value
            return
        data, bits = self._data_path(value)
        for i in range(4):
            if mask >> i & 1:
                planes[i][address] = data[i] & bits | s.latches[i] & ~bits

    def _data_path(self, value: int) -> tuple[bytes, int]:
        """Return a byte for each plane, and which bits of it replace the latches'."""
        s = self.state
        graphics = s.graphics
        latches = s.latches
        bits = graphics[Graphics.BIT_MASK]
        rotate = graphics[Graphics.DATA_ROTATE] & 7
        rotated = (value >> rotate | value << 8 - rotate) & 0xFF
        set_reset = WIDEN[graphics[Graphics.SET_RESET] & 15]
        match graphics[Graphics.MODE] & 3:
            case 0:
                enable = WIDEN[graphics[Graphics.ENABLE_SET_RESET] & 15]
                data = bytes(rotated & ~e | r & e for e, r in zip(enable, set_reset, strict=True))
            case 1:
                return bytes(latches), 0xFF
            case 2:
                data = WIDEN[value & 15]
            case _:
                bits &= rotated
                data = set_reset
        match graphics[Graphics.DATA_ROTATE] >> 3 & 3:
            case 1:
                data = bytes(d & l for d, l in zip(data, latches, strict=True))
            case 2:
                data = bytes(d | l for d, l in zip(data, latches, strict=True))
            case 3:
                data = bytes(d ^ l for d, l in zip(data, latches, strict=True))
            case _:
                pass
        return data, bits
