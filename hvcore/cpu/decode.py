"""The instruction decoder: bytes to one `Op` (SDM vol. 2 ch. 2, tables 2-1 and 2-2, app. A).

It reads `State.fetched`, so it serves the processor, which fills that from CS:EIP, and everybody who has the
bytes of one instruction (`decode_instruction`, for the common layer's MMIO handler).
"""

import cython

from hvcore.cpu import opcodes

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.decode import (
        BY_ATTRIBUTE, ENDS, GROUP, IMM_B, IMM_BS, IMM_ENTER, IMM_FAR, IMM_J8, IMM_JZ, IMM_MOFFS, IMM_NONE,
        IMM_ONE, IMM_W, IMM_Z, LOCKABLE, MODRM, NO_SEGMENT, OPCODE_REG, REGISTER_ONLY, RM8, SWAP, THREE_BYTE,
    )
    from cython.cimports.hvcore.cpu.kinds import (
        ADD32_MI, ADD32_MR, ADD32_RR, ALU8_RI, ALU8_RM, ALU8_RR, ALU_MI, ALU_MR, ALU_RI, ALU_RM, ALU_RR,
        AND32_RR, CALL, CALL32, CMOV_M, CMOV_R, CMP32_MI, CMP32_MR, CMP32_RR, CMP8_MI, CMP8_RI, CMP8_RM,
        CMP8_RR, CMPXCHG8B, DEC32, DEC32_M, DEC_M, DEC_R, ESC_R, FXSAVE, IMUL32_RM, IMUL32_RR, IMUL_M, IMUL_R,
        INC32, INC32_M, INC_M, INC_R, JCC, JNZ, JZ, LEA, LEA32, LOAD16, LOAD32, LOAD8, MOV32_RI, MOV32_RR,
        MOVZX16_M, MOVZX8_M, MOVZX8_R, MOVZX_M, MOVZX_R, MOV_MI, MOV_MR, MOV_RI, MOV_RM, MOV_RR, NOP, OR32_RR,
        PAUSE, POP32, POP_R, PUSH32, PUSH32_I, PUSH_I, PUSH_R, RDMSR, RDPMC, RDTSC, RET, RET32, RET_I,
        ROL32_I, ROR32_I, SAR32_I, SHIFT_RI, SHL32_I, SHR32_I, STORE16, STORE32, STORE32_I, STORE8, SUB32_RR,
        SYSENTER, SYSEXIT, TEST32_RI, TEST32_RR, TEST8_RI, TEST8_RR, UNDEFINED, VECTOR_CONTROL, VMX_M, VMX_R,
        WRMSR, XOR32_RR,
    )
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADD, ALU_AND, ALU_CMP, ALU_OR, ALU_SUB, ALU_TEST, ALU_XOR, COND_NZ, COND_Z, DS, HAS_CMOV, HAS_CX8,
        HAS_MSR, HAS_SEP, HAS_TSC, INVEPT, M64, NO_REG, RBP, RBX, RDI, REP, REPNE, ROL, ROR, RSI, RSP, SAL,
        SAR, SHL, SHR, SIZE_MASK, SIZE_SIGN, SS, VMPTRLD, u32, u64,
    )
