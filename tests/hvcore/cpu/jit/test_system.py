"""RDTSC, PAUSE, PUSHF, POPF, CLI and STI as host code: whom they tell, and when an interrupt is taken."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDX, ESP, Bench
from tests.hvcore.cpu.jit.host_code import GENERAL, faulted, go
from tests.hvcore.cpu.test_paging import Paged


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
