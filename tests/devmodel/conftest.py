"""A core that is none: it hands out pages and descriptors as `hvcore` does, and a test is its vCPU."""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import trio

from devmodel.board.bus import Bus
from devmodel.config import Config
from devmodel.service.outside import Outside, opened
from devmodel.service.session import join, serve
from ioreq import VERSION, ControlError, shared
from ioreq.control_core import Answer, Connection, ControlServer
from ioreq.core import CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PIO
from ioreq.messages import (
    Created,
    CreateIoreqServer,
    DomainInfo,
    Event,
    GetIoreqServerInfo,
    GetVcpuContext,
    GetVideoMemory,
    Hello,
    KeepState,
    MapIoRange,
    Ok,
    Op,
    Pages,
    RamRegion,
    SegmentRegister,
    SetIoreqServerState,
    VcpuContext,
)
from ioreq.request import Request

RAM = 1 << 20


class FakeCore:
    """One domain of one vCPU, whose instructions are the methods below; call those in a thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.bell = VcpuDoorbell(make_doorbell())
        self.fds = [shared.create("ram", RAM), shared.create("pins", 4096)]
        self.ram = shared.map_shared(self.fds[0], RAM)
        self.pins = shared.map_shared(self.fds[1], 4096)
        self.endpoint = CoreEndpoint([self.bell], mirror=True)
        self.ops: list[Op] = []
        self.enabled = threading.Event()
        self.gone_event = threading.Event()
        self.on_op: Callable[[Op], None] = lambda _: None
        self.connection: Connection | None = None
        self.request = Request()
        self.control = ControlServer(path, self)
        self.control.start()

    # Handler

    def hello(self, connection: Connection, hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        self.connection = connection
        info = DomainInfo(version=VERSION, vcpus=1, ram=[RamRegion(0, RAM, 0)], name="fake")
        return info, [*self.fds, self.bell.fd]

    def handle(self, connection: Connection, op: Op) -> Answer:
        self.ops.append(op)
        self.on_op(op)
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
            case GetVcpuContext():
                flat = SegmentRegister(0, 0, 0xFFFF, 0x93)
                code = SegmentRegister(0xF000, 0xF_0000, 0xFFFF, 0x9B)
                return VcpuContext(
                    gpr=[0] * 8,
                    rip=0xFFF0,
                    rflags=2,
                    cr0=0x10,
                    cr2=0,
                    cr3=0,
                    cr4=0,
                    efer=0,
                    segments=[flat, code, *[flat] * 6],
                    gdtr=(0, 0),
                    idtr=(0, 0x3FF),
                )
        return Ok()

    def gone(self, connection: Connection) -> None:
        self.endpoint.kill()
        self.gone_event.set()

    # the vCPU

    def _do(self, **fields: Any) -> int:
        assert self.enabled.wait(10)
        for name, value in ({"count": 1, "descending": False, "data_is_ptr": False} | fields).items():
            setattr(self.request, name, value)
        return self.endpoint.channels[0].transact(self.request)

    def inp(self, port: int, size: int = 1) -> int:
        return self._do(type=TYPE_PIO, address=port, size=size, read=True, data=0)

    def out(self, port: int, value: int, size: int = 1) -> None:
        self._do(type=TYPE_PIO, address=port, size=size, read=False, data=value)

    def load(self, address: int, size: int = 1) -> int:
        return self._do(type=TYPE_COPY, address=address, size=size, read=True, data=0)

    def string(self, **fields: Any) -> int:
        return self._do(**fields)

    def acknowledge(self) -> int:
        return self._do(type=TYPE_INTACK, address=0, size=2, read=True, data=0)

    def post(self, port: int, value: int) -> bool:
        assert self.enabled.wait(10)
        return self.endpoint.post(port, 1, value, TYPE_PIO)

    def intr(self) -> int:
        return self.pins[0]

    def send(self, event: Event) -> None:
        assert self.connection is not None
        self.connection.send(event)

    def claims(self) -> list[tuple[int, int, int, bool]]:
        return [(op.space, op.first, op.last, op.posted) for op in self.ops if isinstance(op, MapIoRange)]

    def close(self) -> None:
        self.control.close()
        self.endpoint.close()
        for fd in (*self.fds, self.bell.fd):
            os.close(fd)


@pytest.fixture
def core(tmp_path) -> Iterator[FakeCore]:
    core = FakeCore(str(tmp_path / "domain"))
    yield core
    core.close()


class Toy:
    """A device that echoes what was written last, and a serial port without frills."""

    def __init__(self) -> None:
        self.latch = 0
        self.log: list[tuple[int, int, int]] = []
        self.received: deque[int] = deque()
        self.transmit: Callable[[int], None] = lambda _: None
        self.drained: Callable[[], None] = lambda: None
        self.on_write: Callable[[int, int], None] = lambda _offset, _value: None

    def read(self, offset: int, size: int) -> int:
        if offset == 8:
            value = self.received.popleft() if self.received else 0
            self.drained()
            return value
        if offset == 9:
            return len(self.received)
        return self.latch + offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append((offset, size, value))
        if offset == 8:
            self.transmit(value)
        else:
            self.latch = value
        self.on_write(offset, value)

    def room(self) -> int:
        return 16 - len(self.received)

    def receive(self, byte: int) -> None:
        self.received.append(byte)


class Timer:
    """Ticks every millisecond, and counts."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.next = clock.now() + 1_000_000
        self.ticks = 0

    def deadline(self) -> int:
        return self.next

    def tick(self) -> None:
        if self.clock.now() >= self.next:
            self.ticks += 1
            self.next = self.clock.now() + 1_000_000


