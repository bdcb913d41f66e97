"""The tables that a PC's firmware gives to systems: ACPI's and SMBIOS', for firmware by fw_cfg, or in low memory."""

from collections.abc import Sequence
from typing import Final

from devmodel.devices import acpi_tables, smbios
from devmodel.devices.acpi_tables import Hardware

AREA: Final = 0xF_0000
ANCHOR: Final = AREA + 0x20
TABLES: Final = AREA + 0x40
"""ACPI's; SMBIOS' structures are behind them."""
Memory = Sequence[tuple[int, int, int]]
"""Start, length and type of ranges of RAM."""


def _structures(memory: Memory, cpus: int) -> dict[str, bytes]:
    return smbios.make([(start, length) for start, length, _ in memory], cpus)


def files(hardware: Hardware, memory: Memory, cpus: int) -> dict[str, bytes]:
    """Return the fw_cfg files by which firmware learns of the tables."""
    tables = acpi_tables.make(hardware)
    return tables.files | {acpi_tables.LOADER: tables.loader()} | _structures(memory, cpus)


def placed(hardware: Hardware, memory: Memory, cpus: int) -> list[tuple[int, bytes]]:
    """Return the tables with their addresses, in F0000h-FFFFFh, where systems look for their anchors."""
    tables = acpi_tables.make(hardware).placed({acpi_tables.RSDP: AREA, acpi_tables.TABLES: TABLES})
    structures = _structures(memory, cpus)
    behind = TABLES + (len(tables[acpi_tables.TABLES]) + 15 & ~15)
    return [
        (AREA, tables[acpi_tables.RSDP]),
        (ANCHOR, smbios.placed(structures, behind)),
        (TABLES, tables[acpi_tables.TABLES]),
        (behind, structures[smbios.STRUCTURES]),
    ]
