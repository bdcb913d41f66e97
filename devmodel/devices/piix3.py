"""Intel 82371SB (PIIX3, 290550-002): ISA bridge, interrupt routing, reset control; and its IDE function.

Edge/level control lives in `pic`. Without firmware the IDE ports must work, so both channels decode from
power-on, which the data sheet has them not do; the timing registers read back.
Not modelled: USB, SMI and fast-off (the registers read back; see `piix4pm`), positive decode of ROM and X-bus,
motherboard DMA and interrupts, the I/O APIC.
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from devmodel.board.device import GuestRam
from devmodel.board.lines import Line
from devmodel.devices.bus_master import BusMaster, BusMasterState
from devmodel.devices.pci import (
    COMMAND_IO,
    COMMAND_MASTER,
    STATUS_ABORTS,
    STATUS_MASTER_ABORT,
    VENDOR_INTEL,
    ConfigSpace,
    Header,
    Window,
    window,
)

DEVICE_ISA: Final = 0x7000
DEVICE_IDE: Final = 0x7010
PIRQ_ROUTE: Final = 0x60  # four bytes: bit 7 off, bits 3-0 the IRQ
ROUTE_OFF: Final = 0x80
IDE_TIMING: Final = 0x40  # two bytes a channel
IDE_DECODE: Final = 0x8000
BUS_MASTER_BASE: Final = 0x20  # BMIBA
VALID_IRQS: Final = frozenset({3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15})


SERR_SENT: Final = 0x4000
"""PCI status: SERR# has been signalled."""


def _isa_space() -> ConfigSpace:
    space = ConfigSpace.make(VENDOR_INTEL, DEVICE_ISA, 0x060100, multifunction=True)
    space.set(Header.COMMAND, 2, 0x0007, writable=0x0108)  # special cycles, SERR#
    space.set(Header.STATUS, 2, 0x0200, cleared=STATUS_ABORTS | SERR_SENT)
    space.set(0x4C, 1, 0x4D, writable=0xFF)  # IORT: ISA recovery timers
    space.set(0x4E, 2, 0x0003, writable=0x01FF)  # XBCS: X-bus chip selects
    for i in range(4):
        space.set(PIRQ_ROUTE + i, 1, ROUTE_OFF, writable=0x8F)
    space.set(0x69, 1, 0x02, writable=0xFA)  # TOM: top of memory for ISA masters
    space.set(0x6A, 2, 0x0000, writable=0x8097)  # MSTAT
    space.set(0x70, 1, 0x80, writable=0xCF)  # MBIRQ0: motherboard interrupt
    space.set(0x76, 2, 0x0C0C, writable=0x8F8F)  # MBDMA
    space.set(0x78, 2, 0x0002, writable=0xFFFF)  # PCSC: programmable chip select
    space.set(0x80, 1, 0x00, writable=0x7F)  # APICBASE
    space.set(0x82, 1, 0x00, writable=0x0F)  # DLC: delayed transactions, passive release
    space.set(0xA0, 1, 0x08, writable=0x1F)  # SMICNTL
    space.set(0xA2, 2, 0x0000, writable=0x01FF)  # SMIEN
    space.set(0xA4, 4, 0x0000_0000, writable=0xE000_FFFB)  # SEE: system events
    space.set(0xA8, 1, 0x0F, writable=0xFF)  # FTMR: fast-off timer
    space.set(0xAA, 2, 0x0000, cleared=0x01FF)  # SMIREQ
    space.set(0xAC, 1, 0x00, writable=0xFF)  # CTLTMR: clock throttle, standby
    space.set(0xAE, 1, 0x00, writable=0xFF)  # CTHTMR: clock throttle, stop
    return space


@attrs.define
class Piix3State:
    """Everything the ISA bridge remembers."""

    config: ConfigSpace = attrs.field(factory=_isa_space)
    pirq: int = 0  # levels of PIRQA# to PIRQD#, asserted is 1
    reset_control: int = 0


