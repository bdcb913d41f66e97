from hvcore.cpu.state cimport Op, State, u32, u64

cdef enum:
    RECORD_BIAS = 128       # from the record's start to where RBX points

cdef u64 field(State c, void *where) noexcept nogil
cdef u64 register_at(State c, u32 number) noexcept nogil
cdef u32 home(u32 number) noexcept nogil
cdef void load_homes(State c) noexcept nogil
cdef void store_homes(State c) noexcept nogil
cdef void get(State c, u32 number, u32 reg) noexcept nogil
cdef void put(State c, u32 number, u32 reg) noexcept nogil
cdef void put_word(State c, u32 number, u32 reg) noexcept nogil
cdef void get_byte(State c, u32 number, u32 shift_, u32 reg) noexcept nogil
cdef void put_byte(State c, u32 reg, u32 shift_) noexcept nogil
cdef void get_sized(State c, Op *o, u32 number, u32 shift_, u32 reg) noexcept nogil
cdef void put_sized(State c, Op *o, u32 number, u32 shift_) noexcept nogil
cdef void store_registers(State c) noexcept nogil
cdef void load_registers(State c) noexcept nogil
cdef void call_out(State c, void *function) noexcept nogil
