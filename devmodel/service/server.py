"""The server: a task for each vCPU's channel, one for posted writes, one for time, one for the core's events.

What is done for each request is `performer.py`.
"""

import contextlib
import errno
import mmap
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import attrs
import structlog
import trio

from devmodel import DevmodelError
from devmodel import log as log_
from devmodel.board import saved
from devmodel.board.bus import Claim, Space
from devmodel.board.device import ONES, Timed
from devmodel.service.clock import TrioClock
from devmodel.service.domain import Domain
from devmodel.service.keeper import Keeper
from devmodel.service.pacer import Pacer
from devmodel.service.performer import Answerer, Performer, Ram, Target
from ioreq import ControlError, DomainGone, IoreqError, ProtocolError, shared
from ioreq.buffered import RingConsumer, newest
from ioreq.control import close_all
from ioreq.control_client import ControlClient
from ioreq.histogram import Histogram
from ioreq.layout import (
    BUFFERED_SLOTS,
    TYPE_COPY,
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
    GetVcpuContext,
    GetVideoMemory,
    HandOver,
    IsaIrqLevel,
    KeepState,
    KeptState,
    MapIoRange,
    PciIntxLevel,
    Reset,
    ResetDone,
    SetIoreqServerState,
    Shutdown,
    UnmapIoRange,
    VcpuContext,
    VideoMemory,
)
from ioreq.messages import (
    Space as SpaceNumber,
)
from ioreq.mirror import HELD
from ioreq.request import Request
from ioreq.server import ServerEndpoint, VcpuChannel
from ioreq.standby import stands_by
from ioreq.state_area import AREA_SIZE, StateArea

log = structlog.get_logger()

FAREWELL: Final = 0.1
"""Seconds that a core may take to hear that we leave."""
HAND_OVER: Final = 5.0
"""Seconds that it may take to stop its vCPUs for our successor."""
LOCATED: Final = 0.5
"""Seconds that it may take to say where the guest is, when a chip has failed."""
CODE: Final = 1
"""CS among the segments of a `VcpuContext`."""


@attrs.define
class ChipFailed(DevmodelError):  # noqa: N818  (it says what happened; `main` shows its traceback)
    """A chip has raised, which no guest may bring about: a bug of the chip's author.

    One line says which, in what access, and where the guest was; the exception that it raised is the cause.
    """

    chip: str
    access: str
    """What it was doing, as a person reads it."""
    posted: bool = False
    """The guest has run on since."""
    where: str = ""
    """CS:RIP, as far as the core said."""

    def __str__(self) -> str:
        what = f"chip '{self.chip}' failed in {self.access}"
        if self.where:
            what += f", {'posted before' if self.posted else 'by'} the instruction at {self.where}"
        return f"{what}: {log_.origin(self.__cause__)}" if self.__cause__ is not None else what


class Board(Target, Protocol):
    """What the server needs of a machine: see `devmodel.board.pc`."""

    rearm: Callable[[], None]
    """Called when something other than an access may have changed a deadline; the server sets it."""

    @property
    def timed(self) -> Sequence[Timed]:
        """Who has deadlines."""
        ...

    @property
    def alone(self) -> int:
        """Which of them, as bits by their order, move no other's deadline when they are ticked."""
        ...

    @property
    def acknowledges(self) -> bool:
        """Whether it has the interrupt controller."""
        ...

    @property
    def config_functions(self) -> Sequence[int]:
        """PCI functions, as bus, device and function in 16 bits, that are configured by PCI_CONFIG requests."""
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


@attrs.frozen
class Estate:
    """What a predecessor has left: the state of its board, and what the guest has posted since that was saved."""

    saved: saved.Saved
    exact: bool
    """Nothing has happened since."""
    performed: Sequence[Request] = ()
    """What it performed after it had saved: to be done again, but for its effects outside."""
    posted: Sequence[Request] = ()
    """What it did not come to."""
    complete: bool = True
    """Nothing is missing between the state and these."""


