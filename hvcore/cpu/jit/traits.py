"""What operations do with the flags, and which have a translation, as data. It is never compiled; `translate` reads it.

A row says, for kinds of operations: the traits, and the operand sizes that are translated. Whatever is in no row, or of
another size, the interpreter does.
"""

from hvcore.cpu.constants import KINDS, enums

TRAITS = enums("jit/traits.pxd")
SETS, READS, EXITS = TRAITS["SETS"], TRAITS["READS"], TRAITS["EXITS"]
BRANCHES = TRAITS["BRANCHES"]
KEEPS_CARRY, MODIFIES, TOUCHES = TRAITS["KEEPS_CARRY"], TRAITS["MODIFIES"], TRAITS["TOUCHES"]
MAY_WAIT, LETS_WAIT = TRAITS["MAY_WAIT"], TRAITS["LETS_WAIT"]
PLAIN = SETS | MAY_WAIT | LETS_WAIT
BYTES, WORDS, LONGS, ANY = 1, 2, 4, 15
FORMS = enums("jit/vectors.pxd")

ROWS: list[tuple[str, int, int]] = [
    # ADD OR ADC SBB AND SUB XOR CMP TEST
    ("ALU_RR ALU_RI", PLAIN, WORDS | LONGS),
    ("ALU_RM", PLAIN | EXITS, WORDS | LONGS),
    ("ALU_MR ALU_MI", SETS | EXITS | MODIFIES, BYTES | WORDS | LONGS),
    ("ADD32_RR OR32_RR AND32_RR SUB32_RR XOR32_RR CMP32_RR TEST32_RR", PLAIN, ANY),
    ("ADD32_RI OR32_RI AND32_RI SUB32_RI XOR32_RI CMP32_RI TEST32_RI", PLAIN, ANY),
    ("ADD32_RM OR32_RM AND32_RM SUB32_RM XOR32_RM CMP32_RM", PLAIN | EXITS, ANY),
    ("ADD32_MR ADD32_MI", SETS | EXITS | MODIFIES, ANY),
    ("CMP32_MR CMP32_MI", PLAIN | EXITS, ANY),
    ("CMP8_RR CMP8_RI TEST8_RR TEST8_RI ALU8_RR ALU8_RI", PLAIN, ANY),
    ("CMP8_RM CMP8_MI ALU8_RM", PLAIN | EXITS, ANY),
    ("CMPJ32_RR CMPJ32_RI TESTJ32_RR", SETS, ANY),
    ("NEG_R", PLAIN, BYTES | WORDS | LONGS),
    ("NEG_M", SETS | EXITS | MODIFIES, BYTES | WORDS | LONGS),
    ("INC32 DEC32", KEEPS_CARRY, ANY),
    ("INC_R DEC_R", KEEPS_CARRY, BYTES | WORDS),
    ("INC_M DEC_M", KEEPS_CARRY | EXITS | MODIFIES, BYTES | WORDS),
    ("INC32_M DEC32_M", KEEPS_CARRY | EXITS | MODIFIES, ANY),
    # shifts and multiplications
    ("SHL32_I SHR32_I SAR32_I", PLAIN, ANY),
    ("ROL32_I ROR32_I", TOUCHES, ANY),
    ("SHIFT_RI SHIFT_RC", 0, BYTES | WORDS | LONGS),
    ("SHIFT_MI SHIFT_MC", EXITS | MODIFIES, BYTES | WORDS | LONGS),
    ("BSF_R BSR_R", SETS, LONGS),
    ("BSF_M BSR_M", SETS | EXITS, LONGS),
    ("SHLD_RI SHRD_RI", SETS, LONGS),
    ("SHLD_RC SHRD_RC", TOUCHES, LONGS),
    ("SHLD_MI SHRD_MI", SETS | EXITS | MODIFIES, LONGS),
    ("SHLD_MC SHRD_MC", TOUCHES | EXITS | MODIFIES, LONGS),
    # one flag, or some
    ("BT_R BT_RI", TOUCHES, WORDS | LONGS),
    ("BT_M BT_MI", TOUCHES | EXITS | MODIFIES, WORDS | LONGS),
    ("CLC STC", TOUCHES, ANY),
    ("CMC SAHF", READS | TOUCHES, ANY),
    ("LAHF", READS, ANY),
    ("IMUL32_RR", PLAIN, ANY),
    ("IMUL32_RM", PLAIN | EXITS, ANY),
    ("MUL_R", SETS, BYTES | WORDS | LONGS),
    ("MUL_M", SETS | EXITS, BYTES | WORDS | LONGS),
    ("IMUL_R", SETS, WORDS),
    ("IMUL_M", SETS | EXITS, WORDS),
    ("IMUL_RI", SETS, WORDS | LONGS),
    ("IMUL_MI", SETS | EXITS, WORDS | LONGS),
    # moves
    ("MOV32_RR MOV32_RI LEA32 MOVZX8_R NOP", LETS_WAIT, ANY),
    ("MOV_RR MOV_RI", LETS_WAIT, BYTES | WORDS),
    ("NOT_R XCHG_RR", LETS_WAIT, BYTES | WORDS | LONGS),
    ("NOT_M", EXITS, BYTES | WORDS | LONGS),
    ("MOVZX_R MOVSX_R CWD CBW LEA", LETS_WAIT, WORDS | LONGS),
    ("BSWAP", LETS_WAIT, LONGS),
    ("LOAD32 STORE32 STORE32_I LOAD8 STORE8 LOAD16 STORE16 MOVZX8_M MOVZX16_M", EXITS | LETS_WAIT, ANY),
    ("LODS", EXITS, ANY),
    ("MOV_MI", EXITS | LETS_WAIT, BYTES | WORDS),
    ("MOVSX_M MOVZX_M", EXITS | LETS_WAIT, WORDS | LONGS),
    ("SCAS", SETS | EXITS, ANY),
    ("CMPS", SETS | EXITS | MODIFIES, ANY),  # all flags stand, wherever it was done
    ("SETCC_R", READS, ANY),
    ("SETCC_M", READS | EXITS, ANY),
    ("CLD STD", 0, ANY),
    ("CMOV_R", READS, LONGS),
    ("CMOV_M", READS | EXITS, LONGS),
    # the stack
    ("PUSH32 PUSH32_I POP32", EXITS | LETS_WAIT, ANY),
    ("PUSH_R PUSH_I PUSH_M POP_R LEAVE_FRAME", EXITS | LETS_WAIT, WORDS | LONGS),
    ("PUSHA POPA ENTER PUSH_SEG", EXITS, WORDS | LONGS),
    ("PUSHF", READS | EXITS, WORDS | LONGS),
    ("POPF", SETS | EXITS, WORDS | LONGS),
    # what only a kernel does, or a backend may want to see
    ("CLI STI RDTSC PAUSE", EXITS, ANY),
    ("MOV_R_SEG", 0, WORDS | LONGS),
    ("MOV_M_SEG", EXITS, ANY),
    # elsewhere
    ("JMP", BRANCHES, WORDS | LONGS),
    ("JZ JNZ JCC", READS | BRANCHES, WORDS | LONGS),
    ("LOOP JCXZ", BRANCHES, WORDS | LONGS),
    ("JMP_R JMP_M CALL_R CALL_M", EXITS | BRANCHES, WORDS | LONGS),
    ("CALL32 RET32 CALL RET RET_I", EXITS | BRANCHES, WORDS | LONGS),
    # whole and at once
    ("XCHG_MR", EXITS, BYTES | WORDS | LONGS),
    ("CMPXCHG8B", READS | EXITS | MODIFIES, ANY),
    ("XADD_M CMPXCHG_M", SETS | EXITS | MODIFIES, BYTES | WORDS | LONGS),
]

