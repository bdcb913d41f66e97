"""An overlay: what has been written to a disk, over a base that stays as it is, in one sparse file.

Little-endian, at the beginning of the file (`docs/disks.md` says it in full):

    0   16  "DEVMODEL OVERLAY"        40  8  size of the base in bytes
    16   4  version, 1                48  8  when the base was last changed, ns since 1970
    20   4  1 while it is committed   56  4  length of the base's path
    24   8  size in sectors           60     its path, UTF-8
    32   8  where the sectors are     4092  4  CRC-32 of the 4092 bytes before

Then from 4096 on a bit for each sector, the lowest first, which is set if that sector is here and not in the base; then
the sectors, each at its place. A sector is written before its bit is set, so a server that is killed loses nothing.
"""

import contextlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from typing import Final, Self

import attrs

from devmodel import ConfigError
from devmodel.disks.stores import OVERLAY_MAGIC, SECTOR, Raw, Store, format_of, open_locked, write_all

VERSION: Final = 1
HEADER: Final = 4096
PAGE: Final = 4096
"""Bytes of the bitmap that are read in one go."""
MAX_SECTORS: Final = 1 << 31
"""A tebibyte."""
MAX_PATH: Final = HEADER - 64
MAX_DEPTH: Final = 8
"""Overlays over one another."""
COPY: Final = 1 << 20
_FIELDS: Final = struct.Struct("<16sIIQQQQI")


