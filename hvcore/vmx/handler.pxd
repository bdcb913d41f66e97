import cython

from hvcore.cpu.processor cimport Processor
from libc.stdint cimport uint64_t

cdef class FirstLevel:
    cdef object _backend
    cdef Processor _processor
    cdef object _entry
    cdef uint64_t[::1] _values
    cdef object _handlers
    cdef object _port_in
    cdef object _port_out
    cdef readonly dict table
    @cython.locals(qualification=uint64_t, port=uint64_t, size=uint64_t)
    cpdef on_io(self)
