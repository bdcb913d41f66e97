"""A machine's outside: what a configuration opens before anything starts, and what is served with it.

`Outside` holds images, ports and files; opening it finds every mistake while nothing runs yet. `serve` joins
it to a core and runs the chips until the domain ends.
"""

import contextlib
import io
import ipaddress
import os
import secrets
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, Self, TextIO, TypeVar, runtime_checkable

import attrs
import msgspec
import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel.board.parts import OWN, in_order
from devmodel.board.saved import Saved
from devmodel.config import Config, Disk, Floppy, Serial, qmp_address
from devmodel.consoles import clients
from devmodel.consoles.address import Address, parse_listening
from devmodel.consoles.clients import Clients
from devmodel.consoles.line import BREAK, SerialLine
from devmodel.consoles.printout import Printout
from devmodel.consoles.pseudo import PseudoTerminal
from devmodel.consoles.recording import Recording
from devmodel.control import monitor, probe, sockets
from devmodel.control.access import Local, Remote
from devmodel.control.qmp import Door, Qmp
from devmodel.devices.diskette import drive_for
from devmodel.devices.vga_frame import Frame
from devmodel.disks.image import Elsewhere, Image, open_disk
from devmodel.disks.stores import SECTOR
from devmodel.disks.tray import Disc, Diskette
from devmodel.display import vnc
from devmodel.display.renderer import Renderer
from devmodel.service import trace, upgrade
from devmodel.service.clock import TrioClock
from devmodel.service.domain import Domain
from devmodel.service.keeper import Keeper, Saves
from devmodel.service.server import Attachment, Board, Server
from devmodel.service.stats import ServerStatistics
from devmodel.service.traced import TracedServer
from devmodel.service.upgrade import Inheritance
from ioreq import DomainGone, IoreqError, ProtocolError
from ioreq.control_client import ControlClient, connect
from ioreq.lines import printable
from ioreq.messages import GetStatistics, NrVcpus, Shutdown, Statistics
from ioreq.streams import StandardError
from ioreq.user_input import create, open_regular

if TYPE_CHECKING:
    from devmodel.web.server import Web

logger = structlog.get_logger()

PROGRAM: Final = f"devmodel {VERSION}"
MAX_ROM: Final = 1 << 20
ANSWERED: Final = 0.05
"""Seconds for the monitor to answer, before there is none."""
LOOKING: Final = 1.0
"""Seconds between two looks at a core whose guest waits for a client of its console."""
LAST_WORDS: Final = 0.3
"""Seconds that the consoles get to show what the guest said at its end."""


