"""Paging (SDM vol. 3 ch. 4): 4 KiB, 4 MiB and PAE pages, rights, accessed and dirty bits, what the TLB may keep."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, EAX, ES, ESP, FLAT_CODE, FLAT_DATA, SS, Bench

DIRECTORY, TABLE = 0x100000, 0x101000
P, W, U, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
PG, WP = 1 << 31, 1 << 16
PSE, PAE, PGE = 0x10, 0x20, 0x80
PAGE = 0x300000  # a linear page that the tests map
FRAME = 0x180000


class Paged(Bench):
    """Flat protected mode with the first MiB mapped to itself by TABLE, which maps PAGE's table too."""

    def __init__(self) -> None:
        super().__init__(32, 4 << 20)
        self.processor.intercepts.exceptions = 1 << 14
        self.processor.update_intercepts()
        for i in range(1024):
            self.entry(TABLE + 4 * i, i << 12 | P | W | U if i < 512 else 0)
        self.entry(DIRECTORY, TABLE | P | W | U)
        self.processor.set_cr(3, DIRECTORY)
        self.processor.set_cr(0, PG | 0x11)

    def entry(self, at: int, value: int | None = None) -> int:
        if value is not None:
            self.memory.write(at, struct.pack("<I", value))
        return int(struct.unpack("<I", self.memory.read(at, 4))[0])

    def map(self, flags: int, frame: int = FRAME, page: int = PAGE) -> int:
        """Map a page; returns where its entry is."""
        at = TABLE + (page >> 12) * 4
        self.entry(at, frame | flags)
        return at

    def user(self) -> None:
        self.processor.set_segment(CS, 0x1B, 0, 0xFFFFFFFF, FLAT_CODE | 0x60)
        for number in (ES, SS, DS):
            self.processor.set_segment(number, 0x23, 0, 0xFFFFFFFF, FLAT_DATA | 0x60)

    def faults(self, code: bytes) -> tuple[int, int]:
        assert self.run(code) == ExitKind.EXCEPTION
        info = self.processor.exit
        assert info.vector == 14
        assert self.processor.rip == 0x7C00
        return info.error_code, info.fault_address


LOAD = bytes.fromhex("a1 04003000 f4")  # MOV EAX, [PAGE + 4]
STORE = bytes.fromhex("a3 04003000 f4")


@pytest.fixture
def paged() -> Paged:
    return Paged()


def test_a_page_is_read_where_its_entry_says(paged: Paged) -> None:
    paged.write(FRAME + 4, struct.pack("<I", 0x12345678))
    at = paged.map(P)
    assert paged.run(LOAD) == ExitKind.HLT
    assert paged.processor.gpr(EAX) == 0x12345678
    assert paged.entry(at) == FRAME | P | A
    assert paged.entry(DIRECTORY) & (A | D) == A


def test_the_first_store_sets_the_dirty_bit_even_after_a_load(paged: Paged) -> None:
    at = paged.map(P | W)
    assert paged.run(LOAD) == ExitKind.HLT
    assert paged.entry(at) & D == 0
    assert paged.run(STORE) == ExitKind.HLT
    assert paged.entry(at) & D == D


@pytest.mark.parametrize(
    ("flags", "user", "wp", "code", "error"),
    [
        (0, False, False, LOAD, 0),
        (0, False, False, STORE, 2),
        (0, True, False, STORE, 6),
        (P, True, False, LOAD, 5),
        (P | W, True, False, STORE, 7),
        (P | U, True, False, STORE, 7),
        (P, False, True, STORE, 3),
        (P | U, False, True, STORE, 3),
    ],
)
def test_a_fault_says_what_was_tried(
    paged: Paged, flags: int, user: bool, wp: bool, code: bytes, error: int
) -> None:
    paged.map(flags)
    if user:
        paged.user()
    if wp:
        paged.processor.set_cr(0, PG | WP | 0x11)
    assert paged.faults(code) == (error, PAGE + 4)


@pytest.mark.parametrize(("flags", "user"), [(P, False), (P | U, False), (P | W | U, True)])
def test_what_is_allowed_does_not_fault(paged: Paged, flags: int, user: bool) -> None:
    paged.map(flags)
    if user:
        paged.user()
        paged.processor.intercepts.exceptions |= 1 << 13
        paged.processor.update_intercepts()
        assert paged.run(STORE) == ExitKind.EXCEPTION  # the HLT of ring 3
        assert paged.processor.exit.vector == 13
    else:
        assert paged.run(STORE) == ExitKind.HLT


def test_user_and_supervisor_translations_do_not_mix(paged: Paged) -> None:
    paged.map(P | W)
    assert paged.run(LOAD) == ExitKind.HLT
    paged.user()
    assert paged.faults(LOAD) == (5, PAGE + 4)


def test_a_fetch_from_an_absent_page_faults_at_its_address(paged: Paged) -> None:
    assert paged.run(bytes.fromhex("b8 00003000 ffe0")) == ExitKind.EXCEPTION
    assert (paged.processor.exit.fault_address, paged.processor.exit.error_code) == (PAGE, 0)
    assert paged.processor.rip == PAGE


def test_an_instruction_that_crosses_into_an_absent_page_faults_there(paged: Paged) -> None:
    paged.map(P | W)
    paged.write(FRAME + 0xFFE, bytes.fromhex("b8 11"))
    paged.processor.rip = PAGE + 0xFFE
    assert paged.run() == ExitKind.EXCEPTION
    assert paged.processor.exit.fault_address == PAGE + 0x1000
    assert paged.processor.rip == PAGE + 0xFFE


