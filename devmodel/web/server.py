"""Serves the page in the browser: one request a connection (h11), or a WebSocket (wsproto) to the screen or a console.

The page is a viewer of RFB, and so are noVNC and its like on `/rfb`: it is sent what has changed when it asks for more.
A console (`console.py`) is the bytes of its line, from where the page left off, so that nothing is lost or shown twice
when a server is upgraded and the page connects again. Whoever does not read is waited for in a task of his own, which
can be cancelled at any time; no more waits for him than his socket holds.
"""

import socket
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs
import h11
import msgspec
import structlog
import trio
from wsproto.utilities import RemoteProtocolError

from devmodel.consoles.clients import KEEPALIVE, Clients
from devmodel.consoles.line import SerialLine
from devmodel.display.vnc import Vnc
from devmodel.web.console import ConsoleSocket
from devmodel.web.elsewhere import Elsewhere
from devmodel.web.guard import Guard
from devmodel.web.websocket import WebSocket

log = structlog.get_logger()

MAX_CONNECTIONS: Final = 128
ASKING: Final = 10.0
"""Seconds that a client gets to say what it wants, and to take an answer that is no WebSocket."""
MAX_BODY: Final = 4096
MAX_HEADERS: Final = 16384
SEND_BUFFER: Final = 1 << 17
"""Bytes that wait in our kernel for a client that does not read."""
WRONG: Final = 1.0
"""Seconds that a wrong password costs; there is one attempt at a time."""
TYPES: Final = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
FILES: Final = {
    "/": "page.html",
    **{f"/{name}": name for name in ("page.css", "page.js", "rfb.js", "keys.js", "terminal.js")},
}
LOGIN: Final = "login.html"
SAFETY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none a form of our own would come from the origin "null"
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


