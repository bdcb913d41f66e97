import cython

from ioreq.request cimport Request
from libc.stdint cimport uint32_t, uint64_t

cpdef uint64_t encode(uint64_t type_, uint64_t address, uint64_t size, uint64_t data)

cdef class RingProducer:
    cdef uint32_t[::1] _pointers
    cdef uint64_t[::1] _slots
    cdef uint64_t[::1] _last
    cdef uint32_t _write
    cdef readonly uint64_t posted
    @cython.locals(write=uint32_t, used=uint32_t, slots=uint32_t, port=uint64_t)
    cpdef bint post(self, uint64_t type_, uint64_t address, uint64_t size, uint64_t data) except -1
    @cython.locals(read=uint32_t, used=uint32_t)
    cpdef int in_flight(self) except -1
    @cython.locals(first=uint64_t, n=uint64_t)
    cpdef bint untouched(self, uint64_t port, uint64_t writers, uint64_t done) except -1

cdef class RingConsumer:
    cdef uint32_t[::1] _pointers
    cdef uint64_t[::1] _slots
    cdef readonly uint32_t position
    cdef public uint64_t refused
    cdef readonly uint64_t taken
    cpdef bint waiting(self)
    @cython.locals(left=long)
    cpdef int linger(self, int looks)
    @cython.locals(
        read=uint32_t, write=uint32_t, used=uint32_t, entry=uint64_t, size=uint64_t, data=uint64_t, step=uint32_t,
        type_=uint32_t,
    )
    cpdef bint take(self, Request into) except -1
    cpdef finish(self)
