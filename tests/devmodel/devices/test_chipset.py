"""PCI configuration, the bridges, power management, and the small ports."""

import attrs
import pytest

from devmodel.board.bus import Bus
from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.debugport import DebugConsole, DebugExit, PostCode
from devmodel.devices.i440fx import I440fx
from devmodel.devices.pci import PciBus, PciPorts
from devmodel.devices.piix3 import Piix3, Piix3Ide
from devmodel.devices.piix4pm import FREQUENCY, Piix4Pm
from devmodel.devices.pit import Pit
from devmodel.devices.port61 import Port61
from devmodel.devices.port92 import Port92
from tests.devmodel.recording_core import Core


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    types: list[tuple[int, int, str]] = attrs.field(factory=list)
    resets: list[int] = attrs.field(factory=list)
    off: list[int] = attrs.field(factory=list)
    irqs: list[Line] = attrs.field(factory=lambda: [Line() for _ in range(16)])
    sci: Line = attrs.field(factory=Line)
    piix3: Piix3 = attrs.field(init=False)
    pm: Piix4Pm = attrs.field(init=False)
    ide: Piix3Ide = attrs.field(init=False)
    i440fx: I440fx = attrs.field(init=False)
    bus: Bus = attrs.field(factory=Bus)
    ports: PciPorts = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.piix3 = Piix3(irqs=self.irqs, reset_machine=lambda: self.resets.append(1))
        self.pm = Piix4Pm(clock=self.clock, irq=self.sci, shutdown=self.off.append)
        self.i440fx = I440fx(memory_type=lambda first, last, kind: self.types.append((first, last, kind)))
        self.ide = Piix3Ide(ram=Core())
        bus = PciBus(
            {(0, 0): self.i440fx, (1, 0): self.piix3, (1, 1): self.ide, (1, 3): self.pm},
            {"pio": self.bus.pio, "memory": self.bus.memory},
        )
        self.ports = PciPorts(bus=bus, reset_control=self.piix3)

    def select(self, slot: int, function: int, register: int) -> None:
        self.ports.write(0, 4, 0x8000_0000 | slot << 11 | function << 8 | register & 0xFC)

    def get(self, slot: int, function: int, register: int, size: int = 4) -> int:
        self.select(slot, function, register)
        return self.ports.read(4 + (register & 3), size)

    def set(self, slot: int, function: int, register: int, value: int, size: int = 1) -> None:
        self.select(slot, function, register)
        self.ports.write(4 + (register & 3), size, value)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_firmware_recognises_the_machine(bench: Bench) -> None:
    assert bench.get(0, 0, 0) == 0x1237_8086
    assert bench.get(0, 0, 0x2C) == 0x1100_1AF4
    assert bench.get(1, 0, 0) == 0x7000_8086
    assert bench.get(1, 0, 0x0E, 1) == 0x80
    assert bench.get(1, 1, 0) == 0x7010_8086
    assert bench.get(1, 1, 0x08) == 0x0101_8000
    assert bench.get(1, 3, 0) == 0x7113_8086
    assert bench.get(1, 3, 0x08) == 0x0680_0003


def test_where_nothing_is_ones_are_read(bench: Bench) -> None:
    assert bench.get(2, 0, 0) == 0xFFFF_FFFF
    assert bench.get(1, 2, 0, 2) == 0xFFFF
    bench.ports.write(0, 4, 0x8001_0000)
    assert bench.ports.read(4, 4) == 0xFFFF_FFFF  # bus 1
    bench.ports.write(0, 4, 0)
    assert bench.ports.read(4, 4) == 0xFFFF_FFFF  # not enabled


def test_the_address_register_takes_double_words_only(bench: Bench) -> None:
    bench.ports.write(0, 4, 0xFFFF_FFFF)
    assert bench.ports.read(0, 4) == 0x80FF_FFFC
    bench.ports.write(0, 2, 0)
    assert bench.ports.read(0, 4) == 0x80FF_FFFC


