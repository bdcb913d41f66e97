"""What the guests are made of: Debian's firmware, and a disk with GRUB on it."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from images import GRUB, SCREEN, SEABIOS, SERIAL, VGABIOS, make_image


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
        name: make_image(folder, name, config) for name, config in (("serial", SERIAL), ("screen", SCREEN))
    }


@pytest.fixture
def grub(seabios: list[str], grub_images: dict[str, Path], tmp_path: Path) -> list[str]:
    """The options that boot GRUB on the serial line, from a disk of the test's own."""
    return [*seabios, "--disk", shutil.copy(grub_images["serial"], tmp_path / "grub.img")]


@pytest.fixture
def grub_on_screen(seabios: list[str], grub_images: dict[str, Path], tmp_path: Path) -> list[str]:
    """The options that boot GRUB on screen and keyboard."""
    return [*seabios, "--disk", shutil.copy(grub_images["screen"], tmp_path / "grub.img")]
