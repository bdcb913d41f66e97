"""Where monitors are: Unix sockets beside the domain's, for their user alone.

Each server of a machine has one. The server with the interrupt controller has `DOMAIN.monitor`, any other
`DOMAIN.PART.monitor`, after the first of its parts.
"""

import contextlib
import errno
import glob
import os
import socket
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import trio

from devmodel import ConfigError, DevmodelError
from devmodel.board.parts import PARTS, in_order
from ioreq.control import MAX_PATH

SUFFIX: Final = ".monitor"
ROOM: Final = 1 + max(map(len, PARTS)) + len(SUFFIX)
"""Bytes that a monitor's path is longer than its domain's, at most."""
SOCKETS: Final = Path("/proc/net/unix")
LISTENS: Final = 0x10000
"""Among the flags of a socket there (SO_ACCEPTCON)."""
MAIN: Final = "pic"
"""The part whose server has the monitor that is named after the domain alone."""
PREFIX: Final = f"devmodel-{os.getuid()}-"
"""Of the private directories that `devmodel run` makes for its sockets."""


def temporary() -> str:
    """Return the directory for sockets whose place nobody has said: TMPDIR, /tmp or another that can be written.

    Raises:
        ConfigError: there is none.

    """
    try:
        return tempfile.gettempdir()
    except OSError:
        raise ConfigError(
            "no directory for temporary files can be written (TMPDIR); give --domain SOCKET"
        ) from None


def path_of(domain_socket: str, parts: frozenset[str]) -> str:
    """Return where the monitor of a server with these parts is."""
    first = in_order(parts)[0]
    return domain_socket + ("" if first == MAIN else f".{first}") + SUFFIX


def paths(domain_socket: str) -> list[str]:
    """Return where monitors of a domain's servers are, as far as there are any; always the main one's."""
    apart = (path_of(domain_socket, frozenset((part,))) for part in PARTS if part != MAIN)
    return [domain_socket + SUFFIX, *(path for path in apart if os.path.exists(path))]


def listen(
    path: str,
    what: str = "",
    taken: str = "another server serves these parts of that domain: it listens there",
) -> trio.SocketListener:
    """Bind a socket for its user alone, mode 0600; what a dead process left there is removed.

    An error says `what` it is, and what it means that somebody listens there already (`taken`).

    Raises:
        ConfigError: it cannot be bound, or somebody else listens there.

    """
    name = f"{what} unix:{path}" if what else path
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), 0o600)
        _bind(sock, path)
        sock.listen(8)
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(f"cannot listen on {name}: {error.strerror or error}") from error
        other = not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode)
        raise ConfigError(f"{name}: {'there is something else than a socket' if other else taken}") from error
    return trio.SocketListener(sock)


def _bind(sock: trio.socket.SocketType, path: str) -> None:
    with socket.socket(fileno=os.dup(sock.fileno())) as plain:
        whole = os.path.abspath(path)
        if len(os.fsencode(whole)) <= MAX_PATH:
            path = whole  # so that `devmodel list` finds it
        try:
            plain.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) != errno.ECONNREFUSED:
                    raise
            os.unlink(path)
            plain.bind(path)


def listening() -> Iterator[str]:
    """Yield the paths of all monitors' sockets that somebody listens on (proc(5): /proc/net/unix)."""
    with contextlib.suppress(OSError), SOCKETS.open(encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.rstrip("\n").split(maxsplit=7)
            if len(fields) < 8 or not (fields[7].startswith("/") and fields[7].endswith(SUFFIX)):
                continue
            if int(fields[3], 16) & LISTENS:
                yield fields[7]


def remove(path: str) -> None:
    """Remove a monitor's socket, unless somebody has done so already."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _of_run(monitors: Iterable[str]) -> set[str]:
    """Return the domain sockets of those of these monitors that are `devmodel run`'s, and answer us."""
    found: set[str] = set()
    for path in monitors:
        with socket.socket(socket.AF_UNIX) as probe:
            if os.path.basename(os.path.dirname(path)).startswith(PREFIX) and probe.connect_ex(path) == 0:
                found.add(path.removesuffix(SUFFIX))
    return found - {f"{path}.{part}" for path in found for part in PARTS}


def find() -> str:
    """Return the domain socket of the one machine of `devmodel run` that is here; of our TMPDIR, if there are some.

    Raises:
        DevmodelError: there is none, or more than one.

    """
    found = _of_run(glob.glob(os.path.join(glob.escape(temporary()), PREFIX + "*", "*" + SUFFIX))) or _of_run(
        listening()
    )
    if not found:
        raise DevmodelError("no machine of `devmodel run` is running; give the SOCKET of a domain")
    if len(found) > 1:
        raise DevmodelError(f"several machines are running; give one of: {' '.join(sorted(found))}")
    return found.pop()
