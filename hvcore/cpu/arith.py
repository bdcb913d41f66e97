"""Multiplication, division and decimal adjustment (SDM vol. 2, per instruction)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, flags, operands
    from cython.cimports.hvcore.cpu.decode import extend
    from cython.cimports.hvcore.cpu.kinds import AAA, AAM, AAS, DAA, DAS
    from cython.cimports.hvcore.cpu.state import (
        CC_SHIFT, DIVIDE, DIVIDE_SIGNED, F_AF, F_CF, M32, M64, MULTIPLY, RAX, RDX, SIZE_MASK, SIZE_SIGN,
        VEC_DE, u32, u64,
    )
else:
    from hvcore.cpu import faults, flags, operands
    from hvcore.cpu.constants import (
        AAA, AAM, AAS, CC_SHIFT, DAA, DAS, DIVIDE, DIVIDE_SIGNED, F_AF, F_CF, M32, M64, MULTIPLY, RAX, RDX,
        SIZE_MASK, SIZE_SIGN, VEC_DE, u32, u64,
    )
    from hvcore.cpu.decode import extend
# fmt: on


def multiplied(c, result, too_big, size):
    """The flags of a multiplication: CF and OF say that the upper half matters."""
    c.cc_op = CC_SHIFT
    c.cc_size = size
    c.cc_res = result
    c.cc_cf = too_big
    c.cc_a = too_big


def imul(c, a, b, size):
    """IMUL with two or three operands, up to 32 bits: the low half of the product, and the flags."""
    product: u64 = (extend(a, size) * extend(b, size)) & M64
    r: u64 = product & SIZE_MASK[size]
    multiplied(c, r, extend(r, size) != product, size)
    return r


def mul_div(c, sub, v, size):
    """MUL, IMUL, DIV or IDIV (`sub` is MULTIPLY to DIVIDE_SIGNED) of the accumulator by `v`, up to 32 bits."""
    a: u64 = c.regs[RAX] & SIZE_MASK[size]
    product: u64
    bits: u32 = 8 << size
    if sub >= DIVIDE:
        divide(c, sub, v, size)
        return
    if sub == MULTIPLY:
        product = (a * v) & M64
        multiplied(c, product & SIZE_MASK[size], (product >> bits) != 0, size)
    else:
        product = (extend(a, size) * extend(v, size)) & M64
        multiplied(c, product & SIZE_MASK[size], extend(product & SIZE_MASK[size], size) != product, size)
    if size == 0:
        operands.put(c, RAX, 0, 1, product & 0xFFFF)
    else:
        operands.put(c, RAX, 0, size, product & SIZE_MASK[size])
        operands.put(c, RDX, 0, size, (product >> bits) & SIZE_MASK[size])


def magnitude(v, size):
    """The absolute value of a signed number of `size`."""
    if v & SIZE_SIGN[size]:
        return ((v ^ SIZE_MASK[size]) + 1) & SIZE_MASK[size]
    return v


def divide(c, sub, v, size):
    """DIV and IDIV; #DE when the quotient does not fit. The flags are undefined and left alone."""
    bits: u32 = 8 << size
    wide: u32 = size + 1
    n: u64
    d: u64 = v
    q: u64
    r: u64
    top: u64
    negative: u32 = 0
    if size == 0:
        n = c.regs[RAX] & 0xFFFF
    else:
        top = c.regs[RDX] & SIZE_MASK[size]
        n = (c.regs[RAX] & SIZE_MASK[size]) | (top << bits)
    if v == 0:
        faults.exception_plain(c, VEC_DE)
        return
    if sub == DIVIDE_SIGNED:
        negative = ((n >> (2 * bits - 1)) ^ (v >> (bits - 1))) & 1
        top = n >> (2 * bits - 1)
        n = magnitude(n, wide)
        d = magnitude(v, size)
        q = n // d
        r = n % d
        if q > SIZE_SIGN[size] - 1 + negative:
            faults.exception_plain(c, VEC_DE)
            return
        if negative:
            q = (0 - q) & M64
        if top:
            r = (0 - r) & M64
    else:
        q = n // d
        r = n % d
        if q > SIZE_MASK[size]:
            faults.exception_plain(c, VEC_DE)
            return
    q &= SIZE_MASK[size]
    r &= SIZE_MASK[size]
    if size == 0:
        operands.put(c, RAX, 0, 1, q | (r << 8))
    else:
        operands.put(c, RAX, 0, size, q)
        operands.put(c, RDX, 0, size, r)


def decimal(c, kind, imm):
    """DAA DAS AAA AAS AAM AAD. Flags that Intel leaves undefined follow the result."""
    al: u64 = c.regs[RAX] & 0xFF
    ah: u64 = (c.regs[RAX] >> 8) & 0xFF
    f: u32 = flags.status(c)
    cf: u32 = f & F_CF
    af: u32 = f & F_AF
    low: u32 = (al & 15) > 9 or af
    if kind == DAA or kind == DAS:
        high: u32 = al > 0x99 or cf
        cf = high
        if kind == DAA:
            al += (6 if low else 0) + (0x60 if high else 0)
        else:
            if low and al < 6:
                cf = 1
            al -= (6 if low else 0) + (0x60 if high else 0)
        al &= 0xFF
        operands.put(c, RAX, 0, 0, al)
        flags.logic(c, al, 0)
        f = flags.status(c) & ((F_CF | F_AF) ^ M32)
        flags.set_status(c, f | (F_CF if cf else 0) | (F_AF if low else 0))
    elif kind == AAA or kind == AAS:
        if low:
            if kind == AAA:
                operands.put(c, RAX, 0, 1, (c.regs[RAX] + 0x106) & 0xFFFF)
            else:
                operands.put(c, RAX, 0, 1, (c.regs[RAX] - 0x106) & 0xFFFF)
        al = c.regs[RAX] & 15
        operands.put(c, RAX, 0, 0, al)
        flags.logic(c, al, 0)
        f = flags.status(c) & ((F_CF | F_AF) ^ M32)
        flags.set_status(c, f | ((F_CF | F_AF) if low else 0))
    elif kind == AAM:
        if imm == 0:
            faults.exception_plain(c, VEC_DE)
            return
        ah = al // imm
        al = al % imm
        operands.put(c, RAX, 0, 1, al | (ah << 8))
        flags.logic(c, al, 0)
    else:
        al = (al + ah * imm) & 0xFF
        operands.put(c, RAX, 0, 1, al)
        flags.logic(c, al, 0)
