from libc.stdint cimport uint8_t, uint64_t

cdef class Slot:
    cdef readonly uint8_t[::1] octets
    cdef readonly uint64_t[::1] words
