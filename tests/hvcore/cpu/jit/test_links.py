"""Linked jumps, calls and indirect jumps: where they lead, and pages that are mapped anew below them."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDX, ESI, ESP, Bench
from tests.hvcore.cpu.jit.host_code import FORGET, LEAPS, PAGE_FAULT, faulted, go, leap
from tests.hvcore.cpu.test_paging import DIRECTORY, FRAME, PAE, PAGE, PG, PS, PSE, TABLE, P, Paged, W


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
