"""Debian's unmodified i386 kernel, to a shell on ttyS0 and back, under both vendors."""

import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devmodel.testing import Machine
from tests.guests.initramfs import MARKER

PROMPT = "/ # "
SECTORS = 4096
COMPLAINTS = re.compile(
    r"unstable|spurious|nobody cared|unexpected|too slow|calibration|stuck|lost |overrun|timed? ?out|"
    r"exception Emask|failed command|BUG|WARNING|Oops|Call Trace|soft lockup|MTRR|PAT ",
    re.IGNORECASE,
)
QUIET = (  # lines that silicon gets as well
    "tsc: Fast TSC calibration using PIT",
    "x86/PAT: Configuration",
    "Calibrating delay loop",
    'use "pci=nocrs" and report a bug',
)


class Shell:
    """A busybox shell on the serial console."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def run(self, command: str, seconds: float = 60) -> str:
        """Run a command, and return what it printed."""
        console = self.machine.console
        await console.type(command + "\r")
        await console.expect("\r\n", seconds)  # the echo
        said = await console.expect(PROMPT, seconds)
        return said.decode().removesuffix(PROMPT).replace("\r\n", "\n")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk of random bytes."""
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(SECTORS * 512))
    return image


@pytest.fixture
async def shell(vendor: str, linux: list[str], disk: Path) -> AsyncIterator[Shell]:
    """A shell on a machine that has just booted."""
    async with Machine(*linux, "--disk", disk, "--vendor", vendor) as machine:
        await machine.console.expect(MARKER, 240)
        await machine.console.expect(PROMPT)
        yield Shell(machine)


def interrupts(table: str) -> dict[str, int]:
    """Counts by interrupt request, from /proc/interrupts."""
    return {
        line.split(":")[0].strip(): int(line.split()[1]) for line in table.splitlines() if "XT-PIC" in line
    }


async def test_a_kernel_boots_to_a_shell_that_works(shell, disk):
    await shell.run("stty -echoctl; PS1='/ # '")
    processor = await shell.run("cat /proc/cpuinfo")
    assert re.search(r"^fpu\s+: yes$", processor, re.MULTILINE)
    assert re.search(r"^flags\s+:.*\bsse2\b", processor, re.MULTILINE)

    before = interrupts(await shell.run("cat /proc/interrupts"))
    wanted = hashlib.sha256(disk.read_bytes()).hexdigest()
    read = await shell.run("dd if=/dev/sda bs=64k 2>/dev/null | sha256sum")
    assert read.split()[0] == wanted
    slept = await shell.run("cat /proc/uptime; sleep 1; cat /proc/uptime")
    start, end = (float(line.split()[0]) for line in slept.splitlines())
    assert 1 <= end - start < 3
    after = interrupts(await shell.run("cat /proc/interrupts"))
    for request in ("0", "4", "14"):
        assert after[request] > before[request], request

    assert "forked 200" in await shell.run(
        "n=0; for i in $(seq 200); do /bin/true && n=$((n+1)); done; echo forked $n", 120
    )
    complaints = [
        line
        for line in (await shell.run("dmesg")).splitlines()
        if COMPLAINTS.search(line) and not any(quiet in line for quiet in QUIET)
    ]
    assert complaints == []

    await shell.machine.console.type("poweroff -f\r")
    assert await shell.machine.wait() == 0


async def test_grub_on_the_ide_disk_boots_the_same_kernel(vendor, seabios, linux_disk):
    async with Machine(*seabios, "--disk", linux_disk, "--memory", "256M", "--vendor", vendor) as machine:
        await machine.console.expect("Linux version", 120)
        await machine.console.expect(MARKER, 240)
        await machine.console.expect(PROMPT)
        await machine.console.type("poweroff -f\r")
        assert await machine.wait() == 0
