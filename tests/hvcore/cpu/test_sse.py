"""MMX, SSE and SSE2, to the bit: against the host's own, and what only named cases reach."""

import os
import random
import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.opcodes import VECTORS, VECTORS_WITH_IMMEDIATE
from hvcore.cpu.processor import COMPILED
from tests.hvcore.cpu.bench import EAX, EDI, Bench
from tests.hvcore.cpu.silicon import Case, Outcome, Subject, needs_silicon, on_silicon

CASES = int(os.environ.get("DEVMODEL_SILICON_CASES", "30000" if COMPILED else "1500"))
ESTIMATES = {0x52, 0x53}
PREFIX = (b"", b"\x66", b"\xf3", b"\xf2")
REGISTERS_ONLY, MEMORY_ONLY = 8, 16
# with a general register in ModR/M reg, or in r/m
GENERAL_REG = {(0x50, 0), (0x50, 1), (0xD7, 0), (0xD7, 1), (0xC5, 0), (0xC5, 1), (0xC3, 0),
               (0x2C, 2), (0x2C, 3), (0x2D, 2), (0x2D, 3)}  # fmt: skip
GENERAL_RM = {(0x6E, 0), (0x6E, 1), (0x7E, 0), (0x7E, 1), (0xC4, 0), (0xC4, 1), (0x2A, 2), (0x2A, 3)}
REAL = [0x2A, 0x2C, 0x2D, 0x2E, 0x2F, 0x51, 0x58, 0x59, 0x5A, 0x5B, 0x5C, 0x5D, 0x5E, 0x5F, 0xC2, 0xE6]
FLAGS = 0x8D5


def single(r: random.Random) -> int:
    exponent = r.choice(
        [
            0,
            1,
            2,
            0x7E,
            0x7F,
            0x80,
            0x9D,
            0x9E,
            0x9F,
            0xFD,
            0xFE,
            0xFF,
            r.randrange(0x70, 0x90),
            r.randrange(256),
        ]
    )
    fraction = r.choice(
        [0, 0, 1, 0x400000, 0x400001, 0x3FFFFF, 0x7FFFFF, r.getrandbits(23), r.getrandbits(23)]
    )
    return r.getrandbits(1) << 31 | exponent << 23 | fraction


def double(r: random.Random) -> int:
    near = r.choice([0x36A, 0x380, 0x381, 0x3FE, 0x3FF, 0x400, 0x41D, 0x41E, 0x41F, 0x47E, 0x47F])
    exponent = r.choice(
        [0, 1, 2, 0x34, 0x7FD, 0x7FE, 0x7FF, near, near, r.randrange(0x3F0, 0x410), r.randrange(2048)]
    )
    top = 1 << 51
    fraction = r.choice(
        [
            0,
            0,
            1,
            top,
            top + 1,
            top - 1,
            (1 << 52) - 1,
            1 << 28,
            3 << 28,
            r.getrandbits(52),
            r.getrandbits(23) << 29,
        ]
    )
    return r.getrandbits(1) << 63 | exponent << 52 | fraction


def register(r: random.Random) -> bytes:
    which = r.randrange(5)
    if which < 2:
        return b"".join(single(r).to_bytes(4, "little") for _ in range(4))
    if which < 4:
        return b"".join(double(r).to_bytes(8, "little") for _ in range(2))
    return b"".join(
        r.choice([b"\0\0", b"\xff\x7f", b"\0\x80", b"\xff\xff", b"\x80\x7f", r.randbytes(2)])
        for _ in range(8)
    )


def mxcsr_for(r: random.Random) -> int:
    mxcsr = r.randrange(4) << 13 | r.getrandbits(6)
    mxcsr |= r.getrandbits(6) << 7 if r.random() < 0.25 else 0x1F80
    return mxcsr | r.choice([0, 0, 0, 0x40, 0x8000, 0x8040])


def image_for(r: random.Random) -> bytes:
    mxcsr = mxcsr_for(r)
    control = 0x37E if r.random() < 0.05 else 0x37F
    status = r.randrange(8) << 11 | r.getrandbits(1) | r.getrandbits(15) & 0x4700
    tags = r.choice([0, 0xFF, r.getrandbits(8)])
    head = struct.pack("<HHBBHIIIIII", control, status, tags, 0, 0, 0, 0, 0, 0, mxcsr, 0)
    stack = b"".join(register(r)[:8] + r.randbytes(2) + bytes(6) for _ in range(8))
    return head + stack + b"".join(register(r) for _ in range(8)) + bytes(512 - 288)


