"""Which diskette an image is, and which drive takes it (ECMA and IBM formats, by their numbers of sectors)."""

import pytest

from devmodel.devices.diskette import Bay, drive_for, format_of
from tests.devmodel.recording_core import QuickDisk


@pytest.mark.parametrize(
    ("sectors", "wanted"),
    [
        (720, 720),
        (1440, 1440),
        (2400, 2400),
        (2880, 2880),
        (5760, 5760),
        (1, 2880),
        (2881, 3200),
        (5761, None),
    ],
)
def test_an_image_is_the_format_of_its_size_or_of_the_next_above(sectors: int, wanted: int | None) -> None:
    found = format_of(sectors)
    assert (None if found is None else found.sectors) == wanted


def test_a_drive_that_suits_takes_the_diskette() -> None:
    assert [drive_for(sectors) for sectors in (720, 2400, 2880, 5760, 9999)] == [
        "360K", "1.2M", "1.44M", "2.88M", "1.44M",
    ]  # fmt: skip
    assert Bay("1.44M").takes(2880)
    assert not Bay("1.44M").takes(5760)
    assert not Bay("1.44M").takes(9999)


def test_the_controller_hears_that_a_diskette_is_changed() -> None:
    bay = Bay("1.44M")
    heard: list[object] = []
    bay.changed = lambda: heard.append(bay.disk)
    disk = QuickDisk(sectors=2880)
    bay.put(disk)
    bay.put(None)
    assert heard == [disk, None]
