"""Overlays and snapshots: what is read is what was written, and the base stays as it is."""

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devmodel import ConfigError
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.cli import main
from devmodel.config import Disk, Options, load
from devmodel.disks import overlay
from devmodel.disks.image import Elsewhere, Image, Layered, open_disk
from devmodel.disks.overlay import HEADER, Header, create, open_overlay
from tests.devmodel.test_disks import answer

SECTOR = 512
SECTORS = 40_000  # more than one page of the bitmap


def contents(count: int = SECTORS) -> bytes:
    return b"".join(n.to_bytes(4, "little") * 128 for n in range(count))


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.img"
    path.write_bytes(contents())
    return str(path)


@pytest.fixture
def over(base, tmp_path):
    path = str(tmp_path / "over.cow")
    create(path, base)
    return path


WRITES = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 60), st.integers(32_700, 32_800), st.integers(SECTORS - 70, SECTORS - 1)),
        st.integers(1, 70),
        st.integers(0, 255),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(writes=WRITES, reads=WRITES)
def test_an_overlay_reads_as_a_disk_that_was_written_and_so_does_its_base_when_it_is_committed(
    tmp_path_factory, writes, reads
):
    folder = tmp_path_factory.mktemp("overlay")
    base, over = folder / "base", str(folder / "over")
    model = bytearray(contents())
    base.write_bytes(model)
    create(over, str(base))
    opened = open_overlay(over)
    for first, count, value in writes:
        data = bytes([value]) * SECTOR * min(count, SECTORS - first)
        opened.write(first * SECTOR, data)
        model[first * SECTOR : first * SECTOR + len(data)] = data
    for again in (False, True):
        for first, count, _ in [*reads, (0, SECTORS, 0)]:
            length = min(count, SECTORS - first) * SECTOR
            assert opened.read(first * SECTOR, length) == model[first * SECTOR : first * SECTOR + length]
        opened.close()
        opened = open_overlay(over, readonly=again)
    opened.close()
    assert base.read_bytes() == contents(), "the base is only read"
    committed = open_overlay(over, commits=True)
    committed.commit()
    assert list(committed.written()) == []
    committed.close()
    assert base.read_bytes() == model
    opened = open_overlay(over)
    assert opened.read(0, len(model)) == model
    opened.close()
    shutil.rmtree(folder)


