"""A PCI function of one's own: what a guest finds out about it, and where it answers."""

import attrs
import pytest

from devmodel import ConfigError
from devmodel.board.bus import Bus, Claim
from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.devices.pci import Bar, PciBus, PciFunction
from tests.devmodel.recording_core import Core

COMMAND, STATUS, BAR0, BAR1, BAR2, ROM = 4, 6, 0x10, 0x14, 0x18, 0x30
IO, MEMORY = 1, 2


@attrs.define(eq=False)
class Latch:
    """Answers with what was written last, plus the offset."""

    value: int = 0
    log: list[tuple[int, int, int]] = attrs.field(factory=list)

    def read(self, offset: int, size: int) -> int:
        return self.value + offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append((offset, size, value))
        self.value = value


@attrs.define
class Bench:
    latch: Latch = attrs.field(factory=Latch)
    ports: Latch = attrs.field(factory=lambda: Latch(0x40))
    bus: Bus = attrs.field(factory=Bus)
    moved: list[tuple[str, int, int, bool, bool]] = attrs.field(factory=list)
    function: PciFunction = attrs.field(init=False)
    pci: PciBus = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.function = PciFunction(
            name="latch",
            vendor=0x1AF4,
            device=0x10F1,
            class_code=0xFF0000,
            revision=3,
            bars={
                0: Bar(self.latch, 4096),
                1: Bar(self.ports, 8, space="pio", waits="test"),
                2: Bar(self.latch, 1 << 20, long=True, prefetchable=True),
            },
            pin=1,
            capabilities=[(0x09, b"\x05abc"), (0x01, b"\x02\x00\x00\x00\x00\x00")],
            rom=b"\x55\xaa\x05" + bytes(2557),
        )
        self.pci = PciBus({(5, 0): self.function}, {"pio": self.bus.pio, "memory": self.bus.memory})
        for name, space in (("pio", self.bus.pio), ("memory", self.bus.memory)):

            def heard(claim: Claim, there: bool, name: str = name) -> None:
                self.moved.append((name, claim.first, claim.last, claim.posted, there))

            space.moved = heard

    def get(self, register: int, size: int = 4) -> int:
        return self.pci.config.read(5 << 35 | register, size)

    def set(self, register: int, value: int, size: int = 4) -> None:
        self.pci.config.write(5 << 35 | register, size, value)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_header_says_what_it_is(bench: Bench) -> None:
    assert bench.get(0) == 0x10F1_1AF4
    assert bench.get(8) == 0xFF00_0003
    assert bench.get(STATUS, 2) == 0x0010
    assert bench.get(0x3D, 1) == 1
    bench.set(0, 0xFFFF_FFFF)
    bench.set(8, 0)
    assert (bench.get(0), bench.get(8)) == (0x10F1_1AF4, 0xFF00_0003)


def test_sizes_are_found_by_writing_ones(bench: Bench) -> None:
    """PCI 2.1, 6.2.5.1."""
    sizes = []
    for register in (BAR0, BAR1, BAR2, BAR2 + 4, BAR2 + 8, BAR2 + 12, ROM):
        bench.set(register, 0xFFFF_FFFF)
        sizes.append(bench.get(register))
    assert sizes == [0xFFFF_F000, 0xFFFF_FFF9, 0xFFF0_000C, 0xFFFF_FFFF, 0, 0, 0xFFFF_F001]
    assert bench.moved == []


def test_it_answers_where_its_registers_say_while_the_command_register_lets_it(bench: Bench) -> None:
    bench.set(BAR0, 0xE000_0000)
    bench.set(BAR1, 0xC000)
    assert bench.bus.read("memory", 0xE000_0004, 4) == 0xFFFF_FFFF
    bench.set(COMMAND, IO | MEMORY, 2)
    bench.bus.write("memory", 0xE000_0000, 4, 0x1234)
    assert bench.bus.read("memory", 0xE000_0FFC, 4) == 0x1234 + 0xFFC
    assert bench.bus.read("pio", 0xC004, 1) == 0x44
    bench.set(COMMAND, MEMORY, 2)
    assert bench.bus.read("pio", 0xC004, 1) == 0xFF
    assert bench.bus.read("memory", 0xE000_0000, 4) == 0x1234