def instruction(r: random.Random, opcode: int, prefix: int) -> bytes:
    form = VECTORS[opcode, prefix]
    if opcode == 0x77:
        return b"\x0f\x77"
    reg, rm = r.randrange(8), r.randrange(8)
    if (opcode, prefix) in GENERAL_REG:
        reg = 1
    if (opcode, prefix) in GENERAL_RM:
        rm = 1
    memory = form & MEMORY_ONLY or (not form & REGISTERS_ONLY and r.random() < 0.3)
    modrm = reg << 3 if memory else 0xC0 | reg << 3 | rm
    immediate = (
        bytes([r.choice([r.randrange(20), r.randrange(256)])]) if opcode in VECTORS_WITH_IMMEDIATE else b""
    )
    return PREFIX[prefix] + bytes([0x0F, opcode, modrm]) + immediate


def facts(o: Outcome) -> dict[str, object]:
    control, status, tags = struct.unpack_from("<HHB", o.image)
    return {
        "trap": 16 if o.trap in {16, 19} else o.trap,
        "x87": (hex(control), hex(status), hex(tags)),
        "mm": [o.image[32 + 16 * i : 42 + 16 * i].hex() for i in range(8)],
        "mxcsr": hex(struct.unpack_from("<I", o.image, 24)[0]),
        "xmm": [o.image[160 + 16 * i : 176 + 16 * i].hex() for i in range(8)],
        "memory": o.memory.hex(),
        "ecx": hex(o.ecx),
        "flags": hex(o.flags & FLAGS),
    }


def show(case: Case) -> str:
    mxcsr = struct.unpack_from("<I", case.image, 24)[0]
    registers = " ".join(case.image[160 + 16 * i : 176 + 16 * i].hex() for i in range(8))
    return f"{case.code.hex()} mxcsr={mxcsr:x} memory={case.memory.hex()} ecx={case.ecx:x} xmm: {registers}"


def random_case(r: random.Random, choices: list[tuple[int, int]]) -> Case:
    code = instruction(r, *r.choice(choices))
    return Case(
        code,
        image_for(r),
        register(r),
        struct.unpack("<I", register(r)[:4])[0],
        2 | r.getrandbits(12) & FLAGS,
    )


EXACT = [v for v in VECTORS if v[0] not in ESTIMATES and v[0] != 0xF7]


def test_instructions_end_as_on_the_host() -> None:
    needs_silicon()
    r = random.Random(int(os.environ.get("DEVMODEL_SILICON_SEED", "3")))
    subject = Subject()
    reals = [v for v in EXACT if v[0] in REAL]
    for n in range(CASES):
        case = random_case(r, EXACT if n & 1 else reals)
        theirs, ours = facts(on_silicon(case)), facts(subject.run(case))
        assert ours == theirs, f"case {n}: {show(case)}"


def test_masked_stores_write_the_bytes_that_are_marked() -> None:
    bench = Bench(32, 1 << 20)
    bench.processor.set_cr(4, 0x600)
    bench.write(0x9000, bytes(range(16)) + bytes.fromhex("80007f80 ff000000 00000000 00000081"))
    bench.processor.set_gpr(EDI, 0x9101)
    code = bytes.fromhex(
        "660f6f0500900000 660f6f0d10900000 660ff7c1 0f6f0500900000 0f6f0d10900000 83c720 0ff7c1 f4"
    )
    assert bench.run(code) == ExitKind.HLT
    assert bench.memory.read(0x9101, 16) == bytes([0, 0, 0, 3, 4, *[0] * 10, 15])
    assert bench.memory.read(0x9121, 16) == bytes([0, 0, 0, 3, 4, *[0] * 11])


