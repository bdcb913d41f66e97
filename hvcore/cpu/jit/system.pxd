from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, s64, u32, u64

cdef u32 translated(Translation *t, Op *o) noexcept nogil
cdef void emit(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_push_flags(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_pop_flags(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_interrupt_flag(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_time_stamp(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_pause(State c, Translation *t, u32 j, Op *o) noexcept nogil
