"""The decoder against Capstone: what is an instruction, and how long it is."""

import random

import pytest

from hvcore.cpu.constants import KINDS
from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import Bench

capstone = pytest.importorskip("capstone", reason="the oracle, Capstone, is not installed")

# Opcodes of later processors, and of units this one has not: Capstone knows them.
TWO_BYTE_KNOWN = {
    0x00, 0x01, 0x02, 0x03, 0x06, 0x08, 0x09, 0x0B, 0x20, 0x21, 0x22, 0x23, 0x30, 0x31, 0x32, 0x33, *range(0x40, 0x50),
    *range(0x80, 0xA4), 0xA4, 0xA5, 0xA8, 0xA9, 0xAB, 0xAC, 0xAD, 0xAF, *range(0xB0, 0xB8), *range(0xBA, 0xC2),
    *range(0xC8, 0xD0),
}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def candidates(bits: int) -> list[bytes]:
    source = random.Random(bits)
    made = []
    for opcode in range(256):
        if opcode in {
            0x0F,
            0x26,
            0x2E,
            0x36,
            0x3E,
            0x64,
            0x65,
            0x66,
            0x67,
            0xF0,
            0xF2,
            0xF3,
            0x62,
            0xC4,
            0xC5,
            0xD6,
        }:
            continue
        if 0xD8 <= opcode <= 0xDF:
            continue
        for _ in range(40):
            prefix = source.choice([b"", b"\x66", b"\x67", b"\x66\x67", b"\x2e", b"\x36\x66"])
            made.append(prefix + bytes([opcode]) + source.randbytes(12))
    for opcode in TWO_BYTE_KNOWN - {0xA2 + 0x100}:
        for _ in range(40):
            prefix = source.choice([b"", b"\x66", b"\x67"])
            made.append(prefix + bytes([0x0F, opcode]) + source.randbytes(12))
    return made


@pytest.mark.parametrize("bits", [16, 32])
def test_lengths_are_capstones(bench: Bench, bits: int) -> None:
    oracle = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_16 if bits == 16 else capstone.CS_MODE_32)
    wrong = []
    tried = 0
    for code in candidates(bits):
        ours = bench.processor.decode(code, bits)
        theirs = next(oracle.disasm_lite(code, 0, 1), None)
        assert ours is not None
        if theirs is None or ours.kind == KINDS["UNDEFINED"]:
            continue
        tried += 1
        if ours.length != theirs[1]:
            wrong.append((code[: max(ours.length, theirs[1])].hex(), ours.length, theirs[1:]))
    assert wrong == []
    assert tried > 8000


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("0f0b", "UD2"),
        ("f0 01c0", "LOCK on a register"),
        ("f0 8b00", "LOCK on a load"),
        ("f0 3900", "LOCK CMP"),
        ("8dc0", "LEA of a register"),
        ("c5c0", "LDS of a register"),
        ("fef8", "FE /7"),
        ("fff8", "FF /7"),
        ("8fc8", "8F /1"),
        ("0fc7c8", "CMPXCHG8B of a register"),
        ("0fff", "UD0"),
    ],
)
def test_what_is_no_instruction_is_undefined(bench: Bench, code: str, what: str) -> None:
    decoded = bench.processor.decode(bytes.fromhex(code.replace(" ", "")) + bytes(12), 32)
    assert decoded is not None
    assert decoded.kind == KINDS["UNDEFINED"], what


@pytest.mark.parametrize(
    "code",
    ["0fae00", "0fae08", "0fae10", "0fae18", "0fae38", "0faee8", "0faef0", "0faef8"],
    ids=["FXSAVE", "FXRSTOR", "LDMXCSR", "STMXCSR", "CLFLUSH", "LFENCE", "MFENCE", "SFENCE"],
)
def test_a_prefix_makes_of_0f_ae_an_instruction_that_this_processor_has_not(bench: Bench, code: str) -> None:
    """SDM vol. 2 table A-6, group 15; an EPYC refuses them all, but 66 with CLFLUSH, which is its CLFLUSHOPT."""
    for bits, prefix, allowed in (
        (32, "", True), (16, "", True), (32, "2e67", True), (32, "66", False), (16, "66", False),
        (32, "f2", False), (32, "f3", False), (32, "66f3", False), (32, "f267", False),
    ):  # fmt: skip
        decoded = bench.processor.decode(bytes.fromhex(prefix + code) + bytes(12), bits)
        assert decoded is not None
        assert (decoded.kind != KINDS["UNDEFINED"]) == allowed, (bits, prefix)


@pytest.mark.parametrize("prefix", ["66", "f2", "f3"])
@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("0fc708", True),  # CMPXCHG8B
        ("0f31", True),
        ("0fa2", True),
        ("0f0d00", True),
        ("0f1800", True),
        ("0f1f00", True),
        ("0fbcc1", True),  # TZCNT came later: it is BSF
        ("0fbdc1", True),
        ("0f77", False),  # EMMS
        ("0fc300", False),  # MOVNTI
        ("0f5000", False),
    ],
)
def test_what_a_prefix_means_to_the_rest_of_the_two_byte_map(code: str, allowed: bool, prefix: str) -> None:
    """Silicon ignores it where it selects nothing, and has no such instruction where it does."""
    bench = Bench(32)
    p = bench.processor
    p.set_cr(4, 0x200)
    p.set_gpr(0, 0x6000)
    p.intercepts.exceptions = 1 << 6
    p.intercepts.cpuid = p.intercepts.rdtsc = False
    p.update_intercepts()
    kind = bench.run(bytes.fromhex(prefix + code) + b"\xf4")
    assert (kind == ExitKind.HLT, kind == ExitKind.EXCEPTION) == (allowed, not allowed)


def test_an_instruction_that_ends_early_is_none(bench: Bench) -> None:
    assert bench.processor.decode(bytes.fromhex("8b84"), 32) is None
    assert bench.processor.decode(b"\x66" * 15, 32) is None


def test_prefixes_and_operand_are_reported(bench: Bench) -> None:
    decoded = bench.processor.decode(bytes.fromhex("f3 26 66 67 a5".replace(" ", "")) + bytes(8), 32)
    assert decoded is not None
    assert (decoded.length, decoded.opcode, decoded.rep) == (5, 0xA5, 0xF3)
    assert (decoded.operand_size, decoded.address_size, decoded.segment) == (2, 2, 0)
