# What others call often, for those that are compiled as well: the vendors and the exit handlers.
from hvcore.cpu.state cimport State, u64

cdef class Processor(State):
    cdef object taken_ports
    cdef object taken_msrs
    cpdef int run(self, u64 budget) except? -1
    cpdef u64 gpr(self, int number)
    cpdef set_gpr(self, int number, u64 value)
    cpdef bint skip(self, u64 next_rip) except? -1
    cpdef bint skip_by(self, u64 length) except? -1
