"""An ATA hard disk behind its registers (ATA/ATAPI-6, T13/1410D): PIO, multiple, LBA28, LBA48 and CHS.

The drive is `AtaDisk`; the channel that selects it is in `ide`. The medium answers later through a `Disk`,
with BSY set meanwhile. Sectors are fetched and stored in chunks, so that a guest which takes them one at a
time does not wait for the medium each time; a write is done when its last chunk is.
Not modelled: DMA, SMART, security, host protected area, read and write buffer, how long a disk takes.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.device import ONES, Disk, DiskFlush, DiskRead, DiskWrite
from devmodel.devices.ata_identify import MAX_MULTIPLE, default_geometry, identify
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
)

CHUNK: Final = 128  # sectors


@attrs.define(kw_only=True)
class AtaDisk:
    """One hard disk. `changed` tells the channel that `state.interrupt` or `state.status` may have changed."""

    disk: Disk
    serial: str
    changed: Callable[[], None]
    state: AtaState = attrs.field(factory=AtaState)
    _token: object = None

    def __attrs_post_init__(self) -> None:
        if self.state.waiting:  # restored while the medium worked: ask it again
            self._submit()

    def reset(self) -> None:
        """Do a hardware or software reset: the signature, and whatever was going on is forgotten."""
        self._token = None
        old = self.state
        self.state = AtaState(heads=old.heads, track=old.track, write_cache=old.write_cache)

    def diagnose(self) -> None:
        """EXECUTE DEVICE DIAGNOSTIC: passed."""
        multiple, power = self.state.multiple, self.state.power
        self.reset()
        self.state.multiple, self.state.power = multiple, power

    def recover(self, *, complete: bool) -> None:
        """Give up the command under way: the guest may be further on with it, and must ask again.

        An interface error says so. If what the guest has written since is not `complete`, the next command is refused
        likewise, since its registers may be of two.
        """
        s = self.state
        s.doubtful = not complete
        if s.status & (BSY | DRQ) or (s.status & ERR and s.error == UNC):
            self._token = None
            s.waiting = False
            self._fail(ICRC | ABRT)

    # -- the data port ------------------------------------------------------------------------------------

    def read_data(self, size: int) -> int:
        """Take `size` bytes of the DRQ block."""
        s = self.state
        if not s.status & DRQ or s.job == Job.WRITE:
            return ONES.get(size, 0)
        begin = s.position
        end = s.position = min(begin + size, s.block_end)
        value = int.from_bytes(s.buffer[begin:end], "little")
        if end == s.block_end:
            self._block_read()
        return value

    def read_string(self, size: int, count: int) -> bytes:
        """Take `count` units of `size` bytes, from as many DRQ blocks as are ready; ones when no more is."""
        parts: list[bytes | bytearray] = []
        s = self.state
        length = size * count
        while length and s.status & DRQ and s.job != Job.WRITE:
            begin = s.position
            if (s.block_end - begin) % size:
                # Somebody has read bytes; and a unit does not reach into the next block.
                parts.append(self.read_data(size).to_bytes(size, "little"))
                length -= size
                continue
            end = s.position = min(begin + length, s.block_end)
            parts.append(s.buffer[begin:end])
            length -= end - begin
            if end == s.block_end:
                self._block_read()
        return b"".join(parts) + b"\xff" * length

    def write_data(self, size: int, value: int) -> None:
        """Put `size` bytes into the DRQ block."""
        s = self.state
        if not s.status & DRQ or s.job != Job.WRITE:
            return
        s.buffer += value.to_bytes(size, "little")
        if len(s.buffer) >= s.block_end:
            del s.buffer[s.block_end :]
            self._block_written()

    def write_string(self, size: int, data: bytes) -> None:
        """Put units of `size` bytes into as many DRQ blocks as are asked for."""
        s = self.state
        while data and s.status & DRQ and s.job == Job.WRITE:
            room = s.block_end - len(s.buffer)
            if room % size:
                self.write_data(size, int.from_bytes(data[:size], "little"))
                data = data[size:]
                continue
            s.buffer += data[:room]
            data = data[room:]
            if len(s.buffer) >= s.block_end:
                self._block_written()

    def _block_read(self) -> None:
        s = self.state
        if s.position < len(s.buffer):
            s.block_end = min(s.position + s.block * SECTOR, len(s.buffer))
            s.interrupt = True
            self.changed()
        elif s.remaining:
            self._submit()
        else:
            self._finish(interrupt=False)

    def _block_written(self) -> None:
        s = self.state
        got = len(s.buffer) // SECTOR
        if got == min(s.remaining, CHUNK):
            self._submit()
            return
        s.block_end += min(s.block, s.remaining - got) * SECTOR
        s.interrupt = True
        self.changed()

    # -- the medium ---------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Ask the medium for the next chunk of the job."""
        s = self.state
        s.status = BSY | READY
        s.waiting = True
        self.changed()
        token = self._token = object()
        count = min(s.remaining, CHUNK)
        if s.job == Job.WRITE:
            self.disk.submit(DiskWrite(s.lba, bytes(s.buffer), lambda ok: self._stored(token, ok)))
        elif s.job == Job.FLUSH:
            self.disk.submit(DiskFlush(lambda ok: self._stored(token, ok)))
        else:
            self.disk.submit(DiskRead(s.lba, count, lambda data: self._fetched(token, data)))

    def _fetched(self, token: object, data: bytes | None) -> None:
        if token is not self._token:
            return  # the command was given up meanwhile
        s = self.state
        s.waiting = False
        if data is None:
            self._fail(UNC, s.lba)
            return
        count = min(s.remaining, CHUNK)
        s.lba += count
        s.remaining -= count
        if s.job == Job.READ:
            self._offer(data)
        elif s.remaining:
            self._submit()
        else:
            self._finish()

    def _stored(self, token: object, ok: bool) -> None:
        if token is not self._token:
            return
        s = self.state
        s.waiting = False
        if not ok:
            self._fail(ABRT, s.lba, status=DF)
            return
        count = min(s.remaining, CHUNK)
        s.lba += count
        s.remaining -= count
        if s.remaining:
            self._accept()
            s.interrupt = True
            self.changed()
        else:
            self._finish()

    # -- commands -----------------------------------------------------------------------------------------

    def command(self, code: int) -> None:
        """Execute a command. The channel has cleared `interrupt`."""
        s = self.state
        self._token = None
        s.waiting = False
        s.job = Job.NONE
        s.status = READY
        s.error = 0
        s.lba = 0
        if s.doubtful:
            s.doubtful = False
            self._fail(ICRC | ABRT)
            return
        code = OLD_POWER.get(code, code)
        match code:
            case Command.READ_SECTORS | Command.READ_SECTORS_NORETRY | Command.READ_SECTORS_EXT:
                self._begin(Job.READ, code == Command.READ_SECTORS_EXT, 1)
            case Command.READ_MULTIPLE | Command.READ_MULTIPLE_EXT:
                self._begin(Job.READ, code == Command.READ_MULTIPLE_EXT, s.multiple)
            case Command.WRITE_SECTORS | Command.WRITE_SECTORS_NORETRY | Command.WRITE_VERIFY:
                self._begin(Job.WRITE, False, 1)
            case Command.WRITE_SECTORS_EXT:
                self._begin(Job.WRITE, True, 1)
            case Command.WRITE_MULTIPLE | Command.WRITE_MULTIPLE_EXT:
                self._begin(Job.WRITE, code == Command.WRITE_MULTIPLE_EXT, s.multiple)
            case Command.READ_VERIFY | Command.READ_VERIFY_NORETRY | Command.READ_VERIFY_EXT:
                self._begin(Job.VERIFY, code == Command.READ_VERIFY_EXT, 1)
            case Command.IDENTIFY:
                geometry = (self._cylinders(), s.heads, s.track)
                raw = identify(self.disk.sectors, self.serial, geometry, s.multiple, s.write_cache)
                s.job = Job.READ
                s.remaining = 0
                s.block = 1
                self._offer(raw)
            case Command.FLUSH | Command.FLUSH_EXT:
                s.job = Job.FLUSH
                s.remaining = 0
                self._submit()
            case Command.INITIALIZE_PARAMETERS if s.count:
                s.heads = (s.device & DEV_HEAD) + 1
                s.track = s.count
                self._finish()
            case Command.SET_MULTIPLE if s.count <= MAX_MULTIPLE and not s.count & s.count - 1:
                s.multiple = s.count
                self._finish()
            case Command.SET_FEATURES:
                self._set_features()
            case Command.CHECK_POWER:
                s.count = s.power
                self._finish()
            case Command.STANDBY | Command.STANDBY_IMMEDIATE | Command.SLEEP:
                s.power = 0
                self._finish()
            case Command.IDLE | Command.IDLE_IMMEDIATE:
                s.power = 0xFF
                self._finish()
            case _ if code & 0xF0 == Command.RECALIBRATE:
                self._finish()
            case _ if code & 0xF0 == Command.SEEK:
                lba = s.address(extended=False)
                if 0 <= lba < self.disk.sectors:
                    self._finish()
                else:
                    self._fail(IDNF)
            case _:
                self._fail(ABRT)

    def _begin(self, job: int, extended: bool, block: int) -> None:
        s = self.state
        if not block or (job == Job.WRITE and self.disk.readonly):
            self._fail(ABRT)
            return
        count = s.count | (s.previous[1] << 8 if extended else 0)
        s.remaining = count or (0x1_0000 if extended else 0x100)
        s.lba = s.address(extended=extended)
        if s.lba < 0 or s.lba + s.remaining > self.disk.sectors:
            self._fail(IDNF)
            return
        s.power = 0xFF
        s.job = job
        s.block = block
        if job == Job.WRITE:
            self._accept()
        else:
            self._submit()

    def _offer(self, data: bytes) -> None:
        """Show the guest the first DRQ block of `data`."""
        s = self.state
        s.buffer = bytearray(data)
        s.position = 0
        s.block_end = min(s.block * SECTOR, len(data))
        s.status = READY | DRQ
        s.interrupt = True
        self.changed()

    def _accept(self) -> None:
        """Ask the guest for the first DRQ block of a chunk."""
        s = self.state
        s.buffer = bytearray()
        s.block_end = min(s.block, s.remaining) * SECTOR
        s.status = READY | DRQ

    def _finish(self, *, interrupt: bool = True) -> None:
        s = self.state
        if s.job in {Job.READ, Job.WRITE, Job.VERIFY} and s.lba:
            s.set_address(s.lba - 1)
            s.count = 0
        s.job = Job.NONE
        s.buffer = bytearray()
        s.lba = 0
        s.status = READY
        if interrupt:
            s.interrupt = True
        self.changed()

    def _fail(self, error: int, lba: int | None = None, *, status: int = 0) -> None:
        s = self.state
        if lba is not None:
            s.set_address(lba)
            s.count = s.remaining & 0xFF
        s.job = Job.NONE
        s.buffer = bytearray()
        s.status = READY | ERR | status
        s.error = error
        s.interrupt = True
        self.changed()

    def _set_features(self) -> None:
        s = self.state
        match s.features:
            case Feature.WRITE_CACHE | Feature.NO_WRITE_CACHE:
                s.write_cache = s.features == Feature.WRITE_CACHE
            case Feature.TRANSFER_MODE if s.count <= 1 or 0x08 <= s.count <= 0x0C:
                pass  # PIO: the default mode, or flow control modes 0 to 4
            case Feature.LOOK_AHEAD | Feature.NO_LOOK_AHEAD:
                pass
            case Feature.KEEP_DEFAULTS | Feature.REVERT_DEFAULTS:
                pass
            case _:
                self._fail(ABRT)
                return
        self._finish()

    # -- addresses ----------------------------------------------------------------------------------------

    def _cylinders(self) -> int:
        """Return the cylinders of the translation in effect."""
        s = self.state
        if (s.heads, s.track) == default_geometry(self.disk.sectors)[1:]:
            return default_geometry(self.disk.sectors)[0]
        return min(65535, self.disk.sectors // (s.heads * s.track))
