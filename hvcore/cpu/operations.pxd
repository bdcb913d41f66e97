from hvcore.cpu.state cimport State, u32

cdef u32 perform(State c, u32 j, u32 end) noexcept nogil
