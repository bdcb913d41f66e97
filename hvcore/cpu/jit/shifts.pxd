from hvcore.cpu.jit.traits cimport READS, SETS, TOUCHES
from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef u32 traits(Op *o) noexcept nogil
cdef void emit(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef u32 emit_count(State c, Translation *t) noexcept nogil
cdef void emit_rotated(State c, Translation *t, u32 op, u32 size, u32 by_cl, u32 count) noexcept nogil
cdef void emit_rotation_flags(State c, Translation *t, u32 op, u32 size) noexcept nogil
cdef void emit_shifted(State c, Translation *t, u32 op, u32 size, u32 by_cl, u32 count) noexcept nogil
cdef void emit_shift_flags(State c, Translation *t, u32 op, u32 size) noexcept nogil
cdef void emit_by_constant(State c, Translation *t, u32 live, u32 op, u32 count, u32 reg) noexcept nogil
cdef void emit_double(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
