"""MMX, SSE and SSE2 instructions (SDM vol. 1 ch. 9 to 11, vol. 2).

An instruction is an opcode's second byte with one of four mandatory prefixes; `opcodes.VECTORS` says which
exist and what they need, and `forms` is that for C. The source operand is brought into `src`, the
destination's old value into `dst`; what an instruction makes of them goes back only when its exceptions are
masked. The elements of a packed operation gather their exceptions in `f_all`.

RCP and RSQRT are estimates: ours are exact to 12 bits of the significand, rounded, which is within Intel's
bound of 1.5 * 2**-12; the bits of any part of Intel's they are not.
"""

import cython

from hvcore.cpu import opcodes

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands, x87
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.mmx import (
        interleave,
        narrow,
        packed,
        shifted,
        shuffle_words,
        sign_mask,
    )
    from cython.cimports.hvcore.cpu.softfloat import *
    from cython.cimports.hvcore.cpu.sse import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import flags, mmu, operands, x87
    from hvcore.cpu.constants import *
    from hvcore.cpu.constants import enums
    from hvcore.cpu.mmx import interleave, narrow, packed, shifted, shuffle_words, sign_mask
    from hvcore.cpu.softfloat import *

    globals().update(enums("sse.pxd"))
    forms = [0] * 1024


def load_forms() -> None:
    """Copy the table of vector instructions into the array that `execute` reads."""
    for (opcode, prefix), form in opcodes.VECTORS.items():
        forms[prefix * 256 + opcode] = form


load_forms()


# Operands


def ready(c, form):
    """Whether an instruction of this form may be executed; the exception if not (SDM vol. 3 §13.1)."""
    which: u32 = form & FORM
    has: u32 = c.has_sse
    if which == MMX:
        has = c.has_mmx
    elif which == XMM2 or which == MMX_SSE2:
        has = c.has_sse2
    if not has or c.cr0 & CR0_EM or (which >= XMM and not c.cr4 & CR4_OSFXSR):
        mmu.exception_plain(c, VEC_UD)
        return 0
    if c.cr0 & CR0_TS:
        mmu.exception_plain(c, VEC_NM)
        return 0
    if which < XMM and x87.pending(c):
        return 0
    return 1


def enter_mmx(c):
    """An MMX register is used: the x87's stack is full, and its top is 0."""
    c.fp_top = 0
    c.fp_used = 0xFF
    return 1


def set_mm(c, i, value):
    """Set an MMX register; the exponent over it becomes all ones."""
    c.fp_sig[i] = value
    c.fp_se[i] = 0xFFFF


def fetch(c, o, size, aligned):
    """Bring the source, an XMM register or memory of 4 << `size` bytes, into `src`; 0 if it cannot be."""
    off: u64
    if o.isreg:
        c.src[0] = c.xmm[2 * o.rm]
        c.src[1] = c.xmm[2 * o.rm + 1]
        return 1
    off = operands.address(c, o)
    c.src[1] = 0
    if size < 2:
        c.src[0] = mmu.read(c, o.seg, off, size + 2)
        return c.fault == FAULT_NONE
    if aligned and (c.base[o.seg] + off) & 15:
        mmu.exception(c, VEC_GP, 0)
        return 0
    c.src[0] = mmu.read(c, o.seg, off, 3)
    if c.fault:
        return 0
    c.src[1] = mmu.read(c, o.seg, (off + 8) & SIZE_MASK[o.addr], 3)
    return c.fault == FAULT_NONE


def store(c, o, size, aligned):
    """Put `dst` into memory, 4 << `size` bytes."""
    off: u64 = operands.address(c, o)
    if size < 2:
        mmu.write(c, o.seg, off, c.dst[0] & SIZE_MASK[size + 2], size + 2)
        return
    if aligned and (c.base[o.seg] + off) & 15:
        mmu.exception(c, VEC_GP, 0)
        return
    if not mmu.check_write(c, o.seg, off, 16):
        return
    mmu.write(c, o.seg, off, c.dst[0], 3)
    if not c.fault:
        mmu.write(c, o.seg, (off + 8) & SIZE_MASK[o.addr], c.dst[1], 3)


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


