# The types, constants and the processor's record, for C. `constants.py` reads this same file for
# the uncompiled processor; tests/hvcore/cpu/test_modes.py compares the two.
cimport cython
from hvcore.cpu.exitinfo cimport ExitInfo
from hvcore.cpu.intercepts cimport Intercepts

ctypedef unsigned char u8
ctypedef unsigned short u16
ctypedef unsigned int u32
ctypedef unsigned long long u64
ctypedef long long s64

cdef extern from *:
    """
    #define M32 0xFFFFFFFFull
    #define M64 0xFFFFFFFFFFFFFFFFull
    #define PAGE_BITS 0xFFFFFFFFFFFFF000ull
    #define NO_PAGE 0x8000000000000000ull
    #define PTE_NX 0x8000000000000000ull
    #define TOP_HALF 0xFFFF0000ull
    #define TOP_BYTE 0xFF000000ull
    #define CR0_PG 0x80000000ull
    #define PHYSICAL_PAGE 0x000FFFFFFFFFF000ull
    #define PAE_ROOT 0xFFFFFFE0ull
    #define PAE_RESERVED 0x7FFFFFF000000000ull
    #define PDPTE_RESERVED 0xFFFFFFF0000001E6ull
    #define MSR_EFER 0xC0000080u
    #define PAT_POWER_ON 0x0007040600070406ull
    static const unsigned long long SIZE_MASK[4] = {0xFF, 0xFFFF, M32, M64};
    static const unsigned long long SIZE_SIGN[4] = {0x80, 0x8000, 0x80000000ull, 0x8000000000000000ull};
    #define LOAD_ACQUIRE(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    """
    const u64 M32, M64, PAGE_BITS, NO_PAGE, PTE_NX, TOP_HALF, TOP_BYTE, CR0_PG, PHYSICAL_PAGE, PAE_ROOT
    const u64 PAE_RESERVED, PDPTE_RESERVED, PAT_POWER_ON
    const u32 MSR_EFER
    const u64[4] SIZE_MASK, SIZE_SIGN
    u32 LOAD_ACQUIRE(u32 *p) noexcept nogil

cdef enum:
    RAX = 0
    RCX = 1
    RDX = 2
    RBX = 3
    RSP = 4
    RBP = 5
    RSI = 6
    RDI = 7
    NO_REG = 16

cdef enum:
    ES = 0
    CS = 1
    SS = 2
    DS = 3
    FS = 4
    GS = 5
    LDTR = 6
    TR = 7

cdef enum:
    CC_FLAGS = 0
    CC_ADD = 1
    CC_ADC = 2
    CC_SUB = 3
    CC_SBB = 4
    CC_LOGIC = 5
    CC_INC = 6
    CC_DEC = 7
    CC_SHIFT = 8
    CC_BASE = 0xF           # these; with it may stand:
    CC_CARRY_APART = 0x10   # CF is `cc_cf`, whatever the others come from
    CC_OVERFLOW_APART = 0x20    # OF is `cc_of`

cdef enum:
    ALU_ADD = 0         # `sub` of the kinds ALU_RR to ALU_MI, and the extension in the host's opcodes 81 and 83
    ALU_OR = 1
    ALU_ADC = 2
    ALU_SBB = 3
    ALU_AND = 4
    ALU_SUB = 5
    ALU_XOR = 6
    ALU_CMP = 7
    ALU_TEST = 8

cdef enum:
    ROL = 0             # `sub` of the kinds SHIFT_RI to SHIFT_MC
    ROR = 1
    RCL = 2
    RCR = 3
    SHL = 4
    SHR = 5
    SAL = 6             # a second encoding of SHL
    SAR = 7

cdef enum:
    BIT_TEST = 4        # `sub` of the kinds BT_R to BT_MI
    BIT_SET = 5
    BIT_RESET = 6
    BIT_COMPLEMENT = 7

cdef enum:
    COND_Z = 4          # conditions, as Jcc numbers them: ZF is set,
    COND_NZ = 5         # or is not

cdef enum:
    TEST_O = 0          # what a condition looks at, whose number without bit 0, which inverts it, this is
    TEST_B = 1
    TEST_Z = 2
    TEST_BE = 3
    TEST_S = 4
    TEST_P = 5
    TEST_L = 6
    TEST_LE = 7

