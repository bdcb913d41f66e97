from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <stdint.h>
    #include <sys/epoll.h>
    #include <sys/uio.h>
    #include <unistd.h>

    static inline int write_one(int fd) {
        const uint64_t one = 1;
        ssize_t written;
        do written = write(fd, &one, sizeof one); while (written < 0 && errno == EINTR);
        return written < 0 && errno != EAGAIN ? errno : 0;
    }

    static inline int read_now(int fd) {
        uint64_t rings;
        struct iovec into = {&rings, sizeof rings};
        return preadv2(fd, &into, 1, -1, RWF_NOWAIT) < 0 && errno != EAGAIN ? errno : 0;
    }

    enum { MOST_RINGS = 32 };

    static inline int wait_for_rings(int epoll, int *fds, int timeout_ms) {
        struct epoll_event rung[MOST_RINGS];
        const int count = epoll_wait(epoll, rung, MOST_RINGS, timeout_ms);
        for (int n = 0; n < count; n++)
            fds[n] = rung[n].data.fd;
        return count < 0 ? -errno : count;
    }

    static inline int wait_for_ring(int epoll, int timeout_ms) {
        int fds[MOST_RINGS];
        return wait_for_rings(epoll, fds, timeout_ms);
    }
    """
    enum: MOST_RINGS
    int write_one(int fd) noexcept nogil
    int read_now(int fd) noexcept nogil
    int wait_for_rings(int epoll, int *fds, int timeout_ms) noexcept nogil
    int wait_for_ring(int epoll, int timeout_ms) noexcept nogil

cpdef int ring_doorbell(int fd) except -1
cpdef int drain_doorbell(int fd) except -1

cdef class EventPage:
    cdef readonly uint32_t[::1] pending
    cdef readonly uint32_t[::1] mask

cdef class SendPort:
    cdef uint32_t[::1] _pending
    cdef uint32_t[::1] _mask
    cdef readonly int port
    cdef readonly int doorbell
    cpdef bint send(self) except -1

cdef class ReceivePort:
    cdef uint32_t[::1] _pending
    cdef uint32_t[::1] _mask
    cdef readonly int port
    cdef readonly int doorbell
    cpdef int clear(self) except -1
    cpdef int unmask(self) except -1
    cpdef int mask(self) except -1
