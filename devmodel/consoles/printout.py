"""A printer that prints into a file: what the guest sends to its parallel port is appended there.

The chip's side is synchronous; a task writes, in a thread. What is not yet written is bounded: a printer that has that
much before it is busy, and one whose file cannot be written is out of paper until it can.
"""

import os
import stat
from collections.abc import Callable
from typing import Final, Self

import structlog
import trio

from devmodel import ConfigError
from ioreq.user_input import open_output

log = structlog.get_logger()

MOST: Final = 1 << 16
"""Bytes that wait to be written."""
AGAIN: Final = 1.0
"""Seconds until a file that could not be written is tried again."""


class Printout:
    """A printer and its file."""

    def __init__(self, fd: int, path: str) -> None:
        self.path = path
        self.muted = False
        """What comes now has been printed before."""
        self.ready: Callable[[], None] = lambda: None
        """Called when there is room again, or the file can be written again."""
        self._fd = fd
        self._waiting = bytearray()
        self._failing = False
        self._wake = trio.Event()

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a file to append to; it is made if there is none.

        Raises:
            ConfigError: it cannot be, is in use, or is no plain file.

        """
        try:
            fd = open_output(path, append=True)
        except OSError as error:
            raise ConfigError(f"parallel {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ConfigError(f"parallel {path}: not a regular file")
        return cls(fd, path)

    # -- the chip's side ----------------------------------------------------------------------------------

    def room(self) -> bool:
        """Whether another byte can wait."""
        return len(self._waiting) < MOST

    def failing(self) -> bool:
        """Whether the file cannot be written."""
        return self._failing

    def put(self, byte: int) -> None:
        """Take a byte."""
        if not self.muted:
            self._waiting.append(byte)
            self._wake.set()

    # -- the file's side ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what comes for ever. Cancel to stop; `close` writes the rest."""
        while True:
            if not self._waiting:
                self._wake = trio.Event()
                await self._wake.wait()
            try:
                written = await trio.to_thread.run_sync(os.write, self._fd, bytes(self._waiting))
            except OSError as error:
                if not self._failing:
                    log.error("parallel.failed", file=self.path, error=error.strerror)  # noqa: TRY400  (no bug of ours)
                self._failing = True
                await trio.sleep(AGAIN)
                continue
            del self._waiting[:written]
            self._failing = False
            self.ready()

    def close(self) -> None:
        """Write what waits, and close."""
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except OSError as error:
            log.error(  # noqa: TRY400  (no bug of ours)
                "parallel.lost", file=self.path, bytes=len(self._waiting), error=error.strerror
            )
        os.close(self._fd)
