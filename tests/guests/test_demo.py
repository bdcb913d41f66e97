"""The built-in demo guest, as somebody who plays with it sees it."""

import json
import re
import shutil
import subprocess
import sys
from importlib.resources import files

import pytest

from devmodel.testing import Machine

PROMPT = b"demo> "
SELF_TEST = "--fw-cfg=opt/devmodel/self-test=1"


@pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the demo guest")
def test_the_binary_is_what_the_source_assembles_to(tmp_path):
    demo = files("devmodel.demo")
    subprocess.run(
        ["nasm", "-f", "bin", "-o", tmp_path / "demo.bin", str(demo.joinpath("demo.asm"))], check=True
    )
    assert (tmp_path / "demo.bin").read_bytes() == demo.joinpath("demo.bin").read_bytes()


def run(vendor: str, *arguments: str, typed: bytes | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "devmodel", "run", "--vendor", vendor, *arguments],
        **({"stdin": subprocess.DEVNULL} if typed is None else {"input": typed}),
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_without_a_terminal_the_self_test_runs_and_the_status_says_how(vendor):
    done = run(vendor, SELF_TEST)
    assert done.returncode == 0, done
    assert done.stderr == b""
    results = re.findall(rb"^  (\S+) .* (\S+)\r$", done.stdout, re.MULTILINE)
    assert results == [(chip, b"ok") for chip in (b"8259A", b"8254", b"16550A", b"IDE", b"VGA")]
    assert b"self-test passed" in done.stdout


def test_statistics_are_one_line_at_the_end(vendor):
    done = run(vendor, SELF_TEST, "--statistics", "--log-format", "json")
    assert done.returncode == 0, done
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (said,) = [event for event in events if event["event"] == "vcpu.statistics"]
    assert said["instructions"] > 1000
    assert said["exits"] >= said["exit_kinds"]["io"] >= 23
    assert said["seconds"]["total"] > said["seconds"]["asleep"] > 0.1  # the demo guest halts for 25 ticks


def test_what_is_typed_ahead_waits_for_the_monitor(vendor):
    done = run(vendor, typed=b"memory\rtime\roff\r")
    assert done.returncode == 0
    assert b"self-test passed" in done.stdout
    assert b"demo> memory\r\n640 KiB below 1 MiB, 64512 KiB above\r\ndemo> time\r\n" in done.stdout


async def test_the_monitor(vendor):
    async with Machine("--vendor", vendor, "--memory", "32M") as machine:
        console = machine.console

        async def ask(line: str) -> str:
            await console.type(line + "\r")
            said = (await console.expect(PROMPT)).decode()
            assert said.startswith(line + "\r\n") or "\b" in line
            return said.removeprefix(line).removesuffix("demo> ").replace("\r\n", "\n")

        await console.expect(PROMPT)
        commands = re.findall(r"^(\w+) ", await ask("help"), re.MULTILINE)
        assert commands == ["help", "time", "ports", "disk", "memory", "reboot", "off"]
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, up \d+\.\d\d s, \d+ ticks", await ask("time"))
        ports = await ask("ports")
        assert "8259A master mask  0021  EA" in ports
        assert "disk 6, spurious 0" in ports
        assert await ask("disk") == "\nDEVMODEL HARDDISK, 2048 sectors of 512 bytes\n"
        sector = await ask("disk 2047")
        assert sector.count("\n") == 1 + 32
        assert sector.splitlines()[1] == "00000000 " + " 00" * 16 + "  " + "." * 16
        assert await ask("disk 2048") == "\nthe disk ends before that sector\n"
        assert await ask("memory") == "\n640 KiB below 1 MiB, 31744 KiB above\n"
        assert ".....demo......." in await ask("memory 0xFFF80")
        assert "below 1 MiB" in await ask("memory 0x100000")
        assert await ask("dance") == "\nno such command; 'help' lists them\n"
        assert "640 KiB" in await ask("memorx\by")
        await console.type("rub this out\x15off\x7f\x7f\x7fdisk\r")
        assert b"\r\nDEVMODEL HARDDISK" in await console.expect(PROMPT)

        screen = await machine.screen()
        assert "devmodel demo guest: PIT, PIC, UART and IDE by interrupt" in screen
        assert screen.count("█" * 64) == 6

        await console.type("reboot\r")
        await console.expect("resetting")
        await console.expect("self-test passed")
        await console.expect(PROMPT)
        await console.type("off\r")
        assert await machine.wait() == 0
        assert (await console.end()).endswith(b"bye\r\n")


@pytest.mark.parametrize("apart", ["core", "server"])
async def test_core_and_device_models_by_hand(vendor, apart):
    demo = str(files("devmodel.demo").joinpath("machine.toml"))
    async with Machine(demo, SELF_TEST, "--vendor", vendor, apart=apart) as machine:
        await machine.console.expect("self-test passed")
        assert await machine.wait() == 0
        assert machine.core.returncode == 0
