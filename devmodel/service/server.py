"""The server: a task for each vCPU's channel, one for posted writes, one for time, one for the core's events.

`Server.serve_vcpu` is where an access is atomic: between `next_request` and `respond` nothing awaits, unless
a chip asked something of the core, and then the access itself is done already.
"""

import contextlib
import struct
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic_ns
from typing import Final, Protocol

import structlog
import trio

from devmodel import DevmodelError
from devmodel.board.bus import Bus, Claim, Space
from devmodel.board.device import ONES, Device, StringDevice, Timed
from devmodel.service.clock import TrioClock
from devmodel.service.domain import Domain
from devmodel.service.pacer import Pacer
from ioreq import ControlError, DomainGone, IoreqError
from ioreq.buffered import RingConsumer
from ioreq.control import close_all
from ioreq.control_client import ControlClient
from ioreq.histogram import Histogram
from ioreq.layout import (
    BUFFERED_SLOTS,
    NO_INTERRUPT,
    TYPE_COPY,
    TYPE_INTACK,
    TYPE_INVALIDATE,
    TYPE_PCI_CONFIG,
    TYPE_PIO,
)
from ioreq.messages import (
    SPACE_MEMORY,
    SPACE_PCI,
    SPACE_PORT,
    ClaimInterruptAcknowledge,
    Created,
    CreateIoreqServer,
    DestroyIoreqServer,
    GetIoreqServerInfo,
    IsaIrqLevel,
    MapIoRange,
    PciIntxLevel,
    Reset,
    ResetDone,
    SetIoreqServerState,
    Shutdown,
    UnmapIoRange,
)
from ioreq.messages import (
    Space as SpaceNumber,
)
from ioreq.mirror import HELD
from ioreq.request import Request
from ioreq.server import ServerEndpoint, VcpuChannel

log = structlog.get_logger()

FAREWELL: Final = 0.1
"""Seconds that a core may take to hear that we leave."""
SAMPLE: Final = 61
"""One request in so many is timed: a prime, so that it is not the same one of a loop every time."""
_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Board(Protocol):
    """What the server needs of a machine: see `devmodel.board.pc`."""

    rearm: Callable[[], None]
    """Called when something other than an access may have changed a deadline; the server sets it."""

    @property
    def bus(self) -> Bus:
        """Who answers where."""
        ...

    @property
    def timed(self) -> Sequence[Timed]:
        """Who has deadlines."""
        ...

    @property
    def acknowledges(self) -> bool:
        """Whether it has the interrupt controller."""
        ...

    @property
    def config_functions(self) -> Sequence[int]:
        """PCI functions, as bus, device and function in 16 bits, that are configured by PCI_CONFIG requests."""
        ...

    @property
    def pci_config(self) -> Device:
        """Who answers those: the offset is the request's address."""
        ...

    def acknowledge(self) -> int | None:
        """Answer an interrupt-acknowledge cycle with a vector; None if INTR is low."""
        ...

    def acknowledged(self, vector: int) -> None:
        """Take note that the processor has taken the vector that the board showed."""
        ...

    def reset(self) -> None:
        """Reset every chip."""
        ...

    def isa_irq(self, irq: int, level: bool) -> None:
        """Drive an ISA interrupt line for another ioreq server."""
        ...

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Drive INTA# to INTD# of a PCI device for another ioreq server."""
        ...


