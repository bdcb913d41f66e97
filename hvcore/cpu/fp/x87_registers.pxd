from hvcore.cpu.state cimport State, u32, u64

# The status word (SDM vol. 1 figure 8-4).
cdef enum:
    C0 = 0x100
    C1 = 0x200
    C2 = 0x400
    C3 = 0x4000
    CONDITIONS = 0x4700 # C0 to C3
    SUMMARY = 0x80      # ES
    BUSY = 0x8000       # B
    STATUS_BITS = 0x477F    # what stands by itself: not TOP, ES and B

cdef enum:
    FCHS = 0x0          # D9 E0 to D9 FF, by the second byte without E0 (SDM vol. 2 table A-10)
    FABS = 0x1
    FTST = 0x4
    FXAM = 0x5
    FLD1 = 0x8          # the constants, to FLDZ
    FLDL2T = 0x9
    FLDL2E = 0xA
    FLDPI = 0xB
    FLDLG2 = 0xC
    FLDLN2 = 0xD
    FLDZ = 0xE
    F2XM1 = 0x10
    FYL2X = 0x11
    FPTAN = 0x12
    FPATAN = 0x13
    FXTRACT = 0x14
    FPREM1 = 0x15
    FDECSTP = 0x16
    FINCSTP = 0x17
    FPREM = 0x18
    FYL2XP1 = 0x19
    FSQRT = 0x1A
    FSINCOS = 0x1B
    FRNDINT = 0x1C
    FSCALE = 0x1D
    FSIN = 0x1E
    FCOS = 0x1F

# The control word: the bits that can be written, the one that is always set, and its values after resets.
cdef enum:
    CONTROL_BITS = 0x1F3F
    CONTROL_FIXED = 0x40
    CONTROL_POWER_ON = 0x40
    CONTROL_FNINIT = 0x37F

# Tags (SDM vol. 1 figure 8-7).
cdef enum:
    TAG_VALID = 0
    TAG_ZERO = 1
    TAG_SPECIAL = 2
    TAG_EMPTY = 3

cdef void power_on(State c) noexcept nogil
cdef void initialise(State c) noexcept nogil
cdef void summarise(State c) noexcept nogil
cdef u32 pending(State c) noexcept nogil
cdef u32 full(State c, u32 i) noexcept nogil
cdef void load_register(State c, u32 v, u32 i) noexcept nogil
cdef void set_register(State c, u32 i, u32 se, u64 sig) noexcept nogil
cdef void pop(State c) noexcept nogil
cdef void push(State c, u32 se, u64 sig) noexcept nogil
cdef u32 conclude(State c) noexcept nogil
cdef u32 answer(State c, u32 i) noexcept nogil
cdef void answer_twice(State c) noexcept nogil
cdef void push_answer(State c) noexcept nogil
cdef void stack_underflow(State c) noexcept nogil
cdef u32 stack_overflow(State c) noexcept nogil
cdef u32 load_top(State c) noexcept nogil
cdef u32 load_pair(State c, u32 i) noexcept nogil
cdef u32 precision(State c) noexcept nogil
cdef u32 status_word(State c) noexcept nogil
cdef void set_status_word(State c, u32 value) noexcept nogil
cdef void put_control(State c, u32 value) noexcept nogil
cdef void set_control(State c, u32 value) noexcept nogil
cdef void put_tags(State c, u32 tags) noexcept nogil
cdef u32 one_nan(State c) noexcept nogil
cdef u32 choose_nan(State c) noexcept nogil
cdef void push_operand(State c) noexcept nogil
