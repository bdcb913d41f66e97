"""The keyboard controller and the keyboard behind it."""

from typing import Final

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.kbc import FRAME, Kbc
from devmodel.devices.keyboard import Keyboard
from devmodel.devices.keys import CODES_3, KEYS, TRANSLATION

DATA, COMMAND = 0, 4


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    line: Line = attrs.field(factory=Line)
    aux_line: Line = attrs.field(factory=Line)
    a20: Line = attrs.field(factory=lambda: Line(level=True))
    resets: list[str] = attrs.field(factory=list)
    kbc: Kbc = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.kbc = Kbc(
            clock=self.clock,
            irq=self.line,
            aux_irq=self.aux_line,
            a20=self.a20,
            reset_processor=lambda: self.resets.append("reset"),
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
        """All that comes without a pause of 100 ms, with the time it needs."""
        found = []
        for _ in range(1000):
            if self.status() & 1:
                found.append(self.kbc.read(DATA, 1))
            elif (deadline := self.kbc.deadline()) is None or deadline > self.clock.time + 10**8:
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
    """PS/2 TR, ED: "discontinues scanning, and waits for the option byte". Then a key that is down is found so."""
    raw(bench)
    bench.keyboard(0xED)
    bench.kbc.keyboard.press("a")
    bench.kbc.keyboard.press("c")
    bench.kbc.keyboard.release("c")
    bench.kbc.keyboard.press("a")  # a viewer's keyboard repeats
    assert bench.answers() == [0xFA]
    bench.keyboard(0x02)
    bench.kbc.keyboard.press("b")
    assert bench.answers() == [0xFA, 0x1C, 0x32]
    assert bench.kbc.keyboard.state.leds == 2


def test_a_key_that_is_let_go_while_a_command_waits_for_its_option_does_not_stick(bench: Bench) -> None:
    """A guest sets the LEDs when Caps Lock is pressed, and it may be let go just then."""
    raw(bench)
    bench.kbc.keyboard.press("caps_lock")
    assert bench.answers() == [0x58]
    bench.keyboard(0xED)
    bench.kbc.keyboard.release("caps_lock")
    bench.kbc.keyboard.press("a")
    bench.kbc.keyboard.release("a")
    bench.kbc.keyboard.press("a")
    bench.keyboard(0x04)
    assert bench.answers() == [0xFA, 0xFA, 0xF0, 0x58, 0x1C]
    bench.keyboard(0xED)
    bench.kbc.keyboard.release("a")
    bench.kbc.keyboard.press("a")
    bench.keyboard(0xEE)  # no option, but a command
    assert bench.answers() == [0xFA, 0xEE]
    bench.keyboard(0xF3)
    bench.kbc.keyboard.release("a")
    assert bench.answers() == [0xFA]
    bench.keyboard(0xFF)
    assert bench.answers() == [0xFA, 0xAA]


def test_a_key_of_set_3_without_break_codes_is_let_go_silently(bench: Bench) -> None:
    raw(bench)
    bench.keyboard(0xF0)
    bench.keyboard(0x03)
    bench.kbc.keyboard.press("a")
    bench.answers()
    bench.keyboard(0xED)
    bench.kbc.keyboard.release("a")
    bench.keyboard(0x00)
    assert bench.answers() == [0xFA, 0xFA]


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


def test_set_default_scans_on_only_if_the_keyboard_did(bench: Bench) -> None:
    """PS/2 TR, Set Default: "continues scanning" only if it was enabled; a reset enables it."""
    raw(bench)
    bench.keyboard(0xF5, 0xF6)
    bench.kbc.keyboard.press("a")
    assert bench.answers() == [0xFA, 0xFA]
    bench.keyboard(0xF4, 0xF6)
    bench.kbc.keyboard.press("a")
    assert bench.answers() == [0xFA, 0xFA, 0x1C]


def test_after_a_resend_the_byte_before_it_is_sent_again(bench: Bench) -> None:
    """PS/2 TR, Resend: the previous output, unless that was a Resend; then the byte before."""
    raw(bench)
    bench.keyboard(0xEE)
    assert bench.answers() == [0xEE]
    bench.keyboard(0xEF)
    assert bench.answers() == [0xFE], "there is no such command"
    bench.keyboard(0xFE)
    assert bench.answers() == [0xEE]


# -- every key in every set (PS/2 TR, Keyboard: tables of scan codes) -----------------------------------------


def send_set(bench: Bench, scan_set: int) -> None:
    """Let the keyboard send a set, and nobody translate it."""
    bench.command(0x60, 0x21)
    bench.keyboard(0xF0, scan_set, 0xF4)
    bench.answers()


@pytest.mark.parametrize(
    ("scan_set", "held", "key", "press", "release"),
    [
        (2, "", "a", "1c", "f01c"),
        (2, "", "alt_r", "e011", "e0f011"),
        (2, "", "insert", "e070", "e0f070"),
        (2, "shift", "insert", "e0f012e070", "e0f070e012"),
        (2, "shift_r", "left", "e0f059e06b", "e0f06be059"),
        (2, "shift", "kp_divide", "e0f012e04a", "e0f04ae012"),
        (2, "", "kp_divide", "e04a", "e0f04a"),
        (2, "", "print", "e012e07c", "e0f07ce0f012"),
        (2, "shift", "print", "e07c", "e0f07c"),
        (2, "ctrl", "print", "e07c", "e0f07c"),
        (2, "alt", "print", "84", "f084"),
        (2, "", "pause", "e11477e1f014f077", ""),
        (2, "ctrl", "pause", "e07ee0f07e", ""),
        (1, "", "a", "1e", "9e"),
        (1, "", "insert", "e052", "e0d2"),
        (1, "shift", "insert", "e0aae052", "e0d2e02a"),
        (1, "shift_r", "end", "e0b6e04f", "e0cfe036"),
        (1, "", "print", "e02ae037", "e0b7e0aa"),
        (1, "alt_r", "print", "54", "d4"),
        (1, "", "pause", "e11d45e19dc5", ""),
        (1, "ctrl_r", "pause", "e046e0c6", ""),
        (3, "shift", "insert", "67", ""),
        (3, "", "a", "1c", ""),
        (3, "", "shift_r", "59", "f059"),
        (3, "", "print", "57", ""),
        (3, "", "pause", "62", ""),
        (3, "", "kp_enter", "79", ""),
        (3, "", "meta_l", "8b", ""),
    ],
)
def test_what_a_key_sends(bench: Bench, scan_set, held, key, press, release) -> None:
    send_set(bench, scan_set)
    keyboard = bench.kbc.keyboard
    if held:
        keyboard.press(held)
        bench.answers()
    keyboard.press(key)
    assert bytes(bench.answers()).hex() == press
    keyboard.release(key)
    assert bytes(bench.answers()).hex() == release


@pytest.mark.parametrize(
    ("shifted", "press", "release"), [(False, "e012e06b", "e0f06be0f012"), (True, "e06b", "e0f06b")]
)
def test_with_num_lock_on_the_block_of_arrows_shifts_the_other_way(
    bench: Bench, shifted, press, release
) -> None:
    send_set(bench, 2)
    bench.keyboard(0xED, 2)
    keyboard = bench.kbc.keyboard
    if shifted:
        keyboard.press("shift")
    bench.answers()
    keyboard.press("left")
    assert bytes(bench.answers()).hex() == press
    keyboard.release("left")
    assert bytes(bench.answers()).hex() == release


def test_every_key_has_a_code_of_its_own_in_set_3() -> None:
    assert len(CODES_3) == len(KEYS) + 1


@pytest.mark.parametrize("scan_set", [1, 2])
def test_what_a_key_sends_in_set_2_is_translated_to_what_it_sends_in_set_1(scan_set: int) -> None:
    for held in ("", "shift", "ctrl", "alt"):
        for key in (*KEYS, "pause"):
            translated, native = Bench(), Bench()
            send_set(native, 1)
            translated.command(0x60, 0x61)
            for bench in (translated, native):
                if held:
                    bench.kbc.keyboard.press(held)
                bench.kbc.keyboard.press(key)
                bench.kbc.keyboard.release(key)
            assert translated.answers() == native.answers(), (held, key)


# -- typematic ----------------------------------------------------------------------------------------------


def repeats(bench: Bench, seconds: float) -> list[int]:
    """What comes in that time, read at once."""
    found, end = [], bench.clock.time + int(seconds * 10**9)
    while (deadline := bench.kbc.deadline()) is not None and deadline <= end:
        bench.clock.time = max(bench.clock.time, deadline)
        bench.kbc.tick()
        while bench.status() & 1:
            found.append(bench.kbc.read(DATA, 1))
    bench.clock.time = end
    return found


@pytest.mark.parametrize(
    ("byte", "delay", "period"),
    [(0x2B, 0.5, 0.0917), (0x00, 0.25, 0.0333), (0x7F, 1.0, 0.5), (0x14, 0.25, 0.2)],
)
def test_a_key_that_is_held_repeats_at_the_rate_and_after_the_delay_that_were_set(
    bench, byte, delay, period
) -> None:
    send_set(bench, 2)
    bench.keyboard(0xF3, byte)
    bench.answers()
    bench.kbc.keyboard.press("a")
    assert bench.answers() == [0x1C]
    assert repeats(bench, delay - 0.01) == []
    assert len(repeats(bench, 10)) == pytest.approx(10 / period, abs=2)
    bench.kbc.keyboard.release("a")
    assert bench.answers() == [0xF0, 0x1C]
    assert repeats(bench, 2) == []


def test_only_the_key_that_was_pressed_last_repeats(bench: Bench) -> None:
    send_set(bench, 2)
    for key in ("a", "b"):
        bench.kbc.keyboard.press(key)
    bench.answers()
    assert set(repeats(bench, 1)) == {0x32}
    bench.kbc.keyboard.release("a")
    repeats(bench, 0.05)
    assert set(repeats(bench, 1)) == {0x32}
    bench.kbc.keyboard.release("b")
    bench.answers()
    assert repeats(bench, 1) == []


def test_a_key_that_nobody_reads_does_not_repeat_into_an_overrun(bench: Bench) -> None:
    send_set(bench, 2)
    bench.kbc.keyboard.press("a")
    for _ in range(1000):
        bench.clock.advance(10**8)
        bench.kbc.tick()
    bench.kbc.keyboard.release("a")
    assert 0x00 not in bench.answers()[:16]


def test_pause_does_not_repeat(bench: Bench) -> None:
    send_set(bench, 2)
    bench.kbc.keyboard.press("pause")
    assert len(bench.answers()) == 8
    assert repeats(bench, 3) == []


def test_disabling_forgets_the_key_that_repeats(bench: Bench) -> None:
    send_set(bench, 2)
    bench.kbc.keyboard.press("a")
    bench.keyboard(0xF5)
    bench.answers()
    bench.keyboard(0xF4)
    bench.answers()
    assert repeats(bench, 3) == []


# -- the types of set 3's keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "released", "repeated"),
    [(0xF7, False, True), (0xF8, True, False), (0xF9, False, False), (0xFA, True, True)],
)
def test_all_keys_of_set_3_change_their_type(bench: Bench, command, released, repeated) -> None:
    send_set(bench, 3)
    bench.keyboard(command)
    assert bench.answers() == [0xFA]
    for key, code in (("a", 0x1C), ("shift", 0x12), ("f1", 0x07)):
        bench.kbc.keyboard.press(key)
        assert bench.answers() == [code]
        assert bool(repeats(bench, 2)) == repeated
        bench.kbc.keyboard.release(key)
        assert bench.answers() == ([0xF0, code] if released else [])


