"""Every control of a VMCB that VMRUN allows, on the real processor, and the refusal of all others."""

from collections.abc import Callable
from typing import Any

import pytest

from hvcore import EntryError
from hvcore.svm import capabilities as cap
from hvcore.svm.backend import IOPM_BASE, MSRPM_BASE, SvmBackend
from hvcore.svm.vmcb import Control, Field, Intercept3, Intercept4, Save, Vintr
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDX
from tests.hvcore.fake_processor import FakeProcessor, Handlers
from tests.hvcore.vendor_bench import DIRECTORY, HANDLERS, NOTHING, POINTERS, Guest

WORDS = {
    Control.INTERCEPT_CR: cap.INTERCEPT_CR,
    Control.INTERCEPT_DR: cap.INTERCEPT_DR,
    Control.INTERCEPT_3: cap.INTERCEPT_3,
    Control.INTERCEPT_4: cap.INTERCEPT_4,
}
SHOWN: set[tuple[Field, int]] = set()

VMRUN_REFUSED = 0xFFFF_FFFF_FFFF_FFFF
INTR, NMI, VINTR, CR0_SEL, SWINT, PAUSE, HLT, IOIO, MSR, SHUTDOWN, NPF = (
    0x60,
    0x61,
    0x64,
    0x65,
    0x75,
    0x77,
    0x78,
    0x7B,
    0x7C,
    0x7F,
    0x400,
)
EXCEPTION = 0x40
STI_NOP_HLT = "fb 90 f4"
READ_NOTHING = "a1 00002000 f4"
EFER, NXE = 0xC000_0080, 0x800


def shows(field: Field, bit: int) -> Callable[[Any], Any]:
    """Mark a test as the one that shows the effect of a control."""
    SHOWN.add((field, bit))
    return pytest.mark.parametrize("on", [True, False], ids=["1", "0"])


@pytest.fixture
def guest() -> Guest:
    return Guest(SvmBackend)


def code(guest: Guest, instructions: str) -> int:
    guest.enter(instructions)
    return guest.read(Control.EXITCODE)


def info(guest: Guest) -> tuple[int, int]:
    return guest.read(Control.EXITINFO1), guest.read(Control.EXITINFO2)


# Intercept vectors of control and debug registers

CR_CASES = [(number, write) for number in (0, 2, 3, 4) for write in (False, True)]
DR_CASES = [(number, write) for number in range(8) for write in (False, True)]
SHOWN |= {(Control.INTERCEPT_CR, 1 << number + 16 * write) for number, write in CR_CASES}
SHOWN |= {(Control.INTERCEPT_DR, 1 << number + 16 * write) for number, write in DR_CASES}


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
@pytest.mark.parametrize(("number", "write"), CR_CASES)
def test_mov_cr_is_intercepted_by_register_and_direction(
    guest: Guest, number: int, write: bool, on: bool
) -> None:
    guest.put(Control.INTERCEPT_CR, 1 << number + 16 * write, on)
    guest.cpu.set_gpr(EBX, guest.cpu.cr(number))
    instruction = f"0f{0x22 if write else 0x20:02x}{0xC3 | number << 3:02x}"
    assert code(guest, instruction + "f4") == (number + 0x10 * write if on else HLT)
    if on:
        assert info(guest) == (1 << 63 | EBX, 0)
        assert guest.read(Control.NRIP) == 0x7C03
        guest.backend.handle()
        guest.enter()
        assert guest.read(Control.EXITCODE) == HLT


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
@pytest.mark.parametrize(("number", "write"), DR_CASES)
def test_mov_dr_is_intercepted_by_register_and_direction(
    guest: Guest, number: int, write: bool, on: bool
) -> None:
    guest.put(Control.INTERCEPT_DR, 1 << number + 16 * write, on)
    guest.cpu.set_gpr(ECX, guest.cpu.dr(number))
    instruction = f"0f{0x23 if write else 0x21:02x}{0xC1 | number << 3:02x}"
    assert code(guest, instruction + "f4") == (0x20 + number + 0x10 * write if on else HLT)
    if on:
        assert info(guest) == (ECX, 0)
        guest.backend.handle()
        guest.enter()
        assert guest.read(Control.EXITCODE) == HLT


