"""QEMU's firmware configuration device (docs/specs/fw_cfg in QEMU), ports 0x510-0x511 and DMA at 0x514.

Items are bytes by number; most are files, listed in a directory item. The guest selects one and reads it
byte by byte, or has it copied to its memory. A long copy goes on by pieces in `tick`, the guest running meanwhile: the
specification has it wait until the control word no longer shows the command. A target that is not all RAM is an error
before a byte is copied, and so is a command given while a copy goes on.
Not modelled: writable items (writes are accepted and dropped as for read-only ones).
"""

import struct
from collections.abc import Mapping
from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.device import GuestRam


class Key:
    """Item numbers."""

    SIGNATURE: Final = 0x00
    ID: Final = 0x01
    RAM_SIZE: Final = 0x03
    NB_CPUS: Final = 0x05
    BOOT_MENU: Final = 0x0E
    MAX_CPUS: Final = 0x0F
    FILE_DIR: Final = 0x19
    FILE_FIRST: Final = 0x20


SELECT: Final = 0
DATA: Final = 1
ID_TRADITIONAL_AND_DMA: Final = 3
DMA_SIGNATURE: Final = int.from_bytes(b"QEMU CFG", "big")
DMA_ERROR: Final = 0x01
DMA_READ: Final = 0x02
DMA_SKIP: Final = 0x04
DMA_SELECT: Final = 0x08
DMA_WRITE: Final = 0x10
AT_ONCE: Final = 1 << 16
"""Bytes of a copy that is done within the access that asks for it."""
PIECE: Final = 1 << 18
"""Bytes a tick of a longer one: some hundred microseconds."""
NAME: Final = 56  # with its final NUL


def e820(entries: list[tuple[int, int, int]]) -> bytes:
    """Return the content of `etc/e820`: start, length and type of each range."""
    return b"".join(struct.pack("<QQI", *entry) for entry in entries)


def make_items(files: Mapping[str, bytes], *, ram_size: int, cpus: int) -> dict[int, bytes]:
    """Return the items of a machine: `files` by name (at most 55 characters), memory in bytes."""
    items = {
        Key.SIGNATURE: b"QEMU",
        Key.ID: struct.pack("<I", ID_TRADITIONAL_AND_DMA),
        Key.RAM_SIZE: struct.pack("<Q", ram_size),
        Key.NB_CPUS: struct.pack("<H", cpus),
        Key.BOOT_MENU: struct.pack("<H", 0),
        Key.MAX_CPUS: struct.pack("<H", cpus),
    }
    directory = [struct.pack(">I", len(files))]
    for number, name in enumerate(sorted(files), Key.FILE_FIRST):
        items[number] = files[name]
        directory.append(struct.pack(f">IHH{NAME}s", len(files[name]), number, 0, name.encode()[: NAME - 1]))
    items[Key.FILE_DIR] = b"".join(directory)
    return items


@attrs.define
class FwCfgState:
    """Everything the device remembers."""

    selected: int = 0
    position: int = 0
    dma_high: int = 0
    command: int = 0
    """Where in guest memory the command of the copy is that goes on; meaningful while `left` is not 0."""
    source: int = 0
    """Its item."""
    target: int = 0
    """Where its next byte goes."""
    left: int = 0
    """Bytes still to be copied."""


@attrs.define
class Dma:
    """The DMA address register: 8 bytes, big-endian; writing its low half starts the transfer."""

    device: "FwCfg"

    def read(self, offset: int, size: int) -> int:
        """Read the signature that says that DMA is there."""
        raw = DMA_SIGNATURE.to_bytes(8, "big")[offset : offset + size]
        return int.from_bytes(raw, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Write half of the address, or all of it."""
        swapped = int.from_bytes(value.to_bytes(size, "little"), "big")
        if size == 8 and offset == 0:
            self.device.transfer(swapped)
        elif size == 4 and offset == 0:
            self.device.state.dma_high = swapped
        elif size == 4 and offset == 4:
            high, self.device.state.dma_high = self.device.state.dma_high, 0
            self.device.transfer(high << 32 | swapped)


@attrs.define(kw_only=True)
class FwCfg:
    """Selector and data ports (map them 2 bytes wide); `dma` is the register at 0x514 (8 wide)."""

    items: Mapping[int, bytes]
    ram: GuestRam
    clock: Clock
    state: FwCfgState = attrs.field(factory=FwCfgState)
    dma: Dma = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dma = Dma(self)

    def reset(self) -> None:
        """Power on."""
        self.state = FwCfgState()

    def read(self, offset: int, size: int) -> int:
        """Read the selected item's next byte; 0 past its end. The selector is write-only."""
        if offset != DATA or size != 1:
            return 0
        s = self.state
        item = self.items.get(s.selected, b"")
        position = s.position
        if position >= len(item):
            return 0
        s.position = position + 1
        return item[position]

    def write(self, offset: int, size: int, value: int) -> None:
        """Select an item, by a 16-bit write. Item data is read-only."""
        if offset == SELECT and size == 2 and not self.state.left:
            self.state.selected = value & 0x3FFF | value & 0x8000
            self.state.position = 0

    def deadline(self) -> int | None:
        """Return when the next piece of a long copy is due: as soon as others have had their turn."""
        return self.clock.now() if self.state.left else None

    def tick(self) -> None:
        """Copy the next piece."""
        if self.state.left:
            self._copy(PIECE)

    def transfer(self, address: int) -> None:
        """Do what the structure at `address` in guest memory commands, or begin to."""
        control, length, target = struct.unpack(">IIQ", self.ram.read(address, 16))
        s = self.state
        if s.left:
            self._finish(address, DMA_ERROR)
            return
        if control & DMA_SELECT:
            s.selected = control >> 16 & 0xBFFF
            s.position = 0
        if control & DMA_READ and length:
            if not self.ram.holds(target, length):
                self._finish(address, DMA_ERROR)
                return
            s.command, s.source, s.target, s.left = address, s.selected, target, length
            if length <= AT_ONCE:
                self._copy(length)
            return
        if control & DMA_SKIP and not control & DMA_READ:
            s.position = min(s.position + length, len(self.items.get(s.selected, b"")))
        failed = control & DMA_WRITE and not control & (DMA_READ | DMA_SKIP)
        self._finish(address, DMA_ERROR if failed else 0)

    def _copy(self, most: int) -> None:
        """Copy at most so much item data, and zeros past its end, to guest memory; say so when all is there."""
        s = self.state
        item = self.items.get(s.source, b"")
        count = min(s.left, most)
        piece = item[s.position : s.position + count]
        s.position = min(s.position + count, len(item))
        self.ram.write(s.target, piece.ljust(count, b"\0"))
        s.target += count
        s.left -= count
        if not s.left:
            self._finish(s.command, 0)

    def _finish(self, address: int, result: int) -> None:
        self.ram.write(address, struct.pack(">I", result))
