# The C types of what intercepts.py describes.

cdef class Intercepts:
    cdef public bint external_interrupt
    cdef public bint interrupt_if
    cdef public bint nmi
    cdef public bint nmi_virtual
    cdef public bint interrupt_window
    cdef public bint nmi_window
    cdef public bint iret_keeps_nmi_blocked
    cdef public bint hlt
    cdef public bint io
    cdef public bint cpuid
    cdef public bint rdtsc
    cdef public bint rdpmc
    cdef public bint rdmsr
    cdef public bint wrmsr
    cdef public bint cr0_selective
    cdef public bint dr_first
    cdef public bint invd
    cdef public bint wbinvd
    cdef public bint invlpg
    cdef public bint pause
    cdef public bint task_switch
    cdef public bint iret
    cdef public bint pushf
    cdef public bint popf
    cdef public bint icebp
    cdef public bint ferr
    cdef public bint software_interrupt
    cdef public unsigned int exceptions
    cdef public unsigned int page_fault_mask
    cdef public unsigned int page_fault_match
    cdef public unsigned int cr_read
    cdef public unsigned int cr_write
    cdef public unsigned int dr_read
    cdef public unsigned int dr_write
    cdef public unsigned int vm_instructions
    cdef public unsigned int descriptor_table
    cdef public unsigned long long cr0_mask
    cdef public unsigned long long cr0_shadow
    cdef public unsigned long long cr4_mask
    cdef public unsigned long long cr4_shadow
    cdef public object io_bitmap
    cdef public object msr_read
    cdef public object msr_write
    cdef public object cr3_targets
