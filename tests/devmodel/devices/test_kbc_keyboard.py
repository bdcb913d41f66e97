"""The keyboard behind the controller: its commands and buffer, what each key sends, typematic, types of keys."""

import pytest

from devmodel.devices.keyboard import Keyboard
from devmodel.devices.keys import CODES_3, KEYS, TRANSLATION
from tests.devmodel.devices.kbc_bench import DATA, Bench, raw


@pytest.fixture
def bench() -> Bench:
    return Bench()


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


def test_keys_while_scanning_is_off_are_lost(bench: Bench) -> None:
    bench.keyboard(0xF5)
    bench.kbc.keyboard.type("a")
    assert bench.answers() == [0xFA]


def test_a_guest_that_never_reads_does_not_fill_the_memory(bench: Bench) -> None:
    for _ in range(5000):
        bench.keyboard(0xF2)
        bench.kbc.keyboard.type("a")
    assert len(bench.kbc.keyboard.state.queue) <= 17
    assert len(bench.kbc.keyboard.state.replies) <= 16


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


def test_a_character_that_no_key_has_is_a_mistake_of_the_user() -> None:
    assert [Keyboard.combination(character) for character in "aA%"] == ["a", "shift-a", "shift-5"]
    with pytest.raises(ValueError, match="no key for"):
        Keyboard.combination("ä")
