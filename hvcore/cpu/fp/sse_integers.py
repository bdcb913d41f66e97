"""Packed integers in MMX and XMM registers, computed by `mmx`: the instructions (SDM vol. 1 §9.4, §11.4.2)."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import mmx, sse_operands
    from cython.cimports.hvcore.cpu.state import M32, M64, u32, u64
else:
    from hvcore.cpu.constants import M32, M64, u32, u64
    from hvcore.cpu.fp import mmx, sse_operands


def shift_immediate(c, o, op, pp):
    """PSRL, PSRA, PSLL, PSRLDQ and PSLLDQ by an immediate."""
    bits: u32 = 16 << (op - mmx.SHIFT_WORDS)
    n: u32 = o.imm & 0xFF
    d: u32 = 2 * o.rm
    lo: u64 = c.xmm[d]
    hi: u64 = c.xmm[d + 1]
    if o.reg == mmx.SRL_BYTES or o.reg == mmx.SLL_BYTES:
        n = 128 if n > 15 else 8 * n  # the immediate counts bytes
        if n >= 128:
            c.xmm[d] = 0
            c.xmm[d + 1] = 0
        elif n == 0:
            return
        elif o.reg == mmx.SRL_BYTES:
            c.xmm[d] = hi >> (n - 64) if n >= 64 else (lo >> n) | ((hi << (64 - n)) & M64)
            c.xmm[d + 1] = 0 if n >= 64 else hi >> n
        else:
            c.xmm[d] = 0 if n >= 64 else (lo << n) & M64
            c.xmm[d + 1] = (lo << (n - 64)) & M64 if n >= 64 else ((hi << n) & M64) | (lo >> (64 - n))
    elif pp == sse_operands.P66:
        c.xmm[d] = mmx.shifted(o.reg, bits, lo, n)
        c.xmm[d + 1] = mmx.shifted(o.reg, bits, hi, n)
    else:
        sse_operands.enter_mmx(c)
        sse_operands.set_mm(c, o.rm, mmx.shifted(o.reg, bits, c.fp_sig[o.rm], n))


def packed_integer(c, o, op, pp):
    """All others of `mmx.pxd` but EMMS: the destination and the source are registers of one kind."""
    wide: u32 = pp == sse_operands.P66  # of XMM registers, not MM
    if op == mmx.PMOVMSKB:
        if wide:
            c.regs[o.reg] = mmx.sign_mask(c.xmm[2 * o.rm]) | (mmx.sign_mask(c.xmm[2 * o.rm + 1]) << 8)
        else:
            sse_operands.enter_mmx(c)
            c.regs[o.reg] = mmx.sign_mask(c.fp_sig[o.rm])
        return
    if wide:
        if not sse_operands.fetch(c, o, 2, 1):
            return
        c.dst[0] = c.xmm[2 * o.reg]
        c.dst[1] = c.xmm[2 * o.reg + 1]
    else:
        if o.isreg:
            c.src[0] = c.fp_sig[o.rm]
        elif not sse_operands.fetch(c, o, 0 if op <= mmx.PUNPCKLDQ else 1, 0):  # PUNPCKL reads 32 bits
            return
        c.dst[0] = c.fp_sig[o.reg]
        sse_operands.enter_mmx(c)
    if op == mmx.PACKSSWB or op == mmx.PACKUSWB or op == mmx.PACKSSDW:
        pack(c, op, wide)
    elif mmx.PUNPCKLBW <= op <= mmx.PUNPCKHQDQ and not mmx.PCMPGTB <= op <= mmx.PCMPGTD:
        unpack(c, op, wide)
    else:
        combine(c, op, wide)
    if wide:
        c.xmm[2 * o.reg] = c.dst[0]
        c.xmm[2 * o.reg + 1] = c.dst[1]
    else:
        sse_operands.set_mm(c, o.reg, c.dst[0])


def pack(c, op, wide):
    """PACK of `dst` and `src`, into `dst`."""
    if wide:
        c.dst[0] = mmx.narrow(op, c.dst[0]) | (mmx.narrow(op, c.dst[1]) << 32)
        c.dst[1] = mmx.narrow(op, c.src[0]) | (mmx.narrow(op, c.src[1]) << 32)
    else:
        c.dst[0] = mmx.narrow(op, c.dst[0]) | (mmx.narrow(op, c.src[0]) << 32)


def unpack(c, op, wide):
    """PUNPCK of `dst` and `src`, into `dst`: the elements of their lower or higher halves in turn."""
    high: u32 = op >= mmx.PUNPCKHBW
    bits: u32
    to: u64
    by: u64
    if op == mmx.PUNPCKLQDQ or op == mmx.PUNPCKHQDQ:
        c.dst[0] = c.dst[op & 1]
        c.dst[1] = c.src[op & 1]
        return
    bits = 8 << (op - (mmx.PUNPCKHBW if high else mmx.PUNPCKLBW))
    if wide:
        to = c.dst[high]
        by = c.src[high]
        c.dst[0] = mmx.interleave(to & M32, by & M32, bits)
        c.dst[1] = mmx.interleave(to >> 32, by >> 32, bits)
    elif high:
        c.dst[0] = mmx.interleave(c.dst[0] >> 32, c.src[0] >> 32, bits)
    else:
        c.dst[0] = mmx.interleave(c.dst[0] & M32, c.src[0] & M32, bits)


def combine(c, op, wide):
    """A shift of `dst` by the count in `src`, or an operation on their elements; into `dst`."""
    bits: u32 = 8 << (op & 3)  # of a shift, whose last digit is 1, 2 or 3 for W, D or Q
    how: u32 = 0
    i: u32
    if mmx.PSRLW <= op <= mmx.PSRLQ:
        how = mmx.SRL
    elif op == mmx.PSRAW or op == mmx.PSRAD:
        how = mmx.SRA
    elif mmx.PSLLW <= op <= mmx.PSLLQ:
        how = mmx.SLL
    for i in range(2 if wide else 1):
        if how:
            c.dst[i] = mmx.shifted(how, bits, c.dst[i], c.src[0])
        else:
            c.dst[i] = mmx.packed(op, c.dst[i], c.src[i])
