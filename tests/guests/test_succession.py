"""Device models that end under a running Linux: told to, upgraded, killed. The guest copies a disk meanwhile."""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import trio

from devmodel.cli import main
from devmodel.testing import Console
from tests.guests.initramfs import MARKER
from tests.guests.test_drives import tool
from tests.guests.test_linux import COMPLAINTS

SIZE = 4 << 20
SUM = re.compile(rb"^([0-9a-f]{64})  -\r$", re.MULTILINE)
TICK = "cat /proc/uptime"
ECHO = """
        bits 16
        org 7C00h
        mov dx, 2FDh
next:   in al, dx               ; the line status of COM2
        test al, 1
        jz next
        mov dl, 0F8h
        in al, dx
        out dx, al
        mov dl, 0FDh
        jmp next
"""


def open_files(pid: int) -> dict[Path, str]:
    """What a process has open: by its descriptor's link, the file; without what it closes as we look."""
    opened = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            opened[link] = os.readlink(link)
    return opened


class Apart:
    """A core and its server, each started by hand, and a client of the console."""

    def __init__(self, folder: Path, core: Sequence[str], serve: Sequence[str]) -> None:
        self.domain = str(folder / "domain")
        self.core_said = folder / "core.log"
        self.server_said = folder / "server.log"
        self._core_arguments = [*core, "--domain", self.domain]
        self._serve_arguments = [*serve, "--domain", self.domain, "--serial=tcp:127.0.0.1:0"]
        self.core: trio.Process
        self.server: trio.Process
        self.port = 0
        self.client: trio.SocketStream | None = None
        self.heard = b""

    async def start(self) -> None:
        self.core = await self._open(self.core_said, "hvcore", "run", *self._core_arguments)
        await self.serve()

    async def serve(self) -> None:
        """Start a server, and be the client of its console."""
        if self.client is not None:
            await self.client.aclose()
        before = len(self.server_said.read_text()) if self.server_said.exists() else 0
        self.server = await self._open(self.server_said, "devmodel", "serve", *self._serve_arguments)
        with trio.fail_after(30):
            while not (found := re.search(r"tcp:127.0.0.1:(\d+)\n", self.server_said.read_text()[before:])):
                await trio.sleep(0.02)
        self.port = int(found[1])
        self.client = await trio.open_tcp_stream("127.0.0.1", self.port)

    @staticmethod
    async def _open(said: Path, module: str, *arguments: str) -> trio.Process:
        with said.open("ab") as log:
            return await trio.lowlevel.open_process(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def type(self, text: str) -> None:
        assert self.client is not None
        await self.client.send_all(text.encode())

    async def expect(self, pattern: bytes, seconds: float = 120) -> bytes:
        """Listen until the pattern comes, and return what came with it."""
        assert self.client is not None
        with trio.fail_after(seconds):
            while not (found := re.search(pattern, self.heard, re.DOTALL | re.MULTILINE)):
                data = await self.client.receive_some(65536)
                assert data, f"the console was closed: {self.heard[-500:]!r}"
                self.heard += bytes(data)
        said, self.heard = self.heard[: found.end()], self.heard[found.end() :]
        return said

    async def run(self, command: str, seconds: float = 120) -> str:
        await self.type(command + "; echo END''ED\r")
        return (await self.expect(rb"ENDED\r\n", seconds)).decode()

    async def stop(self) -> None:
        if self.client is not None:
            await self.client.aclose()
        for process in (self.core, self.server):
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
async def apart(vendor: str, linux: list[str], tmp_path: Path) -> AsyncIterator[Apart]:
    """Linux with a shell, whose disk is of random bytes; it is verbose about nothing and echoes nothing."""
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(SIZE))
    guest = Apart(tmp_path, ["--vendor", vendor, "--log-level=info", *linux], ["--disk", str(disk)])
    await guest.start()
    try:
        await guest.expect(MARKER.encode(), 240)
        await guest.expect(b"/ # ")
        await guest.type("stty -echo; PS1=''\r")
        await guest.run("true")
        yield guest
    finally:
        await guest.stop()


