"""The machine on one screen: a PC with the i440FX chip set as QEMU's `pc` has it, which firmware knows.

Two lists, what is mapped where and which line goes where, and the ports left alone on purpose.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self

import attrs

from devmodel import ConfigError
from devmodel.board import firmware_tables
from devmodel.board.bus import Bus
from devmodel.board.clock import Clock
from devmodel.board.device import Device, Resettable, Timed
from devmodel.board.lines import Gate, Line, WiredOr
from devmodel.board.outside import Core, Fittings
from devmodel.board.parts import functions_of
from devmodel.devices.acpi_tables import HPET_BASE, Hardware
from devmodel.devices.ata_identify import default_geometry
from devmodel.devices.cmos import FOUR_GIB, fill_cmos
from devmodel.devices.debugport import DebugConsole, DebugExit, PostCode
from devmodel.devices.dma8237 import Dma8237, DmaPages
from devmodel.devices.fdc import Fdc
from devmodel.devices.fdc_registers import Reg as FdcReg
from devmodel.devices.fw_cfg import FwCfg, e820, make_items
from devmodel.devices.hpet import Hpet
from devmodel.devices.i440fx import I440fx
from devmodel.devices.ide import IdeChannel
from devmodel.devices.kbc import Kbc, Port
from devmodel.devices.mmc import Tray
from devmodel.devices.parallel import Parallel
from devmodel.devices.pci import Function, PciBus, PciPorts
from devmodel.devices.pic import PicPair
from devmodel.devices.piix3 import Piix3, Piix3Ide
from devmodel.devices.piix4pm import Piix4Pm
from devmodel.devices.pit import MissedTicks, Pit
from devmodel.devices.port61 import Port61
from devmodel.devices.port92 import Port92
from devmodel.devices.rtc import Rtc
from devmodel.devices.uart import Uart
from devmodel.devices.vga import Vga
from devmodel.devices.vga_pci import VgaFunction

E820_RAM: Final = 1
FLOPPY_CHANNEL: Final = 2
SERIAL_PORTS: Final = (("uart", 0x3F8, 4), ("uart2", 0x2F8, 3), ("uart3", 0x3E8, 4), ("uart4", 0x2E8, 3))
"""Name, first port and interrupt request of COM1 to COM4."""

DEBUG_EXIT_QEMU: Final = "debug exit (QEMU's default)"
"""Where isa-debug-exit is unless told otherwise; it makes room for devices of one's own."""

PIC_PORT: Final = 0x20
VGA_WINDOW: Final = 0xA_0000
ISA_FRAME_BUFFER: Final = 0xE000_0000
"""Where Bochs VBE has the linear frame buffer of an adapter that is not on PCI."""

Left = Callable[[str, type], Any]
"""Returns the record that a predecessor has left of a chip, by its name and class; None if there is none."""


@attrs.define
class Levels:
    """Which drivers of interrupt requests are high: a pulse that falls due while a board is saved must be seen."""

    high: list[str] = attrs.field(factory=list[str])


@attrs.define
class SharedVideo:
    """Memory that the guest has in place of a device of the board: at most one run of pages, which may move."""

    core: Core
    base: int = 0
    _place: tuple[int, int] | None = None

    @property
    def shares(self) -> bool:
        """Whether there is such memory."""
        return self.core.video is not None

    def show(self, first: int, last: int, memory: int) -> None:
        """Let the guest have `memory` on from `first` to `last`, as offsets from `base`."""
        self.hide()
        if self.shares:
            self._place = self.base + first, self.base + last
            self.core.map_video(*self._place, memory)

    def hide(self) -> None:
        """Have the device answer."""
        if self._place is not None:
            self.core.unmap_video(*self._place)
            self._place = None

    def follow(self, place: tuple[int, int] | None) -> None:
        """Let the guest have memory from its first byte on at `place`."""
        if place is None:
            self.hide()
        else:
            self.show(*place, 0)


