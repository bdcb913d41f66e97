"""Host code that is written over: by itself, by the block it is linked to, by a device model's writes.

`tests/hvcore/cpu/test_changing_code.py` has more, all of it translated too.
"""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, EDI, ESP, Bench
from tests.hvcore.cpu.jit.host_code import LEAPS, again, go, linked, seen

TURNED = {  # what makes the XOR ECX, ECX behind it a MOV ECX, ECX, the TEST a STOSB, the IMUL a PUSH
    "ADD of 8 bits": "8005 {} 58  33c9",
    "ADD of an 8-bit register": "0005 {}  33c9",
    "ADD of 32 bits": "8305 {} 58  33c9",
    "ADD of a register": "0105 {}  33c9",
    "XOR": "8035 {} b8  33c9",
    "INC": "ff05 {}  a990909090",
    "DEC": "ff0d {}  69c090909090",
}


@pytest.mark.parametrize("how", TURNED)
def test_a_block_that_wrote_over_itself_leaves_with_its_flags(flat: Bench, how: str) -> None:
    """Even if what followed would have overwritten them: something else follows now."""
    before = TURNED[how].partition("  ")[0].format("00000000")
    at = 0x7C02 + len(bytes.fromhex(before))
    code = "39c0" + TURNED[how].format(at.to_bytes(4, "little").hex()) + "f4"
    results = []
    for after in (0, 1):
        p = flat.processor
        p.translate_after = after
        flat.load(bytes.fromhex(code))
        p.set_gpr(EAX, 0x58)
        p.set_gpr(EDI, 0x9000)
        assert go(flat) == ExitKind.HLT
        results.append(p.rflags)
    assert results[1] == results[0]
    assert results[0] != 0x46  # of the comparison at the start


OVER_ITSELF = {  # over the B3 00 (MOV BL, 0) that stands at 7C20: 7 instead of 0
    "a push": "bc 247c0000 68 b307f4f4",
    "a push of memory": "bc 247c0000 ff35 00900000",
    "a call": "bc 247c0000 e8 11000000",  # to 7C1B; of the return address 7C0A comes an OR BH, [..]
    "a store": "c705 207c0000 b307f4f4",
    "an exchange, which is interpreted": "b8 b307f4f4 8705 207c0000",
    "a repeated store, which is interpreted": "bf 217c0000 b007 b901000000 f3aa",
    "a repeated move, which is interpreted": "be 01900000 bf 217c0000 b901000000 f3a4",
}


@pytest.mark.parametrize("how", OVER_ITSELF)
def test_a_block_that_writes_over_what_follows_in_it_runs_what_it_wrote(flat: Bench, how: str) -> None:
    code = bytes.fromhex(OVER_ITSELF[how]).ljust(32, b"\x90") + bytes.fromhex("b300 9090 f4")
    outcomes = []
    for after in (0, 1):
        p = flat.processor
        p.translate_after = after
        flat.write(0x9000, b"\xb3\x07\xf4\xf4")
        for number in range(8):
            p.set_gpr(number, 0x8000)
        flat.load(code)
        before = p.icount
        kind = go(flat)
        outcomes.append((seen(flat, kind), p.icount - before, flat.memory.read(0x7C00, 64)))
    assert outcomes[1] == outcomes[0]
    assert flat.processor.gpr(EBX) == (0x8007 if how != "a call" else 0x8000)
    assert flat.processor.gpr(ESP) == (0x7C20 if "push" in how or "call" in how else 0x8000)


@pytest.mark.parametrize("away", [0x80, 0x1000, 0x5480], ids=["this page", "the next page", "another page"])
@pytest.mark.parametrize("how", LEAPS)
def test_what_is_written_into_a_linked_block_is_seen(flat: Bench, away: int, how: str) -> None:
    p = flat.processor
    linked(flat, away=away, how=how)
    flat.write(0x7C02 + away, b"\x05")  # a device
    assert again(flat) == (6, 30)
    assert again(flat) == (6, 30)
    place = (0x7C02 + away).to_bytes(4, "little").hex()
    before = (0x7C01 + away).to_bytes(4, "little").hex()
    after = (0x7C04 + away).to_bytes(4, "little").hex()
    writers = {
        f"c605 {place} 02 f4": 12,
        f"8005 {place} 05 f4": 42,  # 2 and 5
        f"8135 {place} 01000000 f4": 36,
        f"bc {after} 66ba 0449 6652 f4": 24,  # MOV ESP, PUSH DX
        f"bf {before} b0c3 aa b008 aa f4": 48,
        f"bf {place} b901000000 b009 f3aa f4": 54,
        f"be 00900000 bf {place} b901000000 f3a4 f4": 60,
        f"8805 {place} f4": 66,
    }
    flat.write(0x9000, b"\x0a")
    for code, expected in writers.items():
        p.set_gpr(EAX, 11)
        flat.load(bytes.fromhex(code), 0x3000)
        assert go(flat, 0x3000) == ExitKind.HLT
        p.set_gpr(ESP, 0x7000)
        assert again(flat) == (6, expected)
        assert again(flat) == (6, expected)


@pytest.mark.parametrize("away", [0x80, 0x1000])
def test_a_linked_loop_that_writes_into_its_other_block_runs_what_it_wrote(flat: Bench, away: int) -> None:
    # inc eax / inc byte [other + 2] / jmp other
    linked(flat, away=away)
    place = (0x7C02 + away).to_bytes(4, "little")
    flat.load(b"\x40\xfe\x05" + place + b"\xe9" + (away - 12).to_bytes(4, "little"))
    assert again(flat) == (6, 2 + 3 + 4 + 5 + 6 + 7)
    flat.write(0x7C02 + away, b"\x10")
    assert again(flat) == (6, 6 * 0x10 + 21)
