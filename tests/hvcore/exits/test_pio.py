"""IN, OUT, INS, OUTS: registers, batches, cuts and faults."""

import pytest

from hvcore.errors import HvError
from hvcore.exits.pio import PortIo
from hvcore.exits.requests import Requests
from tests.hvcore.fake_processor import FakeProcessor

RAX, RCX, RSI, RDI = 0, 1, 6, 7


class Ports(Requests):
    """The request side, on the bench: `done` limits what a block completes."""

    def __init__(self):
        self.trace = []
        self.value = 0
        self.done = None

    def read_port(self, port, size):
        self.trace.append(("in", port, size))
        return self.value & ((1 << 8 * size) - 1)

    def write_port(self, port, size, value):
        self.trace.append(("out", port, size, value))

    def port_block(self, port, size, count, read, descending, data):
        self.trace.append(("block", port, size, count, read, descending, data))
        return count if self.done is None else self.done

    def read_memory(self, address, size):
        self.trace.append(("load", address, size))
        return 0x5A

    def write_memory(self, address, size, value):
        self.trace.append(("store", address, size, value))


class Memory:
    def __init__(self):
        self.types = {}
        self.data = {}

    def type_of(self, address):
        return self.types.get(address >> 12, "ram")

    def read(self, address, length):
        return bytes((address + i) & 0xFF for i in range(length))

    def write(self, address, data):
        self.data[address] = bytes(data)


class Bench:
    def __init__(self):
        self.cpu = FakeProcessor()
        self.ports = Ports()
        self.memory = Memory()
        self.handler = PortIo(self.cpu, self.memory, self.ports)

    def ins(self, port=0x1F0, size=2, *, rep=True, address_size=2):
        return self.handler.string(port, size, True, rep, 0, address_size)

    def outs(self, port=0x1F0, size=2, *, rep=True, address_size=2, segment=3):
        return self.handler.string(port, size, False, rep, segment, address_size)

    def registers(self, **values):
        for name, value in values.items():
            self.cpu.registers[{"rax": 0, "rcx": 1, "rsi": 6, "rdi": 7}[name]] = value


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(
    ("size", "rax"),
    [(1, 0x1111_2222_3333_44DD), (2, 0x1111_2222_3333_CCDD), (4, 0xAABB_CCDD)],
)
def test_in_fills_its_part_of_rax(bench, size, rax):
    bench.registers(rax=0x1111_2222_3333_4444)
    bench.ports.value = 0xAABB_CCDD
    bench.handler.read(0x60, size)
    assert bench.cpu.registers[RAX] == rax


@pytest.mark.parametrize(("size", "value"), [(1, 0x44), (2, 0x3344), (4, 0x1122_3344)])
def test_out_sends_its_part_of_rax(bench, size, value):
    bench.registers(rax=0x9999_9999_1122_3344)
    bench.handler.write(0x60, size)
    assert bench.ports.trace == [("out", 0x60, size, value)]


def test_rep_insw_inside_a_page_is_one_request(bench):
    bench.registers(rcx=256, rdi=0x2000)
    assert bench.ins()
    assert bench.ports.trace == [("block", 0x1F0, 2, 256, True, False, 0x2000)]
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (0, 0x2200)
    assert bench.cpu.invalidated == [(0x2000, 512)]


def test_a_repetition_is_cut_at_the_page_and_goes_on_at_the_next_exit(bench):
    bench.registers(rcx=256, rdi=0x2F00)
    assert not bench.ins()
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (128, 0x3000)
    assert bench.ins()
    assert [entry[3] for entry in bench.ports.trace] == [128, 128]


def test_an_item_across_a_page_goes_alone_and_by_value(bench):
    bench.registers(rcx=2, rdi=0x2FFF)
    bench.ports.value = 0xBBAA
    assert not bench.ins()
    assert bench.ports.trace == [("in", 0x1F0, 2)]
    assert bench.memory.data == {0x2FFF: b"\xaa", 0x3000: b"\xbb"}
    assert bench.cpu.invalidated == [(0x2FFF, 1), (0x3000, 1)]
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (1, 0x3001)


def test_down_means_from_the_item_to_lower_addresses(bench):
    bench.cpu.rflags |= 1 << 10
    bench.registers(rcx=8, rdi=0x3004)
    assert not bench.ins()
    assert bench.ports.trace == [("block", 0x1F0, 2, 3, True, True, 0x3004)]
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (5, 0x2FFE)
    assert bench.cpu.invalidated == [(0x3000, 6)]


def test_outs_reads_its_segment_and_invalidates_nothing(bench):
    bench.cpu.set_segment(4, 0, 0x10000, 0xFFFF, 0x93)
    bench.registers(rcx=4, rsi=0x10)
    assert bench.outs(segment=4, size=1)
    assert bench.ports.trace == [("block", 0x1F0, 1, 4, False, False, 0x10010)]
    assert bench.cpu.registers[RSI] == 0x14
    assert bench.cpu.invalidated == []


