"""A domain: what the guest's vCPUs and device models share, and the domain socket.

The virtual platform lives here and not in any vCPU: guest memory and its map, the pins page, the ioreq
servers with their ranges, the 0xCF8 latch, who owns interrupt acknowledge, reset and shutdown.

Three kinds of threads meet here. The *control thread* (`ioreq.control.ControlServer`) performs device-model
ops. A *vCPU thread* runs the guest; what it must do for others is posted to it. The *main thread* waits for
the end. `_lock` guards what is written by more than one of them; the access path takes no lock (see
`routing`).
"""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Final

import attrs
import structlog

from hvcore.attached import IoreqServer
from hvcore.boot.builder import Builder
from hvcore.config import MachineConfig
from hvcore.cpu.processor import Processor
from hvcore.cpumodel import MODELS
from hvcore.errors import ConfigError, HvError
from hvcore.exits.requests import ConfigAddress, Requests
from hvcore.hvm import EventKind, Vector
from hvcore.lines import InterruptLines
from hvcore.measured import MeasuredRequests, MeasuredVcpu
from hvcore.memory import VIDEO_SPACE, Written
from hvcore.routing import CONFIG_ADDRESS, MAX_SERVERS, Range, RangeError, Routing
from hvcore.succession import Standstill, Succession, kept
from hvcore.vcpu import Vcpu
from ioreq import VERSION, ControlError, IoreqError, shared
from ioreq.control import peer_pid
from ioreq.control_core import Answer, Connection, ControlServer, Later
from ioreq.core import CoreChannel, CoreEndpoint, VcpuDoorbell
from ioreq.evtchn import make_doorbell
from ioreq.layout import PAGE_SIZE, PIN_A20_OFFSET, STATE_NONE
from ioreq.messages import (
    SHUTDOWN_CRASH,
    SHUTDOWN_POWEROFF,
    SHUTDOWN_REBOOT,
    ClaimInterruptAcknowledge,
    Created,
    CreateIoreqServer,
    DestroyIoreqServer,
    DomainInfo,
    GetIoreqServerInfo,
    GetStatistics,
    GetVcpuContext,
    GetVideoMemory,
    HandOver,
    Hello,
    InjectEvent,
    KeepState,
    MapIoRange,
    MapVideoMemory,
    ModifiedMemory,
    NrVcpus,
    Ok,
    Op,
    Pages,
    PauseDomain,
    RamRegion,
    ReleaseInterruptAcknowledge,
    RemoteShutdown,
    Reset,
    ResetDone,
    SetIoreqServerState,
    SetIsaIrqLevel,
    SetMemType,
    SetPciIntxLevel,
    Shutdown,
    ShutdownReason,
    Statistics,
    UnmapIoRange,
    UnmapVideoMemory,
    UnpauseDomain,
    Vcpus,
    VideoMemory,
)

VCPUS: Final = 1
RESET_SLOW: Final = 2.0
"""Seconds after which a device model that is still resetting its chips is spoken of."""
RESET_PATIENCE: Final = 60.0
"""Seconds after which it is given up. One that died is known at once, by its connection's end; one that is stopped, or
that waits for a slow host, is waited for, as it is with every request."""
FAULTS_SOON: Final = 1.0
"""Seconds between two triple faults of a guest that does nothing else."""
FAULTS_ENDLESS: Final = 5
"""So many of them are told of."""
STOP_PATIENCE: Final = 0.7
"""Seconds that vCPUs have to end."""

log = structlog.get_logger("hvcore.domain")


@attrs.frozen
class Outcome:
    """How a domain ended; `status` is the core's exit status."""

    reason: ShutdownReason
    status: int


