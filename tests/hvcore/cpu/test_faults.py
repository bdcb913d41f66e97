"""Which exception, in which order, with which error code; double and triple faults (SDM vol. 3 §6.9, §6.15)."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, EAX, EBX, ECX, ES, ESP, FLAT_DATA, SS, Bench
from tests.hvcore.cpu.test_execute import GDT, IDT, TSS, descriptor, frame, gate, protected, to_ring_3

DE, DB, NMI, UD, NM, DF, TS, NP, STACK, GP, PF, MF, AC = 0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17
EXTERNAL, EXCEPTION = 0, 3
CLASSES = [DE, TS, NP, STACK, GP]


@pytest.fixture
def flat() -> Bench:
    return protected(Bench(32, 2 << 20))


def vector_of(bench: Bench) -> int:
    return (bench.processor.rip - 0x9000) // 16


def broken(bench: Bench, vector: int, how: str) -> None:
    """Make the delivery of `vector` meet #NP, or #PF."""
    if how == "np":
        bench.write(IDT + 8 * vector, gate(8, 0, 0x0E))
    else:
        # The descriptor of selector 48h lies in a page that is not there.
        bench.write(IDT + 8 * vector, gate(0x48, 0, 0x8E))


def paged(bench: Bench) -> None:
    """Map the first MiB but 1F000, in which the GDT's second part lies."""
    for i in range(256):
        bench.write(0x101000 + 4 * i, struct.pack("<I", i << 12 | 7))
    bench.write(0x100000, struct.pack("<I", 0x101007))
    table = bench.memory.read(GDT, 0x48)
    bench.write(0x1F000 - 0x48, table)
    bench.write(0x101000 + 4 * 0x1F, bytes(4))
    p = bench.processor
    p.set_gdtr(0x1F000 - 0x48, 0x4F)
    p.set_cr(3, 0x100000)
    p.set_cr(0, 0x80000011)


def inject(bench: Bench, vector: int) -> int:
    has_error = vector in {DF, TS, NP, STACK, GP, PF, AC}
    bench.load(b"\x90\xf4")
    bench.processor.inject(EXCEPTION, vector, 0 if has_error else None)
    return bench.run()


@pytest.mark.parametrize("first", [DE, DB, NMI, UD, NM, TS, NP, STACK, GP, PF, MF, AC])
@pytest.mark.parametrize("second", [NP, PF])
def test_two_exceptions_are_one_double_fault_as_their_classes_say(
    flat: Bench, first: int, second: int
) -> None:
    if second == PF:
        paged(flat)
    if first == second:
        flat.write(IDT + 8 * DF, gate(8, 0x9000 + 16 * DF, 0x8E))
    broken(flat, first, "np" if second == NP else "pf")
    assert inject(flat, first) == ExitKind.HLT
    double = (first in CLASSES and second == NP) or first == PF
    assert vector_of(flat) == (DF if double else second)
    if double:
        assert frame(flat, 2) == (0, 0x7C00)
    elif second == NP:
        assert frame(flat, 2) == (first * 8 + 3, 0x7C00)
    else:
        assert (frame(flat, 2), flat.processor.cr(2)) == ((0, 0x7C00), 0x1F000)


@pytest.mark.parametrize("second", ["np", "pf"])
def test_a_fault_while_a_double_fault_is_delivered_shuts_down(flat: Bench, second: str) -> None:
    if second == "pf":
        paged(flat)
    broken(flat, DF, second)
    assert inject(flat, DF) == ExitKind.TRIPLE_FAULT
    assert flat.processor.activity == 2


@pytest.mark.parametrize("kind", [EXTERNAL, NMI])
def test_an_interrupt_is_benign(flat: Bench, kind: int) -> None:
    broken(flat, 2, "np")
    flat.load(b"\x90\xf4")
    flat.processor.inject(kind, 2)
    flat.processor.rflags = 0x202
    assert flat.run() == ExitKind.HLT
    assert (vector_of(flat), frame(flat, 1)[0]) == (NP, 2 * 8 + 3)


