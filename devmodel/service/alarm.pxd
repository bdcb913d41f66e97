from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <sys/timerfd.h>

    static inline int set_timer(int fd, int64_t ns) {
        struct itimerspec at = {{0, 0}, {ns / 1000000000, ns % 1000000000}};
        return timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, 0) < 0 ? errno : 0;
    }
    """
    int set_timer(int fd, int64_t ns) noexcept nogil

cdef int _arm(int fd, int64_t ns) except -1
