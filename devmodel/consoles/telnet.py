"""Telnet (RFC 854), as far as a character-at-a-time terminal needs it: no I/O, bytes in and bytes out.

Options are agreed on as RFC 1143 says, so that two polite ends do not go on for ever: echo (RFC 857), suppress-go-ahead
(RFC 858) and binary transmission (RFC 856), in which a carriage return stands for itself. Any other is refused, and
subnegotiations are skipped. BRK is a break on the line. Not modelled: the other commands, which are ignored.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final, Literal, Self, TypeAlias

from devmodel.consoles.line import BREAK

IAC: Final = 255
DONT: Final = 254
DO: Final = 253
WONT: Final = 252
WILL: Final = 251
SB: Final = 250
BRK: Final = 243
SE: Final = 240

BINARY: Final = 0
ECHO: Final = 1
SUPPRESS_GO_AHEAD: Final = 3

SERVER_DOES: Final = frozenset({BINARY, ECHO, SUPPRESS_GO_AHEAD})
CLIENT_DOES: Final = frozenset({BINARY, SUPPRESS_GO_AHEAD})

GREETING: Final = bytes((
    *(IAC, WILL, ECHO),
    *(IAC, WILL, SUPPRESS_GO_AHEAD),
    *(IAC, WILL, BINARY),
    *(IAC, DO, SUPPRESS_GO_AHEAD),
    *(IAC, DO, BINARY),
))  # fmt: skip
"""What a server says first: with its echo, a client sends each character as it is typed, and Ctrl-C too."""

State: TypeAlias = Literal["offered", "on"]


class Telnet:
    """One end of a connection. `ours` are the options that we are willing to do, `theirs` those that the other may."""

    def __init__(self, ours: AbstractSet[int] = SERVER_DOES, theirs: AbstractSet[int] = CLIENT_DOES) -> None:
        self._willing = {WILL: ours, DO: theirs}
        self._options: dict[tuple[int, int], State] = {}
        """By WILL (ours) or DO (theirs) and the option; what is off is not there."""
        self._state: Callable[[int], None] = self._data
        self._verb = 0
        self._after_cr = False
        self._sent_cr = False
        self._refused_binary = False
        self._keys = SERVER_DOES is ours
        self._typed: list[int] = []
        self._reply = bytearray()

    @classmethod
    def client(cls) -> Self:
        """Be the client's end: it waits for what the server offers."""
        return cls(CLIENT_DOES, SERVER_DOES)

    def greeting(self) -> bytes:
        """Return what a server says first."""
        self._options = dict.fromkeys(zip(GREETING[1::3], GREETING[2::3], strict=True), "offered")
        return GREETING

    def spoken(self) -> list[tuple[int, int, State]]:
        """Return what has been offered and agreed on."""
        return [(verb, option, state) for (verb, option), state in self._options.items()]

    @classmethod
    def speaking(cls, options: list[tuple[int, int, State]]) -> Self:
        """Go on with what `spoken` returned."""
        telnet = cls()
        telnet._options = {(verb, option): state for verb, option, state in options}
        telnet._refused_binary = (WILL, BINARY) not in telnet._options
        return telnet

    def receive(self, data: bytes) -> tuple[list[int], bytes]:
        """Take what the other end sent; return what it typed, a break being `BREAK`, and what to answer it."""
        for byte in data:
            self._state(byte)
        typed, reply = self._typed, bytes(self._reply)
        self._typed = []
        self._reply.clear()
        return typed, reply

    def escape(self, data: bytes) -> bytes:
        """Return what to send so that the other end gets `data`; a lone carriage return is CR NUL, unless in binary."""
        data = data.replace(b"\xff", b"\xff\xff")
        if not self._refused_binary or not data:
            return data
        if self._sent_cr and data[0] != ord("\n"):
            data = b"\0" + data
        self._sent_cr = data.endswith(b"\r")
        head, last = (data[:-1], data[-1:]) if self._sent_cr else (data, b"")
        return head.replace(b"\r", b"\r\0").replace(b"\r\0\n", b"\r\n") + last

    def _data(self, byte: int) -> None:
        if byte == IAC:
            self._state = self._command
            return
        after_cr = self._after_cr
        binary = self._options.get((DO, BINARY)) == "on"
        self._after_cr = byte == ord("\r") and not binary
        # The Return key comes as CR NUL or CR LF; a server's CR LF are two characters.
        if not (after_cr and (byte == 0 or (byte == ord("\n") and self._keys))):
            self._typed.append(byte)

    def _command(self, byte: int) -> None:
        self._state = self._data
        match byte:
            case 255:  # IAC IAC is a byte 255
                self._after_cr = False
                self._typed.append(IAC)
            case 250:  # SB
                self._state = self._subnegotiation
            case 251 | 252 | 253 | 254:
                self._verb = byte
                self._state = self._option
            case 243:  # BRK
                self._typed.append(BREAK)

    def _option(self, option: int) -> None:
        """Hear a wish or a refusal."""
        self._state = self._data
        match self._verb:
            case 253:  # DO: we should
                self._wanted(WILL, WONT, option)
            case 254:  # DONT
                self._unwanted(WILL, WONT, option)
                self._refused_binary = self._refused_binary or option == BINARY
            case 251:  # WILL: it wants to
                self._wanted(DO, DONT, option)
            case 252:  # WONT
                self._unwanted(DO, DONT, option)

    def _wanted(self, yes: int, no: int, option: int) -> None:
        if option not in self._willing[yes]:
            self._reply += bytes((IAC, no, option))
            return
        if (yes, option) not in self._options:  # else it answers our offer, or says again what is so
            self._reply += bytes((IAC, yes, option))
        self._options[yes, option] = "on"
        if (yes, option) == (WILL, BINARY):
            self._refused_binary = False

    def _unwanted(self, yes: int, no: int, option: int) -> None:
        if self._options.pop((yes, option), None) == "on":  # else it is off, or our offer is refused
            self._reply += bytes((IAC, no, option))

    def _subnegotiation(self, byte: int) -> None:
        if byte == IAC:
            self._state = self._subnegotiation_command

    def _subnegotiation_command(self, byte: int) -> None:
        self._state = self._data if byte == SE else self._subnegotiation
