# cython: annotation_typing=False
"""Event channels: a pending and a mask word a port in a shared page, and an eventfd as doorbell.

Only the sender sets `pending`, only the receiver clears it and writes `mask`: one writer a transition, so
plain stores do, with full fences where a store must be visible before a load (see `fence`). Two rules lose no
wake-up:

* a sender makes its work visible *before* it looks at `pending` and `mask`;
* a receiver unmasks, clears `pending`, and looks for work, *in this order*. If it cleared first, a send between
  the two would leave `pending` set without a ring, and all later sends would coalesce with that one, unheard.

A receiver that polls leaves its port masked and pending set, so that a send costs the sender one fence.
"""

import os
from contextlib import suppress
from typing import Final

import cython

from ioreq.fence import ORDERS
from ioreq.layout import EVENT_MASK_OFFSET, EVENT_PORTS, PAGE_SIZE
from ioreq.page import SharedBuffer

if cython.compiled:
    from cython.cimports.ioreq import fence
else:
    from ioreq import fence

_ORDERS: Final = ORDERS


class EventPage:
    """The ports of one ioreq server: pending[port] at 4 * port, mask[port] at 0x800 + 4 * port."""

    __slots__ = ("mask", "pending")

    def __init__(self, page: SharedBuffer) -> None:
        octets = memoryview(page)[:PAGE_SIZE]
        self.pending: memoryview = octets[: 4 * EVENT_PORTS].cast("I")
        self.mask: memoryview = octets[EVENT_MASK_OFFSET:].cast("I")


def make_doorbell() -> int:
    """Return a new eventfd that neither blocks nor survives an exec."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def ring_doorbell(fd: int) -> None:
    """Ring; a bell that has not been heard 2**64 - 2 times already needs no more ringing."""
    if cython.compiled:  # half the price of the same by the os module
        with cython.nogil:
            error = write_one(fd)  # type: ignore[name-defined]  # noqa: F821  (declared in evtchn.pxd)
        if error:
            raise OSError(error, os.strerror(error))
    else:
        with suppress(BlockingIOError):
            os.eventfd_write(fd, 1)


def drain_doorbell(fd: int) -> None:
    """Silence a bell, whether it has been rung or not.

    It never blocks, although the peer, who shares the file description, may have taken O_NONBLOCK away from it.
    """
    if cython.compiled:
        with cython.nogil:
            error = read_now(fd)  # type: ignore[name-defined]  # noqa: F821  (declared in evtchn.pxd)
        if error:
            raise OSError(error, os.strerror(error))
    else:
        with suppress(BlockingIOError):
            os.preadv(fd, [bytearray(8)], -1, os.RWF_NOWAIT)


class SendPort:
    """The sending end of a channel. One thread at a time may send."""

    __slots__ = ("_mask", "_pending", "doorbell", "port")

    def __init__(self, page: EventPage, port: int, doorbell: int) -> None:
        self._pending = page.pending
        self._mask = page.mask
        self.port = port
        self.doorbell = doorbell

    def send(self) -> bool:
        """Announce the work just stored; whether that took the doorbell, since the receiver sleeps.

        Sends that the receiver has not looked at yet coalesce.
        """
        fence.full()  # the work, before we believe that a set `pending` will still be looked at
        port = self.port
        if self._pending[port]:
            return False
        self._pending[port] = 1
        fence.full()
        if self._mask[port]:
            return False
        ring_doorbell(self.doorbell)
        return True

    def bind(self) -> None:
        """Leave one event pending, as binding a channel does in Xen."""
        self._pending[self.port] = 1
        ring_doorbell(self.doorbell)


class ReceivePort:
    """The receiving end of a channel."""

    __slots__ = ("_mask", "_pending", "doorbell", "port")

    def __init__(self, page: EventPage, port: int, doorbell: int) -> None:
        self._pending = page.pending
        self._mask = page.mask
        self.port = port
        self.doorbell = doorbell

    @property
    def pending(self) -> bool:
        """Whether something was sent since the last `clear`."""
        return self._pending[self.port] != 0

    def clear(self) -> None:
        """Forget what was sent so far, awake and unmasked. Look for work after this, never before."""
        self._pending[self.port] = 0
        fence.full()

    def mask(self) -> None:
        """Ask for no doorbell: the receiver is awake and looks by itself."""
        self._mask[self.port] = 1

    def unmask(self) -> None:
        """Ask for the doorbell again, and forget what was sent so far. Look for work after this, then sleep."""
        self._mask[self.port] = 0
        if _ORDERS:
            fence.order()  # nobody may see `pending` cleared and the port still masked
        self._pending[self.port] = 0
        fence.full()

    def drain(self) -> None:
        """Silence the bell after waking."""
        drain_doorbell(self.doorbell)
