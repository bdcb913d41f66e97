"""The bus master of one IDE channel: eight ports, and scatter and gather by a table of physical region descriptors.

Sources: Programming Interface for Bus Master IDE Controller, revision 1.0, May 1994; Intel 82371SB, 290550-002, 2.7.
A descriptor is a base address, even, and a count of bytes, even, 0 for 64 KiB; its bit 63 ends the table. How a
transfer ended is told by two bits: Active, which falls with the last byte of the last region, and Interrupt, which
rises with the drive's. A table that is longer than the drive's data leaves Active set; one that is shorter leaves the
drive with data that nobody takes.
Not modelled: regions and tables that cross 64 KiB, which must not be (they are followed as if they might).
"""

import struct
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
import structlog

from devmodel.board.device import GuestRam

log = structlog.get_logger()


class Reg:
    """Offsets of a channel's registers."""

    COMMAND: Final = 0
    STATUS: Final = 2
    TABLE: Final = 4  # to 7


PORTS: Final = 8
"""Of a channel."""
COMMAND_START: Final = 0x01
COMMAND_TO_MEMORY: Final = 0x08  # "read/write control": the direction that the bus master moves in
STATUS_ACTIVE: Final = 0x01
STATUS_ERROR: Final = 0x02
STATUS_INTERRUPT: Final = 0x04
STATUS_CAPABLE: Final = 0x60  # drives 0 and 1, as software says
END_OF_TABLE: Final = 0x8000_0000
FETCHED: Final = 32
"""Descriptors that are read at a time."""


@attrs.define
class BusMasterState:
    """Everything one channel's bus master remembers."""

    command: int = 0
    status: int = 0
    table: int = 0
    next: int = 0  # address of the descriptor to fetch
    base: int = 0  # where in memory the region goes on
    left: int = 0  # bytes of the region
    last: bool = False  # it is the table's last
    intrq: bool = False  # level of the drive's line


@attrs.define(kw_only=True)
class BusMaster:
    """One channel's: map it at 8 ports, 4 bytes wide. `enabled` says whether PCI lets it (Bus Master Enable)."""

    ram: GuestRam
    enabled: Callable[[], bool] = lambda: True
    aborted: Callable[[], None] = lambda: None
    """Hears that an access to memory was answered by nobody (PCI status: Received Master Abort)."""
    started: Callable[[], None] = lambda: None
    """Hears that it is ready for data."""
    state: BusMasterState = attrs.field(factory=BusMasterState)
    _ahead: deque[tuple[int, ...]] = attrs.field(factory=deque, init=False)
    """Descriptors from `state.next` on, within one transfer."""

    def reset(self) -> None:
        """Power on; the drive's line keeps its level."""
        self.state = BusMasterState(intrq=self.state.intrq)

    def set_intrq(self, level: bool) -> None:
        """Hear the drive's interrupt request; its rise is latched."""
        s = self.state
        if level and not s.intrq:
            s.status |= STATUS_INTERRUPT
        s.intrq = level

    # -- ports ----------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Read registers."""
        s = self.state
        if offset == Reg.STATUS and size == 1:
            return s.status
        value = s.command | s.status << 16 | s.table << 32
        return value >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Write registers, byte by byte."""
        s = self.state
        if offset == Reg.TABLE and size == 4:  # as every driver writes it
            s.table = value & 0xFFFF_FFFC
            return
        for at in range(offset, offset + size):
            byte = value >> 8 * (at - offset) & 0xFF
            match at:
                case Reg.COMMAND:
                    self._command(byte)
                case Reg.STATUS:
                    cleared = byte & (STATUS_ERROR | STATUS_INTERRUPT)
                    s.status = s.status & ~cleared & ~STATUS_CAPABLE | byte & STATUS_CAPABLE
                case _ if Reg.TABLE <= at < Reg.TABLE + 4:
                    shift = 8 * (at - Reg.TABLE)
                    s.table = (s.table & ~(0xFF << shift) | byte << shift) & ~3
                case _:
                    pass

    def _command(self, value: int) -> None:
        s = self.state
        was, s.command = s.command, value & (COMMAND_START | COMMAND_TO_MEMORY)
        if not value & COMMAND_START:
            s.status &= ~STATUS_ACTIVE  # what was under way is lost
            return
        if not was & COMMAND_START:
            s.status |= STATUS_ACTIVE
            s.next, s.left, s.last = s.table, 0, False
            self.started()

    # -- data -----------------------------------------------------------------------------------------

    def ready(self, *, to_memory: bool) -> bool:
        """Tell whether it moves data in this direction now."""
        s = self.state
        if not s.status & STATUS_ACTIVE or not self.enabled():
            return False
        if to_memory != bool(s.command & COMMAND_TO_MEMORY):
            log.debug("bus_master.wrong_direction", to_memory=to_memory)
            return False
        return True

    def store(self, data: memoryview) -> int:
        """Move the drive's data to memory; return how many bytes the table had room for."""
        done = 0
        self._ahead.clear()
        while done < len(data) and (count := self._region(len(data) - done)):
            self.ram.write(self.state.base, data[done : done + count])
            done += count
            self._advance(count)
        return done

    def load(self, length: int) -> bytearray:
        """Move data from memory to the drive; at most `length` bytes, fewer if the table has fewer."""
        parts = []
        self._ahead.clear()
        while length and (count := self._region(length)):
            parts.append(self.ram.read(self.state.base, count))
            length -= count
            self._advance(count)
        return bytearray().join(parts)

    def _region(self, wanted: int) -> int:
        """Return how many bytes can be moved at `base`, of those that are wanted; 0 at the end, or on an error."""
        s = self.state
        if not s.status & STATUS_ACTIVE:
            return 0
        if not s.left:
            if not self._ahead and not self._fetch():
                return 0
            base, count = self._ahead.popleft()
            s.next = s.next + 8 & 0xFFFF_FFFF
            s.base, s.left, s.last = base & ~1, count & 0xFFFE or 0x1_0000, bool(count & END_OF_TABLE)
        count = min(wanted, s.left)
        if not self.ram.holds(s.base, count):
            self._abort(s.base)
            return 0
        return count

    def _fetch(self) -> bool:
        """Fetch the next descriptors, several at a time where there are; False if nobody answers."""
        address = self.state.next
        count = FETCHED if self.ram.holds(address, 8 * FETCHED) else 1
        if not self.ram.holds(address, 8 * count):
            self._abort(address)
            return False
        self._ahead.extend(struct.iter_unpack("<II", self.ram.read(address, 8 * count)))
        return True

    def _advance(self, count: int) -> None:
        s = self.state
        s.base += count
        s.left -= count
        if not s.left and s.last:
            s.status &= ~STATUS_ACTIVE

    def _abort(self, address: int) -> None:
        """Stop, since nobody answers at an address."""
        s = self.state
        log.info("bus_master.aborted", address=address)
        s.status = s.status & ~STATUS_ACTIVE | STATUS_ERROR
        self.aborted()
