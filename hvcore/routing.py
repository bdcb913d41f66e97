# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""Which ioreq server answers which access (Xen's `hvm_select_ioreq_server`).

Newest server first, disabled ones skipped, and the whole access must lie in what one server has claimed: in one
range, or in several that adjoin, since Xen's rangesets merge those. The tables are read by vCPU threads and written
by the control thread; every change is one store of a finished object, so a reader sees the old answer or the new one.
No change takes longer than painting the ports once for each server, whatever the ranges.
"""

import errno
from bisect import bisect_right
from operator import attrgetter
from typing import Final

import attrs

from hvcore.errors import HvError
from ioreq.core import CoreChannel, CoreEndpoint
from ioreq.layout import MIRROR_CELLS

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
    ranges: list[list[Range]] = attrs.field(factory=lambda: [[], [], []])
    """By space, then by address. A list of ranges is replaced, never changed."""


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
        if mirror and not (
            space == PORT and claims.endpoint.mirrors and mirror + last - first < MIRROR_CELLS
        ):
            raise RangeError(
                errno.EINVAL, f"{SPACES[space]} range {first:#x}-{last:#x} has no cells from {mirror} on"
            )
        ranges = claims.ranges[space]
        at = bisect_right(ranges, first, key=_first)
        for other in ranges[max(at - 1, 0) : at + 1]:
            if first <= other.last and other.first <= last:
                raise RangeError(
                    errno.EEXIST,
                    f"{SPACES[space]} range {first:#x}-{last:#x} overlaps {other.first:#x}-{other.last:#x}",
                )
        if len(ranges) >= MAX_RANGES:
            raise RangeError(errno.ENOSPC, f"at most {MAX_RANGES} {SPACES[space]} ranges a server")
        claimed = Range(first, last, posted, server, claims.endpoint, claims.endpoint.channels, mirror)
        claims.ranges[space] = [*ranges[:at], claimed, *ranges[at:]]
        self._refresh(space, first, last)

    def release(self, server: int, space: int, first: int, last: int) -> None:
        """Unmap a range exactly as it was mapped."""
        self._check(space, first, last)
        claims = self._find(server)
        for claimed in claims.ranges[space]:
            if (claimed.first, claimed.last) == (first, last):
                claims.ranges[space] = [other for other in claims.ranges[space] if other is not claimed]
                self._refresh(space, first, last)
                return
        raise RangeError(errno.ENOENT, f"{SPACES[space]} range {first:#x}-{last:#x} is not mapped")

    def find_port(self, port: int, size: int) -> Range | None:
        """Find what the newest server with the whole access has claimed, where `ports` does not answer."""
        for claims in self._claims:
            if claims.enabled:
                claimed = _covering(claims.ranges[PORT], port, port + size - 1)
                if claimed is not None:
                    return claimed
        return None

    def find_memory(self, address: int, length: int) -> Range | None:
        """Find what the newest server with all `length` bytes has claimed."""
        last = address + length - 1
        for claimed in self.memory:
            if claimed.first <= address <= claimed.last:
                if last <= claimed.last:
                    return claimed
                ranges = self._find(claimed.server).ranges[MEMORY]
                if (adjoining := _covering(ranges, address, last)) is not None:
                    return adjoining
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

    def _rebuild(self, claims: Claims) -> None:
        for space, ranges in enumerate(claims.ranges):
            if ranges:
                last = ranges[len(ranges) - 1].last  # compiled, this file has no indices below 0
                self._refresh(space, ranges[0].first, last)

    def _refresh(self, space: int, first: int, last: int) -> None:
        """Bring the lookups up to date after what is between `first` and `last` came or went."""
        if space == PORT:
            self._paint(first, last)
            return
        ranges = [c for claims in self._claims if claims.enabled for c in claims.ranges[space]]
        if space == MEMORY:
            self.memory = ranges
        else:
            self.pci = ranges

    def _paint(self, first: int, last: int) -> None:
        """Fill in who answers the ports `first` to `last`: the oldest server first, newer ones over it."""
        ports: list[Range | None] = [None] * (last + 1 - first)
        for claims in reversed(self._claims):
            for claimed in claims.ranges[PORT] if claims.enabled else ():
                low, high = max(first, claimed.first), min(last, claimed.last)
                if low <= high:
                    ports[low - first : high + 1 - first] = [claimed] * (high + 1 - low)
        low, high = max(first, CONFIG_ADDRESS), min(last, CONFIG_LAST)
        if low <= high:
            ports[low - first : high + 1 - first] = [None] * (high + 1 - low)
        self.ports[first : last + 1] = ports


_first = attrgetter("first")


def _covering(ranges: list[Range], first: int, last: int) -> Range | None:
    """Return the range with all from `first` to `last`, or what adjoining ones that have it are together.

    Those are posted to if all of them are.
    """
    at = bisect_right(ranges, first, key=_first) - 1
    if at < 0 or ranges[at].last < first:
        return None
    start, end, posted = ranges[at], ranges[at].last, ranges[at].posted
    while end < last:
        at += 1
        if at == len(ranges) or ranges[at].first != end + 1:
            return None
        end = ranges[at].last
        posted = posted and ranges[at].posted
    if end == start.last:
        return start
    return Range(first, last, posted, start.server, start.endpoint, start.channels)
