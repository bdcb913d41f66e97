from hvcore.cpu.state cimport State, Op, u32, u64

cdef u64 integer_of(State c, u32 double_, u64 bits, u32 chop) noexcept nogil
cdef u64 real_of(State c, u32 double_, u64 bits) noexcept nogil
cdef u64 converted(State c, u32 to_double, u64 bits) noexcept nogil
cdef void convert_real(State c, Op *o, u32 pp) noexcept nogil
cdef void convert_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void convert_mixed(State c, Op *o, u32 op, u32 pp) noexcept nogil
