"""The 16550A: what drivers probe for, and what users of serial consoles have suffered from."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.uart import Reg, Uart


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    line: Line = attrs.field(factory=Line)
    sent: bytearray = attrs.field(factory=bytearray)
    drained: int = 0
    uart: Uart = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.uart = Uart(
            clock=self.clock, irq=self.line, transmit=self.sent.append, drained=self._count_drained
        )

    def _count_drained(self) -> None:
        self.drained += 1

    def out(self, register: int, value: int) -> None:
        self.uart.write(register, 1, value)

    def into(self, register: int) -> int:
        return self.uart.read(register, 1)

    def type(self, text: bytes) -> None:
        for byte in text:
            self.uart.receive(byte)

    def setup(self, *, ier: int = 0, fcr: int = 0) -> None:
        self.out(Reg.LCR, 3)
        self.out(Reg.MCR, 0x0B)
        self.out(Reg.IIR, fcr)
        self.out(Reg.IER, ier)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_seabios_finds_it(bench: Bench) -> None:
    bench.out(Reg.LCR, 0)
    bench.out(Reg.IER, 2)
    assert bench.into(Reg.IER) == 2
    assert bench.into(Reg.IIR) & 0x3F == 2


def test_linux_finds_a_16550a(bench: Bench) -> None:
    bench.out(Reg.IER, 0)
    assert bench.into(Reg.IER) == 0
    bench.out(Reg.IER, 0x0F)
    assert bench.into(Reg.IER) == 0x0F
    bench.out(Reg.IER, 0)
    bench.out(Reg.MCR, 0x1A)
    assert bench.into(Reg.MSR) & 0xF0 == 0x90
    bench.out(Reg.MCR, 0)
    bench.out(Reg.IIR, 1)
    assert bench.into(Reg.IIR) >> 6 == 3
    bench.out(Reg.IIR, 0)
    assert bench.into(Reg.IIR) >> 6 == 0


def test_an_idle_transmitter_interrupts_again_when_re_enabled(bench: Bench) -> None:
    bench.setup(ier=2)
    assert bench.line.level
    assert bench.into(Reg.IIR) == 2
    assert not bench.line.level
    assert bench.into(Reg.IIR) == 1
    bench.out(Reg.IER, 0)
    bench.out(Reg.IER, 2)
    assert bench.line.level
    assert bench.into(Reg.IIR) == 2


def test_the_transmitter_asks_for_more_after_each_burst(bench: Bench) -> None:
    bench.setup(ier=2, fcr=1)
    for burst in range(5):
        assert bench.into(Reg.IIR) == 0xC2
        assert not bench.line.level
        for byte in range(16):
            bench.out(Reg.DATA, burst * 16 + byte)
        assert bench.line.level
    assert bench.sent == bytes(range(80))


def test_input_while_masked_interrupts_when_unmasked(bench: Bench) -> None:
    bench.setup()
    bench.type(b"a")
    assert not bench.line.level
    bench.out(Reg.IER, 1)
    assert bench.line.level
    assert bench.into(Reg.IIR) == 4
    assert bench.into(Reg.DATA) == 0x61
    assert not bench.line.level


def test_out2_enables_the_line(bench: Bench) -> None:
    bench.setup(ier=1)
    bench.type(b"a")
    bench.out(Reg.MCR, 0x03)
    assert not bench.line.level
    assert bench.into(Reg.IIR) == 4
    bench.out(Reg.MCR, 0x0B)
    assert bench.line.level


@pytest.mark.parametrize(("fcr", "trigger"), [(0x01, 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
def test_the_fifo_interrupts_at_its_trigger(bench: Bench, fcr: int, trigger: int) -> None:
    bench.setup(ier=1, fcr=fcr)
    bench.type(b"x" * (trigger - 1))
    assert not bench.line.level
    bench.type(b"y")
    assert bench.line.level
    assert bench.into(Reg.IIR) == 0xC4
    bench.into(Reg.DATA)
    assert not bench.line.level


def test_fewer_bytes_interrupt_after_four_character_times(bench: Bench) -> None:
    bench.out(Reg.LCR, 0x83)
    bench.out(Reg.DATA, 1)
    bench.out(Reg.IER, 0)
    bench.setup(ier=1, fcr=0xC1)
    bench.type(b"ab")
    deadline = bench.uart.deadline()
    assert deadline == -(-4 * 10 * 10**9 // 115200)
    bench.clock.time = deadline - 1
    bench.uart.tick()
    assert not bench.line.level
    bench.clock.time = deadline
    bench.uart.tick()
    assert bench.line.level
    assert bench.into(Reg.IIR) == 0xCC
    assert bench.into(Reg.DATA) == 0x61
    assert not bench.line.level  # one read starts the time again
    bench.clock.advance(deadline)
    bench.uart.tick()
    assert bench.line.level
    assert bench.into(Reg.DATA) == 0x62
    assert bench.uart.deadline() is None
    assert not bench.line.level


def test_overrun_in_the_fifo_loses_the_newest(bench: Bench) -> None:
    bench.setup(ier=5, fcr=1)
    assert bench.uart.room() == 16
    bench.type(bytes(range(17)))
    assert bench.uart.room() == 0
    assert bench.into(Reg.IIR) == 0xC6
    assert bench.into(Reg.LSR) == 0x63
    assert bench.into(Reg.LSR) == 0x61
    assert [bench.into(Reg.DATA) for _ in range(16)] == list(range(16))
    assert bench.into(Reg.LSR) == 0x60


def test_overrun_without_a_fifo_keeps_the_newest(bench: Bench) -> None:
    bench.setup()
    assert bench.uart.room() == 1
    bench.type(b"ab")
    assert bench.into(Reg.LSR) == 0x63
    assert bench.into(Reg.DATA) == 0x62


def test_the_console_hears_when_all_is_read(bench: Bench) -> None:
    bench.setup(fcr=1)
    bench.type(b"ab")
    before = bench.drained
    bench.into(Reg.DATA)
    assert bench.drained == before
    bench.into(Reg.DATA)
    assert bench.drained == before + 1
    bench.type(b"c")
    bench.out(Reg.IIR, 3)
    assert bench.drained == before + 2
    assert bench.into(Reg.LSR) == 0x60


def test_loopback_sends_to_itself_and_to_nobody_else(bench: Bench) -> None:
    bench.setup(ier=1)
    bench.out(Reg.MCR, 0x18)
    assert bench.uart.room() == 0
    bench.type(b"x")
    bench.out(Reg.DATA, 0x55)
    assert bench.sent == b""
    assert bench.into(Reg.IIR) == 0x04
    assert not bench.line.level, (
        "OUT2's pin is inactive, as all are, and that is the interrupt's gate (8.6.5)"
    )
    bench.out(Reg.MCR, 0x08)
    assert bench.line.level
    assert bench.into(Reg.DATA) == 0x55


def test_modem_lines_in_loopback_leave_deltas(bench: Bench) -> None:
    bench.setup(ier=8)
    bench.out(Reg.MCR, 0x1F)
    assert bench.into(Reg.MSR) == 0xF0  # RI has only a trailing-edge delta
    bench.out(Reg.MCR, 0x18)
    assert bench.into(Reg.IIR) == 0
    assert bench.into(Reg.MSR) == 0x87
    assert bench.into(Reg.IIR) == 1
    assert bench.into(Reg.MSR) == 0x80


def test_causes_have_their_priority(bench: Bench) -> None:
    bench.setup(ier=15)
    bench.out(Reg.MCR, 0x18)
    bench.type(b"a")
    bench.out(Reg.DATA, 1)
    bench.out(Reg.DATA, 2)
    assert bench.into(Reg.IIR) == 6
    bench.into(Reg.LSR)
    assert bench.into(Reg.IIR) == 4
    bench.into(Reg.DATA)
    assert bench.into(Reg.IIR) == 2
    assert bench.into(Reg.IIR) == 0
    bench.into(Reg.MSR)
    assert bench.into(Reg.IIR) == 1


def test_divisor_and_scratch_read_back(bench: Bench) -> None:
    bench.out(Reg.LCR, 0x83)
    bench.out(Reg.DATA, 0x34)
    bench.out(Reg.IER, 0x12)
    assert (bench.into(Reg.DATA), bench.into(Reg.IER)) == (0x34, 0x12)
    bench.out(Reg.LCR, 3)
    bench.out(Reg.SCR, 0xA5)
    assert (bench.into(Reg.SCR), bench.into(Reg.IER)) == (0xA5, 0)
    assert bench.uart.state.divisor == 0x1234


@given(st.lists(st.integers(0, 255), max_size=80), st.booleans())
def test_input_fed_as_room_allows_arrives_whole(data: list[int], fifo: bool) -> None:
    bench = Bench()
    bench.setup(ier=1, fcr=0xC1 if fifo else 0)
    waiting, got = list(data), []
    while waiting or bench.into(Reg.LSR) & 1:
        while waiting and bench.uart.room():
            bench.uart.receive(waiting.pop(0))
        while bench.into(Reg.LSR) & 1:
            got.append(bench.into(Reg.DATA))
    assert got == data


def test_a_write_to_the_transmitter_makes_a_new_edge_although_nobody_read_iir(bench: Bench) -> None:
    """Table IV: a write to THR resets the interrupt, and the transmitter, empty at once, raises it again."""
    bench.setup(ier=2)
    edges: list[bool] = []
    bench.line.listeners.append(edges.append)
    assert bench.line.level
    bench.out(Reg.DATA, 0x41)
    assert edges == [False, True]
    assert bench.into(Reg.IIR) == 0x02


def test_a_timeout_that_has_struck_stays_until_the_receiver_is_read(bench: Bench) -> None:
    """Section 8.4.1: another byte does not take it back, or the line would fall and leave a spurious interrupt."""
    bench.setup(ier=1, fcr=0xC1)
    bench.type(b"a")
    bench.clock.advance(10_000_000)
    bench.uart.tick()
    assert bench.into(Reg.IIR) == 0xCC
    edges: list[bool] = []
    bench.line.listeners.append(edges.append)
    bench.type(b"b")
    assert (bench.into(Reg.IIR), edges) == (0xCC, [])
    assert bench.into(Reg.DATA) == ord("a")
    assert bench.into(Reg.IIR) == 0xC1
    bench.clock.advance(10_000_000)
    bench.uart.tick()
    assert bench.into(Reg.IIR) == 0xCC  # the second byte has a timeout of its own


def test_switching_the_fifos_makes_the_next_transmitter_interrupt_immediate(bench: Bench) -> None:
    """Section 8.4.2."""
    bench.setup(ier=2)
    assert bench.into(Reg.IIR) == 0x02
    assert bench.into(Reg.IIR) == 0x01
    bench.out(Reg.IIR, 0x01)
    assert bench.into(Reg.IIR) == 0xC2


def test_a_break_in_loopback_is_one_zero_with_the_break_indicator(bench: Bench) -> None:
    """Sections 8.3 and 8.6.4: LCR bit 6 forces the line low, and BI goes with one zero, however long that lasts."""
    bench.setup(fcr=1)
    bench.out(Reg.MCR, 0x10)
    bench.out(Reg.LCR, 0x43)
    assert bench.into(Reg.LSR) == 0xF1  # BI, an error in the FIFO, a byte, the transmitter idle
    assert bench.into(Reg.LSR) == 0x61  # reading it clears the error, not the byte
    assert bench.into(Reg.DATA) == 0
    bench.out(Reg.LCR, 0x43)
    assert bench.into(Reg.LSR) == 0x60


@pytest.mark.parametrize("error", [0x04, 0x08, 0x10])
def test_an_error_is_told_when_its_byte_is_the_next_to_be_read(bench: Bench, error: int) -> None:
    """Section 8.6.4: in FIFO mode an error belongs to its byte; bit 7 says that there is one further behind."""
    bench.setup(ier=4, fcr=1)
    bench.uart.receive(ord("a"))
    bench.uart.receive(ord("b"), error)
    assert bench.into(Reg.LSR) == 0xE1
    assert bench.into(Reg.IIR) == 0xC1
    assert bench.into(Reg.DATA) == ord("a")
    assert bench.into(Reg.IIR) == 0xC6
    assert bench.line.level
    assert bench.into(Reg.LSR) == 0xE1 | error
    assert not bench.line.level
    assert bench.into(Reg.LSR) == 0x61
    assert bench.into(Reg.DATA) == ord("b")


@pytest.mark.parametrize(("lcr", "mask"), [(0, 0x1F), (1, 0x3F), (2, 0x7F), (3, 0xFF)])
def test_bits_beyond_the_word_are_cut(bench: Bench, lcr: int, mask: int) -> None:
    """Table III, LCR bits 0 and 1: both ways."""
    bench.out(Reg.LCR, lcr)
    bench.out(Reg.DATA, 0xFF)
    assert bench.sent == bytes([mask])
    bench.uart.receive(0xFF)
    assert bench.into(Reg.DATA) == mask


def test_without_bit_0_the_other_bits_of_fcr_are_not_programmed(bench: Bench) -> None:
    """Section 8.5: the trigger stays, and nothing is cleared but by the change of bit 0 itself."""
    bench.setup(ier=1, fcr=0x81)
    bench.out(Reg.IIR, 0xC0)
    bench.type(b"x")
    bench.out(Reg.IIR, 0x02)
    assert bench.into(Reg.LSR) & 1
    assert bench.uart.state.fcr == 0x80
    assert bench.into(Reg.IIR) == 0x04  # one byte is enough without FIFOs


# -- sent at the baud rate (8.4.2, 8.6.3) ---------------------------------------------------------------------

CHARACTER = 1_041_667  # ns for ten bits at 9600 baud


@pytest.fixture
def paced() -> Bench:
    bench = Bench()
    bench.uart.paced = True
    bench.setup(ier=2)
    bench.into(Reg.IIR)
    return bench


def wait(bench: Bench, ns: int) -> None:
    """Let time pass, tick by tick."""
    end = bench.clock.time + ns
    while (deadline := bench.uart.deadline()) is not None and deadline <= end:
        bench.clock.time = deadline
        bench.uart.tick()
    bench.clock.time = end


def test_a_byte_takes_as_long_as_its_bits(paced: Bench) -> None:
    paced.out(Reg.DATA, 0x41)
    assert paced.into(Reg.LSR) == 0x20, "the shift register has it: THR is empty, the transmitter is not"
    assert paced.line.level
    wait(paced, CHARACTER - 1)
    assert (paced.sent, paced.into(Reg.LSR)) == (b"", 0x20)
    wait(paced, 1)
    assert (paced.sent, paced.into(Reg.LSR)) == (b"A", 0x60)


def test_a_second_byte_waits_in_the_holding_register_and_a_third_overwrites_it(paced: Bench) -> None:
    paced.out(Reg.DATA, 0x41)
    paced.out(Reg.DATA, 0x42)
    assert (paced.into(Reg.LSR), paced.line.level) == (0x00, False)
    paced.out(Reg.DATA, 0x43)
    wait(paced, CHARACTER)
    assert (paced.into(Reg.LSR), paced.line.level) == (0x20, True)
    wait(paced, CHARACTER)
    assert (paced.sent, paced.into(Reg.LSR)) == (b"AC", 0x60)


def test_the_fifo_takes_sixteen_and_interrupts_when_it_is_empty(paced: Bench) -> None:
    paced.out(Reg.IIR, 0x01)
    for byte in range(18):
        paced.out(Reg.DATA, byte)
    wait(paced, 16 * CHARACTER - 1)
    assert not paced.line.level
    wait(paced, CHARACTER)
    assert paced.line.level
    wait(paced, CHARACTER)
    assert paced.sent == bytes(range(17)), "one in the shift register, sixteen in the FIFO, the last lost"


def test_clearing_the_transmitters_fifo_leaves_the_byte_that_is_being_sent(paced: Bench) -> None:
    paced.out(Reg.IIR, 0x01)
    for byte in b"abc":
        paced.out(Reg.DATA, byte)
    paced.out(Reg.IIR, 0x05)
    assert (paced.into(Reg.LSR), paced.line.level) == (0x20, True)
    wait(paced, 10 * CHARACTER)
    assert paced.sent == b"a"


def test_enabling_the_interrupt_of_a_transmitter_that_is_full_waits(paced: Bench) -> None:
    paced.out(Reg.IER, 0)
    for byte in b"ab":
        paced.out(Reg.DATA, byte)
    paced.out(Reg.IER, 2)
    assert not paced.line.level
    wait(paced, CHARACTER)
    assert paced.line.level


def test_a_looped_byte_arrives_when_it_has_been_sent(paced: Bench) -> None:
    paced.out(Reg.MCR, 0x1B)
    paced.out(Reg.DATA, 0x55)
    assert paced.into(Reg.LSR) & 1 == 0
    wait(paced, CHARACTER)
    assert (paced.into(Reg.LSR) & 1, paced.into(Reg.DATA), paced.sent) == (1, 0x55, b"")


def test_a_late_clock_sends_all_that_was_to_be_sent(paced: Bench) -> None:
    paced.out(Reg.IIR, 0x01)
    for byte in b"abcd":
        paced.out(Reg.DATA, byte)
    paced.clock.advance(10 * CHARACTER)
    assert paced.into(Reg.LSR) == 0x60
    assert paced.sent == b"abcd"


# -- the far end takes no more --------------------------------------------------------------------------------


def test_clear_to_send_is_a_modem_line_with_its_interrupt(bench: Bench) -> None:
    bench.setup(ier=8)
    bench.uart.clear_to_send(False)
    assert bench.line.level
    assert (bench.into(Reg.IIR), bench.into(Reg.MSR), bench.into(Reg.MSR)) == (0x00, 0xA1, 0xA0)
    bench.uart.clear_to_send(False)
    assert not bench.line.level
    bench.uart.clear_to_send(True)
    assert bench.into(Reg.MSR) == 0xB1


def test_in_loopback_the_far_ends_line_is_cut_off_until_it_ends(bench: Bench) -> None:
    bench.setup()
    bench.out(Reg.MCR, 0x10)
    bench.into(Reg.MSR)
    bench.uart.clear_to_send(False)
    assert bench.into(Reg.MSR) == 0x00
    bench.out(Reg.MCR, 0x00)
    assert bench.into(Reg.MSR) & 0xF0 == 0xA0
    bench.uart.reset()
    assert bench.into(Reg.MSR) == 0xA0, "a reset here is none there"
