"""VNC: the guest's screen, keyboard and mouse for any viewer (RFC 6143, RFB 3.3, 3.7 and 3.8).

Encodings: raw, zlib (6) and Tight (7) with the copy filter; DesktopSize, and QEMU's extended key events. A viewer that
asks for more gets what has changed since what it was sent last, so one that is slow misses steps and nothing else.
Not modelled: CopyRect, the cursor as a shape of its own, the clipboard, continuous updates.
"""

import contextlib
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import attrs
import msgspec
import structlog
import trio

from devmodel import ConfigError
from devmodel.consoles.wire import Gone, Wire
from devmodel.devices.vga_picture import Picture
from devmodel.display.damage import Rectangle, damage
from devmodel.display.keysyms import SCAN_CODES, key_of
from devmodel.display.pixels import SERVERS, PixelFormat, dots
from devmodel.display.renderer import Renderer

log = structlog.get_logger()

VERSIONS: Final = {b"RFB 003.003\n": 3, b"RFB 003.007\n": 7, b"RFB 003.008\n": 8}
NO_AUTHENTICATION: Final = 1
VNC_AUTHENTICATION: Final = 2
RAW: Final = 0
ZLIB: Final = 6
TIGHT: Final = 7
DESKTOP_SIZE: Final = -223
EXTENDED_KEYS: Final = -258
MAX_VIEWERS: Final = 8
MAX_ENCODINGS: Final = 1024
MAX_CLIPBOARD: Final = 1 << 20
MAX_EVENTS: Final = 256
"""Keys and movements that wait for the guest to take them."""
SHAKING: Final = 30.0
"""Seconds that a viewer gets to say who it is."""
KEY_PATIENCE: Final = 0.5
"""Seconds that the guest gets to take a key before the next is typed all the same."""
TIGHT_WIDTH: Final = 2048
TIGHT_PLAIN: Final = 12
"""Bytes that Tight sends as they are if there are fewer."""
COMPRESSION: Final = 2
BUTTONS: Final = ("left", "middle", "right")
WHEEL: Final = {3: -1, 4: 1}
"""Bits of the pointer's buttons that are clicks of the wheel."""


class Hands(Protocol):
    """What a viewer types and points on."""

    def hold(self, keys: list[str], *, pressed: bool) -> None: ...  # noqa: D102
    def point(self, right: int, down: int, wheel: int) -> None: ...  # noqa: D102
    def click(self, button: str, *, pressed: bool) -> None: ...  # noqa: D102
    def takes_keys(self) -> bool: ...  # noqa: D102
    def takes_mouse(self) -> bool: ...  # noqa: D102


Response = Callable[[bytes], bytes]
"""What a viewer that knows the password answers to a challenge."""


def response_of(password: bytes) -> Response:
    """Return what answers challenges as VNC's authentication does: DES, its key's bits in the other order.

    Raises:
        ConfigError: there is no library that has DES.

    """
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
        from cryptography.hazmat.primitives.ciphers import Cipher, modes
    except ImportError:
        raise ConfigError("vnc: a password needs cryptography: pip install 'devmodel[vnc]'") from None
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password[:8].ljust(8, b"\0"))

    def respond(challenge: bytes) -> bytes:
        encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305  (three times one key is DES)
        return bytes(encryptor.update(challenge) + encryptor.finalize())

    return respond


class Packer:
    """A zlib stream that is whole after each piece (RFC 1950).

    One that has `begun` in another process is gone on with: blocks of a new compressor need nothing of what was before
    them, and only the stream's first two bytes must not come twice.
    """

    def __init__(self, *, begun: bool = False) -> None:
        self.begun = begun
        self._stream = zlib.compressobj(COMPRESSION, wbits=-zlib.MAX_WBITS if begun else zlib.MAX_WBITS)

    def pack(self, data: bytes) -> bytes:
        """Compress a piece."""
        self.begun = True
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class Agreed(msgspec.Struct):
    """What has been agreed on with a viewer and what is under way: enough for another process to go on with it."""

    form: PixelFormat
    encoding: int
    resizes: bool
    extended_keys: bool
    wanted: list[Rectangle]
    asked: bool
    announce_keys: bool
    colors: bool
    size: tuple[int, int]
    begun: tuple[bool, bool]
    received: bytes
    unsent: bytes
    events: list["Event"]
    held: list[str]
    capitals: bool
    pointer: "Pointer | None"


