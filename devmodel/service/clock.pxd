from libc.stdint cimport int64_t

cdef class TrioClock:
    cdef object _seconds
    cdef readonly double origin
    cdef bint _hosts
    cdef int64_t _began
    cpdef now(self)
