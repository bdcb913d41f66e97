"""Host code's arithmetic and its flags, which stay lazy: `flags.py` says what is kept of them (docs/translator.md).

What is wanted of an operation's flags is known (`live`): all, nothing, only CF, which an INC or DEC behind it leaves
alone, or its operands, for stubs that may want the flags (waiting.py). As long as the host's own flags say what the
guest's do, conditions are taken from there (`host_flags`).
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import flags as lazy
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit import registers
    from cython.cimports.hvcore.cpu.kinds import CMC, STC
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADC, ALU_ADD, ALU_AND, ALU_CMP, ALU_OR, ALU_SBB, ALU_SUB, ALU_TEST, ALU_XOR, CC_ADC, CC_ADD,
        CC_BASE, CC_CARRY_APART, CC_DEC, CC_FLAGS, CC_INC, CC_LOGIC, CC_OVERFLOW_APART, CC_SBB, CC_SHIFT,
        CC_SUB, F_CF, M32, NO_REG, RAX, SHR, u32,
    )
else:
    from hvcore.cpu.constants import (
        ALU_ADC, ALU_ADD, ALU_AND, ALU_CMP, ALU_OR, ALU_SBB, ALU_SUB, ALU_TEST, ALU_XOR, CC_ADC, CC_ADD,
        CC_BASE, CC_CARRY_APART, CC_DEC, CC_FLAGS, CC_INC, CC_LOGIC, CC_OVERFLOW_APART, CC_SBB, CC_SHIFT,
        CC_SUB, CMC, F_CF, M32, NO_REG, RAX, SHR, STC, u32,
    )
# fmt: on

STATUS_FLAGS = cython.declare(u32, 0x8D5)  # OF SF ZF AF PF CF
COMPARED = cython.declare(u32, 0x45)  # ZF PF CF, which a comparison of reals sets; it clears the others


def forget(t):
    """Nothing is known of the flags: a block begins, or a function that may have changed them was called."""
    t.known = UNKNOWN
    t.known_size = 0
    t.carry_stands = 0
    t.host_flags = 0


def keeps_operands(live):
    """Whether the operands of an operation are stored, for its flags to be computed from them."""
    return live == ALL or live == WAITING


def emit_routines(c):
    """What a block calls for the flags of the one that ran before it; RDX and the host's flags are lost."""
    emit_carry_routine(c)
    emit_status_routine(c)
    c.arena.eflags = c.arena.used
    registers.emit_store_registers(c)
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, -8)  # aligned again, behind the return address
    registers.emit_call_out(c, cython.cast(cython.p_void, lazy.get_eflags))
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, 8)
    registers.emit_load_registers(c)
    asm.emit_return(c)


def emit_carry_routine(c):
    """A routine that brings CF to `cc_cf`."""
    stands: u32
    other: u32
    c.arena.carry = c.arena.used
    asm.emit_field(c, asm.MOVZX16, asm.DX, cython.address(c.cc_op))
    asm.emit_imm(c, ALU_CMP, asm.DX, CC_INC)
    stands = asm.emit_jump_if(c, asm.CARRY_CLEAR)  # INC, DEC, SHIFT
    asm.emit_imm(c, ALU_CMP, asm.DX, CC_SUB)
    other = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_load64(c, asm.DX, cython.address(c.cc_a))  # mov rdx, cc_a
    asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.cc_b))  # cmp rdx, cc_b
    emit_keep_carry(c, CARRY, asm.CARRY_SET)
    asm.emit_return(c)
    asm.bind(c, other)
    asm.emit_imm(c, ALU_CMP, asm.DX, CC_LOGIC)
    other = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_set_field(c, cython.address(c.cc_cf), 0)
    asm.emit_return(c)
    asm.bind(c, other)
    emit_ask(c, cython.cast(cython.p_void, lazy.carry))
    asm.emit_field(c, asm.STORE, asm.AX, cython.address(c.cc_cf))
    emit_answered(c)
    asm.bind(c, stands)
    asm.emit_return(c)


