from libc.stdint cimport int64_t

cdef class Patience:
    cdef public int most
    cdef public int looks
    cdef public int64_t score
    cdef public int64_t price
    cdef bint _trying
    cdef int _pause
    cdef int _rest
    cpdef void found(self)
    cpdef void slept(self, int64_t ns)
