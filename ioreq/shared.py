"""Shared memory objects: sealed memfds, made by the core and mapped by both sides."""

import fcntl
import mmap
import os

from ioreq import ProtocolError

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(name: str, size: int) -> int:
    """Make a zeroed memory object of `size` bytes that nobody can resize, and return its descriptor.

    Sealed, because a peer that shrinks what we have mapped kills us with SIGBUS.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def map_shared(fd: int, size: int) -> mmap.mmap:
    """Map the first `size` bytes of a received descriptor; refuse what is not as it should be."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ProtocolError("the descriptor received is no memory object") from error
    if not seals & fcntl.F_SEAL_SHRINK:
        raise ProtocolError("the memory object received is not sealed against shrinking")
    if (actual := os.fstat(fd).st_size) < size:
        raise ProtocolError(f"the memory object received has {actual} bytes, not {size}")
    return mmap.mmap(fd, size)
