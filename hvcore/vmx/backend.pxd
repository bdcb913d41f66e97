import cython

from hvcore.cpu.exitinfo cimport ExitInfo
from hvcore.cpu.processor cimport Processor
from hvcore.vmx.handler cimport FirstLevel
from hvcore.vmx.record cimport Recorder
from libc.stdint cimport uint64_t

cdef class VmxBackend:
    cdef readonly Processor processor
    cdef ExitInfo _exit
    cdef readonly object vmcs
    cdef uint64_t[::1] _values
    cdef readonly Recorder recorder
    cdef list _record
    cdef readonly object entry
    cdef FirstLevel _first_level
    cdef dict _handlers
    cdef object _unexpected
    @cython.locals(changed=cython.bint, info=uint64_t, kind=int)
    cpdef enter(self, uint64_t budget)
    @cython.locals(reason=uint64_t)
    cpdef handle(self)
