# cython: annotation_typing=False
"""Guest time from trio's clock.

Under trio's `autojump_clock` an hour of guest time takes milliseconds; a `trio.abc.Clock` that follows the
guest's instruction count makes it deterministic.
"""

import math
import time
from collections.abc import Callable

import trio

from devmodel.board.clock import NS_PER_S


class TrioClock:
    """The clock of the running trio loop, counted from `origin` (trio's seconds)."""

    __slots__ = ("_began", "_hosts", "_seconds", "origin")

    def __init__(self, seconds: Callable[[], float], origin: float, *, hosts: bool = False) -> None:
        """`seconds` is trio's clock; `hosts` says that the host runs it, so that time may be read there."""
        self._seconds = seconds
        self.origin = origin
        self._hosts = hosts
        self._began = time.perf_counter_ns() - int((seconds() - origin) * NS_PER_S)

    @classmethod
    def start(cls, at: int = 0) -> "TrioClock":
        """Start counting now from `at` ns (a restored machine's is not 0). Call it inside `trio.run`."""
        clock = trio.lowlevel.current_clock()
        return cls(clock.current_time, clock.current_time() - at / NS_PER_S, hosts=_is_the_hosts(clock))

    def now(self) -> int:
        """Return guest time in ns."""
        if self._hosts:  # chips ask ten times a tick, and trio's way there is three calls
            return time.perf_counter_ns() - self._began
        return int((self._seconds() - self.origin) * NS_PER_S)

    def trio_time(self, deadline: int) -> float:
        """Return the trio time for `trio.sleep_until` at which `now()` is `deadline` at the earliest.

        Without the care for the last bit a clock that only moves when everyone sleeps (autojump) would
        stop a nanosecond short of the deadline for ever.
        """
        when = self.origin + deadline / NS_PER_S
        while int((when - self.origin) * NS_PER_S) < deadline:
            when = math.nextafter(when, math.inf)
        return when


def _is_the_hosts(clock: trio.abc.Clock) -> bool:
    """Whether this is trio's own clock, time.perf_counter and an offset; trio does not publish its class."""
    return type(clock).__name__ == "SystemClock"
