"""The PC's ACPI tables (ACPI specification 1.0b): RSDP, RSDT, FADT, FACS and a DSDT of what is on the board.

They are made without addresses: `Tables` says where in them a pointer is, and of what a checksum. Firmware that knows
QEMU's table loader (hw/acpi/bios-linker-loader.c there) puts them where it likes, by `loader`; where there is no
firmware `placed` does.
Not modelled: MADT (there is no APIC), S1 to S4, thermal zones, processors.
"""

import struct
from collections.abc import Sequence
from typing import Final

import attrs

from devmodel.devices import aml

PM_BASE: Final = 0x600
"""Where SeaBIOS has the PIIX4's power management block, and the tables say it is."""
SCI: Final = 9
SMI_COMMAND: Final = 0xB2
ACPI_ENABLE: Final = 0xF1
ACPI_DISABLE: Final = 0xF0
"""What written to the SMI command port enters and leaves ACPI mode: QEMU's values."""
CENTURY: Final = 0x32
HPET_BASE: Final = 0xFED0_0000

TABLES: Final = "etc/acpi/tables"
RSDP: Final = "etc/acpi/rsdp"
LOADER: Final = "etc/table-loader"
FSEG: Final = 2
HIGH: Final = 1

WBINVD: Final = 1 << 0
PROC_C1: Final = 1 << 2
SLEEP_BUTTON: Final = 1 << 5  # no fixed one; the power button is one
FIX_RTC: Final = 1 << 6  # the clock's alarm wakes nobody
FADT_FLAGS: Final = WBINVD | PROC_C1 | SLEEP_BUTTON | FIX_RTC

PCI_HOLE_END: Final = 0xFEBF_FFFF
LINKS: Final = ("LNKA", "LNKB", "LNKC", "LNKD")
LINK_IRQS: Final = (5, 10, 11)
FREE_OF_LINK: Final = 0x80


@attrs.frozen(kw_only=True)
class Hardware:
    """What the tables describe."""

    below_4g: int
    """Where RAM below 4 GiB ends."""
    serial: Sequence[tuple[int, int]] = ()
    """First port and interrupt request of each serial port."""
    parallel: bool = False
    floppy: bool = True
    hpet: bool = False


@attrs.frozen
class Pointer:
    """Four bytes of `file` at `offset` that point into `target`; they hold the offset there."""

    file: str
    offset: int
    target: str


@attrs.frozen
class Checksum:
    """A byte of `file` at `offset` that makes the sum of `start` to `start + length` zero."""

    file: str
    offset: int
    start: int
    length: int


@attrs.frozen
class Tables:
    """The tables, without addresses and checksums."""

    files: dict[str, bytes]
    pointers: list[Pointer]
    checksums: list[Checksum]

    def loader(self) -> bytes:
        """Return the commands that have firmware put the tables into memory: 128 bytes each."""
        commands = [
            struct.pack("<I56sIB", 1, RSDP.encode(), 16, FSEG),
            struct.pack("<I56sIB", 1, TABLES.encode(), 64, HIGH),
        ]
        commands += [
            struct.pack("<I56s56sIB", 2, p.file.encode(), p.target.encode(), p.offset, 4)
            for p in self.pointers
        ]
        commands += [
            struct.pack("<I56sIII", 3, c.file.encode(), c.offset, c.start, c.length) for c in self.checksums
        ]
        return b"".join(command.ljust(128, b"\0") for command in commands)

    def placed(self, at: dict[str, int]) -> dict[str, bytes]:
        """Return the files as they are at these addresses."""
        files = {name: bytearray(content) for name, content in self.files.items()}
        for p in self.pointers:
            offset = int.from_bytes(files[p.file][p.offset : p.offset + 4], "little")
            files[p.file][p.offset : p.offset + 4] = (at[p.target] + offset).to_bytes(4, "little")
        for c in self.checksums:
            files[c.file][c.offset] = -sum(files[c.file][c.start : c.start + c.length]) & 0xFF
        return {name: bytes(content) for name, content in files.items()}


