# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""The hardware's half of a #VMEXIT: from the processor's raw facts to the control area.

EXITCODE, EXITINFO1, EXITINFO2, EXITINTINFO, nRIP and the decode assists (APM vol. 2 chapter 15). `exits.py` has
the formats; nobody reads `ExitInfo` after this.
"""

from collections.abc import Callable
from typing import Final

import cython

from hvcore.cpu.exitinfo import ExitInfo, ExitKind
from hvcore.cpu.processor import Processor
from hvcore.hvm import EventKind, Vector
from hvcore.svm.exits import MSR_WRITE, ExitCode, cr_info, dr_info, ioio_info, npf_info, task_switch_info
from hvcore.svm.vmcb import EXIT_RECORD, QWORD, Control, EventType, Vmcb, event

# Bound methods of our own: CPython 3.11 loads an attribute of an imported name the slow way.
_pack_record: Final = EXIT_RECORD.pack_into
_pack_qword: Final = QWORD.pack_into
_EXITCODE: Final = Control.EXITCODE.offset
_EXITINTINFO: Final = Control.EXITINTINFO.offset
_NRIP: Final = Control.NRIP.offset
_FETCHED: Final = Control.FETCHED.offset
# Quadwords of the block, and C numbers where this is compiled.
_EXITCODE_AT = cython.declare(cython.int, Control.EXITCODE.offset // 8)
_NRIP_AT = cython.declare(cython.int, Control.NRIP.offset // 8)
_IOIO = cython.declare(cython.ulonglong, ExitCode.IOIO)
RFLAGS_RF: Final = 1 << 16

PLAIN: Final[dict[int, tuple[int, int]]] = {
    ExitKind.CPUID: (ExitCode.CPUID, 0),
    ExitKind.RDTSC: (ExitCode.RDTSC, 0),
    ExitKind.RDPMC: (ExitCode.RDPMC, 0),
    ExitKind.RDMSR: (ExitCode.MSR, 0),
    ExitKind.WRMSR: (ExitCode.MSR, MSR_WRITE),
    ExitKind.INVD: (ExitCode.INVD, 0),
    ExitKind.WBINVD: (ExitCode.WBINVD, 0),
    ExitKind.PAUSE: (ExitCode.PAUSE, 0),
    ExitKind.IRET: (ExitCode.IRET, 0),
    ExitKind.PUSHF: (ExitCode.PUSHF, 0),
    ExitKind.POPF: (ExitCode.POPF, 0),
    ExitKind.ICEBP: (ExitCode.ICEBP, 0),
}
"""Exits that record their code, EXITINFO1 and nRIP, and nothing else."""
INVLPGA: Final = 7
ACTIVE: Final = 0
HALTED: Final = 1


class Recorder:
    """Fills the exit fields of one VMCB."""

    def __init__(self, processor: Processor, vmcb: Vmcb) -> None:
        self._processor = processor
        self._data = vmcb.data
        self._words = memoryview(vmcb.data).cast("Q")
        self.table: list[Callable[[ExitInfo], None]] = self._recorders()
        """By ExitKind."""
        self.failure = ""
        """The rule that the last VMRUN broke, in words."""

    def _recorders(self) -> list[Callable[[ExitInfo], None]]:
        table: dict[int, Callable[[ExitInfo], None]] = dict.fromkeys(PLAIN, self._record_plain)
        table |= {
            ExitKind.BUDGET: self._record_intr,
            ExitKind.EXTERNAL_INTERRUPT: self._record_intr,
            ExitKind.INTERRUPT_WINDOW: self._record_vintr,
            ExitKind.NMI: self._record_nmi,
            ExitKind.HLT: self._record_hlt,
            ExitKind.CR0_SELECTIVE: self._record_cr0_selective,
            ExitKind.DESCRIPTOR_TABLE: self._record_descriptor_table,
            ExitKind.SOFTWARE_INTERRUPT: self._record_software_interrupt,
            ExitKind.FERR_FREEZE: self._record_ferr_freeze,
            ExitKind.VM_INSTRUCTION: self._record_vm_instruction,
            ExitKind.IO: self.record_ioio,
            ExitKind.EXCEPTION: self._record_exception,
            ExitKind.TRIPLE_FAULT: self._record_shutdown,
            ExitKind.GUEST_PHYSICAL: self._record_npf,
            ExitKind.CR_READ: self._record_cr_read,
            ExitKind.CR_WRITE: self._record_cr_write,
            ExitKind.LMSW: self._record_cr0_write,
            ExitKind.CLTS: self._record_cr0_write,
            ExitKind.DR_ACCESS: self._record_dr_access,
            ExitKind.INVLPG: self._record_invlpg,
            ExitKind.TASK_SWITCH: self._record_task_switch,
        }
        return [table.get(kind, self._record_unknown) for kind in range(max(table) + 1)]

    def record_ioio(self, e: ExitInfo) -> None:
        """Record an I/O instruction: EXITCODE 7Bh, EXITINFO1, the next RIP in EXITINFO2, no EXITINTINFO."""
        words = self._words
        # As `ioio_info` has it, written out because every port access comes here.
        info = e.read | e.size << 4 | e.address_size << 6 | e.port << 16
        if e.string:
            info = ioio_info(e.port, e.size, e.read, True, e.rep, e.address_size, e.segment)
        words[_EXITCODE_AT] = _IOIO
        words[_EXITCODE_AT + 1] = info
        words[_EXITCODE_AT + 2] = words[_NRIP_AT] = e.next_rip
        words[_EXITCODE_AT + 3] = 0

    def _fill(self, code: int, info1: int, info2: int, next_rip: int) -> None:
        _pack_record(self._data, _EXITCODE, code, info1, info2, 0)
        _pack_qword(self._data, _NRIP, next_rip)

    def _record_plain(self, e: ExitInfo) -> None:
        code, info1 = PLAIN[e.kind]
        self._fill(code, info1, 0, e.next_rip)

    def _record_intr(self, _: ExitInfo) -> None:
        # A budget that ran out is the host's own timer.
        self._fill(ExitCode.INTR, 0, 0, 0)

    def _record_vintr(self, _: ExitInfo) -> None:
        self._fill(ExitCode.VINTR, 0, 0, 0)

    def _record_nmi(self, _: ExitInfo) -> None:
        self._processor.activity = ACTIVE
        self._fill(ExitCode.NMI, 0, 0, 0)

    def _record_hlt(self, e: ExitInfo) -> None:
        if self._processor.activity == HALTED:
            # Not intercepted: the guest waits until the host's own timer ends it. The block cannot say that it
            # waited, so the guest goes on behind HLT.
            self._processor.activity = ACTIVE
            self._fill(ExitCode.INTR, 0, 0, 0)
        else:
            self._fill(ExitCode.HLT, 0, 0, e.next_rip)

    def _record_cr0_selective(self, e: ExitInfo) -> None:
        self._fill(ExitCode.CR0_SEL_WRITE, cr_info(e.gpr, mov=e.mov), 0, e.next_rip)

    def _record_descriptor_table(self, e: ExitInfo) -> None:
        self._fill(ExitCode.IDTR_READ + e.number, 0, 0, e.next_rip)

    def _record_software_interrupt(self, e: ExitInfo) -> None:
        self._fill(ExitCode.SWINT, e.vector, 0, e.next_rip)

    def _record_ferr_freeze(self, _: ExitInfo) -> None:
        self._fill(ExitCode.FERR_FREEZE, 0, 0, 0)

    def _record_vm_instruction(self, e: ExitInfo) -> None:
        instruction = e.number & 7
        if instruction == INVLPGA:
            self._fill(ExitCode.INVLPGA, e.linear_address, 0, e.next_rip)
        else:
            self._fill(ExitCode.VMRUN + instruction, 0, 0, e.next_rip)

    def _record_shutdown(self, _: ExitInfo) -> None:
        self._processor.activity = ACTIVE
        self._fill(ExitCode.SHUTDOWN, 0, 0, 0)

    def _record_exception(self, e: ExitInfo) -> None:
        address = e.fault_address if e.vector == Vector.PF else 0
        self._fill(
            ExitCode.EXCEPTION + e.vector, e.error_code if e.has_error_code else 0, address, e.next_rip
        )
        self._record_vectoring(e)
        if e.vector == Vector.PF:
            self._record_bytes(e.instruction_bytes)

    def _record_npf(self, e: ExitInfo) -> None:
        # No slot of guest memory means no nested page-table entry: never present.
        info = npf_info(e.write, e.fetch, present=False, table=e.table)
        self._fill(ExitCode.NPF, info, e.guest_physical, 0)
        self._record_vectoring(e)
        self._record_bytes(b"" if e.fetch else e.instruction_bytes)

    def _record_bytes(self, code: bytes) -> None:
        """Decode assist: how many bytes were fetched, and which (section 15.33.4)."""
        self._data[_FETCHED] = len(code)
        self._data[_FETCHED + 1 : _FETCHED + 16] = code.ljust(15, b"\0")

    def _record_cr_read(self, e: ExitInfo) -> None:
        self._fill(ExitCode.CR_READ + e.number, cr_info(e.gpr, mov=e.mov), 0, e.next_rip)

    def _record_cr_write(self, e: ExitInfo) -> None:
        self._fill(ExitCode.CR_WRITE + e.number, cr_info(e.gpr, mov=True), 0, e.next_rip)

    def _record_cr0_write(self, e: ExitInfo) -> None:
        self._fill(ExitCode.CR_WRITE, 0, 0, e.next_rip)

    def _record_dr_access(self, e: ExitInfo) -> None:
        base = ExitCode.DR_READ if e.read else ExitCode.DR_WRITE
        self._fill(base + e.number, dr_info(e.gpr), 0, e.next_rip)

    def _record_invlpg(self, e: ExitInfo) -> None:
        self._fill(ExitCode.INVLPG, e.linear_address, 0, e.next_rip)

    def _record_task_switch(self, e: ExitInfo) -> None:
        error = e.vectoring_error_code if e.vectoring and e.vectoring_has_error_code else None
        resume = bool(self._processor.rflags & RFLAGS_RF)
        self._fill(ExitCode.TASK_SWITCH, e.number, task_switch_info(e.source, error, resume), e.next_rip)
        self._record_vectoring(e)

    def _record_vectoring(self, e: ExitInfo) -> None:
        """Record the delivery that this exit interrupted, if any (section 15.7.2)."""
        if e.vectoring:
            kind = e.vectoring_kind
            if kind >= EventKind.PRIVILEGED_SOFTWARE_EXCEPTION:
                kind = EventType.EXCEPTION
            error = e.vectoring_error_code if e.vectoring_has_error_code else None
            _pack_qword(self._data, _EXITINTINFO, event(kind, e.vectoring_vector, error))
            _pack_qword(self._data, _NRIP, e.next_rip)

    def record_invalid(self, rule: str) -> None:
        """VMEXIT_INVALID: VMRUN found `rule` broken."""
        self._fill(ExitCode.INVALID, 0, 0, 0)
        self.failure = rule

    def _record_unknown(self, e: ExitInfo) -> None:
        raise AssertionError(f"the processor stopped with kind {e.kind}, which no intercept asks for")
