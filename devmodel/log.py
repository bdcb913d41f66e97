"""Where structlog is configured, once. Everybody else says `structlog.get_logger()`.

Logs go to standard error. While a terminal is raw a line feed does not return the carriage, so lines then end
in CR LF; `raw_terminal` says so for the length of a block. What others have written, a guest, a peer or the core,
gets there without its control characters, and no faster than a person can read (`ioreq.lines`).
"""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import structlog

from ioreq.lines import Limiter, clean, printable
from ioreq.streams import StandardError

Format: TypeAlias = Literal["console", "json"]
LEVELS: Final = ("debug", "info", "warning", "error")


class Lines(StandardError):  # noqa: N818  (no exception: a stream)
    """Standard error, with line ends that fit the terminal."""

    def __init__(self) -> None:
        self.raw = False

    def write(self, text: str) -> int:
        """Write, as print() would."""
        super().write(text.replace("\n", "\r\n") if self.raw else text)
        return len(text)


_LINES: Final = Lines()


def say(line: str) -> None:
    """Write one line for the user on standard error."""
    _LINES.write(printable(line) + "\n")


def origin(error: BaseException) -> str:
    """Return what an error that nobody foresaw is and where it came from, in a line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"


def show(error: BaseException | None) -> None:
    """Show an error's traceback, as Python would."""
    relay("".join(traceback.format_exception(error)).encode())


def relay(data: bytes) -> None:
    """Pass on what a child process says."""
    _LINES.write("\n".join(map(printable, data.decode(errors="replace").split("\n"))))


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """End lines in CR LF meanwhile."""
    _LINES.raw = True
    try:
        yield
    finally:
        _LINES.raw = False


def configure(format_: Format = "console", level: str = "warning") -> None:
    """Set format and least level for the process."""
    _quiet_the_library()
    renderer: structlog.typing.Processor
    if format_ == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            Limiter(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            clean,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.WriteLogger(_LINES),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def _quiet_the_library() -> None:
    """Have trio's one log message, that it could not accept a connection for now, as one line of ours."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            structlog.get_logger().warning("listener.cannot_accept", why=record.getMessage())

    logger = logging.getLogger("trio.serve_listeners")
    logger.handlers = [Handler()]
    logger.propagate = False
