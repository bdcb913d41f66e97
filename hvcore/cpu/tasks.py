"""Task switching (SDM vol. 3 ch. 7): CALL and JMP to a TSS or task gate, task gates of the IDT, IRET with NT.

`begin` makes the checks that come before everything else and either stops for a backend that wants to see task
switches, or goes on with `switch`. Up to the point where the outgoing task is saved, a fault leaves the
processor as it was and stands in `c.fault`. After that it belongs to the incoming task: it is kept as an
exception to be raised before that task's first instruction (`SPECIAL_RAISE`), and so is the trap of a TSS with
its T bit set.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import debug, faults, flags, mmu, paging, segments, tlb, virtual8086
    from cython.cimports.hvcore.cpu.state import (
        CR0_PG, CR0_TS, CS, DR6_BT, EXIT_TASK_SWITCH, FAULT_EXCEPTION, FAULT_EXIT, FAULT_NONE, FS, F_EVERY,
        F_NT, F_VM, GS, LDTR, M32, M64, SEG_LDT, SEG_MEMORY, SEG_PRESENT, SEG_TSS, SEG_TSS_32, SEG_TSS_BUSY,
        SEG_TYPE, SEG_UNUSABLE, SPECIAL_RAISE, SS, TASK_CALL, TASK_GATE, TASK_IRET, TASK_JMP, TOP_HALF, TR,
        TSS_16_FLAGS, TSS_16_IP, TSS_16_LDT, TSS_16_REGISTERS, TSS_16_SELECTORS, TSS_CR3, TSS_EFLAGS, TSS_EIP,
        TSS_LDT, TSS_REGISTERS, TSS_SELECTORS, TSS_TRAP, VEC_DB, VEC_GP, VEC_NP, VEC_SS, VEC_TS, u32, u64,
    )
else:
    from hvcore.cpu import debug, faults, flags, mmu, paging, segments, tlb, virtual8086
    from hvcore.cpu.constants import (
        CR0_PG, CR0_TS, CS, DR6_BT, EXIT_TASK_SWITCH, FAULT_EXCEPTION, FAULT_EXIT, FAULT_NONE, FS, F_EVERY,
        F_NT, F_VM, GS, LDTR, M32, M64, SEG_LDT, SEG_MEMORY, SEG_PRESENT, SEG_TSS, SEG_TSS_32, SEG_TSS_BUSY,
        SEG_TYPE, SEG_UNUSABLE, SPECIAL_RAISE, SS, TASK_CALL, TASK_GATE, TASK_IRET, TASK_JMP, TOP_HALF, TR,
        TSS_16_FLAGS, TSS_16_IP, TSS_16_LDT, TSS_16_REGISTERS, TSS_16_SELECTORS, TSS_CR3, TSS_EFLAGS, TSS_EIP,
        TSS_LDT, TSS_REGISTERS, TSS_SELECTORS, TSS_TRAP, VEC_DB, VEC_GP, VEC_NP, VEC_SS, VEC_TS, u32, u64,
    )
# fmt: on


DR7_LOCAL = cython.declare(u64, 0x155)  # L0 to L3 and LE


def begin(c, selector, source, ext, has_error, error):
    """Switch to the task whose TSS `selector` names, or stop for the backend that carries it out.

    `source` is a TaskSource; `ext` is bit 0 of error codes: the event came from outside the program.
    """
    new_tss(c, selector, source, ext)
    if c.fault:
        return
    if c.intercepts.task_switch:
        c.fault = FAULT_EXIT
        c.info.kind = EXIT_TASK_SWITCH
        c.info.number = selector
        c.info.source = source
        return
    switch(c, selector, source, ext, has_error, error)


def new_tss(c, selector, source, ext):
    """The descriptor of the incoming task's TSS, checked (SDM vol. 3 §7.3 steps 2 to 4, table 7-1)."""
    raw: u64
    attr: u32
    back: u32 = source == TASK_IRET
    vector: u32 = VEC_TS if back else VEC_GP
    code: u32 = (selector & 0xFFFC) | ext
    if not selector & 0xFFFC or selector & 4:
        faults.exception(c, vector, code)
        return 0
    raw = segments.read_descriptor(c, selector, vector, ext)
    if c.fault:
        return 0
    attr = segments.descriptor_attr(raw)
    if attr & ((SEG_MEMORY | SEG_TYPE) ^ SEG_TSS_32) != (SEG_TSS | SEG_TSS_BUSY if back else SEG_TSS):
        faults.exception(c, vector, code)
    elif not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, code)
    elif segments.descriptor_limit(raw) < (0x67 if attr & SEG_TSS_32 else 0x2B):
        faults.exception(c, VEC_TS, code)
    return raw


