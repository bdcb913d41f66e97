"""Code that changes, and code seen through several mappings: what runs is always what stands there now.

The random tests compare the processor with itself: the *forgetful* one decodes every instruction anew, and looks
every page up anew, so it can run nothing stale. They run code that writes over itself, and pages whose entries change.
"""

import os
import random
import struct
import time

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED, EVERYTHING, SIGNATURE
from tests.hvcore.cpu.bench import (
    CS,
    DS,
    EAX,
    EBP,
    EBX,
    ECX,
    EDI,
    EDX,
    ES,
    ESI,
    ESP,
    FLAT_CODE,
    FLAT_DATA,
    SS,
    Bench,
)
from tests.hvcore.cpu.test_paging import DIRECTORY, FRAME, PAE, PAGE, PG, PS, WP, P, Paged, U, W

PROGRAMS = int(os.environ.get("DEVMODEL_CHANGING_CODE", "1500" if COMPILED else "40"))
ALIAS = PAGE + 0x10000
OTHER = FRAME + 0x1000
UNDEFINED, GENERAL, PAGE_FAULT = 6, 13, 14
HOW = ("interpreted", "translated")


def translate(bench: Bench, how: str) -> None:
    """Have every block translated before it runs, or none."""
    bench.processor.translate_after = int(how == "translated")


@pytest.fixture(params=HOW, ids=HOW)
def flat(request: pytest.FixtureRequest) -> Bench:
    bench = Bench(32, 1 << 20)
    translate(bench, request.param)
    bench.processor.set_gpr(EDX, 0)  # not what reset leaves there
    return bench


@pytest.fixture(params=HOW, ids=HOW)
def paged(request: pytest.FixtureRequest) -> Paged:
    paged = Paged()
    translate(paged, request.param)
    paged.processor.set_gpr(EDX, 0)
    catch(paged)
    return paged


def catch(bench: Bench) -> None:
    """Every exception stops, and so does the clock, which differs from run to run."""
    bench.processor.intercepts.exceptions = 0xFFFFFFFF
    bench.processor.intercepts.rdtsc = True
    bench.processor.update_intercepts()


def go(bench: Bench, at: int, budget: int = 1000) -> int:
    bench.processor.rip = at
    return bench.run(budget=budget)


def ring_0(bench: Bench) -> None:
    bench.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE)
    for number in (ES, SS, DS):
        bench.processor.set_segment(number, 16, 0, 0xFFFFFFFF, FLAT_DATA)


def faults(bench: Bench) -> tuple[int, int, int, int]:
    """Vector, error code, address, RIP of the exception that stopped it."""
    info = bench.processor.exit
    assert info.kind == ExitKind.EXCEPTION
    return info.vector, info.error_code, info.fault_address, bench.processor.rip


# Self-modifying code, one way at a time


PATCHES = {  # what comes before B0 00 (MOV AL, 0), whose second byte at 0x7C20 it makes 7
    "a store of 8 bits": "c605 207c0000 07",
    "a store of 16 bits": "66c705 1f7c0000 b007",
    "a store of 32 bits": "c705 207c0000 07f4f4f4",
    "a store from the accumulator": "b007 a2 207c0000",
    "an exclusive or": "8035 207c0000 07",
    "an exchange": "b107 860d 207c0000",
    "an exchange and addition": "b107 0fc00d 207c0000",
    "a compare and exchange": "b000 b107 0fb00d 207c0000",
    "a bit set": "0fba2d 207c0000 00 0fba2d 207c0000 01 0fba2d 207c0000 02",
    "a pop": "68 07f4f4f4 8f05 207c0000",
    "a push": "89e6 bc 247c0000 68 07f4f4f4 89f4",
    "a SETcc": "f9 0f9205 207c0000 8005 207c0000 06",
    "a string store": "bf 207c0000 b007 aa",
    "a repeated string store": "bf 207c0000 b9 01000000 b007 f3aa",
    "a string move": "be 007d0000 bf 207c0000 a4",
    "a repeated string move": "be 007d0000 bf 207c0000 b9 04000000 f3a4",
    "the x87": "dbe3 df2d 007d0000 df3d 207c0000",
    "MMX": "0f6f05 007d0000 0f7f05 207c0000",
    "SSE": "0f1005 007d0000 0f1105 207c0000",
    "a segment register": "8c0d 207c0000 c605 217c0000 f4 8035 207c0000 0f",
    "SGDT": "0f0105 207c0000 c605 207c0000 07 c605 217c0000 f4",
}


@pytest.mark.parametrize("how", PATCHES)
@pytest.mark.parametrize("warm", [False, True], ids=["at once", "decoded before"])
def test_a_write_ahead_in_the_same_block_is_seen(flat: Bench, how: str, warm: bool) -> None:
    code = bytes.fromhex(PATCHES[how])
    p = flat.processor
    p.set_cr(4, 0x600)
    p.set_cr(0, 0x31)
    if warm:  # the block is known already, from its first instruction on and from the one to be patched
        flat.load(b"\x90" * 31 + bytes.fromhex("b000 f4"))
        assert flat.run() == ExitKind.HLT
        assert go(flat, 0x7C1F) == ExitKind.HLT
    flat.write(0x7D00, bytes([7, *[0xF4] * 7]) * 2)
    assert len(code) <= 31
    flat.load(code + b"\x90" * (31 - len(code)) + bytes.fromhex("b000 f4"))
    assert flat.run() == ExitKind.HLT
    assert p.gpr(EAX) & 0xFF == 7
    assert p.rip == 0x7C21


def test_an_instruction_that_writes_over_itself_completes_as_it_was(flat: Bench) -> None:
    code = bytes.fromhex("c705 007c0000 b8090000 c705 047c0000 00f4f4f4 f4")
    assert flat.run(code) == ExitKind.HLT
    assert go(flat, 0x7C00) == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 9


