from hvcore.cpu.jit.translation cimport Stub, Translation
from hvcore.cpu.state cimport Op, State, s64, u32, u64

cdef enum:
    STUB_LOAD = 0
    STUB_MODIFY = 1
    STUB_STORE = 2
    STUB_PUSH = 3
    STUB_WRITE_BACK = 4
    STUB_INTERPRET = 5      # the whole operation is the interpreter's (translate.py)

cdef enum:
    VALUE_REG = 0
    VALUE_BYTE = 1
    VALUE_IMM = 2
    VALUE_RETURN = 3
    VALUE_R14 = 4
    VALUE_LEAVES = 5        # of STUB_INTERPRET: the block is left behind the operation

cdef u32 store_slowly(State c, u32 seg, u64 off, u64 value, u32 size) noexcept nogil
cdef u32 touch(State c, u64 lin, u32 size, u32 access) noexcept nogil
cdef Stub *new_stub(State c, Translation *t, u32 kind, u32 j, Op *o) noexcept nogil
cdef void note_site(Stub *s, u32 site) noexcept nogil
cdef void emit_effective_address(State c, Op *o) noexcept nogil
cdef u32 checked(Translation *t, u32 seg) noexcept nogil
cdef void emit_look_up(State c, Translation *t, Stub *s, u32 tag) noexcept nogil
cdef void emit_look_up_stack(State c, Translation *t, Stub *s, u32 number, u32 tag) noexcept nogil
cdef void emit_find_stack_page(State c, Translation *t, Stub *s) noexcept nogil
cdef void emit_place_at_stack(State c, Stub *s) noexcept nogil
cdef void emit_look_up_operand(State c, Translation *t, Stub *s, Op *o, u32 tag) noexcept nogil
cdef void emit_look_up_aligned(State c, Translation *t, Stub *s, u32 tag) noexcept nogil
cdef void emit_read_host(State c, u32 size, u32 reg) noexcept nogil
cdef void emit_load_operand(State c, Translation *t, u32 j, Op *o, u32 size, u32 reg) noexcept nogil
cdef void emit_load_at(State c, Translation *t, u32 j, Op *o, u32 size, u32 reg) noexcept nogil
cdef void emit_value(State c, Stub *s, u32 reg) noexcept nogil
cdef void emit_write_host(State c, Translation *t, Stub *s) noexcept nogil
cdef void emit_store_operand(State c, Translation *t, u32 j, Op *o, u32 value, u32 reg, u64 imm) noexcept nogil
cdef void emit_push(State c, Translation *t, u32 j, Op *o, u32 value, u32 reg, u64 imm) noexcept nogil
cdef void emit_push_return(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_load_stack(State c, Translation *t, u32 j, Op *o, u32 number) noexcept nogil
cdef void emit_load_string(State c, Translation *t, u32 j, Op *o, u32 seg, u32 number, u32 reg) noexcept nogil
cdef void emit_pointer(State c, Op *o, u32 number) noexcept nogil
cdef void emit_direction(State c, Op *o) noexcept nogil
cdef void emit_advance(State c, Op *o, u32 number) noexcept nogil
cdef void emit_set_stack(State c, Translation *t, u32 base, u64 bytes_) noexcept nogil
cdef void emit_move_stack(State c, Translation *t, u64 bytes_) noexcept nogil
cdef void emit_load_to_modify(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_load_to_modify_at(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_write_back(State c, Translation *t, u32 j, Op *o) noexcept nogil
cdef void emit_touch(State c, Stub *s) noexcept nogil
cdef void emit_arguments(State c, Stub *s) noexcept nogil
cdef void emit_stub(State c, Translation *t, Stub *s) noexcept nogil
