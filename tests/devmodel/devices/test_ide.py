"""The IDE channel and its disks, with a medium that answers when the test says so."""

import copy
import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.board.lines import Line
from devmodel.devices.ide import IdeChannel, Reg

SECTOR = 512


@attrs.define
class SlowDisk:
    """A medium in memory; requests wait until `work`."""

    sectors: int = 20000
    readonly: bool = False
    broken: bool = False
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
                    done(None if self.broken else data)
                case DiskWrite(lba, data, done):
                    self.asked.append(("write", lba, len(data) // SECTOR))
                    for i in range(0, len(data), SECTOR):
                        self.written[lba + i // SECTOR] = data[i : i + SECTOR]
                    done(not self.broken)
                case DiskFlush(done):
                    self.flushed += 1
                    done(not self.broken)


@attrs.define
class Bench:
    disks: tuple[SlowDisk | None, SlowDisk | None] = attrs.field(factory=lambda: (SlowDisk(), None))
    line: Line = attrs.field(factory=Line)
    ide: IdeChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ide = IdeChannel(irq=self.line, disks=self.disks)

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

    def command(self, code: int, *, lba: int = 0, count: int = 1, device: int = 0xE0) -> None:
        self.task(lba=lba, count=count, device=device)
        self.out(Reg.COMMAND, code)

    def command_ext(self, code: int, lba: int, count: int) -> None:
        self.out(Reg.DEVICE, 0x40)
        for register, value in (
            (2, count >> 8), (2, count), (3, lba >> 24), (3, lba), (4, lba >> 32), (4, lba >> 8),
            (5, lba >> 40), (5, lba >> 16),
        ):  # fmt: skip
            self.out(register, value & 0xFF)
        self.out(Reg.COMMAND, code)

    def sector_in(self, width: int = 2) -> bytes:
        return b"".join(self.ide.read(0, width).to_bytes(width, "little") for _ in range(SECTOR // width))

    def sector_out(self, data: bytes, width: int = 2) -> None:
        for i in range(0, SECTOR, width):
            self.ide.write(0, width, int.from_bytes(data[i : i + width], "little"))

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
    assert w[49] & 0x0100 == w[63] == w[88] == 0  # no DMA
    assert sum(raw) & 0xFF == 0
    assert b"".join(struct.pack(">H", v) for v in w[27:47]).strip() == b"DEVMODEL HARDDISK"


def test_identify_packet_device_is_refused_by_a_disk(bench: Bench) -> None:
    bench.command(0xA1)
    assert bench.into(Reg.FEATURES) == 4
    assert bench.into(Reg.COMMAND) == 0x51


@pytest.mark.parametrize("width", [2, 4])
def test_reading_is_busy_until_the_medium_answers_and_interrupts_a_sector(bench: Bench, width: int) -> None:
    bench.command(0x20, lba=0x1234, count=2)
    assert bench.into(Reg.COMMAND) == 0xD0
    assert not bench.line.level
    bench.disk.work()
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x58
    assert not bench.line.level
    assert bench.sector_in(width) == bench.disk.sector(0x1234)
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x58
    assert bench.sector_in(width) == bench.disk.sector(0x1235)
    assert not bench.line.level  # no interrupt after the last
    assert bench.registers() == (0, 0, 0x35, 0x12, 0, 0xE0, 0x50)


def test_strings_go_through_in_one_piece(bench: Bench) -> None:
    bench.command(0x20, lba=40, count=3)
    bench.disk.work()
    assert bench.ide.read_string(0, 2, 384) == bench.disk.sector(40) + bench.disk.sector(41)[:256]
    rest = bench.ide.read_string(0, 4, 256)
    assert rest == bench.disk.sector(41)[256:] + bench.disk.sector(42) + b"\xff" * 256
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x30, lba=50, count=2)
    bench.ide.write_string(0, 4, b"s" * 1024)
    bench.disk.work()
    assert bench.disk.written == {50: b"s" * SECTOR, 51: b"s" * SECTOR}


def test_count_0_is_256_and_comes_in_two_chunks(bench: Bench) -> None:
    bench.command(0x20, lba=100, count=0)
    got = []
    while bench.into(Reg.COMMAND) & 0x88:
        bench.disk.work()
        got.append(bench.sector_in(4))
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
    bench.disk.work()
    assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x50
    assert bench.disk.written == {7: b"a" * SECTOR, 8: b"b" * SECTOR}


def test_a_long_write_is_stored_in_chunks(bench: Bench) -> None:
    bench.command_ext(0x34, 300, 200)
    for i in range(200):
        assert bench.into(Reg.COMMAND) == 0x58
        bench.sector_out(bytes([i]) * SECTOR, 4)
        bench.disk.work()
        assert bench.line.level
    assert bench.into(Reg.COMMAND) == 0x50
    assert bench.disk.asked == [("write", 300, 128), ("write", 428, 72)]
    assert bench.disk.written[499] == bytes([199]) * SECTOR


def test_multiple_interrupts_once_a_block(bench: Bench) -> None:
    bench.command(0xC4, count=6)
    assert bench.into(Reg.COMMAND) == 0x51  # not set yet
    bench.command(0xC6, count=4)
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0xC4, lba=10, count=6)
    bench.disk.work()
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
        bench.disk.work()
    assert bench.into(Reg.COMMAND) == 0x50
    assert bench.disk.asked[-1] == ("write", 10, 6)


@pytest.mark.parametrize("count", [3, 32, 255])
def test_set_multiple_refuses_what_is_no_power_of_two_up_to_16(bench: Bench, count: int) -> None:
    bench.command(0xC6, count=count)
    assert bench.into(Reg.COMMAND) == 0x51


def test_chs_addresses_follow_the_translation(bench: Bench) -> None:
    bench.command(0x20, lba=2 << 8 | 5, device=0xA3)  # cylinder 2, head 3, sector 5
    bench.disk.work()
    assert bench.sector_in() == bench.disk.sector((2 * 16 + 3) * 63 + 4)
    bench.command(0x91, count=17, device=0xA7)  # 8 heads of 17 sectors
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x20, lba=2 << 8 | 5, device=0xA3)
    bench.disk.work()
    assert bench.sector_in() == bench.disk.sector((2 * 8 + 3) * 17 + 4)
    bench.command(0x20, lba=2 << 8 | 18, device=0xA3)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x10, 0x51)


def test_lba48_takes_two_writes_and_hob_reads_the_first(bench: Bench) -> None:
    disk = SlowDisk(sectors=1 << 33)
    bench = Bench((disk, None))
    bench.command_ext(0x24, 0x1_2345_6789, 1)
    disk.work()
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
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x10, 0x51)
    assert bench.disk.queue == []


