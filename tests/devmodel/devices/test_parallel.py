"""The parallel port and its printer: the registers and the handshake of the AT's adapter."""

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.parallel import ACK_NS, BUSY_NS, NoPrinter, Parallel, Reg

READY = 0x80 | 0x40 | 0x10 | 0x08 | 0x07
STROBE, INIT, SELECT, IRQ = 0x01, 0x04, 0x08, 0x10


@attrs.define
class Paper:
    printed: bytearray = attrs.field(factory=bytearray)
    full: bool = False
    broken: bool = False

    def room(self) -> bool:
        return not self.full

    def failing(self) -> bool:
        return self.broken

    def put(self, byte: int) -> None:
        self.printed.append(byte)


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    edges: list[bool] = attrs.field(factory=list)
    paper: Paper = attrs.field(factory=Paper)
    rearmed: int = 0
    port: Parallel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.port = Parallel(
            clock=self.clock, irq=Line([self.edges.append]), printer=self.paper, rearm=self._count
        )
        self.out(Reg.CONTROL, INIT | SELECT)

    def _count(self) -> None:
        self.rearmed += 1

    def out(self, register: int, value: int) -> None:
        self.port.write(register, 1, value)

    def into(self, register: int) -> int:
        return self.port.read(register, 1)

    def strobe(self, byte: int, control: int = INIT | SELECT) -> None:
        self.out(Reg.DATA, byte)
        self.out(Reg.CONTROL, control | STROBE)
        self.out(Reg.CONTROL, control)

    def wait(self, ns: int) -> None:
        self.clock.advance(ns)
        self.port.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_data_and_control_read_back_and_the_status_does_not_change_by_writing(bench: Bench) -> None:
    bench.out(Reg.DATA, 0xAA)
    bench.out(Reg.CONTROL, 0xEC)
    bench.out(Reg.STATUS, 0x00)
    assert [bench.into(register) for register in range(3)] == [0xAA, READY, 0xEC]
    bench.out(Reg.CONTROL, 0x3C)
    assert bench.into(Reg.CONTROL) == 0xFC, "there is no direction bit"


def test_a_byte_is_printed_with_busy_and_acknowledge(bench: Bench) -> None:
    bench.strobe(0x41)
    assert bench.into(Reg.STATUS) == READY & ~0x80
    bench.wait(BUSY_NS - 1)
    assert (bench.into(Reg.STATUS), bench.paper.printed) == (READY & ~0x80, b"")
    bench.wait(1)
    assert (bench.into(Reg.STATUS), bench.paper.printed) == (READY & ~0xC0, b"A")
    bench.wait(ACK_NS)
    assert bench.into(Reg.STATUS) == READY
    assert bench.port.deadline() is None
    assert bench.edges == []


def test_the_interrupt_comes_at_the_end_of_the_acknowledgement(bench: Bench) -> None:
    bench.strobe(0x41, INIT | SELECT | IRQ)
    bench.wait(BUSY_NS)
    assert bench.edges == []
    bench.wait(ACK_NS)
    assert bench.edges == [True]
    assert bench.into(Reg.STATUS) == READY
    assert bench.edges == [True, False]
    bench.strobe(0x42, INIT | SELECT | IRQ)
    bench.wait(BUSY_NS + ACK_NS)
    bench.wait(ACK_NS)
    bench.out(Reg.CONTROL, INIT | SELECT)
    assert bench.edges == [True, False, True, False]


def test_only_the_edge_of_the_strobe_prints(bench: Bench) -> None:
    bench.out(Reg.DATA, 0x41)
    for _ in range(3):
        bench.out(Reg.CONTROL, INIT | SELECT | STROBE)
        bench.wait(10 * BUSY_NS)
        bench.wait(10 * ACK_NS)
    assert bench.paper.printed == b"A"


def test_a_byte_that_is_strobed_while_the_printer_is_busy_is_lost(bench: Bench) -> None:
    bench.strobe(0x41)
    bench.strobe(0x42)
    bench.wait(BUSY_NS + ACK_NS)
    bench.wait(ACK_NS)
    assert bench.paper.printed == b"A"


def test_resetting_the_printer_forgets_the_byte_and_it_is_busy_meanwhile(bench: Bench) -> None:
    bench.strobe(0x41)
    bench.out(Reg.CONTROL, SELECT)
    assert bench.into(Reg.STATUS) == READY & ~0x80
    bench.out(Reg.CONTROL, INIT | SELECT)
    bench.wait(10 * BUSY_NS)
    assert (bench.into(Reg.STATUS), bench.paper.printed) == (READY, b"")


def test_a_printer_without_room_is_busy_until_it_has_some(bench: Bench) -> None:
    bench.paper.full = True
    assert bench.into(Reg.STATUS) == READY & ~0x80
    bench.strobe(0x41)
    bench.wait(10 * BUSY_NS)
    assert (bench.into(Reg.STATUS), bench.port.deadline()) == (READY & ~0x80, None)
    bench.paper.full = False
    bench.port.ready()
    assert (bench.paper.printed, bench.rearmed) == (b"A", 1)
    bench.wait(ACK_NS)
    assert bench.into(Reg.STATUS) == READY


def test_a_printer_that_cannot_print_is_out_of_paper(bench: Bench) -> None:
    bench.paper.broken = True
    assert bench.into(Reg.STATUS) == 0x40 | 0x20 | 0x07
    bench.strobe(0x41)
    bench.wait(10 * BUSY_NS)
    bench.paper.broken = False
    bench.port.ready()
    assert bench.paper.printed == b"A"


def test_without_a_printer_everything_is_taken() -> None:
    printer = NoPrinter()
    printer.put(0x41)
    assert (printer.room(), printer.failing()) == (True, False)


def test_a_reset_is_power_on(bench: Bench) -> None:
    bench.strobe(0x41, INIT | IRQ)
    bench.port.reset()
    assert [bench.into(register) for register in range(3)] == [0, READY, 0xE4]
