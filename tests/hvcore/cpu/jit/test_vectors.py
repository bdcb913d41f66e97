"""SSE, SSE2 and MMX as the host's own instructions: rounding, exceptions, operands over the end of a page."""

import math
import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, ESI, Bench
from tests.hvcore.cpu.jit.host_code import GENERAL, UNDEFINED, faulted, go


def vectors(flat: Bench) -> Bench:
    """A system that has enabled SSE."""
    flat.processor.set_cr(4, 0x600)
    flat.write(0x9000, struct.pack("<dd", 1.0, 3.0))
    return flat


DIVIDED = "f20f1005 00900000 f20f5e05 08900000 f20f1105 10900000 0fae1d 18900000 f4"  # [9010] = 1 / 3, [9018] = MXCSR


def test_reals_are_the_hosts_and_their_exceptions_are_noted_in_mxcsr(flat: Bench) -> None:
    vectors(flat)
    assert flat.run(bytes.fromhex(DIVIDED)) == ExitKind.HLT
    assert flat.memory.read(0x9010, 8) == struct.pack("<d", 1 / 3)
    assert flat.memory.read(0x9018, 4) == struct.pack("<I", 0x1FA0)  # PE, and whatever was masked


def test_what_the_guest_rounds_by_is_not_what_the_host_rounds_by(flat: Bench) -> None:
    vectors(flat)
    flat.write(0x9020, struct.pack("<I", 0x5F80))  # up
    for _ in range(3):
        assert flat.run(bytes.fromhex("0fae15 20900000" + DIVIDED)) == ExitKind.HLT
        assert flat.memory.read(0x9010, 8) == bytes.fromhex("565555555555d53f")
        assert struct.pack("<d", float("1") / float("3")) == bytes.fromhex("555555555555d53f")


def test_an_exception_that_is_not_masked_is_raised_by_code_that_was_translated_while_it_was(
    flat: Bench,
) -> None:
    """LDMXCSR ends a block: what follows it is of another mode from then on (SDM vol. 1 section 11.5.2)."""
    vectors(flat)
    code = "0fae15 20900000" + DIVIDED
    for mxcsr, expected in ((0x1F80, ExitKind.HLT), (0x0F80, ExitKind.EXCEPTION), (0x1F80, ExitKind.HLT)):
        flat.write(0x9020, struct.pack("<I", mxcsr))
        for _ in range(3):
            assert flat.run(bytes.fromhex(code)) == expected
            if expected == ExitKind.EXCEPTION:
                assert faulted(flat) == (19, 0x7C00 + 7 + 8)


@pytest.mark.parametrize(
    ("number", "with_it", "without", "vector"),
    [(0, 0x31, 0x39, 7), (0, 0x31, 0x35, UNDEFINED), (4, 0x600, 0x400, UNDEFINED)],
    ids=["CR0.TS", "CR0.EM", "CR4.OSFXSR"],
)
def test_vectors_that_a_control_register_forbids_are_refused(
    flat: Bench, number: int, with_it: int, without: int, vector: int
) -> None:
    vectors(flat)
    p = flat.processor
    for _ in range(2):
        p.set_cr(number, with_it)
        assert flat.run(bytes.fromhex(DIVIDED)) == ExitKind.HLT
        p.set_cr(number, without)
        assert go(flat) == ExitKind.EXCEPTION
        assert faulted(flat) == (vector, 0x7C00)


def test_an_indirect_jump_does_not_come_to_a_block_of_another_mode(flat: Bench) -> None:
    vectors(flat)
    flat.write(0x8000, bytes.fromhex(DIVIDED))
    jump = bytes.fromhex("b800800000 ffe0")  # mov eax, 8000 / jmp eax
    for _ in range(3):
        assert flat.run(jump) == ExitKind.HLT
    flat.processor.set_cr(0, 0x39)
    assert go(flat) == ExitKind.EXCEPTION
    assert faulted(flat) == (7, 0x8000)


def test_sixteen_bytes_that_are_not_aligned_are_general_protection(flat: Bench) -> None:
    vectors(flat)
    flat.processor.set_gpr(ESI, 0x9008)
    # movups xmm0, [esi] / movups [esi + 16], xmm0 / movaps xmm1, [esi] / hlt
    code = bytes.fromhex("0f1006 0f114610 0f280e f4")
    for _ in range(3):
        assert flat.run(code) == ExitKind.EXCEPTION
        assert faulted(flat) == (GENERAL, 0x7C07)
    assert flat.memory.read(0x9018, 8) == struct.pack("<d", 3.0)


MMX = (  # MOVD, MOVQ, PADDB, PACKSSDW, PMULLW, PSLLQ, PSHUFW, PINSRW, PEXTRW, PADDQ, PMOVMSKB, MOVNTQ, MOVD
    "0f6ec0 0f6f0e 0ffcc1 0f6bc1 0fd5c8 0f73f103 0f70d11b 0fc4d002 0fc5d201 0fd4d0 0fd7da 0fe716 0f7e4608"
)


