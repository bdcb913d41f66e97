"""One case on both machines: what differs, and the smallest program that still differs."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from tests.hvcore.cpu.differential import machines
from tests.hvcore.cpu.differential.dice import Dice
from tests.hvcore.cpu.differential.machines import DATA, HALT, HLT, STRAYED, Oracle, Outcome, Start, Subject
from tests.hvcore.cpu.differential.program import STATUS, ImpossibleError, Instruction, Placed, place, sound

NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
OTHER_FLAGS = 0x244400  # DF, NT, AC, ID


class Case(NamedTuple):
    """A program, where it stands, and what it starts with, one run after the other."""

    rows: list[Instruction]
    base: int
    starts: list[Any]
    # Seed of how the subject's run is cut, and of more in `translated`; None: it is not cut.
    pieces: int | None = None


class Pair:
    """The two machines."""

    def __init__(self, bits: int, *, translate_after: int = 0) -> None:
        self.bits = bits
        self.translate_after = translate_after
        self.translated_before = 0  # by subjects that were replaced
        self.renew()
        self.stops: dict[int, int] = {}
        self.instructions = 0
        self.beyond = 0  # runs that met a limit, which only the subject checks
        self.flags_of_no_account = False

    @property
    def translated(self) -> int:
        """How many blocks became host code."""
        return self.translated_before + int(self.subject.processor.statistics["translated"])

    def renew(self) -> None:
        """New machines, for a failure may have left its mark."""
        self.oracle, self.subject = Oracle(self.bits), Subject(self.bits, self.translate_after)

    def differences(self, case: Case) -> list[str]:
        """What differs, in words; empty if nothing does. Raises `ImpossibleError` if it cannot be laid out."""
        placed = place(case.rows, case.base)
        self.subject.load(placed.code, case.base)
        self.oracle.load(placed.code, case.base)
        pieces = None if case.pieces is None else Dice(case.pieces)
        for number, start in enumerate(case.starts):
            outside = self.subject.outside()
            for time in range(2 if self.translate_after else 0):  # once to be translated, once to be linked
                before = self.subject.run(start, case.base)
                self.subject.restore(outside)
                if time == 0 and (before.stop == STRAYED or left_its_code(before)):
                    # The next run would begin with the segments that this one has loaded.
                    self.renew()
                    self.subject.load(placed.code, case.base)
                    self.oracle.load(placed.code, case.base)
                    break
            counted = self.subject.processor.icount
            ours = self.subject.run(start, case.base, pieces=pieces)
            self.instructions += self.subject.processor.icount - counted
            if self.dangerous(ours):
                return []
            # The oracle stops there too.
            stray = ours.stop == STRAYED or machines.NEVER <= ours.eip <= machines.CODE_END
            theirs = self.oracle.run(start, case.base, at_most=machines.ENDLESS if stray else 0)
            if theirs.stop == STRAYED and not stray:  # perhaps only for the host had no time for it
                self.oracle.restore(outside)
                theirs = self.oracle.run(start, case.base, at_most=machines.ENDLESS)
            self.stops[theirs.stop] = self.stops.get(theirs.stop, 0) + 1
            if STRAYED in {ours.stop, theirs.stop} or left_its_code(ours):
                self.renew()  # what strayed may have written anywhere, and loaded any segment
            if stray and (theirs.stop == STRAYED or (left_its_code(ours) and left_its_code(theirs))):
                return []  # an IN among the data ends our run, and is one of many instructions to the oracle
            if beyond_a_limit(ours, theirs, self.bits):
                self.beyond += 1
                self.translated_before = self.translated
                self.renew()  # the oracle has done what ours did not, maybe where no run begins afresh
                self.subject.load(placed.code, case.base)
                self.oracle.load(placed.code, case.base)
                continue
            if probed_by_enter(ours, theirs, placed.code[ours.eip - case.base :]):
                continue
            theirs = half_written(ours, theirs)
            if write_before_read(ours, theirs):
                theirs = theirs._replace(fault_address=ours.fault_address)
            if ours.stop == theirs.stop != HALT and (ours.flags ^ theirs.flags) & (STATUS | OTHER_FLAGS):
                reached = self.oracle.outside()
                self.oracle.restore(outside)
                theirs = self.with_flags_before(theirs, start, case.base)
                self.oracle.restore(reached)  # a HLT in place of the rest may have ended it elsewhere
            found = list(compare(ours, theirs, placed))
            if self.flags_of_no_account:
                found = [row for row in found if not row.startswith("flags")]
                self.flags_of_no_account = False
            if found:
                return [f"run {number + 1}", *found]
        return []

    def dangerous(self, outcome: Outcome) -> bool:
        """Whether the oracle must not try what ended so."""
        del outcome
        return False

    @staticmethod
    def plainer(start: Start) -> Iterator[Start]:
        """Starts with less in one register, or one flag fewer."""
        for number, value in enumerate(start.registers):
            for less in (0, value & 0xFF, value & 0xFFFF):
                if less < value:
                    yield start._replace(
                        registers=[*start.registers[:number], less, *start.registers[number + 1 :]]
                    )
        for bit in range(22):
            yield start._replace(flags=start.flags & ~(1 << bit))

    @staticmethod
    def spelled(start: Start) -> str:
        """The start as a test has it: the arguments of `start`."""
        registers = ", ".join(f"0x{value:x}" for value in start.registers)
        return f"([{registers}], 0x{start.flags:x})"

    @staticmethod
    def start(registers: list[int], flags: int) -> Start:
        """The other way round."""
        return Start(registers, flags)

    def with_flags_before(self, theirs: Outcome, start: Start, base: int) -> Outcome:
        """The outcome with the flags that the oracle had when it came to the instruction that faulted.

        QEMU computes them in place when SETcc, RCL and others need them, and forgets that on a fault. So a HLT is
        put there. If the fault came only a later time around a loop, the flags stay as they are, of no account.
        """
        whole = bytes(self.oracle.memory[base : machines.CODE_END])
        if not base <= theirs.eip < machines.CODE_END:
            return theirs
        at = theirs.eip - base
        self.oracle.load(whole[:at] + HLT, base)
        early = self.oracle.run(start, base, at_most=machines.ENDLESS)
        self.oracle.load(whole, base)
        self.flags_of_no_account = early.registers != theirs.registers or early.memory != theirs.memory
        return theirs._replace(flags=early.flags)


def left_its_code(outcome: Outcome) -> bool:
    """Whether a run ended elsewhere than in the program's pages."""
    return not machines.CODE <= outcome.eip <= machines.CODE_END


