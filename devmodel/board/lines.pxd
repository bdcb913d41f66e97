import cython

cdef class Line:
    cdef public list listeners
    cdef public object level
    cpdef set(self, level)

cdef class Gate:
    cdef readonly object output
    cdef readonly object level
    cdef readonly object cut
    cpdef set(self, level)

cdef class WiredOr:
    cdef readonly Line output
    cdef readonly list drivers
    @cython.locals(line=Line)
    cpdef _changed(self, level)