# Floating point, one element


def load_lane(c, v, double_, bits):
    """Unpack an element as operand `v`; denormals may be zeros."""
    if double_:
        load64(c, v, bits)
    else:
        load32(c, v, bits)
    if c.v_denormal[v] and c.mxcsr & DAZ:
        c.v_denormal[v] = 0
        c.v_kind[v] = ZERO
        c.v_exp[v] = 0
        c.v_sig[v] = 0


def choose_nan(c, second):
    """Whether an operand is a NaN; the first of them is the result (SDM vol. 1 table 4-7)."""
    i: u32 = 0
    if c.v_kind[0] < QUIET:
        if not second or c.v_kind[1] < QUIET:
            return 0
        i = 1
    if c.v_kind[0] == SIGNALLING or (second and c.v_kind[1] == SIGNALLING):
        c.f_flags |= IE
    give_operand(c, i)
    c.x_hi |= QUIET_BIT
    return 1


def pack(c, double_):
    """The bits of the result."""
    return pack64(c) if double_ else pack32(c)


def round_to(c, double_):
    """Round the result to its format."""
    if double_:
        finish(c, 53, MIN64, MAX64)
    else:
        finish(c, 24, MIN32, MAX32)


def minimum(c, op, double_, b):
    """MIN (5D) and MAX (5F): the source if either is a NaN, or both are zero."""
    r: u32
    if c.v_kind[0] >= QUIET or c.v_kind[1] >= QUIET:
        c.f_flags |= IE
        r = UNORDERED
    else:
        r = compare(c)
    if r == (LESS if op == 0x5D else GREATER):
        give_operand(c, 0)
    else:
        if c.v_kind[1] >= QUIET:
            return b
        give_operand(c, 1)
    return pack_exact(c, double_)


def comparison(c, predicate):
    """CMP: all ones where the predicate holds."""
    r: u32 = UNORDERED
    holds: u32
    if c.v_kind[0] >= QUIET or c.v_kind[1] >= QUIET:
        if (
            c.v_kind[0] == SIGNALLING
            or c.v_kind[1] == SIGNALLING
            or (predicate & 3 == 1 or predicate & 3 == 2)
        ):
            c.f_flags |= IE
    else:
        r = compare(c)
    if predicate & 3 == 0:
        holds = r == EQUAL
    elif predicate & 3 == 1:
        holds = r == LESS
    elif predicate & 3 == 2:
        holds = r == LESS or r == EQUAL
    else:
        holds = r == UNORDERED
    return M64 if holds != predicate >> 2 else 0


def pack_exact(c, double_):
    """The bits of an operand given back as it is, which may be denormal."""
    if c.x_hi and c.x_exp != SPECIAL_EXP:
        round_to_nothing(c, double_)
    return pack(c, double_)


def round_to_nothing(c, double_):
    """Shift a denormal of the format into its place."""
    least: s64 = MIN64 if double_ else MIN32
    if c.x_exp < least:
        shift_right(c, least - c.x_exp)
        c.x_exp = least


def estimate(c, op, b):
    """RCP (53) and RSQRT (52)."""
    load32(c, 0, b)
    flags_before: u32 = c.f_flags
    round_before: u32 = c.f_round
    sign: u32 = c.v_sign[0]
    if choose_nan(c, 0):
        pass
    elif c.v_kind[0] == ZERO or c.v_denormal[0]:
        give(c, sign, SPECIAL_EXP, TOP)
    elif op == 0x52 and sign:
        give_nan(c)
    elif c.v_kind[0] == INFINITE:
        give(c, sign, 0, 0)
    else:
        c.f_round = NEAREST
        if op == 0x52:
            square_root_finite(c)
            load_finite(c, 1, c.x_exp, c.x_hi)
        else:
            load_finite(c, 1, c.v_exp[0], c.v_sig[0])
        c.v_sign[1] = 0
        c.v_sign[0] = 0
        load_finite(c, 0, BIAS, TOP)
        divide_finite(c, 0, 1)
        c.x_sign = sign
        round_significand(c, 12)
        if c.x_exp < MIN32:
            give(c, sign, 0, 0)
    c.f_flags = flags_before
    c.f_round = round_before
    return pack32(c)


