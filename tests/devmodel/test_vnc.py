"""VNC: every dot that the screen has, in every form that a viewer may want, and keys and movements back."""

import os
import socket
import struct
import time
import zlib

import attrs
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from devmodel import ConfigError
from devmodel.config import Options, load
from devmodel.devices.vga_picture import Picture
from devmodel.display import vnc as module
from devmodel.display.damage import Rectangle, damage
from devmodel.display.keysyms import key_of
from devmodel.display.pixels import SERVERS, PixelFormat, dots
from devmodel.display.renderer import Renderer
from devmodel.display.vnc import (
    DESKTOP_SIZE,
    EXTENDED_KEYS,
    MAX_VIEWERS,
    RAW,
    TIGHT,
    ZLIB,
    Agreed,
    Vnc,
    response_of,
)

PALETTE = tuple((n, 255 - n, n * 7 % 256) for n in range(256))
FORMATS = {
    "ours": SERVERS,
    "vncsnapshot's": PixelFormat(32, 24, False, True, (255, 255, 255), (0, 8, 16)),
    "big endian": PixelFormat(32, 24, True, True, (255, 255, 255), (16, 8, 0)),
    "565": PixelFormat(16, 16, False, True, (31, 63, 31), (11, 5, 0)),
    "565 big endian": PixelFormat(16, 16, True, True, (31, 63, 31), (11, 5, 0)),
    "332": PixelFormat(8, 8, False, True, (7, 7, 3), (0, 3, 6)),
}


def screen(width=40, height=12, *, seed=1, palette=PALETTE) -> Picture:
    size = 1 if palette else 3
    rows = [bytes((x * seed + y * 5) % 256 for x in range(size * width)) for y in range(height)]
    return Picture(width, height, rows, palette)


def color(picture: Picture, x: int, y: int) -> tuple[int, int, int]:
    row = picture.rows[y]
    return picture.palette[row[x]] if picture.palette else tuple(row[3 * x : 3 * x + 3])


# -- dots and damage


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("palette", [PALETTE, None], ids=["palette", "true colour"])
def test_dots_are_what_the_format_says(form, palette):
    picture, where = screen(palette=palette), Rectangle(3, 2, 17, 5)
    data = dots(picture, where, form)
    size = form.bits // 8
    assert len(data) == 17 * 5 * size
    for y in range(5):
        for x in range(17):
            at = (y * 17 + x) * size
            dot = int.from_bytes(data[at : at + size], "big" if form.big_endian else "little")
            for level, maximum, shift in zip(
                color(picture, x + 3, y + 2), form.maxima, form.shifts, strict=True
            ):
                assert dot >> shift & maximum == (level * maximum + 127) // 255
    assert PixelFormat.decode(form.encode()) == form


@pytest.mark.parametrize(
    "data", [bytes(16), struct.pack(">BBBBHHHBBB3x", 24, 24, 0, 1, 255, 255, 255, 0, 8, 16)]
)
def test_a_format_that_there_is_not_is_refused_or_a_map(data):
    if data[3]:
        with pytest.raises(ValueError, match="no pixel format"):
            PixelFormat.decode(data)
    else:
        assert PixelFormat.decode(data).color_map()[0xFF] == (0xFFFF, 0xFFFF, 0xFFFF)


@given(
    changes=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 59), st.integers(0, 255)), max_size=8),
    palette=st.sampled_from([PALETTE, None]),
)
def test_damage_has_every_dot_that_differs(changes, palette):
    before = screen(height=60, palette=palette)
    rows = [bytearray(row) for row in before.rows]
    for x, y, value in changes:
        rows[y][x] = value
    after = Picture(40, 60, [bytes(row) for row in rows], palette)
    found = damage(before, after)
    for y in range(60):
        for x in range(40):
            inside = any(r.x <= x < r.x + r.width and r.y <= y < r.y + r.height for r in found)
            assert inside or color(before, x, y) == color(after, x, y)
    assert damage(after, after) == []
    assert sum(r.width * r.height for r in found) <= 40 * 60
    if before.rows == after.rows:
        assert found == []


def test_another_size_or_palette_is_damage_everywhere():
    assert damage(screen(), screen(50)) == [Rectangle(0, 0, 50, 12)]
    assert damage(screen(), attrs.evolve(screen(), palette=PALETTE[::-1])) == [Rectangle(0, 0, 40, 12)]


# -- viewers


