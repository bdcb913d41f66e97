"""The same register script on QEMU's chips and on ours, where QEMU and the data sheets agree.

QEMU's time stands still here, so this is about registers and their logic. Known disagreements, in which the
data sheet wins:

* 8254: QEMU loads a count at the write, not at the next CLK pulse (here ours gets that pulse); gives OUT of
  mode 2 inverted in the status byte; never shows the null count bit; counts with GATE low; counts odd numbers
  in mode 3; a control word leaves what is latched. OUT and null count are masked here, and counts are
  compared in modes 0, 2 and 4.
* 8259A: QEMU keeps an edge-triggered request whose line has fallen, and clears a masked level by a
  non-specific EOI in special mask mode. Lines fall here only after they were acknowledged.
* 16550A: QEMU does not gate the interrupt with OUT2 (here it is set), and changes of the modem lines in
  loopback leave no deltas; clearing the transmitter's FIFO, also by switching FIFOs, interrupts as if it had
  become empty. FIFOs are switched once here. QEMU does not cut bytes to the length of a word: all have eight bits.
* PS/2 mouse: QEMU does not answer bytes that are no commands, takes any sample rate and resolution, has none before the
  first reset, and stays in wrap mode over a reset. Bytes here are valid.
* 8237: QEMU moves a base to the current register with its second byte. Both bytes are written here, and both read. It
  shows the mask at another register.
* 82077AA: QEMU has no interrupt for a reset of the registers alone, ends RECALIBRATE of an absent drive well, keeps the
  data rate's default at 500 kbit/s, and DUMPREG shows one drive's track as both. What is compared needs no diskette.
"""

import random
import shutil
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.device import Device
from devmodel.board.lines import Line
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.devices.dma8237 import Dma8237
from devmodel.devices.fdc import Fdc
from devmodel.devices.kbc import FRAME, Kbc
from devmodel.devices.pic import PicPair
from devmodel.devices.pit import Pit
from devmodel.devices.rtc import Rtc
from devmodel.devices.uart import Uart
from devmodel.qtest.machine import QtestCore
from devmodel.qtest.server import Qtest

QEMU = shutil.which("qemu-system-i386")
pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed: it is the oracle here"),
]
BASE = 1_709_251_198  # 2024-02-29T23:59:58


