"""Blocks as host code: they end as the interpreter would have ended, whatever happens inside them.

`translate_after` is 1, so that everything is translated before it runs first; jumps are linked the second time.
Random sequences run translated too: see `differential/translated.py` and test_sequences.py.
"""

import gc
import itertools
import math
import resource
import struct
import threading
from pathlib import Path

import pytest

from hvcore.cpu.constants import KINDS
from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED, EVERYTHING, SIGNATURE, Processor
from tests.hvcore.cpu.bench import (
    CS,
    DS,
    EAX,
    EBX,
    ECX,
    EDI,
    EDX,
    ES,
    ESI,
    ESP,
    FLAT_CODE,
    FLAT_DATA,
    FS,
    GS,
    SS,
    Bench,
)
from tests.hvcore.cpu.test_paging import DIRECTORY, FRAME, PAE, PAGE, PG, PS, PSE, TABLE, WP, P, Paged, W

pytestmark = pytest.mark.skipif(not COMPILED, reason="only the compiled processor translates")

UNDEFINED, GENERAL, PAGE_FAULT = 6, 13, 14


def translating(size: int = 1 << 20) -> Bench:
    """Flat protected mode, where every block is translated before it runs, and every exception stops."""
    bench = Bench(32, size)
    p = bench.processor
    if not p.translate_after:
        pytest.skip("this host runs no code that we make")
    p.translate_after = 1
    p.set_gpr(EDX, 0)  # not what reset leaves there
    p.intercepts.exceptions = 0xFFFFFFFF
    p.update_intercepts()
    return bench


@pytest.fixture
def flat() -> Bench:
    return translating()


def go(bench: Bench, at: int = 0x7C00, budget: int = 1000) -> int:
    bench.processor.rip = at
    return bench.run(budget=budget)


def faulted(bench: Bench) -> tuple[int, int]:
    """Vector and RIP of the exception that stopped it."""
    assert bench.processor.exit.kind == ExitKind.EXCEPTION
    return bench.processor.exit.vector, bench.processor.rip


# Segments


def test_the_code_segment_is_never_written_through(flat: Bench) -> None:
    flat.processor.set_gpr(EAX, 1)
    # mov [9000], eax / inc eax / mov cs:[9000], eax
    assert flat.run(bytes.fromhex("a3 00900000 40 2ea3 00900000")) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C06)
    assert flat.memory.read(0x9000, 4) == b"\1\0\0\0"
    assert flat.processor.gpr(EAX) == 2


def test_a_code_segment_that_may_only_be_executed_is_not_read(flat: Bench) -> None:
    flat.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE & ~2)
    # mov eax, [9000] / mov eax, cs:[9000] / hlt
    assert flat.run(bytes.fromhex("a1 00900000 2ea1 00900000 f4")) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C05)
    flat.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE)
    assert go(flat) == ExitKind.HLT


def test_the_last_of_a_block_that_loads_a_segment_leaves_the_host_code(flat: Bench) -> None:
    """At the end of a page, or after 32 operations, a POP DS ends its block; what follows is linked to flat code."""
    # pop ds / (next page) mov eax, [2000] / hlt
    flat.write(0x8FFF, bytes.fromhex("1f a1 00200000 f4"))
    flat.write(0x1000, bytes(16) + bytes.fromhex("ffff 0000 0093 cf00 ffff 0050 0093 4000"))
    flat.processor.set_gdtr(0x1000, 0x1F)
    flat.write(0x2000, b"flat")
    flat.write(0x7000, b"base")
    for selector, expected in ((0x10, b"flat"), (0x10, b"flat"), (0x10, b"flat"), (0x18, b"base")):
        flat.memory.write(0x6000, bytes([selector]))
        flat.processor.set_gpr(ESP, 0x6000)
        assert go(flat, 0x8FFF) == ExitKind.HLT
        assert flat.processor.gpr(EAX).to_bytes(4, "little") == expected


# Flags


TURNED = {  # what makes the XOR ECX, ECX behind it a MOV ECX, ECX, the TEST a STOSB, the IMUL a PUSH
    "ADD of 8 bits": "8005 {} 58  33c9",
    "ADD of an 8-bit register": "0005 {}  33c9",
    "ADD of 32 bits": "8305 {} 58  33c9",
    "ADD of a register": "0105 {}  33c9",
    "XOR": "8035 {} b8  33c9",
    "INC": "ff05 {}  a990909090",
    "DEC": "ff0d {}  69c090909090",
}


@pytest.mark.parametrize("how", TURNED)
def test_a_block_that_wrote_over_itself_leaves_with_its_flags(flat: Bench, how: str) -> None:
    """Even if what followed would have overwritten them: something else follows now."""
    before = TURNED[how].partition("  ")[0].format("00000000")
    at = 0x7C02 + len(bytes.fromhex(before))
    code = "39c0" + TURNED[how].format(at.to_bytes(4, "little").hex()) + "f4"
    results = []
    for after in (0, 1):
        p = flat.processor
        p.translate_after = after
        flat.load(bytes.fromhex(code))
        p.set_gpr(EAX, 0x58)
        p.set_gpr(EDI, 0x9000)
        assert go(flat) == ExitKind.HLT
        results.append(p.rflags)
    assert results[1] == results[0]
    assert results[0] != 0x46  # of the comparison at the start


# The code cache


def test_reset_forgets_the_block_that_a_run_begins_with(flat: Bench) -> None:
    for value in (1, 2):
        flat.reset()
        flat.memory.write(0x7C00, bytes([0xB8, value, 0, 0, 0, 0xF4]))  # nobody is told: it is forgotten
        for _ in range(2):
            assert go(flat) == ExitKind.HLT
            assert flat.processor.gpr(EAX) == value


# Memory for host code


def mapped(*rights: str) -> int:
    """Bytes of this process's address space with these rights."""
    total = 0
    for row in Path("/proc/self/maps").read_text().splitlines():
        where, has, *_ = row.split()
        if has[:3] in rights and "host-code" in row:
            first, _, last = where.partition("-")
            total += int(last, 16) - int(first, 16)
    return total


def test_a_processor_gives_the_memory_of_its_host_code_back() -> None:
    gc.collect()
    before = mapped("rw-"), mapped("r-x")
    bench = Bench(32, 1 << 20)
    size = 64 << 20 if bench.processor.translate_after else 0
    assert (mapped("rw-") - before[0], mapped("r-x") - before[1]) == (size, size)
    del bench
    gc.collect()
    assert (mapped("rw-"), mapped("r-x")) == before


def writable_and_executable() -> int:
    """How many mappings of this process are both; of tests' own libraries, some may be."""
    return sum(row.split()[1].startswith("rwx") for row in Path("/proc/self/maps").read_text().splitlines())


def test_no_memory_of_host_code_may_be_written_and_executed() -> None:
    before = writable_and_executable()
    bench = Bench(32, 1 << 20)
    assert mapped("rwx") == 0
    assert writable_and_executable() == before
    del bench


def test_a_system_that_gives_no_memory_for_host_code_has_every_block_interpreted() -> None:
    bench = Bench(32, 1 << 20)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (60 << 20), limits[1]))
    try:
        p = bench.processor = Processor(bench.memory, bench.pins)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    bench.reset()
    assert p.translate_after == 0
    for after in (0, 1):  # and whoever insists does no harm
        p.translate_after = after
        p.set_gpr(EAX, 0)
        assert bench.run(bytes.fromhex("b9 64000000 40 e2fd f4")) == ExitKind.HLT
        assert p.gpr(EAX) == 100
    assert p.statistics["translated"] == 0


# What is pending


LOOP = bytes.fromhex("40 ebfd")  # again: inc eax / jmp again


@pytest.mark.parametrize("level", [1, 2, 0x80000000])
def test_a_linked_loop_leaves_for_a_pin_whatever_bit_raises_it(flat: Bench, level: int) -> None:
    p = flat.processor
    p.intercepts.external_interrupt = True
    p.update_intercepts()
    assert flat.run(LOOP, 100) == ExitKind.BUDGET
    pins = memoryview(flat.pins).cast("I")
    raised = threading.Timer(0.02, lambda: pins.__setitem__(0, level))
    raised.start()
    assert flat.run(budget=1 << 33) == ExitKind.EXTERNAL_INTERRUPT
    raised.join()
    assert p.icount < 1 << 33
    assert p.gpr(EAX) == p.icount // 2 & 0xFFFFFFFF
    assert p.rip == 0x7C00


def test_wherever_a_pin_stops_host_code_the_interpreter_comes_by_the_same_count(flat: Bench) -> None:
    # again: call 7D00 / rol ebx, 3 / sbb [9000], ebx / loop again;  7D00: add eax, ecx / adc edx, [9000] / ret
    reference = Bench(32, 1 << 20)
    reference.processor.translate_after = 0
    for bench in (flat, reference):
        bench.write(0x7D00, bytes.fromhex("01c8 1315 00900000 c3"))
        bench.load(bytes.fromhex("e8 fb000000 c1c303 191d 00900000 e2f0"))
        for number in (EAX, EBX, ECX, EDX):
            bench.processor.set_gpr(number, 0x12345678)
    p = flat.processor
    p.intercepts.external_interrupt = True
    p.update_intercepts()
    pins = memoryview(flat.pins).cast("I")
    for pause in range(8):
        raised = threading.Timer(pause / 4000, lambda: pins.__setitem__(0, 1))
        before = p.icount
        raised.start()
        assert flat.run(budget=1 << 33) == ExitKind.EXTERNAL_INTERRUPT
        raised.join()
        pins[0] = 0
        assert reference.run(budget=p.icount - before) == ExitKind.BUDGET
        assert seen(flat, 0) == seen(reference, 0)
        assert flat.memory.read(0x9000, 4) == reference.memory.read(0x9000, 4)


def test_a_linked_loop_leaves_for_stop(flat: Bench) -> None:
    p = flat.processor
    assert flat.run(LOOP, 100) == ExitKind.BUDGET
    stopped = threading.Timer(0.02, p.stop)
    stopped.start()
    assert flat.run(budget=1 << 33) == ExitKind.BUDGET
    stopped.join()
    assert p.icount < 1 << 33
    assert p.gpr(EAX) == p.icount // 2 & 0xFFFFFFFF
    assert p.rip == 0x7C00


@pytest.mark.parametrize("odd", [0, 1])
def test_a_linked_loop_leaves_for_the_budget_exactly_at_its_count(flat: Bench, odd: int) -> None:
    p = flat.processor
    flat.load(LOOP)
    for budget in range(1, 41):
        p.set_gpr(EAX, 0)
        before = p.icount
        p.rip = 0x7C00 + odd
        assert flat.run(budget=budget) == ExitKind.BUDGET
        assert p.icount - before == budget
        assert p.gpr(EAX) == (budget + 1 - odd) // 2
        assert p.rip == 0x7C00 + (budget + odd) % 2


# Every operation that has a translation


