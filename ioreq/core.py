# cython: annotation_typing=False
"""The core's end of an ioreq server: a channel a vCPU, the buffered ring, and their doorbells.

A `CoreEndpoint` is made for create_ioreq_server, and its `descriptors` travel in the reply to
get_ioreq_server_info. A doorbell costs a hundred times what a look at shared memory does, so a channel polls for
a while before it sleeps, with its port masked meanwhile; `Patience` decides how long that is worth it.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import cython

from ioreq import ProtocolError, shared
from ioreq.buffered import RingProducer
from ioreq.control import close_all
from ioreq.evtchn import EventPage, ReceivePort, SendPort, drain_doorbell, make_doorbell, ring_doorbell
from ioreq.fence import ORDERS
from ioreq.layout import (
    BUFFERED_ADDRESS_MAX,
    ENDPOINT_PAGES,
    FLAG_DATA_IS_PTR,
    FLAG_DESCENDING,
    FLAG_READ,
    FLAGS_SHIFT,
    MIRROR_PAGE,
    PAGE_SIZE,
    SIZE_SHIFT,
    STATE_IOREQ_READY,
    STATE_IORESP_READY,
    STATE_MASK,
    STATE_NONE,
    STATE_OFFSET,
    TYPE_SHIFT,
    buffered_port,
    core_port,
    server_port,
)
from ioreq.mirror import ASK, MirrorReader
from ioreq.page import Slot
from ioreq.patience import Patience
from ioreq.placement import Placement
from ioreq.request import Request

if cython.compiled:
    from cython.cimports.ioreq import fence
else:
    from ioreq import fence

_ORDERS: Final = ORDERS
# C numbers where this is compiled.
_LOW32 = cython.declare(cython.ulonglong, 0xFFFF_FFFF)
# What is compared of the slot's word 3 to see that it is idle: the state and vp_eport.
_IDLE_MASK = cython.declare(cython.ulonglong, STATE_MASK << FLAGS_SHIFT | 0xFFFF_FFFF)
_READY_IN_WORD3 = cython.declare(cython.ulonglong, STATE_IOREQ_READY << FLAGS_SHIFT)
_DONE_IN_WORD3 = cython.declare(cython.ulonglong, STATE_IORESP_READY << FLAGS_SHIFT)
_SIZE_SHIFT = cython.declare(cython.int, SIZE_SHIFT)
_FLAGS_SHIFT = cython.declare(cython.int, FLAGS_SHIFT)
_TYPE_SHIFT = cython.declare(cython.int, TYPE_SHIFT)
_READ = cython.declare(cython.ulonglong, FLAG_READ)
_DATA_IS_PTR = cython.declare(cython.ulonglong, FLAG_DATA_IS_PTR)
_DESCENDING = cython.declare(cython.ulonglong, FLAG_DESCENDING)
_DONE = cython.declare(cython.int, STATE_IORESP_READY)
_STATE = cython.declare(cython.int, STATE_OFFSET)
_ALL = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_NONE = cython.declare(cython.ulonglong, STATE_NONE)


def ones(size: int) -> int:
    """Return the value of `size` bytes that nobody answers with."""
    return int(_ALL >> 64 - 8 * size)


class VcpuDoorbell:
    """What a vCPU sleeps on, for all its channels to all ioreq servers and its INTR pin.

    Device models ring `fd`, an eventfd. The core's own threads have a bell of their own: whoever shares an eventfd can
    make it blocking and fill it, and then the next ring would last as long as he likes.
    """

    __slots__ = ("_epoll", "_own", "_poll", "fd", "placement")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.placement = Placement()
        self._own = make_doorbell()
        epoll = select.epoll()
        for bell in (fd, self._own):
            epoll.register(bell, select.EPOLLIN | select.EPOLLET)
        self._epoll = epoll.fileno()
        self._poll = epoll.poll  # which keeps the epoll open

    def ring(self) -> None:
        """Wake the vCPU's thread; from any thread of the core."""
        ring_doorbell(self._own)

    def wait(self, timeout_ms: int | None = None) -> bool:
        """Sleep until the bell has been rung since the last time; False after `timeout_ms` without.

        Each ring is an edge. The bell of device models is silenced nevertheless: they share it, and one that has filled
        it would keep the others from ringing.
        """
        if cython.compiled:
            timeout = -1 if timeout_ms is None else timeout_ms
            with cython.nogil:
                rung = wait_for_ring(self._epoll, timeout)  # type: ignore[name-defined]  # noqa: F821
        else:
            rung = len(self._poll(None if timeout_ms is None else timeout_ms / 1000))
        if rung == 0:
            return False
        drain_doorbell(self.fd)
        return True  # after a signal, too: who sleeps looks again

    def __del__(self) -> None:
        os.close(self._own)

    def sleep(
        self, channels: Sequence["CoreChannel"], wake: Callable[[], bool], timeout_ms: int | None = None
    ) -> bool:
        """Sleep, halted, until `wake()`; False after `timeout_ms` without.

        The ports of `channels` are unmasked meanwhile, so that a server which raises INTR and sends is heard.
        Whoever makes `wake` true otherwise rings this bell after.
        """
        try:
            for channel in channels:
                channel.receive.unmask()
            while not wake():
                if not self.wait(timeout_ms):
                    return wake()
                for channel in channels:
                    channel.receive.clear()
            return True
        finally:
            for channel in channels:
                channel.receive.mask()