def test_single_keys_of_set_3_change_their_type_up_to_the_next_command(bench: Bench) -> None:
    send_set(bench, 3)
    bench.keyboard(0xFC, 0x1C, 0x07, 0x00)
    assert bench.answers() == [0xFA, 0xFA, 0xFA, 0xFE], "00 is no key"
    bench.keyboard(0xFB, 0x12)
    bench.kbc.keyboard.press("b")  # lost: it waits for more keys
    bench.keyboard(0xF4)
    assert bench.answers() == [0xFA, 0xFA, 0xFA]
    bench.kbc.keyboard.type("a")
    bench.kbc.keyboard.type("f1")
    bench.kbc.keyboard.type("shift")
    bench.kbc.keyboard.type("c")
    assert bench.answers() == [0x1C, 0xF0, 0x1C, 0x07, 0xF0, 0x07, 0x12, 0x21]
    bench.keyboard(0xFD, 0x1C, 0xF6)
    bench.answers()
    bench.keyboard(0xF0, 0x03)
    bench.answers()
    bench.kbc.keyboard.type("f1")
    assert bench.answers() == [0x07], "the defaults are back"


def test_the_set_is_told_when_asked(bench: Bench) -> None:
    send_set(bench, 3)
    bench.keyboard(0xF0, 0x00)
    assert bench.answers() == [0xFA, 0xFA, 0x03]
    bench.keyboard(0xF0, 0x04)
    assert bench.answers() == [0xFA, 0xFE]


