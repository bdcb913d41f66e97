"""A serial line on a pseudo-terminal: a program opens its path as it would a serial port's (`screen /dev/pts/5`).

Our end lives as long as the machine; who opens and closes the other end is seen by looking four times a second, since a
pseudo-terminal that nobody has open cannot be waited for. Whoever opens it finds it raw, and is shown the history.
"""

import contextlib
import fcntl
import os
import select
import struct
import termios
import tty
from typing import Final, Self

import trio

from devmodel import ConfigError
from devmodel.consoles.clients import Clients

LOOK: Final = 0.25
"""Seconds between two looks for somebody."""
MOMENT: Final = 0.01
"""And, at the end, for what has not been read …"""
LOOKS: Final = 5
"""… until so many in a row find nothing: the kernel passes on what we wrote a little later (tty_flip_buffer_push)."""
_TIOCGPTN: Final = 0x80045430  # ioctl_tty(2): the number of the other end


class PseudoTerminal:
    """A pseudo-terminal and whoever has its other end open, one at a time."""

    def __init__(self, fd: int) -> None:
        """Go on with what is open as `fd`."""
        self.fd = fd
        (number,) = struct.unpack("I", fcntl.ioctl(fd, _TIOCGPTN, bytes(4)))
        self.path = f"/dev/pts/{number}"

    @classmethod
    def open(cls) -> Self:
        """Make one.

        Raises:
            ConfigError: the system has none left.

        """
        try:
            fd, other = os.openpty()
        except OSError as error:
            raise ConfigError(f"serial pty: {error.strerror}") from error
        os.close(other)
        pseudo = cls(fd)
        pseudo.clean()
        return pseudo

    def clean(self) -> None:
        """Make it raw, and forget what nobody has read."""
        other = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            tty.setraw(other, termios.TCSANOW)
            termios.tcflush(other, termios.TCIOFLUSH)
        finally:
            os.close(other)

    def used(self) -> bool:
        """Whether somebody has the other end open."""
        poll = select.poll()
        poll.register(self.fd, 0)
        return not poll.poll(0)

    async def serve(self, clients: Clients, position: int | None = None, unsent: bytes = b"") -> None:
        """Serve whoever opens it, for ever; the first is one that was left to us, if there is a `position`."""
        while True:
            while not self.used():  # noqa: ASYNC110  (nothing can be waited for)
                await trio.sleep(LOOK)
            stream = trio.lowlevel.FdStream(os.dup(self.fd))
            await clients.client(stream, position=position, unsent=unsent)
            position, unsent = None, b""
            with contextlib.suppress(OSError):
                self.clean()

    async def read(self) -> None:
        """Wait until who has the other end open has read everything: the kernel drops the rest when we hang up."""
        if not self.used():
            return
        other = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            looks = 0
            while looks < LOOKS:
                unread = struct.unpack("i", fcntl.ioctl(other, termios.FIONREAD, bytes(4)))[0]
                looks = 0 if unread else looks + 1
                await trio.sleep(MOMENT)
        finally:
            os.close(other)

    def close(self) -> None:
        """Hang up."""
        os.close(self.fd)
