"""The Linux boot protocol: what is refused, and what the kernel finds where."""

import struct

import attrs
import pytest

from hvcore import ConfigError
from hvcore.boot.builder import Builder
from hvcore.config import MachineConfig
from hvcore.hvm import GuestState, Register, SegmentState

MIB = 1 << 20
SETUP_SECTORS = 2
PREFERRED = 0x400000
CODE = bytes(range(256)) * 8
REAL_MODE = "its setup runs in real mode and calls a BIOS; give --firmware too"


def bzimage(
    *,
    magic=b"HdrS",
    version=0x020F,
    loadflags=1,
    code32_start=0x100000,
    code=CODE,
    syssize=None,
    most_command_line=100,
    initrd_most=0x7FFF_FFFF,
    init_size=0x100000,
):
    head = bytearray((SETUP_SECTORS + 1) * 512)
    head[0x1F1] = SETUP_SECTORS
    struct.pack_into("<I", head, 0x1F4, len(code) // 16 if syssize is None else syssize)
    head[0x200:0x202] = b"\xeb\x66"  # jump: the header ends at 0x268
    head[0x202:0x206] = magic
    struct.pack_into("<H", head, 0x206, version)
    head[0x211] = loadflags
    struct.pack_into("<I", head, 0x214, code32_start)
    struct.pack_into("<I", head, 0x22C, initrd_most)
    struct.pack_into("<I", head, 0x238, most_command_line)
    struct.pack_into("<Q", head, 0x258, PREFERRED)
    struct.pack_into("<I", head, 0x260, init_size)
    return bytes(head) + code


@pytest.fixture
def build(tmp_path):
    built = []

    def build(image, *, initrd=None, append="", memory=8 * MIB):
        kernel, ramdisk = tmp_path / "vmlinuz", tmp_path / "initrd"
        kernel.write_bytes(image)
        if initrd is not None:
            ramdisk.write_bytes(initrd)
        machine = MachineConfig(
            kernel=str(kernel),
            initrd=str(ramdisk) if initrd is not None else None,
            append=append,
            memory=memory,
        )
        builder = Builder.build(machine)
        built.append(builder)
        return builder

    yield build
    for builder in built:
        builder.memory.close()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (bzimage(magic=b"sRdH"), "kernel {} is neither a Linux bzImage nor a multiboot kernel"),
        (b"", "kernel {} is neither a Linux bzImage nor a multiboot kernel"),
        (bzimage()[:0x210], "kernel {} has 528 bytes: it is truncated"),
        (bzimage()[:-16], "kernel {} has 3568 bytes of 3584: it is truncated"),
        (
            bzimage(version=0x0202),
            "kernel {} has boot protocol 0x0202: " + REAL_MODE,
        ),
        (
            bzimage(code32_start=0),  # as iPXE's .lkrn has it
            "kernel {} has no 32-bit entry point: " + REAL_MODE,
        ),
        (
            bzimage(loadflags=0),
            "kernel {} has no 32-bit entry point: " + REAL_MODE,
        ),
    ],
)
def test_a_file_that_cannot_be_started_is_one_line(build, tmp_path, image, message):
    with pytest.raises(ConfigError) as refused:
        build(image)
    assert str(refused.value) == message.format(tmp_path / "vmlinuz")


@pytest.mark.parametrize(("version", "most"), [(0x0205, 255), (0x0206, 100)])
def test_a_command_line_as_long_as_the_kernel_allows_and_no_longer(build, version, most):
    build(bzimage(version=version), append="x" * most)
    with pytest.raises(ConfigError) as refused:
        build(bzimage(version=version), append="x" * (most + 1))
    assert str(refused.value) == f"append has {most + 1} bytes; this kernel allows {most}"


def test_a_ram_disk_that_just_fits_and_one_that_does_not(build):
    room = 8 * MIB - PREFERRED - 0x100000
    builder = build(bzimage(), initrd=b"i" * room)
    assert builder.memory.read(PREFERRED + 0x100000, 1) == b"i"
    with pytest.raises(ConfigError) as refused:
        build(bzimage(), initrd=b"i" * (room + 1))
    assert str(refused.value) == ("memory of 8 MiB below 3 GiB: the kernel and its initrd need 9 MiB")


def test_a_kernel_alone_that_does_not_fit(build):
    with pytest.raises(ConfigError, match="memory of 4 MiB below 3 GiB"):
        build(bzimage(), memory=4 * MIB)


