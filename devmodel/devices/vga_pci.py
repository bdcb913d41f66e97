"""The VGA as a PCI function, 1234:1111 as Bochs and QEMU have it: SeaBIOS' `vgabios-stdvga` and drivers look for that.

Base address register 0 is the linear frame buffer; there is an option ROM if the machine has a BIOS for the function.
The guest has the frame buffer as memory, if board and core share that.
Not modelled: base address register 2 with the registers in memory (drivers use the ports where it is missing); the
command register's effect on the VGA's own ports and window, which are there without firmware too.
"""

from collections.abc import Callable
from typing import Final

from devmodel.board.device import Device
from devmodel.devices.pci import COMMAND_IO, COMMAND_MEMORY, Bar, Header, PciFunction, PciFunctionState

VENDOR: Final = 0x1234
DEVICE: Final = 0x1111
REVISION: Final = 2
DISPLAY_VGA: Final = 0x03_0000
PCIR: Final = 0x18
"""Where an option ROM says where its PCI data structure is (PCI firmware specification 3.0, section 5.1)."""


def is_for_pci(rom: bytes) -> bool:
    """Tell whether an option ROM is for this function."""
    at = int.from_bytes(rom[PCIR : PCIR + 2], "little")
    identity = VENDOR.to_bytes(2, "little") + DEVICE.to_bytes(2, "little")
    return rom[at : at + 8] == b"PCIR" + identity


class VgaFunction(PciFunction):
    """The function. `show` hears where the frame buffer is, first and last address; None: nowhere."""

    def __init__(
        self,
        *,
        frame_buffer: Device,
        size: int,
        show: Callable[[tuple[int, int] | None], None],
        rom: bytes = b"",
        state: PciFunctionState | None = None,
    ) -> None:
        self._show = show
        self._shown: tuple[int, int] | None = None
        super().__init__(
            name="vga_pci",
            vendor=VENDOR,
            device=DEVICE,
            class_code=DISPLAY_VGA,
            revision=REVISION,
            bars={0: Bar(frame_buffer, 1 << (size - 1).bit_length(), width=8, prefetchable=True)},
            rom=rom,
            state=state,
        )
        # It has ports without a register for them, and firmware takes for a VGA what has both enabled.
        self.state.config.writable[Header.COMMAND] |= COMMAND_IO
        self._follow()

    def reset(self) -> None:
        """Power on."""
        super().reset()
        self._follow()

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        super().config_write(offset, size, value)
        self._follow()

    def _follow(self) -> None:
        """Say where the frame buffer is, when it has moved."""
        place = None
        if self.command & COMMAND_MEMORY:
            for window in self.windows():
                if window.first == self.state.config.get(Header.BAR0, 4) & ~15:
                    place = window.first, window.last
        if place != self._shown:
            self._shown = place
            self._show(place)
