"""QMP, QEMU's machine protocol, as far as its commands are about what is here (QEMU's docs/interop/qmp-spec).

JSON values in both directions: the server greets, the client negotiates, then each command has one answer, in order.
`Session` is one client's conversation, without any I/O; `Qmp` serves clients of a stream listener.
"""

import contextlib
from collections.abc import Iterator
from time import time_ns
from typing import Any, Final, Self

import attrs
import msgspec
import trio

from devmodel import ConfigError, DevmodelError
from devmodel.control import sockets
from devmodel.control.access import Access
from devmodel.control.qmp_commands import COMMANDS, CommandFailed, Commands, version

MAX_VALUE: Final = 1 << 20
"""Bytes of one command."""
MAX_DEPTH: Final = 256
MAX_CLIENTS: Final = 16
MAX_WAITING: Final = 256
"""Events that a client may leave unread."""
PATIENCE: Final = 60.0
"""Seconds that a client may take to read."""
NEGOTIATE: Final = "qmp_capabilities"
_OPENING: Final = b"{["
_CLOSING: Final = b"}]"
_SPACE: Final = b" \t\r\n"


@attrs.frozen
class Door:
    """Where clients connect."""

    listeners: list[trio.SocketListener]
    path: str | None
    """Of its Unix socket, if it is one."""

    @classmethod
    async def open(cls, address: str | tuple[str, int]) -> Self:
        """Listen on a Unix socket, or on a host and port.

        Raises:
            ConfigError: it cannot be done.

        """
        if isinstance(address, str):
            return cls([sockets.listen(address, "qmp", "somebody listens there already")], address)
        host, port = address
        try:
            return cls(await trio.open_tcp_listeners(port, host=host), None)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port} for QMP: {error.strerror or error}") from error

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host, port = self.listeners[0].socket.getsockname()[:2]
        return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    def close(self) -> None:
        """Stop listening."""
        for listener in self.listeners:
            listener.socket.close()
        if self.path is not None:
            sockets.remove(self.path)


class Malformed(Exception):  # noqa: N818  (what came, not what failed)
    """What came is no JSON value."""