cdef enum:
    MULTIPLY = 4        # `sub` of the kinds MUL_R and MUL_M
    MULTIPLY_SIGNED = 5
    DIVIDE = 6
    DIVIDE_SIGNED = 7

cdef enum:
    F_CF = 0x1
    F_ONE = 0x2             # reads as 1
    F_PF = 0x4
    F_AF = 0x10
    F_ZF = 0x40
    F_SF = 0x80
    F_TF = 0x100
    F_IF = 0x200
    F_DF = 0x400
    F_OF = 0x800
    F_IOPL = 0x3000
    F_NT = 0x4000
    F_RF = 0x10000
    F_VM = 0x20000
    F_AC = 0x40000
    F_VIF = 0x80000
    F_VIP = 0x100000
    F_ID = 0x200000
    F_RESERVED = 0x8028     # read as 0
    F_STATUS = 0x8D5
    F_EVERY = 0x3D7FD5      # all but VM

cdef enum:
    CR0_PE = 0x1
    CR0_MP = 0x2
    CR0_EM = 0x4
    CR0_TS = 0x8
    CR0_ET = 0x10
    CR0_NE = 0x20
    CR0_WP = 0x10000
    CR0_AM = 0x40000
    CR0_NW = 0x20000000
    CR0_CD = 0x40000000
    LMSW_BITS = 0xF         # PE, MP, EM, TS

cdef enum:
    CR4_VME = 0x1
    CR4_PVI = 0x2
    CR4_TSD = 0x4
    CR4_DE = 0x8
    CR4_PSE = 0x10
    CR4_PAE = 0x20
    CR4_MCE = 0x40
    CR4_PGE = 0x80
    CR4_OSFXSR = 0x200
    CR4_OSXMMEXCPT = 0x400

cdef enum:
    MXCSR_DAZ = 0x40
    MXCSR_MASKS = 0x1F80
    X87_MASKS = 0x3F        # of the control word

cdef enum:
    HAS_FPU = 0x1           # CPUID leaf 1, EDX
    HAS_VME = 0x2
    HAS_DE = 0x4
    HAS_PSE = 0x8
    HAS_TSC = 0x10
    HAS_MSR = 0x20
    HAS_PAE = 0x40
    HAS_MCE = 0x80
    HAS_CX8 = 0x100
    HAS_SEP = 0x800
    HAS_PGE = 0x2000
    HAS_CMOV = 0x8000
    HAS_PAT = 0x10000
    HAS_PSE36 = 0x20000
    HAS_CLFSH = 0x80000
    HAS_MMX = 0x800000
    HAS_FXSR = 0x1000000
    HAS_SSE = 0x2000000
    HAS_SSE2 = 0x4000000
    HAS_NX = 0x100000       # of leaf 8000_0001

cdef enum:
    PTE_P = 0x1
    PTE_W = 0x2
    PTE_U = 0x4
    PTE_A = 0x20
    PTE_D = 0x40
    PTE_PS = 0x80
    PTE_G = 0x100

cdef enum:
    PF_PRESENT = 0x1        # of a page fault's error code (SDM vol. 3 figure 4-12)
    PF_WRITE = 0x2
    PF_USER = 0x4
    PF_RESERVED = 0x8
    PF_FETCH = 0x10

cdef enum:
    EFER_NXE = 0x800

cdef enum:
    MSR_TSC = 0x10
    MSR_SYSENTER_CS = 0x174
    MSR_SYSENTER_ESP = 0x175
    MSR_SYSENTER_EIP = 0x176
    MSR_PAT = 0x277

cdef enum:
    TLB_GLOBAL = 1      # `tlb_state`: it survives a load of CR3
    TLB_IN_GLOBAL = 2   # and which list it is in, perhaps both
    TLB_IN_LOCAL = 4

cdef enum:
    READ = 0
    WRITE = 1
    FETCH = 2

