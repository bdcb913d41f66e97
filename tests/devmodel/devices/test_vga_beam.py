"""Bits 5 and 4 of input status 1: two of the eight outputs P7 to P0, by color plane enable's bits 5-4 (AR12).

IBM PS/2 Hardware Interface TR, Video: 00 shows P2 and P0, 01 P5 and P4, 10 P3 and P1, 11 P7 and P6.
"""

import random
from typing import Final

import pytest

from devmodel.devices.vga import DOT_CLOCKS
from devmodel.devices.vga_beam import STATUS
from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_memory import PLANES, VIEW
from tests.devmodel.devices.vga_bench import MODES, TEXT, Bench

FULL: Final = 0xDB
LEFT: Final = 0xDD
NS: Final = 10**9


def outputs(bench: Bench, x: int, line: int, *, frame: int = 0) -> int:
    """Return P7 to P0 while the beam is at a dot, as a program finds them with the four settings of AR12."""
    slow = bench.vga.memory.state.misc >> 2 & 3
    eight = bench.get(0x3C4, 1) & 1
    width, height = 100 * (8 if eight else 9), 449 if bench.get(0x3D4, 0x06) == 0xBF else 525
    count = (frame * height + line) * width + x
    at = -(-count * NS // DOT_CLOCKS[slow]) + 1
    bench.clock.advance(at - bench.clock.now())
    value = 0
    for select, (high, low) in enumerate([(2, 0), (5, 4), (3, 1), (7, 6)]):
        bench.attribute(0x12, select << 4 | 0x0F)
        status = bench.into(0x3DA)
        value |= (status >> 5 & 1) << high | (status >> 4 & 1) << low
    return value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_dot_of_text_is_the_number_of_its_colour(bench: Bench) -> None:
    """With the palette, and color select's bits: attribute 0Ah is 3Ah in mode 3."""
    bench.attribute(0x14, 0x04)
    bench.poke(TEXT, 0x0A << 8 | LEFT, 2)
    bench.poke(TEXT + 2, 0x52 << 8 | LEFT, 2)
    bench.poke(TEXT + 160, 0x07 << 8 | FULL, 2)
    assert [outputs(bench, x, 0) for x in (0, 3, 4, 8, 9, 13)] == [0x7A, 0x7A, 0x40, 0x40, 0x42, 0x45]
    assert outputs(bench, 0, 15) == 0x7A
    assert outputs(bench, 0, 16) == 0x47


def test_what_a_guest_writes_into_shared_memory_is_seen_at_once() -> None:
    """The window is plain in text modes and in mode 13h, and no write to it comes to the chip."""
    bench = Bench.with_memory()
    window = bench.vga.memory.octets[-VIEW:]
    for attribute, color in ((0x0C, 0x3C), (0x03, 0x03)):
        window[4:6] = bytes((FULL, attribute))
        assert outputs(bench, 18, 0, frame=attribute) == color
    bench.mode("13")
    for place in (0, 3, 5, 0x4001, 0x8002, 63_999):
        window[place] = 0x80 | place % 61
        y, x = divmod(place, 320)
        assert outputs(bench, 2 * x, 2 * y, frame=100 + y) == 0x80 | place % 61


def test_a_font_that_is_changed_is_seen_in_the_next_dot(bench: Bench) -> None:
    bench.poke(TEXT, 0x07 << 8 | ord(" "), 2)
    assert outputs(bench, 0, 2) == 0
    bench.set(0x3C4, 4, 6)
    bench.set(0x3C4, 2, 4)
    bench.set(0x3CE, 6, 4)
    bench.poke(32 * ord(" ") + 2, 0x80)
    assert outputs(bench, 0, 2, frame=1) == 7


def test_planes_are_read_where_the_beam_is(bench: Bench) -> None:
    bench.mode("12")
    bench.put(80 * 479 + 79, 0x01, 0x00, 0x01, 0x01)
    assert [outputs(bench, x, 479) for x in (638, 639)] == [0, 0x3D]
    bench.attribute(0x13, 1)  # panned to the left
    assert outputs(bench, 638, 479, frame=1) == 0x3D


def test_the_cursor_and_what_blinks_come_and_go_by_frames(bench: Bench) -> None:
    """The cursor is on for 8 frames of 16, what blinks for 16 of 32."""
    bench.poke(TEXT, 0x87 << 8 | FULL, 2)
    for index, value in ((0x0A, 14), (0x0B, 15), (0x0E, 0), (0x0F, 1)):
        bench.set(0x3D4, index, value)
    bench.poke(TEXT + 2, 0x02 << 8 | ord(" "), 2)
    assert [outputs(bench, 0, 0, frame=frame) for frame in (0, 15, 16, 31, 32)] == [7, 7, 0, 0, 7]
    assert [outputs(bench, 9, 15, frame=frame) for frame in (39, 40, 47, 48)] == [2, 0, 0, 2]


def test_the_border_is_overscan_and_blanking_is_nothing(bench: Bench) -> None:
    """Mode 3: a character and seven lines on each side, then blanking."""
    bench.attribute(0x11, 0xA5)
    inside = [(720, 0), (728, 399), (891, 5), (0, 400), (300, 406), (300, 442), (899, 448)]
    for frame, (x, line) in enumerate(inside):
        assert outputs(bench, x, line, frame=frame) == 0xA5
    for frame, (x, line) in enumerate([(729, 0), (890, 5), (300, 407), (300, 441)], len(inside)):
        assert outputs(bench, x, line, frame=frame) == 0
    bench.attribute(0x11, 0)
    assert outputs(bench, 720, 0, frame=20) == 0


def test_a_dark_screen_and_blanked_characters_have_no_outputs(bench: Bench) -> None:
    bench.attribute(0x11, 0x25)
    for column in range(80):
        bench.poke(TEXT + 2 * column, 0x07 << 8 | FULL, 2)
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x02, 69)
    assert [outputs(bench, x, 0) for x in (0, 70 * 9 - 1, 70 * 9)] == [7, 7, 0]
    bench.set(0x3C4, 1, 0x20)
    assert [outputs(bench, 0, line, frame=1) for line in (0, 400)] == [0, 0]


