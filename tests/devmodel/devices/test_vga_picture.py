"""What a monitor shows, field by field of IBM's manual (PS/2 Hardware Interface TR, May 1992, Video subsystem).

Registers are named as there: SRxx sequencer, CRxx CRT controller, GRxx graphics, ARxx attribute controller. Dots are
numbers of the DAC's colours: in mode 3 attribute 0Fh is colour 3Fh, 07h is 07h, 01h is 01h.
"""

import pytest

from devmodel.devices.vga_font import GLYPHS
from devmodel.devices.vga_frame import Border
from tests.devmodel.devices.vga_bench import MODES, TEXT, Bench

WHITE = 0x3F
FULL = 0xDB  # the block: all dots
LEFT = 0xDD  # its left half


@pytest.fixture
def bench() -> Bench:
    return Bench()


def write(bench: Bench, *cells: tuple[int, int], at: int = 0) -> None:
    for number, (code, attribute) in enumerate(cells):
        bench.poke(TEXT + 2 * (at + number), attribute << 8 | code, 2)


def row_of(bench: Bench, y: int) -> bytes:
    return bench.picture().rows[y]


def fill(bench: Bench) -> None:
    """Make every row of text another: blocks in colour 1 to 7, over and over."""
    for row in range(100):
        write(bench, *[(FULL, 1 + row % 7)] * 80, at=80 * row)


# -- characters -------------------------------------------------------------------------------------------


def test_a_glyph_is_drawn_from_plane_2_in_the_colours_of_the_attribute(bench: Bench) -> None:
    write(bench, (ord("A"), 0x1E))
    for y, bits in enumerate(GLYPHS[ord("A")]):
        dots = [0x3E if bits >> bit & 1 else 0x01 for bit in range(7, -1, -1)]
        assert bench.dots(y, 0, 8) == dots


def test_without_a_font_there_are_no_glyphs(bench: Bench) -> None:
    write(bench, (ord("A"), 0x0F))
    for address in range(256 * 32):
        bench.put(address, *bench.planes(address)[:2], 0, 0)
    assert not any(any(bench.dots(y, 0, 9)) for y in range(16))


def test_sr01_bit_0_makes_cells_of_eight_dots(bench: Bench) -> None:
    write(bench, (FULL, 0x01), (FULL, 0x02))
    assert bench.vga.frame().size == (720, 400)
    assert bench.dots(0, 0, 18) == [1] * 9 + [2] * 9
    bench.set(0x3C4, 1, 1)
    assert bench.vga.frame().size == (640, 400)
    assert bench.dots(0, 0, 16) == [1] * 8 + [2] * 8


def test_the_ninth_dot_repeats_the_eighth_in_codes_c0_to_df_only(bench: Bench) -> None:
    """AR10 bit 2, enable line graphics: on in mode 3; without it the ninth dot is background."""
    for code in (0xBF, 0xC0, 0xDF, 0xE0):
        for row in range(32):
            bench.put(32 * code + row, *bench.planes(32 * code + row)[:2], 0xFF, 0)
    write(bench, *[(code, 0x17) for code in (0xBF, 0xC0, 0xDF, 0xE0)])
    assert [bench.dots(0, 9 * n, 9 * n + 9)[7:] for n in range(4)] == [[7, 1], [7, 7], [7, 7], [7, 1]]
    bench.attribute(0x10, 0x08)
    assert [bench.dots(0, 9 * n, 9 * n + 9)[7:] for n in range(4)] == [[7, 1]] * 4


def test_attribute_bit_7_blinks_or_is_intensity(bench: Bench) -> None:
    """AR10 bit 3."""
    write(bench, (LEFT, 0x9E))
    assert bench.dots(0, 0, 8) == [0x3E] * 4 + [0x01] * 4
    assert bench.dots(0, 0, 8, blink_on=False) == [0x01] * 8
    bench.attribute(0x10, 0x04)
    assert bench.dots(0, 0, 8) == bench.dots(0, 0, 8, blink_on=False) == [0x3E] * 4 + [0x39] * 4


def test_underline_is_the_row_in_cr14_where_the_foreground_is_001(bench: Bench) -> None:
    """CR14 bits 4-0; MDA's attributes 01h and 09h. Mode 3 has it at row 1Fh, which there is not."""
    write(bench, (ord(" "), 0x01), (ord(" "), 0x07), (ord(" "), 0x79))
    assert not any(any(bench.dots(y, 0, 9)) for y in range(16))
    bench.set(0x3D4, 0x14, 0x0D)
    assert [y for y in range(16) if any(bench.dots(y, 0, 9))] == [13]
    assert bench.dots(13, 0, 27) == [1] * 9 + [0] * 9 + [0x39] * 9


