"""What the common layer and a vendor backend know of each other (after Xen's `hvm_function_table`).

`HvmBackend` is all that the rest of the core sees of VMX or SVM; `ExitHandlers` is all that a backend's
first-level handler knows of the common layer. General registers are the processor's and shared by both
vendors, as Xen's `guest_cpu_user_regs` are; everything else of the guest goes through the backend.
"""

from collections.abc import Callable
from typing import Final, Protocol

import attrs


class EventKind:
    """Kinds of event to deliver: the interruption types of SDM vol. 3 section 25.8.3."""

    EXTERNAL_INTERRUPT: Final = 0
    NMI: Final = 2
    HARDWARE_EXCEPTION: Final = 3
    SOFTWARE_INTERRUPT: Final = 4
    PRIVILEGED_SOFTWARE_EXCEPTION: Final = 5
    SOFTWARE_EXCEPTION: Final = 6
    OTHER: Final = 7


class Vector:
    """Exception vectors the core itself raises (SDM vol. 3 table 6-1)."""

    DB: Final = 1
    NMI: Final = 2
    BP: Final = 3
    OF: Final = 4
    UD: Final = 6
    DF: Final = 8
    GP: Final = 13
    PF: Final = 14


class Shadow:
    """Bits of the interruptibility state (SDM vol. 3 table 25-3)."""

    STI: Final = 1
    MOV_SS: Final = 2
    SMI: Final = 4
    NMI: Final = 8


class Register:
    """General registers by their encoding."""

    RAX: Final = 0
    RCX: Final = 1
    RDX: Final = 2
    RBX: Final = 3
    RSP: Final = 4
    RSI: Final = 6
    RDI: Final = 7


class SegmentName:
    """Segment registers by their encoding, then the two system segments."""

    ES: Final = 0
    CS: Final = 1
    SS: Final = 2
    DS: Final = 3
    FS: Final = 4
    GS: Final = 5
    LDTR: Final = 6
    TR: Final = 7


RFLAGS_TF: Final = 1 << 8
RFLAGS_IF: Final = 1 << 9
RFLAGS_DF: Final = 1 << 10

CR0_PE: Final = 1 << 0
CR0_PG: Final = 1 << 31

RIGHTS_L: Final = 1 << 13
RIGHTS_DB: Final = 1 << 14
RIGHTS_UNUSABLE: Final = 1 << 16


SOFTWARE_EXCEPTIONS: Final = frozenset({Vector.BP, Vector.OF})
"""Those that an instruction raises on purpose, INT3 and INTO: their frames point behind it."""
WITH_ERROR_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17})
"""Vectors of exceptions that push an error code (SDM vol. 3 table 6-1)."""
CONTRIBUTORY: Final = frozenset({0, 10, 11, 12, 13})
SHUTDOWN: Final = -1


def exception_during(first: int | None, second: int) -> int:
    """Which exception a hypervisor reflects when `second` was met while exception `first` was being delivered.

    `second` itself, DF in its place, or SHUTDOWN (SDM vol. 3 table 6-5). `first` is None for an event that is no
    exception.
    """
    serious = second in CONTRIBUTORY or second == Vector.PF
    if first == Vector.DF and serious:
        return SHUTDOWN
    if (first in CONTRIBUTORY and second in CONTRIBUTORY) or (first == Vector.PF and serious):
        return Vector.DF
    return second


@attrs.frozen
class SegmentState:
    """One segment register; `attributes` in the access-rights format of SDM vol. 3 table 25-2."""

    selector: int
    base: int
    limit: int
    attributes: int


@attrs.define
class GuestState:
    """A vCPU's registers in nobody's format: what the builder starts from and a dump prints."""

    gpr: list[int]
    rip: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    segments: list[SegmentState]
    gdtr: tuple[int, int]
    """Base, limit."""
    idtr: tuple[int, int]
    interruptibility: int
    activity: int
    pdptes: list[int] = attrs.field(factory=lambda: [0] * 4)
    """The PDPTE registers of PAE paging; a vendor that loads them from memory takes no notice of them."""