@pytest.mark.parametrize(
    ("instruction", "bit", "expected"),
    [("0f01e0", 0, 0x00), ("0f01f0", 16, 0x10), ("0f06", 16, 0x10)],  # SMSW, LMSW, CLTS
)
def test_what_is_no_mov_of_cr0_is_intercepted_with_bit_63_clear(
    guest: Guest, instruction: str, bit: int, expected: int
) -> None:
    guest.put(Control.INTERCEPT_CR, 1 << bit)
    guest.cpu.set_gpr(EAX, 0x11)
    assert code(guest, instruction + "f4") == expected
    assert info(guest)[0] >> 63 == 0


def test_faults_of_mov_dr_come_before_its_intercept(guest: Guest) -> None:
    guest.put(Control.INTERCEPT_DR, 1 << 20)
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 6)
    guest.cpu.set_cr(4, 8)  # DE: DR4 is undefined
    assert code(guest, "0f23e3 f4") == EXCEPTION + 6


# Intercept word 3


@shows(Control.INTERCEPT_3, Intercept3.INTR)
@pytest.mark.parametrize("masking", [True, False], ids=["V_INTR_MASKING", "unmasked"])
def test_a_physical_interrupt_exits_or_is_taken_by_whoever_masks_it(
    guest: Guest, on: bool, masking: bool
) -> None:
    guest.gates()
    guest.put(Control.INTERCEPT_3, Intercept3.INTR, on)
    guest.put(Control.VINTR, Vintr.V_INTR_MASKING, masking)
    guest.interrupt(0x30)
    guest.enter(STI_NOP_HLT)
    seen = guest.read(Control.EXITCODE), guest.cpu.rip
    if on:
        assert seen == (INTR, 0x7C00 if masking else 0x7C02)
    else:
        assert seen == (HLT, HANDLERS + 16 * 0x30)
        assert guest.bench.read32(guest.cpu.gpr(4)) == (0x7C00 if masking else 0x7C02)


@shows(Control.INTERCEPT_3, Intercept3.NMI)
def test_an_nmi_exits_or_goes_through_the_guests_idt(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.put(Control.INTERCEPT_3, Intercept3.NMI, on)
    guest.cpu.raise_nmi()
    guest.enter("90 f4")
    if on:
        assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (NMI, 0x7C00)
        guest.backend.handle()
        assert guest.handlers.calls == ["nmi"]
    else:
        assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, HANDLERS + 16 * 2)


@shows(Control.INTERCEPT_3, Intercept3.VINTR)
def test_a_virtual_interrupt_exits_or_is_delivered_when_the_guest_can_take_it(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.put(Control.INTERCEPT_3, Intercept3.VINTR, on)
    guest.backend.vmcb.write(Control.VINTR, Vintr.V_IRQ | Vintr.V_IGN_TPR | 0x41 << 32)
    guest.enter("90 fb 90 90 f4")
    if on:
        assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (VINTR, 0x7C03)
        assert guest.read(Control.VINTR) & Vintr.V_IRQ
    else:
        assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, HANDLERS + 16 * 0x41)
        assert guest.bench.read32(guest.cpu.gpr(4)) == 0x7C03
        assert not guest.read(Control.VINTR) & Vintr.V_IRQ


@pytest.mark.parametrize(
    ("priority", "tpr", "ignore", "taken"),
    [(3, 2, False, True), (3, 3, False, False), (0, 0, False, False), (0, 15, True, True)],
)
def test_a_virtual_interrupt_must_have_a_higher_priority_than_v_tpr(
    guest: Guest, priority: int, tpr: int, ignore: bool, taken: bool
) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.VINTR)
    value = tpr | Vintr.V_IRQ | priority << 16 | ignore << 20 | 0x41 << 32
    guest.backend.vmcb.write(Control.VINTR, value)
    assert code(guest, STI_NOP_HLT) == (VINTR if taken else HLT)


@shows(Control.INTERCEPT_3, Intercept3.CR0_SEL_WRITE)
@pytest.mark.parametrize(
    ("value", "instruction", "selected", "assist"),
    [
        (0x11 | 8 | 2, "0f22c3", False, 0),  # TS and MP
        (0x11 | 0x20, "0f22c3", True, 1 << 63 | EBX),
        (0x11, "0f01f3", True, 0),  # LMSW, which changes nothing
        (0x11, "0f06", False, 0),  # CLTS
    ],
)
def test_selective_cr0_writes_are_those_that_change_more_than_ts_and_mp(
    guest: Guest, value: int, instruction: str, selected: bool, assist: int, on: bool
) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.CR0_SEL_WRITE, on)
    guest.cpu.set_gpr(EBX, value)
    assert code(guest, instruction + "f4") == (CR0_SEL if on and selected else HLT)
    if on and selected:
        assert info(guest)[0] == assist
        guest.put(Control.INTERCEPT_CR, 1 << 16)
        assert code(guest, instruction + "f4") == 0x10  # the intercept of every write goes first


