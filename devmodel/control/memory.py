"""Guest memory as a person asks for it: dumps by format, and linear addresses by the guest's own page tables."""

import re
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from devmodel import ConfigError, DevmodelError
from ioreq.messages import VcpuContext

PAGE: Final = 4096
MOST: Final = 1 << 20
"""Bytes in one dump."""
LINE: Final = 16
PG: Final = 1 << 31
PSE: Final = 1 << 4
PAE: Final = 1 << 5
PRESENT: Final = 1
LARGE: Final = 1 << 7

Read = Callable[[int, int], Awaitable[bytes]]
"""Reads guest-physical memory: address and length."""

_FORMAT: Final = re.compile(r"/(\d*)([a-z]*)", re.ASCII)
_LETTERS: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


@attrs.frozen
class Format:
    """How memory is shown: so many items of 1, 2, 4 or 8 bytes, as x, d, u, o or c."""

    count: int = 1
    form: str = "x"
    size: int = 4

    @classmethod
    def parse(cls, text: str) -> "Format":
        """Return what "/4xw" says.

        Raises:
            ConfigError: it is no format.

        """
        match = _FORMAT.fullmatch(text)
        count, form, size = 1, "x", 4
        if match is None:
            raise ConfigError(f"format '{text}'; {_ALLOWED}")
        if match[1]:
            count = int(match[1])
        for letter in match[2]:
            if letter in _LETTERS:
                size = _LETTERS[letter]
            elif letter in "xduoc":
                form = letter
                size = 1 if letter == "c" else size
            else:
                raise ConfigError(f"format '{text}': '{letter}'; {_ALLOWED}")
        if not 0 < count * size <= MOST:
            raise ConfigError(f"format '{text}': {count} items; allowed: 1 to {MOST // size}")
        return cls(count, form, size)

    def show(self, value: int) -> str:
        """Return one item as text."""
        match self.form:
            case "x":
                return f"0x{value:0{2 * self.size}x}"
            case "o":
                return f"0{value:0{-(-8 * self.size // 3)}o}"
            case "d":
                bits = 8 * self.size
                return str(value - (value >> bits - 1 << bits))
            case "c":
                character = chr(value)
                return (
                    f"'{character}'"
                    if character.isascii() and character.isprintable()
                    else f"'\\x{value:02x}'"
                )
            case _:
                return str(value)

    def lines(self, address: int, data: bytes, digits: int) -> str:
        """Return a dump: an address of so many digits, then its items, sixteen bytes a line."""
        values = struct.unpack(f"<{self.count}{_CODES[self.size]}", data)
        each = LINE // self.size
        return "".join(
            f"{address + at * self.size:0{digits}x}: "
            + " ".join(map(self.show, values[at : at + each]))
            + "\n"
            for at in range(0, self.count, each)
        )


_ALLOWED: Final = "allowed: /, a count, one of x d u o c, and one of b h w g, as in /4xw"


async def translate(read: Read, context: VcpuContext, linear: int) -> int:
    """Return the guest-physical address of a linear one (SDM vol. 3 chapter 4: none, 32-bit and PAE paging).

    Raises:
        DevmodelError: nothing is mapped there.

    """
    linear &= 0xFFFF_FFFF
    if not context.cr0 & PG:
        return linear
    shifts: tuple[int, ...]
    if context.cr4 & PAE:
        table, width, shifts, large = context.cr3 & ~0x1F, 8, (30, 21, 12), 21
    else:
        table, width, shifts, large = context.cr3 & ~0xFFF, 4, (22, 12), 22 if context.cr4 & PSE else 0
    for shift in shifts:
        index = linear >> shift & (3 if shift == 30 else 511 if width == 8 else 1023)
        entry = int.from_bytes(await read(table + width * index, width), "little")
        if not entry & PRESENT:
            raise DevmodelError(f"nothing is mapped at {linear:#x}")
        if shift == large and entry & LARGE:
            high = (entry >> 13 & 0xFF) << 32 if width == 4 else 0  # PSE-36
            page = entry & 0xF_FFFF_FFFF_F000 & -(1 << shift) | high
            return page | linear & (1 << shift) - 1
        table = entry & 0xF_FFFF_FFFF_F000
    return table | linear & PAGE - 1


async def read_linear(read: Read, context: VcpuContext, linear: int, length: int) -> bytes:
    """Return memory by linear address, a page at a time.

    Raises:
        DevmodelError: part of it is not mapped.

    """
    data = b""
    while len(data) < length:
        at = linear + len(data)
        part = min(length - len(data), PAGE - at % PAGE)
        data += await read(await translate(read, context, at), part)
    return data
