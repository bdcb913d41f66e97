import cython

from hvcore.cpu.processor cimport Processor
from hvcore.exits.requests cimport Requests
from libc.stdint cimport uint64_t

cdef class PortIo:
    cdef Processor _processor
    cdef object _memory
    cdef Requests _requests
    cdef public object clear_error
    @cython.locals(value=uint64_t)
    cpdef read(self, uint64_t port, uint64_t size)
    cpdef write(self, uint64_t port, uint64_t size)
