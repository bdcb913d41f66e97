# cython: annotation_typing=False
"""The buffered ring (`struct buffered_iopage`): writes that are posted, not waited for.

The producer owns `write_pointer`, the consumer `read_pointer`; each keeps its own in private and believes the
other's only after a check. Both are canonicalised modulo twice the ring at every step.

The consumer moves `read_pointer` on when it has *performed* an entry, not when it has read it, as QEMU does: so an
empty ring tells the core that every posted write has had its effect, on pins and mirrored registers too.
"""

from typing import Final

import cython

from ioreq import ProtocolError
from ioreq.fence import ORDERS
from ioreq.layout import (
    BUFFERED_ADDRESS_MAX,
    BUFFERED_MODULUS,
    BUFFERED_SLOTS,
    ONES,
    PAGE_SIZE,
    TYPE_COPY,
    TYPE_INTACK,
    TYPE_PIO,
)
from ioreq.page import SharedBuffer
from ioreq.request import Request

if cython.compiled:
    from cython.cimports.ioreq import fence
else:
    from ioreq import fence

_DIR: Final = 1 << 9  # of an entry: a read, which none may be
_READ_POINTER: Final = 0  # as 32-bit words of the page
_WRITE_POINTER: Final = 1
_FIRST_SLOT: Final = 1  # as 64-bit words of the page
_ORDERS: Final = ORDERS
# C numbers where this is compiled.
_WRITE_INDEX = cython.declare(cython.int, _WRITE_POINTER)
_LOW32 = cython.declare(cython.ulonglong, 0xFFFF_FFFF)
# Fields of `struct buf_ioreq` as a 64-bit word; bits 0 to 7 are the type.
_SIZE_SHIFT = cython.declare(cython.int, 10)  # the size, as a power of two
_SIZE_MASK = cython.declare(cython.int, 3)
_ADDRESS_SHIFT = cython.declare(cython.int, 12)
_DATA_SHIFT = cython.declare(cython.int, 32)
_SLOTS = cython.declare(cython.uint, BUFFERED_SLOTS)
_MODULUS = cython.declare(cython.uint, BUFFERED_MODULUS)
PORTS: Final = 1 << 16


def encode(type_: int, address: int, size: int, data: int) -> int:
    """Return `struct buf_ioreq` as a 64-bit word, with the low half of `data`."""
    code = 0 if size == 1 else 1 if size == 2 else 2 if size == 4 else 3
    return int(type_ | code << _SIZE_SHIFT | address << _ADDRESS_SHIFT | (data & _LOW32) << _DATA_SHIFT)


class RingProducer:
    """The core's end. Several vCPUs may share it if their calls are serialised.

    It remembers which port was written last when, so that a mirrored register can be read while writes that do
    not concern it are still in the ring (`mirror`).
    """

    __slots__ = ("_last", "_pointers", "_slots", "_write", "posted")

    def __init__(self, page: SharedBuffer) -> None:
        octets = memoryview(page)[:PAGE_SIZE]
        self._pointers: memoryview = octets.cast("I")
        self._slots: memoryview = octets.cast("Q")
        self._write = 0
        self.posted = 0
        """Slots that have been filled since the beginning, modulo 2**64."""
        self._last = memoryview(bytearray(8 * PORTS)).cast("Q")

    def post(self, type_: int, address: int, size: int, data: int) -> bool:
        """Append one write of 1, 2, 4 or 8 bytes; False if it must go as a synchronous request instead.

        Raises:
            ProtocolError: the consumer left a read pointer that cannot be.

        """
        if address > BUFFERED_ADDRESS_MAX or not (size == 1 or size == 2 or size == 4 or size == 8):
            return False
        write = self._write
        used = self.in_flight()
        slots = 2 if size == 8 else 1
        if used + slots > _SLOTS:
            return False
        self._slots[_FIRST_SLOT + write % _SLOTS] = encode(type_, address, size, data)
        write = (write + 1) % _MODULUS
        if size == 8:
            self._slots[_FIRST_SLOT + write % _SLOTS] = encode(type_, address, size, data >> _DATA_SHIFT)
            write = (write + 1) % _MODULUS
        if _ORDERS:
            fence.order()
        self._write = write
        self._pointers[_WRITE_POINTER] = write
        self.posted += slots
        if type_ == TYPE_PIO:
            for port in range(address, address + size):
                self._last[port & 0xFFFF] = self.posted
        return True

    def in_flight(self) -> int:
        """Return how many slots hold writes that have not been performed yet.

        Raises:
            ProtocolError: the consumer left a read pointer that cannot be.

        """
        read = self._pointers[_READ_POINTER]
        used = (self._write + _MODULUS - read) % _MODULUS
        if read >= _MODULUS or used > _SLOTS:
            raise ProtocolError(f"buffered ring: read pointer {read}, write pointer {self._write}")
        return int(used)

    def untouched(self, port: int, writers: int, done: int) -> bool:
        """Whether none of the ports that `writers` names has been written since `done` slots had been performed.

        Bit n of `writers` is port n of the block of sixteen that `port` is in.
        """
        first = port & 0xFFF0
        for n in range(16):
            if writers >> n & 1 and self._last[first + n] > done:
                return False
        return True


