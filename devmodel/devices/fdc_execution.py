"""The execution phase of an 82077AA's commands: sectors between diskette and buffer, bytes between buffer and host.

A run of sectors that follow each other is read or written in one, and passes the host by DMA or by the FIFO; then the
sector's ID is stepped on (table 5-6), and the next run looked for, until the host says that this is the end, or the
cylinder ends. (Data sheet 290166, 4.2 and 5.1.)
"""

from typing import Final, Protocol

import structlog

from devmodel.board.clock import Clock
from devmodel.board.device import DiskRead, DiskWrite
from devmodel.devices.diskette import Bay
from devmodel.devices.fdc_registers import (
    CONFIG_IMPLIED_SEEK,
    ENABLE_COUNT,
    EQUAL_MASK,
    FROM_HOST,
    MULTI_TRACK,
    SCANS,
    SKIP,
    ST0_ABNORMAL,
    ST0_HEAD,
    ST0_SEEK_END,
    ST1_DATA_ERROR,
    ST1_END,
    ST1_NO_DATA,
    ST1_NO_MARK,
    ST1_PROTECTED,
    ST2_CONTROL_MARK,
    ST2_DATA_ERROR,
    ST2_SCAN_EQUAL,
    ST2_SCAN_FAILED,
    TO_HOST,
    WRITES,
    Op,
)
from devmodel.devices.fdc_state import FdcState, Order, Phase, Then
from devmodel.devices.fdc_track import LENGTH_CODE, SECTOR, Track, under_head

log = structlog.get_logger()

COMMAND_NS: Final = 20_000  # from the last byte of a command to the head over the first sector
STEP_NS: Final = 30_000  # a cylinder
SECTOR_NS: Final = 50_000
SEARCH_NS: Final = 2_000_000  # two index pulses without an address mark
PATIENCE_NS: Final = 500_000_000  # for the host to take or give a byte, before that is an overrun


class Controller(Protocol):
    """What the execution phase needs of the chip."""

    @property
    def state(self) -> FdcState:
        """The record, which a reset replaces."""
        ...

    @property
    def clock(self) -> Clock:
        """Guest time."""
        ...

    def rearm(self) -> None:
        """Hear that the medium has answered."""
        ...

    def bay(self, unit: int) -> Bay | None:
        """Return a drive, if there is one."""
        ...

    def step(self, unit: int, steps: int) -> int:
        """Step a drive's heads."""
        ...

    def after(self, ns: int, then: int) -> None:
        """Have something of `Then` done in so many ns."""
        ...

    def drive(self) -> None:
        """Drive interrupt and DMA request as the state says."""
        ...

    def interrupt(self) -> None:
        """Interrupt."""
        ...


