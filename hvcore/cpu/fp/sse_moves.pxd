from hvcore.cpu.state cimport State, Op, u32, u64

cdef void move_float(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void move_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void shuffle(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void masked_store(State c, Op *o, u32 pp) noexcept nogil
