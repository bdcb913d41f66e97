# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""The hypervisor's half of a #VMEXIT: decode the record in the VMCB, and call the common layer.

Nothing here sees the processor's raw exit: only the control area's exit fields (APM vol. 2 chapter 15).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import cython

from hvcore.cpu.exitinfo import TaskSource
from hvcore.hvm import (
    SHUTDOWN,
    SOFTWARE_EXCEPTIONS,
    WITH_ERROR_CODE,
    EventKind,
    ExitHandlers,
    Vector,
    exception_during,
)
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
)
from hvcore.svm.vmcb import (
    EVENT_TYPE,
    EVENT_TYPE_SHIFT,
    EVENT_VALID,
    EVENT_VECTOR,
    QWORD,
    Control,
    EventType,
)

if TYPE_CHECKING:
    from hvcore.svm.backend import SvmBackend

_EXITINFO1: Final = Control.EXITINFO1.offset
_EXITINFO2: Final = Control.EXITINFO2.offset
# Bound methods of our own: CPython 3.11 loads an attribute of an imported name the slow way.
_pack_qword: Final = QWORD.pack_into
_unpack_qword: Final = QWORD.unpack_from
_EXITINTINFO: Final = Control.EXITINTINFO.offset
_EVENTINJ: Final = Control.EVENTINJ.offset
_NRIP: Final = Control.NRIP.offset
_FETCHED: Final = Control.FETCHED.offset
# C numbers where this is compiled.
_STRING = cython.declare(cython.ulonglong, IOIO_STRING)
_IN = cython.declare(cython.ulonglong, IOIO_IN)
_SIZE = cython.declare(cython.ulonglong, IOIO_SIZE)
_SIZE_SHIFT = cython.declare(cython.int, IOIO_SIZE_SHIFT)
_PORT_SHIFT = cython.declare(cython.int, IOIO_PORT_SHIFT)