PLAIN = [
    (Intercept3.IDTR_READ, "0f010d 00800000", 0x66),
    (Intercept3.GDTR_READ, "0f0105 00800000", 0x67),
    (Intercept3.LDTR_READ, "0f00c0", 0x68),
    (Intercept3.TR_READ, "0f00c8", 0x69),
    (Intercept3.IDTR_WRITE, "0f011d 00800000", 0x6A),
    (Intercept3.GDTR_WRITE, "0f0115 00800000", 0x6B),
    (Intercept3.LDTR_WRITE, "0f00d1", 0x6C),
    (Intercept3.TR_WRITE, "0f00da", 0x6D),
    (Intercept3.RDTSC, "0f31", 0x6E),
    (Intercept3.PUSHF, "9c", 0x70),
    (Intercept3.POPF, "9d", 0x71),
    (Intercept3.CPUID, "0fa2", 0x72),
    (Intercept3.INVD, "0f08", 0x76),
    (Intercept3.PAUSE, "f390", PAUSE),
    (Intercept3.INVLPG, "0f013d 00800000", 0x79),
]
SHOWN |= {(Control.INTERCEPT_3, bit) for bit, *_ in PLAIN}


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
@pytest.mark.parametrize(("bit", "instruction", "expected"), PLAIN)
def test_an_instruction_is_intercepted_and_then_done(
    guest: Guest, bit: int, instruction: str, expected: int, on: bool
) -> None:
    guest.gates()
    guest.bench.write(0x2008, bytes.fromhex("6700 0080 0089 0000"))  # a TSS for LTR
    guest.put(Control.INTERCEPT_3, bit, on)
    guest.bench.write(0x7000, (2).to_bytes(4, "little"))  # what POPF finds
    guest.cpu.set_gpr(ECX, 0)
    guest.cpu.set_gpr(EDX, 8)
    assert code(guest, instruction + "f4") == (expected if on else HLT)
    if on:
        length = len(bytes.fromhex(instruction))
        assert guest.read(Control.NRIP) == 0x7C00 + length
        assert info(guest)[0] == (0x8000 if bit == Intercept3.INVLPG else 0)
        guest.backend.handle()
        guest.enter()
        assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, 0x7C00 + length)


@shows(Control.INTERCEPT_3, Intercept3.RDPMC)
def test_rdpmc_exits_or_meets_no_counter(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.RDPMC, on)
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 13)
    assert code(guest, "0f33 f4") == (0x6F if on else EXCEPTION + 13)


@shows(Control.INTERCEPT_3, Intercept3.IRET)
def test_iret_exits_and_then_returns(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.bench.write(0x7D00, b"\xf4")
    guest.put(Control.INTERCEPT_3, Intercept3.IRET, on)
    assert code(guest, "9c 0e 68007d0000 cf") == (0x74 if on else HLT)
    if on:
        assert guest.cpu.rip == 0x7C07
        guest.backend.handle()
        guest.enter()
    assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, 0x7D00)


@shows(Control.INTERCEPT_3, Intercept3.INTN)
def test_int_n_exits_with_its_vector_and_returns_behind_itself(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.put(Control.INTERCEPT_3, Intercept3.INTN, on)
    assert code(guest, "cd31 f4") == (SWINT if on else HLT)
    if on:
        assert info(guest) == (0x31, 0)
        guest.backend.handle()
        guest.enter()
    assert guest.cpu.rip == HANDLERS + 16 * 0x31
    assert guest.bench.read32(guest.cpu.gpr(4)) == 0x7C02


@shows(Control.INTERCEPT_3, Intercept3.HLT)
def test_a_guest_that_halts_exits_or_waits_for_the_hosts_timer(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.HLT, on)
    assert code(guest, "f4 0fa2") == (HLT if on else INTR)
    assert guest.cpu.rip == (0x7C00 if on else 0x7C01)
    if not on:
        guest.enter()
        assert guest.read(Control.EXITCODE) == 0x72


@shows(Control.INTERCEPT_3, Intercept3.INVLPGA)
def test_invlpga_exits_with_its_address_or_is_undefined(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.INVLPGA, on)
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 6)
    guest.cpu.set_gpr(EAX, 0x8000)
    assert code(guest, "0f01df f4") == (0x7A if on else EXCEPTION + 6)
    assert info(guest)[0] == (0x8000 if on else 0)


