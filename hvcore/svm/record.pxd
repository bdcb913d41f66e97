import cython

from hvcore.cpu.exitinfo cimport ExitInfo
from libc.stdint cimport uint64_t

cdef class Recorder:
    cdef object _processor
    cdef object _data
    cdef uint64_t[::1] _words
    cdef readonly list table
    cdef public object failure
    @cython.locals(info=uint64_t)
    cpdef record_ioio(self, ExitInfo e)
