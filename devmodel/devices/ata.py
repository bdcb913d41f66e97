"""An ATA hard disk behind its registers (ATA/ATAPI-6, T13/1410D): PIO, multiple and DMA; LBA28, LBA48 and CHS.

The drive is `AtaDisk`; the channel that selects it is in `ide`, the cable in `ata_transport`. The medium answers
later through a `Disk`, with BSY set meanwhile. Sectors are fetched and stored in chunks; if one fails, its sectors are
tried one by one, so that the good ones come and the error names the bad one. A write is done when its last chunk is,
and with the write cache off, or by a FUA command, when that has been flushed.
Not modelled: queued commands, security, SET MAX passwords, the media status and removable media features; what SET
MAX ADDRESS sets lasts for as long as the machine. Data comes as fast as it can, whatever the transfer mode.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.board.device import Disk, DiskFlush, DiskRead, DiskWrite
from devmodel.devices import ata_smart
from devmodel.devices.ata_identify import (
    LBA28_SECTORS,
    MAX_MULTIPLE,
    Identity,
    default_geometry,
    identify,
    reset_result,
)
from devmodel.devices.ata_registers import (
    ABRT,
    BSY,
    DEV_HEAD,
    DF,
    DRQ,
    ERR,
    ICRC,
    IDNF,
    OLD_POWER,
    READY,
    SECTOR,
    UNC,
    AtaState,
    Command,
    Feature,
    Job,
    Power,
)
from devmodel.devices.ata_transport import RESET_NS, Transport

CHUNK: Final = 128
"""Sectors that the medium is asked for at a time, if they go by PIO."""
DMA_CHUNK: Final = 1024
"""Likewise by DMA."""

PIO: Final = 0
MULTIPLE: Final = 1
DMA: Final = 2

TRANSFERS: Final[dict[int, tuple[int, int, bool, bool]]] = {
    Command.READ_SECTORS: (Job.READ, PIO, False, False),
    Command.READ_SECTORS_NORETRY: (Job.READ, PIO, False, False),
    Command.READ_SECTORS_EXT: (Job.READ, PIO, True, False),
    Command.READ_MULTIPLE: (Job.READ, MULTIPLE, False, False),
    Command.READ_MULTIPLE_EXT: (Job.READ, MULTIPLE, True, False),
    Command.READ_DMA: (Job.READ, DMA, False, False),
    Command.READ_DMA_NORETRY: (Job.READ, DMA, False, False),
    Command.READ_DMA_EXT: (Job.READ, DMA, True, False),
    Command.READ_VERIFY: (Job.VERIFY, PIO, False, False),
    Command.READ_VERIFY_NORETRY: (Job.VERIFY, PIO, False, False),
    Command.READ_VERIFY_EXT: (Job.VERIFY, PIO, True, False),
    Command.WRITE_SECTORS: (Job.WRITE, PIO, False, False),
    Command.WRITE_SECTORS_NORETRY: (Job.WRITE, PIO, False, False),
    Command.WRITE_SECTORS_EXT: (Job.WRITE, PIO, True, False),
    Command.WRITE_VERIFY: (Job.WRITE, PIO, False, True),
    Command.WRITE_MULTIPLE: (Job.WRITE, MULTIPLE, False, False),
    Command.WRITE_MULTIPLE_EXT: (Job.WRITE, MULTIPLE, True, False),
    Command.WRITE_MULTIPLE_FUA_EXT: (Job.WRITE, MULTIPLE, True, True),
    Command.WRITE_DMA: (Job.WRITE, DMA, False, False),
    Command.WRITE_DMA_NORETRY: (Job.WRITE, DMA, False, False),
    Command.WRITE_DMA_EXT: (Job.WRITE, DMA, True, False),
    Command.WRITE_DMA_FUA_EXT: (Job.WRITE, DMA, True, True),
}
"""Commands that move sectors: what they do, how, with 48-bit addresses or not, past the write cache or not."""


@attrs.define(kw_only=True)
class AtaDisk:
    """One hard disk. `changed` tells the channel that `state.interrupt` or `state.status` may have changed."""

    disk: Disk
    serial: str
    clock: Clock
    changed: Callable[[], None]
    rearm: Callable[[], None] = lambda: None
    """Hears that the medium has answered, and so the drive may have a deadline."""
    reset_result: int = attrs.field(factory=reset_result)
    """What it says of its place on the cable: see `ata_identify.reset_result`."""
    state: AtaState = attrs.field(factory=AtaState)
    transport: Transport = attrs.field(init=False)
    _token: object = None

    def __attrs_post_init__(self) -> None:
        self.transport = Transport(
            clock=self.clock, state=self.state, changed=self.changed, block_done=self._block_done
        )
        if self.state.waiting:  # restored while the medium worked: ask it again
            self._ask()

    def _start_with(self, state: AtaState) -> None:
        self._token = None
        self.state = self.transport.state = state

    def power_on(self) -> None:
        """Forget everything but what outlasts the power: the size that SET MAX ADDRESS was to keep, and SMART's."""
        old = self.state
        self._start_with(self._keeping_smart(AtaState(limit=old.kept_limit, kept_limit=old.kept_limit)))

    def _keeping_smart(self, new: AtaState) -> AtaState:
        """Let SMART of a state after a reset know what it has known. The reset ends a data collection."""
        old = self.state
        new.smart, new.autosave = old.smart, old.autosave
        new.self_tests, new.errors, new.error_count = old.self_tests, old.errors, old.error_count
        ata_smart.suspend_collection(old, self.clock.now())
        ata_smart.abort_collection(old)
        new.collection = old.collection
        return new

    def reset(self) -> None:
        """Do a software reset (9.2): the signature, and whatever was going on is forgotten. BSY until `ready`."""
        old = self.state
        new = AtaState(
            heads=old.heads,
            track=old.track,
            write_cache=old.write_cache,
            look_ahead=old.look_ahead,
            keep_settings=old.keep_settings,
            mode=old.mode,
            multiple=old.multiple,
            limit=old.limit,
            kept_limit=old.kept_limit,
            power=Power.STANDBY if old.power == Power.ASLEEP else old.power,
            standby_after=old.standby_after,
            active_at=old.active_at,
            own_buffer=old.own_buffer,
        )
        if not old.keep_settings:
            new.write_cache = new.look_ahead = True
            new.multiple = MAX_MULTIPLE
        self._start_with(self._keeping_smart(new))
        self.transport.busy()

    def ready(self) -> None:
        """SRST has been cleared."""
        self.transport.busy()
        self.transport.present(READY, interrupt=False, after=RESET_NS)

    def diagnose(self, *, interrupt: bool) -> None:
        """EXECUTE DEVICE DIAGNOSTIC: passed."""
        old = self.state
        now = self.clock.now()
        ata_smart.suspend_collection(old, now)
        ata_smart.resume_collection(old, now)
        old.count, old.low, old.mid, old.high = 1, 1, 0, 0
        old.device, old.error = 0xA0, 1
        self._token = None
        old.waiting = False
        old.job = Job.NONE
        self.transport.busy()
        self.transport.present(READY, interrupt=interrupt)

    def recover(self, *, complete: bool) -> None:
        """Give up the command under way: the guest may be further on with it, and must ask again.

        An interface error says so. If what the guest has written since is not `complete`, the next command is refused
        likewise, since its registers may be of two.
        """
        s = self.state
        s.doubtful = not complete
        if s.status & (BSY | DRQ | DF) or (s.status & ERR and s.error == UNC):
            self._token = None
            s.waiting = False
            self._fail(ICRC | ABRT)

    @property
    def sectors(self) -> int:
        """How many sectors the host may use."""
        return self.state.limit or self.disk.sectors

    # -- data -----------------------------------------------------------------------------------------

    def _block_done(self) -> None:
        """Go on when the host has taken or given all of a DRQ block."""
        s = self.state
        match s.job:
            case Job.WRITE:
                self._block_written()
            case Job.FILL:
                s.own_buffer = s.buffer
                self._finish()
            case Job.READ if s.position < len(s.buffer):
                self._offer()
            case Job.READ if s.remaining:
                self._submit()
            case _:
                # By PIO the last block needs no interrupt behind it.
                self._finish(interrupt=s.dma)

    def _block_written(self) -> None:
        s = self.state
        got = len(s.buffer) // SECTOR
        if got == min(s.remaining, self._chunk()):
            s.position = 0
            self._submit()
        else:
            self.transport.accept(min(s.block, s.remaining - got) * SECTOR, interrupt=True)

    def _offer(self) -> None:
        """Show the guest the next DRQ block of the buffer."""
        s = self.state
        left = len(s.buffer) - s.position
        self.transport.offer(left if s.dma else min(s.block * SECTOR, left), interrupt=not s.dma)

    def _accept(self, *, interrupt: bool) -> None:
        """Ask the guest for the first DRQ block of a chunk."""
        s = self.state
        s.buffer = bytearray()
        sectors = self._chunk() if s.dma else s.block
        self.transport.accept(min(sectors, s.remaining) * SECTOR, interrupt=interrupt and not s.dma)

    def _chunk(self) -> int:
        # A block lies in one chunk: their sizes are powers of two.
        return DMA_CHUNK if self.state.dma else CHUNK

    # -- the medium -----------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Have the medium do the next chunk of the job."""
        s = self.state
        s.waiting = True
        if s.job != Job.WRITE:
            s.buffer = bytearray()
            s.position = 0
        self.transport.busy()
        self._ask()

    def _ask(self) -> None:
        """Ask the medium for what it is waited for."""
        s = self.state
        token = self._token = object()
        if s.job == Job.FLUSH:
            self.disk.submit(DiskFlush(lambda ok: self._stored(token, 0, ok)))
        elif s.job == Job.WRITE:
            length = SECTOR if s.single else len(s.buffer) - s.position
            with memoryview(s.buffer) as view:
                data = bytes(view[s.position : s.position + length])
            count = length // SECTOR
            self.disk.submit(DiskWrite(s.lba, data, lambda ok: self._stored(token, count, ok)))
        else:
            count = 1 if s.single else min(s.remaining, self._chunk())
            self.disk.submit(DiskRead(s.lba, count, lambda data: self._fetched(token, count, data)))

    def _fetched(self, token: object, count: int, data: bytes | None) -> None:
        if token is not self._token:
            return  # the command was given up meanwhile
        s = self.state
        if data is None:
            if count > 1:
                s.single = True
                self._ask()
                return
            s.waiting = False
            self._fail(UNC, s.lba)
            self.rearm()
            return
        s.lba += count
        s.remaining -= count
        if s.job == Job.READ:
            if s.buffer:
                s.buffer += data
            else:
                s.buffer = bytearray(data)
            if s.single and s.remaining and not s.dma and len(s.buffer) < s.block * SECTOR:
                self._ask()  # for the rest of a DRQ block
                return
        s.waiting = False
        if s.job == Job.READ:
            self._offer()
        elif s.remaining:
            self._submit()
        else:
            self._finish()
        self.rearm()

    def _stored(self, token: object, count: int, ok: bool) -> None:
        if token is not self._token:
            return
        s = self.state
        if not ok and count > 1:
            s.single = True
            self._ask()
            return
        if ok and s.job == Job.WRITE:
            s.lba += count
            s.remaining -= count
            s.position += count * SECTOR
            if s.position < len(s.buffer):
                self._ask()
                return
        s.waiting = False
        if not ok:
            self._fail(ABRT, s.lba if s.job == Job.WRITE else None, status=DF)
        elif s.remaining:
            self._accept(interrupt=True)
        elif s.job == Job.WRITE and s.through:
            s.set_address(s.lba - 1, extended=s.extended)
            s.set_count(0, extended=s.extended)
            s.job = Job.FLUSH
            s.waiting = True
            self._ask()
        else:
            self._finish()
        self.rearm()

    # -- commands -------------------------------------------------------------------------------------

    def command(self, code: int) -> None:
        """Execute a command. The channel has cleared `interrupt`."""
        s = self.state
        if s.power == Power.ASLEEP:
            return  # only a reset wakes it (6.9)
        self._token = None
        was_extended = s.extended
        s.waiting = s.single = s.dma = s.through = s.extended = False
        s.job = Job.NONE
        s.buffer = bytearray()
        s.position = s.remaining = 0
        s.error = 0
        code = s.code = OLD_POWER.get(code, code)
        native_max_read, s.native_max_read = s.native_max_read, False
        now = self.clock.now()
        ata_smart.suspend_collection(s, now)
        if s.standby_after and now - s.active_at >= s.standby_after:
            s.power = Power.STANDBY
        s.active_at = now
        self.transport.busy()
        if s.doubtful:
            s.doubtful = False
            self._fail(ICRC | ABRT)
            return
        if code in TRANSFERS:
            self._begin(*TRANSFERS[code])
            return
        match code:
            case Command.IDENTIFY:
                self._send(identify(self._identity()))
            case Command.FLUSH | Command.FLUSH_EXT:
                s.job = Job.FLUSH
                self._submit()
            case Command.INITIALIZE_PARAMETERS if s.count:
                s.heads = (s.device & DEV_HEAD) + 1
                s.track = s.count
                self._finish()
            case Command.SET_MULTIPLE if s.count <= MAX_MULTIPLE and not s.count & s.count - 1:
                s.multiple = s.count
                self._finish()
            case Command.SET_MULTIPLE:
                s.multiple = 0  # a refusal disables READ and WRITE MULTIPLE
                self._fail(ABRT)
            case Command.SET_FEATURES:
                self._set_features()
            case Command.READ_NATIVE_MAX | Command.READ_NATIVE_MAX_EXT:
                s.extended = code == Command.READ_NATIVE_MAX_EXT
                s.native_max_read = True
                self._show_max(self.disk.sectors)
            case Command.SET_MAX | Command.SET_MAX_EXT:
                s.extended = code == Command.SET_MAX_EXT
                self._set_max(allowed=native_max_read and was_extended == s.extended)
            case Command.SMART:
                self._smart()
            case Command.READ_BUFFER:
                self._send(bytes(s.own_buffer))
            case Command.WRITE_BUFFER:
                s.job = Job.FILL
                self.transport.accept(SECTOR, interrupt=False)
            case (
                Command.CHECK_POWER
                | Command.STANDBY
                | Command.STANDBY_IMMEDIATE
                | Command.SLEEP
                | Command.IDLE
                | Command.IDLE_IMMEDIATE
            ):
                self._change_power(code)
            case _ if code & 0xF0 == Command.RECALIBRATE:
                self._finish()
            case _ if code & 0xF0 == Command.SEEK:
                lba = s.address(extended=False)
                if 0 <= lba < self.sectors:
                    self._finish()
                else:
                    self._fail(IDNF)
            case _:
                self._fail(ABRT)

    def _begin(self, job: int, how: int, extended: bool, through: bool) -> None:
        s = self.state
        block = s.multiple if how == MULTIPLE else 1
        if not block or (job == Job.WRITE and self.disk.readonly):
            self._fail(ABRT)
            return
        count = s.count | (s.previous[1] << 8 if extended else 0)
        s.extended = extended
        s.remaining = count or (0x1_0000 if extended else 0x100)
        s.lba = s.address(extended=extended)
        if s.lba < 0:
            self._fail(IDNF)
            return
        if s.lba + s.remaining > self.sectors:
            first = max(s.lba, self.sectors)  # that is not there
            s.remaining -= first - s.lba
            self._fail(IDNF, first)
            return
        s.power = Power.ACTIVE
        s.job = job
        s.block = block
        s.dma = how == DMA
        s.through = through or not s.write_cache
        if job == Job.WRITE:
            self._accept(interrupt=False)
        else:
            self._submit()

    def _send(self, data: bytes) -> None:
        """Give the host data that is not the medium's."""
        s = self.state
        s.job = Job.DATA
        s.buffer = bytearray(data)
        s.position = 0
        self.transport.offer(len(data))

    def _finish(self, *, interrupt: bool = True) -> None:
        s = self.state
        ata_smart.resume_collection(s, self.clock.now())
        if s.job in (Job.READ, Job.WRITE, Job.VERIFY):
            s.set_address(s.lba - 1, extended=s.extended)
            s.set_count(0, extended=s.extended)
        s.job = Job.NONE
        s.buffer = bytearray()
        s.position = s.block_end = 0
        if interrupt:
            self.transport.present(READY, interrupt=True)
        else:
            s.status = READY
            self.changed()

    def _fail(self, error: int, lba: int | None = None, *, status: int = 0) -> None:
        s = self.state
        if lba is not None:
            s.set_address(lba, extended=s.extended)
            s.set_count(s.remaining, extended=s.extended)
        s.job = Job.NONE
        s.buffer = bytearray()
        s.position = s.block_end = 0
        s.error = error
        ata_smart.resume_collection(s, self.clock.now())
        ata_smart.note_error(s, READY | ERR | status, self._hours())
        self.transport.present(READY | ERR | status, interrupt=True)

    def _set_features(self) -> None:
        s = self.state
        match s.features:
            case Feature.WRITE_CACHE:
                s.write_cache = True
            case Feature.NO_WRITE_CACHE:
                s.write_cache = False
                s.job = Job.FLUSH  # what it has goes to the medium first
                self._submit()
                return
            case Feature.TRANSFER_MODE if s.count <= 1 or 0x08 <= s.count <= 0x0C:
                pass  # PIO: the default mode, or flow control modes 0 to 4
            case Feature.TRANSFER_MODE if 0x20 <= s.count <= 0x22 or 0x40 <= s.count <= 0x45:
                s.mode = s.count  # multiword DMA 0 to 2, ultra DMA 0 to 5
            case Feature.LOOK_AHEAD | Feature.NO_LOOK_AHEAD:
                s.look_ahead = s.features == Feature.LOOK_AHEAD
            case Feature.KEEP_DEFAULTS | Feature.REVERT_DEFAULTS:
                s.keep_settings = s.features == Feature.KEEP_DEFAULTS
            case _:
                self._fail(ABRT)
                return
        self._finish()

    def _change_power(self, code: int) -> None:
        s = self.state
        match code:
            case Command.CHECK_POWER:
                s.count = s.power
            case Command.SLEEP:
                s.power = Power.ASLEEP
            case Command.STANDBY_IMMEDIATE:
                s.power = Power.STANDBY
            case Command.STANDBY:
                s.power, s.standby_after = Power.STANDBY, standby_timer(s.count)
            case Command.IDLE:
                s.power, s.standby_after = Power.ACTIVE, standby_timer(s.count)
            case _:
                s.power = Power.ACTIVE
        self._finish()

    # -- the host protected area (6.11) -----------------------------------------------------------------

    def _show_max(self, sectors: int) -> None:
        s = self.state
        lba = sectors - 1
        if not s.extended:
            lba = min(lba, LBA28_SECTORS if s.device & 0x40 else self._cylinders() * s.heads * s.track - 1)
        s.set_address(lba, extended=s.extended)
        self._finish()

    def _set_max(self, *, allowed: bool) -> None:
        s = self.state
        lba = s.address(extended=s.extended)
        if not s.extended and s.features:
            self._fail(ABRT)  # passwords and locks
        elif not allowed:
            self._fail(ABRT)
        elif not 0 <= lba < self.disk.sectors:
            self._fail(IDNF)
        else:
            s.limit = 0 if lba + 1 == self.disk.sectors else lba + 1
            if s.count & 1:  # it shall outlast the power
                s.kept_limit = s.limit
            self._finish()

    # -- SMART ------------------------------------------------------------------------------------------

    def _smart(self) -> None:
        s = self.state
        data = ata_smart.perform(s, self._hours())
        if data is None:
            self._fail(ABRT)
        elif data:
            self._send(data)
        else:
            self._finish()

    def _hours(self) -> int:
        return self.clock.now() // (3600 * NS_PER_S)

    # -- identity ---------------------------------------------------------------------------------------

    def _identity(self) -> Identity:
        s = self.state
        return Identity(
            sectors=self.sectors,
            serial=self.serial,
            geometry=(self._cylinders(), s.heads, s.track),
            multiple=s.multiple,
            write_cache=s.write_cache,
            look_ahead=s.look_ahead,
            smart=s.smart,
            mode=s.mode,
            reset_result=self.reset_result,
        )

    def _cylinders(self) -> int:
        """Return the cylinders of the translation in effect."""
        s = self.state
        if (s.heads, s.track) == default_geometry(self.sectors)[1:]:
            return default_geometry(self.sectors)[0]
        return min(65535, self.sectors // (s.heads * s.track))


def standby_timer(count: int) -> int:
    """Return the ns that a timer period of STANDBY and IDLE means (table 24); 0: none."""
    match count:
        case 0:
            seconds = 0
        case _ if count <= 240:
            seconds = 5 * count
        case _ if count <= 251:
            seconds = 1800 * (count - 240)
        case 252:
            seconds = 21 * 60
        case 255:
            seconds = 21 * 60 + 15
        case _:
            seconds = 8 * 3600
    return seconds * NS_PER_S
