"""Which server answers: Xen's rules."""

import contextlib
import random
import time

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


def test_the_whole_access_lies_in_what_one_server_has(routing):
    routing.claim(1, PORT, 0x60, 0x6F, False)
    routing.claim(2, PORT, 0x60, 0x60, False)
    routing.claim(2, PORT, 0x62, 0x62, False)
    assert server(routing.find_port(0x60, 1)) == 2
    assert server(routing.find_port(0x60, 2)) == 1
    assert routing.find_port(0x6F, 2) is None


@pytest.mark.parametrize(("space", "find"), [(PORT, "find_port"), (MEMORY, "find_memory")])
def test_ranges_that_adjoin_are_one_as_in_xens_rangesets(routing, space, find):
    """Xen, common/rangeset.c: rangeset_add_range merges what is adjacent."""
    routing.claim(1, space, 0x60, 0x6F, False)
    routing.claim(2, space, 0x61, 0x61, True)
    routing.claim(2, space, 0x60, 0x60, True)
    routing.claim(2, space, 0x62, 0x63, False)
    found = getattr(routing, find)
    assert server(found(0x60, 2)) == 2
    assert found(0x60, 2).posted
    assert server(found(0x60, 4)) == 2
    assert not found(0x60, 4).posted, "a part of it is synchronous"
    assert server(found(0x60, 8)) == 1
    routing.claim(1, space, 0x70, 0x7F, True)
    assert server(found(0x6C, 8)) == 1
    assert found(0x7C, 8) is None
    routing.release(2, space, 0x61, 0x61)
    assert server(found(0x60, 2)) == 1


def test_an_access_over_adjoining_ranges_is_not_mirrored(routing):
    routing._claims[0].endpoint.mirrors = True
    routing.claim(2, PORT, 0x60, 0x60, True, 1)
    routing.claim(2, PORT, 0x61, 0x61, True, 2)
    assert [routing.find_port(0x60, size).mirror for size in (1, 2)] == [1, 0]


def test_lookups_are_what_a_search_through_all_claims_finds(routing):
    """Random claims, releases and states of three servers against the rule said plainly."""
    rng = random.Random(8)
    routing.add(3, Endpoint(3))
    claimed: dict[int, list[tuple[int, int]]] = {1: [], 2: [], 3: []}
    enabled = {1: True, 2: True, 3: False}

    def answers(first, last):
        for number in (3, 2, 1):
            held = {port for low, high in claimed[number] for port in range(low, high + 1)}
            if enabled[number] and set(range(first, last + 1)) <= held:
                return number
        return None

    for _ in range(2000):
        number, first = rng.randrange(1, 4), 0xCE0 + rng.randrange(48)
        match rng.randrange(4):
            case 0 | 1:
                last = first + rng.randrange(8)
                with contextlib.suppress(RangeError):
                    routing.claim(number, PORT, first, last, False)
                    claimed[number].append((first, last))
            case 2 if claimed[number]:
                routing.release(number, PORT, *claimed[number].pop(rng.randrange(len(claimed[number]))))
            case _:
                enabled[number] = not enabled[number]
                routing.enable(number, enabled[number])
        for port in range(0xCE0, 0xD20):
            if not 0xCF8 <= port <= 0xCFF:
                assert server(routing.ports[port]) == answers(port, port)
        port, size = 0xCE0 + rng.randrange(48), rng.choice((1, 2, 4))
        assert server(routing.find_port(port, size)) == answers(port, port + size - 1)


def test_tens_of_thousands_of_ports_come_and_go_at_once():
    """Eight servers with all ports in 256 ranges each: a change took seconds once, with the core deaf meanwhile."""
    routing = Routing()
    for number in range(8):
        routing.add(number, Endpoint(number))
        routing.enable(number, True)
        for n in range(256):
            routing.claim(number, PORT, n << 8, n << 8 | 0xFF, False)
    before = time.process_time()
    routing.enable(3, False)
    routing.release(7, PORT, 0x8000, 0x80FF)
    routing.remove(7)
    assert time.process_time() - before < 0.25
    assert server(routing.ports[0x8000]) == 6


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
