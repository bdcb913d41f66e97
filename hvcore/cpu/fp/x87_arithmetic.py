"""Arithmetic and comparison of the x87 (SDM vol. 1 §8.3.5, §8.3.6), but for the transcendental instructions.

Operands have been loaded into `v_*` from the stack or memory, except where a function says which it loads.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import softfloat, x87_registers
    from cython.cimports.hvcore.cpu.state import s64, u32, u64
else:
    from hvcore.cpu.constants import s64, u32, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat, x87_registers

    globals().update(enums("fp/x87_arithmetic.pxd"))


# Arithmetic


def arithmetic(c, op, dest, pops):
    """ST(dest) = operand 0 `op` operand 1."""
    if not x87_registers.choose_nan(c):
        softfloat.operate(c, op, x87_registers.precision(c), softfloat.MIN80, softfloat.MAX80)
    if x87_registers.answer(c, dest) and pops:
        x87_registers.pop(c)


def round_to_integer(c):
    """FRNDINT: ST(0) to an integer, as the rounding control says."""
    if x87_registers.one_nan(c):
        pass
    elif c.v_kind[0] != softfloat.FINITE or c.v_exp[0] >= softfloat.BIAS + 63:
        softfloat.give_operand(c, 0)
    else:
        if c.v_denormal[0]:
            c.f_flags |= softfloat.DE
            if not c.f_masks & softfloat.DE:
                x87_registers.conclude(c)
                return
        softfloat.to_integer(c)
        if c.x_hi:
            c.x_exp = softfloat.BIAS + 63
            softfloat.normalise(c)
        else:
            c.x_exp = 0
    x87_registers.answer(c, 0)


def extract(c):
    """FXTRACT: the exponent replaces ST(0), the significand is pushed."""
    se: u32
    sig: u64
    n: s64
    if not x87_registers.full(c, 0):
        x87_registers.stack_underflow(c)
        x87_registers.answer_twice(c)
        return
    if x87_registers.stack_overflow(c) or x87_registers.one_nan(c):
        x87_registers.answer_twice(c)
        return
    se = c.v_sign[0] << 15
    sig = c.v_sig[0]
    if c.v_kind[0] == softfloat.ZERO:
        c.f_flags |= softfloat.ZE
        softfloat.give(c, 1, softfloat.SPECIAL_EXP, softfloat.TOP)
    elif c.v_kind[0] == softfloat.INFINITE:
        se |= softfloat.SPECIAL_EXP
        softfloat.give(c, 0, softfloat.SPECIAL_EXP, softfloat.TOP)
    else:
        if c.v_denormal[0]:
            c.f_flags |= softfloat.DE
        se |= softfloat.BIAS
        n = c.v_exp[0] - softfloat.BIAS
        softfloat.load_integer(c, 0, n < 0, cython.cast(u64, -n if n < 0 else n))
        softfloat.give_operand(c, 0)
    if x87_registers.answer(c, 0):
        x87_registers.push(c, se, sig)


def scale(c):
    """FSCALE: ST(0) times two to the power of the integer part of ST(1)."""
    if x87_registers.choose_nan(c):
        pass
    elif c.v_kind[1] == softfloat.INFINITE:
        scale_by_infinity(c)
    else:
        softfloat.give_operand(c, 0)
        if c.v_denormal[0] or c.v_denormal[1]:
            c.f_flags |= softfloat.DE
            if not c.f_masks & softfloat.DE:
                x87_registers.conclude(c)
                return
        if c.v_kind[0] == softfloat.FINITE:
            c.x_exp += integer_part(c)
            softfloat.finish(c, softfloat.PREC80, softfloat.MIN80, softfloat.MAX80)
    x87_registers.answer(c, 0)


def scale_by_infinity(c):
    """Zero or infinity, unless the operand is the other of the two."""
    if c.v_kind[0] == (softfloat.INFINITE if c.v_sign[1] else softfloat.ZERO):
        softfloat.give_invalid(c)
        return
    if c.v_denormal[0]:
        c.f_flags |= softfloat.DE
    if c.v_sign[1]:
        softfloat.give(c, c.v_sign[0], 0, 0)
    else:
        softfloat.give(c, c.v_sign[0], softfloat.SPECIAL_EXP, softfloat.TOP)


def integer_part(c):
    """The integer part of operand 1, finite or zero; from 2**16 on it is 2**16, which passes any exponent."""
    n: s64
    if c.v_kind[1] != softfloat.FINITE or c.v_exp[1] < softfloat.BIAS:
        return 0
    n = 0x10000
    if c.v_exp[1] < softfloat.BIAS + 16:
        n = c.v_sig[1] >> (63 - (c.v_exp[1] - softfloat.BIAS))
    return -n if c.v_sign[1] else n


def partial_remainder(c, nearest):
    """FPREM and FPREM1; C0, C3 and C1 have the quotient's last three bits, and C2 says that there is more to do."""
    q: u32 = NOT_DIVIDED
    if not x87_registers.choose_nan(c):
        if c.v_kind[0] == softfloat.INFINITE or c.v_kind[1] == softfloat.ZERO:
            softfloat.give_invalid(c)
        else:
            if c.v_denormal[0] or c.v_denormal[1]:
                c.f_flags |= softfloat.DE
                if not c.f_masks & softfloat.DE:
                    c.fp_status &= x87_registers.C2 ^ 0xFFFF
                    x87_registers.conclude(c)
                    return
            if c.v_kind[0] == softfloat.ZERO or c.v_kind[1] == softfloat.INFINITE:
                q = 0
                softfloat.give_operand(c, 0)
            else:
                q = softfloat.remainder(c, nearest)
            if c.x_hi:
                softfloat.finish(c, softfloat.PREC80, softfloat.MIN80, softfloat.MAX80)
    x87_registers.answer(c, 0)
    c.fp_status &= x87_registers.C2 ^ 0xFFFF
    if q == NOT_DIVIDED:
        return
    c.fp_status &= x87_registers.CONDITIONS ^ 0xFFFF
    if q & 8:
        c.fp_status |= x87_registers.C2
    else:
        c.fp_status |= (
            (x87_registers.C0 if q & 4 else 0)
            | (x87_registers.C3 if q & 2 else 0)
            | (x87_registers.C1 if q & 1 else 0)
        )


