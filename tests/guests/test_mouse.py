"""Keyboard and mouse with Linux's drivers: what is found, and what an event device tells."""

import struct
from pathlib import Path

import pytest

from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.initramfs import DRIVERS, GUESTS, make_initramfs
from tests.guests.test_drives import no_complaints, shell_of
from tests.guests.test_linux import Shell

EVENT = struct.Struct("<IIHHi")  # struct input_event of a 32-bit kernel
KEY, RELATIVE = 1, 2
X, Y, WHEEL = 0, 1, 8
LEFT, RIGHT, MIDDLE, SIDE, EXTRA = range(0x110, 0x115)
KEY_A, KEY_DOWN = 30, 108


def options_of(folder: Path) -> list[str]:
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    initramfs = make_initramfs(folder / "initramfs", drivers=(*DRIVERS, "psmouse", "evdev"))
    arguments = ["--kernel", str(GUESTS / "vmlinuz"), "--initrd", str(initramfs), "--append", ARGUMENTS]
    return [*arguments, "--memory", "256M"]


async def events(shell: Shell) -> list[tuple[int, int, int]]:
    """What the recorded event device has told: types, codes and values, without the marks between reports."""
    text = await shell.run("od -An -v -tx1 /tmp/events")
    data = bytes.fromhex("".join(text.split()))
    records = [EVENT.unpack_from(data, at)[2:] for at in range(0, len(data) - EVENT.size + 1, EVENT.size)]
    return [record for record in records if record[0] in (KEY, RELATIVE)]


async def test_linux_finds_a_mouse_with_a_wheel_and_five_buttons_and_hears_what_it_does(vendor, tmp_path):
    async with Machine(*options_of(tmp_path), "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        await shell.run("while ! grep -q ImExPS/2 /proc/bus/input/devices; do sleep 0.1; done")
        devices = await shell.run("cat /proc/bus/input/devices")
        assert 'N: Name="AT Raw Set 2 keyboard"' in devices, "no firmware has switched the translation on"
        assert 'N: Name="ImExPS/2 Generic Explorer Mouse"' in devices
        number = devices.split("ImExPS/2")[1].split("event")[1].split()[0]
        await shell.run(
            f"cat /dev/input/event{number} > /tmp/events & cat /dev/input/mice > /tmp/mice & sleep 1"
        )
        await machine.mouse("move", "10", "-20", "click", "left", "wheel", "1", "move", "-600", "3")
        await machine.mouse(
            "press", "right", "press", "extra", "release", "extra", "release", "right", "click", "side"
        )
        told = await events(shell)
        keys = [(code, value) for type_, code, value in told if type_ == KEY]
        assert keys == [
            (LEFT, 1), (LEFT, 0), (RIGHT, 1), (EXTRA, 1), (EXTRA, 0), (RIGHT, 0), (SIDE, 1), (SIDE, 0)
        ]  # fmt: skip
        moved = {axis: sum(v for t, c, v in told if (t, c) == (RELATIVE, axis)) for axis in (X, Y, WHEEL)}
        assert moved == {X: -590, Y: -17, WHEEL: -1}
        assert int(await shell.run("wc -c < /tmp/mice")) % 3 == 0
        await no_complaints(shell)


async def test_linux_hears_keys_that_are_held_and_leds_that_it_lights(vendor, tmp_path):
    async with Machine(*options_of(tmp_path), "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        devices = await shell.run("cat /proc/bus/input/devices")
        number = devices.split("AT Raw")[1].split("event")[1].split()[0]
        await shell.run(f"cat /dev/input/event{number} > /tmp/events & sleep 1")
        await machine.key("a", hold=1500)
        await machine.key("down")
        await shell.run("sleep 1")
        told = [(code, value) for type_, code, value in await events(shell) if type_ == KEY]
        assert told[0] == (KEY_A, 1)
        assert told[-3:] == [(KEY_A, 0), (KEY_DOWN, 1), (KEY_DOWN, 0)]
        repeated = told[1:-3]
        assert set(repeated) == {(KEY_A, 2)}
        assert 10 < len(repeated) < 60, "after some 250 ms, at some 30 a second, as Linux sets it"
