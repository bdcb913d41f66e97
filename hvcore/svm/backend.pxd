import cython

from hvcore.cpu.exitinfo cimport ExitInfo
from hvcore.cpu.processor cimport Processor
from hvcore.svm.handler cimport FirstLevel
from hvcore.svm.record cimport Recorder
from libc.stdint cimport uint64_t

cdef class SvmBackend:
    cdef readonly Processor processor
    cdef ExitInfo _exit
    cdef readonly object vmcb
    cdef object _data
    cdef uint64_t[::1] _words
    cdef readonly Recorder recorder
    cdef list _record
    cdef readonly object entry
    cdef bint _window
    cdef public bint nmi_window
    cdef FirstLevel _first_level
    cdef dict _handlers
    cdef object _unexpected
    @cython.locals(changed=cython.bint, kind=int)
    cpdef enter(self, uint64_t budget)
    @cython.locals(code=uint64_t)
    cpdef handle(self)
    cpdef advance(self, uint64_t next_rip)
