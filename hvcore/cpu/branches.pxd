from hvcore.cpu.state cimport State, Op, u32, u64

cdef void branch(State c, Op *o) noexcept nogil
