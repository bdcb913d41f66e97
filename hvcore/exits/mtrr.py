"""Memory-type range registers (SDM vol. 3 §12.11).

They hold what they are told and change nothing: there is no cache. Software reads them to learn what firmware made
of memory, and believes a machine whose registers make no sense to be broken.
"""

from typing import Final

import attrs

CAP: Final = 0xFE
VARIABLE: Final = 0x200
DEFAULT: Final = 0x2FF
FIXED: Final = (0x250, 0x258, 0x259, *range(0x268, 0x270))
"""00000 by 64 KiB, 80000 and A0000 by 16 KiB, C0000 to F8000 by 4 KiB."""

COUNT: Final = 8
CAPABILITIES: Final = COUNT | 1 << 8 | 1 << 10
"""Eight variable ranges, the fixed ones, and write combining."""
UC, WC, WT, WP, WB = 0, 1, 4, 5, 6
TYPES: Final = frozenset({UC, WC, WT, WP, WB})
ADDRESS: Final = 0xF_FFFF_F000
VALID: Final = 1 << 11
ENABLE: Final = 1 << 11
FIXED_ENABLE: Final = 1 << 10
PCI_HOLE: Final = 3 << 30
"""Up to 4 GiB."""
EVERYWHERE: Final = 0x0101_0101_0101_0101
"""A type times this is eight fields of it."""


@attrs.define
class Mtrr:
    """The registers of one processor, clear as after RESET."""

    values: dict[int, int] = attrs.field(
        factory=lambda: dict.fromkeys((*range(VARIABLE, VARIABLE + 2 * COUNT), *FIXED, DEFAULT), 0)
    )

    def read(self, index: int) -> int | None:
        """Return a register; None: there is none."""
        return CAPABILITIES if index == CAP else self.values.get(index)

    def write(self, index: int, value: int) -> bool:
        """Set a register. False: there is none, it is read-only, or the value is reserved."""
        if index not in self.values or not _allowed(index, value):
            return False
        self.values[index] = value
        return True

    def set_up(self) -> None:
        """Do what a PC's firmware does: write-back, but for VGA, ROM and the hole below 4 GiB."""
        for index in FIXED:
            self.values[index] = EVERYWHERE * WP
        self.values |= {0x250: EVERYWHERE * WB, 0x258: EVERYWHERE * WB, 0x259: EVERYWHERE * UC}
        self.values[VARIABLE] = PCI_HOLE | UC
        self.values[VARIABLE + 1] = ADDRESS & ~((1 << 30) - 1) | VALID
        self.values[DEFAULT] = ENABLE | FIXED_ENABLE | WB


def _allowed(index: int, value: int) -> bool:
    if index == DEFAULT:
        return not value & ~(ENABLE | FIXED_ENABLE | 0xFF) and value & 0xFF in TYPES
    if index in FIXED:
        return all(byte in TYPES for byte in value.to_bytes(8, "little"))
    if index & 1:
        return not value & ~(ADDRESS | VALID)
    return not value & ~(ADDRESS | 0xFF) and value & 0xFF in TYPES
