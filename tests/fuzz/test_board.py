"""A hostile guest at every register of a whole board: no exception, no hang, no growth of memory.

`DEVMODEL_BOARD_FUZZ=3000000` makes that many accesses; the suite makes some thousands.
"""

import gc
import os
import random
import tracemalloc

import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.device import ONES
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.board.stepping import step
from devmodel.devices.diskette import Bay
from devmodel.devices.mmc import Tray
from devmodel.devices.parallel import NoPrinter
from devmodel.qtest.machine import QtestCore
from devmodel.testing import MemoryDisk

ACCESSES = int(os.environ.get("DEVMODEL_BOARD_FUZZ", "20000"))
MEMORY = 4 << 20
GROWTH = 4 << 20
"""Bytes that tables which are filled as addresses are met may take."""
MOST_TIME = 3_000_000  # ns between two accesses


def make() -> tuple[Board, QtestCore, ManualClock]:
    core, clock = QtestCore(MEMORY), ManualClock()
    fittings = Fittings(
        memory=core.e820,
        disks=[
            MemoryDisk(bytearray(512 * 256)), MemoryDisk(bytearray(512 * 64), readonly=True),
            Tray(MemoryDisk(bytearray(2048 * 64), readonly=True)), None,
        ],
        floppies=[Bay("1.44M", MemoryDisk(bytearray(512 * 2880)))],
        serial=[False, True, False, False],
        printer=NoPrinter(),
        hpet=True,
    )  # fmt: skip
    return Board.build(clock, core, fittings), core, clock


class Guest:
    """Accesses at random, most of them where something is, and values that mean something more often than not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.board, self.core, self.clock = make()
        self.board.uart.transmit = lambda _: None
        self.log: list[str] = []

    def run(self, accesses: int) -> None:
        for _ in range(accesses):
            self.access()
            if self.random.random() < 0.2:
                end = self.clock.now() + self.random.randrange(MOST_TIME)
                step(self.clock, self.board.timed, end)
            if self.core.wants_reset:
                self.core.wants_reset = False
                self.board.reset()

    def access(self) -> None:
        choose = self.random
        space = self.board.bus.pio if choose.random() < 0.85 else self.board.bus.memory
        mapping = choose.choice(space.mappings)
        address = choose.randint(mapping.first, min(mapping.last, mapping.first + 0x2_0000))
        if choose.random() < 0.02:
            address = choose.randrange(1 << 16)
        size = choose.choice((1, 1, 1, 2, 4) if space is self.board.bus.pio else (1, 2, 4, 8))
        if choose.random() < 0.5:
            self.log.append(f"{space.name} read {address:#x} {size}")
            value = space.read(address, size)
            assert 0 <= value <= ONES[size], self.log[-1]
        else:
            value = (
                choose.choice((0, 1, 0x80, 0xFF, choose.getrandbits(8), choose.getrandbits(8 * size)))
                & ONES[size]
            )
            self.log.append(f"{space.name} write {address:#x} {size} {value:#x}")
            space.write(address, size, value)
        del self.log[:-20]


@pytest.mark.parametrize("seed", range(4))
def test_a_board_stands_any_access_at_any_time_without_an_exception_or_growth(seed: int) -> None:
    guest = Guest(seed)
    try:
        guest.run(ACCESSES // 8)  # what is filled once is filled
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        guest.run(ACCESSES // 8)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    except Exception as error:
        raise AssertionError("\n".join([f"seed {seed}", *guest.log])) from error
    finally:
        tracemalloc.stop()
        guest.core.close()
    assert grown < GROWTH


class Asking(Guest):
    """Asks all chips for their deadlines after each access and each tick: what nothing has touched is as before."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rearmed = False
        self.board.rearm = self.rearm

    def rearm(self) -> None:
        self.rearmed = True

    def deadlines(self) -> list[int | None]:
        return [chip.deadline() for chip in self.board.timed]

    def compare(self, before: list[int | None], touched: int, what: str) -> None:
        if not self.rearmed:
            for n, (chip, was, now) in enumerate(
                zip(self.board.timed, before, self.deadlines(), strict=True)
            ):
                assert touched >> n & 1 or now == was, f"{what} moves the deadline of {type(chip).__name__}"

    def access(self) -> None:
        before, self.rearmed = self.deadlines(), False
        self.board.bus.take_touched()
        if self.random.random() < 0.05:
            vector = self.board.acknowledge()
            self.log.append(f"acknowledge {vector}")
        else:
            super().access()
        self.compare(before, self.board.bus.take_touched(), self.log[-1])
        for n, chip in enumerate(self.board.timed):
            before, self.rearmed = self.deadlines(), False
            chip.tick()
            if self.board.alone >> n & 1:
                self.compare(before, 1 << n, f"a tick of {type(chip).__name__}")


@pytest.mark.parametrize("seed", range(2))
def test_an_access_and_a_tick_move_the_deadlines_of_the_chips_that_they_concern_alone(seed: int) -> None:
    guest = Asking(seed)
    try:
        guest.run(ACCESSES // 4)
    finally:
        guest.core.close()
