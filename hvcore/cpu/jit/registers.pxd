from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32, u64

cdef u32 home(u32 number) noexcept nogil
cdef void emit_load_homes(State c) noexcept nogil
cdef void emit_store_homes(State c) noexcept nogil
cdef void emit_get(State c, u32 number, u32 reg) noexcept nogil
cdef void emit_put(State c, u32 number, u32 reg) noexcept nogil
cdef void emit_put_word(State c, u32 number, u32 reg) noexcept nogil
cdef void emit_get_byte(State c, Translation *t, u32 number, u32 shift_, u32 reg) noexcept nogil
cdef void emit_put_byte(State c, u32 reg, u32 shift_) noexcept nogil
cdef void emit_get_sized(State c, Translation *t, Op *o, u32 number, u32 shift_, u32 reg) noexcept nogil
cdef void emit_put_sized(State c, Op *o, u32 number, u32 shift_) noexcept nogil
cdef void emit_store_registers(State c) noexcept nogil
cdef void emit_load_registers(State c) noexcept nogil
cdef void emit_get_vector(State c, Translation *t, u32 number) noexcept nogil
cdef void emit_put_vector(State c, Translation *t, u32 number) noexcept nogil
cdef void emit_load_vectors(State c, u32 which) noexcept nogil
cdef void forget_vectors(Translation *t) noexcept nogil
cdef void emit_call_out(State c, void *function) noexcept nogil
