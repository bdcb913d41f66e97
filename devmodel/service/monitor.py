"""The monitor: a Unix socket beside the domain's, for `devmodel screen`, `key` and their like, and for tests (`probe`).

Each server of a machine has one. The server with the interrupt controller has `DOMAIN.monitor`, any other
`DOMAIN.PART.monitor`, after the first of its parts; who asks goes from one to the next until one has what is wanted.
One JSON object a line in each direction; `command` says what is wanted. A client may ask several times.
Pictures are drawn in a thread, one at a time and a part of the time, since the event loop shares the interpreter with
it; whoever asks meanwhile gets the next one. Clients are limited, and one that neither asks nor reads is disconnected.
"""

import base64
import contextlib
import errno
import glob
import os
import socket
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Final, Protocol, TypeAlias

import msgspec
import trio

from devmodel import VERSION, ConfigError, DevmodelError
from devmodel.board.parts import PARTS, in_order
from devmodel.devices.keyboard import Keyboard
from devmodel.devices.mouse import Mouse as MouseDevice
from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_text import TextScreen
from devmodel.display.render import MOST_COLUMNS, as_ansi, as_png, as_ppm, as_text
from devmodel.service import probe
from devmodel.service.server import ChipFailed
from devmodel.service.stats import ServerStatistics
from ioreq import IoreqError
from ioreq.control import MAX_PATH

MAX_LINE: Final = 65536
MAX_KEYS: Final = 256
"""Combinations of keys in one command."""
MAX_HOLD: Final = 5_000
"""Milliseconds that keys may be held in one command."""
MAX_MOVE: Final = 10_000
MAX_CLIENTS: Final = 16
IDLE: Final = 60.0
"""Seconds that a client may take to ask, or to read what it asked for."""
PATIENCE: Final = 10.0
"""Seconds that a server may take to answer."""
KEY_PATIENCE: Final = 5.0
"""Seconds that the guest may take to read a key."""
DRAWING: Final = 0.25
"""How much of the time may go into pictures."""
SUFFIX: Final = ".monitor"
ROOM: Final = 1 + max(map(len, PARTS)) + len(SUFFIX)
"""Bytes that a monitor's path is longer than its domain's, at most."""
MAIN: Final = "pic"
"""The part whose server has the monitor that is named after the domain alone."""
PREFIX: Final = f"devmodel-{os.getuid()}-"
"""Of the private directories that `devmodel run` makes for its sockets."""


class MouseAction(msgspec.Struct, forbid_unknown_fields=True):
    """Move by counts and turn the wheel by clicks (towards the user if positive); then press, then release a button."""

    right: Annotated[int, msgspec.Meta(ge=-MAX_MOVE, le=MAX_MOVE)] = 0
    down: Annotated[int, msgspec.Meta(ge=-MAX_MOVE, le=MAX_MOVE)] = 0
    wheel: Annotated[int, msgspec.Meta(ge=-MAX_MOVE, le=MAX_MOVE)] = 0
    press: str = ""
    release: str = ""


class Screen(msgspec.Struct, tag_field="command", tag="screen", forbid_unknown_fields=True):
    """Ask for the screen: as text, with a picture beside it, or as text for a terminal of so many columns (`ansi`)."""

    png: bool = False
    ppm: bool = False
    """The picture is a portable pixmap (`ppm`, binary) instead."""
    ansi: Annotated[int, msgspec.Meta(ge=0, le=MOST_COLUMNS)] = 0


class Key(msgspec.Struct, tag_field="command", tag="key", forbid_unknown_fields=True):
    """Type keys, one after the other; keys joined by - are held down together, `hold` milliseconds long."""

    keys: Annotated[list[str], msgspec.Meta(max_length=MAX_KEYS)]
    hold: Annotated[int, msgspec.Meta(ge=0, le=MAX_HOLD)] = 0


class Break(msgspec.Struct, tag_field="command", tag="break", forbid_unknown_fields=True):
    """Send a break on a serial port, the first being 1."""

    port: int = 1


class Press(msgspec.Struct, tag_field="command", tag="press", forbid_unknown_fields=True):
    """Press a key and hold it; or let go of it, if it is not `pressed`."""

    key: str
    pressed: bool = True


