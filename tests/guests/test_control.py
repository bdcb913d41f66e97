"""Controlling a real machine: QEMU's own client of its machine protocol, the prompt, and the list of machines."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError, QMPClient

from devmodel.testing import Machine

NO_BOOT = "No bootable device"


@pytest.fixture
def media(tmp_path: Path) -> list[str]:
    for name, size in (("disk", 1 << 20), ("a.iso", 1 << 20), ("b.iso", 2 << 20), ("a.img", 1440 << 10)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    return [
        *("--disk", str(tmp_path / "disk"), "--cdrom", str(tmp_path / "a.iso")),
        *("--floppy", str(tmp_path / "a.img")),
    ]


def devmodel(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devmodel", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def events_of(client: QMPClient) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that have come, and those that come until the machine hangs up."""
    found = []
    while not found or found[-1][0] != "SHUTDOWN":
        event = await asyncio.wait_for(client.events.get(), 20)
        found.append((event["event"], dict(event.get("data", {}))))
    return found


async def drive(socket: str, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Do what people's scripts do with QEMU; return the events."""
    client = QMPClient("test")
    await client.connect(socket)
    assert (await client.execute("query-status"))["status"] == "running"
    await client.execute("stop")
    await client.execute("stop")  # which is nothing
    assert (await client.execute("query-status")) == {"running": False, "status": "paused"}
    before = await client.execute("human-monitor-command", {"command-line": "info registers"})
    assert before.startswith("EAX=")
    assert before == await client.execute("human-monitor-command", {"command-line": "info registers"})
    line = {"command-line": "xp /2xb 0xffff5"}
    date = await client.execute("human-monitor-command", line)
    assert date == "00000000000ffff5: 0x30 0x36\r\n"  # the BIOS' begins with "06"
    await client.execute("cont")
    await client.execute("screendump", {"filename": str(folder / "screen.ppm")})
    assert (folder / "screen.ppm").read_bytes().startswith(b"P6\n720 400\n255\n")
    await client.execute("send-key", {"keys": [{"type": "qcode", "data": "spc"}]})
    await client.execute("blockdev-change-medium", {"device": "ide1-cd0", "filename": str(folder / "b.iso")})
    drives = {drive["device"]: drive for drive in await client.execute("query-block")}
    assert drives["ide1-cd0"]["inserted"]["file"] == str(folder / "b.iso")
    assert drives["ide0-hd0"]["inserted"]["image"]["virtual-size"] == 1 << 20
    with pytest.raises(ExecuteError, match="No such file"):
        await client.execute("blockdev-change-medium", {"device": "floppy0", "filename": "/nowhere"})
    with pytest.raises(ExecuteError, match="has not been found"):
        await client.execute("query-everything")
    await client.execute("system_reset")
    await client.execute("quit")
    events = await events_of(client)
    with contextlib.suppress(EOFError):  # the machine is gone, and may have hung up first
        await client.disconnect()
    return events


def test_qemus_own_client_drives_a_machine(seabios, vendor, media, tmp_path):
    socket = str(tmp_path / "qmp")
    command = ["run", "--vendor", vendor, "--memory", "32M", *seabios, *media, "--serial", "tcp:127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-m", "devmodel", *command, "--qmp", f"unix:{socket},server=on,wait=off"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while not os.path.exists(socket):
            assert process.poll() is None, process.stderr.read()
        said = [process.stderr.readline() for _ in range(2)]
        assert said[1] == f"devmodel: qmp on unix:{socket}\n"
        asyncio.run(started(socket))
        events = asyncio.run(drive(socket, tmp_path))
        assert process.wait(20) == 0
    assert [name for name, _ in events] == ["STOP", "RESUME", "DEVICE_TRAY_MOVED", "RESET", "SHUTDOWN"]
    assert events[-2][1] == {"guest": False, "reason": "host-qmp-system-reset"}
    assert events[-1][1] == {"guest": False, "reason": "host-qmp-quit"}
    assert not os.path.exists(socket)


async def started(socket: str) -> None:
    """Wait until the firmware has drawn something, and leave."""
    client = QMPClient("first")
    await client.connect(socket)
    while "SeaBIOS" not in await client.execute("human-monitor-command", {"command-line": "screen"}):
        await asyncio.sleep(0.1)
    await client.disconnect()


@pytest.mark.parametrize("apart", [False, True], ids=["one server", "drives apart"])
async def test_the_prompt_and_the_list_know_every_part_of_a_machine(seabios, media, apart):
    options = ["--apart", "ide,dma"] if apart else []
    async with Machine("--memory", "32M", *seabios, *media, *options) as machine:
        await machine.shows("SeaBIOS")
        said = devmodel(
            "monitor", "--domain", machine.domain, stdin="stop\ninfo status\ninfo block\nx $esp\ncont\n"
        )
        assert said.returncode == 0
        assert said.stdout.startswith("VM status: paused\nide0-hd0: ")
        assert [line.split(":")[0] for line in said.stdout.splitlines() if not line.startswith(" ")][1:-1] == [
            "ide0-hd0", "ide1-cd0", "floppy0",
        ]  # fmt: skip
        once = devmodel("monitor", "--domain", machine.domain, "info", "status")
        assert (once.returncode, once.stdout) == (0, "VM status: running\n")
        wrong = devmodel("monitor", "--domain", machine.domain, stdin="frob\ninfo name\n")
        assert (wrong.returncode, wrong.stdout) == (1, "guest\n")
        assert wrong.stderr == "devmodel: no command 'frob'; 'help' lists them\n"
        listed = [json.loads(line) for line in devmodel("list", "--json").stdout.splitlines()]
        ours = [found for found in listed if found["domain"] == machine.domain]
        assert len(ours) == 1
        assert (ours[0]["state"], ours[0]["memory"], len(ours[0]["pids"])) == ("running", 32 << 20, 1 + apart)
        assert machine.domain in devmodel("list").stdout
        state = json.loads(devmodel("monitor", "--domain", machine.domain, "info", "state", "pic").stdout)
        assert state["master"]["base"] == 8  # INT 8 to 15: where a PC's BIOS has its interrupts


async def test_an_nmi_reaches_linux(linux, vendor):
    """Linux says so of an NMI that nobody accounts for (arch/x86/kernel/nmi.c)."""
    async with Machine("--vendor", vendor, *linux) as machine:
        await machine.console.expect("/ # ", 120)
        pressed = devmodel("monitor", "--domain", machine.domain, "nmi")
        assert (pressed.returncode, pressed.stderr) == (0, "")
        await machine.console.expect("NMI", 60)
