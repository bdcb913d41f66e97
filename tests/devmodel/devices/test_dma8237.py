"""The 8237A by its data sheet (231466), on a bench with RAM and a device that has bytes or takes them."""

import attrs
import pytest

from devmodel.devices.dma8237 import PAGES, Dma8237, DmaPages, Reg

SINGLE, BLOCK, DEMAND, CASCADE = 0x40, 0x80, 0x00, 0xC0
TO_MEMORY, FROM_MEMORY, VERIFY, DOWN, AUTO = 0x04, 0x08, 0x00, 0x20, 0x10


@attrs.define
class Peripheral:
    """A device at a channel, with `length` bytes to give or to take."""

    length: int = 0
    taken: bytearray = attrs.field(factory=bytearray)
    skipped: int = 0
    ends: int = 0
    given: int = 0

    def dma_ready(self) -> int:
        return self.length

    def dma_read(self, length: int) -> bytes:
        self.length -= length
        data = bytes(self.given + i & 0xFF for i in range(length))
        self.given += length
        return data

    def dma_write(self, data: bytes) -> None:
        self.length -= len(data)
        self.taken += data

    def dma_skip(self, length: int) -> None:
        self.length -= length
        self.skipped += length

    def dma_end(self) -> None:
        self.ends += 1


@attrs.define
class Memory:
    data: bytearray = attrs.field(factory=lambda: bytearray(1 << 24))

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length])

    def write(self, address: int, data: bytes | memoryview) -> None:
        self.data[address : address + len(data)] = data

    def holds(self, address: int, length: int) -> bool:
        return address + length <= len(self.data)


@attrs.define
class Bench:
    width: int = 1
    memory: Memory = attrs.field(factory=Memory)
    pages: DmaPages = attrs.field(factory=DmaPages)
    dma: Dma8237 = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dma = Dma8237(
            width=self.width, ram=self.memory, page=lambda channel: self.pages.page(self.width - 1, channel)
        )

    def out(self, register: int, *values: int) -> None:
        for value in values:
            self.dma.write(register * self.width, 1, value)

    def inp(self, register: int) -> int:
        return self.dma.read(register * self.width, 1)

    def word(self, register: int) -> int:
        self.out(Reg.CLEAR_FLIP_FLOP, 0)
        return self.inp(register) | self.inp(register) << 8

    def program(self, channel: int, mode: int, address: int, count: int, page: int = 0) -> None:
        """Set a channel up, and let it go."""
        self.pages.write(PAGES[self.width - 1][channel] - 1, 1, page)
        self.out(Reg.SINGLE_MASK, 4 | channel)
        self.out(Reg.CLEAR_FLIP_FLOP, 0)
        self.out(Reg.MODE, mode | channel)
        self.out(2 * channel, address & 0xFF, address >> 8)
        self.out(2 * channel + 1, count & 0xFF, count >> 8)
        self.out(Reg.SINGLE_MASK, channel)

    def device(self, channel: int, length: int) -> Peripheral:
        peripheral = self.dma.clients[channel] = Peripheral(length)
        return peripheral


@pytest.fixture
def bench() -> Bench:
    return Bench()


def counted(length: int, start: int = 0) -> bytes:
    return bytes(start + i & 0xFF for i in range(length))


@pytest.mark.parametrize("service", [SINGLE, BLOCK, DEMAND])
def test_a_write_transfer_moves_count_and_one_bytes_to_memory(bench, service):
    device = bench.device(2, 16)
    bench.program(2, service | TO_MEMORY, 0x1234, 15, page=0x05)
    bench.dma.request(2, True)
    assert bench.memory.read(0x5_1234, 17) == counted(16) + b"\0"
    assert (device.length, device.ends) == (0, 1)


@pytest.mark.parametrize("service", [SINGLE, BLOCK, DEMAND])
def test_a_read_transfer_moves_memory_to_the_device(bench, service):
    bench.memory.write(0x2_0000, b"abcdef")
    device = bench.device(1, 6)
    bench.program(1, service | FROM_MEMORY, 0, 5, page=2)
    bench.dma.request(1, True)
    assert (device.taken, device.ends) == (b"abcdef", 1)


