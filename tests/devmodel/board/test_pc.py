"""The board: what is where, and which line goes where."""

import attrs
import pytest

from devmodel import ConfigError
from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board, SerialPort
from devmodel.devices.diskette import Bay
from devmodel.devices.vga_text import TextScreen
from devmodel.testing import QtestClient
from tests.devmodel.recording_core import Core, QuickDisk


@attrs.define
class Line:
    """A serial line's far end."""

    sent: bytearray = attrs.field(factory=bytearray)
    chip: object = None

    def connect(self, chip: object, /) -> None:
        self.chip = chip

    def transmit(self, byte: int, /) -> None:
        self.sent.append(byte)

    def drained(self) -> None:
        pass


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    core: Core = attrs.field(factory=Core)
    fittings: Fittings = attrs.field(
        factory=lambda: Fittings(
            memory=[(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (1 << 20, 63 << 20, 1), (1 << 32, 1 << 30, 1)],
            disks=[QuickDisk()],
        )
    )
    board: Board = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.board = Board.build(self.clock, self.core, self.fittings)

    def out(self, port: int, value: int, size: int = 1) -> None:
        self.board.bus.write("pio", port, size, value)

    def into(self, port: int, size: int = 1) -> int:
        return self.board.bus.read("pio", port, size)

    def init_pics(self) -> None:
        for port, base, cascade in ((0x20, 0x08, 4), (0xA0, 0x70, 2)):
            self.out(port, 0x11)
            for value in (base, cascade, 1, 0):
                self.out(port + 1, value)
        self.core.told.clear()

    def cmos(self, index: int) -> int:
        self.out(0x70, index)
        return self.into(0x71)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_building_tells_the_core_nothing_it_knows(bench: Bench) -> None:
    assert bench.core.told == []


async def start_pics(qtest: QtestClient) -> None:
    for port, base, cascade in ((0x20, 0x08, 4), (0xA0, 0x70, 2)):
        await qtest.outb(port, 0x11)
        for value in (base, cascade, 1, 0):
            await qtest.outb(port + 1, value)
    await qtest.irq_intercept_out("pic")


async def requested(qtest: QtestClient) -> int:
    """Return what requests wait: IRR of both controllers."""
    await qtest.outb(0x20, 0x0A)
    await qtest.outb(0xA0, 0x0A)
    return await qtest.inb(0x20) | await qtest.inb(0xA0) << 8


async def test_the_timer_interrupts_through_the_pic(qtest: QtestClient) -> None:
    await start_pics(qtest)
    for port, value in ((0x43, 0x30), (0x40, 0xA9), (0x40, 0x04)):
        await qtest.outb(port, value)
    assert await qtest.clock_step() == -(-(0x4A9 + 1) * 10**9 // 1_193_182)
    assert qtest.irqs == [(0, True)]
    assert await requested(qtest) == 0x0001


@pytest.mark.qtest(disks=[QuickDisk()])
async def test_the_disk_interrupts_through_the_second_pic(qtest: QtestClient) -> None:
    await start_pics(qtest)
    await qtest.outb(0x1F6, 0xA0)
    await qtest.outb(0x1F7, 0xEC)
    await qtest.clock_step(10_000)
    assert qtest.irq(0)
    assert await requested(qtest) == 0x4004
    assert await qtest.inb(0x1F7) == 0x58
    assert await qtest.inl(0x1F0) == 0x0004_0040
    assert qtest.irqs == [(0, True), (0, False)]


def test_a_serial_line_can_be_plugged_in(bench: Bench) -> None:
    line = Line()
    bench.board.connect_serial(line)
    bench.out(0x3F8, 0x41)
    assert line.sent == b"A"
    rearmed: list[int] = []
    bench.board.rearm = lambda: rearmed.append(1)
    assert isinstance(line.chip, SerialPort)
    assert line.chip.room() == 1
    line.chip.receive(0x42)
    assert rearmed == [1]  # or a pacer that sleeps would miss the character timeout
    assert bench.into(0x3F8) == 0x42


def test_a_break_is_a_framing_error_and_a_zero(bench: Bench) -> None:
    """PC16550D, line status register: a character held low is a break (BI), and its stop bit is low too (FE)."""
    line = Line()
    bench.board.connect_serial(line)
    bench.out(0x3FB, 0x03)
    line.chip.receive_break()
    assert bench.into(0x3FD) == 0x60 | 0x10 | 0x08 | 0x01
    assert bench.into(0x3FD) == 0x61, "reading LSR takes the errors"
    assert bench.into(0x3F8) == 0


def test_firmware_finds_memory_and_disks(bench: Bench) -> None:
    assert bench.cmos(0x34) | bench.cmos(0x35) << 8 == 48 << 4
    assert bench.cmos(0x5B) | bench.cmos(0x5C) << 8 == 1 << 14
    assert bench.cmos(0x12) == 0xF0
    bench.out(0x510, 3, 2)
    size = b"".join(bytes([bench.into(0x511)]) for _ in range(8))
    assert int.from_bytes(size, "little") == (64 << 20) + (1 << 30)
    bench.out(0xCF8, 0x8000_0000, 4)
    assert bench.into(0xCFC, 4) == 0x1237_8086
    assert bench.into(0xCFE, 2) == 0x1237


def test_a20_is_open_while_either_of_its_two_masters_says_so(bench: Bench) -> None:
    """ISA System Architecture, A20 gate: the keyboard controller's output port OR port 92h bit 1."""
    levels = []
    for port, value in ((0x92, 2), (0x64, 0xDD), (0x92, 0), (0x64, 0xDF), (0x92, 0), (0x64, 0xDD), (0x92, 2)):
        bench.out(port, value)
        levels.append(bench.core.told[-1][1] if bench.core.told else True)
    assert levels == [True, True, False, True, True, False, True]
    assert bench.into(0x92) == 2
    bench.out(0x64, 0xD0)  # read the output port: its own bit
    assert not bench.into(0x60) & 2


def test_every_way_to_reset_and_to_leave(bench: Bench) -> None:
    bench.out(0x64, 0xFE)
    bench.out(0x92, 3)
    bench.out(0xCF9, 6)
    assert bench.core.told == [("reset", None)] * 3
    bench.out(0xF4, 1)
    bench.out(0x501, 0x55)  # where QEMU's isa-debug-exit is by default
    assert bench.core.told[3:] == [("shutdown", 3), ("shutdown", 0xAB)]
    bench.out(0xCF8, 0x8000_0B40, 4)
    bench.out(0xCFC, 0x601, 4)
    bench.out(0xCF8, 0x8000_0B80, 4)
    bench.out(0xCFC, 1)
    bench.out(0x604, 0x2000, 2)
    assert bench.core.told[5:] == [("shutdown", 0)]


def test_the_debug_exit_reads_zero_as_qemus_does(bench: Bench) -> None:
    assert (bench.into(0xF4, 4), bench.into(0x501)) == (0, 0)


def test_reset_undoes_what_the_guest_did(bench: Bench) -> None:
    bench.init_pics()
    bench.out(0xCF8, 0x8000_0058, 4)
    bench.out(0xCFD, 0x30)
    bench.out(0x64, 0xDD)
    bench.core.told.clear()
    bench.board.reset()
    assert bench.core.told == [("a20", True), ("memory_type", (0xF0000, 0xFFFFF, "rom"))]


def test_what_is_not_there_reads_ones(bench: Bench) -> None:
    for port in (0x1D1, 0x2F8, 0x3F0, 0x378):
        assert bench.into(port) == 0xFF
    assert bench.into(0x2F8, 2) == 0xFFFF


def test_the_second_debug_exit_makes_room_for_a_device_of_ones_own(bench: Bench) -> None:
    bench.board.bus.pio.heed(0x500, 0x501)
    bench.board.bus.map("pio", 0x500, 0x501, bench.board.vga, name="mine")
    bench.out(0x501, 1)
    bench.out(0x502, 1)
    assert bench.core.told == []


def test_a_second_device_at_a_port_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="mine and uart overlap"):
        bench.board.bus.map("pio", 0x3F0 + 8, 0x3F8, bench.board.vga, name="mine")


def test_a_saved_board_goes_on_where_it_was(bench: Bench) -> None:
    bench.init_pics()
    bench.out(0x43, 0x34)
    bench.out(0x40, 0x00)
    bench.out(0x40, 0x10)
    bench.out(0x3FC, 0x0B)
    bench.out(0x3F9, 0x02)
    bench.board.bus.write("memory", 0xB8000, 2, 0x0741)
    saved = bench.board.save()
    core = Core()
    again = Board.build(bench.clock, core, bench.fittings, saved)
    assert again.save() == saved
    assert core.told == [("intr", True)]
    assert again.acknowledge() == 0x0C
    assert TextScreen.of(again.screen()).characters[0] == 0x41


def test_keys_reach_the_guest(bench: Bench) -> None:
    bench.board.press(["shift", "a"])
    assert bench.into(0x64) & 1
    assert bench.into(0x60) == 0x12
    with pytest.raises(ValueError, match="no key"):
        bench.board.press(["nonsense"])


@pytest.mark.qtest(floppies=[Bay("1.44M", QuickDisk(sectors=2880))])
async def test_a_floppy_drive_reads_by_dma_and_interrupts(qtest: QtestClient) -> None:
    await qtest.memset(0x3_1200, 513, 0x78)
    await qtest.irq_intercept_in("ioapic")
    await qtest.outb(0x70, 0x10)
    assert await qtest.inb(0x71) == 0x40
    for port, value in ((0xD6, 0xC0), (0xD4, 0), (0x0C, 0), (0x0B, 0x46), (0x04, 0x00), (0x04, 0x12)):
        await qtest.outb(port, value)
    for port, value in ((0x81, 3), (0x05, 0xFF), (0x05, 0x01), (0x0A, 2), (0x3F2, 0x1C), (0x3F7, 0)):
        await qtest.outb(port, value)
    await qtest.clock_step(4 * 10**8)
    assert qtest.irq(6)
    for _ in range(4):  # one for each drive, after a reset
        await qtest.outb(0x3F5, 0x08)
        assert [await qtest.inb(0x3F5) & 0xC0, await qtest.inb(0x3F5)] == [0xC0, 0]
    for value in (0xE6, 0, 0, 0, 2, 2, 18, 0x1B, 0xFF):
        await qtest.outb(0x3F5, value)
    await qtest.clock_step(4 * 10**8)
    assert qtest.irqs == [(6, True), (6, False), (6, True)]
    assert [await qtest.inb(0x3F5) for _ in range(7)] == [0, 0, 0, 0, 0, 3, 2]
    assert await qtest.inb(0x08) & 0x04
    assert await qtest.read(0x3_1200, 513) == bytes(512) + b"x"


def test_four_serial_ports_are_where_drivers_look_and_share_two_interrupts():
    bench = Bench(fittings=Fittings(memory=[(0, 1 << 20, 1)], serial=[False] * 4))
    bench.init_pics()
    for number, (port, vector) in enumerate(((0x3F8, 12), (0x2F8, 11), (0x3E8, 12), (0x2E8, 11))):
        line = Line()
        bench.board.connect_serial(line, number)
        assert isinstance(line.chip, SerialPort)
        bench.out(port, 0x41 + number)
        assert line.sent == bytes((0x41 + number,))
        bench.out(port + 4, 0x08)
        bench.out(port + 1, 0x01)
        line.chip.receive(0x61 + number)
        assert bench.board.acknowledge() == vector
        assert bench.into(port) == 0x61 + number
        line.chip.clear_to_send(False)
        assert bench.into(port + 6) == 0xA1
        bench.out(0x20, 0x20)


def test_a_serial_port_that_there_is_not_reads_ones():
    bench = Bench(fittings=Fittings(memory=[(0, 1 << 20, 1)], serial=[False, False]))
    assert [bench.into(port + 5) for port in (0x3F8, 0x2F8, 0x3E8, 0x2E8)] == [0x60, 0x60, 0xFF, 0xFF]


async def test_the_power_button_interrupts_a_system_that_listens(qtest: QtestClient) -> None:
    """Intel 82371AB, 7.2.1: PWRBTN_STS and PWRBTN_EN are bit 8; SCI is IRQ 9; SCI_EN is bit 0 of PMCNTRL."""
    await qtest.configure(1, 0x40, 0x601, function=3)
    await qtest.configure(1, 0x80, 1, function=3)
    await qtest.irq_intercept_in("ioapic")
    board = qtest.board
    assert not board.press_power_button()
    assert await qtest.inw(0x600) == 0x100
    await qtest.outw(0x600, 0x100)
    await qtest.outw(0x602, 0x100)
    await qtest.outb(0xB2, 0xF1)  # as the tables say, to enter ACPI mode
    assert await qtest.inw(0x604) == 1
    assert board.press_power_button()
    assert await qtest.inw(0x600) == 0x100
    assert qtest.irqs == [(9, True)]
    await qtest.outw(0x600, 0x100)
    assert qtest.irqs == [(9, True), (9, False)]
    board.press_power_button()
    await qtest.outb(0xB2, 0xF0)
    assert await qtest.inw(0x604) == 0
    assert not qtest.irq(9)


def test_a_kernel_without_firmware_finds_the_tables_and_what_they_say_is_so() -> None:
    fittings = Fittings(memory=[(0, 0x9FC00, 1), (1 << 20, 63 << 20, 1)], bare=True)
    bench = Bench(core=Core(ram=bytearray(1 << 20)), fittings=fittings)
    for _ in range(2):
        assert ("memory_type", (0xE0000, 0xEFFFF, "ram")) in bench.core.told
        assert ("memory_type", (0xF0000, 0xFFFFF, "ram")) in bench.core.told
        assert bench.core.ram[0xF0000:0xF0008] == b"RSD PTR "
        assert bench.core.ram[0xF0020:0xF0024] == b"_SM_"
        assert bench.into(0x604, 2) == 0
        assert (bench.into(0x4D0), bench.into(0x4D1)) == (0, 0x0C)
        bench.out(0xCF8, 0x8000_0860, 4)
        assert bench.into(0xCFC, 4) == 0x0B0B_0A0A
        bench.core.told.clear()
        bench.core.ram[0xF0000:0x100000] = bytes(0x10000)
        bench.board.reset()
