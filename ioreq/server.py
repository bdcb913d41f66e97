# cython: annotation_typing=False
"""The device model's end of an ioreq server, for trio: a channel a vCPU, and the buffered ring.

A `ServerEndpoint` is made of the descriptors that get_ioreq_server_info brings. A trio task a `VcpuChannel` answers
its requests, `BufferedChannel` wakes for posted writes while no such task is awake. They poll before they sleep, as the
core's end does, and what wakes them is looked at without a pass of trio's scheduler where that is all: see `standby`.
"""

import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import cython
import structlog
import trio

from ioreq import ProtocolError, shared
from ioreq.buffered import RingConsumer
from ioreq.evtchn import EventPage, ReceivePort, SendPort
from ioreq.fence import ORDERS
from ioreq.layout import (
    ENDPOINT_PAGES,
    FLAG_DATA_IS_PTR,
    FLAG_DESCENDING,
    FLAG_READ,
    FLAGS_MASK,
    MAX_REPEAT_BYTES,
    ONES,
    SIZE_SHIFT,
    STATE_IOREQ_INPROCESS,
    STATE_IOREQ_READY,
    STATE_IORESP_READY,
    STATE_MASK,
    STATE_OFFSET,
    TYPE_COPY,
    TYPE_INTACK,
    TYPE_INVALIDATE,
    TYPE_PCI_CONFIG,
    TYPE_PIO,
    TYPE_SHIFT,
    TYPE_TIMEOFFSET,
    buffered_port,
    core_port,
    server_port,
)
from ioreq.mirror import HELD
from ioreq.page import Slot
from ioreq.patience import Patience, can_poll, expected
from ioreq.request import Request
from ioreq.standby import listen

if cython.compiled:
    from cython.cimports.ioreq import fence
else:
    from ioreq import fence

log = structlog.get_logger()

_ORDERS: Final = ORDERS
_LOW32: Final = 0xFFFFFFFF

_MAX_SIZE: Final = {
    TYPE_PIO: 4,
    TYPE_COPY: 8,
    TYPE_PCI_CONFIG: 4,
    TYPE_TIMEOFFSET: 8,
    TYPE_INVALIDATE: 8,
    TYPE_INTACK: 2,
}

LOOKS_A_ROUND: Final = 50
"""Looks at the slot before the server looks at the buffered ring as well."""
TURN: Final = 5000
"""What the server does, in looks (a quarter of a millisecond), before it lets every other task run.

That is rare because a pass through trio's scheduler takes as long as a dozen requests.
"""
LINGER: Final = 600
"""Looks (30 µs) for another posted write behind the last one, at most: what a driver writes comes in one burst."""
LEAST: Final = 40
"""Looks that are lingered at least."""
BURST: Final = 100_000
"""Nanoseconds between two writes that are one burst, though we have slept in the midst of it."""
LOOKS_A_REQUEST: Final = 100
"""What a request counts for."""
LOOKS_A_DRAIN: Final = 1000
"""What emptying the buffered ring counts for: it may have been full."""


REQUEST: Final = 0
"""What a channel's look found: a request …"""
OTHERS: Final = 1
"""… nothing yet, but it is time for others to run …"""
ASLEEP: Final = 2
"""… or nothing, and it will not look before the doorbell rings."""

Answer = Callable[[Request], bool]


class BufferedChannel:
    """The device model's end of the buffered ring: its port, its consumer, and who empties it.

    `drain` is called with the ring not empty, takes what it finds, at most the 511 of a full ring, and never
    awaits. While any vCPU's task polls it looks at the ring too, so the ring's own port is then masked. `rest` is
    called before a task sleeps or lets others run.
    """

    def __init__(self, ring: RingConsumer, receive: ReceivePort, drain: Callable[[], None]) -> None:
        self.ring = ring
        self.receive = receive
        self.drain = drain
        self.rest: Callable[[], None] = lambda: None
        self.looks = LINGER if can_poll() else 0
        self._linger = self.looks
        """Twice as many as the last that were not in vain, a quarter fewer with each time that they were."""
        self._coalesced = False
        self._slept = 0
        self._watchers = 0

    def watch(self) -> None:
        """Say that the caller is awake and looks at the ring itself."""
        self._watchers += 1
        if self._watchers == 1:
            self.receive.mask()

    def unwatch(self) -> bool:
        """Take that back. True if the ring is not empty: the caller must not sleep on it."""
        self._watchers -= 1
        if self._watchers == 0:
            self.receive.unmask()
        return self.ring.waiting()

    async def serve(self) -> None:
        """Empty the ring whenever nobody else does. Cancel to stop."""
        with listen(self.receive.doorbell, self._unheard) as bell:
            while True:
                if self._look():
                    await trio.lowlevel.checkpoint()
                else:
                    await bell.wait(self._look)

    def _unheard(self) -> bool:
        """Whether something is in the ring that coalesces: nobody has rung for it."""
        fence.full()  # what we have shown is seen by now, or what was posted before that is seen here
        self._coalesced = self.ring.waiting()
        return self._coalesced

    def _look(self) -> bool:
        """Empty the ring; whether others are to run before it is looked at again, or a flood would starve them."""
        if self._coalesced:  # there is no more behind it, and no deadline has moved
            self._coalesced = False
            self.drain()
            return self.ring.waiting()
        turn = TURN
        if time.monotonic_ns() - self._slept < BURST:
            self._linger = self.looks
        self.watch()
        try:
            while turn > 0 and (self.ring.waiting() or self._wait_for_more()):
                self.drain()
                turn -= LOOKS_A_DRAIN
        finally:
            more = self.unwatch()
        self.rest()
        self._slept = time.monotonic_ns()
        return more

    def _wait_for_more(self) -> bool:
        """Linger for the rest of a burst; whether there is more.

        That has paid if the bell would have been rung for it; what coalesces could have been left to lie.
        """
        self.receive.clear()
        left = self.ring.linger(self._linger)
        if left and self.receive.pending:
            self._linger = min(2 * (self._linger - left) + LEAST, self.looks)
        elif self._linger > LEAST:
            self._linger -= self._linger // 4
        return left > 0