def test_an_overlay_takes_as_much_room_as_what_is_written(over):
    assert os.stat(over).st_size > SECTORS * SECTOR
    assert os.stat(over).st_blocks * 512 <= 16384
    opened = open_overlay(over)
    opened.write(SECTORS // 2 * SECTOR, bytes(SECTOR))
    assert list(opened.written()) == [(SECTORS // 2, 1)]
    opened.close()
    assert os.stat(over).st_blocks * 512 <= 32768


async def test_a_flush_is_a_flush_of_the_overlay_with_its_bitmap(over, nursery, monkeypatch):
    disk = open_disk(over)
    nursery.start_soon(disk.run)
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    assert await answer(disk, DiskWrite, 7, b"z" * SECTOR) is True
    assert synced == []
    assert await answer(disk, DiskFlush) is True
    assert synced == [disk.fd]
    nursery.cancel_scope.cancel()
    disk.close()


def test_what_was_written_is_there_although_the_server_was_killed(over):
    """A bit is in the file as soon as the guest hears that its sector is written."""
    program = f"""
import os, signal
from devmodel.disks.overlay import open_overlay
opened = open_overlay({over!r})
opened.write(33 * 512, b"killed".ljust(512))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    opened = open_overlay(over)
    assert opened.read(33 * SECTOR, SECTOR) == b"killed".ljust(512)
    opened.close()


# -- what is refused


def test_base_and_overlay_are_locked(base, over):
    opened = open_overlay(over)
    with pytest.raises(ConfigError, match=f"^disk {over}: another process has it open$"):
        open_overlay(over)
    with pytest.raises(ConfigError, match=f"^disk {base}: another process has it open$"):
        Image.open(base)
    other = over + "2"
    create(other, base)
    open_overlay(other).close()  # a base may be under several
    with pytest.raises(ConfigError, match=f"^disk {base}: another process has it open$"):
        open_overlay(other, commits=True)
    opened.close()


def test_a_base_that_has_changed_does_not_fit_any_more(base, over):
    with open(base, "r+b") as file:
        file.write(b"x")
    os.utime(base, ns=(1, 1))
    with pytest.raises(ConfigError, match=rf"^disk {over}: its base {base} has changed since"):
        open_overlay(over)
    overlay.rebase(over, None)
    open_overlay(over).close()


def test_a_base_that_is_gone_or_of_another_size_is_one_line(base, over, tmp_path):
    (tmp_path / "moved").write_bytes(contents(8))
    with pytest.raises(ConfigError, match=r": 40000 sectors, but .*moved has 8$"):
        overlay.rebase(over, str(tmp_path / "moved"))
    os.unlink(base)
    with pytest.raises(ConfigError, match=f"^disk {over}: its base {base}: No such file or directory$"):
        open_overlay(over)


@given(at=st.integers(16, HEADER - 1), flipped=st.integers(1, 255))
def test_a_header_that_is_damaged_is_seen(at, flipped):
    header = Header(100, "/base", 51200, 7)
    data = bytearray(header.encode())
    assert Header.decode(bytes(data), header.length) == header
    data[at] ^= flipped
    with pytest.raises(ValueError, match="damaged"):
        Header.decode(bytes(data), header.length)


def test_an_overlay_that_is_cut_short_is_one_line(over):
    os.truncate(over, 1 << 20)
    with pytest.raises(ConfigError, match=r"an overlay, but it is cut short: 1048576 bytes of \d+$"):
        open_overlay(over)
    os.truncate(over, 100)
    with pytest.raises(ConfigError, match="an overlay, but its header is damaged"):
        open_overlay(over)


def test_a_commit_that_was_interrupted_is_finished_and_nothing_else_done(base, over, monkeypatch, capsys):
    opened = open_overlay(over)
    opened.write(0, b"a" * SECTOR * 3)
    opened.close()
    opened = open_overlay(over, commits=True)
    monkeypatch.setattr(opened.base, "flush", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        opened.commit()
    opened.close()
    with pytest.raises(
        ConfigError, match=f"a commit was interrupted; finish it: devmodel disk commit {over}$"
    ):
        open_overlay(over)
    assert main(["disk", "info", over]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert main(["disk", "commit", over]) == 0
    assert capsys.readouterr().out == f"1.5 KiB written to {base}\n"
    open_overlay(over).close()


def test_overlays_over_overlays_have_an_end(base, tmp_path):
    below = base
    for depth in range(overlay.MAX_DEPTH):
        below, under = str(tmp_path / f"{depth}.cow"), below
        create(below, under)
    opened = open_overlay(below)
    assert opened.read(0, 2 * SECTOR) == contents(2)
    opened.close()
    create(str(tmp_path / "last.cow"), below)
    with pytest.raises(ConfigError, match="more than 8 overlays over one another"):
        open_overlay(str(tmp_path / "last.cow"))


# -- as they are said


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("a.img", Disk("a.img")),
        ("a.img,readonly", Disk("a.img", readonly=True)),
        ("a,,b.img,readonly=off", Disk("a,b.img")),
        ("a.img,snapshot=on", Disk("a.img", snapshot=True)),
        ("a.cow,base=b,,c.img", Disk("a.cow", base="b,c.img")),
        ("a.img,format=raw,snapshot", Disk("a.img", snapshot=True, format="raw")),
    ],
)
def test_disks_as_they_are_said(text, disk):
    assert load(None, Options(disks=(text,))).disks == (disk,)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "--disk '' names no file"),
        (
            "a,b.img",
            "--disk 'a,b.img': unknown option 'b.img'; allowed: readonly, snapshot, base=FILE, format",
        ),
        ("a,readonly=maybe", "--disk 'a,readonly=maybe': readonly is on or off"),
        ("a,base", "--disk 'a,base': base needs a file"),
        ("a,format=vmdk", "--disk 'a,format=vmdk': a format is raw or auto"),
        ("a,snapshot,readonly", "options: snapshot and readonly in [[disk]] exclude each other"),
        ("a,snapshot,base=b", "options: snapshot and base in [[disk]] exclude each other"),
    ],
)
def test_mistakes_in_disks_are_one_line(text, line):
    with pytest.raises(ConfigError) as error:
        load(None, Options(disks=(text,)))
    assert str(error.value).startswith(line)


def test_disks_of_a_file_are_found_beside_it(tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text(
        '[[disk]]\npath = "a.cow"\nbase = "b.img"\n[[disk]]\npath = "c"\nsnapshot = true\nformat = "raw"\n'
    )
    assert load(str(path), Options()).disks == (
        Disk(str(tmp_path / "a.cow"), base=str(tmp_path / "b.img")),
        Disk(str(tmp_path / "c"), snapshot=True, format="raw"),
    )


# -- as a drive has them


async def test_a_snapshot_is_written_and_the_image_is_not(base, nursery, tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    disk = open_disk(base, takes_snapshot=True)
    assert list((tmp_path / "t").iterdir()) == [], "it has no name, so that no kill leaves it"
    second = open_disk(base, takes_snapshot=True)  # the image is only read
    nursery.start_soon(disk.run)
    assert await answer(disk, DiskWrite, 5, b"w" * SECTOR) is True
    assert await answer(disk, DiskFlush) is True
    assert await answer(disk, DiskRead, 4, 3) == contents(5)[-512:] + b"w" * SECTOR + contents(7)[-512:]
    # `devmodel upgrade` keeps the descriptor.
    kept = os.dup(disk.fd)
    nursery.cancel_scope.cancel()
    disk.close()
    second.close()
    again = open_disk(base, takes_snapshot=True, fd=kept)
    assert isinstance(again, Layered)
    assert again.store.read(5 * SECTOR, SECTOR) == b"w" * SECTOR
    again.close()
    with open(base, "rb") as file:
        assert file.read() == contents()


def test_an_overlay_is_made_where_there_is_none_and_gone_on_with_after_that(base, tmp_path):
    path = str(tmp_path / "new.cow")
    disk = open_disk(path, base=base)
    assert isinstance(disk, Layered)
    assert disk.sectors == SECTORS
    disk.store.write(0, b"1" * SECTOR)
    disk.close()
    disk.close()
    for said in (base, None):
        again = open_disk(path, base=said)
        assert isinstance(again, Layered)
        assert again.store.read(0, SECTOR) == b"1" * SECTOR
        again.close()
    assert Elsewhere.at(path).sectors == SECTORS
    with pytest.raises(ConfigError, match=r"^disk .*base.img: not an overlay, so it cannot have a base$"):
        open_disk(base, base=path)


def test_an_overlay_that_is_only_read_refuses_writes(over):
    disk = open_disk(over, readonly=True)
    with pytest.raises(OSError, match="read-only"):
        disk._write(0, bytes(SECTOR))
    disk.close()


@pytest.mark.parametrize(
    ("magic", "name"), [(b"QFI\xfb", "qcow2"), (b"KDMV", "VMDK"), (b"vhdxfile", "VHDX"), (b"QED\0", "QED")]
)
def test_images_of_other_kinds_are_not_presented_as_they_lie_there(tmp_path, magic, name):
    path = tmp_path / "image"
    path.write_bytes(magic.ljust(4096, b"\0"))
    with pytest.raises(ConfigError, match=f"it begins as a {name} image does; convert it to raw"):
        open_disk(str(path))
    open_disk(str(path), said="raw").close()


# -- the command


def test_an_image_is_made_looked_at_and_converted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["disk", "create", "a.img", "1MiB"]) == 0
    assert os.stat("a.img").st_size == 1 << 20
    assert main(["disk", "create", "a.img", "1M"]) == 2
    assert main(["disk", "create", "b.img", "1000"]) == 2
    assert main(["disk", "create", "a.cow", "--base", "a.img"]) == 0
    assert main(["disk", "info", "a.cow"]) == 0
    assert main(["disk", "info", "none"]) == 2
    assert main(["disk", "commit", "a.img"]) == 2
    assert main(["disk", "convert", "a.cow", "c.img"]) == 0
    assert os.stat("c.img").st_blocks == 0
    said = capsys.readouterr()
    assert said.out.startswith("a.cow: overlay, 1 MiB, ")
    assert f"base {tmp_path}/a.img, 0 bytes written over it\n" in said.out
    assert said.err.splitlines() == [
        "devmodel: disk a.img: File exists",
        "devmodel: size '1000'; allowed: whole sectors of 512 bytes, for example 10G, up to 1T",
        "devmodel: disk none: No such file or directory",
        "devmodel: disk a.img: not an overlay; there is nothing to commit",
    ]
