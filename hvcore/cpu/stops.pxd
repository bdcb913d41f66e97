from hvcore.cpu.state cimport State, Op, u32, u64

cdef void stop(State c, u32 kind, Op *o) noexcept nogil
cdef void describe_operand(State c, Op *o) noexcept nogil
cdef void access_register(State c, Op *o, u32 kind, u32 number, u32 mask) noexcept nogil
