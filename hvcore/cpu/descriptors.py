"""Descriptor tables, and what asks about descriptors without loading a segment (SDM vol. 3 ch. 3, §5.10)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, flags, mmu, operands, segments, stops
    from cython.cimports.hvcore.cpu.kinds import (
        LAR_M, LAR_R, LGDT, LIDT, LLDT_M, LLDT_R, LSL_M, LSL_R, LTR_M, LTR_R, SGDT, SIDT, SLDT_M, SLDT_R,
        STR_M, STR_R, VERR_M, VERR_R, VERW_M, VERW_R,
    )
    from cython.cimports.hvcore.cpu.state import (
        EXIT_DESCRIPTOR_TABLE, LDTR, SIZE_MASK, TABLE_LIDT, TABLE_LLDT, TABLE_LTR, TABLE_SGDT, TABLE_SIDT,
        TABLE_SLDT, TABLE_STR, TR, VEC_UD, u32, u64,
    )
else:
    from hvcore.cpu import faults, flags, mmu, operands, segments, stops
    from hvcore.cpu.constants import (
        EXIT_DESCRIPTOR_TABLE, LAR_M, LAR_R, LDTR, LGDT, LIDT, LLDT_M, LLDT_R, LSL_M, LSL_R, LTR_M, LTR_R,
        SGDT, SIDT, SIZE_MASK, SLDT_M, SLDT_R, STR_M, STR_R, TABLE_LIDT, TABLE_LLDT, TABLE_LTR, TABLE_SGDT,
        TABLE_SIDT, TABLE_SLDT, TABLE_STR, TR, VEC_UD, VERR_M, VERR_R, VERW_M, VERW_R, u32, u64,
    )
# fmt: on


def selector_operand(c, o):
    """The 16-bit operand of LLDT, LTR, VERR, VERW, LMSW, ARPL, LAR and LSL."""
    if o.isreg:
        # a destination in r/m was swapped into `reg`; LAR and LSL have their source in `rm`
        if o.kind == LAR_R or o.kind == LSL_R:
            return c.regs[o.rm] & 0xFFFF
        return c.regs[o.reg] & 0xFFFF
    return mmu.read(c, o.seg, operands.address(c, o), 1)


def store_word(c, o, value):
    """The operand of SLDT, STR and SMSW: a whole register, or 16 bits of memory."""
    if o.isreg:
        operands.put(c, o.reg, 0, o.size, value)
    else:
        mmu.write(c, o.seg, operands.address(c, o), value & 0xFFFF, 1)


def descriptor_access(c, o, which):
    """Stop at a `DescriptorTable` instruction, if the backend wants that."""
    if not (c.intercepts.descriptor_table >> which) & 1:
        return 0
    stops.stop(c, EXIT_DESCRIPTOR_TABLE, o)
    stops.describe_operand(c, o)
    c.info.number = which
    c.info.size = 1 << o.size
    c.info.gpr = o.reg
    return 1


def descriptor_table(c, o):
    """SGDT SIDT LGDT LIDT."""
    off: u64 = operands.address(c, o)
    which: u32 = TABLE_SIDT if o.kind == SIDT or o.kind == LIDT else TABLE_SGDT
    limit: u64
    base: u64
    if (o.kind == LGDT or o.kind == LIDT) and not segments.privileged(c):
        return
    if o.kind == LGDT or o.kind == LIDT:
        which += TABLE_LIDT - TABLE_SIDT
    if descriptor_access(c, o, which):
        return
    if o.kind == SGDT or o.kind == SIDT:
        limit = c.gdt_limit if o.kind == SGDT else c.idt_limit
        base = c.gdt_base if o.kind == SGDT else c.idt_base
        if not mmu.check_write(c, o.seg, off, 6):
            return
        mmu.write(c, o.seg, off, limit, 1)
        if c.fault:
            return
        mmu.write(c, o.seg, (off + 2) & SIZE_MASK[o.addr], base, 2)
        return
    limit = mmu.read(c, o.seg, off, 1)
    if c.fault:
        return
    base = mmu.read(c, o.seg, (off + 2) & SIZE_MASK[o.addr], 2)
    if c.fault:
        return
    if o.size == 1:
        base &= 0xFFFFFF
    if o.kind == LGDT:
        c.gdt_base = base
        c.gdt_limit = limit
    else:
        c.idt_base = base
        c.idt_limit = limit


def access(c, o):
    """SLDT STR LLDT LTR, LAR LSL, VERR VERW, ARPL, all of which exist in protected mode only."""
    kind: u32 = o.kind
    value: u64
    raw: u64
    n: u32
    if not c.protected:
        faults.exception_plain(c, VEC_UD)
        return
    if kind == SLDT_R or kind == SLDT_M:
        if not descriptor_access(c, o, TABLE_SLDT):
            store_word(c, o, c.sel[LDTR])
    elif kind == STR_R or kind == STR_M:
        if not descriptor_access(c, o, TABLE_STR):
            store_word(c, o, c.sel[TR])
    elif kind == LAR_R or kind == LAR_M or kind == LSL_R or kind == LSL_M:
        value = selector_operand(c, o)
        if c.fault:
            return
        n = kind == LSL_R or kind == LSL_M
        raw = segments.visible_descriptor(c, cython.cast(u32, value), n)
        if c.fault:
            return
        if raw and n:
            operands.put(c, o.reg, 0, o.size, segments.descriptor_limit(raw))
        elif raw:
            operands.put(c, o.reg, 0, o.size, (raw >> 32) & 0x00FFFF00)
        flags.set_zero_flag(c, raw != 0)
    elif kind == VERR_R or kind == VERR_M or kind == VERW_R or kind == VERW_M:
        value = selector_operand(c, o)
        if c.fault:
            return
        n = segments.verify(c, cython.cast(u32, value), kind == VERW_R or kind == VERW_M)
        if not c.fault:
            flags.set_zero_flag(c, n)
    elif kind == LLDT_R or kind == LLDT_M:
        if segments.privileged(c) and not descriptor_access(c, o, TABLE_LLDT):
            value = selector_operand(c, o)
            if not c.fault:
                segments.load_ldt(c, cython.cast(u32, value))
    elif kind == LTR_R or kind == LTR_M:
        if segments.privileged(c) and not descriptor_access(c, o, TABLE_LTR):
            value = selector_operand(c, o)
            if not c.fault:
                segments.load_tr(c, cython.cast(u32, value))
    else:  # ARPL
        value = selector_operand(c, o)
        if c.fault:
            return
        raw = c.regs[o.rm if o.isreg else o.reg] & 3
        if (value & 3) >= raw:  # nothing is written, so a read-only operand is no fault
            flags.set_zero_flag(c, 0)
            return
        value = (value & 0xFFFC) | raw
        if o.isreg:
            operands.put(c, o.reg, 0, 1, value)
        else:
            mmu.write(c, o.seg, operands.address(c, o), value, 1)
            if c.fault:
                return
        flags.set_zero_flag(c, 1)
