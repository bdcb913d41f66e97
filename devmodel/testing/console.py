"""A machine's serial console, as a test types on it and waits for what comes.

A console belongs to no event loop: each wait is one of the loop that it is called in, trio's or asyncio's, so that a
machine may be shared by tests that have a loop each.
"""

import re
import secrets
import shlex
import socket
from collections.abc import Callable, Sequence
from typing import Final, Self, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from devmodel.consoles.address import host_port

SECONDS: Final = 60.0
"""How long to wait for something, where a test does not say."""
SHOWN: Final = 2000
"""Bytes of a console's end in a failure's message."""
LAST_WORDS: Final = 0.3
"""Seconds of silence after which a guest that is at its end has said all."""
FATAL: Final = (re.compile(rb"Kernel panic - not syncing[^\r\n]*"),)
"""What means the end of a guest, unless a machine says otherwise."""

Wanted: TypeAlias = bytes | str | re.Pattern[bytes] | re.Pattern[str]


class NotSeen(AssertionError):  # noqa: N818  (it says what happened, as pytest shows it)
    """Something did not come in time; the message shows what did."""


class Fatal(NotSeen):
    """The guest is at its end, and what was waited for can come no more."""


class Seen(bytes):
    """What came up to the end of what was waited for; and which of several that was."""

    which: int
    """Which of what was wanted, the first being 0."""
    match: re.Match[bytes]
    """Where it matched, and its groups."""

    @classmethod
    def make(cls, data: bytes, index: int, match: re.Match[bytes]) -> Self:
        """Return bytes with the match that ends them."""
        seen = cls(data)
        seen.which = index
        seen.match = match
        return seen

    @property
    def before(self) -> bytes:
        """What came before what was waited for."""
        return bytes(self[: len(self) - len(self.match[0])])


@attrs.frozen
class Result:
    """What a command printed, with plain line ends, and its exit status."""

    output: str
    status: int


