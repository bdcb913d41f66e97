"""The monitor of a server: what answers `devmodel screen`, `key` and their like, and tests (`probe`).

Pictures are drawn in a thread, one at a time and a part of the time, since the event loop shares the interpreter with
it; whoever asks meanwhile gets the next one. Clients are limited, and one that neither asks nor reads is disconnected.
"""

import base64
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final, Protocol, TypeAlias

import msgspec
import trio

from devmodel import VERSION, DevmodelError
from devmodel.board.parts import in_order
from devmodel.control import probe
from devmodel.control.messages import (
    KEY_PATIENCE,
    MAX_LINE,
    Answer,
    Break,
    Command,
    Eject,
    Info,
    Insert,
    Key,
    Mouse,
    MouseAction,
    PowerButton,
    Press,
    Screen,
    Stats,
    Upgrade,
    decode,
    encode,
)
from devmodel.devices.mouse import Mouse as MouseDevice
from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_text import TextScreen
from devmodel.display.render import as_ansi, as_png, as_ppm, as_text
from devmodel.service.server import ChipFailed
from devmodel.service.stats import ServerStatistics
from ioreq import IoreqError

MAX_CLIENTS: Final = 16
IDLE: Final = 60.0
"""Seconds that a client may take to ask, or to read what it asked for."""
DRAWING: Final = 0.25
"""How much of the time may go into pictures."""
Draw: TypeAlias = Callable[[Frame], bytes]
"""Makes a picture of what a monitor shows."""


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
                            # What is unread when we close costs the client the answer: Linux resets the connection.
                            await stream.receive_some(MAX_LINE)
                            await stream.send_all(encode(busy) + b"\n")
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
                answer = encode(await self.answer(line)) + b"\n"
                with trio.fail_after(IDLE):
                    await stream.send_all(answer)
            if not data or len(buffer) > MAX_LINE:
                return

    async def answer(self, line: bytes) -> Answer:
        """Do what one line asks."""
        try:
            command = decode(line)
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