async def copies(guest: Apart, count: int) -> None:
    """Have the guest read its disk `count` times, and say the sums."""
    await guest.type(
        f"for i in $(seq {count}); do dd if=/dev/sda bs=64k iflag=direct 2>/dev/null | sha256sum; done\r"
    )


async def finished(guest: Apart) -> None:
    """Wait until the shell is free again. It says so in a file too: a server's last words may be lost."""
    assert "done\r" in await guest.run("cat /tmp/done", 240)


async def sums(guest: Apart, count: int) -> list[bytes]:
    return [SUM.findall(await guest.expect(SUM.pattern))[-1] for _ in range(count)]


async def test_a_server_is_upgraded_and_linux_does_not_notice(apart, tmp_path):
    wanted = hashlib.sha256((tmp_path / "disk").read_bytes()).hexdigest().encode()
    kept = apart.client
    pid = apart.server.pid
    await apart.run("dmesg -c > /dev/null")
    await copies(apart, 6)
    found = await sums(apart, 1)
    for _ in range(2):
        done = await trio.run_process(
            [sys.executable, "-m", "devmodel", "upgrade", apart.domain], capture_stderr=True
        )
        assert done.stderr.startswith(b"devmodel: upgraded to devmodel ")
        found += await sums(apart, 2)
    found += await sums(apart, 1)
    assert found == [wanted] * 6
    assert apart.client is kept
    assert apart.server.pid == pid
    assert apart.server.returncode is None
    # A second client of the same port finds what the guest said before the upgrades.
    async with await trio.open_tcp_stream("127.0.0.1", apart.port) as late:
        assert MARKER.encode() in bytes(await late.receive_some(1 << 20))
    assert not COMPLAINTS.search(await apart.run("dmesg -c"))
    before = float((await apart.run(TICK)).split()[0])
    await apart.run("sleep 1")
    assert 1 <= float((await apart.run(TICK)).split()[0]) - before < 5
    said = apart.core_said.read_text()
    assert said.count("server.hands_over") == said.count("server.succeeded") == 2
    assert "server.gone" not in said


async def test_what_is_written_while_servers_come_and_go_is_on_the_disk(apart, tmp_path):
    await apart.run(f"dd if=/dev/urandom of=/tmp/new bs=64k count={SIZE >> 16} 2>/dev/null")
    wanted = (await apart.run("sha256sum < /tmp/new")).split()[0]
    await apart.type("dd if=/tmp/new of=/dev/sda bs=64k conv=fsync 2>/dev/null; echo done > /tmp/done\r")
    for _ in range(2):
        await trio.sleep(0.3)
        apart.server.terminate()
        assert await apart.server.wait() == 128 + signal.SIGTERM
        await apart.serve()
    await finished(apart)
    assert hashlib.sha256((tmp_path / "disk").read_bytes()).hexdigest() == wanted
    assert (await apart.run("sha256sum < /dev/sda")).split()[0] == wanted


@pytest.mark.parametrize("vendor", ["svm"])
async def test_linux_works_on_after_its_server_was_killed_three_times(apart, tmp_path):
    wanted = hashlib.sha256((tmp_path / "disk").read_bytes()).hexdigest().encode()
    await apart.type(
        "for i in 1 2 3 4 5 6; do dd if=/dev/sda bs=64k 2>/dev/null | sha256sum; done > /tmp/sums; "
        "echo done > /tmp/done\r"
    )
    for _ in range(3):
        await trio.sleep(0.7)
        apart.server.kill()
        await apart.server.wait()
        await trio.sleep(0.3)  # the guest meets ones
        await apart.serve()
    await finished(apart)
    assert SUM.findall((await apart.run("cat /tmp/sums")).encode()) == [wanted] * 6
    before = float((await apart.run(TICK)).split()[0])
    await apart.run("sleep 1")
    assert float((await apart.run(TICK)).split()[0]) - before >= 1
    assert apart.core_said.read_text().count("server.gone") == 3


