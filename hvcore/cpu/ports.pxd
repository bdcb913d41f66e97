from hvcore.cpu.state cimport State, Op, u32, u64

cdef u32 io_allowed(State c, u32 port, u32 n) noexcept nogil
cdef u32 intercepted(State c, u32 port, u32 n) noexcept nogil
cdef void describe_port_access(State c, Op *o, u32 port, u32 read) noexcept nogil
cdef void port_access(State c, Op *o, u32 port, u32 read) noexcept nogil
cdef void string_port_access(State c, Op *o) noexcept nogil
