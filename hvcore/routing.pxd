from libc.stdint cimport uint64_t

cdef class Range:
    cdef public uint64_t first
    cdef public uint64_t last
    cdef public bint posted
    cdef public object server
    cdef public object endpoint
    cdef public list channels
    cdef public uint64_t mirror
    cdef public uint64_t reads
    cdef public uint64_t written
    cdef public uint64_t writes
