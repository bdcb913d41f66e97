"""The domain behind its socket: ops, dying servers, reset, shutdown. The processor is scripted."""

import contextlib
import errno
import gc
import mmap
import os
import resource
import socket
import threading
import time
from typing import ClassVar

import msgspec
import pytest
import structlog.testing

import hvcore.domain
from hvcore import ConfigError
from hvcore.config import MachineConfig
from hvcore.cpu.exitinfo import ExitKind
from hvcore.domain import Domain
from hvcore.memory import MAX_WRITTEN, VIDEO_SPACE
from hvcore.vcpu import Vcpu
from ioreq import VERSION
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    Created,
    CreateIoreqServer,
    DestroyIoreqServer,
    DomainInfo,
    Error,
    GetIoreqServerInfo,
    GetVideoMemory,
    InjectEvent,
    IsaIrqLevel,
    MapIoRange,
    MapVideoMemory,
    ModifiedMemory,
    NrVcpus,
    Ok,
    PciIntxLevel,
    RemoteShutdown,
    Reset,
    ResetDone,
    SetIoreqServerState,
    SetIsaIrqLevel,
    SetMemType,
    SetPciIntxLevel,
    Shutdown,
    UnmapVideoMemory,
    Vcpus,
)
from tests.hvcore.device_server import DeviceServer, Peer
from tests.hvcore.fake_processor import FakeProcessor, io

VENDORS = ("vmx", "svm")


class Scripted(FakeProcessor):
    """Plays its script, then runs until it is stopped."""

    made: ClassVar["list[Scripted]"] = []

    def __init__(self, memory, pins, vcpu):
        self.wake = threading.Event()
        self.started = threading.Event()
        super().__init__(memory, pins, vcpu)
        Scripted.made.append(self)

    def stop(self):
        super().stop()
        self.wake.set()

    def run(self, budget):
        self.started.set()
        if not self.script:
            self.wake.wait(5)
            self.wake.clear()
            self.exit.kind = ExitKind.BUDGET
            return ExitKind.BUDGET
        return super().run(budget)


class ScriptedVcpu(Vcpu):
    has_thread = True

    def start(self):
        if not self.has_thread:
            raise RuntimeError("can't start new thread")
        super().start()

    def _make_processor(self, memory, pins):
        return Scripted(memory, pins, self.number)


