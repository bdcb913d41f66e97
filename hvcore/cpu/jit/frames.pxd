from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, s64, u32, u64

cdef u32 translated(Translation *t, Op *o) noexcept nogil
cdef void emit(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_push_all(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_pop_all(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_enter(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_push_selector(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_store_selector(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_store_part(State c, u32 size, u32 reg, u64 disp) noexcept nogil
