"""Checks on VM entry (SDM vol. 3 chapter 27): controls, host state, guest state.

Each raises `Refused` at the first rule that is broken, with the architectural error and the rule's words; the
backend turns it into VMfailValid (controls 7, host state 8) or a VM-entry-failure exit (guest state).
"""

from typing import Final, NoReturn

from hvcore.hvm import (
    CR0_PE,
    CR0_PG,
    RFLAGS_IF,
    RFLAGS_TF,
    RIGHTS_DB,
    RIGHTS_L,
    RIGHTS_UNUSABLE,
    WITH_ERROR_CODE,
    EventKind,
    SegmentName,
    Shadow,
)
from hvcore.vmx import capabilities as cap
from hvcore.vmx.capabilities import Entry, Exit, Pin, Proc, Secondary
from hvcore.vmx.exits import (
    INFO_ERROR_VALID,
    INFO_RESERVED,
    INFO_TYPE,
    INFO_TYPE_SHIFT,
    INFO_VALID,
    INFO_VECTOR,
    EntryFailure,
)
from hvcore.vmx.vmcs import Field, InstructionError, Vmcs

ADDRESS_MASK: Final = (1 << cap.PHYSICAL_ADDRESS_BITS) - 1
LINK_NONE: Final = 0xFFFF_FFFF_FFFF_FFFF
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_RESERVED: Final = ~0xD01 & 0xFFFF_FFFF_FFFF_FFFF
CR4_PAE: Final = 1 << 5
RFLAGS_VM: Final = 1 << 17
RFLAGS_ONE: Final = 1 << 1
RFLAGS_RESERVED: Final = 0xFFFF_FFFF_FFC0_8028
PENDING_DEBUG_RESERVED: Final = 0xFFFF_FFFF_FFFF_AFF0
"""All but B3-B0, the enabled-breakpoint bit 12 and BS (14)."""
PENDING_DEBUG_BS: Final = 1 << 14
PENDING_DEBUG_ENABLED: Final = 1 << 12
PAT_TYPES: Final = (0, 1, 4, 5, 6, 7)
RIGHTS_RESERVED: Final = 0xFFFE_0F00
HLT: Final = 1
SHUTDOWN: Final = 2

MSR_ENTRY: Final = 16
"""Bytes: index, 32 bits that must be zero, value (table 25-14)."""
MSR_AREAS: Final = (
    ("VM-exit MSR-store", Field.EXIT_MSR_STORE_COUNT, Field.EXIT_MSR_STORE_ADDRESS),
    ("VM-exit MSR-load", Field.EXIT_MSR_LOAD_COUNT, Field.EXIT_MSR_LOAD_ADDRESS),
    ("VM-entry MSR-load", Field.ENTRY_MSR_LOAD_COUNT, Field.ENTRY_MSR_LOAD_ADDRESS),
)

ES: Final = SegmentName.ES
CS: Final = SegmentName.CS
SS: Final = SegmentName.SS
DS: Final = SegmentName.DS
FS: Final = SegmentName.FS
GS: Final = SegmentName.GS
LDTR: Final = SegmentName.LDTR
TR: Final = SegmentName.TR
TYPE: Final = 0xF
"""Of access rights (SDM vol. 3 tables 3-1 and 3-2); all of the following have been accessed."""
READ_WRITE: Final = frozenset({3, 7})
"""Data, upwards and downwards."""
DATA: Final = 3
CODE: Final = frozenset({9, 11})
CONFORMING: Final = frozenset({13, 15})
LDT: Final = 2
BUSY_TSS_16: Final = 3
BUSY_TSS: Final = 11
RIGHTS_MEMORY: Final = 1 << 4
RIGHTS_PRESENT: Final = 1 << 7
RIGHTS_GRANULARITY: Final = 1 << 15
RIGHTS_VIRTUAL8086: Final = 0xF3
"""Data that are present and have been accessed, with DPL 3."""

_SEGMENTS: Final = ("ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR")
_SELECTOR0: Final = Field.GUEST_ES_SELECTOR
_BASE0: Final = Field.GUEST_ES_BASE
_LIMIT0: Final = Field.GUEST_ES_LIMIT
_RIGHTS0: Final = Field.GUEST_ES_RIGHTS