def emit_status_routine(c):
    """A routine that brings the status flags to the host's, all but AF."""
    other: u32
    size: u32
    c.arena.status = c.arena.used
    asm.emit_load(c, asm.DX, cython.address(c.cc_op))  # cc_size lies behind it
    for size in range(3):
        asm.emit_imm(c, ALU_CMP, asm.DX, CC_SUB | ((2 - size) << 16))
        other = asm.emit_jump_if(c, asm.NOT_ZERO)
        asm.emit_load64(c, asm.DX, cython.address(c.cc_a))  # mov rdx, cc_a
        if size == 1:
            asm.emit_u8(c, asm.OPERAND_SIZE)
        asm.emit_field(c, asm.CMP if size < 2 else asm.CMP - 1, asm.DX, cython.address(c.cc_b))
        asm.emit_return(c)
        asm.bind(c, other)
        asm.emit_imm(c, ALU_CMP, asm.DX, CC_LOGIC | ((2 - size) << 16))
        other = asm.emit_jump_if(c, asm.NOT_ZERO)
        asm.emit_load64(c, asm.DX, cython.address(c.cc_res))  # mov rdx, cc_res
        asm.emit_sized(c, asm.TEST, 2 - size, asm.DX, asm.DX)
        asm.emit_return(c)
        asm.bind(c, other)
    asm.emit_imm(c, ALU_CMP, asm.DX, CC_ADD | (2 << 16))
    other = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_load64(c, asm.DX, cython.address(c.cc_a))  # mov rdx, cc_a
    asm.emit_field(c, asm.ADD, asm.DX, cython.address(c.cc_b))  # add edx, cc_b
    asm.emit_return(c)
    asm.bind(c, other)
    for size in range(2):  # INC and DEC once more, with the carry of before
        asm.emit_imm(c, ALU_CMP, asm.DX, (CC_DEC if size else CC_INC) | (2 << 16))
        other = asm.emit_jump_if(c, asm.NOT_ZERO)
        asm.emit_load(c, asm.DX, cython.address(c.cc_res))
        asm.emit_mem(c, asm.LEA, asm.DX, asm.DX, NO_REG, 0, 1 if size else -1)
        asm.emit_carry_from(c, cython.address(c.cc_cf))
        asm.emit_step(c, asm.DX, size)
        asm.emit_return(c)
        asm.bind(c, other)
    emit_ask(c, cython.cast(cython.p_void, lazy.status))
    asm.emit_imm(c, ALU_AND, asm.AX, STATUS_FLAGS)
    asm.emit_flags_from_ax(c)
    emit_answered(c)
    asm.emit_return(c)


def emit_ask(c, function):
    """Call a function of ours from a routine; `emit_answered` brings RAX and RCX back, and keeps the host's flags."""
    asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
    asm.emit_store64(c, asm.CX, cython.address(c.native_kept[1]))
    registers.emit_store_registers(c)
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, -8)  # aligned again, behind the return address
    registers.emit_call_out(c, function)
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, 8)
    registers.emit_load_registers(c)


def emit_answered(c):
    """Take RAX and RCX back behind `emit_ask`."""
    asm.emit_load64(c, asm.AX, cython.address(c.native_kept[0]))
    asm.emit_load64(c, asm.CX, cython.address(c.native_kept[1]))


def emit_remember(c, t, live, op, size, reg):
    """From here on the flags come from the result in `reg`, and from the operands that were stored before."""
    if live == ALL:
        asm.emit_store64(c, reg, cython.address(c.cc_res))
        asm.emit_set_field(c, cython.address(c.cc_op), op | (size << 16))  # cc_size lies behind it
    elif live == WAITING:
        if op == CC_LOGIC:  # whose flags come from the result alone
            asm.emit_store64(c, reg, cython.address(c.cc_res))
        t.waiting.op = op
        t.waiting.size = size
        t.waiting.shift = 0
    t.known = op
    t.known_size = size
    t.carry_stands = op == CC_INC or op == CC_DEC or op == CC_SHIFT or live == CARRY


def emit_keep_carry(c, live, condition):
    """Keep CF in `cc_cf` where only it is wanted: it is the host's `condition`, which is OF after a multiplication."""
    if live == CARRY:
        asm.emit_field(c, asm.SETCC + condition, 0, cython.address(c.cc_cf))  # whose other bytes are 0


def emit_keep_operands(c, live):
    """Keep EAX and ECX, the operands that the flags come from."""
    if keeps_operands(live):
        asm.emit_store64(c, asm.AX, cython.address(c.cc_a))
        asm.emit_store64(c, asm.CX, cython.address(c.cc_b))