def test_a_loop_sees_what_it_writes_into_its_own_block(flat: Bench) -> None:
    # again: add eax, 1 / inc byte [again + 2] / dec ecx / jnz again
    flat.processor.set_gpr(ECX, 5)
    assert flat.run(bytes.fromhex("83c001 fe05 027c0000 49 75f4 f4")) == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 1 + 2 + 3 + 4 + 5


def test_a_loop_sees_what_it_writes_into_the_block_before(flat: Bench) -> None:
    # again: add eax, 1 / jmp next / next: inc byte [again + 2] / loop again
    flat.processor.set_gpr(ECX, 5)
    assert flat.run(bytes.fromhex("83c001 eb00 fe05 027c0000 e2f3 f4")) == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 1 + 2 + 3 + 4 + 5


def test_a_comparison_and_its_jump_are_parted_when_the_jump_is_written_over(flat: Bench) -> None:
    # again: cmp eax, ebx / jz away (then jnz) / xor byte [jump], 1 / loop again / hlt / away: inc edx / hlt
    code = bytes.fromhex("39d8 740a 8035 027c0000 01 e2f3 f4 42 f4")
    flat.processor.set_gpr(EBX, 1)
    flat.processor.set_gpr(ECX, 3)
    assert flat.run(code) == ExitKind.HLT
    assert (flat.processor.gpr(EDX), flat.processor.gpr(ECX)) == (1, 2)


def test_a_store_just_before_a_fused_pair_may_change_the_pair(flat: Bench) -> None:
    # mov byte [compare + 2], 5 / compare: cmp eax, 0 / jnz away / hlt / away: inc edx / hlt
    code = bytes.fromhex("c605 097c0000 05 83f800 7501 f4 42 f4")
    assert flat.run(code) == ExitKind.HLT
    assert flat.processor.gpr(EDX) == 1


def test_a_call_that_pushes_over_its_own_target_runs_what_it_pushed(flat: Bench) -> None:
    flat.load(b"\x90\x90\x90\x90\xf4", 0x8000)
    assert flat.run() == ExitKind.HLT
    flat.load(b"\xe8" + struct.pack("<i", 0x8000 - 0x44340), 0x4433B)
    flat.processor.set_gpr(ESP, 0x8004)
    assert flat.run() == ExitKind.HLT
    # the return address, 00044340, is INC EAX, INC EBX, ADD AL, 0
    assert flat.processor.rip == 0x8004
    assert (flat.processor.gpr(EAX), flat.processor.gpr(EBX)) == (1, 1)


def test_rep_stos_over_the_code_that_follows_it(flat: Bench) -> None:
    flat.processor.set_gpr(EDI, 0x7C02)
    flat.processor.set_gpr(ECX, 8)
    flat.processor.set_gpr(EAX, 0x40404040)  # INC EAX
    assert flat.run(b"\xf3\xab" + b"\xf4" * 40) == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 0x40404040 + 32
    assert flat.processor.rip == 0x7C02 + 32


def test_rep_movs_over_the_code_that_follows_it_backwards(flat: Bench) -> None:
    flat.write(0x9000, b"\x43" * 16)
    flat.processor.rflags = 0x400
    flat.processor.set_gpr(ESI, 0x900F)
    flat.processor.set_gpr(EDI, 0x7C11)
    flat.processor.set_gpr(ECX, 16)
    assert flat.run(b"\xf3\xa4" + b"\xf4" * 40) == ExitKind.HLT
    assert flat.processor.gpr(EBX) == 16


def test_ins_from_an_empty_bus_over_the_code_that_follows_it(flat: Bench) -> None:
    catch(flat)
    flat.processor.intercepts.io = False
    flat.processor.update_intercepts()
    flat.processor.set_gpr(EDI, 0x7C08)
    flat.load(b"\x90" * 8 + b"\xf4" * 8)
    assert go(flat, 0x7C08) == ExitKind.HLT
    flat.processor.set_gpr(ECX, 2)
    assert flat.run(b"\xf3\x6d" + b"\x90" * 6 + b"\xf4" * 9) == ExitKind.EXCEPTION
    assert faults(flat)[0] == UNDEFINED  # FF FF
    assert flat.processor.rip == 0x7C08


def test_what_a_device_writes_into_a_running_loop_is_seen(flat: Bench) -> None:
    flat.load(bytes.fromhex("83c001 eb fb"))
    assert flat.run(budget=101) == ExitKind.BUDGET
    assert flat.processor.gpr(EAX) == 51
    flat.write(0x7C02, b"\x64")
    assert flat.run(budget=3) == ExitKind.BUDGET  # JMP, ADD, JMP
    assert flat.processor.gpr(EAX) == 151


def test_what_a_device_writes_into_the_second_half_of_a_page_is_seen_and_the_rest_kept(flat: Bench) -> None:
    flat.load(bytes.fromhex("83c001 e9 f8070000"))  # to 8400
    flat.write(0x8400, bytes.fromhex("83c302 e9 f8f7ffff"))
    assert flat.run(budget=8) == ExitKind.BUDGET
    before = flat.processor.statistics["blocks"]
    flat.write(0x8402, b"\x20")
    assert flat.run(budget=8) == ExitKind.BUDGET
    assert (flat.processor.gpr(EAX), flat.processor.gpr(EBX)) == (4, 4 + 64)
    assert flat.processor.statistics["blocks"] == before + 1


def test_a_device_writes_a_range_over_a_page_boundary(flat: Bench) -> None:
    flat.load(bytes.fromhex("83c001 83c001 83c001 f4"), 0x8FFC)
    assert flat.run() == ExitKind.HLT
    flat.write(0x8FFE, bytes.fromhex("02 83c002 83c002"))
    assert go(flat, 0x8FFC) == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 3 + 6