OPERATIONS = {  # each before a HLT at 7C00 + its length; ESI and EBP point at data, ECX is a small number
    "MOV32_RR": "89c8", "MOV32_RI": "b8 78563412", "LOAD32": "8b06", "STORE32": "8906",
    "STORE32_I": "c706 78563412", "LOAD8": "8a26 8a06", "STORE8": "8826 884601", "ADD32_RR": "01c8",
    "ADD32_RM": "0306", "ADD32_RI": "05 78563412", "OR32_RR": "09c8", "OR32_RM": "0b06",
    "OR32_RI": "0d 78563412", "AND32_RR": "21c8", "AND32_RM": "2306", "AND32_RI": "25 78563412",
    "SUB32_RR": "29c8", "SUB32_RM": "2b06", "SUB32_RI": "2d 78563412", "XOR32_RR": "31c8",
    "XOR32_RM": "3306", "XOR32_RI": "35 78563412", "CMP32_RR": "39c8", "CMP32_RM": "3b06",
    "CMP32_RI": "3d 78563412", "TEST32_RR": "85c8", "TEST32_RI": "a9 78563412", "INC32": "40", "DEC32": "48",
    "SHL32_I": "c1e005", "SHR32_I": "c1e805", "SHR32_I by 1": "d1e8", "SAR32_I": "c1f805",
    "ROL32_I": "c1c005", "ROR32_I": "c1c805", "ADD32_MR": "0106", "ADD32_MI": "8306 85", "INC32_M": "ff06",
    "DEC32_M": "ff0e", "CMP32_MR": "3906", "CMP32_MI": "833e 85", "CMP8_RR": "38cc", "CMP8_RI": "3c85",
    "CMP8_RM": "3a26", "CMP8_MI": "803e85", "TEST8_RR": "84cc", "TEST8_RI": "a885", "ALU8_RR": "00cc",
    "ALU8_RR with carry": "18cc", "ALU8_RI": "80d485", "ALU8_RM": "1226", "LOAD16": "668b06",
    "STORE16": "668906", "CMPJ32_RR": "39c8 7700", "CMPJ32_RI": "83f805 7c00", "TESTJ32_RR": "85c8 7800",
    "PUSH32": "54 50", "PUSH32_I": "6a85", "POP32": "58 5c", "LEA32": "8d448e85 8d0cc5 01000000",
    "MOVZX8_R": "0fb6c4", "MOVZX8_M": "0fb606", "MOVZX16_M": "0fb706", "IMUL32_RR": "0fafc1",
    "IMUL32_RM": "0faf06", "JZ": "7400", "JNZ": "7500", "JCC": "7000", "JMP": "eb00", "CALL32": "e800000000",
    "RET32": "68 067c0000 c3", "RET32 with a number": "68 087c0000 c20800", "MOV_RR": "88cc",
    "MOV_RI": "b485", "MOV_MI": "c60685 66c7460234 12", "ALU_RR": "11c8", "ALU_RI": "83d885",
    "ALU_RM": "1306", "ALU_MR": "1106", "ALU_MR of 8 bits": "0006 2046 01", "ALU_MI": "831e85",
    "ALU_MI of 8 bits": "802e85", "ALU_MI, TEST": "f606 85 f706 78563412", "NOT_R": "f7d0", "NEG_R": "f7d8",
    "SHIFT_RI": "c0e403 66c1e803", "SHIFT_RI, RCL": "c1d005", "SHIFT_RC": "d3e0", "SHIFT_RC, SHR": "d3e8",
    "SHIFT_RC, SAR": "d3f8", "SHIFT_RC, RCR": "d3d8", "SHIFT_RC of 8 bits": "d2ec", "MOVZX_R": "0fb7c1",
    "MOVSX_R": "0fbec4 0fbfc8", "MOVSX_M": "0fbe06 0fbf4e01", "XCHG_RR": "91", "CWD": "99", "CBW": "98",
    "PUSH_M": "ff36", "JMP_R": "b8 077c0000 ffe0", "JMP_M": "c706 087c0000 ff26",
    "CALL_R": "b8 077c0000 ffd0", "CALL_M": "c706 087c0000 ff16", "SETCC_R": "0f92c4 0f9fc0",
    "CMOV_R": "0f46c1", "CMOV_M": "0f4c06", "BSWAP": "0fc8", "LEAVE_FRAME": "c9", "IMUL_RI": "6bc185",
    "IMUL_MI": "69067856 3412", "MUL_R": "f7e1", "MUL_R, IMUL": "f7e9", "MUL_M": "f726",
    "MUL_M, IMUL": "f72e", "SHLD_RI": "0fa4c805", "SHRD_RI": "0facc805", "SHLD_RC": "0fa5c8",
    "SHRD_RC": "0fadc8", "NOP": "90 0f1f00", "LODS": "ac 66ad ad", "SCAS": "ae 66af af",
    "ALU_RR of 16 bits": "6601c8 6619ca", "ALU_RI of 16 bits": "6605 3412 6683d285",
    "ALU_RM of 16 bits": "662b06 661316", "ALU_MR of 16 bits": "662906 661106",
    "ALU_MI of 16 bits": "668106 3412 668316 85 66833e 80", "ADD32_RR, its carry behind INC": "01c8 41 11ca",
    "SUB32_RI, its carry behind DEC": "2d 78563412 49 19ca",
    "AND32_RR, its carry behind INC": "21c8 41 11ca", "ALU_RR, its carry behind INC": "11c8 41 4a 7200",
    "ALU8_RI, its carry behind INC": "80d485 41 7200", "CMP32_RM, its carry behind DEC": "3b06 49 0f92c0",
    "SHL32_I, its carry behind INC": "c1e003 41 11ca", "SAR32_I, its carry behind INC": "c1f803 41 0f92c2",
    "MUL_R, its carry behind DEC": "f7e1 49 19ca", "IMUL32_RR, its carry behind INC": "0fafc1 41 11ca",
    "INC32, the carry of before behind it": "40 11ca", "DEC32, twice": "40 48 49 7200",
    "SHIFT_RC, its carry behind INC": "01c0 d3e0 41 11ca",
    "SHIFT_RC, of 0, its carry behind INC": "01c0 b100 d3e0 41 11ca",
    "ROL32_I, its carry behind INC": "01c8 c1c205 41 11ca",
    "ALU_RI, ADC of ESP": "01c8 83d401 19e0 29c4 01e1",
    "CMP32_RR in the block before": "39c8 eb00 7200 7600 7c00 7000 7a00 0f9fc0",
    "CMP8_RR in the block before": "38cc eb00 7200 7c00 7000 0f9ec0",
    "TEST8_RR in the block before": "84cc eb00 7e00 7a00",
    "ALU_RR of 16 bits in the block before": "6639c8 eb00 7200 7c00 7000 7800",
    "XOR32_RR in the block before": "31c8 eb00 7e00",
    "ADD32_RR in the block before": "01c8 eb00 7200 7c00 7000",
    "ALU_RR, ADC in the block before": "11c8 eb00 7600 7d00",
    "INC32 behind CMP of the block before": "39c8 eb00 41 11ca",
    "INC32 behind AND of the block before": "21c8 eb00 41 7200",
    "INC32 behind ADD of the block before": "01c8 eb00 41 7200",
    "INC32 behind DEC of the block before": "39c8 49 eb00 41 7600",
    "INC32 behind SHL of the block before": "c1e003 eb00 41 7600",
    "INC32 behind CMP of 8 bits": "38cc eb00 41 7600", "ADD32_MR with LOCK": "f00106",
    "ALU_MI with LOCK": "f08306 85 f08026 0f 7200", "INC32_M with LOCK": "f0ff06 7200",
    "DEC32_M with LOCK, its carry": "01c8 f0ff0e 11ca",
    "ALU_MR with LOCK, of 16 bits": "66f00906 66f03106 7800", "XCHG_MR": "8706 8626 668746 02",
    "XADD_M": "f00fc106 7200 0fc10e", "XADD_M of 8 bits": "0fc026 7200 660fc10e 7000 f00fc04e01 7800",
    "CMPXCHG_M": "f00fb10e 7400 8b06 f00fb10e 7500 0fb10e",
    "CMPXCHG_M of 8 bits": "0fb026 7400 8a06 0fb00e 7500 668b06 f0660fb10e 7200",
    "MUL_R, DIV": "31d2 83c101 f7f1", "MUL_R, IDIV": "99 f7f9",
    "SHIFT_MI": "c126 05 7200 c12e 1f 7800 c13e 03 7600",
    "SHIFT_MI, its carry behind INC": "c126 01 41 11ca", "BSF_R": "0fbcd1 7400 0fbcd0 7600",
    "BSF_R, as compilers write TZCNT": "f30fbcd1 7400", "RET32 behind REP": "e8 03000000 43 eb02 f3c3",
    "BSR_R": "0fbdd1 0fbdd0 7800", "BSF_M": "0fbc16 7500", "BSR_M": "0fbd16 7200",
    "BSR_R, its carry behind INC": "01c8 0fbdd0 41 7200", "SETCC_M": "0f9206 0f9f4601", "CLD": "fc 7200",
    "STD": "fd ac fc", "LOOP": "e200", "JCXZ": "e300",
    "INC32 in the block before": "40 eb00 7200 7400 7000 7c00 7a00 7600",
    "DEC32 in the block before": "48 eb00 7200 7400 7000 7c00 7a00 7600", "MUL_R of 8 bits": "f6e4 7200",
    "MUL_R, IMUL of 8 bits": "f6ec 7200", "MUL_M of 8 bits": "f626 7800", "MUL_R of 16 bits": "66f7e1 7200",
    "MUL_R, IMUL of 16 bits": "66f7e9 7600", "MUL_M of 16 bits": "66f766 01", "IMUL_R": "660fafc8 7200",
    "IMUL_M": "660faf06 7800", "IMUL_RI of 16 bits": "666bc1 85 7200",
    "IMUL_MI of 16 bits": "66690e 3412 7800", "MUL_R, DIV of 8 bits": "b400 80c901 f6f1",
    "MUL_R, DIV of 16 bits": "31d2 83c901 66f7f1", "MOVS": "a4 66a5 a5", "MOVS, down": "fd a4 66a5 a5 fc",
    "STOS": "aa 66ab ab", "STOS, down": "fd ab aa fc", "MOVS with REP": "f3a4 b105 f366a5 b103 f3a5",
    "STOS with REP": "f3aa b105 f366ab b103 f3ab", "MOVS with REP, over itself": "8d7e01 b107 f3a4",
    "MOVS with REP, none": "31c9 f3a5 7400",
    "SHIFT_RI of 8 bits": "c0e009 7200 c0ec0b 7600 c0f803 7200 c0f909 7800",
    "SHIFT_RI of 16 bits": "66c1e011 7200 66c1f80f",
    "SHIFT_RI, ROL": "c0c003 7200 66c1c10b 7000 c1c21f 7200",
    "SHIFT_RI, ROR of 8 bits": "c0cc05 7200 66c1c90f 7000",
    "SHIFT_RI, RCL of 8 bits": "c0d00b 7200 c0d409 7200 66c1d111 7000",
    "SHIFT_RI, RCR": "c1d81f 7200 66d1d8 c0db09 7000", "SHIFT_RC, ROL": "d3c0 7200 66d3c2 d2c4 7000",
    "SHIFT_RC, ROR": "d3c8 7200 66d3ca d2cc 7000", "SHIFT_RC, RCL": "39c8 d3d0 7200 66d3d2 d2d4 7000",
    "SHIFT_RC, rotations of 0": "01c8 b100 d3c0 d3d8 d2e4 11c2 7000",
    "SHIFT_RC of 16 bits": "66d3e0 7200 66d3fa 7800",
    "SHIFT_RI, a rotation's other flags": "01c8 c1c003 7600 c0c803 7800",
    "SHIFT_RI, rotations one behind another": "29c8 c1c103 c1ca05 c1d801 7a00 11c8 7000",
    "SHIFT_MI of 8 bits": "c02603 7200 c00e05 7000 c01601 7200",
    "SHIFT_MI of 16 bits, RCR": "66c11e05 7200 66d11e 7000", "SHIFT_MI by 0": "39c8 c12620 7600 c02600 7200",
    "SHIFT_MC": "d326 7200 d20e 7000 66d31e 7200 d33e 7800",
    "SHIFT_MC by 0": "01c8 b100 d326 d20e d316 7600", "SHLD_MI": "0fa40e05 7200 0fa40e20 7800",
    "SHRD_MI": "0fac0e1f 7000", "SHLD_MC": "0fa506 7200 b120 0fa506 7000", "SHRD_MC": "0fad06 7000",
    "SHLD_RI by 0": "01c8 0fa4c820 7200", "BT_R": "01c8 0fa3c8 7200 660fa3c8 7300 7000",
    "BT_R, BTS": "29c8 0fabc8 7600 660fabc2 7200", "BT_R, BTR": "0fb3c8 7200",
    "BT_R, BTC": "0fbbc8 7200 660fbbd0 7800", "BT_RI": "01c8 0fbae01f 7200 660fbae01f 7000",
    "BT_RI, BTS": "0fbae805 7200", "BT_RI, BTC": "0fbaf821 7200 660fbaf012 7000 19c2",
    "BT_M": "0fa30e 7200 b8e3ffffff 0fa306 660fa306 7200",
    "BT_M, BTS": "01c8 0fab0e 7200 b8c5ffffff 0fb306 660fbb4602 7000",
    "BT_MI": "39c8 0fba2605 7600 660fba6601 15 7200", "BT_MI, BTR": "0fba361f 7200 660fba7e0109 7000",
    "BT_M with LOCK": "01c8 f00fab0e 7200 f0660fbb4e02 7600 f00fb30e 7200",
    "BT_MI with LOCK": "29c8 f00fba2e05 7200 f0660fba7e0109 7600", "CLC": "39c8 f8 11c2 7000",
    "STC": "39c8 f9 7600 19c2", "CMC": "01c8 f5 11c2 f5 7600", "SAHF": "01c8 9e 7200 7000 11c2",
    "SAHF, OF of before": "01c8 9e 0f9fc0 0f90c4 7c00", "SAHF, its carry behind INC": "9e 41 7200 7600",
    "STC, its carry behind INC": "39c8 f9 41 11c2 7600", "INC_R": "fec4 7200 66 40 7000 fec1",
    "DEC_R": "fecc 7200 6648 7000", "INC_M": "fe06 7200 66ff06 7000",
    "DEC_M": "39c8 fe0e 7600 66ff4e01 7800", "INC_M with LOCK": "f0fe06 7200 f066ff06 7800",
    "DEC_M with LOCK": "01c8 f0fe0e 7200 f066ff0e 7000", "NOT_M": "f716 f61666f756 01",
    "NEG_M": "f71e 7200 f61e 66f75e01 7000", "NOT_R of 8 bits": "f6d4 66f7d2",
    "NEG_R of 8 bits": "f6dc 7200 66f7da 7000", "XCHG_RR of 8 bits": "86e0 86cd 6692",
    "MOV_RR of 16 bits": "6689c8 66ba3412",
    "INC32 behind ROL of the block before": "01c8 c1c003 eb00 41 7200 7000",
    "SHIFT_RI, RCL behind BT of the block before": "01c8 0fa3c8 eb00 c1d203 7600",
    "BT_R in the block before": "29c8 0fa3c8 eb00 7200 7600 7c00 7000 7a00",
    "PUSHF": "01c8 9c 58 7200", "PUSHF of 16 bits": "39c8 669c 6659",
    "POPF": "01c8 50 812424 d50c0000 9d eb00 11c2 7000",
    "POPF of 16 bits": "6650 66812424 d50c 669d eb00 7600 9c 58",
    "POPF, with IF": "6802020000 9d 9c 58 fa 9c 59",
    "CLI": "fa 01c8 fa 7200 9c 58", "STI": "fb 9c 58 fb 9c 59 fa", "LAHF": "01c8 9f 9e 7200 7000 11c2",
    "LAHF behind INC of the block before": "39c8 41 eb00 9f 7600",
    "PUSHA": "8da680000000 60 58 59 5a", "PUSHA beside code": "60 58 59 5a",
    "PUSHA of 16 bits": "8da680000000 6660 6658 59", "POPA": "83ec20 61", "POPA of 16 bits": "83ec10 6661",
    "ENTER": "8da680000000 c8 200000 c9 c8 ff0f00 c9", "ENTER beside code": "c8 200000 c9",
    "ENTER of 16 bits": "8da680000000 66c8 040000 66c9", "PUSH_SEG beside code": "6aff 58 1e 58",
    "PUSH_SEG": "8da680000000 6aff 58 1e 58 0fa0 669c 6616 59",
    "MOV_R_SEG": "8cd8 668cc1", "MOV_M_SEG": "8c1e 668c4603",
    "CMPXCHG8B": "0fc70e 7400 7200 f00fc70e 7500 8b06 8b5604 f00fc70e 7400",
    "CMPXCHG8B behind ADD": "01c8 0fc70e 11c2 7000 7a00",
    "ALU_MR, ADC with LOCK": "01c8 f01116 7200 f0190e 7000 f0661116 f01026",
    "ALU_MI, SBB with LOCK": "39c8 f0831e85 7600 f0668116 3412 f08016 85 11c2",
    "ALU_MI, ADC with LOCK, behind INC": "41 f0831601 7200",
    "CMPS": "a6 66a7 a7 7600", "CMPS, its carry behind INC": "8d7e01 a6 41 11c2",
    "CMPS, down": "fd a7 66a7 7200 fc",
    "CMPS with REP": "8d7e04 f3a6 7200 b105 f366a7 7600 b103 f2a7 7800",
    "CMPS with REP, none": "01c8 31c9 f3a6 7200 11c2",
    "SCAS with REP": "f2ae 7200 b105 f366af 7600 b103 f3af 7800",
    "SCAS with REP, its carry behind INC": "f2ae 41 11c2 7600", "SCAS with REP, down": "fd f2ae f3af fc 7200",
    "STOS with REP of a 16-bit address": "67f3aa b105 67f366ab",
    "INC32 of ESP": "44 4c c1e403 d1fc 0fafe1 8b26 8b7c2404",
}  # fmt: skip
# They are interpreted where the TLB misses, and these cases begin with an empty one.
WHERE_THE_TLB_MISSES = {"MOVS", "STOS", "CMPS", "SCAS"}
VALUES = [0, 1, 5, 0x7F, 0x80, 0x85, 0x12345678, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def seen(bench: Bench, kind: int) -> tuple[object, ...]:
    p = bench.processor
    detail = (p.exit.vector, p.exit.error_code, p.exit.fault_address) if kind == ExitKind.EXCEPTION else ()
    return kind, detail, p.rip, [hex(value) for value in bench.registers()], hex(p.rflags)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_as_host_code_does_what_the_interpreter_does(flat: Bench, name: str) -> None:
    code = bytes.fromhex(OPERATIONS[name])
    p = flat.processor
    decoded = []
    at = 0
    while at < len(code):
        instruction = p.decode(code[at:], 32)
        assert instruction is not None
        decoded.append(instruction.kind)
        at += instruction.length
    plain = name.partition(" ")[0].strip(",").replace("CMPJ", "CMP").replace("TESTJ", "TEST")
    assert KINDS[plain] in decoded
    outcomes = []
    for after in (0, 1):
        p.translate_after = after
        flat.load(code + b"\xf4")
        for value, carry in itertools.product(VALUES, (0, 1, 0x8C4, 0x401)):
            flat.memory.write(0x8F00, bytes(0x200))
            flat.memory.write(0x9000, value.to_bytes(4, "little") * 8)
            for number, start in enumerate((value, 3, 0x87654321, 4, 0x8000, 0x9010, 0x9000, 0x9000)):
                p.set_gpr(number, start)
            p.rflags = carry | 2
            kind = go(flat)
            outcomes.append((*seen(flat, kind), flat.memory.read(0x7F00, 0x1200)))
    half = len(outcomes) // 2
    assert outcomes[half:] == outcomes[:half]
    # Host code writes to no page that has code in it.
    slowly = {plain} if name.endswith("beside code") else WHERE_THE_TLB_MISSES
    assert set(p.interpreted) - slowly == {"HLT"}


@pytest.mark.parametrize(
    "code", ["f7f1", "f7f9", "99 f7f9", "31d2 f7f1", "f736", "99 f73e", "31c9 f7f1", "83c9ff 99 f7f9"]
)
@pytest.mark.parametrize("low", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_division_is_right_or_faults_as_the_interpreters(flat: Bench, code: str, low: int) -> None:
    p = flat.processor
    outcomes = []
    for after in (0, 1):
        p.translate_after = after
        flat.load(bytes.fromhex("40 48" + code + "f4"))
        for high, divisor in itertools.product(
            (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF), (0, 1, 3, 0x80000000, 0xFFFFFFFF)
        ):
            flat.memory.write(0x9000, divisor.to_bytes(4, "little"))
            for number, start in ((EAX, low), (EDX, high), (ECX, divisor), (ESI, 0x9000)):
                p.set_gpr(number, start)
            p.rflags = 2
            outcomes.append(seen(flat, go(flat)))
    half = len(outcomes) // 2
    assert outcomes[half:] == outcomes[:half]


# Faults


FAULTS = {  # one that meets the page at 300000, behind INC EAX and SUB EDX, EAX and before XOR EBX, EBX
    "a load": "8b0d 00003000", "a load of a byte": "8a0d 00003000", "a comparison": "3b0d 00003000",
    "an addition": "030d 00003000", "an addition with carry": "130d 00003000",
    "a multiplication": "0faf0d 00003000",
    "a sign extension": "0fbe0d 00003000", "a conditional move": "0f440d 00003000",
    "a store": "890d 00003000",
    "a store of a byte": "880d 00003000", "a store of 16 bits": "66c705 00003000 3412",
    "ADD to memory": "010d 00003000",
    "SBB to memory": "190d 00003000", "INC of memory": "ff05 00003000", "a push": "51",
    "a push of memory": "ff35 00003000",
    "a pop": "59", "a call": "e800000000", "an indirect call": "ff15 00003000", "a return": "c3",
    "LEAVE": "c9",
    "an operation that is interpreted": "d11d 00003000", "an exchange": "870d 00003000",
    "ADD to memory with LOCK": "f0010d 00003000", "XADD": "0fc10d 00003000", "CMPXCHG": "f00fb10d 00003000",
    "a division": "f735 00003000", "a vector": "660fef0d 00003000", "a store of a vector": "0f110d 00003000",
    "a comparison of reals": "660f2f0d 00003000", "a conversion to an integer": "f20f2c0d 00003000",
    "an x87 load": "d905 00003000", "an x87 store": "db3d 00003000", "LODS": "ad", "SCAS": "af",
}  # fmt: skip
STACKED = ("a push", "a pop", "a call", "a return")
STRINGS = ("LODS", "SCAS")


@pytest.mark.parametrize("where", ["nowhere", "read-only"])
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_leaves_everything_as_before_its_instruction(what: str, where: str) -> None:
    code = bytes.fromhex("40 29c2") + bytes.fromhex(FAULTS[what]) + bytes.fromhex("31db f4")
    outcomes = []
    for after in (0, 1):
        bench = Paged()
        p = bench.processor
        p.translate_after = after
        p.set_cr(0, PG | WP | 0x11)
        p.set_cr(4, p.cr(4) | 0x600)
        bench.run(bytes.fromhex("dbe3 f4"))  # FNINIT masks exceptions
        bench.load(code)
        for right in (P | W, P if where == "read-only" else 0, P | W):  # translated, faults, goes on
            bench.map(right)
            p.set_cr(3, p.cr(3))
            bench.write(FRAME, (0x7C20).to_bytes(4, "little") * 4)
            bench.write(0x7C20, b"\xf4")
            for number, start in enumerate(
                (5, 6, 7, 8, 0x300008 if what in STACKED else 0x8000, 0x300000, 9, 10)
            ):
                p.set_gpr(number, 0x300000 if number > 5 and what in STRINGS else start)
            p.rflags = 0x8D7
            before = p.icount
            kind = go(bench)
            outcomes.append((*seen(bench, kind), p.icount - before, bench.memory.read(FRAME, 16)))
            if kind == ExitKind.EXCEPTION:
                assert (p.rip, p.icount - before, p.gpr(EAX), p.gpr(EBX)) == (0x7C03, 2, 6, 8)
                assert p.rflags == 0x02  # of 7 - 6
    assert outcomes[3:] == outcomes[:3]
    assert where == "read-only" or outcomes[1][0] == ExitKind.EXCEPTION


# Segments that are not flat


GDT = bytes(16) + bytes.fromhex("ffff 0000 0093 cf00 ffff 0050 0093 4000 0f00 0060 0093 4000")
FLAT, AT_5000, AT_6000_SMALL = 0x10, 0x18, 0x20


def with_gdt(bench: Bench) -> None:
    bench.write(0x1000, GDT)
    bench.processor.set_gdtr(0x1000, len(GDT) - 1)
    for base, text in ((0, b"flat"), (0x5000, b"base"), (0x6000, b"here")):
        bench.write(base + 0x2000, text)


LOADS = {  # of DS or ES with the selector at 3000, in mid-block
    "MOV DS": ("668e1d 00300000", "8b0d 00200000"),
    "POP DS": ("ff35 00300000 1f", "8b0d 00200000"),
    "POP ES": ("ff35 00300000 07", "268b0d 00200000"),
    "LDS": ("c515 fc2f0000", "8b0d 00200000"),
    "LES": ("c415 fc2f0000", "268b0d 00200000"),
}


@pytest.mark.parametrize("how", LOADS)
def test_a_segment_that_is_not_flat_any_more_leaves_the_host_code(flat: Bench, how: str) -> None:
    load, read = LOADS[how]
    with_gdt(flat)
    flat.load(bytes.fromhex("43" + load + read + "43 f4"))
    for selector, expected in ((FLAT, b"flat"), (FLAT, b"flat"), (AT_5000, b"base"), (FLAT, b"flat")):
        flat.write(0x8000, selector.to_bytes(4, "little"))
        flat.processor.set_segment(DS, FLAT, 0, 0xFFFFFFFF, FLAT_DATA)
        flat.write(0x3000, selector.to_bytes(4, "little"))
        before = flat.processor.icount
        assert go(flat) == ExitKind.HLT
        assert flat.processor.gpr(ECX).to_bytes(4, "little") == expected
        assert flat.processor.icount - before == 4 + how.startswith("POP")


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 7, 97])
def test_code_that_loads_flat_segments_again_and_again_counts_and_ends_as_interpreted(budget: int) -> None:
    # again: mov ds, eax / inc ebx / mov ss, eax / inc edx / push ds / pop es / add ebx, ecx / loop again / hlt
    code = bytes.fromhex("8ed8 43 8ed0 42 1e 07 01cb e2f4 f4")
    ends = []
    for after in (0, 1):
        bench = Bench(32, 1 << 20)
        with_gdt(bench)
        bench.processor.translate_after = after
        bench.load(code)
        for number, value in ((EAX, FLAT), (EBX, 0), (ECX, 200), (EDX, 0)):
            bench.processor.set_gpr(number, value)
        stops = []
        while (kind := bench.run(budget=budget)) == ExitKind.BUDGET:
            stops.append((bench.processor.rip, bench.processor.icount, bench.registers()))
        assert kind == ExitKind.HLT
        ends.append((stops, bench.processor.rip, bench.processor.icount, bench.registers()))
    assert ends[1] == ends[0]
    assert ends[0][2] == 8 * 200


