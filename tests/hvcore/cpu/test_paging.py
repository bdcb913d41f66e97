"""Paging (SDM vol. 3 ch. 4): 4 KiB, 4 MiB and PAE pages, rights, accessed and dirty bits, what the TLB may keep."""

import struct

import pytest

from hvcore.cpu.exitinfo import Emulate, ExitKind
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
    for reserved in (1 << 17, 1 << 21):  # bits 16:13 are the address's with PSE-36
        paged.entry(DIRECTORY + 4 * 3, P | W | PS | reserved)
        assert paged.faults(bytes.fromhex("a0 1000e000"))[0] == 9
        assert paged.faults(bytes.fromhex("a2 1000e000"))[0] == 11
    paged.entry(DIRECTORY + 4 * 3, P | W | PS | 1 << 12)  # PAT
    assert paged.run(bytes.fromhex("a0 1000e000 f4")) == ExitKind.HLT


def test_without_pse36_the_address_bits_of_a_large_page_are_reserved(paged: Paged) -> None:
    paged.processor.set_model(0x633, 0xFFFFFFFF ^ 1 << 17)
    paged.processor.set_cr(4, PSE)
    paged.entry(DIRECTORY + 4 * 3, P | W | PS | 1 << 13)
    assert paged.faults(bytes.fromhex("a0 1000e000"))[0] == 9


def test_without_cr4_pse_the_size_bit_is_ignored(paged: Paged) -> None:
    paged.write(TABLE + 0x1000, struct.pack("<I", FRAME | P | W))
    paged.entry(DIRECTORY + 4 * 2, TABLE + 0x1000 | P | W | PS)
    paged.write(FRAME + 0x10, b"\x66")
    assert paged.run(bytes.fromhex("a0 10008000 f4")) == ExitKind.HLT
    assert paged.processor.gpr(EAX) & 0xFF == 0x66


def test_a_large_page_has_accessed_and_dirty_bits_of_its_own(paged: Paged) -> None:
    paged.processor.set_cr(4, PSE)
    at = DIRECTORY + 4 * 2
    paged.entry(at, P | W | PS)
    assert paged.run(bytes.fromhex("a0 10008000 f4")) == ExitKind.HLT
    assert paged.entry(at) & (A | D) == A
    assert paged.run(bytes.fromhex("a2 10008000 f4")) == ExitKind.HLT
    assert paged.entry(at) & (A | D) == A | D


def test_invlpg_of_any_address_in_a_large_page_forgets_all_of_it(paged: Paged) -> None:
    paged.processor.set_cr(4, PSE)
    paged.entry(DIRECTORY + 4 * 2, P | W | PS)
    load = bytes.fromhex("a0 10008000 f4")
    assert paged.run(load) == ExitKind.HLT
    paged.entry(DIRECTORY + 4 * 2, 0)
    assert paged.run(load) == ExitKind.HLT  # the TLB still has it
    assert paged.run(bytes.fromhex("0f013d 0050b000 f4")) == ExitKind.HLT
    assert paged.faults(load) == (0, 0x800010)


@pytest.mark.parametrize("user", [False, True])
def test_what_the_directory_forbids_is_forbidden_whatever_the_table_says(paged: Paged, user: bool) -> None:
    paged.map(P | W | U)
    p = paged.processor
    paged.entry(DIRECTORY, TABLE | P | (U if user else W))
    p.set_cr(3, DIRECTORY)
    p.set_cr(0, PG | WP | 0x11)
    if user:
        paged.user()
        assert paged.faults(STORE) == (7, PAGE + 4)
    else:
        paged.map(P | W | U)
        paged.entry(DIRECTORY, TABLE | P | U)
        p.set_cr(3, DIRECTORY)
        assert paged.faults(STORE) == (3, PAGE + 4)


def test_a_segment_fault_comes_before_a_page_fault(paged: Paged) -> None:
    p = paged.processor
    p.intercepts.exceptions = 1 << 13 | 1 << 14
    p.update_intercepts()
    p.set_segment(DS, 16, 0, 0xFFF, FLAT_DATA & 0x7FFF)
    assert paged.run(LOAD) == ExitKind.EXCEPTION
    assert (p.exit.vector, p.exit.error_code) == (13, 0)


