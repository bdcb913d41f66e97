from hvcore.cpu.state cimport State, Op, u32, u64

# The opcodes' second bytes (SDM vol. 2 table A-3); the prefix says which of several.
cdef enum:
    CVT_TO_REAL = 0x2A      # CVTPI2PS, CVTPI2PD, CVTSI2SS, CVTSI2SD
    CVTT_TO_INTEGER = 0x2C  # CVTTPS2PI and its kin: truncated,
    CVT_TO_INTEGER = 0x2D   # CVTPS2PI and its kin: rounded
    CVT_PRECISION = 0x5A    # CVTPS2PD, CVTPD2PS, CVTSS2SD, CVTSD2SS
    CVT_SINGLES = 0x5B      # CVTDQ2PS, CVTPS2DQ, CVTTPS2DQ
    CVT_DOUBLES = 0xE6      # CVTTPD2DQ, CVTDQ2PD, CVTPD2DQ

cdef u64 integer_of(State c, u32 double_, u64 bits, u32 chop) noexcept nogil
cdef u64 real_of(State c, u32 double_, u64 bits) noexcept nogil
cdef u64 converted(State c, u32 to_double, u64 bits) noexcept nogil
cdef void convert_real(State c, Op *o, u32 pp) noexcept nogil
cdef void convert_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void convert_mixed(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void reals_of(State c, Op *o, u32 pp, u32 packed) noexcept nogil
cdef void integers_of(State c, Op *o, u32 pp, u32 packed, u32 chop) noexcept nogil
