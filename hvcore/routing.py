# cython: annotation_typing=False
"""Which ioreq server answers which access (Xen's `hvm_select_ioreq_server`).

Newest server first, disabled ones skipped, and the whole access must lie in one claimed range. The tables are
read by vCPU threads and written by the control thread; every change is one store of a finished object, so a
reader sees the old answer or the new one.
"""

import errno
from typing import Final

import attrs

from hvcore.errors import HvError
from ioreq.core import CoreChannel, CoreEndpoint
from ioreq.mirror import CELLS

PORT: Final = 0
MEMORY: Final = 1
PCI: Final = 2
SPACES: Final = ("port", "memory", "pci")

PORTS: Final = 0x10000
CONFIG_ADDRESS: Final = 0xCF8
CONFIG_LAST: Final = 0xCFF
MAX_SERVERS: Final = 8
"""Xen's MAX_NR_IOREQ_SERVERS."""
MAX_RANGES: Final = 256
"""Xen's MAX_NR_IO_RANGES, for each server and space."""


class Range:
    """A claimed range, ends inclusive; `channels` has one a vCPU. `mirror` is the cell of `first`, or 0."""

    __slots__ = (
        *("channels", "endpoint", "first", "last", "mirror", "posted", "server"),
        *("reads", "writes", "written"),
    )

    def __init__(
        self,
        first: int,
        last: int,
        posted: bool,
        server: int,
        endpoint: CoreEndpoint,
        channels: list[CoreChannel],
        mirror: int = 0,
    ) -> None:
        self.first = first
        self.last = last
        self.posted = posted
        self.server = server
        self.endpoint = endpoint
        self.channels = channels
        self.mirror = mirror
        self.reads = 0
        """Of memory, counted here: requests that waited. `written` are the posted ones."""
        self.writes = 0
        self.written = 0


@attrs.define(eq=False)
class Claims:
    """One server's ranges, by space."""

    server: int
    endpoint: CoreEndpoint
    enabled: bool = False
    ranges: tuple[list[Range], list[Range], list[Range]] = attrs.field(factory=lambda: ([], [], []))


class RangeError(HvError):
    """A range that cannot be claimed or given up; `errno` as Xen's, the text says why."""

    def __init__(self, errno: int, text: str) -> None:
        super().__init__(text)
        self.errno = errno


@attrs.define(eq=False)
class Routing:
    """The claims of every attached server, and the lookups of the access path."""

    ports: list[Range | None] = attrs.field(factory=lambda: [None] * PORTS)
    """By port: the newest enabled range that holds it. 0xCF8-0xCFF stay None, they need the slow lookup."""
    memory: list[Range] = attrs.field(factory=list[Range])
    """Newest server first."""
    pci: list[Range] = attrs.field(factory=list[Range])
    _claims: list[Claims] = attrs.field(factory=list[Claims])
    """Newest first."""

    def add(self, server: int, endpoint: CoreEndpoint) -> None:
        """Attach a server, disabled and without ranges; `server` ids must grow."""
        self._claims.insert(0, Claims(server, endpoint))

    def remove(self, server: int) -> None:
        """Detach a server with all its ranges."""
        claims = self._find(server)
        self._claims = [other for other in self._claims if other is not claims]
        self._rebuild(claims)

    def enable(self, server: int, enabled: bool) -> None:
        """Set a server's state: a disabled one is asked nothing."""
        claims = self._find(server)
        claims.enabled = enabled
        self._rebuild(claims)

    def claim(self, server: int, space: int, first: int, last: int, posted: bool, mirror: int = 0) -> None:
        """Map a range. Raises RangeError if it overlaps one of the same server, or there are too many."""
        self._check(space, first, last)
        claims = self._find(server)
        if mirror and not (space == PORT and claims.endpoint.mirrors and mirror + last - first < CELLS):
            raise RangeError(
                errno.EINVAL, f"{SPACES[space]} range {first:#x}-{last:#x} has no cells from {mirror} on"
            )
        ranges = claims.ranges[space]
        for other in ranges:
            if first <= other.last and other.first <= last:
                raise RangeError(
                    errno.EEXIST,
                    f"{SPACES[space]} range {first:#x}-{last:#x} overlaps {other.first:#x}-{other.last:#x}",
                )
        if len(ranges) >= MAX_RANGES:
            raise RangeError(errno.ENOSPC, f"at most {MAX_RANGES} {SPACES[space]} ranges a server")
        claimed = Range(first, last, posted, server, claims.endpoint, claims.endpoint.channels, mirror)
        ranges.append(claimed)
        self._refresh(space, claimed)

    def release(self, server: int, space: int, first: int, last: int) -> None:
        """Unmap a range exactly as it was mapped."""
        self._check(space, first, last)
        claims = self._find(server)
        for claimed in claims.ranges[space]:
            if (claimed.first, claimed.last) == (first, last):
                claims.ranges[space].remove(claimed)
                self._refresh(space, claimed)
                return
        raise RangeError(errno.ENOENT, f"{SPACES[space]} range {first:#x}-{last:#x} is not mapped")

    def find_port(self, port: int, size: int) -> Range | None:
        """Find the newest range with the whole access, where `ports` does not answer."""
        return self._select(PORT, port, port + size - 1)

    def find_memory(self, address: int, length: int) -> Range | None:
        """Find the newest range with all `length` bytes."""
        last = address + length - 1
        for claimed in self.memory:
            if claimed.first <= address and last <= claimed.last:
                return claimed
        return None

    def find_pci(self, sbdf: int) -> Range | None:
        """Find the newest range with segment << 16 | bus << 8 | device << 3 | function."""
        for claimed in self.pci:
            if claimed.first <= sbdf <= claimed.last:
                return claimed
        return None

    def _find(self, server: int) -> Claims:
        for claims in self._claims:
            if claims.server == server:
                return claims
        raise RangeError(errno.ENOENT, f"no ioreq server {server}")

    @staticmethod
    def _check(space: int, first: int, last: int) -> None:
        if space not in {PORT, MEMORY, PCI}:
            raise RangeError(errno.EINVAL, f"space {space}; allowed: 0 port, 1 memory, 2 PCI")
        limit = PORTS if space == PORT else 1 << 32 if space == PCI else 1 << 64
        if not 0 <= first <= last < limit:
            raise RangeError(errno.EINVAL, f"{SPACES[space]} range {first:#x}-{last:#x}")

    def _select(self, space: int, first: int, last: int) -> Range | None:
        for claims in self._claims:
            if claims.enabled:
                for claimed in claims.ranges[space]:
                    if claimed.first <= first and last <= claimed.last:
                        return claimed
        return None

    def _rebuild(self, claims: Claims) -> None:
        for space, ranges in enumerate(claims.ranges):
            for claimed in ranges:
                self._refresh(space, claimed)

    def _refresh(self, space: int, changed: Range) -> None:
        """Bring the lookups up to date after `changed` came or went."""
        if space == PORT:
            for port in range(changed.first, changed.last + 1):
                if not CONFIG_ADDRESS <= port <= CONFIG_LAST:
                    self.ports[port] = self._select(PORT, port, port)
            return
        ranges = [c for claims in self._claims if claims.enabled for c in claims.ranges[space]]
        if space == MEMORY:
            self.memory = ranges
        else:
            self.pci = ranges
