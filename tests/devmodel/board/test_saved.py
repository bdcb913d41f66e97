"""A board's state as bytes, and what goes on from it."""

import contextlib
import random
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devmodel import DevmodelError
from devmodel.board import saved
from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board, state_types
from devmodel.board.saved import pack, unpack
from devmodel.board.wiring import Levels

FITTINGS = Fittings(memory=[(0, 64 << 20, 1)])


class Core:
    """Takes what the board says, and keeps the level of INTR."""

    video = None

    def __init__(self) -> None:
        self.level = False

    def intr(self, level: bool) -> None:
        self.level = level

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


def build(clock: ManualClock, states: dict[str, Any] | None = None) -> tuple[Board, Core]:
    core = Core()
    return Board.build(clock, core, FITTINGS, states), core  # type: ignore[arg-type]


def again(board: Board, clock: ManualClock) -> tuple[Board, Core]:
    data = pack(board.states(), time=clock.now(), host_time=0, whole=True, server=0, performed=0)
    return build(clock, unpack(data).states(state_types()))


PORTS = [
    *(
        0x20,
        0x21,
        0xA0,
        0xA1,
        0x40,
        0x41,
        0x42,
        0x43,
        0x60,
        0x61,
        0x64,
        0x70,
        0x71,
        0x3F8,
        0x3F9,
        0x3FA,
        0x3FB,
    ),
    *(
        0x3FC,
        0x3FD,
        0x3FE,
        0x1F1,
        0x1F2,
        0x1F3,
        0x1F4,
        0x1F5,
        0x1F6,
        0x1F7,
        0x3C0,
        0x3C4,
        0x3C5,
        0x3CE,
        0x3CF,
    ),
    *(0x3D4, 0x3D5, 0xCF8, 0xCFC, 0x510, 0x511, 0x4D0, 0x4D1, 0x00, 0x08, 0x0F, 0x81, 0xC0, 0xD6),
]
ACCESSES = st.lists(
    st.tuples(st.sampled_from(PORTS), st.none() | st.integers(0, 255), st.integers(0, 3_000_000)), max_size=60
)


def play(board: Board, clock: ManualClock, accesses: list[tuple[int, int | None, int]]) -> list[int]:
    """Do accesses and let time pass; return what was read."""
    found = []
    for port, value, ns in accesses:
        if value is None:
            found.append(board.bus.read("pio", port, 1))
        else:
            board.bus.write("pio", port, 1, value)
        clock.advance(ns)
        for chip in board.timed:
            deadline = chip.deadline()
            if deadline is not None and deadline <= clock.now():
                chip.tick()
    return found


@settings(max_examples=150, deadline=None)
@given(before=ACCESSES, after=ACCESSES)
def test_a_board_restored_between_any_two_accesses_has_the_same_future(before, after):
    clock = ManualClock()
    board, core = build(clock)
    play(board, clock, before)
    other_clock = ManualClock(clock.now())
    other, other_core = again(board, other_clock)
    assert play(other, other_clock, after) == play(board, clock, after)
    for chip in [*board.timed, *other.timed]:
        chip.tick()  # or one may have looked at the time later than the other
    assert other.states() == board.states()
    assert other_core.level == core.level


def test_a_tick_that_falls_due_while_a_board_is_saved_is_seen():
    """Linux programs the timer in mode 4 for one pulse at a time: one that is lost stops its clock for good."""
    clock = ManualClock()
    board, _ = build(clock)
    for port, value in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xFE)):
        board.bus.write("pio", port, 1, value)
    for value in (0x38, 0x00, 0x10):
        board.bus.write("pio", 0x43 if value == 0x38 else 0x40, 1, value)
    clock.advance(1000)
    data = pack(board.states(), time=clock.now(), host_time=0, whole=True, server=0, performed=0)
    clock.advance(10_000_000)
    other, core = build(clock, unpack(data).states(state_types()))
    assert core.level
    assert other.acknowledge() == 0x30


def test_lines_of_other_servers_are_as_they_were():
    clock = ManualClock()
    board, _ = build(clock)
    board.isa_irq(5, True)
    board.pci_intx(2, 0, True)
    other, _ = again(board, clock)
    assert other.pic.master.state.levels & 1 << 5
    other.isa_irq(5, False)  # we hear of those that have fallen
    assert not other.pic.master.state.levels & 1 << 5
    assert not any(line.level for pirq in other.pci_lines for line in pirq.drivers)  # and of those still high


def test_every_chip_of_the_board_is_saved():
    board, _ = build(ManualClock())
    assert state_types().keys() == board.chips.keys() | {"lines"}
    for name, chip in board.chips.items():
        assert state_types()[name] is type(chip.state)


@attrs.define
class Newer:
    VERSION = 2
    value: int = 0


def test_a_state_of_another_version_is_refused_by_name():
    data = pack({"pit": Newer(7)}, time=0, host_time=0, whole=True, server=0, performed=0)
    assert unpack(data).states({"pit": Newer}) == {"pit": Newer(7)}
    with pytest.raises(DevmodelError, match="the state of 'pit' is of version 2; known here: 1"):
        unpack(data).states(state_types())


def test_what_a_chip_has_no_more_is_dropped_and_what_is_new_has_its_default():
    data = pack({"lines": Levels(["irq 0 of pit"])}, time=0, host_time=0, whole=True, server=0, performed=0)

    @attrs.define
    class Other:
        pins: int = 5

    assert unpack(data).states({"lines": Other}) == {"lines": Other(5)}
    assert unpack(data).states({}) == {}


def test_bytes_that_are_no_state_are_refused():
    with pytest.raises(DevmodelError, match="cannot be read"):
        unpack(b"\x00\x01")
    with pytest.raises(DevmodelError, match="format 9; known here: 1"):
        unpack(
            msgspec.msgpack.encode(
                {
                    "format": 9,
                    "time": 0,
                    "host_time": 0,
                    "whole": True,
                    "server": 0,
                    "performed": 0,
                    "chips": {},
                }
            )
        )
    wrong = pack({"pit": 7}, time=0, host_time=0, whole=True, server=0, performed=0)
    with pytest.raises(DevmodelError, match="the state of 'pit' cannot be read"):
        unpack(wrong).states(state_types())


def test_random_bytes_in_a_state_are_refused_or_make_a_board():
    board, _ = build(ManualClock())
    data = bytearray(pack(board.states(), time=0, host_time=0, whole=True, server=0, performed=0))
    dice = random.Random(1)
    for _ in range(300):
        spoiled = bytearray(data)
        for _ in range(3):
            spoiled[dice.randrange(1200)] = dice.randrange(256)
        with contextlib.suppress(DevmodelError, ArithmeticError, LookupError, ValueError):
            build(ManualClock(), unpack(bytes(spoiled)).states(state_types()))


def test_the_version_of_a_record_is_one_where_none_is_said():
    assert saved._version(Levels) == 1
