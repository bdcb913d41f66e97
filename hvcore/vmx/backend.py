# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""One vCPU under VMX, joined from its parts: `entry.py`, `record.py`, `handler.py`, `guest.py`.

The halves meet only in the VMCS. `VmEntry` and `Recorder` are the hardware: they take a VMCS in and the
processor's raw exit out. `FirstLevel` is the hypervisor: it sees the exit-information fields, and calls the
common layer.
"""

from collections.abc import Callable
from typing import Final

import cython

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import Processor
from hvcore.hvm import CR0_PE, RFLAGS_IF, ExitHandlers, GuestState, Shadow
from hvcore.vmx import checks, guest
from hvcore.vmx.capabilities import ENTRY, EXIT, PIN, PROC, Entry, Exit, Invalidation, Pin, Proc, Secondary
from hvcore.vmx.entry import VmEntry
from hvcore.vmx.exits import INFO_VALID, Reason, interruption_info
from hvcore.vmx.handler import FirstLevel
from hvcore.vmx.record import Recorder
from hvcore.vmx.vmcs import FIELDS, Field, InstructionError, Vmcs, VmFail

# Bound once, and C numbers where this is compiled: these are read on every entry and exit.
_REASON = cython.declare(cython.int, Field.EXIT_REASON)
_ENTRY_INFO = cython.declare(cython.int, Field.ENTRY_INTERRUPTION_INFO)
_PENDING_DEBUG = cython.declare(cython.int, Field.GUEST_PENDING_DEBUG)
_VALID = cython.declare(cython.ulonglong, INFO_VALID)
_IO_REASON = cython.declare(cython.ulonglong, Reason.IO_INSTRUCTION)
_IO_EXIT = cython.declare(cython.int, ExitKind.IO)

PAT_POWER_ON: Final = 0x0007_0406_0007_0406
EPT_POINTER: Final = 6 | (4 - 1) << 3 | 0x1000
"""Write-back, four levels, at a nominal host address: the processor's slots stand for the tables."""
VPID: Final = 1


