"""Jumps, calls and returns within the segment, of any operand size (SDM vol. 1 §7.3.8.1, §7.3.8.2)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, flags, mmu, operands
    from cython.cimports.hvcore.cpu.kinds import (
        CALL, CALL_M, CALL_R, JCXZ, JMP_M, JMP_R, LOOP, LOOPE, LOOPNE, RET, RET_I,
    )
    from cython.cimports.hvcore.cpu.state import (
        COND_NZ, COND_Z, CS, M32, RCX, RSP, SIZE_MASK, SS, VEC_GP, u32, u64,
    )
else:
    from hvcore.cpu import faults, flags, mmu, operands
    from hvcore.cpu.constants import (
        CALL, CALL_M, CALL_R, COND_NZ, COND_Z, CS, JCXZ, JMP_M, JMP_R, LOOP, LOOPE, LOOPNE, M32, RCX, RET,
        RET_I, RSP, SIZE_MASK, SS, VEC_GP, u32, u64,
    )
# fmt: on


def branch(c, o):
    """CALL RET JMP by register or memory, LOOP and its kin, JCXZ: they set `c.eip`, which is that of the next."""
    kind: u32 = o.kind
    a: u64
    b: u64
    r: u64
    next_eip: u64
    if kind == CALL:
        b = (c.block_eip + o.off) & M32
        next_eip = (b + o.imm) & SIZE_MASK[o.size]
        if next_eip > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        mmu.push(c, b, o.size)
        if c.fault:
            return
        c.eip = next_eip
    elif kind == RET or kind == RET_I:
        a = mmu.read(c, SS, c.regs[RSP] & c.sp_mask, o.size)
        if c.fault:
            return
        if a > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        mmu.set_sp(c, c.regs[RSP] + (1 << o.size) + o.imm)
        c.eip = a
    elif kind == LOOP or kind == LOOPE or kind == LOOPNE or kind == JCXZ:
        next_eip = (c.block_eip + o.off) & M32
        r = SIZE_MASK[o.addr]
        a = c.regs[RCX] & r
        if kind == JCXZ:
            b = a == 0
        else:
            a = (a - 1) & r
            b = a != 0
            if kind == LOOPE:
                b = b and flags.condition(c, COND_Z)
            elif kind == LOOPNE:
                b = b and flags.condition(c, COND_NZ)
        if b:
            next_eip = (next_eip + o.imm) & SIZE_MASK[o.size]
            if next_eip > c.limit[CS]:
                faults.exception(c, VEC_GP, 0)
                return
        operands.put_masked(c, RCX, r, a)
        c.eip = next_eip
    elif kind == JMP_R or kind == JMP_M or kind == CALL_R or kind == CALL_M:
        if kind == JMP_R or kind == CALL_R:
            a = c.regs[o.reg] & SIZE_MASK[o.size]
        else:
            a = mmu.read(c, o.seg, operands.address(c, o), o.size)
            if c.fault:
                return
        if a > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        if kind == CALL_R or kind == CALL_M:
            mmu.push(c, (c.block_eip + o.off) & M32, o.size)
            if c.fault:
                return
        c.eip = a
