from hvcore.cpu.state cimport State, Op, u32, u64

cdef void shift_immediate(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void packed_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void pack(State c, u32 op, u32 wide) noexcept nogil
cdef void unpack(State c, u32 op, u32 wide) noexcept nogil
cdef void combine(State c, u32 op, u32 wide) noexcept nogil
