"""Loads, stores and constants of the x87: FLD, FILD, FBLD, FST, FIST, FBSTP, FLD1, FCMOV (SDM vol. 1 §8.3.3, §8.3.4).

Nothing changes before the memory operand is known to be good.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands
    from cython.cimports.hvcore.cpu.fp import softfloat, x87_registers
    from cython.cimports.hvcore.cpu.state import M64, SIZE_MASK, SIZE_SIGN, s64, u32, u64
else:
    from hvcore.cpu import flags, mmu, operands
    from hvcore.cpu.constants import M64, SIZE_MASK, SIZE_SIGN, s64, u32, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat, x87_registers

    globals().update(enums("fp/x87_transfer.pxd"))
    PI_SIG = 0xC90F_DAA2_2168_C235
    L2T_SIG = 0xD49A_784B_CD1B_8AFE
    L2E_SIG = 0xB8AA_3B29_5C17_F0BC
    LG2_SIG = 0x9A20_9A84_FBCF_F799
    LN2_SIG = 0xB172_17F7_D1CF_79AC
    BCD_LIMIT = 10**18 - 1
    BCD_INDEFINITE = 0xC000_0000_0000_0000


# Loads


def read_operand(c, o, form, v):
    """Unpack the memory operand of one form (`REAL32` and so on) as operand `v`; 0 if that faults."""
    size: u32 = 3 if form == REAL64 else 1 if form == INTEGER16 else 2
    value: u64 = mmu.read(c, o.seg, operands.address(c, o), size)
    sign: u32
    if c.fault:
        return 0
    if form == REAL32:
        softfloat.load32(c, v, value)
    elif form == REAL64:
        softfloat.load64(c, v, value)
    else:
        sign = (value & SIZE_SIGN[size]) != 0
        softfloat.load_integer(c, v, sign, (0 - value) & SIZE_MASK[size] if sign else value)
    return 1


def load_extended(c, o):
    """FLD of 80 bits: as they are, even a signalling NaN."""
    off: u64 = operands.address(c, o)
    sig: u64 = mmu.read(c, o.seg, off, 3)
    se: u32
    if c.fault:
        return
    se = cython.cast(u32, mmu.read(c, o.seg, (off + 8) & SIZE_MASK[o.addr], 1))
    if c.fault:
        return
    if x87_registers.stack_overflow(c):
        x87_registers.push_answer(c)
    else:
        x87_registers.conclude(c)
        x87_registers.push(c, se, sig)


def load_integer64(c, o):
    """FILD of 64 bits."""
    value: u64 = mmu.read(c, o.seg, operands.address(c, o), 3)
    if c.fault:
        return
    softfloat.load_integer(c, 0, value >> 63, (0 - value) & M64 if value >> 63 else value)
    x87_registers.push_operand(c)


def load_decimal(c, o):
    """FBLD: 18 decimal digits and a sign; a digit above 9 counts as it is."""
    off: u64 = operands.address(c, o)
    digits: u64 = mmu.read(c, o.seg, off, 3)
    top: u64
    value: u64 = 0
    i: u32
    if c.fault:
        return
    top = mmu.read(c, o.seg, (off + 8) & SIZE_MASK[o.addr], 1)
    if c.fault:
        return
    value = ((top >> 4) & 15) * 10 + (top & 15)
    for i in range(16):
        value = value * 10 + ((digits >> (60 - 4 * i)) & 15)
    softfloat.load_integer(c, 0, (top >> 15) & 1, value & M64)
    x87_registers.push_operand(c)


def constant(c, which):
    """FLD1 to FLDZ; the irrational ones obey the rounding control."""
    exp: s64 = softfloat.BIAS
    sig: u64 = softfloat.TOP
    below: u32 = c.f_round == softfloat.DOWN or c.f_round == softfloat.CHOP
    if which == x87_registers.FLDL2T:  # the only one that is rounded down to nearest
        exp = softfloat.BIAS + 1
        sig = L2T_SIG + (c.f_round == softfloat.UP)
    elif which == x87_registers.FLDL2E:
        sig = L2E_SIG - below
    elif which == x87_registers.FLDPI:
        exp = softfloat.BIAS + 1
        sig = PI_SIG - below
    elif which == x87_registers.FLDLG2:
        exp = softfloat.BIAS - 2
        sig = LG2_SIG - below
    elif which == x87_registers.FLDLN2:
        exp = softfloat.BIAS - 1
        sig = LN2_SIG - below
    elif which == x87_registers.FLDZ:
        exp = 0
        sig = 0
    if not x87_registers.stack_overflow(c):
        softfloat.give(c, 0, exp, sig)
    x87_registers.push_answer(c)


def conditional_move(c, code, i):
    """FCMOVcc: ST(0) = ST(i) where the condition holds, numbered as Jcc numbers it."""
    n: u32 = (c.fp_top + i) & 7
    if not x87_registers.full(c, 0) or not x87_registers.full(c, i):
        x87_registers.stack_underflow(c)
        x87_registers.answer(c, 0)
        return
    if flags.condition(c, code):
        x87_registers.set_register(c, 0, c.fp_se[n], c.fp_sig[n])


# Stores


def store_real(c, o, size, pops):
    """FST and FSTP to single (`size` 2) or double precision (3)."""
    value: u64
    if x87_registers.load_top(c) and not x87_registers.one_nan(c):
        softfloat.give_operand(c, 0)
        if c.v_kind[0] == softfloat.FINITE:
            if size == 2:
                softfloat.finish(c, softfloat.PREC32, softfloat.MIN32, softfloat.MAX32)
            else:
                softfloat.finish(c, softfloat.PREC64, softfloat.MIN64, softfloat.MAX64)
    if not c.f_flags & (softfloat.IE | softfloat.OE | softfloat.UE) & (c.f_masks ^ softfloat.EXCEPTIONS):
        value = softfloat.pack32(c) if size == 2 else softfloat.pack64(c)
        mmu.write(c, o.seg, operands.address(c, o), value, size)
        if c.fault:
            return
        x87_registers.conclude(c)
        if pops:
            x87_registers.pop(c)
        return
    if c.f_flags & (softfloat.OE | softfloat.UE):  # not stored, so not rounded
        c.f_up = 0
        c.f_flags &= softfloat.PE ^ (softfloat.EXCEPTIONS | softfloat.STACK_FAULT)
    x87_registers.conclude(c)


def store_integer(c, o, size, pops):
    """FIST and FISTP of 16, 32 or 64 bits (`size` 1 to 3): the integer indefinite for what does not fit."""
    limit: u64 = SIZE_SIGN[size]
    value: u64
    if x87_registers.load_top(c) and (
        c.v_kind[0] >= softfloat.INFINITE or not softfloat.to_integer(c) or c.x_hi > limit - 1 + c.x_sign
    ):
        c.f_flags = softfloat.IE
        c.f_up = 0
    value = limit
    if not c.f_flags & softfloat.IE:
        value = (0 - c.x_hi) & M64 if c.x_sign else c.x_hi
    if not c.f_flags & softfloat.IE & (c.f_masks ^ softfloat.EXCEPTIONS):
        mmu.write(c, o.seg, operands.address(c, o), value & SIZE_MASK[size], size)
        if c.fault:
            return
        x87_registers.conclude(c)
        if pops:
            x87_registers.pop(c)
        return
    x87_registers.conclude(c)


def store_ten_bytes(c, o, off, low, high):
    """Store what FSTP and FBSTP have made of the top, all or nothing, and pop it."""
    if not mmu.check_write(c, o.seg, off, 10):
        return
    mmu.write(c, o.seg, off, low, 3)
    if c.fault:
        return
    mmu.write(c, o.seg, (off + 8) & SIZE_MASK[o.addr], high, 1)
    if c.fault:
        return
    x87_registers.conclude(c)
    x87_registers.pop(c)


def store_extended(c, o):
    """FSTP to 80 bits."""
    off: u64 = operands.address(c, o)
    se: u32 = c.fp_se[c.fp_top]
    sig: u64 = c.fp_sig[c.fp_top]
    if not x87_registers.full(c, 0):
        x87_registers.stack_underflow(c)
        se = softfloat.NEGATIVE_SPECIAL
        sig = softfloat.DEFAULT_NAN
        if not c.f_masks & softfloat.IE:
            x87_registers.conclude(c)
            return
    store_ten_bytes(c, o, off, sig, se)


def store_decimal(c, o):
    """FBSTP: 18 decimal digits and a sign, or the decimal indefinite."""
    off: u64 = operands.address(c, o)
    low: u64 = BCD_INDEFINITE
    high: u64 = BCD_INDEFINITE_HIGH
    value: u64
    i: u32
    if x87_registers.load_top(c):
        if c.v_kind[0] >= softfloat.INFINITE or not softfloat.to_integer(c) or c.x_hi > BCD_LIMIT:
            c.f_flags = softfloat.IE
            c.f_up = 0
        else:
            value = c.x_hi
            low = 0
            for i in range(16):
                low |= (value % 10) << (4 * i)
                value = value // 10
            high = (value % 10) | ((value // 10) << 4) | (0x8000 if c.x_sign else 0)
    if c.f_flags & softfloat.IE & (c.f_masks ^ softfloat.EXCEPTIONS):
        x87_registers.conclude(c)
        return
    store_ten_bytes(c, o, off, low, high)
