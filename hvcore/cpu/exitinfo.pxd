cdef class ExitInfo:
    cdef public unsigned int kind
    cdef public unsigned int instruction_length
    cdef public unsigned long long next_rip
    # IO
    cdef public unsigned int port
    cdef public unsigned int size
    cdef public bint read
    cdef public bint string
    cdef public bint rep
    cdef public bint immediate
    cdef public unsigned int address_size
    cdef public unsigned int segment
    # memory
    cdef public unsigned long long guest_physical
    cdef public unsigned long long linear_address
    cdef public bint linear_valid
    cdef public bint write
    cdef public bint fetch
    cdef public bint table
    cdef public unsigned long long data
    cdef public bytes instruction_bytes
    # EXCEPTION
    cdef public unsigned int vector
    cdef public unsigned int error_code
    cdef public bint has_error_code
    cdef public unsigned long long fault_address
    cdef public unsigned int event_kind     # 3 hardware, 5 ICEBP, 6 INT3 and INTO
    cdef public unsigned int debug_status   # of #DB: the bits that it has in DR6
    cdef public bint nmi_unblocking
    # CR and DR access, MSR
    cdef public unsigned int number
    cdef public unsigned int gpr
    cdef public bint mov
    cdef public unsigned int second_gpr
    cdef public unsigned int source     # a TaskSource
    # DESCRIPTOR_TABLE, VM_INSTRUCTION
    cdef public bint memory
    cdef public unsigned int base
    cdef public unsigned int index
    cdef public unsigned int scale
    cdef public unsigned long long displacement
    # what was being delivered when the exit happened
    cdef public bint vectoring
    cdef public unsigned int vectoring_kind
    cdef public unsigned int vectoring_vector
    cdef public bint vectoring_has_error_code
    cdef public unsigned int vectoring_error_code
