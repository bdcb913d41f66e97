"""The 82077AA by its data sheet (290166): reading, writing, VERIFY, SCAN, FORMAT, and what comes between."""

import copy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.diskette import Bay, Rate
from devmodel.devices.fdc import Fdc
from devmodel.devices.fdc_registers import Op, Reg
from devmodel.devices.fdc_state import DriveState, FdcState
from tests.devmodel.devices.fdc_bench import MFM, MT, SK, Bench, Medium, sectors


@pytest.fixture
def bench() -> Bench:
    bench = Bench([Medium(2880), Medium(2880)])
    bench.on()
    return bench


# -- reading ----------------------------------------------------------------------------------------------


def test_read_data_moves_sectors_until_terminal_count(bench: Bench) -> None:
    assert bench.transfer(Op.READ | MFM, 0, 0, 3, count=4 * 512) == [0, 0, 0, 0, 0, 7, 2]
    assert bench.moved == sectors(2, 4)
    assert bench.edges == [True, False]


@pytest.mark.parametrize(
    ("op", "head", "r", "count", "expected"),
    [
        (0, 0, 17, 1, [0, 0, 18, 2]),  # below EOT: the next sector
        (0, 0, 18, 1, [1, 0, 1, 2]),  # at EOT: the next cylinder
        (0, 1, 17, 1, [0, 1, 18, 2]),
        (0, 1, 18, 1, [1, 1, 1, 2]),
        (MT, 0, 17, 1, [0, 0, 18, 2]),
        (MT, 0, 18, 1, [0, 1, 1, 2]),  # at EOT of side 0: side 1
        (MT, 1, 17, 1, [0, 1, 18, 2]),
        (MT, 1, 18, 1, [1, 0, 1, 2]),
        (MT, 0, 18, 2, [0, 1, 2, 2]),
    ],
)
def test_the_id_in_the_result_is_table_5_6(bench: Bench, op, head, r, count, expected) -> None:
    result = bench.transfer(Op.READ | MFM | op, 0, head, r, count=count * 512)
    assert result[0] & 0xC0 == 0
    assert result[3:] == expected


def test_a_count_that_ends_within_a_sector_drops_the_rest_of_it(bench: Bench) -> None:
    assert bench.transfer(Op.READ | MFM, 0, 0, 1, count=700) == [0, 0, 0, 0, 0, 3, 2]
    assert bench.moved == sectors(0, 2)[:700]


def test_the_end_of_the_cylinder_without_terminal_count_is_abnormal(bench: Bench) -> None:
    assert bench.transfer(Op.READ | MFM, 0, 0, 17, count=10 * 512) == [0x40, 0x80, 0, 1, 0, 1, 2]
    assert bench.moved == sectors(16, 2)


def test_multi_track_goes_on_with_the_other_side_and_ends_there(bench: Bench) -> None:
    assert bench.transfer(Op.READ | MFM | MT, 0, 0, 1, count=100 * 512) == [0x44, 0x80, 0, 1, 0, 1, 2]
    assert bench.moved == sectors(0, 36)


@pytest.mark.parametrize(
    ("c", "h", "head", "r", "n", "st1", "st2"),
    [
        (1, 0, 0, 1, 2, 0x04, 0x10),  # wrong cylinder
        (0, 1, 0, 1, 2, 0x04, 0),
        (0, 0, 0, 19, 2, 0x04, 0),
        (0, 0, 0, 0, 2, 0x04, 0),
        (0, 0, 0, 1, 3, 0x04, 0),
    ],
)
def test_an_id_that_is_not_on_the_track_is_no_data(bench: Bench, c, h, head, r, n, st1, st2) -> None:
    result = bench.transfer(Op.READ | MFM, c, h, r, head=head, n=n, count=512)
    assert result[:3] == [0x40 | head << 2, st1, st2]
    assert bench.moved == b""


