"""What the shell asks of a chip, and what a chip asks of the shell.

These are Protocols, not base classes: a chip is any object with the right methods. Conventions that a
Protocol cannot say:

* A chip is built from its wiring (callables, lines, a clock) and one `state` record of plain data. Saving
  is a deep copy of `state`; restoring is building the chip with that record; `reset()` puts a fresh record
  in and drives the outputs again.
* `read` and `write` are complete in themselves: nothing awaits, nothing raises, whatever the guest does.
  Offsets count from the first address of the mapping; sizes are 1, 2, 4 or 8 bytes, values little-endian.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

import attrs

ONES: Final = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF, 8: 0xFFFF_FFFF_FFFF_FFFF}
"""What a bus that nobody drives reads as, by access size in bytes."""


class Device(Protocol):
    """Something mapped into port or memory space."""

    def read(self, offset: int, size: int) -> int:
        """Answer a read of `size` bytes at `offset`."""
        ...

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a write of `size` bytes at `offset`; bits of `value` beyond the size are zero."""
        ...


@runtime_checkable
class StringDevice(Device, Protocol):
    """A device that takes a whole string instruction at one of its ports in one go."""

    def read_string(self, offset: int, size: int, count: int) -> bytes:
        """Answer `count` reads of `size` bytes at `offset`."""
        ...

    def write_string(self, offset: int, size: int, data: bytes) -> None:
        """Take `data` in units of `size` bytes at `offset`."""
        ...


@runtime_checkable
class MovingDevice(Device, Protocol):
    """A device with memory that moves it within itself."""

    def copy(self, source: int, destination: int, size: int, count: int, *, descending: bool) -> None:
        """Move `count` items of `size` bytes one by one, as a repeated MOVS does; beyond the device they are lost."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A chip whose outputs change with time alone."""

    def deadline(self) -> int | None:
        """Return the guest time in ns (`Clock.now`) of the next change, rounded up; None for never."""
        ...

    def tick(self) -> None:
        """Let outputs follow time. Harmless when early, late, or called for nothing."""
        ...


@runtime_checkable
class Resettable(Protocol):
    """A chip on the reset line."""

    @property
    def state(self) -> Any:
        """Everything it remembers, as plain data."""
        ...

    def reset(self) -> None:
        """Put a fresh state in and drive the outputs."""
        ...


class GuestRam(Protocol):
    """Guest-physical memory as a bus master sees it."""

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes; ones where there is no RAM."""
        ...

    def write(self, address: int, data: bytes | memoryview, /) -> None:
        """Store `data`; what falls outside RAM is dropped."""
        ...

    def holds(self, address: int, length: int) -> bool:
        """Tell whether all of these bytes are RAM."""
        ...


@attrs.frozen
class DiskRead:
    """Read `count` sectors from `lba`; `done` gets them, or None if that failed."""

    lba: int
    count: int
    done: Callable[[bytes | None], None]


@attrs.frozen
class DiskWrite:
    """Write whole sectors at `lba`; `done` gets whether that worked."""

    lba: int
    data: bytes
    done: Callable[[bool], None]


@attrs.frozen
class DiskFlush:
    """Put everything written on the medium; `done` gets whether that worked."""

    done: Callable[[bool], None]


class Disk(Protocol):
    """A store of 512-byte sectors that answers later, in the event loop, in the order asked."""

    @property
    def sectors(self) -> int:
        """Size in sectors of 512 bytes."""
        ...

    @property
    def readonly(self) -> bool:
        """Whether writes are refused."""
        ...

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        """Begin a request. `done` is called once, possibly before this returns."""
        ...
