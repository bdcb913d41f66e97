"""The page in the browser, from its wire: who is let in, what a WebSocket carries, and what happens to the rude."""

import json
import os

import pytest
import structlog
import trio
import trio.testing
import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from devmodel import ConfigError
from devmodel.config import Options, load
from devmodel.consoles.line import SerialLine
from devmodel.control import sockets
from devmodel.devices.vga_picture import Picture
from devmodel.display.renderer import Renderer
from devmodel.display.vnc import Vnc
from devmodel.web import server as module
from devmodel.web.elsewhere import Elsewhere
from devmodel.web.guard import Guard
from devmodel.web.server import MAX_CONNECTIONS, Web

HERE = "127.0.0.1:8080"


class Chip:
    """A receiver that takes everything."""

    def __init__(self) -> None:
        self.got = bytearray()

    def room(self):
        return 16

    def receive(self, byte):
        self.got.append(byte)

    def receive_break(self):
        self.got += b"<break>"

    def clear_to_send(self, level):
        pass


class Site:
    """A page that is served, and its browsers."""

    def __init__(self, nursery, web, line, chip) -> None:
        self.nursery, self.web, self.line, self.chip = nursery, web, line, chip

    def connect(self):
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.web.client, theirs)
        return ours

    async def ask(self, path="/", *, method="GET", host=HERE, body="", **headers) -> tuple[int, str]:
        """Return the status of a request and all that is answered."""
        stream = self.connect()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await stream.send_all(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        answer = b""
        with trio.fail_after(30):
            async for data in stream:
                answer += data
        return int(answer.split()[1]), answer.decode()

    async def open(self, path, *, subprotocols=(), **headers) -> "Client | int":
        """Return a WebSocket's client, or the status with which it was refused."""
        client = Client(self.connect())
        headers = {"Origin": f"http://{HERE}"} | headers
        with trio.fail_after(30):
            return await client.shake(path, headers, subprotocols)


class Client:
    def __init__(self, stream) -> None:
        self.stream = stream
        self.connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.events: list = []

    async def shake(self, path, headers, subprotocols=()):
        host = headers.pop("Host", HERE)
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send(Request(host=host, target=path, extra_headers=extra, subprotocols=[*subprotocols]))
        event = await self.event()
        if isinstance(event, RejectConnection):
            return event.status_code
        assert isinstance(event, AcceptConnection)
        return self

    async def send(self, event):
        await self.stream.send_all(self.connection.send(event))

    async def event(self):
        with trio.fail_after(30):
            while not self.events:
                data = await self.stream.receive_some(65536)
                self.connection.receive_data(data or None)
                self.events += self.connection.events()
        return self.events.pop(0)

    async def bytes(self, count):
        got = b""
        while len(got) < count:
            event = await self.event()
            assert isinstance(event, BytesMessage), event
            got += event.data
        return got


@pytest.fixture
async def site(nursery, monkeypatch):
    monkeypatch.setattr("devmodel.display.renderer.picture", lambda frame: frame)
    picture = Picture(16, 4, [bytes(16)] * 4, ((1, 2, 3),))
    renderer = Renderer(lambda: picture)
    nursery.start_soon(renderer.run)
    line, chip = SerialLine(), Chip()
    line.connect(chip)
    web = Web("the guest", Guard.of("127.0.0.1", None, "secret"), Vnc(renderer, None, "the guest"), [line])
    yield Site(nursery, web, line, chip)
    nursery.cancel_scope.cancel()


@pytest.fixture
def locked(site):
    site.web.guard = Guard.of("127.0.0.1", b"open sesame", "secret")
    return site


# -- pages


@pytest.mark.parametrize("path", sorted(module.FILES))
async def test_every_file_of_the_page_is_there_and_may_load_nothing_from_elsewhere(site, path):
    status, answer = await site.ask(path)
    assert status == 200
    assert "content-security-policy: default-src 'none'" in answer.lower()
    assert "http://" not in answer.partition("\r\n\r\n")[2], "nothing is fetched from another site"


async def test_the_page_learns_what_machine_it_shows(site):
    status, answer = await site.ask("/machine.json")
    machine = json.loads(answer.partition("\r\n\r\n")[2])
    assert (status, machine["name"], machine["consoles"]) == (200, "the guest", 1)
    assert "secret" not in answer


async def test_what_there_is_not_is_said(site):
    assert (await site.ask("/../guard.py"))[0] == 404
    assert (await site.ask("/page.html"))[0] == 404, "the page has one name"
    assert (await site.ask("/", method="DELETE"))[0] == 405
    status, answer = await site.ask("/", method="HEAD")
    assert (status, answer.partition("\r\n\r\n")[2]) == (200, "")
    assert (await site.ask("/login", method="POST", body="x" * 5000))[0] == 413


async def test_what_is_no_http_is_refused_in_a_line(site):
    stream = site.connect()
    await stream.send_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")  # a browser that tries TLS
    with trio.fail_after(30):
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 400 ")


async def test_who_asks_for_nothing_is_let_go(site, monkeypatch):
    monkeypatch.setattr(module, "ASKING", 0.05)
    stream = site.connect()
    await stream.send_all(b"GET / HTTP/1.1\r\nHost:")
    with trio.fail_after(30):
        assert await stream.receive_some(1) == b""


async def test_more_connections_than_there_may_be_are_closed_and_logged(site):
    many = [site.connect() for _ in range(MAX_CONNECTIONS)]
    await trio.testing.wait_all_tasks_blocked()
    with structlog.testing.capture_logs() as logs, trio.fail_after(30):
        assert await site.connect().receive_some(1) == b""
    assert [entry["event"] for entry in logs] == ["web.too_many_connections"]
    for stream in many:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert (await site.ask())[0] == 200


# -- other sites


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
async def test_a_name_that_was_pointed_here_is_refused(site, host):
    """DNS rebinding: the page of another site, whose name has become our address, would be of our origin."""
    with structlog.testing.capture_logs():
        assert (await site.ask("/machine.json", host=host))[0] == 421
        assert await site.open("/serial/1", Host=host or "x", Origin=f"http://{host}") == 421


@pytest.mark.parametrize(
    "host", [HERE, "[::1]:8080", "localhost:8080", "LOCALHOST", "guest.localhost", "192.0.2.1"]
)
async def test_numbers_and_our_own_names_are_let_in(site, host):
    assert (await site.ask(host=host))[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9999", "null", "file://", f"ftp://{HERE}", HERE]
)
@pytest.mark.parametrize("path", ["/rfb", "/serial/1"])
async def test_a_websocket_of_another_sites_page_is_refused(site, origin, path):
    with structlog.testing.capture_logs():
        assert await site.open(path, Origin=origin) == 403
    assert site.web._viewers.viewers == 0


async def test_a_program_that_is_no_browser_sends_no_origin_and_is_let_in(site):
    client = Client(site.connect())
    assert await client.shake("/serial/1", {}) is client


@pytest.mark.parametrize("path", ["/", "/serial/0", "/serial/2", "/serial/01", "/serial/x", "/serial/²"])
async def test_a_websocket_to_nowhere_is_refused(site, path):
    assert await site.open(path.encode().decode("latin-1").replace("Â²", "%C2%B2")) == 404


# -- passwords


async def test_nothing_but_the_form_is_shown_without_the_password(locked):
    status, answer = await locked.ask("/")
    assert status == 200
    assert 'type="password"' in answer
    for path in ("/machine.json", "/page.js", "/nothing"):
        assert (await locked.ask(path))[0] == 403
    for path in ("/rfb", "/serial/1"):
        assert await locked.open(path) == 403
        assert await locked.open(path, Cookie="devmodel-8080=guess") == 403


async def test_the_password_opens_and_its_cookie_goes_to_no_other_site(locked):
    status, answer = await locked.ask("/login", method="POST", body="password=open+sesame")
    assert status == 303
    (cookie,) = [line for line in answer.splitlines() if line.lower().startswith("set-cookie: ")]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    value = cookie.split()[1].rstrip(";")
    assert (await locked.ask("/machine.json", Cookie=f"a=b; {value}"))[0] == 200
    assert isinstance(await locked.open("/serial/1", Cookie=value), Client)


async def test_a_wrong_password_costs_a_second_each_one_after_the_other(locked, autojump_clock):
    begin = trio.current_time()
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            for guess in ("", "wrong", "open sesam"):
                nursery.start_soon(guessed, locked, guess)
    assert trio.current_time() - begin == pytest.approx(3, abs=0.1)
    assert [entry["event"] for entry in logs] == ["web.wrong_password"] * 3


async def guessed(site, guess):
    assert (await site.ask("/login", method="POST", body=f"password={guess}"))[0] == 403


async def test_another_sites_form_is_not_taken(locked):
    body = "password=open+sesame"
    assert (await locked.ask("/login", method="POST", body=body, Origin="http://evil.example"))[0] == 403


# -- consoles


def say(line, text: bytes):
    for byte in text:
        line.transmit(byte)


async def test_a_console_shows_what_was_said_and_is_typed_on(site):
    say(site.line, b"login: ")
    client = await site.open("/serial/1")
    assert (await client.event()).data == "0"
    assert await client.bytes(7) == b"login: "
    await client.send(BytesMessage(data=b"ro"))
    await client.send(TextMessage(data="ot\r"))
    await client.send(Ping(payload=b"there?"))
    assert await client.event() == Pong(payload=b"there?")
    with trio.fail_after(30):
        while site.chip.got != b"root\r":
            await trio.sleep(0.01)
    await client.send(CloseConnection(code=1000))
    assert isinstance(await client.event(), CloseConnection)


async def test_a_break_comes_between_the_keys_that_were_typed_around_it(site):
    """Our page's subprotocol has text as commands: a key that is behind a break, as SysRq's, stays behind it."""
    client = await site.open("/serial/1", subprotocols=["console.devmodel"])
    assert (await client.event()).data == "0"
    await client.send(BytesMessage(data=b"a"))
    await client.send(TextMessage(data="break"))
    await client.send(BytesMessage(data=b"h"))
    with trio.fail_after(30):
        while site.chip.got != b"a<break>h":
            await trio.sleep(0.01)


async def test_text_that_is_no_command_ends_a_connection_that_has_commands(site):
    client = await site.open("/serial/1", subprotocols=["console.devmodel"])
    assert (await client.event()).data == "0"
    await client.send(TextMessage(data="reboot"))
    assert isinstance(await client.event(), CloseConnection)
    assert site.chip.got == b""


async def test_a_page_that_has_missed_something_is_told_where_it_is(site):
    """A page counts what it shows and asks for the rest by that when it connects again."""
    client = await site.open("/serial/1")
    assert (await client.event()).data == "0"
    await trio.testing.wait_all_tasks_blocked()
    kept = site.line.transcript.capacity
    said = 3 * kept  # in one breath: nobody can have read in between
    say(site.line, b"x" * said)
    event = await client.event()
    assert isinstance(event, TextMessage)
    assert 0 < int(event.data) <= said - kept
    assert await client.bytes(said - int(event.data)) == b"x" * (said - int(event.data))


@pytest.mark.parametrize(
    ("left_off", "begins"), [("4", 4), ("0", 0), ("6", 6), ("7", 0), ("-1", 0), ("1e9", 0)]
)
async def test_a_console_goes_on_from_where_the_page_was(site, left_off, begins):
    say(site.line, b"abcdef")
    client = await site.open(f"/serial/1?from={left_off}")
    assert (await client.event()).data == str(begins), "past the end is another machine's position"
    say(site.line, b"!")
    assert await client.bytes(7 - begins) == b"abcdef!"[begins:]


async def test_a_browser_that_does_not_read_holds_up_nobody_and_can_be_ended(site):
    """Only what its socket holds waits for it: it misses what is no longer kept."""
    ours, theirs = trio.testing.lockstep_stream_pair()  # one that holds nothing
    client = Client(ours)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.web.client, theirs)
            assert await client.shake("/serial/1", {}) is client
            say(site.line, b"x" * (1 << 20))
            other = await site.open("/serial/1")
            assert (await other.event()).data == str((1 << 20) - site.line.history)
            await other.bytes(site.line.history)
            nursery.cancel_scope.cancel()


