"""`devmodel stats`: what a machine's servers and vCPUs have counted, as a table or as JSON.

Each server answers for its devices, and one of them for the core as well: the counts are made there, by port, and are
put together here by device. Counts are exact. Durations are a sample, one in 61, in nanoseconds.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import msgspec

from devmodel.service.trace import MappedRange
from ioreq.histogram import Histogram
from ioreq.messages import Accesses, Buckets, Statistics

TITLE: Final = (
    f"{'':26} {'reads':>10} {'mirrored':>10} {'writes':>10} {'posted':>10} {'median':>9} {'99 %':>9}"
)
MAX_ROWS: Final = 40
"""Devices in a table; a guest may ask at more addresses than anybody wants to read."""


class ServerStatistics(msgspec.Struct, frozen=True):
    """One server's half: what it has, how long its devices took, and what the core says."""

    machine: str
    parts: list[str]
    ranges: list[MappedRange]
    served: dict[str, Buckets]
    """By device: durations of the requests that it performed, without the way there and back."""
    core: Statistics


class DeviceRow(msgspec.Struct, frozen=True):
    """A device's accesses. `reads` and `writes` waited; durations are in nanoseconds, None if none was measured."""

    device: str
    vcpu: int
    reads: int
    mirrored: int
    writes: int
    posted: int
    wait_median: int | None
    wait_99: int | None
    served_median: int | None
    wait: Buckets
    served: Buckets


class ExitRow(msgspec.Struct, frozen=True):
    """Exits of one kind, and how long they took to be handled, waiting included."""

    reason: str
    vcpu: int
    count: int
    handled_median: int | None
    handled_99: int | None
    handled: Buckets


class VcpuRow(msgspec.Struct, frozen=True):
    """A vCPU as a whole."""

    vcpu: int
    instructions: int
    asleep_ns: int


class Report(msgspec.Struct, frozen=True):
    """All of a machine."""

    machine: str
    vcpus: list[VcpuRow]
    devices: list[DeviceRow]
    exits: list[ExitRow]


@attrs.define
class _Sum:
    reads: int = 0
    mirrored: int = 0
    writes: int = 0
    posted: int = 0
    wait: Histogram = attrs.field(factory=Histogram)

    def add(self, accesses: Accesses) -> None:
        self.reads += accesses.reads
        self.mirrored += accesses.mirrored
        self.writes += accesses.writes
        self.posted += accesses.posted
        self.wait.add(accesses.waits)

    def total(self) -> int:
        return self.reads + self.mirrored + self.writes + self.posted


def report(servers: Sequence[ServerStatistics]) -> Report:
    """Put together what the servers of one machine say."""
    ranges = [r for server in servers for r in server.ranges]
    served: dict[str, Histogram] = {}
    for server in servers:
        for device, pairs in server.served.items():
            served.setdefault(device, Histogram()).add(pairs)
    core = servers[0].core
    devices: list[DeviceRow] = []
    exits: list[ExitRow] = []
    for vcpu in core.vcpus:
        sums: dict[str, _Sum] = {}
        for accesses in vcpu.accesses:
            sums.setdefault(_device(accesses, ranges), _Sum()).add(accesses)
        for device, total in sorted(sums.items(), key=lambda item: item[1].total(), reverse=True):
            mine = served.get(device, Histogram())
            devices.append(
                DeviceRow(
                    device=device,
                    vcpu=vcpu.vcpu,
                    reads=total.reads,
                    mirrored=total.mirrored,
                    writes=total.writes,
                    posted=total.posted,
                    wait_median=total.wait.percentile(0.5),
                    wait_99=total.wait.percentile(0.99),
                    served_median=mine.percentile(0.5),
                    wait=total.wait.pairs(),
                    served=mine.pairs(),
                )
            )
        for exit_ in vcpu.exits:
            handled = Histogram(dict(exit_.handled))
            exits.append(
                ExitRow(
                    exit_.reason,
                    vcpu.vcpu,
                    exit_.count,
                    handled.percentile(0.5),
                    handled.percentile(0.99),
                    exit_.handled,
                )
            )
    vcpus = [VcpuRow(vcpu.vcpu, vcpu.instructions, vcpu.asleep_ns) for vcpu in core.vcpus]
    return Report(servers[0].machine, vcpus, devices, exits)


def _device(accesses: Accesses, ranges: Iterable[MappedRange]) -> str:
    """Return which device has what was accessed; of another program's server there is but the address."""
    if accesses.space == "interrupt":
        return "interrupt"
    for r in ranges:
        if r.space == accesses.space and r.first <= accesses.address <= r.last:
            return r.name
    return f"{accesses.space} {accesses.address:#x}"


def table(now: Report, before: Report | None = None, seconds: float = 1.0) -> str:
    """Return a report as text; with one from `seconds` before, what happened since, a second."""
    rows = [f"{now.machine}: {'since the start' if before is None else f'a second, over {seconds:.1f} s'}"]
    for vcpu in now.vcpus:
        old = None if before is None else next((v for v in before.vcpus if v.vcpu == vcpu.vcpu), None)
        instructions = vcpu.instructions - (0 if old is None else old.instructions)
        asleep = (vcpu.asleep_ns - (0 if old is None else old.asleep_ns)) / 1e9
        if old is None:
            rows.append(f"vCPU {vcpu.vcpu}: {instructions} instructions, asleep {asleep:.1f} s")
        else:
            share = min(100, 100 * asleep / seconds)
            rows.append(
                f"vCPU {vcpu.vcpu}: {instructions / seconds / 1e6:.1f} million instructions, asleep {share:.0f} %"
            )
    rows += ["", TITLE]
    devices = {} if before is None else {(row.vcpu, row.device): row for row in before.devices}
    for row in now.devices[:MAX_ROWS]:
        was = devices.get((row.vcpu, row.device))
        counts = [
            getattr(row, name) - (0 if was is None else getattr(was, name))
            for name in ("reads", "mirrored", "writes", "posted")
        ]
        wait = Histogram(dict(row.wait))
        if was is not None:
            wait.add((index, -count) for index, count in was.wait)
        if before is None or any(counts):
            shown = " ".join(f"{_rate(count, seconds if before else None):>10}" for count in counts)
            median, most = duration(wait.percentile(0.5)), duration(wait.percentile(0.99))
            rows.append(f"{row.device:26} {shown} {median:>9} {most:>9}")
    rows += ["", f"{'exits':26} {'count':>10} {'median':>42} {'99 %':>9}"]
    exits = {} if before is None else {(row.vcpu, row.reason): row for row in before.exits}
    for kind in now.exits:
        past = exits.get((kind.vcpu, kind.reason))
        count = kind.count - (0 if past is None else past.count)
        handled = Histogram(dict(kind.handled))
        if past is not None:
            handled.add((index, -count) for index, count in past.handled)
        if before is None or count:
            median, most = duration(handled.percentile(0.5)), duration(handled.percentile(0.99))
            rows.append(
                f"{kind.reason:26} {_rate(count, seconds if before else None):>10} {median:>42} {most:>9}"
            )
    return "\n".join(rows) + "\n"


def _rate(count: int, seconds: float | None) -> str:
    return str(count) if seconds is None else f"{count / seconds:.0f}"


def duration(ns: int | None) -> str:
    """Return a duration for people, in ns, us or ms; "-" for none."""
    if ns is None:
        return "-"
    if ns < 1000:
        return f"{ns} ns"
    if ns < 1_000_000:
        return f"{ns / 1e3:.1f} us"
    return f"{ns / 1e6:.1f} ms"