def test_a_fault_leaves_cr2_to_whoever_delivers_it(paged: Paged) -> None:
    paged.processor.set_cr(2, 0x1234)
    paged.faults(LOAD)
    assert paged.processor.cr(2) == 0x1234  # intercepted: CR2 is not written


def test_a_page_fault_while_one_is_delivered_is_a_double_fault_with_the_second_address(paged: Paged) -> None:
    p = paged.processor
    p.intercepts.exceptions = 0
    p.update_intercepts()
    p.set_idtr(PAGE + 0x8000, 0x7FF)  # not mapped
    assert paged.run(LOAD) == ExitKind.TRIPLE_FAULT
    assert p.cr(2) == PAGE + 0x8000 + 8 * 8
    assert p.activity == 2


def test_system_tables_are_read_with_the_rights_of_ring_0(paged: Paged) -> None:
    p = paged.processor
    paged.map(P | W, page=PAGE + 0x1000, frame=FRAME)
    paged.map(P | W | U, page=0x7000, frame=0x7000)
    paged.write(FRAME + 0x20, struct.pack("<HHBBBB", 0xFFFF, 0, 0, 0xF2, 0xCF, 0))
    p.set_gdtr(PAGE + 0x1000, 0xFF)
    paged.user()
    assert paged.run(bytes.fromhex("66b82300 8ed8 0f0b")) != ExitKind.EXCEPTION or p.exit.vector != 14
    assert p.segment(DS).selector == 0x23


# PAE

POINTERS, PAE_DIRECTORY, PAE_TABLE = 0x110000, 0x111000, 0x112000
NX = 1 << 63


class Pae(Bench):
    """Flat protected mode with PAE: the first 2 MiB by 4 KiB pages, the next by one large page."""

    def __init__(self, size: int = 4 << 20) -> None:
        super().__init__(32, size)
        p = self.processor
        p.intercepts.exceptions = 1 << 13 | 1 << 14
        p.update_intercepts()
        self.quad(POINTERS, PAE_DIRECTORY | P)
        self.quad(PAE_DIRECTORY, PAE_TABLE | P | W | U)
        self.quad(PAE_DIRECTORY + 8, 0x200000 | P | W | U | PS)
        for i in range(512):
            self.quad(PAE_TABLE + 8 * i, i << 12 | P | W | U)
        p.set_cr(4, PAE)
        p.efer = 0x800
        p.set_cr(3, POINTERS)
        p.set_cr(0, PG | 0x11)
        p.load_pdptes()

    def quad(self, at: int, value: int) -> None:
        self.memory.write(at, struct.pack("<Q", value))

    def faults(self, code: str) -> tuple[int, int, int]:
        assert self.run(bytes.fromhex(code)) == ExitKind.EXCEPTION
        info = self.processor.exit
        return info.vector, info.error_code, info.fault_address


@pytest.mark.parametrize("bit", [36, 51, 52, 62])
@pytest.mark.parametrize(
    ("at", "address"), [(PAE_DIRECTORY, 0x1000), (PAE_TABLE + 8, 0x1000), (PAE_DIRECTORY + 8, 0x200000)]
)
def test_address_bits_that_the_processor_does_not_have_are_reserved(at: int, address: int, bit: int) -> None:
    bench = Pae()
    bench.quad(at, struct.unpack("<Q", bench.memory.read(at, 8))[0] | 1 << bit)
    code = b"\xa1" + struct.pack("<I", address)
    bench.processor.set_cr(3, POINTERS)
    if at == PAE_DIRECTORY:  # the code's page too
        bench.processor.rip = 0x7C00
        bench.write(0x7C00, code)
        assert bench.run() == ExitKind.EXCEPTION
        assert bench.processor.exit.error_code == 9 | 16
    else:
        assert bench.faults(code.hex()) == (14, 9, address)


def test_no_execute_is_a_reserved_bit_until_efer_enables_it() -> None:
    bench = Pae()
    bench.quad(PAE_TABLE + 8, 0x1000 | P | W | NX)
    assert bench.run(bytes.fromhex("a1 00100000 f4")) == ExitKind.HLT
    bench.processor.efer = 0
    bench.processor.set_cr(3, POINTERS)
    assert bench.faults("a1 00100000") == (14, 9, 0x1000)


