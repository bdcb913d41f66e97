"""Moves of data of any operand size (SDM vol. 1 §7.3.1); `operations` has the commonest of 32 bits."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import decode, flags, mmu, operands
    from cython.cimports.hvcore.cpu.kinds import (
        BSWAP, CBW, CMOV_M, CMOV_R, CWD, MOVSX_M, MOVSX_R, MOVZX_M, MOVZX_R, MOV_MI, MOV_MR, MOV_RI, MOV_RM,
        MOV_RR, POP_M, POP_R, PUSH_I, PUSH_M, PUSH_R, SALC, SETCC_M, SETCC_R, XLAT,
    )
    from cython.cimports.hvcore.cpu.state import RAX, RBX, RDX, RSP, SIZE_MASK, SIZE_SIGN, u32, u64
else:
    from hvcore.cpu import decode, flags, mmu, operands
    from hvcore.cpu.constants import (
        BSWAP, CBW, CMOV_M, CMOV_R, CWD, MOVSX_M, MOVSX_R, MOVZX_M, MOVZX_R, MOV_MI, MOV_MR, MOV_RI, MOV_RM,
        MOV_RR, POP_M, POP_R, PUSH_I, PUSH_M, PUSH_R, RAX, RBX, RDX, RSP, SALC, SETCC_M, SETCC_R, SIZE_MASK,
        SIZE_SIGN, XLAT, u32, u64,
    )
# fmt: on


def move(c, o):
    """MOV MOVZX MOVSX PUSH POP SETcc CMOVcc CBW CWD BSWAP XLAT SALC, and those with other names for other sizes."""
    kind: u32 = o.kind
    a: u64
    b: u64
    r: u64
    ea: u64
    if kind == MOV_RR:
        operands.put(c, o.reg, o.rsh, o.size, operands.get(c, o.rm, o.msh, o.size))
    elif kind == MOV_RM:
        a = mmu.read(c, o.seg, operands.address(c, o), o.size)
        if c.fault:
            return
        operands.put(c, o.reg, o.rsh, o.size, a)
    elif kind == MOV_MR:
        mmu.write(c, o.seg, operands.address(c, o), operands.get(c, o.reg, o.rsh, o.size), o.size)
    elif kind == MOV_RI:
        operands.put(c, o.reg, o.rsh, o.size, o.imm)
    elif kind == MOV_MI:
        mmu.write(c, o.seg, operands.address(c, o), o.imm, o.size)
    elif kind == MOVZX_R:
        operands.put(c, o.reg, 0, o.size, (c.regs[o.rm] >> o.msh) & SIZE_MASK[o.sub])
    elif kind == MOVZX_M:
        a = mmu.read(c, o.seg, operands.address(c, o), o.sub)
        if c.fault:
            return
        operands.put(c, o.reg, 0, o.size, a)
    elif kind == MOVSX_R:
        a = (c.regs[o.rm] >> o.msh) & SIZE_MASK[o.sub]
        operands.put(c, o.reg, 0, o.size, decode.extend(a, o.sub))
    elif kind == MOVSX_M:
        a = mmu.read(c, o.seg, operands.address(c, o), o.sub)
        if c.fault:
            return
        operands.put(c, o.reg, 0, o.size, decode.extend(a, o.sub))
    elif kind == PUSH_R:
        mmu.push(c, c.regs[o.reg], o.size)
    elif kind == PUSH_M:
        a = mmu.read(c, o.seg, operands.address(c, o), o.size)
        if c.fault:
            return
        mmu.push(c, a, o.size)
    elif kind == PUSH_I:
        mmu.push(c, o.imm, o.size)
    elif kind == POP_R:
        a = mmu.pop(c, o.size)
        if c.fault:
            return
        operands.put(c, o.reg, 0, o.size, a)
    elif kind == POP_M:  # the address is computed with the stack pointer already moved
        b = c.regs[RSP]
        a = mmu.pop(c, o.size)
        if c.fault:
            return
        mmu.write(c, o.seg, operands.address(c, o), a, o.size)
        if c.fault:
            c.regs[RSP] = b
            return
    elif kind == SETCC_R:
        operands.put(c, o.reg, o.rsh, 0, flags.condition(c, o.sub))
    elif kind == SETCC_M:
        mmu.write(c, o.seg, operands.address(c, o), flags.condition(c, o.sub), 0)
    elif kind == CMOV_R:
        a = operands.get(c, o.rm if flags.condition(c, o.sub) else o.reg, 0, o.size)
        operands.put(c, o.reg, 0, o.size, a)
    elif kind == CMOV_M:  # memory is read whether or not
        a = mmu.read(c, o.seg, operands.address(c, o), o.size)
        if c.fault:
            return
        if not flags.condition(c, o.sub):
            a = c.regs[o.reg]
        operands.put(c, o.reg, 0, o.size, a)
    elif kind == CBW:
        a = operands.get(c, RAX, 0, o.size - 1)
        operands.put(c, RAX, 0, o.size, decode.extend(a, o.size - 1))
    elif kind == CWD:
        a = operands.get(c, RAX, 0, o.size)
        operands.put(c, RDX, 0, o.size, SIZE_MASK[o.size] if a & SIZE_SIGN[o.size] else 0)
    elif kind == BSWAP:
        a = c.regs[o.reg]
        r = ((a & 0xFF) << 24) | ((a & 0xFF00) << 8) | ((a >> 8) & 0xFF00) | ((a >> 24) & 0xFF)
        if o.size < 2:  # undefined; silicon clears
            r = 0
        operands.put(c, o.reg, 0, o.size, r)
    elif kind == XLAT:
        ea = (c.regs[RBX] + (c.regs[RAX] & 0xFF)) & SIZE_MASK[o.addr]
        a = mmu.read(c, o.seg, ea, 0)
        if c.fault:
            return
        operands.put(c, RAX, 0, 0, a)
    elif kind == SALC:
        operands.put(c, RAX, 0, 0, 0xFF if flags.carry(c) else 0)