async def test_frames_that_there_cannot_be_end_the_connection(site):
    client = await site.open("/serial/1")
    assert (await client.event()).data == "0"
    await client.stream.send_all(b"\xff\xff\xff\xff")
    with trio.fail_after(30):
        while await client.stream.receive_some(65536):
            pass
    assert (await site.ask())[0] == 200


# -- consoles of another server


@pytest.fixture
def parted(site, nursery, tmp_path):
    """A page whose consoles are on a socket; `site.web` is theirs, and what is asked is the other's."""
    path = str(tmp_path / "domain.web")
    theirs = Web("the guest", Guard.of(None, None, "another secret"), None, [site.line])
    viewers, secret = site.web._viewers, Guard.of("127.0.0.1", b"open sesame", "secret")
    site.web = Web("the guest", secret, viewers, [], Elsewhere(path))
    site.cookie = {"Cookie": "devmodel-8080=secret"}
    site.away = trio.CancelScope()

    async def serve():
        with site.away:
            await theirs.serve([listener])

    listener = sockets.listen(path)
    nursery.start_soon(serve)
    return site


async def test_consoles_of_another_server_are_the_pages_own(parted):
    say(parted.line, b"login: ")
    client = await parted.open("/serial/1?from=2", **parted.cookie)
    assert (await client.event()).data == "2"
    assert await client.bytes(5) == b"gin: "
    await client.send(BytesMessage(data=b"root"))
    with trio.fail_after(30):
        while parted.chip.got != b"root":
            await trio.sleep(0.01)
    assert await parted.open("/serial/2", **parted.cookie) == 404


