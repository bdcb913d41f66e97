"""The board in parts: every chip is in one, and what is elsewhere drives nothing here."""

import attrs
import pytest

from devmodel import ConfigError
from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.parts import ALL, OWN, PARTS, functions_of, parse, part_of_mapping
from devmodel.board.pc import Board
from devmodel.devices.parallel import NoPrinter
from tests.devmodel.recording_core import Core, QuickDisk


def build(*parts: str, core: Core | None = None, clock: ManualClock | None = None) -> Board:
    fittings = Fittings(
        memory=[(0, 64 << 20, 1)],
        disks=[QuickDisk()],
        serial=[False] * 4,
        printer=NoPrinter(),
        parts=frozenset(parts) or ALL,
    )
    return Board.build(clock or ManualClock(), core or Core(), fittings)


def claims(board: Board) -> list[tuple[str, int, int, bool]]:
    spaces = (board.bus.pio, board.bus.memory)
    return [(space.name, c.first, c.last, c.posted) for space in spaces for c in space.claims()]


def addresses(board: Board, space: str) -> list[int]:
    return [n for name, first, last, _ in claims(board) if name == space for n in range(first, last + 1)]


def test_every_chip_and_every_mapping_is_in_exactly_one_part():
    whole = build()
    chips = [chip for part in PARTS.values() for chip in part.chips]
    assert sorted(chips) == sorted(whole.chips)
    mappings = [m for space in (whole.bus.pio, whole.bus.memory) for m in space.mappings]
    assert {part_of_mapping(m.name) for m in mappings} == ALL - {OWN}
    assert sorted(whole.pci.functions) == sorted(functions_of(ALL))


def test_the_parts_together_claim_what_the_whole_claims_and_nothing_twice():
    whole = build()
    for space in ("pio", "memory"):
        parted = [address for part in PARTS for address in addresses(build(part), space)]
        assert sorted(parted) == addresses(whole, space)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_has_its_chips_and_those_of_the_others_drive_nothing(part):
    core = Core()
    board = build(part, core=core)
    assert set(board.chips) == set(PARTS[part].chips)
    assert board.acknowledges == (part == "pic")
    board.reset()
    for chip in board.timed:
        chip.tick()
    assert {what for what, _ in core.told} <= {"isa_irq"}
    allowed = {"pit": {0}, "kbc": {1}, "serial": {4}, "rtc": {8}, "pm": {9}, "ide": {14, 15}}
    assert {value[0] for _, value in core.told} <= allowed.get(part, set())


def test_a_line_reaches_a_controller_elsewhere_as_a_level():
    core = Core()
    board = build("serial", core=core)
    board.bus.write("pio", 0x3FC, 1, 0x0B)
    board.bus.write("pio", 0x3F9, 1, 0x02)  # THRE is pending
    assert core.told == [("isa_irq", (4, True))]
    board.bus.read("pio", 0x3FA, 1)
    assert core.told == [("isa_irq", (4, True)), ("isa_irq", (4, False))]


def test_a_function_elsewhere_is_configured_by_its_own_server_and_absent_from_the_bridges():
    bridge, ide = build(*ALL - {"ide"}), build("ide")
    assert bridge.config_functions == []
    assert ide.config_functions == [1 << 3 | 1]
    address = (1 << 3 | 1) << 32
    assert ide.pci_config.read(address, 4) == 0x7010_8086
    bridge.bus.write("pio", 0xCF8, 4, 0x8000_0900)
    assert bridge.bus.read("pio", 0xCFC, 4) == 0xFFFF_FFFF
    bridge.bus.write("pio", 0xCF8, 4, 0x8000_0800)
    assert bridge.bus.read("pio", 0xCFC, 4) == 0x7000_8086


def test_a_pci_line_from_elsewhere_takes_the_route_that_piix3_has_for_it():
    board = build()
    board.bus.write("pio", 0xCF8, 4, 0x8000_0860)
    board.bus.write("pio", 0xCFC, 4, 0x8080_0B80)  # PIRQB# to IRQ 11
    board.pci_intx(4, 2, True)  # INTC# of slot 4 is PIRQB#: (2 + 4 - 1) & 3
    board.pci_intx(2, 0, True)  # and so is INTA# of slot 2
    assert board.pic.slave.state.levels & 1 << 3
    board.pci_intx(2, 0, False)
    assert board.pic.slave.state.levels & 1 << 3
    board.pci_intx(4, 2, False)
    assert not board.pic.slave.state.levels & 1 << 3


def test_a_saved_board_is_restored_in_parts():
    whole = build()
    whole.bus.write("pio", 0x3FF, 1, 0x5A)
    whole.bus.write("pio", 0x21, 1, 0xEA)
    saved = whole.save()
    serial = Board.build(ManualClock(), Core(), attrs.evolve(FITTINGS, parts=frozenset(["serial"])), saved)
    assert serial.bus.read("pio", 0x3FF, 1) == 0x5A
    alone = Board.build(
        ManualClock(), Core(), attrs.evolve(FITTINGS, parts=frozenset(["pic"])), serial.save()
    )
    assert alone.bus.read("pio", 0x21, 1) == build("pic").bus.read("pio", 0x21, 1)


FITTINGS = Fittings(memory=[(0, 64 << 20, 1)], disks=[])


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["ida"], "--only: unknown part 'ida'; allowed: pic, pit, kbc"),
        (["pic", "port61"], "--only: unknown part 'port61' (it belongs to 'pit'); allowed: pic"),
        ([""], "--only: unknown part ''; allowed: pic"),
        ([], "--only: no part; allowed: pic"),
    ],
)
def test_what_is_no_part_is_one_line(names, line):
    with pytest.raises(ConfigError) as error:
        parse("--only", names)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
