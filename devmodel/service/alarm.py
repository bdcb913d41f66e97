# cython: annotation_typing=False
"""What the pacer ticks by: one alarm, set to a guest time, which may be set anew at any time.

trio's own timer is a timeout of epoll, in whole milliseconds rounded up, and its end is a cancellation, which costs
two passes of the scheduler. A guest's timer ticks a thousand times a second, so where trio's clock runs by itself the
alarm is a timerfd, which costs none; under a clock of a test, which jumps, it is trio's.
"""

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import cython
import trio

from devmodel.board.clock import NS_PER_S
from devmodel.service.clock import TrioClock
from ioreq.standby import listen

NEVER: Final = float("inf")
_UNSET: Final = -1
_TFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1


class Alarm(Protocol):
    """Rings at a guest time in ns."""

    def set(self, deadline: int | None) -> None:
        """Ring at `deadline`, at once if that has passed; None: never."""
        ...

    async def keep(self, ring: Callable[[], None]) -> None:
        """Call `ring`, which sets it anew, at once and then whenever it rings. Cancel to stop."""
        ...


@contextlib.contextmanager
def open_alarm(clock: TrioClock) -> Iterator[Alarm]:
    """Open the alarm that suits the clock of the running trio loop."""
    host_runs_it = trio.lowlevel.current_clock().deadline_to_sleep_time(trio.current_time() + 1) <= 1
    if not host_runs_it:
        yield TrioAlarm(clock)
        return
    fd = _call("timerfd_create", time.CLOCK_MONOTONIC, _TFD_FLAGS)
    try:
        yield TimerAlarm(clock, fd)
    finally:
        os.close(fd)


class TrioAlarm:
    """An alarm by trio's deadlines: exact under any clock."""

    def __init__(self, clock: TrioClock) -> None:
        self._clock = clock
        self._scope = trio.CancelScope()

    def set(self, deadline: int | None) -> None:
        """Move the deadline."""
        self._scope.deadline = NEVER if deadline is None else self._clock.trio_time(deadline)

    async def keep(self, ring: Callable[[], None]) -> None:
        """Ring, and sleep until the deadline, for ever."""
        while True:
            ring()
            with self._scope:
                await trio.sleep_forever()
            self._scope = trio.CancelScope()


class TimerAlarm:
    """An alarm by a timerfd of the host (timerfd_create(2)), which is precise to microseconds."""

    def __init__(self, clock: TrioClock, fd: int) -> None:
        self._fd = fd
        self._deadline: int | None = _UNSET
        before = clock.now()
        self._began = time.monotonic_ns() - before
        """When guest time began, by the host's clock, or a moment later: it never rings early."""

    def set(self, deadline: int | None) -> None:
        """Set the timer, which also makes it forget that it has rung."""
        if deadline != self._deadline:
            self._deadline = deadline
            _arm(self._fd, 0 if deadline is None else max(self._began + deadline, 1))

    async def keep(self, ring: Callable[[], None]) -> None:
        """Ring, and again whenever the timer has expired."""

        def expired() -> bool:
            self._deadline = _UNSET
            ring()
            return False

        with listen(self._fd) as bell:
            ring()
            await bell.wait(expired)


def _arm(fd: int, ns: int) -> None:
    """Have a timerfd expire at a time of CLOCK_MONOTONIC, at once if that has passed; 0 stops it."""
    if cython.compiled:  # by ctypes it takes five times as long, and a guest's timer does it twice a tick
        error = set_timer(fd, ns)  # type: ignore[name-defined]  # noqa: F821  (declared in alarm.pxd)
        if error:
            raise OSError(error, os.strerror(error))
    else:
        at = _Itimerspec(_Timespec(), _Timespec(*divmod(ns, NS_PER_S)))
        _call("timerfd_settime", fd, _TFD_TIMER_ABSTIME, ctypes.byref(at), None)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc: Final = ctypes.CDLL(None, use_errno=True)  # the os module has timerfds from Python 3.13 on


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
