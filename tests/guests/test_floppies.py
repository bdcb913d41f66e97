"""Diskettes with the drivers of Linux, SeaBIOS and GRUB: boots, file systems, media that change, protection."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from devmodel import DevmodelError
from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.images import GRUB, SERIAL
from tests.guests.initramfs import DRIVERS, GUESTS, make_initramfs
from tests.guests.test_drives import no_complaints, shell_of, tool
from tests.guests.test_memtest import MEMTEST

KB = 1024
SIZES = {"360K": 360 * KB, "720K": 720 * KB, "1.2M": 1200 * KB, "1.44M": 1440 * KB, "2.88M": 2880 * KB}

BOOT_SECTOR = """
        bits 16
        org 7C00h
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 7C00h
        mov [drive], dl
        mov si, booted
        call print
        mov ax, 0201h           ; read the last sector of the first cylinder
        mov bx, 8000h
        mov cx, SECTORS
        mov dh, 1
        mov dl, [drive]
        int 13h
        jc failed
        mov si, 8000h
        call print
        mov ax, 0301h           ; write it to the last cylinder
        mov bx, 8000h
        mov cx, (CYLINDERS - 1) << 8 | 1
        mov dh, 0
        mov dl, [drive]
        int 13h
        jc failed
        mov ax, 0400h + SECTORS ; verify all of a track
        mov cx, 0001h
        mov dh, 0
        mov dl, [drive]
        int 13h
        jc failed
        mov si, done
        call print
        jmp leave
failed: mov si, wrong
        call print
leave:  mov al, 0
        out 0F4h, al
        hlt
print:  lodsb
        test al, al
        jz .end
        mov dx, 3F8h
        out dx, al
        jmp print
.end:   ret
drive:  db 0
booted: db "booted", 13, 10, 0
done:   db "written and verified", 13, 10, 0
wrong:  db "failed", 13, 10, 0
        times 510 - ($ - $$) db 0
        dw 0AA55h