def test_a_skewed_display_is_enabled_later(bench: Bench) -> None:
    bench.poke(TEXT + 2, 0x07 << 8 | FULL, 2)
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x03, 0x80 | 1 << 5 | 2)
    bench.attribute(0x11, 0x20)
    assert [outputs(bench, x, 0) for x in (8, 9)] == [0x20, 7]
    assert bench.into(0x3DA) & 1 == 0
    assert [outputs(bench, 0, 1), bench.into(0x3DA) & 1] == [0x20, 1]


def test_a_mode_of_vbe_shows_none(bench: Bench) -> None:
    for index, value in ((1, 640), (2, 400), (3, 8), (4, 1)):
        bench.vbe(index, value)
    bench.vga.memory.octets[:640] = bytes([0xFF]) * 640
    assert outputs(bench, 0, 0) == 0


MANY: Final = {
    "sequencer": ((1, 0x1D), (3, 0x3F)),
    "crtc": (
        (0x07, 0x10), (0x08, 0x7F), (0x09, 0xDF), (0x0A, 0x3F), (0x0B, 0x7F), (0x0C, 0xFF), (0x0D, 0xFF), (0x0E, 0xFF),
        (0x0F, 0xFF), (0x13, 0xFF), (0x14, 0x7F), (0x17, 0x6F), (0x18, 0xFF),
    ),
    "graphics": ((5, 0x70), (6, 0x01)),
    "attribute": ((0x10, 0xEF), (0x12, 0x3F), (0x13, 0x0F), (0x14, 0x0F)),
}  # fmt: skip
"""Registers, and their bits that have a say in the dots but none in the raster's size beyond the lines."""
PORTS: Final = {"sequencer": 0x3C4, "graphics": 0x3CE}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_the_beam_meets_the_dots_of_the_picture(mode: str, shared: bool, seed: int) -> None:
    """Whatever the registers hold: one dot at a time is what a whole picture has there."""
    chosen = random.Random(f"{mode} {shared} {seed}")
    frame = chosen.randrange(32)
    bench = Bench.with_memory(PLANES) if shared else Bench()
    bench.mode(mode)
    bench.vga.memory.octets[:] = chosen.randbytes(PLANES + VIEW)
    s = bench.vga.memory.state
    crtc = 0x3D4 if s.misc & 1 else 0x3B4
    bench.set(crtc, 0x11, 0)
    registers = [(group, *register) for group, several in MANY.items() for register in several]
    for group, index, mask in chosen.sample(registers, len(registers) // 2):
        value = getattr(s, group)[index] ^ chosen.getrandbits(8) & mask
        if group == "attribute":
            bench.attribute(index, value)
        else:
            bench.set(PORTS.get(group, crtc), index, value)
        bench.into(crtc + 6)
    shown: Frame = bench.vga.frame()
    drawn = bench.picture(cursor=not frame & 8, blink_on=not frame & 16)
    length = shown.horizontal_total * shown.clock_width
    bits = STATUS[s.attribute[0x12] >> 4 & 3]
    lines = sorted(chosen.randrange(shown.displayed_lines) for _ in range(10))
    for line in lines:
        for x in sorted(chosen.randrange(drawn.width) for _ in range(10)):
            tick = (frame * shown.vertical_total + line) * length + x
            bench.clock.time = -(-tick * NS // DOT_CLOCKS[s.misc >> 2 & 3])
            status = bench.into(crtc + 6)
            assert status & 0x31 == bits[drawn.rows[line * shown.line_clock][x]], (line, x)
        frame += 32  # where both phases are the same again


def test_memory_that_is_held_is_seen_as_the_planes_have_it() -> None:
    """What a server before this one did is done again: what the guest has in the window is of later."""
    bench = Bench.with_memory()
    bench.poke(TEXT, 0x07 << 8 | FULL, 2)
    assert outputs(bench, 0, 0) == 7
    bench.vga.hold(True)
    assert outputs(bench, 0, 0, frame=1) == 0
    bench.vga.hold(False)
    assert outputs(bench, 0, 0, frame=2) == 7


def test_programs_that_poll_find_the_edges_of_each_line(bench: Bench) -> None:
    """Bit 0 is 0 for 80 of 100 characters of 9 dots, in 400 of 449 lines; bit 3 is 1 in lines 412 and 413."""
    edges = [
        (0, 0, 0), (719, 0, 0), (720, 0, 1), (899, 0, 1), (0, 1, 0), (719, 399, 0), (720, 399, 1), (0, 400, 1),
        (899, 411, 1), (0, 412, 9), (899, 413, 9), (0, 414, 1), (899, 448, 1),
    ]  # fmt: skip
    for frame in (0, 1, 10_000):
        for x, line, expected in edges:
            tick = (frame * 449 + line) * 900 + x
            bench.clock.time = -(-tick * NS // 28_322_000)
            assert bench.into(0x3DA) & 9 == expected, (frame, x, line)
