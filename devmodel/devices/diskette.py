"""Diskettes and the drives that take them: formats by size, and a drive's slot as a hand outside fills it.

An image has its sectors in the order cylinder, head, sector, 512 bytes each, as every tool writes them. One that is
shorter than the formats there are is the beginning of a 1.44 MB diskette (a boot sector alone is one).
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.device import Disk


class Rate:
    """Data rates as DSR and CCR have them, in kbit/s."""

    R500: Final = 0
    R300: Final = 1
    R250: Final = 2
    R1000: Final = 3


@attrs.frozen
class Format:
    """How a diskette is written: on which medium, and with how many cylinders, heads and sectors a track."""

    medium: str
    cylinders: int
    heads: int
    track: int

    @property
    def sectors(self) -> int:
        """Size in sectors of 512 bytes."""
        return self.cylinders * self.heads * self.track


FORMATS: Final = tuple(
    Format(*row)
    for row in (
        ("5.25 DD", 40, 1, 8), ("5.25 DD", 40, 1, 9), ("5.25 DD", 40, 2, 8), ("5.25 DD", 40, 2, 9),
        ("3.5 DD", 80, 2, 9), ("3.5 DD", 80, 2, 10), ("5.25 HD", 80, 2, 15), ("3.5 HD", 80, 2, 18),
        ("3.5 HD", 80, 2, 20), ("3.5 HD", 80, 2, 21), ("3.5 HD", 82, 2, 21), ("3.5 HD", 83, 2, 21),
        ("3.5 ED", 80, 2, 36),
    )
)  # fmt: skip
"""Every size is there once."""
LONGEST: Final = max(format_.sectors for format_ in FORMATS)
USUAL: Final = Format("3.5 HD", 80, 2, 18)


@attrs.frozen
class DriveType:
    """A model of drive: its number in CMOS, its cylinders, and the data rate of each medium that it takes."""

    number: int
    cylinders: int
    rates: dict[str, int]


DRIVES: Final = {
    "360K": DriveType(1, 42, {"5.25 DD": Rate.R250}),
    "1.2M": DriveType(2, 84, {"5.25 DD": Rate.R300, "5.25 HD": Rate.R500}),
    "720K": DriveType(3, 84, {"3.5 DD": Rate.R250}),
    "1.44M": DriveType(4, 84, {"3.5 DD": Rate.R250, "3.5 HD": Rate.R500}),
    "2.88M": DriveType(5, 84, {"3.5 DD": Rate.R250, "3.5 HD": Rate.R500, "3.5 ED": Rate.R1000}),
}
"""A 1.2 MB drive turns faster, so that a 360 KB diskette comes at 300 kbit/s there, at every second cylinder."""
PREFERRED: Final = {
    "5.25 DD": "360K", "5.25 HD": "1.2M", "3.5 DD": "720K", "3.5 HD": "1.44M", "3.5 ED": "2.88M"
}  # fmt: skip
"""The drive for a diskette where nobody says which: its own, since a BIOS takes the geometry from the drive's type."""


def format_of(sectors: int) -> Format | None:
    """Return the format of an image of this size; None if it is too long for a diskette."""
    for format_ in FORMATS:
        if format_.sectors == sectors:
            return format_
    if sectors <= USUAL.sectors:
        return USUAL
    return min(
        (format_ for format_ in FORMATS if format_.sectors > sectors),
        key=lambda format_: format_.sectors,
        default=None,
    )


def drive_for(sectors: int) -> str:
    """Return the model of drive that suits an image of this size, 1.44M if nothing does."""
    format_ = format_of(sectors)
    return "1.44M" if format_ is None else PREFERRED[format_.medium]


class Bay:
    """A floppy drive from the outside: its model, and the diskette in it."""

    def __init__(self, model: str, disk: Disk | None = None) -> None:
        """`model` is one of `DRIVES`; `disk` must be one that it takes."""
        self.model = model
        self.type = DRIVES[model]
        self.disk = disk
        self.changed: Callable[[], None] = lambda: None
        """Hears that another diskette, or none, is in; the controller sets it."""

    def takes(self, sectors: int) -> bool:
        """Whether a diskette of this size can be used in this drive."""
        format_ = format_of(sectors)
        return format_ is not None and format_.medium in self.type.rates

    def put(self, disk: Disk | None) -> None:
        """Put a diskette in, in the place of the one that is there; None takes it out."""
        self.disk = disk
        self.changed()

    @property
    def format(self) -> Format | None:
        """How the diskette is written; None without one."""
        return None if self.disk is None else format_of(self.disk.sectors)
