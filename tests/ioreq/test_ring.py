"""The buffered ring, against a model: a queue of at most 511 slots."""

import os
from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ioreq import ProtocolError
from ioreq.buffered import RingConsumer, RingProducer, encode, newest
from ioreq.layout import BUFFERED_MODULUS, BUFFERED_SLOTS, ONES, TYPE_COPY, TYPE_INTACK, TYPE_PIO
from ioreq.request import Request


class RingAgainstAQueue(RuleBasedStateMachine):
    """Random producers and consumers see what a plain queue would give them."""

    def __init__(self) -> None:
        super().__init__()
        self.page = bytearray(4096)
        self.producer = RingProducer(self.page)
        self.consumer = RingConsumer(self.page)
        self.queue: deque[tuple[int, int, int, int]] = deque()
        self.used = 0
        self.request = Request()

    @rule(
        address=st.integers(0, 0x120000),
        size=st.sampled_from([1, 2, 3, 4, 8]),
        data=st.integers(0, 2**64 - 1),
        times=st.sampled_from([1, 2, 100, 600]),
    )
    def post(self, address, size, data, times):
        for _ in range(times):
            slots = 2 if size == 8 else 1
            fits = self.used + slots <= BUFFERED_SLOTS and address <= 0xFFFFF and size != 3
            assert self.producer.post(TYPE_COPY, address, size, data) is fits
            if fits:
                self.queue.append((TYPE_COPY, address, size, data & ONES[size]))
                self.used += slots

    @rule(times=st.sampled_from([1, 3, 200, 600]))
    def take(self, times):
        for _ in range(times):
            request = self.request
            assert self.consumer.waiting() is bool(self.queue)
            if not self.queue:
                assert not self.consumer.take(request)
                return
            expected = self.queue.popleft()
            assert self.consumer.take(request)
            assert (request.type, request.address, request.size, request.data) == expected
            self.consumer.finish()
            self.used -= 2 if expected[2] == 8 else 1

    @invariant()
    def pointers_are_canonical(self):
        read, write = memoryview(self.page).cast("I")[:2]
        assert read < BUFFERED_MODULUS
        assert write < BUFFERED_MODULUS
        assert (write - read) % BUFFERED_MODULUS == self.used
        assert self.consumer.refused == 0


TestRing = RingAgainstAQueue.TestCase


@pytest.fixture
def page() -> bytearray:
    return bytearray(4096)


def test_an_eight_byte_write_needs_two_free_slots(page):
    producer = RingProducer(page)
    for n in range(510):
        assert producer.post(TYPE_PIO, 0x80, 1, n & 0xFF)
    assert not producer.post(TYPE_COPY, 0xA0000, 8, 0)
    assert producer.post(TYPE_COPY, 0xA0000, 4, 0)


def test_a_slot_is_free_when_its_write_has_been_performed_and_not_before(page):
    producer, consumer = RingProducer(page), RingConsumer(page)
    assert producer.post(TYPE_PIO, 0x21, 1, 0xFF)
    assert consumer.take(Request())
    assert producer.in_flight() == 1
    consumer.finish()
    assert producer.in_flight() == 0


def test_the_next_take_says_that_the_last_write_has_been_performed(page):
    producer, consumer = RingProducer(page), RingConsumer(page)
    for _ in range(2):
        assert producer.post(TYPE_PIO, 0x21, 1, 0xFF)
    request = Request()
    assert [(consumer.take(request), producer.in_flight()) for _ in range(3)] == [
        (True, 2),
        (True, 1),
        (False, 0),
    ]


def test_a_port_is_untouched_while_only_others_are_written(page):
    producer, consumer = RingProducer(page), RingConsumer(page)

    def untouched(writers):
        return producer.untouched(0x3FD, writers, producer.posted - producer.in_flight())

    producer.post(TYPE_PIO, 0x3F8, 1, 0x41)
    assert untouched(0b0010_0000_0000_0000)
    assert not untouched(0b0000_0001_0000_0000)
    producer.post(TYPE_PIO, 0x3FB, 2, 0)
    assert not untouched(0b0001_0000_0000_0000)  # the second byte is a write of the port behind
    while consumer.take(Request()):
        pass
    assert untouched(0xFFFF)


