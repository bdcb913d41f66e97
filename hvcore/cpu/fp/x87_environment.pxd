from hvcore.cpu.state cimport State, Op, u32, u64

# The 11 bits of an opcode that FNSTENV shows: three of the first byte, and the second.
cdef enum:
    OPCODE_BITS = 0x7FF

# Where things are in the image of FXSAVE (SDM vol. 1 table 10-2).
cdef enum:
    FX_CONTROL = 0
    FX_STATUS = 2
    FX_TAGS = 4             # a bit for each register that is not empty
    FX_OPCODE = 6
    FX_IP = 8
    FX_CS = 12
    FX_DP = 16
    FX_DS = 20
    FX_MXCSR = 24
    FX_MXCSR_MASK = 28
    FX_REGISTERS = 32       # of 16 bytes each, from the top
    FX_XMM = 160
    FX_SIZE = 512

cdef u32 has_linear_pointers(State c) noexcept nogil
cdef u32 tag_word(State c) noexcept nogil
cdef void store_environment(State c, u32 seg, u64 off, u64 mask, u32 size) noexcept nogil
cdef void load_environment(State c, u32 seg, u64 off, u64 mask, u32 size) noexcept nogil
cdef void environment(State c, Op *o, u32 whole) noexcept nogil
cdef void fxsave(State c, Op *o) noexcept nogil
cdef void fxrstor(State c, Op *o) noexcept nogil
cdef void save_or_restore(State c, Op *o) noexcept nogil
