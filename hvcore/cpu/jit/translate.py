"""Blocks that run often, translated to host code; docs/translator.md explains it whole.

A block that has run `translate_after` times in a flat address space (MODE_FLAT) is translated once, an operation at a
time, each to what `operations.perform` would do: memory goes through the same TLB, and the flags stay lazy. Whatever
has no translation in `traits.py`, and every access that misses the TLB, calls the interpreter's own functions, so that
the two agree by construction wherever it is hard to.

What is known when a block is translated makes the difference. Flags that a later operation overwrites are not written
down, a condition behind its comparison uses the host's flags, and a branch to a translated block becomes a jump.

Compiled only; where memory may not be executed, or on another host, every block is interpreted.
"""

import cython

from hvcore.cpu.jit import traits as table

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import operations
    from cython.cimports.hvcore.cpu.jit import (
        arena,
        bits,
        flags,
        frames,
        host,
        integers,
        locked,
        memory,
        mmx,
        registers,
        shifts,
        strings,
        system,
        vectors,
        waiting,
        x87,
    )
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Translation
    from cython.cimports.hvcore.cpu.kinds import (
        ALU8_RM, ALU8_RR, ALU_MI, ALU_RR, BSF_M, BSF_R, BSR_M, BSR_R, BSWAP, BT_M, BT_MI, BT_R, CALL, CALL32,
        CALL_M, CALL_R, CBW, CLC, CLD, CLI, CMC, CMOV_M, CMOV_R, CMPJ32_RI, CMPJ32_RR, CMPS, CMPXCHG8B,
        CMPXCHG_M, CWD, DEC32, DEC32_M, DEC_M, ENTER, ESC_M, ESC_R, IMUL32_RM, IMUL32_RR, IMUL_M, IMUL_MI,
        IMUL_R, IMUL_RI, INC32, INC32_M, INC_R, JCC, JCXZ, JMP, JMP_M, JMP_R, JNZ, JZ, LAHF, LEA, LEA32,
        LEAVE_FRAME, LOAD16, LOAD32, LOAD8, LOAD_FAR, LODS, LOOP, MOV32_RI, MOV32_RR, MOVS, MOVSX_M, MOVSX_R,
        MOVZX16_M, MOVZX8_M, MOVZX8_R, MOVZX_M, MOVZX_R, MOV_MI, MOV_M_SEG, MOV_RI, MOV_RR, MOV_R_SEG,
        MOV_SEG_M, MOV_SEG_R, MUL_M, MUL_R, NEG_M, NEG_R, NOP, NOT_M, NOT_R, PAUSE, POP32, POPF, POP_R,
        POP_SEG, PUSH32, PUSH32_I, PUSHA, PUSHF, PUSH_I, PUSH_M, PUSH_R, PUSH_SEG, RDTSC, RET, RET32, RET_I,
        ROL32_I, ROR32_I, SAHF, SAR32_I, SCAS, SETCC_M, SETCC_R, SHIFT_MC, SHIFT_RI, SHL32_I, SHLD_MI,
        SHLD_RI, SHR32_I, SHRD_MC, SHRD_MI, SHRD_RI, STC, STD, STI, STORE16, STORE32, STORE32_I, STORE8, STOS,
        TESTJ32_RR, VECTOR, WAIT, XADD_M, XCHG_MR, XCHG_RR,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADC, ALU_AND, ALU_CMP, ALU_OR, ALU_SBB, ALU_SUB, ALU_TEST, BIT_TEST, CC_FLAGS, DIVIDE, F_DF,
        JUMPS, M32, MODE_FLAT, MODE_STACK32, MODE_USER, MODE_VECTORS, MODE_X87, NO_REG, RAX, RBP, RCX, RDX,
        RETURNS, ROL, ROR, RSI, RSP, SAR, SHL, SHR, TLB_SIZE, u32, u64,
    )
