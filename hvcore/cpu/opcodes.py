"""The opcode map of the i686, as data (SDM vol. 2 app. A). It is never compiled; `decode` reads it once.

A row says, for an opcode or a member of an opcode group: the operation when the ModR/M operand is a register,
the operation when it is memory, the operand size (`b`, `w`, `d` fixed; `v` by operand-size attribute), the
immediate, the `sub` that the operation needs, and flags.

`_` in the register column: there is no register form (#UD). `_` in the memory column: no memory form.
"""

from typing import NamedTuple

from hvcore.cpu.constants import KINDS, STATE

# flags
MODRM = 1
ENDS = 2  # the block ends here
GROUP = 4  # `sub` is a group's number; ModR/M bits 5:3 choose the row
LOCKABLE = 8  # LOCK is allowed when the destination is memory
SWAP = 16  # the register destination is in ModR/M r/m, not in reg
RM8 = 32  # the r/m operand has 8 bits, whatever the operand size
OPCODE_REG = 64  # the register is in the opcode's low three bits
REGISTER_ONLY = 128  # ModR/M mod is ignored: always a register

CMP, TEST, BIT_TEST = STATE["ALU_CMP"], STATE["ALU_TEST"], STATE["BIT_TEST"]

IMMEDIATES = ("", "z", "bs", "b", "w", "one", "j8", "jz", "far", "enter", "moffs")
SIZES = {"b": 0, "w": 1, "d": 2, "v": 4, "q": 3}


class Row(NamedTuple):
    """One opcode."""

    register: int
    memory: int
    size: int
    immediate: int
    sub: int
    flags: int


UNDEFINED = Row(KINDS["UNDEFINED"], KINDS["UNDEFINED"], 0, 0, 0, ENDS)


def row(
    register: str, memory: str, size: str = "v", immediate: str = "", sub: int = 0, flags: int = 0
) -> Row:
    """A row from names."""
    kinds = [KINDS["UNDEFINED"] if name == "_" else KINDS[name] for name in (register, memory)]
    return Row(kinds[0], kinds[1], SIZES[size], IMMEDIATES.index(immediate), sub, flags)


def modrm(
    register: str, memory: str, size: str = "v", immediate: str = "", sub: int = 0, flags: int = 0
) -> Row:
    """A row with a ModR/M byte."""
    return row(register, memory, size, immediate, sub, flags | MODRM)


def plain(kind: str, size: str = "v", immediate: str = "", sub: int = 0, flags: int = 0) -> Row:
    """A row without operands in a ModR/M byte."""
    return row(kind, kind, size, immediate, sub, flags)


def group(number: int, size: str = "v") -> Row:
    """A row that stands for eight, in GROUPS."""
    return row("_", "_", size, "", number, MODRM | GROUP)