@attrs.define(kw_only=True)
class Piix3:
    """Device 1 function 0. `irqs` are its drivers of ISA interrupt requests 0-15."""

    irqs: Sequence[Line]
    reset_machine: Callable[[], None]
    state: Piix3State = attrs.field(factory=Piix3State)

    def __attrs_post_init__(self) -> None:
        self._drive()

    def reset(self) -> None:
        """Power on; the PIRQ pins keep the levels that others drive."""
        self.state = Piix3State(pirq=self.state.pirq)
        self._drive()

    def set_intx(self, device: int, pin: int, level: bool) -> None:
        """Drive INTA# to INTD# (pin 0-3) of the device in a slot; PIIX3 boards rotate them by slot."""
        self.set_pirq((pin + device - 1) & 3, level)

    def set_pirq(self, pirq: int, level: bool) -> None:
        """Drive PIRQA# to PIRQD# (0-3)."""
        s = self.state
        s.pirq = s.pirq | 1 << pirq if level else s.pirq & ~(1 << pirq)
        self._drive()

    def as_firmware_leaves_it(self) -> None:
        """Route PIRQA# to PIRQD# to interrupt requests 10, 10, 11 and 11, as SeaBIOS does."""
        self.config_write(PIRQ_ROUTE, 4, 0x0B0B_0A0A)

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.state.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space; routing takes effect at once."""
        self.state.config.write(offset, size, value)
        self._drive()

    def windows(self) -> list[Window]:
        """Return what moves, which is nothing: a bridge to ISA takes what nobody else does."""
        return []

    # -- the reset control register, 0xCF9 ----------------------------------------------------------------

    def read(self, _offset: int, _size: int) -> int:
        """Read the reset control register."""
        return self.state.reset_control

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write it: bit 2 going to 1 resets, bit 1 chooses how (290550-002, 2.5.4); here both are hard."""
        s = self.state
        was = s.reset_control
        s.reset_control = value & 0x02
        if value & 0x04 and not was & 0x04:
            self.reset_machine()

    def _drive(self) -> None:
        s = self.state
        asserted = 0
        for i in range(4):
            route = s.config.data[PIRQ_ROUTE + i]
            if s.pirq >> i & 1 and not route & ROUTE_OFF and route & 15 in VALID_IRQS:
                asserted |= 1 << (route & 15)
        for irq in VALID_IRQS:
            self.irqs[irq].set(bool(asserted >> irq & 1))


def _ide_space() -> ConfigSpace:
    space = ConfigSpace.make(VENDOR_INTEL, DEVICE_IDE, 0x010180)
    space.set(Header.COMMAND, 2, COMMAND_IO, writable=COMMAND_IO | COMMAND_MASTER)
    space.set(Header.STATUS, 2, 0x0280, cleared=STATUS_ABORTS)
    space.set(Header.LATENCY, 1, 0, writable=0xF0)
    # The data sheet has 16 address bits; SeaBIOS asks for the size in 32, as it finds them in QEMU.
    space.set(BUS_MASTER_BASE, 4, 0x0000_0001, writable=0xFFFF_FFF0)
    space.set(IDE_TIMING, 4, 0x8000_8000, writable=0xF3FF_F3FF)
    space.set(0x44, 1, 0, writable=0xFF)  # SIDETIM: the second drives' timing
    return space


@attrs.define
class Piix3IdeState:
    """Everything the IDE function remembers, with the bus masters of its two channels."""

    config: ConfigSpace = attrs.field(factory=_ide_space)
    masters: list[BusMasterState] = attrs.field(factory=lambda: [BusMasterState(), BusMasterState()])


@attrs.define
class Masters:
    """The ports of both bus masters, 8 each."""

    masters: Sequence[BusMaster]

    def read(self, offset: int, size: int) -> int:
        """Read a channel's registers."""
        return self.masters[offset >> 3].read(offset & 7, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a channel's registers."""
        self.masters[offset >> 3].write(offset & 7, size, value)


@attrs.define(kw_only=True)
class Piix3Ide:
    """Device 1 function 1: both channels at the compatible ports, and their bus masters where BMIBA says.

    `decoders` hear whether their channel is decoded: by I/O Space Enable and bit 15 of its timing register.
    """

    ram: GuestRam
    decoders: Sequence[Callable[[bool], None]] = ()
    _initial: Piix3IdeState = attrs.field(factory=Piix3IdeState, alias="state")
    config: ConfigSpace = attrs.field(init=False)
    masters: list[BusMaster] = attrs.field(init=False)
    ports: Masters = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.config = self._initial.config
        self.masters = [
            BusMaster(ram=self.ram, enabled=self._mastering, aborted=self._aborted, state=state)
            for state in self._initial.masters
        ]
        self.ports = Masters(self.masters)
        self._drive()

    @property
    def state(self) -> Piix3IdeState:
        """Everything the function remembers."""
        return Piix3IdeState(self.config, [master.state for master in self.masters])

    def reset(self) -> None:
        """Power on."""
        self.config = _ide_space()
        for master in self.masters:
            master.reset()
        self._drive()

    def connect(self, *decoders: Callable[[bool], None]) -> None:
        """Join the channels, the primary first."""
        self.decoders = decoders
        self._drive()

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space; what decodes and who masters takes effect at once."""
        mastering = self._mastering()
        self.config.write(offset, size, value)
        self._drive()
        if self._mastering() and not mastering:
            for master in self.masters:
                master.started()

    def windows(self) -> list[Window]:
        """Return where the bus masters are: sixteen ports at BMIBA."""
        if not self.config.get(Header.COMMAND, 2) & COMMAND_IO:
            return []
        base = self.config.get(BUS_MASTER_BASE, 4) & 0xFFFF_FFF0
        return window("pio", base, 16, self.ports, "bmide")

    def _mastering(self) -> bool:
        return bool(self.config.get(Header.COMMAND, 2) & COMMAND_MASTER)

    def _aborted(self) -> None:
        self.config.raise_bits(Header.STATUS, 2, STATUS_MASTER_ABORT)

    def _drive(self) -> None:
        io = bool(self.config.get(Header.COMMAND, 2) & COMMAND_IO)
        for i, decode in enumerate(self.decoders):
            decode(io and bool(self.config.get(IDE_TIMING + 2 * i, 2) & IDE_DECODE))
