"""What a vCPU counts always: exits by reason, accesses by port, and how long a sample of both took.

Counting costs an addition in an array. A clock is read for one in `SAMPLE` of the requests that wait, and of the exits:
that is enough for a median and a 99th percentile, and costs little more than counting.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from hvcore.cpu.exitinfo import ExitKind
from hvcore.routing import PORTS, Range
from ioreq.histogram import Histogram
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PIO
from ioreq.messages import Accesses, Exits, VcpuStatistics

SAMPLE: Final = 61
"""A prime, so that a loop of the guest does not have the same of its exits measured every time."""
MOST_BYTES: Final = 56 << 10
MOST_ACCESSES: Final = 256
"""Ports and ranges that a reply names, the busiest, so that it fits into one message."""
REASONS: Final = {kind: name.lower() for name, kind in vars(ExitKind).items() if name.isupper()}
SPACES: Final = {TYPE_PIO: "port", TYPE_COPY: "memory", TYPE_INTACK: "interrupt"}


def _table() -> memoryview:
    return memoryview(bytearray(8 * PORTS)).cast("Q")


class Tally:
    """One vCPU's counts. Written by its thread; another may look."""

    def __init__(self) -> None:
        self.reads = _table()
        """By port, as the others: requests that waited for the server."""
        self.mirrored = _table()
        self.posted = _table()
        self.writes = _table()
        self.acknowledged = 0
        self.asleep_ns = 0
        self._waits: dict[tuple[int, int], Histogram] = {}
        self._exits: dict[int, Histogram] = {}

    def waited(self, type_: int, address: int, ns: int) -> None:
        """Note how long a request took, from asking to the answer."""
        key = type_, address if type_ == TYPE_PIO else 0
        if type_ == TYPE_COPY:
            key = type_, address & ~0xFFFF  # memory is too large to be told apart by address
        histogram = self._waits.get(key)
        if histogram is None:
            if len(self._waits) >= PORTS:
                return
            histogram = self._waits[key] = Histogram()
        histogram.note(ns)

    def handled(self, kind: int, ns: int) -> None:
        """Note how long an exit's handling took."""
        histogram = self._exits.get(kind)
        if histogram is None:
            histogram = self._exits[kind] = Histogram()
        histogram.note(ns)

    def statistics(
        self, vcpu: int, instructions: int, stops: dict[int, int], ranges: Iterable[Range]
    ) -> VcpuStatistics:
        """Return all of it, as a message; `stops` are the exits by kind, `ranges` those of memory."""
        waits = {key: histogram.pairs() for key, histogram in self._waits.copy().items()}
        exits = {kind: histogram.pairs() for kind, histogram in self._exits.copy().items()}
        accesses = [
            Accesses(
                space="port",
                address=port,
                reads=reads,
                mirrored=mirrored,
                posted=posted,
                writes=writes,
                waits=waits.get((TYPE_PIO, port), []),
            )
            for port, (reads, mirrored, posted, writes) in enumerate(
                zip(self.reads, self.mirrored, self.posted, self.writes, strict=True)
            )
            if reads or mirrored or posted or writes
        ]
        for claimed in ranges:
            mine = Histogram()
            for (type_, address), pairs in waits.items():
                if type_ == TYPE_COPY and address <= claimed.last and claimed.first <= address | 0xFFFF:
                    mine.add(pairs)
            accesses.append(
                Accesses(
                    space="memory",
                    address=claimed.first,
                    reads=claimed.reads,
                    posted=claimed.written,
                    writes=claimed.writes,
                    waits=mine.pairs(),
                )
            )
        if self.acknowledged:
            accesses.append(
                Accesses(
                    space="interrupt",
                    address=0,
                    reads=self.acknowledged,
                    waits=waits.get((TYPE_INTACK, 0), []),
                )
            )
        accesses.sort(key=lambda a: a.reads + a.mirrored + a.posted + a.writes, reverse=True)
        said = VcpuStatistics(
            vcpu=vcpu,
            instructions=instructions,
            asleep_ns=self.asleep_ns,
            exits=[
                Exits(REASONS.get(kind, str(kind)), count, exits.get(kind, []))
                for kind, count in sorted(stops.items(), key=lambda item: item[1], reverse=True)
            ],
            accesses=accesses[:MOST_ACCESSES],
        )
        return _fitted(said)


def _fitted(said: VcpuStatistics) -> VcpuStatistics:
    """Leave out durations, those of the rarest first, until it fits into a message."""
    timed = MOST_ACCESSES
    while len(msgspec.json.encode(said)) > MOST_BYTES:
        timed //= 2
        said = msgspec.structs.replace(
            said,
            exits=[*said.exits[:timed], *(Exits(e.reason, e.count) for e in said.exits[timed:])],
            accesses=[
                *said.accesses[:timed],
                *(msgspec.structs.replace(a, waits=[]) for a in said.accesses[timed:]),
            ],
        )
    return said
