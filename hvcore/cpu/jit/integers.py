"""Integer arithmetic as host code: ADD to TEST, INC and DEC, MUL and DIV, with the flags that `flags` keeps of them.

Where 32-bit operands are in registers the host's instruction works on their homes; all else comes to EAX and ECX first.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit import flags, memory, registers
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import (
        ADD32_MI, ADD32_MR, ADD32_RI, ADD32_RM, ALU8_RI, ALU8_RM, ALU_MI, ALU_MR, ALU_RI, ALU_RM, AND32_RI,
        AND32_RM, CMP32_MI, CMP32_MR, CMP32_RI, CMP32_RM, CMP8_MI, CMP8_RI, CMP8_RM, DEC_M, DEC_R, INC_M,
        MUL_M, OR32_RI, OR32_RM, SUB32_RI, SUB32_RM, TEST32_RI, TEST8_RI, XOR32_RI, XOR32_RM,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADC, ALU_CMP, ALU_SBB, DIVIDE, NO_REG, RAX, RDX, SAR, SIZE_MASK, u32,
    )
else:
    from hvcore.cpu.constants import (
        ADD32_MI, ADD32_MR, ADD32_RI, ADD32_RM, ALU8_RI, ALU8_RM, ALU_ADC, ALU_CMP, ALU_MI, ALU_MR, ALU_RI,
        ALU_RM, ALU_SBB, AND32_RI, AND32_RM, CMP32_MI, CMP32_MR, CMP32_RI, CMP32_RM, CMP8_MI, CMP8_RI,
        CMP8_RM, DEC_M, DEC_R, DIVIDE, INC_M, MUL_M, NO_REG, OR32_RI, OR32_RM, RAX, RDX, SAR, SIZE_MASK,
        SUB32_RI, SUB32_RM, TEST32_RI, TEST8_RI, XOR32_RI, XOR32_RM, u32,
    )
# fmt: on


def emit_two_operands(c, t, o, j, live):
    """ADD OR ADC SBB AND SUB XOR CMP TEST in all their forms."""
    kind: u32 = o.kind
    sub: u32 = o.sub
    size: u32 = o.size
    if size == 0 and not (kind == ALU_MR or kind == ALU_MI):
        if kind == CMP8_RM or kind == ALU8_RM:
            memory.emit_load_operand(c, t, j, o, 0, asm.CX)
            registers.emit_get_byte(c, t, o.reg, o.rsh, asm.AX)
        elif kind == CMP8_MI:
            memory.emit_load_operand(c, t, j, o, 0, asm.AX)
            asm.emit_constant(c, asm.CX, o.imm)
        else:
            registers.emit_get_byte(c, t, o.reg, o.rsh, asm.AX)
            if kind == CMP8_RI or kind == TEST8_RI or kind == ALU8_RI:
                asm.emit_constant(c, asm.CX, o.imm)
            else:
                registers.emit_get_byte(c, t, o.rm, o.msh, asm.CX)
        flags.emit_arithmetic(c, t, sub, live, 0)
        if sub < ALU_CMP:
            registers.emit_put_byte(c, o.reg, o.rsh)
        return
    if (
        kind == ALU_MR
        or kind == ALU_MI
        or kind == ADD32_MR
        or kind == ADD32_MI
        or kind == CMP32_MR
        or kind == CMP32_MI
    ):
        if sub >= ALU_CMP:
            memory.emit_load_operand(c, t, j, o, size, asm.AX)
        else:
            memory.emit_load_to_modify(c, t, j, o)
        if kind == ALU_MI or kind == ADD32_MI or kind == CMP32_MI:
            asm.emit_constant(c, asm.CX, o.imm & SIZE_MASK[size])
        else:
            registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.CX)
        flags.emit_arithmetic(c, t, sub, live, size)
        if sub < ALU_CMP:
            memory.emit_write_back(c, t, j, o)
        return
    if (
        kind == ALU_RM
        or kind == ADD32_RM
        or kind == OR32_RM
        or kind == AND32_RM
        or kind == SUB32_RM
        or kind == XOR32_RM
        or kind == CMP32_RM
    ):
        memory.emit_load_operand(c, t, j, o, size, asm.CX)
        registers.emit_get_sized(c, t, o, o.reg, 0, asm.AX)
        flags.emit_arithmetic(c, t, sub, live, size)
        if sub < ALU_CMP:
            registers.emit_put_sized(c, o, o.reg, 0)
        return
    emit_two_registers(
        c,
        t,
        o,
        sub,
        live,
        kind == ALU_RI
        or kind == ADD32_RI
        or kind == OR32_RI
        or kind == AND32_RI
        or kind == SUB32_RI
        or kind == XOR32_RI
        or kind == CMP32_RI
        or kind == TEST32_RI,
    )


def emit_two_registers(c, t, o, sub, live, immediate):
    """The same of a register of 16 or 32 bits and a second, or an immediate."""
    if sub != ALU_ADC and sub != ALU_SBB and o.size == 2:
        flags.emit_arithmetic_in_place(c, t, o, sub, live, immediate)
        return
    registers.emit_get_sized(c, t, o, o.reg, 0, asm.AX)
    if immediate:
        asm.emit_constant(c, asm.CX, o.imm & SIZE_MASK[o.size])
    else:
        registers.emit_get_sized(c, t, o, o.rm, 0, asm.CX)
    flags.emit_arithmetic(c, t, sub, live, o.size)
    if sub < ALU_CMP:
        registers.emit_put_sized(c, o, o.reg, 0)


def emit_step_sized(c, t, o, j, live):
    """INC or DEC of 8 or 16 bits."""
    down: u32 = o.kind == DEC_R or o.kind == DEC_M
    flags.emit_stand_carry(c, t, live)
    if o.kind == INC_M or o.kind == DEC_M:
        memory.emit_load_to_modify(c, t, j, o)
    else:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.AX)
    flags.emit_step_sized(c, t, live, down, o.size)
    if o.kind == INC_M or o.kind == DEC_M:
        memory.emit_write_back(c, t, j, o)
    else:
        registers.emit_put_sized(c, o, o.reg, o.rsh)


def emit_factor(c, t, o, j):
    """Bring the operand of MUL, IMUL, DIV or IDIV that is not the accumulator to ECX."""
    if o.kind == MUL_M:
        memory.emit_load_operand(c, t, j, o, o.size, asm.CX)
    else:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.CX)


def emit_put_wide(c, o):
    """Set AX, DX:AX or EDX:EAX, by the size of `o`, to the host's."""
    if o.size == 2:
        registers.emit_put(c, RAX, asm.AX)
        registers.emit_put(c, RDX, asm.DX)
        return
    registers.emit_put_word(c, RAX, asm.AX)
    if o.size == 1:
        registers.emit_put_word(c, RDX, asm.DX)


