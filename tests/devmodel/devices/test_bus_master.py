"""The bus master of an IDE channel with a drive behind it: tables, limits, errors, and how a transfer ends."""

import struct

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.bus_master import BusMasterState, Reg
from devmodel.devices.ide import IdeChannel
from devmodel.devices.mmc import Tray
from devmodel.devices.piix3 import Piix3Ide
from tests.devmodel.devices.test_ide import SECTOR, SlowDisk
from tests.devmodel.recording_core import Core

TABLE = 0x1000
START, TO_MEMORY = 1, 8
ACTIVE, ERROR, INTERRUPT = 1, 2, 4
END = 1 << 31


class Ram(Core):
    """A megabyte and nothing behind it."""

    def holds(self, address: int, length: int) -> bool:
        return address >= 0 and address + length <= len(self.ram)


@attrs.define
class Bench:
    disk: SlowDisk = attrs.field(factory=SlowDisk)
    ram: Ram = attrs.field(factory=Ram)
    line: Line = attrs.field(factory=Line)
    clock: ManualClock = attrs.field(factory=ManualClock)
    function: Piix3Ide = attrs.field(init=False)
    ide: IdeChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.function = Piix3Ide(ram=self.ram)
        master = self.function.masters[0]
        self.ide = IdeChannel(irq=self.line, clock=self.clock, disks=(self.disk, None), bus_master=master)
        self.function.connect(self.ide.decode, lambda _: None)
        self.function.config_write(4, 2, 5)

    def table(self, *entries: tuple[int, int], at: int = TABLE) -> None:
        """Write descriptors; the last ends the table."""
        *others, (base, count) = entries
        raw = b"".join(struct.pack("<II", *entry) for entry in [*others, (base, count | END)])
        self.ram.write(at, raw)
        self.function.ports.write(Reg.TABLE, 4, at)

    def start(self, command: int) -> None:
        self.function.ports.write(Reg.COMMAND, 1, 0)
        self.function.ports.write(Reg.STATUS, 1, ERROR | INTERRUPT)
        self.function.ports.write(Reg.COMMAND, 1, command)

    def status(self) -> int:
        return self.function.ports.read(Reg.STATUS, 1)

    def command(self, code: int, lba: int, count: int) -> None:
        extended = code in (0x25, 0x35, 0x3D)
        self.ide.write(6, 1, 0xE0)
        if extended:
            for register, value in ((2, count >> 8), (3, lba >> 24), (4, 0), (5, 0)):
                self.ide.write(register, 1, value & 0xFF)
        for register, value in ((2, count), (3, lba), (4, lba >> 8), (5, lba >> 16), (7, code)):
            self.ide.write(register, 1, value & 0xFF)

    def work(self) -> None:
        for _ in range(100):
            self.clock.advance(10_000)
            self.ide.tick()
            if not self.disk.queue:
                break
            self.disk.work()
        self.clock.advance(10_000)
        self.ide.tick()

    def wanted(self, lba: int, count: int) -> bytes:
        return b"".join(self.disk.sector(lba + i) for i in range(count))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("code", [0xC8, 0xC9, 0x25])
@pytest.mark.parametrize("started_first", [True, False])
def test_a_read_is_scattered_and_ends_with_an_interrupt(bench: Bench, code: int, started_first: bool) -> None:
    bench.table((0x8000, 0x400), (0x5002, 0x200), (0x9000, 0x200))
    if started_first:
        bench.start(START | TO_MEMORY)
    bench.command(code, 7, 4)
    bench.work()
    if not started_first:
        assert (bench.line.level, bench.status()) == (False, 0)
        bench.start(START | TO_MEMORY)
        bench.work()
    assert bench.line.level
    assert bench.status() == INTERRUPT
    wanted = bench.wanted(7, 4)
    assert bench.ram.read(0x8000, 0x400) == wanted[:0x400]
    assert bench.ram.read(0x5002, 0x200) == wanted[0x400:0x600]
    assert bench.ram.read(0x9000, 0x200) == wanted[0x600:]
    assert bench.ide.read(7, 1) == 0x50
    assert bench.status() == INTERRUPT  # which is not the drive's to clear
    assert not bench.line.level