@pytest.mark.parametrize(
    "entry",
    [
        encode(TYPE_INTACK, 0, 2, 0),
        encode(2, 0, 1, 0),
        encode(TYPE_PIO, 0, 1, 0) | 1 << 9,
        encode(TYPE_PIO, 0, 8, 0),
    ],
)
def test_what_cannot_be_posted_is_dropped_and_counted(page, entry):
    words = memoryview(page).cast("Q")
    words[1] = words[2] = entry
    words[3] = encode(TYPE_PIO, 0x71, 1, 5)
    memoryview(page).cast("I")[1] = 3
    consumer = RingConsumer(page)
    request = Request()
    assert consumer.take(request)
    assert (request.address, request.data) == (0x71, 5)
    assert consumer.refused
    assert not consumer.take(request)


@pytest.mark.parametrize("write", [512, BUFFERED_MODULUS, 0xFFFFFFFF])
def test_a_write_pointer_that_cannot_be_empties_the_ring(page, write):
    memoryview(page).cast("I")[1] = write
    consumer = RingConsumer(page)
    assert not consumer.take(Request())
    assert consumer.refused == 1
    assert not consumer.waiting()


def test_half_an_eight_byte_write_is_refused(page):
    words = memoryview(page).cast("Q")
    words[1] = encode(TYPE_COPY, 0xA0000, 8, 0)
    memoryview(page).cast("I")[1] = 1
    consumer = RingConsumer(page)
    assert not consumer.take(Request())
    assert consumer.refused == 1


@pytest.mark.parametrize("read", [1, 500, BUFFERED_MODULUS, 0xFFFFFFFF])
def test_a_read_pointer_that_cannot_be_is_a_protocol_error_or_a_full_ring(page, read):
    producer = RingProducer(page)
    memoryview(page).cast("I")[0] = read
    with pytest.raises(ProtocolError, match="read pointer"):
        for _ in range(BUFFERED_SLOTS + 1):
            producer.post(TYPE_PIO, 0, 1, 0)


def posted_ring(count):
    """A ring to which `count` one-byte writes went, of which all were performed as long as there was room."""
    page = bytearray(4096)
    producer, consumer = RingProducer(page), RingConsumer(page)
    request = Request()
    for n in range(count):
        while not producer.post(TYPE_PIO, 0x3F8, 1, n & 0xFF):
            consumer.take(request)
    return page, producer


@pytest.mark.parametrize(
    ("posted", "wanted", "found"), [(5, 3, 3), (5, 9, 5), (600, 100, 100), (3000, 3000, 511), (3, 0, 0)]
)
def test_what_a_dead_server_was_posted_last_is_found(posted, wanted, found):
    page, producer = posted_ring(posted)
    before = bytes(page)
    writes = newest(page, producer.posted, wanted)
    assert [number for number, _ in writes] == list(range(posted - found, posted))
    assert [write.data for _, write in writes] == [number & 0xFF for number in range(posted - found, posted)]
    assert page == before  # another successor may want to look as well


def test_the_newest_writes_of_eight_bytes_take_two_slots_each():
    page = bytearray(4096)
    producer = RingProducer(page)
    producer.post(TYPE_COPY, 0xA0000, 8, 0x1122334455667788)
    producer.post(TYPE_PIO, 0x20, 1, 0x60)
    assert [(n, w.size, w.data) for n, w in newest(page, producer.posted, 3)] == [
        (0, 8, 0x1122334455667788),
        (2, 1, 0x60),
    ]


def test_garbage_in_a_dead_servers_ring_is_no_write():
    page = bytearray(os.urandom(4096))
    for number, write in newest(page, 2000, 511):
        assert 1489 <= number < 2000
        assert write.type in {TYPE_PIO, TYPE_COPY, TYPE_INTACK}
