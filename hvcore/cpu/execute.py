"""Blocks run: `step` finds one, `operations.perform` does what it says, `execute` goes on to those that follow.

One look at the INTR pin and at `special` between blocks is all that an uninterrupted guest pays for. An
operation that fails leaves the loop with `c.fault` set and the processor as it was before that operation.
`icount` counts exactly the instructions that completed.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import blocks, clock, codecache, faults, mmu, operations, pending
    from cython.cimports.hvcore.cpu.jit import arena, translate
    from cython.cimports.hvcore.cpu.state import (
        CS, M32, M64, MAX_OPS, MODE_FLAT, MODE_SEGMENTED, PAGE_BITS, SPECIAL_DEBUG, SPECIAL_RESUME,
        SPECIAL_SHADOW, SPECIAL_TRAP, TLB_MASK, VEC_GP, Op, State, s64, u32, u64,
    )
else:
    from hvcore.cpu import blocks, clock, codecache, faults, mmu, operations, pending
    from hvcore.cpu.constants import (
        CS, M32, M64, MAX_OPS, MODE_FLAT, MODE_SEGMENTED, PAGE_BITS, SPECIAL_DEBUG, SPECIAL_RESUME,
        SPECIAL_SHADOW, SPECIAL_TRAP, TLB_MASK, VEC_GP, s64, u32, u64,
    )
    from hvcore.cpu.jit import arena, translate
    from hvcore.cpu.state import State

    Op = object
# fmt: on


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def find(c: State, eip: u64, last: s64) -> s64:
    """The block at CS:`eip` if it is decoded and may run whole, else 0. `last` is the block that ran before."""
    lin: u64 = (c.base[CS] + eip) & M32
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    at: u64
    b: s64
    if (lin & PAGE_BITS) != c.tlb[i].ex:
        return 0
    at = (lin + c.tlb[i].add) & M64
    b = c.blocks[last].link
    if c.blocks[b].at != at or not c.blocks[b].valid or c.blocks[b].mode != c.mode:
        b = c.buckets[codecache.bucket(at, c.mode)]
        while b and (c.blocks[b].at != at or c.blocks[b].mode != c.mode):
            b = c.blocks[b].next
        c.blocks[last].link = b
    if eip + c.blocks[b].length - 1 > c.limit[CS]:
        return 0
    if c.blocks[b].tail and not codecache.goes_on(c, b, lin):
        return 0
    return b


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def count_run(c: State, block: s64) -> cython.void:
    """A block is about to run: one that runs often is worth host code."""
    before: u64
    if (
        c.translate_after
        and not c.blocks[block].native
        and c.blocks[block].mode & (MODE_FLAT | MODE_SEGMENTED)
    ):
        c.blocks[block].runs += 1
        if c.blocks[block].runs == c.translate_after:
            before = clock.now() if c.timed else 0
            translate.translate(c, block)
            if c.timed:
                c.time_translating += clock.now() - before


def step(c):
    """Execute the block at CS:EIP and, as long as nothing is pending, those that follow it."""
    eip: u64 = c.eip
    first: u32 = MAX_OPS
    count: u32 = 1
    stop_at: u64
    before: u64
    b: s64 = find(c, eip, 0)
    if b == 0:
        if eip > c.limit[CS]:
            faults.exception(c, VEC_GP, 0)
            return
        mmu.fill_fetch_window(c, eip)  # it may be decoded, and only its page's translation forgotten
        b = find(c, eip, 0)
        if b == 0:
            before = clock.now() if c.timed else 0
            c.count_blocks += 1
            b = blocks.build(c, eip)
            if c.timed:
                c.time_decoding += clock.now() - before
        if b > 0 and eip + c.blocks[b].length - 1 > c.limit[CS]:
            b = blocks.single(c, eip)
        if b == 0:
            return
    if b > 0:
        count_run(c, b)
        first = c.blocks[b].ops
        count = c.blocks[b].count
        stop_at = c.stop_at  # read once: `stop` may make it 0 meanwhile, from another thread
        if c.icount + count > stop_at:
            count = stop_at - c.icount if stop_at > c.icount else 1
    if c.special & (SPECIAL_SHADOW | SPECIAL_TRAP | SPECIAL_DEBUG | SPECIAL_RESUME):
        count = 1
    c.block_eip = eip
    c.current = max(0, b)
    execute(c, first, first + count)


def execute(c, j, end):
    """Execute operations `j` to `end` - 1, then every decoded block that follows while nothing is pending.

    Sets `c.eip` and `c.icount`.
    """
    start: u32 = j
    block: s64 = c.current
    left: u64 = 0  # where host code would like to be linked to what comes next
    while True:
        if (
            c.blocks[block].native
            and end - start == c.blocks[block].count
            and (
                c.blocks[block].mode & MODE_FLAT or arena.within(c, c.blocks[block].mode, c.blocks[block].at)
            )
        ):
            left = arena.enter(c, block)
            if left == arena.PARTIAL:
                start = c.blocks[c.current].ops
                leave_block(c, start, start + c.native_done, start + c.blocks[c.current].count)
                return
        else:
            left = 0
            j = operations.perform(c, j, end)
            if c.gone:
                c.gone = 0
                c.icount += j + 1 - start
            else:
                leave_block(c, start, j, end)
                if j < end:
                    return
        if c.special or (c.on_interrupt and pending.intr_level(c)):
            return
        block = find(c, c.eip, c.current)
        if block == 0 or c.icount + c.blocks[block].count > c.stop_at:
            return
        if c.blocks[block].native:
            if left:
                arena.link(c, left, block, c.eip)
            else:
                arena.remember_jump(c, c.eip, block)
        else:
            count_run(c, block)
        c.current = block
        c.block_eip = c.eip
        start = j = c.blocks[block].ops
        end = start + c.blocks[block].count


def leave_block(c, start, j, end):
    """Operations `start` to `j` - 1 completed, of those up to `end`: what follows did not, or is another block's."""
    o: cython.pointer(Op)
    if j < end:
        o = c.ops + j
        c.eip = (c.block_eip + o.off - o.length) & M32
    else:
        o = c.ops + (end - 1)
        c.eip = (c.block_eip + o.off) & M32
    c.icount += j - start