def test_without_rep_one_item_is_moved_and_the_count_stays(bench):
    bench.registers(rcx=77, rdi=0x100)
    assert bench.ins(rep=False)
    assert bench.ports.trace == [("block", 0x1F0, 2, 1, True, False, 0x100)]
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (77, 0x102)


def test_a_count_of_zero_moves_nothing(bench):
    bench.registers(rcx=0x1_0000, rdi=0x100)
    assert bench.ins()
    assert bench.ports.trace == []


def test_a_partial_completion_leaves_the_rest_to_the_next_exit(bench):
    bench.registers(rcx=10, rdi=0x100)
    bench.ports.done = 3
    assert not bench.ins()
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (7, 0x106)
    assert bench.cpu.invalidated == [(0x100, 6)]


def test_nobody_at_the_port_reads_ones_into_ram(bench):
    bench.registers(rcx=3, rdi=0x100)
    bench.ports.done = -1
    assert bench.ins()
    assert bench.memory.data == {0x100: b"\xff" * 6}
    bench.registers(rcx=3, rsi=0x100)
    assert bench.outs()
    assert bench.cpu.registers[RCX] == 0


def test_the_segment_limit_cuts_a_run_and_then_faults(bench):
    bench.cpu.set_segment(0, 0, 0, 0x1003, 0x93)
    bench.registers(rcx=4, rdi=0x1000)
    assert not bench.ins()
    assert bench.cpu.registers[RCX] == 2
    assert not bench.ins()
    assert bench.cpu.faults == [(13, 0)]
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (2, 0x1004)


def test_a_page_fault_comes_before_the_port_is_touched(bench):
    bench.cpu.unmapped = {0x3000}
    bench.registers(rcx=2, rdi=0x2FFF)
    assert not bench.ins()
    assert bench.ports.trace == []
    assert bench.cpu.faults == [(14, 0)]


def test_sixteen_bit_indexes_wrap_and_keep_the_upper_half(bench):
    bench.registers(rcx=0x5_0004, rdi=0x9_FFFC)
    assert not bench.ins()
    assert bench.ports.trace == [("block", 0x1F0, 2, 2, True, False, 0xFFFC)]
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (0x5_0002, 0x9_0000)


def test_thirty_two_bit_indexes_clear_the_upper_half(bench):
    bench.registers(rcx=0xF_0000_0001, rdi=0xF_0000_0100)
    assert bench.ins(address_size=4)
    assert (bench.cpu.registers[RCX], bench.cpu.registers[RDI]) == (0, 0x102)


def test_an_expand_down_segment_goes_item_by_item(bench):
    bench.cpu.set_segment(0, 0, 0, 0xFFFF, 0x97)
    bench.registers(rcx=4, rdi=0x100)
    assert not bench.ins()
    assert bench.cpu.registers[RCX] == 3


def test_string_input_to_a_device_or_firmware_goes_by_value(bench):
    bench.memory.types = {0xB: "mmio", 0xC: "rom"}
    bench.registers(rcx=1, rdi=0xB000)
    bench.ports.value = 0x0741
    assert bench.ins()
    assert bench.ports.trace == [("in", 0x1F0, 2), ("store", 0xB000, 2, 0x0741)]
    bench.registers(rcx=1, rdi=0xC000)
    assert bench.ins()
    assert bench.memory.data == {0xC000: b"\x41\x07"}


def test_configuration_data_is_read_item_by_item_since_it_may_be_a_pci_request(bench):
    bench.registers(rcx=2, rdi=0x100)
    assert not bench.ins(port=0xCFC, size=4)
    assert bench.ports.trace == [("in", 0xCFC, 4)]
    assert bench.cpu.registers[RCX] == 1


def test_string_output_from_a_device_loads_it_first(bench):
    bench.memory.types = {0xB: "mmio"}
    bench.registers(rcx=1, rsi=0xB000)
    assert bench.outs(size=1)
    assert bench.ports.trace == [("load", 0xB000, 1), ("out", 0x1F0, 1, 0x5A)]


@pytest.mark.parametrize("way", ["INS", "OUTS", "INS from nobody"])
def test_memory_that_the_device_model_takes_away_over_the_access_drops_writes_and_reads_ones(bench, way):
    """The map may change between the look at it and the access; that once ended the core."""

    def gone(*_):
        raise HvError("no memory at guest-physical address")

    bench.memory.read = bench.memory.write = gone
    bench.cpu.registers[RCX] = 1
    if way == "INS from nobody":
        bench.ports.done = -1
    else:
        bench.memory.types = dict.fromkeys(range(1 << 10), "rom")
    bench.handler.string(0x1F0, 1, way != "OUTS", True, 0 if way != "OUTS" else 3, 4)
    assert bench.cpu.registers[RCX] == 0
    if way == "OUTS":
        assert bench.ports.trace == [("out", 0x1F0, 1, 0xFF)]
