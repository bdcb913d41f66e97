"""A serial line on a file: what the guest says is appended, as it comes. Nobody types."""

import os
from typing import Final, Self

import structlog
import trio

from devmodel import ConfigError
from devmodel.consoles.line import Listener, SerialLine
from ioreq.user_input import open_output

log = structlog.get_logger()

AGAIN: Final = 1.0
"""Seconds until a file that could not be written is tried again."""


class Recording:
    """A file that follows a line."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path
        self._listener: Listener | None = None

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a file to append to; it is made if there is none. A FIFO that somebody reads will do, or a device.

        Raises:
            ConfigError: it cannot be written, or is in use.

        """
        try:
            return cls(open_output(path, append=True), path)
        except OSError as error:
            raise ConfigError(f"serial file:{path}: {error.strerror}") from error

    @property
    def written(self) -> int:
        """How much of the transcript is in the file."""
        return 0 if self._listener is None else self._listener.shown

    async def serve(self, line: SerialLine, position: int) -> None:
        """Write what the guest says from `position` on, for ever. Cancel to stop."""
        failing = False
        with line.listening(position) as listener:
            self._listener = listener
            while True:
                data = await listener.output()
                while data:
                    try:
                        written = await trio.to_thread.run_sync(os.write, self._fd, data)
                    except OSError as error:
                        if not failing:
                            log.error("serial.failed", file=self.path, error=error.strerror)  # noqa: TRY400  (no bug of ours)
                        failing = True
                        await trio.sleep(AGAIN)
                        continue
                    failing = False
                    data = data[written:]

    def close(self) -> None:
        """Close."""
        os.close(self._fd)
