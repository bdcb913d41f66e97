"""High precision event timers, by the sections of the IA-PC HPET specification 1.0a; and on the board."""

import attrs
import pytest

from devmodel import ConfigError
from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.board.outside import Fittings
from devmodel.board.parts import ALL
from devmodel.board.pc import Board
from devmodel.devices.hpet import Hpet, HpetState
from devmodel.testing import QtestClient
from tests.devmodel.recording_core import Core

CONFIG, STATUS, COUNTER = 0x10, 0x20, 0xF0
LEVEL, INTERRUPT, PERIODIC, SET_VALUE, MODE_32 = 0x02, 0x04, 0x08, 0x40, 0x100
ROUTE_10 = 10 << 9


def timer(number: int) -> tuple[int, int]:
    """Return where a timer has its configuration and its comparator."""
    return 0x100 + 0x20 * number, 0x108 + 0x20 * number


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    edges: list[tuple[int, bool]] = attrs.field(factory=list)
    replaced: bool = False
    hpet: Hpet = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        lines = [
            Line([lambda level, n=n: self.edges.append((n, level))])  # type: ignore[misc]
            for n in range(16)
        ]
        self.hpet = Hpet(clock=self.clock, irqs=lines, legacy=self.replace)

    def replace(self, replaced: bool) -> None:
        self.replaced = replaced

    def advance(self, ns: int) -> None:
        end = self.clock.time + ns
        while (due := self.hpet.deadline()) is not None and due <= end:
            assert due > self.clock.time
            self.clock.time = due
            self.hpet.tick()
        self.clock.time = end

    def start(self, number: int, config: int, comparator: int, *, general: int = 1) -> None:
        at, compared = timer(number)
        self.hpet.write(at, 8, config)
        self.hpet.write(compared, 8, comparator)
        self.hpet.write(CONFIG, 8, general)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_capabilities_say_100_mhz_64_bits_three_timers_and_legacy_replacement(bench: Bench) -> None:
    """2.3.4: period in fs, vendor, LEG_RT_CAP, COUNT_SIZE_CAP, NUM_TIM_CAP is the last timer's number, revision."""
    assert bench.hpet.read(0, 8) == 100_000_000 << 32 | 0x8086_A201
    assert bench.hpet.read(4, 4) == 100_000_000
    assert bench.hpet.read(timer(0)[0], 8) == 0x0C20 << 32 | 0x30  # INT_ROUTE_CAP, SIZE_CAP, PER_INT_CAP
    assert bench.hpet.read(0x160, 4) == 0


def test_the_counter_counts_while_enabled_and_is_written_while_halted(bench: Bench) -> None:
    """2.3.7."""
    bench.hpet.write(COUNTER, 8, 0x1_FFFF_FFF0)
    bench.clock.advance(10_000)
    assert bench.hpet.read(COUNTER, 8) == 0x1_FFFF_FFF0
    bench.hpet.write(CONFIG, 4, 1)
    bench.clock.advance(1600)
    assert bench.hpet.read(COUNTER, 8) == 0x2_0000_0000
    assert bench.hpet.read(COUNTER + 4, 4) == 2
    bench.hpet.write(COUNTER, 8, 5)  # dropped: it runs
    bench.hpet.write(CONFIG, 4, 0)
    bench.clock.advance(10_000)
    assert bench.hpet.read(COUNTER, 8) == 0x2_0000_0000
    bench.hpet.write(COUNTER + 4, 4, 0)
    assert bench.hpet.read(COUNTER, 8) == 0


def test_a_timer_interrupts_once_by_an_edge_at_its_comparator_and_not_before(bench: Bench) -> None:
    bench.start(0, INTERRUPT | ROUTE_10, 100)
    bench.advance(9999)
    assert bench.edges == []
    bench.advance(1)
    assert bench.edges == [(10, True)]
    assert bench.hpet.read(STATUS, 8) == 0  # 2.3.6: of an edge there is no status
    bench.advance(10**9)
    assert bench.edges == [(10, True)]
    bench.hpet.write(timer(0)[1], 8, 10**9)
    assert bench.edges == [(10, True), (10, False)]


def test_a_level_stays_until_its_status_is_cleared_by_a_one(bench: Bench) -> None:
    """2.3.6."""
    bench.start(2, LEVEL | INTERRUPT | ROUTE_10, 100)
    bench.advance(10_000)
    assert bench.hpet.read(STATUS, 4) == 4
    bench.hpet.write(STATUS, 4, 3)
    assert bench.edges == [(10, True)]
    bench.hpet.write(STATUS, 4, 4)
    assert bench.edges == [(10, True), (10, False)]


def test_without_int_enb_there_is_a_status_and_no_interrupt(bench: Bench) -> None:
    """2.3.8: the timer operates and sets its status bit."""
    bench.start(1, LEVEL | ROUTE_10, 100)
    assert bench.hpet.deadline() is None
    bench.advance(10_000)
    assert bench.hpet.read(STATUS, 8) == 2
    assert bench.edges == []


def test_a_periodic_timer_adds_its_period_at_each_match(bench: Bench) -> None:
    """2.3.9.2.2: with VAL_SET the comparator is written, then the period."""
    at, compared = timer(0)
    bench.hpet.write(at, 4, INTERRUPT | PERIODIC | SET_VALUE | ROUTE_10)
    bench.hpet.write(compared, 8, 100)
    assert bench.hpet.read(at, 4) & SET_VALUE == 0
    bench.hpet.write(compared, 8, 50)
    bench.hpet.write(CONFIG, 4, 1)
    bench.advance(10_000)
    assert bench.hpet.read(compared, 8) == 150
    bench.advance(10_000)
    assert bench.edges == [(10, True), (10, False), (10, True), (10, False), (10, True)]
    bench.clock.advance(10**9)  # a server that was away for a second
    bench.hpet.tick()
    assert bench.edges[5:] == [(10, False), (10, True)]
    assert bench.hpet.read(compared, 8) > bench.hpet.read(COUNTER, 8)


