from hvcore.cpu.state cimport State, s64, u8, u32, u64

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
    WAY_IN = 16             # where it begins
    ROOM = 0x8000           # that a block may take
    PARTIAL = 1             # what a block returns that did not come to its end

cdef enum:
    TLB_READ = 0            # offsets in a `Tlb`
    TLB_WRITE = 8
    TLB_FETCH = 16
    TLB_ADD = 24

cpdef void allow(State c) except *
cdef void way_in(State c) noexcept nogil
cdef void way_out(State c) noexcept nogil
cdef u64 enter(State c, u64 at) noexcept nogil
cdef void forget_all(State c) noexcept nogil
cdef u32 full(State c) noexcept nogil
cdef void unlink(State c, s64 block) noexcept nogil
cdef void leave(State c) noexcept nogil
cdef void finish(State c, u32 count) noexcept nogil
cdef void jump_through(State c, u32 count) noexcept nogil
cdef void remember_jump(State c, u64 eip, s64 block) noexcept nogil
cdef void leave_to(State c, u64 delta, u32 count) noexcept nogil
cdef void leave_early(State c, u32 done) noexcept nogil
cdef void linked_entry(State c, s64 block, u32 count) noexcept nogil
cdef void link(State c, u32 site, s64 block, u64 eip, u64 from_eip) noexcept nogil
