"""Two real processes, a million posted writes and transactions, and not one lost."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ioreq import VERSION, shared
from ioreq.control_core import Answer, Connection, ControlServer
from ioreq.core import CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import TYPE_PIO
from ioreq.messages import DomainInfo, Hello, Op, Pages, Shutdown
from ioreq.request import Request

TOTAL = 1_000_000
TRANSACTIONS = 100_000


class Core:
    def __init__(self) -> None:
        self.bell = VcpuDoorbell(make_doorbell())
        self.endpoint = CoreEndpoint([self.bell])
        self.ram = shared.create("ram", 4096)

    def hello(self, connection: Connection, hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        return DomainInfo(version=VERSION, vcpus=1, ram=[]), [self.ram, self.ram, self.bell.fd]

    def handle(self, connection: Connection, op: Op) -> Answer:
        return Pages(0), self.endpoint.descriptors

    def gone(self, connection: Connection) -> None:
        self.endpoint.kill()


def test_a_million_requests_between_two_processes_lose_nothing(tmp_path):
    core = Core()
    path = str(tmp_path / "domain")
    control = ControlServer(path, core)
    control.start()
    peer = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("stress_peer.py")), path, "1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    dice = random.Random(2)
    channel = core.endpoint.channels[0]
    pointers = memoryview(shared.map_shared(core.endpoint.descriptors[1], 4096)).cast("I")
    request = Request(TYPE_PIO, 0x3FD, size=2, read=True)
    posted = transactions = sleeps = 0
    try:
        while posted + transactions < TOTAL:
            for _ in range(dice.randrange(2 * TOTAL // TRANSACTIONS - 2)):
                if core.endpoint.post(0x3F8, 4, posted & 0xFFFFFFFF, TYPE_PIO):
                    posted += 1
                else:
                    break
            request.data = transactions & 0xFFFF
            answer = channel.transact(request)
            assert answer == (transactions ^ posted) & 0xFFFF, (
                "a posted write came after a transaction that followed"
            )
            transactions += 1
            if dice.random() < 0.002:
                sleeps += 1
                time.sleep(dice.random() * 0.003)  # the guest computes: the server falls asleep
                if dice.random() < 0.5:
                    channel.notify()
                if core.endpoint.post(0x3F8, 4, posted & 0xFFFFFFFF, TYPE_PIO):  # must wake it all alone
                    posted += 1
                deadline = time.monotonic() + 10
                while pointers[0] != pointers[1]:
                    assert time.monotonic() < deadline, "a wake-up was lost"
        request.address = 0xF4
        request.size = 4
        assert channel.transact(request) == posted
        assert not core.endpoint.dead
        assert sleeps > 50
        control.broadcast(Shutdown(0, 0))
        assert peer.wait(10) == 0
    finally:
        peer.kill()
        peer.wait()
        control.close()
        core.endpoint.close()
        os.close(core.ram)
        os.close(core.bell.fd)
