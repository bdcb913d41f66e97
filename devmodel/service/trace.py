"""A trace of the requests that a server answers: `--trace FILE` writes it, `devmodel trace FILE` reads it back.

The file is a line that says what it is, a line of JSON that describes the board (`Header`), and records of 32 bytes:

    0   8  when, in nanoseconds since the trace began
    8   8  address: a port, a guest-physical address, or a PCI_CONFIG request's
    16  8  value; with POINTER the guest-physical address of the items
    24  4  repetitions
    28  2  flags: READ, POSTED, POINTER, DESCENDING
    30  1  type: that of the ioreq, LOST or MOVED
    31  1  size of an item in bytes

Of LOST, `address` is how many records are missing here. MOVED says where from here on the mappings are that the guest
can move: `value` bytes of JSON, a list of `MappedRange`, fill the next records, as many as `repetitions` says.

The event loop fills buffers, and a thread writes them. When it cannot keep up, whole buffers are dropped and counted: a
trace never makes the memory grow, and never lets the guest wait for a disk.
"""

import contextlib
import os
import struct
import threading
import time
from collections.abc import Iterator
from queue import Full, Queue
from typing import BinaryIO, Final

import attrs
import msgspec
import structlog
import trio

from devmodel import ConfigError, DevmodelError
from devmodel.board.bus import Bus
from devmodel.board.registers import names_of
from ioreq import user_input
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PCI_CONFIG, TYPE_PIO

log = structlog.get_logger()

MAGIC: Final = b"devmodel trace 2\n"
RECORD: Final = struct.Struct("<QQQIHBB")
BUFFER: Final = 2048 * RECORD.size
QUEUED: Final = 64
"""Buffers that may wait for the disk: 4 MiB."""
FLUSH: Final = 0.2
"""Seconds that a record is kept back at most."""
MAX_HEADER: Final = 1 << 20

READ: Final = 0x01
POSTED: Final = 0x02
POINTER: Final = 0x04
DESCENDING: Final = 0x08
LOST: Final = 0xFF
MOVED: Final = 0xFE

SPACES: Final = {TYPE_PIO: "port", TYPE_COPY: "memory", TYPE_PCI_CONFIG: "pci", TYPE_INTACK: "interrupt"}

_pack = RECORD.pack_into
_now = time.monotonic_ns


class MappedRange(msgspec.Struct, frozen=True):
    """What is mapped at `first` to `last` of a space, and the names of its registers by offset.

    A `movable` one is where the guest has put it: a PCI function's.
    """

    space: str
    first: int
    last: int
    name: str
    registers: dict[int, str] = {}
    movable: bool = False


class Header(msgspec.Struct, frozen=True):
    """What the reader must know of the board. `started` is in seconds since 1970."""

    machine: str
    started: float
    ranges: list[MappedRange]


def create(path: str) -> BinaryIO:
    """Make the file of a trace.

    Raises:
        ConfigError: it cannot be written.

    """
    try:
        return user_input.create(path)
    except OSError as error:
        raise ConfigError(f"trace {path}: {error.strerror}") from error


def ranges_of(bus: Bus) -> list[MappedRange]:
    """Describe what a bus maps."""
    spaces = (("port", bus.pio), ("memory", bus.memory))
    return [
        MappedRange(name, m.first, m.last, m.name, names_of(m.name), m.movable)
        for name, space in spaces
        for m in space.mappings
    ]


