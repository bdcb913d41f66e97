"""Delivery of interrupts and exceptions (SDM vol. 3 ch. 6, vol. 2 INT n).

`deliver` changes the processor's state only when it succeeds; a fault on the way stands in `c.fault` and the
state is as it was before.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, flags, mmu, segments, tasks
    from cython.cimports.hvcore.cpu.state import (
        CR0_PE, CS, DOUBLE_FAULT, DS, ES, EVENT_EXCEPTION, EVENT_PRIVILEGED, EVENT_SOFTWARE,
        EVENT_SOFTWARE_EXCEPTION, FAULT_EXCEPTION, FS, F_AC, F_IF, F_NT, F_RF, F_TF, F_VM, GATE_INTERRUPT_16,
        GATE_INTERRUPT_32, GATE_TASK, GATE_TRAP_16, GATE_TRAP_32, GS, M32, M64, RSP, SEG_CONFORMING,
        SEG_PRESENT, SEG_TSS_32, SEG_UNUSABLE, SIZE_MASK, SS, STAYS, TASK_GATE, TOP_HALF, TR, TRIPLE_FAULT,
        VEC_BP, VEC_DB, VEC_DE, VEC_DF, VEC_GP, VEC_NP, VEC_OF, VEC_PF, VEC_SS, VEC_TS, u32, u64,
    )
else:
    from hvcore.cpu import faults, flags, mmu, segments, tasks
    from hvcore.cpu.constants import (
        CR0_PE, CS, DOUBLE_FAULT, DS, ES, EVENT_EXCEPTION, EVENT_PRIVILEGED, EVENT_SOFTWARE,
        EVENT_SOFTWARE_EXCEPTION, FAULT_EXCEPTION, FS, F_AC, F_IF, F_NT, F_RF, F_TF, F_VM, GATE_INTERRUPT_16,
        GATE_INTERRUPT_32, GATE_TASK, GATE_TRAP_16, GATE_TRAP_32, GS, M32, M64, RSP, SEG_CONFORMING,
        SEG_PRESENT, SEG_TSS_32, SEG_UNUSABLE, SIZE_MASK, SS, STAYS, TASK_GATE, TOP_HALF, TR, TRIPLE_FAULT,
        VEC_BP, VEC_DB, VEC_DE, VEC_DF, VEC_GP, VEC_NP, VEC_OF, VEC_PF, VEC_SS, VEC_TS, u32, u64,
    )
# fmt: on


def contributory(vector):
    """Whether an exception is of the contributory class (SDM vol. 3 table 6-4)."""
    return vector == VEC_DE or VEC_TS <= vector <= VEC_GP


def combine(c, first, second):
    """What becomes of exception `second` met while delivering `first`: STAYS and so on (SDM vol. 3 table 6-5)."""
    if first == VEC_DF:
        return TRIPLE_FAULT if contributory(second) or second == VEC_PF else STAYS
    if contributory(first) and contributory(second):
        return DOUBLE_FAULT
    if first == VEC_PF and (contributory(second) or second == VEC_PF):
        return DOUBLE_FAULT
    return STAYS


def deliver(c, vector, kind, error, has_error, length):
    """Deliver an event; `length` is that of the instruction for the software kinds: the frame points behind it."""
    eip: u64 = c.eip
    sp: u64 = c.regs[RSP]
    cpl: u32 = c.cpl
    sel: u32 = c.sel[SS]
    base: u64 = c.base[SS]
    limit: u32 = c.limit[SS]
    attr: u32 = c.attr[SS]
    old_flags: u64 = c.flags
    if kind >= EVENT_SOFTWARE:
        c.eip = (c.eip + length) & M32
    if c.cr0 & CR0_PE:
        deliver_protected(c, vector, kind, error, has_error)
    else:
        deliver_real(c, vector)
    if c.fault:
        c.eip = eip
        c.regs[RSP] = sp
        mmu.set_cpl(c, cpl)
        c.sel[SS] = sel
        c.base[SS] = base
        c.limit[SS] = limit
        c.attr[SS] = attr
        c.flags = old_flags
        mmu.update_mode(c)


def deliver_real(c, vector):
    """Through the interrupt vector table: FLAGS, CS, IP on the stack."""
    entry: u64
    if vector * 4 + 3 > c.idt_limit:
        faults.exception_plain(c, VEC_GP)
        return
    entry = mmu.system_read(c, c.idt_base + vector * 4, 4)
    if c.fault:
        return
    push_frame(c, flags.get_eflags(c) & 0xFFFF, 1)
    if c.fault:
        return
    flags.set_eflags(c, flags.get_eflags(c) & ((F_IF | F_TF | F_AC | F_RF) ^ M64))
    segments.assign_real(c, CS, (entry >> 16) & 0xFFFF)
    c.eip = entry & 0xFFFF


def resumes(c, vector, kind):
    """Whether the frame has RF set: for every fault but an instruction breakpoint (SDM vol. 3 §18.3.1.1)."""
    return (
        kind == EVENT_EXCEPTION
        and vector != VEC_DB
        and vector != VEC_DF
        and vector != VEC_BP
        and vector != VEC_OF
    )


def deliver_protected(c, vector, kind, error, has_error):
    """Through a gate of the IDT (SDM vol. 3 §6.12)."""
    ext: u32 = 0 if kind == EVENT_SOFTWARE or kind == EVENT_SOFTWARE_EXCEPTION else 1
    code: u32 = vector * 8 + 2 + ext
    raw: u64
    desc: u64
    attr: u32
    gate: u32
    size: u32
    selector: u32
    dpl: u32
    inner: u32
    old_cpl: u32 = c.cpl
    old_ss: u32 = c.sel[SS]
    old_sp: u64 = c.regs[RSP]
    eflags: u64 = flags.get_eflags(c)
    target: u64
    if vector * 8 + 7 > c.idt_limit:
        faults.exception(c, VEC_GP, code)
        return
    raw = mmu.system_read(c, c.idt_base + vector * 8, 8)
    if c.fault:
        return
    gate = (raw >> 40) & 0x1F
    if (
        gate != GATE_TASK
        and gate != GATE_INTERRUPT_16
        and gate != GATE_TRAP_16
        and gate != GATE_INTERRUPT_32
        and gate != GATE_TRAP_32
    ):
        faults.exception(c, VEC_GP, code)
        return
    if kind >= EVENT_SOFTWARE and kind != EVENT_PRIVILEGED and ((raw >> 45) & 3) < c.cpl:
        faults.exception(c, VEC_GP, code)
        return
    if not (raw >> 47) & 1:
        faults.exception(c, VEC_NP, code)
        return
    selector = (raw >> 16) & 0xFFFF
    if gate == GATE_TASK:
        tasks.begin(c, selector, TASK_GATE, ext, has_error, error)
        return
    if not selector & 0xFFFC:
        faults.exception(c, VEC_GP, ext)
        return
    desc = segments.read_descriptor(c, selector, VEC_GP, ext)
    if c.fault:
        return
    attr = segments.descriptor_attr(desc)
    dpl = segments.level_of(attr)
    if not segments.is_code(attr) or dpl > c.cpl:
        faults.exception(c, VEC_GP, (selector & 0xFFFC) | ext)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, (selector & 0xFFFC) | ext)
        return
    size = 2 if gate >= GATE_INTERRUPT_32 else 1
    target = raw & 0xFFFF
    if size == 2:
        target |= (raw >> 32) & TOP_HALF
    if c.flags & F_VM:
        if attr & SEG_CONFORMING or dpl:
            faults.exception(c, VEC_GP, (selector & 0xFFFC) | ext)
            return
        c.flags &= F_VM ^ M64  # from here on the stack has a descriptor
        mmu.update_mode(c)
    inner = not attr & SEG_CONFORMING and dpl < c.cpl
    if inner:
        inner_stack(c, dpl, ext)
        if c.fault:
            return
    if target > segments.descriptor_limit(desc):
        faults.exception(c, VEC_GP, ext)
        return
    if inner and eflags & F_VM:
        push_segments(c, size)
    if inner and not c.fault:
        mmu.push(c, old_ss, size)
    if inner and not c.fault:
        mmu.push(c, old_sp, size)
    if not c.fault:
        push_frame(c, eflags | F_RF if resumes(c, vector, kind) else eflags, size)
    if not c.fault and has_error:
        mmu.push(c, error, size)
    if c.fault:
        if c.fault == FAULT_EXCEPTION and c.fault_vector == VEC_SS:  # no room: an inner stack is named
            c.fault_error = (c.sel[SS] & 0xFFFC if inner else 0) | ext
        return
    segments.mark_accessed(c, selector, desc)
    if c.fault:
        return
    if eflags & F_VM:
        segments.assign_null(c, ES, 0)
        segments.assign_null(c, DS, 0)
        segments.assign_null(c, FS, 0)
        segments.assign_null(c, GS, 0)
    segments.assign(c, CS, (selector & 0xFFFC) | (old_cpl if attr & SEG_CONFORMING else dpl), desc)
    c.eip = target
    eflags &= (F_TF | F_NT | F_RF | F_VM) ^ M64
    if gate == GATE_INTERRUPT_16 or gate == GATE_INTERRUPT_32:
        eflags &= F_IF ^ M64
    flags.set_eflags(c, eflags)


def push_frame(c, eflags, size):
    """Push flags, CS and EIP: where the handler's IRET goes back to."""
    mmu.push(c, eflags, size)
    if not c.fault:
        mmu.push(c, c.sel[CS], size)
    if not c.fault:
        mmu.push(c, c.eip & SIZE_MASK[size], size)


