"""Intel 8237A programmable DMA controllers of a PC, and their page registers (data sheet 231466; IBM PC AT TR).

A controller moves data between memory and whoever holds a request line (DREQ), its `DmaClient`. The first one of a PC
moves bytes, the second words; the first's HRQ goes to channel 0 of the second, which must be in cascade mode and
unmasked. A service takes no time here: it happens in the access, or in the request, that made it possible.
Not modelled: timing (compressed, extended write), the polarity of DREQ and DACK, which a board fixes. Memory to memory
moves bytes on the first controller; each of its two channels has its own page.
"""

from collections.abc import Callable
from typing import Final, Protocol

import attrs
import structlog

from devmodel.board.device import GuestRam

log = structlog.get_logger()


class Reg:
    """Register numbers after the eight address and count registers (data sheet, figures 5 and 6)."""

    COMMAND: Final = 8  # status on read
    REQUEST: Final = 9
    SINGLE_MASK: Final = 10
    MODE: Final = 11
    CLEAR_FLIP_FLOP: Final = 12
    MASTER_CLEAR: Final = 13  # temporary register on read
    CLEAR_MASK: Final = 14
    ALL_MASK: Final = 15


COMMAND_MEMORY_TO_MEMORY: Final = 0x01
COMMAND_HOLD: Final = 0x02  # channel 0's address, in memory to memory
COMMAND_DISABLE: Final = 0x04
COMMAND_ROTATE: Final = 0x10
MODE_TRANSFER: Final = 0x0C
MODE_WRITE: Final = 0x04  # to memory
MODE_READ: Final = 0x08  # from memory
MODE_AUTO: Final = 0x10
MODE_DOWN: Final = 0x20
MODE_SERVICE: Final = 0xC0
SINGLE: Final = 0x40
BLOCK: Final = 0x80
CASCADE: Final = 0xC0
WORD: Final = 0x1_0000  # how many values an address or a count has


class DmaClient(Protocol):
    """A device at a channel. It raises its request with `Dma8237.request`, and is served within that call."""

    def dma_ready(self) -> int:
        """Return how many bytes it can give or take before it lowers its request."""
        ...

    def dma_read(self, length: int) -> bytes:
        """Give that many bytes (an I/O read with DACK)."""
        ...

    def dma_write(self, data: bytes) -> None:
        """Take bytes (an I/O write with DACK)."""
        ...

    def dma_skip(self, length: int) -> None:
        """Be acknowledged for bytes that nobody reads or writes (a verify transfer)."""
        ...

    def dma_end(self) -> None:
        """Hear of terminal count, behind the last byte."""
        ...


@attrs.define
class Dma8237State:
    """Everything one controller remembers."""

    words: list[int] = attrs.field(factory=lambda: [0] * 8)  # current address and count of channels 0 to 3
    bases: list[int] = attrs.field(factory=lambda: [0] * 8)
    high_next: bool = False  # the first/last flip-flop
    mask: int = 0x0F
    command: int = 0
    modes: list[int] = attrs.field(factory=lambda: [0] * 4)
    lines: int = 0  # levels of DREQ
    requests: int = 0  # by software
    reached: int = 0  # terminal count, since the status was read
    temporary: int = 0
    programmed: bool = False  # since power-on
    lowest: int = 3  # the channel of lowest priority, while priorities rotate


