"""The buffered ring (`struct buffered_iopage`): writes that are posted, not waited for.

The producer owns `write_pointer`, the consumer `read_pointer`; each keeps its own in private and believes the
other's only after a check. Both are canonicalised modulo twice the ring at every step.
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
    TYPE_PIO,
)
from ioreq.page import SharedBuffer
from ioreq.request import Request

if cython.compiled:
    from cython.cimports.ioreq import fence
else:
    from ioreq import fence

_SIZE_CODE: Final = {1: 0 << 10, 2: 1 << 10, 4: 2 << 10, 8: 3 << 10}
_DIR: Final = 1 << 9
_READ_POINTER: Final = 0  # as 32-bit words of the page
_WRITE_POINTER: Final = 1
_FIRST_SLOT: Final = 1  # as 64-bit words of the page
_ORDERS: Final = ORDERS


def encode(type_: int, address: int, size: int, data: int) -> int:
    """Return `struct buf_ioreq` as a 64-bit word, with the low half of `data`."""
    return type_ | _SIZE_CODE[size] | address << 12 | (data & 0xFFFFFFFF) << 32


class RingProducer:
    """The core's end. Several vCPUs may share it if their calls are serialised."""

    __slots__ = ("_pointers", "_slots", "_write")

    def __init__(self, page: SharedBuffer) -> None:
        octets = memoryview(page)[:PAGE_SIZE]
        self._pointers: memoryview = octets.cast("I")
        self._slots: memoryview = octets.cast("Q")
        self._write = 0

    def post(self, type_: int, address: int, size: int, data: int) -> bool:
        """Append one write of 1, 2, 4 or 8 bytes; False if it must go as a synchronous request instead.

        Raises:
            ProtocolError: the consumer left a read pointer that cannot be.

        """
        if address > BUFFERED_ADDRESS_MAX or size not in _SIZE_CODE:
            return False
        write = self._write
        read = self._pointers[_READ_POINTER]
        used = (write - read) % BUFFERED_MODULUS
        if used >= BUFFERED_SLOTS - (size == 8):
            if read >= BUFFERED_MODULUS or used > BUFFERED_SLOTS:
                raise ProtocolError(f"buffered ring: read pointer {read}, write pointer {write}")
            return False
        self._slots[_FIRST_SLOT + write % BUFFERED_SLOTS] = encode(type_, address, size, data)
        write = (write + 1) % BUFFERED_MODULUS
        if size == 8:
            self._slots[_FIRST_SLOT + write % BUFFERED_SLOTS] = encode(type_, address, size, data >> 32)
            write = (write + 1) % BUFFERED_MODULUS
        if _ORDERS:
            fence.order()
        self._write = write
        self._pointers[_WRITE_POINTER] = write
        return True


class RingConsumer:
    """The device model's end. `refused` counts entries that cannot be, and were dropped."""

    __slots__ = ("_pointers", "_slots", "position", "refused")

    def __init__(self, page: SharedBuffer) -> None:
        octets = memoryview(page)[:PAGE_SIZE]
        self._pointers: memoryview = octets.cast("I")
        self._slots: memoryview = octets.cast("Q")
        self.position = 0
        self.refused = 0

    def waiting(self) -> bool:
        """Whether the producer has written anything that has not been taken."""
        return self._pointers[_WRITE_POINTER] != self.position

    def take(self, into: Request) -> bool:
        """Copy the oldest entry and free its slots; False if the ring is empty.

        A ring whose pointers cannot be is emptied and counted as refused: the core is not trusted, and its
        garbage must not stop the server.
        """
        slots = self._slots
        while True:
            read = self.position
            write = self._pointers[_WRITE_POINTER]
            if write == read:
                return False
            used = (write - read) % BUFFERED_MODULUS
            if write >= BUFFERED_MODULUS or used > BUFFERED_SLOTS:
                self._resynchronise(write % BUFFERED_MODULUS)
                return False
            if _ORDERS:
                fence.order()
            entry: int = slots[_FIRST_SLOT + read % BUFFERED_SLOTS]
            size = 1 << (entry >> 10 & 3)
            data = entry >> 32
            step = 1
            if size == 8:
                if used < 2:
                    self._resynchronise(write)
                    return False
                data |= slots[_FIRST_SLOT + (read + 1) % BUFFERED_SLOTS] >> 32 << 32
                step = 2
            self.position = read = (read + step) % BUFFERED_MODULUS
            self._pointers[_READ_POINTER] = read
            type_ = entry & 0xFF
            if entry & _DIR or type_ not in (TYPE_PIO, TYPE_COPY) or (type_ == TYPE_PIO and size == 8):
                self.refused += 1
                continue
            into.type = type_
            into.address = entry >> 12 & BUFFERED_ADDRESS_MAX
            into.size = size
            into.data = data & ONES[size]
            return True

    def _resynchronise(self, position: int) -> None:
        self.refused += 1
        self.position = position
        self._pointers[_READ_POINTER] = position
        self._pointers[_WRITE_POINTER] = position  # not ours to write, but its owner has lost it
