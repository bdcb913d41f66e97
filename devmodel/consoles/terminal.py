"""The terminal in front of the user: raw while the guest has it, and put back whatever happens.

Descriptors of a terminal are shared with other programs, so they are never made non-blocking: reading waits
until there is something, writing is done in a thread.
"""

import contextlib
import os
import termios
from collections.abc import Iterator
from typing import Final

import trio

from devmodel import log
from devmodel.consoles.line import SerialLine

LEAVE: Final = 0x1D  # Ctrl-]
_CC: Final = 6  # in what tcgetattr returns


@contextlib.contextmanager
def raw(fd: int, *, signals: bool) -> Iterator[None]:
    """Put a terminal in raw mode for the length of the block; nothing happens to what is no terminal.

    With `signals`, Ctrl-C still interrupts us; else it is a byte like any other.
    """
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    mode = termios.tcgetattr(fd)
    mode[0] &= ~(
        termios.BRKINT
        | termios.ICRNL
        | termios.IGNCR
        | termios.INLCR
        | termios.INPCK
        | termios.ISTRIP
        | termios.IXON
    )
    mode[1] &= ~termios.OPOST
    mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
    if not signals:
        mode[3] &= ~termios.ISIG
    cc = list(mode[_CC])
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    disabled = os.fpathconf(fd, "PC_VDISABLE").to_bytes(1, "little")
    cc[termios.VQUIT] = cc[termios.VSUSP] = disabled  # the guest's
    mode[_CC] = cc
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
        with log.raw_terminal():
            yield
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)


async def typed(fd: int) -> bytes:
    """Wait for what comes in on `fd`, a terminal, a pipe or a file; empty at its end."""
    await trio.lowlevel.checkpoint()
    with contextlib.suppress(PermissionError):  # a plain file cannot be waited for, and need not be
        await trio.lowlevel.wait_readable(fd)
    try:
        return os.read(fd, 4096)
    except OSError:  # the terminal was hung up
        return b""


async def show(fd: int, data: bytes) -> None:
    """Write all of `data` to a descriptor that may block."""

    def write() -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    await trio.to_thread.run_sync(write, abandon_on_cancel=True)


class TerminalConsole:
    """The serial line on standard input and output."""

    def __init__(self, line: SerialLine, stdin: int = 0, stdout: int = 1) -> None:
        self.line = line
        self._stdin = stdin
        self._stdout = stdout

    async def run(self) -> bool:
        """Show and type; True when the user leaves. Without a terminal nobody does: cancel to stop."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show)
            left = await self._type()
            if left:
                nursery.cancel_scope.cancel()
        return left

    async def _show(self) -> None:
        with self.line.listening() as listener, contextlib.suppress(OSError):
            while True:  # until nobody reads any more (`devmodel run | head`)
                await show(self._stdout, await listener.output())

    async def _type(self) -> bool:
        """Pass on what is typed; True when the user leaves."""
        terminal = os.isatty(self._stdin)
        while data := await typed(self._stdin):
            if terminal and LEAVE in data:
                await self.line.type(data[: data.index(LEAVE)])
                return True
            await self.line.type(data)
        return terminal
