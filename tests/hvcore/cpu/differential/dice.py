"""What cases are drawn with: a random generator whose choices are cheap, for most of a case's time went into them."""

import functools
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
POOL = 2048  # values that are drawn from for
CASES_OF_A_POOL = 8192  # cases, before others are made


class Dice(random.Random):
    """The standard generator, which need not be fair to the last bit here."""

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        return seq[int(self.random() * len(seq))]

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Of `step` only 1."""
        assert step == 1
        if stop is None:
            return int(self.random() * start)
        return start + int(self.random() * (stop - start))


@functools.lru_cache(maxsize=16)
def pool(make: Callable[[random.Random], T], number: int) -> list[T]:
    """Values that `make` makes, the same for ever for a number."""
    r = Dice(f"{make.__module__} {make.__qualname__} {number}")
    return [make(r) for _ in range(POOL)]