def test_config_requests_of_the_core_say_the_same(bench: Bench) -> None:
    config = bench.ports.bus.config
    assert config.read(1 << 35 | 3 << 32 | 2, 2) == 0x7113
    config.write(1 << 35 | 0x60, 1, 0x0B)
    assert bench.get(1, 0, 0x60, 1) == 0x0B
    assert config.read(1 << 40, 4) == 0xFFFF_FFFF
    assert config.read(0x1000, 4) == 0xFFFF_FFFF


def test_read_only_bits_stay(bench: Bench) -> None:
    for register in range(0, 256, 4):
        bench.set(0, 0, register, 0xFFFF_FFFF, 4)
    assert bench.get(0, 0, 0) == 0x1237_8086
    assert bench.get(0, 0, 0x59, 1) == 0x30
    assert bench.get(0, 0, 0x5A, 1) == 0x33


@pytest.mark.parametrize(("bits", "kind"), [(1, "ram_ro"), (2, "rom_wo"), (3, "ram")])
def test_pam_says_where_reads_and_writes_go(bench: Bench, bits: int, kind: str) -> None:
    assert bench.types == []
    bench.set(0, 0, 0x59, bits << 4)
    assert bench.types == [(0xF0000, 0xFFFFF, kind)]
    bench.set(0, 0, 0x5A, bits)
    bench.set(0, 0, 0x5F, bits << 4)
    assert bench.types[1:] == [(0xC0000, 0xC3FFF, kind), (0xEC000, 0xEFFFF, kind)]
    bench.set(0, 0, 0x59, 0)
    assert bench.types[3:] == [(0xF0000, 0xFFFFF, "rom")]


def test_neighbours_are_told_in_one(bench: Bench) -> None:
    bench.set(0, 0, 0x5C, 0x3333_3333, 4)
    assert bench.types == [(0xD0000, 0xEFFFF, "ram")]
    bench.set(0, 0, 0x5C, 0x3333_3333, 4)
    assert len(bench.types) == 1


def test_reset_brings_the_firmware_back(bench: Bench) -> None:
    bench.set(0, 0, 0x58, 0x0033_3000, 4)
    bridge = bench.ports.bus.functions[0, 0]
    assert isinstance(bridge, I440fx)
    bridge.reset()
    ranges = [(0xC0000, 0xC7FFF), (0xF0000, 0xFFFFF)]
    assert bench.types == [(*r, "ram") for r in ranges] + [(*r, "rom") for r in ranges]


def test_pirqs_are_routed(bench: Bench) -> None:
    bench.piix3.set_intx(1, 0, True)
    assert not any(line.level for line in bench.irqs)
    bench.set(1, 0, 0x60, 0x0B)
    assert bench.irqs[11].level
    bench.set(1, 0, 0x60, 0x0A)
    assert (bench.irqs[11].level, bench.irqs[10].level) == (False, True)
    bench.piix3.set_pirq(0, False)
    assert not bench.irqs[10].level
    bench.set(1, 0, 0x61, 0x00)  # IRQ0 is no choice
    bench.piix3.set_pirq(1, True)
    assert not any(line.level for line in bench.irqs)


def test_two_pirqs_share_an_irq(bench: Bench) -> None:
    bench.set(1, 0, 0x60, 0x0B0B, 2)
    bench.piix3.set_pirq(0, True)
    bench.piix3.set_pirq(1, True)
    bench.piix3.set_pirq(0, False)
    assert bench.irqs[11].level


def test_port_cf9_resets(bench: Bench) -> None:
    bench.ports.write(1, 1, 0x02)
    assert bench.ports.read(1, 1) == 0x02
    assert bench.resets == []
    bench.ports.write(1, 1, 0x06)
    assert bench.resets == [1]


