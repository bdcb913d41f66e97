from hvcore.cpu.state cimport State, u32, u64, s64

cdef u32 lane_bits(u32 op) noexcept nogil
cdef s64 clamp(s64 v, s64 least, s64 most) noexcept nogil
cdef u64 lane(u32 op, u64 x, u64 y, u32 bits) noexcept nogil
cdef u64 packed(u32 op, u64 a, u64 b) noexcept nogil
cdef u64 multiply_add(u64 a, u64 b) noexcept nogil
cdef u64 sum_of_differences(u64 a, u64 b) noexcept nogil
cdef u64 narrow(u32 op, u64 v) noexcept nogil
cdef u64 interleave(u64 a, u64 b, u32 bits) noexcept nogil
cdef u64 shifted(u32 how, u32 bits, u64 v, u64 count) noexcept nogil
cdef u32 sign_mask(u64 v) noexcept nogil
cdef u64 shuffle_words(u64 v, u32 order) noexcept nogil
