from hvcore.cpu.state cimport State, Op, u32, u64

cdef void move(State c, Op *o) noexcept nogil