def test_the_pm_timer_counts(bench: Bench) -> None:
    bench.set(1, 3, 0x40, 0x601, 4)
    bench.set(1, 3, 0x80, 1)
    bench.clock.time = 10**9
    assert bench.bus.read("pio", 0x608, 4) == FREQUENCY
    bench.clock.time = 5 * 10**9
    assert bench.bus.read("pio", 0x608, 4) == 5 * FREQUENCY & 0xFF_FFFF


def test_the_pm_timer_is_read_by_bytes_and_words_as_well(bench: Bench) -> None:
    """PMTMR is three bytes and a reserved one (82371AB data sheet, Power Management I/O Registers)."""
    bench.set(1, 3, 0x40, 0x601, 4)
    bench.set(1, 3, 0x80, 1)
    bench.clock.time = 10**9
    low, middle, high, nothing = FREQUENCY.to_bytes(4, "little")
    assert [bench.bus.read("pio", 0x608 + i, 1) for i in range(4)] == [low, middle, high, nothing]
    assert bench.bus.read("pio", 0x60A, 2) == high


@pytest.mark.parametrize("base", [0x40, 0x600, 0xB000, 0x1240, 0xFF80])
def test_the_pm_block_is_where_pmbase_says(bench: Bench, base: int) -> None:
    bench.clock.time = 10**9
    bench.set(1, 3, 0x40, 0xFFFF_0000 | base, 4)
    assert bench.get(1, 3, 0x40, 4) == base | 1
    assert bench.bus.read("pio", base + 8, 4) == 0xFFFF_FFFF  # not enabled
    bench.set(1, 3, 0x80, 1)
    assert bench.bus.read("pio", base + 8, 4) == FREQUENCY
    bench.set(1, 3, 0x41, 0x22)
    assert bench.bus.read("pio", base + 8, 4) == 0xFFFF_FFFF
    assert bench.bus.read("pio", (base & 0xC0 | 0x2200) + 8, 4) == FREQUENCY
    bench.set(1, 3, 0x80, 0)
    assert bench.bus.read("pio", (base & 0xC0 | 0x2200) + 8, 4) == 0xFFFF_FFFF


