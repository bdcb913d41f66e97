"""String instructions as host code: what they do, what stops them, and that they are not interpreted."""

import threading

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import DS, EAX, EBX, ECX, EDI, ES, ESI, FS, Bench
from tests.hvcore.cpu.jit.host_code import go, seen


@pytest.mark.parametrize("code", ["f3a4", "f366a5", "f3a5", "f3aa", "f3ab"])
def test_strings_in_pages_that_the_tlb_knows_are_not_interpreted(flat: Bench, code: str) -> None:
    before = "be 00900000 bf 00a00000 b9 10000000"
    assert (
        flat.run(bytes.fromhex(f"bd 40000000 {before} {code} 4d 75ec f4".replace("75ec", jump_back(code))))
        == ExitKind.HLT
    )
    assert sum(flat.processor.interpreted.values()) <= 1 + 2  # HLT; the two pages


def jump_back(code: str) -> str:
    """JNZ to what stands before the string instruction."""
    return f"75{(256 - 15 - len(code) // 2 - 1 - 2) & 0xFF:02x}"


REPEATED = {  # each with ECX or CX items from ESI or SI and EDI or DI on
    "REP MOVSB": "f3a4", "REP MOVSW": "f3a5", "REP STOSB": "f3aa", "REP STOSD": "66f3ab", "REPE CMPSB": "f3a6",
    "REPE CMPSW": "f3a7", "REPNE CMPSD": "66f2a7", "REPNE SCASB": "f2ae", "REPE SCASW": "f3af",
    "REPNE SCASD": "66f2af", "REPE CMPSB of ESI and EDI": "67f3a6", "REP MOVSD of ESI and EDI": "6667f3a5",
    "REPE CMPSB from FS": "64f3a6",
}  # fmt: skip
SOURCE = bytes(n * n * 7 >> 3 & 0x3F for n in range(0x12000))
RUNS = [  # the bases of DS, ES and FS, SI, DI, CX; where the byte lies that differs
    (0x10000, 0x20000, 0x10000, 0, 0, 100, 50), (0x10000, 0x20000, 0x10000, 0, 0, 100, 1000),
    (0x10120, 0x20340, 0x10120, 0x111, 0x222, 3000, 2999), (0x10000, 0x20000, 0x10000, 0xFF0, 0x20, 0x40, 0x3F),
    (0x10120, 0x20340, 0x10120, 5, 7, 0xFFFF, 0x9000), (0x10000, 0x20000, 0x10000, 0xFFC0, 0, 200, 1000),
    (0x10010, 0x20020, 0x10010, 0x10, 0xFFC0, 200, 1000), (0x10000, 0x20000, 0x10000, 0xFFC1, 0xFF81, 0x80, 1000),
    (0x10000, 0x20000, 0x10000, 4, 8, 0, 1000), (0x10FF0, 0x20FF8, 0x10FF0, 0x10, 8, 0x1000, 0xFFF),
]  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_repeated_strings_in_segments_do_what_the_interpreter_does(real: Bench, name: str) -> None:
    p = real.processor
    for limit in (0xFFFF, 0x8FFF):
        for ds, es, fs, si, di, cx, differs in RUNS:
            outcomes = []
            for after in (0, 1, 1):  # at first, and with the pages in the TLB
                p.translate_after = after
                real.memory.write(0x10000, SOURCE + bytes(0x20000))
                real.write(es + di, real.memory.read(ds + si, min(4 * cx, 0x10000)))
                real.write(es + di + differs, b"\x41")
                for number, base in ((DS, ds), (ES, es), (FS, fs)):
                    p.set_segment(number, base >> 4, base, limit, 0x93)
                for number, value in ((EAX, 0x41), (ESI, si), (EDI, di), (ECX, cx)):
                    p.set_gpr(number, value)
                p.rflags = 0x8D7
                kind = real.run(bytes.fromhex(REPEATED[name]) + b"\x9c\x9d\xf4", 100_000)
                outcomes.append((seen(real, kind), real.memory.read(0x10000, 0x30000)))
            assert outcomes[1:] == outcomes[:1] * 2, (limit, hex(ds), hex(es), hex(si), hex(di), cx)


@pytest.mark.parametrize("code", ["f2ae", "f3a6", "66f3a7", "f3a7"], ids=["SCASB", "CMPSB", "CMPSW", "CMPSD"])
def test_long_strings_are_compared_without_the_interpreter(flat: Bench, code: str) -> None:
    p = flat.processor
    size = 1 if code in {"f2ae", "f3a6"} else 2 if code[:2] == "66" else 4
    flat.load(bytes.fromhex(code) + b"\xf4")
    flat.memory.write(0x20000, bytes(0x8000))
    flat.memory.write(0x40000, bytes(0x8000))
    for number, length in ((0, 0x5432), (1, 0x4000), (2, 0x3FFF), (3, 1), (4, 0x1003)):
        for again in range(2):  # then the pages are known
            flat.memory.write(0x40000 + length * size - 1, b"\x41")
            for register, value in ((EAX, 0x41), (ESI, 0x20000), (EDI, 0x40000), (ECX, 0xFFFFFFFF)):
                p.set_gpr(register, value)
            before = p.interpreted.copy()
            assert go(flat) == ExitKind.HLT
            assert p.gpr(EDI) == 0x40000 + length * size
            assert p.gpr(ECX) == 0xFFFFFFFF - length
            assert p.gpr(ESI) == (0x20000 if code == "f2ae" else 0x20000 + length * size)
            if again:
                assert p.interpreted == {**before, "HLT": before["HLT"] + 1}, number
            flat.memory.write(0x40000 + length * size - 1, b"\0")


@pytest.mark.parametrize("after", [0, 1], ids=["interpreted", "translated"])
def test_an_exit_behind_a_long_repetition_has_nothing_of_the_resume_flag(flat: Bench, after: int) -> None:
    """A repetition that goes on after a look at what is pending sets RF for itself alone (SDM vol. 3 §18.3.1.1)."""
    p = flat.processor
    p.translate_after = after
    flat.load(bytes.fromhex("f366af f4"))
    p.set_gpr(EAX, 0)
    for _ in range(3):
        p.set_gpr(EDI, 0x20001)
        p.set_gpr(ECX, 20000)
        p.rflags = 2
        assert go(flat) == ExitKind.HLT
        assert (p.gpr(ECX), p.rflags & 0x10000) == (0, 0)


def test_wherever_a_pin_stops_a_long_scan_it_goes_on_there(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.external_interrupt = True
    p.update_intercepts()
    pins = memoryview(flat.pins).cast("I")
    # again: mov edi, 20000 / mov ecx, 60000 / repne scasb / inc ebx / jmp again
    flat.load(bytes.fromhex("bf 00000200 b9 00000600 f2ae 43 ebf1"))
    flat.memory.write(0x20000, bytes(0x60000))
    p.set_gpr(EAX, 0x41)
    p.rflags = 0x202
    for pause in range(20):
        raised = threading.Timer(pause / 4000, lambda: pins.__setitem__(0, 1))
        raised.start()
        assert flat.run(budget=1 << 33) == ExitKind.EXTERNAL_INTERRUPT
        raised.join()
        pins[0] = 0
        if p.rip == 0x7C0A:
            assert p.gpr(EDI) + p.gpr(ECX) == 0x80000
    assert p.gpr(EBX) * 4 <= p.icount
    flat.write(0x7C0D, b"\xf4")  # HLT for the JMP
    assert flat.run() == ExitKind.HLT
    assert (p.gpr(EDI), p.gpr(ECX)) == (0x80000, 0)
