"""A serial line's far end: what the guest says goes to whoever listens, what anyone types goes to the guest.

The chip's side is synchronous and never waits: `transmit` for each byte out, `drained` when the receiver has
room again. The listeners' side is async; each follows the transcript at its own pace, so none slows the
guest.
"""

from typing import Final, Protocol

import trio

from devmodel.consoles.transcript import Transcript

KEPT: Final = 1 << 18
"""Bytes a listener may fall behind before it misses some."""


class Receiver(Protocol):
    """The chip at the near end."""

    def room(self) -> int:
        """Return how many bytes it can take now."""
        ...

    def receive(self, byte: int) -> None:
        """Take a byte."""
        ...


class SerialLine:
    """Joins one UART to any number of listeners. `history` is how many bytes who comes late is shown."""

    def __init__(self, history: int = 65536) -> None:
        self.history = history
        self.transcript = Transcript(max(history, KEPT))
        self._listeners = trio.lowlevel.ParkingLot()
        self._typists = trio.lowlevel.ParkingLot()
        self._typing = trio.Lock()
        self._chip: Receiver | None = None

    def connect(self, chip: Receiver) -> None:
        """Say which chip is at the near end."""
        self._chip = chip
        self.drained()

    # -- the chip's side ----------------------------------------------------------------------------------

    def transmit(self, byte: int) -> None:
        """Take a byte from the guest."""
        self.transcript.append(byte)
        if self._listeners:
            self._listeners.unpark_all()

    def drained(self) -> None:
        """Hear that the receiver may have room."""
        if self._typists:
            self._typists.unpark_all()

    # -- the listeners' side ------------------------------------------------------------------------------

    def late(self) -> int:
        """Return the position from which somebody new reads: the recent history."""
        return max(self.transcript.end - self.history, 0)

    async def output(self, position: int) -> tuple[bytes, int]:
        """Wait for bytes after `position`, and return them with the position after them."""
        while position >= self.transcript.end:
            await self._listeners.park()
        return self.transcript.read(position)

    async def type(self, data: bytes) -> None:
        """Send bytes to the guest, waiting until it has taken them. Several typists take turns."""
        async with self._typing:
            for byte in data:
                while self._chip is None or self._chip.room() <= 0:
                    await self._typists.park()
                self._chip.receive(byte)
