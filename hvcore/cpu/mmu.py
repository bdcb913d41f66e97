"""Guest memory as instructions see it: segments, and accesses through the software TLB to memory and what is none.

SDM vol. 3 ch. 3 (segmentation) and §5.3 (limit checking). `tlb` has the table, `paging` what fills it, `physical`
what lies below both. `read`, `write` and `read_to_modify` are the doors for instructions; `operations` has the same hit
path inline for the sizes that matter. Accesses by linear address are the processor's own (descriptor tables, TSS).
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import breakpoints, faults, paging, physical, tlb
    from cython.cimports.hvcore.cpu.jit import arena
    from cython.cimports.hvcore.cpu.state import (
        CR0_AM, CR0_EM, CR0_PE, CR0_TS, CR4_OSFXSR, CS, FAULT_EXIT, FAULT_NONE, FETCH, F_AC, F_VM, M32, M64,
        MODE_FLAT, MODE_SEGMENTED, MODE_STACK32, MODE_USER, MODE_VECTORS, MODE_X87, MXCSR_DAZ, MXCSR_MASKS,
        PAGE_BITS, READ, RSP, SEG_BIG, SEG_CODE, SEG_DOWN, SEG_READABLE, SEG_UNUSABLE, SEG_WRITABLE, SS,
        TLB_MASK, TLB_SIZE, VEC_AC, VEC_GP, VEC_SS, WRITE, X87_MASKS, s64, u32, u64,
    )
else:
    from hvcore.cpu import breakpoints, faults, paging, physical, tlb
    from hvcore.cpu.constants import (
        CR0_AM, CR0_EM, CR0_PE, CR0_TS, CR4_OSFXSR, CS, FAULT_EXIT, FAULT_NONE, FETCH, F_AC, F_VM, M32, M64,
        MODE_FLAT, MODE_SEGMENTED, MODE_STACK32, MODE_USER, MODE_VECTORS, MODE_X87, MXCSR_DAZ, MXCSR_MASKS,
        PAGE_BITS, READ, RSP, SEG_BIG, SEG_CODE, SEG_DOWN, SEG_READABLE, SEG_UNUSABLE, SEG_WRITABLE, SS,
        TLB_MASK, TLB_SIZE, VEC_AC, VEC_GP, VEC_SS, WRITE, X87_MASKS, s64, u32, u64,
    )
    from hvcore.cpu.jit import arena
# fmt: on


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
    faults.exception(c, VEC_SS if seg == SS else VEC_GP, 0)


def check_write(c, seg, off, n):
    """Whether `n` bytes (at most a page) could be written now; raises the fault if not."""
    if not segment_allows(c, seg, off, n, 1):
        segment_fault(c, seg)
        return 0
    return writable(c, c.base[seg] + off, n)


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
        tlb.flush(c)
    c.aligning = wanted


def misaligned(c, lin, n):
    """Whether an access of ring 3 raises #AC; the processor's own to its tables never do."""
    if not c.tlb_half or not lin & (n - 1):
        return 0
    faults.exception(c, VEC_AC, 0)
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
        breakpoints.watch(c, lin, n, 0)
    if (lin & 0xFFF) + n <= 4096:
        phys = paging.translate(c, lin, READ)
        if c.fault:
            return 0
        slot = physical.locate(c, phys)
        if slot < 0:
            return physical.mmio_read(c, phys, lin, n)
        tlb.fill(c, lin, phys, slot)
        return physical.host_load(c, (lin + c.tlb[entry].add) & M64, n)
    for i in range(n):
        phys = paging.translate(c, (lin + i) & M32, READ)
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
    phys = paging.translate(c, lin, WRITE)
    if c.fault:
        return 0
    if physical.locate(c, phys) < 0 and not c.emulating:
        physical.mmio_write(c, phys, lin, 0, 1)
        return 0
    if (lin ^ last) & PAGE_BITS:
        phys = paging.translate(c, last & PAGE_BITS, WRITE)
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
        breakpoints.watch(c, lin, n, 1)
    if (lin & 0xFFF) + n <= 4096:
        phys = paging.translate(c, lin, WRITE)
        if c.fault:
            return
        slot = physical.locate(c, phys)
        if slot < 0:
            physical.mmio_write(c, phys, lin, value, n)
            return
        tlb.fill(c, lin, phys, slot)
        physical.store(c, phys, lin, value, n)
        return
    if not writable(c, lin, n):
        return
    for i in range(n):
        phys = paging.translate(c, (lin + i) & M32, WRITE)
        physical.store(c, phys, (lin + i) & M32, (value >> (8 * i)) & 0xFF, 1)


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
        phys: u64 = paging.translate(c, lin & M32, WRITE)
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


# The code that is fetched


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
            phys = paging.translate(c, lin, FETCH)
            if c.fault:
                c.fault = FAULT_NONE
                return
            slot = physical.locate(c, phys)
            if slot < 0:
                return
            tlb.fill(c, lin, phys, slot)
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
        faults.exception(c, VEC_GP, 0)
        return
    phys = paging.translate(c, lin, FETCH)
    if c.fault:
        return
    physical.mmio_read(c, phys, lin, 1)
    c.fault = FAULT_EXIT
    c.info.read = 0
    c.info.fetch = 1