cdef enum:
    VEC_DE = 0
    VEC_DB = 1
    VEC_NMI = 2
    VEC_BP = 3
    VEC_OF = 4
    VEC_BR = 5
    VEC_UD = 6
    VEC_NM = 7
    VEC_DF = 8
    VEC_TS = 10
    VEC_NP = 11
    VEC_SS = 12
    VEC_GP = 13
    VEC_PF = 14
    VEC_MF = 16
    VEC_AC = 17
    VEC_XM = 19

cdef enum:
    FAULT_NONE = 0          # `fault`, why an operation did not complete (state.py)
    FAULT_EXCEPTION = 1
    FAULT_EXIT = 2
    FAULT_REPEAT = 3

cdef enum:
    EVENT_EXTERNAL = 0      # as VMX numbers them (SDM vol. 3 table 25-17)
    EVENT_NMI = 2
    EVENT_EXCEPTION = 3
    EVENT_SOFTWARE = 4
    EVENT_PRIVILEGED = 5
    EVENT_SOFTWARE_EXCEPTION = 6

# As `ExitKind` numbers them.
cdef enum:
    EXIT_BUDGET = 0
    EXIT_EXTERNAL_INTERRUPT = 1
    EXIT_INTERRUPT_WINDOW = 2
    EXIT_NMI_WINDOW = 3
    EXIT_HLT = 4
    EXIT_IO = 5
    EXIT_CPUID = 6
    EXIT_RDTSC = 7
    EXIT_RDMSR = 8
    EXIT_WRMSR = 9
    EXIT_EXCEPTION = 10
    EXIT_TRIPLE_FAULT = 11
    EXIT_GUEST_PHYSICAL = 12
    EXIT_CR_READ = 13
    EXIT_CR_WRITE = 14
    EXIT_DR_ACCESS = 15
    EXIT_INVD = 16
    EXIT_WBINVD = 17
    EXIT_INVLPG = 18
    EXIT_PAUSE = 19
    EXIT_TASK_SWITCH = 20
    EXIT_RDPMC = 21
    EXIT_IRET = 22
    EXIT_SOFTWARE_INTERRUPT = 23
    EXIT_DESCRIPTOR_TABLE = 24
    EXIT_LMSW = 25
    EXIT_CLTS = 26
    EXIT_NMI = 27
    EXIT_CR0_SELECTIVE = 28
    EXIT_PUSHF = 29
    EXIT_POPF = 30
    EXIT_ICEBP = 31
    EXIT_FERR_FREEZE = 32
    EXIT_VM_INSTRUCTION = 33

# `attr` of a segment register. What bits 0 to 3, the type, mean depends on SEG_MEMORY.
cdef enum:
    SEG_ACCESSED = 0x1
    SEG_WRITABLE = 0x2      # data; code with it is
    SEG_READABLE = 0x2
    SEG_DOWN = 0x4          # data that expands down; code with it is
    SEG_CONFORMING = 0x4
    SEG_CODE = 0x8
    SEG_MEMORY = 0x10       # code or data, and not a system descriptor
    SEG_PRESENT = 0x80
    SEG_BIG = 0x4000        # 32 bits
    SEG_UNUSABLE = 0x10000  # a null selector was loaded
    SEG_TYPE = 0xF
    SEG_LDT = 0x2           # types of system descriptors: an LDT,
    SEG_TSS = 0x1           # a TSS,
    SEG_TSS_BUSY = 0x2      # of the task that runs, or of one that it is nested in,
    SEG_TSS_32 = 0x8        # of 32 bits
    GATE_CALL_16 = 4        # and gates
    GATE_TASK = 5
    GATE_INTERRUPT_16 = 6
    GATE_TRAP_16 = 7
    GATE_CALL_32 = 12
    GATE_INTERRUPT_32 = 14
    GATE_TRAP_32 = 15

cdef enum:
    TSS_CR3 = 0x1C          # offsets in a TSS of 32 bits (SDM vol. 3 figure 7-2)
    TSS_EIP = 0x20
    TSS_EFLAGS = 0x24
    TSS_REGISTERS = 0x28
    TSS_SELECTORS = 0x48
    TSS_LDT = 0x60
    TSS_TRAP = 0x64
    TSS_16_IP = 0x0E        # and in one of 16 (figure 7-10)
    TSS_16_FLAGS = 0x10
    TSS_16_REGISTERS = 0x12
    TSS_16_SELECTORS = 0x22
    TSS_16_LDT = 0x2A

