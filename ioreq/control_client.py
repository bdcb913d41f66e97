"""The device model's end of the domain socket, for trio.

One task, `ControlClient.run`, receives; any task calls. An op carries a serial number and its reply the same one, so
a reply finds its caller whoever else was cancelled meanwhile. A call that is cancelled before its op was sent leaves
nothing behind; after that its waiter stays until the reply comes, whose descriptors are then closed. What the core
says unasked goes into `events`, and nothing that a reader of these neglects delays a reply.
"""

import contextlib
import errno
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import msgspec
import structlog
import trio

from ioreq import VERSION, ControlError, DomainGone, IoreqError, ProtocolError, VersionMismatch, shared
from ioreq.control import MAX_DESCRIPTORS, MAX_MESSAGE, check_uid, close_all, peer_uid, received_descriptors
from ioreq.messages import (
    REPLIES,
    DomainInfo,
    Error,
    Event,
    Hello,
    IsaIrqLevel,
    LineEvent,
    Ok,
    Op,
    PciIntxLevel,
    Reply,
    Serial,
)

log = structlog.get_logger()

MAX_QUEUED: Final = 256
"""Events that wait to be read. Beyond that the levels of one interrupt line become one, its last."""
GREETING_PATIENCE: Final = 10.0
"""Seconds that a core has to answer a connection's hello."""
LAST_SERIAL: Final = 0xFFFF_FFFF

_encode = msgspec.json.Encoder().encode
_decode_said: Final = msgspec.json.Decoder(Reply | Event)


async def connect(path: str, *, program: str, version: int = VERSION) -> "ControlClient":
    """Connect to a core and greet it.

    Raises:
        DomainGone: no core listens there, or it does not answer.
        VersionMismatch: it speaks another version.
        IoreqError: it is somebody else's, or refuses.

    """
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client = ControlClient(sock, path)
    try:
        try:
            await sock.connect(path)
        except OSError as error:
            raise DomainGone(f"no core listens on {path}: {error.strerror or error}") from error
        check_uid(peer_uid(sock), f"the core on {path}")
        try:
            with trio.fail_after(GREETING_PATIENCE):
                await client._greet(program, version)  # noqa: SLF001  (its second half)
        except trio.TooSlowError:
            raise DomainGone(f"the core on {path} does not answer") from None
    except BaseException:
        client.close()
        raise
    return client


@asynccontextmanager
async def open_control(path: str, *, program: str, version: int = VERSION) -> AsyncIterator["ControlClient"]:
    """Connect, and run the client in the background of the block."""
    client = await connect(path, program=program, version=version)
    with contextlib.closing(client):
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            yield client
            nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class _Waiter:
    """A call on its way: `wanted` is the kind of reply that it is owed, `abandoned` says that nobody waits any more."""

    wanted: type
    event: trio.Event = attrs.field(factory=trio.Event)
    reply: Reply | None = None
    fds: list[int] = attrs.field(factory=list[int])
    abandoned: bool = False


