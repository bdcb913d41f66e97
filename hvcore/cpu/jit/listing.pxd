from hvcore.cpu.state cimport State, s64

cpdef tuple host_code(State c, s64 block)
cpdef dict places(State c)
cpdef dict fields(State c)
cpdef dict functions()
