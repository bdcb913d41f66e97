"""The end of what a guest has said: a bounded memory that any number of readers follow at their own pace."""


class Transcript:
    """The last `capacity` bytes at least, found by their position counted from the first byte ever.

    Nobody's reading is waited for: who falls behind by more than is kept misses what is gone.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = max(capacity, 1)
        self._data = bytearray()
        self._start = 0

    @property
    def end(self) -> int:
        """How many bytes there have ever been."""
        return self._start + len(self._data)

    def restore(self, data: bytes, end: int) -> None:
        """Remember what another transcript had: its last bytes, of which the last was number `end`."""
        self._data[:] = data
        self._start = end - len(data)

    def append(self, byte: int) -> None:
        """Remember one byte."""
        data = self._data
        data.append(byte)
        if len(data) >= 2 * self.capacity:
            self._start += len(data) - self.capacity
            del data[: -self.capacity]

    def read(self, position: int, limit: int = 65536) -> tuple[bytes, int]:
        """Return up to `limit` bytes from `position` or the oldest kept, and the position after."""
        start = max(position - self._start, 0)
        data = bytes(self._data[start : start + limit])
        return data, self._start + start + len(data)