def reachable(c, lin, n, write):
    """Whether the processor can read or write `n` bytes of a system table; raises the fault if not."""
    half: u64 = c.tlb_half
    if write:
        c.tlb_half = 0
        mmu.writable(c, lin, n)
        c.tlb_half = half
    else:
        mmu.system_read(c, lin, 1)
        if not c.fault:
            mmu.system_read(c, lin + n - 1, 1)
    return c.fault == FAULT_NONE


def address_space(c, tss, code):
    """Read the PDPTEs of the 32-bit TSS at `tss`, for `load`; #TS with `code` if one has a reserved bit.

    A switch that changes CR3 loads the PDPTE registers (SDM vol. 3 §4.4.1, which names an exception for MOV only;
    a CR3 that cannot be loaded makes the TSS an invalid one). It is settled here, before anything changes.
    """
    cr3: u64
    if not paging.pae_paging(c, c.cr0, c.cr4):
        return 1
    cr3 = mmu.system_read(c, tss + TSS_CR3, 4)
    if c.fault or cr3 == c.cr3 or paging.read_pdptes(c, cr3):
        return c.fault == FAULT_NONE
    if c.fault == FAULT_EXCEPTION:
        faults.exception(c, VEC_TS, code)
    return 0


def mark_busy(c, selector, busy):
    """Set or clear the busy bit of a TSS descriptor, which can be written."""
    at: u64 = c.gdt_base + (selector & 0xFFF8) + 5
    rights: u64 = mmu.system_read(c, at, 1)
    mmu.system_write(c, at, rights | 2 if busy else rights & 0xFD, 1)


def switch(c, selector, source, ext, has_error, error):
    """Save the task that runs, load the one whose TSS `selector` names."""
    raw: u64 = new_tss(c, selector, source, ext)
    old: u32 = c.sel[TR]
    old_wide: u32 = (c.attr[TR] & SEG_TSS_32) != 0
    wide: u32
    eflags: u64
    trap: u32 = 0
    if c.fault:
        return
    wide = (raw >> 43) & 1
    if c.attr[TR] & SEG_UNUSABLE or c.limit[TR] < (0x5F if old_wide else 0x29):
        faults.exception(c, VEC_TS, (old & 0xFFFC) | ext)
        return
    # SDM vol. 3 §7.3 step 5: everything that is going to be touched can be, from EIP to the last selector.
    if not reachable(c, c.base[TR] + (TSS_EIP if old_wide else TSS_16_IP), 0x40 if old_wide else 0x1C, 1):
        return
    if not reachable(c, segments.descriptor_base(raw), 0x68 if wide else 0x2C, 0):
        return
    if source == TASK_CALL or source == TASK_GATE:
        if not reachable(c, segments.descriptor_base(raw), 2, 1):
            return
    if source != TASK_IRET and not reachable(c, c.gdt_base + (selector & 0xFFF8) + 5, 1, 1):
        return
    if source == TASK_IRET or source == TASK_JMP:
        if not reachable(c, c.gdt_base + (old & 0xFFF8) + 5, 1, 1):
            return
    if wide and not address_space(c, segments.descriptor_base(raw), (selector & 0xFFFC) | ext):
        return
    if source == TASK_IRET or source == TASK_JMP:
        mark_busy(c, old, 0)
    eflags = flags.get_eflags(c)
    if source == TASK_IRET:
        eflags &= F_NT ^ M64
    save(c, eflags)
    if source == TASK_CALL or source == TASK_GATE:
        mmu.system_write(c, segments.descriptor_base(raw), old, 2)
    if source != TASK_IRET:
        mark_busy(c, selector, 1)
    segments.assign(c, TR, selector, raw)
    c.attr[TR] |= SEG_TSS_BUSY
    c.cr0 |= CR0_TS
    c.no_trap = 1
    c.debug[7] &= DR7_LOCAL ^ M64
    if wide:
        trap = mmu.system_read(c, c.base[TR] + TSS_TRAP, 1) & 1
    load(c, wide, source == TASK_CALL or source == TASK_GATE, ext)
    if not c.fault and has_error:
        mmu.push(c, error, 2 if wide else 1)
    if c.fault == FAULT_EXCEPTION:
        keep_fault(c)
    elif trap and not c.fault:
        debug.note_debug(c, DR6_BT)
        faults.exception_plain(c, VEC_DB)
        keep_fault(c)