class Bench:
    def __init__(self, folder, vendor, *, reboot=True, servers=1):
        Scripted.made = []
        (folder / "image").write_bytes(b"\xf4")
        self.path = str(folder / "domain")
        self.domain = Domain(
            MachineConfig(vendor=vendor, image=str(folder / "image"), memory=2 << 20, servers=servers),
            self.path,
            reboot=reboot,
        )
        self.cpu = Scripted.made[0]
        self.status = None
        self.thread = threading.Thread(target=self.run)
        self.peers = []
        self.servers = []

    def run(self):
        self.status = self.domain.run()

    def peer(self):
        peer = Peer(self.path)
        self.peers.append(peer)
        return peer

    def attach(self, **how):
        peer = self.peer()
        server = peer.attach(**how)
        self.servers.append(server)
        return peer, server

    def until(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def end(self):
        self.domain.end(0, 0)
        self.thread.join(5)
        assert not self.thread.is_alive()
        for server in self.servers:
            server.close()
        for peer in self.peers:
            peer.sock.close()


@pytest.fixture(params=VENDORS)
def bench(request, tmp_path, monkeypatch):
    monkeypatch.setattr(hvcore.domain, "Vcpu", ScriptedVcpu)
    bench = Bench(tmp_path, request.param, reboot=getattr(request.function, "reboot", True))
    bench.thread.start()
    yield bench
    bench.end()


def captured(monkeypatch):
    """What the domain logs from now on, as dictionaries."""
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr(
        hvcore.domain, "log", structlog.wrap_logger(None, [capture], structlog.make_filtering_bound_logger(0))
    )
    return capture.entries


def descriptors():
    """How many this process has open; what other tests have left in circles is none of ours."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def no_reboot(test):
    test.reboot = False
    return test


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


def other_server(bench):
    """A device model with an ioreq server that does not own the interrupts."""
    peer = bench.peer()
    peer.greet()
    peer.id = peer.call(CreateIoreqServer()).id
    return peer


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
    stuck = bench.peer()
    stuck.greet()
    stuck.call(CreateIoreqServer())
    stuck.call(MapIoRange(1, 0, 0x60, 0x60))
    stuck.call(SetIoreqServerState(1, True))
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


def test_memory_types_and_written_code_reach_the_processor_before_the_guest_runs_on(bench):
    peer, _ = bench.attach()
    changes = bench.cpu.changed
    assert peer.call(SetMemType(0xC0000, 0xC7FFF, "ram")) == Ok()
    bench.until(lambda: bench.cpu.changed == changes + 1)
    assert bench.domain.memory.type_of(0xC0000) == "ram"
    assert peer.call(SetMemType(0xC0000, 0xC7FFE, "ram")).errno == 22
    assert peer.call(ModifiedMemory(0x1000, 0x1FFF)) == Ok()
    bench.until(lambda: bench.cpu.invalidated == [(0x1000, 0x1000)])
    assert peer.call(ModifiedMemory(1, 0)).errno == 22


def test_video_memory_is_there_when_what_was_posted_before_is_performed(bench):
    """Type 8 goes first: what the guest wrote to the device must not be overtaken by what it writes to memory."""
    peer, _ = bench.attach()
    memory = peer.call(GetVideoMemory())
    assert (memory.offset, memory.length) == (bench.domain.memory.video_offset, VIDEO_SPACE)
    bench.until(bench.cpu.started.is_set)
    changes = bench.cpu.changed
    assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF, offset=0x1000)) == Ok()
    bench.until(lambda: bench.cpu.changed == changes + 1)
    assert bench.domain.memory.type_of(0xB8000) == "video"
    assert bench.cpu.invalidated == [(0xB8000, 0x8000)]
    assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFE, offset=0)).errno == 22
    assert peer.call(MapVideoMemory(id=99, first=0xB8000, last=0xBFFFF, offset=0)).errno == 2
    assert peer.call(UnmapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF)) == Ok()
    bench.until(lambda: bench.cpu.changed == changes + 2)
    assert bench.domain.memory.type_of(0xB8000) == "mmio"


def test_video_memory_goes_with_its_server(bench):
    peer, _ = bench.attach()
    assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF, offset=0)) == Ok()
    peer.sock.close()
    bench.until(lambda: bench.domain.memory.type_of(0xB8000) == "mmio")


def test_memory_written_while_the_vcpu_waits_is_one_piece_of_work(bench):
    """It once queued work without limit, and a range up to 2^63 was walked page by page."""
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    held, go = threading.Event(), threading.Event()
    bench.domain.vcpus[0].post(lambda: (held.set(), go.wait(5)))
    assert held.wait(5)
    for n in range(1000):
        assert peer.call(ModifiedMemory(n * 0x100, n * 0x100 + 0xFF)) == Ok()
    assert peer.call(ModifiedMemory(0x90000, (1 << 63) - 1)) == Ok()
    for n in range(100):
        assert peer.call(SetMemType(0xC0000, 0xC7FFF, "ram" if n % 2 else "rom")) == Ok()
        assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF, offset=n << 12)) == Ok()
    assert len(bench.domain.vcpus[0]._work) <= 3
    go.set()
    bench.until(lambda: len(bench.cpu.invalidated) == 2)
    assert bench.cpu.invalidated == [(0, 1000 * 0x100), (0x90000, (1 << 63) - 0x90000)]


def test_scattered_writes_become_one_range_that_has_them_all(bench):
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    held, go = threading.Event(), threading.Event()
    bench.domain.vcpus[0].post(lambda: (held.set(), go.wait(5)))
    assert held.wait(5)
    for n in range(1, MAX_WRITTEN + 2):
        assert peer.call(ModifiedMemory(n * 0x1000, n * 0x1000)) == Ok()
    go.set()
    bench.until(lambda: bench.cpu.invalidated)
    assert bench.cpu.invalidated == [(0x1000, MAX_WRITTEN * 0x1000 + 1)]


def test_what_a_bus_master_scattered_is_told_in_one_message(bench):
    peer, _ = bench.attach()
    assert peer.call(ModifiedMemory(0x1000, 0x1FFF, more=((0x5000, 0x5007), (0x3000, 0x3000)))) == Ok()
    bench.until(lambda: len(bench.cpu.invalidated) == 3)
    assert bench.cpu.invalidated == [(0x1000, 0x1000), (0x5000, 8), (0x3000, 1)]
    assert peer.call(ModifiedMemory(0x1000, 0x1FFF, more=((2, 1),))).errno == 22


def test_a_memory_map_in_too_many_pieces_is_refused_and_stays_as_it_was(bench):
    peer, _ = bench.attach()
    refused = None
    for page in range(0x100, 0x200, 2):
        answer = peer.call(SetMemType(page << 12, (page << 12) + 0xFFF, "mmio"))
        if answer != Ok():
            refused = answer
            break
    assert (refused.errno, refused.text) == (22, "memory would fall into more than 64 runs of pages")
    assert bench.domain.memory.type_of(page << 12) == "ram"


def test_halt_sleeps_until_the_pin_rises_and_then_takes_the_vector(bench):
    peer, server = bench.attach()
    server.answers[0] = 0x20
    bench.cpu.rflags = 0x202
    bench.cpu.script = [(ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01})]
    bench.cpu.stop()
    bench.until(lambda: bench.domain.vcpus[0].halted)
    bench.cpu.script = [(ExitKind.CPUID, {"instruction_length": 2, "next_rip": 0x7C03})]
    pins = mmap.mmap(peer.domain_fds[1], 4096)
    pins[0] = 1
    server.end.channels[0].send.send()
    bench.until(lambda: bench.cpu.injected)
    pins[0] = 0
    assert bench.cpu.injected == [(0, 0x20, None, 0)]
    assert server.trace == [("intack", "read", 0, 2)]
    assert bench.cpu.rip >= 0x7C01


def test_halt_with_interrupts_off_ends_the_domain_whatever_the_pin_says(bench):
    peer, server = bench.attach()
    pins = mmap.mmap(peer.domain_fds[1], 4096)
    pins[0] = 1
    bench.cpu.script = [(ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01})]
    bench.cpu.stop()
    bench.thread.join(5)
    assert bench.status == 0
    assert peer.event() == Shutdown(0, 0)
    assert server.trace == []


def test_a_reset_that_is_due_comes_before_the_end_of_a_guest_that_halts(bench):
    peer, _ = bench.attach()

    def reset_and_halt():
        bench.domain.vcpus[0].post(bench.domain.reset)
        return ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01}

    bench.cpu.script = [reset_and_halt]
    bench.cpu.stop()
    assert peer.event() == Reset()
    peer.call(ResetDone())
    bench.until(lambda: bench.cpu.rip == 0x7C00)
    assert bench.status is None
    assert not bench.domain.vcpus[0].halted


def test_a_trap_that_is_due_ends_a_halt_with_interrupts_off(bench):
    bench.attach()
    bench.cpu.rflags = 0x102  # TF
    budgets = []
    bench.cpu.script = [
        (ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01}),
        lambda: budgets.append(1) or (ExitKind.BUDGET, {}),
    ]
    bench.cpu.stop()
    bench.until(lambda: budgets)
    assert bench.cpu.injected == [(3, 1, None, 0)]
    assert bench.status is None


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (InjectEvent(vector=3, type=2), "event of type 2, vector 3: only NMI, 2 and 2"),
        (InjectEvent(vector=32, type=0), "event of type 0, vector 32: only NMI, 2 and 2"),
        (InjectEvent(vector=2, type=2, vcpu=1), "there is no vCPU 1"),
    ],
)
def test_an_event_that_no_device_brings_about_is_refused(bench, event, why):
    peer, _ = bench.attach()
    assert peer.call(event).text == why


def test_an_interrupt_waits_for_its_window(bench):
    peer, server = bench.attach()
    server.answers[0] = 0x33
    pins = mmap.mmap(peer.domain_fds[1], 4096)
    pins[0] = 1

    def open_window():
        bench.cpu.rflags = 0x202
        return ExitKind.INTERRUPT_WINDOW, {}

    bench.cpu.script = [(ExitKind.EXTERNAL_INTERRUPT, {}), open_window]
    bench.cpu.stop()
    bench.until(lambda: bench.cpu.injected)
    assert bench.cpu.injected == [(0, 0x33, None, 0)]


def test_a_triple_fault_resets_devices_first_and_then_the_processor(bench):
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)  # what it starts with is loaded
    bench.cpu.set_gpr(0, 77)
    bench.domain.memory.set_type(0xC0000, 0xC7FFF, "ram")
    bench.cpu.script = [(ExitKind.TRIPLE_FAULT, {})]
    bench.cpu.stop()
    assert peer.event() == Reset()
    assert bench.cpu.gpr(0) == 77
    assert peer.call(ResetDone()) == Ok()
    bench.until(lambda: bench.cpu.gpr(0) == 0)
    bench.until(lambda: bench.domain.memory.type_of(0xC0000) == "rom")
    bench.until(lambda: bench.cpu.rip == 0x7C00)


def test_a_guest_that_does_nothing_but_fault_is_told_of_once(bench, monkeypatch):
    logs = captured(monkeypatch)
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    for _ in range(12):
        bench.cpu.script = [(ExitKind.TRIPLE_FAULT, {})]
        bench.cpu.stop()
        assert peer.event() == Reset()
        assert peer.call(ResetDone()) == Ok()
        bench.until(lambda: not bench.cpu.script)
    told = [line for line in logs if line["log_level"] == "warning"]
    assert [line["event"] for line in told] == ["domain.faults_without_end"]


@no_reboot
def test_without_reboot_a_triple_fault_ends_the_domain_with_status_1(bench, monkeypatch):
    logs = captured(monkeypatch)
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    bench.cpu.script = [(ExitKind.TRIPLE_FAULT, {})]
    bench.cpu.stop()
    assert peer.event() == Shutdown(3, 1)
    bench.until(lambda: bench.status is not None)
    assert bench.status == 1
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "domain.triple_fault_without_reboot"
    ]


def test_a_device_model_that_leaves_during_a_reset_does_not_hold_it_up(bench):
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)  # what it starts with is loaded
    bench.cpu.set_gpr(0, 77)
    assert peer.call(RemoteShutdown(1)) == Ok()
    assert peer.event() == Reset()
    peer.sock.close()
    bench.until(lambda: bench.cpu.gpr(0) == 0)


@pytest.mark.parametrize("how", ["slow", "for ever"])
def test_a_server_that_is_slow_in_a_reset_is_waited_for_and_then_given_up(bench, monkeypatch, how):
    """One that is stopped for ten seconds is no dead one: that is told by the end of its connection."""
    monkeypatch.setattr(hvcore.domain, "RESET_SLOW", 0.1)
    monkeypatch.setattr(hvcore.domain, "RESET_PATIENCE", 60.0 if how == "slow" else 0.4)
    peer, _ = bench.attach()
    logs = captured(monkeypatch)
    assert peer.call(RemoteShutdown(1)) == Ok()
    assert peer.event() == Reset()
    bench.until(lambda: [line["event"] for line in logs][-1:] == ["server.slow_reset"])
    if how == "slow":
        assert peer.call(ResetDone()) == Ok()
        assert peer.call(NrVcpus()) == Vcpus(1)
    else:
        assert peer.receive() is None
        bench.until(lambda: bench.domain._servers == {})
        assert [line["event"] for line in logs if line["log_level"] != "info"] == [
            "server.slow_reset",
            "server.reset_timeout",
        ]


def test_the_end_of_a_server_is_said_once_at_warning_level(bench, monkeypatch):
    peer, _ = bench.attach()
    logs = captured(monkeypatch)
    peer.sock.close()
    bench.until(lambda: bench.domain._servers == {})
    assert [line for line in logs if line["log_level"] != "info"] == [
        {"event": "server.gone", "program": "test", "servers": [0], "log_level": "warning"}
    ]


def test_a_vcpu_without_a_thread_ends_the_domain_with_a_line(bench, monkeypatch):
    monkeypatch.setattr(ScriptedVcpu, "has_thread", False)
    logs = captured(monkeypatch)
    peer = bench.peer()
    peer.greet()
    peer.call(CreateIoreqServer())
    peer.call(SetIoreqServerState(0, True))
    peer.call(ClaimInterruptAcknowledge(0))
    bench.until(lambda: bench.status is not None)
    assert bench.status == 1
    assert [line["why"] for line in logs if line["log_level"] == "error"] == [
        "no thread for a vCPU: can't start new thread"
    ]


@no_reboot
def test_without_reboot_a_reset_ends_the_domain_with_status_0(bench):
    peer, _ = bench.attach()
    peer.call(RemoteShutdown(1))
    assert peer.event() == Shutdown(0, 0)
    bench.until(lambda: bench.status is not None)
    assert bench.status == 0


def test_power_off_ends_with_the_code_and_everybody_is_told(bench):
    peer, _ = bench.attach()
    other = bench.peer()
    other.greet()
    assert peer.call(RemoteShutdown(0, 33)) == Ok()
    assert peer.event() == Shutdown(0, 33)
    assert other.event() == Shutdown(0, 33)
    bench.until(lambda: bench.status == 33)
    assert other.receive() is None


def test_a_crash_ends_with_status_1(bench):
    peer, _ = bench.attach()
    bench.cpu.task_switches = False
    bench.cpu.script = [(ExitKind.TASK_SWITCH, {"number": 0x28, "instruction_length": 2})]
    bench.cpu.stop()
    assert peer.event() == Shutdown(3, 1)
    bench.until(lambda: bench.status == 1)


def test_a_stuck_server_does_not_hold_up_the_end(bench):
    _peer, _ = bench.attach()
    stuck = bench.peer()
    stuck.greet()
    stuck.call(CreateIoreqServer())
    stuck.call(MapIoRange(1, 0, 0x60, 0x60))
    stuck.call(SetIoreqServerState(1, True))
    bench.cpu.script = [io(0x60, 1, read=True, rip=0x7C00)]
    bench.cpu.stop()
    time.sleep(0.05)
    before = time.monotonic()
    bench.domain.end(0, 0)
    bench.until(lambda: bench.status == 0)
    assert time.monotonic() - before < 1


def test_an_exception_in_the_core_ends_it_with_that_exception(tmp_path, monkeypatch):
    monkeypatch.setattr(hvcore.domain, "Vcpu", ScriptedVcpu)
    bench = Bench(tmp_path, "vmx")

    def broken():
        raise ZeroDivisionError("a bug")

    caught = []

    def run():
        try:
            bench.domain.run()
        except ZeroDivisionError as error:
            caught.append(error)

    bench.thread = threading.Thread(target=run)
    bench.thread.start()
    bench.cpu.script = [broken]
    bench.attach()
    bench.thread.join(5)
    assert [str(error) for error in caught] == ["a bug"]
    bench.end()


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
