import cython

from ioreq.buffered cimport RingProducer
from libc.stdint cimport int64_t, uint64_t

cdef class MirrorReader:
    cdef uint64_t[::1] _cells
    cdef RingProducer _ring
    @cython.locals(ring=RingProducer, in_flight=uint64_t, done=uint64_t, word=uint64_t)
    cpdef int64_t read(self, uint64_t cell, uint64_t port) except -2
    @cython.locals(i=uint64_t)
    cpdef bint waits(self, uint64_t cell, uint64_t size) except -1
    @cython.locals(i=uint64_t)
    cpdef bint coalesces(self, uint64_t cell, uint64_t size) except -1
