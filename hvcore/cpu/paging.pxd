from hvcore.cpu.state cimport State, u32, u64

cdef u64 translate(State c, u64 lin, u32 access) noexcept nogil
cdef u64 walk(State c, u64 lin, u32 access) noexcept nogil
cdef u64 piece_of_large_page(State c, u64 lin, u32 access, u64 pde) noexcept nogil
cdef u64 table_entry(State c, u64 phys, u64 lin, u32 n) noexcept nogil
cdef void mark_entry(State c, u64 phys, u64 entry, u64 bits, u32 n) noexcept nogil
cdef void page_fault(State c, u64 lin, u32 access, u32 found) noexcept nogil
cdef u32 pae_paging(State c, u64 cr0, u64 cr4) noexcept nogil
cdef u32 read_pdptes(State c, u64 cr3) noexcept nogil
cdef void latch_pdptes(State c) noexcept nogil
