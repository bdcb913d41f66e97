# What a translation needs while it runs, and nobody afterwards.
from hvcore.cpu.state cimport s64, u32, u64

cdef struct Waiting:        # an operation whose flags are computed by the stubs that may want them (waiting.py)
    u32 op                  # the `cc_op` that they will have; CC_FLAGS: none wait
    u32 size                # and its operands' size
    u32 shift               # of CC_SHIFT: SHL, SHR or SAR, or 0 for a multiplication
    u32 count               # by which it shifts

cdef struct Stub:           # what an access through the TLB leads to when it does not hit
    u32 kind                # STUB_LOAD and so on (memory.pxd)
    u32 site                # the jump that leads here,
    u32 limit_site          # that of the segment's check, 0 if it has none,
    u32[8] sites            # more of them,
    u32 sites_used
    u32 stack_site          # that of a look at `stack_pages`, 0 if it has none,
    u32 stack_resume        # and where that goes on if the TLB has the page
    u32 stack_tag           # and as what: TLB_READ or TLB_WRITE
    u64 stack_page          # the displacement of the entry that it looked at
    u32 resume              # where it goes on behind the access,
    u32 again               # or tries again, once the page is in the TLB: behind the operand's linear address in EAX
    u32 access              # READ or WRITE
    u32 checked             # the segment's base is in EAX where the TLB misses
    u32 op
    u32 seg
    u32 size
    u32 value               # VALUE_REG and so on: what is stored
    u32 reg
    u64 imm
    u32 keeps_place         # a CALL or a RET: what follows its access takes where ESP points from EDX
    u32 vectors             # `Translation.vectors` where it goes on
    u32 mxcsr_taken         # and so with what follows
    u32 x87_last
    u32 x87_memory
    Waiting waiting         # the flags that it has to compute first

cdef struct Leave:          # a jump out of the block that `arena.link` may aim at another
    u32 site
    u64 delta               # where it goes, from the block's start,
    u32 wraps               # and whether that is taken modulo 64 KiB

cdef struct Translation:
    s64 block
    u64 at                  # the host offset of its first byte
    u32 count               # of its operations
    u32 code_size           # 1 16 bits, 2 32
    u32 flat                # the block is of MODE_FLAT,
    u32 user                # and of MODE_USER
    u32 stack32             # the stack pointer is ESP, and not SP
    u64 tlb                 # the displacement of its half of the TLB from RBX,
    u64 stack_page          # of its half's entries of `stack_pages`,
    u64 jumps               # and of its indirect jumps,
    u64 returns             # and of where its RETs go on
    u32 refused             # where it goes if it does not run,
    u32 mark                # and its routine that sets `block_eip` and `current`
    u32 leaves_used
    Leave[3] leaves
    u32 return_site         # the LEA that names the place where a RET goes on behind the block's CALL; 0: there is none
    u64 return_delta        # and where that is, from the block's start
    u32 known               # the `cc_op` that the flags have at this point, or UNKNOWN,
    u32 known_size          # and its operands' size
    u32 host_flags          # which flags the host has: HOST_CF and so on (flags.pxd)
    u32 carry_stands        # whether CF is in `cc_cf`
    Waiting waiting         # the operation before this point whose flags wait
    u32 has_vectors         # the block is of MODE_VECTORS
    u32 vectors             # which XMM registers stand in the host's too, by bit
    u32 mxcsr_taken         # whether the host has the guest's MXCSR for sure
    u32 has_x87             # the block is of MODE_X87
    u32 mmx                 # which instructions of MM registers may be the host's: OF_MMX and so on (vectors.pxd)
    u32 x87_taken           # whether the host's x87 has the guest's state for sure
    u32 x87_last            # the last x87 instruction, if it is not noted in the record yet: its number + 1, or 0
    u32 x87_memory          # and the last with a memory operand
    u32[32] live            # by operation, which of its flags are wanted: ALL, CARRY, or 0
    u32 stubs_used
    Stub[160] stubs
