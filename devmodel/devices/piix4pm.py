"""The power management function of the Intel 82371AB (PIIX4, 290562-001), as QEMU's pc machine has it.

The PM timer at 3579545 Hz, PM1 event and control blocks with soft-off (SLP_TYP 0 is S5, as on QEMU), and the
APM ports. Its I/O block of 64 ports answers where PMBASE says, while PMREGMISC enables it. A write to APMC enters and
leaves ACPI mode, which in a PC is the work of firmware's SMI handler.
Not modelled: SMM itself (firmware finds it already initialised), SMBus, sleep states but S5, sources of GPEs, device
monitors.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.board.device import ONES
from devmodel.board.lines import IrqLine
from devmodel.devices.acpi_tables import ACPI_DISABLE, ACPI_ENABLE, PM_BASE, SCI
from devmodel.devices.pci import VENDOR_INTEL, ConfigSpace, Header, Window, window

DEVICE_PM: Final = 0x7113
FREQUENCY: Final = 3_579_545  # Hz
PMBASE: Final = 0x40
PMREGMISC: Final = 0x80
BLOCK: Final = 64  # ports
HALF: Final = 1 << 23  # TMR_STS is set each time bit 23 changes


class Reg:
    """Offsets in the I/O block."""

    PM1_STATUS: Final = 0
    PM1_ENABLE: Final = 2
    PM1_CONTROL: Final = 4
    TIMER: Final = 8
    GP_STATUS: Final = 0x0C
    GP_ENABLE: Final = 0x0E
    PROCESSOR: Final = 0x10  # PCNTRL
    GLOBAL_STATUS: Final = 0x18
    DEVICE_STATUS: Final = 0x1C
    GLOBAL_ENABLE: Final = 0x20
    GLOBAL_CONTROL: Final = 0x28
    DEVICE_CONTROL: Final = 0x2C
    GP_OUTPUT: Final = 0x34  # GPOREG


PM1_TIMER: Final = 0x0001  # TMR_STS and TMR_EN
PM1_STATUS_BITS: Final = 0x8D31
PM1_ENABLE_BITS: Final = 0x0521
PM1_POWER_BUTTON: Final = 0x0100  # PWRBTN_STS and PWRBTN_EN
CONTROL_SCI: Final = 0x0001
CONTROL_SLEEP_TYPE: Final = 0x1C00
CONTROL_SLEEP: Final = 0x2000
CONTROL_KEPT: Final = 0x1C03
"""Bits that read as written: GBL_RLS and SUS_EN act when they are, the others are reserved (290562-001, 7.2.3)."""


def _space() -> ConfigSpace:
    space = ConfigSpace.make(VENDOR_INTEL, DEVICE_PM, 0x068000, revision=3)
    space.set(Header.COMMAND, 2, 0, writable=0x0001)
    space.set(Header.STATUS, 2, 0x0280)
    space.set(Header.INTERRUPT_PIN, 1, 1)
    space.set(PMBASE, 4, 0x0001, writable=0xFFC0)
    for register in (0x44, 0x48, 0x4C, 0x50, 0x54):  # CNTA, CNTB, GPICTL, DEVRESD, DEVACTA
        space.set(register, 4, 0, writable=0xFFFF_FFFF)
    # DEVACTB bit 25, APMC enable: says to firmware that SMM is set up, for there is none.
    space.set(0x58, 4, 0x0200_0000, writable=0xFFFF_FFFF)
    for register in range(0x5C, 0x80, 4):  # DEVRESA to DEVRESJ
        space.set(register, 4, 0, writable=0xFFFF_FFFF)
    space.set(PMREGMISC, 1, 0, writable=0x01)
    space.set(0x90, 4, 0x0001, writable=0xFFF0)  # SMBus base
    space.set(0xD2, 1, 0, writable=0x0F)  # SMBus: configuration, and its slave's addresses
    space.set(0xD3, 1, 0, writable=0xFF)
    space.set(0xD4, 2, 0, writable=0xFFFF)
    return space


def _rest() -> ConfigSpace:
    """Return what is behind the timer in the I/O block (290562-001, 7.2)."""
    rest = ConfigSpace(bytearray(256), bytearray(256))
    rest.set(Reg.GP_STATUS, 2, 0, cleared=0x0F81)
    rest.set(Reg.GP_ENABLE, 2, 0, writable=0x0F01)
    rest.set(Reg.PROCESSOR, 4, 0, writable=0x0002_3E1E)
    rest.set(Reg.GLOBAL_STATUS, 2, 0, cleared=0x08E7)
    rest.set(Reg.DEVICE_STATUS, 4, 0, cleared=0x3FFF_0FFF)
    rest.set(Reg.GLOBAL_ENABLE, 2, 0, writable=0x8D87)
    rest.set(Reg.GLOBAL_CONTROL, 4, 0, writable=0x0701_FF07)
    rest.set(Reg.DEVICE_CONTROL, 4, 0, writable=0x1FFF_FFFF)
    rest.set(Reg.GP_OUTPUT, 4, 0x7FFF_BFFF, writable=0x7FFF_FFFF)
    return rest


@attrs.define
class Piix4PmState:
    """Everything the function remembers."""

    config: ConfigSpace = attrs.field(factory=_space)
    status: int = 0
    enable: int = 0
    control: int = 0
    rest: ConfigSpace = attrs.field(factory=_rest)
    halves: int = 0  # changes of the timer's bit 23 that TMR_STS has seen
    apm: bytearray = attrs.field(factory=lambda: bytearray(2))


@attrs.define
class Apm:
    """Ports 0xB2 and 0xB3, APMC and APMS: they read back; commands to enter and leave ACPI mode are done."""

    pm: "Piix4Pm"

    def read(self, offset: int, _size: int) -> int:
        """Read one."""
        return self.pm.state.apm[offset & 1]

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write one."""
        self.pm.state.apm[offset & 1] = value & 0xFF
        if offset == 0:
            self.pm.commanded(value & 0xFF)


