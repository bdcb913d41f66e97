"""One vCPU under VMX: VM entries, the record of each VM exit, and the first-level handler that reads it.

The two halves meet only in the VMCS. `_record_*` is the hardware: it sees the processor's raw exit and fills
the exit-information fields (SDM vol. 3 section 28.2). `_on_*` is the hypervisor: it sees those fields and
calls the common layer. Their order in this file is the order of a VM exit.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from hvcore.cpu.exitinfo import ExitInfo, ExitKind
from hvcore.cpu.processor import Processor
from hvcore.errors import EntryError
from hvcore.hvm import (
    CR0_PE,
    RFLAGS_IF,
    EventKind,
    ExitHandlers,
    GuestState,
    Register,
    SegmentState,
    Shadow,
    Vector,
)
from hvcore.vmx import checks
from hvcore.vmx.capabilities import ENTRY, EXIT, PIN, PROC, Entry, Exit, Pin, Proc, Secondary
from hvcore.vmx.exits import (
    ENTRY_FAILURE,
    EPT_FETCH,
    INFO_ERROR_VALID,
    INFO_TYPE,
    INFO_TYPE_SHIFT,
    INFO_VALID,
    INFO_VECTOR,
    IO_IN,
    IO_PORT_SHIFT,
    IO_REP,
    IO_SIZE,
    IO_STRING,
    STRING_ADDRESS_SIZE_SHIFT,
    STRING_SEGMENT_SHIFT,
    CrAccess,
    Reason,
    cr_qualification,
    dr_qualification,
    ept_qualification,
    interruption_info,
    io_qualification,
    string_info,
    task_switch_qualification,
)
from hvcore.vmx.vmcs import FIELDS, Field, InstructionError, View, Vmcs, VmFail

# Bound once: these are read on every exit.
_REASON: Final = Field.EXIT_REASON
_QUALIFICATION: Final = Field.EXIT_QUALIFICATION
_LENGTH: Final = Field.EXIT_INSTRUCTION_LENGTH
_INSTRUCTION_INFO: Final = Field.EXIT_INSTRUCTION_INFO
_INTERRUPTION: Final = Field.EXIT_INTERRUPTION_INFO
_VECTORING: Final = Field.IDT_VECTORING_INFO
_LINEAR: Final = Field.GUEST_LINEAR_ADDRESS
_PHYSICAL: Final = Field.GUEST_PHYSICAL_ADDRESS
_ENTRY_INFO: Final = Field.ENTRY_INTERRUPTION_INFO
_PENDING_DEBUG: Final = Field.GUEST_PENDING_DEBUG

DR6_BS: Final = 1 << 14
MSR_SYSENTER_CS: Final = 0x174
MSR_PAT: Final = 0x277
PAT_POWER_ON: Final = 0x0007_0406_0007_0406
EPT_POINTER: Final = 6 | (4 - 1) << 3 | 0x1000
"""Write-back, four levels, at a nominal host address: the processor's slots stand for the tables."""

PLAIN: Final[dict[int, int]] = {
    ExitKind.HLT: Reason.HLT,
    ExitKind.CPUID: Reason.CPUID,
    ExitKind.RDTSC: Reason.RDTSC,
    ExitKind.RDPMC: Reason.RDPMC,
    ExitKind.RDMSR: Reason.RDMSR,
    ExitKind.WRMSR: Reason.WRMSR,
    ExitKind.INVD: Reason.INVD,
    ExitKind.WBINVD: Reason.WBINVD,
    ExitKind.PAUSE: Reason.PAUSE,
}
"""Exits that record their reason and the instruction's length, and nothing else."""