# Comparison


def relation(c, quiet):
    """Compare the operands; a NaN is invalid unless it is a quiet one and `quiet`."""
    a: u32 = c.v_kind[0]
    b: u32 = c.v_kind[1]
    if a >= softfloat.QUIET or b >= softfloat.QUIET:
        if not quiet or a >= softfloat.SIGNALLING or b >= softfloat.SIGNALLING:
            c.f_flags |= softfloat.IE
        return softfloat.UNORDERED
    return softfloat.compare(c)


def compare_registers(c, quiet, pops):
    """FCOM, FUCOM, FTST: the condition code, whatever is unmasked; only the pop is then left out."""
    r: u32 = softfloat.UNORDERED
    fine: u32
    if not c.f_flags:
        r = relation(c, quiet)
    fine = x87_registers.conclude(c)
    c.fp_status &= x87_registers.CONDITIONS ^ 0xFFFF
    if r == softfloat.LESS:
        c.fp_status |= x87_registers.C0
    elif r == softfloat.EQUAL:
        c.fp_status |= x87_registers.C3
    elif r == softfloat.UNORDERED:
        c.fp_status |= x87_registers.C3 | x87_registers.C2 | x87_registers.C0
    if not fine:
        return
    if pops:
        x87_registers.pop(c)
    if pops == 2:
        x87_registers.pop(c)


def compare_flags(c, i, quiet, pops):
    """FCOMI and FUCOMI: EFLAGS."""
    r: u32 = softfloat.UNORDERED
    fine: u32
    if x87_registers.load_pair(c, i):
        r = relation(c, quiet)
        c.f_up = (c.fp_status & x87_registers.C1) != 0  # C1 stays
    fine = x87_registers.conclude(c)
    softfloat.set_relation(c, r)
    if fine and pops:
        x87_registers.pop(c)


def examine(c):
    """FXAM: what ST(0) is, in C3, C2 and C0, and its sign in C1 (SDM vol. 1 table 8-12)."""
    code: u32 = c.fp_se[c.fp_top] >> 15 << 9
    x87_registers.load_register(c, 0, 0)
    if not x87_registers.full(c, 0):
        code |= x87_registers.C3 | x87_registers.C0
    elif c.v_denormal[0]:
        code |= x87_registers.C3 | x87_registers.C2
    elif c.v_kind[0] == softfloat.ZERO:
        code |= x87_registers.C3
    elif c.v_kind[0] == softfloat.FINITE:
        code |= x87_registers.C2
    elif c.v_kind[0] == softfloat.INFINITE:
        code |= x87_registers.C2 | x87_registers.C0
    elif c.v_kind[0] != softfloat.UNSUPPORTED:
        code |= x87_registers.C0
    c.fp_status = (c.fp_status & (x87_registers.CONDITIONS ^ 0xFFFF)) | code
