"""What common accesses of the chips cost in their own process: the bus, the chip, and the lines that it drives."""

import logging
import timeit
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.devices.acpi_tables import HPET_BASE
from devmodel.devices.parallel import NoPrinter
from devmodel.qtest.machine import QtestCore
from devmodel.testing import MemoryDisk

REPEATS: Final = 5
BURST: Final = 500
"""Accesses are timed in bursts that the scheduler mostly leaves whole; the fastest counts, as others work beside."""
NOBODY: Final = 0x5555  # a port without a device
POWER_MANAGEMENT: Final = 1 << 3 | 3  # device 1, function 3
IDE: Final = 1 << 3 | 1
BUS_MASTER: Final = 0xC000
"""Where its I/O block is put."""


def make_board() -> Board:
    """Return a PC with one disk, its timers running and its ACPI block in place, as firmware leaves them."""
    core = QtestCore(16 << 20)
    disk = MemoryDisk(bytearray(1 << 20))
    fittings = Fittings(memory=[(0, 16 << 20, 1)], disks=[disk], hpet=True, printer=NoPrinter())
    board = Board.build(ManualClock(), core, fittings)
    write = board.bus.pio.write
    # 8254: counter 0 in mode 2 with the longest period, counter 2 in mode 3 with one of 0x150 clocks.
    for port, value in ((0x43, 0x34), (0x40, 0), (0x40, 0), (0x43, 0xB6), (0x42, 0x50), (0x42, 0x01)):
        write(port, 1, value)
    # The master 8259A: ICW1 to ICW4, vectors from 8 on.
    for port, value in ((0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01)):
        write(port, 1, value)
    # PIIX4: PMBA at 0x600, enabled by PMREGMISC.
    for register, value in ((0x40, 0x601), (0x80, 1)):
        board.pci_config.write(POWER_MANAGEMENT << 32 | register, 4, value)
    # PIIX3 IDE: BMIBA, and the command register's I/O space and bus master.
    for register, value in ((0x20, BUS_MASTER | 1), (0x04, 5)):
        board.pci_config.write(IDE << 32 | register, 4, value)
    board.bus.memory.write(HPET_BASE + 0x10, 4, 1)  # ENABLE_CNF
    write(0xCF8, 4, 0x8000_0800)  # the ISA bridge's first register
    return board


def accesses(times: int) -> Iterator[tuple[str, float]]:
    """Yield common accesses and the µs that one takes."""
    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))  # as a server's is
    try:
        yield from _accesses(times)
    finally:
        structlog.configure(**configured)


def _accesses(times: int) -> Iterator[tuple[str, float]]:
    board = make_board()
    read, write = board.bus.pio.read, board.bus.pio.write
    load, store = board.bus.memory.read, board.bus.memory.write
    cases: dict[str, Callable[[], object]] = {
        "8254, count latched": lambda: write(0x43, 1, 0x00),
        "8254, count read": lambda: read(0x40, 1),
        "port 61h read": lambda: read(0x61, 1),
        "port 61h written": lambda: write(0x61, 1, 1),
        "8259A, mask written": lambda: write(0x21, 1, 0xFB),
        "8259A, end of interrupt": lambda: write(0x20, 1, 0x20),
        "PCI configuration, address": lambda: write(0xCF8, 4, 0x8000_0800),
        "PCI configuration, data read": lambda: read(0xCFC, 4),
        "clock chip, index": lambda: write(0x70, 1, 0x0A),
        "clock chip, register A read": lambda: read(0x71, 1),
        "IDE, sector count written": lambda: write(0x1F2, 1, 1),
        "IDE, device written": lambda: write(0x1F6, 1, 0xE0),
        "IDE, status read": lambda: read(0x1F7, 1),
        "16550A, byte sent": lambda: write(0x3F8, 1, 0x41),
        "16550A, line status read": lambda: read(0x3FD, 1),
        "16550A, interrupt enables written": lambda: write(0x3F9, 1, 0),
        "8042, status read": lambda: read(0x64, 1),
        "82077AA, main status read": lambda: read(0x3F4, 1),
        "PM timer read": lambda: read(0x608, 4),
        "fw_cfg, byte read": lambda: read(0x511, 1),
        "8259A, in-service register read": lambda: read(0x20, 1),
        "edge/level register read": lambda: read(0x4D0, 1),
        "clock chip, seconds read": lambda: write(0x70, 1, 0) or read(0x71, 1),
        "IDE, alternate status read": lambda: read(0x3F6, 1),
        "IDE, LBA written": lambda: write(0x1F3, 1, 1),
        "IDE, no drive's status read": lambda: read(0x177, 1),
        "bus master, status read": lambda: read(BUS_MASTER + 2, 1),
        "bus master, status cleared": lambda: write(BUS_MASTER + 2, 1, 6),
        "bus master, table written": lambda: write(BUS_MASTER + 4, 4, 0x1000),
        "bus master, command written": lambda: write(BUS_MASTER, 1, 8),
        "16550A, cause read": lambda: read(0x3FA, 1),
        "16550A, modem status read": lambda: read(0x3FE, 1),
        "8042, data read": lambda: read(0x60, 1),
        "8042, keyboard enabled": lambda: write(0x64, 1, 0xAE),
        "82077AA, digital output written": lambda: write(0x3F2, 1, 0x0C),
        "8237, page written": lambda: write(0x81, 1, 5),
        "8237, address written": lambda: write(0x04, 1, 5),
        "8237, mode written": lambda: write(0x0B, 1, 0x46),
        "port 92h written": lambda: write(0x92, 1, 2),
        "port 80h written": lambda: write(0x80, 1, 2),
        "fw_cfg, item selected": lambda: write(0x510, 2, 0x19),
        "PM1 status read": lambda: read(0x600, 2),
        "PM1 status cleared": lambda: write(0x600, 2, 1),
        "PM1 enables written": lambda: write(0x602, 2, 0x20),
        "parallel port, status read": lambda: read(0x379, 1),
        "parallel port, data written": lambda: write(0x378, 1, 0x41),
        "HPET, counter read": lambda: load(HPET_BASE + 0xF0, 4),
        "HPET, comparator written": lambda: store(HPET_BASE + 0x108, 4, 0x10_0000),
        "HPET, interrupt cleared": lambda: store(HPET_BASE + 0x20, 4, 1),
        "VBE, register read": lambda: read(0x1CF, 2),
        "nobody's port read": lambda: read(NOBODY, 1),
        "nobody's port written": lambda: write(NOBODY, 1, 0),
    }
    for name, access in cases.items():
        yield name, micros(access, times)


def micros(access: Callable[[], object], times: int, begin: Callable[[], object] = lambda: None) -> float:
    """Return the µs that an access takes at best, of so many; each burst follows a call of `begin`."""
    runs = timeit.repeat(access, begin, number=BURST, repeat=REPEATS * times // BURST)
    return min(runs) / BURST * 1e6