else:
    from hvcore.cpu.constants import (
        ALU8_RM, ALU8_RR, ALU_ADC, ALU_AND, ALU_CMP, ALU_MI, ALU_OR, ALU_RR, ALU_SBB, ALU_SUB, ALU_TEST,
        BIT_TEST, BSF_M, BSF_R, BSR_M, BSR_R, BSWAP, BT_M, BT_MI, BT_R, CALL, CALL32, CALL_M, CALL_R, CBW,
        CC_FLAGS, CLC, CLD, CLI, CMC, CMOV_M, CMOV_R, CMPJ32_RI, CMPJ32_RR, CMPS, CMPXCHG8B, CMPXCHG_M, CWD,
        DEC32, DEC32_M, DEC_M, DIVIDE, ENTER, ESC_M, ESC_R, F_DF, IMUL32_RM, IMUL32_RR, IMUL_M, IMUL_MI,
        IMUL_R, IMUL_RI, INC32, INC32_M, INC_R, JCC, JCXZ, JMP, JMP_M, JMP_R, JNZ, JUMPS, JZ, LAHF, LEA,
        LEA32, LEAVE_FRAME, LOAD16, LOAD32, LOAD8, LOAD_FAR, LODS, LOOP, M32, MODE_FLAT, MODE_STACK32,
        MODE_USER, MODE_VECTORS, MODE_X87, MOV32_RI, MOV32_RR, MOVS, MOVSX_M, MOVSX_R, MOVZX16_M, MOVZX8_M,
        MOVZX8_R, MOVZX_M, MOVZX_R, MOV_MI, MOV_M_SEG, MOV_RI, MOV_RR, MOV_R_SEG, MOV_SEG_M, MOV_SEG_R, MUL_M,
        MUL_R, NEG_M, NEG_R, NOP, NOT_M, NOT_R, NO_REG, PAUSE, POP32, POPF, POP_R, POP_SEG, PUSH32, PUSH32_I,
        PUSHA, PUSHF, PUSH_I, PUSH_M, PUSH_R, PUSH_SEG, RAX, RBP, RCX, RDTSC, RDX, RET, RET32, RETURNS, RET_I,
        ROL, ROL32_I, ROR, ROR32_I, RSI, RSP, SAHF, SAR, SAR32_I, SCAS, SETCC_M, SETCC_R, SHIFT_MC, SHIFT_RI,
        SHL, SHL32_I, SHLD_MI, SHLD_RI, SHR, SHR32_I, SHRD_MC, SHRD_MI, SHRD_RI, STC, STD, STI, STORE16,
        STORE32, STORE32_I, STORE8, STOS, TESTJ32_RR, TLB_SIZE, VECTOR, WAIT, XADD_M, XCHG_MR, XCHG_RR, u32,
        u64,
    )
    from hvcore.cpu.jit import arena

    traits_of = [0] * 320
    sizes_of = [0] * 320
    locked_of = [0] * 320
# fmt: on


def load_traits() -> None:
    """Copy the table of traits into the arrays that `traits` reads; what is in no row has no size."""
    for kind, (row, sizes) in table.BY_KIND.items():
        traits_of[kind] = row
        sizes_of[kind] = sizes
        locked_of[kind] = kind in table.LOCKED


load_traits()


def interpret(c, j):
    """Have operation `j` interpreted: 0 go on, 1 it faulted, 2 it went elsewhere, 3 its block was written over."""
    c.count_interpreted[c.ops[j].kind] += 1
    if operations.perform(c, j, j + 1) == j and not c.gone:
        return 1
    if c.gone:
        c.gone = 0
        return 2
    return 0 if c.blocks[c.current].valid else 3


def traits(t, o):
    """What an operation does with flags, and whether it may leave its block: SETS and so on."""
    kind: u32 = o.kind
    does: u32 = traits_of[kind]
    form: u32
    if kind == VECTOR:
        form = vectors.form_of(t, o)
        if not form:
            return UNTRANSLATED
        does = SETS if form & vectors.COMPARES else 0
        return does if o.isreg else does | EXITS
    if kind == ESC_R or kind == ESC_M:
        if not x87.translated(t, o):
            return UNTRANSLATED
        does = SETS if x87.compares(o) else READS if x87.moves_if(o) else 0
        return does if kind == ESC_R else does | EXITS
    if kind == WAIT and t.has_x87:
        return 0
    if kind == PAUSE:  # which has the prefix of REP
        return EXITS
    if kind == MOVS or kind == STOS:
        return EXITS
    if o.rep and (kind == CMPS or kind == SCAS):  # which leave the flags alone if there is nothing to compare
        return TOUCHES | EXITS | MODIFIES
    if o.rep and kind == LODS:
        return UNTRANSLATED
    # What else has the prefix of REP, as BSF in place of TZCNT, goes without.
    if not (sizes_of[kind] >> o.size) & 1:
        return UNTRANSLATED
    if does & BRANCHES and o.size != t.code_size:
        return UNTRANSLATED
    if o.lock and not locked_of[kind]:
        return UNTRANSLATED
    if (kind == PUSHF or kind == POPF or kind == CLI or kind == STI) and not system.translated(t, o):
        return UNTRANSLATED
    if (
        PUSHA <= kind <= ENTER or kind == PUSH_SEG or MOV_R_SEG <= kind <= MOV_M_SEG
    ) and not frames.translated(t, o):
        return UNTRANSLATED
    if ALU_RR <= kind <= ALU_MI or ALU8_RR <= kind <= ALU8_RM:
        if o.sub == ALU_ADC or o.sub == ALU_SBB:
            does |= READS
        elif o.sub >= ALU_CMP:
            does &= MODIFIES ^ M32
    elif SHIFT_RI <= kind <= SHIFT_MC:
        does |= shifts.traits(o)
    elif (kind == SHLD_RI or kind == SHRD_RI or kind == SHLD_MI or kind == SHRD_MI) and not o.imm & 31:
        does = (does & (SETS ^ M32)) | TOUCHES
    elif (kind == BT_M or kind == BT_MI) and o.sub == BIT_TEST:
        does &= MODIFIES ^ M32
    elif (kind == MUL_R or kind == MUL_M) and o.sub >= DIVIDE:
        return EXITS if o.size == 2 or o.sub == DIVIDE else UNTRANSLATED
    return does


