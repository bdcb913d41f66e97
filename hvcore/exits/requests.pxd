import cython

from hvcore.routing cimport Range
from ioreq.core cimport CoreChannel, CoreEndpoint
from ioreq.request cimport Request
from libc.stdint cimport int64_t, uint64_t

cdef class Requests:
    cdef object _routing
    cdef list _ports
    cdef int _vcpu
    cdef object _config
    cdef object _completed
    cdef object _failed
    cdef Request _request
    cdef Request _single
    cdef set _unclaimed
    cdef readonly object tally
    cdef uint64_t[::1] _reads
    cdef uint64_t[::1] _mirrored_reads
    cdef uint64_t[::1] _posted
    cdef uint64_t[::1] _writes
    cdef int _left
    cdef public object acknowledger
    cdef public object interruptible
    cdef public object pin
    cdef public object lower
    @cython.locals(endpoint=CoreEndpoint)
    cpdef _interrupts_first(self, Range claimed)
    @cython.locals(endpoint=CoreEndpoint)
    cpdef bint _idle(self, Range claimed) except -1
    @cython.locals(claimed=Range, value=int64_t)
    cpdef uint64_t read_port(self, uint64_t port, uint64_t size) except *
    @cython.locals(claimed=Range, cell=uint64_t)
    cpdef write_port(self, uint64_t port, uint64_t size, uint64_t value)
    @cython.locals(request=Request, data=uint64_t, channel=CoreChannel)
    cpdef uint64_t _one(
        self, Range claimed, uint64_t kind, uint64_t address, uint64_t size, bint read, uint64_t value
    ) except *
    @cython.locals(endpoint=CoreEndpoint)
    cpdef bint _waits(self, Range claimed, uint64_t port, uint64_t size) except -1
    @cython.locals(endpoint=CoreEndpoint)
    cpdef int64_t _mirrored(self, Range claimed, uint64_t port) except -2
    @cython.locals(endpoint=CoreEndpoint)
    cpdef bint _post(
        self, Range claimed, uint64_t kind, uint64_t address, uint64_t size, uint64_t value, uint64_t cell, bint rings
    ) except -1
