"""QEMU's `pc` and our board by the same qtest commands: bridges, bus master, floppy drive and parallel port.

Known disagreements, in which the data sheet wins:

* Configuration space: QEMU takes every bit of what is behind 40h, and INTx disable and parity of a PIIX3; its bridges
  begin with memory and mastering off, and its IDE and PM functions with a memory space enable. Only bits that the data
  sheet has are written here.
* PAM: QEMU's qtest writes through to RAM that is enabled for reads only (its own i440fx test leaves that out, too).
* CONFADD (CF8h): QEMU keeps bits 1 and 0, and its reserved bits.
* Bus master: behind a command, QEMU's drive shows the sector after the last one (ATA-3: the last one itself). A
  table that is too short moves nothing in QEMU, and leaves its drive idle; by the data sheet what fits is moved, and
  the drive goes on asking. So tables are long enough here.
* Diskettes: QEMU does not count a sector that terminal count cuts short, takes one that no track has for the end of the
  cylinder, has no head in ST0 behind SEEK, and behind a cylinder's last sector has sought the next one, head 0. Its
  READ ID wants time, which stands still. So whole sectors that are there are read and written, SEEK is for head 0, and
  a transfer's ST0 is compared without head and SE.
* Parallel port: QEMU's status has a time-out in bit 0 and zeros in bits 1 and 2, and is busy behind a strobe until that
  is read; bit 5 of its control register makes the data register an input, as in a PS/2.
"""

import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.devices.diskette import Bay
from devmodel.devices.parallel import NoPrinter
from devmodel.qtest.machine import QtestCore
from devmodel.qtest.server import Qtest
from devmodel.testing.bench import MemoryDisk
from tests.conformance.test_against_qemu import QEMU, Qemu

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed: it is the oracle here"),
]
SECTORS = 64
MEMORY = 16 << 20
WIDTHS = {1: "b", 2: "w", 4: "l"}
MS = 10**6
BSY, DRQ = 0x80, 0x08


@attrs.define
class Machines:
    """QEMU and our board; each command goes to both."""

    qemu: Qemu
    ours: Qtest
    log: list[str] = attrs.field(factory=list)

    def ask(self, command: str) -> tuple[int, int]:
        """What QEMU says, and what ours says."""
        theirs = self.qemu.ask(command)
        ours = self._ask_ours(command)
        self.log.append(f"{command}: {theirs:#x} {ours:#x}")
        return theirs, ours

    def _ask_ours(self, command: str) -> int:
        for _ in self.ours.perform(command.encode()):
            pass
        words = self.ours.take().decode().split()
        assert words[0] == "OK", f"{command}: {words}"
        return int(words[1], 0) if len(words) > 1 else 0

    def same(self, command: str, mask: int = -1) -> int:
        theirs, ours = self.ask(command)
        assert theirs & mask == ours & mask, "\n".join(self.log[-40:])
        return ours

    def out(self, port: int, value: int, size: int = 1) -> None:
        self.same(f"out{WIDTHS[size]} {port:#x} {value:#x}")

    def inp(self, port: int, size: int = 1, mask: int = -1) -> int:
        return self.same(f"in{WIDTHS[size]} {port:#x}", mask)

    def store(self, address: int, data: bytes) -> None:
        self.same(f"write {address:#x} {len(data)} 0x{data.hex()}")

    def configure(self, function: int, register: int, value: int, size: int = 4) -> None:
        """Write a register of a function of slots 0 and 1, which are numbered as in a configuration address."""
        self.out(0xCF8, 0x8000_0000 | function << 8 | register & 0xFC, 4)
        self.out(0xCFC + (register & 3), value, size)

    def let_pass(self, ns: int) -> None:
        """Let time pass in ours; QEMU's stands still."""
        self._ask_ours(f"clock_step {ns}")

    def until_idle(self) -> None:
        """Wait for both drives: QEMU's work in its time, and ours in its own."""
        self.let_pass(100 * MS)
        end = time.monotonic() + 60
        while self.qemu.ask("inb 0x3f6") & (BSY | DRQ):
            assert time.monotonic() < end, "QEMU's drive does not come to an end"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    image, diskette = tmp_path / "disk.img", tmp_path / "diskette.img"
    image.write_bytes(bytes(SECTORS * 512))
    diskette.write_bytes(bytes(2880 * 512))
    core, clock = QtestCore(MEMORY), ManualClock()
    fittings = Fittings(
        memory=core.e820,
        disks=[MemoryDisk(bytearray(image.read_bytes()))],
        floppies=[Bay("1.44M", MemoryDisk(bytearray(diskette.read_bytes())))],
        printer=NoPrinter(),
    )
    ours = Qtest(Board.build(clock, core, fittings), core, clock)
    options = (
        *("-machine", "pc", "-m", "16M", "-parallel", "null"),
        *("-drive", f"file={image},format=raw,if=ide", "-drive", f"file={diskette},format=raw,if=floppy"),
    )
    with Qemu(options) as qemu:
        yield Machines(qemu, ours)


