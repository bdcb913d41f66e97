"""The board in parts: what may live in a server of its own, and what may not be parted.

A part is a set of chips joined by wires that no message between servers stands for: an 8254 with the port that
drives its gate, the two places that write A20, an IDE controller with its PCI function. Between parts there are only
wires that the core carries: interrupt requests as levels (set_isa_irq_level), reset, power-off, guest RAM, and PCI
configuration by PCI_CONFIG requests. So any division of the parts over servers makes the same machine.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from devmodel import ConfigError


@attrs.frozen
class Part:
    """Chips by their names on the board, and the PCI functions (device, function) that go with them.

    `maps` are the first words of the names of its mappings, where those differ from the chips' names.
    """

    chips: tuple[str, ...]
    maps: tuple[str, ...] = ()
    functions: tuple[tuple[int, int], ...] = ()


PARTS: Final[dict[str, Part]] = {
    "pic": Part(("pic",), maps=("pic1", "pic2", "elcr")),
    "pit": Part(("pit", "port61", "hpet")),  # counter 2: its gate and its output
    "kbc": Part(("kbc", "port92")),  # A20 is one line
    "rtc": Part(("rtc",)),
    "serial": Part(("uart", "uart2", "uart3", "uart4")),
    "parallel": Part(("parallel",)),
    "ide": Part(("ide0", "ide1", "piix3_ide"), maps=("bmide",), functions=((1, 1),)),
    "pci": Part(("i440fx", "piix3", "pci"), functions=((0, 0), (1, 0))),  # 0xCF9 is PIIX3's
    "pm": Part(("piix4pm",), maps=("pm", "apm"), functions=((1, 3),)),
    "vga": Part(("vga", "vga_pci"), maps=("vbe",), functions=((2, 0),)),
    "fw_cfg": Part(("fw_cfg",)),
    "dma": Part(("dma1", "dma2", "dma_pages", "fdc")),  # a floppy's bytes go by DMA
    "debug": Part(("post",), maps=("debug",)),
    "own": Part(()),  # what `Board.add` and `Board.plug` have put there
}
"""In the order in which they are shown."""

OWN: Final = "own"
"""The part of the chips that are not the PC's: its user's own."""

ALL: Final = frozenset(PARTS)


def chips_of(parts: Iterable[str]) -> frozenset[str]:
    """Return the names of the chips of some parts."""
    return frozenset(chip for part in parts for chip in PARTS[part].chips)


def functions_of(parts: Iterable[str]) -> frozenset[tuple[int, int]]:
    """Return the PCI functions of some parts, as device and function."""
    return frozenset(function for part in parts for function in PARTS[part].functions)


def part_of_mapping(name: str) -> str:
    """Return the part that a mapping of this name belongs to.

    Raises:
        KeyError: none has it, which is a mistake in the table above.

    """
    word = name.split(maxsplit=1)[0]
    for part, content in PARTS.items():
        if word == part or word in content.chips or word in content.maps:
            return part
    raise KeyError(name)


def in_order(parts: Iterable[str]) -> list[str]:
    """Return parts in the order of the table."""
    wanted = frozenset(parts)
    return [part for part in PARTS if part in wanted]


def parse(where: str, names: Iterable[str]) -> frozenset[str]:
    """Return the parts that a user named; `where` begins the line if that is wrong.

    Raises:
        ConfigError: one is no part, or none is named.

    """
    wanted = [name.strip() for name in names]
    for name in wanted:
        if name not in PARTS:
            whole = next((part for part, content in PARTS.items() if name in content.chips), None)
            what = f"unknown part '{name}'" + (f" (it belongs to '{whole}')" if whole else "")
            raise ConfigError(f"{where}: {what}; allowed: {', '.join(PARTS)}")
    if not wanted:
        raise ConfigError(f"{where}: no part; allowed: {', '.join(PARTS)}")
    return frozenset(wanted)
