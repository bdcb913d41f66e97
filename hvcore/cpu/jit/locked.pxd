from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef void emit(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef u32 takes_carry(Op *o) noexcept nogil
cdef void emit_eight_bytes(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_again_and_again(State c, Translation *t, Op *o, u32 live, u32 step) noexcept nogil
