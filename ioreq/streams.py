"""A process's standard streams, whatever its user has made of them: closed, full, or without a reader."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

FAILED: Final = 1


def open_closed() -> None:
    """Have what is closed of the standard streams lead nowhere (`>&-`): the next file would get its number."""
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)  # which gets the least number that is free: this one
    sys.stdin = sys.stdin or open(0, closefd=False, encoding="utf-8")  # noqa: SIM115  (as long as we live)
    sys.stdout = sys.stdout or open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


class StandardError:
    """Standard error that may lose its reader, or have no room: whoever logs goes on, and must still end."""

    @property
    def stream(self) -> TextIO:
        """Standard error, as it is now."""
        return sys.stderr

    def write(self, text: str) -> int:
        """Write at once."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            _lead_nowhere(self.stream)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self.stream.isatty()


class OutputError(Exception):
    """Standard output cannot be written; the cause says why."""


class _Output(io.FileIO):
    """Standard output whose errors are no other file's."""

    lost = False
    """What is written is forgotten."""

    def write(self, data: "Buffer", /) -> int | None:  # type: ignore[override]  # as io.RawIOBase has it
        if self.lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.lost = True
            raise OutputError from error


def with_output(program: str, work: Callable[[], int]) -> int:
    """Do a command's work and return its exit status; what it has printed is out by then.

    If that cannot be, the command ends: as by SIGPIPE where nobody reads any more (`| head`), otherwise with a line.
    """
    open_closed()
    before = sys.stdout
    if not isinstance(before, io.TextIOWrapper) or before is not sys.__stdout__:
        return work()  # whoever calls us has put a stream of its own there
    output = _Output(before.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except OutputError as error:
        reason = error.__cause__
        if isinstance(reason, BrokenPipeError):
            return 128 + signal.SIGPIPE
        assert isinstance(reason, OSError)
        StandardError().write(f"{program}: standard output cannot be written: {reason.strerror}\n")
        return FAILED
    finally:
        output.lost = True
        sys.stdout = before


def _lead_nowhere(stream: TextIO) -> None:
    """Have what is written there, and what is still to be, be forgotten."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
