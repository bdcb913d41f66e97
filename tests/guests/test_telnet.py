"""Debian's telnet on a Linux guest's serial port, as a person has it: every key is the guest's, and so is a break."""

import os
import pty
import re
import shutil
import signal
from collections.abc import Iterator

import pytest
import trio

from devmodel.control import asking, messages
from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.initramfs import MARKER

CTRL_C = b"\x03"
PROMPT = b"/ # "


class Telnet:
    """The program on a terminal of its own."""

    def __init__(self, host: str, port: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp("telnet", ["telnet", host, port])  # noqa: S606
        self.seen = b""

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    async def expect(self, pattern: bytes, seconds: float = 60) -> bytes:
        with trio.move_on_after(seconds):
            while not (found := re.search(pattern, self.seen, re.DOTALL)):
                await trio.lowlevel.wait_readable(self.fd)
                self.seen += os.read(self.fd, 4096)
        assert found, self.seen[-1000:]
        self.seen = self.seen[found.end() :]
        return found[0]

    def close(self) -> None:
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def telnets() -> Iterator[list[Telnet]]:
    if shutil.which("telnet") is None:
        pytest.skip("telnet is in Debian's package telnet")
    started: list[Telnet] = []
    yield started
    for telnet in started:
        telnet.close()


async def test_ctrl_c_and_a_break_reach_linux_by_telnet(vendor, linux, telnets):
    consoles = ARGUMENTS.replace("ttyS0", "ttyS1")  # a break is for SysRq where the kernel's console is
    more = ["--append", consoles, "--serial", "telnet:127.0.0.1:0", "--vendor", vendor]
    async with Machine(*linux, *more) as machine:
        (found,) = re.findall(r"^devmodel: serial port 2 on telnet:(\S+)$", machine.said(), re.MULTILINE)
        telnets.append(telnet := Telnet(*found.split(":")))
        await telnet.expect(MARKER.encode(), 240)
        await telnet.expect(PROMPT)
        telnet.type(
            b"echo 1 > /proc/sys/kernel/sysrq; setsid sh -c 'exec sh -i < /dev/ttyS1 > /dev/ttyS1 2>&1'\r"
        )
        await telnet.expect(b"2>&1'\r\n.*" + PROMPT)
        telnet.type(b"sleep 1000\r")
        await telnet.expect(b"sleep 1000\r\n")
        telnet.type(CTRL_C)
        await telnet.expect(PROMPT)
        telnet.type(b"echo $((6 * 7)) alive\r")
        await telnet.expect(b"\r\n42 alive\r\n")
        telnet.type(b"\x1d")
        await telnet.expect(b"telnet> ")
        telnet.type(b"send brk\r")
        await trio.sleep(0.5)  # the program's own prompt goes with its line
        telnet.type(b"h")
        await telnet.expect(rb"sysrq: HELP : .*sync\(s\)")
        await trio.to_thread.run_sync(asking.ask, machine.domain, messages.Break(port=2))
        telnet.type(b"h")
        await telnet.expect(rb"sysrq: HELP : .*sync\(s\)")
