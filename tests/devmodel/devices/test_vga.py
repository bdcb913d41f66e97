"""The VGA's registers and data path: what a VGA BIOS and a console driver do with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.devmodel.devices.vga_bench import TEXT, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_text_written_at_b8000_stands_on_the_screen(bench: Bench) -> None:
    for i, character in enumerate(b"Hello"):
        bench.poke(TEXT + 2 * (80 + i), 0x1F00 | character, 2)
    bench.poke(TEXT, ord("x"))
    bench.poke(TEXT + 1, 0x4E)
    screen = bench.text()
    assert (screen.columns, screen.rows) == (80, 25)
    assert bench.vga.frame().size == (720, 400)
    assert screen.text().splitlines()[:3] == ["x", "Hello", ""]
    assert screen.attributes[:2] == b"\x4e\x00"
    assert screen.attributes[80:85] == b"\x1f" * 5
    assert bench.peek(TEXT, 4) == 0x0000_4E78


def test_reads_come_back_in_every_size(bench: Bench) -> None:
    bench.poke(TEXT + 2, 0x0807_0605_0403_0201, 8)
    assert bench.peek(TEXT + 2, 8) == 0x0807_0605_0403_0201
    assert bench.peek(TEXT + 3, 2) == 0x0302


def test_every_read_of_planes_loads_the_latches(bench: Bench) -> None:
    bench.planar()
    bench.put(6, 0x00, 0x10, 0x20, 0x30)
    for size in (1, 2):
        bench.vga.memory.state.latches = 0
        bench.peek(7 - size, size)
        assert bench.vga.memory.state.latches == 0x3020_1000


def test_outside_the_selected_window_nobody_answers(bench: Bench) -> None:
    bench.poke(0, 0x55)
    assert bench.peek(0) == 0xFF
    assert bench.peek(0x1_0000) == 0xFF
    bench.set(0x3CE, 6, 0x0A)  # monochrome window
    assert bench.peek(0x1_0000) == 0
    assert bench.peek(TEXT) == 0xFF
    bench.out(0x3C2, 0x65)  # RAM disabled
    assert bench.peek(0x1_0000) == 0xFF


def test_the_bios_loads_its_font_into_plane_2(bench: Bench) -> None:
    bench.set(0x3C4, 2, 4)
    bench.set(0x3C4, 4, 7)
    bench.set(0x3CE, 4, 2)
    bench.set(0x3CE, 5, 0)
    bench.set(0x3CE, 6, 4)
    for row in range(16):
        bench.poke(0x41 * 32 + row, 0x80 + row)
    assert bench.peek(0x41 * 32 + 3) == 0x83
    bench.set(0x3C4, 2, 3)
    bench.set(0x3C4, 4, 3)
    bench.set(0x3CE, 4, 0)
    bench.set(0x3CE, 5, 0x10)
    bench.set(0x3CE, 6, 0x0E)
    assert [bench.planes(0x41 * 32 + row)[2] for row in range(16)] == list(range(0x80, 0x90))
    assert bench.text().characters == bytes(2000)


def test_start_address_and_cursor_scroll_the_screen(bench: Bench) -> None:
    bench.poke(TEXT + 2 * 160, 0x0741, 2)
    bench.set(0x3D4, 0x0C, 0)
    bench.set(0x3D4, 0x0D, 160)
    bench.set(0x3D4, 0x0E, 0)
    bench.set(0x3D4, 0x0F, 245)
    screen = bench.text()
    assert screen.characters[0] == 0x41
    assert screen.cursor == (1, 5)
    bench.set(0x3D4, 0x0A, 0x20)
    assert bench.text().cursor is None


def test_the_palette_is_the_ega_one_and_follows_the_dac(bench: Bench) -> None:
    assert bench.text().colors[:8] == (
        (0, 0, 0), (0, 0, 170), (0, 170, 0), (0, 170, 170),
        (170, 0, 0), (170, 0, 170), (170, 85, 0), (170, 170, 170),
    )  # fmt: skip
    bench.out(0x3C8, 1)
    for value in (63, 0, 32):
        bench.out(0x3C9, value)
    assert bench.text().colors[1] == (255, 0, 130)
    bench.out(0x3C7, 1)
    assert [bench.into(0x3C9) for _ in range(3)] == [63, 0, 32]
    assert bench.into(0x3C7) == 3


def test_a_colour_takes_effect_with_its_third_byte(bench: Bench) -> None:
    bench.out(0x3C8, 7)
    bench.out(0x3C9, 1)
    bench.out(0x3C9, 1)
    assert bench.text().colors[7] == (170, 170, 170)


def test_the_attribute_flip_flop_is_reset_by_status_1(bench: Bench) -> None:
    bench.into(0x3DA)
    bench.out(0x3C0, 0x30)
    bench.out(0x3C0, 0x04)
    assert bench.into(0x3C1) == 0x04
    assert not bench.text().blink
    bench.out(0x3C0, 0x30)
    bench.into(0x3DA)
    bench.out(0x3C0, 0x01)
    bench.out(0x3C0, 0x3F)
    assert bench.into(0x3C1) == 0x3F
    assert bench.into(0x3C0) == 0x01


def test_the_palette_cannot_be_written_while_the_screen_uses_it(bench: Bench) -> None:
    """IBM TR, attribute address register: with PAS=1 the palette is the video's."""
    bench.into(0x3DA)
    bench.out(0x3C0, 0x21)
    bench.out(0x3C0, 0x3F)
    assert bench.into(0x3C1) == 0x01


