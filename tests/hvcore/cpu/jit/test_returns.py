"""Where a RET goes on: behind its CALL without a look at the TLB, as long as that is right."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDX, ESP, Bench
from tests.hvcore.cpu.jit.host_code import FORGET, PAGE_FAULT, faulted, go
from tests.hvcore.cpu.test_paging import FRAME, PAGE, TABLE, P, Paged, W


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


def test_a_call_returns_from_its_own_page_and_from_another_wherever_the_stack_is(paged: Paged) -> None:
    """The same CALL, from functions in two pages of different `code_delta`: EIP and ESP are as the SDM's RET has it."""
    near = PAGE + 0x100
    # again: call eax / xor eax, near ^ 5000 / xor esp, 1000 / dec ecx / jnz again / hlt
    code = "ffd0 35" + struct.pack("<I", near ^ 0x5000).hex() + "81f4 00100000 49 75f0 f4"
    paged.write(FRAME, bytes.fromhex(code))
    on_another_stack = "87d4 50 58 87d4"  # xchg esp, edx / push eax / pop eax / xchg esp, edx
    paged.write(FRAME + 0x100, bytes.fromhex(on_another_stack + "43 c3"))  # inc ebx / ret
    paged.write(0x5000, bytes.fromhex(on_another_stack + "83c310 c3"))  # add ebx, 10 / ret
    paged.map(P | W)
    p = paged.processor
    for start in (near, 0x5000, near):
        for number, value in ((EAX, start), (ECX, 20), (EDX, 0x9000), (EBX, 0), (ESP, 0x7000)):
            p.set_gpr(number, value)
        before = p.icount
        assert go(paged, PAGE) == ExitKind.HLT
        assert (p.gpr(EBX), p.gpr(ESP), p.gpr(EDX)) == (10 * 0x11, 0x7000, 0x9000)
        assert p.icount - before == 20 * 11


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
