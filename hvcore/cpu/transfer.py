"""Far jumps, calls and returns, call gates, IRET, SYSENTER (SDM vol. 3 §5.8, vol. 2 JMP, CALL, RET, IRET)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import events, faults, flags, mmu, segments, tasks, virtual8086
    from cython.cimports.hvcore.cpu.state import (
        CR0_PE, CS, FAULT_EXCEPTION, F_AC, F_DF, F_ID, F_IF, F_IOPL, F_NT, F_RF, F_STATUS, F_TF, F_VIF, F_VIP,
        F_VM, GATE_CALL_16, GATE_CALL_32, GATE_TASK, M32, M64, RCX, RDX, RSP, SEG_BIG, SEG_CODE,
        SEG_CONFORMING, SEG_MEMORY, SEG_PRESENT, SEG_TSS, SEG_TSS_32, SEG_TYPE, SEG_UNUSABLE, SS, TASK_CALL,
        TASK_IRET, TASK_JMP, TOP_HALF, TR, VEC_GP, VEC_NP, VEC_SS, u32, u64,
    )
else:
    from hvcore.cpu import events, faults, flags, mmu, segments, tasks, virtual8086
    from hvcore.cpu.constants import (
        CR0_PE, CS, FAULT_EXCEPTION, F_AC, F_DF, F_ID, F_IF, F_IOPL, F_NT, F_RF, F_STATUS, F_TF, F_VIF, F_VIP,
        F_VM, GATE_CALL_16, GATE_CALL_32, GATE_TASK, M32, M64, RCX, RDX, RSP, SEG_BIG, SEG_CODE,
        SEG_CONFORMING, SEG_MEMORY, SEG_PRESENT, SEG_TSS, SEG_TSS_32, SEG_TYPE, SEG_UNUSABLE, SS, TASK_CALL,
        TASK_IRET, TASK_JMP, TOP_HALF, TR, VEC_GP, VEC_NP, VEC_SS, u32, u64,
    )
# fmt: on


FLAT_CODE = cython.declare(u32, 0xC09B)  # access rights of 4 GiB of 32-bit code, which have been accessed,
FLAT_DATA = cython.declare(u32, 0xC093)  # and of such data
DPL_3 = cython.declare(u32, 0x60)


def enter_code(c, selector, raw, target, rpl):
    """Load CS from a checked code descriptor and go to `target`; 0 if that is outside the segment."""
    if target > segments.descriptor_limit(raw):
        faults.exception(c, VEC_GP, 0)
        return 0
    segments.mark_accessed(c, selector, raw)
    if c.fault:
        return 0
    segments.assign(c, CS, (selector & 0xFFFC) | rpl, raw)
    c.eip = target
    return 1


def far_jump(c, selector, target, size, call):
    """JMP and CALL to selector:offset. For a call `c.eip` is already the return address."""
    raw: u64
    attr: u32
    dpl: u32
    kind: u32
    sp: u64 = c.regs[RSP]
    if not c.protected:
        if target > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        if call:
            mmu.push(c, c.sel[CS], size)
            if c.fault:
                return
            mmu.push(c, c.eip, size)
            if c.fault:
                c.regs[RSP] = sp
                return
        segments.assign_real(c, CS, selector)
        c.eip = target
        return
    if not selector & 0xFFFC:
        faults.exception(c, VEC_GP, 0)
        return
    raw = segments.read_descriptor(c, selector, VEC_GP, 0)
    if c.fault:
        return
    attr = segments.descriptor_attr(raw)
    dpl = segments.level_of(attr)
    kind = attr & SEG_TYPE
    if attr & SEG_MEMORY:
        if not attr & SEG_CODE or (
            dpl > c.cpl if attr & SEG_CONFORMING else (selector & 3) > c.cpl or dpl != c.cpl
        ):
            faults.exception(c, VEC_GP, selector & 0xFFFC)
            return
        if not attr & SEG_PRESENT:
            faults.exception(c, VEC_NP, selector & 0xFFFC)
            return
        if target > segments.descriptor_limit(raw):
            faults.exception(c, VEC_GP, 0)
            return
        if call:
            mmu.push(c, c.sel[CS], size)
            if c.fault:
                return
            mmu.push(c, c.eip, size)
            if c.fault:
                c.regs[RSP] = sp
                return
        if not enter_code(c, selector, raw, target, c.cpl):
            c.regs[RSP] = sp
        return
    if (
        (
            kind != GATE_CALL_16
            and kind != GATE_CALL_32
            and kind != GATE_TASK
            and kind != SEG_TSS
            and kind != SEG_TSS | SEG_TSS_32
        )
        or dpl < c.cpl
        or dpl < (selector & 3)
    ):
        faults.exception(c, VEC_GP, selector & 0xFFFC)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, selector & 0xFFFC)
        return
    if kind == GATE_CALL_16 or kind == GATE_CALL_32:
        through_gate(c, selector, raw, call)
        return
    if kind == GATE_TASK:
        selector = (raw >> 16) & 0xFFFF
    tasks.begin(c, selector, TASK_CALL if call else TASK_JMP, 0, 0, 0)


def through_gate(c, selector, gate, call):
    """A call gate: perhaps to an inner ring, with parameters copied to its stack (SDM vol. 3 §5.8.5)."""
    size: u32 = 2 if (gate >> 43) & 1 else 1
    code: u32 = (gate >> 16) & 0xFFFF
    target: u64 = gate & 0xFFFF
    count: u32 = (gate >> 32) & 31
    raw: u64
    attr: u32
    dpl: u32
    i: u32
    value: u64
    old_cpl: u32 = c.cpl
    old_sp: u64 = c.regs[RSP]
    old_mask: u64 = c.sp_mask
    sel: u32 = c.sel[SS]
    base: u64 = c.base[SS]
    limit: u32 = c.limit[SS]
    rights: u32 = c.attr[SS]
    if size == 2:
        target |= (gate >> 32) & TOP_HALF
    if not code & 0xFFFC:
        faults.exception(c, VEC_GP, 0)
        return
    raw = segments.read_descriptor(c, code, VEC_GP, 0)
    if c.fault:
        return
    attr = segments.descriptor_attr(raw)
    dpl = segments.level_of(attr)
    if not segments.is_code(attr) or dpl > c.cpl or (not call and not attr & SEG_CONFORMING and dpl != c.cpl):
        faults.exception(c, VEC_GP, code & 0xFFFC)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, code & 0xFFFC)
        return
    if target > segments.descriptor_limit(raw):
        faults.exception(c, VEC_GP, 0)
        return
    if call:
        if not attr & SEG_CONFORMING and dpl < c.cpl:
            events.inner_stack(c, dpl, 0)
            if not c.fault:
                mmu.push(c, sel, size)
            if not c.fault:
                mmu.push(c, old_sp, size)
            for i in range(count):
                if c.fault:
                    break
                value = (old_sp & old_mask) + ((count - 1 - i) << size)
                value = mmu.system_read(c, base + (value & old_mask), 1 << size)
                if not c.fault:
                    mmu.push(c, value, size)
        else:
            dpl = c.cpl
        if not c.fault:
            mmu.push(c, c.sel[CS], size)
        if not c.fault:
            mmu.push(c, c.eip, size)
        if not c.fault:
            enter_code(c, code, raw, target, c.cpl)
        if c.fault:
            if c.cpl != old_cpl and c.fault == FAULT_EXCEPTION and c.fault_vector == VEC_SS:
                c.fault_error |= c.sel[SS] & 0xFFFC  # no room on the inner stack
            mmu.set_cpl(c, old_cpl)
            c.regs[RSP] = old_sp
            c.sel[SS] = sel
            c.base[SS] = base
            c.limit[SS] = limit
            c.attr[SS] = rights
            mmu.update_stack_and_code(c)
        return
    enter_code(c, code, raw, target, c.cpl)


def drop_outer_segments(c):
    """After a return to an outer ring: data segments that it may not use become null."""
    seg: u32
    attr: u32
    for seg in range(6):
        if seg == CS or seg == SS:
            continue
        attr = c.attr[seg]
        if attr & SEG_UNUSABLE:
            continue
        if not segments.conforms(attr) and segments.level_of(attr) < c.cpl:
            segments.assign_null(c, seg, 0)


def return_outer(c, size, selector, raw, target, selector_ss, sp):
    """Finish RETF or IRET to the outer ring `selector & 3`: code, stack, data segments."""
    rpl: u32 = selector & 3
    ss: u64
    attr: u32
    if not selector_ss & 0xFFFC:
        faults.exception(c, VEC_GP, 0)
        return
    ss = segments.read_descriptor(c, selector_ss, VEC_GP, 0)
    if c.fault:
        return
    attr = segments.descriptor_attr(ss)
    if not segments.fits_stack(attr, selector_ss, rpl):
        faults.exception(c, VEC_GP, selector_ss & 0xFFFC)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_SS, selector_ss & 0xFFFC)
        return
    if not enter_code(c, selector, raw, target, rpl):
        return
    segments.mark_accessed(c, selector_ss, ss)
    if c.fault:
        return
    mmu.set_cpl(c, rpl)
    segments.assign(c, SS, selector_ss, ss)
    if attr & SEG_BIG:
        c.regs[RSP] = sp & M32
    else:
        c.regs[RSP] = (c.regs[RSP] & (0xFFFF ^ M64)) | (sp & 0xFFFF)
    drop_outer_segments(c)


def return_descriptor(c, selector):
    """The code descriptor that RETF or IRET may return to."""
    raw: u64
    attr: u32
    rpl: u32 = selector & 3
    if not selector & 0xFFFC:
        faults.exception(c, VEC_GP, 0)
        return 0
    raw = segments.read_descriptor(c, selector, VEC_GP, 0)
    if c.fault:
        return 0
    attr = segments.descriptor_attr(raw)
    if rpl < c.cpl or not segments.fits_code(attr, rpl):
        faults.exception(c, VEC_GP, selector & 0xFFFC)
    elif not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, selector & 0xFFFC)
    return raw


def far_return(c, size, release):
    """RETF, releasing `release` bytes of parameters."""
    n: u64 = 1 << size
    target: u64
    selector: u32
    raw: u64
    sp: u64
    selector_ss: u32
    target = mmu.peek(c, 0, size)
    if c.fault:
        return
    selector = mmu.peek(c, n, size) & 0xFFFF
    if c.fault:
        return
    if not c.protected:
        if target > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        mmu.set_sp(c, c.regs[RSP] + 2 * n + release)
        segments.assign_real(c, CS, selector)
        c.eip = target
        return
    raw = return_descriptor(c, selector)
    if c.fault:
        return
    if (selector & 3) == c.cpl:
        if enter_code(c, selector, raw, target, c.cpl):
            mmu.set_sp(c, c.regs[RSP] + 2 * n + release)
        return
    sp = mmu.peek(c, 2 * n + release, size)
    if c.fault:
        return
    selector_ss = mmu.peek(c, 3 * n + release, size) & 0xFFFF
    if c.fault:
        return
    return_outer(c, size, selector, raw, target, selector_ss, sp + release)


def pop_flags(c, value, size, cpl):
    """POPF and IRET: set what privilege level `cpl` may change."""
    mask: u64 = F_STATUS | F_TF | F_DF | F_NT
    if cpl == 0:
        mask |= F_IOPL
    if cpl <= ((c.flags & F_IOPL) >> 12):
        mask |= F_IF
    if size >= 2:
        mask |= F_AC | F_ID | F_RF
    flags.set_eflags(c, (flags.get_eflags(c) & (mask ^ M64)) | (value & mask))


def return_flags(c, value, size, cpl):
    """The flags of IRET in protected mode; a kernel's also has VIF and VIP."""
    both: u64 = F_VIF | F_VIP
    pop_flags(c, value, size, cpl)
    if size == 2 and cpl == 0:
        c.flags = (c.flags & (both ^ M64)) | (value & both)


