"""Binary floating point to the bit (IEEE 754 as in SDM vol. 1 §4.8 and §4.9), for the x87 and for SSE.

Operands are unpacked into `State.v_kind`, `v_sign`, `v_exp`, `v_sig`, number 0 and 1: a finite number is
`v_sig` / 2**63 * 2**(`v_exp` - BIAS), its top bit set. An operation leaves its exact result, as far as
rounding wants to know, in `x_sign`, `x_exp` and the 128 bits `x_hi`:`x_lo` whose last bit is sticky; `finish`
rounds that to a precision and an exponent range. Exceptions are gathered in `f_flags` (bits as in the status
word and MXCSR), `f_up` says that the significand was rounded up. `f_round` and `f_masks` are what the control
word says.

NaN operands never come here: which NaN an instruction returns is its family's own rule.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags
    from cython.cimports.hvcore.cpu.state import F_CF, F_PF, F_ZF, M32, M64, s64, u32, u64
    from cython.cimports.libc.math import sqrt
else:
    from math import sqrt

    from hvcore.cpu import flags
    from hvcore.cpu.constants import F_CF, F_PF, F_ZF, M32, M64, s64, u32, u64
    from hvcore.cpu.constants import enums

    globals().update(enums("fp/softfloat.pxd"))
    TOP = 1 << 63
    QUIET_BIT = 1 << 62
    DEFAULT_NAN = 3 << 62
    BELOW_TOP = (1 << 63) - 1
    FRACTION64 = (1 << 52) - 1

    def LEADING_ZEROS(v):  # noqa: N802 - a macro of the .pxd
        """The leading zeros of a 64-bit number that is not 0."""
        return 64 - v.bit_length()


def multiply_high(a, b):
    """The upper half of the product of two 64-bit numbers."""
    a_low: u64 = a & M32
    a_high: u64 = a >> 32
    b_low: u64 = b & M32
    b_high: u64 = b >> 32
    t: u64 = a_high * b_low + ((a_low * b_low) >> 32)
    u: u64 = a_low * b_high + (t & M32)
    return a_high * b_high + (t >> 32) + (u >> 32)


def divide_wide(hi, lo, d):
    """`hi`:`lo` / `d`, rounded down; `d` has its top bit set and `hi` is less than it (Knuth 4.3.1 D)."""
    d_high: u64 = d >> 32
    d_low: u64 = d & M32
    next_digit: u64 = lo >> 32
    q1: u64 = hi // d_high
    r: u64 = hi - q1 * d_high
    q0: u64
    while q1 > M32 or q1 * d_low > ((r << 32) | next_digit):
        q1 -= 1
        r += d_high
        if r > M32:
            break
    hi = (((hi << 32) | next_digit) - q1 * d) & M64
    next_digit = lo & M32
    q0 = hi // d_high
    r = hi - q0 * d_high
    while q0 > M32 or q0 * d_low > ((r << 32) | next_digit):
        q0 -= 1
        r += d_high
        if r > M32:
            break
    return ((q1 << 32) + q0) & M64


# Operands


def load_finite(c, i, exp, sig):
    """A finite number whose significand may lack its top bit."""
    n: u32
    c.v_kind[i] = FINITE
    if not sig & TOP:
        n = LEADING_ZEROS(sig)
        sig = (sig << n) & M64
        exp -= n
    c.v_exp[i] = exp
    c.v_sig[i] = sig


def load80(c, i, se, sig):
    """Unpack a register of the x87: sign and exponent `se`, significand `sig`."""
    exp: s64 = se & 0x7FFF
    c.v_sign[i] = se >> 15
    c.v_denormal[i] = 0
    c.v_exp[i] = exp
    c.v_sig[i] = sig
    if exp == 0:
        if sig == 0:
            c.v_kind[i] = ZERO
        else:
            c.v_denormal[i] = 1
            load_finite(c, i, 1, sig)
    elif not sig & TOP:
        c.v_kind[i] = UNSUPPORTED
    elif exp != SPECIAL_EXP:
        c.v_kind[i] = FINITE
    elif sig == TOP:
        c.v_kind[i] = INFINITE
    else:
        c.v_kind[i] = QUIET if sig & QUIET_BIT else SIGNALLING


def load32(c, i, bits):
    """Unpack single precision."""
    exp: s64 = (bits >> 23) & 0xFF
    sig: u64 = (bits << 40) & BELOW_TOP
    c.v_sign[i] = (bits >> 31) & 1
    c.v_denormal[i] = 0
    if exp == 0xFF:
        c.v_exp[i] = SPECIAL_EXP
        c.v_sig[i] = sig | TOP
        c.v_kind[i] = INFINITE if sig == 0 else QUIET if sig & QUIET_BIT else SIGNALLING
    elif exp:
        c.v_kind[i] = FINITE
        c.v_exp[i] = exp + (MIN32 - 1)
        c.v_sig[i] = sig | TOP
    elif sig:
        c.v_denormal[i] = 1
        load_finite(c, i, MIN32, sig)
    else:
        c.v_kind[i] = ZERO
        c.v_exp[i] = 0
        c.v_sig[i] = 0


def load64(c, i, bits):
    """Unpack double precision."""
    exp: s64 = (bits >> 52) & 0x7FF
    sig: u64 = (bits << 11) & BELOW_TOP
    c.v_sign[i] = bits >> 63
    c.v_denormal[i] = 0
    if exp == 0x7FF:
        c.v_exp[i] = SPECIAL_EXP
        c.v_sig[i] = sig | TOP
        c.v_kind[i] = INFINITE if sig == 0 else QUIET if sig & QUIET_BIT else SIGNALLING
    elif exp:
        c.v_kind[i] = FINITE
        c.v_exp[i] = exp + (MIN64 - 1)
        c.v_sig[i] = sig | TOP
    elif sig:
        c.v_denormal[i] = 1
        load_finite(c, i, MIN64, sig)
    else:
        c.v_kind[i] = ZERO
        c.v_exp[i] = 0
        c.v_sig[i] = 0


def load_integer(c, i, sign, magnitude):
    """Unpack an integer of up to 64 bits."""
    c.v_sign[i] = sign
    c.v_denormal[i] = 0
    if magnitude:
        load_finite(c, i, BIAS + 63, magnitude)
    else:
        c.v_kind[i] = ZERO
        c.v_exp[i] = 0
        c.v_sig[i] = 0


# Results


def give(c, sign, exp, sig):
    """Give an exact result."""
    c.x_sign = sign
    c.x_exp = exp
    c.x_hi = sig
    c.x_lo = 0


def give_operand(c, i):
    """Operand `i` is the result, before rounding."""
    give(c, c.v_sign[i], c.v_exp[i], c.v_sig[i])


def give_nan(c):
    """The result is the real indefinite."""
    give(c, 1, SPECIAL_EXP, DEFAULT_NAN)


def give_invalid(c):
    """An invalid operation: the result is the real indefinite."""
    c.f_flags |= IE
    give_nan(c)


def sign_exponent(c):
    """The result's upper 16 bits in double extended precision; `x_hi` is the rest."""
    if c.x_hi & TOP:
        return (c.x_sign << 15) | cython.cast(u32, c.x_exp)
    return c.x_sign << 15


