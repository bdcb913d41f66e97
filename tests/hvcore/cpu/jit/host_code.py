"""A processor whose blocks become host code before they run, and what tests of this folder do with it.

`translate_after` is 1, so that everything is translated before it runs first; jumps are linked the second time.
Random sequences run translated too: see `differential/translated.py` and test_sequences.py.
"""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDX, Bench

UNDEFINED, GENERAL, PAGE_FAULT = 6, 13, 14  # vectors


def translating(size: int = 1 << 20) -> Bench:
    """Flat protected mode, where every block is translated before it runs, and every exception stops."""
    bench = Bench(32, size)
    p = bench.processor
    if not p.translate_after:
        pytest.skip("this host runs no code that we make")
    p.translate_after = 1
    p.set_gpr(EDX, 0)  # not what reset leaves there
    p.intercepts.exceptions = 0xFFFFFFFF
    p.update_intercepts()
    return bench


def go(bench: Bench, at: int = 0x7C00, budget: int = 1000) -> int:
    bench.processor.rip = at
    return bench.run(budget=budget)


def faulted(bench: Bench) -> tuple[int, int]:
    """Vector and RIP of the exception that stopped it."""
    assert bench.processor.exit.kind == ExitKind.EXCEPTION
    return bench.processor.exit.vector, bench.processor.rip


def seen(bench: Bench, kind: int) -> tuple[object, ...]:
    p = bench.processor
    detail = (p.exit.vector, p.exit.error_code, p.exit.fault_address) if kind == ExitKind.EXCEPTION else ()
    return kind, detail, p.rip, [hex(value) for value in bench.registers()], hex(p.rflags)


LEAPS = ("a jump", "an indirect jump", "an indirect call", "a return")


def leap(how: str, at: int, to: int) -> bytes:
    """INC EAX, and a way from `at` to `to`."""
    if how == "a jump":
        return b"\x40\xe9" + struct.pack("<i", to - at - 6)
    if how == "a return":
        return b"\x40\x68" + struct.pack("<I", to) + b"\xc3"
    return b"\x40\xbe" + struct.pack("<I", to) + (b"\xff\xe6" if how == "an indirect jump" else b"\xff\xd6")


def linked(bench: Bench, *, away: int, how: str = "a jump") -> None:
    """A loop of two blocks, the other `away`, six times: the first counts in EAX, the other in EBX."""
    first = leap(how, 0x7C00, 0x7C00 + away)
    other = bytes.fromhex("83c301 49 0f85") + (-(away + 10) & 0xFFFFFFFF).to_bytes(4, "little") + b"\xf4"
    bench.write(0x7C00, first)
    bench.write(0x7C00 + away, other)
    for _ in range(2):
        assert again(bench) == (6, 6)


def again(bench: Bench) -> tuple[int, int]:
    for number, value in ((EAX, 0), (EBX, 0), (ECX, 6)):
        bench.processor.set_gpr(number, value)
    assert go(bench) == ExitKind.HLT
    return bench.processor.gpr(EAX), bench.processor.gpr(EBX)


# Each makes the processor forget the translation of PAGE, or all of them.
FORGET = {"INVLPG": "0f013d 00003000 f4", "MOV CR3": "0f20d8 0f22d8 f4"}