else:
    from hvcore.cpu.constants import (
        ADD32_MI, ADD32_MR, ADD32_RR, ALU8_RI, ALU8_RM, ALU8_RR, ALU_ADD, ALU_AND, ALU_CMP, ALU_MI, ALU_MR,
        ALU_OR, ALU_RI, ALU_RM, ALU_RR, ALU_SUB, ALU_TEST, ALU_XOR, AND32_RR, CALL, CALL32, CMOV_M, CMOV_R,
        CMP32_MI, CMP32_MR, CMP32_RR, CMP8_MI, CMP8_RI, CMP8_RM, CMP8_RR, CMPXCHG8B, COND_NZ, COND_Z, DEC32,
        DEC32_M, DEC_M, DEC_R, DS, ESC_R, FXSAVE, HAS_CMOV, HAS_CX8, HAS_MSR, HAS_SEP, HAS_TSC, IMUL32_RM,
        IMUL32_RR, IMUL_M, IMUL_R, INC32, INC32_M, INC_M, INC_R, INVEPT, JCC, JNZ, JZ, LEA, LEA32, LOAD16,
        LOAD32, LOAD8, M64, MOV32_RI, MOV32_RR, MOVZX16_M, MOVZX8_M, MOVZX8_R, MOVZX_M, MOVZX_R, MOV_MI,
        MOV_MR, MOV_RI, MOV_RM, MOV_RR, NOP, NO_REG, OR32_RR, PAUSE, POP32, POP_R, PUSH32, PUSH32_I, PUSH_I,
        PUSH_R, RBP, RBX, RDI, RDMSR, RDPMC, RDTSC, REP, REPNE, RET, RET32, RET_I, ROL, ROL32_I, ROR, ROR32_I,
        RSI, RSP, SAL, SAR, SAR32_I, SHIFT_RI, SHL, SHL32_I, SHR, SHR32_I, SIZE_MASK, SIZE_SIGN, SS, STORE16,
        STORE32, STORE32_I, STORE8, SUB32_RR, SYSENTER, SYSEXIT, TEST32_RI, TEST32_RR, TEST8_RI, TEST8_RR,
        UNDEFINED, VECTOR_CONTROL, VMPTRLD, VMX_M, VMX_R, WRMSR, XOR32_RR, u32, u64,
    )
    from hvcore.cpu.opcodes import ENDS, GROUP, LOCKABLE, MODRM, OPCODE_REG, REGISTER_ONLY, RM8, SWAP

    (
        IMM_NONE, IMM_Z, IMM_BS, IMM_B, IMM_W, IMM_ONE, IMM_J8, IMM_JZ, IMM_FAR, IMM_ENTER, IMM_MOFFS
    ) = range(11)  # fmt: skip
    THREE_BYTE = 0x2A8
    NO_SEGMENT = 8
    BY_ATTRIBUTE = 4
    table = opcodes.TABLE
# fmt: on


def load_table() -> None:
    """Copy the opcode map into the array that `decode` reads."""
    i: cython.int
    if cython.compiled:
        for i in range(len(opcodes.TABLE)):
            row = opcodes.TABLE[i]
            table[i].register = row.register
            table[i].memory = row.memory
            table[i].size = row.size
            table[i].immediate = row.immediate
            table[i].sub = row.sub
            table[i].flags = row.flags


load_table()


def take(c, n):
    """The next `n` bytes of the instruction as a little-endian number; past the end, `fetch_over` is set."""
    value: u64 = 0
    byte: u64
    i: u32
    if c.fetch_next + n > c.fetch_count:
        c.fetch_over = 1
        c.fetch_next = c.fetch_count
        return 0
    for i in range(n):
        byte = c.fetched[c.fetch_next + i]
        value |= byte << (8 * i)
    c.fetch_next += n
    return value


def extend(value, size):
    """Sign-extend from `size` to 64 bits."""
    return ((value ^ SIZE_SIGN[size]) - SIZE_SIGN[size]) & M64


