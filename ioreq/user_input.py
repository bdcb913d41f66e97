"""What a user says to either process: sizes, seconds, files, options behind a comma, signals; shell completion."""

import argparse
import errno
import fcntl
import os
import re
import signal
import stat
import tomllib
from collections.abc import Callable, Collection, Sequence
from typing import Any, BinaryIO, Final

UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d{1,30})([KMGT]?)(?:iB|B)?", re.ASCII | re.IGNORECASE)


def size_in_bytes(text: str) -> int | None:
    """Return 65536 for "65536", "64K", "64k", "64KB" and "64KiB"; None for what is no size."""
    match = _SIZE.fullmatch(text)
    return int(match[1]) * UNITS[match[2].upper()] if match else None


def seconds_from(least: float = 0.0, most: float = float("inf")) -> Callable[[str], float]:
    """Return an option's `type`: a number of seconds from `least` to `most`."""
    allowed = f"seconds from {least:g} on" if most == float("inf") else f"{least:g} to {most:g} seconds"

    def of(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:  # nor is NaN
            raise argparse.ArgumentTypeError(f"'{text}'; allowed: {allowed}")
        return number

    return of


def with_options(text: str) -> tuple[str, dict[str, str]]:
    """Split "disk.img,readonly,base=old.img" into what stands first and the options behind it.

    An option without a value is "on". A comma that belongs to a name is written twice, as for QEMU.
    """
    first, *rest = (part.replace("\0", ",") for part in text.replace(",,", "\0").split(","))
    pairs = (part.partition("=") for part in rest)
    return first, {name: value if equals else "on" for name, equals, value in pairs}


def open_regular(path: str) -> BinaryIO:
    """Open a file for reading; what is no file is refused, and not waited for (a FIFO that nobody writes).

    Raises:
        OSError: it cannot be opened, or is something else; `strerror` is for the user.

    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(0, str(error)) from None  # there is a NUL byte in the path
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a regular file")
    return os.fdopen(fd, "rb")


def lifeline(text: str) -> int:
    """Return the descriptor of an inherited pipe, or of a socket, that can be read: for an option's `type`.

    Raises:
        argparse.ArgumentTypeError: it is none, so nobody's end could be seen there.

    """
    try:
        fd = int(text)
        mode = os.fstat(fd).st_mode
        access = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is not an open descriptor") from None
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) or access == os.O_WRONLY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pipe's end to read from")
    return fd


def read_toml(path: str, tables: Collection[str]) -> dict[str, Any]:
    """Return what a TOML file says, if it has no tables but these.

    Raises:
        ValueError: it cannot be read, or has others; the message is one line for the user.

    """
    name = os.path.basename(path)
    try:
        with open_regular(path) as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {error}") from error
    for table in document:
        if table not in tables:
            raise ValueError(f"{name}: unknown table [{table}]; allowed: {', '.join(tables)}")
    return document


def create(path: str) -> BinaryIO:
    """Open a file for writing, made anew; or a FIFO, if somebody reads it. Nobody is waited for.

    Raises:
        OSError: it cannot be opened, or is in use; `strerror` is for the user.

    """
    fd = open_output(path)
    os.set_blocking(fd, True)
    return os.fdopen(fd, "wb")


def open_output(path: str, *, append: bool = False) -> int:
    """Open what is to be written, made anew unless we `append`. A FIFO that somebody reads will do, or a device.

    A regular file is locked while it is open, as a guest's disks are (flock(2)): a word too much on a command line must
    not cost somebody an image that a machine has. What is no regular file does not block.

    Raises:
        OSError: it cannot be opened, or is in use; `strerror` is for the user.

    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(path, flags | (os.O_APPEND if append else 0), 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(error.errno, "a FIFO that nobody reads") from None
        raise
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _lock(fd)
            if not append:
                os.ftruncate(fd, 0)
            os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, "in use: as another file of this machine, or by another process") from None
    except OSError as error:
        if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP}:
            raise
        # The file system has no locks, so nobody else can have locked the file.


class PrintCompletion(argparse.Action):
    """Print what has a shell complete a program's commands and options, made of its parser by shtab, and end."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Print it."""
        del namespace, option_string
        try:
            import shtab
        except ImportError:
            parser.error("completion wants shtab: pip install 'devmodel[completion]'")
        print(shtab.complete(parser, str(values)))  # noqa: T201
        parser.exit()


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add `--print-completion SHELL`."""
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=("bash", "zsh"),
        help='print a completion script for a shell: eval "$(%(prog)s --print-completion bash)"',
    )


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a process, but for one that was ignored when it began (nohup)."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in ending if signal.getsignal(number) != signal.SIG_IGN]
