"""Checks on VM entry, each refused with the architectural error (SDM vol. 3 chapter 27)."""

import struct

import pytest

from hvcore import EntryError
from hvcore.cpu.exitinfo import ExitKind
from hvcore.vmx.backend import VmxBackend
from hvcore.vmx.vmcs import Field, VmFail, VmxAbort
from tests.hvcore.fake_processor import FakeProcessor, Handlers


@pytest.fixture
def backend():
    backend = VmxBackend(FakeProcessor())
    backend.attach(Handlers())
    return backend


@pytest.fixture
def handlers(backend):
    handlers = Handlers()
    backend.attach(handlers)
    return handlers


def enter(backend):
    backend.processor.script.append((ExitKind.BUDGET, {}))
    backend.enter(1)


def test_the_power_on_state_enters(backend):
    enter(backend)
    assert backend.vmcs.values[Field.EXIT_REASON] == 1
    assert backend.vmcs.launched


CONTROLS = [
    (Field.PIN_BASED_CONTROLS, 0),
    (Field.PIN_BASED_CONTROLS, 0x16 | 1 << 6),
    (Field.PIN_BASED_CONTROLS, 0x17 | 1 << 5),  # virtual NMIs without NMI exiting
    (Field.PROCESSOR_CONTROLS, 0x0400_6172 | 1 << 21),  # TPR shadow
    (Field.PROCESSOR_CONTROLS, 0x8000_0000),
    (Field.VPID, 0),
    (Field.SECONDARY_CONTROLS, 1 << 0),
    (Field.SECONDARY_CONTROLS, 1 << 7),  # unrestricted guest without EPT
    (Field.CR3_TARGET_COUNT, 5),
    (Field.EPT_POINTER, 0x1000),  # a walk of one level
    (Field.EPT_POINTER, 0x101B),  # memory type 3
    (Field.EPT_POINTER, 0x101E | 1 << 6),  # accessed and dirty flags
    (Field.EPT_POINTER, 0x101E | 1 << 40),
    (Field.EXIT_CONTROLS, 0),
    (Field.ENTRY_CONTROLS, 0x11FB | 1 << 10),  # entry to SMM
    (Field.ENTRY_CONTROLS, 0),
    (Field.SECONDARY_CONTROLS, 1 << 5 | 1 << 12),  # PAUSE-loop exiting's neighbour, virtualize x2APIC
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_0120),  # type 1
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_0203),  # an NMI of vector 3
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_0320),  # an exception of vector 32
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_0B0D),  # an error code in real mode
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_1020),  # reserved bit 12
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_0421),  # INT n of no length
    (Field.ENTRY_INTERRUPTION_INFO, 0x8000_0701),  # another event than a pending monitor trap
]


@pytest.mark.parametrize(("field", "value"), CONTROLS)
def test_an_invalid_control_is_error_7(backend, field, value):
    backend.vmcs.write(field, value)
    with pytest.raises(EntryError) as refused:
        enter(backend)
    assert refused.value.code == 7
    assert backend.vmcs.read(Field.INSTRUCTION_ERROR) == 7
    assert not backend.vmcs.launched


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field.HOST_CR0, 0),
        (Field.HOST_CR0, 1 << 32 | 0x8005_0033),
        (Field.HOST_CR4, 0x20),
        (Field.HOST_CR4, 0x2000),  # no PAE
        (Field.HOST_CR3, 1 << 40),
        (Field.HOST_EFER, 0x100),
        (Field.HOST_EFER, 0x502),
        (Field.HOST_CS_SELECTOR, 0),
        (Field.HOST_TR_SELECTOR, 0),
        (Field.HOST_DS_SELECTOR, 3),
        (Field.HOST_SS_SELECTOR, 0x14),
        (Field.HOST_FS_BASE, 1 << 47),
        (Field.HOST_GDTR_BASE, 0x8000_0000_0000),
        (Field.HOST_RIP, 1 << 63),
    ],
)
def test_invalid_host_state_is_error_8(backend, field, value):
    backend.vmcs.write(field, value)
    with pytest.raises(EntryError) as refused:
        enter(backend)
    assert refused.value.code == 8
    assert backend.vmcs.read(Field.INSTRUCTION_ERROR) == 8


