"""The mouse behind the controller: its modes and its reports (PS/2 Hardware Interface TR, Mouse)."""

import pytest

from devmodel.devices.kbc import FRAME
from tests.devmodel.devices.kbc_bench import Bench, mouse


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def streaming(bench: Bench) -> Bench:
    bench.command(0x60, 0x03)
    assert mouse(bench, 0xFF) == [0xFA, 0xAA, 0x00]
    assert mouse(bench, 0xF4) == [0xFA]
    return bench


def test_a_byte_of_the_mouse_is_told_by_status_bit_5_and_by_irq_12(bench: Bench) -> None:
    bench.command(0x60, 0x03)
    bench.command(0xD4, 0xF2)
    bench.clock.advance(FRAME)
    bench.kbc.tick()
    assert bench.status() & 0x21 == 0x21
    assert (bench.line.level, bench.aux_line.level) == (False, True)
    bench.command(0xD0)  # overwrites it
    assert bench.answers()[0] & 0x30 == 0x20
    bench.command(0x60, 0x01)
    bench.command(0xD3, 0x5A)
    assert (bench.status() & 0x21, bench.aux_line.level) == (0x21, False)
    assert bench.answers()[0] == 0x5A


def test_a_mouse_whose_port_is_off_waits(streaming: Bench) -> None:
    streaming.command(0xA7)
    streaming.kbc.mouse.move(1, 2)
    assert streaming.answers() == []
    streaming.command(0xA8)
    assert streaming.answers() == [0x28, 0x01, 0xFE]


def test_a_report_has_buttons_signs_and_counts(streaming: Bench) -> None:
    streaming.kbc.mouse.move(-3, -4)
    assert streaming.answers() == [0x18, 0xFD, 0x04]
    streaming.kbc.mouse.press("right")
    streaming.kbc.mouse.press("middle")
    assert streaming.answers() == [0x0E, 0, 0], "both in a sampling period are one report"
    streaming.kbc.mouse.release("right")
    streaming.kbc.mouse.press("side")  # which no driver has asked for
    assert streaming.answers() == [0x0C, 0, 0]


def test_a_long_move_is_several_reports(streaming: Bench) -> None:
    streaming.kbc.mouse.move(600, 0)
    assert streaming.answers() == [0x08, 255, 0, 0x08, 255, 0, 0x08, 90, 0]


def test_there_is_a_report_a_sampling_period_at_most(streaming: Bench) -> None:
    assert mouse(streaming, 0xF3, 20) == [0xFA, 0xFA]
    mouse(streaming, 0xF4)
    streaming.kbc.mouse.move(255 * 3, 0)
    begin = streaming.clock.time
    assert streaming.answers() == [0x08, 255, 0] * 3
    assert streaming.clock.time - begin >= 2 * 50_000_000


def test_nothing_is_reported_until_that_is_enabled(bench: Bench) -> None:
    mouse(bench, 0xFF)
    bench.kbc.mouse.move(5, 5)
    assert bench.answers() == []
    assert not bench.kbc.mouse.listened_to
    assert mouse(bench, 0xF4) == [0xFA], "counts begin anew"
    assert bench.kbc.mouse.quiet
    assert mouse(bench, 0xF5) == [0xFA]
    bench.kbc.mouse.move(5, 5)
    assert bench.answers() == []


def test_remote_mode_reports_when_asked(streaming: Bench) -> None:
    assert mouse(streaming, 0xF0) == [0xFA]
    streaming.kbc.mouse.move(2, 0)
    assert streaming.answers() == []
    assert mouse(streaming, 0xEB) == [0xFA, 0x08, 2, 0]
    assert mouse(streaming, 0xEB) == [0xFA, 0x08, 0, 0]
    assert mouse(streaming, 0xEA) == [0xFA]
    streaming.kbc.mouse.move(3, 0)
    assert streaming.answers() == [0x08, 3, 0]


def test_wrap_mode_echoes_all_but_its_end_and_reset(streaming: Bench) -> None:
    assert mouse(streaming, 0xEE, 0xF4, 0x12, 0xE9) == [0xFA, 0xF4, 0x12, 0xE9]
    assert mouse(streaming, 0xEC) == [0xFA]
    assert mouse(streaming, 0xEE, 0xFF) == [0xFA, 0xFA, 0xAA, 0x00]
    assert mouse(streaming, 0xF2) == [0xFA, 0x00]


