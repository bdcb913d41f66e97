"""Host instructions, byte by byte: as much of x86-64 as the translator needs (SDM vol. 2 §2.1 and §2.2.1).

Everything is appended at `c.arena.used`. A docstring shows the instruction that an emitter emits; registers are
numbered as instructions number them (`AX`, `R8`), operations are opcodes (`ADD`) or, with immediates and shifts, the
three bits that the opcode is extended by, which are the guest's `ALU_ADD` and `SHL`. A name that ends in 64 works on
64 bits, and all others on 32. RBX points into the processor's record, so that its fields are memory operands; what
comes first in the record has displacements of a byte. A jump returns its *site*, the place of its displacement, for
`bind` and `aim`.

Compiled only: uncompiled, the processor translates nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import ALU_ADD, ALU_CMP, BIT_TEST, M32, NO_REG, u32, u64
else:
    from hvcore.cpu.constants import ALU_ADD, ALU_CMP, BIT_TEST, LEA, M32, NO_REG, u32, u64


def field(c, where):
    """The displacement from RBX of a field of the record."""
    return cython.cast(u64, where) - cython.cast(u64, cython.cast(cython.p_void, c)) - RECORD_BIAS


def emit_u8(c, value):
    """A byte."""
    c.arena.code[c.arena.used] = value & 0xFF
    c.arena.used += 1


def emit_u32(c, value):
    """32 bits."""
    i: u32
    for i in range(4):
        emit_u8(c, (value >> (8 * i)) & 0xFF)


def emit_u64(c, value):
    """64 bits."""
    emit_u32(c, value & M32)
    emit_u32(c, value >> 32)


def emit_opcode(c, op, wide, reg, index, base):
    """The REX prefix, where one is needed, and the opcode; from 0x100 on after 0F."""
    rex: u32 = (wide << 3) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (base >> 3)
    if rex:
        emit_u8(c, 0x40 | rex)
    if op >= 0x100:
        emit_u8(c, 0x0F)
    emit_u8(c, op)


def fits_byte(value):
    """Whether 32 bits, taken as signed, fit in a byte that is sign-extended."""
    return ((value + 128) & M32) < 256


# Fields of the record


def emit_record_form(c, op, wide, reg, where):
    """`op reg, [rbx + field]`; in place of the register may stand an opcode's extension."""
    offset: u64 = field(c, where)
    emit_opcode(c, op, wide, reg, 0, BX)
    if fits_byte(offset):
        emit_u8(c, 0x40 | ((reg & 7) << 3) | BX)
        emit_u8(c, offset & M32)
    else:
        emit_u8(c, 0x80 | ((reg & 7) << 3) | BX)
        emit_u32(c, offset)


def emit_field(c, op, reg, where):
    """`op r32, field`; for STORE `mov field, r32`."""
    emit_record_form(c, op, 0, reg, where)


def emit_field64(c, op, reg, where):
    """`op r64, field`."""
    emit_record_form(c, op, 1, reg, where)


def emit_load(c, reg, where):
    """`mov r32, field`."""
    emit_record_form(c, LOAD, 0, reg, where)


def emit_load64(c, reg, where):
    """`mov r64, field`."""
    emit_record_form(c, LOAD, 1, reg, where)


def emit_store64(c, reg, where):
    """`mov field, r64`."""
    emit_record_form(c, STORE, 1, reg, where)


def emit_set_field(c, where, value):
    """`mov dword field, value`."""
    emit_record_form(c, 0xC7, 0, 0, where)
    emit_u32(c, value)


def emit_add_to_field64(c, where, value):
    """`add qword field, value`, which is below 128."""
    emit_record_form(c, 0x83, 1, ALU_ADD, where)
    emit_u8(c, value)


def emit_compare_field(c, where, value):
    """`cmp dword field, value`, which is below 128."""
    emit_record_form(c, 0x83, 0, ALU_CMP, where)
    emit_u8(c, value)


def emit_mxcsr(c, op, where):
    """`ldmxcsr field` or `stmxcsr field` (LDMXCSR, STMXCSR)."""
    emit_record_form(c, 0x1AE, 0, op, where)


def emit_test_field(c, where, value):
    """`test dword field, value`."""
    emit_record_form(c, 0xF7, 0, 0, where)
    emit_u32(c, value)


def emit_carry_from(c, where):
    """`bt dword field, 0`: CF is bit 0."""
    emit_record_form(c, 0x1BA, 0, BIT_TEST, where)
    emit_u8(c, 0)