def compute(c, op, double_, a, b, predicate):
    """One element of an arithmetic instruction."""
    prec: u32 = 53 if double_ else 24
    least: s64 = MIN64 if double_ else MIN32
    most: s64 = MAX64 if double_ else MAX32
    if op == 0x52 or op == 0x53:
        return estimate(c, op, b)
    if op == 0x51:
        load_lane(c, 0, double_, b)
        if not choose_nan(c, 0):
            square_root(c, prec, least, most)
        return pack(c, double_)
    load_lane(c, 0, double_, a)
    load_lane(c, 1, double_, b)
    if op == 0xC2:
        return comparison(c, predicate)
    if op == 0x5D or op == 0x5F:
        return minimum(c, op, double_, b)
    if not choose_nan(c, 1):
        if op == 0x58:
            operate(c, OP_ADD, prec, least, most)
        elif op == 0x59:
            operate(c, OP_MUL, prec, least, most)
        elif op == 0x5C:
            operate(c, OP_SUB, prec, least, most)
        else:
            operate(c, OP_DIV, prec, least, most)
    return pack(c, double_)


def excepted(c):
    """Put the exceptions of an instruction into MXCSR; raise #XM for an unmasked one and return 1."""
    unmasked: u32 = c.f_all & (c.f_masks ^ 0x3F)
    if unmasked & (IE | DE | ZE):  # found before anything was computed
        c.f_all &= IE | DE | ZE
    c.mxcsr |= c.f_all
    if not unmasked:
        return 0
    mmu.exception_plain(c, VEC_XM if c.cr4 & CR4_OSXMMEXCPT else VEC_UD)
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
    if not fetch(c, o, double_ if scalar else 2, 1):
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


def compare_scalar(c, o, op, pp):
    """COMIS (2F) and UCOMIS (2E)."""
    double_: u32 = pp & 1
    r: u32 = UNORDERED
    if not fetch(c, o, double_, 0):
        return
    c.dst[0] = c.xmm[2 * o.reg]
    c.f_flags = 0
    if double_:
        load_lane(c, 0, 1, c.dst[0])
        load_lane(c, 1, 1, c.src[0])
    else:
        load_lane(c, 0, 0, c.dst[0] & M32)
        load_lane(c, 1, 0, c.src[0] & M32)
    if c.v_kind[0] >= QUIET or c.v_kind[1] >= QUIET:
        if op == 0x2F or c.v_kind[0] == SIGNALLING or c.v_kind[1] == SIGNALLING:
            c.f_flags |= IE
    else:
        r = compare(c)
    c.f_all = c.f_flags
    if excepted(c):
        return
    if r == LESS:
        flags.set_status(c, F_CF)
    elif r == EQUAL:
        flags.set_status(c, F_ZF)
    elif r == UNORDERED:
        flags.set_status(c, F_ZF | F_PF | F_CF)
    else:
        flags.set_status(c, 0)


# Conversions


def integer_of(c, double_, bits, chop):
    """A 32-bit integer from an element; the indefinite for what is none."""
    before: u32 = c.f_round
    fine: u32
    limit: u64 = SIZE_SIGN[2]
    load_lane(c, 0, double_, bits)
    c.f_flags = 0
    if chop:
        c.f_round = CHOP
    fine = c.v_kind[0] < INFINITE and to_integer(c) != 0
    c.f_round = before
    if not fine or c.x_hi > limit - 1 + c.x_sign:
        c.f_flags = IE
        c.f_all |= IE
        return limit
    c.f_all |= c.f_flags
    return ((0 - c.x_hi) & M32) if c.x_sign else c.x_hi


def real_of(c, double_, bits):
    """An element from a 32-bit integer."""
    sign: u32 = (bits >> 31) & 1
    load_integer(c, 0, sign, (0 - bits) & M32 if sign else bits)
    c.f_flags = 0
    give_operand(c, 0)
    if c.v_kind[0] == FINITE:
        round_to(c, double_)
    c.f_all |= c.f_flags
    return pack(c, double_)


