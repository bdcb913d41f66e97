from hvcore.cpu.state cimport State, Block, Op, u32, u64, s64

cdef void drop_page(State c, u64 page, u64 first, u64 last) noexcept nogil
cdef void drop_all(State c) noexcept nogil
cdef s64 find(State c, u64 at, u32 mode) noexcept nogil
cdef s64 add(State c, u64 at, u32 mode, u32 ops, u32 count, u32 length) noexcept nogil
cdef u64 bucket(u64 at, u64 mode) noexcept nogil
cdef u64 chunk_bits(u64 first, u64 last) noexcept nogil
cdef void add_tail(State c, s64 i, u64 at, u32 length) noexcept nogil
cdef u32 goes_on(State c, s64 i, u64 lin) noexcept nogil
cdef u64 code_bits(State c, s64 i) noexcept nogil
cdef void forget(State c, s64 i) noexcept nogil
cdef void unchain(State c, s64 i) noexcept nogil