class Refused(Exception):  # noqa: N818  (never leaves this package)
    """A rule is broken.

    `error` is a VM-instruction error for controls and host state, an exit qualification for
    guest state.
    """

    def __init__(self, error: int, rule: str) -> None:
        super().__init__(rule)
        self.error = error


def uses_ept(vmcs: Vmcs) -> bool:
    """Tell whether "enable EPT" is 1 and the secondary controls count."""
    v = vmcs.values
    secondary = v[Field.PROCESSOR_CONTROLS] & Proc.SECONDARY and v[Field.SECONDARY_CONTROLS]
    return bool(secondary & Secondary.EPT)


def check_controls(vmcs: Vmcs) -> None:
    """Section 27.2.1, all but the interruption information."""

    def refuse(rule: str) -> NoReturn:
        raise Refused(InstructionError.INVALID_CONTROLS, rule)

    v = vmcs.values
    pin, proc = v[Field.PIN_BASED_CONTROLS], v[Field.PROCESSOR_CONTROLS]
    secondary = v[Field.SECONDARY_CONTROLS] if proc & Proc.SECONDARY else 0
    if not cap.PIN.admits(pin):
        refuse("pin-based controls")
    if not cap.PROC.admits(proc):
        refuse("primary processor-based controls")
    if not cap.SECONDARY.admits(secondary):
        refuse("secondary processor-based controls")
    if v[Field.CR3_TARGET_COUNT] > cap.CR3_TARGETS:
        refuse("CR3-target count")
    if proc & Proc.IO_BITMAPS:
        for field in (Field.IO_BITMAP_A, Field.IO_BITMAP_B):
            if v[field] & 0xFFF or v[field] & ~ADDRESS_MASK:
                refuse("I/O-bitmap address")
    if proc & Proc.MSR_BITMAPS and (v[Field.MSR_BITMAP] & 0xFFF or v[Field.MSR_BITMAP] & ~ADDRESS_MASK):
        refuse("MSR-bitmap address")
    if secondary & Secondary.VPID and not v[Field.VPID]:
        refuse("VPID is zero")
    if pin & Pin.VIRTUAL_NMI and not pin & Pin.NMI:
        refuse("virtual NMIs without NMI exiting")
    if proc & Proc.NMI_WINDOW and not pin & Pin.VIRTUAL_NMI:
        refuse("NMI-window exiting without virtual NMIs")
    if secondary & Secondary.EPT:
        check_ept_pointer(v[Field.EPT_POINTER])
    if secondary & Secondary.UNRESTRICTED_GUEST and not secondary & Secondary.EPT:
        refuse("unrestricted guest without EPT")
    if not cap.EXIT.admits(v[Field.EXIT_CONTROLS]):
        refuse("VM-exit controls")
    if not cap.ENTRY.admits(v[Field.ENTRY_CONTROLS]):
        refuse("VM-entry controls")
    for name, count, address in MSR_AREAS:
        last = v[address] + MSR_ENTRY * v[count] - 1
        if v[count] and (v[address] & MSR_ENTRY - 1 or v[address] & ~ADDRESS_MASK or last & ~ADDRESS_MASK):
            refuse(f"{name} address")


def check_ept_pointer(pointer: int) -> None:
    """Check an EPT pointer by section 27.2.1.1."""
    if (
        pointer & 7 not in cap.EPT_MEMORY_TYPES
        or (pointer >> 3 & 7) + 1 != cap.EPT_WALK_LENGTH
        or pointer & 0xFC0
        or pointer & ~ADDRESS_MASK
    ):
        raise Refused(InstructionError.INVALID_CONTROLS, "EPT pointer")