def emit_change_field(c, op, where, value):
    """`op dword field, value`: ADD to CMP as `ALU_ADD` to `ALU_CMP`, of 32 bits."""
    emit_record_form(c, 0x81, 0, op, where)
    emit_u32(c, value)


def emit_compare_field_to(c, where, value):
    """`cmp dword field, value` of 32 bits."""
    emit_change_field(c, ALU_CMP, where, value)


# Registers


def emit_register_form(c, op, wide, reg, rm):
    """`op reg, rm`."""
    emit_opcode(c, op, wide, reg, 0, rm)
    emit_u8(c, 0xC0 | ((reg & 7) << 3) | (rm & 7))


def emit_reg(c, op, reg, rm):
    """`op r32, r32`."""
    emit_register_form(c, op, 0, reg, rm)


def emit_reg64(c, op, reg, rm):
    """`op r64, r64`."""
    emit_register_form(c, op, 1, reg, rm)


def emit_sized(c, op, size, reg, rm):
    """`op r8, r8`, or of 16 or 32 bits."""
    if size == 1:
        emit_u8(c, OPERAND_SIZE)
    emit_register_form(c, op if size else op - 1, 0, reg, rm)


def emit_move(c, to, source):
    """`mov to, source` of 32 bits; the other half of the destination becomes 0."""
    emit_register_form(c, STORE, 0, source, to)


def emit_move64(c, to, source):
    """`mov to, source` of 64 bits."""
    emit_register_form(c, STORE, 1, source, to)


def emit_constant(c, reg, value):
    """`mov reg, value`, in the shorter form where that does."""
    if value <= M32:
        emit_opcode(c, 0xB8 | (reg & 7), 0, 0, 0, reg)
        emit_u32(c, value)
    else:
        emit_opcode(c, 0xB8 | (reg & 7), 1, 0, 0, reg)
        emit_u64(c, value)


def emit_immediate_form(c, op, wide, rm, value):
    """`op rm, value`: ADD to CMP as `ALU_ADD` to `ALU_CMP`; 32 bits, sign-extended if wide."""
    emit_opcode(c, 0x83 if fits_byte(value) else 0x81, wide, op, 0, rm)
    emit_u8(c, 0xC0 | (op << 3) | (rm & 7))
    if fits_byte(value):
        emit_u8(c, value & M32)
    else:
        emit_u32(c, value)


def emit_imm(c, op, rm, value):
    """`op r32, value`."""
    emit_immediate_form(c, op, 0, rm, value)


def emit_imm64(c, op, rm, value):
    """`op r64, value`."""
    emit_immediate_form(c, op, 1, rm, value)


def emit_imm_byte(c, op, rm, value):
    """`test r8, value` (TEST_BYTE); only AL, CL and DL."""
    emit_u8(c, op)
    emit_u8(c, 0xC0 | rm)
    emit_u8(c, value)


def emit_shift_form(c, op, wide, rm, count):
    """`op rm, count`: rotations and shifts as `ROL` to `SAR`."""
    emit_opcode(c, 0xC1, wide, op, 0, rm)
    emit_u8(c, 0xC0 | (op << 3) | (rm & 7))
    emit_u8(c, count)


def emit_shift(c, op, rm, count):
    """`op r32, count`."""
    emit_shift_form(c, op, 0, rm, count)


def emit_shift64(c, op, rm, count):
    """`op r64, count`."""
    emit_shift_form(c, op, 1, rm, count)


def emit_shift_by_cl(c, op, rm):
    """`op r32, cl`."""
    emit_register_form(c, 0xD3, 0, op, rm)


def emit_shift_sized(c, op, size, rm, count):
    """`op r8, count`, or of 16 or 32 bits."""
    if size == 1:
        emit_u8(c, OPERAND_SIZE)
    emit_register_form(c, 0xC1 if size else 0xC0, 0, op, rm)
    emit_u8(c, count)


def emit_shift_sized_by_cl(c, op, size, rm):
    """`op r8, cl`, or of 16 or 32 bits."""
    emit_sized(c, 0xD3, size, op, rm)


def emit_double_shift(c, op, reg, rm, count):
    """`shld rm, reg, count` or `shrd` (SHLD, SHRD), of 32 bits."""
    emit_register_form(c, op, 0, reg, rm)
    emit_u8(c, count)


def emit_double_shift_by_cl(c, op, reg, rm):
    """`shld rm, reg, cl` or `shrd`, of 32 bits."""
    emit_register_form(c, op + 1, 0, reg, rm)