# -- the auxiliary port and the mouse (PS/2 TR, Keyboard and auxiliary device controller; Mouse) ----------------


def mouse(bench: Bench, *values: int) -> list[int]:
    """Say something to the mouse, and return what it answers."""
    answers = []
    for value in values:
        bench.command(0xD4, value)
        answers += bench.answers()
    return answers


@pytest.fixture
def streaming(bench: Bench) -> Bench:
    bench.command(0x60, 0x03)
    assert mouse(bench, 0xFF) == [0xFA, 0xAA, 0x00]
    assert mouse(bench, 0xF4) == [0xFA]
    return bench


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


def test_the_port_is_tested_and_switched_off_and_on(bench: Bench) -> None:
    bench.command(0xA9)
    assert bench.answers() == [0]
    for command, bit in ((0xA8, 0), (0xA7, 0x20)):
        bench.command(command)
        bench.command(0x20)
        assert bench.answers()[0] & 0x20 == bit


def test_a_byte_of_the_mouse_is_told_by_status_bit_5_and_by_irq_12(bench: Bench) -> None:
    bench.command(0x60, 0x03)
    bench.command(0xD4, 0xF2)
    bench.clock.advance(FRAME)
    bench.kbc.tick()
    assert bench.status() & 0x21 == 0x21
    assert (bench.line.level, bench.aux_line.level) == (False, True)
    bench.command(0xD0)  # overwrites it
    assert bench.answers()[0] & 0x30 == 0x20
    bench.command(0x60, 0x01)
    bench.command(0xD3, 0x5A)
    assert (bench.status() & 0x21, bench.aux_line.level) == (0x21, False)
    assert bench.answers()[0] == 0x5A


