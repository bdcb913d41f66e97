from hvcore.cpu.state cimport State, u8, u16, u32, u64, s64

cdef extern from *:
    """
    #define TOP 0x8000000000000000ull           /* a significand's leading one */
    #define QUIET_BIT 0x4000000000000000ull     /* set in a quiet NaN */
    #define DEFAULT_NAN 0xC000000000000000ull   /* of the real indefinite */
    #define BELOW_TOP 0x7FFFFFFFFFFFFFFFull
    #define FRACTION64 0x000FFFFFFFFFFFFFull    /* of double precision, in memory */
    #define LEADING_ZEROS(v) ((unsigned)__builtin_clzll(v))
    """
    const u64 TOP, QUIET_BIT, DEFAULT_NAN, BELOW_TOP, FRACTION64
    u32 LEADING_ZEROS(u64 v) noexcept nogil

# What an operand is. NaNs and what else no arithmetic is done with come last.
cdef enum:
    ZERO = 0
    FINITE = 1
    INFINITE = 2
    QUIET = 3
    SIGNALLING = 4
    UNSUPPORTED = 5     # double extended without its integer bit (SDM vol. 1 table 8-3)

# Exceptions, as in the status word and MXCSR (SDM vol. 1 ch. 4.9.1).
cdef enum:
    IE = 0x1                # invalid operation
    DE = 0x2                # denormal operand
    ZE = 0x4                # division by zero
    OE = 0x8                # overflow
    UE = 0x10               # underflow
    PE = 0x20               # precision: the result is inexact
    EXCEPTIONS = 0x3F       # all six, and the bits that mask them
    STACK_FAULT = 0x40      # of the x87's status word alone

# Rounding control, as in the control word and MXCSR (SDM vol. 1 table 4-8).
cdef enum:
    NEAREST = 0
    DOWN = 1
    UP = 2
    CHOP = 3

# Bits of a significand, the leading one too.
cdef enum:
    PREC32 = 24
    PREC64 = 53
    PREC80 = 64

# Exponents, of all formats, as double extended precision has them: least and most of normal numbers.
cdef enum:
    BIAS = 16383
    SPECIAL_EXP = 0x7FFF    # infinities and NaNs
    NEGATIVE_SPECIAL = 0xFFFF   # the same with a sign: the real indefinite has it
    MIN80 = 1
    MAX80 = 32766
    MIN32 = 16257           # BIAS - 126
    MAX32 = 16510           # BIAS + 127
    MIN64 = 15361           # BIAS - 1022
    MAX64 = 17406           # BIAS + 1023
    WRAP = 24576            # what an exponent is wrapped by (SDM vol. 1 ch. 8.5.4)

# Operations, as ModRM.reg of D8 and DC numbers them.
cdef enum:
    OP_ADD = 0
    OP_MUL = 1
    OP_SUB = 4
    OP_SUBR = 5             # operand 1 less operand 0
    OP_DIV = 6
    OP_DIVR = 7

# What `compare` says of operand 0.
cdef enum:
    GREATER = 0
    LESS = 1
    EQUAL = 2
    UNORDERED = 3

cdef u64 multiply_high(u64 a, u64 b) noexcept nogil
cdef u64 divide_wide(u64 hi, u64 lo, u64 d) noexcept nogil
cdef void load80(State c, u32 i, u32 se, u64 sig) noexcept nogil
cdef void load32(State c, u32 i, u64 bits) noexcept nogil
cdef void load64(State c, u32 i, u64 bits) noexcept nogil
cdef void load_integer(State c, u32 i, u32 sign, u64 magnitude) noexcept nogil
cdef void load_finite(State c, u32 i, s64 exp, u64 sig) noexcept nogil
cdef void give(State c, u32 sign, s64 exp, u64 sig) noexcept nogil
cdef void give_operand(State c, u32 i) noexcept nogil
cdef void give_nan(State c) noexcept nogil
cdef void give_invalid(State c) noexcept nogil
cdef u32 sign_exponent(State c) noexcept nogil
cdef u64 pack32(State c) noexcept nogil
cdef u64 pack64(State c) noexcept nogil
cdef void shift_right(State c, s64 n) noexcept nogil
cdef void normalise(State c) noexcept nogil
cdef u32 rounds_up(State c, u64 lsb, u64 rest) noexcept nogil
cdef u32 round_significand(State c, u32 prec) noexcept nogil
cdef void finish(State c, u32 prec, s64 least, s64 most) noexcept nogil
cdef void add_finite(State c, u32 i, u32 j, u32 negate) noexcept nogil
cdef void multiply_finite(State c) noexcept nogil
cdef void divide_finite(State c, u32 i, u32 j) noexcept nogil
cdef void square_root_finite(State c) noexcept nogil
cdef u32 undefined(State c, u32 op, u32 a, u32 b, u32 sign) noexcept nogil
cdef u32 multiply(State c, u32 sign) noexcept nogil
cdef u32 divide(State c, u32 i, u32 j, u32 sign) noexcept nogil
cdef u32 add(State c, u32 i, u32 j, u32 negate) noexcept nogil
cdef void operate(State c, u32 op, u32 prec, s64 least, s64 most) noexcept nogil
cdef void square_root(State c, u32 prec, s64 least, s64 most) noexcept nogil
cdef u32 compare(State c) noexcept nogil
cdef void set_relation(State c, u32 relation) noexcept nogil
cdef u32 to_integer(State c) noexcept nogil
cdef u32 remainder(State c, u32 nearest) noexcept nogil
