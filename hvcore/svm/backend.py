"""One vCPU under SVM: VMRUN, the record of each #VMEXIT, and the first-level handler that reads it.

The two halves meet only in the VMCB. `_record_*` is the hardware: it sees the processor's raw exit and writes
EXITCODE, EXITINFO1, EXITINFO2, EXITINTINFO, nRIP and the decode assists (APM vol. 2 chapter 15). `_on_*` is
the hypervisor: it reads those and calls the common layer. Their order in this file is the order of a #VMEXIT.
"""

import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from hvcore.cpu.exitinfo import ExitInfo, ExitKind, TaskSource
from hvcore.cpu.processor import Processor
from hvcore.hvm import (
    CR0_PE,
    RFLAGS_IF,
    EventKind,
    ExitHandlers,
    GuestState,
    Register,
    SegmentName,
    SegmentState,
    Shadow,
    Vector,
)
from hvcore.svm import checks
from hvcore.svm.checks import EFER_SVME
from hvcore.svm.exits import (
    IOIO_ADDRESS,
    IOIO_ADDRESS_SHIFT,
    IOIO_IN,
    IOIO_PORT_SHIFT,
    IOIO_REP,
    IOIO_SEGMENT,
    IOIO_SEGMENT_SHIFT,
    IOIO_SIZE,
    IOIO_SIZE_SHIFT,
    IOIO_STRING,
    MSR_WRITE,
    NPF_FETCH,
    TASK_SWITCH_ERROR,
    TASK_SWITCH_IRET,
    TASK_SWITCH_JUMP,
    ExitCode,
    cr_info,
    dr_info,
    ioio_info,
    npf_info,
    task_switch_info,
)
from hvcore.svm.vmcb import (
    EVENT_ERROR_SHIFT,
    EVENT_ERROR_VALID,
    EVENT_TYPE,
    EVENT_TYPE_SHIFT,
    EVENT_VALID,
    EVENT_VECTOR,
    SEGMENTS,
    SIZE,
    Cached,
    Control,
    EventType,
    Field,
    Intercept3,
    Intercept4,
    Save,
    Vintr,
    Vmcb,
    event,
    pack_attributes,
    segment_fields,
    unpack_attributes,
)

_EXIT_RECORD: Final = struct.Struct("<QQQQ")
"""EXITCODE, EXITINFO1, EXITINFO2, EXITINTINFO, as they lie from 070h."""
_QWORD: Final = struct.Struct("<Q")
_EXITCODE: Final = Control.EXITCODE.offset
_EXITINFO1: Final = Control.EXITINFO1.offset
_EXITINFO2: Final = Control.EXITINFO2.offset
_EXITINTINFO: Final = Control.EXITINTINFO.offset
_EVENTINJ: Final = Control.EVENTINJ.offset
_EVENTINJ_VALID: Final = _EVENTINJ + 3
"""The byte with bit 31, V."""
_NRIP: Final = Control.NRIP.offset
_IOIO: Final = ExitCode.IOIO
_FETCHED: Final = Control.FETCHED.offset

RFLAGS_RF: Final = 1 << 16
DR6_BS: Final = 1 << 14
MSR_SYSENTER_CS: Final = 0x174
PAT_POWER_ON: Final = 0x0007_0406_0007_0406
ASID: Final = 1
IOPM_BASE: Final = 0x1000
MSRPM_BASE: Final = 0x4000
NESTED_CR3: Final = 0x6000
"""Nominal host addresses: the processor's slots stand for the nested tables."""
CR0_ET: Final = 1 << 4

