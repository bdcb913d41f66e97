"""An IDE channel with up to two drives (ATA/ATAPI-6, T13/1410D clauses 7 and 9): registers and selection.

Both drives latch what is written to the command block; the selected one answers, and executes commands.
Not modelled: bus-master DMA, the drive address register (0x3F7 belongs to the floppy controller).
"""

from collections.abc import Sequence
from typing import Final

import attrs

from devmodel.board.device import ONES, Device, Disk
from devmodel.board.lines import IrqLine
from devmodel.board.mirror import BY_ANYONE, Mirror
from devmodel.devices.ata import AtaDisk
from devmodel.devices.ata_registers import BSY, AtaState


class Reg:
    """Offsets in the command block."""

    DATA: Final = 0
    FEATURES: Final = 1  # error on read
    COUNT: Final = 2
    LBA_LOW: Final = 3
    LBA_MID: Final = 4
    LBA_HIGH: Final = 5
    DEVICE: Final = 6
    COMMAND: Final = 7  # status on read


EXECUTE_DIAGNOSTIC: Final = 0x90
CONTROL_NIEN: Final = 0x02
CONTROL_SRST: Final = 0x04
CONTROL_HOB: Final = 0x80
DEVICE_DEV: Final = 0x10


@attrs.define
class IdeState:
    """Everything the channel remembers, with its drives'."""

    control: int = 0
    device: int = 0xA0
    drives: list[AtaState | None] = attrs.field(factory=lambda: [None, None])


