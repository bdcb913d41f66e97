"""What the monitor of a server sees of it: the machine that the session serves."""

# ruff: noqa: D102  (what each does stands in `devmodel.control.monitor.Machine`)

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

import attrs
import trio

from devmodel import DevmodelError
from devmodel.board.parts import in_order
from devmodel.consoles.line import BREAK, SerialLine
from devmodel.control import probe
from devmodel.devices.vga_frame import Frame
from devmodel.disks.tray import Disc, Diskette
from devmodel.service import trace
from devmodel.service.departure import Departure
from devmodel.service.outside import Outside
from devmodel.service.server import Board, Server
from devmodel.service.stats import ServerStatistics
from ioreq import ProtocolError
from ioreq.control_client import ControlClient
from ioreq.messages import GetStatistics, Statistics

ANSWERED: Final = 0.05
"""Seconds that an upgrade waits, for the monitor to answer it before it is closed."""


class Machine(Board, Protocol):
    """A board with a screen, a keyboard and a mouse."""

    def connect_serial(self, line: SerialLine, number: int, /) -> None: ...
    def screen(self) -> Frame: ...
    def press(self, keys: list[str]) -> None: ...
    def hold(self, keys: list[str], *, pressed: bool) -> None: ...
    def point(self, right: int, down: int, wheel: int) -> None: ...
    def click(self, button: str, *, pressed: bool) -> None: ...
    def press_power_button(self) -> bool: ...
    def takes_mouse(self) -> bool: ...
    def check_keys(self, keys: list[str]) -> None: ...
    def takes_keys(self) -> bool: ...
    def states(self) -> dict[str, Any]: ...
    @property
    def nmi_masked(self) -> bool: ...


_Drive = TypeVar("_Drive")


def _one_of(drives: Sequence[_Drive], number: int, kind: str) -> _Drive:
    """Return a drive by its number.

    Raises:
        DevmodelError: there is none such.

    """
    if not 0 <= number < len(drives):
        count = len(drives)
        raise DevmodelError(
            f"there is no {kind} drive {number}; "
            + (f"the last is {count - 1}" if count else "there is none")
        )
    return drives[number]


@attrs.frozen
class Watched:
    """What the monitor looks at and types on (`devmodel.control.monitor.Machine`)."""

    client: ControlClient
    board: Machine
    parts: frozenset[str]
    server: Server
    outside: Outside
    departure: Departure
    nursery: trio.Nursery
    prober: probe.Probe

    @property
    def upgrades(self) -> int:
        return self.outside.inheritance.upgrades

    @property
    def paused(self) -> bool:
        return self.prober.paused

    @property
    def memory(self) -> int:
        return sum(region.length for region in self.client.domain.ram)

    @property
    def consoles(self) -> list[str]:
        if "serial" not in self.parts:
            return []
        return [console.address or "" for console in self.outside.consoles]

    def upgrade(self) -> str:
        if not self.departure.upgrades:
            return "only a `devmodel serve` can be upgraded: this server is part of `devmodel run`"
        if self.server.keeper is None:
            return "neither this board nor the core keeps a state that could be handed over"
        if self.outside.trace is not None:
            return "a server that records a trace cannot be upgraded"
        self.nursery.start_soon(self._leave)
        return ""

    async def _leave(self) -> None:
        await trio.sleep(ANSWERED)
        await self.departure.leave(upgrade=True)

    @property
    def name(self) -> str:
        return self.client.domain.name

    def screen(self) -> Frame:
        return self.board.screen()

    def press(self, keys: list[str]) -> None:
        self.board.press(keys)

    def insert(self, drive: int, path: str, *, floppy: bool) -> None:
        if floppy:
            self._diskette(drive).insert(path)
        else:
            self._disc(drive).insert(path)

    def eject(self, drive: int, *, force: bool, floppy: bool) -> None:
        if floppy:
            self._diskette(drive).eject()
        else:
            self._disc(drive).eject(force=force)

    def _diskette(self, drive: int) -> Diskette:
        return _one_of(self.outside.diskettes, drive, "floppy")

    def _disc(self, drive: int) -> Disc:
        return _one_of(self.outside.discs, drive, "CD-ROM")

    async def send_break(self, port: int) -> None:
        consoles = self.outside.consoles
        if not 1 <= port <= len(consoles):
            raise DevmodelError(f"there is no serial port {port}; the last is {len(consoles)}")
        await consoles[port - 1].line.type([BREAK])

    def hold(self, keys: list[str], *, pressed: bool) -> None:
        self.board.hold(keys, pressed=pressed)

    def point(self, right: int, down: int, wheel: int) -> None:
        self.board.point(right, down, wheel)

    def click(self, button: str, *, pressed: bool) -> None:
        self.board.click(button, pressed=pressed)

    def press_power_button(self) -> bool:
        return self.board.press_power_button()

    def takes_mouse(self) -> bool:
        return self.board.takes_mouse()

    def check_keys(self, keys: list[str]) -> None:
        self.board.check_keys(keys)

    def takes_keys(self) -> bool:
        return self.board.takes_keys()

    async def probe(self, command: probe.Command) -> probe.Found:
        return await self.prober.perform(command)

    async def statistics(self) -> ServerStatistics:
        core = await self.client.call(GetStatistics())
        if not isinstance(core, Statistics):
            raise ProtocolError(f"the core answers get_statistics with {type(core).__name__}")
        return ServerStatistics(
            machine=self.name,
            parts=in_order(self.parts),
            ranges=trace.ranges_of(self.board.bus),
            served={name: histogram.pairs() for name, histogram in self.server.service_times.items()},
            core=core,
        )