def decode(c, o, code_size):
    """Decode one instruction into `o`; returns its length, or 0 when its bytes ran out.

    `code_size` is the default operand and address size: 1 or 2. An encoding that is not an instruction becomes
    UNDEFINED; so does LOCK where it is not allowed.
    """
    byte: u32
    at: u32  # of the row in the table
    override: u32
    osize: u32
    flags: u32
    modrm: u32
    size: u32
    o.reg = 0
    o.rsh = 0
    o.rm = 0
    o.msh = 0
    o.base = NO_REG
    o.index = NO_REG
    o.scale = 0
    o.imm = 0
    o.disp = 0
    o.isreg = 1
    o.seg = DS
    c.fetch_next = 0
    c.fetch_over = 0
    byte = take_prefixes(c, o, code_size)
    osize = o.size
    override = o.sub
    at = byte
    if byte == 0x0F:
        byte = take(c, 1)
        at = 0x100 + byte
        if byte == 0x38:
            byte = take(c, 1)
            if byte & 0xFE == 0x80:
                at = THREE_BYTE + (byte & 1)
    if c.fetch_over:
        return 0
    flags = table[at].flags
    modrm = 0
    if flags & MODRM:
        modrm = take(c, 1)
        if flags & GROUP:
            at = 0x200 + table[at].sub * 8 + ((modrm >> 3) & 7)
            flags = table[at].flags
    size = table[at].size
    if size == BY_ATTRIBUTE:
        size = osize
    o.size = size
    o.sub = table[at].sub
    o.ends = (flags & ENDS) != 0
    if flags & MODRM:
        o.reg = (modrm >> 3) & 7
        o.rm = modrm & 7
        o.modrm = modrm  # the x87 remembers it
        if modrm < 0xC0 and not flags & REGISTER_ONLY:
            o.isreg = 0
            o.kind = table[at].memory
            decode_memory(c, o, modrm, override)
        else:
            o.kind = table[at].register
            if override != NO_SEGMENT:
                o.seg = override  # MASKMOV
            if flags & SWAP:
                o.reg = modrm & 7
                o.rm = (modrm >> 3) & 7
        if flags & RM8 and o.isreg and o.rm >= 4:
            o.rm -= 4
            o.msh = 8
    else:
        o.kind = table[at].register
        if flags & OPCODE_REG:
            o.reg = byte & 7
        if override != NO_SEGMENT:
            o.seg = override
    if size == 0:
        split_register(o)
    decode_immediate(c, o, table[at].immediate)
    if c.fetch_over:
        return 0
    if o.kind == VMX_R or o.kind == VMX_M:
        o.sub = vmx_instruction(o, osize != code_size)
        if not o.sub:
            o.kind = UNDEFINED
    if (
        missing(c, o.kind)
        or newer(c, o, at)
        or prefix_forbidden(o, osize != code_size)
        or (o.lock and (o.isreg or not flags & LOCKABLE))
    ):
        o.kind = UNDEFINED
        o.ends = 1
    if at == 0x90 and o.rep == REP:
        o.kind = PAUSE
    elif o.kind == VECTOR_CONTROL and fence(c, o):
        o.kind = NOP  # nothing here is done out of order
    o.amask = SIZE_MASK[o.addr]
    o.length = c.fetch_next
    specialise(o)
    return o.length


def take_prefixes(c, o, code_size):
    """Take the prefixes; returns the byte behind them.

    They stand in `o.rep`, `o.lock`, `o.addr` (the address size), and for `decode` in `o.size` (the operand size) and
    `o.sub` (the segment that one names, or NO_SEGMENT).
    """
    byte: u32
    o.addr = code_size
    o.size = code_size
    o.sub = NO_SEGMENT
    o.rep = 0
    o.lock = 0
    o.prefixes = 0
    while True:
        byte = take(c, 1)
        if byte == 0x66:
            o.size = 3 - code_size
        elif byte == 0x67:
            o.addr = 3 - code_size
        elif byte == 0xF2:
            o.rep = REPNE
        elif byte == 0xF3:
            o.rep = REP
        elif byte == 0xF0:
            o.lock = 1
        elif byte == 0x26 or byte == 0x2E or byte == 0x36 or byte == 0x3E:
            o.sub = (byte >> 3) & 3
        elif byte == 0x64 or byte == 0x65:
            o.sub = byte & 7
        else:
            return byte
        if c.fetch_over:
            return 0
        o.prefixes += 1


def vmx_instruction(o, wide):
    """Which instruction of VMX a mandatory prefix makes of an opcode, 0: none; `wide` tells of a prefix 66."""
    prefix: u32 = 2 if o.rep == REP else wide
    if o.rep == REPNE:
        return 0
    if o.sub == VMPTRLD:
        return o.sub + prefix
    return o.sub if prefix == (1 if o.sub >= INVEPT else 0) else 0


def prefix_forbidden(o, wide):
    """Whether a prefix 66, F2 or F3 makes another instruction of 0F AE, which this processor does not have.

    FXSAVE, LDMXCSR, the fences and CLFLUSH are what 0F AE is without one (SDM vol. 2 table A-6, group 15). Of vector
    instructions `sse.execute` knows it, of those of VMX `vmx_instruction`; every other instruction ignores them.
    """
    return (o.kind == FXSAVE or o.kind == VECTOR_CONTROL) and (wide or o.rep != 0)


def fence(c, o):
    """Whether this is LFENCE, MFENCE or SFENCE, and the model has it."""
    if not o.isreg or o.reg < 5:
        return 0
    return c.has_sse if o.reg == 7 else c.has_sse2