PLAIN: Final[dict[int, tuple[int, int]]] = {
    ExitKind.HLT: (ExitCode.HLT, 0),
    ExitKind.CPUID: (ExitCode.CPUID, 0),
    ExitKind.RDTSC: (ExitCode.RDTSC, 0),
    ExitKind.RDPMC: (ExitCode.RDPMC, 0),
    ExitKind.RDMSR: (ExitCode.MSR, 0),
    ExitKind.WRMSR: (ExitCode.MSR, MSR_WRITE),
    ExitKind.INVD: (ExitCode.INVD, 0),
    ExitKind.WBINVD: (ExitCode.WBINVD, 0),
    ExitKind.PAUSE: (ExitCode.PAUSE, 0),
    ExitKind.IRET: (ExitCode.IRET, 0),
}
"""Exits that record their code, EXITINFO1 and nRIP, and nothing else."""


class SvmBackend:
    """`HvmBackend` for AMD-V."""

    name = "svm"

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._exit = processor.exit
        self._run = processor.run
        self.vmcb = Vmcb(_cached(processor))
        self._data = self.vmcb.data
        self.iopm = bytearray(b"\xff" * checks.IOPM_SIZE)
        """The I/O permission map that IOPM_BASE_PA points at: a set bit intercepts its port."""
        self._window = False
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
            ExitCode.INTR: handlers.external_interrupt,
            ExitCode.VINTR: handlers.interrupt_window,
            ExitCode.RDTSC: partial(self._on_instruction, handlers.rdtsc),
            ExitCode.RDPMC: self._let_run,
            ExitCode.CPUID: partial(self._on_instruction, handlers.cpuid),
            ExitCode.IRET: self._let_run,
            ExitCode.INVD: self._skip,
            ExitCode.PAUSE: self._skip,
            ExitCode.HLT: self._on_hlt,
            ExitCode.INVLPG: self._let_run,
            ExitCode.MSR: self._on_msr,
            ExitCode.TASK_SWITCH: self._on_task_switch,
            ExitCode.SHUTDOWN: handlers.triple_fault,
            ExitCode.WBINVD: self._skip,
            ExitCode.NPF: self._on_npf,
        }
        for number in range(64):  # control and debug registers, reads and writes
            self._first_level[ExitCode.CR_READ + number] = self._let_run
        for vector in range(32):
            self._first_level[ExitCode.EXCEPTION + vector] = partial(self._on_exception, vector)

    def reset(self) -> None:
        """Make a fresh block: the power-on state, and the controls this hypervisor wants."""
        self._processor.reset()
        vmcb = self.vmcb
        vmcb.in_use = False
        vmcb.data[:] = bytes(SIZE)
        vmcb.save()
        vmcb.changed = True
        self._window = False
        write = vmcb.write
        write(
            Control.INTERCEPT_3,
            Intercept3.INTR
            | Intercept3.NMI
            | Intercept3.CPUID
            | Intercept3.INVD
            | Intercept3.HLT
            | Intercept3.IOIO_PROT
            | Intercept3.MSR_PROT
            | Intercept3.SHUTDOWN,
        )
        write(
            Control.INTERCEPT_4,
            Intercept4.VMRUN
            | Intercept4.VMMCALL
            | Intercept4.VMLOAD
            | Intercept4.VMSAVE
            | Intercept4.STGI
            | Intercept4.CLGI
            | Intercept4.SKINIT
            | Intercept4.WBINVD,
        )
        write(Control.IOPM_BASE_PA, IOPM_BASE)
        write(Control.MSRPM_BASE_PA, MSRPM_BASE)
        write(Control.GUEST_ASID, ASID)
        write(Control.VINTR, Vintr.V_INTR_MASKING)
        write(Control.NP_ENABLE, 1)
        write(Control.N_CR3, NESTED_CR3)
        write(Save.G_PAT, PAT_POWER_ON)

    # HvmBackend: VMRUN

    def enter(self, budget: int) -> None:
        """VMRUN, and the #VMEXIT that ends it. Clean bits (0C0h) are ignored, which is always allowed."""
        vmcb = self.vmcb
        if vmcb.changed and not self._enter_checked():
            return
        if self._data[_EVENTINJ_VALID] & 0x80 and not self._deliver():
            return
        kind = self._run(budget)
        while kind == ExitKind.INTERRUPT_WINDOW and not self._window_intercepted():
            self._deliver_virtual_interrupt()
            kind = self._run(budget)
        self._record[kind](self._exit)

    def _enter_checked(self) -> bool:
        """Run the consistency checks. False: VMEXIT_INVALID is recorded."""
        vmcb = self.vmcb
        rule = checks.broken_rule(vmcb)
        if rule is not None:
            self._record_invalid(rule)
            return False
        if not vmcb.in_use:
            vmcb.load()
        vmcb.changed = False
        self._apply_intercepts()
        return True

    def _apply_intercepts(self) -> None:
        """Turn the intercept words into the processor's intercepts."""
        read, intercepts = self.vmcb.read, self._processor.intercepts
        general, more = read(Control.INTERCEPT_3), read(Control.INTERCEPT_4)
        vintr = read(Control.VINTR)
        pending = bool(vintr & Vintr.V_IRQ)
        # While the window is awaited the host has taken the interrupt, and its controller holds it back.
        intercepts.external_interrupt = bool(general & Intercept3.INTR) and not pending
        intercepts.interrupt_window = pending
        intercepts.rdtsc = bool(general & Intercept3.RDTSC)
        intercepts.rdpmc = bool(general & Intercept3.RDPMC)
        intercepts.cpuid = bool(general & Intercept3.CPUID)
        intercepts.iret = bool(general & Intercept3.IRET)
        intercepts.invd = bool(general & Intercept3.INVD or more & Intercept4.WBINVD)
        intercepts.pause = bool(general & Intercept3.PAUSE)
        intercepts.task_switch = bool(general & Intercept3.TASK_SWITCH)
        intercepts.hlt = bool(general & Intercept3.HLT)
        intercepts.invlpg = bool(general & Intercept3.INVLPG)
        intercepts.rdmsr = intercepts.wrmsr = bool(general & Intercept3.MSR_PROT)
        intercepts.io = bool(general & Intercept3.IOIO_PROT)
        ports = bytes(self.iopm[:0x2000])
        intercepts.io_bitmap = None if ports.count(0xFF) == len(ports) else ports
        intercepts.exceptions = read(Control.INTERCEPT_EXCEPTION)
        control, debug = read(Control.INTERCEPT_CR), read(Control.INTERCEPT_DR)
        intercepts.cr_read, intercepts.cr_write = control & 0xFFFF, control >> 16
        intercepts.dr_read, intercepts.dr_write = debug & 0xFFFF, debug >> 16
        self._processor.update_intercepts()

    def _deliver(self) -> bool:
        """Inject by EVENTINJ. False: the event is illegal, and VMEXIT_INVALID is recorded."""
        injection = _QWORD.unpack_from(self._data, _EVENTINJ)[0]
        if not checks.event_is_legal(injection):
            self._record_invalid("illegal event injection")
            return False
        kind = (injection & EVENT_TYPE) >> EVENT_TYPE_SHIFT
        error = injection >> EVENT_ERROR_SHIFT if injection & EVENT_ERROR_VALID else None
        length = 0
        if kind == EventType.SOFTWARE_INTERRUPT:
            # With the next-RIP feature, INTn returns to nRIP.
            length = _QWORD.unpack_from(self._data, _NRIP)[0] - self._processor.rip & 0xF
        self._processor.inject(kind, injection & EVENT_VECTOR, error, length)
        _QWORD.pack_into(self._data, _EVENTINJ, injection & ~EVENT_VALID)
        return True

    def _window_intercepted(self) -> bool:
        return bool(self.vmcb.read(Control.INTERCEPT_3) & Intercept3.VINTR)

    def _deliver_virtual_interrupt(self) -> None:
        """V_IRQ that nobody intercepts: the processor takes V_INTR_VECTOR by itself (section 15.21.4)."""
        vintr = self.vmcb.read(Control.VINTR)
        self.vmcb.write(Control.VINTR, vintr & ~Vintr.V_IRQ)
        self.vmcb.changed = False
        self._apply_intercepts()
        vector = vintr >> Vintr.V_INTR_VECTOR_SHIFT & 0xFF
        self._processor.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)

    # The hardware's half of a #VMEXIT: fill the record

    def _recorders(self) -> list[Callable[[ExitInfo], None]]:
        table: dict[int, Callable[[ExitInfo], None]] = dict.fromkeys(PLAIN, self._record_plain)
        table |= {
            ExitKind.BUDGET: self._record_intr,
            ExitKind.EXTERNAL_INTERRUPT: self._record_intr,
            ExitKind.INTERRUPT_WINDOW: self._record_vintr,
            ExitKind.IO: self._record_ioio,
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

    def _record_ioio(self, e: ExitInfo) -> None:
        # ioio_info(), written out on the hot path
        info = e.read | e.size << 4 | e.address_size << 6 | e.port << 16
        if e.string:
            info = ioio_info(e.port, e.size, e.read, True, e.rep, e.address_size, e.segment)
        next_rip = e.next_rip
        _EXIT_RECORD.pack_into(self._data, _EXITCODE, _IOIO, info, next_rip, 0)
        _QWORD.pack_into(self._data, _NRIP, next_rip)

    def _fill(self, code: int, info1: int, info2: int, next_rip: int) -> None:
        _EXIT_RECORD.pack_into(self._data, _EXITCODE, code, info1, info2, 0)
        _QWORD.pack_into(self._data, _NRIP, next_rip)

    def _record_plain(self, e: ExitInfo) -> None:
        code, info1 = PLAIN[e.kind]
        self._fill(code, info1, 0, e.next_rip)

    def _record_intr(self, _: ExitInfo) -> None:
        # A budget that ran out is the host's own timer.
        self._fill(ExitCode.INTR, 0, 0, 0)

    def _record_vintr(self, _: ExitInfo) -> None:
        self._fill(ExitCode.VINTR, 0, 0, 0)

    def _record_shutdown(self, _: ExitInfo) -> None:
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
        self._fill(ExitCode.NPF, npf_info(e.write, e.fetch, present=False), e.guest_physical, 0)
        self._record_vectoring(e)
        self._record_bytes(b"" if e.fetch else e.instruction_bytes)

    def _record_bytes(self, code: bytes) -> None:
        """Decode assist: how many bytes were fetched, and which (section 15.33.4)."""
        self._data[_FETCHED] = len(code)
        self._data[_FETCHED + 1 : _FETCHED + 16] = code.ljust(15, b"\0")

    def _record_cr_read(self, e: ExitInfo) -> None:
        self._fill(ExitCode.CR_READ + e.number, cr_info(e.gpr, mov=True), 0, e.next_rip)

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
            _QWORD.pack_into(self._data, _EXITINTINFO, event(kind, e.vectoring_vector, error))
            _QWORD.pack_into(self._data, _NRIP, e.next_rip)

    def _record_invalid(self, rule: str) -> None:
        self._fill(ExitCode.INVALID, 0, 0, 0)
        self._failure = rule

    def _record_unknown(self, e: ExitInfo) -> None:
        raise AssertionError(f"the processor stopped with kind {e.kind}, which no intercept asks for")

    # The hypervisor's half: decode the record

    def handle(self) -> None:
        """First-level handler: by EXITCODE, from the VMCB alone."""
        code, info, next_rip, _ = _EXIT_RECORD.unpack_from(self._data, _EXITCODE)
        if code == _IOIO:
            self._on_ioio(info, next_rip)
            return
        handler = self._first_level.get(code)
        if handler is None:
            self._on_unexpected()
        else:
            handler()

    def _on_ioio(self, info: int, next_rip: int) -> None:
        port, size = info >> IOIO_PORT_SHIFT, info >> IOIO_SIZE_SHIFT & IOIO_SIZE
        if not info & IOIO_STRING:
            if info & IOIO_IN:
                self._port_in(port, size)
            else:
                self._port_out(port, size)
            self._advance(next_rip)
            return
        assert self._handlers is not None
        if self._handlers.port_string(
            port,
            size,
            bool(info & IOIO_IN),
            bool(info & IOIO_REP),
            info >> IOIO_SEGMENT_SHIFT & IOIO_SEGMENT,
            (info >> IOIO_ADDRESS_SHIFT & IOIO_ADDRESS) << 1,
        ):
            self._advance(next_rip)

    def _infos(self) -> tuple[int, int]:
        data = self._data
        return _QWORD.unpack_from(data, _EXITINFO1)[0], _QWORD.unpack_from(data, _EXITINFO2)[0]

    def _on_npf(self) -> None:
        assert self._handlers is not None
        self._reinject_interrupted()
        data = self._data
        fetched = data[_FETCHED]
        error, address = self._infos()
        code = bytes(data[_FETCHED + 1 : _FETCHED + 1 + fetched])
        self._handlers.mmio(address, code, bool(error & NPF_FETCH))

    def _on_exception(self, vector: int) -> None:
        """Reflect an intercepted exception: it belongs to the guest all the same."""
        error, address = self._infos()
        processor = self._processor
        if vector == Vector.PF:
            processor.set_cr(2, address)
        if vector in {3, 4}:
            self.inject(EventKind.SOFTWARE_EXCEPTION, vector, None, self._length())
        else:
            has_error = vector in {8, 10, 11, 12, 13, 14, 17}
            self.inject(EventKind.HARDWARE_EXCEPTION, vector, error if has_error else None, 0)

    def _on_hlt(self) -> None:
        self._skip()
        assert self._handlers is not None
        self._handlers.halt()

    def _on_instruction(self, emulate: Callable[[], None]) -> None:
        emulate()
        self._skip()

    def _on_msr(self) -> None:
        assert self._handlers is not None
        write = self._infos()[0] & MSR_WRITE
        if self._handlers.wrmsr() if write else self._handlers.rdmsr():
            self._skip()

    def _let_run(self) -> None:
        """Let the intercepted instruction run: the processor knows its faults and effects best."""
        assert self._handlers is not None
        intercepts = self._processor.intercepts
        intercepts.cr_read = intercepts.cr_write = intercepts.dr_read = intercepts.dr_write = 0
        intercepts.invlpg = intercepts.rdpmc = intercepts.iret = False
        self._processor.update_intercepts()
        self._handlers.emulate()
        self._apply_intercepts()

    def _on_task_switch(self) -> None:
        """Decode section 15.14.1; nRIP is that of the instruction, or of the event that goes through a gate."""
        assert self._handlers is not None
        selector, info = self._infos()
        interrupted, next_rip = (_QWORD.unpack_from(self._data, at)[0] for at in (_EXITINTINFO, _NRIP))
        source, external, error = TaskSource.CALL, False, None
        if interrupted & EVENT_VALID:
            source = TaskSource.GATE
            kind, vector = (interrupted & EVENT_TYPE) >> EVENT_TYPE_SHIFT, interrupted & EVENT_VECTOR
            software = kind == EventType.SOFTWARE_INTERRUPT or next_rip != self._processor.rip
            external = not software and not (kind == EventType.EXCEPTION and vector in {3, 4})
            error = info & 0xFFFF_FFFF if info & TASK_SWITCH_ERROR else None
        elif info & TASK_SWITCH_IRET:
            source = TaskSource.IRET
        elif info & TASK_SWITCH_JUMP:
            source = TaskSource.JMP
        self._handlers.task_switch(selector & 0xFFFF, source, next_rip, external, error)

    def _on_unexpected(self) -> None:
        assert self._handlers is not None
        code = self.vmcb.read(Control.EXITCODE)
        if code == ExitCode.INVALID:
            self._handlers.crash(f"VMRUN refused: {self._failure}")
        else:
            self._handlers.crash(f"#VMEXIT with code {code:#x}, which no intercept asks for")

    def _reinject_interrupted(self) -> None:
        """Inject the event whose delivery the exit interrupted again (section 15.20)."""
        interrupted = _QWORD.unpack_from(self._data, _EXITINTINFO)[0]
        if not interrupted & EVENT_VALID:
            return
        kind = (interrupted & EVENT_TYPE) >> EVENT_TYPE_SHIFT
        if kind == EventType.EXCEPTION and interrupted & EVENT_VECTOR in {3, 4}:
            self._processor.rip = _QWORD.unpack_from(self._data, _NRIP)[
                0
            ]  # INT3 and INTO return behind themselves
        _QWORD.pack_into(self._data, _EVENTINJ, interrupted)

    # HvmBackend: what the common layer asks for

    def _length(self) -> int:
        next_rip: int = _QWORD.unpack_from(self._data, _NRIP)[0]
        return next_rip - int(self._processor.rip) & 0xF

    def _skip(self) -> None:
        self._advance(_QWORD.unpack_from(self._data, _NRIP)[0])

    def skip_instruction(self, length: int) -> None:
        """Move RIP on by `length`, as `_advance`."""
        self._advance(self._processor.rip + length)

    def _advance(self, next_rip: int) -> None:
        """Move RIP on, end the interrupt shadow, and inject the single-step trap if TF is set."""
        processor = self._processor
        if processor.skip(next_rip):
            processor.set_dr(6, processor.dr(6) | DR6_BS)
            self.inject(EventKind.HARDWARE_EXCEPTION, Vector.DB, None, 0)

    def inject(self, kind: int, vector: int, error: int | None, length: int) -> None:
        """By EVENTINJ. SVM has no software exceptions there: RIP moves over INT3, INTO or INT1 first."""
        if kind == EventKind.SOFTWARE_INTERRUPT:
            _QWORD.pack_into(self._data, _NRIP, self._processor.rip + length)
        elif kind >= EventKind.PRIVILEGED_SOFTWARE_EXCEPTION:
            self._processor.rip += length
            kind = EventType.EXCEPTION
        if not self._processor.cr(0) & CR0_PE:
            error = None  # real mode pushes none
        _QWORD.pack_into(self._data, _EVENTINJ, event(kind, vector, error))

    def event_pending(self) -> bool:
        """EVENTINJ is valid."""
        return bool(self._data[_EVENTINJ_VALID] & 0x80)

    def interruptible(self) -> bool:
        """IF, no shadow, nothing pending."""
        processor = self._processor
        return bool(
            processor.rflags & RFLAGS_IF
            and not processor.interruptibility & (Shadow.STI | Shadow.MOV_SS)
            and not self.event_pending()
        )

    def request_interrupt_window(self, wanted: bool) -> None:
        """Set or clear a virtual interrupt whose delivery is intercepted: V_IRQ with V_IGN_TPR, and VINTR."""
        if self._window == wanted:
            return
        self._window = wanted
        vmcb = self.vmcb
        changed = vmcb.changed
        vintr = vmcb.read(Control.VINTR) & ~(Vintr.V_IRQ | Vintr.V_IGN_TPR)
        general = vmcb.read(Control.INTERCEPT_3) & ~Intercept3.VINTR
        if wanted:
            vintr |= Vintr.V_IRQ | Vintr.V_IGN_TPR
            general |= Intercept3.VINTR
        vmcb.write(Control.VINTR, vintr)
        vmcb.write(Control.INTERCEPT_3, general)
        vmcb.changed = changed  # neither is a thing that VMRUN checks
        intercepts = self._processor.intercepts
        intercepts.interrupt_window = wanted
        intercepts.external_interrupt = not wanted and bool(general & Intercept3.INTR)
        self._processor.update_intercepts()

    def interrupt_shadow(self) -> int:
        """Read the block's one shadow for STI and MOV SS, and the processor's NMI blocking."""
        shadow = Shadow.STI if self.vmcb.read(Control.INTERRUPT_SHADOW) & 1 else 0
        return shadow | int(self._processor.interruptibility) & Shadow.NMI

    def set_interrupt_shadow(self, shadow: int) -> None:
        """Set what `interrupt_shadow` returns."""
        self._processor.interruptibility = shadow & Shadow.NMI
        self.vmcb.write(Control.INTERRUPT_SHADOW, int(bool(shadow & (Shadow.STI | Shadow.MOV_SS))))

    def save(self) -> GuestState:
        """From the state-save area."""
        read, processor = self.vmcb.read, self._processor
        gpr = [processor.gpr(i) for i in range(16)]
        gpr[Register.RAX], gpr[Register.RSP] = read(Save.RAX), read(Save.RSP)
        segments = []
        for segment in SEGMENTS:
            selector, attributes, limit, base = map(read, segment_fields(segment))
            segments.append(SegmentState(selector, base, limit, unpack_attributes(attributes)))
        return GuestState(
            gpr=gpr,
            rip=read(Save.RIP),
            rflags=read(Save.RFLAGS),
            cr0=read(Save.CR0),
            cr2=read(Save.CR2),
            cr3=read(Save.CR3),
            cr4=read(Save.CR4),
            efer=read(Save.EFER) & ~EFER_SVME,
            segments=segments,
            gdtr=(read(Field(Save.GDTR + 8, 8)), read(Field(Save.GDTR + 4, 4))),
            idtr=(read(Field(Save.IDTR + 8, 8)), read(Field(Save.IDTR + 4, 4))),
            interruptibility=self.interrupt_shadow(),
            activity=processor.activity,
        )

    def load(self, state: GuestState) -> None:
        """Into the state-save area, which is checked on the next VMRUN."""
        write, processor = self.vmcb.write, self._processor
        for i, value in enumerate(state.gpr):
            processor.set_gpr(i, value)
        for field, value in (
            (Save.RAX, state.gpr[Register.RAX]),
            (Save.RSP, state.gpr[Register.RSP]),
            (Save.RIP, state.rip),
            (Save.RFLAGS, state.rflags),
            (Save.CR0, state.cr0),
            (Save.CR2, state.cr2),
            (Save.CR3, state.cr3),
            (Save.CR4, state.cr4),
            (Save.EFER, state.efer | EFER_SVME),
            (Field(Save.GDTR + 8, 8), state.gdtr[0]),
            (Field(Save.GDTR + 4, 4), state.gdtr[1]),
            (Field(Save.IDTR + 8, 8), state.idtr[0]),
            (Field(Save.IDTR + 4, 4), state.idtr[1]),
            (Save.CPL, state.segments[SegmentName.SS].attributes >> 5 & 3),
        ):
            write(field, value)
        for at, segment in zip(SEGMENTS, state.segments, strict=True):
            selector, attributes, limit, base = segment_fields(at)
            write(selector, segment.selector)
            write(attributes, pack_attributes(segment.attributes))
            write(limit, segment.limit)
            write(base, segment.base)
        self.set_interrupt_shadow(state.interruptibility)
        processor.activity = state.activity

    def describe(self) -> dict[str, str]:
        """Return the exit fields of the control area."""
        read = self.vmcb.read
        fields = {
            "exitcode": Control.EXITCODE,
            "exitinfo1": Control.EXITINFO1,
            "exitinfo2": Control.EXITINFO2,
            "exitintinfo": Control.EXITINTINFO,
            "nrip": Control.NRIP,
        }
        record = {name: hex(read(field)) for name, field in fields.items()}
        fetched = self._data[_FETCHED]
        record["instruction_bytes"] = self._data[_FETCHED + 1 : _FETCHED + 1 + fetched].hex()
        return record


def _cached(p: Processor) -> dict[int, Cached]:
    """List the fields that live in the processor while the block is in use."""

    def shadow(value: int) -> None:
        p.interruptibility = p.interruptibility & Shadow.NMI | (Shadow.STI if value & 1 else 0)

    cached = {
        Save.CPL: Cached(lambda: p.cpl, lambda _: None),  # follows SS.DPL
        Save.EFER: Cached(lambda: p.efer | EFER_SVME, lambda v: setattr(p, "efer", v & ~EFER_SVME)),
        Save.CR4: Cached(partial(p.cr, 4), partial(p.set_cr, 4)),
        Save.CR3: Cached(partial(p.cr, 3), partial(p.set_cr, 3)),
        Save.CR0: Cached(partial(p.cr, 0), partial(p.set_cr, 0)),
        Save.CR2: Cached(partial(p.cr, 2), partial(p.set_cr, 2)),
        Save.DR7: Cached(partial(p.dr, 7), partial(p.set_dr, 7)),
        Save.DR6: Cached(partial(p.dr, 6), partial(p.set_dr, 6)),
        Save.RFLAGS: Cached(lambda: p.rflags, lambda v: setattr(p, "rflags", v)),
        Save.RIP: Cached(lambda: p.rip, lambda v: setattr(p, "rip", v)),
        Save.RSP: Cached(partial(p.gpr, Register.RSP), partial(p.set_gpr, Register.RSP)),
        Save.RAX: Cached(partial(p.gpr, Register.RAX), partial(p.set_gpr, Register.RAX)),
        Save.SYSENTER_CS: _cached_msr(p, MSR_SYSENTER_CS),
        Save.SYSENTER_ESP: _cached_msr(p, MSR_SYSENTER_CS + 1),
        Save.SYSENTER_EIP: _cached_msr(p, MSR_SYSENTER_CS + 2),
        Control.INTERRUPT_SHADOW: Cached(
            lambda: int(bool(p.interruptibility & (Shadow.STI | Shadow.MOV_SS))), shadow
        ),
    }
    by_offset = {field.offset: entry for field, entry in cached.items()}
    by_offset[Save.GDTR + 4] = Cached(lambda: p.gdtr[1], lambda v: p.set_gdtr(p.gdtr[0], v))
    by_offset[Save.GDTR + 8] = Cached(lambda: p.gdtr[0], lambda v: p.set_gdtr(v, p.gdtr[1]))
    by_offset[Save.IDTR + 4] = Cached(lambda: p.idtr[1], lambda v: p.set_idtr(p.idtr[0], v))
    by_offset[Save.IDTR + 8] = Cached(lambda: p.idtr[0], lambda v: p.set_idtr(v, p.idtr[1]))
    for index, segment in enumerate(SEGMENTS):
        selector, attributes, limit, base = segment_fields(segment)
        by_offset[selector.offset] = _cached_segment(p, index, 0)
        by_offset[base.offset] = _cached_segment(p, index, 1)
        by_offset[limit.offset] = _cached_segment(p, index, 2)
        by_offset[attributes.offset] = _cached_segment(p, index, 3)
    return by_offset


def _cached_msr(processor: Processor, index: int) -> Cached:
    def write(value: int) -> None:
        processor.set_msr(index, value)

    return Cached(lambda: processor.msr(index) or 0, write)


def _cached_segment(processor: Processor, index: int, part: int) -> Cached:
    """Part 0 selector, 1 base, 2 limit, 3 attributes (which alone are written another way in the block)."""

    def parts() -> list[int]:
        segment = processor.segment(index)
        return [segment.selector, segment.base, segment.limit, segment.attributes]

    def read() -> int:
        return pack_attributes(parts()[part]) if part == 3 else parts()[part]

    def write(value: int) -> None:
        values = parts()
        values[part] = unpack_attributes(value) if part == 3 else value
        processor.set_segment(index, *values)

    return Cached(read, write)
