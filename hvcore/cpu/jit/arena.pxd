from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, s64, u32, u64

cdef enum:
    WAY_IN = 16             # where it begins
    ROOM = 0x8000           # that a block may take
    CODE_32 = 2             # in a mode: 32-bit code (`code_size`)
    LAST_PAGE = 0xF000      # of 64 KiB
    PARTIAL = 1             # what a block returns that did not come to its end

cdef enum:
    TLB_READ = 0            # offsets in a `Tlb`
    TLB_WRITE = 8
    TLB_FETCH = 16
    TLB_ADD = 24

cdef u32 allow(State c) noexcept nogil
cdef void begin(State c) noexcept nogil
cdef void emit_way_in(State c) noexcept nogil
cdef void emit_way_out(State c) noexcept nogil
cdef u32 within(State c, u32 mode, u64 at) noexcept nogil
cdef u64 enter(State c, s64 block) noexcept nogil
cdef void forget_all(State c) noexcept nogil
cdef void forget_jumps(State c) noexcept nogil
cdef void forget_returns(State c) noexcept nogil
cdef void emit_take_mxcsr(State c) noexcept nogil
cdef void emit_give_mxcsr(State c) noexcept nogil
cdef u32 full(State c) noexcept nogil
cdef void unlink(State c, s64 block) noexcept nogil
cdef void emit_beginning(State c, Translation *t) noexcept nogil
cdef void emit_linked_entry(State c, u32 count, u32 refused) noexcept nogil
cdef void emit_look_for_pending(State c) noexcept nogil
cdef void emit_look_beyond(State c, Translation *t) noexcept nogil
cdef void emit_mark(State c, Translation *t) noexcept nogil
cdef void emit_eip(State c, u64 at) noexcept nogil
cdef void emit_leave(State c) noexcept nogil
cdef void emit_finish(State c) noexcept nogil
cdef void emit_leave_early(State c, Translation *t, u32 done) noexcept nogil
cdef void emit_leave_to(State c, Translation *t, u64 delta) noexcept nogil
cdef void emit_branch_to(State c, Translation *t, Op *o) noexcept nogil
cdef void note_branch(Translation *t, u32 site, Op *o) noexcept nogil
cdef void note_leave(Translation *t, u32 site, u64 delta) noexcept nogil
cdef void emit_leaves(State c, Translation *t) noexcept nogil
cdef void emit_note_return(State c, Translation *t) noexcept nogil
cdef void emit_return_point(State c, Translation *t) noexcept nogil
cdef void emit_set_code_delta(State c) noexcept nogil
cdef void emit_jump_through(State c, Translation *t) noexcept nogil
cdef void emit_segmented_jump_through(State c, Translation *t) noexcept nogil
cdef u64 jump_key(u64 eip, u32 mode) noexcept nogil
cdef void remember_jump(State c, u64 eip, s64 block) noexcept nogil
cdef void emit_crossing(State c, s64 block, u64 to, u32 leave) noexcept nogil
cdef void link(State c, u64 left, s64 block, u64 eip) noexcept nogil
