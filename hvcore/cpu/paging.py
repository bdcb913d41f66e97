"""From linear to guest-physical addresses through the guest's paging structures, and page faults (SDM vol. 3 ch. 4).

There is 32-bit paging with pages of 4 KiB and 4 MiB, and PAE with pages of 4 KiB and 2 MiB. `tlb` keeps what
`translate` finds.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import clock, faults, physical
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import clock, faults, physical
    from hvcore.cpu.constants import *


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


def reserved_in(c, entry):
    """Whether an entry of PAE has an address bit that does not exist, or NX that EFER does not enable."""
    return (entry & PAE_RESERVED) != 0 or (entry & NO_PAGE and not c.efer & EFER_NXE)


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
