"""What is done with memory whole and at once, as the host's own: LOCK, XCHG, XADD, CMPXCHG (SDM vol. 3 §9.1.2).

Each changes memory by one locked instruction of the host. Where the TLB misses, the interpreter does it all.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import flags as lazy_flags
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import (
        ADD32_MI, ALU_MI, ALU_MR, CMPXCHG8B, CMPXCHG_M, DEC32_M, DEC_M, INC32_M, INC_M, XADD_M, XCHG_MR,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADC, ALU_ADD, ALU_CMP, ALU_SBB, NO_REG, RAX, RCX, RDX, SIZE_MASK, u32,
    )
else:
    from hvcore.cpu.constants import (
        ADD32_MI, ALU_ADC, ALU_ADD, ALU_CMP, ALU_MI, ALU_MR, ALU_SBB, CMPXCHG8B, CMPXCHG_M, DEC32_M, DEC_M,
        INC32_M, INC_M, NO_REG, RAX, RCX, RDX, SIZE_MASK, XADD_M, XCHG_MR, u32,
    )
# fmt: on


def emit(c, t, j, o, live):
    """One instruction that has a memory operand."""
    s: cython.pointer(Stub)
    kind: u32 = o.kind
    step: u32 = kind == INC32_M or kind == DEC32_M or kind == INC_M or kind == DEC_M
    if kind == CMPXCHG8B:
        emit_eight_bytes(c, t, j, o)
        return
    if step:
        flags.emit_stand_carry(c, t, live)
    elif takes_carry(o):
        flags.emit_stand_carry(c, t, flags.ALL)
    s = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    memory.emit_effective_address(c, o)
    memory.emit_look_up(c, t, s, arena.TLB_WRITE)
    asm.emit_mem64(c, asm.LEA, asm.R14, asm.R12, asm.AX, 0, 0)  # lea r14, [r12 + rax]
    if kind == XCHG_MR:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.AX)
        asm.emit_exchange(c, o.size, asm.AX, asm.R14)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
    elif kind == XADD_M:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.AX)
        asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
        asm.emit_locked(c, asm.XADD, o.size, asm.AX, asm.R14)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
        asm.emit_load64(c, asm.CX, cython.address(c.native_kept[0]))
        flags.emit_arithmetic(c, t, ALU_ADD, live, o.size)
    elif kind == CMPXCHG_M:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.CX)
        registers.emit_get_sized(c, t, o, RAX, 0, asm.AX)
        asm.emit_move(c, asm.DX, asm.AX)
        asm.emit_locked(c, asm.CMPXCHG, o.size, asm.CX, asm.R14)
        registers.emit_put_sized(c, o, RAX, 0)  # what was there: if it was equal, that changes nothing
        asm.emit_move(c, asm.CX, asm.AX)
        asm.emit_move(c, asm.AX, asm.DX)
        flags.emit_arithmetic(c, t, ALU_CMP, live, o.size)
    else:
        emit_again_and_again(c, t, o, live, step)
    s.resume = c.arena.used
    t.host_flags = 0  # behind the stub they are not


def takes_carry(o):
    """Whether this is ADC or SBB."""
    return (ALU_MR <= o.kind <= ALU_MI) and (o.sub == ALU_ADC or o.sub == ALU_SBB)


def emit_eight_bytes(c, t, j, o):
    """CMPXCHG8B, with LOCK or without. RBX, which it wants for itself, has the record."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.size = 3
    memory.emit_effective_address(c, o)
    memory.emit_look_up(c, t, s, arena.TLB_WRITE)
    asm.emit_mem64(c, asm.LEA, asm.R14, asm.R12, asm.AX, 0, 0)  # lea r14, [r12 + rax]
    registers.emit_get(c, RAX, asm.AX)
    registers.emit_get(c, RDX, asm.DX)
    registers.emit_get(c, RCX, asm.CX)
    asm.emit_reg64(c, asm.EXCHANGE, asm.BX, asm.R11)  # xchg rbx, r11: the guest's EBX
    asm.emit_u8(c, asm.LOCK)
    asm.emit_mem(c, asm.CMPXCHG8B, 1, asm.R14, NO_REG, 0, 0)  # lock cmpxchg8b [r14]
    asm.emit_reg64(c, asm.EXCHANGE, asm.BX, asm.R11)  # xchg rbx, r11
    registers.emit_put(c, RAX, asm.AX)  # what was there: if it was equal, that changes nothing
    registers.emit_put(c, RDX, asm.DX)
    asm.emit_set(c, asm.ZERO, asm.CX)  # setz cl
    asm.emit_reg(c, asm.MOVZX8, asm.R14, asm.CX)  # movzx r14d, cl
    registers.emit_store_registers(c)
    asm.emit_move(c, asm.SI, asm.R14)  # mov esi, r14d
    registers.emit_call_out(c, cython.cast(cython.p_void, lazy_flags.set_zero_flag))
    registers.emit_load_registers(c)
    registers.forget_vectors(t)
    flags.forget(t)
    s.resume = c.arena.used


def emit_again_and_again(c, t, o, live, step):
    """Load, do, and compare and exchange, until nobody has come between."""
    again: u32
    kind: u32 = o.kind
    if kind == ALU_MI or kind == ADD32_MI:
        asm.emit_constant(c, asm.CX, o.imm & SIZE_MASK[o.size])
    elif not step:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.CX)
    if takes_carry(o):
        asm.emit_field(c, asm.MOVZX8, asm.AX, cython.address(c.cc_cf))  # which the operation may change
        asm.emit_store64(c, asm.AX, cython.address(c.native_kept[1]))
    again = c.arena.used
    if o.size == 0:
        asm.emit_mem(c, asm.MOVZX8, asm.AX, asm.R14, NO_REG, 0, 0)
    elif o.size == 1:
        asm.emit_mem(c, asm.MOVZX16, asm.AX, asm.R14, NO_REG, 0, 0)
    else:
        asm.emit_mem(c, asm.LOAD, asm.AX, asm.R14, NO_REG, 0, 0)
    asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
    if step:
        flags.emit_step_sized(c, t, live, kind == DEC32_M or kind == DEC_M, o.size)
    else:
        if takes_carry(o):
            asm.emit_carry_from(c, cython.address(c.native_kept[1]))
            t.host_flags = flags.HOST_CF
        flags.emit_arithmetic(c, t, o.sub, live, o.size)
    asm.emit_move(c, asm.DX, asm.AX)
    asm.emit_load64(c, asm.AX, cython.address(c.native_kept[0]))
    asm.emit_locked(c, asm.CMPXCHG, o.size, asm.DX, asm.R14)
    asm.aim(c, asm.emit_jump_if(c, asm.NOT_ZERO), again)
