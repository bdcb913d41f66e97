"""A CD-ROM drive behind ATA registers: the packet protocol (ATA/ATAPI-6, T13/1410D, 8.23 and 9.8) and MMC commands.

What the commands return is in `mmc`. Packets come by PIO; data go by PIO, in blocks of at most the byte count limit, or
by DMA. The disc answers later, as a disk does.
Its discs have no audio tracks, so that what would play one is refused; of the modes, what can be changed has no effect.
Not modelled: overlap, power modes but for what the host asks for.
"""

import struct
from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.device import Disk, DiskRead
from devmodel.devices import cd_sector, mmc
from devmodel.devices.ata_identify import checked, modes, reset_result, text
from devmodel.devices.ata_registers import (
    ABRT,
    BSY,
    DRDY,
    DRQ,
    DSC,
    ERR,
    ICRC,
    OLD_POWER,
    Command,
    Feature,
    Power,
    TaskFile,
)
from devmodel.devices.ata_transport import RESET_NS, Transport
from devmodel.devices.mmc import BLOCK, SECTORS, Event, Op, Sense, Tray

MODEL: Final = "DEVMODEL DVD-ROM"
FIRMWARE: Final = "1"
PACKET_SIZE: Final = 12  # bytes
MOST_BYTES: Final = 0xFFFE  # of a DRQ block
CHUNK: Final = 32
"""Blocks that the disc is asked for at a time, by PIO or by DMA: 64 KiB."""

REASON_COMMAND: Final = 0x01  # CoD: a packet is wanted; with IO, the command has ended
REASON_TO_HOST: Final = 0x02  # IO
FEATURE_DMA: Final = 0x01
FEATURE_OVERLAP: Final = 0x02
SIGNATURE_MID: Final = 0x14
SIGNATURE_HIGH: Final = 0xEB

ALL_PARTS: Final = 0xB8
"""Of a sector of mode 1, in READ CD's byte 9: sync, header, user data, codes. It has no subheader (bit 6)."""

HERE: Final = 0xFFFF_FFFF
"""As an address of audio: where the head is."""
HERE_MSF: Final = b"\xff\xff\xff"
"""Likewise, as a time."""

LOEJ: Final = 0x02
START: Final = 0x01

DURING_ATTENTION: Final = frozenset({Op.INQUIRY, Op.REQUEST_SENSE, Op.GET_CONFIGURATION, Op.GET_EVENT_STATUS})
"""Commands that a pending unit attention does not end."""
WITHOUT_DISC: Final = DURING_ATTENTION | {
    *(Op.START_STOP, Op.PREVENT_ALLOW, Op.MODE_SENSE_6, Op.MODE_SENSE_10, Op.MODE_SELECT_10),
    *(Op.MECHANISM_STATUS, Op.SET_CD_SPEED),
}
"""Commands that need no disc."""


def contiguous(parts: int) -> bool:
    """Tell whether parts of a sector lie side by side, as READ CD wants them to."""
    row = parts >> 4 & 8 | parts >> 3 & 7  # sync, header, user data, codes, without the gap of the subheader
    return not row + (row & -row) & row


class PacketJob:
    """What the drive is in the middle of."""

    NONE: Final = 0
    PACKET: Final = 1
    """The packet is being written."""
    DATA: Final = 2
    """Data that are not the disc's go to the host."""
    READ: Final = 3
    """The disc's do."""
    SELECT: Final = 5
    """A parameter list is being written."""
    IDENTIFY: Final = 4
    """Data go to the host for a command without a packet."""