def test_two_fonts_are_chosen_by_attribute_bit_3(bench: Bench) -> None:
    """SR03: map B in bits 4, 1-0 for bit 3 clear, map A in bits 5, 3-2 for bit 3 set: 512 characters."""
    bench.put(0xE000, 0, 0, 0xF0, 0)
    bench.put(0x4000, 0, 0, 0x0F, 0)
    write(bench, (0, 0x07), (0, 0x0F))
    bench.set(0x3C4, 3, 0x13)  # map B is the eighth, at E000h; map A the first
    assert bench.dots(0, 0, 8) == [7] * 4 + [0] * 4
    bench.set(0x3C4, 3, 0x04)  # map A is the second, at 4000h
    assert bench.dots(0, 9, 17) == [0] * 4 + [WHITE] * 4


@pytest.mark.parametrize(
    ("select", "offset"),
    [
        (0x00, 0x0000), (0x01, 0x4000), (0x02, 0x8000), (0x03, 0xC000),
        (0x10, 0x2000), (0x11, 0x6000), (0x12, 0xA000), (0x13, 0xE000),
    ],
)  # fmt: skip
def test_character_map_select_has_eight_places(bench: Bench, select: int, offset: int) -> None:
    bench.put(offset, 0, 0, 0x81, 0)
    bench.set(0x3C4, 3, select)
    write(bench, (0, 0x07))
    assert bench.dots(0, 0, 8) == [7, 0, 0, 0, 0, 0, 0, 7]


def test_mono_attributes_are_what_the_palette_of_mode_7_makes_of_them(bench: Bench) -> None:
    """Mode 7: window at B0000h, CRTC at 3B4h, underline at row 0Fh; normal is 08h, intense 18h."""
    bench.mode("07")
    for number, attribute in enumerate((0x07, 0x0F, 0x70, 0x01, 0x00)):
        bench.poke(0x1_0000 + 2 * number, attribute << 8 | LEFT, 2)
    assert bench.dots(0, 0, 45) == [8] * 4 + [0] * 5 + [0x18] * 4 + [0] * 9 + [8] * 5 + [8] * 4 + [0] * 14
    assert bench.dots(15, 27, 36) == [8] * 9
    assert bench.vga.frame().size == (720, 400)


# -- the cursor -------------------------------------------------------------------------------------------


def cursor_rows(bench: Bench, column: int = 0, row: int = 0) -> list[int]:
    height = (bench.get(0x3D4, 9) & 0x1F) + 1
    lines = bench.picture(cursor=True).rows[row * height : row * height + height]
    return [y for y, line in enumerate(lines) if line[9 * column : 9 * column + 9] == bytes([7] * 9)]


def test_the_cursor_is_foreground_from_its_start_to_its_end_line(bench: Bench) -> None:
    write(bench, (ord(" "), 0x07))
    assert cursor_rows(bench) == [13, 14]
    assert not any(any(bench.dots(y, 0, 9)) for y in range(16))  # in the other half of its blinking
    bench.set(0x3D4, 0x0A, 2)
    bench.set(0x3D4, 0x0B, 5)
    assert cursor_rows(bench) == [2, 3, 4, 5]


def test_cr0a_bit_5_and_a_start_behind_the_end_put_the_cursor_out(bench: Bench) -> None:
    write(bench, (ord(" "), 0x07))
    bench.set(0x3D4, 0x0A, 0x2D)
    assert cursor_rows(bench) == []
    bench.set(0x3D4, 0x0A, 0x0F)
    assert cursor_rows(bench) == []
    assert bench.text().cursor is None


def test_cursor_skew_moves_it_to_the_right(bench: Bench) -> None:
    """CR0B bits 6-5."""
    write(bench, *[(ord(" "), 0x07)] * 4)
    bench.set(0x3D4, 0x0B, 0x4E)
    assert cursor_rows(bench) == []
    assert cursor_rows(bench, 2) == [13, 14]
    assert bench.text().cursor == (0, 2)


def test_the_cursor_is_where_the_address_counter_meets_it(bench: Bench) -> None:
    write(bench, *[(ord(" "), 0x07)] * 400)
    bench.set(0x3D4, 0x0D, 160)
    bench.set(0x3D4, 0x0F, 245)
    assert bench.text().cursor == (1, 5)
    assert cursor_rows(bench, 5, 1) == [13, 14]
    bench.set(0x3D4, 0x0F, 10)  # above the screen
    assert bench.text().cursor is None


# -- colours ----------------------------------------------------------------------------------------------


