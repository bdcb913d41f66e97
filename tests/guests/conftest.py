"""What the guests are made of: Debian's firmware, and a disk with GRUB on it."""

import shutil
from pathlib import Path

import pytest

from tests.guests.images import GRUB, KERNEL, SCREEN, SEABIOS, SERIAL, VGABIOS, make_image
from tests.guests.initramfs import GUESTS, make_initramfs

ARGUMENTS = "console=ttyS0"


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
def grub_tools() -> None:
    """What makes a disk with GRUB."""
    for tool, package in (("grub-mkimage", "grub-common"), ("mformat", "mtools"), ("mcopy", "mtools")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is in Debian's package {package}")
    if not (GRUB / "boot.img").exists():
        pytest.skip("boot.img is in Debian's package grub-pc-bin")


@pytest.fixture(scope="session")
def grub_images(grub_tools: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Disk images with GRUB: "serial" talks on serial line and screen, "screen" on the screen only."""
    folder = tmp_path_factory.mktemp("grub")
    return {
        name: make_image(folder, name, config) for name, config in (("serial", SERIAL), ("screen", SCREEN))
    }


@pytest.fixture(scope="session")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RAM disk with busybox, for Debian's i386 kernel."""
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    return make_initramfs(tmp_path_factory.mktemp("linux") / "initramfs")


@pytest.fixture
def linux(initramfs: Path) -> list[str]:
    """The options that boot Debian's i386 kernel without firmware."""
    kernel = str(GUESTS / "vmlinuz")
    return ["--kernel", kernel, "--initrd", str(initramfs), "--append", ARGUMENTS, "--memory", "256M"]


@pytest.fixture
def linux_disk(grub_tools: None, initramfs: Path, tmp_path: Path) -> Path:
    """A disk from which GRUB boots the same kernel and RAM disk."""
    files = {"kernel": GUESTS / "vmlinuz", "initrd": initramfs}
    return make_image(tmp_path, "linux", KERNEL.format(arguments=ARGUMENTS), files, 32)


@pytest.fixture
def grub(seabios: list[str], grub_images: dict[str, Path], tmp_path: Path) -> list[str]:
    """The options that boot GRUB on the serial line, from a disk of the test's own."""
    return [*seabios, "--disk", shutil.copy(grub_images["serial"], tmp_path / "grub.img")]


@pytest.fixture
def grub_on_screen(seabios: list[str], grub_images: dict[str, Path], tmp_path: Path) -> list[str]:
    """The options that boot GRUB on screen and keyboard."""
    return [*seabios, "--disk", shutil.copy(grub_images["screen"], tmp_path / "grub.img")]
