from hvcore.cpu.state cimport State, u32, u64, s64

cdef void clear(State c) noexcept nogil
cdef void forget(State c, u64 i) noexcept nogil
cdef void forget_stack_pages(State c) noexcept nogil
cdef u32 has_code(State c, u64 i) noexcept nogil
cdef void fill(State c, u64 lin, u64 phys, s64 slot) noexcept nogil
cdef void flush(State c) noexcept nogil
cdef void flush_local(State c) noexcept nogil
cdef void flush_page(State c, u64 lin) noexcept nogil
cdef void flush_region(State c, u64 region) noexcept nogil
cdef void forget_in_region(State c, u64 i, u64 region) noexcept nogil
cdef void protect_code_page(State c, u64 page) noexcept nogil
cdef void protect_entry(State c, u64 i, u64 page) noexcept nogil
