from hvcore.cpu.state cimport State, Op, u32, u64

cdef void return_from_interrupt(State c, u32 size) noexcept nogil
cdef void stop_for_task_switch(State c, Op *o) noexcept nogil
cdef void transfer_control(State c, Op *o) noexcept nogil
cdef void software_interrupt(State c, u32 vector, u32 kind, u32 length) noexcept nogil