@attrs.define
class AtapiState(TaskFile):
    """Everything one CD-ROM drive remembers."""

    mid: int = SIGNATURE_MID
    high: int = SIGNATURE_HIGH
    status: int = 0
    sense: list[int] = attrs.field(factory=lambda: [0, 0, 0])
    attention: list[int] = attrs.field(factory=lambda: [6, 0x29, 0])
    """The unit attention that is pending, as key, code and qualifier; a key of 0: none."""
    event: int = Event.NONE
    opened: bool = False
    locked: bool = False
    recovery_page: bytes = mmc.RECOVERY  # as MODE SELECT has set it
    audio_page: bytes = mmc.AUDIO  # likewise
    mode: int = 0  # the DMA mode chosen, as SET FEATURES has it; 0: none
    power: int = Power.ACTIVE
    doubtful: bool = False  # registers may not be what the guest has written: the next command is refused
    # The command in progress
    job: int = PacketJob.NONE
    by_dma: bool = False  # data will go by DMA
    limit: int = MOST_BYTES  # bytes of a DRQ block
    waiting: bool = False  # for the disc
    lba: int = 0  # the next block to ask the disc for
    remaining: int = 0  # blocks that the disc has not given yet; of a parameter list, bytes to come
    single: bool = False  # the disc has failed: blocks go one by one
    parts: int = 0  # of a sector that the host gets: READ CD's byte 9


