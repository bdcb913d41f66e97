"""Controls of both vendors on the real processor: one test a control."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.exits.mmio import Mmio
from hvcore.svm.backend import SvmBackend
from hvcore.svm.vmcb import Control
from hvcore.vmx.backend import VmxBackend
from hvcore.vmx.capabilities import Proc
from hvcore.vmx.vmcs import Field
from tests.hvcore.cpu.bench import EAX, EBX, ECX, ESP
from tests.hvcore.vendor_bench import DIRECTORY, HANDLERS, NOTHING, Guest

PE, MP, TS, PSE = 1, 2, 8, 0x10


@pytest.fixture
def vmx():
    return Guest(VmxBackend)


@pytest.fixture
def svm():
    return Guest(SvmBackend)


@pytest.mark.parametrize(
    ("bitmap", "mask", "match", "exits"),
    [
        (1 << 14, 0, 0, True),
        (0, 0, 0, False),
        (1 << 14, 2, 2, True),  # writes only
        (1 << 14, 2, 0, False),  # reads only
        (0, 2, 2, False),
        (0, 2, 0, True),  # without bit 14 those exit that do not match
    ],
)
def test_the_exception_bitmap_and_the_page_fault_error_code_mask_and_match(vmx, bitmap, mask, match, exits):
    vmx.bench.write(0x40000, (0x41003).to_bytes(4, "little"))
    table = b"".join((i << 12 | 3 if i != 0x80 else 0).to_bytes(4, "little") for i in range(256))
    vmx.bench.write(0x41000, table)
    vmx.cpu.set_cr(3, 0x40000)
    vmx.cpu.set_cr(0, 0x80000011)
    vmx.cpu.set_idtr(0, 0)
    vmx.backend.vmcs.write(Field.EXCEPTION_BITMAP, bitmap)
    vmx.backend.vmcs.write(Field.PAGE_FAULT_ERROR_MASK, mask)
    vmx.backend.vmcs.write(Field.PAGE_FAULT_ERROR_MATCH, match)
    vmx.enter("a3 00000800")  # MOV [80000h], EAX
    assert vmx.field(Field.EXIT_REASON) == (0 if exits else 2)
    if exits:
        assert vmx.field(Field.EXIT_INTERRUPTION_INFO) == 0x8000_0B0E
        assert vmx.field(Field.EXIT_INTERRUPTION_ERROR) == 2
        assert vmx.field(Field.EXIT_QUALIFICATION) == 0x80000


def masked(vmx, cr0_mask, cr0_shadow, cr4_mask=0, cr4_shadow=0):
    write = vmx.backend.vmcs.write
    write(Field.CR0_GUEST_HOST_MASK, cr0_mask)
    write(Field.CR0_READ_SHADOW, cr0_shadow)
    write(Field.CR4_GUEST_HOST_MASK, cr4_mask)
    write(Field.CR4_READ_SHADOW, cr4_shadow)


def test_masked_bits_of_cr0_and_cr4_read_as_the_shadow(vmx):
    masked(vmx, TS | MP, TS, PSE, PSE)
    vmx.enter("0f20c0 0f20e3 0f01e1 f4")  # MOV EAX, CR0; MOV EBX, CR4; SMSW ECX; HLT
    assert vmx.field(Field.EXIT_REASON) == 12
    assert vmx.cpu.gpr(EAX) == vmx.cpu.gpr(ECX) == 0x11 | TS
    assert vmx.cpu.gpr(EBX) == PSE
    assert (vmx.cpu.cr(0), vmx.cpu.cr(4)) == (0x11, 0)


def test_a_write_that_agrees_with_the_shadow_does_not_exit_and_leaves_the_hosts_bits(vmx):
    masked(vmx, TS, TS)
    vmx.enter("b81b000000 0f22c0 f4")  # PE MP TS ET
    assert vmx.field(Field.EXIT_REASON) == 12
    assert vmx.cpu.cr(0) == 0x13


@pytest.mark.parametrize(
    ("code", "qualification", "length"),
    [
        ("b813000000 0f22c0", 0x00, 3),  # MOV CR0, EAX clears TS
        ("0f06", 0x20, 2),  # CLTS
        ("b801000000 0f01f0", 0x1_0030, 3),  # LMSW AX
    ],
)
def test_a_write_that_differs_from_the_shadow_exits_and_is_then_the_guests(vmx, code, qualification, length):
    masked(vmx, TS, TS)
    vmx.enter(code + "f4")
    assert vmx.field(Field.EXIT_REASON) == 28
    assert vmx.field(Field.EXIT_QUALIFICATION) == qualification
    assert vmx.field(Field.EXIT_INSTRUCTION_LENGTH) == length
    vmx.backend.handle()
    assert not vmx.field(Field.CR0_READ_SHADOW) & TS
    vmx.enter()
    assert vmx.field(Field.EXIT_REASON) == 12


def test_cr4_writes_exit_by_the_mask(vmx):
    masked(vmx, 0, 0, PSE, 0)
    vmx.enter("b804000000 0f22e0 b814000000 0f22e0 f4")  # TSD is the guest's, PSE the host's
    assert vmx.field(Field.EXIT_REASON) == 28
    assert vmx.field(Field.EXIT_QUALIFICATION) == 4
    assert vmx.cpu.cr(4) == 4
    vmx.backend.handle()
    assert (vmx.cpu.cr(4), vmx.field(Field.CR4_READ_SHADOW)) == (0x14, 0x14)


def test_clts_of_a_host_owned_bit_that_reads_zero_does_nothing(vmx):
    masked(vmx, TS, 0)
    vmx.cpu.set_cr(0, 0x11 | TS)
    vmx.enter("0f06 f4")
    assert vmx.field(Field.EXIT_REASON) == 12
    assert vmx.cpu.cr(0) & TS


RDTSC = "0f31 f4"


def ticks(guest):
    guest.enter(RDTSC)
    return guest.cpu.gpr(EAX) | guest.cpu.gpr(2) << 32


def test_the_tsc_offset_of_a_vmcs(vmx):
    vmx.backend.vmcs.write(Field.TSC_OFFSET, 1 << 62)
    assert ticks(vmx) >> 62 == 1
    vmx.backend.vmcs.write(Field.TSC_OFFSET, 2**64 - vmx.cpu.tsc + (1 << 62))
    assert ticks(vmx) < 1 << 40
    vmx.cpu.set_msr(0x10, 5)  # the guest writes its TSC: the offset is what changes
    offset = vmx.field(Field.TSC_OFFSET)
    assert offset == vmx.cpu.tsc_offset & 2**64 - 1
    controls = vmx.field(Field.PROCESSOR_CONTROLS)
    vmx.backend.vmcs.write(Field.TSC_OFFSET, 1 << 62)
    vmx.backend.vmcs.write(Field.PROCESSOR_CONTROLS, controls & ~Proc.TSC_OFFSETTING)
    assert ticks(vmx) >> 62 == 0


def test_the_tsc_offset_of_a_vmcb(svm):
    svm.backend.vmcb.write(Control.TSC_OFFSET, 1 << 62)
    assert ticks(svm) >> 62 == 1
    svm.cpu.set_msr(0x10, 5)
    assert svm.backend.vmcb.read(Control.TSC_OFFSET) == svm.cpu.tsc_offset & 2**64 - 1


def test_a_halt_still_exits(vmx):
    vmx.enter("f4")
    assert vmx.cpu.exit.kind == ExitKind.HLT


# What an interrupted delivery becomes, under both vendors


@pytest.fixture(params=[VmxBackend, SvmBackend], ids=["vmx", "svm"])
def guest(request):
    guest = Guest(request.param)
    guest.gates()
    return guest


def intercept(guest, exceptions):
    if guest.backend.name == "vmx":
        guest.backend.vmcs.write(Field.EXCEPTION_BITMAP, exceptions)
    else:
        guest.backend.vmcb.write(Control.INTERCEPT_EXCEPTION, exceptions)


STACK = 0x60000


def stack_in_no_memory(guest):
    guest.bench.memory.set_type(STACK, STACK + 0xFFF, "mmio")
    guest.cpu.memory_changed()
    guest.cpu.set_gpr(ESP, STACK + 0x800)


@pytest.mark.parametrize(
    ("code", "vector", "error", "behind"),
    [
        ("cd30", 0x30, None, 2),  # INT 30h
        ("cc", 3, None, 1),
        ("0f0b", 6, None, 0),  # UD2
        ("8ed9", 13, 0x78, 0),  # MOV DS, CX with a selector that is none
    ],
)
def test_an_interrupted_delivery_is_taken_up_again_where_it_was(guest, code, vector, error, behind):
    stack_in_no_memory(guest)
    guest.cpu.set_gpr(ECX, 0x78)
    guest.enter(code)
    assert guest.cpu.exit.kind == ExitKind.GUEST_PHYSICAL
    guest.backend.handle()
    assert guest.handlers.calls == ["mmio"]
    assert guest.backend.event_pending()
    guest.bench.memory.set_type(STACK, STACK + 0xFFF, "ram")
    guest.cpu.memory_changed()
    guest.enter()
    assert (guest.cpu.exit.kind, guest.cpu.rip) == (ExitKind.HLT, HANDLERS + 16 * vector)
    frame = STACK + 0x800 - 12 - (0 if error is None else 4)
    assert guest.cpu.gpr(ESP) == frame
    if error is not None:
        assert guest.bench.read32(frame) == error
    assert guest.bench.read32(STACK + 0x800 - 12) == 0x7C00 + behind


def test_an_intercepted_fault_during_a_faults_delivery_becomes_a_double_fault(guest):
    intercept(guest, 1 << 11)
    guest.bench.write(0x3000 + 8 * 13 + 5, b"\x0e")  # the gate of #GP is not present
    guest.cpu.set_gpr(ECX, 0x78)
    guest.enter("8ed9")
    assert (guest.cpu.exit.kind, guest.cpu.exit.vector) == (ExitKind.EXCEPTION, 11)
    guest.backend.handle()
    guest.enter()
    assert (guest.cpu.exit.kind, guest.cpu.rip) == (ExitKind.HLT, HANDLERS + 16 * 8)
    assert guest.bench.read32(guest.cpu.gpr(ESP)) == 0


def test_an_intercepted_fault_during_an_interrupts_delivery_is_itself(guest):
    intercept(guest, 1 << 11)
    guest.bench.write(0x3000 + 8 * 0x30 + 5, b"\x0e")
    guest.cpu.rflags = 0x202
    guest.backend.inject(0, 0x30, None, 0)
    guest.enter("f4")
    guest.backend.handle()
    guest.enter()
    assert (guest.cpu.exit.kind, guest.cpu.rip) == (ExitKind.HLT, HANDLERS + 16 * 11)
    assert guest.bench.read32(guest.cpu.gpr(ESP)) == 8 * 0x30 + 3  # external, in the IDT


def test_an_intercepted_fault_during_a_double_faults_delivery_shuts_down(guest):
    intercept(guest, 1 << 11)
    guest.bench.write(0x3000 + 8 * 8 + 5, b"\x0e")
    guest.backend.inject(3, 8, 0, 0)
    guest.enter("f4")
    assert (guest.cpu.exit.kind, guest.cpu.exit.vector) == (ExitKind.EXCEPTION, 11)
    guest.backend.handle()
    assert guest.handlers.calls == ["triple_fault"]


# Guest page tables in no memory

LOST = 0x40_3010  # its page table is


@pytest.fixture
def lost(guest):
    """A guest whose second page table lies in no memory, under the real MMIO handler, which asks no device."""
    guest.paging()
    guest.bench.write(DIRECTORY + 4, (NOTHING | 3).to_bytes(4, "little"))
    guest.handlers.mmio = Mmio(
        guest.cpu, guest.bench.memory, NoDevice(), guest.backend, guest.handlers.calls.append
    ).access
    return guest


class NoDevice:
    """Requests that are not to be made; that there is nobody to wait for may be asked."""

    def before_memory(self, address, size):
        pass


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("a1 10304000", 0),  # MOV EAX, [LOST]
        ("a3 10304000", 2),
        ("8305 10304000 01", 2),  # ADD [LOST], 1
        ("f3a4", 0),  # REP MOVSB
        ("ff35 10304000", 0),  # PUSH [LOST]
    ],
)
def test_a_page_table_in_no_memory_is_to_the_guest_a_page_that_is_not_present(lost, code, error):
    lost.cpu.set_gpr(ECX, 2)
    lost.cpu.set_gpr(6, LOST)
    lost.cpu.set_gpr(7, 0x60000)
    lost.enter(code)
    assert lost.cpu.exit.kind == ExitKind.GUEST_PHYSICAL
    lost.backend.handle()
    lost.enter()
    assert (lost.cpu.exit.kind, lost.cpu.rip) == (ExitKind.HLT, HANDLERS + 16 * 14)
    assert (lost.cpu.cr(2), lost.bench.read32(lost.cpu.gpr(ESP))) == (LOST, error)
    assert lost.handlers.calls == []


def test_code_whose_page_table_lies_in_no_memory_is_not_present_either(lost):
    lost.cpu.rip = LOST
    lost.backend.enter(1000)
    lost.backend.handle()
    lost.enter()
    assert (lost.cpu.exit.kind, lost.cpu.rip, lost.cpu.cr(2)) == (ExitKind.HLT, HANDLERS + 16 * 14, LOST)


def test_a_stack_whose_page_table_lies_in_no_memory_crashes_a_guest_that_takes_an_event_there(lost):
    lost.cpu.set_gpr(ESP, LOST)
    lost.enter("cd30")
    lost.backend.handle()
    assert lost.handlers.calls == ["an event's delivery touches 0x20000c, where there is no memory"]
