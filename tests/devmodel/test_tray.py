"""Discs and diskettes as the server has them: opened, locked, changed while they are read, and closed."""

import os

import pytest
import trio
import trio.testing

from devmodel import ConfigError, DevmodelError
from devmodel.board.clock import ManualClock
from devmodel.board.device import DiskRead, DiskWrite
from devmodel.board.lines import Line
from devmodel.config import Cdrom, Config, Floppy
from devmodel.control import asking, messages
from devmodel.control.messages import Eject, Insert
from devmodel.devices.diskette import FORMATS, drive_for, format_of
from devmodel.devices.ide import IdeChannel
from devmodel.disks.image import Image
from devmodel.disks.tray import Disc, Diskette
from devmodel.service.fittings import drives

BLOCK = 2048


def make(path, letter: bytes) -> str:
    path.write_bytes(letter * (4 * BLOCK))
    return str(path)


async def first(disc: Disc) -> bytes | None:
    """The first sector of what lies in the tray."""
    seen: list[bytes | None] = []
    assert disc.tray.disc is not None
    disc.tray.disc.submit(DiskRead(0, 1, seen.append))
    with trio.fail_after(5):
        while not seen:
            await trio.sleep(0.001)
    return seen[0]


def free(path: str) -> bool:
    """Whether nobody has an image open."""
    try:
        Image.open(path).close()
    except ConfigError:
        return False
    return True


async def test_a_disc_is_changed_while_the_machine_runs(nursery, tmp_path):
    a, b = make(tmp_path / "a.iso", b"a"), make(tmp_path / "b.iso", b"b")
    disc = Disc(a)
    nursery.start_soon(disc.run)
    assert await first(disc) == b"a" * 512
    assert not free(a)
    disc.insert(b)
    assert await first(disc) == b"b" * 512
    await trio.testing.wait_all_tasks_blocked()
    assert (free(a), free(b)) == (True, False)
    disc.eject()
    await trio.testing.wait_all_tasks_blocked()
    assert (disc.tray.disc, free(b)) == (None, True)
    disc.insert(a)
    assert await first(disc) == b"a" * 512


async def test_what_was_changed_before_it_is_served_is_closed(nursery, tmp_path):
    a, b = make(tmp_path / "a.iso", b"a"), make(tmp_path / "b.iso", b"b")
    disc = Disc(a)
    disc.insert(b)
    assert free(a)
    nursery.start_soon(disc.run)
    assert await first(disc) == b"b" * 512
    disc.close()
    assert free(b)


async def test_an_image_that_cannot_be_used_leaves_the_one_that_is_there(nursery, tmp_path):
    disc = Disc(make(tmp_path / "a.iso", b"a"))
    nursery.start_soon(disc.run)
    with pytest.raises(ConfigError, match="No such file"):
        disc.insert(str(tmp_path / "none.iso"))
    assert await first(disc) == b"a" * 512


def test_a_locked_tray_is_told_in_a_line(tmp_path):
    disc = Disc(make(tmp_path / "a.iso", b"a"))
    ide = IdeChannel(irq=Line(), clock=ManualClock(), disks=(disc.tray, None))
    state = ide.state.cdroms[0]
    assert state is not None
    state.locked = True
    with pytest.raises(DevmodelError, match="the guest has locked the tray"):
        disc.eject()
    disc.eject(force=True)
    assert (disc.tray.disc, state.opened, state.locked) == (None, True, False)


def test_cdrom_drives_take_the_places_that_disks_leave(tmp_path):
    disks = [Image.scratch(512) for _ in range(3)]
    trays = [Disc(None).tray for _ in range(2)]
    assert drives([], trays) == [None, None, *trays]
    assert drives(disks[:1], trays) == [disks[0], None, *trays]
    assert drives(disks, trays[:1]) == [*disks, trays[0]]
    assert drives([], [*trays, *trays]) == [trays[1], trays[0], *trays]
    for disk in disks:
        disk.close()


async def test_the_monitor_changes_discs(start, core, tmp_path):
    a, b = make(tmp_path / "a.iso", b"a"), make(tmp_path / "b.iso", b"b")
    running = await start(Config(cdroms=(Cdrom(a), Cdrom())))
    discs = running.outside.discs

    async def ask(command: messages.Command) -> None:
        await trio.to_thread.run_sync(asking.ask, core.path, command)

    await ask(Insert(path=b, drive=1))
    assert await first(discs[1]) == b"b" * 512
    await ask(Eject())
    assert discs[0].tray.disc is None
    for command, line in (
        (Insert(path=os.fspath(tmp_path / "none.iso")), "No such file"),
        (Eject(drive=2), "there is no CD-ROM drive 2; the last is 1"),
        (Insert(path=os.fspath(tmp_path)), "Is a directory|not a regular file"),
    ):
        with pytest.raises(DevmodelError, match=line):
            await ask(command)


# -- diskettes --------------------------------------------------------------------------------------------


