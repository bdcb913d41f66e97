import cython

from ioreq.buffered cimport RingProducer
from ioreq.evtchn cimport ReceivePort, SendPort, wait_for_ring
from ioreq.mirror cimport MirrorReader
from ioreq.patience cimport Patience
from ioreq.request cimport Request
from libc.stdint cimport int64_t, uint8_t, uint64_t

cpdef uint64_t ones(uint64_t size)

cdef class VcpuDoorbell:
    cdef readonly int fd
    cdef int _own
    cdef int _epoll
    cdef object _poll
    cdef readonly object placement
    @cython.locals(timeout=int, rung=int)
    cpdef bint wait(self, timeout_ms=*) except -1

cdef class CoreChannel:
    cdef readonly object slot
    cdef uint64_t[::1] _words
    cdef uint8_t[::1] _octets
    cdef SendPort _send
    cdef readonly ReceivePort receive
    cdef VcpuDoorbell _doorbell
    cdef readonly Patience _awake
    cdef readonly Patience _waking
    cdef public bint dead
    cdef readonly uint64_t vp_eport
    @cython.locals(
        size=uint64_t, flags=uint64_t, address=uint64_t, count=uint64_t, word3=uint64_t, done=int, word2=uint64_t,
        completed=uint64_t, data=uint64_t, patience=Patience,
    )
    cpdef uint64_t transact(self, Request request) except *
    @cython.locals(flags=int, state=int, seen=int, before=int64_t)
    cdef bint _await_response(self, int done, Request request, Patience patience) except -1

cdef class CoreEndpoint:
    cdef readonly list descriptors
    cdef readonly list channels
    cdef RingProducer _ring
    cdef SendPort _ring_port
    cdef object _ring_lock
    cdef object _descriptors_lock
    cdef MirrorReader _mirror
    cdef int _pages
    cdef readonly int ring_descriptor
    cdef public bint dead
    cdef bint _posts_on
    @cython.locals(posted=cython.bint)
    cpdef bint post(
        self, uint64_t address, uint64_t size, uint64_t data, uint64_t type_, uint64_t cell=*, bint rings=*
    ) except -1
    cdef bint _coalesces(self, uint64_t cell, uint64_t size) except -1
    cpdef bint idle(self) except -1
    cpdef bint waits(self, uint64_t cell, uint64_t size) except -1
    cpdef int64_t mirrored(self, uint64_t cell, uint64_t port) except -2
