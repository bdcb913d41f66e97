"""Starting a Linux image under firmware: the 16-bit boot protocol (kernel Documentation/arch/x86/boot.rst).

Some images are started in no other way: their setup is a program that calls the BIOS, as iPXE's .lkrn, or they are
zImages. Firmware has the machine first; then an option ROM, which the device models show it, moves the setup to where
it runs and enters it. Until then all of it lies above 1 MiB, where firmware leaves RAM alone.
"""

import struct
from typing import Final

import attrs

from hvcore.boot.linux import (
    CMD_LINE_PTR,
    KERNEL,
    LOADFLAGS,
    PAGE,
    RAMDISK,
    TYPE_OF_LOADER,
    UNDEFINED_LOADER,
    Image,
)
from hvcore.errors import ConfigError
from hvcore.memory import GuestMemory

SHORTEST: Final = 0x220  # bytes with the header of protocol 2.00
SETUP_MOVE_SIZE: Final = 0x212
HEAP_END_PTR: Final = 0x224
CAN_USE_HEAP: Final = 0x80
OLD_COMMAND_LINE_MAGIC: Final = 0x20
OLD_COMMAND_LINE_OFFSET: Final = 0x22
MAGIC: Final = 0xA33F
STACK: Final = 512
"""Bytes between heap and stack's end."""
LOW_KERNEL: Final = 0x10000
LOW_KERNEL_MOST: Final = 0x80000
FIRMWARES_OWN: Final = 2 << 20
"""The end of RAM, where firmware works and leaves its tables: SeaBIOS takes under half a megabyte."""


@attrs.frozen
class LinuxSetup:
    """An image, its command line and initial RAM disk, for an option ROM to start."""

    image: Image
    command_line: bytes = b""
    initrd: bytes = b""

    def check(self, path: str) -> None:
        """Refuse what is cut short or cannot be where it has to. Raises ConfigError."""
        image = self.image
        if len(image.data) < SHORTEST or len(image.data) < image.setup_bytes:
            raise ConfigError(f"kernel {path} has {len(image.data)} bytes: it is truncated")
        image.check(path, self.command_line)
        if image.setup_bytes > self.stack - STACK:
            raise ConfigError(
                f"kernel {path} has a setup of {image.setup_bytes} bytes; allowed: {self.stack - STACK}"
            )
        if not image.loaded_high and len(self._kernel) > LOW_KERNEL_MOST:
            raise ConfigError(
                f"kernel {path} is a zImage of {len(self._kernel)} bytes; allowed: {LOW_KERNEL_MOST}"
            )

    def load(self, memory: GuestMemory) -> None:
        """Put everything into RAM, above 1 MiB. Raises ConfigError if it does not fit."""
        low_ram = memory.regions[0].length
        parked = self._parked_at()
        setup = self._setup(0)
        end = max(parked + len(setup), self.image.runs_at + self.image.init_size)
        at = (min(self.image.initrd_limit, low_ram - FIRMWARES_OWN) - len(self.initrd)) & ~(PAGE - 1)
        if at < end:
            raise ConfigError(
                f"memory of {low_ram >> 20} MiB below 3 GiB: firmware, the kernel and its initrd need "
                f"{(end + len(self.initrd) + FIRMWARES_OWN >> 20) + 1} MiB"
            )
        if self.image.loaded_high:
            memory.write(KERNEL, self._kernel)
        if self.initrd:
            memory.write(at, self.initrd)
        memory.write(parked, self._setup(at if self.initrd else 0))

    def told(self) -> dict[str, int]:
        """Return what the option ROM has to do: move so many bytes from here to there, and start them so."""
        to = self.base if self.image.loaded_high else LOW_KERNEL
        return {
            "setup": self._parked_at(),
            "setup-to": to,
            "setup-bytes": len(self._setup(0)),
            "setup-segment": self.base >> 4,
            "setup-stack": self.stack,
        }

    @property
    def base(self) -> int:
        """Where the setup runs. Old protocols, and zImages, have one place for it."""
        return 0x10000 if self._modern else 0x90000

    @property
    def stack(self) -> int:
        """Where the stack begins in the setup's segment, and the command line lies: behind setup and heap."""
        return 0xE000 if self._modern else 0x9800

    @property
    def _modern(self) -> bool:
        return self.image.loaded_high and self.image.version >= 0x0202

    @property
    def _kernel(self) -> bytes:
        return self.image.data[self.image.setup_bytes :]

    def _parked_at(self) -> int:
        """Where the setup lies before it is moved: behind the kernel, if that is in its place."""
        kernel = len(self._kernel) if self.image.loaded_high else 0
        return -(-(KERNEL + kernel) // PAGE) * PAGE

    def _setup(self, initrd_at: int) -> bytes:
        """Return the setup and the command line behind it; in front of them a zImage's kernel, filled up."""
        version = self.image.version
        setup = bytearray(self.image.data[: self.image.setup_bytes].ljust(self.stack, b"\0"))
        setup += self.command_line + b"\0"
        setup[TYPE_OF_LOADER] = UNDEFINED_LOADER
        struct.pack_into("<II", setup, RAMDISK, initrd_at, len(self.initrd))
        if version >= 0x0201:
            setup[LOADFLAGS] |= CAN_USE_HEAP
            struct.pack_into("<H", setup, HEAP_END_PTR, self.stack - STACK)
        if version >= 0x0202:
            struct.pack_into("<I", setup, CMD_LINE_PTR, self.base + self.stack)
        else:
            struct.pack_into("<HH", setup, OLD_COMMAND_LINE_MAGIC, MAGIC, self.stack)
            struct.pack_into("<H", setup, SETUP_MOVE_SIZE, len(setup))
        if self.image.loaded_high:
            return bytes(setup)
        return self._kernel.ljust(self.base - LOW_KERNEL, b"\0") + bytes(setup)
