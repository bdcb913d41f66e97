# What only the host can give: memory that may be executed, and the way into it.

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
    unsigned char *map_code(size_t size) noexcept nogil
    void unmap_code(unsigned char *code, size_t size) noexcept nogil
    unsigned long long enter_code(void *enter, void *c, void *code) noexcept nogil
    const bint HOST_IS_X86_64

cdef enum:
    ARENA = 0x2000000       # bytes of host code, 32 MiB
