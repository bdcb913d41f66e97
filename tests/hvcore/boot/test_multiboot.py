"""Multiboot kernels: what is refused, and what the kernel finds where."""

import os
import shutil
import struct

import pytest

from hvcore import ConfigError
from hvcore.boot.builder import Builder
from hvcore.config import MachineConfig
from hvcore.hvm import GuestState, SegmentState
from tests.hvcore.cpu.bench import assemble
from tests.hvcore.guest import VENDORS, Guest

MIB = 1 << 20
MAGIC = 0x1BADB002
CODE = b"\xf4" + bytes(range(1, 200))


def header(flags=0):
    return struct.pack("<III", MAGIC, flags, -(MAGIC + flags) & 0xFFFF_FFFF)


def flat(*, flags=1 << 16, load=0x200000, load_end=None, bss_end=0x204000, entry=0x200100, before=64):
    """The header says where: `before` bytes, the header, code."""
    image = bytes(before) + header(flags)
    length = len(image) + 20 + len(CODE)
    load_end = load + length if load_end is None else load_end
    return image + struct.pack("<5I", load + before, load, load_end, bss_end, entry) + CODE


def elf(
    *, entry=0xC0200004, machine=3, segments=1, in_file=None, in_memory=0x3000, physical=0x200000, flags=3
):
    """The ELF segments say where."""
    body = header(flags) + CODE
    in_file = len(body) if in_file is None else in_file
    head = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, entry, 52, 0, 0, 52, 32, 1 + segments, 0, 0, 0)
    at = 52 + 32 * (1 + segments)
    programs = struct.pack("<8I", 4, 0, 0, 0, 0, 0, 0, 4)  # a note
    for _ in range(segments):
        programs += struct.pack("<8I", 1, at, 0xC0200000, physical, in_file, in_memory, 7, 4096)
    return head + programs + body


@pytest.fixture
def build(tmp_path):
    built = []

    def build(image, *, initrd=None, append="", memory=8 * MIB):
        (tmp_path / "kernel").write_bytes(image)
        if initrd is not None:
            (tmp_path / "ramdisk").write_bytes(initrd)
        builder = Builder.build(
            MachineConfig(
                kernel=str(tmp_path / "kernel"),
                initrd=str(tmp_path / "ramdisk") if initrd is not None else None,
                append=append,
                memory=memory,
            )
        )
        built.append(builder)
        return builder

    yield build
    for builder in built:
        builder.memory.close()


def power_on():
    segments = [SegmentState(0, 0, 0xFFFF, 0x93) for _ in range(6)]
    segments += [SegmentState(0, 0, 0xFFFF, 0x82), SegmentState(0, 0, 0xFFFF, 0x8B)]
    return GuestState([1] * 16, 0xFFF0, 2, 0x60000010, 0, 0, 0, 0, segments, (0, 0xFFFF), (0, 0xFFFF), 0, 0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"\x7fELF" + bytes(9000) + header(), "is neither a Linux bzImage nor a multiboot kernel"),
        (b"x" + header(), "is neither a Linux bzImage nor a multiboot kernel"),
        (struct.pack("<III", MAGIC, 0, 0), "is neither a Linux bzImage nor a multiboot kernel"),
        (header(8) + bytes(64), "wants multiboot features 0x0008; allowed: 0x0007"),
        (header() + bytes(64), "is neither ELF32 nor says where it is to be loaded"),
        (header(1 << 16), "is truncated"),
        (flat()[:-1], "has 295 bytes of 296: it is truncated"),
        (flat(load=0xA0000, bss_end=0), "is to be loaded at 0xa0000-0xa0127, where there is no RAM"),
        (flat(bss_end=0x200001), "has a multiboot header that contradicts itself"),
        (elf(machine=62), "is an ELF file for machine 62; allowed: 3, the 386"),
        (elf(segments=0), "has no segment to load"),
        (elf()[:-1], "has 327 bytes of 328: it is truncated"),
        (elf(in_memory=10), "has a segment of more bytes than memory"),
        (elf(physical=0x9F000), "is to be loaded at 0x9f000-0xa1fff, where there is no RAM"),
    ],
)
def test_a_file_that_cannot_be_started_is_one_line(build, tmp_path, image, message):
    with pytest.raises(ConfigError) as refused:
        build(image)
    assert str(refused.value) == f"kernel {tmp_path / 'kernel'} {message}"


def test_a_header_with_addresses(build):
    image = flat()
    builder = build(image)
    builder.memory.write(0x203FF0, b"\xff" * 32)
    builder.reset_map()
    assert builder.memory.read(0x200000, len(image)) == image
    assert builder.memory.read(0x200000 + len(image), 0x4000 - len(image)) == bytes(0x4000 - len(image))
    assert builder.memory.read(0x205000, 4) != b"\xff" * 4  # where the information begins
    assert builder.start_state(power_on()).rip == 0x200100


