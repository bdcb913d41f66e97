"""Single bits, and shifts over two registers (SDM vol. 1 §7.3.6)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import decode, flags, mmu, operands
    from cython.cimports.hvcore.cpu.kinds import (
        BSF_M, BSF_R, BSR_M, BSR_R, BT_M, BT_MI, BT_R, BT_RI, SHLD_MC, SHLD_MI, SHLD_RC, SHLD_RI, SHRD_MC,
        SHRD_MI, SHRD_RC, SHRD_RI,
    )
    from cython.cimports.hvcore.cpu.state import (
        BIT_COMPLEMENT, BIT_RESET, BIT_SET, BIT_TEST, CC_SHIFT, M64, RCX, SIZE_MASK, u32, u64,
    )
else:
    from hvcore.cpu import decode, flags, mmu, operands
    from hvcore.cpu.constants import (
        BIT_COMPLEMENT, BIT_RESET, BIT_SET, BIT_TEST, BSF_M, BSF_R, BSR_M, BSR_R, BT_M, BT_MI, BT_R, BT_RI,
        CC_SHIFT, M64, RCX, SHLD_MC, SHLD_MI, SHLD_RC, SHLD_RI, SHRD_MC, SHRD_MI, SHRD_RC, SHRD_RI, SIZE_MASK,
        u32, u64,
    )
# fmt: on


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


def operate(c, o):
    """BT BTS BTR BTC, BSF BSR, SHLD SHRD."""
    kind: u32 = o.kind
    a: u64
    b: u64
    r: u64
    ea: u64
    if kind == BT_R or kind == BT_RI:
        b = o.imm if kind == BT_RI else c.regs[o.rm]
        a = bit_test(c, o.sub, operands.get(c, o.reg, 0, o.size), b, o.size)
        if o.sub > BIT_TEST:
            operands.put(c, o.reg, 0, o.size, a)
    elif kind == BT_M or kind == BT_MI:
        ea = operands.address(c, o)
        b = o.imm
        if kind == BT_M:  # the bit number is signed and reaches beyond the operand
            b = operands.get(c, o.reg, 0, o.size)
            a = decode.extend(b, o.size)
            r = ((a >> (3 + o.size)) << o.size) | (((M64 << (61 - o.size)) & M64) if a >> 63 else 0)
            ea = (ea + r) & SIZE_MASK[o.addr]
        a = mmu.read_to_modify(c, o.seg, ea, o.size) if o.sub > BIT_TEST else mmu.read(c, o.seg, ea, o.size)
        if c.fault:
            return
        r = bit_test(c, o.sub, a, b, o.size)
        if o.sub > BIT_TEST:
            mmu.write(c, o.seg, ea, r, o.size)
    elif kind == BSF_R or kind == BSF_M or kind == BSR_R or kind == BSR_M:
        if kind == BSF_M or kind == BSR_M:
            a = mmu.read(c, o.seg, operands.address(c, o), o.size)
            if c.fault:
                return
        else:
            a = operands.get(c, o.rm, 0, o.size)
        if a:
            b = scan_forward(a) if kind == BSF_R or kind == BSF_M else scan_reverse(a)
            operands.put(c, o.reg, 0, o.size, b)
        flags.logic(c, a, o.size)
    elif kind == SHLD_RI or kind == SHLD_RC or kind == SHRD_RI or kind == SHRD_RC:
        b = o.imm if kind == SHLD_RI or kind == SHRD_RI else c.regs[RCX]
        a = operands.get(c, o.reg, 0, o.size)
        r = operands.get(c, o.rm, 0, o.size)
        r = double_shift(c, kind == SHRD_RI or kind == SHRD_RC, a, r, b & 0xFF, o.size)
        operands.put(c, o.reg, 0, o.size, r)
    elif kind == SHLD_MI or kind == SHLD_MC or kind == SHRD_MI or kind == SHRD_MC:
        b = o.imm if kind == SHLD_MI or kind == SHRD_MI else c.regs[RCX]
        ea = operands.address(c, o)
        a = mmu.read_to_modify(c, o.seg, ea, o.size)
        if c.fault:
            return
        r = operands.get(c, o.reg, 0, o.size)
        r = double_shift(c, kind == SHRD_MI or kind == SHRD_MC, a, r, b & 0xFF, o.size)
        mmu.write(c, o.seg, ea, r, o.size)
