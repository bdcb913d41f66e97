"""A WebSocket as a stream of bytes (RFC 6455): what comes in messages of either kind, and goes out in binary ones.

No extension is agreed on: what is sent to screens is packed already, and what is received needs no unpacking, which
could make much of little.
"""

import contextlib
from typing import ClassVar, Final

import trio
import wsproto
from wsproto import events
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

PIECE: Final = 1 << 16
"""Bytes that are read at once."""
FAREWELL: Final = 0.1
"""Seconds that saying goodbye may take."""
GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)


class WebSocket(trio.abc.Stream):
    """A WebSocket that a client has asked for by these headers; `transport` carries it."""

    SUBPROTOCOLS: ClassVar[tuple[str, ...]] = ("binary",)
    """Those that are agreed on, the best first: viewers of RFB in browsers ask for this one."""

    def __init__(
        self, transport: trio.abc.Stream, headers: list[tuple[bytes, bytes]], target: bytes, rest: bytes
    ) -> None:
        """`rest` is what has come behind the headers.

        Raises:
            wsproto.utilities.RemoteProtocolError: they do not ask for one.

        """
        self.transport = transport
        self._connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._connection.initiate_upgrade_connection(headers, target)
        (asked,) = [event for event in self._connection.events() if isinstance(event, events.Request)]
        self.subprotocol = next((name for name in self.SUBPROTOCOLS if name in asked.subprotocols), None)
        """What has been agreed on."""
        self._rest = rest
        self._sending = trio.Lock()
        self._closed = False

    async def accept(self) -> None:
        """Say yes."""
        await self._send(events.AcceptConnection(subprotocol=self.subprotocol))
        if self._rest:
            self._connection.receive_data(self._rest)

    async def tell(self, text: str) -> None:
        """Send a message of text, for the page itself."""
        await self._send(events.TextMessage(data=text))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, as a message of their own."""
        await self._send(events.BytesMessage(data=bytes(data)))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the transport does."""
        await self.transport.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes, as many as come together; none at the end.

        Raises:
            trio.BrokenResourceError: what comes is no WebSocket's.

        """
        del max_bytes
        return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in await self.pieces())

    async def pieces(self) -> list[bytes | str]:
        """Wait for what comes together of messages of either kind, in their order, none of it empty; [] at the end.

        Raises:
            trio.BrokenResourceError: what comes is no WebSocket's.

        """
        while not self._closed:
            found: list[bytes | str] = []
            try:
                for event in self._connection.events():
                    match event:
                        case events.BytesMessage(data=data) if data:
                            found.append(bytes(data))
                        case events.TextMessage(data=text) if text:
                            found.append(text)
                        case events.Ping():
                            await self._send(event.response())
                        case events.CloseConnection():
                            self._closed = True
                            if self._connection.state is ConnectionState.REMOTE_CLOSING:
                                await self._send(event.response())
                        case _:
                            pass
                if found:
                    return found
                if not self._closed:
                    received = await self.transport.receive_some(PIECE)
                    self._connection.receive_data(bytes(received) or None)
            except RemoteProtocolError as error:
                raise trio.BrokenResourceError from error
        return []

    async def aclose(self) -> None:
        """Close; who is there is told if that does not take long."""
        if not self._closed:
            self._closed = True
            with (
                trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL),
                contextlib.suppress(*GONE),
            ):
                await self._send(events.CloseConnection(code=CloseReason.GOING_AWAY))
        await self.transport.aclose()

    async def _send(self, event: events.Event) -> None:
        async with self._sending:
            try:
                data = self._connection.send(event)
            except LocalProtocolError as error:  # the other end has closed
                raise trio.BrokenResourceError from error
            await self.transport.send_all(data)
