"""The consoles of another server of the machine, for the page that is served here.

Where screen and serial ports are apart, the server of the ports serves its consoles on a Unix socket beside the
domain's, for its own user alone. The page's server passes on what browsers that it has let in say to them.
"""

from typing import Final

import attrs
import h11
import msgspec
import trio

PATIENCE: Final = 5.0
"""Seconds that the other server may take to answer."""
PIECE: Final = 1 << 16
"""Bytes that are passed on at once."""


class Consoles(msgspec.Struct):
    """What the other server says of itself: how many consoles, and what tells it from another on its socket."""

    consoles: int = 0
    identity: str = ""


@attrs.define
class Elsewhere:
    """Consoles at a Unix socket."""

    path: str
    _seen: bool = False

    async def look(self) -> Consoles | None:
        """Ask what consoles there are; None while their server, which has been there, is away."""
        try:
            with trio.fail_after(PATIENCE):
                found = msgspec.json.decode(await self._get("/machine.json"), type=Consoles)
        except (
            OSError,
            trio.BrokenResourceError,
            trio.TooSlowError,
            h11.RemoteProtocolError,
            msgspec.DecodeError,
        ):
            return None if self._seen else Consoles()
        self._seen = True
        return found

    async def _get(self, target: str) -> bytes:
        connection = h11.Connection(h11.CLIENT)
        body = b""
        async with await trio.open_unix_socket(self.path) as stream:
            headers = [("Host", "localhost"), ("Connection", "close")]
            asked = connection.send(h11.Request(method="GET", target=target, headers=headers)) or b""
            await stream.send_all(asked + (connection.send(h11.EndOfMessage()) or b""))
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(bytes(await stream.receive_some(PIECE)))
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return body

    async def join(self, request: h11.Request, rest: bytes, stream: trio.abc.Stream) -> bool:
        """Pass on a request and what follows it, in both directions, until one end goes; False if nobody is there."""
        try:
            other = await trio.open_unix_socket(self.path)
        except OSError:
            return False
        head = b"%s %s HTTP/1.1\r\n" % (request.method, request.target)
        head += b"".join(b"%s: %s\r\n" % header for header in request.headers.raw_items()) + b"\r\n"
        async with other, trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, stream, other, head + rest, nursery.cancel_scope)
            nursery.start_soon(_pass_on, other, stream, b"", nursery.cancel_scope)
        return True


async def _pass_on(
    source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, first: bytes, scope: trio.CancelScope
) -> None:
    try:
        data = first or bytes(await source.receive_some(PIECE))
        while data:
            await sink.send_all(data)
            data = bytes(await source.receive_some(PIECE))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()
