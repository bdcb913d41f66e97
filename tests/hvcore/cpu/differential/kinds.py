"""The kinds of cases: which machines they run on, and how they are made."""

from tests.hvcore.cpu.differential import floating, integers, native, translated
from tests.hvcore.cpu.differential.compare import Case, Machines, Pair
from tests.hvcore.cpu.differential.dice import Dice
from tests.hvcore.cpu.differential.machines import CODE
from tests.hvcore.cpu.differential.program import ImpossibleError, encode, may_not_reach

BITS = {
    "int32": 32,
    "int32-translated": 32,
    "int16": 16,
    "int16-translated": 16,
    "twins": 32,
    "twins16": 16,
    "user32": 32,
}
# The kinds of cases that the suite runs.
KINDS = (
    "int32",
    "int32-translated",
    "int16",
    "int16-translated",
    "twins",
    "twins16",
    "x87",
    "x87-translated",
    "sse",
    "sse-translated",
)
TRANSLATED = ("int32-translated", "int16-translated", "twins", "twins16", "x87-translated", "sse-translated")
BY_HAND = ("user32",)


def machines_for(kind: str) -> Machines:
    if kind == "user32":
        return native.NativePair()
    if kind in {"twins", "twins16"}:
        return translated.Twins(BITS[kind])
    if kind in {"int32-translated", "int16-translated"}:
        return Pair(BITS[kind], translate_after=1)
    return Pair(BITS[kind]) if kind in BITS else floating.FloatingPair(int(kind in TRANSLATED))


def case_of(kind: str, seed: int) -> Case:
    """The case with this number; the same for ever."""
    if kind not in BITS:
        return floating.make(kind, seed, masked=kind in TRANSLATED)
    for attempt in range(100):
        try:
            rows, starts = integers.make(f"{kind} {seed} {attempt}", BITS[kind], user=kind == "user32")
            r = Dice(seed)
            base = CODE if r.random() < 0.8 else CODE + 0x1000 - r.randrange(64)
            if may_not_reach(rows):
                encode(rows, base)
            pieces = r.randrange(1 << 30) if kind in {"twins", "twins16"} or r.random() < 0.15 else None
            return Case(rows, base, starts, pieces)
        except ImpossibleError:
            continue
    raise AssertionError("no such case can be laid out")
