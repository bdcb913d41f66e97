# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""The two address spaces of a PC, and who answers where.

A `Space` is a table of mappings that never overlap. The access is the hot path: one lookup, one call. What is
wider than a device takes, or reaches past its end, is split into ascending units, as the byte steering of an
ISA bus does. What nobody answers reads as ones, and swallows writes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

import attrs
import structlog

from devmodel import ConfigError
from devmodel.board.device import ONES, Device, MovingDevice, StringDevice
from devmodel.board.mirror import Mirror

log = structlog.get_logger()

SpaceName: TypeAlias = Literal["pio", "memory"]

ANY: Final = (1 << 64) - 1
"""All timed chips, one bit each: see `Mapping.touches`."""


class Mapping:
    """Addresses `first` to `last` inclusive, answered by one device, which counts offsets from `first`.

    `width` is the widest access in bytes that the device takes in one go. Writes are posted, and the guest runs on;
    `waits` says why it must not where a write acts on the core before the next instruction. `mirror` shows the core
    registers that it need not ask for. `strings` is the device if it takes string instructions in one go, `mover` if it
    moves memory within itself. A `movable`
    one is claimed by itself, since the guest may put it elsewhere. `concerns` names the timed chips whose deadlines an
    access may change, None any of them; `touches` has their bits, by their order on the board.
    """

    __slots__ = (
        "concerns",
        "first",
        "last",
        "mirror",
        "movable",
        "mover",
        "name",
        "read",
        "strings",
        "touches",
        "waits",
        "width",
        "write",
    )

    def __init__(
        self,
        first: int,
        last: int,
        name: str,
        width: int,
        waits: str,
        device: Device,
        mirror: Mirror | None,
        movable: bool = False,
        concerns: Sequence[str] | None = None,
    ) -> None:
        self.first = first
        self.last = last
        self.name = name
        self.width = width
        self.waits = waits
        self.read = device.read
        self.write = device.write
        self.mirror = mirror
        self.movable = movable
        self.strings = device if isinstance(device, StringDevice) else None
        self.mover = device if isinstance(device, MovingDevice) else None
        self.concerns = concerns
        self.touches = ANY


@attrs.frozen
class Ignored:
    """Addresses that are left without a device on purpose."""

    first: int
    last: int
    why: str


@attrs.frozen
class Claim:
    """A range to claim at the core: neighbours in one, so that an access across them arrives whole.

    `mirrors` are those of its devices, each with the place of its first register in the range.
    """

    first: int
    last: int
    posted: bool
    mirrors: tuple[tuple[int, Mirror], ...] = ()


