from hvcore.cpu.state cimport State, Op, u32, u64, s64

# Operands in memory that `read_operand` unpacks: bits 1 and 2 of the opcode.
cdef enum:
    REAL32 = 0
    INTEGER32 = 1
    REAL64 = 2
    INTEGER16 = 3

# The upper 16 bits of the decimal indefinite (SDM vol. 1 table 4-4); the lower 64 are below.
cdef enum:
    BCD_INDEFINITE_HIGH = 0xFFFF

# The constants' significands, rounded to nearest (SDM vol. 1 ch. 8.3.8).
cdef extern from *:
    """
    #define PI_SIG 0xC90FDAA22168C235ull
    #define L2T_SIG 0xD49A784BCD1B8AFEull
    #define L2E_SIG 0xB8AA3B295C17F0BCull
    #define LG2_SIG 0x9A209A84FBCFF799ull
    #define LN2_SIG 0xB17217F7D1CF79ACull
    #define BCD_LIMIT 999999999999999999ull
    #define BCD_INDEFINITE 0xC000000000000000ull
    """
    const u64 PI_SIG, L2T_SIG, L2E_SIG, LG2_SIG, LN2_SIG, BCD_LIMIT, BCD_INDEFINITE

cdef u32 read_operand(State c, Op *o, u32 form, u32 v) noexcept nogil
cdef void load_extended(State c, Op *o) noexcept nogil
cdef void load_integer64(State c, Op *o) noexcept nogil
cdef void load_decimal(State c, Op *o) noexcept nogil
cdef void constant(State c, u32 which) noexcept nogil
cdef void conditional_move(State c, u32 code, u32 i) noexcept nogil
cdef void store_real(State c, Op *o, u32 size, u32 pops) noexcept nogil
cdef void store_integer(State c, Op *o, u32 size, u32 pops) noexcept nogil
cdef void store_extended(State c, Op *o) noexcept nogil
cdef void store_decimal(State c, Op *o) noexcept nogil
cdef void store_ten_bytes(State c, Op *o, u64 off, u64 low, u64 high) noexcept nogil
