"""Chips of one's own on the board: where they answer, what they drive, and that a successor goes on with them."""

import attrs
import pytest

from devmodel import ConfigError, DevmodelError
from devmodel.board import saved
from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.devices.pci import Bar, PciFunction
from devmodel.testing import Bench
from tests.devmodel.recording_core import Core

COMMAND, STATUS, BAR0 = 4, 6, 0x10


@attrs.define
class LatchState:
    value: int = 0


@attrs.define(eq=False)
class Latch:
    """Keeps what is written, and interrupts while that is odd."""

    irq: Line = attrs.field(factory=Line)
    state: LatchState = attrs.field(factory=LatchState)
    resumes: int = 0

    def reset(self) -> None:
        self.state = LatchState()
        self._drive()

    def read(self, offset: int, size: int) -> int:
        return self.state.value >> 8 * offset & (1 << 8 * size) - 1

    def write(self, _offset: int, _size: int, value: int) -> None:
        self.state.value = value
        self._drive()

    def resumed(self) -> None:
        self.resumes += 1

    def _drive(self) -> None:
        self.irq.set(bool(self.state.value & 1))


class PciLatch(Latch):
    """The same behind a PCI function."""

    def __init__(self) -> None:
        super().__init__()
        self.pci = PciFunction(
            name="latch", vendor=0x1AF4, device=0x10F1, class_code=0xFF0000, bars={0: Bar(self, 16)}, pin=1
        )

    def _drive(self) -> None:
        self.pci.interrupt(bool(self.state.value & 1))


@attrs.define
class Alarm:
    due: int | None = 1000
    ticks: int = 0

    def read(self, _offset: int, _size: int) -> int:
        return self.ticks

    def write(self, offset: int, size: int, value: int) -> None: ...

    def deadline(self) -> int | None:
        return self.due

    def tick(self) -> None:
        self.due = None
        self.ticks += 1


def latch(board: Board) -> None:
    board.add(
        Latch(), name="latch", ports=range(0x500, 0x504), memory=range(0xD0000, 0xD1000), irq=5, width=4
    )


def pci_latch(board: Board) -> None:
    board.add(PciLatch(), name="latch", slot=5)


def test_one_call_maps_a_chip_wires_it_and_puts_it_on_the_reset_line() -> None:
    bench = Bench(latch)
    bench.out(0x500, 0x1235, 4)
    assert bench.inp(0x501) == 0x12
    assert bench.load(0xD0000, 2) == 0x1235
    assert bench.irq(5)
    bench.board.reset()
    assert not bench.irq(5)
    assert bench.inp(0x500, 4) == 0


def test_one_port_is_enough() -> None:
    bench = Bench(lambda board: board.add(Latch(), name="latch", ports=0x500))
    bench.out(0x500, 7)
    assert (bench.inp(0x500), bench.inp(0x4FF)) == (7, 0xFF)


def test_a_chip_with_deadlines_is_ticked_unless_its_board_says_otherwise() -> None:
    bench = Bench(lambda board: board.add(Alarm(), name="alarm", ports=0x500))
    bench.advance(999)
    assert bench.inp(0x500) == 0
    bench.advance(1)
    assert bench.inp(0x500) == 1
    still = Bench(lambda board: board.add(Alarm(), name="alarm", ports=0x500, timed=False))
    still.advance(2000)
    assert still.inp(0x500) == 0


def test_a_successor_goes_on_with_the_chips_state_and_its_interrupt_request() -> None:
    bench = Bench(latch)
    bench.out(0x500, 3, 4)
    other = bench.successor()
    assert other.irq(5)
    assert other.inp(0x500, 4) == 3
    assert other.board.chips["latch"].resumes == 1  # type: ignore[attr-defined]
    other.out(0x500, 2, 4)
    assert not other.irq(5)
    assert other.board.states() == other.successor().board.states()


