from hvcore.cpu.state cimport State, Op, u8, u16, u32, u64, s64

cdef enum:
    C0 = 0x100
    C1 = 0x200
    C2 = 0x400
    C3 = 0x4000
    CONDITIONS = 0x4700
    SUMMARY = 0x80
    BUSY = 0x8000

cdef extern from *:
    """
    #define PI_SIG 0xC90FDAA22168C235ull
    #define L2T_SIG 0xD49A784BCD1B8AFEull
    #define L2E_SIG 0xB8AA3B295C17F0BCull
    #define LG2_SIG 0x9A209A84FBCFF799ull
    #define LN2_SIG 0xB17217F7D1CF79ACull
    #define MXCSR_DEFAULT 0x1F80
    #define BCD_LIMIT 999999999999999999ull
    #define BCD_INDEFINITE 0xC000000000000000ull
    """
    const u64 PI_SIG, L2T_SIG, L2E_SIG, LG2_SIG, LN2_SIG, BCD_LIMIT, BCD_INDEFINITE

cdef void power_on(State c) noexcept nogil
cdef void initialise(State c) noexcept nogil
cdef void wait(State c) noexcept nogil
cdef u32 pending(State c) noexcept nogil
cdef void summarise(State c) noexcept nogil
cdef u32 full(State c, u32 i) noexcept nogil
cdef void load_register(State c, u32 v, u32 i) noexcept nogil
cdef void set_register(State c, u32 i, u32 se, u64 sig) noexcept nogil
cdef void pop(State c) noexcept nogil
cdef void push(State c, u32 se, u64 sig) noexcept nogil
cdef u32 conclude(State c) noexcept nogil
cdef u32 answer(State c, u32 i) noexcept nogil
cdef void stack_underflow(State c) noexcept nogil
cdef u32 stack_overflow(State c) noexcept nogil
cdef u32 choose_nan(State c) noexcept nogil
cdef u32 one_nan(State c) noexcept nogil
cdef u32 precision(State c) noexcept nogil
cdef void arithmetic(State c, u32 op, u32 dest, u32 pops) noexcept nogil
cdef u32 relation(State c, u32 quiet) noexcept nogil
cdef void compare_registers(State c, u32 quiet, u32 pops) noexcept nogil
cdef void compare_flags(State c, u32 i, u32 quiet, u32 pops) noexcept nogil
cdef void examine(State c) noexcept nogil
cdef void load(State c) noexcept nogil
cdef void constant(State c, u32 which) noexcept nogil
cdef void conditional_move(State c, u32 code, u32 i) noexcept nogil
cdef void round_to_integer(State c) noexcept nogil
cdef void extract(State c) noexcept nogil
cdef void scale(State c) noexcept nogil
cdef void partial_remainder(State c, u32 nearest) noexcept nogil
cdef void store_real(State c, Op *o, u32 size, u32 pops) noexcept nogil
cdef void store_integer(State c, Op *o, u32 size, u32 pops) noexcept nogil
cdef void store_extended(State c, Op *o) noexcept nogil
cdef void load_decimal(State c, Op *o) noexcept nogil
cdef void store_decimal(State c, Op *o) noexcept nogil
cdef u32 read_operand(State c, Op *o, u32 form) noexcept nogil
cdef u32 tag_word(State c) noexcept nogil
cdef u32 status_word(State c) noexcept nogil
cdef void set_status_word(State c, u32 value) noexcept nogil
cdef void set_control(State c, u32 value) noexcept nogil
cdef void store_environment(State c, u32 seg, u64 off, u64 mask, u32 size) noexcept nogil
cdef void load_environment(State c, u32 seg, u64 off, u64 mask, u32 size) noexcept nogil
cdef void environment(State c, Op *o) noexcept nogil
cdef void fxsave(State c, Op *o) noexcept nogil
cdef void fxrstor(State c, Op *o) noexcept nogil
cdef void save_or_restore(State c, Op *o) noexcept nogil
cdef u32 is_control(Op *o) noexcept nogil
cdef u32 waits(Op *o) noexcept nogil
cdef u32 reserved(Op *o) noexcept nogil
cdef void register_form(State c, Op *o) noexcept nogil
cdef void one_operand(State c, Op *o) noexcept nogil
cdef void memory_form(State c, Op *o) noexcept nogil
cdef void execute(State c, Op *o, u64 eip) noexcept nogil
