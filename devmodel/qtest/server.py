"""QEMU's qtest protocol (docs/devel/testing/qtest, system/qtest.c): a line a command, a line an answer. It does no I/O.

Interrupts that are intercepted are told as lines of their own, before the answer to what brought them about.
QEMU ends with a failed assertion where a command lacks an argument, or has what is no number; here that is an answer,
FAIL with the reason, and nothing has happened. Words after those that a command takes are ignored, as there.

Time stands still but for `clock_step` and `clock_set`. Chips are ticked while these let it pass, and after each command
those that are due by then.
"""

import base64
import binascii
import re
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Final, TypeAlias

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.board.pc import Board
from devmodel.board.stepping import next_deadline, step, stepped
from devmodel.qtest.machine import AddressSpace, QtestCore

MAX_LINE: Final = 64 << 20
"""Bytes; what is longer is refused as a whole."""
MOST_BYTES: Final = 1 << 28
"""The largest block of memory."""
MAX_PORT: Final = 0xFFFF
MAX_TIME: Final = (1 << 63) - 1
PINS: Final = {"ioapic": 16, "pic": 16}
"""Devices whose inputs can be intercepted and driven: here both have the ISA interrupt requests."""
UNNAMED: Final = "unnamed-gpio-in"
_NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
_HEX: Final = frozenset("0123456789abcdefABCDEF")

Work: TypeAlias = Iterator[None]
"""A command being done, with pauses; what it answers is in `Qtest.take` when it is at its end."""


class BadCommand(Exception):  # noqa: N818  (what came, not what failed)
    """What is answered where QEMU would give up."""


class Lines:
    """Cuts what comes into lines."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return the lines that are complete, without their ends; None stands for one that was too long."""
        found: list[bytes | None] = []
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            found.append(None if self._too_long else bytes(self._begun))
            self._begun.clear()
            self._too_long = False
        self._add(rest)
        return found

    def _add(self, piece: bytes) -> None:
        if self._too_long or len(self._begun) + len(piece) > self._limit:
            self._too_long = True
            self._begun.clear()
        else:
            self._begun += piece


