from hvcore.cpu.state cimport State, Op, u32, u64

# The opcodes' second bytes (SDM vol. 2 table A-3).
cdef enum:
    LOAD = 0x10             # MOVUPS, MOVUPD, MOVSS, MOVSD
    STORE = 0x11
    LOAD_LOW = 0x12         # MOVLPS, MOVLPD, MOVHLPS
    STORE_LOW = 0x13
    UNPCKL = 0x14
    UNPCKH = 0x15
    LOAD_HIGH = 0x16        # MOVHPS, MOVHPD, MOVLHPS
    STORE_HIGH = 0x17
    LOAD_ALIGNED = 0x28     # MOVAPS, MOVAPD
    STORE_ALIGNED = 0x29
    MOVNTP = 0x2B           # MOVNTPS, MOVNTPD
    MOVMSK = 0x50
    MOVD_LOAD = 0x6E
    MOVQ_LOAD = 0x6F        # MOVQ of MM registers, MOVDQA, MOVDQU
    PSHUF = 0x70            # PSHUFW, PSHUFD, PSHUFHW, PSHUFLW
    MOVD_STORE = 0x7E       # with F3, MOVQ from memory or a register
    MOVQ_STORE = 0x7F
    MOVNTI = 0xC3
    PINSRW = 0xC4
    PEXTRW = 0xC5
    SHUFP = 0xC6
    MOVQ_BETWEEN = 0xD6     # MOVQ to memory, MOVQ2DQ, MOVDQ2Q
    MOVNTQ = 0xE7           # and MOVNTDQ
    MASKMOV = 0xF7          # MASKMOVQ, MASKMOVDQU

cdef void move_float(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void move_integer(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void shuffle(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void shuffle_integers(State c, u32 d, u32 order, u32 pp) noexcept nogil
cdef void shuffle_reals(State c, u32 d, u32 order, u32 pp) noexcept nogil
cdef void masked_store(State c, Op *o, u32 pp) noexcept nogil
