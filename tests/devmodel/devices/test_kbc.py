"""The keyboard controller and the keyboard behind it."""

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.kbc import FRAME, Kbc
from devmodel.devices.keyboard import Keyboard
from devmodel.devices.keys import KEYS, TRANSLATION

DATA, COMMAND = 0, 4


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    line: Line = attrs.field(factory=Line)
    a20: Line = attrs.field(factory=lambda: Line(level=True))
    resets: list[str] = attrs.field(factory=list)
    kbc: Kbc = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.kbc = Kbc(
            clock=self.clock, irq=self.line, a20=self.a20, reset_processor=lambda: self.resets.append("reset")
        )

    def command(self, *values: int) -> None:
        self.kbc.write(COMMAND, 1, values[0])
        for value in values[1:]:
            self.kbc.write(DATA, 1, value)

    def keyboard(self, *values: int) -> None:
        for value in values:
            self.kbc.write(DATA, 1, value)

    def status(self) -> int:
        return self.kbc.read(COMMAND, 1)

    def answers(self) -> list[int]:
        """All that comes, with the time it needs."""
        found = []
        for _ in range(1000):
            if self.status() & 1:
                found.append(self.kbc.read(DATA, 1))
            elif (deadline := self.kbc.deadline()) is None:
                return found
            else:
                self.clock.time = max(self.clock.time, deadline)
                self.kbc.tick()
        raise AssertionError("it never ends")


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


def test_a_combination_is_released_backwards(bench: Bench) -> None:
    bench.command(0x60, 0x41)
    bench.kbc.keyboard.type("ctrl-alt-delete")
    assert bench.answers() == [0x1D, 0x38, 0xE0, 0x53, 0xE0, 0xD3, 0xB8, 0x9D]


@pytest.mark.parametrize(
    ("character", "combination"),
    [("a", "a"), ("A", "shift-a"), ("!", "shift-1"), ("\n", "ret"), ("/", "slash"), ("7", "7")],
)
def test_characters_have_combinations(character: str, combination: str) -> None:
    assert Keyboard.combination(character) == combination


def test_every_key_has_a_set_1_code_of_its_own() -> None:
    codes = {(code >> 8, TRANSLATION[code & 0xFF]) for code in KEYS.values()}
    assert len(codes) == len(KEYS)
    assert all(code < 0x80 for _, code in codes)


def test_an_unknown_key_is_named_and_nothing_is_pressed(bench: Bench) -> None:
    with pytest.raises(ValueError, match="no key 'anykey'"):
        bench.kbc.keyboard.type("ctrl-anykey")
    assert bench.answers() == []


def test_leds_rate_echo_and_resend(bench: Bench) -> None:
    bench.keyboard(0xED, 0x07, 0xF3, 0x20, 0xEE)
    assert bench.answers() == [0xFA, 0xFA, 0xFA, 0xFA, 0xEE]
    bench.keyboard(0xFE)
    assert bench.answers() == [0xEE]
    assert (bench.kbc.keyboard.state.leds, bench.kbc.keyboard.state.typematic) == (7, 0x20)
    bench.keyboard(0xE0)
    assert bench.answers() == [0xFE]


def test_scan_set_1_and_its_query(bench: Bench) -> None:
    bench.keyboard(0xF0, 1, 0xF0, 0)
    assert bench.answers() == [0xFA, 0xFA, 0xFA, 0xFA, 1]
    bench.kbc.keyboard.type("a")
    assert bench.answers() == [0x1E, 0x9E]


def test_a_disabled_keyboard_keeps_its_keys(bench: Bench) -> None:
    bench.command(0xAD)
    bench.kbc.keyboard.type("a")
    assert bench.answers() == []
    bench.command(0xAE)
    assert bench.answers() == [0x1C, 0xF0, 0x1C]


def test_keys_while_scanning_is_off_are_lost(bench: Bench) -> None:
    bench.keyboard(0xF5)
    bench.kbc.keyboard.type("a")
    assert bench.answers() == [0xFA]