class CoreChannel:
    """The core's end. `dead` is set by whoever learns that the server is gone (`kill`); any thread may.

    It has patience of two kinds: a server that sleeps must wake before it can answer, and what is learned from
    that says nothing of one that is awake.
    """

    __slots__ = (
        "_awake",
        "_doorbell",
        "_octets",
        "_send",
        "_waking",
        "_words",
        "dead",
        "receive",
        "slot",
        "vp_eport",
    )

    def __init__(
        self, slot: Slot, send: SendPort, receive: ReceivePort, doorbell: VcpuDoorbell, peer: int = 0
    ) -> None:
        self.slot = slot
        self._words = slot.words
        self._octets = slot.octets
        self._send = send
        self.receive = receive
        self._doorbell = doorbell
        step_aside = partial(doorbell.placement.step_aside, peer)
        self._awake = Patience(step_aside)
        self._waking = Patience(step_aside)
        self.dead = False
        self.vp_eport = send.port
        self._words[3] = send.port
        receive.mask()

    def kill(self) -> None:
        """Complete the request in flight, if any, and all later ones with all ones. From any thread."""
        self.dead = True
        self._doorbell.ring()

    def notify(self) -> None:
        """Ring the server's end without a request, as a spurious event."""
        self._send.send()

    def transact(self, request: Request) -> int:
        """Have the server perform `request`, and return its data, cut to the size of an item.

        `request.count` becomes the number of repetitions done, at least one. A server that is dead, or dies
        over it, answers all ones.

        Raises:
            ProtocolError: the server broke the rules. The channel is dead from then on.

        """
        size = request.size
        if self.dead:
            return ones(size)
        words = self._words
        if words[3] & _IDLE_MASK != self.vp_eport:
            raise self._broken("the slot is not idle, or its port was changed", request)
        flags = _READ if request.read else 0
        if request.data_is_ptr:
            flags |= _DATA_IS_PTR
        if request.descending:
            flags |= _DESCENDING
        address = request.address
        count = request.count
        words[0] = address
        words[1] = request.data
        words[2] = count | size << _SIZE_SHIFT
        word3 = self.vp_eport | flags << _FLAGS_SHIFT | request.type << _TYPE_SHIFT
        if _ORDERS:
            fence.order()
        words[3] = word3 | _READY_IN_WORD3
        patience = self._waking if self._send.send() else self._awake

        octets = self._octets
        done = flags | _DONE
        if fence.poll(octets, _STATE, 0xFF, done, patience.looks):
            if patience.score:
                patience.found()
        elif not self._await_response(done, request, patience):
            words[3] = self.vp_eport
            return ones(size)
        if _ORDERS:
            fence.order()
        word2 = words[2]
        if words[3] != word3 | _DONE_IN_WORD3 or words[0] != address or word2 >> _SIZE_SHIFT != size:
            raise self._broken("the server changed the request", request)
        completed = word2 & _LOW32
        if completed != count:
            if not 0 < completed < count:
                raise self._broken("the server changed the repetitions", request)
            request.count = completed
        data = words[1] & ones(size)
        octets[_STATE] = flags | _NONE
        return int(data)

    def _await_response(self, done: int, request: Request, patience: Patience) -> bool:
        """Sleep until byte 30 is `done`; False if the server is dead."""
        octets = self._octets
        receive = self.receive
        seen = STATE_IOREQ_READY
        while True:
            receive.unmask()
            flags = octets[STATE_OFFSET]
            state = flags & STATE_MASK
            if flags == done:
                receive.mask()
                return True
            if self.dead or state == STATE_NONE:
                receive.mask()
                return False
            if not seen <= state < STATE_IORESP_READY or (flags ^ done) & ~STATE_MASK:
                receive.mask()
                raise self._broken(
                    f"the slot went from state {seen} to {state}, byte 30 is {flags:#04x}", request
                )
            seen = state
            before = time.monotonic_ns()
            self._doorbell.wait()
            patience.slept(time.monotonic_ns() - before)

    def _broken(self, what: str, request: Request) -> ProtocolError:
        self.dead = True
        return ProtocolError(f"{what}: asked {request}, slot {self.slot.describe()}")


