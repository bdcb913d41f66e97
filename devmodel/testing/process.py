"""A process of a machine, for a test that belongs to one event loop or another."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

import anyio


@functools.cache
def lifeline() -> int:
    """Return the end of a pipe whose other end is open as long as we live: what we start ends when we are killed."""
    theirs, _ours = os.pipe()
    return theirs


class Process:
    """A process that was started; `wait` is the event loop's, whichever that is."""

    def __init__(
        self, command: Sequence[str], said: IO[bytes], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it, with nothing on standard input."""
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment,
            pass_fds=[lifeline()],
        )

    @classmethod
    def of_module(
        cls, module: str, *arguments: str, said: IO[bytes], environment: Mapping[str, str] | None = None
    ) -> "Process":
        """Start `python -m MODULE`, which takes a `--lifeline`."""
        return cls(
            [sys.executable, "-m", module, *arguments, "--lifeline", str(lifeline())], said, environment
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, minus a signal's number if that ended it; None while it runs."""
        return self._popen.poll()

    def poll(self) -> int | None:
        """Return `returncode`."""
        return self._popen.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        self._popen.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it."""
        self._popen.kill()

    async def wait(self) -> int:
        """Wait for its end, and return its exit status."""
        while (status := self._popen.poll()) is None:
            try:
                fd = os.pidfd_open(self._popen.pid)
            except ProcessLookupError:
                continue
            try:
                await anyio.wait_readable(fd)
            finally:
                os.close(fd)
        return status

    def finish(self, seconds: float) -> None:
        """Give it time to end, then end it. Blocks."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
