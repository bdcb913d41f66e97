"""Intel 82077AA floppy disk controller of a PC AT, with two drives (data sheet 290166, May 1994).

Sections are the data sheet's. A command has a command phase, an execution phase in which data pass by DMA or by the
FIFO (`fdc_execution`), and a result phase. Seeks and sectors take time, but a hundredth of what a real drive needs.
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
from devmodel.board.device import DiskFlush
from devmodel.board.lines import IrqLine
from devmodel.devices.diskette import Bay
from devmodel.devices.fdc_execution import COMMAND_NS, STEP_NS, Execution
from devmodel.devices.fdc_registers import (
    BY_FIRST_BYTE,
    CONFIG_NO_FIFO,
    CONFIG_NO_POLLING,
    DIR_CHANGED,
    DIR_UNDRIVEN,
    DOR_GATE,
    DOR_MOTOR,
    DOR_RUN,
    DOR_SELECT,
    DSR_RESET,
    FROM_HOST,
    LENGTHS,
    MSR_BUSY,
    MSR_DIO,
    MSR_NON_DMA,
    MSR_RQM,
    NON_DMA,
    RATE,
    RELATIVE_IN,
    ST0_ABNORMAL,
    ST0_CHECK,
    ST0_HEAD,
    ST0_INVALID,
    ST0_POLLED,
    ST0_SEEK_END,
    ST1_NO_MARK,
    ST1_OVERRUN,
    ST3_ALWAYS,
    ST3_PROTECTED,
    ST3_TRACK_0,
    TO_HOST,
    Op,
    Reg,
)
from devmodel.devices.fdc_state import FdcState, Phase, Then

log = structlog.get_logger()

RESET_NS: Final = 20_000  # to the end of a reset, and again to the poll of the drives
RECALIBRATE_STEPS: Final = 79
VERSION: Final = 0x90
RELEASED_INTERRUPTS: Final = 4


@attrs.define(kw_only=True)
class Fdc:
    """The controller: 8 ports from 3F0h on. `dma_request` is its DREQ; DMA comes to `execution`."""

    clock: Clock
    irq: IrqLine
    bays: Sequence[Bay | None] = (None, None)
    dma_request: Callable[[bool], None] = lambda _level: None
    rearm: Callable[[], None] = lambda: None
    """Hears that the medium has answered, and so there may be a deadline."""
    state: FdcState = attrs.field(factory=FdcState)
    execution: Execution = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for unit, bay in enumerate(self.bays):
            if bay is not None:
                bay.changed = lambda unit=unit: self._changed(unit)  # type: ignore[misc]
        self.execution = Execution(self)

    def reset(self) -> None:
        """Power on: the drives' heads are somewhere, and whether their diskettes are the same nobody knows."""
        self.execution.forget()
        self._request(False)
        self.state = FdcState()
        self.drive()

    def recover(self) -> None:
        """Go on with a state that is older than the guest: give up the command, as if the host had been too slow."""
        s = self.state
        if s.phase == Phase.EXECUTION:
            self.execution.fail(ST1_OVERRUN)

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
            self.execution.fail(ST1_NO_MARK)
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
        self.drive()

    def _soft_reset(self) -> None:
        """Reset by DOR or DSR (4.0): the data rate, SPECIFY's values and the drives stay, the rest as LOCK says."""
        old = self.state
        self.execution.forget()
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
        self.drive()

    def _release(self) -> None:
        """Come out of reset after a while."""
        self.after(RESET_NS, Then.READY)

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
            self.drive()
            return value
        if s.phase == Phase.EXECUTION and s.moving and s.op in TO_HOST and s.specified[1] & NON_DMA:
            value = self.execution.dma_read(1)[0]
            self._next_byte()
            return value
        return 0xFF

    def _write_fifo(self, value: int) -> None:
        s = self.state
        if not s.dor & DOR_RUN or s.then == Then.READY:
            return
        if s.phase == Phase.EXECUTION and s.moving and s.op in FROM_HOST and s.specified[1] & NON_DMA:
            self.execution.dma_write(bytes((value,)))
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
        self.drive()

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
                self.interrupt()
        if s.due is None or now < s.due:
            return
        then, s.due, s.then = s.then, None, Then.NOTHING
        match then:
            case Then.READY:
                self.after(RESET_NS, Then.POLL)
            case Then.POLL:
                self._poll()
            case Then.BEGIN:
                self.execution.look()
            case Then.OFFER:
                self.execution.offer()
            case Then.PASSED:
                self.execution.settle()
            case Then.RESULT:
                self.execution.present()
            case _:
                self.execution.fail(ST1_OVERRUN)

    def after(self, ns: int, then: int) -> None:
        """Have something of `Then` done in so many ns."""
        self.state.due = self.clock.now() + ns
        self.state.then = then

    def _poll(self) -> None:
        """Poll the drives, soon after a reset, and tell of all, unless CONFIGURE has come first and forbids it."""
        s = self.state
        if s.then == Then.POLL:  # a command that needs it came first
            s.due, s.then = None, Then.NOTHING
        if not s.config & CONFIG_NO_POLLING:
            s.pending[:] = bytes(ST0_POLLED | unit for unit in range(RELEASED_INTERRUPTS))
            self.interrupt()

    def interrupt(self) -> None:
        """Raise the interrupt; one that is high falls first, so that it is seen."""
        self.state.interrupt = False
        self.drive()
        self.state.interrupt = True
        self.drive()

    def drive(self) -> None:
        """Drive interrupt and DMA request as the state says."""
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
                if s.then == Then.POLL:
                    self._poll()
                self.execution.begin()

    def _answer(self, *values: int) -> None:
        """End a command that has no execution phase: with a result, or without."""
        s = self.state
        s.result[:] = bytes(values)
        s.phase = Phase.RESULT if values else Phase.IDLE
        self.drive()

    def _drive_status(self, unit: int, head: int) -> int:
        """Return ST3."""
        bay = self.bay(unit)
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
            self.interrupt()

    # -- seeks --------------------------------------------------------------------------------------------

    def bay(self, unit: int) -> Bay | None:
        """Return a drive, if there is one."""
        return self.bays[unit] if unit < len(self.bays) else None

    def step(self, unit: int, steps: int) -> int:
        """Step a drive's heads inwards, or outwards; return how many steps the drive has made."""
        bay = self.bay(unit)
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
        self.step(unit, steps)
        self._end_seek(unit, abs(steps), ST0_SEEK_END | second & 7)

    def _recalibrate(self, unit: int) -> None:
        """Step outwards until the drive says track 0, at most 79 times (5.2.2)."""
        s = self.state
        s.cylinders[unit] = 0
        there = self.bay(unit) is not None
        at = s.drives[unit].cylinder if there else RECALIBRATE_STEPS
        steps = min(at, RECALIBRATE_STEPS)
        self.step(unit, -steps)
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
            self.interrupt()
        self._answer()