class Mouse(msgspec.Struct, tag_field="command", tag="mouse", forbid_unknown_fields=True):
    """Do things with the mouse, one after the other."""

    actions: Annotated[list[MouseAction], msgspec.Meta(max_length=MAX_KEYS)]


class Eject(msgspec.Struct, tag_field="command", tag="eject", forbid_unknown_fields=True):
    """Take the disc out of a CD-ROM drive, the first being 0; with `force` even if the guest has locked it.

    With `floppy`, the diskette out of a floppy drive, which no guest can lock.
    """

    drive: int = 0
    force: bool = False
    floppy: bool = False


class Insert(msgspec.Struct, tag_field="command", tag="insert", forbid_unknown_fields=True):
    """Put an image into a CD-ROM drive; with `floppy`, into a floppy drive. The path is the server's."""

    path: str
    drive: int = 0
    floppy: bool = False


class Stats(msgspec.Struct, tag_field="command", tag="stats", forbid_unknown_fields=True):
    """Ask for what the server and the core have counted."""


class Info(msgspec.Struct, tag_field="command", tag="info", forbid_unknown_fields=True):
    """Ask what runs here."""


class PowerButton(msgspec.Struct, tag_field="command", tag="power_button", forbid_unknown_fields=True):
    """Press the power button, of which a system with ACPI hears; `text` says so if it does not listen."""


class Upgrade(msgspec.Struct, tag_field="command", tag="upgrade", forbid_unknown_fields=True):
    """Have the server start itself anew, of the program as it is installed now."""


class Answer(msgspec.Struct, omit_defaults=True):
    """What the monitor answers; with `error`, nothing else."""

    error: str = ""
    elsewhere: bool = False
    """Another server of the machine has what was asked for."""
    text: str = ""
    png: str = ""
    """The picture in base64, whatever its format."""
    program: str = ""
    upgrades: int = 0
    """How often this server has been upgraded."""
    machine: str = ""
    parts: list[str] = []
    pid: int = 0
    paused: bool = False
    """The vCPUs are held by `pause`."""
    memory: int = 0
    """Bytes of guest RAM."""
    consoles: list[str] = []
    """Where the serial ports' clients connect, COM1's first; empty where they do not."""
    stats: ServerStatistics | None = None
    found: probe.Found | None = None


Command: TypeAlias = (
    Screen
    | Key
    | Press
    | Mouse
    | Break
    | Eject
    | Insert
    | Stats
    | Info
    | PowerButton
    | Upgrade
    | probe.Command
)

Draw: TypeAlias = Callable[[Frame], bytes]
"""Makes a picture of what a monitor shows."""

_decode = msgspec.json.Decoder(Command).decode
_decode_answer = msgspec.json.Decoder(Answer).decode
_encode = msgspec.json.Encoder().encode


class Machine(Protocol):
    """What the monitor looks at and types on."""

    @property
    def name(self) -> str:
        """The machine's name."""
        ...

    @property
    def parts(self) -> frozenset[str]:
        """What of the machine is here."""
        ...

    @property
    def upgrades(self) -> int:
        """How often its server has been upgraded."""
        ...

    @property
    def paused(self) -> bool:
        """Whether its vCPUs are held by `pause`."""
        ...

    @property
    def memory(self) -> int:
        """Bytes of guest RAM."""
        ...

    @property
    def consoles(self) -> list[str]:
        """Where the clients of each serial port connect; empty where none can."""
        ...

    def upgrade(self) -> str:
        """Begin an upgrade of its server; or say why it cannot be."""
        ...

    def screen(self) -> Frame:
        """Return what a monitor shows."""
        ...

    def press(self, keys: list[str]) -> None:
        """Press these keys together and release them; raise ValueError for a name that is no key's."""
        ...

    def insert(self, drive: int, path: str, *, floppy: bool) -> None:
        """Put an image into a CD-ROM or floppy drive; raise DevmodelError if that cannot be."""
        ...

    def eject(self, drive: int, *, force: bool, floppy: bool) -> None:
        """Take the disc out; raise DevmodelError if there is no such drive, or the guest has locked it."""
        ...

    def press_power_button(self) -> bool:
        """Press the power button; False if no system listens."""
        ...

    def hold(self, keys: list[str], *, pressed: bool) -> None:
        """Press these keys and hold them, or let go of them."""
        ...

    def point(self, right: int, down: int, wheel: int) -> None:
        """Move the mouse and turn its wheel."""
        ...

    def click(self, button: str, *, pressed: bool) -> None:
        """Press or release a button of the mouse."""
        ...

    async def send_break(self, port: int) -> None:
        """Send a break on a serial port, the first being 1, when the guest takes it.

        Raises:
            DevmodelError: there is no such port.

        """
        ...

    def takes_mouse(self) -> bool:
        """Whether a guest listens to the mouse, and has been told of everything."""
        ...

    def check_keys(self, keys: list[str]) -> None:
        """Raise ValueError for a name that is no key's."""
        ...

    def takes_keys(self) -> bool:
        """Whether the next key will not be lost."""
        ...

    async def statistics(self) -> ServerStatistics:
        """Return what has been counted."""
        ...

    async def probe(self, command: probe.Command) -> probe.Found:
        """Look or reach into it; raise DevmodelError or IoreqError if that cannot be."""
        ...


