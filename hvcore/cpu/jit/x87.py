"""x87 instructions as the host's own (docs/translator.md): the guest's registers are in the host's x87 meanwhile.

A block of MODE_X87 may do so without a look: there is an x87, it may be used, and all of its exceptions are masked, so
that none ever waits. The guest's state comes to the host's x87 with a block's first instruction and goes back before
anybody else looks at it. Precision control, stack faults, C1 and NaNs are the silicon's.

Where the last instruction and operand were (FNSTENV tells) stands in the record at a block's end, and wherever else it
is left.
What is the interpreter's: the environment as a whole, and the transcendental functions, since no two makes of processor
agree in the last bit.
"""

import cython

from hvcore.cpu.jit import traits as table

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.fp import softfloat, x87, x87_registers
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import ESC_M, ESC_R
    from cython.cimports.hvcore.cpu.state import (
        ALU_AND, ALU_CMP, CC_FLAGS, CS, M32, NO_REG, RAX, Op, u16, u32, u64, u8,
    )
else:
    from hvcore.cpu.constants import (
        ALU_AND, ALU_CMP, CC_FLAGS, CS, ESC_M, ESC_R, M32, NO_REG, RAX, u16, u32, u64, u8,
    )
    from hvcore.cpu.fp import softfloat, x87, x87_registers
# fmt: on

EXACT = cython.declare(u32, table.EXACT_X87)


def translated(t, o):
    """Whether an instruction is the host's own."""
    if not t.has_x87 or x87.reserved(o):
        return 0
    if o.kind == ESC_M:
        return not ((o.sub == x87.ESC_D9 or o.sub == x87.ESC_DD) and (o.reg == 4 or o.reg == 6))
    if o.sub == x87.ESC_D9 and o.reg >= 4:
        return (EXACT >> ((o.reg & 3) * 8 + o.rm)) & 1
    return not (o.sub == x87.ESC_DB and o.reg == 4 and o.rm != 2)


def compares(o):
    """FCOMI and its kin, whose result is in the flags."""
    return o.kind == ESC_R and (o.sub == x87.ESC_DB or o.sub == x87.ESC_DF) and (o.reg == 5 or o.reg == 6)


def moves_if(o):
    """FCMOV, which reads them."""
    return o.kind == ESC_R and (o.sub == x87.ESC_DA or o.sub == x87.ESC_DB) and o.reg < 4


def size_of(o):
    """The size of a memory operand, as `Op.size`; 4 for the ten bytes of FLD, FSTP, FBLD, FBSTP."""
    sub: u32 = o.sub
    reg: u32 = o.reg
    if (
        sub == x87.ESC_DE
        or (reg == 7 and (sub == x87.ESC_D9 or sub == x87.ESC_DD))
        or (sub == x87.ESC_D9 and reg == 5)
        or (sub == x87.ESC_DF and reg < 4)
    ):
        return 1
    if sub == x87.ESC_DC or (sub == x87.ESC_DD and reg < 4) or (sub == x87.ESC_DF and (reg == 5 or reg == 7)):
        return 3
    if (sub == x87.ESC_DB and reg >= 5) or sub == x87.ESC_DF:
        return 4
    return 2


def stores(o):
    """Whether a memory operand is written."""
    reg: u32 = o.reg
    if not o.sub & 1:
        return 0
    return reg == 2 or reg == 3 or reg == 7 or (o.sub == x87.ESC_DF and reg == 6)


def emit_take(c, t):
    """Have the guest's registers in the host's x87; the host's flags are lost."""
    taken: u32
    if not t.x87_taken:
        asm.emit_compare_field(c, cython.address(c.x87_taken), 0)
        taken = asm.emit_jump_if(c, asm.NOT_ZERO)
        asm.emit_call_near(c, c.arena.take_x87)
        asm.bind(c, taken)
        t.x87_taken = 1
        t.host_flags = 0
        registers.forget_vectors(t)


def emit(c, t, j, o, live):
    """One instruction."""
    emit_take(c, t)
    if o.kind == ESC_M:
        emit_memory(c, t, j, o)
    elif moves_if(o):
        flags.emit_condition(c, t, (10 if o.reg == 3 else 2 + 2 * o.reg) + (o.sub & 1))
        emit_registers(c, o)
    else:
        emit_registers(c, o)
        if compares(o) and live:
            flags.emit_keep_compared(c)
            t.known = CC_FLAGS
            t.carry_stands = 0
            t.host_flags = 0
        elif compares(o):
            t.host_flags = 0
        elif o.sub == x87.ESC_DF and o.reg == 4:  # FNSTSW AX
            registers.emit_put_word(c, RAX, asm.AX)
    if not x87.is_control(o):
        t.x87_last = j + 1
        if o.kind == ESC_M:
            t.x87_memory = j + 1


def emit_registers(c, o):
    """The instruction's own two bytes."""
    asm.emit_u8(c, 0xD8 | o.sub)
    asm.emit_u8(c, 0xC0 | (o.reg << 3) | o.rm)


