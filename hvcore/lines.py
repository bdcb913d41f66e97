"""Interrupt lines that ioreq servers drive at each other.

Whoever drives a line says its level (set_isa_irq_level, set_pci_intx_level); the server at its other end hears each
change of what all its drivers together make of it, as on a wire that they share. No driver lowers what another
holds high, and one that dies lets go. `Lines` is the wires of one kind, `InterruptLines` all those of a domain.
"""

import errno
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Generic, TypeVar

from hvcore.attached import IoreqServer
from ioreq import ControlError
from ioreq.control_core import Connection
from ioreq.messages import IsaIrqLevel, PciIntxLevel, SetIsaIrqLevel, SetPciIntxLevel

ISA_LINES: Final = 16
COPROCESSOR: Final = 13
"""The interrupt request that FERR# is on a PC."""
MAX_LINES: Final = 64
"""Interrupt lines that one device model may hold high."""

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


class InterruptLines:
    """Who drives which line of a domain, and the servers at the other ends, which hear of it.

    The server with the interrupt controller (`isa_owner`) hears of ISA lines; that with the PCI host bridge
    (`bridge_owner`) of PCI lines, for its ISA bridge routes them. Used by the control thread, but for what says so.
    """

    def __init__(
        self, isa_owner: Callable[[], IoreqServer | None], bridge_owner: Callable[[], IoreqServer | None]
    ) -> None:
        self._isa_owner = isa_owner
        self._bridge_owner = bridge_owner
        self._isa: Lines[Connection, int] = Lines()
        self._intx: Lines[Connection, tuple[int, int, int]] = Lines()
        self._coprocessor_error = False

    def coprocessor_error(self, level: bool) -> None:
        """Drive interrupt request 13; in a vCPU's thread."""
        self._coprocessor_error = level
        owner = self._isa_owner()
        if owner is not None:
            owner.connection.send(IsaIrqLevel(COPROCESSOR, level))

    def drive_isa(self, driver: Connection, op: SetIsaIrqLevel) -> None:
        """Drive an ISA line. Raises ControlError (ENOSPC) if the driver holds too many high."""
        self._check(driver, op.level)
        if self._isa.drive(driver, op.irq, op.level):
            self._tell(self._isa_owner(), IsaIrqLevel(op.irq, op.level), driver)

    def drive_intx(self, driver: Connection, op: SetPciIntxLevel) -> None:
        """Drive an INTx# pin of a PCI function. Raises ControlError (ENOSPC) if the driver holds too many high."""
        self._check(driver, op.level)
        if self._intx.drive(driver, (op.bus, op.device, op.intx), op.level):
            self._tell(self._bridge_owner(), PciIntxLevel(op.bus, op.device, op.intx, op.level), driver)

    def _check(self, driver: Connection, level: bool) -> None:
        if level and self._isa.held_by(driver) + self._intx.held_by(driver) >= MAX_LINES:
            raise ControlError(errno.ENOSPC, f"at most {MAX_LINES} interrupt lines high for a device model")

    @staticmethod
    def _tell(
        server: IoreqServer | None, event: IsaIrqLevel | PciIntxLevel, driver: Connection | None = None
    ) -> None:
        """Tell a server of a line's level; one that comes later is told then (`tell`).

        Who drives lines faster than the server hears of it waits for the server.
        """
        if server is not None:
            server.connection.send(event)
            if driver is not None and driver is not server.connection:
                driver.wait_for(server.connection)

    def release(self, driver: Connection) -> None:
        """Let a driver's lines fall, where nobody else holds them high."""
        for irq in self._isa.let_go(driver):
            self._tell(self._isa_owner(), IsaIrqLevel(irq, False))
        for bus, device, intx in self._intx.let_go(driver):
            self._tell(self._bridge_owner(), PciIntxLevel(bus, device, intx, False))

    def tell(self, server: IoreqServer, *, low: bool = False) -> None:
        """Tell a server which lines that end at it are high; others drove them before it was there.

        A successor is told of the `low` ones too: they may have fallen since its predecessor left.
        """
        if not server.enabled:
            return
        if self._isa_owner() is server:
            high = {*self._isa.high(), *([COPROCESSOR] if self._coprocessor_error else [])}
            for irq in sorted(set(range(ISA_LINES)) - high) if low else ():
                self._tell(server, IsaIrqLevel(irq, False))
            for irq in sorted(high):
                self._tell(server, IsaIrqLevel(irq, True))
        if self._bridge_owner() is server:
            for bus, device, intx in self._intx.high():
                self._tell(server, PciIntxLevel(bus, device, intx, True))
