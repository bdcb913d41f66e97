"""The transcendental instructions of the x87 (SDM vol. 1 §8.3.10), within a unit in the last place.

Everything between the operand and the one rounding at the end is a *wide* number in `x_exp`, `x_hi`, `x_lo`:
128 bits of significand. A series is summed in fixed point, 127 bits behind the point, by Horner's rule with
coefficients that are computed once, when this module is loaded. Arguments of the trigonometric functions are
reduced with the 66-bit pi of Intel's parts, exactly, so results near a multiple of pi agree with theirs.
"""

import math

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import softfloat, x87_registers
    from cython.cimports.hvcore.cpu.state import M64, s64, u32, u64
else:
    from hvcore.cpu.constants import M64, s64, u32, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat, x87_registers

    globals().update(enums("fp/transcendental.pxd"))
    PI66_LOW = 0x243F_6A88_85A3_08D3  # of 0x3_243F..., which is pi * 2**64
    ROOT2 = 0xB504_F333_F9DE_6484
    ROOT2_LIMIT = 0x95F6_1998_0C43_36F7
    table = [0] * 160


def load_table() -> None:
    """Compute the coefficients, to 128 bits from 200."""
    one = 1 << 200

    def arctangent_of(numerator, denominator):
        total, power, k = 0, one * numerator // denominator, 0
        while power:
            total += (-power if k & 1 else power) // (2 * k + 1)
            power = power * numerator**2 // denominator**2
            k += 1
        return total

    pi = 4 * (4 * arctangent_of(1, 5) - arctangent_of(1, 239))
    ln2 = sum(one // (k << k) for k in range(1, 200))
    values = [one // (2 * k + 1) for k in range(16)]
    values += [one // math.factorial(k + 1) for k in range(24)]
    values += [one // math.factorial(2 * k + 1) for k in range(14)]
    values += [one // math.factorial(2 * k) for k in range(14)]
    values += [arctangent_of(k, 8) for k in range(8)] + [pi >> 2]
    rows = [v >> 73 for v in values]
    rows += [v >> (v.bit_length() - 128) for v in (ln2, 2 * one * one // ln2, pi)]
    i: cython.int
    for i in range(TABLE_SIZE):
        table[2 * i] = rows[i] >> 64
        table[2 * i + 1] = rows[i] & 0xFFFFFFFFFFFFFFFF


load_table()


# Wide numbers


def product(c, ah, al, bh, bl):
    """The upper 128 bits of the product of two 128-bit numbers, at most three units too small, in `w_hi`:`w_lo`."""
    hi: u64 = softfloat.multiply_high(ah, bh)
    lo: u64 = (ah * bh) & M64
    t: u64 = softfloat.multiply_high(ah, bl)
    lo = (lo + t) & M64
    hi += lo < t
    t = softfloat.multiply_high(al, bh)
    lo = (lo + t) & M64
    hi += lo < t
    c.w_hi = hi
    c.w_lo = lo


def series(c, first, terms, zh, zl, alternate):
    """The sum of `terms` terms in z, a fraction of 128 bits, in `w_hi`:`w_lo`.

    Coefficients begin at `first` in the table; with `alternate` every second one is negative.
    """
    i: u32 = 2 * (first + terms - 1)
    hi: u64 = table[i]
    lo: u64 = table[i + 1]
    while i > 2 * first:
        i -= 2
        product(c, hi, lo, zh, zl)
        if alternate:
            lo = (table[i + 1] - c.w_lo) & M64
            hi = (table[i] - c.w_hi - (table[i + 1] < c.w_lo)) & M64
        else:
            lo = (table[i + 1] + c.w_lo) & M64
            hi = (table[i] + c.w_hi + (lo < c.w_lo)) & M64
    c.w_hi = hi
    c.w_lo = lo


def times(c, exp, hi, lo):
    """Multiply the wide number in `x_*` by `hi`:`lo` with an exponent of `exp`."""
    product(c, c.x_hi, c.x_lo, hi, lo)
    c.x_hi = c.w_hi
    c.x_lo = c.w_lo
    c.x_exp += exp - softfloat.BIAS + 1
    softfloat.normalise(c)


def quotient_digit(c, rh, rl, dh, dl):
    """64 bits of a quotient: of `rh`:`rl`, which is less than `dh`:`dl`. The remainder is in `w_*`."""
    q: u64 = M64 if rh >= dh else softfloat.divide_wide(rh, rl, dh)
    low: u64 = (q * dl) & M64
    middle: u64 = softfloat.multiply_high(q, dl)
    high: u64 = softfloat.multiply_high(q, dh)
    t: u64 = (q * dh) & M64
    middle = (middle + t) & M64
    high += middle < t
    t = low != 0
    low = (0 - low) & M64
    high = (rh - high - (rl < middle or (rl == middle and t != 0))) & M64
    middle = (rl - middle - t) & M64
    while high:
        q -= 1
        low = (low + dl) & M64
        t = low < dl
        middle = (middle + t) & M64
        high = (high + (middle < t)) & M64
        middle = (middle + dh) & M64
        high = (high + (middle < dh)) & M64
    c.w_hi = middle
    c.w_lo = low
    return q


def over(c, exp, hi, lo):
    """Divide the wide number in `x_*` by `hi`:`lo` with an exponent of `exp`; both have their top bit set."""
    c.x_exp += softfloat.BIAS - exp
    if c.x_hi < hi or (c.x_hi == hi and c.x_lo < lo):
        c.x_exp -= 1
    else:
        c.x_lo = (c.x_lo >> 1) | ((c.x_hi & 1) << 63)
        c.x_hi >>= 1
    c.x_hi = quotient_digit(c, c.x_hi, c.x_lo, hi, lo)
    c.x_lo = quotient_digit(c, c.w_hi, c.w_lo, hi, lo)


def squared_series(c, first, terms, alternate):
    """Sum a series in the square of the wide number in `x_*`, which is less than one and stays."""
    exp: s64 = c.x_exp
    hi: u64 = c.x_hi
    lo: u64 = c.x_lo
    product(c, hi, lo, hi, lo)
    c.x_hi = c.w_hi
    c.x_lo = c.w_lo
    softfloat.shift_right(c, 2 * (softfloat.BIAS - 1 - exp))
    series(c, first, terms, c.x_hi, c.x_lo, alternate)
    c.x_exp = exp
    c.x_hi = hi
    c.x_lo = lo


def done(c):
    """Round a wide number, which never is the exact result, to a register."""
    c.x_lo |= 1
    softfloat.finish(c, softfloat.PREC80, softfloat.MIN80, softfloat.MAX80)


def denormal_stops(c):
    """Note a denormal operand; whether its exception is unmasked."""
    if c.v_denormal[0] or c.v_denormal[1]:
        c.f_flags |= softfloat.DE
        return not c.f_masks & softfloat.DE
    return 0


# Exponential and logarithms


def exponential(c):
    """F2XM1, for an operand from -1 to 1; outside of that it is undefined, and the operand stays."""
    if c.v_kind[0] == softfloat.INFINITE and c.v_sign[0]:
        softfloat.give(c, 1, softfloat.BIAS, softfloat.TOP)
        return
    if (
        c.v_kind[0] != softfloat.FINITE
        or c.v_exp[0] > softfloat.BIAS
        or (c.v_exp[0] == softfloat.BIAS and c.v_sig[0] != softfloat.TOP)
    ):
        softfloat.give_operand(c, 0)
        if c.v_kind[0] == softfloat.FINITE:
            c.f_flags |= softfloat.PE
        return
    if c.v_exp[0] == softfloat.BIAS:
        c.f_flags |= softfloat.PE
        softfloat.give(c, c.v_sign[0], softfloat.BIAS - c.v_sign[0], softfloat.TOP)
        return
    if denormal_stops(c):
        return
    softfloat.give_operand(c, 0)
    times(c, softfloat.BIAS - 1, table[2 * T_LN2], table[2 * T_LN2 + 1])
    exp: s64 = c.x_exp
    hi: u64 = c.x_hi
    lo: u64 = c.x_lo
    softfloat.shift_right(c, softfloat.BIAS - 1 - exp)
    series(c, T_EXP, 24, c.x_hi, c.x_lo, c.x_sign)
    c.x_exp = exp
    c.x_hi = hi
    c.x_lo = lo
    hi = c.w_hi
    lo = c.w_lo
    times(c, softfloat.BIAS, hi, lo)
    done(c)


def logarithm(c, exp, sig):
    """The logarithm to base 2 of a positive number, in `x_*`; `x_lo` is even only when it is exact."""
    e: s64 = exp - softfloat.BIAS
    negative: u32 = 0
    n: u64 = sig - softfloat.TOP
    hi: u64
    lo: u64
    if sig > ROOT2:
        e += 1
        negative = 1
        n = (0 - sig) & M64
    if n:
        c.x_exp = softfloat.BIAS
        c.x_hi = n
        c.x_lo = 0
        softfloat.normalise(c)
        if negative:
            over(c, softfloat.BIAS + 1, softfloat.TOP | (sig >> 1), (sig & 1) << 63)
        else:
            over(c, softfloat.BIAS + 1, softfloat.TOP | ((sig - softfloat.TOP) >> 1), (sig & 1) << 63)
        squared_series(c, T_ODD, 16, 0)
        times(c, softfloat.BIAS, c.w_hi, c.w_lo)
        times(c, softfloat.BIAS + 1, table[2 * T_TWO_LOG2E], table[2 * T_TWO_LOG2E + 1])
        if e == 0:
            c.x_sign = negative
            c.x_lo |= 1
            return
        softfloat.shift_right(c, softfloat.BIAS + 15 - c.x_exp)
    else:
        c.x_hi = 0
        c.x_lo = 0
    hi = c.x_hi
    lo = c.x_lo
    c.x_sign = e < 0
    c.x_exp = softfloat.BIAS + 15
    c.x_hi = cython.cast(u64, -e if e < 0 else e) << 48
    c.x_lo = 0
    if c.x_sign == negative:
        c.x_hi += hi
        c.x_lo = lo
    else:
        c.x_lo = (0 - lo) & M64
        c.x_hi = (c.x_hi - hi - (lo != 0)) & M64
    if c.x_hi | c.x_lo:
        softfloat.normalise(c)
    if n:
        c.x_lo |= 1


def logarithm_plus_1(c):
    """The logarithm to base 2 of 1 + operand 0, which is small."""
    hi: u64
    lo: u64
    softfloat.give_operand(c, 0)
    c.x_exp = softfloat.BIAS
    softfloat.shift_right(c, 1 + softfloat.BIAS - c.v_exp[0])
    if c.v_sign[0]:
        lo = (0 - c.x_lo) & M64
        hi = (softfloat.TOP - c.x_hi - (c.x_lo != 0)) & M64
        c.x_exp = softfloat.BIAS + 1
        c.x_hi = hi
        c.x_lo = lo
        softfloat.normalise(c)
        hi = c.x_hi
        lo = c.x_lo
    else:
        c.x_exp = softfloat.BIAS + 1
        hi = softfloat.TOP | c.x_hi
        lo = c.x_lo
    exp: s64 = c.x_exp
    softfloat.give_operand(c, 0)
    over(c, exp, hi, lo)
    squared_series(c, T_ODD, 16, 0)
    times(c, softfloat.BIAS, c.w_hi, c.w_lo)
    times(c, softfloat.BIAS + 1, table[2 * T_TWO_LOG2E], table[2 * T_TWO_LOG2E + 1])
    c.x_sign = c.v_sign[0]
    c.x_lo |= 1


def y_times(c, inexact):
    """Multiply by operand 1, and round."""
    c.x_sign ^= c.v_sign[1]
    times(c, c.v_exp[1], c.v_sig[1], 0)
    if inexact:
        c.x_lo |= 1
    softfloat.finish(c, softfloat.PREC80, softfloat.MIN80, softfloat.MAX80)
    c.f_flags |= softfloat.PE  # silicon says so of exact results too
    if c.x_hi and not c.x_hi & softfloat.TOP:
        c.f_flags |= softfloat.UE


def y_log_x(c):
    """FYL2X."""
    x: u32 = c.v_kind[0]
    y: u32 = c.v_kind[1]
    less: u32 = c.v_exp[0] < softfloat.BIAS  # x is less than one
    one: u32 = x == softfloat.FINITE and c.v_exp[0] == softfloat.BIAS and c.v_sig[0] == softfloat.TOP
    if x != softfloat.ZERO and c.v_sign[0]:
        softfloat.give_invalid(c)
    elif x == softfloat.ZERO:
        if y == softfloat.ZERO:
            softfloat.give_invalid(c)
            return
        if denormal_stops(c):
            return
        if y == softfloat.FINITE:
            c.f_flags |= softfloat.ZE
        softfloat.give(c, c.v_sign[1] ^ 1, softfloat.SPECIAL_EXP, softfloat.TOP)
    elif x == softfloat.INFINITE:
        if y == softfloat.ZERO:
            softfloat.give_invalid(c)
        elif not denormal_stops(c):
            softfloat.give(c, c.v_sign[1], softfloat.SPECIAL_EXP, softfloat.TOP)
    elif y == softfloat.INFINITE:
        if one:
            softfloat.give_invalid(c)
        elif not denormal_stops(c):
            softfloat.give(c, c.v_sign[1] ^ less, softfloat.SPECIAL_EXP, softfloat.TOP)
    elif denormal_stops(c):
        return
    elif y == softfloat.ZERO or one:
        softfloat.give(c, c.v_sign[1] ^ less, 0, 0)
    else:
        logarithm(c, c.v_exp[0], c.v_sig[0])
        y_times(c, c.x_lo & 1)


def y_log_x_plus_1(c):
    """FYL2XP1. Outside of its domain the result is undefined; a logarithm is taken while there is one."""
    x: u32 = c.v_kind[0]
    y: u32 = c.v_kind[1]
    if x == softfloat.INFINITE:
        if c.v_sign[0] or y == softfloat.ZERO:
            softfloat.give_invalid(c)
        elif not denormal_stops(c):
            softfloat.give(c, c.v_sign[1], softfloat.SPECIAL_EXP, softfloat.TOP)
    elif y == softfloat.INFINITE:
        if x == softfloat.ZERO:
            softfloat.give_invalid(c)
        elif not denormal_stops(c):
            softfloat.give(c, c.v_sign[0] ^ c.v_sign[1], softfloat.SPECIAL_EXP, softfloat.TOP)
    elif denormal_stops(c):
        return
    elif x == softfloat.ZERO or y == softfloat.ZERO:
        softfloat.give(c, c.v_sign[0] ^ c.v_sign[1], 0, 0)
    elif c.v_exp[0] < softfloat.BIAS - 2 or (c.v_exp[0] == softfloat.BIAS - 2 and c.v_sig[0] <= ROOT2_LIMIT):
        logarithm_plus_1(c)
        y_times(c, 1)
    elif c.v_sign[0] and c.v_exp[0] >= softfloat.BIAS:
        softfloat.give_invalid(c)
    else:
        softfloat.give_operand(c, 0)
        c.x_lo = 0
        if c.v_sign[0]:
            softfloat.shift_right(c, softfloat.BIAS - c.v_exp[0])
            c.x_hi = softfloat.TOP - c.x_hi
            c.x_exp = softfloat.BIAS
            softfloat.normalise(c)
        elif c.v_exp[0] < softfloat.BIAS:
            softfloat.shift_right(c, softfloat.BIAS - c.v_exp[0])
            c.x_hi |= softfloat.TOP
            c.x_exp = softfloat.BIAS
        elif c.v_exp[0] < softfloat.BIAS + 64:
            c.x_exp = c.v_exp[0]
            c.x_hi = softfloat.TOP >> (c.v_exp[0] - softfloat.BIAS)
            c.x_hi = (c.x_hi + c.v_sig[0]) & M64
            if not c.x_hi & softfloat.TOP:
                c.x_hi = (c.x_hi >> 1) | softfloat.TOP
                c.x_exp += 1
        logarithm(c, c.x_exp, c.x_hi)
        y_times(c, 1)


# Trigonometry


def arctangent(c):
    """FPATAN: operand 1 is y, operand 0 is x."""
    x: u32 = c.v_kind[0]
    y: u32 = c.v_kind[1]
    hi: u64 = table[2 * T_PI]
    lo: u64 = table[2 * T_PI + 1]
    if denormal_stops(c):
        return
    if y == softfloat.FINITE and x == softfloat.FINITE:
        arctangent_finite(c)
        return
    c.x_sign = c.v_sign[1]
    c.x_exp = softfloat.BIAS
    c.x_hi = hi
    c.x_lo = lo
    if y == softfloat.INFINITE and x == softfloat.INFINITE:
        if c.v_sign[0]:  # the result is three quarters of pi
            c.x_exp = softfloat.BIAS + 1
            c.x_hi = (hi >> 1) + (hi >> 2)
            c.x_lo = ((hi & 3) << 62) + (lo >> 2)
            lo = ((hi & 1) << 63) + (lo >> 1)
            c.x_lo = (c.x_lo + lo) & M64
            c.x_hi += c.x_lo < lo
        else:
            c.x_exp = softfloat.BIAS - 1
    elif y == softfloat.INFINITE or (x == softfloat.ZERO and y == softfloat.FINITE):
        pass  # the result is half of pi
    elif c.v_sign[0]:
        c.x_exp = softfloat.BIAS + 1
    else:
        softfloat.give(c, c.v_sign[1], 0, 0)
        return
    done(c)


def arctangent_finite(c):
    """The angle of (x, y), neither zero: that of the smaller over the larger, moved to where (x, y) lies."""
    steep: u32 = c.v_exp[1] > c.v_exp[0] or (c.v_exp[1] == c.v_exp[0] and c.v_sig[1] > c.v_sig[0])
    i: u32 = 0 if steep else 1
    c.x_sign = c.v_sign[1]
    c.x_exp = c.v_exp[i]
    c.x_hi = c.v_sig[i]
    c.x_lo = 0
    over(c, c.v_exp[i ^ 1], c.v_sig[i ^ 1], 0)
    arctangent_of_fraction(c)
    if steep:
        from_axis(c, 1, c.v_sign[0])
    elif c.v_sign[0]:
        from_axis(c, 0, 0)
    done(c)


def arctangent_of_fraction(c):
    """The arctangent of a wide number that is at most one; its sign stays.

    With the nearest eighth k / 8, atan(z) = atan(k / 8) + atan((z - k / 8) / (1 + z * k / 8)).
    """
    k: u64 = 0
    hi: u64
    lo: u64
    t: u64
    negative: u32 = 0
    if c.x_exp >= softfloat.BIAS - 4:
        softfloat.shift_right(c, softfloat.BIAS + 4 - c.x_exp)  # 123 bits behind the point
        hi = c.x_hi
        lo = c.x_lo
        k = ((hi >> 55) + 1) >> 1
        t = (lo * k) & M64
        c.x_lo = (lo << 3) & M64  # 8z - k, of 123 bits, or its negative
        c.x_hi = (((hi << 3) | (lo >> 61)) - (k << 59)) & M64
        if c.x_hi >> 63:
            negative = 1
            c.x_hi = (0 - c.x_hi - (c.x_lo != 0)) & M64
            c.x_lo = (0 - c.x_lo) & M64
        hi = hi * k + softfloat.multiply_high(lo, k) + (softfloat.TOP >> 1)  # 8 + z * k
        lo = t
        c.x_exp = softfloat.BIAS + 4
        if c.x_hi | c.x_lo:
            softfloat.normalise(c)
            if hi & softfloat.TOP:
                over(c, softfloat.BIAS + 4, hi, lo)
            else:
                over(c, softfloat.BIAS + 3, ((hi << 1) | (lo >> 63)) & M64, (lo << 1) & M64)
    if c.x_hi | c.x_lo:
        squared_series(c, T_ODD, 16, 1)
        times(c, softfloat.BIAS, c.w_hi, c.w_lo)
    if k:
        softfloat.shift_right(c, softfloat.BIAS - c.x_exp)
        hi = table[2 * (T_ATAN + k)]
        lo = table[2 * (T_ATAN + k) + 1]
        if negative:
            t = lo < c.x_lo
            c.x_lo = (lo - c.x_lo) & M64
            c.x_hi = hi - c.x_hi - t
        else:
            c.x_lo = (c.x_lo + lo) & M64
            c.x_hi = c.x_hi + hi + (c.x_lo < lo)
        c.x_exp = softfloat.BIAS
        softfloat.normalise(c)


def from_axis(c, vertical, beyond):
    """Half of pi (`vertical`) or pi, less the angle in `x_*`, or with `beyond` plus it; its sign stays."""
    hi: u64 = table[2 * T_PI] >> 1
    lo: u64 = ((table[2 * T_PI] & 1) << 63) | (table[2 * T_PI + 1] >> 1)
    t: u64
    softfloat.shift_right(c, softfloat.BIAS + 2 - c.x_exp)
    if vertical:
        lo = ((hi & 1) << 63) | (lo >> 1)
        hi >>= 1
    if beyond:
        c.x_lo = (c.x_lo + lo) & M64
        c.x_hi = c.x_hi + hi + (c.x_lo < lo)
    else:
        t = lo < c.x_lo
        c.x_lo = (lo - c.x_lo) & M64
        c.x_hi = hi - c.x_hi - t
    c.x_exp = softfloat.BIAS + 2
    softfloat.normalise(c)


def reduce(c):
    """Take multiples of pi / 2 from operand 0, finite; returns the quadrant.

    The rest, from -pi / 4 to pi / 4, is in `x_*`.
    """
    k: s64 = c.v_exp[0] - softfloat.BIAS + 2
    q: u32 = 0
    hi: u64 = 0
    lo: u64 = c.v_sig[0]
    t: u64
    if k < 1:
        softfloat.give_operand(c, 0)
        c.x_sign = 0
        return 0
    while k:  # a long division in units of 2**-65, of which pi / 2 has 0x3243F6A8885A308D3
        k -= 1
        hi = (hi << 1) | (lo >> 63)
        lo = (lo << 1) & M64
        q <<= 1
        if hi > 3 or (hi == 3 and lo >= PI66_LOW):
            hi = hi - 3 - (lo < PI66_LOW)
            lo = (lo - PI66_LOW) & M64
            q += 1
        q &= 3
    c.x_sign = 0
    t = 3 - hi - (lo > PI66_LOW)  # what is left to pi / 2, if it is the nearer
    if hi > t or (hi == t and lo > (PI66_LOW - lo) & M64):
        hi = t
        lo = (PI66_LOW - lo) & M64
        q += 1
        c.x_sign = 1
    c.x_hi = hi
    c.x_lo = lo
    c.x_exp = softfloat.BIAS + 62  # the last bit is worth 2**-65
    softfloat.normalise(c)
    return q & 3


def sine(c, quadrant, exp, hi, lo):
    """The sine of a reduced angle, whose sign is in `x_sign`; in `x_*`, not rounded."""
    c.x_exp = exp
    c.x_hi = hi
    c.x_lo = lo
    if quadrant & 1:
        squared_series(c, T_COS, 14, 1)
        c.x_sign = 0
        c.x_exp = softfloat.BIAS
        c.x_hi = c.w_hi
        c.x_lo = c.w_lo
        softfloat.normalise(c)
    else:
        squared_series(c, T_SIN, 14, 1)
        times(c, softfloat.BIAS, c.w_hi, c.w_lo)
    if quadrant & 2:
        c.x_sign ^= 1


def trigonometric(c, which):
    """FPTAN, FSINCOS, FSIN, FCOS."""
    pair: u32 = which == x87_registers.FPTAN or which == x87_registers.FSINCOS  # they push a second result
    c.fp_status &= x87_registers.C2 ^ 0xFFFF
    if pair and x87_registers.stack_overflow(c):
        x87_registers.answer_twice(c)
    elif c.v_kind[0] >= softfloat.INFINITE:
        if not x87_registers.one_nan(c):
            softfloat.give_invalid(c)
        if pair:
            x87_registers.answer_twice(c)
        else:
            x87_registers.answer(c, 0)
    elif c.v_kind[0] == softfloat.ZERO:
        trigonometric_of_zero(c, which, pair)
    elif c.v_exp[0] >= softfloat.BIAS + 63:  # out of range: C2 says so, and the operand stays
        c.fp_status |= x87_registers.C2
        x87_registers.conclude(c)
    else:
        c.v_denormal[1] = 0
        if denormal_stops(c):
            x87_registers.conclude(c)
        else:
            trigonometric_of_finite(c, which)


def trigonometric_of_zero(c, which, pair):
    """The sine and tangent are the operand itself, the cosine and what FPTAN pushes are 1."""
    if pair:
        x87_registers.conclude(c)
        x87_registers.push(c, softfloat.BIAS, softfloat.TOP)
        return
    if which == x87_registers.FCOS:
        softfloat.give(c, 0, softfloat.BIAS, softfloat.TOP)
    else:
        softfloat.give_operand(c, 0)
    x87_registers.answer(c, 0)


def trigonometric_of_finite(c, which):
    """The operand is reduced once; the sine and cosine of what is left are taken by its quadrant."""
    quadrant: u32 = reduce(c)
    sign: u32 = c.x_sign
    exp: s64 = c.x_exp
    hi: u64 = c.x_hi
    lo: u64 = c.x_lo
    se: u32
    sig: u64
    if which == x87_registers.FCOS:
        sine(c, quadrant + 1, exp, hi, lo)
        done(c)
        x87_registers.answer(c, 0)
    elif which == x87_registers.FPTAN:
        tangent(c, quadrant, sign, exp, hi, lo)
        if x87_registers.answer(c, 0):
            x87_registers.push(c, softfloat.BIAS, softfloat.TOP)
    else:
        sine(c, quadrant, exp, hi, lo)
        c.x_sign ^= c.v_sign[0]
        done(c)
        if which == x87_registers.FSIN:
            x87_registers.answer(c, 0)
            return
        se = softfloat.sign_exponent(c)
        sig = c.x_hi
        c.x_sign = sign
        sine(c, quadrant + 1, exp, hi, lo)
        done(c)
        if x87_registers.conclude(c):
            x87_registers.set_register(c, 0, se, sig)
            x87_registers.push(c, softfloat.sign_exponent(c), c.x_hi)


def tangent(c, quadrant, sign, exp, hi, lo):
    """The sine over the cosine, of which only the parity of the quadrant matters; rounded."""
    sine_exp: s64
    sine_hi: u64
    sine_lo: u64
    c.x_sign = 0
    sine(c, (quadrant & 1) ^ 1, exp, hi, lo)
    sine_exp = c.x_exp
    sine_hi = c.x_hi
    sine_lo = c.x_lo
    sine(c, quadrant & 1, exp, hi, lo)
    over(c, sine_exp, sine_hi, sine_lo)
    c.x_sign = c.v_sign[0] ^ sign ^ (quadrant & 1)
    done(c)


def execute(c, which):
    """One instruction; its operands are unpacked, and its registers are not empty."""
    if which == x87_registers.FPTAN or which == x87_registers.FSINCOS or which >= x87_registers.FSIN:
        trigonometric(c, which)
        return
    if which == x87_registers.F2XM1:
        c.v_denormal[1] = 0
        if not x87_registers.one_nan(c):
            exponential(c)
        x87_registers.answer(c, 0)
        return
    if not x87_registers.choose_nan(c):
        if which == x87_registers.FYL2X:
            y_log_x(c)
        elif which == x87_registers.FPATAN:
            arctangent(c)
        else:
            y_log_x_plus_1(c)
    if x87_registers.answer(c, 1):
        x87_registers.pop(c)
