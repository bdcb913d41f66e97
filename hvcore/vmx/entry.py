"""VM entry: the checks of SDM vol. 3 chapter 27, the controls put into force, and event injection.

Most guests run under controls that ask for nothing at an entry but what the processor holds already. What the
others want is `special`, done by `run` and `leave`: MSR areas, registers that are not loaded and saved, and what
happens inside the guest and without an exit.
"""

from collections.abc import Callable
from typing import Final

from hvcore.cpu.exitinfo import ExitInfo, ExitKind
from hvcore.cpu.processor import Processor
from hvcore.errors import EntryError
from hvcore.exits.openbus import complete_on_open_bus
from hvcore.hostmemory import HostMemory
from hvcore.hvm import EventKind, Shadow, Vector
from hvcore.vmx import checks
from hvcore.vmx.capabilities import Entry, Exit, Pin, Proc, Secondary
from hvcore.vmx.exits import (
    INFO_ERROR_VALID,
    INFO_TYPE,
    INFO_TYPE_SHIFT,
    INFO_VALID,
    INFO_VECTOR,
    EntryFailure,
)
from hvcore.vmx.record import MONITOR_TRAP, VMX_REASONS, Recorder
from hvcore.vmx.vmcs import Field, Vmcs, VmxAbort

_ENTRY_INFO: Final = Field.ENTRY_INTERRUPTION_INFO
_PENDING_DEBUG: Final = Field.GUEST_PENDING_DEBUG
DR6_BS: Final = 1 << 14
DR7_ON_EXIT: Final = 0x400
EFER_LONG: Final = 1 << 10 | 1 << 8
MSR_TSC: Final = 0x10
MSR_FS_BASE: Final = 0xC000_0100
MSR_GS_BASE: Final = 0xC000_0101
MSR_X2APIC: Final = range(0x800, 0x900)
OTHER_MSRS: Final = b"\xff" * 1024
"""The bitmap has no bits for C001_0000h to C001_1FFFh: they exit."""
DESCRIPTOR_INSTRUCTIONS: Final = 0xFF
VM_INSTRUCTIONS: Final = sum(1 << which for which in VMX_REASONS)

SWAPPED: Final = (
    (Field.GUEST_EFER, Entry.LOAD_EFER, Exit.SAVE_EFER),
    (Field.GUEST_PAT, Entry.LOAD_PAT, Exit.SAVE_PAT),
    (Field.GUEST_DR7, Entry.LOAD_DEBUG, Exit.SAVE_DEBUG),
)
"""What is loaded from the VMCS at an entry, and saved there at an exit, only if controls say so."""