cdef enum:
    STAYS = 0               # what becomes of an exception during the delivery of another: it is delivered,
    DOUBLE_FAULT = 1        # #DF is in its place,
    TRIPLE_FAULT = 2        # or the processor shuts down

cdef enum:
    EMULATE_DONE = 0        # as `Emulate` numbers them
    EMULATE_READ = 1
    EMULATE_FAULT = 2
    EMULATE_OTHER = 3

cdef enum:
    TASK_CALL = 0       # as VMX numbers them (SDM vol. 3 table 28-2)
    TASK_IRET = 1
    TASK_JMP = 2
    TASK_GATE = 3

cdef enum:
    TABLE_SIDT = 0      # as `DescriptorTable` numbers them
    TABLE_SGDT = 1
    TABLE_SLDT = 2
    TABLE_STR = 3
    TABLE_LIDT = 4
    TABLE_LLDT = 6
    TABLE_LTR = 7

cdef enum:
    VMCALL = 1          # as `VmInstruction` numbers them
    VMRUN = 8
    VMMCALL = 9
    VMREAD = 16
    VMWRITE = 17
    VMPTRLD = 18        # no prefix; with 66 it is VMCLEAR, with F3 VMXON
    VMPTRST = 21
    INVEPT = 22
    INVVPID = 23

cdef enum:
    SPECIAL_SHADOW = 1      # what the loop looks at between two blocks: `shadow` blocks interrupts, for one instruction
    SPECIAL_TRAP = 2        # TF is set
    SPECIAL_INJECT = 4      # an event that the backend injects waits
    SPECIAL_STOP = 8        # the processor has halted or shut down
    SPECIAL_WINDOW = 16     # the backend waits for an interrupt or NMI window
    SPECIAL_RAISE = 32      # an exception waits that was raised between two instructions
    SPECIAL_DEBUG = 64      # DR7 enables a breakpoint
    SPECIAL_RESUME = 128    # RF is set, for one instruction
    SPECIAL_NMI = 256       # the NMI pin went up

cdef enum:
    DR6_BREAKPOINTS = 0xF
    DR6_BD = 0x2000
    DR6_BS = 0x4000
    DR6_BT = 0x8000
    DR7_ENABLES = 0xFF
    DR7_GD = 0x2000

cdef enum:
    SHADOW_STI = 1
    SHADOW_MOV_SS = 2
    BLOCKED_NMI = 8

cdef enum:
    ACTIVE = 0
    HALTED = 1
    SHUTDOWN = 2

cdef enum:
    TOLD_PUSHF = 1      # of `Intercepts`, in one word
    TOLD_POPF = 2
    TOLD_RDTSC = 4
    TOLD_PAUSE = 8

cdef enum:
    JUMPS = 4096
    RETURNS = 256

cdef enum:
    MODE_FLAT = 4       # 32-bit code; CS, SS, DS and ES are all of the linear addresses
    MODE_SEGMENTED = 64     # not so; but CS has no limit that a jump within 16 or 32 bits could pass, and
    MODE_STACK32 = 128      # the stack pointer is ESP, and not SP
    MODE_VECTORS = 8    # SSE2 needs no look first: it may be used, and its exceptions are masked
    MODE_X87 = 32       # and so may the x87, whose exceptions are masked
    MODE_USER = 16      # CPL is 3: which half of the TLB host code looks into

cdef enum:
    TLB_SIZE = 4096
    TLB_MASK = 4095
    MAX_SLOTS = 64
    BLOCK_BUCKETS = 65536
    MAX_BLOCKS = 131072
    MAX_OPS = 786432
    MAX_BLOCK_OPS = 32
    MMIO_MAX = 16

cdef enum:
    REP = 1         # prefix F3, which is REPE of CMPS and SCAS, and of vectors chooses the instruction
    REPNE = 2       # F2, so too

