"""A disk with GRUB on it, made of Debian's packages; for the tests, and for the benchmarks."""

import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
VGABIOS = Path("/usr/share/seabios/vgabios-isavga.bin")
GRUB = Path("/usr/lib/grub/i386-pc")
SECTOR = 512
PARTITION = 2048  # first sector
MEGABYTE = 2048  # sectors

MODULES = "biosdisk part_msdos fat serial terminal normal ls cat echo reboot halt linux".split()  # noqa: SIM905
SERIAL = """serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
"""
SCREEN = "true\n"
KERNEL = (
    SERIAL
    + """set root=(hd0,msdos1)
linux /kernel {arguments}
initrd /initrd
boot
"""
)
GRAPHICS = """set root=(hd0,msdos1)
loadfont /unicode.pf2
set gfxmode=800x600x32
terminal_output gfxterm
terminal_input serial console
"""
GRAPHICS_MODULES = ("vbe", "gfxterm", "font", "video")
FONT = Path("/usr/share/grub/unicode.pf2")
HELLO = "Hello from a FAT file system.\n"


def make_image(
    folder: Path,
    name: str,
    early_config: str,
    files: Mapping[str, Path] | None = None,
    megabytes: int = 8,
    modules: Sequence[str] = (),
) -> Path:
    """GRUB in the gap between the partition table and a FAT partition at 1 MiB, as grub-install does it.

    `files` are put into the partition's root, by their names there; `modules` are GRUB's own beside the usual ones.
    """
    sectors = megabytes * MEGABYTE
    config, core, image = folder / f"{name}.cfg", folder / f"{name}.core", folder / f"{name}.img"
    config.write_text(early_config)
    subprocess.run(
        [
            "grub-mkimage",
            "-O",
            "i386-pc",
            "-c",
            config,
            "-p",
            "(hd0,msdos1)/boot/grub",
            "-o",
            core,
            *MODULES,
            *modules,
        ],
        check=True,
    )
    boot = bytearray((GRUB / "boot.img").read_bytes()[:SECTOR])
    boot[446:512] = bytes(66)
    geometry = b"\xfe\xff\xff"  # beyond what CHS can say
    fat16_lba = 0x0E  # the partition's type
    boot[446:462] = struct.pack(
        "<B3sB3sII", 0x80, geometry, fat16_lba, geometry, PARTITION, sectors - PARTITION
    )
    boot[510:512] = b"\x55\xaa"
    contents = bytes(boot) + core.read_bytes()
    assert len(contents) <= PARTITION * SECTOR
    image.write_bytes(contents.ljust(sectors * SECTOR, b"\0"))
    at = f"{image}@@{PARTITION * SECTOR}"
    hello = folder / "hello.txt"
    hello.write_text(HELLO)
    subprocess.run(["mformat", "-i", at, "-T", str(sectors - PARTITION), "-v", "GUEST", "::"], check=True)
    for target, path in {"hello.txt": hello, **(files or {})}.items():
        subprocess.run(["mcopy", "-i", at, path, f"::{target}"], check=True)
    return image
