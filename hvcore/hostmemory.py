"""Host-physical memory as far as a VMCS or a VMCB points at it: bitmaps, permission maps, MSR areas.

The tables that translate guest-physical addresses are not here: the processor's slots stand for them.
"""

from collections.abc import Callable
from typing import Final

PAGE: Final = 4096


class HostMemory:
    """Pages of 4 KiB by address. Where there is none, reads are ones and writes are dropped, as on a bus."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every write: hardware would look at these pages again by itself."""
        self._pages: dict[int, bytearray] = {}
        self._changed = changed

    def allocate(self, address: int, data: bytes) -> None:
        """Put whole pages at `address`, a multiple of 4096."""
        for at in range(0, len(data), PAGE):
            self._pages[address + at] = bytearray(data[at : at + PAGE].ljust(PAGE, b"\0"))
        self._changed()

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes."""
        data = bytearray()
        while length:
            offset = address & PAGE - 1
            run = min(length, PAGE - offset)
            page = self._pages.get(address - offset)
            data += b"\xff" * run if page is None else page[offset : offset + run]
            address += run
            length -= run
        return bytes(data)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        for i, byte in enumerate(data):
            page = self._pages.get(address + i & ~(PAGE - 1))
            if page is not None:
                page[address + i & PAGE - 1] = byte
        self._changed()
