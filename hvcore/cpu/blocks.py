"""Basic blocks are made: bytes at CS:EIP to operations, up to the first that may go elsewhere (see `codecache`)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import codecache, decode, faults, mmu, tlb
    from cython.cimports.hvcore.cpu.jit import arena
    from cython.cimports.hvcore.cpu.kinds import (
        CMP32_RI, CMP32_RR, CMPJ32_RI, CMPJ32_RR, JCC, JZ, TEST32_RR, TESTJ32_RR,
    )
    from cython.cimports.hvcore.cpu.state import (
        CS, M32, M64, MAX_BLOCKS, MAX_BLOCK_OPS, MAX_OPS, TEST_O, TEST_P, TLB_MASK, VEC_GP, Op, s64, u32, u64,
    )
else:
    from hvcore.cpu import codecache, decode, faults, mmu, tlb
    from hvcore.cpu.constants import (
        CMP32_RI, CMP32_RR, CMPJ32_RI, CMPJ32_RR, CS, JCC, JZ, M32, M64, MAX_BLOCKS, MAX_BLOCK_OPS, MAX_OPS,
        TEST32_RR, TESTJ32_RR, TEST_O, TEST_P, TLB_MASK, VEC_GP, s64, u32, u64,
    )
    from hvcore.cpu.jit import arena

    Op = object
# fmt: on


def fuse(o, jump):
    """Let a comparison do the conditional jump behind it too."""
    if jump.sub >> 1 == TEST_O or jump.sub >> 1 == TEST_P:
        return  # `operations.below` does not know them
    if o.kind == CMP32_RR:
        o.kind = CMPJ32_RR
    elif o.kind == CMP32_RI:
        o.kind = CMPJ32_RI
    elif o.kind == TEST32_RR:
        o.kind = TESTJ32_RR


def build(c, eip):
    """Decode the block at CS:`eip` and return its number.

    -1: a single instruction that is not remembered stands at MAX_OPS.
    0: there is no instruction; the fault is raised.
    """
    first: u64
    at: u64
    n: u32 = 0
    length: u32
    size: u32 = c.code_size
    total: u64 = 0
    o: cython.pointer(Op)
    ended: u32 = 0
    block: s64
    if c.blocks_used + 2 > MAX_BLOCKS or c.ops_used + MAX_BLOCK_OPS > MAX_OPS or arena.full(c):
        codecache.drop_all(c)
    mmu.fill_fetch_window(c, eip)
    first = at = c.fetch_at
    while not ended and n < MAX_BLOCK_OPS:
        o = c.ops + (c.ops_used + n)
        length = decode.decode(c, o, size)
        if length == 0:
            if n:
                break
            return single(c, eip)
        if (at & 0xFFF) + length > 4096:
            if n:
                break
            return build_over(c, eip, length)
        total += length
        o.off = total
        ended = o.ends
        n += 1
        at += length
        if not at & 0xFFF:
            break
        if not ended:
            mmu.fill_fetch_window(c, (eip + total) & M32)
            if c.fetch_at != at or c.fetch_count == 0:
                break
    if n >= 2 and JZ <= (c.ops + (c.ops_used + n - 1)).kind <= JCC:
        fuse(c.ops + (c.ops_used + n - 2), c.ops + (c.ops_used + n - 1))
    if not c.page_code[first >> 12]:
        tlb.protect_code_page(c, first >> 12)
    block = codecache.add(c, first, c.mode, c.ops_used, n, total)
    c.ops_used += n
    return block


def build_over(c, eip, length):
    """Make the block of one instruction of `length` bytes that lies over the end of a page, and is decoded already."""
    at: u64 = c.fetch_at
    here: u64 = 4096 - (at & 0xFFF)
    page: u64 = (c.base[CS] + eip + here) & M32
    beyond: u64 = (page + c.tlb[((page >> 12) & TLB_MASK) | c.tlb_half].add) & M64
    o: cython.pointer(Op) = c.ops + c.ops_used
    block: s64
    if codecache.find(c, at, c.mode):  # which goes on in another page than this time
        return single(c, eip)
    o.off = length
    if not c.page_code[at >> 12]:
        tlb.protect_code_page(c, at >> 12)
    if not c.page_code[beyond >> 12]:
        tlb.protect_code_page(c, beyond >> 12)
    block = codecache.add(c, at, c.mode, c.ops_used, 1, length)
    codecache.add_tail(c, block, beyond, length - here)
    c.ops_used += 1
    return block


def single(c, eip):
    """Decode one instruction to MAX_OPS, in no block; returns as `build` does."""
    o: cython.pointer(Op) = c.ops + MAX_OPS
    mmu.fill_fetch_window(c, eip)
    o.off = decode.decode(c, o, c.code_size)
    if o.off:
        return -1
    if c.fetch_count >= 15:
        faults.exception(c, VEC_GP, 0)  # longer than an instruction may be
    else:
        mmu.fetch_fault(c, eip + c.fetch_count)
    return 0
