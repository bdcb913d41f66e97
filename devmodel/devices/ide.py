"""An IDE channel with up to two drives (ATA/ATAPI-6, T13/1410D clauses 7 and 9): registers and selection.

Both drives latch what is written to the command block; the selected one answers, and executes commands. A channel
that its controller does not decode is not there: its ports read ones.
Not modelled: the drive address register (0x3F7 belongs to the floppy controller).
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.device import ONES, Device, Disk
from devmodel.board.lines import IrqLine
from devmodel.board.mirror import BY_ANYONE, Mirror
from devmodel.devices.ata import AtaDisk
from devmodel.devices.ata_identify import reset_result
from devmodel.devices.ata_registers import BSY, AtaState, Command
from devmodel.devices.atapi import AtapiDrive, AtapiState
from devmodel.devices.bus_master import BusMaster
from devmodel.devices.mmc import Tray


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
    cdroms: list[AtapiState | None] = attrs.field(factory=lambda: [None, None])


@attrs.define
class Control:
    """The control block, one register: device control, and alternate status on read."""

    channel: "IdeChannel"

    def read(self, _offset: int, size: int) -> int:
        """Read the status and leave the interrupt alone."""
        return self.channel.read_alternate() if self.channel.decoded else ONES.get(size, 0)

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write nIEN, SRST and HOB."""
        if self.channel.decoded:
            self.channel.write_control(value & 0xFF)


