"""Disks and CD-ROM drives with the drivers of Linux and SeaBIOS: DMA and PIO, file systems, El Torito, another disc."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from devmodel import DevmodelError
from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.images import GRUB, SERIAL
from tests.guests.initramfs import DRIVERS, GUESTS, MARKER, make_initramfs
from tests.guests.test_linux import COMPLAINTS, PROMPT, QUIET, Shell

MEGABYTES = 64


def tool(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is in Debian's package {package}")
    return found


def make_iso(path: Path, files: dict[str, bytes], *options: str) -> Path:
    """An ISO 9660 image with Rock Ridge names."""
    folder = path.with_suffix(".files")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    command = [
        tool("xorriso", "xorriso"),
        "-as",
        "mkisofs",
        "-quiet",
        "-R",
        *options,
        "-o",
        str(path),
        str(folder),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return path


def options_of(folder: Path, **options: str) -> list[str]:
    """The options that boot Linux with drivers of file systems."""
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    initramfs = make_initramfs(
        folder / "initramfs", drivers=(*DRIVERS, "isofs", "crc32c_generic", "ext4"), options=options
    )
    arguments = ["--kernel", str(GUESTS / "vmlinuz"), "--initrd", str(initramfs), "--append", ARGUMENTS]
    return [*arguments, "--memory", "256M"]


async def shell_of(machine: Machine) -> Shell:
    await machine.console.expect(MARKER, 240)
    await machine.console.expect(PROMPT)
    shell = Shell(machine)
    # What the kernel says goes to its log only, and not between what a command prints.
    await shell.run("stty -echoctl; PS1='/ # '; echo 1 > /proc/sys/kernel/printk")
    return shell


async def no_complaints(shell: Shell) -> None:
    lines = (await shell.run("dmesg")).splitlines()
    assert [line for line in lines if COMPLAINTS.search(line) and not any(q in line for q in QUIET)] == []


@pytest.mark.parametrize("way", ["dma", "pio"])
async def test_what_linux_copies_from_disk_to_disk_is_the_same_by_pio_and_by_dma(vendor, way, tmp_path):
    source, target = tmp_path / "source.img", tmp_path / "target.img"
    source.write_bytes(os.urandom(MEGABYTES << 20))
    with target.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    linux = options_of(tmp_path, **({} if way == "dma" else {"libata": "dma=0"}))
    async with Machine(*linux, "--disk", source, "--disk", target, "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        assert re.search(r"ata1: PATA max MWDMA2 .* bmdma 0x[1-9a-f]", await shell.run("dmesg"))
        await shell.run(f"dd if=/dev/sda of=/dev/sdb bs=1M count={MEGABYTES}; sync", 240)
        assert await shell.run("cmp /dev/sda /dev/sdb && echo same", 240) == "same\n"
        await no_complaints(shell)
        await machine.console.type("poweroff -f\r")
        assert await machine.wait() == 0
    assert target.read_bytes() == source.read_bytes()


async def test_files_that_linux_writes_to_ext4_are_on_the_host(vendor, tmp_path):
    image = tmp_path / "ext4.img"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    await trio.run_process([tool("mkfs.ext4", "e2fsprogs"), "-q", str(image)])
    async with Machine(*options_of(tmp_path), "--disk", image, "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        await shell.run("mount -t ext4 /dev/sda /tmp && seq 1 100000 > /tmp/numbers && umount /tmp", 120)
        await no_complaints(shell)
        await machine.console.type("poweroff -f\r")
        assert await machine.wait() == 0
    check = [tool("e2fsck", "e2fsprogs"), "-fn", str(image)]
    await trio.run_process(check, capture_stdout=True)  # which raises if it finds anything
    read = [tool("debugfs", "e2fsprogs"), "-R", "cat /numbers", str(image)]
    numbers = (await trio.run_process(read, capture_stdout=True, capture_stderr=True)).stdout
    assert numbers == b"".join(b"%d\n" % n for n in range(1, 100001))


async def test_linux_mounts_a_disc_and_the_one_that_follows_it(vendor, tmp_path):
    big = os.urandom(4 << 20)
    first = make_iso(tmp_path / "first.iso", {"name": b"first\n", "big": big})
    second = make_iso(tmp_path / "second.iso", {"name": b"second\n"})
    async with Machine(*options_of(tmp_path), "--cdrom", first, "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        await shell.run("mount -t iso9660 -o ro /dev/sr0 /tmp")
        assert await shell.run("cat /tmp/name") == "first\n"
        assert (await shell.run("sha256sum /tmp/big")).split()[0] == hashlib.sha256(big).hexdigest()
        with pytest.raises(DevmodelError, match="the guest has locked the tray"):
            await machine.eject()
        await shell.run("umount /tmp")
        await machine.eject()
        assert "No medium found" in await shell.run("mount -t iso9660 -o ro /dev/sr0 /tmp 2>&1")
        with pytest.raises(DevmodelError, match=r"no-such\.iso: No such file"):
            await machine.insert(tmp_path / "no-such.iso")
        await machine.insert(second)
        await shell.run("mount -t iso9660 -o ro /dev/sr0 /tmp")
        assert await shell.run("cat /tmp/name") == "second\n"


@pytest.mark.parametrize("disks", [0, 1])
async def test_seabios_boots_grub_from_a_disc(vendor, disks, seabios, grub_tools, tmp_path):
    """El Torito without emulation; GRUB reads the disc by the firmware's services."""
    if not (GRUB / "cdboot.img").exists():
        pytest.skip("cdboot.img is in Debian's package grub-pc-bin")
    config = tmp_path / "grub.cfg"
    config.write_text(SERIAL + "echo the disc says\ncat (cd)/hello.txt\n")
    core = tmp_path / "core.img"
    modules = "biosdisk iso9660 serial terminal normal ls cat echo".split()  # noqa: SIM905
    command = [
        "grub-mkimage",
        "-O",
        "i386-pc-eltorito",
        "-c",
        str(config),
        "-p",
        "/",
        "-o",
        str(core),
        *modules,
    ]
    await trio.run_process(command)
    files = {"hello.txt": b"Hello from a disc.\n", "boot/core.img": core.read_bytes()}
    boot = ("-b", "boot/core.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table")
    disc = make_iso(tmp_path / "boot.iso", files, *boot)
    blank = tmp_path / "blank.img"
    blank.write_bytes(bytes(1 << 20))
    drives = ["--cdrom", disc, *["--disk", blank] * disks]
    async with Machine(*seabios, *drives, "--vendor", vendor) as machine:
        await machine.console.expect("the disc says", 60)
        await machine.console.expect("Hello from a disc.", 60)