@pytest.mark.parametrize(("code", "flushed"), [(0xCA, 0), (0xCB, 0), (0x35, 0), (0x3D, 1)])
def test_a_write_is_gathered(bench: Bench, code: int, flushed: int) -> None:
    bench.ram.write(0x8000, b"a" * 0x300)
    bench.ram.write(0x6000, b"b" * 0x100)
    bench.table((0x8000, 0x300), (0x6000, 0x100))
    bench.command(code, 9, 2)
    bench.start(START)
    bench.work()
    assert bench.disk.written == {9: b"a" * SECTOR, 10: b"a" * 0x100 + b"b" * 0x100}
    assert bench.disk.flushed == flushed
    assert (bench.line.level, bench.status()) == (True, INTERRUPT)


def test_a_count_of_0_is_64_kib(bench: Bench) -> None:
    bench.table((0x1_0000, 0), (0x2_0000, 0))
    bench.command(0xC8, 0, 0)  # 256 sectors
    bench.start(START | TO_MEMORY)
    bench.work()
    assert bench.ram.read(0x1_0000, 0x2_0000) == bench.wanted(0, 256)
    assert bench.status() == INTERRUPT


def test_more_than_the_medium_is_asked_for_at_a_time_goes_through_one_table(bench: Bench) -> None:
    bench.disk.sectors = 1 << 20
    bench.ram.ram = bytearray(4 << 20)
    bench.table(*((0x10_0000 + n * 0x1_0000, 0) for n in range(40)))
    bench.command(0x25, 100, 40 * 128)
    bench.start(START | TO_MEMORY)
    bench.work()
    assert len(bench.disk.asked) == 5
    assert bench.ram.read(0x10_0000, 40 << 16) == bench.wanted(100, 40 * 128)
    assert bench.status() == INTERRUPT


def test_a_table_that_is_longer_than_the_data_stays_active(bench: Bench) -> None:
    bench.table((0x8000, 0x1000), (0x9000, 0x1000))
    bench.command(0xC8, 7, 4)
    bench.start(START | TO_MEMORY)
    bench.work()
    assert bench.status() == ACTIVE | INTERRUPT
    bench.function.ports.write(Reg.COMMAND, 1, TO_MEMORY)
    assert bench.status() == INTERRUPT


def test_a_table_that_is_shorter_leaves_the_drive_waiting_and_no_interrupt(bench: Bench) -> None:
    bench.table((0x8000, 0x200))
    bench.command(0xC8, 7, 4)
    bench.start(START | TO_MEMORY)
    bench.work()
    assert (bench.line.level, bench.status()) == (False, 0)
    assert bench.ram.read(0x8000, 0x400) == bench.wanted(7, 1) + bytes(0x200)
    assert bench.ide.control.read(0, 1) == 0x58
    bench.ide.control.write(0, 1, 4)  # and a reset ends that
    bench.ide.control.write(0, 1, 0)
    bench.clock.advance(1_000_000)
    bench.ide.tick()
    assert bench.ide.read(7, 1) == 0x50


def test_memory_that_nobody_has_is_an_error_and_a_master_abort(bench: Bench) -> None:
    bench.table((0x8000, 0x200), (0xFFF0_0000, 0x200))
    bench.command(0xC8, 7, 2)
    bench.start(START | TO_MEMORY)
    bench.work()
    assert bench.status() == ERROR
    assert bench.function.config_read(6, 2) & 0x2000
    bench.function.config_write(6, 2, 0x2000)
    assert bench.function.config_read(6, 2) == 0x0280
    bench.function.ports.write(Reg.STATUS, 1, ERROR)
    assert bench.status() == 0


def test_a_table_that_nobody_has_is_the_same(bench: Bench) -> None:
    bench.function.ports.write(Reg.TABLE, 4, 0xFFFF_FF00)
    bench.command(0xCA, 7, 2)
    bench.start(START)
    bench.work()
    assert bench.status() == ERROR
    assert bench.disk.written == {}


def test_nothing_moves_against_the_drives_direction(bench: Bench) -> None:
    bench.table((0x8000, 0x400))
    bench.command(0xC8, 7, 2)
    bench.start(START)
    bench.work()
    assert (bench.line.level, bench.status()) == (False, ACTIVE)
    assert bench.ram.read(0x8000, 0x400) == bytes(0x400)


