"""The domain behind its socket: ops, servers that come, leave and die. The processor is scripted."""

import errno
import gc
import os
import resource
import socket
import threading
import time

import pytest

import hvcore.domain
from hvcore import ConfigError
from hvcore.cpu.exitinfo import ExitKind
from ioreq import VERSION
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    Created,
    CreateIoreqServer,
    DestroyIoreqServer,
    DomainInfo,
    Error,
    GetIoreqServerInfo,
    MapIoRange,
    NrVcpus,
    Ok,
    SetIoreqServerState,
    Vcpus,
)
from ioreq.patience import MOST
from ioreq.placement import Placement
from tests.hvcore.device_server import DeviceServer
from tests.hvcore.domain_bench import Bench, ScriptedVcpu, bench, captured, other_server
from tests.hvcore.fake_processor import io

__all__ = ["bench"]  # the fixture


def descriptors():
    """How many this process has open; what other tests have left in circles is none of ours."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_hello_describes_the_domain(bench):
    info = bench.peer().greet()
    assert isinstance(info, DomainInfo)
    assert (info.version, info.vcpus, info.name) == (VERSION, 1, "guest")
    assert [(r.start, r.length, r.offset) for r in info.ram] == [(0, 2 << 20, 0)]
    assert (info.e820[0].start, info.e820[0].length, info.e820[0].type) == (0, 0x9FC00, 1)


def test_the_socket_is_private_and_goes_with_the_domain(bench):
    assert os.stat(bench.path).st_mode & 0o777 == 0o600
    bench.domain.end(0, 0)
    bench.until(lambda: bench.status is not None)
    assert not os.path.exists(bench.path)


def test_the_guest_starts_when_an_enabled_server_owns_interrupt_acknowledge(bench):
    peer = bench.peer()
    peer.greet()
    assert peer.call(CreateIoreqServer()) == Created(0)
    assert peer.call(SetIoreqServerState(0, True)) == Ok()
    assert bench.cpu.budgets == []
    bench.cpu.script = [(ExitKind.BUDGET, {})]
    assert peer.call(ClaimInterruptAcknowledge(0)) == Ok()
    bench.until(lambda: bench.cpu.budgets)


def test_a_vcpu_that_polls_in_vain_steps_aside_from_the_process_of_the_server(bench, monkeypatch):
    asked = []
    monkeypatch.setattr(Placement, "step_aside", lambda _place, pid: bool(asked.append(pid)))
    peer = bench.peer()
    peer.greet()
    assert peer.call(CreateIoreqServer()) == Created(0)
    (channel,) = bench.domain._servers[0].endpoint.channels
    channel._awake.most = channel._awake.looks = MOST  # as on a host with several processors
    while channel._awake.looks:
        channel._awake.slept(50_000)
    assert asked == [os.getpid()]


def test_an_out_reaches_the_server_and_comes_back(bench):
    bench.cpu.script = [io(0x3F8, 1, read=True, rip=0x7C00)]
    peer = bench.peer()
    peer.greet()
    peer.call(CreateIoreqServer())
    peer.call(MapIoRange(0, 0, 0x3F8, 0x3FF))
    peer.call(GetIoreqServerInfo(0))
    server = DeviceServer(peer.fds, peer.domain_fds[2:])
    bench.servers.append(server)
    server.answers[0x3F8] = 0x41
    peer.call(ClaimInterruptAcknowledge(0))
    peer.call(SetIoreqServerState(0, True))
    bench.until(lambda: bench.cpu.registers[0] == 0x41)
    assert server.trace == [("pio", "read", 0x3F8, 1)]
    assert bench.cpu.sampled == 1
    bench.until(lambda: bench.cpu.rip == 0x7C01)


def test_ops_on_somebody_elses_server_are_refused(bench):
    bench.attach()
    other = bench.peer()
    other.greet()
    refused = other.call(MapIoRange(0, 0, 0x60, 0x60))
    assert isinstance(refused, Error)
    assert (refused.errno, refused.text) == (1, "ioreq server 0 belongs to another device model")
    assert other.call(DestroyIoreqServer(5)).errno == 2
    assert other.call(CreateIoreqServer()) == Created(1)
    assert other.call(ClaimInterruptAcknowledge(1)).errno == 16


def test_eight_servers_are_enough(bench):
    peer = bench.peer()
    peer.greet()
    assert [peer.call(CreateIoreqServer()) for _ in range(8)] == [Created(i) for i in range(8)]
    assert peer.call(CreateIoreqServer()).errno == 28
    assert peer.call(DestroyIoreqServer(3)) == Ok()
    assert peer.call(CreateIoreqServer()) == Created(8)


def test_bad_ranges_are_refused_and_vcpus_counted(bench):
    peer, _ = bench.attach()
    assert peer.call(MapIoRange(0, 0, 0x60, 0x10000)).errno == 22
    assert peer.call(MapIoRange(0, 1, 0xA0000, 0xBFFFF)) == Ok()
    assert peer.call(MapIoRange(0, 1, 0xB8000, 0xB8FFF)).errno == 17
    assert peer.call(NrVcpus()) == Vcpus(1)


def test_endpoints_that_a_waiting_vcpu_cannot_close_yet_are_limited(bench):
    """A loop of create and destroy while the guest waits for a stuck server once used up all descriptors."""
    bench.attach()
    stuck = other_server(bench)
    stuck.call(MapIoRange(stuck.id, 0, 0x60, 0x60))
    stuck.call(SetIoreqServerState(stuck.id, True))
    bench.cpu.script = [io(0x60, 1, read=True, rip=0x7C00)]
    bench.cpu.stop()
    bench.until(lambda: not bench.cpu.script)
    loop = bench.peer()
    loop.greet()
    before = descriptors()
    refused = 0
    for _ in range(100):
        created = loop.call(CreateIoreqServer())
        if isinstance(created, Created):
            assert loop.call(SetIoreqServerState(created.id, True)) == Ok()
            assert loop.call(DestroyIoreqServer(created.id)) == Ok()
        else:
            assert created.errno == errno.EAGAIN
            refused += 1
    assert refused == 92
    assert descriptors() < before + 100
    stuck.sock.close()
    bench.until(lambda: bench.domain._closing == 0)
    assert descriptors() <= before
    assert isinstance(loop.call(CreateIoreqServer()), Created)


def test_a_server_that_was_never_enabled_is_freed_at_once(bench):
    loop = bench.peer()
    loop.greet()
    bench.attach()
    before = descriptors()
    for _ in range(100):
        created = loop.call(CreateIoreqServer())
        assert loop.call(DestroyIoreqServer(created.id)) == Ok()
    assert descriptors() == before


def test_an_ioreq_server_that_the_host_has_no_descriptors_for_leaks_none(bench):
    loop = bench.peer()
    loop.greet()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()
    open_now = [int(name) for name in os.listdir("/proc/self/fd")]
    refused = 0
    try:
        for limit in range(min(set(range(4096)) - set(open_now)) + 1, 4096):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            answer = loop.call(CreateIoreqServer())
            if answer == Created(0):
                break
            assert answer.errno == errno.EMFILE
            refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused >= 5
    assert loop.call(DestroyIoreqServer(0)) == Ok()
    assert descriptors() == len(open_now)


def test_the_guest_waits_for_every_server_of_its_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(hvcore.domain, "Vcpu", ScriptedVcpu)
    bench = Bench(tmp_path, "vmx", servers=3)
    bench.thread.start()
    try:
        bench.attach(interrupts=False)
        bench.attach()
        assert not bench.cpu.started.wait(0.2)
        bench.attach(interrupts=False)
        assert bench.cpu.started.wait(5)
    finally:
        bench.end()


def test_a_server_that_dies_over_a_request_answers_ones_and_another_takes_its_place(bench):
    _peer, _ = bench.attach()
    stuck = bench.attach_stuck(0x60)
    bench.cpu.script = [io(0x60, 1, read=True, rip=0x7C00)]
    bench.cpu.stop()
    time.sleep(0.05)
    assert bench.cpu.registers[0] == 0
    stuck.sock.close()
    bench.until(lambda: bench.cpu.registers[0] == 0xFF)
    again, server = bench.attach(interrupts=False)
    server.answers[0x60] = 0x1C
    again.call(MapIoRange(again.id, 0, 0x60, 0x60))
    bench.cpu.script = [io(0x60, 1, read=True, rip=0x7C01)]
    bench.cpu.stop()
    bench.until(lambda: bench.cpu.registers[0] == 0x1C)


def test_within_a_tenth_of_a_second_of_a_servers_death_the_guest_goes_on_and_others_are_not_disturbed(bench):
    _, other = bench.attach()
    other.answers[0x40] = 0x77
    bench.peers[0].call(MapIoRange(0, 0, 0x40, 0x40))
    dying = other_server(bench)
    dying.call(MapIoRange(dying.id, 0, 0x1F0, 0x1F7))
    dying.call(SetIoreqServerState(dying.id, True))
    died: list[float] = []

    def ask() -> tuple[ExitKind, dict[str, object]]:
        threading.Timer(0.05, lambda: (died.append(time.monotonic()), dying.sock.close())).start()
        return io(0x1F0, 4, read=True, rip=0x7C00)

    went_on: list[float] = []

    def go_on() -> tuple[ExitKind, dict[str, object]]:
        went_on.append(time.monotonic())
        assert bench.cpu.registers[0] == 0xFFFFFFFF
        return io(0x40, 1, read=True, rip=0x7C01)

    bench.cpu.script = [ask, go_on]
    bench.cpu.stop()
    bench.until(lambda: bench.cpu.registers[0] & 0xFF == 0x77)
    assert went_on[0] - died[0] < 0.1


def test_the_end_of_a_server_is_said_once_at_warning_level(bench, monkeypatch):
    peer, _ = bench.attach()
    logs = captured(monkeypatch)
    peer.sock.close()
    bench.until(lambda: bench.domain._servers == {})
    assert [line for line in logs if line["log_level"] != "info"] == [
        {"event": "server.gone", "program": "test", "servers": [0], "log_level": "warning"}
    ]


def test_a_socket_of_a_dead_core_is_taken_over_and_a_living_one_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hvcore.domain, "Vcpu", ScriptedVcpu)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dead.bind(str(tmp_path / "domain"))
    dead.close()
    bench = Bench(tmp_path, "vmx")
    bench.thread.start()
    with pytest.raises(ConfigError, match="another core listens there"):
        Bench(tmp_path, "vmx")
    bench.end()