def test_the_core_hears_of_each_move_before_the_guest_runs_on(bench: Bench) -> None:
    bench.set(COMMAND, IO | MEMORY, 2)
    bench.set(BAR0, 0xE000_0000)
    bench.set(BAR1, 0xC000)
    bench.set(BAR0, 0xF000_0000)
    bench.set(COMMAND, 0, 2)
    assert bench.moved == [
        ("memory", 0xE000_0000, 0xE000_0FFF, True, True),
        ("pio", 0xC000, 0xC007, False, True),
        ("memory", 0xE000_0000, 0xE000_0FFF, True, False),
        ("memory", 0xF000_0000, 0xF000_0FFF, True, True),
        ("pio", 0xC000, 0xC007, False, False),
        ("memory", 0xF000_0000, 0xF000_0FFF, True, False),
    ]


def test_a_64_bit_register_reaches_beyond_4_gib(bench: Bench) -> None:
    bench.set(COMMAND, MEMORY, 2)
    bench.set(BAR2, 0x1230_0000)
    bench.set(BAR2 + 4, 0x7)
    assert bench.bus.read("memory", 0x7_1230_0010, 4) == 0x10
    assert bench.bus.read("memory", 0x1230_0010, 4) == 0xFFFF_FFFF


def test_the_option_rom_is_there_when_its_own_bit_is_set_too(bench: Bench) -> None:
    bench.set(COMMAND, MEMORY, 2)
    bench.set(ROM, 0xFEB0_0000)
    assert bench.bus.read("memory", 0xFEB0_0000, 4) == 0xFFFF_FFFF
    bench.set(ROM, 0xFEB0_0001)
    assert bench.bus.read("memory", 0xFEB0_0000, 4) == 0x0005_AA55
    bench.bus.write("memory", 0xFEB0_0000, 4, 0)
    assert bench.bus.read("memory", 0xFEB0_0000, 8) == 0x0005_AA55
    assert bench.bus.read("memory", 0xFEB0_0FFC, 4) == 0xFFFF_FFFF  # behind its end


def test_capabilities_are_a_list(bench: Bench) -> None:
    first = bench.get(0x34, 1)
    assert (bench.get(first, 1), bytes(bench.get(first + i, 1) for i in range(2, 6))) == (9, b"\x05abc")
    second = bench.get(first + 1, 1)
    assert (bench.get(second, 1), bench.get(second + 1, 1), bench.get(second + 2, 1)) == (1, 0, 2)
    assert second % 4 == 0


def test_who_was_there_first_stays_and_the_other_comes_when_he_goes(bench: Bench) -> None:
    bench.bus.map("pio", 0xC004, 0xC004, Latch(0x77), name="first")
    bench.set(COMMAND, IO, 2)
    bench.set(BAR1, 0xC000)
    assert (bench.bus.read("pio", 0xC004, 1), bench.bus.read("pio", 0xC000, 1)) == (0x77, 0xFF)
    bench.set(BAR1, 0xC008)
    assert bench.bus.read("pio", 0xC008, 1) == 0x40


def test_two_functions_may_swap_places(bench: Bench) -> None:
    other = PciFunction(name="other", vendor=1, device=1, class_code=0, bars={0: Bar(Latch(9), 4096)})
    bench.pci.functions[6, 0] = other
    bench.set(COMMAND, MEMORY, 2)
    bench.set(BAR0, 0xE000_0000)
    config = bench.pci.config
    config.write(6 << 35 | COMMAND, 2, MEMORY)
    config.write(6 << 35 | BAR0, 4, 0xE000_0000)
    assert bench.bus.read("memory", 0xE000_0000, 1) == 0
    bench.set(BAR0, 0xE100_0000)
    assert bench.bus.read("memory", 0xE000_0000, 1) == 9


def test_intx_is_a_level_that_the_command_register_can_disable(bench: Bench) -> None:
    levels: list[bool] = []
    bench.function.line.listeners.append(levels.append)  # type: ignore[attr-defined]
    bench.function.interrupt(True)
    assert bench.get(STATUS, 2) == 0x0018
    bench.set(COMMAND, 0x0400, 2)
    assert bench.get(STATUS, 2) == 0x0018  # the status bit is before the gate
    bench.set(COMMAND, 0, 2)
    bench.function.interrupt(False)
    assert levels == [True, False, True, False]
    assert bench.get(STATUS, 2) == 0x0010


