"""A whole machine in one thread, whose time is the number of instructions that its guest has executed.

Core and device models are the real ones but for the wire: a request is performed where it is made. Nothing here
looks at a clock of the host's, so that the same guest does the same every time, to the instruction.
"""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from types import SimpleNamespace
from typing import Any, Final

from devmodel.board.bus import Claim
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.service.server import Server
from hvcore.boot.builder import Builder
from hvcore.config import MachineConfig
from hvcore.cpumodel import DEFAULT, MODELS
from hvcore.exits.requests import ConfigAddress, Interrupted, Requests
from hvcore.routing import MEMORY, PORT, Routing
from hvcore.vcpu import Vcpu
from ioreq import shared
from ioreq.buffered import RingConsumer
from ioreq.core import CoreChannel, CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import (
    PAGE_SIZE,
    PIN_A20_OFFSET,
    PIN_INTR_OFFSET,
    PIN_VECTOR_SHIFT,
    PIN_VECTOR_VALID,
    TYPE_INTACK,
)
from ioreq.mirror import HELD
from ioreq.request import Request

NS_AN_INSTRUCTION: Final = 20
PATIENCE: Final = 1000
"""Entries in which an x87 instruction may wait for somebody to take notice of its error."""
SECTOR: Final = 512
SLICE: Final = 100_000
"""Instructions between two looks at the time, where no chip wants one before."""


class RamDisk:
    """Answers at once."""

    readonly = False

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.sectors = size // SECTOR

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        if isinstance(request, DiskRead):
            first = request.lba * SECTOR
            request.done(bytes(self.data[first : first + request.count * SECTOR]))
        elif isinstance(request, DiskWrite):
            self.data[request.lba * SECTOR : request.lba * SECTOR + len(request.data)] = request.data
            request.done(True)
        else:
            request.done(True)


class Direct(CoreChannel):
    """A channel without a wire: the request is performed where it is made."""

    def __init__(self, perform: Callable[[Request], int]) -> None:
        self.perform = perform

    def transact(self, request: Request) -> int:
        return self.perform(request)

    def kill(self) -> None:
        self.dead = True


