"""Packed integers: what MMX does with 64 bits, and SSE2 with each half of 128 (SDM vol. 1 §9.4, §11.4.2).

Everything here is a function of its operands: `op` is the opcode's second byte, `a` and `b` are 64 bits of the
destination and of the source. `sse_moves` and `sse_integers` fetch and store.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import M32, M64, SIZE_MASK, s64, u32, u64
else:
    from hvcore.cpu.constants import M32, M64, SIZE_MASK, s64, u32, u64
    from hvcore.cpu.constants import enums

    globals().update(enums("fp/mmx.pxd"))


def lane_bits(op):
    """The width in bits of the elements that `op` works on."""
    if op >= PADDB:
        return 8 << (op - PADDB)
    if op >= PSUBB:
        return 8 << (op - PSUBB)
    if (
        op == PMINUB
        or op == PMAXUB
        or op == PAVGB
        or op == PSUBUSB
        or op == PADDUSB
        or op == PSUBSB
        or op == PADDSB
    ):
        return 8
    if PCMPGTB <= op <= PCMPGTD:
        return 8 << (op - PCMPGTB)
    if PCMPEQB <= op <= PCMPEQD:
        return 8 << (op - PCMPEQB)
    return 16


def clamp(v, least, most):
    """The number nearest to `v` between two bounds."""
    if v < least:
        return least
    return min(v, most)


def lane(op, x, y, bits):
    """`op` of two elements of `bits` bits, given without their signs; the caller cuts the result to that width."""
    sign: s64 = cython.cast(s64, 1) << (bits - 1)
    ux: s64 = x
    uy: s64 = y
    sx: s64 = (ux ^ sign) - sign
    sy: s64 = (uy ^ sign) - sign
    r: s64 = 0
    if op == PADDB or op == PADDW or op == PADDD:
        r = ux + uy
    elif op == PSUBB or op == PSUBW or op == PSUBD:
        r = ux - uy
    elif op == PADDSB or op == PADDSW:
        r = clamp(sx + sy, -sign, sign - 1)
    elif op == PSUBSB or op == PSUBSW:
        r = clamp(sx - sy, -sign, sign - 1)
    elif op == PADDUSB or op == PADDUSW:
        r = clamp(ux + uy, 0, 2 * sign - 1)
    elif op == PSUBUSB or op == PSUBUSW:
        r = clamp(ux - uy, 0, 2 * sign - 1)
    elif op == PCMPGTB or op == PCMPGTW or op == PCMPGTD:
        r = -1 if sx > sy else 0
    elif op == PCMPEQB or op == PCMPEQW or op == PCMPEQD:
        r = -1 if ux == uy else 0
    elif op == PMINUB:
        r = min(uy, ux)
    elif op == PMAXUB:
        r = max(uy, ux)
    elif op == PMINSW:
        r = ux if sx < sy else uy
    elif op == PMAXSW:
        r = ux if sx > sy else uy
    elif op == PAVGB or op == PAVGW:
        r = (ux + uy + 1) >> 1
    elif op == PMULLW:
        r = sx * sy
    elif op == PMULHW:
        r = (sx * sy) >> 16
    elif op == PMULHUW:
        r = (ux * uy) >> 16
    return r & M64


def packed(op, a, b):
    """`op` on 64 bits: the destination's and the source's."""
    bits: u32
    at: u32 = 0
    mask: u64
    r: u64 = 0
    if op == PAND:
        return a & b
    elif op == PANDN:
        return (a ^ M64) & b
    elif op == POR:
        return a | b
    elif op == PXOR:
        return a ^ b
    elif op == PADDQ:
        return (a + b) & M64
    elif op == PSUBQ:
        return (a - b) & M64
    elif op == PMULUDQ:
        return (a & M32) * (b & M32)
    elif op == PMADDWD:
        return multiply_add(a, b)
    elif op == PSADBW:
        return sum_of_differences(a, b)
    bits = lane_bits(op)
    mask = M64 >> (64 - bits)
    while at < 64:
        r |= (lane(op, (a >> at) & mask, (b >> at) & mask, bits) & mask) << at
        at += bits
    return r


def multiply_add(a, b):
    """PMADDWD: the products of signed words, those of two neighbours added."""
    r: u64 = 0
    total: s64
    at: u32 = 0
    x: s64
    y: s64
    i: u32
    while at < 64:
        total = 0
        for i in range(2):
            x = (a >> (at + 16 * i)) & 0xFFFF
            y = (b >> (at + 16 * i)) & 0xFFFF
            total += ((x ^ 0x8000) - 0x8000) * ((y ^ 0x8000) - 0x8000)
        r |= (total & M32) << at
        at += 32
    return r


def sum_of_differences(a, b):
    """PSADBW: the sum of the absolute differences of eight bytes."""
    r: u64 = 0
    i: u32
    x: u64
    y: u64
    for i in range(8):
        x = (a >> (8 * i)) & 0xFF
        y = (b >> (8 * i)) & 0xFF
        r += x - y if x > y else y - x
    return r


def narrow(op, v):
    """Half of a PACK: four words to bytes, signed or unsigned, or two doublewords to words; each is saturated."""
    bits: u32 = 32 if op == PACKSSDW else 16
    to: u32 = bits >> 1
    sign: s64 = cython.cast(s64, 1) << (bits - 1)
    most: s64 = (cython.cast(s64, 1) << (to - 1)) - 1
    least: s64 = -most - 1
    x: s64
    r: u64 = 0
    i: u32 = 0
    if op == PACKUSWB:
        most = 255
        least = 0
    while i * bits < 64:
        x = (v >> (i * bits)) & SIZE_MASK[2 if bits == 32 else 1]
        x = clamp((x ^ sign) - sign, least, most)
        r |= (x & SIZE_MASK[1 if to == 16 else 0]) << (i * to)
        i += 1
    return r


def interleave(a, b, bits):
    """Half of a PUNPCK: the elements of two 32-bit numbers in turn."""
    mask: u64 = M64 >> (64 - bits)
    r: u64 = 0
    at: u32 = 0
    while at < 32:
        r |= ((a >> at) & mask) << (2 * at)
        r |= ((b >> at) & mask) << (2 * at + bits)
        at += bits
    return r


def immediate_shifts(op, whole):
    """Which ModRM.reg a shift by an immediate may have, a bit for each; `whole`: of XMM registers."""
    if op != SHIFT_QWORDS:
        return (1 << SRL) | (1 << SRA) | (1 << SLL)
    if whole:
        return (1 << SRL) | (1 << SRL_BYTES) | (1 << SLL) | (1 << SLL_BYTES)
    return (1 << SRL) | (1 << SLL)


def shifted(how, bits, v, count):
    """PSRL, PSRA or PSLL (`how`: SRL, SRA, SLL) by `count` bits of each element of `bits` bits in `v`."""
    mask: u64 = M64 >> (64 - bits)
    sign: u64 = cython.cast(u64, 1) << (bits - 1)
    n: u32 = bits if count > bits else cython.cast(u32, count)
    x: u64
    r: u64 = 0
    at: u32 = 0
    if n == bits and how != SRA:
        return 0
    while at < 64:
        x = (v >> at) & mask
        if how == SRL:
            x >>= n
        elif how == SLL:
            x = (x << n) & mask
        elif not x & sign:
            x = 0 if n == bits else x >> n
        elif n == bits:
            x = mask
        else:
            x = ((x >> n) | (mask << (bits - n))) & mask
        r |= x << at
        at += bits
    return r


def sign_mask(v):
    """The signs of eight bytes, a bit for each."""
    r: u32 = 0
    i: u32
    for i in range(8):
        r |= ((v >> (8 * i + 7)) & 1) << i
    return r


def shuffle_words(v, order):
    """Four words in the order of an immediate, which has two bits for each place."""
    r: u64 = 0
    i: u32
    for i in range(4):
        r |= ((v >> (16 * ((order >> (2 * i)) & 3))) & 0xFFFF) << (16 * i)
    return r
