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
from devmodel.consoles.line import BREAK, SerialLine

LEAVE: Final = 0x1D  # Ctrl-]
ESCAPE: Final = 0x01  # Ctrl-A
LEAVING: Final = "Ctrl-]"
HELP: Final = (
    "Ctrl-] or Ctrl-A x leaves, Ctrl-A b sends a break, Ctrl-A twice sends Ctrl-A, Ctrl-A h shows this"
)
LAST_KEYS: Final = 0.5
"""Seconds that a guest gets to take what was typed just before the user left."""
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


class Keys:
    """What is typed on a terminal. Ctrl-A is QEMU's escape; with a key that means nothing behind it, both are typed."""

    def __init__(self) -> None:
        self._escaped = False

    def take(self, data: bytes) -> tuple[list[int], bool]:
        """Take what comes from the terminal; return what of it is typed, and whether the user leaves."""
        typed: list[int] = []
        for byte in data:
            if byte == LEAVE:
                return typed, True
            if not self._escaped:
                self._escaped = byte == ESCAPE
                if not self._escaped:
                    typed.append(byte)
                continue
            self._escaped = False
            match byte:
                case 0x78:  # x
                    return typed, True
                case 0x62:  # b
                    typed.append(BREAK)
                case 0x68 | 0x3F:  # h, ?
                    log.say(HELP)
                case 0x01:
                    typed.append(ESCAPE)
                case _:
                    typed += (ESCAPE, byte)
        return typed, False


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
        if not os.isatty(self._stdin):
            while data := await typed(self._stdin):
                await self.line.type(data)
            return False
        keys, left = Keys(), False
        while not left and (data := await typed(self._stdin)):
            wanted, left = keys.take(data)
            if left:  # though the guest may never take it
                with trio.move_on_after(LAST_KEYS):
                    await self.line.type(wanted)
            else:
                await self.line.type(wanted)
        return True
