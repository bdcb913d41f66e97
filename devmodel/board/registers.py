"""What the registers of a mapping are called, for whoever shows accesses: the names in the chips' own tables."""

from typing import Final

from devmodel.devices import (
    bus_master,
    dma8237,
    fdc_registers,
    hpet,
    ide,
    kbc,
    parallel,
    pic,
    piix4pm,
    pit,
    rtc,
    uart,
    vga_registers,
    vga_vbe,
)

TABLES: Final[dict[str, tuple[type, int]]] = {
    "dma1": (dma8237.Reg, 0),
    "pic1": (pic.Reg, 0),
    "pic2": (pic.Reg, 0),
    "pit": (pit.Reg, 0),
    "kbc data": (kbc.Port, kbc.Port.DATA),
    "kbc status": (kbc.Port, kbc.Port.COMMAND),
    "rtc": (rtc.Port, 0),
    "ide0": (ide.Reg, 0),
    "ide1": (ide.Reg, 0),
    "fdc": (fdc_registers.Reg, fdc_registers.Reg.DOR),
    "fdc digital input": (fdc_registers.Reg, fdc_registers.Reg.DIR),
    "parallel": (parallel.Reg, 0),
    "uart": (uart.Reg, 0),
    "uart2": (uart.Reg, 0),
    "uart3": (uart.Reg, 0),
    "uart4": (uart.Reg, 0),
    "vga": (vga_registers.Port, 0),
    "vbe": (vga_vbe.Port, 0),
    "hpet": (hpet.Reg, 0),
    "pm": (piix4pm.Reg, 0),
}
"""By a mapping's name: the class that names its registers, and the offset in there of the mapping's first."""

REPEATED: Final[dict[str, tuple[type, int, tuple[str, ...]]]] = {
    "bmide": (bus_master.Reg, 0, ("PRIMARY", "SECONDARY")),
    "hpet": (hpet.TimerReg, hpet.Reg.TIMER, ("TIMER0", "TIMER1", "TIMER2")),
}
"""Likewise where a mapping has the same registers several times, one behind the other, and what each is called."""
APART: Final = {"bmide": bus_master.PORTS, "hpet": hpet.TIMER_SIZE}
"""How far apart they are."""


def names_of(mapping: str) -> dict[int, str]:
    """Return the names of a mapping's registers by offset from its first address; none, if it has no table."""
    names: dict[int, str] = {}
    if mapping in TABLES:
        table, first = TABLES[mapping]
        names = {offset - first: name for name, offset in _registers(table) if offset >= first}
    if mapping in REPEATED:
        table, first, called = REPEATED[mapping]
        for number, which in enumerate(called):
            begin = first + number * APART[mapping]
            names |= {begin + offset: f"{which} {name}" for name, offset in _registers(table)}
    return names


def _registers(table: type) -> list[tuple[str, int]]:
    return [
        (name, offset) for name, offset in vars(table).items() if name.isupper() and isinstance(offset, int)
    ]
