"""A machine's outside: what a configuration opens before anything starts, and what is served with it.

`Outside` holds images, ports and files; opening it finds every mistake while nothing runs yet. `serve` joins
it to a core and runs the chips until the domain ends.
"""

import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol, TextIO

import attrs
import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel.config import Config
from devmodel.consoles.line import SerialLine
from devmodel.consoles.tcp import TcpConsole, listen
from devmodel.disks.image import Image
from devmodel.display.render import TextScreen
from devmodel.service import monitor
from devmodel.service.clock import TrioClock
from devmodel.service.domain import Domain
from devmodel.service.server import Attachment, Board, Server
from ioreq import DomainGone, IoreqError
from ioreq.control_client import ControlClient, connect
from ioreq.lines import printable
from ioreq.messages import Shutdown

logger = structlog.get_logger()

PROGRAM: Final = f"devmodel {VERSION}"
MAX_ROM: Final = 1 << 20
LAST_WORDS: Final = 0.3
"""Seconds that the consoles get to show what the guest said at its end."""


class Machine(Board, Protocol):
    """A board with a screen and a keyboard."""

    def connect_serial(self, line: SerialLine) -> None: ...  # noqa: D102
    def screen(self) -> TextScreen | None: ...  # noqa: D102
    def press(self, keys: list[str]) -> None: ...  # noqa: D102


@attrs.define
class DebugConsole:
    """Where ports 0x402 and 0xE9 go: the log, a line at a time, or a stream."""

    stream: TextIO | None = None
    terminal: bool = False
    """The stream is shown to a person, so control characters must not reach it."""
    _line: bytearray = attrs.field(factory=bytearray)

    def put(self, byte: int) -> None:
        """Take a byte from the guest."""
        if self.stream is not None:
            character = chr(byte)
            if self.terminal and character not in "\r\n\t":
                character = printable(character)
            self.stream.write(character)
            if byte == ord("\n"):
                self.stream.flush()
        elif byte == ord("\n") or len(self._line) >= 4096:
            logger.info("guest.debug", line=self._line.decode("latin-1").rstrip("\r"))
            self._line.clear()
        else:
            self._line.append(byte)


@attrs.define(kw_only=True)
class Outside:
    """What a machine has on its outside."""

    config: Config
    serial: SerialLine
    listeners: list[trio.SocketListener]
    disks: list[Image]
    video_bios: bytes | None
    debug: DebugConsole

    @property
    def serial_address(self) -> str | None:
        """Where the serial console listens, HOST:PORT, with the port that was chosen."""
        if not self.listeners:
            return None
        host, port = self.listeners[0].socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


BoardFactory = Callable[[Outside, Domain, TrioClock], Machine]


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Outside]:
    """Open what a configuration names, and close it after the block.

    Raises:
        ConfigError: with the one line to show.

    """
    disks: list[Image] = []
    listeners: list[trio.SocketListener] = []
    stream: TextIO | None = None
    try:
        for disk in config.disks:
            if disk.path is None:
                disks.append(Image.scratch(disk.scratch_bytes()))
            else:
                disks.append(Image.open(disk.path, readonly=disk.readonly))
        bios = None if config.video.bios is None else _rom(config.video.bios)
        if config.debug.console == "stderr":
            stream = sys.stderr
        elif config.debug.console != "log":
            stream = _debug_file(config.debug.console)
        address = config.serial.address()
        if address is not None:
            listeners = await listen(*address)
        yield Outside(
            config=config,
            serial=SerialLine(config.serial.history),
            listeners=listeners,
            disks=disks,
            video_bios=bios,
            debug=DebugConsole(stream, terminal=stream is not None and stream.isatty()),
        )
    finally:
        for image in disks:
            image.close()
        if stream is not None and stream is not sys.stderr:
            stream.close()
        with trio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


def _rom(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_ROM + 1)
    except OSError as error:
        raise ConfigError(f"video bios {path}: {error.strerror}") from error
    if not data or len(data) > MAX_ROM or len(data) % 512 or data[:2] != b"\x55\xaa":
        raise ConfigError(f"video bios {path}: not an option ROM (55 AA, whole blocks of 512 bytes)")
    return data


def _debug_file(path: str) -> TextIO:
    try:
        return open(path, "w", encoding="latin-1", newline="")
    except OSError as error:
        raise ConfigError(f"debug console {path}: {error.strerror}") from error


class NobodyThere(DomainGone):
    """No core came in the time that was given."""


async def join(path: str, wait: float = float("inf")) -> ControlClient:
    """Connect to a core, waiting up to `wait` seconds for one to be there.

    Raises:
        NobodyThere: there is none.
        VersionMismatch: it speaks another version.

    """
    said = False
    deadline = trio.current_time() + wait
    while True:
        try:
            return await connect(path, program=PROGRAM)
        except DomainGone as error:
            if trio.current_time() >= deadline:
                raise NobodyThere(str(error)) from error
        if not said:
            said = True
            log.say(f"devmodel: waiting for a core on {path}")
        await trio.sleep(0.05)


async def serve(
    outside: Outside,
    client: ControlClient,
    board_factory: BoardFactory,
    *,
    on_ready: Callable[[Machine], None] = lambda _: None,
) -> Shutdown:
    """Serve a core until its domain ends, and say how it was.

    Raises:
        DomainGone: the core is gone without a word.

    """
    shutdown: Shutdown | None = None
    failure: IoreqError | DevmodelError | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            try:
                shutdown = await _serve(outside, client, board_factory, on_ready, nursery)
            except (IoreqError, DevmodelError) as error:
                failure = error  # not out of the nursery, which would wrap it
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = foreseen(group)  # of a task that runs beside
        if failure is None:
            raise
    if failure is not None:
        raise failure
    if shutdown is None:
        raise DomainGone(f"the core on {client.path} is gone")
    return shutdown


def foreseen(error: BaseException) -> IoreqError | DevmodelError | None:
    """Return the error that has its one line, out of the groups that nurseries make; None if there is another kind."""
    if isinstance(error, BaseExceptionGroup):
        found = [foreseen(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, (IoreqError, DevmodelError)) else None


async def _serve(
    outside: Outside,
    client: ControlClient,
    board_factory: BoardFactory,
    on_ready: Callable[[Machine], None],
    nursery: trio.Nursery,
) -> Shutdown:
    listener = monitor.listen(client.path)
    attachment: Attachment | None = None
    try:
        attachment = await Attachment.create(client)
        clock = TrioClock.start()
        try:
            board = board_factory(outside, attachment.domain, clock)
        except (ArithmeticError, LookupError, ValueError, struct.error, MemoryError) as error:
            raise DevmodelError(
                f"no machine can be built of what the core on {client.path} says: {error}"
            ) from error
        board.connect_serial(outside.serial)
        for image in outside.disks:
            nursery.start_soon(image.run)
        if outside.listeners:
            nursery.start_soon(TcpConsole(outside.serial).serve, outside.listeners)
        nursery.start_soon(monitor.Monitor(_Watched(client.domain.name, board)).serve, listener)
        on_ready(board)
        try:
            return await Server(board, attachment, clock).run()
        finally:
            with trio.move_on_after(LAST_WORDS):
                await outside.serial.caught_up()
    finally:
        if attachment is not None:
            await attachment.leave()
            attachment.close()
        listener.socket.close()  # as `serve_listeners` has done, if it came to that
        monitor.remove(client.path)


@attrs.frozen
class _Watched:
    """What the monitor sees."""

    name: str
    board: Machine

    def screen(self) -> TextScreen | None:
        return self.board.screen()

    def press(self, keys: list[str]) -> None:
        self.board.press(keys)