def emit_bit(c, op, rm, number):
    """`bt r32, number` and its kin: BIT_TEST to BIT_COMPLEMENT."""
    emit_register_form(c, 0x1BA, 0, op, rm)
    emit_u8(c, number)


def emit_bit_by_register(c, op, reg, rm):
    """`bt rm, reg` and its kin, of 32 bits."""
    emit_register_form(c, bit_opcode(op), 0, reg, rm)


def bit_opcode(op):
    """The opcode of BT and its kin whose bit's number is in a register: BIT_TEST to BIT_COMPLEMENT."""
    return 0x1A3 + 8 * (op - BIT_TEST)


def emit_set(c, condition, reg):
    """`setcc r8`; only AL, CL and DL."""
    emit_register_form(c, SETCC + condition, 0, 0, reg)


def emit_step(c, reg, down):
    """`inc r32` or `dec r32`, which leave CF."""
    emit_register_form(c, 0xFF, 0, 1 if down else 0, reg)


def emit_not(c, reg):
    """`not r32`."""
    emit_register_form(c, 0xF7, 0, 2, reg)


def emit_negate(c, reg):
    """`neg r32`."""
    emit_register_form(c, 0xF7, 0, 3, reg)


def emit_multiply(c, op, rm):
    """`mul r32` or `imul r32` (MULTIPLY, MULTIPLY_SIGNED): EDX:EAX = EAX * r32."""
    emit_register_form(c, 0xF7, 0, op, rm)


def emit_multiply_sized(c, op, size, rm):
    """`op r8`, or of 16 or 32 bits: MULTIPLY to DIVIDE_SIGNED, with the accumulator."""
    emit_sized(c, 0xF7, size, op, rm)


def emit_swap_bytes(c, reg):
    """`bswap r32`; only EAX to EDI."""
    emit_u8(c, 0x0F)
    emit_u8(c, 0xC8 | reg)


def emit_cdq(c):
    """`cdq`: EDX = the sign of EAX."""
    emit_u8(c, 0x99)


def emit_cwde(c):
    """`cwde`: EAX = AX, sign-extended."""
    emit_u8(c, 0x98)


def emit_clear_carry(c):
    """`clc`."""
    emit_u8(c, 0xF8)


def emit_complement_carry(c):
    """`cmc`."""
    emit_u8(c, 0xF5)


def emit_flags_from_ax(c):
    """`push rax; popfq`."""
    emit_push(c, AX)
    emit_u8(c, 0x9D)


# Memory


def emit_memory_form(c, op, wide, reg, base, index, scale, disp):
    """`op reg, [base + index << scale + disp]`; NO_REG for no base, or no index."""
    emit_opcode(c, op, wide, reg, index if index != NO_REG else 0, base if base != NO_REG else 0)
    mod: u32 = 0x80
    if base == NO_REG:
        mod = 0
    elif not disp and (base & 7) != BP:
        mod = 0
    elif fits_byte(disp):
        mod = 0x40
    if index == NO_REG and base != NO_REG and (base & 7) != SP:
        emit_u8(c, mod | ((reg & 7) << 3) | (base & 7))
    else:
        emit_u8(c, mod | ((reg & 7) << 3) | 4)
        emit_u8(
            c,
            (scale << 6)
            | (((index & 7) if index != NO_REG else 4) << 3)
            | ((base & 7) if base != NO_REG else 5),
        )
    if mod == 0x40:
        emit_u8(c, disp & M32)
    elif mod or base == NO_REG:
        emit_u32(c, disp)


def emit_mem(c, op, reg, base, index, scale, disp):
    """`op r32, [base + index << scale + disp]`; for STORE the other way round."""
    emit_memory_form(c, op, 0, reg, base, index, scale, disp)


def emit_mem64(c, op, reg, base, index, scale, disp):
    """`op r64, [base + index << scale + disp]`."""
    emit_memory_form(c, op, 1, reg, base, index, scale, disp)


def emit_push(c, reg):
    """`push r64`."""
    emit_opcode(c, 0x50 | (reg & 7), 0, 0, 0, reg)


def emit_pop(c, reg):
    """`pop r64`."""
    emit_opcode(c, 0x58 | (reg & 7), 0, 0, 0, reg)


# Vectors: the opcode's second byte, and its mandatory prefix, 0 for none (SDM vol. 2 §2.1.2)


def emit_load_vector(c, reg, where):
    """`movups xmm, field`."""
    emit_record_form(c, 0x110, 0, reg, where)


def emit_store_vector(c, reg, where):
    """`movups field, xmm`."""
    emit_record_form(c, 0x111, 0, reg, where)


