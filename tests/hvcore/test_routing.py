"""Which server answers: Xen's rules."""

import pytest

from hvcore.routing import MEMORY, PCI, PORT, RangeError, Routing


class Endpoint:
    def __init__(self, name):
        self.name = name
        self.channels = [name]


@pytest.fixture
def routing():
    routing = Routing()
    for number in (1, 2):
        routing.add(number, Endpoint(number))
        routing.enable(number, True)
    return routing


def server(found):
    return None if found is None else found.server


def test_the_newest_server_wins(routing):
    routing.claim(1, PORT, 0x60, 0x64, False)
    routing.claim(2, PORT, 0x64, 0x64, False)
    assert [server(routing.ports[port]) for port in (0x60, 0x64, 0x65)] == [1, 2, None]


def test_the_whole_access_lies_in_one_range(routing):
    routing.claim(1, PORT, 0x60, 0x6F, False)
    routing.claim(2, PORT, 0x60, 0x60, False)
    routing.claim(2, PORT, 0x61, 0x61, False)
    assert server(routing.find_port(0x60, 1)) == 2
    assert server(routing.find_port(0x60, 2)) == 1
    assert routing.find_port(0x6F, 2) is None


def test_a_disabled_server_is_asked_nothing(routing):
    routing.claim(1, PORT, 0x60, 0x60, False)
    routing.claim(2, PORT, 0x60, 0x60, False)
    routing.enable(2, False)
    assert server(routing.ports[0x60]) == 1
    routing.enable(2, True)
    assert server(routing.ports[0x60]) == 2


def test_a_server_that_goes_uncovers_the_older_one(routing):
    routing.claim(1, MEMORY, 0xA0000, 0xBFFFF, False)
    routing.claim(2, MEMORY, 0xB8000, 0xBFFFF, True)
    assert server(routing.find_memory(0xB8000, 2)) == 2
    assert server(routing.find_memory(0xB7FFF, 2)) == 1
    routing.remove(2)
    assert server(routing.find_memory(0xB8000, 2)) == 1
    routing.release(1, MEMORY, 0xA0000, 0xBFFFF)
    assert routing.find_memory(0xB8000, 2) is None


def test_pci_functions_are_claimed_by_segment_bus_device_function(routing):
    routing.claim(1, PCI, 0x0008, 0x000F, False)
    assert server(routing.find_pci(0x0009)) == 1
    assert routing.find_pci(0x0010) is None


def test_the_configuration_ports_always_take_the_slow_lookup(routing):
    routing.claim(1, PORT, 0xCF8, 0xCFF, False)
    assert routing.ports[0xCF8] is routing.ports[0xCFF] is None
    assert server(routing.find_port(0xCFC, 4)) == 1


@pytest.mark.parametrize(
    ("space", "first", "last", "errno"),
    [(PORT, 0, 0x10000, 22), (PORT, 5, 4, 22), (3, 0, 0, 22), (PORT, 0x62, 0x70, 17)],
)
def test_a_bad_range_is_refused(routing, space, first, last, errno):
    routing.claim(1, PORT, 0x60, 0x64, False)
    with pytest.raises(RangeError) as refused:
        routing.claim(1, space, first, last, False)
    assert refused.value.errno == errno


def test_a_range_is_released_as_it_was_claimed(routing):
    routing.claim(1, PORT, 0x60, 0x64, False)
    with pytest.raises(RangeError) as refused:
        routing.release(1, PORT, 0x60, 0x63)
    assert refused.value.errno == 2
    with pytest.raises(RangeError):
        routing.claim(9, PORT, 0, 0, False)


def test_a_server_has_at_most_256_ranges_a_space(routing):
    for port in range(256):
        routing.claim(1, PORT, port, port, False)
    with pytest.raises(RangeError) as refused:
        routing.claim(1, PORT, 0x200, 0x200, False)
    assert refused.value.errno == 28
