import cython

from libc.stdint cimport uint64_t

cdef class FirstLevel:
    cdef object _backend
    cdef object _processor
    cdef object _entry
    cdef object _vmcb
    cdef object _data
    cdef object _handlers
    cdef object _port_in
    cdef object _port_out
    cdef readonly dict table
    @cython.locals(port=uint64_t, size=uint64_t)
    cpdef bint on_ioio(self, uint64_t info) except -1
