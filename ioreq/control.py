"""The domain socket: a Unix SOCK_SEQPACKET socket of the core, one message a packet, descriptors beside them.

What both ends share: limits, the check of who is at the other end, and received descriptors. The core's end is
`control_core`, the device model's `control_client`. The socket is of mode 0600, and each end checks the uid of the
other. Packets that are cut off, too long or no valid message end a connection, not a process.
"""

import array
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Sequence
from typing import Final, Protocol

from ioreq import IoreqError

MAX_MESSAGE: Final = 65536
"""Bytes of a message at most."""
MAX_DESCRIPTORS: Final = 253  # Linux' SCM_MAX_FD
MAX_PATH: Final = 107  # of sun_path, with its final NUL
_UCRED: Final = struct.Struct("3i")
"""Process, user and group: struct ucred, as SO_PEERCRED returns it (unix(7))."""


class SocketOptions(Protocol):
    """A socket of any library, as far as it is asked who is at its other end."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Return an option's bytes."""
        ...


def check_path(path: str, *, room: int = 0) -> None:
    """Refuse what can never be a domain socket's path; `room` is how many more bytes are put behind it.

    Raises:
        IoreqError: the text says why, to go behind the path.

    """
    most = MAX_PATH - room
    folder = os.path.dirname(path) or "."
    if not path or "\0" in path:
        raise IoreqError("that is no path of a socket")
    if len(os.fsencode(path)) > most:
        raise IoreqError(f"the path of a socket has at most {most} bytes")
    if not os.path.isdir(folder):
        raise IoreqError(f"there is no directory {folder}")
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise IoreqError("there is something else than a socket")


def check_uid(uid: int, who: str) -> None:
    """Refuse whoever is neither our own user nor root."""
    if uid not in (os.geteuid(), 0):
        raise IoreqError(f"{who} belongs to user {uid}")


def peer_uid(sock: SocketOptions) -> int:
    """Return the user at the other end of a connected Unix socket."""
    uid: int = _credentials(sock)[1]
    return uid


def peer_pid(sock: SocketOptions) -> int:
    """Return the process at the other end of a connected Unix socket; 0 if it cannot be seen from here."""
    pid: int = _credentials(sock)[0]
    return pid


def _credentials(sock: SocketOptions) -> tuple[int, ...]:
    """Return process, user and group at the other end, as they were when it connected or began to listen."""
    return _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))


def received_descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in what recvmsg calls ancillary data."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
