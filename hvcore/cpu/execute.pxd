from hvcore.cpu.state cimport State, Op, u32, u64, s64

cdef u32 intr_level(State c) noexcept nogil
cdef s64 build(State c, u64 eip) noexcept nogil
cdef void step(State c) noexcept nogil
cdef void run(State c) noexcept nogil
cdef void execute(State c, u32 j, u32 end) noexcept nogil
cdef s64 single(State c, u64 eip) noexcept nogil
cdef void fuse(Op *o, Op *jump) noexcept nogil
cdef u32 breakpoint_here(State c) noexcept nogil
cdef u32 debug_exception(State c, u32 hit) noexcept nogil
cdef u32 step_watched(State c) noexcept nogil
cdef u32 perform(State c, u32 j, u32 end) noexcept nogil
cdef void leave_block(State c, u32 start, u32 j, u32 end) noexcept nogil