@attrs.frozen
class Update:
    """What a viewer is sent, and what it then shows."""

    data: bytes
    shown: Picture
    size: tuple[int, int]


@attrs.define(eq=False)
class Viewer:
    """What is known of a viewer, and what it was sent last."""

    form: PixelFormat = SERVERS
    encoding: int = RAW
    resizes: bool = False
    extended_keys: bool = False
    wanted: list[Rectangle] = attrs.field(factory=list[Rectangle])
    """What it asked for whether or not it has changed."""
    asked: bool = False
    announce_keys: bool = False
    colors: bool = False
    """It is to be told the colours of its map."""
    shown: Picture | None = None
    size: tuple[int, int] = (0, 0)
    repaint: bool = False
    """It is to be sent everything, though it shows it."""
    streams: tuple[Packer, Packer] = attrs.field(factory=lambda: (Packer(), Packer()))
    """Of zlib and Tight: each goes on as long as the viewer is there."""
    begun: tuple[bool, bool] = (False, False)
    """Which of them the viewer has seen begin."""
    making: "Viewer | None" = None
    """What was true when the update was begun that is being made."""

    def begin(self) -> "Viewer":
        """Take what the next update is to be of; until `finish` it counts as asked for."""
        taken = attrs.evolve(self, making=None)
        self.making = taken
        self.wanted, self.asked, self.announce_keys, self.colors = [], False, False, False
        if self.repaint:
            taken.shown, self.repaint = None, False
        return taken

    def finish(self, update: Update) -> None:
        """Note that an update is on its way; no checkpoint may come between this and that."""
        self.making = None
        self.shown, self.size = update.shown, update.size
        self.begun = self.streams[0].begun, self.streams[1].begun

    def update(self, picture: Picture) -> Update:
        """Return an update that makes what it shows this picture; without data if it does already. Run in a thread."""
        head = b""
        rectangles: list[bytes] = []
        form, encoding, size, wanted = self.form, self.encoding, self.size, self.wanted
        if self.colors:
            colors = b"".join(struct.pack(">HHH", *color) for color in form.color_map())
            head = struct.pack(">BxHH", 1, 0, 256) + colors
        if self.announce_keys:
            rectangles.append(struct.pack(">HHHHi", 0, 0, 0, 0, EXTENDED_KEYS))
        before = self.shown
        if self.resizes and size != (picture.width, picture.height):
            size = (picture.width, picture.height)
            rectangles.append(struct.pack(">HHHHi", 0, 0, *size, DESKTOP_SIZE))
            before = None
        if before is None or (before.width, before.height) != (picture.width, picture.height):
            changed, wanted = [Rectangle(0, 0, *size)], []  # also where the picture does not reach
        else:
            changed = damage(before, picture)
        for rectangle in changed + wanted:
            inside = rectangle.within(*size)
            if inside is not None:
                rectangles += self._rectangle(picture, inside, form, encoding)
        if rectangles:
            head += struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)
        return Update(head, picture, size)

    def _rectangle(self, picture: Picture, where: Rectangle, form: PixelFormat, encoding: int) -> list[bytes]:
        if encoding != TIGHT:
            return [self._one(picture, where, form, encoding)]
        end = where.x + where.width
        parts = (
            attrs.evolve(where, x=x, width=min(TIGHT_WIDTH, end - x))
            for x in range(where.x, end, TIGHT_WIDTH)
        )
        return [self._one(picture, part, form, encoding) for part in parts]

    def _one(self, picture: Picture, where: Rectangle, form: PixelFormat, encoding: int) -> bytes:
        head = struct.pack(">HHHHi", where.x, where.y, where.width, where.height, encoding)
        if encoding == TIGHT:
            data = self._dots(picture, where, form.compact or form)
            if len(data) < TIGHT_PLAIN:
                return head + b"\0" + data
            packed = self.streams[1].pack(data)
            return head + b"\0" + _compact_length(len(packed)) + packed
        data = self._dots(picture, where, form)
        if encoding == ZLIB:
            packed = self.streams[0].pack(data)
            return head + struct.pack(">I", len(packed)) + packed
        return head + data

    @staticmethod
    def _dots(picture: Picture, where: Rectangle, form: PixelFormat) -> bytes:
        """Return a part of the viewer's screen, which is black where the picture does not reach."""
        inside = where.within(picture.width, picture.height)
        if inside == where:
            return dots(picture, where, form)
        size = form.bits // 8
        out = bytearray(where.width * where.height * size)
        if inside is not None:
            data, length = dots(picture, inside, form), inside.width * size
            for row in range(inside.height):
                begin = row * where.width * size
                out[begin : begin + length] = data[row * length : (row + 1) * length]
        return bytes(out)


