# The operations that the decoder produces and the execution loop switches on, in one list.
# C takes it from here; `constants.py` reads this same file for the uncompiled processor and the opcode table.
# Suffixes: R a register, M memory, I an immediate; destination first. 32: the hot forms of 32-bit operands.
cdef enum Kind:
    UNDEFINED           # #UD
    LEAVE               # end of what is still valid of a block that was written over
    # hot 32-bit forms, and what else is common (operations.py)
    MOV32_RR
    MOV32_RI
    LOAD32
    STORE32
    STORE32_I
    LOAD8
    STORE8
    ADD32_RR
    ADD32_RM
    ADD32_RI
    OR32_RR
    OR32_RM
    OR32_RI
    AND32_RR
    AND32_RM
    AND32_RI
    SUB32_RR
    SUB32_RM
    SUB32_RI
    XOR32_RR
    XOR32_RM
    XOR32_RI
    CMP32_RR
    CMP32_RM
    CMP32_RI
    TEST32_RR
    TEST32_RI
    INC32
    DEC32
    SHL32_I
    SHR32_I
    SAR32_I
    ROL32_I
    ROR32_I
    ADD32_MR
    ADD32_MI
    INC32_M
    DEC32_M
    CMP32_MR
    CMP32_MI
    CMP8_RR
    CMP8_RI
    CMP8_RM
    CMP8_MI
    TEST8_RR
    TEST8_RI
    ALU8_RR
    ALU8_RI
    ALU8_RM
    LOAD16
    STORE16
    CMPJ32_RR           # a comparison and the conditional jump that follows it, in one go
    CMPJ32_RI
    TESTJ32_RR
    PUSH32
    PUSH32_I
    POP32
    LEA32
    MOVZX8_R
    MOVZX8_M
    IMUL32_RR
    IMUL32_RM
    MOVZX16_M
    JZ
    JNZ
    JCC
    JMP
    CALL32
    RET32
    LEA
    NOP
    # moves of any size (moves.py)
    MOV_RR
    MOV_RM
    MOV_MR
    MOV_RI
    MOV_MI
    MOVZX_R
    MOVZX_M
    MOVSX_R
    MOVSX_M
    PUSH_R
    PUSH_M
    PUSH_I
    POP_R
    POP_M
    SETCC_R
    SETCC_M
    CMOV_R
    CMOV_M
    CBW
    CWD
    BSWAP
    XLAT
    SALC
    # arithmetic of any size, and flags (integers.py)
    ALU_RR              # sub: ALU_ADD and so on
    ALU_RM
    ALU_MR
    ALU_RI
    ALU_MI
    INC_R
    INC_M
    DEC_R
    DEC_M
    NOT_R
    NOT_M
    NEG_R
    NEG_M
    SHIFT_RI            # sub: ROL ROR RCL RCR SHL SHR SAL SAR
    SHIFT_MI
    SHIFT_RC
    SHIFT_MC
    IMUL_R
    IMUL_M
    IMUL_RI
    IMUL_MI
    MUL_R               # sub: MULTIPLY and so on, of the accumulator
    MUL_M
    CLC
    STC
    CMC
    CLD
    STD
    LAHF
    SAHF
    # near branches of any size (branches.py)
    CALL
    CALL_R
    CALL_M
    JMP_R
    JMP_M
    RET
    RET_I
    LOOP
    LOOPE
    LOOPNE
    JCXZ
    # bits and shifts over two registers (bits.py)
    BT_R                # sub: BIT_TEST and so on; the bit in a register
    BT_M
    BT_RI
    BT_MI
    BSF_R
    BSF_M
    BSR_R
    BSR_M
    SHLD_RI
    SHLD_MI
    SHLD_RC
    SHLD_MC
    SHRD_RI
    SHRD_MI
    SHRD_RC
    SHRD_MC
    # exchanges (exchanges.py)
    XCHG_RR
    XCHG_MR
    CMPXCHG_R
    CMPXCHG_M
    XADD_R
    XADD_M
    CMPXCHG8B
    # decimal (arith.py)
    DAA
    DAS
    AAA
    AAS
    AAM
    AAD
    # strings (strings.py; INS and OUTS: ports.py)
    MOVS
    CMPS
    STOS
    LODS
    SCAS
    INS
    OUTS
    # stack frames (frames.py)
    PUSHA
    POPA
    ENTER
    LEAVE_FRAME
    PUSHF
    POPF
    PUSH_SEG
    POP_SEG
    # segments and far transfers (control.py)
    MOV_SEG_R
    MOV_SEG_M
    MOV_R_SEG
    MOV_M_SEG
    LOAD_FAR            # LDS LES LFS LGS LSS
    JMP_FAR
    CALL_FAR
    JMP_FAR_M
    CALL_FAR_M
    RET_FAR
    IRET
    INT
    INT3
    INTO
    INT1
    SYSENTER
    SYSEXIT
    BOUND
    CLI
    STI
    # system (system.py)
    ARPL_R
    ARPL_M
    LAR_R
    LAR_M
    LSL_R
    LSL_M
    IN_I
    IN_DX
    OUT_I
    OUT_DX
    HLT
    PAUSE
    CPUID
    RDTSC
    RDPMC
    RDMSR
    WRMSR
    CLTS
    INVD
    WBINVD
    SLDT_R
    SLDT_M
    STR_R
    STR_M
    LLDT_R
    LLDT_M
    LTR_R
    LTR_M
    VERR_R
    VERR_M
    VERW_R
    VERW_M
    SGDT
    SIDT
    LGDT
    LIDT
    SMSW_R
    SMSW_M
    LMSW_R
    LMSW_M
    INVLPG
    VM_CALL
    VM_INSTRUCTION
    VMX_R               # those of VMX with operands; sub: a VmInstruction
    VMX_M
    MOV_R_CR
    MOV_CR_R
    MOV_R_DR
    MOV_DR_R
    WAIT
    ESC_R               # a coprocessor instruction while there is no coprocessor
    ESC_M
    # floating point beyond the x87
    FXSAVE              # sub: 0 FXSAVE 1 FXRSTOR
    VECTOR              # MMX, SSE, SSE2; sub: the opcode's second byte
    VECTOR_CONTROL      # the rest of 0F AE, by reg
