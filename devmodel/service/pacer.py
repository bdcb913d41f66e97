"""The pacer: one alarm for every timed chip, set to the earliest of their deadlines."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from devmodel.board.device import Timed
from devmodel.service.alarm import Alarm, TrioAlarm, open_alarm
from devmodel.service.clock import TrioClock
from ioreq.patience import expected

SOON: Final = 50_000
"""Nanoseconds that are too short to poll for requests meanwhile."""


class Changes(Timed, Protocol):
    """Who wants to know when chips may have changed; its own tick changes none."""

    def changed(self) -> None:
        """Hear that something has happened."""
        ...


class Pacer:
    """Ticks `timed` chips when they are due.

    Deadlines are asked again after an access, but not by the access: `note` only says that they may have changed,
    and whoever served it calls `look` before it sleeps or lets others run, at most an `ioreq.server.TURN` later. A
    busy guest so pays for one look at all deadlines a turn, not a request. The alarm itself rings only when a chip is
    due: a look sets it anew.
    """

    def __init__(
        self,
        clock: TrioClock,
        timed: Sequence[Timed],
        changes: Changes | None = None,
        *,
        failed: Callable[[Timed, int], Exception] | None = None,
    ) -> None:
        """Raise what `failed` makes of a chip and the time, where its `tick` has raised."""
        self._failed = failed
        self.clock = clock
        self.timed = list(timed)
        self.changes = changes
        self._alarm: Alarm = TrioAlarm(clock)
        self._deadlines: list[int | None] | None = None
        """Of each chip, while none can have changed."""
        self._noted = False
        self._soon = False

    def note(self) -> None:
        """Say that a deadline may have changed; a `look` must follow."""
        self._noted = True
        self._deadlines = None

    def look(self) -> None:
        """Set the alarm by the deadlines that there are now, if any may have changed."""
        if self._noted:
            self._noted = False
            if self.changes is not None:
                self.changes.changed()
            self._set()

    def rearm(self) -> None:
        """Say that a deadline may have changed, from elsewhere than an access."""
        self.note()
        self.look()

    def earliest(self) -> int | None:
        """Return the next deadline in ns of guest time, or None."""
        self._deadlines = deadlines = [chip.deadline() for chip in self.timed]
        due = [deadline for deadline in deadlines if deadline is not None]
        if self.changes is not None and (deadline := self.changes.deadline()) is not None:
            due.append(deadline)
        return min(due, default=None)

    def tick(self) -> None:
        """Tick what is due."""
        now = self.clock.now()
        ticked = False
        deadlines, self._deadlines = self._deadlines, None
        if deadlines is None:
            deadlines = [chip.deadline() for chip in self.timed]
        for chip, deadline in zip(self.timed, deadlines, strict=True):
            if deadline is not None and deadline <= now:
                try:
                    chip.tick()
                except Exception as error:
                    if self._failed is None:
                        raise
                    raise self._failed(chip, now) from error
                ticked = True
        if self.changes is not None:
            if ticked:
                self.changes.changed()
            self.changes.tick()

    async def run(self) -> None:
        """Tick for ever. Cancel to stop."""
        try:
            with open_alarm(self.clock) as self._alarm:
                await self._alarm.keep(self._ring)
        finally:
            self._alarm = TrioAlarm(self.clock)
            expected.timers -= self._soon
            self._soon = False

    def _ring(self) -> None:
        self.tick()
        self._noted = False
        self._set()

    def _set(self) -> None:
        deadline = self.earliest()
        soon = deadline is not None and deadline - self.clock.now() < SOON
        if soon != self._soon:
            self._soon = soon
            expected.timers += 1 if soon else -1
        self._alarm.set(deadline)
