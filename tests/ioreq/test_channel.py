"""One vCPU's channel: states, spurious events, order with the ring, failure, and what polling may not do."""

import os
import threading
from collections.abc import Callable

import pytest
import trio
import trio.lowlevel
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ioreq import ProtocolError, layout, shared
from ioreq.buffered import RingConsumer
from ioreq.core import CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import drain_doorbell, make_doorbell, ring_doorbell
from ioreq.layout import FLAGS_SHIFT, SIZE_SHIFT, TYPE_COPY, TYPE_INTACK, TYPE_PIO, TYPE_SHIFT
from ioreq.mirror import COALESCES, VALID
from ioreq.patience import expected
from ioreq.request import Request
from ioreq.server import ServerEndpoint


class Wire:
    """Both ends of one ioreq server in one process; the core's in threads."""

    def __init__(self, vcpus: int = 1) -> None:
        self.doorbells = [VcpuDoorbell(make_doorbell()) for _ in range(vcpus)]
        self.core = CoreEndpoint(self.doorbells)
        self.posted: list[tuple[int, int]] = []
        fds = [os.dup(fd) for fd in self.core.descriptors]
        self.server = ServerEndpoint(fds, [bell.fd for bell in self.doorbells], self.drain)
        self.ask = self.core.channels[0]
        self.answer = self.server.channels[0]

    def drain(self, ring: RingConsumer) -> None:
        request = Request()
        while ring.take(request):
            self.posted.append((request.address, request.data))

    def close(self) -> None:
        self.server.close()
        self.core.close()
        for bell in self.doorbells:
            os.close(bell.fd)


@pytest.fixture(params=["polling", "one processor"])
def wire(request, monkeypatch):
    if request.param == "one processor":
        monkeypatch.setattr("ioreq.patience.can_poll", lambda: False)
    else:
        monkeypatch.setattr("ioreq.patience.can_poll", lambda: True)
    wire = Wire()
    yield wire
    wire.close()


async def in_a_thread(work: Callable[[], object]) -> object:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


async def serve(wire: Wire, answer: Callable[[Request], int]) -> None:
    while True:
        request = await wire.answer.next_request()
        wire.answer.respond(answer(request))


async def test_a_read_returns_the_servers_data_cut_to_its_size(wire, nursery):
    seen = []
    nursery.start_soon(
        serve, wire, lambda r: seen.append((r.type, r.address, r.size, r.read)) or 0x11223344AABB
    )
    request = Request(TYPE_PIO, 0x1F0, size=2, read=True)
    assert await in_a_thread(lambda: wire.ask.transact(request)) == 0xAABB
    assert seen == [(TYPE_PIO, 0x1F0, 2, True)]
    assert wire.ask.slot.state == layout.STATE_NONE


async def test_every_field_arrives(wire, nursery):
    seen = []
    nursery.start_soon(serve, wire, lambda r: seen.append(repr(r)) or 0)
    request = Request(TYPE_COPY, 0xFFFF_FFFF_FFFF_F000, 2**64 - 1, 512, 8, descending=True, data_is_ptr=True)
    expected = repr(request)
    await in_a_thread(lambda: wire.ask.transact(request))
    assert seen == [expected]
    assert repr(request) == expected


async def test_a_write_that_coalesces_rings_no_bell_until_the_server_takes_that_back():
    bell = VcpuDoorbell(make_doorbell())
    core = CoreEndpoint([bell], mirror=True)
    server = ServerEndpoint([os.dup(fd) for fd in core.descriptors], [bell.fd], lambda _: None, mirror=True)
    receive = server.buffered.receive

    def rings(address: int, size: int, cell: int, rings: bool = True) -> bool:
        receive.clear()
        assert core.post(address, size, 0x55, TYPE_PIO, cell, rings)
        return receive.pending

    assert server.cells is not None
    server.cells[3] = COALESCES
    assert not rings(0x20, 1, 3)
    assert rings(0x20, 2, 3)  # the second byte is another's
    assert rings(0x20, 1, 0)  # it has no cell
    server.cells[3] = VALID | 0x55
    assert rings(0x20, 1, 3)
    assert not rings(0, 1, 0, rings=False)  # an acknowledge cycle, whose pin says so
    assert core.posted() == (5, 5)
    server.close()
    core.close()
    os.close(bell.fd)


async def test_binding_leaves_one_event_pending_and_it_is_ignored(wire):
    assert wire.answer.receive.pending
    with trio.move_on_after(0.05):
        await wire.answer.next_request()
        pytest.fail("there was no request")


async def test_spurious_events_are_ignored(wire, nursery):
    nursery.start_soon(serve, wire, lambda r: r.address)
    for address in (1, 2, 3):
        wire.ask.notify()
        await trio.sleep(0.001)
        request = Request(TYPE_PIO, address, size=4, read=True)
        assert await in_a_thread(lambda r=request: wire.ask.transact(r)) == address
        wire.doorbells[0].ring()


