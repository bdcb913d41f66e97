"""Guest time from trio's clock.

Under trio's `autojump_clock` an hour of guest time takes milliseconds; a `trio.abc.Clock` that follows the
guest's instruction count makes it deterministic.
"""

import math
from collections.abc import Callable
from typing import Self

import attrs
import trio

from devmodel.board.clock import NS_PER_S


@attrs.define
class TrioClock:
    """The clock of the running trio loop, counted from `origin` (trio's seconds)."""

    seconds: Callable[[], float]
    origin: float

    @classmethod
    def start(cls, at: int = 0) -> Self:
        """Start counting now from `at` ns (a restored machine's is not 0). Call it inside `trio.run`."""
        clock = trio.lowlevel.current_clock()
        return cls(clock.current_time, clock.current_time() - at / NS_PER_S)

    def now(self) -> int:
        """Return guest time in ns."""
        return int((self.seconds() - self.origin) * 1e9)

    def trio_time(self, deadline: int) -> float:
        """Return the trio time for `trio.sleep_until` at which `now()` is `deadline` at the earliest.

        Without the care for the last bit a clock that only moves when everyone sleeps (autojump) would
        stop a nanosecond short of the deadline for ever.
        """
        when = self.origin + deadline / NS_PER_S
        while int((when - self.origin) * 1e9) < deadline:
            when = math.nextafter(when, math.inf)
        return when
