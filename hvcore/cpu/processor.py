"""The processor as a backend sees it: registers, intercepts, `run`, and what stopped it.

It knows no vendor: it takes an `Intercepts` (what to stop on) and stops with an `ExitInfo` (what happened, raw).
"""

from typing import NamedTuple

import cython

from hvcore.cpu.constants import KINDS
from hvcore.cpu.intercepts import Intercepts
from hvcore.cpu.state import State

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import (
        breakpoints,
        codecache,
        control_registers,
        debug,
        execute,
        flags,
        loop,
        mmu,
        msrs,
        paging,
        physical,
        tasks,
        tlb,
    )
    from cython.cimports.hvcore.cpu import decode as decoder
    from cython.cimports.hvcore.cpu.fp import x87_registers
    from cython.cimports.hvcore.cpu.jit import listing, translate
    from cython.cimports.hvcore.cpu.state import (
        ACTIVE, BLOCKED_NMI, CR0_CD, CR0_ET, CR0_NW, CR0_PE, CS, DR6_BREAKPOINTS, DR6_BS, EMULATE_DONE,
        EMULATE_FAULT, EMULATE_OTHER, EMULATE_READ, EXIT_EXCEPTION, EXIT_GUEST_PHYSICAL, FAULT_EXCEPTION,
        FAULT_EXIT, FAULT_NONE, FAULT_REPEAT, F_EVERY, F_RF, F_VM, HAS_FPU, HAS_FXSR, HAS_MMX, HAS_SSE,
        HAS_SSE2, LDTR, M32, M64, MAX_OPS, MAX_SLOTS, MMIO_MAX, NO_PAGE, PAT_POWER_ON, RDX, READ,
        SHADOW_MOV_SS, SHADOW_STI, SPECIAL_DEBUG, SPECIAL_INJECT, SPECIAL_NMI, SPECIAL_RAISE, SPECIAL_RESUME,
        SPECIAL_SHADOW, SPECIAL_STOP, SPECIAL_TRAP, SPECIAL_WINDOW, SS, TLB_SIZE, TOLD_PAUSE, TOLD_POPF,
        TOLD_PUSHF, TOLD_RDTSC, TOP_HALF, TR, VEC_DB, VEC_PF, WRITE, Op, State, s64, u32, u64,
    )
else:
    from hvcore.cpu import (
        breakpoints,
        codecache,
        control_registers,
        debug,
        execute,
        flags,
        loop,
        mmu,
        msrs,
        paging,
        physical,
        tasks,
        tlb,
    )
    from hvcore.cpu import decode as decoder
    from hvcore.cpu.constants import (
        ACTIVE, BLOCKED_NMI, CR0_CD, CR0_ET, CR0_NW, CR0_PE, CS, DR6_BREAKPOINTS, DR6_BS, EMULATE_DONE,
        EMULATE_FAULT, EMULATE_OTHER, EMULATE_READ, EXIT_EXCEPTION, EXIT_GUEST_PHYSICAL, FAULT_EXCEPTION,
        FAULT_EXIT, FAULT_NONE, FAULT_REPEAT, F_EVERY, F_RF, F_VM, HAS_FPU, HAS_FXSR, HAS_MMX, HAS_SSE,
        HAS_SSE2, LDTR, M32, M64, MAX_OPS, MAX_SLOTS, MMIO_MAX, NO_PAGE, PAT_POWER_ON, RDX, READ,
        SHADOW_MOV_SS, SHADOW_STI, SPECIAL_DEBUG, SPECIAL_INJECT, SPECIAL_NMI, SPECIAL_RAISE, SPECIAL_RESUME,
        SPECIAL_SHADOW, SPECIAL_STOP, SPECIAL_TRAP, SPECIAL_WINDOW, SS, TLB_SIZE, TOLD_PAUSE, TOLD_POPF,
        TOLD_PUSHF, TOLD_RDTSC, TOP_HALF, TR, VEC_DB, VEC_PF, WRITE, s64, u32, u64,
    )
    from hvcore.cpu.fp import x87_registers
    from hvcore.cpu.jit import listing, translate
# fmt: on