class Attachment:
    """One ioreq server of ours at a core, before it is enabled.

    `area` is where its state is kept, if it is; `estate` what a predecessor has left there.
    """

    area: StateArea | None = None
    estate: Estate | None = None

    def __init__(self, client: ControlClient, id_: int, descriptors: Sequence[int], *, mirror: bool) -> None:
        self.client = client
        self.id = id_
        self.moved: Callable[[], None] = lambda: None
        """Hears that the guest has put something elsewhere, or taken it away."""
        self._drain_to: Server | None = None
        self._next_cell = HELD + 1
        self.endpoint = ServerEndpoint(descriptors, client.descriptors[2:], self._drain, mirror=mirror)
        self.domain = Domain(client, self.endpoint.channels[0].send, self.endpoint.hold, id_)

    @classmethod
    async def create(
        cls, client: ControlClient, *, mirror: bool = True, key: str | None = None, video: bool = False
    ) -> "Attachment":
        """Create an ioreq server; without `mirror` the core asks it for everything.

        With `key` the core keeps its state, and it inherits that of the last server with the same key. With `video` it
        has video memory, if the core has some; so has the guest with `mirror`, by which writes are made to wait.

        Raises:
            IoreqError: the core refuses, or hands out what is none.
            DevmodelError: the host has no descriptor or no memory left, or what a predecessor left cannot be read.

        """
        created = await client.call(CreateIoreqServer(mirror=mirror))
        assert isinstance(created, Created)  # the client has seen to that
        _, descriptors = await client.call_with_descriptors(GetIoreqServerInfo(created.id))
        try:
            attachment = cls(client, created.id, descriptors, mirror=mirror)
        except BaseException as error:
            close_all(descriptors)
            if isinstance(error, OSError):
                raise DevmodelError(f"cannot attach to {client.path}: {error.strerror or error}") from error
            raise
        try:
            if video:
                attachment.domain.shows_video = mirror
                await attachment._share_video()
            if key is not None:
                await attachment._keep(key)
        except BaseException:
            attachment.close()
            raise
        return attachment

    async def _share_video(self) -> None:
        """Find out what video memory there is, if the core knows of any."""
        try:
            memory = await self.client.call(GetVideoMemory())
        except ControlError as error:
            if error.errno != errno.EINVAL:
                raise
            log.debug("server.no_video_memory", why=error.text)
            return
        assert isinstance(memory, VideoMemory)  # the client has seen to that
        try:
            self.domain.share_video(memory)
        except OSError as error:
            raise DevmodelError(f"cannot attach to {self.client.path}: {error.strerror or error}") from error

    async def _keep(self, key: str) -> None:
        """Have our state kept, if the core knows how, and read what there is."""
        try:
            kept, descriptors = await self.client.call_with_descriptors(KeepState(self.id, key))
        except ControlError as error:
            if error.errno != errno.EINVAL:
                raise
            log.debug("server.keeps_no_state", why=error.text)
            return
        assert isinstance(kept, KeptState)  # the client has seen to that
        try:
            if not 1 <= len(descriptors) <= 2:
                raise ProtocolError(f"{len(descriptors)} descriptors for a state that is kept")
            self.area = StateArea(shared.map_shared(descriptors[0], AREA_SIZE))
            data = self.area.read()
            if data is not None:
                ring = shared.map_page(descriptors[1]) if len(descriptors) == 2 else None
                self.estate = _estate(saved.unpack(data), kept, ring)
        except OSError as error:
            raise DevmodelError(f"cannot attach to {self.client.path}: {error.strerror or error}") from error
        finally:
            close_all(descriptors)

    async def enable(self, server: "Server") -> None:
        """Claim what the server's bus has and interrupt acknowledge, then let requests come."""
        self._drain_to = server
        self.domain.coalesces = self.endpoint.cells is not None and stands_by()
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
        self.moved()

    def _bind(self, claim: Claim) -> int:
        """Give a range's mirrors their cells, and return the first; 0 if there are none, or no room."""
        cell, end = self._next_cell, self._next_cell + claim.last + 1 - claim.first
        if not claim.mirrors or self.endpoint.cells is None or end > len(self.endpoint.cells):
            return 0
        for offset, mirror in claim.mirrors:
            mirror.bind(
                self.endpoint.cells[cell + offset : cell + offset + mirror.size],
                claim.first + offset,
                coalesces=self.domain.coalesces,
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


def _first(group: BaseExceptionGroup[ChipFailed]) -> ChipFailed:
    """Return the first of the failures in a group, which may hold groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ChipFailed)
    return error


def _estate(state: saved.Saved, kept: KeptState, ring: mmap.mmap | None) -> Estate:
    exact = state.whole and kept.exact
    if ring is None or exact:
        return Estate(state, exact)
    since = max(kept.posted - state.performed, 0)
    writes = newest(ring, kept.posted, since)
    performed = [write for slot, write in writes if slot < kept.posted - kept.in_flight]
    # A server that was enabled and died before it saved has left its predecessor's state.
    complete = since <= BUFFERED_SLOTS and state.server == kept.server
    return Estate(state, exact, performed, [write for _, write in writes[len(performed) :]], complete)


class Server:
    """Serves a board to a core. With a `keeper`, its state outlives it."""

    def __init__(
        self,
        board: Board,
        attachment: Attachment,
        clock: TrioClock,
        keeper: Keeper | None = None,
        performer: Callable[[Target, Ram], Performer] = Performer,
    ) -> None:
        self.board = board
        self.performer = performer(board, attachment.domain.ram)
        self.attachment = attachment
        self.domain = attachment.domain
        self.keeper = keeper
        self.handed_over = False
        self.on_reset: Callable[[], None] = lambda: None
        """Hears of every reset of the machine."""
        self._scope = trio.CancelScope()
        self.pacer = Pacer(
            clock,
            board.timed,
            keeper,
            failed=self._tick_failed,
            touched=board.bus.take_touched,
            alone=board.alone,
        )
        board.rearm = self.pacer.rearm
        self.service_times: dict[str, Histogram] = {}
        """Of a sample of the requests, by device: how long it took to perform them."""
        attachment.endpoint.buffered.rest = self.pacer.look

    async def run(self) -> Shutdown | None:
        """Serve until the domain is shut down, and say how it was; None if it was handed over.

        Raises:
            DomainGone: the core is gone without a word.

        """
        await self.domain.settle()  # what building the board has asked for
        await self.attachment.enable(self)
        if self.keeper is not None:
            self.keeper.begin()
        try:
            shutdown = await self._run()
        except BaseExceptionGroup as group:
            failed, _ = group.split(ChipFailed)
            if failed is None:
                raise
            error = _first(failed)
            raise await self._located(error) from error.__cause__
        if self.handed_over:
            return None
        if shutdown is None:
            client = self.attachment.client
            raise client.why or DomainGone(f"the core on {client.path} is gone")
        return shutdown

    async def _run(self) -> Shutdown | None:
        shutdown: Shutdown | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pacer.run)
            nursery.start_soon(self.domain.run)
            nursery.start_soon(self.attachment.endpoint.buffered.serve)
            for channel in self.attachment.endpoint.channels:
                nursery.start_soon(self.serve_vcpu, channel)
            with self._scope:
                shutdown = await self._hear()
            nursery.cancel_scope.cancel()
        return shutdown

    async def hand_over(self) -> bool:
        """Leave the guest to a successor, which finds the state whole; `run` then ends. False if that cannot be.

        We serve until no vCPU runs; then what the guest posted is performed, and nothing happens any more.
        """
        if self.keeper is None:
            return False
        try:
            with trio.fail_after(HAND_OVER):
                await self.attachment.client.call(HandOver(self.attachment.id))
                self.drain(self.attachment.endpoint.ring)
                await self.domain.settle()
        except (IoreqError, trio.TooSlowError) as error:
            log.warning(
                "server.not_handed_over", why=str(error) or f"the guest did not stop for {HAND_OVER} s"
            )
            return False
        self.handed_over = self.keeper.save(whole=True)
        self._scope.cancel()
        return self.handed_over

    def replay(self, writes: Sequence[Request]) -> None:
        """Perform what was posted to a predecessor."""
        for write in writes:
            self.performer.perform_posted(write)

    async def serve_vcpu(self, vcpu: VcpuChannel) -> None:
        """Answer one vCPU for ever. Cancel to stop."""
        answerer = Answerer(
            self.performer,
            vcpu,
            self.domain.ops,
            answered=self.pacer.answered,
            served=self.served,
            failed=self._failed,
        )

        async def settle() -> None:
            await self.domain.settle()  # the access is done; the guest waits for what it brought about
            answerer.finish()

        await vcpu.serve(answerer.answer, settle)

    def served(self, request: Request, ns: int) -> None:
        """Note how long a request took here; one in so many is measured."""
        self.service_times.setdefault(self._name(request), Histogram()).note(ns)

    def attempt(self, request: Request) -> int:
        """Perform a request that is not the guest's own.

        Raises:
            ChipFailed: a chip has raised.

        """
        try:
            return self.performer.perform(request)
        except Exception as error:
            raise self._failed(request) from error

    def _name(self, request: Request) -> str:
        """Return the name of whoever answers a request."""
        if request.type in (TYPE_PIO, TYPE_COPY):
            space = self.board.bus.pio if request.type == TYPE_PIO else self.board.bus.memory
            mapping = space.find(request.address)
            return "" if mapping is None else mapping.name
        return "pci configuration" if request.type == TYPE_PCI_CONFIG else "interrupt"

    def _failed(self, request: Request, *, posted: bool = False) -> ChipFailed:
        """Return what is to be raised where a request has raised."""
        size, ports = request.size, request.type == TYPE_PIO
        where = f"{'port' if ports else 'address'} {request.address:#x}"
        bytes_ = f"{size} byte{'s' * (size > 1)}"
        if request.type not in (TYPE_PIO, TYPE_COPY, TYPE_PCI_CONFIG):
            access = "an interrupt-acknowledge cycle"
        elif request.read:
            access = f"a read of {bytes_} at {where}"
        elif request.data_is_ptr:
            access = f"a write of {request.count} times {bytes_} at {where}"
        else:
            access = f"a write of {request.data & ONES[size]:#x} ({bytes_}) at {where}"
        return ChipFailed(self._name(request), access, posted)

    def _tick_failed(self, chip: Timed, now: int) -> ChipFailed:
        """Return what is to be raised where a chip's timer has raised."""
        return ChipFailed(self._name_of(chip) or type(chip).__name__, f"its timer at {now} ns")

    def _name_of(self, chip: object) -> str:
        chips: Mapping[str, object] = getattr(self.board, "chips", {})
        return next((name for name, other in chips.items() if other is chip), "")

    def _raised_by(self, error: Exception) -> str:
        """Return the name of the chip through whose methods an error came, or what it is otherwise."""
        names = [
            self._name_of(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__)
        ]
        return next(filter(None, names), "one of the board's")

    async def _located(self, error: ChipFailed) -> ChipFailed:
        """Return the failure of a chip with what instruction the guest is at, if the core says so."""
        context = None
        with trio.move_on_after(LOCATED, shield=True), contextlib.suppress(IoreqError):
            context = await self.attachment.client.call(GetVcpuContext())
        if not isinstance(context, VcpuContext):
            return error
        code = context.segments[CODE]
        where = f"{code.selector:04x}:{context.rip:08x}"
        if code.base:
            where += f" (linear {code.base + context.rip & 0xFFFF_FFFF:#x})"
        return attrs.evolve(error, where=where)

    def drain(self, ring: RingConsumer) -> None:
        """Do what was posted; at most a ring of it, then others get their turn."""
        try:
            self.performer.drain(ring)
        except ProtocolError:
            raise
        except Exception as error:
            raise self._failed(self.performer.posted, posted=True) from error
        self.pacer.note()

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
                    self.on_reset()
                    try:
                        self.board.reset()
                    except Exception as error:
                        raise ChipFailed(self._raised_by(error), "a reset") from error
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
