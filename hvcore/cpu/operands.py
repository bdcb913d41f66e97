"""Registers of any size, and the effective address (SDM vol. 1 §3.7.5)."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import M64, SIZE_MASK, u64
else:
    from hvcore.cpu.constants import M64, SIZE_MASK, u64


def get(c, reg, shift, size):
    """A register of `size`; `shift` is 8 for AH, CH, DH and BH."""
    return (c.regs[reg] >> shift) & SIZE_MASK[size]


def put(c, reg, shift, size, value):
    """Set a register of `size`: 8 and 16 bits leave the rest alone, 32 bits clear the upper half."""
    mask: u64
    if size >= 2:
        c.regs[reg] = value & SIZE_MASK[size]
    else:
        mask = SIZE_MASK[size] << shift
        c.regs[reg] = (c.regs[reg] & (mask ^ M64)) | ((value << shift) & mask)


def put_masked(c, reg, mask, value):
    """Set the bits of `mask` in a register: an index or count of the address size."""
    c.regs[reg] = (c.regs[reg] & (mask ^ M64)) | (value & mask)


def address(c, o):
    """The offset of the memory operand in its segment."""
    return (c.regs[o.base] + (c.regs[o.index] << o.scale) + o.disp) & o.amask
