"""Debian's installer, from a CD-ROM as its mini.iso is one: SeaBIOS, ISOLINUX with its menu in VESA graphics, Linux."""

import contextlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import trio

from devmodel import DevmodelError
from devmodel.testing import Machine
from tests.guests.images import VGABIOS
from tests.guests.initramfs import GUESTS

INSTALLER = GUESTS / "installer"
PCI_BIOS = VGABIOS.with_name("vgabios-stdvga.bin")
MENU = (640, 480)
SECONDS = 240


@pytest.fixture(scope="module")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installer's files on a CD that ISOLINUX boots, without emulation of a diskette."""
    if not (INSTALLER / "complete").exists():
        pytest.skip("Debian's installer is fetched by `make guests`")
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is a Debian package")
    folder = tmp_path_factory.mktemp("installer")
    files, image = folder / "files", folder / "mini.iso"
    shutil.copytree(INSTALLER, files)
    loader = files / "debian-installer/i386"
    shutil.copy(loader / "boot-screens/ldlinux.c32", files)
    shutil.copy(loader / "pxelinux.cfg/default", files / "isolinux.cfg")
    boot = [
        "-b",
        "isolinux.bin",
        "-c",
        "boot.cat",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-boot-info-table",
    ]
    make = ["xorriso", "-as", "mkisofs", "-quiet", "-o", image, *boot, "-R", files]
    subprocess.run(make, check=True, capture_output=True)
    return image


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG (W3C PNG specification, 11.2.1)."""
    width, height = struct.unpack_from(">II", png, 16)
    return width, height


async def draws(machine: Machine, size: tuple[int, int]) -> None:
    """Wait until the screen has so many dots."""
    with trio.fail_after(SECONDS):
        while True:
            with contextlib.suppress(DevmodelError):  # there is no picture yet
                if size_of(await machine.png()) == size:
                    return
            await trio.sleep(0.2)


async def types(machine: Machine, *keys: str) -> None:
    """Type keys one by one, each when the BIOS has handed on those before: its buffer has fifteen, and loses the next.

    The buffer is empty when its head is its tail (IBM PC/AT Technical Reference, BIOS data area, 40:1Ah and 40:1Ch).
    """
    with trio.fail_after(SECONDS):
        for key in keys:
            await machine.key(key)
            while len(set(struct.unpack("<HH", await machine.read(0x41A, 4)))) > 1:
                await trio.sleep(0.02)


async def test_debians_installer_boots_from_its_cd(iso, seabios, vendor):
    firmware = [*seabios[:2], "--video-bios", str(PCI_BIOS)]
    async with Machine("--vendor", vendor, "--memory", "512M", *firmware, "--cdrom", str(iso)) as machine:
        await draws(machine, MENU)
        await types(machine, "tab", "spc")  # edits the entry that is chosen
        await types(machine, *"console", "equal", *"tty", "shift-s", "0", "ret")
        await machine.console.expect("Select a language", SECONDS)