@pytest.mark.parametrize("prefix", ["64", "65"], ids=["FS", "GS"])
def test_fs_and_gs_have_their_base_and_limit(flat: Bench, prefix: str) -> None:
    with_gdt(flat)
    number = FS if prefix == "64" else GS
    # inc ebx / mov ecx, fs:[eax] / mov fs:[eax], edx / add fs:[eax], ebx / hlt
    flat.load(bytes.fromhex(f"43 {prefix}8b08 {prefix}8910 {prefix}0118 f4"))
    p = flat.processor
    for limit, offset, fits in (
        (0xFFFFFFFF, 0x2000, True), (0x2003, 0x2000, True), (0x2002, 0x2000, False), (0x2003, 0x2001, False),
        (0x2003, 0xFFFFFFFE, False), (0xFFFFFFFF, 0xFFFFB000, True),
    ):  # fmt: skip
        p.set_segment(number, 0, 0x5000, limit, FLAT_DATA)
        p.set_gpr(EBX, 0)
        p.set_gpr(EDX, 0x10)
        p.set_gpr(EAX, offset)
        flat.write((0x5000 + offset) & 0xFFFFF, b"base")
        assert go(flat) == (ExitKind.HLT if fits else ExitKind.EXCEPTION)
        if fits:
            assert p.gpr(ECX).to_bytes(4, "little") == b"base"
            assert flat.memory.read((0x5000 + offset) & 0xFFFFFFFF, 4) == b"\x11\0\0\0"
        else:
            assert faulted(flat) == (GENERAL, 0x7C01)
            assert flat.memory.read((0x5000 + offset) & 0xFFFFF, 4) == b"base"


