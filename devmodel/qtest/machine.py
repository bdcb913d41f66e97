"""What a board is wired to where there is no core: RAM of its own, shadow RAM, time that stands still.

A client of qtest sees guest-physical memory as the processor does: devices where the bus has them, RAM elsewhere, and
in C0000h-FFFFFh what the host bridge's PAM registers say (Intel 82441FX data sheet, 3.2.18). There is no firmware, so
what is read from ROM is ones. Address line 20 is the processor's, and masks nothing here.
"""

import mmap
from collections.abc import Iterator
from typing import Any, Final

from devmodel.board.bus import Space
from devmodel.board.device import ONES

KIB: Final = 1 << 10
VGA_WINDOW: Final = (0xA_0000, 0xC_0000)
SHADOW: Final = (0xC_0000, 0x10_0000)
PAGE: Final = 4096
LOW_END: Final = 0xC000_0000
"""RAM that would come to lie here continues at 4 GiB; below that is room for PCI."""
HIGH: Final = 0x1_0000_0000
DEFAULT_MEMORY: Final = 128 << 20
"""Bytes; QEMU's default."""
MOST_MEMORY: Final = 64 << 30
LEAST_MEMORY: Final = 1 << 20
UNIT: Final = 4
"""The widest access to a device that is part of a block's, in bytes."""