cdef struct Op:
    u16 kind
    u8 size         # 0 8 bits, 1 16, 2 32, 3 64
    u8 sub          # which of several that share a kind
    u8 reg
    u8 rsh          # 8 when `reg` names AH, CH, DH or BH
    u8 rm
    u8 msh          # so too, of `rm`
    u8 base         # of the memory operand: registers, or NO_REG,
    u8 index
    u8 scale        # by how many bits the index is shifted,
    u8 seg          # and its segment
    u8 length
    u8 rep          # REP or REPNE, 0 without
    u8 addr         # address size, as `size`
    u8 ends         # nothing of the block follows
    u16 off         # of the instruction's end, from the start of the block
    u8 lock         # it has the prefix LOCK
    u8 isreg        # there is no memory operand
    u8 prefixes     # how many bytes of them
    u8 modrm
    u64 imm
    u64 disp            # of the memory operand; the second immediate of far pointers and ENTER
    u64 amask           # of the address size

cdef struct Slot:       # a run of guest-physical memory
    u64 first
    u64 last            # its last byte
    s64 read            # the host offset of its first byte,
    s64 write           # and where stores go: the same, or -1 for what is read-only

cdef struct Tlb:        # the linear page if it may be read, written, executed, or NO_PAGE
    u64 rd
    u64 wr
    u64 ex
    u64 add             # from linear address to host offset

cdef struct Block:
    u64 at              # host offset of the first byte
    u32 mode            # that it was decoded in
    u32 ops             # index of its first operation,
    u32 count           # and how many it has
    u32 length          # bytes
    s64 next            # in its bucket
    s64 next_in_page
    u32 link            # the block that came next the last time
    u32 valid           # its bytes are what was decoded
    u32 tail            # what stands for its bytes in the next page, if its instruction goes on there: else 0
    u32 head            # of such a tail: the block
    u32 runs            # so far, until it is translated
    u32 native          # where the host code of its operations begins in the arena; 0: it has none
    u32 host_code       # and where all of its host code does

cdef struct Jump:       # where an indirect jump led the last time
    u64 eip
    u64 add             # from there to the host offset
    u64 entry           # the host code
    u64 delta           # `code_delta` there

cdef struct Return:     # where a RET goes on that pops what a CALL pushed at this ESP:
    u64 eip             # if it pops this,
    u64 entry           # there in the arena

# The host code (jit/arena.py).
cdef struct Arena:
    u8 *code            # where it is written,
    u8 *run             # and where the same memory is executed
    u32 used            # bytes so far
    u32 start           # where blocks begin, behind the routines that all of them use:
    u32 leave           # the way out,
    u32 leave_stored    # the same after a call,
    u32 store           # the general registers are stored in the record
    u32 load            # and loaded again,
    u32 carry           # CF comes to `cc_cf`,
    u32 status          # or all status flags to the host's,
    u32 eflags          # or EFLAGS, whole, to EAX,
    u32 take_mxcsr      # the guest's MXCSR comes to the host's,
    u32 give_mxcsr      # and goes back to the record,
    u32 take_x87        # and so the x87's registers
    u32 give_x87
    u32 linked          # bytes of a block's linked entry