class Hands:
    def __init__(self) -> None:
        self.did: list = []
        self.ready = True

    def hold(self, keys, *, pressed):
        self.did.append(("+" if pressed else "-") + keys[0])

    def point(self, right, down, wheel):
        self.did.append((right, down, wheel))

    def click(self, button, *, pressed):
        self.did.append(("+" if pressed else "-") + button)

    def takes_keys(self):
        return self.ready

    def takes_mouse(self):
        return self.ready


class Client:
    """A viewer, of which a test is the person."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.form = SERVERS
        self.inflate = {ZLIB: zlib.decompressobj(), TIGHT: zlib.decompressobj()}
        self.rectangles: list = []
        self.size = (0, 0)
        self.dots: dict = {}

    async def exactly(self, count: int) -> bytes:
        with trio.fail_after(5):
            while len(self.buffer) < count:
                data = await self.stream.receive_some(65536)
                assert data, "it has closed"
                self.buffer += data
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def shake(self, version=8, password=None):
        assert await self.exactly(12) == b"RFB 003.008\n"
        await self.stream.send_all(b"RFB 003.%03d\n" % version)
        kind = 1 if password is None else 2
        if version == 3:
            assert await self.exactly(4) == struct.pack(">I", kind)
        else:
            assert await self.exactly(2) == bytes((1, kind))
            await self.stream.send_all(bytes((kind,)))
        if password is not None:
            await self.stream.send_all(response_of(password)(await self.exactly(16)))
        if version == 8 or password is not None:
            assert await self.exactly(4) == bytes(4)
        await self.stream.send_all(b"\1")
        width, height, form, length = struct.unpack(">HH16sI", await self.exactly(24))
        assert PixelFormat.decode(form) == SERVERS
        self.size = width, height
        return await self.exactly(length)

    async def choose(self, form: PixelFormat, *encodings: int):
        self.form = form
        await self.stream.send_all(b"\0\0\0\0" + form.encode())
        await self.stream.send_all(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    async def ask(self, *, incremental=True):
        await self.stream.send_all(struct.pack(">BBHHHH", 3, incremental, 0, 0, *self.size))

    async def update(self):
        """Take an update, and keep its dots by place."""
        kind, count = struct.unpack(">BxH", await self.exactly(4))
        assert kind == 0
        self.rectangles = []
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", await self.exactly(12))
            self.rectangles.append((x, y, width, height, encoding))
            if encoding == DESKTOP_SIZE:
                self.size, self.dots = (width, height), {}
                continue
            if encoding == EXTENDED_KEYS:
                continue
            form = self.form
            if encoding == TIGHT:
                form = form.compact or form
            size = form.bits // 8
            length = width * height * size
            if encoding == RAW:
                data = await self.exactly(length)
            elif encoding == ZLIB:
                (packed,) = struct.unpack(">I", await self.exactly(4))
                data = self.inflate[ZLIB].decompress(await self.exactly(packed))
            else:
                assert await self.exactly(1) == b"\0"
                data = await self._tight(length)
            assert len(data) == length
            for at in range(width * height):
                dot = int.from_bytes(
                    data[at * size : at * size + size], "big" if form.big_endian else "little"
                )
                self.dots[x + at % width, y + at // width] = tuple(
                    (dot >> shift & maximum) for maximum, shift in zip(form.maxima, form.shifts, strict=True)
                )

    async def _tight(self, length: int) -> bytes:
        if length < 12:
            return await self.exactly(length)
        packed = 0
        for shift in (0, 7, 14):
            byte = (await self.exactly(1))[0]
            packed |= (byte & (0x7F if shift < 14 else 0xFF)) << shift
            if not byte & 0x80:
                break
        return self.inflate[TIGHT].decompress(await self.exactly(packed))

    def shows(self, picture: Picture) -> bool:
        maxima = self.form.maxima
        return self.dots == {
            (x, y): tuple(
                (level * maximum + 127) // 255
                for level, maximum in zip(color(picture, x, y), maxima, strict=True)
            )
            for x in range(picture.width)
            for y in range(picture.height)
        }


@pytest.fixture
def drawn(monkeypatch):
    """What stands for a frame is its picture already."""
    monkeypatch.setattr("devmodel.display.renderer.picture", lambda frame: frame)
    return [screen()]


@pytest.fixture
async def viewers(nursery, drawn):
    hands = Hands()
    renderer = Renderer(lambda: drawn[0])
    served = Vnc(renderer, hands, "the guest")
    served.hands = hands
    served.renderer = renderer
    nursery.start_soon(renderer.run)

    def come() -> Client:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(served.client, theirs)
        return Client(ours)

    served.come = come
    yield served
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("encoding", [RAW, ZLIB, TIGHT])
@pytest.mark.parametrize("version", [3, 7, 8])
async def test_a_viewer_shows_the_screen_and_what_becomes_of_it(viewers, drawn, form, encoding, version):
    client = viewers.come()
    assert await client.shake(version) == b"the guest"
    await client.choose(form, encoding, DESKTOP_SIZE)
    await client.ask(incremental=False)
    await client.update()
    assert client.shows(drawn[0])
    for n in range(3):
        rows = list(drawn[0].rows)
        rows[4 + n] = rows[4 + n][:9] + bytes((7, 8, 9)) + rows[4 + n][12:]
        drawn[0] = Picture(40, 12, rows, PALETTE)
        await client.ask()
        await client.update()
        assert client.rectangles == [(9, 4 + n, 3, 1, encoding)], "what has changed, and no more"
        assert client.shows(drawn[0])
    drawn[0] = screen(64, 20, palette=None)
    await client.ask()
    await client.update()
    assert client.rectangles[0] == (0, 0, 64, 20, DESKTOP_SIZE)
    assert client.shows(drawn[0])


async def test_a_viewer_that_cannot_be_resized_sees_what_fits(viewers, drawn):
    client = viewers.come()
    await client.shake()
    await client.ask(incremental=False)
    await client.update()
    for size in ((30, 6), (50, 20)):
        drawn[0] = screen(*size)
        await client.ask()
        await client.update()
        assert client.size == (40, 12)
        for (x, y), value in client.dots.items():
            assert value == (color(drawn[0], x, y) if x < size[0] and y < size[1] else (0, 0, 0))


async def test_a_map_of_colours_is_told(viewers, drawn):
    client = viewers.come()
    await client.shake()
    await client.stream.send_all(b"\0\0\0\0" + struct.pack(">BBBB12x", 8, 8, 0, 0))
    await client.ask(incremental=False)
    assert await client.exactly(6) == struct.pack(">BxHH", 1, 0, 256)
    await client.exactly(256 * 6)
    client.form = FORMATS["332"]
    await client.update()
    assert client.shows(drawn[0])


async def test_a_viewer_that_does_not_ask_is_sent_nothing_and_then_the_last_only(viewers, drawn):
    client = viewers.come()
    await client.shake()
    await client.ask(incremental=False)
    await client.update()
    for n in range(1, 6):
        drawn[0] = screen(seed=n)
        await trio.sleep(0.1)
    await client.ask()
    await client.update()
    assert client.shows(screen(seed=5))
    assert len(client.rectangles) == 1


async def test_an_idle_screen_costs_next_to_nothing_and_nobody_looking_nothing_at_all(viewers, drawn):
    looks = 0
    renderer = viewers.renderer
    original = renderer._frame

    def counted():
        nonlocal looks
        looks += 1
        return original()

    renderer._frame = counted
    await trio.sleep(0.3)
    assert looks == 0
    client = viewers.come()
    await client.shake()
    await client.ask(incremental=False)
    await client.update()
    await client.ask()
    await trio.sleep(1)
    drawn_before, looks, before = renderer.drawn, 0, time.process_time()
    await trio.sleep(1)
    assert renderer.drawn == drawn_before
    assert looks <= 6
    assert time.process_time() - before < 0.05
    assert not client.buffer


async def test_keys_by_symbol_and_by_place(viewers):
    client = viewers.come()
    await client.shake()
    await client.choose(SERVERS, RAW, EXTENDED_KEYS)
    await client.ask()
    await client.update()
    assert client.rectangles[0] == (0, 0, 0, 0, EXTENDED_KEYS)
    did = viewers.hands.did

    async def typed(*events):
        for event in events:
            await client.stream.send_all(event)
        await trio.sleep(0.05)
        found = list(did)
        did.clear()
        return found

    def symbol(keysym, pressed):
        return struct.pack(">BBxxI", 4, pressed, keysym)

    assert await typed(symbol(ord("a"), 1), symbol(ord("a"), 0)) == ["+a", "-a"]
    assert await typed(symbol(0xFFE1, 1), symbol(ord("?"), 1), symbol(ord("?"), 0), symbol(0xFFE1, 0)) == [
        "+shift", "+slash", "-slash", "-shift",
    ]  # fmt: skip
    assert await typed(symbol(ord("?"), 1), symbol(ord("?"), 0)) == ["+shift", "+slash", "-shift", "-slash"]
    assert await typed(symbol(0xFFE1, 1), symbol(ord("7"), 1), symbol(ord("7"), 0), symbol(0xFFE1, 0)) == [
        "+shift", "-shift", "+7", "+shift", "-7", "-shift",
    ]  # fmt: skip
    assert await typed(symbol(ord("H"), 1), symbol(ord("H"), 0)) == ["+shift", "+h", "-shift", "-h"]
    assert await typed(symbol(0xFFE5, 1), symbol(0xFFE5, 0), symbol(ord("H"), 1), symbol(ord("H"), 0)) == [
        "+caps_lock", "-caps_lock", "+h", "-h",
    ]  # fmt: skip
    assert await typed(symbol(0x20AC, 1), symbol(0x20AC, 0)) == [], "no key of a US keyboard"
    assert await typed(struct.pack(">BBHII", 255, 0, 1, 0x20AC, 0x12)) == ["+e"]
    assert await typed(struct.pack(">BBHII", 255, 0, 1, 0xFF52, 0xC8)) == ["+up"]
    await client.stream.aclose()
    await trio.sleep(0.05)
    assert did == ["-up", "-e"], "who goes lets go"


async def test_the_pointer_moves_clicks_and_turns_the_wheel(viewers):
    client = viewers.come()
    await client.shake()
    did = viewers.hands.did
    for buttons, x, y in (
        (0, 10, 10),
        (0, 15, 8),
        (1, 15, 8),
        (0, 15, 8),
        (8, 15, 8),
        (0, 15, 8),
        (16, 16, 8),
        (4, 16, 8),
    ):
        await client.stream.send_all(struct.pack(">BBHH", 5, buttons, x, y))
        await trio.sleep(0.02)
    assert did == [(5, -2, 0), "+left", "-left", (0, 0, -1), (1, 0, 0), (0, 0, 1), "+right"]
    did.clear()
    viewers.hands.ready = False  # the guest is slow: what comes meanwhile is one movement
    for n in range(100):
        await client.stream.send_all(struct.pack(">BBHH", 5, 4, 16 + n, 8))
    await trio.sleep(0.1)
    viewers.hands.ready = True
    await trio.sleep(0.1)
    assert sum(step[0] for step in did) == 99
    assert len(did) <= 3


async def test_clipboards_are_skipped_and_nonsense_ends_the_viewer(viewers, drawn):
    client = viewers.come()
    await client.shake()
    await client.stream.send_all(struct.pack(">BxxxI", 6, 10_000) + bytes(10_000))
    await client.ask(incremental=False)
    await client.update()
    assert client.shows(drawn[0])
    bad_format = b"\0\0\0\0" + struct.pack(">BBBBHHHBBB3x", 24, 24, 0, 1, 255, 255, 255, 0, 8, 16)
    much_clipboard, many_encodings = struct.pack(">BxxxI", 6, 1 << 31), struct.pack(">BxH", 2, 65535)
    for nonsense in (b"\x09", much_clipboard, b"\xff\x07" + bytes(10), bad_format, many_encodings):
        other = viewers.come()
        await other.shake()
        await other.stream.send_all(nonsense)
        with trio.fail_after(5):
            while await other.stream.receive_some(1000):
                pass
    other = viewers.come()
    await other.stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
    assert await other.exactly(12)
    assert await other.stream.receive_some() == b""


async def test_several_look_and_there_is_an_end_to_them(viewers, drawn):
    clients = [viewers.come() for _ in range(MAX_VIEWERS)]
    for client in clients:
        await client.shake()
        await client.ask(incremental=False)
        await client.update()
        assert client.shows(drawn[0])
    assert await viewers.come().stream.receive_some() == b""
    await clients[0].stream.aclose()
    with trio.fail_after(5):
        while viewers.viewers == MAX_VIEWERS:
            await trio.sleep(0.01)
    await viewers.come().shake()


@pytest.mark.parametrize("version", [3, 7, 8])
async def test_a_password_is_asked_for_and_a_wrong_one_is_refused(viewers, version, monkeypatch):
    viewers._response = response_of(b"secret")
    client = viewers.come()
    assert await client.shake(version, b"secret") == b"the guest"
    wrong = viewers.come()
    with pytest.raises(AssertionError):
        await wrong.shake(version, b"Secret")


def test_vncs_authentication_is_des_with_its_bits_turned():
    """The key of "password" by another program's arithmetic: DES of zeros under 0E86CECEEEF64E26."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    turned = Cipher(TripleDES(bytes.fromhex("0E86CECEEEF64E26") * 3), modes.ECB()).encryptor()  # noqa: S305  (VNC's)
    assert response_of(b"password and more")(bytes(16)) == turned.update(bytes(16))


