"""Wires between chips: levels, all the way. Who looks at an edge decides so himself."""

from collections.abc import Callable
from typing import Protocol

import attrs

Listener = Callable[[bool], None]


class IrqLine(Protocol):
    """The end of a wire that a chip drives."""

    def set(self, level: bool) -> None:
        """Drive the wire; driving the level it has is nothing."""
        ...


@attrs.define
class Line:
    """A wire with one driver and any number of listeners, who hear each change of level once."""

    listeners: list[Listener] = attrs.field(factory=list[Listener])
    level: bool = False

    def set(self, level: bool) -> None:
        """Drive the wire, and tell the listeners if that changed it."""
        if level != self.level:
            self.level = level
            for listener in self.listeners:
                listener(level)


@attrs.define
class Gate:
    """A wire that can be cut: its far end is then low, whatever drives this one."""

    output: IrqLine
    level: bool = False
    cut: bool = False

    def set(self, level: bool) -> None:
        """Drive the near end."""
        self.level = level
        self.output.set(level and not self.cut)

    def cut_off(self, cut: bool) -> None:
        """Cut the wire, or join it."""
        if cut != self.cut:
            self.cut = cut
            self.output.set(self.level and not cut)


@attrs.define
class WiredOr:
    """A wire that several drivers share (an ISA interrupt with PCI interrupts routed to it)."""

    output: Line
    drivers: list[Line] = attrs.field(factory=list[Line])

    def driver(self, *, level: bool = False) -> Line:
        """Return a new end of the wire, which is driven to `level` already: the output is told of changes."""
        line = Line([self._changed], level)
        self.drivers.append(line)
        return line

    def _changed(self, _level: bool) -> None:
        self.output.set(any(line.level for line in self.drivers))
