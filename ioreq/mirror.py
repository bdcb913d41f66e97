# cython: annotation_typing=False
"""Mirrored registers: a page in which a server shows what reading a register would return.

An addition of ours to Xen's ABI, offered when an ioreq server is created: the core answers a read of one byte from
there, without the server, as long as that is what the server would answer. A server that shows nothing is asked for
everything, as in Xen.

The page is 512 words of 64 bits, written by the server alone. Word 0 is not zero while nothing of the page may be
used. Each other word is the *cell* of one port; map_io_range says which cell is that of a range's first port:

    31..0   the value
    32      VALID: reading the register has no effect, and only a write or the server itself changes it
    33      ANYONE: every posted write may change it, and not only those to ports of its own block
    34      WAITS: a write to the port is not posted now, whatever its range says
    35      COALESCES: a write that is posted to the port rings no bell; it is performed when the server wakes next
    63..48  for each port of its block of sixteen: a posted write there may change it

While posted writes are in flight that may change a cell it is not used. Nothing more is needed: a cell is one store,
and the server shows what has changed before it raises an interrupt or answers a request.
"""

from typing import Final

import cython

from ioreq.fence import ORDERS
from ioreq.layout import PAGE_SIZE
from ioreq.page import SharedBuffer

if cython.compiled:
    from cython.cimports.ioreq import fence
    from cython.cimports.ioreq.buffered import RingProducer
else:
    from ioreq import fence
    from ioreq.buffered import RingProducer

HELD: Final = 0
"""The word that holds the page back; cells begin behind it."""
VALID: Final = 1 << 32
ANYONE: Final = 1 << 33
WAITS: Final = 1 << 34
COALESCES: Final = 1 << 35
"""As KVM's coalesced MMIO."""
WRITERS_SHIFT: Final = 48
ASK: Final = -1

_ORDERS: Final = ORDERS
_VALID = cython.declare(cython.ulonglong, VALID)
_ANYONE = cython.declare(cython.ulonglong, ANYONE)
_WAITS = cython.declare(cython.ulonglong, WAITS)
_COALESCES = cython.declare(cython.ulonglong, COALESCES)
_VALUE = cython.declare(cython.ulonglong, 0xFFFF_FFFF)


class MirrorReader:
    """The core's end: the page of one server, beside the ring of its posted writes."""

    __slots__ = ("_cells", "_ring")

    def __init__(self, page: SharedBuffer, ring: RingProducer) -> None:
        self._cells: memoryview = memoryview(page)[:PAGE_SIZE].cast("Q")
        self._ring = ring

    def read(self, cell: int, port: int) -> int:
        """Return what a read of one byte from `port` would return, or ASK: only the server knows.

        Raises:
            ProtocolError: the server broke the ring.

        """
        ring = self._ring
        in_flight = ring.in_flight()  # before the cell is read: a write done after that has changed it
        done = ring.posted - in_flight
        if _ORDERS:
            fence.order()
        word = self._cells[cell]
        if not word & _VALID or self._cells[HELD]:
            return ASK
        if in_flight and (word & _ANYONE or not ring.untouched(port, word >> WRITERS_SHIFT, done)):
            return ASK
        return int(word & _VALUE)

    def waits(self, cell: int, size: int) -> bool:
        """Whether a write of `size` bytes, the first of which is `cell`'s port, is not posted now."""
        i = cell
        while i < cell + size:
            if self._cells[i] & _WAITS:
                return True
            i += 1
        return False

    def coalesces(self, cell: int, size: int) -> bool:
        """Whether a write of `size` bytes that has just been posted, and is visible, rings no bell."""
        i = cell
        while i < cell + size:
            if not self._cells[i] & _COALESCES:
                return False
            i += 1
        return True
