"""PIC, PIT, UART and IDE beside models written from their data sheets alone, in whatever order they are used."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices import pic as pic_
from devmodel.devices import pit as pit_
from devmodel.devices import uart as uart_
from devmodel.devices.pic import Pic
from devmodel.devices.pit import Pit
from devmodel.devices.uart import Uart
from tests.devmodel.devices import test_ide as ide_

COMMAND, DATA = pic_.Reg.COMMAND, pic_.Reg.DATA
PINS = st.integers(0, 7)
BYTES = st.integers(0, 255)


class Interrupts(RuleBasedStateMachine):
    """One 8259A, edge triggered, alone (SNGL), in 8086 mode: data sheet 231468."""

    def __init__(self) -> None:
        super().__init__()
        self.chip = Pic(output=Line(), master=True)
        for address, word in ((COMMAND, 0x13), (DATA, 0x20), (DATA, 0x01), (DATA, 0x00)):
            self.chip.write(address, 1, word)
        self.high: set[int] = set()
        self.latched: set[int] = set()
        self.serviced: set[int] = set()
        self.mask = 0
        self.lowest = 7
        self.special = False

    def rank(self, pin: int) -> int:
        """0 is the highest priority: the pin behind the lowest."""
        return (pin - self.lowest - 1) % 8

    def winner(self) -> int | None:
        requests = [pin for pin in self.latched if not self.mask >> pin & 1]
        if not requests:
            return None
        best = min(requests, key=self.rank)
        blocking = [pin for pin in self.serviced if not (self.special and self.mask >> pin & 1)]
        return None if any(self.rank(pin) <= self.rank(best) for pin in blocking) else best

    @rule(pin=PINS)
    def rise(self, pin: int) -> None:
        self.chip.set_ir(pin, True)
        if pin not in self.high:
            self.high.add(pin)
            self.latched.add(pin)

    @rule(pin=PINS)
    def fall(self, pin: int) -> None:
        self.chip.set_ir(pin, False)
        self.high.discard(pin)
        self.latched.discard(pin)

    @rule(mask=BYTES)
    def write_mask(self, mask: int) -> None:
        self.chip.write(DATA, 1, mask)
        self.mask = mask

    @rule(special=st.booleans())
    def special_mask_mode(self, special: bool) -> None:
        self.chip.write(COMMAND, 1, 0x68 if special else 0x48)
        self.special = special

    @rule(pin=PINS)
    def set_priority(self, pin: int) -> None:
        self.chip.write(COMMAND, 1, 0xC0 | pin)
        self.lowest = pin

    @rule(rotate=st.booleans())
    def end_of_interrupt(self, rotate: bool) -> None:
        self.chip.write(COMMAND, 1, 0xA0 if rotate else 0x20)
        ending = [pin for pin in self.serviced if not (self.special and self.mask >> pin & 1)]
        if ending:
            pin = min(ending, key=self.rank)
            self.serviced.discard(pin)
            if rotate:
                self.lowest = pin

    @rule(pin=PINS, rotate=st.booleans())
    def specific_end_of_interrupt(self, pin: int, rotate: bool) -> None:
        self.chip.write(COMMAND, 1, (0xE0 if rotate else 0x60) | pin)
        self.serviced.discard(pin)
        if rotate:
            self.lowest = pin

    @rule()
    def acknowledge(self) -> None:
        taken = self.chip.acknowledge()
        wanted = self.winner()
        assert self.chip.vector(taken) == 0x20 | (7 if wanted is None else wanted)
        if wanted is not None:
            self.latched.discard(wanted)
            self.serviced.add(wanted)

    @rule()
    def poll(self) -> None:
        wanted = self.winner()
        self.chip.write(COMMAND, 1, 0x0C)
        assert self.chip.read(COMMAND, 1) == (0 if wanted is None else 0x80 | wanted)
        if wanted is not None:
            self.latched.discard(wanted)
            self.serviced.add(wanted)

    @invariant()
    def all_registers_are_the_models(self) -> None:
        self.chip.write(COMMAND, 1, 0x0A)
        assert self.chip.read(COMMAND, 1) == sum(1 << pin for pin in self.latched)
        self.chip.write(COMMAND, 1, 0x0B)
        assert self.chip.read(COMMAND, 1) == sum(1 << pin for pin in self.serviced)
        assert self.chip.read(DATA, 1) == self.mask
        assert self.chip.requesting == (self.winner() is not None)


class Counting(RuleBasedStateMachine):
    """One counter of an 8254, moved one CLK pulse at a time: data sheet 231164-005, "Mode definitions".

    What the data sheet leaves undefined is not asked for: a count of 1 in modes 2 and 3, the counting element before
    its first count, a trigger between the two bytes of a count.
    """

    NUMBER = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.line = Line(level=True)
        self.chip = Pit(clock=self.clock, irq=self.line)
        self.pulses = 0
        self.gate = True
        self.control_word(mode=2, access=3, bcd=False)

    # What the data sheet says

    def control_is_written(self, mode: int, access: int, bcd: bool) -> None:
        self.mode, self.access, self.bcd = mode, access, bcd
        self.register: int | None = None  # CR
        self.element: int | None = None  # CE; None: undefined
        self.loads = False  # the next pulse loads CE
        self.runs = False  # CE has been loaded, and counts while GATE lets it
        self.out = mode != 0
        self.struck = False  # modes 0, 1, 4 and 5 have come to terminal count since they were loaded
        self.null = True
        self.count_latch: int | None = None
        self.count_latched = False
        self.status_latch: int | None = None
        self.high_next = False

    def whole(self) -> int:
        return 10_000 if self.bcd else 0x1_0000

    def pulse(self) -> None:
        """One CLK pulse."""
        if self.mode in (4, 5):
            self.out = True  # a strobe lasts one pulse, whatever GATE does
        if self.loads:
            self.load()
            self.runs = self.gate or self.mode in (0, 1, 4, 5)
            if self.mode == 1:
                self.out = False
        elif self.runs and (self.gate or self.mode in (1, 5)):
            assert self.element is not None
            self.count()

    def load(self) -> None:
        assert self.register is not None
        self.loads = self.null = self.struck = False
        self.element = self.register or self.whole()
        if self.mode == 3:
            self.element &= ~1
            self.odd = bool((self.register or self.whole()) & 1)

    def count(self) -> None:
        assert self.element is not None
        if self.mode == 3:
            # High for a pulse more than low where the count is odd.
            last = 0 if self.odd and self.out else 2
            if self.element == last:
                self.out = not self.out
                self.load()
            else:
                self.element -= 2
            return
        if self.mode == 2:
            if self.element == 1:
                self.out = True
                self.load()
            else:
                self.element -= 1
                self.out = self.element != 1
            return
        self.element = (self.element - 1) % self.whole()
        if self.element == 0 and not self.struck:
            self.struck = True
            self.out = self.mode in (0, 1)

    def count_is_written(self, value: int) -> None:
        first = self.register is None
        self.register = value
        self.null = True
        if self.mode in (0, 4) or (self.mode in (2, 3) and first):
            self.loads = True
        if self.mode == 0:
            self.out = self.runs = False

    # What is done

    @rule(mode=st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7)), access=st.integers(1, 3), bcd=st.booleans())
    def control_word(self, mode: int, access: int, bcd: bool) -> None:
        self.chip.write(pit_.Reg.CONTROL, 1, self.NUMBER << 6 | access << 4 | mode << 1 | bcd)
        self.word = access << 4 | mode << 1 | bcd
        self.control_is_written(mode if mode < 6 else mode - 4, access, bcd)

    @rule(
        low=st.integers(0, 12) | st.integers(0, 99),
        high=st.sampled_from((0, 0, 0, 1, 2, 99)),
        between=st.integers(0, 3),
    )
    def write_count(self, low: int, high: int, between: int) -> None:
        low, high = low if self.access & 1 else 0, high if self.access & 2 else 0
        if not high and low == 1 and self.mode in (2, 3):
            low = 2
            if self.access == 2:
                return
        if self.bcd:
            value = high * 100 + low
            low, high = (byte // 10 << 4 | byte % 10 for byte in (low, high))
        else:
            value = high << 8 | low
        if self.access == 3:
            self.chip.write(self.NUMBER, 1, low)
            if self.mode == 0:  # the first byte disables counting, and OUT is low at once
                self.out = self.runs = self.loads = False
            self.let_pass(between, watched=False)
            self.chip.write(self.NUMBER, 1, high)
        else:
            self.chip.write(self.NUMBER, 1, high if self.access == 2 else low)
        self.count_is_written(value)

    @rule(pulses=st.integers(1, 12) | st.integers(200, 700), watched=st.booleans())
    def let_pass(self, pulses: int, watched: bool) -> None:
        for _ in range(pulses):
            self.pulses += 1
            self.pulse()
            self.clock.time = -(-self.pulses * 10**9 // pit_.FREQUENCY)
            if watched:
                self.chip.tick()
                assert self.line.level == self.out

    @rule(level=st.booleans())
    def drive_gate(self, level: bool) -> None:
        self.chip.set_gate(self.NUMBER, level)
        rises, falls = level and not self.gate, self.gate and not level
        self.gate = level
        if self.mode in (1, 2, 3, 5) and rises and self.register is not None:
            self.loads = True
        if self.mode in (2, 3) and falls and self.runs:
            self.out, self.runs = True, False

    @rule(count=st.booleans(), status=st.booleans())
    def read_back(self, count: bool, status: bool) -> None:
        word = 0xC0 | 2 << self.NUMBER | (not count) << 5 | (not status) << 4
        self.chip.write(pit_.Reg.CONTROL, 1, word)
        if count:
            self.latch()
        if status and self.status_latch is None:
            self.status_latch = self.out << 7 | self.null << 6 | self.word

    @rule()
    def latch_command(self) -> None:
        self.chip.write(pit_.Reg.CONTROL, 1, self.NUMBER << 6)
        self.latch()

    def latch(self) -> None:
        if not self.count_latched:
            self.count_latched, self.count_latch = True, self.element
            self.high_next = False

    @rule()
    def read(self) -> None:
        value = self.chip.read(self.NUMBER, 1)
        if self.status_latch is not None:
            assert value == self.status_latch
            self.status_latch = None
            return
        high = self.high_next if self.access == 3 else self.access == 2
        element = self.count_latch if self.count_latched else self.element
        self.high_next = self.access == 3 and not high
        if not self.high_next:
            self.count_latched = False
        if element is None:
            return
        if self.bcd:
            element = sum(int(digit) << 4 * at for at, digit in enumerate(reversed(f"{element % 10_000:04}")))
        assert value == (element >> 8 * high & 0xFF)

    @invariant()
    def out_is_the_models(self) -> None:
        assert self.chip.output(self.NUMBER) == self.out


class Serial(RuleBasedStateMachine):
    """One 16550A whose transmitter is always idle again, while no time passes: data sheet PC16550D, 8.4 to 8.6."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.sent = bytearray()
        self.chip = Uart(clock=ManualClock(), irq=self.line, transmit=self.sent.append)
        self.chip.write(uart_.Reg.LCR, 1, 3)
        self.chip.write(uart_.Reg.MCR, 1, 8)
        self.fifo: deque[int] = deque()
        self.last = 0
        self.fifos = False
        self.trigger = 1
        self.overrun = False
        self.empty = False  # the transmitter's interrupt waits
        self.ier = 0
        self.expected = bytearray()

    def identity(self) -> int:
        """What IIR says, by priority (table IV)."""
        if self.ier & 4 and self.overrun:
            return 6
        if self.ier & 1 and len(self.fifo) >= (self.trigger if self.fifos else 1):
            return 4
        if self.ier & 2 and self.empty:
            return 2
        return 1

    @rule(byte=BYTES)
    def arrives(self, byte: int) -> None:
        self.chip.receive(byte)
        room = 16 if self.fifos else 1
        if len(self.fifo) < room:
            self.fifo.append(byte)
            return
        self.overrun = True
        if not self.fifos:
            self.fifo[0] = byte  # 8.6.4: the byte in the register is lost, in a FIFO the new one

    @rule()
    def read_data(self) -> None:
        if self.fifo:
            self.last = self.fifo.popleft()
            assert self.chip.read(uart_.Reg.DATA, 1) == self.last
        elif not self.fifos:
            self.chip.read(uart_.Reg.DATA, 1)

    @rule(byte=BYTES)
    def write_data(self, byte: int) -> None:
        self.chip.write(uart_.Reg.DATA, 1, byte)
        self.expected.append(byte)
        self.empty = True

    @rule(ier=st.integers(0, 15))
    def write_enables(self, ier: int) -> None:
        self.chip.write(uart_.Reg.IER, 1, ier)
        if ier & 2 and not self.ier & 2:
            self.empty = True  # the transmitter is empty, which is now told of
        self.ier = ier

    @rule(enable=st.booleans(), clear=st.booleans(), trigger=st.integers(0, 3))
    def write_fifo_control(self, enable: bool, clear: bool, trigger: int) -> None:
        self.chip.write(uart_.Reg.IIR, 1, trigger << 6 | clear << 1 | enable)
        if (clear and enable) or enable != self.fifos:  # 8.4: without FCR0 the others are not programmed
            self.fifo.clear()
        if enable != self.fifos:
            self.empty = True
        self.fifos = enable
        if enable:
            self.trigger = (1, 4, 8, 14)[trigger]

    @rule()
    def read_identity(self) -> None:
        identity = self.identity()
        assert self.chip.read(uart_.Reg.IIR, 1) & 0x0F == identity
        if identity == 2:
            self.empty = False

    @rule()
    def read_status(self) -> None:
        status = self.chip.read(uart_.Reg.LSR, 1)
        assert status == 0x60 | bool(self.fifo) | self.overrun << 1
        self.overrun = False

    @invariant()
    def the_pin_says_whether_anything_waits(self) -> None:
        assert self.line.level == (self.identity() != 1)
        assert self.sent == self.expected


