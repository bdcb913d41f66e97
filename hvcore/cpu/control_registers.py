"""CR0 to CR4: what may be written, what follows from it, and the bits that the backend owns (SDM vol. 3 §2.5)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import descriptors, faults, mmu, operands, paging, stops, tlb
    from cython.cimports.hvcore.cpu.state import (
        CR0_AM, CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE,
        CR4_MCE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PAE, CR4_PGE, CR4_PSE, CR4_PVI, CR4_TSD, CR4_VME, EXIT_CLTS,
        EXIT_CR0_SELECTIVE, EXIT_CR_READ, EXIT_CR_WRITE, EXIT_LMSW, HAS_DE, HAS_FXSR, HAS_MCE, HAS_PAE,
        HAS_PGE, HAS_PSE, HAS_SSE, HAS_TSC, HAS_VME, LMSW_BITS, M32, M64, VEC_GP, VEC_UD, u32, u64,
    )
else:
    from hvcore.cpu import descriptors, faults, mmu, operands, paging, stops, tlb
    from hvcore.cpu.constants import (
        CR0_AM, CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE,
        CR4_MCE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PAE, CR4_PGE, CR4_PSE, CR4_PVI, CR4_TSD, CR4_VME, EXIT_CLTS,
        EXIT_CR0_SELECTIVE, EXIT_CR_READ, EXIT_CR_WRITE, EXIT_LMSW, HAS_DE, HAS_FXSR, HAS_MCE, HAS_PAE,
        HAS_PGE, HAS_PSE, HAS_SSE, HAS_TSC, HAS_VME, LMSW_BITS, M32, M64, VEC_GP, VEC_UD, u32, u64,
    )
# fmt: on


CR0_WRITABLE = cython.declare(
    u64, CR0_PG | CR0_CD | CR0_NW | CR0_AM | CR0_WP | CR0_NE | CR0_ET | CR0_TS | CR0_EM | CR0_MP | CR0_PE
)
# A change of these loads the PDPTE registers (SDM vol. 3 §4.4.1; there is no SMEP).
CR0_RELOADS = cython.declare(u64, CR0_PG | CR0_CD | CR0_NW)
CR4_RELOADS = cython.declare(u64, CR4_PGE | CR4_PAE | CR4_PSE)
# A change of these makes translations other than they were (SDM vol. 3 §4.10.4.1).
CR0_TRANSLATES = cython.declare(u64, CR0_PG | CR0_WP | CR0_PE)
CR4_TRANSLATES = cython.declare(u64, CR4_PGE | CR4_PAE | CR4_PSE)


def load_pdptes(c, cr0, cr3, cr4):
    """Load the PDPTE registers for a MOV to a control register, if PAE paging is on after it; 0 with a fault."""
    if not paging.pae_paging(c, cr0, cr4):
        return 1
    if not paging.read_pdptes(c, cr3):
        return 0
    paging.latch_pdptes(c)
    return 1


def write_cr0(c, value):
    """MOV to CR0 and LMSW; #GP(0) for combinations that do not exist (SDM vol. 3 §2.5)."""
    before: u64 = c.cr0
    if (value & CR0_PG and not value & CR0_PE) or (value & CR0_NW and not value & CR0_CD):
        faults.exception(c, VEC_GP, 0)
        return
    if (value ^ c.cr0) & CR0_RELOADS and not load_pdptes(c, value, c.cr3, c.cr4):
        return
    c.cr0 = (value & CR0_WRITABLE) | CR0_ET
    if not c.cr0 & CR0_PE:
        mmu.set_cpl(c, 0)
    mmu.update_mode(c)
    if (c.cr0 ^ before) & CR0_TRANSLATES:
        tlb.flush(c)


def cr4_of(features):
    """The writable bits of CR4 on a processor with these features (CPUID leaf 1, EDX)."""
    mask: u64 = 0
    if features & HAS_VME:
        mask |= CR4_VME | CR4_PVI
    if features & HAS_TSC:
        mask |= CR4_TSD
    if features & HAS_DE:
        mask |= CR4_DE
    if features & HAS_PSE:
        mask |= CR4_PSE
    if features & HAS_PAE:
        mask |= CR4_PAE
    if features & HAS_MCE:
        mask |= CR4_MCE
    if features & HAS_PGE:
        mask |= CR4_PGE
    if features & HAS_FXSR:
        mask |= CR4_OSFXSR
    if features & HAS_SSE:
        mask |= CR4_OSXMMEXCPT
    return mask


