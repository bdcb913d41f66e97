"""A CD-ROM drive's disc as the server has it: opened, locked, changed while it is read, and closed."""

import os

import pytest
import trio
import trio.testing

from devmodel import ConfigError, DevmodelError
from devmodel.board.clock import ManualClock
from devmodel.board.device import DiskRead
from devmodel.board.lines import Line
from devmodel.config import Cdrom, Config
from devmodel.devices.ide import IdeChannel
from devmodel.disks.image import Image
from devmodel.disks.tray import Disc
from devmodel.service import monitor
from devmodel.service.fittings import drives
from devmodel.service.monitor import Eject, Insert

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

    async def ask(command: monitor.Command) -> None:
        await trio.to_thread.run_sync(monitor.ask, core.path, command)

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