class Drives(RuleBasedStateMachine):
    """Two drives of an IDE channel: sectors are what was written last, by whatever command and however interrupted."""

    READ, READ_EXT, READ_MULTIPLE = 0x20, 0x24, 0xC4
    WRITE, WRITE_EXT, WRITE_MULTIPLE = 0x30, 0x34, 0xC5

    def __init__(self) -> None:
        super().__init__()
        self.bench = ide_.Bench(disks=(ide_.SlowDisk(sectors=64), ide_.SlowDisk(sectors=64)))
        self.expected = [
            [disk.sector(lba) for lba in range(64)] for disk in self.bench.disks if disk is not None
        ]

    def start(self, code: int, unit: int, lba: int, count: int) -> None:
        if code in (self.READ_EXT, self.WRITE_EXT):
            self.bench.out(ide_.Reg.DEVICE, 0x40 | unit << 4)
            for register, value in ((2, 0), (2, count), (3, 0), (3, lba), (4, 0), (4, 0), (5, 0), (5, 0)):
                self.bench.out(register, value)
            self.bench.out(ide_.Reg.COMMAND, code)
            self.bench.pause()
        else:
            self.bench.command(code, lba=lba, count=count, device=0xE0 | unit << 4)
        self.bench.work()

    def status(self) -> int:
        return self.bench.into(ide_.Reg.COMMAND)

    @rule(unit=st.integers(0, 1), power=st.integers(1, 4))
    def set_multiple(self, unit: int, power: int) -> None:
        self.bench.command(0xC6, count=1 << power, device=0xE0 | unit << 4)
        assert self.status() == 0x50

    @rule(
        code=st.sampled_from([READ, READ_EXT, READ_MULTIPLE]),
        unit=st.integers(0, 1),
        lba=st.integers(0, 63),
        count=st.integers(1, 20),
    )
    def read(self, code: int, unit: int, lba: int, count: int) -> None:
        self.start(code, unit, lba, count)
        wanted = self.expected[unit][lba : lba + count]
        data = b""
        while self.status() & 8:
            data += self.bench.sector_in()
            self.bench.work()
        if lba + count > 64:
            assert (self.status(), self.bench.into(1) & 0x10) == (0x51, 0x10)  # IDNF
            assert b"".join(wanted).startswith(data)
        else:
            assert (data, self.status()) == (b"".join(wanted), 0x50)

    @rule(
        code=st.sampled_from([WRITE, WRITE_EXT, WRITE_MULTIPLE]),
        unit=st.integers(0, 1),
        lba=st.integers(0, 63),
        count=st.integers(1, 20),
        fill=BYTES,
    )
    def write(self, code: int, unit: int, lba: int, count: int, fill: int) -> None:
        count = min(count, 64 - lba)
        self.start(code, unit, lba, count)
        for at in range(lba, lba + count):
            sector = bytes((fill, at)) * 256
            assert self.status() & 0x88 == 8
            self.bench.sector_out(sector)
            self.bench.work()
            self.expected[unit][at] = sector
        assert self.status() == 0x50

    @rule(unit=st.integers(0, 1), lba=st.integers(0, 63), count=st.integers(2, 20))
    def reset_in_the_midst_of_a_read(self, unit: int, lba: int, count: int) -> None:
        self.start(self.READ, unit, lba, min(count, 64 - lba))
        self.bench.ide.control.write(0, 1, 4)
        self.bench.pause(ide_.RESET_NS)
        self.bench.ide.control.write(0, 1, 0)
        self.bench.pause(ide_.RESET_NS)
        assert self.status() == 0x50

    @invariant()
    def a_drive_at_rest_wants_nothing(self) -> None:
        assert not self.status() & 0x88


TestInterrupts = Interrupts.TestCase
TestInterrupts.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestSerial = Serial.TestCase
TestSerial.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestDrives = Drives.TestCase
TestDrives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
