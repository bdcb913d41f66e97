from hvcore.cpu.jit.translation cimport Translation, Waiting
from hvcore.cpu.state cimport State

cdef void emit(State c, Translation *t, Waiting *w) noexcept nogil
