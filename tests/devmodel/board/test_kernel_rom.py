"""The option ROM by which firmware starts a kernel."""

import shutil
import struct
import subprocess

import pytest

from devmodel.board import kernel_rom

BOOT = {
    "setup": 0x1_2345_6000,
    "setup-to": 0x10000,
    "setup-bytes": 0xE001,
    "setup-segment": 0x1000,
    "setup-stack": 0xE000,
}


def test_it_is_an_option_rom_with_a_bootstrap_entry_vector():
    """BIOS Boot Specification 1.01, 3.3."""
    rom = kernel_rom.option_rom(BOOT)
    assert rom[:2] == b"\x55\xaa"
    assert len(rom) == 512 * rom[2]
    assert sum(rom) & 0xFF == 0
    assert rom[3] == 0xCB  # what initialises it returns
    (header,) = struct.unpack_from("<H", rom, 0x1A)
    pnp = rom[header : header + 32]
    assert (pnp[:4], pnp[5] * 16, sum(pnp) & 0xFF) == (b"$PnP", 32, 0)
    title, entry = struct.unpack_from("<H", pnp, 16)[0], struct.unpack_from("<H", pnp, 26)[0]
    assert rom[title : title + 7] == b"kernel\0"
    assert rom[entry] == 0xFC  # CLD


def test_it_is_told_what_to_move_and_where_to_begin():
    rom = kernel_rom.option_rom(BOOT)
    assert struct.unpack_from("<IIHHH", rom, 0x50) == (0x2345_6000, 0x10000, 15, 0x1000, 0xE000)


@pytest.mark.parametrize(
    "boot",
    [{}, {"start": "firmware"}, BOOT | {"setup-bytes": 0xA0001}, BOOT | {"setup-bytes": 0}]
    + [BOOT | {name: "x"} for name in BOOT],
)
def test_without_a_kernel_that_can_be_moved_there_is_none(boot):
    assert kernel_rom.files(boot) == {}


def test_firmware_is_to_start_it_before_what_the_user_wants():
    files = kernel_rom.files(BOOT, b"/pci@i0cf8/ide@1,1/drive@0/disk@0\n")
    assert set(files) == {"genroms/kernel.bin", "bootorder"}
    assert files["bootorder"] == b"/rom@genroms/kernel.bin\n/pci@i0cf8/ide@1,1/drive@0/disk@0\n"


@pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the listing")
def test_the_listing_is_what_an_assembler_makes_of_it(tmp_path):
    lines = kernel_rom.LISTING.splitlines()
    source, binary = tmp_path / "rom.asm", tmp_path / "rom.bin"
    source.write_text("bits 16\norg 60h\n" + "\n".join(line[16:] for line in lines) + "\n")
    subprocess.run(["nasm", "-f", "bin", "-o", binary, source], check=True)
    assert binary.read_bytes() == bytes.fromhex("".join(line[:16] for line in lines))
