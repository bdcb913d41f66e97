r"""Whole machines in async tests: boot real firmware, type on its console, look at its screen.

    async def test_grub_sees_the_disk() -> None:
        async with Machine("--firmware", BIOS, "--disk", image, "--vendor", "svm") as machine:
            await machine.console.expect(b"grub>")
            await machine.console.type("ls\r")
            await machine.console.expect(b"(hd0)")
            assert "SeaBIOS" in await machine.screen()

A `Machine` is real processes, started as a user would, and ended with the block whatever happens. Every
wait is bounded; what does not come in time is a `NotSeen`, an AssertionError that shows what came instead.
It works under trio, with pytest-trio or without.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import trio

from devmodel import DevmodelError
from devmodel.cli import CORE_OPTIONS, CORE_SWITCHES, mouse_actions
from devmodel.config import host_port
from devmodel.service import monitor

SECONDS: Final = 60.0
"""How long to wait for something, where a test does not say."""
SHOWN: Final = 2000
"""Bytes of a console's end in a failure's message."""
_GRACE: Final = 3.0
_LISTENING: Final = re.compile(r"^devmodel: serial console on tcp:(\S+)$", re.MULTILINE)
_CORE_ALONE: Final = frozenset(f"--{name}" for name in (*CORE_OPTIONS, "servers"))

First: TypeAlias = Literal["core", "server"]


class NotSeen(AssertionError):  # noqa: N818  (it says what happened, as pytest shows it)
    """Something did not come in time; the message shows what did."""


class Console:
    """One client of a machine's serial console on TCP."""

    def __init__(self, stream: trio.SocketStream, why: Callable[[], str] = str) -> None:
        """`why` adds to a failure's message."""
        self._stream = stream
        self._why = why
        self._expected = 0
        self.output = bytearray()
        """Everything the guest has said to this client, as far as it was waited for."""

    @classmethod
    async def connect(cls, address: str, why: Callable[[], str] = str) -> Self:
        """Connect to HOST:PORT."""
        return cls(await trio.open_tcp_stream(*host_port(address)), why)

    async def expect(self, wanted: bytes | str, seconds: float = SECONDS) -> bytes:
        """Wait for `wanted`, and return what came up to its end since the last call.

        Raises:
            NotSeen: it did not come within `seconds`, or the machine hung up before.

        """
        wanted = wanted.encode() if isinstance(wanted, str) else wanted
        ended = f"did not come in {seconds:g} s"
        with trio.move_on_after(seconds):
            while wanted not in self.output[self._expected :]:
                if not await self._receive():
                    ended = "never came, the machine hung up"
                    break
        at = self.output.find(wanted, self._expected)
        if at < 0:
            tail = bytes(self.output[-SHOWN:]).decode(errors="replace")
            raise NotSeen(f"{wanted!r} {ended}; the console's end:\n{tail}\n{self._why()}")
        start, self._expected = self._expected, at + len(wanted)
        return bytes(self.output[start : self._expected])

    async def type(self, text: bytes | str) -> None:
        """Type on the serial line; the Return key is a carriage return."""
        await self._stream.send_all(text.encode() if isinstance(text, str) else text)

    async def end(self, seconds: float = SECONDS) -> bytes:
        """Wait until the machine hangs up, and return what came since the last `expect`."""
        with _bounded(seconds, lambda: f"the machine did not hang up in {seconds:g} s\n{self._why()}"):
            while await self._receive():
                pass
        start, self._expected = self._expected, len(self.output)
        return bytes(self.output[start:])

    async def aclose(self) -> None:
        """Hang up."""
        await trio.aclose_forcefully(self._stream)

    async def _receive(self) -> bool:
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:
            return False
        self.output += data
        return bool(data)


