"""Blocks as host code: they end as the interpreter would have ended, whatever happens inside them.

`translate_after` is 1, so that everything is translated before it runs first; jumps are linked the second time.
Random sequences run translated too: see `differential/translated.py` and test_sequences.py.
"""

import gc
import resource
import threading
from pathlib import Path

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED, Processor
from tests.hvcore.cpu.bench import CS, EAX, EDI, EDX, ESP, FLAT_CODE, Bench

pytestmark = pytest.mark.skipif(not COMPILED, reason="only the compiled processor translates")

UNDEFINED, GENERAL, PAGE_FAULT = 6, 13, 14


@pytest.fixture
def flat() -> Bench:
    bench = Bench(32, 1 << 20)
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


# Segments


def test_the_code_segment_is_never_written_through(flat: Bench) -> None:
    flat.processor.set_gpr(EAX, 1)
    # mov [9000], eax / inc eax / mov cs:[9000], eax
    assert flat.run(bytes.fromhex("a3 00900000 40 2ea3 00900000")) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C06)
    assert flat.memory.read(0x9000, 4) == b"\1\0\0\0"
    assert flat.processor.gpr(EAX) == 2


def test_a_code_segment_that_may_only_be_executed_is_not_read(flat: Bench) -> None:
    flat.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE & ~2)
    # mov eax, [9000] / mov eax, cs:[9000] / hlt
    assert flat.run(bytes.fromhex("a1 00900000 2ea1 00900000 f4")) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C05)
    flat.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE)
    assert go(flat) == ExitKind.HLT


def test_the_last_of_a_block_that_loads_a_segment_leaves_the_host_code(flat: Bench) -> None:
    """At the end of a page, or after 32 operations, a POP DS ends its block; what follows is linked to flat code."""
    # pop ds / (next page) mov eax, [2000] / hlt
    flat.write(0x8FFF, bytes.fromhex("1f a1 00200000 f4"))
    flat.write(0x1000, bytes(16) + bytes.fromhex("ffff 0000 0093 cf00 ffff 0050 0093 4000"))
    flat.processor.set_gdtr(0x1000, 0x1F)
    flat.write(0x2000, b"flat")
    flat.write(0x7000, b"base")
    for selector, expected in ((0x10, b"flat"), (0x10, b"flat"), (0x10, b"flat"), (0x18, b"base")):
        flat.memory.write(0x6000, bytes([selector]))
        flat.processor.set_gpr(ESP, 0x6000)
        assert go(flat, 0x8FFF) == ExitKind.HLT
        assert flat.processor.gpr(EAX).to_bytes(4, "little") == expected


# Flags


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


# The code cache


def test_reset_forgets_the_block_that_a_run_begins_with(flat: Bench) -> None:
    for value in (1, 2):
        flat.reset()
        flat.memory.write(0x7C00, bytes([0xB8, value, 0, 0, 0, 0xF4]))  # nobody is told: it is forgotten
        for _ in range(2):
            assert go(flat) == ExitKind.HLT
            assert flat.processor.gpr(EAX) == value


# Memory for host code


def executable_and_writable() -> int:
    """Bytes of this process's address space that are both."""
    total = 0
    for row in Path("/proc/self/maps").read_text().splitlines():
        where, rights, *_ = row.split()
        if rights.startswith("rwx"):
            first, _, last = where.partition("-")
            total += int(last, 16) - int(first, 16)
    return total


def test_a_processor_gives_the_memory_of_its_host_code_back() -> None:
    gc.collect()
    before = executable_and_writable()
    bench = Bench(32, 1 << 20)
    assert executable_and_writable() - before == (32 << 20 if bench.processor.translate_after else 0)
    del bench
    gc.collect()
    assert executable_and_writable() == before


def test_a_system_that_gives_no_memory_for_host_code_has_every_block_interpreted() -> None:
    bench = Bench(32, 1 << 20)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (28 << 20), limits[1]))
    try:
        p = bench.processor = Processor(bench.memory, bench.pins)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    bench.reset()
    assert p.translate_after == 0
    for after in (0, 1):  # and whoever insists does no harm
        p.translate_after = after
        p.set_gpr(EAX, 0)
        assert bench.run(bytes.fromhex("b9 64000000 40 e2fd f4")) == ExitKind.HLT
        assert p.gpr(EAX) == 100
    assert p.statistics["translated"] == 0


# What is pending


LOOP = bytes.fromhex("40 ebfd")  # again: inc eax / jmp again


@pytest.mark.parametrize("level", [1, 2, 0x80000000])
def test_a_linked_loop_leaves_for_a_pin_whatever_bit_raises_it(flat: Bench, level: int) -> None:
    p = flat.processor
    p.intercepts.external_interrupt = True
    p.update_intercepts()
    assert flat.run(LOOP, 100) == ExitKind.BUDGET
    pins = memoryview(flat.pins).cast("I")
    raised = threading.Timer(0.02, lambda: pins.__setitem__(0, level))
    raised.start()
    assert flat.run(budget=1 << 33) == ExitKind.EXTERNAL_INTERRUPT
    raised.join()
    assert p.icount < 1 << 33
    assert p.gpr(EAX) == p.icount // 2 & 0xFFFFFFFF
    assert p.rip == 0x7C00


def test_a_linked_loop_leaves_for_stop(flat: Bench) -> None:
    p = flat.processor
    assert flat.run(LOOP, 100) == ExitKind.BUDGET
    stopped = threading.Timer(0.02, p.stop)
    stopped.start()
    assert flat.run(budget=1 << 33) == ExitKind.BUDGET
    stopped.join()
    assert p.icount < 1 << 33
    assert p.gpr(EAX) == p.icount // 2 & 0xFFFFFFFF
    assert p.rip == 0x7C00


@pytest.mark.parametrize("odd", [0, 1])
def test_a_linked_loop_leaves_for_the_budget_exactly_at_its_count(flat: Bench, odd: int) -> None:
    p = flat.processor
    flat.load(LOOP)
    for budget in range(1, 41):
        p.set_gpr(EAX, 0)
        before = p.icount
        p.rip = 0x7C00 + odd
        assert flat.run(budget=budget) == ExitKind.BUDGET
        assert p.icount - before == budget
        assert p.gpr(EAX) == (budget + 1 - odd) // 2
        assert p.rip == 0x7C00 + (budget + odd) % 2
