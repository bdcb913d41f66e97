from hvcore.cpu.state cimport State, s64, u32, u64

cdef s64 locate(State c, u64 phys) noexcept nogil
cdef u64 host_load(State c, u64 at, u32 n) noexcept nogil
cdef void host_store(State c, u64 at, u64 value, u32 n) noexcept nogil
cdef void host_copy(State c, u64 to, u64 source, u64 count, u32 n) noexcept nogil
cdef void host_copy_down(State c, u64 to, u64 source, u64 count, u32 n) noexcept nogil
cdef void host_fill(State c, u64 to, u64 value, u64 count, u64 n) noexcept nogil
cdef u64 load(State c, u64 phys, u64 lin, u32 n) noexcept nogil
cdef void store(State c, u64 phys, u64 lin, u64 value, u32 n) noexcept nogil
cdef u64 mmio_read(State c, u64 phys, u64 lin, u32 n) noexcept nogil
cdef void mmio_write(State c, u64 phys, u64 lin, u64 value, u32 n) noexcept nogil
cdef void stop_for_device(State c, u64 phys, u64 lin, u32 n, u32 write, u64 value) noexcept nogil