class Recorder:
    """Writes a trace. `record` and `flush` are for one thread, the event loop's."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        """Begin a trace in a file, which is closed with it."""
        self._file = file
        self._buffer = bytearray(BUFFER)
        self._at = 0
        self._lost = 0
        self._moved: bytes = msgspec.json.encode([r for r in header.ranges if r.movable])
        self._started = _now()
        self._full: Queue[bytes | None] = Queue(QUEUED)
        self._failed = False
        file.write(MAGIC + msgspec.json.encode(header) + b"\n")
        self._thread = threading.Thread(target=self._write, name="trace", daemon=True)
        self._thread.start()

    def record(self, type_: int, address: int, value: int, size: int, flags: int, count: int = 1) -> None:
        """Note one request."""
        at = self._at
        _pack(self._buffer, at, _now() - self._started, address, value, count, flags, type_, size)
        self._at = at + RECORD.size
        if self._at == BUFFER:
            self.flush()

    def follow(self, ranges: list[MappedRange]) -> None:
        """Note where the movable ones of all ranges are now."""
        moved = msgspec.json.encode([r for r in ranges if r.movable])
        if moved != self._moved:
            self._moved = moved
            self._tell_moved()

    def _tell_moved(self) -> None:
        """Write a MOVED record and what belongs to it into one buffer, so that no part of it can be dropped."""
        records = -(-len(self._moved) // RECORD.size)
        length = RECORD.size * (1 + records)
        if length >= BUFFER:
            return  # hundreds of windows: more than a bus has slots for
        if self._at + length >= BUFFER:
            self.flush()
        self.record(MOVED, 0, len(self._moved), 0, 0, records)
        self._buffer[self._at : self._at + RECORD.size * records] = self._moved.ljust(RECORD.size * records)
        self._at += RECORD.size * records

    def flush(self) -> None:
        """Hand over what is there, or drop it if the disk is too slow."""
        if not self._at:
            return
        try:
            self._full.put_nowait(bytes(self._buffer[: self._at]))
        except Full:
            self._lost += self._at // RECORD.size
            self._at = 0
            return
        self._at = 0
        if self._lost:
            lost, self._lost = self._lost, 0
            self.record(LOST, lost, 0, 0, 0)
            self._tell_moved()  # something may have moved meanwhile

    async def keep_flushed(self) -> None:
        """Flush now and then, so that a quiet machine's trace is in the file as well. Cancel to stop."""
        while True:
            await trio.sleep(FLUSH)
            self.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.flush()
        self._full.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (data := self._full.get()) is not None:
            if not self._failed:
                self._put(data)
        try:
            self._file.close()  # which tries once more to write what it could not
        except OSError as error:
            self._fail(error)

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Give the trace up, and say so once: a full disk is no bug of ours."""
        if not self._failed:
            self._failed = True
            log.error("trace.failed", why=error.strerror)


@attrs.frozen
class Event:
    """One record, read back; `seconds` since the trace began, `register` empty if it has no name."""

    seconds: float
    space: str
    device: str
    register: str
    address: int
    size: int
    count: int
    read: bool
    posted: bool
    pointer: bool
    descending: bool
    value: int
    lost: int = 0


@attrs.frozen(kw_only=True)
class Filter:
    """Which events are wanted; None and empty let pass."""

    device: str | None = None
    ports: tuple[int, int] | None = None
    read: bool | None = None
    since: float = 0.0
    until: float = float("inf")


class Trace:
    """A trace's reader; iterate it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read the header.

        Raises:
            DevmodelError: this is no trace.

        """
        self._file = file
        self.name = name
        try:
            if file.readline(len(MAGIC)) != MAGIC:
                raise DevmodelError(f"{name}: not a trace of `devmodel serve --trace`")
            self.header = msgspec.json.decode(file.readline(MAX_HEADER), type=Header)
        except msgspec.DecodeError as error:
            raise DevmodelError(f"{name}: not a trace of `devmodel serve --trace`: {error}") from error
        self._ranges = list(self.header.ranges)
        self._seen = {r.name for r in self._ranges}
        self._found: dict[tuple[str, int], tuple[str, str]] = {}

    def __iter__(self) -> Iterator[Event]:
        """Yield every event; a record that was cut off ends them."""
        moved, length = bytearray(), 0  # what a MOVED record has of the next ones, and will have
        while data := self._file.read(BUFFER):
            whole = len(data) - len(data) % RECORD.size
            for at, (when, address, value, count, flags, type_, size) in enumerate(
                RECORD.iter_unpack(data[:whole])
            ):
                if len(moved) < length:
                    moved += data[at * RECORD.size : (at + 1) * RECORD.size]
                    if len(moved) >= length:
                        self._move(bytes(moved[:length]))
                    continue
                if type_ == MOVED:
                    moved, length = bytearray(), value
                    continue
                space = SPACES.get(type_, f"type {type_}")
                if type_ == LOST:
                    yield Event(
                        when / 1e9, "lost", "", "", 0, 0, 0, False, False, False, False, 0, lost=address
                    )
                    continue
                device, register = self._name(space, address)
                yield Event(
                    seconds=when / 1e9,
                    space=space,
                    device=device,
                    register=register,
                    address=address,
                    size=size,
                    count=count,
                    read=bool(flags & READ),
                    posted=bool(flags & POSTED),
                    pointer=bool(flags & POINTER),
                    descending=bool(flags & DESCENDING),
                    value=value,
                )

    def select(self, wanted: Filter) -> Iterator[Event]:
        """Yield the events that a filter lets pass, and where some are lost.

        Raises:
            ConfigError: at the end, if there never was a device of the name that is asked for.

        """
        for event in self:
            if not wanted.since <= event.seconds <= wanted.until:
                continue
            if event.lost:
                yield event
                continue
            if wanted.device is not None and not _is_of(event.device, wanted.device):
                continue
            if wanted.read is not None and event.read != wanted.read:
                continue
            if wanted.ports is not None and not (
                event.space == "port"
                and event.address <= wanted.ports[1]
                and wanted.ports[0] < event.address + event.size
            ):
                continue
            yield event
        if wanted.device is not None:  # a device may have been put somewhere late
            self._check_device(wanted.device)

    def _check_device(self, device: str) -> None:
        if not any(_is_of(name, device) for name in self._seen):
            raise ConfigError(
                f"no device '{device}' in {self.name}; allowed: {', '.join(sorted(self._seen))}"
            )

    def _move(self, moved: bytes) -> None:
        """Read where movable mappings are from now on."""
        try:
            ranges = msgspec.json.decode(moved, type=list[MappedRange])
        except msgspec.DecodeError as error:
            raise DevmodelError(f"{self.name}: damaged, where mappings moved: {error}") from error
        self._ranges = [r for r in self._ranges if not r.movable] + ranges
        self._seen |= {r.name for r in ranges}
        self._found.clear()

    def _name(self, space: str, address: int) -> tuple[str, str]:
        found = self._found.get((space, address))
        if found is None:
            found = ("", "")
            for m in self._ranges:
                if m.space == space and m.first <= address <= m.last:
                    found = (m.name, m.registers.get(address - m.first, ""))
            if len(self._found) < 1 << 16:
                self._found[space, address] = found
        return found


def _is_of(name: str, device: str) -> bool:
    """Whether a mapping belongs to a device that a user names: `ide0 control` is of `ide0`."""
    return name == device or name.startswith(f"{device} ")


@contextlib.contextmanager
def open_trace(path: str) -> Iterator[Trace]:
    """Open a trace for the block.

    Raises:
        ConfigError: there is no such file.
        DevmodelError: it is no trace.

    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(user_input.open_regular(path))
        except OSError as error:
            raise ConfigError(f"trace {path}: {error.strerror}") from error
        yield Trace(file, os.path.basename(path))


def line(event: Event) -> str:
    """Return an event as a line of text."""
    when = f"{event.seconds:14.9f}"
    if event.lost:
        return f"{when}  {event.lost} requests are missing here"
    way = "read" if event.read else "write"
    if event.posted:
        way = "posted"
    if event.space == "interrupt":
        return f"{when}  {'acknowledge':28} {way:7} vector {event.value:#04x}"
    where = f"{event.device} {event.register}".strip() or event.space
    value = f"{event.value:#0{2 + 2 * event.size}x}"
    if event.pointer:
        value = f"{event.count} x {event.size} bytes at {event.value:#x}{' down' if event.descending else ''}"
    elif event.count != 1:
        value = f"{event.count} x {value}"
    return f"{when}  {where:28} {way:7} {event.address:#06x}.{event.size}  {value}"
