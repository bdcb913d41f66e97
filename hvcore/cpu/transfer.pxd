from hvcore.cpu.state cimport State, Op, u32, u64

cdef u32 enter_code(State c, u32 selector, u64 raw, u64 target, u32 rpl) noexcept nogil
cdef void far_jump(State c, u32 selector, u64 target, u32 size, u32 call) noexcept nogil
cdef void through_gate(State c, u32 selector, u64 gate, u32 call) noexcept nogil
cdef void far_return(State c, u32 size, u64 release) noexcept nogil
cdef void interrupt_return(State c, u32 size) noexcept nogil
cdef void pop_flags(State c, u64 value, u32 size, u32 cpl) noexcept nogil
cdef void return_flags(State c, u64 value, u32 size, u32 cpl) noexcept nogil
cdef void drop_outer_segments(State c) noexcept nogil
cdef void return_outer(State c, u32 size, u32 selector, u64 raw, u64 target, u32 selector_ss, u64 sp) noexcept nogil
cdef u64 return_descriptor(State c, u32 selector) noexcept nogil
cdef void flat_segment(State c, u32 seg, u32 selector, u32 attr) noexcept nogil
cdef void system_enter(State c) noexcept nogil
cdef void system_exit(State c) noexcept nogil