def emit_carry_to_host(c, t):
    """Bring CF to the host's; EDX is lost, EAX and ECX are kept."""
    if t.host_flags & HOST_CF:
        return
    if t.carry_stands:
        asm.emit_field(c, asm.MOVZX8, asm.DX, cython.address(c.cc_cf))  # a byte: it may just have been stored
        asm.emit_shift(c, SHR, asm.DX, 1)  # shr edx, 1: what was bit 0 is CF
    elif t.known == CC_SUB:
        asm.emit_load64(c, asm.DX, cython.address(c.cc_a))  # mov rdx, cc_a
        asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.cc_b))  # cmp rdx, cc_b
    elif t.known == CC_ADD:
        asm.emit_load64(c, asm.DX, cython.address(c.cc_res))  # mov rdx, cc_res
        asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.cc_a))  # cmp rdx, cc_a
    elif t.known == CC_LOGIC:
        asm.emit_clear_carry(c)
    else:
        emit_call_for_carry(c, t)
        emit_carry_to_host(c, t)
    t.host_flags = HOST_CF


def emit_condition(c, t, code):
    """Make condition `code` one of the host's, and return which."""
    k: u32 = code >> 1
    need: u32 = HOST_ZF
    if k == 0:
        need = HOST_OF
    elif k == 1:
        need = HOST_CF
    elif k == 3:
        need = HOST_CF | HOST_ZF
    elif k >= 6:
        need = HOST_ZF | HOST_OF
    if need & t.host_flags == need:
        return code
    if need == HOST_CF and t.carry_stands:
        emit_carry_to_host(c, t)
    elif t.known == CC_SUB or t.known == CC_ADD:
        asm.emit_load64(c, asm.AX, cython.address(c.cc_a))
        asm.emit_load64(c, asm.CX, cython.address(c.cc_b))
        asm.emit_sized(c, asm.CMP if t.known == CC_SUB else asm.ADD, t.known_size, asm.AX, asm.CX)
        t.host_flags = HOST_ALL
    elif t.known == CC_LOGIC or (need == HOST_ZF and t.known != UNKNOWN and t.known & CC_BASE != CC_FLAGS):
        asm.emit_load64(c, asm.AX, cython.address(c.cc_res))
        asm.emit_sized(c, asm.TEST, t.known_size, asm.AX, asm.AX)  # test eax, eax
        t.host_flags = HOST_ALL if t.known == CC_LOGIC else HOST_ZF
    elif t.known == CC_FLAGS:  # of a comparison of reals, which clears OF
        asm.emit_reg(c, asm.XOR, asm.AX, asm.AX)  # xor eax, eax: OF is 0
        asm.emit_field(c, asm.LOAD8, asm.AH, cython.address(c.cc_a))  # mov ah, cc_a
        asm.emit_flags_from_ah(c)
        t.host_flags = HOST_ALL
    else:
        registers.forget_vectors(t)
        asm.emit_call_near(c, c.arena.status)
        t.host_flags = HOST_ALL
    return code


def emit_all(c, t):
    """Bring EFLAGS to EAX, as the record has it: all of the status flags must be wanted up to here (READS)."""
    registers.forget_vectors(t)
    asm.emit_call_near(c, c.arena.eflags)
    t.host_flags = 0


def emit_to_ah(c, t):
    """LAHF: all status flags but OF to AH, and bit 1."""
    emit_all(c, t)
    asm.emit_imm(c, ALU_AND, asm.AX, (STATUS_FLAGS & 0xFF) | 2)
    registers.emit_put_byte(c, RAX, 8)


def emit_call_for_carry(c, t):
    """Call the routine that brings CF of the block before to `cc_cf`."""
    registers.forget_vectors(t)
    asm.emit_call_near(c, c.arena.carry)
    t.carry_stands = 1


def emit_keep_compared(c):
    """Keep the flags of a comparison of reals, which the host has."""
    asm.emit_flags_to_ah(c)
    asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.AH)  # movzx ecx, ah
    asm.emit_imm(c, ALU_AND, asm.CX, COMPARED)  # and ecx, ZF | PF | CF
    asm.emit_store64(c, asm.CX, cython.address(c.cc_a))
    asm.emit_set_field(c, cython.address(c.cc_op), CC_FLAGS)  # and `cc_size`


