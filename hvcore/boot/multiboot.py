"""Starting a multiboot kernel without firmware (Multiboot Specification version 0.6.96, sections 3.1 to 3.3).

The builder does what a boot loader does: it puts the kernel where its header (or its ELF segments) says, the
initial RAM disk behind it as the first module, a page of stack and the information structure behind that, and starts
the kernel in flat 32-bit protected mode.
Not modelled: a graphics mode (a header that asks for one gets the text screen), symbols, boot devices, APM.
"""

import os
import struct
from collections.abc import Iterable
from typing import Final

import attrs

from hvcore.errors import ConfigError
from hvcore.hvm import GuestState, Register, SegmentName, SegmentState
from hvcore.memory import GuestMemory
from ioreq.messages import E820Entry

HEADER_MAGIC: Final = 0x1BAD_B002
HEADER_WITHIN: Final = 8192  # bytes of the file that the header lies in, on a 4-byte boundary
STARTED_MAGIC: Final = 0x2BAD_B002
LOADER_NAME: Final = b"devmodel\0"
KNOWN_FLAGS: Final = 0x0007  # of those below bit 16, which a loader must understand
HAS_ADDRESSES: Final = 1 << 16

INFO_MEMORY: Final = 1 << 0
INFO_COMMAND_LINE: Final = 1 << 2
INFO_MODULES: Final = 1 << 3
INFO_MEMORY_MAP: Final = 1 << 6
INFO_LOADER_NAME: Final = 1 << 9
INFO_BYTES: Final = 88

ELF32_LITTLE: Final = b"\x7fELF\x01\x01"
ELF_386: Final = 3
ELF_LOAD: Final = 1

PAGE: Final = 4096
LOW_RAM_END: Final = 0x9FC00
ONE_MIB: Final = 0x100000
RAM: Final = 1
FLAT_CODE: Final = 0xC09B
FLAT_DATA: Final = 0xC093


@attrs.frozen
class Segment:
    """Bytes of the file that go to `address`, and zeroes behind them up to `length`."""

    address: int
    data: bytes
    length: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.length