class Qtest:
    """Performs commands on a board."""

    def __init__(self, board: Board, core: QtestCore, clock: ManualClock) -> None:
        self.board = board
        self.core = core
        self.clock = clock
        self.memory = AddressSpace(core, board.bus.memory)
        self.spoke: Callable[[], None] = lambda: None
        """Called when there is something to be said that nobody has asked for."""
        self._said: list[str] = []
        self._intercepted: str | None = None
        self._told: dict[int, bool] = {}
        self._busy = False
        board.rearm = self._rearm
        self._commands: dict[str, Callable[[list[str]], Work]] = {
            "read": self._read_block,
            "write": self._write_block,
            "b64read": self._read_base64,
            "b64write": self._write_base64,
            "memset": self._fill,
            "endianness": self._endianness,
            "clock_step": self._clock_step,
            "clock_set": self._clock_set,
            "irq_intercept_in": partial(self._intercept, outputs=False),
            "irq_intercept_out": partial(self._intercept, outputs=True),
            "set_irq_in": self._set_irq,
            "module_load": self._load_module,
        }
        for letter, size in {"b": 1, "w": 2, "l": 4, "q": 8}.items():
            self._commands[f"read{letter}"] = partial(self._load, size=size)
            self._commands[f"write{letter}"] = partial(self._store, size=size)
            if size <= 4:
                self._commands[f"in{letter}"] = partial(self._in, size=size)
                self._commands[f"out{letter}"] = partial(self._out, size=size)

    def opened(self) -> None:
        """Hear that a client has come: for it, every interrupt is low as long as it is told nothing else."""
        self._told.clear()
        self._said.clear()

    def take(self) -> bytes:
        """Return what is to be sent now."""
        said, self._said = self._said, []
        return "".join(said).encode("latin-1")

    def perform(self, line: bytes | None) -> Work:
        """Do a command, with pauses in long ones."""
        if line is None:
            self._say(f"FAIL Line longer than {MAX_LINE} bytes")
            return
        words = line.partition(b"\0")[0].decode("latin-1").split(" ")
        command = self._commands.get(words[0])
        self._busy = True
        try:
            if command is None:
                self._say(f"FAIL Unknown command '{words[0]}'")
            else:
                yield from command(words)
        except BadCommand as error:
            self._say(str(error))
        finally:
            self._busy = False

    def _settle(self) -> None:
        """Do what is due now, and the reset that the board may have asked for."""
        step(self.clock, self.board.timed, self.clock.now())
        if self.core.wants_reset:
            self.core.wants_reset = False
            self.board.reset()

    def _rearm(self) -> None:
        """Tick what is due, when something from outside of a command has reached a chip."""
        if not self._busy:
            self._settle()

    def _say(self, text: str) -> None:
        self._said.append(text + "\n")

    # -- ports and memory ---------------------------------------------------------------------------------

    def _in(self, words: list[str], size: int) -> Work:
        value = self.board.bus.pio.read(_port(words), size)
        self._settle()
        self._say(f"OK 0x{value:04x}")
        yield from ()

    def _out(self, words: list[str], size: int) -> Work:
        port, value = _port(words), _number(words, 2)
        self.board.bus.pio.write(port, size, value & (1 << 8 * size) - 1)
        self._settle()
        self._say("OK")
        yield from ()

    def _load(self, words: list[str], size: int) -> Work:
        value = self.memory.load(_number(words, 1), size)
        self._settle()
        self._say(f"OK 0x{value:016x}")
        yield from ()

    def _store(self, words: list[str], size: int) -> Work:
        self.memory.store(_number(words, 1), size, _number(words, 2))
        self._settle()
        self._say("OK")
        yield from ()

    def _read_block(self, words: list[str]) -> Work:
        length = _length(words)
        if not length:
            raise BadCommand("FAIL read: SIZE is 0")
        data = yield from self._read(_number(words, 1), length)
        self._say(f"OK 0x{data.hex()}")

    def _read_base64(self, words: list[str]) -> Work:
        data = yield from self._read(_number(words, 1), _length(words))
        self._say(f"OK {base64.b64encode(data).decode()}")

    def _read(self, address: int, length: int) -> Generator[None, None, bytes]:
        data = bytearray()
        for piece in self.memory.read(address, length):
            data += piece
            yield
        self._settle()
        return bytes(data)

    def _write_block(self, words: list[str]) -> Work:
        address, length, text = _number(words, 1), _length(words), _word(words, 3)
        if len(text) < 3:
            raise BadCommand("ERR invalid argument size")
        yield from self._write(address, _bytes(text[2:], length))

    def _write_base64(self, words: list[str]) -> Work:
        address, length, text = _number(words, 1), _length(words), _word(words, 3)
        if len(text) < 3:
            raise BadCommand("ERR invalid argument size")
        try:
            data = base64.b64decode(text[: len(text) & ~3])
        except binascii.Error:
            raise BadCommand("FAIL b64write: B64_DATA is not base64") from None
        yield from self._write(address, data[:length])

    def _fill(self, words: list[str]) -> Work:
        address, length, value = _number(words, 1), _length(words), _number(words, 3)
        yield from self._write(address, bytes([value & 0xFF]) * length)

    def _write(self, address: int, data: bytes) -> Work:
        yield from self.memory.write(address, data)
        self._settle()
        self._say("OK")

    def _endianness(self, _words: list[str]) -> Work:
        self._say("OK little")
        yield from ()

    # -- time ---------------------------------------------------------------------------------------------

    def _clock_step(self, words: list[str]) -> Work:
        now = self.clock.now()
        if len(words) > 1:
            return self._warp(now + _signed(words, 1))
        due = next_deadline(self.board.timed)
        return self._warp(now if due is None else due)

    def _clock_set(self, words: list[str]) -> Work:
        return self._warp(_signed(words, 1))

    def _warp(self, end: int) -> Work:
        yield from stepped(self.clock, self.board.timed, min(end, MAX_TIME))
        self._settle()
        self._say(f"OK {self.clock.now()}")

    # -- interrupts ---------------------------------------------------------------------------------------

    def _intercept(self, words: list[str], *, outputs: bool) -> Work:
        name = _device(words)
        if self._intercepted is None:
            self._intercepted = name
            if not outputs:
                for number, request in enumerate(self.board.isa):
                    request.output.listeners.append(partial(self._changed, number))
            elif name == "pic":
                self.core.intr_changed = partial(self._changed, 0)
        elif self._intercepted != name:
            raise BadCommand("FAIL IRQ intercept already enabled")
        self._say("OK")
        yield from ()

    def _changed(self, number: int, level: bool) -> None:
        if self._told.get(number, False) != level:
            self._told[number] = level
            self._say(f"IRQ {'raise' if level else 'lower'} {number}")
            if not self._busy:
                self.spoke()

    def _set_irq(self, words: list[str]) -> Work:
        name = _device(words)
        pins, number, level = _word(words, 2), _signed(words, 3), _signed(words, 4)
        if pins != UNNAMED or not 0 <= number < PINS[name]:
            raise BadCommand(f"FAIL set_irq_in: {name} has no {pins}[{number}]; {UNNAMED} has {PINS[name]}")
        line: Line = self.board.isa_lines[number]
        line.set(bool(level))
        self._settle()
        self._say("OK")
        yield from ()

    def _load_module(self, words: list[str]) -> Work:
        _word(words, 2)
        self._say("FAIL")  # there are no modules
        yield from ()


