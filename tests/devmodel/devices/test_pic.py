"""The 8259A pair: data sheet sections by example, and a small model to compare with."""

from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devmodel.board.lines import Line
from devmodel.devices.pic import Pic, PicPair, Reg
from ioreq.mirror import COALESCES


def test_the_processor_takes_the_vector_that_stands_beside_the_pin() -> None:
    """What is shown is one that an acknowledge cycle would bring: the slave's takes the cascade with it."""
    bench = Bench()
    bench.init()
    bench.mask(0)
    bench.irq(12)
    bench.pair.acknowledged(0x2C)
    assert bench.isr() == 0x1004
    bench.irq(1)
    bench.pair.acknowledged(0x21)
    assert bench.isr() == 0x1006
    bench.pair.acknowledged(0x55)  # nobody's
    assert bench.isr() == 0x1006


@attrs.define
class Bench:
    intr: Line = attrs.field(factory=Line)
    pair: PicPair = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pair = PicPair(intr=self.intr)

    def init(self, *, icw1: int = 0x11, master4: int = 1, slave4: int = 1) -> None:
        for pic, base, cascade, icw4 in (
            (self.pair.master, 0x20, 4, master4),
            (self.pair.slave, 0x28, 2, slave4),
        ):
            pic.write(0, 1, icw1)
            for value in (base, cascade, icw4)[: 3 if icw1 & 1 else 2]:
                pic.write(1, 1, value)

    def irq(self, irq: int, *levels: bool) -> None:
        for level in levels or (True,):
            self.pair.set_irq(irq, level)

    def pulse(self, *irqs: int) -> None:
        """Edges on lines that stay high."""
        for irq in irqs:
            self.irq(irq, False, True)

    def command(self, value: int) -> None:
        self.pair.master.write(Reg.COMMAND, 1, value)

    def slave_command(self, value: int) -> None:
        self.pair.slave.write(Reg.COMMAND, 1, value)

    def mask(self, value: int) -> None:
        self.pair.master.write(Reg.DATA, 1, value & 0xFF)
        self.pair.slave.write(Reg.DATA, 1, value >> 8)

    def isr(self) -> int:
        self.command(0x0B)
        self.slave_command(0x0B)
        return self.pair.master.read(0, 1) | self.pair.slave.read(0, 1) << 8

    def irr(self) -> int:
        self.command(0x0A)
        self.slave_command(0x0A)
        return self.pair.master.read(0, 1) | self.pair.slave.read(0, 1) << 8

    def taken(self) -> list[int]:
        """Vectors that INTA gives until INTR falls."""
        vectors = []
        while self.intr.level:
            vectors.append(self.pair.acknowledge())
        return vectors


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.init()
    return bench


def test_nothing_is_asserted_before_initialisation() -> None:
    bench = Bench()
    bench.irq(3)
    assert not bench.intr.level
    bench.init()
    assert not bench.intr.level  # ICW1 has reset the edge sense
    bench.pulse(3)
    assert bench.intr.level


def test_the_mask_reads_back_as_linux_wants_it(bench: Bench) -> None:
    bench.pair.master.write(Reg.DATA, 1, 0xFB)
    assert bench.pair.master.read(Reg.DATA, 1) == 0xFB


def test_a_request_is_acknowledged_once(bench: Bench) -> None:
    bench.irq(4)
    assert bench.irr() == 0x10
    assert bench.taken() == [0x24]
    assert bench.irr() == 0
    assert bench.isr() == 0x10
    bench.command(0x20)
    assert bench.isr() == 0
    assert not bench.intr.level  # the line is still high, but that is no new edge


def test_higher_levels_interrupt_lower_ones_and_lower_ones_wait(bench: Bench) -> None:
    bench.pulse(5)
    assert bench.taken() == [0x25]
    bench.pulse(6, 1)
    assert bench.taken() == [0x21]
    bench.command(0x20)
    assert bench.taken() == []
    bench.command(0x20)
    assert bench.taken() == [0x26]


def test_irq12_goes_through_the_cascade(bench: Bench) -> None:
    bench.irq(12)
    assert bench.irr() == 0x1004
    assert bench.taken() == [0x2C]
    assert bench.isr() == 0x1004
    bench.slave_command(0x20)
    bench.command(0x20)
    assert bench.isr() == 0