def test_a_header_with_addresses_may_leave_the_ends_open(build):
    image = flat(load_end=0, bss_end=0)
    builder = build(image)
    assert builder.memory.read(0x200000, len(image)) == image
    assert builder.start_state(power_on()).gpr[3] == 0x202000


def test_elf_segments_and_an_entry_point_in_virtual_memory(build):
    builder = build(elf())
    assert builder.memory.read(0x200000, 12) == header(3)
    assert builder.memory.read(0x20000C, len(CODE)) == CODE
    assert builder.start_state(power_on()).rip == 0x200004
    assert build(elf(entry=0x200008)).start_state(power_on()).rip == 0x200008


def test_addresses_in_the_header_come_before_those_of_elf(build):
    image = bytearray(elf(flags=1 << 16))
    at = image.index(header(1 << 16))
    struct.pack_into("<5I", image, at + 12, 0x300000 + at, 0x300000, 0, 0, 0x300020)
    builder = build(bytes(image))
    assert builder.memory.read(0x300000, 4) == b"\x7fELF"
    assert builder.start_state(power_on()).rip == 0x300020


def test_the_start_state(build):
    state = build(elf()).start_state(power_on())
    assert (state.gpr[0], state.gpr[3], state.gpr[4]) == (0x2BADB002, 0x204000, 0x204000)
    assert (state.cr0, state.rflags) == (0x60000011, 2)
    assert state.segments[1] == SegmentState(0x08, 0, 0xFFFF_FFFF, 0xC09B)
    assert {state.segments[i] for i in (0, 2, 3, 4, 5)} == {SegmentState(0x10, 0, 0xFFFF_FFFF, 0xC093)}


def string(memory, at):
    return memory.read(at, 100).split(b"\0")[0]


def test_the_information_structure(build):
    memory = build(elf(), append="a b").memory
    info = struct.unpack("<22I", memory.read(0x204000, 88))
    assert info[0] == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    assert (info[1], info[2]) == (639, 7 * 1024)
    words = string(memory, info[4]).split(b" ")
    assert os.path.basename(words[0]) == b"kernel"  # as GRUB and QEMU have it
    assert words[1:] == [b"a", b"b"]
    assert (info[5], info[6]) == (0, 0)
    assert string(memory, info[16]) == b"devmodel"
    length, at = info[11], info[12]
    entries = [struct.unpack_from("<IQQI", memory.read(at, length), i) for i in range(0, length, 24)]
    assert entries == [
        (20, 0, 0x9FC00, 1),
        (20, 0x9FC00, 0x400, 2),
        (20, 0xF0000, 0x10000, 2),
        (20, 0x100000, 7 * MIB, 1),
    ]


def test_the_ram_disk_is_the_first_module(build):
    memory = build(elf(), initrd=b"disk" * 2000).memory
    info = struct.unpack("<22I", memory.read(0x206000, 88))
    assert info[0] & 1 << 3
    assert info[5] == 1
    assert info[6] % 4 == 0
    start, end, name, _ = struct.unpack("<4I", memory.read(info[6], 16))
    assert (start, end) == (0x203000, 0x203000 + 8000)
    assert memory.read(start, 8000) == b"disk" * 2000
    assert string(memory, name) == b"ramdisk"


def test_a_kernel_and_module_that_do_not_fit(build):
    with pytest.raises(ConfigError) as refused:
        build(elf(), initrd=bytes(8 * MIB))
    assert str(refused.value) == "memory of 8 MiB below 3 GiB: the kernel and its initrd need 11 MiB"


KERNEL = """
start:
dd 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
dd start, start, 0, 0, entry
entry:
cmp eax, 0x2badb002
jne bad
call modules            ; on the stack that the loader has left: the page below the information
mov al, [esi]
out 0x80, al
mov esi, [ebx + 16]     ; command line
mov al, [esi]
out 0x80, al
bad:
mov al, 7
out 0xf4, al
hlt
modules:
mov edi, [ebx + 24]
mov esi, [edi]
sub esp, 4000
mov dword [esp], 0x12345678
add esp, 4000
ret
"""


@pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the kernel")
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_kernel_runs_and_finds_its_module(tmp_path, vendor):
    (tmp_path / "kernel").write_bytes(assemble(KERNEL, 32, 0x200000))
    (tmp_path / "module").write_bytes(b"M")
    machine = MachineConfig(
        vendor=vendor,
        kernel=str(tmp_path / "kernel"),
        initrd=str(tmp_path / "module"),
        append="C",
        memory=4 << 20,
    )
    guest = Guest(tmp_path, vendor, None, machine=machine).start()
    assert [entry[4] for entry in guest.finish()] == [ord("M"), ord("/"), 7]
    assert guest.status == 7