def test_nothing_moves_until_pci_lets_it_be_a_master(bench: Bench) -> None:
    bench.function.config_write(4, 2, 1)
    bench.table((0x8000, 0x400))
    bench.command(0xC8, 7, 2)
    bench.start(START | TO_MEMORY)
    bench.work()
    assert (bench.line.level, bench.status()) == (False, ACTIVE)
    bench.function.config_write(4, 2, 5)
    bench.work()
    assert (bench.line.level, bench.status()) == (True, INTERRUPT)


def test_the_data_port_gives_nothing_of_a_dma_command(bench: Bench) -> None:
    bench.command(0xC8, 7, 2)
    bench.work()
    assert bench.ide.read(0, 2) == 0xFFFF
    bench.table((0x8000, 0x400))
    bench.start(START | TO_MEMORY)
    bench.work()
    assert bench.ram.read(0x8000, 0x400) == bench.wanted(7, 2)


def test_a_bad_sector_ends_a_dma_command_with_what_came_before_it(bench: Bench) -> None:
    bench.disk.bad = {12}
    bench.table((0x8000, 0x2000))
    bench.command(0xC8, 7, 16)
    bench.start(START | TO_MEMORY)
    bench.work()
    assert bench.ram.read(0x8000, 0xC00) == bench.wanted(7, 5) + bytes(0x200)
    assert bench.status() == ACTIVE | INTERRUPT
    assert [bench.ide.read(i, 1) for i in range(1, 8)] == [0x40, 11, 12, 0, 0, 0xE0, 0x51]


def test_only_the_rise_of_the_drives_line_sets_the_interrupt_bit(bench: Bench) -> None:
    bench.command(0xEC, 0, 1)
    bench.work()
    assert bench.status() == INTERRUPT
    bench.function.ports.write(Reg.STATUS, 1, INTERRUPT)
    assert bench.line.level
    assert bench.status() == 0
    bench.ide.read(7, 1)
    assert bench.status() == 0


def test_the_registers_read_back_what_they_have(bench: Bench) -> None:
    ports = bench.function.ports
    ports.write(4, 4, 0xFFFF_FFFF)
    assert ports.read(4, 4) == 0xFFFF_FFFC
    ports.write(0, 4, 0xFFFF_FFFE)
    assert ports.read(0, 4) == 0x0060_0008
    for at, value in enumerate(b"\x11\x22\x33\x44"):
        ports.write(12 + at, 1, value)
    assert ports.read(12, 4) == 0x4433_2210
    assert ports.read(4, 4) == 0xFFFF_FFFC
    assert ports.read(1, 1) == ports.read(3, 1) == 0


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("code", [0x25, 0x35])
def test_a_transfer_goes_on_after_it_was_saved_anywhere(code: int, steps: int) -> None:
    """In a fresh drive, channel and bus master, with the medium asked again."""
    benches = [Bench(), Bench()]
    for bench in benches:
        bench.ram.write(0x2_0000, bytes(n & 0xFF for n in range(0xC_0000)))
        bench.disk.sectors = 1 << 20
        bench.table(*((0x2_0000 + n * 0x8000, 0x8000) for n in range(24)))
        bench.command(code, 5, 24 * 64)
        bench.start(START | (TO_MEMORY if code == 0x25 else 0))
        for _ in range(steps):
            bench.clock.advance(3_000)
            bench.ide.tick()
            bench.disk.work()
    whole, saved = benches
    saved.disk.queue.clear()
    saved.function = Piix3Ide(ram=saved.ram, state=saved.function.state)
    saved.ide = IdeChannel(
        irq=saved.line,
        clock=saved.clock,
        disks=(saved.disk, None),
        bus_master=saved.function.masters[0],
        state=saved.ide.state,
    )
    for bench in benches:
        bench.work()
        assert (bench.line.level, bench.status()) == (True, INTERRUPT)
        bench.ide.read(7, 1)
    assert saved.ram.ram == whole.ram.ram
    assert saved.disk.written == whole.disk.written
    assert saved.ide.state == whole.ide.state
    assert saved.function.state == whole.function.state