class Monitor:
    """Answers about one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.clients = 0
        self._pictures = Pictures()
        self._typing = trio.Lock()

    async def serve(self, listener: trio.SocketListener) -> None:
        """Answer clients for ever. Cancel to stop."""
        await trio.serve_listeners(self.client, [listener])

    async def client(self, stream: trio.SocketStream) -> None:
        """Answer one client until it goes."""
        self.clients += 1
        try:
            with contextlib.suppress(trio.BrokenResourceError, trio.TooSlowError):
                async with stream:
                    if self.clients > MAX_CLIENTS:
                        busy = Answer(error=f"there are {MAX_CLIENTS} clients already")
                        with trio.fail_after(1):
                            await stream.receive_some(
                                MAX_LINE
                            )  # unread when we close, it would cost the answer
                            await stream.send_all(_encode(busy) + b"\n")
                    else:
                        await self._converse(stream)
        finally:
            self.clients -= 1

    async def _converse(self, stream: trio.SocketStream) -> None:
        buffer = b""
        while True:
            with trio.fail_after(IDLE):
                data = await stream.receive_some(MAX_LINE)
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                answer = _encode(await self.answer(line)) + b"\n"
                with trio.fail_after(IDLE):
                    await stream.send_all(answer)
            if not data or len(buffer) > MAX_LINE:
                return

    async def answer(self, line: bytes) -> Answer:
        """Do what one line asks."""
        try:
            command = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Answer(error=str(error))
        return await self.perform(command)

    async def perform(self, command: Command) -> Answer:
        """Do one command."""
        match command:
            case Screen() if "vga" not in self.machine.parts:
                return Answer(error="the screen is another server's", elsewhere=True)
            case Key() | Press() | Mouse() if "kbc" not in self.machine.parts:
                return Answer(error="keyboard and mouse are another server's", elsewhere=True)
            case Break() if "serial" not in self.machine.parts:
                return Answer(error="the serial ports are another server's", elsewhere=True)
            case Break(port=port):
                return Answer(error=await self._break(port))
            case Eject() | Insert() if ("dma" if command.floppy else "ide") not in self.machine.parts:
                return Answer(error="the drives are another server's", elsewhere=True)
            case PowerButton() if "pm" not in self.machine.parts:
                return Answer(error="power management is another server's", elsewhere=True)
            case PowerButton():
                return Answer(text="" if self.machine.press_power_button() else UNHEARD)
            case Eject() | Insert():
                return self._change_disc(command)
            case Screen():
                return await self._show(command, self.machine.screen())
            case Key(keys=keys, hold=hold):
                combinations = [combination.split("-") for combination in keys]
                return Answer(error=await self._type(combinations, hold / 1000))
            case Press(key=key, pressed=pressed):
                return Answer(error=await self._press(key, pressed=pressed))
            case Mouse(actions=actions):
                return Answer(error=await self._point(actions))
            case Stats():
                try:
                    return Answer(stats=await self.machine.statistics())
                except IoreqError as error:
                    return Answer(error=str(error))
            case Upgrade():
                return Answer(error=self.machine.upgrade(), upgrades=self.machine.upgrades)
            case Info():
                return Answer(
                    program=f"devmodel {VERSION}",
                    upgrades=self.machine.upgrades,
                    machine=self.machine.name,
                    parts=in_order(self.machine.parts),
                    pid=os.getpid(),
                    paused=self.machine.paused,
                    memory=self.machine.memory,
                    consoles=self.machine.consoles,
                )
            case _:
                return await self._probe(command)

    async def _probe(self, command: probe.Command) -> Answer:
        try:
            return Answer(found=await self.machine.probe(command))
        except ChipFailed:
            raise  # a bug, as when the guest brings it about
        except (DevmodelError, IoreqError) as error:
            return Answer(error=str(error), elsewhere=isinstance(error, probe.NotHere))

    async def _show(self, command: Screen, frame: Frame) -> Answer:
        if command.png or command.ppm:
            text = as_text(TextScreen.of(frame)) if frame.text_mode else ""
            data = await self._pictures.draw(frame, as_ppm if command.ppm else as_png)
            return Answer(text=text, png=base64.b64encode(data).decode())
        if command.ansi:
            return Answer(text=await self._pictures.show(frame, command.ansi))
        if not frame.text_mode:
            width, height = frame.size
            return Answer(
                error=f"the screen is in a graphics mode ({width}x{height}): --png or --ansi shows it"
            )
        return Answer(text=as_text(TextScreen.of(frame)))

    def _change_disc(self, command: Eject | Insert) -> Answer:
        try:
            if isinstance(command, Eject):
                self.machine.eject(command.drive, force=command.force, floppy=command.floppy)
            else:
                self.machine.insert(command.drive, command.path, floppy=command.floppy)
        except DevmodelError as error:
            return Answer(error=str(error))
        return Answer()

    async def _type(self, combinations: list[list[str]], hold: float) -> str:
        """Type as fast as the guest takes it, and hold each combination for some seconds; return what is wrong.

        No key is typed if one of the names is wrong.
        """
        try:
            for keys in combinations:
                self.machine.check_keys(keys)
        except ValueError as error:
            return str(error)
        async with self._typing:
            for typed, keys in enumerate(combinations):
                with trio.move_on_after(KEY_PATIENCE) as patience:
                    while not self.machine.takes_keys():  # noqa: ASYNC110  (a chip has no events)
                        await trio.sleep(0.002)
                if patience.cancelled_caught:
                    return f"the guest takes no keys: typed {typed} of {len(combinations)}"
                if not hold:
                    self.machine.press(keys)
                    continue
                self.machine.hold(keys, pressed=True)
                try:
                    await trio.sleep(hold)
                finally:
                    self.machine.hold(keys, pressed=False)
        return ""

    async def _break(self, port: int) -> str:
        """Send a break, if the guest takes it in time; return what is wrong."""
        with trio.move_on_after(KEY_PATIENCE):
            try:
                await self.machine.send_break(port)
            except DevmodelError as error:
                return str(error)
            return ""
        return f"the guest takes nothing on serial port {port}"

    async def _press(self, key: str, *, pressed: bool) -> str:
        """Press one key, or release it, when the guest has taken those before; return what is wrong."""
        try:
            self.machine.check_keys([key])
        except ValueError as error:
            return str(error)
        async with self._typing:
            with trio.move_on_after(KEY_PATIENCE) as patience:
                while not self.machine.takes_keys():  # noqa: ASYNC110  (a chip has no events)
                    await trio.sleep(0.002)
            if patience.cancelled_caught:
                return "the guest takes no keys"
            self.machine.hold([key], pressed=pressed)
        return ""

    async def _point(self, actions: list[MouseAction]) -> str:
        """Move and click as fast as the guest takes it; return what is wrong. Nothing is done if a button's name is."""
        try:
            for action in actions:
                for name in filter(None, (action.press, action.release)):
                    MouseDevice.button(name)
        except ValueError as error:
            return str(error)
        async with self._typing:
            for done, action in enumerate(actions):
                # A guest hears of each on its own: what comes together would be one report.
                steps = [partial(self.machine.point, action.right, action.down, action.wheel)]
                for button, pressed in ((action.press, True), (action.release, False)):
                    if button:
                        steps.append(partial(self.machine.click, button, pressed=pressed))
                for step in steps:
                    if not await self._mouse_is_taken():
                        return f"the guest takes nothing from the mouse: done {done} of {len(actions)}"
                    step()
            if not await self._mouse_is_taken():
                return f"the guest takes nothing from the mouse: done {len(actions) - 1} of {len(actions)}"
        return ""

    async def _mouse_is_taken(self) -> bool:
        """Wait until a guest has been told of all that the mouse has done."""
        with trio.move_on_after(KEY_PATIENCE) as patience:
            while not self.machine.takes_mouse():  # noqa: ASYNC110  (a chip has no events)
                await trio.sleep(0.002)
        return not patience.cancelled_caught


