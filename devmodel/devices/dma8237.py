"""Intel 8237A DMA controllers of a PC and their page registers: they read back, and move nothing.

Firmware initialises them; no device here asks for a transfer.
Not modelled: transfers, requests, the temporary register.
"""

from typing import Final

import attrs


class Reg:
    """Register numbers after the eight address and count registers."""

    COMMAND: Final = 8  # status on read
    REQUEST: Final = 9
    SINGLE_MASK: Final = 10
    MODE: Final = 11
    CLEAR_FLIP_FLOP: Final = 12
    MASTER_CLEAR: Final = 13  # temporary register on read
    CLEAR_MASK: Final = 14
    ALL_MASK: Final = 15


@attrs.define
class Dma8237State:
    """Everything one controller remembers."""

    words: list[int] = attrs.field(factory=lambda: [0] * 8)  # address and count of channels 0 to 3
    high_next: bool = False
    mask: int = 0x0F
    command: int = 0
    modes: list[int] = attrs.field(factory=lambda: [0] * 4)


@attrs.define(kw_only=True)
class Dma8237:
    """One controller; registers are `1 << shift` ports apart (the second's are at even ports)."""

    shift: int
    state: Dma8237State = attrs.field(factory=Dma8237State)

    def reset(self) -> None:
        """Power on."""
        self.state = Dma8237State()

    def read(self, offset: int, _size: int) -> int:
        """Read half an address or count, the status or the mask."""
        s = self.state
        register = offset >> self.shift
        if register < 8:
            value = s.words[register]
            s.high_next = not s.high_next
            return value & 0xFF if s.high_next else value >> 8
        return 0xF0 | s.mask if register == Reg.ALL_MASK else 0

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write half an address or count, or a command."""
        s = self.state
        value &= 0xFF
        match offset >> self.shift:
            case register if register < 8:
                word = s.words[register]
                word = word & 0xFF | value << 8 if s.high_next else word & 0xFF00 | value
                s.words[register] = word
                s.high_next = not s.high_next
            case Reg.COMMAND:
                s.command = value
            case Reg.SINGLE_MASK:
                bit = 1 << (value & 3)
                s.mask = s.mask | bit if value & 4 else s.mask & ~bit
            case Reg.MODE:
                s.modes[value & 3] = value
            case Reg.CLEAR_FLIP_FLOP:
                s.high_next = False
            case Reg.MASTER_CLEAR:
                s.high_next = False
                s.mask = 0x0F
                s.command = 0
            case Reg.CLEAR_MASK:
                s.mask = 0
            case Reg.ALL_MASK:
                s.mask = value & 0x0F
            case _:
                pass


@attrs.define
class DmaPagesState:
    """What the page registers hold."""

    pages: bytearray = attrs.field(factory=lambda: bytearray(15))


@attrs.define(kw_only=True)
class DmaPages:
    """Ports 0x81-0x8F."""

    state: DmaPagesState = attrs.field(factory=DmaPagesState)

    def reset(self) -> None:
        """Power on."""
        self.state = DmaPagesState()

    def read(self, offset: int, _size: int) -> int:
        """Read a page register."""
        return self.state.pages[offset % 15]

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a page register."""
        self.state.pages[offset % 15] = value & 0xFF
