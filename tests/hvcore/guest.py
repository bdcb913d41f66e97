"""Small real-mode guests on the real processor, under both vendors, which must leave the same device trace.

Each is assembled by nasm, runs from 7C00h, and ends by OUT to port 0xF4. The device model is a thread behind
the real domain socket and the real ioreq page.
"""

import mmap
import threading

import pytest

from hvcore.config import MachineConfig
from hvcore.domain import Domain
from ioreq.layout import PIN_INTR_OFFSET
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    CreateIoreqServer,
    GetIoreqServerInfo,
    MapIoRange,
    RemoteShutdown,
    SetIoreqServerState,
)
from tests.hvcore.cpu.bench import assemble
from tests.hvcore.device_server import DeviceServer, Peer

VENDORS = ("vmx", "svm")


class Guest:
    """A domain with one device model that claims ports 0-0xFFF, 0xA0000-0xBFFFF and interrupt acknowledge."""

    def __init__(
        self,
        folder,
        vendor,
        source,
        *,
        posted=False,
        claim=((0, 0x0000, 0x0FFF), (1, 0xA0000, 0xBFFFF)),
        machine=None,
        statistics=False,
    ):
        if machine is None:
            (folder / "guest.bin").write_bytes(assemble(source))
            machine = MachineConfig(vendor=vendor, image=str(folder / "guest.bin"), memory=2 << 20)
        self.domain = Domain(machine, str(folder / "domain"), statistics=statistics)
        self.status = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.peer = Peer(str(folder / "domain"))
        self.peer.greet()
        self.peer.call(CreateIoreqServer())
        for space, first, last in claim:
            self.peer.call(MapIoRange(0, space, first, last, posted and space == 1))
        self.peer.call(GetIoreqServerInfo(0))
        self.ram = mmap.mmap(self.peer.domain_fds[0], 2 << 20)
        self.pins = memoryview(mmap.mmap(self.peer.domain_fds[1], 4096)).cast("I")
        self.server = DeviceServer(self.peer.fds, self.peer.domain_fds[2:], self.ram)
        self.server.answers[0xF4] = lambda r: self.peer.call(RemoteShutdown(0, r.data & 0xFF)) and 0
        self.peer.call(ClaimInterruptAcknowledge(0))

    def _run(self):
        self.status = self.domain.run()

    def start(self):
        self.peer.call(SetIoreqServerState(0, True))
        return self

    def raise_intr(self, *_):
        self.pins[PIN_INTR_OFFSET // 4] = 1
        self.server.end.channels[0].send.send()
        return 0

    def lower_intr(self):
        self.pins[PIN_INTR_OFFSET // 4] = 0

    def finish(self, seconds=20):
        """Wait for the guest's end; returns the trace without the last OUT."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"rip {self.domain.vcpus[0].processor.rip:#x}"
        trace = list(self.server.trace)
        self.close()
        return trace

    def close(self):
        self.domain.end(0, 0)
        self.thread.join(5)
        self.server.close()
        self.peer.sock.close()


@pytest.fixture
def run(tmp_path):
    """Run a guest under both vendors; returns its trace and status once they are the same."""

    def run(source, prepare=lambda _: None, **how):
        results = []
        for vendor in VENDORS:
            folder = tmp_path / vendor
            folder.mkdir()
            guest = Guest(folder, vendor, source, **how)
            prepare(guest)
            guest.start()
            trace = guest.finish()
            icount = guest.domain.vcpus[0].processor.icount
            results.append((trace, guest.status, icount))
        assert results[0] == results[1]
        return results[0][0], results[0][1]

    return run


END = "\nmov al, 7\nout 0xf4, al\nhlt\n"
LAST = ("pio", "write", 0xF4, 1, 7)
