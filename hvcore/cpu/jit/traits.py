"""What operations do with the flags, and which have a translation, as data. It is never compiled; `translate` reads it.

A row says, for kinds of operations: the traits, and the operand sizes that are translated. Whatever is in no row, or of
another size, the interpreter does.
"""

from hvcore.cpu.constants import KINDS, enums

TRAITS = enums("jit/translate.pxd")
SETS, READS, EXITS = TRAITS["SETS"], TRAITS["READS"], TRAITS["EXITS"]
KEEPS_CARRY, MODIFIES, TOUCHES = TRAITS["KEEPS_CARRY"], TRAITS["MODIFIES"], TRAITS["TOUCHES"]
BYTES, WORDS, LONGS, ANY = 1, 2, 4, 15

ROWS: list[tuple[str, int, int]] = [
    # ADD OR ADC SBB AND SUB XOR CMP TEST
    ("ALU_RR ALU_RI", SETS, WORDS | LONGS),
    ("ALU_RM", SETS | EXITS, WORDS | LONGS),
    ("ALU_MR ALU_MI", SETS | EXITS | MODIFIES, BYTES | WORDS | LONGS),
    ("ADD32_RR OR32_RR AND32_RR SUB32_RR XOR32_RR CMP32_RR TEST32_RR", SETS, ANY),
    ("ADD32_RI OR32_RI AND32_RI SUB32_RI XOR32_RI CMP32_RI TEST32_RI", SETS, ANY),
    ("ADD32_RM OR32_RM AND32_RM SUB32_RM XOR32_RM CMP32_RM", SETS | EXITS, ANY),
    ("ADD32_MR ADD32_MI", SETS | EXITS | MODIFIES, ANY),
    ("CMP32_MR CMP32_MI", SETS | EXITS, ANY),
    ("CMP8_RR CMP8_RI TEST8_RR TEST8_RI ALU8_RR ALU8_RI", SETS, ANY),
    ("CMP8_RM CMP8_MI ALU8_RM", SETS | EXITS, ANY),
    ("CMPJ32_RR CMPJ32_RI TESTJ32_RR", SETS, ANY),
    ("NEG_R", SETS, LONGS),
    ("INC32 DEC32", KEEPS_CARRY, ANY),
    ("INC32_M DEC32_M", KEEPS_CARRY | EXITS | MODIFIES, ANY),
    # shifts and multiplications
    ("SHL32_I SHR32_I SAR32_I", SETS, ANY),
    ("ROL32_I ROR32_I", TOUCHES, ANY),
    ("SHIFT_RI SHIFT_RC", READS, ANY),
    ("SHLD_RI SHRD_RI SHLD_RC SHRD_RC", READS, LONGS),
    ("IMUL32_RR", SETS, ANY),
    ("IMUL32_RM", SETS | EXITS, ANY),
    ("MUL_R IMUL_RI", SETS, LONGS),
    ("MUL_M IMUL_MI", SETS | EXITS, LONGS),
    # moves
    ("MOV32_RR MOV32_RI LEA32 MOVZX8_R NOP", 0, ANY),
    ("MOV_RR MOV_RI", 0, BYTES),
    ("MOVZX_R MOVSX_R NOT_R XCHG_RR CWD CBW BSWAP", 0, LONGS),
    ("LOAD32 STORE32 STORE32_I LOAD8 STORE8 LOAD16 STORE16 MOVZX8_M MOVZX16_M LODS", EXITS, ANY),
    ("MOV_MI", EXITS, BYTES | WORDS),
    ("MOVSX_M", EXITS, LONGS),
    ("SCAS", SETS | EXITS, ANY),
    ("SETCC_R", READS, ANY),
    ("CMOV_R", READS, LONGS),
    ("CMOV_M", READS | EXITS, LONGS),
    # the stack
    ("PUSH32 PUSH32_I POP32", EXITS, ANY),
    ("PUSH_M LEAVE_FRAME", EXITS, LONGS),
    # elsewhere
    ("JMP", 0, LONGS),
    ("JZ JNZ JCC", READS, LONGS),
    ("JMP_R JMP_M CALL_R CALL_M", EXITS, LONGS),
    ("CALL32 RET32", EXITS, ANY),
]

BY_KIND = {KINDS[name]: (traits, sizes) for names, traits, sizes in ROWS for name in names.split()}