HOST, PIIX3, IDE, PM = 0x00, 0x08, 0x09, 0x0B
REGISTERS = [
    *((function, register, 0) for function in (HOST, PIIX3, IDE, PM) for register in (0x00, 0x08, 0x2C)),
    *((HOST, register, 0x3333_3333) for register in (0x5C,)), (HOST, 0x58, 0x3333_3000),
    (PIIX3, 0x60, 0x8F8F_8F8F), (PIIX3, 0x3C, 0xFF), (IDE, 0x20, 0xFFF0), (IDE, 0x44, 0xFF), (PM, 0x3C, 0xFF),
]  # fmt: skip
"""Function, register, and the bits that both let the guest write."""


def test_configuration_space_is_read_and_written_alike(machines: Machines) -> None:
    rng = random.Random(0x1237)
    for function, register, writable in REGISTERS:
        if writable:  # what they begin with may differ
            machines.configure(function, register, 0)
    for _ in range(400):
        function, register, writable = rng.choice(REGISTERS)
        machines.out(0xCF8, 0x8000_0000 | function << 8 | register, 4)
        size = rng.choice([1, 2, 4])
        offset = rng.randrange(5 - size)
        mask = (writable or 0xFFFF_FFFF) >> 8 * offset & (1 << 8 * size) - 1
        if writable and rng.random() < 0.5:
            machines.out(0xCFC + offset, rng.getrandbits(32) & mask, size)
        machines.inp(0xCFC + offset, size, mask)
    off, no_bus, no_device, no_function = 0x0000_0000, 0x8001_0000, 0x8000_F800, 0x8000_0C00
    for address in (off, no_bus, no_device, no_function):
        machines.out(0xCF8, address, 4)
        machines.inp(0xCFC, 4)


def test_pam_lets_writes_and_reads_through_to_shadow_ram_alike(machines: Machines) -> None:
    """What is read from the bus is the firmware in QEMU, and nothing here: only RAM is read."""
    rng = random.Random(0x59)
    for _ in range(120):
        segment = rng.randrange(12)
        register, shift, address = 0x5A + segment // 2, segment % 2 * 4, 0xC_0000 + segment * 0x4000
        address += rng.randrange(0x4000)
        for enables in (3, rng.choice([0, 2, 3])):
            machines.configure(HOST, register, enables << shift, 1)
            machines.same(f"writeb {address:#x} {rng.randrange(256):#x}")
        machines.configure(HOST, register, 1 << shift, 1)
        machines.same(f"readb {address:#x}")


