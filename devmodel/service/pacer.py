"""The pacer: one task that sleeps for every timed chip, until the earliest of their deadlines."""

from collections.abc import Sequence

import trio

from devmodel.board.device import Timed
from devmodel.service.clock import TrioClock


class Pacer:
    """Ticks `timed` chips when they are due.

    Deadlines are asked again after an access, but not by the access: `rearm` only leaves a note, and the
    pacer reads it when its turn comes, at most an `ioreq.server.TURN` later. A busy guest so pays for one
    look at all deadlines a turn, not a request.
    """

    def __init__(self, clock: TrioClock, timed: Sequence[Timed]) -> None:
        self.clock = clock
        self.timed = list(timed)
        self._wake = trio.Event()
        self._noted = False

    def rearm(self) -> None:
        """Say that a deadline may have changed."""
        if not self._noted:
            self._noted = True
            self._wake.set()

    def earliest(self) -> int | None:
        """Return the next deadline in ns of guest time, or None."""
        deadlines = [deadline for chip in self.timed if (deadline := chip.deadline()) is not None]
        return min(deadlines, default=None)

    def tick(self) -> None:
        """Tick what is due."""
        now = self.clock.now()
        for chip in self.timed:
            deadline = chip.deadline()
            if deadline is not None and deadline <= now:
                chip.tick()

    async def run(self) -> None:
        """Sleep and tick for ever. Cancel to stop."""
        while True:
            self._wake = trio.Event()
            self._noted = False
            deadline = self.earliest()
            when = float("inf") if deadline is None else self.clock.trio_time(deadline)
            with trio.move_on_at(when):
                await self._wake.wait()
            self.tick()