def enable(c) -> None:
    """Translate from now on, if this host can execute what is made."""
    if arena.allow(c):
        x87.emit_routines(c)
        arena.emit_way_out(c)
        flags.emit_routines(c)
        arena.begin(c)
        c.translate_after = 16


def translate(c, block):
    """Translate a block; it stays interpreted if there is no arena, or no room in it."""
    if cython.compiled and c.arena.code and c.arena.used + arena.ROOM <= host.ARENA:
        emit_block(c, block)


def emit_block(c, block):
    """The host code of a block: its linked entry, its operations, and the stubs that they may lead to."""
    translation: Translation
    t: cython.pointer(Translation) = cython.address(translation)
    first: u32 = c.blocks[block].ops
    count: u32 = c.blocks[block].count
    half: u64 = 1 if c.blocks[block].mode & MODE_USER else 0
    entry: u32
    j: u32 = 0
    t.block = block
    t.at = c.blocks[block].at
    t.count = count
    t.code_size = c.blocks[block].mode & (arena.CODE_32 | 1)
    t.flat = c.blocks[block].mode & MODE_FLAT
    t.user = c.blocks[block].mode & MODE_USER
    t.stack32 = c.blocks[block].mode & (MODE_FLAT | MODE_STACK32)
    t.tlb = asm.field(c, cython.address(c.tlb[half * TLB_SIZE]))
    t.stack_page = asm.field(c, cython.address(c.stack_pages[2 * half]))
    t.jumps = asm.field(c, cython.address(c.jumps[half * JUMPS]))
    t.returns = asm.field(c, cython.address(c.returns[half * RETURNS]))
    t.leaves_used = 0
    t.return_site = 0
    t.has_vectors = c.blocks[block].mode & MODE_VECTORS
    t.vectors = 0
    t.mxcsr_taken = 0
    t.has_x87 = c.blocks[block].mode & MODE_X87
    t.mmx = mmx.usable(c) if t.has_x87 else 0
    t.x87_taken = 0
    t.x87_last = 0
    t.x87_memory = 0
    t.waiting.op = CC_FLAGS
    find_live_flags(c, t, first, count)
    t.stubs_used = 0
    flags.forget(t)
    c.count_translated += 1
    c.blocks[block].host_code = c.arena.used
    arena.emit_beginning(c, t)
    entry = c.arena.used
    if c.blocks[block].tail:
        arena.emit_look_beyond(c, t)
    while j < count:
        j = emit_operation(c, t, cython.address(c.ops[first + j]), first, j, count)
    for j in range(t.stubs_used):
        emit_stub(c, t, cython.address(t.stubs[j]), first)
    arena.emit_leaves(c, t)
    c.blocks[block].native = entry


def find_live_flags(c, t, first, count):
    """Find out, from the last operation of a block to the first, whose flags something behind it looks at.

    Where only stubs do, the flags may wait for them (`flags.WAITING`).
    """
    flags_live: u32 = 1  # all but CF
    carry_live: u32 = 1
    only_stubs: u32 = 0  # whether nothing but stubs looks at what is live
    does: u32
    j: u32 = count
    while j:
        j -= 1
        does = traits(t, cython.address(c.ops[first + j]))
        if does & TOUCHES:
            flags_live |= carry_live
        t.live[j] = 0
        if flags_live and only_stubs and does & MAY_WAIT and not does & READS:
            t.live[j] = flags.WAITING
        elif flags_live or does & MODIFIES:
            t.live[j] = flags.ALL
        elif carry_live and not does & KEEPS_CARRY:
            t.live[j] = flags.CARRY
        if does & KEEPS_CARRY:
            carry_live |= flags_live
            flags_live = 0
        if does & SETS:
            flags_live = carry_live = 0
        if does & (READS | EXITS):
            if not flags_live and not carry_live:
                only_stubs = 1
            flags_live = carry_live = 1
        if does & READS or not does & LETS_WAIT:
            only_stubs = 0