def emit_vector_reg(c, prefix, op, reg, rm):
    """`op xmm, xmm`; either may be a general register, or an opcode's extension."""
    if prefix:
        emit_u8(c, prefix)
    emit_register_form(c, 0x100 | op, 0, reg, rm)


def emit_vector_mem(c, prefix, op, reg, base, index):
    """`op xmm, [base + index]`, or the other way round."""
    if prefix:
        emit_u8(c, prefix)
    emit_memory_form(c, 0x100 | op, 0, reg, base, index, 0, 0)


def emit_leave_mmx(c):
    """`emms`: the x87's registers are empty."""
    emit_u8(c, 0x0F)
    emit_u8(c, 0x77)


def emit_flags_to_ah(c):
    """`lahf`."""
    emit_u8(c, 0x9F)


def emit_flags_from_ah(c):
    """`sahf`: all status flags but OF."""
    emit_u8(c, 0x9E)


# Strings


def emit_repeat(c, op, prefix, size):
    """`rep op` or `repne op` (REP, REPNE) of a string instruction, with items of 8, 16 or 32 bits."""
    emit_u8(c, prefix)
    if size == 1:
        emit_u8(c, OPERAND_SIZE)
    emit_u8(c, op | (size != 0))


# Whole and at once (LOCK)


def emit_locked(c, op, size, reg, base):
    """`lock op [base], reg`: CMPXCHG, XADD, of 8 to 32 bits."""
    emit_u8(c, LOCK)
    if size == 1:
        emit_u8(c, OPERAND_SIZE)
    emit_memory_form(c, op if size else op - 1, 0, reg, base, NO_REG, 0, 0)


def emit_exchange(c, size, reg, base):
    """`xchg [base], reg`, which locks by itself."""
    if size == 1:
        emit_u8(c, OPERAND_SIZE)
    emit_memory_form(c, 0x87 if size else 0x86, 0, reg, base, NO_REG, 0, 0)


# Jumps and calls


def emit_jump(c):
    """`jmp` to what is not known yet; returns its site."""
    emit_u8(c, 0xE9)
    emit_u32(c, 0)
    return c.arena.used - 4


def emit_jump_if(c, condition):
    """`jcc` to what is not known yet; returns its site."""
    emit_u8(c, 0x0F)
    emit_u8(c, 0x80 | condition)
    emit_u32(c, 0)
    return c.arena.used - 4


def emit_jump_to(c, target):
    """`jmp` to a place in the arena."""
    aim(c, emit_jump(c), target)


def emit_jump_to_register(c, reg):
    """`jmp r64`."""
    emit_register_form(c, 0xFF, 0, 4, reg)


def emit_jump_to_memory(c, base, disp):
    """`jmp [base + disp]`."""
    emit_memory_form(c, 0xFF, 0, 4, base, NO_REG, 0, disp)


def emit_jump_to_entry(c, base, index, scale, disp):
    """`jmp [base + index << scale + disp]`."""
    emit_memory_form(c, 0xFF, 0, 4, base, index, scale, disp)


def emit_place(c, reg):
    """`lea reg, [rip + place]`, of a place in the arena; returns its site, for `bind` or `aim`."""
    emit_opcode(c, LEA, 1, reg, 0, 0)
    emit_u8(c, ((reg & 7) << 3) | 5)
    emit_u32(c, 0)
    return c.arena.used - 4


def emit_call_near(c, target):
    """`call` of a place in the arena."""
    emit_u8(c, 0xE8)
    emit_u32(c, 0)
    aim(c, c.arena.used - 4, target)


def emit_call(c, function):
    """`mov rax, function; call rax`: in C, to which all registers but RBX, RBP and R12 to R15 belong."""
    emit_constant(c, AX, cython.cast(u64, function))
    emit_register_form(c, 0xFF, 0, 2, AX)


def emit_return(c):
    """`ret`."""
    emit_u8(c, 0xC3)


def bind(c, site):
    """Aim a jump at what comes next."""
    aim(c, site, c.arena.used)


def aim(c, site, target):
    """Aim a jump at a place in the arena."""
    rel: u64 = (target - (site + 4)) & M32
    i: u32
    for i in range(4):
        c.arena.code[site + i] = (rel >> (8 * i)) & 0xFF


def aimed_at(c, site):
    """Where a jump leads."""
    rel: u64 = 0
    i: u32
    for i in range(4):
        rel |= cython.cast(u64, c.arena.code[site + i]) << (8 * i)
    return (site + 4 + rel) & M32