def test_a_fresh_bus_master_is_idle() -> None:
    assert BusMasterState() == BusMasterState(command=0, status=0, table=0)


def test_a_cdrom_drives_data_go_by_dma_where_the_packet_says_so() -> None:
    ram, clock, line, disc = Ram(), ManualClock(), Line(), SlowDisk(sectors=400)
    function = Piix3Ide(ram=ram)
    ide = IdeChannel(irq=line, clock=clock, disks=(Tray(disc), None), bus_master=function.masters[0])
    function.config_write(4, 2, 5)

    def packet(*packet: int) -> None:
        for register, value in ((6, 0xA0), (1, 1), (4, 0), (5, 0), (7, 0xA0)):
            ide.write(register, 1, value)
        clock.advance(10_000)
        ide.write_string(0, 2, bytes(packet).ljust(12, b"\0"))
        for _ in range(10):
            clock.advance(10_000)
            ide.tick()
            disc.work()

    packet(0x00)  # a unit attention
    ide.read(7, 1)
    ram.write(TABLE, struct.pack("<IIII", 0x8000, 0x1_0000, 0x2_0000, 0x1_0000 | END))
    function.ports.write(Reg.TABLE, 4, TABLE)
    function.ports.write(Reg.STATUS, 1, INTERRUPT)
    function.ports.write(Reg.COMMAND, 1, START | TO_MEMORY)
    packet(0x28, 0, 0, 0, 0, 10, 0, 0, 40)
    assert line.level
    assert function.ports.read(Reg.STATUS, 1) == ACTIVE | INTERRUPT
    assert (ide.read(2, 1), ide.read(7, 1)) == (3, 0x40)
    wanted = b"".join(disc.sector(40 + i) for i in range(160))
    assert ram.read(0x8000, 0x1_0000) + ram.read(0x2_0000, 0x4000) == wanted


def test_a_parameter_list_comes_by_dma_where_the_packet_says_so() -> None:
    """MODE SELECT (10): error recovery with 9 retries."""
    ram, clock, line = Ram(), ManualClock(), Line()
    function = Piix3Ide(ram=ram)
    ide = IdeChannel(
        irq=line, clock=clock, disks=(Tray(SlowDisk(sectors=400)), None), bus_master=function.masters[0]
    )
    function.config_write(4, 2, 5)
    ram.write(0x8000, bytes(8) + bytes.fromhex("01 06 00 09 00 00 00 00"))
    ram.write(TABLE, struct.pack("<II", 0x8000, 16 | END))
    function.ports.write(Reg.TABLE, 4, TABLE)

    def packet(*packet: int) -> None:
        for register, value in ((6, 0xA0), (1, 1), (7, 0xA0)):
            ide.write(register, 1, value)
        clock.advance(10_000)
        ide.write_string(0, 2, bytes(packet).ljust(12, b"\0"))
        for _ in range(3):
            clock.advance(10_000)
            ide.tick()

    packet(0x00)  # a unit attention
    ide.read(7, 1)
    function.ports.write(Reg.COMMAND, 1, START)
    packet(0x55, 0x10, 0, 0, 0, 0, 0, 0, 16)
    assert (line.level, ide.read(2, 1), ide.read(7, 1)) == (True, 3, 0x40)
    ram.write(TABLE, struct.pack("<II", 0x9000, 16 | END))
    function.ports.write(Reg.COMMAND, 1, 0)
    function.ports.write(Reg.COMMAND, 1, START | TO_MEMORY)
    packet(0x5A, 0, 1, 0, 0, 0, 0, 0, 16)
    assert ram.read(0x9008, 4) == bytes.fromhex("01 06 00 09")


def test_what_goes_out_in_pieces_of_two_tables_is_put_together(bench: Bench) -> None:
    bench.ram.write(0x8000, b"a" * 0x200)
    bench.table((0x8000, 0x200))
    bench.command(0xCA, 9, 2)
    bench.start(START)
    bench.work()
    assert bench.status() == 0  # the first table is at its end, and the drive wants more
    bench.ram.write(0x9000, b"b" * 0x200)
    bench.table((0x9000, 0x200))
    bench.start(START)
    bench.work()
    assert bench.disk.written == {9: b"a" * SECTOR, 10: b"b" * SECTOR}
