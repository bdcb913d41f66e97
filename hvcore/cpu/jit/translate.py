"""Blocks that run often, translated to host code.

An x86-64 host can do a guest's 32-bit arithmetic itself. A block that has run `translate_after` times in a flat
address space (MODE_FLAT: Linux, and every other 32-bit system that does not use segments) is translated once, an
operation at a time, each to what `execute` would do: memory goes through the same TLB, the flags stay lazy. What has
no translation here, and whatever does not hit, calls the interpreter's own functions. So the two agree by construction
wherever it is hard to.

What differs is what is known when a block is translated. Flags that the next operation overwrites are not written
down; a condition right behind its comparison uses the host's flags; and a branch to a translated block of the same
page, or through the TLB to one of another, becomes a jump (`link`), which looks at what is pending as the loop does.

Conventions of the code that is made here: RBX points into the record, R12 at the guest's memory, R13 at the half of
the TLB that the privilege level sees. The guest's general registers are in host registers of their own (`home`) from
the way in to the way out; around a call of one of our functions they are in the record (`call_out`). RAX, RCX and RDX
are for the moment; so is R14, which lives across a call. A block returns 0 when it came to its end, PARTIAL when it
left after `native_done` operations, or the place of a jump that may be linked. Before a block lies its *linked entry*
for jumps from other blocks, which expects the new EIP in RAX; `Block.native` is what follows it.

Compiled only; where memory may not be executed, or on another host, every block is interpreted.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import execute
    from cython.cimports.hvcore.cpu.jit import arena
    from cython.cimports.hvcore.cpu.jit.arena import *
    from cython.cimports.hvcore.cpu.jit.assembler import *
    from cython.cimports.hvcore.cpu.jit.flags import *
    from cython.cimports.hvcore.cpu.jit.host import *
    from cython.cimports.hvcore.cpu.jit.memory import *
    from cython.cimports.hvcore.cpu.jit.registers import *
    from cython.cimports.hvcore.cpu.jit.translate import *
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *
    from hvcore.cpu.jit import arena

SETS = cython.declare(u32, 1)  # all status flags
READS = cython.declare(u32, 2)
EXITS = cython.declare(u32, 4)  # it may fault, and the flags must stand in the record then
CALLS = cython.declare(u32, 8)  # it has no translation
KEEPS_CARRY = cython.declare(u32, 16)  # INC and DEC: all but CF
MODIFIES = cython.declare(u32, 32)  # memory: the block may be left behind it, written over, with its flags
TOUCHES = cython.declare(
    u32, 64
)  # it leaves some flags, or all if its count is 0: those of before are wanted, too


def interpret(c, j):
    """Have operation `j` interpreted: 0 go on, 1 it faulted, 2 it went elsewhere, 3 its block was written over."""
    c.count_interpreted[c.ops[j].kind] += 1
    if execute.perform(c, j, j + 1) == j and not c.gone:
        return 1
    if c.gone:
        c.gone = 0
        return 2
    return 0 if c.blocks[c.current].valid else 3


def traits(o):
    """What an operation does with flags and whether it may leave: SETS, READS, EXITS, MODIFIES, CALLS."""
    kind: u32 = o.kind
    if (not o.isreg and o.addr != 2) or o.rep or o.lock:
        return READS | EXITS | CALLS
    if kind == ALU_RR or kind == ALU_RI or kind == ALU_RM or kind == ALU_MR or kind == ALU_MI:
        if o.size == 3 or (o.size == 0 and kind != ALU_MR and kind != ALU_MI):
            return READS | EXITS | CALLS
        return (
            SETS
            | (READS if o.sub == 2 or o.sub == 3 else 0)
            | (0 if kind == ALU_RR or kind == ALU_RI else EXITS)
            | (MODIFIES if (kind == ALU_MR or kind == ALU_MI) and o.sub < 7 else 0)
        )
    elif ADD32_RR <= kind <= TEST32_RI or kind == SHL32_I or kind == SHR32_I or kind == SAR32_I:
        if (
            kind == ADD32_RM
            or kind == OR32_RM
            or kind == AND32_RM
            or kind == SUB32_RM
            or kind == XOR32_RM
            or kind == CMP32_RM
        ):
            return SETS | EXITS
        return SETS
    elif kind == ADD32_MR or kind == ADD32_MI:
        return SETS | EXITS | MODIFIES
    elif kind == CMP32_MR or kind == CMP32_MI:
        return SETS | EXITS
    elif kind == CMP8_RR or kind == CMP8_RI or kind == TEST8_RR or kind == TEST8_RI:
        return SETS
    elif kind == CMP8_RM or kind == CMP8_MI:
        return SETS | EXITS
    elif kind == ALU8_RR or kind == ALU8_RI or kind == ALU8_RM:
        return SETS | (READS if o.sub == 2 or o.sub == 3 else 0) | (EXITS if kind == ALU8_RM else 0)
    elif kind == CMPJ32_RR or kind == CMPJ32_RI or kind == TESTJ32_RR or kind == IMUL32_RR:
        return SETS
    elif kind == IMUL32_RM:
        return SETS | EXITS
    elif (
        kind == MOV32_RR
        or kind == MOV32_RI
        or kind == LEA32
        or kind == MOVZX8_R
        or kind == NOP
        or (kind == JMP and o.size == 2)
        or (
            (
                kind == MOVZX_R
                or kind == MOVSX_R
                or kind == NOT_R
                or kind == XCHG_RR
                or kind == CWD
                or kind == CBW
            )
            and o.size == 2
        )
        or ((kind == MOV_RR or kind == MOV_RI) and o.size == 0)
    ):
        return 0
    elif (
        LOAD32 <= kind <= STORE8
        or kind == LOAD16
        or kind == STORE16
        or kind == PUSH32
        or kind == PUSH32_I
        or kind == POP32
        or kind == MOVZX8_M
        or kind == MOVZX16_M
        or kind == CALL32
        or kind == RET32
        or (kind == MOVSX_M and o.size == 2)
        or (kind == MOV_MI and o.size <= 1)
    ):
        return EXITS
    elif (
        kind == JMP_R or kind == JMP_M or kind == CALL_R or kind == CALL_M or kind == PUSH_M
    ) and o.size == 2:
        return EXITS
    elif ((kind == JZ or kind == JNZ or kind == JCC or kind == CMOV_R) and o.size == 2) or kind == SETCC_R:
        return READS
    elif kind == INC32 or kind == DEC32:
        return KEEPS_CARRY
    elif kind == INC32_M or kind == DEC32_M:
        return KEEPS_CARRY | EXITS | MODIFIES
    elif kind == SHIFT_RI or kind == SHIFT_RC:
        return TOUCHES if o.size == 2 and o.sub >= 4 and kind == SHIFT_RC else READS
    elif kind == ROL32_I or kind == ROR32_I:
        return TOUCHES
    elif kind == LODS:
        return EXITS
    elif kind == SCAS:
        return SETS | EXITS
    elif kind == BSWAP and o.size == 2:
        return 0
    elif o.size != 2:
        return READS | EXITS | CALLS
    elif (kind == MUL_R and (o.sub == 4 or o.sub == 5)) or kind == NEG_R or kind == IMUL_RI:
        return SETS
    elif (kind == MUL_M and (o.sub == 4 or o.sub == 5)) or kind == IMUL_MI:
        return SETS | EXITS
    elif kind == CMOV_M:
        return READS | EXITS
    elif kind == LEAVE_FRAME:
        return EXITS
    elif kind == SHLD_RI or kind == SHRD_RI or kind == SHLD_RC or kind == SHRD_RC:
        return READS
    return READS | EXITS | CALLS


def enable(c) -> None:
    """Translate from now on, if this host can execute what is made."""
    if arena.allow(c):
        routines(c)
        arena.begin(c)
        c.translate_after = 16


def translate(c, block):
    """Translate a block; it stays interpreted if the arena is full."""
    first: u32 = c.blocks[block].ops
    count: u32 = c.blocks[block].count
    live: u64 = 0  # by operation: whose flags are wanted,
    carries: u64 = 0  # and of whose only CF is
    flags_live: u32 = 1  # all but CF
    carry_live: u32 = 1
    t: u32
    j: u32 = 0
    entry: u32
    if cython.compiled:
        if not c.code or c.code_used + ROOM > ARENA:
            return
        for j in range(count):  # backwards: whose flags are wanted
            t = traits(cython.address(c.ops[first + count - 1 - j]))
            if t & TOUCHES:
                flags_live |= carry_live
            if flags_live or t & MODIFIES:
                live |= cython.cast(u64, 1) << (count - 1 - j)
            elif carry_live and not t & KEEPS_CARRY:
                carries |= cython.cast(u64, 1) << (count - 1 - j)
            if t & KEEPS_CARRY:
                carry_live |= flags_live
                flags_live = 0
            if t & SETS:
                flags_live = carry_live = 0
            if t & (READS | EXITS):
                flags_live = carry_live = 1
        c.stubs_used = 0
        c.known = UNKNOWN
        c.carry_stands = 0
        c.host_flags = 0
        c.count_translated += 1
        linked_entry(c, block, count)
        entry = c.code_used
        j = 0
        while j < count:
            j = operation(
                c,
                cython.address(c.ops[first + j]),
                first,
                j,
                count,
                ALL if (live >> j) & 1 else CARRY if (carries >> j) & 1 else 0,
            )
        for j in range(c.stubs_used):
            finish_stub(c, cython.address(c.stubs[j]))
        c.blocks[block].native = entry


def operation(c, o, first, j, count, live):
    """Translate operation `j` of a block; returns the number of the next."""
    kind: u32 = o.kind
    t: u32 = traits(o)
    last: u32 = j + 1 == count
    taken: u32
    reg: u32
    if t & CALLS:
        call_interpreter(c, o, first, j, count)
    elif kind == MOV32_RR:
        with_register(c, X_STORE, 0, home(o.rm), home(o.reg))
    elif kind == MOV32_RI:
        constant(c, home(o.reg), o.imm & M32)
    elif kind == LOAD32:
        load_operand(c, j, o, 2, home(o.reg))
    elif kind == STORE32:
        store_operand(c, j, o, VALUE_REG, o.reg, 0)
    elif kind == STORE32_I or kind == MOV_MI:
        store_operand(c, j, o, VALUE_IMM, 0, o.imm)
    elif kind == LOAD8:
        load_operand(c, j, o, 0, HAX)
        put_byte(c, o.reg, o.rsh)
    elif kind == STORE8:
        store_operand(c, j, o, VALUE_BYTE, o.reg, o.rsh)
    elif kind == LOAD16:
        load_operand(c, j, o, 1, HAX)
        put_word(c, o.reg, HAX)
    elif kind == STORE16:
        store_operand(c, j, o, VALUE_REG, o.reg, 0)
    elif kind == MOVZX8_M or kind == MOVZX16_M:
        load_operand(c, j, o, 0 if kind == MOVZX8_M else 1, home(o.reg))
    elif kind == MOVSX_M:
        load_operand(c, j, o, o.sub, HAX)
        with_register(c, X_MOVSX8 if o.sub == 0 else X_MOVSX16, 0, HAX, HAX)
        put(c, o.reg, HAX)
    elif kind == MOVZX8_R:
        get_byte(c, o.rm, o.msh, HAX)
        put(c, o.reg, HAX)
    elif kind == MOVZX_R or kind == MOVSX_R:
        get(c, o.rm, HAX)
        if o.msh:
            shift(c, 5, 0, HAX, 8)
            c.host_flags = 0
        taken = X_MOVZX8 if kind == MOVZX_R else X_MOVSX8
        with_register(c, taken + o.sub, 0, HAX, HAX)
        put(c, o.reg, HAX)
    elif kind == MOV_RR:
        get_byte(c, o.rm, o.msh, HAX)
        put_byte(c, o.reg, o.rsh)
    elif kind == MOV_RI:
        constant(c, HAX, o.imm)
        put_byte(c, o.reg, o.rsh)
    elif kind == LEA32:
        effective_address(c, o)
        put(c, o.reg, HAX)
    elif kind == NOP:
        pass
    elif kind == NOT_R:
        get(c, o.reg, HAX)
        put8(c, 0xF7)
        put8(c, 0xD0)
        put(c, o.reg, HAX)
    elif kind == XCHG_RR:
        get(c, o.reg, HAX)
        get(c, o.rm, HCX)
        put(c, o.rm, HAX)
        put(c, o.reg, HCX)
    elif kind == CWD:
        get(c, RAX, HAX)
        put8(c, 0x99)
        put(c, RDX, HDX)
    elif kind == CBW:
        get(c, RAX, HAX)
        put8(c, 0x98)
        put(c, RAX, HAX)
    elif kind == PUSH32:
        push(c, j, o, VALUE_REG, o.reg, 0)
    elif kind == PUSH32_I:
        push(c, j, o, VALUE_IMM, 0, o.imm)
    elif kind == PUSH_M:
        load_operand(c, j, o, 2, H14)
        push(c, j, o, VALUE_R14, 0, 0)
    elif kind == POP32:
        load_stack(c, j, o, RSP)
        drop_stack(c, 4)
        put(c, o.reg, HAX)
    elif kind == CMPJ32_RR or kind == CMPJ32_RI or kind == TESTJ32_RR:
        two_registers(c, o, 8 if kind == TESTJ32_RR else 7, ALL, kind == CMPJ32_RI)
    elif kind == INC32 or kind == DEC32:
        stand_carry(c, live)
        step(c, live, kind == DEC32, home(o.reg))
    elif kind == INC32_M or kind == DEC32_M:
        stand_carry(c, live)
        load_to_modify(c, j, o)
        step(c, live, kind == DEC32_M, HAX)
        write_back(c, j, o)
    elif kind == SHL32_I or kind == SHR32_I or kind == SAR32_I:
        shifted(c, live, 4 if kind == SHL32_I else 5 if kind == SHR32_I else 7, o.imm & 31, home(o.reg))
    elif kind == IMUL32_RR:
        multiplied(c, live, home(o.reg), home(o.rm))
    elif kind == IMUL32_RM:
        load_operand(c, j, o, 2, HAX)
        multiplied(c, live, home(o.reg), HAX)
    elif kind == IMUL_RI or kind == IMUL_MI:
        if kind == IMUL_MI:
            load_operand(c, j, o, 2, HAX)
        else:
            get(c, o.rm, HAX)
        constant(c, HCX, o.imm)
        multiplied(c, live, HAX, HCX)
        put(c, o.reg, HAX)
    elif kind == MUL_R or kind == MUL_M:
        if kind == MUL_M:
            load_operand(c, j, o, 2, HCX)
        else:
            get(c, o.reg, HCX)
        get(c, RAX, HAX)
        opcode(c, 0xF7, 0, 0, 0, 0)
        put8(c, 0xC0 | (o.sub << 3) | HCX)
        put(c, RAX, HAX)
        put(c, RDX, HDX)
        keep_product_flags(c, live, HAX)
    elif kind == NEG_R:
        get(c, o.reg, HCX)
        constant(c, HAX, 0)
        arithmetic(c, 5, live, 2)
        put(c, o.reg, HAX)
    elif kind == SETCC_R:
        taken = prepare(c, o.sub)
        with_register(c, X_SETCC + taken, 0, 0, HAX)
        put_byte(c, o.reg, o.rsh)
    elif kind == CMOV_R:
        taken = prepare(c, o.sub)
        with_register(c, X_CMOV + taken, 0, home(o.reg), home(o.rm))
    elif kind == CMOV_M:  # memory is read whether or not
        load_operand(c, j, o, 2, H14)
        taken = prepare(c, o.sub)
        with_register(c, X_CMOV + taken, 0, home(o.reg), H14)
    elif kind == LODS:
        load_string(c, j, o, o.seg, RSI, HAX)
        put_sized(c, o, RAX, 0)
    elif kind == SCAS:
        load_string(c, j, o, ES, RDI, HCX)
        get_sized(c, o, RAX, 0, HAX)
        arithmetic(c, 7, live, o.size)
    elif kind == LEAVE_FRAME:
        load_stack(c, j, o, RBP)
        with_memory(c, X_LEA, 0, H15, HBP, NO_REG, 0, 4)
        put(c, RBP, HAX)
    elif kind == BSWAP:
        get(c, o.reg, HAX)
        put8(c, 0x0F)
        put8(c, 0xC8 | HAX)
        put(c, o.reg, HAX)
    elif kind == ROL32_I or kind == ROR32_I:
        rotate(c, o, live)
    elif kind == SHIFT_RC and o.size == 2 and o.sub >= 4:
        shift_by_cl(c, o, live)
    elif kind == SHIFT_RI or kind == SHIFT_RC:
        call_shift(c, o)
    elif kind == SHLD_RI or kind == SHRD_RI or kind == SHLD_RC or kind == SHRD_RC:
        call_double_shift(c, o)
    elif kind == JMP:
        leave_to(c, o.off + o.imm, count)
        return count
    elif kind == JZ or kind == JNZ or kind == JCC:
        taken = prepare(c, o.sub)
        taken = jump_if(c, taken)
        leave_to(c, o.off, count)
        bind(c, taken)
        leave_to(c, o.off + o.imm, count)
        return count
    elif kind == CALL32:
        push(c, j, o, VALUE_RETURN, 0, o.off)
        leave_to(c, o.off + o.imm, count)
        return count
    elif kind == RET32:
        load_stack(c, j, o, RSP)
        drop_stack(c, 4 + o.imm)
        jump_through(c, count)
        return count
    elif kind == JMP_R or kind == CALL_R or kind == JMP_M or kind == CALL_M:
        if kind == JMP_R or kind == CALL_R:
            get(c, o.reg, HAX)
        else:
            load_operand(c, j, o, 2, HAX)
        if kind == CALL_R or kind == CALL_M:
            with_register(c, X_STORE, 0, HAX, H14)
            push(c, j, o, VALUE_RETURN, 0, o.off)
            with_register(c, X_STORE, 0, H14, HAX)
        jump_through(c, count)
        return count
    else:
        two_operands(c, o, j, live)
    if last:
        leave_to(c, o.off, count)
    return j + 1


def two_operands(c, o, j, live):
    """ADD OR ADC SBB AND SUB XOR CMP TEST in all their forms."""
    kind: u32 = o.kind
    sub: u32 = o.sub
    size: u32 = o.size
    if size == 0 and not (kind == ALU_MR or kind == ALU_MI):
        if kind == CMP8_RM or kind == ALU8_RM:
            load_operand(c, j, o, 0, HCX)
            get_byte(c, o.reg, o.rsh, HAX)
        elif kind == CMP8_MI:
            load_operand(c, j, o, 0, HAX)
            constant(c, HCX, o.imm)
        else:
            get_byte(c, o.reg, o.rsh, HAX)
            if kind == CMP8_RI or kind == TEST8_RI or kind == ALU8_RI:
                constant(c, HCX, o.imm)
            else:
                get_byte(c, o.rm, o.msh, HCX)
        arithmetic(c, sub, live, 0)
        if sub < 7:
            put_byte(c, o.reg, o.rsh)
        return
    if (
        kind == ALU_MR
        or kind == ALU_MI
        or kind == ADD32_MR
        or kind == ADD32_MI
        or kind == CMP32_MR
        or kind == CMP32_MI
    ):
        if sub >= 7:
            load_operand(c, j, o, size, HAX)
        else:
            load_to_modify(c, j, o)
        if kind == ALU_MI or kind == ADD32_MI or kind == CMP32_MI:
            constant(c, HCX, o.imm & SIZE_MASK[size])
        else:
            get_sized(c, o, o.reg, o.rsh, HCX)
        arithmetic(c, sub, live, size)
        if sub < 7:
            write_back(c, j, o)
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
        load_operand(c, j, o, size, HCX)
        get_sized(c, o, o.reg, 0, HAX)
        arithmetic(c, sub, live, size)
        if sub < 7:
            put_sized(c, o, o.reg, 0)
        return
    two_registers(
        c,
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


def two_registers(c, o, sub, live, immediate):
    """The same of a register of 16 or 32 bits and a second, or an immediate."""
    if sub != 2 and sub != 3 and o.size == 2:
        arithmetic_in_place(c, o, sub, live, immediate)
        return
    get_sized(c, o, o.reg, 0, HAX)
    if immediate:
        constant(c, HCX, o.imm & SIZE_MASK[o.size])
    else:
        get_sized(c, o, o.rm, 0, HCX)
    arithmetic(c, sub, live, o.size)
    if sub < 7:
        put_sized(c, o, o.reg, 0)


def call_interpreter(c, o, first, j, count):
    """Have the interpreter do operation `j`."""
    went_on: u32
    fault: u32
    store_registers(c)
    constant(c, HSI, first + j)
    call_out(c, cython.cast(cython.p_void, interpret))
    c.known = UNKNOWN
    c.carry_stands = 0
    c.host_flags = 0
    if j + 1 == count:
        with_immediate(c, 7, 0, HAX, 1)
        fault = jump_if(c, ZERO)
        if o.ends or changes_segments(o.kind):  # not linked: what follows may be of another mode
            finish(c, count)
        else:
            load_registers(c)
            leave_to(c, o.off, count)
        bind(c, fault)
        leave_early(c, j)
        return
    if changes_segments(o.kind):
        with_immediate(c, 7, 0, HAX, 1)
        fault = jump_if(c, ZERO)
        leave_early(c, j + 1)
        bind(c, fault)
        leave_early(c, j)
        return
    with_register(c, X_TEST, 0, HAX, HAX)
    went_on = jump_if(c, ZERO)
    with_immediate(c, 7, 0, HAX, 1)
    fault = jump_if(c, ZERO)
    leave_early(c, j + 1)
    bind(c, fault)
    leave_early(c, j)
    bind(c, went_on)
    load_registers(c)


def changes_segments(kind):
    """Whether the address space may no longer be flat after an operation."""
    return kind == MOV_SEG_R or kind == MOV_SEG_M or kind == POP_SEG or kind == LOAD_FAR
