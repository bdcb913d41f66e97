"""Which processor a vCPU's thread runs on: not the one of the device model whose answer it polls for.

A host with more processes to run than processors likes to put a core and its server on one of them, since they wake
each other. There each polls on the very processor that the other waits for, so that neither can: an access takes a
sleep and a wake on both sides, several times what it takes two that run at once, and it leaves the other processors to
whoever else is there. The scheduler cannot know better. So a vCPU's thread that polls in vain sees where its server
runs, and steps aside.
"""

import os
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Final

HOLD: Final = 0.25
"""Seconds that a thread keeps off a processor; then it may run everywhere again."""
_PROCESSOR_FIELD: Final = 39
"""Where /proc/PID/stat names the processor that a task ran on last, counted from 1 (proc_pid_stat(5)) …"""
_AFTER_NAME: Final = 3
"""… and the first field behind the name of its program, which may have blanks and brackets."""


class Placement:
    """Where one thread may run, as sched_setaffinity(2) says it."""

    __slots__ = ("_allowed", "_lock", "_others", "_until")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed: set[int] | None = None
        """Where the thread might run before it kept off a processor; None while it keeps off none."""
        self._others: set[int] = set()
        """Where it may run meanwhile."""
        self._until = 0.0

    def step_aside(self, pid: int) -> bool:
        """Have the calling thread leave the processor of process `pid`, for `HOLD` seconds; whether it has.

        It has not where the process runs on another one, or cannot be seen, and where there is no other processor.
        The same thread must call each time.
        """
        processor = _processor("thread-self")
        if processor is None or processor != _processor(str(pid)):
            return False
        with self._lock:
            first = self._allowed is None
            allowed = os.sched_getaffinity(0) if self._allowed is None else self._allowed
            others = allowed - {processor}
            try:
                os.sched_setaffinity(0, others)
            except OSError:  # there is no other, or none that is ours
                return False
            self._allowed, self._others = allowed, others
            self._until = time.monotonic() + HOLD
        return not first or self._will_return()

    def _will_return(self) -> bool:
        """Have a thread bring the calling one back; whether that can be. If not, it is back already."""
        back = partial(self._return, threading.current_thread())
        try:
            threading.Thread(target=back, name="placement", daemon=True).start()
        except RuntimeError:  # the host has no more threads
            self._until = 0.0
            back()
            return False
        return True

    def _return(self, thread: threading.Thread) -> None:
        """Let `thread` run everywhere again as soon as it has kept off for long enough."""
        while (left := self._left(thread)) > 0:
            time.sleep(left)

    def _left(self, thread: threading.Thread) -> float:
        """Return how many seconds `thread` is still to keep off; if none, end that, unless somebody else has."""
        with self._lock:
            left = self._until - time.monotonic()
            if left > 0:
                return left
            allowed, self._allowed = self._allowed, None
            if allowed is not None and thread.native_id is not None:
                with suppress(OSError):  # the thread has ended
                    if os.sched_getaffinity(thread.native_id) == self._others:
                        os.sched_setaffinity(thread.native_id, allowed)
        return 0.0


def _processor(task: str) -> int | None:
    """Return the processor that a process of /proc ran on last, its main thread; None if that cannot be seen."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{task}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[_PROCESSOR_FIELD - _AFTER_NAME])
    return None
