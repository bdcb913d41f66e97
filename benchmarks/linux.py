"""Booting Debian's i386 kernel to a userspace marker, here and in QEMU's translator, with the same files."""

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from benchmarks import breakdown, machines
from devmodel.testing import Machine
from tests.guests.initramfs import GUESTS, MARKER, make_initramfs

ARGUMENTS: Final = "console=ttyS0 noapic nolapic acpi=off panic=-1"
MEGABYTES: Final = 256
DISK: Final = 4 << 20
SECONDS: Final = 600.0
"""How long a boot may take at most."""
TICKS: Final = os.sysconf("SC_CLK_TCK")
SETTLING: Final = 3.0
"""Seconds until a guest that has booted has nothing left to do."""


@attrs.frozen
class Boot:
    """Seconds from the command to the marker; `core` and `devices` are processor time until then."""

    wall: float
    core: float
    """QEMU: all of it."""
    devices: float = 0.0
    statistics: breakdown.Statistics | None = None
    idle: tuple[float, ...] = ()
    """Processor time a second once it has nothing to do, of core and device models, or of QEMU; if it was asked for."""


@attrs.frozen
class Files:
    """What is booted: the same for both."""

    initramfs: Path
    disk: Path

    def fresh_disk(self) -> Path:
        """Return an empty disk."""
        self.disk.unlink(missing_ok=True)
        self.disk.touch()
        os.truncate(self.disk, DISK)
        return self.disk


def missing() -> str:
    """Return what the boots lack, or nothing."""
    if not (GUESTS / "complete").exists():
        return "Debian's i386 kernel, which `make guests` fetches"
    if not machines.has_qemu():
        return f"{machines.QEMU}, to boot beside"
    return ""


@contextmanager
def files() -> Iterator[Files]:
    """Give what is booted, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Files(make_initramfs(Path(folder, "initramfs")), Path(folder, "disk.img"))


async def devmodel(files: Files, vendor: str, *, measured: bool = False, idle: float = 0.0) -> Boot:
    """Boot here, and look at the guest for `idle` seconds afterwards. What is `measured` takes a little longer."""
    arguments = [
        *("--vendor", vendor, "--memory", f"{MEGABYTES}M", "--disk", os.fspath(files.fresh_disk())),
        *("--kernel", os.fspath(GUESTS / "vmlinuz"), "--initrd", os.fspath(files.initramfs)),
        *("--append", ARGUMENTS),
    ]
    if measured:
        arguments += ["--statistics", "--log-format", "json"]
    before = time.perf_counter()
    async with Machine(*arguments) as machine:
        await machine.console.expect(MARKER, SECONDS)
        wall = time.perf_counter() - before
        server = machine.server
        assert server is not None
        (core,) = children(server.pid)
        times = processor_time(core), processor_time(server.pid)
        idling = await trio.to_thread.run_sync(idle_time, idle, core, server.pid) if idle else ()
        server.terminate()
        await machine.wait()
        return Boot(wall, *times, breakdown.find(machine.said()) if measured else None, idling)


def qemu(files: Files, *, idle: float = 0.0) -> Boot:
    """Boot in QEMU's translator, on one thread; then as above."""
    command = [
        *(machines.QEMU, "-accel", "tcg,thread=single", "-m", str(MEGABYTES), "-nographic", "-no-reboot"),
        *("-kernel", os.fspath(GUESTS / "vmlinuz"), "-initrd", os.fspath(files.initramfs)),
        *("-append", ARGUMENTS),
        *("-drive", f"file={files.fresh_disk()},format=raw,if=ide"),
    ]
    before = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            said = b""
            assert process.stdout is not None
            while MARKER.encode() not in said:
                left = before + SECONDS - time.perf_counter()
                if not select.select([process.stdout], [], [], max(left, 0))[0]:
                    raise RuntimeError(f"{machines.QEMU} did not boot in {SECONDS:g} s: {said[-2000:]!r}")
                new = os.read(process.stdout.fileno(), 65536)
                if not new:
                    raise RuntimeError(f"{machines.QEMU} ended: {said[-2000:]!r}")
                said += new
            boot = Boot(time.perf_counter() - before, processor_time(process.pid))
            return attrs.evolve(boot, idle=idle_time(idle, process.pid)) if idle else boot
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    """Return the processes that `pid` started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def processor_time(pid: int) -> float:
    """Return the seconds that all threads of a process have used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle_time(seconds: float, *pids: int) -> tuple[float, ...]:
    """Return the processor time a second of each process while its guest has nothing to do."""
    time.sleep(SETTLING)
    before = [scheduled(pid) for pid in pids]
    time.sleep(seconds)
    return tuple((scheduled(pid) - then) / seconds for pid, then in zip(pids, before, strict=True))


def scheduled(pid: int) -> float:
    """Return the same as `processor_time` to the nanosecond, of the threads that there are now (schedstat)."""
    return (
        sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    )