def test_the_ram_disk_ends_where_the_kernel_still_reaches_it(build):
    builder = build(bzimage(initrd_most=0x6F_FFFF), initrd=b"disk")
    zero = builder.memory.read(0x10000, 4096)
    assert struct.unpack_from("<II", zero, 0x218) == (0x6F_F000, 4)


def test_kernel_command_line_and_ram_disk_lie_where_the_zero_page_says(build):
    memory = build(bzimage(), initrd=b"disk", append="console=ttyS0").memory
    assert memory.read(0x100000, len(CODE)) == CODE
    zero = memory.read(0x10000, 4096)
    start, size = struct.unpack_from("<II", zero, 0x218)
    assert start == 8 * MIB - 4096
    assert memory.read(start, size) == b"disk"
    (at,) = struct.unpack_from("<I", zero, 0x228)
    assert memory.read(at, 14) == b"console=ttyS0\0"


def test_the_zero_page_holds_the_setup_header_and_a_text_screen(build):
    image = bzimage()
    zero = bytearray(build(image).memory.read(0x10000, 4096))
    assert zero[0x210] == 0xFF  # an undefined loader
    assert struct.unpack_from("<II", zero, 0x218) == (0, 0)  # no RAM disk
    zero[0x210] = 0
    struct.pack_into("<I", zero, 0x228, 0)
    assert zero[0x1F1:0x268] == image[0x1F1:0x268]
    assert not any(zero[0x268:0x2D0])  # what lies behind the header in the image stays there
    assert (zero[6], zero[7], zero[0xE], zero[0xF], zero[0x10]) == (3, 80, 25, 1, 16)


def test_the_memory_map(build):
    zero = build(bzimage()).memory.read(0x10000, 4096)
    entries = [struct.unpack_from("<QQI", zero, 0x2D0 + 20 * i) for i in range(zero[0x1E8])]
    assert entries == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0x400, 2),
        (0xF0000, 0x10000, 2),
        (0x100000, 7 * MIB, 1),
    ]


def power_on():
    segments = [SegmentState(0, 0, 0xFFFF, 0x93) for _ in range(6)]
    segments += [SegmentState(0, 0, 0xFFFF, 0x82), SegmentState(0, 0, 0xFFFF, 0x8B)]
    return GuestState([1] * 16, 0xFFF0, 2, 0x60000010, 0, 0, 0, 0, segments, (0, 0xFFFF), (0, 0xFFFF), 0, 0)


def test_the_start_state_is_that_of_the_32_bit_entry_point(build):
    builder = build(bzimage())
    before = power_on()
    state = builder.start_state(before)
    assert state.rip == 0x100000
    assert state.gpr == [0x10000 if i == Register.RSI else 0 for i in range(16)]
    assert (state.cr0, state.rflags) == (0x60000011, 2)
    assert state.segments[1] == SegmentState(0x10, 0, 0xFFFF_FFFF, 0xC09B)
    assert {state.segments[i] for i in (0, 2, 3, 4, 5)} == {SegmentState(0x18, 0, 0xFFFF_FFFF, 0xC093)}
    assert state.segments[6:] == before.segments[6:]
    base, limit = state.gdtr
    table = struct.unpack(f"<{(limit + 1) // 8}Q", builder.memory.read(base, limit + 1))
    assert table == (0, 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
    assert attrs.evolve(state, gpr=[], rip=0, cr0=0, segments=[], gdtr=(0, 0)) == attrs.evolve(
        before, gpr=[], rip=0, cr0=0, segments=[], gdtr=(0, 0)
    )


def test_after_a_reset_everything_is_put_back(build):
    builder = build(bzimage())
    builder.memory.write(0x100000, b"overwritten")
    builder.memory.write(0x10000, bytes(4096))
    builder.reset_map()
    assert builder.memory.read(0x100000, len(CODE)) == CODE
    assert builder.memory.read(0x10202, 4) == b"HdrS"


def test_where_the_firmware_would_be_there_is_memory_for_its_tables(build):
    builder = build(bzimage())
    assert builder.start == "kernel"
    assert {builder.memory.type_of(page) for page in range(0xE0000, 0x100000, 0x1000)} == {"ram"}
    builder.memory.write(0xF0000, b"RSD PTR ")
    builder.reset_map()
    assert builder.memory.read(0xF0000, 8) == b"RSD PTR "
