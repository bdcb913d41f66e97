"""When a board's state is saved for a successor, and what one takes from it."""

from typing import Any

import msgspec
import pytest
import structlog
import structlog.testing

from devmodel.board import saved
from devmodel.service import keeper as module
from devmodel.service.keeper import COST, PERIOD, SLOTS, Keeper
from devmodel.service.server import _estate
from ioreq.buffered import RingConsumer, RingProducer
from ioreq.layout import BUFFERED_SLOTS, PAGE_SIZE, TYPE_PIO
from ioreq.messages import KeptState
from ioreq.request import Request
from ioreq.state_area import AREA_SIZE, HALF, StateArea


class Chip(msgspec.Struct, frozen=True):
    """A record like a chip's."""

    value: int
    ballast: bytes = b""


class Board:
    def __init__(self) -> None:
        self.chip = Chip(0)

    def states(self) -> dict[str, Any]:
        return {"chip": self.chip}

    def recover(self, *, complete: bool) -> None:
        raise AssertionError(f"nobody recovers here, complete {complete}")


class Host:
    """The host's monotonic clock, each look at which takes `look` ns, and the guest's, which follows it."""

    def __init__(self) -> None:
        self.time = 10**9
        self.look = 0

    def monotonic_ns(self) -> int:
        self.time += self.look
        return self.time

    def now(self) -> int:
        return self.time


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = Host()
        monkeypatch.setattr(module, "monotonic_ns", self.host.monotonic_ns)
        self.board = Board()
        self.area = StateArea(bytearray(AREA_SIZE))
        page = bytearray(PAGE_SIZE)
        self.producer, self.ring = RingProducer(page), RingConsumer(page)
        self.keeper = Keeper(self.board, self.host, self.area, self.ring, server=5)

    def post(self, count: int) -> None:
        """The guest writes, and the board's server performs."""
        for _ in range(count):
            assert self.producer.post(TYPE_PIO, 0x80, 1, 0)
            assert self.ring.take(Request())

    def kept(self) -> saved.Saved | None:
        data = self.area.read()
        return None if data is None else saved.unpack(data)

    def value(self) -> int | None:
        kept = self.kept()
        return None if kept is None else kept.states({"chip": Chip})["chip"].value

    def change(self, value: int) -> None:
        self.board.chip = Chip(value)
        self.keeper.changed()


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_nothing_is_saved_before_the_predecessors_place_is_taken(bench):
    bench.keeper.soon()
    bench.change(1)
    assert bench.keeper.deadline() is None
    bench.host.time += 10 * PERIOD
    bench.keeper.tick()
    assert bench.kept() is None
    bench.keeper.begin()
    assert bench.value() == 1
    assert bench.kept().server == 5
    assert not bench.kept().whole


def test_a_change_is_saved_one_period_later_at_most(bench):
    bench.keeper.begin()
    assert bench.keeper.deadline() is None
    bench.change(1)
    assert bench.keeper.deadline() == bench.host.now() + PERIOD
    bench.host.time += PERIOD - 1
    bench.keeper.tick()
    bench.keeper.changed()
    assert bench.value() == 0
    bench.host.time += 1
    bench.keeper.tick()
    assert bench.value() == 1
    assert bench.keeper.deadline() is None


def test_what_is_not_in_the_ring_is_saved_at_once_if_the_cost_allows_it(bench):
    bench.host.look = 1000
    bench.keeper.begin()  # takes one look, 1 us
    bench.host.look = 0
    bench.host.time += COST * 1000 - 1
    bench.keeper.soon()
    bench.change(1)
    assert bench.value() == 0
    bench.host.time += 1
    bench.keeper.changed()
    assert bench.value() == 1


def test_saving_takes_one_part_in_a_hundred_of_the_time_however_long_it_takes(bench):
    bench.host.look = PERIOD
    bench.keeper.begin()
    bench.host.look = 0
    bench.change(1)
    bench.host.time += COST * PERIOD - 1
    bench.keeper.tick()
    assert bench.value() == 0
    bench.host.time += 1
    bench.keeper.tick()
    assert bench.value() == 1


def test_half_a_ring_of_posted_writes_is_saved_before_the_period_is_over(bench):
    bench.keeper.begin()
    bench.post(SLOTS - 1)
    bench.change(1)
    assert bench.value() == 0
    bench.post(1)
    bench.change(2)
    assert bench.value() == 2
    assert bench.kept().performed == SLOTS


def test_a_state_that_is_too_long_leaves_the_last_one_and_is_told_once(bench, monkeypatch):
    capture = structlog.testing.LogCapture()
    every_level = structlog.make_filtering_bound_logger(0)
    monkeypatch.setattr(module, "log", structlog.wrap_logger(None, [capture], every_level))
    bench.keeper.begin()
    bench.board.chip = Chip(1, bytes(HALF))
    assert not bench.keeper.save(whole=True)
    assert not bench.keeper.save(whole=True)
    assert bench.value() == 0
    assert [entry["event"] for entry in capture.entries] == ["keeper.too_long"]


def left(performed: int, *, server: int = 5, whole: bool = False) -> saved.Saved:
    data = saved.pack({}, time=0, host_time=0, whole=whole, server=server, performed=performed)
    return saved.unpack(data)


def posted(count: int) -> bytearray:
    """A ring into which writes of 0, 1, 2 … have been posted; the dead server took all that it could."""
    page = bytearray(PAGE_SIZE)
    producer, consumer = RingProducer(page), RingConsumer(page)
    request = Request()
    for value in range(count):
        assert producer.post(TYPE_PIO, 0x80, 1, value & 0xFF)
        assert consumer.take(request)
    return page


def test_a_state_that_was_handed_over_is_taken_as_it_is():
    kept = KeptState(exact=True, server=5, posted=20, in_flight=0)
    estate = _estate(left(20, whole=True), kept, posted(20))
    assert (estate.exact, estate.performed, estate.posted, estate.complete) == (True, (), (), True)


def test_writes_behind_a_dead_servers_state_are_performed_again_and_those_in_flight_for_the_first_time():
    kept = KeptState(server=5, posted=20, in_flight=3)
    estate = _estate(left(12), kept, posted(20))
    assert [write.data for write in estate.performed] == [12, 13, 14, 15, 16]
    assert [write.data for write in estate.posted] == [17, 18, 19]
    assert estate.complete
    assert not estate.exact


def test_more_writes_than_the_ring_is_long_are_not_complete():
    kept = KeptState(server=5, posted=BUFFERED_SLOTS + 1, in_flight=0)
    assert _estate(left(1), kept, posted(BUFFERED_SLOTS + 1)).complete
    assert not _estate(left(0), kept, posted(BUFFERED_SLOTS + 1)).complete


def test_a_state_by_another_server_than_the_one_that_died_is_not_complete():
    """One that was enabled and died before it saved has left its predecessor's state, whose ring is gone."""
    kept = KeptState(server=6, posted=3, in_flight=0)
    assert not _estate(left(2, server=5), kept, posted(3)).complete


def test_a_whole_state_behind_which_a_vcpu_ran_on_is_not_exact():
    kept = KeptState(exact=False, server=5, posted=3, in_flight=0)
    estate = _estate(left(3, whole=True), kept, posted(3))
    assert not estate.exact
    assert estate.performed == []
