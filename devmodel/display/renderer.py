"""The one who draws a guest's screen, for everybody who looks at it.

The screen is compared with what it was, several times a second while somebody looks, and less often the longer nothing
has changed; it is drawn only if something has, in a thread, and no more than a part of the time. While nobody looks,
nothing is done at all.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import trio

from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_picture import Picture, picture

FASTEST: Final = 0.04
"""Seconds between two looks while the screen changes."""
SLOWEST: Final = 0.25
"""The same when it has not for a while."""
DRAWING: Final = 0.25
"""How much of the time may go into drawing."""


class Renderer:
    """A screen as a picture that is replaced when it changes."""

    def __init__(self, frame: Callable[[], Frame]) -> None:
        self._frame = frame
        self._last: Frame | None = None
        self.picture: Picture | None = None
        self.drawn = 0
        """How many pictures there have been."""
        self._viewers = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._wake = trio.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Have the picture follow the screen, for the length of the block."""
        self._viewers += 1
        self.poke()
        try:
            yield
        finally:
            self._viewers -= 1

    def poke(self) -> None:
        """Look soon: somebody has typed, or come."""
        self._wake.set()

    async def newer(self, than: Picture | None) -> Picture:
        """Wait for a picture that is not this one."""
        while self.picture is None or self.picture is than:
            await self._changed.park()
        return self.picture

    async def run(self) -> None:
        """Draw for ever, while there are viewers. Cancel to stop."""
        wait = FASTEST
        while True:
            if not self._viewers:
                self._wake = trio.Event()
                await self._wake.wait()
            begin = trio.current_time()
            frame = self._frame()
            if frame != self._last:
                self.picture = await trio.to_thread.run_sync(picture, frame)
                self._last = frame
                self.drawn += 1
                self._changed.unpark_all()
                wait = max(FASTEST, (trio.current_time() - begin) * (1 / DRAWING - 1))
            else:
                wait = min(1.25 * wait, SLOWEST)
            self._wake = trio.Event()
            with trio.move_on_after(wait):
                await self._wake.wait()
                wait = FASTEST
                await trio.sleep(FASTEST / 2)  # what the guest does about a key
