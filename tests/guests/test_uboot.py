"""Unmodified U-Boot, a firmware that is no BIOS: it finds the machine by itself, and boots Linux from a disk.

It looks at Status 50 us behind a command, reads the data register a word at a time by IN, sets a VBE mode by the option
ROM, and starts a bzImage by its 32-bit entry.
"""

import struct
from pathlib import Path

import pytest

from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.images import SEABIOS
from tests.guests.initramfs import MARKER

UBOOT = Path("/usr/lib/u-boot/qemu-x86/u-boot.rom")
PROMPT = "=> "


@pytest.fixture
def uboot(linux_disk):
    """The options that start U-Boot, with a disk that has Linux in its FAT partition."""
    video = SEABIOS.with_name("vgabios-stdvga.bin")
    for path, package in ((UBOOT, "u-boot-qemu"), (video, "seabios")):
        if not path.exists():
            pytest.skip(f"{path.name} is in Debian's package {package}")
    return [
        "--firmware",
        str(UBOOT),
        "--video-bios",
        str(video),
        "--disk",
        str(linux_disk),
        "--memory",
        "256M",
    ]


async def test_uboot_finds_the_machine_and_boots_linux_from_its_disk(vendor, uboot):
    async with Machine("--vendor", vendor, *uboot) as machine:
        console = machine.console
        await console.expect("Hit any key to stop autoboot", 60)
        await console.type(" ")
        await console.expect(PROMPT)

        async def told(command: str) -> str:
            await console.type(f"{command}\r")
            return (await console.expect(PROMPT, 120)).before.decode()

        assert "1024x768x32" in await told("bdinfo")
        assert struct.unpack(">II", (await machine.png())[16:24]) == (1024, 768)  # of a PNG's IHDR
        functions = await told("pci")
        for known in ("0x8086     0x1237", "0x8086     0x7000", "0x8086     0x7010", "0x8086     0x7113"):
            assert known in functions
        assert "DEVMODEL HARDDISK" in await told("ide reset")
        assert "hello.txt" in await told("ls ide 0:1")
        for address, name in ((0x100_0000, "kernel"), (0x400_0000, "initrd")):
            assert "bytes read" in await told(f"load ide 0:1 {address:x} {name}")
        await told(f"setenv bootargs {ARGUMENTS}")
        await console.type("zboot 1000000 - 4000000 ${filesize}\r")
        await console.expect(MARKER, 120)
        assert (await console.run("cat /proc/cmdline")).output.strip() == ARGUMENTS
