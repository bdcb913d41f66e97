"""Non-maskable interrupts (SDM vol. 3 §6.7, §25.4.2): what blocks them, what ends that, and the window for one."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, ESP, SS, Bench
from tests.hvcore.cpu.test_execute import IDT, emulate, gate, protected
from tests.hvcore.cpu.test_tasks import NEW_TSS, TASK, Tasks

NMI, EXTERNAL, EXCEPTION = 2, 0, 3
STI, MOV_SS, BLOCKED = 1, 2, 8


@pytest.fixture
def real() -> Bench:
    bench = Bench()
    for vector in range(32):
        bench.write(vector * 4, struct.pack("<HH", 0x9000 + 16 * vector, 0))
        bench.write(0x9000 + 16 * vector, b"\xf4")
    return bench


def window(bench: Bench) -> None:
    bench.processor.intercepts.nmi_window = True
    bench.processor.update_intercepts()


def test_an_nmi_blocks_the_next_one_until_iret(real: Bench) -> None:
    p = real.processor
    real.write(0x9020, b"\xf4\xcf")
    real.load(b"\x40\xf4")
    p.inject(NMI, 2)
    assert real.run() == ExitKind.HLT
    assert (p.rip, p.interruptibility) == (0x9020, BLOCKED)
    p.rip = 0x9021
    assert real.run() == ExitKind.HLT
    assert (p.rip, p.interruptibility, p.gpr(EAX)) == (0x7C01, 0, 1)


def test_an_nmi_is_delivered_whatever_if_says_and_clears_it(real: Bench) -> None:
    for flags in (2, 0x202):
        real.reset()
        real.processor.rflags = flags
        real.processor.inject(NMI, 2)
        assert real.run() == ExitKind.HLT
        assert real.processor.rip == 0x9020
        assert real.processor.rflags == 2


@pytest.mark.parametrize("kind", [EXTERNAL, EXCEPTION])
def test_an_event_in_the_nmi_handler_leaves_nmis_blocked(real: Bench, kind: int) -> None:
    real.processor.interruptibility = BLOCKED
    real.processor.inject(kind, 6)
    assert real.run() == ExitKind.HLT
    assert (real.processor.rip, real.processor.interruptibility) == (0x9060, BLOCKED)


def test_ordinary_instructions_and_shadows_leave_nmis_blocked(real: Bench) -> None:
    real.processor.interruptibility = BLOCKED
    assert real.run(bytes.fromhex("fb 40 8ed0 40 f4")) == ExitKind.HLT
    assert real.processor.interruptibility == BLOCKED
    real.processor.interruptibility = BLOCKED | MOV_SS
    assert real.run(bytes.fromhex("40 f4")) == ExitKind.HLT
    assert real.processor.interruptibility == BLOCKED


def test_an_instruction_emulated_on_a_device_leaves_nmis_blocked() -> None:
    flat = Bench(32)
    flat.processor.interruptibility = BLOCKED | STI
    assert flat.run(bytes.fromhex("a2 00800b00 f4")) == ExitKind.GUEST_PHYSICAL
    assert flat.processor.interruptibility == BLOCKED | STI
    emulate(flat, {})
    assert flat.processor.interruptibility == BLOCKED


@pytest.mark.parametrize(
    ("code", "blocking", "opens_at"),
    [
        ("40 40 f4", 0, 0x7C00),
        ("fb 40 40 f4", 0, 0x7C00),
        ("40 40 f4", STI, 0x7C01),
        ("40 40 f4", MOV_SS, 0x7C01),
        ("8ed0 40 f4", MOV_SS, 0x7C03),
    ],
)
def test_the_nmi_window_opens_as_soon_as_nothing_blocks(
    real: Bench, code: str, blocking: int, opens_at: int
) -> None:
    window(real)
    real.processor.interruptibility = blocking
    assert real.run(bytes.fromhex(code)) == ExitKind.NMI_WINDOW
    assert real.processor.rip == opens_at
    real.processor.intercepts.nmi_window = False
    real.processor.update_intercepts()
    assert real.run() == ExitKind.HLT


def test_the_nmi_window_opens_behind_the_iret_of_the_handler(real: Bench) -> None:
    p = real.processor
    real.write(0x9020, b"\x43\xcf")
    real.load(b"\x40\x40\xf4")
    window(real)
    p.inject(NMI, 2)
    assert real.run() == ExitKind.NMI_WINDOW
    assert (p.rip, p.gpr(EBX), p.gpr(EAX)) == (0x7C00, 1, 0)


def test_the_nmi_window_comes_before_the_interrupt_window_and_opens_without_if(real: Bench) -> None:
    window(real)
    real.processor.intercepts.interrupt_window = True
    real.processor.update_intercepts()
    real.processor.rflags = 0x202
    assert real.run(b"\x40\xf4") == ExitKind.NMI_WINDOW
    real.processor.interruptibility = BLOCKED
    assert real.run(b"\x40\xf4") == ExitKind.INTERRUPT_WINDOW


def test_the_nmi_window_ends_a_halt(real: Bench) -> None:
    window(real)
    real.processor.activity = 1
    assert real.run(b"\x40\xf4") == ExitKind.NMI_WINDOW
    real.processor.inject(NMI, 2)
    assert real.run() == ExitKind.HLT
    assert real.processor.activity == 0


def test_an_iret_that_faults_has_unblocked_nmis(real: Bench) -> None:
    p = real.processor
    p.intercepts.exceptions = 1 << 12
    p.update_intercepts()
    p.interruptibility = BLOCKED
    p.set_gpr(ESP, 0xFFFF)
    assert real.run(b"\xcf") == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.nmi_unblocking, p.interruptibility) == (12, True, 0)
    p.set_gpr(ESP, 0xFFFF)
    assert real.run(b"\xcf") == ExitKind.EXCEPTION  # nothing was blocked
    assert not p.exit.nmi_unblocking


def test_a_fault_that_iret_met_and_nobody_saw_is_forgotten(real: Bench) -> None:
    p = real.processor
    p.interruptibility = BLOCKED
    p.set_segment(SS, 0x7000, 0x9F000, 0xFFFF, 0x93)
    p.set_gpr(ESP, 0xFFE)  # half of the frame is no memory
    assert real.run(b"\xcf") == ExitKind.GUEST_PHYSICAL
    assert (p.exit.nmi_unblocking, p.interruptibility) == (True, 0)
    p.interruptibility = BLOCKED
    p.set_segment(SS, 0, 0, 0xFFFF, 0x93)
    p.set_gpr(ESP, 0xFFFF)
    p.rip = 0x7C00
    assert real.run() == ExitKind.HLT  # #SS went to the guest
    assert (p.rip, p.exit.nmi_unblocking, p.interruptibility) == (0x90C0, False, 0)


def test_iret_can_be_told_to_leave_nmis_blocked(real: Bench) -> None:
    p = real.processor
    p.intercepts.iret_keeps_nmi_blocked = True
    p.update_intercepts()
    real.load(b"\x40\xf4")
    real.write(0x9020, b"\xcf")
    p.inject(NMI, 2)
    assert real.run() == ExitKind.HLT
    assert (p.rip, p.interruptibility) == (0x7C01, BLOCKED)


def test_an_iret_that_stops_has_not_unblocked_nmis(real: Bench) -> None:
    p = real.processor
    p.intercepts.iret = True
    p.update_intercepts()
    p.interruptibility = BLOCKED
    assert real.run(b"\xcf") == ExitKind.IRET
    assert p.interruptibility == BLOCKED


def test_an_nmi_whose_delivery_faults_is_told_as_the_one_being_delivered() -> None:
    flat = protected(Bench(32, 2 << 20))
    p = flat.processor
    p.intercepts.exceptions = 1 << 11
    p.update_intercepts()
    flat.write(IDT + 2 * 8, gate(8, 0x9000, 0x0E))  # not present
    flat.load(b"\x40\xf4")
    p.inject(NMI, 2)
    assert flat.run() == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (11, 2 * 8 + 2 + 1)
    assert (p.exit.vectoring, p.exit.vectoring_kind, p.exit.vectoring_vector) == (True, NMI, 2)
    assert p.interruptibility == BLOCKED


def test_an_nmi_through_a_task_gate_blocks_until_that_task_returns() -> None:
    tasks = Tasks()
    p = tasks.processor
    tasks.write(0x2000 + 2 * 8, struct.pack("<Q", NEW_TSS << 16 | 0x85 << 40))
    tasks.write(TASK, b"\xf4\xcf")
    tasks.load(b"\xf4")
    p.inject(NMI, 2)
    assert tasks.run() == ExitKind.HLT
    assert (tasks.in_new_task(), p.interruptibility) == (True, BLOCKED)
    p.rip = TASK + 1
    assert tasks.run() == ExitKind.HLT
    assert (p.rip, p.interruptibility) == (0x7C00, 0)
    assert p.gpr(ECX) == 0x22222222
