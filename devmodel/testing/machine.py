r"""Whole machines in async tests: boot real firmware, type on its console, look at its screen.

    async def test_grub_sees_the_disk() -> None:
        async with Machine(firmware=BIOS, disks=[image], vendor="svm") as machine:
            await machine.console.expect("grub>")
            await machine.console.type("ls\r")
            await machine.console.expect("(hd0)")
            assert "SeaBIOS" in await machine.screen()

A `Machine` is real processes, started as a user would, and ended with the block whatever happens. Every
wait is bounded; what does not come in time is a `NotSeen`, an AssertionError that shows what came instead.
It works under trio and asyncio, with any of their plugins for pytest or none, and belongs to no event loop: tests that
have a loop each may share one.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import IO, Any, Final, Literal, Self, TypeAlias, Unpack

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from devmodel import DevmodelError
from devmodel.cli import CORE_SWITCHES
from devmodel.commands import mouse_actions
from devmodel.control import asking, messages, probe
from devmodel.testing.console import FATAL, SECONDS, Console, NotSeen, Result
from devmodel.testing.options import CORE_ALONE, MachineOptions, Path, arguments_of
from devmodel.testing.process import Process
from ioreq.messages import SegmentRegister, VcpuContext

_GRACE: Final = 3.0
_LISTENING: Final = re.compile(r"^devmodel: serial console on tcp:(\S+)$", re.MULTILINE)
_CORE_ALONE: Final = frozenset(f"--{name}" for name in CORE_ALONE)
_SECTOR: Final = 512

GENERAL: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
First: TypeAlias = Literal["core", "server"]


@attrs.frozen
class Registers:
    """A vCPU's registers. Segments have selector, base, limit and attributes (SDM vol. 3 table 25-2)."""

    eax: int
    ecx: int
    edx: int
    ebx: int
    esp: int
    ebp: int
    esi: int
    edi: int
    eip: int
    eflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    es: SegmentRegister
    cs: SegmentRegister
    ss: SegmentRegister
    ds: SegmentRegister
    fs: SegmentRegister
    gs: SegmentRegister
    ldtr: SegmentRegister
    tr: SegmentRegister
    gdtr: tuple[int, int]
    """Base and limit."""
    idtr: tuple[int, int]
    halted: bool

    @classmethod
    def of(cls, context: VcpuContext) -> Self:
        """Return them by their names."""
        named: dict[str, Any] = dict(zip(GENERAL, context.gpr, strict=False))
        named |= zip(SEGMENTS, context.segments, strict=True)
        return cls(
            **named,
            eip=context.rip,
            eflags=context.rflags,
            cr0=context.cr0,
            cr2=context.cr2,
            cr3=context.cr3,
            cr4=context.cr4,
            efer=context.efer,
            gdtr=context.gdtr,
            idtr=context.idtr,
            halted=context.halted,
        )


