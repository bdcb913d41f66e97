"""The interpreter as the oracle for host code: one processor that translates every block, and one that none.

Both are this project's, so nothing is masked and everything is compared: every flag, defined or not, the count of
instructions, CR2, DR6, page tables; after each piece of a run that is cut to pieces, in circumstances that the other
oracles do not have: user mode, segments with limits, alignment checks, traps, breakpoints, an interrupt.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, ES, FLAT_CODE, FLAT_DATA, FS, GS, SS
from tests.hvcore.cpu.differential.compare import NAMES, Case, Pair
from tests.hvcore.cpu.differential.dice import Dice
from tests.hvcore.cpu.differential.machines import (
    CODE,
    CODE_END,
    DATA,
    ENDLESS,
    HLT,
    PATTERN,
    REACH,
    SEGMENTS,
    TABLES,
    WINDOW,
    Start,
    Subject,
    memcmp,
)
from tests.hvcore.cpu.differential.program import encode

AC, TF, VM, AM = 0x40000, 0x100, 0x20000, 0x40000
USER = 0x60
GOES_ON = {ExitKind.BUDGET, ExitKind.INTERRUPT_WINDOW}
NO_CODE = HLT * (CODE_END - CODE)
TRIES = ("as translated", "linked", "linked again")


class Circumstances(NamedTuple):
    """What a case happens in."""

    user: bool = False
    aligned: bool = False  # with user: an access that is not raises #AC
    trap: bool = False
    window: bool = False  # something is wanted after every block
    interrupt: bool = False  # waits
    breakpoint: tuple[int, int] | None = None  # a linear address, and DR7
    limits: tuple[int, int, int, int] | None = None  # base and limit of FS and GS
    # The bases of ES, SS and DS, which reach as far as all memory.
    segments: tuple[int, int, int] | None = None
    pieces: tuple[int, ...] = ()  # how many instructions at a time, over and over; none: all in one


def circumstances(seed: int | None) -> Circumstances:
    """Those of a case; None: the plainest."""
    if seed is None:
        return Circumstances()
    r = Dice(seed)

    def sometimes(part: float) -> bool:
        return r.random() < part

    limits = (r.choice([0, 16, 0xFFFFFFF0]), r.randrange(WINDOW), 0, r.choice([0xFFFFFFFF, 0xA000]))
    breakpoint_ = r.randrange(DATA, WINDOW), r.choice([0x10001, 0x30001, 0xF0001, 0x1])
    return Circumstances(
        user=sometimes(0.4),
        aligned=sometimes(0.1),
        trap=sometimes(0.02),
        window=sometimes(0.05),
        interrupt=sometimes(0.01),
        breakpoint=breakpoint_ if sometimes(0.03) else None,
        limits=limits if sometimes(0.2) else None,
        pieces=pieces_for(r) if sometimes(0.4) else (),
        segments=(r.choice([0, 16, 0x1234]), r.choice([0, 0x20]), r.choice([0, 0xFFFFFF00]))
        if sometimes(0.2)
        else None,
    )


def pieces_for(r: Dice) -> tuple[int, ...]:
    """Short ones only, or of all lengths."""
    most = r.choice([9, 50])
    return tuple(r.randrange(1, most) for _ in range(61))


class State(NamedTuple):
    """Everything there is to see of the processor when it stopped."""

    kind: int
    detail: tuple[int, ...]
    eip: int
    count: int
    flags: int
    registers: list[int]
    cr2: int
    dr6: int


class Twin(Subject):
    """The processor, in any circumstances. In 16-bit code, user mode is virtual-8086 mode."""

    def __init__(self, translate_after: int, bits: int = 32) -> None:
        super().__init__(bits)
        self.bits = bits
        self.processor.translate_after = translate_after
        self.wanted = Circumstances()
        self.untouched = self.outside()

    def put_into(self, c: Circumstances) -> None:
        """Change the circumstances, where they differ from the last."""
        p = self.processor
        if c == self.wanted:
            return
        self.wanted = c
        if self.bits == 32:
            self.put_segments(c)
            p.set_cr(0, 0x80010031 | (AM if c.aligned else 0))
        p.set_dr(0, c.breakpoint[0] if c.breakpoint else 0)
        p.set_dr(7, c.breakpoint[1] if c.breakpoint else 0x400)
        self.bench.pins[0] = c.interrupt
        p.intercepts.external_interrupt = True
        p.intercepts.interrupt_window = c.window
        p.update_intercepts()

    def put_segments(self, c: Circumstances) -> None:
        p = self.processor
        privilege = USER if c.user else 0
        for number, at in zip((SS, ES, DS), (0, 0, 0) if c.segments is None else c.segments, strict=True):
            limit = 0xFFFFFFFF if c.segments is None or at > WINDOW else WINDOW
            p.set_segment(number, 0, at, limit, FLAT_DATA | privilege)
        p.set_segment(CS, 0, 0, 0xFFFFFFFF, FLAT_CODE | privilege)
        bases = c.limits or (0, 0xFFFFFFFF, 0, 0xFFFFFFFF)
        p.set_segment(FS, 0, bases[0], bases[1], FLAT_DATA | privilege)
        p.set_segment(GS, 0, bases[2], bases[3], FLAT_DATA | privilege)

    def put_real_segments(self) -> None:
        """Those of real and virtual-8086 mode, which a program may have loaded."""
        p, c = self.processor, self.wanted
        p.set_cr(0, 0x31 if c.user else 0x30)
        for number, selector in SEGMENTS.items():
            access = 0xF3 if c.user else 0x9B if number == CS else 0x93
            p.set_segment(number, selector, selector << 4, 0xFFFF, access)

    def load(self, code: bytes, base: int) -> None:
        if self.bits == 16:
            self.restore(self.untouched)
        self.host[CODE:CODE_END] = NO_CODE  # nothing of a program before it, which may differ between the two
        super().load(code, base)
        if self.bits == 16:
            self.untouched = self.outside()

    def begin(self, start: Start, base: int) -> None:
        p = self.processor
        if self.bits == 16:
            self.restore(self.untouched)
            self.put_real_segments()
        self.host[DATA:WINDOW] = PATTERN[DATA:WINDOW]
        for number, value in enumerate(start.registers):
            p.set_gpr(number, value)
        c = self.wanted
        p.rflags = start.flags & ~(AC | TF) | (AC if c.aligned and c.user else 0) | (TF if c.trap else 0)
        if self.bits == 16 and c.user:
            p.rflags |= VM
            self.put_real_segments()
        p.rip = base
        p.activity = 0
        p.set_cr(2, 0)
        p.set_dr(6, 0xFFFF0FF0)

    def states(self, start: Start, base: int) -> Iterator[State]:
        """The run's, after each of its pieces."""
        p = self.processor
        self.begin(start, base)
        first = p.icount
        last = first + ENDLESS
        pieces = self.wanted.pieces
        for piece in itertools.cycle(pieces or (ENDLESS,)):
            kind = p.run(piece if pieces else last - p.icount)
            yield self.state(kind, p.icount - first)
            if kind not in GOES_ON or p.icount >= last:
                return

    def state(self, kind: int, count: int) -> State:
        p, info = self.processor, self.processor.exit
        detail: tuple[int, ...] = ()
        if kind == ExitKind.EXCEPTION:
            detail = (info.vector, info.error_code, info.fault_address, info.instruction_length)
        elif kind == ExitKind.SOFTWARE_INTERRUPT:
            detail = (info.vector, info.instruction_length)
        return State(kind, detail, p.rip, count, p.rflags, self.bench.registers(), p.cr(2), p.dr(6))

    def same_memory(self, other: "Twin", *, all_of_it: bool) -> bool:
        """Whether a run has left the same; `all_of_it`: also where page tables let no 32-bit program write."""
        first, end = (0, REACH) if all_of_it or self.bits == 16 else (DATA, WINDOW)
        places = ((first, end - first), (TABLES, 0x3000))
        return not any(memcmp(self.at + at, other.at + at, size) for at, size in places)