"""


def boot_diskette(folder: Path, cylinders: int, sectors: int) -> Path:
    """A diskette whose boot sector reads, writes and verifies by INT 13h."""
    source, image = folder / "boot.asm", folder / "boot.img"
    source.write_text(BOOT_SECTOR)
    subprocess.run(
        [tool("nasm", "nasm"), f"-DSECTORS={sectors}", f"-DCYLINDERS={cylinders}", "-o", image, source],
        check=True,
    )
    data = bytearray(image.read_bytes()).ljust(cylinders * 2 * sectors * 512, b"\0")
    at = (2 * sectors - 1) * 512
    data[at : at + 13] = b"last sector\r\n"
    image.write_bytes(data)
    return image


def fat_diskette(path: Path, size: int, files: dict[str, bytes]) -> Path:
    """A diskette with a FAT file system."""
    path.write_bytes(bytes(size))
    subprocess.run([tool("mformat", "mtools"), "-i", path, "-f", str(size // KB), "::"], check=True)
    for name, data in files.items():
        source = path.with_suffix(f".{name}")
        source.write_bytes(data)
        subprocess.run(["mcopy", "-i", path, source, f"::{name}"], check=True)
    return path


def linux(folder: Path) -> list[str]:
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    drivers = (*DRIVERS, "floppy", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1")
    initramfs = make_initramfs(folder / "initramfs", drivers=drivers)
    arguments = ["--kernel", str(GUESTS / "vmlinuz"), "--initrd", str(initramfs), "--append", ARGUMENTS]
    return [*arguments, "--memory", "256M"]


@pytest.mark.parametrize(
    ("cylinders", "sectors"), [(40, 9), (80, 9), (80, 15), (80, 18), (80, 36)], ids=SIZES.keys()
)
async def test_seabios_boots_a_diskette_of_each_size_and_writes_to_it(cylinders, sectors, seabios, tmp_path):
    image = boot_diskette(tmp_path, cylinders, sectors)
    async with Machine(*seabios, "--floppy", image) as machine:
        await machine.console.expect("booted\r\nlast sector\r\nwritten and verified\r\n")
        assert await machine.wait() == 1
    at = (cylinders - 1) * 2 * sectors * 512
    assert image.read_bytes()[at : at + 13] == b"last sector\r\n"


async def test_an_image_of_a_boot_sector_alone_boots(seabios, vendor, tmp_path):
    image = boot_diskette(tmp_path, 80, 18)
    image.write_bytes(image.read_bytes()[:512])
    async with Machine(*seabios, "--floppy", image, "--vendor", vendor) as machine:
        await machine.console.expect("booted\r\n")
        await machine.console.expect("written and verified\r\n")
        assert await machine.wait() == 1


async def test_memtest86_starts_from_a_diskette(seabios, tmp_path):
    """Its file is an image to be written to a diskette, and ends within a sector."""
    if not MEMTEST.exists():
        pytest.skip(f"{MEMTEST.name} is in Debian's package memtest86+")
    async with Machine(
        *seabios, "--floppy", shutil.copy(MEMTEST, tmp_path / "image"), "--memory", "32M"
    ) as machine:
        screen = await machine.shows("Memory  :   32MB", 120)
        assert "Memtest86+ v" in screen


async def test_grub_boots_from_a_diskette(seabios, grub_tools, tmp_path):
    config, core, image = tmp_path / "grub.cfg", tmp_path / "core", tmp_path / "grub.img"
    config.write_text(SERIAL + "ls\n")
    modules = ["biosdisk", "fat", "serial", "terminal", "normal", "ls", "halt", "cat"]
    command = ["grub-mkimage", "-O", "i386-pc", "-c", str(config), "-p", "(fd0)/", "-o", str(core), *modules]
    await trio.run_process(command)
    image.write_bytes(((GRUB / "boot.img").read_bytes() + core.read_bytes()).ljust(1440 * KB, b"\0"))
    second = fat_diskette(tmp_path / "b.img", 720 * KB, {"hello.txt": b"Hello from drive B.\n"})
    async with Machine(*seabios, "--floppy", image, "--floppy", second) as machine:
        await machine.console.expect("grub>", 120)
        await machine.console.type("cat (fd1)/hello.txt\r")
        await machine.console.expect("Hello from drive B.", 120)


async def test_linux_reads_and_writes_a_file_system_and_sees_another_diskette(vendor, tmp_path):
    contents = os.urandom(300 * KB)
    first = fat_diskette(tmp_path / "first.img", 1440 * KB, {"big": contents})
    second = fat_diskette(tmp_path / "second.img", 720 * KB, {"name": b"second\n"})
    async with Machine(*linux(tmp_path), "--floppy", first, "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        log = await shell.run("dmesg")
        assert "Floppy drive(s): fd0 is 1.44M" in log
        assert "FDC 0 is a post-1991 82077" in log
        await shell.run("mount -t vfat /dev/fd0 /tmp")
        assert (await shell.run("sha256sum /tmp/big")).split()[0] == hashlib.sha256(contents).hexdigest()
        await shell.run("seq 1 10000 > /tmp/numbers && umount /tmp", 120)
        await machine.insert(second, floppy=True)
        # While jiffies are negative, for five minutes, this kernel does not look at the change line when the device is
        # opened: the first request finds out and fails, here as on any other machine.
        await shell.run("mount -t vfat /dev/fd0 /tmp 2>/dev/null || mount -t vfat /dev/fd0 /tmp", 120)
        assert await shell.run("cat /tmp/name") == "second\n"
        await shell.run("umount /tmp")
        await machine.eject(floppy=True)
        assert "error" in await shell.run("cat /dev/fd0 2>&1 | head -c 200", 120)
        with pytest.raises(DevmodelError, match="there is no floppy drive 1; the last is 0"):
            await machine.insert(second, drive=1, floppy=True)
    read = await trio.run_process(["mtype", "-i", str(first), "::numbers"], capture_stdout=True)
    assert read.stdout == b"".join(b"%d\n" % n for n in range(1, 10001))


@pytest.mark.parametrize("model", ["360K", "2.88M"])
async def test_linux_copies_diskettes_of_each_size_in_two_drives(model, tmp_path):
    source, target = tmp_path / "source.img", tmp_path / "target.img"
    source.write_bytes(os.urandom(SIZES[model]))
    target.write_bytes(bytes(SIZES[model]))
    async with Machine(*linux(tmp_path), "--floppy", source, "--floppy", target) as machine:
        shell = await shell_of(machine)
        await shell.run("dd if=/dev/fd0 of=/dev/fd1 bs=18k; sync", 240)
        assert await shell.run("cmp /dev/fd0 /dev/fd1 && echo same", 240) == "same\n"
        await no_complaints(shell)
        await machine.console.type("poweroff -f\r")
        await machine.wait()
    assert target.read_bytes() == source.read_bytes()


async def test_a_protected_diskette_is_not_written(tmp_path):
    image = fat_diskette(tmp_path / "image", 1440 * KB, {"name": b"protected\n"})
    before = image.read_bytes()
    description = tmp_path / "machine.toml"
    description.write_text('[[floppy]]\npath = "image"\nreadonly = true\n')
    async with Machine(description, *linux(tmp_path)) as machine:
        shell = await shell_of(machine)
        assert "Read-only" in await shell.run("echo x > /dev/fd0; mount -t vfat -o rw /dev/fd0 /tmp 2>&1")
    assert image.read_bytes() == before
