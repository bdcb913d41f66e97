"""`devmodel upgrade`: a server that becomes the program that is installed now, under its running guest.

The chips' state goes to the core (`Server.hand_over`). What the outside has goes through the exec by descriptors that
stay open: the console's port and its clients, the screen's port and its viewers, the port of browsers (which come
again), what lies in CD-ROM drives, and scratch disks, which have no name by which they could be opened again. A memory
object says which is which; the environment says where that is.
"""

import os
import socket
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec
import trio

from devmodel import DevmodelError
from devmodel.consoles.clients import Clients, Left
from devmodel.consoles.line import SerialLine
from devmodel.consoles.pseudo import PseudoTerminal
from devmodel.consoles.recording import Recording
from devmodel.consoles.telnet import State, Telnet
from devmodel.disks.image import Image
from devmodel.display.vnc import Agreed

VARIABLE: Final = "DEVMODEL_UPGRADE"
"""Names the descriptor of the memory object."""
PATIENCE: Final = 15.0
"""Seconds that a server may take to be there again."""


class Client(msgspec.Struct):
    """A console's client: its socket, how far it has seen the transcript, and what has been agreed on by telnet."""

    fd: int
    position: int
    telnet: list[tuple[int, int, State]] | None = None
    unsent: bytes = b""
    """What is still to be sent of what was before that position."""


class Viewer(msgspec.Struct):
    """A viewer of the screen: its socket, and what has been agreed on with it."""

    fd: int
    agreed: Agreed


class Console(msgspec.Struct):
    """A serial port's console: where it listens, its clients, what the guest has said, what it has not yet taken."""

    listeners: list[int] = []
    clients: list[Client] = []
    transcript: bytes = b""
    transcript_end: int = 0
    untyped: list[int] = []
    pty: int | None = None
    """Our end of a pseudo-terminal."""
    pty_position: int | None = None
    pty_unsent: bytes = b""
    recorded: int = 0
    """How much of the transcript is in a file."""


class Inheritance(Console):
    """What a server has from the one that it was; the console is the first serial port's."""

    upgrades: int = 0
    paused: bool = False
    """It held the vCPUs, by the monitor's `stop`."""
    more_consoles: list[Console] = []
    """Of COM2 to COM4."""
    scratch: dict[int, int] = {}
    """By the number of the disk: its descriptor."""
    discs: list[tuple[str | None, int | None]] = []
    """What lies in each tray, which need not be what the configuration says: path and descriptor."""
    diskettes: list[tuple[str, str | None, int | None]] = []
    """The model of each floppy drive, and what lies in it."""
    vnc_listeners: list[int] = []
    viewers: list[Viewer] = []
    web_listeners: list[int] = []
    web_secret: str = ""
    """What browsers show that have said the password."""


def collect(
    upgrades: int,
    paused: bool,
    consoles: Sequence[Console],
    disks: dict[int, Image],
    discs: list[Image | None],
    diskettes: list[tuple[str, Image | None]],
    vnc_listeners: Sequence[trio.SocketListener],
    viewers: Sequence[tuple[trio.SocketStream, Agreed]],
    web_listeners: Sequence[trio.SocketListener],
    web_secret: str,
) -> Inheritance:
    """Take what is to be kept of a server's outside: descriptors are duplicated, so that it may be closed."""
    first, *more = consoles
    return Inheritance(
        **msgspec.structs.asdict(first),
        upgrades=upgrades + 1,
        paused=paused,
        more_consoles=more,
        scratch={number: _kept(image.fd) for number, image in disks.items()},
        discs=[_removable(image) for image in discs],
        diskettes=[(model, *_removable(image)) for model, image in diskettes],
        vnc_listeners=[_kept(listener.socket.fileno()) for listener in vnc_listeners],
        viewers=[Viewer(_kept(stream.socket.fileno()), agreed) for stream, agreed in viewers],
        web_listeners=[_kept(listener.socket.fileno()) for listener in web_listeners],
        web_secret=web_secret,
    )


