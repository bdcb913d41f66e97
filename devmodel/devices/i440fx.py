"""Intel 82441FX (440FX PCIset, 290549-001): host bridge with the programmable attribute map (PAM).

PAM decides segment by segment whether reads and writes of 0xC0000-0xFFFFF go to RAM or to the bus, where
the firmware is; the core hears of it by `memory_type`.
Not modelled: SMM memory, holes for ISA, what DRAM timing and error registers do (all read back), reset by TRC.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.devices.pci import VENDOR_INTEL, ConfigSpace, Header, Window

DEVICE_82441FX: Final = 0x1237
PAM0: Final = 0x59  # its high half is 0xF0000-0xFFFFF
PAM6: Final = 0x5F
SMRAM: Final = 0x72
SMRAM_LOCKED: Final = 0x10  # DLCK
SMRAM_OPEN: Final = 0x40  # DOPEN
SMRAM_WRITABLE: Final = 0x78

SEGMENTS: Final = (
    *((PAM0 + 1 + i // 2, i % 2 * 4, 0xC_0000 + i * 0x4000, 0x4000) for i in range(12)),
    (PAM0, 4, 0xF_0000, 0x1_0000),
)
"""Register, shift, first address and length of each segment (290549-001, 3.2.18)."""

TYPES: Final = ("rom", "ram_ro", "rom_wo", "ram")
"""By WE and RE: reads of the firmware, or of RAM; writes dropped, or to RAM."""


def _space() -> ConfigSpace:
    space = ConfigSpace.make(VENDOR_INTEL, DEVICE_82441FX, 0x060000, revision=2)
    space.set(Header.COMMAND, 2, 0x0006, writable=0x0140)  # parity error, SERR#
    space.set(Header.STATUS, 2, 0x0280, cleared=0xF900)
    space.set(Header.LATENCY, 1, 0, writable=0xF8)
    space.set(0x50, 2, 0, writable=0xFF7F)  # PMCCFG
    space.set(0x52, 1, 0, writable=0xFF)  # DETURBO
    space.set(0x53, 1, 0x80, writable=0xFF)  # DBC: data buffers
    space.set(0x54, 1, 0, writable=0xFF)  # AXC: auxiliary control
    space.set(0x55, 2, 0, writable=0xFFFF)  # DRT: DRAM row types
    space.set(0x57, 1, 0x01, writable=0x77)  # DRAMC
    space.set(0x58, 1, 0x10, writable=0x7F)  # DRAMT: timing
    space.set(PAM0, 1, 0, writable=0x30)
    for register in range(PAM0 + 1, PAM6 + 1):
        space.set(register, 1, 0, writable=0x33)
    space.set(0x60, 8, 0x0101_0101_0101_0101, writable=0xFFFF_FFFF_FFFF_FFFF)  # DRB: row boundaries
    space.set(0x68, 1, 0, writable=0xC0)  # FDHC: a hole for ISA
    space.set(0x70, 1, 0, writable=0xF8)  # MTT: multi-transaction timer
    space.set(0x71, 1, 0x10, writable=0x1F)  # CLT: CPU latency timer
    space.set(SMRAM, 1, 0x02, writable=SMRAM_WRITABLE)
    space.set(0x90, 1, 0, writable=0xFB)  # ERRCMD
    space.set(0x91, 1, 0, cleared=0x11)  # ERRSTS
    space.set(0x93, 1, 0, writable=0x0E)  # TRC: turbo and reset control
    return space


@attrs.define
class I440fxState:
    """Everything the bridge remembers."""

    config: ConfigSpace = attrs.field(factory=_space)


@attrs.define(kw_only=True)
class I440fx:
    """Device 0. `memory_type(first, last, type)` sets what a range of guest memory is."""

    memory_type: Callable[[int, int, str], None]
    state: I440fxState = attrs.field(factory=I440fxState)
    _told: dict[int, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._told = {first: "rom" for _, _, first, _ in SEGMENTS}
        self._drive()

    def reset(self) -> None:
        """Power on: the firmware is in view again."""
        self.state = I440fxState()
        self._drive()

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        return self.state.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space; PAM takes effect at once, and so does the lock of SMRAM until power-on."""
        config = self.state.config
        config.write(offset, size, value)
        smram = config.data[SMRAM]
        if smram & SMRAM_LOCKED:
            writable = SMRAM_WRITABLE & ~(SMRAM_LOCKED | SMRAM_OPEN)
            config.set(SMRAM, 1, smram & ~SMRAM_OPEN, writable=writable)
        if offset <= PAM6 and offset + size > PAM0:
            self._drive()

    def as_firmware_leaves_it(self) -> None:
        """Have RAM in E0000h-FFFFFh, where firmware shadows itself; here it is for tables alone."""
        self.config_write(PAM6 - 1, 2, 0x3333)
        self.config_write(PAM0, 1, 0x30)

    def windows(self) -> list[Window]:
        """Return what moves, which is nothing."""
        return []

    def _drive(self) -> None:
        """Tell what has changed, neighbours in one."""
        data = self.state.config.data
        run: tuple[int, int, str] | None = None
        for register, shift, first, length in SEGMENTS:
            kind = TYPES[data[register] >> shift & 3]
            if kind == self._told[first]:
                continue
            self._told[first] = kind
            if run is not None and (run[1] + 1, run[2]) == (first, kind):
                run = (run[0], first + length - 1, kind)
                continue
            if run is not None:
                self.memory_type(*run)
            run = (first, first + length - 1, kind)
        if run is not None:
            self.memory_type(*run)