def keep_fault(c):
    """The fault belongs to the incoming task: raise it before its first instruction."""
    c.fault = FAULT_NONE
    c.raise_vector = c.fault_vector
    c.raise_error = c.fault_error
    c.raise_has_error = c.fault_has_error
    c.special |= SPECIAL_RAISE


def save(c, eflags):
    """Write the outgoing task's registers to its TSS (figures 7-2 and 7-10)."""
    base: u64 = c.base[TR]
    i: u32
    if c.attr[TR] & SEG_TSS_32:
        mmu.system_write(c, base + TSS_EIP, c.eip, 4)
        mmu.system_write(c, base + TSS_EFLAGS, eflags, 4)
        for i in range(8):
            mmu.system_write(c, base + TSS_REGISTERS + 4 * i, c.regs[i] & M32, 4)
        for i in range(6):
            mmu.system_write(c, base + TSS_SELECTORS + 4 * i, c.sel[i], 2)
    else:
        mmu.system_write(c, base + TSS_16_IP, c.eip & 0xFFFF, 2)
        mmu.system_write(c, base + TSS_16_FLAGS, eflags & 0xFFFF, 2)
        for i in range(8):
            mmu.system_write(c, base + TSS_16_REGISTERS + 2 * i, c.regs[i] & 0xFFFF, 2)
        for i in range(4):
            mmu.system_write(c, base + TSS_16_SELECTORS + 2 * i, c.sel[i], 2)


def load(c, wide, link, ext):
    """Take the incoming task's registers from the TSS in TR, segments last: their faults are its own."""
    base: u64 = c.base[TR]
    eflags: u64
    cr3: u64
    ldt: u32
    i: u32
    sel: u32[6]
    if not cython.compiled:
        sel = [0] * 6
    if wide:
        cr3 = mmu.system_read(c, base + TSS_CR3, 4)
        c.eip = mmu.system_read(c, base + TSS_EIP, 4)
        eflags = mmu.system_read(c, base + TSS_EFLAGS, 4)
        for i in range(8):
            c.regs[i] = mmu.system_read(c, base + TSS_REGISTERS + 4 * i, 4)
        for i in range(6):
            sel[i] = mmu.system_read(c, base + TSS_SELECTORS + 4 * i, 2)
        ldt = mmu.system_read(c, base + TSS_LDT, 2)
        if c.cr0 & CR0_PG:
            if cr3 != c.cr3 and paging.pae_paging(c, c.cr0, c.cr4):
                paging.latch_pdptes(c)
            c.cr3 = cr3
            tlb.flush_local(c)
    else:
        c.eip = mmu.system_read(c, base + TSS_16_IP, 2)
        eflags = mmu.system_read(c, base + TSS_16_FLAGS, 2)
        for i in range(8):  # the upper halves are ones, as on a 386
            c.regs[i] = mmu.system_read(c, base + TSS_16_REGISTERS + 2 * i, 2) | TOP_HALF
        for i in range(4):
            sel[i] = mmu.system_read(c, base + TSS_16_SELECTORS + 2 * i, 2)
        sel[FS] = 0
        sel[GS] = 0
        ldt = mmu.system_read(c, base + TSS_16_LDT, 2)
    if link:
        eflags |= F_NT
    flags.set_eflags(c, eflags & (F_EVERY | F_VM if wide else F_EVERY))
    mmu.update_mode(c)
    # Until they are checked no segment can be used; CPL 3 makes a fault in between find a stack of its own.
    for i in range(6):
        segments.assign_null(c, i, sel[i])
    segments.assign_null(c, LDTR, ldt)
    mmu.set_cpl(c, 3)
    load_ldt(c, ldt, ext)
    if c.fault:
        return
    if c.flags & F_VM:
        for i in range(6):
            virtual8086.assign(c, i, sel[i])
        mmu.update_mode(c)
        return
    load_stack(c, sel[SS], sel[CS] & 3, ext)
    if c.fault:
        return
    load_code(c, sel[CS], ext)
    if c.fault:
        return
    for i in range(6):
        if i != CS and i != SS and not c.fault:
            load_data(c, i, sel[i], ext)