def missing(c, kind):
    """Whether an instruction came with a feature that this processor's model lacks."""
    if kind == CMOV_R or kind == CMOV_M:
        return not c.features & HAS_CMOV
    elif kind == CMPXCHG8B:
        return not c.features & HAS_CX8
    elif kind == RDTSC:
        return not c.features & HAS_TSC
    elif kind == RDMSR or kind == WRMSR:
        return not c.features & HAS_MSR
    elif kind == SYSENTER or kind == SYSEXIT:
        return not c.features & HAS_SEP
    elif kind == RDPMC:
        return not c.features & HAS_CMOV  # no bit of its own: it came with the P6
    return 0


def newer(c, o, at):
    """Whether this is one of the P6's encodings without a feature bit of their own, and the model is older.

    Those are the NOPs of two bytes, and FCMOV, FCOMI and FUCOMI.
    """
    row: u32 = (o.modrm >> 3) & 7
    if c.features & HAS_CMOV:
        return 0
    if o.kind == NOP:
        return at != 0x90
    if o.kind != ESC_R:
        return 0
    return (
        (o.sub == 2 and row < 4)
        or (o.sub == 3 and (row < 4 or row == 5 or row == 6))
        or (o.sub == 7 and (row == 5 or row == 6))
    )


def split_register(o):
    """Turn the numbers of AH, CH, DH and BH into a register and a shift."""
    if o.reg >= 4:
        o.reg -= 4
        o.rsh = 8
    if o.isreg and o.rm >= 4:
        o.rm -= 4
        o.msh = 8


def decode_memory(c, o, modrm, override):
    """The memory operand: base, index, scale, displacement, and its segment (SDM vol. 2 §2.1.5)."""
    mod: u32 = modrm >> 6
    rm: u32 = modrm & 7
    sib: u32
    o.rm = 0
    if o.addr == 1:
        if rm < 2:
            o.base = RBX
        elif rm < 4 or rm == 6:
            o.base = RBP
        elif rm == 7:
            o.base = RBX
        if rm == 0 or rm == 2:
            o.index = RSI
        elif rm == 1 or rm == 3:
            o.index = RDI
        elif rm == 4:
            o.base = RSI
        elif rm == 5:
            o.base = RDI
        if mod == 0 and rm == 6:
            o.base = NO_REG
            o.disp = take(c, 2)
        elif mod == 1:
            o.disp = extend(take(c, 1), 0)
        elif mod == 2:
            o.disp = extend(take(c, 2), 1)
        if o.base == RBP:
            o.seg = SS
    else:
        o.base = rm
        if rm == 4:
            sib = take(c, 1)
            o.base = sib & 7
            o.scale = sib >> 6
            o.index = (sib >> 3) & 7
            if o.index == RSP:
                o.index = NO_REG
        if o.base == RBP and mod == 0:
            o.base = NO_REG
            o.disp = extend(take(c, 4), 2)
        elif mod == 1:
            o.disp = extend(take(c, 1), 0)
        elif mod == 2:
            o.disp = extend(take(c, 4), 2)
        if o.base == RSP or o.base == RBP:
            o.seg = SS
    if override != NO_SEGMENT:
        o.seg = override


def decode_immediate(c, o, how):
    """The bytes after the operand. Displacements of branches are sign-extended to 64 bits."""
    wide: u32 = 2 if o.size >= 2 else 1
    if how == IMM_NONE:
        return
    if how == IMM_Z:
        if o.size == 0:
            o.imm = take(c, 1)
        else:
            o.imm = extend(take(c, 1 << wide), wide) & SIZE_MASK[o.size]
    elif how == IMM_BS:
        o.imm = extend(take(c, 1), 0) & SIZE_MASK[o.size]
    elif how == IMM_B:
        o.imm = take(c, 1)
    elif how == IMM_W:
        o.imm = take(c, 2)
    elif how == IMM_ONE:
        o.imm = 1
    elif how == IMM_J8:
        o.imm = extend(take(c, 1), 0)
    elif how == IMM_JZ:
        o.imm = extend(take(c, 1 << wide), wide)
    elif how == IMM_FAR:
        o.imm = take(c, 1 << wide)
        o.disp = take(c, 2)
    elif how == IMM_ENTER:
        o.imm = take(c, 2)
        o.disp = take(c, 1)
    else:
        o.disp = take(c, 1 << o.addr)
        o.isreg = 0