def test_a_line_that_falls_before_inta_is_a_spurious_7(bench: Bench) -> None:
    bench.irq(4, True, False)
    assert not bench.intr.level
    assert bench.pair.acknowledge() == 0x27
    assert bench.isr() == 0


def test_the_cascade_is_withdrawn_with_the_slaves_request(bench: Bench) -> None:
    bench.irq(12, True)
    assert bench.intr.level
    bench.irq(12, False)
    assert not bench.intr.level
    assert bench.irr() == 0


def test_a_spurious_15_needs_an_eoi_at_the_master_only(bench: Bench) -> None:
    bench.irq(12)
    bench.pair.master.state.edges |= 4
    bench.pair.slave.write(Reg.DATA, 1, 0xFF)
    bench.pair.master.set_ir(2, True)  # the race on the wire: INT reached the master, the request is gone
    assert bench.pair.acknowledge() == 0x2F
    assert bench.isr() == 0x0004
    bench.command(0x20)
    assert bench.isr() == 0


def test_a_pin_that_icw3_names_without_a_slave_there_brings_a_vector_that_nobody_drives() -> None:
    """ICW3 (8259A, "Initialization Command Word 3"): from such a pin the slave gives the vector; here there is none."""
    bench = Bench()
    for offset, word in ((0, 0x11), (1, 0x20), (1, 0x0C), (1, 0x01), (1, 0x00)):
        bench.pair.master.write(offset, 1, word)
    bench.irq(3)
    assert bench.intr.level
    assert bench.pair.acknowledge() == 0xFF


def test_two_slave_requests_are_both_delivered_with_automatic_eoi(bench: Bench) -> None:
    bench.init(master4=3, slave4=3)
    bench.pulse(9, 14)
    assert bench.taken() == [0x29, 0x2E]
    assert bench.isr() == 0


def test_a_second_slave_request_follows_the_eois(bench: Bench) -> None:
    bench.pulse(9, 14)
    assert bench.taken() == [0x29]
    bench.slave_command(0x20)
    assert bench.taken() == []
    bench.command(0x20)
    assert bench.taken() == [0x2E]


def test_special_fully_nested_mode_lets_a_slave_interrupt_itself(bench: Bench) -> None:
    bench.init(master4=0x11)
    bench.pulse(14)
    assert bench.taken() == [0x2E]
    bench.pulse(9)
    assert bench.taken() == [0x29]
    assert bench.isr() == 0x4204


def test_without_it_the_slave_waits(bench: Bench) -> None:
    bench.pulse(14)
    assert bench.taken() == [0x2E]
    bench.pulse(9)
    assert bench.taken() == []


def test_special_mask_mode_enables_lower_levels(bench: Bench) -> None:
    bench.pulse(3)
    assert bench.taken() == [0x23]
    bench.pulse(6)
    bench.mask(0x08)
    assert bench.taken() == []
    bench.command(0x68)
    assert bench.taken() == [0x26]
    bench.command(0x20)  # a masked level is not cleared by a non-specific EOI
    assert bench.isr() == 0x08
    bench.command(0x48)
    bench.command(0x20)
    assert bench.isr() == 0


def test_rotation_on_eoi(bench: Bench) -> None:
    bench.pulse(2, 4)
    bench.pulse(6)
    assert bench.taken() == [0x24]
    bench.command(0xA0)  # 4 is lowest now, 5 highest
    bench.pulse(1)
    assert bench.taken() == [0x26]
    bench.command(0xE6)  # rotate on specific EOI
    assert bench.pair.master.state.lowest == 6
    assert bench.taken() == [0x21]


def test_set_priority_and_rotation_with_automatic_eoi(bench: Bench) -> None:
    bench.init(master4=3)
    bench.command(0xC4)
    bench.pulse(0, 3, 5)
    assert bench.taken() == [0x25, 0x20, 0x23]
    bench.command(0x80)
    bench.pulse(3, 5)
    assert bench.taken() == [0x25, 0x23]  # 5 became the lowest, then 3
    bench.pulse(5, 3)
    assert bench.taken() == [0x25, 0x23]


def test_poll_is_an_acknowledge_cycle(bench: Bench) -> None:
    bench.command(0x0C)
    assert bench.pair.master.read(0, 1) == 0
    bench.pulse(6, 3)
    bench.command(0x0C)
    assert bench.pair.master.read(0, 1) == 0x83
    assert bench.isr() == 0x08
    bench.command(0x0C)
    assert bench.pair.master.read(1, 1) == 0