@attrs.frozen
class Header:
    """What an overlay says of itself."""

    sectors: int
    base: str
    base_size: int
    base_changed: int
    """ns since 1970."""
    committing: bool = False

    @property
    def data(self) -> int:
        """Where sector 0 is: behind the bitmap, at a whole page."""
        return HEADER + -(-self.sectors // (8 * PAGE)) * PAGE

    @property
    def length(self) -> int:
        """How long the file is."""
        return self.data + self.sectors * SECTOR

    def encode(self) -> bytes:
        """Return the header as it lies in the file."""
        path = self.base.encode("utf-8", "surrogateescape")
        fields = _FIELDS.pack(
            OVERLAY_MAGIC,
            VERSION,
            self.committing,
            self.sectors,
            self.data,
            self.base_size,
            self.base_changed,
            len(path),
        )
        body = (fields + path).ljust(HEADER - 4, b"\0")
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def decode(cls, data: bytes, length: int) -> Self:
        """Take a header from a file of `length` bytes.

        Raises:
            ValueError: it is damaged, or of another version.

        """
        if (
            len(data) < HEADER
            or zlib.crc32(data[: HEADER - 4]) != struct.unpack("<I", data[HEADER - 4 : HEADER])[0]
        ):
            raise ValueError("its header is damaged")
        _, version, committing, sectors, at, base_size, changed, path = _FIELDS.unpack_from(data)
        if version != VERSION:
            raise ValueError(f"it is of version {version}, which this program does not know")
        name = data[_FIELDS.size : _FIELDS.size + path].decode("utf-8", "surrogateescape")
        header = cls(sectors, name, base_size, changed, bool(committing))
        if not 0 < sectors <= MAX_SECTORS or path > MAX_PATH or at != header.data:
            raise ValueError("its header is damaged")
        if length < header.length:
            raise ValueError(f"it is cut short: {length} bytes of {header.length}")
        return header


class Overlay:
    """An open overlay and the store under it, both of which it owns."""

    def __init__(self, fd: int, header: Header, base: Store, *, readonly: bool = False) -> None:
        self.fd = fd
        self.header = header
        self.base = base
        self.readonly = readonly
        self.size: int = header.sectors * SECTOR
        self._pages: dict[int, bytearray] = {}

    def read(self, offset: int, count: int) -> bytes:
        """Return whole sectors, each from where it is."""
        pieces = []
        for first, length, here in self._runs(offset // SECTOR, count // SECTOR):
            at = first * SECTOR
            store, place = (self.fd, self.header.data + at) if here else (None, at)
            pieces.append(
                self.base.read(place, length * SECTOR)
                if store is None
                else os.pread(store, length * SECTOR, place)
            )
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Write whole sectors, and then say that they are here."""
        if self.readonly:
            raise OSError("the overlay is read-only")
        write_all(self.fd, self.header.data + offset, data)
        self._mark(offset // SECTOR, len(data) // SECTOR)

    def flush(self) -> None:
        """Put sectors and bits on the medium."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Close both."""
        os.close(self.fd)
        self.base.close()

    def written(self) -> Iterator[tuple[int, int]]:
        """Yield the runs of sectors that are here: the first, and how many."""
        for number in range(-(-self.header.sectors // (8 * PAGE))):
            if any(self._page(number)):
                first = number * 8 * PAGE
                for start, length, here in self._runs(first, min(8 * PAGE, self.header.sectors - first)):
                    if here:
                        yield start, length

    def commit(self) -> int:
        """Write what is here into the base, and be empty; return how many sectors that were.

        If it is interrupted, the header says so until it has been done again.
        """
        if not self.header.committing:
            self._write_header(attrs.evolve(self.header, committing=True))
        moved = 0
        for first, length in self.written():
            for at in range(first * SECTOR, (first + length) * SECTOR, COPY):
                count = min(COPY, (first + length) * SECTOR - at)
                self.base.write(at, os.pread(self.fd, count, self.header.data + at))
            moved += length
        self.base.flush()
        os.ftruncate(self.fd, HEADER)
        os.ftruncate(self.fd, self.header.length)
        self._pages.clear()
        size, changed = stamp(self.header.base)
        self._write_header(attrs.evolve(self.header, base_size=size, base_changed=changed, committing=False))
        return moved

    def _write_header(self, header: Header) -> None:
        write_all(self.fd, 0, header.encode())
        os.fsync(self.fd)
        self.header = header

    def _page(self, number: int) -> bytearray:
        page = self._pages.get(number)
        if page is None:
            page = bytearray(os.pread(self.fd, PAGE, HEADER + number * PAGE))
            if len(page) != PAGE:
                raise OSError("the overlay's bitmap is cut short")
            self._pages[number] = page
        return page

    def _bits(self, first: int, last: int) -> bytes:
        """Return the bytes of the bitmap that have these sectors' bits."""
        begin, end = first // 8, last // 8 + 1
        pages = range(begin // PAGE, (end - 1) // PAGE + 1)
        whole = b"".join(self._page(number) for number in pages)
        return whole[begin - pages[0] * PAGE : end - pages[0] * PAGE]

    def _runs(self, first: int, count: int) -> Iterator[tuple[int, int, bool]]:
        """Yield sectors by where they are: the first, how many, whether they are here."""
        bits = int.from_bytes(self._bits(first, first + count - 1), "little") >> first % 8
        everything = (1 << count) - 1
        bits &= everything
        at = 0
        while at < count:
            here = bool(bits & 1)
            # The lowest bit that differs from this one ends the run.
            differing = ~bits & everything >> at if here else bits
            length = (differing & -differing).bit_length() - 1 if differing else count - at
            yield first + at, length, here
            bits >>= length
            at += length

    def _mark(self, first: int, count: int) -> None:
        begin = first // 8
        before = self._bits(first, first + count - 1)
        bits = int.from_bytes(before, "little") | ((1 << count) - 1) << first % 8
        after = bits.to_bytes(len(before), "little")
        if after == before:
            return
        write_all(self.fd, HEADER + begin, after)
        for at, byte in enumerate(after, begin):
            self._page(at // PAGE)[at % PAGE] = byte


def stamp(path: str) -> tuple[int, int]:
    """Return a file's size and when it was changed, by which a base is known again."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def create(path: str, base: str, base_format: str = "auto") -> None:
    """Make an empty overlay.

    Raises:
        ConfigError: it is there already, or the base cannot be used.

    """
    with contextlib.closing(open_store(base, readonly=True, said=base_format)) as store:
        header = _header(store, base)
        if len(header.base.encode("utf-8", "surrogateescape")) > MAX_PATH:
            raise ConfigError(f"disk {path}: the path of its base is too long")
        fd = open_locked(path, readonly=False, create=True)
        try:
            _lay(fd, header)
            folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            os.unlink(path)
            raise ConfigError(f"disk {path}: {error.strerror}") from error
        finally:
            os.close(fd)


def open_overlay(
    path: str,
    base: str | None = None,
    *,
    readonly: bool = False,
    commits: bool = False,
    looks: bool = False,
    depth: int = 0,
) -> Overlay:
    """Open an overlay, locked, and what is under it: `base`, or what it names itself.

    With `commits` the base may be written, and may have been by a commit that was interrupted; who only `looks` is
    shown that too.

    Raises:
        ConfigError: it cannot be used; the line says why.

    """
    with contextlib.ExitStack() as undo:
        fd = open_locked(path, readonly=readonly)
        undo.callback(os.close, fd)
        try:
            header = Header.decode(os.pread(fd, HEADER, 0), os.fstat(fd).st_size)
        except ValueError as error:
            raise ConfigError(f"disk {path}: an overlay, but {error}") from error
        below = base or header.base
        header = attrs.evolve(header, base=os.path.abspath(below))
        if header.committing and not (commits or looks):
            raise ConfigError(
                f"disk {path}: a commit was interrupted; finish it: devmodel disk commit {path}"
            )
        try:
            same = stamp(below) == (header.base_size, header.base_changed)
        except OSError as error:
            raise ConfigError(f"disk {path}: its base {below}: {error.strerror}") from error
        if not same and not header.committing:
            raise ConfigError(
                f"disk {path}: its base {below} has changed since, so that they do not fit any more "
                "(devmodel disk rebase, if only the time of the file did)"
            )
        store = open_store(below, readonly=not commits, depth=depth + 1)
        undo.callback(store.close)
        if store.size != header.sectors * SECTOR:
            raise ConfigError(
                f"disk {path}: {header.sectors * SECTOR} bytes, but its base {below} has {store.size}"
            )
        undo.pop_all()
    return Overlay(fd, header, store, readonly=readonly)


def rebase(path: str, base: str | None) -> None:
    """Have an overlay take a base for the one that it was made of, which it must be in all but its name and time.

    Raises:
        ConfigError: it cannot be used, or has another size.

    """
    fd = open_locked(path, readonly=False)
    try:
        header = Header.decode(os.pread(fd, HEADER, 0), os.fstat(fd).st_size)
        below = base or header.base
        with contextlib.closing(open_store(below, readonly=True)) as store:
            new = _header(store, below)
        if new.sectors != header.sectors:
            raise ConfigError(f"disk {path}: {header.sectors} sectors, but {below} has {new.sectors}")
        write_all(fd, 0, new.encode())
        os.fsync(fd)
    except ValueError as error:
        raise ConfigError(f"disk {path}: an overlay, but {error}") from error
    finally:
        os.close(fd)


def snapshot(base: Store, path: str, fd: int | None = None) -> Overlay:
    """Return an overlay in a file without a name, gone when it is closed; or go on with the one that is `fd`."""
    header = _header(base, path)
    if fd is None:
        folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else None)  # noqa: S108  (no name)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                fd = os.dup(file.fileno())
            os.set_inheritable(fd, False)
            _lay(fd, header)
        except OSError as error:
            where = folder or tempfile.gettempdir()
            raise ConfigError(f"disk {path}: no room for a snapshot in {where}: {error.strerror}") from error
    return Overlay(fd, header, base)


def open_store(path: str, *, readonly: bool, said: str = "auto", depth: int = 0) -> Store:
    """Open whatever a file is.

    Raises:
        ConfigError: it cannot be used; the line says why.

    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"disk {path}: more than {MAX_DEPTH} overlays over one another")
    match format_of(path, said):
        case "overlay":
            return open_overlay(path, readonly=readonly, depth=depth)
        case _:
            return Raw.open(path, readonly=readonly)


def _header(base: Store, path: str) -> Header:
    if base.size > MAX_SECTORS * SECTOR:
        raise ConfigError(f"disk {path}: {base.size} bytes; an overlay has at most {MAX_SECTORS * SECTOR}")
    size, changed = stamp(path)
    return Header(base.size // SECTOR, os.path.abspath(path), size, changed)


def _lay(fd: int, header: Header) -> None:
    os.ftruncate(fd, header.length)
    write_all(fd, 0, header.encode())
    os.fsync(fd)
