"""Telnet (RFC 854), as far as a character-at-a-time terminal needs it: no I/O, bytes in and bytes out.

A client that begins with IAC speaks telnet; any other is raw, so that `nc` gets and sends every byte as it
is. Not modelled: options beyond echo (RFC 857), suppress-go-ahead (RFC 858) and binary (RFC 856), which are
refused.
"""

from collections.abc import Callable
from typing import Final, Self

IAC: Final = 255
DONT: Final = 254
DO: Final = 253
WONT: Final = 252
WILL: Final = 251
SB: Final = 250
SE: Final = 240

BINARY: Final = 0
ECHO: Final = 1
SUPPRESS_GO_AHEAD: Final = 3

_OURS: Final = {BINARY, ECHO, SUPPRESS_GO_AHEAD}  # what we are willing to do
_THEIRS: Final = {BINARY, SUPPRESS_GO_AHEAD}  # what the client may do

GREETING: Final = bytes([IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, DO, SUPPRESS_GO_AHEAD])


class Telnet:
    """One client's line. Raw until its first byte says otherwise."""

    def __init__(self) -> None:
        self.active = False
        self._begun = False
        self._state: Callable[[int], None] = self._data
        self._verb = 0
        self._after_cr = False
        self._agreed: set[tuple[int, int]] = set()
        self._typed = bytearray()
        self._reply = bytearray()

    def spoken(self) -> tuple[bool, bool, list[tuple[int, int]]]:
        """Return whether the client has begun, whether it speaks telnet, and what has been agreed on."""
        return self._begun, self.active, sorted(self._agreed)

    @classmethod
    def speaking(cls, begun: bool, active: bool, agreed: list[tuple[int, int]]) -> Self:
        """Go on with what `spoken` returned."""
        telnet = cls()
        telnet._begun, telnet.active, telnet._agreed = begun, active, set(agreed)
        return telnet

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Take what the client sent; return what it typed, and what to answer it."""
        if not self._begun and data:
            self._begun = True
            self.active = data[0] == IAC
            if self.active:
                self._agreed = {(WILL, ECHO), (WILL, SUPPRESS_GO_AHEAD), (DO, SUPPRESS_GO_AHEAD)}
                self._reply += GREETING
        if not self.active:
            return data, b""
        for byte in data:
            self._state(byte)
        typed, reply = bytes(self._typed), bytes(self._reply)
        self._typed.clear()
        self._reply.clear()
        return typed, reply

    def escape(self, data: bytes) -> bytes:
        """Return what to send so that the client's terminal gets `data`."""
        return data.replace(b"\xff", b"\xff\xff") if self.active else data

    def _data(self, byte: int) -> None:
        after_cr, self._after_cr = self._after_cr, byte == ord("\r")
        if byte == IAC:
            self._after_cr = after_cr
            self._state = self._command
        elif not (after_cr and byte in (0, ord("\n"))):  # the Return key comes as CR NUL or CR LF
            self._typed.append(byte)

    def _command(self, byte: int) -> None:
        self._state = self._data
        match byte:
            case 255:  # IAC IAC is a byte 255
                self._typed.append(IAC)
            case 250:  # SB
                self._state = self._subnegotiation
            case 251 | 252 | 253 | 254:
                self._verb = byte
                self._state = self._option

    def _option(self, option: int) -> None:
        """Answer a wish; agree once, so that two polite ends do not go on for ever (RFC 1143)."""
        self._state = self._data
        match self._verb:
            case 253:  # DO: we should
                self._answer(WILL if option in _OURS else WONT, option)
            case 254:  # DONT
                self._agreed.discard((WILL, option))
            case 251:  # WILL: it wants to
                self._answer(DO if option in _THEIRS else DONT, option)
            case 252:  # WONT
                self._agreed.discard((DO, option))

    def _answer(self, verb: int, option: int) -> None:
        if (verb, option) not in self._agreed:
            self._agreed.add((verb, option))
            self._reply += bytes([IAC, verb, option])

    def _subnegotiation(self, byte: int) -> None:
        if byte == IAC:
            self._state = self._subnegotiation_command

    def _subnegotiation_command(self, byte: int) -> None:
        self._state = self._data if byte == SE else self._subnegotiation