class VmxBackend:
    """`HvmBackend` for Intel VT-x."""

    name = "vmx"

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._exit = processor.exit
        self._run = processor.run
        self.vmcs = Vmcs(views=_views(processor))
        self._values = self.vmcs.values
        self.host_pages: dict[int, bytes] = {}
        """Host-physical pages that fields point at (the I/O bitmaps), by address."""
        self._record: list[Callable[[ExitInfo], None]] = self._recorders()
        self._first_level: dict[int, Callable[[], None]] = {}
        self._handlers: ExitHandlers | None = None
        self.reset()

    # HvmBackend: life

    def attach(self, handlers: ExitHandlers) -> None:
        """Connect the common layer."""
        self._handlers = handlers
        self._port_in, self._port_out = handlers.port_in, handlers.port_out
        self._first_level = {
            Reason.EXCEPTION_OR_NMI: self._on_exception,
            Reason.EXTERNAL_INTERRUPT: handlers.external_interrupt,
            Reason.TRIPLE_FAULT: handlers.triple_fault,
            Reason.INTERRUPT_WINDOW: handlers.interrupt_window,
            Reason.TASK_SWITCH: self._on_task_switch,
            Reason.CPUID: partial(self._on_instruction, handlers.cpuid),
            Reason.HLT: self._on_hlt,
            Reason.INVD: self._skip,
            Reason.INVLPG: self._let_run,
            Reason.RDPMC: self._let_run,
            Reason.RDTSC: partial(self._on_instruction, handlers.rdtsc),
            Reason.CR_ACCESS: self._let_run,
            Reason.MOV_DR: self._let_run,
            Reason.IO_INSTRUCTION: self._on_io,
            Reason.RDMSR: partial(self._on_faulting_instruction, handlers.rdmsr),
            Reason.WRMSR: partial(self._on_faulting_instruction, handlers.wrmsr),
            Reason.PAUSE: self._skip,
            Reason.EPT_VIOLATION: self._on_ept_violation,
            Reason.WBINVD: self._skip,
        }

    def reset(self) -> None:
        """VMCLEAR, the processor's power-on state as guest state, and the controls this hypervisor wants."""
        self._processor.reset()
        vmcs = self.vmcs
        vmcs.clear()
        for encoding in FIELDS:
            view = vmcs.views.get(encoding)
            vmcs.values[encoding] = 0 if view is None else view.get()
        vmcs.write(Field.GUEST_PAT, PAT_POWER_ON)
        self._write_controls()
        self._write_host_state()

    def _write_controls(self) -> None:
        write = self.vmcs.write
        write(Field.PIN_BASED_CONTROLS, PIN.zero | Pin.EXTERNAL_INTERRUPT | Pin.NMI)
        write(Field.PROCESSOR_CONTROLS, PROC.zero | Proc.HLT | Proc.UNCONDITIONAL_IO | Proc.SECONDARY)
        write(Field.SECONDARY_CONTROLS, Secondary.EPT | Secondary.WBINVD | Secondary.UNRESTRICTED_GUEST)
        write(Field.EXIT_CONTROLS, EXIT.zero | Exit.HOST_64 | Exit.SAVE_EFER | Exit.LOAD_EFER)
        write(Field.ENTRY_CONTROLS, ENTRY.zero | Entry.LOAD_EFER)
        write(Field.EPT_POINTER, EPT_POINTER)
        write(Field.VMCS_LINK_POINTER, checks.LINK_NONE)

    def _write_host_state(self) -> None:
        """Describe a 64-bit host, as entry checks want one; nothing is ever loaded from it."""
        write = self.vmcs.write
        write(Field.HOST_CR0, 0x8005_0033)
        write(Field.HOST_CR4, 0x2020)
        write(Field.HOST_EFER, 0x500)
        write(Field.HOST_CS_SELECTOR, 0x08)
        write(Field.HOST_SS_SELECTOR, 0x10)
        write(Field.HOST_TR_SELECTOR, 0x18)

    # HvmBackend: entry

    def enter(self, budget: int) -> None:
        """VMLAUNCH or VMRESUME, and the exit that ends it."""
        values = self._values
        if self.vmcs.changed and not self._enter_checked():
            return
        info = values[_ENTRY_INFO]
        if info & INFO_VALID:
            if not self._deliver(info):
                return
        elif values[_PENDING_DEBUG]:
            self._deliver_pending_debug()
        self._record[self._run(budget)](self._exit)

    def launch(self) -> None:
        """VMLAUNCH's own check. Raises VmFail (4) if the VMCS is not clear."""
        if self.vmcs.launched:
            raise self._vmfail(InstructionError.LAUNCH_NOT_CLEAR, "VMLAUNCH of a VMCS that is not clear")

    def resume(self) -> None:
        """VMRESUME's own check. Raises VmFail (5) if the VMCS is not launched."""
        if not self.vmcs.launched:
            raise self._vmfail(
                InstructionError.RESUME_NOT_LAUNCHED, "VMRESUME of a VMCS that is not launched"
            )

    def _enter_checked(self) -> bool:
        """Run the checks of chapter 27. False: an entry failure is recorded. VMfail raises EntryError."""
        vmcs, values = self.vmcs, self._values
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
            self._record_entry_failure(refused)
            return False
        if not vmcs.current:
            vmcs.load()
        vmcs.launched = True
        vmcs.changed = False
        self._apply_controls()
        return True

    def _apply_controls(self) -> None:
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
        intercepts.cr_write = bool(proc & Proc.CR3_LOAD) << 3
        intercepts.cr_read = bool(proc & Proc.CR3_STORE) << 3
        intercepts.dr_read = intercepts.dr_write = 0xFFFF if proc & Proc.MOV_DR else 0
        self._processor.update_intercepts()

    def _deliver(self, info: int) -> bool:
        """Inject by the VM-entry interruption information. False: the entry failed."""
        vmcs, values, processor = self.vmcs, self._values, self._processor
        kind = (info & INFO_TYPE) >> INFO_TYPE_SHIFT
        try:
            checks.check_interruption_info(vmcs, info)
        except checks.Refused as refused:
            values[Field.INSTRUCTION_ERROR] = refused.error
            raise EntryError(refused.error, f"VM entry refused: {refused}") from None
        try:
            checks.check_event_against_state(kind, processor.rflags, processor.interruptibility)
        except checks.Refused as refused:
            self._record_entry_failure(refused)
            return False
        error = values[Field.ENTRY_EXCEPTION_ERROR] if info & INFO_ERROR_VALID else None
        processor.inject(kind, info & INFO_VECTOR, error, values[Field.ENTRY_INSTRUCTION_LENGTH])
        values[_ENTRY_INFO] = info & ~INFO_VALID
        return True

    def _deliver_pending_debug(self) -> None:
        """Section 27.7.3: a single-step trap left by an instruction that the hypervisor emulated."""
        pending = self._values[_PENDING_DEBUG]
        self._values[_PENDING_DEBUG] = 0
        processor = self._processor
        processor.set_dr(6, processor.dr(6) | pending & (DR6_BS | 0xF))
        processor.inject(EventKind.HARDWARE_EXCEPTION, Vector.DB, None, 0)

    # The hardware's half of an exit: fill the record

    def _recorders(self) -> list[Callable[[ExitInfo], None]]:
        table: dict[int, Callable[[ExitInfo], None]] = dict.fromkeys(PLAIN, self._record_plain)
        table |= {
            ExitKind.BUDGET: self._record_external_interrupt,
            ExitKind.EXTERNAL_INTERRUPT: self._record_external_interrupt,
            ExitKind.INTERRUPT_WINDOW: self._record_interrupt_window,
            ExitKind.IO: self._record_io,
            ExitKind.EXCEPTION: self._record_exception,
            ExitKind.TRIPLE_FAULT: self._record_triple_fault,
            ExitKind.GUEST_PHYSICAL: self._record_ept_violation,
            ExitKind.CR_READ: self._record_cr_read,
            ExitKind.CR_WRITE: self._record_cr_write,
            ExitKind.LMSW: self._record_lmsw,
            ExitKind.CLTS: self._record_clts,
            ExitKind.DR_ACCESS: self._record_dr_access,
            ExitKind.INVLPG: self._record_invlpg,
            ExitKind.TASK_SWITCH: self._record_task_switch,
        }
        return [table.get(kind, self._record_unknown) for kind in range(max(table) + 1)]

    def _fill(self, reason: int, qualification: int, length: int) -> None:
        values = self._values
        values[_REASON] = reason
        values[_QUALIFICATION] = qualification
        values[_LENGTH] = length
        values[_INTERRUPTION] = 0
        values[_VECTORING] = 0

    def _record_io(self, e: ExitInfo) -> None:
        values = self._values
        values[_REASON] = 30  # Reason.IO_INSTRUCTION
        values[_LENGTH] = e.instruction_length
        values[_INTERRUPTION] = 0
        values[_VECTORING] = 0
        # io_qualification(), written out on the hot path
        values[_QUALIFICATION] = e.size - 1 | e.read << 3 | e.immediate << 6 | e.port << 16
        if e.string:
            values[_QUALIFICATION] = io_qualification(e.port, e.size, e.read, True, e.rep, e.immediate)
            values[_LINEAR] = e.linear_address
            values[_INSTRUCTION_INFO] = string_info(e.address_size, 0 if e.read else e.segment)

    def _record_plain(self, e: ExitInfo) -> None:
        self._fill(PLAIN[e.kind], 0, e.instruction_length)

    def _record_external_interrupt(self, _: ExitInfo) -> None:
        # No "acknowledge interrupt on exit", so no vector. A budget that ran out is the host's own timer.
        self._fill(Reason.EXTERNAL_INTERRUPT, 0, 0)

    def _record_interrupt_window(self, _: ExitInfo) -> None:
        self._fill(Reason.INTERRUPT_WINDOW, 0, 0)

    def _record_triple_fault(self, e: ExitInfo) -> None:
        self._fill(Reason.TRIPLE_FAULT, 0, 0)
        self._record_vectoring(e)

    def _record_exception(self, e: ExitInfo) -> None:
        qualification = e.fault_address if e.vector in {Vector.DB, Vector.PF} else 0
        self._fill(Reason.EXCEPTION_OR_NMI, qualification, e.instruction_length)
        values = self._values
        software = e.vector in {3, 4}
        kind = EventKind.SOFTWARE_EXCEPTION if software else EventKind.HARDWARE_EXCEPTION
        values[_INTERRUPTION] = interruption_info(kind, e.vector, e.has_error_code)
        values[Field.EXIT_INTERRUPTION_ERROR] = e.error_code if e.has_error_code else 0
        self._record_vectoring(e)

    def _record_ept_violation(self, e: ExitInfo) -> None:
        # No slot of guest memory means no EPT entry, which permits nothing. The length and the bytes of the
        # instruction are not recorded for EPT violations.
        qualification = ept_qualification(e.read, e.write, e.fetch, 0, e.linear_valid)
        self._fill(Reason.EPT_VIOLATION, qualification, 0)
        self._values[_PHYSICAL] = e.guest_physical
        if e.linear_valid:
            self._values[_LINEAR] = e.linear_address
        self._record_vectoring(e)

    def _record_cr_read(self, e: ExitInfo) -> None:
        self._fill(
            Reason.CR_ACCESS, cr_qualification(e.number, CrAccess.MOV_FROM, e.gpr), e.instruction_length
        )

    def _record_cr_write(self, e: ExitInfo) -> None:
        self._fill(Reason.CR_ACCESS, cr_qualification(e.number, CrAccess.MOV_TO, e.gpr), e.instruction_length)

    def _record_lmsw(self, e: ExitInfo) -> None:
        qualification = cr_qualification(0, CrAccess.LMSW, 0, e.data & 0xFFFF, e.linear_valid)
        self._fill(Reason.CR_ACCESS, qualification, e.instruction_length)

    def _record_clts(self, e: ExitInfo) -> None:
        self._fill(Reason.CR_ACCESS, cr_qualification(0, CrAccess.CLTS), e.instruction_length)

    def _record_dr_access(self, e: ExitInfo) -> None:
        self._fill(Reason.MOV_DR, dr_qualification(e.number, e.read, e.gpr), e.instruction_length)

    def _record_invlpg(self, e: ExitInfo) -> None:
        self._fill(Reason.INVLPG, e.linear_address, e.instruction_length)
        self._values[_LINEAR] = e.linear_address

    def _record_task_switch(self, e: ExitInfo) -> None:
        self._fill(Reason.TASK_SWITCH, task_switch_qualification(e.number, e.source), e.instruction_length)
        self._record_vectoring(e)

    def _record_vectoring(self, e: ExitInfo) -> None:
        """Record the delivery that this exit interrupted, if any (section 28.2.4)."""
        if e.vectoring:
            values, kind = self._values, e.vectoring_kind
            values[_VECTORING] = interruption_info(kind, e.vectoring_vector, e.vectoring_has_error_code)
            values[Field.IDT_VECTORING_ERROR] = e.vectoring_error_code if e.vectoring_has_error_code else 0
            if kind >= EventKind.SOFTWARE_INTERRUPT:
                values[_LENGTH] = e.instruction_length

    def _record_entry_failure(self, refused: checks.Refused) -> None:
        self._fill(Reason.INVALID_GUEST_STATE | ENTRY_FAILURE, refused.error, 0)
        self._failure = str(refused)

    def _record_unknown(self, e: ExitInfo) -> None:
        raise AssertionError(f"the processor stopped with kind {e.kind}, which no control asks for")

    # The hypervisor's half: decode the record

    def handle(self) -> None:
        """First-level handler: by the basic exit reason, from the VMCS alone."""
        handler = self._first_level.get(self._values[_REASON])
        if handler is None:
            self._on_unexpected()
        else:
            handler()

    def _on_io(self) -> None:
        values = self._values
        qualification = values[_QUALIFICATION]
        port, size = qualification >> IO_PORT_SHIFT, (qualification & IO_SIZE) + 1
        if not qualification & IO_STRING:
            if qualification & IO_IN:
                self._port_in(port, size)
            else:
                self._port_out(port, size)
            processor = self._processor
            if processor.skip(processor.rip + values[_LENGTH]):
                values[_PENDING_DEBUG] |= checks.PENDING_DEBUG_BS
            return
        info = values[_INSTRUCTION_INFO]
        assert self._handlers is not None
        if self._handlers.port_string(
            port,
            size,
            bool(qualification & IO_IN),
            bool(qualification & IO_REP),
            info >> STRING_SEGMENT_SHIFT & 7,
            2 << (info >> STRING_ADDRESS_SIZE_SHIFT & 7),
        ):
            self.skip_instruction(values[_LENGTH])

    def _on_ept_violation(self) -> None:
        assert self._handlers is not None
        self._reinject_interrupted()
        self._handlers.mmio(self._values[_PHYSICAL], b"", bool(self._values[_QUALIFICATION] & EPT_FETCH))

    def _on_exception(self) -> None:
        """Reflect an exception of the exception bitmap: it belongs to the guest all the same."""
        values = self._values
        info = values[_INTERRUPTION]
        vector, kind = info & INFO_VECTOR, (info & INFO_TYPE) >> INFO_TYPE_SHIFT
        if vector == Vector.PF:
            self._processor.set_cr(2, values[_QUALIFICATION])
        error = values[Field.EXIT_INTERRUPTION_ERROR] if info & INFO_ERROR_VALID else None
        self.inject(kind, vector, error, values[_LENGTH])

    def _on_hlt(self) -> None:
        self._skip()
        assert self._handlers is not None
        self._handlers.halt()

    def _on_instruction(self, emulate: Callable[[], None]) -> None:
        emulate()
        self._skip()

    def _on_faulting_instruction(self, emulate: Callable[[], bool]) -> None:
        if emulate():
            self._skip()

    def _let_run(self) -> None:
        """Let the intercepted instruction run: the processor knows its faults and effects best."""
        assert self._handlers is not None
        intercepts = self._processor.intercepts
        intercepts.cr_read = intercepts.cr_write = intercepts.dr_read = intercepts.dr_write = 0
        intercepts.invlpg = intercepts.rdpmc = False
        self._processor.update_intercepts()
        self._handlers.emulate()
        self._apply_controls()

    def _on_task_switch(self) -> None:
        """Every task switch exits, once its TSS has been found in order (section 26.4.2)."""
        assert self._handlers is not None
        values = self._values
        qualification, info = values[_QUALIFICATION], values[_VECTORING]
        external, error = False, None
        if info & INFO_VALID:
            external = (info & INFO_TYPE) >> INFO_TYPE_SHIFT < EventKind.SOFTWARE_INTERRUPT
            error = values[Field.IDT_VECTORING_ERROR] if info & INFO_ERROR_VALID else None
        self._handlers.task_switch(
            qualification & 0xFFFF,
            qualification >> 30,
            self._processor.rip + values[_LENGTH],
            external,
            error,
        )

    def _on_unexpected(self) -> None:
        assert self._handlers is not None
        reason = self._values[_REASON]
        if reason & ENTRY_FAILURE:
            self._handlers.crash(f"VM entry failed: {self._failure}")
        else:
            self._handlers.crash(f"VM exit with reason {reason}, which no control asks for")

    def _reinject_interrupted(self) -> None:
        """Inject the event whose delivery the exit interrupted again (section 32.7.1.2)."""
        values = self._values
        info = values[_VECTORING]
        if info & INFO_VALID:
            values[_ENTRY_INFO] = info
            values[Field.ENTRY_EXCEPTION_ERROR] = values[Field.IDT_VECTORING_ERROR]
            values[Field.ENTRY_INSTRUCTION_LENGTH] = values[_LENGTH]

    # HvmBackend: what the common layer asks for

    def _skip(self) -> None:
        self.skip_instruction(self._values[_LENGTH])

    def skip_instruction(self, length: int) -> None:
        """Move RIP on, end blocking by STI and MOV SS; with TF set leave a debug exception pending."""
        processor = self._processor
        if processor.skip(processor.rip + length):
            self._values[_PENDING_DEBUG] |= checks.PENDING_DEBUG_BS

    def inject(self, kind: int, vector: int, error: int | None, length: int) -> None:
        """By the VM-entry interruption-information fields."""
        values = self._values
        if not self._processor.cr(0) & CR0_PE:
            error = None  # real mode pushes none, and VM entry refuses one
        values[_ENTRY_INFO] = interruption_info(kind, vector, error is not None)
        values[Field.ENTRY_EXCEPTION_ERROR] = error or 0
        values[Field.ENTRY_INSTRUCTION_LENGTH] = length

    def event_pending(self) -> bool:
        """Tell whether the VM-entry interruption information is valid, or a debug trap pending."""
        values = self._values
        return bool(values[_ENTRY_INFO] & INFO_VALID or values[_PENDING_DEBUG])

    def interruptible(self) -> bool:
        """IF, no blocking, nothing pending."""
        processor = self._processor
        return bool(
            processor.rflags & RFLAGS_IF
            and not processor.interruptibility & (Shadow.STI | Shadow.MOV_SS)
            and not self.event_pending()
        )

    def request_interrupt_window(self, wanted: bool) -> None:
        """Set or clear interrupt-window exiting."""
        controls = self._values[Field.PROCESSOR_CONTROLS]
        if bool(controls & Proc.INTERRUPT_WINDOW) != wanted:
            self._values[Field.PROCESSOR_CONTROLS] = controls ^ Proc.INTERRUPT_WINDOW
            self._apply_window(wanted)

    def _apply_window(self, wanted: bool) -> None:
        intercepts = self._processor.intercepts
        intercepts.interrupt_window = wanted
        intercepts.external_interrupt = not wanted and bool(
            self._values[Field.PIN_BASED_CONTROLS] & Pin.EXTERNAL_INTERRUPT
        )
        self._processor.update_intercepts()

    def interrupt_shadow(self) -> int:
        """Guest interruptibility state."""
        return self.vmcs.read(Field.GUEST_INTERRUPTIBILITY)

    def set_interrupt_shadow(self, shadow: int) -> None:
        """Guest interruptibility state."""
        self.vmcs.write(Field.GUEST_INTERRUPTIBILITY, shadow)

    def save(self) -> GuestState:
        """From the guest-state area."""
        read, processor = self.vmcs.read, self._processor
        gpr = [processor.gpr(i) for i in range(16)]
        gpr[Register.RSP] = read(Field.GUEST_RSP)
        return GuestState(
            gpr=gpr,
            rip=read(Field.GUEST_RIP),
            rflags=read(Field.GUEST_RFLAGS),
            cr0=read(Field.GUEST_CR0),
            cr2=processor.cr(2),
            cr3=read(Field.GUEST_CR3),
            cr4=read(Field.GUEST_CR4),
            efer=read(Field.GUEST_EFER),
            segments=[
                SegmentState(
                    read(Field.GUEST_ES_SELECTOR + 2 * i),
                    read(Field.GUEST_ES_BASE + 2 * i),
                    read(Field.GUEST_ES_LIMIT + 2 * i),
                    read(Field.GUEST_ES_RIGHTS + 2 * i),
                )
                for i in range(8)
            ],
            gdtr=(read(Field.GUEST_GDTR_BASE), read(Field.GUEST_GDTR_LIMIT)),
            idtr=(read(Field.GUEST_IDTR_BASE), read(Field.GUEST_IDTR_LIMIT)),
            interruptibility=read(Field.GUEST_INTERRUPTIBILITY),
            activity=read(Field.GUEST_ACTIVITY),
        )

    def load(self, state: GuestState) -> None:
        """Into the guest-state area, which is checked on the next entry."""
        write, processor = self.vmcs.write, self._processor
        for i, value in enumerate(state.gpr):
            processor.set_gpr(i, value)
        processor.set_cr(2, state.cr2)
        for field, value in (
            (Field.GUEST_CR0, state.cr0),
            (Field.GUEST_CR3, state.cr3),
            (Field.GUEST_CR4, state.cr4),
            (Field.GUEST_EFER, state.efer),
            (Field.GUEST_GDTR_BASE, state.gdtr[0]),
            (Field.GUEST_GDTR_LIMIT, state.gdtr[1]),
            (Field.GUEST_IDTR_BASE, state.idtr[0]),
            (Field.GUEST_IDTR_LIMIT, state.idtr[1]),
            (Field.GUEST_RSP, state.gpr[Register.RSP]),
            (Field.GUEST_RIP, state.rip),
            (Field.GUEST_RFLAGS, state.rflags),
            (Field.GUEST_INTERRUPTIBILITY, state.interruptibility),
            (Field.GUEST_ACTIVITY, state.activity),
        ):
            write(field, value)
        for i, segment in enumerate(state.segments):
            write(Field.GUEST_ES_SELECTOR + 2 * i, segment.selector)
            write(Field.GUEST_ES_BASE + 2 * i, segment.base)
            write(Field.GUEST_ES_LIMIT + 2 * i, segment.limit)
            write(Field.GUEST_ES_RIGHTS + 2 * i, segment.attributes)

    def describe(self) -> dict[str, str]:
        """Return the exit-information fields by their names in `Field`."""
        fields = (
            _REASON,
            _QUALIFICATION,
            _INTERRUPTION,
            _VECTORING,
            _LENGTH,
            _LINEAR,
            _PHYSICAL,
            Field.INSTRUCTION_ERROR,
        )
        return {FIELDS[field].lower(): hex(self._values[field]) for field in fields}

    def _vmfail(self, error: int, text: str) -> VmFail:
        self._values[Field.INSTRUCTION_ERROR] = error
        return VmFail(error, text)


