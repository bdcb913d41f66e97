from hvcore.cpu.state cimport State, u32

cdef u32 debug_exception(State c, u32 hit) noexcept nogil
cdef u32 step_watched(State c) noexcept nogil
cdef void run(State c) noexcept nogil