def check_interruption_info(vmcs: Vmcs, info: int) -> None:
    """Section 27.2.1.3: a valid VM-entry interruption-information field."""

    def refuse(rule: str) -> NoReturn:
        raise Refused(InstructionError.INVALID_CONTROLS, f"VM-entry interruption information: {rule}")

    kind, vector = (info & INFO_TYPE) >> INFO_TYPE_SHIFT, info & INFO_VECTOR
    if kind == 1:
        refuse("type")
    if kind == EventKind.OTHER and vector:
        refuse("vector of another event")
    if kind == EventKind.NMI and vector != 2:
        refuse("vector of an NMI")
    if kind == EventKind.HARDWARE_EXCEPTION and vector > 31:
        refuse("vector of an exception")
    protected = vmcs.read(Field.GUEST_CR0) & CR0_PE
    wants_error = kind == EventKind.HARDWARE_EXCEPTION and vector in WITH_ERROR_CODE and protected
    if bool(info & INFO_ERROR_VALID) != bool(wants_error):
        refuse("error code")
    if info & INFO_RESERVED:
        refuse("reserved bits")
    if info & INFO_ERROR_VALID and vmcs.values[Field.ENTRY_EXCEPTION_ERROR] & 0xFFFF_0000:
        refuse("reserved bits of the error code")
    if (
        EventKind.SOFTWARE_INTERRUPT <= kind < EventKind.OTHER
        and not 1 <= vmcs.values[Field.ENTRY_INSTRUCTION_LENGTH] <= 15
    ):
        refuse("instruction length")


def check_host_state(vmcs: Vmcs) -> None:
    """Section 27.2.2 and 27.2.3, for a host in IA-32e mode."""

    def refuse(rule: str) -> NoReturn:
        raise Refused(InstructionError.INVALID_HOST_STATE, rule)

    v = vmcs.values
    if cap.CR0_FIXED0 & ~v[Field.HOST_CR0] or v[Field.HOST_CR0] & ~cap.CR0_FIXED1:
        refuse("host CR0")
    if cap.CR4_FIXED0 & ~v[Field.HOST_CR4] or v[Field.HOST_CR4] & ~cap.CR4_FIXED1:
        refuse("host CR4")
    if v[Field.HOST_CR3] & ~ADDRESS_MASK:
        refuse("host CR3")
    exit_controls = v[Field.EXIT_CONTROLS]
    if exit_controls & Exit.LOAD_PAT and not _pat_valid(v[Field.HOST_PAT]):
        refuse("host PAT")
    if not exit_controls & Exit.HOST_64:
        refuse("host address-space size")
    if exit_controls & Exit.LOAD_EFER and (
        v[Field.HOST_EFER] & EFER_RESERVED
        or v[Field.HOST_EFER] & (EFER_LMA | EFER_LME) != EFER_LMA | EFER_LME
    ):
        refuse("host EFER")
    for field in range(Field.HOST_ES_SELECTOR, Field.HOST_TR_SELECTOR + 2, 2):
        if v[field] & 7:
            refuse("RPL or TI of a host selector")
    if not v[Field.HOST_CS_SELECTOR]:
        refuse("host CS is null")
    if not v[Field.HOST_TR_SELECTOR]:
        refuse("host TR is null")
    for field in (
        Field.HOST_FS_BASE,
        Field.HOST_GS_BASE,
        Field.HOST_TR_BASE,
        Field.HOST_GDTR_BASE,
        Field.HOST_IDTR_BASE,
        Field.HOST_SYSENTER_ESP,
        Field.HOST_SYSENTER_EIP,
        Field.HOST_RIP,
    ):
        if not canonical(v[field]):
            refuse("a host address is not canonical")
    if not v[Field.HOST_CR4] & CR4_PAE:
        refuse("host CR4.PAE")


