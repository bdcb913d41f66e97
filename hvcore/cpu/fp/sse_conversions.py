"""CVT*: integers, single and double precision, in XMM, MMX and general registers (SDM vol. 1 §10.4.3, §11.4.1.6)."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import softfloat, sse_operands, x87_registers
    from cython.cimports.hvcore.cpu.fp.sse_arithmetic import (
        choose_nan,
        excepted,
        load_lane,
        pack,
        put32,
        round_to,
        source32,
    )
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *
    from hvcore.cpu.fp import softfloat, sse_operands, x87_registers
    from hvcore.cpu.fp.sse_arithmetic import choose_nan, excepted, load_lane, pack, put32, round_to, source32


# One element


def integer_of(c, double_, bits, chop):
    """A 32-bit integer from an element; the indefinite for what is none."""
    before: u32 = c.f_round
    fine: u32
    limit: u64 = SIZE_SIGN[2]
    load_lane(c, 0, double_, bits)
    c.f_flags = 0
    if chop:
        c.f_round = softfloat.CHOP
    fine = c.v_kind[0] < softfloat.INFINITE and softfloat.to_integer(c) != 0
    c.f_round = before
    if not fine or c.x_hi > limit - 1 + c.x_sign:
        c.f_flags = softfloat.IE
        c.f_all |= softfloat.IE
        return limit
    c.f_all |= c.f_flags
    return ((0 - c.x_hi) & M32) if c.x_sign else c.x_hi


def real_of(c, double_, bits):
    """An element from a 32-bit integer."""
    sign: u32 = (bits >> 31) & 1
    softfloat.load_integer(c, 0, sign, (0 - bits) & M32 if sign else bits)
    c.f_flags = 0
    softfloat.give_operand(c, 0)
    if c.v_kind[0] == softfloat.FINITE:
        round_to(c, double_)
    c.f_all |= c.f_flags
    return pack(c, double_)


def converted(c, to_double, bits):
    """An element of one real format from one of the other."""
    c.f_flags = 0
    load_lane(c, 0, to_double ^ 1, bits)
    if not choose_nan(c, 0):
        softfloat.give_operand(c, 0)
        if c.v_denormal[0]:
            c.f_flags |= softfloat.DE
        if c.v_kind[0] == softfloat.FINITE and (c.f_masks & softfloat.DE or not c.v_denormal[0]):
            round_to(c, to_double)
    c.f_all |= c.f_flags
    return pack(c, to_double)


# Instructions


def convert_real(c, o, pp):
    """5A: between single and double precision."""
    if not sse_operands.fetch(
        c, o, 1 if pp == sse_operands.NP or pp == sse_operands.PF2 else 2 if pp == sse_operands.P66 else 0, 1
    ):
        return
    c.dst[0] = c.xmm[2 * o.reg]
    c.dst[1] = c.xmm[2 * o.reg + 1]
    if pp == sse_operands.NP:
        c.dst[0] = converted(c, 1, source32(c, 0))
        c.dst[1] = converted(c, 1, source32(c, 1))
    elif pp == sse_operands.P66:
        c.dst[0] = converted(c, 0, c.src[0])
        c.dst[0] |= converted(c, 0, c.src[1]) << 32
        c.dst[1] = 0
    elif pp == sse_operands.PF3:
        c.dst[0] = converted(c, 1, source32(c, 0))
    else:
        put32(c, 0, converted(c, 0, c.src[0]))
    if excepted(c):
        return
    c.xmm[2 * o.reg] = c.dst[0]
    c.xmm[2 * o.reg + 1] = c.dst[1]


def convert_integer(c, o, op, pp):
    """5B and E6: between packed integers and reals in XMM registers."""
    i: u32
    if not sse_operands.fetch(c, o, 1 if op == 0xE6 and pp == sse_operands.PF3 else 2, 1):
        return
    c.dst[0] = 0
    c.dst[1] = 0
    if op == 0x5B:
        for i in range(4):
            put32(
                c,
                i,
                real_of(c, 0, source32(c, i))
                if pp == sse_operands.NP
                else integer_of(c, 0, source32(c, i), pp == sse_operands.PF3),
            )
    elif pp == sse_operands.PF3:
        c.dst[0] = real_of(c, 1, source32(c, 0))
        c.dst[1] = real_of(c, 1, source32(c, 1))
    else:
        c.dst[0] = integer_of(c, 1, c.src[0], pp == sse_operands.P66)
        c.dst[0] |= integer_of(c, 1, c.src[1], pp == sse_operands.P66) << 32
    if excepted(c):
        return
    c.xmm[2 * o.reg] = c.dst[0]
    c.xmm[2 * o.reg + 1] = c.dst[1]


def convert_mixed(c, o, op, pp):
    """2A, 2C, 2D: between XMM registers and MMX or general registers."""
    double_: u32 = pp & 1
    r: u64
    mmx: u32 = not pp >> 1
    if mmx and (op != 0x2A or o.isreg) and x87_registers.pending(c):
        return
    if op == 0x2A:
        if not o.isreg:
            if not sse_operands.fetch(c, o, mmx, 0):
                return
        else:
            c.src[0] = c.fp_sig[o.rm] if mmx else c.regs[o.rm] & M32
        c.dst[0] = c.xmm[2 * o.reg]
        c.dst[1] = c.xmm[2 * o.reg + 1]
        if pp == sse_operands.NP:
            r = real_of(c, 0, source32(c, 0))
            c.dst[0] = r | (real_of(c, 0, source32(c, 1)) << 32)
        elif pp == sse_operands.P66:
            c.dst[0] = real_of(c, 1, source32(c, 0))
            c.dst[1] = real_of(c, 1, source32(c, 1))
        elif double_:
            c.dst[0] = real_of(c, 1, source32(c, 0))
        else:
            put32(c, 0, real_of(c, 0, source32(c, 0)))
        if mmx and o.isreg:
            sse_operands.enter_mmx(c)
        if excepted(c):
            return
        c.xmm[2 * o.reg] = c.dst[0]
        c.xmm[2 * o.reg + 1] = c.dst[1]
        return
    if not sse_operands.fetch(c, o, 2 if mmx and double_ else 1 if mmx or double_ else 0, 1):
        return
    if double_:
        r = integer_of(c, 1, c.src[0], op == 0x2C)
        if mmx:
            r |= integer_of(c, 1, c.src[1], op == 0x2C) << 32
    else:
        r = integer_of(c, 0, source32(c, 0), op == 0x2C)
        if mmx:
            r |= integer_of(c, 0, source32(c, 1), op == 0x2C) << 32
    if mmx:
        sse_operands.enter_mmx(c)
    if excepted(c):
        return
    if mmx:
        sse_operands.set_mm(c, o.reg, r)
    else:
        c.regs[o.reg] = r