def write_cr(c, number, value):
    """MOV to a control register."""
    before: u64 = c.cr4
    if number == 0:
        write_cr0(c, value)
    elif number == 2:
        c.cr2 = value
    elif number == 3:
        if not load_pdptes(c, c.cr0, value, c.cr4):
            return
        c.cr3 = value
        tlb.flush_local(c)
    elif number == 4:
        if value & (c.cr4_writable ^ M64):
            faults.exception(c, VEC_GP, 0)
            return
        if (value ^ c.cr4) & CR4_RELOADS and not load_pdptes(c, c.cr0, c.cr3, value):
            return
        c.cr4 = value
        mmu.update_blocks(c)
        if (value ^ before) & CR4_TRANSLATES:
            tlb.flush(c)
    else:
        faults.exception_plain(c, VEC_UD)


def write_owned(c, o, number, value):
    """MOV to a control register, where the backend may own bits: those it keeps, or is told of."""
    mask: u64 = 0
    shadow: u64 = 0
    kept: u64 = 0
    if number == 0:
        mask = c.intercepts.cr0_mask
        shadow = c.intercepts.cr0_shadow
        kept = c.cr0
    elif number == 4:
        mask = c.intercepts.cr4_mask
        shadow = c.intercepts.cr4_shadow
        kept = c.cr4
    if (value ^ shadow) & mask:
        stops.stop(c, EXIT_CR_WRITE, o)
        c.info.number = number
        c.info.gpr = o.rm
    else:
        write_cr(c, number, (value & (mask ^ M64)) | (kept & mask))


def control_register(c, number):
    """The value of a control register; #UD if there is none."""
    if number == 0:
        return (c.cr0 & (c.intercepts.cr0_mask ^ M64)) | (c.intercepts.cr0_shadow & c.intercepts.cr0_mask)
    elif number == 2:
        return c.cr2
    elif number == 3:
        return c.cr3
    elif number == 4:
        return (c.cr4 & (c.intercepts.cr4_mask ^ M64)) | (c.intercepts.cr4_shadow & c.intercepts.cr4_mask)
    faults.exception_plain(c, VEC_UD)
    return 0


def move_from(c, o):
    """MOV from a control register."""
    value: u64
    stops.access_register(c, o, EXIT_CR_READ, o.reg, c.intercepts.cr_read)
    if c.fault:
        return
    value = control_register(c, o.reg)
    if not c.fault:
        c.regs[o.rm] = value


def move_to(c, o):
    """MOV to a control register."""
    value: u64 = c.regs[o.rm] & M32
    i: u32
    if o.reg == 3:
        for i in range(c.cr3_target_count):
            if c.cr3_targets[i] == value:
                write_cr(c, 3, value)
                return
    stops.access_register(c, o, EXIT_CR_WRITE, o.reg, c.intercepts.cr_write)
    if (
        not c.fault
        and o.reg == 0
        and c.intercepts.cr0_selective
        and (value ^ c.cr0) & ((CR0_TS | CR0_MP) ^ M64)
    ):
        stops.stop(c, EXIT_CR0_SELECTIVE, o)
        c.info.gpr = o.rm
        c.info.mov = 1
    if not c.fault:
        write_owned(c, o, o.reg, value)


def load_status(c, o):
    """LMSW: the low four bits of CR0, of which it can set PE but not clear it."""
    raw: u64
    value: u64 = descriptors.selector_operand(c, o)
    if c.fault:
        return
    raw = value
    value = (control_register(c, 0) & ((LMSW_BITS ^ CR0_PE) ^ M64)) | (value & LMSW_BITS)
    if c.intercepts.cr_write & 1 or (value ^ c.intercepts.cr0_shadow) & c.intercepts.cr0_mask & LMSW_BITS:
        stops.stop(c, EXIT_LMSW, o)
        c.info.data = raw
        c.info.linear_valid = not o.isreg
        if not o.isreg:
            c.info.linear_address = (c.base[o.seg] + operands.address(c, o)) & M32
    elif c.intercepts.cr0_selective:  # LMSW counts whatever it writes
        stops.stop(c, EXIT_CR0_SELECTIVE, o)
        c.info.gpr = 0
        c.info.mov = 0
    else:
        write_cr0(c, (value & (c.intercepts.cr0_mask ^ M64)) | (c.cr0 & c.intercepts.cr0_mask))


def store_status(c, o):
    """SMSW."""
    if c.intercepts.cr_read & 1:
        stops.stop(c, EXIT_CR_READ, o)
        c.info.number = 0
        c.info.gpr = 0
        c.info.mov = 0
    else:
        descriptors.store_word(c, o, control_register(c, 0))


def clear_task_switched(c, o):
    """CLTS."""
    if c.intercepts.cr_write & 1 or c.intercepts.cr0_mask & c.intercepts.cr0_shadow & CR0_TS:
        stops.stop(c, EXIT_CLTS, o)
    elif not c.intercepts.cr0_mask & CR0_TS:
        c.cr0 &= CR0_TS ^ M64
        mmu.update_blocks(c)