# Code at a page boundary


def crossing(paged: Paged) -> int:
    """MOV EAX, 44332211 with two bytes on PAGE and three on the page behind it; where it begins."""
    paged.map(P | W | U, FRAME, PAGE)
    paged.map(P | W | U, OTHER, PAGE + 0x1000)
    paged.write(FRAME + 0xFFE, bytes.fromhex("b811"))
    paged.write(OTHER, bytes.fromhex("223344f4"))
    return PAGE + 0xFFE


def invlpg(paged: Paged, page: int) -> None:
    """Execute it, in the identity-mapped first MiB."""
    paged.write(0x5000, b"\x0f\x01\x3d" + struct.pack("<I", page) + b"\xf4")
    assert go(paged, 0x5000) == ExitKind.HLT


def test_an_instruction_whose_second_page_is_mapped_anew_is_decoded_anew(paged: Paged) -> None:
    at = crossing(paged)
    assert go(paged, at) == ExitKind.HLT
    assert paged.processor.gpr(EAX) == 0x44332211
    paged.write(FRAME + 0x2000, bytes.fromhex("778899f4"))
    paged.map(P | W, FRAME + 0x2000, PAGE + 0x1000)
    invlpg(paged, PAGE + 0x1000)
    assert go(paged, at) == ExitKind.HLT
    assert paged.processor.gpr(EAX) == 0x99887711


def test_an_instruction_whose_second_page_goes_away_faults_there(paged: Paged) -> None:
    at = crossing(paged)
    assert go(paged, at) == ExitKind.HLT
    paged.map(0, OTHER, PAGE + 0x1000)
    invlpg(paged, PAGE + 0x1000)
    assert go(paged, at) == ExitKind.EXCEPTION
    assert faults(paged) == (PAGE_FAULT, 0, PAGE + 0x1000, at)
    paged.map(P, OTHER, PAGE + 0x1000)
    assert go(paged, at) == ExitKind.HLT


def test_a_block_that_ends_at_its_page_goes_on_in_whatever_page_comes_next(paged: Paged) -> None:
    paged.map(P | W, FRAME, PAGE)
    paged.map(P | W, OTHER, PAGE + 0x1000)
    paged.write(FRAME + 0xFF8, bytes.fromhex("83c001 83c001 4343"))
    paged.write(OTHER, bytes.fromhex("83c210 f4"))
    paged.write(FRAME + 0x2000, bytes.fromhex("83c220 f4"))
    for _ in range(2):
        assert go(paged, PAGE + 0xFF8) == ExitKind.HLT
    assert paged.processor.gpr(EDX) == 0x20
    paged.map(P | W, FRAME + 0x2000, PAGE + 0x1000)
    invlpg(paged, PAGE + 0x1000)
    assert go(paged, PAGE + 0xFF8) == ExitKind.HLT
    assert paged.processor.gpr(EDX) == 0x40
    paged.map(0, 0, PAGE + 0x1000)
    invlpg(paged, PAGE + 0x1000)
    assert go(paged, PAGE + 0xFF8) == ExitKind.EXCEPTION
    assert faults(paged) == (PAGE_FAULT, 0, PAGE + 0x1000, PAGE + 0x1000)
    assert paged.processor.gpr(EBX) == 8


def test_a_write_to_the_second_page_of_an_instruction_is_seen_through_another_mapping(paged: Paged) -> None:
    at = crossing(paged)
    paged.map(P | W, OTHER, ALIAS)
    assert go(paged, at) == ExitKind.HLT
    paged.write(0x5000, b"\xc6\x05" + struct.pack("<I", ALIAS + 1) + b"\x55\xf4")
    assert go(paged, 0x5000) == ExitKind.HLT
    assert go(paged, at) == ExitKind.HLT
    assert paged.processor.gpr(EAX) == 0x44552211


LOOP_OVER = "b9 {} eb 00 05 01000000 49 75 f8 f4"
"""MOV ECX, n / JMP again / again: ADD EAX, 1 / DEC ECX / JNZ again / HLT; the ADD begins at byte 7."""


def loop_over(turns: int) -> bytes:
    return bytes.fromhex(LOOP_OVER.format(struct.pack("<I", turns).hex()))


@pytest.mark.parametrize("before_the_end", [1, 2, 4])
def test_an_instruction_across_a_page_is_decoded_once(flat: Bench, before_the_end: int) -> None:
    at = 0x9000 - before_the_end - 7
    flat.write(at, loop_over(500))
    for _ in range(2):
        flat.processor.set_gpr(EAX, 0)
        assert go(flat, at, 2000) == ExitKind.HLT
        assert flat.processor.gpr(EAX) == 500
    assert flat.processor.statistics["blocks"] <= 5
    if flat.processor.statistics["translated"]:
        assert flat.processor.interpreted == {"HLT": 2}


def test_a_store_into_either_part_of_an_instruction_across_a_page_is_seen_at_once(flat: Bench) -> None:
    # mov ecx, 4 / again: (jump to) add eax, 1 over the end of the page / loop: the next store / dec ecx / jnz again
    for where, byte in ((0x8FFE, 0x2D), (0x9000, 3), (0x9001, 1)):  # SUB EAX; of 1 + 200h; of 1 + 10000h
        flat.write(0x8FFE, bytes.fromhex("05 01000000 c3"))
        flat.load(bytes.fromhex("b9 04000000 e8") + struct.pack("<i", 0x8FFE - 0x7C0A), 0x7C00)
        flat.write(0x7C0A, b"\xc6\x05" + struct.pack("<IB", where, byte) + bytes.fromhex("49 75 f1 f4"))
        flat.processor.set_gpr(EAX, 0x100)
        assert flat.run() == ExitKind.HLT
        changed = bytearray.fromhex("05 01000000")
        changed[where - 0x8FFE] = byte
        step = struct.unpack("<i", changed[1:])[0] * (-1 if changed[0] == 0x2D else 1)
        assert flat.processor.gpr(EAX) == 0x101 + 3 * step


