from hvcore.cpu.state cimport State, Op, u32, u64

cdef u64 time_stamp(State c) noexcept nogil
cdef u32 has_msr(State c, u32 index) noexcept nogil
cdef u64 read_msr(State c, u32 index) noexcept nogil
cdef u32 pat_valid(u64 value) noexcept nogil
cdef u32 write_msr(State c, u32 index, u64 value) noexcept nogil
cdef u32 msr_intercepted(State c, u32 index, u32 write) noexcept nogil
cdef void access_msr(State c, Op *o) noexcept nogil
