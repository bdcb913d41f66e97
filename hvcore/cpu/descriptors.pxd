from hvcore.cpu.state cimport State, Op, u32, u64

cdef u64 selector_operand(State c, Op *o) noexcept nogil
cdef void store_word(State c, Op *o, u64 value) noexcept nogil
cdef u32 descriptor_access(State c, Op *o, u32 which) noexcept nogil
cdef void descriptor_table(State c, Op *o) noexcept nogil
cdef void access(State c, Op *o) noexcept nogil
