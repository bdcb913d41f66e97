"""Intel 82371SB (PIIX3, 290550-002): ISA bridge, interrupt routing, reset control; and its IDE function.

Edge/level control lives in `pic`. Without firmware the IDE ports must work, so both channels decode from
power-on; the timing registers read back.
Not modelled: USB, APM and SMI (see `piix4pm`), positive decode of ROM and X-bus, bus-master IDE.
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from devmodel.board.lines import Line
from devmodel.devices.pci import VENDOR_INTEL, ConfigSpace, Header

DEVICE_ISA: Final = 0x7000
DEVICE_IDE: Final = 0x7010
PIRQ_ROUTE: Final = 0x60  # four bytes: bit 7 off, bits 3-0 the IRQ
ROUTE_OFF: Final = 0x80
IDE_TIMING: Final = 0x40
VALID_IRQS: Final = frozenset({3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15})


def _isa_space() -> ConfigSpace:
    space = ConfigSpace.make(VENDOR_INTEL, DEVICE_ISA, 0x060100, multifunction=True)
    space.set(Header.COMMAND, 2, 0x0007, writable=0x0008)
    space.set(Header.STATUS, 2, 0x0200)
    space.set(0x4C, 1, 0x4D, writable=0xFF)  # ISA recovery timers
    space.set(0x4E, 2, 0x0003, writable=0xFFFF)  # X-bus chip selects
    for i in range(4):
        space.set(PIRQ_ROUTE + i, 1, ROUTE_OFF, writable=0x8F)
    space.set(0x69, 1, 0x02, writable=0xFF)  # top of memory for ISA masters
    space.set(0x82, 1, 0, writable=0xFF)  # delayed transactions
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

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.state.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space; routing takes effect at once."""
        self.state.config.write(offset, size, value)
        self._drive()

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
    space = ConfigSpace.make(VENDOR_INTEL, DEVICE_IDE, 0x010100)
    space.set(Header.COMMAND, 2, 0x0001, writable=0x0005)
    space.set(Header.STATUS, 2, 0x0280)
    space.set(0x0D, 1, 0, writable=0xF0)
    space.set(IDE_TIMING, 4, 0x8000_8000, writable=0xFFFF_FFFF)
    space.set(0x44, 1, 0, writable=0xFF)  # slave timing
    return space


@attrs.define
class Piix3IdeState:
    """Everything the IDE function remembers."""

    config: ConfigSpace = attrs.field(factory=_ide_space)


@attrs.define(kw_only=True)
class Piix3Ide:
    """Device 1 function 1: both channels at the compatible ports; no bus master (interface 00), no BARs."""

    state: Piix3IdeState = attrs.field(factory=Piix3IdeState)

    def reset(self) -> None:
        """Power on."""
        self.state = Piix3IdeState()

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.state.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        self.state.config.write(offset, size, value)
