from hvcore.cpu.jit.translation cimport Translation
from hvcore.cpu.state cimport Op, State, u32

# What an instruction is, in `forms` (traits.py).
cdef enum:
    SIZE = 7                # of its memory operand, as `Op.size`; 4 is 16 bytes
    ALIGNED = 8             # which must be aligned
    STORES = 16             # it is the destination, or the register in its place
    WRITES_ALL = 32         # nothing of the destination's old value stays,
    LOADS = 64              # or if it is loaded from memory
    TO_GENERAL = 128        # the destination is a general register
    IN_GENERAL = 256        # the other operand is one
    FROM_GENERAL = 512      # a general register is stored
    IMMEDIATE = 1024
    ROUNDS = 2048           # MXCSR matters
    COMPARES = 4096         # the result is in the flags
    SHIFTS = 8192           # by an immediate
    IN_REGISTERS = 16384    # only the form without memory is translated,
    IN_MEMORY = 32768       # or only the form with it
    OF_MMX = 131072         # of MM registers (mmx.py; 65536 is set in every form),
    OF_MMX_SSE = 262144     # and added by SSE,
    OF_MMX_SSE2 = 524288    # or by SSE2
    MMX_FORMS = 917504      # all three

cdef u32[1024] forms        # by mandatory prefix and opcode; 0: it is the interpreter's

cdef u32 prefix_of(Translation *t, Op *o) noexcept nogil
cdef u32 form_of(Translation *t, Op *o) noexcept nogil
cdef void emit(State c, Translation *t, u32 j, Op *o, u32 live) noexcept nogil
cdef void emit_operation(State c, Op *o, u32 form, u32 prefix, u32 reg, u32 rm) noexcept nogil
cdef void emit_registers(State c, Translation *t, Op *o, u32 form, u32 prefix) noexcept nogil
cdef void emit_memory(State c, Translation *t, u32 j, Op *o, u32 form, u32 prefix) noexcept nogil