def pack32(c):
    """The result in single precision; `finish` has rounded it to that."""
    field: u64 = 0
    sign: u64 = c.x_sign
    if c.x_exp == SPECIAL_EXP:
        field = 0xFF
    elif c.x_hi & TOP:
        field = c.x_exp - (MIN32 - 1)
    return (sign << 31) | (field << 23) | ((c.x_hi >> 40) & 0x7FFFFF)


def pack64(c):
    """The result in double precision."""
    field: u64 = 0
    sign: u64 = c.x_sign
    if c.x_exp == SPECIAL_EXP:
        field = 0x7FF
    elif c.x_hi & TOP:
        field = c.x_exp - (MIN64 - 1)
    return (sign << 63) | (field << 52) | ((c.x_hi >> 11) & FRACTION64)


# Rounding


def shift_right(c, n):
    """Shift `x_hi`:`x_lo` right; what falls out stays as the sticky bit."""
    lost: u64
    if n <= 0:
        return
    if n < 64:
        lost = (c.x_lo << (64 - n)) & M64
        c.x_lo = (c.x_lo >> n) | ((c.x_hi << (64 - n)) & M64)
        c.x_hi = c.x_hi >> n
    elif n == 64:
        lost = c.x_lo
        c.x_lo = c.x_hi
        c.x_hi = 0
    elif n < 128:
        lost = c.x_lo | ((c.x_hi << (128 - n)) & M64)
        c.x_lo = c.x_hi >> (n - 64)
        c.x_hi = 0
    else:
        lost = c.x_hi | c.x_lo
        c.x_hi = 0
        c.x_lo = 0
    if lost:
        c.x_lo |= 1