cdef class State:
    # what host code wants most: it reaches the first 256 bytes with the shortest instructions
    cdef u64[17] regs
    cdef u64 eip
    cdef u64 flags
    cdef u16 cc_op              # where the status flags come from, which are lazy (flags.py)
    cdef u16 cc_size
    cdef u32 cc_cf
    cdef u64 cc_a
    cdef u64 cc_b
    cdef u64 cc_res
    cdef u32 special            # host code reads these two as one
    cdef u32 stop_wanted
    cdef u32 *wanted_pin        # the INTR pin, while that is to stop the guest; else a word that is 0
    cdef u32 code_delta         # from the host offset of the code that runs to its EIP
    cdef u32 on_interrupt
    cdef readonly u64 icount    # while host code runs, `count_base` less what R13 has
    cdef u64 block_eip
    cdef s64 current            # the block that is being executed, 0 if it is in none; host code sets it when it must
    cdef u64 stop_at
    cdef u64 count_base
    cdef u32 cc_of
    cdef u64 remaining          # what R13 begins with: instructions until `stop_at`, without those of the block
    # architecture
    cdef u32[8] sel
    cdef u64[8] base
    cdef u32[8] limit
    cdef u32[8] attr
    cdef u64[8] rd_size         # how many bytes from the base may be read without a closer look,
    cdef u64[8] wr_size         # or written
    cdef u64 gdt_base
    cdef u64 idt_base
    cdef u32 gdt_limit
    cdef u32 idt_limit
    cdef u64 cr0
    cdef u64 cr2
    cdef u64 cr3
    cdef u64 cr4
    cdef u64 cr8
    cdef public u64 efer
    cdef u64[8] debug
    cdef readonly u32 cpl
    cdef u64 sp_mask
    cdef u32 code_size
    cdef u32 mode               # of blocks: `code_size`, MODE_FLAT and so on
    cdef u32 protected          # segments have descriptors: protected mode, and not virtual-8086 mode
    cdef u32 shadow             # SHADOW_STI and so on
    cdef u32 activity_now       # ACTIVE and so on
    cdef public s64 tsc_offset
    cdef u32 sysenter_cs
    cdef u32 sysenter_esp
    cdef u32 sysenter_eip
    cdef u64 pat
    cdef u64[4] pdptes          # PAE's first table, as it was when CR3 was loaded
    # the model
    cdef u32 signature
    cdef u32 features           # CPUID leaf 1, EDX
    cdef u32 extended           # CPUID leaf 8000_0001, EDX
    cdef u64 cr4_writable
    # faults on their way
    cdef u32 fault
    cdef u32 fault_vector
    cdef u32 fault_error
    cdef u32 fault_has_error
    cdef u32 fault_kind
    cdef u32 fault_length
    cdef u32 no_trap            # the instruction is followed by no single-step trap
    cdef u32 raise_vector
    cdef u32 raise_error
    cdef u32 raise_has_error
    # event injection
    cdef u32 inject_kind
    cdef u32 inject_vector
    cdef u32 inject_error
    cdef u32 inject_has_error
    cdef u32 inject_length
    cdef u32 injecting          # the event being raised is the backend's own: it does not stop
    cdef u32 debug_bits         # what the debug exception on its way set in DR6, and DR6 before
    cdef u64 debug_before
    # running
    cdef ExitInfo info
    cdef u32 vcpu
    cdef object pins
    cdef u32 *pin
    cdef u32 nothing            # 0, for ever
    # intercepts
    cdef public Intercepts intercepts
    cdef u32 told               # TOLD_PUSHF and so on: what host code leaves to the interpreter
    cdef u32 cr3_target_count
    cdef u64[4] cr3_targets
    cdef public u32 pause_left  # PAUSEs until one stops; 0: the next one does
    cdef u32 msr_bitmap_used
    cdef u8[3072] msr_read      # a bit for each of MSR_RANGES: it stops
    cdef u8[3072] msr_write
    cdef u32 io_bitmap_used
    cdef u8[8192] io_bitmap
    # memory
    cdef object memory
    cdef object host_view
    cdef u8 *host
    cdef u64 a20_mask
    cdef u32 slots_used
    cdef Slot[64] slots
    cdef Tlb[8192] tlb          # supervisor's half, then user's
    cdef u8[8192] tlb_state     # TLB_GLOBAL and so on
    cdef u16[8192] tlb_local    # the entries filled since the last flush, those of global pages apart
    cdef u16[8192] tlb_global
    cdef u32 tlb_locals         # how many there are
    cdef u32 tlb_globals
    cdef u64 tlb_half           # TLB_SIZE while CPL is 3
    cdef u32 large_pages        # some translation since the last flush was of a large page:
    cdef u8[1024] large_region  # in which 4 MiB of the linear addresses
    cdef u64 fault_address
    cdef public u32 pdptes_in_memory    # PAE's first table is read by every walk, as the other two
    cdef u64[4] pdptes_read     # on their way to `pdptes`
    cdef u32 aligning           # CR0.AM and EFLAGS.AC at CPL 3: a misaligned access faults
    cdef u32 watching           # DR7 enables a data breakpoint
    cdef u32 watch_hit          # data breakpoints that the current instruction met, as in DR6
    cdef u64 walk_flags     # of the page that `paging.walk` found last
    cdef u64 walk_rights
    # decoded code
    cdef Op *ops
    cdef u32 ops_used
    cdef Block *blocks
    cdef u32 blocks_used
    cdef s64 *buckets
    cdef s64 *page_blocks
    cdef u64 *page_code     # a bit for every 64 bytes of a host page that holds decoded code
    cdef u64 host_pages
    cdef u64 fetch_at       # host offset of the first byte of `fetched`,
    cdef u32 fetch_count    # how many there are,
    cdef u32 fetch_next     # which the decoder takes next,
    cdef u32 fetch_over     # and whether it wanted one behind the last
    cdef u8[16] fetched
    cdef u32 gone               # the last operation went elsewhere
    # host code (jit/translate.py)
    cdef public u32 translate_after     # runs of a block; 0: translate nothing
    cdef Arena arena
    cdef u32 native_done        # operations that a block did which did not come to its end
    cdef u64 native_off         # of an operand that is being modified, in its segment
    cdef u64[2] native_kept     # across a call
    cdef u64 waiting_operand    # of a multiplication whose flags wait (jit/waiting.py); the other is in `cc_b`
    cdef Jump[8192] jumps       # of CPL 0 to 2, then of CPL 3
    cdef Return[512] returns    # so too; by ESP
    cdef Tlb[4] stack_pages     # so too, each two: the TLB's entries where ESP and EBP were found to point last
    # emulation of an access to what is no memory
    cdef u32 emulating
    cdef u32 mmio_supplied
    cdef u32 mmio_used
    cdef u64[16] mmio_address
    cdef u32[16] mmio_size
    cdef u64[16] mmio_data
    cdef u32 mmio_writes
    cdef u64[16] mmio_write_address
    cdef u32[16] mmio_write_size
    cdef u64[16] mmio_write_data
    # floating point: the registers of x87, MMX and SSE
    cdef u32[8] fp_se           # by their own number, not from the top
    cdef u64[8] fp_sig          # also the MMX registers
    cdef u32 fp_top
    cdef u32 fp_used            # a bit for a register that is not empty
    cdef u32 fp_control
    cdef u32 fp_status          # without TOP
    cdef u32 fp_opcode
    cdef u64 fp_ip
    cdef u32 fp_cs
    cdef u64 fp_dp
    cdef u32 fp_ds
    cdef u32 mxcsr              # while `mxcsr_taken` is 0, and then the host has it: and `host_mxcsr` what that had
    cdef u32 mxcsr_taken
    cdef u32 host_mxcsr
    cdef u32 x87_taken          # the host's x87 has the guest's state, and the record's is old
    cdef u64[14] x87_image      # on its way, as FNSAVE stores it
    cdef u64[16] xmm            # low and high half of each
    cdef public u32 has_fpu
    cdef public u32 has_mmx
    cdef public u32 has_fxsr
    cdef public u32 has_sse
    cdef public u32 has_sse2
    cdef public u32 ferr        # FERR#: an x87 exception waits, and CR0.NE is clear
    cdef public u32 ignne       # IGNNE#: go on although it does
    # floating point: one operation (softfloat.py)
    cdef u32[2] v_kind
    cdef u32[2] v_sign
    cdef u32[2] v_denormal
    cdef s64[2] v_exp
    cdef u64[2] v_sig
    cdef u32 x_sign
    cdef s64 x_exp
    cdef u64 x_hi
    cdef u64 x_lo
    cdef u32 f_flags
    cdef u32 f_masks
    cdef u32 f_round
    cdef u32 f_up
    cdef u32 f_flush            # tiny results become zero
    cdef u32 f_all              # exceptions of all elements so far
    cdef u64 w_hi
    cdef u64 w_lo
    cdef u64[2] src             # of a vector instruction (sse.py)
    cdef u64[2] dst
    # statistics
    cdef u64 count_blocks
    cdef u64 count_tlb_misses
    cdef u64 count_exits
    cdef u64[64] count_stops           # by ExitKind, returns of Processor.run
    cdef u64 count_translated
    cdef public u32 timed               # somebody asked where the time goes: in nanoseconds,
    cdef u64 time_walking               # TLB misses,
    cdef u64 time_decoding              # and blocks that were not there, misses on the way to them too
    cdef u64 time_translating           # and host code
    cdef u64[320] count_interpreted     # by kind, operations that host code had interpreted