def test_a_verify_transfer_counts_and_moves_nothing(bench):
    device = bench.device(2, 16)
    bench.program(2, SINGLE | VERIFY, 0x100, 9)
    bench.dma.request(2, True)
    assert bench.memory.read(0x100, 10) == bytes(10)
    assert (device.skipped, device.ends, bench.word(4)) == (10, 1, 0x10A)


def test_a_device_that_pauses_goes_on_where_it_was(bench):
    device = bench.device(0, 3)
    bench.program(0, SINGLE | TO_MEMORY, 0x10, 7)
    bench.dma.request(0, True)
    bench.dma.request(0, False)
    assert (bench.word(0), bench.word(1), device.ends) == (0x13, 4, 0)
    device.length = 5
    bench.dma.request(0, True)
    assert bench.memory.read(0x10, 8) == counted(8)
    assert (bench.word(1), device.ends) == (0xFFFF, 1)


def test_terminal_count_masks_the_channel_and_shows_in_the_status_until_read(bench):
    bench.device(3, 100)
    bench.program(3, SINGLE | TO_MEMORY, 0, 3)
    bench.dma.request(3, True)
    assert bench.inp(Reg.ALL_MASK) & 0x0F == 0x0F
    assert bench.inp(Reg.COMMAND) == 0x88
    assert bench.inp(Reg.COMMAND) == 0x80


def test_autoinitialize_begins_anew_and_does_not_mask(bench):
    device = bench.device(3, 10)
    bench.program(3, SINGLE | TO_MEMORY | AUTO, 0x40, 3)
    bench.dma.request(3, True)
    assert bench.inp(Reg.ALL_MASK) & 0x08 == 0
    assert (bench.word(6), bench.word(7), device.ends) == (0x42, 1, 2)
    assert bench.memory.read(0x40, 4) == bytes((8, 9, 6, 7))


def test_addresses_go_down_if_the_mode_says_so(bench):
    bench.device(1, 4)
    bench.program(1, SINGLE | TO_MEMORY | DOWN, 0x83, 3)
    bench.dma.request(1, True)
    assert bench.memory.read(0x80, 4) == bytes((3, 2, 1, 0))
    assert bench.word(2) == 0x7F


@pytest.mark.parametrize(("direction", "expected"), [(0, [0, 1, 2, 3]), (DOWN, [3, 2, 1, 0])])
def test_an_address_wraps_within_its_page(bench, direction, expected):
    bench.device(1, 4)
    bench.program(1, SINGLE | TO_MEMORY | direction, 0xFFFE if not direction else 1, 3, page=3)
    bench.dma.request(1, True)
    where = [0x3_FFFE, 0x3_FFFF, 0x3_0000, 0x3_0001]
    assert [bench.memory.data[at] for at in where] == expected


def test_the_second_controller_moves_words_in_pages_of_128_kib():
    bench = Bench(width=2)
    bench.device(1, 8)
    bench.program(1, SINGLE | TO_MEMORY, 0xFFFE, 3, page=0x13)
    bench.dma.request(1, True)
    assert bench.memory.read(0x13_FFFC, 4) == bytes((0, 1, 2, 3))
    assert bench.memory.read(0x12_0000, 4) == bytes((4, 5, 6, 7))
    bench.device(1, 4)
    bench.program(1, SINGLE | TO_MEMORY | DOWN, 1, 1, page=0x12)
    bench.dma.request(1, True)
    assert bench.memory.read(0x12_0000, 4) == bytes((2, 3, 0, 1))


def test_words_are_read_from_memory_downwards_whole():
    bench = Bench(width=2)
    bench.memory.write(0, b"abcd")
    device = bench.device(1, 4)
    bench.program(1, SINGLE | FROM_MEMORY | DOWN, 1, 1)
    bench.dma.request(1, True)
    assert device.taken == b"cdab"


def test_a_masked_channel_waits_and_is_served_when_it_is_unmasked(bench):
    device = bench.device(0, 2)
    bench.program(0, SINGLE | TO_MEMORY, 0, 1)
    bench.out(Reg.SINGLE_MASK, 4)
    bench.dma.request(0, True)
    assert (device.length, bench.inp(Reg.COMMAND)) == (2, 0x10)
    bench.out(Reg.CLEAR_MASK, 0)
    assert device.length == 0


