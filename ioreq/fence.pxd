cdef extern from *:
    """
    #include <stdatomic.h>
    static inline void hardware_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
    static inline void hardware_order(void) { atomic_thread_fence(memory_order_acq_rel); }

    static inline void pause_processor(void) {
    #if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
    #endif
    }

    static inline int poll_byte(const volatile unsigned char *byte, unsigned char mask, unsigned char value,
                                long looks) {
        for (; looks > 0; looks--) {
            if ((*byte & mask) == value) return 1;
            pause_processor();
        }
        return 0;
    }

    static inline long poll_change(const volatile unsigned int *word, unsigned int from, long looks) {
        for (; looks > 0; looks--) {
            if (*word != from) return looks;
            pause_processor();
        }
        return 0;
    }
    static inline int replace_word(unsigned int *word, unsigned int from, unsigned int to) {
        return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    bint replace_word(unsigned int *word, unsigned int value, unsigned int other) noexcept nogil
    void hardware_fence() noexcept nogil
    void hardware_order() noexcept nogil
    long poll_change(const unsigned int *word, unsigned int value, long looks) noexcept nogil
    bint poll_byte(const unsigned char *byte, unsigned char mask, unsigned char value, long looks) noexcept nogil

cpdef void full() noexcept nogil
cpdef void order() noexcept
cpdef bint replace(unsigned int[::1] words, Py_ssize_t index, unsigned int value, unsigned int other)
cpdef bint poll(unsigned char[::1] octets, Py_ssize_t offset, unsigned char mask, unsigned char value, long looks)
