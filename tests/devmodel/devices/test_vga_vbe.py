"""The Bochs VBE extensions, and display memory that the guest has as its own."""

import copy
import itertools
import random

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.board.wiring import ISA_FRAME_BUFFER
from devmodel.devices.vga import WAIT_PORTS, Vga
from devmodel.devices.vga_memory import PLANES, VIEW, View
from devmodel.devices.vga_pci import VgaFunction, is_for_pci
from devmodel.devices.vga_registers import Vbe
from devmodel.devices.vga_text import TextScreen
from tests.devmodel.devices.vga_bench import MIB, MODES, TEXT, Bench
from tests.devmodel.recording_core import Core

ENABLED, GETCAPS, DAC8, LFB, KEEP = 0x01, 0x02, 0x20, 0x40, 0x80


@pytest.fixture
def bench() -> Bench:
    return Bench.with_memory()


def vbe_mode(bench: Bench, width: int, height: int, bits: int, flags: int = LFB) -> None:
    bench.vbe(Vbe.ENABLE, 0)
    bench.vbe(Vbe.XRES, width)
    bench.vbe(Vbe.YRES, height)
    bench.vbe(Vbe.BPP, bits)
    bench.vbe(Vbe.ENABLE, ENABLED | flags)


# -- the registers ----------------------------------------------------------------------------------------


def test_the_id_is_b0c5_and_an_older_one_can_be_asked_for(bench: Bench) -> None:
    """A BIOS writes the oldest that it knows and reads it back."""
    assert bench.vbe_get(Vbe.ID) == 0xB0C5
    bench.vbe(Vbe.ID, 0xB0C0)
    assert bench.vbe_get(Vbe.ID) == 0xB0C0
    bench.vbe(Vbe.ID, 0xB0C6)
    assert bench.vbe_get(Vbe.ID) == 0xB0C0


def test_the_index_reads_back_and_data_is_also_at_1d0h(bench: Bench) -> None:
    bench.vga.vbe.write(0, 2, Vbe.XRES)
    bench.vga.vbe.write(2, 2, 800)
    assert (bench.vga.vbe.read(0, 2), bench.vga.vbe.read(2, 2)) == (Vbe.XRES, 800)


def test_getcaps_shows_the_most_there_is_and_the_memory_is_in_64_kib(bench: Bench) -> None:
    bench.vbe(Vbe.ENABLE, GETCAPS)
    assert [bench.vbe_get(index) for index in (Vbe.XRES, Vbe.YRES, Vbe.BPP)] == [2560, 1600, 32]
    bench.vbe(Vbe.ENABLE, 0)
    assert bench.vbe_get(Vbe.XRES) == 0
    assert bench.vbe_get(Vbe.VIDEO_MEMORY_64K) == 256
    assert Bench().vbe_get(Vbe.VIDEO_MEMORY_64K) == 4  # without a core that shares any


def test_resolution_and_depth_change_only_while_disabled(bench: Bench) -> None:
    vbe_mode(bench, 640, 480, 8)
    bench.vbe(Vbe.XRES, 800)
    bench.vbe(Vbe.BPP, 32)
    assert (bench.vbe_get(Vbe.XRES), bench.vbe_get(Vbe.BPP)) == (640, 8)


