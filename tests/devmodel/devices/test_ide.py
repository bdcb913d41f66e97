"""The IDE channel and its disks, with a medium that answers when the test says so."""

import copy
import struct
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.board.clock import ManualClock
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.board.lines import Line
from devmodel.devices.ata_transport import BUSY_NS, RESET_NS
from devmodel.devices.ide import IdeChannel, Reg
from devmodel.devices.mmc import Tray

SECTOR = 512


@attrs.define
class SlowDisk:
    """A medium in memory; requests wait until `work`."""

    sectors: int = 20000
    readonly: bool = False
    broken: bool = False
    bad: set[int] = attrs.field(factory=set)
    flushed: int = 0
    written: dict[int, bytes] = attrs.field(factory=dict)
    queue: list[DiskRead | DiskWrite | DiskFlush] = attrs.field(factory=list)
    asked: list[tuple[str, int, int]] = attrs.field(factory=list)

    def sector(self, lba: int) -> bytes:
        return self.written.get(lba, struct.pack("<Q", lba) * 64)

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        self.queue.append(request)

    def work(self) -> None:
        waiting, self.queue[:] = self.queue[:], []
        for request in waiting:
            match request:
                case DiskRead(lba, count, done):
                    self.asked.append(("read", lba, count))
                    data = b"".join(self.sector(lba + i) for i in range(count))
                    done(None if self.broken or self.bad & set(range(lba, lba + count)) else data)
                case DiskWrite(lba, data, done):
                    count = len(data) // SECTOR
                    self.asked.append(("write", lba, count))
                    if self.broken or self.bad & set(range(lba, lba + count)):
                        done(False)
                        continue
                    for i in range(count):
                        self.written[lba + i] = data[i * SECTOR : (i + 1) * SECTOR]
                    done(True)
                case DiskFlush(done):
                    self.flushed += 1
                    done(not self.broken)


@attrs.define
class Bench:
    disks: tuple[SlowDisk | None, SlowDisk | None] = attrs.field(factory=lambda: (SlowDisk(), None))
    line: Line = attrs.field(factory=Line)
    clock: ManualClock = attrs.field(factory=ManualClock)
    ide: IdeChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ide = IdeChannel(irq=self.line, clock=self.clock, disks=self.disks)

    def pause(self, ns: int = 10_000) -> None:
        """Let time pass: as long as a drive is busy by itself."""
        self.clock.advance(ns)
        self.ide.tick()

    def work(self) -> None:
        """Let the medium do what it has been asked for, and time pass."""
        for disk in self.disks:
            while disk is not None and disk.queue:
                disk.work()
        self.pause()

    @property
    def disk(self) -> SlowDisk:
        assert self.disks[0] is not None
        return self.disks[0]

    def out(self, register: int, value: int) -> None:
        self.ide.write(register, 1, value)

    def into(self, register: int) -> int:
        return self.ide.read(register, 1)

    def task(self, *, lba: int = 0, count: int = 1, device: int = 0xE0) -> None:
        self.out(Reg.DEVICE, device | (lba >> 24 & 15 if device & 0x40 else 0))
        for register, value in ((Reg.COUNT, count), (3, lba), (4, lba >> 8), (5, lba >> 16)):
            self.out(register, value & 0xFF)

    def start(self, code: int, *, lba: int = 0, count: int = 1, device: int = 0xE0) -> None:
        """Give a command, and let no time pass."""
        self.task(lba=lba, count=count, device=device)
        self.out(Reg.COMMAND, code)

    def command(self, code: int, *, lba: int = 0, count: int = 1, device: int = 0xE0) -> None:
        self.start(code, lba=lba, count=count, device=device)
        self.pause()

    def command_ext(self, code: int, lba: int, count: int) -> None:
        self.out(Reg.DEVICE, 0x40)
        for register, value in (
            (2, count >> 8), (2, count), (3, lba >> 24), (3, lba), (4, lba >> 32), (4, lba >> 8),
            (5, lba >> 40), (5, lba >> 16),
        ):  # fmt: skip
            self.out(register, value & 0xFF)
        self.out(Reg.COMMAND, code)
        self.pause()

    def sector_in(self, width: int = 2) -> bytes:
        data = b"".join(self.ide.read(0, width).to_bytes(width, "little") for _ in range(SECTOR // width))
        self.pause()
        return data

    def sector_out(self, data: bytes, width: int = 2) -> None:
        for i in range(0, SECTOR, width):
            self.ide.write(0, width, int.from_bytes(data[i : i + width], "little"))
        self.pause()

    def identify(self, device: int = 0xA0) -> tuple[int, ...]:
        self.command(0xEC, device=device)
        return struct.unpack("<256H", self.sector_in())

    def data_in(self) -> bytes:
        """Take what a command gives, as far as it comes."""
        data = b""
        while self.into(Reg.COMMAND) & 0x08:
            data += self.sector_in()
            self.work()
        return data

    def registers(self) -> tuple[int, ...]:
        return tuple(self.into(i) for i in range(1, 8))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_after_reset_the_registers_hold_the_signature(bench: Bench) -> None:
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)


def test_seabios_probes_by_reading_back(bench: Bench) -> None:
    bench.out(Reg.DEVICE, 0xA0)
    bench.out(Reg.COUNT, 0x55)
    bench.out(Reg.LBA_LOW, 0xAA)
    assert (bench.into(Reg.COUNT), bench.into(Reg.LBA_LOW), bench.into(Reg.DEVICE)) == (0x55, 0xAA, 0xA0)


def test_an_absent_slave_has_status_0_and_ignores_commands(bench: Bench) -> None:
    bench.command(0xEC, device=0xB0)
    assert bench.into(Reg.COMMAND) == 0
    assert bench.ide.control.read(0, 1) == 0
    assert bench.into(Reg.DEVICE) == 0xB0
    assert not bench.line.level


def test_an_empty_channel_reads_0_and_keeps_nobody_waiting() -> None:
    bench = Bench((None, None))
    bench.command(0xEC)
    bench.ide.control.write(0, 1, 4)
    bench.ide.control.write(0, 1, 0)
    assert bench.registers() == (0,) * 7
    assert bench.ide.read(0, 2) == 0xFFFF


def test_a_slave_alone_answers_for_itself_only() -> None:
    bench = Bench((None, SlowDisk()))
    assert bench.registers() == (0,) * 7
    bench.command(0xEC, device=0xB0)
    assert bench.into(Reg.COMMAND) == 0x58


def test_identify_tells_what_the_disk_can_do(bench: Bench) -> None:
    bench.command(0xEC, device=0xA0)
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x58
    assert not bench.line.level
    raw = bench.sector_in()
    w = struct.unpack("<256H", raw)
    assert bench.into(Reg.COMMAND) == 0x50
    assert (w[1], w[3], w[6]) == (19, 16, 63)
    assert w[60] | w[61] << 16 == 20000
    assert w[100] | w[101] << 16 == 20000
    assert w[83] & 0x0400  # LBA48
    assert w[49] & 0x0100
    assert (w[63], w[88]) == (0x0007, 0x003F)  # multiword DMA 0 to 2, ultra DMA 0 to 5; none is chosen yet
    assert sum(raw) & 0xFF == 0
    assert b"".join(struct.pack(">H", v) for v in w[27:47]).strip() == b"DEVMODEL HARDDISK"


@pytest.mark.parametrize(("first", "code"), [(SlowDisk, 0xEC), (Tray, 0xA1)], ids=["disk", "CD-ROM"])
def test_word_93_says_whether_there_is_a_partner(first: Callable[[], Any], code: int) -> None:
    """ATA/ATAPI-6, IDENTIFY word 93: passed, by jumper; SeaBIOS looks for no device 1 where device 0 answers for it."""

    def word(bench: Bench, device: int, code: int) -> int:
        bench.command(code, device=device)
        bench.pause()
        return struct.unpack("<256H", bench.sector_in())[93]

    assert word(Bench((first(), None)), 0xA0, code) == 0x604B
    both = Bench((first(), SlowDisk()))
    assert word(both, 0xA0, code) == 0x603B
    assert word(both, 0xB0, 0xEC) == 0x6B00
    assert word(Bench((None, SlowDisk())), 0xB0, 0xEC) == 0x6B00


def test_identify_packet_device_is_refused_by_a_disk(bench: Bench) -> None:
    bench.command(0xA1)
    assert bench.into(Reg.FEATURES) == 4
    assert bench.into(Reg.COMMAND) == 0x51


@pytest.mark.parametrize("width", [2, 4])
def test_reading_is_busy_until_the_medium_answers_and_interrupts_a_sector(bench: Bench, width: int) -> None:
    bench.command(0x20, lba=0x1234, count=2)
    assert bench.into(Reg.COMMAND) == 0xD0
    assert not bench.line.level
    bench.work()
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x58
    assert not bench.line.level
    assert bench.sector_in(width) == bench.disk.sector(0x1234)
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x58
    assert bench.sector_in(width) == bench.disk.sector(0x1235)
    assert not bench.line.level  # no interrupt after the last
    assert bench.registers() == (0, 0, 0x35, 0x12, 0, 0xE0, 0x50)


def test_a_string_gets_one_block_and_then_ones_for_the_drive_is_busy(bench: Bench) -> None:
    bench.command(0x20, lba=40, count=2)
    bench.work()
    assert bench.ide.read_string(0, 2, 384) == bench.disk.sector(40) + b"\xff" * 256
    bench.pause()
    assert bench.ide.read_string(0, 4, 64) == bench.disk.sector(41)[:256]
    assert bench.ide.read_string(0, 4, 64) == bench.disk.sector(41)[256:]
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x30, lba=50, count=2)
    for _ in range(2):
        bench.ide.write_string(0, 4, b"s" * 1024)
        bench.work()
    assert bench.disk.written == {50: b"s" * SECTOR, 51: b"s" * SECTOR}


