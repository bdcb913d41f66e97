"""PUSHA POPA ENTER LEAVE PUSHF POPF, and segment registers on the stack (SDM vol. 1 ch. 6)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import (
        flags,
        mmu,
        operands,
        pending,
        segments,
        stops,
        transfer,
        virtual8086,
    )
    from cython.cimports.hvcore.cpu.kinds import ENTER, LEAVE_FRAME, POPA, POPF, PUSHA, PUSHF, PUSH_SEG
    from cython.cimports.hvcore.cpu.state import (
        EXIT_POPF, EXIT_PUSHF, FAULT_NONE, F_RF, F_VM, M64, RBP, RSP, SHADOW_MOV_SS, SS, u32, u64,
    )
else:
    from hvcore.cpu import flags, mmu, operands, pending, segments, stops, transfer, virtual8086
    from hvcore.cpu.constants import (
        ENTER, EXIT_POPF, EXIT_PUSHF, FAULT_NONE, F_RF, F_VM, LEAVE_FRAME, M64, POPA, POPF, PUSHA, PUSHF,
        PUSH_SEG, RBP, RSP, SHADOW_MOV_SS, SS, u32, u64,
    )
# fmt: on


def stack_frame(c, o):
    """PUSHA POPA ENTER LEAVE PUSHF POPF and segment registers on the stack."""
    kind: u32 = o.kind
    size: u32 = o.size
    n: u64 = 1 << size
    sp: u64 = c.regs[RSP]
    mask: u64 = c.sp_mask  # the stack segment's own size, whatever POP SS loads
    value: u64
    outer: u64
    level: u32
    i: u32
    if kind == PUSHA:
        if not mmu.check_write(c, SS, (sp - 8 * n) & c.sp_mask, 8 * n) and (sp & c.sp_mask) >= 8 * n:
            return
        c.fault = FAULT_NONE
        value = sp
        for i in range(8):
            mmu.push(c, value if i == RSP else c.regs[i], size)
            if c.fault:
                c.regs[RSP] = sp
                return
    elif kind == POPA:
        for i in range(8):
            mmu.read(c, SS, (sp + i * n) & c.sp_mask, size)
            if c.fault:
                return
        for i in range(8):
            value = mmu.pop(c, size)
            if i != 3:
                operands.put(c, 7 - i, 0, size, value)
    elif kind == ENTER:
        level = o.disp & 31
        mmu.push(c, c.regs[RBP], size)
        value = c.regs[RSP]
        for i in range(1, level):
            if c.fault:
                break
            outer = mmu.read(c, SS, (c.regs[RBP] - i * n) & c.sp_mask, size)
            if c.fault:
                break
            mmu.push(c, outer, size)
        if level and not c.fault:
            mmu.push(c, value, size)
        if not c.fault:
            mmu.check_write(c, SS, (c.regs[RSP] - o.imm) & c.sp_mask, 1)
        if c.fault:
            c.regs[RSP] = sp
            return
        mmu.set_sp(c, c.regs[RSP] - o.imm)
        operands.put(c, RBP, 0, size, value)
    elif kind == LEAVE_FRAME:
        mmu.set_sp(c, c.regs[RBP])
        value = mmu.pop(c, size)
        if c.fault:
            c.regs[RSP] = sp
            return
        operands.put(c, RBP, 0, size, value)
    elif kind == PUSHF and c.intercepts.pushf:
        stops.stop(c, EXIT_PUSHF, o)
    elif kind == POPF and c.intercepts.popf:
        stops.stop(c, EXIT_POPF, o)
    elif (kind == PUSHF or kind == POPF) and virtual8086.trapped(c):
        if kind == PUSHF:
            virtual8086.push_flags(c, size)
        else:
            virtual8086.pop_flags(c, size)
    elif kind == PUSHF:
        mmu.push(c, flags.get_eflags(c) & ((F_RF | F_VM) ^ M64), size)
    elif kind == POPF:
        value = mmu.pop(c, size)
        if not c.fault:
            transfer.pop_flags(c, value & (F_RF ^ M64), size, c.cpl)
    elif kind == PUSH_SEG:
        if size == 2:  # only 16 bits are written
            sp = (sp - 4) & c.sp_mask
            mmu.write(c, SS, sp, c.sel[o.sub], 1)
            if not c.fault:
                mmu.set_sp(c, sp)
        else:
            mmu.push(c, c.sel[o.sub], size)
    else:
        value = mmu.read(c, SS, sp & c.sp_mask, 1)
        if c.fault:
            return
        segments.load(c, o.sub, value & 0xFFFF)
        if c.fault:
            return
        c.regs[RSP] = (sp & (mask ^ M64)) | ((sp + n) & mask)
        if o.sub == SS:
            pending.start_shadow(c, SHADOW_MOV_SS)
