"""Guest memory as instructions see it: segments, the software TLB, and accesses that are not memory.

SDM vol. 3 ch. 3 (segmentation) and §5.3 (limit checking). A linear page is looked up once; the TLB then holds
what must be added to a linear address to get a host offset, with a tag each for reading, writing and fetching.
A page that holds decoded code has no write tag, so that every store there comes through `physical.store`.
The table is large, for its lists of what is in it make a flush as short as the working set is small.

`read`, `write` and `read_to_modify` are the doors for instructions; `operations` has the same hit path inline for
the sizes that matter. Accesses by linear address are the processor's own (descriptor tables, TSS).
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import physical
    from cython.cimports.hvcore.cpu.jit import arena
    from cython.cimports.hvcore.cpu.state import *
    from cython.cimports.posix.time import CLOCK_MONOTONIC, clock_gettime, timespec
else:
    import time

    from hvcore.cpu import physical
    from hvcore.cpu.constants import *
    from hvcore.cpu.jit import arena


def exception(c, vector, error):
    """Raise an exception that has an error code."""
    c.fault = FAULT_EXCEPTION
    c.fault_vector = vector
    c.fault_error = error
    c.fault_has_error = 1
    c.fault_kind = EVENT_EXCEPTION


def exception_plain(c, vector):
    """Raise an exception that has none."""
    c.fault = FAULT_EXCEPTION
    c.fault_vector = vector
    c.fault_error = 0
    c.fault_has_error = 0
    c.fault_kind = EVENT_EXCEPTION


# Segments


def update_segment(c, seg):
    """Recompute what a segment allows without a closer look: `rd_size`, `wr_size` bytes from its base."""
    attr: u32 = c.attr[seg]
    size: u64 = c.limit[seg]
    size += 1
    c.rd_size[seg] = size
    c.wr_size[seg] = size
    if not c.protected:
        pass
    elif attr & SEG_UNUSABLE:
        c.rd_size[seg] = 0
        c.wr_size[seg] = 0
    elif attr & SEG_CODE:
        c.wr_size[seg] = 0
        if not attr & SEG_READABLE:
            c.rd_size[seg] = 0
    elif attr & SEG_DOWN:
        c.rd_size[seg] = 0
        c.wr_size[seg] = 0
    elif not attr & SEG_WRITABLE:
        c.wr_size[seg] = 0
    update_blocks(c)


def update_blocks(c):
    """Follow a change of a segment, of CR0 or CR4, or of what masks exceptions: which of the decoded blocks may run."""
    before: u32 = c.mode
    c.code_size = 2 if c.attr[CS] & SEG_BIG else 1
    c.sp_mask = M32 if c.attr[SS] & SEG_BIG else 0xFFFF
    c.mode = c.code_size
    if (
        c.has_sse2
        and c.cr4 & CR4_OSFXSR
        and not c.cr0 & (CR0_EM | CR0_TS)
        and c.mxcsr & (MXCSR_MASKS | MXCSR_DAZ) == MXCSR_MASKS
    ):
        c.mode |= MODE_VECTORS
    if c.has_fpu and not c.cr0 & (CR0_EM | CR0_TS) and c.fp_control & X87_MASKS == X87_MASKS:
        c.mode |= MODE_X87
    if c.cpl == 3:
        c.mode |= MODE_USER
    if (before ^ c.mode) & (MODE_VECTORS | MODE_X87):
        arena.forget_jumps(c)
    if flat(c):
        c.mode |= MODE_FLAT
    elif c.limit[CS] >= (0xFFFF if c.code_size == 1 else M32):
        c.mode |= MODE_SEGMENTED
        if c.sp_mask == M32:
            c.mode |= MODE_STACK32


def flat(c):
    """Whether this is 32-bit code, and CS, SS, DS and ES reach all linear addresses from 0."""
    i: u32
    if c.code_size == 1 or c.sp_mask != M32 or c.limit[CS] != M32 or c.base[CS]:
        return 0
    for i in range(4):
        if c.base[i] or (i != CS and c.wr_size[i] <= M32):
            return 0
    return 1


def update_mode(c):
    """Follow a change of CR0.PE or EFLAGS.VM: `protected` says that segments have descriptors."""
    c.protected = c.cr0 & CR0_PE and not c.flags & F_VM
    update_stack_and_code(c)
    update_alignment(c)


def update_stack_and_code(c):
    """Recompute what follows from the D/B bits of CS and SS and from CR0.PE."""
    i: u32
    for i in range(6):
        update_segment(c, i)


def segment_allows(c, seg, off, n, write):
    """Whether all `n` bytes from `off` may be read or written through a segment: the whole rule."""
    attr: u32 = c.attr[seg]
    last: u64 = off + n - 1
    limit: u64 = c.limit[seg]
    if not c.protected:
        return last <= limit
    if attr & SEG_UNUSABLE:
        return 0
    if attr & SEG_CODE:
        return not write and (attr & SEG_READABLE) != 0 and last <= limit
    if write and not attr & SEG_WRITABLE:
        return 0
    if attr & SEG_DOWN:
        return off > limit and last <= (M32 if attr & SEG_BIG else 0xFFFF)
    return last <= limit


def segment_fault(c, seg):
    """The exception for an access that a segment does not allow."""
    exception(c, VEC_SS if seg == SS else VEC_GP, 0)


def check_write(c, seg, off, n):
    """Whether `n` bytes (at most a page) could be written now; raises the fault if not."""
    if not segment_allows(c, seg, off, n, 1):
        segment_fault(c, seg)
        return 0
    return writable(c, c.base[seg] + off, n)


# Pages


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
    """Host code no longer knows where the stack was found last; it goes by that while the TLB may keep it."""
    i: u32
    if cython.compiled:
        for i in range(2):
            c.stack_pages[i].rd = NO_PAGE
            c.stack_pages[i].wr = NO_PAGE


def has_code(c, i):
    """Whether an entry maps a page with decoded code: what CALLs noted holds only as long as the TLB has it."""
    return c.tlb[i].ex != NO_PAGE and c.page_code[((c.tlb[i].ex + c.tlb[i].add) & M64) >> 12] != 0


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


def set_cpl(c, cpl):
    """Change the privilege level, and with it the half of the TLB that holds what it may do."""
    c.cpl = cpl
    c.tlb_half = TLB_SIZE if cpl == 3 else 0
    c.mode = c.mode | MODE_USER if cpl == 3 else c.mode & (MODE_USER ^ M32)
    if c.flags & F_AC or c.aligning:
        update_alignment(c)


def update_alignment(c):
    """Follow a change of CR0.AM, EFLAGS.AC or CPL: while accesses are checked (#AC), the TLB must not hide them."""
    wanted: u32 = c.cpl == 3 and c.cr0 & CR0_AM and c.flags & F_AC
    if wanted and not c.aligning:
        flush(c)
    c.aligning = wanted


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


def page_fault(c, lin, access, present):
    """#PF (SDM vol. 3 §4.7): the error code says what was tried, and whether there was a translation.

    An entry that could not be read makes no page fault: the exit for that stands in `c.fault` already.
    """
    error: u32 = present
    if c.fault == FAULT_EXIT:
        return
    if access == WRITE:
        error |= 2
    if c.tlb_half:
        error |= 4
    if access == FETCH and c.efer & EFER_NXE and c.cr4 & CR4_PAE:
        error |= 16
    c.fault_address = lin
    exception(c, VEC_PF, error)


def table_entry(c, phys, lin, n):
    """An entry of a paging structure on the way to `lin`. In no memory it is 0, not present, and an exit.

    A backend that emulates an instruction, or walks for itself, has had that exit: to it the entry is not present, and
    the guest gets a page fault, as from other hypervisors. The writes of a walk go where it has read.
    """
    slot: s64 = physical.locate(c, phys & c.a20_mask)
    if slot >= 0:
        return physical.host_load(c, c.slots[slot].read + (phys & c.a20_mask) - c.slots[slot].first, n)
    if not c.emulating:
        physical.mmio_read(c, phys & c.a20_mask, lin, n)
        c.info.table = 1
    return 0


def pae_paging(c, cr0, cr4):
    """Whether PAE paging with PDPTE registers is on under these values of CR0 and CR4."""
    return cr0 & CR0_PG and cr4 & CR4_PAE and not c.pdptes_in_memory


def read_pdptes(c, cr3):
    """Read the four entries of PAE's first table at CR3, for `latch_pdptes`; changes nothing the guest can see.

    0 with #GP(0) if one that is present has a reserved bit (SDM vol. 3 §4.4.1), or with an exit that has no linear
    address (table 28-7) if they lie in no memory.
    """
    i: u32
    entry: u64
    for i in range(4):
        entry = table_entry(c, (cr3 & PAE_ROOT) + i * 8, 0, 8)
        if c.fault:
            c.info.linear_valid = 0
            return 0
        if entry & PTE_P and entry & PDPTE_RESERVED:
            exception(c, VEC_GP, 0)
            return 0
        c.pdptes_read[i] = entry
    return 1


def latch_pdptes(c):
    """Put what `read_pdptes` read into the PDPTE registers, where walks find it."""
    i: u32
    for i in range(4):
        c.pdptes[i] = c.pdptes_read[i]


def reserved_in(c, entry):
    """Whether an entry of PAE has an address bit that does not exist, or NX that EFER does not enable."""
    return (entry & PAE_RESERVED) != 0 or (entry & NO_PAGE and not c.efer & EFER_NXE)


def mark_entry(c, phys, entry, bits, n):
    """Set accessed and dirty in an entry that lacks them."""
    if entry & bits != bits:
        physical.store(c, phys & c.a20_mask, 0, entry | bits, n)


def watch(c, lin, n, write):
    """Note the data breakpoints (SDM vol. 3 §18.2.4) that an access of `n` bytes meets; a trap follows."""
    i: u32
    kind: u64
    size: u64
    at: u64
    for i in range(4):
        if not (c.debug[7] >> (2 * i)) & 3:
            continue
        kind = (c.debug[7] >> (16 + 4 * i)) & 3
        size = (c.debug[7] >> (18 + 4 * i)) & 3
        at = c.debug[i] & (size ^ M64)
        if (kind == 3 or (kind == 1 and write)) and at < lin + n and lin <= at + size:
            c.watch_hit |= 1 << i


def arm_breakpoints(c):
    """Follow a change of DR7 or DR0 to DR3: the TLB must not hide pages that are watched."""
    i: u32
    c.watching = 0
    for i in range(4):
        if (c.debug[7] >> (2 * i)) & 3 and (c.debug[7] >> (16 + 4 * i)) & 1:
            c.watching = 1
    if c.debug[7] & DR7_ENABLES:
        c.special |= SPECIAL_DEBUG
    else:
        c.special &= SPECIAL_DEBUG ^ M32
    flush(c)


def host_time():
    """The host's monotonic clock in nanoseconds."""
    if cython.compiled:
        now: timespec
        clock_gettime(CLOCK_MONOTONIC, cython.address(now))
        return cython.cast(u64, now.tv_sec) * 1000000000 + now.tv_nsec
    else:
        return time.monotonic_ns()


def translate(c, lin, access):
    """Linear to guest-physical, as `walk`; timed if somebody asked for that."""
    before: u64
    phys: u64
    if not c.timed:
        return walk(c, lin, access)
    before = host_time()
    phys = walk(c, lin, access)
    c.time_walking += host_time() - before
    return phys


def walk(c, lin, access):
    """Linear to guest-physical through the paging structures (SDM vol. 3 §4.3 32-bit, §4.4 PAE); may raise #PF.

    Or the exit for a paging structure in no memory. Accessed and dirty bits are set on the way. `walk_rights` is left
    with the rights of the page and `walk_flags` with the last entry, for `fill`.
    """
    n: u32 = 8 if c.cr4 & CR4_PAE else 4
    at: u64
    pde_at: u64
    pde: u64
    pte: u64
    rights: u64
    no_execute: u64 = 0
    lin_bits: u64
    reserved: u64
    dirty: u64 = PTE_A | PTE_D if access == WRITE else PTE_A
    c.walk_flags = PTE_D
    c.walk_rights = PTE_W | PTE_U
    if not c.cr0 & CR0_PG:
        return lin & M32 & c.a20_mask
    if n == 8:
        if c.pdptes_in_memory:
            pde = table_entry(c, (c.cr3 & PAE_ROOT) + ((lin >> 30) & 3) * 8, lin, 8)
            if pde & PTE_P and pde & PDPTE_RESERVED:
                page_fault(c, lin, access, 9)
                return 0
        else:
            pde = c.pdptes[(lin >> 30) & 3]
        if not pde & PTE_P:
            page_fault(c, lin, access, 0)
            return 0
        pde_at = (pde & PHYSICAL_PAGE) + ((lin >> 21) & 511) * 8
        pde = table_entry(c, pde_at, lin, 8)
    else:
        pde_at = (c.cr3 & PHYSICAL_PAGE) + ((lin >> 22) & 1023) * 4
        pde = table_entry(c, pde_at, lin, 4)
    if not pde & PTE_P:
        page_fault(c, lin, access, 0)
        return 0
    if n == 8 and reserved_in(c, pde):
        page_fault(c, lin, access, 9)
        return 0
    if pde & PTE_PS and c.cr4 & (CR4_PSE | CR4_PAE):
        c.large_pages = 1
        c.large_region[(lin >> 22) & 1023] = 1
        rights = pde
        at = pde_at
        pte = pde
        no_execute = pde & NO_PAGE
        if n == 8:
            lin_bits = 0x1FFFFF
            reserved = 0x1FE000
        else:
            lin_bits = 0x3FFFFF
            reserved = 0x3FE000
            if c.features & HAS_PSE36:  # bits 35:32 of the address stand in 16:13
                reserved = 0x3E0000
        if pde & reserved:
            page_fault(c, lin, access, 9)
            return 0
        pte = (pde & PHYSICAL_PAGE & (lin_bits ^ M64)) | (lin & lin_bits & PAGE_BITS)
        if n == 4:
            pte |= (pde & 0x1E000) << 19
    else:
        if n == 8:
            at = (pde & PHYSICAL_PAGE) + ((lin >> 12) & 511) * 8
        else:
            at = (pde & PHYSICAL_PAGE) + ((lin >> 12) & 1023) * 4
        pte = table_entry(c, at, lin, n)
        if not pte & PTE_P:
            page_fault(c, lin, access, 0)
            return 0
        if n == 8 and reserved_in(c, pte):
            page_fault(c, lin, access, 9)
            return 0
        rights = pde & pte
        no_execute = (pde | pte) & NO_PAGE
    if c.tlb_half and not rights & PTE_U:
        page_fault(c, lin, access, 1)
        return 0
    if access == WRITE and not rights & PTE_W and (c.tlb_half or c.cr0 & CR0_WP):
        page_fault(c, lin, access, 1)
        return 0
    if access == FETCH and no_execute:
        page_fault(c, lin, access, 1)
        return 0
    if at == pde_at:
        mark_entry(c, pde_at, pde, dirty, n)
        c.walk_flags = (pde | dirty) & (PTE_D | PTE_G)
    else:
        mark_entry(c, pde_at, pde, PTE_A, n)
        mark_entry(c, at, pte, dirty, n)
        c.walk_flags = (pte | dirty) & (PTE_D | PTE_G)
    c.walk_rights = rights & (PTE_W | PTE_U)
    if not c.tlb_half and not c.cr0 & CR0_WP:
        c.walk_rights |= PTE_W
    if no_execute:
        c.walk_flags |= NO_PAGE
    return ((pte & PHYSICAL_PAGE) | (lin & 0xFFF)) & c.a20_mask


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
    c.tlb[i].ex = NO_PAGE if c.walk_flags & NO_PAGE else page
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


def misaligned(c, lin, n):
    """Whether an access of ring 3 raises #AC; the processor's own to its tables never do."""
    if not c.tlb_half or not lin & (n - 1):
        return 0
    exception(c, VEC_AC, 0)
    return 1


def read_linear(c, lin, n):
    """Read 1, 2, 4 or 8 bytes; the segment has been checked."""
    phys: u64
    slot: s64
    value: u64 = 0
    i: u32
    entry: u64
    lin = lin & M32
    entry = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if (lin ^ c.tlb[entry].rd) <= 4096 - n:
        return physical.host_load(c, (lin + c.tlb[entry].add) & M64, n)
    if c.aligning and misaligned(c, lin, n):
        return 0
    if c.watching:
        watch(c, lin, n, 0)
    if (lin & 0xFFF) + n <= 4096:
        phys = translate(c, lin, READ)
        if c.fault:
            return 0
        slot = physical.locate(c, phys)
        if slot < 0:
            return physical.mmio_read(c, phys, lin, n)
        fill(c, lin, phys, slot)
        return physical.host_load(c, (lin + c.tlb[entry].add) & M64, n)
    for i in range(n):
        phys = translate(c, (lin + i) & M32, READ)
        if c.fault:
            return 0
        value |= physical.load(c, phys, (lin + i) & M32, 1) << (8 * i)
        if c.fault:
            return 0
    return value


def writable(c, lin, n):
    """Whether `n` bytes (at most a page) can be written without a page fault, which is raised if not.

    What is no memory counts as writable while emulating; else the exit for it is raised.
    """
    phys: u64
    last: u64 = (lin + n - 1) & M32
    lin = lin & M32
    phys = translate(c, lin, WRITE)
    if c.fault:
        return 0
    if physical.locate(c, phys) < 0 and not c.emulating:
        physical.mmio_write(c, phys, lin, 0, 1)
        return 0
    if (lin ^ last) & PAGE_BITS:
        phys = translate(c, last & PAGE_BITS, WRITE)
        if c.fault:
            return 0
        if physical.locate(c, phys) < 0 and not c.emulating:
            physical.mmio_write(c, phys, last & PAGE_BITS, 0, 1)
            return 0
    return 1


def write_linear(c, lin, value, n):
    """Write 1, 2, 4 or 8 bytes; the segment has been checked. All or nothing."""
    phys: u64
    slot: s64
    i: u32
    entry: u64
    lin = lin & M32
    entry = ((lin >> 12) & TLB_MASK) | c.tlb_half
    if (lin ^ c.tlb[entry].wr) <= 4096 - n:
        physical.host_store(c, (lin + c.tlb[entry].add) & M64, value, n)
        return
    if c.aligning and misaligned(c, lin, n):
        return
    if c.watching:
        watch(c, lin, n, 1)
    if (lin & 0xFFF) + n <= 4096:
        phys = translate(c, lin, WRITE)
        if c.fault:
            return
        slot = physical.locate(c, phys)
        if slot < 0:
            physical.mmio_write(c, phys, lin, value, n)
            return
        fill(c, lin, phys, slot)
        physical.store(c, phys, lin, value, n)
        return
    if not writable(c, lin, n):
        return
    for i in range(n):
        physical.store(c, translate(c, (lin + i) & M32, WRITE), (lin + i) & M32, (value >> (8 * i)) & 0xFF, 1)


def system_read(c, lin, n):
    """Read a system table: with the rights of ring 0, whatever CPL is (SDM vol. 3 §4.6, implicit accesses)."""
    half: u64 = c.tlb_half
    value: u64
    c.tlb_half = 0
    value = read_linear(c, lin, n)
    c.tlb_half = half
    return value


def system_write(c, lin, value, n):
    """Write a system table."""
    half: u64 = c.tlb_half
    c.tlb_half = 0
    write_linear(c, lin, value, n)
    c.tlb_half = half


# What instructions use


def read(c, seg, off, size):
    """Read an operand of `size` through a segment."""
    n: u64 = 1 << size
    if off + n > c.rd_size[seg] and not segment_allows(c, seg, off, n, 0):
        segment_fault(c, seg)
        return 0
    return read_linear(c, c.base[seg] + off, n)


def write(c, seg, off, value, size):
    """Write an operand of `size` through a segment."""
    n: u64 = 1 << size
    if off + n > c.wr_size[seg] and not segment_allows(c, seg, off, n, 1):
        segment_fault(c, seg)
        return
    write_linear(c, c.base[seg] + off, value, n)


def read_to_modify(c, seg, off, size):
    """Read an operand that will be written back: after this, `write` to the same place cannot fail."""
    n: u64 = 1 << size
    lin: u64 = c.base[seg] + off
    if off + n > c.wr_size[seg] or off + n > c.rd_size[seg]:
        if not segment_allows(c, seg, off, n, 1) or not segment_allows(c, seg, off, n, 0):
            segment_fault(c, seg)
            return 0
    if (lin ^ c.tlb[((lin >> 12) & TLB_MASK) | c.tlb_half].wr) > 4096 - n:
        phys: u64 = translate(c, lin & M32, WRITE)
        if c.fault or (physical.locate(c, phys) >= 0 and not writable(c, lin, n)):
            return 0
    return read_linear(c, lin, n)


def set_sp(c, value):
    """Set SP or ESP, as the stack segment says."""
    c.regs[RSP] = (c.regs[RSP] & (c.sp_mask ^ M64)) | (value & c.sp_mask)


def push(c, value, size):
    """Push one operand."""
    sp: u64 = (c.regs[RSP] - (1 << size)) & c.sp_mask
    write(c, SS, sp, value, size)
    if not c.fault:
        set_sp(c, sp)


def pop(c, size):
    """Pop one operand."""
    sp: u64 = c.regs[RSP] & c.sp_mask
    value: u64 = read(c, SS, sp, size)
    if not c.fault:
        set_sp(c, sp + (1 << size))
    return value


def peek(c, n, size):
    """The stack item `n` bytes above the top."""
    return read(c, SS, (c.regs[RSP] + n) & c.sp_mask, size)


# Code


def fill_fetch_window(c, eip):
    """Put up to 15 bytes of code at CS:`eip` into `fetched`; `fetch_count` of them may be executed.

    `fetch_at` becomes the host offset of the first byte. Raises nothing: an instruction may end before the
    byte that cannot be had. `fetch_fault` says what is wrong there.
    """
    lin: u64 = (c.base[CS] + eip) & M32
    limit: u64 = c.limit[CS]
    n: u64 = 15
    i: u64 = 0
    phys: u64
    slot: s64
    at: u64
    entry: u64
    c.fetch_count = 0
    if eip > limit:
        return
    if limit - eip < 14:
        n = limit - eip + 1
    while i < n:
        entry = ((lin >> 12) & TLB_MASK) | c.tlb_half
        if lin & PAGE_BITS != c.tlb[entry].ex:
            phys = translate(c, lin, FETCH)
            if c.fault:
                c.fault = FAULT_NONE
                return
            slot = physical.locate(c, phys)
            if slot < 0:
                return
            fill(c, lin, phys, slot)
        at = (lin + c.tlb[entry].add) & M64
        if i == 0:
            c.fetch_at = at
        while i < n:
            c.fetched[i] = c.host[at]
            i += 1
            at += 1
            lin = (lin + 1) & M32
            if not lin & 0xFFF:
                break
        c.fetch_count = i


def fetch_fault(c, eip):
    """Raise what a fetch of the byte at CS:`eip` meets."""
    lin: u64 = (c.base[CS] + eip) & M32
    phys: u64
    if eip > c.limit[CS]:
        exception(c, VEC_GP, 0)
        return
    phys = translate(c, lin, FETCH)
    if c.fault:
        return
    physical.mmio_read(c, phys, lin, 1)
    c.fault = FAULT_EXIT
    c.info.read = 0
    c.info.fetch = 1