def interrupt_return(c, size):
    """IRET."""
    n: u64 = 1 << size
    target: u64
    selector: u32
    value: u64
    raw: u64
    sp: u64
    selector_ss: u32
    old_cpl: u32 = c.cpl
    if virtual8086.trapped(c):
        virtual8086.interrupt_return(c, size)
        return
    if c.protected and c.flags & F_NT:
        selector = mmu.system_read(c, c.base[TR], 2)
        if not c.fault:
            tasks.begin(c, selector, TASK_IRET, 0, 0, 0)
        return
    target = mmu.peek(c, 0, size)
    if c.fault:
        return
    selector = mmu.peek(c, n, size) & 0xFFFF
    if c.fault:
        return
    value = mmu.peek(c, 2 * n, size)
    if c.fault:
        return
    if not c.protected:
        if target > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        mmu.set_sp(c, c.regs[RSP] + 3 * n)
        segments.assign_real(c, CS, selector)
        c.eip = target
        pop_flags(c, value, size, old_cpl)
        return
    if value & F_VM and c.cpl == 0 and size == 2:
        virtual8086.enter(c, target, selector, value)
        return
    raw = return_descriptor(c, selector)
    if c.fault:
        return
    if (selector & 3) == c.cpl:
        if enter_code(c, selector, raw, target, c.cpl):
            mmu.set_sp(c, c.regs[RSP] + 3 * n)
            return_flags(c, value, size, old_cpl)
        return
    sp = mmu.peek(c, 3 * n, size)
    if c.fault:
        return
    selector_ss = mmu.peek(c, 4 * n, size) & 0xFFFF
    if c.fault:
        return
    return_outer(c, size, selector, raw, target, selector_ss, sp)
    if not c.fault:
        return_flags(c, value, size, old_cpl)


