"""A disk with GRUB on it, made of Debian's packages; for the tests, and for the benchmarks."""

import struct
import subprocess
from pathlib import Path

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
VGABIOS = Path("/usr/share/seabios/vgabios-isavga.bin")
GRUB = Path("/usr/lib/grub/i386-pc")
SECTOR = 512
PARTITION = 2048  # first sector
SECTORS = 8 * 2048

MODULES = [
    "biosdisk",
    "part_msdos",
    "fat",
    "serial",
    "terminal",
    "normal",
    "ls",
    "cat",
    "echo",
    "reboot",
    "halt",
]
SERIAL = """serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
"""
SCREEN = "true\n"
HELLO = "Hello from a FAT file system.\n"


def make_image(folder: Path, name: str, early_config: str) -> Path:
    """GRUB in the gap between the partition table and a FAT partition at 1 MiB, as grub-install does it."""
    config, core, image = folder / f"{name}.cfg", folder / f"{name}.core", folder / f"{name}.img"
    config.write_text(early_config)
    subprocess.run(
        ["grub-mkimage", "-O", "i386-pc", "-c", config, "-p", "(hd0,msdos1)/boot/grub", "-o", core, *MODULES],
        check=True,
    )
    boot = bytearray((GRUB / "boot.img").read_bytes()[:SECTOR])
    boot[446:512] = bytes(66)
    geometry = b"\xfe\xff\xff"  # beyond what CHS can say
    boot[446:462] = struct.pack(
        "<B3sB3sII", 0x80, geometry, 0x0E, geometry, PARTITION, SECTORS - PARTITION
    )  # type 0E: FAT16, LBA
    boot[510:512] = b"\x55\xaa"
    contents = bytes(boot) + core.read_bytes()
    assert len(contents) <= PARTITION * SECTOR
    image.write_bytes(contents.ljust(SECTORS * SECTOR, b"\0"))
    at = f"{image}@@{PARTITION * SECTOR}"
    hello = folder / "hello.txt"
    hello.write_text(HELLO)
    subprocess.run(["mformat", "-i", at, "-T", str(SECTORS - PARTITION), "-v", "GUEST", "::"], check=True)
    subprocess.run(["mcopy", "-i", at, hello, "::hello.txt"], check=True)
    return image
