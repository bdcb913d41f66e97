"""Host instructions, byte by byte: as much of x86-64 as the translator needs (SDM vol. 2 §2.1 and §2.2.1).

Everything is appended at `c.code_used` of the arena `c.code`; jumps return their *site*, the place of their
displacement, to be aimed later. RBX points into the processor's record, so `with_field` reaches its fields; what
comes first in it with displacements of a byte.
Compiled only: uncompiled, the processor translates nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit.assembler import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *


def put8(c, value):
    """Append a byte."""
    c.code[c.code_used] = value & 0xFF
    c.code_used += 1


def put32(c, value):
    """Append 32 bits."""
    i: u32
    for i in range(4):
        put8(c, (value >> (8 * i)) & 0xFF)


def put64(c, value):
    """Append 64 bits."""
    put32(c, value & M32)
    put32(c, value >> 32)


def opcode(c, op, wide, reg, index, base):
    """REX prefix, where one is needed, and the opcode; from 0x100 on after 0F."""
    rex: u32 = (wide << 3) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (base >> 3)
    if rex:
        put8(c, 0x40 | rex)
    if op >= 0x100:
        put8(c, 0x0F)
    put8(c, op)


def short(value):
    """Whether 32 bits, taken as signed, fit in a byte that is sign-extended."""
    return ((value + 128) & M32) < 256


def with_field(c, op, wide, reg, offset):
    """An instruction on a register, or an opcode's extension, and a field of the record."""
    opcode(c, op, wide, reg, 0, HBX)
    if short(offset):
        put8(c, 0x40 | ((reg & 7) << 3) | HBX)
        put8(c, offset & M32)
    else:
        put8(c, 0x80 | ((reg & 7) << 3) | HBX)
        put32(c, offset)


def with_register(c, op, wide, reg, rm):
    """An instruction on two registers."""
    opcode(c, op, wide, reg, 0, rm)
    put8(c, 0xC0 | ((reg & 7) << 3) | (rm & 7))


def with_memory(c, op, wide, reg, base, index, scale, disp):
    """An instruction on a register and [base + index << scale + disp]; NO_REG for none of the two."""
    opcode(c, op, wide, reg, index if index != NO_REG else 0, base if base != NO_REG else 0)
    mod: u32 = 0x80
    if base == NO_REG:
        mod = 0
    elif not disp and (base & 7) != HBP:
        mod = 0
    elif short(disp):
        mod = 0x40
    if index == NO_REG and base != NO_REG and (base & 7) != HSP:
        put8(c, mod | ((reg & 7) << 3) | (base & 7))
    else:
        put8(c, mod | ((reg & 7) << 3) | 4)
        put8(
            c,
            (scale << 6)
            | (((index & 7) if index != NO_REG else 4) << 3)
            | ((base & 7) if base != NO_REG else 5),
        )
    if mod == 0x40:
        put8(c, disp & M32)
    elif mod or base == NO_REG:
        put32(c, disp)


def with_immediate(c, op, wide, rm, value):
    """ADD OR ADC SBB AND SUB XOR CMP (`op` 0 to 7) of a register and 32 bits, sign-extended if wide."""
    opcode(c, 0x83 if short(value) else 0x81, wide, op, 0, rm)
    put8(c, 0xC0 | (op << 3) | (rm & 7))
    if short(value):
        put8(c, value & M32)
    else:
        put32(c, value)


def shift(c, op, wide, rm, count):
    """ROL ROR RCL RCR SHL SHR SAL SAR (`op` 0 to 7) of a register by a constant."""
    opcode(c, 0xC1, wide, op, 0, rm)
    put8(c, 0xC0 | (op << 3) | (rm & 7))
    put8(c, count)


def load(c, reg, offset):
    """MOV r32, field."""
    with_field(c, X_LOAD, 0, reg, offset)


def load64(c, reg, offset):
    """MOV r64, field."""
    with_field(c, X_LOAD, 1, reg, offset)


def store64(c, reg, offset):
    """MOV field, r64."""
    with_field(c, X_STORE, 1, reg, offset)


def set_field(c, wide, offset, value):
    """MOV field, imm32, sign-extended if wide."""
    with_field(c, 0xC7, wide, 0, offset)
    put32(c, value)


def constant(c, reg, value):
    """MOV r, value; the shortest form."""
    if value <= M32:
        opcode(c, 0xB8 | (reg & 7), 0, 0, 0, reg)
        put32(c, value)
    else:
        opcode(c, 0xB8 | (reg & 7), 1, 0, 0, reg)
        put64(c, value)


def jump(c):
    """JMP; returns its site."""
    put8(c, 0xE9)
    put32(c, 0)
    return c.code_used - 4


def jump_if(c, condition):
    """Jcc; returns its site."""
    put8(c, 0x0F)
    put8(c, 0x80 | condition)
    put32(c, 0)
    return c.code_used - 4


def jump_to(c, target):
    """JMP to a place in the arena that is known."""
    aim(c, jump(c), target)


def call_near(c, target):
    """CALL of a place in the arena."""
    put8(c, 0xE8)
    put32(c, 0)
    aim(c, c.code_used - 4, target)


def bind(c, site):
    """Aim a jump at what comes next."""
    aim(c, site, c.code_used)


def aim(c, site, target):
    """Aim a jump at a place in the arena."""
    rel: u64 = (target - (site + 4)) & M32
    i: u32
    for i in range(4):
        c.code[site + i] = (rel >> (8 * i)) & 0xFF


def call(c, function):
    """Call a function in C; all but RBX, RBP and R12 to R15 are its own."""
    constant(c, HAX, cython.cast(u64, function))
    put8(c, 0xFF)
    put8(c, 0xD0)