class Attachment:
    """One ioreq server of ours at a core, before it is enabled."""

    def __init__(self, client: ControlClient, id_: int, descriptors: Sequence[int], *, mirror: bool) -> None:
        self.client = client
        self.id = id_
        self._drain_to: Server | None = None
        self._next_cell = HELD + 1
        self.endpoint = ServerEndpoint(descriptors, client.descriptors[2:], self._drain, mirror=mirror)
        self.domain = Domain(client, self.endpoint.channels[0].send, self.endpoint.hold)

    @classmethod
    async def create(cls, client: ControlClient, *, mirror: bool = True) -> "Attachment":
        """Create an ioreq server; without `mirror` the core asks it for everything.

        Raises:
            IoreqError: the core refuses, or hands out what is none.
            DevmodelError: the host has no descriptor or no memory left.

        """
        created = await client.call(CreateIoreqServer(mirror=mirror))
        assert isinstance(created, Created)  # the client has seen to that
        _, descriptors = await client.call_with_descriptors(GetIoreqServerInfo(created.id))
        try:
            return cls(client, created.id, descriptors, mirror=mirror)
        except BaseException as error:
            close_all(descriptors)
            if isinstance(error, OSError):
                raise DevmodelError(f"cannot attach to {client.path}: {error.strerror or error}") from error
            raise

    async def enable(self, server: "Server") -> None:
        """Claim what the server's bus has and interrupt acknowledge, then let requests come."""
        self._drain_to = server
        spaces: list[tuple[SpaceNumber, Space]] = [
            (SPACE_PORT, server.board.bus.pio),
            (SPACE_MEMORY, server.board.bus.memory),
        ]
        for number, space in spaces:
            for claim in space.claims():
                cell = self._bind(claim)
                await self.client.call(
                    MapIoRange(self.id, number, claim.first, claim.last, claim.posted, cell)
                )
            space.moved = partial(self._moved, number)
        for function in server.board.config_functions:
            await self.client.call(MapIoRange(self.id, SPACE_PCI, function, function))
        self.endpoint.hold(False)
        if server.board.acknowledges:
            await self.client.call(ClaimInterruptAcknowledge(self.id))
        await self.client.call(SetIoreqServerState(self.id, True))

    def _moved(self, space: SpaceNumber, claim: Claim, there: bool) -> None:
        """Claim what the guest has put somewhere, or give it up, before it runs on."""
        if there:
            self.domain.ask(MapIoRange(self.id, space, claim.first, claim.last, claim.posted))
        else:
            self.domain.ask(UnmapIoRange(self.id, space, claim.first, claim.last))

    def _bind(self, claim: Claim) -> int:
        """Give a range's mirrors their cells, and return the first; 0 if there are none, or no room."""
        cell, end = self._next_cell, self._next_cell + claim.last + 1 - claim.first
        if not claim.mirrors or self.endpoint.cells is None or end > len(self.endpoint.cells):
            return 0
        for offset, mirror in claim.mirrors:
            mirror.bind(
                self.endpoint.cells[cell + offset : cell + offset + mirror.size], claim.first + offset
            )
        self._next_cell = end
        return cell

    async def leave(self) -> None:
        """Destroy the ioreq server, if the core still listens: so it knows that we have not died."""
        with trio.move_on_after(FAREWELL, shield=True), contextlib.suppress(IoreqError):
            await self.client.call(DestroyIoreqServer(self.id))

    def close(self) -> None:
        """Close the descriptors."""
        self.endpoint.close()

    def _drain(self, ring: RingConsumer) -> None:
        if self._drain_to is not None:
            self._drain_to.drain(ring)


