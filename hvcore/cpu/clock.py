"""The host's clock, which the time-stamp counter and the processor's statistics go by."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import u64
    from cython.cimports.posix.time import CLOCK_MONOTONIC, clock_gettime, timespec
else:
    import time


def now():
    """The host's monotonic clock in nanoseconds."""
    if cython.compiled:
        time_now: timespec
        clock_gettime(CLOCK_MONOTONIC, cython.address(time_now))
        return cython.cast(u64, time_now.tv_sec) * 1_000_000_000 + time_now.tv_nsec
    else:
        return time.monotonic_ns()
