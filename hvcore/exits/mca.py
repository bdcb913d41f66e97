"""Machine-check registers of a processor on which no machine check ever happens (SDM vol. 3 ch. 16)."""

from typing import Final

import attrs

P5_ADDRESS: Final = 0
P5_TYPE: Final = 1
CAPABILITIES: Final = 0x179
STATUS: Final = 0x17A
BANKS: Final = 0x400
COUNT: Final = 5
"""As in a P6. Each has CTL, STATUS, ADDR and MISC."""


@attrs.define
class MachineCheck:
    """The registers of one processor."""

    status: int = 0
    controls: list[int] = attrs.field(factory=lambda: [0] * COUNT)

    def read(self, index: int) -> int | None:
        """Return a register; None: there is none."""
        if index == CAPABILITIES:
            return COUNT
        if index == STATUS:
            return self.status
        if not BANKS <= index < BANKS + 4 * COUNT:
            return None
        return 0 if index % 4 else self.controls[index - BANKS >> 2]

    def write(self, index: int, value: int) -> bool:
        """Set a register. False: there is none, or it holds nothing but zero."""
        if index == STATUS and not value & ~7:
            self.status = value
            return True
        if not BANKS <= index < BANKS + 4 * COUNT:
            return False
        if index % 4:
            return value == 0
        self.controls[index - BANKS >> 2] = value
        return True
