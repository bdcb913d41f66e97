"""Random sequences of instructions end as in an oracle: integers in Unicorn, floating point on the host's silicon.

DEVMODEL_SEQUENCES is how many programs of each kind a run tries, DEVMODEL_SEQUENCES_SEED the number of the first.
For more, and for a failure shrunk: `python -m tests.hvcore.cpu.differential`. What once differed has a name here.
"""

import os

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED
from tests.hvcore.cpu.bench import DS, EBP, ESP, Bench

pytest.importorskip("unicorn", reason="the oracle, Unicorn, is not installed")
pytest.importorskip("capstone", reason="the disassembler, Capstone, is not installed")

from tests.hvcore.cpu.differential import __main__ as command
from tests.hvcore.cpu.differential import floating, machines, native
from tests.hvcore.cpu.differential.compare import Case, Machines, Pair, shrink
from tests.hvcore.cpu.differential.kinds import BITS, BY_HAND, KINDS, TRANSLATED, case_of, machines_for
from tests.hvcore.cpu.differential.machines import HALT, Start
from tests.hvcore.cpu.differential.program import (
    CF,
    COMPARE,
    STATUS,
    UNDEFINED,
    ZF,
    Instruction,
    laid_out,
    place,
    repaired,
    undefined_before,
)
from tests.hvcore.cpu.differential.report import PASTE_INTO, agree, named_test
from tests.hvcore.cpu.differential.translated import Twins
from tests.hvcore.cpu.silicon import needs_silicon

PROGRAMS = int(os.environ.get("DEVMODEL_SEQUENCES", "3300" if COMPILED else "60"))
FIRST = int(os.environ.get("DEVMODEL_SEQUENCES_SEED", "0"))


@pytest.mark.parametrize("kind", KINDS)
def test_random_sequences_end_as_in_the_oracle(kind: str) -> None:
    if kind not in BITS:
        needs_silicon()
    pair = machines_for(kind)
    for seed in range(FIRST, FIRST + PROGRAMS):
        case = case_of(kind, seed)
        if pair.differences(case):
            pytest.fail(named_test(pair, shrink(pair, case), kind, seed), pytrace=False)
    # In ring 3 and virtual-8086 mode the HLT at the end is #GP.
    stops = [-ExitKind.HLT, 13] if isinstance(pair, Twins) else [HALT]
    ended = sum(pair.stops[stop] for stop in stops)
    assert ended > PROGRAMS // 2  # most run to their end
    if kind in TRANSLATED and translates():
        assert pair.translated > PROGRAMS


# The tests themselves


def translates() -> bool:
    """Whether this host runs code that we make."""
    return bool(Bench(32, 1 << 20).processor.translate_after)


SWAP = b"\x0f\xc9"


class Liar(Pair):
    """A pair whose oracle has another opinion of one instruction, BSWAP ECX."""

    def differences(self, case: Case) -> list[str]:
        return ["run 1", "ecx: 0, oracle 1"] if any(row.code == SWAP for row in case.rows) else []


def test_a_failing_sequence_shrinks_to_its_one_instruction() -> None:
    pair: Machines = Liar(32)
    seed = next(seed for seed in range(1000) if pair.differences(case_of("int32", seed)))
    small = shrink(pair, case_of("int32", seed))
    assert [row.code for row in small.rows if row.label < 0 and row.code != machines.HLT] == [SWAP]
    text = named_test(pair, small, "int32", seed)
    assert '("0fc9", 0x0),  # 01000  bswap ecx' in text
    assert "# ecx: 0, oracle 1" in text


FAULTY = {"x87": b"\xd9\xe8", "sse": b"\x0f\x58"}  # FLD1, ADDPS and its kin