def load_ldt(c, selector, ext):
    """LDTR of the incoming task: #TS for whatever is wrong with it."""
    raw: u64
    code: u32 = (selector & 0xFFFC) | ext
    if not selector & 0xFFFC:
        return
    if selector & 4:
        faults.exception(c, VEC_TS, code)
        return
    raw = segments.read_descriptor(c, selector, VEC_TS, ext)
    if c.fault:
        return
    if segments.descriptor_attr(raw) & (SEG_PRESENT | SEG_MEMORY | SEG_TYPE) != SEG_PRESENT | SEG_LDT:
        faults.exception(c, VEC_TS, code)
        return
    segments.assign(c, LDTR, selector, raw)


def load_stack(c, selector, rpl, ext):
    """SS of the incoming task, for the privilege level that its CS will have."""
    raw: u64
    attr: u32
    code: u32 = (selector & 0xFFFC) | ext
    if not selector & 0xFFFC:
        faults.exception(c, VEC_TS, code)
        return
    raw = segments.read_descriptor(c, selector, VEC_TS, ext)
    if c.fault:
        return
    attr = segments.descriptor_attr(raw)
    if not segments.fits_stack(attr, selector, rpl):
        faults.exception(c, VEC_TS, code)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_SS, code)
        return
    segments.mark_accessed(c, selector, raw)
    if c.fault:
        return
    mmu.set_cpl(c, rpl)
    segments.assign(c, SS, selector, raw)


def load_code(c, selector, ext):
    """CS of the incoming task. A null selector is outside every table."""
    raw: u64
    attr: u32
    code: u32 = (selector & 0xFFFC) | ext
    if not selector & 0xFFFC:
        faults.exception(c, VEC_TS, code)
        return
    raw = segments.read_descriptor(c, selector, VEC_TS, ext)
    if c.fault:
        return
    attr = segments.descriptor_attr(raw)
    if not segments.fits_code(attr, selector & 3):
        faults.exception(c, VEC_TS, code)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, code)
        return
    segments.mark_accessed(c, selector, raw)
    if not c.fault:
        segments.assign(c, CS, selector, raw)


def load_data(c, seg, selector, ext):
    """DS, ES, FS or GS of the incoming task."""
    raw: u64
    attr: u32
    code: u32 = (selector & 0xFFFC) | ext
    if not selector & 0xFFFC:
        return
    raw = segments.read_descriptor(c, selector, VEC_TS, ext)
    if c.fault:
        return
    attr = segments.descriptor_attr(raw)
    if not segments.fits_data(attr, selector, c.cpl):
        faults.exception(c, VEC_TS, code)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_NP, code)
        return
    segments.mark_accessed(c, selector, raw)
    if not c.fault:
        segments.assign(c, seg, selector, raw)
