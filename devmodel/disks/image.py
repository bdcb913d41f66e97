"""A raw disk image, or an anonymous scratch disk, behind the `Disk` protocol.

Requests are done in order by one task, each in a thread, so that a slow medium delays nobody else. A read of what the
host has in memory is done at once: to hand it to a thread takes a hundred times as long, and drivers that look at the
drive after some microseconds, and then only every millisecond, find it busy. An image is locked while it is open:
exclusively, or shared if it is only read. What the guest was told is flushed is on the medium (fdatasync).
"""

import errno
import fcntl
import os
import stat
from collections import deque
from collections.abc import Callable
from typing import Final, Self, TypeVar, TypeVarTuple, Unpack

import structlog
import trio

from devmodel import ConfigError
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.disks.overlay import Overlay, open_overlay, open_store, snapshot
from devmodel.disks.overlay import create as create_overlay
from devmodel.disks.stores import SECTOR, Store, format_of, size_of
from ioreq.patience import expected

log = structlog.get_logger()

MAX_QUEUED: Final = 64
"""An ATA drive has one request under way; more than this is a controller gone wild."""
MOST_AT_ONCE: Final = 1024 * SECTOR
"""Bytes of a read that is done at once, at most, as Linux asks for them: a tenth of a millisecond."""

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")

Request = DiskRead | DiskWrite | DiskFlush


