"""`devmodel serve --qtest`: clients over a socket, one after the other, on a whole board with disks."""

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from devmodel.testing import QtestClient, QtestFailed

SERVE = (sys.executable, "-m", "devmodel", "serve")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # short: a socket's path has 107 bytes
        yield Path(name)


@contextmanager
def serving(address: str, *options: str, ends: Sequence[int]) -> Iterator[subprocess.Popen[str]]:
    """Run a server for the length of the block; it ends with one of these statuses."""
    process = subprocess.Popen(
        [*SERVE, "--qtest", address, *options], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        yield process
        if process.poll() is None and 128 + signal.SIGTERM in ends:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert process.returncode in ends, said
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()


async def test_clients_come_and_go_and_the_board_stays(folder: Path) -> None:
    path = str(folder / "qtest")
    with serving(f"unix:{path},server=on,wait=off", "--memory", "4M", ends=[7]):
        async with await QtestClient.connect(path) as first:
            await first.outb(0x80, 0x5A)
            await first.write(0x3F_FFF0, bytes(range(16)))
            with pytest.raises(QtestFailed, match="FAIL Unknown command 'nonsense'"):
                await first.command("nonsense")
        async with await QtestClient.connect(path) as second:
            assert await second.inb(0x80) == 0x5A
            assert await second.read(0x3F_FFF0, 20) == bytes(range(16)) + b"\xff" * 4
            await second.outb(0xF4, 3)
    assert not Path(path).exists()


async def test_it_connects_to_a_client_that_listens_as_libqtest_does(folder: Path) -> None:
    path = str(folder / "qtest")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        with serving(f"unix:{path},server=off", ends=[0]):
            async with await QtestClient.accept(listener) as client:
                assert await client.command("endianness") == ["little"]


async def test_a_disk_is_read_by_dma_into_memory_of_its_own(folder: Path) -> None:
    """Programming Interface for Bus Master IDE Controller, 1.0: PRD table, BMICX bit 3 to memory, bit 0 start."""
    image = folder / "disk"
    image.write_bytes(b"".join(bytes([n]) * 512 for n in range(64)))
    path = str(folder / "qtest")
    with serving(f"unix:{path}", "--disk", str(image), ends=[128 + signal.SIGTERM]):
        async with await QtestClient.connect(path) as client:
            await client.irq_intercept_in("ioapic")
            await client.configure(1, 0x20, 0xC001, function=1)
            await client.configure(1, 0x04, 0x05, function=1)
            await client.write(0x1000, (0x2000).to_bytes(4, "little") + (0x8000_0400).to_bytes(4, "little"))
            await client.outl(0xC004, 0x1000)
            for port, value in ((0x1F6, 0xE0), (0x1F2, 2), (0x1F3, 5), (0x1F4, 0), (0x1F5, 0), (0x1F7, 0xC8)):
                await client.outb(port, value)
            await client.outb(0xC000, 0x09)
            await client.clock_step(1_000_000)
            assert client.irq(14)
            assert await client.inb(0xC002) & 0x07 == 0x04
            assert await client.inb(0x1F7) == 0x50
            assert await client.read(0x2000, 1025) == b"\5" * 512 + b"\6" * 512 + b"\0"
            assert client.irqs == [(14, True), (14, False)]


async def test_the_same_commands_have_the_same_answers_though_a_disk_has_threads_elsewhere(
    folder: Path,
) -> None:
    image = folder / "disk"
    image.write_bytes(bytes(512 * 64))
    path = str(folder / "qtest")
    runs: list[list[int]] = []
    for _ in range(2):
        with serving(f"unix:{path}", "--disk", str(image), ends=[128 + signal.SIGTERM]):
            async with await QtestClient.connect(path) as client:
                await client.outb(0x1F6, 0xE0)
                await client.outb(0x1F2, 1)
                await client.outb(0x1F7, 0x20)
                seen = []
                while not (status := await client.inb(0x1F7)) & 0x08:
                    seen.append(status)
                    seen.append(await client.clock_step(100))
                runs.append(seen)
    assert runs[0] == runs[1]
    assert runs[0]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--qtest", "tcp:1"], "--qtest 'tcp:1'; allowed: unix:PATH, and behind it server=on"),
        (["--qtest", "unix:q,telnet=on"], "'telnet=on'; allowed: server=on"),
        (["--qtest", "unix:/nowhere/q"], "there is no directory /nowhere"),
        (["--qtest", "unix:q,server=off"], "cannot connect to q for qtest: No such file or directory"),
        (["--qtest", "unix:q", "--memory", "5"], '--memory "5"; allowed: whole pages from 1M to 64G'),
        (["--qtest", "unix:q", "--domain", "d"], "--domain goes with a core, and --qtest without one"),
        (["--qtest", "unix:q", "--persist"], "--persist goes with a core"),
        (["--domain", "d", "--memory", "1M"], "--memory is for --qtest"),
        ([], "serve: --domain SOCKET, or --qtest unix:PATH"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, options: list[str], line: str) -> None:
    done = subprocess.run(
        [*SERVE, *options], cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_server_at_a_socket_is_refused(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "q"))
        other.listen(1)
        done = subprocess.run(
            [*SERVE, "--qtest", f"unix:{folder}/q"], capture_output=True, text=True, timeout=20, check=False
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
