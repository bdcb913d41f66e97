"""`python -m benchmarks [--quick]`: a table on the terminal, and the same as JSON."""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from benchmarks import breakdown, chips, guest, linux, machines, screen, transport
from hvcore.cpu.processor import COMPILED

RESULTS: Final = Path(__file__).with_name("results.json")


@attrs.frozen
class Figure:
    """One row. `ratio` is to the peer named in `beside`."""

    name: str
    value: float
    unit: str
    beside: str = ""
    ratio: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Figures of devmodel.")
    parser.add_argument("--quick", action="store_true", help="a minute in all, and rough")
    parser.add_argument("--output", metavar="FILE", type=Path, default=RESULTS, help="the JSON file")
    options = parser.parse_args(argv)
    where = describe_host()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    figures: list[Figure] = []

    def add(figure: Figure) -> None:
        figures.append(figure)
        ratio = "" if figure.ratio is None else f"{figure.ratio:8.3g} x {figure.beside}"
        print(f"  {figure.name:<52}{figure.value:>10.3g} {figure.unit:<5}{ratio}", flush=True)

    measure(add, quick=options.quick)
    profiles = profile_loops(quick=options.quick)
    lacking = linux.missing() if COMPILED else "a compiled processor"
    if lacking:
        print(f"  no boot of Linux: it needs {lacking}")
    else:
        profiles |= boot_linux(add, quick=options.quick)
    for line in breakdown.table(profiles):
        print(line)
    document = {
        "host": where,
        "quick": options.quick,
        "figures": [attrs.asdict(f) for f in figures],
        "profiles": profiles,
    }
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written to {options.output}")
    return 0


def describe_host() -> dict[str, str]:
    """Return what the figures depend on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "processors": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def measure(add: Callable[[Figure], None], *, quick: bool) -> None:
    """Measure everything, in the order of the table."""
    seconds = 0.1 if quick else 1.0
    repeats = 1 if quick else 3

    def median(once: Callable[[], float]) -> float:
        return statistics.median(once() for _ in range(repeats))

    qemu = machines.has_qemu()
    with machines.uncompiled() as copy:
        for loop in (guest.COMPUTE, guest.MEMORY):

            def mips(command: machines.Command, turns: int, cwd: Path = machines.ROOT) -> float:
                def once() -> float:
                    return machines.turns_a_second(loop, command, seconds, turns=turns, cwd=cwd)  # noqa: B023

                return median(once) * loop.instructions / 1e6  # noqa: B023

            peer = mips(machines.qemu, 10_000_000) if qemu else None
            if COMPILED:
                value = mips(machines.devmodel, 2_000_000)
                add(
                    Figure(
                        f"{loop.name} loop, compiled",
                        value,
                        "MIPS",
                        "QEMU TCG",
                        None if peer is None else value / peer,
                    )
                )
            value = mips(machines.devmodel, 10_000, copy)
            add(
                Figure(
                    f"{loop.name} loop, uncompiled",
                    value,
                    "MIPS",
                    "QEMU TCG",
                    None if peer is None else value / peer,
                )
            )
            if peer is not None:
                add(Figure(f"{loop.name} loop, QEMU TCG", peer, "MIPS"))

    if COMPILED and not guest.DOS.lacks():
        turns = median(lambda: machines.turns_a_second(guest.DOS, machines.devmodel, seconds, turns=1000))
        theirs = None
        if qemu:
            theirs = median(lambda: machines.turns_a_second(guest.DOS, machines.qemu, seconds, turns=1000))
        add(
            Figure(
                "real-mode program, a turn",
                1e6 / turns,
                "µs",
                "QEMU TCG",
                None if theirs is None else theirs / turns,
            )
        )

    def micros(loop: guest.Loop, command: machines.Command) -> float:
        return 1e6 / median(lambda: machines.turns_a_second(loop, command, seconds, turns=20_000, wall=True))

    bell = median(lambda: transport.eventfd_ping_pong(seconds))
    add(Figure("eventfd ping-pong between two processes", bell, "µs"))
    value = median(lambda: transport.ioreq_round_trip(seconds))
    add(Figure("ioreq round trip, no processor", value, "µs", "eventfd", value / bell))
    for loop, name in (
        (guest.PORT, "port read by a guest, across processes"),
        (guest.MIRRORED, "port read by a guest, mirrored"),
        (guest.POSTED, "port write by a guest, posted"),
    ):
        value = micros(loop, machines.devmodel)
        add(Figure(name, value, "µs", "eventfd", value / bell))
    if qemu:
        value = micros(guest.PORT, machines.qemu)
        add(Figure("port read by a guest, QEMU in one process", value, "µs", "eventfd", value / bell))
    measure_latencies(add, quick=quick)
    add(Figure("demo guest, command to exit", median(machines.time_to_self_test), "s"))
    if machines.can_boot_grub():
        add(
            Figure("SeaBIOS and GRUB, command to grub>", median(lambda: trio.run(machines.time_to_grub)), "s")
        )
    for name, micros_each in chips.accesses(10_000 if quick else 100_000):
        add(Figure(f"chips in their process: {name}", micros_each, "µs"))
    measure_display(add, quick=quick)


def measure_display(add: Callable[[Figure], None], *, quick: bool) -> None:
    """Time the VGA's chip, and lines that a guest prints by INT 10h."""
    for name, micros in screen.accesses(10_000 if quick else 200_000):
        add(Figure(f"VGA in its process: {name}", micros, "µs"))
    if not screen.can_print():
        return
    lines = 1_000 if quick else screen.LINES
    ours, theirs = screen.by_turns(lines, 1 if quick else 3)
    add(
        Figure(
            f"{lines} lines printed through SeaVGABIOS",
            ours,
            "s",
            "QEMU TCG",
            None if theirs is None else ours / theirs,
        )
    )
    if theirs is not None:
        add(Figure(f"{lines} lines printed through SeaVGABIOS, QEMU TCG", theirs, "s"))


