from hvcore.cpu.state cimport State, Op, u8, u32, u64, s64

# The mandatory prefix.
cdef enum:
    NP = 0
    P66 = 1
    PF3 = 2
    PF2 = 3

# What an opcode with a prefix is, in `forms`.
cdef enum:
    NONE = 0
    MMX = 1             # packed integers in MM registers
    MMX_SSE = 2         # the same, added by SSE
    MMX_SSE2 = 3        # and by SSE2
    XMM = 4             # of SSE
    XMM2 = 5            # of SSE2
    FORM = 7
    REGISTERS = 8       # there is no memory form
    MEMORY = 16         # there is no register form

cdef enum:
    DAZ = 0x40
    FTZ = 0x8000

cdef u8[1024] forms

cdef u32 ready(State c, u32 form) noexcept nogil
cdef u32 enter_mmx(State c) noexcept nogil
cdef void set_mm(State c, u32 i, u64 value) noexcept nogil
cdef u32 fetch(State c, Op *o, u32 size, u32 aligned) noexcept nogil
cdef void store(State c, Op *o, u32 size, u32 aligned) noexcept nogil
cdef u64 source32(State c, u32 i) noexcept nogil
cdef u64 target32(State c, u32 i) noexcept nogil
cdef void put32(State c, u32 i, u64 value) noexcept nogil
cdef void load_lane(State c, u32 v, u32 double_, u64 bits) noexcept nogil
cdef u32 choose_nan(State c, u32 second) noexcept nogil
cdef u64 pack(State c, u32 double_) noexcept nogil
cdef void round_to(State c, u32 double_) noexcept nogil
cdef u64 minimum(State c, u32 op, u32 double_, u64 b) noexcept nogil
cdef u64 pack_exact(State c, u32 double_) noexcept nogil
cdef void round_to_nothing(State c, u32 double_) noexcept nogil
cdef u64 comparison(State c, u32 predicate) noexcept nogil
cdef u64 estimate(State c, u32 op, u64 b) noexcept nogil
cdef u64 compute(State c, u32 op, u32 double_, u64 a, u64 b, u32 predicate) noexcept nogil
cdef u32 excepted(State c) noexcept nogil
cdef void arithmetic(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void compare_scalar(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef u64 integer_of(State c, u32 double_, u64 bits, u32 chop) noexcept nogil
cdef u64 real_of(State c, u32 double_, u64 bits) noexcept nogil
cdef u64 converted(State c, u32 to_double, u64 bits) noexcept nogil
cdef void convert_real(State c, Op *o, u32 pp) noexcept nogil
cdef void convert_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void convert_mixed(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void move_float(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void move_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void shuffle(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void shift_immediate(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void masked_store(State c, Op *o, u32 pp) noexcept nogil
cdef void packed_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void control(State c, Op *o) noexcept nogil
cdef void execute(State c, Op *o) noexcept nogil
