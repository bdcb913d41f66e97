"""The display memory of the VGA and its data path (IBM PS/2 Hardware Interface TR, May 1992, Video, 2-21).

Four planes of 64 KiB behind the window 0xA0000-0xBFFFF: memory map select, odd/even and chain-4 addressing, map mask,
read modes 0 and 1, write modes 0 to 3, latches. A byte of each plane makes one double word, plane 0 in bits 7-0, so
that the data path works on all planes at once. Memory beyond the 256 KiB of the planes is for Bochs VBE.

Where the data path changes nothing, in text modes, mode 13h and VBE's packed modes, the window is *plain*: it shows
memory in which a byte lies where the guest sees it. Guest and board can share that, and then no access comes here.
`View` says which one is valid: the planes, or bytes in the guest's order, which are brought into the other form when
a register changes.
Not modelled: latches loaded by a read of a plain window; less than 256 KiB (extended memory off).
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import attrs

from devmodel.devices.vga_font import GLYPHS
from devmodel.devices.vga_registers import VBE_ENABLED, Graphics, Sequencer, Vbe, VgaState

WINDOWS: Final = ((0, 0x2_0000), (0, 0x1_0000), (0x1_0000, 0x8000), (0x1_8000, 0x8000))  # by map select
ODD_EVEN_OFF: Final = 0x04  # memory mode
CHAIN_4: Final = 0x08
MISC_RAM: Final = 0x02
MISC_HIGH_PAGE_OFF: Final = 0x20

PLANES: Final = 0x4_0000
"""Bytes of the four planes."""
VIEW: Final = 0x1_0000
"""Bytes of a plain window, behind the memory proper."""
BANK: Final = 0x1_0000
GLYPH: Final = 32  # bytes from one glyph to the next in plane 2

REPLICATE: Final = 0x0101_0101
ALL_PLANES: Final = 0xFFFF_FFFF
WIDEN: Final = tuple(sum(0xFF << 8 * i for i in range(4) if planes >> i & 1) for planes in range(16))
"""A bit a plane, made a byte a plane."""
EVEN_PLANES: Final = WIDEN[0b0101]
ODD_PLANES: Final = WIDEN[0b1010]


class View:
    """Which form of the memory is valid."""

    PLANES: Final = 0
    ODD_EVEN: Final = 1  # at 2k and 2k+1 planes 0 and 1 at address 2k
    ODD_EVEN_HIGH: Final = 2  # at address 2k+1: the other page
    CHAIN_4: Final = 3  # at 4k to 4k+3 planes 0 to 3
    LINEAR: Final = 4  # VBE: memory as it is


class Path:
    """What becomes of a byte that is written, as decoded from the graphics controller's registers."""

    PLAIN: Final = 0  # it goes to the planes as it is
    SET_RESET: Final = 1  # write mode 0 with everything
    LATCHES: Final = 2  # write mode 1
    COLOR: Final = 3  # write mode 2
    MASK: Final = 4  # write mode 3


DATA_PATH: Final = (
    Graphics.SET_RESET, Graphics.ENABLE_SET_RESET, Graphics.COLOR_COMPARE, Graphics.DATA_ROTATE, Graphics.READ_MAP,
    Graphics.COLOR_DONT_CARE, Graphics.BIT_MASK,
)  # fmt: skip


SEQUENCER_PATH: Final = frozenset({Sequencer.MAP_MASK, Sequencer.MEMORY_MODE})
WINDOW_PATH: Final = frozenset({Graphics.MODE, Graphics.MISCELLANEOUS})


class Window(Protocol):
    """Where the guest finds memory that it shares with the board, without asking: offsets are the window's."""

    @property
    def shares(self) -> bool:
        """Whether there is such memory."""
        ...

    def show(self, first: int, last: int, memory: int) -> None:
        """Let the guest have `memory` on at `first` to `last`, and nothing elsewhere in the window."""
        ...

    def hide(self) -> None:
        """Have every access of the window come to the chip."""
        ...


