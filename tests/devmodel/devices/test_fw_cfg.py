"""fw_cfg, as SeaBIOS and Linux read it."""

import struct

import attrs
import pytest

from devmodel.devices.fw_cfg import FwCfg, e820, make_items


@attrs.define
class Ram:
    data: bytearray = attrs.field(factory=lambda: bytearray(0x4_0000))

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes) -> None:
        room = max(0, len(self.data) - address)
        self.data[address : address + min(len(data), room)] = data[:room]


@attrs.define
class Bench:
    ram: Ram = attrs.field(factory=Ram)
    device: FwCfg = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        files = {"etc/e820": e820([(0, 64 << 20, 1)]), "opt/x": b"hello"}
        self.device = FwCfg(items=make_items(files, ram_size=64 << 20, cpus=2), ram=self.ram)

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
    assert bench.directory() == {"etc/e820": (0x20, 20), "opt/x": (0x21, 5)}
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


def test_dma_refuses_writing_and_absurd_lengths(bench: Bench) -> None:
    assert bench.dma(0x0021_0018, 4, 0x200) == 1
    assert bench.dma(0x0021_000A, 0xFFFF_FFFF, 0x200) == 1


def test_a_byte_written_selects_nothing(bench: Bench) -> None:
    bench.device.write(0, 2, 0x21)
    bench.device.write(1, 1, 0x55)
    bench.device.write(0, 1, 0x20)
    assert bench.device.read(1, 1) == ord("h")
