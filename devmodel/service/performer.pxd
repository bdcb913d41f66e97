import cython

from libc.stdint cimport uint64_t

from devmodel.board.bus cimport Space
from ioreq.buffered cimport RingConsumer
from ioreq.request cimport Request
from ioreq.server cimport VcpuChannel

cdef class Performer:
    cdef object _board
    cdef object _ram
    cdef Space _ports
    cdef Space _memory
    cdef object _acknowledged
    cdef readonly Request posted
    @cython.locals(type_=int, size=uint64_t, space=Space)
    cpdef perform(self, Request request)
    @cython.locals(type_=int)
    cpdef perform_posted(self, Request request)
    @cython.locals(request=Request)
    cpdef drain(self, RingConsumer ring)

cdef class Answerer:
    cdef Performer _performer
    cdef VcpuChannel _vcpu
    cdef object _unsettled
    cdef object _answered
    cdef object _served
    cdef object _failed
    cdef int _left
    cdef uint64_t _value
    cpdef bint answer(self, Request request) except -1
    cpdef finish(self)