def beyond_a_limit(ours: Outcome, theirs: Outcome, bits: int) -> bool:
    """Whether an operand goes around the end of a segment: QEMU checks no limits."""
    if ours.stop not in {12, 13}:
        return False
    if bits == 16:
        return theirs.stop not in {12, 13}
    at = (theirs.fault_address + 8) & 0xFFFFFFFF
    return theirs.stop == 14 and ours.eip == theirs.eip and at < 16


def write_before_read(ours: Outcome, theirs: Outcome) -> bool:
    """Whether what is modified lies over READ_ONLY's end: silicon tells of the first page, QEMU of the other."""
    end = machines.READ_ONLY + 0x1000
    return (
        ours.stop == theirs.stop == 14
        and ours.eip == theirs.eip
        and end - 8 < ours.fault_address < end == theirs.fault_address
    )


def probed_by_enter(ours: Outcome, theirs: Outcome, code: bytes) -> bool:
    """Whether ENTER faulted over where it leaves ESP: the SDM has it tried for a write, QEMU does not."""
    return (
        ours.stop == 14
        and code[:1] in {b"\xc8", b"\x66"}
        and b"\xc8" in code[:2]
        and (ours.eip, ours.fault_address) != (theirs.eip, theirs.fault_address)
    )


def half_written(ours: Outcome, theirs: Outcome) -> Outcome:
    """The oracle's outcome without what a store left behind that faulted: QEMU's of 16 bytes are two of 8."""
    if not ours.stop == theirs.stop == 14 or ours.fault_address != theirs.fault_address:
        return theirs
    page = ours.fault_address & ~0xFFF
    data = machines.DATA_END - DATA
    for first, size in ((DATA, machines.WINDOW - DATA), *((alias, data) for alias in machines.ALIASES)):
        if first < page <= first + size:
            end = page - first
            start = max(end - 16, 0)
            return theirs._replace(
                memory=theirs.memory[:start] + ours.memory[start:end] + theirs.memory[end:]
            )
    return theirs


