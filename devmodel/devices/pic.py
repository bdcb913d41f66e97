"""Intel 8259A programmable interrupt controller (data sheet 231468-003), and the pair of a PC with ELCR.

`Pic` is one chip, `PicPair` the two in cascade on IR2 (ports 0x20, 0xA0) with the edge/level control
registers of PIIX (0x4D0, 0x4D1), which take the place of ICW1's LTIM there (82371SB data sheet, ICW1).
Lines are levels up to here: an edge-sensitive request is latched when
the line rises and withdrawn when it falls before it is acknowledged (then INTA finds the spurious level 7).
Before its first ICW1 a chip asserts nothing.
Not modelled: MCS-80 mode (vectors are those of 8086 mode), buffered mode.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.device import Device
from devmodel.board.lines import IrqLine, Line
from devmodel.board.mirror import BY_ANYONE, BY_ITSELF, Mirror


class Reg:
    """Offsets: the pin A0."""

    COMMAND: Final = 0  # ICW1, OCW2, OCW3; reads IRR, ISR or the poll word
    DATA: Final = 1  # ICW2-4, OCW1; reads IMR


ICW1: Final = 0x10
ICW1_IC4: Final = 0x01
ICW1_SNGL: Final = 0x02
ICW1_LTIM: Final = 0x08
ICW4_AEOI: Final = 0x02
ICW4_SFNM: Final = 0x10
OCW3: Final = 0x08
OCW3_RIS: Final = 0x01
OCW3_RR: Final = 0x02
OCW3_P: Final = 0x04
OCW3_SMM: Final = 0x20
OCW3_ESMM: Final = 0x40


TIMER: Final = 0x01
"""The pin of a PC's master that the timer has."""


class Eoi:
    """OCW2 bits R, SL, EOI."""

    ROTATE_AEOI_CLEAR: Final = 0
    NONSPECIFIC: Final = 1
    NOP: Final = 2
    SPECIFIC: Final = 3
    ROTATE_AEOI_SET: Final = 4
    ROTATE_NONSPECIFIC: Final = 5
    SET_PRIORITY: Final = 6
    ROTATE_SPECIFIC: Final = 7


class Step:
    """Where the initialisation sequence stands (data sheet figure 6)."""

    POWER_ON: Final = 0
    ICW2: Final = 2
    ICW3: Final = 3
    ICW4: Final = 4
    READY: Final = 5


@attrs.define
class PicState:
    """Everything one 8259A remembers."""

    levels: int = 0  # of the IR pins
    edges: int = 0  # IRR's latches behind edge-sensitive pins
    isr: int = 0
    imr: int = 0
    step: int = Step.POWER_ON
    icw1: int = 0
    base: int = 0  # ICW2
    icw3: int = 0
    icw4: int = 0
    elcr: int = 0  # pins that are level-sensitive whatever ICW1 says
    lowest: int = 7  # the pin with the lowest priority
    rotate_on_aeoi: bool = False
    special_mask: bool = False
    read_isr: bool = False
    poll: bool = False