def test_a_segment_that_may_only_be_read_is_not_written(flat: Bench) -> None:
    # mov ecx, fs:[2000] / mov fs:[2000], edx
    flat.load(bytes.fromhex("648b0d 00200000 648915 00200000 f4"))
    flat.write(0x2000, b"base")
    assert go(flat) == ExitKind.HLT
    flat.write(0x2000, b"base")
    flat.processor.set_segment(FS, 0, 0, 0xFFFFFFFF, FLAT_DATA & ~2)
    assert go(flat) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C07)
    assert flat.memory.read(0x2000, 4) == b"base"


# Calls


def test_calls_returns_and_indirect_jumps_find_their_way_in_a_loop(flat: Bench) -> None:
    # again: call double / mov edx, add_one / call edx / push back / jmp [table] / back: dec ecx / jnz again / hlt
    flat.load(bytes.fromhex("e8 fb000000 ba 007e0000 ffd2 68 177c0000 ff25 00900000 49 75e6 f4"))
    flat.write(0x7D00, bytes.fromhex("01c0 c3"))
    flat.write(0x7E00, bytes.fromhex("40 c3"))
    flat.write(0x9000, (0x9100).to_bytes(4, "little"))  # where a function of another page is
    flat.write(0x9100, bytes.fromhex("83c002 c20000"))
    p = flat.processor
    value = 0
    p.set_gpr(EAX, 0)
    p.set_gpr(ECX, 20)
    before = p.icount
    assert go(flat) == ExitKind.HLT
    for _ in range(20):
        value = (value * 2 + 3) & 0xFFFFFFFF
    assert p.gpr(EAX) == value
    assert p.gpr(ESP) == 0x7000
    assert p.icount - before == 20 * 13


def test_indirect_jumps_that_share_a_place_in_the_table_go_where_they_should(flat: Bench) -> None:
    # again: call esi / xor esi, 400 / dec ecx / jnz again / hlt
    flat.load(bytes.fromhex("ffd6 81f6 00040000 49 75f5 f4"))
    flat.write(0x8000, bytes.fromhex("43 c3"))
    flat.write(0x8400, bytes.fromhex("42 c3"))
    p = flat.processor
    for number, value in ((ESI, 0x8000), (ECX, 20), (EBX, 0), (EDX, 0)):
        p.set_gpr(number, value)
    assert go(flat) == ExitKind.HLT
    assert (p.gpr(EBX), p.gpr(EDX)) == (10, 10)


# Code that changes (test_changing_code.py has more, all of it translated too)


OVER_ITSELF = {  # over the B3 00 (MOV BL, 0) that stands at 7C20: 7 instead of 0
    "a push": "bc 247c0000 68 b307f4f4",
    "a push of memory": "bc 247c0000 ff35 00900000",
    "a call": "bc 247c0000 e8 11000000",  # to 7C1B; of the return address 7C0A comes an OR BH, [..]
    "a store": "c705 207c0000 b307f4f4",
    "an exchange, which is interpreted": "b8 b307f4f4 8705 207c0000",
    "a repeated store, which is interpreted": "bf 217c0000 b007 b901000000 f3aa",
    "a repeated move, which is interpreted": "be 01900000 bf 217c0000 b901000000 f3a4",
}


@pytest.mark.parametrize("how", OVER_ITSELF)
def test_a_block_that_writes_over_what_follows_in_it_runs_what_it_wrote(flat: Bench, how: str) -> None:
    code = bytes.fromhex(OVER_ITSELF[how]).ljust(32, b"\x90") + bytes.fromhex("b300 9090 f4")
    outcomes = []
    for after in (0, 1):
        p = flat.processor
        p.translate_after = after
        flat.write(0x9000, b"\xb3\x07\xf4\xf4")
        for number in range(8):
            p.set_gpr(number, 0x8000)
        flat.load(code)
        before = p.icount
        kind = go(flat)
        outcomes.append((seen(flat, kind), p.icount - before, flat.memory.read(0x7C00, 64)))
    assert outcomes[1] == outcomes[0]
    assert flat.processor.gpr(EBX) == (0x8007 if how != "a call" else 0x8000)
    assert flat.processor.gpr(ESP) == (0x7C20 if "push" in how or "call" in how else 0x8000)