def test_crtc_registers_0_to_7_can_be_protected(bench: Bench) -> None:
    bench.set(0x3D4, 0x11, 0x8E)
    bench.set(0x3D4, 0x01, 0x27)
    bench.set(0x3D4, 0x07, 0x00)
    assert bench.get(0x3D4, 0x01) == 0x4F
    assert bench.get(0x3D4, 0x07) == 0x0F  # only the line compare bit
    bench.set(0x3D4, 0x11, 0x0E)
    bench.set(0x3D4, 0x01, 0x27)
    assert bench.text().columns == 40


def test_the_crtc_moves_with_the_monitor_type(bench: Bench) -> None:
    assert bench.into(0x3B4) == 0xFF
    bench.out(0x3C2, 0x66)
    assert bench.into(0x3D5) == 0xFF
    bench.set(0x3B4, 0x0F, 0x12)
    assert bench.get(0x3B4, 0x0F) == 0x12


def test_retrace_comes_seventy_times_a_second(bench: Bench) -> None:
    edges, before = 0, False
    for microsecond in range(0, 1_000_000, 20):
        bench.clock.time = microsecond * 1000
        status = bench.into(0x3DA)
        assert not status & 8 or status & 1
        edges += bool(status & 8) and not before
        before = bool(status & 8)
    assert edges == 70


def test_a_timing_that_no_monitor_follows_is_that_of_text(bench: Bench) -> None:
    """CR06: a total below the retrace's start has no retrace, for which programs would wait for ever."""
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x06, 1)
    bench.set(0x3D4, 0x07, 0x1E)
    seen = set()
    for microsecond in range(0, 20_000, 20):
        bench.clock.time = microsecond * 1000
        seen.add(bench.into(0x3DA))
    assert seen == {0, 1, 9}


def test_the_display_is_off_at_the_end_of_each_line(bench: Bench) -> None:
    levels = []
    for tenth in range(1000):
        bench.clock.time = tenth * 100
        levels.append(bench.into(0x3DA) & 1)
    assert 0.15 < sum(levels) / 1000 < 0.25  # 20 of 100 characters


