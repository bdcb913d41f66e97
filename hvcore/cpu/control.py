"""Segment registers, far transfers and software interrupts (SDM vol. 2); `transfer` carries transfers out."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import (
        faults,
        flags,
        mmu,
        operands,
        pending,
        segments,
        stops,
        transfer,
        virtual8086,
    )
    from cython.cimports.hvcore.cpu.kinds import (
        BOUND, CALL_FAR, CALL_FAR_M, CLI, INT, INT1, INT3, INTO, IRET, JMP_FAR, JMP_FAR_M, LOAD_FAR,
        MOV_M_SEG, MOV_R_SEG, MOV_SEG_M, MOV_SEG_R, RET_FAR, STI, SYSENTER, SYSEXIT,
    )
    from cython.cimports.hvcore.cpu.state import (
        BLOCKED_NMI, CS, EVENT_PRIVILEGED, EVENT_SOFTWARE, EVENT_SOFTWARE_EXCEPTION, EXIT_ICEBP, EXIT_IRET,
        EXIT_SOFTWARE_INTERRUPT, EXIT_TASK_SWITCH, FAULT_EXCEPTION, FAULT_EXIT, F_IF, F_IOPL, F_VM, GS, M32,
        M64, SHADOW_MOV_SS, SHADOW_STI, SIZE_MASK, SIZE_SIGN, SS, VEC_BP, VEC_BR, VEC_DB, VEC_OF, VEC_UD, u32,
        u64,
    )
else:
    from hvcore.cpu import faults, flags, mmu, operands, pending, segments, stops, transfer, virtual8086
    from hvcore.cpu.constants import (
        BLOCKED_NMI, BOUND, CALL_FAR, CALL_FAR_M, CLI, CS, EVENT_PRIVILEGED, EVENT_SOFTWARE,
        EVENT_SOFTWARE_EXCEPTION, EXIT_ICEBP, EXIT_IRET, EXIT_SOFTWARE_INTERRUPT, EXIT_TASK_SWITCH,
        FAULT_EXCEPTION, FAULT_EXIT, F_IF, F_IOPL, F_VM, GS, INT, INT1, INT3, INTO, IRET, JMP_FAR, JMP_FAR_M,
        LOAD_FAR, M32, M64, MOV_M_SEG, MOV_R_SEG, MOV_SEG_M, MOV_SEG_R, RET_FAR, SHADOW_MOV_SS, SHADOW_STI,
        SIZE_MASK, SIZE_SIGN, SS, STI, SYSENTER, SYSEXIT, VEC_BP, VEC_BR, VEC_DB, VEC_OF, VEC_UD, u32, u64,
    )
# fmt: on


def software_interrupt(c, vector, kind, length):
    """INT n, INT3, INTO, INT1: an event whose frame points behind the instruction."""
    c.fault = FAULT_EXCEPTION
    c.fault_vector = vector
    c.fault_kind = kind
    c.fault_error = 0
    c.fault_has_error = 0
    c.fault_length = length


def return_from_interrupt(c, size):
    """IRET. NMIs are no longer blocked, even if it faults (SDM vol. 3 §6.7.1, §28.2.3)."""
    blocked: u32 = c.shadow & BLOCKED_NMI
    if not c.intercepts.iret_keeps_nmi_blocked:
        c.shadow &= BLOCKED_NMI ^ M32
    transfer.interrupt_return(c, size)
    c.info.nmi_unblocking = c.fault and blocked and not c.intercepts.iret_keeps_nmi_blocked


def stop_for_task_switch(c, o):
    """The facts of the instruction that a task switch stopped at."""
    if c.fault == FAULT_EXIT and c.info.kind == EXIT_TASK_SWITCH:
        c.info.instruction_length = o.length
        c.info.next_rip = c.eip


def transfer_control(c, o):
    """Segment registers and far transfers; `c.eip` is already that of the next instruction."""
    kind: u32 = o.kind
    size: u32 = o.size
    off: u64
    value: u64
    selector: u64
    if kind == MOV_SEG_R or kind == MOV_SEG_M:
        if o.reg == CS or o.reg > GS:
            faults.exception_plain(c, VEC_UD)
            return
        value = c.regs[o.rm] if kind == MOV_SEG_R else mmu.read(c, o.seg, operands.address(c, o), 1)
        if c.fault:
            return
        segments.load(c, o.reg, value & 0xFFFF)
        if o.reg == SS and not c.fault:
            pending.start_shadow(c, SHADOW_MOV_SS)
    elif kind == MOV_R_SEG or kind == MOV_M_SEG:
        if o.reg > GS:
            faults.exception_plain(c, VEC_UD)
        elif kind == MOV_R_SEG:
            operands.put(c, o.rm, 0, size, c.sel[o.reg])
        else:
            mmu.write(c, o.seg, operands.address(c, o), c.sel[o.reg], 1)
    elif kind == LOAD_FAR or kind == JMP_FAR_M or kind == CALL_FAR_M:
        off = operands.address(c, o)
        value = mmu.read(c, o.seg, off, size)
        if c.fault:
            return
        selector = mmu.read(c, o.seg, (off + (1 << size)) & SIZE_MASK[o.addr], 1)
        if c.fault:
            return
        if kind == LOAD_FAR:
            segments.load(c, o.sub, selector)
            if c.fault:
                return
            operands.put(c, o.reg, 0, size, value)
        else:
            transfer.far_jump(c, selector, value, size, kind == CALL_FAR_M)
            stop_for_task_switch(c, o)
    elif kind == JMP_FAR or kind == CALL_FAR:
        transfer.far_jump(c, o.disp, o.imm, size, kind == CALL_FAR)
        stop_for_task_switch(c, o)
    elif kind == RET_FAR:
        transfer.far_return(c, size, o.imm)
    elif kind == IRET:
        if c.intercepts.iret:
            stops.stop(c, EXIT_IRET, o)
        else:
            return_from_interrupt(c, size)
            stop_for_task_switch(c, o)
    elif kind == INT:
        if c.intercepts.software_interrupt:
            stops.stop(c, EXIT_SOFTWARE_INTERRUPT, o)
            c.info.vector = o.imm
        elif not c.flags & F_VM or not virtual8086.interrupt(c, o.imm):
            software_interrupt(c, o.imm, EVENT_SOFTWARE, o.length)
    elif kind == INT3:
        software_interrupt(c, VEC_BP, EVENT_SOFTWARE_EXCEPTION, o.length)
    elif kind == INT1 and c.intercepts.icebp:
        stops.stop(c, EXIT_ICEBP, o)
    elif kind == INT1:
        software_interrupt(c, VEC_DB, EVENT_PRIVILEGED, o.length)
    elif kind == SYSENTER:
        transfer.system_enter(c)
    elif kind == SYSEXIT:
        transfer.system_exit(c)
    elif kind == INTO:
        if flags.overflow(c):
            software_interrupt(c, VEC_OF, EVENT_SOFTWARE_EXCEPTION, o.length)
    elif kind == BOUND:
        off = operands.address(c, o)
        value = mmu.read(c, o.seg, off, size)
        if c.fault:
            return
        selector = mmu.read(c, o.seg, (off + (1 << size)) & SIZE_MASK[o.addr], size)
        if c.fault:
            return
        off = c.regs[o.reg] & SIZE_MASK[size]
        off ^= SIZE_SIGN[size]
        if off < value ^ SIZE_SIGN[size] or off > selector ^ SIZE_SIGN[size]:
            faults.exception_plain(c, VEC_BR)
    elif kind == CLI or kind == STI:
        if c.cpl > ((c.flags & F_IOPL) >> 12):
            virtual8086.set_virtual_flag(c, kind == STI)
        elif kind == CLI:
            c.flags &= F_IF ^ M64
        elif not c.flags & F_IF:
            c.flags |= F_IF
            pending.start_shadow(c, SHADOW_STI)