def test_an_eot_beyond_the_track_reads_what_there_is(bench: Bench) -> None:
    result = bench.transfer(Op.READ | MFM, 0, 0, 17, eot=36, count=4 * 512)
    assert result == [0x40, 0x04, 0, 0, 0, 19, 2]
    assert bench.moved == sectors(16, 2)


def test_a_sector_that_the_host_cannot_read_is_a_data_error_behind_those_before_it(bench: Bench) -> None:
    bench.media[0].bad.add(4)
    result = bench.transfer(Op.READ | MFM, 0, 0, 2, count=9 * 512)
    assert result == [0x40, 0x20, 0x20, 0, 0, 5, 2]
    assert bench.moved == sectors(1, 3)


def test_nobody_who_takes_the_data_is_an_overrun(bench: Bench) -> None:
    assert bench.transfer(Op.READ | MFM, 0, 0, 1) == []
    assert bench.inp(Reg.MSR) == 0x10
    bench.pass_time()
    assert bench.result() == [0x40, 0x10, 0, 0, 0, 1, 2]


def test_without_dma_bytes_pass_by_the_fifo_and_the_end_of_the_cylinder_ends_it(bench: Bench) -> None:
    bench.command(Op.SPECIFY, 0xDF, 0x03)
    for value in (Op.READ | MFM, 0, 0, 0, 1, 2, 1, 0x1B, 0xFF):
        bench.out(Reg.FIFO, value)
    bench.pass_time(10**7)
    data = bytearray()
    while bench.inp(Reg.MSR) == 0xF0:
        assert bench.fdc.irq.level  # type: ignore[attr-defined]
        data.append(bench.inp(Reg.FIFO))
        bench.out(Reg.FIFO, 0)  # is lost
    assert data == sectors(0, 1)
    bench.pass_time()
    assert bench.result() == [0x40, 0x80, 0, 1, 0, 1, 2]
    assert bench.edges.count(True) == 512 + 1


def test_without_dma_a_sector_is_written_by_the_fifo(bench: Bench) -> None:
    bench.command(Op.SPECIFY, 0xDF, 0x03)
    for value in (Op.WRITE | MFM, 0, 0, 0, 5, 2, 5, 0x1B, 0xFF):
        bench.out(Reg.FIFO, value)
    bench.pass_time(10**7)
    for n in range(512):
        assert bench.inp(Reg.MSR) == 0xB0
        assert bench.inp(Reg.FIFO) == 0xFF
        bench.out(Reg.FIFO, n & 0xFF)
    bench.pass_time()
    assert bench.result() == [0x40, 0x80, 0, 1, 0, 1, 2]
    assert bench.media[0].sector(4) == bytes(range(256)) * 2


def test_read_track_begins_at_the_index_whatever_the_id_is(bench: Bench) -> None:
    assert bench.transfer(Op.READ_TRACK | MFM, 0, 0, 1, eot=4, count=4 * 512)[:3] == [0, 0, 0]
    assert bench.moved == sectors(0, 4)
    bench.moved.clear()
    assert bench.transfer(Op.READ_TRACK | MFM, 9, 0, 7, eot=2, count=99 * 512)[:3] == [0x40, 0x04, 0]
    assert bench.moved == sectors(0, 2)


def test_read_track_reads_up_to_a_sector_that_fails(bench: Bench) -> None:
    bench.media[0].bad.add(2)
    assert bench.transfer(Op.READ_TRACK | MFM, 0, 0, 1, eot=4, count=4 * 512)[:3] == [0x40, 0x20, 0x20]
    assert bench.moved == sectors(0, 2)
    assert bench.transfer(Op.READ_TRACK | MFM, 0, 0, 1, eot=0, count=512)[:3] == [0, 0, 0]


def test_read_id_returns_one_of_the_ids_that_come_by(bench: Bench) -> None:
    bench.seek(3)
    seen = set()
    for _ in range(200):
        bench.clock.advance(51_000)
        result = bench.command(Op.READ_ID | MFM, 4)
        assert result[:5] == [4, 0, 0, 3, 1]
        seen.add(result[5])
    assert seen == set(range(1, 19))


