from hvcore.cpu.state cimport Block, Op, State, Stub, u8, u32, s64, u64

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <stddef.h>

    /* Memory that may be written and executed; NULL where the system allows none. */
    static inline unsigned char *map_code(size_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : (unsigned char *)p;
    }

    static inline void unmap_code(unsigned char *code, size_t size) {
        if (code)
            munmap(code, size);
    }

    static inline unsigned long long enter_code(void *enter, void *c, void *code) {
        return ((unsigned long long (*)(void *, void *))enter)(c, code);
    }

    #if defined(__x86_64__)
    #define HOST_IS_X86_64 1
    #else
    #define HOST_IS_X86_64 0
    #endif
    """
    u8 *map_code(size_t size) noexcept nogil
    void unmap_code(u8 *code, size_t size) noexcept nogil
    u64 enter_code(void *enter, void *c, void *code) noexcept nogil
    const bint HOST_IS_X86_64

cdef enum:
    ARENA = 0x2000000       # bytes of host code, 32 MiB
    ROOM = 0x8000           # that a block may take
    MAX_STUBS = 160
    PARTIAL = 1             # what a block returns that did not come to its end

cdef enum:
    STUB_LOAD = 0
    STUB_MODIFY = 1
    STUB_STORE = 2
    STUB_PUSH = 3
    STUB_WRITE_BACK = 4

cdef enum:
    VALUE_REG = 0
    VALUE_BYTE = 1
    VALUE_IMM = 2
    VALUE_RETURN = 3
    VALUE_R14 = 4

cdef enum:
    HOST_CF = 1             # which of the guest's flags stand in the host's
    HOST_ZF = 2             # ZF, SF, PF
    HOST_OF = 4
    HOST_ALL = 7

cdef enum:
    UNKNOWN = 99            # in place of a `cc_op`: whatever the block began with

cpdef void allow(State c) except *
cdef u64 enter(State c, u64 at) noexcept nogil
cdef void forget_all(State c) noexcept nogil
cdef u32 full(State c) noexcept nogil
cdef void unlink(State c, s64 block) noexcept nogil
cdef void translate(State c, s64 block) noexcept nogil
cdef u64 field(State c, void *where) noexcept nogil
cdef u32 store_slowly(State c, u32 seg, u64 off, u64 value, u32 size) noexcept nogil
cdef u32 interpret(State c, u32 j) noexcept nogil
cdef void link(State c, u32 site, s64 block, u64 eip, u64 from_eip) noexcept nogil
cdef u64 register_at(State c, u32 number) noexcept nogil
cdef u32 home(u32 number) noexcept nogil
cdef void get(State c, u32 number, u32 reg) noexcept nogil
cdef void put(State c, u32 number, u32 reg) noexcept nogil
cdef void get_byte(State c, u32 number, u32 shift_, u32 reg) noexcept nogil
cdef void load_homes(State c) noexcept nogil
cdef void store_homes(State c) noexcept nogil
cdef void put_word(State c, u32 number, u32 reg) noexcept nogil
cdef void get_sized(State c, Op *o, u32 number, u32 shift_, u32 reg) noexcept nogil
cdef void put_sized(State c, Op *o, u32 number, u32 shift_) noexcept nogil
cdef void load_string(State c, u32 j, Op *o, u32 seg, u32 number, u32 reg) noexcept nogil
cdef void store_registers(State c) noexcept nogil
cdef void load_registers(State c) noexcept nogil
cdef void call_out(State c, void *function) noexcept nogil
cdef void long_way_arguments(State c, Stub *s) noexcept nogil
cdef void leave(State c) noexcept nogil
cdef void finish(State c, u32 count) noexcept nogil
cdef void leave_to(State c, u64 delta, u32 count) noexcept nogil
cdef void leave_early(State c, u32 done) noexcept nogil
cdef void linked_entry(State c, s64 block, u32 count) noexcept nogil
cdef Stub *stub(State c, u32 kind, u32 j, Op *o) noexcept nogil
cdef void effective_address(State c, Op *o) noexcept nogil
cdef u32 checked(u32 seg) noexcept nogil
cdef void look_up(State c, Stub *s, u32 tag) noexcept nogil
cdef void read_host(State c, u32 size, u32 reg) noexcept nogil
cdef void load_operand(State c, u32 j, Op *o, u32 size, u32 reg) noexcept nogil
cdef void value_to(State c, Stub *s, u32 reg) noexcept nogil
cdef void write_host(State c, Stub *s) noexcept nogil
cdef void store_operand(State c, u32 j, Op *o, u32 value, u32 reg, u64 imm) noexcept nogil
cdef void push(State c, u32 j, Op *o, u32 value, u32 reg, u64 imm) noexcept nogil
cdef void load_stack(State c, u32 j, Op *o) noexcept nogil
cdef void drop_stack(State c, u64 bytes_) noexcept nogil
cdef void load_to_modify(State c, u32 j, Op *o) noexcept nogil
cdef void write_back(State c, u32 j, Op *o) noexcept nogil
cdef void finish_stub(State c, Stub *s) noexcept nogil
cdef void keep_carry(State c, u32 live, u32 condition) noexcept nogil
cdef void remember(State c, u32 live, u32 op, u32 size, u32 reg) noexcept nogil
cdef void keep_operands(State c, u32 live) noexcept nogil
cdef void sized(State c, u32 op, u32 size, u32 reg, u32 rm) noexcept nogil
cdef void carry_to_host(State c) noexcept nogil
cdef u32 prepare(State c, u32 code) noexcept nogil
cdef void arithmetic(State c, u32 sub, u32 live, u32 size) noexcept nogil
cdef void arithmetic_in_place(State c, Op *o, u32 sub, u32 live, u32 immediate) noexcept nogil
cdef void stand_carry(State c, u32 live) noexcept nogil
cdef void step(State c, u32 live, u32 down, u32 reg) noexcept nogil
cdef void shifted(State c, u32 live, u32 op, u32 count, u32 reg) noexcept nogil
cdef void keep_product_flags(State c, u32 live, u32 reg) noexcept nogil
cdef void multiplied(State c, u32 live, u32 reg, u32 rm) noexcept nogil
cdef u32 traits(Op *o) noexcept nogil
cdef void put_byte(State c, u32 reg, u32 shift_) noexcept nogil
cdef u32 operation(State c, Op *o, u32 first, u32 j, u32 count, u32 live) noexcept nogil
cdef void two_registers(State c, Op *o, u32 sub, u32 live, u32 immediate) noexcept nogil
cdef void two_operands(State c, Op *o, u32 j, u32 live) noexcept nogil
cdef void call_interpreter(State c, Op *o, u32 first, u32 j, u32 count) noexcept nogil
cdef u32 changes_segments(u32 kind) noexcept nogil
cdef void load_frame(State c, u32 j, Op *o) noexcept nogil
cdef void rotate(State c, Op *o, u32 live) noexcept nogil
cdef void shift_by_cl(State c, Op *o, u32 live) noexcept nogil
cdef void count_to_ecx(State c, Op *o) noexcept nogil
cdef void put_result(State c, Op *o) noexcept nogil
cdef void call_shift(State c, Op *o) noexcept nogil
cdef void call_double_shift(State c, Op *o) noexcept nogil
cdef void jump_through(State c, u32 count) noexcept nogil
cdef void remember_jump(State c, u64 eip, s64 block) noexcept nogil