def console_of(
    line: SerialLine,
    listeners: list[trio.SocketListener],
    console: Clients | None,
    pseudo: PseudoTerminal | None,
    recording: Recording | None,
) -> Console:
    """Take what is to be kept of a serial port's console."""
    left = [] if console is None else console.leave()
    at_terminal = next((one for one in left if isinstance(one.stream, trio.lowlevel.FdStream)), None)
    transcript, end = line.transcript.read(0, line.transcript.end)
    return Console(
        listeners=[_kept(listener.socket.fileno()) for listener in listeners],
        clients=[
            Client(
                _kept(one.stream.socket.fileno()),
                one.position,
                None if one.telnet is None else one.telnet.spoken(),
                one.unsent,
            )
            for one in left
            if isinstance(one.stream, trio.SocketStream)
        ],
        transcript=transcript,
        transcript_end=end,
        untyped=line.untyped(),
        pty=None if pseudo is None else _kept(pseudo.fd),
        pty_position=None if at_terminal is None else at_terminal.position,
        pty_unsent=b"" if at_terminal is None else at_terminal.unsent,
        recorded=0 if recording is None else recording.written,
    )


def _removable(image: Image | None) -> tuple[str | None, int | None]:
    return (None, None) if image is None else (image.name, _kept(image.fd))


def execute(inheritance: Inheritance) -> NoReturn:
    """Become the program anew.

    Raises:
        DevmodelError: it cannot be started.

    """
    fd = os.memfd_create("devmodel-upgrade")
    os.write(fd, msgspec.msgpack.encode(inheritance))
    os.lseek(fd, 0, os.SEEK_SET)
    os.set_inheritable(fd, True)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(  # noqa: S606  (ourselves)
            sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {VARIABLE: str(fd)}
        )
    except OSError as error:
        raise DevmodelError(f"cannot start {sys.executable}: {error.strerror or error}") from error


def inherited() -> Inheritance:
    """Return what there is from the server that this process was; its descriptors are ours, once."""
    text = os.environ.pop(VARIABLE, "")
    if not text:
        return Inheritance()
    with os.fdopen(int(text), "rb") as file:
        inheritance = msgspec.msgpack.decode(file.read(), type=Inheritance)
    for console in (inheritance, *inheritance.more_consoles):
        pty = () if console.pty is None else (console.pty,)
        for fd in (*console.listeners, *pty, *(client.fd for client in console.clients)):
            os.set_inheritable(fd, False)
    removables = [*(fd for _, fd in inheritance.discs), *(fd for _, _, fd in inheritance.diskettes)]
    ports = [*inheritance.vnc_listeners, *inheritance.web_listeners]
    ports += [viewer.fd for viewer in inheritance.viewers]
    for fd in [*ports, *inheritance.scratch.values(), *(fd for fd in removables if fd is not None)]:
        os.set_inheritable(fd, False)
    return inheritance


def consoles_of(inheritance: Inheritance, count: int) -> list[Console]:
    """Return what is inherited of each of `count` consoles."""
    return [inheritance, *inheritance.more_consoles, *[Console() for _ in range(count)]][:count]


def listeners_of(descriptors: Sequence[int]) -> list[trio.SocketListener]:
    """Return the listeners that these are."""
    return [
        trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=fd))) for fd in descriptors
    ]


def clients_of(inherited: Console) -> list[Left]:
    """Return the console's clients."""
    return [
        Left(
            trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=client.fd))),
            None if client.telnet is None else Telnet.speaking(client.telnet),
            client.position,
            client.unsent,
        )
        for client in inherited.clients
    ]


def viewers_of(inheritance: Inheritance) -> list[tuple[trio.SocketStream, Agreed]]:
    """Return the viewers of the screen, with what has been agreed on with them."""
    return [
        (
            trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=viewer.fd))),
            viewer.agreed,
        )
        for viewer in inheritance.viewers
    ]


def _kept(fd: int) -> int:
    copy = os.dup(fd)
    os.set_inheritable(copy, True)
    return copy
