"""The x87, to the bit: against the host's own, and what only named cases reach (SDM vol. 1 ch. 8)."""

import os
import random
import struct

import pytest

from hvcore.cpu.exitinfo import Emulate, ExitKind
from hvcore.cpu.processor import COMPILED
from tests.hvcore.cpu.bench import EAX, Bench
from tests.hvcore.cpu.silicon import Case, Outcome, Subject, needs_silicon, on_silicon

CASES = int(os.environ.get("DEVMODEL_SILICON_CASES", "30000" if COMPILED else "800"))
FLAGS = 0x8D5
EXPONENTS = [
    0,
    1,
    2,
    63,
    64,
    0x3C00,
    0x3C01,
    0x3F68,
    0x3F69,
    0x3F6A,
    0x3F80,
    0x3F81,
    0x3FBE,
    0x3FFD,
    0x3FFE,
    0x3FFF,
    0x4000,
    0x4001,
    0x400E,
    0x401D,
    0x401E,
    0x403D,
    0x403E,
    0x403F,
    0x407E,
    0x407F,
    0x43FE,
    0x43FF,
    0x7FFD,
    0x7FFE,
    0x7FFF,
]
SIGNIFICANDS = [
    0,
    1,
    1 << 63,
    (1 << 63) + 1,
    (1 << 64) - 1,
    3 << 62,
    (3 << 62) + 1,
    (1 << 62),
    (1 << 63) | (1 << 39),
    (1 << 63) | (1 << 10),
    (1 << 64) - (1 << 40),
    (1 << 64) - (1 << 39),
    (1 << 64) - (1 << 11),
    (1 << 64) - (1 << 10),
    (1 << 63) - 1,
    0xA << 60,
    0xC90FDAA22168C235,
]


def extended(r: random.Random) -> bytes:
    """An 80-bit number: corners, neighbours, numbers of every size, and what is no number."""
    how = r.random()
    exp = (
        r.choice(EXPONENTS)
        if how < 0.5
        else r.randrange(0x3FF0, 0x4010)
        if how < 0.85
        else r.randrange(0x8000)
    )
    sig = (
        r.choice(SIGNIFICANDS)
        if r.random() < 0.4
        else r.getrandbits(64) | (1 << 63 if r.random() < 0.95 else 0)
    )
    if r.random() < 0.25:
        sig = sig >> (n := r.randrange(64)) << n | 1 << 63
    if exp and not sig >> 63 and r.random() < 0.8:
        sig |= 1 << 63
    return struct.pack("<QH", sig & ((1 << 64) - 1), exp | r.getrandbits(1) << 15)


def memory_for(r: random.Random) -> bytes:
    which = r.randrange(5)
    if which == 0:
        return extended(r) + bytes(6)
    if which == 1:
        single = r.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, r.randrange(256)]) << 23 | r.choice(
            [0, 1, 0x400000, 0x7FFFFF, r.getrandbits(23)]
        )
        return struct.pack("<I", single | r.getrandbits(1) << 31) + bytes(12)
    if which == 2:
        frac = r.choice([0, 1, 1 << 51, (1 << 52) - 1, r.getrandbits(52)])
        return struct.pack(
            "<Q",
            r.choice([0, 1, 0x3FF, 0x7FE, 0x7FF, r.randrange(2048)]) << 52 | frac | r.getrandbits(1) << 63,
        ) + bytes(8)
    if which == 3:
        digits = [r.randrange(10) for _ in range(18)]
        return (
            bytes(digits[i] | digits[i + 1] << 4 for i in range(0, 18, 2))
            + bytes([r.choice([0, 0x80])])
            + bytes(6)
        )
    return r.choice(
        [r.randbytes(16), bytes(16), b"\xff" * 16, bytes([0, 0x80] * 8), bytes([0, 0, 0, 0x80] * 4)]
    )


def head_for(r: random.Random, *, unmasked: bool = True) -> bytes:
    """What an FXSAVE image begins with, before the registers."""
    control = 0x40 | r.choice([0, 0x200, 0x300, 0x300]) | r.randrange(4) << 10
    control |= r.getrandbits(6) if unmasked and r.random() < 0.3 else 0x3F
    top = r.randrange(8)
    status = (
        top << 11
        | r.getrandbits(15) & 0x4700
        | (r.getrandbits(7) & control & 0x3F if r.random() < 0.2 else 0)
    )
    tags = 0xFF if r.random() < 0.6 else r.getrandbits(8)
    if r.random() < 0.3:
        tags &= ~(1 << ((top - 1) & 7))
    return struct.pack("<HHBBHIIIIII", control, status, tags, 0, 0, 0, 0, 0, 0, 0x1F80, 0)