def test_with_32_bits_it_matches_each_time_that_the_low_half_does(bench: Bench) -> None:
    """2.3.9.2.1."""
    bench.start(0, INTERRUPT | MODE_32 | ROUTE_10, 0x5_0000_0064)
    assert bench.hpet.read(timer(0)[1], 8) == 100
    bench.advance(10_000)
    bench.advance((1 << 32) * 100)
    assert bench.edges == [(10, True), (10, False), (10, True)]


def test_an_edge_without_int_enb_is_nothing_though_it_matches_again(bench: Bench) -> None:
    """2.3.8: INT_ENB is 0, and of an edge there is no status."""
    bench.start(0, PERIODIC | SET_VALUE | ROUTE_10, 100)
    bench.clock.advance(100_000)
    assert bench.hpet.read(STATUS, 8) == 0
    bench.hpet.write(timer(0)[0], 4, INTERRUPT | PERIODIC | ROUTE_10)
    assert bench.edges == []


def test_what_was_saved_without_a_period_goes_on_with_the_ticks_of_then(bench: Bench) -> None:
    """A guest asks for the period when it starts, and an upgrade must not change it: it was 10 ns."""
    hpet = Hpet(clock=bench.clock, irqs=bench.hpet.irqs, legacy=bench.replace, state=HpetState(config=1))
    bench.clock.advance(1000)
    assert hpet.read(4, 4) == 10_000_000
    assert hpet.read(COUNTER, 8) == 100
    hpet.reset()
    assert hpet.read(4, 4) == 100_000_000


def test_a_route_that_is_not_offered_leads_nowhere(bench: Bench) -> None:
    bench.start(0, INTERRUPT | 4 << 9, 100)
    bench.advance(20_000)
    assert bench.edges == []


def test_a_route_that_is_not_offered_does_not_read_back(bench: Bench) -> None:
    """2.3.8: of Tn_INT_ROUTE_CNF "the value read back will not match what is written"."""
    at, _ = timer(1)
    assert bench.hpet.read(at, 8) >> 32 == 1 << 5 | 1 << 10 | 1 << 11
    for wanted, kept in ((10, 10), (4, 10), (31, 10), (11, 11), (12, 11), (0, 11), (5, 5)):
        bench.hpet.write(at, 4, INTERRUPT | wanted << 9)
        assert bench.hpet.read(at, 4) == INTERRUPT | kept << 9 | 0x30


def test_legacy_replacement_has_timers_0_and_1_at_interrupts_0_and_8(bench: Bench) -> None:
    """2.3.5: whatever their routes say."""
    for number in (0, 1, 2):
        bench.start(number, INTERRUPT | ROUTE_10, 100, general=3)
    assert bench.replaced
    bench.advance(10_000)
    assert sorted(bench.edges) == [(0, True), (8, True), (10, True)]
    bench.hpet.write(CONFIG, 4, 1)
    assert not bench.replaced
    assert sorted(bench.edges[3:]) == [(0, False), (8, False)]


def test_a_reset_halts_it_and_lowers_its_interrupts(bench: Bench) -> None:
    bench.start(0, INTERRUPT | ROUTE_10, 100, general=3)
    bench.advance(10_000)
    bench.hpet.reset()
    assert (bench.hpet.read(CONFIG, 8), bench.replaced) == (0, False)
    assert bench.edges == [(0, True), (0, False)]


def test_what_is_not_allowed_changes_nothing(bench: Bench) -> None:
    before = attrs.evolve(bench.hpet.state)
    for offset, size in (
        (CONFIG, 1),
        (CONFIG, 2),
        (COUNTER + 4, 8),
        (0, 8),
        (0x110, 8),
        (0x3F8, 8),
        (0x118, 4),
    ):
        bench.hpet.write(offset, size, 1)
    assert bench.hpet.state == before
    assert bench.hpet.read(1, 1) == 0xA2


@pytest.mark.qtest(hpet=True)
async def test_on_the_board_the_8254_is_silent_while_it_is_replaced(qtest: QtestClient) -> None:
    await qtest.irq_intercept_in("ioapic")
    await qtest.writel(0xFED0_0100, INTERRUPT)
    await qtest.writeq(0xFED0_0108, 1000)
    await qtest.writel(0xFED0_0010, 3)
    for port, value in ((0x43, 0x30), (0x40, 10), (0x40, 0)):
        await qtest.outb(port, value)
    await qtest.clock_step(99_999)
    assert qtest.irqs == []
    await qtest.clock_step(1)
    assert qtest.irqs == [(0, True)]
    await qtest.writel(0xFED0_0010, 1)  # the 8254's own is high by now
    assert qtest.irq(0)


async def test_it_is_there_only_where_it_is_asked_for(qtest: QtestClient) -> None:
    assert await qtest.readl(0xFED0_0000) == 0xFFFF_FFFF


def test_its_lines_cannot_be_parted() -> None:
    with pytest.raises(ConfigError, match="pit and rtc must be in one server"):
        Board.build(ManualClock(), Core(), Fittings(memory=[], hpet=True, parts=ALL - {"rtc"}))
