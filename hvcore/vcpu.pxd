import cython

from hvcore.cpu.processor cimport Processor
from hvcore.exits.requests cimport Requests
from libc.stdint cimport int64_t

cdef class Vcpu:
    cdef readonly int number
    cdef object _model
    cdef readonly Processor processor
    cdef readonly object backend
    cdef readonly Requests requests
    cdef readonly object doorbell
    cdef public bint halted
    cdef bint _error_latched
    cdef object _platform
    cdef object _pins
    cdef int _pin
    cdef readonly object _work
    cdef bint _running
    cdef object _thread
    cdef readonly object interrupts
    cdef object _msr
    @cython.locals(processor=Processor, stood_at=int64_t, left=cython.int)
    cpdef _loop(self)