class Twins(Pair):
    """The two processors."""

    def __init__(self, bits: int = 32) -> None:
        self.bits = bits
        self.stops: dict[int, int] = {}
        self.instructions = 0
        self.beyond = 0
        self.renew()

    @property
    def translated(self) -> int:
        return self.translator.processor.statistics["translated"]

    def renew(self) -> None:
        self.interpreter, self.translator = Twin(0, self.bits), Twin(1, self.bits)

    def differences(self, case: Case) -> list[str]:
        code, _ = encode(case.rows, case.base)
        here = circumstances(case.pieces)
        for twin in (self.interpreter, self.translator):
            twin.load(code, case.base)
            twin.put_into(here)
        for number, start in enumerate(case.starts):
            expected = list(self.interpreter.states(start, case.base))
            self.instructions += expected[-1].count
            kind, detail = expected[-1].kind, expected[-1].detail
            self.stops[detail[0] if detail else -kind] = self.stops.get(detail[0] if detail else -kind, 0) + 1
            for how in TRIES:
                found = list(compare(list(self.translator.states(start, case.base)), expected))
                last = how == TRIES[-1]
                if not found and not self.translator.same_memory(self.interpreter, all_of_it=last):
                    found = ["memory"]
                if found:
                    return [f"run {number + 1} {how}: {here}", *found]
        return []


def compare(ours: list[State], theirs: list[State]) -> Iterator[str]:
    """What differs at the first stop where something does."""
    for number, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a == b:
            continue
        for name, x, y in zip(State._fields, a, b, strict=True):
            if name == "registers":
                rows: Any = zip(NAMES, a.registers, b.registers, strict=True)
            else:
                rows = [(name, x, y)]
            for row, v, w in rows:
                if v != w:
                    yield f"{row}: {spelled(v)}, interpreter {spelled(w)}, at stop {number}"
        return
    if len(ours) != len(theirs):
        yield f"stops: {len(ours)}, interpreter {len(theirs)}"


def spelled(value: Any) -> str:
    return f"{value:08x}" if isinstance(value, int) else str(value)