def test_there_is_no_mouse(bench: Bench) -> None:
    bench.command(0xA9)
    assert bench.answers() == [1]
    bench.command(0xD3, 0x5A)
    assert bench.status() & 0x21 == 0x01
    assert bench.answers() != [0x5A]
    bench.command(0xA8)
    bench.command(0x20)
    assert bench.answers()[0] & 0x20
    bench.command(0xD4, 0xFF)
    assert bench.status() & 0x61 == 0x61
    assert not bench.line.level
    assert bench.answers() == [0xFE]


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


def test_a_guest_that_never_reads_does_not_fill_the_memory(bench: Bench) -> None:
    for _ in range(5000):
        bench.keyboard(0xF2)
        bench.kbc.keyboard.type("a")
    assert len(bench.kbc.keyboard.state.queue) <= 17
    assert len(bench.kbc.keyboard.state.replies) <= 16


def raw(bench: Bench) -> None:
    """Let scan codes through as the keyboard sends them (set 2)."""
    bench.command(0x60, 0x01)


def test_a_reply_does_not_stand_behind_keys(bench: Bench) -> None:
    """PS/2 TR, keyboard: a command is answered within 20 ms, whatever waits in the key buffer."""
    raw(bench)
    bench.kbc.keyboard.type("a")
    bench.clock.time += 10**7
    bench.kbc.tick()
    assert bench.kbc.read(DATA, 1) == 0x1C
    bench.keyboard(0xED)
    assert bench.answers() == [0xFA, 0xF0, 0x1C]


def test_a_reply_between_a_prefix_and_its_code_breaks_no_key(bench: Bench) -> None:
    bench.command(0x60, 0x41)  # translated
    bench.kbc.keyboard.type("a")
    bench.clock.time += 10**7
    bench.kbc.tick()
    assert bench.kbc.read(DATA, 1) == 0x1E
    bench.clock.time += 10**7
    bench.kbc.tick()  # takes the prefix F0
    bench.keyboard(0xEE)
    assert bench.answers() == [0xEE, 0x9E]


def test_the_key_buffer_has_sixteen_bytes_and_says_when_keys_were_lost(bench: Bench) -> None:
    """PS/2 TR: the buffer holds 16 bytes; the 17th is an overrun code, 00h in set 2 and FFh in set 1."""
    raw(bench)
    bench.command(0xAD)
    for key in "abcdefgh":
        bench.kbc.keyboard.press(key)
        bench.kbc.keyboard.release(key)  # three bytes each
    bench.command(0xAE)
    codes = bench.answers()
    assert codes == [
        0x1C,
        0xF0,
        0x1C,
        0x32,
        0xF0,
        0x32,
        0x21,
        0xF0,
        0x21,
        0x23,
        0xF0,
        0x23,
        0x24,
        0xF0,
        0x24,
        0x2B,
        0x00,
    ]
    bench.kbc.keyboard.press("a")
    assert bench.answers() == [0x1C]


def test_no_key_is_scanned_while_a_command_waits_for_its_option(bench: Bench) -> None:
    """PS/2 TR, ED: "discontinues scanning, and waits for the option byte"."""
    raw(bench)
    bench.keyboard(0xED)
    bench.kbc.keyboard.press("a")
    bench.keyboard(0x02)
    bench.kbc.keyboard.press("b")
    assert bench.answers() == [0xFA, 0xFA, 0x32]
    assert bench.kbc.keyboard.state.leds == 2


@pytest.mark.parametrize(
    ("command", "left"),
    [(0xEE, True), (0xED, True), (0xF2, True), (0xF3, True), (0xF4, False), (0xF5, False), (0xF6, False)]
    + [(command, False) for command in (0xF0, 0xF7, 0xFA, 0xFB, 0xFD, 0xFF)],
)
def test_which_commands_clear_the_key_buffer(bench: Bench, command: int, left: bool) -> None:
    """PS/2 TR, "clears its output buffer": F0, F4 to FD and FF."""
    raw(bench)
    bench.command(0xAD)
    bench.kbc.keyboard.press("a")
    bench.keyboard(command)
    bench.command(0xAE)
    assert (0x1C in bench.answers()) == left
