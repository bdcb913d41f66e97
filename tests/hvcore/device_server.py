"""A device model in a thread: the server side of the wire, answering as a test says and keeping a trace."""

import mmap
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ioreq import VERSION
from ioreq.buffered import RingConsumer
from ioreq.core import CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import PAGE_SIZE, TYPE_COPY, TYPE_INTACK, TYPE_INVALIDATE, TYPE_PCI_CONFIG, TYPE_PIO
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    CreateIoreqServer,
    Event,
    GetIoreqServerInfo,
    Hello,
    Ok,
    Reply,
    SetIoreqServerState,
)
from ioreq.request import Request
from ioreq.server import ServerEndpoint

MIRROR = 3
"""Which descriptor of an endpoint is the mirror page."""
NAMES = {
    TYPE_PIO: "pio",
    TYPE_COPY: "copy",
    TYPE_PCI_CONFIG: "pci",
    TYPE_INTACK: "intack",
    TYPE_INVALIDATE: "flush",
}


def dup(fds: list[int]) -> list[int]:
    return [os.dup(fd) for fd in fds]


class DeviceServer:
    """`answers` maps an address to a value or to a callable of the request; `trace` is what came."""

    def __init__(self, descriptors: list[int], doorbells: list[int], ram: Any = None) -> None:
        self.trace: list[tuple[Any, ...]] = []
        self.answers: dict[int, int | Callable[[Request], int]] = {}
        self.partial = 0
        self.ram = ram
        self._posted = Request()
        self.end = ServerEndpoint(descriptors, doorbells, self._drain)
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _drain(self, ring: RingConsumer) -> None:
        while ring.take(self._posted):
            r = self._posted
            self.trace.append(("posted", r.address, r.size, r.data))

    def _run(self) -> None:
        channel = self.end.channels[0]
        while not self._stop:
            request = channel.pending_request()
            if request is None:
                if self.end.ring.waiting():
                    self._drain(self.end.ring)
                time.sleep(0.0002)
                continue
            self._answer(channel, request)

    def _answer(self, channel: Any, r: Request) -> None:
        count = min(r.count, self.partial) if self.partial else r.count
        way = "read" if r.read else "write"
        value = 0
        if r.data_is_ptr:
            self.trace.append((NAMES[r.type], way, r.address, r.size, count, hex(r.data), r.descending))
            step = -r.size if r.descending else r.size
            for i in range(count):
                at = r.data + i * step
                if r.read:
                    self.ram[at : at + r.size] = self._value(r).to_bytes(r.size, "little")
                else:
                    self.trace.append(("data", bytes(self.ram[at : at + r.size]).hex()))
        elif r.read:
            self.trace.append((NAMES[r.type], way, r.address, r.size, *((count,) if r.count > 1 else ())))
            value = self._value(r)
        else:
            self.trace.append(
                (NAMES[r.type], way, r.address, r.size, r.data, *((count,) if r.count > 1 else ()))
            )
            self._value(r)
        channel.respond_count(value, count)

    def _value(self, r: Request) -> int:
        answer = self.answers.get(r.address, 0)
        value = answer(r) if callable(answer) else answer
        return (value or 0) & ((1 << 8 * r.size) - 1)

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.end.close()


class Attached:
    """A core endpoint and its server, in one process."""

    def __init__(self, ram: Any = None) -> None:
        self.doorbell = VcpuDoorbell(make_doorbell())
        self.core = CoreEndpoint([self.doorbell], mirror=True)
        self.mirror = mmap.mmap(self.core.descriptors[MIRROR], PAGE_SIZE)
        pages = self.core.descriptors[:MIRROR] + self.core.descriptors[MIRROR + 1 :]
        self.server = DeviceServer(dup(pages), [self.doorbell.fd], ram)

    def close(self) -> None:
        self.server.close()
        self.core.close()
        os.close(self.doorbell.fd)


class Peer:
    """A device model's control connection, blocking."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(5)
        self.sock.connect(path)
        self.events = []
        self.fds = []
        self.lock = threading.Lock()
        self.decoder = msgspec.json.Decoder(Reply | Event)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 65536, 16)
        self.fds = fds
        return self.decoder.decode(data) if data else None

    def call(self, op):
        # While `start` awaits its reply the guest may already run, and its device model call.
        with self.lock:
            self.sock.send(msgspec.json.encode(op))
            while True:
                message = self.receive()
                if isinstance(message, Reply):
                    return message
                self.events.append(message)

    def event(self):
        return self.events.pop(0) if self.events else self.receive()

    def greet(self):
        self.info = self.call(Hello(VERSION, "test"))
        self.domain_fds = self.fds
        return self.info

    def attach(self, *, interrupts=True):
        """Create a server with a thread behind it, enabled; returns the thread's end."""
        self.greet()
        self.id = self.call(CreateIoreqServer()).id
        self.call(GetIoreqServerInfo(self.id))
        ram = mmap.mmap(self.domain_fds[0], self.info.ram[0].length)
        server = DeviceServer(self.fds, self.domain_fds[2:], ram)
        if interrupts:
            assert self.call(ClaimInterruptAcknowledge(self.id)) == Ok()
        assert self.call(SetIoreqServerState(self.id, True)) == Ok()
        return server
