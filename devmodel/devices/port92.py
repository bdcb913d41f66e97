"""System control port A at 0x92 (IBM PS/2 TR): fast A20 and fast reset.

Address line 20 is open while this port or the keyboard controller says so; each reads back what it said itself.
Not modelled: the security lock and the activity lights.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.lines import Line

FAST_RESET: Final = 0x01
A20: Final = 0x02


@attrs.define
class Port92State:
    """What the port remembers."""

    a20: bool = False
    reset_bit: bool = False


@attrs.define(kw_only=True)
class Port92:
    """One port; `a20` is its end of the line."""

    a20: Line
    reset_processor: Callable[[], None]
    state: Port92State = attrs.field(factory=Port92State)

    def __attrs_post_init__(self) -> None:
        self._drive()

    def reset(self) -> None:
        """Power on: A20 is left to the keyboard controller."""
        self.state = Port92State()
        self._drive()

    def read(self, _offset: int, _size: int) -> int:
        """Read both bits back."""
        s = self.state
        return (A20 if s.a20 else 0) | (FAST_RESET if s.reset_bit else 0)

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write A20; the reset bit resets when it goes from 0 to 1."""
        s = self.state
        s.a20 = bool(value & A20)
        was, s.reset_bit = s.reset_bit, bool(value & FAST_RESET)
        self._drive()
        if s.reset_bit and not was:
            self.reset_processor()

    def _drive(self) -> None:
        self.a20.set(self.state.a20)