def test_each_page_of_an_instruction_across_them_may_be_written_after_the_other(flat: Bench) -> None:
    for first, second in ((0x8FFF, 0x9000), (0x9000, 0x8FFF)):
        for _ in range(3):
            flat.write(0x8FFE, bytes.fromhex("b8 11223344 f4"))
            assert go(flat, 0x8FFE) == ExitKind.HLT
            flat.write(first, b"\x99")
            flat.write(second, b"\x88")
            flat.write(0x9002, b"\x77")
            assert go(flat, 0x8FFE) == ExitKind.HLT
            expected = bytearray.fromhex("11223377")
            expected[first - 0x8FFF], expected[second - 0x8FFF] = 0x99, 0x88
            assert flat.processor.gpr(EAX) == int.from_bytes(expected, "little")


def test_an_instruction_whose_second_page_goes_to_and_fro_is_that_of_the_moment(paged: Paged) -> None:
    at = crossing(paged)
    paged.write(FRAME + 0x2000, bytes.fromhex("778899f4"))
    for _ in range(3):
        for frame, value in ((OTHER, 0x44332211), (FRAME + 0x2000, 0x99887711)):
            paged.map(P | W, frame, PAGE + 0x1000)
            invlpg(paged, PAGE + 0x1000)
            for _ in range(2):
                assert go(paged, at) == ExitKind.HLT
                assert paged.processor.gpr(EAX) == value


@pytest.mark.parametrize("how", HOW)
def test_an_instruction_across_a_page_does_not_run_past_the_segments_end_where_it_once_fitted(
    how: str,
) -> None:
    """The page is first at 0 of its segment, then at F000h, where a linked jump leads to the instruction too."""
    bench = Bench(16)
    translate(bench, how)
    catch(bench)
    p = bench.processor
    bench.write(0x20100, bytes.fromhex("e9 fb0e"))  # JMP to FFE
    bench.write(0x20FFE, bytes.fromhex("b8 2211 f4"))
    for _ in range(2):
        p.set_segment(CS, 0x2000, 0x20000, 0xFFFF, 0x9B)
        assert go(bench, 0x100) == ExitKind.HLT
        assert p.gpr(EAX) & 0xFFFF == 0x1122
    p.set_gpr(EAX, 0)
    p.set_segment(CS, 0x1100, 0x11000, 0xFFFF, 0x9B)
    assert go(bench, 0xF100) == ExitKind.EXCEPTION
    assert faults(bench)[0] == GENERAL
    assert p.rip == 0xFFFE
    assert p.gpr(EAX) == 0