def check_guest_state(vmcs: Vmcs) -> None:
    """Section 27.3.1."""
    read = vmcs.read
    entry = vmcs.values[Field.ENTRY_CONTROLS]
    unrestricted = bool(
        vmcs.values[Field.PROCESSOR_CONTROLS] & Proc.SECONDARY
        and vmcs.values[Field.SECONDARY_CONTROLS] & Secondary.UNRESTRICTED_GUEST
    )
    _check_control_registers(vmcs, entry, unrestricted)
    _check_segments(vmcs, unrestricted, bool(entry & Entry.IA32E_GUEST))
    for name, base, limit in (
        ("GDTR", Field.GUEST_GDTR_BASE, Field.GUEST_GDTR_LIMIT),
        ("IDTR", Field.GUEST_IDTR_BASE, Field.GUEST_IDTR_LIMIT),
    ):
        if not canonical(read(base)):
            _guest(f"{name} base")
        if read(limit) >> 16:
            _guest(f"{name} limit")
    long_code = entry & Entry.IA32E_GUEST and read(Field.GUEST_CS_RIGHTS) & RIGHTS_L
    if not long_code and read(Field.GUEST_RIP) >> 32:
        _guest("RIP")
    flags = read(Field.GUEST_RFLAGS)
    if flags & RFLAGS_RESERVED or not flags & RFLAGS_ONE:
        _guest("RFLAGS, reserved bits")
    if flags & RFLAGS_VM and (entry & Entry.IA32E_GUEST or not read(Field.GUEST_CR0) & CR0_PE):
        _guest("RFLAGS.VM")
    _check_non_register_state(vmcs, flags)
    if vmcs.values[Field.VMCS_LINK_POINTER] != LINK_NONE:
        raise Refused(EntryFailure.LINK_POINTER, "VMCS link pointer")
    _check_pdptes(vmcs)


def _guest(rule: str) -> NoReturn:
    raise Refused(EntryFailure.GENERAL, f"guest {rule}")


def _check_control_registers(vmcs: Vmcs, entry: int, unrestricted: bool) -> None:
    """Section 27.3.1.1."""
    read = vmcs.read
    cr0, cr4 = read(Field.GUEST_CR0), read(Field.GUEST_CR4)
    fixed = cap.CR0_FIXED0 & (~(CR0_PE | CR0_PG) if unrestricted else ~0)
    if fixed & ~cr0 or cr0 & ~cap.CR0_FIXED1:
        _guest("CR0")
    if cr0 & CR0_PG and not cr0 & CR0_PE:
        _guest("CR0.PG without PE")
    if cap.CR4_FIXED0 & ~cr4 or cr4 & ~cap.CR4_FIXED1:
        _guest("CR4")
    if entry & Entry.LOAD_DEBUG:
        if vmcs.values[Field.GUEST_DEBUGCTL]:
            _guest("IA32_DEBUGCTL")  # of which no bit exists
        if read(Field.GUEST_DR7) >> 32:
            _guest("DR7")
    if entry & Entry.IA32E_GUEST and not (cr0 & CR0_PG and cr4 & CR4_PAE):
        _guest("IA-32e mode without CR0.PG and CR4.PAE")
    if read(Field.GUEST_CR3) & ~ADDRESS_MASK:
        _guest("CR3")
    if not canonical(read(Field.GUEST_SYSENTER_ESP)) or not canonical(read(Field.GUEST_SYSENTER_EIP)):
        _guest("SYSENTER address")
    if entry & Entry.LOAD_PAT and not _pat_valid(read(Field.GUEST_PAT)):
        _guest("PAT")
    if entry & Entry.LOAD_EFER:
        efer = read(Field.GUEST_EFER)
        if efer & EFER_RESERVED:
            _guest("EFER, reserved bits")
        if bool(efer & EFER_LMA) != bool(entry & Entry.IA32E_GUEST):
            _guest("EFER.LMA")
        if cr0 & CR0_PG and bool(efer & EFER_LMA) != bool(efer & EFER_LME):
            _guest("EFER.LME")