class Elsewhere:
    """A disk that another server has: all that is known of it here is its size."""

    readonly: Final = True

    def __init__(self, sectors: int) -> None:
        self.sectors: int = sectors

    @classmethod
    def at(cls, path: str, kind: str = "disk") -> Self:
        """Look at an image's size in sectors begun, and leave it alone otherwise.

        Raises:
            ConfigError: it cannot be looked at.

        """
        try:
            return cls(-(-(size_of(path) if kind == "disk" else os.stat(path).st_size) // SECTOR))
        except OSError as error:
            raise ConfigError(f"{kind} {path}: {error.strerror}") from error

    def submit(self, request: Request) -> None:
        """Refuse."""
        _fail(request)


class Image:
    """A store of sectors in a file descriptor, which it owns."""

    def __init__(self, fd: int, name: str, *, readonly: bool) -> None:
        self.fd = fd
        self.name = name
        self.sectors: int = os.fstat(fd).st_size // SECTOR if fd >= 0 else 0
        """Whole ones, unless it is padded."""
        self.readonly: bool = readonly
        self._padded = False
        self.offline = False
        """Requests fail at once, without a word."""
        self.immediate = False
        """Requests are done by `submit`: nobody else waits meanwhile."""
        self._flags = os.RWF_NOWAIT
        """Of a read that must not wait for the medium (preadv2(2)); a scratch disk has none."""
        self._tells_cached = fd >= 0
        """Whether the host can tell what it has in memory."""
        self._busy = False
        self._queue: deque[Request] = deque()
        self._wake = trio.Event()

    @classmethod
    def open(cls, path: str, *, readonly: bool = False, kind: str = "disk", whole: bool = True) -> Self:
        """Open and lock an image; one that need not be `whole` may end within a sector.

        Raises:
            ConfigError: it is missing, in use, or no whole number of sectors; the line says which.

        """
        try:
            access = os.O_RDONLY if readonly else os.O_RDWR
            fd = os.open(path, access | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO is refused, not waited for
        except OSError as error:
            raise ConfigError(f"{kind} {path}: {error.strerror}") from error
        if (mistake := _lock(fd, readonly=readonly, whole=whole)) is not None:
            os.close(fd)
            raise ConfigError(f"{kind} {path}: {mistake}")
        return cls(fd, path, readonly=readonly)

    @classmethod
    def scratch(cls, size: int, fd: int | None = None) -> Self:
        """Make a zeroed disk of `size` bytes that is gone when closed; or go on with the one that is open as `fd`."""
        if fd is None:
            fd = os.memfd_create("scratch-disk", os.MFD_CLOEXEC)
            os.ftruncate(fd, -(-size // SECTOR) * SECTOR)
        image = cls(fd, "scratch", readonly=False)
        image._flags = 0  # it is memory as a whole
        return image

    def pad(self, sectors: int) -> None:
        """Be this long, and not shorter than the file is.

        What the file lacks reads as zeros, and it grows when something is written there.
        """
        self.sectors, self._padded = sectors, True

    def close(self) -> None:
        """Close, and with that unlock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def submit(self, request: Request) -> None:
        """Do a request, or queue it; its `done` is called in the event loop, maybe before this returns."""
        if self.offline:
            _fail(request)
            return
        if self.immediate:
            self._perform_now(request)
            return
        if (
            isinstance(request, DiskRead)
            and not self._busy
            and not self._queue
            and (data := self._cached(request.lba, request.count)) is not None
        ):
            self._busy = True  # what is asked for when this is done comes after it, not within
            try:
                request.done(data)
            finally:
                self._busy = False
            return
        if len(self._queue) >= MAX_QUEUED:
            log.error("disk.queue_full", disk=self.name)
            _fail(request)
            return
        self._queue.append(request)
        self._wake.set()

    async def run(self) -> None:
        """Do requests for ever, in order. Cancel to stop; a request under way is then finished first."""
        while True:
            while self._queue:
                self._busy = True
                try:
                    await self._perform(self._queue.popleft())
                finally:
                    self._busy = False
            self._wake = trio.Event()
            await self._wake.wait()

    async def _perform(self, request: Request) -> None:
        try:
            match request:
                case DiskRead(lba=lba, count=count):
                    data = self._cached(lba, count)
                    request.done(await _in_thread(self._read, lba, count) if data is None else data)
                case DiskWrite(lba=lba, data=data):
                    await _in_thread(self._write, lba, data)
                    request.done(True)
                case DiskFlush():
                    await _in_thread(self._flush)
                    request.done(True)
        except OSError as error:
            self._failed(request, error)

    def _perform_now(self, request: Request) -> None:
        try:
            match request:
                case DiskRead(lba=lba, count=count):
                    data = self._read(lba, count)
                case DiskWrite(lba=lba, data=written):
                    self._write(lba, written)
                case DiskFlush():
                    os.fdatasync(self.fd)
        except OSError as error:
            self._failed(request, error)
            return
        if isinstance(request, DiskRead):
            request.done(data)
        else:
            request.done(True)

    def _failed(self, request: Request, error: OSError) -> None:
        log.error("disk.failed", disk=self.name, request=type(request).__name__, error=str(error))
        _fail(request)

    def _cached(self, lba: int, count: int) -> bytes | None:
        """Return sectors that the host has in memory; None if it has not all of them, or if they are many."""
        length = count * SECTOR
        if not self._tells_cached or length > MOST_AT_ONCE or not 0 <= lba <= self.sectors - count:
            return None
        data = bytearray(length)
        try:
            if os.preadv(self.fd, [data], lba * SECTOR, self._flags) == length:
                return bytes(data)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # its file system
                self._tells_cached = False
        return None

    def _read(self, lba: int, count: int) -> bytes:
        self._check(lba, count * SECTOR)
        data = os.pread(self.fd, count * SECTOR, lba * SECTOR)
        if self._padded:
            data = data.ljust(count * SECTOR, b"\0")
        if len(data) != count * SECTOR:
            raise OSError(f"the image ends in sector {lba + len(data) // SECTOR}")
        return data

    def _write(self, lba: int, data: bytes) -> None:
        self._check(lba, len(data))
        if self.readonly:
            raise OSError("the image is read-only")
        view = memoryview(data)
        offset = lba * SECTOR
        while view:
            written = os.pwrite(self.fd, view, offset)
            view = view[written:]
            offset += written

    def _flush(self) -> None:
        os.fdatasync(self.fd)

    def _check(self, lba: int, length: int) -> None:
        if lba < 0 or length % SECTOR or lba + length // SECTOR > self.sectors:
            raise OSError(f"no sectors {lba} to {lba + length // SECTOR - 1}")


class Layered(Image):
    """A disk in a store of another kind: an overlay, or a snapshot."""

    def __init__(self, store: Store, name: str, *, readonly: bool) -> None:
        super().__init__(-1, name, readonly=readonly)
        self.store = store
        self._closed = False
        self.sectors = store.size // SECTOR
        self._tells_cached = False
        self.fd = store.fd if isinstance(store, Overlay) else -1
        """By which a snapshot is known."""

    def close(self) -> None:
        """Close, and with that unlock."""
        if not self._closed:
            self._closed = True
            self.store.close()

    def _read(self, lba: int, count: int) -> bytes:
        self._check(lba, count * SECTOR)
        data = self.store.read(lba * SECTOR, count * SECTOR)
        if len(data) != count * SECTOR:
            raise OSError(f"the image ends in sector {lba + len(data) // SECTOR}")
        return data

    def _write(self, lba: int, data: bytes) -> None:
        self._check(lba, len(data))
        if self.readonly:
            raise OSError("the image is read-only")
        self.store.write(lba * SECTOR, data)

    def _flush(self) -> None:
        self.store.flush()


def open_disk(
    path: str,
    *,
    readonly: bool = False,
    takes_snapshot: bool = False,
    base: str | None = None,
    said: str = "auto",
    fd: int | None = None,
) -> Image:
    """Open a hard disk's image, of whatever kind; `fd` is a snapshot that goes on.

    With a `base`, `path` is an overlay of it, which is made if there is none.

    Raises:
        ConfigError: it cannot be used; the line says why.

    """
    if base is not None:
        if not os.path.lexists(path):
            create_overlay(path, base)
        elif format_of(path) != "overlay":
            raise ConfigError(f"disk {path}: not an overlay, so it cannot have a base")
        return Layered(open_overlay(path, base, readonly=readonly), path, readonly=readonly)
    kind = format_of(path, said)
    if takes_snapshot:
        store = open_store(path, readonly=True, said=kind if kind != "overlay" else "auto")
        try:
            return Layered(snapshot(store, path, fd), path, readonly=False)
        except BaseException:
            store.close()
            raise
    if kind == "raw":
        return Image.open(path, readonly=readonly)
    return Layered(open_store(path, readonly=readonly), path, readonly=readonly)


async def _in_thread(work: Callable[[Unpack[_Arguments]], _T], *arguments: *_Arguments) -> _T:
    """Do the work in a thread, and have the event loop look for its end."""
    expected.answers += 1
    try:
        return await trio.to_thread.run_sync(work, *arguments)
    finally:
        expected.answers -= 1


def _lock(fd: int, *, readonly: bool, whole: bool) -> str | None:
    """Lock an image, and return what is wrong with it."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size == 0 or (whole and status.st_size % SECTOR):
        return f"{status.st_size} bytes, not a whole number of {SECTOR}-byte sectors"
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if readonly else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return "another process has it open"
    return None


def _fail(request: Request) -> None:
    if isinstance(request, DiskRead):
        request.done(None)
    else:
        request.done(False)
