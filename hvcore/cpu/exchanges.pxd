from hvcore.cpu.state cimport State, Op, u32, u64

cdef void exchange(State c, Op *o) noexcept nogil
cdef void compare_exchange_8_bytes(State c, u32 seg, u64 off) noexcept nogil
