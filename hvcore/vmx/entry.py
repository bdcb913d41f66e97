"""VM entry: the checks of SDM vol. 3 chapter 27, the controls put into force, and event injection."""

from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.errors import EntryError
from hvcore.hvm import EventKind, Vector
from hvcore.vmx import checks
from hvcore.vmx.capabilities import Pin, Proc
from hvcore.vmx.exits import INFO_ERROR_VALID, INFO_TYPE, INFO_TYPE_SHIFT, INFO_VALID, INFO_VECTOR
from hvcore.vmx.record import Recorder
from hvcore.vmx.vmcs import Field, Vmcs

_ENTRY_INFO: Final = Field.ENTRY_INTERRUPTION_INFO
_PENDING_DEBUG: Final = Field.GUEST_PENDING_DEBUG
DR6_BS: Final = 1 << 14


class VmEntry:
    """What VMLAUNCH and VMRESUME do with one VMCS before the guest's first instruction."""

    def __init__(self, processor: Processor, vmcs: Vmcs, recorder: Recorder) -> None:
        self._processor = processor
        self._vmcs = vmcs
        self._values = vmcs.values
        self._recorder = recorder
        self.host_pages: dict[int, bytes] = {}
        """Host-physical pages that fields point at (the I/O bitmaps), by address."""

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
        vmcs.launched = True
        vmcs.changed = False
        self.apply_controls()
        return True

    def apply_controls(self) -> None:
        """Turn the VM-execution controls into the processor's intercepts."""
        values, intercepts = self._values, self._processor.intercepts
        pin, proc = values[Field.PIN_BASED_CONTROLS], values[Field.PROCESSOR_CONTROLS]
        window = bool(proc & Proc.INTERRUPT_WINDOW)
        # While the window is awaited the host has taken the interrupt, and its controller holds it back.
        intercepts.external_interrupt = bool(pin & Pin.EXTERNAL_INTERRUPT) and not window
        intercepts.interrupt_window = window
        intercepts.hlt = bool(proc & Proc.HLT)
        intercepts.invlpg = bool(proc & Proc.INVLPG)
        intercepts.rdpmc = bool(proc & Proc.RDPMC)
        intercepts.rdtsc = bool(proc & Proc.RDTSC)
        intercepts.pause = bool(proc & Proc.PAUSE)
        intercepts.task_switch = True
        # The processor stops on WBINVD when it does on INVD, which always exits.
        intercepts.cpuid = intercepts.invd = intercepts.rdmsr = intercepts.wrmsr = True
        bitmaps = bool(proc & Proc.IO_BITMAPS)
        intercepts.io = bitmaps or bool(proc & Proc.UNCONDITIONAL_IO)
        intercepts.io_bitmap = (
            self.host_pages[values[Field.IO_BITMAP_A]] + self.host_pages[values[Field.IO_BITMAP_B]]
            if bitmaps
            else None
        )
        intercepts.exceptions = values[Field.EXCEPTION_BITMAP]
        intercepts.page_fault_mask = values[Field.PAGE_FAULT_ERROR_MASK]
        intercepts.page_fault_match = values[Field.PAGE_FAULT_ERROR_MATCH]
        intercepts.cr0_mask = values[Field.CR0_GUEST_HOST_MASK]
        intercepts.cr0_shadow = values[Field.CR0_READ_SHADOW]
        intercepts.cr4_mask = values[Field.CR4_GUEST_HOST_MASK]
        intercepts.cr4_shadow = values[Field.CR4_READ_SHADOW]
        intercepts.cr_write = bool(proc & Proc.CR3_LOAD) << 3
        intercepts.cr_read = bool(proc & Proc.CR3_STORE) << 3
        intercepts.dr_read = intercepts.dr_write = 0xFFFF if proc & Proc.MOV_DR else 0
        if not proc & Proc.TSC_OFFSETTING:
            self._processor.tsc_offset = 0
        self._processor.update_intercepts()

    def deliver(self, info: int) -> bool:
        """Inject by the VM-entry interruption information. False: the entry failed."""
        vmcs, values, processor = self._vmcs, self._values, self._processor
        kind = (info & INFO_TYPE) >> INFO_TYPE_SHIFT
        try:
            checks.check_interruption_info(vmcs, info)
        except checks.Refused as refused:
            values[Field.INSTRUCTION_ERROR] = refused.error
            raise EntryError(refused.error, f"VM entry refused: {refused}") from None
        try:
            checks.check_event_against_state(kind, processor.rflags, processor.interruptibility)
        except checks.Refused as refused:
            self._recorder.record_entry_failure(refused)
            return False
        error = values[Field.ENTRY_EXCEPTION_ERROR] if info & INFO_ERROR_VALID else None
        processor.inject(kind, info & INFO_VECTOR, error, values[Field.ENTRY_INSTRUCTION_LENGTH])
        values[_ENTRY_INFO] = info & ~INFO_VALID
        return True

    def deliver_pending_debug(self) -> None:
        """Section 27.7.3: a single-step trap left by an instruction that the hypervisor emulated."""
        pending = self._values[_PENDING_DEBUG]
        self._values[_PENDING_DEBUG] = 0
        processor = self._processor
        processor.set_dr(6, processor.dr(6) | pending & (DR6_BS | 0xF))
        processor.inject(EventKind.HARDWARE_EXCEPTION, Vector.DB, None, 0)
