from libc.stdint cimport uint8_t, uint64_t

from ioreq.evtchn cimport ReceivePort, SendPort

cdef class VcpuChannel:
    cdef readonly object slot
    cdef uint64_t[::1] _words
    cdef uint8_t[::1] _octets
    cdef readonly ReceivePort receive
    cdef readonly SendPort send
    cdef object _buffered
    cdef object _patience
    cdef int _round
    cdef int _turn
    cdef bint _asleep
    cdef public int refused
    cdef readonly object request
