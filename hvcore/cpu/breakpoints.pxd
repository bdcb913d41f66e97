from hvcore.cpu.state cimport State, u32, u64

cdef void watch(State c, u64 lin, u32 n, u32 write) noexcept nogil
cdef void watch_port(State c, u32 port, u32 n) noexcept nogil
cdef u32 here(State c) noexcept nogil
cdef void arm(State c) noexcept nogil