def test_write_mode_0_with_set_reset_and_bit_mask(bench: Bench) -> None:
    bench.planar()
    bench.poke(5, 0xFF)
    bench.peek(5)  # loads the latches
    bench.set(0x3CE, 1, 0x0F)
    bench.set(0x3CE, 0, 0x05)
    bench.set(0x3CE, 8, 0xF0)
    bench.poke(5, 0)
    assert bench.planes(5) == (0xFF, 0x0F, 0xFF, 0x0F)


@pytest.mark.parametrize(("function", "expected"), [(0, 0x3C), (1, 0x30), (2, 0xFC), (3, 0xCC)])
def test_logical_functions_work_on_the_latches(bench: Bench, function: int, expected: int) -> None:
    bench.planar()
    bench.poke(9, 0xF0)
    bench.peek(9)
    bench.set(0x3CE, 3, function << 3)
    bench.poke(9, 0x3C)
    assert bench.planes(9) == (expected,) * 4


def test_rotation(bench: Bench) -> None:
    bench.planar()
    bench.set(0x3CE, 3, 4)
    bench.poke(0, 0x12)
    assert bench.planes(0) == (0x21,) * 4


def test_write_mode_1_copies_the_latches(bench: Bench) -> None:
    bench.planar()
    bench.put(1, 0x10, 0x11, 0x12, 0x13)
    bench.planar(write_mode=1)
    bench.peek(1)
    bench.poke(2, 0xEE)
    assert bench.planes(2) == (0x10, 0x11, 0x12, 0x13)


def test_write_mode_2_spreads_a_colour(bench: Bench) -> None:
    bench.planar(write_mode=2)
    bench.poke(3, 0x0A)
    assert bench.planes(3) == (0, 0xFF, 0, 0xFF)


def test_write_mode_3_masks_with_the_data(bench: Bench) -> None:
    bench.planar(write_mode=3)
    bench.set(0x3CE, 0, 0x06)
    bench.set(0x3CE, 8, 0x3F)
    bench.poke(3, 0xF8)
    assert bench.planes(3) == (0, 0x38, 0x38, 0)


def test_read_mode_1_compares_colours(bench: Bench) -> None:
    bench.planar()
    bench.put(7, 0xF0, 0xCC, 0x00, 0xAA)
    bench.set(0x3CE, 5, 8)
    bench.set(0x3CE, 2, 0x03)
    bench.set(0x3CE, 7, 0x07)
    assert bench.peek(7) == 0xC0
    bench.set(0x3CE, 7, 0)
    assert bench.peek(7) == 0xFF


def test_chain_odd_even_takes_a0_away_though_writes_go_to_all_planes(bench: Bench) -> None:
    """GR06 bit 1 is about addresses and SR04 bit 2 about planes: with both set a font is written to even bytes only."""
    bench.planar(mask=4)
    bench.set(0x3CE, 6, 7)
    for address in range(4):
        bench.poke(address, 0x10 + address)
    page = 0 if bench.into(0x3CC) & 0x20 else 1
    assert [bench.planes(address)[2] for address in (page, page + 2)] == [0x11, 0x13]
    assert [bench.planes(address)[2] for address in (1 - page, 3 - page)] == [0, 0]


def test_chain_4_spreads_bytes_over_the_planes(bench: Bench) -> None:
    bench.set(0x3C4, 4, 0x0E)
    bench.set(0x3C4, 2, 0x0F)
    bench.set(0x3CE, 5, 0x40)
    bench.set(0x3CE, 6, 5)
    bench.poke(4, 0x4433_2211, 4)
    assert bench.planes(4) == (0x11, 0x22, 0x33, 0x44)
    assert bench.peek(4, 4) == 0x4433_2211
    assert not bench.vga.frame().text_mode


@given(st.lists(st.tuples(st.integers(0, 7999), st.integers(0, 255)), max_size=50))
def test_text_memory_is_memory(writes: list[tuple[int, int]]) -> None:
    bench, model = Bench(), bytearray(8000)
    for address, value in writes:
        bench.poke(TEXT + address, value)
        model[address] = value
    for address, _ in writes:
        assert bench.peek(TEXT + address) == model[address]
