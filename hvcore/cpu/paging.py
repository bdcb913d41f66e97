"""From linear to guest-physical addresses through the guest's paging structures, and page faults (SDM vol. 3 ch. 4).

There is 32-bit paging with pages of 4 KiB and 4 MiB, and PAE with pages of 4 KiB and 2 MiB. `tlb` keeps what
`translate` finds.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import clock, faults, physical
    from cython.cimports.hvcore.cpu.state import (
        CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, EFER_NXE, FAULT_EXIT, FETCH, HAS_PSE36, M32, M64, PAE_RESERVED,
        PAE_ROOT, PAGE_BITS, PDPTE_RESERVED, PF_FETCH, PF_PRESENT, PF_RESERVED, PF_USER, PF_WRITE,
        PHYSICAL_PAGE, PTE_A, PTE_D, PTE_G, PTE_NX, PTE_P, PTE_PS, PTE_U, PTE_W, VEC_GP, VEC_PF, WRITE, State,
        s64, u32, u64,
    )
else:
    from hvcore.cpu import clock, faults, physical
    from hvcore.cpu.constants import (
        CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, EFER_NXE, FAULT_EXIT, FETCH, HAS_PSE36, M32, M64, PAE_RESERVED,
        PAE_ROOT, PAGE_BITS, PDPTE_RESERVED, PF_FETCH, PF_PRESENT, PF_RESERVED, PF_USER, PF_WRITE,
        PHYSICAL_PAGE, PTE_A, PTE_D, PTE_G, PTE_NX, PTE_P, PTE_PS, PTE_U, PTE_W, VEC_GP, VEC_PF, WRITE, s64,
        u32, u64,
    )
    from hvcore.cpu.state import State
# fmt: on


# Steps of a walk, which every TLB miss takes: inlined.


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def reserved_in(c: State, entry: u64) -> u32:
    """Whether an entry of PAE has an address bit that does not exist, or NX that EFER does not enable."""
    return (entry & PAE_RESERVED) != 0 or (entry & PTE_NX and not c.efer & EFER_NXE)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def usable(c: State, lin: u64, access: u32, entry: u64) -> u32:
    """Whether an entry of a directory or a table is present, and has no reserved bit with PAE; #PF if not."""
    if not entry & PTE_P:
        page_fault(c, lin, access, 0)
        return 0
    if c.cr4 & CR4_PAE and reserved_in(c, entry):
        page_fault(c, lin, access, PF_PRESENT | PF_RESERVED)
        return 0
    return 1


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def directory_entry_at(c: State, lin: u64, access: u32) -> u64:
    """Where the page directory's entry for `lin` lies; with PAE a PDPTE leads there, and may be a fault or an exit."""
    pdpte: u64
    if not c.cr4 & CR4_PAE:
        return (c.cr3 & PHYSICAL_PAGE) + ((lin >> 22) & 1023) * 4
    if c.pdptes_in_memory:
        pdpte = table_entry(c, (c.cr3 & PAE_ROOT) + ((lin >> 30) & 3) * 8, lin, 8)
        if pdpte & PTE_P and pdpte & PDPTE_RESERVED:
            page_fault(c, lin, access, PF_PRESENT | PF_RESERVED)
            return 0
    else:
        pdpte = c.pdptes[(lin >> 30) & 3]
    if not pdpte & PTE_P:
        page_fault(c, lin, access, 0)
        return 0
    return (pdpte & PHYSICAL_PAGE) + ((lin >> 21) & 511) * 8


# The walk


def translate(c, lin, access):
    """Linear to guest-physical, as `walk`; timed if somebody asked for that."""
    before: u64
    phys: u64
    if not c.timed:
        return walk(c, lin, access)
    before = clock.now()
    phys = walk(c, lin, access)
    c.time_walking += clock.now() - before
    return phys