class Pictures:
    """Draws screens in a thread, and no more than `DRAWING` of the time."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._next = 0.0
        self._drawn: tuple[Frame, Draw, bytes] | None = None
        self._shown: tuple[Frame, int, str] | None = None

    async def draw(self, frame: Frame, draw: Draw) -> bytes:
        """Return a screen as a picture. Those who wait their turn for the same one share it."""
        async with self._turn:
            if self._drawn is None or self._drawn[:2] != (frame, draw):
                async with self._slowly():
                    self._drawn = frame, draw, await trio.to_thread.run_sync(draw, frame)
            return self._drawn[2]

    async def show(self, frame: Frame, columns: int) -> str:
        """Return a screen for a terminal, likewise."""
        async with self._turn:
            if self._shown is None or self._shown[:2] != (frame, columns):
                async with self._slowly():
                    self._shown = frame, columns, await trio.to_thread.run_sync(as_ansi, frame, columns)
            return self._shown[2]

    @contextlib.asynccontextmanager
    async def _slowly(self) -> AsyncIterator[None]:
        """Wait for when the next may be drawn; the longer one takes, the longer those after it wait."""
        await trio.sleep_until(self._next)
        before = trio.current_time()
        yield
        now = trio.current_time()
        self._next = now + (now - before) * (1 / DRAWING - 1)


UNHEARD: Final = "the guest does not listen to its power button"


def path_of(domain_socket: str, parts: frozenset[str]) -> str:
    """Return where the monitor of a server with these parts is."""
    first = in_order(parts)[0]
    return domain_socket + ("" if first == MAIN else f".{first}") + SUFFIX


def paths(domain_socket: str) -> list[str]:
    """Return where monitors of a domain's servers are, as far as there are any; always the main one's."""
    apart = (path_of(domain_socket, frozenset((part,))) for part in PARTS if part != MAIN)
    return [domain_socket + SUFFIX, *(path for path in apart if os.path.exists(path))]


def listen(
    path: str,
    what: str = "",
    taken: str = "another server serves these parts of that domain: it listens there",
) -> trio.SocketListener:
    """Bind a socket for its user alone, mode 0600; what a dead process left there is removed.

    An error says `what` it is, and what it means that somebody listens there already (`taken`).

    Raises:
        ConfigError: it cannot be bound, or somebody else listens there.

    """
    name = f"{what} unix:{path}" if what else path
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), 0o600)
        _bind(sock, path)
        sock.listen(8)
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(f"cannot listen on {name}: {error.strerror or error}") from error
        other = not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode)
        raise ConfigError(f"{name}: {'there is something else than a socket' if other else taken}") from error
    return trio.SocketListener(sock)


def _bind(sock: trio.socket.SocketType, path: str) -> None:
    with socket.socket(fileno=os.dup(sock.fileno())) as plain:
        whole = os.path.abspath(path)
        if len(os.fsencode(whole)) <= MAX_PATH:
            path = whole  # so that `devmodel list` finds it
        try:
            plain.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) != errno.ECONNREFUSED:
                    raise
            os.unlink(path)
            plain.bind(path)


def remove(path: str) -> None:
    """Remove a monitor's socket, unless somebody has done so already."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def find() -> str:
    """Return the domain socket of the one machine that runs.

    Raises:
        DevmodelError: there is none, or more than one.

    """
    pattern = os.path.join(glob.escape(tempfile.gettempdir()), PREFIX + "*", "*" + SUFFIX)
    found: set[str] = set()
    for path in glob.glob(pattern):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                found.add(path.removesuffix(SUFFIX))
    apart = {f"{path}.{part}" for path in found for part in PARTS}
    found -= apart
    if not found:
        raise DevmodelError("no machine of `devmodel run` is running; give the SOCKET of a domain")
    if len(found) > 1:
        raise DevmodelError(f"several machines are running; give one of: {' '.join(sorted(found))}")
    return found.pop()