class ToyBoard:
    """The toy at ports 0x100-0x10F and memory 0xA0000-0xA00FF, posted at 0x200."""

    def __init__(self, outside: Outside, domain, clock) -> None:
        self.bus = Bus()
        self.toy = Toy()
        self.posted = Toy()
        self.timer = Timer(clock)
        self.timed = [self.timer]
        self.alone = 0
        self.domain = domain
        self.outside = outside
        self.resets = 0
        self.taken: list[int] = []
        self.irqs: list[tuple[int, bool]] = []
        self.bus.map("pio", 0x100, 0x10F, self.toy, name="toy", width=4, waits="as tests want")
        self.bus.map("memory", 0xA0000, 0xA00FF, self.toy, name="toy memory", width=8, waits="as tests want")
        self.bus.map("pio", 0x200, 0x200, self.posted, name="posted")

        self.acknowledges = True
        self.config_functions: list[int] = []
        self.pci_config = self.toy
        self.intx: list[tuple[int, int, bool]] = []

    def acknowledge(self) -> int:
        return 0x20

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        self.intx.append((device, intx, level))

    def acknowledged(self, vector: int) -> None:
        self.taken.append(vector)

    def reset(self) -> None:
        self.resets += 1

    def isa_irq(self, irq: int, level: bool) -> None:
        self.irqs.append((irq, level))

    def screen(self):
        return None

    def connect_serial(self, line, number=0) -> None:
        self.toy.transmit = line.transmit
        self.toy.drained = line.drained
        line.connect(self.toy)

    def press(self, keys: list[str]) -> None:
        raise ValueError(f"there is no key '{'-'.join(keys)}'")


@pytest.fixture
def toy_board() -> type[ToyBoard]:
    return ToyBoard


class Running:
    """A served toy board; `guest` runs the vCPU's program in a thread."""

    def __init__(self, core: FakeCore, board: ToyBoard, outside: Outside) -> None:
        self.core = core
        self.board = board
        self.outside = outside

    async def guest(self, program: Callable[[], Any]) -> Any:
        with trio.fail_after(20):
            return await trio.to_thread.run_sync(program, abandon_on_cancel=True)


@pytest.fixture
async def start(core, nursery):
    """Start serving a configuration; returns `Running`."""

    async def starter(config: Config | None = None) -> Running:
        ready: trio.Event = trio.Event()
        found: list[Any] = []

        async def run() -> None:
            async with opened(config or Config()) as outside:
                client = await join(core.path)

                def on_ready(board) -> None:
                    found.extend((board, outside))
                    ready.set()

                try:
                    result = await serve(outside, client, ToyBoard, on_ready=on_ready)
                    found.append(result)
                finally:
                    client.close()

        nursery.start_soon(run)
        await ready.wait()
        while not core.enabled.is_set():
            await trio.sleep(0.001)
        running = Running(core, found[0], found[1])
        running.found = found
        return running

    return starter
