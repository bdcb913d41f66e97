from hvcore.cpu.state cimport State, Op, u32, u64

cdef void vm_instruction(State c, Op *o) noexcept nogil
cdef void execute(State c, Op *o) noexcept nogil
