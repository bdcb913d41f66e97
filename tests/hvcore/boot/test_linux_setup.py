"""The 16-bit boot protocol: what lies where firmware leaves it alone, and what the option ROM is told of it."""

import struct

import pytest

from hvcore import ConfigError
from hvcore.boot.builder import Builder
from hvcore.config import MachineConfig, load
from tests.hvcore.boot.test_linux import CODE, MIB, bzimage

ROOM = 2 * MIB  # of the firmware's own, at the end of memory


@pytest.fixture
def build(tmp_path):
    built = []

    def build(image, *, initrd=None, append="", memory=16 * MIB):
        kernel, ramdisk, firmware = tmp_path / "vmlinuz", tmp_path / "initrd", tmp_path / "bios"
        kernel.write_bytes(image)
        firmware.write_bytes(bytes(0x10000))
        if initrd is not None:
            ramdisk.write_bytes(initrd)
        builder = Builder.build(
            MachineConfig(
                firmware=str(firmware),
                kernel=str(kernel),
                initrd=str(ramdisk) if initrd is not None else None,
                append=append,
                memory=memory,
            )
        )
        built.append(builder)
        return builder

    yield build
    for builder in built:
        builder.memory.close()


def setup_of(builder):
    told = builder.told()
    return told, builder.memory.read(told["setup"], told["setup-bytes"])


def test_a_kernel_under_firmware_lies_ready_above_one_megabyte(build):
    builder = build(bzimage(), initrd=b"disk", append="quiet")
    assert (builder.start, builder.kernel) == ("firmware", None)
    assert builder.memory.read(0x100000, len(CODE)) == CODE
    told, setup = setup_of(builder)
    assert told == {
        "setup": 0x101000,
        "setup-to": 0x10000,
        "setup-bytes": 0xE000 + 6,
        "setup-segment": 0x1000,
        "setup-stack": 0xE000,
    }
    assert setup[0x210:0x212] == b"\xff\x81"  # an undefined loader; loaded high, heap
    (initrd, size) = struct.unpack_from("<II", setup, 0x218)
    assert (initrd, size) == (16 * MIB - ROOM - 4096, 4)
    assert builder.memory.read(initrd, size) == b"disk"
    assert struct.unpack_from("<H", setup, 0x224) == (0xDE00,)
    assert struct.unpack_from("<I", setup, 0x228) == (0x1E000,)
    assert setup[0xE000:] == b"quiet\0"


@pytest.mark.parametrize(("version", "flags"), [(0x0200, 0x01), (0x0201, 0x81)])
def test_protocols_without_a_pointer_have_their_command_line_at_90000h(build, version, flags):
    told, setup = setup_of(build(bzimage(version=version), append="quiet"))
    assert (told["setup-to"], told["setup-segment"], told["setup-stack"]) == (0x90000, 0x9000, 0x9800)
    assert struct.unpack_from("<HH", setup, 0x20) == (0xA33F, 0x9800)
    assert struct.unpack_from("<H", setup, 0x212) == (0x9806,)
    assert setup[0x211] == flags
    assert setup[0x9800:] == b"quiet\0"


def test_a_zimage_has_its_kernel_below_the_setup(build):
    builder = build(bzimage(loadflags=0), append="quiet")
    told, moved = setup_of(builder)
    assert (told["setup"], told["setup-to"], told["setup-segment"]) == (0x100000, 0x10000, 0x9000)
    assert moved[: len(CODE)] == CODE
    setup = moved[0x80000:]
    assert setup[0x202:0x206] == b"HdrS"
    assert struct.unpack_from("<I", setup, 0x228) == (0x99800,)
    assert setup[0x9800:] == b"quiet\0"


def test_after_a_reset_the_kernel_is_ready_again(build):
    builder = build(bzimage())
    before = setup_of(builder)
    builder.memory.write(0x100000, bytes(0x20000))
    builder.reset_map()
    assert setup_of(builder) == before
    assert builder.memory.read(0x100000, len(CODE)) == CODE


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            b"\x7fELF",
            "kernel {} is no Linux image; with --firmware only those are started, others without",
        ),
        (bzimage()[:0x210], "kernel {} has 528 bytes: it is truncated"),
        (bzimage()[:0x300], "kernel {} has 768 bytes: it is truncated"),
        (bzimage()[:-16], "kernel {} has 3568 bytes of 3584: it is truncated"),
        (
            bzimage(loadflags=0, code=bytes(0x80001), syssize=0),
            "kernel {} is a zImage of 524289 bytes; allowed: 524288",
        ),
    ],
)
def test_a_file_that_cannot_be_started_is_one_line(build, tmp_path, image, message):
    with pytest.raises(ConfigError) as refused:
        build(image)
    assert str(refused.value) == message.format(tmp_path / "vmlinuz")


def test_a_setup_that_does_not_fit_below_its_stack_is_refused(build, tmp_path):
    image = bytearray(bzimage(loadflags=0))
    image[0x1F1] = 75
    image += bytes(75 * 512)
    with pytest.raises(ConfigError) as refused:
        build(bytes(image))
    assert str(refused.value) == (
        f"kernel {tmp_path / 'vmlinuz'} has a setup of {76 * 512} bytes; allowed: {0x9600}"
    )


def test_memory_must_have_room_for_the_firmware_too(build):
    unpacked = 0x400000 + 0x100000  # where the header's kernel ends
    build(bzimage(), memory=unpacked + ROOM)
    with pytest.raises(ConfigError) as refused:
        build(bzimage(), memory=unpacked + ROOM - MIB)
    assert str(refused.value) == (
        "memory of 6 MiB below 3 GiB: firmware, the kernel and its initrd need 8 MiB"
    )


def test_firmware_and_kernel_go_together_and_an_image_with_neither():
    machine = load(None, {"firmware": "f", "kernel": "k", "append": "quiet"})
    assert (machine.firmware, machine.kernel, machine.append) == ("f", "k", "quiet")
    for other in ("firmware", "kernel"):
        with pytest.raises(ConfigError, match="are given; a machine starts in one of them"):
            load(None, {other: "x", "image": "i"})
