"""The machine on one screen: a PC with the i440FX chip set as QEMU's `pc` has it, which firmware knows.

Two lists, what is mapped where and which line goes where, and the ports left alone on purpose.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, Self, TypeVar, cast, runtime_checkable

import attrs

from devmodel import ConfigError
from devmodel.board import firmware_tables
from devmodel.board import saved as state_as_bytes
from devmodel.board.bus import Bus
from devmodel.board.clock import Clock, ManualClock
from devmodel.board.device import Device, Disk, GuestRam, Resettable, Timed
from devmodel.board.lines import Gate, IrqLine, Line, WiredOr
from devmodel.board.mirror import Mirror
from devmodel.board.parts import ALL, OWN, chips_of, functions_of, part_of_mapping
from devmodel.devices.acpi_tables import HPET_BASE, Hardware
from devmodel.devices.ata_identify import default_geometry
from devmodel.devices.cmos import FOUR_GIB, fill_cmos
from devmodel.devices.debugport import DebugConsole, DebugExit, PostCode
from devmodel.devices.diskette import Bay
from devmodel.devices.dma8237 import Dma8237, DmaPages
from devmodel.devices.fdc import Fdc
from devmodel.devices.fdc_registers import Reg as FdcReg
from devmodel.devices.fw_cfg import FwCfg, e820, make_items
from devmodel.devices.hpet import Hpet
from devmodel.devices.i440fx import I440fx
from devmodel.devices.ide import IdeChannel
from devmodel.devices.kbc import Kbc, Port
from devmodel.devices.keyboard import Keyboard
from devmodel.devices.mmc import Tray
from devmodel.devices.mouse import Mouse
from devmodel.devices.parallel import Parallel, Printer
from devmodel.devices.pci import Function, PciBus, PciFunction, PciPorts
from devmodel.devices.pic import PicPair
from devmodel.devices.piix3 import Piix3, Piix3Ide
from devmodel.devices.piix4pm import Piix4Pm
from devmodel.devices.pit import MissedTicks, Pit
from devmodel.devices.port61 import Port61
from devmodel.devices.port92 import Port92
from devmodel.devices.rtc import Rtc
from devmodel.devices.uart import LSR_BI, LSR_FE, Uart
from devmodel.devices.vga import Vga
from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_pci import VgaFunction

E820_RAM: Final = 1
FLOPPY_CHANNEL: Final = 2
SERIAL_PORTS: Final = (("uart", 0x3F8, 4), ("uart2", 0x2F8, 3), ("uart3", 0x3E8, 4), ("uart4", 0x2E8, 3))
"""Name, first port and interrupt request of COM1 to COM4."""
COMBINATION: Final = 14
"""Bytes of shift-insert with its false shifts, pressed and released, and one more."""

DEBUG_EXIT_QEMU: Final = "debug exit (QEMU's default)"
"""Where isa-debug-exit is unless told otherwise; it makes room for devices of one's own."""

VGA_WINDOW: Final = 0xA_0000
ISA_FRAME_BUFFER: Final = 0xE000_0000
"""Where Bochs VBE has the linear frame buffer of an adapter that is not on PCI."""

_Chip = TypeVar("_Chip")
Left = Callable[[str, type], Any]
"""Returns the record that a predecessor has left of a chip, by its name and class; None if there is none."""


class Core(GuestRam, Protocol):
    """What the board is wired to outside of itself: the domain."""

    @property
    def video(self) -> memoryview | None:
        """Memory for a display adapter that the guest can have as its own; None: there is none."""
        ...

    def map_video(self, first: int, last: int, offset: int, /) -> None:
        """Let the guest find it from `offset` on at `first` to `last`, whole pages, instead of the board."""
        ...

    def unmap_video(self, first: int, last: int, /) -> None:
        """Have the board answer there again."""
        ...

    def intr(self, level: bool) -> None:
        """Drive the processor's INTR pin."""
        ...

    def isa_irq(self, irq: int, level: bool) -> None:
        """Drive an ISA interrupt request whose controller is on another server's board."""
        ...

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        """Drive INTA# to INTD# (0-3) of a slot whose bridge is on another server's board."""
        ...

    def intr_vector(self, vector: int | None) -> None:
        """Show beside the pin what an acknowledge cycle would bring; None: nothing."""
        ...

    def a20(self, level: bool) -> None:
        """Open or close address line 20."""
        ...

    def memory_type(self, first: int, last: int, type_: Any, /) -> None:
        """Set what guest memory from `first` to `last` is: ram, ram_ro, rom or rom_wo."""
        ...

    def reset(self) -> None:
        """Ask for a reset of the machine; `Board.reset` follows."""
        ...

    def shutdown(self, code: int, /) -> None:
        """End the machine with this exit status."""
        ...


