from hvcore.cpu.state cimport State, Op, u8, u32, u64

# The opcode, in `Op.sub`. An instruction is this and ModRM.reg: DB /5 is ESC_DB with a `reg` of 5.
cdef enum:
    ESC_D8 = 0
    ESC_D9 = 1
    ESC_DA = 2
    ESC_DB = 3
    ESC_DC = 4
    ESC_DD = 5
    ESC_DE = 6
    ESC_DF = 7

cdef u8[128] holes      # 64 rows of register forms, 64 of memory forms

cdef u32 is_control(Op *o) noexcept nogil
cdef u32 waits(Op *o) noexcept nogil
cdef u32 reserved(Op *o) noexcept nogil
cdef void register_form(State c, Op *o) noexcept nogil
cdef u32 condition_code(u32 sub, u32 reg) noexcept nogil
cdef void arithmetic_of_registers(State c, u32 sub, u32 reg, u32 i) noexcept nogil
cdef void arithmetic_with_memory(State c, Op *o) noexcept nogil
cdef void free(State c, u32 i, u32 pops) noexcept nogil
cdef void load(State c, u32 i) noexcept nogil
cdef void exchange(State c, u32 i) noexcept nogil
cdef void store(State c, u32 i, u32 alias, u32 pops) noexcept nogil
cdef void one_operand(State c, Op *o) noexcept nogil
cdef void one_operand_missing(State c, u32 which) noexcept nogil
cdef void compute(State c, u32 which) noexcept nogil
cdef void memory_form(State c, Op *o) noexcept nogil
cdef void execute(State c, Op *o, u64 eip) noexcept nogil
cdef void wait(State c) noexcept nogil