class Machine(Board, Protocol):
    """A board with a screen, a keyboard and a mouse."""

    def connect_serial(self, line: SerialLine, number: int, /) -> None: ...  # noqa: D102
    def screen(self) -> Frame: ...  # noqa: D102
    def press(self, keys: list[str]) -> None: ...  # noqa: D102
    def hold(self, keys: list[str], *, pressed: bool) -> None: ...  # noqa: D102
    def point(self, right: int, down: int, wheel: int) -> None: ...  # noqa: D102
    def click(self, button: str, *, pressed: bool) -> None: ...  # noqa: D102
    def press_power_button(self) -> bool: ...  # noqa: D102
    def takes_mouse(self) -> bool: ...  # noqa: D102
    def check_keys(self, keys: list[str]) -> None: ...  # noqa: D102
    def takes_keys(self) -> bool: ...  # noqa: D102
    def states(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def nmi_masked(self) -> bool: ...  # noqa: D102


@runtime_checkable
class Accompanied(Protocol):
    """A board with tasks of its own."""

    @property
    def tasks(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What runs beside the chips, in the event loop, until the domain ends."""
        ...


@attrs.define
class DebugConsole:
    """Where ports 0x402 and 0xE9 go: the log, a line at a time, or a stream."""

    stream: TextIO | StandardError | None = None
    terminal: bool = False
    """The stream is shown to a person, so control characters must not reach it."""
    muted: bool = False
    """What comes now has been shown before."""
    _line: bytearray = attrs.field(factory=bytearray)

    def put(self, byte: int) -> None:
        """Take a byte from the guest."""
        if self.muted:
            return
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


def found_at(far_end: Address, listeners: Sequence[trio.SocketListener]) -> str:
    """Return where something listens, with the port that was chosen."""
    if listeners and far_end.kind != "unix":
        host, port = listeners[0].socket.getsockname()[:2]
        far_end = msgspec.structs.replace(far_end, host=host, port=port)
    return str(far_end)


def warning_of(far_end: Address, listeners: Sequence[trio.SocketListener]) -> str:
    """Return who else may come there, or nothing."""
    if not far_end.remote or all(
        ipaddress.ip_address(listener.socket.getsockname()[0].partition("%")[0]).is_loopback
        for listener in listeners
    ):
        return ""
    without = "" if far_end.password_file else ", without a password"
    return f"{found_at(far_end, listeners)} is open to other hosts{without}"


@attrs.define
class SerialConsole:
    """A serial port's far end, and where it is found."""

    line: SerialLine
    far_end: Address
    inherited: upgrade.Console
    listeners: list[trio.SocketListener] = attrs.field(factory=list[trio.SocketListener])
    pseudo: PseudoTerminal | None = None
    recording: Recording | None = None
    clients: Clients | None = None
    """Of a far end that has any."""
    kept: bool = False
    """The program that we become goes on with it."""

    @property
    def address(self) -> str | None:
        """Where it is found, with the port or pseudo-terminal that was chosen; None if nowhere."""
        if self.pseudo is not None:
            return f"pty:{self.pseudo.path}"
        return found_at(self.far_end, self.listeners) if self.listeners or self.recording else None

    def warning(self) -> str:
        """Return who else may come, or nothing."""
        return warning_of(self.far_end, self.listeners)

    def serve(self, nursery: trio.Nursery) -> None:
        """Begin to serve whoever there is, and what is inherited."""
        if self.recording is not None:
            nursery.start_soon(self.recording.serve, self.line, self.inherited.recorded)
        if self.clients is not None:
            for one in upgrade.clients_of(self.inherited):
                nursery.start_soon(self.clients.client, one.stream, one.telnet, one.position, one.unsent)
            if self.listeners:
                nursery.start_soon(self.clients.serve, self.listeners)
            if self.pseudo is not None:
                nursery.start_soon(
                    self.pseudo.serve, self.clients, self.inherited.pty_position, self.inherited.pty_unsent
                )
        if self.inherited.untyped:
            nursery.start_soon(self.line.type, self.inherited.untyped)

    async def caught_up(self) -> None:
        """Wait until everybody has all that the guest has said."""
        await self.line.caught_up()
        if self.pseudo is not None:
            await self.pseudo.read()

    async def aclose(self) -> None:
        """Close what is open, and remove a socket that is nobody else's by now."""
        for listener in self.listeners:
            if self.far_end.kind == "unix" and not self.kept:
                with contextlib.suppress(OSError):
                    os.unlink(self.far_end.path)
            await listener.aclose()
        if self.pseudo is not None:
            self.pseudo.close()
        if self.recording is not None:
            self.recording.close()


@attrs.define
class Port:
    """Where others come than clients of consoles: viewers of the screen, or browsers."""

    far_end: Address
    listeners: list[trio.SocketListener]
    password: bytes | None
    viewers: vnc.Vnc | None = None
    """Those who have come, if it is the viewers' port."""
    kept: bool = False
    """The program that we become goes on with it."""

    @classmethod
    async def open(cls, what: str, listen: str, inherited: Sequence[int]) -> Self:
        """Listen, or go on with the descriptors that are inherited.

        Raises:
            ConfigError: that cannot be.

        """
        far_end = parse_listening(listen)
        password = clients.password_of(far_end)
        if what == "vnc" and password is not None:
            vnc.response_of(password)  # there is what answers need, or not
        if what == "web":
            _check_web()
        return cls(far_end, upgrade.listeners_of(inherited) or await clients.listen(far_end, what), password)

    def address(self) -> str:
        """Return where it is, with the port that was chosen."""
        return found_at(self.far_end, self.listeners).removeprefix("tcp:")

    def warning(self) -> str:
        """Return who else may come, or nothing."""
        return warning_of(self.far_end, self.listeners)

    async def aclose(self) -> None:
        """Close what is not kept."""
        for listener in self.listeners:
            if self.far_end.kind == "unix" and not self.kept:
                with contextlib.suppress(OSError):
                    os.unlink(self.far_end.path)
            await listener.aclose()


@attrs.define(kw_only=True)
class Outside:
    """What a machine has on its outside."""

    config: Config
    consoles: list[SerialConsole]
    """Of the serial ports that there are, COM1's first."""
    disks: list[Image | Elsewhere]
    discs: list[Disc] = attrs.field(factory=list[Disc])
    """Of the CD-ROM drives, if they are this server's."""
    diskettes: list[Diskette] = attrs.field(factory=list[Diskette])
    """Of the floppy drives; empty ones, if they are another server's."""
    vnc: Port | None = None
    """Where viewers of the screen come, if they are let."""
    web: Port | None = None
    """Where browsers come, if they are let."""
    web_secret: str = ""
    """What browsers show that have said its password."""
    printout: Printout | None = None
    """What the parallel port prints, if there is one."""
    video_bios: bytes | None
    debug: DebugConsole
    trace: BinaryIO | None = None
    qmp: Door | None = None
    """Where QMP clients connect."""
    saved: Saved | None = None
    """What a predecessor has left: the board is built to go on from there."""
    inheritance: Inheritance = attrs.field(factory=Inheritance)
    """What this process has from before `devmodel upgrade`."""

    @property
    def serial(self) -> SerialLine:
        """The first serial port's far end."""
        return self.consoles[0].line

    @property
    def terminal(self) -> SerialLine | None:
        """The line that is on the terminal, if there is one."""
        return next((console.line for console in self.consoles if console.far_end.kind == "stdio"), None)

    def addresses(self) -> list[str]:
        """Return the lines that say where each console is found, and who else may find it."""
        lines = [
            f"devmodel: serial {'console' if number == 1 else f'port {number}'} on {console.address}"
            for number, console in enumerate(self.consoles, 1)
            if console.address is not None
        ]
        warnings = [*filter(None, (console.warning() for console in self.consoles))]
        if self.vnc is not None:
            lines.append(f"devmodel: vnc on {self.vnc.address()}")
            warnings += filter(None, [self.vnc.warning()])
        if self.web is not None:
            where = self.web.address()
            lines.append(f"devmodel: web on {where if where.startswith('unix:') else f'http://{where}/'}")
            warnings += filter(None, [self.web.warning()])
        if self.qmp is not None:
            lines.append(f"devmodel: qmp on {self.qmp}")
        return lines + [f"devmodel: warning: {warning}" for warning in warnings]


BoardFactory = Callable[[Outside, Domain, TrioClock], Machine]


@asynccontextmanager
async def opened(config: Config, inheritance: Inheritance | None = None) -> AsyncIterator[Outside]:
    """Open what a configuration names, and close it after the block. What is inherited is open already.

    Raises:
        ConfigError: with the one line to show.

    """
    disks: list[Image | Elsewhere] = []
    discs: list[Disc] = []
    diskettes: list[Diskette] = []
    consoles: list[SerialConsole] = []
    printout: Printout | None = None
    vnc_port: Port | None = None
    web_port: Port | None = None
    stream: TextIO | StandardError | None = None
    record: BinaryIO | None = None
    door: Door | None = None
    inheritance = inheritance or Inheritance()
    try:
        disks.extend(
            _disk(disk, here="ide" in config.parts, fd=inheritance.scratch.get(number))
            for number, disk in enumerate(config.disks)
        )
        if "ide" in config.parts:
            if inheritance.upgrades:
                discs.extend(Disc(path, fd) for path, fd in inheritance.discs)
            else:
                discs.extend(Disc(cdrom.path) for cdrom in config.cdroms)
        for number, floppy in enumerate(config.floppies):
            if number < len(inheritance.diskettes):
                model, path, fd = inheritance.diskettes[number]
            else:
                model, path, fd = _model(floppy), floppy.path, None
            path = path if "dma" in config.parts else None
            diskettes.append(Diskette(model, path, fd, readonly=floppy.readonly))
        if config.parallel is not None and "parallel" in config.parts:
            printout = Printout.open(config.parallel.path)
        bios = None if config.video.bios is None else _rom(config.video.bios)
        if "debug" not in config.parts:
            stream = None
        elif config.debug.console == "stderr":
            stream = StandardError()
        elif config.debug.console != "log":
            stream = _debug_file(config.debug.console)
        if config.trace is not None:
            record = trace.create(config.trace)
        kept = upgrade.consoles_of(inheritance, len(config.serials))
        for serial, inherited in zip(config.serials, kept, strict=True):
            consoles.append(await _console(serial, inherited, here="serial" in config.parts))
        if config.vnc is not None and "vga" in config.parts:
            vnc_port = await Port.open("vnc", config.vnc.listen, inheritance.vnc_listeners)
        if config.web is not None and "serial" in config.parts:
            _check_web()
        if config.web is not None and "vga" in config.parts:
            web_port = await Port.open("web", config.web.listen, inheritance.web_listeners)
        if config.qmp is not None:
            door = await Door.open(qmp_address(config.qmp.listen))
        yield Outside(
            vnc=vnc_port,
            web=web_port,
            web_secret=inheritance.web_secret or secrets.token_urlsafe(32),
            config=config,
            consoles=consoles,
            inheritance=inheritance,
            disks=disks,
            discs=discs,
            diskettes=diskettes,
            printout=printout,
            video_bios=bios,
            debug=DebugConsole(stream, terminal=stream is not None and stream.isatty()),
            trace=record,
            qmp=door,
        )
    finally:
        for image in disks:
            if isinstance(image, Image):
                image.close()
        for removable in (*discs, *diskettes):
            removable.close()
        if printout is not None:
            printout.close()
        if stream is not None and not isinstance(stream, StandardError):
            stream.close()
        if record is not None:
            record.close()
        if door is not None:
            door.close()
        with trio.CancelScope(shield=True):
            for console in consoles:
                await console.aclose()
            for port in filter(None, (vnc_port, web_port)):
                await port.aclose()


async def _console(serial: Serial, inherited: upgrade.Console, *, here: bool) -> SerialConsole:
    """Listen where a serial port is to, or go on with what is inherited."""
    line = SerialLine(serial.history, flow=serial.flow)
    line.transcript.restore(inherited.transcript, inherited.transcript_end)
    console = SerialConsole(line, serial.far_end(), inherited)
    if not here:
        return console
    match console.far_end.kind:
        case "tcp" | "telnet" | "unix" as kind:
            password = clients.password_of(console.far_end)
            console.listeners = upgrade.listeners_of(inherited.listeners) or await clients.listen(
                console.far_end
            )
            console.clients = Clients(line, telnet=kind == "telnet", password=password)
        case "pty":
            console.pseudo = PseudoTerminal.open() if inherited.pty is None else PseudoTerminal(inherited.pty)
            console.clients = Clients(line)
        case "file":
            console.recording = Recording.open(console.far_end.path)
        case _:
            pass  # the terminal is `devmodel run`'s
    return console


def _disk(disk: Disk, *, here: bool, fd: int | None = None) -> Image | Elsewhere:
    """Open a disk; or learn how large it is, if another server has it, for what the clock chip's memory says."""
    if disk.path is not None and not here:
        return Elsewhere.at(disk.base or disk.path)
    if disk.path is not None:
        return open_disk(
            disk.path,
            readonly=disk.readonly,
            takes_snapshot=disk.snapshot,
            base=disk.base,
            said=disk.format,
            fd=fd,
        )
    size = disk.scratch_bytes()
    return Image.scratch(size, fd) if here else Elsewhere(-(-size // SECTOR))


def _model(floppy: Floppy) -> str:
    """Return the model of a floppy drive: what is configured, or what suits the diskette that is in it at first."""
    if floppy.drive is not None:
        return floppy.drive
    return drive_for(Elsewhere.at(floppy.path, "floppy").sectors if floppy.path is not None else 0)


def _rom(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_ROM + 1)
    except OSError as error:
        raise ConfigError(f"video bios {path}: {error.strerror}") from error
    if not data or len(data) > MAX_ROM or len(data) % 512 or data[:2] != b"\x55\xaa":
        raise ConfigError(f"video bios {path}: not an option ROM (55 AA, whole blocks of 512 bytes)")
    return data


def _debug_file(path: str) -> TextIO:
    try:
        return io.TextIOWrapper(create(path), encoding="latin-1", newline="")
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
    departure: "Departure | None" = None,
) -> Shutdown | None:
    """Serve a core until its domain ends, and say how it was; None if it was left to a successor, on `departure`.

    Raises:
        DomainGone: the core is gone without a word.

    """
    departure = departure or Departure()
    shutdown: Shutdown | None = None
    failure: IoreqError | DevmodelError | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            try:
                shutdown = await _serve(outside, client, board_factory, on_ready, departure, nursery)
            except (IoreqError, DevmodelError) as error:
                failure = error  # not out of the nursery, which would wrap it
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = foreseen(group)  # of a task that runs beside
        if failure is None:
            raise
    if failure is not None:
        raise failure
    if shutdown is None and not departure.done:
        raise DomainGone(f"the core on {client.path} is gone")
    return shutdown


class Departure:
    """A server's leaving before its domain ends: asked for from outside, done when its state is whole."""

    def __init__(self, *, upgrades: bool = False) -> None:
        """`upgrades` says that this process may become another program: nothing else is in it."""
        self.upgrades = upgrades
        self.done = False
        """The guest has been left to a successor."""
        self.inheritance: Inheritance | None = None
        """That is what we become, with this."""
        self._upgrading = False
        self._server: Server | None = None

    async def leave(self, *, upgrade: bool = False) -> None:
        """Leave the guest, if one is served and the core lets us, to a successor; or to ourselves, by an `upgrade`."""
        if self._server is not None and not self.done:
            self._upgrading = upgrade
            self.done = await self._server.hand_over()

    def collect(self, outside: Outside) -> None:
        """Keep what is needed of the outside, if we are to be upgraded."""
        if self.done and self._upgrading:
            scratch = {
                number: image
                for number, image in enumerate(outside.disks)
                if isinstance(image, Image)
                and (outside.config.disks[number].path is None or outside.config.disks[number].snapshot)
            }
            self.inheritance = upgrade.collect(
                outside.inheritance.upgrades,
                [
                    upgrade.console_of(
                        console.line, console.listeners, console.clients, console.pseudo, console.recording
                    )
                    for console in outside.consoles
                ],
                scratch,
                [disc.image for disc in outside.discs],
                [(diskette.bay.model, diskette.image) for diskette in outside.diskettes],
                [] if outside.vnc is None else outside.vnc.listeners,
                [] if outside.vnc is None or outside.vnc.viewers is None else outside.vnc.viewers.leave(),
                [] if outside.web is None else outside.web.listeners,
                outside.web_secret,
            )
            for console in outside.consoles:
                console.kept = True
            for port in (outside.vnc, outside.web):
                if port is not None:
                    port.kept = True

    @contextlib.contextmanager
    def of(self, server: Server) -> Iterator[None]:
        """Say which server serves, for the length of the block."""
        self._server = server
        try:
            yield
        finally:
            self._server = None


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
    departure: Departure,
    nursery: trio.Nursery,
) -> Shutdown | None:
    parts = outside.config.parts
    path = sockets.path_of(client.path, parts)
    listener = sockets.listen(path)
    pages = None
    attachment: Attachment | None = None
    try:
        if outside.config.web is not None and "serial" in parts and "vga" not in parts:
            pages = sockets.listen(_pages_of(client.path))  # for the page of the server with the screen
        tracing = outside.trace
        attachment = await Attachment.create(
            client, mirror=tracing is None, key=_key(parts), video="vga" in parts
        )
        estate = attachment.estate
        clock = TrioClock.start(0 if estate is None else _guest_time(estate.saved))
        outside.saved = None if estate is None else estate.saved
        interrupted = estate is not None and not estate.exact
        try:
            with _detached(outside, interrupted):
                board = board_factory(outside, attachment.domain, clock)
        except (ArithmeticError, LookupError, ValueError, struct.error, MemoryError) as error:
            raise DevmodelError(
                f"no machine can be built of what the core on {client.path} says: {error}"
            ) from error
        for image in outside.disks:
            if isinstance(image, Image):
                nursery.start_soon(image.run)
        for removable in (*outside.discs, *outside.diskettes):
            nursery.start_soon(removable.run)
        if outside.printout is not None:
            nursery.start_soon(outside.printout.run)
        for console in outside.consoles:
            console.serve(nursery)
        keeper = None
        if attachment.area is not None and isinstance(board, Saves):
            keeper = Keeper(board, clock, attachment.area, attachment.endpoint.ring, attachment.id)
        with contextlib.ExitStack() as stack:
            if tracing is None:
                server = Server(board, attachment, clock, keeper)
            else:
                header = trace.Header(client.domain.name, time.time(), trace.ranges_of(board.bus))
                recorder = stack.enter_context(contextlib.closing(trace.Recorder(tracing, header)))
                nursery.start_soon(recorder.keep_flushed)
                server = TracedServer(board, attachment, clock, recorder, keeper)
            if estate is not None and interrupted:
                with _detached(outside, interrupted), _held(board):
                    server.replay(estate.performed)
                if isinstance(board, Saves):
                    board.recover(complete=estate.complete)
            if "serial" in parts:
                for number, console in enumerate(outside.consoles):
                    board.connect_serial(console.line, number)
            if estate is not None and interrupted:
                server.replay(estate.posted)
                if isinstance(board, Saves):
                    board.remind()
            stack.enter_context(departure.of(server))
            prober = probe.Probe(client, server, board, outside, parts)
            watched = _Watched(client, board, parts, server, outside, departure, nursery, prober)
            watching = monitor.Monitor(watched)
            nursery.start_soon(watching.serve, listener)
            controlled = Qmp(Local(watching, Remote(client.path)))
            if outside.qmp is not None:
                prober.on_pause = lambda paused: controlled.tell("STOP" if paused else "RESUME")
                server.on_reset = lambda: controlled.tell("RESET", **_reset_reason(prober))
                nursery.start_soon(controlled.serve, outside.qmp)
            _show(outside, board, client, nursery)
            if pages is not None:
                nursery.start_soon(_consoles_page(outside, client).serve, [pages])
            for task in board.tasks if isinstance(board, Accompanied) else ():
                nursery.start_soon(_beside, task)
            on_ready(board)
            first = outside.consoles[0].clients
            if outside.config.serial.wait and first is not None and estate is None:
                await _first_client(first, client)
            try:
                shutdown = await server.run()
                if departure.done:
                    for console in outside.consoles:
                        console.line.disconnect()
                if shutdown is not None:
                    controlled.tell("SHUTDOWN", **_end_reason(prober))
                return shutdown
            finally:
                with trio.move_on_after(LAST_WORDS):
                    await controlled.told()
                    for console in outside.consoles:
                        await console.caught_up()
                departure.collect(outside)  # behind the last words, and nobody is shown anything any more
    finally:
        if attachment is not None:
            await attachment.leave()  # if it was handed over, that is the end of our part
            attachment.close()
        listener.socket.close()  # as `serve_listeners` has done, if it came to that
        sockets.remove(path)
        if pages is not None:
            pages.socket.close()
            sockets.remove(_pages_of(client.path))


def _check_web() -> None:
    """See whether there is what serves browsers.

    Raises:
        ConfigError: there is not.

    """
    try:
        from devmodel.web import server  # an extra: only who wants a page needs it
    except ImportError:
        raise ConfigError("web: the page needs h11 and wsproto: pip install 'devmodel[web]'") from None
    del server


def _show(outside: Outside, board: Machine, client: ControlClient, nursery: trio.Nursery) -> None:
    """Begin to show the machine to viewers and browsers, as far as they are let."""
    name = client.domain.name
    if outside.vnc is None and outside.web is None:
        return
    parts = outside.config.parts
    renderer = Renderer(board.screen)
    nursery.start_soon(renderer.run)
    hands = board if "kbc" in parts else None
    if outside.vnc is not None:
        password = outside.vnc.password
        response = None if password is None else vnc.response_of(password)
        viewers = outside.vnc.viewers = vnc.Vnc(renderer, hands, name, response)
        for stream, agreed in upgrade.viewers_of(outside.inheritance):
            nursery.start_soon(viewers.client, stream, agreed)
        nursery.start_soon(viewers.serve, outside.vnc.listeners)
    if outside.web is not None:
        from devmodel.web.elsewhere import Elsewhere
        from devmodel.web.guard import Guard
        from devmodel.web.server import Web

        far_end = outside.web.far_end
        guard = Guard.of(
            None if far_end.kind == "unix" else far_end.host, outside.web.password, outside.web_secret
        )
        screen = vnc.Vnc(renderer, hands, name)
        lines = [console.line for console in outside.consoles] if "serial" in parts else []
        elsewhere = None if "serial" in parts else Elsewhere(_pages_of(client.path))
        nursery.start_soon(Web(name, guard, screen, lines, elsewhere).serve, outside.web.listeners)


def _pages_of(domain_socket: str) -> str:
    """Return where the server of a domain's serial ports has their consoles for the page of another server."""
    return domain_socket + ".web"


def _consoles_page(outside: Outside, client: ControlClient) -> "Web":
    """Return what serves the consoles to the page of another server, which has let in whoever comes."""
    from devmodel.web.guard import Guard
    from devmodel.web.server import Web

    lines = [console.line for console in outside.consoles]
    return Web(client.domain.name, Guard.of(None, None, outside.web_secret), None, lines)


def _reset_reason(prober: probe.Probe) -> dict[str, object]:
    """Return what QMP's event says of why a machine is reset."""
    asked, prober.reset_asked = prober.reset_asked, False
    return {"guest": not asked, "reason": "host-qmp-system-reset" if asked else "guest-reset"}


def _end_reason(prober: probe.Probe) -> dict[str, object]:
    """Return what QMP's event says of why a machine ends."""
    asked = prober.end_asked
    return {"guest": not asked, "reason": "host-qmp-quit" if asked else "guest-shutdown"}


def _key(parts: frozenset[str]) -> str:
    """Return the key under which a server's state is kept; chips of one's own may come to a server, and go."""
    return ",".join(in_order(parts - {OWN} or parts))


async def _first_client(console: Clients, client: ControlClient) -> None:
    """Wait until somebody is on the console, while the core lives.

    Raises:
        DomainGone: the core is gone.

    """
    while not console.came.is_set():
        with trio.move_on_after(LOOKING):
            await console.came.wait()
        await client.call(NrVcpus())


async def _beside(task: Callable[[], Awaitable[None]]) -> None:
    """Run a task of the board's; what ends it is told in one line.

    Raises:
        DevmodelError: it has failed.

    """
    try:
        await task()
    except (DevmodelError, IoreqError):
        raise
    except Exception as error:
        logger.debug("board.task_failed", exc_info=error)
        name = getattr(task, "__qualname__", repr(task))
        raise DevmodelError(f"the board's task {name} has failed: {log.origin(error)}") from error


_Drive = TypeVar("_Drive")


def _one_of(drives: Sequence[_Drive], number: int, kind: str) -> _Drive:
    """Return a drive by its number.

    Raises:
        DevmodelError: there is none such.

    """
    if not 0 <= number < len(drives):
        count = len(drives)
        raise DevmodelError(
            f"there is no {kind} drive {number}; "
            + (f"the last is {count - 1}" if count else "there is none")
        )
    return drives[number]


def _guest_time(state: Saved) -> int:
    """Return what time it is for a guest now; the time that it stood still counts."""
    return state.time + max(time.monotonic_ns() - state.host_time, 0)


@contextlib.contextmanager
def _detached(outside: Outside, detached: bool) -> Iterator[None]:
    """Keep what a board does from the outside, for the length of the block: it has been done before."""
    images = [image for image in outside.disks if isinstance(image, Image)]
    removables = (*outside.discs, *outside.diskettes)
    images += [removable.image for removable in removables if removable.image is not None]
    for image in images:
        image.offline = detached
    outside.debug.muted = detached
    if outside.printout is not None:
        outside.printout.muted = detached
    try:
        yield
    finally:
        for image in images:
            image.offline = False
        outside.debug.muted = False
        if outside.printout is not None:
            outside.printout.muted = False


@contextlib.contextmanager
def _held(board: Machine) -> Iterator[None]:
    """Keep memory that outlives a board as it is, for the length of the block."""
    if isinstance(board, Saves):
        board.hold_memory(True)
    yield
    if isinstance(board, Saves):
        board.hold_memory(False)


@attrs.frozen
class _Watched:
    """What the monitor sees."""

    client: ControlClient
    board: Machine
    parts: frozenset[str]
    server: Server
    outside: Outside
    departure: Departure
    nursery: trio.Nursery
    prober: probe.Probe

    @property
    def upgrades(self) -> int:
        return self.outside.inheritance.upgrades

    @property
    def paused(self) -> bool:
        return self.prober.paused

    @property
    def memory(self) -> int:
        return sum(region.length for region in self.client.domain.ram)

    @property
    def consoles(self) -> list[str]:
        if "serial" not in self.parts:
            return []
        return [console.address or "" for console in self.outside.consoles]

    def upgrade(self) -> str:
        if not self.departure.upgrades:
            return "only a `devmodel serve` can be upgraded: this server is part of `devmodel run`"
        if self.server.keeper is None:
            return "neither this board nor the core keeps a state that could be handed over"
        if self.outside.trace is not None:
            return "a server that records a trace cannot be upgraded"
        self.nursery.start_soon(self._leave)
        return ""

    async def _leave(self) -> None:
        await trio.sleep(ANSWERED)
        await self.departure.leave(upgrade=True)

    @property
    def name(self) -> str:
        return self.client.domain.name

    def screen(self) -> Frame:
        return self.board.screen()

    def press(self, keys: list[str]) -> None:
        self.board.press(keys)

    def insert(self, drive: int, path: str, *, floppy: bool) -> None:
        if floppy:
            self._diskette(drive).insert(path)
        else:
            self._disc(drive).insert(path)

    def eject(self, drive: int, *, force: bool, floppy: bool) -> None:
        if floppy:
            self._diskette(drive).eject()
        else:
            self._disc(drive).eject(force=force)

    def _diskette(self, drive: int) -> Diskette:
        return _one_of(self.outside.diskettes, drive, "floppy")

    def _disc(self, drive: int) -> Disc:
        return _one_of(self.outside.discs, drive, "CD-ROM")

    async def send_break(self, port: int) -> None:
        consoles = self.outside.consoles
        if not 1 <= port <= len(consoles):
            raise DevmodelError(f"there is no serial port {port}; the last is {len(consoles)}")
        await consoles[port - 1].line.type([BREAK])

    def hold(self, keys: list[str], *, pressed: bool) -> None:
        self.board.hold(keys, pressed=pressed)

    def point(self, right: int, down: int, wheel: int) -> None:
        self.board.point(right, down, wheel)

    def click(self, button: str, *, pressed: bool) -> None:
        self.board.click(button, pressed=pressed)

    def press_power_button(self) -> bool:
        return self.board.press_power_button()

    def takes_mouse(self) -> bool:
        return self.board.takes_mouse()

    def check_keys(self, keys: list[str]) -> None:
        self.board.check_keys(keys)

    def takes_keys(self) -> bool:
        return self.board.takes_keys()

    async def probe(self, command: probe.Command) -> probe.Found:
        return await self.prober.perform(command)

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
