from hvcore.cpu.state cimport State, Op, u32, u64

# The mandatory prefix.
cdef enum:
    NP = 0
    P66 = 1
    PF3 = 2
    PF2 = 3

# MXCSR.
cdef enum:
    DAZ = 0x40
    FTZ = 0x8000

cdef u32 enter_mmx(State c) noexcept nogil
cdef void set_mm(State c, u32 i, u64 value) noexcept nogil
cdef u32 fetch(State c, Op *o, u32 size, u32 aligned) noexcept nogil
cdef void store(State c, Op *o, u32 size, u32 aligned) noexcept nogil
