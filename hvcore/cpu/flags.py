"""The status flags, and the operations that set all of them (SDM vol. 1 §3.4.3.1, vol. 2 per instruction).

An operation leaves what the flags can be computed from (`cc_*`) and most are never asked for. Operands and
results are masked to the operand size; `cc_size` names it.

| cc_op    | CF                  | OF, AF               | cc_a, cc_b         |
|----------|---------------------|----------------------|--------------------|
| CC_ADD, CC_ADC, CC_SUB, CC_SBB | from operands and result | same | the operands |
| CC_LOGIC | 0                   | 0                    |                    |
| CC_INC, CC_DEC | kept in `cc_cf` | from the result     |                    |
| CC_SHIFT | `cc_cf`             | `cc_a`, AF 0         | OF                 |
| CC_FLAGS | all six stand in `cc_a` as they stand in EFLAGS |   |                |

Instructions that change CF alone, or CF and OF, leave the others where they come from: CC_CARRY_APART in `cc_op` says
that CF is `cc_cf`, and CC_OVERFLOW_APART that OF is `cc_of`.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import mmu
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADC, ALU_ADD, ALU_AND, ALU_CMP, ALU_OR, ALU_SUB, ALU_TEST, ALU_XOR, CC_ADC, CC_ADD, CC_BASE,
        CC_CARRY_APART, CC_DEC, CC_FLAGS, CC_INC, CC_LOGIC, CC_OVERFLOW_APART, CC_SBB, CC_SHIFT, CC_SUB, F_AC,
        F_AF, F_CF, F_OF, F_ONE, F_PF, F_RESERVED, F_RF, F_SF, F_STATUS, F_TF, F_ZF, M32, M64, RCL, ROL, ROR,
        SAR, SHL, SHR, SIZE_MASK, SIZE_SIGN, SPECIAL_RESUME, SPECIAL_TRAP, TEST_B, TEST_BE, TEST_L, TEST_O,
        TEST_P, TEST_S, TEST_Z, u32, u64,
    )
else:
    from hvcore.cpu import mmu
    from hvcore.cpu.constants import (
        ALU_ADC, ALU_ADD, ALU_AND, ALU_CMP, ALU_OR, ALU_SUB, ALU_TEST, ALU_XOR, CC_ADC, CC_ADD, CC_BASE,
        CC_CARRY_APART, CC_DEC, CC_FLAGS, CC_INC, CC_LOGIC, CC_OVERFLOW_APART, CC_SBB, CC_SHIFT, CC_SUB, F_AC,
        F_AF, F_CF, F_OF, F_ONE, F_PF, F_RESERVED, F_RF, F_SF, F_STATUS, F_TF, F_ZF, M32, M64, RCL, ROL, ROR,
        SAR, SHL, SHR, SIZE_MASK, SIZE_SIGN, SPECIAL_RESUME, SPECIAL_TRAP, TEST_B, TEST_BE, TEST_L, TEST_O,
        TEST_P, TEST_S, TEST_Z, u32, u64,
    )
# fmt: on


def carry(c):
    """CF, 0 or 1."""
    op: u32 = c.cc_op
    if op == CC_SUB:
        return c.cc_a < c.cc_b
    elif op == CC_ADD:
        return c.cc_res < c.cc_a
    elif op == CC_LOGIC:
        return 0
    elif op == CC_ADC:
        return (((c.cc_a & c.cc_b) | ((c.cc_a | c.cc_b) & (c.cc_res ^ M64))) & SIZE_SIGN[c.cc_size]) != 0
    elif op == CC_SBB:
        return (
            (((c.cc_a ^ M64) & c.cc_b) | (((c.cc_a ^ c.cc_b) ^ M64) & c.cc_res)) & SIZE_SIGN[c.cc_size]
        ) != 0
    elif op == CC_FLAGS:
        return c.cc_a & F_CF
    return c.cc_cf


def overflow(c):
    """OF, 0 or 1."""
    op: u32 = c.cc_op & CC_BASE
    if c.cc_op & CC_OVERFLOW_APART:
        return c.cc_of
    if op == CC_SUB or op == CC_SBB:
        return (((c.cc_a ^ c.cc_b) & (c.cc_a ^ c.cc_res)) & SIZE_SIGN[c.cc_size]) != 0
    elif op == CC_ADD or op == CC_ADC:
        return (((c.cc_a ^ c.cc_res) & (c.cc_b ^ c.cc_res)) & SIZE_SIGN[c.cc_size]) != 0
    elif op == CC_INC:
        return c.cc_res == SIZE_SIGN[c.cc_size]
    elif op == CC_DEC:
        return c.cc_res == SIZE_SIGN[c.cc_size] - 1
    elif op == CC_SHIFT:
        return c.cc_a
    elif op == CC_FLAGS:
        return (c.cc_a & F_OF) != 0
    return 0


def adjust(c):
    """AF, 0 or 1: the carry out of bit 3."""
    op: u32 = c.cc_op & CC_BASE
    if op == CC_INC:
        return (c.cc_res & 15) == 0
    elif op == CC_DEC:
        return (c.cc_res & 15) == 15
    elif op == CC_LOGIC or op == CC_SHIFT:
        return 0
    elif op == CC_FLAGS:
        return (c.cc_a & F_AF) != 0
    return ((c.cc_a ^ c.cc_b ^ c.cc_res) >> 4) & 1


def parity(result):
    """PF: set when the low byte has an even number of ones."""
    return (0x9669 >> ((result ^ (result >> 4)) & 15)) & 1


def status(c):
    """The six status flags as they stand in EFLAGS."""
    value: u32
    if c.cc_op & CC_BASE == CC_FLAGS:
        value = c.cc_a & (F_STATUS ^ (F_CF | F_OF))
        return value | carry(c) | (overflow(c) << 11)
    value = carry(c) | (parity(c.cc_res) << 2) | (adjust(c) << 4) | (overflow(c) << 11)
    if c.cc_res == 0:
        value |= F_ZF
    if c.cc_res & SIZE_SIGN[c.cc_size]:
        value |= F_SF
    return value


def set_status(c, value):
    """Set all six status flags."""
    c.cc_op = CC_FLAGS
    c.cc_a = value & F_STATUS


def set_zero_flag(c, zf):
    """Set or clear ZF alone."""
    f: u32 = status(c) & (F_ZF ^ M32)
    set_status(c, f | F_ZF if zf else f)


def condition(c, code):
    """Whether condition `code` (the low four bits of Jcc, SETcc, CMOVcc) holds, 0 or 1."""
    f: u32 = status(c)
    v: u32
    k: u32 = code >> 1
    if k == TEST_O:
        v = f & F_OF
    elif k == TEST_B:
        v = f & F_CF
    elif k == TEST_Z:
        v = f & F_ZF
    elif k == TEST_BE:
        v = f & (F_CF | F_ZF)
    elif k == TEST_S:
        v = f & F_SF
    elif k == TEST_P:
        v = f & F_PF
    elif k == TEST_L:
        v = ((f >> 7) ^ (f >> 11)) & 1
    else:  # TEST_LE
        v = (((f >> 7) ^ (f >> 11)) & 1) | (f & F_ZF)
    return (v != 0) ^ (code & 1)


def get_eflags(c):
    """EFLAGS with the status flags computed."""
    return c.flags | F_ONE | status(c)


def set_eflags(c, value):
    """Set EFLAGS whole; the caller has masked what may not change. Keeps TF's share of `special` right."""
    set_status(c, value & F_STATUS)
    c.flags = value & ((F_STATUS | F_ONE | F_RESERVED) ^ M64)
    if c.flags & F_TF:
        c.special |= SPECIAL_TRAP
    else:
        c.special &= SPECIAL_TRAP ^ M32
    if c.flags & F_RF:
        c.special |= SPECIAL_RESUME
    if c.flags & F_AC or c.aligning:
        mmu.update_alignment(c)


