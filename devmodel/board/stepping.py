"""Time that somebody steps: each timed chip is ticked when it is due, in order, and the clock stands still between."""

from collections.abc import Iterator, Sequence
from typing import Final

from devmodel.board.clock import ManualClock
from devmodel.board.device import Timed

MOST_IDLE: Final = 20_000
"""Ticks in a row that let no time pass; a copy of all of a guest's memory by fw_cfg takes most."""
BATCH: Final = 1000
"""Ticks between two pauses of `stepped`."""


def next_deadline(timed: Sequence[Timed]) -> int | None:
    """Return when the first of the chips is due, in ns; None: none of them ever is."""
    return min((due for chip in timed if (due := chip.deadline()) is not None), default=None)


def step(clock: ManualClock, timed: Sequence[Timed], end: int) -> None:
    """Let time pass until `end` in ns, as `stepped` does, without a pause."""
    for _ in stepped(clock, timed, end):
        pass


def stepped(clock: ManualClock, timed: Sequence[Timed], end: int) -> Iterator[None]:
    """Let time pass until `end` in ns, and pause now and then, for whoever has other things to do meanwhile.

    Chips that are due already are ticked even where `end` is past; time never runs backwards.

    Raises:
        AssertionError: a chip does not move its deadline; in a server it would use up all of the time.

    """
    idle = ticks = 0
    end = max(end, clock.now())
    while (due := next_deadline(timed)) is not None and due <= end:
        idle = idle + 1 if due <= clock.now() else 0
        if idle > MOST_IDLE:
            raise AssertionError(
                f"a chip is still due at {due} ns, however often it is ticked at {clock.now()} ns"
            )
        clock.time = max(due, clock.time)
        for chip in timed:
            deadline = chip.deadline()
            if deadline is not None and deadline <= clock.now():
                chip.tick()
        ticks += 1
        if not ticks % BATCH:
            yield
    clock.time = end
