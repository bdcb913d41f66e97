from hvcore.cpu.state cimport State, Op, u32, u64, s64

cdef u32 intr_level(State c) noexcept nogil
cdef u32 attend(State c) noexcept nogil
cdef u32 wanted(State c, u32 vector, u32 error) noexcept nogil
cdef u32 raise_event(State c, u32 vector, u32 kind, u32 error, u32 has_error, u32 length) noexcept nogil
cdef u32 handle_fault(State c) noexcept nogil
cdef s64 build(State c, u64 eip) noexcept nogil
cdef void step(State c) noexcept nogil
cdef void run(State c) noexcept nogil
cdef void stack_frame(State c, Op *o) noexcept nogil
cdef void return_from_interrupt(State c, u32 size) noexcept nogil
cdef void stop_for_task_switch(State c, Op *o) noexcept nogil
cdef void transfer_control(State c, Op *o) noexcept nogil
cdef void software_interrupt(State c, u32 vector, u32 kind, u32 length) noexcept nogil
cdef void execute(State c, u32 j, u32 end) noexcept nogil
cdef void start_shadow(State c, u32 which) noexcept nogil
cdef s64 single(State c, u64 eip) noexcept nogil
cdef void fuse(Op *o, Op *jump) noexcept nogil
cdef u32 breakpoint_here(State c) noexcept nogil
cdef u32 debug_exception(State c, u32 hit) noexcept nogil
cdef u32 step_watched(State c) noexcept nogil
cdef u32 perform(State c, u32 j, u32 end) noexcept nogil
cdef void leave_block(State c, u32 start, u32 j, u32 end) noexcept nogil