def test_count_0_is_256_and_comes_in_two_chunks(bench: Bench) -> None:
    bench.command(0x20, lba=100, count=0)
    got = []
    bench.work()
    while bench.into(Reg.COMMAND) & 0x08:
        got.append(bench.sector_in(4))
        bench.work()
    assert got == [bench.disk.sector(100 + i) for i in range(256)]
    assert bench.disk.asked == [("read", 100, 128), ("read", 228, 128)]


def test_writing_wants_data_first_and_is_busy_until_stored(bench: Bench) -> None:
    bench.command(0x30, lba=7, count=2)
    assert bench.into(Reg.COMMAND) == 0x58
    assert not bench.line.level
    bench.sector_out(b"a" * SECTOR)
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x58
    bench.sector_out(b"b" * SECTOR, 4)
    assert bench.into(Reg.COMMAND) == 0xD0
    assert not bench.line.level
    bench.work()
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x50
    assert bench.disk.written == {7: b"a" * SECTOR, 8: b"b" * SECTOR}


def test_a_long_write_is_stored_in_chunks(bench: Bench) -> None:
    bench.command_ext(0x34, 300, 200)
    for i in range(200):
        assert bench.into(Reg.COMMAND) == 0x58
        bench.sector_out(bytes([i]) * SECTOR, 4)
        bench.work()
        assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x50
    assert bench.disk.asked == [("write", 300, 128), ("write", 428, 72)]
    assert bench.disk.written[499] == bytes([199]) * SECTOR


def test_multiple_interrupts_once_a_block(bench: Bench) -> None:
    assert bench.identify()[59] == 0x0110  # the most there is, from power-on
    bench.command(0xC6, count=0)
    assert bench.identify()[59] == 0
    bench.command(0xC4, count=6)
    assert bench.into(Reg.COMMAND) == 0x51
    bench.command(0xC6, count=4)
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0xC4, lba=10, count=6)
    bench.work()
    blocks = []
    for sectors in (4, 2):
        assert bench.line.level
        assert bench.into(Reg.COMMAND) == 0x58
        blocks += [bench.sector_in() for _ in range(sectors)]
    assert not bench.line.level
    assert blocks == [bench.disk.sector(10 + i) for i in range(6)]
    bench.command(0xC5, lba=10, count=6)
    for sectors in (4, 2):
        assert bench.into(Reg.COMMAND) == 0x58
        for _ in range(sectors):
            assert not bench.line.level
            bench.sector_out(b"m" * SECTOR)
        bench.work()
    assert bench.into(Reg.COMMAND) == 0x50
    assert bench.disk.asked[-1] == ("write", 10, 6)


