"""I/O request notification over the real wire, with a device model in a thread."""

import pytest

from hvcore.exits.requests import ConfigAddress, Requests
from hvcore.routing import MEMORY, PCI, PORT, Range, Routing
from ioreq.layout import NO_INTERRUPT
from ioreq.mirror import WAITS
from tests.hvcore.device_server import Attached


class Bench:
    def __init__(self):
        self.routing = Routing()
        self.wire = Attached()
        self.trace = self.wire.server.trace
        self.answers = self.wire.server.answers
        self.routing.add(1, self.wire.core)
        self.routing.enable(1, True)
        self.completed = 0
        self.failures = []
        self.requests = Requests(
            self.routing,
            0,
            ConfigAddress(),
            completed=self.count,
            failed=lambda server, why: self.failures.append((server, why)),
        )

    def count(self):
        self.completed += 1


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.wire.close()


def test_a_port_access_is_one_request(bench):
    bench.routing.claim(1, PORT, 0x3F8, 0x3FF, False)
    bench.answers[0x3FD] = 0x60
    assert bench.requests.read_port(0x3FD, 1) == 0x60
    bench.requests.write_port(0x3F8, 1, 0x41)
    assert bench.trace == [("pio", "read", 0x3FD, 1), ("pio", "write", 0x3F8, 1, 0x41)]
    assert bench.completed == 2


def test_nobody_reads_ones_and_drops_writes(bench):
    assert [bench.requests.read_port(0x80, size) for size in (1, 2, 4)] == [0xFF, 0xFFFF, 0xFFFF_FFFF]
    bench.requests.write_port(0x80, 1, 0)
    assert bench.requests.read_memory(0xA0000, 8) == 0xFFFF_FFFF_FFFF_FFFF
    bench.requests.write_memory(0xA0000, 4, 0)
    assert bench.requests.memory_block(0xA0000, 1, 4, True, False, 0, pointer=False) == (-1, 0xFF)
    assert bench.requests.port_block(0x80, 1, 4, True, False, 0) == -1
    assert bench.trace == []


def test_a_posted_write_goes_through_the_ring_and_before_the_next_read(bench):
    bench.routing.claim(1, MEMORY, 0xA0000, 0xBFFFF, True)
    bench.requests.write_memory(0xB8000, 2, 0x0741)
    bench.requests.write_memory(0xB8008, 8, 0x1122334455667788)
    assert bench.requests.read_memory(0xB8000, 2) == 0
    assert bench.trace == [
        ("posted", 0xB8000, 2, 0x0741),
        ("posted", 0xB8008, 8, 0x1122334455667788),
        ("copy", "read", 0xB8000, 2),
    ]


def test_a_port_whose_cell_says_so_is_waited_for(bench):
    """Bit 34 of a cell (`ioreq.mirror.WAITS`), of any of the bytes written."""
    cells = memoryview(bench.wire.mirror).cast("Q")
    bench.routing.claim(1, PORT, 0x3C4, 0x3C7, True, 5)
    bench.requests.write_port(0x3C4, 2, 0x0F02)
    cells[6] = WAITS
    bench.requests.write_port(0x3C4, 1, 2)
    bench.requests.write_port(0x3C4, 2, 0x0702)
    bench.requests.write_port(0x3C5, 1, 3)
    assert bench.trace == [
        ("posted", 0x3C4, 2, 0x0F02),
        ("posted", 0x3C4, 1, 2),
        ("pio", "write", 0x3C4, 2, 0x0702),
        ("pio", "write", 0x3C5, 1, 3),
    ]


def test_one_server_moves_memory_within_its_own_if_it_knows_how(bench):
    bench.routing.claim(1, MEMORY, 0xA0000, 0xBFFFF, True)
    assert bench.requests.one_mover(0xA0000, 0xB0000)
    assert not bench.requests.one_mover(0xA0000, 0xC0000)


