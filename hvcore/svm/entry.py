"""VMRUN: its consistency checks, the intercepts put into force, and event injection (APM vol. 2 section 15.5).

Most guests run under controls that ask for nothing at VMRUN but what the processor holds already. What the others
want is `special`, done by `run`: what happens inside the guest and without a #VMEXIT.
"""

from collections.abc import Callable
from typing import Final

from hvcore.cpu.exitinfo import ExitInfo, ExitKind
from hvcore.cpu.processor import Processor
from hvcore.errors import EntryError
from hvcore.exits.openbus import complete_on_open_bus
from hvcore.hostmemory import HostMemory
from hvcore.hvm import EventKind
from hvcore.svm import checks
from hvcore.svm.exits import ExitCode
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

# Bound methods of our own: CPython 3.11 loads an attribute of an imported name the slow way.
_pack_qword: Final = QWORD.pack_into
_unpack_qword: Final = QWORD.unpack_from
_EVENTINJ: Final = Control.EVENTINJ.offset
_NRIP: Final = Control.NRIP.offset
PORTS: Final = 0x2000
"""Bytes of the I/O permission map that stand for ports; the rest is for accesses that reach beyond the last."""
MSR_RANGES: Final = 3
MSR_RANGE: Final = 0x800
"""Bytes of the MSR permission map a range, two bits an MSR; the fourth 2 KiB are reserved."""
DESCRIPTOR_SHIFT: Final = 6
VM_INSTRUCTIONS: Final = 0x7F


