"""The area in which a server leaves its state with the core: two halves, of which one is always whole.

An addition of ours to Xen's ABI (`messages.KeepState`). The core makes the area, keeps it while servers come and go,
and never looks into it. 64-bit words of its first page:

    0  how often a state has been written; 0: there is none. The newest is in half (this - 1) & 1
    1  bytes of the state in half 0
    2  bytes of the state in half 1

Half 0 begins at the second page, half 1 `HALF` bytes after. A server that dies while it writes leaves the older one.
"""

import mmap
from typing import Final

from ioreq import fence
from ioreq.layout import PAGE_SIZE

HALF: Final = 8 << 20
"""Bytes that a state may have. The pages of what is not used cost nothing."""
AREA_SIZE: Final = PAGE_SIZE + 2 * HALF

_WRITTEN: Final = 0
_LENGTHS: Final = 1


class StateArea:
    """A mapped area. One server has it at a time."""

    def __init__(self, mapped: mmap.mmap | bytearray) -> None:
        self._octets = memoryview(mapped)
        self._words = self._octets[:PAGE_SIZE].cast("Q")

    def write(self, state: bytes) -> bool:
        """Leave a state in place of the last but one; False if it is too long."""
        if len(state) > HALF:
            return False
        written = self._words[_WRITTEN]
        half = written & 1
        start = PAGE_SIZE + half * HALF
        self._octets[start : start + len(state)] = state
        self._words[_LENGTHS + half] = len(state)
        fence.order()
        self._words[_WRITTEN] = written + 1
        return True

    def read(self) -> bytes | None:
        """Return the newest state; None if there is none."""
        written = self._words[_WRITTEN]
        half = written - 1 & 1
        length = self._words[_LENGTHS + half]
        if not written or length > HALF:
            return None
        start = PAGE_SIZE + half * HALF
        return bytes(self._octets[start : start + length])

    def clear(self) -> None:
        """Forget both."""
        self._words[_WRITTEN] = 0