class Machine:
    """One guest under one vendor; `trace` is every request with the instruction count it came at.

    With a `lag` writes are posted through a real ring, registers mirrored and vectors shown, and what was posted is
    performed so many instructions later, or when a request wants an answer; without one every write is a request.
    """

    def __init__(
        self,
        vendor: str,
        firmware: str,
        *,
        memory: int = 32 << 20,
        files: Mapping[str, bytes] | None = None,
        lag: int | None = None,
    ) -> None:
        self.lag = lag
        self.trace: list[tuple[Any, ...]] = []
        self.status: int | None = None
        self.crashed: str | None = None
        self.serial = bytearray()
        self.level, self.vector = False, 0
        self._idle = 0
        self._due = 0
        self.builder = Builder.build(MachineConfig(vendor=vendor, firmware=firmware, memory=memory))
        self.memory = self.builder.memory
        self.pins = memoryview(bytearray(4096)).cast("I")
        self.pins[PIN_A20_OFFSET // 4] = 1
        routing = Routing()
        self.vcpu = Vcpu(
            0,
            vendor,
            MODELS[DEFAULT],
            self.memory,
            self.pins,
            SimpleNamespace(ring=lambda: None),  # type: ignore[arg-type]
            self,
            lambda _: Requests(
                routing, 0, ConfigAddress(), completed=lambda: None, failed=lambda _, text: self.crash(text)
            ),
        )
        self.processor = self.vcpu.processor
        self.vcpu.requests.acknowledger = lambda: routing.find_port(0, 1)  # claimed as all are
        low = self.memory.regions[0].length
        fittings = Fittings(memory=[(0, low, 1)], disks=[RamDisk(1 << 20)], files=files or {})
        self.board = Board.build(self, self, fittings)
        self.board.uart.transmit = self.serial.append
        endpoint: Any = SimpleNamespace(buffered=SimpleNamespace())
        attachment: Any = SimpleNamespace(domain=SimpleNamespace(ram=self), endpoint=endpoint)
        self.server = Server(self.board, attachment, self)  # type: ignore[arg-type]
        self.board.rearm = lambda: None  # deadlines are asked for after every slice
        self.bell = VcpuDoorbell(make_doorbell())
        self.endpoint = CoreEndpoint([self.bell], mirror=True)
        self.endpoint.channels[0] = Direct(self.transact)
        ring, cells = (shared.map_shared(self.endpoint.descriptors[n], PAGE_SIZE) for n in (1, 3))
        self.ring = RingConsumer(ring)
        routing.add(0, self.endpoint)
        cell = HELD + 1
        for space, number in ((self.board.bus.pio, PORT), (self.board.bus.memory, MEMORY)):
            for claim in space.claims():
                first = 0 if lag is None or not claim.mirrors else cell
                for offset, mirror in claim.mirrors if first else ():
                    at = first + offset
                    mirror.bind(memoryview(cells).cast("Q")[at : at + mirror.size], claim.first + offset)
                posted = lag is not None and claim.posted
                routing.claim(0, number, claim.first, claim.last, posted, first)
                cell += claim.last + 1 - claim.first if first else 0

            def moved(claim: Claim, there: bool, number: int = number) -> None:
                if there:
                    routing.claim(0, number, claim.first, claim.last, lag is not None and claim.posted)
                else:
                    routing.release(0, number, claim.first, claim.last)

            space.moved = moved
        routing.enable(0, True)
        self.vcpu.reset(self.builder.start_state, False)

    # What the board takes for its clock, its core and guest memory

    def now(self) -> int:
        return self._idle + int(self.processor.icount) * NS_AN_INSTRUCTION

    def intr(self, level: bool) -> None:
        self.level = level
        self.pins[PIN_INTR_OFFSET // 4] = level and 1 | self.vector

    def intr_vector(self, vector: int | None, _alone: bool) -> None:
        if self.lag is not None:
            self.vector = 0 if vector is None else PIN_VECTOR_VALID | vector << PIN_VECTOR_SHIFT
        self.intr(self.level)

    def a20(self, level: bool) -> None:
        self.pins[PIN_A20_OFFSET // 4] = level
        self.processor.sample_pins()

    def memory_type(self, first: int, last: int, type_: Any, /) -> None:
        self.memory.set_type(first, last, type_)
        self.processor.memory_changed()

    @property
    def video(self) -> memoryview:
        return memoryview(self.memory.host)[self.memory.video_offset :]

    def map_video(self, first: int, last: int, offset: int, /) -> None:
        self.memory.map_video(first, last, offset, 0)
        self.processor.memory_changed()

    def unmap_video(self, first: int, last: int, /) -> None:
        self.memory.unmap_video(first, last, 0)
        self.processor.memory_changed()

    def reset(self) -> None:
        self.status = -1

    def shutdown(self, code: int, /) -> None:
        self.status = code

    def read(self, address: int, length: int) -> bytes:
        return self.load(address, length)

    def write(self, address: int, data: bytes) -> None:
        self.store(address, data)

    def load(self, address: int, length: int) -> bytes:
        return self.memory.read(address, length)

    def store(self, address: int, data: bytes) -> None:
        self.memory.write(address, data)
        self.processor.invalidate_code(address, len(data))

    # What the vCPU takes for its channel and its domain

    def transact(self, request: Request) -> int:
        self.server.drain(self.ring)
        answer = 0 if self.status is not None else self.server.performer.perform(request)
        self.trace.append(
            (
                int(self.processor.icount),
                request.type,
                request.address if request.type != TYPE_INTACK else 0,
                request.size,
                request.count,
                request.read,
                answer if request.read else request.data,
                self.load(request.data, request.size * request.count)
                if request.data_is_ptr and self.memory.type_of(request.data) == "ram"
                else b"",
            )
        )
        return answer

    def triple_fault(self) -> None:
        self.status = -1

    def switched_off(self) -> None:
        self.status = 0

    def crash(self, text: str) -> None:
        self.crashed, self.status = text, -2

    def coprocessor_error(self, level: bool) -> None:
        self.server.drain(self.ring)  # as a server does before it acts on what the core says
        self.board.isa_irq(13, level)

    def failed(self, error: BaseException) -> None:
        raise error

    def interrupt_channels(self, vcpu: int) -> Sequence[Any]:
        return []

    # Time

    def run(self, instructions: int) -> None:
        """Run to the guest's end, or for so many instructions, or until an x87 instruction waits in vain."""
        backend, vcpu, processor = self.vcpu.backend, self.vcpu, self.processor
        waited = 0
        while self.status is None and processor.icount < instructions and waited < PATIENCE:
            before = int(processor.icount)
            deadline = self.server.pacer.earliest()
            if vcpu.halted:
                if vcpu.intr():
                    vcpu.halted = not vcpu.interrupts.pin_raised()
                elif deadline is None:
                    self.status = 0
                else:
                    self._idle += max(0, deadline - self.now())
            else:
                left = SLICE if deadline is None else -((self.now() - deadline) // NS_AN_INSTRUCTION)
                backend.enter(max(1, min(SLICE, left, self.lag or SLICE)))
                vcpu.look_at_ferr()
                with contextlib.suppress(Interrupted):
                    backend.handle()
            waiting = bool(processor.ferr) and processor.icount == before
            waited = waited + 1 if waiting else 0
            if self.ring.waiting() and (vcpu.halted or waiting or processor.icount >= self._due):
                self.server.drain(self.ring)
            if not self.ring.waiting():
                self._due = int(processor.icount) + (self.lag or 0)
            self.server.pacer.tick()

    def close(self) -> None:
        """Close the descriptors."""
        self.endpoint.close()
        os.close(self.bell.fd)


DEMO: Final = str(files("devmodel.demo").joinpath("demo.bin"))
SELF_TEST: Final = {"opt/devmodel/self-test": b"1"}
