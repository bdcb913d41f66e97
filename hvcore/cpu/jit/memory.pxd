from hvcore.cpu.state cimport Op, State, Stub, u32, u64

cdef enum:
    STUB_LOAD = 0
    STUB_MODIFY = 1
    STUB_STORE = 2
    STUB_PUSH = 3
    STUB_WRITE_BACK = 4

cdef enum:
    VALUE_REG = 0
    VALUE_BYTE = 1
    VALUE_IMM = 2
    VALUE_RETURN = 3
    VALUE_R14 = 4

cdef u32 store_slowly(State c, u32 seg, u64 off, u64 value, u32 size) noexcept nogil
cdef Stub *stub(State c, u32 kind, u32 j, Op *o) noexcept nogil
cdef void effective_address(State c, Op *o) noexcept nogil
cdef u32 checked(u32 seg) noexcept nogil
cdef void look_up(State c, Stub *s, u32 tag) noexcept nogil
cdef void read_host(State c, u32 size, u32 reg) noexcept nogil
cdef void load_operand(State c, u32 j, Op *o, u32 size, u32 reg) noexcept nogil
cdef void value_to(State c, Stub *s, u32 reg) noexcept nogil
cdef void write_host(State c, Stub *s) noexcept nogil
cdef void store_operand(State c, u32 j, Op *o, u32 value, u32 reg, u64 imm) noexcept nogil
cdef void push(State c, u32 j, Op *o, u32 value, u32 reg, u64 imm) noexcept nogil
cdef void load_stack(State c, u32 j, Op *o, u32 number) noexcept nogil
cdef void load_string(State c, u32 j, Op *o, u32 seg, u32 number, u32 reg) noexcept nogil
cdef void drop_stack(State c, u64 bytes_) noexcept nogil
cdef void load_to_modify(State c, u32 j, Op *o) noexcept nogil
cdef void write_back(State c, u32 j, Op *o) noexcept nogil
cdef void long_way_arguments(State c, Stub *s) noexcept nogil
cdef void finish_stub(State c, Stub *s) noexcept nogil
