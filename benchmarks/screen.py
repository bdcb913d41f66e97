"""The display: what an access of the VGA's chip costs, and how fast a guest prints through its VGA BIOS."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from benchmarks import chips
from benchmarks.machines import has_qemu
from devmodel.board.clock import NS_PER_S
from devmodel.devices.vga import DOT_CLOCKS
from devmodel.devices.vga_memory import PLANES, VIEW
from devmodel.testing import Machine
from tests.devmodel.devices.vga_bench import MODES, TEXT, Bench
from tests.guests.images import SEABIOS, VGABIOS

BIOS: Final = VGABIOS.with_name("vgabios-stdvga.bin")
LINES: Final = 10_000
STATUS1: Final = 0x2A  # input status 1, as an offset from 0x3B0
STATUS1_MONO: Final = 0x0A
BETWEEN_POLLS: Final = 1237
"""Nanoseconds of guest time; no divisor of a line's or a picture's time, so that polls meet every place of it."""


def accesses(times: int) -> Iterator[tuple[str, float]]:
    """Yield common accesses of the chip in its own process, and the µs that one takes."""
    bench = Bench()
    memory, vga = bench.vga.memory, bench.vga

    def micros(access: Callable[[], object]) -> float:
        return chips.micros(access, times)

    yield "text, double word written", micros(lambda: memory.write(TEXT + 8, 4, 0x0742_0741))
    yield "text, word read", micros(lambda: memory.read(TEXT + 8, 2))
    bench.mode("12")
    yield "planes, byte written", micros(lambda: memory.write(5, 1, 0x41))
    yield "planes, byte read", micros(lambda: memory.read(5, 1))
    bench.set(0x3CE, 1, 15)
    bench.set(0x3CE, 8, 0xF0)
    yield "planes, set/reset and bit mask", micros(lambda: memory.write(5, 1, 0x41))
    for mode in (1, 2, 3):
        bench.set(0x3CE, 5, mode)
        yield f"planes, write mode {mode}", micros(lambda: memory.write(5, 1, 0x41))
    yield "graphics controller, index and data", micros(lambda: vga.write(0x1E, 2, 0x5508))
    yield "sequencer, index and data", micros(lambda: vga.write(0x14, 2, 0x0F02))
    yield "CRT controller, index and data", micros(lambda: vga.write(0x24, 2, 0x050E))
    yield "DAC, a byte written", micros(lambda: vga.write(0x19, 1, 5))
    for mode in MODES:
        yield f"input status 1, mode {mode}", micros_of_a_poll(mode, times)


def micros_of_a_poll(mode: str, times: int) -> float:
    """Return what a read of input status 1 takes, a microsecond and a quarter behind the one before, in the picture."""
    bench = Bench.with_memory()
    bench.mode(mode)
    memory = bench.vga.memory.octets
    memory[:PLANES] = os.urandom(PLANES)
    memory[-VIEW:] = os.urandom(VIEW)
    frame, misc = bench.vga.frame(), bench.vga.memory.state.misc
    ticks = frame.horizontal_total * frame.clock_width * frame.vertical_total
    period = -(-ticks * NS_PER_S // DOT_CLOCKS[misc >> 2 & 3])
    clock, read = bench.clock, bench.vga.read
    port = STATUS1 if misc & 1 else STATUS1_MONO

    def begin() -> None:
        clock.time = (clock.time // period + 1) * period

    def wait() -> None:
        clock.time += BETWEEN_POLLS

    def poll() -> None:
        clock.time += BETWEEN_POLLS
        read(port, 1)

    return chips.micros(poll, times, begin) - chips.micros(wait, times, begin)


def can_print() -> bool:
    """Whether there are the VGA BIOS and the assembler that this takes."""
    return SEABIOS.exists() and BIOS.exists() and shutil.which("nasm") is not None


@contextmanager
def disk(lines: int) -> Iterator[str]:
    """Make a disk that prints so many lines."""
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "lines.img")
        source = Path(__file__).with_name("lines.asm")
        subprocess.run(["nasm", f"-DLINES={lines}", "-f", "bin", "-o", image, source], check=True)
        os.truncate(image, 1 << 20)
        yield image


async def printed(lines: int) -> float:
    """Return the seconds that it takes to print so many lines."""
    with disk(lines) as image:
        async with Machine("--firmware", SEABIOS, "--video-bios", BIOS, "--disk", image) as machine:
            await machine.console.expect("b")
            before = time.perf_counter()
            await machine.console.expect("e", 600)
            return time.perf_counter() - before


def printed_by_qemu(lines: int) -> float:
    """Return that for QEMU TCG, with the same BIOSes."""
    with disk(lines) as image:
        process = subprocess.Popen(
            [
                "qemu-system-i386", "-accel", "tcg", "-display", "none", "-vga", "std", "-serial", "stdio",
                "-monitor", "none", "-drive", f"file={image},format=raw",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            while process.stdout.read(1) != b"b":
                pass
            before = time.perf_counter()
            while process.stdout.read(1) != b"e":
                pass
            return time.perf_counter() - before
        finally:
            process.kill()
            process.communicate()


def by_turns(lines: int, repeats: int) -> tuple[float, float | None]:
    """Return the best time of ours, and of QEMU if that is there, each run behind one of the other's."""
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(trio.run(printed, lines))
        if has_qemu():
            theirs.append(printed_by_qemu(lines))
    return min(ours), min(theirs) if theirs else None
