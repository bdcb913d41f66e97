"""A machine's outside: the images, ports and files that a configuration names, opened before anything starts.

Opening finds every mistake while nothing runs yet.
"""

import contextlib
import io
import ipaddress
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, Final, Self, TextIO

import attrs
import msgspec
import structlog
import trio

from devmodel import ConfigError
from devmodel.board.saved import Saved
from devmodel.config import Config, Disk, Floppy, Serial, qmp_address
from devmodel.consoles import clients
from devmodel.consoles.address import Address, parse_listening
from devmodel.consoles.clients import Clients
from devmodel.consoles.line import SerialLine
from devmodel.consoles.printout import Printout
from devmodel.consoles.pseudo import PseudoTerminal
from devmodel.consoles.recording import Recording
from devmodel.control.qmp import Door
from devmodel.devices.diskette import drive_for
from devmodel.disks.image import Elsewhere, Image, open_disk
from devmodel.disks.stores import SECTOR
from devmodel.disks.tray import Disc, Diskette
from devmodel.display import vnc
from devmodel.service import trace, upgrade
from devmodel.service.upgrade import Inheritance
from ioreq.lines import printable
from ioreq.streams import StandardError
from ioreq.user_input import create, open_regular

logger = structlog.get_logger()

MAX_ROM: Final = 1 << 20


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


async def close_listeners(far_end: Address, listeners: Sequence[trio.SocketListener], *, kept: bool) -> None:
    """Close them, and remove their Unix socket, unless it is `kept` for the program that we become."""
    for listener in listeners:
        if far_end.kind == "unix" and not kept:
            with contextlib.suppress(OSError):
                os.unlink(far_end.path)
        await listener.aclose()


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
        await close_listeners(self.far_end, self.listeners, kept=self.kept)
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
            check_web()
        return cls(far_end, upgrade.listeners_of(inherited) or await clients.listen(far_end, what), password)

    def address(self) -> str:
        """Return where it is, with the port that was chosen."""
        return found_at(self.far_end, self.listeners).removeprefix("tcp:")

    def warning(self) -> str:
        """Return who else may come, or nothing."""
        return warning_of(self.far_end, self.listeners)

    async def aclose(self) -> None:
        """Close what is not kept."""
        await close_listeners(self.far_end, self.listeners, kept=self.kept)


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
            check_web()
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


def check_web() -> None:
    """See whether there is what serves browsers.

    Raises:
        ConfigError: there is not.

    """
    try:
        from devmodel.web import server  # an extra: only who wants a page needs it
    except ImportError:
        raise ConfigError("web: the page needs h11 and wsproto: pip install 'devmodel[web]'") from None
    del server
