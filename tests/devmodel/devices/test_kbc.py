"""The keyboard controller itself: its commands, its output buffer and lines, the password."""

from typing import Final

import pytest

from devmodel.devices.kbc import FRAME
from tests.devmodel.devices.kbc_bench import DATA, Bench, mouse


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_seabios_initialises_it(bench: Bench) -> None:
    bench.command(0xAA)
    assert bench.answers() == [0x55]
    bench.command(0xAB)
    assert bench.answers() == [0x00]
    bench.command(0x60, 0x30)
    bench.command(0x20)
    assert bench.answers() == [0x30]
    bench.keyboard(0xFF)
    assert bench.answers() == [0xFA, 0xAA]
    bench.keyboard(0xF5)
    assert bench.answers() == [0xFA]
    bench.keyboard(0xF0, 0x02)
    assert bench.answers() == [0xFA, 0xFA]
    bench.command(0x60, 0x61)
    bench.keyboard(0xF4)
    assert bench.answers() == [0xFA]
    bench.kbc.keyboard.type("a")
    assert bench.answers() == [0x1E, 0x9E]


def test_keys_interrupt_and_reading_ends_it(bench: Bench) -> None:
    bench.kbc.keyboard.press("a")
    assert bench.status() & 0x21 == 1
    assert bench.line.level
    assert bench.kbc.read(DATA, 1) == 0x1C
    assert not bench.line.level
    assert bench.kbc.read(DATA, 1) == 0x1C  # the last byte stays


def test_a_byte_needs_its_time_on_the_wire(bench: Bench) -> None:
    bench.kbc.keyboard.type("a")
    assert bench.kbc.read(DATA, 1) == 0x1C
    assert bench.kbc.deadline() == FRAME
    bench.clock.time = FRAME - 1
    bench.kbc.tick()
    assert not bench.line.level
    bench.clock.time = FRAME
    bench.kbc.tick()
    assert bench.line.level
    assert bench.kbc.read(DATA, 1) == 0xF0


def test_without_irq_enable_the_line_is_low_and_the_byte_is_there(bench: Bench) -> None:
    bench.command(0x60, 0x00)
    bench.kbc.keyboard.press("esc")
    assert not bench.line.level
    bench.command(0x60, 0x01)
    assert bench.line.level


def test_translation_makes_set_1_with_prefixes(bench: Bench) -> None:
    bench.command(0x60, 0x41)
    bench.kbc.keyboard.type("up")
    bench.kbc.keyboard.type("f7")
    assert bench.answers() == [0xE0, 0x48, 0xE0, 0xC8, 0x41, 0xC1]


def test_identify_is_translated_as_linux_knows(bench: Bench) -> None:
    bench.keyboard(0xF2)
    assert bench.answers() == [0xFA, 0xAB, 0x83]
    bench.command(0x60, 0x41)
    bench.keyboard(0xF2)
    assert bench.answers() == [0xFA, 0xAB, 0x41]


def test_a_disabled_keyboard_keeps_its_keys(bench: Bench) -> None:
    bench.command(0xAD)
    bench.kbc.keyboard.type("a")
    assert bench.answers() == []
    bench.command(0xAE)
    assert bench.answers() == [0x1C, 0xF0, 0x1C]


def test_a20_and_reset_through_the_output_port(bench: Bench) -> None:
    bench.command(0xD1, 0xDD)
    assert not bench.a20.level
    bench.command(0xD0)
    assert bench.answers()[0] & 3 == 1
    bench.command(0xDF)
    assert bench.a20.level
    assert bench.resets == []
    bench.command(0xD1, 0xDE)
    bench.command(0xFE)
    assert bench.resets == ["reset", "reset"]
    bench.command(0xFF)
    assert len(bench.resets) == 2


def test_the_loopback_of_the_output_buffer(bench: Bench) -> None:
    bench.command(0xD2, 0x42)
    assert bench.line.level
    assert bench.answers() == [0x42]


def test_the_input_port_can_be_polled_in_the_status(bench: Bench) -> None:
    """PS/2 Hardware Interface TR, C1h and C2h: its bits 3-0 or 7-4 are status bits 7-4 until the next command."""
    bench.command(0xC1)
    assert bench.status() & 0xF0 == 0x00
    bench.command(0xC2)
    assert bench.status() & 0xF0 == 0x80
    bench.command(0xAE)
    assert bench.status() & 0xF0 == 0x10


# -- the password (PS/2 Hardware Interface TR, Keyboard security, and controller commands A4h to A6h) ------------


SECRET: Final = (0x1E, 0x30, 0x1C)
"""A, B and Enter, as they are translated."""


@pytest.fixture
def locked(bench: Bench) -> Bench:
    bench.command(0x60, 0x43)
    bench.command(0xA5, *SECRET, 0)
    bench.command(0xA6)
    return bench


def test_no_password_is_installed_at_first(bench: Bench) -> None:
    """Command A4h: F1h says so, and firmware that asks waits for it."""
    bench.command(0xA4)
    assert bench.answers() == [0xF1]


