from hvcore.cpu.jit.traits cimport (
    SETS, READS, EXITS, CALLS, KEEPS_CARRY,
    MODIFIES, TOUCHES, BRANCHES, MAY_WAIT, LETS_WAIT, UNTRANSLATED,
)
from hvcore.cpu.jit.translation cimport Stub, Translation
from hvcore.cpu.state cimport Op, State, s64, u8, u16, u32, u64

cdef u16[320] traits_of     # by kind,
cdef u8[320] sizes_of       # and for which operand sizes: bit 0 for 8 bits, 1 for 16, 2 for 32
cdef u8[320] locked_of      # whether with LOCK too

cpdef void enable(State c) except *
cdef u32 interpret(State c, u32 j) noexcept nogil
cdef u32 traits(Translation *t, Op *o) noexcept nogil
cdef void translate(State c, s64 block) noexcept nogil
cdef void emit_block(State c, s64 block) noexcept nogil
cdef void find_live_flags(State c, Translation *t, u32 first, u32 count) noexcept nogil
cdef u32 emit_operation(State c, Translation *t, Op *o, u32 first, u32 j, u32 count) noexcept nogil
cdef void emit_return_to_caller(State c, Translation *t, u64 taken) noexcept nogil
cdef void emit_stub(State c, Translation *t, Stub *s, u32 first) noexcept nogil
cdef void emit_interpreting_stub(State c, Translation *t, Stub *s, u32 first) noexcept nogil
cdef void emit_call_interpreter(State c, Translation *t, Op *o, u32 first, u32 j, u32 count) noexcept nogil
cdef u32 changes_segments(Op *o) noexcept nogil
cdef u32 changes_masks(Op *o) noexcept nogil