def test_no_execute_in_any_level_forbids_a_fetch() -> None:
    for at in (PAE_TABLE + 8, PAE_DIRECTORY + 8):
        bench = Pae()
        bench.quad(at, struct.unpack("<Q", bench.memory.read(at, 8))[0] | NX)
        target = 0x1000 if at == PAE_TABLE + 8 else 0x200000
        bench.processor.rip = target
        assert bench.run() == ExitKind.EXCEPTION
        assert (bench.processor.exit.error_code, bench.processor.exit.fault_address) == (0x11, target)


def test_a_reserved_bit_in_the_first_table_refuses_the_load_of_cr3() -> None:
    bench = Pae()
    bench.quad(POINTERS + 0x20, PAE_DIRECTORY | P | W)  # W and U are reserved there
    assert bench.run(bytes.fromhex("b8 20001100 0f22d8 f4")) == ExitKind.EXCEPTION
    assert (bench.processor.exit.vector, bench.processor.exit.error_code) == (13, 0)
    assert bench.processor.cr(3) == POINTERS
    bench.quad(POINTERS + 0x20, W)  # not present: anything goes, until it is used
    assert bench.run(bytes.fromhex("b8 20001100 0f22d8")) == ExitKind.EXCEPTION
    assert (bench.processor.exit.vector, bench.processor.exit.error_code) == (14, 0x10)


HIGH = 0x4000_0000  # the second entry of the first table
LOAD_HIGH = "a1 00000040 f4"


def second_directory(bench: Pae, frame: int = 0x200000) -> None:
    """Map HIGH by the second entry, which no register knows yet."""
    bench.quad(PAE_DIRECTORY + 0x1000, frame | P | W | PS)
    bench.quad(POINTERS + 8, PAE_DIRECTORY + 0x1000 | P)


def test_the_first_table_is_read_when_cr3_is_loaded_and_not_by_walks() -> None:
    bench = Pae()
    bench.write(0x200000, struct.pack("<I", 0x1234))
    second_directory(bench)
    assert bench.faults(LOAD_HIGH) == (14, 0, HIGH)
    bench.processor.flush_tlb()
    assert bench.faults(LOAD_HIGH) == (14, 0, HIGH)
    assert bench.run(bytes.fromhex("0f20d8 0f22d8" + LOAD_HIGH)) == ExitKind.HLT
    assert bench.processor.gpr(EAX) == 0x1234
    assert [bench.processor.pdpte(i) for i in range(2)] == [PAE_DIRECTORY | P, PAE_DIRECTORY + 0x1000 | P]
    bench.quad(POINTERS, 0)
    bench.quad(POINTERS + 8, 0)
    bench.processor.flush_tlb()
    assert bench.run(bytes.fromhex(LOAD_HIGH)) == ExitKind.HLT


def test_a_walk_that_reads_the_first_table_sees_its_reserved_bits() -> None:
    """As in a guest of SVM with nested paging (APM vol. 2 section 15.25.10)."""
    bench = Pae()
    bench.processor.pdptes_in_memory = 1
    bench.write(0x200000, struct.pack("<I", 0x1234))
    second_directory(bench)
    assert bench.run(bytes.fromhex(LOAD_HIGH)) == ExitKind.HLT
    bench.quad(POINTERS + 8, PAE_DIRECTORY + 0x1000 | P | W)
    bench.processor.flush_tlb()
    assert bench.faults(LOAD_HIGH) == (14, 9, HIGH)
    assert bench.run(bytes.fromhex("0f20d8 0f22d8 f4")) == ExitKind.HLT  # and the load of CR3 does not


