"""PCI configuration: mechanism 1 (ports 0xCF8-0xCFF, PCI 2.1 section 3.7.4) and functions' header space.

`PciBus` holds the functions of bus 0, and maps what their base address registers say. `PciPorts` are the ports; where
the core takes them itself and sends PCI_CONFIG requests, `PciBus.config` answers those (their address as offset).
A device of one's own has a `PciFunction`, which says what its registers are and where they are to be:

    class Latch:
        def __init__(self) -> None:
            self.value = 0
            self.pci = PciFunction(
                name="latch", vendor=0x1AF4, device=0x10F1, class_code=0xFF0000, bars={0: Bar(self, 16)}, pin=1
            )

        def read(self, offset: int, size: int) -> int: ...

        def write(self, offset: int, size: int, value: int) -> None:
            self.value = value
            self.pci.interrupt(bool(value))

Not modelled: buses behind bridges, mechanism 2, special cycles.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import attrs
import structlog

from devmodel.board.device import ONES, Device
from devmodel.board.lines import IrqLine, Line

log = structlog.get_logger()

VENDOR_INTEL: Final = 0x8086
SUBSYSTEM: Final = 0x1100_1AF4  # as QEMU's functions have it: firmware recognises the machine by it


class Header:
    """Offsets in the configuration header (PCI 2.1, figure 6-1)."""

    VENDOR: Final = 0x00
    DEVICE: Final = 0x02
    COMMAND: Final = 0x04
    STATUS: Final = 0x06
    REVISION: Final = 0x08
    CLASS: Final = 0x09
    CACHE_LINE: Final = 0x0C
    LATENCY: Final = 0x0D
    HEADER_TYPE: Final = 0x0E
    BAR0: Final = 0x10
    SUBSYSTEM: Final = 0x2C
    ROM: Final = 0x30
    CAPABILITIES: Final = 0x34
    INTERRUPT_LINE: Final = 0x3C
    INTERRUPT_PIN: Final = 0x3D


COMMAND_IO: Final = 0x0001
COMMAND_MEMORY: Final = 0x0002
COMMAND_MASTER: Final = 0x0004
COMMAND_NO_INTX: Final = 0x0400
STATUS_INTX: Final = 0x0008
STATUS_CAPABILITIES: Final = 0x0010
STATUS_TARGET_ABORT_SENT: Final = 0x0800
STATUS_TARGET_ABORT: Final = 0x1000
STATUS_MASTER_ABORT: Final = 0x2000
STATUS_ABORTS: Final = STATUS_TARGET_ABORT_SENT | STATUS_TARGET_ABORT | STATUS_MASTER_ABORT

BAR_IO: Final = 0x1
BAR_64: Final = 0x4
BAR_PREFETCHABLE: Final = 0x8
ROM_ENABLE: Final = 0x1
FIRST_CAPABILITY: Final = 0x40

SpaceName = Literal["pio", "memory"]


@attrs.frozen
class Window:
    """Addresses that a function answers at now: those of a base address register, or of a block of a chip set."""

    space: SpaceName
    first: int
    last: int
    name: str
    device: Device = attrs.field(eq=False)
    width: int = attrs.field(default=4, eq=False)
    waits: str = attrs.field(default="", eq=False)


class Function(Protocol):
    """A PCI function, as its bus sees it."""

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space; the access does not cross a double word."""
        ...

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        ...

    def windows(self) -> Sequence[Window]:
        """Return where it answers now; the bus asks after each write of its configuration, and each reset."""
        ...


