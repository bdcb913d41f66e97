"""Every operation that has a translation does as host code what the interpreter does."""

import itertools

import pytest

from hvcore.cpu.constants import KINDS
from tests.hvcore.cpu.bench import EAX, ECX, EDX, ESI, Bench
from tests.hvcore.cpu.jit.host_code import go, seen

OPERATIONS = {  # each before a HLT at 7C00 + its length; ESI and EBP point at data, ECX is a small number
    "MOV32_RR": "89c8", "MOV32_RI": "b8 78563412", "LOAD32": "8b06", "STORE32": "8906",
    "STORE32_I": "c706 78563412", "LOAD8": "8a26 8a06", "STORE8": "8826 884601", "ADD32_RR": "01c8",
    "ADD32_RM": "0306", "ADD32_RI": "05 78563412", "OR32_RR": "09c8", "OR32_RM": "0b06",
    "OR32_RI": "0d 78563412", "AND32_RR": "21c8", "AND32_RM": "2306", "AND32_RI": "25 78563412",
    "SUB32_RR": "29c8", "SUB32_RM": "2b06", "SUB32_RI": "2d 78563412", "XOR32_RR": "31c8",
    "XOR32_RM": "3306", "XOR32_RI": "35 78563412", "CMP32_RR": "39c8", "CMP32_RM": "3b06",
    "CMP32_RI": "3d 78563412", "TEST32_RR": "85c8", "TEST32_RI": "a9 78563412", "INC32": "40", "DEC32": "48",
    "SHL32_I": "c1e005", "SHR32_I": "c1e805", "SHR32_I by 1": "d1e8", "SAR32_I": "c1f805",
    "ROL32_I": "c1c005", "ROR32_I": "c1c805", "ADD32_MR": "0106", "ADD32_MI": "8306 85", "INC32_M": "ff06",
    "DEC32_M": "ff0e", "CMP32_MR": "3906", "CMP32_MI": "833e 85", "CMP8_RR": "38cc", "CMP8_RI": "3c85",
    "CMP8_RM": "3a26", "CMP8_MI": "803e85", "TEST8_RR": "84cc", "TEST8_RI": "a885", "ALU8_RR": "00cc",
    "ALU8_RR with carry": "18cc", "ALU8_RI": "80d485", "ALU8_RM": "1226", "LOAD16": "668b06",
    "STORE16": "668906", "CMPJ32_RR": "39c8 7700", "CMPJ32_RI": "83f805 7c00", "TESTJ32_RR": "85c8 7800",
    "PUSH32": "54 50", "PUSH32_I": "6a85", "POP32": "58 5c", "LEA32": "8d448e85 8d0cc5 01000000",
    "MOVZX8_R": "0fb6c4", "MOVZX8_M": "0fb606", "MOVZX16_M": "0fb706", "IMUL32_RR": "0fafc1",
    "IMUL32_RM": "0faf06", "JZ": "7400", "JNZ": "7500", "JCC": "7000", "JMP": "eb00", "CALL32": "e800000000",
    "RET32": "68 067c0000 c3", "RET32 with a number": "68 087c0000 c20800", "MOV_RR": "88cc",
    "MOV_RI": "b485", "MOV_MI": "c60685 66c7460234 12", "ALU_RR": "11c8", "ALU_RI": "83d885",
    "ALU_RM": "1306", "ALU_MR": "1106", "ALU_MR of 8 bits": "0006 2046 01", "ALU_MI": "831e85",
    "ALU_MI of 8 bits": "802e85", "ALU_MI, TEST": "f606 85 f706 78563412", "NOT_R": "f7d0", "NEG_R": "f7d8",
    "SHIFT_RI": "c0e403 66c1e803", "SHIFT_RI, RCL": "c1d005", "SHIFT_RC": "d3e0", "SHIFT_RC, SHR": "d3e8",
    "SHIFT_RC, SAR": "d3f8", "SHIFT_RC, RCR": "d3d8", "SHIFT_RC of 8 bits": "d2ec", "MOVZX_R": "0fb7c1",
    "MOVSX_R": "0fbec4 0fbfc8", "MOVSX_M": "0fbe06 0fbf4e01", "XCHG_RR": "91", "CWD": "99", "CBW": "98",
    "PUSH_M": "ff36", "JMP_R": "b8 077c0000 ffe0", "JMP_M": "c706 087c0000 ff26",
    "CALL_R": "b8 077c0000 ffd0", "CALL_M": "c706 087c0000 ff16", "SETCC_R": "0f92c4 0f9fc0",
    "CMOV_R": "0f46c1", "CMOV_M": "0f4c06", "BSWAP": "0fc8", "LEAVE_FRAME": "c9", "IMUL_RI": "6bc185",
    "IMUL_MI": "69067856 3412", "MUL_R": "f7e1", "MUL_R, IMUL": "f7e9", "MUL_M": "f726",
    "MUL_M, IMUL": "f72e", "SHLD_RI": "0fa4c805", "SHRD_RI": "0facc805", "SHLD_RC": "0fa5c8",
    "SHRD_RC": "0fadc8", "NOP": "90 0f1f00", "LODS": "ac 66ad ad", "SCAS": "ae 66af af",
    "ALU_RR of 16 bits": "6601c8 6619ca", "ALU_RI of 16 bits": "6605 3412 6683d285",
    "ALU_RM of 16 bits": "662b06 661316", "ALU_MR of 16 bits": "662906 661106",
    "ALU_MI of 16 bits": "668106 3412 668316 85 66833e 80", "ADD32_RR, its carry behind INC": "01c8 41 11ca",
    "SUB32_RI, its carry behind DEC": "2d 78563412 49 19ca",
    "AND32_RR, its carry behind INC": "21c8 41 11ca", "ALU_RR, its carry behind INC": "11c8 41 4a 7200",
    "ALU8_RI, its carry behind INC": "80d485 41 7200", "CMP32_RM, its carry behind DEC": "3b06 49 0f92c0",
    "SHL32_I, its carry behind INC": "c1e003 41 11ca", "SAR32_I, its carry behind INC": "c1f803 41 0f92c2",
    "MUL_R, its carry behind DEC": "f7e1 49 19ca", "IMUL32_RR, its carry behind INC": "0fafc1 41 11ca",
    "INC32, the carry of before behind it": "40 11ca", "DEC32, twice": "40 48 49 7200",
    "SHIFT_RC, its carry behind INC": "01c0 d3e0 41 11ca",
    "SHIFT_RC, of 0, its carry behind INC": "01c0 b100 d3e0 41 11ca",
    "ROL32_I, its carry behind INC": "01c8 c1c205 41 11ca",
    "ALU_RI, ADC of ESP": "01c8 83d401 19e0 29c4 01e1",
    "CMP32_RR in the block before": "39c8 eb00 7200 7600 7c00 7000 7a00 0f9fc0",
    "CMP8_RR in the block before": "38cc eb00 7200 7c00 7000 0f9ec0",
    "TEST8_RR in the block before": "84cc eb00 7e00 7a00",
    "ALU_RR of 16 bits in the block before": "6639c8 eb00 7200 7c00 7000 7800",
    "XOR32_RR in the block before": "31c8 eb00 7e00",
    "ADD32_RR in the block before": "01c8 eb00 7200 7c00 7000",
    "ALU_RR, ADC in the block before": "11c8 eb00 7600 7d00",
    "INC32 behind CMP of the block before": "39c8 eb00 41 11ca",
    "INC32 behind AND of the block before": "21c8 eb00 41 7200",
    "INC32 behind ADD of the block before": "01c8 eb00 41 7200",
    "INC32 behind DEC of the block before": "39c8 49 eb00 41 7600",
    "INC32 behind SHL of the block before": "c1e003 eb00 41 7600",
    "INC32 behind CMP of 8 bits": "38cc eb00 41 7600", "ADD32_MR with LOCK": "f00106",
    "ALU_MI with LOCK": "f08306 85 f08026 0f 7200", "INC32_M with LOCK": "f0ff06 7200",
    "DEC32_M with LOCK, its carry": "01c8 f0ff0e 11ca",
    "ALU_MR with LOCK, of 16 bits": "66f00906 66f03106 7800", "XCHG_MR": "8706 8626 668746 02",
    "XADD_M": "f00fc106 7200 0fc10e", "XADD_M of 8 bits": "0fc026 7200 660fc10e 7000 f00fc04e01 7800",
    "CMPXCHG_M": "f00fb10e 7400 8b06 f00fb10e 7500 0fb10e",
    "CMPXCHG_M of 8 bits": "0fb026 7400 8a06 0fb00e 7500 668b06 f0660fb10e 7200",
    "MUL_R, DIV": "31d2 83c101 f7f1", "MUL_R, IDIV": "99 f7f9",
    "SHIFT_MI": "c126 05 7200 c12e 1f 7800 c13e 03 7600",
    "SHIFT_MI, its carry behind INC": "c126 01 41 11ca", "BSF_R": "0fbcd1 7400 0fbcd0 7600",
    "BSF_R, as compilers write TZCNT": "f30fbcd1 7400", "RET32 behind REP": "e8 03000000 43 eb02 f3c3",
    "BSR_R": "0fbdd1 0fbdd0 7800", "BSF_M": "0fbc16 7500", "BSR_M": "0fbd16 7200",
    "BSR_R, its carry behind INC": "01c8 0fbdd0 41 7200", "SETCC_M": "0f9206 0f9f4601", "CLD": "fc 7200",
    "STD": "fd ac fc", "LOOP": "e200", "JCXZ": "e300",
    "INC32 in the block before": "40 eb00 7200 7400 7000 7c00 7a00 7600",
    "DEC32 in the block before": "48 eb00 7200 7400 7000 7c00 7a00 7600", "MUL_R of 8 bits": "f6e4 7200",
    "MUL_R, IMUL of 8 bits": "f6ec 7200", "MUL_M of 8 bits": "f626 7800", "MUL_R of 16 bits": "66f7e1 7200",
    "MUL_R, IMUL of 16 bits": "66f7e9 7600", "MUL_M of 16 bits": "66f766 01", "IMUL_R": "660fafc8 7200",
    "IMUL_M": "660faf06 7800", "IMUL_RI of 16 bits": "666bc1 85 7200",
    "IMUL_MI of 16 bits": "66690e 3412 7800", "MUL_R, DIV of 8 bits": "b400 80c901 f6f1",
    "MUL_R, DIV of 16 bits": "31d2 83c901 66f7f1", "MOVS": "a4 66a5 a5", "MOVS, down": "fd a4 66a5 a5 fc",
    "STOS": "aa 66ab ab", "STOS, down": "fd ab aa fc", "MOVS with REP": "f3a4 b105 f366a5 b103 f3a5",
    "STOS with REP": "f3aa b105 f366ab b103 f3ab", "MOVS with REP, over itself": "8d7e01 b107 f3a4",
    "MOVS with REP, none": "31c9 f3a5 7400",
    "SHIFT_RI of 8 bits": "c0e009 7200 c0ec0b 7600 c0f803 7200 c0f909 7800",
    "SHIFT_RI of 16 bits": "66c1e011 7200 66c1f80f",
    "SHIFT_RI, ROL": "c0c003 7200 66c1c10b 7000 c1c21f 7200",
    "SHIFT_RI, ROR of 8 bits": "c0cc05 7200 66c1c90f 7000",
    "SHIFT_RI, RCL of 8 bits": "c0d00b 7200 c0d409 7200 66c1d111 7000",
    "SHIFT_RI, RCR": "c1d81f 7200 66d1d8 c0db09 7000", "SHIFT_RC, ROL": "d3c0 7200 66d3c2 d2c4 7000",
    "SHIFT_RC, ROR": "d3c8 7200 66d3ca d2cc 7000", "SHIFT_RC, RCL": "39c8 d3d0 7200 66d3d2 d2d4 7000",
    "SHIFT_RC, rotations of 0": "01c8 b100 d3c0 d3d8 d2e4 11c2 7000",
    "SHIFT_RC of 16 bits": "66d3e0 7200 66d3fa 7800",
    "SHIFT_RI, a rotation's other flags": "01c8 c1c003 7600 c0c803 7800",
    "SHIFT_RI, rotations one behind another": "29c8 c1c103 c1ca05 c1d801 7a00 11c8 7000",
    "SHIFT_MI of 8 bits": "c02603 7200 c00e05 7000 c01601 7200",
    "SHIFT_MI of 16 bits, RCR": "66c11e05 7200 66d11e 7000", "SHIFT_MI by 0": "39c8 c12620 7600 c02600 7200",
    "SHIFT_MC": "d326 7200 d20e 7000 66d31e 7200 d33e 7800",
    "SHIFT_MC by 0": "01c8 b100 d326 d20e d316 7600", "SHLD_MI": "0fa40e05 7200 0fa40e20 7800",
    "SHRD_MI": "0fac0e1f 7000", "SHLD_MC": "0fa506 7200 b120 0fa506 7000", "SHRD_MC": "0fad06 7000",
    "SHLD_RI by 0": "01c8 0fa4c820 7200", "BT_R": "01c8 0fa3c8 7200 660fa3c8 7300 7000",
    "BT_R, BTS": "29c8 0fabc8 7600 660fabc2 7200", "BT_R, BTR": "0fb3c8 7200",
    "BT_R, BTC": "0fbbc8 7200 660fbbd0 7800", "BT_RI": "01c8 0fbae01f 7200 660fbae01f 7000",
    "BT_RI, BTS": "0fbae805 7200", "BT_RI, BTC": "0fbaf821 7200 660fbaf012 7000 19c2",
    "BT_M": "0fa30e 7200 b8e3ffffff 0fa306 660fa306 7200",
    "BT_M, BTS": "01c8 0fab0e 7200 b8c5ffffff 0fb306 660fbb4602 7000",
    "BT_MI": "39c8 0fba2605 7600 660fba6601 15 7200", "BT_MI, BTR": "0fba361f 7200 660fba7e0109 7000",
    "BT_M with LOCK": "01c8 f00fab0e 7200 f0660fbb4e02 7600 f00fb30e 7200",
    "BT_MI with LOCK": "29c8 f00fba2e05 7200 f0660fba7e0109 7600", "CLC": "39c8 f8 11c2 7000",
    "STC": "39c8 f9 7600 19c2", "CMC": "01c8 f5 11c2 f5 7600", "SAHF": "01c8 9e 7200 7000 11c2",
    "SAHF, OF of before": "01c8 9e 0f9fc0 0f90c4 7c00", "SAHF, its carry behind INC": "9e 41 7200 7600",
    "STC, its carry behind INC": "39c8 f9 41 11c2 7600", "INC_R": "fec4 7200 66 40 7000 fec1",
    "DEC_R": "fecc 7200 6648 7000", "INC_M": "fe06 7200 66ff06 7000",
    "DEC_M": "39c8 fe0e 7600 66ff4e01 7800", "INC_M with LOCK": "f0fe06 7200 f066ff06 7800",
    "DEC_M with LOCK": "01c8 f0fe0e 7200 f066ff0e 7000", "NOT_M": "f716 f61666f756 01",
    "NEG_M": "f71e 7200 f61e 66f75e01 7000", "NOT_R of 8 bits": "f6d4 66f7d2",
    "NEG_R of 8 bits": "f6dc 7200 66f7da 7000", "XCHG_RR of 8 bits": "86e0 86cd 6692",
    "MOV_RR of 16 bits": "6689c8 66ba3412",
    "INC32 behind ROL of the block before": "01c8 c1c003 eb00 41 7200 7000",
    "SHIFT_RI, RCL behind BT of the block before": "01c8 0fa3c8 eb00 c1d203 7600",
    "BT_R in the block before": "29c8 0fa3c8 eb00 7200 7600 7c00 7000 7a00",
    "PUSHF": "01c8 9c 58 7200", "PUSHF of 16 bits": "39c8 669c 6659",
    "POPF": "01c8 50 812424 d50c0000 9d eb00 11c2 7000",
    "POPF of 16 bits": "6650 66812424 d50c 669d eb00 7600 9c 58",
    "POPF, with IF": "6802020000 9d 9c 58 fa 9c 59",
    "CLI": "fa 01c8 fa 7200 9c 58", "STI": "fb 9c 58 fb 9c 59 fa", "LAHF": "01c8 9f 9e 7200 7000 11c2",
    "LAHF behind INC of the block before": "39c8 41 eb00 9f 7600",
    "PUSHA": "8da680000000 60 58 59 5a", "PUSHA beside code": "60 58 59 5a",
    "PUSHA of 16 bits": "8da680000000 6660 6658 59", "POPA": "83ec20 61", "POPA of 16 bits": "83ec10 6661",
    "ENTER": "8da680000000 c8 200000 c9 c8 ff0f00 c9", "ENTER beside code": "c8 200000 c9",
    "ENTER of 16 bits": "8da680000000 66c8 040000 66c9", "PUSH_SEG beside code": "6aff 58 1e 58",
    "PUSH_SEG": "8da680000000 6aff 58 1e 58 0fa0 669c 6616 59",
    "MOV_R_SEG": "8cd8 668cc1", "MOV_M_SEG": "8c1e 668c4603",
    "CMPXCHG8B": "0fc70e 7400 7200 f00fc70e 7500 8b06 8b5604 f00fc70e 7400",
    "CMPXCHG8B behind ADD": "01c8 0fc70e 11c2 7000 7a00",
    "ALU_MR, ADC with LOCK": "01c8 f01116 7200 f0190e 7000 f0661116 f01026",
    "ALU_MI, SBB with LOCK": "39c8 f0831e85 7600 f0668116 3412 f08016 85 11c2",
    "ALU_MI, ADC with LOCK, behind INC": "41 f0831601 7200",
    "CMPS": "a6 66a7 a7 7600", "CMPS, its carry behind INC": "8d7e01 a6 41 11c2",
    "CMPS, down": "fd a7 66a7 7200 fc",
    "CMPS with REP": "8d7e04 f3a6 7200 b105 f366a7 7600 b103 f2a7 7800",
    "CMPS with REP, none": "01c8 31c9 f3a6 7200 11c2",
    "SCAS with REP": "f2ae 7200 b105 f366af 7600 b103 f3af 7800",
    "SCAS with REP, its carry behind INC": "f2ae 41 11c2 7600", "SCAS with REP, down": "fd f2ae f3af fc 7200",
    "STOS with REP of a 16-bit address": "67f3aa b105 67f366ab",
    "INC32 of ESP": "44 4c c1e403 d1fc 0fafe1 8b26 8b7c2404",
}  # fmt: skip
# They are interpreted where the TLB misses, and these cases begin with an empty one.
WHERE_THE_TLB_MISSES = {"MOVS", "STOS", "CMPS", "SCAS"}
VALUES = [0, 1, 5, 0x7F, 0x80, 0x85, 0x12345678, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_as_host_code_does_what_the_interpreter_does(flat: Bench, name: str) -> None:
    code = bytes.fromhex(OPERATIONS[name])
    p = flat.processor
    decoded = []
    at = 0
    while at < len(code):
        instruction = p.decode(code[at:], 32)
        assert instruction is not None
        decoded.append(instruction.kind)
        at += instruction.length
    plain = name.partition(" ")[0].strip(",").replace("CMPJ", "CMP").replace("TESTJ", "TEST")
    assert KINDS[plain] in decoded
    outcomes = []
    for after in (0, 1):
        p.translate_after = after
        flat.load(code + b"\xf4")
        for value, carry in itertools.product(VALUES, (0, 1, 0x8C4, 0x401)):
            flat.memory.write(0x8F00, bytes(0x200))
            flat.memory.write(0x9000, value.to_bytes(4, "little") * 8)
            for number, start in enumerate((value, 3, 0x87654321, 4, 0x8000, 0x9010, 0x9000, 0x9000)):
                p.set_gpr(number, start)
            p.rflags = carry | 2
            kind = go(flat)
            outcomes.append((*seen(flat, kind), flat.memory.read(0x7F00, 0x1200)))
    half = len(outcomes) // 2
    assert outcomes[half:] == outcomes[:half]
    # Host code writes to no page that has code in it.
    slowly = {plain} if name.endswith("beside code") else WHERE_THE_TLB_MISSES
    assert set(p.interpreted) - slowly == {"HLT"}


@pytest.mark.parametrize(
    "code", ["f7f1", "f7f9", "99 f7f9", "31d2 f7f1", "f736", "99 f73e", "31c9 f7f1", "83c9ff 99 f7f9"]
)
@pytest.mark.parametrize("low", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_division_is_right_or_faults_as_the_interpreters(flat: Bench, code: str, low: int) -> None:
    p = flat.processor
    outcomes = []
    for after in (0, 1):
        p.translate_after = after
        flat.load(bytes.fromhex("40 48" + code + "f4"))
        for high, divisor in itertools.product(
            (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF), (0, 1, 3, 0x80000000, 0xFFFFFFFF)
        ):
            flat.memory.write(0x9000, divisor.to_bytes(4, "little"))
            for number, start in ((EAX, low), (EDX, high), (ECX, divisor), (ESI, 0x9000)):
                p.set_gpr(number, start)
            p.rflags = 2
            outcomes.append(seen(flat, go(flat)))
    half = len(outcomes) // 2
    assert outcomes[half:] == outcomes[:half]
