from hvcore.cpu.state cimport State, u32, u64, s64

# The opcodes' second bytes (SDM vol. 2 table A-3). With a prefix 66 they are SSE2's, of the same names.
cdef enum:
    PUNPCKLBW = 0x60
    PUNPCKLWD = 0x61
    PUNPCKLDQ = 0x62
    PACKSSWB = 0x63
    PCMPGTB = 0x64
    PCMPGTW = 0x65
    PCMPGTD = 0x66
    PACKUSWB = 0x67
    PUNPCKHBW = 0x68
    PUNPCKHWD = 0x69
    PUNPCKHDQ = 0x6A
    PACKSSDW = 0x6B
    PUNPCKLQDQ = 0x6C
    PUNPCKHQDQ = 0x6D
    SHIFT_WORDS = 0x71      # group 12: by an immediate; which shift is in ModRM.reg, as below
    SHIFT_DWORDS = 0x72     # group 13
    SHIFT_QWORDS = 0x73     # group 14
    PCMPEQB = 0x74
    PCMPEQW = 0x75
    PCMPEQD = 0x76
    EMMS = 0x77
    PSRLW = 0xD1
    PSRLD = 0xD2
    PSRLQ = 0xD3
    PADDQ = 0xD4
    PMULLW = 0xD5
    PMOVMSKB = 0xD7
    PSUBUSB = 0xD8
    PSUBUSW = 0xD9
    PMINUB = 0xDA
    PAND = 0xDB
    PADDUSB = 0xDC
    PADDUSW = 0xDD
    PMAXUB = 0xDE
    PANDN = 0xDF
    PAVGB = 0xE0
    PSRAW = 0xE1
    PSRAD = 0xE2
    PAVGW = 0xE3
    PMULHUW = 0xE4
    PMULHW = 0xE5
    PSUBSB = 0xE8
    PSUBSW = 0xE9
    PMINSW = 0xEA
    POR = 0xEB
    PADDSB = 0xEC
    PADDSW = 0xED
    PMAXSW = 0xEE
    PXOR = 0xEF
    PSLLW = 0xF1
    PSLLD = 0xF2
    PSLLQ = 0xF3
    PMULUDQ = 0xF4
    PMADDWD = 0xF5
    PSADBW = 0xF6
    PSUBB = 0xF8
    PSUBW = 0xF9
    PSUBD = 0xFA
    PSUBQ = 0xFB
    PADDB = 0xFC
    PADDW = 0xFD
    PADDD = 0xFE            # Which shift: ModRM.reg of groups 12 to 14 (SDM vol. 2 table A-6).
cdef enum:
    SRL = 2
    SRL_BYTES = 3       # PSRLDQ, of a whole XMM register
    SRA = 4
    SLL = 6
    SLL_BYTES = 7       # PSLLDQ

cdef u32 lane_bits(u32 op) noexcept nogil
cdef s64 clamp(s64 v, s64 least, s64 most) noexcept nogil
cdef u64 lane(u32 op, u64 x, u64 y, u32 bits) noexcept nogil
cdef u64 packed(u32 op, u64 a, u64 b) noexcept nogil
cdef u64 multiply_add(u64 a, u64 b) noexcept nogil
cdef u64 sum_of_differences(u64 a, u64 b) noexcept nogil
cdef u64 narrow(u32 op, u64 v) noexcept nogil
cdef u64 interleave(u64 a, u64 b, u32 bits) noexcept nogil
cdef u32 immediate_shifts(u32 op, u32 whole) noexcept nogil
cdef u64 shifted(u32 how, u32 bits, u64 v, u64 count) noexcept nogil
cdef u32 sign_mask(u64 v) noexcept nogil
cdef u64 shuffle_words(u64 v, u32 order) noexcept nogil
