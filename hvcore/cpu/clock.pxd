from hvcore.cpu.state cimport u64

cdef u64 now() noexcept nogil