def test_ar12_disables_planes_so_07h_makes_0fh_grey(bench: Bench) -> None:
    """Colour plane enable: Linux uses it with 512 characters, whose bit 3 is no intensity."""
    write(bench, (FULL, 0x0F), (FULL, 0x0C))
    assert bench.dots(0, 0, 18) == [WHITE] * 9 + [0x3C] * 9
    bench.attribute(0x12, 0x07)
    assert bench.dots(0, 0, 18) == [7] * 9 + [4] * 9
    assert bench.text().colors[0x0F] == bench.text().colors[0x07] == (170, 170, 170)
    bench.attribute(0x12, 0)
    assert bench.dots(0, 0, 18) == [0] * 18


def test_ar14_gives_the_upper_bits_of_a_colour(bench: Bench) -> None:
    """Colour select: bits 3-2 are P7-P6; with AR10 bit 7 (P5, P4 select) bits 1-0 are P5-P4 too."""
    write(bench, (FULL, 0x0F))
    bench.attribute(0x14, 0x0D)
    assert bench.dots(0, 0, 1) == [0xFF]
    bench.attribute(0x14, 0x04)
    assert bench.dots(0, 0, 1) == [0x7F]
    bench.attribute(0x14, 0x09)
    bench.attribute(0x10, 0x8C)
    assert bench.dots(0, 0, 1) == [0x9F]


def test_the_palette_maps_attributes_to_colours(bench: Bench) -> None:
    write(bench, (FULL, 0x07))
    bench.attribute(7, 0x2A)
    assert bench.dots(0, 0, 1) == [0x2A]


def test_the_dac_has_six_bits_and_a_mask(bench: Bench) -> None:
    """3C6h is ANDed with the colour's number; 3Fh is full brightness."""
    bench.color(0x05, 63, 32, 1)
    bench.color(0x3F, 0, 0, 63)
    colors = bench.vga.frame().colors()
    assert colors[5] == (255, 130, 4)
    bench.out(0x3C6, 0x05)
    assert bench.vga.frame().colors()[0x3F] == (255, 130, 4)
    assert bench.into(0x3C6) == 0x05


# -- nothing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "registers"),
    [
        ("SR01 bit 5 is the screen off", [(0x3C4, 1, 0x20)]),
        ("SR00 holds the sequencer in reset", [(0x3C4, 0, 0x01)]),
        ("CR17 bit 7 clear stops the retraces", [(0x3D4, 0x17, 0x23)]),
    ],
)
def test_the_monitor_is_dark(bench: Bench, why: str, registers: list[tuple[int, int, int]]) -> None:
    write(bench, (FULL, 0x0F))
    assert any(row_of(bench, 0))
    for port, index, value in registers:
        bench.set(port, index, value)
    drawn = bench.picture(cursor=True)
    assert not any(map(any, drawn.rows)), why
    assert drawn.palette == ((0, 0, 0),)
    assert (drawn.width, drawn.height) == (720, 400)
    assert bench.text().text().strip() == ""


def test_horizontal_blanking_may_begin_before_the_end_of_the_line(bench: Bench) -> None:
    """CR02: from behind it the monitor gets black, whatever colour 0 is, until CR03's and CR05's bits are met."""
    fill(bench)
    bench.color(0, 63, 0, 0)
    assert bench.picture().palette is not None
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x02, 69)
    row = bench.picture().rows[0]
    assert bench.picture().palette is None
    assert len(row) == 720 * 3
    assert row[: 70 * 9 * 3].count(0) < 70 * 9 * 3
    assert not any(row[70 * 9 * 3 :])
    bench.set(0x3D4, 0x02, 80)
    bench.set(0x3D4, 0x03, 0x82 | 0x1D)  # 3Fh, which is met at column 63 of the next line
    row = bench.picture().rows[0]
    assert not any(row[: 63 * 9 * 3])
    assert any(row[63 * 9 * 3 :])


def test_vertical_blanking_may_begin_before_the_last_line(bench: Bench) -> None:
    """CR15, with bit 8 in CR07 and bit 9 in CR09: one less than the first line that is blanked."""
    fill(bench)
    bench.set(0x3D4, 0x15, 399 & 0xFF)
    assert bench.picture().palette is not None
    bench.set(0x3D4, 0x15, 299 & 0xFF)
    rows = bench.picture().rows
    assert [y for y, row in enumerate(rows) if not any(row)] == list(range(300, 400))
    bench.set(0x3D4, 0x09, 0x4F | 0x20)  # 811: there is no such line
    assert bench.picture().palette is not None


