"""What is wrong from the start is one line and exit status 2; what goes wrong later hangs nothing."""

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from importlib.resources import files
from pathlib import Path

import pytest
import trio

from devmodel.testing import Machine

PROMPT = b"demo> "
DEMO = str(files("devmodel.demo").joinpath("machine.toml"))


@pytest.fixture
def private(monkeypatch):
    """A temporary folder of the test's own, to see that nothing is left in it; its path leaves room for a socket's."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in tasks for child in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- from the start


def refused(module: str, *arguments: str | Path) -> str:
    """Run a command that must refuse at once; return its one line."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_bad_input_is_one_line(private, tmp_path):
    machine = tmp_path / "machine.toml"
    short = tmp_path / "short.bin"
    short.write_bytes(bytes(1000))
    domain = tmp_path / "domain"

    machine.write_text('[serial]\ncolour = "blue"\n')
    line = "machine.toml: unknown key 'colour' in [serial]; allowed: tcp, history, wait, paced, flow, console"
    assert refused("devmodel", "run", machine) == f"devmodel: {line}"
    machine.write_text('[machine]\ncolour = "blue"\n')
    line = refused("devmodel", "run", machine)
    assert line.startswith("hvcore: machine.toml: unknown key 'colour' in [machine]; allowed: name, vendor")
    assert refused("hvcore", "run", machine, "--domain", domain) == line

    line = "disk none.img: No such file or directory"
    assert refused("devmodel", "run", "--disk", "none.img") == f"devmodel: {line}"
    assert refused("devmodel", "run", "--firmware", "none.bin") == (
        "hvcore: cannot read firmware none.bin: No such file or directory"
    )
    line = refused("devmodel", "run", "--firmware", short)
    assert "short.bin has 1000 bytes; allowed: a multiple of 64 KiB" in line
    line = "hvcore: --vendor is 'arm'; allowed: vmx, svm"
    assert refused("devmodel", "run", "--vendor", "arm") == line
    assert refused("hvcore", "run", "--vendor", "arm", "--domain", domain) == line
    assert list(private.iterdir()) == []
    assert not domain.exists()


async def test_a_port_and_an_image_of_another_machine_are_refused(private, tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    async with Machine(DEMO, "--disk", image) as machine:
        address = f"tcp:{machine.address}"
        line = await trio.to_thread.run_sync(refused, "devmodel", "run", "--disk", image)
        assert line == f"devmodel: disk {image}: another process has it open"
        line = await trio.to_thread.run_sync(refused, "devmodel", "run", "--serial", address)
        assert line == f"devmodel: serial {address}: address already in use"
        line = await trio.to_thread.run_sync(refused, "hvcore", "run", DEMO, "--domain", machine.domain)
        assert line.startswith("hvcore: ")
        assert machine.domain in line


NEWER = """
import sys
import ioreq
ioreq.VERSION = 99
from hvcore.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_versions_that_differ_are_one_line(tmp_path):
    domain = tmp_path / "domain"
    with subprocess.Popen([sys.executable, "-c", NEWER, "run", DEMO, "--domain", domain]) as core:
        try:
            while not domain.exists():
                assert core.poll() is None
                time.sleep(0.05)
            line = refused("devmodel", "serve", DEMO, "--domain", domain)
        finally:
            core.terminate()
    assert line.startswith("devmodel: the core speaks version 99 of the device-model protocol, devmodel ")


TWO_ON_A_PORT = """
def build(board):
    board.add(board.uart, name="second uart", ports=range(0x3FF, 0x407))
"""


def test_two_devices_on_one_port_are_one_line(private, tmp_path):
    (tmp_path / "two.py").write_text(TWO_ON_A_PORT)
    done = subprocess.run(
        [sys.executable, "-m", "devmodel", "run", "--board", str(tmp_path / "two.py:build")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1
    assert "second uart and" in done.stderr
    assert "overlap: pio 0x3ff-0x406" in done.stderr
    assert list(private.iterdir()) == []


# -- later


@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-]", "SIGTERM"])
def test_leaving_restores_the_terminal_and_leaves_nothing(private, how):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    start = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "from devmodel.cli import main; sys.exit(main(['run']))"
    )
    process = subprocess.Popen([sys.executable, "-c", start], stdin=slave, stdout=slave, stderr=slave)
    try:
        said, deadline = b"", time.monotonic() + 60
        while PROMPT not in said:
            assert select.select([master], [], [], max(deadline - time.monotonic(), 0))[0], said
            said += os.read(master, 4096)
        (core,) = children(process.pid)
        assert not termios.tcgetattr(slave)[3] & termios.ICANON
        if how == "SIGTERM":
            process.terminate()
        else:
            os.write(master, b"\x03" if how == "Ctrl-C" else b"\x1d")
        assert process.wait(20) == {"Ctrl-C": 130, "Ctrl-]": 0, "SIGTERM": 143}[how]
        assert termios.tcgetattr(slave) == before
        assert not alive(core)
        assert list(private.iterdir()) == []
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


async def test_a_killed_core_ends_devmodel_run(vendor, private):
    async with Machine("--vendor", vendor) as machine:
        await machine.console.expect(PROMPT)
        (core,) = children(machine.server.pid)
        os.kill(core, signal.SIGKILL)
        assert await machine.wait(20) == 128 + signal.SIGKILL
        assert not os.path.exists(machine.domain + ".monitor")


async def test_a_killed_devmodel_run_takes_its_core_along(vendor):
    async with Machine("--vendor", vendor) as machine:
        await machine.console.expect(PROMPT)
        (core,) = children(machine.server.pid)
        machine.server.kill()
        with trio.fail_after(20):
            while alive(core):
                await trio.sleep(0.05)


async def test_a_killed_core_ends_the_server_with_one_line(vendor):
    async with Machine(DEMO, "--vendor", vendor, apart="core") as machine:
        await machine.console.expect(PROMPT)
        machine.core.kill()
        assert await machine.wait(20) == 1
        assert machine.said().splitlines()[-1] == f"devmodel: the core on {machine.domain} is gone"
        await machine.start_core()  # over the dead one's socket
        await machine.start_server()
        await (await machine.connect()).expect(PROMPT)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_another_server_takes_the_place_of_one_that_ended(vendor, how):
    """The guest goes on meanwhile; its memory is as it was, its new chips are as after power-on."""
    async with Machine(DEMO, "--vendor", vendor, apart="core") as machine:
        await machine.console.expect(PROMPT)
        machine.server.send_signal(how)
        await machine.server.wait()
        await trio.sleep(0.3)
        assert machine.core.poll() is None
        await machine.start_server()
        machine.console = await machine.connect()
        await trio.sleep(0.3)
        assert machine.core.poll() is None
        machine.core.terminate()
        await machine.wait(20)
        assert "Traceback" not in machine.said()