def compare(ours: Outcome, theirs: Outcome, placed: Placed) -> Iterator[str]:
    """Registers, memory, how it ended, and the flags that mean something."""
    if (ours.stop, ours.eip, ours.fault_address) != (theirs.stop, theirs.eip, theirs.fault_address):
        yield f"end: {ending(ours)}, oracle {ending(theirs)}"
        return
    for name, a, b in zip(NAMES, ours.registers, theirs.registers, strict=True):
        if a != b:
            yield f"{name}: {a:08x}, oracle {b:08x}"
    at = ours.eip - 1 if ours.stop == HALT else ours.eip
    mask = STATUS & ~placed.undefined.get(at, STATUS)
    mask |= OTHER_FLAGS if mask == STATUS else 0
    if (ours.flags ^ theirs.flags) & mask:
        yield f"flags: {ours.flags & mask:08x}, oracle {theirs.flags & mask:08x} (of {mask:06x})"
    if ours.memory != theirs.memory:
        wrong = [i for i, (a, b) in enumerate(zip(ours.memory, theirs.memory, strict=True)) if a != b]
        first = wrong[0]
        yield (
            f"memory: {len(wrong)} bytes from {DATA + first:05x}: {ours.memory[first : first + 8].hex()}, "
            f"oracle {theirs.memory[first : first + 8].hex()}"
        )


def ending(outcome: Outcome) -> str:
    how = {HALT: "halted", STRAYED: "strayed"}.get(outcome.stop, f"exception {outcome.stop}")
    return f"{how} at {outcome.eip:x}" + (f" for {outcome.fault_address:x}" if outcome.fault_address else "")


def kind_of(found: list[str]) -> str:
    """What sort of difference: how it ended, memory, flags, or a register, whichever."""
    if not found:
        return ""
    word = re.sub(r" (at|for) [0-9a-f]+", "", found[1])
    word = word if word.startswith("end") else word.partition(":")[0]
    return "register" if word in NAMES else word


class Machines(Protocol):
    """Two machines that a case runs on."""

    bits: int
    stops: dict[int, int]
    instructions: int
    beyond: int

    @property
    def translated(self) -> int: ...
    def renew(self) -> None: ...
    def differences(self, case: Case) -> list[str]: ...
    def plainer(self, start: Any) -> Iterator[Any]: ...
    def spelled(self, start: Any) -> str: ...
    def start(self, *arguments: Any) -> Any: ...


def shrink(pair: Machines, case: Case) -> Case:
    """The fewest instructions, then the plainest start, that still differ in the same way."""
    kind = kind_of(pair.differences(case))

    def differs(case: Case) -> bool:
        if not sound(case.rows):
            return False
        try:
            return kind_of(pair.differences(case)) == kind
        except ImpossibleError:
            return False

    for candidate in (case._replace(pieces=None), case._replace(base=machines.CODE)):
        if differs(candidate):
            case = candidate
    size = max(1, len(case.rows) // 2)
    while size:
        i = 0
        while i < len(case.rows):
            kept = (row for row in case.rows[i : i + size] if row.label >= 0 or row.code == HLT)
            rows = [*case.rows[:i], *kept, *case.rows[i + size :]]
            if len(rows) < len(case.rows) and differs(case._replace(rows=rows)):
                case = case._replace(rows=rows)
            else:
                i += size
        size //= 2
    for start in case.starts[::-1]:
        if len(case.starts) > 1 and differs(case._replace(starts=[start])):
            case = case._replace(starts=[start])
    for run in range(len(case.starts)):
        again = True
        while again:
            again = False
            for start in pair.plainer(case.starts[run]):
                starts = [*case.starts[:run], start, *case.starts[run + 1 :]]
                if start != case.starts[run] and differs(case._replace(starts=starts)):
                    case, again = case._replace(starts=starts), True
                    break
    return case