class Execution:
    """The execution phase of a controller's commands, and the channel's DMA client: see `dma8237.DmaClient`."""

    def __init__(self, chip: Controller) -> None:
        """Serve that controller."""
        self._chip = chip
        self._token: object = None
        if chip.state.waiting:  # restored while the medium worked: ask it again
            self._ask()

    @property
    def state(self) -> FdcState:
        """The controller's."""
        return self._chip.state

    def forget(self) -> None:
        """Give up what the medium was asked for."""
        self._token = None

    def _track(self) -> Track | None:
        s = self.state
        return under_head(s, self._chip.bay(s.unit))

    # -- the first sector ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin the execution phase of a command that needs the diskette."""
        s = self.state
        b = s.command
        s.phase = Phase.EXECUTION
        s.unit = b[1] & 3
        s.head = (b[1] & ST0_HEAD) >> 2
        s.st1 = s.st2 = s.position = s.run = s.left = 0
        s.terminal = s.last = s.single = s.moving = s.waiting = s.sought = s.abnormal = False
        s.buffer = bytearray()
        delay = COMMAND_NS
        if s.op == Op.FORMAT:
            s.n, s.last_eot = b[2], b[3]
        elif s.op != Op.READ_ID:
            s.c, s.h, s.r, s.n = b[2:6]
            s.last_eot = b[6]
            if s.op == Op.VERIFY and b[1] & ENABLE_COUNT:
                s.left = b[8] or 256
            if s.op == Op.READ_TRACK:
                s.left = b[6]
            if s.config & CONFIG_IMPLIED_SEEK and s.c != s.cylinders[s.unit]:
                steps = s.c - s.cylinders[s.unit]
                s.cylinders[s.unit] = s.c
                self._chip.step(s.unit, steps)
                s.sought = True
                delay += abs(steps) * STEP_NS
        self._chip.after(delay, Then.BEGIN)
        self._chip.drive()

    def look(self) -> None:
        """Look for the first sector."""
        s = self.state
        track = self._track()
        if track is None:
            s.st1 |= ST1_NO_MARK
            self._finish(abnormal=True, after=SEARCH_NS)
        elif s.op in WRITES and track.disk.readonly:
            self.fail(ST1_PROTECTED)
        elif s.op == Op.READ_ID:
            s.c, s.h, s.n = track.cylinder, s.head, LENGTH_CODE
            s.r = self._chip.clock.now() // SECTOR_NS % track.sectors + 1
            self._finish(after=SECTOR_NS)
        elif s.op == Op.FORMAT:
            s.run = s.last_eot
            if s.run:
                self._move()
            else:
                self._finish()
        elif s.op == Op.READ_TRACK:
            self._read_track(track)
        else:
            self._next_run(track)

    def _read_track(self, track: Track) -> None:
        """Read from the index on, whatever the IDs are; that they differ is told of at the end (5.1.4)."""
        s = self.state
        if (s.c, s.h, s.n) != (track.cylinder, s.head, LENGTH_CODE) or not 1 <= s.r <= track.sectors:
            s.st1 |= ST1_NO_DATA
        s.r = 1
        s.run = min(s.left, track.sectors)
        if s.run:
            self._submit()
        else:
            self._finish()

    def _next_run(self, track: Track) -> None:
        """Go on with the sectors that follow each other under the head, as far as they are treated alike."""
        s = self.state
        st1, st2 = track.missing(s)
        if st1:
            s.st1, s.st2 = s.st1 | st1, s.st2 | st2
            self._finish(abnormal=True, after=SEARCH_NS)
            return
        eot = s.command[6]
        last = min(eot, track.sectors) if s.r <= eot else track.sectors
        s.run = last - s.r + 1
        if s.left:
            s.run = min(s.run, s.left)
        if s.single:
            s.run = 1
        if s.op in WRITES:
            s.buffer = bytearray()
            self._move()
            return
        deleted = track.marks(s, s.run)
        s.run = next((at for at, mark in enumerate(deleted) if mark != deleted[0]), s.run)
        if deleted[0] != (s.op == Op.READ_DELETED):
            s.st2 |= ST2_CONTROL_MARK
            if s.command[0] & SKIP:
                self._advance(s.run)
                return
            s.run, s.last = 1, True
        if s.op in SCANS:
            s.run = 1
        self._submit()

    # -- the medium ---------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Have the medium read or write the run."""
        self.state.waiting = True
        self.state.position = 0
        self._ask()

    def _ask(self) -> None:
        s = self.state
        token = self._token = object()
        track = self._track()
        if track is None:  # we were restored, and the diskette is gone
            self.fail(ST1_NO_MARK)
            return
        lba = track.first + s.r - 1
        if s.op in WRITES:
            s.drives[s.unit].unflushed = True
            track.disk.submit(DiskWrite(lba, bytes(s.buffer), lambda ok: self._stored(token, lba, ok)))
        else:
            track.disk.submit(DiskRead(lba, s.run, lambda data: self._fetched(token, data)))

    def _fetched(self, token: object, data: bytes | None) -> None:
        s = self.state
        if token is not self._token:
            return  # the command was given up meanwhile
        if data is None and s.run > 1:
            s.run, s.single = 1, True  # sector by sector, up to the one that fails
            self._ask()
            return
        s.waiting = False
        if data is None:
            s.st2 |= ST2_DATA_ERROR
            self.fail(ST1_DATA_ERROR)
        else:
            s.buffer = bytearray(data)
            self._chip.after(SECTOR_NS * s.run, Then.OFFER)
        self._chip.rearm()

    def _stored(self, token: object, lba: int, ok: bool) -> None:
        s = self.state
        if token is not self._token:
            return
        s.waiting = False
        if not ok:
            self.fail(ST1_DATA_ERROR)
        else:
            written = range(lba, lba + len(s.buffer) // SECTOR)
            if s.op == Op.WRITE_DELETED:
                s.drives[s.unit].deleted.update(written)
            else:
                s.drives[s.unit].deleted.difference_update(written)
            self._chip.after(SECTOR_NS * len(written), Then.OFFER)
        self._chip.rearm()

    def offer(self) -> None:
        """Go on when the run is in the buffer, or on the medium."""
        s = self.state
        if s.op == Op.FORMAT:
            self._finish()
        elif s.op in WRITES or s.op == Op.VERIFY:
            self._advance(len(s.buffer) // SECTOR)
        else:
            s.order = Order.EQUAL
            self._move()

    # -- data between host and buffer ---------------------------------------------------------------------

    def _move(self) -> None:
        """Have bytes pass, by DMA or by the FIFO."""
        s = self.state
        s.position = 0
        s.moving = True
        self._chip.after(PATIENCE_NS, Then.OVERRUN)
        self._chip.drive()

    def dma_ready(self) -> int:
        """Return how many bytes are to pass."""
        s = self.state
        if not s.moving:
            return 0
        return (4 * s.run if s.op == Op.FORMAT else s.run * SECTOR) - s.position

    def dma_read(self, length: int) -> bytes:
        """Give bytes of the buffer; in the wrong direction there are none, and they are ones."""
        s = self.state
        data = bytes(s.buffer[s.position : s.position + length]) if s.op in TO_HOST else b""
        self.dma_skip(length)
        return data.ljust(length, b"\xff")

    def dma_write(self, data: bytes) -> None:
        """Take bytes into the buffer; a scan compares them."""
        s = self.state
        if s.op in SCANS:
            self._compare(data)
        elif s.op in WRITES:
            s.buffer += data
        self._passed(len(data))

    def dma_skip(self, length: int) -> None:
        """Take part in a transfer that moves nothing: nobody drives the bus."""
        if self.state.op in FROM_HOST:
            self.dma_write(b"\xff" * length)
        else:
            self._passed(length)

    def dma_end(self) -> None:
        """Hear of terminal count: what has passed is all (2.1.7)."""
        s = self.state
        if s.moving or s.then == Then.PASSED:
            s.terminal = True
            self.settle()

    def _passed(self, length: int) -> None:
        s = self.state
        s.position += length
        if self.dma_ready() > 0:
            self._chip.after(PATIENCE_NS, Then.OVERRUN)
            return
        self._stop()
        self._chip.after(COMMAND_NS, Then.PASSED)  # terminal count may come, right behind the last byte

    def _stop(self) -> None:
        """No more bytes pass."""
        self.state.moving = False
        self.state.due, self.state.then = None, Then.NOTHING
        self._chip.drive()

    def _compare(self, data: bytes) -> None:
        """Compare with the buffer: the first byte that differs says which is less; FFh equals everything (5.1.9)."""
        s = self.state
        for theirs, ours in zip(data, s.buffer[s.position :], strict=False):
            if s.order == Order.EQUAL and theirs != ours and EQUAL_MASK not in (theirs, ours):
                s.order = Order.LESS if ours < theirs else Order.GREATER

    def settle(self) -> None:
        """Go on when all of a run has passed, or terminal count has come."""
        s = self.state
        self._stop()
        if s.op == Op.FORMAT:
            self._format()
        elif s.op in SCANS:
            self._scanned()
        elif s.op in TO_HOST:
            self._advance(-(-s.position // SECTOR))
        elif s.buffer:
            s.buffer += bytes(-len(s.buffer) % SECTOR)  # the rest of the last sector is zeros (5.1.3)
            self._submit()
        else:
            self._finish()

    def _scanned(self) -> None:
        """Look whether a sector satisfies the condition of a scan."""
        s = self.state
        met = s.order == Order.EQUAL or s.order == {Op.SCAN_LOW: Order.LESS, Op.SCAN_HIGH: Order.GREATER}.get(
            s.op
        )
        s.st2 &= ~(ST2_SCAN_EQUAL | ST2_SCAN_FAILED)
        if s.order == Order.EQUAL:
            s.st2 |= ST2_SCAN_EQUAL
        elif not met:
            s.st2 |= ST2_SCAN_FAILED
        if met:
            self._finish()
        else:
            self._advance(s.command[8] or 1)

    def _format(self) -> None:
        """Write the filler to the sectors that the host has named, if the image has a place for them (5.1.7)."""
        s = self.state
        track = self._track()
        ids = [tuple(s.buffer[at : at + 4]) for at in range(0, len(s.buffer) - 3, 4)]
        if track is None or not track.takes(s, ids):
            log.warning("fdc.format_that_the_image_has_no_place_for", first=ids[:1], sectors=len(ids))
            self.fail(ST1_PROTECTED)
            return
        s.r = min(r for _, _, r, _ in ids)
        s.buffer = bytearray((s.command[5],)) * (SECTOR * len(ids))
        self._submit()

    # -- ends ---------------------------------------------------------------------------------------------

    def _advance(self, count: int) -> None:
        """Step behind `count` sectors, and go on, or end by terminal count or with the cylinder (table 5-6)."""
        s = self.state
        if s.last:  # "address not incremented, next sector not searched for"
            self._finish()
            return
        before, eot, multi = s.r, s.command[6], bool(s.command[0] & MULTI_TRACK)
        s.r += count
        counted = s.left > 0
        s.left = max(s.left - count, 0)
        if s.op == Op.READ_TRACK:
            if s.left and s.single and not s.terminal:
                self._next_of_track()
            else:
                self._finish()
            return
        whole = before <= eot < s.r
        if whole:
            s.r = 1
            s.h ^= multi
            s.c = (s.c + (not multi or s.head)) & 0xFF
        s.r &= 0xFF
        if s.terminal or (counted and not s.left):
            self._finish()
        elif not whole or (multi and not s.head):
            s.head |= whole
            track = self._track()
            if track is None:
                self.fail(ST1_NO_MARK)
            else:
                self._next_run(track)
        elif s.op in SCANS or (s.op == Op.VERIFY and not counted):
            self._finish()
        else:
            self.fail(ST1_END)

    def _next_of_track(self) -> None:
        """Go on reading a track in which the medium has failed, a sector at a time."""
        self.state.run = 1
        self._submit()

    def fail(self, st1: int) -> None:
        """End it with an error in ST1."""
        self.state.st1 |= st1
        self._finish(abnormal=True)

    def _finish(self, *, abnormal: bool = False, after: int = 0) -> None:
        """End the execution phase, at once or after a while."""
        s = self.state
        self._token = None
        s.waiting = False
        s.abnormal = abnormal
        self._stop()
        if after:
            self._chip.after(after, Then.RESULT)
        else:
            self.present()

    def present(self) -> None:
        """Begin the result phase, and interrupt."""
        s = self.state
        st0 = s.head << 2 | s.unit | (ST0_SEEK_END if s.sought else 0)
        if s.abnormal or s.st1:
            st0 |= ST0_ABNORMAL
        s.result[:] = bytes((st0, s.st1, s.st2, s.c, s.h, s.r, s.n))
        s.phase = Phase.RESULT
        self._chip.interrupt()
