"""Host code leaves for what is pending: a pin, `stop`, the end of its budget."""

import threading

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDX, Bench
from tests.hvcore.cpu.jit.host_code import seen

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


def test_wherever_a_pin_stops_host_code_the_interpreter_comes_by_the_same_count(flat: Bench) -> None:
    # again: call 7D00 / rol ebx, 3 / sbb [9000], ebx / loop again;  7D00: add eax, ecx / adc edx, [9000] / ret
    reference = Bench(32, 1 << 20)
    reference.processor.translate_after = 0
    for bench in (flat, reference):
        bench.write(0x7D00, bytes.fromhex("01c8 1315 00900000 c3"))
        bench.load(bytes.fromhex("e8 fb000000 c1c303 191d 00900000 e2f0"))
        for number in (EAX, EBX, ECX, EDX):
            bench.processor.set_gpr(number, 0x12345678)
    p = flat.processor
    p.intercepts.external_interrupt = True
    p.update_intercepts()
    pins = memoryview(flat.pins).cast("I")
    for pause in range(8):
        raised = threading.Timer(pause / 4000, lambda: pins.__setitem__(0, 1))
        before = p.icount
        raised.start()
        assert flat.run(budget=1 << 33) == ExitKind.EXTERNAL_INTERRUPT
        raised.join()
        pins[0] = 0
        assert reference.run(budget=p.icount - before) == ExitKind.BUDGET
        assert seen(flat, 0) == seen(reference, 0)
        assert flat.memory.read(0x9000, 4) == reference.memory.read(0x9000, 4)


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
