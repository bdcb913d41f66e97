"""A random number generator at ports 0x500 to 0x503: about the smallest device there is.

    devmodel run --board examples/dice.py:build

The guest reads 32 bits from port 0x500, the next of the sequence; what it writes there is the seed of another one.
"""

from typing import Final

import attrs

from devmodel.board.pc import Board

BASE: Final = 0x500
MASK: Final = 0xFFFF_FFFF


@attrs.define
class DiceState:
    """Everything the chip remembers: plain data, so that it can be saved."""

    number: int = 1


@attrs.define
class Dice:
    """George Marsaglia's xorshift32 (Journal of Statistical Software 8, 14, 2003), one number a read."""

    state: DiceState = attrs.field(factory=DiceState)

    def reset(self) -> None:
        """Power on: the sequence begins again."""
        self.state = DiceState()

    def read(self, offset: int, size: int) -> int:
        """Read the next number; of a part of it, that part."""
        number = self.state.number
        number ^= number << 13 & MASK
        number ^= number >> 17
        number ^= number << 5 & MASK
        self.state.number = number
        return number >> 8 * offset & (1 << 8 * size) - 1

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Seed it; 0 would give nothing but zeroes, and is taken as 1."""
        self.state.number = value or 1


def build(board: Board) -> None:
    """Add the dice to a PC."""
    board.add(Dice(), name="dice", ports=range(BASE, BASE + 4), width=4)