def _groups() -> list[list[Row]]:
    both = MODRM | SWAP
    lock = both | LOCKABLE
    empty = UNDEFINED._replace(flags=ENDS | MODRM)
    groups: list[list[Row]] = []

    def add(rows: dict[int, Row]) -> None:
        groups.append([rows.get(i, empty) for i in range(8)])

    for size, immediate in (("b", "z"), ("v", "z"), ("v", "bs")):  # 0, 1, 2: 80 (and 82), 81, 83
        add({i: row("ALU_RI", "ALU_MI", size, immediate, i, both if i == CMP else lock) for i in range(8)})
    for size in ("b", "v"):  # 3 to 8: C0 C1, D0 D1, D2 D3
        for how, immediate in (("I", "b"), ("I", "one"), ("C", "")):
            add({i: row(f"SHIFT_R{how}", f"SHIFT_M{how}", size, immediate, i, both) for i in range(8)})
    for size in ("b", "v"):  # 9, 10: F6, F7
        add(
            {
                **{i: row("ALU_RI", "ALU_MI", size, "z", TEST, both) for i in (0, 1)},
                2: row("NOT_R", "NOT_M", size, "", 0, lock),
                3: row("NEG_R", "NEG_M", size, "", 0, lock),
                **{i: row("MUL_R", "MUL_M", size, "", i, both) for i in (4, 5, 6, 7)},
            }
        )
    inc_dec = {0: ("INC_R", "INC_M"), 1: ("DEC_R", "DEC_M")}
    add({i: row(*names, "b", "", 0, lock) for i, names in inc_dec.items()})  # 11: FE
    add(  # 12: FF
        {
            **{i: row(*names, "v", "", 0, lock) for i, names in inc_dec.items()},
            2: row("CALL_R", "CALL_M", "v", "", 0, both | ENDS),
            3: row("_", "CALL_FAR_M", "v", "", 0, both | ENDS),
            4: row("JMP_R", "JMP_M", "v", "", 0, both | ENDS),
            5: row("_", "JMP_FAR_M", "v", "", 0, both | ENDS),
            6: row("PUSH_R", "PUSH_M", "v", "", 0, both),
        }
    )
    add({0: row("POP_R", "POP_M", "v", "", 0, both)})  # 13: 8F
    add({0: row("MOV_RI", "MOV_MI", "b", "z", 0, both)})  # 14: C6
    add({0: row("MOV_RI", "MOV_MI", "v", "z", 0, both)})  # 15: C7
    names = ("SLDT", "STR", "LLDT", "LTR", "VERR", "VERW")
    add(  # 16: 0F 00
        {i: row(f"{n}_R", f"{n}_M", "v" if i < 2 else "w", "", 0, both) for i, n in enumerate(names)}
    )
    add(  # 17: 0F 01
        {
            0: row("VM_CALL", "SGDT", "v", "", 0, both | ENDS),
            1: row("_", "SIDT", "v", "", 0, both | ENDS),
            2: row("_", "LGDT", "v", "", 0, both | ENDS),
            3: row("VM_INSTRUCTION", "LIDT", "v", "", 0, both | ENDS),
            4: row("SMSW_R", "SMSW_M", "v", "", 0, both | ENDS),
            6: row("LMSW_R", "LMSW_M", "w", "", 0, both | ENDS),
            7: row("_", "INVLPG", "v", "", 0, both | ENDS),
        }
    )
    add(  # 18: 0F BA
        {i: row("BT_RI", "BT_MI", "v", "b", i, both if i == BIT_TEST else lock) for i in range(4, 8)}
    )
    vmx = MODRM | ENDS
    add(  # 19: 0F C7
        {
            1: row("_", "CMPXCHG8B", "q", "", 0, lock),
            6: row("_", "VMX_M", "d", "", STATE["VMPTRLD"], vmx),
            7: row("_", "VMX_M", "d", "", STATE["VMPTRST"], vmx),
        }
    )
    add(  # 20: 0F AE
        {
            0: row("_", "FXSAVE", "d", "", 0, both),
            # FXRSTOR and LDMXCSR end their blocks: what follows is of another mode.
            1: row("_", "FXSAVE", "d", "", 1, both | ENDS),
            2: row("VECTOR_CONTROL", "VECTOR_CONTROL", "d", "", 0, MODRM | ENDS),
            **{i: row("VECTOR_CONTROL", "VECTOR_CONTROL", "d", "", 0, MODRM) for i in (3, 5, 6, 7)},
        }
    )
    add(  # 21: 0F 38 80
        {i: row("_", "VMX_M", "d", "", STATE[n], vmx) for i, n in enumerate(("INVEPT", "INVVPID"))}
    )
    return groups


# Vector instructions: the opcode's second byte and the mandatory prefix (0 none, 1 66, 2 F3, 3 F2), and the form that
# this needs, as `sse.pxd` numbers them.
NONE, MMX, MMX_SSE, MMX_SSE2, SSE, SSE2 = range(6)
REGISTERS = 8  # with a form: there is no memory form
MEMORY = 16  # there is no register form
VECTORS_WITH_IMMEDIATE = {0x70, 0x71, 0x72, 0x73, 0xC2, 0xC4, 0xC5, 0xC6}


