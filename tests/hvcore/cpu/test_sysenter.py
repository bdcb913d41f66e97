"""SYSENTER and SYSEXIT (SDM vol. 3 §5.8.7, vol. 2)."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, EAX, ECX, EDX, ESP, SS, Bench
from tests.hvcore.cpu.test_execute import frame, protected, to_ring_3

ENTER, EXIT = "0f34", "0f35"
VM, IF = 1 << 17, 0x200


@pytest.fixture
def kernel() -> Bench:
    bench = protected(Bench(32, 2 << 20))
    for number, value in ((0x174, 8), (0x175, 0x5800), (0x176, 0xA000)):
        assert bench.processor.set_msr(number, value)
    bench.write(0xA000, b"\xf4")
    return bench


def test_sysenter_goes_to_ring_0_where_the_msrs_say(kernel: Bench) -> None:
    assert to_ring_3(kernel, bytes.fromhex("90" + ENTER)) == ExitKind.HLT
    p = kernel.processor
    assert (p.rip, p.gpr(ESP), p.cpl) == (0xA000, 0x5800, 0)
    assert p.segment(CS) == (8, 0, 0xFFFFFFFF, 0xC09B)
    assert p.segment(SS) == (0x10, 0, 0xFFFFFFFF, 0xC093)
    assert not p.rflags & IF


def test_sysexit_returns_to_ring_3_where_edx_and_ecx_say(kernel: Bench) -> None:
    p = kernel.processor
    p.set_gpr(EDX, 0x8000)
    p.set_gpr(ECX, 0x7000)
    kernel.write(0x8000, b"\x40\xcd\x30")
    assert kernel.run(bytes.fromhex(EXIT)) == ExitKind.HLT  # INT 30h's gate is open to ring 3
    assert frame(kernel, 2) == (0x8003, 0x1B)
    assert frame(kernel, 5)[3:] == (0x7000, 0x23)
    assert p.gpr(EAX) & 0xFF == 0x29


@pytest.mark.parametrize("code", [ENTER, EXIT])
@pytest.mark.parametrize("selector", [0, 3])
def test_a_null_code_segment_is_refused(kernel: Bench, code: str, selector: int) -> None:
    kernel.processor.set_msr(0x174, selector)
    assert kernel.run(bytes.fromhex(code)) == ExitKind.HLT
    assert kernel.processor.rip == 0x9000 + 16 * 13
    assert frame(kernel, 2) == (0, 0x7C00)


def test_sysexit_is_for_ring_0(kernel: Bench) -> None:
    assert to_ring_3(kernel, bytes.fromhex(EXIT)) == ExitKind.HLT
    assert kernel.processor.rip == 0x9000 + 16 * 13


@pytest.mark.parametrize("code", [ENTER, EXIT])
def test_real_mode_has_neither(code: str) -> None:
    real = Bench()
    real.processor.intercepts.exceptions = 1 << 13
    real.processor.update_intercepts()
    real.processor.set_msr(0x174, 8)
    assert real.run(bytes.fromhex(code)) == ExitKind.EXCEPTION


def test_virtual_8086_mode_may_enter_and_is_left(kernel: Bench) -> None:
    kernel.write(0x10000, bytes.fromhex(ENTER))
    kernel.processor.set_gpr(ESP, 0x5000)
    kernel.write(0x5000, struct.pack("<9I", 0, 0x1000, VM | 2, 0xFFF0, 0x2000, 0, 0, 0, 0))
    assert kernel.run(b"\xcf") == ExitKind.HLT
    p = kernel.processor
    assert (p.rip, p.cpl, p.rflags & VM) == (0xA000, 0, 0)


def test_single_stepping_goes_on_in_the_kernel(kernel: Bench) -> None:
    kernel.processor.rflags = 0x102
    assert kernel.run(bytes.fromhex(ENTER)) == ExitKind.HLT
    assert kernel.processor.rip == 0x9010
    assert frame(kernel, 2) == (0xA000, 8)


def test_the_msrs_hold_32_bits_and_start_clear(kernel: Bench) -> None:
    p = kernel.processor
    p.set_msr(0x175, 0x1_2345_6789)
    assert p.msr(0x175) == 0x2345_6789
    p.reset()
    assert [p.msr(number) for number in (0x174, 0x175, 0x176)] == [0, 0, 0]


def test_rdmsr_and_wrmsr_reach_them_where_no_backend_asks(kernel: Bench) -> None:
    p = kernel.processor
    p.intercepts.rdmsr = p.intercepts.wrmsr = False
    p.intercepts.exceptions = 1 << 13
    p.update_intercepts()
    p.set_gpr(ECX, 0x176)
    p.set_gpr(EAX, 0x1234)
    p.set_gpr(EDX, 0)
    assert kernel.run(bytes.fromhex("0f30 31c0 0f32 f4")) == ExitKind.HLT
    assert (p.gpr(EAX), p.gpr(EDX)) == (0x1234, 0)
    p.set_gpr(ECX, 0xC0000102)
    assert kernel.run(bytes.fromhex("0f32")) == ExitKind.EXCEPTION
    p.set_gpr(ECX, 0x277)
    p.set_gpr(EAX, 2)  # a memory type that does not exist
    assert kernel.run(bytes.fromhex("0f30")) == ExitKind.EXCEPTION
    p.set_gpr(ECX, 0xC0000080)
    p.set_gpr(EAX, 0x800)
    assert kernel.run(bytes.fromhex("0f30 f4")) == ExitKind.HLT
    assert p.efer == 0x800
    p.set_gpr(EAX, 0x900)  # long mode
    assert kernel.run(bytes.fromhex("0f30")) == ExitKind.EXCEPTION