@attrs.frozen
class Request:
    """What a client asks for; headers by their names in small letters."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    upgrades: bool
    """It asks for a WebSocket."""


@attrs.frozen
class Answer:
    """A status (RFC 9110, 15), and what there is to see."""

    status: int
    body: bytes = b""
    kind: str = "text/plain"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


NOBODY: Final = Answer(404, b"there is no such screen or console\n")


class Web:
    """The browsers that look at one machine.

    `lines` are its serial ports', `viewers` its screen's; consoles of another server may be `elsewhere`.
    """

    def __init__(
        self,
        name: str,
        guard: Guard,
        viewers: Vnc | None,
        lines: Sequence[SerialLine],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.name = name
        self.guard = guard
        self._viewers = viewers
        self._elsewhere = elsewhere
        self._consoles = [Clients(line) for line in lines]
        self._connections = 0
        self._attempt = trio.Lock()

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Serve browsers for ever. Cancel to stop."""
        await trio.serve_listeners(self.client, listeners)

    async def client(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end."""
        async with stream:
            if self._connections >= MAX_CONNECTIONS:
                log.warning("web.too_many_connections", most=MAX_CONNECTIONS)
                return
            self._connections += 1
            try:
                if isinstance(stream, trio.SocketStream):
                    _set_up(stream)
                await self._converse(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                pass
            finally:
                self._connections -= 1

    async def _converse(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        with trio.fail_after(ASKING):
            try:
                asked, raw = await _request(connection, stream)
            except h11.RemoteProtocolError as error:
                await _answer(connection, stream, Answer(error.error_status_hint, b"that is no HTTP\n"))
                return
            if asked is None or raw is None:
                return
        answer = await (
            self._upgrade(asked, raw, stream, connection) if asked.upgrades else self._page(asked)
        )
        if answer is None:
            return
        with trio.fail_after(ASKING):
            await _answer(connection, stream, answer, head=asked.method == "HEAD")

    # -- pages

    async def _page(self, asked: Request) -> Answer:
        if not self.guard.knows_host(asked.headers):
            return self._foreign(asked)
        match asked.method, asked.path:
            case "POST", "/login":
                return await self._log_in(asked)
            case "GET" | "HEAD", "/page.css":
                return _file(FILES[asked.path])
            case "GET" | "HEAD", path if not self.guard.admits(asked.headers):
                return _file(LOGIN) if path == "/" else Answer(403, b"say the password first\n")
            case "GET" | "HEAD", "/machine.json":
                return await self._machine()
            case "GET" | "HEAD", path if path in FILES:
                return _file(FILES[path])
            case "GET" | "HEAD", _:
                return Answer(404, b"there is no such page\n")
            case _:
                return Answer(405, b"pages are for GET\n", headers={"Allow": "GET, HEAD"})

    async def _machine(self) -> Answer:
        """Say what the page must know; `identity` is another when positions in consoles mean something else."""
        consoles, identity = len(self._consoles), self.guard.identity
        if self._elsewhere is not None:
            there = await self._elsewhere.look()
            if there is None:
                return Answer(503, b"the server of the consoles is away\n")
            consoles, identity = there.consoles, identity + there.identity
        machine = {"name": self.name, "consoles": consoles, "identity": identity}
        return Answer(200, msgspec.json.encode(machine), "application/json")

    async def _log_in(self, asked: Request) -> Answer:
        if not self.guard.own_page(asked.headers):
            return Answer(403, b"that is another site's form\n")
        said = parse_qs(asked.body.decode("latin-1"), encoding="utf-8").get("password", [""])[0].encode()
        async with self._attempt:
            if not self.guard.is_password(said):
                log.warning("web.wrong_password")
                await trio.sleep(WRONG)
                return attrs.evolve(_file(LOGIN), status=403)
        return Answer(303, headers={"Location": "/", "Set-Cookie": self.guard.cookie(asked.headers)})

    def _foreign(self, asked: Request) -> Answer:
        log.warning("web.foreign_host", host=asked.headers.get("host", ""))
        return Answer(421, b"this machine goes by its number, localhost, or the name that it listens on\n")

    # -- WebSockets

    async def _upgrade(
        self, asked: Request, raw: h11.Request, stream: trio.abc.Stream, connection: h11.Connection
    ) -> Answer | None:
        """Serve a WebSocket to its end, or say why there is none."""
        refusal = self._refusal(asked)
        if refusal is None and self._elsewhere is not None and asked.path.startswith("/serial/"):
            there = await self._elsewhere.join(raw, connection.trailing_data[0], stream)
            return None if there else NOBODY
        far_end = refusal or self._far_end(asked)
        if isinstance(far_end, Answer):
            return far_end
        try:
            kind = WebSocket if isinstance(far_end, Vnc) else ConsoleSocket
            opened = kind(stream, raw.headers.raw_items(), raw.target, connection.trailing_data[0])
        except RemoteProtocolError:
            return Answer(400, b"that is no WebSocket of version 13\n")
        await self._join(opened, far_end)
        return None

    def _refusal(self, asked: Request) -> Answer | None:
        if not self.guard.knows_host(asked.headers):
            return self._foreign(asked)
        if not self.guard.own_page(asked.headers):
            log.warning("web.foreign_page", origin=asked.headers.get("origin", ""))
            return Answer(403, b"that is another site's page\n")
        if not self.guard.admits(asked.headers):
            return Answer(403, b"say the password first\n")
        return None

    def _far_end(self, asked: Request) -> "Answer | tuple[Clients, int] | Vnc":
        """Return what a WebSocket is to: the screen, or a console and a position in what its guest has said."""
        if asked.path == "/rfb" and self._viewers is not None:
            return self._viewers
        number = asked.path.removeprefix("/serial/")
        if not (number.isdecimal() and len(number) == 1 and 1 <= int(number) <= len(self._consoles)):
            return NOBODY
        console = self._consoles[int(number) - 1]
        end = console.line.transcript.end
        position = max(end - console.line.history, 0)
        left_off = asked.query.get("from", [""])[0]
        if left_off.isdecimal() and len(left_off) < 20 and int(left_off) <= end:
            position = int(left_off)
        return console, position

    @staticmethod
    async def _join(opened: WebSocket, far_end: "tuple[Clients, int] | Vnc") -> None:
        with trio.fail_after(ASKING):
            await opened.accept()
        if isinstance(far_end, Vnc):
            await far_end.client(opened)
            return
        console, position = far_end
        await console.client(opened, position=position)


async def _request(
    connection: h11.Connection, stream: trio.abc.Stream
) -> tuple[Request, h11.Request] | tuple[None, None]:
    """Wait for a request; none comes if the client goes."""
    raw: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            raw = event
            if connection.they_are_waiting_for_100_continue:
                await stream.send_all(
                    connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise h11.RemoteProtocolError("too long", 413)
        elif raw is None:
            return None, None
        else:
            break
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in raw.headers}
    try:
        target = urlsplit(raw.target.decode("ascii"))
    except ValueError as error:
        raise h11.RemoteProtocolError("no target", 400) from error
    upgrades = headers.get("upgrade", "").lower() == "websocket"
    asked = Request(raw.method.decode(), target.path, parse_qs(target.query), headers, body, upgrades)
    return asked, raw


async def _answer(
    connection: h11.Connection, stream: trio.abc.Stream, answer: Answer, *, head: bool = False
) -> None:
    headers = [
        ("Content-Type", answer.kind),
        ("Content-Length", str(len(answer.body))),
        *SAFETY.items(),
        *answer.headers.items(),
    ]
    data = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if not head:
        data += connection.send(h11.Data(data=answer.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)


def _file(name: str) -> Answer:
    data = (files("devmodel.web") / "page" / name).read_bytes()
    return Answer(200, data, TYPES[name.rpartition(".")[2]])


def _set_up(stream: trio.SocketStream) -> None:
    """Have little wait for a browser that does not read, and find out about one whose host has vanished."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if stream.socket.family != socket.AF_UNIX:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)
