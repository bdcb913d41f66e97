"""Whole machines against the clock: loops in the processor, port reads, and booting."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import breakdown
from benchmarks.guest import Loop, image, latencies
from devmodel.testing import Machine
from tests.guests.images import GRUB, SEABIOS, SERIAL, VGABIOS, make_image

ROOT: Final = Path(__file__).parent.parent
QEMU: Final = "qemu-system-i386"
DEBUG_EXIT: Final = 0x21
"""The exit status of a guest that wrote 10h to the debug-exit port; no failure has it."""

Command = Callable[[Path], list[str]]


def devmodel(firmware: Path) -> list[str]:
    """Return the command that runs an image here."""
    return [sys.executable, "-m", "devmodel", "run", "--firmware", str(firmware), "--memory", "16M"]


def qemu(firmware: Path) -> list[str]:
    """Return the command that runs an image in QEMU's translator, on one thread."""
    options = "-accel tcg,thread=single -m 16 -nodefaults -display none -serial null"
    exit_port = "isa-debug-exit,iobase=0xf4,iosize=0x01"
    return [QEMU, *options.split(), "-device", exit_port, "-bios", str(firmware)]


def has_qemu() -> bool:
    """Whether QEMU is installed."""
    return shutil.which(QEMU) is not None


@contextmanager
def uncompiled() -> Iterator[Path]:
    """Give a folder with a copy of the packages that has nothing compiled."""
    with tempfile.TemporaryDirectory() as folder:
        for package in ("devmodel", "hvcore", "ioreq"):
            shutil.copytree(
                ROOT / package,
                Path(folder, package),
                ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"),
            )
        yield Path(folder)


def turns_a_second(
    loop: Loop, command: Command, seconds: float, *, turns: int, cwd: Path = ROOT, wall: bool = False
) -> float:
    """Return how often a loop turns in a second of processor time, or of `wall` time.

    The start-up is subtracted, by running it hardly at all. `turns` is a first guess, that should take a
    moment.
    """
    with tempfile.TemporaryDirectory() as folder:
        firmware = Path(folder, "loop.bin")
        clock = time.perf_counter if wall else _processor_time

        def run(turns: int) -> float:
            firmware.write_bytes(image(loop, turns))
            before = clock()
            done = subprocess.run(
                command(firmware), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            taken = clock() - before
            if done.returncode != DEBUG_EXIT:
                raise RuntimeError(f"{command(firmware)[0]} ended with {done.returncode}: {done.stderr!r}")
            return taken

        start = min(run(1) for _ in range(2))
        while (taken := run(turns) - start) < seconds:
            turns = min(int(turns * min(max(1.3 * seconds / max(taken, 0.01), 2), 50)), 0xFFFF_FFFF)
        return turns / taken


def port_latencies(port: int, samples: int) -> list[int]:
    """Return how many ns each of so many reads of `port` takes, from guest instruction to guest instruction."""
    with tempfile.TemporaryDirectory() as folder:
        firmware, said = Path(folder, "latency.bin"), Path(folder, "said")
        firmware.write_bytes(latencies(port, samples))
        done = subprocess.run(
            [*devmodel(firmware), "--debug-console", str(said)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != DEBUG_EXIT:
            raise RuntimeError(f"devmodel ended with {done.returncode}: {done.stderr!r}")
        return list(memoryview(said.read_bytes()).cast("I"))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processors busy meanwhile."""
    children = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], cwd=ROOT) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def profile(loop: Loop, turns: int) -> breakdown.Statistics:
    """Run `turns` turns of a loop, and return what the core says of them."""
    with tempfile.TemporaryDirectory() as folder:
        firmware = Path(folder, "loop.bin")
        firmware.write_bytes(image(loop, turns))
        command = [*devmodel(firmware), "--statistics", "--log-format", "json"]
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True
        )
        return breakdown.find(done.stderr)


def _processor_time() -> float:
    """Return what ended children, and theirs, have used; a busy host does not count against them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def time_to_self_test() -> float:
    """Return how many seconds the demo guest takes from command to exit; 0.25 of them it waits for ticks."""
    before = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "devmodel", "run", "--fw-cfg", "opt/devmodel/self-test=1"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - before


def can_boot_grub() -> bool:
    """Whether Debian's packages for it are installed."""
    tools = all(shutil.which(tool) for tool in ("grub-mkimage", "mformat", "mcopy"))
    return tools and SEABIOS.exists() and VGABIOS.exists() and (GRUB / "boot.img").exists()


async def time_to_grub() -> float:
    """Return how many seconds it takes from the command to GRUB's prompt on the serial console."""
    with tempfile.TemporaryDirectory() as folder:
        disk = make_image(Path(folder), "grub", SERIAL)
        before = time.perf_counter()
        async with Machine(
            "--firmware", SEABIOS, "--video-bios", VGABIOS, "--disk", os.fspath(disk)
        ) as machine:
            await machine.console.expect(b"grub>")
            return time.perf_counter() - before
