"""A board: the chips of a PC on their bus, as a server, a bench or a test sees them, with chips of one's own beside.

`wiring` has the PC itself: which line goes where, and what is mapped where.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, Self, TypeVar, cast, runtime_checkable

import attrs

from devmodel import ConfigError
from devmodel.board import saved as state_as_bytes
from devmodel.board.bus import Bus
from devmodel.board.clock import Clock, ManualClock
from devmodel.board.device import Device, GuestRam, Resettable, Timed
from devmodel.board.lines import IrqLine, Line, WiredOr
from devmodel.board.mirror import Mirror
from devmodel.board.outside import Core, Fittings
from devmodel.board.parts import ALL, OWN, chips_of, part_of_mapping
from devmodel.board.wiring import PIC_PORT, Left, Levels, do_as_firmware, driver_of, place, wire
from devmodel.devices.fdc import Fdc
from devmodel.devices.ide import IdeChannel
from devmodel.devices.keyboard import Keyboard
from devmodel.devices.mmc import Tray
from devmodel.devices.mouse import Mouse
from devmodel.devices.parallel import Parallel
from devmodel.devices.pci import PciBus, PciFunction
from devmodel.devices.pic import PicPair
from devmodel.devices.piix4pm import Piix4Pm
from devmodel.devices.rtc import Rtc
from devmodel.devices.uart import LSR_BI, LSR_FE, Uart
from devmodel.devices.vga import Vga
from devmodel.devices.vga_frame import Frame

COMBINATION: Final = 14
"""Bytes of shift-insert with its false shifts, pressed and released, and one more."""

_Chip = TypeVar("_Chip")


@attrs.frozen
class SerialPort:
    """A serial port, as the line at its far end sees it."""

    board: "Board"
    number: int = 0

    def room(self) -> int:
        """Return how many bytes it can take now."""
        return self.board.uarts[self.number].room()

    def receive(self, byte: int) -> None:
        """Take a byte; it may start the character timeout."""
        self.board.uarts[self.number].receive(byte)
        self.board.rearm()

    def receive_break(self) -> None:
        """Take a break: a character of zeros, with no stop bit behind it."""
        self.board.uarts[self.number].receive(0, LSR_BI | LSR_FE)
        self.board.rearm()

    def clear_to_send(self, level: bool) -> None:
        """Drive CTS."""
        self.board.uarts[self.number].clear_to_send(level)


class SerialLine(Protocol):
    """The far end of a serial port."""

    def connect(self, chip: SerialPort, /) -> None:
        """Hear where bytes may be sent."""
        ...

    def transmit(self, byte: int, /) -> None:
        """Take a byte from the guest."""
        ...

    def drained(self) -> None:
        """Hear that the guest has read all it had."""
        ...


class Interrupting(Protocol):
    """A chip with an interrupt request."""

    irq: IrqLine


class PciDevice(Protocol):
    """A chip behind a PCI function."""

    pci: PciFunction


@runtime_checkable
class Resumable(Protocol):
    """A chip that wants to know that it goes on from a state which a predecessor has left."""

    def resumed(self) -> None:
        """Make up for what is outside of the state: outputs other than the interrupt request, requests under way."""
        ...


class _Nothing:
    """The outside of a board that nobody uses."""

    video = None

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


def state_types() -> dict[str, type]:
    """Return the class of each record that `Board.states` has."""
    board = Board.build(ManualClock(), cast("Core", _Nothing()), Fittings(memory=[]))
    return {name: type(state) for name, state in board.states().items()}


def _carry_over(old: object, new: Line) -> Line:
    """Return the driver that takes the place of a line that led nowhere, and drive it as that was driven."""
    if isinstance(old, Line) and old.level:
        new.set(True)
    return new


def _check_chip(
    name: str, chip: object, *, maps: bool, irq: int | None, slot: int | None, timed: bool | None
) -> None:
    """Refuse a chip that lacks what it must have for where it is put."""
    needs = {
        "read, write": maps,
        "irq": irq is not None,
        "pci": slot is not None,
        "deadline, tick": bool(timed),
        "state, reset": hasattr(chip, "state") or hasattr(chip, "reset"),
    }
    for names, needed in needs.items():
        for attribute in names.split(", ") if needed else ():
            if not hasattr(chip, attribute):
                raise ConfigError(f"{name}: {type(chip).__name__} has no '{attribute}'; needed here: {names}")
    if slot is not None and not isinstance(cast("PciDevice", chip).pci, PciFunction):
        raise ConfigError(f"{name}: its attribute 'pci' is no PciFunction")
    if not (maps or slot is not None):
        raise ConfigError(f"{name}: nobody would reach it; give ports, memory or slot")


@attrs.define(kw_only=True)
class Board:
    """The chips and their bus. Everything here is synchronous."""

    bus: Bus
    chips: dict[str, Resettable]
    timed: list[Timed]
    alone: int
    """Those of them, as bits, whose tick moves no other's deadline: the PC's own. Of others it is not known."""
    pic: PicPair
    uarts: list[Uart]  # COM1 to COM4, whether they are mapped or not
    vga: Vga
    keyboard: Keyboard
    mouse: Mouse
    ide: list[IdeChannel]
    fdc: Fdc
    parallel: Parallel
    pci: PciBus
    clock: Clock
    core: Core
    isa: list[WiredOr]  # interrupt requests 0 to 15
    isa_lines: list[Line]  # for interrupts from elsewhere
    drivers: dict[str, Line]  # of interrupt requests, from here and elsewhere
    pci_lines: list[WiredOr]  # PIRQA# to PIRQD#
    left: Left = lambda _name, _type: None
    parts: frozenset[str] = ALL
    trays: list[Tray] = attrs.field(factory=list[Tray])  # of CD-ROM drives
    firmware: Callable[[], None] = lambda: None  # does what firmware would, where there is none
    _intx: dict[tuple[int, int], Line] = attrs.field(init=False, factory=dict[tuple[int, int], Line])
    rearm: Callable[[], None] = lambda: None
    """Called when something other than an access may have changed a deadline; the server sets it."""
    tasks: list[Callable[[], Awaitable[None]]] = attrs.field(
        factory=list[Callable[[], Awaitable[None]]], init=False
    )
    """What runs beside the chips: see `beside`."""

    @classmethod
    def build(
        cls,
        clock: Clock,
        core: Core,
        fittings: Fittings,
        saved: Mapping[str, Any] | None = None,
        *,
        extend: Callable[[Self], None] = lambda _: None,
        left: Left | None = None,
    ) -> Self:
        """Build a machine, or the parts of one: fresh, or as `save` left it.

        Chips of other parts are made too, so that there is one list of wires. Nobody reaches those, they drive
        nothing, and they are forgotten with this call. `extend` adds what is not the PC's own (`add`, `plug`,
        `beside`), whose records, not being known before, are asked for by `left`.

        Raises:
            ConfigError: two devices want the same addresses.

        """
        left = left or (lambda name, _type: None if saved is None else copy.deepcopy(saved.get(name)))
        w = wire(clock, core, fittings, saved or {}, left)
        place(w, core, fittings)
        here = chips_of(fittings.parts)
        w.bus.keep(lambda name: part_of_mapping(name) in fittings.parts)
        timed = [name for name in w.timed if name in here]
        w.bus.number(timed)
        w.pci.update()
        board = cls(
            bus=w.bus,
            chips={name: chip for name, chip in w.chips.items() if name in here},
            timed=[w.timed[name] for name in timed],
            alone=(1 << len(timed)) - 1,
            pic=w.pic,
            uarts=w.uarts,
            vga=w.vga,
            keyboard=w.kbc.keyboard,
            mouse=w.kbc.mouse,
            ide=w.ide,
            fdc=w.fdc,
            parallel=w.parallel,
            pci=w.pci,
            clock=clock,
            core=core,
            isa=w.isa,
            isa_lines=w.isa_lines,
            drivers=w.drivers,
            pci_lines=w.pirqs,
            left=left,
            parts=fittings.parts,
            trays=[disk for disk in fittings.disks if isinstance(disk, Tray)],
        )
        if fittings.bare:
            board.firmware = partial(do_as_firmware, w, core, fittings)
            if not saved:
                board.firmware()
        w.parallel.rearm = lambda: board.rearm()  # noqa: PLW0108
        w.fdc.rearm = lambda: board.rearm()  # noqa: PLW0108  (the server sets another later)
        for channel in w.ide:
            channel.rearm = lambda: board.rearm()  # noqa: PLW0108  (the server sets another later)
        extend(board)
        for n, pirq in enumerate(w.pirqs):
            w.piix3.set_pirq(n, pirq.output.level)  # lines from elsewhere are only told of if they are high
        return board

    # -- chips of one's own -------------------------------------------------------------------------------

    @property
    def ram(self) -> GuestRam:
        """Guest memory, for a bus master: what it writes is seen by the guest before it runs on."""
        return self.core

    def add(
        self,
        chip: _Chip,
        *,
        name: str,
        ports: int | range | None = None,
        memory: range | None = None,
        irq: int | None = None,
        slot: int | None = None,
        timed: bool | None = None,
        width: int = 1,
        waits: str = "",
        mirror: Mirror | None = None,
    ) -> _Chip:
        """Put a chip of one's own on the board, and return it; `docs/your-own-device.md` has examples.

        `ports` and `memory` are where it answers, `width` the widest access in bytes that it takes in one go, `waits`
        why the guest must wait for a write, `mirror` what the core may read by itself (see `Bus.map`). `irq` is the
        ISA interrupt request, 0 to 15, that its attribute `irq` drives; `slot` the PCI slot of the `PciFunction` that
        is its attribute `pci`. It is ticked if it has `deadline` and `tick`, unless `timed` says otherwise. If it has
        `state` and `reset` it is on the reset line, and its state is saved, and put in again for a successor; then
        `resumed()` is called, if it has that, to make up for what is outside of the state.

        Of a chip that is another server's (`--only`, `--apart`) nothing of that is done: nobody reaches it.

        Raises:
            ConfigError: something of that is taken, or the chip has not what it needs.

        """
        _check_chip(name, chip, maps=ports is not None or memory is not None, irq=irq, slot=slot, timed=timed)
        if OWN not in self.parts:
            return chip
        self._check_name(name)
        if isinstance(ports, int):
            ports = range(ports, ports + 1)
        for space, addresses in ((self.bus.pio, ports), (self.bus.memory, memory)):
            if addresses is None:
                continue
            if addresses.step != 1 or not addresses:
                raise ConfigError(f"{name}: {addresses} are no addresses; give range(first, last + 1)")
            space.heed(addresses[0], addresses[-1])
            device = cast("Device", chip)
            space.map(addresses[0], addresses[-1], device, name=name, width=width, waits=waits, mirror=mirror)
        if irq is not None:
            wired = cast("Interrupting", chip)
            wired.irq = _carry_over(wired.irq, self.irq(irq, name))
        if isinstance(chip, Resettable):
            self._take_state(name, chip)
        if slot is not None:
            self._plug(slot, cast("PciDevice", chip).pci, f"{name} pci")
        if isinstance(chip, Timed) and timed is not False:
            self.timed.append(chip)
        return chip

    def plug(self, slot: int, function: PciFunction) -> None:
        """Put a function of one's own into a slot of bus 0, as its function 0; the guest finds it there.

        Its state is saved and put in again; that of the devices behind its registers is not: `add` sees to both.

        Raises:
            ConfigError: the slot is taken, or there is none such.

        """
        if OWN in self.parts:
            self._plug(slot, function, function.name)

    def irq(self, number: int, who: str) -> Line:
        """Return one more driver of an ISA interrupt request; high already if `who` held it high before.

        Raises:
            ConfigError: there is no such request, or `who` has this driver already.

        """
        if not 0 <= number < 16:
            raise ConfigError(f"{who}: there is no interrupt request {number}; allowed: 0 to 15")
        if f"irq {number} of {who}" in self.drivers:
            raise ConfigError(f"{who}: it drives interrupt request {number} already")
        if OWN not in self.parts:
            return Line()
        return driver_of(self.isa, self.drivers, number, who, self.left("lines", Levels))

    def beside(self, task: Callable[[], Awaitable[None]]) -> None:
        """Have a task run beside the chips as long as they are served: the far end of one that does no I/O itself.

        It is started when the board is complete, in the server's event loop (trio), and cancelled at the end. After it
        has given its chip something it calls `rearm`.
        """
        if OWN in self.parts:
            self.tasks.append(task)

    def _plug(self, slot: int, function: PciFunction, name: str) -> None:
        self._check_name(name)
        if not 0 <= slot < 32 or (slot, 0) in self.pci.functions:
            raise ConfigError(f"{function.name}: PCI slot {slot} is taken, or is none (0 to 31)")
        state = self.left(name, type(function.state))
        if state is not None:
            function.restore(state)
        if function.pin:
            function.line = _carry_over(function.line, self._intx_driver(slot, function.pin - 1))
        self.pci.functions[slot, 0] = function
        self.chips[name] = function
        self.pci.update()

    def _intx_driver(self, slot: int, intx: int) -> Line:
        """Return a driver of INTA# to INTD# (0-3) of a slot; PIIX3 boards rotate them by slot."""
        if "pci" in self.parts:
            return self.pci_lines[(intx + slot - 1) & 3].driver()
        return Line([partial(self.core.pci_intx, slot, intx)])

    def _take_state(self, name: str, chip: Resettable) -> None:
        """Put a chip's state in that a predecessor has left."""
        state_as_bytes.check(name, chip.state)
        state = self.left(name, type(chip.state))
        if state is not None:
            cast("Any", chip).state = state
            if isinstance(chip, Resumable):
                chip.resumed()
        self.chips[name] = chip

    def _check_name(self, name: str) -> None:
        if name in self.chips or name == "lines":
            raise ConfigError(f"{name}: there is a chip of this name")

    # -- what a server asks of it -------------------------------------------------------------------------

    @property
    def acknowledges(self) -> bool:
        """Whether the interrupt controller is on this board."""
        return "pic" in self.parts

    @property
    def config_functions(self) -> list[int]:
        """PCI functions (device << 3 | function) whose configuration is reached by another board's ports."""
        if "pci" in self.parts:
            return []
        return [device << 3 | function for device, function in sorted(self.pci.functions)]

    @property
    def pci_config(self) -> Device:
        """Who answers PCI_CONFIG requests."""
        return self.pci.config

    def acknowledge(self) -> int | None:
        """Answer the processor's interrupt-acknowledge cycle with a vector; None if INTR is low."""
        self.bus.pio.touch(PIC_PORT)
        return self.pic.acknowledge() if self.pic.requesting else None

    def acknowledged(self, vector: int) -> None:
        """Take note that the processor has taken the vector that was shown."""
        self.bus.pio.touch(PIC_PORT)
        self.pic.acknowledged(vector)

    def isa_irq(self, irq: int, level: bool) -> None:
        """Drive an ISA interrupt request for a device that lives elsewhere."""
        self.isa_lines[irq & 15].set(level)

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Drive INTA# to INTD# (0-3) of a device that lives elsewhere; PIIX3 boards rotate them by slot."""
        line = self._intx.get((device, intx))
        if line is None:
            line = self._intx[device, intx] = self._intx_driver(device, intx)
        line.set(level)

    def reset(self) -> None:
        """Reset every chip."""
        for chip in self.chips.values():
            chip.reset()
        self.firmware()
        self.pci.update()

    @property
    def nmi_masked(self) -> bool:
        """Whether the guest has NMIs kept from its processor, at port 70h; that is the server's with the clock chip."""
        rtc = self.chips.get("rtc")
        return isinstance(rtc, Rtc) and rtc.state.nmi_masked

    @property
    def uart(self) -> Uart:
        """The first serial port."""
        return self.uarts[0]

    def connect_serial(self, line: SerialLine, number: int = 0) -> None:
        """Plug a line into a serial port, the first being 0."""
        self.uarts[number].transmit = line.transmit
        self.uarts[number].drained = line.drained
        line.connect(SerialPort(self, number))

    def states(self) -> dict[str, Any]:
        """Return the record of every chip, by name, and of the lines from elsewhere; they are the chips' own."""
        states = {name: chip.state for name, chip in self.chips.items()}
        return states | {"lines": Levels([name for name, line in self.drivers.items() if line.level])}

    def save(self) -> dict[str, Any]:
        """Return a copy of `states`."""
        return copy.deepcopy(self.states())

    def hold_memory(self, held: bool) -> None:
        """Leave memory that outlives the board as it is, while what a predecessor did to it is done again."""
        self.vga.hold(held)

    def recover(self, *, complete: bool) -> None:
        """Make a board go on whose state is a little older than the guest.

        It is that of a server that was killed, and lacks what has been read since; and, if it is not `complete`, some
        of what has been written. Drives give up what they were doing, for the guest to ask again. `remind` follows,
        when what nobody has performed has been.
        """
        for channel in self.ide:
            channel.recover(complete=complete)
        self.fdc.recover()
        self.rearm()

    def remind(self) -> None:
        """Ask again for what a chip waits for the guest to notice: its last look at the chip may be lost.

        A request too many does a guest no harm, one too few stops it. So this comes after all that the guest has
        posted, which may acknowledge a request although the read that should have answered it met nobody.
        """
        self.pic.recover()
        self.rearm()

    def screen(self) -> Frame:
        """Return what a monitor shows."""
        return self.vga.frame()

    def press(self, keys: list[str]) -> None:
        """Press keys together and release them; ValueError for a name that is no key's."""
        self.keyboard.type("-".join(keys))
        self.rearm()

    def hold(self, keys: list[str], *, pressed: bool) -> None:
        """Press keys and hold them, or let go of them; ValueError for a name that is no key's."""
        for name in keys if pressed else reversed(keys):
            if pressed:
                self.keyboard.press(name)
            else:
                self.keyboard.release(name)
        self.rearm()

    def point(self, right: int, down: int, wheel: int) -> None:
        """Move the mouse by counts, and turn its wheel by clicks."""
        self.mouse.move(right, down, wheel)
        self.rearm()

    def click(self, button: str, *, pressed: bool) -> None:
        """Press or release a button of the mouse; ValueError for a name that is no button's."""
        if pressed:
            self.mouse.press(button)
        else:
            self.mouse.release(button)
        self.rearm()

    def press_power_button(self) -> bool:
        """Press the power button; False if a system has not asked to hear of it, or its chip is elsewhere."""
        pm = self.chips.get("piix4pm")
        heard = isinstance(pm, Piix4Pm) and pm.press_power_button()
        self.rearm()
        return heard

    def takes_mouse(self) -> bool:
        """Whether a guest listens to the mouse, and has been told of everything."""
        return self.mouse.listened_to and self.mouse.quiet

    def check_keys(self, keys: list[str]) -> None:
        """Raise ValueError for a name that is no key's."""
        self.keyboard.check("-".join(keys))

    def takes_keys(self) -> bool:
        """Whether the keyboard has room for what a combination of keys sends."""
        return self.keyboard.room() >= COMBINATION
