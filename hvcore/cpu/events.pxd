from hvcore.cpu.state cimport State, u32, u64

cdef void deliver(State c, u32 vector, u32 kind, u32 error, u32 has_error, u32 length) noexcept nogil
cdef void deliver_real(State c, u32 vector) noexcept nogil
cdef void deliver_protected(State c, u32 vector, u32 kind, u32 error, u32 has_error) noexcept nogil
cdef void inner_stack(State c, u32 dpl, u32 ext) noexcept nogil
cdef u32 contributory(u32 vector) noexcept nogil
cdef u32 combine(State c, u32 first, u32 second) noexcept nogil
cdef u32 resumes(State c, u32 vector, u32 kind) noexcept nogil
cdef void push_segments(State c, u32 size) noexcept nogil
cdef void push_frame(State c, u64 eflags, u32 size) noexcept nogil