def png_of(answer: Answer) -> bytes:
    """Return the picture in an answer."""
    return base64.b64decode(answer.png)


def upgrade(domain_socket: str, patience: float) -> list[Answer]:
    """Upgrade every server of the machine at a domain socket, one after the other, and return what each is now.

    Raises:
        DevmodelError: one cannot be upgraded, or is not there again after `patience` seconds.

    """
    answers = []
    for path in paths(domain_socket.removesuffix(SUFFIX)):
        begun = ask_at(path, Upgrade())
        if begun.error:
            raise DevmodelError(begun.error)
        deadline = time.monotonic() + patience
        while True:
            time.sleep(0.05)
            try:
                answer = ask_at(path, Info())
            except DevmodelError:
                answer = begun
            if answer.upgrades > begun.upgrades:
                answers.append(answer)
                break
            if time.monotonic() > deadline:
                raise DevmodelError(f"the server on {path} has not come back in {patience:.0f} seconds")
    return answers


def type_keys(domain_socket: str, keys: list[str], hold: int = 0) -> None:
    """Type keys at the machine at a domain socket, in as many commands as it takes, each held for `hold` ms.

    Raises:
        DevmodelError: nobody answers, a name is no key's (then none is typed), or the guest does not take them.

    """
    for combination in keys:
        try:
            Keyboard.check(combination)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    for at in range(0, len(keys), MAX_KEYS):
        some = keys[at : at + MAX_KEYS]
        each = KEY_PATIENCE + hold / 1000
        ask(domain_socket, Key(keys=some, hold=hold), patience=PATIENCE + each * len(some))