def find_header(image: bytes) -> int | None:
    """Return where the multiboot header lies, or None if this is no multiboot kernel."""
    for at in range(0, min(len(image), HEADER_WITHIN) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<III", image, at)
        if magic == HEADER_MAGIC and (magic + flags + checksum) & 0xFFFF_FFFF == 0:
            return at
    return None


@attrs.frozen
class MultibootKernel:
    """A kernel, its command line and initial RAM disk, checked and ready to be put into memory."""

    segments: tuple[Segment, ...]
    entry: int
    command_line: bytes = b""
    initrd: bytes | None = None
    initrd_name: bytes = b""

    @classmethod
    def read(
        cls, path: str, image: bytes, command_line: bytes, initrd: bytes | None, initrd_path: str | None
    ) -> "MultibootKernel":
        """Take a kernel apart. Raises ConfigError, one line, for one that cannot be loaded."""
        at = find_header(image)
        if at is None:
            raise ConfigError(f"kernel {path} has no multiboot header")
        flags = int.from_bytes(image[at + 4 : at + 8], "little")
        if flags & 0xFFFF & ~KNOWN_FLAGS:
            raise ConfigError(
                f"kernel {path} wants multiboot features {flags & 0xFFFF:#06x}; allowed: 0x0007"
            )
        if flags & HAS_ADDRESSES:
            segments, entry = _by_addresses(path, image, at)
        elif image[:6] == ELF32_LITTLE:
            segments, entry = _by_elf(path, image)
        else:
            raise ConfigError(f"kernel {path} is neither ELF32 nor says where it is to be loaded")
        for segment in segments:
            low = segment.end <= LOW_RAM_END
            if not low and segment.address < ONE_MIB:
                where = f"{segment.address:#x}-{segment.end - 1:#x}"
                raise ConfigError(f"kernel {path} is to be loaded at {where}, where there is no RAM")
        name = os.path.basename(initrd_path or "").encode()
        return cls(tuple(segments), entry, command_line, initrd, name)

    def load(self, memory: GuestMemory, e820: Iterable[E820Entry]) -> None:
        """Put everything into RAM. Raises ConfigError if it does not fit."""
        low_ram = memory.regions[0].length
        description = self._describe(low_ram, list(e820))
        end = self._info() + len(description)
        if end > low_ram:
            raise ConfigError(
                f"memory of {low_ram >> 20} MiB below 3 GiB: the kernel and its initrd need {(end >> 20) + 1} MiB"
            )
        for segment in self.segments:
            memory.write(segment.address, segment.data)
            memory.write(segment.address + len(segment.data), bytes(segment.length - len(segment.data)))
        if self.initrd is not None:
            memory.write(self._free(), self.initrd)
        memory.write(self._info(), description)

    def start_state(self, power_on: GuestState) -> GuestState:
        """Return the state that section 3.2 wants: EAX the magic value, EBX the information structure.

        The section leaves ESP undefined, but boot loaders start kernels with a stack, and kernels came to push before
        they set their own: here it is the page below the information structure.
        """
        gpr = [0] * 16
        gpr[Register.RAX] = STARTED_MAGIC
        gpr[Register.RBX] = gpr[Register.RSP] = self._info()
        segments = list(power_on.segments)
        for name in (SegmentName.ES, SegmentName.SS, SegmentName.DS, SegmentName.FS, SegmentName.GS):
            segments[name] = SegmentState(0x10, 0, 0xFFFF_FFFF, FLAT_DATA)
        segments[SegmentName.CS] = SegmentState(0x08, 0, 0xFFFF_FFFF, FLAT_CODE)
        return attrs.evolve(power_on, gpr=gpr, rip=self.entry, cr0=power_on.cr0 | 1, segments=segments)

    def _free(self) -> int:
        """Return the first page above 1 MiB and the kernel: the module's place."""
        return _page(max(ONE_MIB, *(segment.end for segment in self.segments)))

    def _info(self) -> int:
        """Return the page of the information structure: behind the module, and behind a page of stack."""
        return _page(self._free() + len(self.initrd or b"")) + PAGE

    def _describe(self, low_ram: int, e820: list[E820Entry]) -> bytes:
        """Build the information structure (section 3.3) and, behind it, all that it points at."""
        info = self._info()
        behind = bytearray()

        def put(data: bytes) -> int:
            at = info + INFO_BYTES + len(behind)
            behind.extend(data)
            return at

        flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MEMORY_MAP | INFO_LOADER_NAME
        entries = b"".join(struct.pack("<IQQI", 20, e.start, e.length, e.type) for e in e820)
        memory_map = put(entries)
        command_line = put(self.command_line + b"\0")
        loader = put(LOADER_NAME)
        modules = count = 0
        if self.initrd is not None:
            flags |= INFO_MODULES
            count, start = 1, self._free()
            name = put(self.initrd_name + b"\0")
            behind.extend(bytes(-len(behind) % 4))
            modules = put(struct.pack("<IIII", start, start + len(self.initrd), name, 0))
        upper = (low_ram - ONE_MIB) >> 10
        page = bytearray(INFO_BYTES)
        struct.pack_into("<IIIII", page, 0, flags, LOW_RAM_END >> 10, upper, 0, command_line)
        struct.pack_into("<II", page, 20, count, modules)
        struct.pack_into("<II", page, 44, len(entries), memory_map)
        struct.pack_into("<I", page, 64, loader)
        return bytes(page + behind)


def _page(address: int) -> int:
    return (address + PAGE - 1) & ~(PAGE - 1)


def _by_addresses(path: str, image: bytes, at: int) -> tuple[list[Segment], int]:
    """Load where the header says (section 3.1.3, what is called the a.out kludge)."""
    if len(image) < at + 32:
        raise ConfigError(f"kernel {path} is truncated")
    header, load, load_end, bss_end, entry = struct.unpack_from("<IIIII", image, at + 12)
    start = at - (header - load)
    size = load_end - load if load_end else len(image) - start
    if start < 0 or size < 0 or (bss_end and bss_end < load + size):
        raise ConfigError(f"kernel {path} has a multiboot header that contradicts itself")
    if start + size > len(image):
        raise ConfigError(f"kernel {path} has {len(image)} bytes of {start + size}: it is truncated")
    return [Segment(load, image[start : start + size], (bss_end or load + size) - load)], entry


def _by_elf(path: str, image: bytes) -> tuple[list[Segment], int]:
    """Load where the ELF program headers say; the entry point is a virtual address of one of them."""
    if len(image) < 52:
        raise ConfigError(f"kernel {path} is truncated")
    machine, _, entry, headers = struct.unpack_from("<HIII", image, 18)
    size, number = struct.unpack_from("<HH", image, 42)
    if machine != ELF_386:
        raise ConfigError(f"kernel {path} is an ELF file for machine {machine}; allowed: {ELF_386}, the 386")
    if size < 32 or headers + size * number > len(image):
        raise ConfigError(f"kernel {path} is truncated")
    segments = []
    start = entry
    for i in range(number):
        kind, offset, virtual, physical, in_file, in_memory = struct.unpack_from(
            "<6I", image, headers + i * size
        )
        if kind != ELF_LOAD or not in_memory:
            continue
        if in_file > in_memory:
            raise ConfigError(f"kernel {path} has a segment of more bytes than memory")
        if offset + in_file > len(image):
            raise ConfigError(f"kernel {path} has {len(image)} bytes of {offset + in_file}: it is truncated")
        segments.append(Segment(physical, image[offset : offset + in_file], in_memory))
        if virtual <= entry < virtual + in_memory:
            start = entry - virtual + physical
    if not segments:
        raise ConfigError(f"kernel {path} has no segment to load")
    return segments, start
