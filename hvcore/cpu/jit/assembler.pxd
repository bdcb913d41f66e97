from hvcore.cpu.state cimport State, u32, u64

cdef enum:
    RECORD_BIAS = 128   # from the record's start to where RBX points

cdef enum:
    AX = 0              # the host's registers, as instructions number them
    CX = 1
    DX = 2
    BX = 3
    SP = 4
    BP = 5
    SI = 6
    DI = 7
    R8 = 8
    R9 = 9
    R11 = 11
    R12 = 12
    R13 = 13
    R14 = 14
    R15 = 15
    AH = 4              # as instructions without REX number it

cdef enum:
    ADD = 0x03          # opcodes of the form `reg, reg/mem` with 32 or 64 bits
    OR = 0x0B
    ADC = 0x13
    SBB = 0x1B
    AND = 0x23
    SUB = 0x2B
    XOR = 0x33
    CMP = 0x3B
    TEST = 0x85
    LOAD = 0x8B         # MOV
    LOAD8 = 0x8A
    STORE = 0x89        # MOV the other way round: `reg/mem, reg`
    STORE8 = 0x88
    OR_TO = 0x09        # OR, so too
    EXCHANGE = 0x87     # XCHG
    LEA = 0x8D
    TEST_BYTE = 0xF6    # with an immediate
    IMUL = 0x1AF        # 0x100 and more: after 0F
    MOVZX8 = 0x1B6
    MOVZX16 = 0x1B7
    MOVSX8 = 0x1BE
    MOVSX16 = 0x1BF
    CMOV = 0x140        # and the condition
    SETCC = 0x190
    SHLD = 0x1A4        # by a number; by CL it is one more
    SHRD = 0x1AC
    BSF = 0x1BC
    BSR = 0x1BD
    CMPXCHG = 0x1B1
    XADD = 0x1C1
    CMPXCHG8B = 0x1C7   # with 1 for the register

cdef enum:
    OPERAND_SIZE = 0x66     # prefixes: 16 bits,
    LOCK = 0xF0             # and nobody comes between
    REPNE = 0xF2            # of string instructions: while not equal,
    REP = 0xF3              # or while equal, where they compare

cdef enum:
    REPEAT_MOVS = 0xA4      # of 8 bits; of more it is one more
    REPEAT_CMPS = 0xA6
    REPEAT_STOS = 0xAA
    REPEAT_SCAS = 0xAE

cdef enum:
    LDMXCSR = 2             # the extension of 0F AE
    STMXCSR = 3

cdef enum:
    OVERFLOW = 0            # conditions, as Jcc numbers them
    CARRY_SET = 2
    CARRY_CLEAR = 3
    ZERO = 4
    NOT_ZERO = 5
    BELOW_OR_EQUAL = 6
    ABOVE = 7