def test_without_the_library_a_password_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(
        ConfigError, match=r"^vnc: a password needs cryptography: pip install 'devmodel\[vnc\]'$"
    ):
        response_of(b"x")


def test_every_character_of_a_us_keyboard_has_a_key():
    for keysym in range(0x20, 0x7F):
        assert key_of(keysym) is not None
    assert key_of(0x100) is None
    assert module.BUTTONS == ("left", "middle", "right")


def test_where_viewers_come_as_it_is_said(tmp_path):
    assert load(None, Options(vnc="127.0.0.1:5900")).vnc.listen == "127.0.0.1:5900"
    with pytest.raises(
        ConfigError, match=r"^--vnc 'tcp:5900' is not HOST:PORT$|^--vnc '5900' is not HOST:PORT$"
    ):
        load(None, Options(vnc="5900"))
    path = tmp_path / "machine.toml"
    path.write_text('[vnc]\nlisten = "unix:vnc.sock,mode=0660"\n')
    assert load(str(path), Options()).vnc.listen == f"unix:{tmp_path}/vnc.sock,mode=0660"
    path.write_text('[vnc]\nlisten = "somewhere"\n')
    with pytest.raises(ConfigError, match=r"^machine.toml: listen in \[vnc\]: 'somewhere' is not HOST:PORT$"):
        load(str(path), Options())