def _vectors() -> dict[tuple[int, int], int]:
    t: dict[tuple[int, int], int] = {}

    def add(forms: tuple[int, int, int, int], *opcodes: int) -> None:
        t.update({(opcode, prefix): form for opcode in opcodes for prefix, form in enumerate(forms) if form})

    add((SSE, SSE2, SSE, SSE2), 0x10, 0x11, 0x51, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0xC2)
    add((SSE2, SSE2, SSE2, SSE2), 0x5A)
    add((SSE, SSE2 + MEMORY, NONE, NONE), 0x12, 0x16)
    add((SSE + MEMORY, SSE2 + MEMORY, NONE, NONE), 0x13, 0x17, 0x2B)
    add((SSE, SSE2, NONE, NONE), 0x14, 0x15, 0x28, 0x29, 0x2E, 0x2F, 0x54, 0x55, 0x56, 0x57, 0xC6)
    add((SSE, SSE2, SSE, SSE2), 0x2A, 0x2C, 0x2D)
    add((SSE + REGISTERS, SSE2 + REGISTERS, NONE, NONE), 0x50)
    add((SSE, NONE, SSE, NONE), 0x52, 0x53)
    add((SSE2, SSE2, SSE2, NONE), 0x5B)
    add((NONE, SSE2, SSE2, SSE2), 0xE6)
    add((MMX, SSE2, NONE, NONE), *range(0x60, 0x6C), 0x6E, 0x74, 0x75, 0x76)
    add((MMX, SSE2, NONE, NONE), 0xD1, 0xD2, 0xD3, 0xD5, 0xD8, 0xD9, 0xDB, 0xDC, 0xDD, 0xDF)
    add((MMX, SSE2, NONE, NONE), 0xE1, 0xE2, 0xE5, 0xE8, 0xE9, 0xEB, 0xEC, 0xED, 0xEF)
    add((MMX, SSE2, NONE, NONE), 0xF1, 0xF2, 0xF3, 0xF5, 0xF8, 0xF9, 0xFA, 0xFC, 0xFD, 0xFE)
    add((MMX_SSE, SSE2, NONE, NONE), 0xC4, 0xDA, 0xDE, 0xE0, 0xE3, 0xE4, 0xEA, 0xEE, 0xF6)
    add((MMX_SSE + REGISTERS, SSE2 + REGISTERS, NONE, NONE), 0xC5, 0xD7, 0xF7)
    add((MMX_SSE2, SSE2, NONE, NONE), 0xD4, 0xF4, 0xFB)
    add((NONE, SSE2, NONE, NONE), 0x6C, 0x6D)
    add((MMX, SSE2, SSE2, NONE), 0x6F, 0x7F, 0x7E)
    add((MMX_SSE, SSE2, SSE2, SSE2), 0x70)
    add((MMX + REGISTERS, SSE2 + REGISTERS, NONE, NONE), 0x71, 0x72, 0x73)
    add((NONE, SSE2, SSE2 + REGISTERS, SSE2 + REGISTERS), 0xD6)
    add((MMX_SSE + MEMORY, SSE2 + MEMORY, NONE, NONE), 0xE7)
    add((SSE2 + MEMORY, NONE, NONE, NONE), 0xC3)
    add((MMX, NONE, NONE, NONE), 0x77)
    return t


VECTORS = _vectors()


