"""The 82077AA by its data sheet (290166): registers, interrupts, commands without data, seeks, diskettes in drives."""

import pytest

from devmodel.devices.diskette import Rate
from devmodel.devices.fdc import RESET_NS
from devmodel.devices.fdc_registers import Op, Reg
from tests.devmodel.devices.fdc_bench import MFM, MT, Bench, Medium, sectors


@pytest.fixture
def bench() -> Bench:
    bench = Bench([Medium(2880), Medium(2880)])
    bench.on()
    return bench


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
