from hvcore.cpu.state cimport State, Op, u32, u64, s64

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
cdef void round_to_nothing(State c, u32 double_) noexcept nogil
cdef u64 estimate(State c, u32 op, u64 b) noexcept nogil
cdef u64 compute(State c, u32 op, u32 double_, u64 a, u64 b, u32 predicate) noexcept nogil
cdef u32 excepted(State c) noexcept nogil
cdef void arithmetic(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void compare_scalar(State c, Op *o, u32 op, u32 pp) noexcept nogil
