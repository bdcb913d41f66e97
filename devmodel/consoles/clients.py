"""The clients of a serial line, on TCP, a Unix socket or a pseudo-terminal: all see the output, anyone types.

A client's end is seen by reading from it; while the guest takes nothing we do not read, and look every second instead.
One that has ended its half of the connection (`echo ls | nc -N`) cannot be told from one that is gone before something
is sent to it: it is shown what the guest says until that is silent for a second. A host that vanishes is found by
keep-alive.
"""

import contextlib
import errno
import hmac
import ipaddress
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

import attrs
import structlog
import trio

from devmodel import ConfigError
from devmodel.consoles.address import Address
from devmodel.consoles.line import Listener, SerialLine
from devmodel.consoles.telnet import Telnet
from devmodel.consoles.wire import Wire
from ioreq.user_input import open_regular

log = structlog.get_logger()

MAX_CLIENTS: Final = 32
LINGER: Final = 1.0
"""Seconds of silence after which who types no more is gone."""
SEND_BUFFER: Final = 1 << 16
"""Bytes that wait in our kernel for a client that does not read."""
TYPED: Final = 4096
"""Bytes that are read at once of what a client types."""
FLOW_BUFFER: Final = 1 << 14
"""The same with flow control: they count as read."""
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""Seconds of silence before a host is asked whether it is there, between questions, and how many it may leave open."""
ADMISSION: Final = 30.0
"""Seconds that a client gets to type its password."""
WRONG: Final = 1.0
"""Seconds that a wrong password costs."""
MAX_PASSWORD: Final = 1024


async def listen(address: Address, what: str = "serial") -> list[trio.SocketListener]:
    """Bind, before anything else starts. A Unix socket that a killed process has left is replaced.

    Raises:
        ConfigError: it is in use, none of ours, or open to other hosts without having been asked to be.

    """
    try:
        if address.kind == "unix":
            return [_listen_unix(address)]
        if not address.remote:
            await _must_be_loopback(address, what)
        return await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{what} {address}: {reason}") from error


def password_of(address: Address) -> bytes | None:
    """Return the password of a console that has one: the first line of its file, which nobody else may read.

    Raises:
        ConfigError: it cannot be read, is empty, or others can read it.

    """
    path = address.password_file
    if not path:
        return None
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            password = file.readline(MAX_PASSWORD + 1).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"password file {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"password file {path}: others may read or write it; `chmod 600` it")
    if not 0 < len(password) <= MAX_PASSWORD:
        raise ConfigError(
            f"password file {path}: its first line is the password, of 1 to {MAX_PASSWORD} bytes"
        )
    return password


async def _must_be_loopback(address: Address, what: str) -> None:
    found = await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for *_, name in found:
        number = ipaddress.ip_address(str(name[0]).partition("%")[0])
        if not number.is_loopback:
            raise ConfigError(
                f"{what} {address}: other hosts can reach that; allow them by ,remote=on (and ,password-file=FILE)"
            )


def _listen_unix(address: Address) -> trio.SocketListener:
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), address.mode)  # what it is created with, less the umask
        with socket.socket(fileno=os.dup(sock.fileno())) as plain:
            try:
                plain.bind(address.path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _stale(address.path):
                    raise
                os.unlink(address.path)
                plain.bind(address.path)
        os.chmod(address.path, address.mode)  # the umask has no say
        sock.listen(MAX_CLIENTS)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


def _stale(path: str) -> bool:
    """Whether it is a socket that nobody listens on."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        return stat.S_ISSOCK(os.lstat(path).st_mode) and probe.connect_ex(path) == errno.ECONNREFUSED
    return False


@runtime_checkable
class Carried(Protocol):
    """A stream that is carried by another, as a WebSocket is."""

    transport: trio.abc.Stream


@runtime_checkable
class Page(Protocol):
    """A stream that carries breaks beside bytes, and on which the client is told where in the transcript it is."""

    async def typed(self) -> list[int] | None:
        """Wait for bytes and breaks; None at the end."""
        ...

    async def goes_on_at(self, position: int) -> None:
        """Say where in all that the guest has said the next bytes begin."""
        ...