async def test_the_guard_is_the_pages_before_it_is_passed_on(parted):
    assert await parted.open("/serial/1") == 403, "without the password"
    with structlog.testing.capture_logs():
        assert await parted.open("/serial/1", Origin="http://evil.example", **parted.cookie) == 403


async def test_a_page_waits_for_its_consoles_server_which_comes_again(parted):
    """In an upgrade it is away for a moment: a page that took it for another machine's would be made anew."""
    status, answer = await parted.ask("/machine.json", **parted.cookie)
    machine = json.loads(answer.partition("\r\n\r\n")[2])
    assert (status, machine["consoles"]) == (200, 1)
    parted.away.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert (await parted.ask("/machine.json", **parted.cookie))[0] == 503
    assert await parted.open("/serial/1", **parted.cookie) == 404


async def test_a_machine_that_never_had_consoles_elsewhere_has_a_page_all_the_same(site, tmp_path):
    site.web = Web("the guest", site.web.guard, site.web._viewers, [], Elsewhere(str(tmp_path / "none")))
    status, answer = await site.ask("/machine.json")
    assert (status, json.loads(answer.partition("\r\n\r\n")[2])["consoles"]) == (200, 0)


# -- the screen


async def test_the_screen_is_rfb_and_other_viewers_subprotocol_is_agreed_to(site):
    client = Client(site.connect())
    await client.send(Request(host=HERE, target="/rfb", subprotocols=["binary", "base64"]))
    assert (await client.event()).subprotocol == "binary"
    assert await client.bytes(12) == b"RFB 003.008\n"