def test_the_timers_carry_interrupts_when_enabled(bench: Bench) -> None:
    bench.pm.write(4, 2, 1)
    bench.pm.write(2, 2, 1)
    deadline = bench.pm.deadline()
    assert deadline == -(-(1 << 23) * 10**9 // FREQUENCY)
    bench.clock.time = deadline - 1
    bench.pm.tick()
    assert not bench.sci.level
    bench.clock.time = deadline
    bench.pm.tick()
    assert bench.sci.level
    assert bench.pm.read(0, 2) == 1
    bench.pm.write(0, 2, 1)
    assert not bench.sci.level


def test_soft_off_ends_the_machine(bench: Bench) -> None:
    bench.pm.write(4, 2, 0x0001)
    bench.pm.write(4, 2, 0x2401)
    assert bench.off == []  # another sleep type
    bench.pm.write(4, 2, 0x2001)
    assert bench.off == [0]
    assert bench.pm.read(4, 2) == 1


def test_bits_of_pm1_control_that_act_or_are_reserved_read_as_zeros(bench: Bench) -> None:
    """290562-001, 7.2.3: GBL_RLS and SUS_EN are write-only; 15, 14 and 9 to 3 are reserved."""
    bench.pm.write(4, 2, 0xDFFF)
    assert bench.pm.read(4, 4) == 0x1C03
    bench.pm.write(5, 1, 0)
    assert bench.pm.read(4, 2) == 0x0003
    assert bench.off == []


def test_smm_looks_initialised_and_the_apm_ports_read_back(bench: Bench) -> None:
    assert bench.get(1, 3, 0x58) & 0x0200_0000
    bench.pm.apm.write(0, 1, 0x12)
    bench.pm.apm.write(1, 1, 0x34)
    assert (bench.pm.apm.read(0, 1), bench.pm.apm.read(1, 1)) == (0x12, 0x34)


def test_seabios_calibrates_with_port_61(bench: Bench) -> None:
    pit = Pit(clock=bench.clock, irq=Line())
    port = Port61(clock=bench.clock, timer=pit)
    port.write(0, 1, 1)
    pit.write(3, 1, 0xB0)
    pit.write(2, 1, 0x10)
    pit.write(2, 1, 0x00)
    assert port.read(0, 1) & 0x2F == 0x01
    bench.clock.time = 18 * 10**9 // 1193182
    assert port.read(0, 1) & 0x20 == 0x20


def test_the_refresh_bit_toggles_each_fifteen_microseconds(bench: Bench) -> None:
    port = Port61(clock=bench.clock, timer=Pit(clock=bench.clock, irq=Line()))
    bits = []
    for time in (0, 15_000, 15_090, 30_180):
        bench.clock.time = time
        bits.append(port.read(0, 1) >> 4 & 1)
    assert bits == [0, 0, 1, 0]


def test_port_92_has_a20_and_a_reset_on_the_edge() -> None:
    resets: list[int] = []
    a20 = Line(level=True)
    port = Port92(a20=a20, reset_processor=lambda: resets.append(1))
    assert port.read(0, 1) == 0  # the other master has opened it
    port.write(0, 1, 2)
    assert a20.level
    assert port.read(0, 1) == 2
    port.write(0, 1, 0)
    assert not a20.level
    port.write(0, 1, 3)
    port.write(0, 1, 3)
    assert resets == [1]


def test_debug_ports() -> None:
    put: list[int] = []
    codes: list[int] = []
    console = DebugConsole(put=put.append)
    console.write(0, 1, 0x41)
    assert (console.read(0, 1), put) == (0xE9, [0x41])
    DebugExit(shutdown=codes.append).write(0, 4, 0x10)
    assert codes == [0x21]
    post = PostCode()
    post.write(0, 1, 0x55)
    assert post.read(0, 1) == 0x55


# -- every double word: what it is at power-on, after ones were written, and after zeros ---------------------

HOST = {  # 82441FX, 290549-001, 3.2
    0x00: (0x1237_8086, 0x1237_8086, 0x1237_8086),
    0x04: (0x0280_0006, 0x0280_0146, 0x0280_0006),
    0x08: (0x0600_0002,) * 3,
    0x0C: (0x0000_0000, 0x0000_F800, 0x0000_0000),  # MLT
    0x2C: (0x1100_1AF4,) * 3,
    0x3C: (0x0000_0000, 0x0000_00FF, 0x0000_0000),
    0x50: (0x8000_0000, 0xFFFF_FF7F, 0x0000_0000),  # PMCCFG, DETURBO, DBC
    0x54: (0x0100_0000, 0x77FF_FFFF, 0x0000_0000),  # AXC, DRT, DRAMC
    0x58: (0x0000_0010, 0x3333_307F, 0x0000_0000),  # DRAMT, PAM0 to PAM2
    0x5C: (0x0000_0000, 0x3333_3333, 0x0000_0000),  # PAM3 to PAM6
    0x60: (0x0101_0101, 0xFFFF_FFFF, 0x0000_0000),  # DRB0 to DRB3
    0x64: (0x0101_0101, 0xFFFF_FFFF, 0x0000_0000),
    0x68: (0x0000_0000, 0x0000_00C0, 0x0000_0000),  # FDHC
    0x70: (0x0002_1000, 0x003A_1FF8, 0x0012_0000),  # MTT, CLT, SMRAM, whose lock stays
    0x90: (0x0000_0000, 0x0E00_00FB, 0x0000_0000),  # ERRCMD, ERRSTS, TRC
}
ISA = {  # 82371SB function 0, 290550-002, 2.2
    0x00: (0x7000_8086,) * 3,
    0x04: (0x0200_0007, 0x0200_010F, 0x0200_0007),
    0x08: (0x0601_0000,) * 3,
    0x0C: (0x0080_0000,) * 3,
    0x2C: (0x1100_1AF4,) * 3,
    0x3C: (0x0000_0000, 0x0000_00FF, 0x0000_0000),
    0x4C: (0x0003_004D, 0x01FF_00FF, 0x0000_0000),  # IORT, XBCS
    0x60: (0x8080_8080, 0x8F8F_8F8F, 0x0000_0000),  # PIRQRCA to PIRQRCD
    0x68: (0x0000_0200, 0x8097_FA00, 0x0000_0000),  # TOM, MSTAT
    0x70: (0x0000_0080, 0x0000_00CF, 0x0000_0000),  # MBIRQ0
    0x74: (0x0C0C_0000, 0x8F8F_0000, 0x0000_0000),  # MBDMA
    0x78: (0x0000_0002, 0x0000_FFFF, 0x0000_0000),  # PCSC
    0x80: (0x0000_0000, 0x000F_007F, 0x0000_0000),  # APICBASE, DLC
    0xA0: (0x0000_0008, 0x01FF_001F, 0x0000_0000),  # SMICNTL, SMIEN
    0xA4: (0x0000_0000, 0xE000_FFFB, 0x0000_0000),  # SEE
    0xA8: (0x0000_000F, 0x0000_00FF, 0x0000_0000),  # FTMR, SMIREQ
    0xAC: (0x0000_0000, 0x00FF_00FF, 0x0000_0000),  # CTLTMR, CTHTMR
}
IDE = {  # 82371SB function 1, 290550-002, 2.3
    0x00: (0x7010_8086,) * 3,
    0x04: (0x0280_0001, 0x0280_0005, 0x0280_0000),
    0x08: (0x0101_8000,) * 3,
    0x0C: (0x0000_0000, 0x0000_F000, 0x0000_0000),  # MLT
    0x20: (0x0000_0001, 0xFFFF_FFF1, 0x0000_0001),  # BMIBA, see piix3.py
    0x2C: (0x1100_1AF4,) * 3,
    0x3C: (0x0000_0000, 0x0000_00FF, 0x0000_0000),
    0x40: (0x8000_8000, 0xF3FF_F3FF, 0x0000_0000),  # IDETIM, see piix3.py
    0x44: (0x0000_0000, 0x0000_00FF, 0x0000_0000),  # SIDETIM
}
PM = {  # 82371AB function 3, 290562-001, 7.1
    0x00: (0x7113_8086,) * 3,
    0x04: (0x0280_0000, 0x0280_0001, 0x0280_0000),
    0x08: (0x0680_0003,) * 3,
    0x2C: (0x1100_1AF4,) * 3,
    0x3C: (0x0000_0100, 0x0000_01FF, 0x0000_0100),
    0x40: (0x0000_0001, 0x0000_FFC1, 0x0000_0001),  # PMBASE
    0x58: (0x0200_0000, 0xFFFF_FFFF, 0x0000_0000),  # DEVACTB, see piix4pm.py
    0x80: (0x0000_0000, 0x0000_0001, 0x0000_0000),  # PMREGMISC
    0x90: (0x0000_0001, 0x0000_FFF1, 0x0000_0001),  # SMBBA
    0xD0: (0x0000_0000, 0xFF0F_0000, 0x0000_0000),  # SMBHSTCFG, SMBSLVC
    0xD4: (0x0000_0000, 0x0000_FFFF, 0x0000_0000),  # SMBSHDW1, SMBSHDW2
}
# Counters, traps and resources of devices keep what is written.
PM |= dict.fromkeys((*range(0x44, 0x58, 4), *range(0x5C, 0x80, 4)), (0x0000_0000, 0xFFFF_FFFF, 0x0000_0000))
FUNCTIONS = {(0, 0): HOST, (1, 0): ISA, (1, 1): IDE, (1, 3): PM}


@pytest.mark.parametrize("at", FUNCTIONS, ids=["82441FX", "82371SB", "82371SB IDE", "82371AB PM"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_double_word_reads_and_writes_as_the_data_sheet_says(
    bench: Bench, at: tuple[int, int], size: int
) -> None:
    for register in range(0, 256, 4):
        wanted = FUNCTIONS[at].get(register, (0, 0, 0))
        found = [bench.get(*at, register)]
        for value in (0xFFFF_FFFF, 0):
            for offset in range(0, 4, size):
                bench.set(*at, register + offset, value & (1 << 8 * size) - 1, size)
            found.append(bench.get(*at, register))
        assert tuple(found) == wanted, f"{register:02x}: {[hex(value) for value in found]}"


def test_smram_that_is_locked_is_closed_and_stays_so_until_power_on(bench: Bench) -> None:
    """82441FX, 290549-001, SMRAM: DLCK clears DOPEN, and makes both bits read only until a power-on reset."""
    bench.set(0, 0, 0x72, 0x4A)
    assert bench.get(0, 0, 0x72, 1) == 0x4A
    bench.set(0, 0, 0x72, 0x5A)
    assert bench.get(0, 0, 0x72, 1) == 0x1A
    bench.set(0, 0, 0x72, 0x62)
    assert bench.get(0, 0, 0x72, 1) == 0x32
    bench.i440fx.reset()
    bench.set(0, 0, 0x72, 0x4A)
    assert bench.get(0, 0, 0x72, 1) == 0x4A


def test_what_is_behind_the_pm_timer_reads_back_and_a_status_is_cleared_by_ones(bench: Bench) -> None:
    """82371AB, 290562-001, 7.2."""
    for offset, default, ones in (
        *((0x0C, 0, 0x0F01_0000), (0x10, 0, 0x0002_3E1E), (0x14, 0, 0), (0x18, 0, 0), (0x1C, 0, 0)),
        *((0x20, 0, 0x8D87), (0x24, 0, 0), (0x28, 0, 0x0701_FF07), (0x2C, 0, 0x1FFF_FFFF)),
        *((0x30, 0, 0), (0x34, 0x7FFF_BFFF, 0x7FFF_FFFF)),
    ):
        assert bench.pm.read(offset, 4) == default
        bench.pm.write(offset, 4, 0xFFFF_FFFF)
        assert bench.pm.read(offset, 4) == ones
        assert bench.pm.read(offset, 1) == ones & 0xFF


@pytest.mark.parametrize(
    ("timing", "io", "decoded"),
    [
        (0x8000_8000, 1, [True, True]),
        (0x8000_0000, 1, [False, True]),
        (0x0000_8000, 1, [True, False]),
        (0x0000_0000, 1, [False, False]),
        (0x8000_8000, 0, [False, False]),
    ],
)
def test_both_decode_bits_of_ide_have_an_effect(
    bench: Bench, timing: int, io: int, decoded: list[bool]
) -> None:
    """82371SB, 290550-002: IDETIM bit 15 of each channel, and I/O Space Enable of both."""
    seen = [True, True]
    bench.ide.connect(*(lambda value, n=n: seen.__setitem__(n, value) for n in range(2)))
    bench.set(1, 1, 0x40, timing, 4)
    bench.set(1, 1, 0x04, io, 2)
    assert seen == decoded


def test_the_bus_masters_are_where_bmiba_says(bench: Bench) -> None:
    bench.set(1, 1, 0x20, 0xC001, 4)
    bench.bus.write("pio", 0xC004, 4, 0x1234)
    bench.bus.write("pio", 0xC00C, 4, 0x5678)
    assert (bench.bus.read("pio", 0xC004, 4), bench.bus.read("pio", 0xC00C, 4)) == (0x1234, 0x5678)
    bench.set(1, 1, 0x20, 0xFFA1, 4)
    assert (bench.bus.read("pio", 0xC004, 4), bench.bus.read("pio", 0xFFA4, 4)) == (0xFFFF_FFFF, 0x1234)
    bench.set(1, 1, 0x04, 0, 2)
    assert bench.bus.read("pio", 0xFFA4, 4) == 0xFFFF_FFFF