def specialise(o):
    """Give the commonest forms of 8- and 32-bit operands operations of their own."""
    kind: u32 = o.kind
    if o.size == 0:
        specialise_8(o)
        return
    if kind == JCC:
        if o.sub == COND_Z:
            o.kind = JZ
        elif o.sub == COND_NZ:
            o.kind = JNZ
        return
    if o.size == 1:
        if kind == MOV_RM:
            o.kind = LOAD16
        elif kind == MOV_MR:
            o.kind = STORE16
        return
    if o.size == 2:
        specialise_32(o)


def specialise_8(o):
    """Those of 8-bit operands."""
    kind: u32 = o.kind
    sub: u32 = o.sub
    if kind == MOV_RM:
        o.kind = LOAD8
    elif kind == MOV_MR:
        o.kind = STORE8
    elif kind == ALU_RR:
        o.kind = CMP8_RR if sub == ALU_CMP else TEST8_RR if sub == ALU_TEST else ALU8_RR
    elif kind == ALU_RI:
        o.kind = CMP8_RI if sub == ALU_CMP else TEST8_RI if sub == ALU_TEST else ALU8_RI
    elif kind == ALU_RM:
        o.kind = CMP8_RM if sub == ALU_CMP else ALU_RM if sub == ALU_TEST else ALU8_RM
    elif kind == ALU_MI and sub == ALU_CMP:
        o.kind = CMP8_MI


def specialise_32(o):
    """Those of 32-bit operands."""
    kind: u32 = o.kind
    sub: u32 = o.sub
    if kind == MOV_RR:
        o.kind = MOV32_RR
    elif kind == MOV_RM:
        o.kind = LOAD32
    elif kind == MOV_MR:
        o.kind = STORE32
    elif kind == MOV_RI:
        o.kind = MOV32_RI
    elif kind == MOV_MI:
        o.kind = STORE32_I
    elif kind == ALU_RR or kind == ALU_RM or kind == ALU_RI:
        specialise_alu(o)
    elif kind == INC_R:
        o.kind = INC32
    elif kind == DEC_R:
        o.kind = DEC32
    elif kind == SHIFT_RI and o.imm & 31:
        if sub == SHL or sub == SAL:
            o.kind = SHL32_I
        elif sub == SHR:
            o.kind = SHR32_I
        elif sub == SAR:
            o.kind = SAR32_I
        elif sub == ROL:
            o.kind = ROL32_I
        elif sub == ROR:
            o.kind = ROR32_I
    elif kind == ALU_MR:
        if sub == ALU_ADD:
            o.kind = ADD32_MR
        elif sub == ALU_CMP:
            o.kind = CMP32_MR
    elif kind == ALU_MI:
        if sub == ALU_ADD:
            o.kind = ADD32_MI
        elif sub == ALU_CMP:
            o.kind = CMP32_MI
    elif kind == INC_M:
        o.kind = INC32_M
    elif kind == DEC_M:
        o.kind = DEC32_M
    elif kind == LEA:
        o.kind = LEA32
    elif kind == CALL:
        o.kind = CALL32
    elif kind == RET or kind == RET_I:
        o.kind = RET32
    elif kind == PUSH_I:
        o.kind = PUSH32_I
    elif kind == MOVZX_M and sub == 1:
        o.kind = MOVZX16_M
    elif kind == PUSH_R:
        o.kind = PUSH32
    elif kind == POP_R:
        o.kind = POP32
    elif kind == MOVZX_R and sub == 0:
        o.kind = MOVZX8_R
    elif kind == MOVZX_M and sub == 0:
        o.kind = MOVZX8_M
    elif kind == IMUL_R:
        o.kind = IMUL32_RR
    elif kind == IMUL_M:
        o.kind = IMUL32_RM


def specialise_alu(o):
    """Those of arithmetic and logic with a register of 32 bits; for each the kinds stand in one row: RR, RM, RI."""
    form: u32 = 2 if o.kind == ALU_RI else o.kind - ALU_RR
    if o.sub == ALU_TEST:
        if form == 0:
            o.kind = TEST32_RR
        elif form == 2:
            o.kind = TEST32_RI
    elif o.sub == ALU_ADD:
        o.kind = ADD32_RR + form
    elif o.sub == ALU_OR:
        o.kind = OR32_RR + form
    elif o.sub == ALU_AND:
        o.kind = AND32_RR + form
    elif o.sub == ALU_SUB:
        o.kind = SUB32_RR + form
    elif o.sub == ALU_XOR:
        o.kind = XOR32_RR + form
    elif o.sub == ALU_CMP:
        o.kind = CMP32_RR + form
