"""What the guests are made of: Debian's firmware, and a disk with GRUB on it."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
VGABIOS = Path("/usr/share/seabios/vgabios-isavga.bin")
GRUB = Path("/usr/lib/grub/i386-pc")
SECTOR = 512
PARTITION = 2048  # first sector
SECTORS = 8 * 2048

MODULES = "biosdisk part_msdos fat serial terminal normal ls cat echo reboot halt".split()
SERIAL = """serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
"""
HELLO = "Hello from a FAT file system.\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.guest)


@pytest.fixture(params=["vmx", "svm"])
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def seabios() -> list[str]:
    """The options that boot SeaBIOS with its VGA BIOS."""
    for path in (SEABIOS, VGABIOS):
        if not path.exists():
            pytest.skip(f"{path.name} is in Debian's package seabios")
    return ["--firmware", str(SEABIOS), "--video-bios", str(VGABIOS)]


@pytest.fixture(scope="session")
def grub_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Disk images with GRUB: "serial" talks on the serial line and the screen, "screen" on the screen only."""
    for tool, package in (("grub-mkimage", "grub-common"), ("mformat", "mtools"), ("mcopy", "mtools")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is in Debian's package {package}")
    if not (GRUB / "boot.img").exists():
        pytest.skip("boot.img is in Debian's package grub-pc-bin")
    folder = tmp_path_factory.mktemp("grub")
    return {
        name: make_image(folder, name, config) for name, config in (("serial", SERIAL), ("screen", "true\n"))
    }


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


@pytest.fixture
def grub(seabios: list[str], grub_images: dict[str, Path], tmp_path: Path) -> list[str]:
    """The options that boot GRUB on the serial line, from a disk of the test's own."""
    return [*seabios, "--disk", shutil.copy(grub_images["serial"], tmp_path / "grub.img")]


@pytest.fixture
def grub_on_screen(seabios: list[str], grub_images: dict[str, Path], tmp_path: Path) -> list[str]:
    """The options that boot GRUB on screen and keyboard."""
    return [*seabios, "--disk", shutil.copy(grub_images["screen"], tmp_path / "grub.img")]
