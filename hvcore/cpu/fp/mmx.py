"""Packed integers: what MMX does with 64 bits, and SSE2 with each half of 128 (SDM vol. 1 §9.4, §11.4.2).

Everything here is a function of its operands; `op` is the opcode's second byte. `sse_moves` and `sse_integers`
fetch and store.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *


def lane_bits(op):
    """The width of the elements that `op` works on."""
    if op >= 0xFC:
        return 8 << (op - 0xFC)
    if op >= 0xF8:
        return 8 << (op - 0xF8)
    if op == 0xDA or op == 0xDE or op == 0xE0 or op == 0xD8 or op == 0xDC or op == 0xE8 or op == 0xEC:
        return 8
    if 0x64 <= op <= 0x66:
        return 8 << (op - 0x64)
    if 0x74 <= op <= 0x76:
        return 8 << (op - 0x74)
    return 16


def clamp(v, least, most):
    """The number nearest to `v` between two bounds."""
    if v < least:
        return least
    return min(v, most)


def lane(op, x, y, bits):
    """One element of `op`; bits above the element's width mean nothing."""
    sign: s64 = cython.cast(s64, 1) << (bits - 1)
    ux: s64 = x
    uy: s64 = y
    sx: s64 = (ux ^ sign) - sign
    sy: s64 = (uy ^ sign) - sign
    r: s64 = 0
    if op == 0xFC or op == 0xFD or op == 0xFE:  # PADD
        r = ux + uy
    elif op == 0xF8 or op == 0xF9 or op == 0xFA:  # PSUB
        r = ux - uy
    elif op == 0xEC or op == 0xED:  # PADDS
        r = clamp(sx + sy, -sign, sign - 1)
    elif op == 0xE8 or op == 0xE9:  # PSUBS
        r = clamp(sx - sy, -sign, sign - 1)
    elif op == 0xDC or op == 0xDD:  # PADDUS
        r = clamp(ux + uy, 0, 2 * sign - 1)
    elif op == 0xD8 or op == 0xD9:  # PSUBUS
        r = clamp(ux - uy, 0, 2 * sign - 1)
    elif op == 0x64 or op == 0x65 or op == 0x66:  # PCMPGT
        r = -1 if sx > sy else 0
    elif op == 0x74 or op == 0x75 or op == 0x76:  # PCMPEQ
        r = -1 if ux == uy else 0
    elif op == 0xDA:  # PMINUB
        r = min(uy, ux)
    elif op == 0xDE:  # PMAXUB
        r = max(uy, ux)
    elif op == 0xEA:  # PMINSW
        r = ux if sx < sy else uy
    elif op == 0xEE:  # PMAXSW
        r = ux if sx > sy else uy
    elif op == 0xE0 or op == 0xE3:  # PAVG
        r = (ux + uy + 1) >> 1
    elif op == 0xD5:  # PMULLW
        r = sx * sy
    elif op == 0xE5:  # PMULHW
        r = (sx * sy) >> 16
    elif op == 0xE4:  # PMULHUW
        r = (ux * uy) >> 16
    return r & M64


def packed(op, a, b):
    """`op` on 64 bits: the destination's and the source's."""
    bits: u32
    at: u32 = 0
    mask: u64
    r: u64 = 0
    if op == 0xDB:
        return a & b
    elif op == 0xDF:
        return (a ^ M64) & b
    elif op == 0xEB:
        return a | b
    elif op == 0xEF:
        return a ^ b
    elif op == 0xD4:
        return (a + b) & M64
    elif op == 0xFB:
        return (a - b) & M64
    elif op == 0xF4:
        return (a & M32) * (b & M32)
    elif op == 0xF5:
        return multiply_add(a, b)
    elif op == 0xF6:
        return sum_of_differences(a, b)
    bits = lane_bits(op)
    mask = M64 >> (64 - bits)
    while at < 64:
        r |= (lane(op, (a >> at) & mask, (b >> at) & mask, bits) & mask) << at
        at += bits
    return r


def multiply_add(a, b):
    """PMADDWD."""
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
    """PSADBW."""
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
    """Half of a PACK: four words to bytes (63 signed, 67 unsigned), or two doublewords to words (6B)."""
    bits: u32 = 32 if op == 0x6B else 16
    to: u32 = bits >> 1
    sign: s64 = cython.cast(s64, 1) << (bits - 1)
    most: s64 = (cython.cast(s64, 1) << (to - 1)) - 1
    least: s64 = -most - 1
    x: s64
    r: u64 = 0
    i: u32 = 0
    if op == 0x67:
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


def shifted(how, bits, v, count):
    """PSRL (`how` 2), PSRA (4), PSLL (6) of the elements of 64 bits."""
    mask: u64 = M64 >> (64 - bits)
    sign: u64 = cython.cast(u64, 1) << (bits - 1)
    n: u32 = bits if count > bits else cython.cast(u32, count)
    x: u64
    r: u64 = 0
    at: u32 = 0
    if n == bits and how != 4:
        return 0
    while at < 64:
        x = (v >> at) & mask
        if how == 2:
            x >>= n
        elif how == 6:
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
    """The signs of eight bytes."""
    r: u32 = 0
    i: u32
    for i in range(8):
        r |= ((v >> (8 * i + 7)) & 1) << i
    return r


def shuffle_words(v, order):
    """Four words in the order of an immediate."""
    r: u64 = 0
    i: u32
    for i in range(4):
        r |= ((v >> (16 * ((order >> (2 * i)) & 3))) & 0xFFFF) << (16 * i)
    return r
