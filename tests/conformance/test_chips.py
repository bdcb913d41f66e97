"""What every chip promises: the guest cannot raise, a saved chip goes on as if nothing had been.

A rig is a chip with its wires cut off and written down. A random script of accesses and time runs on it;
every rig is built the same way, so two of them that see the same script must say the same.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devmodel.board.clock import ManualClock
from devmodel.board.device import Device, DiskFlush, DiskRead, DiskWrite
from devmodel.board.lines import Line
from devmodel.board.mirror import Mirror
from devmodel.devices import kbc
from devmodel.devices.ata_transport import BUSY_NS
from devmodel.devices.debugport import PostCode
from devmodel.devices.diskette import Bay
from devmodel.devices.dma8237 import Dma8237, DmaPages
from devmodel.devices.fdc import Fdc
from devmodel.devices.fdc_registers import LENGTHS, MFM, MODIFIERS
from devmodel.devices.fdc_registers import Reg as FdcReg
from devmodel.devices.fw_cfg import FwCfg, make_items
from devmodel.devices.hpet import Hpet
from devmodel.devices.i440fx import I440fx
from devmodel.devices.ide import IdeChannel, IdeState
from devmodel.devices.kbc import Kbc
from devmodel.devices.mmc import Tray
from devmodel.devices.parallel import Parallel
from devmodel.devices.pci import Bar, PciBus, PciFunction, PciPorts
from devmodel.devices.pic import PicPair
from devmodel.devices.piix3 import Piix3, Piix3Ide
from devmodel.devices.piix4pm import Piix4Pm
from devmodel.devices.pit import MissedTicks, Pit
from devmodel.devices.port61 import Port61
from devmodel.devices.port92 import Port92
from devmodel.devices.rtc import Rtc
from devmodel.devices.uart import Uart
from devmodel.devices.vga import Vga
from ioreq.mirror import ANYONE, WRITERS_SHIFT


@attrs.define
class Wires:
    """What a chip says to its surroundings, written down."""

    clock: ManualClock = attrs.field(factory=ManualClock)
    said: list[tuple[str, Any]] = attrs.field(factory=list)
    disk: dict[int, bytes] = attrs.field(factory=dict)
    sectors: int = 300
    readonly: bool = False
    lines: dict[str, Line] = attrs.field(factory=dict)
    queue: list[DiskRead | DiskWrite | DiskFlush] = attrs.field(factory=list)

    def hear(self, what: str) -> Callable[..., None]:
        return lambda *values: self.said.append((what, values))

    def line(self, name: str, level: bool = False) -> Line:
        """A line that keeps its level when the chip behind it is replaced."""
        return self.lines.setdefault(name, Line([self.hear(name)], level))

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        self.queue.append(request)

    def work(self) -> None:
        """Let the medium answer."""
        waiting, self.queue = self.queue, []
        for request in waiting:
            self._perform(request)

    def _perform(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        match request:
            case DiskRead(lba, count, done):
                data = b"".join(self.disk.get(lba + i, bytes([lba + i & 0xFF]) * 512) for i in range(count))
                done(data)
            case DiskWrite(lba, data, done):
                for i in range(0, len(data), 512):
                    self.disk[lba + i // 512] = data[i : i + 512]
                done(True)
            case DiskFlush(done):
                done(True)

    def read(self, address: int, length: int) -> bytes:
        return bytes(address + i & 0xFF for i in range(min(length, 64))).ljust(length, b"\xff")

    def write(self, address: int, data: bytes) -> None:
        self.hear("ram")(address, data[:64])

    def holds(self, address: int, length: int) -> bool:
        return address + length <= 1 << 32


Kept: TypeAlias = dict[str, Any]
Maker: TypeAlias = Callable[[Wires, Kept], tuple[Any, list[tuple[Device, int]]]]
"""Builds a chip on wires, with `state` or without, and says what can be accessed, how many offsets of it."""


def simple(chip: Any, length: int) -> tuple[Any, list[tuple[Device, int]]]:
    return chip, [(chip, length)]


def make_pic(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    pair = PicPair(intr=w.line("intr"), **kept)
    return pair, [(pair.master, 2), (pair.slave, 2), (pair.elcr, 2)]


def make_pit(missed: str, w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    irq = w.line("irq")
    return simple(Pit(clock=w.clock, irq=irq, missed=missed, waits=lambda: irq.level, **kept), 4)


def make_parallel(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    return simple(Parallel(clock=w.clock, irq=w.line("irq"), printer=Paper(w), **kept), 3)


@attrs.frozen
class Paper:
    """A printer that is busy now and then."""

    wires: Wires

    def room(self) -> bool:
        return bool(self.wires.clock.time & 2)

    def failing(self) -> bool:
        return bool(self.wires.clock.time & 4)

    def put(self, byte: int) -> None:
        self.wires.hear("printed")(byte)


def make_ide(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    channel = IdeChannel(irq=w.line("irq"), clock=w.clock, disks=(w, None), **kept)
    return channel, [(channel, 8), (channel.control, 1)]


def make_vga(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    vga = Vga(clock=w.clock, **kept)
    return vga, [(vga, 0x30), (vga.memory, 0x2_0000)]


def make_fw_cfg(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    device = FwCfg(items=make_items({"a": b"bc"}, ram_size=1, cpus=1), ram=w, clock=w.clock, **kept)
    return device, [(device, 2), (device.dma, 8)]


def make_pm(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    pm = Piix4Pm(clock=w.clock, irq=w.line("sci"), shutdown=w.hear("shutdown"), **kept)
    return pm, [(pm, 0x40), (pm.apm, 2), (Configured(pm), 256)]


def make_i440fx(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    # What the bridge tells anew when it is restored is heard, but is no difference.
    bridge = I440fx(memory_type=lambda *_: None, **kept)
    return bridge, [(Configured(bridge), 256)]


def make_piix3(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    bridge = Piix3(irqs=[w.line(f"irq{n}") for n in range(16)], reset_machine=w.hear("reset"), **kept)
    return bridge, [(bridge, 1), (Configured(bridge), 256), (Pirqs(bridge), 4)]


def make_cdrom(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    channel = IdeChannel(irq=w.line("irq"), clock=w.clock, disks=(Tray(w), w), **kept)
    return channel, [(channel, 8), (channel.control, 1), (Packets(channel), 1)]


@attrs.frozen
class Packets:
    """Whole packet commands as one access, for chance finds none: a write's value has a command and its operand."""

    channel: IdeChannel

    def read(self, _offset: int, size: int) -> int:
        return int.from_bytes(self.channel.read_string(0, 2, 1024)[:size], "little")

    def write(self, _offset: int, _size: int, value: int) -> None:
        for register, byte in ((6, 0xA0), (1, value >> 8 & 1), (4, value >> 9 & 0xFE), (5, 0), (7, 0xA0)):
            self.channel.write(register, 1, byte)
        code = (0, 3, 0x12, 0x1A, 0x1B, 0x1E, 0x25, 0x28, 0x43, 0x46, 0x4A, 0x51, 0x5A, 0xBE)[
            value & 0xFF % 14
        ]
        operand = value >> 16 & 0xFF
        self.channel.clock.advance(BUSY_NS)  # type: ignore[attr-defined]
        packet = bytes((code, 0, operand & 0x2A, 0, operand & 0x1F, operand & 3, 0, 0, 2, 0xF8, 0, 0))
        self.channel.write_string(0, 2, packet)


