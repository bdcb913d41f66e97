"""Guest-physical memory: which page is RAM, firmware or nothing.

All memory of a domain lies in one anonymous file (`memfd_create`), RAM first and firmware behind it,
so that a page has one *host offset* whoever maps the file: the processor, or a device model that got
the descriptor over the domain socket. The map from guest-physical addresses to host offsets is a short
list of `Slot`s; what no slot covers is not memory, and an access there becomes an I/O request.

The types of a range are those of Xen's `HVMOP_set_mem_type`, and the two that a PC chipset's shadow RAM
needs beside them (Intel 82441FX data sheet, PAM registers):

| type     | reads from | writes go to |
|----------|-----------|---------------|
| `ram`    | RAM       | RAM           |
| `ram_ro` | RAM       | nowhere       |
| `rom`    | firmware  | nowhere       |
| `rom_wo` | firmware  | RAM           |
| `mmio`   | a request | a request     |

Where a device model maps *video memory* into `mmio`, the guest finds that instead of the device model.
"""

import mmap
import os
import threading
from collections.abc import Container
from itertools import pairwise
from typing import Final

import attrs

from hvcore import HvError
from ioreq import shared

PAGE: Final = 4096
PAGE_MASK: Final = PAGE - 1
LOW_RAM_END: Final = 0xC000_0000  # RAM above this continues at 4 GiB; below lie the PCI hole and firmware
HIGH_RAM: Final = 0x1_0000_0000
VGA_WINDOW: Final = (0xA_0000, 0xC_0000)
ROM_SPACE: Final = 32 << 20  # bytes kept for firmware behind RAM
FRAME_BUFFER: Final = 16 << 20  # at most so large is a display adapter's, in bytes
VIDEO_SPACE: Final = FRAME_BUFFER + (64 << 10)  # kept behind the firmware: that, and VGA's window
MAX_VIDEO: Final = 8  # places where video memory is to be found
NOWHERE: Final = -1
MAX_SLOTS: Final = 64  # what the processor's table holds
MAX_RUNS: Final = 256
"""Runs of pages of one type: more than slots, since types that are backed alike are one slot."""
MAX_WRITTEN: Final = 512
TYPES: Final = ("ram", "ram_ro", "rom", "rom_wo", "mmio")


@attrs.frozen
class Slot:
    """A run of pages that are backed alike; addresses in bytes, `last` inclusive."""

    first: int
    last: int
    read: int  # host offset of the first byte, for reads
    write: int  # host offset for writes, or NOWHERE: writes are dropped


@attrs.frozen
class Region:
    """A run of RAM as a device model sees it: guest-physical address, length, offset in the file."""

    address: int
    length: int
    offset: int


@attrs.frozen
class Video:
    """A run of pages where the guest finds video memory; `offset` is that in the file. `owner` is an ioreq server."""

    first: int
    last: int
    offset: int
    owner: int


