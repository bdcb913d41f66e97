from libc.stdint cimport int64_t, uint64_t

cdef class Mirror:
    cdef uint64_t[::1] _cells
    cdef int _shift
    cdef bint _alone
    cdef uint64_t _flags
    cdef bint _coalesces
    cdef bint _may_coalesce
    cdef readonly Py_ssize_t size
    cpdef show(self, Py_ssize_t offset, uint64_t value, int64_t writers)
    cpdef coalesce(self, bint coalesces)
    cpdef hide(self, Py_ssize_t offset)
    cpdef wait(self, Py_ssize_t offset, bint waits)
