"""The domain as the device models see it: its RAM, its pins, and what chips ask of the core.

A chip asks synchronously (`memory_type`, `reset`, …); that queues a device-model op. Whoever serves an access
then settles the queue before it answers, so that the guest never runs on with the old map.
"""

import mmap
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog
import trio

from ioreq import ControlError, IoreqError, shared
from ioreq.control_client import ControlClient
from ioreq.evtchn import SendPort
from ioreq.layout import (
    PAGE_SIZE,
    PIN_A20_OFFSET,
    PIN_COALESCES,
    PIN_INTR_OFFSET,
    PIN_VECTOR_SHIFT,
    PIN_VECTOR_VALID,
)
from ioreq.messages import (
    MORE_RANGES,
    SHUTDOWN_POWEROFF,
    SHUTDOWN_REBOOT,
    MapVideoMemory,
    MemoryType,
    ModifiedMemory,
    Op,
    RamRegion,
    RemoteShutdown,
    SetIsaIrqLevel,
    SetMemType,
    SetPciIntxLevel,
    UnmapVideoMemory,
    VideoMemory,
)
from ioreq.patience import expected

log = structlog.get_logger()

MOST_VIDEO: Final = 256 << 20
"""Bytes of video memory that are believed."""


class Ram:
    """Guest RAM by guest-physical address."""

    def __init__(self, memory: mmap.mmap | bytearray, regions: Sequence[RamRegion]) -> None:
        self._memory = memory
        self._regions = sorted(regions, key=lambda region: region.start)

    def load(self, address: int, length: int) -> bytes:
        """Return `length` bytes; ones where there is no RAM."""
        for region in self._regions:
            at = address - region.start
            if at >= 0 and at + length <= region.length:
                return bytes(self._memory[region.offset + at : region.offset + at + length])
        data = bytearray(b"\xff" * length)
        for start, offset, count in self._parts(address, length):
            data[start : start + count] = self._memory[offset : offset + count]
        return bytes(data)

    def store(self, address: int, data: bytes | memoryview) -> list[tuple[int, int]]:
        """Store; what falls outside RAM is dropped. Return address and length of what does not."""
        length = len(data)
        for region in self._regions:
            at = address - region.start
            if at >= 0 and at + length <= region.length:
                self._memory[region.offset + at : region.offset + at + length] = data
                return [(address, length)]
        parts = self._parts(address, length)
        for start, offset, count in parts:
            self._memory[offset : offset + count] = data[start : start + count]
        return [(address + start, count) for start, _, count in parts]

    def holds(self, address: int, length: int) -> bool:
        """Tell whether all of these bytes are RAM."""
        for region in self._regions:
            if region.start <= address and address + length <= region.start + region.length:
                return True
        return sum(count for _, _, count in self._parts(address, length)) == length

    def _parts(self, address: int, length: int) -> list[tuple[int, int, int]]:
        """Return where parts of a range lie: start in the range, offset in the memory, length."""
        parts = []
        for region in self._regions:
            first = max(address, region.start)
            end = min(address + length, region.start + region.length)
            if first < end:
                parts.append((first - address, region.offset + first - region.start, end - first))
        return parts