def _check_segments(vmcs: Vmcs, unrestricted: bool, ia32e: bool) -> None:
    """Section 27.3.1.2."""
    read = vmcs.read
    selector = [read(_SELECTOR0 + 2 * i) for i in range(8)]
    base = [read(_BASE0 + 2 * i) for i in range(8)]
    limit = [read(_LIMIT0 + 2 * i) for i in range(8)]
    rights = [read(_RIGHTS0 + 2 * i) for i in range(8)]
    usable = [not r & RIGHTS_UNUSABLE for r in rights]
    virtual8086 = bool(read(Field.GUEST_RFLAGS) & RFLAGS_VM)
    protected = bool(read(Field.GUEST_CR0) & CR0_PE)

    if selector[TR] & 4:
        _guest("TR selector")
    if usable[LDTR] and selector[LDTR] & 4:
        _guest("LDTR selector")
    if not virtual8086 and not unrestricted and (selector[SS] ^ selector[CS]) & 3:
        _guest("SS selector's RPL")

    for i in (TR, FS, GS):
        if not canonical(base[i]):
            _guest(f"{_SEGMENTS[i]} base")
    if usable[LDTR] and not canonical(base[LDTR]):
        _guest("LDTR base")
    for i in (ES, CS, SS, DS):
        if (i == CS or usable[i]) and base[i] >> 32:
            _guest(f"{_SEGMENTS[i]} base")

    if virtual8086:
        for i in range(LDTR):
            if base[i] != selector[i] << 4 or limit[i] != 0xFFFF or rights[i] != RIGHTS_VIRTUAL8086:
                _guest(f"{_SEGMENTS[i]} in virtual-8086 mode")
    else:
        _check_code_and_stack(selector, rights, usable, unrestricted, protected, ia32e)
        for i in (ES, DS, FS, GS):
            if usable[i]:
                _check_data(_SEGMENTS[i], selector[i], rights[i], unrestricted)
        for i in range(LDTR):
            if i == CS or usable[i]:
                _check_descriptor(_SEGMENTS[i], limit[i], rights[i], system=False)

    if not usable[TR]:
        _guest("TR is unusable")
    if rights[TR] & TYPE not in ({BUSY_TSS} if ia32e else {BUSY_TSS_16, BUSY_TSS}):
        _guest("TR type")
    _check_descriptor("TR", limit[TR], rights[TR], system=True)
    if usable[LDTR]:
        if rights[LDTR] & TYPE != LDT:
            _guest("LDTR type")
        _check_descriptor("LDTR", limit[LDTR], rights[LDTR], system=True)


def _check_code_and_stack(
    selector: list[int],
    rights: list[int],
    usable: list[bool],
    unrestricted: bool,
    protected: bool,
    ia32e: bool,
) -> None:
    code, stack = rights[CS], rights[SS]
    code_type, code_dpl, stack_dpl = code & TYPE, code >> 5 & 3, stack >> 5 & 3
    if code_type not in CODE | CONFORMING and not (unrestricted and code_type == DATA):
        _guest("CS type")
    if (
        (code_type == DATA and code_dpl)
        or (code_type in CODE and code_dpl != stack_dpl)
        or (code_type in CONFORMING and code_dpl > stack_dpl)
    ):
        _guest("CS DPL")
    if ia32e and code & RIGHTS_L and code & RIGHTS_DB:
        _guest("CS L and D")
    if usable[SS] and stack & TYPE not in READ_WRITE:
        _guest("SS type")
    if not unrestricted and stack_dpl != selector[SS] & 3:
        _guest("SS DPL")
    if (code_type == DATA or not protected) and stack_dpl:
        _guest("SS DPL")


def _check_data(name: str, selector: int, rights: int, unrestricted: bool) -> None:
    kind = rights & TYPE
    accessed, readable, code = kind & 1, kind & 2, kind & 8
    if not accessed or (code and not readable):
        _guest(f"{name} type")
    if not unrestricted and kind not in CONFORMING and rights >> 5 & 3 < selector & 3:
        _guest(f"{name} DPL")


def _check_descriptor(name: str, limit: int, rights: int, *, system: bool) -> None:
    if bool(rights & RIGHTS_MEMORY) == system:
        _guest(f"{name} S")
    if not rights & RIGHTS_PRESENT:
        _guest(f"{name} P")
    if rights & RIGHTS_RESERVED:
        _guest(f"{name} rights, reserved bits")
    if limit & 0xFFF != 0xFFF and rights & RIGHTS_GRANULARITY:
        _guest(f"{name} G")
    if limit >> 20 and not rights & RIGHTS_GRANULARITY:
        _guest(f"{name} G")


