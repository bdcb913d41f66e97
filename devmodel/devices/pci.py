"""PCI configuration: mechanism 1 (ports 0xCF8-0xCFF, PCI 2.1 section 3.7.4) and functions' header space.

`PciBus` holds the functions of bus 0. `PciPorts` are the ports; where the core takes them itself and sends
PCI_CONFIG requests, `PciBus.config` answers those (their address as offset).
Not modelled: buses behind bridges, mechanism 2, special cycles.
"""

from typing import Final, Protocol

import attrs

from devmodel.board.device import ONES, Device

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
    HEADER_TYPE: Final = 0x0E
    BAR0: Final = 0x10
    SUBSYSTEM: Final = 0x2C
    INTERRUPT_LINE: Final = 0x3C
    INTERRUPT_PIN: Final = 0x3D


class Function(Protocol):
    """A PCI function, as its bus sees it."""

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space; the access does not cross a double word."""
        ...

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        ...


@attrs.define
class ConfigSpace:
    """The 256 bytes of a function, and which of their bits the guest can write."""

    data: bytearray
    writable: bytearray

    @classmethod
    def make(
        cls, vendor: int, device: int, class_code: int, *, revision: int = 0, multifunction: bool = False
    ) -> "ConfigSpace":
        """Return a header of type 0. `class_code` is base class, subclass and interface in 24 bits."""
        space = cls(bytearray(256), bytearray(256))
        space.set(Header.VENDOR, 2, vendor)
        space.set(Header.DEVICE, 2, device)
        space.set(Header.REVISION, 1, revision)
        space.set(Header.CLASS, 3, class_code)
        space.set(Header.HEADER_TYPE, 1, 0x80 if multifunction else 0)
        space.set(Header.SUBSYSTEM, 4, SUBSYSTEM)
        space.set(Header.INTERRUPT_LINE, 1, 0, writable=0xFF)
        return space

    def set(self, offset: int, size: int, value: int, *, writable: int = 0) -> None:
        """Define a register: its value, and the bits of it that the guest can write."""
        self.data[offset : offset + size] = value.to_bytes(size, "little")
        self.writable[offset : offset + size] = writable.to_bytes(size, "little")

    def get(self, offset: int, size: int) -> int:
        """Return a register."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Let the guest write a register."""
        for i in range(offset, min(offset + size, 256)):
            mask = self.writable[i]
            self.data[i] = self.data[i] & ~mask & 0xFF | value & mask
            value >>= 8


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


@attrs.define
class PciBus:
    """Bus 0: functions by device and function number. It has no state."""

    functions: dict[tuple[int, int], Function] = attrs.field(factory=dict[tuple[int, int], Function])
    config: Device = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.config = Config(self)

    def find(self, bdf: int) -> Function | None:
        """Return the function at segment, bus, device and function (31-16, 15-8, 7-3, 2-0)."""
        if bdf >> 8:
            return None
        return self.functions.get((bdf >> 3, bdf & 7))


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
            return self.bus.config.read(self._target(offset), size)
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