@attrs.define
class Control:
    """The control block, one register: device control, and alternate status on read."""

    channel: "IdeChannel"

    def read(self, _offset: int, _size: int) -> int:
        """Read the status and leave the interrupt alone."""
        return self.channel.status()

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write nIEN, SRST and HOB."""
        self.channel.write_control(value & 0xFF)


@attrs.define(kw_only=True)
class IdeChannel:
    """The command block (8 ports, up to 32 bits wide at offset 0); `control` is the control block."""

    irq: IrqLine
    disks: Sequence[Disk | None]
    serials: Sequence[str] = ("DM00001", "DM00002")
    mirror: Mirror = attrs.field(factory=lambda: Mirror(8))  # of the status, while no interrupt is pending
    control_mirror: Mirror = attrs.field(factory=lambda: Mirror(1))  # of the alternate status
    _initial: IdeState = attrs.field(factory=IdeState, alias="state")
    control: Device = attrs.field(init=False)
    _control: int = attrs.field(init=False, default=0)
    _device: int = attrs.field(init=False, default=0xA0)
    _drives: list[AtaDisk | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.control = Control(self)
        self._control = self._initial.control
        self._device = self._initial.device
        self._drives = [None, None]
        for i, disk in enumerate(self.disks):
            if disk is not None:
                state = self._initial.drives[i] or AtaState()
                self._drives[i] = AtaDisk(disk=disk, serial=self.serials[i], changed=self._drive, state=state)
        self._drive()

    @property
    def state(self) -> IdeState:
        """Everything the channel remembers."""
        drives = [None if drive is None else drive.state for drive in self._drives]
        return IdeState(self._control, self._device, drives)

    def reset(self) -> None:
        """Power on."""
        for drive in self._drives:
            if drive is not None:
                drive.reset()
                drive.state = AtaState()
        self._control = 0
        self._device = 0xA0
        self._drive()

    def recover(self, *, complete: bool) -> None:
        """Go on with a state that is older than the guest: see `AtaDisk.recover`.

        The guest may wait for an interrupt that it has lost; one that it does not expect only makes it look.
        """
        for drive in self._drives:
            if drive is not None:
                drive.recover(complete=complete)
        selected = self._selected()
        if selected is not None:
            selected.state.interrupt = True
        self._drive()

    def _selected(self) -> AtaDisk | None:
        return self._drives[self._device >> 4 & 1]

    # -- ports --------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Read the data port in any width, the other registers by bytes."""
        drive = self._drives[self._device >> 4 & 1]
        if not offset:
            return ONES.get(size, 0) if drive is None else drive.read_data(size)
        if size == 1:
            if offset == Reg.COMMAND and drive is not None and not self._control & CONTROL_SRST:
                s = drive.state
                if s.interrupt:
                    s.interrupt = False
                    self._drive()
                return s.status
            return self._read_register(offset & 7)
        return sum(self._read_register(offset + i & 7) << 8 * i for i in range(size))

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the data port in any width, the other registers by bytes."""
        if not offset:
            drive = self._selected()
            if drive is not None:
                drive.write_data(size, value)
            return
        for i in range(size):
            self._write_register(offset + i & 7, value >> 8 * i & 0xFF)

    def read_string(self, offset: int, size: int, count: int) -> bytes:
        """Read a port `count` times `size` bytes: what REP INS does, in one go."""
        if offset:
            return b"".join(self.read(offset, size).to_bytes(size, "little") for _ in range(count))
        drive = self._selected()
        return b"\xff" * (size * count) if drive is None else drive.read_string(size, count)

    def write_string(self, offset: int, size: int, data: bytes) -> None:
        """Write `data` to a port in units of `size` bytes: what REP OUTS does."""
        if offset:
            for i in range(0, len(data), size):
                self.write(offset, size, int.from_bytes(data[i : i + size], "little"))
            return
        drive = self._selected()
        if drive is not None:
            drive.write_string(size, data)

    def status(self) -> int:
        """Return the alternate status. An absent drive's is 0, so that nobody waits for it."""
        drive = self._selected()
        if self._control & CONTROL_SRST:
            return 0 if drive is None else BSY
        return 0 if drive is None else drive.state.status

    def _read_register(self, offset: int) -> int:
        drive = self._selected()
        if offset == Reg.COMMAND:
            status = self.status()
            if drive is not None and drive.state.interrupt:
                drive.state.interrupt = False
                self._drive()
            return status
        # Drive 0 answers for an absent drive 1, with status 0; nobody does for an absent drive 0.
        drive = drive or self._drives[0]
        if drive is None:
            return 0
        s = drive.state
        if self._control & CONTROL_SRST or s.status & BSY:
            return self.status()
        hob = self._control & CONTROL_HOB
        match offset:
            case Reg.FEATURES:
                return s.error
            case Reg.COUNT:
                return s.previous[1] if hob else s.count
            case Reg.LBA_LOW:
                return s.previous[2] if hob else s.low
            case Reg.LBA_MID:
                return s.previous[3] if hob else s.mid
            case Reg.LBA_HIGH:
                return s.previous[4] if hob else s.high
            case Reg.DEVICE:
                return s.device & ~DEVICE_DEV | self._device & DEVICE_DEV | 0xA0
            case _:
                return 0  # the data port, reached as the upper part of an access elsewhere

    def _write_register(self, offset: int, value: int) -> None:
        if self._control & CONTROL_SRST or self.status() & BSY:
            return
        self._control &= ~CONTROL_HOB
        if offset == Reg.COMMAND:
            self._command(value)
            return
        if offset == Reg.DEVICE:
            self._device = value
        for drive in self._drives:
            if drive is None or drive.state.status & BSY:
                continue
            s = drive.state
            match offset:
                case Reg.FEATURES:
                    s.previous[0], s.features = s.features, value
                case Reg.COUNT:
                    s.previous[1], s.count = s.count, value
                case Reg.LBA_LOW:
                    s.previous[2], s.low = s.low, value
                case Reg.LBA_MID:
                    s.previous[3], s.mid = s.mid, value
                case Reg.LBA_HIGH:
                    s.previous[4], s.high = s.high, value
                case Reg.DEVICE:
                    s.device = value
                case _:
                    pass
        self._drive()

    def _command(self, code: int) -> None:
        if code == EXECUTE_DIAGNOSTIC:
            self._device = 0xA0
            for drive in self._drives:
                if drive is not None:
                    drive.diagnose()
            if self._drives[0] is not None:
                self._drives[0].state.interrupt = True
        else:
            drive = self._selected()
            if drive is None:
                return  # drive 0 ignores what is not for it
            drive.state.interrupt = False
            drive.command(code)
        self._drive()

    def write_control(self, value: int) -> None:
        """Write the device control register."""
        was = self._control
        self._control = value & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB)
        if value & ~was & CONTROL_SRST:
            for drive in self._drives:
                if drive is not None:
                    drive.reset()
            self._device = 0xA0
        self._drive()

    def _drive(self) -> None:
        drive = self._selected()
        status = self.status()
        self.control_mirror.show(0, status, BY_ANYONE)
        if drive is not None and drive.state.interrupt:
            self.mirror.hide(Reg.COMMAND)
        else:
            self.mirror.show(Reg.COMMAND, status, BY_ANYONE)
        self.irq.set(drive is not None and drive.state.interrupt and not self._control & CONTROL_NIEN)