@pytest.mark.parametrize(
    ("number", "change", "reloads"),
    [
        (0, 0x6000_0000, True),  # CD and NW
        (0, 0x4000_0000, True),
        (0, 1 << 16, False),  # WP
        (0, 8, False),  # TS
        (4, 0x80, True),  # PGE
        (4, 0x10, True),  # PSE
        (4, 0, False),
        (4, 4, False),  # TSD
    ],
)
def test_only_some_bits_of_cr0_and_cr4_load_the_pdpte_registers_by_their_change(
    number: int, change: int, reloads: bool
) -> None:
    bench = Pae()
    second_directory(bench)
    old = bench.processor.cr(number)
    read, write = ("0f20c0", "0f22c0") if number == 0 else ("0f20e0", "0f22e0")
    xor = "35" + struct.pack("<I", change).hex()
    assert bench.run(bytes.fromhex(read + xor + write + "f4")) == ExitKind.HLT
    assert bench.processor.cr(number) == old ^ change
    assert bool(bench.processor.pdpte(1)) == reloads
    bench.quad(POINTERS + 8, 2 | P)
    if reloads:
        assert bench.faults(read + xor + write)[:2] == (13, 0)
        assert bench.processor.cr(number) == old ^ change
        assert bench.processor.pdpte(1) == PAE_DIRECTORY + 0x1000 | P
    else:
        assert bench.run(bytes.fromhex(read + xor + write + "f4")) == ExitKind.HLT


def test_turning_pae_paging_on_loads_the_pdpte_registers_whichever_bit_is_the_last() -> None:
    for last in ("pg", "pae"):
        bench = Pae()
        second_directory(bench)
        if last == "pg":
            bench.processor.set_cr(0, 0x11)
            bench.load(bytes.fromhex("0f20c0 0d00000080 0f22c0 f4"))
        else:
            bench.processor.set_cr(4, PSE)
            bench.write(0x7C00, bytes.fromhex("0f20e0 83c820 0f22e0 f4"))
            bench.quad(POINTERS + 0x20, P | W | PS)  # 32 MiB is where the two ways of paging share no entry
            bench.quad(PAE_DIRECTORY + 8 * 16, P | W | PS)
            bench.processor.rip = 0x200_7C00
        assert bench.run() == ExitKind.HLT
        assert bench.processor.pdpte(1) == PAE_DIRECTORY + 0x1000 | P


def test_ram_above_four_gibibytes_is_reached_through_pae_and_through_pse36() -> None:
    bench = Pae((3 << 30) + (4 << 20))
    high = 1 << 32
    bench.memory.write(high + 0x10, b"\x5a")
    bench.memory.write(0x10, b"\xa5")
    bench.quad(PAE_TABLE + 8, high | P | W)
    bench.processor.set_cr(3, POINTERS)
    assert bench.run(bytes.fromhex("a0 10100000 f4")) == ExitKind.HLT
    assert bench.processor.gpr(EAX) & 0xFF == 0x5A
    assert bench.run(bytes.fromhex("c605 11100000 77 f4")) == ExitKind.HLT
    assert bench.memory.read(high + 0x11, 1) == b"\x77"
    p = bench.processor
    p.set_cr(0, 0x11)
    p.set_cr(4, PSE)
    bench.memory.write(0x120000, struct.pack("<II", P | W | PS, 1 << 13 | P | W | PS))
    p.set_cr(3, 0x120000)
    p.set_cr(0, PG | 0x11)
    assert bench.run(bytes.fromhex("a0 10004000 f4")) == ExitKind.HLT
    assert p.gpr(EAX) & 0xFF == 0x5A


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
    p.load_pdptes()
    paged.write(0x1000, bytes.fromhex("a1 00002000 f4"))  # a load from the second 2 MiB: allowed
    p.rip = 0x1000
    assert paged.run() == ExitKind.HLT
    p.rip = 0x200000
    assert paged.run() == ExitKind.EXCEPTION
    assert (p.exit.error_code, p.exit.fault_address) == (0x11, 0x200000)


# Paging structures in no memory

NOWHERE = 0x80_0000


def facts(bench: Bench) -> tuple[int, bool, bool, bool, bool, int | None]:
    """Where a paging structure was looked for; a read, write, fetch, of a structure; and on the way to what address."""
    info = bench.processor.exit
    lin = info.linear_address if info.linear_valid else None
    return info.guest_physical, info.read, info.write, info.fetch, info.table, lin


