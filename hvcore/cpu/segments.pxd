from hvcore.cpu.state cimport State, u32, u64

cdef u64 read_descriptor(State c, u32 selector, u32 vector, u32 ext) noexcept nogil
cdef u32 level_of(u32 attr) noexcept nogil
cdef u32 is_code(u32 attr) noexcept nogil
cdef u32 conforms(u32 attr) noexcept nogil
cdef u32 fits_code(u32 attr, u32 level) noexcept nogil
cdef u32 fits_stack(u32 attr, u32 selector, u32 level) noexcept nogil
cdef u32 fits_data(u32 attr, u32 selector, u32 cpl) noexcept nogil
cdef void mark_accessed(State c, u32 selector, u64 raw) noexcept nogil
cdef u32 descriptor_base(u64 raw) noexcept nogil
cdef u32 descriptor_limit(u64 raw) noexcept nogil
cdef u32 descriptor_attr(u64 raw) noexcept nogil
cdef void assign(State c, u32 seg, u32 selector, u64 raw) noexcept nogil
cdef void assign_null(State c, u32 seg, u32 selector) noexcept nogil
cdef void assign_real(State c, u32 seg, u32 selector) noexcept nogil
cdef void load(State c, u32 seg, u32 selector) noexcept nogil
cdef void load_ldt(State c, u32 selector) noexcept nogil
cdef void load_tr(State c, u32 selector) noexcept nogil
cdef u64 visible_descriptor(State c, u32 selector, u32 for_lsl) noexcept nogil
cdef u32 verify(State c, u32 selector, u32 write) noexcept nogil
cdef u64 port_map(State c) noexcept nogil
cdef u32 privileged(State c) noexcept nogil