class Events:
    """What the core says unasked, in order; one task reads. It ends when the core is gone."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._changed = trio.Event()
        self._ended = False

    def put(self, event: Event) -> None:
        """Queue an event.

        Raises:
            ProtocolError: it is one too many. The levels of a line never are, since older ones give way.

        """
        if len(self._queue) >= MAX_QUEUED:
            line = _line(event)
            older = next((n for n, other in enumerate(self._queue) if line and _line(other) == line), None)
            if older is None:
                raise ProtocolError(f"more than {MAX_QUEUED} events that nobody has read")
            del self._queue[older]
        self._queue.append(event)
        self._changed.set()

    def end(self) -> None:
        """Let the reader have what there is, and no more."""
        self._ended = True
        self._changed.set()

    async def receive(self) -> Event:
        """Return the next event. Raises `trio.EndOfChannel` after the last."""
        while not self._queue:
            if self._ended:
                await trio.lowlevel.checkpoint()
                raise trio.EndOfChannel
            self._changed = trio.Event()
            await self._changed.wait()
        await trio.lowlevel.checkpoint()
        return self._queue.popleft()

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class ControlClient:
    """The device model's end. `run` must run while ops are called.

    `descriptors` are those of the domain: RAM, pins page, vCPU doorbells; they are closed with the client.
    `events` brings what the core says unasked, and ends when the core is gone. `why` says how it went, if badly.
    """

    def __init__(self, sock: trio.socket.SocketType, path: str) -> None:
        self.path = path
        self.events = Events()
        self.domain: DomainInfo
        self.descriptors: list[int] = []
        self.why: IoreqError | None = None
        self._sock = sock
        self._serial: Serial = 0
        self._waiting: dict[Serial, _Waiter] = {}
        self._send_lock = trio.Lock()
        self._gone = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive replies and events until the core is gone, then return. Cancel to stop."""
        task_status.started()
        try:
            while True:
                message, fds = await self._receive()
                if isinstance(message, Event):
                    close_all(fds)
                    self.events.put(message)
                else:
                    self._deliver(message, fds)
        except (DomainGone, trio.ClosedResourceError):
            pass
        except ProtocolError as error:
            self.why = error
            log.warning("control.core_breaks_rules", why=str(error))
        finally:
            self._end()

    async def call(self, op: Op) -> Reply:
        """Perform an op and return its reply.

        Raises:
            ControlError: the core refuses.
            DomainGone: the core is gone.

        """
        reply, fds = await self.call_with_descriptors(op)
        close_all(fds)
        return reply

    async def call_with_descriptors(self, op: Op) -> tuple[Reply, list[int]]:
        """Perform an op whose reply carries descriptors; they are the caller's then.

        Raises:
            ControlError: the core refuses.
            DomainGone: the core is gone.

        """
        serial = self._next_serial()
        waiter = _Waiter(REPLIES.get(type(op), Ok))
        try:
            async with self._send_lock:
                self._check()
                self._waiting[serial] = waiter
                await self._sock.send(_encode(msgspec.structs.replace(op, serial=serial)))
        except (OSError, trio.ClosedResourceError):
            self._waiting.pop(serial, None)
            raise self._going() from None
        except BaseException:
            # A cancelled `send` of trio's has sent nothing, so that no reply comes.
            self._waiting.pop(serial, None)
            raise
        try:
            await waiter.event.wait()
        except trio.Cancelled:
            waiter.abandoned = True
            close_all(waiter.fds)
            raise
        if waiter.reply is None:
            raise self._going()
        if isinstance(waiter.reply, Error):
            raise ControlError(waiter.reply.errno, waiter.reply.text)
        return msgspec.structs.replace(waiter.reply, serial=0), waiter.fds

    def close(self) -> None:
        """Disconnect and close the domain's descriptors."""
        self._sock.close()
        self._end()
        close_all(self.descriptors)
        self.descriptors.clear()

    def _next_serial(self) -> Serial:
        self._serial = self._serial % LAST_SERIAL + 1
        return self._serial

    def _deliver(self, reply: Reply, fds: list[int]) -> None:
        waiter = self._waiting.pop(reply.serial, None)
        if waiter is None or not isinstance(reply, (waiter.wanted, Error)):
            close_all(fds)
            if waiter is not None:
                waiter.event.set()
            what = (
                "what nobody asked"
                if waiter is None
                else f"with {type(reply).__name__}, not {waiter.wanted.__name__}"
            )
            raise ProtocolError(f"the core on {self.path} answers {what}")
        if waiter.abandoned or isinstance(reply, Error):
            close_all(fds)
            fds = []
        waiter.reply, waiter.fds = reply, fds
        waiter.event.set()

    def _end(self) -> None:
        self._gone = True
        self.events.end()
        for waiter in self._waiting.values():
            waiter.event.set()
        self._waiting.clear()

    def _check(self) -> None:
        if self._gone:
            raise self._going()

    def _going(self) -> IoreqError:
        return DomainGone(f"the core on {self.path} is gone") if self.why is None else self.why

    async def _greet(self, program: str, version: int) -> None:
        try:
            await self._sock.send(_encode(Hello(version, program)))
        except OSError as error:
            raise DomainGone(f"the core on {self.path} hung up: {error.strerror or error}") from error
        message, self.descriptors = await self._receive()
        if isinstance(message, Error):
            kind = VersionMismatch if message.errno == errno.EPROTONOSUPPORT else IoreqError
            raise kind(message.text)
        if not isinstance(message, DomainInfo):
            raise ProtocolError(f"the core on {self.path} answers hello with {type(message).__name__}")
        if message.version != version:
            raise VersionMismatch(
                f"the core speaks version {message.version} of the device-model protocol, "
                f"{program} version {version}"
            )
        if len(self.descriptors) != 2 + message.vcpus:
            raise ProtocolError(f"the core on {self.path} sends {len(self.descriptors)} descriptors")
        for doorbell in self.descriptors[2:]:
            shared.check_doorbell(doorbell)
        self.domain = message

    async def _receive(self) -> tuple[Reply | Event, list[int]]:
        try:
            data, ancillary, flags, _ = await self._sock.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            raise DomainGone(f"the core on {self.path} is gone") from error
        fds = received_descriptors(ancillary)
        try:
            if not data:
                raise DomainGone(f"the core on {self.path} is gone")
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError(f"the core on {self.path} sends more descriptors than can be open here")
            if flags & socket.MSG_TRUNC:
                raise ProtocolError(f"the core on {self.path} sends too much at once")
            return _decode_said.decode(data), fds
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            close_all(fds)
            raise ProtocolError(f"the core on {self.path} sends no message: {error}") from error
        except IoreqError:
            close_all(fds)
            raise


def _line(event: Event) -> LineEvent | None:
    """Return which line an event is about, as the event that lowers it; None if it is about none."""
    match event:
        case IsaIrqLevel() | PciIntxLevel():
            return msgspec.structs.replace(event, level=False)
        case _:
            return None
