"""VMRUN: its consistency checks, the intercepts put into force, and event injection (APM vol. 2 section 15.5)."""

from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.hvm import EventKind
from hvcore.svm import checks
from hvcore.svm.record import Recorder
from hvcore.svm.vmcb import (
    EVENT_ERROR_SHIFT,
    EVENT_ERROR_VALID,
    EVENT_TYPE,
    EVENT_TYPE_SHIFT,
    EVENT_VALID,
    EVENT_VECTOR,
    QWORD,
    Control,
    EventType,
    Intercept3,
    Intercept4,
    Vintr,
    Vmcb,
)

_EVENTINJ: Final = Control.EVENTINJ.offset
_NRIP: Final = Control.NRIP.offset


class VmRun:
    """What VMRUN does with one VMCB before the guest's first instruction."""

    def __init__(self, processor: Processor, vmcb: Vmcb, recorder: Recorder) -> None:
        self._processor = processor
        self._vmcb = vmcb
        self._data = vmcb.data
        self._recorder = recorder
        self.iopm = bytearray(b"\xff" * checks.IOPM_SIZE)
        """The I/O permission map that IOPM_BASE_PA points at: a set bit intercepts its port."""

    def check(self) -> bool:
        """Run the consistency checks. False: VMEXIT_INVALID is recorded."""
        vmcb = self._vmcb
        rule = checks.broken_rule(vmcb)
        if rule is not None:
            self._recorder.record_invalid(rule)
            return False
        if not vmcb.in_use:
            vmcb.load()
        vmcb.changed = False
        self.apply_intercepts()
        return True

    def apply_intercepts(self) -> None:
        """Turn the intercept words into the processor's intercepts."""
        read, intercepts = self._vmcb.read, self._processor.intercepts
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

    def deliver(self) -> bool:
        """Inject by EVENTINJ. False: the event is illegal, and VMEXIT_INVALID is recorded."""
        injection = QWORD.unpack_from(self._data, _EVENTINJ)[0]
        if not checks.event_is_legal(injection):
            self._recorder.record_invalid("illegal event injection")
            return False
        kind = (injection & EVENT_TYPE) >> EVENT_TYPE_SHIFT
        error = injection >> EVENT_ERROR_SHIFT if injection & EVENT_ERROR_VALID else None
        length = 0
        if kind == EventType.SOFTWARE_INTERRUPT:
            # With the next-RIP feature, INTn returns to nRIP.
            length = QWORD.unpack_from(self._data, _NRIP)[0] - self._processor.rip & 0xF
        self._processor.inject(kind, injection & EVENT_VECTOR, error, length)
        QWORD.pack_into(self._data, _EVENTINJ, injection & ~EVENT_VALID)
        return True

    def window_intercepted(self) -> bool:
        """Whether a virtual interrupt that could be taken is a #VMEXIT."""
        return bool(self._vmcb.read(Control.INTERCEPT_3) & Intercept3.VINTR)

    def deliver_virtual_interrupt(self) -> None:
        """V_IRQ that nobody intercepts: the processor takes V_INTR_VECTOR by itself (section 15.21.4)."""
        vintr = self._vmcb.read(Control.VINTR)
        self._vmcb.write(Control.VINTR, vintr & ~Vintr.V_IRQ)
        self._vmcb.changed = False
        self.apply_intercepts()
        vector = vintr >> Vintr.V_INTR_VECTOR_SHIFT & 0xFF
        self._processor.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)