@pytest.mark.parametrize("how", HOW)
def test_an_instruction_across_a_page_does_not_run_past_4_gib_where_it_once_fitted(how: str) -> None:
    paged = Paged()
    translate(paged, how)
    catch(paged)
    last = DIRECTORY + 0x3000
    for page in range(0, 0x400000, 0x1000):
        paged.entry(last + page // 1024, 0)
    at = crossing(paged)
    paged.map(P | W, OTHER, 0)
    paged.entry(DIRECTORY + 0xFFC, last | P | W)
    paged.entry(last + 0xFFC, FRAME | P | W)
    paged.write(FRAME, bytes.fromhex("e9 f90f0000"))  # JMP to FFE
    for _ in range(2):
        assert go(paged, PAGE) == ExitKind.HLT
        assert paged.processor.gpr(EAX) == 0x44332211
    assert go(paged, 3) == ExitKind.HLT  # what lies at 0 is known
    paged.processor.set_gpr(EAX, 0)
    assert go(paged, 0xFFFFF000) == ExitKind.EXCEPTION
    assert faults(paged)[0] == GENERAL
    assert (paged.processor.rip, paged.processor.gpr(EAX)) == (0xFFFFFFFE, 0)
    assert at == PAGE + 0xFFE


@pytest.mark.parametrize("call", ["e8 fc0f0000", "ffd2"], ids=["a call", "an indirect call"])
def test_a_call_across_a_page_returns_behind_itself(flat: Bench, call: str) -> None:
    code = bytes.fromhex(call)
    start = 0x9001 - len(code)
    flat.write(start, code + bytes.fromhex("40 49 75") + bytes([(-len(code) - 4) & 0xFF]) + b"\xf4")
    target = start + len(code) + 0xFFC if call[:2] == "e8" else 0xA123
    flat.write(target, bytes.fromhex("43 c3"))
    p = flat.processor
    for number, value in ((EAX, 0), (EBX, 0), (ECX, 50), (EDX, target)):
        p.set_gpr(number, value)
    assert go(flat, start, 1000) == ExitKind.HLT
    assert (p.gpr(EAX), p.gpr(EBX), p.gpr(ESP)) == (50, 50, 0x7000)


# The pages of the stack and of the frame, of which host code remembers where they lie

AT_STACK = {
    ESP: bytes.fromhex("68 44332211 8b0424 58 f4"),  # push 11223344 / mov eax, [esp] / pop eax / hlt
    # mov dword [ebp - 4], 11223344 / mov eax, [ebp - 4] / xor [ebp - 4], eax / add [ebp - 4], eax / hlt
    EBP: bytes.fromhex("c745fc 44332211 8b45fc 3145fc 0145fc f4"),
}


@pytest.mark.parametrize("pointer", AT_STACK)
@pytest.mark.parametrize("forgets", ["INVLPG", "CR3"])
def test_a_stack_whose_page_is_mapped_anew_is_found_there(paged: Paged, forgets: str, pointer: int) -> None:
    paged.write(0x6000, AT_STACK[pointer])
    for frame in (FRAME, OTHER, FRAME, OTHER):
        paged.map(P | W, frame)
        if forgets == "INVLPG":
            invlpg(paged, PAGE)
        else:
            paged.processor.set_cr(3, DIRECTORY)
        paged.memory.write(FRAME + 0x7FC, bytes(4))
        paged.memory.write(OTHER + 0x7FC, bytes(4))
        paged.processor.set_gpr(pointer, PAGE + 0x800)
        assert go(paged, 0x6000) == ExitKind.HLT
        assert paged.processor.gpr(EAX) == 0x11223344
        assert paged.read32(frame + 0x7FC) == 0x11223344
        assert paged.read32(FRAME + OTHER - frame + 0x7FC) == 0


@pytest.mark.parametrize("pointer", AT_STACK)
def test_a_stack_whose_page_may_no_longer_be_written_is_not(paged: Paged, pointer: int) -> None:
    paged.processor.set_cr(0, PG | WP | 0x11)
    paged.write(0x6000, AT_STACK[pointer])
    for flags, kind in (
        (P | W, ExitKind.HLT),
        (P, ExitKind.EXCEPTION),
        (0, ExitKind.EXCEPTION),
        (P | W, ExitKind.HLT),
    ):
        paged.map(flags)
        invlpg(paged, PAGE)
        paged.processor.set_gpr(pointer, PAGE + 0x800)
        assert go(paged, 0x6000) == kind
        if kind == ExitKind.EXCEPTION:
            assert faults(paged) == (PAGE_FAULT, 2 | flags & P, PAGE + 0x7FC, 0x6000)


def test_a_frame_over_two_pages_and_a_stack_elsewhere_are_each_found(paged: Paged) -> None:
    """Two frames by turns, each with operands in two pages and one over their boundary, and a push between."""
    # again: mov [ebp - 8], ecx / push ecx / mov eax, [ebp - 4] / add [ebp - 6], ecx / pop ebx / sub ebp, edx
    # neg edx / dec ecx / jnz again / leave / hlt
    paged.write(0x6000, bytes.fromhex("894df8 51 8b45fc 014dfa 5b 29d5 f7da 49 75ee c9 f4"))
    p = paged.processor
    for _ in range(3):
        paged.memory.write(0x8FFE, bytes(8) + b"\x44\x33\x22\x11")
        paged.memory.write(0x7FFA, bytes(4) + b"\x88\x77\x66\x55")
        for number, value in ((ESP, 0x7000), (EBP, 0x9006), (ECX, 8), (EDX, 0x1004)):
            p.set_gpr(number, value)
        assert go(paged, 0x6000) == ExitKind.HLT
        assert [p.gpr(n) for n in (EAX, EBX, ESP, EBP)] == [0x55667788, 1, 0x900A, 0x11223344]
        assert paged.memory.read(0x8FFE, 4) == bytes([2, 0, 2, 0])
        assert paged.memory.read(0x7FFA, 4) == bytes([1, 0, 1, 0])


def test_what_is_pushed_over_code_that_was_decoded_since_the_last_push_is_seen(flat: Bench) -> None:
    flat.write(0x8000, bytes.fromhex("68 44332211 58 f4"))
    p = flat.processor
    for _ in range(3):
        p.set_gpr(ESP, 0x9100)
        assert go(flat, 0x8000) == ExitKind.HLT  # the stack's page has no code yet, or none any more
        flat.write(0x90F8, bytes.fromhex("b8 01000000 f4"))  # MOV EAX, 1
        assert go(flat, 0x90F8) == ExitKind.HLT
        assert p.gpr(EAX) == 1
        flat.write(0x8010, bytes.fromhex("68 b8070000 f4"))  # PUSH 000007B8, of which MOV EAX, 7 is made
        p.set_gpr(ESP, 0x90FC)
        assert go(flat, 0x8010) == ExitKind.HLT
        assert go(flat, 0x90F8) == ExitKind.HLT
        assert p.gpr(EAX) == 7


# One page, two mappings, different rights


def test_a_block_that_ring_0_ran_is_not_ring_3s_to_run_where_the_page_is_the_kernels(paged: Paged) -> None:
    paged.map(P | W, FRAME, PAGE)
    paged.map(P | U, FRAME, ALIAS)
    paged.write(FRAME, bytes.fromhex("39d8 7400 40 83f803 75f6 f4"))
    assert go(paged, PAGE) == ExitKind.HLT
    paged.user()
    paged.processor.set_gpr(EAX, 0)
    assert go(paged, ALIAS) == ExitKind.EXCEPTION  # HLT, which is ring 0's
    assert faults(paged)[0] == GENERAL
    assert paged.processor.gpr(EAX) == 3
    assert go(paged, PAGE) == ExitKind.EXCEPTION
    assert faults(paged) == (PAGE_FAULT, 5, PAGE, PAGE)


def test_a_chain_from_a_users_page_into_the_kernels_mapping_of_the_same_code_faults(paged: Paged) -> None:
    """The block that follows is known, by where its bytes lie; ring 3 still may not fetch it there."""
    paged.map(P | U, FRAME, PAGE)
    paged.map(P, FRAME, PAGE + 0x1000)
    paged.write(FRAME, bytes.fromhex("83c001 39d8 7405 e9 f40f0000 f4"))  # over and over, a page further
    paged.processor.set_gpr(EBX, 2)
    assert go(paged, PAGE) == ExitKind.HLT
    assert paged.processor.rip == PAGE + 0x100C
    paged.user()
    paged.processor.set_gpr(EAX, 0)
    assert go(paged, PAGE) == ExitKind.EXCEPTION
    assert faults(paged) == (PAGE_FAULT, 5, PAGE + 0x1000, PAGE + 0x1000)
    assert paged.processor.gpr(EAX) == 1


def test_code_is_not_written_through_a_mapping_that_may_only_be_read(paged: Paged) -> None:
    paged.map(P | W, FRAME, PAGE)
    paged.map(P, FRAME, ALIAS)
    paged.processor.set_cr(0, PG | WP | 0x11)
    paged.write(
        FRAME, bytes.fromhex("b801000000 c605") + struct.pack("<I", ALIAS + 1) + bytes.fromhex("05 f4")
    )
    for _ in range(2):
        assert go(paged, PAGE) == ExitKind.EXCEPTION
        assert faults(paged) == (PAGE_FAULT, 3, ALIAS + 1, PAGE + 5)
        assert paged.processor.gpr(EAX) == 1
    paged.processor.set_cr(0, PG | 0x11)  # without CR0.WP ring 0 may
    assert go(paged, PAGE) == ExitKind.HLT
    assert go(paged, PAGE) == ExitKind.HLT
    assert paged.processor.gpr(EAX) == 5


def test_no_execute_is_a_property_of_the_mapping_and_not_of_the_code(paged: Paged) -> None:
    pointers, directory, table = 0x110000, 0x111000, 0x112000
    p = paged.processor
    paged.memory.write(pointers, struct.pack("<QQQQ", directory | P, 0, 0, 0))
    paged.memory.write(directory, struct.pack("<QQ", P | W | PS, table | P | W | U))
    pages = [FRAME | P | U, FRAME | P | U | 1 << 63, FRAME | P | W | U | 1 << 63]
    paged.memory.write(table, struct.pack("<QQQ", *pages))
    p.set_cr(0, 0x11)
    p.set_cr(4, PAE)
    p.efer = 0x800
    p.set_cr(3, pointers)
    p.set_cr(0, PG | 0x11)
    p.load_pdptes()
    yes, no, no_but_writable = 0x200000, 0x201000, 0x202000
    # add eax, 1 / mov [no_but_writable + 800h], eax / jmp a page further
    paged.write(
        FRAME, bytes.fromhex("83c001 a3") + struct.pack("<I", no_but_writable + 0x800) + b"\xe9\xf3\x0f\0\0"
    )
    # A load from there is allowed, so that the TLB knows the page.
    paged.write(0x5000, b"\xa1" + struct.pack("<I", no) + b"\x31\xc0\xf4")
    assert go(paged, 0x5000) == ExitKind.HLT
    for expected in (1, 2):
        assert go(paged, yes) == ExitKind.EXCEPTION
        assert faults(paged) == (PAGE_FAULT, 0x11, no, no)
        assert p.gpr(EAX) == expected
    paged.user()
    assert go(paged, yes) == ExitKind.EXCEPTION
    assert faults(paged) == (PAGE_FAULT, 0x15, no, no)
    ring_0(paged)
    # and what is written through the mapping that cannot run is seen through the one that can
    paged.write(0x5000, b"\xc6\x05" + struct.pack("<I", no_but_writable + 2) + b"\x20\xf4")
    assert go(paged, 0x5000) == ExitKind.HLT
    assert go(paged, yes) == ExitKind.EXCEPTION
    assert p.gpr(EAX) == 3 + 0x20


def test_a_chain_of_blocks_does_not_follow_a_page_to_where_it_was(paged: Paged) -> None:
    paged.map(P | W, FRAME, PAGE)
    paged.map(P | W, OTHER, PAGE + 0x1000)
    paged.write(FRAME, bytes.fromhex("83c001 e9 f80f0000"))
    paged.write(OTHER, bytes.fromhex("83c310 3d 04000000 7205 f4"))  # below 4: to 100E
    paged.write(OTHER + 0xF, bytes.fromhex("e9 ecefffff"))
    paged.write(FRAME + 0x2000, bytes.fromhex("83c201 f4"))
    assert go(paged, PAGE) == ExitKind.HLT
    assert (paged.processor.gpr(EAX), paged.processor.gpr(EBX)) == (4, 0x40)
    paged.map(P, FRAME + 0x2000, PAGE + 0x1000)
    invlpg(paged, PAGE + 0x1000)
    assert go(paged, PAGE) == ExitKind.HLT
    assert (paged.processor.gpr(EAX), paged.processor.gpr(EDX)) == (5, 1)


# The same bytes in another code segment


# MOV AX, 201h / ADD AL, [..] in 16 bits; MOV EAX, 4030201h in 32.
BOTH = bytes.fromhex("b8 0102 0304 9090 f4")


def test_the_same_bytes_are_decoded_for_the_size_of_the_code_segment(flat: Bench) -> None:
    flat.write(0x7C00, bytes.fromhex("b8 0102 4040 9090 f4"))
    p = flat.processor
    for size, expected in ((2, 0x40400201), (1, 0x0203), (2, 0x40400201), (1, 0x0203)):
        p.set_gpr(EAX, 0)
        p.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE if size == 2 else FLAT_CODE & ~0x4000)
        assert go(flat, 0x7C00) == ExitKind.HLT
        assert p.gpr(EAX) == expected


