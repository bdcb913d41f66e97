from hvcore.cpu.exitinfo cimport ExitInfo
from libc.stdint cimport uint64_t

cdef class Recorder:
    cdef object _processor
    cdef uint64_t[::1] _values
    cdef readonly list table
    cdef public object shut_down
    cdef public object failure
    cpdef record_io(self, ExitInfo e)