def test_a_bad_sector_is_an_error_and_not_a_hang(bench: Bench) -> None:
    bench.disk.broken = True
    for command, status in ((0x20, 0x51), (0x40, 0x51), (0xE7, 0x71)):
        bench.command(command, lba=5)
        bench.disk.work()
        assert bench.line.level
        assert bench.into(Reg.COMMAND) == status


def test_a_read_only_disk_refuses_writes() -> None:
    bench = Bench((SlowDisk(readonly=True), None))
    bench.command(0x30)
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (4, 0x51)


def test_verify_and_seek_move_no_data(bench: Bench) -> None:
    bench.command(0x40, lba=3, count=0)
    while bench.into(Reg.COMMAND) & 0x80:
        bench.disk.work()
    assert bench.disk.asked == [("read", 3, 128), ("read", 131, 128)]
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x70, lba=3)
    assert bench.into(Reg.COMMAND) == 0x50
    bench.command(0x10)
    assert bench.into(Reg.COMMAND) == 0x50


def test_flush_waits_for_the_medium(bench: Bench) -> None:
    bench.command(0xEA)
    assert bench.into(Reg.COMMAND) == 0xD0
    bench.disk.work()
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


def test_features_refuse_dma(bench: Bench) -> None:
    for feature, count, status in ((3, 0x0C, 0x50), (3, 0x42, 0x51), (0x82, 0, 0x50), (0x77, 0, 0x51)):
        bench.out(Reg.FEATURES, feature)
        bench.command(0xEF, count=count)
        assert bench.into(Reg.COMMAND) == status


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
    assert bench.registers() == (1, 1, 1, 0, 0, 0xA0, 0x50)
    bench.disk.work()
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
    again = IdeChannel(irq=line, disks=(disk, None), state=saved)
    assert again.read(Reg.COMMAND, 1) == 0xD0
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
        bench.disk.work()
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
                bench.disk.work()
        assert benches[0].ide.state == benches[1].ide.state
    assert benches[0].disk.written == benches[1].disk.written