class Server:
    """Serves a board to a core."""

    def __init__(self, board: Board, attachment: Attachment, clock: TrioClock) -> None:
        self.board = board
        self.attachment = attachment
        self.domain = attachment.domain
        self.pacer = Pacer(clock, board.timed)
        board.rearm = self.pacer.rearm
        self.service_times: dict[str, Histogram] = {}
        """Of a sample of the requests, by device: how long it took to perform them."""
        attachment.endpoint.buffered.rest = self.pacer.look
        self._posted = Request()
        self._acknowledged = board.acknowledged
        self._read_port = board.bus.pio.read
        self._write_port = board.bus.pio.write
        self._read_memory = board.bus.memory.read
        self._write_memory = board.bus.memory.write

    async def run(self) -> Shutdown:
        """Serve until the domain is shut down, and say how it was.

        Raises:
            DomainGone: the core is gone without a word.

        """
        await self.attachment.enable(self)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pacer.run)
            nursery.start_soon(self.domain.run)
            nursery.start_soon(self.attachment.endpoint.buffered.serve)
            for channel in self.attachment.endpoint.channels:
                nursery.start_soon(self.serve_vcpu, channel)
            shutdown = await self._hear()
            nursery.cancel_scope.cancel()
        if shutdown is None:
            client = self.attachment.client
            raise client.why or DomainGone(f"the core on {client.path} is gone")
        return shutdown

    async def serve_vcpu(self, vcpu: VcpuChannel) -> None:
        """Answer one vCPU for ever. Cancel to stop."""
        domain, perform, note = self.domain, self.perform, self.pacer.note
        left = SAMPLE
        while True:
            request = await vcpu.next_request()
            # No checkpoint from here to the answer: an access is atomic.
            left -= 1
            if left:
                value = perform(request)
            else:
                left = SAMPLE
                before = monotonic_ns()
                value = perform(request)
                self.served(request, monotonic_ns() - before)
            if domain.unsettled:
                await domain.settle()  # the access is done; the guest waits for what it brought about
            vcpu.respond(value)
            note()

    def served(self, request: Request, ns: int) -> None:
        """Note how long a request took here; one in `SAMPLE` is measured."""
        name = "interrupt"
        if request.type in (TYPE_PIO, TYPE_COPY):
            space = self.board.bus.pio if request.type == TYPE_PIO else self.board.bus.memory
            mapping = space.find(request.address)
            name = "" if mapping is None else mapping.name
        elif request.type == TYPE_PCI_CONFIG:
            name = "pci configuration"
        self.service_times.setdefault(name, Histogram()).note(ns)

    def perform(self, request: Request) -> int:
        """Do one request, and return the data to answer."""
        type_ = request.type
        if request.count == 1 and not request.data_is_ptr:
            if type_ == TYPE_PIO:
                if request.read:
                    return self._read_port(request.address, request.size)
                self._write_port(request.address, request.size, request.data & ONES[request.size])
                return 0
            if type_ == TYPE_COPY:
                if request.read:
                    return self._read_memory(request.address, request.size)
                self._write_memory(request.address, request.size, request.data & ONES[request.size])
                return 0
        if type_ == TYPE_INTACK:
            vector = self.board.acknowledge()
            return NO_INTERRUPT if vector is None else vector
        if type_ in (TYPE_PIO, TYPE_COPY):
            return self._repeat(request)
        if type_ == TYPE_PCI_CONFIG and request.count == 1 and not request.data_is_ptr:
            return self._configure(request)
        if type_ == TYPE_INVALIDATE:
            return 0  # the core wanted what it had posted performed
        log.debug("server.request_ignored", type=type_, address=request.address)
        return ONES[request.size]

    def _configure(self, request: Request) -> int:
        """Do a configuration access to a PCI function of ours, behind ports of another server."""
        config = self.board.pci_config
        if request.read:
            return config.read(request.address, request.size)
        config.write(request.address, request.size, request.data & ONES[request.size])
        return 0

    def drain(self, ring: RingConsumer) -> None:
        """Do what was posted; at most a ring of it, then others get their turn."""
        request = self._posted
        for _ in range(BUFFERED_SLOTS):
            if not ring.take(request):
                break
            if request.type == TYPE_PIO:
                self._write_port(request.address, request.size, request.data)
            elif request.type == TYPE_COPY:
                self._write_memory(request.address, request.size, request.data)
            else:
                self._acknowledged(request.data & 0xFF)
        else:
            ring.finish()
        self.pacer.note()

    def _repeat(self, request: Request) -> int:
        """Do a string instruction's items. In memory the address steps, in ports not; a data pointer does."""
        size, count = request.size, request.count
        if request.type == TYPE_PIO and request.data_is_ptr and not request.descending:
            device = self.board.bus.pio.strings(request.address, size)
            if device is not None:
                return self._string(request, *device)
        step = -size if request.descending else size
        space = self.board.bus.pio if request.type == TYPE_PIO else self.board.bus.memory
        address_step = 0 if request.type == TYPE_PIO else step
        addresses = [request.address + n * address_step & ONES[8] for n in range(count)]
        lowest = request.data + min(0, (count - 1) * step) & ONES[8]
        layout = f"<{count}{_FORMATS[size]}"
        if request.read:
            values = [space.read(address, size) for address in addresses]
            if not request.data_is_ptr:
                return values[-1]
            self.domain.ram.store(lowest, struct.pack(layout, *(values if step > 0 else reversed(values))))
            return request.data
        if request.data_is_ptr:
            values = list(struct.unpack(layout, self.domain.ram.load(lowest, count * size)))
            if step < 0:
                values.reverse()
        else:
            values = [request.data & ONES[size]] * count
        for address, value in zip(addresses, values, strict=True):
            space.write(address, size, value)
        return request.data

    def _string(self, request: Request, device: StringDevice, offset: int) -> int:
        """Move a string between RAM and a device that takes it in one go."""
        size, count = request.size, request.count
        if request.read:
            self.domain.ram.store(request.data, device.read_string(offset, size, count))
        else:
            device.write_string(offset, size, self.domain.ram.load(request.data, size * count))
        return request.data

    async def _hear(self) -> Shutdown | None:
        """Follow the core's events until it says goodbye, or is gone.

        What the guest posted before comes before: an acknowledge cycle before the fall and the next rise of its line
        at another server, a write before the reset, and the last words before the end.
        """
        ring = self.attachment.endpoint.ring
        async for event in self.attachment.client.events:
            if ring.waiting():
                self.drain(ring)
            match event:
                case Shutdown():
                    return event
                case Reset():
                    self.board.reset()
                    await self.domain.settle()
                    await self._reset_done()
                    self.pacer.rearm()
                case IsaIrqLevel(irq=irq, level=level):
                    self.board.isa_irq(irq, level)
                case PciIntxLevel(bus=0, device=device, intx=intx, level=level):
                    self.board.pci_intx(device, intx, level)
                case PciIntxLevel():
                    log.debug("server.no_such_pci_bus", line=repr(event))
        return None

    async def _reset_done(self) -> None:
        """Say so; a core that is gone by now ends its events too, which is where we learn of it."""
        try:
            await self.attachment.client.call(ResetDone())
        except ControlError as error:
            log.warning("server.refused", op="reset_done", why=error.text)
        except IoreqError:
            log.debug("server.reset_of_a_core_that_is_gone")
