"""Arithmetic and comparison of reals, packed and scalar: SSE and SSE2 (SDM vol. 1 §10.4.1, §11.4.1).

The elements of a packed operation gather their exceptions in `f_all`; `excepted` then raises them. In this file
`double_` says that elements are of double precision, 64 bits, and not of single, 32.

RCP and RSQRT are estimates: ours are exact to 12 bits of the significand, rounded, which is within Intel's
bound of a relative error of 1.5 * 2**-12. No processor of Intel's gives the same bits.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import faults
    from cython.cimports.hvcore.cpu.fp import mmx, softfloat, sse_operands
    from cython.cimports.hvcore.cpu.state import CR4_OSXMMEXCPT, M32, M64, VEC_UD, VEC_XM, s64, u32, u64
else:
    from hvcore.cpu import faults
    from hvcore.cpu.constants import CR4_OSXMMEXCPT, M32, M64, VEC_UD, VEC_XM, s64, u32, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import mmx, softfloat, sse_operands

    globals().update(enums("fp/sse_arithmetic.pxd"))


# One element


def source32(c, i):
    """Element `i` of the source, 32 bits."""
    return (c.src[i >> 1] >> (32 * (i & 1))) & M32


def target32(c, i):
    """Element `i` of the destination, 32 bits."""
    return (c.dst[i >> 1] >> (32 * (i & 1))) & M32


def put32(c, i, value):
    """Set element `i` of the destination, 32 bits."""
    if i & 1:
        c.dst[i >> 1] = (c.dst[i >> 1] & M32) | (value << 32)
    else:
        c.dst[i >> 1] = (c.dst[i >> 1] >> 32 << 32) | value


def load_lane(c, v, double_, bits):
    """Unpack an element as operand `v`, a denormal as zero if MXCSR.DAZ is set."""
    if double_:
        softfloat.load64(c, v, bits)
    else:
        softfloat.load32(c, v, bits)
    if c.v_denormal[v] and c.mxcsr & sse_operands.DAZ:
        c.v_denormal[v] = 0
        c.v_kind[v] = softfloat.ZERO
        c.v_exp[v] = 0
        c.v_sig[v] = 0


def choose_nan(c, second):
    """Whether an operand is a NaN; the first of them is the result, made quiet (SDM vol. 1 table 4-7).

    Operand 1 is looked at only with `second`.
    """
    i: u32 = 0
    if c.v_kind[0] < softfloat.QUIET:
        if not second or c.v_kind[1] < softfloat.QUIET:
            return 0
        i = 1
    if c.v_kind[0] == softfloat.SIGNALLING or (second and c.v_kind[1] == softfloat.SIGNALLING):
        c.f_flags |= softfloat.IE
    softfloat.give_operand(c, i)
    c.x_hi |= softfloat.QUIET_BIT
    return 1


def pack(c, double_):
    """The bits of the result."""
    return softfloat.pack64(c) if double_ else softfloat.pack32(c)


def round_to(c, double_):
    """Round the result to its format."""
    if double_:
        softfloat.finish(c, softfloat.PREC64, softfloat.MIN64, softfloat.MAX64)
    else:
        softfloat.finish(c, softfloat.PREC32, softfloat.MIN32, softfloat.MAX32)


def minimum(c, op, double_, b):
    """MIN and MAX: the source, whose bits are `b`, if either is a NaN, or both are zero."""
    r: u32
    if c.v_kind[0] >= softfloat.QUIET or c.v_kind[1] >= softfloat.QUIET:
        c.f_flags |= softfloat.IE
        r = softfloat.UNORDERED
    else:
        r = softfloat.compare(c)
    if r == (softfloat.LESS if op == MIN else softfloat.GREATER):
        softfloat.give_operand(c, 0)
    else:
        if c.v_kind[1] >= softfloat.QUIET:
            return b
        softfloat.give_operand(c, 1)
    return pack_exact(c, double_)


def comparison(c, predicate):
    """CMP: all ones where the predicate holds."""
    r: u32 = softfloat.UNORDERED
    relation: u32 = predicate & CMP_RELATION
    holds: u32
    if c.v_kind[0] >= softfloat.QUIET or c.v_kind[1] >= softfloat.QUIET:
        if (
            c.v_kind[0] == softfloat.SIGNALLING
            or c.v_kind[1] == softfloat.SIGNALLING
            or relation == CMP_LT
            or relation == CMP_LE
        ):
            c.f_flags |= softfloat.IE
    else:
        r = softfloat.compare(c)
    if relation == CMP_EQ:
        holds = r == softfloat.EQUAL
    elif relation == CMP_LT:
        holds = r == softfloat.LESS
    elif relation == CMP_LE:
        holds = r == softfloat.LESS or r == softfloat.EQUAL
    else:
        holds = r == softfloat.UNORDERED
    if predicate & CMP_NOT:
        holds ^= 1
    return M64 if holds else 0


def pack_exact(c, double_):
    """The bits of an operand that is the result as it is; it may be a denormal, and then is not normalised there."""
    least: s64 = softfloat.MIN64 if double_ else softfloat.MIN32
    if c.x_hi and c.x_exp < least:
        softfloat.shift_right(c, least - c.x_exp)
        c.x_exp = least
    return pack(c, double_)


def estimate(c, op, b):
    """RCP and RSQRT of single precision: no exceptions, and denormals are zeros in and out."""
    softfloat.load32(c, 0, b)
    flags_before: u32 = c.f_flags
    round_before: u32 = c.f_round
    sign: u32 = c.v_sign[0]
    if choose_nan(c, 0):
        pass
    elif c.v_kind[0] == softfloat.ZERO or c.v_denormal[0]:
        softfloat.give(c, sign, softfloat.SPECIAL_EXP, softfloat.TOP)
    elif op == RSQRT and sign:
        softfloat.give_nan(c)
    elif c.v_kind[0] == softfloat.INFINITE:
        softfloat.give(c, sign, 0, 0)
    else:
        c.f_round = softfloat.NEAREST
        if op == RSQRT:
            softfloat.square_root_finite(c)
            softfloat.load_finite(c, 1, c.x_exp, c.x_hi)
        else:
            softfloat.load_finite(c, 1, c.v_exp[0], c.v_sig[0])
        c.v_sign[1] = 0
        c.v_sign[0] = 0
        softfloat.load_finite(c, 0, softfloat.BIAS, softfloat.TOP)
        softfloat.divide_finite(c, 0, 1)
        c.x_sign = sign
        softfloat.round_significand(c, ESTIMATED)
        if c.x_exp < softfloat.MIN32:
            softfloat.give(c, sign, 0, 0)
    c.f_flags = flags_before
    c.f_round = round_before
    return softfloat.pack32(c)


def compute(c, op, double_, a, b, predicate):
    """One element of an arithmetic instruction: the destination's bits are `a`, the source's `b`."""
    prec: u32 = softfloat.PREC64 if double_ else softfloat.PREC32
    least: s64 = softfloat.MIN64 if double_ else softfloat.MIN32
    most: s64 = softfloat.MAX64 if double_ else softfloat.MAX32
    if op == RSQRT or op == RCP:
        return estimate(c, op, b)
    if op == SQRT:
        load_lane(c, 0, double_, b)
        if not choose_nan(c, 0):
            softfloat.square_root(c, prec, least, most)
        return pack(c, double_)
    load_lane(c, 0, double_, a)
    load_lane(c, 1, double_, b)
    if op == CMP:
        return comparison(c, predicate)
    if op == MIN or op == MAX:
        return minimum(c, op, double_, b)
    if not choose_nan(c, 1):
        if op == ADD:
            softfloat.operate(c, softfloat.OP_ADD, prec, least, most)
        elif op == MUL:
            softfloat.operate(c, softfloat.OP_MUL, prec, least, most)
        elif op == SUB:
            softfloat.operate(c, softfloat.OP_SUB, prec, least, most)
        else:
            softfloat.operate(c, softfloat.OP_DIV, prec, least, most)
    return pack(c, double_)


# Instructions


def excepted(c):
    """Put the exceptions of an instruction into MXCSR; raise #XM for an unmasked one and return 1."""
    unmasked: u32 = c.f_all & (c.f_masks ^ softfloat.EXCEPTIONS)
    if unmasked & (softfloat.IE | softfloat.DE | softfloat.ZE):  # found before anything was computed
        c.f_all &= softfloat.IE | softfloat.DE | softfloat.ZE
    c.mxcsr |= c.f_all
    if not unmasked:
        return 0
    faults.exception_plain(c, VEC_XM if c.cr4 & CR4_OSXMMEXCPT else VEC_UD)
    return 1