def hung_up(stream: trio.abc.Stream) -> bool:
    """Whether the other end has ended its half of a socket, or all of it, whatever there still is to read."""
    if isinstance(stream, Carried):
        stream = stream.transport
    if not isinstance(stream, trio.SocketStream):
        return False
    poll = select.poll()
    poll.register(stream.socket.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


@attrs.define(eq=False)
class _Client:
    """One client's connection."""

    wire: Wire
    telnet: Telnet | None
    page: Page | None = attrs.field(init=False)
    """The stream, if it is one."""

    def __attrs_post_init__(self) -> None:
        self.page = self.wire.stream if isinstance(self.wire.stream, Page) else None

    async def greet(self) -> None:
        if self.telnet is not None:
            await self.wire.send(self.telnet.greeting())

    async def show(self, data: bytes) -> None:
        await self.wire.send(data if self.telnet is None else self.telnet.escape(data))

    async def typed(self) -> list[int] | None:
        """Wait for what it types; None at its end."""
        if self.page is not None:
            return await self.page.typed()
        data = await self.wire.some(TYPED)
        if not data:
            return None
        if self.telnet is None:
            return list(data)
        typed, reply = self.telnet.receive(data)
        if reply:
            await self.wire.send(reply)
        return typed


@attrs.frozen
class Left:
    """What another process must know to go on with a client."""

    stream: trio.abc.Stream
    telnet: Telnet | None
    position: int
    """How much of the transcript it has been shown, or will have been …"""
    unsent: bytes
    """… when these bytes have been sent."""


class Clients:
    """The clients of one line, which speak `telnet` or are raw, and type a `password` first if there is one."""

    def __init__(self, line: SerialLine, *, telnet: bool = False, password: bytes | None = None) -> None:
        self.line = line
        self.clients = 0
        self._telnet = telnet
        self._password = password
        self._yielding: dict[trio.abc.Stream, trio.CancelScope] = {}
        """Who makes room for another, the oldest first: they type no more, or have not said their password."""
        self._followers: dict[trio.abc.Stream, tuple[_Client, Listener]] = {}
        self.came = trio.Event()
        """There has been a client."""

    def leave(self) -> list[Left]:
        """Leave the clients to another process: they are shown nothing any more, and nothing is read from them."""
        left = []
        for client, listener in self._followers.values():
            wire = client.wire
            wire.frozen = True
            left.append(Left(wire.stream, client.telnet, listener.position, bytes(wire.unsent)))
        return left

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Accept clients for ever. Cancel to stop; all are disconnected then."""
        await trio.serve_listeners(self.client, listeners)

    async def client(
        self,
        stream: trio.abc.Stream,
        telnet: Telnet | None = None,
        position: int | None = None,
        unsent: bytes = b"",
    ) -> None:
        """Serve one client until it goes: a new one, or one that another process has `Left`."""
        if self.clients >= MAX_CLIENTS and self._yielding:
            self._yielding.pop(next(iter(self._yielding))).cancel()
        elif self.clients >= MAX_CLIENTS:
            log.warning("console.too_many_clients", most=MAX_CLIENTS)
            await stream.aclose()
            return
        self.clients += 1
        try:
            if isinstance(stream, trio.SocketStream):
                self._set_up(stream)
            new = position is None
            client = _Client(Wire(stream, unsent=unsent), Telnet() if new and self._telnet else telnet)
            async with stream:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._converse(client, position, new=new)
        finally:
            self.clients -= 1

    def _set_up(self, stream: trio.SocketStream) -> None:
        size = FLOW_BUFFER if self.line.flow else SEND_BUFFER
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        if stream.socket.family != socket.AF_UNIX:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                stream.setsockopt(socket.IPPROTO_TCP, option, value)

    async def _converse(self, client: _Client, position: int | None, *, new: bool) -> None:
        typed: list[int] | None = []
        if new:
            await client.greet()
            if self._password is not None:
                typed = await self._admit(client, self._password)
        if typed is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, client, position, nursery.cancel_scope)
            if await self._type(client, typed):
                with self._making_room(client, nursery.cancel_scope):
                    await self._linger()
            nursery.cancel_scope.cancel()

    @contextlib.contextmanager
    def _making_room(self, client: _Client, scope: trio.CancelScope) -> Iterator[None]:
        """Have a client be the first to go if another comes, for the length of the block."""
        self._yielding[client.wire.stream] = scope
        try:
            yield
        finally:
            self._yielding.pop(client.wire.stream, None)

    async def _admit(self, client: _Client, password: bytes) -> list[int] | None:
        """Ask for the password; return what was typed behind it, None if the client is not let in."""
        with trio.move_on_after(ADMISSION) as scope, self._making_room(client, scope):
            await client.show(b"password: ")
            line = bytearray()
            while (typed := await client.typed()) is not None:
                for at, byte in enumerate(typed):
                    if byte in {ord("\r"), ord("\n")}:
                        if hmac.compare_digest(bytes(line), password):
                            await client.show(b"\r\n")
                            rest = typed[at + 1 :]
                            return rest[1:] if byte == ord("\r") and rest[:1] == [ord("\n")] else rest
                        log.warning("console.wrong_password")
                        await trio.sleep(WRONG)
                        await client.show(b"\r\nwrong password\r\n")
                        return None
                    if byte in {0x08, 0x7F}:
                        del line[-1:]
                    elif byte <= 0xFF and len(line) <= MAX_PASSWORD:
                        line.append(byte)
        return None

    async def _show(self, client: _Client, position: int | None, scope: trio.CancelScope) -> None:
        """Send the recent history, then whatever comes, as fast as this client reads."""
        with self.line.listening(position) as listener:
            self._followers[client.wire.stream] = client, listener
            self.came.set()
            try:
                if client.page is not None:
                    await client.page.goes_on_at(listener.position)
                await client.wire.flush()
                while True:
                    before = listener.position
                    data = await listener.output()
                    if client.page is not None and before + len(data) != listener.position:
                        await client.page.goes_on_at(listener.position - len(data))
                    await client.show(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                scope.cancel()
            finally:
                del self._followers[client.wire.stream]

    async def _type(self, client: _Client, typed: list[int] | None) -> bool:
        """Pass on what is typed, not faster than the guest takes it, to its end; False if the client is gone."""
        try:
            while typed is not None:
                left = deque(typed)
                if left:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._watch, client.wire.stream, left, nursery.cancel_scope)
                        await self.line.type(left)
                        nursery.cancel_scope.cancel()
                if left:
                    return False
                typed = await client.typed()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    @staticmethod
    async def _watch(stream: trio.abc.Stream, left: deque[int], scope: trio.CancelScope) -> None:
        """Give up typing for a client that is gone, if the guest takes nothing from it."""
        while True:
            before = len(left)
            await trio.sleep(LINGER)
            if len(left) == before and hung_up(stream):
                scope.cancel()

    async def _linger(self) -> None:
        """Wait until the guest has been silent for a while."""
        end = -1
        while end != self.line.transcript.end:
            end = self.line.transcript.end
            await trio.sleep(LINGER)