# -- where it listens


def test_web_is_a_table_and_an_option(tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text('[web]\nlisten = "unix:web.sock,mode=0660"\n')
    assert load(str(path), Options()).web.listen == f"unix:{tmp_path}/web.sock,mode=0660"
    assert load(str(path), Options(web="127.0.0.1:0")).web.listen == "127.0.0.1:0"
    with pytest.raises(ConfigError, match="--web '8080' is not HOST:PORT"):
        load(None, Options(web="8080"))
    path.write_text('[web]\nlisten = "nowhere"\n')
    with pytest.raises(ConfigError, match=r"machine.toml: listen in \[web\]: 'nowhere' is not HOST:PORT"):
        load(str(path), Options())


def test_a_port_with_a_password_goes_by_any_name_and_one_without_by_its_own():
    assert not Guard.of("127.0.0.1", None, "").knows_host({"host": "guest.example"})
    assert Guard.of("guest.example", None, "").knows_host({"host": "Guest.Example:8080"})
    assert Guard.of("0.0.0.0", None, "").knows_host({"host": os.uname().nodename})  # noqa: S104  (a name, not a bind)
    assert Guard.of("127.0.0.1", b"password", "").knows_host({"host": "guest.example"})
    assert not Guard.of("127.0.0.1", b"password", "").knows_host({})