@shows(Control.INTERCEPT_3, Intercept3.IOIO_PROT)
def test_the_io_permission_map_says_which_ports_exit(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.IOIO_PROT, on)
    guest.backend.entry.host_memory.write(IOPM_BASE, bytes(0x3000))
    guest.backend.entry.host_memory.write(IOPM_BASE + 0xC, b"\x02")
    assert code(guest, "e4 60 f4") == HLT
    assert code(guest, "e4 61 f4") == (IOIO if on else HLT)
    assert code(guest, "e5 5e f4") == (IOIO if on else HLT)


@shows(Control.INTERCEPT_3, Intercept3.MSR_PROT)
def test_the_msr_permission_map_says_which_msrs_exit(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.MSR_PROT, on)
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 13)
    memory = guest.backend.entry.host_memory
    memory.write(MSRPM_BASE, bytes(0x2000))
    memory.write(MSRPM_BASE + 0x175 // 4, bytes([1 << 2 * (0x175 % 4)]))  # reads of 175h
    memory.write(MSRPM_BASE + 0x800 + 0x80 // 4, b"\x02")  # writes of C000_0080h
    memory.write(MSRPM_BASE + 0x1000 + 0x10 // 4, b"\x01")  # reads of C001_0010h
    for index, write, exits in [
        (0x10, False, False),
        (0x175, False, True),
        (0x175, True, False),
        (EFER, False, False),
        (EFER, True, True),
        (0xC001_0010, False, True),
        (0x2000, True, True),  # in no range
    ]:
        guest.cpu.set_gpr(ECX, index)
        native = EXCEPTION + 13 if index in {0xC001_0010, 0x2000} else HLT
        assert code(guest, "0f30 f4" if write else "0f32 f4") == (MSR if exits and on else native)
        if exits and on:
            assert info(guest)[0] == write


@shows(Control.INTERCEPT_3, Intercept3.TASK_SWITCH)
def test_a_task_switch_exits_or_is_carried_out(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.bench.write(0x2018, bytes.fromhex("6700 0080 0089 0000 6700 0081 0089 0000"))
    guest.cpu.set_gdtr(0x2000, 0x27)
    tss = bytearray(0x68)
    tss[0x20:0x24] = (0x9000).to_bytes(4, "little")
    tss[0x24:0x28] = (2).to_bytes(4, "little")
    for at, selector in ((0x48, 16), (0x4C, 8), (0x50, 16), (0x54, 16), (0x58, 16), (0x5C, 16)):
        tss[at] = selector
    guest.bench.write(0x8100, bytes(tss))
    guest.cpu.set_segment(7, 0x18, 0x8000, 0x67, 0x8B)
    guest.put(Control.INTERCEPT_3, Intercept3.TASK_SWITCH, on)
    assert code(guest, "ea 00000000 2000") == (0x7D if on else HLT)
    if on:
        assert info(guest) == (0x20, 1 << 38)
    else:
        assert guest.cpu.rip == 0x9000


@shows(Control.INTERCEPT_3, Intercept3.FERR_FREEZE)
def test_an_x87_instruction_that_waits_for_ferr_exits_as_such(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.FERR_FREEZE, on)
    guest.bench.write(0x8000, (0x37B).to_bytes(2, "little"))  # division by zero unmasked
    assert code(guest, "9bdbe3 d92d00800000 d9e8 d9ee def9 d9e8 f4") == (0x7E if on else INTR)
    assert guest.cpu.ferr


@shows(Control.INTERCEPT_3, Intercept3.SHUTDOWN)
def test_a_shutdown_exits_or_takes_the_host_down(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.SHUTDOWN, on)
    guest.cpu.set_idtr(0, 0)
    if on:
        assert code(guest, "0f0b") == SHUTDOWN
    else:
        with pytest.raises(EntryError):
            guest.enter("0f0b")


# Intercept word 4


@shows(Control.INTERCEPT_4, Intercept4.VMRUN)
def test_vmrun_must_be_intercepted(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_4, Intercept4.VMRUN, on)
    assert code(guest, "0f01d8") == (0x80 if on else VMRUN_REFUSED)


SVM_INSTRUCTIONS = [
    (Intercept4.VMMCALL, "0f01d9", 0x81),
    (Intercept4.VMLOAD, "0f01da", 0x82),
    (Intercept4.VMSAVE, "0f01db", 0x83),
    (Intercept4.STGI, "0f01dc", 0x84),
    (Intercept4.CLGI, "0f01dd", 0x85),
    (Intercept4.SKINIT, "0f01de", 0x86),
]
SHOWN |= {(Control.INTERCEPT_4, bit) for bit, *_ in SVM_INSTRUCTIONS}


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
@pytest.mark.parametrize(("bit", "instruction", "expected"), SVM_INSTRUCTIONS)
def test_an_svm_instruction_exits_and_is_undefined_to_the_guest(
    guest: Guest, bit: int, instruction: str, expected: int, on: bool
) -> None:
    guest.gates()
    guest.put(Control.INTERCEPT_4, bit, on)
    assert code(guest, instruction) == (expected if on else HLT)
    if on:
        guest.backend.handle()
        guest.enter()
    assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, HANDLERS + 16 * 6)


def test_a_privileged_svm_instruction_faults_before_its_intercept(guest: Guest) -> None:
    guest.gates()
    guest.cpu.set_segment(2, 0x13, 0, 0xFFFFFFFF, 0xC0F3)
    guest.cpu.set_segment(1, 0x0B, 0, 0xFFFFFFFF, 0xC0FB)
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 13 | 1 << 6)
    for instruction in ("0f01d8", "0f01da", "0f01db", "0f01dc", "0f01dd", "0f01de"):
        assert code(guest, instruction) == EXCEPTION + 13
    assert code(guest, "0f01d9") == 0x81  # VMMCALL is for everybody


def test_outside_protected_mode_only_vmmcall_is_intercepted(guest: Guest) -> None:
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 6)
    guest.put(Control.INTERCEPT_3, Intercept3.INVLPGA)
    guest.cpu.set_cr(0, 0x10)
    for number in range(8):
        assert code(guest, f"0f01{0xD8 + number:x}") == (0x81 if number == 1 else EXCEPTION + 6)


def test_an_instruction_of_vmx_is_undefined(guest: Guest) -> None:
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 6)
    for instruction in (
        "0f01c1",
        "0f01c2",
        "0f78c3",
        "0f79f1",
        "0fc733",
        "660fc733",
        "f30fc733",
        "660f38800b",
    ):
        assert code(guest, instruction) == EXCEPTION + 6