@attrs.define(kw_only=True)
class Pic:
    """One 8259A. `output` is its INT pin; a `master` has slaves on the pins that ICW3 names."""

    output: IrqLine
    master: bool
    ltim: bool = True
    """Whether ICW1 can make all pins level-sensitive; with ELCR that decides alone."""
    mirror: Mirror = attrs.field(factory=lambda: Mirror(2))
    changed: Callable[[], None] = lambda: None
    """Hears of every change before INT rises for it."""
    accepted: Callable[[int], None] = lambda _pin: None
    """Hears of every pin that has been accepted."""
    state: PicState = attrs.field(factory=PicState)
    requests: int = attrs.field(init=False, default=0)
    """The pins that have a request, masked or not, a bit each (IRR): found whenever something has changed …"""
    requested: int = attrs.field(init=False, default=-1)
    """… as is the pin whose request INT signals, or -1: what `acknowledge` would return."""

    def __attrs_post_init__(self) -> None:
        self._drive()

    def reset(self) -> None:
        """Power on; the pins keep the levels that others drive."""
        self.state = PicState(levels=self.state.levels)
        self._drive()

    # -- pins ---------------------------------------------------------------------------------------------

    def set_ir(self, pin: int, level: bool) -> None:
        """Drive an IR pin."""
        s = self.state
        bit = 1 << pin
        if level:
            if not s.levels & bit:
                s.levels |= bit
                s.edges |= bit
        else:
            s.levels &= ~bit
            s.edges &= ~bit
            if not self.requests & bit:
                return  # accepted already: nobody sees it fall
        self._drive()

    def latch(self, pins: int) -> None:
        """Latch these pins, and all that are high, as if each had just risen."""
        self.state.edges |= self.state.levels | pins
        self._drive()

    def set_elcr(self, value: int) -> None:
        """Choose level-sensitive pins."""
        self.state.elcr = value
        self._drive()

    @property
    def requesting(self) -> bool:
        """Whether the INT pin is high."""
        return self.requested >= 0

    def acknowledge(self) -> int:
        """Do the INTA cycle and return the pin that was accepted, or -1 (spurious: level 7 is signalled)."""
        pin = self.requested
        self.accept(pin)
        return pin

    def accept(self, pin: int) -> None:
        """Do the INTA cycle for a pin that was `requested` earlier; -1 was spurious."""
        self._accept(pin)
        if pin >= 0:
            self.accepted(pin)
        self._drive()

    def waits(self, pin: int) -> bool:
        """Whether a pin has a request that has not been accepted and is not masked."""
        return bool(self._irr() & ~self.state.imr & 1 << pin)

    def vector(self, pin: int) -> int:
        """Return the vector for what `acknowledge` returned."""
        return self.state.base | (pin & 7)

    # -- ports --------------------------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        """Read IRR, ISR, IMR, or poll, which is an INTA cycle too."""
        s = self.state
        if s.poll:
            s.poll = False
            pin = self.acknowledge()  # which drives
            return 0 if pin < 0 else 0x80 | pin
        if offset & 1:
            return s.imr
        return s.isr if s.read_isr else self._irr()

    def write(self, offset: int, _size: int, value: int) -> None:
        """Take a command word."""
        s = self.state
        value &= 0xFF
        if not offset & 1:
            if value & ICW1:
                self._icw1(value)
            elif value & OCW3:
                self._ocw3(value)
            else:
                self._ocw2(value >> 5, value & 7)
        elif s.step == Step.ICW2:
            s.base = value & 0xF8
            s.step = self._step_after(Step.ICW2)
        elif s.step == Step.ICW3:
            s.icw3 = value
            s.step = self._step_after(Step.ICW3)
        elif s.step == Step.ICW4:
            s.icw4 = value
            s.step = Step.READY
        else:
            s.imr = value
        self._drive()

    def _icw1(self, value: int) -> None:
        s = self.state
        self.state = PicState(levels=s.levels, elcr=s.elcr, icw1=value, step=Step.ICW2, base=s.base)

    def _step_after(self, step: int) -> int:
        icw1 = self.state.icw1
        if step == Step.ICW2 and not icw1 & ICW1_SNGL:
            return Step.ICW3
        return Step.ICW4 if icw1 & ICW1_IC4 else Step.READY

    def _ocw2(self, command: int, level: int) -> None:
        s = self.state
        match command:
            case Eoi.NONSPECIFIC | Eoi.ROTATE_NONSPECIFIC:
                # In special mask mode a masked level is not cleared this way.
                level = self._highest(s.isr & ~s.imr if s.special_mask else s.isr)
                if level >= 0:
                    s.isr &= ~(1 << level)
                    if command == Eoi.ROTATE_NONSPECIFIC:
                        s.lowest = level
            case Eoi.SPECIFIC:
                s.isr &= ~(1 << level)
            case Eoi.ROTATE_SPECIFIC:
                s.isr &= ~(1 << level)
                s.lowest = level
            case Eoi.SET_PRIORITY:
                s.lowest = level
            case Eoi.ROTATE_AEOI_SET:
                s.rotate_on_aeoi = True
            case Eoi.ROTATE_AEOI_CLEAR:
                s.rotate_on_aeoi = False
            case _:
                pass

    def _ocw3(self, value: int) -> None:
        s = self.state
        if value & OCW3_ESMM:
            s.special_mask = bool(value & OCW3_SMM)
        s.poll = bool(value & OCW3_P)
        if value & OCW3_RR:
            s.read_isr = bool(value & OCW3_RIS)

    # -- the priority resolver ----------------------------------------------------------------------------

    def _irr(self) -> int:
        s = self.state
        by_level = 0xFF if self.ltim and s.icw1 & ICW1_LTIM else s.elcr
        return s.levels & by_level | s.edges & ~by_level

    def _highest(self, pins: int) -> int:
        """Return the pin of highest priority among `pins`, or -1."""
        if not pins:
            return -1
        first = self.state.lowest + 1 & 7
        rotated = (pins >> first | pins << 8 - first) & 0xFF
        return (rotated & -rotated).bit_length() - 1 + first & 7

    def _resolve(self, requests: int) -> int:
        """Return which of the pins that request, and are not masked, is to be signalled; -1: none."""
        s = self.state
        if s.step != Step.READY:
            return -1
        pin = self._highest(requests)
        blocking = s.isr & ~s.imr if s.special_mask else s.isr
        if self.master and s.icw4 & ICW4_SFNM:
            blocking &= ~(s.icw3 & 1 << pin)  # a slave may interrupt itself
        if blocking:
            first = s.lowest + 1
            if self._highest(blocking) - first & 7 <= pin - first & 7:
                return -1
        return pin

    def _accept(self, pin: int) -> None:
        s = self.state
        if pin < 0:
            return
        s.edges &= ~(1 << pin)
        if not s.icw4 & ICW4_AEOI:
            s.isr |= 1 << pin
        elif s.rotate_on_aeoi:
            s.lowest = pin
        self.output.set(False)  # INTA resets INT; what is still waiting makes a new edge for a master

    def _drive(self) -> None:
        s = self.state
        self.requests = requests = self._irr()
        if s.poll:  # the next read is an INTA cycle
            self.mirror.hide(Reg.COMMAND)
            self.mirror.hide(Reg.DATA)
        else:
            self.mirror.show(Reg.COMMAND, s.isr if s.read_isr else requests, BY_ANYONE)
            self.mirror.show(Reg.DATA, s.imr, BY_ITSELF)
        wanted = requests & ~s.imr
        self.requested = pin = self._resolve(wanted) if wanted else -1
        self.changed()
        self.output.set(pin >= 0)