def _compact_length(length: int) -> bytes:
    """Return a length as Tight writes it: seven bits, seven bits, eight."""
    if length < 1 << 7:
        return bytes((length,))
    if length < 1 << 14:
        return bytes((length & 0x7F | 0x80, length >> 7))
    return bytes((length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14))


class Conversation:
    """One viewer, as soon as hands are shaken."""

    def __init__(self, wire: Wire, viewer: Viewer, typist: "Typist") -> None:
        self.wire = wire
        self.viewer = viewer
        self.typist = typist
        self.asked = trio.lowlevel.ParkingLot()

    @classmethod
    def resumed(
        cls, stream: trio.abc.Stream, agreed: Agreed, hands: Hands | None, renderer: Renderer
    ) -> "Conversation":
        """Go on where another process has left off; the viewer is sent all of the picture again."""
        viewer = Viewer(
            form=agreed.form,
            encoding=agreed.encoding,
            resizes=agreed.resizes,
            extended_keys=agreed.extended_keys,
            wanted=agreed.wanted,
            asked=agreed.asked,
            announce_keys=agreed.announce_keys,
            colors=agreed.colors,
            size=agreed.size,
            streams=(Packer(begun=agreed.begun[0]), Packer(begun=agreed.begun[1])),
            begun=agreed.begun,
        )
        typist = Typist(hands, renderer)
        typist.events.extend(agreed.events)
        typist.held, typist.capitals, typist.pointer = agreed.held, agreed.capitals, agreed.pointer
        return cls(Wire(stream, agreed.received, agreed.unsent), viewer, typist)

    def leave(self) -> Agreed:
        """Say all that another process must know to go on, and do nothing any more."""
        self.wire.frozen = self.typist.frozen = True
        viewer, typist = self.viewer, self.typist
        making = viewer.making
        return Agreed(
            form=viewer.form,
            encoding=viewer.encoding,
            resizes=viewer.resizes,
            extended_keys=viewer.extended_keys,
            wanted=viewer.wanted + (making.wanted if making is not None else []),
            asked=viewer.asked or making is not None,
            announce_keys=viewer.announce_keys or (making is not None and making.announce_keys),
            colors=viewer.colors or (making is not None and making.colors),
            size=viewer.size,
            begun=viewer.begun,
            received=self.wire.received(),
            unsent=bytes(self.wire.unsent),
            events=[*typist.events],
            held=[*typist.held],
            capitals=typist.capitals,
            pointer=typist.pointer,
        )


