from hvcore.cpu.state cimport State, u8, u32, u64

cdef enum:
    HAX = 0     # the host's registers, as instructions number them
    HCX = 1
    HDX = 2
    HBX = 3
    HSP = 4
    HBP = 5
    HSI = 6
    HDI = 7
    H8 = 8
    H12 = 12
    H13 = 13
    H14 = 14
    H15 = 15

cdef enum:
    X_ADD = 0x03        # opcodes of the form `reg, reg/mem`
    X_OR = 0x0B
    X_ADC = 0x13
    X_SBB = 0x1B
    X_AND = 0x23
    X_SUB = 0x2B
    X_XOR = 0x33
    X_CMP = 0x3B
    X_TEST = 0x85
    X_STORE = 0x89
    X_LOAD = 0x8B
    X_LEA = 0x8D
    X_IMUL = 0x1AF      # 0x100 and more: after 0F
    X_MOVZX8 = 0x1B6
    X_MOVZX16 = 0x1B7
    X_MOVSX8 = 0x1BE
    X_MOVSX16 = 0x1BF
    X_CMOV = 0x140      # and the condition
    X_SETCC = 0x190
    X_PUSH_AX = 0x50    # of a byte
    X_POPF = 0x9D
    X_RET = 0xC3

cdef enum:
    OVERFLOW = 0            # conditions, as Jcc numbers them
    CARRY_SET = 2
    CARRY_CLEAR = 3
    ZERO = 4
    NOT_ZERO = 5
    ABOVE = 7

cdef void put8(State c, u32 value) noexcept nogil
cdef void put32(State c, u64 value) noexcept nogil
cdef void put64(State c, u64 value) noexcept nogil
cdef void opcode(State c, u32 op, u32 wide, u32 reg, u32 index, u32 base) noexcept nogil
cdef u32 short(u64 value) noexcept nogil
cdef void with_field(State c, u32 op, u32 wide, u32 reg, u64 offset) noexcept nogil
cdef void with_register(State c, u32 op, u32 wide, u32 reg, u32 rm) noexcept nogil
cdef void with_memory(State c, u32 op, u32 wide, u32 reg, u32 base, u32 index, u32 scale, u64 disp) noexcept nogil
cdef void with_immediate(State c, u32 op, u32 wide, u32 rm, u64 value) noexcept nogil
cdef void shift(State c, u32 op, u32 wide, u32 rm, u32 count) noexcept nogil
cdef void load(State c, u32 reg, u64 offset) noexcept nogil
cdef void load64(State c, u32 reg, u64 offset) noexcept nogil
cdef void store64(State c, u32 reg, u64 offset) noexcept nogil
cdef void set_field(State c, u32 wide, u64 offset, u64 value) noexcept nogil
cdef void constant(State c, u32 reg, u64 value) noexcept nogil
cdef u32 jump(State c) noexcept nogil
cdef u32 jump_if(State c, u32 condition) noexcept nogil
cdef void jump_to(State c, u64 target) noexcept nogil
cdef void call_near(State c, u64 target) noexcept nogil
cdef void bind(State c, u32 site) noexcept nogil
cdef void aim(State c, u32 site, u64 target) noexcept nogil
cdef void call(State c, void *function) noexcept nogil