def make_ide_function(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    function = Piix3Ide(ram=w, **kept)
    return function, [(Configured(function), 256), (function.ports, 16)]


@attrs.frozen
class Controller:
    """An IDE channel with its bus master, as one chip."""

    function: Piix3Ide
    channel: IdeChannel

    @property
    def state(self) -> tuple[Any, Any]:
        return self.function.state, self.channel.state

    def reset(self) -> None:
        self.function.reset()
        self.channel.reset()

    def tick(self) -> None:
        self.channel.tick()


@attrs.frozen
class Transfers:
    """DMA commands as one access: the value says which, how many sectors, and where the table is."""

    controller: Controller

    def read(self, _offset: int, _size: int) -> int:
        return 0

    def write(self, _offset: int, _size: int, value: int) -> None:
        channel, ports = self.controller.channel, self.controller.function.ports
        self.controller.function.config_write(4, 2, 5)
        code = (0xC8, 0xCA, 0x25, 0x35)[value & 3]
        ports.write(4, 4, value & 0xFFFC)
        ports.write(0, 1, 0)
        ports.write(0, 1, 1 | (0 if value & 1 else 8))
        for register, byte in ((6, 0xE0), (2, value >> 8 & 63), (3, value >> 4), (4, 0), (5, 0), (7, code)):
            channel.write(register, 1, byte & 0xFF)


def make_controller(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    first, second = ({"state": state} for state in kept["state"]) if kept else ({}, {})
    function = Piix3Ide(ram=w, **first)
    master = function.masters[0]
    channel = IdeChannel(irq=w.line("irq"), clock=w.clock, disks=(w, None), bus_master=master, **second)
    function.connect(channel.decode, lambda _: None)
    chip = Controller(function, channel)
    return chip, [(channel, 8), (channel.control, 1), (function.ports, 8), (Transfers(chip), 1)]


def make_pci_function(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    function = PciFunction(
        name="f", vendor=1, device=2, class_code=0xFF0000, bars={0: Bar(PostCode(), 16)}, pin=1,
        capabilities=[(9, b"abc")], rom=b"\x55\xaa", line=w.line("irq of intx"), **kept,
    )  # fmt: skip
    return function, [(Configured(function), 256)]


def make_pci(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    ports = PciPorts(bus=PciBus({}), reset_control=Nothing(), **kept)  # the bridge has a state of its own
    return ports, [(ports, 8), (ports.bus.config, 8)]


def make_dma(width: int, w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    dma = Dma8237(width=width, ram=w, page=lambda channel: channel, **kept)
    dma.clients[2] = Endless(w)
    return dma, [(dma, 16 * width)]


@attrs.frozen
class Endless:
    """A device that always wants DMA."""

    wires: Wires

    def dma_ready(self) -> int:
        return 64

    def dma_read(self, length: int) -> bytes:
        return bytes(length)

    def dma_write(self, data: bytes) -> None:
        self.wires.hear("dma")(data[:64])

    def dma_skip(self, length: int) -> None:
        self.wires.hear("skip")(length)

    def dma_end(self) -> None:
        self.wires.hear("end")()


def make_fdc(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    w.sectors = 1440
    fdc = Fdc(clock=w.clock, irq=w.line("irq"), bays=(Bay("720K", w), None), **kept)
    return fdc, [(fdc, 8), (Commands(fdc), 1)]


@attrs.frozen
class Commands:
    """Whole commands as one access, since chance finds none: a write's value has a command and its operands."""

    fdc: Fdc

    def read(self, _offset: int, _size: int) -> int:
        return self.fdc.read(FdcReg.FIFO, 1)

    def write(self, _offset: int, _size: int, value: int) -> None:
        op = sorted(LENGTHS)[value % len(LENGTHS)]
        first = op | MODIFIERS.get(op, 0) & (value >> 5 | MFM)
        self.fdc.write(FdcReg.DOR, 1, 0x1C)
        operands = (value >> 8 & 5, value >> 10 & 3, value >> 8 & 1, 1 + (value >> 12 & 7), 2, 9, 0x1B, 1)
        for byte in (first, *operands[: LENGTHS[op] - 1]):
            self.fdc.write(FdcReg.FIFO, 1, byte)


@attrs.frozen
class FloppyAndDma:
    """A floppy controller with its DMA controller, as one chip."""

    fdc: Fdc
    dma: Dma8237

    @property
    def state(self) -> tuple[Any, Any]:
        return self.fdc.state, self.dma.state

    def reset(self) -> None:
        self.fdc.reset()
        self.dma.reset()

    def tick(self) -> None:
        self.fdc.tick()


@attrs.frozen
class Programmed:
    """Channel 2 set up in one access."""

    dma: Dma8237

    def read(self, _offset: int, _size: int) -> int:
        return self.dma.read(8, 1)

    def write(self, _offset: int, _size: int, value: int) -> None:
        for register, byte in (
            (12, 0),
            (11, value & 0xFC | 2),
            (4, 0),
            (4, value >> 8),
            (5, value >> 9),
            (5, 3),
            (10, 2),
        ):
            self.dma.write(register, 1, byte & 0xFF)


def make_floppy(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    first, second = ({"state": state} for state in kept["state"]) if kept else ({}, {})
    w.sectors = 1440
    dma = Dma8237(width=1, ram=w, page=lambda channel: channel, **second)
    bays = (Bay("720K", w), None)
    fdc = Fdc(clock=w.clock, irq=w.line("irq"), bays=bays, dma_request=partial(dma.request, 2), **first)
    dma.clients[2] = fdc.execution
    return FloppyAndDma(fdc, dma), [(fdc, 8), (Commands(fdc), 1), (Programmed(dma), 1)]


class Nothing:
    """A device that remembers nothing."""

    def read(self, _offset: int, _size: int) -> int:
        return 0

    def write(self, _offset: int, _size: int, _value: int) -> None:
        pass


def make_port92(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    a20 = Line([w.hear("a20")], kept["state"].a20 if kept else False)
    return simple(Port92(a20=a20, reset_processor=w.hear("reset"), **kept), 1)


def make_port61(w: Wires, kept: Kept) -> tuple[Any, list[tuple[Device, int]]]:
    pit = Pit(clock=w.clock, irq=Line())
    if kept:
        pit.set_gate(2, bool(kept["state"].control & 1))
    return simple(Port61(clock=w.clock, timer=pit, **kept), 1)


@attrs.frozen
class Configured:
    """Configuration space as a device."""

    function: Any

    def read(self, offset: int, size: int) -> int:
        value = self.function.config_read(offset, size)
        assert isinstance(value, int)
        return value & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        self.function.config_write(offset, size, value)


@attrs.frozen
class Pirqs:
    """The PIRQ pins as a device."""

    bridge: Piix3

    def read(self, _offset: int, _size: int) -> int:
        return 0

    def write(self, offset: int, _size: int, value: int) -> None:
        self.bridge.set_pirq(offset & 3, bool(value & 1))


CHIPS: dict[str, Maker] = {
    "pit": lambda w, kept: simple(Pit(clock=w.clock, irq=w.line("irq"), **kept), 4),
    "pit that owes ticks": partial(make_pit, MissedTicks.NO_DELAY),
    "pit that delays": partial(make_pit, MissedTicks.DELAY),
    "parallel": make_parallel,
    "pic": make_pic,
    "uart": lambda w, kept: simple(
        Uart(clock=w.clock, irq=w.line("irq"), transmit=w.hear("sent"), **kept), 8
    ),
    "paced uart": lambda w, kept: simple(
        Uart(clock=w.clock, irq=w.line("irq"), transmit=w.hear("sent"), paced=True, **kept), 8
    ),
    "ide": make_ide,
    "cdrom": make_cdrom,
    "ide with bus master": make_controller,
    "vga": make_vga,
    "hpet": lambda w, kept: simple(
        Hpet(clock=w.clock, irqs=[w.line(f"irq {n}") for n in range(16)], **kept), 0x160
    ),
    "rtc": lambda w, kept: simple(Rtc(clock=w.clock, irq=w.line("irq"), **kept), 2),
    "kbc": lambda w, kept: simple(
        Kbc(
            clock=w.clock,
            irq=w.line("irq"),
            aux_irq=w.line("aux irq"),
            a20=w.line("a20", True),
            reset_processor=w.hear("reset"),
            **kept,
        ),
        5,
    ),
    "port61": make_port61,
    "port92": make_port92,
    "fw_cfg": make_fw_cfg,
    "pci": make_pci,
    "i440fx": make_i440fx,
    "piix3": make_piix3,
    "piix3_ide": make_ide_function,
    "pci function": make_pci_function,
    "piix4pm": make_pm,
    "dma1": partial(make_dma, 1),
    "dma2": partial(make_dma, 2),
    "fdc": make_fdc,
    "floppy": make_floppy,
    "dma_pages": lambda _, kept: simple(DmaPages(**kept), 15),
    "post": lambda _, kept: simple(PostCode(**kept), 1),
}


@attrs.define
class Rig:
    """One chip on its wires, and a script to run on it."""

    make: Maker
    wires: Wires = attrs.field(factory=Wires)
    chip: Any = None
    doors: list[tuple[Device, int]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.chip, self.doors = self.make(self.wires, {})

    def restore(self) -> None:
        """Replace the chip by one that was built from its saved state."""
        state = copy.deepcopy(self.chip.state)
        before = len(self.wires.said)
        self.wires.queue.clear()  # the new chip asks again
        self.chip, self.doors = self.make(self.wires, {"state": state})
        assert self.wires.said[before:] == []  # the lines had the right levels already
        assert self.chip.state == state

    def step(self, action: tuple[Any, ...]) -> Any:
        match action:
            case "read", door, offset, size:
                device, length = self.doors[door % len(self.doors)]
                value = device.read(offset % length, size)
                assert 0 <= value < 1 << 8 * size, "a read answers no more than was asked for"
                return value
            case "write", door, offset, size, value:
                device, length = self.doors[door % len(self.doors)]
                device.write(offset % length, size, value & (1 << 8 * size) - 1)
            case "wait", ns:
                self.wires.clock.advance(ns)
                self.wires.work()
                if hasattr(self.chip, "tick"):
                    self.chip.tick()
            case "input", value:
                if isinstance(self.chip, Uart):
                    self.chip.receive(value)
                    self.chip.clear_to_send(value > 64)
                elif isinstance(self.chip, PicPair):
                    self.chip.set_irq(value & 15, bool(value & 16))
                    if value & 32:
                        return self.chip.acknowledge()
                elif isinstance(self.chip, Kbc):
                    if value & 1:
                        self.chip.keyboard.press("a")
                    elif value & 2:
                        self.chip.keyboard.release("a")
                    else:
                        self.chip.mouse.move(value, -value, value >> 7)
                        self.chip.mouse.press("side")
                elif isinstance(self.chip, Pit):
                    self.chip.set_gate(value % 3, bool(value & 16))
                    if value & 32:
                        self.chip.accepted()
                elif isinstance(self.chip, PciFunction):
                    self.chip.interrupt(bool(value & 1))
                elif isinstance(self.chip, Piix3Ide):
                    self.chip.masters[value & 1].set_intrq(bool(value & 2))
        return None


# Commands that mean something to one chip or other come up more often than chance would have them.
VALUES = st.one_of(
    st.integers(0, 0xFFFF_FFFF_FFFF_FFFF),
    st.integers(0, 255),
    st.sampled_from(
        [0x11, 0x20, 0x30, 0x34, 0x36, 0x80, 0x90, 0xC4, 0xC5, 0xC6, 0xE2, 0xEC, 0x03, 0xFF, 0x00]
    ),
)
SIZES = st.sampled_from([1, 1, 1, 1, 2, 4, 8])
OFFSETS = st.integers(0, 0x1_FFFF)
ACTIONS = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 3), OFFSETS, SIZES),
    st.tuples(st.just("write"), st.integers(0, 3), OFFSETS, SIZES, VALUES),
    st.tuples(st.just("write"), st.integers(0, 3), OFFSETS, st.just(1), VALUES),
    st.tuples(st.just("wait"), st.integers(0, 10**10)),
    st.tuples(st.just("wait"), st.integers(0, 10**4)),
    st.tuples(st.just("input"), st.integers(0, 255)),
)
SCRIPTS = st.lists(ACTIONS, max_size=40)

each_chip = pytest.mark.parametrize("make", CHIPS.values(), ids=CHIPS.keys())
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@each_chip
@quick
@given(script=SCRIPTS)
def test_a_chip_restored_at_every_step_is_the_same(make: Maker, script: list[tuple[Any, ...]]) -> None:
    undisturbed, restored = Rig(make), Rig(make)
    for action in script:
        expected = undisturbed.step(action)
        assert restored.step(action) == expected
        restored.restore()
    assert restored.wires.said == undisturbed.wires.said
    assert restored.chip.state == undisturbed.chip.state


@each_chip
@quick
@given(script=SCRIPTS)
def test_nothing_that_a_guest_does_raises(make: Maker, script: list[tuple[Any, ...]]) -> None:
    rig = Rig(make)
    for action in script:
        rig.step(action)
        if hasattr(rig.chip, "deadline"):
            deadline = rig.chip.deadline()
            assert deadline is None or isinstance(deadline, int)


def mirrored(chip: Any) -> list[tuple[Device, int, Mirror]]:
    """Devices with their mirrors, and the offset of a mirror's first register."""
    match chip:
        case PicPair():
            return [(pic, 0, pic.mirror) for pic in (chip.master, chip.slave)]
        case IdeChannel():
            return [(chip, 0, chip.mirror), (chip.control, 0, chip.control_mirror)]
        case Kbc():
            return [(chip, kbc.Port.COMMAND, chip.mirror)]
        case Uart():
            return [(chip, 0, chip.mirror)]
    return []


@pytest.mark.parametrize(
    "make", [CHIPS[name] for name in ("pic", "ide", "cdrom", "kbc", "uart", "paced uart")]
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=SCRIPTS)
def test_a_mirrored_register_is_what_a_read_without_effect_would_return(
    make: Maker, script: list[tuple[Any, ...]]
) -> None:
    rig = Rig(make)
    for action in script:
        rig.step(action)
        for device, base, mirror in mirrored(rig.chip):
            for offset in range(mirror.size):
                shown = mirror.shown(offset)
                if shown is not None:
                    before = copy.deepcopy(rig.chip.state)
                    assert device.read(base + offset, 1) == shown
                    assert rig.chip.state == before


@pytest.mark.parametrize("make", [CHIPS[name] for name in ("pic", "uart", "paced uart")])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    script=SCRIPTS, door=st.integers(0, 1), writes=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 255)))
)
def test_only_the_writes_that_a_mirrored_register_names_change_it(
    make: Maker, script: list[tuple[Any, ...]], door: int, writes: list[tuple[int, int]]
) -> None:
    rig = Rig(make)
    for action in script:
        rig.step(action)
    places = mirrored(rig.chip)
    device, base, mirror = places[door % len(places)]
    cells = memoryview(bytearray(8 * mirror.size)).cast("Q")
    mirror.bind(cells, 0)
    before = [(mirror.shown(offset), cells[offset]) for offset in range(mirror.size)]
    written = 0
    for offset, value in writes:
        device.write(base + offset % mirror.size, 1, value)
        written |= 1 << offset % mirror.size
        for at, (shown, cell) in enumerate(before):
            if shown is not None and not cell & ANYONE and not cell >> WRITERS_SHIFT & written:
                assert device.read(base + at, 1) == shown


@each_chip
def test_every_offset_answers_in_every_size(make: Maker) -> None:
    rig = Rig(make)
    for door, (_, length) in enumerate(rig.doors):
        for offset in range(0, length, max(1, length // 256)):
            for size in (1, 2, 4, 8):
                rig.step(("read", door, offset, size))
                for value in (0, 0xFF, 0x0123_4567_89AB_CDEF):
                    rig.step(("write", door, offset, size, value))
                rig.step(("read", door, offset, size))


def keep_smart(fresh: IdeState, after: IdeState) -> None:
    for ours, theirs in zip(fresh.drives, after.drives, strict=True):
        if ours is not None and theirs is not None:
            ours.smart, ours.autosave, ours.collection = theirs.smart, theirs.autosave, theirs.collection
            ours.self_tests, ours.errors, ours.error_count = (
                theirs.self_tests,
                theirs.errors,
                theirs.error_count,
            )


@each_chip
@quick
@given(script=SCRIPTS)
def test_reset_makes_a_fresh_chip_of_it(make: Maker, script: list[tuple[Any, ...]]) -> None:
    rig = Rig(make)
    for action in script:
        rig.step(action)
    rig.chip.reset()
    after = copy.deepcopy(rig.chip.state)
    rig.chip.reset()
    assert rig.chip.state == after, "a reset leaves nothing for the next one to do"
    fresh = Rig(make).chip.state
    match rig.chip:
        case Rtc():  # the battery keeps time and RAM
            assert (after.flags, after.index, after.ram[11] & 0x70) == (0, 0, 0)
        case PicPair():  # the pins are driven by others
            fresh.master.levels, fresh.slave.levels = after.master.levels, after.slave.levels
            assert after == fresh
        case Pit():  # so are the gates
            for counter, old in zip(fresh.counters, after.counters, strict=True):
                counter.gate, counter.seen = old.gate, old.seen
            assert after == fresh
        case Uart():  # so is the far end's line
            fresh.modem, fresh.clear_to_send = after.modem, after.clear_to_send
            assert after == fresh
        case Dma8237():  # the request lines are their devices'
            fresh.lines = after.lines
            assert after == fresh
        case Piix3():
            fresh.pirq = after.pirq
            assert after == fresh
        case IdeChannel():  # SMART outlasts the power
            keep_smart(fresh, after)
            assert after == fresh
        case Controller():
            keep_smart(fresh[1], after[1])
            assert after == fresh
        case Piix3Ide():  # the drives' lines too
            for ours, theirs in zip(fresh.masters, after.masters, strict=True):
                ours.intrq = theirs.intrq
            assert after == fresh
        case PciFunction():  # its device says what it wants
            fresh.interrupt = after.interrupt
            fresh.config.data[6] = after.config.data[6]
            assert after == fresh
        case Piix4Pm():  # the timer runs from the clock
            fresh.halves = after.halves
            assert after == fresh
        case _:
            assert after == fresh
    assert all(line.level == (name == "a20") for name, line in rig.wires.lines.items() if "irq" not in name)


@pytest.mark.parametrize("make", [CHIPS[name] for name in ("pit", "uart", "rtc", "kbc", "piix4pm")])
def test_a_deadline_that_is_reached_goes_away(make: Maker) -> None:
    """Or the pacer would spin."""
    rig = Rig(make)
    setups: list[list[tuple[Any, ...]]] = [
        [("write", 0, 3, 1, 0x34), ("write", 0, 0, 1, 2), ("write", 0, 0, 1, 0)],
        [("write", 0, 2, 1, 0xC1), ("write", 0, 1, 1, 1), ("input", 65)],
        [("write", 0, 0, 1, 11), ("write", 0, 1, 1, 0x72)],
        [("write", 0, 4, 2, 1), ("write", 0, 2, 2, 1)],
        [("input", 1), ("read", 0, 0, 1), ("input", 1)],
        [("write", 0, 4, 1, 0xD4), ("write", 0, 0, 1, 0xF4), ("input", 4), ("read", 0, 0, 1)],
    ]
    for setup in setups:
        for action in setup:
            rig.step(action)
        for _ in range(20):
            deadline = rig.chip.deadline()
            if deadline is None:
                break
            rig.wires.clock.time = max(rig.wires.clock.time, deadline)
            rig.chip.tick()
            following = rig.chip.deadline()
            assert following is None or following > rig.wires.clock.time
