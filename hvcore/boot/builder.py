"""The domain builder: memory map, E820, firmware, and the state a vCPU starts in.

The map is a PC's (Xen's HVM domain builder and QEMU's `pc` machine agree on it):

    00000000-0009FFFF  RAM; the last KiB is the firmware's (EBDA)
    000A0000-000BFFFF  VGA window: device models
    000C0000-000DFFFF  adapter ROMs: nothing, until the chipset (PAM) puts RAM there
    000E0000-000FFFFF  the last 128 KiB of the firmware, until PAM puts RAM there
    00100000-          RAM, up to 3 GiB; the rest of it from 4 GiB on
    FFxxxxxx-FFFFFFFF  the firmware, ending at 4 GiB
"""

import os
from collections.abc import Iterable
from typing import Final, Protocol

import attrs

from hvcore.boot.linux import Image, LinuxKernel, is_linux
from hvcore.boot.linux_setup import LinuxSetup
from hvcore.boot.multiboot import MultibootKernel, find_header
from hvcore.config import MachineConfig
from hvcore.errors import ConfigError
from hvcore.hvm import GuestState, Register, SegmentName, SegmentState
from hvcore.memory import GuestMemory
from ioreq.messages import E820Entry
from ioreq.user_input import open_regular

FIRMWARE_STEP: Final = 64 << 10
FIRMWARE_MOST: Final = 16 << 20
"""QEMU's rules for `-bios`."""
FILE_MOST: Final = 1 << 30
"""More than any kernel or initial RAM disk that fits below 3 GiB."""
FOUR_GIB: Final = 1 << 32
ADAPTER_ROMS: Final = 0xC0000
ALIAS_MOST: Final = 0x20000
ONE_MIB: Final = 0x100000
EBDA: Final = 0x9FC00
LOW_END: Final = 0xA0000
BIOS_SEGMENT: Final = 0xF0000
SHADOW: Final = 0xE0000
"""Where the last 128 KiB of the firmware are to be found, and RAM once it has shadowed itself."""
RAM: Final = 1
RESERVED: Final = 2
"""E820 types (ACPI specification, table 15-374)."""
FIRST_DISK: Final = 0x80
"""What a BIOS leaves in DL for the boot sector it starts."""


class Kernel(Protocol):
    """What is started without firmware: `linux` or `multiboot` beside this file."""

    def load(self, memory: GuestMemory, e820: Iterable[E820Entry]) -> None:
        """Put everything into RAM. Raises ConfigError if it does not fit."""

    def start_state(self, power_on: GuestState) -> GuestState:
        """Return the state of its entry point."""