@pytest.mark.parametrize(("opcode", "root"), [(0x53, False), (0x52, True)])
def test_estimates_are_within_the_bound_of_the_manual(opcode: int, root: bool) -> None:
    r = random.Random(5)
    subject = Subject()
    for _ in range(CASES // 20):
        value = struct.unpack("<f", struct.pack("<I", r.randrange(0x01000000, 0x7D000000)))[0]
        image = bytearray(image_for(r))
        image[176:180] = struct.pack("<f", value)
        out = subject.run(Case(bytes([0xF3, 0x0F, opcode, 0xC1]), bytes(image), bytes(16)))
        result = struct.unpack_from("<f", out.image, 160)[0]
        exact = value**-0.5 if root else 1 / value
        assert abs(result - exact) <= exact * 1.5 / 4096
        assert out.image[24:28] == image[24:28]  # no exceptions


@pytest.mark.parametrize("opcode", [0x52, 0x53])
def test_estimates_of_special_numbers_are_as_on_the_host(opcode: int) -> None:
    needs_silicon()
    subject = Subject()
    for bits in (
        0,
        1 << 31,
        1,
        0x80000001,
        0x7FFFFF,
        0x7F800000,
        0xFF800000,
        0x7FC00001,
        0x7F800001,
        0xFF8ABCDE,
    ):
        image = bytearray(image_for(random.Random(bits)))
        image[176:180] = struct.pack("<I", bits)
        case = Case(bytes([0xF3, 0x0F, opcode, 0xC1]), bytes(image), bytes(16))
        assert facts(subject.run(case)) == facts(on_silicon(case)), hex(bits)


@pytest.fixture
def flat() -> Bench:
    bench = Bench(32, 1 << 20)
    bench.processor.intercepts.exceptions = 0xFFFFFFFF
    bench.processor.update_intercepts()
    bench.processor.set_cr(0, 0x31)
    bench.processor.set_cr(4, 0x600)
    return bench


ADDPS, PADDB, FXSAVE = bytes.fromhex("0f58c1"), bytes.fromhex("0ffcc1"), bytes.fromhex("0fae0500900000")


@pytest.mark.parametrize(
    ("cr0", "cr4", "sse", "mmx", "fxsave"),
    [
        (0x31, 0x600, None, None, None),
        (0x31, 0, 6, None, None),
        (0x39, 0x600, 7, 7, 7),
        (0x39, 0, 6, 7, 7),
        (0x35, 0x600, 6, 6, 7),
        (0x33, 0x600, None, None, None),
    ],
)
def test_what_the_control_registers_allow(
    flat: Bench, cr0: int, cr4: int, sse: int | None, mmx: int | None, fxsave: int | None
) -> None:
    flat.processor.set_cr(0, cr0)
    flat.processor.set_cr(4, cr4)
    for code, expected in ((ADDPS, sse), (PADDB, mmx), (FXSAVE, fxsave)):
        kind = flat.run(code + b"\xf4")
        assert (flat.processor.exit.vector if kind == ExitKind.EXCEPTION else None) == expected


def test_what_the_processor_lacks_is_undefined(flat: Bench) -> None:
    flat.processor.has_sse2 = 0
    for code, defined in (
        ("0f58c1", True),
        ("660f58c1", False),
        ("0ffcc1", True),
        ("660ffcc1", False),
        ("0fd4c1", False),
    ):
        assert (flat.run(bytes.fromhex(code + "f4")) == ExitKind.HLT) == defined, code
    flat.processor.has_sse = 0
    flat.processor.has_mmx = 0
    for code in ("0f58c1", "0ffcc1", "0fe0c1", "0f77", "0fae1500900000"):
        assert flat.run(bytes.fromhex(code + "f4")) == ExitKind.EXCEPTION, code
        assert flat.processor.exit.vector == 6


def test_an_unmasked_exception_is_xm_or_undefined_without_osxmmexcpt(flat: Bench) -> None:
    flat.write(0x9000, struct.pack("<I", 0x1D80))  # #Z unmasked
    divide = bytes.fromhex("0fae1500900000 0f57c9 660f76c0 660f72d019 660f72f017 0f5ec1")  # 1.0 / 0
    for cr4, vector in ((0x600, 19), (0x200, 6)):
        flat.processor.set_cr(4, cr4)
        assert flat.run(divide + b"\xf4") == ExitKind.EXCEPTION
        assert flat.processor.exit.vector == vector
    assert flat.run(bytes.fromhex("0fae1d10900000f4")) == ExitKind.HLT
    assert flat.memory.read(0x9010, 4) == struct.pack("<I", 0x1D80 | 4)


def test_packed_operands_in_memory_are_aligned_and_scalar_ones_need_not_be(flat: Bench) -> None:
    for code, fine in (
        ("0f580501900000", False),
        ("0f100501900000", True),
        ("f30f580501900000", True),
        ("660ffc0508900000", False),
        ("0ffc0501900000", True),
        ("0f290501900000", False),
    ):
        kind = flat.run(bytes.fromhex(code + "f4"))
        assert (kind == ExitKind.HLT) == fine, code
        assert fine or flat.processor.exit.vector == 13


def test_reserved_bits_of_mxcsr_fault(flat: Bench) -> None:
    flat.write(0x9000, struct.pack("<I", 0x10000))
    assert flat.run(bytes.fromhex("0fae1500900000")) == ExitKind.EXCEPTION
    assert flat.processor.exit.vector == 13


def test_fences_and_the_cache_line_flush_do_nothing(flat: Bench) -> None:
    assert flat.run(bytes.fromhex("0faee8 0faef0 0faef8 0fae3d00900000 f4")) == ExitKind.HLT


def test_an_x87_exception_that_waits_stops_mmx_but_not_sse(flat: Bench) -> None:
    code = bytes.fromhex("dbe3 66c705009000007b03 d92d00900000 d9e8 d9ee def9")
    assert flat.run(code + ADDPS + b"\xf4") == ExitKind.HLT
    assert flat.run(PADDB) == ExitKind.EXCEPTION
    assert flat.processor.exit.vector == 16


def test_mandatory_prefixes_mean_the_same_in_16_bit_code() -> None:
    bench = Bench(16, 1 << 20)
    bench.processor.set_cr(4, 0x600)
    bench.write(0x9000, struct.pack("<4f", 1, 2, 3, 4))
    # MOVAPS, CVTPS2PD, MOVD EAX
    assert bench.run(bytes.fromhex("0f28060090 0f5ac8 660f73d120 660f7ec8 f4")) == ExitKind.HLT
    assert bench.processor.gpr(EAX) == 0x3FF00000