def push_segments(c, size):
    """What an event in virtual-8086 mode saves first: GS, FS, DS, ES (SDM vol. 3 §21.2.7)."""
    mmu.push(c, c.sel[GS], size)
    if c.fault:
        return
    mmu.push(c, c.sel[FS], size)
    if c.fault:
        return
    mmu.push(c, c.sel[DS], size)
    if c.fault:
        return
    mmu.push(c, c.sel[ES], size)


def inner_stack(c, dpl, ext):
    """Switch to the stack that the TSS has for privilege level `dpl`; #TS and #SS as for a stack switch."""
    wide: u32 = (c.attr[TR] & SEG_TSS_32) != 0
    at: u32 = 4 + dpl * 8 if wide else 2 + dpl * 4
    selector: u32
    sp: u64
    raw: u64
    attr: u32
    if c.attr[TR] & SEG_UNUSABLE or at + (5 if wide else 3) > c.limit[TR]:
        faults.exception(c, VEC_TS, (c.sel[TR] & 0xFFFC) | ext)
        return
    if wide:
        sp = mmu.system_read(c, c.base[TR] + at, 4)
        if c.fault:
            return
        selector = mmu.system_read(c, c.base[TR] + at + 4, 2)
    else:
        sp = mmu.system_read(c, c.base[TR] + at, 2)
        if c.fault:
            return
        selector = mmu.system_read(c, c.base[TR] + at + 2, 2)
    if c.fault:
        return
    if not selector & 0xFFFC:
        faults.exception(c, VEC_TS, ext)
        return
    raw = segments.read_descriptor(c, selector, VEC_TS, ext)
    if c.fault:
        return
    attr = segments.descriptor_attr(raw)
    if not segments.fits_stack(attr, selector, dpl):
        faults.exception(c, VEC_TS, (selector & 0xFFFC) | ext)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_SS, (selector & 0xFFFC) | ext)
        return
    segments.mark_accessed(c, selector, raw)
    if c.fault:
        return
    mmu.set_cpl(c, dpl)
    segments.assign(c, SS, selector, raw)
    c.regs[RSP] = sp
