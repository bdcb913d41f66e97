"""A matrix on this machine's processors: so many cells at once."""

import os
from collections.abc import Sequence

import trio

from devmodel.matrix.cell import Outcome, run
from devmodel.matrix.plan import Cell
from devmodel.matrix.report import Progress


def jobs() -> int:
    """Return how many cells run at once: a machine keeps two processors busy while it boots."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)


def run_all(cells: Sequence[Cell], progress: Progress, limit: int) -> dict[str, Outcome]:
    """Run all cells, `limit` at once, and return what came of each, by name."""
    outcomes: dict[str, Outcome] = {}

    async def work() -> None:
        limiter = trio.CapacityLimiter(limit)

        async def one(cell: Cell) -> None:
            async with limiter:
                progress.began(cell)
                outcomes[cell.name] = outcome = await run(cell)
                progress.ended(cell, outcome)

        async with trio.open_nursery() as nursery:
            for cell in cells:
                nursery.start_soon(one, cell)

    trio.run(work)
    return outcomes
