# cython: annotation_typing=False
"""How long to poll before sleeping, learned from what polls and sleeps have cost so far."""

import os
from typing import Final

LOOKS_A_MICROSECOND: Final = 16
WINDOW: Final = 200
"""Microseconds of polling before sleep, at most: what a sleep and a wake cost at worst."""

_window = WINDOW


def set_window(microseconds: int) -> None:
    """Let channels that are made from now on poll so long at most; 0: not at all."""
    global _window  # noqa: PLW0603  (a setting of the process)
    _window = microseconds


def can_poll() -> bool:
    """Whether polling makes sense: on one processor it only keeps the other side from running."""
    return _window > 0 and len(os.sched_getaffinity(0)) > 1


class Expected:
    """What other tasks of this process wait for, and who polls for requests would keep from coming.

    `timers` are due within microseconds: while there are any, who polls lets others run after every round, not after
    every turn. `answers` are a thread's of this process, which wants the interpreter, or another process's, which wants
    the processor: while there are any, who finds no request sleeps at once.
    """

    __slots__ = ("answers", "timers")

    def __init__(self) -> None:
        self.answers = 0
        self.timers = 0


expected: Final = Expected()


class Patience:
    """How many looks are worth it before sleeping.

    Sleep and wake cost tens of microseconds, so a wait that a little polling would have covered makes for
    more of it, and a long one for less, so that an idle guest costs nothing (KVM's halt_poll_ns does so).

    On a busy host polling is wrong even where waits are short: the other side may wait for the very processor
    that we poll on. That shows only in polls that fail. A failed one costs about twice what a good one saves,
    and that is how they are scored; when it does not pay we sleep at once, and try again ever more rarely.
    """

    FIRST: Final = 400
    MOST: Final = WINDOW * LOOKS_A_MICROSECOND
    SHORT_SLEEP_NS: Final = 500_000
    FAILED: Final = 2
    ENOUGH: Final = 32
    FIRST_PAUSE: Final = 16
    LONGEST_PAUSE: Final = 4096

    __slots__ = ("_pause", "_rest", "_trying", "looks", "most", "score")

    def __init__(self) -> None:
        self.most = _window * LOOKS_A_MICROSECOND if can_poll() else 0
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
