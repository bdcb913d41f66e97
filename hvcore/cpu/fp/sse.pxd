from hvcore.cpu.state cimport State, Op, u8, u32, u64

# What an opcode with a prefix is, in `forms`: one of the first, with one of the last two.
cdef enum:
    NONE = 0
    MMX = 1             # packed integers in MM registers
    MMX_SSE = 2         # the same, added by SSE
    MMX_SSE2 = 3        # and by SSE2
    XMM = 4             # of SSE
    XMM2 = 5            # of SSE2
    FORM = 7            # the mask of these
    REGISTERS = 8       # there is no memory form
    MEMORY = 16         # there is no register form

cdef u8[1024] forms     # by mandatory prefix (256 each), then opcode

cdef u32 ready(State c, u32 form) noexcept nogil
cdef void control(State c, Op *o) noexcept nogil
cdef u32 prefix_of(State c, Op *o) noexcept nogil
cdef u32 exists(Op *o, u32 op, u32 pp, u32 form) noexcept nogil
cdef void dispatch(State c, Op *o, u32 op, u32 pp) noexcept nogil
cdef void execute(State c, Op *o) noexcept nogil