# -- writing ----------------------------------------------------------------------------------------------


def test_write_data_fills_the_rest_of_the_last_sector_with_zeros(bench: Bench) -> None:
    bench.to_give[:] = b"x" * 700
    assert bench.transfer(Op.WRITE | MFM, 0, 1, 2, count=700) == [4, 0, 0, 0, 1, 4, 2]
    assert bench.media[0].sector(19) == b"x" * 512
    assert bench.media[0].sector(20) == b"x" * 188 + bytes(324)
    assert bench.media[0].sector(21) == sectors(21, 1)


def test_a_write_goes_over_to_the_other_side(bench: Bench) -> None:
    bench.to_give[:] = b"y" * 1024
    assert bench.transfer(Op.WRITE | MFM | MT, 0, 0, 18, count=1024) == [4, 0, 0, 0, 1, 2, 2]
    assert bench.media[0].sector(17) + bench.media[0].sector(18) == b"y" * 1024


def test_a_write_without_terminal_count_ends_with_the_cylinder(bench: Bench) -> None:
    bench.to_give[:] = b"z" * 4096
    assert bench.transfer(Op.WRITE | MFM, 0, 0, 17, count=4096) == [0x40, 0x80, 0, 1, 0, 1, 2]
    assert bench.media[0].sector(17) == b"z" * 512


@pytest.mark.parametrize("op", [Op.WRITE, Op.WRITE_DELETED])
def test_a_protected_diskette_is_not_writable(bench: Bench, op: int) -> None:
    bench.media[0].readonly = True
    bench.to_give[:] = b"x" * 512
    assert bench.transfer(op | MFM, 0, 0, 1, count=512)[:3] == [0x40, 0x02, 0]
    assert bench.command(Op.FORMAT | MFM, 0, 2, 18, 0x54, 0xF6)[:3] == [0x40, 0x02, 0]


def test_a_write_that_the_host_cannot_do_is_an_error(bench: Bench) -> None:
    bench.media[0].bad.add(1)
    bench.to_give[:] = b"x" * 512
    assert bench.transfer(Op.WRITE | MFM, 0, 0, 2, count=512)[:3] == [0x40, 0x20, 0]


def test_a_write_without_data_is_an_overrun(bench: Bench) -> None:
    assert bench.transfer(Op.WRITE | MFM, 0, 0, 1) == []
    bench.pass_time()
    assert bench.result()[:3] == [0x40, 0x10, 0]
    assert bench.media[0].sector(0) == sectors(0, 1)


def test_what_was_written_is_flushed_when_the_motor_stops(bench: Bench) -> None:
    bench.to_give[:] = b"x" * 512
    bench.transfer(Op.WRITE | MFM, 0, 0, 1, count=512)
    bench.out(Reg.DOR, 0x2C)
    bench.out(Reg.DOR, 0x0C)
    bench.pass_time()
    assert bench.media[0].requests == ["DiskWrite", "DiskFlush"]


# -- deleted data marks -----------------------------------------------------------------------------------


def deleted(bench: Bench, *numbers: int) -> None:
    for r in numbers:
        bench.to_give[:] = bytes((r,)) * 512
        bench.transfer(Op.WRITE_DELETED | MFM, 0, 0, r, count=512)
    bench.moved.clear()


def test_a_deleted_mark_ends_read_data_behind_that_sector(bench: Bench) -> None:
    deleted(bench, 3)
    assert bench.transfer(Op.READ | MFM, 0, 0, 2, count=4 * 512) == [0, 0, 0x40, 0, 0, 3, 2]
    assert bench.moved == sectors(1, 1) + b"\3" * 512


def test_skip_leaves_sectors_with_a_deleted_mark_out(bench: Bench) -> None:
    deleted(bench, 3, 4)
    assert bench.transfer(Op.READ | MFM | SK, 0, 0, 2, count=2 * 512) == [0, 0, 0x40, 0, 0, 6, 2]
    assert bench.moved == sectors(1, 1) + sectors(4, 1)