@attrs.define
class Elcr:
    """The edge/level control registers of the pair; IRQ0-2, 8 and 13 stay edge-sensitive."""

    pair: "PicPair"

    def read(self, offset: int, _size: int) -> int:
        """Read ELCR1 or ELCR2."""
        return (self.pair.slave if offset & 1 else self.pair.master).state.elcr

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write ELCR1 or ELCR2."""
        if offset & 1:
            self.pair.slave.set_elcr(value & 0xDE)
        else:
            self.pair.master.set_elcr(value & 0xF8)


@attrs.define
class PicPairState:
    """Everything the pair remembers."""

    master: PicState = attrs.field(factory=PicState)
    slave: PicState = attrs.field(factory=PicState)


@attrs.define(kw_only=True)
class PicPair:
    """Sixteen interrupt requests and one INTR. Ports: `master`, `slave` and `elcr`.

    `vector_shown` hears what an acknowledge cycle would bring, whenever that changes and before INTR rises; None:
    it takes the cycle to say. With it comes whether nothing else is requested: then no command to the chips, and no
    acknowledge cycle, raises INTR before a line rises, and both may lie where they are until then. `prompt` forbids
    that, for somebody who waits for the cycle.
    """

    intr: IrqLine
    vector_shown: Callable[[int | None, bool], None] = lambda _vector, _alone: None
    prompt: bool = False
    _shown: tuple[int | None, bool] = attrs.field(init=False, default=(None, False))
    _initial: PicPairState = attrs.field(factory=PicPairState, alias="state")
    master: Pic = attrs.field(init=False)
    slave: Pic = attrs.field(init=False)
    elcr: Device = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.master = Pic(output=self.intr, master=True, ltim=False, state=self._initial.master)
        cascade = Line([lambda level: self.master.set_ir(2, level)])
        self.slave = Pic(output=cascade, master=False, ltim=False, state=self._initial.slave)
        self.master.changed = self.slave.changed = self._show_vector
        self._show_vector()
        self.elcr = Elcr(self)

    @property
    def state(self) -> PicPairState:
        """Everything the pair remembers."""
        return PicPairState(self.master.state, self.slave.state)

    def reset(self) -> None:
        """Power on."""
        self.master.reset()
        self.slave.reset()

    def recover(self) -> None:
        """Request again what a guest may be waiting for, after what it did last with the chips has been lost.

        That is each interrupt whose line is high, and the timer's, whose pulse may have been missed.
        """
        self.slave.latch(0)
        self.master.latch(TIMER)

    def set_irq(self, irq: int, level: bool) -> None:
        """Drive ISA interrupt request 0-15. IRQ2 has no pin: the slave is there."""
        if irq >= 8:
            self.slave.set_ir(irq - 8, level)
        elif irq != 2:
            self.master.set_ir(irq, level)

    @property
    def requesting(self) -> bool:
        """Whether INTR is high."""
        return self.master.requesting

    def _next(self) -> tuple[int, int]:
        """Return the pins of master and slave that an acknowledge cycle would take now, or -1."""
        pin = self.master.requested
        if pin >= 0 and self.master.state.icw3 & 1 << pin:
            return pin, self.slave.requested if pin == 2 else -1
        return pin, -1

    def _show_vector(self) -> None:
        master, slave = self.master, self.slave
        vector: int | None = None
        # Left behind an acknowledge cycle; a level goes on requesting.
        left, left_behind = master.requests, slave.requests
        if master.requested >= 0:
            pin, behind = self._next()
            if behind >= 0:
                vector = slave.vector(behind)
                left &= ~(1 << pin)
                left_behind &= ~(1 << behind) | slave.state.elcr
            elif not master.state.icw3 & 1 << pin:
                vector = master.vector(pin)
                left &= ~(1 << pin) | master.state.elcr
        shown = vector, not (left | left_behind or self.prompt)
        if shown != self._shown:
            if shown[1] != self._shown[1]:
                for chip in (master, slave):
                    chip.mirror.coalesce(shown[1])
            self._shown = shown
            self.vector_shown(*shown)

    def acknowledged(self, vector: int) -> None:
        """Do the acknowledge cycle that the processor has made by itself, when `vector` was shown."""
        pin = vector & 7
        if vector == self.slave.vector(pin):
            self.master.accept(2)
            self.slave.accept(pin)
        elif vector == self.master.vector(pin):
            self.master.accept(pin)

    def acknowledge(self) -> int:
        """Do the processor's interrupt-acknowledge cycle and return the vector."""
        pin = self.master.acknowledge()
        if pin >= 0 and self.master.state.icw3 & 1 << pin:
            if pin == 2:
                return self.slave.vector(self.slave.acknowledge())
            return 0xFF  # ICW3 names a slave where there is none: nobody drives the bus
        return self.master.vector(pin)
