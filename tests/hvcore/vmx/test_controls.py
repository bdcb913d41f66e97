"""Every control that the capability MSRs allow, on the real processor, and the refusal of all others."""

from collections.abc import Callable
from typing import Any

import pytest

from hvcore import EntryError
from hvcore.cpu.exitinfo import ExitKind
from hvcore.vmx import capabilities as cap
from hvcore.vmx.backend import VmxBackend
from hvcore.vmx.capabilities import Entry, Exit, Pin, Proc, Secondary
from hvcore.vmx.vmcs import Field, InstructionError, VmFail
from tests.hvcore.cpu.bench import EAX, EBX, ECX
from tests.hvcore.fake_processor import FakeProcessor, Handlers
from tests.hvcore.vendor_bench import DIRECTORY, HANDLERS, NOTHING, POINTERS, Guest

PIN, PROC, SECOND = Field.PIN_BASED_CONTROLS, Field.PROCESSOR_CONTROLS, Field.SECONDARY_CONTROLS
EXIT, ENTRY = Field.EXIT_CONTROLS, Field.ENTRY_CONTROLS
WORDS = {PIN: cap.PIN, PROC: cap.PROC, SECOND: cap.SECONDARY, EXIT: cap.EXIT, ENTRY: cap.ENTRY}
SHOWN: set[tuple[int, int]] = set()

EXCEPTION, INTERRUPT, HLT, CR, IO, RDMSR = 0, 1, 12, 28, 30, 31
STI_NOP_HLT = "fb 90 f4"
READ_NOTHING = "a1 00002000 f4"  # MOV EAX, [200000h]
WRITE_CR3, READ_CR3 = "0f22d8 f4", "0f20d8 f4"
RDMSR_HLT = "0f32 f4"
EFER, NXE, PAT = 0xC000_0080, 0x800, 0x277
ALL_WRITE_BACK = 0x0606_0606_0606_0606


def shows(field: int, bit: int) -> Callable[[Any], Any]:
    """Mark a test as the one that shows the effect of a control."""
    SHOWN.add((field, bit))
    return pytest.mark.parametrize("on", [True, False], ids=["1", "0"])


@pytest.fixture
def guest() -> Guest:
    return Guest(VmxBackend)


def reason(guest: Guest, code: str) -> int:
    guest.enter(code)
    return guest.field(Field.EXIT_REASON)


def only(guest: Guest) -> None:
    """Leave no secondary control: EPT and what hangs on it."""
    guest.paging()
    guest.set(SECOND, Secondary.UNRESTRICTED_GUEST, False)


# Pin-based controls


