from hvcore.cpu.state cimport State, Op, u32, u64

cdef u32 is_control(Op *o) noexcept nogil
cdef u32 waits(Op *o) noexcept nogil
cdef u32 reserved(Op *o) noexcept nogil
cdef void register_form(State c, Op *o) noexcept nogil
cdef void load(State c, u32 i) noexcept nogil
cdef void exchange(State c, u32 i) noexcept nogil
cdef void store(State c, u32 i, u32 alias, u32 pops) noexcept nogil
cdef void one_operand(State c, Op *o) noexcept nogil
cdef void one_operand_missing(State c, u32 which) noexcept nogil
cdef void compute(State c, u32 which) noexcept nogil
cdef void memory_form(State c, Op *o) noexcept nogil
cdef void execute(State c, Op *o, u64 eip) noexcept nogil
cdef void wait(State c) noexcept nogil
