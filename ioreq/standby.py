# cython: annotation_typing=False
"""Sleeping on a doorbell without a pass of trio's scheduler for each time that it rings.

A doorbell that rings is most often answered in microseconds, without anybody else having to run: a request is
performed, the ring is emptied, a timer ticks. To be woken for that by trio costs several times as much as the work:
epoll is told anew of the descriptor, the task is put on the queue, the queue is run, and epoll is asked again. So
where trio is about to sleep (`before_io_wait` of its instruments), we sleep in its stead, on the doorbells and on
trio's own epoll; what a bell announces is looked for there and then, and only what is more than a look wakes a task.
"""

import contextlib
import errno
import math
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Final

import cython
import outcome
import structlog
import trio

from ioreq.evtchn import drain_doorbell

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_CheckSignals
    from cython.cimports.ioreq.evtchn import wait_for_rings

log = structlog.get_logger()

CUSHION: Final = 1.0
"""Seconds, more than anybody waits for all tasks to be blocked."""
PRECISION: Final = 0.0005
"""Seconds that a deadline may still be ahead when its time is up."""

Look = Callable[[], bool]
"""Looks for what a bell has announced; whether the task that waits is to go on. Never awaits."""


class Bell:
    """A doorbell, or a timerfd, that one task sleeps on by trio alone: the way that is always there."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    async def wait(self, look: Look) -> None:
        """Sleep until `look`, called each time that it has rung, says that it is enough.

        `look` runs as trio's own code does, outside any task: it may set events and send without waiting. What it
        raises is raised here.
        """
        while True:
            await trio.lowlevel.wait_readable(self.fd)
            drain_doorbell(self.fd)
            if look():
                return


def stands_by() -> bool:
    """Whether somebody sleeps in trio's stead in this run: what is `unheard` is found then."""
    return _of_this_run() is not None


@contextlib.contextmanager
def listen(fd: int, unheard: Look | None = None) -> Iterator[Bell]:
    """Listen to a doorbell, for the length of the block; what has rung before counts for nothing.

    `unheard` tells of what the bell has not been rung for. It is asked before every sleep, and after it before
    anything else is done, if somebody `stands_by`; what there is then is as good as a ring.
    """
    drain_doorbell(fd)
    standby = _of_this_run()
    if standby is None:
        yield Bell(fd)
        return
    bell = standby.add(fd, unheard)
    try:
        yield bell
    finally:
        standby.remove(bell)


class _StandbyBell(Bell):
    """One that is slept on in trio's stead."""

    __slots__ = ("_look", "_rung", "_task")

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._task: trio.lowlevel.Task | None = None
        self._look: Look = bool
        self._rung = False

    async def wait(self, look: Look) -> None:
        if self._rung:
            self._rung = False
            if look():
                await trio.lowlevel.checkpoint()
                return

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._task, self._look = trio.lowlevel.current_task(), look
        await trio.lowlevel.wait_task_rescheduled(abort)

    def ring(self) -> None:
        """Look, or remember it until somebody waits."""
        task = self._task
        if task is None:
            self._rung = True
            return
        result: outcome.Outcome[None]
        try:
            if not self._look():
                return
            result = outcome.Value(None)
        except BaseException as error:  # noqa: BLE001  (it is the task's)
            result = outcome.Error(error)
        self._task = None
        trio.lowlevel.reschedule(task, result)


