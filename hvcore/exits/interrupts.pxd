cdef class Interrupts:
    cdef object _backend
    cdef object _requests
    cdef object _pin
    cdef bint _nmi
    cpdef pin_raised(self)
    cpdef _deliver(self)