def test_a_mouse_whose_port_is_off_waits(streaming: Bench) -> None:
    streaming.command(0xA7)
    streaming.kbc.mouse.move(1, 2)
    assert streaming.answers() == []
    streaming.command(0xA8)
    assert streaming.answers() == [0x28, 0x01, 0xFE]


def test_a_report_has_buttons_signs_and_counts(streaming: Bench) -> None:
    streaming.kbc.mouse.move(-3, -4)
    assert streaming.answers() == [0x18, 0xFD, 0x04]
    streaming.kbc.mouse.press("right")
    streaming.kbc.mouse.press("middle")
    assert streaming.answers() == [0x0E, 0, 0], "both in a sampling period are one report"
    streaming.kbc.mouse.release("right")
    streaming.kbc.mouse.press("side")  # which no driver has asked for
    assert streaming.answers() == [0x0C, 0, 0]


def test_a_long_move_is_several_reports(streaming: Bench) -> None:
    streaming.kbc.mouse.move(600, 0)
    assert streaming.answers() == [0x08, 255, 0, 0x08, 255, 0, 0x08, 90, 0]


def test_there_is_a_report_a_sampling_period_at_most(streaming: Bench) -> None:
    assert mouse(streaming, 0xF3, 20) == [0xFA, 0xFA]
    mouse(streaming, 0xF4)
    streaming.kbc.mouse.move(255 * 3, 0)
    begin = streaming.clock.time
    assert streaming.answers() == [0x08, 255, 0] * 3
    assert streaming.clock.time - begin >= 2 * 50_000_000