@pytest.mark.parametrize("vendor", ["vmx"])
async def test_an_overlay_has_all_that_was_written_while_its_servers_came_went_and_were_killed(
    vendor, linux, tmp_path
):
    base, over = tmp_path / "base", tmp_path / "over"
    base.write_bytes(os.urandom(SIZE))
    before = base.read_bytes()
    disks = ["--disk", f"{over},base={base}", "--disk", f"{base},snapshot=on"]
    guest = Apart(tmp_path, ["--vendor", vendor, "--log-level=info", *linux], disks)
    await guest.start()
    try:
        await guest.expect(MARKER.encode(), 240)
        await guest.expect(b"/ # ")
        await guest.type("stty -echo; PS1=''\r")
        await guest.run(f"dd if=/dev/urandom of=/tmp/new bs=64k count={SIZE >> 16} 2>/dev/null")
        wanted = (await guest.run("sha256sum < /tmp/new")).split()[0]
        assert wanted in await guest.run("dd if=/tmp/new of=/dev/sdb bs=64k conv=fsync; sha256sum < /dev/sdb")
        upgrade = [sys.executable, "-m", "devmodel", "upgrade", guest.domain]
        await trio.run_process(upgrade, capture_stderr=True)
        await guest.run("echo 3 > /proc/sys/vm/drop_caches")
        assert wanted in await guest.run("sha256sum < /dev/sdb"), "a snapshot outlasts an upgrade"
        await guest.type("dd if=/tmp/new of=/dev/sda bs=64k conv=fsync 2>/dev/null; echo done > /tmp/done\r")
        await trio.sleep(0.2)
        await trio.run_process(upgrade, capture_stderr=True)
        await trio.sleep(0.2)
        guest.server.kill()
        await guest.server.wait()
        await guest.serve()
        await finished(guest)
        await guest.run("echo 3 > /proc/sys/vm/drop_caches")
        assert wanted in await guest.run("sha256sum < /dev/sda")
    finally:
        await guest.stop()
    assert base.read_bytes() == before
    assert main(["disk", "commit", str(over)]) == 0
    assert hashlib.sha256(base.read_bytes()).hexdigest() == wanted


@pytest.mark.parametrize("vendor", ["vmx"])
async def test_an_idle_linux_wakes_for_the_successor_of_a_server_that_was_killed(apart):
    await trio.sleep(0.5)
    for _ in range(3):
        apart.server.kill()
        await apart.server.wait()
        await trio.sleep(0.2)
        await apart.serve()
        assert "ENDED" in await apart.run("sleep 0.1", 20)


async def test_a_guest_whose_server_has_no_successor_goes_on_without(apart, vendor):
    apart.server.terminate()
    await apart.server.wait()
    with trio.fail_after(30):
        while "server.no_successor" not in apart.core_said.read_text():
            await trio.sleep(0.2)
    assert apart.core.returncode is None
    await apart.serve()
    assert "ENDED" in await apart.run("sleep 0.1", 60)


async def test_scratch_disks_and_what_lies_in_a_tray_outlast_an_upgrade(tmp_path):
    """A guest that does nothing: what is looked at is what the server has open."""
    (tmp_path / "image").write_bytes(b"\xeb\xfe")  # jmp $
    for name in ("first.iso", "second.iso"):
        (tmp_path / name).write_bytes(bytes(2048))
    (tmp_path / "machine.toml").write_text('[[disk]]\nsize = "1M"\n[[cdrom]]\npath = "first.iso"\n')
    guest = Apart(tmp_path, ["--image", str(tmp_path / "image")], [str(tmp_path / "machine.toml")])
    await guest.start()
    try:

        def opened() -> list[str]:
            return [name for name in open_files(guest.server.pid).values() if name.endswith(".iso")]

        def scratch() -> Path:
            (link,) = [link for link, name in open_files(guest.server.pid).items() if "scratch-disk" in name]
            return link

        assert opened() == [str(tmp_path / "first.iso")]
        scratch().write_bytes(b"what the guest wrote".ljust(1 << 20, b"\0"))
        for command in (
            ["insert", str(tmp_path / "second.iso"), "--domain", guest.domain],
            ["upgrade", guest.domain],
        ):
            await trio.run_process([sys.executable, "-m", "devmodel", *command], capture_stderr=True)
        assert opened() == [str(tmp_path / "second.iso")]
        assert scratch().read_bytes().startswith(b"what the guest wrote")
        (tmp_path / "second.iso").unlink()
        await trio.run_process(
            [sys.executable, "-m", "devmodel", "upgrade", guest.domain], capture_stderr=True
        )
        assert f"{tmp_path / 'second.iso'} (deleted)" in open_files(guest.server.pid).values()
    finally:
        await guest.stop()


