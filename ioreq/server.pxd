import cython

from libc.stdint cimport int64_t, uint8_t, uint64_t

from ioreq.buffered cimport RingConsumer
from ioreq.evtchn cimport ReceivePort, SendPort
from ioreq.patience cimport Patience
from ioreq.request cimport Request

cdef class BufferedChannel:
    cdef readonly RingConsumer ring
    cdef readonly ReceivePort receive
    cdef readonly object drain
    cdef public object rest
    cdef readonly int looks
    cdef int _linger
    cdef int64_t _slept
    cdef bint _coalesced
    cdef int _watchers
    cpdef int watch(self) except -1
    cpdef bint unwatch(self) except -1
    cpdef bint _unheard(self) except -1
    @cython.locals(left=int)
    cdef bint _wait_for_more(self) except -1
    @cython.locals(turn=int, more=cython.bint)
    cpdef bint _look(self) except -1

cdef class VcpuChannel:
    cdef readonly object slot
    cdef uint64_t[::1] _words
    cdef uint8_t[::1] _octets
    cdef readonly ReceivePort receive
    cdef readonly SendPort send
    cdef BufferedChannel _buffered
    cdef Patience _patience
    cdef int _looked
    cdef int _round
    cdef int64_t _since
    cdef int _turn
    cdef bint _asleep
    cdef public int refused
    cdef readonly Request request
    @cython.locals(looks=int, patience=Patience, buffered=BufferedChannel)
    cdef int _look(self) except -1
    cdef int _lie_down(self, bint learn) except -1
    cdef int _wake(self) except -1
    cdef int _rung(self) except -1
    @cython.locals(buffered=BufferedChannel, flags=int, word2=uint64_t, count=uint64_t, size=uint64_t, type_=int)
    cdef bint _accept(self) except -1
    cpdef int respond(self, uint64_t value) except -1
