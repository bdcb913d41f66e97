"""Segment registers and descriptors (SDM vol. 3 ch. 3 and §5.2 to §5.7).

`attr` is kept as the VMX access-rights field has it: bytes 5 and 6 of the descriptor without the limit's high
bits, and bit 16 for "unusable". A selector without its lowest two bits, the RPL, is what error codes have; bit 2 says
that it is one of the LDT's.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu
    from cython.cimports.hvcore.cpu.state import (
        FAULT_EXCEPTION, FAULT_NONE, LDTR, M32, SEG_ACCESSED, SEG_CODE, SEG_CONFORMING, SEG_LDT, SEG_MEMORY,
        SEG_PRESENT, SEG_READABLE, SEG_TSS, SEG_TSS_32, SEG_TSS_BUSY, SEG_TYPE, SEG_UNUSABLE, SEG_WRITABLE,
        SS, TOP_BYTE, TR, VEC_GP, VEC_NP, VEC_SS, u32, u64,
    )
else:
    from hvcore.cpu import faults, mmu
    from hvcore.cpu.constants import (
        FAULT_EXCEPTION, FAULT_NONE, LDTR, M32, SEG_ACCESSED, SEG_CODE, SEG_CONFORMING, SEG_LDT, SEG_MEMORY,
        SEG_PRESENT, SEG_READABLE, SEG_TSS, SEG_TSS_32, SEG_TSS_BUSY, SEG_TYPE, SEG_UNUSABLE, SEG_WRITABLE,
        SS, TOP_BYTE, TR, VEC_GP, VEC_NP, VEC_SS, u32, u64,
    )
# fmt: on


# Types of system descriptors, a bit for each: those that LAR may see, which are not interrupt and trap gates; and those
# that LSL may, which have a limit (SDM vol. 2, LAR and LSL).
LAR_TYPES = cython.declare(u32, 0x1A3E)
LSL_TYPES = cython.declare(u32, 0x0A0E)
TSS_32_LAST = cython.declare(u32, 0x67)  # the last byte of a 32-bit TSS without its maps
TSS_PORT_MAP = cython.declare(u32, 0x66)  # where it says at which byte the map of ports begins


def read_descriptor(c, selector, vector, ext):
    """The descriptor that `selector` names; outside its table raises `vector` with the selector."""
    base: u64 = c.gdt_base
    limit: u32 = c.gdt_limit
    if selector & 4:
        base = c.base[LDTR]
        limit = c.limit[LDTR]
        if c.attr[LDTR] & SEG_UNUSABLE:
            faults.exception(c, vector, (selector & 0xFFFC) | ext)
            return 0
    if (selector | 7) > limit:
        faults.exception(c, vector, (selector & 0xFFFC) | ext)
        return 0
    return mmu.system_read(c, base + (selector & 0xFFF8), 8)


def descriptor_base(raw):
    """Bits 31:0 of the base."""
    return ((raw >> 16) & 0xFFFFFF) | ((raw >> 32) & TOP_BYTE)


def descriptor_limit(raw):
    """The limit in bytes."""
    limit: u32 = (raw & 0xFFFF) | ((raw >> 32) & 0xF0000)
    if (raw >> 55) & 1:
        return ((limit << 12) | 0xFFF) & M32
    return limit


def descriptor_attr(raw):
    """The access rights."""
    return (raw >> 40) & 0xF0FF


def level_of(attr):
    """The DPL."""
    return (attr >> 5) & 3


def is_code(attr):
    """Whether a descriptor is a code segment's."""
    return attr & (SEG_MEMORY | SEG_CODE) == SEG_MEMORY | SEG_CODE


def conforms(attr):
    """Whether a descriptor is a conforming code segment's, whose DPL does not limit who uses it."""
    return attr & (SEG_MEMORY | SEG_CODE | SEG_CONFORMING) == SEG_MEMORY | SEG_CODE | SEG_CONFORMING


def fits_code(attr, level):
    """Whether a descriptor may be CS at privilege level `level`, when it is returned to or a task has it."""
    return is_code(attr) and (level_of(attr) <= level if attr & SEG_CONFORMING else level_of(attr) == level)


def fits_stack(attr, selector, level):
    """Whether a descriptor may be SS at privilege level `level`: writable data, and DPL and RPL are that level."""
    return (
        attr & (SEG_MEMORY | SEG_CODE | SEG_WRITABLE) == SEG_MEMORY | SEG_WRITABLE
        and level_of(attr) == level
        and selector & 3 == level
    )


def fits_data(attr, selector, cpl):
    """Whether a descriptor may be DS, ES, FS or GS: data or readable code that CPL and RPL may use."""
    return (
        attr & SEG_MEMORY
        and attr & (SEG_CODE | SEG_READABLE) != SEG_CODE
        and (conforms(attr) or (level_of(attr) >= cpl and level_of(attr) >= (selector & 3)))
    )


def mark_accessed(c, selector, raw):
    """Set the accessed bit of a code or data descriptor in its table."""
    base: u64 = c.base[LDTR] if selector & 4 else c.gdt_base
    if not (raw >> 40) & 1:
        mmu.system_write(c, base + (selector & 0xFFF8) + 5, ((raw >> 40) & 0xFF) | 1, 1)


def assign(c, seg, selector, raw):
    """Fill a segment register from a descriptor that has been checked; it counts as accessed."""
    c.sel[seg] = selector
    c.base[seg] = descriptor_base(raw)
    c.limit[seg] = descriptor_limit(raw)
    c.attr[seg] = descriptor_attr(raw)
    if seg < LDTR:
        c.attr[seg] |= SEG_ACCESSED
        mmu.update_segment(c, seg)