@shows(Control.INTERCEPT_4, Intercept4.ICEBP)
def test_int1_exits_and_returns_behind_itself(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.put(Control.INTERCEPT_4, Intercept4.ICEBP, on)
    assert code(guest, "f1 f4") == (0x88 if on else HLT)
    if on:
        guest.backend.handle()
        guest.enter()
    assert guest.cpu.rip == HANDLERS + 16
    assert guest.bench.read32(guest.cpu.gpr(4)) == 0x7C01


@pytest.mark.parametrize("on", [True, False], ids=["intercepted", "not"])
def test_icebp_behind_mov_ss_is_one_debug_exception_with_the_held_breakpoint(guest: Guest, on: bool) -> None:
    """Whoever injects a #DB sets DR6 as the processor would have: B0 to B3 afresh."""
    guest.gates()
    guest.put(Control.INTERCEPT_4, Intercept4.ICEBP, on)
    guest.bench.write(0x6000, b"\x10\0")
    guest.cpu.set_dr(0, 0x6000)
    guest.cpu.set_dr(6, 0xFFFF_4FFA)
    guest.cpu.set_dr(7, 0x0007_0402)
    stack = guest.cpu.gpr(4)
    if on:
        assert code(guest, "8e1500600000 f1 40 f4") == 0x88
        guest.backend.handle()
        guest.enter()
    else:
        guest.enter("8e1500600000 f1 40 f4")
    assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, HANDLERS + 16)
    assert guest.cpu.dr(6) == 0xFFFF_4FF1
    assert guest.cpu.gpr(4) == stack - 12
    assert guest.bench.read32(stack - 12) == 0x7C07


@shows(Control.INTERCEPT_4, Intercept4.WBINVD)
def test_wbinvd_exits_without_invd(guest: Guest, on: bool) -> None:
    guest.put(Control.INTERCEPT_4, Intercept4.WBINVD, on)
    guest.put(Control.INTERCEPT_3, Intercept3.INVD, False)
    assert code(guest, "0f08 0f09 f4") == (0x89 if on else HLT)