def emit_operation(c, t, o, first, j, count):
    """Translate operation `j` of a block; returns the number of the next."""
    kind: u32 = o.kind
    live: u32 = t.live[j]
    does: u32 = traits(t, o)
    last: u32 = j + 1 == count
    taken: u32
    reg: u32
    if o.ends:
        x87.emit_note_pointers(c, t, first)
    if does & CALLS:
        emit_call_interpreter(c, t, o, first, j, count)
    elif kind == VECTOR and mmx.uses(t, o):
        mmx.emit(c, t, j, o)
    elif kind == VECTOR:
        vectors.emit(c, t, j, o, live)
    elif kind == ESC_R or kind == ESC_M:
        x87.emit(c, t, j, o, live)
    elif kind == WAIT:
        pass  # no exception waits
    elif kind == PUSHF or kind == POPF or kind == CLI or kind == STI or kind == RDTSC or kind == PAUSE:
        system.emit(c, t, j, o)
    elif PUSHA <= kind <= ENTER or kind == PUSH_SEG or MOV_R_SEG <= kind <= MOV_M_SEG:
        frames.emit(c, t, j, o)
    elif kind == MOVS or kind == STOS or kind == CMPS or kind == SCAS:
        strings.emit(c, t, j, o, live)
    elif (
        (o.lock and not BT_R <= kind <= BT_MI)
        or kind == XCHG_MR
        or kind == XADD_M
        or kind == CMPXCHG_M
        or kind == CMPXCHG8B
    ):
        locked.emit(c, t, j, o, live)
    elif kind == MOV32_RR:
        asm.emit_move(c, registers.home(o.reg), registers.home(o.rm))
    elif kind == MOV32_RI:
        asm.emit_constant(c, registers.home(o.reg), o.imm & M32)
    elif kind == LOAD32:
        memory.emit_load_operand(c, t, j, o, 2, registers.home(o.reg))
    elif kind == STORE32:
        memory.emit_store_operand(c, t, j, o, memory.VALUE_REG, o.reg, 0)
    elif kind == STORE32_I or kind == MOV_MI:
        memory.emit_store_operand(c, t, j, o, memory.VALUE_IMM, 0, o.imm)
    elif kind == LOAD8:
        memory.emit_load_operand(c, t, j, o, 0, asm.AX)
        registers.emit_put_byte(c, o.reg, o.rsh)
    elif kind == STORE8:
        memory.emit_store_operand(c, t, j, o, memory.VALUE_BYTE, o.reg, o.rsh)
    elif kind == LOAD16:
        memory.emit_load_operand(c, t, j, o, 1, asm.AX)
        registers.emit_put_word(c, o.reg, asm.AX)
    elif kind == STORE16:
        memory.emit_store_operand(c, t, j, o, memory.VALUE_REG, o.reg, 0)
    elif kind == MOVZX8_M or kind == MOVZX16_M:
        memory.emit_load_operand(c, t, j, o, 0 if kind == MOVZX8_M else 1, registers.home(o.reg))
    elif kind == MOVSX_M:
        memory.emit_load_operand(c, t, j, o, o.sub, asm.AX)
        asm.emit_reg(c, asm.MOVSX16 if o.sub else asm.MOVSX8, asm.AX, asm.AX)
        registers.emit_put_sized(c, o, o.reg, 0)
    elif kind == MOVZX_M:
        memory.emit_load_operand(c, t, j, o, o.sub, asm.AX)
        registers.emit_put_sized(c, o, o.reg, 0)
    elif kind == MOVZX8_R:
        registers.emit_get_byte(c, t, o.rm, o.msh, asm.AX)
        registers.emit_put(c, o.reg, asm.AX)
    elif kind == MOVZX_R or kind == MOVSX_R:
        registers.emit_get(c, o.rm, asm.AX)
        if o.msh:
            asm.emit_shift(c, SHR, asm.AX, 8)
            t.host_flags = 0
        taken = asm.MOVZX8 if kind == MOVZX_R else asm.MOVSX8
        asm.emit_reg(c, taken + o.sub, asm.AX, asm.AX)
        registers.emit_put_sized(c, o, o.reg, 0)
    elif kind == MOV_RR:
        registers.emit_get_sized(c, t, o, o.rm, o.msh, asm.AX)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
    elif kind == MOV_RI:
        asm.emit_constant(c, asm.AX, o.imm)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
    elif kind == LEA32 or kind == LEA:
        memory.emit_effective_address(c, o)
        registers.emit_put_sized(c, o, o.reg, 0)
    elif kind == NOP:
        pass
    elif kind == NOT_R:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.AX)
        asm.emit_not(c, asm.AX)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
    elif kind == XCHG_RR:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.AX)
        registers.emit_get_sized(c, t, o, o.rm, o.msh, asm.R14)
        registers.emit_put_sized(c, o, o.rm, o.msh)
        asm.emit_move(c, asm.AX, asm.R14)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
    elif kind == CWD:
        registers.emit_get(c, RAX, asm.AX)
        if o.size == 1:
            asm.emit_cwde(c)
        asm.emit_cdq(c)
        asm.emit_move(c, asm.AX, asm.DX)
        registers.emit_put_sized(c, o, RDX, 0)
    elif kind == CBW:
        asm.emit_reg(c, asm.MOVSX16 if o.size == 2 else asm.MOVSX8, asm.AX, registers.home(RAX))
        registers.emit_put_sized(c, o, RAX, 0)
    elif kind == PUSH32 or kind == PUSH_R:
        memory.emit_push(c, t, j, o, memory.VALUE_REG, o.reg, 0)
    elif kind == PUSH32_I or kind == PUSH_I:
        memory.emit_push(c, t, j, o, memory.VALUE_IMM, 0, o.imm)
    elif kind == PUSH_M:
        memory.emit_load_operand(c, t, j, o, o.size, asm.R14)
        memory.emit_push(c, t, j, o, memory.VALUE_R14, 0, 0)
    elif kind == POP32 or kind == POP_R:
        memory.emit_load_stack(c, t, j, o, RSP)
        memory.emit_move_stack(c, t, cython.cast(u64, 1) << o.size)
        registers.emit_put_sized(c, o, o.reg, 0)
    elif kind == CMPJ32_RR or kind == CMPJ32_RI or kind == TESTJ32_RR:
        integers.emit_two_registers(
            c, t, o, ALU_TEST if kind == TESTJ32_RR else ALU_CMP, flags.ALL, kind == CMPJ32_RI
        )
    elif kind == INC32 or kind == DEC32:
        flags.emit_stand_carry(c, t, live)
        flags.emit_step(c, t, live, kind == DEC32, registers.home(o.reg))
    elif INC_R <= kind <= DEC_M:
        integers.emit_step_sized(c, t, o, j, live)
    elif kind == NOT_M:
        memory.emit_load_to_modify(c, t, j, o)
        asm.emit_not(c, asm.AX)
        memory.emit_write_back(c, t, j, o)
    elif kind == NEG_M:
        memory.emit_load_to_modify(c, t, j, o)
        asm.emit_move(c, asm.CX, asm.AX)
        asm.emit_constant(c, asm.AX, 0)
        flags.emit_arithmetic(c, t, ALU_SUB, live, o.size)
        memory.emit_write_back(c, t, j, o)
    elif kind == INC32_M or kind == DEC32_M:
        flags.emit_stand_carry(c, t, live)
        memory.emit_load_to_modify(c, t, j, o)
        flags.emit_step(c, t, live, kind == DEC32_M, asm.AX)
        memory.emit_write_back(c, t, j, o)
    elif kind == SHL32_I or kind == SHR32_I or kind == SAR32_I:
        taken = SHL if kind == SHL32_I else SHR if kind == SHR32_I else SAR
        shifts.emit_by_constant(c, t, live, taken, o.imm & 31, registers.home(o.reg))
    elif SHIFT_RI <= kind <= SHIFT_MC:
        shifts.emit(c, t, j, o, live)
    elif SHLD_RI <= kind <= SHRD_MC:
        shifts.emit_double(c, t, j, o, live)
    elif BT_R <= kind <= BT_MI:
        bits.emit(c, t, j, o, live)
    elif kind == CLC or kind == STC or kind == CMC:
        if live:
            flags.emit_store_carry(c, t, kind)
    elif kind == LAHF:
        flags.emit_to_ah(c, t)
    elif kind == SAHF:
        if live:
            flags.emit_from_ah(c, t)
    elif kind == BSF_R or kind == BSF_M or kind == BSR_R or kind == BSR_M:
        if kind == BSF_M or kind == BSR_M:
            memory.emit_load_operand(c, t, j, o, 2, asm.CX)
        else:
            registers.emit_get(c, o.rm, asm.CX)
        bits.emit_scanned(c, t, o, live)
    elif kind == CLD:
        asm.emit_change_field(c, ALU_AND, cython.address(c.flags), F_DF ^ M32)
        t.host_flags = 0
    elif kind == STD:
        asm.emit_change_field(c, ALU_OR, cython.address(c.flags), F_DF)
        t.host_flags = 0
    elif kind == IMUL32_RR:
        flags.emit_multiplied(c, t, live, registers.home(o.reg), registers.home(o.rm))
    elif kind == IMUL32_RM:
        memory.emit_load_operand(c, t, j, o, 2, asm.AX)
        flags.emit_multiplied(c, t, live, registers.home(o.reg), asm.AX)
    elif (kind == IMUL_R or kind == IMUL_M) and o.size == 1:
        if kind == IMUL_M:
            memory.emit_load_operand(c, t, j, o, 1, asm.CX)
        else:
            registers.emit_get(c, o.rm, asm.CX)
        registers.emit_get(c, o.reg, asm.AX)
        flags.emit_multiplied_words(c, t, o, live)
    elif kind == IMUL_RI or kind == IMUL_MI:
        if kind == IMUL_MI:
            memory.emit_load_operand(c, t, j, o, o.size, asm.AX)
        else:
            registers.emit_get(c, o.rm, asm.AX)
        asm.emit_constant(c, asm.CX, o.imm & M32)
        if o.size == 1:
            flags.emit_multiplied_words(c, t, o, live)
        else:
            flags.emit_multiplied(c, t, live, asm.AX, asm.CX)
            registers.emit_put(c, o.reg, asm.AX)
    elif (kind == MUL_R or kind == MUL_M) and o.sub >= DIVIDE:
        integers.emit_division(c, t, o, j)
    elif kind == MUL_R or kind == MUL_M:
        integers.emit_product(c, t, o, j, live)
    elif kind == NEG_R:
        registers.emit_get_sized(c, t, o, o.reg, o.rsh, asm.CX)
        asm.emit_constant(c, asm.AX, 0)
        flags.emit_arithmetic(c, t, ALU_SUB, live, o.size)
        registers.emit_put_sized(c, o, o.reg, o.rsh)
    elif kind == SETCC_R:
        taken = flags.emit_condition(c, t, o.sub)
        asm.emit_reg(c, asm.SETCC + taken, 0, asm.AX)
        registers.emit_put_byte(c, o.reg, o.rsh)
    elif kind == SETCC_M:
        taken = flags.emit_condition(c, t, o.sub)
        asm.emit_set(c, taken, asm.AX)
        asm.emit_reg(c, asm.MOVZX8, asm.R14, asm.AX)  # movzx r14d, al
        memory.emit_store_operand(c, t, j, o, memory.VALUE_R14, 0, 0)
    elif kind == CMOV_R:
        taken = flags.emit_condition(c, t, o.sub)
        asm.emit_reg(c, asm.CMOV + taken, registers.home(o.reg), registers.home(o.rm))
    elif kind == CMOV_M:  # memory is read whether or not
        memory.emit_load_operand(c, t, j, o, 2, asm.R14)
        taken = flags.emit_condition(c, t, o.sub)
        asm.emit_reg(c, asm.CMOV + taken, registers.home(o.reg), asm.R14)
    elif kind == LODS:
        memory.emit_load_string(c, t, j, o, o.seg, RSI, asm.AX)
        registers.emit_put_sized(c, o, RAX, 0)
    elif kind == LEAVE_FRAME:
        memory.emit_load_stack(c, t, j, o, RBP)
        memory.emit_set_stack(c, t, asm.BP, cython.cast(u64, 1) << o.size)
        registers.emit_put_sized(c, o, RBP, 0)
    elif kind == BSWAP:
        registers.emit_get(c, o.reg, asm.AX)
        asm.emit_swap_bytes(c, asm.AX)
        registers.emit_put(c, o.reg, asm.AX)
    elif kind == ROL32_I or kind == ROR32_I:
        taken = ROL if kind == ROL32_I else ROR
        registers.emit_get(c, o.reg, asm.AX)
        shifts.emit_rotated(c, t, taken, 2, 0, o.imm & 31)
        t.host_flags = 0
        if live:
            shifts.emit_rotation_flags(c, t, taken, 2)
        registers.emit_put(c, o.reg, asm.AX)
    elif kind == JMP:
        arena.emit_branch_to(c, t, o)
        return count
    elif kind == JZ or kind == JNZ or kind == JCC:
        taken = flags.emit_condition(c, t, o.sub)
        arena.note_branch(t, asm.emit_jump_if(c, taken), o)
        arena.emit_leave_to(c, t, o.off)
        return count
    elif kind == LOOP or kind == JCXZ:
        if kind == LOOP:
            asm.emit_mem(c, asm.LEA, asm.CX, registers.home(RCX), NO_REG, 0, -1)  # lea ecx, [home - 1]
            if o.addr == 1:
                registers.emit_put_word(c, RCX, asm.CX)
            else:
                registers.emit_put(c, RCX, asm.CX)
        asm.emit_sized(c, asm.TEST, o.addr, registers.home(RCX), registers.home(RCX))
        taken = asm.emit_jump_if(c, asm.NOT_ZERO if kind == LOOP else asm.ZERO)
        arena.note_branch(t, taken, o)
        arena.emit_leave_to(c, t, o.off)
        return count
    elif kind == CALL32 or kind == CALL:
        memory.emit_push_return(c, t, j, o)
        arena.emit_branch_to(c, t, o)
        return count
    elif kind == RET32 or kind == RET or kind == RET_I:
        memory.emit_load_stack(c, t, j, o, RSP)
        emit_return_to_caller(c, t, (cython.cast(u64, 1) << o.size) + o.imm)
        return count
    elif kind == JMP_R or kind == CALL_R or kind == JMP_M or kind == CALL_M:
        if kind == JMP_R or kind == CALL_R:
            registers.emit_get_sized(c, t, o, o.reg, 0, asm.AX)
        else:
            memory.emit_load_operand(c, t, j, o, o.size, asm.AX)
        if kind == CALL_R or kind == CALL_M:
            asm.emit_move(c, asm.R14, asm.AX)
            memory.emit_push_return(c, t, j, o)
            asm.emit_move(c, asm.AX, asm.R14)
        arena.emit_jump_through(c, t)
        return count
    else:
        integers.emit_two_operands(c, t, o, j, live)
    # Flags wait no longer than to the next that are set, whoever sets them.
    if live != flags.WAITING and (does & SETS or not does & LETS_WAIT):
        t.waiting.op = CC_FLAGS
    if last:
        x87.emit_note_pointers(c, t, first)
        arena.emit_leave_to(c, t, o.off)
    return j + 1