@pytest.mark.parametrize("count", [3, 32, 255])
def test_set_multiple_refuses_what_is_no_power_of_two_up_to_16(bench: Bench, count: int) -> None:
    bench.command(0xC6, count=count)
    assert bench.into(Reg.COMMAND) == 0x51


def test_a_refused_set_multiple_disables_read_and_write_multiple(bench: Bench) -> None:
    """Seagate ST3636A, 5.4.15; Hitachi 7K200, 14.37; Fujitsu MHY2250BH, SET MULTIPLE MODE: all three say so."""
    bench.command(0xC6, count=4)
    bench.command(0xC6, count=3)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)
    for code in (0xC4, 0xC5, 0x29, 0x39):
        bench.command(code, count=1)
        assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)
    assert bench.identify()[59] == 0
    bench.command(0xC6, count=4)
    assert bench.identify()[59] == 0x0104
    bench.command(0xC4, count=1)
    bench.work()
    assert bench.into(Reg.COMMAND) == 0x58


def test_chs_addresses_follow_the_translation(bench: Bench) -> None:
    bench.command(0x20, lba=2 << 8 | 5, device=0xA3)  # cylinder 2, head 3, sector 5
    bench.work()
    assert bench.sector_in() == bench.disk.sector((2 * 16 + 3) * 63 + 4)
    bench.command(0x91, count=17, device=0xA7)  # 8 heads of 17 sectors
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x20, lba=2 << 8 | 5, device=0xA3)
    bench.work()
    assert bench.sector_in() == bench.disk.sector((2 * 8 + 3) * 17 + 4)
    bench.command(0x20, lba=2 << 8 | 18, device=0xA3)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x10, 0x51)


def test_lba48_takes_two_writes_and_hob_reads_the_first(bench: Bench) -> None:
    disk = SlowDisk(sectors=1 << 33)
    bench = Bench((disk, None))
    bench.command_ext(0x24, 0x1_2345_6789, 1)
    bench.work()
    assert disk.asked == [("read", 0x1_2345_6789, 1)]
    bench.sector_in()
    low = [bench.into(i) for i in (3, 4, 5)]
    bench.ide.control.write(0, 1, 0x80)
    assert (low, [bench.into(i) for i in (3, 4, 5)]) == ([0x89, 0x67, 0x45], [0x23, 0x01, 0x00])
    bench.out(Reg.COUNT, 9)
    assert bench.into(Reg.LBA_LOW) == 0x89  # any write clears HOB


def test_an_address_beyond_the_end_is_not_found(bench: Bench) -> None:
    bench.command(0x20, lba=19999, count=2)
    assert bench.line.level
    assert bench.registers() == (0x10, 1, 20000 & 0xFF, 20000 >> 8, 0, 0xE0, 0x51)
    assert bench.disk.queue == []


def test_a_bad_sector_is_an_error_and_not_a_hang(bench: Bench) -> None:
    bench.disk.broken = True
    for command, status in ((0x20, 0x51), (0x40, 0x51), (0xE7, 0x71)):
        bench.command(command, lba=5)
        bench.work()
        assert bench.line.level
        assert bench.into(Reg.COMMAND) == status


def test_a_read_only_disk_refuses_writes() -> None:
    bench = Bench((SlowDisk(readonly=True), None))
    bench.command(0x30)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (4, 0x51)


def test_verify_and_seek_move_no_data(bench: Bench) -> None:
    bench.command(0x40, lba=3, count=0)
    bench.work()
    assert bench.disk.asked == [("read", 3, 128), ("read", 131, 128)]
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x70, lba=3)
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x10)
    assert bench.into(Reg.COMMAND) == 0x50


def test_flush_waits_for_the_medium(bench: Bench) -> None:
    bench.command(0xEA)
    assert bench.into(Reg.COMMAND) == 0xD0
    bench.work()
    assert bench.disk.flushed == 1
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x50


def test_power_mode_is_remembered(bench: Bench) -> None:
    bench.command(0xE0)
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0
    bench.command(0xE1)
    bench.command(0x98)
    assert bench.into(Reg.COUNT) == 0xFF


@pytest.mark.parametrize(
    ("feature", "count", "status"),
    [
        (3, 0x00, 0x50), (3, 0x0C, 0x50), (3, 0x0D, 0x51), (3, 0x22, 0x50), (3, 0x23, 0x51), (3, 0x45, 0x50),
        (3, 0x46, 0x51), (0x02, 0, 0x50), (0x55, 0, 0x50), (0xAA, 0, 0x50), (0x66, 0, 0x50), (0x77, 0, 0x51),
    ],
)  # fmt: skip
def test_set_features_takes_what_the_drive_has(bench: Bench, feature: int, count: int, status: int) -> None:
    bench.out(Reg.FEATURES, feature)
    bench.command(0xEF, count=count)
    assert bench.into(Reg.COMMAND) == status


def test_the_transfer_mode_is_shown_in_identify(bench: Bench) -> None:
    for count, words in ((0x22, (0x0407, 0x003F)), (0x44, (0x0007, 0x103F)), (0x0B, (0x0007, 0x103F))):
        bench.out(Reg.FEATURES, 3)
        bench.command(0xEF, count=count)
        w = bench.identify()
        assert (w[63], w[88]) == words


def test_nien_keeps_the_line_low_and_the_interrupt_pending(bench: Bench) -> None:
    bench.ide.control.write(0, 1, 2)
    bench.command(0xEC)
    assert not bench.line.level
    bench.ide.control.write(0, 1, 0)
    assert bench.line.level
    assert bench.ide.control.read(0, 1) == 0x58
    assert bench.line.level  # alternate status leaves it