def arithmetic(c, o, op, pp):
    """The arithmetic instructions and CMP, packed and scalar."""
    double_: u32 = pp & 1
    scalar: u32 = pp >> 1
    i: u32
    n: u32 = 2 if double_ else 4
    value: u64
    if scalar:
        n = 1
    if not sse_operands.fetch(c, o, double_ if scalar else 2, 1):
        return
    c.dst[0] = c.xmm[2 * o.reg]
    c.dst[1] = c.xmm[2 * o.reg + 1]
    for i in range(n):
        c.f_flags = 0
        if double_:
            c.dst[i] = compute(c, op, 1, c.dst[i], c.src[i], o.imm & 7)
        else:
            value = compute(c, op, 0, target32(c, i), source32(c, i), o.imm & 7)
            put32(c, i, value & M32)
        c.f_all |= c.f_flags
    if excepted(c):
        return
    c.xmm[2 * o.reg] = c.dst[0]
    c.xmm[2 * o.reg + 1] = c.dst[1]


def bitwise(c, o, op):
    """AND, ANDN, OR and XOR: PAND and so on under another name."""
    integer: u32 = mmx.PAND
    if not sse_operands.fetch(c, o, 2, 1):
        return
    if op == ANDN:
        integer = mmx.PANDN
    elif op == OR:
        integer = mmx.POR
    elif op == XOR:
        integer = mmx.PXOR
    c.xmm[2 * o.reg] = mmx.packed(integer, c.xmm[2 * o.reg], c.src[0])
    c.xmm[2 * o.reg + 1] = mmx.packed(integer, c.xmm[2 * o.reg + 1], c.src[1])


def compare_scalar(c, o, op, pp):
    """COMIS and UCOMIS: the relation in EFLAGS; a quiet NaN is invalid for COMIS alone."""
    double_: u32 = pp & 1
    r: u32 = softfloat.UNORDERED
    if not sse_operands.fetch(c, o, double_, 0):
        return
    c.dst[0] = c.xmm[2 * o.reg]
    c.f_flags = 0
    if double_:
        load_lane(c, 0, 1, c.dst[0])
        load_lane(c, 1, 1, c.src[0])
    else:
        load_lane(c, 0, 0, c.dst[0] & M32)
        load_lane(c, 1, 0, c.src[0] & M32)
    if c.v_kind[0] >= softfloat.QUIET or c.v_kind[1] >= softfloat.QUIET:
        if op == COMIS or c.v_kind[0] == softfloat.SIGNALLING or c.v_kind[1] == softfloat.SIGNALLING:
            c.f_flags |= softfloat.IE
    else:
        r = softfloat.compare(c)
    c.f_all = c.f_flags
    if excepted(c):
        return
    softfloat.set_relation(c, r)
