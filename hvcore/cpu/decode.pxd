from hvcore.cpu.state cimport State, Op, u8, u16, u32, u64, s64

cdef struct Row:
    u16 register
    u16 memory
    u8 size
    u8 immediate
    u8 sub
    u8 flags

cdef enum:
    MODRM = 1
    ENDS = 2
    GROUP = 4
    LOCKABLE = 8
    SWAP = 16
    RM8 = 32
    OPCODE_REG = 64
    REGISTER_ONLY = 128

cdef enum:
    IMM_NONE
    IMM_Z
    IMM_BS
    IMM_B
    IMM_W
    IMM_ONE
    IMM_J8
    IMM_JZ
    IMM_FAR
    IMM_ENTER
    IMM_MOFFS

cdef enum:
    THREE_BYTE = 0x2A8  # 0F 38 80, group 21
    NO_SEGMENT = 8      # no prefix names one
    BY_ATTRIBUTE = 4    # `Row.size`: the operand size is what the prefix 66 and the code segment say

cdef Row[1024] table

cdef u64 take(State c, u32 n) noexcept nogil
cdef u64 extend(u64 value, u32 size) noexcept nogil
cdef u32 decode(State c, Op *o, u32 code_size) noexcept nogil
cdef void decode_memory(State c, Op *o, u32 modrm, u32 override) noexcept nogil
cdef void decode_immediate(State c, Op *o, u32 how) noexcept nogil
cdef u32 vmx_instruction(Op *o, u32 wide) noexcept nogil
cdef u32 prefix_forbidden(Op *o, u32 wide) noexcept nogil
cdef u32 newer(State c, Op *o, u32 at) noexcept nogil
cdef u32 fence(State c, Op *o) noexcept nogil
cdef u32 missing(State c, u32 kind) noexcept nogil
cdef void split_register(Op *o) noexcept nogil
cdef u32 take_prefixes(State c, Op *o, u32 code_size) noexcept nogil
cdef void specialise(Op *o) noexcept nogil
cdef void specialise_8(Op *o) noexcept nogil
cdef void specialise_32(Op *o) noexcept nogil
cdef void specialise_alu(Op *o) noexcept nogil