def converted(c, to_double, bits):
    """An element of one real format from one of the other."""
    c.f_flags = 0
    load_lane(c, 0, to_double ^ 1, bits)
    if not choose_nan(c, 0):
        give_operand(c, 0)
        if c.v_denormal[0]:
            c.f_flags |= DE
        if c.v_kind[0] == FINITE and (c.f_masks & DE or not c.v_denormal[0]):
            round_to(c, to_double)
    c.f_all |= c.f_flags
    return pack(c, to_double)


def convert_real(c, o, pp):
    """5A: between single and double precision."""
    if not fetch(c, o, 1 if pp == NP or pp == PF2 else 2 if pp == P66 else 0, 1):
        return
    c.dst[0] = c.xmm[2 * o.reg]
    c.dst[1] = c.xmm[2 * o.reg + 1]
    if pp == NP:
        c.dst[0] = converted(c, 1, source32(c, 0))
        c.dst[1] = converted(c, 1, source32(c, 1))
    elif pp == P66:
        c.dst[0] = converted(c, 0, c.src[0])
        c.dst[0] |= converted(c, 0, c.src[1]) << 32
        c.dst[1] = 0
    elif pp == PF3:
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
    if not fetch(c, o, 1 if op == 0xE6 and pp == PF3 else 2, 1):
        return
    c.dst[0] = 0
    c.dst[1] = 0
    if op == 0x5B:
        for i in range(4):
            put32(
                c,
                i,
                real_of(c, 0, source32(c, i)) if pp == NP else integer_of(c, 0, source32(c, i), pp == PF3),
            )
    elif pp == PF3:
        c.dst[0] = real_of(c, 1, source32(c, 0))
        c.dst[1] = real_of(c, 1, source32(c, 1))
    else:
        c.dst[0] = integer_of(c, 1, c.src[0], pp == P66)
        c.dst[0] |= integer_of(c, 1, c.src[1], pp == P66) << 32
    if excepted(c):
        return
    c.xmm[2 * o.reg] = c.dst[0]
    c.xmm[2 * o.reg + 1] = c.dst[1]


def convert_mixed(c, o, op, pp):
    """2A, 2C, 2D: between XMM registers and MMX or general registers."""
    double_: u32 = pp & 1
    r: u64
    mmx: u32 = not pp >> 1
    if mmx and (op != 0x2A or o.isreg) and x87.pending(c):
        return
    if op == 0x2A:
        if not o.isreg:
            if not fetch(c, o, mmx, 0):
                return
        else:
            c.src[0] = c.fp_sig[o.rm] if mmx else c.regs[o.rm] & M32
        c.dst[0] = c.xmm[2 * o.reg]
        c.dst[1] = c.xmm[2 * o.reg + 1]
        if pp == NP:
            r = real_of(c, 0, source32(c, 0))
            c.dst[0] = r | (real_of(c, 0, source32(c, 1)) << 32)
        elif pp == P66:
            c.dst[0] = real_of(c, 1, source32(c, 0))
            c.dst[1] = real_of(c, 1, source32(c, 1))
        elif double_:
            c.dst[0] = real_of(c, 1, source32(c, 0))
        else:
            put32(c, 0, real_of(c, 0, source32(c, 0)))
        if mmx and o.isreg:
            enter_mmx(c)
        if excepted(c):
            return
        c.xmm[2 * o.reg] = c.dst[0]
        c.xmm[2 * o.reg + 1] = c.dst[1]
        return
    if not fetch(c, o, 2 if mmx and double_ else 1 if mmx or double_ else 0, 1):
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
        enter_mmx(c)
    if excepted(c):
        return
    if mmx:
        set_mm(c, o.reg, r)
    else:
        c.regs[o.reg] = r


# Moves