def test_a_password_is_installed_by_the_zero_behind_it(bench: Bench) -> None:
    """Command A5h takes codes until a zero; then A4h answers FAh."""
    bench.command(0xA5, *SECRET)
    bench.command(0xA4)  # breaks it off
    assert bench.answers() == [0xF1]
    bench.command(0xA5, *SECRET, 0)
    bench.keyboard(0xEE)
    assert bench.answers() == [0xEE], "the zero was the last that the controller took"
    bench.command(0xA4)
    assert bench.answers() == [0xFA]
    bench.command(0xA5, 0)
    bench.command(0xA4)
    assert bench.answers() == [0xF1]


def test_without_a_password_nothing_is_locked(bench: Bench) -> None:
    """Command A6h works only where a password is installed."""
    bench.command(0x60, 0x43)
    bench.command(0xA6)
    assert bench.status() & 0x10
    bench.kbc.keyboard.type("a")
    assert bench.answers() == [0x1E, 0x9E]


def test_nothing_is_handed_on_until_the_password_has_been_typed(locked: Bench) -> None:
    """Keys and replies; status bit 4 is 0 meanwhile."""
    assert not locked.status() & 0x10
    for key in ("x", "ret", "a", "a", "shift-b", "b"):
        locked.kbc.keyboard.type(key)
        assert locked.answers() == []
    locked.keyboard(0xF2)
    assert (locked.answers(), locked.line.level) == ([], False)
    for key in ("a", "b"):
        locked.kbc.keyboard.type(key)
    locked.kbc.keyboard.press("ret")
    assert locked.answers() == []
    assert locked.status() & 0x10
    locked.kbc.keyboard.release("ret")
    locked.kbc.keyboard.type("c")
    assert locked.answers() == [0x9C, 0x2E, 0xAE]


def test_the_controller_itself_answers_while_it_is_locked(locked: Bench) -> None:
    locked.command(0x20)
    assert locked.answers() == [0x43]
    locked.command(0xA4)
    assert locked.answers() == [0xFA]
    locked.command(0xD1, 0xDD)
    assert not locked.a20.level


def test_a_mouse_is_not_heard_while_it_is_locked(locked: Bench) -> None:
    assert mouse(locked, 0xF4) == []
    for key in ("a", "b", "ret"):
        locked.kbc.keyboard.type(key)
    assert locked.answers() == [0x9C]
    assert mouse(locked, 0xF4) == [0xFA]


def test_the_system_is_told_of_security_on_and_off(bench: Bench) -> None:
    """RAM 13h and 14h: what is not 0 stands in the output buffer when the password is enabled, and when it matched."""
    bench.command(0x60, 0x43)
    bench.command(0x73, 0x51)
    bench.command(0x74, 0x52)
    bench.command(0xA5, 0x1E, 0)
    bench.command(0xA6)
    assert bench.line.level
    assert bench.answers() == [0x51]
    bench.kbc.keyboard.type("a")
    assert bench.answers() == [0x52, 0x9E]


def test_two_make_codes_may_be_typed_in_between(bench: Bench) -> None:
    """RAM 16h and 17h: codes that are discarded, such as those of both shift keys."""
    bench.command(0x60, 0x43)
    bench.command(0xA5, 0x1E, 0x30, 0)
    bench.command(0xA6)
    for key in ("shift-a", "shift_r-b"):
        bench.kbc.keyboard.type(key)
    assert bench.answers() == []
    bench.command(0x76, 0x2A)
    bench.command(0x77, 0x36)
    for key in ("shift-a", "shift_r-b"):
        bench.kbc.keyboard.type(key)
    assert bench.answers() == [0xB0, 0xB6]


def test_a_password_of_codes_that_are_not_translated(bench: Bench) -> None:
    bench.command(0x60, 0x03)
    bench.command(0xA5, 0x1C, 0x32, 0)
    bench.command(0xA6)
    for key in ("a", "c", "a"):
        bench.kbc.keyboard.type(key)
    assert bench.answers() == []
    bench.kbc.keyboard.type("b")
    assert bench.answers() == [0xF0, 0x32]


def test_a_password_without_end_takes_no_more_memory(bench: Bench) -> None:
    bench.command(0xA5, *[0x1E] * 1000, 0)
    assert len(bench.kbc.state.password) == 32


# -- the port of the mouse, and the controller's memory --------------------------------------------------------


def test_the_port_is_tested_and_switched_off_and_on(bench: Bench) -> None:
    bench.command(0xA9)
    assert bench.answers() == [0]
    for command, bit in ((0xA8, 0), (0xA7, 0x20)):
        bench.command(command)
        bench.command(0x20)
        assert bench.answers()[0] & 0x20 == bit


def test_the_controllers_ram_and_its_ports_are_read(bench: Bench) -> None:
    bench.command(0x6A, 0x5A)
    bench.command(0x2A)
    assert bench.answers() == [0x5A]
    bench.command(0xC0)
    assert bench.answers() == [0x80], "the keyboard is not locked"
    bench.command(0xE0)
    assert bench.answers() == [0]
