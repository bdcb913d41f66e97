"""Interrupt lines that ioreq servers drive at each other.

Whoever drives a line says its level (set_isa_irq_level, set_pci_intx_level); the server at its other end hears each
change of what all its drivers together make of it, as on a wire that they share. No driver lowers what another
holds high, and one that dies lets go.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

_Driver = TypeVar("_Driver", bound=Hashable)
_Line = TypeVar("_Line", bound=Hashable)


class Lines(Generic[_Driver, _Line]):
    """Lines of one kind; one is high while any of its drivers holds it high."""

    def __init__(self) -> None:
        self._held: dict[_Line, set[_Driver]] = {}

    def drive(self, driver: _Driver, line: _Line, level: bool) -> bool:
        """Drive a line; whether that changed its level."""
        held = self._held.setdefault(line, set())
        before = bool(held)
        if level:
            held.add(driver)
        else:
            held.discard(driver)
        if not held:
            del self._held[line]
        return level != before and bool(held) == level

    def let_go(self, driver: _Driver) -> list[_Line]:
        """Forget a driver, and return the lines that fall with it."""
        return [line for line in list(self._held) if self.drive(driver, line, False)]

    def held_by(self, driver: _Driver) -> int:
        """Count the lines that a driver holds high."""
        return sum(driver in held for held in self._held.values())

    def high(self) -> Iterator[_Line]:
        """Yield the lines that are high."""
        yield from self._held
