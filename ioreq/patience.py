# cython: annotation_typing=False
"""How long to poll before sleeping, learned from what polls and sleeps have cost so far."""

import os
from collections.abc import Callable
from typing import Final

LOOKS_A_MICROSECOND: Final = 16
WINDOW: Final = 200
"""Microseconds of polling before sleep, at most: what a sleep and a wake cost at worst."""

MOST: Final = WINDOW * LOOKS_A_MICROSECOND
FIRST: Final = 400
"""Looks that are left to who has slept long."""
SHORT_SLEEP_NS: Final = 500_000
FAILED: Final = 2
"""How dear a poll that failed is for each ns: it has kept a processor from others besides."""
ENOUGH_NS: Final = 16 * FAILED * WINDOW * 1000
"""What polls may lose before there are no more."""
FIRST_PAUSE: Final = 16
"""Sleeps before polling is tried again, at first …"""
LONGEST_PAUSE: Final = 4096
"""… and at last."""

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

    Sleep and wake cost up to tens of microseconds, so a wait that a little polling would have covered makes for
    more of it, and a long one for less, so that an idle guest costs nothing (KVM's halt_poll_ns does so).

    On a busy host polling is wrong even where waits are short: the other side may wait for the very processor
    that we poll on, or sleep and wake may be so cheap that a processor is better left to others. That shows in what
    is gained and lost: a poll that succeeds saves a sleep and a wake, whose price is the median of the short sleeps
    of late; one that fails has cost as long as it took. When it does not pay we sleep at once, and try again ever more
    rarely. Who can `step_aside` from the other side's processor does so first, and says whether he has.
    """

    __slots__ = ("_pause", "_rest", "_step_aside", "_trying", "looks", "most", "price", "score")

    def __init__(self, step_aside: Callable[[], bool] = bool) -> None:
        self._step_aside = step_aside
        self.most = _window * LOOKS_A_MICROSECOND if can_poll() else 0
        self.looks = self.most
        self.score = 0
        """What polls have lost, in ns; 0 while they gain. Whoever's poll succeeds says so (`found`) if it is not."""
        self.price = 50_000
        """Of a sleep and a wake, in ns, as far as we know."""
        self._trying = False
        self._pause = FIRST_PAUSE
        self._rest = 0

    def found(self) -> None:
        """Learn from a poll that succeeded."""
        self.score -= self.price
        if self.score <= 0:
            self.score = 0
            if self._trying:
                self._trying = False
                self._pause = FIRST_PAUSE

    def slept(self, ns: int) -> None:
        """Learn from a sleep of `ns` nanoseconds, after `looks` looks."""
        if self.most == 0:
            return
        if ns >= SHORT_SLEEP_NS:
            self.looks = max(self.looks // 2, min(FIRST, self.looks))
            return
        self.price += self.price // 16 if ns > self.price else -(self.price // 16)
        if self.looks == 0:
            self._rest -= 1
            if self._rest <= 0:
                self._step_aside()
                self._try(ENOUGH_NS - 1)
        else:
            self.looks = min(4 * self.looks, self.most)
            self.score += FAILED * self.looks * 1000 // LOOKS_A_MICROSECOND
            if self.score < ENOUGH_NS:
                return
            if not self._trying and self._step_aside():
                self._try(ENOUGH_NS // 2)
            else:
                self.looks = 0
                self._rest = self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._trying = False

    def _try(self, score: int) -> None:
        self._trying = True
        self.looks = self.most
        self.score = score
