# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""The hardware's half of a VM exit: from the processor's raw facts to the exit-information fields.

SDM vol. 3 section 28.2. `exits.py` has the formats; nobody reads `ExitInfo` after this.
"""

from collections.abc import Callable
from typing import Final

import cython

from hvcore.cpu.exitinfo import DescriptorTable, ExitInfo, ExitKind, VmInstruction
from hvcore.cpu.processor import Processor
from hvcore.hvm import SOFTWARE_EXCEPTIONS, EventKind, Vector
from hvcore.vmx import checks
from hvcore.vmx.exits import (
    ENTRY_FAILURE,
    EPT_NMI_UNBLOCKING,
    INFO_32_BIT_OPERAND,
    INFO_NMI_UNBLOCKING,
    INFO_REGISTER_OPERAND,
    INFO_SECOND_REGISTER_SHIFT,
    CrAccess,
    DescriptorIdentity,
    Reason,
    cr_qualification,
    dr_qualification,
    ept_qualification,
    interruption_info,
    io_qualification,
    memory_operand_info,
    string_info,
    task_switch_qualification,
)
from hvcore.vmx.vmcs import Field, Vmcs

# Bound once, and C numbers where this is compiled: these are written on every exit.
_REASON = cython.declare(cython.int, Field.EXIT_REASON)
_QUALIFICATION = cython.declare(cython.int, Field.EXIT_QUALIFICATION)
_LENGTH = cython.declare(cython.int, Field.EXIT_INSTRUCTION_LENGTH)
_INSTRUCTION_INFO = cython.declare(cython.int, Field.EXIT_INSTRUCTION_INFO)
_INTERRUPTION = cython.declare(cython.int, Field.EXIT_INTERRUPTION_INFO)
_VECTORING = cython.declare(cython.int, Field.IDT_VECTORING_INFO)
_IO_INSTRUCTION = cython.declare(cython.int, Reason.IO_INSTRUCTION)
_LINEAR: Final = Field.GUEST_LINEAR_ADDRESS
_PHYSICAL: Final = Field.GUEST_PHYSICAL_ADDRESS

PLAIN: Final[dict[int, int]] = {
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
VMX_REASONS: Final = {
    VmInstruction.VMCALL: Reason.VMCALL,
    VmInstruction.VMLAUNCH: Reason.VMLAUNCH,
    VmInstruction.VMRESUME: Reason.VMRESUME,
    VmInstruction.VMXOFF: Reason.VMXOFF,
    VmInstruction.VMREAD: Reason.VMREAD,
    VmInstruction.VMWRITE: Reason.VMWRITE,
    VmInstruction.VMPTRLD: Reason.VMPTRLD,
    VmInstruction.VMCLEAR: Reason.VMCLEAR,
    VmInstruction.VMXON: Reason.VMXON,
    VmInstruction.VMPTRST: Reason.VMPTRST,
    VmInstruction.INVEPT: Reason.INVEPT,
    VmInstruction.INVVPID: Reason.INVVPID,
}
"""The instructions of VMX exit unconditionally (section 26.1.2; VMREAD and VMWRITE where there is no shadowing)."""
SECOND_REGISTER: Final = frozenset(
    {VmInstruction.VMREAD, VmInstruction.VMWRITE, VmInstruction.INVEPT, VmInstruction.INVVPID}
)
MONITOR_TRAP: Final = 64
"""In the place of an ExitKind: the processor was let run for one instruction."""
DESCRIPTOR_IDENTITIES: Final = {
    DescriptorTable.SGDT: DescriptorIdentity.SGDT,
    DescriptorTable.SIDT: DescriptorIdentity.SIDT,
    DescriptorTable.LGDT: DescriptorIdentity.LGDT,
    DescriptorTable.LIDT: DescriptorIdentity.LIDT,
    DescriptorTable.SLDT: DescriptorIdentity.SLDT,
    DescriptorTable.STR: DescriptorIdentity.STR,
    DescriptorTable.LLDT: DescriptorIdentity.LLDT,
    DescriptorTable.LTR: DescriptorIdentity.LTR,
}
TABLE_REGISTERS: Final = frozenset(
    {DescriptorTable.SGDT, DescriptorTable.SIDT, DescriptorTable.LGDT, DescriptorTable.LIDT}
)
ACTIVE: Final = 0
HALTED: Final = 1


class Recorder:
    """Fills the exit-information fields of one VMCS."""

    def __init__(self, processor: Processor, vmcs: Vmcs) -> None:
        self._processor = processor
        self._values = vmcs.values
        self.table: list[Callable[[ExitInfo], None]] = self._recorders()
        """By ExitKind."""
        self.shut_down: Callable[[], bool] = lambda: False
        """Whether the guest was in the shutdown state already when it was entered."""
        self.failure = ""
        """The rule that the last VM entry broke, in words."""

    def _recorders(self) -> list[Callable[[ExitInfo], None]]:
        table: dict[int, Callable[[ExitInfo], None]] = dict.fromkeys(PLAIN, self._record_plain)
        table |= {
            ExitKind.BUDGET: self._record_external_interrupt,
            ExitKind.EXTERNAL_INTERRUPT: self._record_external_interrupt,
            ExitKind.INTERRUPT_WINDOW: self._record_interrupt_window,
            ExitKind.NMI_WINDOW: self._record_nmi_window,
            ExitKind.NMI: self._record_nmi,
            ExitKind.HLT: self._record_hlt,
            ExitKind.DESCRIPTOR_TABLE: self._record_descriptor_table,
            ExitKind.VM_INSTRUCTION: self._record_vmx_instruction,
            MONITOR_TRAP: self._record_monitor_trap,
            ExitKind.IO: self.record_io,
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

    def record_io(self, e: ExitInfo) -> None:
        """Record an I/O instruction: reason 30."""
        values = self._values
        values[_REASON] = _IO_INSTRUCTION
        values[_LENGTH] = e.instruction_length
        values[_INTERRUPTION] = 0
        values[_VECTORING] = 0
        # As `io_qualification` has it, written out because every port access comes here.
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

    def _record_nmi_window(self, _: ExitInfo) -> None:
        self._fill(Reason.NMI_WINDOW, 0, 0)

    def _record_nmi(self, _: ExitInfo) -> None:
        self._fill(Reason.EXCEPTION_OR_NMI, 0, 0)
        self._values[_INTERRUPTION] = interruption_info(EventKind.NMI, Vector.NMI, False)

    def _record_monitor_trap(self, _: ExitInfo) -> None:
        self._fill(Reason.MONITOR_TRAP, 0, 0)

    def _record_hlt(self, e: ExitInfo) -> None:
        if self._processor.activity == HALTED:
            # Without "HLT exiting" the guest waits in the activity state HLT, until the host's own timer ends it.
            self._fill(Reason.EXTERNAL_INTERRUPT, 0, 0)
        else:
            self._fill(Reason.HLT, 0, e.instruction_length)

    def _record_triple_fault(self, e: ExitInfo) -> None:
        if self.shut_down():
            self._fill(Reason.EXTERNAL_INTERRUPT, 0, 0)  # still in the shutdown state, where it was entered
            return
        self._processor.activity = ACTIVE
        self._fill(Reason.TRIPLE_FAULT, 0, 0)
        self._record_vectoring(e)

    def _record_exception(self, e: ExitInfo) -> None:
        qualification = e.fault_address if e.vector == Vector.PF else 0
        if e.vector == Vector.DB:
            qualification = e.debug_status
            self._processor.set_dr(6, e.data)  # which such an exit does not change (section 28.1)
        self._fill(Reason.EXCEPTION_OR_NMI, qualification, e.instruction_length)
        values = self._values
        software = e.vector in SOFTWARE_EXCEPTIONS
        kind = EventKind.SOFTWARE_EXCEPTION if software else EventKind.HARDWARE_EXCEPTION
        if e.vector == Vector.DB and e.instruction_length:
            kind = EventKind.PRIVILEGED_SOFTWARE_EXCEPTION
        values[_INTERRUPTION] = interruption_info(kind, e.vector, e.has_error_code)
        values[Field.EXIT_INTERRUPTION_ERROR] = e.error_code if e.has_error_code else 0
        self._record_vectoring(e)
        if e.nmi_unblocking and not e.vectoring and e.vector != Vector.DF:
            values[_INTERRUPTION] |= INFO_NMI_UNBLOCKING

    def _record_ept_violation(self, e: ExitInfo) -> None:
        # The slots of guest memory stand for the EPT: where there is none, there is no entry, which permits nothing.
        # The length and the bytes of the instruction are not recorded for EPT violations.
        qualification = ept_qualification(e.read, e.write, e.fetch, 0, e.linear_valid, e.table)
        if e.nmi_unblocking and not e.vectoring:
            qualification |= EPT_NMI_UNBLOCKING
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
        if e.linear_valid:
            self._values[_LINEAR] = e.linear_address

    def _record_clts(self, e: ExitInfo) -> None:
        self._fill(Reason.CR_ACCESS, cr_qualification(0, CrAccess.CLTS), e.instruction_length)

    def _record_dr_access(self, e: ExitInfo) -> None:
        self._fill(Reason.MOV_DR, dr_qualification(e.number, e.read, e.gpr), e.instruction_length)

    def _record_invlpg(self, e: ExitInfo) -> None:
        self._fill(Reason.INVLPG, e.linear_address, e.instruction_length)
        self._values[_LINEAR] = e.linear_address

    def _record_descriptor_table(self, e: ExitInfo) -> None:
        """Section 28.2.5, tables 28-10 and 28-11: the operand and which instruction it is of."""
        tables = e.number in TABLE_REGISTERS
        self._fill(
            Reason.GDTR_IDTR_ACCESS if tables else Reason.LDTR_TR_ACCESS,
            e.displacement if e.memory else 0,
            e.instruction_length,
        )
        info = DESCRIPTOR_IDENTITIES[e.number] << 28 | _operand_info(e)
        if tables and e.size == 4:
            info |= INFO_32_BIT_OPERAND
        self._values[_INSTRUCTION_INFO] = info

    def _record_vmx_instruction(self, e: ExitInfo) -> None:
        """Sections 28.2.1 and 28.2.5: displacement and operand, of the instructions that have one."""
        operand = e.number >= VmInstruction.VMREAD
        self._fill(VMX_REASONS[e.number], e.displacement if operand and e.memory else 0, e.instruction_length)
        if operand:
            info = _operand_info(e)
            if e.number in SECOND_REGISTER:
                info |= e.second_gpr << INFO_SECOND_REGISTER_SHIFT
            self._values[_INSTRUCTION_INFO] = info

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

    def record_entry_failure(self, refused: checks.Refused) -> None:
        """Section 27.8: the exit that a VM entry with invalid guest state is."""
        self._fail(Reason.INVALID_GUEST_STATE, refused.error, str(refused))

    def record_msr_failure(self, number: int) -> None:
        """Section 27.8: entry `number`, from 1, of the VM-entry MSR-load area cannot be loaded."""
        self._fail(Reason.MSR_LOADING, number, f"entry {number} of the VM-entry MSR-load area")

    def _fail(self, reason: int, qualification: int, rule: str) -> None:
        # The other exit-information fields are not modified.
        self._values[_REASON] = reason | ENTRY_FAILURE
        self._values[_QUALIFICATION] = qualification
        self.failure = rule

    def _record_unknown(self, e: ExitInfo) -> None:
        raise AssertionError(f"the processor stopped with kind {e.kind}, which no control asks for")


def _operand_info(e: ExitInfo) -> int:
    """Describe an operand in a register or in memory, as all formats of the instruction information have it."""
    if e.memory:
        return memory_operand_info(e.address_size, e.segment, e.base, e.index, e.scale)
    return INFO_REGISTER_OPERAND | e.gpr << 3