_LOCKED = "ALU_MR ALU_MI ADD32_MR ADD32_MI INC32_M DEC32_M XCHG_MR XADD_M CMPXCHG_M BT_M BT_MI INC_M DEC_M CMPXCHG8B"
LOCKED = {KINDS[name] for name in _LOCKED.split()}
"""Those that are translated with LOCK."""

BY_KIND = {KINDS[name]: (traits, sizes) for names, traits, sizes in ROWS for name in names.split()}


# Instructions of XMM registers: opcodes, mandatory prefixes (0 none, 1 66, 2 F3, 3 F2), what they are (vectors.pxd),
# and the size of a memory operand in bytes. Of 16 bytes it must be aligned, if nothing else is said.
STORES, WRITES_ALL, LOADS = FORMS["STORES"], FORMS["WRITES_ALL"], FORMS["LOADS"]
TO_GENERAL, IN_GENERAL, FROM_GENERAL = FORMS["TO_GENERAL"], FORMS["IN_GENERAL"], FORMS["FROM_GENERAL"]
IMMEDIATE, ROUNDS, COMPARES, SHIFTS = FORMS["IMMEDIATE"], FORMS["ROUNDS"], FORMS["COMPARES"], FORMS["SHIFTS"]
OF_MMX, OF_MMX_SSE, OF_MMX_SSE2 = FORMS["OF_MMX"], FORMS["OF_MMX_SSE"], FORMS["OF_MMX_SSE2"]
IN_REGISTERS, IN_MEMORY, ALIGNED = FORMS["IN_REGISTERS"], FORMS["IN_MEMORY"], FORMS["ALIGNED"]
VECTOR_ROWS: list[tuple[str, str, int, int]] = [
    # moves
    ("28", "01", WRITES_ALL, 16),
    ("29", "01", STORES, 16),
    ("2b", "01", STORES | IN_MEMORY, 16),
    ("10", "2", LOADS, 4),
    ("10", "3", LOADS, 8),
    ("11", "2", STORES, 4),
    ("11", "3", STORES, 8),
    ("12 16", "01", 0, 8),
    ("13 17", "01", STORES | IN_MEMORY, 8),
    ("6e", "1", IN_GENERAL | WRITES_ALL, 4),
    ("7e", "1", STORES | IN_GENERAL, 4),
    ("7e", "2", WRITES_ALL, 8),
    ("d6", "1", STORES, 8),
    ("6f", "1", WRITES_ALL, 16),
    ("7f", "1", STORES, 16),
    ("e7", "1", STORES | IN_MEMORY, 16),
    ("c3", "0", STORES | IN_MEMORY | FROM_GENERAL, 4),
    ("50", "01", TO_GENERAL | IN_REGISTERS, 0),
    ("d7", "1", TO_GENERAL | IN_REGISTERS, 0),
    # arithmetic of reals
    ("51 58 59 5c 5d 5e 5f", "01", ROUNDS, 16),
    ("51 58 59 5c 5d 5e 5f", "2", ROUNDS, 4),
    ("51 58 59 5c 5d 5e 5f", "3", ROUNDS, 8),
    ("c2", "01", ROUNDS | IMMEDIATE, 16),
    ("c2", "2", ROUNDS | IMMEDIATE, 4),
    ("c2", "3", ROUNDS | IMMEDIATE, 8),
    ("2e 2f", "0", ROUNDS | COMPARES, 4),
    ("2e 2f", "1", ROUNDS | COMPARES, 8),
    # conversions
    ("5a", "0", ROUNDS | WRITES_ALL, 8),
    ("5a", "1", ROUNDS | WRITES_ALL, 16),
    ("5a", "2", ROUNDS, 4),
    ("5a", "3", ROUNDS, 8),
    ("5b", "012", ROUNDS | WRITES_ALL, 16),
    ("e6", "13", ROUNDS | WRITES_ALL, 16),
    ("e6", "2", ROUNDS | WRITES_ALL, 8),
    ("2a", "23", ROUNDS | IN_GENERAL, 4),
    ("2c 2d", "2", ROUNDS | TO_GENERAL, 4),
    ("2c 2d", "3", ROUNDS | TO_GENERAL, 8),
    # bits, and elements in another order
    ("14 15 54 55 56 57", "01", 0, 16),
    ("c6", "01", IMMEDIATE, 16),
    ("70", "123", IMMEDIATE | WRITES_ALL, 16),
    ("c4", "1", IMMEDIATE | IN_GENERAL, 2),
    ("c5", "1", IMMEDIATE | TO_GENERAL | IN_REGISTERS, 0),
    # integers
    ("60 61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 74 75 76", "1", 0, 16),
    ("d1 d2 d3 d4 d5 d8 d9 da db dc dd de df", "1", 0, 16),
    ("e0 e1 e2 e3 e4 e5 e8 e9 ea eb ec ed ee ef", "1", 0, 16),
    ("f1 f2 f3 f4 f5 f6 f8 f9 fa fb fc fd fe", "1", 0, 16),
    ("71 72 73", "1", SHIFTS | IMMEDIATE, 0),
]
UNALIGNED_ROWS: list[tuple[str, str, int, int]] = [
    ("10", "01", WRITES_ALL, 16),
    ("11", "01", STORES, 16),
    ("6f", "2", WRITES_ALL, 16),
    ("7f", "2", STORES, 16),
]
# The same of MM registers, which have no mandatory prefix.
MMX_ROWS: list[tuple[str, int, int]] = [
    ("6e", IN_GENERAL, 4),
    ("7e", STORES | IN_GENERAL, 4),
    ("6f", 0, 8),
    ("7f", STORES, 8),
    ("60 61 62", 0, 4),
    ("63 64 65 66 67 68 69 6a 6b 74 75 76", 0, 8),
    ("d1 d2 d3 d5 d8 d9 db dc dd df e1 e2 e5 e8 e9 eb ec ed ef", 0, 8),
    ("f1 f2 f3 f5 f8 f9 fa fc fd fe", 0, 8),
    ("71 72 73", SHIFTS | IMMEDIATE, 0),
    ("77", IN_REGISTERS, 0),
]
MMX_SSE_ROWS: list[tuple[str, int, int]] = [
    ("da de e0 e3 e4 ea ee f6", 0, 8),
    ("70", IMMEDIATE, 8),
    ("c4", IMMEDIATE | IN_GENERAL, 2),
    ("c5", IMMEDIATE | TO_GENERAL | IN_REGISTERS, 0),
    ("d7", TO_GENERAL | IN_REGISTERS, 0),
    ("e7", STORES | IN_MEMORY, 8),
]
MMX_SSE2_ROWS: list[tuple[str, int, int]] = [("d4 f4 fb", 0, 8)]
_SIZES = {0: 0, 2: 1, 4: 2, 8: 3, 16: 4}
PRESENT = 1 << 16
"""Set in every form, so that none is 0."""


