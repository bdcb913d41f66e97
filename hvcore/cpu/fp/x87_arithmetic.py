"""Arithmetic and comparison of the x87 (SDM vol. 1 §8.3.5, §8.3.6), but for the transcendental instructions.

Operands have been loaded into `v_*` from the stack or memory, except where a function says which it loads.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp.softfloat import *
    from cython.cimports.hvcore.cpu.fp.x87_arithmetic import *
    from cython.cimports.hvcore.cpu.fp.x87_registers import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *
    from hvcore.cpu.fp.softfloat import *
    from hvcore.cpu.fp.x87_registers import *


# Arithmetic


def arithmetic(c, op, dest, pops):
    """ST(dest) = operand 0 `op` operand 1."""
    if not choose_nan(c):
        operate(c, op, precision(c), MIN80, MAX80)
    if answer(c, dest) and pops:
        pop(c)


def round_to_integer(c):
    """FRNDINT."""
    if one_nan(c):
        pass
    elif c.v_kind[0] != FINITE or c.v_exp[0] >= BIAS + 63:
        give_operand(c, 0)
    else:
        if c.v_denormal[0]:
            c.f_flags |= DE
            if not c.f_masks & DE:
                conclude(c)
                return
        to_integer(c)
        if c.x_hi:
            c.x_exp = BIAS + 63
            normalise(c)
        else:
            c.x_exp = 0
    answer(c, 0)


def extract(c):
    """FXTRACT: the exponent replaces ST(0), the significand is pushed."""
    se: u32
    sig: u64
    n: s64
    if not full(c, 0):
        stack_underflow(c)
        if answer(c, 0):
            push(c, sign_exponent(c), c.x_hi)
        return
    if stack_overflow(c):
        if answer(c, 0):
            push(c, sign_exponent(c), c.x_hi)
        return
    if one_nan(c):
        if answer(c, 0):
            push(c, sign_exponent(c), c.x_hi)
        return
    se = c.v_sign[0] << 15
    sig = c.v_sig[0]
    if c.v_kind[0] == ZERO:
        c.f_flags |= ZE
        give(c, 1, SPECIAL_EXP, TOP)
    elif c.v_kind[0] == INFINITE:
        se |= SPECIAL_EXP
        give(c, 0, SPECIAL_EXP, TOP)
    else:
        if c.v_denormal[0]:
            c.f_flags |= DE
        se |= BIAS
        n = c.v_exp[0] - BIAS
        load_integer(c, 0, n < 0, cython.cast(u64, -n if n < 0 else n))
        give_operand(c, 0)
    if answer(c, 0):
        push(c, se, sig)


def scale(c):
    """FSCALE: ST(0) times two to the power of the integer part of ST(1)."""
    n: s64
    if not choose_nan(c):
        if c.v_kind[1] == INFINITE:
            if c.v_kind[0] == (INFINITE if c.v_sign[1] else ZERO):
                give_invalid(c)
            else:
                if c.v_denormal[0]:
                    c.f_flags |= DE
                if c.v_sign[1]:
                    give(c, c.v_sign[0], 0, 0)
                else:
                    give(c, c.v_sign[0], SPECIAL_EXP, TOP)
        else:
            give_operand(c, 0)
            if c.v_denormal[0] or c.v_denormal[1]:
                c.f_flags |= DE
                if not c.f_masks & DE:
                    conclude(c)
                    return
            if c.v_kind[0] == FINITE:
                n = 0
                if c.v_kind[1] == FINITE and c.v_exp[1] >= BIAS:
                    n = 0x10000
                    if c.v_exp[1] < BIAS + 16:
                        n = c.v_sig[1] >> (63 - (c.v_exp[1] - BIAS))
                    if c.v_sign[1]:
                        n = -n
                c.x_exp += n
                finish(c, 64, MIN80, MAX80)
    answer(c, 0)


def partial_remainder(c, nearest):
    """FPREM and FPREM1."""
    q: u32 = 16  # nothing was divided
    if not choose_nan(c):
        if c.v_kind[0] == INFINITE or c.v_kind[1] == ZERO:
            give_invalid(c)
        else:
            if c.v_denormal[0] or c.v_denormal[1]:
                c.f_flags |= DE
                if not c.f_masks & DE:
                    c.fp_status &= C2 ^ 0xFFFF
                    conclude(c)
                    return
            if c.v_kind[0] == ZERO or c.v_kind[1] == INFINITE:
                q = 0
                give_operand(c, 0)
            else:
                q = remainder(c, nearest)
            if c.x_hi:
                finish(c, 64, MIN80, MAX80)
    answer(c, 0)
    c.fp_status &= C2 ^ 0xFFFF
    if q == 16:
        return
    c.fp_status &= CONDITIONS ^ 0xFFFF
    if q & 8:
        c.fp_status |= C2
    else:
        c.fp_status |= (C0 if q & 4 else 0) | (C3 if q & 2 else 0) | (C1 if q & 1 else 0)


# Comparison


def relation(c, quiet):
    """Compare the operands; a NaN is invalid unless it is a quiet one and `quiet`."""
    a: u32 = c.v_kind[0]
    b: u32 = c.v_kind[1]
    if a >= QUIET or b >= QUIET:
        if not quiet or a >= SIGNALLING or b >= SIGNALLING:
            c.f_flags |= IE
        return UNORDERED
    return compare(c)


def compare_registers(c, quiet, pops):
    """FCOM, FUCOM, FTST: the condition code, whatever is unmasked; only the pop is then left out."""
    r: u32 = UNORDERED
    fine: u32
    if not c.f_flags:
        r = relation(c, quiet)
    fine = conclude(c)
    c.fp_status &= CONDITIONS ^ 0xFFFF
    if r == LESS:
        c.fp_status |= C0
    elif r == EQUAL:
        c.fp_status |= C3
    elif r == UNORDERED:
        c.fp_status |= C3 | C2 | C0
    if not fine:
        return
    if pops:
        pop(c)
    if pops == 2:
        pop(c)


def compare_flags(c, i, quiet, pops):
    """FCOMI and FUCOMI: EFLAGS."""
    r: u32 = UNORDERED
    fine: u32
    if load_pair(c, i):
        r = relation(c, quiet)
        c.f_up = (c.fp_status & C1) != 0  # C1 stays
    fine = conclude(c)
    set_relation(c, r)
    if fine and pops:
        pop(c)


def examine(c):
    """FXAM."""
    code: u32 = c.fp_se[c.fp_top] >> 15 << 9
    load_register(c, 0, 0)
    if not full(c, 0):
        code |= C3 | C0
    elif c.v_denormal[0]:
        code |= C3 | C2
    elif c.v_kind[0] == ZERO:
        code |= C3
    elif c.v_kind[0] == FINITE:
        code |= C2
    elif c.v_kind[0] == INFINITE:
        code |= C2 | C0
    elif c.v_kind[0] != UNSUPPORTED:
        code |= C0
    c.fp_status = (c.fp_status & (CONDITIONS ^ 0xFFFF)) | code
