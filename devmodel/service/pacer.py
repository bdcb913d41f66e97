"""The pacer: one alarm for every timed chip, set to the earliest of their deadlines."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from devmodel.board.bus import ANY
from devmodel.board.device import Timed
from devmodel.service.alarm import Alarm, TrioAlarm, open_alarm
from devmodel.service.clock import TrioClock
from ioreq.patience import expected

SOON: Final = 50_000
"""Nanoseconds that are too short to poll for requests meanwhile."""
NEVER: Final = 1 << 62
"""Nanoseconds that no guest lives."""
LAST: Final = 63
"""The bit that stands for all chips from there on."""


class Changes(Timed, Protocol):
    """Who wants to know when chips may have changed; its own tick changes none."""

    def changed(self) -> None:
        """Hear that something has happened."""
        ...

    def soon(self) -> None:
        """Hear that what happened, of which `changed` tells next, was no posted write."""
        ...


class Pacer:
    """Ticks `timed` chips when they are due.

    Deadlines are asked again after an access, but not by the access: `note` only says that they may have changed,
    and whoever served it calls `look` before it sleeps or lets others run, at most an `ioreq.server.TURN` later. A
    busy guest so pays for one look at the deadlines a turn, not a request; and only of those that may have moved,
    since twenty chips that nobody has touched cost more than the one that ticks. The alarm itself rings only when a
    chip is due: a look sets it anew.

    Chips are named by bits, by their order; those from the 64th on share the last.
    """

    def __init__(
        self,
        clock: TrioClock,
        timed: Sequence[Timed],
        changes: Changes | None = None,
        *,
        failed: Callable[[Timed, int], Exception] | None = None,
        touched: Callable[[], int] | None = None,
        alone: int = 0,
    ) -> None:
        """Raise what `failed` makes of a chip and the time, where its `tick` has raised.

        `touched` returns the chips whose deadlines accesses may have changed since the last time, None: any; `alone`
        are those whose tick changes no other's.
        """
        self._failed = failed
        self._touched = touched
        self.clock = clock
        self.timed = list(timed)
        self.changes = changes
        self._alarm: Alarm = TrioAlarm(clock)
        bits = [1 << min(n, LAST) for n in range(len(self.timed))]
        self._chips = list(zip(range(len(self.timed)), bits, self.timed, strict=True))
        self._moves = [bit if alone >> n & 1 else ANY for n, bit in enumerate(bits)]
        """The chips whose deadlines the tick of each may change."""
        self._deadlines = [NEVER] * len(self.timed)
        self._stale = ANY
        """The chips whose deadlines may have changed."""
        self._noted = False
        self._answered = False
        self._soon = False

    def note(self) -> None:
        """Say that an access may have changed a deadline; a `look` must follow."""
        self._noted = True
        if self._touched is None:
            self._stale = ANY

    def answered(self) -> None:
        """Say the same of a request that has been answered."""
        self._answered = True
        self.note()

    def look(self) -> None:
        """Set the alarm by the deadlines that there are now, if any may have changed."""
        if self._noted:
            self._noted = False
            self._tell()
            self._set()

    def rearm(self) -> None:
        """Say that a deadline may have changed, from elsewhere than an access."""
        self._stale = ANY
        self._noted = True
        self.look()

    def earliest(self) -> int | None:
        """Return the next deadline in ns of guest time, or None."""
        self._ask()
        due = min(self._deadlines, default=NEVER)
        if self.changes is not None and (deadline := self.changes.deadline()) is not None and deadline < due:
            due = deadline
        return None if due == NEVER else due

    def tick(self) -> None:
        """Tick what is due."""
        changed, self._noted = self._noted, False
        self._ask()
        now = self.clock.now()
        if self._deadlines and min(self._deadlines) <= now:
            changed = True
            for n, _, chip in self._chips:
                if self._deadlines[n] <= now:
                    self._stale |= self._moves[n]
                    try:
                        chip.tick()
                    except Exception as error:
                        if self._failed is None:
                            raise
                        raise self._failed(chip, now) from error
        if changed:
            self._tell()
        if self.changes is not None:
            self.changes.tick()

    def _tell(self) -> None:
        """Tell who wants to know that chips may have changed."""
        answered, self._answered = self._answered, False
        if self.changes is not None:
            if answered:
                self.changes.soon()
            self.changes.changed()

    def _ask(self) -> None:
        """Ask the chips whose deadlines may have changed."""
        if self._touched is not None:
            self._stale |= self._touched()
        if stale := self._stale:
            self._stale = 0
            for n, bit, chip in self._chips:
                if stale & bit:
                    deadline = chip.deadline()
                    self._deadlines[n] = NEVER if deadline is None else deadline

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
        self._set()

    def _set(self) -> None:
        deadline = self.earliest()
        soon = deadline is not None and deadline - self.clock.now() < SOON
        if soon != self._soon:
            self._soon = soon
            expected.timers += 1 if soon else -1
        self._alarm.set(deadline)
