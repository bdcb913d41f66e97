"""Shifts and rotations as host code (SDM vol. 2, SAL, RCL, SHLD), with the flags that `flags.shift` gives them.

What Intel leaves undefined, OF for counts over 1, is computed from the result, so that it is the same on every host.
The operand is in EAX while it is shifted, zero-extended; the count is a constant, or in CL.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit import flags, memory, registers
    from cython.cimports.hvcore.cpu.kinds import (
        SHIFT_MC, SHIFT_MI, SHIFT_RC, SHLD_MC, SHLD_MI, SHLD_RC, SHRD_MC, SHRD_MI, SHRD_RC, SHRD_RI,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_AND, CC_CARRY_APART, CC_OVERFLOW_APART, CC_SHIFT, RCL, RCR, RCX, ROL, SAL, SAR, SHL, SHR, u32,
    )
else:
    from hvcore.cpu.constants import (
        ALU_AND, CC_CARRY_APART, CC_OVERFLOW_APART, CC_SHIFT, RCL, RCR, RCX, ROL, SAL, SAR, SHIFT_MC,
        SHIFT_MI, SHIFT_RC, SHL, SHLD_MC, SHLD_MI, SHLD_RC, SHR, SHRD_MC, SHRD_MI, SHRD_RC, SHRD_RI, u32,
    )
# fmt: on


def traits(o):
    """What SHIFT_RI to SHIFT_MC do with the flags (SETS and so on); a count of 0 leaves them."""
    by_cl: u32 = o.kind == SHIFT_RC or o.kind == SHIFT_MC
    if not by_cl and not o.imm & 31:
        return TOUCHES
    if o.sub == RCL or o.sub == RCR:
        return READS | TOUCHES
    return TOUCHES if by_cl or o.sub < SHL else SETS


def emit(c, t, j, o, live):
    """SHIFT_RI to SHIFT_MC."""
    in_memory: u32 = o.kind == SHIFT_MI or o.kind == SHIFT_MC
    by_cl: u32 = o.kind == SHIFT_RC or o.kind == SHIFT_MC
    op: u32 = SHL if o.sub == SAL else o.sub
    count: u32 = o.imm & 31
    none: u32 = 0
    if in_memory:
        memory.emit_load_to_modify(c, t, j, o)
    elif not by_cl and not count:
        return
    else:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.AX)
    if by_cl:
        none = emit_count(c, t)
    if by_cl or count:
        if op < SHL:
            emit_rotated(c, t, op, o.size, by_cl, count)
        else:
            emit_shifted(c, t, op, o.size, by_cl, count)
        if live and op < SHL:
            emit_rotation_flags(c, t, op, o.size)
        elif live:
            emit_shift_flags(c, t, op, o.size)
        if not in_memory:
            registers.emit_put_sized(c, o, o.reg, o.rsh)
    if by_cl:
        asm.bind(c, none)
        flags.forget(t)
    if in_memory:
        memory.emit_write_back(c, t, j, o)
    t.host_flags = 0


def emit_count(c, t):
    """Bring the count from CL to ECX; returns the site of the jump that is taken if it is 0."""
    registers.emit_get(c, RCX, asm.CX)
    asm.emit_imm(c, ALU_AND, asm.CX, 31)  # and ecx, 31
    t.host_flags = 0
    return asm.emit_jump_if(c, asm.ZERO)


def emit_rotated(c, t, op, size, by_cl, count):
    """Rotate EAX; through carry, CF is new in the host's flags behind it."""
    if op >= RCL:
        flags.emit_carry_to_host(c, t)
    if by_cl:
        asm.emit_shift_sized_by_cl(c, op, size, asm.AX)
    else:
        asm.emit_shift_sized(c, op, size, asm.AX, count)


def emit_rotation_flags(c, t, op, size):
    """CF and OF of a rotation whose result is in EAX."""
    top: u32 = (8 << size) - 1
    if op >= RCL:
        asm.emit_set(c, asm.CARRY_SET, asm.CX)  # setb cl
        asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)  # movzx ecx, cl
    else:
        asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
        if op == ROL:
            asm.emit_imm(c, ALU_AND, asm.CX, 1)  # and ecx, 1
        else:
            asm.emit_shift(c, SHR, asm.CX, top)  # shr ecx, top
    asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.cc_cf))
    if op == RCR:
        asm.emit_move(c, asm.CX, asm.AX)
        asm.emit_shift(c, SHR, asm.CX, top)  # shr ecx, top
    asm.emit_move(c, asm.DX, asm.AX)  # mov edx, eax
    asm.emit_shift(c, SHR, asm.DX, top if op == ROL or op == RCL else top - 1)
    asm.emit_reg(c, asm.XOR, asm.DX, asm.CX)  # xor edx, ecx
    asm.emit_imm(c, ALU_AND, asm.DX, 1)  # and edx, 1
    asm.emit_field(c, asm.STORE, asm.DX, cython.address(c.cc_of))
    flags.emit_set_apart(c, t, CC_CARRY_APART | CC_OVERFLOW_APART)