def emit_arithmetic(c, t, sub, live, size):
    """`op eax, ecx` with its flags, for `sub` from ALU_ADD to ALU_TEST; of CMP and TEST too EAX becomes the result."""
    op: u32 = CC_LOGIC
    if sub == ALU_ADC or sub == ALU_SBB:
        emit_carry_to_host(c, t)
        emit_keep_operands(c, live)
        asm.emit_sized(c, asm.ADC if sub == ALU_ADC else asm.SBB, size, asm.AX, asm.CX)
        op = CC_ADC if sub == ALU_ADC else CC_SBB
    elif sub == ALU_ADD:
        emit_keep_operands(c, live)
        asm.emit_sized(c, asm.ADD, size, asm.AX, asm.CX)
        op = CC_ADD
    elif sub == ALU_SUB or sub == ALU_CMP:
        emit_keep_operands(c, live)
        asm.emit_sized(c, asm.SUB, size, asm.AX, asm.CX)
        op = CC_SUB
    elif sub == ALU_OR:
        asm.emit_sized(c, asm.OR, size, asm.AX, asm.CX)
    elif sub == ALU_XOR:
        asm.emit_sized(c, asm.XOR, size, asm.AX, asm.CX)
    else:
        asm.emit_sized(c, asm.AND, size, asm.AX, asm.CX)
    t.host_flags = HOST_ALL
    emit_keep_carry(c, live, asm.CARRY_SET)
    if keeps_operands(live) and size == 0:
        asm.emit_reg(c, asm.MOVZX8, asm.AX, asm.AX)  # movzx eax, al
    elif keeps_operands(live) and size == 1:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
    emit_remember(c, t, live, op, size, asm.AX)


def emit_arithmetic_in_place(c, t, o, sub, live, immediate):
    """The same of two 32-bit registers, or of one and an immediate, without a copy; not ADC and SBB."""
    op: u32 = CC_LOGIC
    code: u32 = asm.AND
    reg: u32 = registers.home(o.reg)
    rm: u32 = asm.CX
    writes: u32 = sub < ALU_CMP
    if not immediate:
        rm = registers.home(o.rm)
    elif keeps_operands(live) or sub >= ALU_TEST:
        asm.emit_constant(c, asm.CX, o.imm & M32)
        immediate = 0
    if sub == ALU_ADD:
        op = CC_ADD
        code = asm.ADD
    elif sub == ALU_SUB or sub == ALU_CMP:
        op = CC_SUB
        code = asm.SUB
    elif sub == ALU_OR:
        code = asm.OR
    elif sub == ALU_XOR:
        code = asm.XOR
    if keeps_operands(live):
        if op != CC_LOGIC:
            asm.emit_store64(c, reg, cython.address(c.cc_a))
            asm.emit_store64(c, rm, cython.address(c.cc_b))
        # TEST of a register with itself leaves its result there already; other results of CMP and TEST go to EAX.
        if not writes and not (sub == ALU_TEST and reg == rm):
            asm.emit_move(c, asm.AX, reg)
            reg = asm.AX
        asm.emit_reg(c, asm.TEST if sub == ALU_TEST and reg == rm else code, reg, rm)
    elif not writes:
        if immediate:
            asm.emit_imm(c, ALU_CMP, reg, o.imm & M32)
        else:
            asm.emit_reg(c, asm.CMP if sub == ALU_CMP else asm.TEST, reg, rm)
    elif immediate:
        asm.emit_imm(c, sub, reg, o.imm & M32)
    else:
        asm.emit_reg(c, code, reg, rm)
    t.host_flags = HOST_ALL
    emit_keep_carry(c, live, asm.CARRY_SET)
    emit_remember(c, t, live, op, 2, reg)


def emit_stand_carry(c, t, live):
    """Bring CF to `cc_cf`, where INC and DEC leave it. Of the block before, they may have left it there already."""
    stands: u32
    if live and not t.carry_stands and t.known == UNKNOWN and not t.host_flags & HOST_CF:
        asm.emit_u8(c, asm.OPERAND_SIZE)
        asm.emit_compare_field(c, cython.address(c.cc_op), CC_INC)  # cmp word cc_op, CC_INC
        stands = asm.emit_jump_if(c, asm.CARRY_CLEAR)
        emit_call_for_carry(c, t)
        asm.bind(c, stands)
    elif live and not t.carry_stands:
        emit_carry_to_host(c, t)
        emit_keep_carry(c, CARRY, asm.CARRY_SET)
        t.carry_stands = 1


def emit_step(c, t, live, down, reg):
    """Add 1 to `reg`, or subtract it, with the flags of INC and DEC, which leave CF alone."""
    asm.emit_imm(c, ALU_SUB if down else ALU_ADD, reg, 1)
    t.host_flags = HOST_ZF | HOST_OF
    if live:
        emit_remember(c, t, live, CC_DEC if down else CC_INC, 2, reg)