def walk(c, lin, access):
    """Linear to guest-physical through the paging structures (SDM vol. 3 §4.3 32-bit, §4.4 PAE); may raise #PF.

    Or the exit for a paging structure in no memory. Accessed and dirty bits are set on the way. `walk_rights` is left
    with the rights of the page and `walk_flags` with PTE_D, PTE_G and PTE_NX as they are for it: `tlb.fill` wants both.
    """
    n: u32 = 8 if c.cr4 & CR4_PAE else 4
    at: u64
    pde_at: u64
    pde: u64
    pte: u64
    rights: u64
    no_execute: u64
    dirty: u64 = PTE_A | PTE_D if access == WRITE else PTE_A
    c.walk_flags = PTE_D
    c.walk_rights = PTE_W | PTE_U
    if not c.cr0 & CR0_PG:
        return lin & M32 & c.a20_mask
    pde_at = directory_entry_at(c, lin, access)
    if c.fault:
        return 0
    pde = table_entry(c, pde_at, lin, n)
    if not usable(c, lin, access, pde):
        return 0
    if pde & PTE_PS and c.cr4 & (CR4_PSE | CR4_PAE):
        c.large_pages = 1
        c.large_region[(lin >> 22) & 1023] = 1
        at = pde_at
        pte = piece_of_large_page(c, lin, access, pde)
        if c.fault:
            return 0
        rights = pde
        no_execute = pde & PTE_NX
    else:
        at = (pde & PHYSICAL_PAGE) + ((lin >> 12) & (511 if n == 8 else 1023)) * n
        pte = table_entry(c, at, lin, n)
        if not usable(c, lin, access, pte):
            return 0
        rights = pde & pte
        no_execute = (pde | pte) & PTE_NX
    if (
        (c.tlb_half and not rights & PTE_U)
        or (access == WRITE and not rights & PTE_W and (c.tlb_half or c.cr0 & CR0_WP))
        or (access == FETCH and no_execute)
    ):
        page_fault(c, lin, access, PF_PRESENT)
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
    c.walk_flags |= no_execute
    return ((pte & PHYSICAL_PAGE) | (lin & 0xFFF)) & c.a20_mask


def piece_of_large_page(c, lin, access, pde):
    """The address of the 4 KiB that `lin` lies in, of a page of 2 MiB (PAE) or 4 MiB; #PF if a bit is reserved.

    With PSE-36 bits 13 to 16 of the entry of 4 MiB are bits 32 to 35 of its address (SDM vol. 3 table 4-4).
    """
    within: u64 = 0x1FFFFF if c.cr4 & CR4_PAE else 0x3FFFFF
    reserved: u64
    address: u64 = (pde & PHYSICAL_PAGE & (within ^ M64)) | (lin & within & PAGE_BITS)
    if c.cr4 & CR4_PAE:
        reserved = 0x1FE000
    else:
        reserved = 0x3E0000 if c.features & HAS_PSE36 else 0x3FE000
        address |= (pde & 0x1E000) << 19
    if pde & reserved:
        page_fault(c, lin, access, PF_PRESENT | PF_RESERVED)
        return 0
    return address


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


def mark_entry(c, phys, entry, bits, n):
    """Set accessed and dirty in an entry that lacks them."""
    if entry & bits != bits:
        physical.store(c, phys & c.a20_mask, 0, entry | bits, n)


def page_fault(c, lin, access, found):
    """#PF (SDM vol. 3 §4.7): the error code says what was tried, and what was `found`: PF_PRESENT, PF_RESERVED or 0.

    An entry that could not be read makes no page fault: the exit for that stands in `c.fault` already.
    """
    error: u32 = found
    if c.fault == FAULT_EXIT:
        return
    if access == WRITE:
        error |= PF_WRITE
    if c.tlb_half:
        error |= PF_USER
    if access == FETCH and c.efer & EFER_NXE and c.cr4 & CR4_PAE:
        error |= PF_FETCH
    c.fault_address = lin
    faults.exception(c, VEC_PF, error)


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
            faults.exception(c, VEC_GP, 0)
            return 0
        c.pdptes_read[i] = entry
    return 1


def latch_pdptes(c):
    """Put what `read_pdptes` read into the PDPTE registers, where walks find it."""
    i: u32
    for i in range(4):
        c.pdptes[i] = c.pdptes_read[i]