def emit_product(c, t, o, j, live):
    """MUL or IMUL of the accumulator."""
    emit_factor(c, t, o, j)
    registers.emit_get(c, RAX, asm.AX)
    asm.emit_multiply_sized(c, o.sub, o.size, asm.CX)
    emit_put_wide(c, o)
    if o.size == 0:
        asm.emit_reg(c, asm.MOVZX8, asm.AX, asm.AX)  # movzx eax, al
    elif o.size == 1:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
    flags.emit_keep_product_flags(c, t, live, o.size, asm.AX)


def emit_division(c, t, o, j):
    """DIV, or IDIV of EDX:EAX. What might fault is the interpreter's, and an IDIV of more than 32 bits too."""
    s: cython.pointer(Stub)
    emit_factor(c, t, o, j)
    s = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    registers.emit_get(c, RAX, asm.AX)
    registers.emit_get(c, RDX, asm.DX)
    # The quotient would be too long, or the divisor is 0, if that is not above the upper half.
    if o.sub == DIVIDE:
        if o.size == 0:
            asm.emit_reg(c, asm.MOVZX8, asm.DX, asm.AH)  # movzx edx, ah
        elif o.size == 1:
            asm.emit_reg(c, asm.MOVZX16, asm.DX, asm.DX)  # movzx edx, dx
        asm.emit_reg(c, asm.CMP, asm.DX, asm.CX)  # cmp edx, ecx
        s.site = asm.emit_jump_if(c, asm.CARRY_CLEAR)
    else:
        asm.emit_move(c, asm.R14, asm.AX)
        asm.emit_shift(c, SAR, asm.R14, 31)  # sar r14d, 31
        asm.emit_reg(c, asm.CMP, asm.R14, asm.DX)  # cmp r14d, edx
        s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
        asm.emit_mem(c, asm.LEA, asm.R14, asm.CX, NO_REG, 0, 1)  # lea r14d, [rcx + 1]
        asm.emit_imm(c, ALU_CMP, asm.R14, 1)  # cmp r14d, 1: by -1, or by 0
        memory.note_site(s, asm.emit_jump_if(c, asm.BELOW_OR_EQUAL))
    asm.emit_multiply_sized(c, o.sub, o.size, asm.CX)  # div ecx
    emit_put_wide(c, o)
    s.resume = c.arena.used
    t.host_flags = 0
