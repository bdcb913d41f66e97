from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

cdef void emit_two_operands(State c, Translation *t, Op *o, u32 j, u32 live) noexcept nogil
cdef void emit_two_registers(State c, Translation *t, Op *o, u32 sub, u32 live, u32 immediate) noexcept nogil
cdef void emit_step_sized(State c, Translation *t, Op *o, u32 j, u32 live) noexcept nogil
cdef void emit_factor(State c, Translation *t, Op *o, u32 j) noexcept nogil
cdef void emit_put_wide(State c, Op *o) noexcept nogil
cdef void emit_product(State c, Translation *t, Op *o, u32 j, u32 live) noexcept nogil
cdef void emit_division(State c, Translation *t, Op *o, u32 j) noexcept nogil
