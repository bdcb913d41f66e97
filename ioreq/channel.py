"""One vCPU's channel to one ioreq server: the slot, its two event-channel ports, and how long to poll.

`CoreChannel` is the core's end, driven by the vCPU's thread. `VcpuChannel` is the device model's end, driven
by a trio task; `BufferedChannel` wakes it for posted writes. A doorbell costs a hundred times what a look at
shared memory does, so each end polls for a while before it sleeps, with its port masked meanwhile; `Patience`
decides how long that is worth it.
"""

import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Final

import cython
import structlog
import trio

from ioreq import ProtocolError
from ioreq.buffered import RingConsumer
from ioreq.evtchn import ReceivePort, SendPort, drain_doorbell, ring_doorbell
from ioreq.fence import ORDERS
from ioreq.layout import (
    FLAG_DATA_IS_PTR,
    FLAG_DESCENDING,
    FLAG_READ,
    FLAGS_MASK,
    FLAGS_SHIFT,
    MAX_REPEAT_BYTES,
    ONES,
    SIZE_SHIFT,
    STATE_IOREQ_INPROCESS,
    STATE_IOREQ_READY,
    STATE_IORESP_READY,
    STATE_MASK,
    STATE_NONE,
    STATE_OFFSET,
    TYPE_COPY,
    TYPE_INTACK,
    TYPE_INVALIDATE,
    TYPE_PCI_CONFIG,
    TYPE_PIO,
    TYPE_SHIFT,
    TYPE_TIMEOFFSET,
)
from ioreq.page import Slot
from ioreq.request import Request

if cython.compiled:
    from cython.cimports.ioreq import fence
else:
    from ioreq import fence

log = structlog.get_logger()

_ORDERS: Final = ORDERS
_LOW32: Final = 0xFFFFFFFF
_IDLE_MASK: Final = STATE_MASK << FLAGS_SHIFT | _LOW32  # of word 3: state and vp_eport
_READY_IN_WORD3: Final = STATE_IOREQ_READY << FLAGS_SHIFT
_DONE_IN_WORD3: Final = STATE_IORESP_READY << FLAGS_SHIFT

_MAX_SIZE: Final = {
    TYPE_PIO: 4,
    TYPE_COPY: 8,
    TYPE_PCI_CONFIG: 4,
    TYPE_TIMEOFFSET: 8,
    TYPE_INVALIDATE: 8,
    TYPE_INTACK: 1,
}

LOOKS_A_ROUND: Final = 50
"""Looks at the slot before the server looks at the buffered ring as well."""
TURN: Final = 5000
"""What the server does, in looks (a quarter of a millisecond), before it lets every other task run.

That is rare because a pass through trio's scheduler takes as long as a dozen requests.
"""
LOOKS_A_REQUEST: Final = 100
"""What a request counts for."""
LOOKS_A_DRAIN: Final = 1000
"""What emptying the buffered ring counts for: it may have been full."""


def can_poll() -> bool:
    """Whether polling makes sense: on one processor it only keeps the other side from running."""
    return len(os.sched_getaffinity(0)) > 1


