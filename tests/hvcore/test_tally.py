"""What a vCPU counts always."""

import msgspec

from hvcore.cpu.exitinfo import ExitKind
from hvcore.routing import Range
from hvcore.tally import MOST_ACCESSES, Tally
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PIO
from ioreq.messages import Statistics


def test_accesses_are_told_by_port_the_busiest_first():
    tally = Tally()
    tally.reads[0x3FD] += 2
    tally.mirrored[0x3FD] += 5
    tally.posted[0x3F8] += 9
    tally.writes[0x60] += 1
    tally.acknowledged = 3
    tally.waited(TYPE_PIO, 0x3FD, 1500)
    tally.waited(TYPE_INTACK, 0, 1500)
    said = tally.statistics(0, 1234, {ExitKind.IO: 17, ExitKind.HLT: 20}, [])
    assert [(a.space, a.address, a.reads, a.mirrored, a.posted, a.writes) for a in said.accesses] == [
        ("port", 0x3F8, 0, 0, 9, 0),
        ("port", 0x3FD, 2, 5, 0, 0),
        ("interrupt", 0, 3, 0, 0, 0),
        ("port", 0x60, 0, 0, 0, 1),
    ]
    assert [sum(count for _, count in a.waits) for a in said.accesses] == [0, 1, 1, 0]
    assert [(e.reason, e.count) for e in said.exits] == [("hlt", 20), ("io", 17)]


def test_memory_is_told_by_range():
    tally = Tally()
    claimed = Range(0xA0000, 0xBFFFF, True, 0, None, [])
    claimed.reads, claimed.written = 4, 7
    tally.waited(TYPE_COPY, 0xB8000, 1000)
    (memory,) = tally.statistics(0, 0, {}, [claimed]).accesses
    assert (memory.space, memory.address, memory.reads, memory.posted, memory.writes) == (
        "memory",
        0xA0000,
        4,
        7,
        0,
    )
    assert len(memory.waits) == 1


def test_whatever_a_guest_does_the_counts_fit_into_one_message():
    tally = Tally()
    for port in range(0x10000):
        tally.reads[port] = 1 << 60
        tally.waited(TYPE_PIO, port, port * 1000)
        tally.waited(TYPE_COPY, port << 20, 1000)
        for n in range(64 if port < MOST_ACCESSES else 0):
            tally.waited(TYPE_PIO, port, 1 << n)
            tally.handled(port % 34, (1 << n) + port)
    said = tally.statistics(0, 1 << 62, dict.fromkeys(range(34), 1 << 60), [])
    assert len(said.accesses) == MOST_ACCESSES
    assert len(msgspec.json.encode(Statistics([said]))) < 65536