def emit_shifted(c, t, op, size, by_cl, count):
    """Shift EAX, all 32 bits of it, so that a count over the size of the operand is none; CF is in ECX behind it."""
    if op == SAR and size == 0:
        asm.emit_reg(c, asm.MOVSX8, asm.AX, asm.AX)  # movsx eax, al
    elif op == SAR and size == 1:
        asm.emit_reg(c, asm.MOVSX16, asm.AX, asm.AX)  # movsx eax, ax
    if by_cl:
        asm.emit_shift_by_cl(c, op, asm.AX)
    else:
        asm.emit_shift(c, op, asm.AX, count)
    if op == SHL and size < 2:  # what came out of the operand is above it
        asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
        asm.emit_shift(c, SHR, asm.CX, 8 << size)  # shr ecx, 8 or 16
        asm.emit_imm(c, ALU_AND, asm.CX, 1)  # and ecx, 1
    else:
        asm.emit_set(c, asm.CARRY_SET, asm.CX)  # setb cl
        asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)  # movzx ecx, cl
    if size == 0:
        asm.emit_reg(c, asm.MOVZX8, asm.AX, asm.AX)  # movzx eax, al
    elif size == 1:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax


def emit_shift_flags(c, t, op, size):
    """All flags of a shift whose result is in EAX and CF in ECX."""
    top: u32 = (8 << size) - 1
    asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.cc_cf))
    if op == SAR:
        asm.emit_reg(c, asm.XOR, asm.DX, asm.DX)  # xor edx, edx
    else:
        asm.emit_move(c, asm.DX, asm.AX)  # mov edx, eax
        if op == SHL:  # OF is the result's sign against CF
            asm.emit_shift(c, SHR, asm.DX, top)  # shr edx, top
            asm.emit_reg(c, asm.XOR, asm.DX, asm.CX)  # xor edx, ecx
        else:  # what was the top bit before the last step; the result's own is 0
            asm.emit_shift(c, SHR, asm.DX, top - 1)  # shr edx, top - 1
    asm.emit_store64(c, asm.DX, cython.address(c.cc_a))
    flags.emit_remember(c, t, flags.ALL, CC_SHIFT, size, asm.AX)


def emit_by_constant(c, t, live, op, count, reg):
    """Shift `reg` by a constant: SHL, SHR or SAR (`op`), with flags as `flags.shift` defines them."""
    if live == flags.ALL:
        asm.emit_move(c, asm.DX, reg)  # mov edx, reg
    elif live == flags.WAITING:
        asm.emit_store64(c, reg, cython.address(c.cc_b))
    asm.emit_shift(c, op, reg, count)
    t.host_flags = flags.HOST_CF | flags.HOST_ZF
    flags.emit_keep_carry(c, live, asm.CARRY_SET)
    if live == flags.ALL:
        flags.emit_keep_carry(c, flags.CARRY, asm.CARRY_SET)
        if op == SHL:  # OF is the result's sign against CF
            asm.emit_set(c, asm.CARRY_SET, asm.CX)  # setb cl
            asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)  # movzx ecx, cl
            asm.emit_move(c, asm.DX, reg)  # mov edx, reg
            asm.emit_shift(c, SHR, asm.DX, 31)  # shr edx, 31
            asm.emit_reg(c, asm.XOR, asm.DX, asm.CX)  # xor edx, ecx
        elif op == SHR and count == 1:  # the operand's sign
            asm.emit_shift(c, SHR, asm.DX, 31)  # shr edx, 31
        else:
            asm.emit_reg(c, asm.XOR, asm.DX, asm.DX)  # xor edx, edx
        asm.emit_store64(c, asm.DX, cython.address(c.cc_a))
        t.host_flags = 0
    flags.emit_remember(c, t, live, CC_SHIFT, 2, reg)
    if live == flags.WAITING:
        t.waiting.shift = op
        t.waiting.count = count


def emit_double(c, t, j, o, live):
    """SHLD or SHRD of 32 bits: SHLD_RI to SHRD_MC."""
    kind: u32 = o.kind
    right: u32 = kind >= SHRD_RI
    in_memory: u32 = kind == SHLD_MI or kind == SHLD_MC or kind == SHRD_MI or kind == SHRD_MC
    by_cl: u32 = kind == SHLD_RC or kind == SHLD_MC or kind == SHRD_RC or kind == SHRD_MC
    source: u32 = registers.home(o.reg if in_memory else o.rm)
    op: u32 = asm.SHRD if right else asm.SHLD
    count: u32 = o.imm & 31
    none: u32 = 0
    if in_memory:
        memory.emit_load_to_modify(c, t, j, o)
    elif not by_cl and not count:
        return
    else:
        registers.emit_get(c, o.reg, asm.AX)
    if by_cl:
        none = emit_count(c, t)
    if by_cl or count:
        asm.emit_move(c, asm.DX, asm.AX)  # mov edx, eax
        if by_cl:
            asm.emit_double_shift_by_cl(c, op, source, asm.AX)
        else:
            asm.emit_double_shift(c, op, source, asm.AX, count)
        if live:
            asm.emit_set(c, asm.CARRY_SET, asm.CX)  # setb cl
            asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)  # movzx ecx, cl
            asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.cc_cf))
            asm.emit_reg(c, asm.XOR, asm.DX, asm.AX)  # xor edx, eax
            asm.emit_shift(c, SHR, asm.DX, 31)  # shr edx, 31: OF, whether the sign is another
            asm.emit_store64(c, asm.DX, cython.address(c.cc_a))
            flags.emit_remember(c, t, flags.ALL, CC_SHIFT, 2, asm.AX)
        if not in_memory:
            registers.emit_put(c, o.reg, asm.AX)
    if by_cl:
        asm.bind(c, none)
        flags.forget(t)
    if in_memory:
        memory.emit_write_back(c, t, j, o)
    t.host_flags = 0
