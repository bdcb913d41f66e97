from hvcore.cpu.state cimport State, u32, u64

cdef u32 trapped(State c) noexcept nogil
cdef void set_virtual_flag(State c, u32 on) noexcept nogil
cdef u64 virtual_flags(State c) noexcept nogil
cdef void push_flags(State c, u32 size) noexcept nogil
cdef u32 may_load(State c, u64 value, u32 size) noexcept nogil
cdef void load_flags(State c, u64 value) noexcept nogil
cdef void pop_flags(State c, u32 size) noexcept nogil
cdef void interrupt_return(State c, u32 size) noexcept nogil
cdef u32 redirected(State c, u32 vector) noexcept nogil
cdef u32 interrupt(State c, u32 vector) noexcept nogil
cdef void assign(State c, u32 seg, u32 selector) noexcept nogil
cdef void enter(State c, u64 target, u32 selector, u64 value) noexcept nogil
