"""Starting a Linux kernel without firmware: the 32-bit boot protocol (kernel Documentation/arch/x86/boot.rst).

The builder does what a boot loader does: it puts the protected-mode kernel, the initial RAM disk, the command
line and the zero page (`struct boot_params`) into RAM, and starts the kernel's 32-bit entry point with flat
segments. Nothing of the 16-bit setup code runs, and no firmware is there to be asked: the zero page holds the
memory map and the screen that it would have asked for.
"""

import struct
from collections.abc import Iterable
from typing import Final

import attrs

from hvcore.errors import ConfigError
from hvcore.hvm import GuestState, Register, SegmentName, SegmentState
from hvcore.memory import GuestMemory
from ioreq.messages import E820Entry

GDT: Final = 0x8000
ZERO_PAGE: Final = 0x10000
COMMAND_LINE: Final = 0x20000
COMMAND_LINE_MOST: Final = 0xFFFF  # bytes that our place for it holds, with the final NUL
KERNEL: Final = 0x100000
PAGE: Final = 4096
E820_MOST: Final = 128  # entries that fit in the zero page

# Offsets in the zero page, which begins with `struct screen_info` and holds the setup header where the image does.
SCREEN: Final = 0x000
EXT_RAMDISK: Final = 0x0C0
E820_ENTRIES: Final = 0x1E8
HEADER: Final = 0x1F1
TYPE_OF_LOADER: Final = 0x210
LOADFLAGS: Final = 0x211
CODE32_START: Final = 0x214  # 0 in images whose setup is the program, as iPXE's
RAMDISK: Final = 0x218
CMD_LINE_PTR: Final = 0x228
E820_TABLE: Final = 0x2D0

LOADED_HIGH: Final = 1
UNDEFINED_LOADER: Final = 0xFF
SHORTEST: Final = 0x268  # bytes with the whole header of protocol 2.15
OLDEST: Final = 0x0203  # the protocol that says where the RAM disk may end
OLD_INITRD_LIMIT: Final = 0x3800_0000
BOOT_CS: Final = 0x10  # __BOOT_CS and __BOOT_DS, which the kernel expects in these slots
BOOT_DS: Final = 0x18
FLAT_CODE: Final = 0xC09B
FLAT_DATA: Final = 0xC093


def _descriptor(attributes: int) -> int:
    """Return the descriptor of a flat 4 GiB segment with the access rights `attributes` (VMX layout)."""
    return 0x000F_0000_0000_FFFF | (attributes & 0xFF) << 40 | (attributes >> 12 & 0xF) << 52


def is_linux(image: bytes) -> bool:
    """Whether a file is a Linux kernel with the setup header of a bzImage (or of the older zImage)."""
    return image[0x202:0x206] == b"HdrS"


@attrs.frozen
class Image:
    """A file with a setup header, and what that says. Offsets are those of the header's fields."""

    data: bytes

    def word(self, at: int) -> int:
        """Return a field of 16 bits."""
        return int.from_bytes(self.data[at : at + 2], "little")

    def dword(self, at: int) -> int:
        """Return a field of 32 bits."""
        return int.from_bytes(self.data[at : at + 4], "little")

    @property
    def version(self) -> int:
        """The boot protocol."""
        return self.word(0x206)

    @property
    def loaded_high(self) -> bool:
        """Whether the kernel goes to 1 MiB: a bzImage. That of a zImage goes to 64 KiB."""
        return bool(self.data[LOADFLAGS] & LOADED_HIGH)

    @property
    def setup_bytes(self) -> int:
        """Where the kernel begins, behind boot sector and setup."""
        return ((self.data[HEADER] or 4) + 1) * 512

    @property
    def most_command_line(self) -> int:
        """Bytes that the command line may have, without its NUL."""
        return min(self.dword(0x238) if self.version >= 0x0206 else 255, COMMAND_LINE_MOST - 1)

    @property
    def initrd_limit(self) -> int:
        """Where the initial RAM disk must end."""
        return self.dword(0x22C) + 1 if self.version >= OLDEST else OLD_INITRD_LIMIT

    @property
    def runs_at(self) -> int:
        """Where the kernel unpacks itself: where it lies, but not below the address it prefers."""
        return max(KERNEL, self.dword(0x258)) if self.version >= 0x020A else KERNEL

    @property
    def init_size(self) -> int:
        """Bytes the kernel needs from where it runs until it has a memory map of its own."""
        return self.dword(0x260) if self.version >= 0x020A else 0

    def check(self, path: str, command_line: bytes) -> None:
        """Refuse one that is cut short, and a command line that is too long for it. Raises ConfigError."""
        paragraphs = self.dword(0x1F4) if self.version >= 0x0204 else self.word(0x1F4)
        size = self.setup_bytes + 16 * paragraphs
        if len(self.data) <= size - 16:  # the header counts whole paragraphs
            raise ConfigError(f"kernel {path} has {len(self.data)} bytes of {size}: it is truncated")
        most = self.most_command_line
        if len(command_line) > most:
            raise ConfigError(f"append has {len(command_line)} bytes; this kernel allows {most}")