class Patience:
    """How many looks are worth it before sleeping.

    Sleep and wake cost tens of microseconds, so a wait that a little polling would have covered makes for
    more of it, and a long one for less, so that an idle guest costs nothing (KVM's halt_poll_ns does so).

    On a busy host polling is wrong even where waits are short: the other side may wait for the very processor
    that we poll on. That shows only in polls that fail. A failed one costs about twice what a good one saves,
    and that is how they are scored; when it does not pay we sleep at once, and try again ever more rarely.
    """

    FIRST: Final = 400
    MOST: Final = 3200  # about 200 microseconds, what a sleep and a wake cost at worst
    SHORT_SLEEP_NS: Final = 500_000
    FAILED: Final = 2
    ENOUGH: Final = 32
    FIRST_PAUSE: Final = 16
    LONGEST_PAUSE: Final = 4096

    __slots__ = ("_pause", "_rest", "_trying", "looks", "most", "score")

    def __init__(self) -> None:
        self.most = self.MOST if can_poll() else 0
        self.looks = self.most
        self.score = 0
        """Of failed polls; 0 while they succeed. Whoever's poll succeeds says so (`found`) if it is not."""
        self._trying = False
        self._pause = self.FIRST_PAUSE
        self._rest = 0

    def found(self) -> None:
        """Learn from a poll that succeeded."""
        self.score -= 1
        if self._trying:
            self._trying = False
            self._pause = max(self._pause // 2, self.FIRST_PAUSE)

    def slept(self, ns: int) -> None:
        """Learn from a sleep of `ns` nanoseconds, after `looks` looks."""
        if ns >= self.SHORT_SLEEP_NS:
            self.looks = max(self.looks // 2, min(self.FIRST, self.looks))
        elif self.looks == 0:
            self._rest -= 1
            if self._rest <= 0:
                self._trying = True
                self.looks = self.most
                self.score = self.ENOUGH - self.FAILED
        else:
            self.looks = min(4 * self.looks, self.most)
            self.score += self.FAILED
            if self.score >= self.ENOUGH:
                self.looks = 0
                self._rest = self._pause
                self._pause = min(2 * self._pause, self.LONGEST_PAUSE)
                self._trying = False


class VcpuDoorbell:
    """The one eventfd on which a vCPU sleeps, for all its channels to all ioreq servers and its INTR pin."""

    __slots__ = ("_poll", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def ring(self) -> None:
        """Wake the vCPU's thread; from any thread."""
        ring_doorbell(self.fd)

    def wait(self, timeout_ms: int | None = None) -> bool:
        """Sleep until the bell is rung, then silence it; False after `timeout_ms` without."""
        if not self._poll.poll(timeout_ms):
            return False
        drain_doorbell(self.fd)
        return True

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

    def __init__(self, slot: Slot, send: SendPort, receive: ReceivePort, doorbell: VcpuDoorbell) -> None:
        self.slot = slot
        self._words = slot.words
        self._octets = slot.octets
        self._send = send
        self.receive = receive
        self._doorbell = doorbell
        self._awake = Patience()
        self._waking = Patience()
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
            return ONES[size]
        words = self._words
        if words[3] & _IDLE_MASK != self.vp_eport:
            raise self._broken("the slot is not idle, or its port was changed", request)
        flags = FLAG_READ if request.read else 0
        if request.data_is_ptr:
            flags |= FLAG_DATA_IS_PTR
        if request.descending:
            flags |= FLAG_DESCENDING
        address = request.address
        count = request.count
        words[0] = address
        words[1] = request.data
        words[2] = count | size << SIZE_SHIFT
        word3 = self.vp_eport | flags << FLAGS_SHIFT | request.type << TYPE_SHIFT
        if _ORDERS:
            fence.order()
        words[3] = word3 | _READY_IN_WORD3
        patience = self._waking if self._send.send() else self._awake

        octets = self._octets
        done = flags | STATE_IORESP_READY
        if fence.poll(octets, STATE_OFFSET, 0xFF, done, patience.looks):
            if patience.score:
                patience.found()
        elif not self._await_response(done, request, patience):
            words[3] = self.vp_eport
            return ONES[size]
        if _ORDERS:
            fence.order()
        word2 = words[2]
        if words[3] != word3 | _DONE_IN_WORD3 or words[0] != address or word2 >> SIZE_SHIFT != size:
            raise self._broken("the server changed the request", request)
        completed = word2 & _LOW32
        if completed != count:
            if not 0 < completed < count:
                raise self._broken("the server changed the repetitions", request)
            request.count = completed
        data: int = words[1] & ONES[size]
        octets[STATE_OFFSET] = flags | STATE_NONE
        return data

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


class BufferedChannel:
    """The device model's end of the buffered ring: its port, its consumer, and who empties it.

    `drain` is called with the ring not empty, takes what it finds, at most the 511 of a full ring, and never
    awaits. While any vCPU's task polls it looks at the ring too, so the ring's own port is then masked.
    """

    def __init__(self, ring: RingConsumer, receive: ReceivePort, drain: Callable[[], None]) -> None:
        self.ring = ring
        self.receive = receive
        self.drain = drain
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
        while True:
            self.watch()
            try:
                while self.ring.waiting():
                    self.drain()
                    await trio.lowlevel.checkpoint()  # at most a ring a pass, or a flood starves the timers
            finally:
                more = self.unwatch()
            if more:
                continue
            await trio.lowlevel.wait_readable(self.receive.doorbell)
            self.receive.drain_doorbell()


class VcpuChannel:
    """The device model's end: `await next_request()`, then `respond`. One task a channel.

    What is read from the slot is copied once and checked on the copy. A request that cannot be is logged and
    answered with ones here; `refused` counts them.
    """

    __slots__ = (
        "_asleep",
        "_buffered",
        "_octets",
        "_patience",
        "_round",
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
        self.refused = 0
        self.request = Request()

    async def next_request(self) -> Request:
        """Wait for the vCPU's next request. The object returned is the same every time.

        It is a checkpoint now and then, not always: a busy guest's requests are answered without a
        scheduler's pass each, but every `TURN` all other tasks get theirs.
        """
        octets = self._octets
        patience = self._patience
        looked = 0
        self._turn -= LOOKS_A_REQUEST
        if self._turn <= 0:
            self._turn = TURN
            await trio.lowlevel.checkpoint()
        if self._asleep:
            self._wake()
        while True:
            if (
                fence.poll(octets, STATE_OFFSET, STATE_MASK, STATE_IOREQ_READY, self._round)
                and self._accept()
            ):
                if patience.score:
                    patience.found()
                return self.request
            looked += LOOKS_A_ROUND
            buffered = self._buffered
            if buffered is not None and buffered.ring.waiting():
                buffered.drain()
                looked = 0
                self._turn -= LOOKS_A_DRAIN
            if looked >= patience.looks:
                await self._sleep()
                looked = 0
            else:
                self._turn -= LOOKS_A_ROUND
                if self._turn <= 0:
                    self._turn = TURN
                    await trio.lowlevel.checkpoint()

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
            and (type_ != TYPE_INTACK or (request.read and count == 1 and not request.data_is_ptr))
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

    async def _sleep(self) -> None:
        """Unmask, look once more, and wait for the doorbell."""
        self._asleep = True
        more = self._buffered is not None and self._buffered.unwatch()
        self.receive.unmask()
        if more or self._octets[STATE_OFFSET] & STATE_MASK == STATE_IOREQ_READY:
            await trio.lowlevel.checkpoint()
        else:
            before = time.monotonic_ns()
            await trio.lowlevel.wait_readable(self.receive.doorbell)
            self._patience.slept(time.monotonic_ns() - before)
            self.receive.drain_doorbell()
        self._turn = TURN
        self._wake()