async def test_what_was_posted_is_handled_before_the_synchronous_request_that_follows(wire, nursery):
    order = []

    def core() -> None:
        for n in range(400):
            assert wire.core.post(0x3F8, 1, n & 0xFF, TYPE_PIO)
        wire.ask.transact(Request(TYPE_PIO, 0x60, size=1, read=True))
        order.append(len(wire.posted))

    nursery.start_soon(serve, wire, lambda _: len(wire.posted) & 0xFF)
    await in_a_thread(core)
    assert order == [400]
    assert [data for _, data in wire.posted] == [n & 0xFF for n in range(400)]


async def test_posted_writes_are_handled_without_any_synchronous_request(wire, nursery):
    nursery.start_soon(wire.server.buffered.serve)
    nursery.start_soon(serve, wire, lambda _: 0)
    for n in range(20):
        await trio.sleep(0.002)
        assert wire.core.post(0x3F8, 1, n, TYPE_PIO)
    with trio.fail_after(5):
        while len(wire.posted) < 20:
            await trio.sleep(0.001)
    assert [data for _, data in wire.posted] == list(range(20))


async def test_a_flood_of_posted_writes_leaves_turns_to_others(wire, nursery):
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            wire.core.post(0x3F8, 1, 0, TYPE_PIO)

    nursery.start_soon(wire.server.buffered.serve)
    nursery.start_soon(serve, wire, lambda _: 0)
    nursery.start_soon(in_a_thread, flood)
    with trio.fail_after(10):
        for _ in range(20):
            await trio.sleep(0.001)
        while not wire.posted:
            await trio.sleep(0.001)
    stop.set()


async def test_a_full_ring_and_what_does_not_fit_it_must_go_synchronous(wire):
    assert not wire.core.post(0x100000, 1, 0, TYPE_COPY)
    assert not wire.core.post(0xB8000, 3, 0, TYPE_COPY)
    assert [wire.core.post(0x80, 1, 0, TYPE_PIO) for _ in range(512)] == [True] * 511 + [False]


async def test_fewer_repetitions_than_asked_for_are_seen(wire, nursery):
    async def partial() -> None:
        await wire.answer.next_request()
        with pytest.raises(ValueError, match="0 of 8"):
            wire.answer.respond_count(0, 0)
        wire.answer.respond_count(0, 3)

    nursery.start_soon(partial)
    request = Request(TYPE_PIO, 0x1F0, 0x7C00, 8, 2, read=True, data_is_ptr=True)
    await in_a_thread(lambda: wire.ask.transact(request))
    assert request.count == 3


def raw(wire: Wire, type_: int, size: int, count: int = 1, flags: int = 0) -> None:
    words = wire.ask.slot.words
    words[2] = count | size << SIZE_SHIFT
    words[3] = 1 | (flags | layout.STATE_IOREQ_READY) << FLAGS_SHIFT | type_ << TYPE_SHIFT
    wire.ask.notify()


@pytest.mark.parametrize(
    ("type_", "size", "count", "flags"),
    [
        (TYPE_PIO, 8, 1, 0),
        (TYPE_PIO, 3, 1, 0),
        (TYPE_PIO, 0, 1, 0),
        (TYPE_PIO, 0xFFFFFFFF, 0xFFFFFFFF, 0x70),
        (TYPE_COPY, 8, 0, 0),
        (TYPE_COPY, 8, 513, 0),
        (TYPE_COPY, 16, 1, 0),
        (0x55, 1, 1, 0),
        (TYPE_INTACK, 1, 1, 0),
        (TYPE_INTACK, 1, 2, layout.FLAG_READ),
    ],
)
async def test_the_server_answers_garbage_with_ones_and_lives(wire, nursery, type_, size, count, flags):
    handled = []
    nursery.start_soon(serve, wire, lambda r: handled.append(r.address) or 7)
    raw(wire, type_, size, count, flags)
    with trio.fail_after(5):
        while wire.ask.slot.state != layout.STATE_IORESP_READY:
            await trio.lowlevel.checkpoint()
    assert wire.ask.slot.words[1] == 2**64 - 1
    assert wire.answer.refused == 1
    wire.ask.slot.words[3] = 1
    assert await in_a_thread(lambda: wire.ask.transact(Request(TYPE_PIO, 5, read=True))) == 7
    assert handled == [5]


@pytest.mark.parametrize("state", [0, 2, 3, 4, 15])
async def test_a_slot_that_is_not_ready_is_left_alone(wire, state):
    wire.ask.slot.octets[30] = state
    wire.ask.notify()
    assert wire.answer.pending_request() is None
    with trio.move_on_after(0.02):
        await wire.answer.next_request()
    assert wire.ask.slot.octets[30] == state