@attrs.define(kw_only=True)
class AtapiDrive:
    """One CD-ROM drive. Its wiring is `AtaDisk`'s, with a tray in the place of the disk."""

    tray: Tray
    serial: str
    clock: Clock
    changed: Callable[[], None]
    rearm: Callable[[], None] = lambda: None
    reset_result: int = attrs.field(factory=reset_result)
    state: AtapiState = attrs.field(factory=AtapiState)
    transport: Transport = attrs.field(init=False)
    _token: object = None
    _commands: dict[int, Callable[[bytes], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._commands = {
            Op.TEST_UNIT_READY: self._test_unit_ready,
            Op.REQUEST_SENSE: self._request_sense,
            Op.INQUIRY: self._inquiry,
            Op.MODE_SENSE_6: self._mode_sense,
            Op.START_STOP: self._start_stop,
            Op.PREVENT_ALLOW: self._prevent_allow,
            Op.READ_CAPACITY: self._read_capacity,
            Op.READ_10: self._read_10,
            Op.SEEK_10: self._seek,
            Op.READ_SUBCHANNEL: self._subchannel,
            Op.PLAY_AUDIO_10: self._play,
            Op.PLAY_AUDIO_MSF: self._play_msf,
            Op.PAUSE_RESUME: self._pause_resume,
            Op.STOP_PLAY: self._stop_play,
            Op.PLAY_AUDIO_12: self._play,
            Op.READ_TOC: self._read_toc,
            Op.GET_CONFIGURATION: self._get_configuration,
            Op.GET_EVENT_STATUS: self._get_event_status,
            Op.READ_DISC_INFORMATION: self._disc_information,
            Op.READ_TRACK_INFORMATION: self._track_information,
            Op.READ_HEADER: self._read_header,
            Op.MODE_SELECT_10: self._mode_select,
            Op.MODE_SENSE_10: self._mode_sense,
            Op.READ_12: self._read_12,
            Op.READ_DVD_STRUCTURE: self._dvd_structure,
            Op.READ_CD_MSF: self._read_cd_msf,
            Op.SET_CD_SPEED: self._set_speed,
            Op.MECHANISM_STATUS: self._mechanism_status,
            Op.READ_CD: self._read_cd,
        }
        self.transport = Transport(
            clock=self.clock,
            state=self.state,
            ready=DRDY,  # without SERV: nothing overlaps
            changed=self.changed,
            block_done=self._block_done,
        )
        self.tray.insert = self.insert
        self.tray.eject = self.eject
        self.tray.locked = lambda: self.state.locked
        if self.state.waiting:
            self._ask()

    @property
    def disc(self) -> Disk | None:
        """The disc in the closed tray."""
        return None if self.state.opened else self.tray.disc

    @property
    def blocks(self) -> int:
        """Blocks of the disc; 0 if there is none."""
        disc = self.disc
        return 0 if disc is None else disc.sectors // SECTORS

    # -- resets -----------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Forget everything, but whether the tray is open: a reset has no motor close it."""
        self._start_with(AtapiState(opened=self.state.opened))

    def reset(self) -> None:
        """Do a software reset: the signature, no command, and what the commands of packets have set stays."""
        old = self.state
        self._start_with(
            AtapiState(
                sense=old.sense,
                attention=old.attention,
                event=old.event,
                opened=old.opened,
                locked=old.locked,
                recovery_page=old.recovery_page,
                audio_page=old.audio_page,
                mode=old.mode,
            )
        )
        self.transport.busy()

    def ready(self) -> None:
        """SRST has been cleared."""
        self.transport.busy()
        self.transport.present(0, interrupt=False, after=RESET_NS)

    def device_reset(self) -> None:
        """DEVICE RESET (8.7): as a software reset, of this drive only, and without an interrupt."""
        device = self.state.device
        self.reset()
        self.state.device = device
        self.transport.present(0, interrupt=False)

    def diagnose(self, *, interrupt: bool) -> None:
        """EXECUTE DEVICE DIAGNOSTIC: passed."""
        self._token = None
        s = self.state
        s.waiting = False
        s.job = PacketJob.NONE
        self._sign()
        s.device, s.error = 0xA0, 1
        self.transport.busy()
        self.transport.present(0, interrupt=interrupt)

    def recover(self, *, complete: bool) -> None:
        """Give up the command under way: see `AtaDisk.recover`."""
        s = self.state
        s.doubtful = not complete
        if s.status & (BSY | DRQ):
            self._token = None
            s.waiting = False
            self._abort(ICRC | ABRT)

    def _start_with(self, state: AtapiState) -> None:
        self._token = None
        self.state = self.transport.state = state

    def _sign(self) -> None:
        s = self.state
        s.count, s.low, s.mid, s.high = 1, 1, SIGNATURE_MID, SIGNATURE_HIGH

    # -- the tray, from outside ---------------------------------------------------------------------------

    def insert(self, disc: Disk) -> None:
        """Put a disc in, and close the tray."""
        self.tray.disc = disc
        self.state.opened = False
        self._disc_changed()
        self._give_up()
        self.state.lba = 0

    def eject(self, force: bool) -> bool:
        """Open the tray and take the disc out, if the guest lets us or `force` is used; else ask the guest to."""
        s = self.state
        if s.locked and not force and self.disc is not None:
            s.event = Event.EJECT_REQUEST
            return False
        s.opened = True
        s.locked = False
        self.tray.disc = None
        s.event = Event.MEDIA_REMOVAL
        self._give_up()
        return True

    def _give_up(self) -> None:
        """End a command that waits for a disc that is no longer there."""
        if self.state.waiting:
            self._fetched(self._token, 1, None)

    def _disc_changed(self) -> None:
        s = self.state
        s.event = Event.NEW_MEDIA
        s.attention = [mmc.MEDIUM_CHANGED.key, mmc.MEDIUM_CHANGED.code, mmc.MEDIUM_CHANGED.qualifier]

    # -- commands of the task file ------------------------------------------------------------------------

    def command(self, code: int) -> None:
        """Execute a command. The channel has cleared `interrupt`."""
        s = self.state
        if s.power == Power.ASLEEP:
            return  # only a reset wakes it
        self._token = None
        s.waiting = s.single = s.dma = False
        s.job = PacketJob.NONE
        s.buffer = bytearray()
        s.position = s.remaining = 0
        s.error = 0
        self.transport.busy()
        if s.doubtful:
            s.doubtful = False
            self._abort(ICRC | ABRT)
            return
        match OLD_POWER.get(code, code):
            case Command.PACKET if s.features & FEATURE_OVERLAP:
                self._abort(ABRT)
            case Command.PACKET:
                s.by_dma = bool(s.features & FEATURE_DMA)
                limit = s.high << 8 | s.mid
                s.limit = min(limit, MOST_BYTES) or MOST_BYTES
                s.job = PacketJob.PACKET
                s.count = REASON_COMMAND
                self.transport.accept(PACKET_SIZE, interrupt=False)
            case Command.IDENTIFY_PACKET:
                s.job = PacketJob.IDENTIFY
                s.count = REASON_TO_HOST  # not asked for by the standard, but drivers look for it
                s.buffer = bytearray(self._identify())
                self.transport.offer(len(s.buffer))
            case Command.IDENTIFY | Command.READ_SECTORS:
                self._sign()
                self._abort(ABRT)
            case Command.SET_FEATURES if s.features == Feature.TRANSFER_MODE and (
                s.count <= 1 or 0x08 <= s.count <= 0x0C
            ):
                self._finish()
            case Command.SET_FEATURES if s.features == Feature.TRANSFER_MODE and (
                0x20 <= s.count <= 0x22 or 0x40 <= s.count <= 0x45
            ):
                s.mode = s.count
                self._finish()
            case Command.CHECK_POWER:
                s.count = s.power
                self._finish()
            case Command.STANDBY | Command.STANDBY_IMMEDIATE:
                s.power = Power.STANDBY
                self._finish()
            case Command.IDLE | Command.IDLE_IMMEDIATE:
                s.power = Power.ACTIVE
                self._finish()
            case Command.SLEEP:
                s.power = Power.ASLEEP
                self._finish()
            case _:
                self._abort(ABRT)

    def _finish(self) -> None:
        self.transport.present(DRDY, interrupt=True)

    def _abort(self, error: int) -> None:
        s = self.state
        s.job = PacketJob.NONE
        s.error = error
        self.transport.present(DRDY | ERR, interrupt=True)

    def _identify(self) -> bytes:
        w = [0] * 256
        w[0] = 0x85C0  # packets of 12 bytes, CD-ROM, removable, DRQ within 50 µs of PACKET
        w[10:20] = text(self.serial, 20)
        w[23:27] = text(FIRMWARE, 8)
        w[27:47] = text(MODEL, 40)
        w[49] = 0x0B00  # IORDY, LBA, DMA
        w[50] = 0x4000
        w[51] = 0x0200
        w[53] = 0x0006  # words 64-70 and 88 are valid
        w[63], w[88] = modes(self.state.mode)
        w[64] = 0x0003
        w[65] = w[66] = w[67] = w[68] = 120  # ns
        w[71] = w[72] = 30  # ns, PACKET to bus release; never used without overlap
        w[80] = 0x0070  # ATA/ATAPI-4 to 6
        w[82] = w[85] = 0x4218  # NOP, DEVICE RESET, PACKET, power management
        w[83] = w[84] = w[87] = 0x4000
        w[93] = self.reset_result
        return checked(w)

    # -- the packet protocol ------------------------------------------------------------------------------

    def _block_done(self) -> None:
        """Go on when the host has written the packet, or has taken a block."""
        s = self.state
        match s.job:
            case PacketJob.PACKET:
                self._packet(bytes(s.buffer))
            case PacketJob.IDENTIFY:
                s.job = PacketJob.NONE
                s.status = DRDY
                self.changed()
            case PacketJob.SELECT if s.remaining:
                self._take()
            case PacketJob.SELECT:
                self._select(bytes(s.buffer))
            case _ if s.position < len(s.buffer):
                self._offer()
            case PacketJob.READ if s.remaining:
                self._submit()
            case _:
                self._good()

    def _offer(self) -> None:
        """Show the host the next block of the buffer."""
        s = self.state
        length = len(s.buffer) - s.position
        s.dma = s.by_dma
        if not s.dma and length > s.limit:
            length = max(s.limit & ~1, 2)  # only the last block may be odd
        s.count = REASON_TO_HOST
        if not s.dma:
            s.mid, s.high = length & 0xFF, length >> 8
        self.transport.offer(length, interrupt=not s.dma)

    def _send(self, data: bytes, allocated: int) -> None:
        """Give the host as much of the data as it has room for."""
        s = self.state
        s.job = PacketJob.DATA
        s.buffer = bytearray(data[:allocated])
        s.position = 0
        if s.buffer:
            self._offer()
        else:
            self._good()

    def _take(self) -> None:
        """Ask the host for the next block of a parameter list."""
        s = self.state
        s.dma = s.by_dma
        length = s.remaining if s.dma else min(s.remaining, max(s.limit & ~1, 2))
        s.remaining -= length
        s.count = 0  # data, to the drive
        if not s.dma:
            s.mid, s.high = length & 0xFF, length >> 8
        self.transport.accept(length, interrupt=not s.dma)

    def _good(self) -> None:
        """End the command with good status."""
        self._end()
        self.transport.present(DRDY, interrupt=True)

    def _check(self, sense: Sense) -> None:
        """End the command with CHECK CONDITION."""
        s = self.state
        s.sense = [sense.key, sense.code, sense.qualifier]
        self._end()
        s.error = sense.key << 4 | ABRT
        self.transport.present(DRDY | ERR, interrupt=True)

    def _end(self) -> None:
        s = self.state
        s.job = PacketJob.NONE
        s.dma = False
        s.buffer = bytearray()
        s.position = s.block_end = 0
        s.count = REASON_COMMAND | REASON_TO_HOST

    def _packet(self, p: bytes) -> None:
        """Execute a packet's command."""
        s = self.state
        self.transport.busy()
        s.buffer = bytearray()
        s.position = 0
        code = p[0]
        if s.attention[0] and code not in DURING_ATTENTION:
            key, asc, ascq = s.attention
            s.attention = [0, 0, 0]
            self._check(Sense(key, asc, ascq))
            return
        if code != Op.REQUEST_SENSE:
            s.sense = [0, 0, 0]
        if code not in WITHOUT_DISC and code in self._commands and not self.blocks:
            self._check(mmc.NO_MEDIUM_TRAY_OPEN if s.opened else mmc.NO_MEDIUM_TRAY_CLOSED)
            return
        perform = self._commands.get(code)
        if perform is None:
            self._check(mmc.INVALID_COMMAND)
        else:
            perform(p)

    # -- commands that return what is known ----------------------------------------------------------------

    def _test_unit_ready(self, _p: bytes) -> None:
        self._good()

    def _request_sense(self, p: bytes) -> None:
        s = self.state
        if s.attention[0] and not s.sense[0]:
            s.sense, s.attention = s.attention, [0, 0, 0]
        key, code, qualifier = s.sense
        s.sense = [0, 0, 0]
        self._send(mmc.sense_data(Sense(key, code, qualifier)), p[4])

    def _inquiry(self, p: bytes) -> None:
        if p[1] & 3 or p[2]:
            self._check(mmc.INVALID_FIELD)
        else:
            self._send(mmc.inquiry(), p[3] << 8 | p[4])

    def _mode_sense(self, p: bytes) -> None:
        s = self.state
        ten = p[0] == Op.MODE_SENSE_10
        pages = mmc.mode_pages(
            p[2] & 0x3F, p[2] >> 6, locked=s.locked, recovery=s.recovery_page, audio=s.audio_page
        )
        if pages is None:
            self._check(mmc.INVALID_FIELD)
        elif p[2] >> 6 == mmc.PageControl.SAVED:
            self._check(Sense(5, 0x39))  # saving parameters not supported
        else:
            medium = mmc.medium_type(self.blocks, opened=s.opened)
            header = mmc.mode_header(len(pages), ten=ten, medium=medium)
            self._send(header + pages, p[7] << 8 | p[8] if ten else p[4])

    def _mode_select(self, p: bytes) -> None:
        s = self.state
        if p[1] & 1:  # to save them
            self._check(mmc.INVALID_FIELD)
            return
        s.remaining = p[7] << 8 | p[8]
        if not s.remaining:
            self._good()
            return
        s.job = PacketJob.SELECT
        self._take()

    def _select(self, parameters: bytes) -> None:
        """Take over a parameter list that has come."""
        s = self.state
        pages = mmc.select_modes(parameters, locked=s.locked, recovery=s.recovery_page, audio=s.audio_page)
        if isinstance(pages, Sense):
            self._check(pages)
        else:
            s.recovery_page, s.audio_page = pages
            self._good()

    def _read_header(self, p: bytes) -> None:
        lba = int.from_bytes(p[2:6], "big")
        if lba >= self.blocks:
            self._check(mmc.OUT_OF_RANGE)
        else:
            self._send(mmc.header(lba, time=bool(p[1] & 2)), p[7] << 8 | p[8])

    def _read_capacity(self, _p: bytes) -> None:
        self._send(struct.pack(">II", self.blocks - 1, BLOCK), 8)

    def _read_toc(self, p: bytes) -> None:
        time = bool(p[1] & 2)
        kind = p[2] & 15 or p[9] >> 6
        match kind:
            case 0:
                data = mmc.toc(self.blocks, p[6], time=time)
            case 1:
                data = mmc.sessions(time=time)
            case 2 if p[6] <= 1:
                data = mmc.full_toc(self.blocks)
            case _:
                data = None
        self._answer(data, p[7] << 8 | p[8])

    def _answer(self, data: bytes | None, allocated: int) -> None:
        if data is None:
            self._check(mmc.INVALID_FIELD)
        else:
            self._send(data, allocated)

    def _get_configuration(self, p: bytes) -> None:
        if p[1] & 3 == 3:
            self._check(mmc.INVALID_FIELD)
        else:
            self._send(mmc.configuration(self.blocks, p[2] << 8 | p[3], p[1] & 3), p[7] << 8 | p[8])

    def _get_event_status(self, p: bytes) -> None:
        s = self.state
        if not p[1] & 1:  # to be told later is not supported
            self._check(mmc.INVALID_FIELD)
            return
        data = mmc.event_status(p[4], s.event, opened=s.opened, present=self.tray.disc is not None)
        allocated = p[7] << 8 | p[8]
        if p[4] & 1 << mmc.MEDIA_CLASS and allocated > 4:
            s.event = Event.NONE
        self._send(data, allocated)

    def _disc_information(self, p: bytes) -> None:
        self._answer(None if p[1] & 7 else mmc.disc_information(), p[7] << 8 | p[8])

    def _track_information(self, p: bytes) -> None:
        kind, number = p[1] & 3, int.from_bytes(p[2:6], "big")
        there = number < self.blocks if kind == 0 else kind < 3 and number == 1
        self._answer(mmc.track_information(self.blocks) if there else None, p[7] << 8 | p[8])

    def _mechanism_status(self, p: bytes) -> None:
        self._send(mmc.mechanism_status(opened=self.state.opened), p[8] << 8 | p[9])

    def _subchannel(self, p: bytes) -> None:
        if p[2] & 0x40:
            here = min(self.state.lba, self.blocks - 1)
            self._answer(mmc.subchannel(p[3], p[6], here, time=bool(p[1] & 2)), p[7] << 8 | p[8])
        else:
            self._send(bytes((0, mmc.NO_AUDIO, 0, 0)), p[7] << 8 | p[8])

    # -- audio (MMC-3, 5.11 to 5.14 and 5.37) -----------------------------------------------------------------

    def _play(self, p: bytes) -> None:
        lba = int.from_bytes(p[2:6], "big")
        length = p[6:10] if p[0] == Op.PLAY_AUDIO_12 else p[7:9]
        self._play_from(self.state.lba if lba == HERE else lba, int.from_bytes(length, "big"))

    def _play_msf(self, p: bytes) -> None:
        begin, end = p[3:6], p[6:9]
        first = self.state.lba if begin == HERE_MSF else mmc.lba_of(*begin)
        last = mmc.lba_of(*end)
        times = (end,) if begin == HERE_MSF else (begin, end)
        if first > last or not all(second < 60 and frame < 75 for _, second, frame in times):
            self._check(mmc.INVALID_FIELD)
        else:
            self._play_from(first, last - first)

    def _play_from(self, lba: int, length: int) -> None:
        """Play nothing, which is no error, or refuse a track that is not audio."""
        if not 0 <= lba < self.blocks:
            self._check(mmc.OUT_OF_RANGE)
        elif length:
            self._check(mmc.ILLEGAL_MODE)
        else:
            self._good()

    def _pause_resume(self, _p: bytes) -> None:
        self._check(mmc.COMMAND_SEQUENCE)  # nothing has been played that could be paused or go on

    def _stop_play(self, _p: bytes) -> None:
        self._good()

    def _dvd_structure(self, p: bytes) -> None:
        self._answer(mmc.dvd_structure(self.blocks, p[7]), p[8] << 8 | p[9])

    # -- commands that move something -----------------------------------------------------------------------

    def _start_stop(self, p: bytes) -> None:
        s = self.state
        if p[4] & (LOEJ | START) == LOEJ:
            if s.locked:
                self._check(mmc.REMOVAL_PREVENTED)
                return
            if not s.opened:
                s.opened = True
                s.event = Event.MEDIA_REMOVAL
        elif p[4] & LOEJ and s.opened:
            s.opened = False
            if self.tray.disc is not None:
                self._disc_changed()
        self._good()

    def _prevent_allow(self, p: bytes) -> None:
        self.state.locked = bool(p[4] & 1)
        self._good()

    def _set_speed(self, _p: bytes) -> None:
        self._good()

    def _seek(self, p: bytes) -> None:
        if int.from_bytes(p[2:6], "big") >= self.blocks:
            self._check(mmc.OUT_OF_RANGE)
            return
        self._end()
        self.state.lba = int.from_bytes(p[2:6], "big")
        # In SFF-8020i bit 4 was DSC, and drivers of its time wait for that behind a seek, for half a minute if need be.
        self.transport.present(DRDY | DSC, interrupt=True)

    def _read_10(self, p: bytes) -> None:
        self._read(int.from_bytes(p[2:6], "big"), p[7] << 8 | p[8])

    def _read_12(self, p: bytes) -> None:
        self._read(int.from_bytes(p[2:6], "big"), int.from_bytes(p[6:10], "big"))

    def _read_cd(self, p: bytes) -> None:
        self._read_raw(p, int.from_bytes(p[2:6], "big"), int.from_bytes(p[6:9], "big"))

    def _read_cd_msf(self, p: bytes) -> None:
        begin, end = mmc.lba_of(*p[3:6]), mmc.lba_of(*p[6:9])
        if end < begin or begin < 0:
            self._check(mmc.INVALID_FIELD)
        else:
            self._read_raw(p, begin, end - begin)

    def _read_raw(self, p: bytes, lba: int, count: int) -> None:
        """READ CD: byte 9 says which parts of a sector are wanted; they are all of mode 1."""
        kind = p[1] >> 2 & 7
        if kind > 5:
            self._check(mmc.INVALID_FIELD)
        elif kind not in (0, 2):
            self._check(mmc.ILLEGAL_MODE)
        elif p[10] & 7 or p[9] & 6:
            self._check(mmc.INVALID_FIELD)  # subchannels, and error flags
        elif not (parts := p[9] & ALL_PARTS):
            self._good()  # nothing is wanted
        elif not contiguous(parts):
            self._check(mmc.INVALID_FIELD)
        else:
            self._read(lba, count, parts)

    # -- the disc -------------------------------------------------------------------------------------------

    def _read(self, lba: int, count: int, parts: int = 0x10) -> None:
        s = self.state
        if lba + count > self.blocks:
            self._check(mmc.OUT_OF_RANGE)
            return
        if not count:
            self._good()
            return
        s.job = PacketJob.READ
        s.lba, s.remaining, s.parts = lba, count, parts
        s.single = False
        self._submit()

    def _submit(self) -> None:
        s = self.state
        s.waiting = True
        s.buffer = bytearray()
        s.position = 0
        self.transport.busy()
        self._ask()

    def _ask(self) -> None:
        s = self.state
        token = self._token = object()
        count = 1 if s.single else min(s.remaining, CHUNK)
        disc = self.disc
        if disc is None or (s.lba + count) * SECTORS > disc.sectors:  # taken out meanwhile
            self._fetched(token, 1, None)
        else:
            disc.submit(
                DiskRead(s.lba * SECTORS, count * SECTORS, lambda data: self._fetched(token, count, data))
            )

    def _fetched(self, token: object, count: int, data: bytes | None) -> None:
        if token is not self._token:
            return  # the command was given up meanwhile
        s = self.state
        if data is None and count > 1:
            s.single = True
            self._ask()
            return
        s.waiting = False
        if data is None:
            self._check(mmc.NO_MEDIUM_TRAY_OPEN if self.disc is None else mmc.UNRECOVERED_READ)
        else:
            s.buffer = bytearray(data if s.parts == 0x10 else self._parts(data))
            s.lba += count
            s.remaining -= count
            self._offer()
        self.rearm()

    def _parts(self, data: bytes) -> bytes:
        """Return the parts of whole sectors that the host wants."""
        s = self.state
        out = []
        for i in range(len(data) // BLOCK):
            time = mmc.msf(s.lba + i)[1:]
            header = bytes(n // 10 << 4 | n % 10 for n in time) + b"\1"
            whole = cd_sector.whole(header, data[i * BLOCK : (i + 1) * BLOCK])
            for bit, begin, end in ((0x80, 0, 12), (0x20, 12, 16), (0x10, 16, 2064), (0x08, 2064, 2352)):
                if s.parts & bit:
                    out.append(whole[begin:end])
        return b"".join(out)