@attrs.define
class ConfigSpace:
    """The 256 bytes of a function; which of their bits the guest can write, and which it clears by writing ones."""

    data: bytearray
    writable: bytearray
    cleared: bytearray = attrs.field(factory=lambda: bytearray(256))

    @classmethod
    def make(
        cls,
        vendor: int,
        device: int,
        class_code: int,
        *,
        revision: int = 0,
        multifunction: bool = False,
        subsystem: int = SUBSYSTEM,
    ) -> "ConfigSpace":
        """Return a header of type 0. `class_code` is base class, subclass and interface in 24 bits."""
        space = cls(bytearray(256), bytearray(256))
        space.set(Header.VENDOR, 2, vendor)
        space.set(Header.DEVICE, 2, device)
        space.set(Header.REVISION, 1, revision)
        space.set(Header.CLASS, 3, class_code)
        space.set(Header.HEADER_TYPE, 1, 0x80 if multifunction else 0)
        space.set(Header.SUBSYSTEM, 4, subsystem)
        space.set(Header.INTERRUPT_LINE, 1, 0, writable=0xFF)
        return space

    def set(self, offset: int, size: int, value: int, *, writable: int = 0, cleared: int = 0) -> None:
        """Define a register: its value, the bits that the guest can write, and those that writing ones clears."""
        self.data[offset : offset + size] = value.to_bytes(size, "little")
        self.writable[offset : offset + size] = writable.to_bytes(size, "little")
        self.cleared[offset : offset + size] = cleared.to_bytes(size, "little")

    def get(self, offset: int, size: int) -> int:
        """Return a register."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def raise_bits(self, offset: int, size: int, bits: int) -> None:
        """Set bits of a register."""
        self.data[offset : offset + size] = (self.get(offset, size) | bits).to_bytes(size, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Let the guest write a register."""
        for i in range(offset, min(offset + size, 256)):
            mask = self.writable[i]
            self.data[i] = (self.data[i] & ~mask & 0xFF | value & mask) & ~(value & self.cleared[i]) & 0xFF
            value >>= 8


# -- a function of one's own ------------------------------------------------------------------------------


@attrs.frozen
class Bar:
    """What is behind a base address register: `size` addresses, a power of two, at least 16 of memory and 4 ports.

    `width` is the widest access that the device takes in one go. Writes are posted, unless `waits` says why not.
    """

    device: Device
    size: int
    space: SpaceName = "memory"
    width: int = 4
    prefetchable: bool = False
    long: bool = False
    """A 64-bit address, which takes the next register as well."""
    waits: str = ""