class VmEntry:
    """What VMLAUNCH and VMRESUME do with one VMCS before the guest's first instruction."""

    def __init__(self, processor: Processor, vmcs: Vmcs, recorder: Recorder) -> None:
        self._processor = processor
        self._vmcs = vmcs
        self._values = vmcs.values
        self._recorder = recorder
        self.host_memory = HostMemory(self._changed)
        self.special = False
        """Entries and exits have more to do than the processor does by itself: `run` and `leave`."""
        self.acknowledge: Callable[[], int] = lambda: -1
        """The interrupt-acknowledge cycle."""
        self._views = {field: vmcs.views[field] for field, _, _ in SWAPPED}
        self._host = {Field.GUEST_EFER: 0, Field.GUEST_PAT: 0, Field.GUEST_DR7: DR7_ON_EXIT}
        """What the host has in those registers."""
        self._ports: bytes | None = None
        self._msrs = b""
        self._msr_read: bytes | None = None
        self._msr_write: bytes | None = None
        self._vectoring = False
        self._shut_down = False

    def _changed(self) -> None:
        self._vmcs.changed = True

    def check(self) -> bool:
        """Run the checks of chapter 27. False: an entry failure is recorded. VMfail raises EntryError."""
        vmcs, values = self._vmcs, self._values
        try:
            checks.check_controls(vmcs)
            if values[_ENTRY_INFO] & INFO_VALID:
                checks.check_interruption_info(vmcs, values[_ENTRY_INFO])
            checks.check_host_state(vmcs)
        except checks.Refused as refused:
            values[Field.INSTRUCTION_ERROR] = refused.error
            raise EntryError(refused.error, f"VM entry refused: {refused}") from None
        try:
            checks.check_guest_state(vmcs)
        except checks.Refused as refused:
            self._recorder.record_entry_failure(refused)
            return False
        if not vmcs.current:
            vmcs.load()
        self.apply_controls()
        if self.special and not self._load():
            return False
        self._shut_down = self._processor.activity == checks.SHUTDOWN
        vmcs.launched = True
        vmcs.changed = self.special
        return True

    # Controls

    def apply_controls(self) -> None:
        """Turn the VM-execution controls into the processor's intercepts."""
        values, processor = self._values, self._processor
        intercepts = processor.intercepts
        pin, proc = values[Field.PIN_BASED_CONTROLS], values[Field.PROCESSOR_CONTROLS]
        secondary = values[Field.SECONDARY_CONTROLS] if proc & Proc.SECONDARY else 0
        window = bool(proc & Proc.INTERRUPT_WINDOW)
        # While the window is awaited the host has taken the interrupt, and its controller holds it back.
        intercepts.external_interrupt = not window
        intercepts.interrupt_if = not pin & Pin.EXTERNAL_INTERRUPT
        intercepts.interrupt_window = window
        intercepts.nmi = bool(pin & Pin.NMI)
        intercepts.nmi_virtual = bool(pin & Pin.VIRTUAL_NMI)
        intercepts.iret_keeps_nmi_blocked = bool(pin & Pin.NMI) and not pin & Pin.VIRTUAL_NMI
        intercepts.nmi_window = bool(proc & Proc.NMI_WINDOW)
        intercepts.hlt = bool(proc & Proc.HLT)
        intercepts.invlpg = bool(proc & Proc.INVLPG)
        intercepts.rdpmc = bool(proc & Proc.RDPMC)
        intercepts.rdtsc = bool(proc & Proc.RDTSC)
        intercepts.pause = bool(proc & Proc.PAUSE)
        intercepts.wbinvd = bool(secondary & Secondary.WBINVD)
        intercepts.vm_instructions = VM_INSTRUCTIONS
        intercepts.descriptor_table = DESCRIPTOR_INSTRUCTIONS if secondary & Secondary.DESCRIPTOR_TABLE else 0
        intercepts.task_switch = intercepts.cpuid = intercepts.invd = True
        intercepts.rdmsr = intercepts.wrmsr = True
        self._apply_bitmaps(proc)
        intercepts.exceptions = values[Field.EXCEPTION_BITMAP]
        intercepts.page_fault_mask = values[Field.PAGE_FAULT_ERROR_MASK]
        intercepts.page_fault_match = values[Field.PAGE_FAULT_ERROR_MATCH]
        intercepts.cr0_mask = values[Field.CR0_GUEST_HOST_MASK]
        intercepts.cr0_shadow = values[Field.CR0_READ_SHADOW]
        intercepts.cr4_mask = values[Field.CR4_GUEST_HOST_MASK]
        intercepts.cr4_shadow = values[Field.CR4_READ_SHADOW]
        intercepts.cr_write = bool(proc & Proc.CR3_LOAD) << 3
        intercepts.cr_read = bool(proc & Proc.CR3_STORE) << 3
        intercepts.cr3_targets = tuple(
            values[Field.CR3_TARGET0 + 2 * i] for i in range(values[Field.CR3_TARGET_COUNT])
        )
        intercepts.dr_first = True
        intercepts.dr_read = intercepts.dr_write = 0xFFFF if proc & Proc.MOV_DR else 0
        if not proc & Proc.TSC_OFFSETTING:
            processor.tsc_offset = 0
        processor.update_intercepts()
        self._apply_special(pin, proc, secondary)

    def _apply_bitmaps(self, proc: int) -> None:
        """I/O and MSR bitmaps: the processor takes a copy of those that are new to it."""
        values, intercepts, read = self._values, self._processor.intercepts, self.host_memory.read
        ports = bool(proc & Proc.IO_BITMAPS)
        intercepts.io = ports or bool(proc & Proc.UNCONDITIONAL_IO)
        intercepts.io_bitmap = None
        if ports:
            bitmap = read(values[Field.IO_BITMAP_A], 4096) + read(values[Field.IO_BITMAP_B], 4096)
            if bitmap != self._ports:
                self._ports = bitmap
            intercepts.io_bitmap = self._ports
        intercepts.msr_read = intercepts.msr_write = None
        if proc & Proc.MSR_BITMAPS:
            bitmap = read(values[Field.MSR_BITMAP], 4096)
            if bitmap != self._msrs:
                self._msrs = bitmap
                self._msr_read, self._msr_write = bitmap[:2048] + OTHER_MSRS, bitmap[2048:] + OTHER_MSRS
            intercepts.msr_read, intercepts.msr_write = self._msr_read, self._msr_write

    def _apply_special(self, pin: int, proc: int, secondary: int) -> None:
        values, views = self._values, self._vmcs.views
        entry, exit_ = values[Field.ENTRY_CONTROLS], values[Field.EXIT_CONTROLS]
        swapped = any(not entry & load or not exit_ & save for _, load, save in SWAPPED)
        for field, _, _ in SWAPPED:
            if swapped and field in views:  # from here on the VMCS has values of its own
                values[field] = views.pop(field).get()
            elif not swapped and field not in views:
                views[field] = self._views[field]
                views[field].set(values[field])
        self.special = bool(
            swapped
            or not pin & Pin.EXTERNAL_INTERRUPT
            or proc & Proc.MONITOR_TRAP
            or not secondary & Secondary.EPT
            or not secondary & Secondary.VPID
            or any(values[count] for _, count, _ in checks.MSR_AREAS)
        )

    # Injection

    def deliver(self, info: int) -> bool:
        """Inject by the VM-entry interruption information. False: an exit or an entry failure is recorded."""
        vmcs, values, processor = self._vmcs, self._values, self._processor
        kind = (info & INFO_TYPE) >> INFO_TYPE_SHIFT
        try:
            checks.check_interruption_info(vmcs, info)
        except checks.Refused as refused:
            values[Field.INSTRUCTION_ERROR] = refused.error
            raise EntryError(refused.error, f"VM entry refused: {refused}") from None
        try:
            checks.check_event_against_state(
                kind, processor.rflags, processor.interruptibility, values[Field.PIN_BASED_CONTROLS]
            )
        except checks.Refused as refused:
            self._recorder.record_entry_failure(refused)
            return False
        values[_ENTRY_INFO] = info & ~INFO_VALID
        self._shut_down = False
        if kind == EventKind.OTHER:  # a monitor-trap-flag exit is pending (section 27.6.2)
            self._recorder.table[MONITOR_TRAP](processor.exit)
            return False
        if not processor.interruptibility & Shadow.MOV_SS or kind < EventKind.SOFTWARE_INTERRUPT:
            # Section 27.7.3: an entry that is vectoring has no debug exceptions pending.
            values[_PENDING_DEBUG] = 0
        error = values[Field.ENTRY_EXCEPTION_ERROR] if info & INFO_ERROR_VALID else None
        processor.inject(kind, info & INFO_VECTOR, error, values[Field.ENTRY_INSTRUCTION_LENGTH])
        self._vectoring = True
        return True

    def deliver_pending_debug(self) -> None:
        """Section 27.7.3: a debug exception left by an instruction that the hypervisor emulated.

        Blocking by MOV SS holds it back for one more instruction, and shutdown for ever.
        """
        processor = self._processor
        if processor.interruptibility & Shadow.MOV_SS or processor.activity == checks.SHUTDOWN:
            return
        pending = self._values[_PENDING_DEBUG]
        self._values[_PENDING_DEBUG] = 0
        if not pending & (DR6_BS | checks.PENDING_DEBUG_ENABLED):
            return  # breakpoints that DR7 does not enable
        processor.set_debug_status(pending & (DR6_BS | 0xF))
        processor.inject(EventKind.HARDWARE_EXCEPTION, Vector.DB, None, 0)

    # What only some controls want

    def run(self, budget: int) -> int:
        """Run until there is a VM exit; what becomes of the rest of the processor's stops is decided here."""
        processor, values = self._processor, self._values
        step = bool(values[Field.PROCESSOR_CONTROLS] & Proc.MONITOR_TRAP)
        if step:
            budget = 0 if self._vectoring else 1
        self._vectoring = False
        kind = processor.run(budget)
        while not step and self._goes_on(kind, processor.exit):
            kind = processor.run(budget)
        return MONITOR_TRAP if step and kind == ExitKind.BUDGET else kind

    def _goes_on(self, kind: int, e: ExitInfo) -> bool:
        """Do what the hardware does inside the guest. False: it is an exit."""
        values = self._values
        if kind == ExitKind.EXTERNAL_INTERRUPT:
            if values[Field.PIN_BASED_CONTROLS] & Pin.EXTERNAL_INTERRUPT:
                return False
            vector = self.acknowledge()
            if vector >= 0:
                self._processor.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)
            return True
        if kind == ExitKind.GUEST_PHYSICAL and not e.vectoring and not checks.uses_ept(self._vmcs):
            return complete_on_open_bus(self._processor)
        return False

    def _load(self) -> bool:
        """Load what is not the processor's already (section 27.3.2), then the VM-entry MSRs (27.4).

        Under EPT the PDPTE registers are loaded from their fields, otherwise from the table at CR3 (27.3.2.4).
        False: an entry failure is recorded.
        """
        values, processor = self._values, self._processor
        secondary = values[Field.SECONDARY_CONTROLS]
        if not checks.uses_ept(self._vmcs) and not processor.load_pdptes():
            self._recorder.record_entry_failure(checks.Refused(EntryFailure.PDPTE, "a PDPTE at CR3"))
            return False
        if not (values[Field.PROCESSOR_CONTROLS] & Proc.SECONDARY and secondary & Secondary.VPID):
            processor.flush_tlb()
        entry = values[Field.ENTRY_CONTROLS]
        if Field.GUEST_EFER not in self._vmcs.views:
            for field, load, _ in SWAPPED:
                self._views[field].set(values[field] if entry & load else self._host[field])
            if not entry & Entry.LOAD_EFER:  # LMA and LME follow "IA-32e mode guest"
                processor.efer &= ~EFER_LONG
        address = values[Field.ENTRY_MSR_LOAD_ADDRESS]
        for number in range(values[Field.ENTRY_MSR_LOAD_COUNT]):
            if not self._load_msr(address + checks.MSR_ENTRY * number):
                self._recorder.record_msr_failure(number + 1)
                self._load_host(self._host[Field.GUEST_DR7])
                return False
        return True

    def _load_msr(self, address: int) -> bool:
        """One entry of an MSR-load area, into the processor."""
        entry = self.host_memory.read(address, checks.MSR_ENTRY)
        index, reserved = int.from_bytes(entry[:4], "little"), entry[4:8]
        # The bases of FS and GS have fields of their own; the TSC is the host's clock, and has an offset.
        barred = {MSR_FS_BASE, MSR_GS_BASE, MSR_TSC}
        if any(reserved) or index in barred or index in MSR_X2APIC:
            return False
        return self._processor.set_msr(index, int.from_bytes(entry[8:], "little"))

    def leave(self) -> None:
        """Complete an exit of a guest whose controls are special (sections 28.3, 28.4 and 28.6)."""
        values, exit_ = self._values, self._values[Field.EXIT_CONTROLS]
        if Field.GUEST_EFER not in self._vmcs.views:
            for field, _, save in SWAPPED:
                if exit_ & save:
                    values[field] = self._views[field].get()
        address = values[Field.EXIT_MSR_STORE_ADDRESS]
        for at in range(
            address, address + checks.MSR_ENTRY * values[Field.EXIT_MSR_STORE_COUNT], checks.MSR_ENTRY
        ):
            entry = self.host_memory.read(at, 8)
            value = self._processor.msr(int.from_bytes(entry[:4], "little"))
            if any(entry[4:]) or value is None:
                raise VmxAbort(VmxAbort.STORING_MSRS, "VMX abort: an MSR cannot be saved on a VM exit")
            self.host_memory.write(at + 8, value.to_bytes(8, "little"))
        self._load_host(DR7_ON_EXIT)

    def _load_host(self, dr7: int) -> None:
        """Take the host's registers (section 28.5), then the VM-exit MSRs (28.6)."""
        values, exit_, host = self._values, self._values[Field.EXIT_CONTROLS], self._host
        efer, pat = self._processor.efer | EFER_LONG, self._views[Field.GUEST_PAT].get()
        host[Field.GUEST_EFER] = values[Field.HOST_EFER] if exit_ & Exit.LOAD_EFER else efer
        host[Field.GUEST_PAT] = values[Field.HOST_PAT] if exit_ & Exit.LOAD_PAT else pat
        host[Field.GUEST_DR7] = dr7
        address = values[Field.EXIT_MSR_LOAD_ADDRESS]
        for number in range(values[Field.EXIT_MSR_LOAD_COUNT]):
            if not self._load_msr(address + checks.MSR_ENTRY * number):
                raise VmxAbort(VmxAbort.LOADING_HOST_MSRS, "VMX abort: a host MSR cannot be loaded")

    def was_shut_down(self) -> bool:
        """Whether the guest was in the shutdown state before it ran, where a triple fault is none."""
        return self._shut_down
