"""Serves a board to qtest clients, without a core: see `devmodel.qtest`.

One client at a time, as in QEMU; when it is gone the next one goes on with the same board. Where we are the client, as
QEMU is without `server=on`, its going is the end. Disks are read and written within the command that asks for it, so
that the same commands always have the same answers.
"""

from collections.abc import Callable
from typing import Final, Self

import attrs
import structlog
import trio

from devmodel import ConfigError, log
from devmodel.board.clock import ManualClock
from devmodel.board.pc import Board
from devmodel.control import sockets
from devmodel.disks.image import Image
from devmodel.qtest.machine import DEFAULT_MEMORY, LEAST_MEMORY, MOST_MEMORY, QtestCore
from devmodel.qtest.server import Lines, Qtest
from devmodel.service.fittings import build_for
from devmodel.service.outside import Outside
from ioreq import IoreqError
from ioreq.control import check_path
from ioreq.layout import PAGE_SIZE
from ioreq.messages import DomainInfo, E820Entry
from ioreq.user_input import size_in_bytes

logger = structlog.get_logger()

CHUNK: Final = 1 << 16
SETTINGS: Final = {
    "server=on": "server", "server=off": "client", "server": "server", "wait=on": "", "wait=off": "", "nowait": "",
}  # fmt: skip


@attrs.frozen
class Address:
    """Where the other end is: a Unix socket that we listen on, or connect to."""

    path: str
    listens: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Understand `unix:PATH` and what QEMU's chardev may have behind it; a comma in the path is doubled.

        Without `server=off` we listen, which is what a user at a prompt wants.

        Raises:
            ConfigError: it is something else.

        """
        kind, _, rest = text.partition(":")
        path, *settings = rest.replace(",,", "\0").split(",")
        path = path.replace("\0", ",")
        if kind != "unix" or not path:
            raise ConfigError(f"--qtest '{text}'; allowed: unix:PATH, and behind it {', '.join(SETTINGS)}")
        for setting in settings:
            if setting not in SETTINGS:
                raise ConfigError(f"--qtest '{text}': '{setting}'; allowed: {', '.join(SETTINGS)}")
        try:
            check_path(path)
        except IoreqError as error:
            raise ConfigError(f"--qtest '{path}': {error}") from error
        return cls(path, "client" not in {SETTINGS[setting] for setting in settings})


def memory_of(text: str | None) -> int:
    """Return how many bytes of RAM are wanted.

    Raises:
        ConfigError: that is no size, or none that can be.

    """
    if text is None:
        return DEFAULT_MEMORY
    size = size_in_bytes(text)
    if size is None or not LEAST_MEMORY <= size <= MOST_MEMORY or size % PAGE_SIZE:
        raise ConfigError(f'--memory "{text}"; allowed: whole pages from 1M to 64G, for example "128M"')
    return size


def make(outside: Outside, memory: int, extend: Callable[[Board], None] | None = None) -> Qtest:
    """Return what performs commands on the board of a configuration.

    Raises:
        ConfigError: two devices want the same addresses, or `extend` fails, or there is not so much memory.

    """
    try:
        core = QtestCore(memory)
    except OSError as error:
        raise ConfigError(f"--memory: {error.strerror}") from error
    removables = [drive.image for drive in (*outside.discs, *outside.diskettes)]
    for image in (*outside.disks, *removables):
        if isinstance(image, Image):
            image.immediate = True
    clock = ManualClock()
    info = DomainInfo(version=0, vcpus=1, ram=[], e820=[E820Entry(*entry) for entry in core.e820])
    board = build_for(outside, core, info, clock, extend or (lambda _: None))
    return Qtest(board, core, clock)


async def serve(outside: Outside, address: Address, qtest: Qtest) -> int:
    """Serve clients until the machine is switched off, and return its exit status.

    Raises:
        ConfigError: it cannot be listened there, or nobody is there.

    """
    if address.listens:
        listener = sockets.listen(address.path, "qtest", "somebody listens there already")
    else:
        stream = await _connect(address.path)
    status = 0
    try:
        async with trio.open_nursery() as nursery:
            await _begin(outside, qtest, nursery)
            if address.listens:
                log.say(f"devmodel: qtest on unix:{address.path}")
                while qtest.core.ended is None:
                    await _talk(qtest, await listener.accept())
            else:
                await _talk(qtest, stream)
            status = qtest.core.ended or 0
            nursery.cancel_scope.cancel()
    finally:
        if address.listens:
            listener.socket.close()
            sockets.remove(address.path)
    return status


async def _begin(outside: Outside, qtest: Qtest, nursery: trio.Nursery) -> None:
    """Start what runs beside the chips."""
    board = qtest.board
    for number, console in enumerate(outside.consoles):
        board.connect_serial(console.line, number)
        if console.clients is not None:
            nursery.start_soon(console.clients.serve, console.listeners)
    if outside.printout is not None:
        nursery.start_soon(outside.printout.run)
    for line in outside.addresses():
        log.say(line)
    for task in board.tasks:
        nursery.start_soon(task)


async def _connect(path: str) -> trio.SocketStream:
    try:
        return await trio.open_unix_socket(path)
    except OSError as error:
        raise ConfigError(f"cannot connect to {path} for qtest: {error.strerror or error}") from error


async def _talk(qtest: Qtest, stream: trio.SocketStream) -> None:
    """Answer one client until it goes, or the machine is switched off."""
    lines = Lines()
    sending = trio.Lock()
    spoken = trio.Event()
    qtest.opened()

    async def send() -> None:
        async with sending:
            while data := qtest.take():
                await stream.send_all(data)

    async def tell() -> None:
        """Send what nobody has asked for: interrupts that something else than a command has brought about."""
        nonlocal spoken
        while True:
            await spoken.wait()
            spoken = trio.Event()
            await send()

    qtest.spoke = lambda: spoken.set()  # noqa: PLW0108  (there is another one later)
    async with stream:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tell)
                try:
                    while qtest.core.ended is None and (data := await stream.receive_some(CHUNK)):
                        for line in lines.feed(bytes(data)):
                            for _ in qtest.perform(line):
                                await trio.lowlevel.checkpoint()
                            await send()
                            if qtest.core.ended is not None:
                                break
                except trio.BrokenResourceError:
                    logger.debug("qtest.client_gone")
                nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            logger.debug("qtest.client_gone")
        finally:
            qtest.spoke = lambda: None
