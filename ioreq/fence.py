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
"""Whether this host's processor reorders two loads or two stores. x86 does not."""
ORDERS: Final = WEAKLY_ORDERED or cython.compiled
"""Whether `order` does anything: for those who would rather not call it. A C compiler reorders, too."""


def full() -> None:
    """Let no load after this overtake a store before it."""
    if cython.compiled:
        hardware_fence()  # type: ignore[name-defined]  # noqa: F821  (declared in fence.pxd)
    else:
        _acquire()
        _release()


def order() -> None:
    """Let no load overtake another, and no store another store."""
    if cython.compiled:
        hardware_order()  # type: ignore[name-defined]  # noqa: F821  (declared in fence.pxd)
    elif WEAKLY_ORDERED:
        full()


def poll(octets, offset, mask, value, looks):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  (fence.pxd has them)
    """Look up to `looks` times whether a byte of shared memory is `value` under `mask`.

    A look takes about 50 ns either way: compiled, the processor pauses between two, and other threads run.
    """
    if cython.compiled:
        with cython.nogil:
            found = poll_byte(cython.address(octets[offset]), mask, value, looks)  # type: ignore[name-defined]  # noqa: F821
        return found  # noqa: RET504
    else:  # noqa: RET505 - Cython must see that one of the two is left out
        for _ in range(looks):
            if octets[offset] & mask == value:
                return True
        return False


def replace(words, index, value, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  (fence.pxd has them)
    """Put `other` into a word of shared memory if it is `value`, in one step; whether it was.

    Uncompiled there is no such step, and nothing is done.
    """
    if cython.compiled:
        return replace_word(cython.address(words[index]), value, other)  # type: ignore[name-defined]  # noqa: F821
    else:  # noqa: RET505 - Cython must see that one of the two is left out
        return False