def newest(page: SharedBuffer, posted: int, count: int) -> list[tuple[int, Request]]:
    """Return what stands in the newest `count` slots of a ring that nobody writes or reads any more, oldest first.

    Of its slots `posted` have been filled ever; each write comes with its own number among these, from 0. What is
    older than the ring is long is gone, and what can be no write is left out.
    """
    copy = bytearray(memoryview(page)[:PAGE_SIZE])  # the page itself stays as it was left
    count = min(count, posted, BUFFERED_SLOTS)
    pointers = memoryview(copy).cast("I")
    pointers[_READ_POINTER] = (posted - count) % BUFFERED_MODULUS
    pointers[_WRITE_POINTER] = posted % BUFFERED_MODULUS
    consumer = RingConsumer(copy, pointers[_READ_POINTER])
    found: list[tuple[int, Request]] = []
    while True:
        request = Request()
        before = consumer.taken
        if not consumer.take(request):
            return found
        found.append((posted - count + before, request))


class RingConsumer:
    """The device model's end. `refused` counts entries that cannot be, and were dropped."""

    __slots__ = ("_pointers", "_slots", "position", "refused", "taken")

    def __init__(self, page: SharedBuffer, position: int = 0) -> None:
        octets = memoryview(page)[:PAGE_SIZE]
        self._pointers: memoryview = octets.cast("I")
        self._slots: memoryview = octets.cast("Q")
        self.position = position
        self.refused = 0
        self.taken = 0
        """Slots that have been taken since the beginning."""

    def waiting(self) -> bool:
        """Whether the producer has written anything that has not been taken."""
        return self._pointers[_WRITE_POINTER] != self.position

    def linger(self, looks: int) -> int:
        """Look up to `looks` times whether there is anything to take, and return how many are left then; 0: nothing."""
        if cython.compiled:
            with cython.nogil:
                left = fence.poll_change(cython.address(self._pointers[_WRITE_INDEX]), self.position, looks)
            return int(left)
        else:  # noqa: RET505 - Cython must see that one of the two is left out
            for left in range(looks, 0, -1):
                if self.waiting():
                    return left
            return 0

    def take(self, into: Request) -> bool:
        """Free what was taken before, and copy the oldest entry; False if the ring is empty.

        Whoever stops taking before it is empty says that the last one is done (`finish`). A ring whose pointers
        cannot be is emptied and counted as refused: the core is not trusted, and its garbage must not stop the
        server.
        """
        while True:
            read = self.position
            if self._pointers[_READ_POINTER] != read:
                self.finish()
            write = self._pointers[_WRITE_POINTER]
            if write == read:
                return False
            used = (write % _MODULUS + _MODULUS - read) % _MODULUS
            if write >= _MODULUS or used > _SLOTS:
                self._resynchronise(write % _MODULUS)
                return False
            if _ORDERS:
                fence.order()
            entry = self._slots[_FIRST_SLOT + read % _SLOTS]
            size = 1 << (entry >> _SIZE_SHIFT & _SIZE_MASK)
            data = entry >> _DATA_SHIFT
            step = 1
            if size == 8:
                if used < 2:
                    self._resynchronise(write)
                    return False
                data |= self._slots[_FIRST_SLOT + (read + 1) % _SLOTS] >> _DATA_SHIFT << _DATA_SHIFT
                step = 2
            self.position = (read + step) % _MODULUS
            self.taken += step
            type_ = entry & 0xFF
            if entry & _DIR or not (
                type_ == TYPE_COPY
                or (type_ == TYPE_PIO and size != 8)
                or (type_ == TYPE_INTACK and size == 1)
            ):
                self.refused += 1
                continue
            into.type = type_
            into.address = entry >> _ADDRESS_SHIFT & BUFFERED_ADDRESS_MAX
            into.size = size
            into.data = data & ONES[size] if size < 4 else data
            return True

    def finish(self) -> None:
        """Free the slots of the entry taken last: it has been performed."""
        if _ORDERS:
            fence.order()
        self._pointers[_READ_POINTER] = self.position

    def _resynchronise(self, position: int) -> None:
        self.refused += 1
        self.position = position
        self._pointers[_READ_POINTER] = position
        self._pointers[_WRITE_POINTER] = position  # it is the producer's, but that has lost its way