def test_instructions_of_mm_registers_are_the_hosts_with_the_x87_as_they_leave_it(flat: Bench) -> None:
    """TOP is 0, every register is in use and has an exponent of ones (SDM vol. 1 section 9.6.1); EMMS empties them."""
    vectors(flat)
    outcomes = []
    for after in (0, 1, 1, 1):
        p = flat.processor
        p.translate_after = after
        flat.write(0x9000, bytes(range(0x70, 0x90)))
        for number, value in ((EAX, 0x81234567), (EBX, 0), (ECX, 0), (ESI, 0x9000)):
            p.set_gpr(number, value)
        # fninit / fld1 / the above / fnsave [9100] / emms / fnstenv [9200] / hlt
        code = bytes.fromhex("dbe3 d9e8" + MMX + "dd35 00910000 0f77 d935 00920000 f4")
        assert flat.run(code) == ExitKind.HLT
        outcomes.append((flat.registers(), flat.memory.read(0x9000, 0x300)))
    assert outcomes[1:] == outcomes[:1] * 3
    saved = outcomes[0][1][0x100:]
    control, status, tags = struct.unpack("<HxxHxxH", saved[:10])
    assert (control, status) == (0x37F, 0)
    assert all(tags >> 2 * number & 3 != 3 for number in range(8))  # no register is empty
    assert saved[36:38] == b"\xff\xff"  # MM0's exponent
    assert struct.unpack("<H", outcomes[0][1][0x208:0x20A]) == (0xFFFF,)


def test_mmx_instructions_are_not_interpreted(flat: Bench) -> None:
    vectors(flat)
    assert flat.run(bytes.fromhex("dbe3 f4")) == ExitKind.HLT  # FNINIT masks the x87's exceptions
    before = flat.processor.interpreted
    code = bytes.fromhex(MMX.replace("0fe716 0f7e4608", "") + "49")
    code += bytes([0x75, (-len(code) - 2) & 0xFF, 0xF4])
    flat.processor.set_gpr(ECX, 64)
    flat.processor.set_gpr(ESI, 0x9000)
    assert flat.run(code, 10000) == ExitKind.HLT
    after = flat.processor.interpreted
    assert {name: n - before.get(name, 0) for name, n in after.items()} == {"HLT": 1, "ESC_R": 0}


def test_an_mmx_operand_over_the_end_of_a_page_goes_the_long_way(flat: Bench) -> None:
    vectors(flat)
    flat.write(0x9FFC, bytes(range(8)))
    # movq mm0, [9ffc] / paddb mm0, mm0 / movq [affc], mm0 / movd mm1, [9000] / paddb mm0, [9ffc] / movq [9010], mm0
    code = "0f6f05 fc9f0000 0ffcc0 0f7f05 fcaf0000 0f6e0d 00900000 0ffc05 fc9f0000 0f7f05 10900000 f4"
    for _ in range(3):
        assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
        assert flat.memory.read(0xAFFC, 8) == bytes(2 * value for value in range(8))
        assert flat.memory.read(0x9010, 8) == bytes(3 * value for value in range(8))


def test_mm_registers_that_the_model_lacks_are_refused_in_host_code(flat: Bench) -> None:
    vectors(flat)
    flat.processor.has_mmx = 0
    assert flat.run(bytes.fromhex("0ffcc1 f4")) == ExitKind.EXCEPTION
    assert faulted(flat) == (UNDEFINED, 0x7C00)


def test_vectors_over_the_end_of_a_page_go_the_long_way_and_keep_what_is_in_registers(flat: Bench) -> None:
    vectors(flat)
    p = flat.processor
    flat.write(0x9FF8, bytes(range(16)))
    p.set_gpr(ESI, 0x9FF8)
    # movups xmm1, [9000] / movups xmm0, [esi] / paddb xmm0, xmm0 / movups [esi + 32], xmm0 / addpd xmm1, xmm1 /
    # movups [9020], xmm1
    code = bytes.fromhex("0f100d 00900000 0f1006 660ffcc0 0f114620 660f58c9 0f110d 20900000 f4")
    for _ in range(3):
        assert flat.run(code) == ExitKind.HLT
        assert flat.memory.read(0xA018, 16) == bytes(2 * i for i in range(16))
        assert flat.memory.read(0x9020, 16) == struct.pack("<dd", 2.0, 6.0)


@pytest.mark.parametrize("x", [0.5, 1.0, 2.0, float("nan")])
def test_a_comparison_of_reals_decides_a_jump_wherever_its_operand_lies(flat: Bench, x: float) -> None:
    vectors(flat)
    p = flat.processor
    flat.write(0x9000, struct.pack("<d", 1.0))
    for where in (0x9100, 0x9FFC):  # in a page, and over its end
        flat.write(where, struct.pack("<d", x))
        p.set_gpr(ESI, where)
        # movsd xmm0, [9000] / comisd xmm0, [esi] / setp al / setb ah / setz bl / ja +1 / inc ebx / hlt
        code = bytes.fromhex("31c0 31db f20f1005 00900000 660f2f06 0f9ac0 0f92c4 0f94c3 7701 43 f4")
        for _ in range(3):
            assert flat.run(code) == ExitKind.HLT
            unordered = math.isnan(x)
            assert p.gpr(EAX) == unordered | (unordered or x > 1) << 8
            assert p.gpr(EBX) == (unordered or x == 1) + (not x < 1)


def test_vector_instructions_are_not_interpreted(flat: Bench) -> None:
    vectors(flat)
    code = "b9 40000000 f20f1005 00900000 f20f58c0 660fefc9 660f6ec1 f30f2ad1 f30f2cc2 49 75df f4"
    assert flat.run(bytes.fromhex(code), 10000) == ExitKind.HLT
    assert flat.processor.interpreted == {"HLT": 1}  # not even where MOVSD met a page that was not in the TLB