def test_a_reset_takes_it_off_the_bus(bench: Bench) -> None:
    bench.set(COMMAND, MEMORY, 2)
    bench.set(BAR0, 0xE000_0000)
    bench.function.reset()
    bench.pci.update()
    assert bench.bus.read("memory", 0xE000_0000, 4) == 0xFFFF_FFFF
    assert (bench.get(COMMAND, 2), bench.get(BAR0)) == (0, 0)


@pytest.mark.parametrize(
    ("number", "bar"),
    [
        (0, Bar(Latch(), 24)),
        (0, Bar(Latch(), 8)),
        (6, Bar(Latch(), 16)),
        (5, Bar(Latch(), 16, long=True)),
        (0, Bar(Latch(), 2, space="pio")),
    ],
)
def test_what_is_no_base_address_register_is_refused(number: int, bar: Bar) -> None:
    with pytest.raises(ValueError, match="base address register"):
        PciFunction(name="f", vendor=1, device=1, class_code=0, bars={number: bar})


def test_capabilities_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="192 bytes"):
        PciFunction(name="f", vendor=1, device=1, class_code=0, capabilities=[(9, bytes(200))])


@pytest.mark.parametrize(("slot", "pirq"), [(4, 3), (5, 0), (6, 1)])
def test_on_the_board_it_interrupts_through_the_routing_of_its_slot(slot: int, pirq: int) -> None:
    core = Core()
    board = Board.build(ManualClock(), core, Fittings(memory=[(0, 1 << 24, 1)]))
    function = PciFunction(name="mine", vendor=1, device=1, class_code=0, pin=1)
    board.plug(slot, function)
    for port, value in (
        *((0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0)),
        *((0xA0, 0x11), (0xA1, 0x70), (0xA1, 2), (0xA1, 1), (0xA1, 0)),
        *((0x4D1, 0x08),),  # IRQ 11 is level-sensitive
    ):
        board.bus.write("pio", port, 1, value)
    board.pci_config.write(1 << 35 | 0x60 + pirq, 1, 11)
    core.told.clear()
    function.interrupt(True)
    assert core.told == [("intr", True)]
    assert board.acknowledge() == 0x73
    board.bus.write("pio", 0xA0, 1, 0x20)
    board.bus.write("pio", 0x20, 1, 0x20)
    assert core.told[-1] == ("intr", True)  # still asserted: a level
    function.interrupt(False)
    assert core.told[-1] == ("intr", False)


def test_a_reset_of_the_machine_reaches_it() -> None:
    board = Board.build(ManualClock(), Core(), Fittings(memory=[(0, 1 << 24, 1)]))
    function = PciFunction(name="mine", vendor=1, device=1, class_code=0, bars={0: Bar(Latch(5), 16)})
    board.plug(5, function)
    board.pci_config.write(5 << 35 | BAR0, 4, 0xE000_0000)
    board.pci_config.write(5 << 35 | COMMAND, 2, MEMORY)
    assert board.bus.read("memory", 0xE000_0000, 1) == 5
    board.reset()
    assert board.bus.read("memory", 0xE000_0000, 1) == 0xFF


def test_a_slot_has_one_device() -> None:
    board = Board.build(ManualClock(), Core(), Fittings(memory=[(0, 1 << 24, 1)]))
    for slot in (1, 32):
        with pytest.raises(ConfigError, match=f"mine: PCI slot {slot}"):
            board.plug(slot, PciFunction(name="mine", vendor=1, device=1, class_code=0))


def test_a_bus_without_spaces_maps_nothing() -> None:
    function = PciFunction(name="f", vendor=1, device=1, class_code=0, bars={0: Bar(Latch(), 16)})
    bus = PciBus({(5, 0): function})
    bus.config.write(5 << 35 | BAR0, 4, 0xE000_0000)
    bus.config.write(5 << 35 | COMMAND, 2, MEMORY)
    assert bus.config.read(5 << 35 | BAR0, 4) == 0xE000_0000
