import cython

from libc.stdint cimport uint64_t

cdef class Mapping:
    cdef readonly uint64_t first
    cdef readonly uint64_t last
    cdef readonly uint64_t width
    cdef readonly object name
    cdef readonly object waits
    cdef public object read
    cdef public object write
    cdef readonly object mirror
    cdef readonly object movable
    cdef readonly object strings
    cdef readonly object mover
    cdef readonly object concerns
    cdef public uint64_t touches

cdef class Space:
    cdef readonly object name
    cdef readonly object size
    cdef public list mappings
    cdef public list ignored
    cdef readonly list yielding
    cdef public object moved
    cdef public uint64_t touched
    cdef list _starts
    cdef dict _found
    cdef object _debug
    @cython.locals(m=Mapping)
    cpdef read(self, uint64_t address, uint64_t size)
    @cython.locals(m=Mapping)
    cpdef write(self, uint64_t address, uint64_t size, value)
    @cython.locals(m=Mapping)
    cpdef touch(self, uint64_t address)