def test_the_interrupt_controller_sees_no_edge_when_a_successor_takes_over() -> None:
    bench = Bench(latch)
    bench.start_interrupts(0x20)
    bench.out(0x500, 1, 4)
    assert bench.interrupt() == 0x25
    bench.out(0x20, 0x20)
    other = bench.successor()
    assert other.interrupt() is None  # still high, but it was seen
    other.out(0x500, 0, 4)
    other.out(0x500, 1, 4)
    assert other.interrupt() == 0x25


def test_a_pci_functions_registers_and_the_device_behind_them_are_restored() -> None:
    """A plugged function came back without its addresses: the guest then talked to nobody."""
    bench = Bench(pci_latch)
    bench.start_interrupts(0x20)
    bench.place(5, {0: 0xE000_0000}, irq=11)
    bench.store(0xE000_0000, 5, 4)
    other = bench.successor()
    assert other.load(0xE000_0000, 4) == 5
    assert other.configure(5, BAR0) == 0xE000_0000
    assert other.configure(5, STATUS, size=2) & 8
    assert other.irq(11)
    assert other.interrupt() == 0x2B
    other.store(0xE000_0000, 4, 4)
    assert not other.irq(11)
    assert other.board.states() == other.successor().board.states()


def test_a_function_that_was_plugged_alone_is_restored() -> None:
    def plug(board: Board) -> None:
        board.plug(4, PciFunction(name="mine", vendor=1, device=1, class_code=0, bars={0: Bar(Latch(), 16)}))

    bench = Bench(plug)
    bench.place(4, {0: 0xE000_0000})
    other = bench.successor()
    other.store(0xE000_0000, 9, 1)
    assert other.load(0xE000_0000, 1) == 9


def test_a_pci_interrupt_that_is_high_while_a_successor_takes_over_does_not_fall() -> None:
    bench = Bench(pci_latch)
    bench.start_interrupts(0x20)
    bench.place(5, {0: 0xE000_0000}, irq=11)
    bench.out(0x4D1, 0)  # by edges, as no PCI interrupt should be: so that a fall would be seen as one more
    bench.store(0xE000_0000, 1, 4)
    assert bench.interrupt() == 0x2B
    for port in (0xA0, 0x20):
        bench.out(port, 0x20)
    assert bench.successor().interrupt() is None


def test_what_a_function_is_comes_from_the_new_program_and_only_what_the_guest_wrote_from_the_old() -> None:
    bench = Bench(pci_latch)
    bench.place(5, {0: 0xE000_0000})
    bench.configure(5, 0x3C, 11, 1)
    old = bench.board.states()["latch pci"]
    newer = PciFunction(
        name="latch", vendor=0x1AF4, device=0x10F2, class_code=0xFF0000, bars={0: Bar(Latch(), 32)}, pin=1
    )
    newer.restore(old)
    assert newer.config_read(0, 4) == 0x10F2_1AF4
    assert newer.config_read(BAR0, 4) == 0xE000_0000
    assert newer.config_read(0x3C, 1) == 11
    newer.config_write(BAR0, 4, 0xFFFF_FFFF)
    assert newer.config_read(BAR0, 4) == 0xFFFF_FFE0


def test_on_another_server_the_chip_is_made_and_nobody_reaches_it() -> None:
    core = Core()
    fittings = Fittings(memory=[(0, 1 << 20, 1)], parts=frozenset({"serial"}))
    board = Board.build(ManualClock(), core, fittings, extend=latch)
    assert "latch" not in board.chips
    assert board.bus.read("pio", 0x500, 4) == 0xFFFF_FFFF


def test_on_a_server_of_its_own_its_lines_go_through_the_core() -> None:
    core = Core()
    fittings = Fittings(memory=[(0, 1 << 20, 1)], parts=frozenset({"own"}))

    def both(board: Board) -> None:
        latch(board)
        board.add(PciLatch(), name="pci latch", slot=5)

    board = Board.build(ManualClock(), core, fittings, extend=both)
    assert sorted(board.chips) == ["latch", "pci latch", "pci latch pci"]
    assert board.config_functions == [5 << 3]
    board.bus.write("pio", 0x500, 4, 1)
    board.pci_config.write(5 << 35 | BAR0, 4, 0xE000_0000)
    board.pci_config.write(5 << 35 | COMMAND, 2, 2)
    board.bus.write("memory", 0xE000_0000, 4, 1)
    assert core.told == [("isa_irq", (5, True)), ("pci_intx", (5, 0, True))]