# Code that changes, linked


LEAPS = ("a jump", "an indirect jump", "an indirect call", "a return")


def leap(how: str, at: int, to: int) -> bytes:
    """INC EAX, and a way from `at` to `to`."""
    if how == "a jump":
        return b"\x40\xe9" + struct.pack("<i", to - at - 6)
    if how == "a return":
        return b"\x40\x68" + struct.pack("<I", to) + b"\xc3"
    return b"\x40\xbe" + struct.pack("<I", to) + (b"\xff\xe6" if how == "an indirect jump" else b"\xff\xd6")


def linked(bench: Bench, *, away: int, how: str = "a jump") -> None:
    """A loop of two blocks, the other `away`, six times: the first counts in EAX, the other in EBX."""
    first = leap(how, 0x7C00, 0x7C00 + away)
    other = bytes.fromhex("83c301 49 0f85") + (-(away + 10) & 0xFFFFFFFF).to_bytes(4, "little") + b"\xf4"
    bench.write(0x7C00, first)
    bench.write(0x7C00 + away, other)
    for _ in range(2):
        assert again(bench) == (6, 6)


def again(bench: Bench) -> tuple[int, int]:
    for number, value in ((EAX, 0), (EBX, 0), (ECX, 6)):
        bench.processor.set_gpr(number, value)
    assert go(bench) == ExitKind.HLT
    return bench.processor.gpr(EAX), bench.processor.gpr(EBX)


@pytest.mark.parametrize("away", [0x80, 0x1000, 0x5480], ids=["this page", "the next page", "another page"])
@pytest.mark.parametrize("how", LEAPS)
def test_what_is_written_into_a_linked_block_is_seen(flat: Bench, away: int, how: str) -> None:
    p = flat.processor
    linked(flat, away=away, how=how)
    flat.write(0x7C02 + away, b"\x05")  # a device
    assert again(flat) == (6, 30)
    assert again(flat) == (6, 30)
    place = (0x7C02 + away).to_bytes(4, "little").hex()
    before = (0x7C01 + away).to_bytes(4, "little").hex()
    after = (0x7C04 + away).to_bytes(4, "little").hex()
    writers = {
        f"c605 {place} 02 f4": 12,
        f"8005 {place} 05 f4": 42,  # 2 and 5
        f"8135 {place} 01000000 f4": 36,
        f"bc {after} 66ba 0449 6652 f4": 24,  # MOV ESP, PUSH DX
        f"bf {before} b0c3 aa b008 aa f4": 48,
        f"bf {place} b901000000 b009 f3aa f4": 54,
        f"be 00900000 bf {place} b901000000 f3a4 f4": 60,
        f"8805 {place} f4": 66,
    }
    flat.write(0x9000, b"\x0a")
    for code, expected in writers.items():
        p.set_gpr(EAX, 11)
        flat.load(bytes.fromhex(code), 0x3000)
        assert go(flat, 0x3000) == ExitKind.HLT
        p.set_gpr(ESP, 0x7000)
        assert again(flat) == (6, expected)
        assert again(flat) == (6, expected)


@pytest.mark.parametrize("away", [0x80, 0x1000])
def test_a_linked_loop_that_writes_into_its_other_block_runs_what_it_wrote(flat: Bench, away: int) -> None:
    # inc eax / inc byte [other + 2] / jmp other
    linked(flat, away=away)
    place = (0x7C02 + away).to_bytes(4, "little")
    flat.load(b"\x40\xfe\x05" + place + b"\xe9" + (away - 12).to_bytes(4, "little"))
    assert again(flat) == (6, 2 + 3 + 4 + 5 + 6 + 7)
    flat.write(0x7C02 + away, b"\x10")
    assert again(flat) == (6, 6 * 0x10 + 21)


# Pages


def hop(paged: Paged, how: str) -> None:
    """A loop from 5000 to PAGE and back, ECX times, linked."""
    paged.write(0x5000, leap(how, 0x5000, PAGE))
    paged.map(P | W)
    paged.write(FRAME, hopping(0xC3))  # EBX
    assert hops(paged) == (ExitKind.HLT, 6, 6, 0)
    assert hops(paged) == (ExitKind.HLT, 6, 6, 0)