# Other controls

EXCEPTIONS = {
    0: "31c0 f7f0",  # DIV EAX
    3: "cc",
    4: "b0ff 0440 b07f 0401 ce",
    5: "b8ffffff7f 620500800000",
    6: "0f0b",
    13: "8ed9",  # MOV DS, CX
}


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
@pytest.mark.parametrize("vector", EXCEPTIONS)
def test_an_exception_is_intercepted_by_vector(guest: Guest, vector: int, on: bool) -> None:
    guest.gates()
    guest.cpu.set_gpr(ECX, 0x78)  # no such selector
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << vector, on)
    assert code(guest, EXCEPTIONS[vector] + "f4") == (EXCEPTION + vector if on else HLT)
    if on:
        assert info(guest)[0] == (0x78 if vector == 13 else 0)
        guest.backend.handle()
        guest.enter()
    assert (guest.read(Control.EXITCODE), guest.cpu.rip) == (HLT, HANDLERS + 16 * vector)


def test_an_intercepted_page_fault_records_address_error_code_and_instruction(guest: Guest) -> None:
    guest.paging()
    guest.bench.write(0x41000 + 4 * 0x80, bytes(4))
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 14)
    assert code(guest, "a3 00000800 f4") == EXCEPTION + 14
    assert info(guest) == (2, 0x80000)
    assert guest.backend.vmcb.data[0xD0:0xD7] == b"\x0f" + bytes.fromhex("a3000008 00f4")
    assert guest.cpu.cr(2) == 0


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
def test_nested_paging_makes_no_memory_an_exit(guest: Guest, on: bool) -> None:
    guest.backend.vmcb.write(Control.NP_ENABLE, on)
    assert code(guest, READ_NOTHING) == (NPF if on else HLT)
    if on:
        assert info(guest) == (0x1_0000_0004, NOTHING)
    else:
        assert guest.cpu.gpr(EAX) == 0xFFFF_FFFF


def test_a_page_table_in_no_memory_is_a_nested_page_fault_of_its_own_kind(guest: Guest) -> None:
    guest.paging()
    guest.bench.write(DIRECTORY + 4, (NOTHING | 3).to_bytes(4, "little"))
    assert code(guest, "a1 10304000 f4") == NPF  # MOV EAX, [403010h]
    assert info(guest) == (0x2_0000_0006, NOTHING + 4 * 3)


HIGH = "a1 00000040 f4"  # MOV EAX, [40000000h]: by the second PDPE


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
def test_with_nested_paging_the_walk_reads_the_pdpes_and_without_it_vmrun_and_mov_to_cr3_do(
    guest: Guest, on: bool
) -> None:
    guest.gates()
    guest.backend.vmcb.write(Control.NP_ENABLE, on)
    guest.put(Control.INTERCEPT_EXCEPTION, 1 << 13 | 1 << 14)
    guest.pae()
    assert code(guest, "f4") == HLT
    # MOV [POINTERS + 8], DIRECTORY | P
    store = f"c705 {(POINTERS + 8).to_bytes(4, 'little').hex()} {(DIRECTORY | 1).to_bytes(4, 'little').hex()}"
    assert code(guest, store + HIGH) == (HLT if on else EXCEPTION + 14)
    assert code(guest, HIGH) == HLT  # VMRUN has read it
    guest.bench.write(POINTERS + 8, (DIRECTORY | 3).to_bytes(8, "little"))
    assert code(guest, "f4") == (HLT if on else VMRUN_REFUSED)
    if on:
        assert code(guest, "0f20d8 0f22d8 f4") == HLT
        assert code(guest, HIGH) == EXCEPTION + 14
        assert info(guest)[0] == 9
    else:
        guest.bench.write(POINTERS + 8, bytes(8))
        store = f"c605 {(POINTERS + 8).to_bytes(4, 'little').hex()} 03"
        assert code(guest, store + "0f20d8 0f22d8 f4") == EXCEPTION + 13