GUEST = {
    "CR0.PG without PE": {Field.GUEST_CR0: 0x8000_0010},
    "CR0 high half": {Field.GUEST_CR0: 1 << 32},
    "CR0 reserved bit": {Field.GUEST_CR0: 1 << 8},
    "CR4 reserved bit": {Field.GUEST_CR4: 1 << 14 | 1 << 13},
    "CR4.VMXE clear": {Field.GUEST_CR4: 0},
    "CR0.PE clear without unrestricted guest": {Field.SECONDARY_CONTROLS: 1 << 1 | 1 << 5},
    "IA32_DEBUGCTL, of which there is no bit": {Field.GUEST_DEBUGCTL: 1},
    "DR7 high half": {Field.GUEST_DR7: 1 << 32},
    "a type that PAT has not": {Field.GUEST_PAT: 2},
    "virtual-NMI blocking with an NMI": {
        Field.ENTRY_INTERRUPTION_INFO: 0x8000_0202,
        Field.GUEST_INTERRUPTIBILITY: 8,
    },
    "no single-step trap pending in a shadow, with TF": {
        Field.GUEST_RFLAGS: 0x302,
        Field.GUEST_INTERRUPTIBILITY: 2,
    },
    "a single-step trap pending in HLT, without TF": {
        Field.GUEST_ACTIVITY: 1,
        Field.GUEST_PENDING_DEBUG: 1 << 14,
    },
    "an exception in the activity state HLT": {
        Field.GUEST_ACTIVITY: 1,
        Field.ENTRY_INTERRUPTION_INFO: 0x8000_0306,
    },
    "an interrupt in the activity state shutdown": {
        Field.GUEST_ACTIVITY: 2,
        Field.GUEST_RFLAGS: 0x202,
        Field.ENTRY_INTERRUPTION_INFO: 0x8000_0020,
    },
    "CR3 beyond the address width": {Field.GUEST_CR3: 1 << 36},
    "SYSENTER_ESP not canonical": {Field.GUEST_SYSENTER_ESP: 1 << 47},
    "EFER reserved bit": {Field.GUEST_EFER: 2},
    "EFER.LMA outside IA-32e mode": {Field.GUEST_EFER: 0x400},
    "TR in the LDT": {Field.GUEST_TR_SELECTOR: 4},
    "LDTR in the LDT": {Field.GUEST_LDTR_SELECTOR: 4},
    "TR base": {Field.GUEST_TR_BASE: 1 << 47},
    "CS base": {Field.GUEST_CS_BASE: 1 << 32},
    "SS base": {Field.GUEST_SS_BASE: 1 << 32},
    "LDTR base": {Field.GUEST_LDTR_BASE: 1 << 47},
    "CS type": {Field.GUEST_CS_RIGHTS: 0x97},
    "CS DPL": {Field.GUEST_CS_RIGHTS: 0xFB},
    "CS conforming DPL": {Field.GUEST_CS_RIGHTS: 0xBF},
    "SS type": {Field.GUEST_SS_RIGHTS: 0x91},
    "SS DPL in real mode": {Field.GUEST_SS_RIGHTS: 0xF3, Field.GUEST_CS_RIGHTS: 0xFB},
    "DS not accessed": {Field.GUEST_DS_RIGHTS: 0x92},
    "DS execute-only": {Field.GUEST_DS_RIGHTS: 0x99},
    "ES system": {Field.GUEST_ES_RIGHTS: 0x83},
    "FS not present": {Field.GUEST_FS_RIGHTS: 0x13},
    "GS reserved bits": {Field.GUEST_GS_RIGHTS: 0x193},
    "DS limit needs G": {Field.GUEST_DS_LIMIT: 0x10_0FFF},
    "DS limit forbids G": {Field.GUEST_DS_RIGHTS: 0x8093, Field.GUEST_DS_LIMIT: 0xFFFE},
    "TR unusable": {Field.GUEST_TR_RIGHTS: 0x1_008B},
    "TR type": {Field.GUEST_TR_RIGHTS: 0x89},
    "TR not present": {Field.GUEST_TR_RIGHTS: 0x0B},
    "LDTR type": {Field.GUEST_LDTR_RIGHTS: 0x83},
    "GDTR limit": {Field.GUEST_GDTR_LIMIT: 0x1_0000},
    "IDTR limit": {Field.GUEST_IDTR_LIMIT: 0x1_0000},
    "GDTR base": {Field.GUEST_GDTR_BASE: 1 << 50},
    "RIP high half": {Field.GUEST_RIP: 1 << 32},
    "RFLAGS bit 1": {Field.GUEST_RFLAGS: 0},
    "RFLAGS reserved": {Field.GUEST_RFLAGS: 0x8002},
    "RFLAGS.VM in real mode": {Field.GUEST_RFLAGS: 0x20002},
    "activity": {Field.GUEST_ACTIVITY: 3},
    "HLT with a shadow": {Field.GUEST_ACTIVITY: 1, Field.GUEST_INTERRUPTIBILITY: 2},
    "interruptibility reserved": {Field.GUEST_INTERRUPTIBILITY: 16},
    "both shadows": {Field.GUEST_INTERRUPTIBILITY: 3, Field.GUEST_RFLAGS: 0x202},
    "STI shadow without IF": {Field.GUEST_INTERRUPTIBILITY: 1},
    "interrupt without IF": {Field.ENTRY_INTERRUPTION_INFO: 0x8000_0020},
    "interrupt in a shadow": {
        Field.ENTRY_INTERRUPTION_INFO: 0x8000_0020,
        Field.GUEST_RFLAGS: 0x202,
        Field.GUEST_INTERRUPTIBILITY: 2,
    },
    "NMI after MOV SS": {Field.ENTRY_INTERRUPTION_INFO: 0x8000_0202, Field.GUEST_INTERRUPTIBILITY: 2},
    "pending debug reserved": {Field.GUEST_PENDING_DEBUG: 1 << 13},
    "virtual-8086 CS": {Field.GUEST_CR0: 1, Field.GUEST_RFLAGS: 0x20002},
}