def test_read_deleted_data_wants_the_other_mark(bench: Bench) -> None:
    deleted(bench, 3, 5)
    assert bench.transfer(Op.READ_DELETED | MFM, 0, 0, 3, count=4 * 512) == [0, 0, 0x40, 0, 0, 4, 2]
    assert bench.moved == b"\3" * 512 + sectors(3, 1)
    bench.moved.clear()
    assert bench.transfer(Op.READ_DELETED | MFM | SK, 0, 0, 1, count=1024) == [0, 0, 0x40, 0, 0, 6, 2]
    assert bench.moved == b"\3" * 512 + b"\5" * 512


def test_writing_data_takes_the_deleted_mark_away(bench: Bench) -> None:
    deleted(bench, 3)
    bench.to_give[:] = b"x" * 512
    bench.transfer(Op.WRITE | MFM, 0, 0, 3, count=512)
    assert bench.transfer(Op.READ | MFM, 0, 0, 3, count=512)[:3] == [0, 0, 0]


# -- VERIFY, SCAN, FORMAT ---------------------------------------------------------------------------------


def test_verify_reads_and_moves_nothing(bench: Bench) -> None:
    assert bench.transfer(Op.VERIFY | MFM, 0, 0, 1) == [0, 0, 0, 1, 0, 1, 2]
    assert bench.command(Op.VERIFY | MFM | MT, 0x80, 0, 0, 17, 2, 18, 0x1B, 4) == [4, 0, 0, 0, 1, 3, 2]
    assert bench.moved == b""


def test_verify_fails_if_there_are_fewer_sectors_than_counted(bench: Bench) -> None:
    assert bench.command(Op.VERIFY | MFM, 0x80, 0, 0, 17, 2, 18, 0x1B, 4)[:3] == [0x40, 0x80, 0]
    assert bench.command(Op.VERIFY | MFM, 0x80, 0, 0, 1, 2, 18, 0x1B, 0)[:3] == [0x40, 0x80, 0], "0 is 256"
    bench.media[0].bad.add(5)
    assert bench.transfer(Op.VERIFY | MFM, 0, 0, 1)[:6] == [0x40, 0x20, 0x20, 0, 0, 6]


@pytest.mark.parametrize(
    ("op", "host", "expected"),
    [
        (Op.SCAN_EQUAL, b"\2\0", [0x08, 3]),  # sector 3, LBA 2, is the second that is looked at
        (Op.SCAN_EQUAL, b"\xff\xff", [0x08, 2]),  # FFh equals everything
        (Op.SCAN_EQUAL, b"\xee\0", [0x04, 1]),  # none up to EOT
        (Op.SCAN_LOW, b"\1\0", [0x08, 2]),
        (Op.SCAN_LOW, b"\7\0", [0, 2]),  # the diskette has less
        (Op.SCAN_LOW, b"\0\0", [0x04, 1]),
        (Op.SCAN_HIGH, b"\0\0", [0, 2]),  # the diskette has more
        (Op.SCAN_HIGH, b"\3\0", [0x08, 4]),
        (Op.SCAN_HIGH, b"\xee\0", [0x04, 1]),
    ],
)
def test_scan_compares_sectors_with_the_hosts(bench: Bench, op, host, expected) -> None:
    bench.to_give[:] = host * 256 * 17
    result = bench.transfer(op | MFM, 0, 0, 2, count=17 * 512, last=1)
    assert result[:2] == [0, 0]
    assert [result[2], result[5]] == expected


def test_scan_steps_over_every_other_sector_if_told_so(bench: Bench) -> None:
    bench.to_give[:] = b"\3\0" * 256 * 9
    result = bench.transfer(Op.SCAN_EQUAL | MFM, 0, 0, 2, count=9 * 512, last=2)
    assert (result[2], result[5]) == (0x08, 4)
    bench.to_give[:] = b"\2\0" * 256 * 9
    assert bench.transfer(Op.SCAN_EQUAL | MFM, 0, 0, 2, count=9 * 512, last=2)[2] == 0x04


