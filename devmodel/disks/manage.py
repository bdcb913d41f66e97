"""`devmodel disk`: images are made, looked at, committed and converted while no guest has them."""

import contextlib
import os
import sys

import msgspec

from devmodel import ConfigError
from devmodel.disks import overlay
from devmodel.disks.stores import SECTOR, format_of, open_locked, write_all
from ioreq.user_input import size_in_bytes

COPY = 1 << 20


def create(path: str, size: str | None, base: str | None) -> int:
    """Make an empty raw image of `size`, or an overlay of `base`.

    Raises:
        ConfigError: it is there already, or what is said is wrong.

    """
    if base is not None:
        overlay.create(path, base)
        return 0
    count = size_in_bytes(size or "") or 0
    if count < SECTOR or count % SECTOR or count > overlay.MAX_SECTORS * SECTOR:
        raise ConfigError(
            f"size '{size}'; allowed: whole sectors of {SECTOR} bytes, for example 10G, up to 1T"
        )
    fd = open_locked(path, readonly=False, create=True)
    try:
        os.ftruncate(fd, count)
    except OSError as error:
        os.unlink(path)
        raise ConfigError(f"disk {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    return 0


class Info(msgspec.Struct, omit_defaults=True):
    """What an image is; sizes in bytes."""

    file: str
    format: str
    size: int
    allocated: int
    base: str = ""
    written: int = 0
    """What an overlay has of its own."""
    committing: bool = False


def info(path: str, *, json: bool) -> int:
    """Print what an image is.

    Raises:
        ConfigError: it cannot be looked at, or a guest is writing to it.

    """
    kind = format_of(path)
    allocated = os.stat(path).st_blocks * 512
    if kind == "overlay":
        opened = overlay.open_overlay(path, readonly=True, looks=True)
        with contextlib.closing(opened):
            written = sum(count for _, count in opened.written()) * SECTOR
            header = opened.header
            found = Info(path, kind, opened.size, allocated, header.base, written, header.committing)
    else:
        with contextlib.closing(overlay.open_store(path, readonly=True)) as store:
            found = Info(path, kind, store.size, allocated)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return 0
    lines = [f"{path}: {kind}, {_readable(found.size)}, {_readable(found.allocated)} on the disk"]
    if kind == "overlay":
        lines.append(f"base {found.base}, {_readable(found.written)} written over it")
    if found.committing:
        lines.append("a commit was interrupted; finish it: devmodel disk commit")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def commit(path: str) -> int:
    """Write an overlay into its base.

    Raises:
        ConfigError: it is none, or one of the two is in use or cannot be written.

    """
    if format_of(path) != "overlay":
        raise ConfigError(f"disk {path}: not an overlay; there is nothing to commit")
    with contextlib.closing(overlay.open_overlay(path, commits=True)) as opened:
        try:
            sectors = opened.commit()
        except OSError as error:
            raise ConfigError(
                f"disk {path}: not committed yet: {error.strerror or error}; do it again"
            ) from error
    sys.stdout.write(f"{_readable(sectors * SECTOR)} written to {opened.header.base}\n")
    return 0


def rebase(path: str, base: str | None) -> int:
    """Take a base that has been moved or copied for the one it was.

    Raises:
        ConfigError: one of them cannot be used, or they do not fit.

    """
    if format_of(path) != "overlay":
        raise ConfigError(f"disk {path}: not an overlay; it has no base")
    overlay.rebase(path, base)
    return 0


def convert(source: str, target: str) -> int:
    """Write an image of any kind into a new raw one, sparse where there are zeros.

    Raises:
        ConfigError: one of them cannot be used.

    """
    with contextlib.closing(overlay.open_store(source, readonly=True)) as store:
        fd = open_locked(target, readonly=False, create=True)
        try:
            os.ftruncate(fd, store.size)
            for at in range(0, store.size, COPY):
                data = store.read(at, min(COPY, store.size - at))
                if any(data):
                    write_all(fd, at, data)
            os.fsync(fd)
        except OSError as error:
            os.unlink(target)
            raise ConfigError(f"disk {source}: not converted: {error.strerror or error}") from error
        finally:
            os.close(fd)
    return 0


def _readable(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"
