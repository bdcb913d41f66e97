# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""The hypervisor's half of a VM exit: decode the record in the VMCS, and call the common layer.

Nothing here sees the processor's raw exit: only the exit-information fields (SDM vol. 3 section 28.2).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import cython

from hvcore.hvm import SHUTDOWN, EventKind, ExitHandlers, Shadow, Vector, exception_during
from hvcore.vmx import checks
from hvcore.vmx.exits import (
    CR_NUMBER,
    CR_TYPE_SHIFT,
    ENTRY_FAILURE,
    EPT_FETCH,
    EPT_NMI_UNBLOCKING,
    INFO_ERROR_VALID,
    INFO_NMI_UNBLOCKING,
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
)
from hvcore.vmx.vmcs import Field

if TYPE_CHECKING:
    from hvcore.vmx.backend import VmxBackend

# C numbers where this is compiled.
_QUALIFICATION = cython.declare(cython.int, Field.EXIT_QUALIFICATION)
_LENGTH = cython.declare(cython.int, Field.EXIT_INSTRUCTION_LENGTH)
_INSTRUCTION_INFO = cython.declare(cython.int, Field.EXIT_INSTRUCTION_INFO)
_STRING = cython.declare(cython.ulonglong, IO_STRING)
_IN = cython.declare(cython.ulonglong, IO_IN)
_SIZE = cython.declare(cython.ulonglong, IO_SIZE)
_PORT_SHIFT = cython.declare(cython.int, IO_PORT_SHIFT)

_REASON: Final = Field.EXIT_REASON
_INTERRUPTION: Final = Field.EXIT_INTERRUPTION_INFO
_VECTORING: Final = Field.IDT_VECTORING_INFO
_PHYSICAL: Final = Field.GUEST_PHYSICAL_ADDRESS
_ENTRY_INFO: Final = Field.ENTRY_INTERRUPTION_INFO
_PENDING_DEBUG: Final = Field.GUEST_PENDING_DEBUG

SHADOWS: Final = {0: Field.CR0_READ_SHADOW, 4: Field.CR4_READ_SHADOW}