@attrs.define(kw_only=True)
class Dma8237:
    """One controller. `width` is 1 for bytes, with registers at every port, 2 for words at every other port.

    `page` returns what a channel's page register holds: bits 23 to 16 of its address. `granted` says whether its HRQ
    reaches the processor; who changes that calls `serve`. `changed` hears of writes.
    """

    width: int
    ram: GuestRam
    page: Callable[[int], int]
    granted: Callable[[], bool] = lambda: True
    changed: Callable[[], None] = lambda: None
    clients: dict[int, DmaClient] = attrs.field(factory=dict[int, DmaClient])
    state: Dma8237State = attrs.field(factory=Dma8237State)
    _serving: bool = False

    def reset(self) -> None:
        """Do a hardware reset. The request lines are their devices'."""
        self.state = Dma8237State(lines=self.state.lines)

    # -- the processor's side -----------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        """Read half a current address or count, the status, the temporary register or the mask."""
        s = self.state
        register = offset // self.width
        if register < Reg.COMMAND:
            value = s.words[register]
            s.high_next = not s.high_next
            return value & 0xFF if s.high_next else value >> 8
        match register:
            case Reg.COMMAND:
                status = (s.lines | s.requests) << 4 | s.reached
                s.reached = 0
                return status
            case Reg.MASTER_CLEAR:
                return s.temporary
            case Reg.ALL_MASK:
                return 0xF0 | s.mask  # as the chips that followed it (82C37A)
            case _:
                return 0xFF

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write half an address or count, or a command; channels that this lets go are served."""
        s = self.state
        s.programmed = True
        value &= 0xFF
        bit = 1 << (value & 3)
        match offset // self.width:
            case register if register < Reg.COMMAND:
                word = s.bases[register]
                word = word & 0xFF | value << 8 if s.high_next else word & 0xFF00 | value
                s.bases[register] = word
                s.words[register] = (
                    s.words[register] & 0xFF | value << 8
                    if s.high_next
                    else s.words[register] & 0xFF00 | value
                )
                s.high_next = not s.high_next
            case Reg.COMMAND:
                s.command = value
            case Reg.REQUEST:
                s.requests = s.requests | bit if value & 4 else s.requests & ~bit
            case Reg.SINGLE_MASK:
                s.mask = s.mask | bit if value & 4 else s.mask & ~bit
            case Reg.MODE:
                s.modes[value & 3] = value & 0xFC
            case Reg.CLEAR_FLIP_FLOP:
                s.high_next = False
            case Reg.MASTER_CLEAR:
                self._clear()
            case Reg.CLEAR_MASK:
                s.mask = 0
            case _:
                s.mask = value & 0x0F
        self.serve()
        self.changed()

    def _clear(self) -> None:
        """Do what a hardware reset does to the registers: addresses, counts and modes stay."""
        s = self.state
        s.high_next = False
        s.mask = 0x0F
        s.command = s.requests = s.reached = s.temporary = 0
        s.lowest = 3

    # -- the devices' side --------------------------------------------------------------------------------

    def request(self, channel: int, level: bool) -> None:
        """Drive a channel's request line; if it may be, it is served at once."""
        bit = 1 << channel
        self.state.lines = self.state.lines | bit if level else self.state.lines & ~bit
        if level:
            self.serve()

    def cascades(self, channel: int) -> bool:
        """Whether a controller at this channel is passed on to the processor.

        Firmware sets that up, and kernels rely on it. So it is passed on too while nobody has written to this
        controller since power-on: a kernel has been started without firmware.
        """
        s = self.state
        return not s.programmed or (
            not s.command & COMMAND_DISABLE
            and not s.mask >> channel & 1
            and s.modes[channel] & MODE_SERVICE == CASCADE
        )

    def serve(self) -> None:
        """Serve channels until none asks that may be served."""
        if self._serving:  # a device that raises its request again while it is served: the loop below looks
            return
        self._serving = True
        try:
            passed_over = 0
            while (channel := self._next(passed_over)) is not None:
                if not self._service(channel):
                    passed_over |= 1 << channel
        finally:
            self._serving = False

    def _next(self, passed_over: int) -> int | None:
        """Return the requesting channel of highest priority, but for those passed over."""
        s = self.state
        asking = s.lines & ~s.mask & 0x0F
        if s.command & COMMAND_MEMORY_TO_MEMORY:
            asking &= 0b1100  # the first two channels belong to each other
        # What software asks for cannot be masked, and is served in block mode.
        asking = (asking | s.requests) & ~passed_over
        if not asking or s.command & COMMAND_DISABLE or not self.granted():
            return None
        order = ((s.lowest + step) & 3 for step in range(1, 5))
        return next(channel for channel in order if asking >> channel & 1)

    def _service(self, channel: int) -> bool:
        """Give a channel the bus; False if that moved nothing, and so would not the next time."""
        s = self.state
        if s.modes[channel] & MODE_SERVICE == CASCADE and not s.requests >> channel & 1:
            return False  # whoever is behind it has the bus, and does what it wants
        if s.command & COMMAND_ROTATE:
            s.lowest = channel
        else:
            s.lowest = 3
        if channel == 0 and s.command & COMMAND_MEMORY_TO_MEMORY:
            self._memory_to_memory()
            return True
        return self._transfer(channel)

    def _transfer(self, channel: int) -> bool:
        """Move what a channel's device has or takes, up to terminal count, from there on by its mode."""
        s = self.state
        client = self.clients.get(channel)
        by_software = bool(s.requests >> channel & 1)
        count = s.words[2 * channel + 1] + 1
        way = s.modes[channel] & MODE_TRANSFER
        ready = client.dma_ready() // self.width if client is not None and s.lines >> channel & 1 else 0
        # In block mode what has begun goes on to its end, request or not.
        block = by_software or (s.modes[channel] & MODE_SERVICE == BLOCK and ready > 0)
        units = count if block else min(count, ready)
        if not units:
            return False
        length, moved = units * self.width, min(ready, units) * self.width
        if way == MODE_WRITE:
            data = client.dma_read(moved) if client is not None and moved else b""
            self._store(channel, units, data.ljust(length, b"\xff"))
        elif way == MODE_READ:
            data = self._load(channel, units)
            if client is not None and moved:
                client.dma_write(data[:moved])
        elif client is not None and moved:
            client.dma_skip(moved)
        self._advance(channel, units, client)
        return True

    def _advance(self, channel: int, units: int, client: DmaClient | None) -> None:
        """Step address and count; at terminal count say so, and mask the channel or begin anew."""
        s = self.state
        step = -units if s.modes[channel] & MODE_DOWN else units
        s.words[2 * channel] = (s.words[2 * channel] + step) % WORD
        s.words[2 * channel + 1] -= units
        if s.words[2 * channel + 1] >= 0:
            return
        s.words[2 * channel + 1] = WORD - 1
        self._end(channel)
        if client is not None:
            client.dma_end()

    def _end(self, channel: int) -> None:
        s = self.state
        bit = 1 << channel
        s.reached |= bit
        s.requests &= ~bit
        if s.modes[channel] & MODE_AUTO:
            s.words[2 * channel : 2 * channel + 2] = s.bases[2 * channel : 2 * channel + 2]
        else:
            s.mask |= bit

    def _memory_to_memory(self) -> None:
        """Move a block by way of the temporary register, from channel 0's address to channel 1's, which counts."""
        s = self.state
        count = s.words[3] + 1
        if s.command & COMMAND_HOLD:
            data = self._load(0, 1)[:1] * count
        else:
            data = self._load(0, count)
            s.words[0] = (s.words[0] + (-count if s.modes[0] & MODE_DOWN else count)) % WORD
        self._store(1, count, data)
        s.temporary = data[-1]
        s.words[1] = (s.words[1] - count) % WORD
        s.words[2] = (s.words[2] + (-count if s.modes[1] & MODE_DOWN else count)) % WORD
        s.words[3] = WORD - 1
        s.requests &= ~1
        self._end(1)

    # -- memory -------------------------------------------------------------------------------------------

    def _pieces(self, channel: int, units: int) -> list[tuple[int, int]]:
        """Return the runs of memory that a transfer covers, ascending in each: address and bytes.

        The address counts within its page, which for words is one of 128 KiB, and wraps there.
        """
        s = self.state
        first = s.words[2 * channel]
        page = (self.page(channel) << 16) & (0xFF_0000 if self.width == 1 else 0xFE_0000)
        if s.modes[channel] & MODE_DOWN:
            low = first - units + 1
            runs = [(low, units)] if low >= 0 else [(0, first + 1), (low % WORD, -low)]
        else:
            beyond = first + units - WORD
            runs = [(first, units)] if beyond <= 0 else [(first, units - beyond), (0, beyond)]
        return [(page + at * self.width, length * self.width) for at, length in runs]

    def _load(self, channel: int, units: int) -> bytes:
        """Return what a transfer reads, in the order in which it does."""
        down = self.state.modes[channel] & MODE_DOWN
        runs = [self.ram.read(address, length) for address, length in self._pieces(channel, units)]
        return b"".join(self._reversed(run) if down else run for run in runs)

    def _store(self, channel: int, units: int, data: bytes) -> None:
        """Store what a transfer writes, given in the order in which it does."""
        down = self.state.modes[channel] & MODE_DOWN
        for address, length in self._pieces(channel, units):
            run, data = data[:length], data[length:]
            self.ram.write(address, self._reversed(run) if down else run)

    def _reversed(self, run: bytes) -> bytes:
        if self.width == 1:
            return run[::-1]
        return b"".join(run[at - 2 : at] for at in range(len(run), 0, -2))


@attrs.define
class DmaPagesState:
    """What the page registers hold."""

    pages: bytearray = attrs.field(factory=lambda: bytearray(15))


PAGES: Final = ((7, 3, 1, 2), (0xF, 0xB, 9, 0xA))
"""Where the page registers of the channels are, from port 80h on (PC AT TR, 1-24): 0 to 3, and 4 to 7."""


@attrs.define(kw_only=True)
class DmaPages:
    """Ports 0x81-0x8F: bits 23 to 16 of the channels' addresses, and some that only store."""

    state: DmaPagesState = attrs.field(factory=DmaPagesState)

    def reset(self) -> None:
        """Power on."""
        self.state = DmaPagesState()

    def page(self, controller: int, channel: int) -> int:
        """Return the page of a controller's channel."""
        return self.state.pages[PAGES[controller][channel] - 1]

    def read(self, offset: int, _size: int) -> int:
        """Read a page register."""
        return self.state.pages[offset % 15]

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a page register."""
        self.state.pages[offset % 15] = value & 0xFF