def test_a_block_runs_at_every_base_of_its_segment_with_that_segments_addresses(flat: Bench) -> None:
    flat.write(0x7C00, bytes.fromhex("e8 00000000 58 eb00 f4"))  # CALL next / POP EAX
    for base in (0, 0x7000, 0x4C00, 0):
        flat.processor.set_segment(CS, 8, base, 0xFFFFFFFF, FLAT_CODE)
        assert go(flat, 0x7C00 - base) == ExitKind.HLT
        assert flat.processor.gpr(EAX) == 0x7C05 - base
        assert flat.processor.rip == 0x7C08 - base


def test_a_limit_that_comes_down_into_a_known_block_faults_at_its_first_byte_beyond(flat: Bench) -> None:
    catch(flat)
    flat.write(0x7C00, bytes.fromhex("40 40 b8 01000000 40 f4"))
    assert go(flat, 0x7C00) == ExitKind.HLT
    for limit, eip, eax in (
        (0x7C07, 0x7C08, 2),
        (0x7C06, 0x7C07, 1),
        (0x7C05, 0x7C02, 2),
        (0x7C00, 0x7C01, 1),
    ):
        flat.processor.set_gpr(EAX, 0)
        flat.processor.set_segment(CS, 8, 0, limit, FLAT_CODE & ~0x8000)
        assert go(flat, 0x7C00) == ExitKind.EXCEPTION
        assert faults(flat) == (GENERAL, 0, 0, eip)
        assert flat.processor.gpr(EAX) == eax
    flat.processor.set_segment(CS, 8, 0, 0x7C08, FLAT_CODE & ~0x8000)
    assert go(flat, 0x7C00) == ExitKind.HLT


