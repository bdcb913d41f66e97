"""What an operation of a block does: `perform` has the common ones in place, and names the family's file of all others.

Common are mostly those of 32-bit operands, on registers, lazy flags (`flags` has the rest) and memory that hits the TLB
(`mmu` has the rest). Only what one file has is inlined, so that their helpers stand here, and `perform` is one long
switch: with a call to the family's file for each, such code runs at 0.6 to 0.95 of its speed.
An operation that fails leaves `c.fault` set and the processor as it was before that operation.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import (
        arith,
        bits,
        branches,
        control,
        exchanges,
        faults,
        flags,
        frames,
        integers,
        mmu,
        moves,
        operands,
        physical,
        strings,
        system,
    )
    from cython.cimports.hvcore.cpu.fp import sse, x87, x87_environment
    from cython.cimports.hvcore.cpu.kinds import (
        AAD, ADD32_MI, ADD32_MR, ADD32_RI, ADD32_RM, ADD32_RR, ALU8_RI, ALU8_RM, ALU8_RR, ALU_RR, AND32_RI,
        AND32_RM, AND32_RR, BT_R, CALL, CALL32, CMP32_MI, CMP32_MR, CMP32_RI, CMP32_RM, CMP32_RR, CMP8_MI,
        CMP8_RI, CMP8_RM, CMP8_RR, CMPJ32_RI, CMPJ32_RR, CMPXCHG8B, DAA, DEC32, DEC32_M, ESC_M, ESC_R, FXSAVE,
        IMUL32_RM, IMUL32_RR, INC32, INC32_M, JCC, JCXZ, JMP, JNZ, JZ, LEA, LEA32, LEAVE, LOAD16, LOAD32,
        LOAD8, MOV32_RI, MOV32_RR, MOVS, MOVZX16_M, MOVZX8_M, MOVZX8_R, MOV_RR, MOV_SEG_R, NOP, OR32_RI,
        OR32_RM, OR32_RR, POP32, POP_SEG, PUSH32, PUSH32_I, PUSHA, RET32, ROL32_I, ROR32_I, SAHF, SALC,
        SAR32_I, SCAS, SHL32_I, SHR32_I, SHRD_MC, STI, STORE16, STORE32, STORE32_I, STORE8, SUB32_RI,
        SUB32_RM, SUB32_RR, TEST32_RI, TEST32_RR, TEST8_RI, TEST8_RR, TESTJ32_RR, UNDEFINED, VECTOR, WAIT,
        XCHG_RR, XOR32_RI, XOR32_RM, XOR32_RR,
    )
    from cython.cimports.hvcore.cpu.state import (
        CC_ADD, CC_BASE, CC_DEC, CC_FLAGS, CC_INC, CC_LOGIC, CC_SHIFT, CC_SUB, CR0_EM, CR0_TS, CS, F_ZF, M32,
        M64, RSP, SIZE_MASK, SIZE_SIGN, SS, TEST_B, TEST_BE, TEST_L, TEST_LE, TEST_S, TEST_Z, TLB_MASK,
        VEC_GP, VEC_NM, VEC_UD, Op, State, u16, u32, u64,
    )
else:
    from hvcore.cpu import (
        arith,
        bits,
        branches,
        control,
        exchanges,
        faults,
        flags,
        frames,
        integers,
        mmu,
        moves,
        operands,
        physical,
        strings,
        system,
    )
    from hvcore.cpu.constants import (
        AAD, ADD32_MI, ADD32_MR, ADD32_RI, ADD32_RM, ADD32_RR, ALU8_RI, ALU8_RM, ALU8_RR, ALU_RR, AND32_RI,
        AND32_RM, AND32_RR, BT_R, CALL, CALL32, CC_ADD, CC_BASE, CC_DEC, CC_FLAGS, CC_INC, CC_LOGIC, CC_SHIFT,
        CC_SUB, CMP32_MI, CMP32_MR, CMP32_RI, CMP32_RM, CMP32_RR, CMP8_MI, CMP8_RI, CMP8_RM, CMP8_RR,
        CMPJ32_RI, CMPJ32_RR, CMPXCHG8B, CR0_EM, CR0_TS, CS, DAA, DEC32, DEC32_M, ESC_M, ESC_R, FXSAVE, F_ZF,
        IMUL32_RM, IMUL32_RR, INC32, INC32_M, JCC, JCXZ, JMP, JNZ, JZ, LEA, LEA32, LEAVE, LOAD16, LOAD32,
        LOAD8, M32, M64, MOV32_RI, MOV32_RR, MOVS, MOVZX16_M, MOVZX8_M, MOVZX8_R, MOV_RR, MOV_SEG_R, NOP,
        OR32_RI, OR32_RM, OR32_RR, POP32, POP_SEG, PUSH32, PUSH32_I, PUSHA, RET32, ROL32_I, ROR32_I, RSP,
        SAHF, SALC, SAR32_I, SCAS, SHL32_I, SHR32_I, SHRD_MC, SIZE_MASK, SIZE_SIGN, SS, STI, STORE16, STORE32,
        STORE32_I, STORE8, SUB32_RI, SUB32_RM, SUB32_RR, TEST32_RI, TEST32_RR, TEST8_RI, TEST8_RR, TESTJ32_RR,
        TEST_B, TEST_BE, TEST_L, TEST_LE, TEST_S, TEST_Z, TLB_MASK, UNDEFINED, VECTOR, VEC_GP, VEC_NM, VEC_UD,
        WAIT, XCHG_RR, XOR32_RI, XOR32_RM, XOR32_RR, u16, u32, u64,
    )
    from hvcore.cpu.fp import sse, x87, x87_environment
    from hvcore.cpu.state import State

    Op = object
# fmt: on

# Memory that hits the TLB


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def address(c: State, o: cython.pointer(Op)) -> u64:
    """The offset of the memory operand."""
    return (c.regs[o.base] + (c.regs[o.index] << o.scale) + o.disp) & o.amask


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def load8(c: State, seg: u32, off: u64) -> u64:
    """Read 8 bits."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off < c.rd_size[seg] and (lin ^ c.tlb[i].rd) <= 4095:
        return c.host[(lin + c.tlb[i].add) & M64]
    return mmu.read(c, seg, off, 0)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def load16(c: State, seg: u32, off: u64) -> u64:
    """Read 16 bits."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off + 2 <= c.rd_size[seg] and (lin ^ c.tlb[i].rd) <= 4094:
        if cython.compiled:
            return cython.cast(cython.pointer(u16), c.host + (lin + c.tlb[i].add))[0]
        else:
            i = (lin + c.tlb[i].add) & M64
            return int.from_bytes(c.host[i : i + 2], "little")
    return mmu.read(c, seg, off, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def load32(c: State, seg: u32, off: u64) -> u64:
    """Read 32 bits."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off + 4 <= c.rd_size[seg] and (lin ^ c.tlb[i].rd) <= 4092:
        if cython.compiled:
            return cython.cast(cython.pointer(u32), c.host + (lin + c.tlb[i].add))[0]
        else:
            i = (lin + c.tlb[i].add) & M64
            return int.from_bytes(c.host[i : i + 4], "little")
    return mmu.read(c, seg, off, 2)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def store8(c: State, seg: u32, off: u64, value: u64) -> cython.void:
    """Write 8 bits."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off < c.wr_size[seg] and (lin ^ c.tlb[i].wr) <= 4095:
        c.host[(lin + c.tlb[i].add) & M64] = value
    else:
        mmu.write(c, seg, off, value, 0)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def store16(c: State, seg: u32, off: u64, value: u64) -> cython.void:
    """Write 16 bits."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off + 2 <= c.wr_size[seg] and (lin ^ c.tlb[i].wr) <= 4094:
        if cython.compiled:
            cython.cast(cython.pointer(u16), c.host + (lin + c.tlb[i].add))[0] = value
        else:
            physical.host_store(c, (lin + c.tlb[i].add) & M64, value, 2)
    else:
        mmu.write(c, seg, off, value, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def store32(c: State, seg: u32, off: u64, value: u64) -> cython.void:
    """Write 32 bits."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off + 4 <= c.wr_size[seg] and (lin ^ c.tlb[i].wr) <= 4092:
        if cython.compiled:
            cython.cast(cython.pointer(u32), c.host + (lin + c.tlb[i].add))[0] = value
        else:
            physical.host_store(c, (lin + c.tlb[i].add) & M64, value, 4)
    else:
        mmu.write(c, seg, off, value, 2)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def modify32(c: State, seg: u32, off: u64) -> u64:
    """Read 32 bits that will be written back: after this, `store32` to the same place cannot fail."""
    lin: u64 = c.base[seg] + off
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if off + 4 <= c.wr_size[seg] and off + 4 <= c.rd_size[seg] and (lin ^ c.tlb[i].wr) <= 4092:
        if cython.compiled:
            return cython.cast(cython.pointer(u32), c.host + (lin + c.tlb[i].add))[0]
        else:
            i = (lin + c.tlb[i].add) & M64
            return int.from_bytes(c.host[i : i + 4], "little")
    return mmu.read_to_modify(c, seg, off, 2)


# Registers of 8 bits


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def get8(c: State, reg: u32, shift: u32) -> u64:
    """Read an 8-bit register."""
    return (c.regs[reg] >> shift) & 0xFF


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def put8(c: State, reg: u32, shift: u32, value: u64) -> cython.void:
    """Set an 8-bit register."""
    mask: u64 = 0xFF
    mask <<= shift
    c.regs[reg] = (c.regs[reg] & (mask ^ M64)) | (value << shift)


# Flags of 32 bits, and of 8


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def signed32(v: u64) -> u64:
    """Sign-extend 32 bits to 64."""
    return ((v ^ SIZE_SIGN[2]) - SIZE_SIGN[2]) & M64


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def multiply32(c: State, a: u64, b: u64) -> u64:
    """IMUL of 32 bits, with its flags (as `arith.imul`)."""
    product: u64 = (signed32(a) * signed32(b)) & M64
    r: u64 = product & M32
    c.cc_op = CC_SHIFT
    c.cc_size = 2
    c.cc_res = r
    c.cc_cf = signed32(r) != product
    c.cc_a = c.cc_cf
    return r


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def keep_carry(c: State) -> cython.void:
    """Put CF where INC and DEC leave it."""
    if c.cc_op == CC_SUB:
        c.cc_cf = c.cc_a < c.cc_b
    elif c.cc_op == CC_LOGIC:
        c.cc_cf = 0
    elif c.cc_op < CC_INC:
        c.cc_cf = flags.carry(c)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def set_sub(c: State, op: u32, a: u64, b: u64, r: u64) -> cython.void:
    """Remember a 32-bit addition or subtraction."""
    c.cc_op = op
    c.cc_size = 2
    c.cc_a = a
    c.cc_b = b
    c.cc_res = r


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def set_logic(c: State, r: u64) -> cython.void:
    """Remember a 32-bit AND, OR, XOR or TEST."""
    c.cc_op = CC_LOGIC
    c.cc_size = 2
    c.cc_res = r


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def set_flags8(c: State, op: u32, a: u64, b: u64, r: u64) -> cython.void:
    """Remember an 8-bit operation."""
    c.cc_op = op
    c.cc_size = 0
    c.cc_a = a
    c.cc_b = b
    c.cc_res = r


# Conditions and branches


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def taken(c: State, code: u32) -> u32:
    """Whether a condition holds: straight from the operands after SUB and CMP, and ZF and SF after anything."""
    k: u32 = code >> 1
    if k == TEST_Z and c.cc_op & CC_BASE != CC_FLAGS:
        return (c.cc_res == 0) ^ (code & 1)
    if c.cc_op == CC_SUB:
        if k == TEST_B:
            return (c.cc_a < c.cc_b) ^ (code & 1)
        elif k == TEST_BE:
            return (c.cc_a <= c.cc_b) ^ (code & 1)
        elif k == TEST_L:
            return ((c.cc_a ^ SIZE_SIGN[c.cc_size]) < (c.cc_b ^ SIZE_SIGN[c.cc_size])) ^ (code & 1)
        elif k == TEST_LE:
            return ((c.cc_a ^ SIZE_SIGN[c.cc_size]) <= (c.cc_b ^ SIZE_SIGN[c.cc_size])) ^ (code & 1)
    if k == TEST_S and c.cc_op & CC_BASE != CC_FLAGS:
        return ((c.cc_res & SIZE_SIGN[c.cc_size]) != 0) ^ (code & 1)
    return flags.condition(c, code)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def below(a: u64, b: u64, code: u32) -> u32:
    """Whether condition `code` holds after a 32-bit comparison of `a` with `b`; not for overflow and parity."""
    k: u32 = code >> 1
    v: u32
    if k == TEST_Z:
        v = a == b
    elif k == TEST_B:
        v = a < b
    elif k == TEST_BE:
        v = a <= b
    elif k == TEST_L:
        v = (a ^ SIZE_SIGN[2]) < (b ^ SIZE_SIGN[2])
    elif k == TEST_LE:
        v = (a ^ SIZE_SIGN[2]) <= (b ^ SIZE_SIGN[2])
    else:  # TEST_S
        v = (((a - b) & M32) >> 31) & 1
    return v ^ (code & 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def branch(c: State, o: cython.pointer(Op)) -> u32:
    """Take a relative branch; 0 if it leads out of the code segment."""
    target: u64 = (c.block_eip + o.off + o.imm) & SIZE_MASK[o.size]
    if target > c.limit[CS]:
        faults.exception(c, VEC_GP, 0)
        return 0
    c.eip = target
    return 1


def perform(c, j, end):
    """Execute operations `j` to `end` - 1 of one block; returns the first that did not complete, or `end`.

    An operation that goes elsewhere is the last: it sets `c.eip` and `c.gone`, and its own number is returned.
    One that fails leaves `c.fault` set.
    """
    ops: cython.pointer(Op) = c.ops
    o: cython.pointer(Op)
    kind: u32
    a: u64
    b: u64
    r: u64
    ea: u64
    next_eip: u64 = 0
    while j < end:
        o = ops + j
        kind = o.kind
        # Moves.
        if kind == MOV32_RR:
            c.regs[o.reg] = c.regs[o.rm] & M32
        elif kind == MOV32_RI:
            c.regs[o.reg] = o.imm
        elif kind == LOAD32:
            a = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            c.regs[o.reg] = a
        elif kind == STORE32:
            store32(c, o.seg, address(c, o), c.regs[o.reg] & M32)
            if c.fault:
                break
        elif kind == STORE32_I:
            store32(c, o.seg, address(c, o), o.imm)
            if c.fault:
                break
        elif kind == LOAD16:
            a = load16(c, o.seg, address(c, o))
            if c.fault:
                break
            c.regs[o.reg] = (c.regs[o.reg] & (M64 ^ 0xFFFF)) | a
        elif kind == STORE16:
            store16(c, o.seg, address(c, o), c.regs[o.reg] & 0xFFFF)
            if c.fault:
                break
        elif kind == LOAD8:
            a = load8(c, o.seg, address(c, o))
            if c.fault:
                break
            operands.put(c, o.reg, o.rsh, 0, a)
        elif kind == STORE8:
            store8(c, o.seg, address(c, o), (c.regs[o.reg] >> o.rsh) & 0xFF)
            if c.fault:
                break
        elif kind == MOVZX16_M:
            a = load16(c, o.seg, address(c, o))
            if c.fault:
                break
            c.regs[o.reg] = a
        elif kind == MOVZX8_R:
            c.regs[o.reg] = (c.regs[o.rm] >> o.msh) & 0xFF
        elif kind == MOVZX8_M:
            a = load8(c, o.seg, address(c, o))
            if c.fault:
                break
            c.regs[o.reg] = a
        elif kind == LEA32:
            c.regs[o.reg] = address(c, o) & M32
        elif kind == LEA:
            operands.put(c, o.reg, 0, o.size, address(c, o))
        # The stack.
        elif kind == PUSH32:
            ea = (c.regs[RSP] - 4) & c.sp_mask
            store32(c, SS, ea, c.regs[o.reg] & M32)
            if c.fault:
                break
            c.regs[RSP] = (c.regs[RSP] & (c.sp_mask ^ M64)) | ea
        elif kind == PUSH32_I:
            ea = (c.regs[RSP] - 4) & c.sp_mask
            store32(c, SS, ea, o.imm)
            if c.fault:
                break
            c.regs[RSP] = (c.regs[RSP] & (c.sp_mask ^ M64)) | ea
        elif kind == POP32:
            a = load32(c, SS, c.regs[RSP] & c.sp_mask)
            if c.fault:
                break
            c.regs[RSP] = (c.regs[RSP] & (c.sp_mask ^ M64)) | ((c.regs[RSP] + 4) & c.sp_mask)
            c.regs[o.reg] = a
        # Arithmetic and logic of 32 bits.
        elif kind == ADD32_RR:
            a = c.regs[o.reg]
            b = c.regs[o.rm]
            r = (a + b) & M32
            set_sub(c, CC_ADD, a, b, r)
            c.regs[o.reg] = r
        elif kind == ADD32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            a = c.regs[o.reg]
            r = (a + b) & M32
            set_sub(c, CC_ADD, a, b, r)
            c.regs[o.reg] = r
        elif kind == ADD32_RI:
            a = c.regs[o.reg]
            r = (a + o.imm) & M32
            set_sub(c, CC_ADD, a, o.imm, r)
            c.regs[o.reg] = r
        elif kind == ADD32_MR or kind == ADD32_MI:
            ea = address(c, o)
            a = modify32(c, o.seg, ea)
            if c.fault:
                break
            b = c.regs[o.reg] & M32 if kind == ADD32_MR else o.imm
            r = (a + b) & M32
            set_sub(c, CC_ADD, a, b, r)
            store32(c, o.seg, ea, r)
        elif kind == SUB32_RR:
            a = c.regs[o.reg]
            b = c.regs[o.rm]
            r = (a - b) & M32
            set_sub(c, CC_SUB, a, b, r)
            c.regs[o.reg] = r
        elif kind == SUB32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            a = c.regs[o.reg]
            r = (a - b) & M32
            set_sub(c, CC_SUB, a, b, r)
            c.regs[o.reg] = r
        elif kind == SUB32_RI:
            a = c.regs[o.reg]
            r = (a - o.imm) & M32
            set_sub(c, CC_SUB, a, o.imm, r)
            c.regs[o.reg] = r
        elif kind == CMP32_RR:
            a = c.regs[o.reg]
            b = c.regs[o.rm]
            set_sub(c, CC_SUB, a, b, (a - b) & M32)
        elif kind == CMP32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            a = c.regs[o.reg]
            set_sub(c, CC_SUB, a, b, (a - b) & M32)
        elif kind == CMP32_RI:
            a = c.regs[o.reg]
            set_sub(c, CC_SUB, a, o.imm, (a - o.imm) & M32)
        elif kind == CMP32_MR:
            a = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            b = c.regs[o.reg]
            set_sub(c, CC_SUB, a, b, (a - b) & M32)
        elif kind == CMP32_MI:
            a = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            set_sub(c, CC_SUB, a, o.imm, (a - o.imm) & M32)
        elif kind == AND32_RR:
            r = c.regs[o.reg] & c.regs[o.rm]
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == AND32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            r = c.regs[o.reg] & b
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == AND32_RI:
            r = c.regs[o.reg] & o.imm
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == OR32_RR:
            r = c.regs[o.reg] | c.regs[o.rm]
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == OR32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            r = c.regs[o.reg] | b
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == OR32_RI:
            r = c.regs[o.reg] | o.imm
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == XOR32_RR:
            r = c.regs[o.reg] ^ c.regs[o.rm]
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == XOR32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            r = c.regs[o.reg] ^ b
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == XOR32_RI:
            r = c.regs[o.reg] ^ o.imm
            set_logic(c, r)
            c.regs[o.reg] = r
        elif kind == TEST32_RR:
            set_logic(c, c.regs[o.reg] & c.regs[o.rm])
        elif kind == TEST32_RI:
            set_logic(c, c.regs[o.reg] & o.imm)
        elif kind == INC32:
            keep_carry(c)
            c.cc_op = CC_INC
            c.cc_size = 2
            c.cc_res = (c.regs[o.reg] + 1) & M32
            c.regs[o.reg] = c.cc_res
        elif kind == DEC32:
            keep_carry(c)
            c.cc_op = CC_DEC
            c.cc_size = 2
            c.cc_res = (c.regs[o.reg] - 1) & M32
            c.regs[o.reg] = c.cc_res
        elif kind == INC32_M or kind == DEC32_M:
            ea = address(c, o)
            a = modify32(c, o.seg, ea)
            if c.fault:
                break
            keep_carry(c)
            c.cc_op = CC_INC if kind == INC32_M else CC_DEC
            c.cc_size = 2
            c.cc_res = (a + 1 if kind == INC32_M else a - 1) & M32
            store32(c, o.seg, ea, c.cc_res)
        elif kind == IMUL32_RR:
            c.regs[o.reg] = multiply32(c, c.regs[o.reg], c.regs[o.rm])
        elif kind == IMUL32_RM:
            b = load32(c, o.seg, address(c, o))
            if c.fault:
                break
            c.regs[o.reg] = multiply32(c, c.regs[o.reg], b)
        # Shifts of 32 bits.
        elif kind == SHL32_I:
            a = c.regs[o.reg]
            b = o.imm & 31
            r = (a << b) & M32
            c.cc_op = CC_SHIFT
            c.cc_size = 2
            c.cc_cf = (a >> (32 - b)) & 1
            c.cc_a = (r >> 31) ^ c.cc_cf
            c.cc_res = r
            c.regs[o.reg] = r
        elif kind == SHR32_I:
            a = c.regs[o.reg]
            b = o.imm & 31
            r = a >> b
            c.cc_op = CC_SHIFT
            c.cc_size = 2
            c.cc_cf = (a >> (b - 1)) & 1
            c.cc_a = a >> 31 if b == 1 else 0
            c.cc_res = r
            c.regs[o.reg] = r
        elif kind == SAR32_I:
            a = c.regs[o.reg]
            b = o.imm & 31
            r = (signed32(a) >> b) & M32
            c.cc_op = CC_SHIFT
            c.cc_size = 2
            c.cc_cf = (a >> (b - 1)) & 1
            c.cc_a = 0
            c.cc_res = r
            c.regs[o.reg] = r
        elif kind == ROL32_I:
            a = c.regs[o.reg]
            b = o.imm & 31
            r = ((a << b) | (a >> (32 - b))) & M32
            flags.rotated(c, r & 1, (r >> 31) ^ (r & 1))
            c.regs[o.reg] = r
        elif kind == ROR32_I:
            a = c.regs[o.reg]
            b = o.imm & 31
            r = ((a >> b) | (a << (32 - b))) & M32
            flags.rotated(c, r >> 31, (r >> 31) ^ ((r >> 30) & 1))
            c.regs[o.reg] = r
        # Arithmetic and logic of 8 bits.
        elif kind == CMP8_RR:
            a = get8(c, o.reg, o.rsh)
            b = get8(c, o.rm, o.msh)
            set_flags8(c, CC_SUB, a, b, (a - b) & 0xFF)
        elif kind == CMP8_RI:
            a = get8(c, o.reg, o.rsh)
            set_flags8(c, CC_SUB, a, o.imm, (a - o.imm) & 0xFF)
        elif kind == CMP8_RM:
            b = load8(c, o.seg, address(c, o))
            if c.fault:
                break
            a = get8(c, o.reg, o.rsh)
            set_flags8(c, CC_SUB, a, b, (a - b) & 0xFF)
        elif kind == CMP8_MI:
            a = load8(c, o.seg, address(c, o))
            if c.fault:
                break
            set_flags8(c, CC_SUB, a, o.imm, (a - o.imm) & 0xFF)
        elif kind == TEST8_RR:
            set_flags8(c, CC_LOGIC, 0, 0, get8(c, o.reg, o.rsh) & get8(c, o.rm, o.msh))
        elif kind == TEST8_RI:
            set_flags8(c, CC_LOGIC, 0, 0, get8(c, o.reg, o.rsh) & o.imm)
        elif kind == ALU8_RR or kind == ALU8_RI:
            a = get8(c, o.reg, o.rsh)
            b = get8(c, o.rm, o.msh) if kind == ALU8_RR else o.imm
            put8(c, o.reg, o.rsh, flags.alu(c, o.sub, a, b, 0))
        elif kind == ALU8_RM:
            b = load8(c, o.seg, address(c, o))
            if c.fault:
                break
            put8(c, o.reg, o.rsh, flags.alu(c, o.sub, get8(c, o.reg, o.rsh), b, 0))
        # Branches: comparisons with the jump behind them first.
        elif kind == CMPJ32_RR or kind == CMPJ32_RI or kind == TESTJ32_RR:
            a = c.regs[o.reg]
            if kind == CMPJ32_RI:
                b = o.imm
            else:
                b = c.regs[o.rm]
            if kind == TESTJ32_RR:
                a &= b
                b = 0
                set_logic(c, a)
            else:
                set_sub(c, CC_SUB, a, b, (a - b) & M32)
            j += 1
            if j == end:  # the budget ends between the two
                break
            o = ops + j
            if below(a, b, o.sub):
                if not branch(c, o):
                    break
            else:
                c.eip = (c.block_eip + o.off) & M32
            c.gone = 1
            break
        elif kind == JZ or kind == JNZ:
            if c.cc_op & CC_BASE == CC_FLAGS:
                a = c.cc_a & F_ZF
            else:
                a = c.cc_res == 0
            if (a != 0) == (kind == JZ):
                if not branch(c, o):
                    break
            else:
                c.eip = (c.block_eip + o.off) & M32
            c.gone = 1
            break
        elif kind == JCC:
            if taken(c, o.sub):
                if not branch(c, o):
                    break
            else:
                c.eip = (c.block_eip + o.off) & M32
            c.gone = 1
            break
        elif kind == JMP:
            if not branch(c, o):
                break
            c.gone = 1
            break
        elif kind == CALL32:
            next_eip = (c.block_eip + o.off + o.imm) & M32
            if next_eip > c.limit[CS]:
                faults.exception(c, VEC_GP, 0)
                break
            ea = (c.regs[RSP] - 4) & c.sp_mask
            store32(c, SS, ea, (c.block_eip + o.off) & M32)
            if c.fault:
                break
            c.regs[RSP] = (c.regs[RSP] & (c.sp_mask ^ M64)) | ea
            c.eip = next_eip
            c.gone = 1
            break
        elif kind == RET32:
            a = load32(c, SS, c.regs[RSP] & c.sp_mask)
            if c.fault:
                break
            if a > c.limit[CS]:
                faults.exception(c, VEC_GP, 0)
                break
            mmu.set_sp(c, c.regs[RSP] + 4 + o.imm)
            c.eip = a
            c.gone = 1
            break
        # What has no family.
        elif kind == NOP:
            pass
        elif kind == UNDEFINED:
            faults.exception_plain(c, VEC_UD)
            break
        elif kind == LEAVE:
            break
        elif kind == WAIT:
            x87.wait(c)
            if c.fault:
                break
        elif (kind == ESC_R or kind == ESC_M) and c.has_fpu:
            x87.execute(c, o, (c.block_eip + o.off - o.length) & M32)
            if c.fault:
                break
        elif kind == ESC_R or kind == ESC_M:
            if c.cr0 & (CR0_EM | CR0_TS):
                faults.exception_plain(c, VEC_NM)
                break
            if kind == ESC_M and not mmu.segment_allows(c, o.seg, address(c, o), 2, 0):
                mmu.segment_fault(c, o.seg)
                break
        # All others, by family.
        else:
            c.eip = (c.block_eip + o.off) & M32
            if MOV_RR <= kind <= SALC:
                moves.move(c, o)
            elif ALU_RR <= kind <= SAHF:
                integers.compute(c, o)
            elif CALL <= kind <= JCXZ:
                branches.branch(c, o)
            elif BT_R <= kind <= SHRD_MC:
                bits.operate(c, o)
            elif XCHG_RR <= kind <= CMPXCHG8B:
                exchanges.exchange(c, o)
            elif DAA <= kind <= AAD:
                arith.decimal(c, kind, o.imm)
            elif MOVS <= kind <= SCAS:
                strings.string(c, o)
            elif PUSHA <= kind <= POP_SEG:
                frames.stack_frame(c, o)
            elif MOV_SEG_R <= kind <= STI:
                control.transfer_control(c, o)
            elif kind >= VECTOR:
                sse.execute(c, o)
            elif kind == FXSAVE:
                x87_environment.save_or_restore(c, o)
            else:
                system.execute(c, o)
            if c.fault:
                break
            if o.ends:
                c.gone = 1
                break
        j += 1
    return j