class Vnc:
    """The viewers of one screen. `hands` is None where keyboard and mouse are another server's."""

    def __init__(
        self, renderer: Renderer, hands: Hands | None, name: str, response: Response | None = None
    ) -> None:
        self.viewers = 0
        self._renderer = renderer
        self._hands = hands
        self._name = name
        self._response = response
        self._conversations: list[Conversation] = []

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Serve viewers for ever. Cancel to stop."""
        await trio.serve_listeners(self.client, listeners)

    def leave(self) -> list[tuple[trio.SocketStream, Agreed]]:
        """Leave the viewers to another process; who is just shaking hands has to come again."""
        return [
            (conversation.wire.stream, conversation.leave())
            for conversation in self._conversations
            if isinstance(conversation.wire.stream, trio.SocketStream)
        ]

    async def client(self, stream: trio.abc.Stream, agreed: Agreed | None = None) -> None:
        """Serve one viewer until it goes: a new one, or one with whom something is `agreed`."""
        async with stream:
            if self.viewers >= MAX_VIEWERS:
                log.warning("vnc.too_many_viewers", most=MAX_VIEWERS)
                return
            self.viewers += 1
            try:
                with contextlib.suppress(
                    Gone, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError
                ):
                    await self._converse(stream, agreed)
            except BaseExceptionGroup as group:
                expected, rest = group.split((Gone, trio.BrokenResourceError, trio.ClosedResourceError))
                del expected
                if rest is not None:
                    raise
            finally:
                self.viewers -= 1

    async def _converse(self, stream: trio.abc.Stream, agreed: Agreed | None) -> None:
        with self._renderer.watching():
            if agreed is None:
                conversation = await self._greet(Wire(stream))
            else:
                conversation = Conversation.resumed(stream, agreed, self._hands, self._renderer)
                await self._renderer.newer(None)
            self._conversations.append(conversation)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._show, conversation)
                    nursery.start_soon(conversation.typist.run)
                    await self._listen(conversation)
            finally:
                self._conversations.remove(conversation)

    async def _greet(self, wire: Wire) -> Conversation:
        with trio.fail_after(SHAKING):
            await self._shake_hands(wire)
            picture = await self._renderer.newer(None)
            viewer = Viewer(size=(picture.width, picture.height))
            name = self._name.encode()
            await wire.send(
                struct.pack(">HH", *viewer.size) + SERVERS.encode() + struct.pack(">I", len(name)) + name
            )
        wire.done()
        return Conversation(wire, viewer, Typist(self._hands, self._renderer))

    async def _shake_hands(self, wire: Wire) -> None:
        await wire.send(b"RFB 003.008\n")
        said = await wire.exactly(12)
        version = VERSIONS.get(said, 3 if said.startswith(b"RFB 003.") else 0)
        if not version:
            raise Gone("it speaks another protocol")
        kind = NO_AUTHENTICATION if self._response is None else VNC_AUTHENTICATION
        if version == 3:
            await wire.send(struct.pack(">I", kind))
        else:
            await wire.send(bytes((1, kind)))
            if (await wire.exactly(1))[0] != kind:
                raise Gone("it wants to be known otherwise")
        if self._response is not None:
            challenge = os.urandom(16)
            await wire.send(challenge)
            if await wire.exactly(16) != self._response(challenge):
                log.warning("vnc.wrong_password")
                await trio.sleep(1)
                why = b"wrong password"
                await wire.send(struct.pack(">I", 1) + (struct.pack(">I", len(why)) + why) * (version == 8))
                raise Gone("its password is wrong")
        if self._response is not None or version == 8:
            await wire.send(struct.pack(">I", 0))
        await wire.exactly(1)  # whether it shares the screen: all do

    async def _show(self, conversation: Conversation) -> None:
        """Send an update for each time that the viewer asks, as soon as something has changed."""
        wire, viewer, asked = conversation.wire, conversation.viewer, conversation.asked
        await wire.flush()
        while True:
            while not viewer.asked:
                await asked.park()
            picture = self._renderer.picture
            assert picture is not None
            if viewer.shown is picture and not (
                viewer.wanted or viewer.repaint or viewer.announce_keys or viewer.colors
            ):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:  # a new picture, or a new wish
                        nursery.start_soon(_until, self._renderer.newer, picture, scope)
                        nursery.start_soon(_until, _parked, asked, scope)
                continue
            update = await trio.to_thread.run_sync(viewer.begin().update, picture)
            if wire.frozen:
                await trio.sleep_forever()
            viewer.finish(update)
            if update.data:
                await wire.send(update.data)
            else:
                viewer.asked = True

    async def _listen(self, conversation: Conversation) -> None:
        """Hear what the viewer says, for ever. Nothing is awaited from a message's effect to its `done`."""
        wire, viewer, typist = conversation.wire, conversation.viewer, conversation.typist
        while True:
            match (await wire.exactly(1))[0]:
                case 0:
                    try:
                        form = PixelFormat.decode((await wire.exactly(19))[3:])
                    except ValueError as error:
                        log.warning("vnc.pixel_format", error=str(error))
                        raise Gone(str(error)) from None
                    viewer.form = form
                    viewer.colors = not viewer.form.true_color
                    viewer.repaint = True
                case 2:
                    (count,) = struct.unpack(">xH", await wire.exactly(3))
                    if count > MAX_ENCODINGS:
                        raise Gone("too many encodings")
                    self._choose(viewer, struct.unpack(f">{count}i", await wire.exactly(4 * count)))
                case 3:
                    incremental, *place = struct.unpack(">BHHHH", await wire.exactly(9))
                    if not incremental:
                        viewer.wanted = [Rectangle(*place)]  # in a picture that it has not it is clipped
                    viewer.asked = True
                    conversation.asked.unpark_all()
                case 4:
                    pressed, keysym = struct.unpack(">BxxI", await wire.exactly(7))
                    await typist.room()
                    typist.take(Keysym(keysym, bool(pressed)))
                case 5:
                    pointer = Pointer(*struct.unpack(">BHH", await wire.exactly(5)))
                    await typist.room()
                    typist.take(pointer)
                case 6:
                    (left,) = struct.unpack(">xxxI", await wire.exactly(7))
                    if left > MAX_CLIPBOARD:
                        raise Gone("too much in its clipboard")
                    await wire.exactly(left)
                case 255:
                    kind, pressed, _, code = struct.unpack(">BHII", await wire.exactly(11))
                    if kind:
                        raise Gone("an extension that there is not")
                    await typist.room()
                    typist.take(ScanCode(code, bool(pressed)))
                case other:
                    raise Gone(f"message {other}")
            wire.done()

    @staticmethod
    def _choose(viewer: Viewer, encodings: tuple[int, ...]) -> None:
        """Take the first encoding that we have, and what the viewer can do beside."""
        viewer.encoding = next((kind for kind in encodings if kind in {RAW, ZLIB, TIGHT}), RAW)
        viewer.resizes = DESKTOP_SIZE in encodings
        if EXTENDED_KEYS in encodings and not viewer.extended_keys:
            viewer.extended_keys = viewer.announce_keys = True


