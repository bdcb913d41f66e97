"""A short program as data: instructions with labels, what they do to the flags, and where they may go.

Whoever makes a program says for every instruction which status flags it needs, defines and leaves undefined.
From that follows, along every path, which flags mean nothing at an instruction: those are not compared, and an
instruction that would look at one is given a comparison before it. So nothing undefined ever reaches a result,
and only what the manuals leave undefined is masked.
"""

import itertools
from typing import NamedTuple

CF, PF, AF, ZF, SF, OF = 1, 4, 0x10, 0x40, 0x80, 0x800
STATUS = CF | PF | AF | ZF | SF | OF

# What leaves which status flags undefined (SDM vol. 2, per instruction; vol. 1 app. A), by name.
UNDEFINED = {
    "logic": AF,  # AND OR XOR TEST
    "shift": AF,  # SHL SHR SAR by 1
    "shift many": AF | OF,  # by more than 1; OF also for rotations
    "shift out": AF | OF | CF,  # SHL and SHR by at least the operand's size
    "rotate many": OF,
    "double shift": AF,  # SHLD SHRD by 1
    "double shift many": AF | OF,
    "multiply": SF | ZF | AF | PF,
    "divide": STATUS,
    "bit test": OF | SF | AF | PF,
    "bit scan": STATUS & ~ZF,
    "decimal": OF,  # DAA DAS
    "ascii": OF | SF | ZF | PF,  # AAA AAS
    "ascii multiply": OF | AF | CF,  # AAM AAD
}
# Flags that Unicorn loses although they are defined; they are masked as if they were not, and a comparison
# follows, for its garbage would live on in instructions that change only some flags.
UNICORN_LOSES = {
    "loope": STATUS,  # LOOPE and LOOPNE leave garbage when the count ends
    "cmpxchg8b": STATUS & ~ZF,  # it forgets to compute those that stay
}


class Instruction(NamedTuple):
    """One instruction, or a label (no bytes, `label` set).

    `target` is the label that a branch goes to: `code` is then the short form without its displacement byte and
    `near` the form without its 2 or 4 bytes, either of which may be missing. `absolute`: `code` ends where the
    label's address belongs, as that many bytes. `indirect`: where a jump through a register or
    the stack goes. `returns`: it may go to behind every call. `partial`: a fault may leave its flags half way.
    """

    code: bytes
    defines: int = 0
    undefines: int = 0
    reads: int = 0
    label: int = -1
    target: int = -1
    near: bytes = b""
    absolute: int = 0
    indirect: int = -1
    ends: bool = False
    call: bool = False
    returns: bool = False
    wide: int = 4
    partial: bool = False


COMPARE = Instruction(b"\x39\xc1", STATUS)  # cmp ecx, eax: defines all flags


class Placed(NamedTuple):
    """A program at its address, with the flags that mean nothing before each of its instructions."""

    code: bytes
    undefined: dict[int, int]  # by address


class ImpossibleError(Exception):
    """A short branch that does not reach."""


def undefined_before(program: list[Instruction]) -> list[int]:
    """The flags that may be undefined when each instruction begins."""
    where = {row.label: i for i, row in enumerate(program) if row.label >= 0}
    after_calls = [i + 1 for i, row in enumerate(program) if row.call]
    undefined = [0] * (len(program) + 1)
    flow = []  # what each leaves of the flags that mean nothing, and adds to them; whether it ends; where it goes
    for row in program:
        label = row.indirect if row.indirect >= 0 else -1 if row.absolute else row.target
        goes = [where[label]] if label >= 0 else after_calls if row.returns else ()
        flow.append((~row.defines, row.undefines, row.ends, goes))
    again = True
    while again:
        again = False
        for i, (left, added, ends, goes) in enumerate(flow):
            out = undefined[i] & left | added
            if not out:
                continue
            if not ends:
                undefined[i + 1] |= out
            for successor in goes:
                if out & ~undefined[successor]:
                    undefined[successor] |= out
                    again = again or successor <= i
    return undefined


def repaired(program: list[Instruction]) -> list[Instruction]:
    """The program with a comparison before every instruction that would look at an undefined flag."""
    undefined = undefined_before(program)
    repaired: list[Instruction] = []
    for row, flags in zip(program, undefined, strict=False):
        if row.reads & flags:
            repaired.append(COMPARE)
        repaired.append(row)
    return repaired


def sound(program: list[Instruction]) -> bool:
    """Whether no instruction looks at an undefined flag."""
    undefined = undefined_before(program)
    return not any(row.reads & undefined[i] for i, row in enumerate(program))


def place(program: list[Instruction], base: int) -> Placed:
    """Lay the program out at `base`; raises `ImpossibleError`."""
    code, starts = encode(program, base)
    undefined = {}
    for row, start, flags in zip(program, starts, undefined_before(program), strict=False):
        if row.label < 0:
            undefined[start] = STATUS if row.partial else flags
    return Placed(code, undefined)


def encode(program: list[Instruction], base: int) -> tuple[bytes, list[int]]:
    """The program's bytes at `base`, and where each row begins; raises `ImpossibleError`."""
    sizes = [length(row, far=not row.code) for row in program]
    branches = [i for i, row in enumerate(program) if row.target >= 0 and not row.absolute]
    short = [i for i in branches if program[i].code]
    while True:
        starts = list(itertools.accumulate(sizes, initial=base))
        labels = {row.label: start for row, start in zip(program, starts, strict=False) if row.label >= 0}
        too_far = [i for i in short if not -128 <= labels[program[i].target] - starts[i + 1] < 128]
        if not too_far:
            break
        for i in too_far:
            if not program[i].near:
                raise ImpossibleError
            sizes[i] = length(program[i], far=True)
        short = [i for i in short if i not in too_far]
    pieces = [row.code for row in program]
    for i in branches:
        distance = labels[program[i].target] - starts[i + 1]
        row = program[i]
        if i in short:
            pieces[i] += distance.to_bytes(1, "little", signed=True)
        else:
            pieces[i] = row.near + distance.to_bytes(row.wide, "little", signed=True)
    for i, row in enumerate(program):
        if row.absolute:
            pieces[i] += labels[row.target].to_bytes(row.absolute, "little")
    return b"".join(pieces), starts[:-1]


def may_not_reach(program: list[Instruction]) -> bool:
    """Whether a branch has no near form, so that `place` might fail."""
    return any(row.target >= 0 and not row.near and not row.absolute for row in program)


def laid_out(rows: list[tuple[bytes, int]]) -> list[Instruction]:
    """The program that `place` makes these bytes of, each with the flags that mean nothing before it."""
    codes = [b"", *(code for code, _ in rows)]  # the first, empty, is for what means nothing at the beginning
    after = [*(undefined for _, undefined in rows), 0]
    return [Instruction(code, STATUS, undefined) for code, undefined in zip(codes, after, strict=True)]


def length(row: Instruction, far: bool) -> int:
    if row.absolute:
        return len(row.code) + row.absolute
    if row.target < 0:
        return len(row.code)
    return len(row.near) + row.wide if far else len(row.code) + 1
