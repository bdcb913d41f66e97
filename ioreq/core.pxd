from libc.stdint cimport uint8_t, uint64_t

from ioreq.evtchn cimport ReceivePort, SendPort

cdef class CoreChannel:
    cdef readonly object slot
    cdef uint64_t[::1] _words
    cdef uint8_t[::1] _octets
    cdef SendPort _send
    cdef readonly ReceivePort receive
    cdef object _doorbell
    cdef readonly object _awake
    cdef readonly object _waking
    cdef public bint dead
    cdef readonly uint64_t vp_eport
