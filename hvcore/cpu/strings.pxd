from hvcore.cpu.state cimport State, Op, u32, u64

cdef void string(State c, Op *o) noexcept nogil
cdef u64 advance(State c, u32 reg, Op *o) noexcept nogil
cdef void one(State c, Op *o, u32 kind) noexcept nogil
cdef u64 run_of(u64 lin, u64 off, u64 mask, u32 size, u64 most, u32 down) noexcept nogil
cdef u64 in_memory(State c, u64 lin, u32 write, u64 length) noexcept nogil
cdef u64 several(State c, Op *o, u32 kind, u64 most) noexcept nogil