def break_the_subject(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault on purpose in whatever is tried: BSWAP ECX does nothing, or those of FAULTY change ECX."""
    on_subject = floating.FloatingPair.on_subject

    def breaks(cls: type, machine: str) -> None:
        renew = cls.renew  # type: ignore[attr-defined]

        def renew_broken(self: Pair) -> None:
            renew(self)
            load = getattr(self, machine).load
            getattr(self, machine).load = lambda code, base: load(code.replace(SWAP, b"\x66\x90"), base)

        monkeypatch.setattr(cls, "renew", renew_broken)

    def with_other_ecx(self: floating.FloatingPair, length: int, start: floating.Start) -> floating.Outcome:
        faulty = FAULTY[kind.removesuffix("-translated")] in bytes(
            self.bench.memory.host[floating.CODE + 3 : floating.CODE + 3 + length]
        )
        outcome = on_subject(self, length, start)
        return outcome._replace(ecx=outcome.ecx ^ 1) if faulty else outcome

    breaks(Pair, "subject")
    breaks(native.NativePair, "subject")
    breaks(Twins, "translator")
    monkeypatch.setattr(floating.FloatingPair, "on_subject", with_other_ecx)


class StandIn(native.UserSubject):
    """In the place of the host's silicon; for what the printed text is about, it will do."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = self.host

    def run(self, start: Start, base: int, **how: object) -> machines.Outcome:
        del how
        return super().run(start, base)


@pytest.mark.parametrize("kind", KINDS + BY_HAND)
def test_the_test_that_a_failing_sequence_prints_fails_with_the_fault_and_passes_without(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind not in BITS:
        needs_silicon()
    if kind in BY_HAND:
        try:
            machines_for(kind)
        except RuntimeError:  # no leave to map the first 64 KiB
            monkeypatch.setattr(native, "silicon", StandIn)
    with monkeypatch.context() as broken:
        break_the_subject(kind, broken)
        assert command.main(["--kind", kind, "--failures", "1"]) == 1
        said = capsys.readouterr().out
        text = said[said.index("# For ") : said.rindex(f"{kind}: ")]
        assert text.startswith(f"# For {PASTE_INTO}, ")
        pasted = dict(globals())  # a test in this file
        exec(text, pasted)  # noqa: S102 - to run it is the point
        (name,) = set(pasted) - set(globals())
        with pytest.raises(AssertionError, match="run 1"):
            pasted[name]()
    pasted[name]()


def test_a_printed_program_masks_the_flags_that_the_made_one_did() -> None:
    for seed in range(20):
        case = case_of("int16", seed)
        placed = place(case.rows, case.base)
        starts = sorted(placed.undefined)
        rows = [
            (placed.code[start - case.base : end - case.base], placed.undefined[start])
            for start, end in zip(starts, [*starts[1:], case.base + len(placed.code)], strict=True)
        ]
        assert place(laid_out(rows), case.base) == placed


def test_the_command_says_what_it_ran_and_where_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main(["--kind", "int16", "--cases", "20", "--seed", "7"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("int16: 20 programs, 40 runs, ")
    assert " from seed 7, 0 differ, " in said
    assert said.endswith("next seed 27\n")
    monkeypatch.setattr(command, "machines_for", lambda _: Liar(32))
    assert command.main(["--kind", "int32", "--cases", "1000", "--failures", "1"]) == 1
    said = capsys.readouterr().out
    assert "def test_int32_case_" in said
    assert " 1 differ, " in said


def test_a_difference_in_a_register_a_flag_memory_or_a_fault_is_found() -> None:
    pair = Pair(32)
    start = Start([0, 0, 0, 0, machines.STACK + 64, 0, 0, 0], 0)

    def differences(ours: bytes, theirs: bytes) -> list[str]:
        case = Case([Instruction(theirs), Instruction(machines.HLT, ends=True)], machines.CODE, [start])
        load = pair.subject.load
        pair.subject.load = lambda _, base: load(ours + machines.HLT, base)  # type: ignore[method-assign]
        found = pair.differences(case)
        pair.subject.load = load  # type: ignore[method-assign]
        return [row.partition(":")[0] for row in found[1:]]

    assert differences(b"\x90\x90", b"\x90\x90") == []
    assert differences(b"\x90\x48", b"\x90\x90") == ["eax", "flags"]
    assert differences(b"\x90\xfd", b"\x90\x90") == ["flags"]
    assert differences(b"\x6a\x01", b"\x6a\x02") == ["memory"]
    assert differences(b"\x0f\x0b", b"\x90\x90") == ["end"]
    assert differences(b"\xff\x30", b"\x0f\x0b") == ["end"]


def test_a_difference_between_interpreter_and_host_code_is_found_in_anything() -> None:
    twins = Twins()
    start = Start([0, 0, 0, 0, machines.STACK + 64, machines.DATA, 0, 0], 0)

    def differences(translated: bytes, interpreted: bytes) -> list[str]:
        case = Case([Instruction(interpreted), Instruction(machines.HLT, ends=True)], machines.CODE, [start])
        load = twins.translator.load
        twins.translator.load = lambda _, base: load(translated + machines.HLT, base)  # type: ignore[method-assign]
        found = twins.differences(case)
        twins.translator.load = load  # type: ignore[method-assign]
        return [row.partition(":")[0] for row in found[1:]]

    assert differences(b"\x90\x90", b"\x90\x90") == []
    assert differences(b"\x90\x48", b"\x90\x90") == ["flags", "eax"]
    assert differences(b"\x6a\x01", b"\x6a\x02") == ["memory"]
    assert differences(b"\x66\x90", b"\x90\x90") == ["count"]
    assert differences(b"\x0f\x0b", b"\x90\x90") == ["kind", "detail", "eip", "count"]
    assert differences(b"\x83\xf8\x04", b"\x83\xf8\x00") == ["flags"]


def test_a_program_that_runs_out_of_its_code_is_of_no_account() -> None:
    """The oracle stops short of the end of the code; the subject faults there."""
    start = Start([machines.DATA, 0, 0, 0, machines.STACK + 64, 0, 0, 0], 0)
    away = Instruction(b"\xe9" + (machines.NEVER - 8 - machines.CODE - 5).to_bytes(4, "little"), ends=True)
    pair = Pair(32)
    for machine in (pair.oracle, pair.subject):
        machine.load(bytes(24), machines.NEVER - 8)  # ADD [EAX], AL
    assert pair.differences(Case([away], machines.CODE, [start])) == []
    assert pair.stops == {machines.STRAYED: 1}


def test_flags_that_are_undefined_on_some_path_are_known_and_kept_from_being_looked_at() -> None:
    shift = Instruction(b"\xd3\xe0", 0, UNDEFINED["shift out"])
    program = [
        Instruction(b"\x74", reads=ZF, target=0),
        shift,
        Instruction(b"", label=0),
        Instruction(b"\x11\xc0", STATUS, 0, CF),
    ]
    assert undefined_before(program) == [0, 0, UNDEFINED["shift out"], UNDEFINED["shift out"], 0]
    assert repaired(program) == [*program[:3], COMPARE, program[3]]


# What once differed


def test_enter_that_cannot_read_an_outer_frame_writes_nothing_for_it() -> None:
    bench = Bench(32, 1 << 20)
    bench.memory.write(0x7FF0, b"\xaa" * 12)
    bench.processor.set_gpr(ESP, 0x8000)
    bench.processor.set_gpr(EBP, 2)  # [EBP - 4] is around the limit
    bench.processor.intercepts.exceptions = 0xFFFFFFFF
    bench.processor.update_intercepts()
    bench.run(bytes.fromhex("c8 26 00 02 f4"))
    assert bench.processor.exit.vector == 12
    assert (bench.processor.gpr(ESP), bench.processor.gpr(EBP)) == (0x8000, 2)
    assert bench.memory.read(0x7FF0, 12) == b"\xaa" * 12


def test_enter_of_16_bits_on_a_stack_of_32_changes_the_low_half_of_ebp() -> None:
    """As silicon does; Unicorn changes all of it."""
    bench = Bench(32, 1 << 20)
    bench.processor.set_gpr(ESP, 0x8000)
    bench.processor.set_gpr(EBP, 0x12345678)
    bench.run(bytes.fromhex("66 c8 1000 00 f4"))
    assert (bench.processor.gpr(EBP), bench.processor.gpr(ESP)) == (0x12347FFE, 0x7FEE)
    assert bench.memory.read(0x7FFC, 4) == bytes.fromhex("0000 7856")


def test_enter_tries_where_it_leaves_esp_which_unicorn_does_not() -> None:
    """Ours faults in the turn before: it is of no account there (`compare.probed_by_enter`)."""
    program = [
        ("c8140000", 0x0),  # 01000  enter 0x14, 0
        ("0f8ff6ffffff", 0x0),  # 01004  jg 0x1000
        ("f4", 0x0),  # 0100a  hlt
    ]
    agree("int32", 0x1000, program, ([0x0, 0x0, 0x0, 0x0, 0xD564, 0x0, 0x0, 0x0], 0x880))


def test_a_store_of_16_bytes_over_the_end_of_a_page_is_all_or_nothing() -> None:
    """Unicorn leaves the first half of it behind (`compare.half_written`); ours nothing."""
    program = [
        ("0f119ef4ffffff", 0x0),  # 01000  movups xmmword ptr [esi - 0xc], xmm3
        ("f4", 0x0),  # 01007  hlt
    ]
    agree("int32", 0x1000, program, ([0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0xAFFE, 0x0], 0x0))
    at = machines.ALIASES[1] + 0x2FFE  # the same memory at another address
    agree("int32", 0x1000, program, ([0x0, 0x0, 0x0, 0x0, 0x0, 0x0, at, 0x0], 0x0))
    subject = machines.Subject(32, 0)
    subject.load(bytes.fromhex("0f119ef4ffffff f4"), 0x1000)
    outcome = subject.run(Start([0, 0, 0, 0, 0, 0, 0xAFFE, 0], 0), 0x1000)
    before = subject.run(Start([0, 0, 0, 0, 0, 0, 0xAFFE, 0], 0), 0x1007)
    assert (outcome.stop, before.stop) == (14, HALT)
    assert outcome.memory == before.memory


def test_a_rotation_through_carry_that_faults_leaves_all_flags_as_they_were() -> None:
    """Unicorn has what it computed them from in their place, of which NT and DF are bits; ours the flags before."""
    program = [
        ("155f000000", 0x0),  # 01000  adc eax, 0x5f
        ("66f7d8", 0x0),  # 01005  neg ax
        ("1cff", 0x0),  # 01008  sbb al, 0xff
        ("67c08ca60901", 0x0),  # 0100a  ror byte ptr [si + 0x9a6], 1
        ("d3541e9c", 0x0),  # 01010  rcl dword ptr [esi + ebx - 0x64], cl
        ("f4", 0x800),  # 01014  hlt
    ]
    agree(
        "int32",
        0x1000,
        program,
        ([0x0, 0x0, 0x0, 0xA082, 0x0, 0x0, 0xA12B, 0x0], 0x0),
    )


def test_what_the_oracle_writes_beyond_a_limit_is_not_there_for_the_next_case() -> None:
    """Unicorn knows no limits in real mode: its store of a word at FFFFh of DS reaches memory that is not made anew."""
    pair = Pair(16)
    program = [Instruction(bytes.fromhex("a3ffff")), Instruction(machines.HLT)]  # mov [ffffh], ax
    assert pair.differences(Case(program, 0x1000, [Start([0x1234, 0, 0, 0, 0xE000, 0, 0, 0], 0)], None)) == []
    assert pair.beyond == 1
    there = (machines.SEGMENTS[DS] << 4) + 0xFFFF
    assert pair.oracle.memory[there : there + 2] == bytes(pair.subject.host[there : there + 2])


def test_an_oracle_that_a_busy_host_held_up_begins_again_with_the_memory_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its watchdog has ended it in the middle; the second run must not find what the first one wrote."""
    pair = Pair(16)
    run = pair.oracle.run

    def held_up(start: Start, base: int, *, at_most: int = 0) -> machines.Outcome:
        outcome = run(start, base, at_most=at_most)
        return outcome if at_most else outcome._replace(stop=machines.STRAYED)

    monkeypatch.setattr(pair.oracle, "run", held_up)
    # inc word es:[2000h] / mov ax, es:[2000h] / hlt: where no run begins afresh
    program = [Instruction(bytes.fromhex(code)) for code in ("26ff060020", "26a10020", "f4")]
    assert pair.differences(Case(program, 0x1000, [Start([0, 0, 0, 0, 0xE000, 0, 0, 0], 0)], None)) == []


def test_a_run_that_the_watchdog_ended_is_none_that_halted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been ended right behind a byte that looks like a HLT, or before the registers were written back."""
    pair = Pair(32)
    dog = pair.oracle.watchdog
    run = dog.run

    def ended(uc: object, begin: int, at_most: int) -> None:
        run(uc, begin, at_most)
        dog.stopped = not at_most

    monkeypatch.setattr(dog, "run", ended)
    pair.oracle.load(machines.HLT, 0x1000)
    start = Start([0, 0, 0, 0, 0xE000, 0, 0, 0], 0)
    assert pair.oracle.run(start, 0x1000).stop == machines.STRAYED
    assert pair.oracle.run(start, 0x1000, at_most=machines.ENDLESS).stop == machines.HALT


def test_flags_that_the_oracle_is_asked_for_again_leave_its_memory_as_it_was() -> None:
    """The second program popped what the first, run again up to its fault, had pushed below 8000h."""
    program = [
        ("0fb1d2", 0x0),  # 01000  cmpxchg dx, dx
        ("c8100000", 0x0),  # 01003  enter 0x10, 0
        ("bd9736", 0x0),  # 01007  mov bp, 0x3697
        ("c9", 0x0),  # 0100a  leave
        ("e80f00", 0x0),  # 0100b  call 0x101d
        ("870eb88c", 0x800),  # 0100e  xchg word ptr [0x8cb8], cx
        ("57", 0x800),  # 01012  push di
        ("96", 0x800),  # 01013  xchg si, ax
        ("0f1f06297b", 0x800),  # 01014  nop word ptr [0x7b29]
        ("99", 0x800),  # 01019  cdq
        ("f7fd", 0x800),  # 0101a  idiv bp
        ("f4", 0x8D5),  # 0101c  hlt
        ("c1d907", 0x0),  # 0101d  rcr cx, 7
        ("c3", 0x800),  # 01020  ret
    ]
    agree(
        "int16",
        0x1000,
        program,
        ([0x1, 0xFF, 0x0, 0x7C66, 0xD832, 0x8D391296, 0x8000, 0x763A], 0x851),
        ([0x943AEB0E, 0xFFFF, 0x68, 0x7C66, 0xD832, 0x80, 0x42, 0x763A], 0x881),
    )


def test_a_program_that_strays_once_is_of_no_account_however_it_ends_the_next_time() -> None:
    """Its stack comes to lie in its code. It then loads segments, which the second run on the same machine began with.

    What ended our run was an IN among the data, which to the oracle was an instruction like others.
    """
    program = [
        ("6683ecf8", 0x0),  # 01000  sub esp, -8
        ("66b90c000000", 0x0),  # 01004  mov ecx, 0xc
        ("660fb6c0", 0x0),  # 0100a  movzx eax, al
        ("84f6", 0x0),  # 0100e  test dh, dh
        ("0f870500", 0x10),  # 01010  ja 0x1019
        ("16", 0x10),  # 01014  push ss
        ("660fabc8", 0x10),  # 01015  bts eax, ecx
        ("39ef", 0x894),  # 01019  cmp di, bp
        ("7707", 0x0),  # 0101b  ja 0x1024
        ("39da", 0x0),  # 0101d  cmp dx, bx
        ("e82000", 0x0),  # 0101f  call 0x1042
        ("eb0e", 0x0),  # 01022  jmp 0x1032
        ("c81a0000", 0x0),  # 01024  enter 0x1a, 0
        ("8baf6df3", 0x0),  # 01028  mov bp, word ptr [bx - 0xc93]
        ("c9", 0x0),  # 0102c  leave
        ("b84210", 0x0),  # 0102d  mov ax, 0x1042
        ("ffd0", 0x0),  # 01030  call ax
        ("0fbec2", 0x0),  # 01032  movsx ax, dl
        ("6683e903", 0x0),  # 01035  sub ecx, 3
        ("0f85cdff", 0x0),  # 01039  jne 0x100a
        ("338fb3ec", 0x0),  # 0103d  xor cx, word ptr [bx - 0x134d]
        ("f4", 0x10),  # 01041  hlt
        ("c3", 0x0),  # 01042  ret
    ]
    agree("int16-translated", 0x1000, program, ([0x0, 0x0, 0x0, 0x98E8, 0x0, 0x0, 0x0, 0x3F], 0x0))
