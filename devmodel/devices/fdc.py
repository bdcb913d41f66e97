"""Intel 82077AA floppy disk controller of a PC AT, with two drives (data sheet 290166, May 1994).

Sections are the data sheet's. A command has a command phase, an execution phase in which data pass by DMA or by the
FIFO, and a result phase. Seeks and sectors take time, but a hundredth of what a real drive needs.
An image holds sectors of 512 bytes with the IDs that its format gives them, and no address marks: a deleted data mark
lasts as long as the diskette is in the drive, and FORMAT TRACK with other IDs or lengths fails as if write-protected.
Not modelled: tapes, power-down, precompensation, gaps, step rates and head loads (DUMPREG reads their registers back),
3F0h and 3F1h (they belong to the PS/2). Without a diskette, or with its motor off, a drive has no index pulses, and a
real controller waits for ever; this one gives up after a while, as if two pulses had brought no address mark.
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import structlog

from devmodel.board.clock import Clock
from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.board.lines import IrqLine
from devmodel.devices.diskette import Bay
from devmodel.devices.fdc_registers import (
    BY_FIRST_BYTE,
    CONFIG_IMPLIED_SEEK,
    CONFIG_NO_FIFO,
    CONFIG_NO_POLLING,
    DIR_CHANGED,
    DIR_UNDRIVEN,
    DOR_GATE,
    DOR_MOTOR,
    DOR_RUN,
    DOR_SELECT,
    DSR_RESET,
    ENABLE_COUNT,
    EQUAL_MASK,
    FROM_HOST,
    LENGTHS,
    MSR_BUSY,
    MSR_DIO,
    MSR_NON_DMA,
    MSR_RQM,
    MULTI_TRACK,
    NON_DMA,
    RATE,
    RELATIVE_IN,
    SCANS,
    SKIP,
    ST0_ABNORMAL,
    ST0_CHECK,
    ST0_HEAD,
    ST0_INVALID,
    ST0_POLLED,
    ST0_SEEK_END,
    ST1_DATA_ERROR,
    ST1_END,
    ST1_NO_DATA,
    ST1_NO_MARK,
    ST1_OVERRUN,
    ST1_PROTECTED,
    ST2_CONTROL_MARK,
    ST2_DATA_ERROR,
    ST2_SCAN_EQUAL,
    ST2_SCAN_FAILED,
    ST3_ALWAYS,
    ST3_PROTECTED,
    ST3_TRACK_0,
    TO_HOST,
    WRITES,
    Op,
    Reg,
)
from devmodel.devices.fdc_state import FdcState, Order, Phase, Then
from devmodel.devices.fdc_track import LENGTH_CODE, SECTOR, Track, under_head

log = structlog.get_logger()

RESET_NS: Final = 20_000  # to the end of a reset, and again to the poll of the drives
COMMAND_NS: Final = 20_000  # from the last byte of a command to the head over the first sector
STEP_NS: Final = 30_000  # a cylinder
SECTOR_NS: Final = 50_000
SEARCH_NS: Final = 2_000_000  # two index pulses without an address mark
PATIENCE_NS: Final = 500_000_000  # for the host to take or give a byte, before that is an overrun
RECALIBRATE_STEPS: Final = 79
VERSION: Final = 0x90
RELEASED_INTERRUPTS: Final = 4


@attrs.define(kw_only=True)
class Fdc:
    """The controller: 8 ports from 3F0h on. `dma_request` is its DREQ; DMA comes back by `dma_…`."""

    clock: Clock
    irq: IrqLine
    bays: Sequence[Bay | None] = (None, None)
    dma_request: Callable[[bool], None] = lambda _level: None
    rearm: Callable[[], None] = lambda: None
    """Hears that the medium has answered, and so there may be a deadline."""
    state: FdcState = attrs.field(factory=FdcState)
    _token: object = None

    def __attrs_post_init__(self) -> None:
        for unit, bay in enumerate(self.bays):
            if bay is not None:
                bay.changed = lambda unit=unit: self._changed(unit)  # type: ignore[misc]
        if self.state.waiting:  # restored while the medium worked: ask it again
            self._ask()

    def reset(self) -> None:
        """Power on: the drives' heads are somewhere, and whether their diskettes are the same nobody knows."""
        self._token = None
        self._request(False)
        self.state = FdcState()
        self._drive()

    def recover(self) -> None:
        """Go on with a state that is older than the guest: give up the command, as if the host had been too slow."""
        s = self.state
        if s.phase == Phase.EXECUTION:
            self._fail(ST1_OVERRUN)

    # -- the outside --------------------------------------------------------------------------------------

    def _changed(self, unit: int) -> None:
        """Another diskette is in a drive, or none."""
        s = self.state
        drive = s.drives[unit]
        drive.changed = True
        drive.unflushed = False
        drive.deleted.clear()
        under_way = s.waiting or s.moving or s.then in (Then.OFFER, Then.PASSED)
        if s.phase == Phase.EXECUTION and s.unit == unit and under_way:
            self._fail(ST1_NO_MARK)
        self.rearm()

    def _flush(self) -> None:
        """Have what was written to drives whose motor is off put on their media."""
        for unit, (drive, bay) in enumerate(zip(self.state.drives, self.bays, strict=True)):
            if drive.unflushed and not self.state.dor & DOR_MOTOR << unit:
                drive.unflushed = False
                if bay is not None and bay.disk is not None:
                    bay.disk.submit(DiskFlush(lambda _ok: None))

    # -- ports (2.1) --------------------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        """Read a register."""
        s = self.state
        match offset:
            case Reg.DOR:
                return s.dor
            case Reg.TDR:
                return 0xFC | s.tdr
            case Reg.MSR:
                return self._main_status()
            case Reg.FIFO:
                return self._read_fifo()
            case Reg.DIR:
                return self._digital_input()
            case _:
                return 0xFF

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a register."""
        s = self.state
        value &= 0xFF
        match offset:
            case Reg.DOR:
                self._write_dor(value)
            case Reg.TDR:
                s.tdr = value & 3
            case Reg.MSR:
                s.rate = value & RATE
                if value & DSR_RESET:
                    self._soft_reset()
                    self._release()
            case Reg.FIFO:
                self._write_fifo(value)
            case Reg.DIR:
                s.rate = value & RATE
            case _:
                pass

    def _write_dor(self, value: int) -> None:
        s = self.state
        before, s.dor = s.dor, value
        if before & DOR_RUN and not value & DOR_RUN:
            self._soft_reset()
        elif value & DOR_RUN and not before & DOR_RUN:
            self._release()
        if (before ^ value) & 0xF0:
            self._flush()
        self._drive()

    def _soft_reset(self) -> None:
        """Reset by DOR or DSR (4.0): the data rate, SPECIFY's values and the drives stay, the rest as LOCK says."""
        old = self.state
        self._token = None
        self._request(False)
        drives = old.drives
        for drive in drives:
            drive.seek_at = None
        self.state = FdcState(
            dor=old.dor, tdr=old.tdr, rate=old.rate, specified=old.specified, drives=drives, lock=old.lock,
            perpendicular=old.perpendicular & 0x3C,  # GAP and WGATE fall
            config=old.config & 0x2F if old.lock else CONFIG_NO_FIFO,
            precompensation_track=old.precompensation_track if old.lock else 0,
        )  # fmt: skip
        self._drive()

    def _release(self) -> None:
        """Come out of reset after a while."""
        self._after(RESET_NS, Then.READY)

    def _main_status(self) -> int:
        s = self.state
        if not s.dor & DOR_RUN or s.then == Then.READY:
            return 0
        status = sum(1 << unit for unit, drive in enumerate(s.drives) if drive.seek_at is not None)
        match s.phase:
            case Phase.IDLE:
                return status | MSR_RQM
            case Phase.COMMAND:
                return status | MSR_RQM | MSR_BUSY
            case Phase.RESULT:
                return status | MSR_RQM | MSR_DIO | MSR_BUSY
            case _:
                status |= MSR_BUSY
                if s.specified[1] & NON_DMA:
                    status |= MSR_NON_DMA
                    if s.moving:
                        status |= MSR_RQM | (MSR_DIO if s.op in TO_HOST else 0)
                return status

    def _digital_input(self) -> int:
        s = self.state
        unit = s.dor & DOR_SELECT
        there = unit < len(self.bays) and self.bays[unit] is not None and s.dor & DOR_MOTOR << unit
        return DIR_UNDRIVEN | (DIR_CHANGED if there and s.drives[unit].changed else 0)

    def _read_fifo(self) -> int:
        s = self.state
        if s.phase == Phase.RESULT:
            value = s.result.pop(0)
            s.interrupt = False
            if not s.result:
                s.phase = Phase.IDLE
            self._drive()
            return value
        if s.phase == Phase.EXECUTION and s.moving and s.op in TO_HOST and s.specified[1] & NON_DMA:
            value = self.dma_read(1)[0]
            self._next_byte()
            return value
        return 0xFF

    def _write_fifo(self, value: int) -> None:
        s = self.state
        if not s.dor & DOR_RUN or s.then == Then.READY:
            return
        if s.phase == Phase.EXECUTION and s.moving and s.op in FROM_HOST and s.specified[1] & NON_DMA:
            self.dma_write(bytes((value,)))
            self._next_byte()
        elif s.phase == Phase.IDLE:
            s.command = bytearray((value,))
            s.op = BY_FIRST_BYTE.get(value, 0)
            s.phase = Phase.COMMAND
            self._take_command()
        elif s.phase == Phase.COMMAND:
            s.command.append(value)
            self._take_command()

    def _next_byte(self) -> None:
        """Interrupt for each byte without DMA: the pin falls with an access, and rises with the next byte."""
        self.irq.set(False)
        self._drive()

    # -- time ---------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Return when a command goes on, or a seek ends."""
        times = [drive.seek_at for drive in self.state.drives if drive.seek_at is not None]
        if self.state.due is not None:
            times.append(self.state.due)
        return min(times, default=None)

    def tick(self) -> None:
        """Go on with what is due."""
        s, now = self.state, self.clock.now()
        for drive in s.drives:
            if drive.seek_at is not None and now >= drive.seek_at:
                drive.seek_at = None
                s.pending.append(drive.seek_status)
                self._interrupt()
        if s.due is None or now < s.due:
            return
        then, s.due, s.then = s.then, None, Then.NOTHING
        match then:
            case Then.READY:
                self._after(RESET_NS, Then.POLL)
            case Then.POLL:
                self._poll()
            case Then.BEGIN:
                self._begin()
            case Then.OFFER:
                self._offer()
            case Then.PASSED:
                self._settle()
            case Then.RESULT:
                self._present()
            case _:
                self._fail(ST1_OVERRUN)

    def _after(self, ns: int, then: int) -> None:
        self.state.due = self.clock.now() + ns
        self.state.then = then

    def _poll(self) -> None:
        """Poll the drives, soon after a reset, and tell of all, unless CONFIGURE has come first and forbids it."""
        s = self.state
        if s.then == Then.POLL:  # a command that needs it came first
            s.due, s.then = None, Then.NOTHING
        if not s.config & CONFIG_NO_POLLING:
            s.pending[:] = bytes(ST0_POLLED | unit for unit in range(RELEASED_INTERRUPTS))
            self._interrupt()

    def _interrupt(self) -> None:
        """Raise the interrupt; one that is high falls first, so that it is seen."""
        self.state.interrupt = False
        self._drive()
        self.state.interrupt = True
        self._drive()

    def _drive(self) -> None:
        s = self.state
        by_fifo, gate = bool(s.specified[1] & NON_DMA), bool(s.dor & DOR_GATE)
        self.irq.set((s.interrupt or (s.moving and by_fifo)) and gate)
        self._request(s.moving and not by_fifo and gate)

    def _request(self, level: bool) -> None:
        """Drive the DMA request. The 8237 may come before this returns."""
        if level != self.state.dreq:
            self.state.dreq = level
            self.dma_request(level)

    # -- commands (5.0) -----------------------------------------------------------------------------------

    def _take_command(self) -> None:
        s = self.state
        if s.op == 0:
            log.debug("fdc.invalid_command", command=s.command[0])
            self._answer(ST0_INVALID)
        elif len(s.command) == LENGTHS[s.op]:
            self._command()

    def _command(self) -> None:
        s = self.state
        b = s.command
        match s.op:
            case Op.SPECIFY:
                s.specified[:] = b[1:3]
                self._answer()
            case Op.SENSE_DRIVE:
                self._answer(self._drive_status(b[1] & 3, b[1] & ST0_HEAD))
            case Op.SENSE_INTERRUPT:
                self._sense_interrupt()
            case Op.RECALIBRATE:
                self._recalibrate(b[1] & 3)
            case Op.SEEK:
                self._seek(b[1], b[2] - s.cylinders[b[1] & 3])
            case Op.RELATIVE_SEEK:
                self._seek(b[1], b[2] if b[0] & RELATIVE_IN else -b[2])
            case Op.DUMP:
                fields = (*s.cylinders, *s.specified, s.last_eot, s.lock << 7 | s.perpendicular, s.config)
                self._answer(*fields, s.precompensation_track)
            case Op.VERSION:
                self._answer(VERSION)
            case Op.CONFIGURE:
                s.config = b[2] & 0x7F
                s.precompensation_track = b[3]
                self._answer()
            case Op.LOCK:
                s.lock = bool(b[0] & 0x80)
                self._answer(s.lock << 4)
            case Op.PERPENDICULAR:
                kept = s.perpendicular & 0x3C if not b[1] & 0x80 else b[1] & 0x3C
                s.perpendicular = kept | b[1] & 3
                self._answer()
            case _:
                self._execute()

    def _answer(self, *values: int) -> None:
        """End a command that has no execution phase: with a result, or without."""
        s = self.state
        s.result[:] = bytes(values)
        s.phase = Phase.RESULT if values else Phase.IDLE
        self._drive()

    def _drive_status(self, unit: int, head: int) -> int:
        """Return ST3."""
        bay = self._bay(unit)
        status = ST3_ALWAYS | head | unit
        if bay is None:
            return status
        if bay.disk is None or bay.disk.readonly:
            status |= ST3_PROTECTED
        return status | (ST3_TRACK_0 if self.state.drives[unit].cylinder == 0 else 0)

    def _sense_interrupt(self) -> None:
        s = self.state
        if s.then == Then.POLL:
            self._poll()
        if not s.pending:
            self._answer(ST0_INVALID)
            return
        status = s.pending.pop(0)
        again = bool(s.pending and s.pending[0] & ST0_SEEK_END)
        s.interrupt = False
        self._answer(status, s.cylinders[status & 3])
        if again:
            self._interrupt()

    # -- seeks --------------------------------------------------------------------------------------------

    def _bay(self, unit: int) -> Bay | None:
        return self.bays[unit] if unit < len(self.bays) else None

    def _step(self, unit: int, steps: int) -> int:
        """Step a drive's heads inwards, or outwards; return how many steps the drive has made."""
        bay = self._bay(unit)
        if bay is None:
            return 0
        drive = self.state.drives[unit]
        before = drive.cylinder
        drive.cylinder = min(max(before + steps, 0), bay.type.cylinders - 1)
        if steps and bay.disk is not None:
            drive.changed = False  # a step pulse resets it, even at track 0
        return abs(drive.cylinder - before)

    def _seek(self, second: int, steps: int) -> None:
        """SEEK and RELATIVE SEEK: the controller counts steps, and does not know where the heads are (5.2.3)."""
        s = self.state
        unit = second & 3
        s.cylinders[unit] = (s.cylinders[unit] + steps) & 0xFF
        self._step(unit, steps)
        self._end_seek(unit, abs(steps), ST0_SEEK_END | second & 7)

    def _recalibrate(self, unit: int) -> None:
        """Step outwards until the drive says track 0, at most 79 times (5.2.2)."""
        s = self.state
        s.cylinders[unit] = 0
        there = self._bay(unit) is not None
        at = s.drives[unit].cylinder if there else RECALIBRATE_STEPS
        steps = min(at, RECALIBRATE_STEPS)
        self._step(unit, -steps)
        found = there and s.drives[unit].cylinder == 0
        status = ST0_SEEK_END | unit | (0 if found else ST0_ABNORMAL | ST0_CHECK)
        self._end_seek(unit, steps, status)

    def _end_seek(self, unit: int, steps: int, status: int) -> None:
        s = self.state
        if unit < len(s.drives):
            s.drives[unit].seek_status = status
            s.drives[unit].seek_at = self.clock.now() + COMMAND_NS + steps * STEP_NS
        else:  # a drive that no PC of this kind has
            s.pending.append(status)
            self._interrupt()
        self._answer()

    # -- execution ----------------------------------------------------------------------------------------

    def _execute(self) -> None:
        """Begin the execution phase of a command that needs the diskette."""
        s = self.state
        if s.then == Then.POLL:
            self._poll()
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
                self._step(s.unit, steps)
                s.sought = True
                delay += abs(steps) * STEP_NS
        self._after(delay, Then.BEGIN)
        self._drive()

    def _begin(self) -> None:
        """Look for the first sector."""
        s = self.state
        track = under_head(s, self._bay(s.unit))
        if track is None:
            s.st1 |= ST1_NO_MARK
            self._finish(abnormal=True, after=SEARCH_NS)
        elif s.op in WRITES and track.disk.readonly:
            self._fail(ST1_PROTECTED)
        elif s.op == Op.READ_ID:
            s.c, s.h, s.n = track.cylinder, s.head, LENGTH_CODE
            s.r = self.clock.now() // SECTOR_NS % track.sectors + 1
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
        track = under_head(s, self._bay(s.unit))
        if track is None:  # we were restored, and the diskette is gone
            self._fail(ST1_NO_MARK)
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
            self._fail(ST1_DATA_ERROR)
        else:
            s.buffer = bytearray(data)
            self._after(SECTOR_NS * s.run, Then.OFFER)
        self.rearm()

    def _stored(self, token: object, lba: int, ok: bool) -> None:
        s = self.state
        if token is not self._token:
            return
        s.waiting = False
        if not ok:
            self._fail(ST1_DATA_ERROR)
        else:
            written = range(lba, lba + len(s.buffer) // SECTOR)
            if s.op == Op.WRITE_DELETED:
                s.drives[s.unit].deleted.update(written)
            else:
                s.drives[s.unit].deleted.difference_update(written)
            self._after(SECTOR_NS * len(written), Then.OFFER)
        self.rearm()

    def _offer(self) -> None:
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
        self._after(PATIENCE_NS, Then.OVERRUN)
        self._drive()

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
            self._settle()

    def _passed(self, length: int) -> None:
        s = self.state
        s.position += length
        if self.dma_ready() > 0:
            self._after(PATIENCE_NS, Then.OVERRUN)
            return
        self._stop()
        self._after(COMMAND_NS, Then.PASSED)  # terminal count may come, right behind the last byte

    def _stop(self) -> None:
        """No more bytes pass."""
        self.state.moving = False
        self.state.due, self.state.then = None, Then.NOTHING
        self._drive()

    def _compare(self, data: bytes) -> None:
        """Compare with the buffer: the first byte that differs says which is less; FFh equals everything (5.1.9)."""
        s = self.state
        for theirs, ours in zip(data, s.buffer[s.position :], strict=False):
            if s.order == Order.EQUAL and theirs != ours and EQUAL_MASK not in (theirs, ours):
                s.order = Order.LESS if ours < theirs else Order.GREATER

    def _settle(self) -> None:
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
        track = under_head(s, self._bay(s.unit))
        ids = [tuple(s.buffer[at : at + 4]) for at in range(0, len(s.buffer) - 3, 4)]
        if track is None or not track.takes(s, ids):
            log.warning("fdc.format_that_the_image_has_no_place_for", first=ids[:1], sectors=len(ids))
            self._fail(ST1_PROTECTED)
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
            track = under_head(s, self._bay(s.unit))
            if track is None:
                self._fail(ST1_NO_MARK)
            else:
                self._next_run(track)
        elif s.op in SCANS or (s.op == Op.VERIFY and not counted):
            self._finish()
        else:
            self._fail(ST1_END)

    def _next_of_track(self) -> None:
        """Go on reading a track in which the medium has failed, a sector at a time."""
        self.state.run = 1
        self._submit()

    def _fail(self, st1: int) -> None:
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
            self._after(after, Then.RESULT)
        else:
            self._present()

    def _present(self) -> None:
        """Begin the result phase, and interrupt."""
        s = self.state
        st0 = s.head << 2 | s.unit | (ST0_SEEK_END if s.sought else 0)
        if s.abnormal or s.st1:
            st0 |= ST0_ABNORMAL
        s.result[:] = bytes((st0, s.st1, s.st2, s.c, s.h, s.r, s.n))
        s.phase = Phase.RESULT
        self._interrupt()
