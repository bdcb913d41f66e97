# What only the host can give: memory that may be executed, and the way into it.

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <stddef.h>
    #include <unistd.h>
    /* Memory for host code, mapped twice: `*code` may be written, `*run` executed. Where a system does not allow that,
       one mapping that is both; NULL where it allows none. A child has no use for it, and must not write to it. */
    static inline void map_code(size_t size, unsigned char **code, unsigned char **run) {
        void *w = MAP_FAILED, *x = MAP_FAILED;
    #if defined(__linux__) && defined(MFD_CLOEXEC)
        int fd = memfd_create("host-code", MFD_CLOEXEC);
        if (fd >= 0) {
            if (ftruncate(fd, size) == 0) {
                w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                x = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
            }
            close(fd);
            if (w != MAP_FAILED && x != MAP_FAILED) {
                madvise(w, size, MADV_DONTFORK);
                madvise(x, size, MADV_DONTFORK);
                *code = w;
                *run = x;
                return;
            }
            if (w != MAP_FAILED)
                munmap(w, size);
            if (x != MAP_FAILED)
                munmap(x, size);
        }
    #endif
        w = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *code = *run = w == MAP_FAILED ? NULL : w;
    }
    static inline void unmap_code(unsigned char *code, unsigned char *run, size_t size) {
        if (run && run != code)
            munmap(run, size);
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
    void map_code(size_t size, unsigned char **code, unsigned char **run) noexcept nogil
    void unmap_code(unsigned char *code, unsigned char *run, size_t size) noexcept nogil
    unsigned long long enter_code(void *enter, void *c, void *code) noexcept nogil
    const bint HOST_IS_X86_64

cdef enum:
    ARENA = 0x4000000       # bytes of host code, 64 MiB