def flat_segment(c, seg, selector, attr):
    """CS and SS of SYSENTER and SYSEXIT: 4 GiB, whatever their descriptors say."""
    c.sel[seg] = selector
    c.base[seg] = 0
    c.limit[seg] = M32
    c.attr[seg] = attr


def system_enter(c):
    """SYSENTER: to ring 0, where the MSRs say."""
    if not c.cr0 & CR0_PE or not c.sysenter_cs & 0xFFFC:
        faults.exception(c, VEC_GP, 0)
        return
    flags.set_eflags(c, flags.get_eflags(c) & ((F_VM | F_IF | F_RF) ^ M64))
    flat_segment(c, CS, c.sysenter_cs & 0xFFFC, FLAT_CODE)
    flat_segment(c, SS, ((c.sysenter_cs & 0xFFFC) + 8) & 0xFFFF, FLAT_DATA)
    mmu.set_cpl(c, 0)
    mmu.update_mode(c)
    c.regs[RSP] = c.sysenter_esp
    c.eip = c.sysenter_eip


def system_exit(c):
    """SYSEXIT: to ring 3, where EDX and ECX say."""
    if not c.protected or c.cpl or not c.sysenter_cs & 0xFFFC:
        faults.exception(c, VEC_GP, 0)
        return
    flat_segment(c, CS, (((c.sysenter_cs & 0xFFFC) + 16) & 0xFFFF) | 3, FLAT_CODE | DPL_3)
    flat_segment(c, SS, (((c.sysenter_cs & 0xFFFC) + 24) & 0xFFFF) | 3, FLAT_DATA | DPL_3)
    mmu.set_cpl(c, 3)
    mmu.update_mode(c)
    c.regs[RSP] = c.regs[RCX] & M32
    c.eip = c.regs[RDX] & M32
