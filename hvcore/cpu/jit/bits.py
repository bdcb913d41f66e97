"""Bits as host code: BT, BTS, BTR and BTC, BSF and BSR (SDM vol. 2). BT and its kin change CF alone, as on silicon."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import BSF_M, BSF_R, BT_M, BT_MI, BT_R, BT_RI
    from cython.cimports.hvcore.cpu.state import ALU_AND, BIT_TEST, CC_CARRY_APART, CC_LOGIC, SAR, u32
else:
    from hvcore.cpu.constants import (
        ALU_AND, BIT_TEST, BSF_M, BSF_R, BT_M, BT_MI, BT_R, BT_RI, CC_CARRY_APART, CC_LOGIC, SAR, u32,
    )
# fmt: on


def emit(c, t, j, o, live):
    """BT_R to BT_MI, of 16 or 32 bits."""
    if o.kind == BT_M or o.kind == BT_MI:
        emit_memory(c, t, j, o, live)
        return
    if live:
        flags.emit_set_apart(c, t, CC_CARRY_APART)
    if o.size == 2:
        emit_bit(c, o, registers.home(o.reg), registers.home(o.rm))
    else:
        registers.emit_get_sized(c, t, o, o.reg, 0, asm.AX)
        if o.kind == BT_R:
            emit_number(c, o, o.rm)
        emit_bit(c, o, asm.AX, asm.CX)
        if o.sub > BIT_TEST:
            registers.emit_put_word(c, o.reg, asm.AX)
    emit_carry(c, t, live)


def emit_number(c, o, number):
    """Bring the number of a bit from a register to ECX, within the operand's size."""
    registers.emit_get(c, number, asm.CX)
    asm.emit_imm(c, ALU_AND, asm.CX, (8 << o.size) - 1)  # and ecx, 15 or 31


def emit_bit(c, o, operand, number):
    """`bt operand, number` and its kin, or with the number that is an immediate."""
    if o.kind == BT_RI or o.kind == BT_MI:
        asm.emit_bit(c, o.sub, operand, o.imm & ((8 << o.size) - 1))
    else:
        asm.emit_bit_by_register(c, o.sub, number, operand)


def emit_carry(c, t, live):
    """Keep the host's CF, which is the bit."""
    t.host_flags = 0
    if live:
        asm.emit_field(c, asm.SETCC + asm.CARRY_SET, 0, cython.address(c.cc_cf))  # whose other bytes are 0
        t.host_flags = flags.HOST_CF


def emit_memory(c, t, j, o, live):
    """An operand in memory; where the number is in a register it is signed, and reaches beyond the operand."""
    s: cython.pointer(Stub)
    modifies: u32 = o.sub > BIT_TEST
    memory.emit_effective_address(c, o)
    if o.kind == BT_M:
        registers.emit_get(c, o.reg, asm.CX)
        if o.size == 1:
            asm.emit_reg(c, asm.MOVSX16, asm.CX, asm.CX)  # movsx ecx, cx
        asm.emit_shift(c, SAR, asm.CX, 3 + o.size)  # sar ecx, 4 or 5
        asm.emit_mem(c, asm.LEA, asm.AX, asm.AX, asm.CX, o.size, 0)  # lea eax, [rax + rcx * 2 or 4]
        if o.addr == 1:
            asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
    if o.lock:
        s = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
        memory.emit_look_up(c, t, s, arena.TLB_WRITE)
        asm.emit_mem64(c, asm.LEA, asm.R14, asm.R12, asm.AX, 0, 0)  # lea r14, [r12 + rax]
    elif modifies:
        memory.emit_load_to_modify_at(c, t, j, o)
    else:
        memory.emit_load_at(c, t, j, o, o.size, asm.AX)
    if live:
        flags.emit_set_apart(c, t, CC_CARRY_APART)
    if o.kind == BT_M:
        emit_number(c, o, o.reg)
    elif o.lock:
        asm.emit_constant(c, asm.CX, o.imm & ((8 << o.size) - 1))
    if o.lock:
        asm.emit_locked(c, asm.bit_opcode(o.sub), o.size, asm.CX, asm.R14)
    else:
        emit_bit(c, o, asm.AX, asm.CX)
    emit_carry(c, t, live)
    if o.lock:
        s.resume = c.arena.used
        t.host_flags = 0  # behind the stub they are not
        if live:
            flags.forget(t)
            t.carry_stands = 1
    elif modifies:
        memory.emit_write_back(c, t, j, o)


def emit_scanned(c, t, o, live):
    """BSF or BSR of ECX; of 0 the destination stays (as on all silicon), and the flags are those of a test."""
    reg: u32 = registers.home(o.reg)
    # Either host leaves the destination of 0, but only its low half for sure: the upper would stay, and is 0.
    asm.emit_reg(c, asm.BSF if o.kind == BSF_R or o.kind == BSF_M else asm.BSR, reg, asm.CX)
    asm.emit_reg(c, asm.TEST, asm.CX, asm.CX)  # test ecx, ecx
    t.host_flags = flags.HOST_ALL
    flags.emit_keep_carry(c, live, asm.CARRY_SET)
    flags.emit_remember(c, t, live, CC_LOGIC, 2, asm.CX)