@attrs.define(kw_only=True)
class IdeChannel:
    """The command block (8 ports, up to 32 bits wide at offset 0); `control` is the control block.

    Of `disks` a `Tray` makes a CD-ROM drive. `bus_master` moves the data of DMA commands; without one they wait for
    ever, as they would without a controller that answers DMARQ.
    """

    irq: IrqLine
    clock: Clock
    disks: Sequence[Disk | Tray | None]
    serials: Sequence[str] = ("DM00001", "DM00002")
    bus_master: BusMaster | None = None
    rearm: Callable[[], None] = lambda: None
    """Hears that a medium's answer may have given the channel a deadline."""
    mirror: Mirror = attrs.field(factory=lambda: Mirror(8))  # of the status, while no interrupt is pending
    control_mirror: Mirror = attrs.field(factory=lambda: Mirror(1))  # of the alternate status
    _initial: IdeState = attrs.field(factory=IdeState, alias="state")
    control: Device = attrs.field(init=False)
    decoded: bool = attrs.field(init=False, default=True)
    _control: int = attrs.field(init=False, default=0)
    _device: int = attrs.field(init=False, default=0xA0)
    _drives: list[AtaDisk | AtapiDrive | None] = attrs.field(init=False)
    _pumping: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.control = Control(self)
        self._control = self._initial.control
        self._device = self._initial.device
        self._drives = [None, None]
        if self.bus_master is not None:
            self.bus_master.started = self._changed
        partners = None not in self.disks
        for i, disk in enumerate(self.disks):
            result = reset_result(second=bool(i), partner=partners)
            if isinstance(disk, Tray):
                self._drives[i] = AtapiDrive(
                    tray=disk,
                    serial=self.serials[i],
                    clock=self.clock,
                    changed=self._changed,
                    rearm=self._rearm,
                    reset_result=result,
                    state=self._initial.cdroms[i] or AtapiState(),
                )
            elif disk is not None:
                self._drives[i] = AtaDisk(
                    disk=disk,
                    serial=self.serials[i],
                    clock=self.clock,
                    changed=self._changed,
                    rearm=self._rearm,
                    reset_result=result,
                    state=self._initial.drives[i] or AtaState(),
                )
        self._drive()

    @property
    def state(self) -> IdeState:
        """Everything the channel remembers."""
        return IdeState(
            self._control,
            self._device,
            [drive.state if isinstance(drive, AtaDisk) else None for drive in self._drives],
            [drive.state if isinstance(drive, AtapiDrive) else None for drive in self._drives],
        )

    def reset(self) -> None:
        """Power on."""
        for drive in self._drives:
            if drive is not None:
                drive.power_on()
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

    def decode(self, decoded: bool) -> None:
        """Let the channel's ports be there, or not."""
        self.decoded = decoded
        self._drive()

    def _selected(self) -> AtaDisk | AtapiDrive | None:
        return self._drives[self._device >> 4 & 1]

    def _rearm(self) -> None:
        self.rearm()

    # -- time -----------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Return when a drive clears BSY by itself."""
        first: int | None = None
        for drive in self._drives:
            if drive is not None and (due := drive.state.due) is not None and (first is None or due < first):
                first = due
        return first

    def tick(self) -> None:
        """Do what is due."""
        for drive in self._drives:
            if drive is not None and drive.state.due is not None:
                drive.transport.catch_up()

    # -- ports ----------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Read the data port in any width, the other registers by bytes."""
        if not self.decoded:
            return ONES.get(size, 0)
        drive = self._drives[self._device >> 4 & 1]
        if not offset:
            if drive is None:
                return ONES.get(size, 0)
            if drive.state.due is not None:
                drive.transport.catch_up()
            return drive.transport.read(size)
        if size == 1:
            if offset == Reg.COMMAND:
                return self._read_status()
            return self._read_register(offset & 7)
        return sum(self.read(offset + i & 7, 1) << 8 * i for i in range(size) if offset + i & 7)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the data port in any width, the other registers by bytes."""
        if not self.decoded:
            return
        self.tick()
        if not offset:
            drive = self._selected()
            if drive is not None:
                drive.transport.write(size, value)
            return
        if size == 1:
            self._write_register(offset & 7, value & 0xFF)
            return
        for i in range(size):
            self._write_register(offset + i & 7, value >> 8 * i & 0xFF)

    def read_string(self, offset: int, size: int, count: int) -> bytes:
        """Read a port `count` times `size` bytes: what REP INS does, in one go."""
        if offset or not self.decoded:
            return b"".join(self.read(offset, size).to_bytes(size, "little") for _ in range(count))
        self.tick()
        drive = self._selected()
        return b"\xff" * (size * count) if drive is None else drive.transport.read_string(size, count)

    def write_string(self, offset: int, size: int, data: bytes) -> None:
        """Write `data` to a port in units of `size` bytes: what REP OUTS does."""
        if offset or not self.decoded:
            for i in range(0, len(data), size):
                self.write(offset, size, int.from_bytes(data[i : i + size], "little"))
            return
        self.tick()
        drive = self._selected()
        if drive is not None:
            drive.transport.write_string(data)

    def status(self) -> int:
        """Return the selected drive's status. An absent drive's is 0, so that nobody waits for it."""
        drive = self._selected()
        if self._control & CONTROL_SRST:
            return 0 if drive is None else BSY
        return 0 if drive is None else drive.state.status

    def read_alternate(self) -> int:
        """Return the alternate status, as it was before time moves on: see `ata_transport`."""
        status = self.status()
        self.tick()
        return status

    def _read_status(self) -> int:
        drive = self._drives[self._device >> 4 & 1]
        status = self.status()
        if drive is not None:
            s = drive.state
            if s.interrupt and not self._control & CONTROL_SRST:
                s.interrupt = False
                self._drive()
            elif s.due is not None:
                self.tick()
        return status

    def _read_register(self, offset: int) -> int:
        self.tick()
        # A disk that is drive 0 answers for an absent drive 1, but with status 0 (9.16.1); nobody does for a drive 0.
        drive = self._selected() or self._drives[0]
        if drive is None or (isinstance(drive, AtapiDrive) and drive is not self._selected()):
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
            case _:
                return s.device & ~DEVICE_DEV | self._device & DEVICE_DEV | 0xA0

    def _write_register(self, offset: int, value: int) -> None:
        if self._control & CONTROL_SRST:
            return
        if offset == Reg.COMMAND and value == Command.DEVICE_RESET:
            self._device_reset()
            return
        if self.status() & BSY:
            return
        self._control &= ~CONTROL_HOB
        if offset == Reg.COMMAND:
            self._command(value)
            return
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
        if offset == Reg.DEVICE:
            before, self._device = self._device, value
            if (before ^ value) & DEVICE_DEV:
                self._changed()

    def _command(self, code: int) -> None:
        if code == EXECUTE_DIAGNOSTIC:
            self._device = 0xA0
            for i, drive in enumerate(self._drives):
                if drive is not None:
                    drive.state.interrupt = False
                    drive.diagnose(interrupt=i == 0)
        else:
            drive = self._selected()
            if drive is None:
                return  # drive 0 ignores what is not for it
            drive.state.interrupt = False
            drive.command(code)
        self._changed()

    def _device_reset(self) -> None:
        """DEVICE RESET is for packet drives, which take it whatever they are doing; a disk refuses it."""
        drive = self._selected()
        if isinstance(drive, AtapiDrive):
            drive.state.interrupt = False
            drive.device_reset()
        elif not self.status() & BSY:
            self._command(Command.DEVICE_RESET)

    def write_control(self, value: int) -> None:
        """Write the device control register. BSY is set with SRST, and for a while after it."""
        self.tick()
        was = self._control
        self._control = value & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB)
        if value & ~was & CONTROL_SRST:
            self._device = 0xA0
            for drive in self._drives:
                if drive is not None:
                    drive.reset()
        elif was & ~value & CONTROL_SRST:
            for drive in self._drives:
                if drive is not None:
                    drive.ready()
        self._drive()

    # -- lines ----------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Follow what a drive has changed: its data move if there is a bus master for them, then its lines."""
        if not self._pumping and self.bus_master is not None:
            self._pumping = True
            for drive in self._drives:
                if drive is None or not drive.state.dma:
                    continue
                while drive.transport.requesting and self._pump(self.bus_master, drive):
                    pass
            self._pumping = False
        self._drive()

    def _pump(self, master: BusMaster, drive: AtaDisk | AtapiDrive) -> bool:
        """Move data by DMA as far as both are ready, and tell whether any was."""
        s = drive.state
        if not master.ready(to_memory=not s.outgoing):
            return False
        wanted = s.block_end - s.position
        if s.outgoing:
            data = master.load(wanted)
            drive.transport.dma_out(data)
            return bool(data)
        with memoryview(s.buffer) as view, view[s.position : s.block_end] as data_in:
            taken = master.store(data_in)
        drive.transport.dma_in(taken)
        return taken > 0

    def _drive(self) -> None:
        drive = self._selected()
        status = self.status()
        s = None if drive is None else drive.state
        if not self.decoded or (s is not None and s.due is not None):
            self.control_mirror.hide(0)
        else:
            self.control_mirror.show(0, status, BY_ANYONE)
        if not self.decoded or (s is not None and (s.interrupt or s.due is not None)):
            self.mirror.hide(Reg.COMMAND)
        else:
            self.mirror.show(Reg.COMMAND, status, BY_ANYONE)
        level = s is not None and s.interrupt and not self._control & CONTROL_NIEN
        if self.bus_master is not None:
            self.bus_master.set_intrq(level)
        self.irq.set(level)
