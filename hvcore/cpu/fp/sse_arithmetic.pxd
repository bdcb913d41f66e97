from hvcore.cpu.state cimport State, Op, u32, u64, s64

# The opcodes' second bytes (SDM vol. 2 table A-3), for all of PS, PD, SS and SD.
cdef enum:
    UCOMIS = 0x2E
    COMIS = 0x2F
    SQRT = 0x51
    RSQRT = 0x52
    RCP = 0x53
    AND = 0x54
    ANDN = 0x55
    OR = 0x56
    XOR = 0x57
    ADD = 0x58
    MUL = 0x59
    SUB = 0x5C
    MIN = 0x5D
    DIV = 0x5E
    MAX = 0x5F
    CMP = 0xC2              # The predicates of CMP, its immediate.
cdef enum:
    CMP_EQ = 0
    CMP_LT = 1
    CMP_LE = 2
    CMP_UNORD = 3
    CMP_RELATION = 3    # the bits that say which;
    CMP_NOT = 4         # and this one asks for the opposite

# The bits of a significand that RCP and RSQRT are exact to.
cdef enum:
    ESTIMATED = 12

cdef u64 source32(State c, u32 i) noexcept nogil
cdef u64 target32(State c, u32 i) noexcept nogil
cdef void put32(State c, u32 i, u64 value) noexcept nogil
cdef void load_lane(State c, u32 v, u32 double_, u64 bits) noexcept nogil
cdef u32 choose_nan(State c, u32 second) noexcept nogil
cdef u64 pack(State c, u32 double_) noexcept nogil
cdef void round_to(State c, u32 double_) noexcept nogil
cdef u64 minimum(State c, u32 op, u32 double_, u64 b) noexcept nogil
cdef u64 comparison(State c, u32 predicate) noexcept nogil
cdef u64 pack_exact(State c, u32 double_) noexcept nogil
cdef u64 estimate(State c, u32 op, u64 b) noexcept nogil
cdef u64 compute(State c, u32 op, u32 double_, u64 a, u64 b, u32 predicate) noexcept nogil
cdef u32 excepted(State c) noexcept nogil
cdef void arithmetic(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void bitwise(State c, Op *o, u32 op) noexcept nogil
cdef void compare_scalar(State c, Op *o, u32 op, u32 pp) noexcept nogil