def hopping(register: int) -> bytes:
    back = (0x5000 - PAGE - 10 & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes([0x83, register, 1]) + b"\x49\x0f\x85" + back + b"\xf4"


def hops(paged: Paged) -> tuple[int, int, int, int]:
    p = paged.processor
    for number, value in ((EAX, 0), (EBX, 0), (ECX, 6), (EDX, 0)):
        p.set_gpr(number, value)
    kind = go(paged, 0x5000)
    return kind, p.gpr(EAX), p.gpr(EBX), p.gpr(EDX)


@pytest.fixture
def paged() -> Paged:
    paged = Paged()
    if not paged.processor.translate_after:
        pytest.skip("this host runs no code that we make")
    paged.processor.translate_after = 1
    return paged


FORGET = {"INVLPG": "0f013d 00003000 f4", "MOV CR3": "0f20d8 0f22d8 f4"}


@pytest.mark.parametrize("way", LEAPS)
@pytest.mark.parametrize("how", FORGET)
def test_a_linked_jump_obeys_a_page_that_is_mapped_anew(paged: Paged, how: str, way: str) -> None:
    hop(paged, way)
    paged.write(FRAME + 0x1000, hopping(0xC2))  # EDX
    paged.write(0x6000, bytes.fromhex(FORGET[how]))
    for frame, expected in ((FRAME + 0x1000, (6, 0, 6)), (FRAME, (6, 6, 0)), (FRAME + 0x1000, (6, 0, 6))):
        paged.map(P | W, frame)
        assert go(paged, 0x6000) == ExitKind.HLT
        assert hops(paged) == (ExitKind.HLT, *expected)
        assert hops(paged) == (ExitKind.HLT, *expected)


@pytest.mark.parametrize("way", LEAPS)
@pytest.mark.parametrize("how", FORGET)
def test_a_linked_jump_to_a_page_that_went_away_faults_there(paged: Paged, how: str, way: str) -> None:
    hop(paged, way)
    paged.write(0x6000, bytes.fromhex(FORGET[how]))
    paged.map(0)
    assert go(paged, 0x6000) == ExitKind.HLT
    assert hops(paged) == (ExitKind.EXCEPTION, 1, 0, 0)
    assert (faulted(paged), paged.processor.exit.fault_address) == ((PAGE_FAULT, PAGE), PAGE)
    paged.map(P)
    assert hops(paged) == (ExitKind.HLT, 6, 6, 0)


@pytest.mark.parametrize("way", LEAPS)
@pytest.mark.parametrize("how", FORGET)
def test_a_linked_jump_to_a_page_that_became_no_execute_faults_there(
    paged: Paged, how: str, way: str
) -> None:
    pointers, directory, table = 0x110000, 0x111000, 0x112000
    p = paged.processor
    paged.memory.write(pointers, struct.pack("<QQQQ", directory | P, 0, 0, 0))
    paged.memory.write(directory, struct.pack("<QQ", P | W | PS, table | P | W))
    p.set_cr(0, 0x11)
    p.set_cr(4, PAE)
    p.efer = 0x800
    p.set_cr(3, pointers)
    p.set_cr(0, PG | 0x11)
    p.load_pdptes()
    there = 0x200000
    paged.write(0x5000, leap(way, 0x5000, there))
    paged.write(FRAME, bytes.fromhex("83c301 49 0f85") + struct.pack("<i", 0x5000 - there - 10) + b"\xf4")
    paged.write(0x6000, bytes.fromhex(FORGET[how].replace("3000", "2000")))
    for no_execute in (0, 1 << 63, 0):
        paged.memory.write(table, struct.pack("<Q", FRAME | P | W | no_execute))
        assert go(paged, 0x6000) == ExitKind.HLT
        for _ in range(2):
            if no_execute:
                assert hops(paged) == (ExitKind.EXCEPTION, 1, 0, 0)
                assert (faulted(paged), p.exit.error_code) == ((PAGE_FAULT, there), 0x11)
            else:
                assert hops(paged) == (ExitKind.HLT, 6, 6, 0)


@pytest.mark.parametrize("way", LEAPS)
def test_a_linked_jump_to_a_page_of_the_kernels_faults_in_ring_3(paged: Paged, way: str) -> None:
    """The half of the TLB that ring 3 sees has no translation to run there."""
    hop(paged, way)
    paged.user()
    assert hops(paged) == (ExitKind.EXCEPTION, 1, 0, 0)
    assert (faulted(paged), paged.processor.exit.error_code) == ((PAGE_FAULT, PAGE), 5)


def test_a_block_at_a_second_address_jumps_from_there(paged: Paged) -> None:
    """The same block, linked to the page behind it; at its other address another page is behind it."""
    alias = PAGE + 0x10000
    for page, behind in ((PAGE, FRAME + 0x1000), (alias, FRAME + 0x2000)):
        paged.map(P | W, FRAME, page)
        paged.map(P | W, behind, page + 0x1000)
    paged.write(FRAME, b"\x40\xe9\xfa\x0f\0\0")  # INC EAX, JMP a page further
    paged.write(FRAME + 0x1000, b"\x43\xf4")
    paged.write(FRAME + 0x2000, b"\x42\xf4")
    p = paged.processor
    for number in (EAX, EBX, EDX):
        p.set_gpr(number, 0)
    for page in (PAGE, PAGE, alias, alias, PAGE, alias):
        assert go(paged, page) == ExitKind.HLT
        assert p.rip == page + 0x1001
    assert (p.gpr(EAX), p.gpr(EBX), p.gpr(EDX)) == (6, 3, 3)


# Where RETs go on


def called(paged: Paged, function: str) -> None:
    """A CALL at PAGE, run until all is linked, and then to `function`; EBX says which frame what follows lies in."""
    call = b"\xe8" + struct.pack("<i", 0x5000 - PAGE - 5)
    for number, frame in ((1, FRAME), (2, FRAME + 0x1000)):
        paged.write(frame, call + bytes([0xBB, number, 0, 0, 0, 0xF4]))  # MOV EBX, number / HLT
    paged.map(P | W)
    paged.write(0x5000, b"\xc3")
    for _ in range(4):
        assert returned(paged, 0) == (ExitKind.HLT, 1)
    paged.write(0x5000, bytes.fromhex(function))


def returned(paged: Paged, entry: int) -> tuple[int, int]:
    p = paged.processor
    p.set_gpr(EBX, 0)
    p.set_gpr(EDX, entry)
    p.set_gpr(ESP, 0x7000)
    return go(paged, PAGE), p.gpr(EBX)


REMAPS = {  # MOV [PAGE's entry], EDX / INVLPG [PAGE], or MOV EAX, CR3 / MOV CR3, EAX / RET
    how: "8915" + struct.pack("<I", TABLE + (PAGE >> 12) * 4).hex() + forget.removesuffix("f4") + "c3"
    for how, forget in FORGET.items()
}


@pytest.mark.parametrize("how", REMAPS)
def test_a_return_obeys_a_callers_page_that_is_mapped_anew_meanwhile(paged: Paged, how: str) -> None:
    called(paged, REMAPS[how])
    for _ in range(3):
        assert returned(paged, FRAME + 0x1000 | P | W) == (ExitKind.HLT, 2)
        assert returned(paged, FRAME | P | W) == (ExitKind.HLT, 1)


@pytest.mark.parametrize("how", REMAPS)
def test_a_return_to_a_page_that_went_away_faults_there(paged: Paged, how: str) -> None:
    called(paged, REMAPS[how])
    assert returned(paged, 0) == (ExitKind.EXCEPTION, 0)
    assert faulted(paged) == (PAGE_FAULT, PAGE + 5)
    assert (paged.processor.exit.error_code, paged.processor.exit.fault_address) == (0, PAGE + 5)


def test_a_return_in_ring_3_to_where_the_kernel_called_faults_there(paged: Paged) -> None:
    called(paged, "c3")
    paged.user()
    paged.processor.set_gpr(ESP, 0x6FFC)  # where the CALL's return address still is
    assert go(paged, 0x5000) == ExitKind.EXCEPTION
    assert faulted(paged) == (PAGE_FAULT, PAGE + 5)
    assert paged.processor.exit.error_code == 5


def test_a_return_goes_where_the_stack_says_and_not_where_the_call_was(paged: Paged) -> None:
    paged.write(FRAME + 0x100, bytes.fromhex("bb 09000000 f4"))
    called(paged, "810424 fb000000 c3")  # add dword [esp], FB / ret
    for _ in range(3):
        assert returned(paged, 0) == (ExitKind.HLT, 9)


def test_a_return_runs_what_the_function_wrote_behind_its_call(paged: Paged) -> None:
    called(paged, "8815" + struct.pack("<I", PAGE + 6).hex() + "c3")  # mov [the number], dl / ret
    for number in (1, 7, 8):
        assert returned(paged, number) == (ExitKind.HLT, number)


def test_a_return_between_blocks_that_were_all_forgotten_is_found_anew(flat: Bench) -> None:
    flat.write(0x7D00, b"\xc3")
    flat.load(bytes.fromhex("e8 fb000000 43 e8 f5000000 43 49 75f1 f4"))
    for _ in range(3):
        flat.processor.set_gpr(ECX, 5)
        flat.processor.set_gpr(EBX, 0)
        flat.processor.set_gpr(ESP, 0x7000)
        assert go(flat) == ExitKind.HLT
        assert (flat.processor.gpr(EBX), flat.processor.gpr(ESP)) == (10, 0x7000)
        flat.reset()
        flat.load(bytes.fromhex("e8 fb000000 43 e8 f5000000 43 49 75f1 f4"))


@pytest.mark.parametrize("way", LEAPS)
def test_a_large_page_that_is_mapped_anew_is_left_by_a_linked_jump(way: str) -> None:
    paged = Paged()
    p = paged.processor
    p.translate_after = 1
    p.set_cr(4, PSE)
    paged.write(0x5000, leap(way, 0x5000, 0x400000))
    paged.write(0x6000, bytes.fromhex("0f013d 00104000 f4"))  # INVLPG of another page of the same four MiB
    paged.write(0, b"\x43\xf4")
    paged.entry(DIRECTORY + 4, P | W | PS)  # 400000: physical 0
    for _ in range(2):
        assert go(paged, 0x5000) == ExitKind.HLT
    assert p.rip == 0x400001
    paged.map(P | W, FRAME, 0x500000 - 0x100000)
    paged.entry(TABLE, FRAME | P | W)  # and what 0 is
    paged.write(FRAME, b"\x42\xf4")
    paged.entry(DIRECTORY + 4, TABLE | P | W)  # 400000: FRAME
    p.set_gpr(EDX, 0)
    assert go(paged, 0x6000) == ExitKind.HLT
    assert go(paged, 0x5000) == ExitKind.HLT
    assert p.gpr(EDX) == 1


# The code cache, full


def test_blocks_for_which_there_is_no_room_are_interpreted_until_all_are_forgotten() -> None:
    count = 360_000
    flat = translating(4 << 20)
    p = flat.processor
    flat.write(0x100000, b"\x11\x06" * count + b"\xf4")  # ADC [ESI], EAX
    outcomes = []
    for after in (0, 1, 1):
        p.translate_after = after  # at first the blocks are only decoded
        flat.memory.write(0x9000, bytes(4))
        p.set_gpr(EAX, 0x12345679)
        p.set_gpr(ESI, 0x9000)
        p.rflags = 2
        before = p.icount
        assert go(flat, 0x100000, 1_000_000) == ExitKind.HLT
        outcomes.append((flat.memory.read(0x9000, 4), p.rflags, p.icount - before))
    assert outcomes == [outcomes[0]] * 3
    blocks = p.statistics["blocks"]
    assert 1000 < p.statistics["translated"] < blocks  # as many as there is room for
    flat.load(b"\x43\xf4")  # one more, and everything is forgotten
    assert flat.run() == ExitKind.HLT
    flat.memory.write(0x9000, bytes(4))
    p.rflags = 2
    assert go(flat, 0x100000, 1_000_000) == ExitKind.HLT
    assert flat.memory.read(0x9000, 4) == outcomes[0][0]
    assert p.statistics["blocks"] > blocks + 1000


@pytest.mark.parametrize("how", LEAPS)
def test_linked_blocks_that_are_all_forgotten_are_not_run_again(flat: Bench, how: str) -> None:
    p = flat.processor
    linked(flat, away=0x1000, how=how)
    p.set_model(SIGNATURE, EVERYTHING, EVERYTHING)
    flat.memory.write(0x8C02, b"\x07")  # nobody is told: it is forgotten
    assert again(flat) == (6, 42)
    assert again(flat) == (6, 42)


def test_rdtsc_and_pause_do_not_end_their_block_and_fences_cost_nothing(flat: Bench) -> None:
    p = flat.processor
    p.set_gpr(ECX, 20)
    p.set_gpr(EBX, 0)
    # rdtsc / pause / lfence / mfence / sfence / inc ebx / dec ecx / jnz / hlt
    assert flat.run(bytes.fromhex("0f31 f390 0faee8 0faef0 0faef8 43 49 75ef f4")) == ExitKind.HLT
    assert (p.gpr(EBX), p.gpr(ECX), p.icount) == (20, 0, 160)
    assert p.interpreted.keys() == {"HLT"}
    assert p.statistics["blocks"] == 2


@pytest.mark.parametrize("name", ["rdtsc", "pause"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_backend_is_told_of_rdtsc_and_pause_in_the_middle_of_a_block(
    flat: Bench, name: str, after: int
) -> None:
    p = flat.processor
    p.translate_after = after
    p.intercepts.rdtsc = p.intercepts.pause = False
    setattr(p.intercepts, name, True)
    p.update_intercepts()
    p.set_gpr(EBX, 0)
    flat.load(bytes.fromhex("43 0f31 43 f390 43 ebf7"))
    for turn in range(1, 5):
        assert flat.run() == (ExitKind.RDTSC if name == "rdtsc" else ExitKind.PAUSE)
        assert (p.rip, p.exit.next_rip) == ((0x7C01, 0x7C03) if name == "rdtsc" else (0x7C04, 0x7C06))
        assert p.gpr(EBX) == 3 * turn - (2 if name == "rdtsc" else 1)
        p.skip(p.exit.next_rip)
        assert p.icount == 6 * (turn - 1) + (2 if name == "rdtsc" else 4)


@pytest.mark.parametrize("name", ["pushf", "popf"])
def test_a_backend_is_told_of_pushf_and_popf_in_host_code(flat: Bench, name: str) -> None:
    """SVM alone asks for these (APM vol. 2 section 15.9); it may begin to when they are translated."""
    p = flat.processor
    flat.load(bytes.fromhex("43 9c 9d f4"))
    for _ in range(3):
        assert go(flat) == ExitKind.HLT
    setattr(p.intercepts, name, True)
    p.update_intercepts()
    for _ in range(3):
        assert go(flat) == (ExitKind.PUSHF if name == "pushf" else ExitKind.POPF)
        assert (p.rip, p.exit.next_rip) == ((0x7C01, 0x7C02) if name == "pushf" else (0x7C02, 0x7C03))


ENABLES = {  # with INC ECX, INC EDX behind: how many of them still run before the interrupt (SDM vol. 2, STI; POPF)
    "STI": ("fa fb 41 42 f4", 1),
    "STI, where IF is set": ("6802020000 9d fb 41 42 f4", 0),
    "POPF": ("fa 6802020000 9d 41 42 f4", 0),
    "POPF of 16 bits": ("fa 66680202 669d 41 42 f4", 0),
}


@pytest.mark.parametrize("how", ENABLES)
@pytest.mark.parametrize("after", [0, 1])
def test_an_interrupt_that_waits_is_taken_where_if_lets_it(flat: Bench, how: str, after: int) -> None:
    p = flat.processor
    p.translate_after = after
    p.intercepts.external_interrupt = p.intercepts.interrupt_if = True
    p.update_intercepts()
    code, more = ENABLES[how]
    flat.load(bytes.fromhex(code))
    for waits in (0, 0, 0, 1, 1):  # first it is translated and linked
        flat.pins[0] = waits
        for number in (ECX, EDX):
            p.set_gpr(number, 0)
        p.rflags = 2
        assert go(flat) == (ExitKind.EXTERNAL_INTERRUPT if waits else ExitKind.HLT)
        assert (p.gpr(ECX), p.gpr(EDX)) == ((more, 0) if waits else (1, 1))
        assert p.rflags & 0x200
        flat.pins[0] = 0
        p.activity = 0


@pytest.mark.parametrize("iopl", [0, 3])
def test_ring_3_changes_if_only_as_iopl_lets_it(paged: Paged, iopl: int) -> None:
    """SDM vol. 2: POPF leaves IF as it was where CPL > IOPL, and CLI faults."""
    p = paged.processor
    p.intercepts.exceptions = 0xFFFFFFFF
    p.update_intercepts()
    paged.write(0x5000, bytes.fromhex("6a02 9d 9c 58 fa 9c 59 f4"))
    paged.user()
    for _ in range(4):
        p.rflags = 0x202 | iopl << 12
        p.set_gpr(ESP, 0x7000)
        assert go(paged, 0x5000) == ExitKind.EXCEPTION
        assert faulted(paged) == (GENERAL, 0x5008 if iopl == 3 else 0x5005)
        assert p.gpr(EAX) & 0x200 == (0 if iopl == 3 else 0x200)


def test_popf_of_what_is_not_simply_set_is_the_interpreters(flat: Bench) -> None:
    """TF traps behind the instruction that follows; NT, AC and ID are kept."""
    flat.load(bytes.fromhex("9d 40 40 f4"))
    p = flat.processor
    p.set_gpr(ESP, 0x9000)
    for value in (0, 0, 0x4000, 0x200000, 0x40000):
        flat.memory.write(0x9000, (value | 0xC7).to_bytes(4, "little"))
        p.set_gpr(EAX, 0)
        p.set_gpr(ESP, 0x9000)
        assert go(flat) == ExitKind.HLT
        assert p.rflags & 0x244000 == value
        assert p.gpr(ESP) == 0x9004
    flat.memory.write(0x9000, (0x102).to_bytes(4, "little"))
    p.set_gpr(EAX, 0)
    p.set_gpr(ESP, 0x9000)
    assert go(flat) == ExitKind.EXCEPTION
    assert faulted(flat) == (1, 0x7C02)
    assert p.gpr(EAX) == 1


# Vectors


def vectors(flat: Bench) -> Bench:
    """A system that has enabled SSE."""
    flat.processor.set_cr(4, 0x600)
    flat.write(0x9000, struct.pack("<dd", 1.0, 3.0))
    return flat


DIVIDED = "f20f1005 00900000 f20f5e05 08900000 f20f1105 10900000 0fae1d 18900000 f4"  # [9010] = 1 / 3, [9018] = MXCSR


def test_reals_are_the_hosts_and_their_exceptions_are_noted_in_mxcsr(flat: Bench) -> None:
    vectors(flat)
    assert flat.run(bytes.fromhex(DIVIDED)) == ExitKind.HLT
    assert flat.memory.read(0x9010, 8) == struct.pack("<d", 1 / 3)
    assert flat.memory.read(0x9018, 4) == struct.pack("<I", 0x1FA0)  # PE, and whatever was masked


def test_what_the_guest_rounds_by_is_not_what_the_host_rounds_by(flat: Bench) -> None:
    vectors(flat)
    flat.write(0x9020, struct.pack("<I", 0x5F80))  # up
    for _ in range(3):
        assert flat.run(bytes.fromhex("0fae15 20900000" + DIVIDED)) == ExitKind.HLT
        assert flat.memory.read(0x9010, 8) == bytes.fromhex("565555555555d53f")
        assert struct.pack("<d", float("1") / float("3")) == bytes.fromhex("555555555555d53f")


def test_an_exception_that_is_not_masked_is_raised_by_code_that_was_translated_while_it_was(
    flat: Bench,
) -> None:
    """LDMXCSR ends a block: what follows it is of another mode from then on (SDM vol. 1 section 11.5.2)."""
    vectors(flat)
    code = "0fae15 20900000" + DIVIDED
    for mxcsr, expected in ((0x1F80, ExitKind.HLT), (0x0F80, ExitKind.EXCEPTION), (0x1F80, ExitKind.HLT)):
        flat.write(0x9020, struct.pack("<I", mxcsr))
        for _ in range(3):
            assert flat.run(bytes.fromhex(code)) == expected
            if expected == ExitKind.EXCEPTION:
                assert faulted(flat) == (19, 0x7C00 + 7 + 8)


@pytest.mark.parametrize(
    ("number", "with_it", "without", "vector"),
    [(0, 0x31, 0x39, 7), (0, 0x31, 0x35, UNDEFINED), (4, 0x600, 0x400, UNDEFINED)],
    ids=["CR0.TS", "CR0.EM", "CR4.OSFXSR"],
)
def test_vectors_that_a_control_register_forbids_are_refused(
    flat: Bench, number: int, with_it: int, without: int, vector: int
) -> None:
    vectors(flat)
    p = flat.processor
    for _ in range(2):
        p.set_cr(number, with_it)
        assert flat.run(bytes.fromhex(DIVIDED)) == ExitKind.HLT
        p.set_cr(number, without)
        assert go(flat) == ExitKind.EXCEPTION
        assert faulted(flat) == (vector, 0x7C00)


def test_an_indirect_jump_does_not_come_to_a_block_of_another_mode(flat: Bench) -> None:
    vectors(flat)
    flat.write(0x8000, bytes.fromhex(DIVIDED))
    jump = bytes.fromhex("b800800000 ffe0")  # mov eax, 8000 / jmp eax
    for _ in range(3):
        assert flat.run(jump) == ExitKind.HLT
    flat.processor.set_cr(0, 0x39)
    assert go(flat) == ExitKind.EXCEPTION
    assert faulted(flat) == (7, 0x8000)


def test_sixteen_bytes_that_are_not_aligned_are_general_protection(flat: Bench) -> None:
    vectors(flat)
    flat.processor.set_gpr(ESI, 0x9008)
    # movups xmm0, [esi] / movups [esi + 16], xmm0 / movaps xmm1, [esi] / hlt
    code = bytes.fromhex("0f1006 0f114610 0f280e f4")
    for _ in range(3):
        assert flat.run(code) == ExitKind.EXCEPTION
        assert faulted(flat) == (GENERAL, 0x7C07)
    assert flat.memory.read(0x9018, 8) == struct.pack("<d", 3.0)


MMX = (  # MOVD, MOVQ, PADDB, PACKSSDW, PMULLW, PSLLQ, PSHUFW, PINSRW, PEXTRW, PADDQ, PMOVMSKB, MOVNTQ, MOVD
    "0f6ec0 0f6f0e 0ffcc1 0f6bc1 0fd5c8 0f73f103 0f70d11b 0fc4d002 0fc5d201 0fd4d0 0fd7da 0fe716 0f7e4608"
)


def test_instructions_of_mm_registers_are_the_hosts_with_the_x87_as_they_leave_it(flat: Bench) -> None:
    """TOP is 0, every register is in use and has an exponent of ones (SDM vol. 1 section 9.6.1); EMMS empties them."""
    vectors(flat)
    outcomes = []
    for after in (0, 1, 1, 1):
        p = flat.processor
        p.translate_after = after
        flat.write(0x9000, bytes(range(0x70, 0x90)))
        for number, value in ((EAX, 0x81234567), (EBX, 0), (ECX, 0), (ESI, 0x9000)):
            p.set_gpr(number, value)
        # fninit / fld1 / the above / fnsave [9100] / emms / fnstenv [9200] / hlt
        code = bytes.fromhex("dbe3 d9e8" + MMX + "dd35 00910000 0f77 d935 00920000 f4")
        assert flat.run(code) == ExitKind.HLT
        outcomes.append((flat.registers(), flat.memory.read(0x9000, 0x300)))
    assert outcomes[1:] == outcomes[:1] * 3
    saved = outcomes[0][1][0x100:]
    control, status, tags = struct.unpack("<HxxHxxH", saved[:10])
    assert (control, status) == (0x37F, 0)
    assert all(tags >> 2 * number & 3 != 3 for number in range(8))  # no register is empty
    assert saved[36:38] == b"\xff\xff"  # MM0's exponent
    assert struct.unpack("<H", outcomes[0][1][0x208:0x20A]) == (0xFFFF,)


def test_mmx_instructions_are_not_interpreted(flat: Bench) -> None:
    vectors(flat)
    assert flat.run(bytes.fromhex("dbe3 f4")) == ExitKind.HLT  # FNINIT masks the x87's exceptions
    before = flat.processor.interpreted
    code = bytes.fromhex(MMX.replace("0fe716 0f7e4608", "") + "49")
    code += bytes([0x75, (-len(code) - 2) & 0xFF, 0xF4])
    flat.processor.set_gpr(ECX, 64)
    flat.processor.set_gpr(ESI, 0x9000)
    assert flat.run(code, 10000) == ExitKind.HLT
    after = flat.processor.interpreted
    assert {name: n - before.get(name, 0) for name, n in after.items()} == {"HLT": 1, "ESC_R": 0}


def test_an_mmx_operand_over_the_end_of_a_page_goes_the_long_way(flat: Bench) -> None:
    vectors(flat)
    flat.write(0x9FFC, bytes(range(8)))
    # movq mm0, [9ffc] / paddb mm0, mm0 / movq [affc], mm0 / movd mm1, [9000] / paddb mm0, [9ffc] / movq [9010], mm0
    code = "0f6f05 fc9f0000 0ffcc0 0f7f05 fcaf0000 0f6e0d 00900000 0ffc05 fc9f0000 0f7f05 10900000 f4"
    for _ in range(3):
        assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
        assert flat.memory.read(0xAFFC, 8) == bytes(2 * value for value in range(8))
        assert flat.memory.read(0x9010, 8) == bytes(3 * value for value in range(8))


def test_mm_registers_that_the_model_lacks_are_refused_in_host_code(flat: Bench) -> None:
    vectors(flat)
    flat.processor.has_mmx = 0
    assert flat.run(bytes.fromhex("0ffcc1 f4")) == ExitKind.EXCEPTION
    assert faulted(flat) == (UNDEFINED, 0x7C00)


def test_vectors_over_the_end_of_a_page_go_the_long_way_and_keep_what_is_in_registers(flat: Bench) -> None:
    vectors(flat)
    p = flat.processor
    flat.write(0x9FF8, bytes(range(16)))
    p.set_gpr(ESI, 0x9FF8)
    # movups xmm1, [9000] / movups xmm0, [esi] / paddb xmm0, xmm0 / movups [esi + 32], xmm0 / addpd xmm1, xmm1 /
    # movups [9020], xmm1
    code = bytes.fromhex("0f100d 00900000 0f1006 660ffcc0 0f114620 660f58c9 0f110d 20900000 f4")
    for _ in range(3):
        assert flat.run(code) == ExitKind.HLT
        assert flat.memory.read(0xA018, 16) == bytes(2 * i for i in range(16))
        assert flat.memory.read(0x9020, 16) == struct.pack("<dd", 2.0, 6.0)


@pytest.mark.parametrize("x", [0.5, 1.0, 2.0, float("nan")])
def test_a_comparison_of_reals_decides_a_jump_wherever_its_operand_lies(flat: Bench, x: float) -> None:
    vectors(flat)
    p = flat.processor
    flat.write(0x9000, struct.pack("<d", 1.0))
    for where in (0x9100, 0x9FFC):  # in a page, and over its end
        flat.write(where, struct.pack("<d", x))
        p.set_gpr(ESI, where)
        # movsd xmm0, [9000] / comisd xmm0, [esi] / setp al / setb ah / setz bl / ja +1 / inc ebx / hlt
        code = bytes.fromhex("31c0 31db f20f1005 00900000 660f2f06 0f9ac0 0f92c4 0f94c3 7701 43 f4")
        for _ in range(3):
            assert flat.run(code) == ExitKind.HLT
            unordered = math.isnan(x)
            assert p.gpr(EAX) == unordered | (unordered or x > 1) << 8
            assert p.gpr(EBX) == (unordered or x == 1) + (not x < 1)


@pytest.mark.parametrize("code", ["f3a4", "f366a5", "f3a5", "f3aa", "f3ab"])
def test_strings_in_pages_that_the_tlb_knows_are_not_interpreted(flat: Bench, code: str) -> None:
    before = "be 00900000 bf 00a00000 b9 10000000"
    assert (
        flat.run(bytes.fromhex(f"bd 40000000 {before} {code} 4d 75ec f4".replace("75ec", jump_back(code))))
        == ExitKind.HLT
    )
    assert sum(flat.processor.interpreted.values()) <= 1 + 2  # HLT; the two pages


def jump_back(code: str) -> str:
    """JNZ to what stands before the string instruction."""
    return f"75{(256 - 15 - len(code) // 2 - 1 - 2) & 0xFF:02x}"


def test_vector_instructions_are_not_interpreted(flat: Bench) -> None:
    vectors(flat)
    code = "b9 40000000 f20f1005 00900000 f20f58c0 660fefc9 660f6ec1 f30f2ad1 f30f2cc2 49 75df f4"
    assert flat.run(bytes.fromhex(code), 10000) == ExitKind.HLT
    assert flat.processor.interpreted == {"HLT": 1}  # not even where MOVSD met a page that was not in the TLB


# 16-bit code, and segments that are not flat


@pytest.fixture
def real() -> Bench:
    bench = Bench(16, 1 << 20)
    if not bench.processor.translate_after:
        pytest.skip("this host runs no code that we make")
    bench.processor.translate_after = 1
    bench.processor.intercepts.exceptions = 0xFFFFFFFF
    bench.processor.update_intercepts()
    return bench


def real_segment(bench: Bench, number: int, selector: int) -> None:
    bench.processor.set_segment(number, selector, selector << 4, 0xFFFF, 0x9B if number == CS else 0x93)


def test_a_loop_of_real_mode_is_host_code(real: Bench) -> None:
    real_segment(real, DS, 0x1000)
    p = real.processor
    # mov cx, 1000 / again: add ax, cx / mov [bx], ax / push ax / pop dx / call next / next: pop si / loop again / hlt
    assert real.run(bytes.fromhex("b9e803 01c8 8907 50 5a e80000 5e e2f4 f4"), 10000) == ExitKind.HLT
    assert p.gpr(EAX) & 0xFFFF == sum(range(1001)) & 0xFFFF
    assert real.memory.read(0x10000 + (p.gpr(EBX) & 0xFFFF), 2) == (sum(range(1001)) & 0xFFFF).to_bytes(
        2, "little"
    )
    assert sum(p.interpreted.values()) == 1  # the HLT


REPEATED = {  # each with ECX or CX items from ESI or SI and EDI or DI on
    "REP MOVSB": "f3a4", "REP MOVSW": "f3a5", "REP STOSB": "f3aa", "REP STOSD": "66f3ab", "REPE CMPSB": "f3a6",
    "REPE CMPSW": "f3a7", "REPNE CMPSD": "66f2a7", "REPNE SCASB": "f2ae", "REPE SCASW": "f3af",
    "REPNE SCASD": "66f2af", "REPE CMPSB of ESI and EDI": "67f3a6", "REP MOVSD of ESI and EDI": "6667f3a5",
    "REPE CMPSB from FS": "64f3a6",
}  # fmt: skip
SOURCE = bytes(n * n * 7 >> 3 & 0x3F for n in range(0x12000))
RUNS = [  # the bases of DS, ES and FS, SI, DI, CX; where the byte lies that differs
    (0x10000, 0x20000, 0x10000, 0, 0, 100, 50), (0x10000, 0x20000, 0x10000, 0, 0, 100, 1000),
    (0x10120, 0x20340, 0x10120, 0x111, 0x222, 3000, 2999), (0x10000, 0x20000, 0x10000, 0xFF0, 0x20, 0x40, 0x3F),
    (0x10120, 0x20340, 0x10120, 5, 7, 0xFFFF, 0x9000), (0x10000, 0x20000, 0x10000, 0xFFC0, 0, 200, 1000),
    (0x10010, 0x20020, 0x10010, 0x10, 0xFFC0, 200, 1000), (0x10000, 0x20000, 0x10000, 0xFFC1, 0xFF81, 0x80, 1000),
    (0x10000, 0x20000, 0x10000, 4, 8, 0, 1000), (0x10FF0, 0x20FF8, 0x10FF0, 0x10, 8, 0x1000, 0xFFF),
]  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_repeated_strings_in_segments_do_what_the_interpreter_does(real: Bench, name: str) -> None:
    p = real.processor
    for limit in (0xFFFF, 0x8FFF):
        for ds, es, fs, si, di, cx, differs in RUNS:
            outcomes = []
            for after in (0, 1, 1):  # at first, and with the pages in the TLB
                p.translate_after = after
                real.memory.write(0x10000, SOURCE + bytes(0x20000))
                real.write(es + di, real.memory.read(ds + si, min(4 * cx, 0x10000)))
                real.write(es + di + differs, b"\x41")
                for number, base in ((DS, ds), (ES, es), (FS, fs)):
                    p.set_segment(number, base >> 4, base, limit, 0x93)
                for number, value in ((EAX, 0x41), (ESI, si), (EDI, di), (ECX, cx)):
                    p.set_gpr(number, value)
                p.rflags = 0x8D7
                kind = real.run(bytes.fromhex(REPEATED[name]) + b"\x9c\x9d\xf4", 100_000)
                outcomes.append((seen(real, kind), real.memory.read(0x10000, 0x30000)))
            assert outcomes[1:] == outcomes[:1] * 2, (limit, hex(ds), hex(es), hex(si), hex(di), cx)


@pytest.mark.parametrize("code", ["f2ae", "f3a6", "66f3a7", "f3a7"], ids=["SCASB", "CMPSB", "CMPSW", "CMPSD"])
def test_long_strings_are_compared_without_the_interpreter(flat: Bench, code: str) -> None:
    p = flat.processor
    size = 1 if code in {"f2ae", "f3a6"} else 2 if code[:2] == "66" else 4
    flat.load(bytes.fromhex(code) + b"\xf4")
    flat.memory.write(0x20000, bytes(0x8000))
    flat.memory.write(0x40000, bytes(0x8000))
    for number, length in ((0, 0x5432), (1, 0x4000), (2, 0x3FFF), (3, 1), (4, 0x1003)):
        for again in range(2):  # then the pages are known
            flat.memory.write(0x40000 + length * size - 1, b"\x41")
            for register, value in ((EAX, 0x41), (ESI, 0x20000), (EDI, 0x40000), (ECX, 0xFFFFFFFF)):
                p.set_gpr(register, value)
            before = p.interpreted.copy()
            assert go(flat) == ExitKind.HLT
            assert p.gpr(EDI) == 0x40000 + length * size
            assert p.gpr(ECX) == 0xFFFFFFFF - length
            assert p.gpr(ESI) == (0x20000 if code == "f2ae" else 0x20000 + length * size)
            if again:
                assert p.interpreted == {**before, "HLT": before["HLT"] + 1}, number
            flat.memory.write(0x40000 + length * size - 1, b"\0")


@pytest.mark.parametrize("after", [0, 1], ids=["interpreted", "translated"])
def test_an_exit_behind_a_long_repetition_has_nothing_of_the_resume_flag(flat: Bench, after: int) -> None:
    """A repetition that goes on after a look at what is pending sets RF for itself alone (SDM vol. 3 §18.3.1.1)."""
    p = flat.processor
    p.translate_after = after
    flat.load(bytes.fromhex("f366af f4"))
    p.set_gpr(EAX, 0)
    for _ in range(3):
        p.set_gpr(EDI, 0x20001)
        p.set_gpr(ECX, 20000)
        p.rflags = 2
        assert go(flat) == ExitKind.HLT
        assert (p.gpr(ECX), p.rflags & 0x10000) == (0, 0)


def test_wherever_a_pin_stops_a_long_scan_it_goes_on_there(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.external_interrupt = True
    p.update_intercepts()
    pins = memoryview(flat.pins).cast("I")
    # again: mov edi, 20000 / mov ecx, 60000 / repne scasb / inc ebx / jmp again
    flat.load(bytes.fromhex("bf 00000200 b9 00000600 f2ae 43 ebf1"))
    flat.memory.write(0x20000, bytes(0x60000))
    p.set_gpr(EAX, 0x41)
    p.rflags = 0x202
    for pause in range(20):
        raised = threading.Timer(pause / 4000, lambda: pins.__setitem__(0, 1))
        raised.start()
        assert flat.run(budget=1 << 33) == ExitKind.EXTERNAL_INTERRUPT
        raised.join()
        pins[0] = 0
        if p.rip == 0x7C0A:
            assert p.gpr(EDI) + p.gpr(ECX) == 0x80000
    assert p.gpr(EBX) * 4 <= p.icount
    flat.write(0x7C0D, b"\xf4")  # HLT for the JMP
    assert flat.run() == ExitKind.HLT
    assert (p.gpr(EDI), p.gpr(ECX)) == (0x80000, 0)


@pytest.mark.parametrize("page", [0, 0x340])
def test_a_jump_past_64_kib_goes_on_at_the_segments_beginning(real: Bench, page: int) -> None:
    """SDM vol. 2, JMP: with 16-bit operands the upper half of EIP is cleared. The same code has two values of IP."""
    selector = 0x2000 + (page >> 4)
    at = (selector << 4) + 0xFFF0
    real.write(at, bytes.fromhex("40 eb1d"))  # inc ax / jmp 0010
    real.write(selector << 4, bytes(0x10) + b"\x43\xf4")  # 0010: inc bx / hlt
    real.write(at + 0x20, b"\x41\xf4")  # where the jump leads from a lower IP: inc cx / hlt
    p = real.processor
    for segment, counts in ((selector, EBX), (selector + 0x800, ECX)) * 3:
        real_segment(real, CS, segment)
        for number in (EAX, EBX, ECX):
            p.set_gpr(number, 0)
        assert go(real, at - (segment << 4)) == ExitKind.HLT
        assert p.gpr(EAX) == 1
        assert p.gpr(counts) == 1


def test_code_that_runs_into_the_end_of_its_segment_faults_there(real: Bench) -> None:
    real.write(0x2FFFC, bytes.fromhex("40404040"))
    real_segment(real, CS, 0x2000)
    for _ in range(3):
        assert go(real, 0xFFFC) == ExitKind.EXCEPTION
        assert faulted(real) == (GENERAL, 0x10000)


def test_an_access_over_the_end_of_a_segment_faults_in_host_code(real: Bench) -> None:
    p = real.processor
    real.load(bytes.fromhex("40 8907 43 f4"))  # inc ax / mov [bx], ax / inc bx / hlt
    for _ in range(3):
        p.set_gpr(EBX, 0xFFFE)
        assert go(real) == ExitKind.HLT
        p.set_gpr(EBX, 0xFFFF)
        assert go(real) == ExitKind.EXCEPTION
        assert faulted(real) == (GENERAL, 0x7C01)


def test_a_16_bit_stack_pointer_wraps_and_keeps_its_upper_half(real: Bench) -> None:
    p = real.processor
    real_segment(real, SS, 0x3000)
    real.load(bytes.fromhex("50 6651 5b f4"))  # push ax / push ecx / pop bx / hlt
    for _ in range(3):
        p.set_gpr(ESP, 0x12340000)
        p.set_gpr(EAX, 0xA5A5)
        p.set_gpr(ECX, 0x55667788)
        assert go(real) == ExitKind.HLT
        assert p.gpr(ESP) == 0x1234FFFC
        assert p.gpr(EBX) & 0xFFFF == 0x7788
        assert real.memory.read(0x3FFFA, 6) == bytes.fromhex("8877 6655 a5a5")