def use_mouse(domain_socket: str, actions: list[MouseAction]) -> None:
    """Do things with the mouse of the machine at a domain socket.

    Raises:
        DevmodelError: nobody answers, or the guest does not take them.

    """
    ask(domain_socket, Mouse(actions=actions), patience=PATIENCE + 4 * KEY_PATIENCE * len(actions))


def ask_all(domain_socket: str, command: Command) -> list[Answer]:
    """Ask every server of the machine at a domain socket, and return the answers of those that give one.

    Raises:
        DevmodelError: none does.

    """
    failure: DevmodelError | None = None
    answers = []
    for path in paths(domain_socket.removesuffix(SUFFIX)):
        try:
            answer = ask_at(path, command)
        except DevmodelError as error:
            failure = failure or error
            continue
        if answer.error:
            failure = failure or DevmodelError(answer.error)
        else:
            answers.append(answer)
    if not answers:
        assert failure is not None
        raise failure
    return answers


def ask(domain_socket: str, command: Command, patience: float = PATIENCE) -> Answer:
    """Ask the machine at a domain socket. For the command line: plain and blocking.

    Raises:
        DevmodelError: nobody answers there, or the answer is an error.

    """
    failure: DevmodelError | None = None
    for path in paths(domain_socket.removesuffix(SUFFIX)):
        try:
            answer = ask_at(path, command, patience)
        except DevmodelError as error:
            failure = failure or error
            continue
        if not answer.error:
            return answer
        failure = DevmodelError(answer.error)
        if not answer.elsewhere:
            break
    assert failure is not None
    raise failure


def ask_at(path: str, command: Command, patience: float = PATIENCE) -> Answer:
    """Ask the server whose monitor is at a path.

    Raises:
        DevmodelError: nobody answers there.

    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience)
        try:
            sock.connect(path)
            sock.sendall(_encode(command) + b"\n")
            with sock.makefile("rb") as file:
                line = file.readline()
        except OSError as error:
            raise DevmodelError(f"no machine answers on {path}: {error.strerror or error}") from error
    try:
        return _decode_answer(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DevmodelError(f"no machine answers on {path}: {error}") from error
