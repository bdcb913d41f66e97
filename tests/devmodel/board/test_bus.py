"""The bus: one lookup, byte steering, and nobody's answer."""

import pytest

from devmodel import ConfigError
from devmodel.board.bus import ANY, Bus, Claim


class Recorder:
    def __init__(self, answer: int = 0) -> None:
        self.answer = answer
        self.log: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.log.append((offset, size))
        return self.answer + offset

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append((offset, size, value))


@pytest.fixture
def bus() -> Bus:
    return Bus()


def test_a_device_counts_from_its_first_address(bus):
    chip = Recorder(0x40)
    bus.map("pio", 0x3F8, 0x3FF, chip, name="com1")
    assert bus.read("pio", 0x3FD, 1) == 0x45
    bus.write("pio", 0x3F8, 1, 0x55)
    assert chip.log == [(5, 1), (0, 1, 0x55)]


def test_nobody_answers_with_ones_and_drops_writes(bus):
    assert [bus.read("pio", 0x300, n) for n in (1, 2, 4)] == [0xFF, 0xFFFF, 0xFFFFFFFF]
    assert bus.read("memory", 0xFEE00000, 8) == 2**64 - 1
    bus.write("pio", 0x300, 4, 0)


def test_a_wide_access_is_split_into_ascending_units(bus):
    narrow, wide = Recorder(0x10), Recorder(0x20)
    bus.map("pio", 0x70, 0x71, narrow, name="rtc")
    bus.map("memory", 0xB8000, 0xBFFFF, wide, name="vga", width=2)
    assert bus.read("pio", 0x70, 2) == 0x1110
    bus.write("pio", 0x70, 2, 0xAABB)
    assert narrow.log == [(0, 1), (1, 1), (0, 1, 0xBB), (1, 1, 0xAA)]
    bus.write("memory", 0xB8001, 8, 0x8877665544332211)
    assert wide.log == [(1, 2, 0x2211), (3, 2, 0x4433), (5, 2, 0x6655), (7, 2, 0x8877)]


def test_an_access_across_devices_reaches_each_and_reads_ones_between(bus):
    a, b = Recorder(0x11), Recorder(0x22)
    bus.map("pio", 0x60, 0x60, a, name="a", width=4)
    bus.map("pio", 0x62, 0x62, b, name="b")
    assert bus.read("pio", 0x60, 4) == 0xFF22FF11
    bus.write("pio", 0x61, 2, 0x1234)
    assert b.log == [(0, 1), (0, 1, 0x12)]
    assert bus.read("pio", 0x62, 2) == 0xFF22


def test_an_access_inside_the_width_arrives_whole(bus):
    chip = Recorder()
    bus.map("pio", 0x1F0, 0x1F7, chip, name="ide", width=4)
    bus.read("pio", 0x1F0, 4)
    bus.read("pio", 0x1F6, 4)
    assert chip.log == [(0, 4), (6, 2)]


def test_two_devices_on_one_port_are_both_named(bus):
    bus.map("pio", 0x3F8, 0x3FF, Recorder(), name="com1")
    with pytest.raises(ConfigError, match=r"modem and com1 overlap: pio 0x3ff-0x400 and 0x3f8-0x3ff"):
        bus.map("pio", 0x3FF, 0x400, Recorder(), name="modem")
    bus.ignore("pio", 0x278, 0x27A, "no second printer")
    with pytest.raises(ConfigError, match=r"lpt2 and what is ignored \(no second printer\) overlap"):
        bus.map("pio", 0x278, 0x278, Recorder(), name="lpt2")


def test_a_range_that_does_not_exist(bus):
    with pytest.raises(ConfigError, match="there is no pio 0xffff-0x10000"):
        bus.map("pio", 0xFFFF, 0x10000, Recorder(), name="odd")


def test_neighbours_are_claimed_together_if_both_are_posted_or_not(bus):
    chip = Recorder()
    bus.map("pio", 0x62, 0x63, chip, name="c")
    bus.map("pio", 0x60, 0x60, chip, name="a", waits="A20")
    bus.map("pio", 0x61, 0x61, chip, name="b", waits="reset")
    bus.map("pio", 0x70, 0x71, chip, name="d", waits="power-off")
    assert list(bus.pio.claims()) == [
        Claim(0x60, 0x61, False),
        Claim(0x62, 0x63, True),
        Claim(0x70, 0x71, False),
    ]


class Mover(Recorder):
    def copy(self, source: int, destination: int, size: int, count: int, *, descending: bool) -> None:
        self.log.append((source, destination, size, count, descending))


def test_who_moves_memory_within_itself_is_found_where_both_ends_are_its_own(bus):
    mover = Mover()
    bus.map("memory", 0xA0000, 0xBFFFF, mover, name="vga")
    bus.map("memory", 0xC0000, 0xC0FFF, Recorder(), name="rom")
    assert bus.memory.mover(0xA0010, 0xB8000) == (mover, 0x10, 0x18000)
    assert bus.memory.mover(0xA0010, 0xC0000) is None
    assert bus.memory.mover(0xC0000, 0xC0010) is None
    assert bus.memory.mover(0x90000, 0xA0000) is None


def test_an_access_touches_the_timed_chips_that_it_concerns_and_others_touch_all(bus):
    bus.map("pio", 0x40, 0x43, Recorder(), name="pit", concerns=["pit"])
    bus.map("pio", 0x80, 0x80, Recorder(), name="post", concerns=[])
    bus.map("pio", 0x81, 0x81, Recorder(), name="mine")
    bus.map("memory", 0xA0000, 0xAFFFF, Recorder(), name="vga", width=8, concerns=["elsewhere"])
    bus.number(["rtc", "pit"])
    assert bus.take_touched() == 0
    bus.write("pio", 0x40, 1, 5)
    bus.write("pio", 0x80, 1, 5)
    assert bus.take_touched() == 0b10
    bus.read("memory", 0xA0000, 8)
    assert bus.take_touched() == 0
    bus.pio.touch(0x43)
    assert bus.take_touched() == 0b10
    bus.read("pio", 0x80, 2)  # in units
    assert bus.take_touched() == ANY
    bus.write("pio", 0x7F, 2, 0)
    assert bus.take_touched() == 0
