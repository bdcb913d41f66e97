from hvcore.cpu.state cimport State, Op, u32, u64

cdef u32 load_pdptes(State c, u64 cr0, u64 cr3, u64 cr4) noexcept nogil
cdef void write_cr0(State c, u64 value) noexcept nogil
cdef u64 cr4_of(u32 features) noexcept nogil
cdef void write_cr(State c, u32 number, u64 value) noexcept nogil
cdef void write_owned(State c, Op *o, u32 number, u64 value) noexcept nogil
cdef u64 control_register(State c, u32 number) noexcept nogil
cdef void move_from(State c, Op *o) noexcept nogil
cdef void move_to(State c, Op *o) noexcept nogil
cdef void load_status(State c, Op *o) noexcept nogil
cdef void store_status(State c, Op *o) noexcept nogil
cdef void clear_task_switched(State c, Op *o) noexcept nogil