def _one_byte() -> dict[int, Row]:
    t: dict[int, Row] = {}
    both = MODRM | SWAP
    end = ENDS
    for sub in range(8):
        lock = LOCKABLE if sub != CMP else 0
        for low, size in enumerate("bv"):
            t[sub * 8 + low] = row("ALU_RR", "ALU_MR", size, "", sub, both | lock)
            t[sub * 8 + 2 + low] = modrm("ALU_RR", "ALU_RM", size, "", sub)
            t[sub * 8 + 4 + low] = plain("ALU_RI", size, "z", sub)
    for opcode, seg in ((0x06, "ES"), (0x0E, "CS"), (0x16, "SS"), (0x1E, "DS")):
        t[opcode] = plain("PUSH_SEG", sub=STATE[seg])
        if seg != "CS":
            t[opcode + 1] = plain("POP_SEG", sub=STATE[seg], flags=end if seg == "SS" else 0)
    for opcode, name in (
        (0x27, "DAA"),
        (0x2F, "DAS"),
        (0x37, "AAA"),
        (0x3F, "AAS"),
        (0xD6, "SALC"),
        (0xD7, "XLAT"),
    ):
        t[opcode] = plain(name, "b")
    t[0xD4], t[0xD5] = plain("AAM", "b", "b"), plain("AAD", "b", "b")
    for i in range(8):
        t[0x40 + i] = plain("INC_R", flags=OPCODE_REG)
        t[0x48 + i] = plain("DEC_R", flags=OPCODE_REG)
        t[0x50 + i] = plain("PUSH_R", flags=OPCODE_REG)
        t[0x58 + i] = plain("POP_R", flags=OPCODE_REG)
        t[0x90 + i] = plain("XCHG_RR", flags=OPCODE_REG)
        t[0xB0 + i] = plain("MOV_RI", "b", "z", flags=OPCODE_REG)
        t[0xB8 + i] = plain("MOV_RI", "v", "z", flags=OPCODE_REG)
    t[0x90] = plain("NOP")
    t[0x60], t[0x61] = plain("PUSHA"), plain("POPA")
    t[0x62] = modrm("_", "BOUND")
    t[0x63] = row("ARPL_R", "ARPL_M", "w", "", 0, both)
    t[0x68], t[0x6A] = plain("PUSH_I", "v", "z"), plain("PUSH_I", "v", "bs")
    t[0x69] = modrm("IMUL_RI", "IMUL_MI", "v", "z")
    t[0x6B] = modrm("IMUL_RI", "IMUL_MI", "v", "bs")
    for code in range(16):
        t[0x70 + code] = plain("JCC", "v", "j8", code, end)
    t[0x80], t[0x81], t[0x82], t[0x83] = group(0), group(1), group(0), group(2)
    for low, size in enumerate("bv"):
        t[0x84 + low] = row("ALU_RR", "ALU_RM", size, "", TEST, both)
        t[0x86 + low] = row("XCHG_RR", "XCHG_MR", size, "", 0, both | LOCKABLE)
        t[0x88 + low] = row("MOV_RR", "MOV_MR", size, "", 0, both)
        t[0x8A + low] = modrm("MOV_RR", "MOV_RM", size)
        t[0xA0 + low] = plain("MOV_RM", size, "moffs")
        t[0xA2 + low] = plain("MOV_MR", size, "moffs")
        t[0xA8 + low] = plain("ALU_RI", size, "z", TEST)
        for opcode, name in ((0xA4, "MOVS"), (0xA6, "CMPS"), (0xAA, "STOS"), (0xAC, "LODS"), (0xAE, "SCAS")):
            t[opcode + low] = plain(name, size)
        t[0x6C + low] = plain("INS", size, flags=end)
        t[0x6E + low] = plain("OUTS", size, flags=end)
        t[0xC0 + low], t[0xD0 + low], t[0xD2 + low] = (
            group(3 + 3 * low),
            group(4 + 3 * low),
            group(5 + 3 * low),
        )
        t[0xC6 + low], t[0xF6 + low], t[0xFE + low] = group(14 + low), group(9 + low), group(11 + low)
        t[0xE4 + low], t[0xE6 + low] = (
            plain("IN_I", size, "b", flags=end),
            plain("OUT_I", size, "b", flags=end),
        )
        t[0xEC + low], t[0xEE + low] = plain("IN_DX", size, flags=end), plain("OUT_DX", size, flags=end)
    t[0x8C] = row("MOV_R_SEG", "MOV_M_SEG", "v", "", 0, MODRM)
    t[0x8D] = modrm("_", "LEA")
    t[0x8E] = row("MOV_SEG_R", "MOV_SEG_M", "w", "", 0, MODRM | end)
    t[0x8F] = group(13)
    t[0x98], t[0x99] = plain("CBW"), plain("CWD")
    t[0x9A], t[0xEA] = plain("CALL_FAR", "v", "far", flags=end), plain("JMP_FAR", "v", "far", flags=end)
    t[0x9B], t[0x9C], t[0x9D] = plain("WAIT"), plain("PUSHF"), plain("POPF", flags=end)
    t[0x9E], t[0x9F] = plain("SAHF"), plain("LAHF")
    t[0xC2], t[0xC3] = plain("RET_I", "v", "w", flags=end), plain("RET", flags=end)
    t[0xC4], t[0xC5] = modrm("_", "LOAD_FAR", sub=STATE["ES"]), modrm("_", "LOAD_FAR", sub=STATE["DS"])
    t[0xC8], t[0xC9] = plain("ENTER", "v", "enter"), plain("LEAVE_FRAME")
    t[0xCA], t[0xCB] = plain("RET_FAR", "v", "w", 1, end), plain("RET_FAR", flags=end)
    t[0xCC], t[0xCD] = plain("INT3", flags=end), plain("INT", "b", "b", flags=end)
    t[0xCE], t[0xCF], t[0xF1] = plain("INTO", flags=end), plain("IRET", flags=end), plain("INT1", flags=end)
    for i in range(8):
        t[0xD8 + i] = modrm("ESC_R", "ESC_M", sub=i)
    for i, name in enumerate(("LOOPNE", "LOOPE", "LOOP", "JCXZ")):
        t[0xE0 + i] = plain(name, "v", "j8", flags=end)
    t[0xE8], t[0xE9], t[0xEB] = (
        plain("CALL", "v", "jz", flags=end),
        plain("JMP", "v", "jz", flags=end),
        plain("JMP", "v", "j8", flags=end),
    )
    t[0xF4], t[0xF5] = plain("HLT", flags=end), plain("CMC")
    for i, name in enumerate(("CLC", "STC", "CLI", "STI", "CLD", "STD")):
        t[0xF8 + i] = plain(name, flags=end if name == "STI" else 0)
    return t


