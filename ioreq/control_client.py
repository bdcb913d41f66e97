"""The device model's end of the domain socket, for trio."""

import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import msgspec
import structlog
import trio

from ioreq import VERSION, ControlError, DomainGone, IoreqError, ProtocolError, VersionMismatch
from ioreq.control import MAX_DESCRIPTORS, MAX_MESSAGE, check_uid, close_all, peer_uid, received_descriptors
from ioreq.messages import DomainInfo, Error, Event, Hello, Op, Reply

log = structlog.get_logger()

MAX_QUEUED: Final = 256  # events that wait to be read

_encode = msgspec.json.Encoder().encode
_decode_said: Final = msgspec.json.Decoder(Reply | Event)


async def connect(path: str, *, program: str, version: int = VERSION) -> "ControlClient":
    """Connect to a core and greet it.

    Raises:
        DomainGone: no core listens there.
        VersionMismatch: it speaks another version.
        IoreqError: it is somebody else's, or refuses.

    """
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        try:
            await sock.connect(path)
        except OSError as error:
            raise DomainGone(f"no core listens on {path}: {error.strerror or error}") from error
        check_uid(peer_uid(sock), f"the core on {path}")
        client = ControlClient(sock, path)
        await client._greet(program, version)  # noqa: SLF001  (its second half)
    except BaseException:
        sock.close()
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
    event: trio.Event = attrs.field(factory=trio.Event)
    reply: Reply | None = None
    fds: list[int] = attrs.field(factory=list[int])


class ControlClient:
    """The device model's end. `run` must run while ops are called.

    `descriptors` are those of the domain: RAM, pins page, vCPU doorbells; they are closed with the client.
    `events` brings what the core says unasked, and ends when the core is gone.
    """

    def __init__(self, sock: trio.socket.SocketType, path: str) -> None:
        self.path = path
        self._sock = sock
        self._waiting: deque[_Waiter] = deque()
        self._send_lock = trio.Lock()
        self._gone = False
        self._events_in, self.events = trio.open_memory_channel[Event](MAX_QUEUED)
        self.domain: DomainInfo
        self.descriptors: list[int] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive replies and events until the core is gone, then return. Cancel to stop."""
        task_status.started()
        try:
            with self._events_in:
                while True:
                    message, fds = await self._receive()
                    if isinstance(message, Event):
                        close_all(fds)
                        await self._events_in.send(message)
                    elif self._waiting:
                        waiter = self._waiting.popleft()
                        waiter.reply, waiter.fds = message, fds
                        waiter.event.set()
                    else:
                        close_all(fds)
                        log.warning("control.reply_to_nothing", path=self.path)
                        return
        except (DomainGone, trio.BrokenResourceError):
            pass
        except ProtocolError as error:
            log.warning("control.core_breaks_rules", why=str(error))
        finally:
            self._gone = True
            for waiter in self._waiting:
                waiter.event.set()
            self._waiting.clear()

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
        """Perform an op whose reply carries descriptors; they are the caller's then."""
        waiter = _Waiter()
        async with self._send_lock:
            if self._gone:
                raise DomainGone(f"the core on {self.path} is gone")
            self._waiting.append(waiter)
            try:
                await self._sock.send(_encode(op))
            except OSError:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                raise DomainGone(f"the core on {self.path} is gone") from None
        await waiter.event.wait()
        if waiter.reply is None:
            raise DomainGone(f"the core on {self.path} is gone")
        if isinstance(waiter.reply, Error):
            raise ControlError(waiter.reply.errno, waiter.reply.text)
        return waiter.reply, waiter.fds

    def close(self) -> None:
        """Disconnect and close the domain's descriptors."""
        self._gone = True
        self._sock.close()
        close_all(self.descriptors)
        self.descriptors.clear()

    async def _greet(self, program: str, version: int) -> None:
        try:
            await self._sock.send(_encode(Hello(version, program)))
            message, fds = await self._receive()
        except OSError as error:
            raise DomainGone(f"the core on {self.path} hung up: {error.strerror or error}") from error
        self.descriptors = fds
        if isinstance(message, Error):
            kind = VersionMismatch if "version" in message.text else IoreqError
            raise kind(message.text)
        if not isinstance(message, DomainInfo):
            raise ProtocolError(f"the core on {self.path} answers hello with {type(message).__name__}")
        if message.version != version:
            raise VersionMismatch(
                f"the core speaks version {message.version} of the device-model protocol, "
                f"{program} version {version}"
            )
        if len(fds) != 2 + message.vcpus:
            raise ProtocolError(f"the core on {self.path} sends {len(fds)} descriptors")
        self.domain = message

    async def _receive(self) -> tuple[Reply | Event, list[int]]:
        try:
            data, ancillary, flags, _ = await self._sock.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError as error:
            raise DomainGone(f"the core on {self.path} is gone") from error
        fds = received_descriptors(ancillary)
        try:
            if not data:
                raise DomainGone(f"the core on {self.path} is gone")
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ProtocolError(f"the core on {self.path} sends too much at once")
            return _decode_said.decode(data), fds
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            close_all(fds)
            raise ProtocolError(f"the core on {self.path} sends no message: {error}") from error
        except IoreqError:
            close_all(fds)
            raise
