"""How a drive moves data over its cable (ATA/ATAPI-6, T13/1410D, clause 9): DRQ blocks, BSY between them, INTRQ.

A drive sets BSY when it is given something to do, and for some microseconds at least: a host that reads Status right
behind a command or a block sees BSY, and INTRQ comes after that. Reads of Status show what was before time moves on,
so that such a read does not clear the INTRQ of what comes next, however long it took on its way here.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.device import ONES
from devmodel.devices.ata_registers import BSY, DRQ, READY, TaskFile

BUSY_NS: Final = 4_000
"""The shortest BSY: what a drive's own processor takes from a command or a block to the next."""
RESET_NS: Final = 50_000
"""BSY behind a reset. The standard allows 31 s for what a disk has to do then; this one has nothing to."""


@attrs.define(kw_only=True)
class Transport:
    """The cable's end in a drive. `block_done` hears that the host has read or written all of a DRQ block."""

    clock: Clock
    state: TaskFile
    ready: int = READY
    """Status of a drive that waits: in a disk's bit 4 is DSC, but in a packet drive's SERV."""
    changed: Callable[[], None]
    """Hears that interrupt, status or data may be others now."""
    block_done: Callable[[], None]

    # -- BSY ----------------------------------------------------------------------------------------------

    def busy(self) -> None:
        """Set BSY."""
        s = self.state
        s.status = BSY | self.ready
        s.since = self.clock.now()
        s.due = None
        self.changed()

    def present(self, status: int, *, interrupt: bool, after: int = BUSY_NS) -> None:
        """Clear BSY, and show `status`, as soon as BSY has been there for `after` ns."""
        s = self.state
        s.next_status, s.next_interrupt = status, interrupt
        s.due = s.since + after
        s.status = BSY | self.ready
        if not self.catch_up():
            self.changed()

    def catch_up(self) -> bool:
        """Do what is due, and tell whether anything was."""
        s = self.state
        if s.due is None or self.clock.now() < s.due:
            return False
        s.due = None
        s.status = s.next_status
        s.interrupt = s.interrupt or s.next_interrupt
        self.changed()
        return True

    def offer(self, length: int, *, interrupt: bool = True) -> None:
        """Show the host the next `length` bytes of the buffer as a DRQ block."""
        s = self.state
        s.outgoing = False
        s.block_end = s.position + length
        self.present(self.ready | DRQ, interrupt=interrupt)

    def accept(self, length: int, *, interrupt: bool) -> None:
        """Ask the host for a DRQ block of `length` bytes, which go behind what the buffer has."""
        s = self.state
        s.outgoing = True
        s.position = len(s.buffer)
        s.block_end = s.position + length
        self.present(self.ready | DRQ, interrupt=interrupt)

    # -- the data port ------------------------------------------------------------------------------------

    def read(self, size: int) -> int:
        """Take `size` bytes of the DRQ block; ones where there is none."""
        s = self.state
        if not s.status & DRQ or s.outgoing or s.dma:
            return ONES.get(size, 0)
        begin = s.position
        end = s.position = min(begin + size, s.block_end)
        value = int.from_bytes(s.buffer[begin:end], "little")
        if end == s.block_end:
            self._finish_block()
        return value

    def read_string(self, size: int, count: int) -> bytes:
        """Take `count` units of `size` bytes of the DRQ block; ones when no more is."""
        s = self.state
        length = size * count
        if not s.status & DRQ or s.outgoing or s.dma:
            return b"\xff" * length
        begin = s.position
        end = s.position = min(begin + length, s.block_end)
        data = bytes(s.buffer[begin:end])
        data += bytes(-len(data) % size)  # the last unit may be more than is left
        if end == s.block_end:
            self._finish_block()
        return data + b"\xff" * (length - len(data))

    def write(self, size: int, value: int) -> None:
        """Put `size` bytes into the DRQ block."""
        self.write_string(value.to_bytes(size, "little"))

    def write_string(self, data: bytes) -> None:
        """Put bytes into the DRQ block; what is more than it takes is lost."""
        s = self.state
        if not s.status & DRQ or not s.outgoing or s.dma:
            return
        s.buffer += data[: s.block_end - len(s.buffer)]
        s.position = len(s.buffer)
        if s.position == s.block_end:
            self._finish_block()

    def _finish_block(self) -> None:
        """BSY comes with the end of a block; whether anything follows the drive decides."""
        s = self.state
        s.since = self.clock.now()
        self.block_done()

    # -- DMA ----------------------------------------------------------------------------------------------

    @property
    def requesting(self) -> bool:
        """Whether DMARQ is asserted."""
        s = self.state
        return s.dma and bool(s.status & DRQ)

    def dma_in(self, taken: int) -> None:
        """Hear that the host has taken so many bytes by DMA."""
        s = self.state
        s.position += taken
        if s.position == s.block_end:
            self.block_done()

    def dma_out(self, data: bytearray) -> None:
        """Take what the host gives by DMA; it is the drive's then."""
        s = self.state
        if s.buffer:
            s.buffer += data
        else:
            s.buffer = data
        s.position = len(s.buffer)
        if s.position == s.block_end:
            self.block_done()
