"""Packed integers in MMX and XMM registers, computed by `mmx`: the instructions (SDM vol. 1 §9.4, §11.4.2)."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import sse_operands
    from cython.cimports.hvcore.cpu.fp.mmx import interleave, narrow, packed, shifted, sign_mask
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *
    from hvcore.cpu.fp import sse_operands
    from hvcore.cpu.fp.mmx import interleave, narrow, packed, shifted, sign_mask


def shift_immediate(c, o, op, pp):
    """71, 72, 73: shifts by an immediate."""
    bits: u32 = 16 << (op - 0x71)
    n: u32 = o.imm & 0xFF
    d: u32 = 2 * o.rm
    lo: u64 = c.xmm[d]
    hi: u64 = c.xmm[d + 1]
    if o.reg & 1 and op == 0x73 and pp == sse_operands.P66 and o.reg & 2:  # PSRLDQ, PSLLDQ: by bytes
        n = 128 if n > 15 else 8 * n
        if n == 0:
            return
        if o.reg == 3:
            c.xmm[d] = 0 if n >= 128 else hi >> (n - 64) if n >= 64 else (lo >> n) | ((hi << (64 - n)) & M64)
            c.xmm[d + 1] = 0 if n >= 64 else hi >> n
        else:
            hi = (
                0 if n >= 128 else (lo << (n - 64)) & M64 if n >= 64 else ((hi << n) & M64) | (lo >> (64 - n))
            )
            c.xmm[d + 1] = hi
            c.xmm[d] = 0 if n >= 64 else (lo << n) & M64
    elif pp == sse_operands.P66:
        c.xmm[d] = shifted(o.reg, bits, lo, n)
        c.xmm[d + 1] = shifted(o.reg, bits, hi, n)
    else:
        sse_operands.enter_mmx(c)
        sse_operands.set_mm(c, o.rm, shifted(o.reg, bits, c.fp_sig[o.rm], n))


def packed_integer(c, o, op, pp):
    """The rest of 60 to 6D, 74 to 76, D1 to FE: destination and source of one kind."""
    d: u32 = 2 * o.reg
    bits: u32
    high: u32
    how: u32 = 0
    if op == 0xD7:  # PMOVMSKB
        if pp == sse_operands.P66:
            c.regs[o.reg] = sign_mask(c.xmm[2 * o.rm]) | (sign_mask(c.xmm[2 * o.rm + 1]) << 8)
        else:
            sse_operands.enter_mmx(c)
            c.regs[o.reg] = sign_mask(c.fp_sig[o.rm])
        return
    if pp == sse_operands.P66:
        if not sse_operands.fetch(c, o, 2, 1):
            return
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
    else:
        if o.isreg:
            c.src[0] = c.fp_sig[o.rm]
        elif not sse_operands.fetch(c, o, 0 if op <= 0x62 else 1, 0):
            return
        c.dst[0] = c.fp_sig[o.reg]
        sse_operands.enter_mmx(c)
    if 0x60 <= op <= 0x62 or 0x68 <= op <= 0x6A:  # PUNPCK
        bits = 8 << (op & 3 if op < 0x68 else op - 0x68)
        high = op >= 0x68
        if pp == sse_operands.P66:
            c.xmm[d] = interleave(c.dst[high] & M32, c.src[high] & M32, bits)
            c.xmm[d + 1] = interleave(c.dst[high] >> 32, c.src[high] >> 32, bits)
        elif high:
            sse_operands.set_mm(c, o.reg, interleave(c.dst[0] >> 32, c.src[0] >> 32, bits))
        else:
            sse_operands.set_mm(c, o.reg, interleave(c.dst[0] & M32, c.src[0] & M32, bits))
    elif op == 0x6C or op == 0x6D:  # PUNPCKQDQ
        c.xmm[d] = c.dst[op & 1]
        c.xmm[d + 1] = c.src[op & 1]
    elif op == 0x63 or op == 0x67 or op == 0x6B:  # PACK
        if pp == sse_operands.P66:
            c.xmm[d] = narrow(op, c.dst[0]) | (narrow(op, c.dst[1]) << 32)
            c.xmm[d + 1] = narrow(op, c.src[0]) | (narrow(op, c.src[1]) << 32)
        else:
            sse_operands.set_mm(c, o.reg, narrow(op, c.dst[0]) | (narrow(op, c.src[0]) << 32))
    else:
        if 0xD1 <= op <= 0xD3:
            how = 2
        elif op == 0xE1 or op == 0xE2:
            how = 4
        elif 0xF1 <= op <= 0xF3:
            how = 6
        if how:
            bits = 8 << (op & 3)
            if pp == sse_operands.P66:
                c.xmm[d] = shifted(how, bits, c.dst[0], c.src[0])
                c.xmm[d + 1] = shifted(how, bits, c.dst[1], c.src[0])
            else:
                sse_operands.set_mm(c, o.reg, shifted(how, bits, c.dst[0], c.src[0]))
        elif pp == sse_operands.P66:
            c.xmm[d] = packed(op, c.dst[0], c.src[0])
            c.xmm[d + 1] = packed(op, c.dst[1], c.src[1])
        else:
            sse_operands.set_mm(c, o.reg, packed(op, c.dst[0], c.src[0]))
