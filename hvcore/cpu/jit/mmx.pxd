from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef u32 usable(State c) noexcept nogil
cdef u32 uses(Translation *t, Op *o) noexcept nogil
cdef void emit(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_registers(State c, Op *o, u32 form) noexcept nogil
cdef void emit_memory(State c, Translation *t, u32 j, Op *o, u32 form) noexcept nogil
