"""`devmodel run`: one guest, its core as a child process, its device models and its console here."""

import contextlib
import fcntl
import glob
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

import trio

from devmodel import ConfigError, DevmodelError, log
from devmodel.config import Config
from devmodel.consoles.terminal import LEAVING, TerminalConsole, raw
from devmodel.control import sockets
from devmodel.service.outside import Outside, opened
from devmodel.service.session import PROGRAM, BoardFactory, serve
from ioreq import DomainGone, IoreqError
from ioreq.control_client import ControlClient, connect
from ioreq.messages import Shutdown
from ioreq.user_input import ending_signals

COMMAND: Final = [sys.executable, "-m", "hvcore", "run"]
SERVE: Final = [sys.executable, "-m", "devmodel", "serve"]
GRACE: Final = 0.6
"""Seconds that the core gets to end when it is asked to."""
FINISH: Final = 30.0
"""Seconds that it gets to end by itself, when its domain has ended."""
YOUNG: Final = 10.0
"""Seconds in which whoever made a directory gets to hold it."""
FAILED: Final = 1
BAD_INPUT: Final = 2


@contextlib.contextmanager
def domain_socket(path: str | None) -> Iterator[str]:
    """Give the path of the domain socket: the user's, or one in a private directory of this block."""
    if path is not None:
        yield path
        return
    reap()
    with tempfile.TemporaryDirectory(
        prefix=sockets.PREFIX, dir=sockets.temporary(), ignore_cleanup_errors=True
    ) as folder:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # as long as we live
            yield os.path.join(folder, "domain")
        finally:
            os.close(fd)


def reap() -> None:
    """Remove the directories of those who were killed: nobody holds them any more."""
    pattern = os.path.join(glob.escape(sockets.temporary()), sockets.PREFIX + "*")
    for folder in glob.glob(pattern):
        with contextlib.suppress(OSError):
            status = os.lstat(folder)
            if (
                not stat.S_ISDIR(status.st_mode)
                or status.st_uid != os.getuid()
                or status.st_mtime > time.time() - YOUNG
            ):
                continue
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)


class Core:
    """The core's process, and its lifeline: a pipe that only we hold open, so that it ends when we are killed."""

    def __init__(self, process: trio.Process, lifeline: int) -> None:
        self.process = process
        self._lifeline = lifeline

    @classmethod
    async def start(cls, arguments: Sequence[str]) -> "Core":
        """Start `hvcore run`, in a process group of its own: we end it, no terminal does."""
        theirs, ours = os.pipe()
        try:
            process = await trio.lowlevel.open_process(
                [*COMMAND, *arguments, "--lifeline", str(theirs)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,
                pass_fds=[theirs],
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(process, ours)

    async def relay(self) -> None:
        """Pass on what it says on standard error, with the line ends of our terminal, until it ends."""
        assert self.process.stderr is not None
        pending = b""
        async for data in self.process.stderr:
            lines, end, pending = (pending + bytes(data)).rpartition(b"\n")
            log.relay(lines + end)  # whole lines: ours stand between them
        log.relay(pending)

    async def connect(self, path: str) -> ControlClient | None:
        """Connect as soon as its socket is there; None if it ends before that."""
        while True:
            try:
                return await connect(path, program=PROGRAM)
            except DomainGone:
                if self.process.poll() is not None:
                    return None
            await trio.sleep(0.01)

    async def finish(self, seconds: float = GRACE) -> int:
        """Give it time to end by itself; return its exit status as a shell would."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(seconds):
                await self.process.wait()
        return await self.stop()

    async def stop(self) -> int:
        """Bring about its end, if it has not ended; return its exit status as a shell would."""
        with trio.CancelScope(shield=True):
            if self.process.returncode is None:
                self.process.terminate()
                with trio.move_on_after(GRACE):
                    await self.process.wait()
            if self.process.returncode is None:
                self.process.kill()
            status = await self.process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return status if status >= 0 else 128 - status


class ServerFailed(DevmodelError):  # noqa: N818  (reads better where it is caught)
    """A server apart ended before its machine did; it has said why itself. `status` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a server apart ended with exit status {status}")
        self.status = status


async def serve_apart(arguments: Sequence[str]) -> None:
    """Run `devmodel serve` beside us, and pass on what it says, until it is cancelled.

    Raises:
        ServerFailed: it ended, and the machine it is part of did not.

    """
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [*SERVE, *arguments],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
                process_group=0,
            )
        )
        assert process.stderr is not None
        async for data in process.stderr:
            log.relay(bytes(data))
        status = await process.wait()
    await trio.sleep(GRACE)  # the domain may be at its end, which we hear of as well
    raise ServerFailed(status if status >= 0 else 128 - status)


