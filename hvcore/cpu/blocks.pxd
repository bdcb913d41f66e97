from hvcore.cpu.state cimport Op, State, s64, u32, u64

cdef void fuse(Op *o, Op *jump) noexcept nogil
cdef s64 build(State c, u64 eip) noexcept nogil
cdef s64 build_over(State c, u64 eip, u32 length) noexcept nogil
cdef s64 single(State c, u64 eip) noexcept nogil
