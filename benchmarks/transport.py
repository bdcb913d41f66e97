"""Round trips between two processes: bare eventfds, and ioreq requests without a processor."""

import os
import signal
import statistics
import time
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from ioreq.buffered import RingConsumer
from ioreq.core import CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import TYPE_PIO
from ioreq.request import Request
from ioreq.server import ServerEndpoint

BATCH: Final = 1000


def eventfd_ping_pong(seconds: float) -> float:
    """Return the median round trip in µs of a doorbell and its answer, both sides asleep in read."""
    ask, answer = os.eventfd(0), os.eventfd(0)

    def child() -> None:
        while True:
            os.eventfd_read(ask)
            os.eventfd_write(answer, 1)

    def once() -> None:
        os.eventfd_write(ask, 1)
        os.eventfd_read(answer)

    try:
        return _beside(child, once, seconds, batch=BATCH // 10)
    finally:
        os.close(ask)
        os.close(answer)


def ioreq_round_trip(seconds: float) -> float:
    """Return the median round trip in µs of a synchronous request: polling, shared memory, trio's loop."""
    doorbell = VcpuDoorbell(make_doorbell())
    core = CoreEndpoint([doorbell])
    channel = core.channels[0]
    request = Request(TYPE_PIO, 0x3FD, size=1, read=True)

    async def serve() -> None:
        end = ServerEndpoint([os.dup(fd) for fd in core.descriptors], [doorbell.fd], _nothing_posted)
        vcpu = end.channels[0]

        def answer(asked: Request) -> bool:
            vcpu.respond(asked.address)
            return True

        await vcpu.serve(answer, trio.sleep_forever)  # which is not come to

    try:
        return _beside(lambda: trio.run(serve), lambda: channel.transact(request), seconds, batch=BATCH)
    finally:
        core.close()
        os.close(doorbell.fd)


def _nothing_posted(_: RingConsumer) -> None:
    """Leave the ring: nobody posts here."""


def _beside(child: Callable[[], None], once: Callable[[], object], seconds: float, batch: int) -> float:
    """Run `child` in a process of its own and time `once` here; the median over batches, in µs."""
    pid = os.fork()
    if pid == 0:
        _only(child)
    try:
        for _ in range(batch):
            once()
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            before = time.perf_counter_ns()
            for _ in range(batch):
                once()
            times.append((time.perf_counter_ns() - before) / batch / 1000)
        return statistics.median(times)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _only(child: Callable[[], None]) -> NoReturn:
    try:
        child()
    finally:
        os._exit(1)