# -- an upgrade


@pytest.mark.parametrize("encoding", [RAW, ZLIB, TIGHT])
@pytest.mark.parametrize("cut", ["between messages", "in a message", "in an update"])
async def test_a_viewer_stays_when_another_process_goes_on_with_it(nursery, drawn, encoding, cut):
    """Its zlib stream goes on, what was half said or half sent is made whole, and held keys stay held."""
    hands = Hands()
    renderer = Renderer(lambda: drawn[0])
    nursery.start_soon(renderer.run)
    first, second = (Vnc(renderer, hands, "the guest") for _ in range(2))
    theirs, ours = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    client = Client(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    copy = socket.socket(fileno=os.dup(theirs.fileno()))
    scope = trio.CancelScope()

    async def before() -> None:
        with scope:
            await first.client(stream)

    nursery.start_soon(before)
    await client.shake()
    await client.choose(SERVERS, encoding)
    await client.ask()
    await client.update()
    assert client.shows(drawn[0])
    await client.stream.send_all(struct.pack(">BBxxI", 4, 1, 0xFFE1))
    message = struct.pack(">BBxxI", 4, 1, ord("A"))
    if cut == "in a message":
        await client.stream.send_all(message[:3])
    elif cut == "in an update":
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        drawn[0] = Picture(200, 200, [os.urandom(600) for _ in range(200)], None)
        renderer.poke()
        with trio.fail_after(30):
            while renderer.picture is not drawn[0]:
                await trio.sleep(0.01)
        await client.choose(SERVERS, encoding, DESKTOP_SIZE)
        await client.ask()
    with trio.fail_after(30):
        while not (
            hands.did == ["+shift"]
            and (cut != "in a message" or first._conversations[0].wire.received() == message[:3])
            and (cut != "in an update" or first._conversations[0].wire.unsent)
        ):
            await trio.sleep(0.01)
    ((_, agreed),) = first.leave()
    scope.cancel()
    agreed = msgspec.msgpack.decode(msgspec.msgpack.encode(agreed), type=Agreed)
    nursery.start_soon(second.client, trio.SocketStream(trio.socket.from_stdlib_socket(copy)), agreed)
    await client.stream.send_all(message[3:] if cut == "in a message" else message)
    if cut == "in an update":
        await client.update()
    width, height = client.size
    drawn[0] = Picture(width, height, [os.urandom(3 * width) for _ in range(height)], None)
    renderer.poke()
    with trio.fail_after(30):
        while not client.shows(drawn[0]):
            await client.ask()
            await client.update()
        while hands.did != ["+shift", "+a"]:
            await trio.sleep(0.01)
    await client.stream.aclose()
    with trio.fail_after(30):
        while hands.did != ["+shift", "+a", "-a", "-shift"]:
            await trio.sleep(0.01)
    nursery.cancel_scope.cancel()
