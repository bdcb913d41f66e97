"""MMX as the host's own instructions (docs/translator.md); what SSE and SSE2 added to it too.

The MM registers are the x87's (SDM vol. 1 §9.2), so they come to the host with those, by `x87.emit_take`, and their
numbers, tags and exponents are the silicon's. A block of MODE_X87 may do so without a look: no x87 exception waits
there. The instructions that have an XMM register beside the MM register stay the interpreter's, and so does MASKMOVQ.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import mmx
    from cython.cimports.hvcore.cpu.jit import arena, memory, registers, vectors, x87
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.state import u32
else:
    from hvcore.cpu.constants import u32


def usable(c):
    """Which instructions the guest's processor has: bits of a form."""
    which: u32 = 0
    if c.has_mmx:
        which |= vectors.OF_MMX
    if c.has_sse:
        which |= vectors.OF_MMX_SSE
    if c.has_sse2:
        which |= vectors.OF_MMX_SSE2
    return which


def uses(t, o):
    """Whether a vector instruction is one of these."""
    return vectors.form_of(t, o) & vectors.OF_MMX


def emit(c, t, j, o):
    """One instruction of MM registers, general registers and memory."""
    form: u32 = vectors.form_of(t, o)
    x87.emit_take(c, t)
    if o.sub == mmx.EMMS:
        asm.emit_leave_mmx(c)
    elif o.isreg:
        emit_registers(c, o, form)
    else:
        emit_memory(c, t, j, o, form)


def emit_registers(c, o, form):
    """An instruction without a memory operand: `op reg, rm`, and its immediate."""
    reg: u32 = registers.home(o.reg) if form & vectors.TO_GENERAL else o.reg
    rm: u32 = registers.home(o.rm) if form & vectors.IN_GENERAL else o.rm
    asm.emit_vector_reg(c, 0, o.sub, reg, rm)
    if form & vectors.IMMEDIATE:
        asm.emit_u8(c, o.imm & 0xFF)


def emit_memory(c, t, j, o, form):
    """An instruction with a memory operand; the interpreter does it whole where that is no plain memory."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.size = form & vectors.SIZE
    memory.emit_effective_address(c, o)
    memory.emit_look_up(c, t, s, arena.TLB_WRITE if form & vectors.STORES else arena.TLB_READ)
    asm.emit_vector_mem(c, 0, o.sub, o.reg, asm.R12, asm.AX)
    if form & vectors.IMMEDIATE:
        asm.emit_u8(c, o.imm & 0xFF)
    s.resume = c.arena.used
