"""The decoder against Capstone: what is an instruction, and how long it is."""

import random

import pytest

from hvcore.cpu.constants import KINDS
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


def test_an_instruction_that_ends_early_is_none(bench: Bench) -> None:
    assert bench.processor.decode(bytes.fromhex("8b84"), 32) is None
    assert bench.processor.decode(b"\x66" * 15, 32) is None


def test_prefixes_and_operand_are_reported(bench: Bench) -> None:
    decoded = bench.processor.decode(bytes.fromhex("f3 26 66 67 a5".replace(" ", "")) + bytes(8), 32)
    assert decoded is not None
    assert (decoded.length, decoded.opcode, decoded.rep) == (5, 0xA5, 0xF3)
    assert (decoded.operand_size, decoded.address_size, decoded.segment) == (2, 2, 0)