@attrs.frozen
class LinuxKernel:
    """A bzImage, its command line and initial RAM disk, checked and ready to be put into memory."""

    image: Image
    command_line: bytes = b""
    initrd: bytes = b""

    def check(self, path: str) -> None:
        """Refuse what is not a bzImage of the 32-bit protocol, or is cut short. Raises ConfigError."""
        image = self.image
        if len(image.data) < SHORTEST:
            raise ConfigError(f"kernel {path} has {len(image.data)} bytes: it is truncated")
        if image.version < OLDEST or not image.loaded_high or not image.dword(CODE32_START):
            kind = f"has boot protocol {image.version:#06x}"
            if image.version >= OLDEST:
                kind = "has no 32-bit entry point"
            raise ConfigError(
                f"kernel {path} {kind}: its setup runs in real mode and calls a BIOS; give --firmware too"
            )
        image.check(path, self.command_line)

    def load(self, memory: GuestMemory, e820: Iterable[E820Entry]) -> None:
        """Put everything into RAM. Raises ConfigError if it does not fit."""
        kernel = self.image.data[self.image.setup_bytes :]
        room = max(KERNEL + len(kernel), self.image.runs_at + self.image.init_size)
        low_ram = memory.regions[0].length
        limit = min(self.image.initrd_limit, low_ram)
        at = (limit - len(self.initrd)) & ~(PAGE - 1)
        if at < room:
            raise ConfigError(
                f"memory of {low_ram >> 20} MiB below 3 GiB: the kernel and its initrd need "
                f"{(room + len(self.initrd) >> 20) + 1} MiB"
            )
        memory.write(KERNEL, kernel)
        memory.write(COMMAND_LINE, self.command_line + b"\0")
        if self.initrd:
            memory.write(at, self.initrd)
        memory.write(ZERO_PAGE, self._zero_page(at if self.initrd else 0, list(e820)))
        descriptors = (0, 0, _descriptor(FLAT_CODE), _descriptor(FLAT_DATA))
        memory.write(GDT, struct.pack("<4Q", *descriptors))

    def start_state(self, power_on: GuestState) -> GuestState:
        """Return the state of the 32-bit entry point: ESI points to the zero page, paging and interrupts off."""
        gpr = [0] * 16
        gpr[Register.RSI] = ZERO_PAGE
        segments = list(power_on.segments)
        for name in (SegmentName.ES, SegmentName.SS, SegmentName.DS, SegmentName.FS, SegmentName.GS):
            segments[name] = SegmentState(BOOT_DS, 0, 0xFFFF_FFFF, FLAT_DATA)
        segments[SegmentName.CS] = SegmentState(BOOT_CS, 0, 0xFFFF_FFFF, FLAT_CODE)
        return attrs.evolve(
            power_on, gpr=gpr, rip=KERNEL, cr0=power_on.cr0 | 1, segments=segments, gdtr=(GDT, 31)
        )

    def _zero_page(self, initrd_at: int, e820: list[E820Entry]) -> bytes:
        page = bytearray(PAGE)
        end = 0x202 + self.image.data[0x201]
        page[HEADER:end] = self.image.data[HEADER:end]
        # screen_info: text mode 3 of a VGA, 80 by 25 with 16 scan lines a character, cursor at home
        page[SCREEN + 0x06] = 3
        page[SCREEN + 0x07] = 80
        page[SCREEN + 0x0E] = 25
        page[SCREEN + 0x0F] = 1
        page[SCREEN + 0x10] = 16
        page[TYPE_OF_LOADER] = UNDEFINED_LOADER
        struct.pack_into("<II", page, RAMDISK, initrd_at, len(self.initrd))
        struct.pack_into("<I", page, CMD_LINE_PTR, COMMAND_LINE)
        page[E820_ENTRIES] = min(len(e820), E820_MOST)
        for i, entry in enumerate(e820[:E820_MOST]):
            struct.pack_into("<QQI", page, E820_TABLE + 20 * i, entry.start, entry.length, entry.type)
        return bytes(page)