@pytest.mark.parametrize(
    ("field", "value", "flushes"),
    [
        (Control.TLB_CONTROL, 0, False),
        (Control.TLB_CONTROL, 1, True),
        (Control.TLB_CONTROL, 3, True),
        (Control.TLB_CONTROL, 7, True),
        (Control.GUEST_ASID, 2, True),
    ],
)
def test_tlb_control_and_another_asid_forget_translations(
    guest: Guest, field: Field, value: int, flushes: bool
) -> None:
    guest.paging()
    guest.bench.write(0x80000, b"\x11\x11\x11\x11")
    guest.bench.write(0x81000, b"\x22\x22\x22\x22")
    read = "a1 00000800 f4"
    guest.enter(read)
    guest.remap(0x80, 0x81)
    guest.backend.vmcb.write(field, value)
    guest.enter(read)
    assert guest.cpu.gpr(EAX) == (0x2222_2222 if flushes else 0x1111_1111)


@pytest.mark.parametrize(("count", "pauses"), [(0, 1), (1, 1), (3, 3)])
def test_the_pause_filter_lets_so_many_pauses_pass(guest: Guest, count: int, pauses: int) -> None:
    guest.put(Control.INTERCEPT_3, Intercept3.PAUSE)
    guest.backend.vmcb.write(Control.PAUSE_FILTER_COUNT, count)
    assert code(guest, "f390" * 5 + "f4") == PAUSE
    assert guest.cpu.rip == 0x7C00 + 2 * (pauses - 1)
    guest.backend.handle()
    guest.enter()  # the counter starts again
    assert guest.cpu.rip == (0x7C00 + 2 * (2 * pauses - 1) if pauses < 3 else 0x7C0A)


def test_an_nmi_that_is_blocked_waits_for_the_iret(guest: Guest) -> None:
    guest.gates()
    guest.bench.write(0x7D00, b"\x90\xf4")
    guest.cpu.interruptibility = 8
    guest.backend.request_nmi_window(True)
    assert guest.read(Control.INTERCEPT_3) & Intercept3.IRET
    assert code(guest, "9c 0e 68007d0000 cf") == 0x74
    guest.backend.handle()
    assert guest.cpu.rip == 0x7D00
    assert guest.handlers.calls == ["nmi_window"]


def test_an_nmi_that_only_a_shadow_holds_back_waits_for_one_instruction(guest: Guest) -> None:
    guest.cpu.interruptibility = 2
    guest.backend.request_nmi_window(True)
    assert code(guest, "90 90 f4") == INTR
    assert (guest.cpu.rip, guest.cpu.interruptibility) == (0x7C01, 0)
    guest.enter()
    assert guest.read(Control.EXITCODE) == HLT


# What is not offered


def test_every_intercept_that_may_be_either_has_a_test_that_shows_it() -> None:
    allowed = {(field, 1 << bit) for field, word in WORDS.items() for bit in range(32) if word >> bit & 1}
    assert allowed == SHOWN


REFUSED = {
    **{field: ~word & 0xFFFF_FFFF for field, word in WORDS.items()},
    Control.INTERCEPT_5: 0xFFFF_FFFF,
    Control.PAUSE_FILTER_THRESHOLD: 0xFFFF,
    Control.VINTR: ~cap.VINTR & 0xFFFF_FFFF_FFFF_FFFF,
    Control.NP_ENABLE: 0xFFFF_FFFF_FFFF_FFFE,
    Control.LBR_VIRTUALIZATION: 0xFFFF_FFFF_FFFF_FFFF,
}


@pytest.mark.parametrize("field", REFUSED)
def test_a_control_of_a_feature_that_is_not_offered_is_vmexit_invalid(field: Field) -> None:
    for bit in range(field.size * 8):
        if not REFUSED[field] >> bit & 1:
            continue
        backend = SvmBackend(FakeProcessor())
        backend.attach(Handlers())
        backend.vmcb.write(field, backend.vmcb.read(field) | 1 << bit)
        backend.enter(1)
        assert backend.vmcb.read(Control.EXITCODE) == VMRUN_REFUSED
        assert backend.processor.budgets == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Control.TLB_CONTROL, 2),
        (Control.TLB_CONTROL, 5),
        (Control.GUEST_ASID, cap.ASIDS),
        (Save.G_PAT, 2),
        (Save.G_PAT, 0x0806_0606_0606_0606),
    ],
)
def test_a_value_that_is_reserved_is_vmexit_invalid(field: Field, value: int) -> None:
    backend = SvmBackend(FakeProcessor())
    backend.attach(Handlers())
    backend.vmcb.write(field, value)
    backend.enter(1)
    assert backend.vmcb.read(Control.EXITCODE) == VMRUN_REFUSED
