"""Decoded basic blocks: found by where their bytes lie, dropped when those bytes change.

A block is at most MAX_BLOCK_OPS operations, ends with the first instruction that may go elsewhere, and never
leaves its page (`blocks` makes them), but for an instruction that lies over the end of a page: that is a block of its
own, and has a *tail*, which stands for it among the blocks of the second page. A block is known by the host offset
of its first byte and by the mode it was decoded in; host offsets are the same through every mapping, so code seen at
two addresses is one block, and a write through either finds it. `page_code` has a bit for every 64 bytes of a page that
hold decoded code, so that data beside code does not cost blocks.

Block 0 is never used: 0 means none.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import arena
    from cython.cimports.hvcore.cpu.kinds import LEAVE
    from cython.cimports.hvcore.cpu.state import (
        BLOCK_BUCKETS, M32, M64, PAGE_BITS, TLB_MASK, Op, s64, u32, u64,
    )
else:
    from hvcore.cpu.constants import BLOCK_BUCKETS, LEAVE, M32, M64, PAGE_BITS, TLB_MASK, s64, u32, u64
    from hvcore.cpu.jit import arena

    Op = object
# fmt: on


def bucket(at, mode):
    """Which chain a block is on."""
    return (at ^ (at >> 13) ^ (mode << 11)) & (BLOCK_BUCKETS - 1)


def chunk_bits(first, last):
    """The bits of `page_code` for the bytes `first` to `last` (host offsets within one page)."""
    low: u64 = (first & 0xFFF) >> 6
    high: u64 = (last & 0xFFF) >> 6
    one: u64 = 1
    return ((one << (high - low)) * 2 - 1) << low


def find(c, at, mode):
    """The block that starts at host offset `at` in `mode`, or 0."""
    i: s64 = c.buckets[bucket(at, mode)]
    while i:
        if c.blocks[i].at == at and c.blocks[i].mode == mode:
            return i
        i = c.blocks[i].next
    return 0


def add(c, at, mode, ops, count, length):
    """Remember a block of `count` operations from index `ops`, made of `length` bytes; returns its number."""
    i: s64 = c.blocks_used
    k: u64 = bucket(at, mode)
    page: u64 = at >> 12
    c.blocks_used += 1
    c.blocks[i].at = at
    c.blocks[i].mode = mode
    c.blocks[i].ops = ops
    c.blocks[i].count = count
    c.blocks[i].length = length
    c.blocks[i].link = 0
    c.blocks[i].valid = 1
    c.blocks[i].tail = 0
    c.blocks[i].head = 0
    c.blocks[i].runs = 0
    c.blocks[i].native = 0
    c.blocks[i].host_code = 0
    c.blocks[i].next = c.buckets[k]
    c.buckets[k] = i
    c.blocks[i].next_in_page = c.page_blocks[page]
    c.page_blocks[page] = i
    c.page_code[page] |= code_bits(c, i)
    return i


def add_tail(c, i, at, length):
    """The instruction of block `i` goes on in another page, with `length` bytes from host offset `at`."""
    tail: s64 = c.blocks_used
    page: u64 = at >> 12
    c.blocks_used += 1
    c.blocks[tail].at = at
    c.blocks[tail].length = length
    c.blocks[tail].mode = 0
    c.blocks[tail].valid = 0
    c.blocks[tail].native = 0
    c.blocks[tail].tail = 0
    c.blocks[tail].head = i
    c.blocks[tail].next_in_page = c.page_blocks[page]
    c.page_blocks[page] = tail
    c.page_code[page] |= code_bits(c, tail)
    c.blocks[i].tail = tail


def goes_on(c, i, lin):
    """Whether the page behind that of `lin` is the one where the tail of block `i` lies, and may be executed."""
    page: u64 = (lin + 4096) & PAGE_BITS & M32
    entry: u64 = ((page >> 12) & TLB_MASK) | c.tlb_half
    return c.tlb[entry].ex == page and (page + c.tlb[entry].add) & M64 == c.blocks[c.blocks[i].tail].at


def code_bits(c, i):
    """The bits of `page_code` for the bytes of block `i` that lie in its page."""
    at: u64 = c.blocks[i].at
    last: u64 = at + c.blocks[i].length - 1
    return chunk_bits(at, min(last, at | 0xFFF))


def forget(c, i):
    """Block `i` is no more what its bytes say; whoever executes it leaves at its next operation (see `drop_page`)."""
    j: u32
    if not c.blocks[i].valid:
        return
    unchain(c, i)
    c.blocks[i].valid = 0
    arena.unlink(c, i)
    for j in range(c.blocks[i].ops, c.blocks[i].ops + c.blocks[i].count):
        c.ops[j].kind = LEAVE


def unchain(c, i):
    """Take block `i` off its bucket."""
    k: u64 = bucket(c.blocks[i].at, c.blocks[i].mode)
    j: s64 = c.buckets[k]
    if j == i:
        c.buckets[k] = c.blocks[i].next
        return
    while c.blocks[j].next != i:
        j = c.blocks[j].next
    c.blocks[j].next = c.blocks[i].next


def drop_page(c, page, first, last):
    """Forget the blocks of host page `page` that have bytes between host offsets `first` and `last`.

    The operations of a block that is being executed stay where they are, but become LEAVE, so the loop
    leaves at the next one and decodes anew what now stands there.
    """
    i: s64 = c.page_blocks[page]
    keep: s64 = 0
    after: s64
    whole: s64
    code: u64 = 0
    while i:
        after = c.blocks[i].next_in_page
        whole = c.blocks[i].head or i
        if c.blocks[i].at <= last and c.blocks[i].at + c.blocks[i].length > first:
            forget(c, whole)
        elif c.blocks[whole].valid:  # it may have been forgotten in its other page
            code |= code_bits(c, i)
            c.blocks[i].next_in_page = keep
            keep = i
        i = after
    c.page_blocks[page] = keep
    c.page_code[page] = code


def drop_all(c):
    """Forget every block. Only between blocks: the arrays are used again from the start."""
    i: u32
    page: u64
    for i in range(1, c.blocks_used):
        page = c.blocks[i].at >> 12
        c.page_blocks[page] = 0
        c.page_code[page] = 0
        c.buckets[bucket(c.blocks[i].at, c.blocks[i].mode)] = 0
        c.blocks[i].valid = 0
    c.blocks[0].link = 0  # what a run began with
    c.blocks_used = 1
    c.ops_used = 0
    arena.forget_all(c)
