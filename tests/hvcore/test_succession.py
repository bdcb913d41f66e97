"""What a server leaves, who inherits it, and the vCPU that stands still meanwhile. The processor is scripted."""

import errno
import mmap
import time
from functools import partial
from typing import Any

import pytest

import hvcore.succession
from ioreq.buffered import newest
from ioreq.control import close_all
from ioreq.layout import PAGE_SIZE
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    CreateIoreqServer,
    DestroyIoreqServer,
    GetIoreqServerInfo,
    HandOver,
    IsaIrqLevel,
    KeepState,
    KeptState,
    MapIoRange,
    Ok,
    PciIntxLevel,
    RemoteShutdown,
    Reset,
    ResetDone,
    SetIoreqServerState,
    SetIsaIrqLevel,
    SetPciIntxLevel,
    Shutdown,
)
from ioreq.state_area import AREA_SIZE, StateArea
from tests.hvcore.device_server import DeviceServer
from tests.hvcore.domain_bench import Bench, Scripted, bench, captured
from tests.hvcore.fake_processor import io

__all__ = ["bench"]  # the fixture

SERIAL = (0, 0x3F8, 0x3FF)


class Server:
    """A device model that keeps its state under "all", with a serial port whose writes are posted."""

    def __init__(self, bench: Bench, key: str = "all", *, interrupts: bool = True) -> None:
        self.bench = bench
        self.interrupts = interrupts
        self.end: DeviceServer | None = None
        self.peer = bench.peer()
        self.peer.greet()
        self.id = self.peer.call(CreateIoreqServer()).id
        self.peer.call(GetIoreqServerInfo(self.id))
        self.pages = self.peer.fds
        self.kept = self.peer.call(KeepState(self.id, key))
        assert isinstance(self.kept, KeptState), self.kept
        self.state = StateArea(mmap.mmap(self.peer.fds[0], AREA_SIZE))
        self.ring = mmap.mmap(self.peer.fds[1], PAGE_SIZE) if len(self.peer.fds) == 2 else None
        close_all(self.peer.fds)

    def enable(self) -> "Server":
        self.end = DeviceServer(self.pages, self.peer.domain_fds[2:])
        self.bench.servers.append(self.end)
        self.peer.call(MapIoRange(self.id, *SERIAL, True))
        if self.interrupts:
            assert self.peer.call(ClaimInterruptAcknowledge(self.id)) == Ok()
        assert self.peer.call(SetIoreqServerState(self.id, True)) == Ok()
        return self

    def die(self) -> None:
        if self.end is not None:
            self.end.close()
        self.peer.sock.close()


def guest(bench: Bench, count: int) -> None:
    """Have the guest write the transmitter `count` times, and read its status once."""
    bench.cpu.script = [partial(write, bench.cpu, n & 0xFF) for n in range(count)]
    bench.cpu.script.append(io(0x3FD, 1, read=True, rip=0x7C00))
    bench.cpu.stop()


def write(cpu: Scripted, value: int) -> tuple[int, dict[str, Any]]:
    cpu.registers[0] = value
    return io(0x3F8, 1, read=False, rip=0x7C00)


def played(bench: Bench) -> bool:
    return not bench.cpu.script


def ports(server: Server) -> list[int]:
    assert server.end is not None
    return [entry[3] for entry in server.end.trace if entry[0] == "posted"]


def test_a_server_that_hands_over_leaves_its_state_to_the_next_and_no_vcpu_runs_between(bench):
    first = Server(bench).enable()
    assert first.kept == KeptState()
    assert first.state.read() is None
    first.state.write(b"all the chips")
    guest(bench, 2)
    bench.until(lambda: played(bench))
    assert first.peer.call(HandOver(first.id)) == Ok()
    first.die()
    guest(bench, 3)
    time.sleep(0.1)
    assert len(bench.cpu.script) == 4
    second = Server(bench)
    assert second.kept == KeptState(exact=True, posted=2, in_flight=0)
    assert second.state.read() == b"all the chips"
    time.sleep(0.1)
    assert len(bench.cpu.script) == 4
    second.enable()
    bench.until(lambda: played(bench))
    bench.until(lambda: ports(second) == [0, 1, 2])
    assert ports(first) == [0, 1]


def test_what_is_posted_to_a_dead_server_comes_to_its_successor(bench):
    first = Server(bench).enable()
    first.state.write(b"as it went")
    guest(bench, 2)
    bench.until(lambda: ports(first) == [0, 1])
    first.die()
    bench.until(lambda: not bench.domain._servers)
    guest(bench, 3)
    bench.until(lambda: played(bench))
    assert bench.cpu.registers[0] & 0xFF == 0xFF  # what waits for an answer gets ones
    second = Server(bench)
    assert second.state.read() == b"as it went"
    assert (second.kept.posted, second.kept.in_flight) == (5, 3)
    assert second.ring is not None
    assert [write.data for _, write in newest(second.ring, 5, 5)] == [0, 1, 0, 1, 2]
    second.enable()
    guest(bench, 1)
    bench.until(lambda: played(bench))
    bench.until(lambda: ports(second) == [0])


def test_a_full_ring_of_a_dead_server_keeps_the_oldest(bench):
    first = Server(bench).enable()
    first.die()
    bench.until(lambda: not bench.domain._servers)
    guest(bench, 600)
    bench.until(lambda: played(bench))
    second = Server(bench)
    assert (second.kept.posted, second.kept.in_flight) == (511, 511)
    assert second.ring is not None
    assert [write.data for _, write in newest(second.ring, 511, 511)] == [n & 0xFF for n in range(511)]