@attrs.define
class Splitter:
    """Cuts a stream into JSON values, which need not be lines."""

    _buffer: bytearray = attrs.field(factory=bytearray)
    _at: int = 0
    _depth: int = 0
    _quoted: bool = False
    _escaped: bool = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what has come, and yield each value that is whole.

        Raises:
            Malformed: something stands where a value should, or one is too long; the rest is forgotten.

        """
        self._buffer += data
        while self._at < len(self._buffer):
            byte = self._buffer[self._at]
            self._at += 1
            if self._quoted:
                self._quoted = self._escaped or byte != ord('"')
                self._escaped = not self._escaped and byte == ord("\\")
            elif byte == ord('"'):
                self._quoted = True
            elif byte in _OPENING:
                self._depth += 1
            elif byte in _CLOSING:
                self._depth -= 1
            if self._depth <= 0:
                if byte in _SPACE and self._at == 1:
                    del self._buffer[: self._at]
                    self._at = 0
                    continue
                value = bytes(self._buffer[: self._at])
                if byte not in _CLOSING or self._depth < 0:
                    self.forget()
                    raise Malformed(f"JSON parse error, invalid keyword '{chr(byte)}'")
                del self._buffer[: self._at]
                self._at = self._depth = 0
                yield value
            elif self._depth > MAX_DEPTH or self._at > MAX_VALUE:
                self.forget()
                raise Malformed(f"JSON of more than {MAX_VALUE} bytes, or {MAX_DEPTH} levels")

    def forget(self) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]


class Session:
    """One client's conversation. `handle` takes a command and returns its answer."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.negotiated = False

    async def handle(self, value: bytes) -> dict[str, Any]:
        """Do one command; what is wrong with it is in the answer."""
        try:
            message = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return failure("JSON parse error, expecting value")
        if not isinstance(message, dict):
            return failure("QMP input must be a JSON object")
        answer = await self._handle(message)
        if "id" in message:
            answer["id"] = message["id"]
        return answer

    async def _handle(self, message: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(message.keys() - {"execute", "arguments", "id"}):
            return failure(f"QMP input member '{unknown[0]}' is unexpected")
        name, arguments = message.get("execute"), message.get("arguments", {})
        if "execute" not in message:
            return failure("QMP input lacks member 'execute'")
        if not isinstance(name, str):
            return failure("QMP input member 'execute' must be a string")
        if not isinstance(arguments, dict):
            return failure("QMP input member 'arguments' must be an object")
        if name == NEGOTIATE:
            return self._negotiate(arguments)
        if not self.negotiated:
            return failure("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
        command = COMMANDS.get(name)
        if command is None:
            return failure(f"The command {name} has not been found", "CommandNotFound")
        try:
            known = msgspec.convert(arguments, command.arguments)
        except msgspec.ValidationError as error:
            return failure(f"{name}: {error}")
        try:
            return {"return": await command.do(self._commands, known)}
        except CommandFailed as error:
            return failure(str(error), error.kind)
        except DevmodelError as error:
            return failure(str(error))

    def _negotiate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.negotiated:
            return failure("Capabilities negotiation is already complete, command ignored", "CommandNotFound")
        enable = arguments.get("enable", [])
        if arguments.keys() - {"enable"} or not isinstance(enable, list):
            return failure("Parameter 'enable' is the only one, a list")
        if enable:
            return failure(f"Capability {enable[0]} not available")
        self.negotiated = True
        return {"return": {}}


def failure(text: str, kind: str = "GenericError") -> dict[str, Any]:
    """Return the answer that says what is wrong."""
    return {"error": {"class": kind, "desc": text}}


class Qmp:
    """Serves clients, and tells them of events."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._clients: set[_Client] = set()

    async def serve(self, door: Door) -> None:
        """Serve clients for ever. Cancel to stop."""
        await trio.serve_listeners(self.client, door.listeners)

    def tell(self, event: str, **data: object) -> None:
        """Tell all clients that have negotiated of an event that has just happened."""
        seconds, microseconds = divmod(time_ns() // 1000, 1_000_000)
        message: dict[str, Any] = {
            "timestamp": {"seconds": seconds, "microseconds": microseconds},
            "event": event,
        }
        if data:
            message["data"] = data
        for client in self._clients:
            client.tell(message)

    async def told(self) -> None:
        """Wait until every client has been sent what it was told."""
        for client in list(self._clients):
            await client.idle.wait()

    async def client(self, stream: trio.SocketStream) -> None:
        """Serve one client until it goes, or does not read."""
        async with stream:
            if len(self._clients) >= MAX_CLIENTS:
                return
            client = _Client(stream, Session(Commands(self._access, self.tell)))
            self._clients.add(client)
            try:
                with contextlib.suppress(
                    trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError
                ):
                    await client.run()
            finally:
                self._clients.discard(client)
                client.idle.set()


@attrs.define(eq=False)
class _Client:
    stream: trio.SocketStream
    session: Session
    idle: trio.Event = attrs.field(factory=trio.Event)
    """Everything has been sent."""
    _waiting: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    _more: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._put({"QMP": {"version": version(), "capabilities": []}})
            nursery.start_soon(self._send)
            splitter = Splitter()
            while data := await self.stream.receive_some(65536):
                try:
                    for value in splitter.feed(data):
                        self._put(await self.session.handle(value))
                except Malformed as error:
                    self._put(failure(str(error)))
            await self.idle.wait()
            nursery.cancel_scope.cancel()

    def tell(self, message: dict[str, Any]) -> None:
        if self.session.negotiated and len(self._waiting) < MAX_WAITING:
            self._put(message)

    def _put(self, message: dict[str, Any]) -> None:
        self._waiting.append(message)
        if self.idle.is_set():
            self.idle = trio.Event()
        self._more.set()

    async def _send(self) -> None:
        while True:
            while self._waiting:
                data = b"".join(msgspec.json.encode(message) + b"\r\n" for message in self._waiting)
                self._waiting.clear()
                with trio.fail_after(PATIENCE):
                    await self.stream.send_all(data)
            self.idle.set()
            self._more = trio.Event()
            await self._more.wait()