def test_a_bus_master_moves_what_its_table_says_alike(machines: Machines) -> None:
    """Reads and writes by tables of random regions, some longer than what the drive has, some without interrupts."""
    rng = random.Random(0x8237)
    machines.configure(IDE, 0x40, 0x8000_8000)
    machines.configure(IDE, 0x20, 0xC001)
    machines.configure(IDE, 0x04, 5, 2)
    for _ in range(60):
        count, writes, quiet = rng.choice([1, 2, 3, 8, 16]), rng.random() < 0.5, rng.random() < 0.2
        lba = rng.randrange(SECTORS - count)
        left, base, table = count * 512 + rng.choice([0, 0, 2, 1000]), 0x10_0000, b""
        while left:
            length = min(left, rng.choice([2, 512, 700, 4096, 0x1_0000]))
            left -= length
            table += struct.pack("<II", base, length & 0xFFFF | (0 if left else 1 << 31))
            base += rng.choice([length, 0x2000])
        machines.store(0x8000, table)
        machines.store(0x10_0000, rng.randbytes(base - 0x10_0000))
        machines.out(0xC002, 6)
        machines.out(0xC004, 0x8000, 4)
        machines.out(0x3F6, 2 if quiet else 0)
        for port, value in ((0x1F6, 0xE0), (0x1F2, count), (0x1F3, lba), (0x1F4, 0), (0x1F5, 0)):
            machines.out(port, value)
        machines.out(0x1F7, 0xCA if writes else 0xC8)
        machines.out(0xC000, 1 if writes else 9)
        machines.until_idle()
        for port in (0xC002, 0xC000, 0x3F6, 0x1F1, 0x1F2, 0x1F7):
            machines.inp(port)
        machines.out(0xC000, 0)
        machines.inp(0xC002)
        machines.same(f"read 0x100000 {base - 0x10_0000}")


def test_a_floppy_drive_moves_sectors_by_dma_alike(machines: Machines) -> None:
    """Reads and writes of whole sectors, over both heads or not, with what the result and the 8237 then say."""
    rng = random.Random(0x765)

    def command(*values: int) -> None:
        for value in values:
            machines.out(0x3F5, value)
        machines.let_pass(10**9)
        end = time.monotonic() + 60
        while machines.qemu.ask("inb 0x3f4") & 0xC0 == 0:
            assert time.monotonic() < end, "QEMU's controller does not come to an end"
        mask = 0xFF if values[0] == 0x08 else 0xDB
        while machines.inp(0x3F4, mask=0xD0) & 0xD0 == 0xD0:
            machines.inp(0x3F5, mask=mask)
            mask = 0xFF

    for port, value in ((0x3F2, 0x00), (0x3F2, 0x1C), (0x3F7, 0)):  # 500 kbit/s
        machines.out(port, value)
    machines.let_pass(10 * MS)
    for values in (*[(0x08,)] * 4, (0x03, 0xDF, 0x02), (0x07, 0x00), (0x08,)):
        command(*values)
    for _ in range(60):
        cylinder, head, sector, both_heads = (
            rng.randrange(80),
            rng.randrange(2),
            rng.randrange(1, 19),
            rng.randrange(2),
        )
        most = 19 - sector + (18 if both_heads and not head else 0)
        length, writes = 512 * rng.randrange(1, most + 1), rng.randrange(2)
        machines.store(0x8000, rng.randbytes(length))
        for port, value in (
            *(
                (0x0A, 0x06),
                (0x0C, 0),
                (0x0B, 0x4A if writes else 0x46),
                (0x04, 0x00),
                (0x04, 0x80),
                (0x81, 0),
            ),
            *((0x05, length - 1 & 0xFF), (0x05, length - 1 >> 8), (0x0A, 0x02)),
        ):
            machines.out(port, value)
        for values in ((0x0F, 0, cylinder), (0x08,)):
            command(*values)
        operation = (0x45 if writes else 0x46) | both_heads << 7
        command(operation, head << 2, cylinder, head, sector, 2, 18, 0x1B, 0xFF)
        machines.out(0x0C, 0)
        for port in (0x08, 0x04, 0x04, 0x05, 0x05):
            machines.inp(port)
        machines.same(f"read 0x8000 {length}")


def test_the_parallel_port_keeps_data_and_control_alike(machines: Machines) -> None:
    """As an AT's: the bits of the data register, and those of the control register that are a printer's."""
    rng = random.Random(0x378)
    machines.out(0x378, 0)
    for _ in range(100):
        machines.out(*rng.choice([(0x378, rng.randrange(256)), (0x37A, rng.randrange(32) & ~0x10)]))
        machines.inp(0x378)
        machines.inp(0x37A, mask=0xDF)
        machines.inp(0x379, mask=0x18)