cdef u64 field(State c, void *where) noexcept nogil
cdef void emit_u8(State c, u32 value) noexcept nogil
cdef void emit_u32(State c, u64 value) noexcept nogil
cdef void emit_u64(State c, u64 value) noexcept nogil
cdef void emit_opcode(State c, u32 op, u32 wide, u32 reg, u32 index, u32 base) noexcept nogil
cdef u32 fits_byte(u64 value) noexcept nogil
cdef void emit_record_form(State c, u32 op, u32 wide, u32 reg, void *where) noexcept nogil
cdef void emit_field(State c, u32 op, u32 reg, void *where) noexcept nogil
cdef void emit_field64(State c, u32 op, u32 reg, void *where) noexcept nogil
cdef void emit_load(State c, u32 reg, void *where) noexcept nogil
cdef void emit_load64(State c, u32 reg, void *where) noexcept nogil
cdef void emit_store64(State c, u32 reg, void *where) noexcept nogil
cdef void emit_set_field(State c, void *where, u64 value) noexcept nogil
cdef void emit_add_to_field64(State c, void *where, u32 value) noexcept nogil
cdef void emit_compare_field(State c, void *where, u32 value) noexcept nogil
cdef void emit_test_field(State c, void *where, u64 value) noexcept nogil
cdef void emit_repeat(State c, u32 op, u32 prefix, u32 size) noexcept nogil
cdef void emit_carry_from(State c, void *where) noexcept nogil
cdef void emit_step(State c, u32 reg, u32 down) noexcept nogil
cdef void emit_change_field(State c, u32 op, void *where, u64 value) noexcept nogil
cdef void emit_compare_field_to(State c, void *where, u64 value) noexcept nogil
cdef void emit_mxcsr(State c, u32 op, void *where) noexcept nogil
cdef void emit_register_form(State c, u32 op, u32 wide, u32 reg, u32 rm) noexcept nogil
cdef void emit_reg(State c, u32 op, u32 reg, u32 rm) noexcept nogil
cdef void emit_reg64(State c, u32 op, u32 reg, u32 rm) noexcept nogil
cdef void emit_sized(State c, u32 op, u32 size, u32 reg, u32 rm) noexcept nogil
cdef void emit_move(State c, u32 to, u32 source) noexcept nogil
cdef void emit_move64(State c, u32 to, u32 source) noexcept nogil
cdef void emit_memory_form(State c, u32 op, u32 wide, u32 reg, u32 base, u32 index, u32 scale, u64 disp) noexcept nogil
cdef void emit_mem(State c, u32 op, u32 reg, u32 base, u32 index, u32 scale, u64 disp) noexcept nogil
cdef void emit_mem64(State c, u32 op, u32 reg, u32 base, u32 index, u32 scale, u64 disp) noexcept nogil
cdef void emit_immediate_form(State c, u32 op, u32 wide, u32 rm, u64 value) noexcept nogil
cdef void emit_imm(State c, u32 op, u32 rm, u64 value) noexcept nogil
cdef void emit_imm64(State c, u32 op, u32 rm, u64 value) noexcept nogil
cdef void emit_imm_byte(State c, u32 op, u32 rm, u32 value) noexcept nogil
cdef void emit_shift_form(State c, u32 op, u32 wide, u32 rm, u32 count) noexcept nogil
cdef void emit_shift(State c, u32 op, u32 rm, u32 count) noexcept nogil
cdef void emit_shift64(State c, u32 op, u32 rm, u32 count) noexcept nogil
cdef void emit_shift_by_cl(State c, u32 op, u32 rm) noexcept nogil
cdef void emit_constant(State c, u32 reg, u64 value) noexcept nogil
cdef void emit_shift_sized(State c, u32 op, u32 size, u32 rm, u32 count) noexcept nogil
cdef void emit_shift_sized_by_cl(State c, u32 op, u32 size, u32 rm) noexcept nogil
cdef void emit_double_shift(State c, u32 op, u32 reg, u32 rm, u32 count) noexcept nogil
cdef void emit_double_shift_by_cl(State c, u32 op, u32 reg, u32 rm) noexcept nogil
cdef void emit_bit(State c, u32 op, u32 rm, u32 number) noexcept nogil
cdef void emit_bit_by_register(State c, u32 op, u32 reg, u32 rm) noexcept nogil
cdef u32 bit_opcode(u32 op) noexcept nogil
cdef void emit_set(State c, u32 condition, u32 reg) noexcept nogil
cdef void emit_not(State c, u32 reg) noexcept nogil
cdef void emit_negate(State c, u32 reg) noexcept nogil
cdef void emit_multiply(State c, u32 op, u32 rm) noexcept nogil
cdef void emit_multiply_sized(State c, u32 op, u32 size, u32 rm) noexcept nogil
cdef void emit_swap_bytes(State c, u32 reg) noexcept nogil
cdef void emit_cdq(State c) noexcept nogil
cdef void emit_cwde(State c) noexcept nogil
cdef void emit_clear_carry(State c) noexcept nogil
cdef void emit_complement_carry(State c) noexcept nogil
cdef void emit_flags_from_ax(State c) noexcept nogil
cdef void emit_load_vector(State c, u32 reg, void *where) noexcept nogil
cdef void emit_store_vector(State c, u32 reg, void *where) noexcept nogil
cdef void emit_vector_reg(State c, u32 prefix, u32 op, u32 reg, u32 rm) noexcept nogil
cdef void emit_vector_mem(State c, u32 prefix, u32 op, u32 reg, u32 base, u32 index) noexcept nogil
cdef void emit_leave_mmx(State c) noexcept nogil
cdef void emit_flags_to_ah(State c) noexcept nogil
cdef void emit_flags_from_ah(State c) noexcept nogil
cdef void emit_locked(State c, u32 op, u32 size, u32 reg, u32 base) noexcept nogil
cdef void emit_exchange(State c, u32 size, u32 reg, u32 base) noexcept nogil
cdef void emit_push(State c, u32 reg) noexcept nogil
cdef void emit_pop(State c, u32 reg) noexcept nogil
cdef void emit_return(State c) noexcept nogil
cdef u32 emit_jump(State c) noexcept nogil
cdef u32 emit_jump_if(State c, u32 condition) noexcept nogil
cdef void emit_jump_to(State c, u64 target) noexcept nogil
cdef void emit_jump_to_register(State c, u32 reg) noexcept nogil
cdef void emit_jump_to_memory(State c, u32 base, u64 disp) noexcept nogil
cdef void emit_jump_to_entry(State c, u32 base, u32 index, u32 scale, u64 disp) noexcept nogil
cdef u32 emit_place(State c, u32 reg) noexcept nogil
cdef void emit_call_near(State c, u64 target) noexcept nogil
cdef void emit_call(State c, void *function) noexcept nogil
cdef void bind(State c, u32 site) noexcept nogil
cdef void aim(State c, u32 site, u64 target) noexcept nogil
cdef u32 aimed_at(State c, u32 site) noexcept nogil