class FirstLevel:
    """The first-level exit handlers of one vCPU, by basic exit reason in `table`."""

    def __init__(self, backend: "VmxBackend", handlers: ExitHandlers) -> None:
        self._backend = backend
        self._processor = backend.processor
        self._entry = backend.entry
        self._values = backend.vmcs.values
        self._handlers = handlers
        self._port_in, self._port_out = handlers.port_in, handlers.port_out
        self.table: dict[int, Callable[[], object]] = {
            Reason.EXCEPTION_OR_NMI: self._on_exception,
            Reason.EXTERNAL_INTERRUPT: self._on_external_interrupt,
            Reason.TRIPLE_FAULT: handlers.triple_fault,
            Reason.INTERRUPT_WINDOW: handlers.interrupt_window,
            Reason.NMI_WINDOW: handlers.nmi_window,
            Reason.MONITOR_TRAP: self._go_on,
            Reason.GDTR_IDTR_ACCESS: self._let_run,
            Reason.LDTR_TR_ACCESS: self._let_run,
            Reason.TASK_SWITCH: self._on_task_switch,
            Reason.CPUID: partial(self._on_instruction, handlers.cpuid),
            Reason.HLT: self._on_hlt,
            Reason.INVD: self._skip,
            Reason.INVLPG: self._let_run,
            Reason.RDPMC: self._let_run,
            Reason.RDTSC: partial(self._on_instruction, handlers.rdtsc),
            Reason.CR_ACCESS: self._on_cr_access,
            Reason.MOV_DR: self._let_run,
            Reason.IO_INSTRUCTION: self.on_io,
            Reason.RDMSR: partial(self._on_faulting_instruction, handlers.rdmsr),
            Reason.WRMSR: partial(self._on_faulting_instruction, handlers.wrmsr),
            Reason.PAUSE: self._skip,
            Reason.EPT_VIOLATION: self._on_ept_violation,
            Reason.WBINVD: self._skip,
        }
        for reason in (*range(Reason.VMCALL, Reason.VMXON + 1), Reason.INVEPT, Reason.INVVPID):
            self.table[reason] = self._on_vmx_instruction

    def on_io(self) -> None:
        """IN, OUT, INS, OUTS: reason 30."""
        values = self._values
        qualification = values[_QUALIFICATION]
        port, size = qualification >> _PORT_SHIFT, (qualification & _SIZE) + 1
        if not qualification & _STRING:
            if qualification & _IN:
                self._port_in(port, size)
            else:
                self._port_out(port, size)
            if self._processor.skip_by(values[_LENGTH]):
                values[_PENDING_DEBUG] |= checks.PENDING_DEBUG_BS
            return
        info = values[_INSTRUCTION_INFO]
        if self._handlers.port_string(
            port,
            size,
            bool(qualification & IO_IN),
            bool(qualification & IO_REP),
            info >> STRING_SEGMENT_SHIFT & 7,
            2 << (info >> STRING_ADDRESS_SIZE_SHIFT & 7),
        ):
            self._backend.skip_instruction(values[_LENGTH])

    def _on_ept_violation(self) -> None:
        self._reinject_interrupted()
        if self._values[_QUALIFICATION] & EPT_NMI_UNBLOCKING:
            self._processor.interruptibility |= Shadow.NMI
        self._handlers.mmio(self._values[_PHYSICAL], b"", bool(self._values[_QUALIFICATION] & EPT_FETCH))

    def _on_exception(self) -> None:
        """Reflect an exception of the exception bitmap: it belongs to the guest all the same."""
        values = self._values
        info = values[_INTERRUPTION]
        vector, kind = info & INFO_VECTOR, (info & INFO_TYPE) >> INFO_TYPE_SHIFT
        processor = self._processor
        if kind == EventKind.NMI:
            self._handlers.nmi()
            return
        if vector == Vector.PF:
            processor.set_cr(2, values[_QUALIFICATION])
        elif vector == Vector.DB:
            processor.set_debug_status(values[_QUALIFICATION])
        if info & INFO_NMI_UNBLOCKING:  # the IRET is to be executed again, in the NMI handler
            processor.interruptibility |= Shadow.NMI
        error = values[Field.EXIT_INTERRUPTION_ERROR] if info & INFO_ERROR_VALID else None
        interrupted = values[_VECTORING]
        if interrupted & INFO_VALID and kind == EventKind.HARDWARE_EXCEPTION:
            hardware = (interrupted & INFO_TYPE) >> INFO_TYPE_SHIFT == EventKind.HARDWARE_EXCEPTION
            reflected = exception_during(interrupted & INFO_VECTOR if hardware else None, vector)
            if reflected == SHUTDOWN:
                self._handlers.triple_fault()
                return
            vector, error = reflected, 0 if reflected == Vector.DF else error
        self._backend.inject(kind, vector, error, values[_LENGTH])

    def _on_external_interrupt(self) -> None:
        """Take the processor back; a guest that waits is not given it again before there is a reason."""
        activity = self._processor.activity
        if activity == checks.HLT:
            self._handlers.halt()
        elif activity == checks.SHUTDOWN:
            self._handlers.triple_fault()
        else:
            self._handlers.external_interrupt()

    def _on_vmx_instruction(self) -> None:
        """Refuse: the guest has no VMX, so far as CPUID says, and there are no hypercalls."""
        self._backend.inject(EventKind.HARDWARE_EXCEPTION, Vector.UD, None, 0)

    def _go_on(self) -> None:
        """Do nothing: the guest was only to be seen."""

    def _on_hlt(self) -> None:
        self._skip()
        self._handlers.halt()

    def _on_instruction(self, emulate: Callable[[], None]) -> None:
        emulate()
        self._skip()

    def _on_faulting_instruction(self, emulate: Callable[[], bool]) -> None:
        if emulate():
            self._skip()

    def _on_cr_access(self) -> None:
        """Let the guest have what it asked for, real and in the read shadows that hide the host's bits."""
        values, processor = self._values, self._processor
        rip, number = processor.rip, values[_QUALIFICATION] & CR_NUMBER
        read = values[_QUALIFICATION] >> CR_TYPE_SHIFT & 3 == CrAccess.MOV_FROM
        self._let_run()
        if not read and number in SHADOWS and processor.rip != rip:  # it was written, without a fault
            values[SHADOWS[number]] = processor.cr(number)
            self._entry.apply_controls()

    def _on_task_switch(self) -> None:
        """Every task switch exits, once its TSS has been found in order (section 26.4.2)."""
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

    def on_unexpected(self) -> None:
        """Crash the guest over an exit that has no handler."""
        reason = self._values[_REASON]
        if reason & ENTRY_FAILURE:
            self._handlers.crash(f"VM entry failed: {self._backend.recorder.failure}")
        else:
            self._handlers.crash(f"VM exit with reason {reason}, which no control asks for")

    def _let_run(self) -> None:
        """Let the intercepted instruction run: the processor knows its faults and effects best."""
        self._processor.intercepts.clear()
        self._processor.update_intercepts()
        self._handlers.emulate()
        self._entry.apply_controls()

    def _reinject_interrupted(self) -> None:
        """Inject the event whose delivery the exit interrupted again (section 32.7.1.2)."""
        values = self._values
        info = values[_VECTORING]
        if info & INFO_VALID:
            values[_ENTRY_INFO] = info
            values[Field.ENTRY_EXCEPTION_ERROR] = values[Field.IDT_VECTORING_ERROR]
            values[Field.ENTRY_INSTRUCTION_LENGTH] = values[_LENGTH]

    def _skip(self) -> None:
        self._backend.skip_instruction(self._values[_LENGTH])
