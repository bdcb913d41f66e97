"""MOVS CMPS STOS LODS SCAS and their repetition (SDM vol. 2, REP; vol. 1 §7.3.9).

A repeated instruction stops at every MAX_ITERATIONS with FAULT_REPEAT, its registers telling how far it came,
so that an interrupt waits no longer than for one of many iterations. An iteration is all or nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import flags, mmu, operands
    from hvcore.cpu.constants import *

MAX_ITERATIONS = cython.declare(u32, 1024)


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
        flags.alu(c, 7, c.regs[RAX] & SIZE_MASK[o.size], b, o.size)
        advance(c, RDI, o)
    elif kind == CMPS:
        a = mmu.read(c, o.seg, si, o.size)
        if c.fault:
            return
        b = mmu.read(c, ES, di, o.size)
        if c.fault:
            return
        flags.alu(c, 7, a, b, o.size)
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


def string(c, o):
    """A string instruction with its prefix."""
    mask: u64 = SIZE_MASK[o.addr]
    left: u64
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
        if done == most:
            c.fault = FAULT_REPEAT
            return
        one(c, o, kind)
        if c.fault:
            return
        left -= 1
        done += 1
        operands.put_masked(c, RCX, mask, left)
        if (kind == CMPS or kind == SCAS) and (c.cc_res == 0) != (o.rep == 1):
            return
