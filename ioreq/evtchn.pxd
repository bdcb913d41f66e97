from libc.stdint cimport uint32_t

cdef class EventPage:
    cdef readonly uint32_t[::1] pending
    cdef readonly uint32_t[::1] mask

cdef class SendPort:
    cdef uint32_t[::1] _pending
    cdef uint32_t[::1] _mask
    cdef readonly int port
    cdef readonly int doorbell
    cpdef bint send(self) except -1

cdef class ReceivePort:
    cdef uint32_t[::1] _pending
    cdef uint32_t[::1] _mask
    cdef readonly int port
    cdef readonly int doorbell
