from hvcore.cpu.state cimport State, u32, u64, s64

# Rows of the table: where the coefficients of each series begin, and constants.
cdef enum:
    T_ODD = 0           # 1 / (2k + 1)
    T_EXP = 16          # 1 / (k + 1)!
    T_SIN = 40          # 1 / (2k + 1)!
    T_COS = 54          # 1 / (2k)!
    T_ATAN = 68         # atan(k / 8), k from 0 to 8
    T_LN2 = 77          # these with their top bit set
    T_TWO_LOG2E = 78
    T_PI = 79
    TABLE_SIZE = 80

cdef extern from *:
    """
    #define PI66_LOW 0x243F6A8885A308D3ull      /* of 0x3_243F..., which is pi * 2**64 */
    #define ROOT2 0xB504F333F9DE6484ull         /* a significand: the square root of 2 */
    #define ROOT2_LIMIT 0x95F619980C4336F7ull   /* of the domain of FYL2XP1, 1 - sqrt(2) / 2 */
    """
    const u64 PI66_LOW, ROOT2, ROOT2_LIMIT

cdef u64[160] table     # 80 rows: the higher 64 bits, the lower

cdef void product(State c, u64 ah, u64 al, u64 bh, u64 bl) noexcept nogil
cdef void series(State c, u32 first, u32 terms, u64 zh, u64 zl, u32 alternate) noexcept nogil
cdef void times(State c, s64 exp, u64 hi, u64 lo) noexcept nogil
cdef u64 quotient_digit(State c, u64 rh, u64 rl, u64 dh, u64 dl) noexcept nogil
cdef void over(State c, s64 exp, u64 hi, u64 lo) noexcept nogil
cdef void squared_series(State c, u32 first, u32 terms, u32 alternate) noexcept nogil
cdef void done(State c) noexcept nogil
cdef u32 denormal_stops(State c) noexcept nogil
cdef void exponential(State c) noexcept nogil
cdef void logarithm(State c, s64 exp, u64 sig) noexcept nogil
cdef void logarithm_plus_1(State c) noexcept nogil
cdef void y_times(State c, u32 inexact) noexcept nogil
cdef void y_log_x(State c) noexcept nogil
cdef void y_log_x_plus_1(State c) noexcept nogil
cdef void arctangent(State c) noexcept nogil
cdef void arctangent_finite(State c) noexcept nogil
cdef void arctangent_of_fraction(State c) noexcept nogil
cdef void from_axis(State c, u32 vertical, u32 beyond) noexcept nogil
cdef u32 reduce(State c) noexcept nogil
cdef void sine(State c, u32 quadrant, s64 exp, u64 hi, u64 lo) noexcept nogil
cdef void trigonometric(State c, u32 which) noexcept nogil
cdef void trigonometric_of_zero(State c, u32 which, u32 pair) noexcept nogil
cdef void trigonometric_of_finite(State c, u32 which) noexcept nogil
cdef void tangent(State c, u32 quadrant, u32 sign, s64 exp, u64 hi, u64 lo) noexcept nogil
cdef void execute(State c, u32 which) noexcept nogil
