from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef void emit(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_once(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_comparison(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_repeated(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef u32 emit_look_up_run(State c, Translation *t, u32 tag) noexcept nogil
