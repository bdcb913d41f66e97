"""A client of QEMU's qtest protocol: a board driven from a test, in this process or behind a socket.

    async def test_the_timer_interrupts(qtest):
        await qtest.irq_intercept_in("ioapic")
        await qtest.outb(0x43, 0x34)
        for byte in (0x10, 0x00):
            await qtest.outb(0x40, byte)
        await qtest.clock_step(20_000)
        assert qtest.irqs[0] == (0, True)

The same client speaks to `devmodel serve --qtest` and to QEMU itself. It belongs to no event loop.
"""

import base64
import socket
from collections.abc import Sequence
from typing import Any, Final, Protocol, Self

import anyio
import anyio.lowlevel

from devmodel.board.clock import ManualClock
from devmodel.board.device import Disk
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.devices.diskette import Bay
from devmodel.qtest.machine import QtestCore
from devmodel.qtest.server import Lines, Qtest
from devmodel.testing.bench import Build, builder_of

CHUNK: Final = 1 << 16
CONFIG_ADDRESS: Final = 0xCF8
CONFIG_DATA: Final = 0xCFC
ENABLE: Final = 1 << 31
DEFAULT_MEMORY: Final = 16 << 20
CONNECTING: Final = 10.0
"""Seconds for the other end to be there."""


class QtestFailed(AssertionError):  # noqa: N818  (it says what happened, as pytest shows it)
    """The other end answered FAIL or ERR, or is gone."""


class Transport(Protocol):
    """Where commands go, and answers come from."""

    async def send(self, data: bytes, /) -> None:
        """Send all of it."""
        ...

    async def receive(self) -> bytes:
        """Return what has come, at least a byte; nothing when the other end is gone."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class _Stream:
    """A socket, in whatever event loop a call is made."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise QtestFailed(f"the other end is gone: {error.strerror}") from error

    async def receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(CHUNK)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self._socket.close()


class Local:
    """A board in this process: each command is done when it is sent."""

    def __init__(self, server: Qtest) -> None:
        self.server = server
        self._lines = Lines()

    async def send(self, data: bytes) -> None:
        """Perform commands."""
        for line in self._lines.feed(data):
            for _ in self.server.perform(line):
                await anyio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """Return what they answered."""
        return self.server.take()

    async def close(self) -> None:
        """Give the board's memory back."""
        self.server.core.close()


