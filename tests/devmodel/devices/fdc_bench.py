"""A floppy controller on a bench, with diskettes and a DMA channel."""

from collections import deque
from typing import Any

import attrs

from devmodel.board.clock import ManualClock
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.board.lines import Line
from devmodel.devices.diskette import Bay, Rate
from devmodel.devices.fdc import Fdc
from devmodel.devices.fdc_execution import PATIENCE_NS
from devmodel.devices.fdc_registers import Op, Reg

MT, MFM, SK = 0x80, 0x40, 0x20  # of a command's first byte (290166, table 5-1): multi-track, MFM, skip
FAST = 10**9  # a second, in which any command ends


@attrs.define
class Medium:
    """An image whose requests are done when `work` is called, and may be made to fail."""

    sectors: int
    readonly: bool = False
    data: bytearray = attrs.field(init=False)
    queue: deque[Any] = attrs.field(factory=deque)
    bad: set[int] = attrs.field(factory=set)
    requests: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.data = bytearray(b"".join(bytes((lba & 0xFF, lba >> 8)) * 256 for lba in range(self.sectors)))

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        self.queue.append(request)

    def work(self) -> None:
        while self.queue:
            request = self.queue.popleft()
            self.requests.append(type(request).__name__)
            match request:
                case DiskRead(lba, count, done):
                    failed = any(lba <= bad < lba + count for bad in self.bad)
                    done(None if failed else bytes(self.data[lba * 512 : (lba + count) * 512]))
                case DiskWrite(lba, data, done):
                    failed = any(lba <= bad < lba + len(data) // 512 for bad in self.bad)
                    if not failed:
                        self.data[lba * 512 : lba * 512 + len(data)] = data
                    done(not failed)
                case DiskFlush(done):
                    done(True)

    def sector(self, lba: int) -> bytes:
        return bytes(self.data[lba * 512 : (lba + 1) * 512])


@attrs.define
class Bench:
    """A controller in a PC, whose 8237 channel moves `count` bytes and then says that this is the end."""

    media: list[Medium]
    models: tuple[str, ...] = ("1.44M", "1.44M")
    clock: ManualClock = attrs.field(factory=ManualClock)
    edges: list[bool] = attrs.field(factory=list)
    moved: bytearray = attrs.field(factory=bytearray)
    to_give: bytearray = attrs.field(factory=bytearray)
    count: int = 0  # bytes to terminal count; 0: the channel is masked
    ended: bool = False
    fdc: Fdc = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        bays = [Bay(model, medium) for model, medium in zip(self.models, self.media, strict=False)]
        self.fdc = Fdc(
            clock=self.clock,
            irq=Line([self.edges.append]),
            bays=(*bays, None, None)[:2],
            dma_request=lambda level: self._serve() if level else None,
        )

    def _serve(self) -> None:
        """Move what the controller has or takes; an empty `to_give` means that it has something for us."""
        while self.count and (ready := self.fdc.execution.dma_ready()):
            length = min(ready, self.count)
            self.count -= length
            if self.to_give:
                data = bytes(self.to_give[:length])
                del self.to_give[:length]
                self.fdc.execution.dma_write(data)
            else:
                self.moved += self.fdc.execution.dma_read(length)
            if not self.count:
                self.fdc.execution.dma_end()

    # verbs

    def out(self, offset: int, value: int) -> None:
        self.fdc.write(offset, 1, value)

    def inp(self, offset: int) -> int:
        return self.fdc.read(offset, 1)

    def on(self, *, units: tuple[int, ...] = (0, 1), rate: int = Rate.R500) -> None:
        """Switch the motors on, and get the controller out of reset."""
        self.out(Reg.DOR, 0)
        self.out(Reg.DOR, 0x0C | sum(0x10 << unit for unit in units) | units[0])
        self.pass_time()
        for _ in range(4):
            self.command(8)
        self.out(Reg.DIR, rate)
        self.command(3, 0xDF, 0x02)
        self.edges.clear()

    def pass_time(self, ns: int = FAST) -> None:
        """Let media and clock go on until nothing more happens within `ns`."""
        end = self.clock.time + ns
        for _ in range(1000):
            for medium in self.media:
                medium.work()
            deadline = self.fdc.deadline()
            if deadline is None or deadline > end:
                break
            self.clock.time = max(self.clock.time, deadline)
            self.fdc.tick()
        self.clock.time = end

    def command(self, *values: int) -> list[int]:
        """Give a command, let it be executed, and return its result."""
        for value in values:
            assert self.inp(Reg.MSR) & 0xC0 == 0x80
            self.out(Reg.FIFO, value)
        self.pass_time(PATIENCE_NS // 2)
        return self.result()

    def result(self) -> list[int]:
        result = []
        while self.inp(Reg.MSR) & 0xD0 == 0xD0:
            result.append(self.inp(Reg.FIFO))
        return result

    def transfer(self, op: int, c: int, h: int, r: int, *, eot: int = 18, count: int = 0, head: int | None = None,
                 unit: int = 0, n: int = 2, last: int = 0xFF) -> list[int]:  # fmt: skip
        self.count = count
        return self.command(op, (h if head is None else head) << 2 | unit, c, h, r, n, eot, 0x1B, last)

    def seek(self, cylinder: int, unit: int = 0) -> list[int]:
        self.command(Op.SEEK, unit, cylinder)
        return self.command(Op.SENSE_INTERRUPT)


def sectors(first: int, count: int) -> bytes:
    return bytes(Medium(2880).data[first * 512 : (first + count) * 512])
