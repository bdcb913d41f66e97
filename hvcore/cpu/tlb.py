"""The software TLB: which linear pages are known, and when they are forgotten (SDM vol. 3 §4.10).

An entry holds what must be added to a linear address to get a host offset, with a tag each for reading, writing and
fetching. A page that holds decoded code has no write tag, so that every store there comes through `physical.store`.
The table is large, for its lists of what is in it make a flush as short as the working set is small.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import arena
    from cython.cimports.hvcore.cpu.state import (
        CR4_PGE, M64, NO_PAGE, PAGE_BITS, PTE_D, PTE_G, PTE_NX, PTE_W, TLB_GLOBAL, TLB_IN_GLOBAL,
        TLB_IN_LOCAL, TLB_MASK, TLB_SIZE, u32, u64,
    )
else:
    from hvcore.cpu.constants import (
        CR4_PGE, M64, NO_PAGE, PAGE_BITS, PTE_D, PTE_G, PTE_NX, PTE_W, TLB_GLOBAL, TLB_IN_GLOBAL,
        TLB_IN_LOCAL, TLB_MASK, TLB_SIZE, u32, u64,
    )
    from hvcore.cpu.jit import arena
# fmt: on


def clear(c):
    """Make the TLB empty, whatever it is; `flush` goes by what it knows to be in it."""
    i: u32
    if cython.compiled:
        for i in range(2 * TLB_SIZE):
            forget(c, i)
        forget_stack_pages(c)


def forget(c, i):
    """Make one entry empty."""
    c.tlb[i].rd = NO_PAGE
    c.tlb[i].wr = NO_PAGE
    c.tlb[i].ex = NO_PAGE


def forget_stack_pages(c):
    """Host code no longer knows where stack and frame were found last; it goes by that while the TLB may keep it."""
    i: u32
    if cython.compiled:
        for i in range(4):
            c.stack_pages[i].rd = NO_PAGE
            c.stack_pages[i].wr = NO_PAGE


def has_code(c, i):
    """Whether an entry maps a page with decoded code: what CALLs noted holds only as long as the TLB has it."""
    return c.tlb[i].ex != NO_PAGE and c.page_code[((c.tlb[i].ex + c.tlb[i].add) & M64) >> 12] != 0


def fill(c, lin, phys, slot):
    """Remember the translation of the page of `lin` that `translate` has just made.

    There is a write tag only for a page that is dirty already, so that the first store walks and marks it.
    """
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    page: u64 = lin & PAGE_BITS
    at: u64 = c.slots[slot].read + (phys & PAGE_BITS) - c.slots[slot].first
    c.count_tlb_misses += 1
    if has_code(c, i):
        arena.forget_returns(c)
    c.tlb[i].rd = page
    c.tlb[i].ex = NO_PAGE if c.walk_flags & PTE_NX else page
    c.tlb[i].add = (at - page) & M64
    if c.walk_flags & PTE_G and c.cr4 & CR4_PGE:
        if not c.tlb_state[i] & TLB_IN_GLOBAL:
            c.tlb_global[c.tlb_globals] = i
            c.tlb_globals += 1
        c.tlb_state[i] |= TLB_GLOBAL | TLB_IN_GLOBAL
    else:
        if not c.tlb_state[i] & TLB_IN_LOCAL:
            c.tlb_local[c.tlb_locals] = i
            c.tlb_locals += 1
        c.tlb_state[i] = (c.tlb_state[i] | TLB_IN_LOCAL) & (TLB_GLOBAL ^ 0xFF)
    c.tlb[i].wr = NO_PAGE
    if c.walk_flags & PTE_D and c.walk_rights & PTE_W and c.slots[slot].write == c.slots[slot].read:
        if not c.page_code[at >> 12]:
            c.tlb[i].wr = page
    if c.watching or (c.aligning and c.tlb_half):  # every access comes the long way
        c.tlb[i].rd = NO_PAGE
        c.tlb[i].wr = NO_PAGE


def flush(c):
    """Forget every translation, global ones too."""
    i: u32
    arena.forget_returns(c)
    forget_stack_pages(c)
    for i in range(c.tlb_locals):
        forget(c, c.tlb_local[i])
        c.tlb_state[c.tlb_local[i]] = 0
    for i in range(c.tlb_globals):
        forget(c, c.tlb_global[i])
        c.tlb_state[c.tlb_global[i]] = 0
    c.tlb_locals = 0
    c.tlb_globals = 0
    if c.large_pages:
        c.large_pages = 0
        for i in range(1024):
            c.large_region[i] = 0


def flush_local(c):
    """Forget the translations that a load of CR3 ends: all but those of global pages.

    There are no PCIDs outside long mode, so another address space's have to go whatever becomes of them.
    """
    n: u32
    i: u32
    code: u32 = 0
    forget_stack_pages(c)
    for n in range(c.tlb_locals):
        i = c.tlb_local[n]
        c.tlb_state[i] &= TLB_GLOBAL | TLB_IN_GLOBAL
        if not c.tlb_state[i] & TLB_GLOBAL:
            code |= has_code(c, i)
            forget(c, i)
    c.tlb_locals = 0
    if code:
        arena.forget_returns(c)


def flush_page(c, lin):
    """INVLPG: forget what is known of one page, 4 KiB or larger."""
    i: u64 = (lin >> 12) & TLB_MASK
    forget_stack_pages(c)
    if c.large_region[(lin >> 22) & 1023]:
        flush_region(c, lin >> 22)
        return
    if has_code(c, i) or has_code(c, i + TLB_SIZE):
        arena.forget_returns(c)
    forget(c, i)
    forget(c, i + TLB_SIZE)


def flush_region(c, region):
    """Forget all pages in 4 MiB of the linear addresses, where there is a large page."""
    n: u32
    for n in range(c.tlb_locals):
        forget_in_region(c, c.tlb_local[n], region)
    for n in range(c.tlb_globals):
        forget_in_region(c, c.tlb_global[n], region)
    c.large_region[region & 1023] = 0
    arena.forget_returns(c)


def forget_in_region(c, i, region):
    """Forget an entry if its page lies there."""
    if c.tlb[i].rd >> 22 == region or c.tlb[i].wr >> 22 == region or c.tlb[i].ex >> 22 == region:
        forget(c, i)


def protect_code_page(c, page):
    """Host page `page` now holds decoded code: stores to it must be seen."""
    n: u32
    forget_stack_pages(c)
    for n in range(c.tlb_locals):
        protect_entry(c, c.tlb_local[n], page)
    for n in range(c.tlb_globals):
        protect_entry(c, c.tlb_global[n], page)


def protect_entry(c, i, page):
    """Take the write tag of an entry that maps host page `page`."""
    if c.tlb[i].wr != NO_PAGE and ((c.tlb[i].wr + c.tlb[i].add) & M64) >> 12 == page:
        c.tlb[i].wr = NO_PAGE