def logic(c, result, size):
    """The flags of AND, OR, XOR and TEST."""
    c.cc_op = CC_LOGIC
    c.cc_size = size
    c.cc_res = result


def alu(c, sub, a, b, size):
    """ADD OR ADC SBB AND SUB XOR CMP and TEST (`sub` is ALU_ADD to ALU_TEST); returns the result."""
    mask: u64 = SIZE_MASK[size]
    r: u64
    op: u32
    if sub == ALU_ADD:
        r = (a + b) & mask
        op = CC_ADD
    elif sub == ALU_SUB or sub == ALU_CMP:
        r = (a - b) & mask
        op = CC_SUB
    elif sub == ALU_AND or sub == ALU_TEST:
        r = a & b
        op = CC_LOGIC
    elif sub == ALU_OR:
        r = a | b
        op = CC_LOGIC
    elif sub == ALU_XOR:
        r = a ^ b
        op = CC_LOGIC
    elif sub == ALU_ADC:
        r = (a + b + carry(c)) & mask
        op = CC_ADC
    else:
        r = (a - b - carry(c)) & mask
        op = CC_SBB
    c.cc_op = op
    c.cc_size = size
    c.cc_a = a
    c.cc_b = b
    c.cc_res = r
    return r


def increment(c, a, size):
    """INC: all but CF."""
    c.cc_cf = carry(c)
    c.cc_op = CC_INC
    c.cc_size = size
    c.cc_res = (a + 1) & SIZE_MASK[size]
    return c.cc_res


