"""Shared memory objects: sealed memfds, made by the core and mapped by both sides."""

import errno
import fcntl
import mmap
import os

from ioreq import ProtocolError
from ioreq.layout import PAGE_SIZE

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(name: str, size: int) -> int:
    """Make a zeroed memory object of `size` bytes that nobody can resize, and return its descriptor.

    Sealed, because a peer that shrinks what we have mapped kills us with SIGBUS.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_shared(fd: int, size: int, offset: int = 0) -> mmap.mmap:
    """Map `size` bytes of a received descriptor, from `offset` on.

    Raises:
        ProtocolError: it is no memory object, too small, may shrink, or may not be written; or `offset` is in a page.
        OSError: the host has no descriptor or no memory left.

    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ProtocolError("the descriptor received is no memory object") from error
    if not seals & fcntl.F_SEAL_SHRINK:
        raise ProtocolError("the memory object received is not sealed against shrinking")
    if (actual := os.fstat(fd).st_size) < offset + size:
        raise ProtocolError(f"the memory object received has {actual} bytes, not {offset + size}")
    try:
        return mmap.mmap(fd, size, offset=offset)
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        raise ProtocolError(f"the memory object received cannot be mapped: {error}") from error


def map_page(fd: int) -> mmap.mmap:
    """Map a received page. Raises ProtocolError if it is none: see `map_shared`; and it has the size of a page."""
    mapped = map_shared(fd, PAGE_SIZE)
    if (actual := os.fstat(fd).st_size) != PAGE_SIZE:
        mapped.close()
        raise ProtocolError(f"the page received has {actual} bytes, not {PAGE_SIZE}")
    return mapped


def check_doorbell(fd: int) -> None:
    """Refuse a received descriptor that is no eventfd: ringing it could block, or write into a file.

    Raises:
        ProtocolError: it is none.

    """
    try:
        what = os.readlink(f"/proc/self/fd/{fd}")
    except OSError as error:
        raise ProtocolError("the doorbell received is not open") from error
    if what != "anon_inode:[eventfd]":
        raise ProtocolError("the doorbell received is no eventfd")
    os.set_blocking(fd, False)