async def test_a_guest_that_is_stopped_stands_still_over_an_upgrade(tmp_path):
    """A guest that counts at 0x500. The monitor's word is `stop`, and QMP's: VM status paused until `cont`."""
    (tmp_path / "image").write_bytes(bytes.fromhex("66ff060005 ebf9"))  # next: inc dword [500h]; jmp next
    guest = Apart(tmp_path, ["--image", str(tmp_path / "image")], [])
    await guest.start()
    try:

        async def say(*command: str) -> str:
            program = [sys.executable, "-m", "devmodel", *command]
            done = await trio.run_process(program, capture_stdout=True, capture_stderr=True)
            return done.stdout.decode()

        async def monitor(*command: str) -> str:
            return await say("monitor", "--domain", guest.domain, *command)

        await monitor("stop")
        counted = await monitor("xp", "0x500")
        for _ in range(2):
            await say("upgrade", guest.domain)
            assert await monitor("info", "status") == "VM status: paused\n"
            assert await monitor("xp", "0x500") == counted
        await monitor("cont")
        assert await monitor("info", "status") == "VM status: running\n"
        with trio.fail_after(30):
            while await monitor("xp", "0x500") == counted:
                await trio.sleep(0.05)
        await say("upgrade", guest.domain)
        assert await monitor("info", "status") == "VM status: running\n"
    finally:
        await guest.stop()


async def test_diskettes_and_clients_of_other_ports_outlast_an_upgrade(tmp_path):
    """A guest that echoes what comes on COM2, and nothing else."""
    (tmp_path / "echo.asm").write_text(ECHO)
    image = tmp_path / "image"
    await trio.run_process([tool("nasm", "nasm"), "-o", str(image), str(tmp_path / "echo.asm")])
    for name, size in (("first.img", 1440), ("second.img", 720)):
        (tmp_path / name).write_bytes(bytes(size << 10))
    (tmp_path / "machine.toml").write_text("[[floppy]]\npath = 'first.img'\n[[floppy]]\ndrive = '2.88M'\n")
    serve = [str(tmp_path / "machine.toml"), "--serial=tcp:127.0.0.1:0"]
    guest = Apart(tmp_path, ["--image", str(image)], serve)
    await guest.start()
    try:

        async def do(*command: str) -> None:
            program = [sys.executable, "-m", "devmodel", *command]
            await trio.run_process(program, capture_stderr=True)

        def opened() -> list[str]:
            return sorted(name for name in open_files(guest.server.pid).values() if name.endswith(".img"))

        address = re.findall(r"serial port 2 on tcp:(\S+)", guest.server_said.read_text())[-1]
        console = await Console.connect(address)
        await console.type("before")
        await console.expect("before")
        await do("insert", str(tmp_path / "second.img"), "--floppy", "--drive", "1", "--domain", guest.domain)
        await do("eject", "--floppy", "--domain", guest.domain)
        await do("upgrade", guest.domain)
        assert opened() == [str(tmp_path / "second.img")]
        await console.type("after")
        await console.expect("after")
        await console.aclose()
        await do("insert", str(tmp_path / "first.img"), "--floppy", "--domain", guest.domain)
        assert opened() == [str(tmp_path / "first.img"), str(tmp_path / "second.img")]
    finally:
        await guest.stop()