class QtestClient:
    """Drives a board. Addresses and ports are guest-physical, times are guest time in ns."""

    def __init__(self, transport: Transport) -> None:
        self.irqs: list[tuple[int, bool]] = []
        """What interrupts that are intercepted have done: number and level, in order."""
        self._transport = transport
        self._lines = Lines()
        self._waiting: list[bytes | None] = []

    @classmethod
    def local(
        cls,
        build: Build | None = None,
        *,
        memory: int = DEFAULT_MEMORY,
        disks: Sequence[Disk] = (),
        floppies: Sequence[Bay] = (),
        hpet: bool = False,
        **options: Any,
    ) -> Self:
        """Return a client of a PC in this process, with what `build` adds: see `Bench`.

        Disks and diskettes must answer at once, as a `MemoryDisk` does: nothing happens between two commands.

        Raises:
            ConfigError: the board cannot be as `build` wants it.

        """
        core, clock = QtestCore(memory), ManualClock()
        fittings = Fittings(memory=core.e820, disks=disks, floppies=floppies, hpet=hpet)
        board = Board.build(clock, core, fittings, extend=builder_of(build, options))
        return cls(Local(Qtest(board, core, clock)))

    @property
    def board(self) -> Board:
        """The board, of a client that `local` made: to press a key, or to look inside.

        Raises:
            TypeError: it is in another process.

        """
        if not isinstance(self._transport, Local):
            raise TypeError("the board is in another process")
        return self._transport.server.board

    @classmethod
    async def connect(cls, path: str) -> Self:
        """Return a client of what listens on a Unix socket (`devmodel serve --qtest unix:PATH`), as soon as it does.

        Raises:
            TimeoutError: nobody does.

        """
        with anyio.fail_after(CONNECTING):
            while True:
                sock = socket.socket(socket.AF_UNIX)
                if sock.connect_ex(path) == 0:
                    return cls(_Stream(sock))
                sock.close()
                await anyio.sleep(0.02)

    @classmethod
    async def accept(cls, listener: socket.socket) -> Self:
        """Return a client of the first who connects to a Unix socket of ours, as libqtest has QEMU do.

        Raises:
            TimeoutError: nobody does.

        """
        listener.setblocking(False)
        with anyio.fail_after(CONNECTING):
            await anyio.wait_readable(listener)
        return cls(_Stream(listener.accept()[0]))

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        """Begin a block, at whose end the client hangs up."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        await self.close()

    async def command(self, *words: str | int) -> list[str]:
        """Send a command, and return the words behind OK.

        Raises:
            QtestFailed: the answer is another.

        """
        text = " ".join(hex(word) if isinstance(word, int) else word for word in words)
        await self._transport.send(text.encode("latin-1") + b"\n")
        while True:
            answer = await self._line()
            match answer.split(" "):
                case ["IRQ", way, number]:
                    self.irqs.append((int(number), way == "raise"))
                case ["OK", *values]:
                    return values
                case _:
                    raise QtestFailed(f"{text[:80]}: {answer[:200]}")

    async def _line(self) -> str:
        while not self._waiting:
            data = await self._transport.receive()
            if not data:
                raise QtestFailed("the other end is gone")
            self._waiting += self._lines.feed(data)
        return (self._waiting.pop(0) or b"").decode("latin-1")

    async def _value(self, *words: str | int) -> int:
        return int((await self.command(*words))[0], 0)

    # -- ports --------------------------------------------------------------------------------------------

    async def inb(self, port: int) -> int:
        """Read a byte from a port."""
        return await self._value("inb", port)

    async def inw(self, port: int) -> int:
        """Read a word from a port."""
        return await self._value("inw", port)

    async def inl(self, port: int) -> int:
        """Read a double word from a port."""
        return await self._value("inl", port)

    async def outb(self, port: int, value: int) -> None:
        """Write a byte to a port."""
        await self.command("outb", port, value)

    async def outw(self, port: int, value: int) -> None:
        """Write a word to a port."""
        await self.command("outw", port, value)

    async def outl(self, port: int, value: int) -> None:
        """Write a double word to a port."""
        await self.command("outl", port, value)

    # -- memory -------------------------------------------------------------------------------------------

    async def readb(self, address: int) -> int:
        """Read a byte of memory."""
        return await self._value("readb", address)

    async def readw(self, address: int) -> int:
        """Read a word of memory."""
        return await self._value("readw", address)

    async def readl(self, address: int) -> int:
        """Read a double word of memory."""
        return await self._value("readl", address)

    async def readq(self, address: int) -> int:
        """Read a quad word of memory."""
        return await self._value("readq", address)

    async def writeb(self, address: int, value: int) -> None:
        """Write a byte of memory."""
        await self.command("writeb", address, value)

    async def writew(self, address: int, value: int) -> None:
        """Write a word of memory."""
        await self.command("writew", address, value)

    async def writel(self, address: int, value: int) -> None:
        """Write a double word of memory."""
        await self.command("writel", address, value)

    async def writeq(self, address: int, value: int) -> None:
        """Write a quad word of memory."""
        await self.command("writeq", address, value)

    async def read(self, address: int, length: int) -> bytes:
        """Read a block of memory."""
        return base64.b64decode((await self.command("b64read", address, length))[0]) if length else b""

    async def write(self, address: int, data: bytes) -> None:
        """Write a block of memory."""
        if data:
            await self.command("b64write", address, len(data), base64.b64encode(data).decode())

    async def memset(self, address: int, length: int, value: int) -> None:
        """Fill memory with a byte."""
        await self.command("memset", address, length, value)

    # -- PCI ----------------------------------------------------------------------------------------------

    async def configure(
        self, slot: int, register: int, value: int | None = None, *, function: int = 0
    ) -> int:
        """Write a double word of a PCI function's configuration, if a value is given, and return what it reads."""
        where = ENABLE | slot << 11 | function << 8 | register & 0xFC
        await self.outl(CONFIG_ADDRESS, where)
        if value is not None:
            await self.outl(CONFIG_DATA, value)
        return await self.inl(CONFIG_DATA)

    # -- time and interrupts ------------------------------------------------------------------------------

    async def clock_step(self, ns: int | None = None) -> int:
        """Let so much time pass, or as much as there is until the next deadline; return what time it is then."""
        words = await self.command("clock_step") if ns is None else await self.command("clock_step", str(ns))
        return int(words[0])

    async def clock_set(self, ns: int) -> int:
        """Let time pass until then; return what time it is."""
        return int((await self.command("clock_set", str(ns)))[0])

    async def irq_intercept_in(self, device: str) -> None:
        """Hear of a device's inputs: of "ioapic" the ISA interrupt requests."""
        await self.command("irq_intercept_in", device)

    async def irq_intercept_out(self, device: str) -> None:
        """Hear of a device's outputs: of "pic" INTR, as number 0."""
        await self.command("irq_intercept_out", device)

    async def set_irq_in(self, device: str, number: int, level: bool) -> None:
        """Drive an input of a device."""
        await self.command("set_irq_in", device, "unnamed-gpio-in", number, int(level))

    def irq(self, number: int) -> bool:
        """Return the level of an interrupt that is intercepted, as far as we were told."""
        return next((level for which, level in reversed(self.irqs) if which == number), False)