@attrs.define(kw_only=True)
class Piix4Pm:
    """Device 1 function 3. `irq` is SCI (IRQ9); `shutdown` is called with 0 for soft-off."""

    clock: Clock
    irq: IrqLine
    shutdown: Callable[[int], None]
    state: Piix4PmState = attrs.field(factory=Piix4PmState)
    apm: Apm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.apm = Apm(self)
        self._drive()

    def reset(self) -> None:
        """Power on; the timer counts on."""
        self.state = Piix4PmState(halves=self._timer() // HALF)
        self._drive()

    def press_power_button(self) -> bool:
        """Set PWRBTN_STS, and return whether a system has enabled that to interrupt (290562-001, 7.2.1)."""
        s = self.state
        s.status |= PM1_POWER_BUTTON
        self._drive()
        return bool(s.control & CONTROL_SCI and s.enable & PM1_POWER_BUTTON)

    def commanded(self, command: int) -> None:
        """Do what firmware's SMI handler does on a write to APMC."""
        s = self.state
        if command == ACPI_ENABLE:
            s.control |= CONTROL_SCI
        elif command == ACPI_DISABLE:
            s.control &= ~CONTROL_SCI
        self._drive()

    def as_firmware_leaves_it(self) -> None:
        """Have the I/O block where the tables say that it is."""
        config = self.state.config
        config.write(PMBASE, 4, PM_BASE | 1)
        config.write(PMREGMISC, 1, 1)
        config.write(Header.COMMAND, 2, 1)
        config.write(Header.INTERRUPT_LINE, 1, SCI)

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.state.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        self.state.config.write(offset, size, value)

    def windows(self) -> list[Window]:
        """Return where the I/O block is."""
        config = self.state.config
        if not config.data[PMREGMISC] & 1:
            return []
        return window("pio", config.get(PMBASE, 2) & 0xFFC0, BLOCK, self, "pm", waits="power-off")

    # -- the I/O block ------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Read registers."""
        if offset == Reg.TIMER and size == 4:
            return self._timer() & 0xFF_FFFF
        self._catch_up()
        s = self.state
        if offset >= Reg.GP_STATUS:
            return s.rest.get(offset, size)
        low = s.status | s.enable << 16 | s.control << 32
        if offset + size > Reg.TIMER:
            low |= (self._timer() & 0xFF_FFFF) << 64 | s.rest.get(Reg.GP_STATUS, 4) << 96
        return low >> 8 * offset & ONES.get(size, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write registers: status bits are cleared by ones, the timer is read-only."""
        self._catch_up()
        s = self.state
        for i in range(offset, offset + size):
            byte = value >> 8 * (i - offset) & 0xFF
            shift = 8 * (i & 1)
            match i & ~1:
                case Reg.PM1_STATUS:
                    s.status &= ~(byte << shift)
                case Reg.PM1_ENABLE:
                    s.enable = (s.enable & ~(0xFF << shift) | byte << shift) & PM1_ENABLE_BITS
                case Reg.PM1_CONTROL:
                    control = s.control & ~(0xFF << shift) | byte << shift
                    s.control = control & (CONTROL_KEPT | CONTROL_SLEEP)
                case _ if i >= Reg.GP_STATUS:
                    s.rest.write(i, 1, byte)
                case _:
                    pass
        if s.control & CONTROL_SLEEP:
            s.control &= ~CONTROL_SLEEP  # write-only
            if not s.control & CONTROL_SLEEP_TYPE:
                self.shutdown(0)
        self._drive()

    def _timer(self) -> int:
        return self.clock.now() * FREQUENCY // NS_PER_S

    def _catch_up(self) -> None:
        s = self.state
        halves = self._timer() // HALF
        if halves != s.halves:
            s.halves = halves
            s.status |= PM1_TIMER

    def deadline(self) -> int | None:
        """Return when the timer's carry will next interrupt."""
        s = self.state
        if not s.control & CONTROL_SCI or not s.enable & PM1_TIMER or s.status & PM1_TIMER:
            return None
        return -(-(s.halves + 1) * HALF * NS_PER_S // FREQUENCY)

    def tick(self) -> None:
        """Set TMR_STS when it is time."""
        self._catch_up()
        self._drive()

    def _drive(self) -> None:
        s = self.state
        self.irq.set(bool(s.control & CONTROL_SCI and s.status & s.enable & PM1_STATUS_BITS))