class VmxBackend:
    """`HvmBackend` for Intel VT-x."""

    name = "vmx"

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self._exit = processor.exit
        self.vmcs = Vmcs(views=guest.views(processor))
        self._values = self.vmcs.values
        self.recorder = Recorder(processor, self.vmcs)
        self._record = self.recorder.table
        self.entry = VmEntry(processor, self.vmcs, self.recorder)
        self.recorder.shut_down = self.entry.was_shut_down
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
        """VMCLEAR, the processor's power-on state as guest state, and the controls this hypervisor wants."""
        self.processor.reset()
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
        write(Field.PIN_BASED_CONTROLS, PIN.zero | Pin.EXTERNAL_INTERRUPT | Pin.NMI | Pin.VIRTUAL_NMI)
        write(
            Field.PROCESSOR_CONTROLS,
            PROC.zero | Proc.TSC_OFFSETTING | Proc.HLT | Proc.UNCONDITIONAL_IO | Proc.SECONDARY,
        )
        write(
            Field.SECONDARY_CONTROLS,
            Secondary.EPT | Secondary.VPID | Secondary.WBINVD | Secondary.UNRESTRICTED_GUEST,
        )
        write(
            Field.EXIT_CONTROLS,
            EXIT.zero
            | Exit.SAVE_DEBUG
            | Exit.HOST_64
            | Exit.SAVE_PAT
            | Exit.LOAD_PAT
            | Exit.SAVE_EFER
            | Exit.LOAD_EFER,
        )
        write(Field.ENTRY_CONTROLS, ENTRY.zero | Entry.LOAD_DEBUG | Entry.LOAD_PAT | Entry.LOAD_EFER)
        write(Field.CR4_GUEST_HOST_MASK, guest.CR4_VMXE)
        write(Field.VPID, VPID)
        write(Field.EPT_POINTER, EPT_POINTER)
        write(Field.VMCS_LINK_POINTER, checks.LINK_NONE)

    def _write_host_state(self) -> None:
        """Describe a 64-bit host, as entry checks want one; of it only EFER, PAT and DR7 ever show in a guest."""
        write = self.vmcs.write
        write(Field.HOST_CR0, 0x8005_0033)
        write(Field.HOST_CR4, 0x2020)
        write(Field.HOST_EFER, 0x500)
        write(Field.HOST_PAT, PAT_POWER_ON)
        write(Field.HOST_CS_SELECTOR, 0x08)
        write(Field.HOST_SS_SELECTOR, 0x10)
        write(Field.HOST_TR_SELECTOR, 0x18)

    # HvmBackend: entry

    def enter(self, budget: int) -> None:
        """VMLAUNCH or VMRESUME, and the exit that ends it."""
        values, changed = self._values, self.vmcs.changed
        if changed and not self.entry.check():
            return
        info = values[_ENTRY_INFO]
        if info & _VALID:
            if not self.entry.deliver(info):
                return
        elif values[_PENDING_DEBUG]:
            self.entry.deliver_pending_debug()
        if changed and self.entry.special:
            self._record[self.entry.run(budget)](self._exit)
            self.entry.leave()
            return
        kind = self.processor.run(budget)
        if kind == _IO_EXIT:
            self.recorder.record_io(self._exit)
        else:
            self._record[kind](self._exit)

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

    def invept(self, kind: int, pointer: int) -> None:
        """INVEPT of a type of `Invalidation`. Raises VmFail (28) for another type, or a pointer that entry refuses.

        Nothing is kept by EPT pointer or VPID here: whatever is named, every translation is forgotten, as is allowed.
        """
        if kind not in {Invalidation.SINGLE_CONTEXT, Invalidation.ALL_CONTEXTS}:
            raise self._vmfail(InstructionError.INVALID_INVALIDATION, f"INVEPT of type {kind}")
        if kind == Invalidation.SINGLE_CONTEXT:
            try:
                checks.check_ept_pointer(pointer)
            except checks.Refused as refused:
                raise self._vmfail(InstructionError.INVALID_INVALIDATION, f"INVEPT: {refused}") from None
        self.processor.flush_tlb()

    def invvpid(self, kind: int, vpid: int, address: int = 0) -> None:
        """INVVPID of a type of `Invalidation`. Raises VmFail (28) for another type, VPID or linear address."""
        known = Invalidation.INDIVIDUAL_ADDRESS <= kind <= Invalidation.SINGLE_CONTEXT_BUT_GLOBALS
        named = kind == Invalidation.ALL_CONTEXTS or vpid != 0
        reached = kind != Invalidation.INDIVIDUAL_ADDRESS or checks.canonical(address)
        if vpid >> 16 or not (known and named and reached):
            text = f"INVVPID: type {kind}, VPID {vpid}, address {address:#x}"
            raise self._vmfail(InstructionError.INVALID_INVALIDATION, text)
        self.processor.flush_tlb()

    def handle(self) -> None:
        """First-level handler: by the basic exit reason, from the VMCS alone."""
        reason = self._values[_REASON]
        if reason == _IO_REASON and self._first_level is not None:
            self._first_level.on_io()
        else:
            self._handlers.get(reason, self._unexpected)()

    # HvmBackend: what the common layer asks for

    def skip_instruction(self, length: int) -> None:
        """Move RIP on, end blocking by STI and MOV SS; with TF set leave a debug exception pending."""
        processor = self.processor
        if processor.skip(processor.rip + length):
            self._values[_PENDING_DEBUG] |= checks.PENDING_DEBUG_BS

    def inject(self, kind: int, vector: int, error: int | None, length: int) -> None:
        """By the VM-entry interruption-information fields."""
        values = self._values
        if not self.processor.cr(0) & CR0_PE:
            error = None  # no error code is pushed in real mode, and VM entry refuses one
        values[_ENTRY_INFO] = interruption_info(kind, vector, error is not None)
        values[Field.ENTRY_EXCEPTION_ERROR] = error or 0
        values[Field.ENTRY_INSTRUCTION_LENGTH] = length

    def event_pending(self) -> bool:
        """Tell whether the VM-entry interruption information is valid, or a debug trap pending."""
        values = self._values
        return bool(values[_ENTRY_INFO] & INFO_VALID or values[_PENDING_DEBUG])

    def interruptible(self) -> bool:
        """IF, no blocking, nothing pending."""
        processor = self.processor
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
            intercepts = self.processor.intercepts
            intercepts.interrupt_window = wanted
            intercepts.external_interrupt = not wanted
            self.processor.update_intercepts()

    def request_nmi_window(self, wanted: bool) -> None:
        """Set or clear NMI-window exiting."""
        controls = self._values[Field.PROCESSOR_CONTROLS]
        if bool(controls & Proc.NMI_WINDOW) != wanted:
            self._values[Field.PROCESSOR_CONTROLS] = controls ^ Proc.NMI_WINDOW
            self.processor.intercepts.nmi_window = wanted
            self.processor.update_intercepts()

    def interrupt_shadow(self) -> int:
        """Guest interruptibility state."""
        return self.vmcs.read(Field.GUEST_INTERRUPTIBILITY)

    def set_interrupt_shadow(self, shadow: int) -> None:
        """Guest interruptibility state."""
        self.vmcs.write(Field.GUEST_INTERRUPTIBILITY, shadow)

    def save(self) -> GuestState:
        """From the guest-state area."""
        return guest.save(self.vmcs, self.processor)

    def load(self, state: GuestState) -> None:
        """Into the guest-state area, which is checked on the next entry."""
        guest.load(self.vmcs, self.processor, state)

    def describe(self) -> dict[str, str]:
        """Return the exit-information fields by their names in `Field`."""
        fields = (
            Field.EXIT_REASON,
            Field.EXIT_QUALIFICATION,
            Field.EXIT_INTERRUPTION_INFO,
            Field.IDT_VECTORING_INFO,
            Field.EXIT_INSTRUCTION_LENGTH,
            Field.GUEST_LINEAR_ADDRESS,
            Field.GUEST_PHYSICAL_ADDRESS,
            Field.INSTRUCTION_ERROR,
        )
        return {FIELDS[field].lower(): hex(self._values[field]) for field in fields}

    def _vmfail(self, error: int, text: str) -> VmFail:
        self._values[Field.INSTRUCTION_ERROR] = error
        return VmFail(error, text)


def _nobody() -> None:
    raise AssertionError("an exit before the common layer was attached")
