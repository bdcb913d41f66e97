"""A full memory fence: what was stored before is visible before anything after is loaded.

x86 lets a load overtake an earlier store to another address (SDM vol. 3, 9.2.3.4), so "say that I sleep, then
look once more for work" loses a wake-up without one. Compiled, this is C11's sequentially consistent fence;
uncompiled, an uncontended lock, whose locked instruction is one as well.
"""

import platform
import threading
from typing import Final

import cython

_LOCK = threading.Lock()
_acquire = _LOCK.acquire
_release = _LOCK.release  # bound once: half the price of `with`

WEAKLY_ORDERED: Final = platform.machine() not in {"x86_64", "AMD64", "i386", "i686"}
"""Whether this host reorders two loads or two stores. x86 does not, and saves those fences."""


def full() -> None:
    """Let no load after this overtake a store before it."""
    if cython.compiled:
        hardware_fence()  # type: ignore[name-defined]  # noqa: F821  (declared in fence.pxd)
    else:
        _acquire()
        _release()