class Machine:
    """One guest in real processes; an async context manager.

    The arguments are those of `devmodel run`, without a serial console: it is on a free port of 127.0.0.1,
    and `console` is a client of it. With `apart`, core and device models are started by hand
    (`hvcore run`, `devmodel serve`), the one it names first.
    """

    console: Console

    def __init__(self, *arguments: str | os.PathLike[str], apart: First | None = None) -> None:
        self.arguments = [os.fspath(argument) for argument in arguments]
        self.apart = apart
        self.server: trio.Process | None = None
        """`devmodel run`, or `devmodel serve`."""
        self.core: trio.Process | None = None
        """`hvcore run`, if it was started apart."""
        self._folder = ""
        self._started: list[trio.Process] = []
        self._consoles: list[Console] = []

    @property
    def domain(self) -> str:
        """The path of the domain socket."""
        return os.path.join(self._folder, "domain")

    @property
    def address(self) -> str:
        """Where the serial console listens, HOST:PORT; of the server started last."""
        found = _LISTENING.findall(self.said())
        if not found:
            raise NotSeen(f"no serial console yet\n{self.said()}")
        return str(found[-1])

    def said(self) -> str:
        """Return what the processes said on standard output and standard error."""
        with open(os.path.join(self._folder, "said"), encoding="utf-8", errors="replace") as file:
            return file.read()

    async def __aenter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="devmodel-test-")
        try:
            if self.apart == "core":
                await self.start_core()
            await self.start_server()
            if self.apart == "server":
                await self.start_core()
            self.console = await self.connect()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def start_core(self) -> None:
        """Start `hvcore run`, and wait until its socket is there."""
        core, _ = self._split()
        self.core = await self._start("hvcore", "run", *core, "--domain", self.domain)
        await self._until(lambda: os.path.exists(self.domain), self.core, "a domain socket")

    async def start_server(self) -> None:
        """Start `devmodel run`, or `serve` if apart, and wait until its console listens."""
        arguments = self._split()[1] if self.apart else self.arguments
        command = "serve" if self.apart else "run"
        before = len(_LISTENING.findall(self.said())) if self._started else 0
        self.server = await self._start(
            "devmodel", command, "--serial", "tcp:127.0.0.1:0", *arguments, "--domain", self.domain
        )
        await self._until(
            lambda: len(_LISTENING.findall(self.said())) > before, self.server, "a serial console"
        )

    async def start_another(self, *arguments: str | os.PathLike[str]) -> trio.Process:
        """Start one more `devmodel serve` of this machine, with arguments of its own (`--only`), and do not wait."""
        own = [os.fspath(argument) for argument in arguments]
        return await self._start("devmodel", "serve", *own, "--domain", self.domain)

    def address_of(self, port: int) -> str:
        """Where a serial port listens, HOST:PORT, the first being 1; each more is a `--serial` in the arguments."""
        if port == 1:
            return self.address
        found = re.findall(rf"^devmodel: serial port {port} on tcp:(\S+)$", self.said(), re.MULTILINE)
        if not found:
            raise NotSeen(f"no serial port {port}\n{self.said()}")
        return str(found[-1])

    async def connect(self, port: int = 1) -> Console:
        """Connect one more client to the serial console, or to another serial port."""
        console = await Console.connect(self.address_of(port), self.said)
        self._consoles.append(console)
        return console

    async def screen(self) -> str:
        """Return the VGA text screen as lines of text.

        Raises:
            DevmodelError: it is in a graphics mode, or the machine does not answer.

        """
        return (await self._ask(monitor.Screen())).text

    async def png(self) -> bytes:
        """Return a picture of the VGA text screen."""
        return monitor.png_of(await self._ask(monitor.Screen(png=True)))

    async def key(self, *keys: str, hold: int = 0) -> None:
        """Type keys as fast as the guest takes them, by the names of `devmodel key`, each held for `hold` ms.

        Raises:
            DevmodelError: a name is no key's (then none is typed), or the guest does not take them.

        """
        await trio.to_thread.run_sync(monitor.type_keys, self.domain, list(keys), hold)

    async def mouse(self, *actions: str) -> None:
        """Move and click the mouse, by the words of `devmodel mouse`: `mouse("move", "10", "-5", "click", "left")`.

        Raises:
            DevmodelError: they are others, or the guest does not listen to its mouse.

        """
        await trio.to_thread.run_sync(monitor.use_mouse, self.domain, mouse_actions(actions))

    async def insert(self, image: str | os.PathLike[str], *, drive: int = 0, floppy: bool = False) -> None:
        """Put an image into a CD-ROM drive, or into a floppy drive.

        Raises:
            DevmodelError: it cannot be used, or there is no such drive.

        """
        path = os.path.abspath(image)  # noqa: ASYNC240  (it looks at nothing but the working directory)
        await self._ask(monitor.Insert(path=path, drive=drive, floppy=floppy))

    async def eject(self, *, drive: int = 0, force: bool = False, floppy: bool = False) -> None:
        """Take the disc out of a CD-ROM drive, or of a floppy drive.

        Raises:
            DevmodelError: there is no such drive, or the guest has locked it.

        """
        await self._ask(monitor.Eject(drive=drive, force=force, floppy=floppy))

    async def shows(self, wanted: str, seconds: float = SECONDS) -> str:
        """Wait until `wanted` stands on the screen, and return the screen."""
        screen = ""
        with _bounded(
            seconds, lambda: f"{wanted!r} not on the screen in {seconds:g} s:\n{screen}\n{self.said()}"
        ):
            while wanted not in screen:
                with contextlib.suppress(DevmodelError):  # there is none yet
                    screen = await self.screen()
                await trio.sleep(0.05)
        return screen

    async def wait(self, seconds: float = SECONDS) -> int:
        """Wait for the machine's end, and return the exit status of `server`."""
        with _bounded(seconds, lambda: f"the machine did not end in {seconds:g} s\n{self.said()}"):
            assert self.server is not None
            status = await self.server.wait()
            if self.core is not None:
                await self.core.wait()
        return status

    async def _ask(self, command: monitor.Command) -> monitor.Answer:
        return await trio.to_thread.run_sync(monitor.ask, self.domain, command)

    def _split(self) -> tuple[list[str], list[str]]:
        """Return what of the arguments is for `hvcore run`, and what for `devmodel serve`."""
        core: list[str] = []
        server: list[str] = []
        arguments = iter(self.arguments)
        for argument in arguments:
            name, equals, _ = argument.partition("=")
            if not argument.startswith("-"):  # the machine description is for both
                core.append(argument)
                server.append(argument)
            elif name.removeprefix("--") in CORE_SWITCHES:
                core.append(argument)
            else:
                core_alone = name in _CORE_ALONE
                (core if core_alone else server).extend([argument] if equals else [argument, next(arguments)])
        return core, server

    async def _start(self, module: str, *arguments: str) -> trio.Process:
        with open(os.path.join(self._folder, "said"), "ab") as said:  # noqa: ASYNC230  (a small local file)
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        self._started.append(process)
        return process

    async def _until(self, there: Callable[[], bool], process: trio.Process, what: str) -> None:
        with _bounded(SECONDS, lambda: f"{what} did not come in {SECONDS:g} s\n{self.said()}"):
            while not there():
                if process.poll() is not None:
                    raise NotSeen(f"exit status {process.returncode} before {what} came\n{self.said()}")
                await trio.sleep(0.01)

    async def _end(self) -> None:
        """End what still runs, and leave nothing behind."""
        with trio.CancelScope(shield=True):
            for console in self._consoles:
                await console.aclose()
            for process in self._started:
                if process.poll() is None:
                    process.terminate()
            with trio.move_on_after(_GRACE):
                for process in self._started:
                    await process.wait()
            for process in self._started:
                if process.poll() is None:
                    process.kill()
                await process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _bounded(seconds: float, message: Callable[[], str]) -> Iterator[None]:
    """Bound the block's time; a NotSeen if that is not enough."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise NotSeen(message())