def measure_latencies(add: Callable[[Figure], None], *, quick: bool) -> None:
    """Time single port reads, on the host as it is and with a busy process beside."""
    samples = 2_000 if quick else 100_000
    for processes, beside in ((0, ""), (1, ", one process beside")):
        with machines.busy(processes):
            bell = transport.eventfd_ping_pong(0.1 if quick else 1.0)
            times = sorted(machines.port_latencies(0x61, samples))
        if processes:
            add(Figure(f"eventfd ping-pong{beside}", bell, "µs"))
        for name, part in (("median", 0.5), ("99th percentile", 0.99)):
            value = times[int(part * len(times))] / 1000
            add(Figure(f"one port read{beside}: {name}", value, "µs", "eventfd", value / bell))


def profile_loops(*, quick: bool) -> dict[str, dict[str, Any]]:
    """Return where the time of the loops goes."""
    turns = {guest.COMPUTE: 20_000_000, guest.MEMORY: 20_000_000, guest.PORT: 100_000}
    part = 10 if quick or not COMPILED else 1
    part *= 1 if COMPILED else 100
    return {
        loop.name: breakdown.derive(machines.profile(loop, max(count // part, 1000)))
        for loop, count in turns.items()
    }


def boot_linux(add: Callable[[Figure], None], *, quick: bool) -> dict[str, dict[str, Any]]:
    """Boot Debian's i386 kernel here and in QEMU by turns, and return where the time goes.

    A ratio is the median of those of the pairs: a boot here, and the one of QEMU that followed it. The boot that is
    measured inside comes first and counts for nothing else, unless it must be `quick`.
    """
    vendors = ("vmx",) if quick else ("vmx", "svm")
    boots: dict[str, list[linux.Boot]] = {name: [] for name in (*vendors, "QEMU")}
    pairs_each = 5
    with linux.files() as files:
        measured = trio.run(lambda: linux.devmodel(files, "vmx", measured=True))
        if quick:
            boots["vmx"].append(measured)
            boots["QEMU"].append(linux.qemu(files))
        for _ in range(0 if quick else pairs_each):
            for vendor in vendors:
                boots[vendor].append(trio.run(lambda: linux.devmodel(files, vendor)))  # noqa: B023
                boots["QEMU"].append(linux.qemu(files))
    for number, vendor in enumerate(vendors):
        pairs = zip(boots[vendor], boots["QEMU"][number :: len(vendors)], strict=True)
        ratio = statistics.median(ours.wall / theirs.wall for ours, theirs in pairs)
        median = _medians(boots[vendor])
        add(Figure(f"Linux to userspace, {vendor}", median.wall, "s", "QEMU TCG", ratio))
        add(Figure(f"Linux to userspace, {vendor}: processor time, core", median.core, "s"))
        add(Figure(f"Linux to userspace, {vendor}: … device models", median.devices, "s"))
    median = _medians(boots["QEMU"])
    add(Figure("Linux to userspace, QEMU TCG", median.wall, "s"))
    add(Figure("Linux to userspace, QEMU TCG: processor time", median.core, "s"))
    for processes in () if quick else (1, 2):
        _boot_beside(add, processes)
    _idle(add, pairs=1 if quick else 3, seconds=2 if quick else 10)
    assert measured.statistics is not None
    return {"Linux": breakdown.derive(measured.statistics)}


def _boot_beside(add: Callable[[Figure], None], processes: int) -> None:
    """Boot by turns while other processes keep processors busy."""
    with machines.busy(processes), linux.files() as files:
        pairs = [(trio.run(lambda: linux.devmodel(files, "vmx")), linux.qemu(files)) for _ in range(3)]
    ratio = statistics.median(ours.wall / theirs.wall for ours, theirs in pairs)
    wall = statistics.median(ours.wall for ours, _ in pairs)
    beside = "one busy process" if processes == 1 else f"{processes} busy processes"
    add(Figure(f"Linux to userspace, vmx, {beside} beside", wall, "s", "QEMU TCG", ratio))


def _idle(add: Callable[[Figure], None], *, pairs: int, seconds: float) -> None:
    """Boot by turns, and let both be idle, with the guest's 250 ticks a second."""
    with linux.files() as files:
        idle = [
            (
                trio.run(lambda: linux.devmodel(files, "vmx", idle=seconds)).idle,
                linux.qemu(files, idle=seconds).idle[0],
            )
            for _ in range(pairs)
        ]
    ratio = statistics.median(sum(ours) / theirs for ours, theirs in idle)
    both = statistics.median(sum(ours) for ours, _ in idle)
    add(Figure("idle Linux, vmx: processor time", 100 * both, "%", "QEMU TCG", ratio))
    add(Figure("idle Linux, vmx: … core", 100 * statistics.median(ours[0] for ours, _ in idle), "%"))
    add(Figure("idle Linux, QEMU TCG", 100 * statistics.median(theirs for _, theirs in idle), "%"))


def _medians(boots: list[linux.Boot]) -> linux.Boot:
    """Return the median of each figure."""
    return linux.Boot(
        *(statistics.median(getattr(boot, name) for boot in boots) for name in ("wall", "core", "devices"))
    )


if __name__ == "__main__":
    sys.exit(main())