def assign_null(c, seg, selector):
    """A null selector: every use of the segment faults."""
    c.sel[seg] = selector
    c.base[seg] = 0
    c.limit[seg] = 0
    c.attr[seg] = SEG_UNUSABLE
    if seg < LDTR:
        mmu.update_segment(c, seg)


def assign_real(c, seg, selector):
    """Real mode: the base follows the selector; limit and rights stay (which makes "unreal mode")."""
    c.sel[seg] = selector & 0xFFFF
    c.base[seg] = (selector & 0xFFFF) << 4
    mmu.update_segment(c, seg)


def load(c, seg, selector):
    """MOV, POP and LDS of a data or stack segment (SDM vol. 2, MOV)."""
    raw: u64
    attr: u32
    if not c.protected:
        assign_real(c, seg, selector)
        return
    if not selector & 0xFFFC:
        if seg == SS:
            faults.exception(c, VEC_GP, 0)
            return
        assign_null(c, seg, selector)
        return
    raw = read_descriptor(c, selector, VEC_GP, 0)
    if c.fault:
        return
    attr = descriptor_attr(raw)
    if not (fits_stack(attr, selector, c.cpl) if seg == SS else fits_data(attr, selector, c.cpl)):
        faults.exception(c, VEC_GP, selector & 0xFFFC)
        return
    if not attr & SEG_PRESENT:
        faults.exception(c, VEC_SS if seg == SS else VEC_NP, selector & 0xFFFC)
        return
    mark_accessed(c, selector, raw)
    if not c.fault:
        assign(c, seg, selector, raw)


def load_ldt(c, selector):
    """LLDT."""
    raw: u64
    if not selector & 0xFFFC:
        assign_null(c, LDTR, selector)
        return
    if selector & 4:
        faults.exception(c, VEC_GP, selector & 0xFFFC)
        return
    raw = read_descriptor(c, selector, VEC_GP, 0)
    if c.fault:
        return
    if descriptor_attr(raw) & (SEG_MEMORY | SEG_TYPE) != SEG_LDT:
        faults.exception(c, VEC_GP, selector & 0xFFFC)
    elif not descriptor_attr(raw) & SEG_PRESENT:
        faults.exception(c, VEC_NP, selector & 0xFFFC)
    else:
        assign(c, LDTR, selector, raw)


def load_tr(c, selector):
    """LTR: an available TSS, which becomes busy."""
    raw: u64
    if not selector & 0xFFFC or selector & 4:
        faults.exception(c, VEC_GP, selector & 0xFFFC)
        return
    raw = read_descriptor(c, selector, VEC_GP, 0)
    if c.fault:
        return
    if descriptor_attr(raw) & ((SEG_MEMORY | SEG_TYPE) ^ SEG_TSS_32) != SEG_TSS:
        faults.exception(c, VEC_GP, selector & 0xFFFC)
        return
    if not descriptor_attr(raw) & SEG_PRESENT:
        faults.exception(c, VEC_NP, selector & 0xFFFC)
        return
    mmu.system_write(c, c.gdt_base + (selector & 0xFFF8) + 5, ((raw >> 40) & 0xFF) | 2, 1)
    if not c.fault:
        assign(c, TR, selector, raw)
        c.attr[TR] |= SEG_TSS_BUSY


def visible_descriptor(c, selector, for_lsl):
    """LAR, LSL, VERR, VERW: the descriptor if it is there and may be seen, else 0. Never raises."""
    raw: u64
    attr: u32
    if not selector & 0xFFFC:
        return 0
    raw = read_descriptor(c, selector, VEC_GP, 0)
    if c.fault:
        if c.fault == FAULT_EXCEPTION and c.fault_vector == VEC_GP:
            c.fault = FAULT_NONE
        return 0
    attr = descriptor_attr(raw)
    if not attr & SEG_MEMORY and not ((LSL_TYPES if for_lsl else LAR_TYPES) >> (attr & SEG_TYPE)) & 1:
        return 0
    if not conforms(attr) and (level_of(attr) < c.cpl or level_of(attr) < (selector & 3)):
        return 0
    return raw


def verify(c, selector, write):
    """VERR and VERW: whether a segment may be read or written."""
    raw: u64 = visible_descriptor(c, selector, 0)
    attr: u32 = descriptor_attr(raw)
    if raw == 0 or not attr & SEG_MEMORY:
        return 0
    if write:
        return attr & (SEG_CODE | SEG_WRITABLE) == SEG_WRITABLE
    return attr & (SEG_CODE | SEG_READABLE) != SEG_CODE


def port_map(c):
    """Where the map of ports begins in the current TSS (SDM vol. 1 §19.5.2); #GP(0) if that is none that has one.

    The map of redirected interrupts ends there (SDM vol. 3 §21.3.3). The caller looks at `c.fault`.
    """
    if c.attr[TR] & SEG_UNUSABLE or not c.attr[TR] & SEG_TSS_32 or c.limit[TR] < TSS_32_LAST:
        faults.exception(c, VEC_GP, 0)
        return 0
    return mmu.system_read(c, c.base[TR] + TSS_PORT_MAP, 2)


def privileged(c):
    """Whether the guest may execute a privileged instruction; #GP(0) if not."""
    if c.cpl == 0:
        return 1
    faults.exception(c, VEC_GP, 0)
    return 0