class Standby(trio.abc.Instrument):
    """Sleeps for one run of trio."""

    def __init__(self, epoll: int) -> None:
        """`epoll` is the descriptor that trio itself sleeps on."""
        self._trios = epoll
        self._epoll = select.epoll()
        self._fd = self._epoll.fileno()
        self._epoll.register(epoll, select.EPOLLIN)
        self._bells: dict[int, _StandbyBell] = {}
        self._unheard: list[tuple[Look, _StandbyBell]] = []
        self._token = trio.lowlevel.current_trio_token()
        self._scheduled = False

    def add(self, fd: int, unheard: Look | None = None) -> Bell:
        """Listen to a doorbell. Each ring is an edge, so that nothing has to be read to silence it."""
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        bell = self._bells[fd] = _StandbyBell(fd)
        if unheard is not None:
            self._unheard.append((unheard, bell))
        return bell

    def remove(self, bell: Bell) -> None:
        """Listen no longer."""
        del self._bells[bell.fd]
        self._unheard = [(unheard, other) for unheard, other in self._unheard if other is not bell]
        with contextlib.suppress(OSError):  # it has been closed already
            self._epoll.unregister(bell.fd)

    def task_scheduled(self, _task: trio.lowlevel.Task) -> None:
        """Take note that trio has something to do."""
        self._scheduled = True

    def before_io_wait(self, timeout: float) -> None:
        """Sleep in trio's stead, up to `timeout` seconds, until it has something to do."""
        if not self._bells:
            return
        self._scheduled = False
        bells, trios = self._bells, self._trios
        end = time.perf_counter() + timeout
        left = timeout
        rang = False
        while True:
            awake = False
            rang |= self._hear()
            rung = _rung(self._epoll, self._fd, 0 if self._scheduled else left)
            rang |= self._hear()
            for fd in rung:
                if fd == trios:
                    awake = True
                elif (bell := bells.get(fd)) is not None:
                    bell.ring()
                    rang = True
            if awake and not rang:
                return  # it will not sleep
            left = end - time.perf_counter()
            if awake or self._scheduled or left <= 0:
                break
        if timeout > 0 and (rang or not _is_a_cushion(timeout)):
            # It would sleep now, since it believes that nothing has happened.
            self._token.run_sync_soon(_nothing, idempotent=True)

    def _hear(self) -> bool:
        """Look for what no bell has been rung for; whether there was something."""
        heard = False
        for unheard, bell in self._unheard:
            if unheard():
                bell.ring()
                heard = True
        return heard


def _rung(epoll: select.epoll, fd: int, seconds: float) -> list[int]:
    """Sleep up to `seconds` on an epoll, whose descriptor is `fd`; return the descriptors that have rung."""
    if cython.compiled:  # by the select module a round trip takes half a microsecond more
        timeout_ms = math.ceil(seconds * 1000)
        with cython.nogil:
            count = wait_for_rings(fd, fds, timeout_ms)  # type: ignore[name-defined]  # noqa: F821  (see standby.pxd)
        if count < 0:
            PyErr_CheckSignals()
            if count != -errno.EINTR:
                raise OSError(-count, os.strerror(-count))
        return [fds[n] for n in range(count)]  # type: ignore[name-defined]  # noqa: F821
    else:  # noqa: RET505 - Cython must see that one of the two is left out
        return [rung for rung, _ in epoll.poll(seconds)]


def _is_a_cushion(timeout: float) -> bool:
    """Whether trio has slept so long for `wait_all_tasks_blocked`, and not for a deadline."""
    return timeout < CUSHION and trio.lowlevel.current_statistics().seconds_to_next_deadline > PRECISION


_standby: Final[trio.lowlevel.RunVar[Standby | None]] = trio.lowlevel.RunVar("standby")


def _of_this_run() -> Standby | None:
    """Return who sleeps in trio's stead; None where that cannot be."""
    try:
        return _standby.get()
    except LookupError:
        epoll = _trios_epoll() if _host_runs_the_clock() else None
        standby = None if epoll is None else Standby(epoll)
        if standby is None:
            log.debug("standby.none")
        else:
            trio.lowlevel.add_instrument(standby)
        _standby.set(standby)
        return standby


def _host_runs_the_clock() -> bool:
    """Whether time passes by itself; the clock of a test jumps as soon as all are asleep."""
    return trio.lowlevel.current_clock().deadline_to_sleep_time(trio.current_time() + 1) <= 1


def _trios_epoll() -> int | None:
    """Return the descriptor that trio sleeps on, which it does not publish; None if it is not where it was."""
    with contextlib.suppress(AttributeError, ImportError):
        from trio._core._run import GLOBAL_RUN_CONTEXT

        return int(GLOBAL_RUN_CONTEXT.runner.io_manager._epoll.fileno())  # noqa: SLF001
    return None


def _nothing() -> None:
    """Have trio look whether there is something to do."""