@attrs.frozen
class Rom:
    """An option ROM as a device."""

    data: bytes

    def read(self, offset: int, size: int) -> int:
        """Read bytes; ones behind its end."""
        return int.from_bytes(self.data[offset : offset + size].ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Nothing: it is read-only."""


@attrs.define
class PciFunctionState:
    """Everything a function remembers."""

    config: ConfigSpace
    interrupt: bool = False
    """What the device wants INTx to be; the command register may disable it."""


class PciFunction:
    """A function's configuration: base address registers, an interrupt pin, capabilities and an option ROM.

    `bars` are devices by number of the register, 0 to 5; `pin` is 1 for INTA# to 4 for INTD#, 0 for none.
    `capabilities` are identifiers with their bytes behind the two of the header, read-only.

    Raises:
        ValueError: no such registers fit in a header.

    """

    def __init__(
        self,
        *,
        name: str,
        vendor: int,
        device: int,
        class_code: int,
        revision: int = 0,
        bars: Mapping[int, Bar] | None = None,
        pin: int = 0,
        capabilities: Sequence[tuple[int, bytes]] = (),
        rom: bytes = b"",
        subsystem: int = SUBSYSTEM,
        line: IrqLine | None = None,
        state: PciFunctionState | None = None,
    ) -> None:
        self.name = name
        self.bars = dict(bars or {})
        self.pin = pin
        self.rom = Rom(rom)
        self.line: IrqLine = line or Line()
        """Where INTx goes; who plugs the function in sets it."""
        rom_size = max(2048, 1 << (len(rom) - 1).bit_length()) if rom else 0
        space = ConfigSpace.make(vendor, device, class_code, revision=revision, subsystem=subsystem)
        command = COMMAND_MASTER | (COMMAND_NO_INTX if pin else 0)
        for number, bar in self.bars.items():
            least = 4 if bar.space == "pio" else 16
            taken = {n + 1 for n, other in self.bars.items() if other.long}
            if bar.size < least or bar.size & bar.size - 1 or number in taken:
                raise ValueError(f"{name}: base address register {number} of {bar.size} addresses")
            if not 0 <= number <= (4 if bar.long else 5):
                raise ValueError(f"{name}: there is no base address register {number}")
            command |= COMMAND_IO if bar.space == "pio" else COMMAND_MEMORY
            self._define_bar(space, number, bar)
        if rom_size:
            command |= COMMAND_MEMORY
            space.set(Header.ROM, 4, 0, writable=-rom_size & 0xFFFF_FFFF | ROM_ENABLE)
        self.rom_size = rom_size
        space.set(Header.COMMAND, 2, 0, writable=command)
        space.set(Header.STATUS, 2, STATUS_CAPABILITIES if capabilities else 0, cleared=STATUS_ABORTS)
        space.set(Header.CACHE_LINE, 1, 0, writable=0xFF)
        space.set(Header.LATENCY, 1, 0, writable=0xF8)
        space.set(Header.INTERRUPT_PIN, 1, pin)
        at, pointer = FIRST_CAPABILITY, Header.CAPABILITIES
        for identifier, content in capabilities:
            if at + 2 + len(content) > 256:
                raise ValueError(f"{name}: capabilities of more than {256 - FIRST_CAPABILITY} bytes")
            space.set(pointer, 1, at)
            space.set(at, 2 + len(content), int.from_bytes(bytes((identifier, 0)) + content, "little"))
            at, pointer = -(-(at + 2 + len(content)) // 4) * 4, at + 1
        self._fresh = bytes(space.data)
        self.state = state or PciFunctionState(space)
        self._drive()

    @staticmethod
    def _define_bar(space: ConfigSpace, number: int, bar: Bar) -> None:
        offset, mask = Header.BAR0 + 4 * number, -bar.size
        if bar.space == "pio":
            space.set(offset, 4, BAR_IO, writable=mask & 0xFFFF_FFFC)
            return
        flags = BAR_64 * bar.long | BAR_PREFETCHABLE * bar.prefetchable
        space.set(
            offset, 8 if bar.long else 4, flags, writable=mask & (ONES[8] if bar.long else ONES[4]) & ~15
        )

    def reset(self) -> None:
        """Power on; the device says itself whether it still wants an interrupt."""
        self.state.config.data[:] = self._fresh
        self._drive()

    def restore(self, state: PciFunctionState) -> None:
        """Go on from a state that a predecessor has left; what the guest cannot change is this function's own."""
        config = self.state.config
        for at, old in enumerate(state.config.data[:256]):
            mask = config.writable[at] | config.cleared[at]
            config.data[at] = config.data[at] & ~mask & 0xFF | old & mask
        self.state.interrupt = state.interrupt
        self._drive()

    @property
    def command(self) -> int:
        """The command register: COMMAND_MASTER says whether the device may read and write memory."""
        return self.state.config.get(Header.COMMAND, 2)

    def interrupt(self, level: bool) -> None:
        """Assert or release INTx; a level, as on the bus."""
        self.state.interrupt = level
        self._drive()

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.state.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        self.state.config.write(offset, size, value)
        self._drive()

    def windows(self) -> list[Window]:
        """Return where its devices are now."""
        config, command = self.state.config, self.command
        found = []
        for number, bar in self.bars.items():
            if not command & (COMMAND_IO if bar.space == "pio" else COMMAND_MEMORY):
                continue
            first = config.get(Header.BAR0 + 4 * number, 8 if bar.long else 4) & -bar.size
            name = f"{self.name} bar{number}"
            found += window(bar.space, first, bar.size, bar.device, name, width=bar.width, waits=bar.waits)
        rom = config.get(Header.ROM, 4)
        if self.rom_size and command & COMMAND_MEMORY and rom & ROM_ENABLE:
            found += window(
                "memory", rom & -self.rom_size, self.rom_size, self.rom, f"{self.name} rom", width=8
            )
        return found

    def _drive(self) -> None:
        s = self.state
        level = bool(self.pin) and s.interrupt
        status = s.config.get(Header.STATUS, 2) & ~STATUS_INTX | (STATUS_INTX if level else 0)
        s.config.data[Header.STATUS] = status & 0xFF
        self.line.set(level and not self.command & COMMAND_NO_INTX)


def window(
    space: SpaceName, first: int, size: int, device: Device, name: str, *, width: int = 4, waits: str = ""
) -> list[Window]:
    """Return what a base address makes: nothing at 0, where it has not been set, nor at the very top.

    There it is for a moment while its size is asked for, by writing ones.
    """
    last = first + size - 1
    top = 0xFFFF if space == "pio" else 0xFFFF_FFFE if first < 1 << 32 else (1 << 52) - 1
    if not first or last > top:
        return []
    return [Window(space, first, last, name, device, width, waits)]


# -- the bus ----------------------------------------------------------------------------------------------


class AddressSpace(Protocol):
    """Ports or memory, where windows are put."""

    def place(self, first: int, last: int, device: Device, *, name: str, width: int, waits: str) -> bool:
        """Let a device answer; False if somebody else does there."""
        ...

    def remove(self, first: int, last: int) -> None:
        """Let it answer no more."""
        ...


@attrs.define
class Config:
    """PCI_CONFIG requests: the offset is the request's address (bus, device, function, register)."""

    bus: "PciBus"

    def read(self, offset: int, size: int) -> int:
        """Read a function's configuration; ones where there is none."""
        function = self.bus.find(offset >> 32)
        register = offset & 0xFF
        if function is None or offset & 0xFFFF_FF00 or register + size > 256:
            return ONES.get(size, 0xFF)
        return function.config_read(register, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a function's configuration."""
        function = self.bus.find(offset >> 32)
        register = offset & 0xFF
        if function is not None and not offset & 0xFFFF_FF00 and register + size <= 256:
            function.config_write(register, size, value)
            self.bus.follow(offset >> 32, function)


@attrs.define
class PciBus:
    """Bus 0: functions by device and function number. It has no state: what is mapped follows the functions'."""

    functions: dict[tuple[int, int], Function] = attrs.field(factory=dict[tuple[int, int], Function])
    spaces: Mapping[SpaceName, AddressSpace] = attrs.field(factory=dict)
    config: Device = attrs.field(init=False)
    _placed: dict[tuple[int, int, str], Window] = attrs.field(factory=dict, init=False)
    _wanted: dict[tuple[int, int], list[Window]] = attrs.field(factory=dict, init=False)
    _waiting: bool = attrs.field(default=False, init=False)  # somebody else answers at one of them

    def __attrs_post_init__(self) -> None:
        self.config = Config(self)

    def find(self, bdf: int) -> Function | None:
        """Return the function at segment, bus, device and function (31-16, 15-8, 7-3, 2-0)."""
        if bdf >> 8:
            return None
        return self.functions.get((bdf >> 3, bdf & 7))

    def follow(self, bdf: int, function: Function) -> None:
        """Put a function where its registers say, which have been written: it has mostly not moved."""
        if self._waiting or list(function.windows()) != self._wanted.get((bdf >> 3, bdf & 7)):
            self.update()

    def update(self) -> None:
        """Put each function where its registers say. Where somebody else answers it waits until he does no more."""
        if not self.spaces:
            return
        self._wanted = {at: list(function.windows()) for at, function in self.functions.items()}
        wanted = {(*at, found.name): found for at, windows in self._wanted.items() for found in windows}
        for key, old in list(self._placed.items()):
            if wanted.get(key) != old:
                del self._placed[key]
                self.spaces[old.space].remove(old.first, old.last)
        self._waiting = False
        for key, new in wanted.items():
            if key in self._placed:
                continue
            if self.spaces[new.space].place(
                new.first, new.last, new.device, name=new.name, width=new.width, waits=new.waits
            ):
                self._placed[key] = new
            else:
                self._waiting = True
                log.info("pci.taken", window=new.name, space=new.space, first=new.first, last=new.last)


ENABLE: Final = 0x8000_0000
RESET_CONTROL: Final = 1  # 0xCF9, a byte: the ISA bridge's
DATA: Final = 4


@attrs.define
class PciPortsState:
    """What the ports remember."""

    address: int = 0


@attrs.define(kw_only=True)
class PciPorts:
    """CONFADD at 0xCF8 and CONFDATA at 0xCFC (map both in one, up to 32 bits wide)."""

    bus: PciBus
    reset_control: Device
    state: PciPortsState = attrs.field(factory=PciPortsState)

    def reset(self) -> None:
        """Power on."""
        self.state = PciPortsState()

    def read(self, offset: int, size: int) -> int:
        """Read the address, the data it selects, or the reset control."""
        address = self.state.address
        if offset >= DATA:
            if not address & ENABLE or offset + size > DATA + 4:
                return ONES.get(size, 0)
            # As `_target`, without its call: whoever looks for functions reads thousands of registers.
            target = (address >> 8 & 0xFFFF) << 32 | address & 0xFC | offset - DATA
            return self.bus.config.read(target, size)
        if size == 4 and offset == 0:
            return address
        if offset == RESET_CONTROL and size == 1:
            return self.reset_control.read(0, 1)
        return ONES.get(size, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the address, the data it selects, or the reset control."""
        if offset >= DATA:
            if self.state.address & ENABLE and offset + size <= DATA + 4:
                self.bus.config.write(self._target(offset), size, value)
        elif size == 4 and offset == 0:
            self.state.address = value & 0x80FF_FFFC
        elif offset == RESET_CONTROL and size == 1:
            self.reset_control.write(0, 1, value)

    def _target(self, offset: int) -> int:
        """Return the address of a PCI_CONFIG request."""
        address = self.state.address
        return (address >> 8 & 0xFFFF) << 32 | address & 0xFC | offset - DATA
