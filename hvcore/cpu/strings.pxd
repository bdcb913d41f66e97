from hvcore.cpu.state cimport State, Op, u32, u64

cdef void string(State c, Op *o) noexcept nogil
cdef u64 advance(State c, u32 reg, Op *o) noexcept nogil
cdef void one(State c, Op *o, u32 kind) noexcept nogil
