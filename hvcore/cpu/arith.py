"""Multiplication, division, double shifts, bit operations, decimal adjustment (SDM vol. 2, per instruction)."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands
    from cython.cimports.hvcore.cpu.decode import extend
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import flags, mmu, operands
    from hvcore.cpu.constants import *
    from hvcore.cpu.decode import extend


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
        mmu.exception_plain(c, VEC_DE)
        return
    if sub == DIVIDE_SIGNED:
        negative = ((n >> (2 * bits - 1)) ^ (v >> (bits - 1))) & 1
        top = n >> (2 * bits - 1)
        n = magnitude(n, wide)
        d = magnitude(v, size)
        q = n // d
        r = n % d
        if q > SIZE_SIGN[size] - 1 + negative:
            mmu.exception_plain(c, VEC_DE)
            return
        if negative:
            q = (0 - q) & M64
        if top:
            r = (0 - r) & M64
    else:
        q = n // d
        r = n % d
        if q > SIZE_MASK[size]:
            mmu.exception_plain(c, VEC_DE)
            return
    q &= SIZE_MASK[size]
    r &= SIZE_MASK[size]
    if size == 0:
        operands.put(c, RAX, 0, 1, q | (r << 8))
    else:
        operands.put(c, RAX, 0, size, q)
        operands.put(c, RDX, 0, size, r)


def double_shift(c, right, a, b, count, size):
    """SHLD and SHRD of `a` with bits from `b`.

    A count over the operand size (16-bit operands only) is undefined by Intel; this goes on into the
    destination again, as the P6 family does.
    """
    bits: u32 = 8 << size
    n: u32 = count & (63 if size == 3 else 31)
    mask: u64 = SIZE_MASK[size]
    r: u64
    cf: u32
    wide: u64
    if n == 0:
        return a
    if size == 1:
        if right:
            wide = a | (b << 16) | (a << 32)
            r = (wide >> n) & mask
            cf = (wide >> (n - 1)) & 1
        else:
            wide = (a << 32) | (b << 16) | a
            r = ((wide << n) >> 32) & mask
            cf = (wide >> (48 - n)) & 1
    elif right:
        r = ((a >> n) | (b << (bits - n))) & mask
        cf = (a >> (n - 1)) & 1
    else:
        r = ((a << n) | (b >> (bits - n))) & mask
        cf = (a >> (bits - n)) & 1
    c.cc_op = CC_SHIFT
    c.cc_size = size
    c.cc_res = r
    c.cc_cf = cf
    c.cc_a = ((r ^ a) >> (bits - 1)) & 1
    return r


def bit_test(c, sub, a, bit, size):
    """BT, BTS, BTR or BTC, as `sub` says: CF becomes the bit, other flags stay. Returns the changed value."""
    one: u64 = 1
    mask: u64 = one << (bit & ((8 << size) - 1))
    flags.set_carry(c, (a & mask) != 0)
    if sub == BIT_SET:
        return a | mask
    elif sub == BIT_RESET:
        return a & (mask ^ M64)
    elif sub == BIT_COMPLEMENT:
        return a ^ mask
    return a


def scan_forward(v):
    """The number of the lowest set bit; `v` is not 0."""
    n: u64 = 0
    while not (v >> n) & 1:
        n += 1
    return n


def scan_reverse(v):
    """The number of the highest set bit; `v` is not 0."""
    n: u64 = 63
    while not (v >> n) & 1:
        n -= 1
    return n


def set_zero_flag(c, zf):
    """Set or clear ZF alone."""
    f: u32 = flags.status(c) & (F_ZF ^ M32)
    flags.set_status(c, f | F_ZF if zf else f)


def compare_exchange_8_bytes(c, seg, off):
    """CMPXCHG8B."""
    old: u64 = mmu.read_to_modify(c, seg, off, 3)
    wanted: u64 = (c.regs[RAX] & M32) | ((c.regs[RDX] & M32) << 32)
    if c.fault:
        return
    if old == wanted:
        mmu.write(c, seg, off, (c.regs[RBX] & M32) | ((c.regs[RCX] & M32) << 32), 3)
        set_zero_flag(c, 1)
    else:
        mmu.write(c, seg, off, old, 3)
        c.regs[RAX] = old & M32
        c.regs[RDX] = old >> 32
        set_zero_flag(c, 0)


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
            mmu.exception_plain(c, VEC_DE)
            return
        ah = al // imm
        al = al % imm
        operands.put(c, RAX, 0, 1, al | (ah << 8))
        flags.logic(c, al, 0)
    else:
        al = (al + ah * imm) & 0xFF
        operands.put(c, RAX, 0, 1, al)
        flags.logic(c, al, 0)