class CoreEndpoint:
    """The core's end of an ioreq server, for the vCPUs whose doorbells are given.

    `descriptors`: ioreq page, buffered page, event page, mirror page if there is one, the server-end doorbell of each
    vCPU, the ring's doorbell.
    """

    def __init__(self, doorbells: Sequence[VcpuDoorbell], *, mirror: bool = False, peer: int = 0) -> None:
        vcpus = len(doorbells)
        names = [*ENDPOINT_PAGES, MIRROR_PAGE] if mirror else ENDPOINT_PAGES
        self.descriptors: list[int] = []
        try:
            for name in names:
                self.descriptors.append(shared.create(name, PAGE_SIZE))
            for _ in range(vcpus + 1):
                self.descriptors.append(make_doorbell())
            pages = [shared.map_shared(fd, PAGE_SIZE) for fd in self.descriptors[: len(names)]]
        except BaseException:
            close_all(self.descriptors)
            raise
        ioreq_page, buffered_page, event_page = pages[: len(ENDPOINT_PAGES)]
        events = EventPage(event_page)
        bells = self.descriptors[len(names) :]
        self.channels: list[CoreChannel] = []
        for vcpu, doorbell in enumerate(doorbells):
            send = SendPort(events, server_port(vcpu), bells[vcpu])
            receive = ReceivePort(events, core_port(vcpu), doorbell.fd)
            self.channels.append(CoreChannel(Slot(ioreq_page, vcpu), send, receive, doorbell, peer))
            send.bind()
        self._ring = RingProducer(buffered_page)
        self._ring_port = SendPort(events, buffered_port(vcpus), bells[vcpus])
        self._ring_port.bind()
        self._ring_lock = threading.Lock()
        self._descriptors_lock = threading.Lock()
        self._mirror = MirrorReader(pages[len(ENDPOINT_PAGES)], self._ring) if mirror else None
        self._pages = len(names)
        self.ring_descriptor = self.descriptors[ENDPOINT_PAGES.index("buffered-ioreq")]
        self.dead = False
        self._posts_on = False

    def post(self, address: int, size: int, data: int, type_: int, cell: int = 0, rings: bool = True) -> bool:
        """Post one write; False if it must go as a synchronous request. A dead server swallows it.

        The bell is rung if it is to be (`rings`), and if the port's `cell` does not say that the write coalesces.
        A server that was `bequeathed` keeps it for its successor, as long as there is room.

        Raises:
            ProtocolError: the server broke the ring. The endpoint is dead from then on.

        """
        if self.dead:
            if self._posts_on:
                self._keep(address, size, data, type_)
            return True
        with self._ring_lock:
            try:
                posted = self._ring.post(type_, address, size, data)
            except ProtocolError:
                self.kill()
                raise
            if posted and rings and not (cell and self._coalesces(cell, size)):
                self._ring_port.send()
            return posted

    def _coalesces(self, cell: int, size: int) -> bool:
        """Whether what has just been posted may lie until the server wakes for something else.

        The fence stands against the one of a server that takes that back, looks at its ring once more, and sleeps.
        """
        fence.full()
        return self._mirror is not None and self._mirror.coalesces(cell, size)

    def _keep(self, address: int, size: int, data: int, type_: int) -> None:
        with self._ring_lock:
            try:
                self._posts_on = address > BUFFERED_ADDRESS_MAX or self._ring.post(type_, address, size, data)
            except ProtocolError:
                self._posts_on = False

    def bequeath(self) -> None:
        """Treat the server as dead, but keep what is posted to it. From any thread."""
        self._posts_on = True
        self.kill()

    def close_all_but_ring(self) -> None:
        """Close the descriptors that a dead server's successor has no use for. No vCPU may be using a channel."""
        close_all([fd for fd in self.descriptors if fd != self.ring_descriptor])
        self.descriptors = [self.ring_descriptor]

    def posted(self) -> tuple[int, int]:
        """Return how many slots of the ring have been filled ever, and how many of these are not performed.

        Raises:
            ProtocolError: the server broke the ring.

        """
        return self._ring.posted, self._ring.in_flight()

    def idle(self) -> bool:
        """Whether everything posted has been performed.

        Raises:
            ProtocolError: the server broke the ring. The endpoint is dead from then on.

        """
        try:
            return not self.dead and self._ring.in_flight() == 0
        except ProtocolError:
            self.kill()
            raise

    @property
    def mirrors(self) -> bool:
        """Whether there is a mirror page."""
        return self._mirror is not None

    def mirrored(self, cell: int, port: int) -> int:
        """Return what a read of one byte from `port`, whose cell is given, would return; or ASK.

        Raises:
            ProtocolError: the server broke the ring. The endpoint is dead from then on.

        """
        if self.dead or self._mirror is None:
            return ASK
        try:
            return self._mirror.read(cell, port)
        except ProtocolError:
            self.kill()
            raise

    def waits(self, cell: int, size: int) -> bool:
        """Whether a write of `size` bytes waits now, where writes are posted as a rule: see `ioreq.mirror`.

        None waits for a dead server, so that its successor finds them all in the ring.
        """
        return not self.dead and self._mirror is not None and self._mirror.waits(cell, size)

    def kill(self) -> None:
        """Read ones for requests in flight and later ones, and drop writes. From any thread.

        A bell that the server filled and made blocking may hold the vCPU's thread: it is emptied.
        """
        self.dead = True
        for channel in self.channels:
            channel.kill()
        with self._descriptors_lock:
            for bell in self.descriptors[self._pages :]:
                drain_doorbell(bell)

    def close(self) -> None:
        """Kill, and close the descriptors; from any thread, and more than one. The pages live as long as any view."""
        self.kill()
        with self._descriptors_lock:
            while self.descriptors:
                with contextlib.suppress(OSError):
                    os.close(self.descriptors.pop())