class Trapped:
    """A window that shares nothing."""

    shares: Final = False

    def show(self, first: int, last: int, memory: int) -> None:
        """Nothing: all accesses come to the chip."""

    def hide(self) -> None:
        """Nothing."""


@attrs.define
class VgaMemory:
    """The window, as a device of 128 KiB. `configure` must follow every change of a register.

    `octets` is what there is: a multiple of 64 KiB, at least the planes, and `VIEW` more.
    """

    state: VgaState
    octets: memoryview
    window: Window = attrs.field(factory=Trapped)
    view: int = View.PLANES
    held: bool = False
    """Nothing changes the memory: what is written has been written before."""
    _flushed: tuple[bytes, bytes] = (b"", b"")  # window and planes, when they last were as each other
    _octets: memoryview = attrs.field(init=False)
    _planes: memoryview = attrs.field(init=False)  # by address: a byte of each
    _first: int = 0
    _length: int = 0
    _plain: memoryview | None = None  # the window, if it is plain
    _shown: tuple[int, int, int] | None = None
    _base: int = 0  # of VBE's bank, in addresses
    _chain4: bool = False
    _read_odd_even: bool = False
    _write_odd_even: bool = False
    _drop_a0: bool = False
    _page: int = 0  # what A0 becomes where it selects the plane
    _wide: bool = False  # A0 becomes A16: the window is one of 128 KiB
    _sequential: bool = False
    _may_be_plain: bool = False  # as far as the sequencer goes
    _mode: int = 0  # of writing
    _mask: int = 0
    _path: int = Path.PLAIN
    _rotate: int = 0
    _function: int = 0
    _bits: int = 0  # that the bit mask lets through
    _kept: int = 0  # and those that come from the latches
    _set_reset: int = 0
    _forced: int = 0  # set/reset where it is enabled
    _unforced: int = 0  # planes where it is not
    _shift: int = 0  # to the plane that is read
    _compare: int = 0
    _care: int = 0
    _comparing: bool = False

    def __attrs_post_init__(self) -> None:
        self._octets = self.octets[:-VIEW]
        self._planes = self._octets.cast("I")
        self.view = self._wanted()
        self.configure()

    def clear(self) -> None:
        """Empty the planes, but for a font in plane 2; as `configure` last understood the registers."""
        self._octets[:PLANES] = bytes(PLANES)
        self.octets[-VIEW:] = bytes(VIEW)
        glyphs = b"".join(glyph.ljust(GLYPH, b"\0") for glyph in GLYPHS)
        self._octets[2 : 4 * len(glyphs) : 4] = glyphs

    def wipe(self, length: int) -> None:
        """Make the first `length` bytes of the memory zero."""
        if not self.held:
            self._octets[:length] = bytes(length)

    @property
    def size(self) -> int:
        """Bytes of the memory proper."""
        return len(self._octets)

    @property
    def shared(self) -> bool:
        """Whether the guest may have the window as memory: then writes to registers that change this must wait."""
        return self._shown is not None and self.window.shares

    def configure(self) -> None:
        """Work out from the registers what the access path needs, and bring the memory into the form that it takes."""
        s = self.state
        graphics = s.graphics
        wanted = self._wanted()
        if wanted != self.view:
            self.flush()
            self.view = wanted
            self._fill()
        memory_mode = s.sequencer[Sequencer.MEMORY_MODE]
        select = graphics[Graphics.MISCELLANEOUS] >> 2 & 3
        self._base = 0
        if s.vbe[Vbe.ENABLE] & VBE_ENABLED:
            select, self._base = 1, s.vbe[Vbe.BANK] * BANK
        self._first, self._length = WINDOWS[select]
        if not s.misc & MISC_RAM or not s.enable:
            self._length = 0
        self._chain4 = bool(memory_mode & CHAIN_4)
        self._read_odd_even = bool(graphics[Graphics.MODE] & 0x10)
        self._write_odd_even = not memory_mode & ODD_EVEN_OFF
        self._drop_a0 = bool(graphics[Graphics.MISCELLANEOUS] & 2)
        self._page = 0 if s.misc & MISC_HIGH_PAGE_OFF else 1
        self._wide = select == 0
        self._sequential = not (self._chain4 or self._write_odd_even or self._drop_a0)
        self._may_be_plain = self._chain4 or self._write_odd_even
        self._comparing = bool(graphics[Graphics.MODE] & 8)
        self._mode = graphics[Graphics.MODE] & 3
        self._mask = WIDEN[s.sequencer[Sequencer.MAP_MASK] & 15]
        for index in DATA_PATH:
            self._decode(index)
        self._open()

    def sequencer_changed(self, index: int) -> bool:
        """Take over a register of the sequencer that was written; whether the window may be another now."""
        if index == Sequencer.MAP_MASK and not self._may_be_plain:
            self._mask = WIDEN[self.state.sequencer[Sequencer.MAP_MASK]]
            return False
        if index in SEQUENCER_PATH:
            self.configure()
            return True
        return False

    def graphics_changed(self, index: int) -> bool:
        """Take over a register of the graphics controller that was written; whether the window may be another now."""
        if self._may_be_plain or index in WINDOW_PATH:
            self.configure()
            return True
        self._decode(index)
        return False

    def _decode(self, index: int) -> None:
        """Work out what a register of the data path means to a double word."""
        graphics = self.state.graphics
        value = graphics[index]
        if index == Graphics.BIT_MASK:
            self._bits = value * REPLICATE
            self._kept = ALL_PLANES ^ self._bits
        elif index <= Graphics.ENABLE_SET_RESET:
            self._set_reset = WIDEN[graphics[Graphics.SET_RESET]]
            enable = WIDEN[graphics[Graphics.ENABLE_SET_RESET]]
            self._forced = self._set_reset & enable
            self._unforced = ALL_PLANES ^ enable
        elif index == Graphics.READ_MAP:
            self._shift = 8 * value
        elif index == Graphics.DATA_ROTATE:
            self._rotate = value & 7
            self._function = value >> 3
        elif index == Graphics.COLOR_COMPARE:
            self._compare = WIDEN[value]
        else:  # color don't care
            self._care = WIDEN[value]
        if self._mode or not self._undisturbed():
            self._path = Path.SET_RESET + self._mode
        else:
            self._path = Path.PLAIN

    def _open(self) -> None:
        """Make the window plain if it is, and tell where the guest may have it without asking."""
        self._plain = None
        shown = None
        if self.view:
            start = self._base if self.view == View.LINEAR else self.size
            self._plain = self.octets[start : start + self._length]
            if len(self._plain):
                shown = self._first, self._first + len(self._plain) - 1, start
        if shown == self._shown:
            return
        self._shown = shown
        if shown is None:
            self.window.hide()
        else:
            self.window.show(*shown)

    def _undisturbed(self) -> bool:
        """Whether write mode 0 writes what comes from the processor."""
        graphics = self.state.graphics
        return (
            not graphics[Graphics.ENABLE_SET_RESET] & 15
            and not graphics[Graphics.DATA_ROTATE]
            and graphics[Graphics.BIT_MASK] == 0xFF
        )

    def _wanted(self) -> int:
        """Return which view the registers ask for."""
        s = self.state
        graphics = s.graphics
        if s.vbe[Vbe.ENABLE] & VBE_ENABLED:
            return View.PLANES if s.vbe[Vbe.BPP] == 4 else View.LINEAR
        memory_mode = s.sequencer[Sequencer.MEMORY_MODE]
        mask = s.sequencer[Sequencer.MAP_MASK] & 15
        miscellaneous = graphics[Graphics.MISCELLANEOUS]
        mode = graphics[Graphics.MODE]
        if mode & 0x0B or not miscellaneous & 0x0C or not self._undisturbed():
            return View.PLANES  # another write mode, read mode 1, or a window of 128 KiB
        if memory_mode & CHAIN_4:
            return View.CHAIN_4 if mask == 15 else View.PLANES
        both_ways = miscellaneous & 2 and mode & 0x10 and not memory_mode & ODD_EVEN_OFF
        if both_ways and mask == 3 and not graphics[Graphics.READ_MAP] & 2:
            return View.ODD_EVEN if s.misc & MISC_HIGH_PAGE_OFF else View.ODD_EVEN_HIGH
        return View.PLANES

    def flush(self) -> None:
        """Bring the planes up to date with a plain window; the view stays what it is."""
        correspondence = () if self.held else self._correspondence()
        if correspondence:
            window, before = bytes(self.octets[-VIEW:]), bytes(self._octets[:PLANES])
            if (window, before) == self._flushed:
                return  # a screen that sleeps costs those who look at it a comparison
            planes = bytearray(before)
            for plain, planar in correspondence:
                planes[planar] = window[plain]
            self._octets[:PLANES] = planes
            self._flushed = window, bytes(planes)

    def reader(self) -> Callable[[int], int]:
        """Return what reads a byte of each plane at an address below 64 KiB; until a register, or `held`, changes."""
        planes = self._planes
        pairs, parity = self.pairs()
        if parity is not None:
            return lambda at: planes[at] & ~0xFFFF | pairs[at >> 1] if at & 1 == parity else planes[at]
        if self.view == View.CHAIN_4 and not self.held:
            words = self.octets[-VIEW:].cast("I")
            return lambda at: words[at >> 2] if at & 3 == at >> 14 else planes[at]
        return planes.__getitem__

    def pairs(self) -> tuple[memoryview, int | None]:
        """Return the bytes of planes 0 and 1 where those are valid which the guest sees side by side, for as long.

        They are a word for two addresses, and are valid at the even ones (0), at the odd ones (1) or at none (None).
        """
        if self.view not in {View.ODD_EVEN, View.ODD_EVEN_HIGH} or self.held:
            return self._planes, None
        return self.octets[-VIEW:].cast("H"), int(self.view == View.ODD_EVEN_HIGH)

    def font_reader(self) -> Callable[[int], int]:
        """Return what `reader` does where only planes 2 and 3 matter, which no window of text shows."""
        return self.reader() if self.view == View.CHAIN_4 else self._planes.__getitem__

    def _fill(self) -> None:
        """Bring a plain window up to date with the planes."""
        correspondence = () if self.held else self._correspondence()
        if correspondence:
            planes, window = bytes(self._octets[:PLANES]), bytearray(VIEW)
            for plain, planar in correspondence:
                window[plain] = planes[planar]
            self.octets[-VIEW:] = window

    def _correspondence(self) -> Sequence[tuple[slice, slice]]:
        """Return which bytes of a plain window are which bytes of the planes."""
        match self.view:
            case View.ODD_EVEN | View.ODD_EVEN_HIGH:
                page = 4 if self.view == View.ODD_EVEN_HIGH else 0
                return [(slice(plane, None, 2), slice(page + plane, None, 8)) for plane in range(2)]
            case View.CHAIN_4:  # A0 and A1 select the plane, and become A14 and A15
                quarter = VIEW // 4
                return [
                    (
                        slice(q * quarter + plane, (q + 1) * quarter, 4),
                        slice(4 * (q * quarter + q) + plane, 4 * (q + 1) * quarter, 16),
                    )
                    for q in range(4)
                    for plane in range(4)
                ]
            case _:
                return ()

    def write(self, offset: int, size: int, value: int) -> None:
        """Write 1 to 8 bytes."""
        if self.held:
            return
        address = offset - self._first
        plain = self._plain
        if plain is not None and address >= 0 and address + size <= len(plain):
            if size == 1:
                plain[address] = value
            else:
                plain[address : address + size] = value.to_bytes(size, "little")
        elif size == 1:
            if 0 <= address < self._length:
                self._write_byte(address, value)
        else:
            for _ in range(size):
                if 0 <= address < self._length:
                    self._write_byte(address, value & 0xFF)
                value >>= 8
                address += 1

    def read(self, offset: int, size: int) -> int:
        """Read 1 to 8 bytes; outside the window nobody answers."""
        address = offset - self._first
        plain = self._plain
        if plain is not None and address >= 0 and address + size <= len(plain):
            if size == 1:
                return plain[address]
            return int.from_bytes(plain[address : address + size], "little")
        if size == 1:
            return self._read_byte(address) if 0 <= address < self._length else 0xFF
        value = 0
        for i in range(size):
            byte = self._read_byte(address) if 0 <= address < self._length else 0xFF
            value |= byte << 8 * i
            address += 1
        return value

    def copy(self, source: int, destination: int, size: int, count: int, *, descending: bool) -> None:
        """Move `count` items of `size` bytes within the window, as a repeated MOVS does."""
        if self._moves_at_once(source, destination, size, count, descending=descending):
            return
        step = -size if descending else size
        for _ in range(count):
            self.write(destination, size, self.read(source, size))
            source += step
            destination += step

    def _moves_at_once(
        self, source: int, destination: int, size: int, count: int, *, descending: bool
    ) -> bool:
        """Do a scroll in write mode 1 as one move of memory, if nothing stands against it."""
        source -= self._first
        destination -= self._first
        length = size * count
        if descending or self._path != Path.LATCHES or self._mask != ALL_PLANES or not self._sequential:
            return False
        if source < destination < source + length or self._read_odd_even or self._plain is not None:
            return False
        if min(source, destination) < 0 or max(source, destination) + length > min(self._length, 0x1_0000):
            return False
        source += self._base
        destination += self._base
        if max(source, destination) + length > len(self._planes):
            return False
        self.state.latches = self._planes[source + length - 1]
        self._planes[destination : destination + length] = self._planes[source : source + length]
        return True

    def _address(self, address: int) -> int:
        """Return the place in the planes, where A0 may be needed to choose one of them."""
        if self._drop_a0:
            return address & 0xFFFE | (address >> 16 if self._wide else self._page)
        return address & 0xFFFF

    def _read_byte(self, address: int) -> int:
        """Load the latches, and return a byte of them or what they compare to."""
        if self._chain4:
            shift = 8 * (address & 3)
            at = address & 0xFFFC | address >> 14 & 3
        elif self._read_odd_even or self._drop_a0:
            shift = self._shift & 16 | 8 * (address & 1) if self._read_odd_even else self._shift
            at = self._address(address)
        else:
            shift = self._shift
            at = address & 0xFFFF
        try:
            latches = self.state.latches = self._planes[at + self._base]
        except IndexError:  # a bank that there is no memory for
            return 0xFF
        if not self._comparing:
            return latches >> shift & 0xFF
        differs = (latches ^ self._compare) & self._care
        differs |= differs >> 16
        return ~(differs | differs >> 8) & 0xFF

    def _write_byte(self, address: int, value: int) -> None:
        """Send a byte through the data path to the planes that the map mask lets through."""
        mask = self._mask
        if self._sequential:
            address &= 0xFFFF
        elif self._chain4:
            mask &= 0xFF << 8 * (address & 3)
            address = address & 0xFFFC | address >> 14 & 3
        else:
            if self._write_odd_even:
                mask &= ODD_PLANES if address & 1 else EVEN_PLANES
            address = self._address(address)
        data = value * REPLICATE if self._path == Path.PLAIN else self._data(value)
        address += self._base
        try:
            if mask != ALL_PLANES:
                data = data & mask | self._planes[address] & ~mask
            self._planes[address] = data
        except IndexError:
            pass

    def _data(self, value: int) -> int:
        """Return what write modes and logical functions make of a byte: one for each plane."""
        path = self._path
        latches = self.state.latches
        if path == Path.LATCHES:
            return latches
        if path == Path.COLOR:
            data, bits, kept = WIDEN[value & 15], self._bits, self._kept
        else:
            if self._rotate:
                value = (value >> self._rotate | value << 8 - self._rotate) & 0xFF
            if path == Path.SET_RESET:
                data = value * REPLICATE & self._unforced | self._forced
                bits, kept = self._bits, self._kept
            else:
                data, bits = self._set_reset, self._bits & value * REPLICATE
                kept = ALL_PLANES ^ bits
        function = self._function
        if function:
            data = data ^ latches if function == 3 else data & latches if function == 1 else data | latches
        return data & bits | latches & kept