class VcpuChannel:
    """The device model's end: `await next_request()`, then `respond`. One task a channel.

    What is read from the slot is copied once and checked on the copy. A request that cannot be is logged and
    answered with ones here; `refused` counts them.
    """

    __slots__ = (
        "_asleep",
        "_buffered",
        "_looked",
        "_octets",
        "_patience",
        "_round",
        "_since",
        "_turn",
        "_words",
        "receive",
        "refused",
        "request",
        "send",
        "slot",
    )

    def __init__(
        self, slot: Slot, receive: ReceivePort, send: SendPort, buffered: BufferedChannel | None = None
    ) -> None:
        self.slot = slot
        self._words = slot.words
        self._octets = slot.octets
        self.receive = receive
        self.send = send
        self._buffered = buffered
        self._patience = Patience()
        self._round = LOOKS_A_ROUND if self._patience.most else 1
        self._turn = TURN
        self._asleep = True
        self._looked = 0
        self._since = 0
        self.refused = 0
        self.request = Request()

    async def next_request(self) -> Request:
        """Wait for the vCPU's next request. The object returned is the same every time.

        It is a checkpoint now and then, not always: a busy guest's requests are answered without a
        scheduler's pass each, but every `TURN` all other tasks get theirs.
        """
        while (found := self._look()) != REQUEST:
            if found == OTHERS:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self.receive.doorbell)
                self.receive.drain()
                self._rung()
        return self.request

    async def serve(self, answer: Answer, complete: Callable[[], Awaitable[None]]) -> None:
        """Have each request that comes `answer`ed, for ever. Cancel to stop.

        It says whether it has called `respond`; otherwise `complete` is awaited, which does.
        """
        found = OTHERS

        def answer_all() -> int:
            while (found := self._look()) == REQUEST:
                if not answer(self.request):
                    break
            return found

        def rung() -> bool:
            nonlocal found
            self._rung()
            found = answer_all()
            return found != ASLEEP

        with listen(self.receive.doorbell) as bell:
            found = answer_all()
            while True:
                if found == ASLEEP:
                    await bell.wait(rung)
                    continue
                if found == REQUEST:
                    await complete()
                else:
                    await trio.lowlevel.checkpoint()
                found = answer_all()

    def _look(self) -> int:
        """Look for a request as long as that pays, and say how it ended; no other task runs meanwhile."""
        octets = self._octets
        patience = self._patience
        self._turn -= LOOKS_A_REQUEST
        if self._asleep:
            self._wake()
        looks = self._round if patience.looks else 1
        while self._turn > 0:
            if fence.poll(octets, STATE_OFFSET, STATE_MASK, STATE_IOREQ_READY, looks) and self._accept():
                if patience.score:
                    patience.found()
                self._looked = 0
                return REQUEST
            self._looked += LOOKS_A_ROUND
            buffered = self._buffered
            if buffered is not None and buffered.ring.waiting():
                buffered.drain()
                self._looked = 0
                self._turn -= LOOKS_A_DRAIN
            if self._looked >= patience.looks:
                return self._lie_down(True)
            if expected.answers and not expected.timers:
                return self._lie_down(False)
            self._turn -= LOOKS_A_ROUND
            if expected.timers:
                break
        self._turn = TURN
        if self._buffered is not None:
            self._buffered.rest()
        return OTHERS

    def pending_request(self) -> Request | None:
        """Return the request that is there now, or None; never waits."""
        if self._octets[STATE_OFFSET] & STATE_MASK == STATE_IOREQ_READY and self._accept():
            return self.request
        return None

    def respond(self, value: int) -> None:
        """Answer the request taken last: `value` is below 2**64, and of no meaning for a write."""
        octets = self._octets
        self._words[1] = value
        if _ORDERS:
            fence.order()
        octets[STATE_OFFSET] = octets[STATE_OFFSET] & FLAGS_MASK | STATE_IORESP_READY
        self.send.send()

    def respond_count(self, value: int, count: int) -> None:
        """Answer with only the first `count` repetitions done, at least one."""
        request = self.request
        if not 0 < count <= request.count:
            raise ValueError(f"{count} of {request.count} repetitions cannot be done")
        self._words[2] = count | request.size << SIZE_SHIFT
        self.respond(value)

    def _accept(self) -> bool:
        """Take the READY request: mark it, empty the ring before it, copy, check."""
        octets = self._octets
        if _ORDERS:
            fence.order()
        flags = octets[STATE_OFFSET]
        octets[STATE_OFFSET] = flags & FLAGS_MASK | STATE_IOREQ_INPROCESS
        buffered = self._buffered
        if buffered is not None and buffered.ring.waiting():
            buffered.drain()
            self._turn -= LOOKS_A_DRAIN
        words = self._words
        request = self.request
        request.address = words[0]
        request.data = words[1]
        word2 = words[2]
        request.count = count = word2 & _LOW32
        request.size = size = word2 >> SIZE_SHIFT
        request.read = flags & FLAG_READ != 0
        request.descending = flags & FLAG_DESCENDING != 0
        request.data_is_ptr = flags & FLAG_DATA_IS_PTR != 0
        request.type = type_ = words[3] >> TYPE_SHIFT
        if (
            size in ONES
            and size <= _MAX_SIZE.get(type_, 0)
            and (count == 1 or 0 < count * size <= MAX_REPEAT_BYTES)
            and (
                type_ != TYPE_INTACK
                or (size == 2 and request.read and count == 1 and not request.data_is_ptr)
            )
        ):
            return True
        self.refused += 1
        if self.refused & self.refused - 1 == 0:  # the 1st, 2nd, 4th, …: a broken core must not fill the log
            log.warning("ioreq.refused", times=self.refused, **self.slot.describe())
        self.respond(ONES[8])
        return False

    def _wake(self) -> None:
        self._asleep = False
        self.receive.mask()
        if self._buffered is not None:
            self._buffered.watch()

    def _lie_down(self, learn: bool) -> int:
        """Unmask, and look once more before the doorbell is waited for; `learn` from how long that will take."""
        self._asleep = True
        self._looked = 0
        self._turn = TURN
        if self._buffered is not None:
            self._buffered.rest()
        more = self._buffered is not None and self._buffered.unwatch()
        self.receive.unmask()
        if more or self._octets[STATE_OFFSET] & STATE_MASK == STATE_IOREQ_READY:
            return OTHERS
        self._since = time.monotonic_ns() if learn else 0
        return ASLEEP

    def _rung(self) -> None:
        """Learn from how long we have slept."""
        if self._since:
            self._patience.slept(time.monotonic_ns() - self._since)