def test_a_posted_write_beyond_a_mib_falls_back_to_a_request(bench):
    bench.routing.claim(1, MEMORY, 0xFE00_0000, 0xFE00_FFFF, True)
    bench.requests.write_memory(0xFE00_0010, 4, 5)
    assert bench.trace == [("copy", "write", 0xFE00_0010, 4, 5)]


def test_odd_sizes_are_cut_into_powers_of_two(bench):
    bench.routing.claim(1, MEMORY, 0xA0000, 0xBFFFF, False)
    bench.answers |= {0xA0000: 0x44332211, 0xA0004: 0x6655, 0xA0006: 0x77}
    assert bench.requests.read_memory(0xA0000, 7) == 0x77665544332211
    bench.requests.write_memory(0xA0000, 3, 0x332211)
    assert bench.trace[3:] == [("copy", "write", 0xA0000, 2, 0x2211), ("copy", "write", 0xA0002, 1, 0x33)]


def test_a_dead_server_reads_ones_and_its_death_is_no_protocol_error(bench):
    bench.routing.claim(1, PORT, 0x60, 0x60, False)
    bench.wire.core.kill()
    assert bench.requests.read_port(0x60, 1) == 0xFF
    assert bench.requests.port_block(0x60, 1, 4, True, False, 0) == -1
    assert bench.failures == []


def test_a_server_that_breaks_the_protocol_is_reported_and_reads_ones(bench):
    bench.routing.claim(1, PORT, 0x60, 0x60, False)
    bench.wire.core.channels[0].slot.words[3] = 77
    assert bench.requests.read_port(0x60, 1) == 0xFF
    assert bench.failures[0][0] == 1
    assert "its port was changed" in bench.failures[0][1]


def test_interrupt_acknowledge_asks_the_owner(bench):
    assert bench.requests.acknowledge() == -1
    owner = Range(0, 0, False, 1, bench.wire.core, bench.wire.core.channels)
    bench.requests.acknowledger = lambda: owner
    bench.answers[0] = 0x21
    assert bench.requests.acknowledge() == 0x21
    assert bench.trace == [("intack", "read", 0, 2)]
    bench.answers[0] = NO_INTERRUPT
    assert bench.requests.acknowledge() == -1
    bench.wire.core.kill()
    assert bench.requests.acknowledge() == -1


def test_the_latch_turns_a_configuration_access_into_a_pci_request(bench):
    bench.routing.claim(1, PCI, 0x0009, 0x0009, False)  # device 1, function 1
    bench.answers[0x0009 << 32 | 0x42] = 0x1234
    bench.requests.write_port(0xCF8, 4, 0x8000_0940)
    assert bench.requests.read_port(0xCF8, 4) == 0x8000_0940
    assert bench.requests.read_port(0xCFE, 2) == 0x1234
    bench.requests.write_port(0xCFC, 4, 0xFFFF_FFFF)
    assert bench.trace == [
        ("pci", "read", 0x0009_0000_0042, 2),
        ("pci", "write", 0x0009_0000_0040, 4, 0xFFFF_FFFF),
    ]
    bench.requests.write_port(0xCF8, 4, 0x8000_0840)
    assert bench.requests.read_port(0xCFC, 4) == 0xFFFF_FFFF
    bench.requests.write_port(0xCF8, 4, 0x0000_0940)
    assert bench.requests.read_port(0xCFC, 4) == 0xFFFF_FFFF


def test_without_pci_ranges_the_configuration_ports_are_ports(bench):
    bench.routing.claim(1, PORT, 0xCF8, 0xCFF, False)
    bench.answers[0xCFC] = 0x8086
    bench.requests.write_port(0xCF8, 4, 0x8000_0000)
    assert bench.requests.read_port(0xCFC, 2) == 0x8086
    bench.requests.write_port(0xCF9, 1, 6)
    assert bench.trace == [
        ("pio", "write", 0xCF8, 4, 0x8000_0000),
        ("pio", "read", 0xCFC, 2),
        ("pio", "write", 0xCF9, 1, 6),
    ]
