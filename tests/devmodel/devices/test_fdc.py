"""The 82077AA by its data sheet (290166), on a bench with drives, the 8237's channel and a clock in the hand."""

import copy
from collections import deque
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devmodel.board.clock import ManualClock
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.board.lines import Line
from devmodel.devices.diskette import Bay, Rate
from devmodel.devices.fdc import RESET_NS, Fdc
from devmodel.devices.fdc_execution import PATIENCE_NS
from devmodel.devices.fdc_registers import Op, Reg
from devmodel.devices.fdc_state import DriveState, FdcState

MT, MFM, SK = 0x80, 0x40, 0x20
FAST = 10**9


@attrs.define
class Medium:
    """An image whose requests are done when `work` is called, and may be made to fail."""

    sectors: int
    readonly: bool = False
    data: bytearray = attrs.field(init=False)
    queue: deque[Any] = attrs.field(factory=deque)
    bad: set[int] = attrs.field(factory=set)
    requests: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.data = bytearray(b"".join(bytes((lba & 0xFF, lba >> 8)) * 256 for lba in range(self.sectors)))

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        self.queue.append(request)

    def work(self) -> None:
        while self.queue:
            request = self.queue.popleft()
            self.requests.append(type(request).__name__)
            match request:
                case DiskRead(lba, count, done):
                    failed = any(lba <= bad < lba + count for bad in self.bad)
                    done(None if failed else bytes(self.data[lba * 512 : (lba + count) * 512]))
                case DiskWrite(lba, data, done):
                    failed = any(lba <= bad < lba + len(data) // 512 for bad in self.bad)
                    if not failed:
                        self.data[lba * 512 : lba * 512 + len(data)] = data
                    done(not failed)
                case DiskFlush(done):
                    done(True)

    def sector(self, lba: int) -> bytes:
        return bytes(self.data[lba * 512 : (lba + 1) * 512])


@attrs.define
class Bench:
    """A controller in a PC, whose 8237 channel moves `count` bytes and then says that this is the end."""

    media: list[Medium]
    models: tuple[str, ...] = ("1.44M", "1.44M")
    clock: ManualClock = attrs.field(factory=ManualClock)
    edges: list[bool] = attrs.field(factory=list)
    moved: bytearray = attrs.field(factory=bytearray)
    to_give: bytearray = attrs.field(factory=bytearray)
    count: int = 0  # bytes to terminal count; 0: the channel is masked
    ended: bool = False
    fdc: Fdc = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        bays = [Bay(model, medium) for model, medium in zip(self.models, self.media, strict=False)]
        self.fdc = Fdc(
            clock=self.clock,
            irq=Line([self.edges.append]),
            bays=(*bays, None, None)[:2],
            dma_request=lambda level: self._serve() if level else None,
        )

    def _serve(self) -> None:
        """Move what the controller has or takes; an empty `to_give` means that it has something for us."""
        while self.count and (ready := self.fdc.execution.dma_ready()):
            length = min(ready, self.count)
            self.count -= length
            if self.to_give:
                data = bytes(self.to_give[:length])
                del self.to_give[:length]
                self.fdc.execution.dma_write(data)
            else:
                self.moved += self.fdc.execution.dma_read(length)
            if not self.count:
                self.fdc.execution.dma_end()

    # verbs

    def out(self, offset: int, value: int) -> None:
        self.fdc.write(offset, 1, value)

    def inp(self, offset: int) -> int:
        return self.fdc.read(offset, 1)

    def on(self, *, units: tuple[int, ...] = (0, 1), rate: int = Rate.R500) -> None:
        """Switch the motors on, and get the controller out of reset."""
        self.out(Reg.DOR, 0)
        self.out(Reg.DOR, 0x0C | sum(0x10 << unit for unit in units) | units[0])
        self.pass_time()
        for _ in range(4):
            self.command(8)
        self.out(Reg.DIR, rate)
        self.command(3, 0xDF, 0x02)
        self.edges.clear()

    def pass_time(self, ns: int = FAST) -> None:
        """Let media and clock go on until nothing more happens within `ns`."""
        end = self.clock.time + ns
        for _ in range(1000):
            for medium in self.media:
                medium.work()
            deadline = self.fdc.deadline()
            if deadline is None or deadline > end:
                break
            self.clock.time = max(self.clock.time, deadline)
            self.fdc.tick()
        self.clock.time = end

    def command(self, *values: int) -> list[int]:
        """Give a command, let it be executed, and return its result."""
        for value in values:
            assert self.inp(Reg.MSR) & 0xC0 == 0x80
            self.out(Reg.FIFO, value)
        self.pass_time(PATIENCE_NS // 2)
        return self.result()

    def result(self) -> list[int]:
        result = []
        while self.inp(Reg.MSR) & 0xD0 == 0xD0:
            result.append(self.inp(Reg.FIFO))
        return result

    def transfer(self, op: int, c: int, h: int, r: int, *, eot: int = 18, count: int = 0, head: int | None = None,
                 unit: int = 0, n: int = 2, last: int = 0xFF) -> list[int]:  # fmt: skip
        self.count = count
        return self.command(op, (h if head is None else head) << 2 | unit, c, h, r, n, eot, 0x1B, last)

    def seek(self, cylinder: int, unit: int = 0) -> list[int]:
        self.command(Op.SEEK, unit, cylinder)
        return self.command(Op.SENSE_INTERRUPT)


@pytest.fixture
def bench() -> Bench:
    bench = Bench([Medium(2880), Medium(2880)])
    bench.on()
    return bench


def sectors(first: int, count: int) -> bytes:
    return bytes(Medium(2880).data[first * 512 : (first + count) * 512])


# -- reset, registers, interrupts ------------------------------------------------------------------------


def test_a_reset_is_held_by_dor_and_ends_with_four_interrupts_of_the_poll() -> None:
    bench = Bench([Medium(2880)])
    assert bench.inp(Reg.MSR) == 0
    bench.out(Reg.FIFO, 8)  # is lost
    bench.out(Reg.DOR, 0x0C)
    assert bench.inp(Reg.MSR) == 0, "not ready yet"
    bench.pass_time(RESET_NS)
    assert (bench.inp(Reg.MSR), bench.edges) == (0x80, [])
    bench.pass_time(RESET_NS)
    assert bench.edges == [True]
    assert [bench.command(8) for _ in range(5)] == [[0xC0, 0], [0xC1, 0], [0xC2, 0], [0xC3, 0], [0x80]]
    assert bench.edges == [True, False]


def test_a_reset_by_dsr_clears_itself() -> None:
    bench = Bench([Medium(2880)])
    bench.on()
    bench.out(Reg.MSR, 0x80 | Rate.R250)
    assert bench.inp(Reg.MSR) == 0
    bench.pass_time()
    assert bench.inp(Reg.MSR) == 0x80
    assert bench.fdc.state.rate == Rate.R250
    assert bench.command(8) == [0xC0, 0]


def test_polling_is_not_locked_so_that_every_reset_enables_it(bench: Bench) -> None:
    bench.command(Op.CONFIGURE, 0, 0x10, 0)
    bench.command(Op.LOCK | 0x80)
    bench.out(Reg.DOR, 0x18)
    bench.out(Reg.DOR, 0x1C)
    bench.pass_time()
    assert bench.edges == [True]


def test_a_configure_right_behind_a_reset_forbids_the_poll() -> None:
    bench = Bench([Medium(2880)])
    bench.out(Reg.DOR, 0x0C)
    bench.pass_time(RESET_NS)
    for value in (Op.CONFIGURE, 0, 0x10, 0):
        bench.out(Reg.FIFO, value)
    bench.pass_time()
    assert bench.edges == []
    assert bench.command(8) == [0x80]


@pytest.mark.parametrize("command", [(Op.SENSE_INTERRUPT,), (Op.READ_ID | MFM, 0)])
def test_a_command_that_is_quicker_than_the_poll_finds_it_done(command: tuple[int, ...]) -> None:
    bench = Bench([Medium(2880)])
    bench.out(Reg.DOR, 0x1C)
    bench.pass_time(RESET_NS)
    for value in command:
        bench.out(Reg.FIFO, value)
    bench.pass_time()
    bench.result()
    left = [bench.command(8) for _ in range(4)]
    assert left[-2:] == ([[0xC3, 0], [0x80]] if len(command) == 1 else [[0xC2, 0], [0xC3, 0]])


def test_the_gate_in_dor_keeps_the_interrupt_from_its_pin(bench: Bench) -> None:
    bench.out(Reg.DOR, 0x14)
    bench.command(Op.SEEK, 0, 5)
    assert bench.edges == []
    bench.out(Reg.DOR, 0x1C)
    assert bench.edges == [True]


def test_dor_and_tape_register_read_back_and_the_rest_is_not_driven(bench: Bench) -> None:
    bench.out(Reg.DOR, 0x1D)
    bench.out(Reg.TDR, 0x02)
    assert [bench.inp(offset) for offset in (0, 1, Reg.DOR, Reg.TDR, 6)] == [0xFF, 0xFF, 0x1D, 0xFE, 0xFF]
    bench.out(0, 5)


def test_invalid_commands_answer_80h(bench: Bench) -> None:
    for first in (0x00, 0x01, 0x15, 0x18, 0x1F, 0x2F, 0x88, 0xFF, 0x0B, 0x4B):
        assert bench.command(first) == [0x80], hex(first)
    assert bench.edges == []


def test_sense_interrupt_without_one_is_invalid(bench: Bench) -> None:
    assert bench.command(Op.SENSE_INTERRUPT) == [0x80]


def test_the_result_phase_holds_the_fifo_and_its_first_byte_ends_the_interrupt(bench: Bench) -> None:
    for value in (Op.READ_ID | MFM, 0):
        bench.out(Reg.FIFO, value)
    assert bench.inp(Reg.MSR) == 0x10
    bench.pass_time()
    assert (bench.inp(Reg.MSR), bench.edges) == (0xD0, [True])
    bench.out(Reg.FIFO, 0x08)  # is lost
    bench.inp(Reg.FIFO)
    assert bench.edges == [True, False]
    assert len(bench.result()) == 6
    assert bench.inp(Reg.MSR) == 0x80
    assert bench.inp(Reg.FIFO) == 0xFF


# -- commands without the diskette ------------------------------------------------------------------------


def test_version_is_90h(bench: Bench) -> None:
    assert bench.command(Op.VERSION) == [0x90]


def test_dumpreg_shows_what_was_programmed(bench: Bench) -> None:
    bench.seek(7, unit=1)
    bench.command(Op.SPECIFY, 0xAF, 0x12)
    bench.command(Op.CONFIGURE, 0, 0x57, 0x23)
    bench.command(Op.PERPENDICULAR, 0x80 | 0x0C | 0x03)
    bench.command(Op.LOCK | 0x80)
    bench.transfer(Op.READ | MFM, 0, 0, 1, eot=9, count=512)
    assert bench.command(Op.DUMP) == [0, 7, 0, 0, 0xAF, 0x12, 9, 0x80 | 0x0F, 0x57, 0x23]


def test_perpendicular_changes_its_drives_only_if_overwrite_says_so(bench: Bench) -> None:
    bench.command(Op.PERPENDICULAR, 0x80 | 0x14)
    bench.command(Op.PERPENDICULAR, 0x2A)
    assert bench.command(Op.DUMP)[7] == 0x16
    bench.out(Reg.MSR, 0x80)
    bench.pass_time()
    for _ in range(4):
        bench.command(8)
    assert bench.command(Op.DUMP)[7] == 0x14, "a software reset clears GAP and WGATE only"


@pytest.mark.parametrize(("locked", "expected"), [(False, [0x20, 0]), (True, [0x05, 0x23])])
def test_lock_keeps_fifo_and_precompensation_over_a_software_reset(locked: bool, expected: list[int]) -> None:
    bench = Bench([Medium(2880)])
    bench.on()
    bench.command(Op.CONFIGURE, 0, 0x45, 0x23)
    assert bench.command(Op.LOCK | (0x80 if locked else 0)) == [0x10 if locked else 0]
    bench.out(Reg.MSR, 0x80)
    bench.pass_time()
    for _ in range(4):
        bench.command(8)
    assert bench.command(Op.DUMP)[8:] == expected, "implied seek is not locked"
    bench.fdc.reset()
    bench.on()
    assert bench.command(Op.DUMP)[7:] == [0, 0x20, 0]


def test_sense_drive_status_tells_of_track_0_head_and_protection(bench: Bench) -> None:
    assert bench.command(Op.SENSE_DRIVE, 0x04) == [0x28 | 0x10 | 0x04]
    bench.seek(3, unit=1)
    bench.media[1].readonly = True
    assert bench.command(Op.SENSE_DRIVE, 0x01) == [0x28 | 0x40 | 0x01]
    assert bench.command(Op.SENSE_DRIVE, 0x02) == [0x2A], "no such drive"


# -- seeks ------------------------------------------------------------------------------------------------


def test_a_seek_takes_time_and_ends_with_an_interrupt(bench: Bench) -> None:
    for value in (Op.SEEK, 0x05, 40):
        bench.out(Reg.FIFO, value)
    assert (bench.inp(Reg.MSR), bench.edges) == (0x82, [])
    bench.pass_time()
    assert (bench.inp(Reg.MSR), bench.edges) == (0x80, [True])
    assert bench.command(Op.SENSE_INTERRUPT) == [0x25, 40]
    assert bench.edges == [True, False]
    assert bench.command(Op.READ_ID | MFM, 1)[3] == 40


def test_seeks_overlap_and_each_is_told_of(bench: Bench) -> None:
    for value in (Op.SEEK, 0, 40, Op.SEEK, 1, 20):
        bench.out(Reg.FIFO, value)
    assert bench.inp(Reg.MSR) == 0x83
    bench.pass_time()
    assert [bench.command(8) for _ in range(3)] == [[0x21, 20], [0x20, 40], [0x80]]
    assert bench.edges == [True, False, True, False, True, False]


def test_recalibrate_finds_track_0_within_79_steps(bench: Bench) -> None:
    bench.seek(79)
    bench.command(Op.RECALIBRATE, 0)
    assert bench.command(8) == [0x20, 0]
    bench.command(Op.SEEK, 0, 82)
    bench.command(8)
    bench.command(Op.RECALIBRATE, 0)
    assert bench.command(8) == [0x70, 0], "track 0 is further than 79 steps: equipment check"
    bench.command(Op.RECALIBRATE, 0)
    assert bench.command(8) == [0x20, 0]


@pytest.mark.parametrize("unit", [1, 2, 3])
def test_recalibrate_of_a_drive_that_is_not_there_is_an_equipment_check(unit: int) -> None:
    bench = Bench([Medium(2880)])
    bench.on(units=(0,))
    bench.command(Op.RECALIBRATE, unit)
    assert bench.command(8) == [0x70 | unit, 0]
    assert bench.command(Op.READ_ID | MFM, unit)[:3] == [0x40 | unit, 1, 0]


def test_relative_seek_steps_inwards_and_outwards(bench: Bench) -> None:
    bench.command(0xCF, 0, 10)
    assert bench.command(8) == [0x20, 10]
    bench.command(0x8F, 0, 4)
    assert bench.command(8) == [0x20, 6]
    assert bench.command(Op.READ_ID | MFM, 0)[3] == 6


def test_a_seek_stops_at_the_ends_and_the_controller_does_not_know(bench: Bench) -> None:
    assert bench.seek(200) == [0x20, 200]
    assert bench.seek(199) == [0x20, 199]
    assert bench.fdc.state.drives[0].cylinder == 82


def test_implied_seek_goes_where_the_command_says(bench: Bench) -> None:
    bench.command(Op.CONFIGURE, 0, 0x40, 0)
    result = bench.transfer(Op.READ | MFM, 5, 1, 3, count=512)
    assert result == [0x24, 0, 0, 5, 1, 4, 2]
    assert bench.moved == sectors((5 * 2 + 1) * 18 + 2, 1)
    assert bench.command(Op.DUMP)[0] == 5


# -- the diskette in the drive ----------------------------------------------------------------------------


def test_the_change_line_is_high_until_a_step_with_a_diskette_in(bench: Bench) -> None:
    bench.out(Reg.DOR, 0x1C)
    assert bench.inp(Reg.DIR) == 0xFF
    bench.seek(1)
    assert bench.inp(Reg.DIR) == 0x7F
    bay = bench.fdc.bays[0]
    assert bay is not None
    bay.put(None)
    bench.seek(2)
    assert bench.inp(Reg.DIR) == 0xFF
    bay.put(Medium(1440))
    assert bench.inp(Reg.DIR) == 0xFF
    bench.command(Op.RECALIBRATE, 0)
    assert bench.inp(Reg.DIR) == 0x7F
    bench.out(Reg.DOR, 0x0C)
    assert bench.inp(Reg.DIR) == 0x7F, "a drive whose motor is off is not selected"
    bench.out(Reg.DOR, 0x3D)
    assert bench.inp(Reg.DIR) == 0xFF, "the other drive's is another line"


@pytest.mark.parametrize(
    ("model", "size", "rate"),
    [
        ("360K", 720, Rate.R250), ("1.2M", 720, Rate.R300), ("1.2M", 2400, Rate.R500), ("720K", 1440, Rate.R250),
        ("1.44M", 1440, Rate.R250), ("1.44M", 2880, Rate.R500), ("2.88M", 5760, Rate.R1000), ("360K", 320, Rate.R250),
        ("2.88M", 2880, Rate.R500),
    ],
)  # fmt: skip
def test_a_diskette_is_read_at_its_own_data_rate_only(model: str, size: int, rate: int) -> None:
    for tried in range(4):
        bench = Bench([Medium(size)], models=(model,))
        bench.on(rate=tried, units=(0,))
        result = bench.command(Op.READ_ID | MFM, 0)
        assert result[:3] == ([0, 0, 0] if tried == rate else [0x40, 0x01, 0]), "no address mark"


def test_a_drive_of_80_cylinders_steps_twice_for_one_of_a_diskette_of_40() -> None:
    bench = Bench([Medium(720)], models=("1.2M",))
    bench.on(rate=Rate.R300, units=(0,))
    bench.seek(20)
    assert bench.command(Op.READ_ID | MFM, 0)[3] == 10


def test_nothing_is_read_from_an_empty_drive_or_one_whose_motor_stands(bench: Bench) -> None:
    bench.out(Reg.DOR, 0x2C)
    assert bench.transfer(Op.READ | MFM, 0, 0, 1, count=512)[:3] == [0x40, 0x01, 0]
    bench.out(Reg.DOR, 0x1C)
    bay = bench.fdc.bays[0]
    assert bay is not None
    bay.put(None)
    assert bench.transfer(Op.READ | MFM, 0, 0, 1, count=512)[:3] == [0x40, 0x01, 0]


def test_fm_finds_no_address_mark_on_an_mfm_diskette(bench: Bench) -> None:
    assert bench.transfer(Op.READ, 0, 0, 1, count=512)[:3] == [0x40, 0x01, 0]


def test_a_cylinder_or_head_that_the_diskette_lacks_has_no_address_marks(bench: Bench) -> None:
    bench.seek(81)
    assert bench.command(Op.READ_ID | MFM, 0)[:3] == [0x40, 0x01, 0]
    single = Bench([Medium(360)], models=("360K",))
    single.on(rate=Rate.R250, units=(0,))
    assert single.command(Op.READ_ID | MFM, 4)[:3] == [0x44, 0x01, 0]
    result = single.transfer(Op.READ | MFM | MT, 0, 0, 9, eot=9, count=1024)
    assert result[:3] == [0x44, 0x01, 0], "there is no second side to go on with"


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
