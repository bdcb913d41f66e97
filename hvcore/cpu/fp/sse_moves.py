"""MOV*, UNPCK*, SHUF*, PSHUF*, PINSRW, PEXTRW, MASKMOV* of MMX, SSE and SSE2 (SDM vol. 1 §9.4, §10.4, §11.4)."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import mmu, operands
    from cython.cimports.hvcore.cpu.fp import sse_operands, x87_registers
    from cython.cimports.hvcore.cpu.fp.mmx import interleave, shuffle_words, sign_mask
    from cython.cimports.hvcore.cpu.fp.sse_arithmetic import put32, source32, target32
    from cython.cimports.hvcore.cpu.state import M32, M64, RDI, SIZE_MASK, u32, u64
else:
    from hvcore.cpu import mmu, operands
    from hvcore.cpu.constants import M32, M64, RDI, SIZE_MASK, u32, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import sse_operands, x87_registers
    from hvcore.cpu.fp.mmx import interleave, shuffle_words, sign_mask
    from hvcore.cpu.fp.sse_arithmetic import put32, source32, target32

    globals().update(enums("fp/sse_moves.pxd"))


def move_float(c, o, op, pp):
    """Moves of reals: MOVAP, MOVUP, MOVS, MOVLP, MOVHP, MOVHLPS, MOVLHPS, MOVNTP, MOVMSK, and UNPCKL, UNPCKH."""
    d: u32 = 2 * o.reg
    n: u32 = 2 * o.rm
    size: u32 = 2  # 4 << size bytes
    if pp == sse_operands.PF3:
        size = 0
    elif pp == sse_operands.PF2 or (LOAD_LOW <= op <= STORE_HIGH):
        size = 1
    if op == MOVMSK:
        if pp == sse_operands.P66:
            c.regs[o.reg] = (c.xmm[n] >> 63) | ((c.xmm[n + 1] >> 63) << 1)
        else:
            c.regs[o.reg] = (
                ((c.xmm[n] >> 31) & 1)
                | ((c.xmm[n] >> 63) << 1)
                | (((c.xmm[n + 1] >> 31) & 1) << 2)
                | ((c.xmm[n + 1] >> 63) << 3)
            )
    elif op == STORE or op == STORE_LOW or op == STORE_HIGH or op == STORE_ALIGNED or op == MOVNTP:
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
        if op == STORE_HIGH:
            c.dst[0] = c.xmm[d + 1]
        if not o.isreg:
            sse_operands.store(c, o, size, op >= STORE_ALIGNED)
        elif size == 0:
            c.xmm[n] = (c.xmm[n] >> 32 << 32) | (c.dst[0] & M32)
        else:
            c.xmm[n] = c.dst[0]
            if size == 2:
                c.xmm[n + 1] = c.dst[1]
    elif op == UNPCKL or op == UNPCKH:
        if not sse_operands.fetch(c, o, 2, 1):
            return
        c.dst[0] = c.xmm[d + (op & 1)]
        c.dst[1] = c.src[op & 1]
        if pp == sse_operands.P66:
            c.xmm[d] = c.dst[0]
            c.xmm[d + 1] = c.dst[1]
        else:
            c.xmm[d] = interleave(c.dst[0] & M32, c.dst[1] & M32, 32)
            c.xmm[d + 1] = interleave(c.dst[0] >> 32, c.dst[1] >> 32, 32)
    else:
        if not sse_operands.fetch(c, o, size, op == LOAD_ALIGNED):
            return
        if op == LOAD_LOW:
            c.xmm[d] = c.src[1] if o.isreg else c.src[0]  # MOVHLPS
        elif op == LOAD_HIGH:
            c.xmm[d + 1] = c.src[0]
        elif size == 2:
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = c.src[1]
        elif o.isreg and size:
            c.xmm[d] = c.src[0]
        elif o.isreg:
            c.xmm[d] = (c.xmm[d] >> 32 << 32) | (c.src[0] & M32)
        else:
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = 0


def move_integer(c, o, op, pp):
    """Moves of integers: MOVD, MOVQ, MOVDQA, MOVDQU, MOVNTI, MOVNTQ, MOVNTDQ, MOVQ2DQ, MOVDQ2Q."""
    d: u32 = 2 * o.reg
    if op == MOVNTI:
        mmu.write(c, o.seg, operands.address(c, o), c.regs[o.reg] & M32, 2)
    elif op == MOVD_LOAD:
        if o.isreg:
            c.src[0] = c.regs[o.rm] & M32
        elif not sse_operands.fetch(c, o, 0, 0):
            return
        if pp == sse_operands.P66:
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = 0
        else:
            sse_operands.enter_mmx(c)
            sse_operands.set_mm(c, o.reg, c.src[0])
    elif op == MOVD_STORE and pp == sse_operands.PF3:  # MOVQ xmm, xmm/m64
        if sse_operands.fetch(c, o, 1, 0):
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = 0
    elif op == MOVD_STORE:
        c.dst[0] = (c.xmm[d] if pp == sse_operands.P66 else c.fp_sig[o.reg]) & M32
        if o.isreg:
            c.regs[o.rm] = c.dst[0]
        else:
            sse_operands.store(c, o, 0, 0)
        if pp == sse_operands.NP and not c.fault:
            sse_operands.enter_mmx(c)
    elif op == MOVQ_BETWEEN:
        if pp >= sse_operands.PF3 and x87_registers.pending(c):
            return
        if pp == sse_operands.PF3:  # MOVQ2DQ
            sse_operands.enter_mmx(c)
            c.xmm[d] = c.fp_sig[o.rm]
            c.xmm[d + 1] = 0
        elif pp == sse_operands.PF2:  # MOVDQ2Q
            sse_operands.enter_mmx(c)
            sse_operands.set_mm(c, o.reg, c.xmm[2 * o.rm])
        elif o.isreg:
            c.xmm[2 * o.rm] = c.xmm[d]
            c.xmm[2 * o.rm + 1] = 0
        else:
            c.dst[0] = c.xmm[d]
            sse_operands.store(c, o, 1, 0)
    elif pp == sse_operands.NP:
        if op == MOVQ_LOAD:
            if o.isreg:
                c.src[0] = c.fp_sig[o.rm]
            elif not sse_operands.fetch(c, o, 1, 0):
                return
            sse_operands.enter_mmx(c)
            sse_operands.set_mm(c, o.reg, c.src[0])
            return
        c.dst[0] = c.fp_sig[o.reg]
        if not o.isreg:
            sse_operands.store(c, o, 1, 0)
        if c.fault:
            return
        sse_operands.enter_mmx(c)
        if o.isreg:
            sse_operands.set_mm(c, o.rm, c.dst[0])
    elif op == MOVQ_LOAD:
        if sse_operands.fetch(c, o, 2, pp == sse_operands.P66):
            c.xmm[d] = c.src[0]
            c.xmm[d + 1] = c.src[1]
    else:
        c.dst[0] = c.xmm[d]
        c.dst[1] = c.xmm[d + 1]
        if o.isreg:
            c.xmm[2 * o.rm] = c.dst[0]
            c.xmm[2 * o.rm + 1] = c.dst[1]
        else:
            sse_operands.store(c, o, 2, pp == sse_operands.P66)


def shuffle(c, o, op, pp):
    """PSHUFW, PSHUFD, PSHUFHW, PSHUFLW, PINSRW, PEXTRW, SHUFPS, SHUFPD: words and elements by an immediate."""
    d: u32 = 2 * o.reg
    order: u32 = o.imm & 0xFF
    i: u32
    value: u64
    if op == PEXTRW:
        if pp == sse_operands.P66:
            value = c.xmm[2 * o.rm + ((order >> 2) & 1)]
        else:
            sse_operands.enter_mmx(c)
            value = c.fp_sig[o.rm]
        c.regs[o.reg] = (value >> (16 * (order & 3))) & 0xFFFF
    elif op == PINSRW:
        if o.isreg:
            value = c.regs[o.rm] & 0xFFFF
        else:
            value = mmu.read(c, o.seg, operands.address(c, o), 1)
            if c.fault:
                return
        i = 16 * (order & 3)
        if pp == sse_operands.P66:
            d += (order >> 2) & 1
            c.xmm[d] = (c.xmm[d] & ((cython.cast(u64, 0xFFFF) << i) ^ M64)) | (value << i)
        else:
            sse_operands.enter_mmx(c)
            sse_operands.set_mm(
                c, o.reg, (c.fp_sig[o.reg] & ((cython.cast(u64, 0xFFFF) << i) ^ M64)) | (value << i)
            )
    elif op == PSHUF and pp == sse_operands.NP:
        if o.isreg:
            c.src[0] = c.fp_sig[o.rm]
        elif not sse_operands.fetch(c, o, 1, 0):
            return
        sse_operands.enter_mmx(c)
        sse_operands.set_mm(c, o.reg, shuffle_words(c.src[0], order))
    elif sse_operands.fetch(c, o, 2, 1):
        if op == PSHUF:
            shuffle_integers(c, d, order, pp)
        else:
            shuffle_reals(c, d, order, pp)


def shuffle_integers(c, d, order, pp):
    """PSHUFD, PSHUFHW, PSHUFLW of the source, to the register whose lower half is `xmm[d]`."""
    i: u32
    c.dst[0] = c.src[0]
    c.dst[1] = c.src[1]
    if pp == sse_operands.PF2:
        c.dst[0] = shuffle_words(c.src[0], order)
    elif pp == sse_operands.PF3:
        c.dst[1] = shuffle_words(c.src[1], order)
    else:
        for i in range(4):
            put32(c, i, source32(c, (order >> (2 * i)) & 3))
    c.xmm[d] = c.dst[0]
    c.xmm[d + 1] = c.dst[1]


def shuffle_reals(c, d, order, pp):
    """SHUFPS and SHUFPD: the lower half of the result is of the destination, the higher of the source."""
    c.dst[0] = c.xmm[d]
    c.dst[1] = c.xmm[d + 1]
    if pp == sse_operands.P66:
        c.xmm[d] = c.dst[order & 1]
        c.xmm[d + 1] = c.src[(order >> 1) & 1]
    else:
        c.xmm[d] = target32(c, order & 3) | (target32(c, (order >> 2) & 3) << 32)
        c.xmm[d + 1] = source32(c, (order >> 4) & 3) | (source32(c, (order >> 6) & 3) << 32)


def masked_store(c, o, pp):
    """MASKMOVQ and MASKMOVDQU: bytes of the first register to DS:EDI, where the second one's byte is negative."""
    off: u64 = c.regs[RDI] & SIZE_MASK[o.addr]
    n: u32 = 16 if pp == sse_operands.P66 else 8
    i: u32
    marks: u32
    value: u64
    if pp == sse_operands.P66:
        marks = sign_mask(c.xmm[2 * o.rm]) | (sign_mask(c.xmm[2 * o.rm + 1]) << 8)
    else:
        marks = sign_mask(c.fp_sig[o.rm])
    for i in range(n):
        if (marks >> i) & 1 and not mmu.check_write(c, o.seg, (off + i) & SIZE_MASK[o.addr], 1):
            return
    for i in range(n):
        if (marks >> i) & 1:
            value = c.xmm[2 * o.reg + (i >> 3)] if pp == sse_operands.P66 else c.fp_sig[o.reg]
            mmu.write(c, o.seg, (off + i) & SIZE_MASK[o.addr], (value >> (8 * (i & 7))) & 0xFF, 0)
            if c.fault:
                return
    if pp == sse_operands.NP:
        sse_operands.enter_mmx(c)
