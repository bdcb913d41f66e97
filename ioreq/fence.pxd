cdef extern from *:
    """
    #include <stdatomic.h>
    static inline void hardware_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
    """
    void hardware_fence() noexcept nogil
