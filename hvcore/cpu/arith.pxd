from hvcore.cpu.state cimport State, Op, u32, u64, s64

cdef void mul_div(State c, u32 sub, u64 v, u32 size) noexcept nogil
cdef u64 imul(State c, u64 a, u64 b, u32 size) noexcept nogil
cdef u64 magnitude(u64 v, u32 size) noexcept nogil
cdef void divide(State c, u32 sub, u64 v, u32 size) noexcept nogil
cdef void decimal(State c, u32 kind, u64 imm) noexcept nogil
cdef void multiplied(State c, u64 result, u32 too_big, u32 size) noexcept nogil