class GuestMemory:
    """The memory of one domain; `size` in bytes, a multiple of 4 KiB and at least 1 MiB."""

    def __init__(self, size: int) -> None:
        if size < 1 << 20 or size % PAGE:
            raise HvError(f"memory of {size} bytes: must be a multiple of 4 KiB and at least 1 MiB")
        self.size = size
        self.ram_fd = shared.create("guest-memory", size + ROM_SPACE + VIDEO_SPACE)
        self.host = mmap.mmap(self.ram_fd, size + ROM_SPACE + VIDEO_SPACE)
        self.video_offset = size + ROM_SPACE
        """Where video memory lies in the file."""
        self._video: list[Video] = []
        self._rom_end = size
        low = min(size, LOW_RAM_END)
        self.regions = [Region(0, low, 0)]
        if size > low:
            self.regions.append(Region(HIGH_RAM, size - low, low))
        self._roms: list[Region] = []
        self._types: list[tuple[int, int, str]] = []
        """Runs of pages that are no `mmio`: by address, disjoint, those that continue each other joined."""
        self.generation = 0
        self.slots: list[Slot] = []
        for region in self.regions:
            self.set_type(region.address, region.address + region.length - 1, "ram")
        self.set_type(VGA_WINDOW[0], VGA_WINDOW[1] - 1, "mmio")
        self._power_on = self._types

    @property
    def ram(self) -> memoryview:
        """RAM alone, as one writable run of `size` bytes."""
        return memoryview(self.host)[: self.size]

    def close(self) -> None:
        """Give the descriptor back; the mapping goes with its last user."""
        os.close(self.ram_fd)

    def add_rom(self, address: int, data: bytes, alias_of: int | None = None) -> None:
        """Put firmware at `address`; or, with `alias_of`, show again what lies there already.

        Both must be aligned to 4 KiB; `data` of an alias gives only its length.
        """
        length = -(-len(data) // PAGE) * PAGE
        if alias_of is None:
            offset = self._rom_end
            if offset + length > self.size + ROM_SPACE:
                raise HvError(f"firmware of {len(data)} bytes: at most {ROM_SPACE} bytes fit")
            self.host[offset : offset + len(data)] = data
            self._rom_end += length
        else:
            found = self._backing(self._roms, alias_of)
            if found is None:
                raise HvError(f"no firmware at {alias_of:#x} to alias")
            offset = found
        self._roms.append(Region(address, length, offset))
        self.set_type(address, address + length - 1, "rom")
        self._power_on = self._types

    def reset(self) -> None:
        """Make every page what it was at power-on, whatever device models have said since."""
        self._types = self._power_on
        self._build()

    def map_video(
        self, first: int, last: int, offset: int, owner: int, live: Container[int] = frozenset()
    ) -> None:
        """Let the guest find video memory at pages that are `mmio`.

        A mapping of the same pages is replaced, and what overlaps of owners that are no more `live`. It stays over a
        reset: its owner, which is told of that, knows what it wants.
        """
        if first & PAGE_MASK or (last + 1) & PAGE_MASK or offset & PAGE_MASK or first > last:
            raise HvError(f"video memory range {first:#x}-{last:#x} is not made of 4 KiB pages")
        if offset + last + 1 - first > VIDEO_SPACE:
            raise HvError(f"video memory from {offset:#x} on has no {last + 1 - first:#x} bytes")
        others = [v for v in self._video if (v.first, v.last) != (first, last)]
        others = [v for v in others if v.owner in live or last < v.first or v.last < first]
        if any(first <= v.last and v.first <= last for v in others):
            raise HvError(f"video memory range {first:#x}-{last:#x} overlaps another")
        if len(others) >= MAX_VIDEO:
            raise HvError(f"video memory is in at most {MAX_VIDEO} places")
        before = self._video
        self._video = [*others, Video(first, last, self.video_offset + offset, owner)]
        self._build()
        if len(self.slots) > MAX_SLOTS:
            self._video = before
            self._build()
            raise HvError(f"memory would fall into more than {MAX_SLOTS} runs of pages")

    def unmap_video(self, first: int, last: int, owner: int) -> None:
        """Take such a mapping away."""
        kept = [v for v in self._video if (v.first, v.last, v.owner) != (first, last, owner)]
        if len(kept) == len(self._video):
            raise HvError(f"there is no video memory at {first:#x}-{last:#x}")
        self._video = kept
        self._build()

    def forget_video(self, owner: int) -> bool:
        """Take away all of an owner's mappings; whether there were any."""
        kept = [video for video in self._video if video.owner != owner]
        found = len(kept) != len(self._video)
        if found:
            self._video = kept
            self._build()
        return found

    def set_type(self, first: int, last: int, kind: str) -> None:
        """Say what the pages from `first` to `last` (inclusive) are; see the module's table."""
        if kind not in TYPES:
            raise HvError(f"memory type {kind!r}; allowed: {', '.join(TYPES)}")
        if first & PAGE_MASK or (last + 1) & PAGE_MASK or first > last:
            raise HvError(f"memory range {first:#x}-{last:#x} is not made of 4 KiB pages")
        before = self._types
        self._types = self._retyped(first, last, kind)
        self._build()
        if len(self.slots) > MAX_SLOTS or len(self._types) > MAX_RUNS:
            self._types = before
            self._build()
            raise HvError(f"memory would fall into more than {MAX_SLOTS} runs of pages")

    def _retyped(self, first: int, last: int, kind: str) -> list[tuple[int, int, str]]:
        """Return the runs with those from `first` to `last` of type `kind`, where there is anything to be it.

        What nothing backs is `mmio` whatever it is called, so that no peer makes the list long with what is nowhere.
        """
        runs = [part for run in self._types for part in _without(run, first, last)]
        if kind != "mmio":
            for backing in _union(self.regions + self._roms):
                low, high = max(first, backing[0]), min(last, backing[1])
                if low <= high:
                    runs.append((low, high, kind))
        joined: list[tuple[int, int, str]] = []
        for run in sorted(runs):
            if joined and joined[-1][1] + 1 == run[0] and joined[-1][2] == run[2]:
                joined[-1] = (joined[-1][0], run[1], run[2])
            else:
                joined.append(run)
        return joined

    def type_of(self, address: int) -> str:
        """Return the type of the page at `address`; "video" if video memory stands in for a device model."""
        for first, last, kind in self._types:
            if first <= address <= last:
                return kind
        return "mmio" if self._video_at(address) is None else "video"

    def _video_at(self, address: int) -> int | None:
        """Return the host offset of video memory that is mapped at `address`."""
        for video in self._video:
            if video.first <= address <= video.last:
                return video.offset + address - video.first
        return None

    def read(self, address: int, length: int) -> bytes:
        """Bytes as a device reads them; raises `HvError` where there is no memory."""
        pieces = []
        while length:
            slot = self._slot(address)
            n = min(length, slot.last + 1 - address)
            at = slot.read + address - slot.first
            pieces.append(self.host[at : at + n])
            address += n
            length -= n
        return b"".join(pieces)

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write as a device does: dropped on firmware; raises `HvError` where there is no memory.

        The caller tells the processor (`Processor.invalidate_code`).
        """
        at = 0
        while at < len(data):
            slot = self._slot(address + at)
            n = min(len(data) - at, slot.last + 1 - address - at)
            if slot.write != NOWHERE:
                to = slot.write + address + at - slot.first
                self.host[to : to + n] = data[at : at + n]
            at += n

    def _slot(self, address: int) -> Slot:
        for slot in self.slots:
            if slot.first <= address <= slot.last:
                return slot
        raise HvError(f"no memory at guest-physical address {address:#x}")

    @staticmethod
    def _backing(regions: list[Region], address: int) -> int | None:
        for region in reversed(regions):
            if region.address <= address < region.address + region.length:
                return region.offset + address - region.address
        return None

    def _build(self) -> None:
        """Turn types and backings into slots: cut at every edge, then join what continues."""
        edges = sorted(
            {edge for first, last, _ in self._types for edge in (first, last + 1)}
            | {edge for r in self.regions + self._roms for edge in (r.address, r.address + r.length)}
            | {edge for video in self._video for edge in (video.first, video.last + 1)}
        )
        slots: list[Slot] = []
        for first, end in pairwise(edges):
            kind = self.type_of(first)
            ram = self._backing(self.regions, first)
            source = self._backing(self._roms, first) if kind.startswith("rom") else ram
            if kind == "video":
                source = ram = self._video_at(first)
            if kind == "mmio" or source is None:
                continue
            target = ram if kind in {"ram", "rom_wo", "video"} and ram is not None else NOWHERE
            slot = Slot(first, end - 1, source, target)
            before = slots[-1] if slots else None
            if before is not None and before.last + 1 == first and self._continues(before, slot):
                slots[-1] = Slot(before.first, slot.last, before.read, before.write)
            else:
                slots.append(slot)
        self.slots = slots
        self.generation += 1

    @staticmethod
    def _continues(before: Slot, slot: Slot) -> bool:
        step = slot.first - before.first
        if (before.write == NOWHERE) != (slot.write == NOWHERE):
            return False
        return before.read + step == slot.read and (
            slot.write == NOWHERE or before.write + step == slot.write
        )


class Written:
    """Ranges that device models have written and one vCPU has not heard of yet. Used by several threads.

    There are at most `MAX_WRITTEN`; beyond that they become one that holds them all, which costs the processor a
    little code that was not written, and the core nothing.
    """

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def add(self, first: int, last: int) -> None:
        """Note that the bytes from `first` to `last` were written."""
        with self._lock:
            ranges = self._ranges
            if ranges and ranges[-1][0] <= first <= ranges[-1][1] + 1:
                first, last = ranges[-1][0], max(ranges.pop()[1], last)
            ranges.append((first, last))
            if len(ranges) > MAX_WRITTEN:
                self._ranges = [(min(r[0] for r in ranges), max(r[1] for r in ranges))]

    def take(self) -> list[tuple[int, int]]:
        """Return what has been noted, and begin anew."""
        with self._lock:
            taken, self._ranges = self._ranges, []
            return taken


def _without(run: tuple[int, int, str], first: int, last: int) -> list[tuple[int, int, str]]:
    """Return what is left of a run outside `first` to `last`."""
    parts = [(run[0], min(run[1], first - 1), run[2]), (max(run[0], last + 1), run[1], run[2])]
    return [part for part in parts if part[0] <= part[1]]


def _union(regions: list[Region]) -> list[tuple[int, int]]:
    """Return the addresses that any of the regions has, as disjoint ranges."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted((r.address, r.address + r.length - 1) for r in regions):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