def image_for(r: random.Random, *, unmasked: bool = True) -> bytes:
    head = head_for(r, unmasked=unmasked)
    return head + b"".join(extended(r) + bytes(6) for _ in range(8)) + bytes(512 - 160)


def number(image: bytes, i: int) -> str:
    sig, se = struct.unpack_from("<QH", image, 32 + 16 * i)
    return f"{se:04x}:{sig:016x}"


def show(case: Case) -> str:
    control, status, tags = struct.unpack_from("<HHB", case.image)
    stack = " ".join(number(case.image, i) for i in range(2))
    state = f"cw={control:04x} sw={status:04x} tags={tags:02x} st: {stack}"
    return f"{case.code.hex()} {state} mem={case.memory.hex()} flags={case.flags:x}"


def facts(o: Outcome) -> dict[str, object]:
    control, status, tags = struct.unpack_from("<HHB", o.image)
    top = status >> 11 & 7
    stack = [number(o.image, i) for i in range(8)]
    return {"trap": o.trap, "cw": hex(control), "sw": hex(status), "tags": hex(tags), "top": top, "st": stack,
            "memory": o.memory.hex(), "eax": hex(o.eax & 0xFFFF), "flags": hex(o.flags & FLAGS)}  # fmt: skip


TRANSCENDENTAL = {0xF0, 0xF1, 0xF2, 0xF3, 0xF9, 0xFB, 0xFE, 0xFF}
REGISTER = [bytes([a, b]) for a in range(0xD8, 0xE0) for b in range(0xC0, 0x100)]
EXACT = [c for c in REGISTER if not (c[0] == 0xD9 and c[1] in TRANSCENDENTAL)]
MEMORY = [
    bytes([a, b << 3])
    for a in range(0xD8, 0xE0)
    for b in range(8)
    if (a, b) not in {(0xD9, 4), (0xD9, 6), (0xDD, 4), (0xDD, 6), (0xDB, 1), (0xDD, 1), (0xDF, 1)}
]
MATHEMATICAL = [*(bytes([0xD8, 0xC1 + 8 * i]) for i in (0, 1, 4, 5, 6, 7)),
                *(bytes([0xD9, i]) for i in (0xFA, 0xFC, 0xFD, 0xF4, 0xF5, 0xF8))]  # fmt: skip


def test_instructions_end_as_on_the_host() -> None:
    needs_silicon()
    r = random.Random(int(os.environ.get("DEVMODEL_SILICON_SEED", "1")))
    subject = Subject()
    for n in range(CASES):
        code = r.choice(r.choice([EXACT, MEMORY, MATHEMATICAL]))
        case = Case(code, image_for(r), memory_for(r), flags=2 | r.getrandbits(12) & FLAGS)
        theirs, ours = facts(on_silicon(case)), facts(subject.run(case))
        assert ours == theirs, f"case {n}: {show(case)}"


def operand_for(r: random.Random, op: int, image: bytearray) -> None:
    """Bring ST(0) into the domain of a transcendental instruction, most of the time."""
    if op == 0xF0 and r.random() < 0.8:
        exponent = r.randrange(0x3F80, 0x3FFF) | r.getrandbits(1) << 15
    elif op == 0xF9:
        exponent = r.randrange(0x3F80, 0x3FFD) | r.getrandbits(1) << 15
    elif op == 0xF1 and r.random() < 0.7:
        image[41] &= 0x7F
        return
    else:
        return
    image[40:42] = struct.pack("<H", exponent)
    image[39] |= 0x80


def rank(outcome: Outcome, i: int) -> int:
    """The place of ST(i) among all numbers."""
    sig, se = struct.unpack_from("<QH", outcome.image, 32 + 16 * i)
    place = (se & 0x7FFF) << 63 | sig & ((1 << 63) - 1)
    return -place - 1 if se >> 15 else place