def _vectors() -> dict[tuple[int, int], int]:
    t: dict[tuple[int, int], int] = {}
    for rows, alignment in ((VECTOR_ROWS, ALIGNED), (UNALIGNED_ROWS, 0)):
        for opcodes, prefixes, form, size in rows:
            known = form | _SIZES[size] | PRESENT | (alignment if size == 16 else 0)
            t.update({(int(prefix), int(op, 16)): known for op in opcodes.split() for prefix in prefixes})
    for mmx_rows, added in ((MMX_ROWS, 0), (MMX_SSE_ROWS, OF_MMX_SSE), (MMX_SSE2_ROWS, OF_MMX_SSE2)):
        for opcodes, form, size in mmx_rows:
            known = form | OF_MMX | added | _SIZES[size] | PRESENT
            t.update({(0, int(op, 16)): known for op in opcodes.split()})
    return t


VECTORS = _vectors()

# D9 E0 to D9 FF: what is exact, and so the same on all silicon. No two makes of processor round the others alike.
_EXACT = {
    "FCHS": 0x00, "FABS": 0x01, "FTST": 0x04, "FXAM": 0x05, "FLD1": 0x08, "FLDL2T": 0x09, "FLDL2E": 0x0A, "FLDPI": 0x0B,
    "FLDLG2": 0x0C, "FLDLN2": 0x0D, "FLDZ": 0x0E, "FXTRACT": 0x14, "FPREM1": 0x15, "FDECSTP": 0x16, "FINCSTP": 0x17,
    "FPREM": 0x18, "FSQRT": 0x1A, "FRNDINT": 0x1C, "FSCALE": 0x1D,
}  # fmt: skip
EXACT_X87 = sum(1 << number for number in _EXACT.values())
"""A bit for each, by the low five bits of the second byte."""