def move_float(c, o, op, pp):
    """10 to 17, 28, 29, 2B, 50."""
    d: u32 = 2 * o.reg
    n: u32 = 2 * o.rm
    size: u32 = 2
    if pp == PF3:
        size = 0
    elif pp == PF2 or (0x12 <= op <= 0x17):
        size = 1
    if op == 0x50:  # MOVMSK
        if pp == P66:
            c.regs[o.reg] = (c.xmm[n] >> 63) | ((c.xmm[n + 1] >> 63) << 1)
        else:
            c.regs[o.reg] = (
                ((c.xmm[n] >> 31) & 1)
                | ((c.xmm[n] >> 63) << 1)
                | (((c.xmm[n + 1] >> 31) & 1) << 2)
                | ((c.xmm[n + 1] >> 63) << 3)
            )
    elif op == 0x11 or op == 0x13 or op == 0x17 or op == 0x29 or op == 0x2B:  # stores
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
        if op == 0x17:
            c.dst[0] = c.xmm[d + 1]
        if not o.isreg:
            store(c, o, size, op >= 0x29)
        elif size == 0:
            c.xmm[n] = (c.xmm[n] >> 32 << 32) | (c.dst[0] & M32)
        else:
            c.xmm[n] = c.dst[0]
            if size == 2:
                c.xmm[n + 1] = c.dst[1]
    elif op == 0x14 or op == 0x15:  # UNPCK
        if not fetch(c, o, 2, 1):
            return
        c.dst[0] = c.xmm[d + (op & 1)]
        c.dst[1] = c.src[op & 1]
        if pp == P66:
            c.xmm[d] = c.dst[0]
            c.xmm[d + 1] = c.dst[1]
        else:
            c.xmm[d] = interleave(c.dst[0] & M32, c.dst[1] & M32, 32)
            c.xmm[d + 1] = interleave(c.dst[0] >> 32, c.dst[1] >> 32, 32)
    else:
        if not fetch(c, o, size, op == 0x28):
            return
        if op == 0x12:  # MOVLP, MOVHLPS
            c.xmm[d] = c.src[1] if o.isreg else c.src[0]
        elif op == 0x16:  # MOVHP, MOVLHPS
            c.xmm[d + 1] = c.src[0]
        elif size == 2:
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = c.src[1]
        elif o.isreg and size:
            c.xmm[d] = c.src[0]
        elif o.isreg:
            c.xmm[d] = (c.xmm[d] >> 32 << 32) | (c.src[0] & M32)
        else:
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = 0


def move_integer(c, o, op, pp):
    """6E, 6F, 7E, 7F, D6, E7, C3: MOVD, MOVQ, MOVDQ, MOVNT."""
    d: u32 = 2 * o.reg
    if op == 0xC3:  # MOVNTI
        mmu.write(c, o.seg, operands.address(c, o), c.regs[o.reg] & M32, 2)
    elif op == 0x6E:
        if o.isreg:
            c.src[0] = c.regs[o.rm] & M32
        elif not fetch(c, o, 0, 0):
            return
        if pp == P66:
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = 0
        else:
            enter_mmx(c)
            set_mm(c, o.reg, c.src[0])
    elif op == 0x7E and pp == PF3:  # MOVQ xmm, xmm/m64
        if fetch(c, o, 1, 0):
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = 0
    elif op == 0x7E:
        c.dst[0] = (c.xmm[d] if pp == P66 else c.fp_sig[o.reg]) & M32
        if o.isreg:
            c.regs[o.rm] = c.dst[0]
        else:
            store(c, o, 0, 0)
        if pp == NP and not c.fault:
            enter_mmx(c)
    elif op == 0xD6:
        if pp >= PF3 and x87.pending(c):
            return
        if pp == PF3:  # MOVQ2DQ
            enter_mmx(c)
            c.xmm[d] = c.fp_sig[o.rm]
            c.xmm[d + 1] = 0
        elif pp == PF2:  # MOVDQ2Q
            enter_mmx(c)
            set_mm(c, o.reg, c.xmm[2 * o.rm])
        elif o.isreg:
            c.xmm[2 * o.rm] = c.xmm[d]
            c.xmm[2 * o.rm + 1] = 0
        else:
            c.dst[0] = c.xmm[d]
            store(c, o, 1, 0)
    elif pp == NP:
        if op == 0x6F:
            if o.isreg:
                c.src[0] = c.fp_sig[o.rm]
            elif not fetch(c, o, 1, 0):
                return
            enter_mmx(c)
            set_mm(c, o.reg, c.src[0])
            return
        c.dst[0] = c.fp_sig[o.reg]
        if not o.isreg:
            store(c, o, 1, 0)
        if c.fault:
            return
        enter_mmx(c)
        if o.isreg:
            set_mm(c, o.rm, c.dst[0])
    elif op == 0x6F:
        if fetch(c, o, 2, pp == P66):
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = c.src[1]
    else:
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
        if o.isreg:
            c.xmm[2 * o.rm] = c.dst[0]
            c.xmm[2 * o.rm + 1] = c.dst[1]
        else:
            store(c, o, 2, pp == P66)


