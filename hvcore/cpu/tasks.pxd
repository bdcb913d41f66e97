from hvcore.cpu.state cimport State, u32, u64

cdef void begin(State c, u32 selector, u32 source, u32 ext, u32 has_error, u32 error) noexcept nogil
cdef void switch(State c, u32 selector, u32 source, u32 ext, u32 has_error, u32 error) noexcept nogil
cdef u32 address_space(State c, u64 tss, u32 code) noexcept nogil
cdef u64 new_tss(State c, u32 selector, u32 source, u32 ext) noexcept nogil
cdef u32 reachable(State c, u64 lin, u64 n, u32 write) noexcept nogil
cdef void mark_busy(State c, u32 selector, u32 busy) noexcept nogil
cdef void save(State c, u64 eflags) noexcept nogil
cdef void load(State c, u32 wide, u32 link, u32 ext) noexcept nogil
cdef void load_ldt(State c, u32 selector, u32 ext) noexcept nogil
cdef void load_stack(State c, u32 selector, u32 rpl, u32 ext) noexcept nogil
cdef void load_code(State c, u32 selector, u32 ext) noexcept nogil
cdef void load_data(State c, u32 seg, u32 selector, u32 ext) noexcept nogil
cdef void keep_fault(State c) noexcept nogil