def normalise(c):
    """Shift `x_hi`:`x_lo`, which is not 0, left until its top bit is set."""
    n: u32
    if c.x_hi == 0:
        c.x_hi = c.x_lo
        c.x_lo = 0
        c.x_exp -= 64
    n = LEADING_ZEROS(c.x_hi)
    if n:
        c.x_hi = ((c.x_hi << n) | (c.x_lo >> (64 - n))) & M64
        c.x_lo = (c.x_lo << n) & M64
        c.x_exp -= n


def rounds_up(c, lsb, rest):
    """Whether the magnitude grows: `rest` is the fraction beyond the last bit kept, whose value is `lsb`."""
    if c.f_round == NEAREST:
        return rest > TOP or (rest == TOP and lsb != 0)
    if c.f_round == CHOP:
        return 0
    return rest != 0 and (c.f_round == DOWN) == (c.x_sign == 1)


def round_significand(c, prec):
    """Round `x_hi`:`x_lo` to its upper `prec` bits; whether that lost something."""
    one: u64 = 1
    lsb: u64 = one << (64 - prec)
    rest: u64 = c.x_lo
    if prec < 64:
        rest = ((c.x_hi << prec) & M64) | (c.x_lo != 0)
        c.x_hi &= (lsb - 1) ^ M64
    c.x_lo = 0
    c.f_up = rounds_up(c, c.x_hi & lsb, rest)
    if c.f_up:
        c.x_hi = (c.x_hi + lsb) & M64
        if c.x_hi == 0:
            c.x_hi = TOP
            c.x_exp += 1
    return rest != 0


def finish(c, prec, least, most):
    """Round a normalised result to `prec` bits and an exponent from `least` to `most`.

    Tininess is detected after rounding. With its exception unmasked, an overflow or underflow gives the
    result with its exponent wrapped by 24576, for a register of the x87 (SDM vol. 1 §8.5.4 and §8.5.5).
    """
    exp: s64 = c.x_exp
    hi: u64 = c.x_hi
    lo: u64 = c.x_lo
    inexact: u32 = round_significand(c, prec)
    if c.x_exp > most:
        c.f_flags |= OE
        if not c.f_masks & OE:
            c.x_exp -= WRAP
            if c.x_exp > most:  # FSCALE reaches further than the wrap
                give(c, c.x_sign, SPECIAL_EXP, TOP)
                inexact = 1
                c.f_up = 1
        else:
            inexact = 1
            if c.f_round == NEAREST or (c.f_round == UP and not c.x_sign) or (c.f_round == DOWN and c.x_sign):
                c.x_exp = SPECIAL_EXP
                c.x_hi = TOP
                c.f_up = 1
            else:
                c.x_exp = most
                c.x_hi = (M64 << (64 - prec)) & M64
                c.f_up = 0
    elif c.x_exp < least:
        if not c.f_masks & UE:
            c.f_flags |= UE
            c.x_exp += WRAP
            if c.x_exp < least:
                give(c, c.x_sign, 0, 0)
                inexact = 1
                c.f_up = 0
        else:
            if c.f_flush:
                give(c, c.x_sign, 0, 0)
                c.f_flags |= UE | PE
                return
            c.x_hi = hi
            c.x_lo = lo
            shift_right(c, least - exp)
            c.x_exp = least
            inexact = round_significand(c, prec)
            if inexact:
                c.f_flags |= UE
    if inexact:
        c.f_flags |= PE