# Integers


def shuffle(c, o, op, pp):
    """70 PSHUF, C4 PINSRW, C5 PEXTRW, C6 SHUFP."""
    d: u32 = 2 * o.reg
    order: u32 = o.imm & 0xFF
    i: u32
    value: u64
    if op == 0xC5:
        if pp == P66:
            value = c.xmm[2 * o.rm + ((order >> 2) & 1)]
        else:
            enter_mmx(c)
            value = c.fp_sig[o.rm]
        c.regs[o.reg] = (value >> (16 * (order & 3))) & 0xFFFF
    elif op == 0xC4:
        if o.isreg:
            value = c.regs[o.rm] & 0xFFFF
        else:
            value = mmu.read(c, o.seg, operands.address(c, o), 1)
            if c.fault:
                return
        i = 16 * (order & 3)
        if pp == P66:
            d += (order >> 2) & 1
            c.xmm[d] = (c.xmm[d] & ((cython.cast(u64, 0xFFFF) << i) ^ M64)) | (value << i)
        else:
            enter_mmx(c)
            set_mm(c, o.reg, (c.fp_sig[o.reg] & ((cython.cast(u64, 0xFFFF) << i) ^ M64)) | (value << i))
    elif op == 0x70 and pp == NP:
        if o.isreg:
            c.src[0] = c.fp_sig[o.rm]
        elif not fetch(c, o, 1, 0):
            return
        enter_mmx(c)
        set_mm(c, o.reg, shuffle_words(c.src[0], order))
    else:
        if not fetch(c, o, 2, 1):
            return
        if op == 0x70:
            c.dst[0] = c.src[0]
            c.dst[1] = c.src[1]
            if pp == PF2:
                c.dst[0] = shuffle_words(c.src[0], order)
            elif pp == PF3:
                c.dst[1] = shuffle_words(c.src[1], order)
            else:
                for i in range(4):
                    put32(c, i, source32(c, (order >> (2 * i)) & 3))
            c.xmm[d] = c.dst[0]
            c.xmm[d + 1] = c.dst[1]
            return
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
        if pp == P66:
            c.xmm[d] = c.dst[order & 1]
            c.xmm[d + 1] = c.src[(order >> 1) & 1]
        else:
            value = target32(c, (order >> 2) & 3) << 32
            c.xmm[d] = value | target32(c, order & 3)
            value = source32(c, (order >> 6) & 3) << 32
            c.xmm[d + 1] = value | source32(c, (order >> 4) & 3)


def shift_immediate(c, o, op, pp):
    """71, 72, 73: shifts by an immediate."""
    bits: u32 = 16 << (op - 0x71)
    n: u32 = o.imm & 0xFF
    d: u32 = 2 * o.rm
    lo: u64 = c.xmm[d]
    hi: u64 = c.xmm[d + 1]
    if o.reg & 1 and op == 0x73 and pp == P66 and o.reg & 2:  # PSRLDQ, PSLLDQ: by bytes
        n = 128 if n > 15 else 8 * n
        if n == 0:
            return
        if o.reg == 3:
            c.xmm[d] = 0 if n >= 128 else hi >> (n - 64) if n >= 64 else (lo >> n) | ((hi << (64 - n)) & M64)
            c.xmm[d + 1] = 0 if n >= 64 else hi >> n
        else:
            hi = (
                0 if n >= 128 else (lo << (n - 64)) & M64 if n >= 64 else ((hi << n) & M64) | (lo >> (64 - n))
            )
            c.xmm[d + 1] = hi
            c.xmm[d] = 0 if n >= 64 else (lo << n) & M64
    elif pp == P66:
        c.xmm[d] = shifted(o.reg, bits, lo, n)
        c.xmm[d + 1] = shifted(o.reg, bits, hi, n)
    else:
        enter_mmx(c)
        set_mm(c, o.rm, shifted(o.reg, bits, c.fp_sig[o.rm], n))