def test_only_the_selected_drive_interrupts() -> None:
    bench = Bench((SlowDisk(), SlowDisk()))
    bench.command(0xEC)
    assert bench.line.level
    bench.out(Reg.DEVICE, 0xB0)
    assert not bench.line.level
    bench.out(Reg.DEVICE, 0xA0)
    assert bench.line.level


def test_software_reset_ends_a_command_in_flight(bench: Bench) -> None:
    bench.command(0x20, lba=5)
    bench.ide.control.write(0, 1, 4)
    assert bench.into(Reg.COMMAND) == 0x80
    bench.ide.control.write(0, 1, 0)
    bench.pause(RESET_NS)
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)
    bench.work()
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)
    assert not bench.line.level


def test_execute_diagnostic_runs_on_both_and_selects_drive_0() -> None:
    bench = Bench((SlowDisk(), SlowDisk()))
    bench.command(0x90, device=0xF0)
    assert bench.line.level
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)


def test_a_state_saved_while_the_medium_works_goes_on_after_restoring(bench: Bench) -> None:
    bench.command(0x30, lba=9)
    bench.sector_out(b"z" * SECTOR)
    saved = copy.deepcopy(bench.ide.state)
    disk = SlowDisk()
    line = Line()
    again = IdeChannel(irq=line, clock=bench.clock, disks=(disk, None), state=saved)
    assert again.read(Reg.COMMAND, 1) == 0xD0
    bench.clock.advance(10_000)
    disk.work()
    assert disk.written == {9: b"z" * SECTOR}
    assert line.level
    assert again.read(Reg.COMMAND, 1) == 0x50


STRINGS = st.lists(
    st.tuples(st.sampled_from([1, 2, 4]), st.integers(1, 700), st.booleans()), min_size=1, max_size=8
)


@pytest.mark.parametrize("code", [0x20, 0x30])
@given(strings=STRINGS)
def test_a_string_instruction_does_what_its_units_would_do_one_by_one(code, strings):
    """Also where somebody has moved single bytes, so that a unit does not fit the end of a block."""
    benches = Bench(), Bench()
    for bench in benches:
        bench.command(code, lba=40, count=4)
        bench.work()
    for size, count, medium in strings:
        data = bytes(n * size & 0xFF for n in range(size * count))
        if code == 0x20:
            got = [benches[0].ide.read_string(0, size, count)]
            got.append(b"".join(benches[1].ide.read(0, size).to_bytes(size, "little") for _ in range(count)))
            assert got[0] == got[1]
        else:
            benches[0].ide.write_string(0, size, data)
            for at in range(0, len(data), size):
                benches[1].ide.write(0, size, int.from_bytes(data[at : at + size], "little"))
        if medium:
            for bench in benches:
                bench.work()
        assert benches[0].ide.state == benches[1].ide.state
    assert benches[0].disk.written == benches[1].disk.written


# -- BSY, DRQ and INTRQ in time (ATA/ATAPI-6, 9.5 to 9.7) -------------------------------------------------


def test_a_status_read_right_behind_a_block_does_not_clear_the_next_blocks_interrupt(bench: Bench) -> None:
    """HPIOI2 to HPIOI0: the drive clears DRQ and sets BSY; INTRQ comes with the next DRQ."""
    bench.command(0x20, lba=7, count=3)
    bench.work()
    for i in range(3):
        assert bench.line.level, f"block {i}"
        assert bench.into(Reg.COMMAND) == 0x58
        for _ in range(256):
            bench.ide.read(0, 2)
        bench.clock.advance(BUSY_NS + 1000)  # even if the read comes late
        assert bench.into(Reg.COMMAND) == (0xD0 if i < 2 else 0x50)
        bench.pause()
    assert not bench.line.level


def test_a_drive_is_busy_behind_every_command_and_interrupts_when_it_no_longer_is(bench: Bench) -> None:
    for code, status in ((0xEC, 0x58), (0xE5, 0x50), (0x10, 0x50), (0xC6, 0x50), (0xFF, 0x51)):
        bench.start(code)
        assert bench.ide.deadline() == bench.clock.time + BUSY_NS
        assert bench.ide.control.read(0, 1) == 0xD0
        bench.clock.advance(BUSY_NS - 1)
        bench.ide.tick()
        assert not bench.line.level
        bench.clock.advance(1)
        bench.ide.tick()
        assert bench.line.level
        assert bench.ide.deadline() is None
        assert bench.into(Reg.COMMAND) == status


def test_a_write_asks_for_its_first_block_without_an_interrupt_and_for_the_next_with_one(
    bench: Bench,
) -> None:
    bench.start(0x30, lba=7, count=2)
    assert bench.into(Reg.COMMAND) == 0xD0
    bench.pause()
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (False, 0x58)
    for _ in range(256):
        bench.ide.write(0, 2, 0)
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (False, 0xD0)
    bench.pause()
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (True, 0x58)


def test_a_medium_that_answers_at_once_is_no_faster_than_the_drive(bench: Bench) -> None:
    bench.start(0x40)
    bench.disk.work()
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (False, 0xD0)
    bench.pause()
    assert bench.line.level


def test_a_host_that_only_polls_needs_nobody_to_tick(bench: Bench) -> None:
    bench.start(0xEC)
    seen = []
    for _ in range(4):
        bench.clock.advance(2000)
        seen.append(bench.into(Reg.COMMAND))
    assert seen == [0xD0, 0xD0, 0x58, 0x58]


def test_busy_holds_through_srst_and_for_a_while_after(bench: Bench) -> None:
    bench.ide.control.write(0, 1, 4)
    bench.pause(1_000_000)
    assert bench.into(Reg.COMMAND) == 0x80
    bench.ide.control.write(0, 1, 0)
    bench.pause(RESET_NS - 1)
    assert bench.into(Reg.COMMAND) == 0xD0
    bench.pause(1)
    assert bench.into(Reg.COMMAND) == 0x50
    assert not bench.line.level


# -- addresses and counts when a command has ended ---------------------------------------------------------


def huge() -> Bench:
    return Bench((SlowDisk(sectors=1 << 33), None))


