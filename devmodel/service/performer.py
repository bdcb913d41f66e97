# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""Performs a guest's requests on a board, and answers them: what every access passes on its way to a chip.

Between a request and its answer nothing awaits, unless a chip asked something of the core, and then the access itself
is done already: so an access is atomic.
"""

import struct
from collections.abc import Callable, Sized
from time import monotonic_ns
from typing import Final, Protocol

import cython
import structlog

from devmodel.board.bus import Bus
from devmodel.board.device import ONES, Device, StringDevice
from ioreq.buffered import RingConsumer
from ioreq.layout import (
    BUFFERED_SLOTS,
    NO_INTERRUPT,
    TYPE_COPY,
    TYPE_INTACK,
    TYPE_INVALIDATE,
    TYPE_PCI_CONFIG,
    TYPE_PIO,
)
from ioreq.request import Request
from ioreq.server import VcpuChannel

log = structlog.get_logger()

SAMPLE: Final = 61
"""One request in so many is timed: a prime, so that it is not the same one of a loop every time."""
_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
# C numbers where this is compiled.
_ALL = cython.declare(cython.ulonglong, ONES[8])
_PIO = cython.declare(cython.int, TYPE_PIO)
_COPY = cython.declare(cython.int, TYPE_COPY)


class Target(Protocol):
    """Whom requests are performed on."""

    @property
    def bus(self) -> Bus:
        """Who answers where."""
        ...

    @property
    def pci_config(self) -> Device:
        """Who answers PCI_CONFIG requests: the offset is the request's address."""
        ...

    def acknowledge(self) -> int | None:
        """Answer an interrupt-acknowledge cycle with a vector; None if INTR is low."""
        ...

    def acknowledged(self, vector: int) -> None:
        """Take note that the processor has taken the vector that the board showed."""
        ...


class Ram(Protocol):
    """The guest's memory, which data pointers are to."""

    def load(self, address: int, length: int) -> bytes:
        """Return `length` bytes."""
        ...

    def store(self, address: int, data: bytes) -> object:
        """Store bytes."""
        ...


