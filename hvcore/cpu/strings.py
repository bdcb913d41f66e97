"""MOVS CMPS STOS LODS SCAS and their repetition (SDM vol. 2, REP; vol. 1 §7.3.9).

A repeated instruction stops at every MAX_ITERATIONS with FAULT_REPEAT, its registers telling how far it came,
so that an interrupt waits no longer than for one of many iterations. An iteration is all or nothing.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands, physical
    from cython.cimports.hvcore.cpu.kinds import CMPS, INS, LODS, MOVS, SCAS, STOS
    from cython.cimports.hvcore.cpu.state import (
        ALU_CMP, ES, FAULT_REPEAT, F_DF, F_TF, M32, M64, NO_PAGE, RAX, RCX, RDI, REP, RSI, SIZE_MASK,
        TLB_MASK, u32, u64,
    )
else:
    from hvcore.cpu import flags, mmu, operands, physical
    from hvcore.cpu.constants import (
        ALU_CMP, CMPS, ES, FAULT_REPEAT, F_DF, F_TF, INS, LODS, M32, M64, MOVS, NO_PAGE, RAX, RCX, RDI, REP,
        RSI, SCAS, SIZE_MASK, STOS, TLB_MASK, u32, u64,
    )
# fmt: on

MAX_ITERATIONS = cython.declare(u32, 4096)


def advance(c, reg, o):
    """Step an index register by one item, in the direction of DF; returns where it stood."""
    mask: u64 = SIZE_MASK[o.addr]
    at: u64 = c.regs[reg] & mask
    step: u64 = 1 << o.size
    operands.put_masked(c, reg, mask, at - step if c.flags & F_DF else at + step)
    return at


def one(c, o, kind):
    """One iteration."""
    mask: u64 = SIZE_MASK[o.addr]
    si: u64 = c.regs[RSI] & mask
    di: u64 = c.regs[RDI] & mask
    a: u64
    b: u64
    if kind == MOVS:
        a = mmu.read(c, o.seg, si, o.size)
        if c.fault:
            return
        mmu.write(c, ES, di, a, o.size)
        if c.fault:
            return
        advance(c, RSI, o)
        advance(c, RDI, o)
    elif kind == STOS:
        mmu.write(c, ES, di, c.regs[RAX] & SIZE_MASK[o.size], o.size)
        if c.fault:
            return
        advance(c, RDI, o)
    elif kind == LODS:
        a = mmu.read(c, o.seg, si, o.size)
        if c.fault:
            return
        operands.put(c, RAX, 0, o.size, a)
        advance(c, RSI, o)
    elif kind == SCAS:
        b = mmu.read(c, ES, di, o.size)
        if c.fault:
            return
        flags.alu(c, ALU_CMP, c.regs[RAX] & SIZE_MASK[o.size], b, o.size)
        advance(c, RDI, o)
    elif kind == CMPS:
        a = mmu.read(c, o.seg, si, o.size)
        if c.fault:
            return
        b = mmu.read(c, ES, di, o.size)
        if c.fault:
            return
        flags.alu(c, ALU_CMP, a, b, o.size)
        advance(c, RSI, o)
        advance(c, RDI, o)
    elif kind == INS:  # a port that nobody intercepts is an empty bus
        mmu.write(c, ES, di, SIZE_MASK[o.size], o.size)
        if c.fault:
            return
        advance(c, RDI, o)
    else:
        mmu.read(c, o.seg, si, o.size)
        if c.fault:
            return
        advance(c, RSI, o)


def run_of(lin, off, mask, size, most, down):
    """How many items of `size` lie in a row, `most` at most: up from linear address `lin` in its page, or down from it.

    Nor may the offset `off`, of as many bits as `mask` has, wrap behind any of them.
    """
    n: u64 = (((lin & 0xFFF) >> size) + 1) if down else (4096 - (lin & 0xFFF)) >> size
    n = min(n, (off >> size) + 1 if down else (mask + 1 - off) >> size)
    return min(n, most)


def in_memory(c, lin, write, length):
    """The host offset of `length` bytes of one page that the TLB knows, or NO_PAGE."""
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    tag: u64 = c.tlb[i].wr if write else c.tlb[i].rd
    if (lin ^ tag) > 4096 - length:
        return NO_PAGE
    return (lin + c.tlb[i].add) & M64


def several(c, o, kind, most):
    """Up to `most` iterations of MOVS or STOS in one go; 0 where that is not as simple.

    Both operands must lie in pages that the TLB knows, so nothing can fault, and hold no code.
    """
    mask: u64 = SIZE_MASK[o.addr]
    step: u64 = 1 << o.size
    down: u32 = (c.flags & F_DF) != 0
    n: u64
    di: u64 = c.regs[RDI] & mask
    si: u64 = c.regs[RSI] & mask
    back: u64
    to: u64
    source: u64
    if most < 2:
        return 0
    n = run_of(c.base[ES] + di, di, mask, o.size, most, down)
    if kind == MOVS:
        n = run_of(c.base[o.seg] + si, si, mask, o.size, n, down)
    if n < 2:
        return 0
    back = (n - 1) * step if down else 0  # from where it begins to the lowest item
    if di - back + n * step > c.wr_size[ES]:
        return 0
    to = in_memory(c, (c.base[ES] + di - back) & M32, 1, n * step)
    if to == NO_PAGE:
        return 0
    if kind == STOS:
        physical.host_fill(c, to, c.regs[RAX] & SIZE_MASK[o.size], n, step)
    else:
        if si - back + n * step > c.rd_size[o.seg]:
            return 0
        source = in_memory(c, (c.base[o.seg] + si - back) & M32, 0, n * step)
        if source == NO_PAGE:
            return 0
        if down:
            physical.host_copy_down(c, to, source, n, step)
        else:
            physical.host_copy(c, to, source, n, step)
        operands.put_masked(c, RSI, mask, si - n * step if down else si + n * step)
    operands.put_masked(c, RDI, mask, di - n * step if down else di + n * step)
    return n


def string(c, o):
    """A string instruction with its prefix."""
    mask: u64 = SIZE_MASK[o.addr]
    left: u64
    n: u64
    done: u32 = 0
    most: u32 = MAX_ITERATIONS
    kind: u32 = o.kind  # a store into this very code changes `o`
    if not o.rep:
        one(c, o, kind)
        return
    if c.emulating or c.flags & F_TF:
        most = 1
    left = c.regs[RCX] & mask
    while left:
        if done >= most:
            c.fault = FAULT_REPEAT
            return
        if kind == MOVS or kind == STOS:
            n = several(c, o, kind, min(left, most - done))
            if n:
                left -= n
                done += n
                operands.put_masked(c, RCX, mask, left)
                continue
        one(c, o, kind)
        if c.fault:
            return
        left -= 1
        done += 1
        operands.put_masked(c, RCX, mask, left)
        if (kind == CMPS or kind == SCAS) and (c.cc_res == 0) != (o.rep == REP):
            return