def masked_store(c, o, pp):
    """MASKMOVQ and MASKMOVDQU: bytes to DS:EDI where the mask's byte is negative."""
    off: u64 = c.regs[RDI] & SIZE_MASK[o.addr]
    n: u32 = 16 if pp == P66 else 8
    i: u32
    marks: u32
    value: u64
    if pp == P66:
        marks = sign_mask(c.xmm[2 * o.rm]) | (sign_mask(c.xmm[2 * o.rm + 1]) << 8)
    else:
        marks = sign_mask(c.fp_sig[o.rm])
    for i in range(n):
        if (marks >> i) & 1 and not mmu.check_write(c, o.seg, (off + i) & SIZE_MASK[o.addr], 1):
            return
    for i in range(n):
        if (marks >> i) & 1:
            value = c.xmm[2 * o.reg + (i >> 3)] if pp == P66 else c.fp_sig[o.reg]
            mmu.write(c, o.seg, (off + i) & SIZE_MASK[o.addr], (value >> (8 * (i & 7))) & 0xFF, 0)
            if c.fault:
                return
    if pp == NP:
        enter_mmx(c)


def packed_integer(c, o, op, pp):
    """The rest of 60 to 6D, 74 to 76, D1 to FE: destination and source of one kind."""
    d: u32 = 2 * o.reg
    bits: u32
    high: u32
    how: u32 = 0
    if op == 0xD7:  # PMOVMSKB
        if pp == P66:
            c.regs[o.reg] = sign_mask(c.xmm[2 * o.rm]) | (sign_mask(c.xmm[2 * o.rm + 1]) << 8)
        else:
            enter_mmx(c)
            c.regs[o.reg] = sign_mask(c.fp_sig[o.rm])
        return
    if pp == P66:
        if not fetch(c, o, 2, 1):
            return
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
    else:
        if o.isreg:
            c.src[0] = c.fp_sig[o.rm]
        elif not fetch(c, o, 0 if op <= 0x62 else 1, 0):
            return
        c.dst[0] = c.fp_sig[o.reg]
        enter_mmx(c)
    if 0x60 <= op <= 0x62 or 0x68 <= op <= 0x6A:  # PUNPCK
        bits = 8 << (op & 3 if op < 0x68 else op - 0x68)
        high = op >= 0x68
        if pp == P66:
            c.xmm[d] = interleave(c.dst[high] & M32, c.src[high] & M32, bits)
            c.xmm[d + 1] = interleave(c.dst[high] >> 32, c.src[high] >> 32, bits)
        elif high:
            set_mm(c, o.reg, interleave(c.dst[0] >> 32, c.src[0] >> 32, bits))
        else:
            set_mm(c, o.reg, interleave(c.dst[0] & M32, c.src[0] & M32, bits))
    elif op == 0x6C or op == 0x6D:  # PUNPCKQDQ
        c.xmm[d] = c.dst[op & 1]
        c.xmm[d + 1] = c.src[op & 1]
    elif op == 0x63 or op == 0x67 or op == 0x6B:  # PACK
        if pp == P66:
            c.xmm[d] = narrow(op, c.dst[0]) | (narrow(op, c.dst[1]) << 32)
            c.xmm[d + 1] = narrow(op, c.src[0]) | (narrow(op, c.src[1]) << 32)
        else:
            set_mm(c, o.reg, narrow(op, c.dst[0]) | (narrow(op, c.src[0]) << 32))
    else:
        if 0xD1 <= op <= 0xD3:
            how = 2
        elif op == 0xE1 or op == 0xE2:
            how = 4
        elif 0xF1 <= op <= 0xF3:
            how = 6
        if how:
            bits = 8 << (op & 3)
            if pp == P66:
                c.xmm[d] = shifted(how, bits, c.dst[0], c.src[0])
                c.xmm[d + 1] = shifted(how, bits, c.dst[1], c.src[0])
            else:
                set_mm(c, o.reg, shifted(how, bits, c.dst[0], c.src[0]))
        elif pp == P66:
            c.xmm[d] = packed(op, c.dst[0], c.src[0])
            c.xmm[d + 1] = packed(op, c.dst[1], c.src[1])
        else:
            set_mm(c, o.reg, packed(op, c.dst[0], c.src[0]))