async def _until(wait: Callable[..., object], argument: object, scope: trio.CancelScope) -> None:
    await wait(argument)  # type: ignore[misc]
    scope.cancel()


async def _parked(lot: trio.lowlevel.ParkingLot) -> None:
    await lot.park()


class Keysym(msgspec.Struct, frozen=True, tag=True):
    """A key by its symbol."""

    keysym: int
    pressed: bool


class ScanCode(msgspec.Struct, frozen=True, tag=True):
    """A key by where it is."""

    code: int
    pressed: bool


class Pointer(msgspec.Struct, frozen=True, tag=True):
    """Where the pointer is, and the bits of its buttons."""

    buttons: int
    x: int
    y: int


Event = Keysym | ScanCode | Pointer


class Typist:
    """Types and points what a viewer does, as fast as the guest takes it, and lets go of all when the viewer goes."""

    def __init__(self, hands: Hands | None, renderer: Renderer) -> None:
        self.events: deque[Event] = deque()
        """What is still to be done, and at its head what is being done."""
        self.held: list[str] = []
        self.capitals = False
        """Caps Lock is on, as far as this viewer knows."""
        self.pointer: Pointer | None = None
        """Where it was last."""
        self.frozen = False
        """Another process goes on with what is held and to be done."""
        self._hands = hands
        self._renderer = renderer
        self._changed = trio.lowlevel.ParkingLot()

    async def room(self) -> None:
        """Wait until there is room for another event."""
        while len(self.events) >= MAX_EVENTS:
            await self._changed.park()

    def take(self, event: "Event") -> None:
        """Take an event."""
        self.events.append(event)
        self._changed.unpark_all()

    async def run(self) -> None:
        """Do what comes, for ever. Cancel to stop."""
        events, hands = self.events, self._hands
        try:
            while True:
                while not events or self.frozen:
                    await self._changed.park()
                while len(events) > 1 and self._moves(events[0]) and self._moves(events[1]):
                    events.popleft()
                if hands is not None:
                    await self._do(hands, events[0])
                    self._renderer.poke()
                events.popleft()
                self._changed.unpark_all()
        finally:
            if hands is not None and not self.frozen:
                for name in reversed(self.held):
                    hands.hold([name], pressed=False)
                for bit, button in enumerate(BUTTONS):
                    if self.pointer is not None and self.pointer.buttons >> bit & 1:
                        hands.click(button, pressed=False)

    def _moves(self, event: "Event") -> bool:
        """Whether it is a movement alone: several that wait are one."""
        return (
            isinstance(event, Pointer) and self.pointer is not None and self.pointer.buttons == event.buttons
        )

    async def _do(self, hands: Hands, event: Event) -> None:
        match event:
            case Pointer():
                await self._point(hands, event)
            case ScanCode(code=code, pressed=pressed):
                if (name := SCAN_CODES.get(code)) is not None:
                    await self._key(hands, name, pressed=pressed)
            case Keysym(keysym=keysym, pressed=pressed):
                found = key_of(keysym)
                if found is not None:
                    name, shift = found
                    if shift is not None and chr(keysym).isalpha():
                        shift = shift != self.capitals
                    await self._character(hands, name, shift, pressed=pressed)

    async def _character(self, hands: Hands, name: str, shift: bool | None, *, pressed: bool) -> None:
        """Press a key; where the viewer's keyboard has its character with Shift and the guest's without, so type it."""
        shifts = [held for held in ("shift", "shift_r") if held in self.held]
        if not pressed or shift is None or shift == bool(shifts):
            await self._key(hands, name, pressed=pressed)
            return
        for other in shifts or ["shift"]:
            await self._key(hands, other, pressed=shift)
        await self._key(hands, name, pressed=True)
        for other in shifts or ["shift"]:
            await self._key(hands, other, pressed=not shift)

    async def _key(self, hands: Hands, name: str, *, pressed: bool) -> None:
        with trio.move_on_after(KEY_PATIENCE):
            while not hands.takes_keys():  # noqa: ASYNC110  (a chip has no events)
                await trio.sleep(0.002)
        if pressed and name not in self.held:
            self.held.append(name)
            self.capitals = self.capitals != (name == "caps_lock")
        elif not pressed and name in self.held:
            self.held.remove(name)
        hands.hold([name], pressed=pressed)

    async def _point(self, hands: Hands, event: Pointer) -> None:
        """Move by how far the pointer went: a PS/2 mouse knows no places."""
        before = self.pointer or Pointer(0, event.x, event.y)
        self.pointer = event
        right, down = event.x - before.x, event.y - before.y
        steps: list[Callable[[], None]] = [partial(hands.point, right, down, 0)] if right or down else []
        changed = event.buttons ^ before.buttons
        for bit, button in enumerate(BUTTONS):
            if changed >> bit & 1:
                pressed = bool(event.buttons >> bit & 1)
                steps.append(partial(hands.click, button, pressed=pressed))
        for bit, clicks in WHEEL.items():
            if (changed & event.buttons) >> bit & 1:
                steps.append(partial(hands.point, 0, 0, clicks))
        for step in steps:
            with trio.move_on_after(KEY_PATIENCE):
                while not hands.takes_mouse():  # noqa: ASYNC110
                    await trio.sleep(0.002)
            step()
