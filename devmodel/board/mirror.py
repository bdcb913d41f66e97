# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""Registers that reading does not change, shown where the core can see them without asking (`ioreq.mirror`).

A chip has a `Mirror` in its wiring. Whenever its state has changed, and before it drives a line, it shows the registers
whose reading would have no effect, and hides those whose reading has one now, or whose value time changes by itself.
What it never shows is always asked for.
"""

from typing import Final

import cython

from ioreq.mirror import ANYONE, COALESCES, VALID, WAITS, WRITERS_SHIFT

BY_ANYONE: Final = -1
"""Every write to the board may change the register."""
BY_ITSELF: Final = 0xFFFF
"""Only writes to the device's own ports may."""
BLOCK: Final = 16

_VALID = cython.declare(cython.ulonglong, VALID)
_ANYONE = cython.declare(cython.ulonglong, VALID | ANYONE)
_COALESCES = cython.declare(cython.ulonglong, COALESCES)
_WRITERS = cython.declare(cython.ulonglong, 0xFFFF)
_SHIFT = cython.declare(cython.int, WRITERS_SHIFT)


class Mirror:
    """The cells of one device's registers, one a byte; in a page of the server's once it is bound."""

    __slots__ = ("_alone", "_cells", "_coalesces", "_flags", "_may_coalesce", "_shift", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._cells = memoryview(bytearray(8 * size)).cast("Q")
        self._shift = 0
        self._alone = True
        self._flags = 0
        """What every cell has."""
        self._coalesces = False
        self._may_coalesce = False

    def bind(self, cells: memoryview, first: int, *, coalesces: bool = False) -> None:
        """Move into `cells`, one of 64 bits a port, of which the first is port `first`'s.

        `coalesces` says that the server looks at what has been posted whenever it wakes, and before it sleeps.
        """
        before = [int(self._cells[offset]) for offset in range(self.size)]
        self._cells = cells
        self._shift = first % BLOCK
        self._alone = first % BLOCK == 0 or first % BLOCK + self.size <= BLOCK
        for offset, cell in enumerate(before):
            writers = BY_ANYONE if cell & ANYONE else cell >> WRITERS_SHIFT
            if cell & VALID:
                self.show(offset, cell & 0xFFFF_FFFF, writers)
            else:
                self.wait(offset, bool(cell & WAITS))
        self._may_coalesce = coalesces
        self.coalesce(self._coalesces)

    def coalesce(self, coalesces: bool) -> None:
        """Let what is posted to the device lie until the server wakes for something else, or no longer.

        That is for a chip on whose outputs no write can have an effect now, and no time counts from.
        """
        self._coalesces = coalesces
        self._flags = COALESCES if coalesces and self._may_coalesce else 0
        for offset in range(self.size):
            self._cells[offset] = self._cells[offset] & ~_COALESCES | self._flags

    def show(self, offset: int, value: int, writers: int) -> None:
        """Show what reading the byte at `offset` returns.

        Bit n of `writers` says that a write at offset n may change it; BY_ITSELF are all of them, BY_ANYONE writes to
        other devices too. Of a device with more than sixteen ports, which begins at a multiple of sixteen, bit n is
        port n of the register's own sixteen, and writes to others must not change it.
        """
        if writers < 0 or not self._alone:
            self._cells[offset] = _ANYONE | value | self._flags
        else:
            self._cells[offset] = _VALID | value | (writers << self._shift & _WRITERS) << _SHIFT | self._flags

    def hide(self, offset: int) -> None:
        """Have the core ask."""
        self._cells[offset] = self._flags

    def wait(self, offset: int, waits: bool) -> None:
        """Have the guest wait for its writes there, which are posted as a rule; of a register that is not shown."""
        self._cells[offset] = (WAITS if waits else 0) | self._flags

    def shown(self, offset: int) -> int | None:
        """Return what is shown at `offset`; None: it is hidden."""
        cell = self._cells[offset]
        return int(cell & 0xFFFF_FFFF) if cell & _VALID else None
