"""SSE and SSE2 as the host's own instructions (docs/translator.md): those of XMM registers; `mmx` has the others.

A block of MODE_VECTORS may do so without a look: the guest has enabled them, and all exceptions are masked, which is
what the host does with them too. The host's MXCSR is the guest's then, and notes what the guest's would. Where the
interpreter would have to look, at memory that misses the TLB or is not aligned, it does the whole instruction.

RCP and RSQRT stay the interpreter's, since no two makes of processor estimate alike.
"""

import cython

from hvcore.cpu.jit import traits as table

if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import mmx, sse_operands
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.state import CC_FLAGS, NO_REG, REP, u32
else:
    from hvcore.cpu.constants import CC_FLAGS, NO_REG, REP, u32

    forms = [0] * 1024


def load_forms() -> None:
    """Copy the table of vector instructions into the array that `form_of` reads."""
    for (prefix, opcode), form in table.VECTORS.items():
        forms[prefix * 256 + opcode] = form


load_forms()


def prefix_of(t, o):
    """The mandatory prefix, as `sse_operands.NP` and so on."""
    if o.rep:
        return sse_operands.PF3 if o.rep == REP else sse_operands.PF2
    return sse_operands.NP if o.size == t.code_size else sse_operands.P66


def form_of(t, o):
    """What an instruction is (SIZE and so on); 0 if it is the interpreter's."""
    form: u32 = forms[prefix_of(t, o) * 256 + o.sub]
    if not form or o.lock:
        return 0
    if form & OF_MMX and form & MMX_FORMS & (t.mmx ^ MMX_FORMS):
        return 0
    if not form & OF_MMX and not t.has_vectors:
        return 0
    if form & (IN_REGISTERS | SHIFTS) and not o.isreg:
        return 0
    if form & IN_MEMORY and o.isreg:
        return 0
    if form & SHIFTS and not mmx.immediate_shifts(o.sub, not form & OF_MMX) >> o.reg & 1:
        return 0
    return form


def emit(c, t, j, o, live):
    """One instruction of XMM registers, general registers and memory."""
    form: u32 = form_of(t, o)
    prefix: u32 = 0
    if o.rep:
        prefix = 0xF3 if o.rep == REP else 0xF2
    elif o.size != t.code_size:
        prefix = asm.OPERAND_SIZE
    if form & ROUNDS and not t.mxcsr_taken:
        asm.emit_call_near(c, c.arena.take_mxcsr)
        t.mxcsr_taken = 1
        t.host_flags = 0
    if o.isreg:
        emit_registers(c, t, o, form, prefix)
    else:
        emit_memory(c, t, j, o, form, prefix)
    if form & COMPARES and live:
        t.known = CC_FLAGS
        t.carry_stands = 0
        t.host_flags = 0


def emit_operation(c, o, form, prefix, reg, rm):
    """`op reg, rm` and its immediate; NO_REG for what lies at [r12 + rax]."""
    if rm == NO_REG:
        asm.emit_vector_mem(c, prefix, o.sub, reg, asm.R12, asm.AX)
    else:
        asm.emit_vector_reg(c, prefix, o.sub, reg, rm)
    if form & IMMEDIATE:
        asm.emit_u8(c, o.imm & 0xFF)
    if form & COMPARES:
        flags.emit_keep_compared(c)


def emit_registers(c, t, o, form, prefix):
    """An instruction without a memory operand."""
    reg: u32 = o.reg
    rm: u32 = o.rm
    if form & SHIFTS:  # its other operand is a part of the opcode
        registers.emit_get_vector(c, t, rm)
        emit_operation(c, o, form, prefix, reg, rm)
        registers.emit_put_vector(c, t, rm)
        return
    if form & (STORES | IN_GENERAL) == STORES:  # to `rm`, or to a part of it
        registers.emit_get_vector(c, t, reg)
        registers.emit_get_vector(c, t, rm)
        emit_operation(c, o, form, prefix, reg, rm)
        registers.emit_put_vector(c, t, rm)
        return
    if form & STORES:  # MOVD to a general register
        registers.emit_get_vector(c, t, reg)
        emit_operation(c, o, form, prefix, reg, registers.home(rm))
        return
    if form & TO_GENERAL:
        registers.emit_get_vector(c, t, rm)
        emit_operation(c, o, form, prefix, registers.home(reg), rm)
        return
    if not form & IN_GENERAL:
        registers.emit_get_vector(c, t, rm)
    if not form & WRITES_ALL:
        registers.emit_get_vector(c, t, reg)
    emit_operation(c, o, form, prefix, reg, registers.home(rm) if form & IN_GENERAL else rm)
    if not form & COMPARES:
        registers.emit_put_vector(c, t, reg)


def emit_memory(c, t, j, o, form, prefix):
    """An instruction with a memory operand; the interpreter does it whole where that is no plain memory."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    reg: u32 = registers.home(o.reg) if form & (TO_GENERAL | FROM_GENERAL) else o.reg
    tag: u32 = arena.TLB_WRITE if form & STORES else arena.TLB_READ
    s.size = form & SIZE
    if not form & (TO_GENERAL | FROM_GENERAL | WRITES_ALL | LOADS):
        registers.emit_get_vector(c, t, reg)
    memory.emit_effective_address(c, o)
    if form & ALIGNED:
        memory.emit_look_up_aligned(c, t, s, tag)
    else:
        memory.emit_look_up(c, t, s, tag)
    emit_operation(c, o, form, prefix, reg, NO_REG)
    if not form & (STORES | COMPARES | TO_GENERAL):
        registers.emit_put_vector(c, t, reg)
    s.vectors = t.vectors
    s.mxcsr_taken = t.mxcsr_taken
    s.resume = c.arena.used
