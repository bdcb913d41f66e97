"""The kinds of cases: which machines they run on, and how they are made."""

import random

from tests.hvcore.cpu.differential import floating, integers
from tests.hvcore.cpu.differential.compare import Case, Machines, Pair
from tests.hvcore.cpu.differential.machines import CODE
from tests.hvcore.cpu.differential.program import ImpossibleError, place

BITS = {"int32": 32, "int16": 16}
KINDS = ("int32", "int16", "x87", "sse")


def machines_for(kind: str) -> Machines:
    return Pair(BITS[kind]) if kind in BITS else floating.FloatingPair()


def case_of(kind: str, seed: int) -> Case:
    """The case with this number; the same for ever."""
    if kind not in BITS:
        return floating.make(f"{kind} {seed}", kind)
    for attempt in range(100):
        try:
            rows, starts = integers.make(f"{kind} {seed} {attempt}", BITS[kind])
            r = random.Random(seed)
            base = CODE if r.random() < 0.8 else CODE + 0x1000 - r.randrange(64)
            place(rows, base)
            return Case(rows, base, starts, r.randrange(1 << 30) if r.random() < 0.15 else None)
        except ImpossibleError:
            continue
    raise AssertionError("no such case can be laid out")
