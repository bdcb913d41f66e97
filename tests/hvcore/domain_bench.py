"""A domain on a bench: its processor plays a script, and device models are peers on its socket."""

import threading
import time
from typing import ClassVar

import pytest
import structlog.testing

import hvcore.domain
from hvcore.config import MachineConfig
from hvcore.cpu.exitinfo import ExitKind
from hvcore.domain import Domain
from hvcore.vcpu import Vcpu
from ioreq.messages import CreateIoreqServer, MapIoRange, SetIoreqServerState
from tests.hvcore.device_server import Peer
from tests.hvcore.fake_processor import FakeProcessor

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

    def attach_stuck(self, port):
        """Attach a second server, which has a port and answers nothing."""
        peer = self.peer()
        peer.greet()
        created = peer.call(CreateIoreqServer())
        peer.call(MapIoRange(created.id, 0, port, port))
        peer.call(SetIoreqServerState(created.id, True))
        return peer

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


def other_server(bench):
    """A device model with an ioreq server that does not own the interrupts."""
    peer = bench.peer()
    peer.greet()
    peer.id = peer.call(CreateIoreqServer()).id
    return peer