class Performer:
    """Performs requests on a board."""

    def __init__(self, board: Target, ram: Ram) -> None:
        self._board = board
        self._ram = ram
        self._ports = board.bus.pio
        self._memory = board.bus.memory
        self._acknowledged = board.acknowledged
        self.posted = Request()
        """The posted write that is performed, or was last."""

    def perform(self, request: Request) -> int:
        """Do one request, and return the data to answer."""
        type_ = request.type
        if request.count == 1 and not request.data_is_ptr and type_ in (_PIO, _COPY):
            space = self._ports if type_ == _PIO else self._memory
            size = request.size
            if request.read:
                return space.read(request.address, size)
            space.write(request.address, size, request.data & _ALL >> 64 - 8 * size)
            return 0
        if type_ == TYPE_INTACK:
            vector = self._board.acknowledge()
            return NO_INTERRUPT if vector is None else vector
        if type_ in (TYPE_PIO, TYPE_COPY):
            return self._repeat(request)
        if type_ == TYPE_PCI_CONFIG and request.count == 1 and not request.data_is_ptr:
            return self._configure(request)
        if type_ == TYPE_INVALIDATE:
            return 0  # the core wanted what it had posted performed
        log.debug("server.request_ignored", type=type_, address=request.address)
        return ONES[request.size]

    def perform_posted(self, request: Request) -> None:
        """Do one posted write, or take note of an interrupt that the processor has taken."""
        type_ = request.type
        if type_ == _PIO:
            self._ports.write(request.address, request.size, request.data)
        elif type_ == _COPY:
            self._memory.write(request.address, request.size, request.data)
        else:
            self._acknowledged(request.data & 0xFF)

    def drain(self, ring: RingConsumer) -> None:
        """Do what was posted; at most a ring of it, then others get their turn."""
        request = self.posted
        for _ in range(BUFFERED_SLOTS):
            if not ring.take(request):
                return
            self.perform_posted(request)
        ring.finish()

    def _configure(self, request: Request) -> int:
        """Do a configuration access to a PCI function of ours, behind ports of another server."""
        config = self._board.pci_config
        if request.read:
            return config.read(request.address, request.size)
        config.write(request.address, request.size, request.data & ONES[request.size])
        return 0

    def _repeat(self, request: Request) -> int:
        """Do a string instruction's items. In memory the address steps, in ports not; a data pointer does."""
        size, count = request.size, request.count
        if request.type == TYPE_PIO and request.data_is_ptr and not request.descending:
            device = self._ports.strings(request.address, size)
            if device is not None:
                return self._string(request, *device)
        step = -size if request.descending else size
        space = self._ports if request.type == TYPE_PIO else self._memory
        address_step = 0 if request.type == TYPE_PIO else step
        addresses = [request.address + n * address_step & ONES[8] for n in range(count)]
        lowest = request.data + min(0, (count - 1) * step) & ONES[8]
        layout = f"<{count}{_FORMATS[size]}"
        if request.read:
            if request.data_is_ptr and request.type == TYPE_COPY and self._moved(request):
                return request.data
            values = [space.read(address, size) for address in addresses]
            if not request.data_is_ptr:
                return values[-1]
            self._ram.store(lowest, struct.pack(layout, *(values if step > 0 else reversed(values))))
            return request.data
        if request.data_is_ptr:
            values = list(struct.unpack(layout, self._ram.load(lowest, count * size)))
            if step < 0:
                values.reverse()
        else:
            values = [request.data & ONES[size]] * count
        for address, value in zip(addresses, values, strict=True):
            space.write(address, size, value)
        return request.data

    def _moved(self, request: Request) -> bool:
        """Move memory of devices, if the data pointer is to one of ours; False if it is to RAM.

        RAM has no hole where the window of a display is, so it is not asked first: the core knows which it means.
        """
        size, space = request.size, self._memory
        if space.find(request.data) is None:
            return False
        mover = space.mover(request.address, request.data)
        if mover is not None:
            device, source, destination = mover
            device.copy(source, destination, size, request.count, descending=request.descending)
            return True
        step = -size if request.descending else size
        for n in range(request.count):
            value = space.read(request.address + n * step & ONES[8], size)
            space.write(request.data + n * step & ONES[8], size, value)
        return True

    def _string(self, request: Request, device: StringDevice, offset: int) -> int:
        """Move a string between RAM and a device that takes it in one go."""
        size, count = request.size, request.count
        if request.read:
            self._ram.store(request.data, device.read_string(offset, size, count))
        else:
            device.write_string(offset, size, self._ram.load(request.data, size * count))
        return request.data


class Answerer:
    """Answers one vCPU's requests.

    `unsettled` is what chips have asked of the core and is not done: an answer waits for it. `answered` hears of each
    answer, `served` of one request in `SAMPLE` with the nanoseconds that it took; `failed` makes the exception that is
    raised where a chip has raised.
    """

    def __init__(
        self,
        performer: Performer,
        vcpu: VcpuChannel,
        unsettled: Sized,
        *,
        answered: Callable[[], None],
        served: Callable[[Request, int], None],
        failed: Callable[[Request], Exception],
    ) -> None:
        self._performer = performer
        self._vcpu = vcpu
        self._unsettled = unsettled
        self._answered = answered
        self._served = served
        self._failed = failed
        self._left = SAMPLE
        self._value = 0

    def answer(self, request: Request) -> bool:
        """Perform a request and answer it; False if the answer has to wait, for `finish`."""
        self._left -= 1
        try:
            if self._left:
                self._value = self._performer.perform(request)
            else:
                self._left = SAMPLE
                before = monotonic_ns()
                self._value = self._performer.perform(request)
                self._served(request, monotonic_ns() - before)
        except Exception as error:
            raise self._failed(request) from error
        if self._unsettled:
            return False
        self.finish()
        return True

    def finish(self) -> None:
        """Answer: what the access brought about is done."""
        self._vcpu.respond(self._value)
        self._answered()
