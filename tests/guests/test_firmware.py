"""Unmodified SeaBIOS boots unmodified GRUB."""

import struct
import zlib

import pytest

from devmodel.testing import Machine

PROMPT = b"grub>"


def size_of(png: bytes) -> tuple[int, int]:
    """Decode a PNG of palette colours as far as to know that it is one, and return its width and height."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colours = struct.unpack(">IIBB", png[16:26])
    assert (depth, colours) == (8, 3)
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    assert len(zlib.decompress(data)) == height * (1 + width)
    return width, height


@pytest.mark.parametrize("apart", [None, "core", "server"])
async def test_seabios_boots_grub_to_its_prompt(vendor, grub, apart):
    async with Machine(*grub, "--vendor", vendor, apart=apart) as machine:
        console = machine.console
        await console.expect(PROMPT)
        await console.type("ls\r")
        listed = await console.expect(PROMPT)
        assert b"(hd0) (hd0,msdos1)" in listed
        await console.type("cat (hd0,msdos1)/hello.txt\r")
        assert b"Hello from a FAT file system." in await console.expect(PROMPT)
        if apart is None:
            await console.type("reboot\r")
            await console.expect(PROMPT)  # once more, after SeaBIOS
            await console.type("halt\r")
            assert await machine.wait() == 0
            await console.end()


async def test_the_banner_and_the_keyboard_are_on_the_screen(vendor, grub_on_screen):
    async with Machine(*grub_on_screen, "--vendor", vendor) as machine:
        await machine.shows("SeaBIOS (version")
        await machine.shows("grub>")
        assert size_of(await machine.png()) == (720, 400)
        await machine.key(*"echo", "spc", *"two", "spc", "shift-k", *"eys", "ret")
        await machine.shows("grub> echo two Keys\ntwo Keys\n")
        many = 4 * "thequickbrownfoxjumpsoverthelazydog"
        await machine.key(*"echo", "space", *many, "enter")
        assert many in (await machine.shows(f"{many[-40:]}\n")).replace("\n", "")
        assert machine.console.output == b""