def emit_return_to_caller(c, t, taken):
    """End a block with a RET to the EIP in RAX, which takes `taken` bytes off the stack: on behind its CALL.

    EDX is where that EIP was on the stack, or that in its page.
    """
    missed: u32
    if not t.flat:
        memory.emit_move_stack(c, t, taken)
        arena.emit_jump_through(c, t)
        return
    asm.emit_imm(c, ALU_AND, asm.DX, (RETURNS - 1) << 2)  # and edx, 255 * 4
    memory.emit_move_stack(c, t, taken)
    asm.emit_mem64(c, asm.CMP, asm.AX, asm.BX, asm.DX, 2, t.returns)  # cmp rax, [rbx + rdx * 4 + returns]
    missed = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_jump_to_entry(c, asm.BX, asm.DX, 2, t.returns + 8)  # jmp [rbx + rdx * 4 + returns + 8]
    asm.bind(c, missed)
    arena.emit_jump_through(c, t)


def emit_stub(c, t, s, first):
    """What an operation's jumps lead to when it cannot be done in a few instructions."""
    i: u32
    if s.stack_site:
        memory.emit_find_stack_page(c, t, s)
    if s.site:
        asm.bind(c, s.site)
        if s.kind == memory.STUB_INTERPRET and s.again:
            memory.emit_touch(c, s)
        elif s.checked:  # the offset again, as where the limit was passed
            asm.emit_field64(c, asm.SUB, asm.AX, cython.address(c.base[s.seg]))
    if s.limit_site:
        asm.bind(c, s.limit_site)
    for i in range(s.sites_used):
        asm.bind(c, s.sites[i])
    x87.emit_pointers(c, t, first, s.x87_last, s.x87_memory)  # whoever is called may leave
    if s.kind == memory.STUB_INTERPRET:
        emit_interpreting_stub(c, t, s, first)
    else:
        waiting.emit(c, t, cython.address(s.waiting))
        memory.emit_stub(c, t, s)


