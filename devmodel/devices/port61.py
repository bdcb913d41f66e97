"""System control port B at 0x61 (IBM PS/2 TR): the timer's counter 2 and the speaker.

Not modelled: parity and channel check (always good), the sound.
"""

from typing import Final, Protocol

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.devices.pit import FREQUENCY

GATE2: Final = 0x01
WRITABLE: Final = 0x0F  # gate, speaker, and the two check enables
REFRESH: Final = 0x10  # toggles with each refresh request
OUT2: Final = 0x20
REFRESH_PULSES: Final = 18  # of the timer's clock: about 15 us


class Timer(Protocol):
    """The side of the 8254 that is wired here."""

    def set_gate(self, counter: int, level: bool) -> None:
        """Drive GATE."""
        ...

    def output(self, counter: int) -> bool:
        """Return OUT."""
        ...


@attrs.define
class Port61State:
    """What the port remembers."""

    control: int = 0


@attrs.define(kw_only=True)
class Port61:
    """One port."""

    clock: Clock
    timer: Timer
    state: Port61State = attrs.field(factory=Port61State)

    def __attrs_post_init__(self) -> None:
        self._drive()

    def reset(self) -> None:
        """Power on."""
        self.state = Port61State()
        self._drive()

    def read(self, _offset: int, _size: int) -> int:
        """Read the control bits, the refresh toggle and OUT2."""
        refreshes = self.clock.now() * FREQUENCY // (NS_PER_S * REFRESH_PULSES)
        value = self.state.control | (REFRESH if refreshes & 1 else 0)
        return value | OUT2 if self.timer.output(2) else value

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write the control bits."""
        self.state.control = value & WRITABLE
        self._drive()

    def _drive(self) -> None:
        self.timer.set_gate(2, bool(self.state.control & GATE2))
