"""A client's or viewer's stream, of which every byte is accounted for, so that another process can go on with it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

import trio

PIECE: Final = 1 << 16
"""Bytes that are read or written at once."""


class Gone(Exception):  # noqa: N818  (no error of anybody's)
    """The other end has left, or says what there is not."""


class Wire:
    """A stream of which every byte is accounted for between two checkpoints, so that another can go on with it.

    Bytes that have come are kept until `done` says that their message has had its effect; bytes that are to go are in
    `unsent` until the kernel has them. For that what has a descriptor is read and written without a checkpoint in
    between.
    """

    def __init__(self, stream: trio.abc.Stream, received: bytes = b"", unsent: bytes = b"") -> None:
        self.stream = stream
        self.frozen = False
        """It is another's now."""
        self.unsent = bytearray(unsent)
        self._received = bytearray(received)
        self._used = 0
        self._sending = trio.Lock()

    async def exactly(self, count: int) -> bytes:
        """Wait for so many bytes.

        Raises:
            Gone: the stream ended before.

        """
        while len(self._received) - self._used < count:
            data = await self.some()
            if not data:
                raise Gone("it has left")
            self._received += data
        taken = bytes(self._received[self._used : self._used + count])
        self._used += count
        return taken

    def done(self) -> None:
        """Say that the bytes that were taken have had their effect."""
        del self._received[: self._used]
        self._used = 0

    def received(self) -> bytes:
        """Return what has come and has had none."""
        return bytes(self._received)

    async def some(self, most: int = PIECE) -> bytes:
        """Wait for bytes, as many as come together, which who is given them accounts for; none at the end."""
        fd = self._fd
        if fd is None:
            return bytes(await self.stream.receive_some(most))
        with _broken():
            while True:
                await trio.lowlevel.wait_readable(fd)
                await self._thaw()
                with contextlib.suppress(BlockingIOError):
                    return os.read(fd, most)

    async def send(self, data: bytes) -> None:
        """Send all of it, behind what is unsent."""
        self.unsent += data
        await self.flush()

    async def flush(self) -> None:
        """Send what is unsent; several may do so at once."""
        async with self._sending:
            await self._thaw()
            fd = self._fd
            if fd is None:
                data = bytes(self.unsent)
                self.unsent.clear()
                if data:
                    await self.stream.send_all(data)
                return
            with _broken():
                while self.unsent:
                    await trio.lowlevel.wait_writable(fd)
                    await self._thaw()
                    with contextlib.suppress(BlockingIOError):
                        sent = os.write(fd, self.unsent[:PIECE])
                        del self.unsent[:sent]

    @property
    def _fd(self) -> int | None:
        """Its descriptor, if it has one."""
        if isinstance(self.stream, trio.SocketStream):
            fd = self.stream.socket.fileno()
        elif isinstance(self.stream, trio.lowlevel.FdStream):
            fd = self.stream.fileno()
        else:
            return None
        if fd < 0:
            raise trio.ClosedResourceError
        return fd

    async def _thaw(self) -> None:
        if self.frozen:
            await trio.sleep_forever()


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise trio.BrokenResourceError from error
