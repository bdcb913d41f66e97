"""Unmodified SeaBIOS boots unmodified GRUB."""

import io

import pytest

from devmodel.testing import Machine

PROMPT = b"grub>"


async def at_prompt(machine: Machine) -> None:
    await machine.console.expect(PROMPT)


@pytest.mark.parametrize("apart", [None, "core", "server"])
async def test_seabios_boots_grub_to_its_prompt(vendor, grub, apart):
    async with Machine(*grub, "--vendor", vendor, apart=apart) as machine:
        console = machine.console
        await console.expect(PROMPT)

        await console.type("ls\r")
        listed = await console.expect(PROMPT)
        assert b"(hd0)" in listed
        assert b"(hd0,msdos1)" in listed

        await console.type("cat (hd0,msdos1)/hello.txt\r")
        assert b"Hello from a FAT file system." in await console.expect(PROMPT)
        if apart is not None:
            return  # the rest depends on the processes' order even less
        await console.type("reboot\r")
        await console.expect(b"GRUB")
        await console.expect(PROMPT)
        await console.type("halt\r")
        assert await machine.wait() == 0
        print(machine.said())