@pytest.mark.parametrize("mode", MODES)
def test_overscan_is_a_border_of_a_character_left_and_right_in_every_mode(bench: Bench, mode: str) -> None:
    """AR11 is a colour of the DAC, not of the palette. VESA DMT, 640 x 480: the border is 8 dots and 8 lines wide."""
    bench.mode(mode)
    bench.attribute(0x11, 0x25)
    width, height = SIZES[mode]
    side = {"00": 18, "03": 9, "04": 16, "07": 9, "0d": 16}.get(mode, 8)
    above = {350: 6, 400: 7, 480: 8}[height]
    drawn = bench.picture()
    assert (drawn.width, drawn.height) == bench.vga.frame().size == (width + 2 * side, height + 2 * above)
    assert [len(row) for row in drawn.rows] == [drawn.width] * drawn.height
    edge = b"\x25" * side
    assert [set(row) for row in drawn.rows[:above] + drawn.rows[-above:]] == [{0x25}] * 2 * above
    assert all(row[:side] == row[-side:] == edge for row in drawn.rows)
    assert 0x25 not in drawn.rows[above][side:-side] + drawn.rows[-above - 1][side:-side]


def test_a_border_of_colour_0_is_left_off(bench: Bench) -> None:
    bench.color(0, 63, 0, 0)
    assert (bench.picture().width, bench.picture().height) == (720, 400)


def test_the_border_follows_where_blanking_is(bench: Bench) -> None:
    """CR02 and CR03 with CR05 for the columns, CR15 and CR16 for the lines; what of the text is blanked is dark."""
    fill(bench)
    bench.attribute(0x11, 0x25)
    bench.set(0x3D4, 0x11, 0)
    for index, value in ((0x02, 82), (0x03, 0x80 | 97 & 0x1F), (0x15, 401 & 0xFF), (0x16, 444 & 0xFF)):
        bench.set(0x3D4, index, value)
    frame = bench.vga.frame()
    assert frame.border == Border(left=2 * 9, right=3 * 9, top=4, bottom=2)
    bench.set(0x3D4, 0x02, 77)
    drawn = bench.picture()
    assert drawn.palette is None
    assert (drawn.width, drawn.height) == (720 + 2 * 9, 400 + 6)
    row = drawn.rows[4]
    assert row[: 3 * 18] == bytes(bench.vga.frame().colors()[0x25]) * 18
    assert any(row[3 * 9 * 79 : 3 * 9 * 80])
    assert not any(row[3 * 9 * 80 :])


def test_without_any_blanking_the_border_is_all_that_is_not_displayed(bench: Bench) -> None:
    bench.attribute(0x11, 0x25)
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x02, 0xFF)
    assert bench.vga.frame().border == Border(left=0, right=20 * 9, top=7, bottom=7)


def test_display_enable_skew_leaves_off_the_first_characters(bench: Bench) -> None:
    """CR03 bits 6-5: the display is enabled so many character clocks later, on the left and on the right."""
    write(bench, *[(FULL, 1 + column % 7) for column in range(82)])
    bench.set(0x3D4, 0x0E, 0)
    bench.set(0x3D4, 0x0F, 5)
    assert bench.text().cursor == (0, 5)
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x02, 82)
    bench.set(0x3D4, 0x03, 0x80 | 2 << 5 | 2)
    assert bench.dots(0, 0, 10) == [3] * 9 + [4]
    assert bench.dots(0, 711, 720) == [1 + 81 % 7] * 9
    assert bench.text().cursor == (0, 3)
    assert bench.text().attributes[:3] == bytes((3, 4, 5))
    bench.attribute(0x11, 0x25)
    assert bench.vga.frame().border == Border(left=3 * 9, right=9, top=7, bottom=7)


def test_pas_0_blanks_until_the_palette_is_the_screens_again(bench: Bench) -> None:
    write(bench, (FULL, 0x0F))
    bench.into(0x3DA)
    bench.out(0x3C0, 0x00)
    assert not any(row_of(bench, 0))
    bench.into(0x3DA)
    bench.out(0x3C0, 0x20)
    assert any(row_of(bench, 0))


def test_3c3h_disables_ports_and_memory_but_not_the_picture(bench: Bench) -> None:
    """Video subsystem enable: bit 0 clear leaves only 3C3h itself; what is in memory goes on being shown."""
    write(bench, (FULL, 0x0F))
    bench.out(0x3C3, 0)
    assert (bench.into(0x3CC), bench.into(0x3DA), bench.into(0x3C3)) == (0xFF, 0xFF, 0)
    bench.set(0x3D4, 0x0D, 80)
    bench.poke(TEXT, 0x0741, 2)
    assert bench.peek(TEXT, 2) == 0xFFFF
    assert bench.dots(0, 0, 9) == [WHITE] * 9
    bench.out(0x3C3, 1)
    assert bench.peek(TEXT, 2) == 0x0FDB
    assert bench.get(0x3D4, 0x0D) == 0