def test_a_vcpu_waits_for_a_successor_only_so_long(bench, monkeypatch):
    monkeypatch.setattr(hvcore.succession, "PATIENCE", 0.3)
    first = Server(bench).enable()
    assert first.peer.call(HandOver(first.id)) == Ok()
    first.die()
    guest(bench, 1)
    bench.until(lambda: played(bench))  # ones, and what is posted is kept
    second = Server(bench)
    assert second.kept == KeptState(exact=False, posted=1, in_flight=1)
    second.enable()
    guest(bench, 1)
    bench.until(lambda: ports(second) == [0])


def test_a_successor_that_dies_before_it_serves_leaves_all_to_the_next(bench):
    first = Server(bench).enable()
    first.state.write(b"state")
    guest(bench, 1)
    bench.until(lambda: ports(first) == [0])
    first.die()
    bench.until(lambda: not bench.domain._servers)
    Server(bench).die()
    bench.until(lambda: not bench.domain._servers)
    third = Server(bench)
    assert third.state.read() == b"state"
    assert third.kept.posted == 1
    third.enable()
    guest(bench, 1)
    bench.until(lambda: played(bench))


def test_a_domain_ends_while_its_vcpu_stands_still(bench):
    first = Server(bench).enable()
    assert first.peer.call(HandOver(first.id)) == Ok()
    begin = time.monotonic()
    assert first.peer.call(RemoteShutdown(0, 5)) == Ok()
    assert isinstance(first.peer.event(), Shutdown)
    bench.until(lambda: bench.status is not None)
    assert bench.status == 5
    assert time.monotonic() - begin < 5


def test_a_server_that_leaves_without_handing_over_leaves_nothing(bench):
    first = Server(bench).enable()
    first.state.write(b"state")
    assert first.peer.call(DestroyIoreqServer(first.id)) == Ok()
    assert Server(bench).state.read() is None


def test_a_reset_without_the_server_forgets_its_state(bench):
    first = Server(bench).enable()
    other = Server(bench, "other", interrupts=False)
    other.enable()
    first.state.write(b"before the reset")
    first.die()
    bench.until(lambda: len(bench.domain._servers) == 1)
    assert other.peer.call(RemoteShutdown(1)) == Ok()
    assert other.peer.event() == Reset()
    assert other.peer.call(ResetDone()) == Ok()
    bench.until(lambda: bench.domain._succession._stale)
    assert Server(bench).state.read() is None


def test_a_successor_hears_of_every_line_that_ends_at_it(bench):
    driver = Server(bench, "driver", interrupts=False).enable()
    first = Server(bench).enable()
    first.peer.call(MapIoRange(first.id, 0, 0xCF8, 0xCFF))
    driver.peer.call(SetIsaIrqLevel(5, True))
    driver.peer.call(SetIsaIrqLevel(6, True))
    driver.peer.call(SetPciIntxLevel(0, 3, 1, True))
    assert first.peer.call(HandOver(first.id)) == Ok()
    first.die()
    driver.peer.call(SetIsaIrqLevel(6, False))
    second = Server(bench)
    second.peer.call(MapIoRange(second.id, 0, 0xCF8, 0xCFF))
    second.enable()
    heard = {(event.irq, event.level) for event in second.peer.events if isinstance(event, IsaIrqLevel)}
    assert heard == {(irq, irq == 5) for irq in range(16)}
    assert PciIntxLevel(0, 3, 1, True) in second.peer.events


@pytest.mark.parametrize("key", ["all", "x" * 256])
def test_a_key_is_one_servers(bench, key):
    first = Server(bench, key)
    again = first.peer.call(KeepState(first.id, "another"))
    assert (again.errno, again.text) == (errno.EALREADY, "ioreq server 0 keeps its state already")
    peer = bench.peer()
    peer.greet()
    id_ = peer.call(CreateIoreqServer()).id
    refused = peer.call(KeepState(id_, key))
    assert (refused.errno, refused.text) == (errno.EBUSY, "ioreq server 0 keeps its state under this key")
    assert peer.call(KeepState(0, "another")).errno == errno.EPERM
    assert peer.call(HandOver(id_)).errno == errno.EINVAL
    assert peer.call(KeepState(id_, "")).errno == errno.EINVAL
    assert peer.call(KeepState(id_, key + "!" * (256 - len(key) + 1))).errno == errno.EINVAL


def test_states_of_servers_long_gone_make_room(bench):
    keeper = Server(bench, "kept").enable()
    for n in range(20):
        Server(bench, f"state {n}", interrupts=False).enable().die()
        bench.until(lambda: len(bench.domain._servers) == 1)
    assert len(bench.domain._succession._estates) == 8
    assert keeper.state.read() is None


def test_a_server_is_said_to_hand_over_and_not_to_be_gone(bench, monkeypatch):
    said = captured(monkeypatch)
    first = Server(bench).enable()
    first.peer.call(HandOver(first.id))
    first.die()
    bench.until(lambda: not bench.domain._servers)
    Server(bench).enable()
    events = [entry["event"] for entry in said]
    assert events.count("server.hands_over") == events.count("server.succeeded") == 1
    assert "server.gone" not in events


@pytest.mark.parametrize("others", [0, 1], ids=["no vCPU runs yet", "a vCPU runs"])
def test_of_a_dead_server_that_keeps_its_state_only_that_and_its_ring_stay_open(bench, others):
    for n in range(others):
        Server(bench, f"other {n}").enable()
    dying = Server(bench, "dying", interrupts=False).enable()
    endpoint = bench.domain._servers[dying.id].endpoint
    dying.die()
    bench.until(lambda: dying.id not in bench.domain._servers)
    bench.until(lambda: endpoint.descriptors == [endpoint.ring_descriptor])