@attrs.frozen
class ExitHandlers:
    """The common layer's entry points, called by a first-level handler with neutral arguments.

    Those that return a bool say whether the instruction is finished and must be skipped; if not, a fault was
    raised or the instruction is to be executed again.
    """

    port_in: Callable[[int, int], None]
    """(port, size): IN to AL, AX or EAX."""
    port_out: Callable[[int, int], None]
    """(port, size): OUT from AL, AX or EAX."""
    port_string: Callable[[int, int, bool, bool, int, int], bool]
    """(port, size, read, rep, segment, address size in bytes): INS or OUTS."""
    mmio: Callable[[int, bytes, bool], None]
    """(guest-physical address, instruction bytes if the hardware gave them, it is a fetch): an access that no
    memory answers. Moves on by itself."""
    emulate: Callable[[], None]
    """Execute the instruction at RIP in the processor, devices standing in for memory. Moves on by itself."""
    cpuid: Callable[[], None]
    rdmsr: Callable[[], bool]
    wrmsr: Callable[[], bool]
    rdtsc: Callable[[], None]
    halt: Callable[[], None]
    """After the instruction was skipped."""
    task_switch: Callable[[int, int, int, bool, int | None], None]
    """(TSS selector, source, RIP of the outgoing task, an external event, error code for the incoming task's
    stack): carry it out. Moves on by itself. Sources are those of `hvcore.cpu.exitinfo.TaskSource`."""
    external_interrupt: Callable[[], object]
    """The interrupt pin went up (or the host wants the vCPU's attention) while the guest ran."""
    interrupt_window: Callable[[], object]
    """The window that was asked for is open."""
    acknowledge: Callable[[], int]
    """The interrupt-acknowledge cycle of a processor that takes the interrupt itself: the vector, -1 for none."""
    nmi: Callable[[], None]
    """The NMI pin went up while the guest ran."""
    nmi_window: Callable[[], None]
    """An NMI can be injected, as was asked for."""
    triple_fault: Callable[[], None]
    crash: Callable[[str], None]
    """Nothing can be done about this exit: the domain is crashed, and the text says why."""


class HvmBackend(Protocol):
    """One vCPU's hardware assistance. Not thread-safe: it belongs to the vCPU's thread."""

    name: str
    """The vendor's word for it, for messages: "vmx" or "svm"."""

    def attach(self, handlers: ExitHandlers) -> None:
        """Connect the common layer; once, before the first entry."""

    def reset(self) -> None:
        """Power-on state of the processor and fresh controls; a pending event is forgotten."""

    def enter(self, budget: int) -> None:
        """Enter the guest for at most `budget` instructions, and record the exit.

        Raises EntryError if the entry fails with the architectural error instead.
        """

    def handle(self) -> None:
        """Decode the record of the last exit and do what it asks for."""

    def skip_instruction(self, length: int) -> None:
        """Move RIP over the intercepted instruction of `length` bytes, and end its interrupt shadow."""

    def inject(self, kind: int, vector: int, error: int | None, length: int) -> None:
        """Deliver an event on the next entry. `kind` of EventKind; `length` for the software kinds only."""

    def event_pending(self) -> bool:
        """Tell whether an event waits for the next entry."""

    def interruptible(self) -> bool:
        """Tell whether the guest could take an external interrupt: IF, no shadow, no other event."""

    def request_interrupt_window(self, wanted: bool) -> None:
        """Exit as soon as the guest becomes interruptible; the pin itself does not exit meanwhile."""

    def request_nmi_window(self, wanted: bool) -> None:
        """Exit as soon as an NMI can be injected."""

    def interrupt_shadow(self) -> int:
        """Blocking by STI, MOV SS and NMI, as bits of Shadow."""

    def set_interrupt_shadow(self, shadow: int) -> None:
        """Set what `interrupt_shadow` returns."""

    def save(self) -> GuestState:
        """Return the guest's registers."""

    def load(self, state: GuestState) -> None:
        """Replace the guest's registers, through the vendor's own fields."""

    def describe(self) -> dict[str, str]:
        """Return the last exit's record in the vendor's words, for the log of a crash."""