@pytest.mark.parametrize(
    "code", [LOAD, STORE, bytes.fromhex("8305 04003000 01")], ids=["load", "store", "add"]
)
def test_a_table_in_no_memory_stops_with_its_address_and_the_one_it_was_read_for(
    paged: Paged, code: bytes
) -> None:
    page = 0x40_0004  # 4 MiB and up: by the second entry of the directory
    paged.entry(DIRECTORY + 4, NOWHERE | P | W | U)
    moved = bytes(code).replace(struct.pack("<I", PAGE + 4), struct.pack("<I", page))
    assert paged.run(moved) == ExitKind.GUEST_PHYSICAL
    assert facts(paged) == (NOWHERE, True, False, False, True, page)
    assert paged.processor.rip == 0x7C00
    # who emulates it finds that the entry is not present
    paged.processor.emulate_begin()
    assert paged.processor.emulate() == Emulate.FAULT
    assert paged.run() == ExitKind.EXCEPTION
    info = paged.processor.exit
    assert (info.vector, info.error_code, info.fault_address) == (14, 0 if code == LOAD else 2, page)


def test_a_table_in_no_memory_on_the_way_to_code_is_no_fetch(paged: Paged) -> None:
    paged.entry(DIRECTORY + 4, NOWHERE | P | W | U)
    paged.processor.rip = 0x40_0123
    assert paged.run() == ExitKind.GUEST_PHYSICAL
    assert facts(paged) == (NOWHERE, True, False, False, True, 0x40_0123)
    paged.processor.emulate_begin()
    assert paged.processor.emulate() == Emulate.FAULT
    assert paged.run() == ExitKind.EXCEPTION
    assert (paged.processor.exit.vector, paged.processor.exit.fault_address) == (14, 0x40_0123)


def test_an_instruction_whose_end_has_its_table_in_no_memory_stops_there(paged: Paged) -> None:
    paged.entry(DIRECTORY + 4, NOWHERE | P | W | U)
    paged.map(P | W, page=0x3F_F000)
    paged.write(FRAME + 0xFFE, bytes.fromhex("b8 11"))
    paged.processor.rip = 0x3F_FFFE
    assert paged.run() == ExitKind.GUEST_PHYSICAL
    assert facts(paged) == (NOWHERE, True, False, False, True, 0x40_0000)
    assert paged.processor.exit.instruction_bytes == b"\xb8\x11"
    paged.write(FRAME + 0xFFE, b"\x90\xf4")  # what is fetched ahead does not stop
    assert paged.run() == ExitKind.HLT


def test_a_directory_in_no_memory(paged: Paged) -> None:
    assert (
        paged.run(b"\xb8" + struct.pack("<I", NOWHERE) + bytes.fromhex("0f22d8 f4"))
        == ExitKind.GUEST_PHYSICAL
    )
    assert facts(paged) == (NOWHERE, True, False, False, True, 0x7C08)


def test_what_a_backend_looks_up_for_itself_is_a_page_fault_and_leaves_the_facts(paged: Paged) -> None:
    paged.entry(DIRECTORY + 4, NOWHERE | P | W | U)
    assert paged.run(bytes.fromhex("a1 00004000 f4")) == ExitKind.GUEST_PHYSICAL
    before = facts(paged)
    assert paged.processor.translate(0x41_2345, True, False) == -1
    assert facts(paged) == before
    assert paged.run() == ExitKind.EXCEPTION
    assert (paged.processor.exit.error_code, paged.processor.exit.fault_address) == (2, 0x41_2345)


def test_pae_tables_in_no_memory() -> None:
    bench = Pae()
    bench.quad(PAE_DIRECTORY + 8, NOWHERE | P | W)
    assert bench.run(bytes.fromhex("a1 08002000 f4")) == ExitKind.GUEST_PHYSICAL
    assert facts(bench) == (NOWHERE, True, False, False, True, 0x20_0008)
    bench.quad(POINTERS + 24, NOWHERE | P)
    assert bench.run(bytes.fromhex("0f20d8 0f22d8 a1 000020c0 f4")) == ExitKind.GUEST_PHYSICAL
    assert facts(bench) == (NOWHERE + 8, True, False, False, True, 0xC020_0000)
    bench.processor.pdptes_in_memory = 1
    bench.processor.set_cr(3, NOWHERE)
    assert bench.run(bytes.fromhex("f4")) == ExitKind.GUEST_PHYSICAL
    assert facts(bench) == (NOWHERE, True, False, False, True, 0x7C00)


