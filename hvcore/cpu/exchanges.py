"""What reads and writes in one go: XCHG, CMPXCHG, CMPXCHG8B, XADD (SDM vol. 1 §7.3.1.2)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands
    from cython.cimports.hvcore.cpu.kinds import (
        CMPXCHG8B, CMPXCHG_M, CMPXCHG_R, XADD_M, XADD_R, XCHG_MR, XCHG_RR,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADD, ALU_CMP, M32, RAX, RBX, RCX, RDX, SIZE_MASK, u32, u64,
    )
else:
    from hvcore.cpu import flags, mmu, operands
    from hvcore.cpu.constants import (
        ALU_ADD, ALU_CMP, CMPXCHG8B, CMPXCHG_M, CMPXCHG_R, M32, RAX, RBX, RCX, RDX, SIZE_MASK, XADD_M, XADD_R,
        XCHG_MR, XCHG_RR, u32, u64,
    )
# fmt: on


def compare_exchange_8_bytes(c, seg, off):
    """CMPXCHG8B."""
    old: u64 = mmu.read_to_modify(c, seg, off, 3)
    wanted: u64 = (c.regs[RAX] & M32) | ((c.regs[RDX] & M32) << 32)
    if c.fault:
        return
    if old == wanted:
        mmu.write(c, seg, off, (c.regs[RBX] & M32) | ((c.regs[RCX] & M32) << 32), 3)
        flags.set_zero_flag(c, 1)
    else:
        mmu.write(c, seg, off, old, 3)
        c.regs[RAX] = old & M32
        c.regs[RDX] = old >> 32
        flags.set_zero_flag(c, 0)


def exchange(c, o):
    """XCHG CMPXCHG XADD CMPXCHG8B."""
    kind: u32 = o.kind
    a: u64
    b: u64
    r: u64
    ea: u64
    if kind == XCHG_RR:
        a = operands.get(c, o.reg, o.rsh, o.size)
        operands.put(c, o.reg, o.rsh, o.size, operands.get(c, o.rm, o.msh, o.size))
        operands.put(c, o.rm, o.msh, o.size, a)
    elif kind == XCHG_MR:
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size)
        if c.fault:
            return
        mmu.write(c, o.seg, ea, operands.get(c, o.reg, o.rsh, o.size), o.size)
        operands.put(c, o.reg, o.rsh, o.size, a)
    elif kind == CMPXCHG_R:
        a = operands.get(c, o.reg, o.rsh, o.size)
        b = c.regs[RAX] & SIZE_MASK[o.size]
        flags.alu(c, ALU_CMP, b, a, o.size)
        if a == b:
            operands.put(c, o.reg, o.rsh, o.size, operands.get(c, o.rm, o.msh, o.size))
        else:
            operands.put(c, RAX, 0, o.size, a)
    elif kind == CMPXCHG_M:
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size)
        if c.fault:
            return
        b = c.regs[RAX] & SIZE_MASK[o.size]
        flags.alu(c, ALU_CMP, b, a, o.size)
        if a == b:
            mmu.write(c, o.seg, ea, operands.get(c, o.reg, o.rsh, o.size), o.size)
        else:
            mmu.write(c, o.seg, ea, a, o.size)
            operands.put(c, RAX, 0, o.size, a)
    elif kind == XADD_R:
        a = operands.get(c, o.reg, o.rsh, o.size)
        b = operands.get(c, o.rm, o.msh, o.size)
        r = flags.alu(c, ALU_ADD, a, b, o.size)
        operands.put(c, o.rm, o.msh, o.size, a)
        operands.put(c, o.reg, o.rsh, o.size, r)
    elif kind == XADD_M:
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size)
        if c.fault:
            return
        r = flags.alu(c, ALU_ADD, a, operands.get(c, o.reg, o.rsh, o.size), o.size)
        mmu.write(c, o.seg, ea, r, o.size)
        operands.put(c, o.reg, o.rsh, o.size, a)
    elif kind == CMPXCHG8B:
        compare_exchange_8_bytes(c, o.seg, operands.address(c, o))
