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
    from cython.cimports.hvcore.cpu.state import M32, SIZE_SIGN, u32, u64
else:
    from hvcore.cpu.constants import M32, SIZE_SIGN, u32, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat, sse_operands, x87_registers
    from hvcore.cpu.fp.sse_arithmetic import choose_nan, excepted, load_lane, pack, put32, round_to, source32

    globals().update(enums("fp/sse_conversions.pxd"))


# One element


def integer_of(c, double_, bits, chop):
    """A 32-bit integer from an element, truncated with `chop`; the integer indefinite for what does not fit."""
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
    """CVTPS2PD, CVTPD2PS, CVTSS2SD and CVTSD2SS."""
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
    """Between packed integers and reals in XMM registers."""
    i: u32
    if not sse_operands.fetch(c, o, 1 if op == CVT_DOUBLES and pp == sse_operands.PF3 else 2, 1):
        return
    c.dst[0] = 0
    c.dst[1] = 0
    if op == CVT_SINGLES:
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
    """Between XMM registers and MM registers, two elements, or general registers, one element."""
    packed: u32 = not pp >> 1
    if packed and (op != CVT_TO_REAL or o.isreg) and x87_registers.pending(c):
        return
    if op == CVT_TO_REAL:
        reals_of(c, o, pp, packed)
    else:
        integers_of(c, o, pp, packed, op == CVTT_TO_INTEGER)


def reals_of(c, o, pp, packed):
    """CVTPI2PS, CVTPI2PD, CVTSI2SS, CVTSI2SD: from an MM or general register, or memory."""
    if not o.isreg:
        if not sse_operands.fetch(c, o, packed, 0):
            return
    else:
        c.src[0] = c.fp_sig[o.rm] if packed else c.regs[o.rm] & M32
    c.dst[0] = c.xmm[2 * o.reg]
    c.dst[1] = c.xmm[2 * o.reg + 1]
    if pp == sse_operands.NP:
        c.dst[0] = real_of(c, 0, source32(c, 0))
        c.dst[0] |= real_of(c, 0, source32(c, 1)) << 32
    elif pp == sse_operands.P66:
        c.dst[0] = real_of(c, 1, source32(c, 0))
        c.dst[1] = real_of(c, 1, source32(c, 1))
    elif pp == sse_operands.PF2:
        c.dst[0] = real_of(c, 1, source32(c, 0))
    else:
        put32(c, 0, real_of(c, 0, source32(c, 0)))
    if packed and o.isreg:
        sse_operands.enter_mmx(c)
    if excepted(c):
        return
    c.xmm[2 * o.reg] = c.dst[0]
    c.xmm[2 * o.reg + 1] = c.dst[1]


def integers_of(c, o, pp, packed, chop):
    """CVTPS2PI, CVTPD2PI, CVTSS2SI, CVTSD2SI, and with `chop` CVTTPS2PI and so on."""
    double_: u32 = pp & 1
    r: u64
    if not sse_operands.fetch(c, o, 2 if packed and double_ else 1 if packed or double_ else 0, 1):
        return
    if double_:
        r = integer_of(c, 1, c.src[0], chop)
        if packed:
            r |= integer_of(c, 1, c.src[1], chop) << 32
    else:
        r = integer_of(c, 0, source32(c, 0), chop)
        if packed:
            r |= integer_of(c, 0, source32(c, 1), chop) << 32
    if packed:
        sse_operands.enter_mmx(c)
    if excepted(c):
        return
    if packed:
        sse_operands.set_mm(c, o.reg, r)
    else:
        c.regs[o.reg] = r