def test_a_store_across_pages_is_all_or_nothing(paged: Paged) -> None:
    paged.map(P | W)
    paged.map(P, page=PAGE + 0x1000, frame=FRAME + 0x1000)
    paged.processor.set_cr(0, PG | WP | 0x11)
    paged.processor.set_gpr(EAX, 0xFFFFFFFF)
    assert paged.faults(bytes.fromhex("a3 fe0f3000")) == (3, PAGE + 0x1000)
    assert paged.memory.read(FRAME + 0xFFC, 8) == bytes(8)


@pytest.mark.parametrize(
    "code", ["d105 fe0f3000", "8305 fe0f3000 01", "8705 fe0f3000"], ids=["rol", "add", "xchg"]
)
def test_what_is_modified_across_pages_faults_as_a_write_to_the_first_that_may_not_be_written(
    paged: Paged, code: str
) -> None:
    """As silicon does; to read both pages first, and then to fault in the second, would be another processor."""
    paged.processor.set_cr(0, PG | WP | 0x11)
    paged.map(P)
    paged.map(0, page=PAGE + 0x1000)
    assert paged.faults(bytes.fromhex(code)) == (3, PAGE + 0xFFE)
    paged.map(0)
    paged.map(P | W, page=PAGE + 0x1000)
    paged.processor.set_cr(3, DIRECTORY)
    assert paged.faults(bytes.fromhex(code)) == (2, PAGE + 0xFFE)


def test_invlpg_forgets_one_page(paged: Paged) -> None:
    paged.write(FRAME + 4, b"\x11")
    paged.write(FRAME + 0x1004, b"\x22")
    paged.map(P)
    assert paged.run(LOAD) == ExitKind.HLT
    paged.map(P, frame=FRAME + 0x1000)
    assert paged.run(bytes.fromhex("0f013d 00003000") + LOAD) == ExitKind.HLT
    assert paged.processor.gpr(EAX) & 0xFF == 0x22


@pytest.mark.parametrize(("flags", "seen"), [(P, 0x22), (P | G, 0x11)])
def test_a_load_of_cr3_keeps_global_pages_only(paged: Paged, flags: int, seen: int) -> None:
    paged.processor.set_cr(4, PGE)
    paged.write(FRAME + 4, b"\x11")
    paged.write(FRAME + 0x1004, b"\x22")
    paged.map(flags)
    assert paged.run(LOAD) == ExitKind.HLT
    paged.map(flags, frame=FRAME + 0x1000)
    assert paged.run(bytes.fromhex("0f20d8 0f22d8") + LOAD) == ExitKind.HLT
    assert paged.processor.gpr(EAX) & 0xFF == seen


def test_four_mebibyte_pages(paged: Paged) -> None:
    paged.processor.set_cr(4, PSE)
    paged.entry(DIRECTORY + 4 * 2, P | W | PS)
    paged.write(0x200010, b"\x77")
    assert paged.run(bytes.fromhex("a0 1000a000 f4")) == ExitKind.HLT
    assert paged.processor.gpr(EAX) & 0xFF == 0x77
    paged.entry(DIRECTORY + 4 * 3, P | W | PS | 1 << 13)
    assert paged.faults(bytes.fromhex("a0 1000e000"))[0] == 9


def test_pae_pages_and_no_execute(paged: Paged) -> None:
    pointers, directory = 0x110000, 0x111000
    paged.memory.write(pointers, struct.pack("<QQQQ", directory | P, 0, 0, 0))
    paged.memory.write(directory, struct.pack("<Q", P | W | PS))
    paged.memory.write(directory + 8, struct.pack("<Q", P | W | PS | 1 << 63))
    p = paged.processor
    p.set_cr(0, 0x11)
    p.set_cr(4, PAE)
    p.efer = 0x800
    p.set_cr(3, pointers)
    p.set_cr(0, PG | 0x11)
    paged.write(0x1000, bytes.fromhex("a1 00002000 f4"))  # a load from the second 2 MiB: allowed
    p.rip = 0x1000
    assert paged.run() == ExitKind.HLT
    p.rip = 0x200000
    assert paged.run() == ExitKind.EXCEPTION
    assert (p.exit.error_code, p.exit.fault_address) == (0x11, 0x200000)


def test_code_written_through_another_mapping_never_runs_stale(paged: Paged) -> None:
    paged.map(P | W)
    paged.map(P | W, page=PAGE + 0x2000)
    paged.write(FRAME, bytes.fromhex("b8 01000000 c605 01203000 05 f4"))  # patches its own first MOV
    for seen in (1, 5):
        paged.processor.rip = PAGE
        assert paged.run() == ExitKind.HLT
        assert paged.processor.gpr(EAX) == seen


def test_cr2_holds_the_address_when_the_handler_runs(paged: Paged) -> None:
    paged.processor.intercepts.exceptions = 0
    paged.processor.update_intercepts()
    paged.write(0x2000 + 8, struct.pack("<HHBBBB", 0xFFFF, 0, 0, 0x9A, 0xCF, 0))
    paged.processor.set_gdtr(0x2000, 15)
    paged.processor.set_idtr(0x3000, 0x7FF)
    paged.write(0x3000 + 14 * 8, struct.pack("<HHBBH", 0x9000, 8, 0, 0x8E, 0))
    paged.write(0x9000, bytes.fromhex("0f20d0 f4"))
    assert paged.run(STORE) == ExitKind.HLT
    assert paged.processor.gpr(EAX) == PAGE + 4
    assert struct.unpack("<II", paged.memory.read(paged.processor.gpr(ESP), 8)) == (2, 0x7C00)