def emit_memory(c, t, j, o):
    """An instruction with a memory operand; the interpreter does it whole where that is no plain memory."""
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    s.size = size_of(o)
    memory.emit_effective_address(c, o)
    asm.emit_move(c, asm.R14, asm.AX)  # mov r14d, eax
    memory.emit_look_up(c, t, s, arena.TLB_WRITE if stores(o) else arena.TLB_READ)
    if o.sub == x87.ESC_D9 and o.reg == 5:  # FLDCW: exceptions that it does not mask are another mode's
        s.value = memory.VALUE_LEAVES
        asm.emit_mem(c, asm.MOVZX16, asm.CX, asm.R12, asm.AX, 0, 0)
        asm.emit_imm(c, ALU_AND, asm.CX, softfloat.EXCEPTIONS)  # and ecx, 3fh
        asm.emit_imm(c, ALU_CMP, asm.CX, softfloat.EXCEPTIONS)  # cmp ecx, 3fh
        memory.note_site(s, asm.emit_jump_if(c, asm.NOT_ZERO))
    asm.emit_mem(c, 0xD8 | o.sub, o.reg, asm.R12, asm.AX, 0, 0)
    if not x87.is_control(o):
        asm.emit_store64(c, asm.R14, cython.address(c.fp_dp))
    s.resume = c.arena.used


def emit_pointers(c, t, first, last, with_memory):
    """Note in the record where the last instruction was, operation `last` - 1, and the segment of the last operand."""
    o: cython.pointer(Op)
    if last:
        o = cython.address(c.ops[first + last - 1])
        asm.emit_load(c, asm.CX, cython.address(c.code_delta))
        # lea ecx, [rcx + where the instruction begins]
        asm.emit_mem(c, asm.LEA, asm.CX, asm.CX, NO_REG, 0, (t.at + o.off - o.length) & M32)
        asm.emit_store64(c, asm.CX, cython.address(c.fp_ip))
        asm.emit_load(c, asm.CX, cython.address(c.sel[CS]))
        asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.fp_cs))
        asm.emit_set_field(c, cython.address(c.fp_opcode), (o.sub << 8) | cython.cast(u32, o.modrm))
    if with_memory:
        o = cython.address(c.ops[first + with_memory - 1])
        asm.emit_load(c, asm.CX, cython.address(c.sel[o.seg]))
        asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.fp_ds))


def emit_note_pointers(c, t, first):
    """The same for what the block has done since it was noted last; RCX is lost."""
    emit_pointers(c, t, first, t.x87_last, t.x87_memory)
    t.x87_last = 0
    t.x87_memory = 0


# The state, between the record and the image of FNSAVE and FRSTOR (SDM vol. 1 figure 8-9)


def to_image(c):
    """Write what FRSTOR loads: the words, then the registers from the top."""
    image: cython.pointer(u32) = cython.cast(cython.pointer(u32), cython.address(c.x87_image[0]))
    at: cython.pointer(u8) = cython.cast(cython.pointer(u8), image) + 28
    tags: u32 = 0
    i: u32
    n: u32
    for i in range(8):
        if not (c.fp_used >> i) & 1:
            tags |= x87_registers.TAG_EMPTY << (2 * i)
    image[0] = c.fp_control
    image[1] = x87_registers.status_word(c)
    image[2] = tags
    image[3] = image[4] = image[5] = image[6] = 0
    for i in range(8):
        n = (c.fp_top + i) & 7
        cython.cast(cython.pointer(u64), at)[0] = c.fp_sig[n]
        cython.cast(cython.pointer(u16), at + 8)[0] = c.fp_se[n]
        at += 10


def from_image(c):
    """Read what FNSAVE stored."""
    image: cython.pointer(u32) = cython.cast(cython.pointer(u32), cython.address(c.x87_image[0]))
    at: cython.pointer(u8) = cython.cast(cython.pointer(u8), image) + 28
    i: u32
    n: u32
    x87_registers.put_control(c, image[0])
    x87_registers.set_status_word(c, image[1])
    x87_registers.put_tags(c, image[2])
    for i in range(8):
        n = (c.fp_top + i) & 7
        c.fp_sig[n] = cython.cast(cython.pointer(u64), at)[0]
        c.fp_se[n] = cython.cast(cython.pointer(u16), at + 8)[0]
        at += 10


def emit_routines(c):
    """`take_x87`, which brings the guest's state to the host, and `give_x87`, which brings it back if it is there."""
    given: u32
    c.arena.take_x87 = c.arena.used
    registers.emit_store_homes(c)
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, -8)  # aligned again, behind the return address
    registers.emit_call_out(c, cython.cast(cython.p_void, to_image))
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, 8)
    registers.emit_load_homes(c)
    asm.emit_field(c, 0xDD, 4, cython.address(c.x87_image[0]))  # frstor x87_image
    asm.emit_set_field(c, cython.address(c.x87_taken), 1)
    asm.emit_return(c)
    c.arena.give_x87 = c.arena.used
    asm.emit_compare_field(c, cython.address(c.x87_taken), 0)
    given = asm.emit_jump_if(c, asm.ZERO)
    asm.emit_push(c, asm.AX)
    asm.emit_field(c, 0xDD, 6, cython.address(c.x87_image[0]))  # fnsave x87_image
    asm.emit_set_field(c, cython.address(c.x87_taken), 0)
    registers.emit_call_out(c, cython.cast(cython.p_void, from_image))
    asm.emit_pop(c, asm.AX)
    asm.bind(c, given)
    asm.emit_return(c)