@attrs.define(kw_only=True)
class Fittings:
    """What differs from machine to machine."""

    memory: Sequence[tuple[int, int, int]]
    """Start, length and type (1 is RAM) of each range, as the domain's E820."""
    cpus: int = 1
    parts: frozenset[str] = ALL
    """What of the machine is on this board: names of `parts.PARTS`."""
    disks: Sequence[Disk | Tray | None] = ()
    """hda to hdd; a tray is a CD-ROM drive's."""
    floppies: Sequence[Bay] = ()
    """The floppy drives A and B."""
    serial: Sequence[bool] = (False,)
    """For each serial port that there is, COM1 to COM4, whether it sends at the baud rate."""
    printer: Printer | None = None
    """What the parallel port has at its end; None: there is no such port."""
    debug: Callable[[int], None] = lambda _: None
    """A byte for the debug console."""
    files: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes])
    """fw_cfg files beside the board's own."""
    boot: str = "cad"
    missed_ticks: str = MissedTicks.ONE_PENDING
    """What becomes of the timer's missed ticks: one of `pit.MISSED_TICKS`."""
    video_rom: bytes = b""
    """The option ROM of the VGA as a PCI function."""
    isa_vga: bool = False
    """The VGA is no PCI function: its frame buffer is at `ISA_FRAME_BUFFER`."""
    time: int = 0
    """What the clock shows at first, in seconds since 1970."""
    hpet: bool = False
    """There are high precision event timers."""
    bare: bool = False
    """A kernel is started without firmware, whose tables it finds all the same."""


@attrs.define
class Levels:
    """Which drivers of interrupt requests are high: a pulse that falls due while a board is saved must be seen."""

    high: list[str] = attrs.field(factory=list[str])


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


@attrs.define
class SharedVideo:
    """Memory that the guest has in place of a device of the board: at most one run of pages, which may move."""

    core: Core
    base: int = 0
    _place: tuple[int, int] | None = None

    @property
    def shares(self) -> bool:
        """Whether there is such memory."""
        return self.core.video is not None

    def show(self, first: int, last: int, memory: int) -> None:
        """Let the guest have `memory` on from `first` to `last`, as offsets from `base`."""
        self.hide()
        if self.shares:
            self._place = self.base + first, self.base + last
            self.core.map_video(*self._place, memory)

    def hide(self) -> None:
        """Have the device answer."""
        if self._place is not None:
            self.core.unmap_video(*self._place)
            self._place = None

    def follow(self, place: tuple[int, int] | None) -> None:
        """Let the guest have memory from its first byte on at `place`."""
        if place is None:
            self.hide()
        else:
            self.show(*place, 0)


