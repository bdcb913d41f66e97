"""What a disk's sectors lie in: a raw file, or an overlay of one. Plain and blocking.

A store is locked while it is open: exclusively to be written, else shared. Which kind a file is shows at its beginning,
unless it is said: a guest can write there what it likes, so what has once been raw is best said to be.
"""

import contextlib
import fcntl
import os
import stat
import struct
from typing import Final, Protocol, Self

from devmodel import ConfigError

SECTOR: Final = 512
OVERLAY_MAGIC: Final = b"DEVMODEL OVERLAY"
FOREIGN: Final = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"QED\0": "QED",
}
"""Formats that are refused rather than presented as they lie there."""


class Store(Protocol):
    """Bytes that can be read and perhaps written at any place."""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes; fewer if the store has been cut short. Raise OSError if they cannot be read."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write all of them, or raise OSError."""
        ...

    def flush(self) -> None:
        """Put everything written on the medium."""
        ...

    def close(self) -> None:
        """Close, and with that unlock."""
        ...


class Raw:
    """A file whose bytes are the disk's; it owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size: int = os.fstat(fd).st_size

    @classmethod
    def open(cls, path: str, *, readonly: bool) -> Self:
        """Open and lock a raw file.

        Raises:
            ConfigError: it cannot be used; the line says why.

        """
        fd = open_locked(path, readonly=readonly)
        raw = cls(fd)
        if raw.size == 0 or raw.size % SECTOR:
            raw.close()
            raise ConfigError(f"disk {path}: {raw.size} bytes, not a whole number of {SECTOR}-byte sectors")
        return raw

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes."""
        return os.pread(self.fd, count, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes."""
        write_all(self.fd, offset, data)

    def flush(self) -> None:
        """Put everything written on the medium."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Close."""
        os.close(self.fd)


def format_of(path: str, said: str = "auto") -> str:
    """Return "raw" or "overlay"; "raw" if that is `said`.

    Raises:
        ConfigError: it cannot be looked at, or is an image of a kind that is not read here.

    """
    if said != "auto":
        return said
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"disk {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError(f"disk {path}: not a regular file")
        begin = os.pread(fd, 16, 0)
    finally:
        os.close(fd)
    if begin == OVERLAY_MAGIC:
        return "overlay"
    for magic, name in FOREIGN.items():
        if begin.startswith(magic):
            raise ConfigError(
                f"disk {path}: it begins as a {name} image does; convert it to raw, or say format=raw"
            )
    return "raw"


def size_of(path: str) -> int:
    """Return how large the disk in a file is in bytes, which others may have open.

    Raises:
        ConfigError: it cannot be looked at.

    """
    kind = format_of(path)
    try:
        with open(path, "rb") as file:
            if kind == "overlay":
                file.seek(24)
                return int(struct.unpack("<Q", file.read(8))[0]) * SECTOR
            return os.fstat(file.fileno()).st_size
    except (OSError, struct.error) as error:
        raise ConfigError(f"disk {path}: {error}") from error


def open_locked(path: str, *, readonly: bool, create: bool = False) -> int:
    """Open a regular file and lock it; `create` makes it, where there must be none.

    Raises:
        ConfigError: it cannot be, or is in use; the line says which.

    """
    access = os.O_RDONLY if readonly else os.O_RDWR
    flags = access | os.O_CLOEXEC | os.O_NONBLOCK  # so that opening a FIFO does not wait for a writer
    try:
        fd = os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), 0o666)
    except OSError as error:
        raise ConfigError(f"disk {path}: {error.strerror}") from error
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError(f"disk {path}: not a regular file")
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if readonly else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"disk {path}: another process has it open") from None
        undo.pop_all()
    return fd


def write_all(fd: int, offset: int, data: bytes) -> None:
    """Write all of `data`, or raise OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
