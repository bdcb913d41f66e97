from hvcore.cpu.state cimport State, Op, u32, u64

cdef void note_debug(State c, u32 bits) noexcept nogil
cdef void move(State c, Op *o) noexcept nogil
