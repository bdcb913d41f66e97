"""The timer's ticks as Linux counts them, by each policy for those that are missed."""

import time

import pytest

from devmodel.devices.pit import MissedTicks
from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.initramfs import GUESTS
from tests.guests.test_drives import no_complaints, shell_of

HZ = 250  # of Debian's kernel


@pytest.mark.parametrize("missed", [MissedTicks.DELAY, MissedTicks.NO_DELAY])
async def test_linux_gets_its_ticks(initramfs, tmp_path, missed):
    description = tmp_path / "machine.toml"
    description.write_text(f'[pit]\nmissed_ticks = "{missed}"\n')
    append = f"{ARGUMENTS} nohz=off highres=off clocksource=tsc tsc=reliable"
    options = [
        "--kernel",
        str(GUESTS / "vmlinuz"),
        "--initrd",
        str(initramfs),
        "--append",
        append,
        "--memory",
        "256M",
    ]
    async with Machine(description, *options) as machine:
        shell = await shell_of(machine)

        async def ticks() -> int:
            return int((await shell.run("grep timer /proc/interrupts")).split()[1])

        before, begin = await ticks(), time.monotonic()
        await shell.run("sleep 4")
        counted, seconds = await ticks() - before, time.monotonic() - begin
        assert 0.5 * HZ * seconds < counted < 1.1 * HZ * seconds
        await no_complaints(shell)