def test_a_chain_of_blocks_stops_at_a_limit_that_came_down(flat: Bench) -> None:
    catch(flat)
    flat.write(0x7C00, bytes.fromhex("40 e9 fa000000"))
    flat.write(0x7D00, bytes.fromhex("43 f4"))
    assert go(flat, 0x7C00) == ExitKind.HLT
    flat.processor.set_segment(CS, 8, 0, 0x7CFF, FLAT_CODE & ~0x8000)
    assert go(flat, 0x7C00) == ExitKind.EXCEPTION
    assert faults(flat) == (GENERAL, 0, 0, 0x7C01)
    assert (flat.processor.gpr(EAX), flat.processor.gpr(EBX)) == (2, 1)


# At random, against the forgetful one


class Forgetful(Paged):
    """Decodes every instruction and looks up every page anew."""

    def run(self, code: bytes | None = None, budget: int = 100_000) -> int:
        assert code is None
        p = self.processor
        kind = ExitKind.BUDGET
        for _ in range(budget):
            p.set_model(SIGNATURE, EVERYTHING)
            p.set_cr(3, DIRECTORY)
            kind = p.run(1)
            if kind != ExitKind.BUDGET:
                break
        return kind


def state(bench: Bench, kind: int) -> dict[str, object]:
    p = bench.processor
    info = (p.exit.vector, p.exit.fault_address) if kind == ExitKind.EXCEPTION else ()
    return {"kind": kind, "exit": info, "rip": hex(p.rip), "registers": [hex(v) for v in bench.registers()],
            "flags": hex(p.rflags), "count": p.icount}  # fmt: skip


AIM = b"\xa5\x5a\xa5\x5a"  # stands for an address in the code
VICTIMS = [  # and the offsets of their bytes that may be anything
    (b"\x05\0\0\0\0", (1, 2, 3, 4)), (b"\x83\xc0\x01", (2,)), (b"\x81\xf3\0\0\0\0", (2, 3, 4, 5)),
    (b"\x39\xd8\x75\x00", ()), (b"\x3d\0\0\0\0\x72\x02\x40\x43", (1, 2, 3, 4)), (b"\xba\0\0\0\0", (1, 2, 3, 4)),
    (b"\xeb\x00", ()), (b"\x85\xc0\x78\x01\x42", ()), (b"\x11\xd8", ()), (b"\xe8\0\0\0\0\x5d", ()), (b"\xd1\xe0", ()),
    (b"\x83\xf8\x11\x74\x02\x33\xc2", (2,)), (b"\x69\xdb\0\0\0\0", (2, 3, 4, 5)), (b"\xb4\x12", (1,)),
]  # fmt: skip
WIDE = [b"\x66\xa3" + AIM, b"\xa3" + AIM, b"\xff\x05" + AIM, b"\x50\x8f\x05" + AIM, b"\x0f\xc1\x05" + AIM]
WRITERS = [
    b"\xc6\x05" + AIM + b"\x43", b"\x80\x05" + AIM + b"\x01", b"\xfe\x05" + AIM, b"\xa2" + AIM,
    b"\x30\x05" + AIM, b"\xbf" + AIM + b"\xaa", b"\xbf" + AIM + b"\xb9\x01\0\0\0\xf3\xaa", b"\x86\x05" + AIM,
    b"\x0f\x9c\x05" + AIM, b"\x56\xbf" + AIM + b"\xbe" + AIM + b"\xa4\x5e", b"\x0f\xba\x2d" + AIM + b"\x03",
    b"\x0f\xc0\x05" + AIM, *WIDE,
]  # fmt: skip


def self_changing(r: random.Random, base: int) -> bytes:
    """A loop that writes into itself: mostly where any byte will do, now and then anywhere."""
    rows = [r.choice(VICTIMS) for _ in range(r.randrange(4, 16))]
    for _ in range(r.randrange(1, 5)):
        rows.insert(r.randrange(len(rows) + 1), (r.choice(WRITERS), ()))
    body = bytearray()
    tame: list[int] = []
    wide: list[int] = []
    aims: list[tuple[int, bool]] = []
    for row, offsets in rows:
        tame += [len(body) + offset for offset in offsets]
        wide += [len(body) + offsets[0]] if len(offsets) == 4 else []
        aims += [(len(body) + at, row in WIDE) for at in range(len(row)) if row[at : at + 4] == AIM]
        body += row
    for at in tame:
        body[at] = r.randrange(256)
    for at, is_wide in aims:
        fits = wide if is_wide else tame
        target = r.choice(fits) if fits and r.random() < 0.95 else r.randrange(len(body))
        body[at : at + 4] = struct.pack("<I", r.choice([PAGE, PAGE, ALIAS]) + base + target)
    return bytes(body) + b"\x4e\x0f\x85" + struct.pack("<i", -len(body) - 7) + b"\xf4"  # DEC ESI, JNZ