def test_transcendental_results_are_within_one_place_of_the_host() -> None:
    needs_silicon()
    r = random.Random(int(os.environ.get("DEVMODEL_SILICON_SEED", "2")))
    subject = Subject()
    for _ in range(CASES // 3):
        op = r.choice(sorted(TRANSCENDENTAL))
        image = bytearray(image_for(r))
        if r.random() < 0.7:
            top = image[3] >> 3 & 7
            image[4] = 0xFF & ~(1 << ((top - 1) & 7))
        operand_for(r, op, image)
        case = Case(bytes([0xD9, op]), bytes(image), bytes(16))
        silicon, ours = on_silicon(case), subject.run(case)
        theirs, mine = facts(silicon), facts(ours)
        for name in ("cw", "tags", "top", "trap"):
            assert mine[name] == theirs[name], f"{name}: {show(case)}"
        status = [struct.unpack_from("<H", o.image, 2)[0] & ~0x200 for o in (silicon, ours)]  # but C1
        assert hex(status[1]) == hex(status[0]), show(case)
        assert all(abs(rank(silicon, i) - rank(ours, i)) <= 1 for i in range(8)), show(case)


def test_a_tiny_logarithm_underflows_even_if_it_is_exact() -> None:
    image = struct.pack("<HHBBHIIIIII", 0xA7F, 0x222D, 0xF7, 0, 0, 0, 0, 0, 0, 0x1F80, 0)
    image += struct.pack("<QQQQ", 1 << 63, 0x3FBE, 1, 0) + bytes(512 - 64)
    out = Subject().run(Case(b"\xd9\xf1", image, bytes(16)))
    assert struct.unpack_from("<H", out.image, 2)[0] == 0x283F
    assert struct.unpack_from("<QH", out.image, 32) == (65, 0x8000)


# Named cases: exceptions as the system sees them, and the images in memory

DATA = 0x9000
FNINIT, FLD1, FLDZ, FLDPI, FWAIT = b"\xdb\xe3", b"\xd9\xe8", b"\xd9\xee", b"\xd9\xeb", b"\x9b"
DIVIDE = b"\xde\xf9"  # FDIVP ST(1), ST(0)
UNMASK_ZERO = bytes.fromhex("66 c7 05 00900000 7b03 d9 2d 00900000")  # FLDCW of 37B


@pytest.fixture
def flat() -> Bench:
    bench = Bench(32, 1 << 20)
    bench.processor.intercepts.exceptions = 0xFFFFFFFF
    bench.processor.update_intercepts()
    bench.processor.set_cr(0, 0x31)
    return bench


def words(bench: Bench, at: int, form: str) -> tuple[int, ...]:
    return struct.unpack(form, bench.memory.read(at, struct.calcsize(form)))


def test_an_unmasked_exception_waits_for_the_next_waiting_instruction(flat: Bench) -> None:
    code = FNINIT + UNMASK_ZERO + FLD1 + FLDZ + DIVIDE
    assert flat.run(code + b"\xdf\xe0\x40" + FLD1) == ExitKind.EXCEPTION  # FNSTSW AX does not wait
    assert flat.processor.exit.vector == 16
    assert flat.processor.rip == 0x7C00 + len(code) + 3
    assert flat.processor.gpr(EAX) & 0xFFFF == 0x8084 + 1 | 6 << 11
    assert flat.run(code + FWAIT) == ExitKind.EXCEPTION
    assert flat.processor.exit.vector == 16


def test_without_ne_the_exception_pulls_ferr_and_the_instruction_waits_for_ignne(flat: Bench) -> None:
    flat.processor.set_cr(0, 0x11)
    code = FNINIT + UNMASK_ZERO + FLD1 + FLDZ + DIVIDE
    assert flat.run(code + FLD1 + b"\xf4") == ExitKind.BUDGET
    assert (flat.processor.ferr, flat.processor.rip) == (1, 0x7C00 + len(code))
    flat.processor.ignne = 1
    assert flat.run() == ExitKind.HLT


def test_fnclex_takes_ferr_back(flat: Bench) -> None:
    flat.processor.set_cr(0, 0x11)
    assert flat.run(FNINIT + UNMASK_ZERO + FLD1 + FLDZ + DIVIDE + FLD1) == ExitKind.BUDGET
    assert flat.run(b"\xdb\xe2\xf4") == ExitKind.HLT
    assert flat.processor.ferr == 0


@pytest.mark.parametrize(
    ("cr0", "escape", "wait"),
    [(0x31, None, None), (0x39, 7, None), (0x35, 7, None), (0x33, None, None), (0x3B, 7, 7)],
)
def test_device_not_available(flat: Bench, cr0: int, escape: int | None, wait: int | None) -> None:
    flat.run(FNINIT + b"\xf4")
    flat.processor.set_cr(0, cr0)
    for code, expected in (
        (FLD1, escape),
        (FWAIT, wait),
        (b"\x0f\xae\x05" + struct.pack("<I", DATA), escape),
    ):
        kind = flat.run(code + b"\xf4")
        assert (flat.processor.exit.vector if kind == ExitKind.EXCEPTION else None) == expected


def test_without_a_coprocessor_its_instructions_do_nothing(flat: Bench) -> None:
    flat.processor.has_fpu = 0
    assert flat.run(b"\x66\xb8\x34\x12\xdb\xe3\xdf\xe0\xf4") == ExitKind.HLT
    assert flat.processor.gpr(EAX) & 0xFFFF == 0x1234


def test_fnsave_in_32_bit_protected_format_and_frstor(flat: Bench) -> None:
    code = FNINIT + FLDPI + FLD1 + bytes.fromhex("d8 05 00980000 dd 35 00900000")  # FADD m32; FNSAVE
    assert flat.run(code + b"\xf4") == ExitKind.HLT
    environment = words(flat, DATA, "<7I")
    assert environment == (0xFFFF037F, 0xFFFF3000, 0xFFFF0FFF, 0x7C06, 0x0005 << 16 | 8, 0x9800, 0xFFFF0010)
    assert words(flat, DATA + 28, "<QHQH") == (1 << 63, 0x3FFF, 0xC90FDAA22168C235, 0x4000)
    back = bytes.fromhex("dd 25 00900000 dd 35 00a00000 f4")  # FRSTOR; FNSAVE
    assert flat.run(back) == ExitKind.HLT
    assert flat.memory.read(0xA000, 108) == flat.memory.read(DATA, 108)


def test_fnstenv_in_16_bit_protected_format_masks_all(flat: Bench) -> None:
    code = FNINIT + UNMASK_ZERO + FLD1 + bytes.fromhex("66 d9 35 00900000 d9 3d 10900000 f4")
    assert flat.run(code) == ExitKind.HLT
    assert words(flat, DATA, "<7H") == (0x37B, 0x3800, 0x3FFF, 0x7C11, 8, 0, 0)
    assert words(flat, DATA + 16, "<H") == (0x37F,)


@pytest.mark.parametrize("wide", [False, True])
def test_fnstenv_in_the_real_mode_formats(wide: bool) -> None:
    bench = Bench(16, 1 << 20)
    bench.processor.set_segment(3, 0x1000, 0x10000, 0xFFFF, 0x93)
    store = b"\x66\xd9\x36\x00\x90" if wide else b"\xd9\x36\x00\x90"
    assert bench.run(FNINIT + bytes.fromhex("d9 06 34 92") + store + b"\xf4") == ExitKind.HLT
    if wide:
        expected = (0xFFFF037F, 0xFFFF3800, 0xFFFF7FFF, 0xFFFF7C02, 0x106, 0xFFFF9234, 0x1000)
        assert words(bench, 0x19000, "<7I") == expected
    else:
        assert words(bench, 0x19000, "<7H") == (0x37F, 0x3800, 0x7FFF, 0x7C02, 0x106, 0x9234, 0x1000)


def test_a_fault_of_the_operand_changes_nothing(flat: Bench) -> None:
    flat.processor.set_segment(3, 16, 0, 0x9007, 0x4093)
    assert flat.run(FNINIT + FLD1 + bytes.fromhex("db 3d 00900000")) == ExitKind.EXCEPTION  # FSTP of 80 bits
    assert flat.processor.exit.vector == 13
    assert flat.memory.read(DATA, 10) == bytes(10)
    assert flat.run(bytes.fromhex("dd d8 df e0 f4")) == ExitKind.HLT
    assert flat.processor.gpr(EAX) & 0xFFFF == 0


def test_the_processor_comes_up_with_its_registers_zero_and_not_empty(flat: Bench) -> None:
    flat.processor.reset()
    flat.reset()
    assert flat.run(bytes.fromhex("d9 35 00900000 f4")) == ExitKind.HLT
    assert words(flat, DATA, "<3I") == (0xFFFF0040, 0xFFFF0000, 0xFFFF5555)


@pytest.mark.parametrize(
    "code", ["0fae0500800b00", "0fae0d00800b00", "d92500800b00", "dd3500800b00", "dd2500800b00"]
)
def test_an_image_in_what_is_no_memory_faults(flat: Bench, code: str) -> None:
    assert flat.run(bytes.fromhex(code)) == ExitKind.GUEST_PHYSICAL
    flat.processor.emulate_begin()
    assert flat.processor.emulate() == Emulate.FAULT


def test_fxsave_wants_16_byte_boundaries(flat: Bench) -> None:
    assert flat.run(bytes.fromhex("0f ae 05 08900000")) == ExitKind.EXCEPTION
    assert flat.processor.exit.vector == 13


def test_an_encoding_that_is_no_instruction_is_undefined_even_while_an_exception_waits() -> None:
    subject = Subject()
    waiting = bytearray(image_for(random.Random(0), unmasked=False))
    waiting[0:4] = struct.pack("<HH", 0x37E, 0x8081)  # invalid operation, unmasked
    quiet = bytes([*waiting[:2], 0, 0, *waiting[4:]])
    undefined = {
        code: subject.run(Case(code, quiet, bytes(16))).trap == 6
        for code in [*REGISTER, *(bytes([a, b << 3]) for a in range(0xD8, 0xE0) for b in range(8))]
        if code not in {b"\xd9\x20", b"\xdd\x20"}  # FLDENV and FRSTOR, of zeros
    }
    assert any(undefined.values())
    for code, no_instruction in undefined.items():
        trap = subject.run(Case(code, bytes(waiting), bytes(16))).trap
        assert (trap == 6) == no_instruction, code.hex()
