from libc.stdint cimport uint64_t

cdef class Request:
    cdef public uint64_t type
    cdef public uint64_t address
    cdef public uint64_t data
    cdef public uint64_t count
    cdef public uint64_t size
    cdef public bint read
    cdef public bint descending
    cdef public bint data_is_ptr
