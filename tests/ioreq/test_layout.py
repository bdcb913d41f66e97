"""Every byte of the shared pages stands where xen/include/public/hvm/ioreq.h puts it."""

import ctypes

import pytest

from ioreq import layout
from ioreq.buffered import RingConsumer, RingProducer, encode
from ioreq.evtchn import EventPage, ReceivePort, SendPort, make_doorbell
from ioreq.page import Slot
from ioreq.request import Request


class CIoreq(ctypes.LittleEndianStructure):
    """The header's declaration, laid out by the C compiler's rules."""

    _fields_ = [
        ("addr", ctypes.c_uint64),
        ("data", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("vp_eport", ctypes.c_uint32),
        ("pad", ctypes.c_uint16),
        ("state", ctypes.c_uint8, 4),
        ("data_is_ptr", ctypes.c_uint8, 1),
        ("dir", ctypes.c_uint8, 1),
        ("df", ctypes.c_uint8, 1),
        ("pad1", ctypes.c_uint8, 1),
        ("type", ctypes.c_uint8),
    ]


@pytest.fixture
def page() -> bytearray:
    return bytearray(layout.PAGE_SIZE)


def test_struct_ioreq_has_xens_offsets():
    assert ctypes.sizeof(CIoreq) == layout.IOREQ_SIZE == 32
    assert layout.IOREQ_SLOTS == 128
    assert layout.STATE_OFFSET == 30
    assert layout.TYPE_OFFSET == CIoreq.type.offset == 31


@pytest.mark.parametrize("vcpu", [0, 1, 127])
def test_a_slot_lies_at_32_times_its_vcpu(page, vcpu):
    slot = Slot(page, vcpu)
    slot.words[0] = 0x1122334455667788
    slot.words[1] = 0x99AABBCCDDEEFF00
    slot.words[2] = 7 | 4 << layout.SIZE_SHIFT
    slot.words[3] = (
        0x2A
        | (layout.FLAG_READ | layout.FLAG_DESCENDING | layout.STATE_IOREQ_READY) << layout.FLAGS_SHIFT
        | layout.TYPE_COPY << layout.TYPE_SHIFT
    )
    c = CIoreq.from_buffer(page, 32 * vcpu)
    assert (c.addr, c.data, c.count, c.size) == (0x1122334455667788, 0x99AABBCCDDEEFF00, 7, 4)
    assert (c.vp_eport, c.pad, c.state, c.data_is_ptr, c.dir, c.df, c.type) == (0x2A, 0, 1, 0, 1, 1, 1)
    assert slot.state == 1
    assert slot.vp_eport == 0x2A


def test_a_slot_beyond_the_page_is_refused(page):
    with pytest.raises(ValueError, match="128 slots"):
        Slot(page, 128)


def test_states_flags_and_types_are_xens_numbers():
    assert [
        layout.STATE_NONE,
        layout.STATE_IOREQ_READY,
        layout.STATE_IOREQ_INPROCESS,
        layout.STATE_IORESP_READY,
    ] == [0, 1, 2, 3]
    assert [layout.FLAG_DATA_IS_PTR, layout.FLAG_READ, layout.FLAG_DESCENDING] == [0x10, 0x20, 0x40]
    assert [
        layout.TYPE_PIO,
        layout.TYPE_COPY,
        layout.TYPE_PCI_CONFIG,
        layout.TYPE_TIMEOFFSET,
        layout.TYPE_INVALIDATE,
    ] == [0, 1, 2, 7, 8]


def test_pci_config_address_packs_segment_bus_device_function_offset():
    assert layout.pci_config_address(0x1234, 0x56, 0x1F, 7, 0x40) == 0x1234_56FF_0000_0040


def test_struct_buf_ioreq_of_the_headers_example():
    assert encode(layout.TYPE_PIO, 0x12345, 1, 0xAB).to_bytes(8, "little") == bytes.fromhex(
        "00 50 34 12 ab 00 00 00"
    )


@pytest.mark.parametrize(
    ("size", "octets"),
    [(1, "01 10 02 00"), (2, "01 14 02 00"), (4, "01 18 02 00"), (8, "01 1c 02 00")],
)
def test_the_size_code_stands_in_bits_2_and_3_of_byte_1(size, octets):
    assert encode(layout.TYPE_COPY, 0x21, size, 0).to_bytes(8, "little")[:4] == bytes.fromhex(octets)


def test_the_buffered_page_begins_with_read_and_write_pointer(page):
    producer = RingProducer(page)
    assert producer.post(layout.TYPE_COPY, 0xB8000, 2, 0x0741)
    assert producer.post(layout.TYPE_COPY, 0xB8004, 8, 0x1122334455667788)
    assert page[:8] == bytes.fromhex("00 00 00 00 03 00 00 00")
    assert page[8:16] == bytes.fromhex("01 04 00 b8 41 07 00 00")
    assert page[16:24] == bytes.fromhex("01 4c 00 b8 88 77 66 55")
    assert page[24:32] == bytes.fromhex("01 4c 00 b8 44 33 22 11")
    assert not any(page[32:])
    request = Request()
    consumer = RingConsumer(page)
    assert consumer.take(request)
    assert consumer.take(request)
    assert (request.address, request.size, request.data) == (0xB8004, 8, 0x1122334455667788)
    assert page[:8] == bytes.fromhex("01 00 00 00 03 00 00 00")
    consumer.finish()
    assert page[:8] == bytes.fromhex("03 00 00 00 03 00 00 00")


def test_slot_510_is_the_last_of_the_page(page):
    producer = RingProducer(page)
    for n in range(511):
        assert producer.post(layout.TYPE_PIO, 0x80, 4, n)
    assert page[4088:] == bytes.fromhex("00 08 08 00 fe 01 00 00")
    assert not producer.post(layout.TYPE_PIO, 0x80, 1, 0)


def test_an_event_page_has_pending_words_then_mask_words(page):
    bell = make_doorbell()
    events = EventPage(page)
    SendPort(events, 3, bell).send()
    ReceivePort(events, 3, bell).mask()
    assert page[12:16] == page[0x80C:0x810] == b"\1\0\0\0"
    assert sum(page) == 2
    assert (layout.PIN_INTR_OFFSET, layout.PIN_A20_OFFSET) == (0, 0x200)


def test_ports_alternate_between_the_ends():
    assert [layout.server_port(0), layout.core_port(0), layout.server_port(1), layout.core_port(1)] == [
        1,
        2,
        3,
        4,
    ]
    assert layout.buffered_port(2) == 5
