from hvcore.cpu.jit.translation cimport Stub, Translation
from hvcore.cpu.state cimport Op, State, u32, u64

cdef void emit(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_once(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_comparison(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_scan(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_repeated(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_repeated_comparison(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_load_last(State c, Op *o, u32 reg, u32 base) noexcept nogil
cdef void emit_count(State c, Op *o, u32 reg) noexcept nogil
cdef void emit_advance_by(State c, Op *o, u32 number, u32 bytes_) noexcept nogil
cdef void emit_check_run(State c, Translation *t, Stub *s, Op *o, u32 seg, u32 tag) noexcept nogil
cdef void emit_shorten_run(State c, Translation *t, Stub *s, Op *o, u32 seg) noexcept nogil
cdef void emit_shorten(State c) noexcept nogil
cdef void emit_look_up_run(State c, Translation *t, Stub *s, u32 tag) noexcept nogil