def test_a_28_bit_address_is_written_back_in_all_four_registers() -> None:
    """0FFFFFEh and four sectors end with 1000001h, whose bits 27 to 24 are in Device."""
    bench = huge()
    bench.command(0x20, lba=0x0FFFFFE, count=4)
    bench.work()
    assert len(bench.data_in()) == 4 * SECTOR
    assert bench.registers() == (0, 0, 0x01, 0x00, 0x00, 0xE1, 0x50)


def test_a_28_bit_command_leaves_what_hob_shows() -> None:
    bench = huge()
    for register in (3, 4, 5):
        bench.out(register, 0x70 + register)
    bench.command(0x40, lba=0x0FFFFFE, count=4)
    bench.work()
    bench.ide.control.write(0, 1, 0x80)
    assert [bench.into(register) for register in (3, 4, 5)] == [0x73, 0x74, 0x75]


def test_a_48_bit_address_leaves_device_alone() -> None:
    bench = huge()
    bench.command_ext(0x42, 0x1_FFFF_FFFE, 2)
    bench.work()
    assert bench.registers() == (0, 0, 0xFF, 0xFF, 0xFF, 0xE0, 0x50)
    bench.ide.control.write(0, 1, 0x80)
    assert bench.registers()[1:5] == (0, 0xFF, 0x01, 0x00)


def test_a_chs_address_is_written_back_with_its_head(bench: Bench) -> None:
    bench.command(0x40, lba=62, count=2, device=0xAF)  # cylinder 0, head 15, sector 62 and 63
    bench.work()
    assert bench.registers() == (0, 0, 63, 0, 0, 0xAF, 0x50)
    bench.command(0x40, lba=63, count=2, device=0xAF)
    bench.work()
    assert bench.registers() == (0, 0, 1, 1, 0, 0xA0, 0x50)


@pytest.mark.parametrize("code", [0x20, 0x40])
def test_an_error_has_its_address_in_all_four_registers_too(code: int) -> None:
    bench = huge()
    bench.disk.bad = {0x1000000}
    bench.command(code, lba=0x0FFFFFE, count=4)
    bench.work()
    bench.data_in()
    assert bench.registers() == (0x40, 2, 0x00, 0x00, 0x00, 0xE1, 0x51)


# -- errors in the middle ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("lba", "count"), [(100, 16), (100, 256), (15, 200)])
def test_good_sectors_come_and_then_the_error_says_which_was_bad_and_what_is_left(
    lba: int, count: int
) -> None:
    bench = Bench()
    bad = lba + min(count - 1, 5) if count < 200 else lba + 170
    bench.disk.bad = {bad}
    bench.command(0x20, lba=lba, count=count & 0xFF)
    bench.work()
    assert bench.data_in() == b"".join(bench.disk.sector(i) for i in range(lba, bad))
    assert bench.registers() == (*(0x40, lba + count - bad & 0xFF, bad & 0xFF, bad >> 8, 0, 0xE0, 0x51),)


def test_the_sixth_of_sixteen_is_bad(bench: Bench) -> None:
    bench.disk.bad = {105}
    bench.command(0x20, lba=100, count=16)
    bench.work()
    assert bench.data_in() == b"".join(bench.disk.sector(i) for i in range(100, 105))
    assert bench.line.level is False
    assert bench.registers() == (0x40, 11, 105, 0, 0, 0xE0, 0x51)


def test_a_bad_sector_in_a_multiple_block_ends_it_at_that_block(bench: Bench) -> None:
    bench.command(0xC6, count=4)
    bench.disk.bad = {106}
    bench.command(0xC4, lba=100, count=16)
    bench.work()
    assert bench.data_in() == b"".join(bench.disk.sector(i) for i in range(100, 104))
    assert bench.registers() == (0x40, 10, 106, 0, 0, 0xE0, 0x51)


def test_a_write_stores_what_can_be_and_names_the_sector_that_cannot(bench: Bench) -> None:
    bench.disk.bad = {105}
    bench.command(0x30, lba=100, count=16)
    for i in range(16):
        bench.sector_out(bytes([i]) * SECTOR)
    bench.work()
    assert sorted(bench.disk.written) == list(range(100, 105))
    assert bench.registers() == (0x04, 11, 105, 0, 0, 0xE0, 0x71)


def test_a_failure_that_passes_costs_nothing_but_time(bench: Bench) -> None:
    """The medium refuses the chunk, and then takes its sectors one by one."""
    bench.command(0x30, lba=100, count=3)
    for _ in range(3):
        bench.sector_out(b"x" * SECTOR)
    bench.disk.bad = {101}
    bench.disk.work()
    bench.disk.bad = set()
    bench.work()
    assert bench.into(Reg.COMMAND) == 0x50
    assert sorted(bench.disk.written) == [100, 101, 102]


# -- decoding and power ------------------------------------------------------------------------------------


def test_a_channel_that_is_not_decoded_is_not_there(bench: Bench) -> None:
    bench.ide.decode(False)
    bench.command(0xEC)
    assert bench.registers() == (0xFF,) * 7
    assert bench.ide.control.read(0, 1) == 0xFF
    assert bench.ide.read(0, 4) == 0xFFFF_FFFF
    assert bench.ide.read_string(0, 2, 3) == b"\xff" * 6
    bench.ide.write_string(0, 2, b"abcd")
    bench.ide.control.write(0, 1, 4)
    assert (bench.ide.mirror.shown(7), bench.ide.control_mirror.shown(0)) == (None, None)
    bench.ide.decode(True)
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)