async def misbehave(wire: Wire, spoil: Callable[[], None]) -> ProtocolError:
    """Let the server take a request, do something, and return what the core says to it."""

    async def server() -> None:
        await wire.answer.next_request()
        spoil()
        wire.doorbells[0].ring()

    with pytest.raises(ProtocolError) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server)
            try:
                await in_a_thread(lambda: wire.ask.transact(Request(TYPE_PIO, 0x60, size=1, read=True)))
            except ProtocolError as error:
                nursery.cancel_scope.cancel()
                caught_inside = error
        raise caught_inside
    return caught.value


@pytest.mark.parametrize("state", [1, 4, 9, 15])
async def test_a_backwards_or_unknown_state_is_refused(wire, state):
    def spoil() -> None:
        wire.doorbells[0].ring()
        threading.Event().wait(0.02)  # long enough for the core to see INPROCESS
        wire.ask.slot.octets[30] = wire.ask.slot.octets[30] & 0xF0 | state

    if state == 1:
        wire.ask._awake.looks = wire.ask._waking.looks = 0  # it sleeps at once, and has seen READY before
    await misbehave(wire, spoil)
    assert wire.ask.dead
    assert wire.ask.transact(Request(TYPE_PIO, 0x60, size=2, read=True)) == 0xFFFF


@pytest.mark.parametrize(
    "spoil",
    [
        lambda slot: slot.words.__setitem__(0, 0x61),
        lambda slot: slot.words.__setitem__(2, 1 | 2 << SIZE_SHIFT),
        lambda slot: slot.words.__setitem__(2, 2 | 1 << SIZE_SHIFT),
        lambda slot: slot.words.__setitem__(2, 0 | 1 << SIZE_SHIFT),
        lambda slot: slot.octets.__setitem__(31, TYPE_COPY),
        lambda slot: slot.octets.__setitem__(30, 0),
        lambda slot: slot.octets.__setitem__(24, 9),
        lambda slot: slot.octets.__setitem__(28, 9),
    ],
    ids=["address", "size", "more repetitions", "no repetition", "type", "direction", "port", "pad"],
)
async def test_a_reply_that_is_not_to_what_was_asked_is_refused(wire, spoil):
    def and_respond() -> None:
        spoil(wire.ask.slot)
        wire.answer.respond(0)

    await misbehave(wire, and_respond)
    assert wire.ask.dead


async def test_a_changed_port_is_refused_before_anything_is_asked(wire):
    wire.ask.slot.words[3] = 3
    with pytest.raises(ProtocolError, match="port was changed"):
        wire.ask.transact(Request())


async def test_none_while_waiting_means_that_the_server_died(wire):
    async with trio.open_nursery() as nursery:

        async def server() -> None:
            await wire.answer.next_request()
            wire.ask.slot.octets[30] = 0
            wire.doorbells[0].ring()

        nursery.start_soon(server)
        assert (
            await in_a_thread(lambda: wire.ask.transact(Request(TYPE_PIO, 0x60, size=4, read=True)))
            == 0xFFFFFFFF
        )


async def test_a_request_in_flight_completes_with_ones_when_its_server_is_killed(wire, nursery):
    async def server() -> None:
        await wire.answer.next_request()
        await trio.sleep(0.01)
        wire.core.kill()

    nursery.start_soon(server)
    assert await in_a_thread(lambda: wire.ask.transact(Request(TYPE_PIO, 0x60, size=2, read=True))) == 0xFFFF
    assert wire.ask.transact(Request(TYPE_PIO, 0x60, size=1, read=True)) == 0xFF
    assert wire.core.post(0x80, 1, 0, TYPE_PIO)


async def test_a_broken_ring_kills_the_endpoint(wire):
    memoryview(shared.map_shared(wire.core.descriptors[1], 4096)).cast("I")[0] = 5
    with pytest.raises(ProtocolError):
        for _ in range(512):
            wire.core.post(0x80, 1, 0, TYPE_PIO)
    assert wire.ask.dead


async def test_a_halted_vcpu_wakes_for_its_pin(wire, nursery):
    pin = bytearray(1)

    async def raise_it() -> None:
        await trio.sleep(0.02)
        pin[0] = 1
        wire.answer.send.send()

    nursery.start_soon(raise_it)
    bell = wire.doorbells[0]
    assert await in_a_thread(lambda: bell.sleep([wire.ask], lambda: pin[0] == 1))
    assert not bell.sleep([wire.ask], lambda: False, timeout_ms=1)