def _two_byte() -> dict[int, Row]:
    t: dict[int, Row] = {}
    both = MODRM | SWAP
    lock = both | LOCKABLE
    end = ENDS
    t[0x00], t[0x01] = group(16), group(17)
    t[0x02], t[0x03] = modrm("LAR_R", "LAR_M"), modrm("LSL_R", "LSL_M")
    t[0x06] = plain("CLTS", flags=end)
    t[0x08], t[0x09] = plain("INVD", flags=end), plain("WBINVD", flags=end)
    for opcode in (0x0D, *range(0x18, 0x20)):
        t[opcode] = modrm("NOP", "NOP")  # prefetch hints and the multi-byte NOP
    register = MODRM | REGISTER_ONLY | ENDS
    t[0x20], t[0x22] = row("MOV_R_CR", "_", "d", "", 0, register), row("MOV_CR_R", "_", "d", "", 0, register)
    t[0x21], t[0x23] = row("MOV_R_DR", "_", "d", "", 0, register), row("MOV_DR_R", "_", "d", "", 0, register)
    for opcode, name in ((0x30, "WRMSR"), (0x32, "RDMSR"), (0x33, "RDPMC"), (0xA2, "CPUID")):
        t[opcode] = plain(name, flags=end)
    t[0x31] = plain("RDTSC")
    t[0x34], t[0x35] = plain("SYSENTER", flags=end), plain("SYSEXIT", flags=end)
    for code in range(16):
        t[0x40 + code] = modrm("CMOV_R", "CMOV_M", "v", "", code)
        t[0x80 + code] = plain("JCC", "v", "jz", code, end)
        t[0x90 + code] = row("SETCC_R", "SETCC_M", "b", "", code, both)
    for opcode, seg in ((0xA0, "FS"), (0xA8, "GS")):
        t[opcode], t[opcode + 1] = plain("PUSH_SEG", sub=STATE[seg]), plain("POP_SEG", sub=STATE[seg])
    t[0xA3] = row("BT_R", "BT_M", "v", "", BIT_TEST, both)
    for opcode, sub in ((0xAB, "BIT_SET"), (0xB3, "BIT_RESET"), (0xBB, "BIT_COMPLEMENT")):
        t[opcode] = row("BT_R", "BT_M", "v", "", STATE[sub], lock)
    t[0xA4], t[0xA5] = (
        row("SHLD_RI", "SHLD_MI", "v", "b", 0, both),
        row("SHLD_RC", "SHLD_MC", "v", "", 0, both),
    )
    t[0xAC], t[0xAD] = (
        row("SHRD_RI", "SHRD_MI", "v", "b", 0, both),
        row("SHRD_RC", "SHRD_MC", "v", "", 0, both),
    )
    t[0xAE] = group(20)
    for opcode in {opcode for opcode, _ in VECTORS}:
        immediate = "b" if opcode in VECTORS_WITH_IMMEDIATE else ""
        t[opcode] = modrm("VECTOR", "VECTOR", "v", immediate, opcode)  # the size tells of a prefix 66
    t[0x77] = plain("VECTOR", sub=0x77)
    for opcode, name in ((0x78, "VMREAD"), (0x79, "VMWRITE")):
        t[opcode] = row("VMX_R", "VMX_M", "d", "", STATE[name], MODRM | ENDS)
    t[0xAF] = modrm("IMUL_R", "IMUL_M")
    for low, size in enumerate("bv"):
        t[0xB0 + low] = row("CMPXCHG_R", "CMPXCHG_M", size, "", 0, lock)
        t[0xC0 + low] = row("XADD_R", "XADD_M", size, "", 0, lock)
    for opcode, seg in ((0xB2, "SS"), (0xB4, "FS"), (0xB5, "GS")):
        t[opcode] = modrm("_", "LOAD_FAR", "v", "", STATE[seg], ENDS if seg == "SS" else 0)
    t[0xB6], t[0xB7] = modrm("MOVZX_R", "MOVZX_M", "v", "", 0, RM8), modrm("MOVZX_R", "MOVZX_M", "v", "", 1)
    t[0xBE], t[0xBF] = modrm("MOVSX_R", "MOVSX_M", "v", "", 0, RM8), modrm("MOVSX_R", "MOVSX_M", "v", "", 1)
    t[0xB9] = modrm("_", "_", flags=ENDS)
    t[0xBA] = group(18)
    t[0xBC], t[0xBD] = modrm("BSF_R", "BSF_M"), modrm("BSR_R", "BSR_M")
    t[0xC7] = group(19)
    for i in range(8):
        t[0xC8 + i] = plain("BSWAP", flags=OPCODE_REG)
    return t


GROUPS = _groups()
_ONE = _one_byte()
_TWO = _two_byte()
# One flat table: the one-byte map, the two-byte map from 0x100, group g's rows from 0x200 + 8 * g. The last group is
# all there is of the three-byte map 0F 38.
TABLE: list[Row] = [
    *(_ONE.get(i, UNDEFINED) for i in range(256)),
    *(_TWO.get(i, UNDEFINED) for i in range(256)),
    *(r for g in GROUPS for r in g),
]
