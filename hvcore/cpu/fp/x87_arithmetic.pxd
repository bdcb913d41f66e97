from hvcore.cpu.state cimport State, u32, s64

# A quotient for `partial_remainder` that `softfloat.remainder` never has.
cdef enum:
    NOT_DIVIDED = 16

cdef void arithmetic(State c, u32 op, u32 dest, u32 pops) noexcept nogil
cdef void round_to_integer(State c) noexcept nogil
cdef void extract(State c) noexcept nogil
cdef void scale(State c) noexcept nogil
cdef void scale_by_infinity(State c) noexcept nogil
cdef s64 integer_part(State c) noexcept nogil
cdef void partial_remainder(State c, u32 nearest) noexcept nogil
cdef u32 relation(State c, u32 quiet) noexcept nogil
cdef void compare_registers(State c, u32 quiet, u32 pops) noexcept nogil
cdef void compare_flags(State c, u32 i, u32 quiet, u32 pops) noexcept nogil
cdef void examine(State c) noexcept nogil
