from hvcore.cpu.state cimport State, Op, u32, u64

cdef void operate(State c, Op *o) noexcept nogil
cdef u64 double_shift(State c, u32 right, u64 a, u64 b, u32 count, u32 size) noexcept nogil
cdef u64 bit_test(State c, u32 sub, u64 a, u64 bit, u32 size) noexcept nogil
cdef u64 scan_forward(u64 v) noexcept nogil
cdef u64 scan_reverse(u64 v) noexcept nogil