# Arithmetic on finite numbers that are not zero


def add_finite(c, i, j, negate):
    """Operand `i` plus or minus operand `j`."""
    sign: u32 = c.v_sign[j] ^ negate
    hi: u64
    t: u32
    if c.v_exp[i] < c.v_exp[j] or (c.v_exp[i] == c.v_exp[j] and c.v_sig[i] < c.v_sig[j]):
        t = i
        i = j
        j = t
        t = sign
        sign = c.v_sign[j]
        c.x_sign = t
    else:
        c.x_sign = c.v_sign[i]
    c.x_exp = c.v_exp[i]
    c.x_hi = c.v_sig[j]
    c.x_lo = 0
    shift_right(c, c.v_exp[i] - c.v_exp[j])
    if c.x_sign == sign:
        hi = (c.v_sig[i] + c.x_hi) & M64
        if hi < c.x_hi:
            c.x_lo = ((hi & 1) << 63) | (c.x_lo >> 1) | (c.x_lo & 1)
            hi = (hi >> 1) | TOP
            c.x_exp += 1
        c.x_hi = hi
        return
    c.x_hi = (c.v_sig[i] - c.x_hi - (c.x_lo != 0)) & M64
    c.x_lo = (0 - c.x_lo) & M64
    if c.x_hi | c.x_lo:
        normalise(c)
    else:
        give(c, c.f_round == DOWN, 0, 0)  # the sign of a sum that cancels (SDM vol. 1 §4.8.3.1)


def multiply_finite(c):
    """The product."""
    c.x_sign = c.v_sign[0] ^ c.v_sign[1]
    c.x_exp = c.v_exp[0] + c.v_exp[1] - (BIAS - 1)
    c.x_hi = multiply_high(c.v_sig[0], c.v_sig[1])
    c.x_lo = (c.v_sig[0] * c.v_sig[1]) & M64
    normalise(c)


def divide_finite(c, i, j):
    """Operand `i` / operand `j`."""
    a: u64 = c.v_sig[i]
    d: u64 = c.v_sig[j]
    low: u64 = 0
    rest: u64
    c.x_sign = c.v_sign[0] ^ c.v_sign[1]
    c.x_exp = c.v_exp[i] - c.v_exp[j] + (BIAS - 1)
    if a >= d:
        low = (a & 1) << 63
        a >>= 1
        c.x_exp += 1
    c.x_hi = divide_wide(a, low, d)
    rest = (low - c.x_hi * d) & M64
    c.x_lo = 0
    if rest:  # the next bit of the quotient, and whether anything follows
        c.x_lo = (TOP if rest >= d - rest else 0) | (rest != d - rest)