def _word(words: list[str], at: int) -> str:
    if at >= len(words):
        raise BadCommand(f"FAIL {words[0]}: {at} argument{'s' * (at > 1)} needed")
    return words[at]


def _any(words: list[str], at: int) -> int:
    """Return a number as strtoull with base 0 has it: decimal, octal after 0, hexadecimal after 0x, with a sign."""
    text = _word(words, at)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise BadCommand(f"FAIL {words[0]}: '{text}' is not a number")
    sign, hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -value if sign == "-" else value


def _number(words: list[str], at: int) -> int:
    """Return a number of 64 bits; a negative one wraps."""
    value = _any(words, at)
    if abs(value) >= 1 << 64:
        raise BadCommand(f"FAIL {words[0]}: '{words[at]}' is out of range")
    return value & (1 << 64) - 1


def _signed(words: list[str], at: int) -> int:
    value = _any(words, at)
    if not -MAX_TIME - 1 <= value <= MAX_TIME:
        raise BadCommand(f"FAIL {words[0]}: '{words[at]}' is out of range")
    return value


def _port(words: list[str]) -> int:
    port = _number(words, 1)
    if port > MAX_PORT:
        raise BadCommand(f"FAIL {words[0]}: there is no port '{words[1]}'")
    return port


def _length(words: list[str]) -> int:
    length = _number(words, 2)
    if length > MOST_BYTES:
        raise BadCommand(f"FAIL {words[0]}: SIZE '{words[2]}' is more than {MOST_BYTES}")
    return length


def _device(words: list[str]) -> str:
    """Return the name of a device by its path, of which the last part is enough."""
    name = _word(words, 1).rpartition("/")[2]
    if name not in PINS:
        raise BadCommand("FAIL Unknown device")
    return name


def _bytes(text: str, length: int) -> bytes:
    """Return what hexadecimal digits say, cut or filled with zeros to a length; QEMU takes any other letter for -1."""
    text = text[: min(2 * length, len(text) & ~1)]
    if not _HEX.issuperset(text):
        nibbles = [int(letter, 16) if letter in _HEX else -1 for letter in text]
        pairs = zip(nibbles[::2], nibbles[1::2], strict=True)
        return bytes((high << 4 | low) & 0xFF for high, low in pairs).ljust(length, b"\0")
    return bytes.fromhex(text).ljust(length, b"\0")
