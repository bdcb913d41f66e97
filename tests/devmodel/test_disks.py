"""Disk images: locked, in order, off the event loop, and honest about failure."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest
import trio

from devmodel import ConfigError
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.disks.image import MAX_QUEUED, MOST_AT_ONCE, Image


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(bytes([n]) * 512 for n in range(8)))
    return str(path)


@pytest.fixture
async def disk(path, nursery):
    image = Image.open(path)
    nursery.start_soon(image.run)
    yield image
    nursery.cancel_scope.cancel()
    image.close()


async def answer(image: Image, make, *arguments):
    done = trio.Event()
    results = []

    def heard(result) -> None:
        results.append(result)
        done.set()

    image.submit(make(*arguments, done=heard))
    with trio.fail_after(5):
        await done.wait()
    return results[0]


async def test_sectors_are_read_and_written(disk, path):
    assert disk.sectors == 8
    assert await answer(disk, DiskRead, 2, 2) == b"\2" * 512 + b"\3" * 512
    assert await answer(disk, DiskWrite, 7, b"z" * 512) is True
    assert await answer(disk, DiskRead, 7, 1) == b"z" * 512
    assert await answer(disk, DiskFlush) is True
    with open(path, "rb") as file:
        assert file.read()[-512:] == b"z" * 512


async def test_a_flush_is_fdatasync(disk, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    await answer(disk, DiskFlush)
    assert synced == [disk.fd]


async def test_requests_are_done_in_order(disk):
    seen = []
    finished = trio.Event()
    disk.submit(DiskWrite(0, b"a" * 512, seen.append))
    disk.submit(DiskRead(0, 1, seen.append))
    disk.submit(DiskFlush(lambda _: finished.set()))
    assert seen == []
    await finished.wait()
    assert seen == [True, b"a" * 512]


class Host:
    """Answers preadv with RWF_NOWAIT as a host that has in memory what it is told to have."""

    def __init__(self) -> None:
        self.cached = True
        self.asked = 0
        self.real = os.preadv

    def preadv(self, fd, buffers, offset, flags):
        assert flags == os.RWF_NOWAIT
        self.asked += 1
        if self.cached is True:
            return self.real(fd, buffers, offset)
        raise self.cached


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(os, "preadv", host.preadv)
    return host


async def test_what_the_host_has_in_memory_is_read_at_once(disk, host):
    seen = []
    disk.submit(DiskRead(2, 2, seen.append))
    assert seen == [b"\2" * 512 + b"\3" * 512]
    assert host.asked == 1


async def test_what_the_host_has_not_in_memory_is_read_in_a_thread(disk, host):
    host.cached = BlockingIOError()
    seen = []
    disk.submit(DiskRead(2, 2, seen.append))
    assert not seen
    assert await answer(disk, DiskRead, 3, 1) == b"\3" * 512
    assert seen == [b"\2" * 512 + b"\3" * 512]


async def test_a_file_system_that_cannot_tell_what_is_in_memory_is_asked_once(disk, host):
    host.cached = OSError(errno.EOPNOTSUPP, "preadv2(2)")
    for _ in range(3):
        assert await answer(disk, DiskRead, 5, 1) == b"\5" * 512
    assert host.asked == 1


async def test_a_read_that_is_long_is_done_in_a_thread(path, host, nursery):
    os.truncate(path, 2 * MOST_AT_ONCE)
    image = Image.open(path)
    nursery.start_soon(image.run)
    data = await answer(image, DiskRead, 0, MOST_AT_ONCE // 512 + 1)
    assert len(data) == MOST_AT_ONCE + 512
    assert host.asked == 0
    assert len(await answer(image, DiskRead, 0, MOST_AT_ONCE // 512)) == MOST_AT_ONCE
    assert host.asked == 1
    nursery.cancel_scope.cancel()
    image.close()


async def test_an_image_that_is_shorter_than_what_is_read_at_once_fails(disk, host, path):
    os.truncate(path, 512)
    assert await answer(disk, DiskRead, 0, 2) is None


async def test_a_read_whose_end_asks_for_the_next_goes_on_without_end(disk, host):
    """A drive's chunks do: each comes after the one before, not within it."""
    finished = trio.Event()
    left = 3000

    def next_one(data) -> None:
        nonlocal left
        assert data == b"\1" * 512
        left -= 1
        if left:
            disk.submit(DiskRead(1, 1, next_one))
        else:
            finished.set()

    disk.submit(DiskRead(1, 1, next_one))
    assert left == 2999
    with trio.fail_after(30):
        await finished.wait()


async def test_a_scratch_disk_is_read_at_once(nursery):
    image = Image.scratch(4096)
    seen = []
    image.submit(DiskRead(1, 2, seen.append))
    assert seen == [bytes(1024)]
    image.close()


@pytest.mark.parametrize(("lba", "count"), [(8, 1), (7, 2), (-1, 1), (1 << 40, 1)])
async def test_sectors_beyond_the_end_fail(disk, lba, count):
    assert await answer(disk, DiskRead, lba, count) is None
    assert await answer(disk, DiskWrite, lba, bytes(512 * count)) is False


async def test_an_image_cut_short_under_us_fails(disk, path):
    os.truncate(path, 1000)
    assert await answer(disk, DiskRead, 0, 2) is None
    assert await answer(disk, DiskRead, 0, 1) == bytes(512)


async def test_a_failing_flush_is_told(disk, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    assert await answer(disk, DiskFlush) is False


async def test_the_queue_is_bounded(path):
    image = Image.open(path)
    results = []
    for _ in range(MAX_QUEUED + 1):
        image.submit(DiskFlush(results.append))
    assert results == [False]
    image.close()


async def test_a_read_only_image(path, nursery):
    image = Image.open(path, readonly=True)
    again = Image.open(path, readonly=True)
    nursery.start_soon(image.run)
    assert await answer(image, DiskWrite, 0, bytes(512)) is False
    assert await answer(image, DiskRead, 1, 1) == b"\1" * 512
    with pytest.raises(ConfigError, match="another process has it open"):
        Image.open(path)
    again.close()
    nursery.cancel_scope.cancel()
    image.close()


async def test_a_scratch_disk_is_whole_zeroed_sectors(nursery):
    image = Image.scratch(1000)
    nursery.start_soon(image.run)
    assert image.sectors == 2
    assert await answer(image, DiskRead, 0, 2) == bytes(1024)
    nursery.cancel_scope.cancel()
    image.close()


def test_an_image_that_another_process_has_open(path):
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'rb+'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.read(1)
        with pytest.raises(ConfigError, match=r"disk .*disk.img: another process has it open"):
            Image.open(path)
        process.communicate()
    image = Image.open(path)
    with open(path, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    image.close()


@pytest.mark.parametrize(
    ("size", "line"),
    [(0, "0 bytes, not a whole number"), (1000, "1000 bytes, not a whole number of 512-byte sectors")],
)
def test_a_truncated_image(tmp_path, size, line):
    path = tmp_path / "short.img"
    path.write_bytes(bytes(size))
    with pytest.raises(ConfigError, match=line):
        Image.open(str(path))


def test_a_missing_image_and_one_that_is_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"disk .*none.img: No such file or directory"):
        Image.open(str(tmp_path / "none.img"))
    with pytest.raises(ConfigError, match="not a regular file"):
        Image.open(str(tmp_path), readonly=True)
