# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""One vCPU under SVM, joined from its parts: `entry.py`, `record.py`, `handler.py`, `guest.py`.

The halves meet only in the VMCB. `VmRun` and `Recorder` are the hardware: they take a VMCB in and the
processor's raw exit out. `FirstLevel` is the hypervisor: it sees the control area's exit fields, and calls the
common layer.
"""

from collections.abc import Callable
from typing import Final

import cython

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import Processor
from hvcore.hvm import CR0_PE, RFLAGS_IF, EventKind, ExitHandlers, GuestState, Shadow, Vector
from hvcore.svm import checks, guest
from hvcore.svm.entry import VmRun
from hvcore.svm.exits import ExitCode
from hvcore.svm.handler import FirstLevel
from hvcore.svm.record import Recorder
from hvcore.svm.vmcb import (
    EVENT_VALID,
    QWORD,
    SIZE,
    Control,
    EventType,
    Intercept3,
    Intercept4,
    Save,
    Vintr,
    Vmcb,
    event,
)

# Bound methods of our own: CPython 3.11 loads an attribute of an imported name the slow way.
_pack_qword: Final = QWORD.pack_into
_EVENTINJ: Final = Control.EVENTINJ.offset
_EVENTINJ_VALID: Final = _EVENTINJ + 3
"""The byte with bit 31, V."""
_NRIP: Final = Control.NRIP.offset
_FETCHED: Final = Control.FETCHED.offset
# Quadwords of the block, and C numbers where this is compiled: these are read on every entry and exit.
_EXITCODE_AT = cython.declare(cython.int, Control.EXITCODE.offset // 8)
_EVENTINJ_AT = cython.declare(cython.int, Control.EVENTINJ.offset // 8)
_VALID = cython.declare(cython.ulonglong, EVENT_VALID)
_IOIO = cython.declare(cython.ulonglong, ExitCode.IOIO)
_IO_EXIT = cython.declare(cython.int, ExitKind.IO)

DR6_BS: Final = 1 << 14
PAT_POWER_ON: Final = 0x0007_0406_0007_0406
ASID: Final = 1
IOPM_BASE: Final = 0x1000
MSRPM_BASE: Final = 0x4000
NESTED_CR3: Final = 0x6000
"""Nominal host addresses: the processor's slots stand for the nested tables."""


