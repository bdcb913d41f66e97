from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef u32 translated(Translation *t, Op *o) noexcept nogil
cdef u32 compares(Op *o) noexcept nogil
cdef u32 moves_if(Op *o) noexcept nogil
cdef u32 size_of(Op *o) noexcept nogil
cdef u32 stores(Op *o) noexcept nogil
cdef void emit_take(State c, Translation *t) noexcept nogil
cdef void emit(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_registers(State c, Op *o) noexcept nogil
cdef void emit_memory(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_pointers(State c, Translation *t, u32 first, u32 last, u32 with_memory) noexcept nogil
cdef void emit_note_pointers(State c, Translation *t, u32 first) noexcept nogil
cdef void to_image(State c) noexcept nogil
cdef void from_image(State c) noexcept nogil
cdef void emit_routines(State c) noexcept nogil
