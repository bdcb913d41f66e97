"""Operands of MMX and SSE instructions: registers and memory (SDM vol. 1 §9.2, §10.2).

The source operand is brought into `src`, the destination's old value into `dst`; what an instruction makes of
them goes back only when its exceptions are masked.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu, operands
    from cython.cimports.hvcore.cpu.fp import softfloat
    from cython.cimports.hvcore.cpu.state import FAULT_NONE, SIZE_MASK, VEC_GP, u64
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import FAULT_NONE, SIZE_MASK, VEC_GP, u64
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat

    globals().update(enums("fp/sse_operands.pxd"))


def enter_mmx(c):
    """An MM register is used: all of the x87's registers count as full then, and its top is 0."""
    c.fp_top = 0
    c.fp_used = 0xFF


def set_mm(c, i, value):
    """Set an MM register; the sign and exponent over it become all ones."""
    c.fp_sig[i] = value
    c.fp_se[i] = softfloat.NEGATIVE_SPECIAL


def fetch(c, o, size, aligned):
    """Bring the source, an XMM register or memory of 4 << `size` bytes, into `src`; 0 if that faults.

    `aligned`: 16 bytes of memory must be aligned, or it is #GP(0).
    """
    off: u64
    if o.isreg:
        c.src[0] = c.xmm[2 * o.rm]
        c.src[1] = c.xmm[2 * o.rm + 1]
        return 1
    off = operands.address(c, o)
    c.src[1] = 0
    if size < 2:
        c.src[0] = mmu.read(c, o.seg, off, size + 2)
        return c.fault == FAULT_NONE
    if aligned and (c.base[o.seg] + off) & 15:
        faults.exception(c, VEC_GP, 0)
        return 0
    c.src[0] = mmu.read(c, o.seg, off, 3)
    if c.fault:
        return 0
    c.src[1] = mmu.read(c, o.seg, (off + 8) & SIZE_MASK[o.addr], 3)
    return c.fault == FAULT_NONE


def store(c, o, size, aligned):
    """Put `dst` into memory, 4 << `size` bytes; `aligned` as in `fetch`. All of it, or nothing and a fault."""
    off: u64 = operands.address(c, o)
    if size < 2:
        mmu.write(c, o.seg, off, c.dst[0] & SIZE_MASK[size + 2], size + 2)
        return
    if aligned and (c.base[o.seg] + off) & 15:
        faults.exception(c, VEC_GP, 0)
        return
    if not mmu.check_write(c, o.seg, off, 16):
        return
    mmu.write(c, o.seg, off, c.dst[0], 3)
    if not c.fault:
        mmu.write(c, o.seg, (off + 8) & SIZE_MASK[o.addr], c.dst[1], 3)