def test_nothing_is_reported_until_that_is_enabled(bench: Bench) -> None:
    mouse(bench, 0xFF)
    bench.kbc.mouse.move(5, 5)
    assert bench.answers() == []
    assert not bench.kbc.mouse.listened_to
    assert mouse(bench, 0xF4) == [0xFA], "counts begin anew"
    assert bench.kbc.mouse.quiet
    assert mouse(bench, 0xF5) == [0xFA]
    bench.kbc.mouse.move(5, 5)
    assert bench.answers() == []


def test_remote_mode_reports_when_asked(streaming: Bench) -> None:
    assert mouse(streaming, 0xF0) == [0xFA]
    streaming.kbc.mouse.move(2, 0)
    assert streaming.answers() == []
    assert mouse(streaming, 0xEB) == [0xFA, 0x08, 2, 0]
    assert mouse(streaming, 0xEB) == [0xFA, 0x08, 0, 0]
    assert mouse(streaming, 0xEA) == [0xFA]
    streaming.kbc.mouse.move(3, 0)
    assert streaming.answers() == [0x08, 3, 0]


def test_wrap_mode_echoes_all_but_its_end_and_reset(streaming: Bench) -> None:
    assert mouse(streaming, 0xEE, 0xF4, 0x12, 0xE9) == [0xFA, 0xF4, 0x12, 0xE9]
    assert mouse(streaming, 0xEC) == [0xFA]
    assert mouse(streaming, 0xEE, 0xFF) == [0xFA, 0xFA, 0xAA, 0x00]
    assert mouse(streaming, 0xF2) == [0xFA, 0x00]


def test_status_tells_modes_buttons_resolution_and_rate(streaming: Bench) -> None:
    assert mouse(streaming, 0xE9) == [0xFA, 0x20, 2, 100]
    streaming.kbc.mouse.press("left")
    streaming.answers()
    assert mouse(streaming, 0xE7, 0xE8, 3, 0xF3, 200, 0xF0)[:6] == [0xFA] * 6
    assert mouse(streaming, 0xE9) == [0xFA, 0x74, 3, 200]
    assert mouse(streaming, 0xF6, 0xE9) == [0xFA, 0xFA, 0x04, 2, 100]


