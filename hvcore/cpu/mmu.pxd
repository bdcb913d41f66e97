from hvcore.cpu.state cimport State, Op, u8, u32, u64, s64

cdef void exception(State c, u32 vector, u32 error) noexcept nogil
cdef void exception_plain(State c, u32 vector) noexcept nogil
cdef u32 flat(State c) noexcept nogil
cdef void update_blocks(State c) noexcept nogil
cdef void update_segment(State c, u32 seg) noexcept nogil
cdef void update_stack_and_code(State c) noexcept nogil
cdef void clear(State c) noexcept nogil
cdef void forget(State c, u64 i) noexcept nogil
cdef void forget_stack_pages(State c) noexcept nogil
cdef u32 has_code(State c, u64 i) noexcept nogil
cdef void flush(State c) noexcept nogil
cdef void flush_region(State c, u64 region) noexcept nogil
cdef void forget_in_region(State c, u64 i, u64 region) noexcept nogil
cdef void protect_entry(State c, u64 i, u64 page) noexcept nogil
cdef void protect_code_page(State c, u64 page) noexcept nogil
cdef u32 segment_allows(State c, u32 seg, u64 off, u64 n, u32 write) noexcept nogil
cdef u64 host_time() noexcept nogil
cdef u64 translate(State c, u64 lin, u32 access) noexcept nogil
cdef u64 walk(State c, u64 lin, u32 access) noexcept nogil
cdef void page_fault(State c, u64 lin, u32 access, u32 present) noexcept nogil
cdef u64 table_entry(State c, u64 phys, u64 lin, u32 n) noexcept nogil
cdef u32 pae_paging(State c, u64 cr0, u64 cr4) noexcept nogil
cdef u32 read_pdptes(State c, u64 cr3) noexcept nogil
cdef void latch_pdptes(State c) noexcept nogil
cdef u32 reserved_in(State c, u64 entry) noexcept nogil
cdef void mark_entry(State c, u64 phys, u64 entry, u64 bits, u32 n) noexcept nogil
cdef void flush_local(State c) noexcept nogil
cdef void flush_page(State c, u64 lin) noexcept nogil
cdef void update_alignment(State c) noexcept nogil
cdef void set_cpl(State c, u32 cpl) noexcept nogil
cdef u64 system_read(State c, u64 lin, u32 n) noexcept nogil
cdef void system_write(State c, u64 lin, u64 value, u32 n) noexcept nogil
cdef void fill(State c, u64 lin, u64 phys, s64 slot) noexcept nogil
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
cdef void watch(State c, u64 lin, u32 n, u32 write) noexcept nogil
cdef void arm_breakpoints(State c) noexcept nogil
cdef void update_mode(State c) noexcept nogil