def _views(p: Processor) -> dict[int, View]:
    """Guest-state fields that live in the processor while the VMCS is current."""
    views = {
        Field.GUEST_CR0: View(partial(p.cr, 0), partial(p.set_cr, 0)),
        Field.GUEST_CR3: View(partial(p.cr, 3), partial(p.set_cr, 3)),
        Field.GUEST_CR4: View(partial(p.cr, 4), partial(p.set_cr, 4)),
        Field.GUEST_EFER: View(lambda: p.efer, lambda value: setattr(p, "efer", value)),
        Field.GUEST_DR7: View(partial(p.dr, 7), partial(p.set_dr, 7)),
        Field.GUEST_RSP: View(partial(p.gpr, Register.RSP), partial(p.set_gpr, Register.RSP)),
        Field.GUEST_RIP: View(lambda: p.rip, lambda value: setattr(p, "rip", value)),
        Field.GUEST_RFLAGS: View(lambda: p.rflags, lambda value: setattr(p, "rflags", value)),
        Field.GUEST_INTERRUPTIBILITY: View(
            lambda: p.interruptibility, lambda value: setattr(p, "interruptibility", value)
        ),
        Field.GUEST_ACTIVITY: View(lambda: p.activity, lambda value: setattr(p, "activity", value)),
        Field.GUEST_SYSENTER_CS: _msr_view(p, MSR_SYSENTER_CS),
        Field.GUEST_SYSENTER_ESP: _msr_view(p, MSR_SYSENTER_CS + 1),
        Field.GUEST_SYSENTER_EIP: _msr_view(p, MSR_SYSENTER_CS + 2),
        Field.GUEST_GDTR_BASE: View(lambda: p.gdtr[0], lambda value: p.set_gdtr(value, p.gdtr[1])),
        Field.GUEST_GDTR_LIMIT: View(lambda: p.gdtr[1], lambda value: p.set_gdtr(p.gdtr[0], value)),
        Field.GUEST_IDTR_BASE: View(lambda: p.idtr[0], lambda value: p.set_idtr(value, p.idtr[1])),
        Field.GUEST_IDTR_LIMIT: View(lambda: p.idtr[1], lambda value: p.set_idtr(p.idtr[0], value)),
    }
    for i in range(8):
        views[Field.GUEST_ES_SELECTOR + 2 * i] = _segment_view(p, i, "selector")
        views[Field.GUEST_ES_BASE + 2 * i] = _segment_view(p, i, "base")
        views[Field.GUEST_ES_LIMIT + 2 * i] = _segment_view(p, i, "limit")
        views[Field.GUEST_ES_RIGHTS + 2 * i] = _segment_view(p, i, "attributes")
    return views


def _msr_view(processor: Processor, index: int) -> View:
    def write(value: int) -> None:
        processor.set_msr(index, value)

    return View(lambda: processor.msr(index) or 0, write)


def _segment_view(processor: Processor, index: int, part: str) -> View:
    def write(value: int) -> None:
        segment = processor.segment(index)
        parts = {
            "selector": segment.selector,
            "base": segment.base,
            "limit": segment.limit,
            "attributes": segment.attributes,
        }
        parts[part] = value
        processor.set_segment(index, parts["selector"], parts["base"], parts["limit"], parts["attributes"])

    return View(lambda: int(getattr(processor.segment(index), part)), write)