@pytest.mark.parametrize("code", [0xEC, 0xE5, 0x20, 0xE0, 0xFF])
def test_a_drive_that_sleeps_hears_nothing_but_a_reset(bench: Bench, code: int) -> None:
    """ATA/ATAPI-6, 6.9.2: in Sleep the interface is not active."""
    bench.command(0xE6)
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(code)
    bench.work()
    assert not bench.line.level
    bench.ide.control.write(0, 1, 4)
    bench.ide.control.write(0, 1, 0)
    bench.pause(RESET_NS)
    bench.command(0xE5)
    assert (bench.into(Reg.COUNT), bench.into(Reg.COMMAND)) == (0x00, 0x50)  # reset leads to Standby
    bench.command(0xEC)
    assert bench.into(Reg.COMMAND) == 0x58


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(1, 5), (240, 1200), (241, 1800), (251, 19800), (252, 1260), (253, 28800), (255, 1275)],
)
def test_the_standby_timer_runs_from_the_last_command(bench: Bench, count: int, seconds: int) -> None:
    bench.command(0xE3, count=count)
    bench.pause((seconds - 1) * 10**9)
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0xFF
    bench.pause((seconds - 1) * 10**9)
    bench.command(0x10)
    bench.pause(seconds * 10**9)
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0x00


def test_a_standby_timer_of_0_never_ends(bench: Bench) -> None:
    bench.command(0xE3, count=0)
    bench.pause(10**15)
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0xFF


# -- the write cache ---------------------------------------------------------------------------------------


def test_with_the_write_cache_off_a_write_ends_when_it_is_on_the_medium(bench: Bench) -> None:
    bench.out(Reg.FEATURES, 0x82)
    bench.command(0xEF)
    bench.work()
    assert bench.disk.flushed == 1  # what was cached
    assert bench.identify()[85] & 0x20 == 0
    bench.command(0x30, lba=9)
    bench.sector_out(b"w" * SECTOR)
    bench.disk.work()
    bench.pause()
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (False, 0xD0)
    bench.work()
    assert bench.disk.flushed == 2
    assert bench.registers() == (0, 0, 9, 0, 0, 0xE0, 0x50)


def test_a_fua_write_is_flushed_with_the_cache_on(bench: Bench) -> None:
    bench.command(0xC6, count=2)
    bench.command_ext(0xCE, 9, 2)
    bench.sector_out(b"f" * SECTOR)
    bench.sector_out(b"f" * SECTOR)
    bench.work()
    assert bench.disk.flushed == 1
    assert bench.into(Reg.COMMAND) == 0x50


def test_a_flush_that_fails_is_told(bench: Bench) -> None:
    bench.command_ext(0x34, 9, 1)
    bench.sector_out(b"f" * SECTOR)
    bench.work()
    bench.disk.broken = True
    bench.command(0xE7)
    bench.work()
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x71)


# -- the host protected area (6.11, 8.36 and 8.39) ---------------------------------------------------------


def test_set_max_hides_the_end_of_the_disk_and_native_max_finds_it(bench: Bench) -> None:
    bench.command(0xF8)
    assert bench.registers() == (0, 1, 19999 & 0xFF, 19999 >> 8, 0, 0xE0, 0x50)
    bench.command(0xF9, lba=999, count=0)
    assert bench.into(Reg.COMMAND) == 0x50
    w = bench.identify(0xE0)
    assert w[60] | w[61] << 16 == w[100] | w[101] << 16 == 1000
    bench.command(0x20, lba=1000)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x10, 0x51)
    bench.command(0xF8)
    assert bench.into(Reg.LBA_MID) << 8 | bench.into(Reg.LBA_LOW) == 19999
    bench.ide.reset()  # the power goes: what was not to be kept is gone
    assert bench.identify(0xE0)[60] == 20000


def test_set_max_wants_native_max_right_before_it(bench: Bench) -> None:
    bench.command(0xF8)
    bench.command(0xE5)
    bench.command(0xF9, lba=999)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)


def test_set_max_can_outlast_the_power(bench: Bench) -> None:
    bench.command(0x27)
    bench.command_ext(0x37, 499, 1)
    assert bench.into(Reg.COMMAND) == 0x50
    bench.ide.reset()
    assert bench.identify()[60] == 500


def test_native_max_of_28_bits_stops_at_what_they_can_say() -> None:
    bench = huge()
    bench.command(0xF8)
    assert bench.registers()[2:6] == (0xFF, 0xFF, 0xFF, 0xEF)
    bench.command_ext(0x27, 0, 0)
    bench.ide.control.write(0, 1, 0x80)
    assert bench.registers()[2:5] == (0xFF, 0x01, 0x00)


# -- SMART (8.41) and the drive's own buffer ----------------------------------------------------------------


def smart(bench: Bench, feature: int, *, low: int = 0, count: int = 1) -> bytes:
    bench.out(Reg.FEATURES, feature)
    bench.command(0xB0, lba=0xC24F00 | low, count=count)
    return bench.data_in()


def test_smart_says_that_the_drive_is_well(bench: Bench) -> None:
    assert smart(bench, 0xDA) == b""
    assert bench.registers() == (0, 1, 0, 0x4F, 0xC2, 0xE0, 0x50)
    for feature in (0xD0, 0xD1):
        data = smart(bench, feature)
        assert len(data) == SECTOR
        assert sum(data) & 0xFF == 0


def test_smart_counts_the_hours(bench: Bench) -> None:
    bench.pause(7 * 3600 * 10**9)
    data = smart(bench, 0xD0)
    attributes = {data[at]: int.from_bytes(data[at + 5 : at + 11], "little") for at in range(2, 50, 12)}
    assert attributes[9] == 7


def test_smart_that_is_off_answers_only_the_command_that_turns_it_on(bench: Bench) -> None:
    smart(bench, 0xD9)
    assert bench.identify()[85] & 1 == 0
    smart(bench, 0xDA)
    assert bench.into(Reg.COMMAND) == 0x51
    smart(bench, 0xD8)
    smart(bench, 0xDA)
    assert bench.into(Reg.COMMAND) == 0x50


def test_smart_wants_its_key(bench: Bench) -> None:
    bench.out(Reg.FEATURES, 0xD0)
    bench.command(0xB0, lba=0)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)


def test_smart_logs_errors_and_self_tests(bench: Bench) -> None:
    bench.command(0x20, lba=19999, count=2)
    log = smart(bench, 0xD5, low=1)
    assert (log[1], log[2 + 61], int.from_bytes(log[452:454], "little")) == (1, 0x10, 1)
    smart(bench, 0xD4, low=1)
    log = smart(bench, 0xD5, low=6)
    assert (log[2], log[3], log[508]) == (1, 0, 1)
    directory = smart(bench, 0xD5, low=0)
    assert (directory[0], directory[2], directory[12]) == (1, 1, 1)
    smart(bench, 0xD5, low=0x77)
    assert bench.into(Reg.COMMAND) == 0x51


