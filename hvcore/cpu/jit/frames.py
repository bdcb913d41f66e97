"""PUSHA, POPA and ENTER, and selectors that are read (SDM vol. 2).

A frame that lies over the end of a page is left to the interpreter.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import arena, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import ENTER, MOV_M_SEG, POPA, PUSHA, PUSH_SEG
    from cython.cimports.hvcore.cpu.state import GS, NO_REG, RBP, RSP, SS, u32, u64
else:
    from hvcore.cpu.constants import (
        ENTER, GS, MOV_M_SEG, NO_REG, POPA, PUSHA, PUSH_SEG, RBP, RSP, SS, u32, u64,
    )
# fmt: on


def translated(t, o):
    """Whether an instruction of this file is done here: with ESP, and ENTER without frames of outer procedures."""
    if o.kind == PUSHA or o.kind == POPA:
        return t.stack32
    if o.kind == ENTER:
        return t.stack32 and not o.disp & 31
    return o.kind == PUSH_SEG or o.reg <= GS


def emit(c, t, j, o):
    """One instruction."""
    if o.kind == PUSHA:
        emit_push_all(c, t, j, o)
    elif o.kind == POPA:
        emit_pop_all(c, t, j, o)
    elif o.kind == ENTER:
        emit_enter(c, t, j, o)
    elif o.kind == PUSH_SEG:
        emit_push_selector(c, t, j, o)
    elif o.kind == MOV_M_SEG:
        emit_store_selector(c, t, j, o)
    else:
        asm.emit_load(c, asm.AX, cython.address(c.sel[o.reg]))
        registers.emit_put_sized(c, o, o.rm, 0)


def emit_store_part(c, size, reg, disp):
    """`mov [r12 + rax + disp], reg`, of 16 or 32 bits."""
    if size == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_mem(c, asm.STORE, reg, asm.R12, asm.AX, 0, disp)


def emit_push_all(c, t, j, o):
    """PUSHA: EAX highest, EDI lowest, ESP as it was."""
    i: u32
    n: u64 = cython.cast(u64, 1) << o.size
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.seg = SS
    s.size = o.size + 3
    asm.emit_mem(c, asm.LEA, asm.AX, asm.R15, NO_REG, 0, -8 * n)  # lea eax, [esp - 8 * n]
    memory.emit_look_up(c, t, s, arena.TLB_WRITE)
    for i in range(8):
        emit_store_part(c, o.size, registers.home(i), (7 - i) * n)
    memory.emit_move_stack(c, t, -8 * n)
    s.resume = c.arena.used


def emit_pop_all(c, t, j, o):
    """POPA: all but ESP, which only moves."""
    i: u32
    n: u64 = cython.cast(u64, 1) << o.size
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.seg = SS
    s.size = o.size + 3
    registers.emit_get(c, RSP, asm.AX)
    memory.emit_look_up(c, t, s, arena.TLB_READ)
    for i in range(8):
        if i == RSP:
            continue
        if o.size == 1:
            asm.emit_u8(c, asm.OPERAND_SIZE)
        # mov home, [r12 + rax + at]
        asm.emit_mem(c, asm.LOAD, registers.home(i), asm.R12, asm.AX, 0, (7 - i) * n)
    memory.emit_move_stack(c, t, 8 * n)
    s.resume = c.arena.used


def emit_enter(c, t, j, o):
    """ENTER size, 0: EBP is pushed and points there, and the frame's last byte must be writable."""
    n: u64 = cython.cast(u64, 1) << o.size
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    frame: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    frame.seg = SS
    frame.size = 0
    asm.emit_mem(c, asm.LEA, asm.AX, asm.R15, NO_REG, 0, -(n + o.imm))  # lea eax, [esp - n - size]
    memory.emit_look_up(c, t, frame, arena.TLB_WRITE)
    s.seg = SS
    asm.emit_mem(c, asm.LEA, asm.AX, asm.R15, NO_REG, 0, -n)  # lea eax, [esp - n]
    memory.emit_look_up(c, t, s, arena.TLB_WRITE)
    emit_store_part(c, o.size, asm.BP, 0)
    asm.emit_mem(c, asm.LEA, asm.AX, asm.R15, NO_REG, 0, -n)  # lea eax, [esp - n]
    registers.emit_put_sized(c, o, RBP, 0)
    memory.emit_move_stack(c, t, -(n + o.imm))
    s.resume = c.arena.used
    frame.resume = c.arena.used


def emit_push_selector(c, t, j, o):
    """PUSH of a segment register: of 32 bits, only 16 are written."""
    n: u64 = cython.cast(u64, 1) << o.size
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.seg = SS
    s.size = 1
    asm.emit_mem(c, asm.LEA, asm.AX, asm.R15, NO_REG, 0, -n)  # lea eax, [esp - n]
    if not t.stack32:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
    memory.emit_look_up(c, t, s, arena.TLB_WRITE)
    asm.emit_load(c, asm.CX, cython.address(c.sel[o.sub]))
    emit_store_part(c, 1, asm.CX, 0)
    memory.emit_move_stack(c, t, -n)
    s.resume = c.arena.used


def emit_store_selector(c, t, j, o):
    """MOV of a segment register to 16 bits of memory."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.size = 1
    memory.emit_effective_address(c, o)
    memory.emit_look_up(c, t, s, arena.TLB_WRITE)
    asm.emit_load(c, asm.CX, cython.address(c.sel[o.reg]))
    emit_store_part(c, 1, asm.CX, 0)
    s.resume = c.arena.used