@pytest.mark.parametrize("case", GUEST)
def test_invalid_guest_state_is_an_exit_with_reason_33(backend, handlers, case):
    for field, value in GUEST[case].items():
        backend.vmcs.write(field, value)
    backend.enter(1)
    assert backend.vmcs.read(Field.EXIT_REASON) == 0x8000_0021
    assert backend.vmcs.read(Field.EXIT_QUALIFICATION) == 0
    assert not backend.vmcs.launched
    assert backend.processor.budgets == []
    backend.handle()
    assert handlers.calls[0][0] == "crash"
    assert handlers.calls[0][1].startswith("VM entry failed: ")


def test_a_bad_link_pointer_has_qualification_4(backend):
    backend.vmcs.write(Field.VMCS_LINK_POINTER, 0)
    backend.enter(1)
    assert backend.vmcs.read(Field.EXIT_REASON) == 0x8000_0021
    assert backend.vmcs.read(Field.EXIT_QUALIFICATION) == 4


def test_a_bad_pdpte_has_qualification_2(backend):
    for field, value in {
        Field.GUEST_CR0: 0x8000_0011,
        Field.GUEST_CR4: 0x2020,
        Field.GUEST_PDPTE2: 1 << 5 | 1,
    }.items():
        backend.vmcs.write(field, value)
    backend.enter(1)
    assert backend.vmcs.read(Field.EXIT_REASON) == 0x8000_0021
    assert backend.vmcs.read(Field.EXIT_QUALIFICATION) == 2