def make(hardware: Hardware) -> Tables:
    """Return the tables of a PC."""
    blob = bytearray()
    pointers: list[Pointer] = []
    checksums: list[Checksum] = []

    def put(signature: bytes, revision: int, body: bytes) -> int:
        """Add a table with its header (5.2.5), and return where it is."""
        at = len(blob)
        length = 36 + len(body)
        blob.extend(
            struct.pack(
                "<4sIBB6s8sI4sI", signature, length, revision, 0, b"DEVMOD", b"DEVMODPC", 1, b"DEVM", 1
            )
        )
        blob.extend(body)
        checksums.append(Checksum(TABLES, at + 9, at, length))
        return at

    def pointer(offset: int) -> None:
        pointers.append(Pointer(TABLES, offset, TABLES))

    blob.extend(struct.pack("<4sI", b"FACS", 64).ljust(64, b"\0"))  # aligned to its 64 bytes (5.2.9)
    dsdt_at = put(b"DSDT", 1, dsdt(hardware))
    fadt_at = put(b"FACP", 1, _fadt(0, dsdt_at))
    pointer(fadt_at + 36)
    pointer(fadt_at + 40)
    tables = [fadt_at]
    if hardware.hpet:
        tables.append(put(b"HPET", 1, _hpet()))
    rsdt_at = put(b"RSDT", 1, struct.pack(f"<{len(tables)}I", *tables))
    for number in range(len(tables)):
        pointer(rsdt_at + 36 + 4 * number)
    rsdp = struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"DEVMOD", 0, rsdt_at)
    pointers.append(Pointer(RSDP, 16, TABLES))
    checksums.append(Checksum(RSDP, 8, 0, 20))
    return Tables({RSDP: rsdp, TABLES: bytes(blob)}, pointers, checksums)


def _fadt(facs_at: int, dsdt_at: int) -> bytes:
    """Return the fixed ACPI description table behind its header (5.2.8)."""
    return struct.pack(
        "<II BBH I BBBB 8I 8B HHHH 5B H B I".replace(" ", ""),
        facs_at, dsdt_at,
        0, 0, SCI,  # interrupts by a pair of 8259As
        SMI_COMMAND,
        ACPI_ENABLE, ACPI_DISABLE, 0, 0,
        PM_BASE, 0, PM_BASE + 4, 0, 0, PM_BASE + 8, PM_BASE + 0x0C, 0,
        4, 2, 0, 4, 4, 0, 0, 0,  # lengths of PM1 event, PM1 control, PM2, timer, GPE0, GPE1; its base
        0xFFF, 0xFFF, 0, 0,  # neither C2 nor C3
        0, 0, 0, 0, CENTURY,
        0, 0, FADT_FLAGS,
    )  # fmt: skip


def _hpet() -> bytes:
    """Return the HPET description table behind its header (IA-PC HPET 1.0a, 3.2.4)."""
    return struct.pack("<IBBBBQBHB", 0x8086_A201, 0, 64, 0, 0, HPET_BASE, 0, 0x80, 0)


def dsdt(hardware: Hardware) -> bytes:
    """Return the definition block: what is on the board, how it interrupts, and how it is switched off."""
    root = [
        aml.name("_HID", aml.eisa_id("PNP0A03")),
        aml.name("_UID", aml.ZERO),
        aml.name("_CRS", _windows(hardware)),
        aml.name("_PRT", _routes()),
        aml.device("ISA", aml.name("_ADR", aml.integer(0x1_0000)), *_isa(hardware)),
    ]
    links = [_link(number) for number in range(4)]
    extra = [_hpet_device()] if hardware.hpet else []
    s5 = aml.package(aml.ZERO, aml.ZERO, aml.ZERO, aml.ZERO)  # SLP_TYP 0, as on QEMU's PIIX4
    return aml.scope("\\_SB", aml.device("PCI0", *root), *links, *extra) + aml.name("\\_S5", s5)


def _windows(hardware: Hardware) -> bytes:
    """Return what the host bridge passes on to its bus."""
    return aml.resources(
        aml.bus_numbers(0, 0xFF),
        aml.io(0xCF8, 8),
        aml.word_io(0x0000, 0x0CF7),
        aml.word_io(0x0D00, 0xFFFF),
        aml.dword_memory(0xA_0000, 0xB_FFFF, cacheable=True),
        aml.dword_memory(max(hardware.below_4g, 1 << 20), PCI_HOLE_END, cacheable=False),
    )


def _routes() -> bytes:
    """Return which link each slot's INTA# to INTD# goes to: rotated by slot; the power management's is the SCI."""
    return aml.package(
        *(
            aml.package(
                aml.integer(slot << 16 | 0xFFFF),
                aml.integer(pin),
                aml.ZERO if (slot, pin) == (1, 0) else aml.path(LINKS[(slot + pin - 1) & 3]),
                aml.integer(SCI) if (slot, pin) == (1, 0) else aml.ZERO,
            )
            for slot in range(32)
            for pin in range(4)
        )
    )