COMPILED = bool(cython.compiled)
UNUSABLE = 0x10000
REAL_DATA = 0x93  # access rights after a reset: writable data that have been accessed, with DPL 0
REAL_CODE = 0x9B
SIGNATURE = 0x633  # family 6: what EDX holds after reset, until `set_model`
EVERYTHING = 0xFFFFFFFF


class Segment(NamedTuple):
    """A segment register; `attributes` as VMX access rights (SDM vol. 3 table 25-2)."""

    selector: int
    base: int
    limit: int
    attributes: int


class Instruction(NamedTuple):
    """What the decoder says of one instruction; sizes in bytes, `rep` 0, 0xF2 or 0xF3."""

    length: int
    opcode: int  # two-byte opcodes from 0x100
    kind: int  # an operation of `kinds.pxd`
    operand_size: int
    address_size: int
    segment: int
    rep: int
    lock: bool
    memory: bool


@cython.cclass
class Processor(State):
    """One x86 processor on the memory of a domain.

    `memory` is a `hvcore.memory.GuestMemory`; `pins` a writable buffer of the domain's pins page, in which word
    `vcpu` is this processor's INTR and the word at 0x200 is A20M#.
    """

    def __init__(self, memory, pins, vcpu=0) -> None:
        view: cython.uchar[::1]
        self.memory = memory
        self.vcpu = vcpu
        self.pins = memoryview(pins).cast("B").cast("I")
        self.allocate(len(memory.host) >> 12)
        self.vcpu = vcpu
        if cython.compiled:
            view = memory.host
            self.host_view = view
            self.host = cython.address(view[0])
            pin_view: cython.uint[::1] = self.pins
            self.pin = cython.address(pin_view[vcpu])
        else:
            self.host = memoryview(memory.host)
        self.intercepts = Intercepts()
        self.taken_ports = self.taken_msrs = None  # the bitmaps copied last: they are not changed in place
        translate.enable(self)
        self.blocks_used = 1
        tlb.clear(self)
        self.set_model(SIGNATURE, EVERYTHING, EVERYTHING)
        self.memory_changed()
        self.update_intercepts()
        self.sample_pins()
        self.reset()

    def set_model(self, signature: u32, features: u32, extended: u32 = 0) -> None:
        """Be the part that RESET's EDX and the EDX of CPUID leaves 1 and 8000_0001 describe, from the next `reset` on.

        CR4 bits, MSRs and instructions of missing features are refused with #GP and #UD.
        """
        self.extended = extended
        self.signature = signature
        self.features = features
        self.cr4_writable = control_registers.cr4_of(features)
        self.has_fpu = (self.features & HAS_FPU) != 0
        self.has_mmx = (self.features & HAS_MMX) != 0
        self.has_fxsr = (self.features & HAS_FXSR) != 0
        self.has_sse = (self.features & HAS_SSE) != 0
        self.has_sse2 = (self.features & HAS_SSE2) != 0
        codecache.drop_all(self)

    # Registers

    def reset(self) -> None:
        """The state after power-on (SDM vol. 3 table 10-1)."""
        i: cython.int
        for i in range(17):
            self.regs[i] = 0
        self.regs[RDX] = self.signature
        self.cr0 = CR0_CD | CR0_NW | CR0_ET
        self.cr2 = self.cr3 = self.cr4 = self.cr8 = self.efer = 0
        self.sysenter_cs = self.sysenter_esp = self.sysenter_eip = 0
        self.pat = PAT_POWER_ON
        for i in range(4):
            self.pdptes[i] = 0
        self.protected = 0
        mmu.set_cpl(self, 0)
        for i in range(6):
            self.sel[i] = 0
            self.base[i] = 0
            self.limit[i] = 0xFFFF
            self.attr[i] = REAL_DATA
        self.attr[CS] = REAL_CODE
        self.sel[CS] = 0xF000
        self.base[CS] = TOP_HALF
        self.eip = 0xFFF0
        for i in range(LDTR, TR + 1):
            self.sel[i] = 0
            self.base[i] = 0
            self.limit[i] = 0xFFFF
        self.attr[LDTR] = 0x82
        self.attr[TR] = 0x8B
        self.gdt_base = self.idt_base = 0
        self.gdt_limit = self.idt_limit = 0xFFFF
        for i in range(6):
            self.debug[i] = 0
        self.set_dr(6, 0xFFFF0FF0)
        self.set_dr(7, 0x400)
        self.shadow = 0
        self.activity_now = ACTIVE
        self.fault = FAULT_NONE
        self.fault_address = NO_PAGE
        self.special &= SPECIAL_WINDOW
        x87_registers.power_on(self)
        flags.set_eflags(self, 2)
        mmu.update_stack_and_code(self)
        tlb.flush(self)
        codecache.drop_all(self)

    def gpr(self, number):
        """General register 0 RAX to 15 R15, 64 bits."""
        return self.regs[number & 15]

    def set_gpr(self, number, value):
        """Set a general register, all 64 bits."""
        self.regs[number & 15] = value & M64

    @property
    def rip(self):
        """The offset of the next instruction in CS."""
        return self.eip

    @rip.setter
    def rip(self, value) -> None:
        self.eip = value & M32

    @property
    def rflags(self):
        """EFLAGS, every flag computed."""
        return flags.get_eflags(self)

    @rflags.setter
    def rflags(self, value) -> None:
        flags.set_eflags(self, value & (F_EVERY | F_VM))
        if self.cr0 & CR0_PE and self.flags & F_VM:
            mmu.set_cpl(self, 3)
        mmu.update_mode(self)

    def cr(self, number: cython.int):
        """Control register 0, 2, 3, 4 or 8."""
        if number == 0:
            return self.cr0
        if number == 2:
            return self.cr2
        if number == 3:
            return self.cr3
        if number == 4:
            return self.cr4
        return self.cr8

    def set_cr(self, number: cython.int, value) -> None:
        """Set a control register as it is, without the checks of MOV; forgets what depends on it.

        The PDPTE registers stay: see `set_pdpte` and `load_pdptes`.
        """
        if number == 0:
            self.cr0 = value
            if not self.cr0 & CR0_PE:
                mmu.set_cpl(self, 0)
            mmu.update_mode(self)
            tlb.flush(self)
        elif number == 2:
            self.cr2 = value
        elif number == 3:
            self.cr3 = value
            tlb.flush(self)
        elif number == 4:
            self.cr4 = value
            mmu.update_blocks(self)
            tlb.flush(self)
        else:
            self.cr8 = value

    def pdpte(self, number: cython.int):
        """PDPTE register 0 to 3: an entry of PAE's first table as it was latched (SDM vol. 3 section 4.4.1)."""
        return self.pdptes[number & 3]

    def set_pdpte(self, number: cython.int, value) -> None:
        """Set a PDPTE register as it is."""
        self.pdptes[number & 3] = value
        tlb.flush(self)

    def load_pdptes(self) -> bool:
        """Load the PDPTE registers from the table at CR3, if PAE paging is on.

        False: an entry that is present has a reserved bit. Then nothing has changed.
        """
        if not paging.pae_paging(self, self.cr0, self.cr4):
            return True
        if not paging.read_pdptes(self, self.cr3):
            self.fault = FAULT_NONE
            return False
        paging.latch_pdptes(self)
        tlb.flush(self)
        return True

    def dr(self, number: cython.int):
        """Debug register 0 to 7."""
        return self.debug[number & 7]

    def set_dr(self, number: cython.int, value) -> None:
        """Set a debug register as it is."""
        self.debug[number & 7] = value
        breakpoints.arm(self)

    def segment(self, number: cython.int):
        """Segment register 0 ES, CS, SS, DS, FS, GS, LDTR, 7 TR."""
        number &= 7
        return Segment(self.sel[number], self.base[number], self.limit[number], self.attr[number])

    def set_segment(self, number: cython.int, selector, base, limit, attributes) -> None:
        """Set a segment register whole, without the checks of a load."""
        number &= 7
        self.sel[number] = selector
        self.base[number] = base
        self.limit[number] = limit
        self.attr[number] = attributes
        if number == SS and self.protected:
            mmu.set_cpl(self, (self.attr[SS] >> 5) & 3)
        mmu.update_stack_and_code(self)

    @property
    def gdtr(self):
        """(base, limit) of the GDT."""
        return self.gdt_base, self.gdt_limit

    @property
    def idtr(self):
        """(base, limit) of the IDT."""
        return self.idt_base, self.idt_limit

    def set_gdtr(self, base, limit) -> None:
        """Set base and limit of the GDT."""
        self.gdt_base = base
        self.gdt_limit = limit

    def set_idtr(self, base, limit) -> None:
        """Set base and limit of the IDT."""
        self.idt_base = base
        self.idt_limit = limit

    def msr(self, index):
        """An MSR that the processor itself uses, or None."""
        return msrs.read_msr(self, index) if msrs.has_msr(self, index) else None

    def set_msr(self, index, value) -> bool:
        """Set such an MSR; False if there is none, or it cannot hold this value."""
        return bool(msrs.has_msr(self, index) and msrs.write_msr(self, index, value))

    @property
    def tsc(self):
        """The time-stamp counter, 1 GHz."""
        return msrs.time_stamp(self)

    @property
    def interruptibility(self):
        """Bit 0 blocking by STI, 1 by MOV SS, 3 by NMI (SDM vol. 3 table 25-3)."""
        return self.shadow

    @interruptibility.setter
    def interruptibility(self, value) -> None:
        self.shadow = value
        if value & (SHADOW_STI | SHADOW_MOV_SS):
            self.special |= SPECIAL_SHADOW
        else:
            self.special &= SPECIAL_SHADOW ^ M32

    @property
    def activity(self):
        """0 active, 1 halted, 2 shut down."""
        return self.activity_now

    @activity.setter
    def activity(self, value) -> None:
        self.activity_now = value
        if value:
            self.special |= SPECIAL_STOP

    @property
    def statistics(self):
        """How often the common case was none, and, if `timed`, how many nanoseconds that took.

        `blocks` were decoded and `translated` to host code; `exits` are returns of `run`.
        """
        return {
            "blocks": self.count_blocks,
            "tlb_misses": self.count_tlb_misses,
            "exits": self.count_exits,
            "translated": self.count_translated,
            "walking_ns": self.time_walking,
            "decoding_ns": self.time_decoding,
            "translating_ns": self.time_translating,
        }

    @property
    def stops(self):
        """How often `run` returned, by `ExitKind`."""
        i: cython.int
        return {i: self.count_stops[i] for i in range(64) if self.count_stops[i]}

    @property
    def interpreted(self):
        """How often translated blocks called the interpreter, by kind of operation: what is worth a translation."""
        i: cython.int
        return {name: self.count_interpreted[i] for name, i in KINDS.items() if self.count_interpreted[i]}

    def host_code(self, linear: u64):
        """The host code of the translated blocks at a linear address: where it lies and its bytes, `(int, bytes)` each.

        What it refers to has its names in `host_code_names`.
        """
        i: s64
        found = []
        slot: s64
        at: u64
        phys: u64 = self.translate(linear, False, False)
        slot = physical.locate(self, phys)
        if slot >= 0:
            at = self.slots[slot].read + phys - self.slots[slot].first
            for i in range(1, self.blocks_used):
                if self.blocks[i].valid and self.blocks[i].at == at and self.blocks[i].native:
                    found += [listing.host_code(self, i)]
        return found

    @property
    def host_code_names(self):
        """Names of addresses (routines that blocks share, functions of ours), and of displacements from RBX."""
        return listing.places(self) | listing.functions(), listing.fields(self)

    # Running

    @property
    def exit(self):
        """The facts of the last stop."""
        return self.info

    def update_intercepts(self) -> None:
        """Follow a change of `intercepts`: of what the processor keeps in a form of its own."""
        i: cython.int
        w = self.intercepts
        self.on_interrupt = 1 if w.external_interrupt else 0
        if cython.compiled:
            self.wanted_pin = self.pin if w.external_interrupt else cython.address(self.nothing)
        self.told = (
            (TOLD_PUSHF if w.pushf else 0)
            | (TOLD_POPF if w.popf else 0)
            | (TOLD_RDTSC if w.rdtsc else 0)
            | (TOLD_PAUSE if w.pause else 0)
        )
        self.cr3_target_count = len(w.cr3_targets)
        for i in range(len(w.cr3_targets)):
            self.cr3_targets[i] = w.cr3_targets[i]
        self.io_bitmap_used = w.io_bitmap is not None
        if w.io_bitmap is not None and w.io_bitmap is not self.taken_ports:
            self.taken_ports = w.io_bitmap
            for i in range(8192):
                self.io_bitmap[i] = w.io_bitmap[i]
        self.msr_bitmap_used = w.msr_read is not None
        if w.msr_read is not None and w.msr_read is not self.taken_msrs:
            self.taken_msrs = w.msr_read
            for i in range(3072):
                self.msr_read[i] = w.msr_read[i]
                self.msr_write[i] = w.msr_write[i]
        if w.interrupt_window or w.nmi_window:
            self.special |= SPECIAL_WINDOW
        else:
            self.special &= SPECIAL_WINDOW ^ M32

    def run(self, budget):
        """Execute up to `budget` instructions; returns the `ExitKind`. The GIL is released meanwhile."""
        self.stop_at = self.icount + budget
        if self.stop_wanted:  # asked for before we began
            self.stop_at = 0
        with cython.nogil:
            loop.run(self)
        self.stop_wanted = 0
        self.count_stops[self.info.kind] += 1
        if self.info.kind == EXIT_GUEST_PHYSICAL or (
            self.info.kind == EXIT_EXCEPTION and self.info.vector == VEC_PF
        ):
            self.info.instruction_bytes = self.instruction_bytes()
        return self.info.kind

    def stop(self) -> None:
        """Make a running `run` return soon, or the next one at once; from any thread."""
        self.stop_wanted = 1
        self.stop_at = 0

    def raise_nmi(self) -> None:
        """The NMI pin goes up; taken, or stopped at, as soon as NMIs are not blocked. In the vCPU's thread."""
        self.special |= SPECIAL_NMI

    def flush_tlb(self) -> None:
        """Forget every translation."""
        tlb.flush(self)

    def skip(self, next_rip):
        """Complete the instruction that a backend executed itself: RIP moves on, its shadow ends, it counts.

        Returns whether a single-step trap is due (TF) that no breakpoint's debug exception tells of.
        """
        trap: u32 = (self.special & SPECIAL_TRAP) != 0
        self.eip = next_rip & M32
        self.icount += 1
        self.flags &= F_RF ^ M32
        if self.watch_hit:  # an I/O breakpoint, or a data breakpoint that MOV SS held back
            debug.note_debug(self, self.watch_hit | (DR6_BS if trap else 0))
            self.watch_hit = 0
            self.raise_exception(VEC_DB)
            trap = 0
        if self.shadow & (SHADOW_STI | SHADOW_MOV_SS):
            self.shadow &= BLOCKED_NMI
            self.special &= SPECIAL_SHADOW ^ M32
        return trap != 0

    def set_debug_status(self, bits) -> None:
        """Set DR6 for a debug exception that a backend is about to inject, which does not do that by itself.

        B0 to B3 are those of `bits` and of a data breakpoint that MOV SS held back; what else is set stays.
        """
        self.debug[6] = (self.debug[6] & (DR6_BREAKPOINTS ^ M64)) | bits | self.watch_hit
        self.watch_hit = 0

    def skip_by(self, length):
        """Complete an instruction of `length` bytes that a backend executed itself: see `skip`."""
        return self.skip(self.eip + length)

    @property
    def watched(self) -> bool:
        """Whether each iteration of a repeated instruction counts: TF is set, or DR7 enables a breakpoint."""
        return (self.special & (SPECIAL_TRAP | SPECIAL_DEBUG)) != 0

    def end_iteration(self) -> None:
        """Complete one iteration, not the last, of a repeated instruction that a backend executed itself."""
        hit: u64 = self.watch_hit | (DR6_BS if self.special & SPECIAL_TRAP else 0)
        self.flags |= F_RF
        self.special |= SPECIAL_RESUME
        self.watch_hit = 0
        if hit:
            debug.note_debug(self, hit)
            self.raise_exception(VEC_DB)

    def inject(self, kind, vector, error_code=None, instruction_length=0) -> None:
        """Deliver an event first thing on the next run (kinds as in SDM vol. 3 table 25-17)."""
        self.inject_kind = kind
        self.inject_vector = vector
        self.inject_has_error = error_code is not None
        self.inject_error = error_code or 0
        self.inject_length = instruction_length
        self.special |= SPECIAL_INJECT

    def task_switch(
        self, selector: u32, source: u32, next_rip, external: bool = False, error_code=None
    ) -> bool:
        """Carry out the task switch that the processor stopped at, for a backend.

        `source` is a TaskSource. The outgoing task goes on at `next_rip`, that is behind the instruction, or at the
        faulting one. A fault on the way is delivered by the next run. False: the TSS lies in no memory.
        """
        eip = self.eip
        self.eip = next_rip & M32
        has_error = error_code is not None
        tasks.switch(self, selector, source, external, has_error, error_code if has_error else 0)
        if self.fault:
            self.eip = eip
            if self.fault == FAULT_EXIT:
                self.fault = FAULT_NONE
                return False
            self.keep_fault()
        elif next_rip != eip:
            self.icount += 1
        self.shadow &= BLOCKED_NMI
        self.special &= SPECIAL_SHADOW ^ M32
        return True

    @property
    def pending_injection(self) -> bool:
        """Whether an event waits to be delivered."""
        return (self.special & SPECIAL_INJECT) != 0

    def raise_exception(self, vector, error_code=None) -> None:
        """Raise an exception at the current instruction; delivered on the next run."""
        self.raise_vector = vector
        self.raise_has_error = error_code is not None
        self.raise_error = error_code or 0
        self.special |= SPECIAL_RAISE

    def sample_pins(self) -> None:
        """Look at A20M#."""
        mask = 0xFFFFFFFFFFFFFFFF if self.pins[0x80] else 0xFFFFFFFFFFEFFFFF
        if mask != self.a20_mask:
            self.a20_mask = mask
            tlb.flush(self)

    # Memory

    def memory_changed(self) -> None:
        """The domain's memory map has changed: take it over and forget every translation."""
        i: cython.int
        slots = self.memory.slots
        if len(slots) > MAX_SLOTS:
            raise ValueError(f"{len(slots)} runs of memory; at most {MAX_SLOTS}")
        for i in range(len(slots)):
            slot = slots[i]
            self.slots[i].first = slot.first
            self.slots[i].last = slot.last
            self.slots[i].read = slot.read
            self.slots[i].write = slot.write
        self.slots_used = len(slots)
        tlb.flush(self)

    def invalidate_code(self, address: u64, length: u64) -> None:
        """Somebody else wrote guest-physical memory: forget the code that was decoded from there."""
        i: cython.int
        at: u64
        low: u64
        end: u64
        step: u64
        last: u64 = address + length - 1
        if not length:
            return
        if last < address:
            last = M64
        for i in range(self.slots_used):
            if last < self.slots[i].first or self.slots[i].last < address:
                continue
            low = max(self.slots[i].first, address)
            end = 1 + min(self.slots[i].last, last)
            while low < end:
                step = 4096 - (low & 0xFFF)
                if step > end - low:
                    step = end - low
                at = self.slots[i].read + low - self.slots[i].first
                if self.page_code[at >> 12]:
                    codecache.drop_page(self, at >> 12, at, at + step - 1)
                low += step

    def translate(self, linear: u64, write: bool, user: bool):
        """The guest-physical address of a linear one, or -1 with the page fault to be delivered."""
        half: u64 = self.tlb_half
        value: u64
        self.tlb_half = TLB_SIZE if user else 0
        self.emulating = 1  # a paging structure in no memory is no exit here, but a page fault
        value = paging.translate(self, linear, WRITE if write else READ)
        self.emulating = 0
        self.tlb_half = half
        if self.fault:
            self.keep_fault()
            return -1
        return value

    def segment_linear(self, segment: cython.int, offset: u64, size: u64, write: bool):
        """The linear address of `size` bytes in a segment, or -1 with #GP or #SS to be delivered."""
        if not mmu.segment_allows(self, segment, offset, size, write):
            mmu.segment_fault(self, segment)
            self.keep_fault()
            return -1
        return (self.base[segment] + offset) & M32

    def keep_fault(self) -> None:
        """Turn a fault met on the backend's behalf into one that the next run delivers."""
        self.fault = FAULT_NONE
        self.raise_exception(self.fault_vector, self.fault_error if self.fault_has_error else None)

    def instruction_bytes(self) -> bytes:
        """Up to 15 bytes at CS:EIP."""
        i: cython.int
        self.emulating = 1  # the facts of the last stop are to stay
        mmu.fill_fetch_window(self, self.eip)
        self.emulating = 0
        return bytes([self.fetched[i] for i in range(self.fetch_count)])

    # Emulation by re-execution

    def emulate_begin(self) -> None:
        """Start to emulate the instruction at RIP."""
        self.mmio_supplied = 0

    def emulate(self):
        """Execute one instruction, or one iteration of a string instruction, with accesses to no memory allowed.

        Returns an `Emulate`. Nothing has changed unless it is DONE; after READ supply the value and call again.
        """
        stop_at: u64 = self.stop_at
        shadow: u32 = self.shadow
        hit: u64 = 0
        trap: u32 = self.special & SPECIAL_TRAP
        self.watch_hit = 0
        self.mmio_used = 0
        self.mmio_writes = 0
        self.emulating = 1
        self.stop_at = self.icount + 1
        self.shadow = shadow & BLOCKED_NMI
        execute.step(self)
        self.emulating = 0
        self.stop_at = stop_at
        if self.fault == FAULT_EXIT:
            self.fault = FAULT_NONE
            self.shadow = shadow
            return EMULATE_READ if self.info.kind == EXIT_GUEST_PHYSICAL and self.info.read else EMULATE_OTHER
        if not self.shadow & (SHADOW_STI | SHADOW_MOV_SS):
            self.special &= SPECIAL_SHADOW ^ M32
        if self.fault == FAULT_EXCEPTION:
            self.keep_fault()
            return EMULATE_FAULT
        if self.fault == FAULT_REPEAT:
            self.flags |= F_RF
            self.special |= SPECIAL_RESUME
        self.fault = FAULT_NONE
        hit = self.watch_hit | (DR6_BS if trap else 0)
        self.watch_hit = 0
        if hit:
            debug.note_debug(self, hit)
            self.raise_exception(VEC_DB)
        return EMULATE_DONE

    def emulate_supply(self, value: u64) -> None:
        """The value for the read that `emulate` asked for."""
        i: u32 = self.mmio_supplied
        if i >= MMIO_MAX:
            raise ValueError(f"an instruction with more than {MMIO_MAX} reads of no memory")
        self.mmio_address[i] = self.info.guest_physical
        self.mmio_size[i] = self.info.size
        self.mmio_data[i] = value
        self.mmio_supplied += 1

    def emulated_writes(self):
        """The writes to no memory that the instruction did: (guest-physical address, size, value), in order."""
        i: cython.int
        return [
            (self.mmio_write_address[i], self.mmio_write_size[i], self.mmio_write_data[i])
            for i in range(self.mmio_writes)
        ]

    def decode(self, code, bits: cython.int):
        """See `decode_instruction`."""
        i: cython.int
        for i in range(min(len(code), 15)):
            self.fetched[i] = code[i]
        self.fetch_count = min(len(code), 15)
        if cython.compiled:
            o: cython.pointer(Op) = cython.address(self.ops[MAX_OPS])
        else:
            o = self.ops[MAX_OPS]
        if not decoder.decode(self, o, 1 if bits == 16 else 2):
            return None
        opcode = code[o.prefixes]
        if opcode == 0x0F:
            opcode = 0x100 + code[o.prefixes + 1]
        return Instruction(
            o.length,
            opcode,
            o.kind,
            1 << o.size,
            1 << o.addr,
            o.seg,
            (0, 0xF3, 0xF2)[o.rep],
            bool(o.lock),
            not o.isreg,
        )