def test_all_masks_are_written_at_once(bench):
    bench.out(Reg.ALL_MASK, 0x05)
    assert bench.inp(Reg.ALL_MASK) == 0xF5


def test_a_disabled_controller_serves_nobody(bench):
    device = bench.device(0, 2)
    bench.out(Reg.COMMAND, 4)
    bench.program(0, SINGLE | TO_MEMORY, 0, 1)
    bench.dma.request(0, True)
    assert device.length == 2
    bench.out(Reg.COMMAND, 0)
    assert device.length == 0


def test_the_flip_flop_says_which_byte_comes_next_and_is_cleared_by_command(bench):
    bench.out(Reg.CLEAR_FLIP_FLOP, 0)
    bench.out(0, 0x34)
    assert bench.inp(0) == 0  # the high byte: reading and writing share the flip-flop
    bench.out(0, 0x56)
    bench.out(Reg.CLEAR_FLIP_FLOP, 0)
    assert [bench.inp(0), bench.inp(0)] == [0x56, 0]


def test_base_and_current_are_written_together(bench):
    bench.program(2, SINGLE | TO_MEMORY | AUTO, 0x1122, 0x3344)
    assert (bench.word(4), bench.word(5)) == (0x1122, 0x3344)
    assert bench.dma.state.bases[4:6] == [0x1122, 0x3344]


def test_master_clear_masks_all_and_clears_command_status_request_temporary_and_flip_flop(bench):
    bench.device(3, 1)
    bench.program(3, SINGLE | TO_MEMORY, 0x1122, 0)
    bench.dma.request(3, True)
    bench.dma.request(3, False)
    bench.out(Reg.COMMAND, 0x04)
    bench.out(Reg.REQUEST, 5)
    bench.out(0, 1)
    bench.out(Reg.MASTER_CLEAR, 0)
    assert bench.inp(Reg.COMMAND) == 0
    assert bench.inp(Reg.ALL_MASK) == 0xFF
    assert bench.inp(Reg.MASTER_CLEAR) == 0
    assert (bench.dma.state.command, bench.dma.state.high_next) == (0, False)
    assert bench.word(6) == 0x1123, "addresses stay"


def test_software_requests_are_not_masked_and_end_with_terminal_count(bench):
    bench.memory.write(0x500, b"\0\0\0")
    bench.program(1, BLOCK | TO_MEMORY, 0x500, 1)
    bench.out(Reg.SINGLE_MASK, 5)
    bench.out(Reg.REQUEST, 5)
    assert bench.memory.read(0x500, 3) == b"\xff\xff\0", "nobody drives the bus"
    assert bench.inp(Reg.COMMAND) == 0x02
    assert bench.dma.state.requests == 0


def test_a_software_request_can_be_withdrawn_while_the_controller_is_disabled(bench):
    bench.out(Reg.COMMAND, 4)
    bench.out(Reg.REQUEST, 6)
    assert bench.inp(Reg.COMMAND) == 0x40
    bench.out(Reg.REQUEST, 2)
    assert bench.inp(Reg.COMMAND) == 0


def test_memory_is_moved_to_memory_by_the_temporary_register(bench):
    bench.memory.write(0x1000, b"copied")
    bench.program(0, BLOCK | FROM_MEMORY, 0x1000, 5)
    bench.program(1, BLOCK | TO_MEMORY, 0x2000, 5, page=1)
    bench.out(Reg.COMMAND, 1)
    bench.out(Reg.REQUEST, 4)
    assert bench.memory.read(0x1_2000, 7) == b"copied\0"
    assert bench.inp(Reg.MASTER_CLEAR) == ord("d")
    assert bench.inp(Reg.COMMAND) & 0x0F == 0x02


def test_memory_is_filled_with_one_byte_if_channel_0_holds_its_address(bench):
    bench.memory.write(0x1000, b"xy")
    bench.program(0, BLOCK | FROM_MEMORY, 0x1000, 0)
    bench.program(1, BLOCK | TO_MEMORY | DOWN, 0x2003, 3)
    bench.out(Reg.COMMAND, 3)
    bench.out(Reg.REQUEST, 4)
    assert bench.memory.read(0x2000, 4) == b"xxxx"
    assert bench.word(0) == 0x1000