class FirstLevel:
    """The first-level #VMEXIT handlers of one vCPU, by EXITCODE in `table`."""

    def __init__(self, backend: "SvmBackend", handlers: ExitHandlers) -> None:
        self._backend = backend
        self._processor = backend.processor
        self._entry = backend.entry
        self._vmcb = backend.vmcb
        self._data = backend.vmcb.data
        self._handlers = handlers
        self._port_in, self._port_out = handlers.port_in, handlers.port_out
        self.table: dict[int, Callable[[], object]] = {
            ExitCode.INTR: handlers.external_interrupt,
            ExitCode.VINTR: handlers.interrupt_window,
            ExitCode.NMI: handlers.nmi,
            ExitCode.SWINT: self._on_software_interrupt,
            ExitCode.ICEBP: self._on_icebp,
            ExitCode.FERR_FREEZE: self._go_on,
            ExitCode.INVLPGA: self._let_run,
            ExitCode.RDTSC: partial(self._on_instruction, handlers.rdtsc),
            ExitCode.RDPMC: self._let_run,
            ExitCode.CPUID: partial(self._on_instruction, handlers.cpuid),
            ExitCode.IRET: self._on_iret,
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
        for code in (
            *range(ExitCode.CR0_SEL_WRITE, ExitCode.TR_WRITE + 1),
            ExitCode.PUSHF,
            ExitCode.POPF,
        ):
            self.table[code] = self._let_run
        for code in range(ExitCode.VMRUN, ExitCode.SKINIT + 1):
            self.table[code] = self._on_vm_instruction
        for number in range(64):  # control and debug registers, reads and writes
            self.table[ExitCode.CR_READ + number] = self._let_run
        for vector in range(32):
            self.table[ExitCode.EXCEPTION + vector] = partial(self._on_exception, vector)

    def on_ioio(self, info: int) -> bool:
        """IN, OUT, INS, OUTS by EXITINFO1. Whether the instruction is finished: the backend moves RIP on."""
        port, size = info >> _PORT_SHIFT, info >> _SIZE_SHIFT & _SIZE
        if info & _STRING:
            return self._handlers.port_string(
                port,
                size,
                bool(info & IOIO_IN),
                bool(info & IOIO_REP),
                info >> IOIO_SEGMENT_SHIFT & IOIO_SEGMENT,
                (info >> IOIO_ADDRESS_SHIFT & IOIO_ADDRESS) << 1,
            )
        if info & _IN:
            self._port_in(port, size)
        else:
            self._port_out(port, size)
        return True

    def _infos(self) -> tuple[int, int]:
        data = self._data
        return _unpack_qword(data, _EXITINFO1)[0], _unpack_qword(data, _EXITINFO2)[0]

    def _on_npf(self) -> None:
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
        if vector in SOFTWARE_EXCEPTIONS:
            self._backend.inject(EventKind.SOFTWARE_EXCEPTION, vector, None, self._length())
            return
        interrupted = _unpack_qword(self._data, _EXITINTINFO)[0]
        if interrupted & EVENT_VALID:
            exception = (interrupted & EVENT_TYPE) >> EVENT_TYPE_SHIFT == EventType.EXCEPTION
            reflected = exception_during(interrupted & EVENT_VECTOR if exception else None, vector)
            if reflected == SHUTDOWN:
                self._handlers.triple_fault()
                return
            vector, error = reflected, 0 if reflected == Vector.DF else error
        has_error = vector in WITH_ERROR_CODE
        self._backend.inject(EventKind.HARDWARE_EXCEPTION, vector, error if has_error else None, 0)

    def _on_software_interrupt(self) -> None:
        self._backend.inject(
            EventKind.SOFTWARE_INTERRUPT, self._infos()[0] & EVENT_VECTOR, None, self._length()
        )

    def _on_icebp(self) -> None:
        self._processor.set_debug_status(0)
        self._backend.inject(EventKind.PRIVILEGED_SOFTWARE_EXCEPTION, Vector.DB, None, self._length())

    def _on_vm_instruction(self) -> None:
        """Refuse: the guest has no SVM, so far as CPUID says."""
        self._backend.inject(EventKind.HARDWARE_EXCEPTION, Vector.UD, None, 0)

    def _on_iret(self) -> None:
        """Let an NMI handler end, if that was waited for: there is no other window for the next NMI."""
        self._let_run()
        if self._backend.nmi_window:
            self._handlers.nmi_window()

    def _go_on(self) -> None:
        """Do nothing: the guest's x87 instruction waits for its interrupt, which goes another way."""

    def _on_hlt(self) -> None:
        self._skip()
        self._handlers.halt()

    def _on_instruction(self, emulate: Callable[[], None]) -> None:
        emulate()
        self._skip()

    def _on_msr(self) -> None:
        write = self._infos()[0] & MSR_WRITE
        if self._handlers.wrmsr() if write else self._handlers.rdmsr():
            self._skip()

    def _on_task_switch(self) -> None:
        """Decode section 15.14.1; nRIP is that of the instruction, or of the event that goes through a gate."""
        selector, info = self._infos()
        interrupted, next_rip = (_unpack_qword(self._data, at)[0] for at in (_EXITINTINFO, _NRIP))
        source, external, error = TaskSource.CALL, False, None
        if interrupted & EVENT_VALID:
            source = TaskSource.GATE
            kind, vector = (interrupted & EVENT_TYPE) >> EVENT_TYPE_SHIFT, interrupted & EVENT_VECTOR
            software = kind == EventType.SOFTWARE_INTERRUPT or next_rip != self._processor.rip
            external = not software and not (kind == EventType.EXCEPTION and vector in SOFTWARE_EXCEPTIONS)
            error = info & 0xFFFF_FFFF if info & TASK_SWITCH_ERROR else None
        elif info & TASK_SWITCH_IRET:
            source = TaskSource.IRET
        elif info & TASK_SWITCH_JUMP:
            source = TaskSource.JMP
        self._handlers.task_switch(selector & 0xFFFF, source, next_rip, external, error)

    def on_unexpected(self) -> None:
        """Crash the guest over a #VMEXIT that has no handler."""
        code = self._vmcb.read(Control.EXITCODE)
        if code == ExitCode.INVALID:
            self._handlers.crash(f"VMRUN refused: {self._backend.recorder.failure}")
        else:
            self._handlers.crash(f"#VMEXIT with code {code:#x}, which no intercept asks for")

    def _let_run(self) -> None:
        """Let the intercepted instruction run: the processor knows its faults and effects best."""
        self._processor.intercepts.clear()
        self._processor.update_intercepts()
        self._handlers.emulate()
        self._entry.apply_intercepts()

    def _reinject_interrupted(self) -> None:
        """Inject the event whose delivery the exit interrupted again (section 15.20)."""
        interrupted = _unpack_qword(self._data, _EXITINTINFO)[0]
        if not interrupted & EVENT_VALID:
            return
        kind = (interrupted & EVENT_TYPE) >> EVENT_TYPE_SHIFT
        if kind == EventType.EXCEPTION and interrupted & EVENT_VECTOR in SOFTWARE_EXCEPTIONS:
            # They return behind themselves.
            self._processor.rip = _unpack_qword(self._data, _NRIP)[0]
        _pack_qword(self._data, _EVENTINJ, interrupted)

    def _length(self) -> int:
        next_rip: int = _unpack_qword(self._data, _NRIP)[0]
        return next_rip - int(self._processor.rip) & 0xF

    def _skip(self) -> None:
        self._backend.advance(_unpack_qword(self._data, _NRIP)[0])