class Machine:
    """One guest in real processes; an async context manager.

    The keyword arguments are those of `MachineOptions`, the positional ones what `devmodel run` takes as well, but for
    a serial console: it is on a free port of 127.0.0.1, and `console` is a client of it. With `apart`, core and device
    models are started by hand (`hvcore run`, `devmodel serve`), the one it names first.
    """

    console: Console
    watch: "Callable[[Machine, bool], None]" = lambda _machine, _begins: None
    """Hears of each machine that begins (True), or ends, while its files are still there; pytest's plugin does."""

    def __init__(
        self, *arguments: Path, apart: First | None = None, **options: Unpack[MachineOptions]
    ) -> None:
        """Say what it is to be; nothing starts before the block.

        Raises:
            TypeError: there is no such option.
            ConfigError: `board` cannot be found by another process.

        """
        self.options = options
        self.arguments = [*arguments_of(options), *(os.fspath(argument) for argument in arguments)]
        self.apart = apart
        self.server: Process | None = None
        """`devmodel run`, or `devmodel serve`."""
        self.core: Process | None = None
        """`hvcore run`, if it was started apart."""
        self.ended = False
        """It was closed."""
        self.last_screen: str | None = None
        """What stood on its screen when its block ended in an exception."""
        self._folder = ""
        self._said = ""
        self._started: list[Process] = []
        self._consoles: list[Console] = []

    @property
    def domain(self) -> str:
        """The path of the domain socket."""
        return os.path.join(self._folder, "domain")

    @property
    def trace(self) -> str | None:
        """The path of the trace, if there is one: for `devmodel trace`, and gone when the machine is closed."""
        return os.path.join(self._folder, "requests.trace") if self.options.get("trace") else None

    @property
    def address(self) -> str:
        """Where the serial console listens, HOST:PORT; of the server started last."""
        found = _LISTENING.findall(self.said())
        if not found:
            raise NotSeen(f"no serial console yet\n{self.said()}")
        return str(found[-1])

    @property
    def running(self) -> bool:
        """Whether the process that serves it has been started and has not ended."""
        return not self.ended and self.server is not None and self.server.poll() is None

    def said(self) -> str:
        """Return what the processes said on standard output and standard error."""
        if self.ended:
            return self._said
        with open(os.path.join(self._folder, "said"), encoding="utf-8", errors="replace") as file:
            return file.read()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(value, Exception) and self.running:
            with anyio.CancelScope(shield=True), contextlib.suppress(DevmodelError):
                self.last_screen = await self.screen()
        await self._end()

    async def start(self) -> None:
        """Start it; `close` ends it. A block does both.

        Raises:
            NotSeen: it ends before its console is there; the message is what it said.

        """
        self._folder = tempfile.mkdtemp(prefix="devmodel-test-")
        self._said_file().close()
        try:
            type(self).watch(self, True)
            if self.apart == "core":
                await self.start_core()
            await self.start_server()
            if self.apart == "server":
                await self.start_core()
            self.console = await self.connect()
        except BaseException:
            await self._end()
            raise

    def close(self) -> None:
        """End it, and leave nothing behind. Blocks for a moment."""
        self._ask_to_end()
        for process in self._started:
            process.finish(_GRACE)
        self._remove()

    async def start_core(self) -> None:
        """Start `hvcore run`, and wait until its socket is there."""
        core, _ = self._split()
        self.core = self._start("hvcore", "run", *core, "--domain", self.domain)
        await self._until(lambda: os.path.exists(self.domain), self.core, "a domain socket")

    async def start_server(self) -> None:
        """Start `devmodel run`, or `serve` if apart, and wait until its console listens."""
        arguments = self._split()[1] if self.apart else self.arguments
        command = "serve" if self.apart else "run"
        if self.trace is not None:
            arguments = [*arguments, f"--trace={self.trace}"]
        before = len(_LISTENING.findall(self.said())) if self._started else 0
        console = ["--serial", "tcp:127.0.0.1:0", "--serial-wait"]  # or a short guest's first words are lost
        self.server = self._start("devmodel", command, *console, *arguments, "--domain", self.domain)
        await self._until(
            lambda: len(_LISTENING.findall(self.said())) > before, self.server, "a serial console"
        )

    async def start_another(self, *arguments: Path) -> Process:
        """Start one more `devmodel serve` of this machine, with arguments of its own (`--only`), and do not wait."""
        own = [os.fspath(argument) for argument in arguments]
        await anyio.lowlevel.checkpoint()
        return self._start("devmodel", "serve", *own, "--domain", self.domain)

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
        console = await Console.connect(
            self.address_of(port), self.said, fatal=self.options.get("fatal", FATAL)
        )
        self._consoles.append(console)
        return console

    async def run(self, command: str, seconds: float = SECONDS) -> Result:
        """Run a command in the shell on the serial console: see `Console.run`."""
        return await self.console.run(command, seconds)

    # -- screen, keyboard, discs --------------------------------------------------------------------------

    async def screen(self) -> str:
        """Return the VGA text screen as lines of text.

        Raises:
            DevmodelError: it is in a graphics mode, or the machine does not answer.

        """
        return (await self._ask(messages.Screen())).text

    async def png(self) -> bytes:
        """Return a picture of the VGA text screen."""
        return asking.png_of(await self._ask(messages.Screen(png=True)))

    async def key(self, *keys: str, hold: int = 0) -> None:
        """Type keys as fast as the guest takes them, by the names of `devmodel key`, each held for `hold` ms.

        Raises:
            DevmodelError: a name is no key's (then none is typed), or the guest does not take them.

        """
        await anyio.to_thread.run_sync(asking.type_keys, self.domain, list(keys), hold)

    async def mouse(self, *actions: str) -> None:
        """Move and click the mouse, by the words of `devmodel mouse`: `mouse("move", "10", "-5", "click", "left")`.

        Raises:
            DevmodelError: they are others, or the guest does not listen to its mouse.

        """
        await anyio.to_thread.run_sync(asking.use_mouse, self.domain, mouse_actions(actions))

    async def insert(self, image: Path, *, drive: int = 0, floppy: bool = False) -> None:
        """Put an image into a CD-ROM drive, or into a floppy drive.

        Raises:
            DevmodelError: it cannot be used, or there is no such drive.

        """
        path = os.path.abspath(image)  # noqa: ASYNC240  (it looks at nothing but the working directory)
        await self._ask(messages.Insert(path=path, drive=drive, floppy=floppy))

    async def eject(self, *, drive: int = 0, force: bool = False, floppy: bool = False) -> None:
        """Take the disc out of a CD-ROM drive, or of a floppy drive.

        Raises:
            DevmodelError: there is no such drive, or the guest has locked it.

        """
        await self._ask(messages.Eject(drive=drive, force=force, floppy=floppy))

    async def shows(self, wanted: str, seconds: float = SECONDS) -> str:
        """Wait until `wanted` stands on the screen, and return the screen.

        Raises:
            NotSeen: it did not within `seconds`.

        """
        screen = ""
        with _bounded(
            seconds, lambda: f"{wanted!r} not on the screen in {seconds:g} s:\n{screen}\n{self.said()}"
        ):
            while wanted not in screen:
                with contextlib.suppress(DevmodelError):  # there is none yet
                    screen = await self.screen()
                await anyio.sleep(0.05)
        return screen

    # -- inside -------------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Hold the processor between two instructions. Guest time, and the chips that live by it, go on."""
        await self._ask(probe.Pause())

    async def resume(self) -> None:
        """Let it run on."""
        await self._ask(probe.Continue())

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Hold the processor for the length of the block."""
        await self.pause()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.resume()

    async def reset(self) -> None:
        """Press the reset button."""
        await self._ask(probe.Restart())

    async def power_button(self) -> bool:
        """Press the power button; False: the guest does not listen to it."""
        return not (await self._ask(messages.PowerButton())).text

    async def registers(self, *, vcpu: int = 0) -> Registers:
        """Return the processor's registers between two instructions."""
        found = await self._probe(probe.Registers(vcpu=vcpu))
        assert found.registers is not None
        return Registers.of(found.registers)

    async def read(self, address: int, length: int) -> bytes:
        """Return guest RAM, by guest-physical address; ones where there is none."""
        data = b""
        while len(data) < length:
            part = min(length - len(data), probe.MOST)
            data += probe.data_of(await self._probe(probe.Peek(address=address + len(data), length=part)))
        return data

    async def write(self, address: int, data: bytes) -> None:
        """Write guest RAM, by guest-physical address; code that runs there is decoded again.

        Raises:
            DevmodelError: not all of that is RAM.

        """
        for at in range(0, len(data), probe.MOST):
            part = probe.text_of(data[at : at + probe.MOST])
            await self._probe(probe.Poke(address=address + at, data=part))

    async def inp(self, port: int, size: int = 1) -> int:
        """Read 1, 2 or 4 bytes from a port, with all that this does to the device.

        Raises:
            DevmodelError: nobody answers there.

        """
        found = await self._probe(probe.Inp(port=port, size=size))
        assert found.value is not None
        return found.value

    async def out(self, port: int, value: int, size: int = 1) -> None:
        """Write 1, 2 or 4 bytes to a port.

        Raises:
            DevmodelError: nobody answers there.

        """
        await self._probe(probe.Outp(port=port, value=value, size=size))

    async def read_disk(self, lba: int, count: int = 1, *, disk: int = 0) -> bytes:
        """Return sectors of a hard disk as they are in its image, or in memory if it is a scratch disk.

        Raises:
            DevmodelError: there is no such disk, or it has no such sectors.

        """
        data, most = b"", probe.MOST // _SECTOR
        for at in range(lba, lba + count, most):
            part = min(most, lba + count - at)
            data += probe.data_of(await self._probe(probe.ReadDisk(lba=at, count=part, disk=disk)))
        return data

    async def write_disk(self, lba: int, data: bytes, *, disk: int = 0) -> None:
        """Write whole sectors of a hard disk; a guest that has read them before may not look again.

        Raises:
            DevmodelError: there is no such disk, or it has no such sectors.

        """
        for at in range(0, len(data), probe.MOST):
            part = probe.text_of(data[at : at + probe.MOST])
            await self._probe(probe.WriteDisk(lba=lba + at // _SECTOR, data=part, disk=disk))

    # -- its end ------------------------------------------------------------------------------------------

    async def wait(self, seconds: float = SECONDS) -> int:
        """Wait for the machine's end, and return the exit status of `server`.

        Raises:
            NotSeen: it does not end within `seconds`.

        """
        with _bounded(seconds, lambda: f"the machine did not end in {seconds:g} s\n{self.said()}"):
            assert self.server is not None
            status = await self.server.wait()
            if self.core is not None:
                await self.core.wait()
        return status

    def transcript(self) -> bytes:
        """Return all that has come on the console, waited for or not."""
        if not self._consoles:
            return b""
        if not self.ended:
            self._consoles[0].take()
        return bytes(self._consoles[0].output)

    async def _ask(self, command: messages.Command) -> messages.Answer:
        return await anyio.to_thread.run_sync(asking.ask, self.domain, command)

    async def _probe(self, command: probe.Command) -> probe.Found:
        return (await self._ask(command)).found or probe.Found()

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
                whose = [core] if name in _CORE_ALONE else [core, server] if name in _BOTH else [server]
                whole = [argument] if equals else [argument, next(arguments)]
                for one in whose:
                    one.extend(whole)
        return core, server

    def _start(self, module: str, *arguments: str) -> Process:
        environment = None
        if any(argument.startswith("--board") for argument in arguments):
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with self._said_file() as said:
            process = Process.of_module(module, *arguments, said=said, environment=environment)
        self._started.append(process)
        return process

    def _said_file(self) -> IO[bytes]:
        return open(os.path.join(self._folder, "said"), "ab")

    async def _until(self, there: Callable[[], bool], process: Process, what: str) -> None:
        with _bounded(SECONDS, lambda: f"{what} did not come in {SECONDS:g} s\n{self.said()}"):
            while not there():
                if process.poll() is not None:
                    raise NotSeen(f"exit status {process.returncode} before {what} came\n{self.said()}")
                await anyio.sleep(0.01)

    async def _end(self) -> None:
        """End what still runs, and leave nothing behind."""
        with anyio.CancelScope(shield=True):
            self._ask_to_end()
            with anyio.move_on_after(_GRACE):
                for process in self._started:
                    await process.wait()
        for process in self._started:
            process.finish(0)
        self._remove()

    def _ask_to_end(self) -> None:
        self.transcript()
        for console in self._consoles:
            console.close()
        for process in self._started:
            if process.poll() is None:
                process.terminate()

    def _remove(self) -> None:
        if not self.ended:
            type(self).watch(self, False)
            self._said = self.said()
            self.ended = True
            shutil.rmtree(self._folder, ignore_errors=True)


_BOTH: Final = frozenset({"--poll", "--log-level", "--log-format"})
"""Options of both commands."""


@contextlib.contextmanager
def _bounded(seconds: float, message: Callable[[], str]) -> Iterator[None]:
    """Bound the block's time; a NotSeen if that is not enough."""
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise NotSeen(message())