def test_status_tells_modes_buttons_resolution_and_rate(streaming: Bench) -> None:
    assert mouse(streaming, 0xE9) == [0xFA, 0x20, 2, 100]
    streaming.kbc.mouse.press("left")
    streaming.answers()
    assert mouse(streaming, 0xE7, 0xE8, 3, 0xF3, 200, 0xF0)[:6] == [0xFA] * 6
    assert mouse(streaming, 0xE9) == [0xFA, 0x74, 3, 200]
    assert mouse(streaming, 0xF6, 0xE9) == [0xFA, 0xFA, 0x04, 2, 100]


def test_scaling_of_two_to_one_is_for_streams(streaming: Bench) -> None:
    mouse(streaming, 0xE7)
    for count, scaled in ((1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (100, 200), (200, 255), (-4, -6)):
        streaming.kbc.mouse.move(count, 0)
        assert streaming.answers()[1] == scaled & 0xFF, count
    mouse(streaming, 0xF0)
    streaming.kbc.mouse.move(4, 0)
    assert mouse(streaming, 0xEB)[2] == 4
    mouse(streaming, 0xEA, 0xE6)
    streaming.kbc.mouse.move(4, 0)
    assert streaming.answers()[1] == 4


def test_invalid_bytes_are_to_be_sent_again_and_twice_are_an_error(streaming: Bench) -> None:
    assert mouse(streaming, 0x12, 0x12, 0x12, 0xF4, 0x12) == [0xFE, 0xFC, 0xFE, 0xFA, 0xFE]
    assert mouse(streaming, 0xF4, 0xF3, 7, 80, 0xE9) == [0xFA, 0xFA, 0xFE, 0xFA, 0xFA, 0x20, 2, 80]
    assert mouse(streaming, 0xE8, 4, 4, 0xE9) == [0xFA, 0xFE, 0xFC, 0xFA, 0x20, 2, 80]


def test_what_was_sent_last_is_sent_again(streaming: Bench) -> None:
    streaming.kbc.mouse.move(1, -2)
    report = streaming.answers()
    assert mouse(streaming, 0xFE) == report
    assert mouse(streaming, 0xFE) == report
    assert mouse(streaming, 0xE9, 0xFE) == [0xFA, 0x20, 2, 100] * 2


@pytest.mark.parametrize(
    ("rates", "identity", "report"),
    [
        ((200, 100, 80), 3, [0x08, 1, 0, 0xFE]),
        ((200, 200, 80), 4, [0x08, 1, 0, 0x1E]),
        ((200, 80, 100), 0, [0x08, 1, 0]),
    ],
)
def test_sample_rates_knock_for_the_wheel_and_for_five_buttons(
    streaming: Bench, rates, identity, report
) -> None:
    for rate in rates:
        mouse(streaming, 0xF3, rate)
    assert mouse(streaming, 0xF2) == [0xFA, identity]
    mouse(streaming, 0xF4)
    streaming.kbc.mouse.press("side")
    if identity == 4:
        assert streaming.answers() == [0x08, 0, 0, 0x10]
    streaming.kbc.mouse.move(1, 0, -2)
    assert streaming.answers() == report
    assert mouse(streaming, 0xFF, 0xF2)[-1] == 0, "a reset makes a plain mouse of it"


def test_many_clicks_of_the_wheel_are_several_reports(streaming: Bench) -> None:
    for rate in (200, 100, 80):
        mouse(streaming, 0xF3, rate)
    streaming.kbc.mouse.move(0, 0, 10)
    assert streaming.answers() == [0x08, 0, 0, 7, 0x08, 0, 0, 3]


def test_a_command_takes_back_what_was_not_read(streaming: Bench) -> None:
    streaming.kbc.mouse.move(1, 1)
    streaming.command(0xD4, 0xE9)
    assert streaming.answers() == [0xFA, 0x20, 2, 100]


def test_an_unknown_button_is_a_mistake_of_the_user(bench: Bench) -> None:
    with pytest.raises(ValueError, match="no button 'nose'; the names are left, right, middle, side, extra"):
        bench.kbc.mouse.press("nose")


def test_moves_that_nobody_fetches_are_bounded(bench: Bench) -> None:
    for _ in range(200):
        bench.kbc.mouse.move(10000, -10000, 10000)
    state = bench.kbc.mouse.state
    assert (state.x, state.y, state.wheel) == (1 << 20, 1 << 20, 1 << 20)