def test_the_pdptes_that_mov_to_cr3_looks_for_in_no_memory_have_no_linear_address() -> None:
    bench = Pae()
    assert (
        bench.run(b"\xb8" + struct.pack("<I", NOWHERE) + bytes.fromhex("0f22d8 f4"))
        == ExitKind.GUEST_PHYSICAL
    )
    assert facts(bench) == (NOWHERE, True, False, False, True, None)
    assert (bench.processor.cr(3), bench.processor.rip) == (POINTERS, 0x7C05)
    assert not bench.processor.pdpte(3)
    assert bench.processor.pdpte(0) == PAE_DIRECTORY | P


def test_accessed_and_dirty_bits_of_a_read_only_table_are_lost_as_every_write_there(paged: Paged) -> None:
    at = paged.map(P | W)
    paged.memory.set_type(TABLE, TABLE + 0xFFF, "ram_ro")
    paged.processor.memory_changed()
    assert paged.run(STORE) == ExitKind.HLT
    assert paged.entry(at) == FRAME | P | W


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


# What ends a translation, and who faults how


@pytest.mark.parametrize(
    ("code", "forgets"),
    [
        ("0f20d8 0f22d8", False),  # CR3
        ("0f013d 00003000", True),  # INVLPG
        ("0f20e0 83e07f 0f22e0", True),  # PGE off
        ("0f20e0 83c810 0f22e0", True),  # PSE on
        ("0f20c0 0d00000100 0f22c0", True),  # WP on
    ],
)
def test_what_forgets_a_global_page(paged: Paged, code: str, forgets: bool) -> None:
    paged.processor.set_cr(4, PGE)
    paged.map(P | W | G)
    for frame, byte in ((FRAME, b"\x01"), (FRAME + 0x1000, b"\x02")):
        paged.write(frame + 4, byte)
    assert paged.run(LOAD) == ExitKind.HLT
    paged.map(P | W | G, frame=FRAME + 0x1000)
    assert paged.run(bytes.fromhex(code) + LOAD) == ExitKind.HLT
    assert paged.processor.gpr(EAX) & 0xFF == (2 if forgets else 1)


def test_a20_masks_what_paging_makes(paged: Paged) -> None:
    paged.map(P | W)
    paged.write(FRAME + 4, b"\x01")
    paged.write((FRAME & ~0x100000) + 4, b"\x02")
    paged.write(TABLE & ~0x100000, paged.memory.read(TABLE, 0x1000))
    paged.write(DIRECTORY & ~0x100000, paged.memory.read(DIRECTORY, 0x1000))
    paged.pins[0x200] = 0
    paged.processor.sample_pins()
    assert paged.run(LOAD) == ExitKind.HLT
    assert paged.processor.gpr(EAX) & 0xFF == 2


def test_the_processors_own_access_to_a_table_faults_as_a_supervisors(paged: Paged) -> None:
    p = paged.processor
    p.set_gdtr(PAGE, 0xFF)  # not mapped
    paged.map(P | W | U, page=0x7000, frame=0x7000)
    paged.user()
    p.set_gpr(EAX, 0x20)
    assert paged.faults(bytes.fromhex("8ed8")) == (0, PAGE + 0x20)
    p.set_idtr(PAGE, 0x7FF)
    assert paged.faults(bytes.fromhex("cd21")) == (0, PAGE + 0x21 * 8)


def test_a_load_of_an_accessed_bit_needs_a_table_that_can_be_written(paged: Paged) -> None:
    p = paged.processor
    p.set_cr(0, PG | WP | 0x11)
    paged.map(P)  # read-only
    paged.write(FRAME + 0x20, struct.pack("<HHBBBB", 0xFFFF, 0, 0, 0x92, 0xCF, 0))
    p.set_gdtr(PAGE, 0xFF)
    p.set_gpr(EAX, 0x20)
    assert paged.faults(bytes.fromhex("8ed8")) == (3, PAGE + 0x25)
    paged.write(FRAME + 0x25, b"\x93")  # accessed already: nothing to write
    assert paged.run(bytes.fromhex("8ed8 f4")) == ExitKind.HLT


