"""Debian's kernel with ACPI: started directly, where the server has put the tables, and by SeaBIOS and GRUB."""

import re
import struct
import time
from pathlib import Path

import pytest
import trio

from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.initramfs import DRIVERS, GUESTS, MARKER, make_initramfs

EVENT = struct.Struct("<IIHHi")  # struct input_event of a 32-bit kernel
PRESSED = (1, 116, 1)  # EV_KEY, KEY_POWER, and that it is down
COMPLAINTS = re.compile(r"ACPI.*(error|exception|warning|BIOS bug|invalid|AE_)", re.IGNORECASE)
PM_TIMER = 0x608
PM_TIMER_HZ = 3_579_545  # ACPI 4.8.2.1


async def rate_of(machine: Machine) -> float:
    """Measure the power management timer, for less than its 24 bits take to come round."""
    begin, before = time.monotonic(), await machine.inp(PM_TIMER, 4)
    await trio.sleep(3)
    end, after = time.monotonic(), await machine.inp(PM_TIMER, 4)
    return ((after - before) & 0xFFFFFF) / (end - begin)


@pytest.mark.parametrize("start", ["kernel", "firmware"])
async def test_linux_finds_tables_devices_and_timer_and_switches_off(
    vendor: str, start: str, linux: list[str], seabios: list[str], linux_disk: Path
) -> None:
    started = linux if start == "kernel" else [*seabios, "--memory", "256M", "--disk", str(linux_disk)]
    async with Machine(*started, "--vendor", vendor) as machine:
        await machine.console.expect(MARKER, 240)
        await machine.console.expect("/ # ")
        log = (await machine.run("dmesg")).output
        assert not [line for line in log.splitlines() if COMPLAINTS.search(line)]
        for wanted in (
            r"ACPI: RSDP 0x\w+ 000014 \(v00 DEVMOD\)",
            r"ACPI: PM-Timer IO Port: 0x608",
            r"ACPI: PM: \(supports S0 S5\)",
            r"ACPI: PCI Root Bridge \[PCI0\]",
            r"ACPI: PCI: Interrupt link LNKA configured for IRQ 10",
            r"i8042: PNP: PS/2 Controller \[PNP0303:KBD,PNP0f13:MOU\]",
            r"DMI: devmodel PC",
        ):
            assert re.search(wanted, log), wanted
        sources = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
        # Linux measures the timer for 50 ms, and does not take it if the host was busy elsewhere at their end.
        doubted = "PM-Timer running at invalid rate" in log
        assert doubted or "acpi_pm" in (await machine.run(f"cat {sources}")).output
        assert 0.95 < await rate_of(machine) / PM_TIMER_HZ < 1.05
        assert re.search(r"\b9:\s+\d+\s+XT-PIC\s+acpi", (await machine.run("cat /proc/interrupts")).output)
        found = (await machine.run("ls /sys/bus/acpi/devices")).output
        for device in ("LNXPWRBN:00", "PNP0501:00", "PNP0700:00", "PNP0B00:00", "PNP0C0F:03"):
            assert device in found
        await machine.console.type("poweroff -f\r")
        await machine.console.expect("ACPI: PM: Preparing to enter system sleep state S5")
        assert await machine.wait() == 0


async def test_linux_finds_the_high_precision_event_timers_where_they_are_asked_for(vendor, linux):
    async with Machine(*linux, "--vendor", vendor, "--hpet") as machine:
        await machine.console.expect(MARKER, 240)
        await machine.console.expect("/ # ")
        log = (await machine.run("dmesg | grep -i hpet")).output
        assert "hpet0: at MMIO 0xfed00000, IRQs 2, 8, 0" in log
        assert "hpet0: 3 comparators, 64-bit 10.000000 MHz counter" in log
        timers = (await machine.run("cat /sys/devices/system/clockevents/*/current_device")).output
        assert "hpet" in timers
        assert (await machine.run("sleep 1")).status == 0


async def test_linux_hears_the_power_button_as_a_key_and_what_reads_that_switches_off(vendor, tmp_path):
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    initramfs = make_initramfs(tmp_path / "initramfs", drivers=(*DRIVERS, "evdev", "button"))
    kernel = ["--kernel", GUESTS / "vmlinuz", "--initrd", initramfs, "--append", ARGUMENTS]
    async with Machine(*kernel, "--memory", "256M", "--vendor", vendor) as machine:
        await machine.console.expect(MARKER, 240)
        await machine.console.expect("/ # ")
        devices = (await machine.run("cat /proc/bus/input/devices")).output
        number = devices.split('N: Name="Power Button"')[1].split("event")[1].split()[0]
        # As acpid does: the first event that the button's device tells is what ends the machine.
        daemon = f"dd if=/dev/input/event{number} of=/tmp/event bs={EVENT.size} count=1"
        await machine.run(f"({daemon}; od -An -v -tx1 /tmp/event; poweroff -f) &")
        listens = f"ls -l /proc/[0-9]*/fd 2> /dev/null | grep -q input/event{number}"
        await machine.run(f"while ! ({listens}); do sleep 0.1; done")
        assert await machine.power_button(), "the driver has enabled the button's interrupt"
        told = await machine.console.expect("Preparing to enter system sleep state S5")
        event = bytes.fromhex(re.findall(r"(?:[ ][0-9a-f]{2}){16}", str(told))[-1])
        assert EVENT.unpack(event)[2:] == PRESSED
        assert await machine.wait() == 0