async def test_a_busy_guest_leaves_turns_to_others(wire, nursery):
    stop = threading.Event()

    def busy() -> None:
        request = Request(TYPE_PIO, 0x61, read=True)
        while not stop.is_set():
            wire.ask.transact(request)

    nursery.start_soon(serve, wire, lambda _: 0)
    nursery.start_soon(in_a_thread, busy)
    with trio.fail_after(10):
        for _ in range(20):
            await trio.sleep(0.001)
    stop.set()


async def test_who_polls_gives_way_at_once_to_what_is_expected(monkeypatch):
    """Or a timer of microseconds, a disk's thread and the core's answer would wait for a quarter of a millisecond."""
    monkeypatch.setattr("ioreq.patience.can_poll", lambda: True)
    monkeypatch.setattr("ioreq.patience._window", 1_000_000)
    wire = Wire()

    async def watch() -> int:
        """Count the passes of the scheduler in a tenth of a second beside a task that waits for requests."""
        passes = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, wire, lambda _: 0)
            end = trio.current_time() + 0.1
            while trio.current_time() < end:
                await trio.lowlevel.checkpoint()
                passes += 1
            nursery.cancel_scope.cancel()
        return passes

    try:
        polling = await watch()
        monkeypatch.setattr(expected, "timers", 1)
        giving_way = await watch()
        monkeypatch.setattr(expected, "timers", 0)
        monkeypatch.setattr(expected, "answers", 1)
        asleep = await watch()
    finally:
        wire.close()
    assert giving_way > 3 * polling
    assert asleep > 3 * polling


class StatesAgainstAModel(RuleBasedStateMachine):
    """Whatever is in the slot, the server takes exactly what is READY and well formed, once."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.state = layout.STATE_NONE
        self.valid = True

    def teardown(self):
        self.wire.close()

    @rule(
        state=st.integers(0, 15),
        flags=st.sampled_from([0, 0x10, 0x20, 0x40, 0x70, 0x80, 0xF0]),
        type_=st.integers(0, 255),
        size=st.integers(0, 2**32 - 1) | st.sampled_from([1, 2, 4, 8]),
        count=st.integers(0, 2**32 - 1) | st.sampled_from([1, 2, 512]),
    )
    def core_writes(self, state, flags, type_, size, count):
        words = self.wire.ask.slot.words
        words[2] = count | size << SIZE_SHIFT
        words[3] = 1 | (flags | state) << FLAGS_SHIFT | type_ << TYPE_SHIFT
        self.state = state

    @rule()
    def server_looks(self):
        refused = self.wire.answer.refused
        request = self.wire.answer.pending_request()
        if self.state != layout.STATE_IOREQ_READY:
            assert request is None
            assert self.wire.answer.refused == refused
        elif request is None:
            assert self.wire.answer.refused == refused + 1
            self.state = layout.STATE_IORESP_READY
        else:
            assert request.size in (1, 2, 4, 8)
            assert request.count >= 1
            assert request.count == 1 or request.count * request.size <= 4096
            self.state = layout.STATE_IOREQ_INPROCESS

    @precondition(lambda self: self.state == layout.STATE_IOREQ_INPROCESS)
    @rule(value=st.integers(0, 2**64 - 1))
    def server_responds(self, value):
        self.wire.answer.respond(value)
        assert self.wire.ask.slot.words[1] == value
        self.state = layout.STATE_IORESP_READY

    @invariant()
    def the_slot_is_in_the_models_state(self):
        assert self.wire.ask.slot.state == self.state


TestStates = StatesAgainstAModel.TestCase


def test_an_endpoint_that_two_threads_close_at_once_is_closed_once(monkeypatch):
    """A vCPU gives up an endpoint while its domain ends: no descriptor is used behind its closing."""
    bell = VcpuDoorbell(make_doorbell())
    endpoint = CoreEndpoint([bell])
    other = threading.Thread(target=endpoint.close)

    def drain(fd: int) -> None:
        """Give the other thread the time to close it first, if it can."""
        if threading.current_thread() is not other:
            if not other.ident:
                other.start()
            other.join(0.2)
        os.fstat(fd)
        drain_doorbell(fd)

    monkeypatch.setattr("ioreq.core.drain_doorbell", drain)
    endpoint.close()
    other.join(30)
    assert endpoint.descriptors == []
    os.close(bell.fd)


def test_a_device_model_that_fills_a_vcpus_bell_keeps_no_other_from_ringing_it():
    """All device models of a domain share it, and a ring that finds it full is none."""
    bell = VcpuDoorbell(make_doorbell())
    for _ in range(3):
        os.eventfd_write(bell.fd, 2**64 - 2)
        ring_doorbell(bell.fd)
        assert bell.wait(30_000)
        ring_doorbell(bell.fd)
        assert bell.wait(30_000)
    assert not bell.wait(0)
    os.close(bell.fd)