def test_a_captive_self_test_ends_with_the_command(bench: Bench) -> None:
    """ATA-6, SMART EXECUTE OFF-LINE IMMEDIATE, 81h and 82h: with its result, 4Fh and C2h if it has found nothing."""
    for which in (0x81, 0x82):
        smart(bench, 0xD4, low=which)
        assert bench.registers()[3:] == (0x4F, 0xC2, 0xE0, 0x50)
        log = smart(bench, 0xD5, low=6)
        newest = 2 + 24 * (log[508] - 1)
        assert (log[newest], log[newest + 1] >> 4) == (which, 0)
    smart(bench, 0xD4, low=0x83)
    assert bench.into(Reg.COMMAND) == 0x51


def test_the_drives_own_buffer_keeps_what_is_written(bench: Bench) -> None:
    bench.command(0xE8)
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (False, 0x58)
    bench.sector_out(b"own!" * 128)
    assert (bench.line.level, bench.into(Reg.COMMAND)) == (True, 0x50)
    bench.command(0xE4)
    assert bench.data_in() == b"own!" * 128


def test_nop_and_device_reset_are_refused_by_a_disk(bench: Bench) -> None:
    for code in (0x00, 0x08):
        bench.command(code)
        assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)


# -- what is left of the commands --------------------------------------------------------------------------


def test_settings_are_kept_over_a_software_reset_if_that_is_asked_for(bench: Bench) -> None:
    """SET FEATURES 66h and CCh (8.46): what a software reset reverts."""
    for keep, wanted in ((0x66, (0x0102, 0)), (0xCC, (0x0110, 0x20))):
        bench.command(0xC6, count=2)
        for feature in (0x82, keep):
            bench.out(Reg.FEATURES, feature)
            bench.command(0xEF)
            bench.work()
        bench.ide.control.write(0, 1, 4)
        bench.ide.control.write(0, 1, 0)
        bench.pause(RESET_NS)
        w = bench.identify()
        assert (w[59], w[85] & 0x20) == wanted


def test_a_write_that_a_reset_has_overtaken_changes_nothing_any_more(bench: Bench) -> None:
    bench.command(0x30, lba=5)
    bench.sector_out(b"x" * SECTOR)
    bench.ide.control.write(0, 1, 4)
    bench.ide.control.write(0, 1, 0)
    bench.pause(RESET_NS)
    bench.work()
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)
    assert not bench.line.level


def test_a_seek_behind_the_end_is_not_found(bench: Bench) -> None:
    bench.command(0x70, lba=20000)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x10, 0x51)


def test_standby_sets_its_timer_for_when_it_is_left(bench: Bench) -> None:
    bench.command(0xE2, count=1)
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0x00
    bench.command(0x40, lba=5)
    bench.work()
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0xFF
    bench.pause(5 * 10**9)
    bench.command(0xE5)
    assert bench.into(Reg.COUNT) == 0x00


def test_set_max_refuses_passwords_and_what_is_behind_the_end(bench: Bench) -> None:
    bench.command(0xF8)
    bench.out(Reg.FEATURES, 1)
    bench.command(0xF9, lba=5)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)
    bench.out(Reg.FEATURES, 0)
    bench.command(0xF8)
    bench.command(0xF9, lba=20000)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x10, 0x51)


def test_a_translation_of_ones_own_has_as_many_cylinders_as_fit(bench: Bench) -> None:
    bench.command(0x91, count=17, device=0xA7)
    w = bench.identify()
    assert w[54:57] == (20000 // (8 * 17), 8, 17)
    assert w[57] == 20000 // (8 * 17) * 8 * 17


@pytest.mark.parametrize(("read", "write"), [(0x27, 0xF9), (0xF8, 0x37), (0xE5, 0xF9), (0xE5, 0x37)])
def test_set_max_address_wants_the_native_one_read_in_its_own_way(
    bench: Bench, read: int, write: int
) -> None:
    """ATA/ATAPI-6, 8.47 and 8.48: READ NATIVE MAX ADDRESS goes before SET MAX ADDRESS, and EXT before EXT."""
    bench.command(read)
    bench.command(write, lba=9999, count=0)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x04, 0x51)
    assert bench.identify()[60] == 20000


def collection(bench: Bench) -> int:
    return smart(bench, 0xD0)[362]


SECOND = 10**9


def test_off_line_data_collection_is_suspended_by_a_command_and_goes_on_after_it(bench: Bench) -> None:
    """ATA/ATAPI-5, SMART READ DATA, byte 362: never started, suspended by the reading itself, completed.

    Bit 2 of byte 367 is 0: a command does not abort it. Words 364 and 365 say how many seconds it takes.
    """
    assert collection(bench) == 0x00
    smart(bench, 0xD4, low=0)
    assert bench.registers()[3:] == (0x4F, 0xC2, 0xE0, 0x50)  # the command ends at once
    data = smart(bench, 0xD0)
    assert (data[362], data[363], data[364:366], data[367]) == (0x04, 0, b"\x1e\0", 0x11)
    bench.pause(29 * SECOND)
    assert collection(bench) == 0x04
    bench.pause(SECOND)
    assert collection(bench) == 0x02
    assert smart(bench, 0xD5, low=6)[508] == 0  # it is no self-test


def test_what_a_command_takes_is_not_spent_on_data_collection(bench: Bench) -> None:
    smart(bench, 0xD4, low=0)
    bench.command(0x20, lba=5)
    bench.pause(60 * SECOND)  # the medium is slow
    bench.work()
    bench.data_in()
    assert collection(bench) == 0x04
    bench.command(0x20, lba=99999)  # an error ends a command too
    bench.pause(31 * SECOND)
    assert collection(bench) == 0x02