def _link(number: int) -> bytes:
    """Return a PCI interrupt link device: the PIIX3's PIRQ route control (290550-002, 2.2.8).

    Fields are made within methods: SeaBIOS, which looks for devices, does not know the operator, and skips methods.
    """
    route = aml.path(f"\\_SB.PCI0.ISA.PRQ{number}")
    return aml.device(
        LINKS[number],
        aml.name("_HID", aml.eisa_id("PNP0C0F")),
        aml.name("_UID", aml.integer(number + 1)),
        aml.name("_PRS", aml.resources(aml.interrupts(*LINK_IRQS))),
        aml.name("BUF", aml.resources(aml.interrupts(0))),
        aml.method(
            "_STA",
            0,
            aml.if_(aml.and_(route, aml.integer(FREE_OF_LINK)), aml.return_(aml.integer(0x09))),
            aml.return_(aml.integer(0x0B)),
        ),
        aml.method(
            "_DIS", 0, aml.store(aml.or_(route, aml.integer(FREE_OF_LINK)), f"\\_SB.PCI0.ISA.PRQ{number}")
        ),
        aml.method(
            "_CRS",
            0,
            aml.create_dword_field(aml.path("BUF"), 5, "IRQ"),
            aml.if_(aml.and_(route, aml.integer(FREE_OF_LINK)), aml.store(aml.ZERO, "IRQ")),
            aml.else_(aml.store(aml.and_(route, aml.integer(0x0F)), "IRQ")),
            aml.return_(aml.path("BUF")),
            serialized=True,
        ),
        aml.method(
            "_SRS",
            1,
            aml.create_dword_field(aml.ARG0, 5, "WANT"),
            aml.store(aml.path("WANT"), f"\\_SB.PCI0.ISA.PRQ{number}"),
            serialized=True,
        ),
    )


def _isa(hardware: Hardware) -> list[bytes]:
    """Return what is behind the ISA bridge, and the bridge's route registers."""
    devices = [
        aml.operation_region("PIRQ", aml.PCI_CONFIG, 0x60, 4),
        aml.field("PIRQ", aml.BYTE_ACCESS, *((f"PRQ{number}", 8) for number in range(4))),
        _chip("PIC", "PNP0000", aml.io(0x20, 2), aml.io(0xA0, 2), aml.irq(2)),
        _chip("TMR", "PNP0100", aml.io(0x40, 4), aml.irq(0)),
        _chip("DMAC", "PNP0200", aml.io(0x00, 16), aml.io(0x81, 15), aml.io(0xC0, 32), aml.dma(4)),
        _chip("SPKR", "PNP0800", aml.io(0x61, 1)),
        _chip("RTC", "PNP0B00", aml.io(0x70, 2), aml.irq(8)),
        _chip("FPU", "PNP0C04", aml.io(0xF0, 1), aml.irq(13)),
        _chip("KBD", "PNP0303", aml.io(0x60, 1), aml.io(0x64, 1), aml.irq(1)),
        _chip("MOU", "PNP0F13", aml.irq(12)),
    ]
    if hardware.floppy:
        devices.append(_chip("FDC0", "PNP0700", aml.io(0x3F2, 4), aml.io(0x3F7, 1), aml.irq(6), aml.dma(2)))
    devices += [
        _chip(f"COM{number}", "PNP0501", aml.io(port, 8), aml.irq(request), unique=number)
        for number, (port, request) in enumerate(hardware.serial, 1)
    ]
    if hardware.parallel:
        devices.append(_chip("LPT1", "PNP0400", aml.io(0x378, 3), aml.irq(7)))
    return devices


def _chip(name: str, hardware_id: str, *found: bytes, unique: int | None = None) -> bytes:
    terms = [aml.name("_HID", aml.eisa_id(hardware_id))]
    if unique is not None:
        terms.append(aml.name("_UID", aml.integer(unique)))
    return aml.device(name, *terms, aml.name("_CRS", aml.resources(*found)))


def _hpet_device() -> bytes:
    return aml.device(
        "HPET",
        aml.name("_HID", aml.eisa_id("PNP0103")),
        aml.name("_UID", aml.ZERO),
        aml.name("_CRS", aml.resources(aml.memory32(HPET_BASE, 0x400))),
    )