def test_a_second_exception_that_the_backend_wants_is_told_before_it_makes_a_double_fault(
    flat: Bench,
) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << NP
    p.update_intercepts()
    broken(flat, GP, "np")
    assert inject(flat, GP) == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.vectoring, p.exit.vectoring_vector) == (NP, True, GP)


@pytest.mark.parametrize(
    ("entry", "limit", "expected"),
    [
        (gate(8, 0x9300, 0xEE), 0x30 * 8 + 6, (GP, 0x30 * 8 + 2)),  # beyond the IDT
        (gate(8, 0x9300, 0xEC), 0x1FF, (GP, 0x30 * 8 + 2)),  # a call gate
        (gate(8, 0x9300, 0x0E), 0x1FF, (GP, 0x30 * 8 + 2)),  # DPL before presence
        (gate(8, 0x9300, 0x6E), 0x1FF, (NP, 0x30 * 8 + 2)),
        (gate(0, 0x9300, 0xEE), 0x1FF, (GP, 0)),
        (gate(3, 0x9300, 0xEE), 0x1FF, (GP, 0)),
        (gate(0x100, 0x9300, 0xEE), 0x1FF, (GP, 0x100)),
        (gate(0x10, 0x9300, 0xEE), 0x1FF, (GP, 0x10)),  # data
        (gate(0x28, 0x9300, 0xEE), 0x1FF, (GP, 0x28)),  # a TSS
    ],
)
def test_what_is_wrong_with_a_gate(flat: Bench, entry: bytes, limit: int, expected: tuple[int, int]) -> None:
    flat.write(IDT + 0x30 * 8, entry)
    flat.processor.set_idtr(IDT, limit)
    assert to_ring_3(flat, b"\xcd\x30") == ExitKind.HLT
    assert (vector_of(flat), frame(flat, 1)[0]) == expected
    assert frame(flat, 2)[1] == 0x8000


def test_code_of_an_outer_ring_cannot_handle_an_event(flat: Bench) -> None:
    flat.write(IDT + 0x30 * 8, gate(0x1B, 0x9300, 0xEE))
    assert flat.run(b"\xcd\x30") == ExitKind.HLT
    assert (vector_of(flat), frame(flat, 1)[0]) == (GP, 0x18)


@pytest.mark.parametrize(
    ("ss0", "access", "expected"),
    [
        (0, 0x92, (TS, 0)),
        (0x48, 0x92, None),
        (0x4B, 0x92, (TS, 0x48)),  # RPL
        (0x48, 0xF2, (TS, 0x48)),  # DPL
        (0x48, 0x90, (TS, 0x48)),  # read-only
        (0x48, 0x9A, (TS, 0x48)),  # code
        (0x48, 0x12, (STACK, 0x48)),  # not present
        (0x200, 0x92, (TS, 0x200)),
    ],
)
def test_what_is_wrong_with_the_inner_stack(
    flat: Bench, ss0: int, access: int, expected: tuple[int, int] | None
) -> None:
    p = flat.processor
    flat.write(GDT + 0x48, descriptor(0, 0xFFFFF, access, 0xC))
    p.set_gdtr(GDT, 0x4F)
    flat.write(TSS + 8, struct.pack("<I", ss0))
    p.intercepts.exceptions = 1 << TS | 1 << STACK
    p.update_intercepts()
    kind = to_ring_3(flat, b"\xcd\x30")
    if expected is None:
        assert kind == ExitKind.HLT
    else:
        assert kind == ExitKind.EXCEPTION
        assert (p.exit.vector, p.exit.error_code) == expected
        assert (p.cpl, p.rip, p.segment(SS).selector) == (3, 0x8000, 0x23)