def emit_interpreting_stub(c, t, s, first):
    """The long way of an operation that the interpreter does whole: on behind it, or out of the block."""
    failed: u32
    fault: u32
    kind: u32 = c.ops[first + s.op].kind
    floating: u32 = kind == ESC_M or (kind == VECTOR and mmx.uses(t, cython.address(c.ops[first + s.op])))
    registers.emit_store_registers(c)
    arena.emit_mark(c, t)
    asm.emit_call_near(c, c.arena.give_mxcsr)
    if floating:
        asm.emit_call_near(c, c.arena.give_x87)
    asm.emit_constant(c, asm.SI, first + s.op)
    registers.emit_call_out(c, cython.cast(cython.p_void, interpret))
    asm.emit_reg(c, asm.TEST, asm.AX, asm.AX)
    failed = asm.emit_jump_if(c, asm.NOT_ZERO)
    if s.value == memory.VALUE_LEAVES:
        arena.emit_leave_early(c, t, s.op + 1)
    else:
        registers.emit_load_registers(c)
        if floating:
            asm.emit_call_near(c, c.arena.take_x87)
        registers.emit_load_vectors(c, s.vectors)
        if s.mxcsr_taken:
            asm.emit_call_near(c, c.arena.take_mxcsr)
        asm.emit_jump_to(c, s.resume)
    asm.bind(c, failed)
    asm.emit_imm(c, ALU_CMP, asm.AX, 1)
    fault = asm.emit_jump_if(c, asm.ZERO)
    arena.emit_leave_early(c, t, s.op + 1)
    asm.bind(c, fault)
    arena.emit_leave_early(c, t, s.op)