@attrs.frozen
class Piece:
    """A device mapped in pieces: this one begins at `base`."""

    device: Device
    base: int

    def read(self, offset: int, size: int) -> int:
        """Read at `base`."""
        return self.device.read(self.base + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write at `base`."""
        self.device.write(self.base + offset, size, value)


def driver_of(
    isa: Sequence[WiredOr], drivers: dict[str, Line], number: int, who: str, levels: Levels | None
) -> Line:
    """Return a new driver of an interrupt request, which is high if it was so when the board was saved."""
    name = f"irq {number} of {who}"
    level = levels is not None and name in levels.high
    drivers[name] = isa[number].driver(level=level)
    isa[number].output.level |= level
    return drivers[name]


@attrs.frozen(kw_only=True)
class Wired:
    """The chips of a PC, joined by their wires; not mapped anywhere yet."""

    pic: PicPair
    pit: Pit
    kbc: Kbc
    uarts: list[Uart]
    rtc: Rtc
    pm: Piix4Pm
    piix3: Piix3
    piix3_ide: Piix3Ide
    i440fx: I440fx
    ide: list[IdeChannel]
    port61: Port61
    port92: Port92
    vga: Vga
    fw_cfg: FwCfg
    dma1: Dma8237
    dma2: Dma8237
    dma_pages: DmaPages
    post: PostCode
    fdc: Fdc
    vga_pci: VgaFunction
    frame_buffer: SharedVideo
    parallel: Parallel
    hpet: Hpet
    bus: Bus
    pci: PciBus
    pci_ports: PciPorts
    isa: list[WiredOr]
    isa_lines: list[Line]
    drivers: dict[str, Line]
    pirqs: list[WiredOr]
    chips: dict[str, Resettable]
    """Who is on the reset line and has a state."""
    timed: dict[str, Timed]


def wire(clock: Clock, core: Core, fittings: Fittings, saved: Mapping[str, Any], left: Left) -> Wired:
    """Make the chips, as `saved` has them or fresh, and join them: who drives which line, who is behind whom."""

    def kept(name: str) -> dict[str, Any]:
        return {"state": copy.deepcopy(saved[name])} if name in saved else {}

    disks = [*fittings.disks, None, None, None, None][:4]
    # Wires: who drives which interrupt request, and A20.
    counts_acknowledged = fittings.missed_ticks in (MissedTicks.DELAY, MissedTicks.NO_DELAY)
    pic = PicPair(
        intr=Line([core.intr]), vector_shown=core.intr_vector, prompt=counts_acknowledged, **kept("pic")
    )
    isa_irq = pic.set_irq if "pic" in fittings.parts else core.isa_irq
    drivers: dict[str, Line] = {}
    isa = [WiredOr(Line([partial(isa_irq, n)])) for n in range(16)]
    a20 = WiredOr(Line([core.a20] if "kbc" in fittings.parts else [], level=True))

    def irq(number: int, part: str, who: str = "") -> Line:
        """Return a new driver of an interrupt request; of a chip that is elsewhere, one that leads nowhere."""
        if part not in fittings.parts:
            return Line()
        return drive(number, who or part)

    def drive(number: int, who: str) -> Line:
        return driver_of(isa, drivers, number, who, left("lines", Levels))

    if fittings.missed_ticks != MissedTicks.ONE_PENDING and len({"pic", "pit"} & fittings.parts) == 1:
        raise ConfigError(f"{fittings.missed_ticks}: pic and pit must be in one server for that")
    if fittings.hpet and len({"pit", "rtc"} & fittings.parts) == 1:
        raise ConfigError("hpet: pit and rtc must be in one server for that")
    legacy = [Gate(irq(0, "pit")), Gate(irq(8, "rtc"))]
    pit = Pit(
        clock=clock,
        irq=legacy[0],
        missed=fittings.missed_ticks,
        waits=partial(pic.master.waits, 0),
        **kept("pit"),
    )
    if counts_acknowledged:
        pic.master.accepted = lambda pin: None if pin else pit.accepted()
    kbc = Kbc(
        clock=clock,
        irq=irq(1, "kbc"),
        aux_irq=irq(12, "kbc"),
        a20=a20.driver(level=True),
        reset_processor=core.reset,
        **kept("kbc"),
    )
    uarts = [
        Uart(
            clock=clock,
            irq=irq(number, "serial", "serial" if name == "uart" else f"serial, {name}"),
            paced=paced,
            **kept(name),
        )
        for (name, _, number), paced in zip(SERIAL_PORTS, (*fittings.serial, *[False] * 4), strict=False)
    ]
    parallel = Parallel(clock=clock, irq=irq(7, "parallel"), **kept("parallel"))
    if fittings.printer is not None:
        parallel.printer = fittings.printer
    rtc = Rtc(clock=clock, irq=legacy[1], **kept("rtc"))
    hpet = Hpet(
        clock=clock,
        irqs=[irq(n, "pit", "hpet") for n in range(16)],
        legacy=partial(_cut_off, legacy),
        **kept("hpet"),
    )
    pm = Piix4Pm(clock=clock, irq=irq(9, "pm"), shutdown=core.shutdown, **kept("piix4pm"))
    piix3_ide = Piix3Ide(ram=core, **kept("piix3_ide"))
    ide = [
        IdeChannel(
            irq=irq(14 + n, "ide"),
            clock=clock,
            disks=disks[2 * n : 2 * n + 2],
            serials=(f"DM0000{2 * n + 1}", f"DM0000{2 * n + 2}"),
            bus_master=piix3_ide.masters[n],
            **kept(f"ide{n}"),
        )
        for n in range(2)
    ]
    piix3_ide.connect(*(channel.decode for channel in ide))
    piix3 = Piix3(irqs=[irq(n, "pci") for n in range(16)], reset_machine=core.reset, **kept("piix3"))
    i440fx = I440fx(memory_type=core.memory_type, **kept("i440fx"))
    pirqs = [WiredOr(Line([partial(piix3.set_pirq, n)])) for n in range(4)]
    vga = Vga(clock=clock, video=core.video, window=SharedVideo(core, VGA_WINDOW), **kept("vga"))
    frame_buffer = SharedVideo(core)
    vga_pci = VgaFunction(
        frame_buffer=vga.frame_buffer,
        size=vga.memory.size,
        show=frame_buffer.follow,
        rom=fittings.video_rom,
        **kept("vga_pci"),
    )
    slots: dict[tuple[int, int], Function] = {
        (0, 0): i440fx, (1, 0): piix3, (1, 1): piix3_ide, (1, 3): pm
    }  # fmt: skip
    if not fittings.isa_vga:
        slots[2, 0] = vga_pci
    functions = functions_of(fittings.parts)
    bus = Bus()
    pci = PciBus(
        {at: function for at, function in slots.items() if at in functions},
        {"pio": bus.pio, "memory": bus.memory},
    )
    pci_ports = PciPorts(bus=pci, reset_control=piix3, **kept("pci"))
    port61 = Port61(clock=clock, timer=pit, **kept("port61"))
    port92 = Port92(a20=a20.driver(), reset_processor=core.reset, **kept("port92"))
    fw_cfg = FwCfg(items=_told_to_firmware(fittings), ram=core, clock=clock, **kept("fw_cfg"))
    dma_pages, post = DmaPages(**kept("dma_pages")), PostCode(**kept("post"))
    dma2 = Dma8237(width=2, ram=core, page=partial(dma_pages.page, 1), **kept("dma2"))
    dma1 = Dma8237(
        width=1,
        ram=core,
        page=partial(dma_pages.page, 0),
        granted=partial(dma2.cascades, 0),
        **kept("dma1"),
    )
    dma2.changed = dma1.serve
    fdc = Fdc(
        clock=clock,
        irq=irq(6, "dma"),
        bays=(*fittings.floppies, None, None)[:2],
        dma_request=partial(dma1.request, FLOPPY_CHANNEL),
        **kept("fdc"),
    )
    dma1.clients[FLOPPY_CHANNEL] = fdc.execution
    if not saved:
        _set_up_clock_chip(rtc, fittings)

    # Lines from elsewhere are as they were; who drives them says what has changed.
    isa_lines = [drive(n, "another server") for n in range(16)]

    chips: dict[str, Resettable] = {
        "pic": pic, "pit": pit, "kbc": kbc, "rtc": rtc, "piix4pm": pm, "ide0": ide[0],
        "ide1": ide[1], "piix3": piix3, "i440fx": i440fx, "piix3_ide": piix3_ide, "pci": pci_ports,
        "port61": port61, "port92": port92, "vga": vga, "vga_pci": vga_pci, "fw_cfg": fw_cfg, "dma1": dma1,
        "dma2": dma2, "dma_pages": dma_pages, "post": post, "fdc": fdc, "parallel": parallel, "hpet": hpet,
    }  # fmt: skip
    ports = {name: uart for (name, _, _), uart in zip(SERIAL_PORTS, uarts, strict=True)}
    chips |= ports
    timed: dict[str, Timed] = {
        "pit": pit,
        "kbc": kbc,
        **ports,
        "rtc": rtc,
        "piix4pm": pm,
        "fw_cfg": fw_cfg,
        "ide0": ide[0],
        "ide1": ide[1],
        "fdc": fdc,
        "parallel": parallel,
        "hpet": hpet,
    }
    return Wired(
        pic=pic,
        pit=pit,
        kbc=kbc,
        uarts=uarts,
        rtc=rtc,
        pm=pm,
        piix3_ide=piix3_ide,
        ide=ide,
        piix3=piix3,
        i440fx=i440fx,
        pirqs=pirqs,
        bus=bus,
        pci=pci,
        pci_ports=pci_ports,
        port61=port61,
        port92=port92,
        vga=vga,
        fw_cfg=fw_cfg,
        dma1=dma1,
        dma2=dma2,
        dma_pages=dma_pages,
        post=post,
        fdc=fdc,
        vga_pci=vga_pci,
        frame_buffer=frame_buffer,
        parallel=parallel,
        hpet=hpet,
        isa=isa,
        isa_lines=isa_lines,
        drivers=drivers,
        chips=chips,
        timed=timed,
    )


@attrs.frozen
class _Ram:
    """Guest RAM as firmware hears of it, in bytes: the end of what is below 4 GiB, and how much is above."""

    below_4g: int
    above_4g: int

    @classmethod
    def of(cls, fittings: Fittings) -> Self:
        ram = [(start, length) for start, length, type_ in fittings.memory if type_ == E820_RAM]
        return cls(
            max((start + length for start, length in ram if start < FOUR_GIB), default=0),
            sum(length for start, length in ram if start >= FOUR_GIB),
        )


def _told_to_firmware(fittings: Fittings) -> dict[int, bytes]:
    """Return the items of fw_cfg: memory, processors, tables, and what the user adds."""
    ram = _Ram.of(fittings)
    entries = [entry for entry in fittings.memory if entry[2] == E820_RAM]
    above = [(FOUR_GIB, ram.above_4g, E820_RAM)] if ram.above_4g else []
    files = {"etc/e820": e820([(0, ram.below_4g, E820_RAM), *above])}
    files |= firmware_tables.files(_hardware(fittings), entries, fittings.cpus)
    return make_items(files | dict(fittings.files), ram_size=ram.below_4g + ram.above_4g, cpus=fittings.cpus)


def _set_up_clock_chip(rtc: Rtc, fittings: Fittings) -> None:
    """Set the time, and in CMOS memory what a BIOS reads there of the machine."""
    ram = _Ram.of(fittings)
    disks = [*fittings.disks, None, None, None, None][:4]
    fill_cmos(
        rtc.state.ram,
        below_4g=ram.below_4g,
        above_4g=ram.above_4g,
        cpus=fittings.cpus,
        boot=fittings.boot,
        geometries=[
            None if disk is None or isinstance(disk, Tray) else default_geometry(disk.sectors)
            for disk in disks
        ],
        floppies=[bay.type.number for bay in fittings.floppies],
    )
    rtc.set_time(fittings.time)


def _cut_off(gates: Sequence[Gate], cut: bool) -> None:
    """Cut wires, or join them."""
    for gate in gates:
        gate.cut_off(cut)


def _hardware(fittings: Fittings) -> Hardware:
    """Return what ACPI's tables are to describe."""
    return Hardware(
        below_4g=_Ram.of(fittings).below_4g,
        serial=[(base, irq) for _, base, irq in SERIAL_PORTS[: len(fittings.serial)]],
        parallel=fittings.printer is not None,
        hpet=fittings.hpet,
    )


def do_as_firmware(w: Wired, core: Core, fittings: Fittings) -> None:
    """Set up what firmware would for a kernel that is started without: tables in low memory, and what they say."""
    if "pm" in fittings.parts:
        w.pm.as_firmware_leaves_it()
    if "pic" in fittings.parts:
        w.pic.elcr.write(1, 1, 0x0C)  # 10 and 11 are PCI's
    if "pci" in fittings.parts:
        w.piix3.as_firmware_leaves_it()
        w.i440fx.as_firmware_leaves_it()
        ram = [entry for entry in fittings.memory if entry[2] == E820_RAM]
        for address, data in firmware_tables.placed(_hardware(fittings), ram, fittings.cpus):
            core.write(address, data)
    w.pci.update()


def place(w: Wired, core: Core, fittings: Fittings) -> None:
    """Say who answers where, and what is left alone on purpose."""
    bus, pic, kbc, vga, ide, fw_cfg = w.bus, w.pic, w.kbc, w.vga, w.ide, w.fw_cfg
    # Maps: who answers where. Writes are posted, but for those that act on the core at once: `waits` says how.
    debug, debug_exit = DebugConsole(put=fittings.debug), DebugExit(shutdown=core.shutdown)
    bus.map("pio", 0x000, 0x00F, w.dma1, name="dma1")
    bus.map("pio", PIC_PORT, 0x021, pic.master, name="pic1", mirror=pic.master.mirror, concerns=["pit"])
    bus.map("pio", 0x040, 0x043, w.pit, name="pit", concerns=["pit"])
    bus.map("pio", 0x060, 0x060, Piece(kbc, Port.DATA), name="kbc data", waits="A20, reset")
    bus.map("pio", 0x061, 0x061, w.port61, name="port61")
    bus.map(
        "pio",
        0x064,
        0x064,
        Piece(kbc, Port.COMMAND),
        name="kbc status",
        waits="A20, reset",
        mirror=kbc.mirror,
    )
    bus.map("pio", 0x070, 0x071, w.rtc, name="rtc", concerns=["rtc"])
    bus.map("pio", 0x080, 0x080, w.post, name="post", mirror=w.post.mirror, concerns=[])
    bus.map("pio", 0x081, 0x08F, w.dma_pages, name="dma pages")
    bus.map("pio", 0x092, 0x092, w.port92, name="port92", waits="A20, reset")
    bus.map("pio", 0x0A0, 0x0A1, pic.slave, name="pic2", mirror=pic.slave.mirror, concerns=["pit"])
    bus.map("pio", 0x0B2, 0x0B3, w.pm.apm, name="apm")
    bus.map("pio", 0x0C0, 0x0DF, w.dma2, name="dma2")
    bus.map("pio", 0x0E9, 0x0E9, debug, name="debug console (Bochs)")
    bus.map("pio", 0x0F4, 0x0F7, debug_exit, name="debug exit", width=4, waits="power-off")
    bus.map("pio", 0x170, 0x177, ide[1], name="ide1", width=4, mirror=ide[1].mirror, concerns=["ide1"])
    bus.map("pio", 0x1F0, 0x1F7, ide[0], name="ide0", width=4, mirror=ide[0].mirror, concerns=["ide0"])
    bus.map(
        "pio",
        0x376,
        0x376,
        ide[1].control,
        name="ide1 control",
        mirror=ide[1].control_mirror,
        concerns=["ide1"],
    )
    bus.map("pio", 0x1CE, 0x1D0, vga.vbe, name="vbe", width=2, waits="moves memory that the guest has")
    if fittings.printer is not None:
        bus.map("pio", 0x378, 0x37A, w.parallel, name="parallel")
    bus.map("pio", 0x3B0, 0x3DF, vga, name="vga", width=2, mirror=vga.mirror, concerns=[])
    bus.map("pio", 0x3F2, 0x3F5, Piece(w.fdc, FdcReg.DOR), name="fdc")
    bus.map(
        "pio",
        0x3F6,
        0x3F6,
        ide[0].control,
        name="ide0 control",
        mirror=ide[0].control_mirror,
        concerns=["ide0"],
    )
    bus.map("pio", 0x3F7, 0x3F7, Piece(w.fdc, FdcReg.DIR), name="fdc digital input")
    for at, ((name, base, _), uart) in enumerate(zip(SERIAL_PORTS, w.uarts, strict=True)):
        if at < len(fittings.serial):
            bus.map("pio", base, base + 7, uart, name=name, mirror=uart.mirror, concerns=[name])
        else:
            bus.ignore("pio", base, base + 7, f"no {name}: there is no such serial port")
    bus.map("pio", 0x402, 0x402, debug, name="debug console")
    bus.map("pio", 0x4D0, 0x4D1, pic.elcr, name="elcr")
    bus.map("pio", 0x501, 0x502, debug_exit, name=DEBUG_EXIT_QEMU, width=2, waits="power-off")
    bus.pio.yielding.append(DEBUG_EXIT_QEMU)
    bus.map("pio", 0x510, 0x511, fw_cfg, name="fw_cfg", width=2)
    bus.map("pio", 0x514, 0x51B, fw_cfg.dma, name="fw_cfg dma", width=8, waits="stores in RAM")
    bus.map("pio", 0xCF8, 0xCFF, w.pci_ports, name="pci configuration", width=4, waits="PAM, reset")
    bus.map("memory", VGA_WINDOW, VGA_WINDOW + 0x1_FFFF, vga.memory, name="vga memory", width=8, concerns=[])
    if fittings.isa_vga:
        last = ISA_FRAME_BUFFER + vga.memory.size - 1
        bus.map("memory", ISA_FRAME_BUFFER, last, vga.frame_buffer, name="vga frame buffer", width=8)
        if "vga" in fittings.parts:
            w.frame_buffer.show(ISA_FRAME_BUFFER, last, 0)

    # Left alone on purpose; all of it reads ones.
    bus.ignore("pio", 0x0ED, 0x0ED, "delays are made by writing here")
    bus.ignore("pio", 0x0F0, 0x0F1, "the core's: it clears the coprocessor's error")
    bus.ignore("pio", 0x200, 0x207, "no game port")
    bus.ignore("pio", 0x278, 0x27F, "no second parallel port; ISA plug and play's address")
    if fittings.printer is None:
        bus.ignore("pio", 0x378, 0x37A, "no parallel port")
    bus.ignore("pio", 0x37B, 0x37F, "the parallel port has no EPP")
    bus.ignore("pio", 0x3F0, 0x3F1, "the floppy controller's only in a PS/2")
    bus.ignore("pio", 0xA79, 0xA79, "no ISA plug and play")
    bus.ignore("memory", 0xFEC0_0000, 0xFEC0_0FFF, "no I/O APIC")
    if fittings.hpet:
        bus.map("memory", HPET_BASE, HPET_BASE + 0x3FF, w.hpet, name="hpet", width=8)
    else:
        bus.ignore("memory", HPET_BASE, HPET_BASE + 0x3FF, "no HPET")
