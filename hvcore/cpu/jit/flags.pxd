from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32, u64

cdef enum:
    ALL = 1                 # which of an operation's flags are wanted: every one,
    CARRY = 2               # or CF alone,
    WAITING = 3             # or every one, but by stubs alone, which compute them from the operands (waiting.py)

cdef enum:
    HOST_CF = 1             # which of the guest's flags stand in the host's
    HOST_ZF = 2             # ZF, SF, PF
    HOST_OF = 4
    HOST_ALL = 7

cdef enum:
    UNKNOWN = 99            # in place of a `cc_op`: whatever the block began with

cdef void forget(Translation *t) noexcept nogil
cdef u32 keeps_operands(u32 live) noexcept nogil
cdef void emit_routines(State c) noexcept nogil
cdef void emit_carry_routine(State c) noexcept nogil
cdef void emit_status_routine(State c) noexcept nogil
cdef void emit_ask(State c, void *function) noexcept nogil
cdef void emit_answered(State c) noexcept nogil
cdef void emit_remember(State c, Translation *t, u32 live, u32 op, u32 size, u32 reg) noexcept nogil
cdef void emit_keep_carry(State c, u32 live, u32 condition) noexcept nogil
cdef void emit_keep_operands(State c, u32 live) noexcept nogil
cdef void emit_carry_to_host(State c, Translation *t) noexcept nogil
cdef void emit_all(State c, Translation *t) noexcept nogil
cdef void emit_to_ah(State c, Translation *t) noexcept nogil
cdef void emit_call_for_carry(State c, Translation *t) noexcept nogil
cdef void emit_keep_compared(State c) noexcept nogil
cdef u32 emit_condition(State c, Translation *t, u32 code) noexcept nogil
cdef void emit_arithmetic(State c, Translation *t, u32 sub, u32 live, u32 size) noexcept nogil
cdef void emit_arithmetic_in_place(State c, Translation *t, Op *o, u32 sub, u32 live, u32 immediate) noexcept nogil
cdef void emit_stand_carry(State c, Translation *t, u32 live) noexcept nogil
cdef void emit_step(State c, Translation *t, u32 live, u32 down, u32 reg) noexcept nogil
cdef void emit_set_apart(State c, Translation *t, u32 which) noexcept nogil
cdef void emit_store_carry(State c, Translation *t, u32 kind) noexcept nogil
cdef void emit_from_ah(State c, Translation *t) noexcept nogil
cdef void emit_step_sized(State c, Translation *t, u32 live, u32 down, u32 size) noexcept nogil
cdef void emit_multiplied(State c, Translation *t, u32 live, u32 reg, u32 rm) noexcept nogil
cdef void emit_multiplied_words(State c, Translation *t, Op *o, u32 live) noexcept nogil
cdef void emit_keep_product_flags(State c, Translation *t, u32 live, u32 size, u32 reg) noexcept nogil
