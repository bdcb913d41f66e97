# The processor's Python face; what it does stands in processor.py.
from collections.abc import Buffer
from typing import NamedTuple

from hvcore.cpu.exitinfo import ExitInfo
from hvcore.memory import GuestMemory

COMPILED: bool
UNUSABLE: int
SIGNATURE: int
EVERYTHING: int

class Segment(NamedTuple):
    selector: int
    base: int
    limit: int
    attributes: int

class Instruction(NamedTuple):
    length: int
    opcode: int
    kind: int
    operand_size: int
    address_size: int
    segment: int
    rep: int
    lock: bool
    memory: bool

class Intercepts:
    external_interrupt: bool
    interrupt_if: bool
    nmi: bool
    nmi_virtual: bool
    interrupt_window: bool
    nmi_window: bool
    iret_keeps_nmi_blocked: bool
    hlt: bool
    io: bool
    io_bitmap: bytes | None
    cpuid: bool
    rdtsc: bool
    rdpmc: bool
    rdmsr: bool
    wrmsr: bool
    msr_read: bytes | None
    msr_write: bytes | None
    exceptions: int
    page_fault_mask: int
    page_fault_match: int
    cr0_mask: int
    cr0_shadow: int
    cr4_mask: int
    cr4_shadow: int
    cr3_targets: tuple[int, ...]
    cr0_selective: bool
    cr_read: int
    cr_write: int
    dr_read: int
    dr_write: int
    dr_first: bool
    invd: bool
    wbinvd: bool
    invlpg: bool
    pause: bool
    task_switch: bool
    iret: bool
    pushf: bool
    popf: bool
    icebp: bool
    vm_instructions: int
    ferr: bool
    software_interrupt: bool
    descriptor_table: int
    def clear(self) -> None: ...

class Processor:
    intercepts: Intercepts
    ferr: int  # FERR#: an x87 exception waits while CR0.NE is clear
    ignne: int  # IGNNE#
    rip: int
    rflags: int
    interruptibility: int
    activity: int
    efer: int
    pause_left: int
    tsc_offset: int
    def __init__(self, memory: GuestMemory, pins: Buffer, vcpu: int = 0) -> None: ...
    @property
    def cpl(self) -> int: ...
    @property
    def icount(self) -> int: ...
    @property
    def gdtr(self) -> tuple[int, int]: ...
    @property
    def idtr(self) -> tuple[int, int]: ...
    @property
    def tsc(self) -> int: ...
    @property
    def statistics(self) -> dict[str, int]: ...
    @property
    def exit(self) -> ExitInfo: ...
    @property
    def pending_injection(self) -> bool: ...
    def set_model(self, signature: int, features: int, extended: int = 0) -> None: ...
    def reset(self) -> None: ...
    def gpr(self, number: int) -> int: ...
    def set_gpr(self, number: int, value: int) -> None: ...
    def cr(self, number: int) -> int: ...
    def set_cr(self, number: int, value: int) -> None: ...
    def dr(self, number: int) -> int: ...
    def set_dr(self, number: int, value: int) -> None: ...
    def segment(self, number: int) -> Segment: ...
    def set_segment(self, number: int, selector: int, base: int, limit: int, attributes: int) -> None: ...
    def set_gdtr(self, base: int, limit: int) -> None: ...
    def set_idtr(self, base: int, limit: int) -> None: ...
    def msr(self, index: int) -> int | None: ...
    def set_msr(self, index: int, value: int) -> bool: ...
    def update_intercepts(self) -> None: ...
    def run(self, budget: int) -> int: ...
    def stop(self) -> None: ...
    def raise_nmi(self) -> None: ...
    def flush_tlb(self) -> None: ...
    def skip(self, next_rip: int) -> bool: ...
    def inject(
        self, kind: int, vector: int, error_code: int | None = None, instruction_length: int = 0
    ) -> None: ...
    def task_switch(
        self,
        selector: int,
        source: int,
        next_rip: int,
        external: bool = False,
        error_code: int | None = None,
    ) -> bool: ...
    def raise_exception(self, vector: int, error_code: int | None = None) -> None: ...
    def sample_pins(self) -> None: ...
    def memory_changed(self) -> None: ...
    def invalidate_code(self, address: int, length: int) -> None: ...
    def translate(self, linear: int, write: bool, user: bool) -> int: ...
    def segment_linear(self, segment: int, offset: int, size: int, write: bool) -> int: ...
    def instruction_bytes(self) -> bytes: ...
    def emulate_begin(self) -> None: ...
    def emulate(self) -> int: ...
    def emulate_supply(self, value: int) -> None: ...
    def emulated_writes(self) -> list[tuple[int, int, int]]: ...
    def decode(self, code: bytes, bits: int) -> Instruction | None: ...
