"""MOVS, STOS and CMPS as the host's own (SDM vol. 2, REP): once, or upwards as far as both pages reach.

Where there is more to it (downwards, over the end of a page, a trap behind each iteration) the interpreter does it.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *


def emit(c, t, j, o):
    """One instruction."""
    if o.rep:
        emit_repeated(c, t, j, o)
    else:
        emit_once(c, t, j, o)


def emit_once(c, t, j, o):
    """An item, in the direction of DF."""
    from_: cython.pointer(Stub) = cython.NULL
    to: cython.pointer(Stub)
    reg: u32 = registers.home(RAX)
    if o.kind == MOVS:
        from_ = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
        memory.emit_pointer(c, o, RSI)
        memory.emit_look_up(c, t, from_, arena.TLB_READ)
        memory.emit_read_host(c, o.size, asm.R14)
        reg = asm.R14
    to = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    to.seg = ES
    memory.emit_pointer(c, o, RDI)
    memory.emit_look_up(c, t, to, arena.TLB_WRITE)
    if o.size == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_mem(c, asm.STORE if o.size else asm.STORE8, reg, asm.R12, asm.AX, 0, 0)
    memory.emit_direction(c, o)
    if o.kind == MOVS:
        memory.emit_advance(c, o, RSI)
    memory.emit_advance(c, o, RDI)
    to.resume = c.arena.used
    if o.kind == MOVS:
        from_.resume = c.arena.used


def emit_comparison(c, t, j, o, live):
    """CMPS of one item with another: the one at ESI comes first."""
    first: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    second: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    second.seg = ES
    memory.emit_pointer(c, o, RSI)
    memory.emit_look_up(c, t, first, arena.TLB_READ)
    memory.emit_read_host(c, o.size, asm.R14)
    memory.emit_pointer(c, o, RDI)
    memory.emit_look_up(c, t, second, arena.TLB_READ)
    memory.emit_direction(c, o)
    memory.emit_advance(c, o, RSI)
    memory.emit_advance(c, o, RDI)
    memory.emit_read_host(c, o.size, asm.CX)
    asm.emit_move(c, asm.AX, asm.R14)  # mov eax, r14d
    flags.emit_arithmetic(c, t, ALU_CMP, live, o.size)
    first.resume = c.arena.used
    second.resume = c.arena.used
    t.host_flags = 0


def emit_repeated(c, t, j, o):
    """As many as ECX says, upwards; R14 has their bytes."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    none: u32
    asm.emit_test_field(c, cython.address(c.flags), F_DF | F_TF)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    registers.emit_get(c, RCX, asm.R14)
    asm.emit_reg(c, asm.TEST, asm.R14, asm.R14)  # test r14d, r14d
    none = asm.emit_jump_if(c, asm.ZERO)
    asm.emit_imm(c, ALU_CMP, asm.R14, 4096)  # cmp r14d, 4096
    s.limit_site = asm.emit_jump_if(c, asm.ABOVE)
    asm.emit_shift(c, SHL, asm.R14, o.size)  # shl r14d, size
    if o.kind == MOVS:
        registers.emit_get(c, RSI, asm.AX)
        s.other_site = emit_look_up_run(c, t, arena.TLB_READ)
        asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
    registers.emit_get(c, RDI, asm.AX)
    s.last_site = emit_look_up_run(c, t, arena.TLB_WRITE)
    asm.emit_move(c, asm.DX, asm.DI)  # mov edx, edi
    asm.emit_mem64(c, asm.LEA, asm.DI, asm.R12, asm.AX, 0, 0)  # lea rdi, [r12 + rax]
    if o.kind == MOVS:
        asm.emit_move(c, asm.AX, asm.SI)  # mov eax, esi
        asm.emit_load64(c, asm.SI, cython.address(c.native_kept[0]))
        asm.emit_reg64(c, asm.ADD, asm.SI, asm.R12)  # add rsi, r12
    else:
        registers.emit_get(c, RAX, asm.AX)
    registers.emit_get(c, RCX, asm.CX)
    asm.emit_repeat(c, o.size, o.kind == MOVS)
    if o.kind == MOVS:
        asm.emit_mem(c, asm.LEA, asm.SI, asm.AX, asm.R14, 0, 0)  # lea esi, [rax + r14]
    asm.emit_mem(c, asm.LEA, asm.DI, asm.DX, asm.R14, 0, 0)  # lea edi, [rdx + r14]
    registers.emit_put(c, RCX, asm.CX)
    asm.bind(c, none)
    s.resume = c.arena.used
    t.host_flags = 0


def emit_look_up_run(c, t, tag):
    """Turn the offset in EAX into a host offset in RAX, if R14 bytes from there lie in a page that the TLB knows.

    Returns the site of the jump that is taken if not.
    """
    site: u32
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of this page
    asm.emit_move64(c, asm.DX, asm.AX)  # mov rdx, rax
    asm.emit_mem64(c, asm.XOR, asm.DX, asm.BX, asm.CX, 0, t.tlb + tag)  # xor rdx, [rbx + rcx + tag]
    asm.emit_mem64(c, asm.LEA, asm.DX, asm.DX, asm.R14, 0, 0)  # lea rdx, [rdx + r14]
    asm.emit_imm64(c, ALU_CMP, asm.DX, 4096)  # cmp rdx, 4096: another page, or over its end
    site = asm.emit_jump_if(c, asm.ABOVE)
    asm.emit_mem64(c, asm.ADD, asm.AX, asm.BX, asm.CX, 0, t.tlb + arena.TLB_ADD)  # add rax, [rbx + rcx + add]
    return site
