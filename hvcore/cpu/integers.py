"""Arithmetic, logic, shifts and flags of any size (SDM vol. 1 §7.3.2 to §7.3.6); `operations` has the commonest."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import arith, flags, mmu, operands
    from cython.cimports.hvcore.cpu.kinds import (
        ALU_MI, ALU_MR, ALU_RI, ALU_RM, ALU_RR, CLC, CLD, CMC, DEC_M, DEC_R, IMUL_M, IMUL_MI, IMUL_R, IMUL_RI,
        INC_M, INC_R, LAHF, MUL_M, MUL_R, NEG_M, NEG_R, NOT_M, NOT_R, SAHF, SHIFT_MC, SHIFT_MI, SHIFT_RC,
        SHIFT_RI, STC, STD,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_CMP, ALU_SUB, F_DF, F_OF, F_ONE, F_STATUS, M64, RAX, RCX, SIZE_MASK, u32, u64,
    )
else:
    from hvcore.cpu import arith, flags, mmu, operands
    from hvcore.cpu.constants import (
        ALU_CMP, ALU_MI, ALU_MR, ALU_RI, ALU_RM, ALU_RR, ALU_SUB, CLC, CLD, CMC, DEC_M, DEC_R, F_DF, F_OF,
        F_ONE, F_STATUS, IMUL_M, IMUL_MI, IMUL_R, IMUL_RI, INC_M, INC_R, LAHF, M64, MUL_M, MUL_R, NEG_M,
        NEG_R, NOT_M, NOT_R, RAX, RCX, SAHF, SHIFT_MC, SHIFT_MI, SHIFT_RC, SHIFT_RI, SIZE_MASK, STC, STD, u32,
        u64,
    )
# fmt: on


def compute(c, o):
    """ADD to CMP, TEST, INC DEC NOT NEG, shifts and rotates, MUL DIV and their kin; CLC STC CMC CLD STD LAHF SAHF."""
    kind: u32 = o.kind
    a: u64
    b: u64
    r: u64
    ea: u64
    if kind == ALU_RR:
        a = operands.get(c, o.reg, o.rsh, o.size)
        r = flags.alu(c, o.sub, a, operands.get(c, o.rm, o.msh, o.size), o.size)
        if o.sub < ALU_CMP:
            operands.put(c, o.reg, o.rsh, o.size, r)
    elif kind == ALU_RM:
        b = mmu.read(c, o.seg, operands.address(c, o), o.size)
        if c.fault:
            return
        r = flags.alu(c, o.sub, operands.get(c, o.reg, o.rsh, o.size), b, o.size)
        if o.sub < ALU_CMP:
            operands.put(c, o.reg, o.rsh, o.size, r)
    elif kind == ALU_RI:
        r = flags.alu(c, o.sub, operands.get(c, o.reg, o.rsh, o.size), o.imm, o.size)
        if o.sub < ALU_CMP:
            operands.put(c, o.reg, o.rsh, o.size, r)
    elif kind == ALU_MR or kind == ALU_MI:
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size) if o.sub < ALU_CMP else mmu.read(c, o.seg, ea, o.size)
        if c.fault:
            return
        b = o.imm if kind == ALU_MI else operands.get(c, o.reg, o.rsh, o.size)
        r = flags.alu(c, o.sub, a, b, o.size)
        if o.sub < ALU_CMP:
            mmu.write(c, o.seg, ea, r, o.size)
    elif kind == INC_R:
        operands.put(
            c, o.reg, o.rsh, o.size, flags.increment(c, operands.get(c, o.reg, o.rsh, o.size), o.size)
        )
    elif kind == DEC_R:
        operands.put(
            c, o.reg, o.rsh, o.size, flags.decrement(c, operands.get(c, o.reg, o.rsh, o.size), o.size)
        )
    elif kind == NOT_R:
        a = operands.get(c, o.reg, o.rsh, o.size)
        operands.put(c, o.reg, o.rsh, o.size, a ^ SIZE_MASK[o.size])
    elif kind == NEG_R:
        a = operands.get(c, o.reg, o.rsh, o.size)
        operands.put(c, o.reg, o.rsh, o.size, flags.alu(c, ALU_SUB, 0, a, o.size))
    elif kind == INC_M or kind == DEC_M or kind == NOT_M or kind == NEG_M:
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size)
        if c.fault:
            return
        if kind == INC_M:
            a = flags.increment(c, a, o.size)
        elif kind == DEC_M:
            a = flags.decrement(c, a, o.size)
        elif kind == NOT_M:
            a ^= SIZE_MASK[o.size]
        else:
            a = flags.alu(c, ALU_SUB, 0, a, o.size)
        mmu.write(c, o.seg, ea, a, o.size)
    elif kind == SHIFT_RI or kind == SHIFT_RC:
        b = o.imm if kind == SHIFT_RI else c.regs[RCX]
        a = operands.get(c, o.reg, o.rsh, o.size)
        operands.put(c, o.reg, o.rsh, o.size, flags.shift(c, o.sub, a, b & 0xFF, o.size))
    elif kind == SHIFT_MI or kind == SHIFT_MC:
        b = o.imm if kind == SHIFT_MI else c.regs[RCX]
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size)
        if c.fault:
            return
        mmu.write(c, o.seg, ea, flags.shift(c, o.sub, a, b & 0xFF, o.size), o.size)
    elif kind == IMUL_R or kind == IMUL_RI:
        a = operands.get(c, o.rm, 0, o.size)
        b = o.imm if kind == IMUL_RI else operands.get(c, o.reg, 0, o.size)
        operands.put(c, o.reg, 0, o.size, arith.imul(c, a, b, o.size))
    elif kind == IMUL_M or kind == IMUL_MI:
        a = mmu.read(c, o.seg, operands.address(c, o), o.size)
        if c.fault:
            return
        b = o.imm if kind == IMUL_MI else operands.get(c, o.reg, 0, o.size)
        operands.put(c, o.reg, 0, o.size, arith.imul(c, a, b, o.size))
    elif kind == MUL_R:
        arith.mul_div(c, o.sub, operands.get(c, o.reg, o.rsh, o.size), o.size)
    elif kind == MUL_M:
        a = mmu.read(c, o.seg, operands.address(c, o), o.size)
        if c.fault:
            return
        arith.mul_div(c, o.sub, a, o.size)
    elif kind == CLC:
        flags.set_carry(c, 0)
    elif kind == STC:
        flags.set_carry(c, 1)
    elif kind == CMC:
        flags.set_carry(c, flags.carry(c) ^ 1)
    elif kind == CLD:
        c.flags &= F_DF ^ M64
    elif kind == STD:
        c.flags |= F_DF
    elif kind == LAHF:
        operands.put(c, RAX, 8, 0, (flags.status(c) & (F_STATUS ^ F_OF)) | F_ONE)
    elif kind == SAHF:
        a = (c.regs[RAX] >> 8) & (F_STATUS ^ F_OF)
        flags.set_status(c, (flags.status(c) & F_OF) | a)