@pytest.mark.parametrize("which", [0x01, 0x02, 0x7F, 0x81, 0x82])
def test_another_off_line_command_aborts_data_collection(bench: Bench, which: int) -> None:
    """ATA/ATAPI-5, SMART EXECUTE OFF-LINE IMMEDIATE: it ends what is under way; subcommand 0 then begins anew."""
    smart(bench, 0xD4, low=which)
    assert collection(bench) == 0x00  # nothing was under way
    smart(bench, 0xD4, low=0)
    smart(bench, 0xD4, low=which)
    bench.pause(60 * SECOND)
    assert collection(bench) == 0x05
    smart(bench, 0xD4, low=0)
    bench.pause(29 * SECOND)
    smart(bench, 0xD4, low=0)
    bench.pause(29 * SECOND)
    assert collection(bench) == 0x04
    bench.pause(2 * SECOND)
    assert collection(bench) == 0x02
    smart(bench, 0xD4, low=which)
    assert collection(bench) == 0x02


@pytest.mark.parametrize(
    ("stop", "go"),
    [((0xE0, 0), (0xE1, 0)), ((0xE2, 0), (0xE3, 0)), ((0xB0, 0xD9), (0xB0, 0xD8)), ((0xE0, 0), (0x20, 0))],
)
def test_data_collection_waits_while_power_is_saved_or_smart_is_off(
    bench: Bench, stop: tuple[int, int], go: tuple[int, int]
) -> None:
    """ATA/ATAPI-5, SMART EXECUTE OFF-LINE IMMEDIATE: STANDBY and SMART DISABLE OPERATIONS suspend it."""

    def give(code: int, features: int) -> None:
        bench.out(Reg.FEATURES, features)
        bench.command(code, lba=0xC24F00 if code == 0xB0 else 7, count=1 if code == 0x20 else 0)
        bench.work()
        bench.data_in()

    smart(bench, 0xD4, low=0)
    give(*stop)
    bench.pause(60 * SECOND)
    give(*go)
    assert collection(bench) == 0x04
    bench.pause(30 * SECOND)
    assert collection(bench) == 0x02


def test_a_reset_aborts_data_collection_and_a_diagnostic_does_not(bench: Bench) -> None:
    smart(bench, 0xD4, low=0)
    bench.out(Reg.COMMAND, 0x90)
    bench.pause(29 * SECOND)
    assert collection(bench) == 0x04
    bench.ide.control.write(0, 1, 4)
    bench.ide.control.write(0, 1, 0)
    bench.pause()
    bench.pause(60 * SECOND)
    assert collection(bench) == 0x05


def test_a_drive_that_is_saved_goes_on_with_its_data_collection(bench: Bench) -> None:
    smart(bench, 0xD4, low=0)
    bench.pause(29 * SECOND)
    bench.ide = IdeChannel(irq=bench.line, clock=bench.clock, disks=bench.disks, state=bench.ide.state)
    assert collection(bench) == 0x04
    bench.pause(SECOND)
    assert collection(bench) == 0x02


def test_smart_outlasts_the_power(bench: Bench) -> None:
    """ATA/ATAPI-6, 8.41: whether SMART is enabled, whether it saves, and its logs are kept over power cycles."""
    bench.command(0x20, lba=19999, count=2)
    smart(bench, 0xD4, low=1)
    smart(bench, 0xD4, low=0)
    bench.pause(31 * SECOND)
    bench.ide.reset()
    assert collection(bench) == 0x02
    assert smart(bench, 0xD5, low=1)[1] == 1
    assert smart(bench, 0xD5, low=6)[508] == 1
    smart(bench, 0xD9)
    bench.ide.reset()
    assert bench.identify()[85] & 1 == 0


def test_smart_saves_by_itself_or_when_told(bench: Bench) -> None:
    for feature, count, status in ((0xD2, 0xF1, 0x50), (0xD2, 0, 0x50), (0xD2, 5, 0x51), (0xD3, 0, 0x50)):
        smart(bench, feature, count=count)
        assert bench.into(Reg.COMMAND) == status
    for low, status in ((0, 0x50), (127, 0x50), (126, 0x51)):
        smart(bench, 0xD4, low=low)
        assert bench.into(Reg.COMMAND) == status
    assert smart(bench, 0xD5, low=6)[508] == 0  # neither was a self-test


def test_nobody_takes_what_is_written_for_an_absent_drive() -> None:
    bench = Bench((None, SlowDisk()))
    bench.ide.write(0, 2, 0x1234)
    bench.ide.write_string(0, 2, b"abcd")
    assert bench.ide.read_string(0, 2, 2) == b"\xff" * 4
    bench.command(0x90)
    assert not bench.line.level


@pytest.mark.parametrize("complete", [True, False])
def test_a_command_under_way_is_given_up_by_a_state_that_is_too_old(bench: Bench, complete: bool) -> None:
    """An interface error has the guest ask again; registers that may be of two commands refuse the next one too."""
    bench.command(0x20, lba=5)
    bench.ide.recover(complete=complete)
    bench.work()
    assert bench.line.level
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x84, 0x51)
    bench.command(0x20, lba=5)
    bench.work()
    assert bench.into(Reg.COMMAND) == (0x58 if complete else 0x51)
    bench.command(0x20, lba=5)
    bench.work()
    assert bench.into(Reg.COMMAND) == 0x58


def test_a_drive_that_does_nothing_has_nothing_to_give_up() -> None:
    bench = Bench((None, SlowDisk()))
    bench.ide.recover(complete=True)
    assert not bench.line.level  # nobody is selected
    bench.out(Reg.DEVICE, 0xB0)
    assert bench.into(Reg.COMMAND) == 0x50


def test_device_reset_is_nothing_to_a_disk_that_is_busy(bench: Bench) -> None:
    bench.start(0x20, lba=5)
    bench.out(Reg.COMMAND, 0x08)
    bench.work()
    assert bench.into(Reg.COMMAND) == 0x58
    assert bench.sector_in() == bench.disk.sector(5)


def test_a_write_that_reaches_beyond_the_registers_ends_there(bench: Bench) -> None:
    bench.ide.write(6, 4, 0x1234_00B0)
    assert bench.into(Reg.DEVICE) == 0xB0
