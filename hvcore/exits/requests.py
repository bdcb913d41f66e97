# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""I/O request notification: an access becomes an ioreq to the server that claims it, and comes back answered.

One `Requests` a vCPU, used by its thread alone. A request that nobody claims reads ones, and a write is
dropped. The path of a single port access is the hot one: it reuses one `Request`, and looks one table up.
"""

from collections.abc import Callable
from time import monotonic_ns
from typing import Final

import cython
import structlog

from hvcore.routing import CONFIG_ADDRESS, Range, Routing
from hvcore.tally import SAMPLE, Tally
from ioreq import ProtocolError
from ioreq.layout import (
    NO_INTERRUPT,
    ONES,
    PIN_COALESCES,
    PIN_VECTOR_SHIFT,
    PIN_VECTOR_VALID,
    TYPE_COPY,
    TYPE_INTACK,
    TYPE_INVALIDATE,
    TYPE_PCI_CONFIG,
    TYPE_PIO,
)
from ioreq.mirror import ASK
from ioreq.request import Request

_ADDRESS = cython.declare(cython.ulonglong, CONFIG_ADDRESS)  # C numbers where this is compiled
_PIO = cython.declare(cython.ulonglong, TYPE_PIO)
_SAMPLE = cython.declare(cython.int, SAMPLE)
CONFIG_DATA: Final = 0xCFC
CONFIG_ENABLE: Final = 1 << 31
NO_VECTOR: Final = -1
UNCLAIMED_LIMIT: Final = 4096
"""How many unclaimed addresses are remembered, and logged, once each."""

log = structlog.get_logger("hvcore.requests")


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """An interrupt that a posted write brought about comes before the access that is due; the guest tries again."""


class ConfigAddress:
    """The latch at 0xCF8, one a domain (PCI local bus specification 3.0, section 3.2.2.3.2)."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Requests:
    """One vCPU's way to the device models."""

    def __init__(
        self,
        routing: Routing,
        vcpu: int,
        config_address: ConfigAddress,
        *,
        completed: Callable[[], None],
        failed: Callable[[int, str], None],
    ) -> None:
        """`completed` runs after every synchronous request; `failed` hears who broke the rules."""
        self._routing = routing
        self._ports = routing.ports
        self._vcpu = vcpu
        self._config = config_address
        self._completed = completed
        self._failed = failed
        self._request = Request()
        self._single = Request()
        """For one item by value, the hot case: count 1, no pointer, no direction."""
        self.tally = tally = Tally()
        self._reads, self._mirrored_reads = tally.reads, tally.mirrored
        self._posted, self._writes = tally.posted, tally.writes
        self._left = SAMPLE
        self._unclaimed: set[tuple[str, int]] = set()
        self.acknowledger: Callable[[], Range | None] = lambda: None
        self.interruptible: Callable[[], bool] = lambda: False
        """Whether the guest would take an interrupt now."""
        self.pin: Callable[[], int] = lambda: 0
        """The INTR pin."""
        self.lower: Callable[[int], bool] = lambda _word: False
        """Lower it, if it still is what it was when it was looked at; whether it was."""

    # Ports

    def read_port(self, port: int, size: int) -> int:
        """IN of 1, 2 or 4 bytes."""
        claimed = self._ports[port]
        if claimed is None or port + size - 1 > claimed.last:
            if _ADDRESS <= port < _ADDRESS + 8:
                return self._read_config_port(port, size)
            claimed = self._routing.find_port(port, size)
            if claimed is None:
                self._nobody("port", port, size)
                return ONES[size]
        if size == 1 and claimed.mirror:
            value = self._mirrored(claimed, port)
            if value >= 0:
                self._mirrored_reads[port] += 1
                return value
        self._interrupts_first(claimed)
        self._reads[port] += 1
        return self._one(claimed, _PIO, port, size, True, 0)

    def write_port(self, port: int, size: int, value: int) -> None:
        """OUT of 1, 2 or 4 bytes."""
        claimed = self._ports[port]
        if claimed is None or port + size - 1 > claimed.last:
            if _ADDRESS <= port < _ADDRESS + 8:
                self._write_config_port(port, size, value)
                return
            claimed = self._routing.find_port(port, size)
            if claimed is None:
                self._nobody("port", port, size)
                return
        waits = not claimed.posted or (claimed.mirror and self._waits(claimed, port, size))
        cell = claimed.mirror + port - claimed.first if claimed.mirror else 0
        if not waits and self._post(claimed, _PIO, port, size, value, cell, True):
            self._posted[port] += 1
            return
        self._interrupts_first(claimed)
        self._writes[port] += 1
        self._one(claimed, _PIO, port, size, False, value)

    def port_block(self, port: int, size: int, count: int, read: bool, descending: bool, data: int) -> int:
        """`count` items between a port and RAM at guest-physical address `data`, where the first item lies.

        Returns how many items were done; -1 if nobody claims the port.
        """
        claimed = self._ports[port]
        if claimed is None or port + size - 1 > claimed.last:
            claimed = self._routing.find_port(port, size)
            if claimed is None:
                self._nobody("port", port, size)
                return -1
        self._interrupts_first(claimed)
        if read:
            self._reads[port] += 1
        else:
            self._writes[port] += 1
        return self._block(claimed, TYPE_PIO, port, size, count, read, descending, data, pointer=True)[0]

    # Memory

    def read_memory(self, address: int, size: int) -> int:
        """Load up to 8 bytes, cut into powers of two as the wire demands."""
        if size in {1, 2, 4, 8}:
            claimed = self._routing.find_memory(address, size)
            if claimed is None:
                self._nobody("memory", address, size)
                return ONES[size]
            claimed.reads += 1
            return self._one(claimed, TYPE_COPY, address, size, True, 0)
        part = 4 if size > 4 else 2  # of 3, 5, 6 or 7 bytes
        low = self.read_memory(address, part)
        return low | self.read_memory(address + part, size - part) << 8 * part

    def write_memory(self, address: int, size: int, value: int) -> None:
        """Store up to 8 bytes."""
        if size not in {1, 2, 4, 8}:
            part = 4 if size > 4 else 2
            self.write_memory(address, part, value & ONES[part])
            self.write_memory(address + part, size - part, value >> 8 * part)
            return
        claimed = self._routing.find_memory(address, size)
        if claimed is None:
            self._nobody("memory", address, size)
            return
        if claimed.posted and self._post(claimed, TYPE_COPY, address, size, value, 0, True):
            claimed.written += 1
            return
        claimed.writes += 1
        self._one(claimed, TYPE_COPY, address, size, False, value)

    def memory_block(
        self, address: int, size: int, count: int, read: bool, descending: bool, data: int, *, pointer: bool
    ) -> tuple[int, int]:
        """Move `count` items from `address` on, stepping by +-size; `data` is a value or a RAM address.

        Returns how many items were done and the last item's data; (-1, ones) if nobody claims all of it.
        """
        length = count * size
        claimed = self._routing.find_memory(address - (length - size if descending else 0), length)
        if claimed is None:
            return -1, ONES[size]
        if read:
            claimed.reads += 1
        else:
            claimed.writes += 1
        return self._block(claimed, TYPE_COPY, address, size, count, read, descending, data, pointer=pointer)

    def one_mover(self, source: int, destination: int) -> bool:
        """Whether both are in one range whose server moves memory within it: one that has a mirror page does."""
        claimed = self._routing.find_memory(source, 1)
        if claimed is None or claimed is not self._routing.find_memory(destination, 1):
            return False
        return bool(claimed.endpoint.mirrors)

    def before_memory(self, address: int, size: int) -> None:
        """Let interrupts in before an instruction accesses device memory: see `_interrupts_first`."""
        claimed = self._routing.find_memory(address, size)
        if claimed is not None:
            self._interrupts_first(claimed)

    def settle(self, claimed: Range) -> None:
        """Have a server perform what is posted to it, and have done what that asks of the core."""
        if not claimed.endpoint.dead:
            self._one(claimed, TYPE_INVALIDATE, 0, 1, True, 0)

    # Interrupts

    def _interrupts_first(self, claimed: Range) -> None:
        """Have what was posted performed before an access that waits, if the guest takes interrupts.

        In one process an interrupt that a write brings about is taken before the next instruction. If that one were
        asked for at once, the server would perform the write just before it, and the access could take away what
        the interrupt is about: IIR of a serial port, read behind a write to IER.

        Raises:
            Interrupted: the pin is high now; nothing was done.

        """
        endpoint = claimed.endpoint
        if endpoint.dead or self._idle(claimed) or not self.interruptible():
            return
        # It asks for nothing, but it is answered when all that was posted before it has been done.
        self._one(claimed, TYPE_INVALIDATE, 0, 1, True, 0)
        if self.pin():
            raise Interrupted

    def acknowledge(self, pin: Callable[[], int] = lambda: 0) -> int:
        """Run the interrupt-acknowledge cycle: the vector, or NO_VECTOR if INTR is low or nobody drives it.

        `pin` looks at the INTR pin. A pin that shows its vector needs no question, if nothing is in flight that may
        change it: the controller is told what was taken, and does what it would have done when asked.
        """
        claimed = self.acknowledger()
        if claimed is None:
            return NO_VECTOR
        self.tally.acknowledged += 1
        if claimed.posted and self._idle(claimed):
            word = pin()
            vector = word >> PIN_VECTOR_SHIFT & 0xFF
            if word & PIN_VECTOR_VALID:
                # The guest must not find the pin high until the controller has been told, which may raise it anew.
                same = self.lower(word)
                coalesces = same and word & PIN_COALESCES
                if self._post(claimed, TYPE_INTACK, self._vcpu, 1, vector, 0, not coalesces):
                    return vector
        vector = self._one(claimed, TYPE_INTACK, self._vcpu, 2, True, 0)
        return vector if vector < NO_INTERRUPT else NO_VECTOR  # all ones come from a dead controller

    # PCI configuration

    def _read_config_port(self, port: int, size: int) -> int:
        claimed = self._config_target(port)
        if claimed is not None:
            self._reads[port] += 1
            return self._one(claimed, TYPE_PCI_CONFIG, self._config_request(port), size, True, 0)
        claimed = self._routing.find_port(port, size)
        if claimed is None:
            if port == CONFIG_ADDRESS and size == 4:
                return self._config.value
            self._nobody("port", port, size)
            return ONES[size]
        self._reads[port] += 1
        return self._one(claimed, TYPE_PIO, port, size, True, 0)

    def _write_config_port(self, port: int, size: int, value: int) -> None:
        if port == CONFIG_ADDRESS and size == 4:
            self._config.value = value  # kept here, and written to whoever has the port too: both need it
        claimed = self._config_target(port)
        if claimed is not None:
            self._writes[port] += 1
            self._one(claimed, TYPE_PCI_CONFIG, self._config_request(port), size, False, value)
            return
        claimed = self._routing.find_port(port, size)
        if claimed is None:
            self._nobody("port", port, size)
            return
        self._writes[port] += 1
        self._one(claimed, TYPE_PIO, port, size, False, value)

    def _config_target(self, port: int) -> Range | None:
        """Find who mapped the PCI function the latch points at. If nobody, the port's owner answers."""
        latch = self._config.value
        if port < CONFIG_DATA or not latch & CONFIG_ENABLE or not self._routing.pci:
            return None
        return self._routing.find_pci(latch >> 8 & 0xFFFF)

    def _config_request(self, port: int) -> int:
        """63:48 segment, 47:40 bus, 39:35 device, 34:32 function, 31:0 offset."""
        latch = self._config.value
        return (latch >> 8 & 0xFFFF) << 32 | latch & 0xFC | port & 3

    # The wire

    def _one(self, claimed: Range, kind: int, address: int, size: int, read: bool, value: int) -> int:
        request = self._single
        request.type = kind
        request.address = address
        request.data = value
        request.size = size
        request.read = read
        try:
            channel = claimed.channels[self._vcpu]
            self._left -= 1
            if self._left:
                data = channel.transact(request)
            else:
                self._left = _SAMPLE
                before = monotonic_ns()
                data = channel.transact(request)
                self.tally.waited(kind, address, monotonic_ns() - before)
        except ProtocolError as error:
            self._failed(claimed.server, str(error))
            return ONES[size]
        self._completed()
        return data

    def _mirrored(self, claimed: Range, port: int) -> int:
        """From the server's page of mirrored registers; ASK if only the server knows."""
        try:
            endpoint = claimed.endpoint
            return endpoint.mirrored(claimed.mirror + port - claimed.first, port)
        except ProtocolError as error:
            self._failed(claimed.server, str(error))
            return ASK

    def _waits(self, claimed: Range, port: int, size: int) -> bool:
        """Whether the server wants to perform a write there before the guest runs on."""
        endpoint = claimed.endpoint
        return endpoint.waits(claimed.mirror + port - claimed.first, size)

    def _idle(self, claimed: Range) -> bool:
        try:
            endpoint = claimed.endpoint
            return endpoint.idle()
        except ProtocolError as error:
            self._failed(claimed.server, str(error))
            return False

    def _post(
        self, claimed: Range, kind: int, address: int, size: int, value: int, cell: int, rings: bool
    ) -> bool:
        """Through the buffered ring; False if it must go as a synchronous request. See `CoreEndpoint.post`."""
        try:
            endpoint = claimed.endpoint
            return endpoint.post(address, size, value, kind, cell, rings)
        except ProtocolError as error:
            self._failed(claimed.server, str(error))
            return True

    def _block(
        self,
        claimed: Range,
        kind: int,
        address: int,
        size: int,
        count: int,
        read: bool,
        descending: bool,
        data: int,
        *,
        pointer: bool,
    ) -> tuple[int, int]:
        request = self._request
        request.type = kind
        request.address = address
        request.data = data
        request.count = count
        request.size = size
        request.read = read
        request.descending = descending
        request.data_is_ptr = pointer
        channel = claimed.channels[self._vcpu]
        try:
            answer = channel.transact(request)
        except ProtocolError as error:
            self._failed(claimed.server, str(error))
            return -1, ONES[size]
        self._completed()
        if channel.dead:
            return -1, ONES[size]
        return request.count, answer

    def _nobody(self, space: str, address: int, size: int) -> None:
        if (space, address) not in self._unclaimed and len(self._unclaimed) < UNCLAIMED_LIMIT:
            self._unclaimed.add((space, address))
            log.debug("io.unclaimed", space=space, address=hex(address), size=size)