def test_launch_and_resume_want_their_launch_state(backend):
    with pytest.raises(VmFail) as failure:
        backend.resume()
    assert failure.value.error == 5
    enter(backend)
    backend.resume()
    with pytest.raises(VmFail) as failure:
        backend.launch()
    assert failure.value.error == 4


def msr_area(backend, count, address, *entries):
    """Put entries (index, value) at 5000h and let these fields point at them."""
    data = b"".join(struct.pack("<QQ", index, value) for index, value in entries)
    backend.entry.host_memory.allocate(0x5000, data)
    backend.vmcs.write(count, len(entries))
    backend.vmcs.write(address, 0x5000)


ENTRY_LOAD = Field.ENTRY_MSR_LOAD_COUNT, Field.ENTRY_MSR_LOAD_ADDRESS
EXIT_STORE = Field.EXIT_MSR_STORE_COUNT, Field.EXIT_MSR_STORE_ADDRESS
EXIT_LOAD = Field.EXIT_MSR_LOAD_COUNT, Field.EXIT_MSR_LOAD_ADDRESS
SYSENTER_ESP = 0x175


@pytest.mark.parametrize("area", [ENTRY_LOAD, EXIT_STORE, EXIT_LOAD])
@pytest.mark.parametrize("address", [0x5008, 1 << 36, (1 << 36) - 16])
def test_an_msr_area_that_is_not_aligned_or_reaches_beyond_memory_is_error_7(backend, area, address):
    backend.vmcs.write(area[0], 2)
    backend.vmcs.write(area[1], address)
    with pytest.raises(EntryError) as refused:
        enter(backend)
    assert refused.value.code == 7


def test_an_entry_loads_msrs_and_an_exit_stores_and_loads_them(backend):
    msrs = backend.processor.msrs
    msr_area(backend, *ENTRY_LOAD, (SYSENTER_ESP, 0x1234), (0x277, 0x0606_0606_0606_0606))
    backend.processor.script.append(lambda: (msrs.update({SYSENTER_ESP: msrs[SYSENTER_ESP] + 1}), (0, {}))[1])
    backend.enter(1)
    assert (msrs[SYSENTER_ESP], msrs[0x277]) == (0x1235, 0x0606_0606_0606_0606)
    backend.vmcs.write(Field.ENTRY_MSR_LOAD_COUNT, 0)
    msr_area(backend, *EXIT_STORE, (SYSENTER_ESP, 0))
    enter(backend)
    assert backend.entry.host_memory.read(0x5008, 8) == (0x1235).to_bytes(8, "little")
    backend.vmcs.write(Field.EXIT_MSR_STORE_COUNT, 0)
    msr_area(backend, *EXIT_LOAD, (SYSENTER_ESP, 0x99))
    enter(backend)
    assert msrs[SYSENTER_ESP] == 0x99


@pytest.mark.parametrize("index", [0x12345, 0xC000_0100, 0xC000_0101, 0x800, 0x10, 1 << 32 | 0x175])
def test_an_msr_that_cannot_be_loaded_is_an_exit_with_reason_34_and_its_number(backend, handlers, index):
    msr_area(backend, *ENTRY_LOAD, (SYSENTER_ESP, 1), (index, 1))
    backend.vmcs.values[Field.EXIT_INSTRUCTION_LENGTH] = 5
    backend.enter(1)
    assert backend.vmcs.read(Field.EXIT_REASON) == 0x8000_0022
    assert backend.vmcs.read(Field.EXIT_QUALIFICATION) == 2
    assert backend.vmcs.read(Field.EXIT_INSTRUCTION_LENGTH) == 5  # not modified
    assert backend.processor.budgets == []
    backend.handle()
    assert handlers.calls == [("crash", "VM entry failed: entry 2 of the VM-entry MSR-load area")]


