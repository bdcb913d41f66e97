from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef void emit(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_number(State c, Op *o, u32 number) noexcept nogil
cdef void emit_bit(State c, Op *o, u32 operand, u32 number) noexcept nogil
cdef void emit_carry(State c, Translation *t, u32 live) noexcept nogil
cdef void emit_memory(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_scanned(State c, Translation *t, Op *o, u32 live) noexcept nogil