@pytest.mark.parametrize("code", ["cd30", "9a000000003300"])
def test_no_room_on_the_inner_stack_names_it(flat: Bench, code: str) -> None:
    p = flat.processor
    flat.write(GDT + 0x48, descriptor(0, 0xFFF, 0x92, 0x4))
    p.set_gdtr(GDT, 0x4F)
    flat.write(TSS + 4, struct.pack("<II", 0x1008 + 4, 0x48))
    p.intercepts.exceptions = 1 << STACK
    p.update_intercepts()
    assert to_ring_3(flat, bytes.fromhex(code)) == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (STACK, 0x48)
    assert (p.cpl, p.segment(SS).selector, p.gpr(ESP)) == (3, 0x23, 0x7000)


def test_no_room_on_the_same_stack_has_no_selector_but_tells_an_external_event(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << STACK
    p.update_intercepts()
    p.set_segment(SS, 0x10, 0, 0xFFF, 0x4093)
    flat.load(b"\x90\xf4")
    p.inject(EXTERNAL, 0x30)
    assert flat.run() == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (STACK, 1)
    assert flat.run(b"\xcd\x30") == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (STACK, 0)


def test_the_inner_stack_is_checked_before_the_handlers_offset(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << TS | 1 << GP
    p.update_intercepts()
    flat.write(GDT + 0x48, descriptor(0, 0xFFF, 0x9A, 0x4))
    p.set_gdtr(GDT, 0x4F)
    flat.write(IDT + 0x30 * 8, gate(0x48, 0x9300, 0xEE))
    assert to_ring_3(flat, b"\xcd\x30") == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (GP, 0)  # a good stack, and an offset beyond the segment
    flat.write(TSS + 8, bytes(4))
    p.set_cr(3, 0)
    assert flat.run() == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (TS, 0)


@pytest.mark.parametrize(
    ("vector", "pushes"), [(DE, 3), (UD, 3), (DF, 4), (TS, 4), (NP, 4), (STACK, 4), (GP, 4), (AC, 4)]
)
def test_the_frame_has_an_error_code_where_the_exception_has_one(
    flat: Bench, vector: int, pushes: int
) -> None:
    before = flat.processor.gpr(ESP)
    inject(flat, vector)
    assert before - flat.processor.gpr(ESP) == 4 * pushes


# Order


def test_an_instruction_that_is_too_long_is_refused_whatever_it_is(flat: Bench) -> None:
    assert flat.run(b"\x66" * 14 + b"\x0f\x0b") == ExitKind.HLT
    assert (vector_of(flat), frame(flat, 2)) == (GP, (0, 0x7C00))


def test_undefined_comes_before_privilege(flat: Bench) -> None:
    assert to_ring_3(flat, bytes.fromhex("f0fa")) == ExitKind.HLT  # LOCK CLI
    assert vector_of(flat) == UD


def test_a_code_breakpoint_comes_before_the_fault_of_its_instruction(flat: Bench) -> None:
    flat.processor.set_dr(0, 0x7C00)
    flat.processor.set_dr(7, 0x402)
    assert flat.run(b"\x0f\x0b") == ExitKind.HLT
    assert vector_of(flat) == DB


def test_the_trap_of_an_instruction_comes_before_the_fault_of_the_next(flat: Bench) -> None:
    flat.processor.rflags = 0x102
    assert flat.run(b"\x40\x0f\x0b") == ExitKind.HLT
    assert vector_of(flat) == DB


@pytest.mark.parametrize(
    "code", ["0f01c8", "0f01c9", "0fc7f0", "0faa", "0f05", "0f07", "0f0a", "0fff", "0f01c1"]
)
def test_what_this_processor_does_not_have_is_undefined(flat: Bench, code: str) -> None:
    """MONITOR, MWAIT, RDRAND, RSM, SYSCALL, SYSRET, VMCALL and what never was."""
    assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
    assert vector_of(flat) == UD


# Alignment


AM = 1 << 18
AC_FLAG = 1 << 18


def ring_3(bench: Bench, code: str, flags: int = AC_FLAG, cr0: int = AM) -> int:
    p = bench.processor
    p.set_cr(0, p.cr(0) | cr0)
    p.set_segment(DS, 0x23, 0, 0xFFFFFFFF, 0xC0F3)
    bench.write(0x8000, bytes.fromhex(code) + b"\xcd\x30")
    p.set_gpr(ESP, 0x4FEC)
    bench.write(0x4FEC, struct.pack("<IIIII", 0x8000, 0x1B, flags | 2, 0x7000, 0x23))
    assert bench.run(b"\xcf") == ExitKind.HLT
    return vector_of(bench)


@pytest.mark.parametrize(
    ("code", "misaligned"),
    [
        ("a1 01600000", True),
        ("a1 00600000 a1 02600000", True),  # hits what the TLB could hold
        ("a1 04600000", False),
        ("66a1 01600000", True),
        ("66a1 02600000", False),
        ("a0 01600000", False),
        ("a3 02600000", True),
        ("8305 02600000 01", True),
        ("8305 04600000 01", False),
        ("66833d 03600000 01", True),
        ("dd05 04600000", True),  # a double
        ("dd05 08600000", False),
        ("6a01 83ec01 6a01", True),
        ("c42d 02600000", True),
    ],
)
def test_a_misaligned_access_of_ring_3_is_an_alignment_check(
    flat: Bench, code: str, misaligned: bool
) -> None:
    flat.write(0x6004, struct.pack("<I", 0x23))
    assert ring_3(flat, code) == (AC if misaligned else 0x30)
    if misaligned:
        assert frame(flat, 1)[0] == 0
        assert flat.processor.cpl == 0


@pytest.mark.parametrize(("flags", "cr0"), [(0, AM), (AC_FLAG, 0)])
def test_without_the_flag_or_cr0_am_nothing_is_checked(flat: Bench, flags: int, cr0: int) -> None:
    assert ring_3(flat, "a1 01600000", flags, cr0) == 0x30


def test_ring_0_is_not_checked(flat: Bench) -> None:
    p = flat.processor
    p.set_cr(0, p.cr(0) | AM)
    p.rflags = AC_FLAG | 2
    assert flat.run(bytes.fromhex("a1 01600000 f4")) == ExitKind.HLT
    assert p.rip == 0x7C05


def test_the_flag_counts_from_the_next_instruction_on(flat: Bench) -> None:
    assert ring_3(flat, "a1 01600000 9c 810c2400000400 9d a1 01600000", 0) == AC
    assert frame(flat, 2)[1] == 0x8000 + 5 + 9
    flat.reset()
    protected(flat)
    assert ring_3(flat, "9c 812424fffffbff 9d a1 01600000", AC_FLAG) == 0x30


def test_the_processors_own_accesses_are_not_checked(flat: Bench) -> None:
    """Descriptor tables may lie anywhere."""
    p = flat.processor
    table = flat.memory.read(GDT, 0x48)
    flat.write(GDT + 0x101, table)
    p.set_gdtr(GDT + 0x101, 0x47)
    assert ring_3(flat, "66b82300 8ed8") == 0x30


# Segments


@pytest.mark.parametrize(
    ("attributes", "limit", "address", "size", "allowed"),
    [
        (0x4097, 0xFFF, 0x1000, 4, True),  # expand-down, 32 bits: above the limit
        (0x4097, 0xFFF, 0xFFF, 1, False),
        (0x4097, 0xFFF, 0xFFD, 4, False),
        (0x4097, 0xFFF, 0xFFFFFFFC, 4, True),
        (0x4097, 0xFFF, 0xFFFFFFFD, 4, False),
        (0x0097, 0xFFF, 0xFFFC, 4, True),  # 16 bits: up to 64 KiB
        (0x0097, 0xFFF, 0xFFFD, 4, False),
        (0x0097, 0xFFF, 0x10000, 1, False),
        (0x4093, 0xFFF, 0xFFC, 4, True),
        (0x4093, 0xFFF, 0xFFD, 4, False),
        (0x4093, 0xFFFFFFFF, 0xFFFFFFFD, 4, False),  # does not wrap
    ],
)
def test_limits(flat: Bench, attributes: int, limit: int, address: int, size: int, allowed: bool) -> None:
    p = flat.processor
    p.set_segment(DS, 0x10, 0x10000 if address < 0x20000 else 0x11000, limit, attributes)
    code = {1: "a0", 4: "a1"}[size] + struct.pack("<I", address).hex() + "f4"
    assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
    assert (p.rip == 0x7C05) == allowed
    if not allowed:
        assert (vector_of(flat), frame(flat, 1)[0]) == (GP, 0)


@pytest.mark.parametrize(
    ("attributes", "load", "store"),
    [
        (0x4091, True, False),  # read-only
        (0x4093, True, True),
        (0x4099, False, False),  # execute-only
        (0x409B, True, False),
        (0x409F, True, False),  # conforming
    ],
)
def test_types(flat: Bench, attributes: int, load: bool, store: bool) -> None:
    p = flat.processor
    for code, allowed in (("a1 00600000 f4", load), ("a3 00600000 f4", store)):
        p.set_segment(DS, 0x10, 0, 0xFFFF, attributes)
        assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
        assert (p.rip == 0x7C05) == allowed


def test_the_stack_segment_faults_with_its_own_vector(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << STACK | 1 << GP
    p.update_intercepts()
    p.set_segment(SS, 0x10, 0, 0xFFF, 0x4093)
    for code, vector in (
        ("50", STACK),
        ("8b0424", STACK),
        ("368b0500600000", STACK),
        ("2e8b0500600000", None),
    ):
        kind = flat.run(bytes.fromhex(code) + b"\xf4")
        if vector is None:
            assert kind == ExitKind.HLT
        else:
            assert (kind, p.exit.vector, p.exit.error_code) == (ExitKind.EXCEPTION, vector, 0)


def test_code_runs_up_to_its_limit_and_not_beyond(flat: Bench) -> None:
    p = flat.processor
    p.set_segment(CS, 8, 0, 0x7C01, 0x409B)
    p.intercepts.exceptions = 1 << GP
    p.update_intercepts()
    assert flat.run(b"\x40\x40\xf4") == ExitKind.EXCEPTION
    assert (p.rip, p.exit.vector, p.exit.error_code) == (0x7C02, GP, 0)
    p.set_segment(CS, 8, 0, 0x7C01, 0x409B)
    assert flat.run(b"\x40\x66\xb8\x34\x12") == ExitKind.EXCEPTION
    assert p.rip == 0x7C01


def test_code_of_16_bits_in_a_big_segment_wraps_nothing_in_unreal_mode() -> None:
    real = Bench()
    p = real.processor
    p.set_segment(ES, 0, 0, 0xFFFFFFFF, 0x8093)
    real.write(0x123456, b"\x5c")
    assert real.run(bytes.fromhex("2667a0 56341200 f4")) == ExitKind.HLT
    assert p.gpr(EAX) & 0xFF == 0x5C
    p.set_segment(ES, 0, 0, 0xFFFF, 0x93)
    p.intercepts.exceptions = 1 << GP
    p.update_intercepts()
    assert real.run(bytes.fromhex("2667a0 56341200 f4")) == ExitKind.EXCEPTION


def test_registers_survive_what_faults(flat: Bench) -> None:
    p = flat.processor
    p.set_segment(DS, 0x10, 0, 0xFFF, FLAT_DATA & 0x7FFF)
    for number, value in ((EBX, 0x7FFF), (ECX, 5)):
        p.set_gpr(number, value)
    before = flat.registers()
    assert flat.run(bytes.fromhex("0fc10b")) == ExitKind.HLT  # XADD [EBX], ECX
    after = flat.registers()
    assert [v for i, v in enumerate(after) if i != ESP] == [v for i, v in enumerate(before) if i != ESP]