def test_enabling_begins_with_the_screen_as_the_virtual_one_and_empties_it(bench: Bench) -> None:
    assert bench.video is not None
    bench.video[5] = bench.video[640 * 480] = 9
    vbe_mode(bench, 640, 480, 8)
    registers = (Vbe.VIRT_WIDTH, Vbe.VIRT_HEIGHT, Vbe.X_OFFSET, Vbe.Y_OFFSET, Vbe.BANK)
    assert [bench.vbe_get(index) for index in registers] == [640, 16 * MIB // 640, 0, 0, 0]
    assert (bench.video[5], bench.video[640 * 480]) == (0, 9)
    bench.video[5] = 9
    vbe_mode(bench, 640, 480, 8, KEEP)
    assert bench.video[5] == 9


def test_enabling_what_is_enabled_empties_nothing_and_keeps_the_bank(bench: Bench) -> None:
    """Bochs, vga.cc: the mode is set when VBE_DISPI_ENABLED comes on, and only then."""
    assert bench.video is not None
    vbe_mode(bench, 640, 480, 8)
    bench.video[5] = 9
    bench.vbe(Vbe.BANK, 3)
    bench.vbe(Vbe.ENABLE, ENABLED | LFB)
    assert (bench.video[5], bench.vbe_get(Vbe.BANK)) == (9, 3)


def test_what_does_not_fit_is_made_to_fit(bench: Bench) -> None:
    vbe_mode(bench, 5000, 5000, 32)
    assert [bench.vbe_get(index) for index in (Vbe.XRES, Vbe.YRES)] == [2560, 1600]
    bench.vbe(Vbe.VIRT_WIDTH, 100)
    assert bench.vbe_get(Vbe.VIRT_WIDTH) == 2560
    bench.vbe(Vbe.X_OFFSET, 9999)
    bench.vbe(Vbe.Y_OFFSET, 9999)
    assert [bench.vbe_get(index) for index in (Vbe.X_OFFSET, Vbe.Y_OFFSET)] == [
        0,
        16 * MIB // (4 * 2560) - 1600,
    ]
    small = Bench()
    vbe_mode(small, 1024, 768, 32)
    assert small.vbe_get(Vbe.YRES) == 64
    assert small.picture().height == 64
    vbe_mode(small, 3, 0, 7)
    assert [small.vbe_get(index) for index in (Vbe.XRES, Vbe.YRES, Vbe.BPP)] == [8, 1, 32]


# -- the picture ------------------------------------------------------------------------------------------


def dot(bench: Bench, x: int, y: int) -> tuple[int, int, int]:
    drawn = bench.picture()
    row = drawn.rows[y]
    if drawn.palette is not None:
        return drawn.palette[row[x]]
    return row[3 * x], row[3 * x + 1], row[3 * x + 2]


@pytest.mark.parametrize(
    ("bits", "pixel", "color"),
    [
        (8, b"\x04", (170, 0, 0)),
        (15, (0x1F << 10 | 0x10 << 5).to_bytes(2, "little"), (255, 132, 0)),
        (16, (0x1F << 11 | 0x20 << 5 | 1).to_bytes(2, "little"), (255, 130, 8)),
        (24, b"\x01\x02\x03", (3, 2, 1)),
        (32, b"\x01\x02\x03\xff", (3, 2, 1)),
    ],
)
def test_every_depth(bench: Bench, bits: int, pixel: bytes, color: tuple[int, int, int]) -> None:
    vbe_mode(bench, 640, 480, bits)
    assert bench.video is not None
    at = (640 * 479 + 639) * len(pixel)
    bench.video[at : at + len(pixel)] = pixel
    assert bench.vga.frame().size == (640, 480)
    assert dot(bench, 639, 479) == color
    assert dot(bench, 638, 479) == dot(bench, 0, 0) == (0, 0, 0)


def test_the_depth_of_4_is_planes(bench: Bench) -> None:
    vbe_mode(bench, 800, 600, 4)
    bench.set(0x3C4, 4, 6)
    bench.set(0x3CE, 5, 0)
    bench.set(0x3CE, 6, 5)
    bench.set(0x3C4, 2, 0x0A)
    bench.poke(100, 0x80)
    assert bench.dots(1, 0, 2) == [0x3A, 0]
    bench.vbe(Vbe.BANK, 1)  # 64 KiB of each plane further on
    bench.poke(0, 0x80)
    bench.vbe(Vbe.Y_OFFSET, 0x1_0000 // 100)
    assert bench.dots(0, 0x1_0000 % 100 * 8 - 0, 0x1_0000 % 100 * 8 + 2) == [0x3A, 0]


def test_offsets_move_the_screen_over_the_virtual_one(bench: Bench) -> None:
    vbe_mode(bench, 640, 480, 8)
    bench.vbe(Vbe.VIRT_WIDTH, 1024)
    assert bench.video is not None
    bench.video[1024 * 100 + 50] = 2
    bench.vbe(Vbe.X_OFFSET, 40)
    bench.vbe(Vbe.Y_OFFSET, 90)
    assert dot(bench, 10, 10) == (0, 170, 0)


def test_the_dac_has_eight_bits_when_asked(bench: Bench) -> None:
    vbe_mode(bench, 640, 480, 8, LFB | DAC8)
    bench.color(0, 0x81, 0xFF, 0x01)
    assert dot(bench, 0, 0) == (0x81, 0xFF, 0x01)


def test_blanking_reaches_these_modes_too(bench: Bench) -> None:
    vbe_mode(bench, 640, 480, 32)
    assert bench.video is not None
    bench.video[0] = 255
    assert dot(bench, 0, 0) == (0, 0, 255)
    bench.set(0x3C4, 1, 0x21)
    assert dot(bench, 0, 0) == (0, 0, 0)


def test_text_is_what_it_was_behind_a_vbe_mode_that_kept_memory(bench: Bench) -> None:
    bench.poke(TEXT, 0x0741, 2)
    vbe_mode(bench, 640, 480, 8, KEEP)
    bench.vbe(Vbe.ENABLE, 0)
    assert bench.text().text()[0] == "A"


# -- memory that the guest has ----------------------------------------------------------------------------


@attrs.define
class Shown:
    """A window that writes down what is shown."""

    shares: bool = True
    place: tuple[int, int, int] | None = None

    def show(self, first: int, last: int, memory: int) -> None:
        self.place = first, last, memory

    def hide(self) -> None:
        self.place = None


def sharing() -> tuple[Bench, Shown]:
    bench, window = Bench.with_memory(MIB), Shown()
    bench.vga = Vga(clock=bench.clock, video=bench.video, window=window)
    return bench, window


def test_in_text_mode_the_window_is_memory_and_in_planes_it_is_not() -> None:
    bench, window = sharing()
    assert window.place == (TEXT, 0x1_FFFF, MIB)
    bench.planar()
    assert window.place is None
    bench.mode("07")
    assert window.place == (0x1_0000, 0x1_7FFF, MIB)
    bench.mode("13")
    assert window.place == (0, 0xFFFF, MIB)
    bench.mode("X")
    assert window.place is None
    bench.mode("03")
    bench.out(0x3C2, 0x65)  # without RAM
    assert window.place is None


@pytest.mark.parametrize(
    ("port", "index", "value"),
    [
        (0x3C4, 2, 1), (0x3C4, 4, 6), (0x3CE, 1, 1), (0x3CE, 3, 8),
        (0x3CE, 4, 2), (0x3CE, 5, 0x11), (0x3CE, 5, 0x18), (0x3CE, 8, 0),
    ],
)  # fmt: skip
def test_any_register_that_changes_the_data_path_traps_the_window(port: int, index: int, value: int) -> None:
    bench, window = sharing()
    before = bench.get(port, index)
    bench.set(port, index, value)
    assert window.place is None
    bench.set(port, index, before)
    assert window.place == (TEXT, 0x1_FFFF, MIB)


def test_a_write_that_takes_memory_from_the_guest_waits_and_others_do_not() -> None:
    bench, _ = sharing()
    cells = memoryview(bytearray(8 * 0x30)).cast("Q")
    bench.vga.mirror.bind(cells, 0x3B0)
    assert [offset for offset in range(0x30) if cells[offset] >> 34 & 1] == sorted(WAIT_PORTS)
    bench.planar()
    assert not any(cell >> 34 & 1 for cell in cells)
    assert Bench().vga.mirror.shown(0x1C) == 0x67  # miscellaneous output is mirrored


def test_what_the_guest_does_to_its_window_is_in_the_planes_and_back() -> None:
    """A font is loaded between two texts: neither spoils the other."""
    bench, window = sharing()
    assert bench.video is not None
    assert window.place is not None
    at = window.place[2]
    bench.video[at : at + 4] = b"A\x07B\x07"
    assert bench.text().text()[:2] == "AB"
    bench.planar(mask=4)
    bench.poke(32 * 0x41, 0x55)
    assert bench.planes(0) == (0x41, 0x07, 0, 0)
    assert bench.planes(2)[:2] == (0x42, 0x07)
    bench.mode("03")
    assert bytes(bench.video[at : at + 4]) == b"A\x07B\x07"
    assert bench.planes(32 * 0x41)[2] == 0x55
    bench.video[at] = ord("C")
    assert bench.text().text()[:2] == "CB"


@pytest.mark.parametrize("modes", [*itertools.permutations(["03", "13", "12", "07"], 2)])
def test_every_view_shows_the_same_planes(modes: tuple[str, str]) -> None:
    """What one mode leaves, the next one finds, whichever of them are plain windows: as with all of them trapped."""
    dice = random.Random(9)
    bench, trapped = sharing()[0], Bench()
    for mode in (*modes, "12"):
        for one in (bench, trapped):
            one.mode(mode)
        for _ in range(300):
            address, value = dice.randrange(0x2_0000), dice.randrange(256)
            bench.poke(address, value)
            trapped.poke(address, value)
    assert [bench.planes(n) for n in range(0, 0x1_0000, 7)] == [
        trapped.planes(n) for n in range(0, 0x1_0000, 7)
    ]
    assert bench.vga.memory.view == View.PLANES


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in {"X", "12"}])
def test_a_plain_window_is_what_the_planes_would_have_answered(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Bench()
    plain.mode(mode)
    monkeypatch.setattr("devmodel.devices.vga_memory.VgaMemory._wanted", lambda _: View.PLANES)
    planes = Bench()
    planes.mode(mode)
    dice = random.Random(4)
    for _ in range(2000):
        address, size = dice.randrange(0x2_0000), dice.choice((1, 2, 4, 8))
        value = dice.randrange(1 << 8 * size)
        plain.poke(address, value, size)
        planes.poke(address, value, size)
        address = dice.randrange(0x2_0000)
        assert plain.peek(address, size) == planes.peek(address, size)
    assert plain.picture() == planes.picture()


def test_a_bank_is_where_the_window_lies_in_the_memory() -> None:
    bench, window = sharing()
    vbe_mode(bench, 640, 480, 8, 0)
    assert window.place == (0, 0xFFFF, 0)
    bench.vbe(Vbe.BANK, 3)
    assert window.place == (0, 0xFFFF, 0x3_0000)
    bench.poke(5, 7)
    assert bench.vga.frame_buffer.read(0x3_0005, 1) == 7
    bench.vbe(Vbe.BANK, 16)  # there is none
    assert bench.vbe_get(Vbe.BANK) == 3


def test_a_bank_of_planes_that_there_is_no_memory_for_reads_ones() -> None:
    """A bank is 64 KiB of each of four planes, of which 256 KiB of memory have one, though four of bytes."""
    bench = Bench()
    vbe_mode(bench, 640, 480, 4, 0)
    bench.poke(5, 0xA5)
    assert bench.peek(5) == 0xA5
    bench.vbe(Vbe.BANK, 1)
    bench.poke(5, 0x5A)
    assert bench.peek(5) == 0xFF
    bench.vbe(Vbe.BANK, 0)
    assert bench.peek(5) == 0xA5


def test_the_frame_buffer_reads_ones_behind_its_end() -> None:
    bench = Bench()
    bench.vga.frame_buffer.write(PLANES - 2, 4, 0x44332211)
    assert bench.vga.frame_buffer.read(PLANES - 2, 4) == 0xFFFF_2211
    assert bytes(bench.vga.memory.octets[PLANES : PLANES + 2]) == b"\0\0"  # the window is not of it
    bench.vga.frame_buffer.write(PLANES + 100, 8, 1)


def test_a_scroll_of_planes_within_the_window_is_done_at_once_and_as_one_by_one() -> None:
    def filled() -> Bench:
        bench = Bench()
        bench.planar()
        for address in range(0, 4000, 8):
            bench.poke(address, random.Random(address).randrange(1 << 64), 8)
        bench.planar(write_mode=1)
        return bench

    for source, destination, descending in (
        (80, 0, False),
        (0, 80, False),
        (3999, 3919, True),
        (100, 102, False),
        (0xFFF0, 0, False),  # the source ends behind the window, where nobody answers
    ):
        at_once, each = filled(), filled()
        at_once.vga.memory.copy(source, destination, 1, 800, descending=descending)
        step = -1 if descending else 1
        for n in range(800):
            each.poke(destination + n * step, each.peek(source + n * step))
        assert [at_once.planes(n) for n in range(4000)] == [each.planes(n) for n in range(4000)]
        assert at_once.vga.memory.state.latches == each.vga.memory.state.latches


@pytest.mark.parametrize(
    ("register", "value"),
    [((0x3C4, 2), 0b0101), ((0x3CE, 5), 0x11), ((0x3C4, 4), 2), ((0x3CE, 6), 7)],
    ids=["map mask", "odd/even reads", "odd/even writes", "chain odd/even"],
)
def test_a_scroll_that_is_no_plain_one_is_done_one_by_one(register: tuple[int, int], value: int) -> None:
    def filled() -> Bench:
        bench = Bench()
        bench.planar()
        for address in range(0, 800, 8):
            bench.poke(address, random.Random(address).randrange(1 << 64), 8)
        bench.planar(write_mode=1)
        bench.set(*register, value)
        return bench

    at_once, each = filled(), filled()
    at_once.vga.memory.copy(80, 0, 1, 400, descending=False)
    for n in range(400):
        each.poke(n, each.peek(80 + n))
    assert [at_once.planes(n) for n in range(800)] == [each.planes(n) for n in range(800)]


def test_a_scroll_in_a_bank_that_there_is_no_memory_for_moves_nothing() -> None:
    bench = Bench()
    vbe_mode(bench, 640, 480, 4, 0)
    bench.planar()
    bench.poke(80, 0xA5)
    bench.planar(write_mode=1)
    bench.vbe(Vbe.BANK, 1)
    bench.vga.memory.copy(80, 0, 1, 80, descending=False)
    bench.vbe(Vbe.BANK, 0)
    assert (bench.planes(0), bench.planes(80)) == ((0,) * 4, (0xA5,) * 4)


def test_a_chip_goes_on_from_its_state_with_the_memory_that_outlived_it() -> None:
    bench, window = sharing()
    bench.poke(TEXT, 0x0741, 2)
    state = copy.deepcopy(bench.vga.state)
    assert state is not None
    assert len(state.memory) == 0
    again = Bench()
    again.vga = Vga(clock=bench.clock, video=bench.video, window=Shown(), state=state)
    assert again.text().text()[0] == "A"
    bench.mode("12")
    bench.poke(0, 0xFF)
    again.vga = Vga(clock=bench.clock, video=bench.video, window=window, state=copy.deepcopy(bench.vga.state))
    assert again.picture() == bench.picture()


def test_while_memory_is_held_what_was_done_to_it_is_not_done_again() -> None:
    """A successor of a killed server performs its writes again, on memory that has them, and newer ones."""
    bench, _ = sharing()
    assert bench.video is not None
    bench.vga.memory.held = True
    bench.mode("12")
    bench.poke(0, 0xFF)
    bench.mode("03")
    bench.poke(TEXT, 0x41)
    bench.vga.frame_buffer.write(0, 1, 9)
    vbe_mode(bench, 640, 480, 8)
    bench.vbe(Vbe.ENABLE, 0)
    bench.vga.memory.held = False
    assert not any(bench.video[:2])
    assert not any(bench.video[MIB : MIB + 8000])


def test_a_state_with_less_memory_than_the_planes_makes_no_chip() -> None:
    state = copy.deepcopy(Bench().vga.state)
    assert state is not None
    state.memory = bytearray(7)
    with pytest.raises(ValueError, match="a VGA with 7 bytes of memory"):
        Vga(clock=ManualClock(), state=state)


# -- on the board -----------------------------------------------------------------------------------------


def board(core: Core, **fittings: object) -> Board:
    return Board.build(ManualClock(), core, Fittings(memory=[(0, 64 << 20, 1)], **fittings))  # type: ignore[arg-type]


def configure(machine: Board, register: int, value: int) -> None:
    machine.bus.write("pio", 0xCF8, 4, 0x8000_0000 | 2 << 11 | register)
    machine.bus.write("pio", 0xCFC, 4, value)


def test_on_pci_the_frame_buffer_is_where_its_register_says() -> None:
    core = Core(video=memoryview(bytearray(16 * MIB + VIEW)))
    machine = board(core)
    assert core.told == [("map_video", (0xB8000, 0xBFFFF, 16 * MIB))]
    core.told.clear()
    configure(machine, 0x10, 0xFFFF_FFFF)
    assert machine.bus.read("pio", 0xCFC, 4) == 0xFF00_0008
    configure(machine, 0x10, 0xFD00_0000)
    assert core.told == []
    configure(machine, 4, 7)
    assert core.told == [("map_video", (0xFD00_0000, 0xFDFF_FFFF, 0))]
    machine.bus.write("memory", 0xFD00_0123, 4, 5)
    assert core.video is not None
    assert core.video[0x123] == 5
    configure(machine, 4, 0)
    assert core.told[1:] == [("unmap_video", (0xFD00_0000, 0xFDFF_FFFF))]


def test_an_option_rom_that_is_shown_is_no_frame_buffer() -> None:
    shown: list[tuple[int, int] | None] = []
    function = VgaFunction(
        frame_buffer=Bench().vga.frame_buffer, size=PLANES, show=shown.append, rom=b"\x55\xaa"
    )
    function.config_write(0x30, 4, 0xFEB0_0001)
    function.config_write(4, 2, 3)
    assert [(window.name, window.first) for window in function.windows()] == [("vga_pci rom", 0xFEB0_0000)]
    assert shown == []
    function.config_write(0x10, 4, 0xFD00_0000)
    assert shown == [(0xFD00_0000, 0xFD00_0000 + PLANES - 1)]


def test_on_isa_it_is_at_e0000000h_and_there_is_no_function() -> None:
    core = Core(video=memoryview(bytearray(16 * MIB + VIEW)))
    machine = board(core, isa_vga=True)
    assert core.told[1:] == [("map_video", (ISA_FRAME_BUFFER, ISA_FRAME_BUFFER + 16 * MIB - 1, 0))]
    machine.bus.write("pio", 0xCF8, 4, 0x8000_0000 | 2 << 11)
    assert machine.bus.read("pio", 0xCFC, 4) == 0xFFFF_FFFF


def test_a_reset_shows_the_text_window_again() -> None:
    core = Core(video=memoryview(bytearray(16 * MIB + VIEW)))
    machine = board(core)
    machine.bus.write("memory", 0xB8000, 2, 0x0741)
    machine.bus.write("pio", 0x3C4, 2, 0x0604)
    machine.reset()
    assert [what for what, _ in core.told if "video" in what] == ["map_video", "unmap_video", "map_video"]
    assert TextScreen.of(machine.screen()).text().strip() == ""


def test_a_board_whose_part_the_vga_is_not_shows_nothing() -> None:
    core = Core()
    board(core, parts=frozenset({"pic"}))
    assert core.told == []


def test_a_rom_says_what_it_is_for() -> None:
    header = bytearray(64)
    header[0x18] = 0x20
    header[0x20:0x28] = b"PCIR\x34\x12\x11\x11"
    assert is_for_pci(bytes(header))
    header[0x24] = 0x35
    assert not is_for_pci(bytes(header))
    assert not is_for_pci(b"\x55\xaa")