def emit_call_interpreter(c, t, o, first, j, count):
    """Have the interpreter do operation `j`."""
    went_on: u32
    fault: u32
    other_mode: u32
    x87.emit_note_pointers(c, t, first)
    registers.emit_store_registers(c)
    arena.emit_mark(c, t)
    if o.kind >= ESC_R:  # floating point: it looks at what the host has, or computes with reals itself
        asm.emit_call_near(c, c.arena.give_mxcsr)
        asm.emit_call_near(c, c.arena.give_x87)
        t.mxcsr_taken = 0
        t.x87_taken = 0
    registers.forget_vectors(t)
    asm.emit_constant(c, asm.SI, first + j)
    registers.emit_call_out(c, cython.cast(cython.p_void, interpret))
    flags.forget(t)
    if changes_segments(o) and j + 1 == count:
        asm.emit_imm(c, ALU_CMP, asm.AX, 1)
        fault = asm.emit_jump_if(c, asm.ZERO)
        asm.emit_compare_field_to(c, cython.address(c.mode), c.blocks[t.block].mode)
        other_mode = asm.emit_jump_if(c, asm.NOT_ZERO)
        registers.emit_load_registers(c)
        arena.emit_leave_to(c, t, o.off)  # to a block that looks whether MOV SS has begun a shadow
        asm.bind(c, other_mode)
        if o.ends:
            arena.emit_finish(c)
        else:
            arena.emit_leave_early(c, t, count)
        asm.bind(c, fault)
        arena.emit_leave_early(c, t, j)
        return
    if changes_segments(o):
        asm.emit_reg(c, asm.TEST, asm.AX, asm.AX)
        went_on = asm.emit_jump_if(c, asm.ZERO)
        asm.emit_imm(c, ALU_CMP, asm.AX, 1)
        fault = asm.emit_jump_if(c, asm.ZERO)
        other_mode = c.arena.used
        arena.emit_leave_early(c, t, j + 1)
        asm.bind(c, fault)
        arena.emit_leave_early(c, t, j)
        asm.bind(c, went_on)
        asm.emit_compare_field_to(c, cython.address(c.mode), c.blocks[t.block].mode)
        asm.aim(c, asm.emit_jump_if(c, asm.NOT_ZERO), other_mode)
        registers.emit_load_registers(c)
        return
    if j + 1 == count and not changes_masks(o):
        asm.emit_imm(c, ALU_CMP, asm.AX, 1)
        fault = asm.emit_jump_if(c, asm.ZERO)
        if o.ends:  # not linked: it went elsewhere, and what follows may be of another mode
            arena.emit_finish(c)
        else:
            registers.emit_load_registers(c)
            arena.emit_leave_to(c, t, o.off)
        asm.bind(c, fault)
        arena.emit_leave_early(c, t, j)
        return
    if changes_masks(o):
        asm.emit_imm(c, ALU_CMP, asm.AX, 1)
        fault = asm.emit_jump_if(c, asm.ZERO)
        arena.emit_leave_early(c, t, j + 1)
        asm.bind(c, fault)
        arena.emit_leave_early(c, t, j)
        return
    asm.emit_reg(c, asm.TEST, asm.AX, asm.AX)
    went_on = asm.emit_jump_if(c, asm.ZERO)
    asm.emit_imm(c, ALU_CMP, asm.AX, 1)
    fault = asm.emit_jump_if(c, asm.ZERO)
    arena.emit_leave_early(c, t, j + 1)
    asm.bind(c, fault)
    arena.emit_leave_early(c, t, j)
    asm.bind(c, went_on)
    registers.emit_load_registers(c)


def changes_segments(o):
    """Whether a block's mode may no longer be the processor's after an operation: a segment register was loaded."""
    return o.kind == MOV_SEG_R or o.kind == MOV_SEG_M or o.kind == POP_SEG or o.kind == LOAD_FAR


def changes_masks(o):
    """Whether exceptions of the x87 may no longer be masked after an operation: FLDENV, FRSTOR, FLDCW."""
    return o.kind == ESC_M and ((o.sub & 3 == 1 and o.reg == 4) or (o.sub == 1 and o.reg == 5))