@attrs.define
class Secretive:
    state: object = attrs.field(factory=object)

    def reset(self) -> None: ...
    def read(self, offset: int, size: int) -> int: ...  # type: ignore[empty-body]
    def write(self, offset: int, size: int, value: int) -> None: ...


def tasks(board: Board) -> None:
    board.add(Latch(), name="latch", ports=0x500)
    board.add(Latch(), name="latch", ports=0x501)


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (
            lambda b: b.add(Latch(), name="x", ports=range(0x3F8, 0x3FA)),
            "x and uart overlap: pio 0x3f8-0x3f9",
        ),
        (lambda b: b.add(Latch(), name="uart", ports=0x500), "uart: there is a chip of this name"),
        (tasks, "latch: there is a chip of this name"),
        (lambda b: b.add(Latch(), name="x", ports=0x500, irq=16), "x: there is no interrupt request 16"),
        (lambda b: b.add(Latch(), name="x", ports=0x500, timed=True), "x: Latch has no 'deadline'"),
        (lambda b: b.add(Latch(), name="x"), "x: nobody would reach it; give ports, memory or slot"),
        (lambda b: b.add(Latch(), name="x", slot=5), "x: Latch has no 'pci'"),
        (lambda b: b.add(Alarm(), name="x", ports=0x500, irq=5), "x: Alarm has no 'irq'"),
        (
            lambda b: b.add(object(), name="x", ports=0x500),
            "x: object has no 'read'; needed here: read, write",
        ),
        (lambda b: b.add(Latch(), name="x", ports=range(5, 5)), "x: range(5, 5) are no addresses"),
        (lambda b: b.add(PciLatch(), name="x", slot=1), "latch: PCI slot 1 is taken"),
        (
            lambda b: b.add(Secretive(), name="x", ports=0x500),
            "x: its state cannot be saved, being no plain data",
        ),
    ],
)
def test_what_cannot_be_is_one_line_that_says_why_and_where(build, line) -> None:
    with pytest.raises(ConfigError) as error:
        Bench(build)
    assert f": {line}" in str(error.value)
    assert str(error.value).endswith(")")
    assert "(test_own.py:" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_state_of_another_version_is_refused_by_the_chips_name(monkeypatch) -> None:
    bench = Bench(latch)
    estate = saved.unpack(
        saved.pack(bench.board.states(), time=0, host_time=0, whole=True, server=0, performed=0)
    )
    monkeypatch.setattr(LatchState, "VERSION", 2, raising=False)
    with pytest.raises(DevmodelError, match="the state of 'latch' is of version 1; known here: 2"):
        estate.state("latch", LatchState)


def test_an_interrupt_whose_answer_met_nobody_is_requested_again_after_what_was_posted() -> None:
    """A guest took an interrupt, read the chip while no server lived, and ended it: then it slept for ever."""
    bench = Bench(latch)
    bench.start_interrupts(0x20)
    bench.out(0x500, 1, 4)
    other = bench.successor()
    other.board.recover(complete=True)
    other.board.acknowledged(0x25)
    other.out(0x20, 0x20)
    assert other.interrupt() is None
    other.board.remind()
    assert other.interrupt() == 0x20  # the timer's, whose pulse may have been missed
    other.out(0x20, 0x20)
    assert other.interrupt() == 0x25


def test_a_place_that_the_pc_leaves_alone_on_purpose_may_be_taken() -> None:
    bench = Bench(lambda board: board.add(Latch(), name="com2", ports=range(0x2F8, 0x300), irq=3))
    bench.out(0x2F8, 1)
    assert bench.inp(0x2F8) == 1
    assert bench.irq(3)
