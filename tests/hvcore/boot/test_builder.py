"""The domain builder: where firmware and images go, and what is said when they do not fit."""

import pytest

from hvcore import ConfigError
from hvcore.boot.builder import Builder
from hvcore.config import MachineConfig
from hvcore.hvm import GuestState, SegmentState


def firmware_of(size):
    return b"".join(bytes([i & 0xFF]) * 4096 for i in range(size // 4096))


@pytest.fixture
def build(tmp_path):
    built = []

    def build(*, size=None, image=None, **settings):
        if size is not None:
            (tmp_path / "firmware").write_bytes(firmware_of(size))
            settings["firmware"] = str(tmp_path / "firmware")
        if image is not None:
            (tmp_path / "image").write_bytes(image)
            settings["image"] = str(tmp_path / "image")
        builder = Builder.build(MachineConfig(**settings))
        built.append(builder)
        return builder

    yield build
    for builder in built:
        builder.memory.close()


def test_firmware_ends_at_4_gib_and_its_last_128_kib_at_1_mib(build):
    memory = build(size=256 << 10).memory
    assert memory.read(0xFFFC_0000, 1) == b"\x00"
    assert memory.read(0xFFFF_FFFF, 1) == b"\x3f"
    assert memory.read(0xE0000, 1) == memory.read(0xFFFE_0000, 1) == b"\x20"
    assert memory.read(0xFFFFF, 1) == b"\x3f"


def test_a_small_firmware_is_seen_at_the_top_of_the_first_mib_only(build):
    memory = build(size=64 << 10).memory
    assert memory.read(0xF0000, 1) == b"\x00"
    assert memory.read(0xFFFFF, 1) == b"\x0f"
    assert memory.type_of(0xE0000) == "rom"
    assert not any(slot.first <= 0xE0000 <= slot.last for slot in memory.slots)


def test_adapter_roms_are_nothing_until_the_chipset_says_otherwise(build):
    builder = build(size=128 << 10)
    assert not any(slot.first <= 0xC0000 <= slot.last for slot in builder.memory.slots)
    builder.memory.set_type(0xC0000, 0xC7FFF, "ram")
    builder.memory.write(0xC0000, b"\x55\xaa")
    builder.reset_map()
    assert not any(slot.first <= 0xC0000 <= slot.last for slot in builder.memory.slots)


def test_writes_to_firmware_are_dropped(build):
    memory = build(size=64 << 10).memory
    memory.write(0xFFFF0, b"\xff")
    assert memory.read(0xFFFF0, 1) == b"\x0f"


def test_the_e820_map_is_a_pcs(build):
    entries = [(e.start, e.length, e.type) for e in build(size=64 << 10, memory=16 << 20).e820()]
    assert entries == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0x400, 2),
        (0xF0000, 0x10000, 2),
        (0x100000, 0xF00000, 1),
        (0xFFFF_0000, 0x10000, 2),
    ]


def test_memory_above_3_gib_continues_at_4_gib(build):
    entries = [(e.start, e.length, e.type) for e in build(size=64 << 10, memory=4 << 30).e820()]
    assert entries[3] == (0x100000, 0xBFF0_0000, 1)
    assert entries[-1] == (0x1_0000_0000, 0x4000_0000, 1)


@pytest.mark.parametrize("size", [0, 1, 4096, 65535, (256 << 10) - 512, (16 << 20) + (64 << 10)])
def test_a_firmware_of_the_wrong_size_is_one_line(build, tmp_path, size):
    (tmp_path / "bios").write_bytes(bytes(size))
    with pytest.raises(ConfigError) as refused:
        build(firmware=str(tmp_path / "bios"))
    assert "allowed: a multiple of 64 KiB, at most 16 MiB" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_one_line(build):
    with pytest.raises(ConfigError, match=r"^cannot read firmware /nowhere: No such file or directory$"):
        build(firmware="/nowhere")
    with pytest.raises(ConfigError, match=r"^cannot read image /nowhere: No such file or directory$"):
        Builder.build(MachineConfig(image="/nowhere"))


def power_on():
    data = SegmentState(0, 0, 0xFFFF, 0x93)
    segments = [data] * 6 + [SegmentState(0, 0, 0xFFFF, 0x82), SegmentState(0, 0, 0xFFFF, 0x8B)]
    segments[1] = SegmentState(0xF000, 0xFFFF_0000, 0xFFFF, 0x9B)
    return GuestState(
        gpr=[0, 0, 0x633] + [0] * 13,
        rip=0xFFF0,
        rflags=2,
        cr0=0x6000_0010,
        cr2=0,
        cr3=0,
        cr4=0,
        efer=0,
        segments=segments,
        gdtr=(0, 0xFFFF),
        idtr=(0, 0xFFFF),
        interruptibility=0,
        activity=0,
    )


def test_firmware_starts_at_the_reset_vector(build):
    assert build(size=64 << 10).start_state(power_on()) == power_on()


def test_a_flat_image_starts_as_a_boot_sector_does(build):
    builder = build(image=b"\xeb\xfe")
    state = builder.start_state(power_on())
    assert builder.memory.read(0x7C00, 2) == b"\xeb\xfe"
    assert (state.rip, state.segments[1].selector, state.segments[1].base) == (0x7C00, 0, 0)
    assert (state.gpr[2], state.gpr[4], state.rflags) == (0x80, 0x7C00, 2)


def test_an_image_above_64_kib_gets_a_segment_of_its_own(build):
    state = build(image=b"\xf4", image_address=0x10008).start_state(power_on())
    assert (state.segments[1].selector, state.segments[1].base, state.rip) == (0x1000, 0x10000, 8)


def test_a_reset_puts_the_image_back(build):
    builder = build(image=b"\xeb\xfe")
    builder.memory.write(0x7C00, b"\0\0")
    builder.reset_map()
    assert builder.memory.read(0x7C00, 2) == b"\xeb\xfe"


@pytest.mark.parametrize("size", [0, 0xA0000 - 0x7C00 + 1])
def test_an_image_of_the_wrong_size_is_one_line(build, size):
    with pytest.raises(ConfigError, match=r"allowed: 1 to 623616 at 0x7c00$"):
        build(image=bytes(size))