def test_level_sensitive_by_elcr(bench: Bench) -> None:
    bench.pair.elcr.write(0, 1, 0xFF)
    bench.pair.elcr.write(1, 1, 0xFF)
    assert bench.pair.elcr.read(0, 1) == 0xF8
    assert bench.pair.elcr.read(1, 1) == 0xDE
    bench.irq(5)
    assert bench.pair.acknowledge() == 0x25
    assert bench.irr() == 0x20
    bench.command(0x20)
    assert bench.intr.level  # still asserted: interrupts again
    bench.irq(5, False)
    assert not bench.intr.level


def test_icw1_does_not_make_a_piix3_level_sensitive(bench: Bench) -> None:
    """82371SB data sheet, ICW1: LTIM "is disabled. Its function is replaced by the edge/level control registers"."""
    bench.irq(3)
    bench.init(icw1=0x19)
    assert not bench.intr.level  # initialisation has forgotten the edge
    bench.irq(3, False)
    bench.irq(3)
    assert bench.pair.acknowledge() == 0x23
    bench.command(0x63)
    assert not bench.intr.level  # one edge, one interrupt


def test_a_chip_without_elcr_is_level_sensitive_by_icw1() -> None:
    """8259A data sheet: LTIM = 1, "then the 8259A will operate in the level interrupt mode"."""
    output = Line()
    pic = Pic(output=output, master=True)
    pic.set_ir(3, True)
    for offset, value in ((0, 0x1B), (1, 0x20), (1, 0x01)):
        pic.write(offset, 1, value)
    assert pic.acknowledge() == 3
    pic.write(0, 1, 0x63)
    assert output.level


def test_icw4_is_not_waited_for_when_icw1_says_so(bench: Bench) -> None:
    bench.init(icw1=0x10)
    bench.mask(0xABCD)
    assert bench.pair.master.read(1, 1) == 0xCD
    assert bench.pair.slave.read(1, 1) == 0xAB


def test_initialisation_clears_mask_service_and_special_modes(bench: Bench) -> None:
    bench.pulse(3)
    bench.taken()
    bench.mask(0xFFFF)
    bench.command(0x6B)
    bench.init()
    state = bench.pair.master.state
    assert (state.isr, state.imr, state.special_mask, state.read_isr, state.lowest) == (0, 0, False, False, 7)


@attrs.define
class Model:
    """Fully nested mode, edges, one chip, written as the data sheet tells it and not as the chip does it."""

    high: set[int] = attrs.field(factory=set)
    waiting: set[int] = attrs.field(factory=set)
    service: set[int] = attrs.field(factory=set)
    masked: set[int] = attrs.field(factory=set)
    order: list[int] = attrs.field(factory=lambda: list(range(8)))

    def candidate(self) -> int | None:
        for pin in self.order:
            if pin in self.service:
                return None
            if pin in self.waiting - self.masked:
                return pin
        return None

    def rotate(self, pin: int) -> None:
        while self.order[-1] != pin:
            self.order.append(self.order.pop(0))


PINS = [0, 1, 3, 4, 5, 6, 7]
ACTIONS = st.one_of(
    st.tuples(st.just("line"), st.sampled_from(PINS), st.booleans()),
    st.tuples(st.just("inta")),
    st.tuples(st.just("eoi"), st.booleans()),
    st.tuples(st.just("specific"), st.sampled_from(PINS), st.booleans()),
    st.tuples(st.just("priority"), st.integers(0, 7)),
    st.tuples(st.just("mask"), st.integers(0, 255)),
)


@given(st.lists(ACTIONS, max_size=60))
def test_the_resolver_agrees_with_the_model(actions: list[tuple[Any, ...]]) -> None:
    bench, model = Bench(), Model()
    bench.init()
    bench.pair.master.write(1, 1, 0)
    for action in actions:
        match action:
            case "line", pin, level:
                bench.irq(pin, level)
                if not level:
                    model.high.discard(pin)
                    model.waiting.discard(pin)
                elif pin not in model.high:
                    model.high.add(pin)
                    model.waiting.add(pin)
            case ("inta",):
                pin = model.candidate()
                assert bench.pair.acknowledge() == (0x27 if pin is None else 0x20 + pin)
                if pin is not None:
                    model.waiting.discard(pin)
                    model.service.add(pin)
            case "eoi", rotate:
                bench.command(0xA0 if rotate else 0x20)
                served = [pin for pin in model.order if pin in model.service]
                if served:
                    model.service.discard(served[0])
                    if rotate:
                        model.rotate(served[0])
            case "specific", pin, rotate:
                bench.command((0xE0 if rotate else 0x60) | pin)
                model.service.discard(pin)
                if rotate:
                    model.rotate(pin)
            case "priority", pin:
                bench.command(0xC0 | pin)
                model.rotate(pin)
            case "mask", value:
                bench.mask(value)
                model.masked = {pin for pin in range(8) if value >> pin & 1}
        assert bench.intr.level == (model.candidate() is not None)
        assert bench.irr() & 0xFF == sum(1 << pin for pin in model.waiting)
        assert bench.isr() & 0xFF == sum(1 << pin for pin in model.service)