def test_a_page_fault_has_no_effect_on_what_it_interrupts(paged: Paged) -> None:
    paged.map(P)  # read-only for ring 3
    paged.map(P | U, page=PAGE + 0x1000)
    paged.user()
    paged.processor.rflags = 0x8D7
    before = paged.registers()
    for code, address in (
        ("010504103000", PAGE + 0x1004),
        ("0fb10d04103000", PAGE + 0x1004),
        ("0fc10d04103000", PAGE + 0x1004),
    ):
        assert paged.faults(bytes.fromhex(code)) == (7, address)
        assert paged.registers() == before
        assert paged.processor.rflags & 0x8D5 == 0x8D5


# What the TLB holds


def misses(paged: Paged, code: bytes) -> int:
    """How many pages are looked up while `code` runs."""
    before = paged.processor.statistics["tlb_misses"]
    assert paged.run(code) == ExitKind.HLT
    return int(paged.processor.statistics["tlb_misses"]) - before


def walk(first: int, count: int) -> bytes:
    """Load a byte from each of `count` pages."""
    touch = "8a06 81c600100000 49 75f5 f4"  # MOV AL, [ESI] / ADD ESI, 4096 / DEC ECX / JNZ
    return b"\xbe" + struct.pack("<I", first) + b"\xb9" + struct.pack("<I", count) + bytes.fromhex(touch)


def test_a_working_set_of_16_mib_is_looked_up_once(paged: Paged) -> None:
    table = TABLE + 0x1000
    for i in range(1024):
        paged.entry(table + 4 * i, FRAME | P)
    for region in range(4):
        paged.entry(DIRECTORY + 4 * (region + 4), table | P)
    pages = 4096 - 16  # those at the end would share their entries with the code's
    assert misses(paged, walk(0x1010000, pages)) >= pages
    assert misses(paged, walk(0x1010000, pages)) == 0


def test_an_entry_that_is_now_a_global_pages_and_now_not_is_kept_as_what_it_is(paged: Paged) -> None:
    paged.processor.set_cr(4, PGE | PSE)
    paged.entry(TABLE + 4 * 7, 0x7000 | P | W | G)  # the code's own
    page_of_all = PAGE + (16 << 20)  # in the same entry
    paged.entry(DIRECTORY + 4 * (page_of_all >> 22), P | W | PS | G)
    paged.map(P)
    reload_cr3 = bytes.fromhex("0f20d8 0f22d8 f4")
    misses(paged, reload_cr3)
    for _ in range(3):
        for page, lost in ((PAGE, 1), (page_of_all, 0)):
            assert misses(paged, walk(page, 1)) == 1
            assert misses(paged, walk(page, 1)) == 0
            assert misses(paged, reload_cr3) == 0
            assert misses(paged, walk(page, 1)) == lost


def test_invlpg_in_a_large_page_keeps_all_others(paged: Paged) -> None:
    paged.processor.set_cr(4, PSE)
    for region in (2, 3):
        paged.entry(DIRECTORY + 4 * region, P | W | PS)  # physical 0 to 400000
    for _ in range(2):
        misses(paged, walk(0x800000, 20))
        misses(paged, walk(0xC00000, 20))
        assert misses(paged, bytes.fromhex("0f013d 0050b000 f4")) == 0
        assert misses(paged, walk(0xC00000, 20)) == 0
        assert misses(paged, walk(0x800000, 20)) == 20


@pytest.mark.parametrize(
    ("code", "pages"),
    [
        ("0f20c0 0c08 0f22c0 f4", 0),  # TS on, by MOV
        ("0f20c0 24f7 0f22c0 f4", 0),  # and off
        ("0f20e0 0c04 0f22e0 f4", 0),  # CR4.TSD on
        ("0f20e0 0c80 0f22e0 f4", 1),  # CR4.PGE on
    ],
)
def test_control_registers_that_change_no_translation_keep_them(paged: Paged, code: str, pages: int) -> None:
    paged.map(P)
    assert misses(paged, walk(PAGE, 1)) >= 1
    assert paged.run(bytes.fromhex(code)) == ExitKind.HLT
    assert misses(paged, walk(PAGE, 1)) == pages