@shows(PIN, Pin.EXTERNAL_INTERRUPT)
def test_an_external_interrupt_exits_or_goes_through_the_guests_idt(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.set(PIN, Pin.EXTERNAL_INTERRUPT, on)
    guest.interrupt(0x30)
    guest.enter(STI_NOP_HLT)
    if on:
        assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (INTERRUPT, 0x7C00)
        assert guest.field(Field.EXIT_INTERRUPTION_INFO) == 0
    else:
        assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (HLT, HANDLERS + 16 * 0x30)
        assert guest.bench.read32(guest.cpu.gpr(4)) == 0x7C02


@shows(PIN, Pin.NMI)
def test_an_nmi_exits_or_goes_through_the_guests_idt(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.set(PIN, Pin.VIRTUAL_NMI, False)
    guest.set(PIN, Pin.NMI, on)
    guest.cpu.raise_nmi()
    guest.enter("90 f4")
    if on:
        assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (EXCEPTION, 0x7C00)
        assert guest.field(Field.EXIT_INTERRUPTION_INFO) == 0x8000_0202
        guest.backend.handle()
        assert guest.handlers.calls == ["nmi"]
    else:
        assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (HLT, HANDLERS + 16 * 2)
        assert guest.field(Field.GUEST_INTERRUPTIBILITY) == 8


@shows(PIN, Pin.VIRTUAL_NMI)
def test_blocking_of_virtual_nmis_holds_no_real_one_back_and_iret_ends_it(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.set(PIN, Pin.VIRTUAL_NMI, on)
    guest.cpu.interruptibility = 8
    guest.cpu.raise_nmi()
    guest.enter("90 f4")
    assert guest.field(Field.EXIT_REASON) == (EXCEPTION if on else HLT)
    guest.enter("9c 0e 68007d0000 cf")  # PUSHF, PUSH CS, PUSH 7D00h, IRET
    assert guest.cpu.interruptibility == (0 if on else 8)


# Primary processor-based controls


@shows(PROC, Proc.INTERRUPT_WINDOW)
def test_interrupt_window_exiting_waits_for_if_and_for_the_end_of_the_shadow(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.INTERRUPT_WINDOW, on)
    assert reason(guest, "90 fb 90 90 f4") == (7 if on else HLT)
    assert guest.cpu.rip == (0x7C03 if on else 0x7C04)


@shows(PROC, Proc.NMI_WINDOW)
def test_nmi_window_exiting_waits_for_the_end_of_blocking(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.set(PROC, Proc.NMI_WINDOW, on)
    guest.cpu.interruptibility = 8
    guest.bench.write(0x7D00, b"\xf4")
    assert reason(guest, "9c 0e 68007d0000 cf") == (8 if on else HLT)
    assert guest.cpu.rip == 0x7D00
    if on:
        guest.backend.handle()
        assert guest.handlers.calls == ["nmi_window"]


@shows(PROC, Proc.TSC_OFFSETTING)
def test_the_tsc_offset_counts_with_tsc_offsetting_only(guest: Guest, on: bool) -> None:
    guest.backend.vmcs.write(Field.TSC_OFFSET, 1 << 62)
    guest.set(PROC, Proc.TSC_OFFSETTING, on)
    guest.enter("0f31 f4")
    assert guest.cpu.gpr(2) >> 30 == (1 if on else 0)


PLAIN = [
    (Proc.INVLPG, "0f013d 00800000 f4", 14, 7),
    (Proc.RDTSC, "0f31 f4", 16, 2),
    (Proc.CR3_STORE, READ_CR3, CR, 3),
    (Proc.MOV_DR, "0f23c0 f4", 29, 3),
    (Proc.PAUSE, "f390 f4", 40, 2),
]
SHOWN.update((PROC, bit) for bit, *_ in PLAIN)


@pytest.mark.parametrize("on", [True, False], ids=["1", "0"])
@pytest.mark.parametrize(("bit", "code", "expected", "length"), PLAIN)
def test_an_instruction_exits_as_its_control_says(
    guest: Guest, bit: int, code: str, expected: int, length: int, on: bool
) -> None:
    guest.set(PROC, bit, on)
    assert reason(guest, code) == (expected if on else HLT)
    if on:
        assert guest.field(Field.EXIT_INSTRUCTION_LENGTH) == length
        guest.backend.handle()  # it runs, once
        guest.enter()
        assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (HLT, 0x7C00 + length)


@shows(PROC, Proc.HLT)
def test_a_guest_that_halts_exits_or_waits_in_the_activity_state_hlt(guest: Guest, on: bool) -> None:
    guest.gates()
    guest.set(PROC, Proc.HLT, on)
    assert reason(guest, STI_NOP_HLT) == (HLT if on else INTERRUPT)
    assert guest.field(Field.GUEST_ACTIVITY) == (0 if on else 1)
    assert guest.cpu.rip == (0x7C02 if on else 0x7C03)
    guest.backend.handle()
    assert guest.handlers.halts == 1
    guest.cpu.rflags = 0x202
    guest.backend.inject(0, 0x30, None, 0)
    guest.bench.write(HANDLERS + 16 * 0x30, b"\x0f\xa2")  # CPUID
    guest.enter()
    assert (guest.field(Field.EXIT_REASON), guest.field(Field.GUEST_ACTIVITY)) == (10, 0)


@shows(PROC, Proc.RDPMC)
def test_rdpmc_exits_or_meets_no_counter(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.RDPMC, on)
    guest.set(Field.EXCEPTION_BITMAP, 1 << 13)
    assert reason(guest, "0f33 f4") == (15 if on else EXCEPTION)


@shows(PROC, Proc.CR3_LOAD)
def test_mov_to_cr3_exits_but_for_the_targets(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.CR3_LOAD, on)
    guest.backend.vmcs.write(Field.CR3_TARGET_COUNT, 2)
    guest.backend.vmcs.write(Field.CR3_TARGET1, 0x5000)
    guest.backend.vmcs.write(Field.CR3_TARGET2, 0x6000)  # beyond the count
    for value, target in ((0x5000, True), (0x6000, False)):
        guest.cpu.set_gpr(EAX, value)
        assert reason(guest, WRITE_CR3) == (CR if on and not target else HLT)
        assert (guest.cpu.cr(3) == value) == (target or not on)


@shows(PROC, Proc.UNCONDITIONAL_IO)
def test_io_exits_unconditionally_or_finds_an_empty_bus(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.UNCONDITIONAL_IO, on)
    guest.cpu.set_gpr(EAX, 0)
    assert reason(guest, "e4 60 f4") == (IO if on else HLT)
    assert guest.cpu.gpr(EAX) == (0 if on else 0xFF)


@shows(PROC, Proc.IO_BITMAPS)
def test_the_io_bitmaps_say_which_ports_exit(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.IO_BITMAPS, on)
    guest.set(PROC, Proc.UNCONDITIONAL_IO, False)
    guest.backend.vmcs.write(Field.IO_BITMAP_A, 0x10000)
    guest.backend.vmcs.write(Field.IO_BITMAP_B, 0x12000)
    guest.backend.entry.host_memory.allocate(0x10000, bytes(0xC) + b"\x02".ljust(4084, b"\0"))
    guest.backend.entry.host_memory.allocate(0x12000, b"\x01".ljust(4096, b"\0"))
    assert reason(guest, "e4 60 f4") == HLT
    assert reason(guest, "e4 61 f4") == (IO if on else HLT)
    assert reason(guest, "e5 5e f4") == (IO if on else HLT)  # four ports, of which 61h exits
    guest.cpu.set_gpr(2, 0x8000)
    assert reason(guest, "ec f4") == (IO if on else HLT)
    guest.backend.entry.host_memory.write(0x1000C, b"\x01")
    assert reason(guest, "e4 60 f4") == (IO if on else HLT)


@shows(PROC, Proc.MSR_BITMAPS)
def test_the_msr_bitmap_says_which_msrs_exit(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.MSR_BITMAPS, on)
    guest.backend.vmcs.write(Field.MSR_BITMAP, 0x10000)
    page = bytearray(4096)
    page[0x175 >> 3] = 1 << 5  # read of 175h
    page[3072 + (0x80 >> 3)] = 1  # write of C000_0080h
    guest.backend.entry.host_memory.allocate(0x10000, page)
    guest.set(Field.EXCEPTION_BITMAP, 1 << 13)
    for index, write, exits in [
        (0x10, False, False),
        (0x175, False, True),
        (EFER, False, False),
        (EFER, True, True),
        (0xC001_0000, False, True),  # in neither range
        (0x2000, True, True),
    ]:
        guest.cpu.set_gpr(ECX, index)
        code = "0f30 f4" if write else RDMSR_HLT
        assert reason(guest, code) == (RDMSR + write if exits or not on else HLT)


@shows(PROC, Proc.MONITOR_TRAP)
def test_the_monitor_trap_flag_exits_after_every_instruction(guest: Guest, on: bool) -> None:
    guest.set(PROC, Proc.MONITOR_TRAP, on)
    guest.load("40 43 f4")
    seen = []
    for _ in range(3):
        guest.enter()
        seen.append((guest.field(Field.EXIT_REASON), guest.cpu.rip, guest.cpu.gpr(EAX), guest.cpu.gpr(EBX)))
        guest.backend.handle()
    step = [(37, 0x7C01, 1, 0), (37, 0x7C02, 1, 1), (HLT, 0x7C02, 1, 1)]
    assert seen == step if on else seen[0] == (HLT, 0x7C02, 1, 1)


@shows(PROC, Proc.SECONDARY)
def test_the_secondary_controls_count_only_when_they_are_activated(guest: Guest, on: bool) -> None:
    only(guest)
    guest.set(PROC, Proc.SECONDARY, on)
    assert reason(guest, "0f09 f4") == (54 if on else HLT)


# Secondary processor-based controls


@shows(SECOND, Secondary.EPT)
def test_no_memory_is_an_ept_violation_or_an_empty_bus(guest: Guest, on: bool) -> None:
    only(guest)
    guest.set(SECOND, Secondary.EPT, on)
    assert reason(guest, READ_NOTHING) == (48 if on else HLT)
    if on:
        assert guest.field(Field.GUEST_PHYSICAL_ADDRESS) == NOTHING
        assert guest.field(Field.EXIT_QUALIFICATION) == 0x181
    else:
        assert guest.cpu.gpr(EAX) == 0xFFFF_FFFF
        assert reason(guest, "a3 00002000 f4") == HLT


def test_a_paging_structure_in_no_memory_is_an_ept_violation_of_its_own_kind(guest: Guest) -> None:
    guest.gates()
    guest.paging()
    guest.bench.write(DIRECTORY + 4, (NOTHING | 3).to_bytes(4, "little"))
    assert reason(guest, "a1 10304000 f4") == 48  # MOV EAX, [403010h]
    assert guest.field(Field.EXIT_QUALIFICATION) == 0x81  # a read, of no translation of the linear address
    assert guest.field(Field.GUEST_PHYSICAL_ADDRESS) == NOTHING + 4 * 3
    assert guest.field(Field.GUEST_LINEAR_ADDRESS) == 0x40_3010


def test_pdptes_in_no_memory_are_an_ept_violation_without_a_linear_address(guest: Guest) -> None:
    guest.pae()
    guest.backend.vmcs.write(Field.GUEST_PDPTE0, DIRECTORY | 1)
    assert reason(guest, "b8 00002000 0f22d8") == 48
    assert guest.field(Field.EXIT_QUALIFICATION) == 1
    assert guest.field(Field.GUEST_PHYSICAL_ADDRESS) == NOTHING


HIGH = "a1 00000040 f4"  # MOV EAX, [40000000h]: by the second PDPTE
LOAD_CR3 = "0f20d8 0f22d8"


def pdptes(guest: Guest) -> list[int]:
    return [guest.field(Field.GUEST_PDPTE0 + 2 * i) for i in range(4)]


def test_with_ept_an_entry_takes_the_pdptes_from_their_fields_and_an_exit_leaves_there_what_the_guest_loaded(
    guest: Guest,
) -> None:
    guest.pae()
    guest.bench.write(POINTERS, bytes(32))
    guest.backend.vmcs.write(Field.GUEST_PDPTE0, DIRECTORY | 1)
    guest.set(Field.EXCEPTION_BITMAP, 1 << 14)
    assert reason(guest, HIGH) == EXCEPTION
    guest.backend.vmcs.write(Field.GUEST_PDPTE1, DIRECTORY | 1)
    assert reason(guest, HIGH) == HLT
    guest.bench.write(
        POINTERS, (DIRECTORY | 1).to_bytes(24, "little") + (DIRECTORY | 9).to_bytes(8, "little")
    )
    assert reason(guest, HIGH) == HLT
    assert reason(guest, LOAD_CR3 + "f4") == HLT
    assert pdptes(guest) == [DIRECTORY | 1, 0, 0, DIRECTORY | 9]
    assert reason(guest, HIGH) == EXCEPTION
    guest.backend.vmcs.clear()
    assert pdptes(guest) == [DIRECTORY | 1, 0, 0, DIRECTORY | 9]


def test_without_ept_an_entry_takes_the_pdptes_from_memory(guest: Guest) -> None:
    guest.pae()
    guest.set(SECOND, Secondary.UNRESTRICTED_GUEST | Secondary.EPT, False)
    guest.backend.vmcs.write(Field.GUEST_PDPTE3, 3)  # of no account
    guest.bench.write(POINTERS + 8, (DIRECTORY | 1).to_bytes(8, "little"))
    assert reason(guest, HIGH) == HLT
    guest.bench.write(POINTERS + 8, (DIRECTORY | 3).to_bytes(8, "little"))
    assert reason(guest, HIGH) == 0x8000_0021
    assert guest.field(Field.EXIT_QUALIFICATION) == 2


@pytest.mark.parametrize("how", ["emulated", "saved"])
def test_the_pdptes_follow_a_guest_that_the_hypervisor_emulates_or_puts_back(guest: Guest, how: str) -> None:
    guest.pae()
    guest.bench.write(POINTERS + 8, (DIRECTORY | 1).to_bytes(8, "little"))
    guest.backend.vmcs.write(Field.GUEST_PDPTE0, DIRECTORY | 1)
    if how == "emulated":
        guest.set(PROC, Proc.CR3_LOAD)
        guest.set(PROC, Proc.CR3_STORE, False)
        assert reason(guest, LOAD_CR3 + HIGH) == CR
        guest.backend.handle()
        guest.enter()
    else:
        guest.enter(LOAD_CR3 + "f4")
        state = guest.backend.save()
        guest.backend.reset()
        guest.backend.load(state)
        assert reason(guest, HIGH) == HLT
    assert guest.field(Field.EXIT_REASON) == HLT
    assert pdptes(guest)[:2] == [DIRECTORY | 1] * 2


@shows(SECOND, Secondary.DESCRIPTOR_TABLE)
@pytest.mark.parametrize(
    ("code", "expected", "qualification", "info"),
    [
        ("0f0105 00800000", 46, 0x8000, 1 << 7 | 1 << 11 | 3 << 15 | 1 << 22 | 1 << 27 | 0 << 28),  # SGDT
        ("0f010c8d 10000000", 46, 0x10, 2 | 1 << 7 | 1 << 11 | 3 << 15 | 1 << 18 | 1 << 27 | 1 << 28),  # SIDT
        ("660f0153f0", 46, 2**64 - 16, 1 << 7 | 3 << 15 | 1 << 22 | 3 << 23 | 2 << 28),  # LGDT [EBX-16]
        ("640f011e", 46, 0, 1 << 7 | 1 << 11 | 4 << 15 | 1 << 22 | 6 << 23 | 3 << 28),  # LIDT FS:[ESI]
        ("670f01 0e 3412", 46, 0x1234, 0 << 7 | 1 << 11 | 3 << 15 | 1 << 22 | 1 << 27 | 1 << 28),  # 16 bits
        ("0f00c3", 47, 0, 3 << 3 | 1 << 10 | 0 << 28),  # SLDT EBX
        ("0f0008", 47, 0, 1 << 7 | 3 << 15 | 1 << 22 | 0 << 23 | 1 << 28),  # STR [EAX]
        ("0f00d1", 47, 0, 1 << 3 | 1 << 10 | 2 << 28),  # LLDT CX
        ("0f00da", 47, 0, 2 << 3 | 1 << 10 | 3 << 28),  # LTR DX
    ],
)
def test_descriptor_table_exits_describe_the_operand(
    guest: Guest, code: str, expected: int, qualification: int, info: int, on: bool
) -> None:
    guest.gates()
    guest.bench.write(0x2008, bytes.fromhex("6700 0080 0089 0000"))  # a TSS for LTR
    guest.set(SECOND, Secondary.DESCRIPTOR_TABLE, on)
    guest.cpu.set_gpr(EAX, 0x8000)
    guest.cpu.set_gpr(EBX, 0x8010)
    guest.cpu.set_gpr(6, 0x8000)
    guest.cpu.set_gpr(ECX, 0)
    guest.cpu.set_gpr(2, 8)
    assert reason(guest, code + "f4") == (expected if on else HLT)
    if on:
        assert guest.field(Field.EXIT_QUALIFICATION) == qualification
        assert guest.field(Field.EXIT_INSTRUCTION_INFO) == info
        guest.backend.handle()
        guest.enter()
        assert guest.field(Field.EXIT_REASON) == HLT


@shows(SECOND, Secondary.VPID)
def test_translations_outlive_an_exit_with_a_vpid_and_only_then(guest: Guest, on: bool) -> None:
    guest.paging()
    guest.set(SECOND, Secondary.VPID, on)
    guest.bench.write(0x80000, b"\x11\x11\x11\x11")
    guest.bench.write(0x81000, b"\x22\x22\x22\x22")
    read = "a1 00000800 f4"
    assert (reason(guest, read), guest.cpu.gpr(EAX)) == (HLT, 0x1111_1111)
    guest.remap(0x80, 0x81)
    assert (reason(guest, read), guest.cpu.gpr(EAX)) == (HLT, 0x1111_1111 if on else 0x2222_2222)


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("instruction", ["invept", "invvpid"])
def test_invept_and_invvpid_forget_translations(guest: Guest, instruction: str, kind: int) -> None:
    guest.paging()
    guest.bench.write(0x80000, b"\x11\x11\x11\x11")
    guest.bench.write(0x81000, b"\x22\x22\x22\x22")
    read = "a1 00000800 f4"
    assert reason(guest, read) == HLT
    guest.remap(0x80, 0x81)
    bits = {"invept": (20, 24), "invvpid": (32, 40)}[instruction]
    assert cap.MSRS[0x48C] >> bits[0] & 1
    offered = bool(cap.MSRS[0x48C] >> bits[1] + kind & 1)
    assert offered == (instruction == "invvpid" or kind in {1, 2})
    if offered:
        getattr(guest.backend, instruction)(kind, 0x101E if instruction == "invept" else 1)
    assert (reason(guest, read), guest.cpu.gpr(EAX)) == (HLT, 0x2222_2222 if offered else 0x1111_1111)


@pytest.mark.parametrize(
    ("instruction", "operands"),
    [
        ("invept", (0, 0x101E)),
        ("invept", (3, 0x101E)),
        ("invept", (1, 0x101B)),  # memory type 3
        ("invvpid", (4, 1)),
        ("invvpid", (1, 0)),
        ("invvpid", (1, 1 << 16)),
        ("invvpid", (0, 1, 1 << 47)),
    ],
)
def test_invept_and_invvpid_refuse_bad_operands(
    guest: Guest, instruction: str, operands: tuple[int, ...]
) -> None:
    with pytest.raises(VmFail) as failure:
        getattr(guest.backend, instruction)(*operands)
    assert failure.value.error == guest.field(Field.INSTRUCTION_ERROR) == 28


@shows(SECOND, Secondary.WBINVD)
def test_wbinvd_exits_as_its_control_says_and_invd_always(guest: Guest, on: bool) -> None:
    guest.set(SECOND, Secondary.WBINVD, on)
    assert reason(guest, "0f09 f4") == (54 if on else HLT)
    assert reason(guest, "0f08 f4") == 13


@shows(SECOND, Secondary.UNRESTRICTED_GUEST)
def test_only_an_unrestricted_guest_may_leave_protected_mode(guest: Guest, on: bool) -> None:
    guest.set(SECOND, Secondary.UNRESTRICTED_GUEST, on)
    guest.cpu.set_cr(0, 0x10)
    assert reason(guest, "f4") == (HLT if on else 0x8000_0021)


# VM-exit and VM-entry controls


def host_registers(guest: Guest, load: int, save: int, exit_load: int = 0) -> None:
    """Let none of a register's controls be 1, so that the host's and the guest's are one."""
    guest.set(ENTRY, load, False)
    guest.set(EXIT, save | exit_load, False)
    guest.set(PROC, Proc.MSR_BITMAPS)
    guest.backend.vmcs.write(Field.MSR_BITMAP, 0x10000)
    guest.backend.entry.host_memory.allocate(0x10000, bytes(4096))


def msr(guest: Guest, index: int) -> int:
    guest.cpu.set_gpr(ECX, index)
    assert reason(guest, RDMSR_HLT) == HLT
    return guest.cpu.gpr(EAX) | guest.cpu.gpr(2) << 32


def set_msr(guest: Guest, index: int, value: int) -> None:
    for register, part in ((ECX, index), (EAX, value & 0xFFFF_FFFF), (2, value >> 32)):
        guest.cpu.set_gpr(register, part)
    assert reason(guest, "0f30 f4") == HLT


@shows(EXIT, Exit.SAVE_DEBUG)
def test_dr7_is_saved_on_an_exit_only_on_demand(guest: Guest, on: bool) -> None:
    guest.set(EXIT, Exit.SAVE_DEBUG, on)
    guest.cpu.set_gpr(EAX, 0x403)
    assert reason(guest, "0f23f8 f4") == HLT
    assert guest.field(Field.GUEST_DR7) == (0x403 if on else 0x400)


@shows(ENTRY, Entry.LOAD_DEBUG)
def test_dr7_is_loaded_on_an_entry_or_is_the_hosts(guest: Guest, on: bool) -> None:
    guest.set(ENTRY, Entry.LOAD_DEBUG, on)
    guest.backend.vmcs.write(Field.GUEST_DR7, 0x402)
    assert reason(guest, "0f21f8 f4") == HLT
    assert guest.cpu.gpr(EAX) == (0x402 if on else 0x400)


@shows(EXIT, Exit.SAVE_EFER)
def test_efer_is_saved_on_an_exit_only_on_demand(guest: Guest, on: bool) -> None:
    host_registers(guest, Entry.LOAD_EFER, Exit.SAVE_EFER, Exit.LOAD_EFER)
    guest.set(EXIT, Exit.SAVE_EFER, on)
    set_msr(guest, EFER, NXE)
    assert guest.field(Field.GUEST_EFER) == (NXE if on else 0)


@shows(EXIT, Exit.LOAD_EFER)
def test_the_host_has_its_own_efer_after_an_exit_or_the_guests(guest: Guest, on: bool) -> None:
    host_registers(guest, Entry.LOAD_EFER, Exit.SAVE_EFER)
    guest.set(EXIT, Exit.LOAD_EFER, on)
    set_msr(guest, EFER, NXE)
    assert msr(guest, EFER) == (0 if on else NXE)


@shows(ENTRY, Entry.LOAD_EFER)
def test_efer_is_loaded_on_an_entry_or_is_the_hosts_but_for_long_mode(guest: Guest, on: bool) -> None:
    host_registers(guest, Entry.LOAD_EFER, 0)
    guest.set(ENTRY, Entry.LOAD_EFER, on)
    guest.backend.vmcs.write(Field.HOST_EFER, 0x500 | NXE)
    msr(guest, EFER)
    assert msr(guest, EFER) == (0 if on else NXE)


@shows(EXIT, Exit.HOST_64)
def test_a_64_bit_host_must_come_back_to_64_bits(guest: Guest, on: bool) -> None:
    guest.set(EXIT, Exit.HOST_64, on)
    if on:
        assert reason(guest, "f4") == HLT
    else:
        with pytest.raises(EntryError) as refused:
            guest.enter("f4")
        assert refused.value.code == InstructionError.INVALID_HOST_STATE


@shows(EXIT, Exit.SAVE_PAT)
def test_pat_is_saved_on_an_exit_only_on_demand(guest: Guest, on: bool) -> None:
    host_registers(guest, Entry.LOAD_PAT, Exit.SAVE_PAT, Exit.LOAD_PAT)
    guest.set(EXIT, Exit.SAVE_PAT, on)
    before = guest.field(Field.GUEST_PAT)
    set_msr(guest, PAT, ALL_WRITE_BACK)
    assert guest.field(Field.GUEST_PAT) == (ALL_WRITE_BACK if on else before)


@shows(EXIT, Exit.LOAD_PAT)
def test_the_host_has_its_own_pat_after_an_exit_or_the_guests(guest: Guest, on: bool) -> None:
    host_registers(guest, Entry.LOAD_PAT, Exit.SAVE_PAT)
    guest.set(EXIT, Exit.LOAD_PAT, on)
    set_msr(guest, PAT, ALL_WRITE_BACK)
    assert msr(guest, PAT) == (guest.field(Field.HOST_PAT) if on else ALL_WRITE_BACK)


@shows(ENTRY, Entry.LOAD_PAT)
def test_pat_is_loaded_on_an_entry_or_is_the_hosts(guest: Guest, on: bool) -> None:
    host_registers(guest, Entry.LOAD_PAT, 0)
    guest.set(ENTRY, Entry.LOAD_PAT, on)
    guest.backend.vmcs.write(Field.HOST_PAT, ALL_WRITE_BACK)
    before = msr(guest, PAT)
    assert msr(guest, PAT) == (before if on else ALL_WRITE_BACK)


# The capability MSRs


def test_every_control_that_may_be_either_has_a_test_that_shows_it() -> None:
    free = {
        (field, 1 << bit)
        for field, word in WORDS.items()
        for bit in range(32)
        if (word.one & ~word.zero) >> bit & 1
    }
    assert free == SHOWN


@pytest.mark.parametrize("field", WORDS)
def test_a_control_that_the_capability_msrs_do_not_allow_is_error_7(field: int) -> None:
    for bit in range(32):
        backend = VmxBackend(FakeProcessor())
        backend.attach(Handlers())
        word, old = WORDS[field], backend.vmcs.read(field)
        allowed = word.one >> bit & 1 if not old >> bit & 1 else not word.zero >> bit & 1
        if allowed:
            continue
        backend.vmcs.write(field, old ^ 1 << bit)
        with pytest.raises(EntryError) as refused:
            backend.enter(1)
        assert refused.value.code == 7
        assert backend.processor.budgets == []


def test_the_capability_msrs_are_the_masks_that_entries_are_checked_by() -> None:
    true = {0x48D: cap.PIN, 0x48E: cap.PROC, 0x48F: cap.EXIT, 0x490: cap.ENTRY, 0x48B: cap.SECONDARY}
    for index, word in true.items():
        assert cap.MSRS[index] == word.one << 32 | word.zero
    for plain, index, default1 in (
        (0x481, 0x48D, 0x16),
        (0x482, 0x48E, 0x0401_E172),
        (0x483, 0x48F, 0x36DFF),
        (0x484, 0x490, 0x11FF),
    ):
        assert cap.MSRS[plain] >> 32 == cap.MSRS[index] >> 32
        assert cap.MSRS[plain] & 0xFFFF_FFFF == cap.MSRS[index] & 0xFFFF_FFFF | default1
    assert set(cap.MSRS) == set(range(0x480, 0x491))
    assert cap.MSRS[0x480] >> 32 & 0x1FFF == 4096
    assert cap.MSRS[0x480] >> 55 & 1
    assert cap.MSRS[0x485] >> 16 & 0x1FF == 4
    assert [cap.MSRS[0x485] >> bit & 1 for bit in (6, 7, 8)] == [1, 1, 0]


@pytest.mark.parametrize("bit", range(64))
@pytest.mark.parametrize(("number", "field"), [(0, Field.HOST_CR0), (4, Field.HOST_CR4)])
def test_host_cr0_and_cr4_are_what_the_fixed_bit_msrs_say(number: int, field: int, bit: int) -> None:
    fixed0, fixed1 = (cap.MSRS[0x486 + number // 2 + i] for i in range(2))
    backend = VmxBackend(FakeProcessor())
    backend.attach(Handlers())
    value = backend.vmcs.read(field) ^ 1 << bit
    backend.vmcs.write(field, value)
    backend.processor.script.append((ExitKind.BUDGET, {}))
    bad = fixed0 & ~value or value & ~fixed1 or (number == 4 and bit == 5)  # PAE, for a host in long mode
    if not bad:
        backend.enter(1)
    else:
        with pytest.raises(EntryError) as refused:
            backend.enter(1)
        assert refused.value.code == 8


# What exits whatever the controls say, and what else an exit records


VMX_INSTRUCTIONS = [
    ("0f01c1", 18, 0, None),  # VMCALL
    ("0f01c2", 20, 0, None),  # VMLAUNCH
    ("0f01c3", 24, 0, None),  # VMRESUME
    ("0f01c4", 26, 0, None),  # VMXOFF
    ("660fc733", 19, 0, 1 << 7 | 3 << 15 | 1 << 22 | 3 << 23),  # VMCLEAR [EBX]
    ("0fc735 10000000", 21, 0x10, 1 << 7 | 3 << 15 | 1 << 22 | 1 << 27),  # VMPTRLD [10h]
    ("0fc77c88f0", 22, 2**64 - 16, 2 | 1 << 7 | 3 << 15 | 1 << 18 | 0 << 23),  # VMPTRST [EAX+4*ECX-16]
    ("f30fc73424", 27, 0, 1 << 7 | 2 << 15 | 1 << 22 | 4 << 23),  # VMXON [ESP]
    ("0f78c3", 23, 0, 3 << 3 | 1 << 10 | 0 << 28),  # VMREAD EBX, EAX
    ("0f7856 7f", 23, 0x7F, 1 << 7 | 3 << 15 | 1 << 22 | 6 << 23 | 2 << 28),  # VMREAD [ESI+7Fh], EDX
    ("0f79f1", 25, 0, 1 << 3 | 1 << 10 | 6 << 28),  # VMWRITE ESI, ECX
    ("6567 0f790f", 25, 0, 0 << 7 | 5 << 15 | 1 << 22 | 3 << 23 | 1 << 28),  # VMWRITE ECX, GS:[BX]
    ("660f38800b", 50, 0, 1 << 7 | 3 << 15 | 1 << 22 | 3 << 23 | 1 << 28),  # INVEPT ECX, [EBX]
    ("660f38813b", 53, 0, 1 << 7 | 3 << 15 | 1 << 22 | 3 << 23 | 7 << 28),  # INVVPID EDI, [EBX]
]


def ring_3(guest: Guest) -> None:
    guest.cpu.set_segment(2, 0x13, 0, 0xFFFFFFFF, 0xC0F3)
    guest.cpu.set_segment(1, 0x0B, 0, 0xFFFFFFFF, 0xC0FB)


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize(("code", "expected", "qualification", "info"), VMX_INSTRUCTIONS)
def test_an_instruction_of_vmx_always_exits_and_is_undefined_to_the_guest(
    guest: Guest, code: str, expected: int, qualification: int, info: int | None, cpl: int
) -> None:
    guest.gates()
    if cpl:
        ring_3(guest)
    assert reason(guest, code) == expected
    assert guest.field(Field.EXIT_QUALIFICATION) == qualification
    assert guest.field(Field.EXIT_INSTRUCTION_LENGTH) == len(bytes.fromhex(code))
    if info is not None:
        assert guest.field(Field.EXIT_INSTRUCTION_INFO) == info
    assert guest.cpu.rip == 0x7C00
    guest.backend.handle()
    assert guest.field(Field.ENTRY_INTERRUPTION_INFO) == 0x8000_0306  # #UD
    if not cpl:
        guest.enter()
        assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (HLT, HANDLERS + 16 * 6)


@pytest.mark.parametrize("mode", ["real", "virtual 8086"])
@pytest.mark.parametrize(("code", "expected"), [entry[:2] for entry in VMX_INSTRUCTIONS])
def test_outside_protected_mode_only_vmcall_exits(guest: Guest, code: str, expected: int, mode: str) -> None:
    guest.set(Field.EXCEPTION_BITMAP, 1 << 6)
    if mode == "real":
        guest.cpu.set_cr(0, 0x10)
    else:
        guest.cpu.rflags = 0x2_0002
        for i in range(6):
            guest.cpu.set_segment(i, 0, 0, 0xFFFF, 0xF3)
    assert reason(guest, code) == (18 if expected == 18 else EXCEPTION)
    if expected != 18:
        assert guest.field(Field.EXIT_INTERRUPTION_INFO) == 0x8000_0306


@pytest.mark.parametrize(
    "code",
    [
        "0f37",  # GETSEC: there is no CR4.SMXE
        "0f01d4",  # VMFUNC: "enable VM functions" is 0
        "0f01d1",  # XSETBV: there is no CR4.OSXSAVE
        "660f78c3",  # 66, F2 and F3 make something else of these opcodes
        "f20f79f1",
        "f20fc733",
        "f30fc73b",
        "660fc73b",
        "0f38800b",
        "f30f38810b",
        "660f3880c1",  # INVEPT of a register
        "660f38820b",  # INVPCID
        "0fc7f0",  # RDRAND
        "f00f78c3",  # LOCK
        "f00fc733",
        "0f01c0",
        "0f01c5",
        "0f01d8",  # VMRUN
    ],
)
def test_what_is_no_instruction_of_vmx_here_is_undefined_and_does_not_exit(guest: Guest, code: str) -> None:
    guest.gates()
    assert reason(guest, code) == HLT
    assert guest.cpu.rip == HANDLERS + 16 * 6


def test_a_reflected_exception_does_not_exit_again(guest: Guest) -> None:
    guest.gates()
    guest.set(Field.EXCEPTION_BITMAP, 1 << 6 | 1 << 3)
    assert reason(guest, "0f0b f4") == EXCEPTION
    guest.backend.handle()
    guest.enter()
    assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (HLT, HANDLERS + 16 * 6)
    assert reason(guest, "cc") == EXCEPTION
    assert guest.field(Field.EXIT_INSTRUCTION_LENGTH) == 1
    guest.backend.handle()
    guest.enter()
    assert guest.cpu.rip == HANDLERS + 16 * 3
    assert guest.bench.read32(guest.cpu.gpr(4)) == 0x7C01


def test_a_debug_exception_that_exits_leaves_dr6_and_names_its_cause(guest: Guest) -> None:
    guest.gates()
    guest.set(Field.EXCEPTION_BITMAP, 1 << 1)
    guest.cpu.rflags = 0x102
    guest.cpu.set_dr(6, 0xFFFF_AFF5)  # BT, BD and two breakpoints of earlier ones
    assert reason(guest, "90 f4") == EXCEPTION
    assert guest.field(Field.EXIT_QUALIFICATION) == 0x4000
    assert guest.field(Field.EXIT_INTERRUPTION_INFO) == 0x8000_0301
    assert guest.cpu.dr(6) == 0xFFFF_AFF5
    guest.backend.handle()
    assert guest.cpu.dr(6) == 0xFFFF_EFF0  # B0 to B3 are afresh (SDM vol. 3 section 18.2.3)
    guest.cpu.rflags = 2
    guest.cpu.set_dr(6, 0xFFFF_0FF0)
    guest.cpu.set_dr(7, 0x2400)  # general detect
    guest.backend.vmcs.values[Field.ENTRY_INTERRUPTION_INFO] = 0
    assert reason(guest, "0f21c0 f4") == EXCEPTION
    assert guest.field(Field.EXIT_QUALIFICATION) == 0x2000
    assert (guest.cpu.dr(7), guest.cpu.dr(6)) == (0x2400, 0xFFFF_0FF0)
    guest.backend.handle()
    guest.enter()
    assert guest.cpu.rip == HANDLERS + 16
    assert (guest.cpu.dr(7), guest.cpu.dr(6) & 0x2000) == (0x400, 0x2000)


@pytest.mark.parametrize(("instruction", "cause"), [("f1", 1), ("0f21c0", 0x2001)], ids=["ICEBP", "MOV DR"])
def test_a_debug_exception_behind_mov_ss_exits_with_the_held_breakpoint_and_leaves_dr6(
    guest: Guest, instruction: str, cause: int
) -> None:
    """One exit tells of both; DR6 is the guest's old one until the exception is delivered (SDM section 28.1)."""
    guest.gates()
    guest.set(Field.EXCEPTION_BITMAP, 1 << 1)
    guest.bench.write(0x6000, b"\x10\0")
    guest.cpu.set_dr(0, 0x6000)
    guest.cpu.set_dr(6, 0xFFFF_4FFA)
    guest.cpu.set_dr(7, 0x0007_0402 | (0x2000 if cause & 0x2000 else 0))
    assert reason(guest, "8e1500600000" + instruction + "f4") == EXCEPTION
    assert guest.field(Field.EXIT_QUALIFICATION) == cause
    assert guest.cpu.dr(6) == 0xFFFF_4FFA
    guest.backend.handle()
    guest.enter()
    assert (guest.field(Field.EXIT_REASON), guest.cpu.rip) == (HLT, HANDLERS + 16)
    assert guest.cpu.dr(6) == 0xFFFF_4FF0 | cause


def test_mov_dr_exits_before_its_own_faults(guest: Guest) -> None:
    guest.set(PROC, Proc.MOV_DR)
    guest.cpu.set_cr(4, 8)  # DE: DR4 is undefined
    assert reason(guest, "0f23e3 f4") == 29
    assert guest.field(Field.EXIT_QUALIFICATION) == 4 | 3 << 8


def test_an_iret_that_faults_after_it_unblocked_nmis_says_so(guest: Guest) -> None:
    guest.gates()
    guest.set(Field.EXCEPTION_BITMAP, 1 << 13)
    guest.cpu.interruptibility = 8
    assert reason(guest, "9c 6a78 68007d0000 cf") == EXCEPTION  # no selector 78h
    assert guest.field(Field.EXIT_INTERRUPTION_INFO) == 0x8000_1B0D
    guest.backend.handle()
    assert guest.cpu.interruptibility == 8


def test_an_ept_violation_of_an_iret_that_unblocked_nmis_says_so(guest: Guest) -> None:
    guest.cpu.interruptibility = 8
    guest.cpu.set_gpr(4, NOTHING)
    assert reason(guest, "cf") == 48
    assert guest.field(Field.EXIT_QUALIFICATION) == 0x1181


def test_an_exception_met_while_another_is_delivered_is_recorded_as_vectoring(guest: Guest) -> None:
    guest.gates()
    guest.cpu.set_idtr(0x3000, 0)
    guest.set(Field.EXCEPTION_BITMAP, 1 << 13)
    assert reason(guest, "0f0b") == EXCEPTION
    assert guest.field(Field.EXIT_INTERRUPTION_INFO) == 0x8000_0B0D
    assert guest.field(Field.IDT_VECTORING_INFO) == 0x8000_0306
