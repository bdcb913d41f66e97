"""Interrupt lines that servers drive at each other, through the domain that tells who hears of them."""

import contextlib
import errno
import time

import msgspec
import pytest

from ioreq.messages import (
    DestroyIoreqServer,
    IsaIrqLevel,
    MapIoRange,
    NrVcpus,
    Ok,
    PciIntxLevel,
    SetIsaIrqLevel,
    SetPciIntxLevel,
    Vcpus,
)
from tests.hvcore.domain_bench import bench, other_server

__all__ = ["bench"]  # the fixture


@pytest.mark.parametrize("how", ["its connection ends", "its server is destroyed"])
def test_the_lines_of_a_server_that_is_no_more_fall(bench, how):
    peer, _ = bench.attach()
    gone = other_server(bench)
    gone.call(SetIsaIrqLevel(5, True))
    gone.call(SetIsaIrqLevel(6, True))
    gone.call(SetIsaIrqLevel(6, False))
    if how == "its connection ends":
        gone.sock.close()
    else:
        assert gone.call(DestroyIoreqServer(gone.id)) == Ok()
    levels = [(5, True), (6, True), (6, False), (5, False)]
    assert [peer.event() for _ in range(4)] == [IsaIrqLevel(*level) for level in levels]


def test_only_who_has_an_ioreq_server_drives_lines_and_only_for_itself(bench):
    peer, _ = bench.attach()
    stranger = bench.peer()
    stranger.greet()
    assert stranger.call(SetIsaIrqLevel(5, True)).errno == errno.EPERM
    one, two = other_server(bench), other_server(bench)
    assert one.call(SetIsaIrqLevel(5, True)) == Ok()
    assert two.call(SetIsaIrqLevel(5, False)) == Ok()  # it does not hold it, so nothing falls
    assert two.call(SetIsaIrqLevel(6, True)) == Ok()
    assert [peer.event(), peer.event()] == [IsaIrqLevel(5, True), IsaIrqLevel(6, True)]


def test_lines_are_limited_for_each_device_model(bench):
    other = other_server(bench)
    answers = [other.call(SetPciIntxLevel(bus, 0, 0, True)) for bus in range(65)]
    assert answers[:64] == [Ok()] * 64
    assert answers[64].errno == errno.ENOSPC


def test_a_flood_of_levels_waits_for_the_owner_and_never_costs_it_its_connection(bench):
    peer, _ = bench.attach()
    other = other_server(bench)
    other.sock.setblocking(False)
    sent, quiet = 0, 0
    while quiet < 20:  # the owner reads nothing meanwhile
        try:
            other.sock.send(msgspec.json.encode(SetIsaIrqLevel(5, sent % 2 == 0)))
            sent, quiet = sent + 1, 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.01)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sock.recv(4096)
    levels = [peer.event().level for _ in range(sent)]
    assert levels == [n % 2 == 0 for n in range(sent)]
    assert peer.call(NrVcpus()) == Vcpus(1)


def test_isa_lines_of_other_servers_go_to_the_interrupt_controller(bench):
    other = other_server(bench)
    assert other.call(SetIsaIrqLevel(5, True)) == Ok()  # there is no controller yet; it will hear
    peer, _ = bench.attach()
    assert peer.event() == IsaIrqLevel(5, True)
    third = other_server(bench)
    assert third.call(SetIsaIrqLevel(5, True)) == Ok()  # it shares the line: nothing changes
    assert other.call(SetIsaIrqLevel(5, False)) == Ok()
    assert third.call(SetIsaIrqLevel(6, True)) == Ok()
    assert peer.event() == IsaIrqLevel(6, True)
    third.sock.close()
    bench.peers.remove(third)
    assert {peer.event(), peer.event()} == {IsaIrqLevel(5, False), IsaIrqLevel(6, False)}


def test_pci_lines_of_other_servers_go_to_the_host_bridge(bench):
    other = other_server(bench)
    assert other.call(SetPciIntxLevel(0, 4, 2, True)) == Ok()
    peer, _ = bench.attach()
    bridge = bench.peer()
    server = bridge.attach(interrupts=False)
    bench.servers.append(server)
    assert bridge.call(MapIoRange(bridge.id, 0, 0xCF8, 0xCFF)) == Ok()
    assert other.call(SetPciIntxLevel(0, 4, 2, False)) == Ok()
    assert bridge.event() == PciIntxLevel(0, 4, 2, False)
    assert other.call(SetPciIntxLevel(0, 3, 0, True)) == Ok()
    assert bridge.event() == PciIntxLevel(0, 3, 0, True)
    assert peer.call(NrVcpus()) == Vcpus(1)
    assert peer.events == []