@pytest.mark.parametrize(("area", "indicator"), [(EXIT_STORE, 1), (EXIT_LOAD, 4)])
def test_an_msr_that_cannot_be_saved_or_loaded_on_an_exit_aborts(backend, area, indicator):
    msr_area(backend, *area, (0x12345, 0))
    with pytest.raises(VmxAbort) as abort:
        enter(backend)
    assert abort.value.code == indicator


def test_a_pending_monitor_trap_exits_before_the_first_instruction(backend):
    backend.vmcs.write(Field.ENTRY_INTERRUPTION_INFO, 0x8000_0700)
    backend.enter(1)
    assert backend.vmcs.read(Field.EXIT_REASON) == 37
    assert backend.processor.budgets == []
    assert not backend.event_pending()


def test_an_injected_event_leaves_no_debug_exception_pending(backend):
    enter(backend)
    backend.vmcs.write(Field.GUEST_PENDING_DEBUG, 1 << 14)
    backend.inject(2, 2, None, 0)
    enter(backend)
    enter(backend)
    assert backend.processor.injected == [(2, 2, None, 0)]


@pytest.mark.parametrize(
    ("pending", "shadow", "dr6"),
    [(1 << 14, 0, 0x4000), (1 << 12 | 2, 0, 2), (2, 0, None), (1 << 14, 2, None)],
)
def test_a_pending_debug_exception_is_delivered_if_valid_and_nothing_blocks_it(backend, pending, shadow, dr6):
    enter(backend)
    backend.processor.debug[6] = 0x200D  # B0, B2, B3 of an earlier one, and BD
    backend.processor.rflags = 0x102
    backend.vmcs.values[Field.GUEST_PENDING_DEBUG] = pending
    backend.processor.interruptibility = shadow
    enter(backend)
    assert backend.processor.injected == ([] if dr6 is None else [(3, 1, None, 0)])
    assert backend.processor.debug[6] == (0x200D if dr6 is None else 0x2000 | dr6)
    assert bool(backend.vmcs.values[Field.GUEST_PENDING_DEBUG]) == bool(shadow)


def test_a_valid_state_is_checked_once(backend):
    enter(backend)
    assert not backend.vmcs.changed
    enter(backend)
    backend.vmcs.write(Field.GUEST_RFLAGS, 0)
    assert backend.vmcs.changed


def test_an_injected_event_is_delivered_once(backend):
    enter(backend)
    backend.processor.rflags = 0x202
    backend.inject(0, 0x20, None, 0)
    assert backend.event_pending()
    assert backend.vmcs.read(Field.ENTRY_INTERRUPTION_INFO) == 0x8000_0020
    enter(backend)
    enter(backend)
    assert backend.processor.injected == [(0, 0x20, None, 0)]
    assert not backend.event_pending()


def test_an_exception_carries_its_error_code_in_protected_mode(backend):
    enter(backend)
    backend.processor.controls[0] = 0x11
    backend.inject(3, 13, 0x18, 0)
    assert backend.vmcs.read(Field.ENTRY_INTERRUPTION_INFO) == 0x8000_0B0D
    assert backend.vmcs.read(Field.ENTRY_EXCEPTION_ERROR) == 0x18
    enter(backend)
    assert backend.processor.injected == [(3, 13, 0x18, 0)]


def test_an_interrupt_that_the_guest_cannot_take_fails_the_entry(backend):
    enter(backend)
    backend.inject(0, 0x20, None, 0)
    backend.enter(1)
    assert backend.vmcs.read(Field.EXIT_REASON) == 0x8000_0021


def test_the_interrupt_window_is_a_control_and_holds_the_pin_back(backend):
    enter(backend)
    backend.request_interrupt_window(True)
    assert backend.vmcs.read(Field.PROCESSOR_CONTROLS) & 4
    intercepts = backend.processor.intercepts
    assert (intercepts.interrupt_window, intercepts.external_interrupt) == (True, False)
    backend.request_interrupt_window(False)
    assert (intercepts.interrupt_window, intercepts.external_interrupt) == (False, True)
    assert not backend.vmcs.read(Field.PROCESSOR_CONTROLS) & 4
