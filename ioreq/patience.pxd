from libc.stdint cimport int64_t

cdef class Patience:
    cdef public int most
    cdef public int looks
    cdef public int64_t score
    cdef public int64_t price
    cdef bint _trying
    cdef int _pause
    cdef int _rest
    cdef object _step_aside
    cpdef void found(self)
    cpdef void slept(self, int64_t ns)
    cdef void _try(self, int64_t score)