def decrement(c, a, size):
    """DEC: all but CF."""
    c.cc_cf = carry(c)
    c.cc_op = CC_DEC
    c.cc_size = size
    c.cc_res = (a - 1) & SIZE_MASK[size]
    return c.cc_res


def rotated(c, cf, of):
    """The flags of a rotation: CF and OF (0 or 1) are new, the others stay."""
    c.cc_op |= CC_CARRY_APART | CC_OVERFLOW_APART
    c.cc_cf = cf
    c.cc_of = of


def set_carry(c, cf):
    """CF (0 or 1) is new, the others stay."""
    c.cc_op |= CC_CARRY_APART
    c.cc_cf = cf


def shift(c, sub, a, count, size):
    """ROL ROR RCL RCR SHL SHR SAL SAR (`sub`) by `count`; the value and all flags (SDM vol. 2, RCL, SAL).

    The count is masked to 5 bits (6 for 64-bit operands). Where Intel leaves OF undefined, for counts over 1, this
    computes it as for a count of 1, which is what silicon does; AF is left clear.
    """
    bits: u32 = 8 << size
    mask: u64 = SIZE_MASK[size]
    n: u32 = count & (63 if size == 3 else 31)
    r: u64
    cf: u32
    of: u32
    if n == 0:
        return a
    if sub < SHL:
        return rotate(c, sub, a, n, size)
    if sub == SHR:
        if n > bits:
            r = 0
            cf = 0
        else:
            r = (a >> (n - 1)) >> 1
            cf = (a >> (n - 1)) & 1
        of = ((r << 1) ^ r) >> (bits - 1) & 1 if n > 1 else a >> (bits - 1)
    elif sub == SAR:
        if n >= bits:
            r = mask if a & SIZE_SIGN[size] else 0
            cf = r & 1
        else:
            cf = (a >> (n - 1)) & 1
            r = a >> n
            if a & SIZE_SIGN[size]:
                r |= mask ^ (mask >> n)
        of = 0
    else:
        if n > bits:
            r = 0
            cf = 0
        else:
            r = ((a << (n - 1)) << 1) & mask
            cf = (a >> (bits - n)) & 1
        of = (r >> (bits - 1)) ^ cf
    c.cc_op = CC_SHIFT
    c.cc_size = size
    c.cc_cf = cf
    c.cc_a = of & 1
    c.cc_res = r
    return r


def rotate(c, sub, a, n, size):
    """ROL ROR RCL RCR (`sub`) by `n`, at least 1; the value, CF and OF, as `shift`."""
    bits: u32 = 8 << size
    mask: u64 = SIZE_MASK[size]
    r: u64
    top: u64
    cf: u32
    of: u32
    cf = carry(c)
    r = a
    if sub == ROL:
        n &= bits - 1
        if n:
            r = ((a << n) | (a >> (bits - n))) & mask
        cf = r & 1
        of = (r >> (bits - 1)) ^ cf
    elif sub == ROR:
        n &= bits - 1
        if n:
            r = ((a >> n) | (a << (bits - n))) & mask
        cf = (r >> (bits - 1)) & 1
        of = (r >> (bits - 1)) ^ (r >> (bits - 2))
    elif sub == RCL:
        n %= bits + 1
        while n:
            r = (r << 1) | cf
            cf = (r >> bits) & 1 if size < 3 else a >> 63
            r &= mask
            a = r
            n -= 1
        of = (r >> (bits - 1)) ^ cf
    else:
        n %= bits + 1
        while n:
            top = cf
            of = r & 1
            r = (r >> 1) | (top << (bits - 1))
            cf = of
            n -= 1
        of = (r >> (bits - 1)) ^ (r >> (bits - 2))
    rotated(c, cf, of & 1)
    return r
