from hvcore.cpu.state cimport State, Op, u32, u64

cdef u64 get(State c, u32 reg, u32 shift, u32 size) noexcept nogil
cdef void put(State c, u32 reg, u32 shift, u32 size, u64 value) noexcept nogil
cdef u64 address(State c, Op *o) noexcept nogil
cdef void put_masked(State c, u32 reg, u64 mask, u64 value) noexcept nogil
