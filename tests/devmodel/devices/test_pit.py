"""The 8254 on a bench: one clock pulse at a time."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.pic import PicPair
from devmodel.devices.pit import FREQUENCY, Pit, Reg


def pulse_time(pulse: int) -> int:
    """The first nanosecond at which `pulse` has happened."""
    return -(-pulse * 10**9 // FREQUENCY)


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    edges: list[bool] = attrs.field(factory=list)
    pulse: int = 0
    pit: Pit = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        line = Line(level=True)
        line.listeners.append(self.edges.append)
        self.pit = Pit(clock=self.clock, irq=line)

    def out(self, register: int, *values: int) -> None:
        for value in values:
            self.pit.write(register, 1, value)

    def word(self, register: int) -> int:
        return self.pit.read(register, 1) | self.pit.read(register, 1) << 8

    def jump(self, pulses: int) -> None:
        """Let pulses pass unseen."""
        self.pulse += pulses
        self.clock.time = pulse_time(self.pulse)

    def ticks(self, pulses: int) -> None:
        for _ in range(pulses):
            self.jump(1)
            self.pit.tick()

    def levels(self, pulses: int, counter: int = 0) -> list[int]:
        """OUT after each of the next pulses."""
        found = []
        for _ in range(pulses):
            self.ticks(1)
            found.append(int(self.pit.output(counter)))
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_mode_0_rises_one_pulse_after_the_count_and_not_before(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x30)
    assert bench.edges == [False]
    bench.out(Reg.COUNTER0, 10, 0)
    bench.ticks(10)
    assert bench.edges == [False]
    bench.ticks(1)
    assert bench.edges == [False, True]
    bench.ticks(70000)
    assert bench.edges == [False, True]


def test_mode_0_stops_at_the_first_byte_of_a_new_count_and_out_falls_at_once(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x30)
    bench.out(Reg.COUNTER0, 3, 0)
    bench.ticks(4)
    assert bench.edges == [False, True]
    bench.out(Reg.COUNTER0, 2)
    assert bench.edges == [False, True, False]
    bench.ticks(100)
    assert bench.word(Reg.COUNTER0) == 0
    bench.out(Reg.COUNTER0, 0)
    bench.ticks(3)
    assert bench.edges == [False, True, False, True]


def test_mode_0_counts_only_while_the_gate_is_high(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0xB0)
    bench.out(Reg.COUNTER2, 4, 0)
    assert bench.levels(10, 2) == [0] * 10
    assert bench.word(Reg.COUNTER2) == 4  # loaded all the same
    bench.pit.set_gate(2, True)
    assert bench.levels(2, 2) == [0, 0]
    bench.pit.set_gate(2, False)
    assert bench.levels(5, 2) == [0] * 5
    assert bench.word(Reg.COUNTER2) == 2
    bench.pit.set_gate(2, True)
    assert bench.levels(3, 2) == [0, 1, 1]


def test_mode_1_waits_for_the_gate_and_can_be_triggered_again(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0xB2)
    assert bench.levels(2, 2) == [1, 1]
    bench.out(Reg.COUNTER2, 3, 0)
    assert bench.levels(3, 2) == [1, 1, 1]
    bench.pit.set_gate(2, True)
    assert bench.levels(5, 2) == [0, 0, 0, 1, 1]
    bench.pit.set_gate(2, False)
    bench.pit.set_gate(2, True)
    assert bench.levels(2, 2) == [0, 0]
    bench.pit.set_gate(2, False)
    bench.pit.set_gate(2, True)
    assert bench.levels(4, 2) == [0, 0, 0, 1]


@pytest.mark.parametrize("mode", [1, 5])
def test_a_trigger_may_be_shorter_than_a_pulse(bench: Bench, mode: int) -> None:
    """The rising edge of GATE is latched until the next CLK, which need not find it high ("Gate")."""
    bench.pit.set_gate(0, False)
    bench.out(Reg.CONTROL, 0x10 | mode << 1)
    bench.out(Reg.COUNTER0, 3)
    bench.pit.set_gate(0, True)
    bench.pit.set_gate(0, False)
    assert bench.levels(6) == ([0, 0, 0, 1, 1, 1] if mode == 1 else [1, 1, 1, 0, 1, 1])


def test_a_trigger_before_any_count_is_nothing(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0xB2)
    bench.pit.set_gate(2, True)
    assert bench.levels(5, 2) == [1] * 5


def test_mode_2_is_low_for_the_last_pulse_of_each_period(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 4, 0)
    assert bench.levels(10) == [1, 1, 1, 0, 1, 1, 1, 0, 1, 1]
    assert bench.edges == [False, True, False, True]


def test_mode_2_takes_a_new_count_at_the_end_of_the_period(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 4, 0)
    bench.ticks(2)
    bench.out(Reg.COUNTER0, 3, 0)
    bench.out(Reg.CONTROL, 0xE2)
    assert bench.pit.read(Reg.COUNTER0, 1) == 0xF4  # null count: it is not in effect
    assert bench.levels(7) == [1, 0, 1, 1, 0, 1, 1]
    bench.out(Reg.CONTROL, 0xE2)
    assert bench.pit.read(Reg.COUNTER0, 1) == 0xB4


def test_mode_2_out_goes_high_with_the_gate_low_and_starts_over_with_the_gate(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0xB4)
    bench.out(Reg.COUNTER2, 3, 0)
    bench.pit.set_gate(2, True)
    assert bench.levels(3, 2) == [1, 1, 0]
    bench.pit.set_gate(2, False)
    assert bench.pit.output(2)
    assert bench.levels(3, 2) == [1, 1, 1]
    bench.pit.set_gate(2, True)
    assert bench.pit.output(2)
    assert bench.levels(5, 2) == [1, 1, 0, 1, 1]


def test_mode_3_with_1001_is_501_high_and_500_low(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x36)
    bench.out(Reg.COUNTER0, 1001 & 0xFF, 1001 >> 8)
    levels = bench.levels(1 + 2 * 1001)[:-1]
    assert levels == ([1] * 501 + [0] * 500) * 2


def test_mode_3_counts_down_by_two(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x16)
    bench.out(Reg.COUNTER0, 5)
    counts = []
    for _ in range(10):
        bench.ticks(1)
        counts.append(bench.pit.read(Reg.COUNTER0, 1))
    assert counts == [4, 2, 0, 4, 2, 4, 2, 0, 4, 2]


def test_mode_3_takes_a_new_count_at_the_end_of_the_half_period(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x16)
    bench.out(Reg.COUNTER0, 6)
    bench.ticks(2)
    bench.out(Reg.COUNTER0, 4)
    assert bench.levels(8) == [1, 0, 0, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("control", [0x38, 0x3A])
def test_strobes_are_one_pulse_low_one_pulse_after_the_count(bench: Bench, control: int) -> None:
    bench.out(Reg.CONTROL, control | 0x80)
    if control == 0x38:
        bench.pit.set_gate(2, True)
        bench.out(Reg.COUNTER2, 3, 0)
    else:
        bench.out(Reg.COUNTER2, 3, 0)
        assert bench.levels(5, 2) == [1] * 5
        bench.pit.set_gate(2, True)
    assert bench.levels(7, 2) == [1, 1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize("held", [0, 1, 3])
def test_mode_4_strobes_for_one_pulse_whatever_its_gate_does(bench: Bench, held: int) -> None:
    """8254 data sheet, mode 4: "GATE has no effect on OUT"; the strobe is one CLK pulse."""
    bench.out(Reg.CONTROL, 0xB8)
    bench.pit.set_gate(2, True)
    bench.out(Reg.COUNTER2, 3, 0)
    assert bench.levels(4, 2) == [1, 1, 1, 0]
    bench.pit.set_gate(2, False)
    assert bench.levels(held, 2) == [1] * held
    bench.pit.set_gate(2, True)
    assert bench.levels(5, 2) == [1] * 5


def test_a_gate_that_stops_mode_4_at_its_strobe_lets_it_count_on_from_there(bench: Bench) -> None:
    """GATE enables counting and has no effect on OUT (mode 4): the strobe ends, and the count stays what it was."""
    bench.out(Reg.CONTROL, 0x18)
    bench.out(Reg.COUNTER0, 3)
    bench.ticks(4)
    assert not bench.pit.output(0)
    bench.pit.set_gate(0, False)
    bench.ticks(3)
    assert (bench.pit.output(0), bench.pit.read(Reg.COUNTER0, 1)) == (True, 0)
    bench.pit.set_gate(0, True)
    assert (bench.pit.output(0), bench.pit.read(Reg.COUNTER0, 1)) == (True, 0)
    edges = list(bench.edges)
    bench.ticks(1)
    assert (bench.pit.output(0), bench.pit.read(Reg.COUNTER0, 1)) == (True, 0xFF)
    bench.ticks(10)
    assert bench.edges == edges, "it strobes once"


def test_mode_4_interrupts_once(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x38)
    bench.out(Reg.COUNTER0, 100, 0)
    bench.jump(150)
    bench.pit.tick()
    assert bench.edges == [False, True]
    assert bench.pit.deadline() is None


def test_count_0_is_65536_and_in_bcd_10000(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x30)
    bench.out(Reg.COUNTER0, 0, 0)
    bench.jump(65536)
    assert bench.pit.output(0) is False
    bench.jump(1)
    assert bench.pit.output(0) is True
    bench.out(Reg.CONTROL, 0x31)
    bench.out(Reg.COUNTER0, 0, 0)
    bench.jump(10000)
    assert bench.pit.output(0) is False
    bench.jump(1)
    assert bench.pit.output(0) is True


def test_bcd_counts_in_decimal(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x35)
    bench.out(Reg.COUNTER0, 0x00, 0x20)
    bench.jump(2)
    assert bench.word(Reg.COUNTER0) == 0x1999


def test_a_latched_count_holds_until_both_bytes_are_read(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 0x00, 0x10)
    bench.jump(1)
    bench.out(Reg.CONTROL, 0x00)
    bench.jump(0x123)
    bench.out(Reg.CONTROL, 0x00)  # a second latch command is ignored
    assert bench.word(Reg.COUNTER0) == 0x1000
    assert bench.word(Reg.COUNTER0) == 0x1000 - 0x123


def test_most_and_least_significant_byte_only(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x24)
    bench.out(Reg.COUNTER0, 0x12)
    bench.jump(1)
    assert [bench.pit.read(Reg.COUNTER0, 1) for _ in range(2)] == [0x12, 0x12]
    bench.out(Reg.CONTROL, 0x14)
    bench.out(Reg.COUNTER0, 0x34)
    bench.jump(1)
    assert [bench.pit.read(Reg.COUNTER0, 1) for _ in range(2)] == [0x34, 0x34]


def test_read_back_gives_status_first_and_then_the_count(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 0x00, 0x10)
    bench.jump(1)
    bench.out(Reg.CONTROL, 0xC2)
    bench.jump(5)
    assert bench.pit.read(Reg.COUNTER0, 1) == 0xB4  # QEMU has OUT inverted here
    assert bench.word(Reg.COUNTER0) == 0x1000
    assert bench.word(Reg.COUNTER0) == 0x1000 - 5


def test_the_control_port_floats() -> None:
    assert Bench().pit.read(Reg.CONTROL, 1) == 0xFF


def test_a_late_tick_makes_one_edge(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 100, 0)
    bench.jump(100 * 57)
    bench.pit.tick()
    assert bench.edges == [False, True, False]  # 57 edges in one, and now in the low pulse
    bench.ticks(1)
    assert bench.edges == [False, True, False, True]
    bench.pit.tick()
    assert bench.edges == [False, True, False, True]


def test_an_edge_is_not_lost_when_the_guest_looks_before_the_pacer(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 100, 0)
    bench.ticks(50)
    bench.out(Reg.COUNTER0, 200, 0)
    bench.jump(60)
    assert bench.word(Reg.COUNTER0) == 191  # the new count is loaded
    bench.pit.tick()
    assert bench.edges == [False, True]


def test_deadlines_are_the_first_nanosecond_of_the_pulse(bench: Bench) -> None:
    bench.out(Reg.CONTROL, 0x34)
    bench.out(Reg.COUNTER0, 0xA9, 0x04)  # 1193: about a kilohertz
    for period in range(1, 1000):
        deadline = bench.pit.deadline()
        assert deadline == pulse_time(1 + period * 1193)
        bench.clock.time = deadline - 1
        bench.pit.tick()
        assert bench.edges.count(True) == period - 1
        bench.clock.time = deadline
        bench.pit.tick()
    assert bench.edges.count(True) == 999


@given(
    mode=st.integers(0, 7),
    count=st.integers(0, 0xFFFF),
    bcd=st.booleans(),
    steps=st.lists(st.integers(1, 70000), min_size=1, max_size=6),
)
def test_looking_in_between_changes_nothing(mode: int, count: int, bcd: bool, steps: list[int]) -> None:
    def program() -> Bench:
        bench = Bench()
        bench.out(Reg.CONTROL, 0x30 | mode << 1 | bcd)
        bench.out(Reg.COUNTER0, count & 0xFF, count >> 8)
        return bench

    looked, waited = program(), program()
    for step in steps:
        looked.jump(step)
        looked.pit.tick()
    waited.jump(sum(steps))
    assert looked.pit.output(0) == waited.pit.output(0)
    assert looked.word(Reg.COUNTER0) == waited.word(Reg.COUNTER0)


@given(
    mode=st.integers(0, 5),
    counts=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=5),
    gates=st.lists(st.integers(0, 20), max_size=5),
)
def test_every_edge_has_a_deadline(mode: int, counts: list[tuple[int, int]], gates: list[int]) -> None:
    """A pacer that only wakes at deadlines sees each rise that one who looks at every pulse sees."""
    paced, watched = Bench(), Bench()
    for bench in (paced, watched):
        bench.out(Reg.CONTROL, 0x10 | mode << 1)
    gate = True
    for count, pulses in counts:
        for bench in (paced, watched):
            bench.out(Reg.COUNTER0, count)
        for _ in range(pulses):
            if watched.pulse in gates:
                gate = not gate
                for bench in (paced, watched):
                    bench.pit.set_gate(0, gate)
            watched.ticks(1)
            paced.jump(1)
            deadline = paced.pit.deadline()
            if deadline is not None and deadline <= paced.clock.time:
                paced.pit.tick()
        assert paced.edges.count(True) == watched.edges.count(True)


# -- missed ticks (Xen, public/hvm/params.h: HVM_PARAM_TIMER_MODE) ----------------------------------------------


@attrs.define
class Late:
    """A timer on its interrupt controller, and a guest that takes interrupts when it is told to."""

    missed: str
    mode: int = 2
    clock: ManualClock = attrs.field(factory=ManualClock)
    pulse: int = 0
    pic: PicPair = attrs.field(factory=lambda: PicPair(intr=Line()))
    pit: Pit = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pit = Pit(
            clock=self.clock,
            irq=Line([lambda level: self.pic.set_irq(0, level)]),
            missed=self.missed,
            waits=lambda: self.pic.master.waits(0),
        )
        self.pic.master.accepted = lambda pin: None if pin else self.pit.accepted()
        for offset, value in ((0, 0x11), (1, 8), (1, 4), (1, 1), (1, 0)):
            self.pic.master.write(offset, 1, value)
        self.pit.write(Reg.CONTROL, 1, 0x30 | self.mode << 1)
        self.pit.write(Reg.COUNTER0, 1, 1000 & 0xFF)
        self.pit.write(Reg.COUNTER0, 1, 1000 >> 8)
        self.wait(1)

    def wait(self, pulses: int, *, late: bool = False) -> None:
        """Let pulses pass, and serve the timer whenever it is due; or only at their end, if we are late."""
        end = self.pulse + pulses
        while not late and (deadline := self.pit.deadline()) is not None and deadline <= pulse_time(end):
            self.clock.time = max(self.clock.time, deadline)
            self.pit.tick()
        self.pulse = end
        self.clock.time = pulse_time(end)
        self.pit.tick()

    def take(self) -> int:
        """Take every interrupt there is now, and return how many."""
        taken = 0
        while self.pic.requesting:
            assert self.pic.acknowledge() == 8
            self.pic.master.write(0, 1, 0x20)
            taken += 1
            assert taken < 100
        return taken


POLICIES = [
    "one_missed_tick_pending",
    "no_missed_ticks_pending",
    "no_delay_for_missed_ticks",
    "delay_for_missed_ticks",
]


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize("missed", POLICIES)
def test_a_guest_that_is_in_time_gets_every_tick_in_time(missed: str, mode: int) -> None:
    bench = Late(missed, mode)
    assert bench.take() <= 1  # of the control word
    for _ in range(20):
        bench.wait(999)
        assert bench.take() == 0
        bench.wait(1)
        assert bench.take() == 1
    assert bench.pit.state.behind == 0


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("one_missed_tick_pending", [1, 1, 1]),
        ("no_missed_ticks_pending", [1, 1, 1]),
        ("no_delay_for_missed_ticks", [5, 1, 1]),
        ("delay_for_missed_ticks", [1, 1, 1]),
    ],
)
def test_a_guest_that_is_late_gets_its_missed_ticks_by_the_policy(missed, expected, mode) -> None:
    bench = Late(missed, mode)
    bench.take()
    bench.wait(5 * 1000)
    found = [bench.take()]
    for _ in range(2):
        bench.wait(1000)
        found.append(bench.take())
    assert found == expected


def test_time_stands_still_for_a_guest_that_is_late_if_it_is_to_be_delayed() -> None:
    bench = Late("delay_for_missed_ticks")
    bench.take()
    bench.wait(1000)
    bench.wait(7500)
    assert bench.pit.deadline() is None, "nobody waits for a chip that stands still"
    bench.pit.write(Reg.CONTROL, 1, 0x00)
    assert bench.pit.read(Reg.COUNTER0, 1) | bench.pit.read(Reg.COUNTER0, 1) << 8 == 1
    assert bench.take() == 1
    bench.wait(1)
    assert bench.take() == 1, "the next tick is where the cycle goes on, and nothing was missed"
    assert bench.pit.state.behind == 6501
    bench.wait(999)
    assert bench.take() == 0
    bench.wait(1)
    assert bench.take() == 1


@pytest.mark.parametrize(
    ("missed", "pulses", "expected"),
    [
        ("one_missed_tick_pending", 5900, 1),
        ("no_missed_ticks_pending", 5900, 0),
        ("no_missed_ticks_pending", 5100, 1),  # the last one is fresh
        ("no_delay_for_missed_ticks", 5900, 5),
        ("delay_for_missed_ticks", 5900, 1),
    ],
)
def test_ticks_that_the_server_is_late_for_are_missed_too(missed, pulses, expected) -> None:
    bench = Late(missed)
    bench.take()
    bench.wait(pulses, late=True)
    assert bench.take() == expected


def test_ticks_of_a_masked_timer_are_not_owed() -> None:
    bench = Late("no_delay_for_missed_ticks")
    bench.take()
    bench.pic.master.write(1, 1, 0x01)
    for _ in range(10):
        bench.wait(1000)
    bench.pic.master.write(1, 1, 0x00)
    assert bench.take() == 1


def test_a_new_count_forgets_what_was_owed() -> None:
    bench = Late("no_delay_for_missed_ticks")
    bench.take()
    bench.wait(5000)
    bench.pit.write(Reg.CONTROL, 1, 0x34)
    assert bench.pit.state.owed == 0
    assert bench.take() == 1


def test_what_is_owed_is_bounded() -> None:
    bench = Late("no_delay_for_missed_ticks")
    bench.wait(1000)
    bench.wait(100_000_000, late=True)
    assert bench.pit.state.owed == 10_000
