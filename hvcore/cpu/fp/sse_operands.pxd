from hvcore.cpu.state cimport State, Op, u32, u64

# The mandatory prefix: none, 66, F3, F2. Bit 0 is set for double precision, bit 1 for one element.
cdef enum:
    NP = 0
    P66 = 1
    PF3 = 2
    PF2 = 3

# MXCSR (SDM vol. 1 ch. 10.2.3).
cdef enum:
    DAZ = 0x40          # denormals are zeros
    FTZ = 0x8000        # tiny results become zero
    MXCSR_MASK = 0xFFFF # the bits that may be set; FXSAVE says so too

cdef void enter_mmx(State c) noexcept nogil
cdef void set_mm(State c, u32 i, u64 value) noexcept nogil
cdef u32 fetch(State c, Op *o, u32 size, u32 aligned) noexcept nogil
cdef void store(State c, Op *o, u32 size, u32 aligned) noexcept nogil
