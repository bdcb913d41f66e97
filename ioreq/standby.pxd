import cython

from ioreq.evtchn cimport MOST_RINGS

cdef class Bell:
    cdef readonly int fd

cdef class _StandbyBell(Bell):
    cdef object _task
    cdef object _look
    cdef bint _rung
    cpdef ring(self)

@cython.locals(timeout_ms=int, count=int, n=int, fds=int[MOST_RINGS])
cdef list _rung(object epoll, int fd, double seconds)

cdef bint _is_a_cushion(double timeout) except -1