class VmRun:
    """What VMRUN does with one VMCB before the guest's first instruction."""

    def __init__(self, processor: Processor, vmcb: Vmcb, recorder: Recorder) -> None:
        self._processor = processor
        self._vmcb = vmcb
        self._data = vmcb.data
        self._recorder = recorder
        self.host_memory = HostMemory(self._changed)
        self.special = False
        """The guest's run has more to it than the processor does by itself: `run`."""
        self.hurry = False
        """The host's timer fires after one instruction, once."""
        self.acknowledge: Callable[[], int] = lambda: -1
        """The interrupt-acknowledge cycle."""
        self._asid = 0
        self._ports: bytes | None = None
        self._map = b""
        self._msr_read: bytes | None = None
        self._msr_write: bytes | None = None

    def _changed(self) -> None:
        self._vmcb.changed = True

    def check(self) -> bool:
        """Run the consistency checks. False: VMEXIT_INVALID is recorded.

        Without nested paging the four PDPEs of a guest in PAE mode are loaded and checked too (section 15.5.1).
        """
        vmcb = self._vmcb
        rule = checks.broken_rule(vmcb)
        if rule is not None:
            self._recorder.record_invalid(rule)
            return False
        if not vmcb.in_use:
            vmcb.load()
        self.apply_intercepts()
        asid, flush = vmcb.read(Control.GUEST_ASID), vmcb.read(Control.TLB_CONTROL)
        if asid != self._asid or flush:  # nothing is kept by ASID here
            self._asid = asid
            self._processor.flush_tlb()
        if not vmcb.read(Control.NP_ENABLE) and not self._processor.load_pdptes():
            self._recorder.record_invalid("a PDPE at CR3 has a reserved bit")
            return False
        self.special |= self.hurry or bool(flush)
        vmcb.changed = self.special
        return True

    # Intercepts

    def apply_intercepts(self) -> None:
        """Turn the intercept words into the processor's intercepts."""
        read, intercepts = self._vmcb.read, self._processor.intercepts
        general, more = read(Control.INTERCEPT_3), read(Control.INTERCEPT_4)
        vintr = read(Control.VINTR)
        pending = bool(vintr & Vintr.V_IRQ) and (
            bool(vintr & Vintr.V_IGN_TPR) or vintr >> Vintr.V_INTR_PRIO_SHIFT & 0xF > vintr & Vintr.V_TPR
        )
        window = pending and bool(general & Intercept3.VINTR)
        # While the window is awaited the host has taken the interrupt, and its controller holds it back.
        intercepts.external_interrupt = not window
        intercepts.interrupt_if = not vintr & Vintr.V_INTR_MASKING
        intercepts.interrupt_window = pending
        intercepts.nmi = bool(general & Intercept3.NMI)
        intercepts.cr0_selective = bool(general & Intercept3.CR0_SEL_WRITE)
        intercepts.descriptor_table = general >> DESCRIPTOR_SHIFT & 0xFF
        intercepts.rdtsc = bool(general & Intercept3.RDTSC)
        intercepts.rdpmc = bool(general & Intercept3.RDPMC)
        intercepts.pushf = bool(general & Intercept3.PUSHF)
        intercepts.popf = bool(general & Intercept3.POPF)
        intercepts.cpuid = bool(general & Intercept3.CPUID)
        intercepts.iret = bool(general & Intercept3.IRET)
        intercepts.software_interrupt = bool(general & Intercept3.INTN)
        intercepts.invd = bool(general & Intercept3.INVD)
        intercepts.pause = bool(general & Intercept3.PAUSE)
        intercepts.hlt = bool(general & Intercept3.HLT)
        intercepts.invlpg = bool(general & Intercept3.INVLPG)
        intercepts.rdmsr = intercepts.wrmsr = bool(general & Intercept3.MSR_PROT)
        intercepts.io = bool(general & Intercept3.IOIO_PROT)
        intercepts.task_switch = bool(general & Intercept3.TASK_SWITCH)
        intercepts.ferr = bool(general & Intercept3.FERR_FREEZE)
        intercepts.vm_instructions = (more & VM_INSTRUCTIONS) << 8 | bool(general & Intercept3.INVLPGA) << 15
        intercepts.icebp = bool(more & Intercept4.ICEBP)
        intercepts.wbinvd = bool(more & Intercept4.WBINVD)
        self._apply_maps(general)
        # With nested paging a guest's PDPEs are not loaded with CR3, but read by every walk (section 15.25.10).
        self._processor.pdptes_in_memory = read(Control.NP_ENABLE) & 1
        intercepts.exceptions = read(Control.INTERCEPT_EXCEPTION)
        control, debug = read(Control.INTERCEPT_CR), read(Control.INTERCEPT_DR)
        intercepts.cr_read, intercepts.cr_write = control & 0xFFFF, control >> 16
        intercepts.dr_read, intercepts.dr_write = debug & 0xFFFF, debug >> 16
        self._processor.update_intercepts()
        self.special = bool(
            (pending and not window)
            or general & (Intercept3.INTR | Intercept3.SHUTDOWN) != Intercept3.INTR | Intercept3.SHUTDOWN
            or not read(Control.NP_ENABLE)
            or (general & Intercept3.PAUSE and read(Control.PAUSE_FILTER_COUNT))
        )

    def _apply_maps(self, general: int) -> None:
        """I/O and MSR permission maps: the processor takes a copy of those that are new to it."""
        read, intercepts = self._vmcb.read, self._processor.intercepts
        intercepts.io_bitmap = intercepts.msr_read = intercepts.msr_write = None
        if general & Intercept3.IOIO_PROT:
            ports = self.host_memory.read(read(Control.IOPM_BASE_PA) & ~0xFFF, PORTS)
            if ports != self._ports:
                self._ports = ports
            intercepts.io_bitmap = None if ports.count(0xFF) == PORTS else self._ports
        if general & Intercept3.MSR_PROT:
            size = MSR_RANGES * MSR_RANGE
            permissions = self.host_memory.read(read(Control.MSRPM_BASE_PA) & ~0xFFF, size)
            if permissions.count(0xFF) == size:
                return
            if permissions != self._map:
                self._map = permissions
                self._msr_read, self._msr_write = _planes(permissions)
            intercepts.msr_read, intercepts.msr_write = self._msr_read, self._msr_write

    # Injection

    def deliver(self) -> bool:
        """Inject by EVENTINJ. False: the event is illegal, and VMEXIT_INVALID is recorded."""
        injection = _unpack_qword(self._data, _EVENTINJ)[0]
        if not checks.event_is_legal(injection):
            self._recorder.record_invalid("illegal event injection")
            return False
        kind = (injection & EVENT_TYPE) >> EVENT_TYPE_SHIFT
        error = injection >> EVENT_ERROR_SHIFT if injection & EVENT_ERROR_VALID else None
        length = 0
        if kind == EventType.SOFTWARE_INTERRUPT:
            # With the next-RIP feature, INTn returns to nRIP.
            length = _unpack_qword(self._data, _NRIP)[0] - self._processor.rip & 0xF
        self._processor.inject(kind, injection & EVENT_VECTOR, error, length)
        _pack_qword(self._data, _EVENTINJ, injection & ~EVENT_VALID)
        return True

    # What only some controls want

    def run(self, budget: int) -> int:
        """Run until there is a #VMEXIT; what becomes of the rest of the processor's stops is decided here."""
        processor, read = self._processor, self._vmcb.read
        if self.hurry:
            self.hurry, budget = False, 1
        processor.pause_left = read(Control.PAUSE_FILTER_COUNT)
        kind = processor.run(budget)
        while self._goes_on(kind, processor.exit):
            kind = processor.run(budget)
        return kind

    def _goes_on(self, kind: int, e: ExitInfo) -> bool:
        """Do what the hardware does inside the guest. False: it is a #VMEXIT."""
        read = self._vmcb.read
        general = read(Control.INTERCEPT_3)
        if kind == ExitKind.INTERRUPT_WINDOW and not general & Intercept3.VINTR:
            self._deliver_virtual_interrupt()
            return True
        if kind == ExitKind.EXTERNAL_INTERRUPT and not general & Intercept3.INTR:
            vector = self.acknowledge()
            if vector >= 0:
                self._processor.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)
            return True
        if kind == ExitKind.TRIPLE_FAULT and not general & Intercept3.SHUTDOWN:
            raise EntryError(ExitCode.SHUTDOWN, "the guest shut the processor down, which nobody intercepts")
        if kind == ExitKind.GUEST_PHYSICAL and not e.vectoring and not read(Control.NP_ENABLE):
            return complete_on_open_bus(self._processor)
        return False

    def _deliver_virtual_interrupt(self) -> None:
        """V_IRQ that nobody intercepts: the processor takes V_INTR_VECTOR by itself (section 15.21.4)."""
        vintr = self._vmcb.read(Control.VINTR)
        self._vmcb.write(Control.VINTR, vintr & ~Vintr.V_IRQ)
        self.apply_intercepts()
        vector = vintr >> Vintr.V_INTR_VECTOR_SHIFT & 0xFF
        self._processor.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)


def _planes(permissions: bytes) -> tuple[bytes, bytes]:
    """Take the MSR permission map apart: its bits 0, 2, 4, 6 of a byte are reads, and 1, 3, 5, 7 writes."""
    reads, writes = bytearray(), bytearray()
    for low, high in zip(permissions[::2], permissions[1::2], strict=True):
        both = high << 8 | low
        reads.append(sum((both >> 2 * i & 1) << i for i in range(8)))
        writes.append(sum((both >> 2 * i + 1 & 1) << i for i in range(8)))
    return bytes(reads), bytes(writes)
