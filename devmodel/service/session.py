"""A machine's outside: what a configuration opens before anything starts, and what is served with it.

`Outside` holds images, ports and files; opening it finds every mistake while nothing runs yet. `serve` joins
it to a core and runs the chips until the domain ends.
"""

import contextlib
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, Final, Protocol, TextIO

import attrs
import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel.board.parts import in_order
from devmodel.config import Config, Disk
from devmodel.consoles.line import SerialLine
from devmodel.consoles.tcp import TcpConsole, listen
from devmodel.disks.image import SECTOR, Elsewhere, Image
from devmodel.disks.tray import Disc
from devmodel.display.render import TextScreen
from devmodel.service import monitor, trace
from devmodel.service.clock import TrioClock
from devmodel.service.domain import Domain
from devmodel.service.server import Attachment, Board, Server
from devmodel.service.stats import ServerStatistics
from devmodel.service.traced import TracedServer
from ioreq import DomainGone, IoreqError, ProtocolError
from ioreq.control_client import ControlClient, connect
from ioreq.lines import printable
from ioreq.messages import GetStatistics, Shutdown, Statistics

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
    disks: list[Image | Elsewhere]
    discs: list[Disc] = attrs.field(factory=list[Disc])
    """Of the CD-ROM drives, if they are this server's."""
    video_bios: bytes | None
    debug: DebugConsole
    trace: BinaryIO | None = None

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
    disks: list[Image | Elsewhere] = []
    discs: list[Disc] = []
    listeners: list[trio.SocketListener] = []
    stream: TextIO | None = None
    record: BinaryIO | None = None
    try:
        disks.extend(_disk(disk, here="ide" in config.parts) for disk in config.disks)
        if "ide" in config.parts:
            discs.extend(Disc(cdrom.path) for cdrom in config.cdroms)
        bios = None if config.video.bios is None else _rom(config.video.bios)
        if "debug" not in config.parts:
            stream = None
        elif config.debug.console == "stderr":
            stream = sys.stderr
        elif config.debug.console != "log":
            stream = _debug_file(config.debug.console)
        if config.trace is not None:
            record = trace.create(config.trace)
        address = config.serial.address()
        if address is not None and "serial" in config.parts:
            listeners = await listen(*address)
        yield Outside(
            config=config,
            serial=SerialLine(config.serial.history),
            listeners=listeners,
            disks=disks,
            discs=discs,
            video_bios=bios,
            debug=DebugConsole(stream, terminal=stream is not None and stream.isatty()),
            trace=record,
        )
    finally:
        for image in disks:
            if isinstance(image, Image):
                image.close()
        for disc in discs:
            disc.close()
        if stream is not None and stream is not sys.stderr:
            stream.close()
        if record is not None:
            record.close()
        with trio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


def _disk(disk: Disk, *, here: bool) -> Image | Elsewhere:
    """Open a disk; or learn how large it is, if another server has it, for what the clock chip's memory says."""
    if disk.path is not None:
        return Image.open(disk.path, readonly=disk.readonly) if here else Elsewhere.at(disk.path)
    size = disk.scratch_bytes()
    return Image.scratch(size) if here else Elsewhere(-(-size // SECTOR))


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
    parts = outside.config.parts
    path = monitor.path_of(client.path, parts)
    listener = monitor.listen(path)
    attachment: Attachment | None = None
    try:
        tracing = outside.trace
        attachment = await Attachment.create(client, mirror=tracing is None)
        clock = TrioClock.start()
        try:
            board = board_factory(outside, attachment.domain, clock)
        except (ArithmeticError, LookupError, ValueError, struct.error, MemoryError) as error:
            raise DevmodelError(
                f"no machine can be built of what the core on {client.path} says: {error}"
            ) from error
        if "serial" in parts:
            board.connect_serial(outside.serial)
        for image in outside.disks:
            if isinstance(image, Image):
                nursery.start_soon(image.run)
        for disc in outside.discs:
            nursery.start_soon(disc.run)
        if outside.listeners:
            nursery.start_soon(TcpConsole(outside.serial).serve, outside.listeners)
        with contextlib.ExitStack() as stack:
            if tracing is None:
                server = Server(board, attachment, clock)
            else:
                header = trace.Header(client.domain.name, time.time(), trace.ranges_of(board.bus))
                recorder = stack.enter_context(contextlib.closing(trace.Recorder(tracing, header)))
                nursery.start_soon(recorder.keep_flushed)
                server = TracedServer(board, attachment, clock, recorder)
            nursery.start_soon(
                monitor.Monitor(_Watched(client, board, parts, server, outside.discs)).serve, listener
            )
            on_ready(board)
            try:
                return await server.run()
            finally:
                with trio.move_on_after(LAST_WORDS):
                    await outside.serial.caught_up()
    finally:
        if attachment is not None:
            await attachment.leave()
            attachment.close()
        listener.socket.close()  # as `serve_listeners` has done, if it came to that
        monitor.remove(path)


@attrs.frozen
class _Watched:
    """What the monitor sees."""

    client: ControlClient
    board: Machine
    parts: frozenset[str]
    server: Server
    discs: list[Disc]

    @property
    def name(self) -> str:
        return self.client.domain.name

    def screen(self) -> TextScreen | None:
        return self.board.screen()

    def press(self, keys: list[str]) -> None:
        self.board.press(keys)

    def insert(self, drive: int, path: str) -> None:
        self._disc(drive).insert(path)

    def eject(self, drive: int, *, force: bool) -> None:
        self._disc(drive).eject(force=force)

    def _disc(self, drive: int) -> Disc:
        if not 0 <= drive < len(self.discs):
            count = len(self.discs)
            raise DevmodelError(
                f"there is no CD-ROM drive {drive}; "
                + (f"the last is {count - 1}" if count else "there is none")
            )
        return self.discs[drive]

    async def statistics(self) -> ServerStatistics:
        core = await self.client.call(GetStatistics())
        if not isinstance(core, Statistics):
            raise ProtocolError(f"the core answers get_statistics with {type(core).__name__}")
        return ServerStatistics(
            machine=self.name,
            parts=in_order(self.parts),
            ranges=trace.ranges_of(self.board.bus),
            served={name: histogram.pairs() for name, histogram in self.server.service_times.items()},
            core=core,
        )
