"""Blocks with host code that are forgotten: at a reset, and when there is no room for more."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import EVERYTHING, SIGNATURE
from tests.hvcore.cpu.bench import EAX, ESI, Bench
from tests.hvcore.cpu.jit.host_code import LEAPS, again, go, linked, translating


def test_reset_forgets_the_block_that_a_run_begins_with(flat: Bench) -> None:
    for value in (1, 2):
        flat.reset()
        flat.memory.write(0x7C00, bytes([0xB8, value, 0, 0, 0, 0xF4]))  # nobody is told: it is forgotten
        for _ in range(2):
            assert go(flat) == ExitKind.HLT
            assert flat.processor.gpr(EAX) == value


def test_blocks_for_which_there_is_no_room_are_interpreted_until_all_are_forgotten() -> None:
    count = 360_000
    flat = translating(4 << 20)
    p = flat.processor
    flat.write(0x100000, b"\x11\x06" * count + b"\xf4")  # ADC [ESI], EAX
    outcomes = []
    for after in (0, 1, 1):
        p.translate_after = after  # at first the blocks are only decoded
        flat.memory.write(0x9000, bytes(4))
        p.set_gpr(EAX, 0x12345679)
        p.set_gpr(ESI, 0x9000)
        p.rflags = 2
        before = p.icount
        assert go(flat, 0x100000, 1_000_000) == ExitKind.HLT
        outcomes.append((flat.memory.read(0x9000, 4), p.rflags, p.icount - before))
    assert outcomes == [outcomes[0]] * 3
    blocks = p.statistics["blocks"]
    assert 1000 < p.statistics["translated"] < blocks  # as many as there is room for
    flat.load(b"\x43\xf4")  # one more, and everything is forgotten
    assert flat.run() == ExitKind.HLT
    flat.memory.write(0x9000, bytes(4))
    p.rflags = 2
    assert go(flat, 0x100000, 1_000_000) == ExitKind.HLT
    assert flat.memory.read(0x9000, 4) == outcomes[0][0]
    assert p.statistics["blocks"] > blocks + 1000


@pytest.mark.parametrize("how", LEAPS)
def test_linked_blocks_that_are_all_forgotten_are_not_run_again(flat: Bench, how: str) -> None:
    p = flat.processor
    linked(flat, away=0x1000, how=how)
    p.set_model(SIGNATURE, EVERYTHING, EVERYTHING)
    flat.memory.write(0x8C02, b"\x07")  # nobody is told: it is forgotten
    assert again(flat) == (6, 42)
    assert again(flat) == (6, 42)