def test_format_writes_the_filler_to_the_sectors_that_are_named(bench: Bench) -> None:
    bench.seek(2)
    bench.to_give[:] = b"".join(
        bytes((2, 1, r, 2)) for r in (1, 10, 2, 11, 3, 12, 4, 13, 5, 14, 6, 15, 7, 16, 8, 17, 9, 18)
    )
    bench.count = 72
    result = bench.command(Op.FORMAT | MFM, 4, 2, 18, 0x54, 0xF6)
    assert result[:3] == [4, 0, 0]
    assert bytes(bench.media[0].data[5 * 18 * 512 : 6 * 18 * 512]) == b"\xf6" * 18 * 512
    assert bench.media[0].sector(6 * 18) == sectors(6 * 18, 1)


@pytest.mark.parametrize("wrong", [(1, 0, 1, 2), (0, 1, 1, 2), (0, 0, 1, 3), (0, 0, 0, 2), (0, 0, 18, 2)])
def test_format_with_ids_that_an_image_has_no_place_for_fails(bench: Bench, wrong) -> None:
    bench.to_give[:] = bytes((*wrong, 0, 0, 2, 2))
    bench.count = 8
    assert bench.command(Op.FORMAT | MFM, 0, 2, 2, 0x54, 0xF6)[:3] == [0x40, 0x02, 0]
    assert bench.media[0].data == Medium(2880).data


def test_a_write_transfer_that_ends_before_a_byte_has_passed_writes_nothing(bench: Bench) -> None:
    for value in (Op.WRITE | MFM, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF):
        bench.out(Reg.FIFO, value)
    bench.pass_time(10**7)
    bench.fdc.execution.dma_end()
    assert bench.result()[:3] == [0, 0, 0]
    assert bench.media[0].requests == []


def test_format_of_no_sectors_does_nothing(bench: Bench) -> None:
    assert bench.command(Op.FORMAT | MFM, 0, 2, 0, 0x54, 0xF6)[:3] == [0, 0, 0]


# -- what comes between -----------------------------------------------------------------------------------


def begin_read(bench: Bench) -> None:
    """Let a read get as far as the medium."""
    bench.count = 512
    for value in (Op.READ | MFM, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF):
        bench.out(Reg.FIFO, value)
    bench.clock.time = bench.fdc.deadline() or 0
    bench.fdc.tick()
    assert bench.media[0].queue


def test_a_diskette_that_is_taken_out_ends_the_command(bench: Bench) -> None:
    begin_read(bench)
    bay = bench.fdc.bays[0]
    assert bay is not None
    bay.put(None)
    assert bench.result()[:3] == [0x40, 0x01, 0]
    bench.pass_time()
    assert bench.moved == b"", "what the medium answers is too late"


@pytest.mark.parametrize("write", [False, True])
def test_a_reset_gives_the_command_up(bench: Bench, write: bool) -> None:
    if write:
        bench.to_give[:] = b"x" * 512
        bench.count = 512
        for value in (Op.WRITE | MFM, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF):
            bench.out(Reg.FIFO, value)
        bench.clock.time = bench.fdc.deadline() or 0
        bench.fdc.tick()
    else:
        begin_read(bench)
    bench.out(Reg.DOR, 0x18)
    bench.out(Reg.DOR, 0x1C)
    bench.pass_time()
    assert bench.moved == b""
    assert [bench.command(8)[0] for _ in range(5)] == [0xC0, 0xC1, 0xC2, 0xC3, 0x80]


