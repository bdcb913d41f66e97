from hvcore.cpu.state cimport State, Op, u32, u64

cdef u32 tag_word(State c) noexcept nogil
cdef void store_environment(State c, u32 seg, u64 off, u64 mask, u32 size) noexcept nogil
cdef void load_environment(State c, u32 seg, u64 off, u64 mask, u32 size) noexcept nogil
cdef void environment(State c, Op *o) noexcept nogil
cdef void fxsave(State c, Op *o) noexcept nogil
cdef void fxrstor(State c, Op *o) noexcept nogil
cdef void save_or_restore(State c, Op *o) noexcept nogil
