"""What common accesses of the chips cost in their own process: the bus, the chip, and the lines that it drives."""

import logging
import timeit
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.qtest.machine import QtestCore
from devmodel.testing import MemoryDisk

REPEATS: Final = 5
PART: Final = 10
"""The times that are asked for are taken in so many parts, of which the fastest counts: others are at work beside."""
NOBODY: Final = 0x5555
POWER_MANAGEMENT: Final = 1 << 3 | 3


def make_board() -> Board:
    """Return a PC with one disk, its timers running and its ACPI block in place, as firmware leaves them."""
    core = QtestCore(16 << 20)
    disk = MemoryDisk(bytearray(1 << 20))
    fittings = Fittings(memory=[(0, 16 << 20, 1)], disks=[disk])
    board = Board.build(ManualClock(), core, fittings)
    write = board.bus.pio.write
    for port, value in ((0x43, 0x34), (0x40, 0), (0x40, 0), (0x43, 0xB6), (0x42, 0x50), (0x42, 0x01)):
        write(port, 1, value)
    for port, value in ((0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01)):
        write(port, 1, value)
    for register, value in ((0x40, 0x601), (0x80, 1)):
        board.pci_config.write(POWER_MANAGEMENT << 32 | register, 4, value)
    write(0xCF8, 4, 0x8000_0800)
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
        "nobody's port read": lambda: read(NOBODY, 1),
        "nobody's port written": lambda: write(NOBODY, 1, 0),
    }
    for name, access in cases.items():
        runs = timeit.repeat(access, number=times // PART, repeat=REPEATS * PART)
        yield name, min(runs) / (times // PART) * 1e6