# -- the raster -------------------------------------------------------------------------------------------


def color_at(bench: Bench, y: int) -> int:
    return row_of(bench, y)[0]


def test_the_start_address_is_where_the_screen_begins(bench: Bench) -> None:
    fill(bench)
    assert [color_at(bench, 16 * row) for row in range(3)] == [1, 2, 3]
    bench.set(0x3D4, 0x0D, 160)
    assert [color_at(bench, 16 * row) for row in range(3)] == [3, 4, 5]
    assert bench.text().attributes[0] == 3


def test_line_compare_begins_memory_anew_in_text_as_well(bench: Bench) -> None:
    """CR18, CR07 bit 4, CR09 bit 6: what follows the line that is equal comes from address 0, row scan 0."""
    fill(bench)
    bench.set(0x3D4, 0x11, 0)
    bench.set(0x3D4, 0x0D, 160)
    bench.set(0x3D4, 0x07, 0x0F)
    bench.set(0x3D4, 0x09, 0x0F)
    bench.set(0x3D4, 0x18, 39)
    assert [color_at(bench, y) for y in (0, 16, 32, 39, 40, 55, 56)] == [3, 4, 5, 5, 1, 1, 2]
    screen = bench.text()
    assert list(screen.attributes[::80])[:5] == [3, 4, 5, 1, 2]
    bench.set(0x3D4, 0x07, 0x1F)  # line 295
    assert [color_at(bench, y) for y in (280, 288, 295, 296)] == [0x14, 7, 7, 1]
    bench.set(0x3D4, 0x09, 0x4F)  # and far below
    assert bench.text().rows == 25


def test_preset_row_scan_begins_within_a_character(bench: Bench) -> None:
    """CR08 bits 4-0: smooth scrolling; only the first row is shorter."""
    fill(bench)
    bench.set(0x3D4, 8, 5)
    assert [color_at(bench, y) for y in (0, 10, 11, 26, 27)] == [1, 1, 2, 2, 3]
    assert bench.text().rows == 26


def test_a_preset_row_beyond_the_characters_runs_on_to_31_first(bench: Bench) -> None:
    """CR08 bits 4-0 preset a counter of five bits, which is compared with CR09 for being equal."""
    bench.set(0x3D4, 0x08, 20)
    scans = list(bench.vga.frame().scans())
    assert [scan.row for scan in scans[:46]] == [*range(20, 32), *range(16), *range(16), 0, 1]
    assert [scan.start for scan in scans[:46]] == [0] * (12 + 16) + [80] * 16 + [160] * 2


def test_byte_panning_moves_by_characters(bench: Bench) -> None:
    """CR08 bits 6-5."""
    write(bench, *[(FULL, color) for color in (1, 2, 3, 4)])
    bench.set(0x3D4, 8, 0x40)
    assert bench.dots(0, 0, 18) == [3] * 9 + [4] * 9


@pytest.mark.parametrize(("value", "dots"), [(8, 0), (0, 1), (1, 2), (6, 7), (7, 8), (15, 0)])
def test_panning_of_nine_dots(bench: Bench, value: int, dots: int) -> None:
    """AR13: 8 is none, 0 to 7 are 1 to 8 dots."""
    write(bench, (FULL, 1), (FULL, 2))
    bench.attribute(0x13, value)
    assert bench.dots(0, 0, 18)[: 18 - dots] == ([1] * 9 + [2] * 9)[dots:]
    assert len(row_of(bench, 0)) == 720


@pytest.mark.parametrize("dots", range(8))
def test_panning_of_eight_dots(bench: Bench, dots: int) -> None:
    write(bench, (FULL, 1), (FULL, 2))
    bench.set(0x3C4, 1, 1)
    bench.attribute(0x13, dots)
    assert bench.dots(0, 0, 16 - dots) == ([1] * 8 + [2] * 8)[dots:]


def test_panning_of_256_colours_is_in_half_dots(bench: Bench) -> None:
    """AR13: 0, 2, 4 and 6 are 0 to 3 dots, which are two of the dot clock."""
    bench.mode("13")
    for address in range(8):
        bench.poke(address, 0x10 + address)
    bench.attribute(0x13, 4)
    assert bench.dots(0, 0, 6) == [0x12, 0x12, 0x13, 0x13, 0x14, 0x14]