# Dispatch


def control(c, o):
    """0F AE: LDMXCSR, STMXCSR, the fences and CLFLUSH."""
    value: u64
    there: u32
    if o.reg >= 5:  # nothing is reordered, and there is no cache
        if o.reg == 7:
            there = c.has_sse if o.isreg else c.features & HAS_CLFSH
        else:
            there = c.has_sse2 and o.isreg
        if not there:
            mmu.exception_plain(c, VEC_UD)
        elif not o.isreg:
            mmu.read(c, o.seg, operands.address(c, o), 0)
        return
    if o.isreg or not ready(c, XMM):
        if not c.fault:
            mmu.exception_plain(c, VEC_UD)
        return
    if o.reg == 3:
        mmu.write(c, o.seg, operands.address(c, o), c.mxcsr, 2)
        return
    value = mmu.read(c, o.seg, operands.address(c, o), 2)
    if c.fault:
        return
    if value > 0xFFFF:
        mmu.exception(c, VEC_GP, 0)
        return
    c.mxcsr = value


def execute(c, o):
    """One instruction."""
    op: u32 = o.sub
    pp: u32 = NP
    form: u32
    if o.kind == VECTOR_CONTROL:
        control(c, o)
        return
    if o.rep == 1:
        pp = PF3
    elif o.rep == 2:
        pp = PF2
    elif o.size != c.code_size:
        pp = P66
    form = forms[pp * 256 + op]
    if form == NONE or (form & REGISTERS and not o.isreg) or (form & MEMORY and o.isreg):
        mmu.exception_plain(c, VEC_UD)
        return
    if (
        0x71 <= op <= 0x73
        and not (0xCC if op == 0x73 and pp == P66 else 0x44 if op == 0x73 else 0x54) >> o.reg & 1
    ):
        mmu.exception_plain(c, VEC_UD)
        return
    if not ready(c, form):
        return
    c.f_all = 0
    c.f_flags = 0
    c.f_masks = (c.mxcsr >> 7) & 0x3F
    c.f_round = (c.mxcsr >> 13) & 3
    c.f_flush = c.mxcsr & FTZ
    if op < 0x2A or op == 0x2B or op == 0x50:
        move_float(c, o, op, pp)
    elif op == 0x2E or op == 0x2F:
        compare_scalar(c, o, op, pp)
    elif op < 0x2E:
        convert_mixed(c, o, op, pp)
    elif 0x54 <= op <= 0x57:  # AND, ANDN, OR, XOR
        if fetch(c, o, 2, 1):
            op = 0xDB if op == 0x54 else 0xDF if op == 0x55 else 0xEB if op == 0x56 else 0xEF
            c.xmm[2 * o.reg] = packed(op, c.xmm[2 * o.reg], c.src[0])
            c.xmm[2 * o.reg + 1] = packed(op, c.xmm[2 * o.reg + 1], c.src[1])
    elif op == 0x5A:
        convert_real(c, o, pp)
    elif op == 0x5B or op == 0xE6:
        convert_integer(c, o, op, pp)
    elif op < 0x60 or op == 0xC2:
        arithmetic(c, o, op, pp)
    elif op == 0x6E or op == 0x6F or op == 0x7E or op == 0x7F or op == 0xD6 or op == 0xE7 or op == 0xC3:
        move_integer(c, o, op, pp)
    elif op == 0x70 or 0xC4 <= op <= 0xC6:
        shuffle(c, o, op, pp)
    elif op <= 0x73 and op > 0x70:
        shift_immediate(c, o, op, pp)
    elif op == 0x77:
        c.fp_used = 0
        c.fp_top = 0
    elif op == 0xF7:
        masked_store(c, o, pp)
    else:
        packed_integer(c, o, op, pp)
    c.f_flush = 0