@attrs.define(eq=False)
class Builder:
    """Builds one domain, and builds its start state again after a reset."""

    machine: MachineConfig
    memory: GuestMemory
    firmware: bytes = b""
    image: bytes = b""
    kernel: Kernel | None = None
    setup: LinuxSetup | None = None
    """A kernel that the firmware is to start."""

    @classmethod
    def build(cls, machine: MachineConfig) -> "Builder":
        """Read the files and lay out memory. Raises ConfigError, one line, for files that do not do."""
        firmware = read_firmware(machine.firmware) if machine.firmware is not None else b""
        image = _read("image", machine.image) if machine.image is not None else b""
        if machine.image is not None and not 0 < len(image) <= LOW_END - machine.image_address:
            raise ConfigError(
                f"image {machine.image} has {len(image)} bytes; "
                f"allowed: 1 to {LOW_END - machine.image_address} at {machine.image_address:#x}"
            )
        kernel = setup = None
        if firmware and machine.kernel is not None:
            setup = read_setup(machine)
        elif machine.kernel is not None:
            kernel = read_kernel(machine)
        builder = cls(machine, GuestMemory(machine.memory), firmware, image, kernel, setup)
        if firmware:
            address = FOUR_GIB - len(firmware)
            builder.memory.add_rom(address, firmware)
            alias = min(len(firmware), ALIAS_MOST)
            builder.memory.add_rom(ONE_MIB - alias, firmware[-alias:], alias_of=FOUR_GIB - alias)
        builder.reset_map()
        return builder

    def reset_map(self) -> None:
        """Do what RESET does to the map: all is where it was, RAM keeps its content, a flat image is put back."""
        self.memory.reset()
        self.memory.set_type(ADAPTER_ROMS, ONE_MIB - 1, "rom")
        if self.image:
            self.memory.write(self.machine.image_address, self.image)
        if self.kernel is not None:
            # RAM, as firmware shadows itself: device models put the tables there that a kernel looks for. It looks for
            # some in every 16 bytes, which would be an exit each where there is no memory.
            self.memory.set_type(SHADOW, ONE_MIB - 1, "ram")
            self.kernel.load(self.memory, self.e820())
        if self.setup is not None:
            self.setup.load(self.memory)

    @property
    def start(self) -> str:
        """What is started: "firmware", "image" or "kernel"; where it is a kernel, there is no firmware."""
        return "kernel" if self.kernel is not None else "image" if self.image else "firmware"

    def told(self) -> dict[str, int]:
        """Return what the device models must show the firmware of a kernel that it is to start."""
        return self.setup.told() if self.setup is not None else {}

    def start_state(self, power_on: GuestState) -> GuestState:
        """Where vCPU 0 starts: at the reset vector in the firmware, or in real mode at the image.

        The image finds what a boot sector does: CS:IP at its first byte, DS, ES, SS zero, a stack below it
        (or below 7C00h), interrupts off, and 80h in DL.
        """
        if self.kernel is not None:
            return self.kernel.start_state(power_on)
        if not self.image:
            return power_on
        address = self.machine.image_address
        code = 0 if address < 0x10000 else address >> 4
        segments = list(power_on.segments)
        data = power_on.segments[SegmentName.DS]
        for name in (SegmentName.ES, SegmentName.SS, SegmentName.DS, SegmentName.FS, SegmentName.GS):
            segments[name] = SegmentState(0, 0, 0xFFFF, data.attributes)
        segments[SegmentName.CS] = SegmentState(
            code, code << 4, 0xFFFF, power_on.segments[SegmentName.CS].attributes
        )
        gpr = [0] * 16
        gpr[Register.RDX] = FIRST_DISK
        gpr[Register.RSP] = address if 0x800 <= address < 0x10000 else 0x7C00
        return attrs.evolve(power_on, gpr=gpr, rip=address - (code << 4), segments=segments)

    def e820(self) -> list[E820Entry]:
        """Return the memory map for the firmware to publish."""
        low = self.memory.regions[0].length
        entries = [
            E820Entry(0, EBDA, RAM),
            E820Entry(EBDA, LOW_END - EBDA, RESERVED),
            E820Entry(BIOS_SEGMENT, ONE_MIB - BIOS_SEGMENT, RESERVED),
        ]
        if low > ONE_MIB:
            entries.append(E820Entry(ONE_MIB, low - ONE_MIB, RAM))
        if self.firmware:
            entries.append(E820Entry(FOUR_GIB - len(self.firmware), len(self.firmware), RESERVED))
        entries += [E820Entry(region.address, region.length, RAM) for region in self.memory.regions[1:]]
        return entries


def read_firmware(path: str) -> bytes:
    """Read a firmware image, of a size that a PC's flash has. Raises ConfigError."""
    data = _read("firmware", path)
    if not data or len(data) % FIRMWARE_STEP or len(data) > FIRMWARE_MOST:
        raise ConfigError(
            f"firmware {path} has {len(data)} bytes; allowed: a multiple of 64 KiB, at most 16 MiB "
            "(is it truncated?)"
        )
    return data


def read_kernel(machine: MachineConfig) -> Kernel:
    """Read a kernel, Linux or multiboot, and what belongs to it. Raises ConfigError."""
    path, image, initrd = _kernel_files(machine)
    append = machine.append.encode()
    if is_linux(image):
        kernel = LinuxKernel(Image(image), append, initrd or b"")
        kernel.check(path)
        return kernel
    if find_header(image) is None:
        raise ConfigError(f"kernel {path} is neither a Linux bzImage nor a multiboot kernel")
    command_line = b" ".join(filter(None, (os.fsencode(path), append)))  # as GRUB and QEMU have it
    return MultibootKernel.read(path, image, command_line, initrd, machine.initrd)


def read_setup(machine: MachineConfig) -> LinuxSetup:
    """Read a kernel that firmware is to start, and what belongs to it. Raises ConfigError."""
    path, image, initrd = _kernel_files(machine)
    if not is_linux(image):
        raise ConfigError(
            f"kernel {path} is no Linux image; with --firmware only those are started, others without"
        )
    setup = LinuxSetup(Image(image), machine.append.encode(), initrd or b"")
    setup.check(path)
    return setup


def _kernel_files(machine: MachineConfig) -> tuple[str, bytes, bytes | None]:
    """Return the kernel's path and content, and its initial RAM disk's."""
    path = machine.kernel
    assert path is not None
    initrd = _read("initrd", machine.initrd, FILE_MOST) if machine.initrd is not None else None
    return path, _read("kernel", path, FILE_MOST), initrd


def _read(what: str, path: str, most: int = FIRMWARE_MOST) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}") from None