def test_channel_0_is_served_first_unless_priorities_rotate(bench):
    order: list[int] = []

    class Watching(Peripheral):
        number = 0

        def dma_read(self, length: int) -> bytes:
            order.append(self.number)
            return super().dma_read(length)

    for channel in range(4):
        device = bench.dma.clients[channel] = Watching(1)
        device.number = channel
        bench.program(channel, SINGLE | TO_MEMORY, channel, 100)
    for command in (0x00, 0x10):
        bench.out(Reg.COMMAND, 4)
        for channel in (3, 1, 0, 2):
            bench.dma.clients[channel].length = 1
            bench.dma.request(channel, True)
        bench.out(Reg.COMMAND, command)
    assert order == [0, 1, 2, 3] * 2
    bench.out(Reg.COMMAND, 0x14)
    for channel in (0, 1):
        bench.dma.clients[channel].length = 1
    bench.dma.state.lowest = 0  # it was served last
    bench.out(Reg.COMMAND, 0x10)
    assert order[8:] == [1, 0]


def test_a_channel_in_cascade_mode_gives_the_bus_and_counts_nothing(bench):
    device = bench.device(0, 4)
    other = bench.device(1, 1)
    bench.program(0, CASCADE, 0x10, 3)
    bench.program(1, SINGLE | TO_MEMORY, 0x20, 0)
    bench.dma.request(0, True)
    bench.dma.request(1, True)
    assert (device.length, bench.word(0), bench.word(1)) == (4, 0x10, 3)
    assert other.ends == 1, "and does not keep the others from theirs"
    assert bench.dma.cascades(0)
    assert not bench.dma.cascades(1)


def test_a_controller_is_passed_on_by_a_channel_in_cascade_mode_or_if_no_firmware_has_been_there():
    second = Bench(width=2)
    first = Dma8237(width=1, ram=second.memory, page=lambda _: 0, granted=lambda: second.dma.cascades(0))
    second.dma.changed = first.serve
    device = first.clients[2] = Peripheral(2)
    for register, value in ((5, 1), (5, 0), (Reg.MODE, SINGLE | TO_MEMORY | 2), (Reg.SINGLE_MASK, 2)):
        first.write(register, 1, value)
    first.request(2, True)
    assert device.ends == 1
    second.out(Reg.MASTER_CLEAR, 0)
    device.length = 2
    first.write(Reg.SINGLE_MASK, 1, 2)
    assert device.length == 2
    second.out(Reg.MODE, CASCADE)
    assert device.length == 2
    second.out(Reg.SINGLE_MASK, 0)
    assert device.length == 0


def test_the_page_registers_of_a_pc_stand_in_their_order():
    pages = DmaPages()
    ports = [(0, 0, 0x87), (0, 1, 0x83), (0, 2, 0x81), (0, 3, 0x82), (1, 1, 0x8B), (1, 2, 0x89), (1, 3, 0x8A)]
    for controller, channel, port in ports:
        pages.write(port - 0x81, 1, port)
        assert pages.page(controller, channel) == port
        assert pages.read(port - 0x81, 1) == port
    pages.reset()
    assert pages.page(0, 2) == 0


def test_a_device_that_asks_again_while_it_is_served_is_served_again():
    bench = Bench()

    class Again(Peripheral):
        def dma_read(self, length: int) -> bytes:
            data = super().dma_read(length)
            if self.given < 6:
                self.length = 2
                bench.dma.request(1, True)
            return data

    bench.dma.clients[1] = Again(2)
    bench.program(1, SINGLE | TO_MEMORY, 0x100, 9)
    bench.dma.request(1, True)
    assert bench.memory.read(0x100, 7) == counted(6) + b"\0"
    assert bench.word(3) == 3


def test_a_read_transfer_that_software_asks_for_goes_nowhere(bench):
    bench.program(1, BLOCK | FROM_MEMORY, 0x500, 3)
    bench.out(Reg.REQUEST, 5)
    assert (bench.word(2), bench.inp(Reg.COMMAND)) == (0x504, 0x02)
    bench.program(2, BLOCK | VERIFY, 0x500, 3)
    bench.out(Reg.REQUEST, 6)
    assert (bench.word(4), bench.inp(Reg.COMMAND)) == (0x504, 0x04)
