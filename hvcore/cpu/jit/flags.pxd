from hvcore.cpu.state cimport Op, State, u32, u64

cdef enum:
    ALL = 1                 # which of an operation's flags are wanted: every one,
    CARRY = 2               # or CF alone

cdef enum:
    HOST_CF = 1             # which of the guest's flags stand in the host's
    HOST_ZF = 2             # ZF, SF, PF
    HOST_OF = 4
    HOST_ALL = 7

cdef enum:
    UNKNOWN = 99            # in place of a `cc_op`: whatever the block began with

cdef void routines(State c) noexcept nogil
cdef void carry_routine(State c) noexcept nogil
cdef void status_routine(State c) noexcept nogil
cdef void ask(State c, void *function) noexcept nogil
cdef void answered(State c) noexcept nogil
cdef void remember(State c, u32 live, u32 op, u32 size, u32 reg) noexcept nogil
cdef void keep_carry(State c, u32 live, u32 condition) noexcept nogil
cdef void keep_operands(State c, u32 live) noexcept nogil
cdef void sized(State c, u32 op, u32 size, u32 reg, u32 rm) noexcept nogil
cdef void carry_to_host(State c) noexcept nogil
cdef u32 prepare(State c, u32 code) noexcept nogil
cdef void arithmetic(State c, u32 sub, u32 live, u32 size) noexcept nogil
cdef void arithmetic_in_place(State c, Op *o, u32 sub, u32 live, u32 immediate) noexcept nogil
cdef void stand_carry(State c, u32 live) noexcept nogil
cdef void step(State c, u32 live, u32 down, u32 reg) noexcept nogil
cdef void shifted(State c, u32 live, u32 op, u32 count, u32 reg) noexcept nogil
cdef void rotate(State c, Op *o, u32 live) noexcept nogil
cdef void shift_by_cl(State c, Op *o, u32 live) noexcept nogil
cdef void count_to_ecx(State c, Op *o) noexcept nogil
cdef void put_result(State c, Op *o) noexcept nogil
cdef void call_shift(State c, Op *o) noexcept nogil
cdef void call_double_shift(State c, Op *o) noexcept nogil
cdef void multiplied(State c, u32 live, u32 reg, u32 rm) noexcept nogil
cdef void keep_product_flags(State c, u32 live, u32 reg) noexcept nogil