def start(bench: Paged, registers: list[int], code: bytes, base: int) -> None:
    for number, value in enumerate(registers):
        bench.processor.set_gpr(number, value)
    bench.processor.rflags = 2
    for offset in range(0, 0x3000, 0x1000):  # pages that follow each other only in linear addresses
        bench.map(P | W, FRAME + 0x4000 - 2 * offset, PAGE + offset)
        bench.map(P | W, FRAME + 0x4000 - 2 * offset, ALIAS + offset)
    data = bytearray(b"\xf4" * 0x3000)
    data[base : base + len(code)] = code
    for offset in range(0, 0x3000, 0x1000):
        bench.write(FRAME + 0x4000 - 2 * offset, bytes(data[offset : offset + 0x1000]))


@pytest.mark.parametrize("how", HOW)
def test_random_code_that_writes_over_itself_never_runs_stale(how: str) -> None:
    ours, reference = Paged(), Forgetful()
    translate(ours, how)
    translate(reference, "interpreted")
    catch(ours)
    catch(reference)
    for seed in range(PROGRAMS):
        r = random.Random(seed)
        base = r.choice([0x100, 0x1000 - r.randrange(1, 60)])
        code = self_changing(r, base)
        registers = [
            r.getrandbits(32),
            2,
            r.getrandbits(32),
            r.getrandbits(8),
            0x8000,
            0,
            r.randrange(2, 7),
            0x9000,
        ]
        for bench in (ours, reference):
            start(bench, registers, code, base)
        before = ours.processor.icount, reference.processor.icount
        expected = state(reference, go(reference, PAGE + base, 150))
        actual = state(ours, go(ours, PAGE + base, 150))
        expected["count"], actual["count"] = (
            reference.processor.icount - before[1],
            ours.processor.icount - before[0],
        )
        assert actual == expected, (seed, code.hex())
        assert ours.memory.host[FRAME : FRAME + 0x5000] == reference.memory.host[FRAME : FRAME + 0x5000], seed


@pytest.mark.parametrize("how", HOW)
def test_random_changes_of_mappings_and_rights_are_obeyed_at_once(how: str) -> None:
    """Four linear pages show two frames whose code jumps between pages; entries, ring and bytes change meanwhile."""
    ours, reference = Paged(), Forgetful()
    translate(ours, how)
    translate(reference, "interpreted")
    for bench in (ours, reference):
        catch(bench)
        bench.processor.set_cr(0, PG | WP | 0x11)
    for seed in range(PROGRAMS // 15):
        r = random.Random(seed)
        hops = [
            (3 + 5, struct.pack("<i", r.choice([-1, 0, 1, 2]) * 0x1000 + r.choice([0, 0x40, 0x80])))
            for _ in range(6)
        ]
        for frame in (FRAME, OTHER):
            for i, at in enumerate((0, 0x40, 0x80)):
                distance = struct.unpack("<i", hops[i if frame == FRAME else i + 3][1])[0] - at
                code = bytes.fromhex(r.choice(["40 39d8", "83c301", "43 85c0", "a3 00803000", "42 39d0"]))
                jump = struct.pack("<i", distance - len(code) - 6)
                code += b"\x0f" + bytes([r.choice([0x84, 0x85, 0x82])]) + jump
                code += b"\xe9" + struct.pack("<i", distance - len(code) - 5)
                for bench in (ours, reference):
                    bench.write(frame + at, code)
        at = PAGE
        for step in range(30):
            what = r.randrange(5)
            page = PAGE + 0x1000 * r.randrange(4)
            flags = r.choice([P, P | U, P | W, P | W | U, P | W | U, P | U, 0])
            frame = r.choice([FRAME, OTHER])
            patch = (
                r.choice([FRAME, OTHER]) + r.choice([0, 0x40, 0x80]),
                bytes([r.choice([0x40, 0x43, 0x42, 0x90])]),
            )
            budget = r.randrange(1, 40)
            results = []
            for bench in (ours, reference):
                if what < 2:
                    bench.map(flags, frame, page)
                    ring_0(bench)
                    invlpg(bench, page)
                elif what == 2:
                    bench.user()
                elif what == 3:
                    ring_0(bench)
                else:
                    bench.write(*patch)
                results.append(state(bench, go(bench, at, budget)))
                results[-1].pop("count")
            assert results[0] == results[1], (seed, step)
            at = ours.processor.rip if results[0]["kind"] == ExitKind.BUDGET else page


def test_a_range_of_nearly_all_addresses_is_forgotten_at_once_and_whole(flat):
    """It was walked page by page, 2^51 of them, with the interpreter's lock held."""
    flat.load(b"\xb8\x01\x00\x00\x00\xf4", at=0x8000)
    for _ in range(3):
        assert go(flat, 0x8000) == ExitKind.HLT
    flat.memory.host[0x8001] = 2
    before = time.process_time()
    flat.processor.invalidate_code(0x800, (1 << 63) - 0x800)
    assert time.process_time() - before < 0.5
    go(flat, 0x8000)
    assert flat.processor.gpr(EAX) == 2


def test_a_range_is_forgotten_to_the_byte(flat):
    flat.load(b"\xb8\x01\x00\x00\x00\xf4", at=0x8FFE)
    go(flat, 0x8FFE)
    flat.memory.host[0x9000] = 7
    flat.processor.invalidate_code(0x9000, 0)
    flat.processor.invalidate_code(0x9000, 1)
    go(flat, 0x8FFE)
    assert flat.processor.gpr(EAX) == 0x701