class QtestCore:
    """The outside of a board that is driven by qtest: see `devmodel.board.outside.Core`."""

    video: Final = None
    """Every access to the VGA's memory comes to the board."""

    def __init__(self, memory: int = DEFAULT_MEMORY) -> None:
        """Have so many bytes of RAM, zeroed, whole pages."""
        self.size: Final = memory
        self._ram = mmap.mmap(-1, memory)
        self._low = min(memory, LOW_END)
        self._shadow = dict.fromkeys(range(*SHADOW, PAGE), "rom")
        self.intr_level = False
        self.wants_reset = False
        """The board has asked for a reset of the machine."""
        self.ended: int | None = None
        """The board has switched the machine off, with this exit status."""
        self.intr_changed: Any = None
        """Called with the level of INTR when that changes, if somebody wants to hear of it."""

    def close(self) -> None:
        """Give the memory back."""
        self._ram.close()

    @property
    def e820(self) -> list[tuple[int, int, int]]:
        """Return start, length and type of each range of RAM."""
        ranges = [(0, 640 * KIB, 1)]
        if self._low > SHADOW[1]:
            ranges.append((SHADOW[1], self._low - SHADOW[1], 1))
        if self.size > self._low:
            ranges.append((HIGH, self.size - self._low, 1))
        return ranges

    # -- for a bus master ---------------------------------------------------------------------------------

    def read(self, address: int, length: int) -> bytes:
        """Return memory; ones where there is none."""
        data = bytearray(b"\xff") * length
        for at, offset, count in self._parts(address, length):
            data[at : at + count] = self._ram[offset : offset + count]
        return bytes(data)

    def write(self, address: int, data: bytes | memoryview, /) -> None:
        """Store, as far as there is memory."""
        for at, offset, count in self._parts(address, len(data)):
            self._ram[offset : offset + count] = data[at : at + count]

    def holds(self, address: int, length: int) -> bool:
        """Whether all of that is memory."""
        return sum(count for _, _, count in self._parts(address, length)) == length

    def _parts(self, address: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield the parts of a range that are RAM: start in the range, offset in our memory, length."""
        for base, size, offset in ((0, self._low, 0), (HIGH, self.size - self._low, self._low)):
            first, end = max(address, base), min(address + length, base + size)
            if first < end:
                yield first - address, offset + first - base, end - first

    # -- what the board tells -----------------------------------------------------------------------------

    def intr(self, level: bool) -> None:
        """Take note of the INTR pin."""
        self.intr_level = level
        if self.intr_changed is not None:
            self.intr_changed(level)

    def intr_vector(self, vector: int | None, _alone: bool) -> None:
        """Let the vector beside the pin pass: nobody takes interrupts."""

    def isa_irq(self, irq: int, level: bool) -> None:
        """Let a line to another server pass: there is none."""

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Let a line to another server pass: there is none."""

    def a20(self, level: bool) -> None:
        """Let address line 20 pass."""

    def map_video(self, first: int, last: int, offset: int, /) -> None:
        """Never called: there is no video memory to share."""

    def unmap_video(self, first: int, last: int, /) -> None:
        """Never called: there is no video memory to share."""

    def memory_type(self, first: int, last: int, type_: Any, /) -> None:
        """Have `first` to `last` read and written where PAM says."""
        for page in range(first, last + 1, PAGE):
            if page in self._shadow:
                self._shadow[page] = type_

    def reset(self) -> None:
        """Take note that the board asks for a reset."""
        self.wants_reset = True

    def shutdown(self, code: int, /) -> None:
        """Take note that it switches off."""
        self.ended = code

    # -- as the processor sees it -------------------------------------------------------------------------

    def shadow(self, address: int) -> str:
        """Return the type of a page of the shadow area; of any other, "ram"."""
        return self._shadow.get(address & -PAGE, "ram")


class AddressSpace:
    """Guest-physical memory as the processor sees it."""

    def __init__(self, core: QtestCore, devices: Space) -> None:
        self.core = core
        self.devices = devices

    def load(self, address: int, size: int) -> int:
        """Read 1, 2, 4 or 8 bytes in one access, if they are one device's; else whatever is there."""
        mapping = self.devices.find(address)
        if mapping is not None and address + size - 1 <= mapping.last:
            return self.devices.read(address, size)
        return int.from_bytes(b"".join(self.read(address, size)), "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Write 1, 2, 4 or 8 bytes in one access, if they are one device's; else whatever is there."""
        mapping = self.devices.find(address)
        if mapping is not None and address + size - 1 <= mapping.last:
            self.devices.write(address, size, value & ONES[size])
        else:
            for _ in self.write(address, (value & ONES[size]).to_bytes(size, "little")):
                pass

    def read(self, address: int, length: int) -> Iterator[bytes]:
        """Yield what is there, piece by piece."""
        for at, count, device in self._runs(address, length):
            if not device:
                type_ = self.core.shadow(at)
                readable = type_ in {"ram", "ram_ro"} and not VGA_WINDOW[0] <= at < VGA_WINDOW[1]
                yield self.core.read(at, count) if readable else b"\xff" * count
                continue
            data = bytearray()
            for place, unit in _units(at, count):
                data += self.devices.read(place, unit).to_bytes(unit, "little")
            yield bytes(data)

    def write(self, address: int, data: bytes) -> Iterator[None]:
        """Write, and pause after each piece."""
        for at, count, device in self._runs(address, len(data)):
            piece = data[at - address : at - address + count]
            if not device:
                type_ = self.core.shadow(at)
                if type_ in {"ram", "rom_wo"} and not VGA_WINDOW[0] <= at < VGA_WINDOW[1]:
                    self.core.write(at, piece)
            else:
                for place, unit in _units(at, count):
                    value = int.from_bytes(piece[place - at : place - at + unit], "little")
                    self.devices.write(place, unit, value)
            yield

    def _runs(self, address: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Yield start and length of runs that are alike, and whether they are a device's; at most 64 KiB of one."""
        end = address + length
        while address < end:
            mapping = self.devices.find(address)
            if mapping is not None:
                stop = min(end, mapping.last + 1, address + (64 << 10))
            else:
                stop = min((m.first for m in self.devices.mappings if address < m.first < end), default=end)
                if SHADOW[0] <= address < SHADOW[1]:
                    stop = min(stop, (address & -PAGE) + PAGE)
                else:
                    edges = (*VGA_WINDOW, address + (1 << 20))
                    stop = min(stop, *(edge for edge in edges if edge > address))
            yield address, stop - address, mapping is not None
            address = stop


def _units(address: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield address and size of the aligned accesses that a block to a device is made of."""
    end = address + length
    while address < end:
        unit = UNIT
        while address % unit or address + unit > end:
            unit >>= 1
        yield address, unit
        address += unit
