# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""Wires between chips: levels, all the way. Who looks at an edge decides so himself."""

from collections.abc import Callable, Sequence
from typing import Protocol

Listener = Callable[[bool], None]


class IrqLine(Protocol):
    """The end of a wire that a chip drives."""

    def set(self, level: bool) -> None:
        """Drive the wire; driving the level it has is nothing."""
        ...


class Line:
    """A wire with one driver and any number of listeners, who hear each change of level once."""

    __slots__ = ("level", "listeners")

    def __init__(self, listeners: Sequence[Listener] = (), level: bool = False) -> None:
        self.listeners = list(listeners)
        self.level = level

    def set(self, level: bool) -> None:
        """Drive the wire, and tell the listeners if that changed it."""
        if level != self.level:
            self.level = level
            for listener in self.listeners:
                listener(level)


class Gate:
    """A wire that can be cut: its far end is then low, whatever drives this one."""

    __slots__ = ("cut", "level", "output")

    def __init__(self, output: IrqLine) -> None:
        self.output = output
        self.level = False
        self.cut = False

    def set(self, level: bool) -> None:
        """Drive the near end."""
        self.level = level
        self.output.set(level and not self.cut)

    def cut_off(self, cut: bool) -> None:
        """Cut the wire, or join it."""
        if cut != self.cut:
            self.cut = cut
            self.output.set(self.level and not cut)


class WiredOr:
    """A wire that several drivers share (an ISA interrupt with PCI interrupts routed to it)."""

    __slots__ = ("drivers", "output")

    def __init__(self, output: Line) -> None:
        self.output = output
        self.drivers: list[Line] = []

    def driver(self, *, level: bool = False) -> Line:
        """Return a new end of the wire, which is driven to `level` already: the output is told of changes."""
        line = Line([self._changed], level)
        self.drivers.append(line)
        return line

    def _changed(self, level: bool) -> None:
        if not level:
            for line in self.drivers:
                if line.level:
                    return
        self.output.set(level)