def test_scaling_of_two_to_one_is_for_streams(streaming: Bench) -> None:
    mouse(streaming, 0xE7)
    for count, scaled in ((1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (100, 200), (200, 255), (-4, -6)):
        streaming.kbc.mouse.move(count, 0)
        assert streaming.answers()[1] == scaled & 0xFF, count
    mouse(streaming, 0xF0)
    streaming.kbc.mouse.move(4, 0)
    assert mouse(streaming, 0xEB)[2] == 4
    mouse(streaming, 0xEA, 0xE6)
    streaming.kbc.mouse.move(4, 0)
    assert streaming.answers()[1] == 4


def test_invalid_bytes_are_to_be_sent_again_and_twice_are_an_error(streaming: Bench) -> None:
    assert mouse(streaming, 0x12, 0x12, 0x12, 0xF4, 0x12) == [0xFE, 0xFC, 0xFE, 0xFA, 0xFE]
    assert mouse(streaming, 0xF4, 0xF3, 7, 80, 0xE9) == [0xFA, 0xFA, 0xFE, 0xFA, 0xFA, 0x20, 2, 80]
    assert mouse(streaming, 0xE8, 4, 4, 0xE9) == [0xFA, 0xFE, 0xFC, 0xFA, 0x20, 2, 80]


def test_what_was_sent_last_is_sent_again(streaming: Bench) -> None:
    streaming.kbc.mouse.move(1, -2)
    report = streaming.answers()
    assert mouse(streaming, 0xFE) == report
    assert mouse(streaming, 0xFE) == report
    assert mouse(streaming, 0xE9, 0xFE) == [0xFA, 0x20, 2, 100] * 2


@pytest.mark.parametrize(
    ("rates", "identity", "report"),
    [
        ((200, 100, 80), 3, [0x08, 1, 0, 0xFE]),
        ((200, 200, 80), 4, [0x08, 1, 0, 0x1E]),
        ((200, 80, 100), 0, [0x08, 1, 0]),
    ],
)
def test_sample_rates_knock_for_the_wheel_and_for_five_buttons(
    streaming: Bench, rates, identity, report
) -> None:
    for rate in rates:
        mouse(streaming, 0xF3, rate)
    assert mouse(streaming, 0xF2) == [0xFA, identity]
    mouse(streaming, 0xF4)
    streaming.kbc.mouse.press("side")
    if identity == 4:
        assert streaming.answers() == [0x08, 0, 0, 0x10]
    streaming.kbc.mouse.move(1, 0, -2)
    assert streaming.answers() == report
    assert mouse(streaming, 0xFF, 0xF2)[-1] == 0, "a reset makes a plain mouse of it"


def test_many_clicks_of_the_wheel_are_several_reports(streaming: Bench) -> None:
    for rate in (200, 100, 80):
        mouse(streaming, 0xF3, rate)
    streaming.kbc.mouse.move(0, 0, 10)
    assert streaming.answers() == [0x08, 0, 0, 7, 0x08, 0, 0, 3]


def test_a_command_takes_back_what_was_not_read(streaming: Bench) -> None:
    streaming.kbc.mouse.move(1, 1)
    streaming.command(0xD4, 0xE9)
    assert streaming.answers() == [0xFA, 0x20, 2, 100]


def test_an_unknown_button_is_a_mistake_of_the_user(bench: Bench) -> None:
    with pytest.raises(ValueError, match="no button 'nose'; the names are left, right, middle, side, extra"):
        bench.kbc.mouse.press("nose")


def test_moves_that_nobody_fetches_are_bounded(bench: Bench) -> None:
    for _ in range(200):
        bench.kbc.mouse.move(10000, -10000, 10000)
    state = bench.kbc.mouse.state
    assert (state.x, state.y, state.wheel) == (1 << 20, 1 << 20, 1 << 20)


def test_the_controllers_ram_and_its_ports_are_read(bench: Bench) -> None:
    bench.command(0x6A, 0x5A)
    bench.command(0x2A)
    assert bench.answers() == [0x5A]
    bench.command(0xC0)
    assert bench.answers() == [0x80], "the keyboard is not locked"
    bench.command(0xE0)
    assert bench.answers() == [0]


def test_a_character_that_no_key_has_is_a_mistake_of_the_user() -> None:
    assert [Keyboard.combination(character) for character in "aA%"] == ["a", "shift-a", "shift-5"]
    with pytest.raises(ValueError, match="no key for"):
        Keyboard.combination("ä")