def test_a_controller_that_is_restored_asks_the_medium_again(bench: Bench) -> None:
    begin_read(bench)
    bench.media[0].queue.clear()
    before = bench.fdc
    bench.fdc = Fdc(
        clock=bench.clock,
        irq=before.irq,
        bays=before.bays,
        dma_request=before.dma_request,
        state=before.state,
    )
    bench.pass_time()
    assert bench.result()[:3] == [0, 0, 0]
    assert bench.moved == sectors(0, 1)


def test_a_controller_that_is_restored_without_its_diskette_says_so(bench: Bench) -> None:
    begin_read(bench)
    fdc = Fdc(clock=bench.clock, irq=Line(), bays=(Bay("1.44M"), None), state=bench.fdc.state)
    assert [fdc.read(Reg.FIFO, 1) for _ in range(3)] == [0x40, 0x01, 0]


def test_a_controller_that_is_restored_without_its_diskette_has_nothing_to_flush() -> None:
    state = FdcState(dor=0x1C, drives=[DriveState(unflushed=True), DriveState()])
    fdc = Fdc(clock=ManualClock(), irq=Line(), bays=(Bay("1.44M"), None), state=state)
    fdc.write(Reg.DOR, 1, 0x0C)
    assert not fdc.state.drives[0].unflushed


def test_a_server_that_died_gives_the_command_up_as_an_overrun(bench: Bench) -> None:
    bench.fdc.recover()
    assert bench.inp(Reg.MSR) == 0x80
    begin_read(bench)
    bench.fdc.recover()
    assert bench.result()[:3] == [0x40, 0x10, 0]
    bench.pass_time()
    assert bench.moved == b""


def test_data_in_the_wrong_direction_are_ones(bench: Bench) -> None:
    bench.count = 512  # with nothing to give, the channel reads
    result = bench.transfer(Op.WRITE | MFM, 0, 0, 1, count=512)
    assert result[:3] == [0, 0, 0]
    assert bench.media[0].sector(0) == bench.moved == b"\xff" * 512
    bench.to_give[:] = b"x" * 512
    assert bench.transfer(Op.READ | MFM, 0, 0, 2, count=512) == [0, 0, 0, 0, 0, 3, 2]


def test_a_verify_transfer_of_the_8237_takes_part_in_both_directions(bench: Bench) -> None:
    begin_read(bench)
    bench.count = 0
    bench.pass_time(10**7)
    bench.fdc.execution.dma_skip(512)
    bench.fdc.execution.dma_end()
    assert bench.result()[:3] == [0, 0, 0]
    assert bench.fdc.execution.dma_ready() == 0
    bench.fdc.execution.dma_end()
    assert bench.inp(Reg.MSR) == 0x80


# -- a diskette as its user knows it ----------------------------------------------------------------------


