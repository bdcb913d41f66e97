from hvcore.cpu.state cimport State, u8, u32, u64

cdef u32 carry(State c) noexcept nogil
cdef u32 overflow(State c) noexcept nogil
cdef u32 adjust(State c) noexcept nogil
cdef u32 status(State c) noexcept nogil
cdef u32 condition(State c, u32 code) noexcept nogil
cdef void set_status(State c, u32 value) noexcept nogil
cdef void set_zero_flag(State c, u32 zf) noexcept nogil
cdef u64 get_eflags(State c) noexcept nogil
cdef void set_eflags(State c, u64 value) noexcept nogil
cdef u64 alu(State c, u32 sub, u64 a, u64 b, u32 size) noexcept nogil
cdef u64 increment(State c, u64 a, u32 size) noexcept nogil
cdef u64 decrement(State c, u64 a, u32 size) noexcept nogil
cdef void rotated(State c, u64 cf, u64 of) noexcept nogil
cdef void set_carry(State c, u32 cf) noexcept nogil
cdef u64 shift(State c, u32 sub, u64 a, u32 count, u32 size) noexcept nogil
cdef u64 rotate(State c, u32 sub, u64 a, u32 n, u32 size) noexcept nogil
cdef void logic(State c, u64 result, u32 size) noexcept nogil
cdef u32 parity(u64 result) noexcept nogil
