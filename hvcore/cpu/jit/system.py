"""EFLAGS as a whole, the interrupt flag, the time-stamp counter, PAUSE (SDM vol. 2 PUSHF, POPF, CLI, STI, RDTSC).

Each has a plain case, which is done here. Where a backend wants to be told, where the privilege level says more than
yes, or where POPF changes what is not just read by the guest (TF, NT, IOPL, AC, ID), the interpreter does it.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import msrs
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import CLI, POPF, PUSHF, RDTSC, STI
    from cython.cimports.hvcore.cpu.state import (
        ALU_AND, ALU_OR, CC_FLAGS, CR4_TSD, F_DF, F_IF, F_RF, F_STATUS, F_VM, M32, RAX, RDX, RSP, SHADOW_STI,
        SHR, SPECIAL_SHADOW, SS, TOLD_PAUSE, TOLD_POPF, TOLD_PUSHF, TOLD_RDTSC, u32, u64,
    )
else:
    from hvcore.cpu.constants import (
        ALU_AND, ALU_OR, CC_FLAGS, CLI, CR4_TSD, F_DF, F_IF, F_RF, F_STATUS, F_VM, M32, POPF, PUSHF, RAX,
        RDTSC, RDX, RSP, SHADOW_STI, SHR, SPECIAL_SHADOW, SS, STI, TOLD_PAUSE, TOLD_POPF, TOLD_PUSHF,
        TOLD_RDTSC, u32, u64,
    )
# fmt: on

POPF_CAREFULLY = cython.declare(u32, 0x247100)  # ID AC NT IOPL TF


def translated(t, o):
    """Whether an instruction of this file has a plain case in the block's mode."""
    if o.kind == CLI or o.kind == STI:
        return not t.user
    return t.flat or not t.user  # PUSHF and POPF: virtual-8086 mode has its own


def emit(c, t, j, o):
    """One instruction."""
    if o.kind == PUSHF:
        emit_push_flags(c, t, j, o)
    elif o.kind == POPF:
        emit_pop_flags(c, t, j, o)
    elif o.kind == CLI or o.kind == STI:
        emit_interrupt_flag(c, t, j, o)
    elif o.kind == RDTSC:
        emit_time_stamp(c, t, j, o)
    else:
        emit_pause(c, t, j, o)


def emit_push_flags(c, t, j, o):
    """PUSHF: RF and VM are pushed as 0."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    asm.emit_test_field(c, cython.address(c.told), TOLD_PUSHF)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    flags.emit_all(c, t)
    asm.emit_imm(c, ALU_AND, asm.AX, (F_RF | F_VM) ^ M32)  # and eax, ~(RF | VM)
    asm.emit_move(c, asm.R14, asm.AX)  # mov r14d, eax
    memory.emit_push(c, t, j, o, memory.VALUE_R14, 0, 0)
    s.resume = c.arena.used


def emit_pop_flags(c, t, j, o):
    """POPF, which ends its block: the status flags, DF, and at CPL 0 IF; what follows looks whether INTR waits."""
    careful: u64 = POPF_CAREFULLY if o.size == 2 else POPF_CAREFULLY & 0xFFFF
    plain: u64 = F_DF if t.user else F_DF | F_IF
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.seg = SS
    if t.user:
        careful |= F_IF
        asm.emit_test_field(c, cython.address(c.told), TOLD_POPF)
    else:
        asm.emit_load(c, asm.AX, cython.address(c.told))
        asm.emit_imm(c, ALU_AND, asm.AX, TOLD_POPF)  # and eax, TOLD_POPF
        asm.emit_field(c, asm.OR, asm.AX, cython.address(c.cpl))  # or eax, cpl
    memory.note_site(s, asm.emit_jump_if(c, asm.NOT_ZERO))
    if t.stack32:
        registers.emit_get(c, RSP, asm.AX)
    else:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, registers.home(RSP))  # movzx eax, sp
    memory.emit_look_up(c, t, s, arena.TLB_READ)
    memory.emit_read_host(c, o.size, asm.R14)
    asm.emit_move(c, asm.AX, asm.R14)  # mov eax, r14d
    asm.emit_field(c, asm.XOR, asm.AX, cython.address(c.flags))  # xor eax, flags
    asm.emit_imm(c, ALU_AND, asm.AX, careful)  # and eax, careful
    memory.note_site(s, asm.emit_jump_if(c, asm.NOT_ZERO))
    memory.emit_move_stack(c, t, cython.cast(u64, 1) << o.size)
    asm.emit_move(c, asm.AX, asm.R14)  # mov eax, r14d
    asm.emit_imm(c, ALU_AND, asm.AX, F_STATUS)
    asm.emit_store64(c, asm.AX, cython.address(c.cc_a))
    asm.emit_set_field(c, cython.address(c.cc_op), CC_FLAGS)  # and `cc_size`
    asm.emit_imm(c, ALU_AND, asm.R14, plain)  # and r14d, plain
    asm.emit_change_field(c, ALU_AND, cython.address(c.flags), plain ^ M32)
    asm.emit_field(c, asm.OR_TO, asm.R14, cython.address(c.flags))  # or flags, r14d
    s.resume = c.arena.used
    flags.forget(t)


def emit_interrupt_flag(c, t, j, o):
    """CLI and STI at CPL 0; STI ends its block, and where it sets IF the next instruction is in its shadow."""
    already: u32
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    asm.emit_compare_field(c, cython.address(c.cpl), 0)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    if o.kind == CLI:
        asm.emit_change_field(c, ALU_AND, cython.address(c.flags), F_IF ^ M32)
    else:
        asm.emit_test_field(c, cython.address(c.flags), F_IF)
        already = asm.emit_jump_if(c, asm.NOT_ZERO)
        asm.emit_change_field(c, ALU_OR, cython.address(c.flags), F_IF)
        asm.emit_change_field(c, ALU_OR, cython.address(c.shadow), SHADOW_STI)
        asm.emit_change_field(c, ALU_OR, cython.address(c.special), SPECIAL_SHADOW)
        asm.bind(c, already)
    s.resume = c.arena.used
    t.host_flags = 0


def emit_time_stamp(c, t, j, o):
    """RDTSC, if no backend asks and CR4.TSD does not restrict it."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    asm.emit_test_field(c, cython.address(c.told), TOLD_RDTSC)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_test_field(c, cython.address(c.cr4), CR4_TSD)
    memory.note_site(s, asm.emit_jump_if(c, asm.NOT_ZERO))
    registers.emit_store_registers(c)
    registers.emit_call_out(c, cython.cast(cython.p_void, msrs.time_stamp))
    registers.emit_load_registers(c)
    registers.forget_vectors(t)
    asm.emit_move64(c, asm.DX, asm.AX)  # mov rdx, rax
    asm.emit_shift64(c, SHR, asm.DX, 32)  # shr rdx, 32
    registers.emit_put(c, RAX, asm.AX)
    registers.emit_put(c, RDX, asm.DX)
    s.resume = c.arena.used
    t.host_flags = 0


def emit_pause(c, t, j, o):
    """PAUSE, which is nothing if no backend counts it."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    asm.emit_test_field(c, cython.address(c.told), TOLD_PAUSE)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    s.resume = c.arena.used
    t.host_flags = 0