def square_root_finite(c):
    """The square root of operand 0, rounded down to 64 bits, with what is lost as the sticky bits."""
    odd: u32 = (c.v_exp[0] & 1) ^ 1  # the bias is odd
    hi: u64 = c.v_sig[0]
    lo: u64 = 0
    root: u64
    q: u64
    if not odd:
        lo = (hi & 1) << 63
        hi >>= 1
    # 53 bits from the host, one step of Newton's, and a correction of the last bit
    estimate: cython.double = sqrt(cython.cast(cython.double, hi)) * 4294967296.0
    root = M64 if estimate >= 18446744073709549568.0 else cython.cast(u64, estimate)
    if not root & TOP:
        root = TOP
    q = M64 if hi >= root else divide_wide(hi, lo, root)
    root = (root >> 1) + (q >> 1) + (root & q & 1)
    if not root & TOP:
        root = TOP
    while multiply_high(root, root) > hi or (multiply_high(root, root) == hi and (root * root) & M64 > lo):
        root -= 1
    while root != M64:
        q = root + 1
        if multiply_high(q, q) > hi or (multiply_high(q, q) == hi and (q * q) & M64 > lo):
            break
        root = q
    c.x_sign = 0
    c.x_exp = (c.v_exp[0] + BIAS) >> 1
    c.x_hi = root
    q = (lo - root * root) & M64  # what is left; it may have a 65th bit, and is then more than the root
    c.x_lo = 0
    if (hi - multiply_high(root, root) - (lo < (root * root) & M64)) & M64 or q > root:
        c.x_lo = TOP | 1
    elif q:
        c.x_lo = 1


# Whole operations


def operate(c, op, prec, least, most):
    """Operand 0 `op` operand 1, neither a NaN, rounded; no result if a denormal operand forbids it."""
    i: u32 = 0
    j: u32 = 1
    sign: u32 = c.v_sign[0] ^ c.v_sign[1]
    rounds: u32
    if op == OP_SUBR or op == OP_DIVR:
        i = 1
        j = 0
    if undefined(c, op, c.v_kind[i], c.v_kind[j], sign):
        return
    if c.v_denormal[0] or c.v_denormal[1]:
        c.f_flags |= DE
        if not c.f_masks & DE:
            return
    if op == OP_MUL:
        rounds = multiply(c, sign)
    elif op >= OP_DIV:
        rounds = divide(c, i, j, sign)
    else:
        rounds = add(c, i, j, op != OP_ADD)
    if rounds:
        finish(c, prec, least, most)


def undefined(c, op, a, b, sign):
    """Whether operands of kinds `a` and `b` have no finite result: that is given, and its exception noted."""
    if op == OP_MUL:
        if (a == ZERO and b == INFINITE) or (a == INFINITE and b == ZERO):
            give_invalid(c)
            return 1
    elif op >= OP_DIV:
        if a == b and a != FINITE:
            give_invalid(c)
            return 1
        if b == ZERO and a == FINITE:
            c.f_flags |= ZE  # and nothing is said of a denormal dividend
            give(c, sign, SPECIAL_EXP, TOP)
            return 1
    elif a == INFINITE and b == INFINITE and (sign == 1) == (op == OP_ADD):
        give_invalid(c)
        return 1
    return 0


def multiply(c, sign):
    """The product of any two operands that have one; whether it has to be rounded."""
    if c.v_kind[0] == FINITE and c.v_kind[1] == FINITE:
        multiply_finite(c)
        return 1
    if c.v_kind[0] == INFINITE or c.v_kind[1] == INFINITE:
        give(c, sign, SPECIAL_EXP, TOP)
    else:
        give(c, sign, 0, 0)
    return 0


def divide(c, i, j, sign):
    """Operand `i` / operand `j`, any two that have a quotient; whether it has to be rounded."""
    if c.v_kind[i] == FINITE and c.v_kind[j] == FINITE:
        divide_finite(c, i, j)
        return 1
    if c.v_kind[i] == INFINITE:
        give(c, sign, SPECIAL_EXP, TOP)
    else:
        give(c, sign, 0, 0)
    return 0


def add(c, i, j, negate):
    """Operand `i` plus or minus operand `j`, any two that have a sum; whether it has to be rounded."""
    a: u32 = c.v_kind[i]
    b: u32 = c.v_kind[j]
    if a == FINITE and b == FINITE:
        add_finite(c, i, j, negate)
    elif a == ZERO and b == ZERO:
        give(c, c.v_sign[i] if c.v_sign[i] == c.v_sign[j] ^ negate else c.f_round == DOWN, 0, 0)
    elif a == INFINITE or b == ZERO:
        give_operand(c, i)
    else:
        give_operand(c, j)
        c.x_sign ^= negate
    return c.x_hi != 0 and a != INFINITE and b != INFINITE