class Console:
    """One client of a machine's serial console on TCP."""

    def __init__(
        self, sock: socket.socket, why: Callable[[], str] = str, *, fatal: Sequence[Wanted] = FATAL
    ) -> None:
        """`why` adds to a failure's message; what matches one of `fatal` ends each wait at once."""
        self._socket = sock
        self._why = why
        self._expected = 0
        self._hung_up = False
        self.fatal = tuple(map(_pattern, fatal))
        self.output = bytearray()
        """Everything the guest has said to this client, as far as it was waited for."""

    @classmethod
    async def connect(
        cls, address: str, why: Callable[[], str] = str, *, fatal: Sequence[Wanted] = FATAL
    ) -> Self:
        """Connect to HOST:PORT."""
        return cls(await anyio.to_thread.run_sync(_connected, address), why, fatal=fatal)

    async def expect(self, wanted: Wanted | Sequence[Wanted], seconds: float = SECONDS) -> Seen:
        """Wait for text, bytes or what matches a pattern, and return what came up to its end since the last call.

        Of several, in a list, the one that comes first counts: `which` of what is returned says which, `match` how.

        Raises:
            NotSeen: it did not come within `seconds`, or the machine hung up before.
            Fatal: the guest has said what means its end (`fatal`).

        """
        wanted = [wanted] if isinstance(wanted, (bytes, str, re.Pattern)) else list(wanted)
        patterns = [_pattern(one) for one in wanted]
        ended = f"did not come in {seconds:g} s"
        with anyio.move_on_after(seconds):
            while True:
                found = self._first(patterns)
                fatal = self._first(self.fatal)
                if found is not None and (fatal is None or found[1].start() <= fatal[1].start()):
                    break
                if fatal is not None:
                    raise await self._fatal(wanted, fatal[1])
                if not await self._receive():
                    ended = "never came, the machine hung up"
                    break
        found = self._first(patterns)
        if found is None:
            raise NotSeen(f"{_shown(wanted)} {ended}; the console's end:\n{self._tail()}\n{self._why()}")
        index, match = found
        start, self._expected = self._expected, match.end()
        return Seen.make(bytes(self.output[start : self._expected]), index, match)

    async def type(self, text: bytes | str) -> None:
        """Type on the serial line; the Return key is a carriage return."""
        data = memoryview(text.encode() if isinstance(text, str) else text)
        while data:
            await anyio.wait_writable(self._socket)
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise NotSeen(f"the machine has hung up: {error.strerror}\n{self._why()}") from error

    async def run(self, command: str, seconds: float = SECONDS) -> Result:
        """Run a command in the shell that waits on this console, and return what it printed, and its exit status.

        The shell is any of Bourne's kin at its prompt, whatever that looks like; the command may have several lines.

        Raises:
            NotSeen: it did not end within `seconds`.
            Fatal: the guest has ended over it.

        """
        mark = secrets.token_hex(4)
        # The terminal echoes what is typed, so the marks are typed otherwise than they are printed.
        await self.type(f"echo 'b''{mark}'; eval {shlex.quote(command)}; echo \"e\"'{mark}' $?\r")
        await self.expect(re.compile(rb"^b%b\r?\n" % mark.encode(), re.MULTILINE), seconds)
        seen = await self.expect(re.compile(rb"e%b (\d+)\r?\n" % mark.encode()), seconds)
        return Result(seen.before.decode(errors="replace").replace("\r\n", "\n"), int(seen.match[1]))

    async def end(self, seconds: float = SECONDS) -> bytes:
        """Wait until the machine hangs up, and return what came since the last `expect`.

        Raises:
            NotSeen: it does not within `seconds`.

        """
        with anyio.move_on_after(seconds) as scope:
            while await self._receive():
                pass
        if scope.cancelled_caught:
            raise NotSeen(f"the machine did not hang up in {seconds:g} s\n{self._why()}")
        start, self._expected = self._expected, len(self.output)
        return bytes(self.output[start:])

    def take(self) -> None:
        """Take in what has come and nobody has waited for: for a transcript."""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            self.output += data
            if not data:
                self._hung_up = True
                return

    @property
    def alive(self) -> bool:
        """Whether the machine has not hung up, nor the guest said what means its end."""
        self.take()
        return not self._hung_up and self._first(self.fatal) is None

    def skip(self) -> int:
        """Pass over what has come so far: it is waited for no more. Return how many bytes have come ever."""
        self.take()
        self._expected = len(self.output)
        return self._expected

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    async def aclose(self) -> None:
        """Hang up, as streams do."""
        await anyio.lowlevel.checkpoint()
        self.close()

    def _first(self, patterns: Sequence[re.Pattern[bytes]]) -> tuple[int, re.Match[bytes]] | None:
        """Return which pattern matches first in what nobody has waited for, and how."""
        found: tuple[int, re.Match[bytes]] | None = None
        for index, pattern in enumerate(patterns):
            match = pattern.search(self.output, self._expected)
            if match is not None and (found is None or match.start() < found[1].start()):
                found = index, match
        return found

    async def _fatal(self, wanted: Sequence[Wanted], match: re.Match[bytes]) -> Fatal:
        """Hear the guest out, and return what is to be raised."""
        more = True
        while more:
            more = False
            with anyio.move_on_after(LAST_WORDS):
                more = await self._receive()
        said = match[0].decode(errors="replace")
        self._expected = match.end()
        what = f"{_shown(wanted)} will not come: the guest said '{said}'"
        return Fatal(f"{what}; the console's end:\n{self._tail()}\n{self._why()}")

    def _tail(self) -> str:
        return bytes(self.output[-SHOWN:]).decode(errors="replace")

    async def _receive(self) -> bool:
        await anyio.wait_readable(self._socket)
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self.output += data
        self._hung_up = not data
        return bool(data)


def _connected(address: str) -> socket.socket:
    sock = socket.create_connection(host_port(address), timeout=SECONDS)
    sock.setblocking(False)
    return sock


def _pattern(wanted: Wanted) -> re.Pattern[bytes]:
    """Return a pattern of bytes."""
    if isinstance(wanted, bytes):
        return re.compile(re.escape(wanted))
    if isinstance(wanted, str):
        return re.compile(re.escape(wanted.encode()))
    if isinstance(wanted.pattern, bytes):
        return re.compile(wanted.pattern, wanted.flags)
    return re.compile(wanted.pattern.encode(), wanted.flags & ~re.UNICODE)


def _shown(wanted: Sequence[Wanted]) -> str:
    texts = [repr(one if isinstance(one, (bytes, str)) else one.pattern) for one in wanted]
    return texts[0] if len(texts) == 1 else f"none of {', '.join(texts)}"