class Diskettes(RuleBasedStateMachine):
    """Whatever is written to two drives, in whatever order and however it is interrupted, is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench([Medium(1440), Medium(2880)], models=("720K", "1.44M"))
        self.rates = (Rate.R250, Rate.R500)
        self.tracks = (9, 18)
        self.expected = [bytearray(medium.data) for medium in self.bench.media]
        self.bench.on()

    def _at(self, unit: int, cylinder: int, head: int, r: int) -> int:
        return ((cylinder * 2 + head) * self.tracks[unit] + r - 1) * 512

    def _go(self, unit: int, cylinder: int) -> None:
        self.bench.out(Reg.DOR, 0x3C | unit)
        self.bench.out(Reg.DIR, self.rates[unit])
        assert self.bench.seek(cylinder, unit) == [0x20 | unit, cylinder]

    places = st.tuples(st.integers(0, 1), st.integers(0, 79), st.integers(0, 1), st.integers(1, 18))

    @rule(place=places, count=st.integers(1, 20), filler=st.integers(0, 255), odd=st.integers(0, 511))
    def write(self, place: tuple[int, int, int, int], count: int, filler: int, odd: int) -> None:
        unit, cylinder, head, r = place
        r = min(r, self.tracks[unit])
        count = min(count, (1 - head) * self.tracks[unit] + self.tracks[unit] - r + 1)
        self._go(unit, cylinder)
        length = count * 512 - odd
        data = bytes((filler + i) & 0xFF for i in range(length))
        self.bench.to_give[:] = data
        result = self.bench.transfer(
            Op.WRITE | MFM | MT, cylinder, head, r, eot=self.tracks[unit], count=length, unit=unit
        )
        assert result[0] & 0xC0 == 0
        at = self._at(unit, cylinder, head, r)
        self.expected[unit][at : at + count * 512] = data.ljust(count * 512, b"\0")

    @rule(place=places, count=st.integers(1, 20))
    def read(self, place: tuple[int, int, int, int], count: int) -> None:
        unit, cylinder, head, r = place
        r = min(r, self.tracks[unit])
        count = min(count, (1 - head) * self.tracks[unit] + self.tracks[unit] - r + 1)
        self._go(unit, cylinder)
        self.bench.moved.clear()
        result = self.bench.transfer(
            Op.READ | MFM | MT, cylinder, head, r, eot=self.tracks[unit], count=count * 512, unit=unit
        )
        assert result[0] & 0xC0 == 0
        at = self._at(unit, cylinder, head, r)
        assert self.bench.moved == self.expected[unit][at : at + count * 512]

    @rule(place=places, filler=st.integers(0, 255))
    def format_track(self, place: tuple[int, int, int, int], filler: int) -> None:
        unit, cylinder, head, _ = place
        self._go(unit, cylinder)
        track = self.tracks[unit]
        self.bench.to_give[:] = b"".join(bytes((cylinder, head, r, 2)) for r in range(1, track + 1))
        self.bench.count = 4 * track
        result = self.bench.command(Op.FORMAT | MFM, head << 2 | unit, 2, track, 0x54, filler)
        assert result[0] & 0xC0 == 0
        at = self._at(unit, cylinder, head, 1)
        self.expected[unit][at : at + track * 512] = bytes((filler,)) * track * 512

    @rule(place=places)
    def read_without_dma(self, place: tuple[int, int, int, int]) -> None:
        unit, cylinder, head, r = place
        r = min(r, self.tracks[unit])
        self._go(unit, cylinder)
        self.bench.command(Op.SPECIFY, 0xDF, 0x03)
        for value in (Op.READ | MFM, head << 2 | unit, cylinder, head, r, 2, r, 0x1B, 0xFF):
            self.bench.out(Reg.FIFO, value)
        self.bench.pass_time(10**7)
        data = bytes(self.bench.inp(Reg.FIFO) for _ in range(512))
        self.bench.pass_time(10**7)
        assert self.bench.result()[1] == 0x80
        self.bench.command(Op.SPECIFY, 0xDF, 0x02)
        at = self._at(unit, cylinder, head, r)
        assert data == self.expected[unit][at : at + 512]

    @rule(unit=st.integers(0, 1))
    def interrupted(self, unit: int) -> None:
        """A read that is begun, a reset, and the controller is as new; the drives are where they were."""
        self._go(unit, 10)
        for value in (Op.READ | MFM, unit, 10, 0, 1, 2, 9, 0x1B, 0xFF):
            self.bench.out(Reg.FIFO, value)
        self.bench.on()
        for drive in range(2):
            self.bench.command(Op.RECALIBRATE, drive)
            assert self.bench.command(Op.SENSE_INTERRUPT) == [0x20 | drive, 0]

    @rule()
    def restored(self) -> None:
        old = self.bench.fdc
        self.bench.fdc = Fdc(
            clock=old.clock,
            irq=old.irq,
            bays=old.bays,
            dma_request=old.dma_request,
            state=copy.deepcopy(old.state),
        )

    @invariant()
    def what_is_on_the_media_is_what_was_written(self) -> None:
        for medium, expected in zip(self.bench.media, self.expected, strict=True):
            assert medium.data == expected


Diskettes.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestDiskettes = Diskettes.TestCase