def diskette(path, letter: bytes, sectors: int = 2880) -> str:
    path.write_bytes(letter * (512 * sectors))
    return str(path)


async def sector_of(drive: Diskette, lba: int) -> bytes | None:
    seen: list[bytes | None] = []
    assert drive.bay.disk is not None
    drive.bay.disk.submit(DiskRead(lba, 1, seen.append))
    with trio.fail_after(5):
        while not seen:
            await trio.sleep(0.001)
    return seen[0]


async def test_a_diskette_is_changed_while_the_machine_runs(nursery, tmp_path):
    a, b = diskette(tmp_path / "a.img", b"a"), diskette(tmp_path / "b.img", b"b", 1440)
    drive = Diskette("1.44M", a)
    told: list[str | None] = []
    drive.bay.changed = lambda: told.append(drive.bay.format and drive.bay.format.medium)
    nursery.start_soon(drive.run)
    assert await sector_of(drive, 0) == b"a" * 512
    drive.insert(b)
    assert await sector_of(drive, 0) == b"b" * 512
    await trio.testing.wait_all_tasks_blocked()
    assert (free(a), free(b)) == (True, False)
    drive.eject()
    await trio.testing.wait_all_tasks_blocked()
    assert (drive.bay.disk, drive.bay.format, free(b)) == (None, None, True)
    assert told == ["3.5 DD", None]


async def test_a_short_image_reads_as_zeros_behind_its_end_and_grows_when_written(nursery, tmp_path):
    drive = Diskette("1.44M", diskette(tmp_path / "boot.img", b"a", 1))
    nursery.start_soon(drive.run)
    assert drive.bay.disk is not None
    assert drive.bay.disk.sectors == 2880
    assert await sector_of(drive, 2879) == bytes(512)
    done: list[bool] = []
    drive.bay.disk.submit(DiskWrite(3, b"x" * 512, done.append))
    drive.bay.disk.submit(DiskWrite(2880, b"x" * 512, done.append))
    assert await sector_of(drive, 3) == b"x" * 512
    assert await sector_of(drive, 0) == b"a" * 512
    assert done == [True, False]
    assert (tmp_path / "boot.img").stat().st_size == 4 * 512


async def test_an_image_may_end_within_a_sector(nursery, tmp_path):
    path = tmp_path / "boot.img"
    path.write_bytes(b"a" * 700)
    drive = Diskette("1.44M", str(path))
    nursery.start_soon(drive.run)
    assert await sector_of(drive, 1) == b"a" * 188 + bytes(324)
    drive.close()
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="0 bytes, not a whole number"):
        Diskette("1.44M", str(path))


def test_a_diskette_that_the_drive_does_not_take_leaves_the_one_that_is_there(tmp_path):
    a = diskette(tmp_path / "a.img", b"a", 1440)
    drive = Diskette("720K", a)
    with pytest.raises(ConfigError, match="a 720K drive does not take this diskette; drives that do: 1"):
        drive.insert(diskette(tmp_path / "b.img", b"b"))
    with pytest.raises(ConfigError, match="2949632 bytes are more than a diskette has"):
        drive.insert(diskette(tmp_path / "c.img", b"c", 5761))
    assert (free(str(tmp_path / "b.img")), free(a)) == (True, False)
    drive.close()
    protected = Diskette("1.44M", a, readonly=True)
    assert protected.bay.disk is not None
    assert protected.bay.disk.readonly
    protected.close()


def test_a_format_is_known_by_its_size():
    sizes = [format_.sectors for format_ in FORMATS]
    assert sizes == sorted(set(sizes)), "each size is there once"
    assert all(format_of(format_.sectors) == format_ for format_ in FORMATS)
    names = [drive_for(kib * 2) for kib in (160, 320, 360, 720, 1200, 1440, 1680, 2880, 5000, 1, 1500, 1800)]
    assert names == ["360K"] * 3 + [
        "720K",
        "1.2M",
        "1.44M",
        "1.44M",
        "2.88M",
        "1.44M",
        "1.44M",
        "1.44M",
        "2.88M",
    ]


async def test_the_monitor_changes_diskettes(start, core, tmp_path):
    a, b = diskette(tmp_path / "a.img", b"a"), diskette(tmp_path / "b.img", b"b")
    running = await start(Config(floppies=(Floppy(a), Floppy(drive="2.88M"))))
    drives = running.outside.diskettes
    assert [drive.bay.model for drive in drives] == ["1.44M", "2.88M"]

    async def ask(command: messages.Command) -> None:
        await trio.to_thread.run_sync(asking.ask, core.path, command)

    await ask(Insert(path=b, drive=1, floppy=True))
    assert await sector_of(drives[1], 0) == b"b" * 512
    await ask(Eject(floppy=True))
    assert drives[0].bay.disk is None
    with pytest.raises(DevmodelError, match="there is no floppy drive 2; the last is 1"):
        await ask(Eject(drive=2, floppy=True))
    with pytest.raises(DevmodelError, match="there is no CD-ROM drive 0; there is none"):
        await ask(Eject())
