"""What the head of a floppy drive finds on a track: sectors by their IDs, as an image has them, and address marks."""

from collections.abc import Sequence
from typing import Final

import attrs

from devmodel.board.device import Disk
from devmodel.devices.diskette import Bay
from devmodel.devices.fdc_registers import DOR_MOTOR, MFM, ST1_NO_DATA, ST2_WRONG_CYLINDER
from devmodel.devices.fdc_state import FdcState

SECTOR: Final = 512
LENGTH_CODE: Final = 2  # N of 512 bytes


@attrs.frozen
class Track:
    """What comes by under a head: on which diskette, on which of its cylinders, from which sector of the image on."""

    disk: Disk
    cylinder: int
    first: int
    sectors: int

    def missing(self, s: FdcState) -> tuple[int, int]:
        """Return what ST1 and ST2 say of the next sector if its ID is not here; zeros if it is."""
        if s.c != self.cylinder:
            return ST1_NO_DATA, ST2_WRONG_CYLINDER
        if s.h != s.head or s.n != LENGTH_CODE or not 1 <= s.r <= self.sectors:
            return ST1_NO_DATA, 0
        return 0, 0

    def marks(self, s: FdcState, count: int) -> list[bool]:
        """Return which of the next sectors have a deleted data mark."""
        deleted, first = s.drives[s.unit].deleted, self.first + s.r - 1
        return [first + at in deleted for at in range(count)]

    def takes(self, s: FdcState, ids: Sequence[tuple[int, ...]]) -> bool:
        """Tell whether an image has a place for sectors of these IDs: cylinder, head, number and length code."""
        numbers = sorted(r for _, _, r, _ in ids)
        return (
            bool(ids)
            and all((c, h, n) == (self.cylinder, s.head, LENGTH_CODE) for c, h, _, n in ids)
            and numbers == list(range(numbers[0], numbers[0] + len(ids)))
            and 1 <= numbers[0] <= numbers[-1] <= self.sectors
        )


def under_head(s: FdcState, bay: Bay | None) -> Track | None:
    """Return the track under the head; None if no address mark of the right density comes by there."""
    if bay is None or bay.disk is None or bay.format is None:
        return None
    format_, cylinder = bay.format, s.drives[s.unit].cylinder
    if bay.type.cylinders >= 2 * format_.cylinders:
        cylinder //= 2  # two steps of this drive are one of the diskette's
    if (
        not s.dor & DOR_MOTOR << s.unit
        or not s.command[0] & MFM
        or s.head >= format_.heads
        or cylinder >= format_.cylinders
        or bay.type.rates.get(format_.medium) != s.rate
    ):
        return None
    first = (cylinder * format_.heads + s.head) * format_.track
    return Track(bay.disk, cylinder, first, format_.track)
