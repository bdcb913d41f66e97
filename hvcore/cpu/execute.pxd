from hvcore.cpu.state cimport State, u32

cdef void step(State c) noexcept nogil
cdef void execute(State c, u32 j, u32 end) noexcept nogil
cdef void leave_block(State c, u32 start, u32 j, u32 end) noexcept nogil
