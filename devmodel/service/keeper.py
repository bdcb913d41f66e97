"""The keeper: leaves the board's state with the core as the server goes on, for whoever comes after it.

A server that is told to leave hands its state over whole (`Keeper.save`). One that is killed leaves the state that it
saved last, no longer than `PERIOD` before, and the ring with what the guest has posted since: a successor performs that
again. Saving takes at most one part in `COST` of the time.
"""

from collections.abc import Mapping
from time import monotonic_ns
from typing import Any, Final, Protocol, runtime_checkable

import structlog

from devmodel.board import saved
from devmodel.board.clock import Clock
from ioreq.buffered import RingConsumer
from ioreq.layout import BUFFERED_SLOTS
from ioreq.state_area import HALF, StateArea

PERIOD: Final = 100_000_000
"""Nanoseconds, at most, from a change to when it is saved."""
COST: Final = 100
"""The time between two that are saved is at least so many times what the first took."""
SLOTS: Final = BUFFERED_SLOTS // 2
"""Posted writes, at most if the cost allows it, from one to the next: older ones are no longer in the ring."""

log = structlog.get_logger()


@runtime_checkable
class Saves(Protocol):
    """A board whose state can be saved, and which goes on from a saved one."""

    def states(self) -> Mapping[str, Any]:
        """Return the records of all chips, by name, as they are now."""
        ...

    def hold_memory(self, held: bool) -> None:
        """Leave memory that outlives the board as it is, while what has been done to it before is done again."""
        ...

    def recover(self, *, complete: bool) -> None:
        """Make up for what is not in a state that is older than the guest; not `complete`: writes are missing too."""
        ...

    def remind(self) -> None:
        """Ask the guest again for what it may have missed, when all that it had posted is performed."""
        ...


class Keeper:
    """Saves one board into one area. It is timed like a chip, by the pacer.

    `server` is the number of the ioreq server whose ring the board's posted writes come from. Until `begin` the area
    is the predecessor's.
    """

    def __init__(self, board: Saves, clock: Clock, area: StateArea, ring: RingConsumer, server: int) -> None:
        self._board = board
        self._clock = clock
        self._area = area
        self._ring = ring
        self._server = server
        self._begun = False
        self._changed = False
        self._soon = False
        self._due = 0
        """In guest time: when a change is saved at the latest."""
        self._allowed = 0
        """And at the earliest, but for a hand-over."""
        self._performed = 0
        self._too_long = False

    def begin(self) -> None:
        """Take the predecessor's place: the server is enabled."""
        self._begun = True
        self.save()

    def changed(self) -> None:
        """Take note that a chip may have changed, and save if it is time."""
        if not self._begun:
            return
        self._changed = True
        if (self._soon or self._ring.taken - self._performed >= SLOTS) and self._clock.now() >= self._allowed:
            self.save()

    def soon(self) -> None:
        """Take note of a change that is not in the ring, so that only a saved state can tell of it."""
        self._soon = True

    def deadline(self) -> int | None:
        """Return when to save what has changed, in ns of guest time."""
        return self._due if self._changed else None

    def tick(self) -> None:
        """Save what has changed, if it is time."""
        if self._changed and self._clock.now() >= self._due:
            self.save()

    def save(self, *, whole: bool = False) -> bool:
        """Save, between two accesses; `whole` says that there will be none any more. False if it is too long."""
        begin = monotonic_ns()
        performed = self._ring.taken
        data = saved.pack(
            self._board.states(),
            time=self._clock.now(),
            host_time=begin,
            whole=whole,
            server=self._server,
            performed=performed,
        )
        kept = self._area.write(data)
        if not kept and not self._too_long:
            self._too_long = True
            log.warning("keeper.too_long", bytes=len(data), most=HALF)
        took = monotonic_ns() - begin
        self._performed = performed
        self._changed = self._soon = False
        end = self._clock.now()
        self._allowed = end + COST * took
        self._due = max(end + PERIOD, self._allowed)
        return kept