@attrs.frozen
class Piece:
    """A device mapped in pieces: this one begins at `base`."""

    device: Device
    base: int

    def read(self, offset: int, size: int) -> int:
        """Read at `base`."""
        return self.device.read(self.base + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write at `base`."""
        self.device.write(self.base + offset, size, value)


def _drive(
    isa: Sequence[WiredOr], drivers: dict[str, Line], number: int, who: str, levels: Levels | None
) -> Line:
    """Return a new driver of an interrupt request, which is high if it was so when the board was saved."""
    name = f"irq {number} of {who}"
    level = levels is not None and name in levels.high
    drivers[name] = isa[number].driver(level=level)
    isa[number].output.level |= level
    return drivers[name]


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
        w = _wire(clock, core, fittings, saved or {}, left)
        _map(w, core, fittings)
        here = chips_of(fittings.parts)
        w.bus.keep(lambda name: part_of_mapping(name) in fittings.parts)
        w.pci.update()
        board = cls(
            bus=w.bus,
            chips={name: chip for name, chip in w.chips.items() if name in here},
            timed=[chip for name, chip in w.timed.items() if name in here],
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
            board.firmware = partial(_do_as_firmware, w, core, fittings)
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
        return _drive(self.isa, self.drivers, number, who, self.left("lines", Levels))

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
        return self.pic.acknowledge() if self.pic.requesting else None

    def acknowledged(self, vector: int) -> None:
        """Take note that the processor has taken the vector that was shown."""
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
        self.vga.memory.held = held and self.vga.video is not None

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


# -- the PC in two parts: which line goes where, and what is mapped where ---------------------------------------


@attrs.frozen(kw_only=True)
class Wired:
    """The chips of a PC, joined by their wires; not mapped anywhere yet."""

    pic: PicPair
    pit: Pit
    kbc: Kbc
    uarts: list[Uart]
    rtc: Rtc
    pm: Piix4Pm
    piix3: Piix3
    piix3_ide: Piix3Ide
    i440fx: I440fx
    ide: list[IdeChannel]
    port61: Port61
    port92: Port92
    vga: Vga
    fw_cfg: FwCfg
    dma1: Dma8237
    dma2: Dma8237
    dma_pages: DmaPages
    post: PostCode
    fdc: Fdc
    vga_pci: VgaFunction
    frame_buffer: SharedVideo
    parallel: Parallel
    hpet: Hpet
    bus: Bus
    pci: PciBus
    pci_ports: PciPorts
    isa: list[WiredOr]
    isa_lines: list[Line]
    drivers: dict[str, Line]
    pirqs: list[WiredOr]
    chips: dict[str, Resettable]
    """Who is on the reset line and has a state."""
    timed: dict[str, Timed]


def _wire(clock: Clock, core: Core, fittings: Fittings, saved: Mapping[str, Any], left: Left) -> Wired:
    """Make the chips, as `saved` has them or fresh, and join them: who drives which line, who is behind whom."""

    def kept(name: str) -> dict[str, Any]:
        return {"state": copy.deepcopy(saved[name])} if name in saved else {}

    disks = [*fittings.disks, None, None, None, None][:4]
    ram = [entry for entry in fittings.memory if entry[2] == E820_RAM]
    below_4g = max((start + length for start, length, _ in ram if start < FOUR_GIB), default=0)
    above_4g = sum(length for start, length, _ in ram if start >= FOUR_GIB)
    files = {"etc/e820": e820([(0, below_4g, 1)] + [(FOUR_GIB, above_4g, 1)] * bool(above_4g))}
    files |= firmware_tables.files(_hardware(fittings), ram, fittings.cpus)
    items = make_items(files | dict(fittings.files), ram_size=below_4g + above_4g, cpus=fittings.cpus)

    # Wires: who drives which interrupt request, and A20.
    pic = PicPair(intr=Line([core.intr]), vector_shown=core.intr_vector, **kept("pic"))
    isa_irq = pic.set_irq if "pic" in fittings.parts else core.isa_irq
    drivers: dict[str, Line] = {}
    isa = [WiredOr(Line([partial(isa_irq, n)])) for n in range(16)]
    a20 = WiredOr(Line([core.a20] if "kbc" in fittings.parts else [], level=True))

    def irq(number: int, part: str, who: str = "") -> Line:
        """Return a new driver of an interrupt request; of a chip that is elsewhere, one that leads nowhere."""
        if part not in fittings.parts:
            return Line()
        return drive(number, who or part)

    def drive(number: int, who: str) -> Line:
        return _drive(isa, drivers, number, who, left("lines", Levels))

    if fittings.missed_ticks != MissedTicks.ONE_PENDING and len({"pic", "pit"} & fittings.parts) == 1:
        raise ConfigError(f"{fittings.missed_ticks}: pic and pit must be in one server for that")
    if fittings.hpet and len({"pit", "rtc"} & fittings.parts) == 1:
        raise ConfigError("hpet: pit and rtc must be in one server for that")
    legacy = [Gate(irq(0, "pit")), Gate(irq(8, "rtc"))]
    pit = Pit(
        clock=clock,
        irq=legacy[0],
        missed=fittings.missed_ticks,
        waits=partial(pic.master.waits, 0),
        **kept("pit"),
    )
    if fittings.missed_ticks in (MissedTicks.DELAY, MissedTicks.NO_DELAY):
        pic.master.accepted = lambda pin: None if pin else pit.accepted()
    kbc = Kbc(
        clock=clock,
        irq=irq(1, "kbc"),
        aux_irq=irq(12, "kbc"),
        a20=a20.driver(level=True),
        reset_processor=core.reset,
        **kept("kbc"),
    )
    uarts = [
        Uart(
            clock=clock,
            irq=irq(number, "serial", "serial" if name == "uart" else f"serial, {name}"),
            paced=paced,
            **kept(name),
        )
        for (name, _, number), paced in zip(SERIAL_PORTS, (*fittings.serial, *[False] * 4), strict=False)
    ]
    parallel = Parallel(clock=clock, irq=irq(7, "parallel"), **kept("parallel"))
    if fittings.printer is not None:
        parallel.printer = fittings.printer
    rtc = Rtc(clock=clock, irq=legacy[1], **kept("rtc"))
    hpet = Hpet(
        clock=clock,
        irqs=[irq(n, "pit", "hpet") for n in range(16)],
        legacy=partial(_cut_off, legacy),
        **kept("hpet"),
    )
    pm = Piix4Pm(clock=clock, irq=irq(9, "pm"), shutdown=core.shutdown, **kept("piix4pm"))
    piix3_ide = Piix3Ide(ram=core, **kept("piix3_ide"))
    ide = [
        IdeChannel(
            irq=irq(14 + n, "ide"),
            clock=clock,
            disks=disks[2 * n : 2 * n + 2],
            serials=(f"DM0000{2 * n + 1}", f"DM0000{2 * n + 2}"),
            bus_master=piix3_ide.masters[n],
            **kept(f"ide{n}"),
        )
        for n in range(2)
    ]
    piix3_ide.connect(*(channel.decode for channel in ide))
    piix3 = Piix3(irqs=[irq(n, "pci") for n in range(16)], reset_machine=core.reset, **kept("piix3"))
    i440fx = I440fx(memory_type=core.memory_type, **kept("i440fx"))
    pirqs = [WiredOr(Line([partial(piix3.set_pirq, n)])) for n in range(4)]
    vga = Vga(clock=clock, video=core.video, window=SharedVideo(core, VGA_WINDOW), **kept("vga"))
    frame_buffer = SharedVideo(core)
    vga_pci = VgaFunction(
        frame_buffer=vga.frame_buffer,
        size=vga.memory.size,
        show=frame_buffer.follow,
        rom=fittings.video_rom,
        **kept("vga_pci"),
    )
    slots: dict[tuple[int, int], Function] = {
        (0, 0): i440fx, (1, 0): piix3, (1, 1): piix3_ide, (1, 3): pm
    }  # fmt: skip
    if not fittings.isa_vga:
        slots[2, 0] = vga_pci
    functions = functions_of(fittings.parts)
    bus = Bus()
    pci = PciBus(
        {at: function for at, function in slots.items() if at in functions},
        {"pio": bus.pio, "memory": bus.memory},
    )
    pci_ports = PciPorts(bus=pci, reset_control=piix3, **kept("pci"))
    port61 = Port61(clock=clock, timer=pit, **kept("port61"))
    port92 = Port92(a20=a20.driver(), reset_processor=core.reset, **kept("port92"))
    fw_cfg = FwCfg(items=items, ram=core, clock=clock, **kept("fw_cfg"))
    dma_pages, post = DmaPages(**kept("dma_pages")), PostCode(**kept("post"))
    dma2 = Dma8237(width=2, ram=core, page=partial(dma_pages.page, 1), **kept("dma2"))
    dma1 = Dma8237(
        width=1,
        ram=core,
        page=partial(dma_pages.page, 0),
        granted=partial(dma2.cascades, 0),
        **kept("dma1"),
    )
    dma2.changed = dma1.serve
    fdc = Fdc(
        clock=clock,
        irq=irq(6, "dma"),
        bays=(*fittings.floppies, None, None)[:2],
        dma_request=partial(dma1.request, FLOPPY_CHANNEL),
        **kept("fdc"),
    )
    dma1.clients[FLOPPY_CHANNEL] = fdc
    if not saved:
        geometries = [
            None if disk is None or isinstance(disk, Tray) else default_geometry(disk.sectors)
            for disk in disks
        ]
        fill_cmos(
            rtc.state.ram,
            below_4g=below_4g,
            above_4g=above_4g,
            cpus=fittings.cpus,
            boot=fittings.boot,
            geometries=geometries,
            floppies=[bay.type.number for bay in fittings.floppies],
        )
        rtc.set_time(fittings.time)

    # Lines from elsewhere are as they were; who drives them says what has changed.
    isa_lines = [drive(n, "another server") for n in range(16)]

    chips: dict[str, Resettable] = {
        "pic": pic, "pit": pit, "kbc": kbc, "rtc": rtc, "piix4pm": pm, "ide0": ide[0],
        "ide1": ide[1], "piix3": piix3, "i440fx": i440fx, "piix3_ide": piix3_ide, "pci": pci_ports,
        "port61": port61, "port92": port92, "vga": vga, "vga_pci": vga_pci, "fw_cfg": fw_cfg, "dma1": dma1,
        "dma2": dma2, "dma_pages": dma_pages, "post": post, "fdc": fdc, "parallel": parallel, "hpet": hpet,
    }  # fmt: skip
    ports = {name: uart for (name, _, _), uart in zip(SERIAL_PORTS, uarts, strict=True)}
    chips |= ports
    timed: dict[str, Timed] = {
        "pit": pit,
        "kbc": kbc,
        **ports,
        "rtc": rtc,
        "piix4pm": pm,
        "fw_cfg": fw_cfg,
        "ide0": ide[0],
        "ide1": ide[1],
        "fdc": fdc,
        "parallel": parallel,
        "hpet": hpet,
    }
    return Wired(
        pic=pic,
        pit=pit,
        kbc=kbc,
        uarts=uarts,
        rtc=rtc,
        pm=pm,
        piix3_ide=piix3_ide,
        ide=ide,
        piix3=piix3,
        i440fx=i440fx,
        pirqs=pirqs,
        bus=bus,
        pci=pci,
        pci_ports=pci_ports,
        port61=port61,
        port92=port92,
        vga=vga,
        fw_cfg=fw_cfg,
        dma1=dma1,
        dma2=dma2,
        dma_pages=dma_pages,
        post=post,
        fdc=fdc,
        vga_pci=vga_pci,
        frame_buffer=frame_buffer,
        parallel=parallel,
        hpet=hpet,
        isa=isa,
        isa_lines=isa_lines,
        drivers=drivers,
        chips=chips,
        timed=timed,
    )


def _cut_off(gates: Sequence[Gate], cut: bool) -> None:
    """Cut wires, or join them."""
    for gate in gates:
        gate.cut_off(cut)


def _hardware(fittings: Fittings) -> Hardware:
    """Return what ACPI's tables are to describe."""
    ends = [start + length for start, length, type_ in fittings.memory if type_ == E820_RAM]
    return Hardware(
        below_4g=max((end for end in ends if end <= FOUR_GIB), default=0),
        serial=[(base, irq) for _, base, irq in SERIAL_PORTS[: len(fittings.serial)]],
        parallel=fittings.printer is not None,
        hpet=fittings.hpet,
    )


def _do_as_firmware(w: Wired, core: Core, fittings: Fittings) -> None:
    """Set up what firmware would for a kernel that is started without: tables in low memory, and what they say."""
    if "pm" in fittings.parts:
        w.pm.as_firmware_leaves_it()
    if "pic" in fittings.parts:
        w.pic.elcr.write(1, 1, 0x0C)  # 10 and 11 are PCI's
    if "pci" in fittings.parts:
        w.piix3.as_firmware_leaves_it()
        w.i440fx.as_firmware_leaves_it()
        ram = [entry for entry in fittings.memory if entry[2] == E820_RAM]
        for address, data in firmware_tables.placed(_hardware(fittings), ram, fittings.cpus):
            core.write(address, data)
    w.pci.update()


def _map(w: Wired, core: Core, fittings: Fittings) -> None:
    """Say who answers where, and what is left alone on purpose."""
    bus, pic, kbc, vga, ide, fw_cfg = w.bus, w.pic, w.kbc, w.vga, w.ide, w.fw_cfg
    # Maps: who answers where. Writes are posted, but for those that act on the core at once: `waits` says how.
    debug, debug_exit = DebugConsole(put=fittings.debug), DebugExit(shutdown=core.shutdown)
    bus.map("pio", 0x000, 0x00F, w.dma1, name="dma1")
    bus.map("pio", 0x020, 0x021, pic.master, name="pic1", mirror=pic.master.mirror)
    bus.map("pio", 0x040, 0x043, w.pit, name="pit")
    bus.map("pio", 0x060, 0x060, Piece(kbc, Port.DATA), name="kbc data", waits="A20, reset")
    bus.map("pio", 0x061, 0x061, w.port61, name="port61")
    bus.map(
        "pio",
        0x064,
        0x064,
        Piece(kbc, Port.COMMAND),
        name="kbc status",
        waits="A20, reset",
        mirror=kbc.mirror,
    )
    bus.map("pio", 0x070, 0x071, w.rtc, name="rtc")
    bus.map("pio", 0x080, 0x080, w.post, name="post")
    bus.map("pio", 0x081, 0x08F, w.dma_pages, name="dma pages")
    bus.map("pio", 0x092, 0x092, w.port92, name="port92", waits="A20, reset")
    bus.map("pio", 0x0A0, 0x0A1, pic.slave, name="pic2", mirror=pic.slave.mirror)
    bus.map("pio", 0x0B2, 0x0B3, w.pm.apm, name="apm")
    bus.map("pio", 0x0C0, 0x0DF, w.dma2, name="dma2")
    bus.map("pio", 0x0E9, 0x0E9, debug, name="debug console (Bochs)")
    bus.map("pio", 0x0F4, 0x0F7, debug_exit, name="debug exit", width=4, waits="power-off")
    bus.map("pio", 0x170, 0x177, ide[1], name="ide1", width=4, mirror=ide[1].mirror)
    bus.map("pio", 0x1F0, 0x1F7, ide[0], name="ide0", width=4, mirror=ide[0].mirror)
    bus.map("pio", 0x376, 0x376, ide[1].control, name="ide1 control", mirror=ide[1].control_mirror)
    bus.map("pio", 0x1CE, 0x1D0, vga.vbe, name="vbe", width=2, waits="moves memory that the guest has")
    if fittings.printer is not None:
        bus.map("pio", 0x378, 0x37A, w.parallel, name="parallel")
    bus.map("pio", 0x3B0, 0x3DF, vga, name="vga", width=2, mirror=vga.mirror)
    bus.map("pio", 0x3F2, 0x3F5, Piece(w.fdc, FdcReg.DOR), name="fdc")
    bus.map("pio", 0x3F6, 0x3F6, ide[0].control, name="ide0 control", mirror=ide[0].control_mirror)
    bus.map("pio", 0x3F7, 0x3F7, Piece(w.fdc, FdcReg.DIR), name="fdc digital input")
    for at, ((name, base, _), uart) in enumerate(zip(SERIAL_PORTS, w.uarts, strict=True)):
        if at < len(fittings.serial):
            bus.map("pio", base, base + 7, uart, name=name, mirror=uart.mirror)
        else:
            bus.ignore("pio", base, base + 7, f"no {name}: there is no such serial port")
    bus.map("pio", 0x402, 0x402, debug, name="debug console")
    bus.map("pio", 0x4D0, 0x4D1, pic.elcr, name="elcr")
    bus.map("pio", 0x501, 0x502, debug_exit, name=DEBUG_EXIT_QEMU, width=2, waits="power-off")
    bus.pio.yielding.append(DEBUG_EXIT_QEMU)
    bus.map("pio", 0x510, 0x511, fw_cfg, name="fw_cfg", width=2)
    bus.map("pio", 0x514, 0x51B, fw_cfg.dma, name="fw_cfg dma", width=8, waits="stores in RAM")
    bus.map("pio", 0xCF8, 0xCFF, w.pci_ports, name="pci configuration", width=4, waits="PAM, reset")
    bus.map("memory", VGA_WINDOW, VGA_WINDOW + 0x1_FFFF, vga.memory, name="vga memory", width=8)
    if fittings.isa_vga:
        last = ISA_FRAME_BUFFER + vga.memory.size - 1
        bus.map("memory", ISA_FRAME_BUFFER, last, vga.frame_buffer, name="vga frame buffer", width=8)
        if "vga" in fittings.parts:
            w.frame_buffer.show(ISA_FRAME_BUFFER, last, 0)

    # Left alone on purpose; all of it reads ones.
    bus.ignore("pio", 0x0ED, 0x0ED, "delays are made by writing here")
    bus.ignore("pio", 0x0F0, 0x0F1, "the core's: it clears the coprocessor's error")
    bus.ignore("pio", 0x200, 0x207, "no game port")
    bus.ignore("pio", 0x278, 0x27F, "no second parallel port; ISA plug and play's address")
    if fittings.printer is None:
        bus.ignore("pio", 0x378, 0x37A, "no parallel port")
    bus.ignore("pio", 0x37B, 0x37F, "the parallel port has no EPP")
    bus.ignore("pio", 0x3F0, 0x3F1, "the floppy controller's only in a PS/2")
    bus.ignore("pio", 0xA79, 0xA79, "no ISA plug and play")
    bus.ignore("memory", 0xFEC0_0000, 0xFEC0_0FFF, "no I/O APIC")
    if fittings.hpet:
        bus.map("memory", HPET_BASE, HPET_BASE + 0x3FF, w.hpet, name="hpet", width=8)
    else:
        bus.ignore("memory", HPET_BASE, HPET_BASE + 0x3FF, "no HPET")