def _check_non_register_state(vmcs: Vmcs, flags: int) -> None:
    """Section 27.3.1.5."""
    read = vmcs.read
    activity, blocking = read(Field.GUEST_ACTIVITY), read(Field.GUEST_INTERRUPTIBILITY)
    info = vmcs.values[Field.ENTRY_INTERRUPTION_INFO]
    kind = (info & INFO_TYPE) >> INFO_TYPE_SHIFT if info & INFO_VALID else -1
    if activity not in cap.ACTIVITY_STATES:
        _guest("activity state")
    if activity == HLT and read(Field.GUEST_SS_RIGHTS) >> 5 & 3:
        _guest("activity state HLT with SS.DPL not 0")
    if activity and blocking & (Shadow.STI | Shadow.MOV_SS):
        _guest("activity state with blocking by STI or MOV SS")
    if activity == HLT and kind not in {-1, EventKind.EXTERNAL_INTERRUPT, EventKind.NMI}:
        vector = info & INFO_VECTOR
        if kind != EventKind.HARDWARE_EXCEPTION or vector not in {1, 18}:
            _guest("activity state HLT with this event")
    if activity == SHUTDOWN and kind not in {-1, EventKind.NMI}:
        vector = info & INFO_VECTOR
        if kind != EventKind.HARDWARE_EXCEPTION or vector != 18:
            _guest("activity state shutdown with this event")
    if blocking & ~(Shadow.STI | Shadow.MOV_SS | Shadow.NMI):
        _guest("interruptibility, reserved bits")
    if blocking & 3 == 3:
        _guest("blocking by STI and MOV SS both")
    if blocking & Shadow.STI and not flags & RFLAGS_IF:
        _guest("blocking by STI without IF")
    check_event_against_state(kind, flags, blocking, vmcs.values[Field.PIN_BASED_CONTROLS])
    pending = vmcs.values[Field.GUEST_PENDING_DEBUG]
    if pending & PENDING_DEBUG_RESERVED:
        _guest("pending debug exceptions, reserved bits")
    waits = activity == HLT or blocking & (Shadow.STI | Shadow.MOV_SS)
    if waits and bool(pending & PENDING_DEBUG_BS) != bool(flags & RFLAGS_TF):  # there is no DEBUGCTL.BTF
        _guest("pending debug exceptions, BS")


def check_event_against_state(kind: int, flags: int, blocking: int, pin: int) -> None:
    """Check the rules of 27.3.1.4 and 27.3.1.5 that join the injected event with the guest's state."""
    if kind == EventKind.EXTERNAL_INTERRUPT:
        if not flags & RFLAGS_IF:
            _guest("RFLAGS.IF with an external interrupt")
        if blocking & (Shadow.STI | Shadow.MOV_SS):
            _guest("blocking with an external interrupt")
    elif kind == EventKind.NMI and blocking & Shadow.MOV_SS:
        _guest("blocking by MOV SS with an NMI")
    elif kind == EventKind.NMI and pin & Pin.VIRTUAL_NMI and blocking & Shadow.NMI:
        _guest("virtual-NMI blocking with an NMI")


def _check_pdptes(vmcs: Vmcs) -> None:
    """Section 27.3.1.6, under PAE paging with EPT; without EPT those in memory are checked when they are loaded."""
    v = vmcs.values
    read = vmcs.read
    if not read(Field.GUEST_CR0) & CR0_PG or not read(Field.GUEST_CR4) & CR4_PAE:
        return
    if v[Field.ENTRY_CONTROLS] & Entry.IA32E_GUEST or not uses_ept(vmcs):
        return
    for field in (Field.GUEST_PDPTE0, Field.GUEST_PDPTE1, Field.GUEST_PDPTE2, Field.GUEST_PDPTE3):
        entry = read(field)
        if entry & 1 and (entry & 0x1E6 or entry & ~ADDRESS_MASK):
            raise Refused(EntryFailure.PDPTE, "a PDPTE")


def canonical(address: int) -> bool:
    """Tell whether a linear address of 64 bits is canonical, for 48 of them."""
    return address >> 47 in {0, 0x1FFFF}


def _pat_valid(pat: int) -> bool:
    return all(pat >> shift & 0xFF in PAT_TYPES for shift in range(0, 64, 8))