class ServerEndpoint:
    """The device model's end, made of the descriptors of get_ioreq_server_info, which it takes over.

    `drain` empties the ring: see `BufferedChannel`. `doorbells` are the vCPUs' own, of the domain. `cells` are those
    of the mirror page, held back at first; none without `mirror`.
    """

    def __init__(
        self,
        descriptors: Sequence[int],
        doorbells: Sequence[int],
        drain: Callable[[RingConsumer], None],
        *,
        mirror: bool = False,
    ) -> None:
        vcpus = len(doorbells)
        count = len(ENDPOINT_PAGES) + mirror
        self.descriptors = list(descriptors)
        if len(descriptors) != count + vcpus + 1:
            raise ProtocolError(f"{len(descriptors)} descriptors for an ioreq server of {vcpus} vCPUs")
        pages = [shared.map_page(fd) for fd in self.descriptors[:count]]
        ioreq_page, buffered_page, event_page = pages[: len(ENDPOINT_PAGES)]
        events = EventPage(event_page)
        bells = self.descriptors[count:]
        for bell in bells:
            shared.check_doorbell(bell)
        self.cells = memoryview(pages[count - 1]).cast("Q") if mirror else None
        self.hold(True)
        self.ring = RingConsumer(buffered_page)
        self.buffered = BufferedChannel(
            self.ring, ReceivePort(events, buffered_port(vcpus), bells[vcpus]), lambda: drain(self.ring)
        )
        self.channels = [
            VcpuChannel(
                Slot(ioreq_page, vcpu),
                ReceivePort(events, server_port(vcpu), bells[vcpu]),
                SendPort(events, core_port(vcpu), doorbells[vcpu]),
                self.buffered,
            )
            for vcpu in range(vcpus)
        ]

    def hold(self, held: bool) -> None:
        """Have the core ask for everything, whatever the mirror page says; or no longer."""
        if self.cells is not None:
            self.cells[HELD] = held

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            with contextlib.suppress(OSError):
                os.close(self.descriptors.pop())