async def run(
    config: Config,
    core_arguments: Sequence[str],
    board_factory: BoardFactory,
    *,
    domain: str | None = None,
    apart: Sequence[Sequence[str]] = (),
) -> int:
    """Run one guest to its end and return the exit status.

    Each of `apart` is what a server apart is told on its command line.

    Raises:
        ConfigError: before anything starts.

    """
    _spare_inputs(config)
    async with opened(config) as outside:
        with domain_socket(domain) as path:
            core = await Core.start([*core_arguments, "--domain", path])
            try:
                servers = [[*arguments, "--domain", path] for arguments in apart]
                return await _run(core, path, outside, board_factory, servers)
            finally:
                await core.stop()


def _spare_inputs(config: Config) -> None:
    """Refuse to write over what the core is to read, which nobody has open yet."""
    outputs = {
        "trace": config.trace,
        "debug console": None if config.debug.console in {"log", "stderr"} else config.debug.console,
        "parallel": None if config.parallel is None else config.parallel.path,
    }
    for number, port in enumerate(config.serials, 1):
        far_end = port.far_end()
        outputs[f"serial port {number}"] = far_end.path if far_end.kind == "file" else None
    for what, output in outputs.items():
        for given in config.inputs:
            with contextlib.suppress(OSError, ValueError):  # what is not there is no file that anybody reads
                if output is not None and os.path.samefile(output, given):
                    raise ConfigError(f"{what} {output}: the guest is started from that file")


async def _run(
    core: Core, path: str, outside: Outside, board_factory: BoardFactory, servers: Sequence[Sequence[str]]
) -> int:
    """Join core, chips and console; whoever ends first ends all."""
    failure: IoreqError | DevmodelError | None = None
    shutdown: Shutdown | None = None
    left: int | None = None  # the exit status, if we end before the core does
    async with trio.open_nursery() as relaying:
        relaying.start_soon(core.relay)
        with trio.open_signal_receiver(*ending_signals()) as signals:
            async with trio.open_nursery() as nursery:
                scope = nursery.cancel_scope

                async def on_signal() -> None:
                    nonlocal left
                    async for number in signals:
                        left = 128 + number
                        # First: to a core that goes on we would be a server that died.
                        await core.stop()
                        scope.cancel()

                async def on_terminal(console: TerminalConsole) -> None:
                    nonlocal left
                    if await console.run():
                        left = 0
                        await core.stop()
                        scope.cancel()

                async def on_server(arguments: Sequence[str]) -> None:
                    nonlocal left
                    try:
                        await serve_apart(arguments)
                    except ServerFailed as error:
                        log.say(f"devmodel: {error}")
                        left = error.status or FAILED
                        # First: to a core that goes on we would be one more server that died.
                        await core.stop()
                        scope.cancel()

                nursery.start_soon(on_signal)
                client = None
                try:
                    client = await core.connect(path)
                except IoreqError as error:
                    failure = error
                if client is not None:
                    with contextlib.closing(client), contextlib.ExitStack() as stack:
                        for arguments in servers:
                            nursery.start_soon(on_server, arguments)
                        for line in outside.addresses():  # of what is here; servers apart say where theirs is
                            log.say(line)
                        serial = outside.terminal if "serial" in outside.config.parts else None
                        if serial is not None:
                            if os.isatty(0):
                                log.say(f"devmodel: serial console on this terminal; {LEAVING} leaves")
                            stack.enter_context(raw(0, signals=True))
                            nursery.start_soon(on_terminal, TerminalConsole(serial))
                        try:
                            shutdown = await serve(outside, client, board_factory)
                        except (IoreqError, DevmodelError) as error:
                            failure = error  # not out of the nursery, which would wrap it
                        scope.cancel()
                scope.cancel()
        gone = failure is None or isinstance(failure, DomainGone)
        if left is not None or not gone:
            status = await core.stop()
        else:
            status = await core.finish(GRACE if shutdown is None else FINISH)
    if left is not None:
        return left
    if shutdown is not None:
        return shutdown.code  # the guest's own, however its core went
    if failure is not None and (not gone or status == 0):
        raise failure
    return status


async def _nothing() -> None:
    """Leave nothing behind."""


async def until_signal(
    work: Callable[[], Awaitable[int]], leave: Callable[[], Awaitable[None]] = _nothing
) -> int:
    """Do the work; on SIGINT and SIGTERM `leave` and end, on a second one at once, with a shell's status for that."""
    status = FAILED
    killed: int | None = None
    failure: DevmodelError | IoreqError | None = None
    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal killed
                async for number in signals:
                    if killed is not None:
                        nursery.cancel_scope.cancel()
                    killed = 128 + number
                    nursery.start_soon(go)

            async def go() -> None:
                await leave()
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            try:
                status = await work()
            except (DevmodelError, IoreqError) as error:
                failure = error  # not out of the nursery, which would wrap it
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return status if killed is None else killed
