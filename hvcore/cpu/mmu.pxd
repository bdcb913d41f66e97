from hvcore.cpu.state cimport State, u32, u64

cdef u32 flat(State c) noexcept nogil
cdef void update_blocks(State c) noexcept nogil
cdef void update_segment(State c, u32 seg) noexcept nogil
cdef void update_stack_and_code(State c) noexcept nogil
cdef u32 segment_allows(State c, u32 seg, u64 off, u64 n, u32 write) noexcept nogil
cdef void update_alignment(State c) noexcept nogil
cdef void set_cpl(State c, u32 cpl) noexcept nogil
cdef u64 system_read(State c, u64 lin, u32 n) noexcept nogil
cdef void system_write(State c, u64 lin, u64 value, u32 n) noexcept nogil
cdef u32 misaligned(State c, u64 lin, u32 n) noexcept nogil
cdef u64 read_linear(State c, u64 lin, u32 n) noexcept nogil
cdef void write_linear(State c, u64 lin, u64 value, u32 n) noexcept nogil
cdef u32 writable(State c, u64 lin, u64 n) noexcept nogil
cdef u64 read(State c, u32 seg, u64 off, u32 size) noexcept nogil
cdef void write(State c, u32 seg, u64 off, u64 value, u32 size) noexcept nogil
cdef u64 read_to_modify(State c, u32 seg, u64 off, u32 size) noexcept nogil
cdef u32 check_write(State c, u32 seg, u64 off, u64 n) noexcept nogil
cdef void set_sp(State c, u64 value) noexcept nogil
cdef void push(State c, u64 value, u32 size) noexcept nogil
cdef u64 pop(State c, u32 size) noexcept nogil
cdef u64 peek(State c, u64 n, u32 size) noexcept nogil
cdef void fill_fetch_window(State c, u64 eip) noexcept nogil
cdef void fetch_fault(State c, u64 eip) noexcept nogil
cdef void segment_fault(State c, u32 seg) noexcept nogil
cdef void update_mode(State c) noexcept nogil