COMMANDS = st.tuples(
    st.sampled_from((0, 1)),
    st.integers(0, 1),
    st.sampled_from((0x20, 0x0A, 0x0B, 0x68, 0x48, 0x11, 0, 4, 1, 0xFF)) | st.integers(0, 255),
)
"""Chip, A0 and value, those most often that programs write."""
LINES = st.lists(st.tuples(st.integers(0, 15), st.booleans()), max_size=8)


@example([(0, True)], 0, 0, False, [(0, 1, 0x0B), (0, 1, 0x20)])
@given(
    LINES,
    st.integers(0, 0xFFFF),
    st.sampled_from((0, 0x0E20)),
    st.booleans(),
    st.lists(COMMANDS, max_size=12),
)
def test_what_coalesces_raises_intr_by_no_command_and_no_acknowledge_cycle(
    lines, mask, levels, taken, commands
) -> None:
    """So it may lie until a line rises: whoever drives lines performs it first."""
    shown: list[tuple[int | None, bool]] = []
    bench = Bench()
    bench.pair.vector_shown = lambda vector, alone: shown.append((vector, alone))
    bench.init()
    bench.pair.elcr.write(0, 1, levels & 0xFF)
    bench.pair.elcr.write(1, 1, levels >> 8)
    bench.mask(mask)
    for irq, level in lines:
        bench.irq(irq, level)
    vector, alone = shown[-1] if shown else (None, True)
    assert alone is not coalesces(bench, False)
    if not alone:
        return
    if taken and vector is not None:
        assert bench.intr.level
        bench.pair.acknowledged(vector)
    was_high = bench.intr.level
    for chip, a0, value in commands:
        (bench.pair.slave if chip else bench.pair.master).write(a0, 1, value)
        assert was_high or not bench.intr.level
        was_high = bench.intr.level
        if shown and not shown[-1][1]:
            return  # a mask has made a request wait: what comes behind it rings


def coalesces(bench: "Bench", value: bool) -> bool:
    """Whether all cells of both chips say so, as they stand in a page."""
    cells = memoryview(bytearray(8 * 4)).cast("Q")
    bench.pair.master.mirror.bind(cells[:2], 0x20, coalesces=True)
    bench.pair.slave.mirror.bind(cells[2:], 0xA0, coalesces=True)
    return {bool(cell & COALESCES) for cell in cells} == {value}


def test_a_request_behind_the_one_that_is_shown_forbids_to_coalesce() -> None:
    """An end of interrupt lets the second one through at once."""
    bench = Bench()
    bench.init()
    bench.mask(0)
    assert coalesces(bench, True)
    bench.irq(0)
    assert coalesces(bench, True)  # taken and ended, it leaves nothing
    bench.irq(4)
    assert coalesces(bench, False)
    bench.pair.acknowledged(0x20)
    bench.irq(4, False)
    assert coalesces(bench, True)


def test_a_level_and_a_masked_edge_forbid_to_coalesce() -> None:
    """The level requests again behind its end of interrupt; the edge as soon as it is unmasked."""
    for levels, mask in ((0x0800, 0), (0, 0x0800)):
        bench = Bench()
        bench.init()
        bench.pair.elcr.write(1, 1, levels >> 8)
        bench.mask(mask)
        bench.irq(11)
        assert coalesces(bench, False)
        bench.irq(11, False)
        assert coalesces(bench, True)


def test_who_waits_for_the_cycle_forbids_to_coalesce() -> None:
    bench = Bench()
    bench.pair = PicPair(intr=bench.intr, prompt=True)
    bench.init()
    assert coalesces(bench, False)