def test_pel_panning_compatibility_leaves_the_lower_part_unpanned(bench: Bench) -> None:
    """AR10 bit 5: below line compare neither AR13 nor byte panning moves anything."""
    for row in (0, 1):
        write(bench, *[(FULL, color) for color in (1, 2, 3)], at=80 * row)
    bench.set(0x3D4, 0x11, 0)
    for index, value in ((0x07, 0x0F), (0x09, 0x0F), (0x18, 15), (0x08, 0x20)):
        bench.set(0x3D4, index, value)
    bench.attribute(0x13, 3)  # four dots
    assert bench.dots(0, 0, 10) == [2] * 5 + [3] * 5
    assert bench.dots(16, 0, 10) == [2] * 5 + [3] * 5
    bench.attribute(0x10, 0x2C)
    assert bench.dots(0, 0, 10) == [2] * 5 + [3] * 5
    assert bench.dots(16, 0, 10) == [1] * 9 + [2]


def test_maximum_scan_line_is_the_height_of_a_character(bench: Bench) -> None:
    """CR09 bits 4-0: 80 by 50 has eight lines a row."""
    fill(bench)
    bench.set(0x3D4, 9, 0x47)
    assert bench.text().rows == 50
    assert [color_at(bench, y) for y in (7, 8, 15, 16)] == [1, 2, 2, 3]


def test_double_scan_shows_every_line_twice(bench: Bench) -> None:
    """CR09 bit 7."""
    write(bench, (ord("A"), 0x07))
    single = [row_of(bench, y) for y in range(8)]
    bench.set(0x3D4, 9, 0xCF)
    assert [row_of(bench, y) for y in range(16)] == [row for row in single for _ in range(2)]
    assert bench.text().rows == 13


def test_sldiv_counts_every_second_line(bench: Bench) -> None:
    """CR17 bit 2: the vertical timing is in double lines, line compare too."""
    fill(bench)
    bench.set(0x3D4, 0x17, 0xA7)
    assert bench.vga.frame().size == (720, 800)
    assert bench.text().rows == 50
    bench.set(0x3D4, 0x11, 0)
    for index, value in ((0x07, 0x0F), (0x09, 0x0F), (0x18, 15)):
        bench.set(0x3D4, index, value)
    assert [color_at(bench, y) for y in (16, 31, 32)] == [2, 2, 1]


def test_the_offset_is_the_distance_of_rows_in_words(bench: Bench) -> None:
    """CR13: twice as many in memory address counts."""
    write(bench, *[(FULL, 1 + column % 7) for column in range(200)])
    bench.set(0x3D4, 0x13, 3)
    assert [color_at(bench, 16 * row) for row in range(4)] == [1, 7, 0x14, 5]


@pytest.mark.parametrize(
    ("mode", "underline", "counter", "address"),
    [
        (0xE3, 0x00, 0x1234, 0x1234),  # byte
        (0xA3, 0x00, 0x1234, 0x2468),  # word, MA15 into bit 0
        (0xA3, 0x00, 0x8001, 0x0003),
        (0x83, 0x00, 0x2001, 0x4003),  # word, MA13 into bit 0: 64 KiB cards
        (0xA3, 0x40, 0x0123, 0x048C),  # double word, MA13-MA12 into bits 1-0
        (0xA3, 0x40, 0x3000, 0xC003),
        (0xE3, 0x40, 0x1001, 0x4005),  # double word wins over byte
    ],
)
def test_address_modes_of_the_crt_controller(
    bench: Bench, mode: int, underline: int, counter: int, address: int
) -> None:
    """CR17 bits 6 and 5, CR14 bit 6: IBM's table of internal memory addresses."""
    bench.set(0x3D4, 0x17, mode)
    bench.set(0x3D4, 0x14, underline)
    bench.set(0x3D4, 0x0C, counter >> 8)
    bench.set(0x3D4, 0x0D, counter & 0xFF)
    frame = bench.vga.frame()
    assert frame.addresses(next(frame.scans()), range(1)) == [address]


def test_row_scan_bits_become_address_bits(bench: Bench) -> None:
    """CR17 bits 0 and 1 clear: row scan bit 0 is address bit 13, bit 1 is address bit 14 (CGA, Hercules)."""
    for mode, expected in (
        (0xE3, [0, 0, 0, 0]),
        (0xE2, [0, 0x2000, 0, 0x2000]),
        (0xE0, [0, 0x2000, 0x4000, 0x6000]),
    ):
        bench.set(0x3D4, 0x17, mode)
        frame = bench.vga.frame()
        scans = list(frame.scans())[:4]
        assert [frame.addresses(scan, range(1))[0] for scan in scans] == expected


