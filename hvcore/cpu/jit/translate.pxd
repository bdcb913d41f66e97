from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, s64, u32

cpdef void enable(State c) except *
cdef u32 interpret(State c, u32 j) noexcept nogil
cdef u32 traits(Op *o) noexcept nogil
cdef void translate(State c, s64 block) noexcept nogil
cdef u32 emit_operation(State c, Translation *t, Op *o, u32 first, u32 j, u32 count, u32 live) noexcept nogil
cdef void emit_two_operands(State c, Translation *t, Op *o, u32 j, u32 live) noexcept nogil
cdef void emit_two_registers(State c, Translation *t, Op *o, u32 sub, u32 live, u32 immediate) noexcept nogil
cdef void emit_call_interpreter(State c, Translation *t, Op *o, u32 first, u32 j, u32 count) noexcept nogil
cdef u32 changes_segments(u32 kind) noexcept nogil
