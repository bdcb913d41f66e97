"""A printer's file: appended to in a thread, bounded, and out of paper while it cannot be written."""

import os

import pytest
import trio

from devmodel import ConfigError
from devmodel.consoles import printout
from devmodel.consoles.printout import AGAIN, MOST, Printout


async def until(condition) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.005)


async def test_what_is_printed_is_appended(nursery, tmp_path):
    path = tmp_path / "printed"
    path.write_bytes(b"before ")
    printer = Printout.open(str(path))
    nursery.start_soon(printer.run)
    for byte in b"and after":
        printer.put(byte)
    await until(lambda: path.read_bytes() == b"before and after" and not printer._waiting)
    printer.muted = True
    printer.put(0x41)
    printer.muted = False
    printer.put(0x42)
    printer.close()
    assert path.read_bytes() == b"before and afterB"


def test_what_waits_is_bounded_and_written_at_the_end(tmp_path):
    path = tmp_path / "printed"
    printer = Printout.open(str(path))
    for _ in range(MOST):
        assert printer.room()
        printer.put(0x78)
    assert not printer.room()
    printer.close()
    assert path.read_bytes() == b"x" * MOST


async def test_a_full_disk_is_no_paper_until_there_is_room_again(nursery, tmp_path, monkeypatch):
    printer = Printout.open(str(tmp_path / "printed"))
    full, ready = True, []

    def write(fd: int, data: bytes) -> int:
        if full:
            raise OSError(28, os.strerror(28))
        return real(fd, data)

    real = os.write
    monkeypatch.setattr(printout.os, "write", write)
    printer.ready = lambda: ready.append(printer.failing())
    nursery.start_soon(printer.run)
    printer.put(0x41)
    await until(printer.failing)
    full = False
    await until(lambda: ready == [False])
    assert AGAIN <= 1.0
    assert (tmp_path / "printed").read_bytes() == b"A"
    full = True
    printer.put(0x42)
    printer.close()
    assert (tmp_path / "printed").read_bytes() == b"A"


def test_a_file_that_cannot_be_is_a_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^parallel /nowhere/x: No such file or directory$"):
        Printout.open("/nowhere/x")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match=r"^parallel .*fifo: a FIFO that nobody reads$"):
        Printout.open(str(tmp_path / "fifo"))
    with pytest.raises(ConfigError, match=r"^parallel /dev/null: not a regular file$"):
        Printout.open("/dev/null")