@pytest.mark.parametrize(("mode", "underline", "divide"), [(0xA3, 0x1F, 1), (0xAB, 0x1F, 2), (0xA3, 0x3F, 4)])
def test_div2_and_count_by_4_slow_the_address_counter(
    bench: Bench, mode: int, underline: int, divide: int
) -> None:
    """CR17 bit 3 and CR14 bit 5."""
    bench.set(0x3D4, 0x17, mode)
    bench.set(0x3D4, 0x14, underline)
    frame = bench.vga.frame()
    assert frame.addresses(next(frame.scans()), range(8)) == [2 * (clock // divide) for clock in range(8)]


def test_addresses_wrap_at_64_kib(bench: Bench) -> None:
    bench.set(0x3D4, 0x17, 0xE3)
    bench.set(0x3D4, 0x0C, 0xFF)
    bench.set(0x3D4, 0x0D, 0xFF)
    frame = bench.vga.frame()
    assert frame.addresses(next(frame.scans()), range(2)) == [0xFFFF, 0]


# -- the BIOS's modes -------------------------------------------------------------------------------------

SIZES = {
    "00": (720, 400), "03": (720, 400), "04": (640, 400), "06": (640, 400), "07": (720, 400), "0d": (640, 400),
    "0e": (640, 400), "0f": (640, 350), "10": (640, 350), "11": (640, 480), "12": (640, 480), "13": (640, 400),
    "X": (640, 480),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_the_size_that_a_monitor_sees(bench: Bench, mode: str) -> None:
    bench.mode(mode)
    drawn = bench.picture()
    assert (drawn.width, drawn.height) == bench.vga.frame().size == SIZES[mode]
    assert [len(row) for row in drawn.rows] == [drawn.width] * drawn.height


def test_40_columns_have_wide_dots(bench: Bench) -> None:
    bench.mode("00")
    write(bench, (LEFT, 7), (FULL, 2))
    assert bench.dots(0, 0, 20) == [7] * 8 + [0] * 10 + [2] * 2
    assert (bench.text().columns, bench.text().rows) == (40, 25)


def test_mode_4_has_four_colours_and_interleaved_lines(bench: Bench) -> None:
    """CGA: two bits a dot, even lines at B8000h, odd ones at BA000h; palette 0, 13h, 15h, 17h."""
    bench.mode("04")
    bench.poke(TEXT, 0b00011011)
    bench.poke(TEXT + 1, 0b11100100)
    bench.poke(TEXT + 0x2000, 0b01010101)
    bench.poke(TEXT + 80, 0b10101010)
    assert bench.dots(0, 0, 16) == [
        0,
        0,
        0x13,
        0x13,
        0x15,
        0x15,
        0x17,
        0x17,
        0x17,
        0x17,
        0x15,
        0x15,
        0x13,
        0x13,
        0,
        0,
    ]
    assert bench.dots(1, 0, 4) == bench.dots(0, 0, 4)
    assert bench.dots(2, 0, 8) == bench.dots(3, 0, 8) == [0x13] * 8
    assert bench.dots(4, 0, 8) == [0x15] * 8


def test_mode_6_has_one_bit_a_dot_and_interleaved_lines(bench: Bench) -> None:
    bench.mode("06")
    bench.poke(TEXT, 0b10100000)
    bench.poke(TEXT + 0x2000 + 79, 0b00000001)
    assert bench.dots(0, 0, 8) == [0x17, 0, 0x17, 0, 0, 0, 0, 0]
    assert bench.dots(2, 632, 640) == [0] * 7 + [0x17]


@pytest.mark.parametrize(
    ("mode", "wide", "tall", "pitch"),
    [("0d", 2, 2, 40), ("0e", 1, 2, 80), ("10", 1, 1, 80), ("12", 1, 1, 80)],
)
def test_modes_of_16_colours_in_planes(bench: Bench, mode: str, wide: int, tall: int, pitch: int) -> None:
    bench.mode(mode)
    palette = [bench.get_palette(index) for index in range(16)]
    bench.put(0, 0b01010101, 0b00110011, 0b00001111, 0)
    bench.put(pitch, 0xFF, 0, 0, 0xFF)
    assert bench.dots(0, 0, 8 * wide) == [palette[color] for color in range(8) for _ in range(wide)]
    assert bench.dots(tall, 0, 8) == [palette[9]] * 8


def test_mode_0f_has_video_and_intensity_and_blinks(bench: Bench) -> None:
    """Planes 0 and 2: 01 is video, 11 intense, and plane 2 alone blinks, since blinking changes bit 3."""
    bench.mode("0f")
    bench.put(0, 0b01010101, 0b11111111, 0b00110011, 0b11111111)
    assert bench.dots(0, 0, 4) == [0, 0x08, 0x18, 0x18]
    assert bench.dots(0, 0, 4, blink_on=False) == [0, 0x08, 0, 0x18]


def test_nine_dots_of_graphics_repeat_the_eighth(bench: Bench) -> None:
    """SR01 bit 0 lengthens the character clock; nothing is shifted into the ninth dot."""
    bench.mode("11")
    bench.set(0x3C4, 1, 0)
    bench.poke(0, 0x81)
    assert bench.picture().width == 80 * 9
    assert [color != 0 for color in bench.dots(0, 0, 18)] == [True] + [False] * 6 + [True] * 2 + [False] * 9


def test_mode_11_has_two_colours(bench: Bench) -> None:
    bench.mode("11")
    bench.put(0, 0xA0, 0, 0, 0)
    assert bench.dots(0, 0, 4) == [0x3F, 0, 0x3F, 0]


@pytest.mark.parametrize(("clocking", "planes"), [(0x01, [0]), (0x05, [0, 1]), (0x11, [0, 1, 2, 3])])
def test_shift_registers_that_are_loaded_less_often_are_one_long_one(
    bench: Bench, clocking: int, planes: list[int]
) -> None:
    """SR01 bits 2 and 4: loaded every second or fourth character clock, they are chained.

    An EGA of 64 KiB shows two planes of mode 10h so, with planes 0 and 2 enabled (IBM EGA TR, clocking mode).
    """
    bench.mode("11")
    bench.attribute(0x12, 1)
    for address in range(80):
        bench.put(address, *(5 * address + plane & 0xFF for plane in range(4)))
    bench.set(0x3C4, 1, clocking)
    shown = bench.dots(0, 0, 640)
    octets = [sum(bool(dot) << 7 - i for i, dot in enumerate(shown[at : at + 8])) for at in range(0, 640, 8)]
    step = len(planes)
    expected = [5 * (address - address % step) + planes[address % step] & 0xFF for address in range(80)]
    assert octets == expected


def test_zeros_follow_the_last_plane_of_a_chain(bench: Bench) -> None:
    bench.mode("12")
    bench.put(0, 0xFF, 0xFF, 0xFF, 0xFF)
    bench.set(0x3C4, 1, 0x11)
    palette = [bench.get_palette(index) for index in (15, 7, 3, 1)]
    assert bench.dots(0, 0, 40) == [color for color in palette for _ in range(8)] + [0] * 8


def test_mode_13_has_a_byte_a_dot_over_all_of_its_window(bench: Bench) -> None:
    """320 by 200, each dot two wide and two high; chain-4 puts A14 and A15 where the CRT controller looks for them."""
    bench.mode("13")
    places = [0, 1, 2, 3, 319, 320, 16383, 16384, 40000, 63999]
    for place in places:
        bench.poke(place, place % 251 + 1)
    rows = bench.picture().rows
    for place in places:
        y, x = divmod(place, 320)
        assert rows[2 * y][2 * x] == rows[2 * y + 1][2 * x + 1] == place % 251 + 1


def test_256_colours_go_through_the_palette_by_nibbles(bench: Bench) -> None:
    """AR10 bit 6 joins two dots of four bits, each of which has been through plane enable and palette; AR14 is not."""
    bench.mode("13")
    bench.poke(0, 0x35)
    bench.attribute(3, 0x2A)
    assert bench.dots(0, 0, 2) == [0xA5, 0xA5]
    bench.attribute(0x14, 0x0F)
    assert bench.dots(0, 0, 2) == [0xA5, 0xA5]
    bench.attribute(0x12, 0x04)
    assert bench.dots(0, 0, 2) == [0x04, 0x04]


def test_mode_x_has_a_dot_of_each_plane_in_turn(bench: Bench) -> None:
    bench.mode("X")
    for plane in range(4):
        bench.set(0x3C4, 2, 1 << plane)
        bench.poke(80, 0x20 + plane)
    bench.set(0x3C4, 2, 15)
    bench.poke(81, 0x77)
    assert bench.dots(2, 0, 16) == [0x20, 0x20, 0x21, 0x21, 0x22, 0x22, 0x23, 0x23] + [0x77] * 8


def test_a_mode_of_nibbles_goes_through_the_palette(bench: Bench) -> None:
    """GR05 bit 6 without AR10 bit 6: the shift register's nibbles are dots of 16 colours, the high one first."""
    bench.mode("13")
    bench.attribute(0x10, 0x01)
    bench.attribute(3, 0x2A)
    bench.poke(0, 0x35)
    assert bench.dots(0, 0, 2) == [0x2A, 5]
