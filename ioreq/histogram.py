"""Histograms of durations: counts by size, eight buckets a power of two, so that a percentile is within 12 %.

Small enough to be sent as JSON: only the buckets that hold something.
"""

import math
from collections.abc import Iterable

import attrs

_STEPS = 8
_BITS = 3


def bucket(ns: int) -> int:
    """Return the bucket of a duration in nanoseconds."""
    if ns < _STEPS:
        return max(ns, 0)
    shift = ns.bit_length() - 1 - _BITS
    return (shift + 1) * _STEPS + (ns >> shift) - _STEPS


def most(index: int) -> int:
    """Return the longest duration in a bucket, in nanoseconds."""
    if index < _STEPS:
        return index
    shift = index // _STEPS - 1
    return ((index % _STEPS + _STEPS + 1) << shift) - 1


@attrs.define
class Histogram:
    """Durations by bucket."""

    counts: dict[int, int] = attrs.field(factory=dict[int, int])

    def note(self, ns: int) -> None:
        """Count one duration."""
        index = bucket(ns)
        self.counts[index] = self.counts.get(index, 0) + 1

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add another histogram's `pairs`."""
        for index, count in pairs:
            self.counts[index] = self.counts.get(index, 0) + count

    def pairs(self) -> list[tuple[int, int]]:
        """Return what is in each bucket that is not empty, ascending: a copy, also from another thread."""
        return sorted(self.counts.copy().items())

    def percentile(self, share: float) -> int | None:
        """Return the duration that a share of all (0 to 1) does not exceed, in nanoseconds; None if there are none."""
        total = sum(self.counts.values())
        left = max(1, math.ceil(total * share))
        for index, count in self.pairs():
            left -= count
            if left <= 0:
                return most(index)
        return None
