"""fw_cfg, as SeaBIOS and Linux read it."""

import struct

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.devices.fw_cfg import FwCfg, e820, make_items

LONG = bytes(n * 7 & 0xFF for n in range(1_000_003))


@attrs.define
class Ram:
    data: bytearray = attrs.field(factory=lambda: bytearray(0x40_0000))
    written: list[int] = attrs.field(factory=list)
    """The lengths of what the device has stored."""

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes) -> None:
        self.written.append(len(data))
        room = max(0, len(self.data) - address)
        self.data[address : address + min(len(data), room)] = data[:room]

    def holds(self, address: int, length: int) -> bool:
        return address + length <= len(self.data)


@attrs.define
class Bench:
    ram: Ram = attrs.field(factory=Ram)
    device: FwCfg = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        files = {"etc/e820": e820([(0, 64 << 20, 1)]), "opt/x": b"hello", "opt/y": LONG}
        items = make_items(files, ram_size=64 << 20, cpus=2)
        self.device = FwCfg(items=items, ram=self.ram, clock=ManualClock())

    def item(self, key: int, length: int) -> bytes:
        self.device.write(0, 2, key)
        return bytes(self.device.read(1, 1) for _ in range(length))

    def directory(self) -> dict[str, tuple[int, int]]:
        (count,) = struct.unpack(">I", self.item(0x19, 4))
        raw = self.item(0x19, 4 + 64 * count)[4:]
        entries = (struct.unpack(">IHH56s", raw[i : i + 64]) for i in range(0, len(raw), 64))
        return {name.rstrip(b"\0").decode(): (key, size) for size, key, _, name in entries}

    def dma(self, control: int, length: int, address: int) -> int:
        self.ram.write(0x100, struct.pack(">IIQ", control, length, address))
        self.device.dma.write(0, 4, 0)
        self.device.dma.write(4, 4, int.from_bytes((0x100).to_bytes(4, "big"), "little"))
        return int.from_bytes(self.ram.read(0x100, 4), "big")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_signature_and_the_dma_bit(bench: Bench) -> None:
    assert bench.item(0, 4) == b"QEMU"
    assert bench.item(1, 4) == b"\x03\0\0\0"
    assert bench.device.dma.read(0, 8).to_bytes(8, "little") == b"QEMU CFG"
    assert bench.device.dma.read(4, 4).to_bytes(4, "little") == b" CFG"


def test_numbers_are_little_endian_and_zeros_follow(bench: Bench) -> None:
    assert bench.item(3, 10) == struct.pack("<Q", 64 << 20) + b"\0\0"
    assert bench.item(5, 2) == b"\x02\0"
    assert bench.item(0x8000, 2) == b"\0\0"


def test_files_are_found_through_the_directory(bench: Bench) -> None:
    assert bench.directory() == {
        "etc/e820": (0x20, 20),
        "opt/x": (0x21, 5),
        "opt/y": (0x22, 1_000_003),
    }
    assert bench.item(0x21, 6) == b"hello\0"
    assert bench.item(0x20, 20) == struct.pack("<QQI", 0, 64 << 20, 1)


def test_dma_copies_and_goes_on_where_it_was(bench: Bench) -> None:
    assert bench.dma(0x0021_000A, 3, 0x200) == 0
    assert bench.ram.read(0x200, 3) == b"hel"
    assert bench.dma(0x0000_0002, 4, 0x200) == 0
    assert bench.ram.read(0x200, 4) == b"lo\0\0"


def test_dma_skips(bench: Bench) -> None:
    assert bench.dma(0x0021_000C, 4, 0) == 0
    assert bench.dma(2, 1, 0x200) == 0
    assert bench.ram.read(0x200, 1) == b"o"


def test_dma_refuses_writing(bench: Bench) -> None:
    assert bench.dma(0x0021_0018, 4, 0x200) == 1


@pytest.mark.parametrize(("target", "length"), [(0x200, 0xFFFF_FFFF), (0x3F_FFFF, 2), (1 << 63, 1)])
def test_dma_to_what_is_not_all_ram_is_an_error_before_a_byte_is_copied(
    bench: Bench, target: int, length: int
) -> None:
    """As in QEMU, whose dma_memory_write fails there and sets FW_CFG_DMA_CTL_ERROR."""
    assert bench.dma(0x0021_000A, length, target) == 1
    assert bench.device.deadline() is None
    assert bench.ram.read(0x200, 5) == bytes(5)


def test_a_long_copy_goes_on_by_pieces_and_the_guest_sees_its_end_in_the_control_word(bench: Bench) -> None:
    control = bench.dma(0x0022_000A, 0x20_0000, 0x10_0000)
    pieces = 0
    while control:
        assert control == 0x0022_000A, "what was commanded stands there until all is copied"
        assert bench.device.deadline() == 0
        bench.device.tick()
        pieces += 1
        control = int.from_bytes(bench.ram.read(0x100, 4), "big")
    assert pieces == 8
    assert max(bench.ram.written) == 1 << 18
    assert bench.ram.read(0x10_0000, 0x20_0000) == LONG.ljust(0x20_0000, b"\0")
    assert bench.device.deadline() is None
    assert bench.dma(0x0021_000A, 3, 0x200) == 0


def test_a_command_given_while_a_copy_goes_on_is_an_error_and_disturbs_nothing(bench: Bench) -> None:
    """REP OUTSD of sixteen commands held the event loop for seconds."""
    bench.ram.write(0x1000, struct.pack(">IIQ", 0x0022_000A, 1_000_000, 0x10_0000))
    for _ in range(16):
        bench.device.dma.write(0, 8, int.from_bytes((0x1000).to_bytes(8, "big"), "little"))
        bench.device.write(0, 2, 0x21)
    assert sum(bench.ram.written) < 1000
    bench.ram.write(0x1000, bytes(4))
    while bench.device.deadline() is not None:
        bench.device.tick()
    assert bench.ram.read(0x10_0000, 1_000_000) == LONG[:1_000_000]


def test_reset_ends_a_copy(bench: Bench) -> None:
    bench.dma(0x0022_000A, 0x20_0000, 0x10_0000)
    bench.device.reset()
    bench.device.tick()
    assert bench.device.deadline() is None
    assert bench.ram.read(0x10_0001, 1) == b"\0"


def test_a_byte_written_selects_nothing(bench: Bench) -> None:
    bench.device.write(0, 2, 0x21)
    bench.device.write(1, 1, 0x55)
    bench.device.write(0, 1, 0x20)
    assert bench.device.read(1, 1) == ord("h")