def square_root(c, prec, least, most):
    """The square root of operand 0, not a NaN, rounded."""
    if c.v_kind[0] == ZERO:
        give_operand(c, 0)
    elif c.v_sign[0]:
        give_invalid(c)
    elif c.v_kind[0] == INFINITE:
        give_operand(c, 0)
    else:
        if c.v_denormal[0]:
            c.f_flags |= DE
            if not c.f_masks & DE:
                return
        square_root_finite(c)
        finish(c, prec, least, most)


def compare(c):
    """Operand 0 with operand 1, neither a NaN."""
    less: u32
    if c.v_denormal[0] or c.v_denormal[1]:
        c.f_flags |= DE
    if c.v_kind[0] == ZERO and c.v_kind[1] == ZERO:
        return EQUAL
    if c.v_kind[0] == ZERO:
        return GREATER if c.v_sign[1] else LESS
    if c.v_kind[1] == ZERO or c.v_sign[0] != c.v_sign[1]:
        return LESS if c.v_sign[0] else GREATER
    if c.v_exp[0] == c.v_exp[1] and c.v_sig[0] == c.v_sig[1]:
        return EQUAL
    less = c.v_exp[0] < c.v_exp[1] or (c.v_exp[0] == c.v_exp[1] and c.v_sig[0] < c.v_sig[1])
    return LESS if less ^ c.v_sign[0] else GREATER


def set_relation(c, relation):
    """Say it in EFLAGS, as FCOMI and COMISS do: ZF, PF and CF; the others are 0."""
    if relation == LESS:
        flags.set_status(c, F_CF)
    elif relation == EQUAL:
        flags.set_status(c, F_ZF)
    elif relation == UNORDERED:
        flags.set_status(c, F_ZF | F_PF | F_CF)
    else:
        flags.set_status(c, 0)


def to_integer(c):
    """Round operand 0, finite or zero, to an integer: its magnitude in `x_hi`, its sign in `x_sign`.

    Returns 0 when the magnitude has more than 64 bits. PE says that it was no integer.
    """
    c.x_sign = c.v_sign[0]
    c.x_hi = c.v_sig[0]
    c.x_lo = 0
    c.f_up = 0
    if c.v_kind[0] == ZERO:
        return 1
    if c.v_exp[0] > BIAS + 63:
        return 0
    shift_right(c, BIAS + 63 - c.v_exp[0])
    if c.x_lo:
        c.f_flags |= PE
        c.f_up = rounds_up(c, c.x_hi & 1, c.x_lo)
        c.x_hi += c.f_up
        c.x_lo = 0
    return 1


def remainder(c, nearest):
    """FPREM, or with `nearest` FPREM1, of two finite operands that are not zero.

    Returns the low bits of the quotient; bit 3 says that the reduction is partial.
    """
    d: s64 = c.v_exp[0] - c.v_exp[1]
    n: s64 = d
    a: u64 = c.v_sig[0]
    b: u64 = c.v_sig[1]
    q: u64 = 0
    digit: u64
    low: u64
    give_operand(c, 0)
    if d < 0:
        if nearest and d == -1 and a > b:
            c.x_hi = b - (a - b)
            c.x_sign ^= 1
            q = 1
            normalise(c)
        return cython.cast(u32, q)
    if d >= 64:
        n = (d & 31) | 32
    if a >= b:
        a -= b
        q = 1
    if n:
        low = (a << n) & M64
        digit = divide_wide(a >> (64 - n), low, b)
        a = (low - digit * b) & M64
        q = (q << n) + digit
    c.x_exp = c.v_exp[1] + d - n
    if n == d and nearest and (a > b - a or (a == b - a and q & 1)):
        a = b - a
        c.x_sign ^= 1
        q += 1
    c.x_hi = a
    if a:
        normalise(c)
    else:
        c.x_exp = 0
    return (q & 7) | (8 if n != d else 0)