class Domain:
    """One guest, from its memory to its end."""

    def __init__(
        self, machine: MachineConfig, socket_path: str, *, reboot: bool = True, statistics: bool = False
    ) -> None:
        """Build everything and listen on `socket_path`. Raises ConfigError before anything starts.

        With `statistics`, where the time goes is measured, and logged at the end.
        """
        self._machine = machine
        self._reboot = reboot
        self._faults = 0
        """Triple faults one soon after the other."""
        self._faulted = 0.0
        """When the last one was, by the host's monotonic clock."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._outcome: Outcome | None = None
        self._failure: BaseException | None = None
        self._ended: SimpleQueue[None] = SimpleQueue()  # unlike an Event, a signal handler may put

        self.builder = Builder.build(machine)
        self.memory = self.builder.memory
        self._pins_fd = shared.create("pins", PAGE_SIZE)
        self.pins = memoryview(shared.map_shared(self._pins_fd, PAGE_SIZE)).cast("I")
        self.pins[PIN_A20_OFFSET // 4] = 1
        self.routing = Routing()
        self.config_address = ConfigAddress()
        self._servers: dict[int, IoreqServer] = {}
        self._next_id = 0
        self._interrupts: Range | None = None
        """The server that owns interrupt acknowledge, in the form that a request wants it."""
        self._closing = 0
        """Endpoints of servers that are no more, which the vCPU has yet to close."""
        self._given_up: set[Connection] = set()
        """Device models whose end has been spoken of."""
        self._lines = InterruptLines(self._interrupt_owner, self._bridge_owner)
        self._resetting: set[Connection] = set()
        self._greeted: set[Connection] = set()
        self._started = False
        self._succession = Succession(self._free)
        self._standstill = Standstill(
            self._changed,
            VCPUS,
            ended=lambda: self._outcome is not None,
            in_vain=self._succession.waited_in_vain,
        )

        self._doorbells = [VcpuDoorbell(make_doorbell()) for _ in range(VCPUS)]
        vcpu_type, self._requests_type = (MeasuredVcpu, MeasuredRequests) if statistics else (Vcpu, Requests)
        self.vcpus = [
            vcpu_type(
                number,
                machine.vendor,
                MODELS[machine.cpu],
                self.memory,
                self.pins,
                doorbell,
                self,
                self._make_requests(number),
            )
            for number, doorbell in enumerate(self._doorbells)
        ]
        self._written = [Written() for _ in self.vcpus]
        self._settling: dict[int, Range] = {}
        """Servers that have shown video memory, or taken it away, and what is posted to them comes before."""
        self._takeovers = [partial(self._take_over, number) for number in range(VCPUS)]
        self._invalidations = [partial(self._invalidate, number) for number in range(VCPUS)]
        for vcpu in self.vcpus:
            vcpu.reset(self.builder.start_state, self.builder.kernel is None)
        try:
            self._control = ControlServer(socket_path, self)
        except IoreqError as error:
            raise ConfigError(str(error)) from None

    def _make_requests(self, number: int) -> Callable[[Processor], Requests]:
        def make(processor: Processor) -> Requests:
            requests = self._requests_type(
                self.routing,
                number,
                self.config_address,
                completed=processor.sample_pins,
                failed=self._server_failed,
            )
            requests.acknowledger = lambda: self._interrupts
            return requests

        return make

    # Life, in the main thread

    def run(self) -> int:
        """Wait for device models, run the guest to its end, and return the core's exit status."""
        self._control.start()
        log.info("domain.waiting", socket=self._control.path, machine=self._machine.name)
        self._ended.get()
        self._close()
        if self._failure is not None:
            raise self._failure
        assert self._outcome is not None
        log.info("domain.ended", reason=self._outcome.reason, status=self._outcome.status)
        return self._outcome.status

    def end(self, reason: ShutdownReason, status: int) -> None:
        """End the domain; the first call counts. From any thread, and from a signal handler."""
        if self._outcome is not None:
            return
        self._outcome = Outcome(reason, status)
        for vcpu in self.vcpus:
            vcpu.stop()
        self._ended.put(None)

    def _close(self) -> None:
        if self._outcome is not None:
            self._control.broadcast(Shutdown(self._outcome.reason, self._outcome.status))
        else:
            self._control.broadcast(Shutdown(SHUTDOWN_CRASH, 1))
        for server in list(self._servers.values()):
            server.endpoint.kill()
        with self._changed:
            self._changed.notify_all()
        stuck = False
        for vcpu in self.vcpus:
            if not vcpu.join(STOP_PATIENCE):
                log.error("vcpu.stuck", vcpu=vcpu.number)
                stuck = True
        self._control.close()
        if stuck:
            return  # the process ends, and takes with it what the thread may be using
        self._started = False  # no vCPU uses anything any more
        self._succession.close()
        for server in self._servers.values():
            server.endpoint.close()
        for bell in self._doorbells:
            os.close(bell.fd)
        os.close(self._pins_fd)
        self.memory.close()

    # Platform, in a vCPU's thread

    def triple_fault(self) -> None:
        """Reset, as a PC's chipset does on the processor's shutdown cycle; without reboot, end with status 1.

        A guest that does little else than fault is told of once, or nobody would know why nothing comes of it.
        """
        rip, now = hex(self.vcpus[0].processor.rip), monotonic()
        log.info("domain.triple_fault", rip=rip)
        if not self._reboot:
            log.error("domain.triple_fault_without_reboot", rip=rip)
            self.end(SHUTDOWN_CRASH, 1)
            return
        self._faults = self._faults + 1 if now - self._faulted < FAULTS_SOON else 1
        self._faulted = now
        if self._faults == FAULTS_ENDLESS:
            log.warning("domain.faults_without_end", rip=rip, hint="--no-reboot ends it at the first one")
        self.reset()

    def switched_off(self) -> None:
        """End with status 0."""
        log.info("domain.switched_off", rip=hex(self.vcpus[0].processor.rip))
        self.end(SHUTDOWN_POWEROFF, 0)

    def crash(self, text: str) -> None:
        """End with status 1."""
        log.error("domain.crashed", why=text)
        self.end(SHUTDOWN_CRASH, 1)

    def coprocessor_error(self, level: bool) -> None:
        """Drive interrupt request 13; in a vCPU's thread."""
        self._lines.coprocessor_error(level)

    def failed(self, error: BaseException) -> None:
        """End with the exception, in the main thread."""
        self._failure = error
        self.end(SHUTDOWN_CRASH, 1)

    def interrupt_channels(self, vcpu: int) -> list[CoreChannel]:
        """Return the channel to the owner of interrupt acknowledge."""
        owner = self._interrupts
        return [] if owner is None else [owner.channels[vcpu]]

    def reset(self) -> None:
        """Reset the device models first, then the map, then the processor. Without reboot: end."""
        if not self._reboot:
            self.end(SHUTDOWN_POWEROFF, 0)
            return
        log.info("domain.reset")
        self._reset_device_models()
        if self._outcome is not None:
            return
        self._succession.forget_all()
        self.config_address.value = 0
        self.pins[PIN_A20_OFFSET // 4] = 1
        with self._lock:
            self.builder.reset_map()
        for vcpu in self.vcpus:
            vcpu.reset(self.builder.start_state, self.builder.kernel is None)

    def _reset_device_models(self) -> None:
        """Tell every device model to reset, and wait until each has, or is gone."""

        def done() -> bool:
            return not self._resetting or self._outcome is not None

        with self._changed:
            self._resetting = {server.connection for server in self._servers.values()}
            for connection in self._resetting:
                connection.send(Reset())
            if not self._changed.wait_for(done, RESET_SLOW):
                for connection in self._resetting:
                    log.warning("server.slow_reset", program=connection.program, seconds=RESET_SLOW)
                self._changed.wait_for(done, RESET_PATIENCE - RESET_SLOW)
            late = [] if done() else list(self._resetting)
            self._resetting = set()
            self._given_up.update(late)
        for connection in late:
            log.error("server.reset_timeout", program=connection.program, seconds=RESET_PATIENCE)
            connection.close()

    def _server_failed(self, server: int, why: str) -> None:
        """Treat a server that broke the protocol as dead. Its connection's end does the rest."""
        attached = self._servers.get(server)
        log.error("server.protocol_error", server=server, why=why)
        if attached is not None:
            self._given_up.add(attached.connection)
            attached.endpoint.kill()
            attached.connection.close()

    # Handler, in the control thread

    def hello(self, connection: Connection, hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        """Describe the domain."""
        log.info("server.attached", program=hello.program)
        with self._lock:
            self._greeted.add(connection)
        info = DomainInfo(
            version=VERSION,
            vcpus=VCPUS,
            ram=[RamRegion(r.address, r.length, r.offset) for r in self.memory.regions],
            e820=self.builder.e820(),
            name=self._machine.name,
            boot={
                "vcpus": VCPUS,
                "memory": self.memory.size,
                "start": self.builder.start,
                **self.builder.told(),
            },
        )
        return info, [self.memory.ram_fd, self._pins_fd, *(bell.fd for bell in self._doorbells)]

    def handle(self, connection: Connection, op: Op) -> Answer:
        """Perform one device-model op."""
        try:
            return self._perform(connection, op)
        except RangeError as error:
            raise ControlError(error.errno, str(error)) from None
        except HvError as error:
            raise ControlError(errno.EINVAL, str(error)) from None

    def gone(self, connection: Connection) -> None:
        """Destroy the servers of a device model that died or left; whoever waits for it goes on."""
        servers = [server for server in self._servers.values() if server.connection is connection]
        known = connection in self._given_up or self._outcome is not None
        known = known or all(self._succession.handed_over(server) for server in servers)
        if servers and not known:
            log.warning("server.gone", program=connection.program, servers=[server.id for server in servers])
        else:
            log.info("server.detached", program=connection.program)
        self._standstill.end(_pause_of(connection))
        for server in servers:
            self._leave(server, died=True)
        with self._changed:
            self._given_up.discard(connection)
            self._greeted.discard(connection)
            self._resetting.discard(connection)
            self._changed.notify_all()

    def _perform(self, connection: Connection, op: Op) -> Answer:
        match op:
            case CreateIoreqServer():
                return self._create(connection, op.mirror)
            case GetIoreqServerInfo(id=id_):
                return Pages(id_), self._owned(connection, id_).endpoint.descriptors
            case MapIoRange():
                self._owned(connection, op.id)
                self.routing.claim(op.id, op.space, op.first, op.last, op.posted, op.mirror)
            case UnmapIoRange():
                self._owned(connection, op.id)
                self.routing.release(op.id, op.space, op.first, op.last)
            case SetIoreqServerState():
                server = self._owned(connection, op.id)
                server.enabled = op.enabled
                server.was_enabled = server.was_enabled or op.enabled
                self.routing.enable(op.id, op.enabled)
                self._lines.tell(server)
                if op.enabled:
                    self._succeed(server)
                self._start_when_ready()
            case DestroyIoreqServer(id=id_):
                self._leave(self._owned(connection, id_))
            case KeepState(id=id_, key=key):
                return self._keep_state(self._owned(connection, id_), key)
            case HandOver(id=id_):
                return self._hand_over(self._owned(connection, id_))
            case ClaimInterruptAcknowledge(id=id_):
                self._claim_interrupts(self._owned(connection, id_))
                self._lines.tell(self._servers[id_])
                self._start_when_ready()
            case ReleaseInterruptAcknowledge(id=id_):
                self._release_interrupts(self._owned(connection, id_))
            case SetIsaIrqLevel():
                self._may_drive(connection)
                self._lines.drive_isa(connection, op)
            case SetPciIntxLevel():
                self._may_drive(connection)
                self._lines.drive_intx(connection, op)
            case ModifiedMemory():
                self._modified([(op.first, op.last), *op.more])
            case SetMemType():
                self._set_mem_type(op)
            case GetVideoMemory():
                return VideoMemory(self.memory.video_offset, VIDEO_SPACE)
            case MapVideoMemory():
                server = self._owned(connection, op.id)
                with self._lock:
                    self.memory.map_video(op.first, op.last, op.offset, op.id, self._servers)
                self._show_video(server, op.first, op.last)
            case UnmapVideoMemory():
                server = self._owned(connection, op.id)
                with self._lock:
                    self.memory.unmap_video(op.first, op.last, op.id)
                self._show_video(server, op.first, op.last)
            case RemoteShutdown():
                self._remote_shutdown(op)
            case InjectEvent():
                self._inject(op)
            case NrVcpus():
                return Vcpus(VCPUS)
            case GetStatistics():
                return self._statistics()
            case PauseDomain():
                return self._pause(connection)
            case UnpauseDomain():
                self._standstill.end(_pause_of(connection))
            case GetVcpuContext(vcpu=number):
                return self._context(number)
            case ResetDone():
                with self._changed:
                    self._resetting.discard(connection)
                    self._changed.notify_all()
        return Ok()

    def _inject(self, op: InjectEvent) -> None:
        if (op.type, op.vector) != (EventKind.NMI, Vector.NMI):
            raise ControlError(
                errno.EOPNOTSUPP, f"event of type {op.type}, vector {op.vector}: only NMI, 2 and 2"
            )
        vcpu = self._vcpu(op.vcpu)
        vcpu.post(vcpu.nmi)

    def _statistics(self) -> Statistics:
        return Statistics(
            [
                vcpu.requests.tally.statistics(
                    vcpu.number, vcpu.processor.icount, vcpu.processor.stops, self.routing.memory
                )
                for vcpu in self.vcpus
            ]
        )

    def _pause(self, connection: Connection) -> Answer:
        """Hold the vCPUs for a device model; from the start, if there has been none yet."""
        later = Later()
        told = (lambda: later.answer(Ok())) if self._started else _nothing
        self._standstill.begin(_pause_of(connection), told, float("inf"))
        for vcpu in self.vcpus:
            vcpu.post(self._standstill.stand)
        return later if self._started else Ok()

    def _context(self, number: int) -> Answer:
        """Read a vCPU's registers: at once if it does not run, or else when it is between two entries."""
        vcpu = self._vcpu(number)
        waits = any(
            server.endpoint.channels[number].slot.state != STATE_NONE for server in self._servers.values()
        )
        if not self._started or self._standstill.stands or waits:
            return vcpu.context()
        later = Later()
        vcpu.post(lambda: later.answer(vcpu.context()))
        return later

    def _vcpu(self, number: int) -> Vcpu:
        if number >= VCPUS:
            raise ControlError(errno.ENOENT, f"there is no vCPU {number}")
        return self.vcpus[number]

    def _create(self, connection: Connection, mirror: bool) -> Created:
        if len(self._servers) >= MAX_SERVERS:
            raise ControlError(errno.ENOSPC, f"at most {MAX_SERVERS} ioreq servers")
        if self._closing >= MAX_SERVERS:
            raise ControlError(errno.EAGAIN, f"{self._closing} ioreq servers are still being freed")
        endpoint = CoreEndpoint(self._doorbells, mirror=mirror, peer=peer_pid(connection.sock))
        server = IoreqServer(self._next_id, endpoint, connection)
        self._next_id += 1
        self._servers[server.id] = server
        self.routing.add(server.id, server.endpoint)
        return Created(server.id)

    def _owned(self, connection: Connection, id_: int) -> IoreqServer:
        server = self._servers.get(id_)
        if server is None:
            raise ControlError(errno.ENOENT, f"no ioreq server {id_}")
        if server.connection is not connection:
            raise ControlError(errno.EPERM, f"ioreq server {id_} belongs to another device model")
        return server

    def _leave(self, server: IoreqServer, *, died: bool = False) -> None:
        """Let a server go. One whose state is kept is a dead one until its successor is there."""
        self._release_interrupts(server)
        del self._servers[server.id]
        if self._succession.left(server, died=died):
            server.endpoint.bequeath()
            if self._started and server.was_enabled:
                self.vcpus[0].post(server.endpoint.close_all_but_ring)
            else:
                server.endpoint.close_all_but_ring()
        else:
            self._free(server)
        if all(other.connection is not server.connection for other in self._servers.values()):
            self._lines.release(server.connection)

    def _free(self, server: IoreqServer) -> None:
        """Free its ranges, then complete its request in flight; the vCPU closes what it may be using."""
        self.routing.remove(server.id)
        server.endpoint.kill()
        with self._lock:
            forgotten = self.memory.forget_video(server.id)
        if forgotten:
            for vcpu in self.vcpus:
                vcpu.post(vcpu.processor.memory_changed)
        if self._started and server.was_enabled:
            with self._lock:
                self._closing += 1
            self.vcpus[0].post(partial(self._close_endpoint, server.endpoint))
        else:
            server.endpoint.close()

    def _keep_state(self, server: IoreqServer, key: str) -> Answer:
        """Give a server an area for its state; if there is a predecessor's in it, when no vCPU runs."""
        estate = self._succession.take(server, key)
        if not (self._started and estate.inherited):
            return kept(estate)
        later = Later()
        self._stand_still(key, lambda: later.answer(*kept(estate)))
        return later

    def _hand_over(self, server: IoreqServer) -> Answer:
        """Stop the vCPUs for a server's successor."""
        estate = self._succession.of(server)
        if estate is None:
            raise ControlError(
                errno.EINVAL, f"ioreq server {server.id} keeps no state that could be handed over"
            )
        log.info("server.hands_over", program=server.connection.program, server=server.id)
        estate.handed_over = True
        if not self._started:
            return Ok()
        later = Later()
        self._stand_still(estate.key, lambda: later.answer(Ok()))
        return later

    def _stand_still(self, key: str, told: Callable[[], None]) -> None:
        self._standstill.begin(key, told)
        for vcpu in self.vcpus:
            vcpu.post(self._standstill.stand)

    def _succeed(self, server: IoreqServer) -> None:
        """Let a server take the place of the one whose state it has, and the vCPUs run on."""
        estate = self._succession.enabled(server)
        if estate is None:
            return
        log.info("server.succeeded", program=server.connection.program, server=server.id)
        self._lines.tell(server, low=True)
        self._standstill.end(estate.key)

    def _close_endpoint(self, endpoint: CoreEndpoint) -> None:
        """In the vCPU's thread, which now is not in the midst of a request there."""
        endpoint.close()
        with self._lock:
            self._closing -= 1

    def _claim_interrupts(self, server: IoreqServer) -> None:
        owner = self._interrupts
        if owner is not None and owner.server != server.id:
            raise ControlError(errno.EBUSY, f"ioreq server {owner.server} owns interrupt acknowledge")
        endpoint = server.endpoint
        server.was_enabled = True
        self._interrupts = Range(0, 0, True, server.id, endpoint, endpoint.channels)
        self._wake()

    def _release_interrupts(self, server: IoreqServer) -> None:
        """Its INTR pins fall: nobody drives them any more."""
        if self._interrupts is not None and self._interrupts.server == server.id:
            self._interrupts = None
            for number in range(VCPUS):
                self.pins[number] = 0
            self._wake()

    def _wake(self) -> None:
        """Let a halted vCPU look again: it sleeps on the old owner's channel."""
        for vcpu in self.vcpus:
            vcpu.post(_nothing)

    def _interrupt_owner(self) -> IoreqServer | None:
        """Find the server that has the interrupt controller: it hears of ISA lines."""
        return None if self._interrupts is None else self._servers.get(self._interrupts.server)

    def _bridge_owner(self) -> IoreqServer | None:
        """Find the server that has the PCI host bridge: it hears of PCI lines, and its ISA bridge routes them."""
        claimed = self.routing.find_port(CONFIG_ADDRESS, 4)
        return None if claimed is None else self._servers.get(claimed.server)

    def _may_drive(self, connection: Connection) -> None:
        """Refuse interrupt lines of who has no ioreq server."""
        if all(server.connection is not connection for server in self._servers.values()):
            raise ControlError(errno.EPERM, "only a device model with an ioreq server drives interrupt lines")

    def _start_when_ready(self) -> None:
        """Start the guest once all servers of the machine are there, the interrupt controller's among them."""
        if self._started or self._outcome is not None or self._interrupts is None:
            return
        enabled = sum(server.enabled for server in self._servers.values())
        if self._servers[self._interrupts.server].enabled and enabled >= self._machine.servers:
            self._started = True
            log.info("domain.started", vendor=self._machine.vendor, memory=self.memory.size)
            try:
                for vcpu in self.vcpus:
                    vcpu.start()
            except RuntimeError as error:
                self.crash(f"no thread for a vCPU: {error}")

    def _modified(self, ranges: Sequence[tuple[int, int]]) -> None:
        for first, last in ranges:
            if last < first:
                raise ControlError(errno.EINVAL, f"range {first:#x}-{last:#x}")
        for written, vcpu, invalidate in zip(self._written, self.vcpus, self._invalidations, strict=True):
            for first, last in ranges:
                written.add(first, last)
            vcpu.post(invalidate)

    def _invalidate(self, vcpu: int) -> None:
        """Forget what was decoded where device models have written. In the vCPU's thread."""
        for first, last in self._written[vcpu].take():
            self.vcpus[vcpu].processor.invalidate_code(first, last - first + 1)

    def _set_mem_type(self, op: SetMemType) -> None:
        with self._lock:
            self.memory.set_type(op.first, op.last, op.type)
        for vcpu in self.vcpus:
            vcpu.post(vcpu.processor.memory_changed)

    def _show_video(self, server: IoreqServer, first: int, last: int) -> None:
        """Have the vCPUs take over where video memory is to be found."""
        endpoint = server.endpoint
        if server.enabled:
            with self._lock:
                self._settling[server.id] = Range(0, 0, True, server.id, endpoint, endpoint.channels)
        for written, vcpu, take_over in zip(self._written, self.vcpus, self._takeovers, strict=True):
            written.add(first, last)
            vcpu.post(take_over)

    def _take_over(self, vcpu: int) -> None:
        """Find video memory where it is now. In the vCPU's thread.

        What the guest has posted to its server comes before: it was written to a device, and the server may have
        changed its mind over it.
        """
        with self._lock:
            settling, self._settling = self._settling, {}
        for claimed in settling.values():
            self.vcpus[vcpu].requests.settle(claimed)
        self.vcpus[vcpu].processor.memory_changed()
        self._invalidate(vcpu)

    def _remote_shutdown(self, op: RemoteShutdown) -> None:
        if op.reason == SHUTDOWN_REBOOT:
            self.vcpus[0].post(self.reset)
        elif op.reason == SHUTDOWN_CRASH:
            log.error("domain.crashed", why="a device model says so")
            self.end(SHUTDOWN_CRASH, op.code or 1)
        else:
            self.end(SHUTDOWN_POWEROFF, op.code)


def _pause_of(connection: Connection) -> str:
    """Return the key under which a connection holds the vCPUs; no server keeps its state under it."""
    return f"\0paused {id(connection):x}"


def _nothing() -> None:
    """Work that only wakes."""