class Space:
    """One address space: ports, or memory."""

    def __init__(self, name: SpaceName, size: int) -> None:
        self.name: Final = name
        self.size: Final = size
        self.mappings: list[Mapping] = []
        self.ignored: list[Ignored] = []
        self.yielding: list[str] = []
        """Names of mappings that go when somebody else wants to answer there."""
        self.moved: Callable[[Claim, bool], None] = lambda _claim, _there: None
        """Hears of each movable mapping that comes or goes; the server sets it."""
        self.touched = 0
        """What accesses have touched, until somebody clears it."""
        self._starts: list[int] = []
        self._found: dict[int, Mapping] = {}  # by address: every port; of memory what was asked for lately
        self._debug = log.bind().debug  # bound once, since nobody's ports are read by the thousand

    def map(
        self,
        first: int,
        last: int,
        device: Device,
        *,
        name: str,
        width: int = 1,
        waits: str = "",
        mirror: Mirror | None = None,
        concerns: Sequence[str] | None = None,
    ) -> None:
        """Let `device` answer from `first` to `last` inclusive.

        `waits` says why the guest must wait for a write; without it writes are posted. `mirror` shows registers
        from `first` on. `concerns` names the timed chips whose deadlines an access may change; None: any of them.

        Raises:
            ConfigError: part of that is taken, or there is no such range.

        """
        self._check(first, last, name)
        self._insert(Mapping(first, last, name, width, waits, device, mirror, concerns=concerns))

    def _insert(self, mapping: Mapping) -> None:
        at = bisect_right(self._starts, mapping.first)
        self.mappings.insert(at, mapping)
        self._starts.insert(at, mapping.first)
        self._found.clear()

    def place(self, first: int, last: int, device: Device, *, name: str, width: int, waits: str) -> bool:
        """Let `device` answer where the guest has put it; False if somebody else does, who was there first."""
        if not 0 <= first <= last < self.size:
            return False
        if any(first <= m.last and m.first <= last for m in self.mappings):
            return False
        self._insert(Mapping(first, last, name, width, waits, device, None, True))
        self.moved(Claim(first, last, not waits), True)
        return True

    def remove(self, first: int, last: int) -> None:
        """Take away what `place` has put there."""
        for at, m in enumerate(self.mappings):
            if m.movable and (m.first, m.last) == (first, last):
                self._delete(at)
                self.moved(Claim(first, last, not m.waits), False)
                return

    def _delete(self, at: int) -> None:
        del self.mappings[at], self._starts[at]
        self._found.clear()

    def ignore(self, first: int, last: int, why: str) -> None:
        """Say why nobody answers there. Only the reader and the log are any the wiser."""
        self._check(first, last, f"what is ignored ({why})")
        self.ignored.append(Ignored(first, last, why))

    def heed(self, first: int, last: int) -> None:
        """Leave that to nobody no longer, nor to whoever yields: somebody wants to answer there after all."""
        self.ignored = [i for i in self.ignored if last < i.first or i.last < first]
        for m in [m for m in self.mappings if m.name in self.yielding]:
            if m.first <= last and first <= m.last:
                self._delete(self.mappings.index(m))

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Keep the mappings whose names are wanted, and drop the others: they are another server's."""
        self.mappings = [m for m in self.mappings if wanted(m.name)]
        self._starts = [m.first for m in self.mappings]
        self._found.clear()

    def claims(self) -> Iterator[Claim]:
        """Yield the ranges to claim, ascending."""
        current: Claim | None = None
        for m in self.mappings:
            posted = not m.waits
            alone = m.movable or (current.last + 1, current.posted) != (m.first, posted) if current else False
            if current is not None and alone:
                yield current
                current = None
            if m.movable:
                yield Claim(m.first, m.last, posted)
                continue
            if current is None:
                current = Claim(m.first, m.last, posted)
            mirrors = () if m.mirror is None else ((m.first - current.first, m.mirror),)
            current = Claim(current.first, m.last, posted, current.mirrors + mirrors)
        if current is not None:
            yield current

    def read(self, address: int, size: int) -> int:
        """Read 1, 2, 4 or 8 bytes."""
        m = self._found.get(address) or self._find(address)
        if m is not None and size <= m.width and address + size - 1 <= m.last:
            self.touched |= m.touches
            return int(m.read(address - m.first, size))
        if m is None and size == 1:
            self._debug("bus.nobody_reads", space=self.name, address=address)
            return ONES[1]
        return self._read_in_units(address, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Write 1, 2, 4 or 8 bytes."""
        m = self._found.get(address) or self._find(address)
        if m is not None and size <= m.width and address + size - 1 <= m.last:
            self.touched |= m.touches
            m.write(address - m.first, size, value)
        elif m is None and size == 1:
            self._debug("bus.nobody_writes", space=self.name, address=address, value=value)
        else:
            self._write_in_units(address, size, value)

    def touch(self, address: int) -> None:
        """Take note that something else than an access has reached the device at `address`, as an access would."""
        m = self._found.get(address) or self._find(address)
        if m is not None:
            self.touched |= m.touches

    def strings(self, address: int, size: int) -> tuple[StringDevice, int] | None:
        """Return who takes string instructions at `address` in one go, and the offset there."""
        m = self._found.get(address) or self._find(address)
        if m is None or m.strings is None or size > m.width or address + size - 1 > m.last:
            return None
        self.touched |= m.touches
        return m.strings, address - m.first

    def mover(self, source: int, destination: int) -> tuple[MovingDevice, int, int] | None:
        """Return who moves memory from `source` to `destination` in one go, and the offsets there."""
        m = self.find(source)
        if m is None or m.mover is None or not m.first <= destination <= m.last:
            return None
        self.touched |= m.touches
        return m.mover, source - m.first, destination - m.first

    def find(self, address: int) -> Mapping | None:
        """Return the mapping that answers `address`."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address <= self.mappings[at].last:
            return self.mappings[at]
        return None

    def _find(self, address: int) -> Mapping | None:
        mapping = self.find(address)
        if mapping is not None:
            if len(self._found) >= 1 << 16:
                self._found.clear()  # a guest that walks through all of a frame buffer
            self._found[address] = mapping
        return mapping

    def _units(self, address: int, size: int) -> Iterator[tuple[Mapping | None, int, int]]:
        """Yield mapping, address and size of each part of an access, ascending."""
        end = address + size
        while address < end:
            m = self._found.get(address) or self._find(address)
            unit = 1
            if m is not None:
                while 2 * unit <= min(m.width, end - address, m.last + 1 - address):
                    unit *= 2
            yield m, address, unit
            address += unit

    def _read_in_units(self, address: int, size: int) -> int:
        value = 0
        for m, at, unit in self._units(address, size):
            part = ONES[unit]
            if m is None:
                self._debug("bus.nobody_reads", space=self.name, address=at)
            else:
                self.touched |= m.touches
                part &= m.read(at - m.first, unit)
            value |= part << 8 * (at - address)
        return value

    def _write_in_units(self, address: int, size: int, value: int) -> None:
        for m, at, unit in self._units(address, size):
            part = value >> 8 * (at - address) & ONES[unit]
            if m is None:
                self._debug("bus.nobody_writes", space=self.name, address=at, value=part)
            else:
                self.touched |= m.touches
                m.write(at - m.first, unit, part)

    def _check(self, first: int, last: int, name: str) -> None:
        if not 0 <= first <= last < self.size:
            raise ConfigError(f"{name}: there is no {self.name} {first:#x}-{last:#x}")
        taken = [(m.first, m.last, m.name) for m in self.mappings]
        taken += [(i.first, i.last, f"what is ignored ({i.why})") for i in self.ignored]
        for theirs, end, other in taken:
            if first <= end and theirs <= last:
                raise ConfigError(
                    f"{name} and {other} overlap: {self.name} {first:#x}-{last:#x} and {theirs:#x}-{end:#x}"
                )


class Bus:
    """Both spaces. The board maps and wires; the server reads and writes."""

    def __init__(self) -> None:
        self.pio = Space("pio", 1 << 16)
        self.memory = Space("memory", 1 << 52)

    def space(self, name: SpaceName) -> Space:
        """Return a space by its name."""
        return self.pio if name == "pio" else self.memory

    def map(
        self,
        space: SpaceName,
        first: int,
        last: int,
        device: Device,
        *,
        name: str,
        width: int = 1,
        waits: str = "",
        mirror: Mirror | None = None,
        concerns: Sequence[str] | None = None,
    ) -> None:
        """Map a device: see `Space.map`."""
        self.space(space).map(
            first, last, device, name=name, width=width, waits=waits, mirror=mirror, concerns=concerns
        )

    def number(self, timed: Sequence[str]) -> None:
        """Say which timed chips there are, in what order: see `Mapping.touches`. Who is not named is not here."""
        bits = {name: 1 << n for n, name in enumerate(timed)}
        for mapping in (*self.pio.mappings, *self.memory.mappings):
            if mapping.concerns is not None:
                mapping.touches = sum(bits.get(name, 0) for name in mapping.concerns)

    def take_touched(self) -> int:
        """Return the bits of what accesses have touched since the last time."""
        touched = self.pio.touched | self.memory.touched
        self.pio.touched = self.memory.touched = 0
        return touched

    def ignore(self, space: SpaceName, first: int, last: int, why: str) -> None:
        """Leave a range to nobody on purpose: see `Space.ignore`."""
        self.space(space).ignore(first, last, why)

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Keep the mappings whose names are wanted."""
        self.pio.keep(wanted)
        self.memory.keep(wanted)

    def read(self, space: SpaceName, address: int, size: int) -> int:
        """Read from a space by its name."""
        return self.space(space).read(address, size)

    def write(self, space: SpaceName, address: int, size: int, value: int) -> None:
        """Write to a space by its name."""
        self.space(space).write(address, size, value)