def emit_set_apart(c, t, which):
    """From here on CF is what `cc_cf` has, or OF what `cc_of` has: CC_CARRY_APART, CC_OVERFLOW_APART or both.

    The host's flags are lost.
    """
    if t.known == UNKNOWN:
        asm.emit_change_field(c, ALU_OR, cython.address(c.cc_op), which)
        t.host_flags = 0
    elif t.known & which != which:
        t.known |= which
        # cc_size lies behind cc_op, and one store sets both.
        asm.emit_set_field(c, cython.address(c.cc_op), t.known | (t.known_size << 16))
    t.carry_stands = 1


def emit_store_carry(c, t, kind):
    """CLC, STC or CMC."""
    if kind == CMC:
        emit_carry_to_host(c, t)
        asm.emit_complement_carry(c)
        asm.emit_field(c, asm.SETCC + asm.CARRY_SET, 0, cython.address(c.cc_cf))  # whose other bytes are 0
    else:
        asm.emit_set_field(c, cython.address(c.cc_cf), kind == STC)
    emit_set_apart(c, t, CC_CARRY_APART)
    t.host_flags = 0


def emit_from_ah(c, t):
    """SAHF: all status flags from AH, but for OF."""
    registers.emit_get(c, RAX, asm.R14)
    emit_condition(c, t, asm.OVERFLOW)
    asm.emit_set(c, asm.OVERFLOW, asm.CX)  # seto cl
    asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)  # movzx ecx, cl
    asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.cc_of))
    asm.emit_shift(c, SHR, asm.R14, 8)  # shr r14d, 8
    asm.emit_imm(c, ALU_AND, asm.R14, STATUS_FLAGS & 0xFF)  # and r14d, SF | ZF | AF | PF | CF
    asm.emit_store64(c, asm.R14, cython.address(c.cc_a))
    asm.emit_imm(c, ALU_AND, asm.R14, F_CF)  # and r14d, CF
    asm.emit_field(c, asm.STORE, asm.R14, cython.address(c.cc_cf))
    t.known = CC_FLAGS | CC_CARRY_APART | CC_OVERFLOW_APART
    t.known_size = 0
    asm.emit_set_field(c, cython.address(c.cc_op), t.known)  # and `cc_size`
    t.carry_stands = 1
    registers.emit_get(c, RAX, asm.AX)
    asm.emit_flags_from_ah(c)
    t.host_flags = HOST_CF | HOST_ZF


def emit_step_sized(c, t, live, down, size):
    """The same of AL, AX or EAX; ECX is lost."""
    if size == 2:
        emit_step(c, t, live, down, asm.AX)
        return
    asm.emit_constant(c, asm.CX, 1)
    asm.emit_sized(c, asm.SUB if down else asm.ADD, size, asm.AX, asm.CX)
    t.host_flags = HOST_ZF | HOST_OF
    if live:
        asm.emit_reg(c, asm.MOVZX16 if size else asm.MOVZX8, asm.AX, asm.AX)  # movzx eax, ax or al
        emit_remember(c, t, live, CC_DEC if down else CC_INC, size, asm.AX)


def emit_multiplied(c, t, live, reg, rm):
    """`imul reg, rm`, with its flags."""
    if live == WAITING:
        asm.emit_store64(c, reg, cython.address(c.waiting_operand))
        asm.emit_store64(c, rm, cython.address(c.cc_b))
    asm.emit_reg(c, asm.IMUL, reg, rm)
    emit_keep_product_flags(c, t, live, 2, reg)


def emit_multiplied_words(c, t, o, live):
    """`imul ax, cx`, with its flags, to a 16-bit register."""
    asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_reg(c, asm.IMUL, asm.AX, asm.CX)
    registers.emit_put_word(c, o.reg, asm.AX)
    asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
    emit_keep_product_flags(c, t, live, 1, asm.AX)


def emit_keep_product_flags(c, t, live, size, reg):
    """Keep the flags of a multiplication whose low half is in `reg`, as `arith.multiplied` does."""
    t.host_flags = 0
    emit_keep_carry(c, live, asm.OVERFLOW)
    if live == ALL:
        asm.emit_set(c, asm.OVERFLOW, asm.CX)  # seto cl
        asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)  # movzx ecx, cl
        asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.cc_cf))  # mov cc_cf, ecx
        asm.emit_store64(c, asm.CX, cython.address(c.cc_a))
    emit_remember(c, t, live, CC_SHIFT, size, reg)
