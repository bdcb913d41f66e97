from hvcore.cpu.state cimport State, Op, u32, u64

cdef u32 intr_level(State c) noexcept nogil
cdef u32 attend(State c) noexcept nogil
cdef u32 wanted(State c, u32 vector, u32 error) noexcept nogil
cdef u32 raise_event(State c, u32 vector, u32 kind, u32 error, u32 has_error, u32 length) noexcept nogil
cdef u32 handle_fault(State c) noexcept nogil
cdef void start_shadow(State c, u32 which) noexcept nogil
cdef void describe_exception(State c, u32 vector, u32 kind, u32 error, u32 has_error, u32 length) noexcept nogil
