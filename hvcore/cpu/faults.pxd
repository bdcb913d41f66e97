from hvcore.cpu.state cimport State, u32

cdef void exception(State c, u32 vector, u32 error) noexcept nogil
cdef void exception_plain(State c, u32 vector) noexcept nogil
