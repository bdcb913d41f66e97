"""A serial line on TCP: several clients at once, all see the output, anyone types."""

import socket
from typing import Final

import structlog
import trio

from devmodel import ConfigError
from devmodel.consoles.line import Listener, SerialLine
from devmodel.consoles.telnet import Telnet

log = structlog.get_logger()

MAX_CLIENTS: Final = 32
FLOW_BUFFER: Final = 1 << 14
"""Bytes, with flow control."""


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Bind, before anything else starts.

    Raises:
        ConfigError: the port is in use, or the host is none of ours.

    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"serial tcp:{host}:{port}: {reason}") from error


class TcpConsole:
    """The clients of one line."""

    def __init__(self, line: SerialLine) -> None:
        self.line = line
        self.clients = 0
        self._ended: dict[trio.abc.Stream, trio.CancelScope] = {}
        """Clients that type no more, the oldest first: they may still read, or be gone."""
        self._followers: dict[trio.abc.Stream, tuple[Telnet, Listener]] = {}
        self.came = trio.Event()
        """There has been a client."""

    def now(self) -> list[tuple[trio.SocketStream, Telnet, int]]:
        """Return the clients there are, what they speak, and how much of the transcript each has been shown."""
        return [
            (stream, telnet, listener.shown)
            for stream, (telnet, listener) in self._followers.items()
            if isinstance(stream, trio.SocketStream)
        ]

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Accept clients for ever. Cancel to stop; all are disconnected then."""
        await trio.serve_listeners(self.client, listeners)

    async def client(
        self, stream: trio.abc.Stream, telnet: Telnet | None = None, position: int | None = None
    ) -> None:
        """Serve one client until it goes: a new one, or one that speaks `telnet` and has seen all up to `position`."""
        if self.clients >= MAX_CLIENTS and self._ended:
            self._ended.pop(next(iter(self._ended))).cancel()  # it makes room
        elif self.clients >= MAX_CLIENTS:
            log.warning("console.too_many_clients", most=MAX_CLIENTS)
            await stream.aclose()
            return
        self.clients += 1
        if isinstance(stream, trio.SocketStream):  # so that a host that vanished is noticed some time
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self.line.flow:  # what lies in its buffer counts as read
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FLOW_BUFFER)
        telnet = telnet or Telnet()
        sending = trio.Lock()
        try:
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(self._show, stream, telnet, sending, nursery.cancel_scope, position)
                if await self._listen(stream, telnet, sending):
                    self._ended[stream] = nursery.cancel_scope
                    # It types no more, but may still read (`echo ls | nc`): `_show` ends when it no longer does.
                else:
                    nursery.cancel_scope.cancel()
        finally:
            self._ended.pop(stream, None)
            self.clients -= 1

    async def _show(
        self,
        stream: trio.abc.Stream,
        telnet: Telnet,
        sending: trio.Lock,
        scope: trio.CancelScope,
        position: int | None,
    ) -> None:
        """Send the recent history, then whatever comes, as fast as this client reads."""
        with self.line.listening(position) as listener:
            self._followers[stream] = telnet, listener
            self.came.set()
            try:
                while True:
                    data = await listener.output()
                    async with sending:
                        await stream.send_all(telnet.escape(data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                scope.cancel()
            finally:
                del self._followers[stream]

    async def _listen(self, stream: trio.abc.Stream, telnet: Telnet, sending: trio.Lock) -> bool:
        """Pass on what is typed, not faster than the guest takes it, to its end; False if the client is gone."""
        try:
            while data := bytes(await stream.receive_some(4096)):
                typed, reply = telnet.receive(data)
                if reply:
                    async with sending:
                        await stream.send_all(reply)
                await self.line.type(typed)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True