@attrs.define
class Qemu:
    """A machine whose registers can be reached, and whose processor and time stand still."""

    options: tuple[str, ...] = ("-machine", "isapc")
    process: subprocess.Popen[str] = attrs.field(init=False)

    def __enter__(self) -> Self:
        assert QEMU is not None
        self.process = subprocess.Popen(
            [
                QEMU, *self.options, "-accel", "tcg", "-S", "-display", "none", "-nodefaults", "-serial",
                "null", "-rtc", "base=2024-02-29T23:59:58,clock=vm", "-qtest", "stdio",
                "-qtest-log", "/dev/null",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def ask(self, command: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline().split()
            assert answer, f"QEMU is gone after {command}"
            if answer[0] == "OK":
                return int(answer[1], 0) if len(answer) > 1 else 0
            assert answer[0] == "IRQ", f"{command}: {answer}"


@attrs.define
class Both:
    """QEMU's chip and ours, side by side."""

    qemu: Qemu
    clock: ManualClock = attrs.field(factory=ManualClock)
    ports: dict[int, tuple[Device, int]] = attrs.field(factory=dict)
    log: list[str] = attrs.field(factory=list)

    def map(self, first: int, count: int, device: Device) -> None:
        for offset in range(count):
            self.ports[first + offset] = device, offset

    def out(self, port: int, value: int) -> None:
        self.log.append(f"out {port:#x}, {value:#x}")
        self.qemu.ask(f"outb {port:#x} {value:#x}")
        device, offset = self.ports[port]
        device.write(offset, 1, value)

    def into(self, port: int) -> tuple[int, int]:
        """What QEMU's chip says, and what ours says."""
        theirs = self.qemu.ask(f"inb {port:#x}")
        device, offset = self.ports[port]
        ours = device.read(offset, 1)
        self.log.append(f"in {port:#x}: {theirs:#x} {ours:#x}")
        return theirs, ours

    def same(self, port: int, mask: int = 0xFF) -> int:
        theirs, ours = self.into(port)
        assert theirs & mask == ours & mask, "\n".join(self.log[-40:])
        return ours


@pytest.fixture
def both() -> Iterator[Both]:
    with Qemu() as qemu:
        yield Both(qemu)


def test_the_8254_takes_and_gives_counts_alike(both: Both) -> None:
    both.map(0x40, 4, Pit(clock=both.clock, irq=Line()))
    rng = random.Random(8254)
    for _ in range(150):
        counter, mode, access = rng.choice([0, 1]), rng.choice([0, 2, 4]), rng.choice([1, 2, 3])
        bcd = rng.random() < 0.3
        count = int(f"{rng.randrange(10000):04d}", 16) if bcd else rng.randrange(0x10000)
        both.out(0x43, counter << 6 | access << 4 | mode << 1 | bcd)
        if access & 1:
            both.out(0x40 + counter, count & 0xFF)
        if access & 2:
            both.out(0x40 + counter, count >> 8)
        both.clock.advance(839)  # the pulse that loads it
        for _ in range(rng.randrange(1, 8)):
            match rng.randrange(4):
                case 0:
                    both.out(0x43, counter << 6)
                case 1:
                    both.out(0x43, 0xC0 | 2 << counter | rng.choice([0x00, 0x10, 0x20]))
                    if not both.log[-1].endswith(("0xd2", "0xd4")):
                        both.same(0x40 + counter, 0x3F)  # the status comes first
                case _:
                    for _ in range(1 + (access == 3)):  # no half reads: latching then is undefined
                        both.same(0x40 + counter)
        for _ in range(3):
            both.into(0x40 + counter)  # so that nothing stays latched


def test_the_8259as_resolve_alike(both: Both) -> None:
    pair = PicPair(intr=Line())
    both.map(0x20, 2, pair.master)
    both.map(0xA0, 2, pair.slave)
    both.map(0x4D0, 2, pair.elcr)
    timer = Pit(clock=both.clock, irq=Line([lambda level: pair.set_irq(0, level)]))
    both.map(0x40, 4, timer)
    uart = Uart(clock=both.clock, irq=Line([lambda level: pair.set_irq(4, level)]))
    both.map(0x3F8, 8, uart)
    rng = random.Random(8259)
    for icw4 in (0x01, 0x03, 0x11):
        for port, base, cascade in ((0x20, 0x20, 4), (0xA0, 0x28, 2)):
            both.out(port, 0x11)
            for value in (base, cascade, icw4, 0):
                both.out(port + 1, value)
        both.out(0x3FC, 0x08)
        for _ in range(120):
            match rng.randrange(8):
                case 0:  # a new edge of IRQ4, once the last was taken
                    both.out(0x20, 0x0A)
                    if not both.same(0x20, 0xFE) & 0x10:
                        both.out(0x3F9, 0)
                        both.out(0x3F9, 2)
                case 1:
                    both.out(0x21, rng.choice([0, 0, 0x10, 0xEF, rng.randrange(256)]))
                case 2:
                    both.out(0x20, 0x0C)
                    both.same(0x20)
                case 3:
                    both.out(0x20, rng.choice([0x20, 0x64, 0xA0, 0xE4, 0xC0 | rng.randrange(8), 0x80, 0x00]))
                case 4:
                    both.out(0x20, rng.choice([0x0A, 0x0B]))
                    both.same(0x20, 0xFE)  # IRQ0: QEMU's timer is high from power-on
                case 5:
                    both.same(0x21)
                    both.same(0xA1)
                case 6:
                    both.out(0xA0, 0x0C)
                    both.same(0xA0)
                case _:
                    both.out(0x4D0, rng.randrange(256) & 0x20)
                    both.same(0x4D0)


@pytest.mark.parametrize("fifo", [0x00, 0x01, 0x81])
def test_the_16550a_answers_alike(both: Both, fifo: int) -> None:
    both.map(0x3F8, 8, Uart(clock=both.clock, irq=Line()))
    rng = random.Random(16550)
    both.out(0x3FC, 0x08)  # QEMU's has OUT2 set from power-on
    both.out(0x3FA, fifo)
    for _ in range(700):
        match rng.randrange(9):
            case 0:
                both.out(0x3FB, rng.choice([0x03, 0x03, 0x83, rng.randrange(256) & 0xBF | 3]))
            case 1:
                both.out(0x3F9, rng.randrange(256) & 0xF7)
            case 2:
                both.out(0x3FA, fifo and fifo | rng.choice([0x00, 0x02, 0x40]))
            case 3:
                both.out(0x3FC, rng.choice([0x00, 0x0B, 0x10, 0x1A, 0x1F, rng.randrange(32)]))
            case 4:
                both.out(0x3F8, rng.randrange(256))
            case 5:
                both.out(0x3FF, rng.randrange(256))
            case 6:
                both.same(0x3FE, 0xF0)
            case 7:
                both.same(0x3FD)
            case _:
                both.same(rng.choice([0x3F8, 0x3F9, 0x3FA, 0x3FB, 0x3FC, 0x3FF]))


@pytest.mark.parametrize("mode", [0x02, 0x00])
def test_the_mc146818_shows_the_same_time(both: Both, mode: int) -> None:
    rtc = Rtc(clock=both.clock, irq=Line())
    rtc.set_time(BASE)
    both.map(0x70, 2, rtc)

    def get(index: int) -> int:
        both.out(0x70, index)
        return both.same(0x71)

    for index in (0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x0D, 0x32):
        get(index)
    # QEMU makes the registers anew from its time when the format changes; the data sheet leaves them to the guest. So
    # binary registers are not compared, and all are written first, with what is a time in either kind of hours.
    fields = ((0x00, 0x07), (0x02, 0x04), (0x04, 0x09), (0x07, 0x05), (0x08, 0x08), (0x09, 0x06))
    both.out(0x70, 0x0B)
    both.out(0x71, 0x80 | mode)
    for index, value in fields:
        both.out(0x70, index)
        both.out(0x71, value)
    for index, value in (*fields, (0x0B, mode)):
        both.out(0x70, index)
        both.out(0x71, value)
        for other in (0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x0B):
            get(other)
    for index in (0x01, 0x03, 0x05, 0x40, 0x7F):
        both.out(0x70, index)
        both.out(0x71, 0x5A)
        get(index)


def test_keyboard_and_mouse_answer_alike(both: Both) -> None:
    kbc = Kbc(
        clock=both.clock, irq=Line(), aux_irq=Line(), a20=Line(level=True), reset_processor=lambda: None
    )
    both.map(0x60, 5, kbc)
    rng = random.Random(8042)

    def answers() -> None:
        """Read what both have, with the time that it takes ours to send a byte."""
        for _ in range(10):
            both.clock.advance(FRAME)
            kbc.tick()
            if both.same(0x64, 0x21) & 1:
                both.same(0x60)

    def tell(mouse: bool, *values: int) -> None:
        for value in values:
            if mouse:
                both.out(0x64, 0xD4)
            both.out(0x60, value)
            answers()

    both.out(0x64, 0x60)
    both.out(0x60, 0x03)
    tell(False, 0xFF)
    tell(True, 0xFF)
    for _ in range(150):
        match rng.randrange(8):
            case 0:
                tell(True, 0xE8, rng.randrange(4))
            case 1:
                tell(True, 0xF3, rng.choice([10, 20, 40, 60, 80, 100, 200]))
            case 2:
                tell(True, 0xEE, rng.choice([0x00, 0xF4, 0xE9]), 0xEC)
            case 3:
                tell(
                    True,
                    *rng.choice([(0xF3, 200, 0xF3, 100, 0xF3, 80), (0xF3, 200, 0xF3, 200, 0xF3, 80)]),
                    0xF2,
                )
            case 4:
                tell(
                    False, *rng.choice([(0xED, 2), (0xEE,), (0xF2,), (0xF3, 0x2B), (0xF4,), (0xF5,), (0xF6,)])
                )
            case 5:
                tell(False, 0xF0, rng.choice([0, 1, 2, 3]))
            case _:
                tell(True, rng.choice([0xE6, 0xE7, 0xE9, 0xEA, 0xEB, 0xF0, 0xF2, 0xF4, 0xF5, 0xF6, 0xFF]))


class Nowhere:
    """Memory that nobody has."""

    def read(self, _address: int, length: int) -> bytes:
        return b"\xff" * length

    def write(self, _address: int, _data: bytes | memoryview) -> None:
        pass

    def holds(self, _address: int, _length: int) -> bool:
        return False


@pytest.mark.parametrize(("base", "width"), [(0x00, 1), (0xC0, 2)])
def test_the_8237_keeps_addresses_and_counts_alike(both: Both, base: int, width: int) -> None:
    both.map(base, 16 * width, Dma8237(width=width, ram=Nowhere(), page=lambda _: 0))
    rng = random.Random(8237)
    both.out(base + 13 * width, 0)
    for _ in range(300):
        register = base + rng.randrange(8) * width
        match rng.randrange(5):
            case 0:
                both.out(base + 12 * width, 0)
                both.out(register, rng.randrange(256))
                both.out(register, rng.randrange(256))
            case 1:
                both.out(base + 12 * width, 0)
                both.same(register)
                both.same(register)
            case 2:
                both.out(base + 10 * width, rng.randrange(8))
            case 3:
                both.out(base + rng.choice([14, 15]) * width, rng.randrange(16))
            case _:
                both.same(base + 8 * width)


def test_the_82077aa_answers_alike_without_a_diskette(both: Both) -> None:
    fdc = Fdc(clock=both.clock, irq=Line())
    both.map(0x3F0, 8, fdc)
    rng = random.Random(82077)

    def command(*values: int) -> None:
        for value in values:
            assert both.same(0x3F4, 0xC0) & 0xC0 == 0x80
            both.out(0x3F5, value)
        both.clock.advance(10**9)
        fdc.tick()
        while both.same(0x3F4, 0xD0) & 0xD0 == 0xD0:
            both.same(0x3F5)

    both.out(0x3F2, 0x00)
    both.out(0x3F2, 0x0C)
    both.clock.advance(10**9)
    fdc.tick()
    for _ in range(4):
        command(0x08)
    for _ in range(200):
        command(
            *rng.choice([
                (0x08,), (0x10,), (0x14,), (0x94,), (0x03, rng.randrange(256), rng.randrange(256) & 0xFE),
                (0x13, 0, rng.randrange(128) & 0x3F, rng.randrange(256)), (0x00,), (0x1F,), (0x15,),
                (0x12, 0x80 | rng.randrange(4)),
            ])
        )  # fmt: skip
        both.same(0x3F2)


SCRIPT = """
endianness
outb 0x80 0x1ff
outl 0xcf8 0x80000000
inl 0xcfc
inw 0xcfe
inb 0xcff and more words
inw 0x999
inl 0x999
writel 0x1000 0xdeadbeef
readw 0x1001
writew 0x1000 0x12345678
readq 0x1000
writeq 0x1000 -1
writeb 0x1003 0400
readq 0x1000
write 0x1000 4 0xaabb
read 0x1000 4
write 0x1000 2 0xCCDDeeff
read 4096 4
write 0x1000 4 0xaab
b64read 0x1000 4
b64write 0x1000 4 AQIDBA==
read 0x1000 6
b64write 0x1000 2 //8DBA==
read 0x1000 4
b64read 0x1000 0
memset 0x1000 3 0x155
memset 0x1000 0 1
read 0x1000 4
write 0x1000 4 0x
write 0x1000 2 0xz1
read 0x1000 2
foo bar
 inb 0x61
INB 0x61
rtas a 1 1 1 1
module_load x y
irq_intercept_in nosuch
irq_intercept_in ioapic
irq_intercept_in ioapic
irq_intercept_out ioapic
set_irq_in nosuch unnamed-gpio-in 1 1
outb 0x3fc 8
outb 0x3f9 2
inb 0x3fa
outb 0x3f9 0
outb 0x64 0x60
outb 0x60 0x61
"""


def test_the_same_qtest_script_has_the_same_answers() -> None:
    """Ports where our chips and QEMU's agree: this is about the protocol. The last line is the keyboard's."""
    assert QEMU is not None
    options = (
        "-machine pc -accel tcg -S -display none -nodefaults -serial null -qtest stdio -qtest-log /dev/null"
    )
    commands = SCRIPT.strip("\n").splitlines()
    process = subprocess.Popen(
        [QEMU, *options.split()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    core, clock = QtestCore(128 << 20), ManualClock()
    ours = Qtest(Board.build(clock, core, Fittings(memory=core.e820)), core, clock)
    try:
        for command in commands:
            process.stdin.write(command + "\n")
            process.stdin.flush()
            theirs = []
            while not theirs or theirs[-1].startswith("IRQ"):
                theirs.append(process.stdout.readline())
                assert theirs[-1], f"QEMU is gone after '{command}'"
            for _ in ours.perform(command.encode()):
                pass
            assert ours.take().decode() == "".join(theirs), command
    finally:
        process.kill()
        process.communicate()
