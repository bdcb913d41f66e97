"""Stands in for `hvcore run`: one vCPU, whose whole program is below. FAKE_CORE says how it behaves."""

import argparse
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from ioreq import VERSION, ControlError, shared
from ioreq.control_core import Answer, Connection, ControlServer
from ioreq.core import CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import TYPE_PIO
from ioreq.messages import (
    Created,
    CreateIoreqServer,
    DomainInfo,
    GetIoreqServerInfo,
    GetVideoMemory,
    Hello,
    KeepState,
    Ok,
    Op,
    Pages,
    RamRegion,
    RemoteShutdown,
    SetIoreqServerState,
    Shutdown,
)
from ioreq.request import Request

HOW = os.environ.get("FAKE_CORE", "")
RAM = 1 << 20


class Core:
    def __init__(self) -> None:
        self.bell = VcpuDoorbell(make_doorbell())
        self.fds = [shared.create("ram", RAM), shared.create("pins", 4096), self.bell.fd]
        self.endpoint = CoreEndpoint([self.bell], mirror=True)
        self.enabled = threading.Event()
        self.code: int | None = None

    def hello(self, connection: Connection, hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        return DomainInfo(version=VERSION, vcpus=1, ram=[RamRegion(0, RAM, 0)], name="fake"), self.fds

    def handle(self, connection: Connection, op: Op) -> Answer:
        match op:
            case CreateIoreqServer():
                return Created(0)
            case GetIoreqServerInfo():
                return Pages(0), self.endpoint.descriptors
            case GetVideoMemory():
                raise ControlError(errno.EINVAL, "this core has none")
            case KeepState():
                raise ControlError(errno.EINVAL, "a core that keeps no state")
            case SetIoreqServerState():
                self.enabled.set()
            case RemoteShutdown():
                self.code = op.code
        return Ok()

    def gone(self, connection: Connection) -> None:
        self.endpoint.kill()

    def failed(self, error: BaseException) -> None:
        raise error

    def port(self, address: int, value: int | None = None) -> int:
        request = Request(TYPE_PIO, address, value or 0, read=value is None)
        return self.endpoint.channels[0].transact(request)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("machine", nargs="?")
    parser.add_argument("--domain")
    options, _ = parser.parse_known_args()
    if HOW == "refuse":
        sys.stderr.write(f"hvcore: no such firmware ({' '.join(sys.argv[1:-4])})\n")
        return 2
    if HOW == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    core = Core()
    control = ControlServer(options.domain, core, version=VERSION + (HOW == "newer"))
    control.start()
    if not core.enabled.wait(20):
        return 9
    if HOW == "crash":
        os._exit(7)
    for byte in b"ready\r\n":
        core.port(0x3F8, byte)
    typed = b""
    while HOW != "echo" or not typed.endswith((b"\n", b"\r")):
        if core.port(0x3FD) & 1:
            typed += bytes([core.port(0x3F8)])
        elif HOW in ("deaf", "stubborn"):
            time.sleep(0.01)
        elif HOW != "echo":
            break
    for byte in typed.upper() + b"bye":
        core.port(0x3F8, byte)
    core.port(0xF4, 0x10)
    status = core.code or 0
    control.broadcast(Shutdown(0, status))
    control.close()
    return status


sys.exit(main())
