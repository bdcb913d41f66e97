from hvcore.cpu.state cimport State, Op, u32, u64

cdef void stop(State c, u32 kind, Op *o) noexcept nogil
cdef u64 time_stamp(State c) noexcept nogil
cdef u32 io_allowed(State c, u32 port, u32 n) noexcept nogil
cdef void port_access(State c, Op *o, u32 port, u32 read) noexcept nogil
cdef void string_port_access(State c, Op *o) noexcept nogil
cdef void write_cr0(State c, u64 value) noexcept nogil
cdef u64 cr4_of(u32 features) noexcept nogil
cdef void write_cr(State c, u32 number, u64 value) noexcept nogil
cdef u32 privileged(State c) noexcept nogil
cdef void execute(State c, Op *o) noexcept nogil
cdef void descriptor_table(State c, Op *o) noexcept nogil
cdef void access_register(State c, Op *o, u32 kind, u32 number, u32 mask) noexcept nogil
cdef void write_owned(State c, Op *o, u32 number, u64 value) noexcept nogil
cdef u64 control_register(State c, u32 number) noexcept nogil
cdef u32 msr_intercepted(State c, u32 index, u32 write) noexcept nogil
cdef void access_msr(State c, Op *o) noexcept nogil
cdef u32 descriptor_access(State c, Op *o, u32 which) noexcept nogil
cdef void describe_operand(State c, Op *o) noexcept nogil
cdef void vm_instruction(State c, Op *o) noexcept nogil
cdef void note_debug(State c, u32 bits) noexcept nogil
cdef u32 intercepted(State c, u32 port, u32 n) noexcept nogil
cdef void describe_port_access(State c, Op *o, u32 port, u32 read) noexcept nogil
cdef u64 selector_operand(State c, Op *o) noexcept nogil
cdef void store_word(State c, Op *o, u64 value) noexcept nogil
cdef u32 load_pdptes(State c, u64 cr0, u64 cr3, u64 cr4) noexcept nogil
cdef u32 has_msr(State c, u32 index) noexcept nogil
cdef u64 read_msr(State c, u32 index) noexcept nogil
cdef u32 pat_valid(u64 value) noexcept nogil
cdef u32 write_msr(State c, u32 index, u64 value) noexcept nogil
cdef void watch_port(State c, u32 port, u32 n) noexcept nogil