class _Written:
    """Ranges of guest RAM that a device has written piece by piece, to be told in one message."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self.ranges = ranges

    def __repr__(self) -> str:
        return repr(self.message())

    def add(self, first: int, last: int) -> bool:
        """Add a range, if there is room for it."""
        begin, end = self.ranges[-1]
        if begin <= first <= end + 1:
            self.ranges[-1] = begin, max(end, last)
        elif len(self.ranges) <= MORE_RANGES:
            self.ranges.append((first, last))
        else:
            return False
        return True

    def message(self) -> ModifiedMemory:
        (first, last), *more = self.ranges
        return ModifiedMemory(first, last, more=tuple(more))


class Domain:
    """What a board is wired to outside of itself."""

    def __init__(
        self,
        client: ControlClient,
        wake_vcpu: SendPort,
        hold_mirror: Callable[[bool], None] = lambda _: None,
        server: int = 0,
    ) -> None:
        """`server` is the id of our ioreq server."""
        info = client.domain
        size = max((region.offset + region.length for region in info.ram), default=0)
        self.client = client
        self.info = info
        self.ram = Ram(shared.map_shared(client.descriptors[0], size) if size else bytearray(), info.ram)
        self.video: memoryview | None = None
        """Memory for a display adapter that the guest can share; None: the core has none."""
        self.shows_video = True
        """Whether the guest may have it; else every access comes to us, to be recorded."""
        self.coalesces = False
        """What is posted to us may lie until we wake: we look at the ring then, and before we sleep."""
        self._server = server
        self._pins = memoryview(shared.map_page(client.descriptors[1])).cast("I")
        self._wake_vcpu = wake_vcpu
        self._hold_mirror = hold_mirror
        self._intr: bool | None = None  # not ours to drive, until a chip of ours does
        self._vector = 0
        self.ops: deque[Op | _Written] = deque()
        """What has been asked for and is not done yet."""
        self._settling = trio.Lock()
        self._queued = trio.Event()

    # -- what a chip asks for ---------------------------------------------------------------------------

    def read(self, address: int, length: int) -> bytes:
        """Read guest RAM, as a bus master."""
        return self.ram.load(address, length)

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write guest RAM, as a bus master; the core hears of it before the guest runs on."""
        for first, length in self.ram.store(address, data):
            if not length:
                continue
            last = first + length - 1
            waiting = self.ops[-1] if len(self.ops) > self._settling.locked() else None
            if not isinstance(waiting, _Written) or not waiting.add(first, last):
                self._queue(_Written([(first, last)]))

    def holds(self, address: int, length: int) -> bool:
        """Tell whether all of these bytes are RAM."""
        return self.ram.holds(address, length)

    def intr(self, level: bool) -> None:
        """Drive the INTR pin of vCPU 0; after what was asked for earlier has been done."""
        self._intr = level
        if not self.ops:
            self._drive()

    def isa_irq(self, irq: int, level: bool) -> None:
        """Drive an ISA interrupt request at the server that has the interrupt controller."""
        self._queue(SetIsaIrqLevel(irq, level))

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Drive INTA# to INTD# (0-3) of a slot at the server that has the host bridge."""
        self._queue(SetPciIntxLevel(bus=0, device=device, intx=intx, level=level))

    def intr_vector(self, vector: int | None, alone: bool) -> None:
        """Show with the pin what acknowledging it would bring, and whether we may be told of it late; None: nothing."""
        self._vector = 0 if vector is None else PIN_VECTOR_VALID | vector << PIN_VECTOR_SHIFT
        if self._vector and alone and self.coalesces:
            self._vector |= PIN_COALESCES
        if not self.ops:
            self._drive()

    def a20(self, level: bool) -> None:
        """Enable or force low address line 20."""
        self._pins[PIN_A20_OFFSET // 4] = int(level)

    def memory_type(self, first: int, last: int, type_: MemoryType) -> None:
        """Change what lies at `first` to `last` inclusive."""
        self._queue(SetMemType(first, last, type_))

    def map_video(self, first: int, last: int, offset: int) -> None:
        """Let the guest find video memory from `offset` on at `first` to `last` inclusive, instead of us."""
        if self.shows_video:
            self._queue(MapVideoMemory(id=self._server, first=first, last=last, offset=offset))

    def unmap_video(self, first: int, last: int) -> None:
        """Take it away again."""
        if self.shows_video:
            self._queue(UnmapVideoMemory(id=self._server, first=first, last=last))

    def ask(self, op: Op) -> None:
        """Ask for an op of the server's own."""
        self._queue(op)

    def reset(self) -> None:
        """Reset the machine."""
        self._queue(RemoteShutdown(SHUTDOWN_REBOOT))

    def shutdown(self, code: int) -> None:
        """Switch the machine off; `code` is the core's exit status."""
        self._queue(RemoteShutdown(SHUTDOWN_POWEROFF, code))

    def share_video(self, memory: VideoMemory) -> None:
        """Map what the core has for a display adapter; nothing, if there are no whole pages of it.

        Raises:
            ProtocolError: it is not there.
            OSError: the host has no memory left.

        """
        if 0 < memory.length <= MOST_VIDEO and not memory.length % PAGE_SIZE:
            mapped = shared.map_shared(self.client.descriptors[0], memory.length, memory.offset)
            self.video = memoryview(mapped)

    # -- the shell's side -------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Have done what was asked for, in order."""
        async with self._settling:
            expected.answers += 1
            try:
                if not await self._do_all():
                    return
            finally:
                expected.answers -= 1
            self._hold_mirror(False)
            self._drive()

    async def _do_all(self) -> bool:
        """Have done what was asked for; False if the core is gone."""
        while self.ops:
            op = self.ops[0]
            try:
                await self.client.call(op.message() if isinstance(op, _Written) else op)
            except ControlError as error:
                log.warning("domain.refused", op=repr(op), why=error.text)
            except IoreqError as error:  # whoever follows the core's events ends us
                log.debug("domain.unsettled", ops=len(self.ops), why=str(error))
                self.ops.clear()
                return False
            self.ops.popleft()
        return True

    async def run(self) -> None:
        """Settle what chips ask for outside of an access: from a timer, or when a disk is done."""
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            await self.settle()

    def _queue(self, op: "Op | _Written") -> None:
        """Ask for it after what was asked for before."""
        self.ops.append(op)
        self._hold_mirror(True)  # who reads a status must not learn of it before the core knows
        self._queued.set()

    def _drive(self) -> None:
        if self._intr is None:
            return
        before, now = self._pins[PIN_INTR_OFFSET // 4], self._intr and 1 | self._vector
        if before != now:
            self._pins[PIN_INTR_OFFSET // 4] = now
            if not before:
                self._wake_vcpu.send()