class SvmBackend:
    """`HvmBackend` for AMD-V."""

    name = "svm"

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self._exit = processor.exit
        self.vmcb = Vmcb(guest.cached(processor))
        self._data = self.vmcb.data
        self._words = memoryview(self.vmcb.data).cast("Q")
        self.recorder = Recorder(processor, self.vmcb)
        self._record = self.recorder.table
        self.entry = VmRun(processor, self.vmcb, self.recorder)
        self._window = False
        self.nmi_window = False
        """The guest's IRET is waited for, to inject an NMI."""
        self._first_level: FirstLevel | None = None
        self._handlers: dict[int, Callable[[], object]] = {}
        self._unexpected: Callable[[], None] = _nobody
        self.reset()

    # HvmBackend: life

    def attach(self, handlers: ExitHandlers) -> None:
        """Connect the common layer."""
        self.entry.acknowledge = handlers.acknowledge
        self._first_level = FirstLevel(self, handlers)
        self._handlers = self._first_level.table
        self._unexpected = self._first_level.on_unexpected

    def reset(self) -> None:
        """Make a fresh block: the power-on state, and the controls this hypervisor wants."""
        self.processor.reset()
        vmcb = self.vmcb
        vmcb.in_use = False
        vmcb.data[:] = bytes(SIZE)
        vmcb.save()
        vmcb.changed = True
        self._window = self.nmi_window = self.entry.hurry = False
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
        self.entry.host_memory.allocate(IOPM_BASE, b"\xff" * checks.IOPM_SIZE)
        self.entry.host_memory.allocate(MSRPM_BASE, b"\xff" * checks.MSRPM_SIZE)
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
        changed = self.vmcb.changed
        if changed and not self.entry.check():
            return
        if self._words[_EVENTINJ_AT] & _VALID and not self.entry.deliver():
            return
        if changed and self.entry.special:
            self._record[self.entry.run(budget)](self._exit)
            return
        kind = self.processor.run(budget)
        if kind == _IO_EXIT:
            self.recorder.record_ioio(self._exit)
        else:
            self._record[kind](self._exit)

    def handle(self) -> None:
        """First-level handler: by EXITCODE, from the VMCB alone."""
        words = self._words
        code = words[_EXITCODE_AT]
        if code != _IOIO or self._first_level is None:
            self._handlers.get(code, self._unexpected)()
        elif self._first_level.on_ioio(words[_EXITCODE_AT + 1]):
            self.advance(words[_EXITCODE_AT + 2])  # EXITINFO2 is the next RIP

    # HvmBackend: what the common layer asks for

    def skip_instruction(self, length: int) -> None:
        """Move RIP on by `length`, as `advance`."""
        self.advance(self.processor.rip + length)

    def advance(self, next_rip: int) -> None:
        """Move RIP on, end the interrupt shadow, and inject the single-step trap if TF is set."""
        processor = self.processor
        if processor.skip(next_rip):
            processor.set_debug_status(DR6_BS)
            self.inject(EventKind.HARDWARE_EXCEPTION, Vector.DB, None, 0)

    def inject(self, kind: int, vector: int, error: int | None, length: int) -> None:
        """By EVENTINJ. SVM has no software exceptions there: RIP moves over INT3, INTO or INT1 first."""
        if kind == EventKind.SOFTWARE_INTERRUPT:
            _pack_qword(self._data, _NRIP, self.processor.rip + length)
        elif kind >= EventKind.PRIVILEGED_SOFTWARE_EXCEPTION:
            self.processor.rip += length
            kind = EventType.EXCEPTION
        if not self.processor.cr(0) & CR0_PE:
            error = None  # no error code is pushed in real mode
        _pack_qword(self._data, _EVENTINJ, event(kind, vector, error))

    def event_pending(self) -> bool:
        """EVENTINJ is valid."""
        return bool(self._data[_EVENTINJ_VALID] & 0x80)

    def interruptible(self) -> bool:
        """IF, no shadow, nothing pending."""
        processor = self.processor
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
        vmcb.changed = changed  # VMRUN checks neither of these fields
        intercepts = self.processor.intercepts
        intercepts.interrupt_window = wanted
        intercepts.external_interrupt = not wanted and bool(general & Intercept3.INTR)
        self.processor.update_intercepts()

    def request_nmi_window(self, wanted: bool) -> None:
        """Intercept IRET while NMIs are blocked; otherwise what is in the way is over after one instruction."""
        self.nmi_window = wanted
        blocked = bool(self.processor.interruptibility & Shadow.NMI)
        general = self.vmcb.read(Control.INTERCEPT_3) & ~Intercept3.IRET
        if wanted and blocked:
            general |= Intercept3.IRET
        self.entry.hurry = wanted and not blocked
        self.vmcb.write(Control.INTERCEPT_3, general)

    def interrupt_shadow(self) -> int:
        """Read the block's one shadow for STI and MOV SS, and the processor's NMI blocking."""
        shadow = Shadow.STI if self.vmcb.read(Control.INTERRUPT_SHADOW) & 1 else 0
        return shadow | int(self.processor.interruptibility) & Shadow.NMI

    def set_interrupt_shadow(self, shadow: int) -> None:
        """Set what `interrupt_shadow` returns."""
        self.processor.interruptibility = shadow & Shadow.NMI
        self.vmcb.write(Control.INTERRUPT_SHADOW, int(bool(shadow & (Shadow.STI | Shadow.MOV_SS))))

    def save(self) -> GuestState:
        """From the state-save area."""
        return guest.save(self.vmcb, self.processor, self.interrupt_shadow())

    def load(self, state: GuestState) -> None:
        """Into the state-save area, which is checked on the next VMRUN."""
        guest.load(self.vmcb, self.processor, state)
        self.set_interrupt_shadow(state.interruptibility)

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


def _nobody() -> None:
    raise AssertionError("a #VMEXIT before the common layer was attached")
