"""A serial line's far end: what the guest says goes to whoever listens, what anyone types goes to the guest.

Who falls behind by more than is kept misses some, and how much is logged. With flow control the guest is asked by CTS
to wait for whoever is behind, which it does if its driver looks at that.

The chip's side is synchronous and never waits: `transmit` for each byte out, `drained` when the receiver has
room again. The listeners' side is async; each follows the transcript at its own pace, so none slows the
guest.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import structlog
import trio

from devmodel.consoles.transcript import Transcript

log = structlog.get_logger()

GATHER: Final = 0.002
"""Seconds from a byte to the listeners: what a guest says in one breath reaches them in one piece."""
HOLD: Final = 1 << 14
"""Bytes that a listener may be behind before the guest is asked to wait, with flow control."""
RESUME: Final = 1 << 12
"""Bytes that it may be behind when the guest may go on."""
KEPT: Final = 1 << 18
"""Bytes a listener may fall behind before it misses some."""
BREAK: Final = 0x100
"""Among the bytes that are typed: a break, the line held low for longer than a character."""


class Receiver(Protocol):
    """The chip at the near end."""

    def room(self) -> int:
        """Return how many bytes it can take now."""
        ...

    def receive(self, byte: int) -> None:
        """Take a byte."""
        ...

    def receive_break(self) -> None:
        """Take a break."""
        ...

    def clear_to_send(self, level: bool) -> None:
        """Hear whether we take more from the guest."""
        ...


class Listener:
    """One who follows a line, from its recent history on, or from a place where somebody has left off."""

    def __init__(self, line: "SerialLine", position: int | None = None) -> None:
        self._line = line
        start = max(line.transcript.end - line.history, 0) if position is None else position
        self._taken = self.shown = start
        self.lost = 0
        """How many bytes it has missed."""

    @property
    def position(self) -> int:
        """Where what is returned next begins, if none of that is missed."""
        return self._taken

    @property
    def behind(self) -> int:
        """How many bytes it has not taken."""
        return self._line.transcript.end - self._taken

    async def output(self) -> bytes:
        """Wait for what the guest says next; what was returned before counts as shown now."""
        line = self._line
        self.shown = self._taken
        line.shown.unpark_all()
        if self._taken >= line.transcript.end:
            await line.listeners.park()
            await trio.sleep(GATHER)
        before = self._taken
        data, self._taken = line.transcript.read(before)
        self.lost += self._taken - before - len(data)
        line.caught_some()
        return data


class SerialLine:
    """Joins one UART to any number of listeners. `history` is how many bytes who comes late is shown."""

    def __init__(self, history: int = 65536, *, flow: bool = False) -> None:
        self.history = history
        self.flow = flow
        """Whether CTS tells the guest that somebody is far behind."""
        self._held = False
        self.transcript = Transcript(max(history, KEPT))
        self.listeners = trio.lowlevel.ParkingLot()
        """Who waits for the guest to say something."""
        self.shown = trio.lowlevel.ParkingLot()
        """Who waits for the listeners to have shown it."""
        self._following: set[Listener] = set()
        self._typists = trio.lowlevel.ParkingLot()
        self._typing = trio.Lock()
        self._untyped: list[deque[int]] = []
        self._chip: Receiver | None = None

    def connect(self, chip: Receiver) -> None:
        """Say which chip is at the near end."""
        self._chip = chip
        self._hold(False)
        self.drained()

    def disconnect(self) -> None:
        """Have who types wait: the chip's state has been handed over, and it takes nothing any more."""
        self._chip = None

    # -- the chip's side ----------------------------------------------------------------------------------

    def transmit(self, byte: int) -> None:
        """Take a byte from the guest."""
        self.transcript.append(byte)
        if self.listeners:
            self.listeners.unpark_all()
        if self.flow and not self._held and self._behind() >= HOLD:
            self._hold(True)

    def drained(self) -> None:
        """Hear that the receiver may have room."""
        if self._typists:
            self._typists.unpark_all()

    def _behind(self) -> int:
        return max((listener.behind for listener in self._following), default=0)

    def _hold(self, held: bool) -> None:
        self._held = held
        if self._chip is not None and self.flow:
            self._chip.clear_to_send(not held)

    def caught_some(self) -> None:
        """Let the guest go on if nobody is far behind any more."""
        if self._held and self._behind() <= RESUME:
            self._hold(False)

    # -- the listeners' side ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def listening(self, position: int | None = None) -> Iterator[Listener]:
        """Give somebody a place to listen from, for the length of the block."""
        listener = Listener(self, position)
        self._following.add(listener)
        try:
            yield listener
        finally:
            self._following.discard(listener)
            self.caught_some()
            if listener.lost:
                log.warning("console.lost", bytes=listener.lost)
            self.shown.unpark_all()

    async def caught_up(self) -> None:
        """Wait until every listener has shown what the guest has said; who is gone is not waited for."""
        while any(listener.shown < self.transcript.end for listener in self._following):
            await self.shown.park()

    async def type(self, typed: Iterable[int]) -> None:
        """Send bytes and breaks to the guest, waiting until it has taken them. Several typists take turns.

        Who gives a deque finds in it what has not been taken.
        """
        left = typed if isinstance(typed, deque) else deque(typed)
        self._untyped.append(left)
        try:
            async with self._typing:
                while left:
                    while self._chip is None or self._chip.room() <= 0:
                        await self._typists.park()
                    byte = left.popleft()
                    if byte == BREAK:
                        self._chip.receive_break()
                    else:
                        self._chip.receive(byte)
        finally:
            self._untyped = [other for other in self._untyped if other is not left]

    def untyped(self) -> list[int]:
        """Return what typists are waiting for the guest to take."""
        return [byte for left in self._untyped for byte in left]
